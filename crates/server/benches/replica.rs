//! The engine over a SQLite file, as the server runs it: transactions of an application are followed as steps, queries
//! read through a reader and the changes are pushed through one that is rewound. The data, the changes and the
//! queries are those of the engine's own benches, and rows are counted as the server counts them.
//! `cargo bench -p landfall-server`; a part of it: `cargo bench -p landfall-server -- change`.

#![allow(
    clippy::unwrap_used,
    reason = "a bench stops where its file is not what it made"
)]

#[path = "../../ivm/benches/tracker/mod.rs"]
mod tracker;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use landfall_ivm::{
    Change, Choice, Output, Pipeline, Reader as Nodes, RowDelta, Source, SourceChange, SourceError,
};
use landfall_server::analyze::analyze_reader;
use landfall_server::queries::Rewound;
use landfall_server::replica::{Advance, Reader, Subscription, to_cell};
use landfall_server::upstream::embedded::ByHand;
use landfall_zql::ast::Ast;
use landfall_zql::{ColumnType, Key, Row, Schema, TableId};
use rusqlite::{Connection, params_from_iter};
use tempfile::TempDir;
use tracker::{Data, Random, back, edits, newest};

const ISSUES: usize = 100_000;

/// A file of an application, followed.
struct File {
    app: Connection,
    followed: ByHand,
    heard: Subscription,
    reader: Reader,
    /// Goes last.
    _folder: TempDir,
}

impl File {
    fn new(data: &Data) -> File {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let app = Connection::open(&path).unwrap();
        app.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA cache_size = -262144; BEGIN",
        )
        .unwrap();
        for (table, rows) in &data.tables {
            fill(&app, &data.schema, *table, rows);
        }
        app.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")
            .unwrap();
        let followed = ByHand::open(&path).unwrap();
        File {
            heard: followed.replica().subscribe(),
            reader: followed.replica().reader().unwrap(),
            app,
            followed,
            _folder: folder,
        }
    }

    /// One transaction of the application.
    fn write(&self, schema: &Schema, changes: &[SourceChange]) {
        self.app.execute_batch("BEGIN IMMEDIATE").unwrap();
        for change in changes {
            write(&self.app, schema, change);
        }
        self.app.execute_batch("COMMIT").unwrap();
    }

    /// Makes the indexes that were asked for, publishes what was written, and moves the reader there.
    fn step(&mut self) -> Vec<Arc<Advance>> {
        // As the server's readers do before they move: the log cannot be emptied while it is read.
        self.reader.release().unwrap();
        self.followed.step().unwrap();
        let version = self.reader.advance().unwrap();
        self.heard.take_until(version).unwrap()
    }

    /// Follows the file anew, without any index of the server's: nothing has been asked for.
    fn begin_anew(&mut self) {
        self.reader.release().unwrap();
        let made: Vec<String> = self
            .app
            .prepare(
                "SELECT name FROM sqlite_master WHERE name LIKE '\\_landfall\\_ix\\_%' ESCAPE '\\'",
            )
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        for index in made {
            self.app
                .execute_batch(&format!("DROP INDEX \"{index}\""))
                .unwrap();
        }
        self.followed = ByHand::open(&self._folder.path().join("app.db")).unwrap();
        self.heard = self.followed.replica().subscribe();
        self.reader = self.followed.replica().reader().unwrap();
    }

    /// Opens a query as the server does for the first time: its indexes are made before it is read.
    fn open_first(&mut self, ast: &Ast) -> Query {
        let schema = Source::schema(&self.reader);
        let pipeline = Pipeline::plan(ast, schema, Choice::Estimated(&self.reader)).unwrap();
        while !self.reader.ask_for_indexes(pipeline.indexes()).unwrap() {
            self.step();
        }
        Query::open(&self.reader, ast)
    }

    /// Opens a query with its indexes, and sees to it that none of its reads scans or sorts.
    fn prepare(&mut self, ast: &Ast) -> Query {
        Query::open(&self.reader, ast);
        self.step();
        let analysis = analyze_reader(&self.reader, ast).unwrap();
        assert!(analysis.warnings.is_empty(), "{analysis}");
        Query::open(&self.reader, ast)
    }
}

fn fill(app: &Connection, schema: &Schema, table: TableId, rows: &[Row]) {
    let table = &schema[table];
    let columns = table.columns.iter().map(|column| {
        let ty = match column.ty {
            ColumnType::Boolean => "BOOLEAN",
            ColumnType::Number => "INTEGER",
            _ => "TEXT",
        };
        let null = if column.optional { "" } else { " NOT NULL" };
        format!("\"{}\" {ty}{null}", column.name)
    });
    let columns: Vec<String> = columns.collect();
    let key = table.primary_key.iter();
    let key: Vec<&str> = key.map(|&at| table.columns[at].name.as_str()).collect();
    app.execute_batch(&format!(
        "CREATE TABLE \"{}\" ({}, PRIMARY KEY ({}))",
        table.name,
        columns.join(","),
        key.join(",")
    ))
    .unwrap();
    let places = vec!["?"; columns.len()].join(",");
    let insert = format!("INSERT INTO \"{}\" VALUES ({places})", table.name);
    let mut insert = app.prepare(&insert).unwrap();
    // Rows come in an order of their own, not in that of their keys.
    let mut random = Random::new(9);
    let mut order: Vec<usize> = (0..rows.len()).collect();
    for at in (1..order.len()).rev() {
        order.swap(at, random.below(at + 1));
    }
    for at in order {
        let cells = rows[at].iter().map(to_cell);
        insert.execute(params_from_iter(cells)).unwrap();
    }
}

