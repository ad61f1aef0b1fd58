//! The visible rows in memory, the live queries over them, and what of both JavaScript has been told.

pub(crate) mod flush;
pub(crate) mod kept;
pub(crate) mod leaving;
pub(crate) mod resting;
pub(crate) mod row_columns;
pub(crate) mod row_handles;
pub(crate) mod view_ops;

use crate::effect::ViewId;
use crate::error::ClientError;
use crate::options::Limits;
use crate::queries::Status;
use crate::rebase::stage::{PLAN_STEPS, Stage};
use crate::rebase::{RowKey, VisibleRows};
use crate::views::flush::{Flush, encode_rows};
use crate::views::kept::Kept;
use crate::views::leaving::Leaving;
use crate::views::resting::Resting;
use crate::views::row_handles::RowHandles;
use crate::views::view_ops::{TableShape, ViewOps};
use landfall_ivm::{
    Branch, BuildError, Choice, Entry, LiveQuery, MemorySource, Pipeline, Progress, SourceChange,
    SourceError, Steps, analyze, evaluate,
};
use landfall_store::RowChange;
use landfall_zql::sorted_map::{SortedMap, SortedSet};
use landfall_zql::{Ast, Key, Row, Schema, TableId};
use std::sync::Arc;

/// From this many changes on a transaction may be a bulk change.
const BULK_FROM: usize = 100;

/// Queries that rest do not follow a transaction of more changes.
const FOLLOWED_BY_RESTING: usize = 32;

/// A view; its query is filled here or, if that takes long, on a stage.
pub(crate) struct OpenView {
    /// The query as it was asked.
    pub(crate) text: Box<str>,
    pub(crate) ast: Arc<Ast>,
    pub(crate) query: LiveQuery,
    /// What is shown until the query is filled.
    kept: Vec<Entry>,
    pub(crate) shape: TableShape,
    /// What is to be told with its first rows.
    status: Option<Status>,
}

