//! Tables whose indexes have many parts: what a live query shows is what a query that is read anew gives.

use std::sync::Arc;

use landfall_ivm::{LiveQuery, MemorySource, Progress, SourceChange, Steps};
use landfall_zql::ast::Ast;
use landfall_zql::{Row, Schema, TableId, ValueRef};

const SCHEMA: &str = r#"{"tables":{
  "a":{"columns":{"id":{"type":"string"},"owner":{"type":"string"},"n":{"type":"number"}},"primaryKey":["id"]}
}}"#;
const ROWS: usize = 20_000;

fn row(id: usize, owner: usize, n: f64) -> Row {
    let (id, owner) = (format!("{id:07}"), format!("user {}", owner % 100));
    Row::from_values([
        ValueRef::String(&id),
        ValueRef::String(&owner),
        ValueRef::Number(n),
    ])
}

fn check(seed: u64) {
    let schema = Schema::from_json(SCHEMA).expect("a schema");
    let mut source = MemorySource::new(Arc::new(schema));
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below
    };
    let rows: Vec<Row> = (0..ROWS)
        .map(|id| row(id, random(1000), (random(1_000_000_000)) as f64))
        .collect();
    source.append_all(TableId(0), &mut rows.iter().cloned());
    let mut rows = rows;
    let asts: Vec<Ast> = [
        r#"{"table":"a","orderBy":[["n","desc"]],"limit":50}"#,
        r#"{"table":"a","orderBy":[["n","asc"]],"limit":5}"#,
        r#"{"table":"a","orderBy":[["owner","asc"],["n","desc"]],"limit":300}"#,
        r#"{"table":"a","where":{"type":"simple","left":{"type":"column","name":"owner"},"op":"=","right":{"type":"literal","value":"user 7"}},"orderBy":[["n","desc"]]}"#,
    ].iter().map(|it| Ast::from_json(it).expect("a query")).collect();
    let mut live: Vec<LiveQuery> = asts
        .iter()
        .map(|ast| {
            let mut query = LiveQuery::build(ast, source.schema()).expect("builds");
            while query
                .hydrate(&source, &Steps::new(1 + 2000))
                .expect("reads")
                == Progress::More
            {}
            for (table, spec) in query.pipeline().indexes() {
                source.retain_index(*table, spec);
            }
            query
        })
        .collect();
    let mut top = 2_000_000_000.0;
    for step in 0..400 {
        if step % 50 == 49 {
            let copy = source.clone();
            let old = std::mem::replace(&mut source, copy);
            drop(old);
        }
        let id = match random(3) {
            0 => random(ROWS),
            _ => {
                let entries = live[0].entries();
                let entry = &entries[10 + random(30)];
                rows.iter()
                    .position(|row| *row == entry.row)
                    .expect("there")
            }
        };
        top += 1.0;
        let n = if random(4) == 0 {
            random(1_000_000_000) as f64
        } else {
            top
        };
        let new = row(id, random(1000), n);
        let change = SourceChange {
            table: TableId(0),
            old: Some(rows[id].clone()),
            new: Some(new.clone()),
        };
        for query in &mut live {
            query.push(&source, &change).expect("reads");
            drop(query.take_deltas());
        }
        source.apply(&change);
        rows[id] = new;
        if step % 20 == 0 {
            for (ast, query) in asts.iter().zip(&live) {
                let mut anew = LiveQuery::build(ast, source.schema()).expect("builds");
                let fresh = source.clone();
                assert_eq!(
                    anew.hydrate(&fresh, &Steps::unlimited()).expect("reads"),
                    Progress::Done
                );
                let shown: Vec<&Row> = query.entries().iter().map(|entry| &entry.row).collect();
                let read: Vec<&Row> = anew.entries().iter().map(|entry| &entry.row).collect();
                assert_eq!(shown, read, "seed {seed} step {step}");
            }
        }
    }
}

#[test]
fn what_is_shown_is_what_is_read() {
    for seed in 1..4 {
        check(seed);
    }
}
