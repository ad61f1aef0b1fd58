//! The hand-made cases, and the programs that once failed, by every source: brute force, the engine in memory and over
//! the replica, SQL on SQLite and on Postgres.

use landfall_ivm::Pipeline;
use landfall_oracle::case;
use landfall_oracle::memory::{self, Loading, MemoryManner};
use landfall_oracle::postgres::Postgres;
use landfall_oracle::program::Program;
use landfall_oracle::run::{Expected, Failure, Manner};
use landfall_oracle::{replica, sqlite};
use landfall_zql::Schema;
use serde_json::Value as Json;

/// Runs a program everywhere.
fn everywhere(program: &Program, postgres: &mut Postgres) -> Result<(), Failure> {
    let expected = &Expected::new(program);
    let common = Manner { slice: 1, plans: 0 };
    for indexes in [false, true] {
        let manner = MemoryManner {
            common,
            indexes,
            loading: if indexes {
                Loading::Bulk
            } else {
                Loading::Changes
            },
            copies: indexes,
        };
        memory::run(program, expected, manner)?;
    }
    replica::run(program, expected, common)?;
    sqlite::run(program, expected)?;
    postgres.run(program, expected)
}

/// A case without an answer is refused when its query is built, or when a result of one row is read.
fn check(case: &Json, program: &Program, postgres: &mut Postgres) {
    let id = &case["id"];
    if let Some(error) = case["error"].as_str()
        && !error.starts_with("Singular")
    {
        let schema = Schema::from_json(&program.schema_json().to_string()).expect("a schema");
        let refusal = Pipeline::build(&program.query, &schema).expect_err("refused");
        assert!(refusal.to_string().contains(error), "case {id}: {refusal}");
        return;
    }
    case::check(case, program, &Expected::new(program));
    everywhere(program, postgres).unwrap_or_else(|failure| panic!("case {id}: {failure:?}"));
}

#[test]
fn every_source_gives_the_views_of_the_cases() {
    let file: Json =
        serde_json::from_str(include_str!("../../cases/engine.json")).expect("the file is JSON");
    let mut postgres = Postgres::connect();
    let cases = file["cases"].as_array().expect("cases");
    assert!(cases.len() >= 100);
    for case in cases {
        let fixture = case["fixture"].as_str();
        let rows = fixture.map_or(&case["rows"], |name| &file["fixtures"][name]);
        let program = case::read(&file["schema"], rows, case);
        check(case, &program, &mut postgres);
    }
}

#[test]
fn what_once_failed_fails_no_more() {
    let file: Json =
        serde_json::from_str(include_str!("../cases/found.json")).expect("the file is JSON");
    let mut postgres = Postgres::connect();
    for case in file["cases"].as_array().expect("cases") {
        let program = case::read(&case["schema"], &case["rows"], case);
        check(case, &program, &mut postgres);
    }
}
