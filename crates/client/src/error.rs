//! What can go wrong in a call of the client: [`ClientError`].

use crate::effect::{TxId, ViewId};

/// A call that the client refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The schema text could not be used.
    #[error("the schema is not usable: {0}")]
    Schema(String),
    /// A query names something the schema lacks, or uses what is not supported yet.
    #[error("the query is not usable: {0}")]
    Query(String),
    /// A write names a table the schema lacks.
    #[error("unknown table \"{table}\"")]
    UnknownTable {
        /// The name used.
        table: String,
    },
    /// A write names a column the table lacks.
    #[error("unknown column \"{column}\" of table \"{table}\"")]
    UnknownColumn {
        /// The table.
        table: String,
        /// The name used.
        column: String,
    },
    /// A written value has the wrong type, or a needed one is missing.
    #[error("{0}")]
    Value(String),
    /// The arguments of a mutation are not a JSON list.
    #[error("the arguments of \"{name}\" are not a JSON list: {reason}")]
    Arguments {
        /// The mutator or query.
        name: String,
        /// What the parser said.
        reason: String,
    },
    /// The transaction has settled, timed out or was abandoned.
    #[error("transaction {} is closed", .0.0)]
    TransactionClosed(TxId),
    /// There is no such view.
    #[error("view {} does not exist", .0.0)]
    NoSuchView(ViewId),
    /// The server's URL cannot be used.
    #[error("cacheURL {0}")]
    CacheUrl(String),
    /// What was asked for needs the server, and there is no connection.
    #[error("there is no connection to the server")]
    NotConnected,
    /// The client is closed.
    #[error("the client is closed")]
    Closed,
    /// An option or argument is out of range.
    #[error("{0}")]
    Argument(String),
}

impl ClientError {
    /// A stable word to decide on.
    pub fn code(&self) -> &'static str {
        match self {
            ClientError::Schema(_) => "schema",
            ClientError::Query(_) => "query",
            ClientError::UnknownTable { .. } => "unknown-table",
            ClientError::UnknownColumn { .. } => "unknown-column",
            ClientError::Value(_) => "value",
            ClientError::Arguments { .. } => "arguments",
            ClientError::TransactionClosed(_) => "transaction-closed",
            ClientError::NoSuchView(_) => "no-such-view",
            ClientError::CacheUrl(_) => "cache-url",
            ClientError::NotConnected => "not-connected",
            ClientError::Closed => "closed",
            ClientError::Argument(_) => "argument",
        }
    }
}
