//! The source of truth: follows its changes into the replica, and writes mutations to it.
//!
//! Two implementations of one trait: `postgres` (logical replication) and `embedded` (a SQLite file).
//! Leaves to others: who may write what (the [`Judge`] is given), and what changes mean to clients.

mod commit_times;
pub mod embedded;
mod error;
mod judge;
mod mutation;
pub mod postgres;
mod write_target;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::replica::Replica;

pub use commit_times::CommitTimes;
pub use error::UpstreamError;
pub use judge::{AllowAll, Judge, Verdict, Write};
pub use mutation::{Mutation, MutationTransaction, Refusal, TransactionError};

pub(crate) use error::postgres_text;
pub(crate) use postgres::{PostgresAddress, same_system};

/// A replica that nobody feeds, to look into: of an embedded file, or of a Postgres. Writes nothing.
///
/// # Errors
/// The file is neither, or cannot be read.
pub fn look(path: &Path) -> Result<Replica, UpstreamError> {
    let wrong = |reason: String| UpstreamError::File {
        path: path.display().to_string(),
        reason,
    };
    if !path.exists() {
        return Err(wrong("no such file".to_owned()));
    }
    let replica = postgres::look(path).and_then(|replica| match replica {
        Some(replica) => Ok(replica),
        None => embedded::look(path),
    });
    replica.map_err(|error| match error {
        UpstreamError::Replica(error) => wrong(error.to_string()),
        other => other,
    })
}

/// An upstream that runs, and the replica that it feeds.
#[derive(Clone)]
pub struct Started {
    /// The replica.
    pub replica: Replica,
    /// The upstream.
    pub upstream: Arc<dyn Upstream>,
    /// When recent versions were committed.
    pub commits: Arc<CommitTimes>,
}

/// The source of truth.
///
/// Callers promise: mutations of one client are given in the order of their ids, one at a time per client.
/// Implementors promise: a mutation's id check, writes and last mutation id are one transaction; every failure
/// leaves a result row; a returned outcome is committed.
pub trait Upstream: Send + Sync {
    /// How it is.
    fn status(&self) -> Status;

    /// Runs a CRUD mutation exactly once.
    fn crud(
        &self,
        request: CrudRequest,
        judge: Arc<dyn Judge>,
    ) -> BoxFuture<'_, Result<CrudOutcome, UpstreamError>>;

    /// Runs a mutation of ours exactly once.
    fn mutate(
        &self,
        id: MutationId,
        mutation: Arc<dyn Mutation>,
    ) -> BoxFuture<'_, Result<CrudOutcome, UpstreamError>>;

    /// Marks a mutation as failed: advances the last mutation id and stores `result` (JSON text).
    fn fail(
        &self,
        mutation: MutationId,
        result: String,
    ) -> BoxFuture<'_, Result<CrudOutcome, UpstreamError>>;

    /// Deletes results that clients have seen, or that nobody will ask for.
    fn cleanup_results(&self, cleanup: Cleanup) -> BoxFuture<'_, Result<(), UpstreamError>>;

    /// Stops following changes; what was applied is synced.
    fn shutdown(&self) -> BoxFuture<'_, ()>;
}

/// How an upstream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Whether changes arrive.
    pub state: State,
    /// Age of the last applied commit when it was applied, if known.
    pub lag: Option<Duration>,
}

/// Whether changes arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// They do.
    Connected,
    /// They do not at the moment; it is being tried again.
    Disconnected {
        /// Why.
        reason: String,
    },
    /// They never will again in this process.
    Stopped {
        /// Why.
        reason: String,
    },
}

/// Names a mutation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MutationId {
    /// The client group.
    pub group: String,
    /// The client.
    pub client: String,
    /// Its number, counted from 1.
    pub id: u64,
}

/// A CRUD mutation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrudRequest {
    /// Which one.
    pub mutation: MutationId,
    /// Its writes, in order.
    pub ops: Vec<CrudOp>,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrudOp {
    /// What it does.
    pub kind: CrudKind,
    /// Server name of the table.
    pub table: String,
    /// Server names of the client's primary key.
    pub primary_key: Vec<String>,
    /// A JSON object of column values under server names.
    pub value: String,
}

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrudKind {
    /// Adds a row; nothing if the key is taken.
    Insert,
    /// Adds a row, or sets the given columns if the key is taken.
    Upsert,
    /// Sets the given columns of the row with the key; nothing if there is none.
    Update,
    /// Removes the row with the key; nothing if there is none.
    Delete,
}

/// What became of a mutation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CrudOutcome {
    /// It is committed.
    Applied,
    /// It was dealt with before.
    AlreadyProcessed {
        /// The client's last mutation id.
        lmid: u64,
    },
    /// Mutations are missing before it; nothing happened.
    OutOfOrder {
        /// The id that is next.
        expected: u64,
    },
    /// The judge refused a write: nothing is written, the last mutation id has risen, a result row says why.
    Denied {
        /// The reason in the result row.
        reason: String,
    },
    /// A write failed: nothing is written, the last mutation id has risen, a result row says why.
    Failed {
        /// The reason in the result row.
        reason: String,
    },
}

/// Which results to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cleanup {
    /// Those of a client up to an id.
    Single {
        /// The client group.
        group: String,
        /// The client.
        client: String,
        /// The last id.
        up_to: u64,
    },
    /// All those of these clients.
    Bulk {
        /// The client group.
        group: String,
        /// The clients.
        clients: Vec<String>,
    },
}

/// The result row of a mutation that was denied or failed.
fn app_error(message: &str) -> String {
    serde_json::json!({"error": "app", "message": message}).to_string()
}

fn denied(table: &str, kind: CrudKind) -> String {
    match kind {
        CrudKind::Insert => format!("not allowed to insert into {table}"),
        CrudKind::Upsert => format!("not allowed to insert into or update {table}"),
        // The same words for both: which of them it is would tell what rows there are.
        CrudKind::Update => format!("not allowed to update {table}, or there is no such row"),
        CrudKind::Delete => format!("not allowed to delete from {table}, or there is no such row"),
    }
}
