//! Drive: finds the rows of a level from its condition, by values or from the children that an `EXISTS` asks for,
//! where the level would otherwise be read from end to end.
//!
//! What it gives are at least the rows that meet the condition, all of them rows of its input: the condition itself
//! is decided behind it, or by the connection. So a driver changes what is read and never what comes out.

use std::cell::RefCell;
use std::ops::ControlFlow;

use landfall_zql::ordering::Order;
use landfall_zql::predicate::Lookup;
use landfall_zql::sort::{sort, sort_by};
use landfall_zql::{Key, Row, ValueRef, join_eq};

use crate::error::SourceError;
use crate::join::Join;
use crate::pipeline::{JoinId, OpId, Reader, Request};
use crate::source::{Basis, Sink, Start};

#[derive(Debug)]
pub(crate) struct Drive {
    pub input: OpId,
    pub driver: Driver,
    /// A fetch is driven if it is constrained on exactly these columns, which are sorted; others are few rows anyway.
    pub columns: Vec<usize>,
    pub order: Order,
    /// Whether hydration may break off here and go on later.
    pub resumes: bool,
    /// The rows that a hydration found and has not finished with.
    pub found: RefCell<Option<Vec<Row>>>,
}

/// Where candidates come from.
#[derive(Clone, Debug)]
pub(crate) enum Driver {
    /// Rows with these values.
    Lookups(Vec<Lookup>),
    /// Parents of the rows that a child level gives.
    Children(JoinId),
    /// Whatever one of these finds.
    Any(Vec<Driver>),
}

/// Columns with the values that they must equal: sorted by column, each at most once.
type Columns<'a> = [(usize, ValueRef<'a>)];

impl Drive {
    pub fn fetch(
        &self,
        reader: Reader<'_>,
        request: &Request<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), SourceError> {
        let constrained = request.constraint.iter().map(|(column, _)| column);
        if !constrained.eq(&self.columns) {
            return reader.fetch(self.input, request, sink);
        }
        let resumes = (self.resumes || request.pause.is_some()) && !request.reverse;
        let rows = match self.found.take() {
            Some(rows) if resumes && request.start.is_some() => rows,
            _ => self.candidates(reader, request)?,
        };
        let first = request.start.map_or(0, |start| {
            rows.partition_point(|row| self.is_before(row, start, request.reverse))
        });
        let done = rows[first..].iter().try_for_each(|row| {
            if request.pauses(reader, row) {
                return ControlFlow::Break(());
            }
            reader.steps.spend();
            sink(row)
        });
        if resumes && done.is_break() {
            self.found.replace(Some(rows));
        }
        Ok(())
    }

    fn is_before(&self, row: &Row, start: Start<'_>, reverse: bool) -> bool {
        let place = self.order.compare(row, start.row);
        match if reverse { place.reverse() } else { place } {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => start.basis == Basis::After,
            std::cmp::Ordering::Greater => false,
        }
    }

    /// Everything that the driver finds, in the direction of the request, each row once.
    fn candidates(
        &self,
        reader: Reader<'_>,
        request: &Request<'_>,
    ) -> Result<Vec<Row>, SourceError> {
        let mut rows = Vec::new();
        self.driver
            .find(reader, request.constraint, &mut |constraint| match both(
                request.constraint,
                constraint,
            ) {
                Some(constraint) => {
                    let request = Request {
                        constraint: &constraint,
                        pause: None,
                        ..*request
                    };
                    reader.fetch(self.input, &request, &mut |row| {
                        rows.push(row.clone());
                        ControlFlow::Continue(())
                    })
                }
                None => Ok(()),
            })?;
        sort_by(&mut rows, |a, b| self.order.compare(a, b));
        rows.dedup_by(|a, b| self.order.compare(a, b).is_eq());
        if request.reverse {
            rows.reverse();
        }
        Ok(rows)
    }
}

impl Driver {
    /// Gives constraints; every row that meets the condition, and `within`, meets one of them.
    fn find(
        &self,
        reader: Reader<'_>,
        within: &Columns<'_>,
        give: &mut dyn FnMut(&Columns<'_>) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        match self {
            Driver::Lookups(lookups) => lookups.iter().try_for_each(|lookup| {
                let constraint: Vec<_> = lookup
                    .iter()
                    .map(|(column, value)| (*column, value.as_ref()))
                    .collect();
                give(&constraint)
            }),
            Driver::Children(join) => reader.pipeline().join(*join).parents(reader, within, give),
            Driver::Any(drivers) => drivers
                .iter()
                .try_for_each(|driver| driver.find(reader, within, give)),
        }
    }
}

impl Join {
    /// Gives the constraints under which the parents of all children are, each once. While a child's change is in
    /// progress, its parents are among them: some of them still have the child from before.
    fn parents(
        &self,
        reader: Reader<'_>,
        within: &Columns<'_>,
        give: &mut dyn FnMut(&Columns<'_>) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let mut keys: Vec<Key> = Vec::new();
        let key_of = |row: &Row| {
            let values = self.child_columns.iter().map(|column| row.get(*column));
            Key(Row::from_values(values))
        };
        let Some(constraint) = self.for_children(within) else {
            return Ok(());
        };
        let request = Request {
            constraint: &constraint,
            ..Request::default()
        };
        reader.fetch(self.child, &request, &mut |row| {
            let key = key_of(row);
            if keys.last() != Some(&key) {
                keys.push(key);
            }
            ControlFlow::Continue(())
        })?;
        keys.extend(self.child_in_progress().map(|row| key_of(&row)));
        sort(&mut keys);
        keys.dedup();
        for Key(values) in &keys {
            if let Some(constraint) = same(self.parent_columns.iter().zip(values.iter())) {
                give(&constraint)?;
            }
        }
        Ok(())
    }

    /// What a constraint on parents means for their children; `None` when no parent can meet it.
    fn for_children<'a>(&self, parents: &Columns<'a>) -> Option<Vec<(usize, ValueRef<'a>)>> {
        let columns = self.parent_columns.iter().zip(&self.child_columns);
        let known = columns.filter_map(|(parent, child)| {
            let at = parents.binary_search_by_key(parent, |(column, _)| *column);
            at.ok().map(|at| (child, parents[at].1))
        });
        same(known)
    }
}

/// A constraint from columns and values; `None` when no row can meet it.
fn same<'a, 'b>(
    columns: impl Iterator<Item = (&'b usize, ValueRef<'a>)>,
) -> Option<Vec<(usize, ValueRef<'a>)>> {
    let mut constraint: Vec<(usize, ValueRef<'a>)> = Vec::new();
    for (column, value) in columns {
        if value.is_null() {
            return None;
        }
        match constraint.binary_search_by_key(column, |(column, _)| *column) {
            Ok(at) if join_eq(constraint[at].1, value) => {}
            Ok(_) => return None,
            Err(at) => constraint.insert(at, (*column, value)),
        }
    }
    Some(constraint)
}

fn both<'a>(a: &Columns<'a>, b: &Columns<'a>) -> Option<Vec<(usize, ValueRef<'a>)>> {
    same(a.iter().chain(b).map(|(column, value)| (column, *value)))
}
