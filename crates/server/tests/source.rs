//! The replica as a source gives what the memory source gives, for random rows and requests, through indexes.

#![allow(
    clippy::unwrap_used,
    reason = "a test stops where something is not as it should be"
)]

use std::ops::ControlFlow;
use std::sync::Arc;

use landfall_ivm::{Basis, FetchRequest, MemorySource, Source, SourceChange, Start};
use landfall_server::upstream::embedded::{EmbeddedSettings, exec, start};
use landfall_zql::ast::{Condition, Direction, Literal, Operand, SimpleOperator};
use landfall_zql::ordering::Order;
use landfall_zql::{Predicate, Row, TableId, Value, ValueRef};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rusqlite::Connection;

/// Columns of the test's table in the order of rows.
const COLUMNS: [&str; 5] = ["a", "b", "c", "id", "n"];
/// The table declares a collation that must not matter, and a nullable column of each kind that can be ordered.
const TABLE: &str = "CREATE TABLE t (id TEXT PRIMARY KEY NOT NULL, a TEXT COLLATE NOCASE, b BOOLEAN, c INTEGER NOT NULL, n REAL);";

fn cell(column: usize) -> BoxedStrategy<Value> {
    let text = prop::sample::select(vec!["", "a", "A", "b", "B", "é", "z\u{10000}"])
        .prop_map(|t| Value::String(t.into()));
    let nullable =
        |values: BoxedStrategy<Value>| prop_oneof![1 => Just(Value::Null), 4 => values].boxed();
    match COLUMNS[column] {
        "id" => "[a-dA-D]{1,2}"
            .prop_map(|t| Value::String(t.into()))
            .boxed(),
        "a" => nullable(text.boxed()),
        "b" => nullable(any::<bool>().prop_map(Value::Bool).boxed()),
        "c" => (0..4_i32).prop_map(|n| Value::Number(f64::from(n))).boxed(),
        _ => nullable(
            prop::sample::select(vec![-1.5, 0.0, 1.0, 2.0, 1e300])
                .prop_map(Value::Number)
                .boxed(),
        ),
    }
}

fn row() -> impl Strategy<Value = Vec<Value>> {
    (0..COLUMNS.len()).map(cell).collect::<Vec<_>>()
}

fn pack(values: &[Value]) -> Row {
    Row::from_values(values.iter().map(Value::as_ref))
}

/// A request: constrained columns with values, order, direction, start.
#[derive(Debug, Clone)]
struct Request {
    constraint: Vec<(usize, Value)>,
    order: Vec<(usize, Direction)>,
    reverse: bool,
    start: Option<(Vec<Value>, bool)>,
    filter: Option<Condition>,
}

/// A comparison of a column with values that it may hold.
fn test() -> impl Strategy<Value = Condition> {
    use SimpleOperator as Op;
    const OPERATORS: [Op; 10] = [
        Op::Equal,
        Op::NotEqual,
        Op::Is,
        Op::IsNot,
        Op::Less,
        Op::Greater,
        Op::LessOrEqual,
        Op::GreaterOrEqual,
        Op::In,
        Op::NotIn,
    ];
    let compared = (0..COLUMNS.len(), prop::sample::select(&OPERATORS[..]));
    compared.prop_flat_map(|(column, op)| {
        prop::collection::vec(cell(column), 0..4).prop_map(move |values| {
            let mut literals: Vec<Literal> = values.iter().map(literal).collect();
            let value = match op {
                Op::In | Op::NotIn => {
                    literals.retain(|literal| !matches!(literal, Literal::Null));
                    Literal::Array(literals)
                }
                _ => literals.pop().unwrap_or(Literal::Null),
            };
            Condition::Simple {
                left: Operand::Column {
                    name: COLUMNS[column].to_owned(),
                },
                right: Operand::Literal { value },
                op,
            }
        })
    })
}

fn literal(value: &Value) -> Literal {
    match value {
        Value::Bool(value) => Literal::Bool(*value),
        Value::Number(value) => Literal::Number(*value),
        Value::String(text) => Literal::String(text.to_string()),
        _ => Literal::Null,
    }
}

/// `LIKE` is not for SQLite to decide: whatever stands beside it in an OR is left to the engine as well.
fn filter() -> impl Strategy<Value = Condition> {
    let like = Condition::Simple {
        left: Operand::Column {
            name: "a".to_owned(),
        },
        right: Operand::Literal {
            value: Literal::String("a%".to_owned()),
        },
        op: SimpleOperator::Like,
    };
    let leaf = prop_oneof![6 => test(), 1 => Just(like)];
    leaf.prop_recursive(3, 8, 3, |inner| {
        let conditions = prop::collection::vec(inner, 1..4);
        (conditions, any::<bool>()).prop_map(|(conditions, all)| match all {
            true => Condition::And { conditions },
            false => Condition::Or { conditions },
        })
    })
}

