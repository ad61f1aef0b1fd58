//! Examples to start from: the messages that the snapshot of the wire keeps, and a few more.

const SNAPSHOT: &str = include_str!("../../tests/wire_snapshot.txt");

const ENDPOINT: &[&str] = &[
    r#"{"mutations":[{"id":{"clientID":"c","id":1},"result":{}},{"id":{"clientID":"c","id":2},"result":{"error":"app","message":"no","details":{"a":[1]}}}]}"#,
    r#"{"kind":"PushFailed","origin":"server","reason":"oooMutation","message":"m","mutationIDs":[{"clientID":"c","id":3}]}"#,
    r#"["transform",[{"id":"h","name":"n","args":[1,"x",null]}]]"#,
    r#"["transformed",[{"id":"h","name":"n","ast":{"table":"issue","where":{"type":"simple","op":"=","left":{"type":"column","name":"a"},"right":{"type":"literal","value":1}},"orderBy":[["id","asc"]]}},{"error":"app","id":"g","name":"m","details":"no"}]]"#,
    r#"{"tables":{"issue":{"row":{"select":[["allow",{"type":"simple","op":"=","left":{"type":"column","name":"owner"},"right":{"type":"static","anchor":"authData","field":"sub"}}]]}}}}"#,
];

const HANDSHAKE: &[&str] = &[
    "/sync/v51/connect?clientID=c&clientGroupID=g&userID=u1&baseCookie=03%3A01&ts=1000068&lmid=0&wsid=5NoADiJ_wS&landfall=1",
    "/sync/v30/connect?clientID=c&clientGroupID=g&userID=&baseCookie=&ts=1.5&lmid=7&wsid=w&profileID=p",
    "eyJpbml0Q29ubmVjdGlvbk1lc3NhZ2UiOlsiaW5pdENvbm5lY3Rpb24iLHsiZGVzaXJlZFF1ZXJpZXNQYXRjaCI6W119XX0%3D",
    "e30%3D",
    "1a2b:03",
    "00",
];

/// The examples for a law.
pub fn of(law: &str) -> Vec<Vec<u8>> {
    match law {
        "endpoint" => bytes(ENDPOINT),
        "handshake" => bytes(HANDSHAKE),
        "poke_chunk" => chunks(),
        "pieces" => messages()
            .map(|text| ["09", text].concat().into_bytes())
            .collect(),
        _ => messages().map(|text| text.as_bytes().to_vec()).collect(),
    }
}

fn bytes(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Everything in the snapshot that looks like a message.
fn messages() -> impl Iterator<Item = &'static str> {
    SNAPSHOT.lines().filter_map(|line| {
        let from = line.find("[\"")?;
        Some(line[from..].trim_end())
    })
}

fn chunks() -> Vec<Vec<u8>> {
    let body = r#"{"pokeID":"1","rowsPatch":[{"op":"put","tableName":"t","value":{"id":"1"}}]}"#;
    let framed = |bodies: &[&str]| {
        let mut bytes = Vec::new();
        for frame in landfall_protocol::chunk_frames(bodies) {
            for piece in frame.chunks(256) {
                bytes.push(u8::try_from(piece.len() - 1).expect("at most 256"));
                bytes.extend(piece);
            }
        }
        bytes
    };
    vec![
        framed(&[body]),
        framed(&[body, body]),
        framed(&["{}"]),
        framed(&[]),
    ]
}
