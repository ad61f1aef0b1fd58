//! The decisions of one client group, without I/O: events in, effects out.
//!
//! Invariants: every poke is the exact difference between two versions of the group; what a poke tells of the
//! configuration is stored before the poke is sent (effects are carried out in order); one sync is under way at most.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use landfall_protocol::{
    DownQueryOp, Downstream, ErrorBody, ErrorKind, ErroredQuery, Push, UpQueryOp, Upstream,
};
use serde_json::Value as Json;

use super::connection::{Connection, ConnectionContext, ConnectionId, Progress};
use super::contract::{Attach, Effect, GroupEvent, Rules};
use super::outbound::{Frame, Outbound};
use super::poke::Extras;
use super::prepare::{Prepare, errored};
use crate::clock::Now;
use crate::cvr::{CvrVersion, GroupRecord, GroupWrite, InstanceId};
use crate::queries::{PoolEvent, PreparedQuery};

/// How far a wanted query is.
#[derive(Default)]
pub(super) struct Query {
    /// What it is to be, if that is known.
    pub(super) prepared: Option<Arc<PreparedQuery>>,
    /// What the pool serves for it.
    pub(super) joined: Option<Arc<PreparedQuery>>,
    /// Why there is nothing to serve.
    pub(super) failed: Option<ErroredQuery>,
    /// Whether the query endpoint has been asked and has not answered.
    pub(super) pending: bool,
    /// When the pool was asked for it, by the host's clock.
    pub(super) asked_ms: Option<u64>,
    /// How long the pool took.
    pub(super) hydration_ms: Option<u64>,
}

/// The request that is under way.
pub(super) struct SyncInFlight {
    pub(super) queries: BTreeMap<String, Arc<PreparedQuery>>,
}

/// One client group.
pub struct Group {
    pub(super) id: Arc<str>,
    pub(super) rules: Arc<dyn Rules>,
    pub(super) record: GroupRecord,
    /// The version of the group's current connections.
    pub(super) version: CvrVersion,
    /// Whether the pool serves the group, so that points arrive.
    pub(super) attached: bool,
    pub(super) connections: BTreeMap<ConnectionId, Connection>,
    pub(super) queries: BTreeMap<String, Query>,
    pub(super) in_flight: Option<SyncInFlight>,
    pub(super) sync_needed: bool,
    pub(super) lmids: BTreeMap<String, u64>,
    /// JSON text of the results that are not cleaned up.
    pub(super) results: BTreeMap<(String, u64), String>,
    /// Since when the pool is behind the versions that clients of this group have.
    pub(super) behind_since: Option<u64>,
    /// Since when the group's clock runs, by the steady clock.
    pub(super) running_since: Option<u64>,
    /// The steady clock.
    pub(super) now_ms: u64,
    /// The wall clock, for what comes from outside or outlives the process.
    wall_ms: u64,
    pub(super) clock_stored_at: u64,
    pub(super) transformed_at: u64,
    /// What queries are bound to.
    pub(super) claims: Option<Json>,
    /// What the app was asked with.
    pub(super) token: Option<crate::config::Secret>,
    /// Why the database no longer fits the group's schema: then its clients may push, and no query is answered.
    pub(super) unfit: Option<String>,
    /// The pool has begun anew and knows nothing of this group.
    ended: bool,
    pub(super) writes: Vec<GroupWrite>,
    pub(super) effects: Vec<Effect>,
}

/// How often the group's clock is stored.
const CLOCK_INTERVAL_MS: u64 = 60_000;
/// Why connections are sent away when the group was taken over.
const MOVED: &str = "another server serves the client group";
/// How soon a group looks again whether the pool has got to its version.
const VERSION_INTERVAL_MS: u64 = 50;
/// How long it waits for that.
pub(super) const VERSION_PATIENCE_MS: u64 = 10_000;
/// Within what time connections come back that were told to all at once.
const SPREAD_MS: u64 = 1_000;
/// How long connections stay away at least when the records are out of reach.
const STRANDED_MS: u64 = 1_000;
/// How often named queries are asked for again.
const TRANSFORM_INTERVAL_MS: u64 = 300_000;

