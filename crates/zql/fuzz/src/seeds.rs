//! Examples to start from: each is decoded without an error.

use landfall_zql::{Row, ValueRef};

/// The examples for a law.
pub fn of(law: &str) -> Vec<Vec<u8>> {
    match law {
        "ast" | "canonical" | "pipeline" => QUERIES
            .iter()
            .map(|text| text.as_bytes().to_vec())
            .collect(),
        "row_json" => ROWS.iter().map(|text| text.as_bytes().to_vec()).collect(),
        "packed_row" => packed_rows(),
        _ => {
            let texts = QUERIES.iter().chain(ROWS).chain(TEXTS);
            texts.map(|text| text.as_bytes().to_vec()).collect()
        }
    }
}

const QUERIES: &[&str] = &[
    r#"{"table":"issue"}"#,
    r#"{"table":"issue","where":{"type":"simple","left":{"type":"column","name":"title"},"right":{"type":"literal","value":"a%\\_"},"op":"ILIKE"}}"#,
    r#"{"table":"issue","where":{"type":"and","conditions":[{"type":"simple","left":{"type":"column","name":"rank"},"right":{"type":"literal","value":[1,2.5,-3]},"op":"IN"},{"type":"or","conditions":[{"type":"simple","left":{"type":"column","name":"open"},"right":{"type":"literal","value":true},"op":"IS NOT"},{"type":"simple","left":{"type":"literal","value":null},"right":{"type":"static","anchor":"authData","field":["object","x"]},"op":"IS"}]},{"type":"or","conditions":[]}]}}"#,
    r#"{"table":"issue","where":{"type":"simple","left":{"type":"static","anchor":"authData","field":"sub"},"right":{"type":"static","anchor":"preMutationRow","field":"id"},"op":"!="}}"#,
    r#"{"schema":"s","table":"issue","alias":"x","where":{"type":"correlatedSubquery","related":{"system":"permissions","correlation":{"parentField":["ownerID"],"childField":["id"]},"hidden":false,"subquery":{"table":"user","alias":"zsubq_owner","where":{"type":"and","conditions":[]},"orderBy":[["n","desc"]]}},"op":"NOT EXISTS","flip":true,"scalar":false},"limit":3}"#,
    r#"{"table":"user","related":[{"system":"client","correlation":{"parentField":["id","n"],"childField":["ownerID","rank"]},"hidden":true,"subquery":{"table":"issue","alias":"a","related":[{"correlation":{"parentField":["ownerID"],"childField":["id"]},"subquery":{"table":"user","alias":"a","limit":1,"start":{"row":{"id":"x"},"exclusive":false}}}]}}],"start":{"row":{"id":"x","n":null,"none":{"k":[1,{"z":null}]}},"exclusive":true},"limit":2147483647,"orderBy":[["id","asc"],["n","desc"],["id","desc"]]}"#,
];

const ROWS: &[&str] = &[
    r#"{"id":"1"}"#,
    r#"{"id":"\u0041\ud83d\ude00é","title":null,"open":true,"rank":-0.5e3,"meta":{"a":[1,"x",null,{}]},"owner_id":"u","other":[1]}"#,
    r#" { "id" : "x" , "meta" : [ 1 , { "b" : "\ud800 \u2028" } ] , "rank" : 9007199254740993 , "ownerID" : "" } "#,
    r#"{"id":"x","n":0,"none":null,"user_id":"y"}"#,
    r#"{"user_id":"y","n":-0,"meta":"null"}"#,
];

const TEXTS: &[&str] = &[
    "null",
    " [ 1 , -2.5e-3 , true , \"\\n\\u00e9\\ud83d\\ude00\" ] ",
    r#"{"a":{"a":{"b":[[[]]]}},"b":1}"#,
    "1e400",
    "123456789012345678901234567890",
];

fn packed_rows() -> Vec<Vec<u8>> {
    let values = [
        ValueRef::Null,
        ValueRef::Bool(true),
        ValueRef::Bool(false),
        ValueRef::Number(1.5),
        ValueRef::Number(0.0),
        ValueRef::String(""),
        ValueRef::String("é😀"),
        ValueRef::Json(r#"[1,{"a":null}]"#),
        ValueRef::Json("true"),
    ];
    let mut rows: Vec<Vec<u8>> = Vec::new();
    for count in 0..=values.len() {
        rows.push(
            Row::from_values(values[..count].iter().copied())
                .bytes()
                .to_vec(),
        );
        rows.push(
            Row::from_values(values[count..].iter().copied())
                .bytes()
                .to_vec(),
        );
    }
    rows
}