fn request() -> impl Strategy<Value = Request> {
    let constraint =
        prop::collection::btree_set(0..COLUMNS.len(), 0..=2).prop_flat_map(|columns| {
            columns
                .into_iter()
                .map(|column| (Just(column), cell(column)))
                .collect::<Vec<_>>()
        });
    let direction = prop_oneof![Just(Direction::Asc), Just(Direction::Desc)];
    let order = prop::collection::vec((0..COLUMNS.len(), direction), 0..=3);
    (
        constraint,
        order,
        any::<bool>(),
        prop::option::of((row(), any::<bool>())),
        prop::option::of(filter()),
    )
        .prop_map(|(constraint, order, reverse, start, filter)| Request {
            constraint,
            order,
            reverse,
            start,
            filter,
        })
}

fn fetch(source: &dyn Source, request: &Request) -> Vec<Row> {
    let table = &source.schema()[TableId(0)];
    let order: Vec<(String, Direction)> = request
        .order
        .iter()
        .map(|&(c, d)| (COLUMNS[c].to_owned(), d))
        .collect();
    let order = Order::complete(Some(&order), table).unwrap();
    let constraint: Vec<(usize, ValueRef<'_>)> = request
        .constraint
        .iter()
        .map(|(c, v)| (*c, v.as_ref()))
        .collect();
    let start = request
        .start
        .as_ref()
        .map(|(row, at)| (pack(row), if *at { Basis::At } else { Basis::After }));
    let filter = request.filter.as_ref();
    let filter = filter.map(|filter| Predicate::compile(filter, table).unwrap());
    let mut rows = Vec::new();
    let fetch = FetchRequest {
        table: TableId(0),
        constraint: &constraint,
        order: &order,
        reverse: request.reverse,
        start: start
            .as_ref()
            .map(|(row, basis)| Start { row, basis: *basis }),
        filter: filter.as_ref(),
    };
    source
        .fetch(&fetch, &mut |row| {
            // A filter is a hint: rows that do not pass may be given, but none that pass may be missing.
            if filter.as_ref().is_none_or(|filter| filter.matches(row)) {
                rows.push(row.clone());
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    rows
}

fn insert(conn: &Connection, values: &[Value]) -> bool {
    let cells = values
        .iter()
        .map(|value| landfall_server::replica::to_cell(value.as_ref()));
    let sql = "INSERT OR IGNORE INTO t (a, b, c, id, n) VALUES (?1, ?2, ?3, ?4, ?5)";
    conn.execute(sql, rusqlite::params_from_iter(cells))
        .unwrap()
        == 1
}

fn seconds() -> u64 {
    std::env::var("LANDFALL_TEST_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(3)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_replica_gives_what_memory_gives() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    exec(&path, TABLE).unwrap();
    let started = start(EmbeddedSettings { path: path.clone() })
        .await
        .unwrap();
    let mut reader = started.replica.reader().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(seconds());
    let mut runner = TestRunner::new(Config {
        cases: 10,
        failure_persistence: None,
        ..Config::default()
    });
    let mut requests = 0;
    while std::time::Instant::now() < deadline {
        let input = (
            prop::collection::vec(row(), 0..25),
            prop::collection::vec(request(), 20),
        );
        let outcome = runner.run(&input, |(rows, requests)| {
            let conn = Connection::open(&path).unwrap();
            conn.busy_timeout(std::time::Duration::from_secs(5))
                .unwrap();
            conn.execute_batch("PRAGMA synchronous = OFF; BEGIN IMMEDIATE; DELETE FROM t")
                .unwrap();
            let mut memory = MemorySource::new(reader_schema(&started));
            for row in &rows {
                if insert(&conn, row) {
                    memory.apply(&SourceChange {
                        table: TableId(0),
                        old: None,
                        new: Some(pack(row)),
                    });
                }
            }
            conn.execute_batch("COMMIT").unwrap();
            let mut reader = started.replica.reader().unwrap();
            reader.advance().unwrap();
            for request in &requests {
                prop_assert_eq!(
                    fetch(&reader, request),
                    fetch(&memory, request),
                    "{:?}",
                    request
                );
            }
            Ok(())
        });
        outcome.unwrap_or_else(|failure| panic!("{failure}"));
        requests += 200;
    }
    assert!(requests >= 200);
    reader.release().unwrap();
    started.upstream.shutdown().await;
}

fn reader_schema(started: &landfall_server::upstream::Started) -> Arc<landfall_zql::Schema> {
    Arc::new(started.replica.schema().zql.clone())
}
