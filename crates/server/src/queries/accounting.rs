//! From a pipeline's changes to counted rows: every occurrence at every level, except rows that only decide a
//! permission.

use std::collections::BTreeMap;

use landfall_ivm::{Change, Node, Output, Reader, Relationship, Role, SourceError};
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
        let pipeline = reader.pipeline();
        self.subtree(reader, pipeline.table(), pipeline.relationships(), node, 1)
    }

    fn count(&mut self, table: TableId, row: &Row, by: i64) {
        let key = RowKey { table, key: self.schema[table].key_of(row) };
        let delta = self.deltas.entry(key).or_default();
        delta.count += by;
        if by > 0 {
            delta.row = Some(row.clone());
        }
    }

    fn subtree(
        &mut self,
        reader: Reader<'_>,
        table: TableId,
        relationships: &[Relationship],
        node: &Node,
        by: i64,
    ) -> Result<(), SourceError> {
        self.count(table, &node.row, by);
        for relationship in relationships.iter().filter(|r| r.role != Role::Permission) {
            for child in reader.children(relationship.join, node)? {
                self.subtree(reader, relationship.table, &relationship.relationships, &child, by)?;
            }
        }
        Ok(())
    }

    fn change(
        &mut self,
        reader: Reader<'_>,
        table: TableId,
        relationships: &[Relationship],
        change: &Change,
    ) -> Result<(), SourceError> {
        match change {
            Change::Add(node) => self.subtree(reader, table, relationships, node, 1),
            Change::Remove(node) => self.subtree(reader, table, relationships, node, -1),
            Change::Edit { old, new } => {
                self.count(table, old, -1);
                self.count(table, new, 1);
                Ok(())
            }
            Change::Child { join, change, .. } => {
                match relationships.iter().find(|r| r.join == *join && r.role != Role::Permission) {
                    Some(r) => self.change(reader, r.table, &r.relationships, change),
                    None => Ok(()),
                }
            }
        }
    }
}

impl Output for Counter<'_> {
    fn push(&mut self, reader: Reader<'_>, change: Change) -> Result<(), SourceError> {
        let pipeline = reader.pipeline();
        self.change(reader, pipeline.table(), pipeline.relationships(), &change)
    }
}
