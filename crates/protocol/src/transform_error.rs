//! `transformError`: these queries failed at the application's query endpoint; all others go on.

use crate::json::Json;
use landfall_zql::json::{FromJson, JsonError, JsonReader};
use landfall_zql::{json_names, json_object, read_through_json};
use serde::Serialize;

/// A query that failed. The same entries stand in answers of the query endpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ErroredQuery {
    /// Who refused it.
    pub error: ErroredQueryKind,
    /// The query's hash.
    pub id: String,
    /// The query's name.
    pub name: String,
    /// Why, for people; always there with [`ErroredQueryKind::Parse`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Why, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Json>,
}

/// Who refused a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ErroredQueryKind {
    /// The application's code.
    App,
    /// The arguments did not fit.
    Parse,
}

json_names!(ErroredQueryKind {
    App = "app",
    Parse = "parse",
});

#[derive(Default)]
struct Fields {
    error: Option<ErroredQueryKind>,
    id: String,
    name: String,
    message: Option<String>,
    details: Option<Json>,
}

json_object!(Fields {
    "error" some error,
    "id" must id,
    "name" must name,
    "message" some message,
    "details" some details,
});

impl<'de> FromJson<'de> for ErroredQuery {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        let fields = Fields::from_json(reader)?;
        Ok(Self {
            error: fields.error.ok_or_else(|| JsonError::missing("error"))?,
            id: fields.id,
            name: fields.name,
            message: fields.message,
            details: fields.details,
        })
    }
}

read_through_json!(ErroredQuery, ErroredQueryKind);
