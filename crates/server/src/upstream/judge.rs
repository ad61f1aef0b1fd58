//! Whether a write is allowed: asked inside its transaction, with the rows as they are there.

use landfall_ivm::Source;
use landfall_zql::{Row, TableId};

use crate::replica::ReplicaSchema;

/// Decides whether a write is allowed.
pub trait Judge: Send + Sync {
    /// The verdict on a write. `rows` shows the transaction: before the write for [`Write::Change`] and
    /// [`Write::Delete`], after it for the others. Without `rows` the answer may be that they are needed.
    fn judge(
        &self,
        schema: &ReplicaSchema,
        table: TableId,
        write: Write<'_>,
        rows: Option<&dyn Source>,
    ) -> Verdict;
}

/// The answer of a judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The write is allowed.
    Allowed,
    /// It is not.
    Denied,
    /// That depends on other rows.
    NeedsRows,
}

/// A write as it changes one row, or would if it could.
#[derive(Debug, Clone, Copy)]
pub enum Write<'a> {
    /// There is a new row; or there would be, were its key not taken.
    Insert {
        /// The row.
        new: &'a Row,
    },
    /// A row is to be changed that is not there. Allowed only if a change of any row would be: otherwise whoever may
    /// not write a row could tell from the outcome whether it is there.
    ChangeNone {
        /// Columns that the mutation sets.
        changed: &'a [usize],
    },
    /// A row is to be removed that is not there; likewise.
    DeleteNone,
    /// A row is about to be changed.
    Change {
        /// The row.
        old: &'a Row,
        /// Columns that the mutation sets.
        changed: &'a [usize],
    },
    /// A row was changed.
    Changed {
        /// The row before.
        old: &'a Row,
        /// The row after.
        new: &'a Row,
        /// Columns that the mutation set.
        changed: &'a [usize],
    },
    /// A row is about to be removed.
    Delete {
        /// The row.
        old: &'a Row,
    },
}

/// Allows every write: for a development mode that says so.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllowAll;

impl Judge for AllowAll {
    fn judge(
        &self,
        _: &ReplicaSchema,
        _: TableId,
        _: Write<'_>,
        _: Option<&dyn Source>,
    ) -> Verdict {
        Verdict::Allowed
    }
}
