//! The cases of `tests/cases/engine.json`: what a query gives at first, and after each transaction.

use std::sync::Arc;

use landfall_ivm::{
    Choice, Entry, LiveQuery, MemorySource, Pipeline, Progress, SourceChange, Steps,
};
use landfall_zql::ast::Ast;
use landfall_zql::{Names, Row, Schema, TableId};
use serde_json::{Value, json};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/cases/engine.json");

struct Tables(Arc<Schema>);

impl Tables {
    fn row(&self, table: &Value, row: &Value) -> (TableId, Row) {
        let id = self
            .0
            .table(table.as_str().expect("a table name"))
            .expect("a known table");
        (
            id,
            self.0[id]
                .row_from_json(&row.to_string(), Names::Client)
                .expect("a row"),
        )
    }

    fn change(&self, change: &Value) -> SourceChange {
        let (table, row) = self.row(&change["table"], &change["row"]);
        match change["op"].as_str() {
            Some("add") => SourceChange {
                table,
                old: None,
                new: Some(row),
            },
            Some("remove") => SourceChange {
                table,
                old: Some(row),
                new: None,
            },
            _ => SourceChange {
                table,
                old: Some(self.row(&change["table"], &change["oldRow"]).1),
                new: Some(row),
            },
        }
    }
}

/// A list of entries as the case file writes it. A list of one that holds two is refused by JavaScript.
fn render(
    schema: &Schema,
    table: TableId,
    ast: &Ast,
    format: &Value,
    list: &[Entry],
) -> Result<Value, String> {
    let mut nodes = Vec::new();
    for entry in list {
        let mut row = String::new();
        schema[table].row_to_json(&entry.row, Names::Client, &mut row);
        let mut node =
            json!({ "row": serde_json::from_str::<Value>(&row).expect("a row is JSON") });
        if entry.count > 1 {
            node["count"] = json!(entry.count);
        }
        for (related, children) in ast.shown_related().zip(&entry.children) {
            let name = related.subquery.alias.as_deref().expect("an alias");
            let far = if related.hidden == Some(true) {
                &related
                    .subquery
                    .related
                    .as_ref()
                    .expect("a junction leads on")[0]
                    .subquery
            } else {
                &related.subquery
            };
            let child = schema.table(&far.table).expect("a known table");
            let format = &format["relationships"][name];
            node["related"][name] = render(schema, child, far, format, children)?;
        }
        nodes.push(node);
    }
    if format["singular"] == json!(true) {
        if nodes.len() > 1 {
            return Err("Singular relationship should not have multiple rows".into());
        }
        return Ok(nodes.pop().unwrap_or(Value::Null));
    }
    Ok(Value::Array(nodes))
}

fn run(
    schema: &Arc<Schema>,
    file: &Value,
    case: &Value,
    with_indexes: bool,
    choice: Choice<'_>,
) -> Result<(), String> {
    let tables = Tables(Arc::clone(schema));
    let mut source = MemorySource::new(Arc::clone(schema));
    let rows = case
        .get("rows")
        .unwrap_or_else(|| &file["fixtures"][case["fixture"].as_str().unwrap_or_default()]);
    for row in rows.as_array().expect("a list of rows") {
        let (table, row) = tables.row(&row["table"], &row["row"]);
        source.apply(&SourceChange {
            table,
            old: None,
            new: Some(row),
        });
    }
    let ast = Ast::from_json(&case["ast"].to_string()).map_err(|error| error.to_string())?;
    let pipeline = Pipeline::plan(&ast, schema, choice).map_err(|error| error.to_string())?;
    let mut query = LiveQuery::new(pipeline);
    if with_indexes {
        for (table, index) in query.pipeline().indexes() {
            source.retain_index(*table, index);
        }
    }
    while query
        .hydrate(&source, &Steps::new(1))
        .map_err(|error| error.to_string())?
        == Progress::More
    {}
    let shown = |query: &LiveQuery| {
        render(
            schema,
            query.pipeline().table(),
            &ast,
            &case["format"],
            query.entries(),
        )
    };
    assert_eq!(
        shown(&query)?,
        case["initial"],
        "case {} at first: {}",
        case["id"],
        case["query"]
    );
    for (number, step) in case["steps"].as_array().into_iter().flatten().enumerate() {
        for change in step["changes"].as_array().expect("changes") {
            let change = tables.change(change);
            query
                .push(&source, &change)
                .map_err(|error| error.to_string())?;
            source.apply(&change);
        }
        match (shown(&query), step.get("error")) {
            (Ok(view), None) => assert_eq!(
                view, step["view"],
                "case {} step {number}: {}",
                case["id"], case["query"]
            ),
            (Err(_), Some(_)) => {}
            (view, error) => panic!("case {} step {number}: {view:?}, not {error:?}", case["id"]),
        }
    }
    Ok(())
}

#[test]
fn every_case_gives_the_views_of_the_file() {
    let file: Value =
        serde_json::from_str(&std::fs::read_to_string(FILE).expect("the case file")).expect("JSON");
    let schema = Arc::new(Schema::from_json(&file["schema"].to_string()).expect("a schema"));
    let mut ran = 0;
    for case in file["cases"].as_array().expect("cases") {
        let choices = [Choice::Hinted, Choice::Scan, Choice::Driven]
            .into_iter()
            .chain((1..6).map(Choice::Seeded));
        for (with_indexes, choice) in choices.flat_map(|c| [(false, c), (true, c)]) {
            match (
                run(&schema, &file, case, with_indexes, choice),
                case.get("error"),
            ) {
                (Ok(()), None) | (Err(_), Some(_)) => ran += 1,
                (result, error) => panic!(
                    "case {} {}: {result:?}, not {error:?}",
                    case["id"], case["query"]
                ),
            }
        }
    }
    assert!(ran >= 1600, "only {ran} runs");
}
