//! One connection of a client group, as the group sees it.

use std::sync::Arc;

use landfall_protocol::Pull;
use serde_json::Value as Json;

use super::outbound::Outbound;
use crate::config::Secret;
use crate::cvr::CvrVersion;

/// Names a connection within this process.
pub type ConnectionId = u64;

/// Who is at the other end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConnectionAuth {
    /// The token as sent, for the app's endpoints.
    pub token: Option<Secret>,
    /// The verified claims, when the server verifies tokens itself.
    pub claims: Option<Json>,
    /// Grows with every change of the token.
    pub revision: u64,
}

/// What is remembered of a connection's request, for calls to the app's endpoints.
#[derive(Clone, Debug, Default)]
pub struct ConnectionContext {
    /// The connection.
    pub id: ConnectionId,
    /// Its client.
    pub client_id: String,
    /// Its group.
    pub group_id: String,
    /// The tab's own name for the connection.
    pub wsid: String,
    /// The user, if logged in.
    pub user_id: Option<String>,
    /// Token and claims.
    pub auth: ConnectionAuth,
    /// Protocol version spoken.
    pub protocol: u32,
    /// Whether it is a Landfall client, which understands our extensions.
    pub landfall: bool,
    /// Whether it is one request of a client that polls, which ends with the answer to its `pull`.
    pub polls: bool,
    /// Headers of the upgrade request, names in lower case; cookies and origin among them.
    pub headers: Vec<(String, String)>,
    /// The page's trace, as its first message named it.
    pub traceparent: Option<String>,
    /// Address of the mutate endpoint, if the client chose one.
    pub push_url: Option<String>,
    /// Headers for the mutate endpoint.
    pub push_headers: Vec<(String, String)>,
    /// Address of the query endpoint, if the client chose one.
    pub query_url: Option<String>,
    /// Headers for the query endpoint.
    pub query_headers: Vec<(String, String)>,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// `initConnection` has not come.
    Waiting,
    /// Behind the group; the next sync brings it up.
    Behind,
    /// A sync that brings it up is under way.
    CatchingUp,
    /// Exactly at the group's version.
    Current,
    /// Its socket does not drain; nothing is queued until it has.
    Lagging,
}

/// A connection with its state.
pub(super) struct Connection {
    pub(super) context: Arc<ConnectionContext>,
    pub(super) outbound: Outbound,
    pub(super) progress: Progress,
    /// Where the client is, as far as has been queued to it.
    pub(super) cookie: Option<CvrVersion>,
    /// Whether a poke was queued on this connection.
    pub(super) poked: bool,
    /// The cookie as the client wrote it, before `initConnection` checks it.
    pub(super) base_cookie: Option<String>,
    /// What a client that polls waits for.
    pub(super) pull: Option<Pull>,
}