impl Group {
    /// A group as it was stored, or a new one.
    pub fn new(id: Arc<str>, rules: Arc<dyn Rules>, stored: Option<GroupRecord>) -> Self {
        let record = stored.unwrap_or_default();
        let version = if record.version == CvrVersion::EMPTY {
            CvrVersion::EMPTY
        } else {
            // Pokes after the last change of configuration were not stored; none of them is above the pool, or above
            // what the node that served the group before has made durable.
            let told = rules.pool_version().max(record.reached);
            record.version.max(CvrVersion::at(told))
        };
        let mut group = Group {
            id,
            rules,
            version,
            attached: false,
            connections: BTreeMap::new(),
            queries: BTreeMap::new(),
            in_flight: None,
            sync_needed: false,
            lmids: BTreeMap::new(),
            results: BTreeMap::new(),
            behind_since: None,
            running_since: None,
            now_ms: 0,
            wall_ms: 0,
            clock_stored_at: 0,
            transformed_at: 0,
            claims: None,
            token: None,
            unfit: None,
            ended: false,
            writes: Vec::new(),
            effects: Vec::new(),
            record,
        };
        let hashes: Vec<String> = group.record.queries.keys().cloned().collect();
        group.queries = hashes
            .into_iter()
            .map(|hash| (hash, Query::default()))
            .collect();
        group
    }

    /// Whether any connection is left.
    pub fn is_idle(&self) -> bool {
        self.connections.is_empty()
    }

    /// Whether the group is to be given up: a new one takes its place.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Takes an event in.
    pub fn handle(&mut self, now: Now, event: GroupEvent) -> Vec<Effect> {
        self.now_ms = now.steady_ms.max(self.now_ms);
        self.wall_ms = now.wall_ms;
        match event {
            GroupEvent::Attach(attach) => {
                let Attach {
                    context,
                    outbound,
                    base_cookie,
                    reply,
                } = *attach;
                let verdict = self.attach(context, outbound, base_cookie);
                // The socket may have gone meanwhile; then `Disconnected` follows.
                let _ = reply.send(verdict);
            }
            GroupEvent::Message(connection, message) => self.message(connection, *message),
            GroupEvent::Reauthenticated(connection, auth) => {
                self.reauthenticated(connection, *auth)
            }
            GroupEvent::Disconnected(connection) => self.disconnected(connection),
            GroupEvent::Drained(connection) => self.drained(connection),
            GroupEvent::Pool(event) => self.pool_event(event),
            GroupEvent::Transformed(answer) => self.transformed(*answer),
            GroupEvent::PushFailed(connection, body) => self.push_failed(connection, *body),
            GroupEvent::Tick => self.tick(),
            GroupEvent::Stop => {
                for connection in self.connections.keys().copied().collect::<Vec<_>>() {
                    self.disconnected(connection);
                }
                self.ended = true;
            }
        }
        self.maybe_sync();
        self.answer_pulls();
        self.flush_writes();
        std::mem::take(&mut self.effects)
    }

    /// How long until `Tick` is due.
    pub fn next_tick_ms(&self) -> Option<u64> {
        self.running_since?;
        if self.behind_since.is_some() {
            return Some(VERSION_INTERVAL_MS);
        }
        let clock = self.clock_ms();
        let expiry = self
            .queries
            .keys()
            .filter_map(|h| self.record.expires_at_ms(h));
        let expiry = expiry.map(|at| at.saturating_sub(clock));
        let clock_due = (self.clock_stored_at + CLOCK_INTERVAL_MS).saturating_sub(self.now_ms);
        expiry.chain([clock_due]).min()
    }

    /// The group's clock: stands still while no client is connected.
    pub(super) fn clock_ms(&self) -> u64 {
        self.record.ttl_clock_ms
            + self
                .running_since
                .map_or(0, |since| self.now_ms.saturating_sub(since))
    }

    pub(super) fn write(&mut self, write: GroupWrite) {
        self.record.apply(&write);
        self.writes.push(write);
    }

