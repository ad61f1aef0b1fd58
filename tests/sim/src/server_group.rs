//! What the simulated server remembers of a client group: its view record, and the pokes that follow from it.
//!
//! Everything carries the version at which it changed last, so that a poke from any earlier version can be made.

use crate::rows::{RowName, Rows};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The rows of a group at one version, and the last mutation ids.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupState {
    /// Rows by name.
    pub rows: BTreeMap<RowName, Value>,
    /// Last mutation ids by client.
    pub last_ids: BTreeMap<String, u64>,
}

/// Which tables a query is about; `None` for one that the server knows nothing of: everything.
pub(crate) type QueryTables = Option<BTreeSet<String>>;

#[derive(Default)]
pub(crate) struct Group {
    pub(crate) last_ids: BTreeMap<String, (u64, u64)>,
    /// Results of mutations that failed; `None` once acknowledged.
    pub(crate) results: BTreeMap<(String, u64), (Option<Value>, u64)>,
    queries: BTreeMap<String, QueryTables>,
    got: BTreeMap<String, (bool, u64)>,
    desired: BTreeMap<(String, String), (bool, u64)>,
    members: BTreeMap<RowName, (u64, bool)>,
    refreshed_at: u64,
    /// A connection that is at an earlier version than this begins with a clear.
    pub(crate) resync_below: u64,
    pub(crate) schema_known: bool,
    /// Everything is forgotten but what mutations did: their last ids and results live with the data.
    pub(crate) forgotten: bool,
    /// What the group held at each version that it was poked to.
    pub(crate) states: BTreeMap<u64, GroupState>,
}

impl Group {
    pub(crate) fn forget(&mut self) {
        *self = Group {
            last_ids: std::mem::take(&mut self.last_ids),
            results: std::mem::take(&mut self.results),
            states: std::mem::take(&mut self.states),
            forgotten: true,
            ..Group::default()
        };
    }

    pub(crate) fn desire(&mut self, client: &str, hash: String, tables: QueryTables, version: u64) {
        self.queries.insert(hash.clone(), tables);
        let desired = self.desired.entry((client.to_owned(), hash.clone()));
        *desired.or_default() = (true, version);
        let got = self.got.entry(hash).or_default();
        if !got.0 {
            *got = (true, version);
        }
    }

    pub(crate) fn undesire(&mut self, client: &str, hash: &str, version: u64) {
        if let Some(entry) = self
            .desired
            .get_mut(&(client.to_owned(), hash.to_owned()))
            .filter(|entry| entry.0)
        {
            *entry = (false, version);
        }
    }

    pub(crate) fn undesire_all(&mut self, client: &str, version: u64) {
        let hashes: Vec<String> = self
            .desired
            .keys()
            .filter(|(owner, _)| owner == client)
            .map(|(_, hash)| hash.clone())
            .collect();
        for hash in hashes {
            self.undesire(client, &hash, version);
        }
    }

    /// Queries that nobody wants any more are given up, as when their TTL has run out.
    pub(crate) fn expire(&mut self, version: u64) {
        for (hash, got) in self.got.iter_mut().filter(|(_, got)| got.0) {
            let wanted = self
                .desired
                .iter()
                .any(|((_, h), (on, _))| *on && h == hash);
            if !wanted {
                *got = (false, version);
            }
        }
    }

    pub(crate) fn acknowledge(&mut self, client: &str, through: u64, version: u64) {
        let range = (client.to_owned(), 0)..=(client.to_owned(), through);
        for (_, result) in self.results.range_mut(range) {
            if result.0.is_some() {
                *result = (None, version);
            }
        }
    }

