//! `inspect`: questions of the inspector and their answers. Answers are passed on unread.

use crate::json::{Json, present};
use landfall_zql::ast::Ast;
use landfall_zql::json::{FromJson, JsonError, JsonReader};
use landfall_zql::{json_object, read_through_json};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// One question.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "InspectFields")]
pub struct Inspect {
    /// Comes back in the answer.
    pub id: String,
    /// What is asked.
    pub op: InspectOp,
}

/// What an inspector may ask.
#[derive(Clone, PartialEq)]
pub enum InspectOp {
    /// The queries of the group, or of one client of it.
    Queries {
        /// Only this client's.
        client_id: Option<String>,
    },
    /// Timings.
    Metrics,
    /// The server's version.
    Version,
    /// Here is the administrator's password.
    Authenticate {
        /// The password.
        value: String,
    },
    /// Run a query and tell what it cost.
    AnalyzeQuery(Box<AnalyzeQuery>),
}

impl fmt::Debug for InspectOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queries { client_id } => f
                .debug_struct("Queries")
                .field("client_id", client_id)
                .finish(),
            Self::Metrics => f.write_str("Metrics"),
            Self::Version => f.write_str("Version"),
            Self::Authenticate { .. } => f.write_str("Authenticate { value: … }"),
            Self::AnalyzeQuery(query) => query.fmt(f),
        }
    }
}

/// A query to analyse: an AST, or a name with arguments.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct AnalyzeQuery {
    /// The AST under its old field name.
    pub value: Option<Ast>,
    /// The AST.
    pub ast: Option<Ast>,
    /// The name.
    pub name: Option<String>,
    /// The arguments.
    pub args: Option<Vec<Json>>,
    /// What to report.
    pub options: Option<AnalyzeOptions>,
}

/// What an analysis reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AnalyzeOptions {
    /// The rows that were read.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub vended_rows: Option<bool>,
    /// The rows that would be sent.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub synced_rows: Option<bool>,
    /// How joins were planned.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub join_plans: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InspectFields {
    op: InspectOpName,
    id: String,
    #[serde(rename = "clientID", default, deserialize_with = "present")]
    client_id: Option<String>,
    #[serde(default, deserialize_with = "present")]
    value: Option<Json>,
    #[serde(default, deserialize_with = "present")]
    ast: Option<Ast>,
    #[serde(default, deserialize_with = "present")]
    name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    args: Option<Vec<Json>>,
    #[serde(default, deserialize_with = "present")]
    options: Option<AnalyzeOptions>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum InspectOpName {
    Queries,
    Metrics,
    Version,
    Authenticate,
    AnalyzeQuery,
}

impl TryFrom<InspectFields> for Inspect {
    type Error = String;

    fn try_from(fields: InspectFields) -> Result<Self, Self::Error> {
        let InspectFields {
            op,
            id,
            client_id,
            value,
            ast,
            name,
            args,
            options,
        } = fields;
        let analyzing = ast.is_some() || name.is_some() || args.is_some() || options.is_some();
        let allowed = match op {
            InspectOpName::Queries => value.is_none() && !analyzing,
            InspectOpName::Metrics | InspectOpName::Version => {
                client_id.is_none() && value.is_none() && !analyzing
            }
            InspectOpName::Authenticate => client_id.is_none() && !analyzing,
            InspectOpName::AnalyzeQuery => client_id.is_none(),
        };
        if !allowed {
            return Err("field not allowed in this inspect operation".to_owned());
        }
        let op = match op {
            InspectOpName::Queries => InspectOp::Queries { client_id },
            InspectOpName::Metrics => InspectOp::Metrics,
            InspectOpName::Version => InspectOp::Version,
            InspectOpName::Authenticate => InspectOp::Authenticate {
                value: value
                    .ok_or("missing field `value`")?
                    .read()
                    .map_err(|error| error.to_string())?,
            },
            InspectOpName::AnalyzeQuery => {
                let value = value
                    .map(|value| value.read())
                    .transpose()
                    .map_err(|error| error.to_string())?;
                InspectOp::AnalyzeQuery(Box::new(AnalyzeQuery {
                    value,
                    ast,
                    name,
                    args,
                    options,
                }))
            }
        };
        Ok(Self { id, op })
    }
}

