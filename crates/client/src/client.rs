//! [`Client`]: the one object a host holds. Calls come in here and events are passed on; what follows from them is in
//! `turn.rs`.

use crate::connection::Connection;
use crate::connection::pokes::Pokes;
use crate::connection::server_link::ServerLink;
use crate::effect::{
    CallId, Effect, ErrorSource, LogLevel, MutationError, MutationInfo, TxId, ViewId,
};
use crate::error::ClientError;
use crate::event::Event;
use crate::mutations::writes::Write;
use crate::mutations::{ListPart, Mutations};
use crate::options::{Limits, Options, Role};
use crate::persistence::Persistence;
use crate::persistence::earlier_store::EarlierStore;
use crate::queries::{Queries, QueryText, Status};
use crate::random::Random;
use crate::rebase::{Identity, Rebase, RowKey};
use crate::request::{QuerySource, ViewRequest, WriteOp};
use crate::slices::Slices;
use crate::tabs::Tabs;
use crate::views::flush::Flush;
use crate::views::{Base, Visible};
use landfall_protocol::{Json, check_cache_url};
use landfall_zql::json;
use landfall_zql::sorted_map::SortedMap;
use landfall_zql::{Ast, Schema, To, hash_of_ast, hash_of_name_and_args, map_ast};
use std::sync::Arc;

/// The application's endpoints, as told to the server.
#[derive(Debug)]
pub(crate) struct Endpoints {
    pub(crate) query_url: Option<String>,
    pub(crate) query_headers: SortedMap<String, String>,
    pub(crate) mutate_url: Option<String>,
    pub(crate) mutate_headers: SortedMap<String, String>,
}

/// The Landfall client without I/O.
pub struct Client {
    pub(crate) effects: Vec<Effect>,
    pub(crate) schema: Arc<Schema>,
    pub(crate) limits: Limits,
    pub(crate) random: Random,
    pub(crate) role: Role,
    pub(crate) client_id: String,
    pub(crate) group_id: Option<String>,
    pub(crate) user_id: Option<String>,
    pub(crate) endpoints: Endpoints,
    pub(crate) cookie: Option<String>,
    pub(crate) link: ServerLink,
    pub(crate) queries: Queries,
    pub(crate) pokes: Pokes,
    pub(crate) mutations: Mutations,
    pub(crate) rebase: Rebase,
    pub(crate) visible: Visible,
    pub(crate) slices: Slices,
    pub(crate) persistence: Persistence,
    pub(crate) tabs: Tabs,
    /// Rows of an abandoned group, or of an earlier store, are read or shown until the server has sent something to show.
    pub(crate) stale_rows: bool,
    pub(crate) earlier: EarlierStore,
    pub(crate) mutations_changed: bool,
    pub(crate) loaded: bool,
    pub(crate) closed: bool,
    /// The host is asked to call [`Client::go_out`].
    pub(crate) goes_out: bool,
    next_view: u32,
    next_call: u32,
    pub(crate) wake_at: Option<f64>,
    /// Loaded but not shown yet: until the stored queue is replayed, or this time.
    pub(crate) ready_by: Option<f64>,
    /// The views that were opened before there were rows are being filled.
    pub(crate) filling_first: bool,
    pub(crate) last_anew: Option<f64>,
    /// A draining client has told that it is done.
    pub(crate) drained: bool,
}

impl Client {
    /// A client that has asked to load its storage and knows nothing yet. Take its effects at once.
    pub fn new(now_ms: f64, options: Options) -> Result<Client, ClientError> {
        let schema = Schema::from_json(&options.schema_json)
            .map_err(|e| ClientError::Schema(e.to_string()))?;
        let schema = Arc::new(schema);
        if let Some(url) = &options.cache_url {
            check_cache_url(url).map_err(|e| ClientError::CacheUrl(e.to_string()))?;
        }
        let mut random = Random::new(options.entropy);
        let client_id = options.client_id.unwrap_or_else(|| random.id());
        let limits = options.limits;
        let connection = Connection::new(now_ms, limits.clone(), options.cache_url.is_some());
        let identity = Identity {
            client_id: client_id.clone(),
            deadline_ms: limits.mutator_deadline_ms,
        };
        let request_part = random.request_part();
        let mut client = Client {
            effects: Vec::new(),
            visible: Visible::new(schema.clone(), &limits),
            schema,
            role: options.role,
            client_id,
            group_id: None,
            user_id: options.user_id,
            endpoints: Endpoints {
                query_url: options.query_url,
                query_headers: options.query_headers,
                mutate_url: options.mutate_url,
                mutate_headers: options.mutate_headers,
            },
            cookie: None,
            link: ServerLink::new(connection, options.cache_url, options.auth, request_part),
            queries: Queries::default(),
            pokes: Pokes::default(),
            mutations: Mutations::new(),
            rebase: Rebase::new(identity, limits.stage_from),
            slices: Slices::new(limits.slice_steps),
            persistence: Persistence::default(),
            tabs: Tabs::default(),
            stale_rows: false,
            earlier: EarlierStore::of(options.role),
            mutations_changed: false,
            loaded: false,
            closed: false,
            goes_out: false,
            next_view: 1,
            next_call: 1,
            wake_at: None,
            ready_by: None,
            filling_first: false,
            last_anew: None,
            drained: false,
            random,
            limits,
        };
        client.hold_lock_of(&client.client_id.clone());
        client.ask_for_kept();
        client.load(now_ms);
        Ok(client)
    }

