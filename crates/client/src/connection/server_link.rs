//! What is said to the server and what is made of its answers: the handshake, queries, pings, errors; when pushes go.
//!
//! When to connect is decided by `connection`; this module carries its actions out.

use crate::client::Client;
use crate::connection::pokes::{PokeError, Reading, Refusal};
use crate::connection::{Action, AuthReason, Connection, PauseBounds};
use crate::effect::{Effect, LogLevel, SocketId, UpdateReason};
use crate::mutations::Mutation;
use crate::options::Role;
use crate::queries::QueryOp;
use landfall_protocol::{
    AckMutationResponses, Action as ErrorAction, AuthRefusal, CRUD_NAME, ChangeDesiredQueries,
    ClientSchema, ConnectParams, Connected, ConnectionReaction, DeleteClients, Downstream,
    ErrorBody, ErroredQuery, ErroredQueryKind, InitConnection, JsNumber, LANDFALL_VERSION,
    MutationMode, MutationRef, PROTOCOL_VERSION, PutQuery, QueryMode, QueryText as WireQueryText,
    Reaction, Reason, SecProtocol, ServerMode, UpQueryOp, UpdateAuth, Upstream, close_reaction,
    reaction,
};
use landfall_zql::sorted_map::SortedMap;
use landfall_zql::{Schema, ast_for_server};

/// Pause after the server said that mutations come too fast.
const RATE_LIMIT_PAUSE_MS: f64 = 2_000.0;

/// Longest wait for signs that the first push of a connection may go.
const PUSH_WAIT_MS: f64 = 5_000.0;

/// Whether this connection may push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushGate {
    /// Not connected, or what is about to be sent has to be marked in storage first.
    Shut,
    /// Storage is noting that a part of the queue is about to be sent; more of it follows.
    MarkingPart,
    /// Storage is noting that the queue, or what is left of it, is about to be sent.
    Marking,
    /// Go.
    Open,
}

/// The present connection and what outlives it.
#[derive(Debug)]
pub(crate) struct ServerLink {
    pub(crate) connection: Connection,
    pub(crate) cache_url: Option<String>,
    pub(crate) auth: Option<String>,
    /// The trace that the application is in, for the server to go on with.
    pub(crate) traceparent: Option<String>,
    /// The token came after the present socket was opened: a refusal may be about the one before.
    auth_is_newer: bool,
    pub(crate) socket: Option<SocketId>,
    next_socket: u32,
    reconnect_params: Vec<(String, String)>,
    /// The handshake carried `initConnection`.
    init_in_header: bool,
    /// What the server does with queries and mutations; `None` until a server has been met.
    pub(crate) mode: Option<ServerMode>,
    pub(crate) push_gate: PushGate,
    /// Not before this time after a rate limit.
    push_after: Option<f64>,
    /// The first push of the connection waits until the server has shown that it knows the group, and until the
    /// mutations of dead tabs, which come earlier, can be sent with it; but no longer than this.
    push_wait: Option<f64>,
    poke_heard: bool,
    /// There may be more mutations to send than the last turn has sent.
    pub(super) push_on: bool,
    pub(super) request_part: String,
    pub(super) requests: u64,
    /// What the application was told that it needs newer code for, since the last connection.
    update_told: Option<UpdateReason>,
}

impl ServerLink {
    pub(crate) fn new(
        connection: Connection,
        cache_url: Option<String>,
        auth: Option<String>,
        request_part: String,
    ) -> Self {
        ServerLink {
            connection,
            cache_url,
            auth,
            traceparent: None,
            auth_is_newer: false,
            socket: None,
            next_socket: 1,
            reconnect_params: Vec::new(),
            init_in_header: false,
            mode: None,
            push_gate: PushGate::Shut,
            push_after: None,
            push_wait: None,
            poke_heard: false,
            push_on: false,
            request_part,
            requests: 0,
            update_told: None,
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<f64> {
        [self.connection.next_deadline(), self.push_after]
            .into_iter()
            .flatten()
            .reduce(f64::min)
    }

    /// Whether a mutation is sent as the writes it makes, and not as a call.
    pub(crate) fn sends_writes_of(&self, mutation: &Mutation) -> bool {
        let takes_writes = |mode: ServerMode| mode.mutations == MutationMode::Crud;
        // Writes of the deprecated `zero.mutate.<table>` have this name, which no server's mutator has.
        self.mode.is_some_and(takes_writes) || mutation.name == CRUD_NAME
    }

    fn sends_asts(&self) -> bool {
        self.mode.is_some_and(|mode| mode.queries == QueryMode::Ast)
    }
}

/// How zero-cache works, which does not say so.
const ZERO_CACHE: ServerMode = ServerMode {
    queries: QueryMode::Named,
    mutations: MutationMode::Custom,
    version: LANDFALL_VERSION,
};

pub(super) fn number(value: f64) -> JsNumber {
    JsNumber::new(value).unwrap_or_default()
}

impl Client {
    /// Carries out what the connection's state machine asks for.
    pub(crate) fn act(&mut self, now: f64, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Open => self.open_socket(now),
                Action::Drop(code) => {
                    if let Some(socket) = self.link.socket.take() {
                        self.effects.push(Effect::CloseSocket { socket, code });
                    }
                }
                Action::Down => self.on_down(),
                Action::Ping => self.send(&Upstream::Ping),
                Action::Publish(state) => self.effects.push(Effect::Connection(state)),
            }
        }
    }

