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
mod flush;
mod options;
mod random;
mod storage;

pub use client::{Client, QuerySource, ViewRequest, WriteOp};
pub use connection::{AuthReason, ConnectionState};
pub use effect::{
    CallId, Effect, ErrorSource, LogLevel, MutationError, MutationInfo, Outcome, RunReason,
    SocketId, TxId, UpdateReason, ViewId,
};
pub use error::ClientError;
pub use event::{Event, StoreRequestId};
pub use flush::Flush;
pub use options::{Limits, Options};
pub use storage::{StoreFailure, StoreReply, StoreRequest};
