//! A stage: a copy of the visible rows on which work goes on in slices, while what is visible stays as it is, can be
//! read, and takes writes. When it is done, the two change places at once.
//!
//! A copy shares the rows and the unchanged parts of the indexes, so it costs little.
//! There are two kinds. A stage *beside* the visible rows holds the same rows: views that take long to fill are filled
//! there, and it follows what changes meanwhile. A stage *ahead* of them holds what a poke leads to: the rebase makes
//! it, and views that read changed tables are filled anew there.

use crate::effect::ViewId;
use crate::views::row_handles::RowHandles;
use crate::views::view_ops::TableShape;
use crate::views::{OpenView, plan_again, read, retain_indexes};
use landfall_ivm::{Entry, LiveQuery, MemorySource, Progress, SourceChange, Steps};
use landfall_store::RowChange;
use landfall_zql::sorted_map::{SortedMap, SortedSet};
use landfall_zql::{Row, TableId};
use std::collections::VecDeque;

/// The plan of a query counts as so many steps.
pub(crate) const PLAN_STEPS: usize = 50;

/// A row that is handed over to JavaScript counts as so many steps.
const HANDOVER_STEPS: usize = 4;

/// A copy of the visible rows that is being prepared.
pub(crate) struct Stage {
    pub(crate) source: MemorySource,
    views: SortedMap<ViewId, StagedView>,
    /// Tables in which it differs from what is visible.
    changed: SortedSet<TableId>,
    /// Tables that were empty: rows are appended, without indexes.
    filling: SortedSet<TableId>,
    /// Changes of the visible rows that a stage beside them has to follow; `None` for a stage ahead.
    backlog: Option<VecDeque<SourceChange>>,
    /// Rows that JavaScript was given before the views that show them.
    handed: Vec<Row>,
}

struct StagedView {
    query: LiveQuery,
    /// The rows to hand over, collected when the query was filled.
    handover: Option<std::vec::IntoIter<(TableId, Row)>>,
}

impl Stage {
    pub(crate) fn beside(source: MemorySource) -> Stage {
        Stage {
            backlog: Some(VecDeque::new()),
            ..Stage::ahead(source)
        }
    }

    pub(crate) fn ahead(source: MemorySource) -> Stage {
        Stage {
            source,
            views: SortedMap::new(),
            changed: SortedSet::new(),
            filling: SortedSet::new(),
            backlog: None,
            handed: Vec::new(),
        }
    }

    pub(crate) fn is_beside(&self) -> bool {
        self.backlog.is_some()
    }

    /// The visible rows have changed.
    pub(crate) fn follow(&mut self, change: &SourceChange) {
        if let Some(backlog) = &mut self.backlog {
            backlog.push_back(change.clone());
        }
    }

    pub(crate) fn forget(&mut self, view: ViewId) {
        self.views.remove(&view);
    }

    /// Empties a table.
    pub(crate) fn clear(&mut self, table: TableId) {
        if self.source.len(table) > 0 {
            self.source.clear(table);
            self.changed.insert(table);
        }
    }

    /// Changes a row; views that are filled already follow. None may be half filled.
    pub(crate) fn change(&mut self, change: &RowChange, visible: &MemorySource) {
        let (table, old, new) = match change {
            RowChange::Put { table, row } => (*table, self.source.row_like(*table, row), Some(row)),
            RowChange::Del { table, key } => (*table, self.source.row(*table, key), None),
        };
        if old == new {
            return;
        }
        // A row that is visible as it is stays the one that JavaScript knows.
        let known = new.and_then(|new| visible.row_like(table, new));
        let new = known.filter(|known| new == Some(known)).or(new).cloned();
        let old = old.cloned();
        self.changed.insert(table);
        if self.source.len(table) == 0 {
            self.filling.insert(table);
        }
        let is_filling = self.views.is_empty() && self.filling.contains(&table);
        match (old, new) {
            (None, Some(row)) if is_filling => self.source.append(table, row),
            (old, new) => self.push(&SourceChange { table, old, new }),
        }
    }

    fn push(&mut self, change: &SourceChange) {
        for view in self.views.values_mut() {
            if view.query.pipeline().reads(change.table) {
                read(view.query.push(&self.source, change));
                // The view is shown as a whole.
                drop(view.query.take_deltas());
            }
        }
        self.source.apply(change);
    }

    /// Fills the views that are not filled where they are shown, and those that read what has changed here or in the
    /// tables given; hands over their rows; follows what has changed meanwhile.
    pub(crate) fn prepare(
        &mut self,
        open: &SortedMap<ViewId, OpenView>,
        also_changed: &SortedSet<TableId>,
        handles: &mut RowHandles,
        steps: &Steps,
    ) -> Progress {
        for (id, view) in open {
            let reads = |table: &TableId| view.query.pipeline().reads(*table);
            let is_anew = !view.query.is_hydrated()
                || also_changed.iter().any(reads)
                || self.changed.iter().any(reads);
            if is_anew && !self.views.contains_key(id) {
                let query = plan_again(&view.ast, &self.source);
                retain_indexes(&mut self.source, &query);
                let handover = None;
                self.views.insert(*id, StagedView { query, handover });
                steps.spend_many(PLAN_STEPS);
                if steps.are_spent() {
                    return Progress::More;
                }
            }
        }
        for (id, view) in &mut self.views {
            if read(view.query.hydrate(&self.source, steps)) == Progress::More {
                return Progress::More;
            }
            let Some(open) = open.get(id) else { continue };
            let rows = view.handover.get_or_insert_with(|| {
                let mut rows = Vec::new();
                collect(&open.shape, view.query.entries(), &mut rows);
                rows.into_iter()
            });
            for (table, row) in rows {
                handles.retain(table, &row);
                self.handed.push(row);
                steps.spend_many(HANDOVER_STEPS);
                if steps.are_spent() {
                    return Progress::More;
                }
            }
        }
        while let Some(change) = self.backlog.as_mut().and_then(VecDeque::pop_front) {
            self.push(&change);
            steps.spend_many(self.views.len() + 1);
            if steps.are_spent() {
                return Progress::More;
            }
        }
        Progress::Done
    }

    /// Whether no view is half filled.
    pub(crate) fn is_still(&self) -> bool {
        self.views.values().all(|view| view.query.is_hydrated())
    }

    /// The rows, the filled queries by view, and the rows whose early handover is to be released when they are shown.
    pub(crate) fn finish(self) -> (MemorySource, Vec<(ViewId, LiveQuery)>, Vec<Row>) {
        let views = self.views.into_iter();
        let queries = views.map(|(id, view)| (id, view.query)).collect();
        (self.source, queries, self.handed)
    }
}

fn collect(shape: &TableShape, entries: &[Entry], rows: &mut Vec<(TableId, Row)>) {
    for entry in entries {
        rows.push((shape.table, entry.row.clone()));
        for (list, shape) in entry.children.iter().zip(&shape.lists) {
            collect(shape, list, rows);
        }
    }
}
