//! What the client asks of its host: [`Effect`], drained with [`crate::Client::take_effects`] after every call.
//!
//! Effects are carried out in order.
//! What is for the page goes first, and calls of the page may come before the rest is carried out; replies come later
//! as events.

use crate::connection::ConnectionState;
use crate::event::StoreRequestId;
use crate::views::flush::Flush;
use landfall_store::StoreRequest;
use landfall_zql::json::{FromJson, JsonError, JsonReader};
use landfall_zql::{json_names, json_object};
use serde::Serialize;

/// Names one WebSocket of this client; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SocketId(pub u32);

/// Names one materialised view or one preloaded query; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ViewId(pub u32);

/// Names one call of a mutator by the application; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct CallId(pub u32);

/// Names one run of a mutator on a branch; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct TxId(pub u32);

/// Why a mutator runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunReason {
    /// The first run, for the user who called it.
    Optimistic,
    /// Again, on top of a new server state (or after a restart, or for another tab).
    Rebase,
}

/// An error that a mutator threw or that a server sent, as the application sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MutationError {
    /// `app`: the mutator or the application's server said so. `zero`: the machinery did.
    #[serde(rename = "type")]
    pub source: ErrorSource,
    /// What went wrong, for people.
    pub message: String,
    /// JSON text of the error's details, if there are any.
    #[serde(
        rename = "detailsJson",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub details: Option<String>,
}

/// Who said that a mutation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorSource {
    /// The application's mutator, here or at the server.
    App,
    /// The synchronisation machinery, here or at the server.
    Zero,
}

json_names!(ErrorSource {
    App = "app",
    Zero = "zero",
});

#[derive(Default)]
struct MutationErrorFields {
    source: Option<ErrorSource>,
    message: String,
    details: Option<String>,
}

json_object!(MutationErrorFields {
    "type" some source,
    "message" must message,
    "detailsJson" may details,
});

impl<'de> FromJson<'de> for MutationError {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        let fields = MutationErrorFields::from_json(reader)?;
        Ok(Self {
            source: fields.source.ok_or_else(|| JsonError::missing("type"))?,
            message: fields.message,
            details: fields.details,
        })
    }
}

/// How a mutation ended, or that it did not yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Outcome {
    /// The server has it.
    Confirmed,
    /// The server refused it; its effects are rolled back.
    Failed {
        /// Why.
        error: MutationError,
    },
    /// It was sent, and the server forgot this client group before it answered: only the application can decide.
    Uncertain,
}

/// One mutation as the list of pending and failed ones shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MutationInfo {
    /// The client (tab) that made it.
    pub client_id: String,
    /// Its number in that client's sequence.
    pub mutation_id: u64,
    /// The mutator's name.
    pub name: String,
    /// JSON text of its argument list.
    pub args_json: String,
    /// `None` while pending.
    pub outcome: Option<Outcome>,
}

/// Why the application should load newer code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum UpdateReason {
    /// Another tab of this user runs newer code.
    NewClientGroup,
    /// The server does not speak this client's protocol version.
    VersionNotSupported,
    /// The server's tables no longer fit this client's schema.
    SchemaVersionNotSupported,
}

/// What is wrong with storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageProblemKind {
    /// No space is left. Rows of the server give way to unsent writes.
    Quota,
    /// There is no storage, no permission to use it, or no answer: everything lives in memory.
    Unavailable,
    /// The connection to storage was lost; it is opened again.
    Closed,
    /// What is stored is damaged. The server's rows are loaded anew, unsent writes are kept as far as they can be read.
    Damaged,
    /// The browser has deleted what was stored. What this page holds is stored again.
    Evicted,
    /// Anything else, or no answer for long; the same is tried again.
    Other,
}

/// How serious a [`Effect::Log`] line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something is broken.
    Error,
    /// Something is odd, and work goes on.
    Warn,
    /// A milestone.
    Info,
    /// For whoever debugs the client itself.
    Debug,
}

