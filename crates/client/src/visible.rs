//! The visible rows in memory, the live queries over them, and what of both JavaScript has been told.

use crate::effect::ViewId;
use crate::error::ClientError;
use crate::flush::{Flush, encode_rows};
use crate::queries::Status;
use crate::rebase::{RowKey, VisibleRows};
use crate::row_handles::RowHandles;
use crate::view_ops::{TableShape, ViewOps};
use landfall_ivm::{
    Branch, BuildError, Choice, Entry, LiveQuery, MemorySource, Pipeline, Progress, SourceChange,
    Steps, analyze, evaluate,
};
use landfall_zql::sorted_map::SortedMap;
use landfall_zql::{Ast, Row, Schema, TableId};
use std::sync::Arc;

/// From this many changes on a transaction may be a bulk change.
const BULK_FROM: usize = 100;

struct OpenView {
    ast: Ast,
    query: LiveQuery,
    shape: TableShape,
}

/// Rows, live queries and the boundary's bookkeeping.
pub(crate) struct Visible {
    schema: Arc<Schema>,
    source: MemorySource,
    views: SortedMap<ViewId, OpenView>,
    handles: RowHandles,
    ops: ViewOps,
    /// Views show rows; before that they are open but empty.
    shown: bool,
}

impl Visible {
    /// Nothing visible yet. `idle_rows` as in [`crate::Limits`].
    pub(crate) fn new(schema: Arc<Schema>, idle_rows: usize) -> Self {
        Visible {
            source: MemorySource::new(schema.clone()),
            schema,
            views: SortedMap::new(),
            handles: RowHandles::keeping(idle_rows),
            ops: ViewOps::default(),
            shown: false,
        }
    }

    /// The rows that storage held. Views show them after [`Visible::show`].
    pub(crate) fn load(&mut self, rows: Vec<(TableId, Row)>) {
        let mut by_table: SortedMap<TableId, Vec<Row>> = SortedMap::new();
        for (table, row) in rows {
            by_table.get_or_default(table).push(row);
        }
        for (table, rows) in &by_table {
            self.source.load(*table, rows);
        }
    }

    /// Views that were opened so far show their rows now.
    pub(crate) fn show(&mut self) {
        self.shown = true;
        for (view, open) in &mut self.views {
            // Planned when there may have been no rows to plan by.
            let query = plan(&open.ast, &self.source).expect("the query was built before");
            retain_indexes(&mut self.source, &query);
            release_indexes(&mut self.source, &open.query);
            open.query = query;
            hydrate(&mut open.query, &self.source);
            if !open.query.entries().is_empty() {
                self.ops
                    .snapshot(&mut self.handles, *view, &open.shape, open.query.entries());
            }
        }
    }

    /// Opens a view and shows what is there.
    pub(crate) fn open(&mut self, view: ViewId, ast: &Ast) -> Result<(), ClientError> {
        let mut query = plan(ast, &self.source).map_err(|e| ClientError::Query(e.to_string()))?;
        retain_indexes(&mut self.source, &query);
        if self.shown {
            hydrate(&mut query, &self.source);
        }
        let shape = TableShape::of(query.pipeline());
        self.ops
            .snapshot(&mut self.handles, view, &shape, query.entries());
        let ast = ast.clone();
        self.views.insert(view, OpenView { ast, query, shape });
        Ok(())
    }

    /// Closes a view; its rows are released with the next flush.
    pub(crate) fn close(&mut self, view: ViewId) {
        let Some(open) = self.views.remove(&view) else {
            return;
        };
        self.handles.release_list(open.query.entries());
        release_indexes(&mut self.source, &open.query);
    }

    /// Shows how a view's query stands at the server.
    pub(crate) fn set_status(&mut self, view: ViewId, status: Status) {
        self.ops.status(view, status.word());
    }

    /// Runs a query once, on a branch or on the visible rows.
    pub(crate) fn run(&mut self, ast: &Ast, branch: Option<&Branch>) -> Result<Flush, ClientError> {
        let (shape, entries) = self.evaluate(ast, branch)?;
        let mut ops = ViewOps::default();
        ops.snapshot(&mut self.handles, ViewId(0), &shape, &entries);
        self.handles.release_list(&entries);
        drop(entries);
        Ok(self.flush_of(ops.take()))
    }

    /// Runs a query once, for a reader that holds no rows: with handles that count from 0.
    pub(crate) fn run_detached(
        &self,
        ast: &Ast,
        branch: Option<&Branch>,
    ) -> Result<Flush, ClientError> {
        let (shape, entries) = self.evaluate(ast, branch)?;
        let mut handles = RowHandles::keeping(0);
        let mut ops = ViewOps::default();
        ops.snapshot(&mut handles, ViewId(0), &shape, &entries);
        let (rows, _) = handles.take(|rows| encode_rows(&self.schema, rows));
        Ok(Flush {
            rows,
            ops: ops.take(),
            releases: Vec::new(),
        })
    }

    fn evaluate(
        &self,
        ast: &Ast,
        branch: Option<&Branch>,
    ) -> Result<(TableShape, Vec<Entry>), ClientError> {
        let unusable = |error: &dyn std::fmt::Display| ClientError::Query(error.to_string());
        let pipeline = Pipeline::plan(ast, &self.schema, Choice::Estimated(&self.source))
            .map_err(|e| unusable(&e))?;
        let entries = match branch {
            Some(branch) => evaluate(&pipeline, &branch.over(&self.source)),
            None => evaluate(&pipeline, &self.source),
        }
        .map_err(|e| unusable(&e))?;
        Ok((TableShape::of(&pipeline), entries))
    }

