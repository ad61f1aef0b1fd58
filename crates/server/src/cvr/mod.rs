//! The client view record: what each group wants, what it has got, and the members of each query instance.
//!
//! Stored per group: configuration only, written when it changes.
//! Stored per instance: its members with the versions at which they entered, changed and left.
//! Rows and the cookie of each poke are not stored; `queries::catch_up` derives them.
//! Two implementations: a SQLite file beside the replica, and a schema in Postgres that several nodes share.
//! Never here: sockets, pipelines, an opinion on when to write.

mod group;
mod group_rows;
mod postgres;
mod schema_text;
mod sqlite;

pub use group::{Desire, GotSpan, GroupRecord, GroupWrite, QueryDefinition, SentResult};
pub use postgres::PostgresCvr;
pub use schema_text::SchemaText;
pub use sqlite::SqliteCvr;

use std::fmt;

/// The version of a replica state: the commit position of Postgres, or the change-log sequence of a SQLite upstream.
pub type StateVersion = u64;

/// A point in a group's history: a replica state and a count of configuration changes on top of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CvrVersion {
    /// The replica state.
    pub state: StateVersion,
    /// Configuration changes since that state; 0 right after it.
    pub config: u64,
}

impl CvrVersion {
    /// The version of a group that has nothing.
    pub const EMPTY: CvrVersion = CvrVersion {
        state: 0,
        config: 0,
    };

    /// The version of a replica state itself.
    pub fn at(state: StateVersion) -> Self {
        CvrVersion { state, config: 0 }
    }

    /// The version of the next configuration change.
    pub fn next_config(self) -> Self {
        CvrVersion {
            state: self.state,
            config: self.config + 1,
        }
    }
}

/// Names a query instance: one pipeline under one plan, alive or not. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub u64);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "i{}", self.0)
    }
}

/// What is stored of one member of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMember {
    /// Server name of the table.
    pub table: String,
    /// Packed primary key.
    pub key: Box<[u8]>,
    /// Version at which the row last entered.
    pub entered: StateVersion,
    /// Version at which the row last changed while inside.
    pub changed: StateVersion,
    /// Version at which it left, if it is outside now.
    pub left: Option<StateVersion>,
    /// Fingerprint of the row's contents, to see changes made while no pipeline watched.
    pub fingerprint: u128,
}

/// What is stored of an instance beside its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredInstance {
    /// Its name.
    pub id: InstanceId,
    /// Everything up to this version is recorded; later states are unknown.
    pub durable: StateVersion,
    /// Departures at or below this version are forgotten.
    pub pruned_below: StateVersion,
}

/// The changes of one point, committed together before any poke of that point ends.
#[derive(Clone, Debug, Default)]
pub struct PointWrite {
    /// The version of the point.
    pub point: StateVersion,
    /// Changed members by instance.
    pub members: Vec<(InstanceId, Vec<StoredMember>)>,
    /// Instances that came alive: canonical key and lower bound of departures.
    pub born: Vec<(InstanceId, Vec<u8>)>,
    /// Instances whose pipeline ends with this point.
    pub frozen: Vec<InstanceId>,
    /// New lower bounds after tombstones were dropped.
    pub pruned: Vec<(InstanceId, StateVersion)>,
    /// Groups that hear of their queries at this point, if several nodes share the records.
    pub joining: Vec<String>,
}

impl PointWrite {
    /// Whether nothing but the point itself is to be stored.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
            && self.born.is_empty()
            && self.frozen.is_empty()
            && self.pruned.is_empty()
            && self.joining.is_empty()
    }
}

