//! A program over the memory source: what a client does.

use std::sync::Arc;

use landfall_ivm::{Branch, MemorySource, Pipeline, Source, SourceChange, evaluate};
use landfall_zql::{Schema, TableId};

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
    /// Whether the rows come all at once, or one by one.
    pub bulk: bool,
}

impl MemoryManner {
    /// One that follows from a seed.
    pub fn random(random: &mut Random) -> MemoryManner {
        MemoryManner {
            common: Manner::random(random),
            indexes: random.chance(70),
            bulk: random.chance(50),
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
        let rows = rows.iter().map(|row| places.pack(table, row));
        if manner.bulk {
            source.load(id, &rows.collect::<Vec<_>>());
            continue;
        }
        for row in rows {
            source.apply(&SourceChange {
                table: id,
                old: None,
                new: Some(row),
            });
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
    watched.hydrate(&source)?;
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
        for change in &changes {
            watched.push(&source, change)?;
            source.apply(change);
        }
        watched.commit(&source)?;
    }
    Ok(())
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
