//! `transformError`: these queries failed at the application's query endpoint; all others go on.

use crate::json::{Json, present};
use serde::{Deserialize, Serialize};

/// A query that failed. The same entries stand in answers of the query endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErroredQuery {
    /// Who refused it.
    pub error: ErroredQueryKind,
    /// The query's hash.
    pub id: String,
    /// The query's name.
    pub name: String,
    /// Why, for people; always there with [`ErroredQueryKind::Parse`].
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub message: Option<String>,
    /// Why, for programs.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub details: Option<Json>,
}

/// Who refused a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErroredQueryKind {
    /// The application's code.
    App,
    /// The arguments did not fit.
    Parse,
}