impl Serialize for Inspect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let op = match &self.op {
            InspectOp::Queries { .. } => "queries",
            InspectOp::Metrics => "metrics",
            InspectOp::Version => "version",
            InspectOp::Authenticate { .. } => "authenticate",
            InspectOp::AnalyzeQuery(_) => "analyze-query",
        };
        map.serialize_entry("op", op)?;
        map.serialize_entry("id", &self.id)?;
        match &self.op {
            InspectOp::Queries {
                client_id: Some(client_id),
            } => map.serialize_entry("clientID", client_id)?,
            InspectOp::Authenticate { value } => map.serialize_entry("value", value)?,
            InspectOp::AnalyzeQuery(query) => {
                let AnalyzeQuery {
                    value,
                    ast,
                    name,
                    args,
                    options,
                } = &**query;
                if let Some(value) = value {
                    map.serialize_entry("value", value)?;
                }
                if let Some(ast) = ast {
                    map.serialize_entry("ast", ast)?;
                }
                if let Some(name) = name {
                    map.serialize_entry("name", name)?;
                }
                if let Some(args) = args {
                    map.serialize_entry("args", args)?;
                }
                if let Some(options) = options {
                    map.serialize_entry("options", options)?;
                }
            }
            _ => {}
        }
        map.end()
    }
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InspectReply {
    /// What was asked, or `error`, or `authenticated`.
    pub op: String,
    /// From the question.
    pub id: String,
    /// The answer.
    pub value: Json,
}

#[derive(Default)]
struct ReplyFields {
    op: String,
    id: String,
    value: Option<Json>,
}

json_object!(ReplyFields {
    "op" must op,
    "id" must id,
    "value" some value,
});

impl<'de> FromJson<'de> for InspectReply {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        let ReplyFields { op, id, value } = ReplyFields::from_json(reader)?;
        let value = value.ok_or_else(|| JsonError::missing("value"))?;
        Ok(Self { op, id, value })
    }
}

read_through_json!(InspectReply);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, good: bool) {
        match serde_json::from_str::<Inspect>(text) {
            Ok(inspect) => {
                assert!(good, "accepted {text}");
                assert_eq!(serde_json::to_string(&inspect).expect("writes"), text);
            }
            Err(error) => assert!(!good, "{text}: {error}"),
        }
    }

    #[test]
    fn questions() {
        check(r#"{"op":"queries","id":"1"}"#, true);
        check(r#"{"op":"queries","id":"1","clientID":"c"}"#, true);
        check(r#"{"op":"metrics","id":"1"}"#, true);
        check(r#"{"op":"version","id":"1"}"#, true);
        check(r#"{"op":"authenticate","id":"1","value":"pw"}"#, true);
        check(
            r#"{"op":"analyze-query","id":"1","ast":{"table":"t"},"options":{"syncedRows":true}}"#,
            true,
        );
        check(
            r#"{"op":"analyze-query","id":"1","value":{"table":"t"}}"#,
            true,
        );
        check(
            r#"{"op":"analyze-query","id":"1","name":"n","args":[1]}"#,
            true,
        );
        check(
            r#"{"op":"analyze-query","id":"1","value":{"tables":"t"}}"#,
            false,
        );
        check(r#"{"op":"analyze-query","id":"1","clientID":"c"}"#, false);
        check(r#"{"op":"metrics","id":"1","clientID":"c"}"#, false);
        check(r#"{"op":"authenticate","id":"1"}"#, false);
        check(r#"{"op":"authenticate","id":"1","value":1}"#, false);
        check(r#"{"op":"queries"}"#, false);
        check(r#"{"op":"reboot","id":"1"}"#, false);
    }
}