    fn on_down(&mut self) {
        self.pokes.reset();
        self.link.push_gate = PushGate::Shut;
        self.link.push_after = None;
        self.link.push_wait = None;
        self.link.poke_heard = false;
        self.mutations.forget_sent();
        self.forget_mark();
        self.stop_recovery();
        self.follow_log(None);
    }

    fn open_socket(&mut self, now: f64) {
        let (Some(cache_url), Some(group)) = (self.link.cache_url.clone(), self.group_id.clone())
        else {
            return;
        };
        // What was followed in storage and is not applied yet would not fit what the server sends.
        self.pokes.reset();
        let socket = SocketId(self.link.next_socket);
        self.link.next_socket += 1;
        let params = ConnectParams {
            client_id: self.client_id.clone(),
            client_group_id: group,
            user_id: self.user_id.clone(),
            // A poke that is being applied will be applied: the next one goes on from there.
            base_cookie: self.coming_cookie().map(str::to_owned),
            ts: now,
            lmid: self.mutations.confirmed_of(&self.client_id),
            wsid: self.random.socket_id(),
            landfall: Some(LANDFALL_VERSION),
            ..ConnectParams::default()
        };
        // The first time the server's mode is not known, so nothing can be said about queries yet.
        let init_connection = self.link.mode.is_some().then(|| self.init_connection());
        self.link.auth_is_newer = false;
        let header = SecProtocol {
            init_connection,
            auth_token: self.link.auth.clone(),
        };
        let encoded = header.encode_within(self.limits.max_header_length);
        self.link.init_in_header = encoded.holds_init_connection;
        if encoded.too_long {
            self.log(
                LogLevel::Warn,
                "the token makes the handshake longer than servers usually accept",
            );
        }
        let protocol = encoded.value;
        match params.url(&cache_url, PROTOCOL_VERSION, &self.link.reconnect_params) {
            Ok(url) => {
                self.link.socket = Some(socket);
                self.effects.push(Effect::OpenSocket {
                    socket,
                    url,
                    protocol,
                });
            }
            Err(error) => {
                let actions = self
                    .link
                    .connection
                    .fatal(now, error.to_string(), &mut self.random);
                self.act(now, actions);
            }
        }
    }

    fn init_connection(&mut self) -> InitConnection {
        let ops = self.queries.begin_connection(!self.mutations.is_empty());
        let dead = self.tabs.deletable();
        InitConnection {
            desired_queries_patch: self.query_ops(ops),
            client_schema: self
                .cookie
                .is_none()
                .then(|| ClientSchema::of(&self.schema)),
            deleted: (!dead.is_empty()).then(|| DeleteClients {
                client_ids: Some(dead),
                ..DeleteClients::default()
            }),
            user_push_url: self.endpoints.mutate_url.clone(),
            user_push_headers: non_empty(&self.endpoints.mutate_headers),
            user_query_url: self.endpoints.query_url.clone(),
            user_query_headers: non_empty(&self.endpoints.query_headers),
            traceparent: self.link.traceparent.clone(),
            ..InitConnection::default()
        }
    }

    fn query_ops(&mut self, ops: Vec<QueryOp>) -> Vec<UpQueryOp> {
        let asts = self.link.sends_asts();
        let mut refused = Vec::new();
        let ops = ops
            .into_iter()
            .filter_map(|op| match op {
                QueryOp::Put { hash, ttl, text } => {
                    let query = match &text.named {
                        Some((name, args)) if !asts => WireQueryText::Named {
                            name: name.clone(),
                            args: args.clone(),
                        },
                        _ => match ast_for_server(&text.ast, &self.schema) {
                            Ok(ast) => WireQueryText::Ast(Box::new(ast)),
                            Err(error) => {
                                refused.push(error);
                                return None;
                            }
                        },
                    };
                    Some(UpQueryOp::Put(PutQuery {
                        hash,
                        ttl: Some(number(ttl)),
                        query,
                    }))
                }
                QueryOp::Del { hash } => Some(UpQueryOp::Del { hash }),
            })
            .collect();
        for error in refused {
            let message = format!("a query cannot be told to the server: {error}");
            self.log(LogLevel::Error, &message);
        }
        ops
    }

