//! Which rows a query needs: at every level those that it shows, and some of those that it decides by.

use landfall_zql::{Row, TableId};

use crate::change::{Change, Node, Relationship, Role};
use crate::error::SourceError;
use crate::pipeline::Reader;

/// How many of the rows that meet an `EXISTS` each parent needs: a client that deletes one has others to decide by.
/// Zero syncs as many.
pub const WITNESSES: usize = 3;

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
    /// Gives every occurrence of a row under a root node, itself first: of those that meet an `EXISTS` the first
    /// [`WITNESSES`] of each parent, and none that only decides a permission.
    ///
    /// # Errors
    /// Rows could not be read.
    pub fn rows_of_node(self, node: &Node, sink: &mut RowSink<'_>) -> Result<(), SourceError> {
        let pipeline = self.pipeline();
        self.subtree(pipeline.table(), pipeline.relationships(), node, true, sink)
    }

    /// Gives every occurrence of a row, as [`Reader::rows_of_node`] does, that a root change adds, removes or replaces.
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
        for relationship in relationships {
            for child in self.needed_children(relationship, node)? {
                let (table, below) = (relationship.table, &relationship.relationships);
                self.subtree(table, below, &child, enters, sink)?;
            }
        }
        Ok(())
    }

    fn needed_children(
        self,
        relationship: &Relationship,
        node: &Node,
    ) -> Result<Vec<Node>, SourceError> {
        match relationship.role {
            Role::Permission => Ok(Vec::new()),
            Role::Exists => self.first_children(relationship.join, node, WITNESSES),
            Role::Result | Role::Hidden => self.children(relationship.join, node),
        }
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
            Change::Child { row, join, change } => {
                let of_join = |relationship: &&Relationship| relationship.join == *join;
                let Some(relationship) = relationships.iter().find(of_join) else {
                    return Ok(());
                };
                match relationship.role {
                    Role::Permission => Ok(()),
                    Role::Exists => self.witness_changed(relationship, row, change, sink),
                    Role::Result | Role::Hidden => {
                        let (table, below) = (relationship.table, &relationship.relationships);
                        self.changed(table, below, change, sink)
                    }
                }
            }
        }
    }

    /// A change among the rows that meet an `EXISTS`: it counts if it is one of the first, and it may make another one
    /// come after them or be one of them.
    fn witness_changed(
        self,
        relationship: &Relationship,
        parent: &Row,
        change: &Change,
        sink: &mut RowSink<'_>,
    ) -> Result<(), SourceError> {
        let (table, below) = (relationship.table, &relationship.relationships);
        let join = self.pipeline().join(relationship.join);
        let is_in = |nodes: &[Node], row: &Row| {
            let mut nodes = nodes.iter();
            nodes.any(|node| join.child_order().compare(&node.row, row).is_eq())
        };
        let mut now = join.first_children(self, parent, WITNESSES + 1)?;
        let mut before = now.clone();
        join.take_back(change, &mut before);
        now.truncate(WITNESSES);
        before.truncate(WITNESSES);
        let is_same = match change {
            Change::Add(_) | Change::Remove(_) => false,
            Change::Edit { old, new } => is_in(&before, old) && is_in(&now, new),
            Change::Child { row, .. } => is_in(&now, row),
        };
        if is_same {
            return self.changed(table, below, change, sink);
        }
        for node in before.iter().filter(|node| !is_in(&now, &node.row)) {
            self.subtree(table, below, node, false, sink)?;
        }
        for node in now.iter().filter(|node| !is_in(&before, &node.row)) {
            self.subtree(table, below, node, true, sink)?;
        }
        Ok(())
    }
}
