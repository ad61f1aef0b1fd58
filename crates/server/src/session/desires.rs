//! Wanted queries: who wants what, and for how long after.

use std::collections::BTreeMap;

use landfall_protocol::{
    DeleteClients, DeletedClients, DownQueryOp, Downstream, ErrorBody, ErrorKind, UpQueryOp,
};

use super::connection::ConnectionId;
use super::contract::Effect;
use super::group::Group;
use super::poke::Extras;
use super::prepare::errored;
use crate::cvr::{CvrVersion, Desire, GroupWrite};

/// How long a query stays after nobody wants it, if the client does not say.
const DEFAULT_TTL_MS: u64 = 300_000;
/// The longest that it stays.
const MAX_TTL_MS: u64 = 600_000;
/// Changes of the wanted queries, by client.
pub(super) type DesiredPatches = BTreeMap<String, Vec<DownQueryOp>>;

fn ttl_ms(ttl: Option<f64>) -> u64 {
    match ttl {
        None => DEFAULT_TTL_MS,
        Some(ttl) if ttl < 0.0 || ttl > MAX_TTL_MS as f64 => MAX_TTL_MS,
        Some(ttl) => ttl as u64,
    }
}

impl Group {
    /// Applies a client's patch and tells the connections that are current.
    pub(super) fn change_desired(&mut self, client: &str, ops: Vec<UpQueryOp>) {
        let version = self.version.next_config();
        let mut patches = DesiredPatches::new();
        self.apply_desired(client, ops, version, &mut patches);
        self.configured(version, patches);
    }

    /// Ends one update of the configuration: one new version and one poke, if anything changed.
    pub(super) fn configured(&mut self, version: CvrVersion, patches: DesiredPatches) {
        if patches.is_empty() {
            return;
        }
        self.write(GroupWrite::Version(version));
        self.version = version;
        self.sync_needed = true;
        let extras = Extras {
            desired: patches,
            ..Extras::default()
        };
        for id in self.current_connections() {
            self.poke(id, version, &extras, None);
        }
    }

    pub(super) fn apply_desired(
        &mut self,
        client: &str,
        ops: Vec<UpQueryOp>,
        version: CvrVersion,
        patches: &mut DesiredPatches,
    ) {
        for op in ops {
            match op {
                UpQueryOp::Put(put) => {
                    let ttl = ttl_ms(put.ttl.map(|t| t.get()));
                    let definition = Group::definition(&put.query);
                    self.desire(client, &put.hash, definition, ttl, version, patches);
                }
                UpQueryOp::Del { hash } => self.let_go(client, &hash, None, version, patches),
                UpQueryOp::Clear => {
                    for hash in self.wanted_by(client) {
                        self.let_go(client, &hash, Some(0), version, patches);
                    }
                }
            }
        }
    }

    fn desire(
        &mut self,
        client: &str,
        hash: &str,
        definition: crate::cvr::QueryDefinition,
        ttl_ms: u64,
        version: CvrVersion,
        patches: &mut DesiredPatches,
    ) {
        let limits = self.rules.query_limits();
        let is_wanted = |hash: &str| {
            let key = (client.to_owned(), hash.to_owned());
            self.record.desires.get(&key).is_some_and(|d| d.active)
        };
        if !is_wanted(hash) && self.wanted_by(client).len() >= limits.per_client {
            return self.refuse_query(client, hash, "the client has too many queries");
        }
        if !self.record.queries.contains_key(hash) {
            if self.record.queries.len() >= limits.per_group {
                return self.refuse_query(client, hash, "the client group has too many queries");
            }
            self.write(GroupWrite::Query(hash.to_owned(), definition));
        }
        let query = self.queries.entry(hash.to_owned()).or_default();
        // A query that is asked for again gets another chance.
        if query.failed.take().is_some() {
            self.sync_needed = true;
        }
        let key = (client.to_owned(), hash.to_owned());
        let unchanged = self
            .record
            .desires
            .get(&key)
            .is_some_and(|d| d.active && d.ttl_ms >= ttl_ms);
        if unchanged {
            return;
        }
        let desire = Desire {
            version,
            active: true,
            ttl_ms,
            inactivated_at_ms: None,
        };
        self.write(GroupWrite::Desire(key.0, key.1, desire));
        patches
            .entry(client.to_owned())
            .or_default()
            .push(Group::down(hash, true));
    }