/// The statement of an application: an update names the columns that it changes, or all if they stay as they are.
fn write(app: &Connection, schema: &Schema, change: &SourceChange) {
    let table = &schema[change.table];
    let name = |at: usize| format!("\"{}\" = ?", table.columns[at].name);
    let key: Vec<String> = table.primary_key.iter().map(|&at| name(at)).collect();
    let key = key.join(" AND ");
    let key_of = |row: &Row| -> Vec<_> {
        let key = table.primary_key.iter();
        key.map(|&at| to_cell(row.get(at))).collect()
    };
    let (text, cells) = match (&change.old, &change.new) {
        (Some(old), Some(new)) => {
            let changed = (0..table.columns.len()).filter(|&at| old.get(at) != new.get(at));
            let mut changed: Vec<usize> = changed.collect();
            if changed.is_empty() {
                changed.extend(0..table.columns.len());
            }
            let set: Vec<String> = changed.iter().map(|&at| name(at)).collect();
            let mut cells: Vec<_> = changed.iter().map(|&at| to_cell(new.get(at))).collect();
            cells.extend(key_of(old));
            let set = set.join(",");
            (
                format!("UPDATE \"{}\" SET {set} WHERE {key}", table.name),
                cells,
            )
        }
        (None, Some(new)) => {
            let places = vec!["?"; table.columns.len()].join(",");
            (
                format!("INSERT INTO \"{}\" VALUES ({places})", table.name),
                new.iter().map(to_cell).collect(),
            )
        }
        (Some(old), None) => (
            format!("DELETE FROM \"{}\" WHERE {key}", table.name),
            key_of(old),
        ),
        (None, None) => return,
    };
    let mut statement = app.prepare_cached(&text).unwrap();
    assert_eq!(statement.execute(params_from_iter(cells)).unwrap(), 1);
}

/// The rows of a query, and how often each occurs.
type Rows = BTreeMap<(TableId, Key), i64>;

/// A live query as the server holds it: no tree, only its rows.
struct Query {
    pipeline: Pipeline,
    rows: Rows,
}

impl Query {
    fn open(reader: &Reader, ast: &Ast) -> Query {
        let schema = Source::schema(reader);
        let pipeline = Pipeline::plan(ast, schema, Choice::Estimated(reader)).unwrap();
        let mut rows = Rows::new();
        let mut counter = Counter {
            schema,
            rows: &mut rows,
        };
        pipeline
            .fetch(reader, None, &mut |nodes, node| {
                nodes.rows_of_node(&node, &mut |table, delta| counter.take(table, delta))?;
                Ok(ControlFlow::Continue(()))
            })
            .unwrap();
        Query { pipeline, rows }
    }

    fn push(&mut self, source: &dyn Source, change: &SourceChange) {
        if self.pipeline.reads(change.table) {
            let mut counter = Counter {
                schema: source.schema(),
                rows: &mut self.rows,
            };
            self.pipeline.push(source, change, &mut counter).unwrap();
        }
    }
}

struct Counter<'a> {
    schema: &'a Schema,
    rows: &'a mut Rows,
}

impl Counter<'_> {
    fn take(&mut self, table: TableId, delta: RowDelta<'_>) {
        match delta {
            RowDelta::Enter(row) => self.count(table, row, 1),
            RowDelta::Leave(row) => self.count(table, row, -1),
            RowDelta::Edit { old, new } => {
                self.count(table, old, -1);
                self.count(table, new, 1);
            }
        }
    }

    fn count(&mut self, table: TableId, row: &Row, by: i64) {
        let key = (table, self.schema[table].key_of(row));
        let count = self.rows.entry(key.clone()).or_default();
        *count += by;
        if *count == 0 {
            self.rows.remove(&key);
        }
    }
}

impl Output for Counter<'_> {
    fn push(&mut self, nodes: Nodes<'_>, change: Change) -> Result<(), SourceError> {
        nodes.rows_of_change(&change, &mut |table, delta| self.take(table, delta))
    }
}

/// How long the application's commit, following it, and the pushes took.
type Parts = [Duration; 3];

/// Live queries over a file.
struct Live<'a> {
    schema: &'a Schema,
    file: File,
    queries: Vec<(Ast, Query)>,
}