    pub(super) fn flush_writes(&mut self) {
        if !self.writes.is_empty() {
            self.effects
                .push(Effect::Store(std::mem::take(&mut self.writes)));
        }
    }

    pub(super) fn send(&mut self, outbound: &Outbound, frames: Vec<Frame>) {
        self.flush_writes();
        self.effects.push(Effect::Send(outbound.clone(), frames));
    }

    pub(super) fn send_message(&mut self, connection: ConnectionId, message: &Downstream<'_>) {
        if let Some(outbound) = self
            .connections
            .get(&connection)
            .map(|c| c.outbound.clone())
        {
            self.send(&outbound, vec![Frame::Text(message.encode().into())]);
        }
    }

    /// Tells a connection what is wrong and ends it.
    pub(super) fn fail(&mut self, connection: ConnectionId, body: ErrorBody) {
        tracing::info!(group = %self.id, connection, kind = ?body.kind(), "connection failed");
        if let Some(outbound) = self
            .connections
            .get(&connection)
            .map(|c| c.outbound.clone())
        {
            let text = Downstream::Error(body).encode();
            self.send(
                &outbound,
                vec![Frame::Text(text.into()), Frame::Close(None)],
            );
        }
        self.disconnected(connection);
    }

    /// Ends all connections with one error.
    pub fn fail_all(&mut self, body: &ErrorBody) -> Vec<Effect> {
        for connection in self.connections.keys().copied().collect::<Vec<_>>() {
            self.fail(connection, body.clone());
        }
        self.last_words()
    }

    /// Ends the group since another node serves it.
    pub fn moved(&mut self) -> Vec<Effect> {
        self.rehome_all(MOVED);
        self.last_words()
    }

    /// Ends the group since its records are out of reach for a while.
    pub fn stranded(&mut self) -> Vec<Effect> {
        for connection in self.connections.keys().copied().collect::<Vec<_>>() {
            self.fail(connection, stranded(connection));
        }
        self.last_words()
    }

    fn last_words(&mut self) -> Vec<Effect> {
        // What could not be stored is not tried again: the record is read anew when a client comes back.
        self.writes.clear();
        let effects = std::mem::take(&mut self.effects);
        effects
            .into_iter()
            .filter(|e| matches!(e, Effect::Send(..)))
            .collect()
    }

    /// Ends the group: its connections come back, here or elsewhere, a little apart from each other.
    pub(super) fn rehome_all(&mut self, message: &str) {
        for connection in self.connections.keys().copied().collect::<Vec<_>>() {
            self.fail(
                connection,
                ErrorBody::rehome_after(message, spread_ms(connection)),
            );
        }
        self.ended = true;
    }