/// The rows that a query reads.
#[derive(Clone, Copy)]
pub(crate) enum Base<'a> {
    /// What is visible.
    Visible,
    /// A branch of what is visible.
    Branch(&'a Branch),
    /// A branch of what is on the stage.
    Staged(&'a Branch),
}

/// Rows, live queries and the boundary's bookkeeping.
pub(crate) struct Visible {
    schema: Arc<Schema>,
    source: MemorySource,
    views: SortedMap<ViewId, OpenView>,
    resting: Resting,
    kept: Kept,
    handles: RowHandles,
    early_rows: usize,
    ops: ViewOps,
    /// Views show rows; before that they are open but empty.
    shown: bool,
    stage: Option<Stage>,
    pub(crate) leaving: Leaving,
}

impl Visible {
    /// Nothing visible yet.
    pub(crate) fn new(schema: Arc<Schema>, limits: &Limits) -> Self {
        Visible {
            source: MemorySource::new(schema.clone()),
            schema,
            views: SortedMap::new(),
            resting: Resting::new(limits.resting_rows),
            kept: Kept::default(),
            handles: RowHandles::keeping(limits.idle_rows),
            early_rows: limits.early_rows,
            ops: ViewOps::default(),
            shown: false,
            stage: None,
            leaving: Leaving::default(),
        }
    }

    /// Rows that storage held; they come by table and key. Views show them after [`Visible::show`].
    pub(crate) fn load(&mut self, table: TableId, rows: &mut dyn Iterator<Item = Row>) {
        self.source.append_all(table, rows);
    }

    /// What was loaded is not used.
    pub(crate) fn unload(&mut self) {
        self.take_source(MemorySource::new(self.schema.clone()));
    }

    /// Rows in place of those that were visible.
    fn take_source(&mut self, source: MemorySource) {
        let before = std::mem::replace(&mut self.source, source);
        self.leaving.take_source(before);
    }

    /// Whether there are no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows().next().is_none()
    }

    /// Views show rows from now on: [`Visible::work`] fills those that were opened so far.
    pub(crate) fn show(&mut self) {
        self.leave_kept();
        self.shown = true;
    }

    /// Whether [`Visible::work`] would get on with something.
    pub(crate) fn has_work(&self) -> bool {
        let is_free = self.stage.as_ref().is_none_or(Stage::is_beside);
        self.shown && is_free && !self.is_current()
    }

    /// Whether all views show what is visible.
    pub(crate) fn is_current(&self) -> bool {
        self.shown && self.views.values().all(|open| open.query.is_hydrated())
    }

    /// Opens a view and shows what is there; a view that takes long to fill is empty until [`Visible::work`] is done.
    pub(crate) fn open(
        &mut self,
        view: ViewId,
        text: &str,
        ast: &Arc<Ast>,
        steps: &Steps,
    ) -> Result<(), ClientError> {
        if self.open_again(view, text) {
            return Ok(());
        }
        let mut query = plan(ast, &self.source).map_err(|e| ClientError::Query(e.to_string()))?;
        retain_indexes(&mut self.source, &query);
        steps.spend_many(PLAN_STEPS);
        // Without steps there is no use in beginning.
        if self.shown && !steps.are_spent() && !fill(&mut query, &self.source, steps) {
            let empty = plan(ast, &self.source).map_err(|e| ClientError::Query(e.to_string()))?;
            release_indexes(&mut self.source, &query);
            retain_indexes(&mut self.source, &empty);
            query = empty;
        }
        let shape = TableShape::of(query.pipeline());
        self.ops
            .snapshot(&mut self.handles, view, &shape, query.entries());
        let open = OpenView {
            text: text.into(),
            ast: ast.clone(),
            query,
            kept: Vec::new(),
            shape,
            status: None,
        };
        self.views.insert(view, open);
        self.show_kept(view);
        Ok(())
    }

    /// The AST of this text, if a query is kept that it was read for.
    pub(crate) fn ast_of(&self, text: &str) -> Option<Arc<Ast>> {
        let kept = |open: &&OpenView| *open.text == *text;
        let open = self.resting.queries().find(kept)?;
        Some(open.ast.clone())
    }

    // A query that was closed a while ago has been kept current since.
    fn open_again(&mut self, view: ViewId, text: &str) -> bool {
        let Some(open) = self.resting.take(text) else {
            return false;
        };
        self.ops
            .snapshot(&mut self.handles, view, &open.shape, open.query.entries());
        self.views.insert(view, open);
        true
    }

    /// Fills views that are not filled yet, unless the rebase does so.
    pub(crate) fn work(&mut self, steps: &Steps) -> Progress {
        if self.is_current() || !self.shown {
            // What it was for was closed.
            if self.stage.as_ref().is_some_and(Stage::is_beside) {
                self.drop_stage();
            }
            return Progress::Done;
        }
        let stage = self
            .stage
            .get_or_insert_with(|| Stage::beside(self.source.clone()));
        if !stage.is_beside() {
            return Progress::Done;
        }
        let unchanged = SortedSet::new();
        let progress = stage.prepare(&self.views, &unchanged, &mut self.handles, steps);
        if progress == Progress::Done
            && let Some(stage) = self.stage.take()
        {
            let (source, queries, handed) = stage.finish();
            self.take_queries(queries);
            self.source.adopt_indexes(source);
            self.count_index_users();
            self.release(handed);
        }
        progress
    }

    /// Queries that were filled on a stage take the place of what their views show.
    fn take_queries(&mut self, queries: Vec<(ViewId, LiveQuery)>) {
        for (view, query) in queries {
            let Some(open) = self.views.get_mut(&view) else {
                continue;
            };
            // Shown anew before the old list is released, so that rows that stay keep their handles.
            self.ops
                .snapshot(&mut self.handles, view, &open.shape, query.entries());
            self.handles.release_list(open.query.entries());
            self.handles.release_list(&std::mem::take(&mut open.kept));
            open.query = query;
            if let Some(status) = open.status.take() {
                self.ops.status(view, status.word());
            }
        }
    }

    fn count_index_users(&mut self) {
        self.source.release_indexes();
        for open in self.views.values().chain(self.resting.queries()) {
            retain_indexes(&mut self.source, &open.query);
        }
    }

    fn release(&mut self, rows: Vec<Row>) {
        for row in rows {
            self.handles.release(&row);
        }
    }

    /// Closes a view; its rows are released with the next flush. Its query may rest for a while.
    pub(crate) fn close(&mut self, view: ViewId) {
        let Some(mut open) = self.views.remove(&view) else {
            return;
        };
        self.handles.release_list(open.query.entries());
        self.handles.release_list(&std::mem::take(&mut open.kept));
        if let Some(stage) = &mut self.stage {
            stage.forget(view);
        }
        for gone in self.resting.rest(open) {
            release_indexes(&mut self.source, &gone.query);
        }
    }

    fn let_resting_go(&mut self) {
        for gone in self.resting.take_all() {
            release_indexes(&mut self.source, &gone.query);
        }
    }

    /// Shows how a view's query stands at the server.
    pub(crate) fn set_status(&mut self, view: ViewId, status: Status) {
        match self.views.get_mut(&view) {
            // An answer is not complete before it is shown.
            Some(open) if !open.query.is_hydrated() => open.status = Some(status),
            _ => self.ops.status(view, status.word()),
        }
    }

    /// Whether a view shows its rows.
    pub(crate) fn is_filled(&self, view: ViewId) -> bool {
        let open = self.views.get(&view);
        open.is_some_and(|open| open.query.is_hydrated())
    }

    /// Runs a query once.
    pub(crate) fn run(&mut self, ast: &Ast, base: Base<'_>) -> Result<Flush, ClientError> {
        let (shape, entries) = self.evaluate(ast, base)?;
        let mut ops = ViewOps::default();
        ops.snapshot(&mut self.handles, ViewId(0), &shape, &entries);
        self.handles.release_list(&entries);
        drop(entries);
        Ok(self.flush_of(ops.take()))
    }

    /// Runs a query once, for a reader that holds no rows: with handles that count from 0.
    pub(crate) fn run_detached(&self, ast: &Ast, base: Base<'_>) -> Result<Flush, ClientError> {
        let (shape, entries) = self.evaluate(ast, base)?;
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

    fn evaluate(&self, ast: &Ast, base: Base<'_>) -> Result<(TableShape, Vec<Entry>), ClientError> {
        let unusable = |error: &dyn std::fmt::Display| ClientError::Query(error.to_string());
        let source = match (base, &self.stage) {
            (Base::Staged(_), Some(stage)) => &stage.source,
            _ => &self.source,
        };
        let pipeline = Pipeline::plan(ast, &self.schema, Choice::Estimated(source))
            .map_err(|e| unusable(&e))?;
        let entries = match base {
            Base::Visible => evaluate(&pipeline, source),
            Base::Branch(branch) | Base::Staged(branch) => {
                evaluate(&pipeline, &branch.over(source))
            }
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

    /// What changed for JavaScript since the last time. A few rows that nothing shows yet wait for more.
    pub(crate) fn take_flush(&mut self) -> Flush {
        let ops = self.ops.take();
        if ops.is_empty() && (1..self.early_rows).contains(&self.handles.fresh()) {
            return Flush::default();
        }
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

    /// The visible rows as they are now.
    pub(crate) fn copy_rows(&self) -> MemorySource {
        self.source.clone_rows()
    }

    /// All visible rows, by table and key.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (TableId, &Row)> {
        self.schema
            .iter()
            .flat_map(|(table, _)| self.source.rows(table).map(move |row| (table, row)))
    }
}

/// A query that reads what costs least, as the rows are now.
pub(crate) fn plan(ast: &Ast, source: &MemorySource) -> Result<LiveQuery, BuildError> {
    let pipeline = Pipeline::plan(ast, source.schema(), Choice::Estimated(source))?;
    Ok(LiveQuery::new(pipeline))
}

/// The same, of a query that was planned before.
pub(crate) fn plan_again(ast: &Ast, source: &MemorySource) -> LiveQuery {
    plan(ast, source).unwrap_or_else(|error| panic!("the query was built before: {error}"))
}

/// What reading of rows in memory gives: it cannot fail.
pub(crate) fn read<T>(result: Result<T, SourceError>) -> T {
    result.unwrap_or_else(|error| panic!("memory can be read: {error}"))
}

pub(crate) fn retain_indexes(source: &mut MemorySource, query: &LiveQuery) {
    for (table, spec) in query.pipeline().indexes() {
        source.retain_index(*table, spec);
    }
}

fn release_indexes(source: &mut MemorySource, query: &LiveQuery) {
    for (table, spec) in query.pipeline().indexes() {
        source.release_index(*table, spec);
    }
}

/// Whether the query is filled; after that it is to be made anew.
fn fill(query: &mut LiveQuery, source: &MemorySource, steps: &Steps) -> bool {
    let progress = read(query.hydrate(source, steps));
    progress == Progress::Done
}

impl VisibleRows for Visible {
    fn row(&self, key: &RowKey) -> Option<Row> {
        self.source.row(key.0, &key.1).cloned()
    }

    fn key_of(&self, table: TableId, row: &Row) -> Key {
        self.schema[table].key_of(row)
    }

    fn keys(&self) -> Vec<RowKey> {
        self.rows()
            .map(|(table, row)| (table, self.schema[table].key_of(row)))
            .collect()
    }

    fn change(&mut self, changes: Vec<(RowKey, Option<Row>)>) {
        if self.is_bulk(&changes) {
            self.change_in_bulk(changes);
            return;
        }
        if changes.len() > FOLLOWED_BY_RESTING {
            self.let_resting_go();
        }
        for (key, new) in changes {
            let change = SourceChange {
                table: key.0,
                old: self.row(&key),
                new,
            };
            let reading = |open: &&mut OpenView| {
                open.query.is_hydrated() && open.query.pipeline().reads(key.0)
            };
            for open in self.views.values_mut().filter(reading) {
                read(open.query.push(&self.source, &change));
            }
            for gone in self.resting.follow(&self.source, &change) {
                release_indexes(&mut self.source, &gone.query);
            }
            self.source.apply(&change);
            if let Some(stage) = &mut self.stage {
                stage.follow(&change);
            }
        }
        for (view, open) in &mut self.views {
            let deltas = open.query.take_deltas();
            self.ops
                .deltas(&mut self.handles, *view, &open.shape, deltas);
        }
    }

    fn stage(&mut self) {
        self.drop_stage();
        self.stage = Some(Stage::ahead(self.source.clone()));
    }

    fn staged_row(&self, key: &RowKey) -> Option<Row> {
        let stage = self.stage.as_ref()?;
        stage.source.row(key.0, &key.1).cloned()
    }

    fn clear_stage(&mut self) {
        if let Some(stage) = &mut self.stage {
            for (table, _) in self.schema.iter() {
                stage.clear(table);
            }
        }
    }

    fn change_stage(&mut self, key: RowKey, new: Option<Row>) {
        match new {
            Some(row) => self.take_in_stage(&RowChange::Put { table: key.0, row }),
            None => self.take_in_stage(&RowChange::Del {
                table: key.0,
                key: key.1,
            }),
        }
    }

    fn take_in_stage(&mut self, change: &RowChange) {
        if let Some(stage) = &mut self.stage {
            stage.change(change, &self.source);
        }
    }

    fn stage_is_still(&self) -> bool {
        self.stage.as_ref().is_none_or(Stage::is_still)
    }

    fn prepare_stage(&mut self, also_changed: &SortedSet<TableId>, steps: &Steps) -> Progress {
        match &mut self.stage {
            Some(stage) if self.shown => {
                stage.prepare(&self.views, also_changed, &mut self.handles, steps)
            }
            _ => Progress::Done,
        }
    }

    fn show_stage(&mut self) {
        if let Some(stage) = self.stage.take() {
            let (source, queries, handed) = stage.finish();
            self.take_queries(queries);
            drop(self.resting.take_all());
            self.take_source(source);
            self.count_index_users();
            self.release(handed);
        }
    }

    fn drop_stage(&mut self) {
        if let Some(stage) = self.stage.take() {
            let (source, _, handed) = stage.finish();
            self.leaving.take_source(source);
            self.release(handed);
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
        self.let_resting_go();
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
        // It cannot follow this; views that it was filling are filled on another one.
        if self.stage.as_ref().is_some_and(Stage::is_beside) {
            self.drop_stage();
        }
        let reads = |open: &OpenView| tables.iter().any(|t| open.query.pipeline().reads(*t));
        let mut queries = Vec::new();
        for (view, open) in &self.views {
            if open.query.is_hydrated() && reads(open) {
                let mut query = plan_again(&open.ast, &self.source);
                retain_indexes(&mut self.source, &query);
                fill(&mut query, &self.source, &Steps::unlimited());
                queries.push((*view, query));
            }
        }
        self.take_queries(queries);
        self.count_index_users();
    }
}
