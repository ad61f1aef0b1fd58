//! Bytes from nowhere: every decoder gives a value or an error, quickly, and never ends the process.

#[path = "../fuzz/src/laws.rs"]
mod laws;
#[path = "../../zql/fuzz/src/mutation.rs"]
mod mutation;
#[path = "../fuzz/src/seeds.rs"]
mod seeds;

use landfall_protocol::endpoint::{mutate::MutateResponse, query};
use landfall_protocol::permissions::Permissions;
use landfall_protocol::{
    ChunkAssembler, ProtocolError, ReceivedProtocol, decode_downstream, decode_upstream,
    parse_connect,
};
use proptest::prelude::*;

/// Real messages, to be damaged.
const MESSAGES: &[&str] = &[
    r#"["initConnection",{"desiredQueriesPatch":[{"op":"put","hash":"h","ast":{"table":"issue","where":{"type":"and","conditions":[{"type":"simple","op":"IN","left":{"type":"column","name":"a"},"right":{"type":"literal","value":[1,"b"]}}]},"orderBy":[["id","asc"]],"limit":10,"start":{"row":{"id":"1"},"exclusive":true},"related":[{"correlation":{"parentField":["id"],"childField":["issueID"]},"subquery":{"table":"comment","alias":"comments"}}]}}],"deleted":{"clientIDs":["x"]}}]"#,
    r#"["push",{"clientGroupID":"g","mutations":[{"type":"crud","id":2,"clientID":"c","name":"_zero_crud","args":[{"ops":[{"op":"upsert","tableName":"issue","primaryKey":["id"],"value":{"id":"1"}}]}],"timestamp":3}],"pushVersion":1,"timestamp":1,"requestID":"r"}]"#,
    r#"["inspect",{"op":"analyze-query","id":"1","ast":{"table":"t"},"options":{"syncedRows":true}}]"#,
    r#"["pokePart",{"pokeID":"1","lastMutationIDChanges":{"c":1},"gotQueriesPatch":[{"op":"put","hash":"h"}],"rowsPatch":[{"op":"put","tableName":"issue","value":{"id":"1","j":{"a":[null,1.5e3,"\u00e9"]}}},{"op":"del","tableName":"i","id":{"a":true}}],"mutationsPatch":[{"op":"put","mutation":{"id":{"clientID":"c","id":1},"result":{"error":"app"}}}]}]"#,
    r#"["error",{"kind":"PushFailed","message":"m","origin":"server","mutationIDs":[{"clientID":"c","id":3}],"reason":"oooMutation"}]"#,
];

fn decode_all(text: &str) {
    let _ = decode_upstream(text).map(|message| message.encode());
    let _ = decode_downstream(text).map(|message| message.encode());
    let _ = MutateResponse::decode(text).map(|answer| answer.encode());
    let _ = query::QueryResponse::decode(text);
    let _ = query::decode_request(text);
    let _ = Permissions::decode(text);
    let _ = ReceivedProtocol::decode(text);
    let _ = parse_connect(text);
}

#[test]
fn damaged_bytes_keep_the_laws() {
    let laws = laws::LAWS;
    let share = mutation::budget() / u32::try_from(laws.len()).expect("few laws");
    for (name, law) in laws {
        mutation::try_law(name, law, share);
    }
}

