//! From a pipeline's changes to counted rows: every occurrence at every level of what is shown, the first rows that meet
//! an `EXISTS`, and none that only decide a permission.

use std::collections::BTreeMap;

use landfall_ivm::{Change, Node, Output, Progress, Reader, RowDelta, SourceError, Walk};
use landfall_zql::{Key, Row, Schema, TableId};

use super::members::Delta;

/// Names a row in an instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RowKey {
    pub(super) table: TableId,
    pub(super) key: Key,
}

/// Sums of what a pipeline has given out.
pub(super) type Deltas = BTreeMap<RowKey, Delta<Row>>;

/// Memory that a row takes beside its bytes and those of its key, about.
const ROW_COST: usize = 160;

/// Memory that a row takes while it is counted.
pub(super) fn cost(key: &RowKey, row: &Row) -> usize {
    ROW_COST + key.key.0.bytes().len() + row.bytes().len()
}

/// Counts what a pipeline gives out.
pub(super) struct Counter<'a> {
    schema: &'a Schema,
    deltas: &'a mut Deltas,
    bytes: usize,
}

impl<'a> Counter<'a> {
    pub(super) fn new(schema: &'a Schema, deltas: &'a mut Deltas) -> Self {
        Counter {
            schema,
            deltas,
            bytes: 0,
        }
    }

    /// Rows that were counted so far, in all.
    pub(super) fn rows(&self) -> usize {
        self.deltas.len()
    }

    /// Memory that rows take which came in through this counter, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts a node that is there, with all its children, until the walk is left.
    pub(super) fn enter(
        &mut self,
        reader: Reader<'_>,
        node: &Node,
        walk: &mut Walk,
    ) -> Result<Progress, SourceError> {
        reader.hydrate_rows(node, walk, &mut |table, delta| self.take(table, delta))
    }

    fn take(&mut self, table: TableId, delta: RowDelta<'_>) {
        match delta {
            RowDelta::Enter(row) => self.count(table, row, 1),
            RowDelta::Leave(row) => self.count(table, row, -1),
            RowDelta::Edit { old, new } => {
                self.count(table, old, -1);
                self.count(table, new, 1);
            }
        }
    }

    fn count(&mut self, table: TableId, row: &Row, by: i64) {
        let key = RowKey {
            table,
            key: self.schema[table].key_of(row),
        };
        let bytes = cost(&key, row);
        let delta = self.deltas.entry(key).or_default();
        delta.count += by;
        if by > 0 && delta.row.replace(row.clone()).is_none() {
            self.bytes += bytes;
        }
    }
}

impl Output for Counter<'_> {
    fn push(&mut self, reader: Reader<'_>, change: Change) -> Result<(), SourceError> {
        reader.rows_of_change(&change, &mut |table, delta| self.take(table, delta))
    }
}
