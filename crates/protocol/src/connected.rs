//! `connected`: the handshake succeeded. Carries what our server tells clients that asked for it.

use crate::json::present;
use crate::number::JsNumber;
use serde::{Deserialize, Serialize};

/// The first message on every connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connected {
    /// The connection's id, from the URL.
    pub wsid: String,
    /// The server's clock, in epoch milliseconds.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub timestamp: Option<JsNumber>,
    /// Our server's extension; only for clients whose URL asks with `landfall=<version>`.
    /// A client reads a shape it does not know as absent, so that newer servers do not break it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "known_mode"
    )]
    pub landfall: Option<ServerMode>,
}

/// How this server takes queries and mutations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerMode {
    /// How queries are to be sent.
    pub queries: QueryMode,
    /// How mutations are to be sent.
    pub mutations: MutationMode,
    /// Version of the extension that the server speaks: at most the one that the client asked for.
    pub version: u32,
}

/// How queries are to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueryMode {
    /// By name: an application endpoint turns names into queries.
    Named,
    /// As an AST: declared read permissions apply.
    Ast,
}

/// How mutations are to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MutationMode {
    /// By name: an application endpoint carries them out.
    Custom,
    /// As writes to rows: declared write permissions apply.
    Crud,
}

fn known_mode<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<ServerMode>, D::Error> {
    let raw = crate::json::Json::deserialize(deserializer)?;
    Ok(raw.read().ok())
}
