//! Any query that can be decoded is refused, or has an answer that stays the same when rows go and come back.

use std::sync::Arc;

use landfall_ivm::{LiveQuery, MemorySource, Pipeline, Progress, SourceChange, Steps, evaluate};
use landfall_zql::{Ast, Names, Row, Schema, TableId};

use crate::laws::SCHEMA;

const ROWS: [(&str, &str); 6] = [
    (
        "issue",
        r#"{"id":"1","title":"a","open":true,"rank":1,"meta":[1],"ownerID":"u"}"#,
    ),
    (
        "issue",
        r#"{"id":"2","title":"B%","open":false,"rank":null,"ownerID":"u"}"#,
    ),
    ("issue", r#"{"id":"u","rank":-1}"#),
    ("user", r#"{"id":"u","n":1}"#),
    ("user", r#"{"id":"u","n":2}"#),
    ("user", r#"{"id":"1","n":1}"#),
];

/// Builds, hydrates and changes.
pub fn pipeline(bytes: &[u8]) {
    let Some(ast) = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| Ast::from_json(text).ok())
    else {
        return;
    };
    // What is nested deeply is not wrong, but reads the same rows again and again.
    if bytes.iter().filter(|byte| **byte == b't').count() > 2_000 {
        return;
    }
    let schema = Arc::new(Schema::from_json(SCHEMA).expect("the schema of the laws is valid"));
    let Ok(mut query) = LiveQuery::build(&ast, &schema) else {
        return;
    };
    let mut source = MemorySource::new(Arc::clone(&schema));
    let rows = ROWS.map(|(table, row)| read(&schema, table, row));
    for (table, row) in &rows {
        source.apply(&change(*table, None, Some(row)));
    }
    let slice = || Steps::new(2);
    while query
        .hydrate(&source, &slice())
        .expect("memory can be read")
        == Progress::More
    {}
    let before = query.entries().to_vec();
    for (table, row) in &rows {
        for step in [
            change(*table, Some(row), None),
            change(*table, None, Some(row)),
        ] {
            query.begin(&step);
            while query
                .advance(&source, &slice())
                .expect("memory can be read")
                == Progress::More
            {}
            source.apply(&step);
            let fresh = Pipeline::build(&ast, &schema).expect("it was built before");
            let fresh = evaluate(&fresh, &source).expect("memory can be read");
            assert_eq!(query.entries(), fresh, "after a change");
        }
    }
    assert_eq!(query.entries(), before, "after all changes");
}

fn read(schema: &Schema, table: &str, row: &str) -> (TableId, Row) {
    let table = schema.table(table).expect("a table of the laws");
    let row = schema[table].row_from_json(row, Names::Client);
    (table, row.expect("a row of the table"))
}

fn change(table: TableId, old: Option<&Row>, new: Option<&Row>) -> SourceChange {
    SourceChange {
        table,
        old: old.cloned(),
        new: new.cloned(),
    }
}
