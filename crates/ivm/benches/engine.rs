//! The engine over rows in memory: hydration, changes with live queries, scans, and how both grow with the data.
//! `cargo bench -p landfall-ivm`; a part of it: `cargo bench -p landfall-ivm -- update`.

mod tracker;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use landfall_ivm::{Choice, LiveQuery, MemorySource, Pipeline, SourceChange, Steps};
use landfall_zql::Row;
use landfall_zql::ast::Ast;
use tracker::{Data, Random, back, edits, newest};

const ISSUES: usize = 100_000;

fn load(data: &Data) -> MemorySource {
    let mut source = MemorySource::new(Arc::new(data.schema.clone()));
    for (table, rows) in &data.tables {
        source.load(*table, rows);
    }
    source
}

fn open(source: &mut MemorySource, ast: &Ast) -> LiveQuery {
    let pipeline = Pipeline::plan(ast, source.schema(), Choice::Estimated(source));
    let mut query = LiveQuery::new(pipeline.expect("the query is one"));
    for (table, spec) in query.pipeline().indexes() {
        source.retain_index(*table, spec);
    }
    query
        .hydrate(source, &Steps::unlimited())
        .expect("memory can be read");
    query
}

fn close(source: &mut MemorySource, query: &LiveQuery) {
    for (table, spec) in query.pipeline().indexes() {
        source.release_index(*table, spec);
    }
}

/// Six live queries over the data.
struct Live {
    source: MemorySource,
    queries: Vec<LiveQuery>,
    deltas: usize,
}

impl Live {
    fn new(data: &Data) -> Live {
        let mut source = load(data);
        let queries = tracker::queries()
            .iter()
            .map(|(_, ast)| open(&mut source, ast))
            .collect();
        Live {
            source,
            queries,
            deltas: 0,
        }
    }

    fn apply(&mut self, changes: &[SourceChange]) {
        for change in changes {
            for query in &mut self.queries {
                if query.pipeline().reads(change.table) {
                    query
                        .push(&self.source, change)
                        .expect("memory can be read");
                }
            }
            self.source.apply(change);
        }
        for query in &mut self.queries {
            self.deltas += query.take_deltas().len();
        }
    }
}

fn hydrate(c: &mut Criterion) {
    let data = Data::new(ISSUES);
    let mut group = c.benchmark_group("hydrate");
    group.sample_size(10);
    for (name, ast) in tracker::queries() {
        group.bench_function(BenchmarkId::new("first", name), |b| {
            b.iter_batched_ref(
                || load(&data),
                |source| open(source, &ast),
                BatchSize::PerIteration,
            );
        });
        let mut source = load(&data);
        let kept = open(&mut source, &ast);
        group.bench_function(BenchmarkId::new("again", name), |b| {
            b.iter(|| {
                let query = open(&mut source, &ast);
                close(&mut source, &query);
                assert_eq!(query.entries().len(), kept.entries().len());
                query.entries().len()
            });
        });
    }
}

fn change(c: &mut Criterion) {
    let data = Data::new(ISSUES);
    let mut live = Live::new(&data);
    let mut group = c.benchmark_group("change");
    // Each is done and undone, so that the data stays as it is: a figure is for both.
    for (name, changes) in [
        ("update of one row", edits(&data, 1, 1)),
        ("transaction of 100 rows", edits(&data, 100, 2)),
        ("100 rows through a window", newest(&data, 100)),
    ] {
        let undo = back(&changes);
        group.bench_function(name, |b| {
            b.iter(|| {
                live.apply(&changes);
                live.apply(&undo);
            });
        });
    }
    black_box(live.deltas);
}

fn scan(c: &mut Criterion) {
    let data = Data::new(10_000);
    let mut source = load(&data);
    let ast = Ast::from_json(r#"{"table":"issue"}"#).expect("a query");
    c.bench_function("scan/10k rows", |b| {
        b.iter(|| open(&mut source, &ast).entries().len())
    });
    let rows: Vec<Row> = data.rows("issue").to_vec();
    let mut shuffled = rows.clone();
    let mut random = Random::new(3);
    for at in (1..shuffled.len()).rev() {
        shuffled.swap(at, random.below(at + 1));
    }
    let table = data.id("issue");
    for (name, rows) in [("sorted", &rows), ("shuffled", &shuffled)] {
        c.bench_function(&format!("load/10k rows {name}"), |b| {
            b.iter(|| source.load(table, rows));
        });
    }
    let changes: Vec<SourceChange> = shuffled
        .iter()
        .map(|row| SourceChange {
            table,
            old: None,
            new: Some(row.clone()),
        })
        .collect();
    c.bench_function("load/10k rows one by one", |b| {
        b.iter_batched(
            || MemorySource::new(Arc::new(data.schema.clone())),
            |mut source| {
                changes.iter().for_each(|change| source.apply(change));
                source
            },
            BatchSize::PerIteration,
        );
    });
}

/// Bounded work must not grow with the data.
fn growth(c: &mut Criterion) {
    let mut group = c.benchmark_group("growth");
    group.sample_size(10);
    for issues in [1_000, 10_000, 100_000, 1_000_000] {
        let data = Data::new(issues);
        let mut source = load(&data);
        let (_, ast) = &tracker::queries()[3];
        let mut query = open(&mut source, ast);
        group.bench_function(BenchmarkId::new("hydrate", issues), |b| {
            b.iter(|| {
                let query = open(&mut source, ast);
                close(&mut source, &query);
                query.entries().len()
            });
        });
        let changes = edits(&data, 8, 4);
        let undo = back(&changes);
        group.bench_function(BenchmarkId::new("8 updates", issues), |b| {
            b.iter(|| {
                for change in changes.iter().chain(&undo) {
                    query.push(&source, change).expect("memory can be read");
                    source.apply(change);
                    query.take_deltas();
                }
            });
        });
    }
}

criterion_group!(benches, hydrate, change, scan, growth);
criterion_main!(benches);