    /// Sends a message if there is a socket.
    pub(crate) fn send(&mut self, message: &Upstream) {
        if let Some(socket) = self.link.socket {
            self.effects.push(Effect::SendText {
                socket,
                text: message.encode(),
            });
        }
    }

    /// The socket closed by itself.
    pub(crate) fn on_socket_closed(&mut self, now: f64, code: u16, reason: &str) {
        self.link.socket = None;
        let actions = match close_reaction(code) {
            Some(reaction) => {
                self.react(
                    now,
                    reaction,
                    format!("the server closed the connection with code {code}: {reason}"),
                );
                return;
            }
            None => {
                let why = if code == 1000 || code == 1005 {
                    "CleanClose"
                } else {
                    "AbruptClose"
                };
                self.link
                    .connection
                    .lost(now, why, PauseBounds::default(), &mut self.random)
            }
        };
        self.act(now, actions);
    }

    /// A text frame of the present socket.
    pub(crate) fn on_text(&mut self, now: f64, text: &str) {
        let mut reading = Reading::default();
        match reading.take(text.as_bytes(), self.row_schema()) {
            Ok(()) => self.on_read(now, reading),
            Err(refusal) => self.on_refusal(now, &refusal),
        }
    }

    /// What rows of the server are read with; those of another schema are not.
    pub(crate) fn row_schema(&self) -> Option<&Schema> {
        (self.role != Role::Draining).then_some(&*self.schema)
    }

    /// A message that cannot be used.
    pub(crate) fn on_refusal(&mut self, now: f64, refusal: &Refusal) {
        match refusal {
            Refusal::Message(error) => self.on_fault(now, format!("InvalidMessage: {error}")),
            Refusal::Poke(error) => self.on_poke_error(now, error),
        }
    }

    /// A message has been read to its end.
    pub(crate) fn on_read(&mut self, now: f64, mut reading: Reading) {
        let rows = reading.take_rows();
        let message = match reading.message() {
            Ok(message) => message,
            Err(error) => return self.on_fault(now, format!("InvalidMessage: {error}")),
        };
        let is_pong = matches!(message, Downstream::Pong);
        self.link.connection.heard(now, is_pong);
        let result = match message {
            Downstream::Connected(connected) => return self.on_connected(now, connected),
            Downstream::Error(error) => return self.on_error(now, &error),
            Downstream::Pong => Ok(()),
            Downstream::PokeStart(start) => {
                self.link.poke_heard = true;
                self.pokes.start(start)
            }
            Downstream::PokePart(part) => self.pokes.part(part, rows, &self.client_id),
            Downstream::PokeEnd(end) => self.pokes.end(end),
            Downstream::DeleteClients(deleted) => {
                self.on_clients_deleted(deleted.client_ids.unwrap_or_default());
                Ok(())
            }
            Downstream::TransformError(errors) => {
                self.on_transform_errors(errors);
                Ok(())
            }
            Downstream::Inspect(reply) => {
                self.on_inspect_reply(reply);
                Ok(())
            }
            Downstream::Pull(_) | Downstream::PushResponse(_) => {
                self.log(
                    LogLevel::Debug,
                    "a message of a kind that this client does not ask for was ignored",
                );
                Ok(())
            }
        };
        if let Err(error) = result {
            self.on_poke_error(now, &error);
        }
    }

    /// A poke that cannot be used.
    pub(crate) fn on_poke_error(&mut self, now: f64, error: &PokeError) {
        let text = error.to_string();
        let actions = match error {
            PokeError::UnexpectedBase { .. } => {
                self.log(LogLevel::Info, &text);
                self.link.connection.lost(
                    now,
                    "UnexpectedBaseCookie",
                    PauseBounds::default(),
                    &mut self.random,
                )
            }
            _ => {
                self.log(LogLevel::Error, &text);
                self.link.connection.fatal(now, text, &mut self.random)
            }
        };
        self.act(now, actions);
    }

    /// The server sent what it should not.
    fn on_fault(&mut self, now: f64, reason: String) {
        self.log(LogLevel::Error, &reason);
        let actions = self.link.connection.fatal(now, reason, &mut self.random);
        self.act(now, actions);
    }

