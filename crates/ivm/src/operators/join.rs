//! Join: gives every row of a parent level its children.

use std::cell::RefCell;
use std::ops::ControlFlow;

use landfall_zql::ordering::Order;
use landfall_zql::{Row, ValueRef, compare};

use crate::change::{Change, Node};
use crate::error::SourceError;
use crate::pipeline::push::{Parents, Task};
use crate::pipeline::{JoinId, OpId, Reader, Request};
use crate::source::{Basis, Sink, Start};
use crate::steps::Pause;

#[derive(Debug)]
pub(crate) struct Join {
    pub parent: OpId,
    pub child: OpId,
    pub parent_columns: Vec<usize>,
    pub child_columns: Vec<usize>,
    parent_order: Order,
    child_order: Order,
    in_progress: RefCell<Option<InProgress>>,
    /// The junction take that decides which of the children are shown.
    pub limited_by: Option<OpId>,
}

/// A child's change on its way to one parent after the other: parents behind `position` must not see it yet.
#[derive(Clone, Debug)]
struct InProgress {
    change: Change,
    position: Row,
}

impl Join {
    pub fn new(
        parent: OpId,
        child: OpId,
        parent_columns: Vec<usize>,
        child_columns: Vec<usize>,
        parent_order: Order,
        child_order: Order,
    ) -> Join {
        let in_progress = RefCell::new(None);
        Join {
            parent,
            child,
            parent_columns,
            child_columns,
            parent_order,
            child_order,
            in_progress,
            limited_by: None,
        }
    }

    /// The order of the children.
    pub fn child_order(&self) -> &Order {
        &self.child_order
    }

    /// The child whose change is on its way from parent to parent.
    pub fn child_in_progress(&self) -> Option<Row> {
        let in_progress = self.in_progress.borrow();
        in_progress
            .as_ref()
            .map(|InProgress { change, .. }| match change {
                Change::Add(node) | Change::Remove(node) => node.row.clone(),
                Change::Edit { new, .. } => new.clone(),
                Change::Child { row, .. } => row.clone(),
            })
    }

    /// The children of a parent row, in order.
    pub fn children(&self, reader: Reader<'_>, parent: &Row) -> Result<Vec<Node>, SourceError> {
        self.first_children(reader, parent, usize::MAX)
    }

