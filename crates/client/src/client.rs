//! [`Client`]: the one object a host holds. Calls come in here, events are passed on, and after each of them
//! everything that has become possible is done: rounds, runs, sends, writes, one flush.

use crate::connection::{Connection, Phase};
use crate::earlier_store::EarlierStore;
use crate::effect::{
    CallId, Effect, ErrorSource, LogLevel, MutationError, MutationInfo, Outcome, TxId, ViewId,
};
use crate::error::ClientError;
use crate::event::Event;
use crate::flush::Flush;
use crate::mutations::{MutationKey, Mutations, Settled};
use crate::options::{Limits, Options, Role};
use crate::persistence::Persistence;
use crate::pokes::{Poke, Pokes};
use crate::queries::{Queries, QueryText, Status};
use crate::random::Random;
use crate::rebase::{Identity, Rebase, RowKey, Run, Step};
use crate::request::{QuerySource, ViewRequest, WriteOp};
use crate::server_link::ServerLink;
use crate::slices::Slices;
use crate::tabs::Tabs;
use crate::visible::{Base, Visible};
use crate::writes::Write;
use landfall_protocol::{Json, check_cache_url};
use landfall_zql::json;
use landfall_zql::sorted_map::SortedMap;
use landfall_zql::{Ast, Row, Schema, TableId, To, hash_of_ast, hash_of_name_and_args, map_ast};
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
    /// Rows of an abandoned group are shown until the new one has sent something to show.
    pub(crate) stale_rows: bool,
    pub(crate) earlier: EarlierStore,
    pub(crate) mutations_changed: bool,
    pub(crate) loaded: bool,
    closed: bool,
    next_view: u32,
    next_call: u32,
    wake_at: Option<f64>,
    /// Loaded but not shown yet: until the stored queue is replayed, or this time.
    pub(crate) ready_by: Option<f64>,
    /// The views that were opened before there were rows are being filled.
    filling_first: bool,
    last_anew: Option<f64>,
    /// A draining client has told that it is done.
    pub(crate) drained: bool,
}

