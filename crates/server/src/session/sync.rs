//! Joining queries and following points: from the pool's answers to pokes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use landfall_protocol::{
    ErrorBody, ErrorKind, ErroredQuery, Json, MutationOp, MutationOutcome, MutationRef,
};

use super::connection::{ConnectionId, Progress};
use super::contract::Effect;
use super::group::{Group, SyncInFlight, VERSION_PATIENCE_MS};
use super::poke::Extras;
use super::prepare::errored;
use crate::cvr::{CvrVersion, GotSpan, GroupWrite, InstanceId, SentResult};
use crate::queries::{
    CatchUpReply, CatchUpRequest, PointEvent, PokeBody, PreparedQuery, SyncedEvent,
};

/// A query whose span ends, and the instance that serves a query from now on.
type SpanChange = (Option<String>, Option<(String, InstanceId)>);

impl Group {
    /// Starts a sync if something is to be synced and none is under way.
    pub(super) fn maybe_sync(&mut self) {
        if self.connections.is_empty() {
            // Nobody waits; whoever comes next has all of the patience.
            self.behind_since = None;
        }
        if !self.sync_needed
            || self.has_ended()
            || self.in_flight.is_some()
            || (self.connections.is_empty() && !self.attached)
        {
            return;
        }
        if !self.pool_is_far_enough() {
            return;
        }
        // A group that comes back from storage joins with everything it had got; that must be known first.
        let unsettled =
            |(h, q): (&String, &super::group::Query)| q.pending && self.record.got(h).is_some();
        if !self.attached && self.queries.iter().any(unsettled) {
            return;
        }
        let behind: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, c)| c.progress == Progress::Behind)
            .map(|(id, _)| *id)
            .collect();
        let wanted = self.wanted_queries();
        let joined = self.joined_queries();
        let keys = |q: &BTreeMap<String, Arc<PreparedQuery>>| -> BTreeMap<String, Arc<[u8]>> {
            q.iter().map(|(h, p)| (h.clone(), p.key.clone())).collect()
        };
        let same = keys(&wanted) == keys(&joined);
        if self.attached && same && behind.is_empty() {
            self.sync_needed = false;
            return self.drop_expired();
        }
        // Whoever is behind need not wait until new queries are read.
        let first_catch_up = self.attached && !behind.is_empty() && !same;
        self.sync_needed = first_catch_up;
        let queries = if first_catch_up { joined } else { wanted };
        let catch_ups = behind
            .into_iter()
            .map(|id| self.catch_up_request(id))
            .collect();
        let list = queries
            .iter()
            .map(|(h, p)| (h.clone(), p.clone()))
            .collect();
        for hash in queries.keys() {
            if let Some(query) = self.queries.get_mut(hash)
                && query.joined.is_none()
            {
                query.asked_ms.get_or_insert(self.now_ms);
            }
        }
        self.in_flight = Some(SyncInFlight { queries });
        self.flush_writes();
        let for_current = self
            .connections
            .values()
            .any(|c| c.progress == Progress::Current);
        self.effects.push(Effect::Sync {
            queries: list,
            catch_ups,
            for_current,
        });
    }

    /// Clients may have been told versions, by another node, that the pool has not got to yet.
    fn pool_is_far_enough(&mut self) -> bool {
        if self.rules.pool_version() >= self.version.state {
            self.behind_since = None;
            return true;
        }
        self.rules.want_version(self.version.state);
        let since = *self.behind_since.get_or_insert(self.now_ms);
        if self.now_ms > since + VERSION_PATIENCE_MS {
            self.rehome_all("this server is behind the one that served the client group");
        }
        false
    }

    fn is_expired(&self, hash: &str) -> bool {
        self.record
            .expires_at_ms(hash)
            .is_some_and(|at| at <= self.clock_ms())
    }

    fn wanted_queries(&self) -> BTreeMap<String, Arc<PreparedQuery>> {
        // Whoever wanted them may not connect any more, and they may name what is gone.
        if self.unfit.is_some() {
            return BTreeMap::new();
        }
        let wanted = |(hash, query): (&String, &super::group::Query)| {
            let prepared = query.prepared.clone().filter(|_| !self.is_expired(hash))?;
            Some((hash.clone(), prepared))
        };
        self.queries.iter().filter_map(wanted).collect()
    }

    fn joined_queries(&self) -> BTreeMap<String, Arc<PreparedQuery>> {
        self.queries
            .iter()
            .filter_map(|(h, q)| Some((h.clone(), q.joined.clone()?)))
            .collect()
    }

    fn catch_up_request(&mut self, id: ConnectionId) -> CatchUpRequest {
        let cookie = self.connections.get_mut(&id).and_then(|c| {
            c.progress = Progress::CatchingUp;
            c.cookie
        });
        let had = cookie
            .map(|c| self.record.instances_at(c))
            .unwrap_or_default();
        let recorded = cookie.is_none_or(|c| c >= self.record.pruned_below);
        CatchUpRequest {
            connection: id,
            since: cookie.map(|c| c.state),
            had: had.into_iter().collect(),
            recorded,
        }
    }

    /// Forgets queries whose time is over and that have no rows (any more).
    fn drop_expired(&mut self) {
        let over = |h: &&String| self.is_expired(h) && self.record.got(h).is_none();
        let hashes: Vec<String> = self.queries.keys().filter(over).cloned().collect();
        for hash in hashes {
            self.queries.remove(&hash);
            self.write(GroupWrite::DropQuery(hash));
        }
    }

    pub(super) fn synced(&mut self, event: SyncedEvent) {
        let Some(request) = self.in_flight.take() else {
            return;
        };
        let first = !std::mem::replace(&mut self.attached, true);
        let mut got = Vec::new();
        let mut failed = Vec::new();
        let spans = self.span_changes(&request, &event, &mut got, &mut failed);

        // A group that has nothing may have been given a cookie before its confirmations were known.
        let untold = first && self.record.spans.is_empty();
        let changed = !spans.is_empty() || event.rows.is_some() || untold;
        let version = match (event.version > self.version.state, changed) {
            (true, true) => CvrVersion::at(event.version),
            (true, false) if first => CvrVersion::at(event.version),
            (false, true) => self.version.next_config(),
            _ => self.version,
        };
        for (close, open) in spans {
            self.close_and_open(close, open, version);
        }
        self.results = event.results;
        let results = if first {
            self.reconcile_results(version)
        } else {
            Vec::new()
        };
        self.lmids = event.lmids;
        if changed || !results.is_empty() {
            self.write(GroupWrite::Version(version));
        }
        self.version = version;
        self.drop_expired();
        if let Some(below) = self.record.prunable() {
            self.write(GroupWrite::Prune(below));
        }

        let lmids = if first {
            self.lmids.clone().into_iter().collect()
        } else {
            Vec::new()
        };
        let extras = Extras {
            lmids,
            got,
            results,
            ..Extras::default()
        };
        if !extras.is_empty() || event.rows.is_some() {
            for id in self.current_connections() {
                self.poke(id, version, &extras, event.rows.as_ref());
            }
        }
        for (id, reply) in event.catch_ups {
            self.caught_up(id, reply);
        }
        for error in failed {
            self.query_failed(error);
        }
    }

    /// For each query that changed what serves it: whether to close, and what to open.
    fn span_changes(
        &mut self,
        request: &SyncInFlight,
        event: &SyncedEvent,
        got: &mut Vec<landfall_protocol::DownQueryOp>,
        failed: &mut Vec<ErroredQuery>,
    ) -> Vec<SpanChange> {
        let mut changes: Vec<SpanChange> = Vec::new();
        let mut served = BTreeSet::new();
        for (hash, outcome) in &event.queries {
            let Some(prepared) = request.queries.get(hash) else {
                continue;
            };
            let old = self.record.got(hash);
            match outcome {
                Ok(instance) => {
                    served.insert(hash.clone());
                    let query = self.queries.entry(hash.clone()).or_default();
                    query.joined = Some(prepared.clone());
                    if let Some(asked) = query.asked_ms.take() {
                        query.hydration_ms = Some(self.now_ms.saturating_sub(asked));
                    }
                    if old != Some(*instance) {
                        changes.push((old.map(|_| hash.clone()), Some((hash.clone(), *instance))));
                    }
                    if old.is_none() {
                        got.push(Group::down(hash, true));
                    }
                }
                Err(message) => failed.push(errored(hash, "", message.clone())),
            }
        }
        for query in self
            .queries
            .iter_mut()
            .filter(|(h, _)| !served.contains(*h))
        {
            query.1.joined = None;
        }
        let open: BTreeSet<String> = self
            .record
            .spans
            .iter()
            .filter(|s| s.until.is_none())
            .map(|s| s.hash.clone())
            .collect();
        for hash in open.difference(&served) {
            got.push(Group::down(hash, false));
            changes.push((Some(hash.clone()), None));
        }
        changes
    }

    fn close_and_open(
        &mut self,
        close: Option<String>,
        open: Option<(String, InstanceId)>,
        version: CvrVersion,
    ) {
        if let Some(hash) = close {
            self.write(GroupWrite::Close(hash, version));
        }
        if let Some((hash, instance)) = open {
            self.write(GroupWrite::Open(GotSpan {
                hash,
                instance,
                from: version,
                until: None,
            }));
        }
    }

    /// What happened to results while nobody watched.
    fn reconcile_results(&mut self, version: CvrVersion) -> Vec<MutationOp> {
        let told: BTreeSet<(String, u64)> = self
            .record
            .results
            .iter()
            .filter(|(_, r)| r.del.is_none())
            .map(|(k, _)| k.clone())
            .collect();
        let present: BTreeSet<(String, u64)> = self.results.keys().cloned().collect();
        let mut ops = Vec::new();
        for key in present.difference(&told) {
            let put = self.results.get(key).and_then(|text| result_put(key, text));
            ops.extend(put);
            self.write(GroupWrite::Result(
                key.0.clone(),
                key.1,
                SentResult {
                    put: version,
                    del: None,
                },
            ));
        }
        for key in told.difference(&present) {
            ops.push(result_del(key));
            self.take_back(key, version);
        }
        ops
    }

    fn take_back(&mut self, key: &(String, u64), version: CvrVersion) {
        if let Some(sent) = self.record.results.get(key).cloned() {
            let sent = SentResult {
                del: Some(version),
                ..sent
            };
            self.write(GroupWrite::Result(key.0.clone(), key.1, sent));
        }
    }

    fn caught_up(&mut self, id: ConnectionId, reply: CatchUpReply) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let (cookie, landfall) = (connection.cookie, connection.context.landfall);
        let (extras, rows): (Extras, Option<Arc<PokeBody>>) = match reply {
            CatchUpReply::Rows(rows) => (self.configuration_since(cookie), rows),
            CatchUpReply::Afresh(rows) if landfall => {
                if cookie.is_some_and(|c| c >= self.version) {
                    self.version = self.version.next_config();
                    self.write(GroupWrite::Version(self.version));
                }
                let extras = self.configuration_since(None);
                (
                    Extras {
                        clear: true,
                        base: cookie,
                        ..extras
                    },
                    rows,
                )
            }
            CatchUpReply::Afresh(_) => {
                let message = "what this client has is not recorded any more";
                return self.fail(id, ErrorBody::new(ErrorKind::ClientNotFound, message));
            }
        };
        if let Some(connection) = self.connections.get_mut(&id) {
            // Not `Current` yet: a poke that is due must be queued even if much waits.
            connection.progress = Progress::CatchingUp;
        }
        let version = self.version;
        self.poke(id, version, &extras, rows.as_ref());
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.progress = Progress::Current;
        }
    }

    /// Everything but rows that a client at `since` has not been told.
    pub(super) fn configuration_since(&self, since: Option<CvrVersion>) -> Extras {
        let mut extras = Extras::default();
        let news = |version: CvrVersion| since.is_none_or(|s| version > s);
        for ((client, hash), desire) in &self.record.desires {
            if news(desire.version) && (desire.active || since.is_some()) {
                extras
                    .desired
                    .entry(client.clone())
                    .or_default()
                    .push(Group::down(hash, desire.active));
            }
        }
        let hashes: BTreeSet<&String> = self.record.spans.iter().map(|s| &s.hash).collect();
        for hash in hashes {
            let had = since.is_some_and(|s| self.record.had_got(hash, s));
            let has = self.record.got(hash).is_some();
            if had != has {
                extras.got.push(Group::down(hash, has));
            }
        }
        if since != Some(self.version) {
            extras.lmids = self.lmids.clone().into_iter().collect();
        }
        for (key, sent) in &self.record.results {
            match sent.del {
                None if news(sent.put) => {
                    extras
                        .results
                        .extend(self.results.get(key).and_then(|text| result_put(key, text)));
                }
                Some(del) if since.is_some() && news(del) && !news(sent.put) => {
                    extras.results.push(result_del(key))
                }
                _ => {}
            }
        }
        extras
    }

    pub(super) fn point(&mut self, event: PointEvent) {
        let version = CvrVersion::at(event.version);
        if !self.attached || version <= self.version {
            return;
        }
        self.rules.told(self.version.state, version.state);
        let mut results = Vec::new();
        for (client, id, result) in event.results {
            let key = (client, id);
            match result {
                Some(text) => {
                    results.extend(result_put(&key, &text));
                    self.results.insert(key.clone(), text);
                    self.write(GroupWrite::Result(
                        key.0,
                        key.1,
                        SentResult {
                            put: version,
                            del: None,
                        },
                    ));
                }
                None => {
                    self.results.remove(&key);
                    results.push(result_del(&key));
                    self.take_back(&key, version);
                }
            }
        }
        self.version = version;
        self.lmids.extend(event.lmids.iter().cloned());
        let extras = Extras {
            lmids: event.lmids,
            results,
            ..Extras::default()
        };
        for id in self.current_connections() {
            self.poke(id, version, &extras, event.rows.as_ref());
        }
    }
}

fn reference(key: &(String, u64)) -> MutationRef {
    MutationRef {
        client_id: key.0.clone(),
        id: key.1,
    }
}

fn result_del(key: &(String, u64)) -> MutationOp {
    MutationOp::Del { id: reference(key) }
}

/// `None` if what the upstream table holds is no result: such a row is the app's mistake and reaches nobody.
fn result_put(key: &(String, u64), text: &str) -> Option<MutationOp> {
    let result = Json::parse(text).and_then(|json| json.read());
    match result {
        Ok(result) => Some(MutationOp::Put {
            mutation: MutationOutcome {
                id: reference(key),
                result,
            },
        }),
        Err(error) => {
            tracing::warn!(client = %key.0, mutation = key.1, %error, "a mutation result cannot be read");
            None
        }
    }
}
