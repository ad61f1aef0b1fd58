//! `deleteClients`: upstream, clients known to be dead; downstream, clients that the server has forgotten.

use crate::json::present;
use landfall_zql::{json_object, read_through_json};
use serde::{Deserialize, Serialize};

/// Dead clients, as a client names them. A client must not name itself.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteClients {
    /// Clients of the own group.
    #[serde(
        rename = "clientIDs",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub client_ids: Option<Vec<String>>,
    /// Whole groups; servers ignore them.
    #[serde(
        rename = "clientGroupIDs",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub client_group_ids: Option<Vec<String>>,
}

/// Clients that the server has deleted: they need not be named again.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct DeletedClients {
    /// Clients of the group.
    #[serde(rename = "clientIDs", skip_serializing_if = "Option::is_none")]
    pub client_ids: Option<Vec<String>>,
    /// Whole groups.
    #[serde(rename = "clientGroupIDs", skip_serializing_if = "Option::is_none")]
    pub client_group_ids: Option<Vec<String>>,
}

json_object!(DeletedClients {
    "clientIDs" some client_ids,
    "clientGroupIDs" some client_group_ids,
});

read_through_json!(DeletedClients);
