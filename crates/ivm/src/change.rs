//! What operators send downstream, and who receives it in the end.

use landfall_zql::ordering::Order;
use landfall_zql::{Row, TableId};

use crate::error::SourceError;
use crate::pipeline::{JoinId, Reader};

/// A row in the output of an operator. Its relationships are read from the pipeline when they are needed, in the
/// state of that moment.
#[derive(Clone, Debug)]
pub struct Node {
    /// The row.
    pub row: Row,
    /// Children that differ from what the pipeline would give: set when the node leaves *because* of a child, and
    /// its old children are not there any more.
    pub(crate) replaced: Option<Box<[Children]>>,
}

/// The children of a node in one of its relationships.
pub(crate) type Children = (JoinId, Vec<Node>);

impl Node {
    /// The same node with these children in one of its relationships.
    pub(crate) fn with_children(mut self, join: JoinId, children: Vec<Node>) -> Node {
        let mut replaced = self.replaced.map(Vec::from).unwrap_or_default();
        replaced.push((join, children));
        self.replaced = Some(replaced.into());
        self
    }
}

impl From<Row> for Node {
    fn from(row: Row) -> Node {
        Node {
            row,
            replaced: None,
        }
    }
}

/// A change in the output of an operator.
#[derive(Clone, Debug)]
pub enum Change {
    /// A row enters with its whole subtree.
    Add(Node),
    /// A row leaves with its whole subtree; the node's children are those from before.
    Remove(Node),
    /// A row is replaced; its relationships stay as they are. The primary key may change.
    Edit {
        /// Before.
        old: Row,
        /// After.
        new: Row,
    },
    /// A row stays, one of its descendants changes.
    Child {
        /// The row.
        row: Row,
        /// The relationship.
        join: JoinId,
        /// The change among the row's children.
        change: Box<Change>,
    },
}

impl Change {
    /// The row that changes; of an edited one the new version.
    pub(crate) fn row(&self) -> &Row {
        match self {
            Change::Add(node) | Change::Remove(node) => &node.row,
            Change::Edit { new, .. } => new,
            Change::Child { row, .. } => row,
        }
    }

    /// What an edit is to those who see only rows that are shown.
    pub(crate) fn edit(old: Row, was_shown: bool, new: Row, is_shown: bool) -> Option<Change> {
        match (was_shown, is_shown) {
            (false, false) => None,
            (false, true) => Some(Change::Add(new.into())),
            (true, false) => Some(Change::Remove(old.into())),
            (true, true) => Some(Change::Edit { old, new }),
        }
    }
}

/// Receives what a pipeline gives out.
pub trait Output {
    /// Takes one change of the root level. `reader` gives the children of its nodes as they are now; they must be
    /// read before this returns.
    ///
    /// # Errors
    /// Children could not be read.
    fn push(&mut self, reader: Reader<'_>, change: Change) -> Result<(), SourceError>;
}

/// One relationship of the rows of a level.
#[derive(Clone, Debug)]
pub struct Relationship {
    /// The join that gives the children.
    pub join: JoinId,
    /// The alias of the subquery.
    pub name: String,
    /// Its place among the relationships that its level shows, or among its `EXISTS` conditions, in document order.
    pub index: usize,
    /// The table of the children.
    pub table: TableId,
    /// The order of the children.
    pub order: Order,
    /// What the relationship is for.
    pub role: Role,
    /// Relationships of the children.
    pub relationships: Vec<Relationship>,
}

/// What a relationship is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Part of the result.
    Result,
    /// A junction: its rows are not part of the result, their children are.
    Hidden,
    /// Rows that decide an `EXISTS`: never in the result, but the first are synced, since a client needs some of them to
    /// decide as well.
    Exists,
    /// Rows that decide a permission: neither shown nor synced.
    Permission,
}
