//! What the planner's choice is worth: the same query by a scan, by its driver, and as it is planned.
//! `cargo bench -p landfall-ivm --bench planning`

mod tracker;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use landfall_ivm::{Choice, MemorySource, Pipeline, evaluate};
use landfall_zql::ast::Ast;
use tracker::{Data, id, user_id};

const EXISTS: &str = r#"{"type":"correlatedSubquery","op":"EXISTS","related":{
    "correlation":{"parentField":["id"],"childField":["issueId"]},"subquery":{"table":"TABLE","alias":"zsubq_x" WHERE}}}"#;

fn exists(table: &str, column_and_value: Option<(&str, &str)>) -> String {
    let condition = column_and_value.map_or(String::new(), |(column, value)| {
        format!(r#","where":{{"type":"simple","op":"=","left":{{"type":"column","name":"{column}"}},"right":{{"type":"literal","value":"{value}"}}}}"#)
    });
    EXISTS.replace("TABLE", table).replace("WHERE", &condition)
}

fn query(condition: &str, limit: Option<u32>) -> Ast {
    let limit = limit.map_or(String::new(), |limit| format!(r#","limit":{limit}"#));
    let json =
        format!(r#"{{"table":"issue","orderBy":[["created","desc"]],"where":{condition}{limit}}}"#);
    Ast::from_json(&json).expect("a query")
}

fn planning(criterion: &mut Criterion) {
    let data = Data::new(100_000);
    let mut source = MemorySource::new(Arc::new(data.schema.clone()));
    for (table, rows) in &data.tables {
        source.load(*table, rows);
    }
    let his = exists("comment", Some(("authorId", &user_id(7))));
    let label = exists("issueLabel", Some(("labelId", &id(3, 7))));
    let cases = [
        ("300 of 300,000 children", query(&his, None)),
        ("300 of 300,000 children, limit 50", query(&his, Some(50))),
        (
            "all 300,000 children, limit 50",
            query(&exists("comment", None), Some(50)),
        ),
        (
            "3 of 100 parents have one, limit 50",
            query(&label, Some(50)),
        ),
    ];
    for (name, ast) in &cases {
        let mut group = criterion.benchmark_group(*name);
        group.sample_size(10);
        for way in ["scan", "driven", "planned"] {
            let plan = |source: &MemorySource| {
                let choice = match way {
                    "scan" => Choice::Scan,
                    "driven" => Choice::Driven,
                    _ => Choice::Estimated(source),
                };
                Pipeline::plan(ast, source.schema(), choice).expect("a pipeline")
            };
            let indexes = plan(&source).indexes().to_vec();
            for (table, index) in &indexes {
                source.retain_index(*table, index);
            }
            group.bench_function(way, |bencher| {
                bencher.iter(|| black_box(evaluate(&plan(&source), &source)).expect("rows"));
            });
            for (table, index) in &indexes {
                source.release_index(*table, index);
            }
        }
        group.finish();
    }
}

criterion_group!(benches, planning);
criterion_main!(benches);