/// One thing for the host to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Carry out a storage request and answer with [`crate::Event::Stored`].
    /// Requests are carried out one after another in the order given.
    Store {
        /// The number that the answer must carry.
        request: StoreRequestId,
        /// What to do: see `landfall-store`.
        op: StoreRequest,
    },
    /// Open a WebSocket.
    OpenSocket {
        /// The number that this socket's events carry.
        socket: SocketId,
        /// The complete URL.
        url: String,
        /// The one value for `Sec-WebSocket-Protocol`, already encoded. Holds the token: never log it.
        protocol: String,
    },
    /// Send a text frame.
    SendText {
        /// On which socket.
        socket: SocketId,
        /// The frame.
        text: String,
    },
    /// Close a socket (open or still opening); its later events are ignored.
    CloseSocket {
        /// Which.
        socket: SocketId,
        /// `Some(1000)` for an orderly farewell, `None` to close without a code.
        code: Option<u16>,
    },
    /// Send [`crate::Event::Wake`] at this time (the clock of `now_ms`). Replaces the time asked for before.
    WakeAt {
        /// When, or `None` to cancel.
        at_ms: Option<f64>,
    },
    /// Something waits to be stored and sent: call [`crate::Client::go_out`] when the page has been shown what changed.
    /// Every event does as much, so it is no harm if it comes later.
    GoOut,
    /// There is more to do: call [`crate::Client::work`] soon, after the page had its turn, once for each of these.
    MoreWork,
    /// Apply this to the row table and the views, then call the listeners of the views it names.
    Flush(Flush),
    /// Run a mutator: call the function with a transaction made of this `tx`, then [`crate::Client::settle`] it.
    /// The host starts it in this very turn, so that a mutator that does not await is visible in the same frame.
    RunMutator {
        /// The branch to read and write.
        tx: TxId,
        /// The call this belongs to, if it was made in this page.
        call: Option<CallId>,
        /// First run or replay.
        reason: RunReason,
        /// The client that made the mutation.
        client_id: String,
        /// The number of the mutation.
        mutation_id: u64,
        /// The mutator's name. If the host has none of this name it settles with an error.
        name: String,
        /// JSON text of the argument list: `[]` or `[argument]`.
        args_json: String,
    },
    /// The local run of a call has ended: settles the `client` promise.
    MutationLocal {
        /// The call.
        call: CallId,
        /// The mutation's id, or why there is none. An error also settles the `server` promise.
        result: Result<u64, MutationError>,
    },
    /// The mutation of this call has been committed to storage, or could not be.
    MutationDurable {
        /// The call.
        call: CallId,
        /// `Err`: as far as is known it lives in memory only; it is still sent. Told once, whatever storage says later.
        result: Result<(), String>,
    },
    /// A mutation has an outcome: settles the `server` promise when `call` is given.
    MutationOutcome {
        /// The call, if it was made in this page.
        call: Option<CallId>,
        /// The client that made it.
        client_id: String,
        /// Its number.
        mutation_id: u64,
        /// How it ended.
        outcome: Outcome,
    },
    /// A query failed at the server; the flush that follows carries status *error* for the views named here.
    QueryFailed {
        /// The views and preloads that show it.
        views: Vec<ViewId>,
        /// `app` or `parse`, as the server said.
        kind: String,
        /// The query's name.
        name: String,
        /// What went wrong, for people.
        message: String,
        /// JSON text of the details, if any.
        details_json: Option<String>,
    },
    /// The connection state changed.
    Connection(ConnectionState),
    /// The stored state has been read: views show local rows from now on.
    Ready {
        /// This client's id.
        client_id: String,
        /// The group it belongs to.
        client_group_id: String,
        /// What earlier sessions and other tabs left: pending, failed and uncertain mutations.
        mutations: Vec<MutationInfo>,
    },
    /// Newer code is needed; the default reaction is a reload with back-off.
    UpdateNeeded {
        /// Why.
        reason: UpdateReason,
        /// The server's words.
        message: String,
    },
    /// The server no longer knows this client's state. The client has already started anew by itself, under these
    /// ids; pending writes were kept (see [`Outcome::Uncertain`]).
    ClientStateNotFound {
        /// The new client id.
        client_id: String,
        /// The new group.
        client_group_id: String,
    },
    /// What [`crate::Client::mutations`] answers has changed.
    MutationsChanged,
    /// Storage failed or is missing; work goes on in memory.
    StorageProblem {
        /// What kind of problem.
        kind: StorageProblemKind,
        /// What the backend said.
        message: String,
    },
    /// Post this text to the other tabs of the group (not to this one).
    Announce {
        /// The text, to arrive as [`crate::Event::Announced`].
        text: String,
    },
    /// Ask for an exclusive lock; [`crate::Event::LockGranted`] follows when it is held, at once or much later.
    RequestLock {
        /// The lock's name, unique per purpose and group.
        name: String,
    },
    /// Give a lock back, or stop waiting for it.
    ReleaseLock {
        /// Its name.
        name: String,
    },
    /// The server has answered a question of [`crate::Client::inspect`].
    Inspected {
        /// The kind of the answer.
        op: String,
        /// From the question.
        id: String,
        /// JSON text of the answer.
        value_json: String,
    },
    /// A line for the log.
    Log {
        /// How serious.
        level: LogLevel,
        /// The line; never holds secrets.
        message: String,
    },
    /// Nothing that was left is pending any more, or there never was a store: a draining client is of no more use.
    Drained,
    /// The rows of stores of earlier schemas are not needed any more: this client's store has its own.
    EarlierUnneeded,
    /// The client is closed for good: locks, timer, sockets and storage can be let go.
    Closed,
}
