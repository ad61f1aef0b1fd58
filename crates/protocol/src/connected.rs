//! `connected`: the handshake succeeded. Carries what our server tells clients that asked for it.

use crate::number::JsNumber;
use landfall_zql::json::{self, FromJson, JsonError, JsonReader};
use landfall_zql::{json_names, json_object, read_through_json};
use serde::Serialize;

/// The first message on every connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Connected {
    /// The connection's id, from the URL.
    pub wsid: String,
    /// The server's clock, in epoch milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<JsNumber>,
    /// Our server's extension; only for clients whose URL asks with `landfall=<version>`.
    /// A client reads a shape it does not know as absent, so that newer servers do not break it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub landfall: Option<ServerMode>,
}

/// How this server takes queries and mutations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ServerMode {
    /// How queries are to be sent.
    pub queries: QueryMode,
    /// How mutations are to be sent.
    pub mutations: MutationMode,
    /// Version of the extension that the server speaks: at most the one that the client asked for.
    pub version: u32,
}

/// How queries are to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum QueryMode {
    /// By name: an application endpoint turns names into queries.
    Named,
    /// As an AST: declared read permissions apply.
    Ast,
}

/// How mutations are to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MutationMode {
    /// By name: an application endpoint carries them out.
    Custom,
    /// As writes to rows: declared write permissions apply.
    Crud,
}

json_object!(Connected {
    "wsid" must wsid,
    "timestamp" some timestamp,
    "landfall" (known_mode) landfall,
});

read_through_json!(Connected);

json_names!(QueryMode {
    Named = "named",
    Ast = "ast",
});

json_names!(MutationMode {
    Custom = "custom",
    Crud = "crud",
});

#[derive(Default)]
struct ServerModeFields {
    queries: Option<QueryMode>,
    mutations: Option<MutationMode>,
    version: u32,
}

json_object!(ServerModeFields {
    "queries" some queries,
    "mutations" some mutations,
    "version" must version,
});

impl<'de> FromJson<'de> for ServerMode {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        let fields = ServerModeFields::from_json(reader)?;
        Ok(Self {
            queries: fields
                .queries
                .ok_or_else(|| JsonError::missing("queries"))?,
            mutations: fields
                .mutations
                .ok_or_else(|| JsonError::missing("mutations"))?,
            version: fields.version,
        })
    }
}

fn known_mode(reader: &mut JsonReader<'_>) -> Result<Option<ServerMode>, JsonError> {
    let text = reader.text_of_value()?;
    Ok(json::read(text).ok())
}