    /// Brings the members up to `version`.
    pub(crate) fn refresh(
        &mut self,
        rows: &Rows,
        versions: &BTreeMap<RowName, u64>,
        visible: impl Fn(&Value) -> bool,
        version: u64,
    ) {
        if self.refreshed_at == version {
            return;
        }
        let got: Vec<&QueryTables> = self
            .got
            .iter()
            .filter(|(_, got)| got.0)
            .filter_map(|(hash, _)| self.queries.get(hash))
            .collect();
        let covers = |table: &String| {
            got.iter()
                .any(|tables| tables.as_ref().is_none_or(|tables| tables.contains(table)))
        };
        let mut state = GroupState {
            last_ids: self
                .last_ids
                .iter()
                .map(|(client, (id, _))| (client.clone(), *id))
                .collect(),
            ..GroupState::default()
        };
        for (name, row) in rows.iter() {
            if covers(&name.0) && visible(row) {
                state.rows.insert(name.clone(), row.clone());
            }
        }
        for name in state.rows.keys() {
            let changed = versions.get(name).copied().unwrap_or(0);
            let member = self.members.entry(name.clone()).or_insert((0, false));
            if !member.1 || changed > self.refreshed_at {
                *member = (version, true);
            }
        }
        for (name, member) in self.members.iter_mut().filter(|(_, member)| member.1) {
            if !state.rows.contains_key(name) {
                *member = (version, false);
            }
        }
        self.refreshed_at = version;
        self.states.insert(version, state);
    }

    /// The parts of a poke that leads a client from `since` to what [`Group::refresh`] has made.
    pub(crate) fn parts_since(&self, since: u64, rows: &Rows, me: &str) -> Vec<Map<String, Value>> {
        let clears = since > 0 && since < self.resync_below;
        let since = if clears { 0 } else { since };
        let mut parts = Vec::new();
        if clears {
            let clear = json!({"rowsPatch": [{"op": "clear"}]});
            parts.extend(clear.as_object().cloned());
        }
        let mut first = Map::new();
        let ids: Map<String, Value> = self
            .last_ids
            .iter()
            .filter(|(_, last)| last.1 > since)
            .map(|(client, last)| (client.clone(), json!(last.0)))
            .collect();
        first.insert("lastMutationIDChanges".into(), Value::Object(ids));
        let op = |on: bool| if on { "put" } else { "del" };
        // What was given up before a client began is nothing to it.
        let news = |(on, version): &(bool, u64)| *version > since && (*on || since > 0);
        let desired: Vec<Value> = self
            .desired
            .iter()
            .filter(|((client, _), entry)| client == me && news(entry))
            .map(|((_, hash), (on, _))| json!({"op": op(*on), "hash": hash}))
            .collect();
        first.insert("desiredQueriesPatches".into(), json!({ me: desired }));
        let got: Vec<Value> = self
            .got
            .iter()
            .filter(|(_, entry)| news(entry))
            .map(|(hash, (on, _))| json!({"op": op(*on), "hash": hash}))
            .collect();
        first.insert("gotQueriesPatch".into(), json!(got));
        let results: Vec<Value> = self
            .results
            .iter()
            .filter(|(_, (_, version))| *version > since)
            .filter_map(|((client, id), (result, _))| {
                let id = json!({"clientID": client, "id": id});
                match result {
                    Some(result) => {
                        Some(json!({"op": "put", "mutation": {"id": id, "result": result}}))
                    }
                    None => (since > 0).then(|| json!({"op": "del", "id": id})),
                }
            })
            .collect();
        first.insert("mutationsPatch".into(), json!(results));
        parts.push(first);
        let changes: Vec<Value> = self
            .members
            .iter()
            .filter(|(_, (version, present))| *version > since && (*present || since > 0))
            .map(|((table, id), (_, present))| match rows.get(table, id) {
                Some(row) if *present => json!({"op": "put", "tableName": table, "value": row}),
                _ => json!({"op": "del", "tableName": table, "id": {"id": id}}),
            })
            .collect();
        for changes in changes.chunks(5) {
            parts.extend(json!({ "rowsPatch": changes }).as_object().cloned());
        }
        parts
    }
}
