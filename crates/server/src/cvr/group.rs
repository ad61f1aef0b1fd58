//! The record of one client group, and the writes that change it.

use std::collections::{BTreeMap, BTreeSet};

use super::{CvrVersion, InstanceId, SchemaText, StateVersion};

/// How a client named a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryDefinition {
    /// By its AST (JSON text, server names).
    Ast(String),
    /// By name and arguments (JSON text of the array).
    Named {
        /// Registry path.
        name: String,
        /// JSON text of the arguments.
        args: String,
    },
}

/// One client's wish for one query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desire {
    /// When the wish last changed.
    pub version: CvrVersion,
    /// False once the client let go; kept until the time to live has run out.
    pub active: bool,
    /// Time to live in ms.
    pub ttl_ms: u64,
    /// The group's clock when the client let go.
    pub inactivated_at_ms: Option<u64>,
}

/// A stretch of versions during which a group had a query served by an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GotSpan {
    /// The query.
    pub hash: String,
    /// What served it.
    pub instance: InstanceId,
    /// First version that contains its rows.
    pub from: CvrVersion,
    /// First version without it, if it is over.
    pub until: Option<CvrVersion>,
}

/// A mutation result that pokes have told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentResult {
    /// When it was told.
    pub put: CvrVersion,
    /// When its removal was told, if it was.
    pub del: Option<CvrVersion>,
}

/// Everything stored about a group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupRecord {
    /// The user it belongs to; the outer option is empty until the first connection was validated.
    pub owner: Option<Option<String>>,
    /// Canonical client schema.
    pub client_schema: Option<SchemaText>,
    /// The newest configuration version.
    pub version: CvrVersion,
    /// What happened up to this version is partly forgotten: older clients start afresh.
    pub pruned_below: CvrVersion,
    /// The newest state that may have been told without being written here: pokes of rows are not.
    pub reached: StateVersion,
    /// The group's clock: runs only while a client is connected.
    pub ttl_clock_ms: u64,
    /// True after the record was purged: only the owner is left.
    pub purged: bool,
    /// Its clients, each with the version that brought it.
    pub clients: BTreeSet<String>,
    /// Wishes by client and query.
    pub desires: BTreeMap<(String, String), Desire>,
    /// Definitions by query hash.
    pub queries: BTreeMap<String, QueryDefinition>,
    /// What was got when.
    pub spans: Vec<GotSpan>,
    /// Results told, by client and mutation id.
    pub results: BTreeMap<(String, u64), SentResult>,
}

/// One change of a group's record.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum GroupWrite {
    /// Pins the group to a user.
    Owner(Option<String>),
    /// Sets the client schema.
    ClientSchema(SchemaText),
    /// A new configuration version.
    Version(CvrVersion),
    /// The clock and the time of last activity (ms since epoch).
    Clock {
        /// The group's clock.
        ttl_clock_ms: u64,
        /// Wall-clock time.
        now_ms: i64,
    },
    /// A client joined.
    Client(String),
    /// A client is gone; its wishes are written on their own.
    DropClient(String),
    /// Sets a wish.
    Desire(String, String, Desire),
    /// Removes a wish.
    DropDesire(String, String),
    /// Defines a query.
    Query(String, QueryDefinition),
    /// Forgets a query's definition.
    DropQuery(String),
    /// Opens a span.
    Open(GotSpan),
    /// Ends the open span of a query.
    Close(String, CvrVersion),
    /// A result was told or taken back.
    Result(String, u64, SentResult),
    /// Forgets what ended at or before this version.
    Prune(CvrVersion),
    /// Forgets everything but the owner (before a resync).
    Clear,
}

/// Ended spans and wishes that are kept at least.
const ENDED_KEPT: usize = 2_000;

impl GroupRecord {
    /// Applies a write, the same way as the storage does.
    pub fn apply(&mut self, write: &GroupWrite) {
        match write.clone() {
            GroupWrite::Owner(owner) => self.owner = Some(owner),
            GroupWrite::ClientSchema(schema) => self.client_schema = Some(schema),
            GroupWrite::Version(version) => {
                self.version = version;
                self.purged = false;
            }
            GroupWrite::Clock { ttl_clock_ms, .. } => self.ttl_clock_ms = ttl_clock_ms,
            GroupWrite::Client(client) => {
                self.clients.insert(client);
            }
            GroupWrite::DropClient(client) => {
                self.clients.remove(&client);
            }
            GroupWrite::Desire(client, hash, desire) => {
                self.desires.insert((client, hash), desire);
            }
            GroupWrite::DropDesire(client, hash) => {
                self.desires.remove(&(client, hash));
            }
            GroupWrite::Query(hash, definition) => {
                self.queries.insert(hash, definition);
            }
            GroupWrite::DropQuery(hash) => {
                self.queries.remove(&hash);
            }
            GroupWrite::Open(span) => self.spans.push(span),
            GroupWrite::Close(hash, version) => {
                for span in self
                    .spans
                    .iter_mut()
                    .filter(|s| s.hash == hash && s.until.is_none())
                {
                    span.until = Some(version);
                }
            }
            GroupWrite::Result(client, id, result) => {
                self.results.insert((client, id), result);
            }
            GroupWrite::Prune(below) => {
                self.pruned_below = below;
                self.spans
                    .retain(|s| s.until.is_none_or(|until| until > below));
                self.results
                    .retain(|_, r| r.del.is_none_or(|del| del > below));
                let queries = &self.queries;
                self.desires.retain(|(_, hash), d| {
                    d.active || d.version > below || queries.contains_key(hash)
                });
            }
            GroupWrite::Clear => {
                let owner = self.owner.take();
                *self = GroupRecord {
                    owner,
                    ..GroupRecord::default()
                };
            }
        }
    }

    /// Where to prune, if much has ended: the older half goes.
    pub fn prunable(&self) -> Option<CvrVersion> {
        let spans = self.spans.iter().filter_map(|s| s.until);
        let results = self.results.values().filter_map(|r| r.del);
        let desires = self
            .desires
            .values()
            .filter(|d| !d.active)
            .map(|d| d.version);
        let mut ended: Vec<CvrVersion> = spans.chain(results).chain(desires).collect();
        if ended.len() <= ENDED_KEPT {
            return None;
        }
        ended.sort_unstable();
        Some(ended[ended.len() / 2])
    }

    /// The instance that serves a query now.
    pub fn got(&self, hash: &str) -> Option<InstanceId> {
        self.spans
            .iter()
            .find(|s| s.hash == hash && s.until.is_none())
            .map(|s| s.instance)
    }

    /// The instances whose rows a client at `version` has.
    pub fn instances_at(&self, version: CvrVersion) -> BTreeSet<InstanceId> {
        let had = |s: &&GotSpan| s.from <= version && s.until.is_none_or(|u| u > version);
        self.spans.iter().filter(had).map(|s| s.instance).collect()
    }

    /// Whether a client at `version` has been told that it got the query.
    pub fn had_got(&self, hash: &str, version: CvrVersion) -> bool {
        self.spans
            .iter()
            .any(|s| s.hash == hash && s.from <= version && s.until.is_none_or(|u| u > version))
    }

    /// The time at which a query may go, on the group's clock; `None` while a client wants it.
    pub fn expires_at_ms(&self, hash: &str) -> Option<u64> {
        let mut latest = 0;
        for ((_, h), desire) in &self.desires {
            if h != hash {
                continue;
            }
            if desire.active {
                return None;
            }
            latest = latest.max(
                desire
                    .inactivated_at_ms
                    .unwrap_or(0)
                    .saturating_add(desire.ttl_ms),
            );
        }
        Some(latest)
    }
}
