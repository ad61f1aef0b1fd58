//! A program over the memory source: what a client does.

use std::cell::RefCell;
use std::sync::Arc;

use landfall_ivm::{
    Branch, FetchRequest, IndexSpec, MemorySource, Pipeline, Progress, Sink, Source, SourceChange,
    SourceError, Steps, evaluate,
};
use landfall_zql::{Key, Row, Schema, TableId};

use crate::engine::{Places, Shape, Side};
use crate::program::{Change, Program};
use crate::random::Random;
use crate::run::{Expected, Failure, Manner, Watched, same};
use crate::tree::Node;

/// How a run in memory goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryManner {
    /// As for every source.
    pub common: Manner,
    /// Whether the indexes that the pipelines ask for are kept.
    pub indexes: bool,
    /// How the rows come.
    pub loading: Loading,
    /// Whether the changes go to a copy of the source.
    pub copies: bool,
}

/// How rows come into a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loading {
    /// All at once.
    Bulk,
    /// One after another, to be put at the end.
    Append,
    /// Each as a change.
    Changes,
}

impl MemoryManner {
    /// One that follows from a seed.
    pub fn random(random: &mut Random) -> MemoryManner {
        MemoryManner {
            common: Manner::random(random),
            indexes: random.chance(70),
            loading: match random.below(3) {
                0 => Loading::Bulk,
                1 => Loading::Append,
                _ => Loading::Changes,
            },
            copies: random.chance(50),
        }
    }
}

/// Runs the program.
///
/// # Errors
/// Something is not the obvious answer.
pub fn run(program: &Program, expected: &Expected, manner: MemoryManner) -> Result<(), Failure> {
    let schema =
        Schema::from_json(&program.schema_json().to_string()).map_err(|error| Failure {
            step: 0,
            what: error.to_string(),
        })?;
    let schema = Arc::new(schema);
    let places = Places::new(&program.tables, &schema, Side::Client);
    let mut source = MemorySource::new(Arc::clone(&schema));
    for (table, rows) in program.rows.iter().enumerate() {
        let id = places.id(table);
        let mut rows = rows.iter().map(|row| places.pack(table, row));
        match manner.loading {
            Loading::Bulk => source.load(id, &rows.collect::<Vec<_>>()),
            Loading::Append => source.append_all(id, &mut rows),
            Loading::Changes => rows.for_each(|row| {
                source.apply(&SourceChange {
                    table: id,
                    old: None,
                    new: Some(row),
                });
            }),
        }
    }
    let ast = program.query.clone();
    let common = manner.common;
    let mut watched = Watched::build(program, expected, ast, &source, places.clone(), common)?;
    if manner.indexes {
        for pipeline in watched.pipelines() {
            for (table, index) in pipeline.indexes() {
                source.retain_index(*table, index);
            }
        }
    }
    let prepared = Prepared {
        source: &source,
        missed: RefCell::default(),
    };
    watched.hydrate(&prepared)?;
    if let Some(what) = prepared.missed.into_inner() {
        return Err(Failure { step: 0, what });
    }
    for (at, transaction) in program.transactions.iter().enumerate() {
        let changes: Vec<SourceChange> = transaction
            .iter()
            .map(|change: &Change| places.change(change))
            .collect();
        if common.chooses(at, 1) {
            let branch = branch(&schema, &changes);
            let branched = branched(program, &branch.over(&source), &places);
            let branched = branched.map_err(|what| Failure { step: at + 1, what })?;
            same(at + 1, "branch", &branched, &expected.views[at + 1])?;
        }
        let before = manner.copies.then(|| source.clone());
        for change in &changes {
            watched.push(&source, change)?;
            source.apply(change);
        }
        watched.commit(&source)?;
        if let Some(mut before) = before {
            let shown = branched(program, &before, &places);
            let shown = shown.map_err(|what| Failure { step: at, what })?;
            same(at, "copied source", &shown, &expected.views[at])?;
            // The copy is what is gone on with, with the indexes of both.
            for change in &changes {
                before.apply(change);
            }
            before.adopt_indexes(source);
            source = before;
        }
    }
    Ok(())
}

/// A source that notes reads which no index was prepared for.
struct Prepared<'a> {
    source: &'a MemorySource,
    missed: RefCell<Option<String>>,
}

impl Source for Prepared<'_> {
    fn schema(&self) -> &Schema {
        self.source.schema()
    }

    fn fetch(&self, request: &FetchRequest<'_>, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        let keys = &self.schema()[request.table].primary_key;
        let is_fixed = |key: &usize| request.constraint.iter().any(|(column, _)| column == key);
        let index = request.index();
        let is_served = keys.iter().all(is_fixed) || self.has_index(request.table, &index);
        if !is_served && !request.is_empty() {
            self.missed
                .replace(Some(format!("read without an index: {index:?}")));
        }
        self.source.fetch(request, sink)
    }

    fn get(&self, table: TableId, key: &Key) -> Result<Option<Row>, SourceError> {
        self.source.get(table, key)
    }

    fn row_count(&self, table: TableId) -> Result<Option<u64>, SourceError> {
        self.source.row_count(table)
    }

    fn sample(&self, table: TableId, count: usize, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        self.source.sample(table, count, sink)
    }

    fn prepare(
        &self,
        table: TableId,
        index: &IndexSpec,
        steps: &Steps,
    ) -> Result<Progress, SourceError> {
        self.source.prepare(table, index, steps)
    }

    fn has_index(&self, table: TableId, index: &IndexSpec) -> bool {
        self.source.has_index(table, index)
    }

    fn index_on(&self, table: TableId, columns: &[usize]) -> Option<IndexSpec> {
        self.source.index_on(table, columns)
    }
}

/// The result of the query over a branch.
fn branched(program: &Program, source: &dyn Source, places: &Places) -> Result<Vec<Node>, String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let once = Pipeline::build(&program.query, source.schema()).map_err(|error| text(&error))?;
    let entries = evaluate(&once, source).map_err(|error| text(&error))?;
    let shape = Shape::new(&program.tables, &program.query);
    Ok(places.tree(&shape, &entries))
}

/// The changes as a layer over the state before them.
pub fn branch(schema: &Schema, changes: &[SourceChange]) -> Branch {
    let mut branch = Branch::default();
    for change in changes {
        write(&mut branch, schema, change);
    }
    branch
}

/// Adds a change to a layer.
pub fn write(
    branch: &mut Branch,
    schema: &Schema,
    SourceChange { table, old, new }: &SourceChange,
) {
    let table: TableId = *table;
    for (row, value) in [(old, None), (new, new.clone())] {
        if let Some(row) = row {
            branch.write(table, schema[table].key_of(row), value);
        }
    }
}
