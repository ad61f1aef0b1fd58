//! What must hold of any bytes on the wire: they give an error, or a message that keeps its meaning when it is written
//! and read again; never a panic.

use landfall_protocol::endpoint::{mutate::MutateResponse, query};
use landfall_protocol::permissions::Permissions;
use landfall_protocol::{
    ChunkAssembler, Cookie, Downstream, PieceReader, ProtocolError, ReceivedProtocol, RowOp,
    decode_downstream, decode_upstream, parse_connect,
};

/// A law, with its name.
pub type Law = (&'static str, fn(&[u8]));

/// The laws, by the names of the fuzzers.
pub const LAWS: [Law; 6] = [
    ("upstream", upstream),
    ("downstream", downstream),
    ("pieces", pieces),
    ("poke_chunk", poke_chunk),
    ("endpoint", endpoint),
    ("handshake", handshake),
];

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// A message of a client.
pub fn upstream(bytes: &[u8]) {
    let Some(message) = text(bytes).and_then(|text| decode_upstream(text).ok()) else {
        return;
    };
    let again = decode_upstream(&message.encode());
    assert_eq!(again.as_ref().ok(), Some(&message), "written and read");
}

/// A message of a server.
pub fn downstream(bytes: &[u8]) {
    let Some(message) = text(bytes).and_then(|text| decode_downstream(text).ok()) else {
        return;
    };
    let written = message.encode();
    let again = decode_downstream(&written).expect("what was written can be read");
    assert_eq!(again.encode(), written, "written, read and written");
}

/// A message of a server in pieces, whose sizes the first two bytes say: it is what it is as a whole.
pub fn pieces(bytes: &[u8]) {
    let Some((sizes, bytes)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let Some(text) = text(bytes) else { return };
    let whole = decode_downstream(text).map(|message| message.encode());
    let in_pieces = read_in_pieces(text, sizes.map(|size| usize::from(size) + 1));
    assert_eq!(in_pieces.ok(), whole.ok(), "in pieces and whole");
}

fn read_in_pieces(text: &str, sizes: [usize; 2]) -> Result<String, ProtocolError> {
    let mut reader = PieceReader::default();
    let mut operations = Vec::new();
    let mut rest = text.as_bytes();
    for size in sizes.into_iter().cycle() {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        reader.push(piece, &mut |text| {
            RowOp::decode(text)?;
            operations.push(text.to_owned());
            Ok::<_, ProtocolError>(())
        })?;
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    let mut message = reader.finish()?;
    if let Downstream::PokePart(part) = &mut message {
        let rows = operations.iter().map(|text| RowOp::decode(text));
        part.rows_patch = rows.collect::<Result<_, _>>()?;
    }
    Ok(message.encode())
}

/// The binary frames of a large poke: each is preceded by a byte that says how long it is.
pub fn poke_chunk(bytes: &[u8]) {
    let mut assembler = ChunkAssembler::default();
    let mut rest = bytes;
    while let Some((length, after)) = rest.split_first() {
        let (frame, after) = after.split_at((usize::from(*length) + 1).min(after.len()));
        let _ = assembler.push(frame);
        rest = after;
    }
    let _ = assembler.parts();
    assembler.clear();
    assert!(assembler.is_empty(), "cleared");
}

/// What an application's endpoints answer, and are asked.
pub fn endpoint(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Ok(answer) = MutateResponse::decode(text) {
        let written = answer.encode();
        let again = MutateResponse::decode(&written).expect("what was written can be read");
        assert_eq!(again.encode(), written, "answer");
    }
    let _ = query::QueryResponse::decode(text);
    if let Ok(request) = query::decode_request(text) {
        let written = query::encode_request(&request);
        let again = query::decode_request(&written).expect("what was written can be read");
        assert_eq!(query::encode_request(&again), written, "request");
    }
    let _ = Permissions::decode(text);
}

/// The URL and the header value with which a client connects, and cookies.
pub fn handshake(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let _ = ReceivedProtocol::decode(text);
    let _ = parse_connect(text);
    if let Ok(cookie) = Cookie::parse(text) {
        assert_eq!(
            Cookie::parse(cookie.as_str()).ok(),
            Some(cookie),
            "a cookie read again"
        );
    }
}
