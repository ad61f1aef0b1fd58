//! What must hold of any bytes: they give an error, or something that keeps its meaning; never a panic.
//!
//! The fuzzers call these functions with what they find, and the test `hostile` with mutated examples.

use landfall_zql::ast::{Ast, Literal};
use landfall_zql::{
    Names, Predicate, Row, Schema, StaticParameters, TableSchema, To, ValueRef,
    bind_static_parameters, canonical_bytes, compare, hash_of_ast, json, map_ast, normalize,
};

/// The tables that the laws know.
pub const SCHEMA: &str = r#"{"tables":{
    "issue":{"serverName":"issues","primaryKey":["id"],"columns":{
        "id":{"type":"string"},"title":{"type":"string","optional":true},"open":{"type":"boolean","optional":true},
        "rank":{"type":"number","optional":true},"meta":{"type":"json","optional":true},
        "ownerID":{"type":"string","serverName":"owner_id","optional":true}}},
    "user":{"primaryKey":["id","n"],"columns":{
        "id":{"type":"string","serverName":"user_id"},"n":{"type":"number"},"none":{"type":"null","optional":true}}}}}"#;

/// A law, with its name.
pub type Law = (&'static str, fn(&[u8]));

/// The laws, by the names of the fuzzers.
pub const LAWS: [Law; 5] = [
    ("ast", ast),
    ("canonical", canonical),
    ("json", json_text),
    ("packed_row", packed_row),
    ("row_json", row_json),
];

fn schema() -> Schema {
    Schema::from_json(SCHEMA).expect("the schema of the laws is valid")
}

/// A query survives JSON, renaming, normalising and the binding of parameters; and it can be evaluated or is refused.
pub fn ast(bytes: &[u8]) {
    let Some(ast) = text(bytes).and_then(|text| Ast::from_json(text).ok()) else {
        return;
    };
    let again = Ast::from_json(&ast.to_json()).expect("what was written can be read");
    assert_eq!(again, ast, "JSON");
    assert_eq!(again.to_json(), ast.to_json(), "JSON, written again");
    let normal = normalize(&ast);
    assert_eq!(normalize(&normal), normal, "the normal form is one");
    assert_eq!(
        hash_of_ast(&normal),
        hash_of_ast(&ast),
        "the hash is its own"
    );
    let schema = schema();
    if let Ok(server) = map_ast(&ast, &schema, To::Server) {
        let back = map_ast(&server, &schema, To::Client);
        assert_eq!(back.as_ref(), Ok(&ast), "renamed and back");
    }
    let claims = serde_json::json!({"sub": "u", "list": ["a", 1], "object": {"x": null}});
    let bound = bind_static_parameters(
        &ast,
        StaticParameters {
            auth_data: Some(&claims),
            pre_mutation_row: None,
        },
    );
    evaluate(&bound, &schema);
}

fn evaluate(ast: &Ast, schema: &Schema) {
    let (Some(id), Some(condition)) = (schema.table(&ast.table), &ast.condition) else {
        return;
    };
    let table = &schema[id];
    let Ok(predicate) = Predicate::compile(condition, table) else {
        return;
    };
    let normal = normalize(ast).condition;
    let normal = normal.map_or(Ok(Predicate::always()), |normal| {
        Predicate::compile(&normal, table)
    });
    for row in rows(table) {
        let matches = predicate.matches(&row);
        if let Ok(normal) = &normal {
            assert_eq!(
                normal.matches(&row),
                matches,
                "the normal form means the same"
            );
        }
        if matches {
            for (column, value) in predicate.equalities() {
                assert!(compare(row.get(column), value.as_ref()).is_eq(), "pinned");
            }
        }
    }
}

fn rows(table: &TableSchema) -> impl Iterator<Item = Row> + '_ {
    let values = [
        [
            ValueRef::Null,
            ValueRef::Null,
            ValueRef::Null,
            ValueRef::Null,
        ],
        [
            ValueRef::String("a"),
            ValueRef::Number(1.0),
            ValueRef::Bool(true),
            ValueRef::Json("[1]"),
        ],
        [
            ValueRef::String("İ%_\\\u{3a3}"),
            ValueRef::Number(-2.5),
            ValueRef::Bool(false),
            ValueRef::Json("{}"),
        ],
    ];
    values.into_iter().map(|values| {
        Row::from_values(table.columns.iter().map(|column| {
            let fits = values.iter().find(|value| column.ty.accepts(**value));
            *fits.unwrap_or(&ValueRef::Null)
        }))
    })
}