    /// A binary frame: this client speaks a version that has none.
    pub(crate) fn on_binary(&mut self, now: f64) {
        self.on_fault(
            now,
            "InvalidMessage: a binary frame in protocol version 51".into(),
        );
    }

    fn on_connected(&mut self, now: f64, connected: Connected) {
        let mode = connected.landfall.unwrap_or(ZERO_CACHE);
        let before = self.link.mode.replace(mode);
        if before != Some(mode) {
            self.store_mode(mode);
        }
        self.link.reconnect_params.clear();
        self.link.update_told = None;
        self.mutations.forget_sent();
        let actions = self.link.connection.accepted(now, &mut self.random);
        if self.link.init_in_header {
            if before.is_some_and(|before| before.queries != mode.queries) {
                self.queries.tell_again();
            }
            let ops = self.queries.differences(!self.mutations.is_empty());
            self.send_query_ops(ops);
        } else {
            let init = self.init_connection();
            self.send(&Upstream::InitConnection(init));
        }
        // The handshake had another one.
        if self.link.auth_is_newer {
            self.tell_auth();
        }
        self.act(now, actions);
        self.begin_recovery(now);
        self.link.push_wait = Some(now + PUSH_WAIT_MS);
    }

    /// Whether the first push of this connection may go.
    fn may_open_push_gate(&self, now: f64) -> bool {
        let Some(limit) = self.link.push_wait else {
            return false;
        };
        let ready = self.link.poke_heard && !self.waits_for_recovery();
        ready || limit <= now
    }

    /// Whether the replay is about to make writes that are to be sent: stored calls, and a server that takes no calls now.
    fn makes_writes(&self) -> bool {
        let replays = !self.rebase.is_idle() || self.rebase.round_is_asked_for();
        let waits =
            |m: &Mutation| m.unwritten && m.replay_error.is_none() && self.link.sends_writes_of(m);
        let replays = replays && self.role != Role::Draining;
        replays && self.mutations.pending().iter().any(waits)
    }

    fn send_query_ops(&mut self, ops: Vec<QueryOp>) {
        if ops.is_empty() {
            return;
        }
        let desired_queries_patch = self.query_ops(ops);
        self.send(&Upstream::ChangeDesiredQueries(ChangeDesiredQueries {
            desired_queries_patch,
            traceparent: self.link.traceparent.clone(),
        }));
    }

    /// Sends what is due: differences of wanted queries, and mutations.
    pub(crate) fn send_due(&mut self, now: f64) {
        if !self.link.connection.is_connected() {
            return;
        }
        let ops = self.queries.take_due(now, !self.mutations.is_empty());
        self.send_query_ops(ops);
        if self.link.push_after.is_some_and(|at| at <= now) {
            self.link.push_after = None;
        }
        self.look_for_stale(now);
        if self.makes_writes() {
            return;
        }
        if self.may_open_push_gate(now) {
            self.link.push_wait = None;
            self.open_push_gate();
        }
        if self.link.push_gate == PushGate::Open && self.has_unmarked() {
            self.open_push_gate();
        }
        if self.link.push_gate == PushGate::Open && self.link.push_after.is_none() {
            self.push(now);
        }
    }

    /// Whether a call of [`Client::send_due`] would go on with a push.
    pub(crate) fn is_pushing_on(&self) -> bool {
        let link = &self.link;
        let may_push = link.connection.is_connected() && link.push_gate == PushGate::Open;
        link.push_on && may_push && link.push_after.is_none() && !self.makes_writes()
    }

    /// Whether marking what is about to be sent on this connection has failed and is to be tried again.
    pub(crate) fn is_to_be_marked(&self) -> bool {
        let connected = self.link.connection.is_connected();
        connected && self.link.push_wait.is_none() && self.link.push_gate == PushGate::Shut
    }

    /// An `error` message.
    fn on_error(&mut self, now: f64, error: &ErrorBody) {
        let text = format!("{:?}: {}", error.kind(), error.message());
        self.log(LogLevel::Warn, &text);
        let mut reaction = reaction(error);
        if self.is_forgotten_by_source(error) {
            reaction.action = ErrorAction::AbandonGroup;
        }
        self.react(now, reaction, text);
    }

