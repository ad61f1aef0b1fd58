//! `initConnection`: the first message of a client, in the handshake header or as text.

use crate::client_schema::ClientSchema;
use crate::delete_clients::DeleteClients;
use crate::json::present;
use crate::queries_patch::UpQueryOp;
use landfall_zql::sorted_map::SortedMap;
use serde::{Deserialize, Serialize};

/// What a client wants and what it is.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InitConnection {
    /// All changes from what the client's store says is desired to what it wants now.
    pub desired_queries_patch: Vec<UpQueryOp>,
    /// Sent only while the client has no cookie.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub client_schema: Option<ClientSchema>,
    /// Clients of the group that are known to be dead.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub deleted: Option<DeleteClients>,
    /// Where the application's mutate endpoint is; must match the server's settings.
    #[serde(
        rename = "userPushURL",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub user_push_url: Option<String>,
    /// Headers for that endpoint.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub user_push_headers: Option<SortedMap<String, String>>,
    /// Where the application's query endpoint is; must match the server's settings.
    #[serde(
        rename = "userQueryURL",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub user_query_url: Option<String>,
    /// Headers for that endpoint.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub user_query_headers: Option<SortedMap<String, String>>,
    /// The clients of the group that are alive in this browser; every other one is deleted.
    /// Our clients never send it: a list made before a new tab opened would delete that tab's queries.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub active_clients: Option<Vec<String>>,
    /// W3C trace context.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub traceparent: Option<String>,
}