#[test]
fn deep_nesting_is_refused_without_recursion() {
    let deep = |open: &str, middle: &str, close: &str| {
        format!("{}{middle}{}", open.repeat(200_000), close.repeat(200_000))
    };
    let array = deep("[", "", "]");
    let object = deep(r#"{"a":"#, "1", "}");
    let condition = deep(r#"{"type":"and","conditions":["#, "", "]}");
    for body in [&array, &object, &condition] {
        for text in [
            format!(r#"["initConnection",{body}]"#),
            format!(r#"["closeConnection",[{body}]]"#),
            format!(
                r#"["initConnection",{{"desiredQueriesPatch":[{{"op":"put","hash":"h","ast":{{"table":"t","where":{body}}}}}]}}]"#
            ),
            format!(
                r#"["push",{{"clientGroupID":"g","mutations":[{{"type":"custom","id":1,"clientID":"c","name":"n","args":[{body}],"timestamp":1}}],"pushVersion":1,"timestamp":1,"requestID":"r"}}]"#
            ),
        ] {
            assert!(matches!(
                decode_upstream(&text),
                Err(ProtocolError::TooDeep { .. })
            ));
        }
        // A row may hold a deep JSON value: it stays text. Elsewhere depth ends with an error, or is skipped.
        let row = format!(
            r#"["pokePart",{{"pokeID":"1","rowsPatch":[{{"op":"put","tableName":"t","value":{{"j":{body}}}}}]}}]"#
        );
        assert!(decode_downstream(&row).is_ok());
        decode_all(&format!(r#"["connected",{body}]"#));
        decode_all(&format!(
            r#"["connected",{{"wsid":"w","landfall":{body},"x":{body}}}]"#
        ));
        decode_all(body);
    }
}

#[test]
fn errors_do_not_quote_what_they_refuse() {
    for text in [
        r#"["updateAuth",{"auth":["hunter2"]}]"#,
        r#"["updateAuth","hunter2"]"#,
        r#"["push",{"clientGroupID":"g","mutations":"hunter2"}]"#,
        r#"["inspect",{"op":"authenticate","id":"1","value":{"a":"hunter2"}}]"#,
    ] {
        let error = decode_upstream(text).expect_err(text).to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
    let long = format!(r#"["{}",{{}}]"#, "x".repeat(10_000));
    assert!(
        decode_upstream(&long)
            .expect_err("no such type")
            .to_string()
            .len()
            < 100
    );
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "[a-zA-Z_]{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        let names = prop::sample::select(&[
            "op",
            "hash",
            "id",
            "clientID",
            "kind",
            "pokeID",
            "args",
            "ast",
            "table",
            "where",
            "type",
            "mutations",
            "value",
            "tableName",
            "origin",
            "message",
            "x",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(names.prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

fn kinds() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&[
        "initConnection",
        "changeDesiredQueries",
        "deleteClients",
        "push",
        "ackMutationResponses",
        "ping",
        "updateAuth",
        "pull",
        "closeConnection",
        "inspect",
        "connected",
        "error",
        "pong",
        "pokeStart",
        "pokePart",
        "pokeEnd",
        "transformError",
        "pushResponse",
        "transform",
        "transformed",
    ])
}

/// A second or so each; `LANDFALL_TEST_SECONDS` asks for more.
fn budget() -> ProptestConfig {
    let seconds = std::env::var("LANDFALL_TEST_SECONDS")
        .ok()
        .and_then(|text| text.parse::<u32>().ok())
        .unwrap_or(1);
    ProptestConfig::with_cases(400u32.saturating_mul(seconds))
}

proptest! {
    #![proptest_config(budget())]

    #[test]
    fn any_text(text: String) {
        decode_all(&text);
    }

    #[test]
    fn any_json_body(kind in kinds(), body in any_json()) {
        decode_all(&serde_json::json!([kind, body]).to_string());
        decode_all(&body.to_string());
    }

    #[test]
    fn damaged_messages(message in prop::sample::select(MESSAGES), at in any::<prop::sample::Index>(),
                        byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = message.as_bytes().to_vec();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        if let Ok(text) = std::str::from_utf8(&bytes) {
            decode_all(text);
        }
        let mut assembler = ChunkAssembler::default();
        let _ = assembler.push(&bytes);
        let _ = assembler.parts();
    }

    #[test]
    fn what_upstream_accepts_it_writes_again(message in prop::sample::select(MESSAGES), at in any::<prop::sample::Index>(),
                                             byte in 0x20u8..0x7f) {
        let mut bytes = message.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let text = String::from_utf8(bytes).expect("ASCII but for nothing");
        if let Ok(first) = decode_upstream(&text) {
            let again = decode_upstream(&first.encode());
            prop_assert_eq!(again.ok(), Some(first));
        }
    }
}
