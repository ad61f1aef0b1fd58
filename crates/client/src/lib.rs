//! The Landfall client without I/O: events in, effects out.
//!
//! A host (the browser, a simulation) makes a [`Client`], carries out the [`Effect`]s it takes from it,
//! and tells it what happened as [`Event`]s with the time.
//! The client never reads a clock, draws a random number, opens a socket or calls user code.
//! What crosses to JavaScript as rows and view operations is described in `FLUSH.md`.

mod client;
mod connection;
mod effect;
mod error;
mod event;
mod mutations;
mod options;
mod persistence;
mod queries;
mod random;
mod rebase;
mod request;
mod slices;
mod tabs;
mod turn;
mod views;
mod warm_up;

pub use client::Client;
pub use connection::{AuthReason, ConnectionState};
pub use effect::{
    CallId, Effect, ErrorSource, LogLevel, MutationError, MutationInfo, Outcome, RunReason,
    SocketId, StorageProblemKind, TxId, UpdateReason, ViewId,
};
pub use error::ClientError;
pub use event::{Event, StoreRequestId, TextPieces};
pub use mutations::ListPart;
pub use options::{Headers, Limits, Options, Role};
pub use persistence::export::Export;
pub use request::{QuerySource, ViewRequest, WriteOp};
pub use views::flush::{Flush, RowBatch};
pub use warm_up::WarmUp;

/// How this crate reads JSON; for hosts that are handed JSON as well.
pub use landfall_zql::json;
pub use landfall_zql::sorted_map::SortedMap;
