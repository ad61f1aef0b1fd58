//! `pull`: asks how far the group is. Zero's clients never send it and its server never answers.

use crate::json::nullable;
use crate::number::MAX_SAFE_INTEGER;
use landfall_zql::json::{FromJson, JsonError, JsonReader};
use landfall_zql::sorted_map::SortedMap;
use landfall_zql::{json_object, read_through_json};
use serde::{Deserialize, Serialize};

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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PullResponse {
    /// What the server has.
    pub cookie: Option<String>,
    /// From the question.
    #[serde(rename = "requestID")]
    pub request_id: String,
    /// Last mutation ids that changed, by client.
    #[serde(rename = "lastMutationIDChanges")]
    pub last_mutation_id_changes: SortedMap<String, u64>,
}

json_object!(PullResponse {
    "cookie" must cookie,
    "requestID" must request_id,
    "lastMutationIDChanges" [counters] last_mutation_id_changes,
});

read_through_json!(PullResponse);

/// Reads a map from clients to mutation ids.
pub(crate) fn counters(reader: &mut JsonReader<'_>) -> Result<SortedMap<String, u64>, JsonError> {
    let counters = SortedMap::<String, u64>::from_json(reader)?;
    match counters.values().all(|id| *id <= MAX_SAFE_INTEGER) {
        true => Ok(counters),
        false => Err(JsonError::refused("number is beyond 2^53 - 1")),
    }
}
