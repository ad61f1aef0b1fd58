//! What can go wrong with the replica.

/// Why the replica could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicaError {
    /// SQLite refused.
    #[error("replica: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A stored value does not fit its column's type. Its row is left out of every query until that is mended.
    #[error("{table}.{column} holds {found}, which a {expected} column cannot carry")]
    Value {
        /// Server name of the table.
        table: String,
        /// The column.
        column: String,
        /// What kind of thing was found; never the value.
        found: String,
        /// The type of the column, as clients name it.
        expected: &'static str,
    },
    /// The replica's own bookkeeping does not make sense.
    #[error("replica is damaged: {0}")]
    Damaged(String),
    /// A version did not reach the ring in time: its writer has stopped.
    #[error("the changes up to version {0} did not arrive: the writer of the replica has stopped")]
    Behind(super::StateVersion),
}

impl ReplicaError {
    /// Whether another process holds the database's lock.
    pub fn is_busy(&self) -> bool {
        matches!(self, ReplicaError::Sqlite(error) if is_busy(error))
    }
}

/// Whether SQLite gave up waiting for a lock.
pub(crate) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
    )
}
