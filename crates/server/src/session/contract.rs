//! What a group is told, what it has its host do, and what it asks of the server's rules.

use std::sync::Arc;

use landfall_protocol::{ErrorBody, Push, Upstream};
use landfall_zql::ast::Ast;
use serde_json::Value as Json;
use tokio::sync::oneshot;

use super::connection::{ConnectionContext, ConnectionId};
use super::outbound::{Frame, Outbound};
use super::prepare::{NamedQuery, Transformed};
use crate::cvr::{GroupWrite, StateVersion};
use crate::inspect::Asked;
use crate::queries::{CatchUpRequest, PoolEvent, PreparedQuery};

/// How many queries there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryLimits {
    /// In a group, those included that wait for the end of their time.
    pub per_group: usize,
    /// That one client wants.
    pub per_client: usize,
}

/// The server's rules, as far as a group needs them.
pub trait Rules: Send + Sync {
    /// The newest version that the query pool has reached.
    fn pool_version(&self) -> StateVersion;
    /// Asks the pool to get to a version, on an idle database as well.
    fn want_version(&self, version: StateVersion);
    /// Whether the replica can serve a client with this schema.
    fn check_schema(&self, schema: &landfall_protocol::ClientSchema) -> Result<(), String>;
    /// Permissions for a query given as an AST by a client.
    fn prepare_client_query(
        &self,
        ast: &Ast,
        claims: Option<&Json>,
    ) -> Result<PreparedQuery, String>;
    /// A query that the app gave for a name, and whose permissions it answers for.
    fn prepare_app_query(&self, name: &str, ast: &Ast) -> Result<PreparedQuery, String>;
    /// Whether there is a query endpoint.
    fn has_query_endpoint(&self) -> bool;
    /// Whether every connection is checked with the query endpoint.
    fn validates(&self, context: &ConnectionContext) -> bool;
    /// Queries that a group may have, and that one of its clients may want at a time.
    fn query_limits(&self) -> QueryLimits;
    /// The group's connections are told of what happened after `before` up to `version`.
    fn told(&self, before: StateVersion, version: StateVersion);
}

/// A connection that asks to join.
pub struct Attach {
    /// Its request.
    pub context: ConnectionContext,
    /// Its socket.
    pub outbound: Outbound,
    /// Its cookie as written.
    pub base_cookie: Option<String>,
    /// The verdict.
    pub reply: oneshot::Sender<Result<(), ErrorBody>>,
}

/// What can happen to a group. Small: channels keep room for many of them.
pub enum GroupEvent {
    /// A connection asks to join.
    Attach(Box<Attach>),
    /// A message came.
    Message(ConnectionId, Box<Upstream>),
    /// A connection has another token.
    Reauthenticated(ConnectionId, Box<super::ConnectionAuth>),
    /// A socket ended.
    Disconnected(ConnectionId),
    /// A congested socket drained.
    Drained(ConnectionId),
    /// The query pool answered.
    Pool(PoolEvent),
    /// The query endpoint answered.
    Transformed(Box<Transformed>),
    /// A push failed in a way that its connection must hear.
    PushFailed(ConnectionId, Box<ErrorBody>),
    /// Time has passed.
    Tick,
    /// The server stops.
    Stop,
}

/// What is to be done, in order.
pub enum Effect {
    /// Store; nothing after it happens before it is stored.
    Store(Vec<GroupWrite>),
    /// Send frames.
    Send(Outbound, Vec<Frame>),
    /// Ask the query pool.
    Sync {
        /// The group's queries from now on.
        queries: Vec<(String, Arc<PreparedQuery>)>,
        /// Connections that are behind.
        catch_ups: Vec<CatchUpRequest>,
        /// Whether any connection is current.
        for_current: bool,
    },
    /// Ask the query endpoint.
    Transform {
        /// On whose behalf.
        context: Arc<ConnectionContext>,
        /// What about; may be empty to check the connection.
        queries: Vec<NamedQuery>,
        /// Passed through.
        background: bool,
    },
    /// Carry out mutations.
    Push(Arc<ConnectionContext>, Box<Push>),
    /// Results of a client up to an id were received.
    CleanResults(Arc<ConnectionContext>, String, u64),
    /// Answer an inspector.
    Inspect(Box<Asked>),
    /// Clients are gone for good.
    CleanClients(Arc<ConnectionContext>, Vec<String>),
}
