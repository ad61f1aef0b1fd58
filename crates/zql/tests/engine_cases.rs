//! The engine's cases, answered from scratch: so they say what the language means, and this crate's predicates and
//! orders say the same.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod reference;

use landfall_zql::{Ast, Schema};
use reference::Tables;
use serde_json::Value as Json;

fn check(case: &Json, document: &Json) {
    let id = &case["id"];
    let schema = Schema::from_json(&document["schema"].to_string()).unwrap();
    let mut tables = Tables::new(schema);
    let rows = case["fixture"]
        .as_str()
        .map_or(&case["rows"], |name| &document["fixtures"][name]);
    for entry in rows.as_array().unwrap() {
        add(&mut tables, entry, "row");
    }
    let ast = Ast::from_json(&case["ast"].to_string()).unwrap();
    let view = |tables: &Tables| tables.view(&ast, &case["format"]);
    if let Some(expected) = case["error"].as_str() {
        let error = view(&tables).unwrap_err();
        assert!(error.contains(expected), "{id}: {error}");
        return;
    }
    assert_eq!(
        view(&tables).as_ref(),
        Ok(&case["initial"]),
        "{id}: initial"
    );
    for (at, step) in case["steps"].as_array().unwrap().iter().enumerate() {
        for change in step["changes"].as_array().unwrap() {
            match change["op"].as_str().unwrap() {
                "add" => add(&mut tables, change, "row"),
                "remove" => remove(&mut tables, change, "row"),
                "edit" => {
                    remove(&mut tables, change, "oldRow");
                    add(&mut tables, change, "row");
                }
                other => panic!("{id}: unknown change {other}"),
            }
        }
        match step["error"].as_str() {
            Some(expected) => assert!(view(&tables).unwrap_err().contains(expected), "{id}"),
            None => assert_eq!(view(&tables).as_ref(), Ok(&step["view"]), "{id}: step {at}"),
        }
    }
}

fn add(tables: &mut Tables, change: &Json, member: &str) {
    let table = change["table"].as_str().unwrap();
    let row = tables.row(table, &change[member]);
    tables.add(table, row);
}

fn remove(tables: &mut Tables, change: &Json, member: &str) {
    let table = change["table"].as_str().unwrap();
    let row = tables.row(table, &change[member]);
    tables.remove(table, &row);
}

#[test]
fn every_case_has_the_obvious_answer() {
    let document: Json =
        serde_json::from_str(include_str!("../../../tests/cases/engine.json")).unwrap();
    let cases = document["cases"].as_array().unwrap();
    assert!(cases.len() >= 104);
    for case in cases {
        check(case, &document);
    }
}
