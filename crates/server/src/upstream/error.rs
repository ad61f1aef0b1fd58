//! What can go wrong with the upstream. Each text is one clear line for whoever runs the server.

use crate::replica::ReplicaError;

/// Why the upstream cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// The address is not one.
    #[error("the upstream address is not valid: {0}")]
    Address(String),
    /// Nothing answers, or the connection broke.
    #[error("cannot reach Postgres at {host}: {reason}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// What happened.
        reason: String,
    },
    /// Postgres refused user, password or database.
    #[error("Postgres at {host} refused the connection: {reason}")]
    Refused {
        /// Host and port.
        host: String,
        /// What it said.
        reason: String,
    },
    /// The server is too old.
    #[error("Postgres 15 or newer is needed, the server is {0}")]
    TooOld(String),
    /// Logical replication is off.
    #[error(
        "logical replication is off: wal_level is {0:?}; set wal_level = logical in postgresql.conf and restart Postgres"
    )]
    NotLogical(String),
    /// The role may not replicate.
    #[error("the role {0:?} has no right to replicate: ALTER ROLE … REPLICATION gives it")]
    NoReplicationRight(String),
    /// The database cannot be prepared.
    #[error("{0}")]
    Setup(String),
    /// A statement failed.
    #[error("Postgres: {}", postgres_text(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// The replication stream broke.
    #[error("replication: {0}")]
    Replication(#[from] pgwire_replication::PgWireError),
    /// The slot no longer holds what the replica needs.
    #[error("the replication slot is of no use: {0}")]
    SlotLost(String),
    /// The upstream's tables are no longer those of the replica.
    #[error("the schema changed: {0}")]
    SchemaChanged(String),
    /// The address leads to another server, or to one that was restored or promoted.
    #[error(
        "the Postgres at the upstream address is another one than before; start the server anew"
    )]
    OtherDatabase,
    /// The stream or a copy holds bytes that make no sense.
    #[error("data from Postgres: {0}")]
    Data(String),
    /// The replica failed.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// Another process holds the embedded file's lock.
    #[error("the database file is locked by another process")]
    Locked,
    /// Too many mutations wait.
    #[error("too many writes are waiting")]
    Overloaded,
    /// The embedded file cannot be used.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The upstream has been shut down.
    #[error("the upstream is shut down")]
    Stopped,
}

impl From<rusqlite::Error> for UpstreamError {
    fn from(error: rusqlite::Error) -> Self {
        UpstreamError::Replica(error.into())
    }
}

impl UpstreamError {
    /// Whether trying the same again later makes sense.
    pub fn is_transient(&self) -> bool {
        match self {
            UpstreamError::Unreachable { .. }
            | UpstreamError::Replication(_)
            | UpstreamError::Locked
            | UpstreamError::Overloaded => true,
            UpstreamError::Postgres(error) => error.as_db_error().is_none(),
            UpstreamError::Replica(error) => error.is_busy(),
            _ => false,
        }
    }
}

/// What Postgres said, without the position and the values that a detail may hold.
pub(crate) fn postgres_text(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return db.message().to_owned();
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}
