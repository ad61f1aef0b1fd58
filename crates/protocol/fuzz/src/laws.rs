//! What must hold of any bytes on the wire: they give an error, or a message that keeps its meaning when it is written
//! and read again; never a panic.

use landfall_protocol::endpoint::{mutate::MutateResponse, query};
use landfall_protocol::permissions::Permissions;
use landfall_protocol::{
    ChunkAssembler, Cookie, ReceivedProtocol, decode_downstream, decode_upstream, parse_connect,
};

/// A law, with its name.
pub type Law = (&'static str, fn(&[u8]));

/// The laws, by the names of the fuzzers.
pub const LAWS: [Law; 5] = [
    ("upstream", upstream),
    ("downstream", downstream),
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