/// The storage of client view records.
///
/// Callers promise: one query pool per store at a time; writes of a group come from one place, in order.
/// Implementors promise: a write that returned `Ok` survives a kill of the process; what a power loss takes away is
/// a tail, and `durable` tells how far it reaches. Where several nodes share the records, a group and an instance
/// belong to one node at a time, and what a node tells after it has lost one never becomes durable.
pub trait CvrStore: Send + Sync {
    /// A life of the query pool begins: no instance is alive. Records of another history than `generation` are
    /// forgotten; `version` is where the pool stands.
    fn begin(&self, generation: &str, version: StateVersion) -> Result<(), CvrError>;
    /// The pool has ended in good order.
    fn end(&self) -> Result<(), CvrError> {
        Ok(())
    }
    /// Whether other nodes may take groups over.
    fn is_shared(&self) -> bool {
        false
    }
    /// The record of a group. Where records are shared, this node serves the group from now on.
    fn load_group(&self, group: &str) -> Result<Option<GroupRecord>, CvrError>;
    /// Whether this node still serves a group that it has loaded.
    fn serves(&self, group: &str) -> Result<bool, CvrError> {
        let _ = group;
        Ok(true)
    }
    /// Applies configuration writes of a group in one transaction; makes the record if there is none.
    fn write_group(&self, group: &str, writes: &[GroupWrite]) -> Result<(), CvrError>;
    /// Commits the changes of a point. Returns groups that another node has taken over: nothing of this point may be
    /// told to them.
    fn commit_point(&self, write: &PointWrite) -> Result<Vec<String>, CvrError>;
    /// A fresh instance name.
    fn next_instance(&self) -> Result<InstanceId, CvrError>;
    /// The best stored instance with this canonical key, which is this node's from now on.
    fn find_instance(&self, key: &[u8]) -> Result<Option<StoredInstance>, CvrError>;
    /// An instance by name with all its members, as of one moment.
    fn load_cold(
        &self,
        id: InstanceId,
    ) -> Result<Option<(StoredInstance, Vec<StoredMember>)>, CvrError>;
    /// All members of an instance of this node, present and departed.
    fn load_members(&self, id: InstanceId) -> Result<Vec<StoredMember>, CvrError>;
    /// Drops instances that no group's record refers to, except those in `alive`. Returns how many.
    fn sweep_instances(&self, alive: &[InstanceId]) -> Result<usize, CvrError>;
    /// Drops the queries and spans of groups not active since `before` (ms since epoch); keeps their owner.
    fn purge_groups(&self, before_ms: i64) -> Result<usize, CvrError>;
}

/// Why the client view record could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CvrError {
    /// The database refused.
    #[error("client view record: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The records are in Postgres, which refused.
    #[error("client view records: {0}")]
    Postgres(String),
    /// The records are in Postgres, which was away for longer than is waited for it.
    #[error("client view records: Postgres is away: {0}")]
    Away(String),
    /// Another node serves the group now.
    #[error("another node serves the client group")]
    Moved,
    /// Other nodes count this one as gone: it begins anew.
    #[error("other nodes count this node as gone")]
    Fenced,
    /// Other nodes use the records for another database.
    #[error(
        "the client view records are in use by servers that follow another database; give this one a schema or a database of its own (--cvr-db, --app-id, --shard-num)"
    )]
    OtherDatabase,
    /// Something stored does not make sense.
    #[error("client view record is damaged: {0}")]
    Damaged(String),
    /// The file is a database of something else.
    #[error("the file holds something else than client view records; name another one (--cvr-db)")]
    OtherFile,
    /// The file was written by a newer server.
    #[error("client view record has format {found}, this server knows {known}")]
    Format {
        /// Format in the file.
        found: i64,
        /// Format this server writes.
        known: i64,
    },
}

impl CvrError {
    /// Whether the same may succeed a while later, with nobody doing anything to the records.
    pub fn passes(&self) -> bool {
        use rusqlite::ErrorCode::{
            CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, SystemIoFailure,
        };
        match self {
            // Whoever was taken for gone begins anew, under another number.
            CvrError::Away(_) | CvrError::Fenced => true,
            CvrError::Sqlite(error) => matches!(
                error.sqlite_error_code(),
                Some(CannotOpen | DatabaseBusy | DatabaseLocked | DiskFull | SystemIoFailure)
            ),
            _ => false,
        }
    }
}