    fn attach(
        &mut self,
        context: ConnectionContext,
        outbound: Outbound,
        base_cookie: Option<String>,
    ) -> Result<(), ErrorBody> {
        match &self.record.owner {
            Some(owner) if *owner != context.user_id => {
                return Err(ErrorBody::new(
                    ErrorKind::Unauthorized,
                    "this client group belongs to another user",
                ));
            }
            Some(_) => {}
            None => self.write(GroupWrite::Owner(context.user_id.clone())),
        }
        let same_client = |c: &Connection| c.context.client_id == context.client_id;
        let older: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, c)| same_client(c))
            .map(|(id, _)| *id)
            .collect();
        for id in older {
            if let Some(outbound) = self.connections.get(&id).map(|c| c.outbound.clone()) {
                self.send(&outbound, vec![Frame::Close(None)]);
            }
            self.disconnected(id);
        }
        if self.running_since.is_none() {
            self.running_since = Some(self.now_ms);
            self.clock_stored_at = self.now_ms;
            self.transformed_at = self.now_ms;
        }
        let connection = Connection {
            context: Arc::new(context),
            outbound,
            progress: Progress::Waiting,
            cookie: None,
            poked: false,
            base_cookie,
            pull: None,
        };
        self.connections.insert(connection.context.id, connection);
        Ok(())
    }

    fn message(&mut self, id: ConnectionId, message: Upstream) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let context = connection.context.clone();
        let waiting = connection.progress == Progress::Waiting;
        match message {
            Upstream::InitConnection(init) => self.init(id, init),
            Upstream::ChangeDesiredQueries(change) if !waiting => {
                let puts = |op: &UpQueryOp| matches!(op, UpQueryOp::Put(_));
                if let Some(message) = self.unfit.clone()
                    && change.desired_queries_patch.iter().any(puts)
                {
                    let kind = ErrorKind::SchemaVersionNotSupported;
                    return self.fail(id, ErrorBody::new(kind, message));
                }
                self.change_desired(&context.client_id, change.desired_queries_patch);
                self.prepare_queries(&context, Prepare::Missing);
            }
            Upstream::DeleteClients(delete) if !waiting => self.delete_clients(id, delete),
            Upstream::Inspect(question) if !waiting => self.inspect(id, context, question),
            // Without a registered client these have no meaning.
            Upstream::ChangeDesiredQueries(_)
            | Upstream::DeleteClients(_)
            | Upstream::Inspect(_) => {}
            Upstream::Push(push) => self.push(id, context, push),
            Upstream::AckMutationResponses(ack) => {
                self.effects
                    .push(Effect::CleanResults(context, ack.client_id, ack.id));
            }
            Upstream::Ping => self.send_message(id, &Downstream::Pong),
            Upstream::Pull(pull) => self.pull(id, pull),
            // `updateAuth` is resolved before it gets here; `closeConnection` has no effect any more.
            Upstream::UpdateAuth(_) | Upstream::CloseConnection(_) => {}
        }
    }

    fn push(&mut self, id: ConnectionId, context: Arc<ConnectionContext>, push: Push) {
        if push.client_group_id != *self.id {
            let message = "push for another client group than the connection's";
            return self.fail(id, ErrorBody::new(ErrorKind::InvalidPush, message));
        }
        if !push.mutations.is_empty() {
            self.effects.push(Effect::Push(context, Box::new(push)));
        }
    }

    fn reauthenticated(&mut self, id: ConnectionId, auth: super::ConnectionAuth) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let mut context = (*connection.context).clone();
        context.auth = auth;
        connection.context = Arc::new(context);
        let context = connection.context.clone();
        if connection.progress != Progress::Waiting {
            self.prepare_queries(&context, Prepare::Again);
        }
    }

    pub(super) fn disconnected(&mut self, id: ConnectionId) {
        if self.connections.remove(&id).is_some() && self.connections.is_empty() {
            self.store_clock();
            self.record.ttl_clock_ms = self.clock_ms();
            self.running_since = None;
        }
    }

    fn store_clock(&mut self) {
        let ttl_clock_ms = self.clock_ms();
        self.writes.push(GroupWrite::Clock {
            ttl_clock_ms,
            now_ms: self.wall_ms as i64,
        });
        self.clock_stored_at = self.now_ms;
    }

    fn drained(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id)
            && connection.progress == Progress::Lagging
        {
            connection.progress = Progress::Behind;
            self.sync_needed = true;
        }
    }

    fn tick(&mut self) {
        if self.now_ms >= self.clock_stored_at + CLOCK_INTERVAL_MS && self.running_since.is_some() {
            self.store_clock();
        }
        self.end_expired_tokens();
        let clock = self.clock_ms();
        let expired = |h: &String| self.record.expires_at_ms(h).is_some_and(|at| at <= clock);
        if self.queries.keys().any(expired) {
            self.sync_needed = true;
        }
        let due = self.now_ms >= self.transformed_at + TRANSFORM_INTERVAL_MS;
        let context = self
            .connections
            .values()
            .map(|c| c.context.clone())
            .next_back();
        if let Some(context) = context.filter(|_| due && self.rules.has_query_endpoint()) {
            self.prepare_queries(&context, Prepare::Again);
        }
    }

    fn end_expired_tokens(&mut self) {
        let now = self.wall_ms as f64 / 1000.0;
        let over = |c: &Connection| {
            let expiry = c
                .context
                .auth
                .claims
                .as_ref()
                .and_then(|claims| claims.get("exp"))
                .and_then(Json::as_f64);
            expiry.is_some_and(|expiry| expiry < now)
        };
        let ended: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, c)| over(c))
            .map(|(id, _)| *id)
            .collect();
        for id in ended {
            self.fail(
                id,
                ErrorBody::new(ErrorKind::AuthInvalidated, "the token has expired"),
            );
        }
    }

    fn push_failed(&mut self, id: ConnectionId, body: ErrorBody) {
        match body.kind() {
            ErrorKind::MutationFailed | ErrorKind::MutationRateLimited => {
                self.send_message(id, &Downstream::Error(body));
            }
            _ => self.fail(id, body),
        }
    }

    fn pool_event(&mut self, event: PoolEvent) {
        match event {
            PoolEvent::Point(point) => self.point(Arc::unwrap_or_clone(point)),
            PoolEvent::Synced(synced) => self.synced(*synced),
            PoolEvent::PermissionsChanged => {
                let context = self
                    .connections
                    .values()
                    .map(|c| c.context.clone())
                    .next_back();
                if let Some(context) = context {
                    self.prepare_queries(&context, Prepare::Again);
                    self.sync_needed = true;
                }
            }
            PoolEvent::Broken(broken) => {
                let served =
                    |s: &&crate::cvr::GotSpan| s.instance == broken.instance && s.until.is_none();
                let hashes: Vec<String> = self
                    .record
                    .spans
                    .iter()
                    .filter(served)
                    .map(|s| s.hash.clone())
                    .collect();
                for hash in hashes {
                    self.query_failed(errored(&hash, "", broken.message.clone()));
                }
            }
            PoolEvent::SchemaChanged => self.check_stored_schema(),
            PoolEvent::Restarted => self.rehome_all("the server reads its queries anew"),
            PoolEvent::Moved => self.rehome_all(MOVED),
        }
    }

    /// Sends a poke from where a connection is to `to`, unless its socket does not drain.
    pub(super) fn poke(
        &mut self,
        id: ConnectionId,
        to: CvrVersion,
        extras: &Extras,
        rows: Option<&Arc<crate::queries::PokeBody>>,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if connection.progress == Progress::Current && connection.outbound.congested() {
            connection.progress = Progress::Lagging;
            return;
        }
        metrics::counter!("landfall_pokes_total").increment(1);
        let frames = super::poke::frames(
            connection.cookie,
            to,
            extras,
            rows,
            connection.context.protocol,
        );
        connection.cookie = Some(to);
        connection.poked = true;
        let outbound = connection.outbound.clone();
        self.send(&outbound, frames);
    }

    pub(super) fn current_connections(&self) -> Vec<ConnectionId> {
        let current = |c: &Connection| c.progress == Progress::Current;
        self.connections
            .iter()
            .filter(|(_, c)| current(c))
            .map(|(id, _)| *id)
            .collect()
    }

    /// The instances that are in use, for tests and inspection.
    pub fn instances(&self) -> BTreeSet<InstanceId> {
        self.record
            .spans
            .iter()
            .filter(|s| s.until.is_none())
            .map(|s| s.instance)
            .collect()
    }

    pub(super) fn down(hash: &str, put: bool) -> DownQueryOp {
        let hash = hash.to_owned();
        if put {
            DownQueryOp::Put { hash }
        } else {
            DownQueryOp::Del { hash }
        }
    }
}

/// What a connection hears while the records of its group are out of reach: it comes back, here or elsewhere.
pub(super) fn stranded(connection: ConnectionId) -> ErrorBody {
    let message = "the server cannot reach what it knows of this client group";
    ErrorBody::rehome_after(message, STRANDED_MS + spread_ms(connection))
}

/// When a connection is to come back, so that not all do at once.
fn spread_ms(connection: ConnectionId) -> u64 {
    // Neighbouring numbers land far from each other.
    connection.wrapping_mul(0x9E37_79B9_7F4A_7C15) % SPREAD_MS
}
