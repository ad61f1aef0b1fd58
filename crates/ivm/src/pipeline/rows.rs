//! Which rows a query needs: every row that it shows or decides by, at every level.

use landfall_zql::{Row, TableId};

use crate::change::{Change, Node, Relationship, Role};
use crate::error::SourceError;
use crate::pipeline::Reader;

/// What happened to one occurrence of a row in the output of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowDelta<'a> {
    /// One more occurrence.
    Enter(&'a Row),
    /// One occurrence less.
    Leave(&'a Row),
    /// An occurrence was replaced; the primary key may differ.
    Edit {
        /// Before.
        old: &'a Row,
        /// After.
        new: &'a Row,
    },
}

/// Takes one occurrence of a row.
pub type RowSink<'a> = dyn FnMut(TableId, RowDelta<'_>) + 'a;

impl Reader<'_> {
    /// Gives every occurrence of a row under a root node, itself first; those that only decide permissions are left out.
    ///
    /// # Errors
    /// Rows could not be read.
    pub fn rows_of_node(self, node: &Node, sink: &mut RowSink<'_>) -> Result<(), SourceError> {
        let pipeline = self.pipeline();
        self.subtree(pipeline.table(), pipeline.relationships(), node, true, sink)
    }

    /// Gives every occurrence of a row that a root change adds, removes or replaces.
    ///
    /// # Errors
    /// Rows could not be read.
    pub fn rows_of_change(
        self,
        change: &Change,
        sink: &mut RowSink<'_>,
    ) -> Result<(), SourceError> {
        let pipeline = self.pipeline();
        self.changed(pipeline.table(), pipeline.relationships(), change, sink)
    }

    fn subtree(
        self,
        table: TableId,
        relationships: &[Relationship],
        node: &Node,
        enters: bool,
        sink: &mut RowSink<'_>,
    ) -> Result<(), SourceError> {
        sink(
            table,
            if enters {
                RowDelta::Enter(&node.row)
            } else {
                RowDelta::Leave(&node.row)
            },
        );
        for relationship in relationships
            .iter()
            .filter(|relationship| relationship.role != Role::Permission)
        {
            for child in self.children(relationship.join, node)? {
                self.subtree(
                    relationship.table,
                    &relationship.relationships,
                    &child,
                    enters,
                    sink,
                )?;
            }
        }
        Ok(())
    }

    fn changed(
        self,
        table: TableId,
        relationships: &[Relationship],
        change: &Change,
        sink: &mut RowSink<'_>,
    ) -> Result<(), SourceError> {
        match change {
            Change::Add(node) => self.subtree(table, relationships, node, true, sink),
            Change::Remove(node) => self.subtree(table, relationships, node, false, sink),
            Change::Edit { old, new } => {
                sink(table, RowDelta::Edit { old, new });
                Ok(())
            }
            Change::Child { join, change, .. } => {
                let relationship = relationships
                    .iter()
                    .find(|relationship| relationship.join == *join);
                match relationship.filter(|relationship| relationship.role != Role::Permission) {
                    Some(child) => self.changed(child.table, &child.relationships, change, sink),
                    None => Ok(()),
                }
            }
        }
    }
}