    /// Whether the source finds a mutation out of order that follows the last one it has confirmed.
    /// Then it has lost that one: it is another database, or one that was set back, and would refuse all that comes.
    fn is_forgotten_by_source(&self, error: &ErrorBody) -> bool {
        let ErrorBody::PushFailed(push) = error else {
            return false;
        };
        let is_next = |first: &MutationRef| {
            first.id > 1 && first.id == self.mutations.confirmed_of(&first.client_id) + 1
        };
        push.failure.reason == Reason::OutOfOrderMutation
            && push.mutation_ids.first().is_some_and(is_next)
    }

    fn react(&mut self, now: f64, reaction: Reaction, text: String) {
        let actions = match reaction.connection {
            ConnectionReaction::NeedsAuth(_) if self.link.auth_is_newer => {
                let (bounds, connection) = (PauseBounds::default(), &mut self.link.connection);
                connection.lost(now, text.clone(), bounds, &mut self.random)
            }
            ConnectionReaction::NeedsAuth(refusal) => {
                self.link
                    .connection
                    .auth_refused(now, auth_reason(refusal), &mut self.random)
            }
            ConnectionReaction::Retry(backoff) => {
                self.link.reconnect_params = backoff.reconnect_params;
                // A lower bound of nothing: the server has spoken, so this is no plain loss that is answered at once.
                let bounds = PauseBounds {
                    min_ms: backoff.min_ms.or(Some(0.0)),
                    max_ms: backoff.max_ms,
                };
                self.link
                    .connection
                    .lost(now, text.clone(), bounds, &mut self.random)
            }
            ConnectionReaction::Error => {
                self.link
                    .connection
                    .fatal(now, text.clone(), &mut self.random)
            }
            ConnectionReaction::Keep => Vec::new(),
        };
        self.act(now, actions);
        use ErrorAction as A;
        match reaction.action {
            A::None => {}
            A::UpdateForVersion => self.tell_update(UpdateReason::VersionNotSupported, text),
            A::UpdateForSchema => {
                self.tell_update(UpdateReason::SchemaVersionNotSupported, text);
            }
            A::AbandonGroup | A::DropStore => self.start_anew(now),
            A::ResendMutations => {
                self.mutations.forget_sent();
                self.link.push_after = Some(now + RATE_LIMIT_PAUSE_MS);
            }
        }
    }

    /// Once, whatever the attempts after that are told: what the application does about it may take a while.
    fn tell_update(&mut self, reason: UpdateReason, message: String) {
        if self.link.update_told.replace(reason) != Some(reason) {
            self.effects.push(Effect::UpdateNeeded { reason, message });
        }
    }

    fn on_transform_errors(&mut self, errors: Vec<ErroredQuery>) {
        for error in errors {
            let views = self.queries.fail(&error.id);
            if views.is_empty() {
                continue;
            }
            let kind = match error.error {
                ErroredQueryKind::App => "app",
                ErroredQueryKind::Parse => "parse",
            };
            self.effects.push(Effect::QueryFailed {
                views: views.clone(),
                kind: kind.into(),
                name: error.name,
                message: error.message.unwrap_or_default(),
                details_json: error.details.map(|details| details.as_str().to_owned()),
            });
            for view in views {
                self.visible.set_status(view, crate::queries::Status::Error);
            }
        }
    }

    /// Tells the server that results up to these ids are safe in storage.
    pub(crate) fn acknowledge(&mut self, acks: SortedMap<String, u64>) {
        if !self.link.connection.is_connected() {
            return;
        }
        for (client_id, id) in acks {
            self.send(&Upstream::AckMutationResponses(AckMutationResponses {
                id,
                client_id,
            }));
        }
    }

    /// A new token for the present connection or for the next attempt.
    pub(crate) fn take_auth(&mut self, now: f64, auth: Option<String>) {
        if let Some(auth) = auth {
            self.link.auth_is_newer |= self.link.auth.as_ref() != Some(&auth);
            self.link.auth = Some(auth);
            if self.link.connection.is_connected() {
                self.tell_auth();
            }
        }
        let actions = self.link.connection.resume(now, &mut self.random);
        self.act(now, actions);
    }

    fn tell_auth(&mut self) {
        if let Some(auth) = self.link.auth.clone() {
            self.send(&Upstream::UpdateAuth(UpdateAuth { auth }));
        }
    }
}

fn auth_reason(refusal: AuthRefusal) -> AuthReason {
    match refusal {
        AuthRefusal::Mutate { status, body } => AuthReason::Mutate { status, body },
        AuthRefusal::Query { status, body } => AuthReason::Query { status, body },
        AuthRefusal::SyncServer { reason } => AuthReason::ZeroCache { reason },
    }
}

fn non_empty(headers: &SortedMap<String, String>) -> Option<SortedMap<String, String>> {
    (!headers.is_empty()).then(|| headers.clone())
}
