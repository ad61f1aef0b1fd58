//! The query endpoint: turns names and arguments of queries into ASTs with server names.

use super::mutate::stated;
use crate::error::ProtocolError;
use crate::error_body::{ErrorBody, TransformFailed};
use crate::json::{Json, present};
use crate::transform_error::{ErroredQuery, ErroredQueryKind};
use landfall_zql::ast::Ast;
use landfall_zql::json;
use serde::{Deserialize, Serialize};

/// One query to be turned into an AST.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransformQuery {
    /// The query's hash.
    pub id: String,
    /// Its path in the application's registry, joined with `.`.
    pub name: String,
    /// The arguments: none or one.
    pub args: Vec<Json>,
}

/// The body of a request. An empty list is a question too: is this user's token good?
pub fn encode_request(queries: &[TransformQuery]) -> String {
    serde_json::to_string(&("transform", queries))
        .expect("queries have string keys only and thus a JSON form")
}

/// Reads the body of a request; for application servers in Rust and for tests.
pub fn decode_request(text: &str) -> Result<Vec<TransformQuery>, ProtocolError> {
    match json::from_str::<(String, Vec<TransformQuery>)>(text) {
        Ok((kind, queries)) if kind == "transform" => Ok(queries),
        Ok((kind, _)) => Err(ProtocolError::UnknownType(kind.chars().take(40).collect())),
        Err(error) => Err(error.into()),
    }
}

/// What the query endpoint answered.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryResponse {
    /// Each query has an AST or an error.
    Queries {
        /// The user that the endpoint saw: `None` if it did not say, `Some(None)` if nobody is logged in.
        user_id: Option<Option<String>>,
        /// In any order.
        queries: Vec<TransformedQuery>,
    },
    /// The request failed as a whole.
    Failed(TransformFailed),
}

/// What became of one query.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "TransformedFields")]
pub enum TransformedQuery {
    /// It asks for this.
    Ast {
        /// The query's hash.
        id: String,
        /// The query's name.
        name: String,
        /// With server names.
        ast: Box<Ast>,
    },
    /// It failed.
    Errored(ErroredQuery),
}

#[derive(Deserialize)]
struct TransformedFields {
    #[serde(default, deserialize_with = "present")]
    error: Option<ErroredQueryKind>,
    id: String,
    name: String,
    #[serde(default, deserialize_with = "present")]
    ast: Option<Box<Ast>>,
    #[serde(default, deserialize_with = "present")]
    message: Option<String>,
    #[serde(default, deserialize_with = "present")]
    details: Option<Json>,
}

impl TryFrom<TransformedFields> for TransformedQuery {
    type Error = &'static str;

    fn try_from(fields: TransformedFields) -> Result<Self, Self::Error> {
        let TransformedFields {
            error,
            id,
            name,
            ast,
            message,
            details,
        } = fields;
        match (error, ast) {
            (Some(error), _) => Ok(Self::Errored(ErroredQuery {
                error,
                id,
                name,
                message,
                details,
            })),
            (None, Some(ast)) => Ok(Self::Ast { id, name, ast }),
            (None, None) => Err("a transformed query has either `ast` or `error`"),
        }
    }
}

#[derive(Deserialize)]
struct Kind {
    kind: String,
}

#[derive(Deserialize)]
struct QueryResponseBody {
    #[serde(rename = "userID", default, deserialize_with = "stated")]
    user_id: Option<Option<String>>,
    queries: Vec<TransformedQuery>,
}

impl QueryResponse {
    /// Reads an answer with status 200, in its present or one of its old forms.
    pub fn decode(text: &str) -> Result<Self, ProtocolError> {
        crate::json::check_depth(text)?;
        if text.trim_start().starts_with('[') {
            let (kind, body): (String, Json) = json::from_str(text)?;
            return match kind.as_str() {
                "transformed" => Ok(Self::Queries {
                    user_id: None,
                    queries: body.read()?,
                }),
                "transformFailed" => failed(&body.read()?),
                _ => Err(ProtocolError::UnknownType(kind.chars().take(40).collect())),
            };
        }
        let Kind { kind } = json::from_str(text)?;
        match kind.as_str() {
            "QueryResponse" => {
                let QueryResponseBody { user_id, queries } = json::from_str(text)?;
                Ok(Self::Queries { user_id, queries })
            }
            "TransformFailed" => failed(&json::from_str(text)?),
            _ => Err(ProtocolError::Malformed(
                "unknown kind of answer".to_owned(),
            )),
        }
    }
}

fn failed(body: &ErrorBody) -> Result<QueryResponse, ProtocolError> {
    match body {
        ErrorBody::TransformFailed(failed) => Ok(QueryResponse::Failed(failed.clone())),
        _ => Err(ProtocolError::Malformed("not a TransformFailed".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        assert_eq!(encode_request(&[]), r#"["transform",[]]"#);
        let text = r#"["transform",[{"id":"1k3nhdk2bnacc","name":"issueByID","args":["1"]}]]"#;
        assert_eq!(
            encode_request(&decode_request(text).expect("a request")),
            text
        );
        assert!(decode_request(r#"["transformed",[]]"#).is_err());
    }

    #[test]
    fn answers() {
        let text = r#"{"kind":"QueryResponse","userID":null,"more":1,"queries":[
            {"id":"a","name":"n","ast":{"table":"issue"}},
            {"error":"app","id":"b","name":"n"},
            {"error":"parse","id":"c","name":"n","message":"no","details":{"a":1}}]}"#;
        let Ok(QueryResponse::Queries {
            user_id: Some(None),
            queries,
        }) = QueryResponse::decode(text)
        else {
            panic!("an answer")
        };
        assert!(matches!(
            queries.as_slice(),
            [
                TransformedQuery::Ast { .. },
                TransformedQuery::Errored(_),
                TransformedQuery::Errored(_)
            ]
        ));
        let failed = r#"{"kind":"TransformFailed","message":"m","origin":"server","reason":"internal","queryIDs":["a"]}"#;
        assert!(matches!(
            QueryResponse::decode(failed),
            Ok(QueryResponse::Failed(_))
        ));
    }

    #[test]
    fn old_answers() {
        assert!(matches!(
            QueryResponse::decode(r#"["transformed",[{"id":"a","name":"n","ast":{"table":"t"}}]]"#),
            Ok(QueryResponse::Queries { user_id: None, .. })
        ));
        let failed = r#"["transformFailed",{"kind":"TransformFailed","message":"m","origin":"server","reason":"parse","queryIDs":[]}]"#;
        assert!(matches!(
            QueryResponse::decode(failed),
            Ok(QueryResponse::Failed(_))
        ));
    }

    #[test]
    fn refuses_other_answers() {
        for text in [
            "",
            "{}",
            "[]",
            r#"{"kind":"QueryResponse"}"#,
            r#"{"kind":"QueryResponse","queries":[{"id":"a","name":"n"}]}"#,
            r#"{"kind":"QueryResponse","queries":[{"id":"a","name":"n","ast":{"tabel":"t"}}]}"#,
            r#"{"kind":"TransformFailed","message":"m"}"#,
            r#"["transform",[]]"#,
        ] {
            assert!(QueryResponse::decode(text).is_err(), "{text}");
        }
    }
}
