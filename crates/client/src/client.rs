//! [`Client`]: the one object a host holds; routes calls and events to the modules.

use crate::effect::{CallId, Effect, MutationError, MutationInfo, TxId, ViewId};
use crate::error::ClientError;
use crate::event::Event;
use crate::flush::Flush;
use crate::options::Options;

/// How a query is told to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuerySource {
    /// Not at all: it runs on whatever is local, and never becomes complete.
    Local,
    /// As its AST (legacy queries).
    Ast,
    /// By name; `args_json` is the JSON text of the argument list as the application wrote it (`[]` or `[input]`).
    Named {
        /// The query's name.
        name: String,
        /// Its argument list.
        args_json: String,
    },
}

/// A view or a preload to open.
#[derive(Clone, Debug)]
pub struct ViewRequest {
    /// JSON text of the AST, client names.
    pub ast_json: String,
    /// How the server hears of it.
    pub source: QuerySource,
    /// How long the server keeps it after the last local user has gone, in ms; negative: as long as it may.
    pub ttl_ms: f64,
    /// `false` for a preload: synchronised, but no view is kept.
    pub materialize: bool,
}

/// What a write does with its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOp {
    /// Nothing if the key exists; missing optional columns become NULL.
    Insert,
    /// Like update if the key exists, else like insert.
    Upsert,
    /// Only the columns given; nothing if the key does not exist.
    Update,
    /// Only the key columns are read; nothing if the key does not exist.
    Delete,
}

/// The Landfall client without I/O.
pub struct Client {
    effects: Vec<Effect>,
}

impl Client {
    /// A client that has asked to load its storage and knows nothing yet. Take its effects at once.
    pub fn new(now_ms: f64, options: Options) -> Result<Client, ClientError> {
        let _ = (now_ms, options);
        Ok(Client {
            effects: Vec::new(),
        })
    }

    /// What to do now, in order. Call it after every other call.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Something happened outside.
    /// `now_ms` is milliseconds since the epoch from a clock that never goes back
    /// (`performance.timeOrigin + performance.now()`).
    pub fn handle(&mut self, now_ms: f64, event: Event) {
        let _ = (now_ms, event);
    }

    /// JSON text of the tables and columns in the order in which flushes number them:
    /// `[{"name":"issue","columns":[{"name":"id","type":"string"},…],"primaryKey":["id"]},…]`.
    pub fn layout(&self) -> String {
        String::new()
    }

    /// Opens a view: the flush among the effects shows what is local now, later flushes keep it current.
    pub fn view(&mut self, now_ms: f64, request: ViewRequest) -> Result<ViewId, ClientError> {
        let _ = (now_ms, request);
        Err(ClientError::Closed)
    }

    /// Changes the TTL of an open view; the largest of all users of a query counts.
    pub fn set_ttl(&mut self, now_ms: f64, view: ViewId, ttl_ms: f64) -> Result<(), ClientError> {
        let _ = (now_ms, view, ttl_ms);
        Err(ClientError::Closed)
    }

    /// Closes a view. The server hears of it when no other view or preload wants the query.
    pub fn drop_view(&mut self, now_ms: f64, view: ViewId) -> Result<(), ClientError> {
        let _ = (now_ms, view);
        Err(ClientError::Closed)
    }

    /// Asks the server again for a query that failed.
    pub fn retry(&mut self, now_ms: f64, view: ViewId) -> Result<(), ClientError> {
        let _ = (now_ms, view);
        Err(ClientError::Closed)
    }

    /// Runs a query once on the visible state: a detached flush.
    pub fn run(&mut self, ast_json: &str) -> Result<Flush, ClientError> {
        let _ = ast_json;
        Err(ClientError::Closed)
    }

    /// The application calls a mutator. Its run is asked for by [`Effect::RunMutator`] as soon as it is its turn
    /// (in this call's effects unless another mutator is still running).
    /// `args_json` is the JSON text of the argument list: `[argument]`, or `[null]` without one.
    pub fn mutate(
        &mut self,
        now_ms: f64,
        name: &str,
        args_json: &str,
    ) -> Result<CallId, ClientError> {
        let _ = (now_ms, name, args_json);
        Err(ClientError::Closed)
    }

    /// A write of a running mutator. `row_json` is an object with client column names;
    /// numbers must be finite; a key that is absent is an `undefined` column.
    pub fn write(
        &mut self,
        tx: TxId,
        table: &str,
        op: WriteOp,
        row_json: &str,
    ) -> Result<(), ClientError> {
        let _ = (tx, table, op, row_json);
        Err(ClientError::Closed)
    }

    /// A query of a running mutator, on its branch: a detached flush.
    pub fn read(&mut self, tx: TxId, ast_json: &str) -> Result<Flush, ClientError> {
        let _ = (tx, ast_json);
        Err(ClientError::Closed)
    }

    /// A mutator has ended. Everything that follows from it (flush, storage, sending) is in the effects.
    /// Settling a transaction that is already closed (deadline) does nothing.
    pub fn settle(&mut self, now_ms: f64, tx: TxId, result: Result<(), MutationError>) {
        let _ = (now_ms, tx, result);
    }

    /// `connection.connect({auth})`: a new token if given; resumes from *needs-auth* and *error*.
    pub fn connect(&mut self, now_ms: f64, auth: Option<String>) {
        let _ = (now_ms, auth);
    }

    /// Pending, failed and uncertain mutations that the client knows of, in order.
    pub fn mutations(&self) -> Vec<MutationInfo> {
        Vec::new()
    }

    /// The application has seen this failed or uncertain mutation: it is forgotten.
    pub fn clear_outcome(&mut self, now_ms: f64, client_id: &str, mutation_id: u64) {
        let _ = (now_ms, client_id, mutation_id);
    }

    /// This client's id.
    pub fn client_id(&self) -> &str {
        ""
    }

    /// Closes for good: views keep their last data, pending mutations stay in storage.
    /// The host goes on answering [`Effect::Store`] requests given out before [`Effect::Closed`].
    pub fn close(&mut self, now_ms: f64) {
        let _ = now_ms;
    }
}