/// The canonical bytes are a query of the same canonical bytes, and do not depend on the order of conditions.
pub fn canonical(bytes: &[u8]) {
    let Some(ast) = text(bytes).and_then(|text| Ast::from_json(text).ok()) else {
        return;
    };
    let canonical = canonical_bytes(&ast);
    assert_eq!(
        canonical_bytes(&normalize(&ast)),
        canonical,
        "of the normal form"
    );
    let text = std::str::from_utf8(&canonical).expect("canonical bytes are text");
    let again = Ast::from_json(text).expect("canonical bytes are a query");
    assert_eq!(canonical_bytes(&again), canonical, "of themselves");
    let mut turned = ast;
    if let Some(condition) = &mut turned.condition {
        turn(condition);
    }
    assert_eq!(
        canonical_bytes(&turned),
        canonical,
        "with conditions turned round"
    );
}

fn turn(condition: &mut landfall_zql::ast::Condition) {
    use landfall_zql::ast::Condition;
    match condition {
        Condition::And { conditions } | Condition::Or { conditions } => {
            conditions.reverse();
            conditions.iter_mut().for_each(turn);
        }
        Condition::CorrelatedSubquery { related, .. } => {
            related.subquery.condition.iter_mut().for_each(turn);
        }
        Condition::Simple { .. } => {}
    }
}

/// Our reader of JSON and the general one accept the same texts and read the same from them, but for halves of
/// characters, which the general one refuses.
pub fn json_text(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let ours = json::from_str::<serde_json::Value>(text);
    let theirs = serde_json::from_str::<serde_json::Value>(text);
    match (&ours, &theirs) {
        (Ok(ours), Ok(theirs)) => assert_eq!(ours, theirs),
        (Err(_), Err(_)) => {}
        (Ok(_), Err(theirs)) if theirs.to_string().contains("hex escape") => {}
        _ => panic!("ours {ours:?}, theirs {theirs:?}"),
    }
    let skipped = serde_json::from_str::<serde::de::IgnoredAny>(text);
    // The general reader bounds the depth of what it skips; ours has nothing to bound.
    let too_deep = skipped
        .as_ref()
        .is_err_and(|error| error.to_string().contains("recursion"));
    assert!(
        json::is_json(text) == skipped.is_ok() || too_deep,
        "{skipped:?}"
    );
    if let Ok(literal) = json::read::<Literal>(text) {
        let written = serde_json::to_string(&literal).expect("a literal is JSON");
        let again = json::read::<Literal>(&written).expect("what was written can be read");
        assert_eq!(again, literal, "a literal");
    }
}

/// Packed bytes are the one packing of their values.
pub fn packed_row(bytes: &[u8]) {
    if let Ok(row) = Row::from_earlier_bytes(bytes) {
        assert_eq!(
            Row::from_bytes(row.bytes()).as_ref(),
            Ok(&row),
            "packed anew"
        );
    }
    let Ok(row) = Row::from_bytes(bytes) else {
        return;
    };
    assert_eq!(row.bytes(), bytes);
    assert_eq!(row.iter().len(), row.len());
    let again = Row::from_values(row.iter());
    assert_eq!(again.bytes(), bytes, "values packed again");
    assert_eq!(row, again);
    assert!(row.get(row.len()).is_null());
    for (a, b) in row.iter().zip(again.iter()) {
        assert!(compare(a, b).is_eq());
    }
}

/// A row that was read is written so that the same row is read again, in the names of either side.
pub fn row_json(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let schema = schema();
    for table in &schema.tables {
        for names in [Names::Client, Names::Server] {
            drop(table.cells_from_json(text, names));
            let Ok(row) = table.row_from_json(text, names) else {
                continue;
            };
            assert_eq!(Row::from_bytes(row.bytes()).as_ref(), Ok(&row), "packed");
            for other in [Names::Client, Names::Server] {
                let mut json = String::new();
                table.row_to_json(&row, other, &mut json);
                let again = table.row_from_json(&json, other);
                assert_eq!(again.expect("what was written can be read"), row, "{json}");
            }
            let key = table.key_of(&row);
            let mut json = String::new();
            table.key_to_json(&key, names, &mut json);
            let again = table.key_from_json(&json, names);
            assert_eq!(again.expect("what was written can be read"), key, "{json}");
        }
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