    /// What to do now, in order. Call it after every other call.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Something happened outside.
    /// `now_ms` is milliseconds since the epoch from a clock that never goes back
    /// (`performance.timeOrigin + performance.now()`).
    pub fn handle(&mut self, now_ms: f64, event: Event) {
        // What was asked of storage is answered to the end.
        if self.closed && !matches!(event, Event::Stored { .. }) {
            return;
        }
        self.slices.begin();
        if let Some(event) = self.defer(event) {
            self.take_event(now_ms, event);
        }
        self.settle_down(now_ms);
        self.slices.end();
    }

    pub(crate) fn take_event(&mut self, now_ms: f64, event: Event) {
        match event {
            Event::Stored { request, result } => self.on_stored(now_ms, request, result),
            Event::SocketOpened { .. } => {}
            Event::SocketText { socket, text } if self.link.socket == Some(socket) => {
                self.on_text(now_ms, &text)
            }
            Event::SocketBinary { socket, .. } if self.link.socket == Some(socket) => {
                self.on_binary(now_ms)
            }
            Event::SocketTook { socket } if self.link.socket == Some(socket) => {
                self.link.connection.heard(now_ms, false);
            }
            Event::SocketClosed {
                socket,
                code,
                reason,
            } if self.link.socket == Some(socket) => {
                self.on_socket_closed(now_ms, code, &reason);
            }
            // Of a socket that is gone; pieces are taken from the line.
            Event::SocketText { .. }
            | Event::SocketPieces { .. }
            | Event::SocketBinary { .. }
            | Event::SocketTook { .. }
            | Event::SocketClosed { .. } => {}
            // The host's timer is used up, so the next one is asked for even if it is for the same time.
            Event::Wake => self.wake_at = None,
            Event::Visibility { visible } => {
                if !visible {
                    self.keep_results_soon(now_ms);
                }
                let actions = self
                    .link
                    .connection
                    .visibility(now_ms, visible, &mut self.random);
                self.act(now_ms, actions);
            }
            Event::Leaving => self.keep_results_soon(now_ms),
            Event::Online { online } => {
                let actions = self
                    .link
                    .connection
                    .network(now_ms, online, &mut self.random);
                self.act(now_ms, actions);
            }
            Event::Earlier { answers } => self.on_earlier(now_ms, answers),
            Event::Announced { text } => self.on_announced(&text),
            Event::LockGranted { name } => self.on_lock_granted(&name),
        }
    }

    /// JSON text of the tables and columns in the order in which flushes number them:
    /// `[{"name":"issue","columns":[{"name":"id","type":"string"},…],"primaryKey":["id"]},…]`.
    pub fn layout(&self) -> String {
        crate::views::flush::layout(&self.schema)
    }

