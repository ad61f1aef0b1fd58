//! Runs a query once and says how: the plan with what was read and given at each level.

use std::cell::RefCell;
use std::ops::ControlFlow;

use landfall_zql::ast::Ast;
use landfall_zql::{Key, Row, Schema, TableId};

use crate::change::{Node, Relationship, Role};
use crate::error::{AnalyzeError, SourceError};
use crate::pipeline::{OpId, Operator, Pipeline, Reader};
use crate::planner::Choice;
use crate::planner::explain::{AccessPath, LevelPlan, Read};
use crate::source::{FetchRequest, IndexSpec, Sink, Source};
use crate::steps::{Progress, Steps};

/// Runs a query over a source, choosing what to read by its statistics, and gives the plan with what was read.
/// `synced` also reads the rows that an `EXISTS` is decided by, all of which a server sends to its clients.
///
/// # Errors
/// The query cannot be built, or rows could not be read.
pub fn analyze(ast: &Ast, source: &dyn Source, synced: bool) -> Result<LevelPlan, AnalyzeError> {
    let schema = source.schema();
    let pipeline = Pipeline::plan(ast, schema, Choice::Estimated(source))?;
    Ok(pipeline.analyze(source, synced)?)
}

impl Pipeline {
    /// Runs a pipeline that nothing else uses, and gives the plan with what was read.
    ///
    /// # Errors
    /// Rows could not be read.
    pub fn analyze(&self, source: &dyn Source, synced: bool) -> Result<LevelPlan, SourceError> {
        let counting = Counting {
            source,
            pipeline: self,
            reads: RefCell::new(vec![Read::default(); self.operators.len()]),
        };
        let mut given = vec![0; self.operators.len()];
        let mut roots = 0;
        self.fetch(&counting, None, &mut |reader, node| {
            roots += 1;
            count(reader, &node, self.relationships(), synced, &mut given)?;
            Ok(ControlFlow::Continue(()))
        })?;
        let reads = counting.reads.into_inner();
        let mut plan = self.explain(source.schema());
        plan.fill(&reads, &given, roots);
        Ok(plan)
    }

    fn connection_with_filter(&self, request: &FetchRequest<'_>) -> Option<OpId> {
        let filter = request.filter?;
        self.operators.iter().position(|operator| {
            matches!(operator, Operator::Connection(c) if std::ptr::eq(&c.filter, filter))
        })
    }
}

/// Counts the rows below a node by their joins.
fn count(
    reader: Reader<'_>,
    node: &Node,
    relationships: &[Relationship],
    synced: bool,
    given: &mut [u64],
) -> Result<(), SourceError> {
    for relationship in relationships {
        let counts = match relationship.role {
            Role::Result | Role::Hidden => true,
            Role::Exists => synced,
            Role::Permission => false,
        };
        if !counts {
            continue;
        }
        for child in reader.children(relationship.join, node)? {
            given[relationship.join.0] += 1;
            count(reader, &child, &relationship.relationships, synced, given)?;
        }
    }
    Ok(())
}

impl LevelPlan {
    fn fill(&mut self, reads: &[Read], given: &[u64], roots: u64) {
        self.read = Some(Read {
            given: self.join.map_or(roots, |join| given[join.0]),
            ..reads[self.connection].clone()
        });
        for level in self.conditions.iter_mut().chain(&mut self.related) {
            level.fill(reads, given, roots);
        }
    }
}

/// A source that counts what is read from it, by connection.
struct Counting<'a> {
    source: &'a dyn Source,
    pipeline: &'a Pipeline,
    /// By operator.
    reads: RefCell<Vec<Read>>,
}

impl Counting<'_> {
    fn note(&self, connection: OpId, request: &FetchRequest<'_>) -> Result<(), SourceError> {
        let read = &mut self.reads.borrow_mut()[connection];
        read.fetches += 1;
        let wanted = wanted(request, self.schema());
        if read.paths.iter().any(|path| path.wanted == wanted) {
            return Ok(());
        }
        if let Some(path) = self.source.access_path(request)? {
            read.paths.push(AccessPath { wanted, ..path });
        }
        Ok(())
    }
}

/// The columns of the index that serves a request, which a unique key does with fewer.
fn wanted(request: &FetchRequest<'_>, schema: &Schema) -> Vec<String> {
    let table = &schema[request.table];
    let index = request.index();
    let columns = index.0.0.iter();
    columns
        .map(|(column, _)| table.columns[*column].name.clone())
        .collect()
}

impl Source for Counting<'_> {
    fn schema(&self) -> &Schema {
        self.source.schema()
    }

    fn fetch(&self, request: &FetchRequest<'_>, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        let Some(connection) = self.pipeline.connection_with_filter(request) else {
            return self.source.fetch(request, sink);
        };
        self.note(connection, request)?;
        let mut rows = 0;
        // Without the filter the source gives what it would pass over as well.
        let request = FetchRequest {
            filter: None,
            ..*request
        };
        let done = self.source.fetch(&request, &mut |row: &Row| {
            rows += 1;
            sink(row)
        });
        self.reads.borrow_mut()[connection].rows += rows;
        done
    }

    fn get(&self, table: TableId, key: &Key) -> Result<Option<Row>, SourceError> {
        self.source.get(table, key)
    }

    fn prepare(
        &self,
        table: TableId,
        index: &IndexSpec,
        steps: &Steps,
    ) -> Result<Progress, SourceError> {
        self.source.prepare(table, index, steps)
    }

    fn index_on(&self, table: TableId, columns: &[usize]) -> Option<IndexSpec> {
        self.source.index_on(table, columns)
    }

    fn has_index(&self, table: TableId, index: &IndexSpec) -> bool {
        self.source.has_index(table, index)
    }

    fn row_count(&self, table: TableId) -> Result<Option<u64>, SourceError> {
        self.source.row_count(table)
    }

    fn sample(&self, table: TableId, count: usize, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        self.source.sample(table, count, sink)
    }

    fn access_path(&self, request: &FetchRequest<'_>) -> Result<Option<AccessPath>, SourceError> {
        self.source.access_path(request)
    }
}
