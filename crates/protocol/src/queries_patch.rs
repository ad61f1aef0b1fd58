//! Changes to sets of queries: what a client wants (upstream), what it is known to want and has got (downstream).

use crate::json::{Json, present};
use crate::number::JsNumber;
use landfall_zql::ast::Ast;
use landfall_zql::json::{FromJson, JsonError, JsonReader};
use landfall_zql::{json_names, json_object, read_through_json};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

/// One change to the queries that a client wants.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "UpQueryOpFields")]
pub enum UpQueryOp {
    /// Want a query, or want it for longer.
    Put(PutQuery),
    /// Want it no more.
    Del {
        /// The query.
        hash: String,
    },
    /// Want nothing.
    Clear,
}

/// A query that a client wants.
#[derive(Clone, Debug, PartialEq)]
pub struct PutQuery {
    /// The client's name for it; opaque to the server.
    pub hash: String,
    /// How long it is kept after nobody wants it, in milliseconds; negative means for as long as possible.
    pub ttl: Option<JsNumber>,
    /// What it asks for.
    pub query: QueryText,
}

/// The two ways to say what a query asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryText {
    /// As an AST with server names, answered under declared read permissions.
    Ast(Box<Ast>),
    /// By name, turned into an AST by the application's server.
    Named {
        /// The path in the application's registry, joined with `.`.
        name: String,
        /// The arguments: none or one.
        args: Vec<Json>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpQueryOpFields {
    op: OpName,
    #[serde(default, deserialize_with = "present")]
    hash: Option<String>,
    #[serde(default, deserialize_with = "present")]
    ttl: Option<JsNumber>,
    #[serde(default, deserialize_with = "present")]
    ast: Option<Box<Ast>>,
    #[serde(default, deserialize_with = "present")]
    name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    args: Option<Vec<Json>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OpName {
    Put,
    Del,
    Clear,
}

impl TryFrom<UpQueryOpFields> for UpQueryOp {
    type Error = &'static str;

    fn try_from(fields: UpQueryOpFields) -> Result<Self, Self::Error> {
        let UpQueryOpFields {
            op,
            hash,
            ttl,
            ast,
            name,
            args,
        } = fields;
        let bare = ttl.is_none() && ast.is_none() && name.is_none() && args.is_none();
        match (op, hash) {
            (OpName::Put, Some(hash)) => {
                let query = match (ast, name, args) {
                    (Some(ast), None, None) => QueryText::Ast(ast),
                    (None, Some(name), args) => QueryText::Named {
                        name,
                        args: args.unwrap_or_default(),
                    },
                    _ => return Err("a query is put with either `ast` or `name` and `args`"),
                };
                Ok(Self::Put(PutQuery { hash, ttl, query }))
            }
            (OpName::Del, Some(hash)) if bare => Ok(Self::Del { hash }),
            (OpName::Clear, None) if bare => Ok(Self::Clear),
            (_, None) => Err("missing field `hash`"),
            _ => Err("field not allowed in this query operation"),
        }
    }
}

impl Serialize for UpQueryOp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Put(PutQuery { hash, ttl, query }) => {
                map.serialize_entry("op", "put")?;
                map.serialize_entry("hash", hash)?;
                match query {
                    QueryText::Ast(ast) => map.serialize_entry("ast", ast)?,
                    QueryText::Named { name, args } => {
                        map.serialize_entry("name", name)?;
                        map.serialize_entry("args", args)?;
                    }
                }
                if let Some(ttl) = ttl {
                    map.serialize_entry("ttl", ttl)?;
                }
            }
            Self::Del { hash } => {
                map.serialize_entry("op", "del")?;
                map.serialize_entry("hash", hash)?;
            }
            Self::Clear => map.serialize_entry("op", "clear")?,
        }
        map.end()
    }
}

/// One change to the queries that a client is known to want, or that the group has got.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum DownQueryOp {
    /// The query is in the set.
    Put {
        /// The query.
        hash: String,
    },
    /// The query is no more in the set.
    Del {
        /// The query.
        hash: String,
    },
    /// Everything the client holds is void, not only this set. Servers do not send it.
    Clear,
}

#[derive(Default)]
struct DownQueryOpFields {
    op: Option<OpName>,
    hash: Option<String>,
}

json_object!(DownQueryOpFields {
    "op" some op,
    "hash" some hash,
});

json_names!(OpName {
    Put = "put",
    Del = "del",
    Clear = "clear",
});

impl<'de> FromJson<'de> for DownQueryOp {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        let DownQueryOpFields { op, hash } = DownQueryOpFields::from_json(reader)?;
        match (op, hash) {
            (Some(OpName::Put), Some(hash)) => Ok(Self::Put { hash }),
            (Some(OpName::Del), Some(hash)) => Ok(Self::Del { hash }),
            (Some(OpName::Clear), _) => Ok(Self::Clear),
            (Some(_), None) => Err(JsonError::missing("hash")),
            (None, _) => Err(JsonError::missing("op")),
        }
    }
}

read_through_json!(DownQueryOp);

#[cfg(test)]
mod tests {
    use super::*;

    fn check_up(text: &str, good: bool) {
        match serde_json::from_str::<UpQueryOp>(text) {
            Ok(op) => {
                assert!(good, "accepted {text}");
                assert_eq!(serde_json::to_string(&op).expect("writes"), text);
            }
            Err(error) => assert!(!good, "{text}: {error}"),
        }
    }

    #[test]
    fn upstream() {
        check_up(
            r#"{"op":"put","hash":"h","name":"issueByID","args":["1"],"ttl":300000}"#,
            true,
        );
        check_up(
            r#"{"op":"put","hash":"h","name":"all","args":[],"ttl":-1}"#,
            true,
        );
        check_up(r#"{"op":"put","hash":"h","ast":{"table":"issue"}}"#, true);
        check_up(r#"{"op":"del","hash":"h"}"#, true);
        check_up(r#"{"op":"clear"}"#, true);
        check_up(r#"{"op":"put","hash":"h"}"#, false);
        check_up(
            r#"{"op":"put","hash":"h","name":"n","args":[],"ast":{"table":"issue"}}"#,
            false,
        );
        check_up(r#"{"op":"put","hash":"h","args":[]}"#, false);
        check_up(r#"{"op":"put","name":"n","args":[]}"#, false);
        check_up(
            r#"{"op":"put","hash":"h","name":"n","args":[],"ttl":null}"#,
            false,
        );
        check_up(
            r#"{"op":"put","hash":"h","name":"n","args":[],"extra":1}"#,
            false,
        );
        check_up(
            r#"{"op":"put","hash":"h","ast":{"table":"issue","extra":1}}"#,
            false,
        );
        check_up(r#"{"op":"del","hash":"h","ttl":1}"#, false);
        check_up(r#"{"op":"clear","hash":"h"}"#, false);
        check_up(r#"{"op":"update","hash":"h"}"#, false);
    }

    #[test]
    fn downstream_ignores_other_keys() {
        for (text, op) in [
            (
                r#"{"op":"put","hash":"h","ttl":5}"#,
                DownQueryOp::Put { hash: "h".into() },
            ),
            (
                r#"{"x":[],"op":"del","hash":"h"}"#,
                DownQueryOp::Del { hash: "h".into() },
            ),
            (r#"{"op":"clear"}"#, DownQueryOp::Clear),
        ] {
            assert_eq!(serde_json::from_str::<DownQueryOp>(text).expect(text), op);
        }
        assert!(serde_json::from_str::<DownQueryOp>(r#"{"op":"put"}"#).is_err());
    }
}