    /// Opens a view: the flush among the effects shows what is local now, later flushes keep it current.
    pub fn view(&mut self, now_ms: f64, request: ViewRequest) -> Result<ViewId, ClientError> {
        self.check_open()?;
        let ast = match self.visible.ast_of(&request.ast_json) {
            Some(ast) => ast,
            None => Arc::new(
                json::read(&request.ast_json).map_err(|e| ClientError::Query(e.to_string()))?,
            ),
        };
        let wanted = match request.source {
            QuerySource::Local => None,
            QuerySource::Ast => Some((hash_of_ast(&ast), None)),
            QuerySource::Named { name, args_json } => {
                let args: Vec<Json> =
                    json::read(&args_json).map_err(|e| ClientError::Arguments {
                        name: name.clone(),
                        reason: e.to_string(),
                    })?;
                Some((hash_of_name_and_args(&name, &args_json), Some((name, args))))
            }
        };
        let view = ViewId(self.next_view);
        if request.materialize {
            self.slices.begin_view();
            self.visible
                .open(view, &request.ast_json, &ast, &self.slices.steps)?;
            self.keep_results_later(now_ms);
        } else {
            map_ast(&ast, &self.schema, To::Server)
                .map_err(|e| ClientError::Query(e.to_string()))?;
        }
        self.next_view += 1;
        if let Some((hash, named)) = wanted {
            let text = QueryText { named, ast };
            let due = now_ms + self.limits.query_throttle_ms;
            let status = self.queries.want(view, &hash, text, request.ttl_ms, due);
            if status != Status::Unknown {
                self.visible.set_status(view, status);
            }
        }
        self.settle_down(now_ms);
        Ok(view)
    }

    /// Whether a view shows its rows: one that takes long to fill is empty at first.
    pub fn is_filled(&self, view: ViewId) -> bool {
        self.visible.is_filled(view)
    }

    /// Changes the TTL of an open view; the largest of all users of a query counts.
    pub fn set_ttl(&mut self, now_ms: f64, view: ViewId, ttl_ms: f64) -> Result<(), ClientError> {
        self.check_open()?;
        self.queries
            .set_ttl(view, ttl_ms, now_ms + self.limits.query_throttle_ms);
        self.settle_down(now_ms);
        Ok(())
    }

    /// Closes a view. The server hears of it when no other view or preload wants the query.
    pub fn drop_view(&mut self, now_ms: f64, view: ViewId) -> Result<(), ClientError> {
        self.check_open()?;
        self.visible.close(view);
        self.queries
            .unwant(view, now_ms + self.limits.query_throttle_ms);
        self.settle_down(now_ms);
        Ok(())
    }

    /// Asks the server again for a query that failed.
    pub fn retry(&mut self, now_ms: f64, view: ViewId) -> Result<(), ClientError> {
        self.check_open()?;
        for view in self.queries.retry(view, now_ms) {
            self.visible.set_status(view, Status::Unknown);
        }
        self.settle_down(now_ms);
        Ok(())
    }

    /// Runs a query once on the visible state: a snapshot of view 0, to be applied before any flush that comes later
    /// and after all that came before, also those among the effects that were not taken yet.
    pub fn run(&mut self, ast_json: &str) -> Result<Flush, ClientError> {
        self.check_open()?;
        let ast: Ast = json::read(ast_json).map_err(|e| ClientError::Query(e.to_string()))?;
        self.visible.run(&ast, Base::Visible)
    }

    /// Runs a query once on the visible state and gives how as JSON text: [`landfall_ivm::LevelPlan`].
    pub fn analyze(&self, ast_json: &str) -> Result<String, ClientError> {
        self.check_open()?;
        let ast: Ast = json::read(ast_json).map_err(|e| ClientError::Query(e.to_string()))?;
        self.visible.analyze(&ast)
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
        self.check_open()?;
        json::read::<Vec<Json>>(args_json).map_err(|e| ClientError::Arguments {
            name: name.to_owned(),
            reason: e.to_string(),
        })?;
        let call = CallId(self.next_call);
        self.next_call += 1;
        self.rebase.call(call, name, args_json, now_ms);
        self.show_change(now_ms);
        Ok(call)
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
        if self.rebase.branch(tx).is_none() {
            return Err(ClientError::TransactionClosed(tx));
        }
        let write = Write::new(&self.schema, table, op, row_json)?;
        let before = self.rebase.tx_row(&self.visible, tx, &write.key);
        let effect = write.effect(&self.schema, before.as_ref())?;
        let key: RowKey = write.key;
        self.rebase
            .write(tx, write.crud, effect.map(|after| (key, after)));
        Ok(())
    }

    /// A query of a running mutator, on its branch; otherwise as [`Client::run`].
    pub fn read(&mut self, tx: TxId, ast_json: &str) -> Result<Flush, ClientError> {
        let ast: Ast = json::read(ast_json).map_err(|e| ClientError::Query(e.to_string()))?;
        let base = base_of(&self.rebase, tx)?;
        self.visible.run(&ast, base)
    }