    /// Tells a client that it does not get a query. Nothing is remembered of it.
    fn refuse_query(&mut self, client: &str, hash: &str, message: &str) {
        metrics::counter!("landfall_queries_refused_total").increment(1);
        let error = Downstream::TransformError(vec![errored(hash, "", message.to_owned())]);
        let of_client = |c: &super::connection::Connection| c.context.client_id == client;
        let told: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, c)| of_client(c))
            .map(|(id, _)| *id)
            .collect();
        for id in told {
            self.send_message(id, &error);
        }
    }

    fn let_go(
        &mut self,
        client: &str,
        hash: &str,
        ttl_ms: Option<u64>,
        version: CvrVersion,
        patches: &mut DesiredPatches,
    ) {
        let key = (client.to_owned(), hash.to_owned());
        let Some(old) = self.record.desires.get(&key).filter(|d| d.active) else {
            return;
        };
        let desire = Desire {
            version,
            active: false,
            ttl_ms: ttl_ms.unwrap_or(old.ttl_ms),
            inactivated_at_ms: Some(self.clock_ms()),
        };
        self.write(GroupWrite::Desire(key.0, key.1, desire));
        patches
            .entry(client.to_owned())
            .or_default()
            .push(Group::down(hash, false));
    }

    pub(super) fn wanted_by(&self, client: &str) -> Vec<String> {
        let of_client = |((c, _), d): &(&(String, String), &Desire)| c == client && d.active;
        self.record
            .desires
            .iter()
            .filter(of_client)
            .map(|((_, hash), _)| hash.clone())
            .collect()
    }

    /// Forgets clients; their wishes end as if they had let go. Returns those that were known.
    pub(super) fn drop_clients(
        &mut self,
        clients: &[String],
        version: CvrVersion,
        patches: &mut DesiredPatches,
    ) -> Vec<String> {
        let mut dropped = Vec::new();
        for client in clients {
            if !self.record.clients.contains(client) {
                continue;
            }
            // A client without wishes must still make a version, or its deletion would be told to nobody.
            patches.entry(client.clone()).or_default();
            for hash in self.wanted_by(client) {
                self.let_go(client, &hash, None, version, patches);
            }
            self.write(GroupWrite::DropClient(client.clone()));
            dropped.push(client.clone());
        }
        dropped
    }

    pub(super) fn delete_clients(&mut self, id: ConnectionId, delete: DeleteClients) {
        let Some(context) = self.connections.get(&id).map(|c| c.context.clone()) else {
            return;
        };
        let clients = delete.client_ids.unwrap_or_default();
        if clients.contains(&context.client_id) {
            let message = "a client cannot delete itself";
            return self.fail(id, ErrorBody::new(ErrorKind::Internal, message));
        }
        let version = self.version.next_config();
        let mut patches = DesiredPatches::new();
        let dropped = self.drop_clients(&clients, version, &mut patches);
        self.configured(version, patches);
        self.tell_deleted(context, dropped);
    }

    pub(super) fn tell_deleted(
        &mut self,
        context: std::sync::Arc<super::ConnectionContext>,
        dropped: Vec<String>,
    ) {
        if dropped.is_empty() {
            return;
        }
        let told = DeletedClients {
            client_ids: Some(dropped.clone()),
            client_group_ids: None,
        };
        for id in self.connections.keys().copied().collect::<Vec<_>>() {
            self.send_message(id, &Downstream::DeleteClients(told.clone()));
        }
        self.effects.push(Effect::CleanClients(context, dropped));
    }
}
