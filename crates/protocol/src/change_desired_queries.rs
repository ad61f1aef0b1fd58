//! `changeDesiredQueries`: the client wants other queries than before.

use crate::json::present;
use crate::queries_patch::UpQueryOp;
use serde::{Deserialize, Serialize};

/// Answered by a poke with the same changes, and by more pokes as the queries are hydrated or expire.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChangeDesiredQueries {
    /// The changes.
    pub desired_queries_patch: Vec<UpQueryOp>,
    /// W3C trace context.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub traceparent: Option<String>,
}