    /// As [`Client::read`], for a reader that keeps no rows: the handles count from 0 and mean nothing outside.
    pub fn read_detached(&self, tx: TxId, ast_json: &str) -> Result<Flush, ClientError> {
        let ast: Ast = json::read(ast_json).map_err(|e| ClientError::Query(e.to_string()))?;
        self.visible.run_detached(&ast, base_of(&self.rebase, tx)?)
    }

    /// A mutator has ended. What it shows is in the effects; storage and the server hear of it by [`Client::go_out`].
    /// Settling a transaction that is already closed (deadline) does nothing.
    pub fn settle(&mut self, now_ms: f64, tx: TxId, result: Result<(), MutationError>) {
        let mut steps = Vec::new();
        self.rebase.settle(
            tx,
            result,
            &mut self.visible,
            &mut self.mutations,
            &mut steps,
        );
        self.take_steps(now_ms, steps);
        self.show_change(now_ms);
        if !self.goes_out && !self.closed {
            self.goes_out = true;
            self.effects.push(Effect::GoOut);
        }
    }

    /// Stores and sends what [`Effect::GoOut`] was about.
    pub fn go_out(&mut self, now_ms: f64) {
        if self.goes_out {
            self.settle_down(now_ms);
        }
    }

    /// `connection.connect({auth})`: a new token if given; resumes from *needs-auth* and *error*.
    pub fn connect(&mut self, now_ms: f64, auth: Option<String>) {
        if !self.closed {
            self.take_auth(now_ms, auth);
            self.settle_down(now_ms);
        }
    }

    /// What is sent from now on belongs to this trace (W3C `traceparent`), or to none.
    /// What waits to go out belongs to the one before.
    pub fn set_traceparent(&mut self, now_ms: f64, traceparent: Option<String>) {
        if self.link.traceparent != traceparent {
            self.go_out(now_ms);
            self.link.traceparent = traceparent;
        }
    }

    /// Pending, failed and uncertain mutations that the client knows of, in order.
    pub fn mutations(&self) -> Vec<MutationInfo> {
        self.mutations.infos()
    }

    /// The same list, as what has changed in it since this was asked last.
    pub fn changed_mutations(&mut self) -> Vec<ListPart> {
        self.mutations.changed_infos()
    }

    /// The application has seen this failed or uncertain mutation: it is forgotten.
    pub fn clear_outcome(&mut self, now_ms: f64, client_id: &str, mutation_id: u64) {
        if self.mutations.clear_end(client_id, mutation_id) {
            self.mutations_changed = true;
            self.store_cleared_outcome(client_id, mutation_id);
        }
        self.settle_down(now_ms);
    }

    /// This client's id.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Closes for good: views keep their last data, pending mutations stay in storage.
    /// The host goes on answering [`Effect::Store`] requests given out before [`Effect::Closed`].
    pub fn close(&mut self, now_ms: f64) {
        if self.closed {
            return;
        }
        self.go_out(now_ms);
        for call in self.rebase.take_waiting() {
            let error = MutationError {
                source: ErrorSource::Zero,
                message: "the client was closed".into(),
                details: None,
            };
            self.effects.push(Effect::MutationLocal {
                call,
                result: Err(error),
            });
        }
        self.write_rest_of_queue(now_ms);
        self.keep_results_soon(now_ms);
        self.keep_results(now_ms);
        let actions =
            self.link
                .connection
                .close(now_ms, "closed by the application", &mut self.random);
        self.act(now_ms, actions);
        self.closed = true;
        self.effects.push(Effect::WakeAt { at_ms: None });
        self.effects.push(Effect::Closed);
    }

    pub(crate) fn check_open(&self) -> Result<(), ClientError> {
        if self.closed {
            Err(ClientError::Closed)
        } else {
            Ok(())
        }
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// The cookie that this client is at, or will be when the present round is over.
    pub(crate) fn coming_cookie(&self) -> Option<&str> {
        self.rebase.coming_cookie().or(self.cookie.as_deref())
    }

    pub(crate) fn log(&mut self, level: LogLevel, message: &str) {
        self.effects.push(Effect::Log {
            level,
            message: message.to_owned(),
        });
    }
}

/// The rows that a transaction reads.
fn base_of(rebase: &Rebase, tx: TxId) -> Result<Base<'_>, ClientError> {
    match rebase.branch(tx) {
        Some((branch, true)) => Ok(Base::Staged(branch)),
        Some((branch, false)) => Ok(Base::Branch(branch)),
        None => Err(ClientError::TransactionClosed(tx)),
    }
}