impl<'a> Live<'a> {
    fn new(data: &'a Data, queries: &[(&str, Ast)]) -> Live<'a> {
        let mut file = File::new(data);
        let queries = queries.iter();
        let queries = queries.map(|(_, ast)| (ast.clone(), file.prepare(ast)));
        Live {
            schema: &data.schema,
            queries: queries.collect(),
            file,
        }
    }

    /// Commits the changes and brings the queries there. Gives how long the parts took.
    fn apply(&mut self, changes: &[SourceChange]) -> Parts {
        let begun = Instant::now();
        self.file.write(self.schema, changes);
        let write = begun.elapsed();
        let begun = Instant::now();
        let advances = self.file.step();
        let follow = begun.elapsed();
        let begun = Instant::now();
        let mut source = Rewound::new(&self.file.reader, &advances);
        for change in advances.iter().flat_map(|advance| &advance.changes) {
            let pushed = SourceChange {
                table: change.table,
                old: change.before.clone(),
                new: change.after.clone(),
            };
            for (_, query) in &mut self.queries {
                query.push(&source, &pushed);
            }
            source.reveal(change);
        }
        [write, follow, begun.elapsed()]
    }

    /// Does the transactions and undoes them, so that the data stays as it is.
    fn there_and_back(&mut self, transactions: &[&[SourceChange]]) -> Parts {
        let there = transactions.iter().map(|changes| changes.to_vec());
        let again = transactions.iter().rev().map(|changes| back(changes));
        let all: Vec<_> = there.chain(again).collect();
        let none = [Duration::ZERO; 3];
        all.iter().fold(none, |sum, changes| {
            let parts = self.apply(changes);
            std::array::from_fn(|part| sum[part] + parts[part])
        })
    }

    /// Measures transactions there and back: a figure is for both.
    fn measure(
        &mut self,
        c: &mut Criterion,
        group: &str,
        id: &str,
        transactions: &[&[SourceChange]],
    ) {
        let mut group = c.benchmark_group(group);
        group.sample_size(10);
        // Whatever these changes ask for is made before they are measured.
        for _ in 0..2 {
            self.there_and_back(transactions);
        }
        group.bench_function(BenchmarkId::new("commit to rows", id), |b| {
            b.iter(|| self.there_and_back(transactions));
        });
        for (part, name) in ["the commit", "following it", "the pushes"]
            .into_iter()
            .enumerate()
        {
            group.bench_function(BenchmarkId::new(name, id), |b| {
                b.iter_custom(|times| {
                    let one = |_| self.there_and_back(transactions)[part];
                    (0..times).map(one).sum()
                });
            });
        }
        for (ast, query) in &self.queries {
            let fresh = Query::open(&self.file.reader, ast);
            assert!(
                fresh.rows == query.rows,
                "the rows are others when read anew"
            );
        }
    }
}

fn hydrate(c: &mut Criterion) {
    let data = Data::new(ISSUES);
    let mut file = File::new(&data);
    let mut group = c.benchmark_group("hydrate");
    group.sample_size(10);
    for (name, ast) in tracker::queries() {
        group.bench_function(BenchmarkId::new("first, with its indexes", name), |b| {
            b.iter_custom(|times| {
                let open = |_| {
                    file.begin_anew();
                    let begun = Instant::now();
                    file.open_first(&ast);
                    begun.elapsed()
                };
                (0..times).map(open).sum()
            });
        });
        let kept = file.prepare(&ast);
        group.bench_function(BenchmarkId::new("again", name), |b| {
            b.iter(|| {
                let query = Query::open(&file.reader, &ast);
                assert_eq!(query.rows.len(), kept.rows.len());
            });
        });
    }
}

fn change(c: &mut Criterion) {
    let data = Data::new(ISSUES);
    let mut live = Live::new(&data, &tracker::queries());
    for (name, changes) in [
        ("update of one row", edits(&data, 1, 1)),
        ("transaction of 100 rows", edits(&data, 100, 2)),
        ("100 rows through a window", newest(&data, 100)),
    ] {
        live.measure(c, "change", name, &[&changes]);
    }
}

/// Bounded work must not grow with the data.
fn growth(c: &mut Criterion) {
    for issues in [1_000, 10_000, 100_000, 300_000] {
        let data = Data::new(issues);
        let bounded = &tracker::queries()[3..4];
        let mut live = Live::new(&data, bounded);
        let mut group = c.benchmark_group("growth");
        group.sample_size(10);
        group.bench_function(BenchmarkId::new("hydrate", issues), |b| {
            b.iter(|| Query::open(&live.file.reader, &bounded[0].1).rows.len());
        });
        group.finish();
        let updates = edits(&data, 8, 4);
        let updates: Vec<_> = updates.chunks(1).collect();
        live.measure(c, "growth", &format!("8 updates, {issues}"), &updates);
    }
}

criterion_group!(benches, hydrate, change, growth);
criterion_main!(benches);