    /// The first children of a parent row, in order: as many as are wanted, if there are.
    pub fn first_children(
        &self,
        reader: Reader<'_>,
        parent: &Row,
        wanted: usize,
    ) -> Result<Vec<Node>, SourceError> {
        let mut children: Vec<Node> = Vec::new();
        let Some(constraint) = key(&self.parent_columns, parent, &self.child_columns) else {
            return Ok(children);
        };
        let request = Request {
            constraint: &constraint,
            ..Request::default()
        };
        let in_progress = self.in_progress.borrow();
        let unseen = in_progress.as_ref().filter(|at| self.is_unseen(at, parent));
        // One of those that are there may be one that the parent does not see yet.
        let enough = wanted.saturating_add(usize::from(unseen.is_some()));
        reader.fetch(self.child, &request, &mut |row| {
            children.push(row.clone().into());
            if children.len() < enough {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        if let Some(at) = unseen {
            self.take_back(&at.change, &mut children);
        }
        children.truncate(wanted);
        Ok(children)
    }

    /// Gives the children of a parent row from a place on, as many as are wanted; may stop between two of them, unless
    /// one of them is changing.
    pub fn each_child(
        &self,
        reader: Reader<'_>,
        parent: &Row,
        wanted: usize,
        start: Option<Start<'_>>,
        pause: Option<&Pause>,
        sink: &mut Sink<'_>,
    ) -> Result<(), SourceError> {
        if self.in_progress.borrow().is_some() {
            let children = self.first_children(reader, parent, wanted)?;
            let _ = children.iter().try_for_each(|node| sink(&node.row));
            return Ok(());
        }
        let Some(constraint) = key(&self.parent_columns, parent, &self.child_columns) else {
            return Ok(());
        };
        let request = Request {
            constraint: &constraint,
            start,
            pause,
            ..Request::default()
        };
        let mut left = wanted;
        reader.fetch(self.child, &request, &mut |row| {
            left -= 1;
            match sink(row) {
                ControlFlow::Continue(()) if left > 0 => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        })
    }

    /// Whether a parent row has at least `wanted` children.
    pub fn has_children(
        &self,
        reader: Reader<'_>,
        parent: &Row,
        wanted: usize,
    ) -> Result<bool, SourceError> {
        self.has_children_from(reader, parent, wanted, None, None)
    }

    /// Whether a parent row has at least `wanted` children from a place on; may stop between two of them.
    pub fn has_children_from(
        &self,
        reader: Reader<'_>,
        parent: &Row,
        wanted: usize,
        start: Option<Start<'_>>,
        pause: Option<&Pause>,
    ) -> Result<bool, SourceError> {
        let Some(constraint) = key(&self.parent_columns, parent, &self.child_columns) else {
            return Ok(wanted == 0);
        };
        let request = Request {
            constraint: &constraint,
            start,
            pause,
            ..Request::default()
        };
        let in_progress = self.in_progress.borrow();
        let unseen = in_progress.as_ref().filter(|at| self.is_unseen(at, parent));
        let (mut found, unseen) = match unseen.map(|at| &at.change) {
            Some(Change::Add(node)) => (0, Some(&node.row)),
            Some(Change::Remove(_)) => (1, None),
            _ => (0, None),
        };
        if found >= wanted {
            return Ok(true);
        }
        reader.fetch(self.child, &request, &mut |row| {
            let is_seen = unseen.is_none_or(|new| self.child_order.compare(row, new).is_ne());
            found += usize::from(is_seen);
            if found < wanted {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        Ok(found >= wanted)
    }

    /// Whether a change of a parent's children has not reached it yet.
    fn is_unseen(&self, InProgress { change, position }: &InProgress, parent: &Row) -> bool {
        let child = change.row();
        let mut columns = self.parent_columns.iter().zip(&self.child_columns);
        self.parent_order.compare(parent, position).is_gt()
            && columns
                .all(|(own, other)| landfall_zql::join_eq(parent.get(*own), child.get(*other)))
    }

    /// Whether a parent has children with these values in these columns.
    pub fn has_parent(
        &self,
        reader: Reader<'_>,
        columns: &[usize],
        key: &Row,
    ) -> Result<bool, SourceError> {
        let mut constraint: Vec<(usize, ValueRef<'_>)> = Vec::with_capacity(columns.len());
        for (own, other) in self.parent_columns.iter().zip(&self.child_columns) {
            let place = columns.binary_search(other);
            let value = place.map_or(ValueRef::Null, |place| key.get(place));
            match constraint.binary_search_by_key(own, |(column, _)| *column) {
                Ok(at) if compare(constraint[at].1, value).is_eq() => {}
                Ok(_) => return Ok(false),
                Err(at) => constraint.insert(at, (*own, value)),
            }
        }
        let request = Request {
            constraint: &constraint,
            ..Request::default()
        };
        let mut found = false;
        reader.fetch(self.parent, &request, &mut |_| {
            found = true;
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    /// Makes children what they were before a change of one of them. Of a beginning of them that is one longer than
    /// what is wanted, so much is right.
    pub fn take_back(&self, change: &Change, children: &mut Vec<Node>) {
        let (after, before) = match change {
            Change::Add(node) => (Some(&node.row), None),
            Change::Remove(node) => (None, Some(node.clone())),
            Change::Edit { old, new } => (Some(new), Some(old.clone().into())),
            // The child itself is the same row before and after.
            Change::Child { .. } => (None, None),
        };
        if let Some(after) = after {
            children.retain(|other| self.child_order.compare(&other.row, after).is_ne());
        }
        if let Some(before) = before {
            let is_first = |other: &Node| self.child_order.compare(&other.row, &before.row).is_lt();
            children.insert(children.partition_point(is_first), before);
        }
    }

    /// Begins to give a child's change to its parents.
    pub fn push_child(
        &self,
        reader: Reader<'_>,
        own: OpId,
        change: Change,
        tasks: &mut Vec<Task>,
    ) -> Result<(), SourceError> {
        let parents = self.next_parents(reader, change.row(), None)?;
        if let [first, ..] = parents.rows.as_slice() {
            let position = first.clone();
            self.in_progress
                .replace(Some(InProgress { change, position }));
            tasks.push(Task::Parents { join: own, parents });
        }
        Ok(())
    }

    /// Gives the change in progress to one more parent. Nothing else is to be done for that parent, so the work may be
    /// left here: the position says what each parent sees meanwhile.
    pub fn next_parent(
        &self,
        reader: Reader<'_>,
        own: OpId,
        mut parents: Parents,
        tasks: &mut Vec<Task>,
    ) -> Result<Option<Change>, SourceError> {
        if parents.rows.len() == 0 && parents.more {
            let at = self.in_progress.borrow().clone();
            if let Some(InProgress { change, position }) = at {
                parents = self.next_parents(reader, change.row(), Some(&position))?;
            }
        }
        let Some(parent) = parents.rows.next() else {
            self.in_progress.take();
            return Ok(None);
        };
        let mut in_progress = self.in_progress.borrow_mut();
        Ok(in_progress.as_mut().map(|in_progress| {
            in_progress.position = parent.clone();
            tasks.push(Task::Parents { join: own, parents });
            Change::Child {
                row: parent,
                join: JoinId(own),
                change: Box::new(in_progress.change.clone()),
            }
        }))
    }

    /// The next parents of a child.
    fn next_parents(
        &self,
        reader: Reader<'_>,
        child: &Row,
        after: Option<&Row>,
    ) -> Result<Parents, SourceError> {
        let Some(constraint) = key(&self.child_columns, child, &self.parent_columns) else {
            return Parents::collect(|_| Ok(()));
        };
        let request = Request {
            constraint: &constraint,
            start: after.map(|row| Start {
                row,
                basis: Basis::After,
            }),
            ..Request::default()
        };
        Parents::collect(|sink| reader.fetch(self.parent, &request, sink))
    }
}

/// The constraint on `to` columns that `row` sets with its `from` columns: sorted, each column once. `None` when no
/// row can meet it.
fn key<'a>(from: &[usize], row: &'a Row, to: &[usize]) -> Option<Vec<(usize, ValueRef<'a>)>> {
    let mut constraint: Vec<(usize, ValueRef<'a>)> = Vec::with_capacity(to.len());
    for (from, to) in from.iter().zip(to) {
        let value = row.get(*from);
        if value.is_null() {
            return None;
        }
        match constraint.binary_search_by_key(to, |(column, _)| *column) {
            Ok(at) if compare(constraint[at].1, value).is_eq() => {}
            Ok(_) => return None,
            Err(at) => constraint.insert(at, (*to, value)),
        }
    }
    Some(constraint)
}
