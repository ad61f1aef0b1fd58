//! Programs as cases of the case files, and back.

use landfall_zql::ast::Ast;
use serde_json::{Value as Json, json};

use crate::brute::State;
use crate::program::{Change, Program, apply, table};
use crate::run::Expected;
use crate::tree;

/// The program of a case. `schema` and `rows` are those of the case, or those that its file has for it.
///
/// # Panics
/// The case is not one.
pub fn read(schema: &Json, rows: &Json, case: &Json) -> Program {
    let tables = Program::tables_from_json(schema);
    let of = |json: &Json| table(&tables, json["table"].as_str().expect("a table"));
    let mut data = vec![Vec::new(); tables.len()];
    for row in rows.as_array().expect("rows") {
        data[of(row)].push(tables[of(row)].from_json(&row["row"]));
    }
    let change = |json: &Json| {
        let row = |name: &str| Some(tables[of(json)].from_json(&json[name]));
        let (old, new) = match json["op"].as_str() {
            Some("add") => (None, row("row")),
            Some("remove") => (row("row"), None),
            _ => (row("oldRow"), row("row")),
        };
        Change {
            table: of(json),
            old,
            new,
        }
    };
    let steps = case["steps"].as_array().into_iter().flatten();
    let transactions = steps.map(|step| {
        let changes = step["changes"].as_array().expect("changes");
        changes.iter().map(change).collect()
    });
    Program {
        query: Ast::from_json(&case["ast"].to_string()).expect("an AST"),
        rows: data,
        transactions: transactions.collect(),
        tables,
    }
}

/// Whether the obvious answers are those of the case.
///
/// # Panics
/// They are not.
pub fn check(case: &Json, program: &Program, expected: &Expected) {
    let id = &case["id"];
    let wanted = std::iter::once((&case["initial"], &case["error"]));
    let steps = case["steps"].as_array().into_iter().flatten();
    let wanted = wanted.chain(steps.map(|step| (&step["view"], &step["error"])));
    for (at, ((view, error), got)) in wanted.zip(&expected.views).enumerate() {
        let got = tree::to_json(&program.tables, &program.query, &case["format"], got);
        match (got, error.as_str()) {
            (Ok(got), None) => assert_eq!(got, *view, "case {id}, state {at}"),
            (Err(got), Some(error)) => assert!(got.contains(error), "case {id}: {got}"),
            (got, error) => panic!("case {id}, state {at}: {got:?}, not {error:?}"),
        }
    }
}

/// A program with its obvious answers as a case for a case file; one that has a schema of its own.
pub fn write(program: &Program, id: &str) -> Json {
    let row = |change: &Change| {
        let table = &program.tables[change.table];
        let json = |row: &Option<Vec<_>>| row.as_ref().map(|row| table.to_json(row));
        match (json(&change.old), json(&change.new)) {
            (Some(old), Some(new)) => {
                json!({"op": "edit", "table": table.name, "oldRow": old, "row": new})
            }
            (Some(old), None) => json!({"op": "remove", "table": table.name, "row": old}),
            (_, new) => json!({"op": "add", "table": table.name, "row": new}),
        }
    };
    let mut data = program.rows.clone();
    let view = |data: &_| {
        let state = State {
            tables: &program.tables,
            data,
        };
        tree::to_json(
            &program.tables,
            &program.query,
            &Json::Null,
            &state.view(&program.query),
        )
        .unwrap_or_default()
    };
    let rows = program.tables.iter().zip(&program.rows);
    let rows: Vec<Json> = rows
        .flat_map(|(table, rows)| {
            rows.iter()
                .map(|row| json!({"table": table.name, "row": table.to_json(row)}))
        })
        .collect();
    let initial = view(&data);
    let steps: Vec<Json> = program
        .transactions
        .iter()
        .map(|transaction| {
            let changes: Vec<Json> = transaction.iter().map(row).collect();
            for change in transaction {
                apply(&program.tables, &mut data, change);
            }
            json!({"changes": changes, "view": view(&data)})
        })
        .collect();
    let ast: Json = serde_json::from_str(&program.query.to_json()).unwrap_or_default();
    json!({
        "id": id, "schema": program.schema_json(), "rows": rows, "ast": ast, "format": {},
        "initial": initial, "steps": steps,
    })
}
