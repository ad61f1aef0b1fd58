//! The flush: rows by column, view operations, releases (layout in `FLUSH.md`).

/// What changed for JavaScript, for all views together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flush {
    /// New row versions, by table and column.
    pub rows: Vec<u8>,
    /// View operations.
    pub ops: Vec<u32>,
    /// Handles that no view shows any more.
    pub releases: Vec<u32>,
}

impl Flush {
    /// Whether there is nothing to apply.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.ops.is_empty() && self.releases.is_empty()
    }
}
