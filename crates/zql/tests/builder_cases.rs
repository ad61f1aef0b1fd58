//! What the TypeScript query builder emits is read, mapped to server names and hashed here as it is there. The cases
//! are written by the builder's own test.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use landfall_zql::{Ast, Schema, To, hash_of_ast, map_ast, normalize};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Cases {
    schema: Box<RawValue>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    name: String,
    ast: Box<RawValue>,
    #[serde(rename = "serverAST")]
    server_ast: Box<RawValue>,
    hash: String,
}

#[test]
fn the_builder_and_this_crate_agree() {
    let text = include_str!("../../../tests/cases/builder.json");
    let Cases { schema, cases } = serde_json::from_str(text).unwrap();
    let schema = Schema::from_json(schema.get()).unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let ast = Ast::from_json(case.ast.get()).unwrap();
        let server = Ast::from_json(case.server_ast.get()).unwrap();
        assert_eq!(hash_of_ast(&ast), case.hash, "{}", case.name);
        assert_eq!(
            map_ast(&ast, &schema, To::Server).as_ref(),
            Ok(&server),
            "{}",
            case.name
        );
        assert_eq!(
            map_ast(&server, &schema, To::Client).as_ref(),
            Ok(&ast),
            "{}",
            case.name
        );
        assert_eq!(
            Ast::from_json(&ast.to_json()).unwrap(),
            ast,
            "{}",
            case.name
        );
        let normal = normalize(&ast);
        assert_eq!(normalize(&normal), normal, "{}", case.name);
    }
}
