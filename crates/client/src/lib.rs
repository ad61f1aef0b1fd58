//! The Landfall client without I/O: events in, effects out.
//!
//! A host (the browser, a simulation) makes a [`Client`], carries out the [`Effect`]s it takes from it,
//! and tells it what happened as [`Event`]s with the time.
//! The client never reads a clock, draws a random number, opens a socket or calls user code.
//! What crosses to JavaScript as rows and view operations is described in `FLUSH.md`.

mod announcements;
mod client;
mod connection;
mod draining;
mod earlier_store;
mod effect;
mod error;
mod event;
mod export;
mod flush;
mod group_restart;
mod inspection;
mod log_following;
mod mutations;
mod options;
mod persistence;
mod pokes;
mod queries;
mod queue_writing;
mod random;
mod rebase;
mod request;
mod resting;
mod round;
mod row_columns;
mod row_handles;
mod server_link;
mod slices;
mod snapshot_writing;
mod stage;
mod storage_faults;
mod stored_forms;
mod tabs;
mod turn;
mod view_ops;
mod visible;
mod writes;

pub use client::Client;
pub use connection::{AuthReason, ConnectionState};
pub use effect::{
    CallId, Effect, ErrorSource, LogLevel, MutationError, MutationInfo, Outcome, RunReason,
    SocketId, StorageProblemKind, TxId, UpdateReason, ViewId,
};
pub use error::ClientError;
pub use event::{Event, StoreRequestId, TextPieces};
pub use flush::{Flush, RowBatch};
pub use options::{Headers, Limits, Options, Role};
pub use request::{QuerySource, ViewRequest, WriteOp};

/// How this crate reads JSON; for hosts that are handed JSON as well.
pub use landfall_zql::json;
pub use landfall_zql::sorted_map::SortedMap;
