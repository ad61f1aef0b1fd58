//! What groups ask of the pool, and what it tells them.
//!
//! Answers to one group come over one channel, in the order of the points they belong to: whoever applies them in
//! that order is always at exactly one point.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::poke_body::PokeBody;
use super::prepare::PreparedQuery;
use super::telling::Told;
use crate::cvr::{InstanceId, StateVersion};

/// Sets the queries of a group, and brings connections up to date with the group.
pub struct SyncRequest {
    /// The group.
    pub group: Arc<str>,
    /// Where its answers go.
    pub events: mpsc::UnboundedSender<PoolEvent>,
    /// Everything that it should have got from now on, by query hash.
    pub queries: Vec<(String, Arc<PreparedQuery>)>,
    /// Connections that are behind.
    pub catch_ups: Vec<CatchUpRequest>,
    /// Whether any connection is current, and so needs the difference between old and new queries.
    pub for_current: bool,
}

/// A connection that is behind its group.
pub struct CatchUpRequest {
    /// The connection.
    pub connection: u64,
    /// The state it has; `None` = it has nothing.
    pub since: Option<StateVersion>,
    /// The instances whose rows it has.
    pub had: Vec<InstanceId>,
    /// Whether all that it had is known.
    pub recorded: bool,
}

/// What the pool tells a group. Small: channels keep room for many of them.
#[derive(Debug)]
pub enum PoolEvent {
    /// A new version changed something for the group.
    Point(Arc<PointEvent>),
    /// A sync request is done.
    Synced(Box<SyncedEvent>),
    /// The pool has begun anew: the group ends, its clients reconnect and catch up.
    Restarted,
    /// Another node serves the group now: it ends, its clients reconnect.
    Moved,
    /// A query's instance cannot be served any more.
    Broken(Arc<Broken>),
    /// Tables were changed: clients whose schema no longer fits are to be told.
    SchemaChanged,
    /// The permissions changed: all queries are to be prepared anew.
    PermissionsChanged,
}

/// An instance that cannot be served any more.
#[derive(Debug)]
pub struct Broken {
    /// The instance.
    pub instance: InstanceId,
    /// Why.
    pub message: String,
}

/// The changes of one point for one group.
#[derive(Clone, Debug)]
pub struct PointEvent {
    /// The point.
    pub version: StateVersion,
    /// Row changes, if any.
    pub rows: Option<Arc<PokeBody>>,
    /// Last mutation ids that moved.
    pub lmids: Vec<(String, u64)>,
    /// Mutation results that appeared (JSON text) or were deleted.
    pub results: Vec<(String, u64, Option<String>)>,
    /// Let go when the group has taken it in.
    pub told: Option<Arc<Told>>,
}

/// The answer to a [`SyncRequest`].
#[derive(Debug)]
pub struct SyncedEvent {
    /// The point at which the group has its new queries.
    pub version: StateVersion,
    /// Each query's instance, or why it failed.
    pub queries: Vec<(String, Result<InstanceId, String>)>,
    /// From the old set of queries to the new one, at this point.
    pub rows: Option<Arc<PokeBody>>,
    /// Rows for the connections that were behind.
    pub catch_ups: Vec<(u64, CatchUpReply)>,
    /// All last mutation ids of the group.
    pub lmids: BTreeMap<String, u64>,
    /// All mutation results of the group that are not cleaned up.
    pub results: BTreeMap<(String, u64), String>,
}

/// The rows that a connection lacks.
#[derive(Clone, Debug)]
pub enum CatchUpReply {
    /// From where it was.
    Rows(Option<Arc<PokeBody>>),
    /// Where it was is not recorded any more: everything, for a client that has forgotten all.
    Afresh(Option<Arc<PokeBody>>),
}
