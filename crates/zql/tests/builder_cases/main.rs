//! The cases of the query builders: what TypeScript and Rust make of the same query, in both sides' names, with the
//! same hash and the same shape of answer. The file is written by the TypeScript builder's test.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod described;
mod typed;

use landfall_zql::ast::{Anchor, Path};
use landfall_zql::builder::{BuiltQuery, Catalog};
use landfall_zql::{Ast, To, hash_of_ast, map_ast, normalize};
use serde::Deserialize;
use serde_json::Value as Json;

#[derive(Deserialize)]
struct Cases {
    schema: Json,
    cases: Vec<Case>,
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    query: Json,
    ast: Json,
    #[serde(rename = "serverAST")]
    server_ast: Json,
    format: Json,
    hash: Option<String>,
}

#[derive(Deserialize)]
struct Refused {
    query: Json,
    error: String,
}

fn cases() -> (Catalog, Cases) {
    let text = include_str!("../../../../tests/cases/builder.json");
    let cases: Cases = serde_json::from_str(text).unwrap();
    assert!(cases.cases.len() >= 50 && cases.refused.len() >= 15);
    let catalog = Catalog::from_json(&cases.schema.to_string()).unwrap();
    (catalog, cases)
}

fn check(case: &Case, built: &BuiltQuery) {
    let name = &case.name;
    let ast = Ast::from_json(&case.ast.to_string()).unwrap();
    assert_eq!(built.ast, ast, "{name}");
    let format = serde_json::to_value(&built.format).unwrap();
    assert_eq!(format, case.format, "{name}");
    if let Some(hash) = &case.hash {
        assert_eq!(hash_of_ast(&built.ast), *hash, "{name}");
    }
}

#[test]
fn queries_by_name_are_those_of_the_file() {
    let (catalog, Cases { cases, .. }) = cases();
    for case in &cases {
        let built = described::query(&catalog, &case.query);
        check(
            case,
            &built.unwrap_or_else(|error| panic!("{}: {error}", case.name)),
        );
    }
}

#[test]
fn typed_queries_are_those_of_the_file() {
    let (_, Cases { cases, .. }) = cases();
    let mut typed = typed::queries().into_iter();
    for case in &cases {
        let (name, query) = typed.next().unwrap();
        assert_eq!(name, case.name);
        check(
            case,
            &query.unwrap_or_else(|error| panic!("{name}: {error}")),
        );
    }
    assert!(typed.next().is_none());
}

#[test]
fn what_cannot_be_built_is_refused_in_the_same_words() {
    let (catalog, Cases { refused, .. }) = cases();
    for Refused { query, error } in &refused {
        let found = described::query(&catalog, query);
        assert_eq!(
            found.map_err(|error| error.to_string()),
            Err(error.clone()),
            "{query}"
        );
    }
}

#[test]
fn declared_tables_are_the_schema_of_the_file() {
    let (catalog, Cases { schema, .. }) = cases();
    let declared = typed::catalog().unwrap();
    assert_eq!(declared.schema(), catalog.schema());
    for (table, relationships) in schema["relationships"].as_object().unwrap() {
        for name in relationships.as_object().unwrap().keys() {
            let found = declared.relationship(table, name);
            assert!(found.is_some(), "{table}.{name}");
            assert_eq!(found, catalog.relationship(table, name));
        }
    }
}

#[test]
fn queries_survive_json_renaming_and_normalising() {
    let (catalog, Cases { cases, .. }) = cases();
    for Case {
        name,
        ast,
        server_ast,
        ..
    } in cases
    {
        let ast = Ast::from_json(&ast.to_string()).unwrap();
        let server = Ast::from_json(&server_ast.to_string()).unwrap();
        let schema = catalog.schema();
        assert_eq!(
            map_ast(&ast, schema, To::Server).as_ref(),
            Ok(&server),
            "{name}"
        );
        assert_eq!(
            map_ast(&server, schema, To::Client).as_ref(),
            Ok(&ast),
            "{name}"
        );
        assert_eq!(Ast::from_json(&ast.to_json()).unwrap(), ast, "{name}");
        let normal = normalize(&ast);
        assert_eq!(normalize(&normal), normal, "{name}");
    }
}

/// A parameter as the file writes it.
fn path(field: &Json) -> Path {
    match field.as_array() {
        None => Path::Name(field.as_str().unwrap().to_owned()),
        Some(names) => {
            let names = names.iter().map(|name| name.as_str().unwrap().to_owned());
            Path::Names(names.collect())
        }
    }
}

fn anchor(name: &Json) -> Anchor {
    match name.as_str().unwrap() {
        "authData" => Anchor::AuthData,
        _ => Anchor::PreMutationRow,
    }
}