    /// Runs a query once and gives its plan, with what was read, as JSON text.
    pub(crate) fn analyze(&self, ast: &Ast) -> Result<String, ClientError> {
        let plan =
            analyze(ast, &self.source, false).map_err(|e| ClientError::Query(e.to_string()))?;
        Ok(plan.to_json())
    }

    /// What changed for JavaScript since the last time.
    pub(crate) fn take_flush(&mut self) -> Flush {
        let ops = self.ops.take();
        self.flush_of(ops)
    }

    fn flush_of(&mut self, ops: Vec<u32>) -> Flush {
        let (rows, releases) = self.handles.take(|rows| encode_rows(&self.schema, rows));
        Flush {
            rows,
            ops,
            releases,
        }
    }

    /// All visible rows, by table and key.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (TableId, &Row)> {
        self.schema
            .iter()
            .flat_map(|(table, _)| self.source.rows(table).map(move |row| (table, row)))
    }
}

/// A query that reads what costs least, as the rows are now.
fn plan(ast: &Ast, source: &MemorySource) -> Result<LiveQuery, BuildError> {
    let pipeline = Pipeline::plan(ast, source.schema(), Choice::Estimated(source))?;
    Ok(LiveQuery::new(pipeline))
}

fn retain_indexes(source: &mut MemorySource, query: &LiveQuery) {
    for (table, spec) in query.pipeline().indexes() {
        source.retain_index(*table, spec);
    }
}

fn release_indexes(source: &mut MemorySource, query: &LiveQuery) {
    for (table, spec) in query.pipeline().indexes() {
        source.release_index(*table, spec);
    }
}

fn hydrate(query: &mut LiveQuery, source: &MemorySource) {
    let done = query
        .hydrate(source, &Steps::unlimited())
        .expect("memory can be read");
    debug_assert!(
        done == Progress::Done,
        "a hydration without budget goes to the end"
    );
}

impl VisibleRows for Visible {
    fn row(&self, key: &RowKey) -> Option<Row> {
        self.source.row(key.0, &key.1).cloned()
    }

    fn keys(&self) -> Vec<RowKey> {
        self.rows()
            .map(|(table, row)| (table, self.schema[table].key_of(row)))
            .collect()
    }

    fn all(&self) -> Vec<(TableId, Row)> {
        let rows = self.rows();
        rows.map(|(table, row)| (table, row.clone())).collect()
    }

    fn change(&mut self, changes: Vec<(RowKey, Option<Row>)>) {
        if self.is_bulk(&changes) {
            self.change_in_bulk(changes);
            return;
        }
        let shown = self.shown;
        for (key, new) in changes {
            let change = SourceChange {
                table: key.0,
                old: self.row(&key),
                new,
            };
            let reading = |open: &&mut OpenView| shown && open.query.pipeline().reads(key.0);
            for open in self.views.values_mut().filter(reading) {
                open.query
                    .push(&self.source, &change)
                    .expect("memory can be read");
            }
            self.source.apply(&change);
        }
        for (view, open) in &mut self.views {
            let deltas = open.query.take_deltas();
            self.ops
                .deltas(&mut self.handles, *view, &open.shape, deltas);
        }
    }
}

impl Visible {
    /// Whether it is cheaper, here and in JavaScript, to run the queries anew than to follow each change.
    fn is_bulk(&self, changes: &[(RowKey, Option<Row>)]) -> bool {
        let mut tables: Vec<TableId> = changes.iter().map(|(key, _)| key.0).collect();
        tables.dedup();
        let rows: usize = tables.iter().map(|table| self.source.len(*table)).sum();
        changes.len() >= BULK_FROM && changes.len() >= rows / 8
    }

    fn change_in_bulk(&mut self, changes: Vec<(RowKey, Option<Row>)>) {
        let mut tables: Vec<TableId> = changes.iter().map(|(key, _)| key.0).collect();
        tables.dedup();
        // An empty table takes its rows, which come in key order, at once.
        let empty: Vec<TableId> = tables
            .iter()
            .copied()
            .filter(|table| self.source.len(*table) == 0)
            .collect();
        let mut first: SortedMap<TableId, Vec<Row>> = SortedMap::new();
        for (key, new) in changes {
            if empty.contains(&key.0) {
                first.get_or_default(key.0).extend(new);
                continue;
            }
            let change = SourceChange {
                table: key.0,
                old: self.row(&key),
                new,
            };
            self.source.apply(&change);
        }
        for (table, rows) in &first {
            self.source.load(*table, rows);
        }
        if !self.shown {
            return;
        }
        let reading = |open: &OpenView| tables.iter().any(|t| open.query.pipeline().reads(*t));
        for (view, open) in self.views.iter_mut().filter(|(_, open)| reading(open)) {
            let mut query = plan(&open.ast, &self.source).expect("the query was built before");
            retain_indexes(&mut self.source, &query);
            hydrate(&mut query, &self.source);
            // Shown anew before the old list is released, so that rows that stay keep their handles.
            self.ops
                .snapshot(&mut self.handles, *view, &open.shape, query.entries());
            self.handles.release_list(open.query.entries());
            release_indexes(&mut self.source, &open.query);
            open.query = query;
        }
    }
}
