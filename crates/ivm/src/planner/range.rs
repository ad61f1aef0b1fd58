//! The part of an order that a condition leaves: where a read of a whole level begins, and where it may stop.

use landfall_zql::ast::Direction;
use landfall_zql::ordering::{Order, compare_by};
use landfall_zql::predicate::Predicate;
use landfall_zql::{Row, TableSchema, Value, ValueRef};

use crate::source::{Basis, Constraint, FetchRequest, Start};

/// Bounds of the first ordered column that is not fixed. Every row that passes the filter is between them.
#[derive(Debug)]
pub(crate) struct Range {
    /// The order up to that column.
    columns: Vec<(usize, Direction)>,
    /// The place that no row is before.
    begin: Option<Row>,
    /// Whether rows in order can be asked for from there on.
    is_start: bool,
    /// The place that no row is behind.
    end: Option<Row>,
}

impl Range {
    /// The bounds that a filter, which pins some columns, sets to rows in an order; `None` if it sets none.
    pub fn new(
        filter: &Predicate,
        pinned: &Constraint,
        order: &Order,
        table: &TableSchema,
    ) -> Option<Range> {
        let is_open =
            |(column, _): &(usize, Direction)| pinned.iter().all(|(pinned, _)| pinned != column);
        let at = order.0.iter().position(is_open)?;
        let (column, direction) = order.0[at];
        let (least, greatest) = filter.bounds(column);
        let row = |bound: &Value| {
            let value = |at: usize| {
                let pinned = pinned.iter().find(|(pinned, _)| *pinned == at);
                match pinned {
                    _ if at == column => bound.as_ref(),
                    Some((_, value)) => value.as_ref(),
                    None => ValueRef::Null,
                }
            };
            Row::from_values((0..table.columns.len()).map(value))
        };
        let (begin, end) = match direction {
            Direction::Asc => (least, greatest),
            Direction::Desc => (greatest, least),
        };
        // Behind the bound the columns of the place are NULL, which comes first in ascending order only.
        let is_first = |(_, direction): &(usize, Direction)| *direction == Direction::Asc;
        (begin.is_some() || end.is_some()).then(|| Range {
            columns: order.0[..=at].to_vec(),
            begin: begin.map(row),
            is_start: order.0[at + 1..].iter().all(is_first),
            end: end.map(row),
        })
    }

    /// Where a read begins that would begin at `start`.
    pub fn start<'a>(&'a self, start: Option<Start<'a>>, order: &Order) -> Option<Start<'a>> {
        let Some(begin) = self.begin.as_ref().filter(|_| self.is_start) else {
            return start;
        };
        let own = Start {
            row: begin,
            basis: Basis::At,
        };
        Some(
            start
                .filter(|start| order.compare(start.row, begin).is_ge())
                .unwrap_or(own),
        )
    }

    /// Whether a row is behind all that pass, in the direction of travel.
    pub fn is_passed(&self, row: &Row, request: &FetchRequest<'_>) -> bool {
        let (bound, passed) = match request.reverse {
            false => (&self.end, std::cmp::Ordering::Greater),
            true => (&self.begin, std::cmp::Ordering::Less),
        };
        let place = |bound| compare_by(&self.columns, row, bound);
        bound.as_ref().is_some_and(|bound| place(bound) == passed)
    }
}
