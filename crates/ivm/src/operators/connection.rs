//! A connection: one use of a table by a pipeline, with its filter, its order and its view of the change in progress.

use std::cell::RefCell;
use std::ops::ControlFlow;

use landfall_zql::ordering::Order;
use landfall_zql::predicate::Predicate;
use landfall_zql::{Row, TableId, ValueRef, join_eq};

use crate::change::Change;
use crate::error::SourceError;
use crate::pipeline::{Reader, Request};
use crate::planner::range::Range;
use crate::source::{Constraint, FetchRequest, Sink};

#[derive(Debug)]
pub(crate) struct Connection {
    pub table: TableId,
    pub order: Order,
    pub filter: Predicate,
    /// Columns that the filter fixes to one value.
    pub pinned: Constraint,
    /// With a constraint on exactly these columns, which are sorted, what is pinned is left to the filter: few rows
    /// meet it, so one index serves other queries too; or most have what is pinned, so that no index is worth while.
    pub unpinned: Option<Vec<usize>>,
    /// What the filter leaves of the order, if the whole level is read.
    pub range: Option<Range>,
    /// Columns that must not change in an edit: it is split into removal and addition then.
    pub split: Vec<usize>,
    pub overlay: RefCell<Overlay>,
}

/// What this connection shows differently from its source: the change in progress, once it has been reached by it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overlay {
    removed: Option<Row>,
    added: Option<Row>,
}

impl Overlay {
    fn include(&mut self, old: Option<&Row>, new: Option<&Row>) {
        if let Some(old) = old {
            self.removed = Some(old.clone());
        }
        if let Some(new) = new {
            self.added = Some(new.clone());
        }
    }
}

impl Connection {
    pub fn fetch(
        &self,
        reader: Reader<'_>,
        request: &Request<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), SourceError> {
        let pinned;
        let constraint = if self.leaves_pinned(request.constraint) {
            request.constraint
        } else {
            pinned = self.constrain(request.constraint);
            let Some(pinned) = &pinned else {
                return Ok(());
            };
            pinned
        };
        let asked = request;
        let request = FetchRequest {
            table: self.table,
            constraint,
            order: &self.order,
            reverse: request.reverse,
            start: match &self.range {
                Some(range) if !request.reverse => range.start(request.start, &self.order),
                _ => request.start,
            },
            filter: Some(&self.filter),
        };
        if request.is_empty() {
            return Ok(());
        }
        let Overlay { removed, added } = self.overlay.borrow().clone();
        let table = &reader.source().schema()[self.table];
        let mut added = added.filter(|row| request.admits(row));
        let mut flow = ControlFlow::Continue(());
        reader.source().fetch(&request, &mut |row| {
            let range = self.range.as_ref();
            if range.is_some_and(|range| range.is_passed(row, &request)) {
                return ControlFlow::Break(());
            }
            let is_due = |added: &mut Row| request.compare(added, row).is_le();
            if let Some(next) = added.take_if(is_due) {
                if asked.pauses(reader, &next) {
                    flow = ControlFlow::Break(());
                    return flow;
                }
                flow = sink(&next);
                // In the place of the row it is that row, as it will be.
                if flow.is_break() || request.compare(&next, row).is_eq() {
                    reader.steps.spend();
                    return flow;
                }
            }
            if asked.pauses(reader, row) {
                flow = ControlFlow::Break(());
                return flow;
            }
            reader.steps.spend();
            let is_removed = removed
                .as_ref()
                .is_some_and(|removed| table.compare_keys(removed, row).is_eq());
            if is_removed || !self.filter.matches(row) {
                return ControlFlow::Continue(());
            }
            flow = sink(row);
            flow
        })?;
        reader.steps.spend_many(reader.source().take_effort());
        if let Some(last) = added
            && flow.is_continue()
        {
            // Nothing is left to stop.
            let _ = sink(&last);
        }
        Ok(())
    }

    /// Shows a change from now on; gives what it is to those downstream.
    pub fn see(&self, old: Option<&Row>, new: Option<&Row>) -> Option<Change> {
        self.overlay.borrow_mut().include(old, new);
        let before = old.filter(|row| self.filter.matches(row));
        let after = new.filter(|row| self.filter.matches(row));
        match (before, after) {
            (None, None) => None,
            (None, Some(row)) => Some(Change::Add(row.clone().into())),
            (Some(row), None) => Some(Change::Remove(row.clone().into())),
            (Some(old), Some(new)) => Some(Change::Edit {
                old: old.clone(),
                new: new.clone(),
            }),
        }
    }

    /// Whether a request is served as it is.
    fn leaves_pinned(&self, requested: &[(usize, ValueRef<'_>)]) -> bool {
        let columns = || requested.iter().map(|(column, _)| column);
        let unpinned = self.unpinned.as_ref();
        self.pinned.is_empty() || unpinned.is_some_and(|unpinned| columns().eq(unpinned))
    }

    /// The pinned columns and those of a request, or `None` when they contradict each other.
    fn constrain<'a>(
        &'a self,
        requested: &[(usize, ValueRef<'a>)],
    ) -> Option<Vec<(usize, ValueRef<'a>)>> {
        let mut constraint = requested.to_vec();
        for (column, value) in &self.pinned {
            match constraint.binary_search_by_key(column, |(column, _)| *column) {
                Ok(at) if join_eq(constraint[at].1, value.as_ref()) => {}
                Ok(_) => return None,
                Err(at) => constraint.insert(at, (*column, value.as_ref())),
            }
        }
        Some(constraint)
    }
}