/// Within this time of a fresh start, another one does not reconnect at once.
const ANEW_PAUSE_MS: f64 = 60_000.0;

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
            visible: Visible::new(schema.clone(), limits.idle_rows),
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
        client.pokes.without_rows = client.role == Role::Draining;
        client.hold_lock_of(&client.client_id.clone());
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
        self.slices.begin();
        let Some(event) = self.defer(now_ms, event) else {
            return self.settle_down(now_ms);
        };
        self.take_event(now_ms, event);
        self.settle_down(now_ms);
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
            Event::SocketClosed {
                socket,
                code,
                reason,
            } if self.link.socket == Some(socket) => {
                self.on_socket_closed(now_ms, code, &reason);
            }
            Event::SocketText { .. } | Event::SocketBinary { .. } | Event::SocketClosed { .. } => {}
            // The host's timer is used up, so the next one is asked for even if it is for the same time.
            Event::Wake => self.wake_at = None,
            Event::Visibility { visible } => {
                let actions = self
                    .link
                    .connection
                    .visibility(now_ms, visible, &mut self.random);
                self.act(now_ms, actions);
            }
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
        crate::flush::layout(&self.schema)
    }

    /// Opens a view: the flush among the effects shows what is local now, later flushes keep it current.
    pub fn view(&mut self, now_ms: f64, request: ViewRequest) -> Result<ViewId, ClientError> {
        self.check_open()?;
        self.slices.begin();
        let ast: Ast =
            json::from_str(&request.ast_json).map_err(|e| ClientError::Query(e.to_string()))?;
        let ast = Arc::new(ast);
        let wanted = match request.source {
            QuerySource::Local => None,
            QuerySource::Ast => Some((hash_of_ast(&ast), None)),
            QuerySource::Named { name, args_json } => {
                let args: Vec<Json> =
                    json::from_str(&args_json).map_err(|e| ClientError::Arguments {
                        name: name.clone(),
                        reason: e.to_string(),
                    })?;
                Some((hash_of_name_and_args(&name, &args_json), Some((name, args))))
            }
        };
        let view = ViewId(self.next_view);
        if request.materialize {
            self.visible.open(view, &ast, &self.slices.steps)?;
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
        let ast: Ast = json::from_str(ast_json).map_err(|e| ClientError::Query(e.to_string()))?;
        self.visible.run(&ast, Base::Visible)
    }

    /// Runs a query once on the visible state and gives how as JSON text: [`landfall_ivm::LevelPlan`].
    pub fn analyze(&self, ast_json: &str) -> Result<String, ClientError> {
        self.check_open()?;
        let ast: Ast = json::from_str(ast_json).map_err(|e| ClientError::Query(e.to_string()))?;
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
        json::from_str::<Vec<Json>>(args_json).map_err(|e| ClientError::Arguments {
            name: name.to_owned(),
            reason: e.to_string(),
        })?;
        let call = CallId(self.next_call);
        self.next_call += 1;
        self.rebase.call(call, name, args_json, now_ms);
        self.settle_down(now_ms);
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
        let ast: Ast = json::from_str(ast_json).map_err(|e| ClientError::Query(e.to_string()))?;
        let base = base_of(&self.rebase, tx)?;
        self.visible.run(&ast, base)
    }

    /// As [`Client::read`], for a reader that keeps no rows: the handles count from 0 and mean nothing outside.
    pub fn read_detached(&self, tx: TxId, ast_json: &str) -> Result<Flush, ClientError> {
        let ast: Ast = json::from_str(ast_json).map_err(|e| ClientError::Query(e.to_string()))?;
        self.visible.run_detached(&ast, base_of(&self.rebase, tx)?)
    }

    /// A mutator has ended. Everything that follows from it (flush, storage, sending) is in the effects.
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
        self.settle_down(now_ms);
    }

    /// `connection.connect({auth})`: a new token if given; resumes from *needs-auth* and *error*.
    pub fn connect(&mut self, now_ms: f64, auth: Option<String>) {
        if !self.closed {
            self.take_auth(now_ms, auth);
            self.settle_down(now_ms);
        }
    }

    /// Pending, failed and uncertain mutations that the client knows of, in order.
    pub fn mutations(&self) -> Vec<MutationInfo> {
        self.mutations.infos()
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
        let actions =
            self.link
                .connection
                .close(now_ms, "closed by the application", &mut self.random);
        self.act(now_ms, actions);
        self.closed = true;
        self.effects.push(Effect::WakeAt { at_ms: None });
        self.effects.push(Effect::Closed);
    }

    fn check_open(&self) -> Result<(), ClientError> {
        if self.closed {
            Err(ClientError::Closed)
        } else {
            Ok(())
        }
    }

    pub(crate) fn log(&mut self, level: LogLevel, message: &str) {
        self.effects.push(Effect::Log {
            level,
            message: message.to_owned(),
        });
    }

    /// Does everything that has become possible, then hands over what changed.
    pub(crate) fn settle_down(&mut self, now: f64) {
        if self.closed {
            return;
        }
        self.on_time(now);
        self.read_on(now);
        if self.loaded {
            self.run_lanes(now);
            // Nothing is left to do if there is nothing to fill.
            let _ = self.visible.work(&self.slices.steps);
            self.show_when_ready(now);
            self.send_due(now);
            self.let_the_dead_go();
            self.look_after_others(now);
            self.write_queue(now);
            self.write_on();
            self.go_on_draining(now);
        }
        self.flush();
        if std::mem::take(&mut self.mutations_changed) {
            self.effects.push(Effect::MutationsChanged);
        }
        self.set_timer(now);
        self.ask_for_more();
    }

    fn show_when_ready(&mut self, now: f64) {
        if let Some(limit) = self.ready_by {
            let replayed = self.rebase.is_idle() && !self.rebase.round_is_asked_for();
            if !replayed && now < limit {
                return;
            }
            self.ready_by = None;
            self.filling_first = true;
            self.visible.show();
            let _ = self.visible.work(&self.slices.steps);
        }
        if !self.filling_first || !self.visible.is_current() {
            return;
        }
        self.filling_first = false;
        self.flush();
        self.effects.push(Effect::Ready {
            client_id: self.client_id.clone(),
            client_group_id: self.group_id.clone().unwrap_or_default(),
            mutations: self.mutations.infos(),
        });
    }

    fn on_time(&mut self, now: f64) {
        if self.link.connection.phase() != Phase::Closed {
            let actions = self.link.connection.on_time(now, &mut self.random);
            self.act(now, actions);
        }
        let mut steps = Vec::new();
        self.rebase
            .on_time(now, &mut self.visible, &mut self.mutations, &mut steps);
        self.take_steps(now, steps);
    }

    /// Rounds and runs, until both lanes wait for something outside.
    fn run_lanes(&mut self, now: f64) {
        loop {
            if self.rebase.is_idle() {
                self.begin_round(now);
            }
            let mut steps = Vec::new();
            self.rebase.advance(
                now,
                &mut self.visible,
                &mut self.mutations,
                &self.slices.steps,
                &mut steps,
            );
            if steps.is_empty() {
                return;
            }
            self.take_steps(now, steps);
        }
    }

    fn begin_round(&mut self, now: f64) {
        if self.pokes.is_waiting() {
            match self
                .pokes
                .take_merged(self.cookie.as_deref(), self.mutations.confirmed())
            {
                Ok(Some(poke)) if self.role == Role::Draining => self.on_swapped(now, Some(poke)),
                Ok(Some(mut poke)) => {
                    self.replace_stale_rows(&mut poke);
                    self.rebase.begin_round(now, Some(poke));
                    return;
                }
                Ok(None) => {}
                Err(error) => self.on_poke_error(now, &error),
            }
        }
        if self.rebase.round_is_due(now) && self.role != Role::Draining {
            self.rebase.begin_round(now, None);
        }
    }

    /// The first poke of a new group that holds rows or answers voids the rows of the abandoned one; the first of all
    /// if no answers are waited for.
    fn replace_stale_rows(&mut self, poke: &mut Poke) {
        let answers = !poke.rows.is_empty() || !poke.got.is_empty();
        if self.stale_rows && (answers || self.queries.is_empty()) {
            self.stale_rows = false;
            poke.cleared = true;
        }
    }

    fn take_steps(&mut self, now: f64, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Run(run) => self.ask_for_run(run),
                Step::Committed { call, key } => self.on_committed(call, &key),
                Step::Refused { call, error } => {
                    self.effects.push(Effect::MutationLocal {
                        call,
                        result: Err(error),
                    });
                }
                Step::Swapped { poke } => self.on_swapped(now, poke),
            }
        }
    }

    fn ask_for_run(&mut self, run: Run) {
        self.effects.push(Effect::RunMutator {
            tx: run.tx,
            call: run.call,
            reason: run.reason,
            client_id: run.client_id,
            mutation_id: run.mutation_id,
            name: run.name,
            args_json: run.args_json,
        });
    }

    fn on_committed(&mut self, call: CallId, key: &MutationKey) {
        self.mutations_changed = true;
        self.flush();
        self.effects.push(Effect::MutationLocal {
            call,
            result: Ok(key.1),
        });
        self.persistence.enqueue(key.clone());
    }

    /// The visible rows stand on a new server state, or were replayed.
    fn on_swapped(&mut self, now: f64, poke: Option<Poke>) {
        let Some(poke) = poke else { return };
        let settled = self.mutations.settled_by(&poke.confirmed, &poke.results);
        self.mutations.apply(&poke.confirmed, &settled);
        self.queries
            .apply_desired(&poke.desired, now + self.limits.query_throttle_ms);
        for (view, status) in self.queries.apply_got(&poke.got, poke.stored.is_none()) {
            self.visible.set_status(view, status);
        }
        if poke.moves() {
            self.cookie = Some(poke.cookie.clone());
        }
        self.flush();
        self.tell_outcomes(&settled, &poke);
        if self.mutations.is_empty() {
            self.queries
                .release_removals(now + self.limits.query_throttle_ms);
        }
        match poke.stored {
            Some(next) => self.persistence.log_next = next,
            None if poke.moves() => self.store_poke(poke, &settled),
            None => {}
        }
        // What was announced while this round ran.
        self.follow_on();
    }

    /// Whether storage may know better that a mutation was refused: another tab has seen the failure and acknowledged it,
    /// for the mutation had become its own, or it took this tab for dead; so the server has told this one nothing.
    fn is_doubtful(&self, end: &Settled, poke: &Poke) -> bool {
        let key = end.mutation.key();
        let renamed = key.0 != self.client_id;
        // A poke from nothing does not name results that are gone.
        let silent = poke.base.is_none() || poke.cleared || poke.result_changes.contains(&key);
        end.mutation.call.is_some() && end.outcome == Outcome::Confirmed && (renamed || silent)
    }

    fn tell_outcomes(&mut self, settled: &[Settled], poke: &Poke) {
        let mut doubtful = Vec::new();
        for end in settled {
            self.mutations_changed = true;
            self.spare_queue(&end.mutation);
            if !self.persistence.disabled && self.is_doubtful(end, poke) {
                doubtful.push(end.clone());
            } else {
                self.tell_outcome(end);
            }
        }
        if !doubtful.is_empty() {
            self.read_outcomes(doubtful);
        }
    }

    pub(crate) fn tell_outcome(&mut self, end: &Settled) {
        self.effects.push(Effect::MutationOutcome {
            call: end.mutation.call,
            client_id: end.mutation.client_id.clone(),
            mutation_id: end.mutation.id,
            outcome: end.outcome.clone(),
        });
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// The cookie that this client is at, or will be when the present round is over.
    pub(crate) fn coming_cookie(&self) -> Option<&str> {
        self.rebase.coming_cookie().or(self.cookie.as_deref())
    }

    /// All of the server's rows at the present cookie, by table and key.
    pub(crate) fn server_rows(&self) -> Vec<(TableId, Row)> {
        match self.stale_rows {
            true => Vec::new(),
            false => self.rebase.server_rows(&self.visible),
        }
    }

    /// Hands over what changed since the last time, if anything.
    pub(crate) fn flush(&mut self) {
        let flush = self.visible.take_flush();
        if !flush.is_empty() {
            self.effects.push(Effect::Flush(flush));
        }
    }

    fn set_timer(&mut self, now: f64) {
        let next = [
            self.link.next_deadline(),
            self.link
                .connection
                .is_connected()
                .then(|| self.queries.next_deadline())
                .flatten(),
            self.rebase.next_deadline(),
            self.rebase.next_round(now),
            self.persistence.next_deadline(),
            self.tabs.next_deadline(),
            self.ready_by,
        ]
        .into_iter()
        .flatten()
        .reduce(f64::min);
        if next != self.wake_at {
            self.wake_at = next;
            self.effects.push(Effect::WakeAt { at_ms: next });
        }
    }

    /// A new group has begun, in storage if there is one: the writes are kept, the rest starts from nothing.
    pub(crate) fn begin_group(&mut self, now: f64, group: String, client: String) {
        let old_client = std::mem::replace(&mut self.client_id, client.clone());
        self.release_lock_of(&old_client);
        self.rebase.set_client_id(client.clone());
        self.group_id = Some(group.clone());
        self.cookie = None;
        self.persistence.log_next = 0;
        self.abandon_snapshot();
        self.stale_rows = true;
        self.queries.forget_server();
        self.pokes.reset();
        self.tabs.forget_dead();
        self.mutations_changed = true;
        self.rebase.abandon_round(&mut self.visible);
        self.rebase.request_round();
        self.say_hello();
        self.effects.push(Effect::ClientStateNotFound {
            client_id: client,
            client_group_id: group,
        });
        // Once in a while at once; a server that forgets every new group at once is left to the usual pauses.
        let quiet = self.last_anew.is_none_or(|at| now - at > ANEW_PAUSE_MS);
        self.last_anew = Some(now);
        if quiet {
            let actions = self.link.connection.resume(now, &mut self.random);
            self.act(now, actions);
        }
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
