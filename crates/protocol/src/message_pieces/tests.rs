//! Whatever the pieces, they give what the whole message gives.

use super::*;
use proptest::prelude::*;

/// The message that the pieces give, as text.
fn read<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Result<String, ProtocolError> {
    let mut reader = PieceReader::default();
    let mut operations = Vec::new();
    for piece in pieces {
        reader.push(piece, &mut |text| {
            RowOp::decode(text)?;
            operations.push(text.to_owned());
            Ok::<_, ProtocolError>(())
        })?;
    }
    let mut message = reader.finish()?;
    if let Downstream::PokePart(part) = &mut message {
        assert!(part.rows_patch.is_empty(), "rows are handed out");
        let rows = operations.iter().map(|text| RowOp::decode(text));
        part.rows_patch = rows.collect::<Result<_, _>>()?;
    } else {
        assert!(operations.is_empty(), "rows of another message");
    }
    Ok(message.encode())
}

fn check(text: &str, cut: impl Fn(usize) -> usize) {
    let mut pieces = Vec::new();
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(cut(pieces.len()).clamp(1, rest.len()));
        pieces.push(piece);
        rest = after;
    }
    let whole = decode_downstream(text).map(|message| message.encode());
    match (read(pieces), whole) {
        (Ok(message), Ok(whole)) => assert_eq!(message, whole, "{text}"),
        (Err(_), Err(_)) => {}
        (pieces, whole) => panic!("{text}: {pieces:?}, not {whole:?}"),
    }
}

const MESSAGES: &[&str] = &[
    r#"["pokePart",{"pokeID":"1","lastMutationIDChanges":{"c":1},"gotQueriesPatch":[{"op":"put","hash":"h"}],"rowsPatch":[{"op":"put","tableName":"issue","value":{"id":"1","j":{"a":[null,1.5e3,"\u00e9\\\""]},"s":"é🦀\\"}},{"op":"del","tableName":"i","id":{"a":true}}],"mutationsPatch":[{"op":"put","mutation":{"id":{"clientID":"c","id":1},"result":{"error":"app"}}}]}]"#,
    r#" [ "poke\u0050art" , { "rows\u0050atch" : [ { "op" : "clear" } , {"op":"del","tableName":"]}","id":{}} ] , "pokeID" : "1" } ] "#,
    r#"["pokePart",{"rowsPatch":[],"pokeID":"1","desiredQueriesPatches":{"rowsPatch":[{"op":"clear"}]}}]"#,
    r#"["pokePart",{"pokeID":"rowsPatch","rowsPatch":[ ],"x":[["rowsPatch",{"rowsPatch":[1]}]]}]"#,
    r#"["pokeStart",{"pokeID":"1","baseCookie":null,"rowsPatch":[{"op":"nonsense"}]}]"#,
    r#"["pokeEnd",{"pokeID":"1","cookie":"01"}]"#,
    r#"["error",{"kind":"Internal","message":"pokePart","origin":"server","x":{"rowsPatch":[1,2]}}]"#,
];

#[test]
fn pieces_of_all_sizes() {
    for text in MESSAGES {
        decode_downstream(text).expect(text);
        for size in 1..=text.len() {
            check(text, |_| size);
        }
    }
}

#[test]
fn what_is_no_message_is_none_in_pieces() {
    let part = |rows: &str| format!(r#"["pokePart",{{"pokeID":"1","rowsPatch":{rows}}}]"#);
    let clear = r#"{"op":"clear"}"#;
    for text in [
        part("null"),
        part("{}"),
        part("[,]"),
        part(&format!("[{clear},]")),
        part(&format!("[,{clear}]")),
        part(&format!("[{clear} {clear}]")),
        part(&format!("[{clear}}}")),
        part(&format!("[{clear}")),
        part("[1]"),
        part("[\"a]"),
        part("[\"a\u{1}\"]"),
        part(r#"[{"op":"put","tableName":"t","value":[}]"#),
        part(r#"[{"op":"put","tableName":"t","value":1}]"#),
        part(&format!(r#"[],"rowsPatch":[{clear}]"#)),
        format!(r#"["pokePart",{{"rowsPatch":[{clear}]}}]"#),
        format!(r#"["pokePart",{{"pokeID":1,"rowsPatch":[{clear}]}}]"#),
        format!(r#"["pokePart" "x",{{"pokeID":"1","rowsPatch":[{clear}]}}]"#),
        format!(r#"["pokePart",1,{{"pokeID":"1","rowsPatch":[{clear}]}}]"#),
        format!(r#"["nonsense",{{"pokeID":"1","rowsPatch":[{clear}]}}]"#),
        format!(r#"]["pokePart",{{"pokeID":"1","rowsPatch":[{clear}]}}]"#),
        format!(r#"["pokePart",{{"pokeID":"1","x":1:[{clear}]}}]"#),
        format!(r#"["pokePart",{{"pokeID":"1"}}],"rowsPatch":[{clear}]"#),
    ] {
        decode_downstream(&text).expect_err(&text);
        for size in [1, 2, 7, 1000] {
            check(&text, |_| size);
        }
    }
    assert!(matches!(read([&b"\xff"[..]]), Err(ProtocolError::NotUtf8)));
    let row = b"[\"pokePart\",{\"rowsPatch\":[\"\xff\"]";
    assert!(matches!(read([&row[..]]), Err(ProtocolError::NotUtf8)));
}

#[test]
fn operations_come_at_once_and_are_not_kept() {
    let mut reader = PieceReader::default();
    let mut count = 0;
    reader
        .push(br#"["pokePart",{"pokeID":"1","rowsPatch":["#, &mut |_| {
            Err(ProtocolError::NotUtf8)
        })
        .expect("no operation yet");
    let operation = format!(
        r#"{{"op":"del","tableName":"{}","id":{{}}}},"#,
        "t".repeat(100)
    );
    for number in 1..=1000 {
        let (begin, end) = operation.split_at(number % operation.len());
        for piece in [begin, end] {
            reader
                .push(piece.as_bytes(), &mut |text| {
                    count += 1;
                    RowOp::decode(text).map(drop)
                })
                .expect("an operation");
        }
        assert_eq!(count, number);
        assert!(reader.rest.len() + reader.operation.len() < 100);
    }
}

#[test]
fn deep_nesting_needs_no_recursion() {
    let deep =
        |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    for body in [deep("[", "]"), deep(r#"{"a":["#, "]}")] {
        for text in [
            format!(
                r#"["pokePart",{{"pokeID":"1","rowsPatch":[{{"op":"put","tableName":"t","value":{{"j":{body}}}}}]}}]"#
            ),
            format!(r#"["pokePart",{{"pokeID":"1","rowsPatch":[{body}]}}]"#),
            format!(r#"["pokePart",{{"pokeID":"1","rowsPatch":{body}}}]"#),
            format!(r#"["pokePart",{body}]"#),
        ] {
            check(&text, |_| 1000);
        }
    }
}

proptest! {
    #[test]
    fn damaged_messages_in_pieces(
        message in prop::sample::select(MESSAGES), at in any::<prop::sample::Index>(),
        found in prop::sample::select(b"[]{}\",:\\ 1a"), change in 0u8..4, sizes in prop::collection::vec(1usize..40, 1..8),
    ) {
        let mut bytes = message.as_bytes().to_vec();
        let at = at.index(bytes.len());
        match change {
            0 => {}
            1 => bytes[at] = found,
            2 => bytes.insert(at, found),
            _ => drop(bytes.remove(at)),
        }
        if let Ok(text) = std::str::from_utf8(&bytes) {
            check(text, |number| sizes[number % sizes.len()]);
        }
    }
}
