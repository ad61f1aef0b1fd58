//! From a pipeline's changes to counted rows: every occurrence at every level, except rows that only decide a
//! permission.

use std::collections::BTreeMap;

use landfall_ivm::{Change, Node, Output, Reader, RowDelta, SourceError};
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

/// Counts what a pipeline gives out.
pub(super) struct Counter<'a> {
    pub(super) schema: &'a Schema,
    pub(super) deltas: &'a mut Deltas,
}

impl Counter<'_> {
    /// Counts a node that is there, with all its children.
    pub(super) fn enter(&mut self, reader: Reader<'_>, node: &Node) -> Result<(), SourceError> {
        reader.rows_of_node(node, &mut |table, delta| self.take(table, delta))
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
        let delta = self.deltas.entry(key).or_default();
        delta.count += by;
        if by > 0 {
            delta.row = Some(row.clone());
        }
    }
}

impl Output for Counter<'_> {
    fn push(&mut self, reader: Reader<'_>, change: Change) -> Result<(), SourceError> {
        reader.rows_of_change(&change, &mut |table, delta| self.take(table, delta))
    }
}
