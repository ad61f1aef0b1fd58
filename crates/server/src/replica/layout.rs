//! The replica's own tables: state, last mutation ids, results, permissions.
//!
//! They have the same names in both modes, so that readers need not know the mode.

use rusqlite::{Connection, OptionalExtension};

use super::{ReplicaError, StateVersion};

/// Creates the tables that both modes have.
pub const SHARED_TABLES: &str = "
CREATE TABLE IF NOT EXISTS _landfall_clients (
  client_group TEXT NOT NULL, client TEXT NOT NULL, lmid INTEGER NOT NULL, version INTEGER NOT NULL,
  PRIMARY KEY (client_group, client)
) WITHOUT ROWID, STRICT;
CREATE TABLE IF NOT EXISTS _landfall_results (
  client_group TEXT NOT NULL, client TEXT NOT NULL, id INTEGER NOT NULL, result TEXT, version INTEGER NOT NULL,
  PRIMARY KEY (client_group, client, id)
) WITHOUT ROWID, STRICT;
CREATE TABLE IF NOT EXISTS _landfall_permissions (
  lock INTEGER PRIMARY KEY CHECK (lock = 1), permissions TEXT, hash TEXT
) STRICT;
";

/// Which of the two modes wrote the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A copy of Postgres tables; rows carry their version in [`ROW_VERSION`].
    Postgres,
    /// The user's own file with a change log.
    Embedded,
}

/// The column that holds the version of a row's last change (Postgres mode).
pub const ROW_VERSION: &str = "_0_version";

impl Layout {
    /// The version that a connection's snapshot shows.
    pub fn version(self, conn: &Connection) -> Result<StateVersion, ReplicaError> {
        let sql = match self {
            Layout::Postgres => "SELECT version FROM _landfall_state",
            Layout::Embedded => "SELECT seq FROM sqlite_sequence WHERE name = '_landfall_log'",
        };
        let version = conn
            .prepare_cached(sql)?
            .query_row([], |row| row.get::<_, i64>(0))
            .optional()?
            .unwrap_or(0);
        StateVersion::try_from(version)
            .map_err(|_| ReplicaError::Damaged(format!("the state version is {version}")))
    }
}

/// A version as SQLite holds it.
pub fn version_cell(version: StateVersion) -> i64 {
    // Positions of Postgres' log and sequence numbers of SQLite both stay below 2^63.
    i64::try_from(version).unwrap_or(i64::MAX)
}
