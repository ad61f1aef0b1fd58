//! `pull`: asks how far the group is, without rows. Zero's clients never send it and its server never answers.

use crate::json::nullable;
use crate::number::SafeInteger;
use landfall_zql::sorted_map::SortedMap;
use serde::{Deserialize, Deserializer, Serialize};

/// The question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pull {
    /// Must be the connection's.
    #[serde(rename = "clientGroupID")]
    pub client_group_id: String,
    /// What the client has.
    #[serde(deserialize_with = "nullable")]
    pub cookie: Option<String>,
    /// Comes back in the answer.
    #[serde(rename = "requestID")]
    pub request_id: String,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullResponse {
    /// What the server has.
    #[serde(deserialize_with = "nullable")]
    pub cookie: Option<String>,
    /// From the question.
    #[serde(rename = "requestID")]
    pub request_id: String,
    /// Last mutation ids that changed, by client.
    #[serde(rename = "lastMutationIDChanges", deserialize_with = "counters")]
    pub last_mutation_id_changes: SortedMap<String, u64>,
}

/// Reads a map from clients to mutation ids.
pub(crate) fn counters<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<SortedMap<String, u64>, D::Error> {
    let counters = SortedMap::<String, SafeInteger>::deserialize(deserializer)?;
    Ok(counters
        .into_iter()
        .map(|(client, SafeInteger(id))| (client, id))
        .collect())
}
