//! Mutations as they travel, their ids and their results.

use crate::json::Json;
use crate::number::{JsNumber, counter, safe_integer};
use landfall_zql::json::{self, FromJson, JsonError, JsonReader};
use landfall_zql::{Quoted, json_names, json_object, read_through_json};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

/// The name under which CRUD mutations travel.
pub const CRUD_NAME: &str = "_zero_crud";

/// Names one mutation of one client. Ids of a client begin at 1 and have no gaps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MutationId {
    /// The number in the client's sequence.
    #[serde(deserialize_with = "safe_integer")]
    pub id: u64,
    /// The client that made it.
    #[serde(rename = "clientID")]
    pub client_id: String,
}

/// A write that a client made.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "MutationFields")]
pub enum Mutation {
    /// Carried out by a mutator of the application's server.
    Custom(CustomMutation),
    /// Carried out by the sync server itself, under write permissions.
    Crud(CrudMutation),
}

/// A call of a mutator.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomMutation {
    /// The number in the client's sequence.
    pub id: u64,
    /// The client that made it.
    pub client_id: String,
    /// The mutator: its path in the application's registry, joined with `.` (or, from old clients, `|`).
    pub name: String,
    /// The arguments; clients send exactly one, null if the call had none.
    pub args: Vec<Json>,
    /// When it was made, by the client's clock, in epoch milliseconds.
    pub timestamp: JsNumber,
}

/// A list of writes to single rows.
#[derive(Clone, Debug, PartialEq)]
pub struct CrudMutation {
    /// The number in the client's sequence.
    pub id: u64,
    /// The client that made it.
    pub client_id: String,
    /// The writes, in order, one transaction.
    pub ops: Vec<CrudOp>,
    /// When it was made, by the client's clock, in epoch milliseconds.
    pub timestamp: JsNumber,
}

/// A write to one row; all names are server names.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CrudOp {
    /// What is done.
    pub op: CrudKind,
    /// The table.
    pub table_name: String,
    /// Its key columns.
    pub primary_key: Vec<String>,
    /// An object: the row, for an update the key and the changed columns, for a delete the key.
    pub value: Json,
}

/// What a [`CrudOp`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CrudKind {
    /// Add the row unless its key is there.
    Insert,
    /// Add or replace.
    Upsert,
    /// Change columns of the row with this key, if it is there.
    Update,
    /// Remove the row with this key, if it is there.
    Delete,
}

#[derive(Default)]
struct CrudOpFields {
    op: Option<CrudKind>,
    table_name: String,
    primary_key: Vec<String>,
    value: Option<Json>,
}

json_object!(CrudOpFields closed {
    "op" some op,
    "tableName" must table_name,
    "primaryKey" must primary_key,
    "value" some value,
});

json_names!(CrudKind {
    Insert = "insert",
    Upsert = "upsert",
    Update = "update",
    Delete = "delete",
});

impl<'de> FromJson<'de> for CrudOp {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        let fields = CrudOpFields::from_json(reader)?;
        Ok(Self {
            op: fields.op.ok_or_else(|| JsonError::missing("op"))?,
            table_name: fields.table_name,
            primary_key: fields.primary_key,
            value: fields.value.ok_or_else(|| JsonError::missing("value"))?,
        })
    }
}

read_through_json!(CrudOp);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MutationFields {
    #[serde(rename = "type")]
    kind: MutationKind,
    #[serde(deserialize_with = "safe_integer")]
    id: u64,
    #[serde(rename = "clientID")]
    client_id: String,
    name: String,
    args: Vec<Json>,
    timestamp: JsNumber,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum MutationKind {
    Custom,
    Crud,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CrudArg {
    ops: Vec<CrudOp>,
}

impl TryFrom<MutationFields> for Mutation {
    type Error = String;

    fn try_from(fields: MutationFields) -> Result<Self, Self::Error> {
        let MutationFields {
            kind,
            id,
            client_id,
            name,
            args,
            timestamp,
        } = fields;
        match kind {
            MutationKind::Custom => Ok(Self::Custom(CustomMutation {
                id,
                client_id,
                name,
                args,
                timestamp,
            })),
            MutationKind::Crud => {
                if name != CRUD_NAME {
                    return Err(format!("a mutation of type `crud` is named `{CRUD_NAME}`"));
                }
                let [arg] = args.as_slice() else {
                    return Err("a mutation of type `crud` has one argument".to_owned());
                };
                let CrudArg { ops } = arg.read().map_err(|error| error.to_string())?;
                if let Some(op) = ops.iter().find(|op| !op.value.as_str().starts_with('{')) {
                    return Err(format!(
                        "the value of a write to {} is no object",
                        Quoted(&op.table_name)
                    ));
                }
                Ok(Self::Crud(CrudMutation {
                    id,
                    client_id,
                    ops,
                    timestamp,
                }))
            }
        }
    }
}

impl Mutation {
    /// The number in the client's sequence.
    pub fn id(&self) -> u64 {
        match self {
            Self::Custom(mutation) => mutation.id,
            Self::Crud(mutation) => mutation.id,
        }
    }

    /// The client that made it.
    pub fn client_id(&self) -> &str {
        match self {
            Self::Custom(mutation) => &mutation.client_id,
            Self::Crud(mutation) => &mutation.client_id,
        }
    }

    /// Client and number together.
    pub fn mutation_id(&self) -> MutationId {
        MutationId {
            id: self.id(),
            client_id: self.client_id().to_owned(),
        }
    }
}

impl Serialize for Mutation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Arg<'a> {
            ops: &'a [CrudOp],
        }
        let mut map = serializer.serialize_map(Some(6))?;
        map.serialize_entry(
            "type",
            if matches!(self, Self::Custom(_)) {
                "custom"
            } else {
                "crud"
            },
        )?;
        map.serialize_entry("id", &self.id())?;
        map.serialize_entry("clientID", self.client_id())?;
        match self {
            Self::Custom(CustomMutation {
                name,
                args,
                timestamp,
                ..
            }) => {
                map.serialize_entry("name", name)?;
                map.serialize_entry("args", args)?;
                map.serialize_entry("timestamp", timestamp)?;
            }
            Self::Crud(CrudMutation { ops, timestamp, .. }) => {
                map.serialize_entry("name", CRUD_NAME)?;
                map.serialize_entry("args", &[Arg { ops }])?;
                map.serialize_entry("timestamp", timestamp)?;
            }
        }
        map.end()
    }
}

/// What became of a mutation, from pokes and from the application's server.
#[derive(Clone, Debug, PartialEq)]
pub enum MutationResult {
    /// It was carried out.
    Ok {
        /// What the mutator returned, if anything.
        data: Option<Json>,
    },
    /// The mutator refused it.
    App {
        /// Why, for people.
        message: Option<String>,
        /// Why, for programs.
        details: Option<Json>,
    },
    /// Its number had been used before.
    AlreadyProcessed {
        /// More about it.
        details: Option<Json>,
    },
    /// Its number was not the next one.
    OutOfOrder {
        /// More about it.
        details: Option<Json>,
    },
}

#[derive(Default)]
struct ResultFields {
    error: Option<ResultError>,
    data: Option<Json>,
    message: Option<Json>,
    details: Option<Json>,
}

json_object!(ResultFields {
    "error" some error,
    "data" some data,
    "message" some message,
    "details" some details,
});

#[derive(Clone, Copy, Serialize)]
enum ResultError {
    #[serde(rename = "app")]
    App,
    #[serde(rename = "alreadyProcessed")]
    AlreadyProcessed,
    #[serde(rename = "oooMutation")]
    OutOfOrder,
}

json_names!(ResultError {
    App = "app",
    AlreadyProcessed = "alreadyProcessed",
    OutOfOrder = "oooMutation",
});

impl<'de> FromJson<'de> for MutationResult {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        let ResultFields {
            error,
            data,
            message,
            details,
        } = ResultFields::from_json(reader)?;
        Ok(match error {
            None => Self::Ok { data },
            Some(ResultError::App) => {
                let message = message
                    .map(|message| json::read(message.as_str()))
                    .transpose();
                Self::App {
                    message: message
                        .map_err(|_| JsonError::refused("the message of a result is no string"))?,
                    details,
                }
            }
            Some(ResultError::AlreadyProcessed) => Self::AlreadyProcessed { details },
            Some(ResultError::OutOfOrder) => Self::OutOfOrder { details },
        })
    }
}

read_through_json!(MutationResult);

impl Serialize for MutationResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let (error, details) = match self {
            Self::Ok { data } => {
                if let Some(data) = data {
                    map.serialize_entry("data", data)?;
                }
                return map.end();
            }
            Self::App { details, .. } => (ResultError::App, details),
            Self::AlreadyProcessed { details } => (ResultError::AlreadyProcessed, details),
            Self::OutOfOrder { details } => (ResultError::OutOfOrder, details),
        };
        map.serialize_entry("error", &error)?;
        if let Self::App {
            message: Some(message),
            ..
        } = self
        {
            map.serialize_entry("message", message)?;
        }
        if let Some(details) = details {
            map.serialize_entry("details", details)?;
        }
        map.end()
    }
}

/// A change to the stored results of mutations, in a poke.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum MutationOp {
    /// This mutation ended like this.
    Put {
        /// Which, and how.
        mutation: MutationOutcome,
    },
    /// The result was acknowledged and is gone.
    Del {
        /// Which.
        id: MutationRef,
    },
}

/// A mutation and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MutationOutcome {
    /// Which.
    pub id: MutationRef,
    /// How it ended.
    pub result: MutationResult,
}

/// A [`MutationId`] as downstream messages hold it: other members are ignored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct MutationRef {
    /// The client that made it.
    #[serde(rename = "clientID")]
    pub client_id: String,
    /// The number in the client's sequence.
    pub id: u64,
}

json_object!(MutationRef {
    "clientID" must client_id,
    "id" [counter] id,
});

/// Of a [`MutationOutcome`], and of a mutation in the answer to a push.
#[derive(Default)]
pub(crate) struct OutcomeFields {
    pub(crate) id: MutationRef,
    result: Option<MutationResult>,
}

json_object!(OutcomeFields {
    "id" must id,
    "result" some result,
});

impl OutcomeFields {
    pub(crate) fn result(&mut self) -> Result<MutationResult, JsonError> {
        let result = self.result.take();
        result.ok_or_else(|| JsonError::missing("result"))
    }
}

impl<'de> FromJson<'de> for MutationOutcome {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        let mut fields = OutcomeFields::from_json(reader)?;
        Ok(Self {
            result: fields.result()?,
            id: fields.id,
        })
    }
}

#[derive(Default)]
struct MutationOpFields {
    op: Option<MutationOpName>,
    mutation: Option<MutationOutcome>,
    id: Option<MutationRef>,
}

json_object!(MutationOpFields {
    "op" some op,
    "mutation" some mutation,
    "id" some id,
});

#[derive(Clone, Copy)]
enum MutationOpName {
    Put,
    Del,
}

json_names!(MutationOpName {
    Put = "put",
    Del = "del",
});

impl<'de> FromJson<'de> for MutationOp {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        let MutationOpFields { op, mutation, id } = MutationOpFields::from_json(reader)?;
        match op {
            Some(MutationOpName::Put) => mutation
                .map(|mutation| Self::Put { mutation })
                .ok_or_else(|| JsonError::missing("mutation")),
            Some(MutationOpName::Del) => id
                .map(|id| Self::Del { id })
                .ok_or_else(|| JsonError::missing("id")),
            None => Err(JsonError::missing("op")),
        }
    }
}

read_through_json!(MutationRef, MutationOp);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, good: bool) {
        match serde_json::from_str::<Mutation>(text) {
            Ok(mutation) => {
                assert!(good, "accepted {text}");
                assert_eq!(serde_json::to_string(&mutation).expect("writes"), text);
            }
            Err(error) => assert!(!good, "{text}: {error}"),
        }
    }

    #[test]
    fn mutations() {
        check(
            r#"{"type":"custom","id":1,"clientID":"c","name":"issue.rename","args":[{"id":"1"}],"timestamp":1700}"#,
            true,
        );
        check(
            r#"{"type":"custom","id":1,"clientID":"c","name":"n","args":[null],"timestamp":1.5}"#,
            true,
        );
        let crud = |name: &str, arg: &str| {
            format!(
                r#"{{"type":"crud","id":2,"clientID":"c","name":"{name}","args":[{arg}],"timestamp":3}}"#
            )
        };
        let op = r#"{"op":"upsert","tableName":"issue","primaryKey":["id"],"value":{"id":"1"}}"#;
        check(&crud("_zero_crud", &format!(r#"{{"ops":[{op}]}}"#)), true);
        check(&crud("_zero_crud", r#"{"ops":[]}"#), true);
        check(&crud("other", r#"{"ops":[]}"#), false);
        check(&crud("_zero_crud", r#"{"ops":[]},{"ops":[]}"#), false);
        check(&crud("_zero_crud", r#"{"ops":[],"more":1}"#), false);
        check(
            &crud(
                "_zero_crud",
                &format!(r#"{{"ops":[{}]}}"#, op.replace(r#"{"id":"1"}"#, "[]")),
            ),
            false,
        );
        check(
            &crud(
                "_zero_crud",
                &format!(r#"{{"ops":[{}]}}"#, op.replace("upsert", "set")),
            ),
            false,
        );
        check(
            r#"{"type":"custom","id":-1,"clientID":"c","name":"n","args":[],"timestamp":1}"#,
            false,
        );
        check(
            r#"{"type":"custom","id":1,"clientID":"c","name":"n","args":[],"timestamp":1,"x":1}"#,
            false,
        );
        check(
            r#"{"type":"custom","id":1,"clientID":"c","name":"n","args":{},"timestamp":1}"#,
            false,
        );
    }

    #[test]
    fn results() {
        for text in [
            "{}",
            r#"{"data":null}"#,
            r#"{"data":{"a":1}}"#,
            r#"{"error":"app"}"#,
            r#"{"error":"app","message":"no","details":[1]}"#,
            r#"{"error":"alreadyProcessed","details":"x"}"#,
            r#"{"error":"oooMutation"}"#,
        ] {
            let result: MutationResult = serde_json::from_str(text).expect(text);
            assert_eq!(serde_json::to_string(&result).expect("writes"), text);
        }
        for text in [
            r#"{"error":"other"}"#,
            r#"{"error":null}"#,
            r#"{"error":"app","message":1}"#,
            "[]",
        ] {
            assert!(json::from_str::<MutationResult>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn result_patches() {
        for text in [
            r#"{"op":"put","mutation":{"id":{"clientID":"c","id":1},"result":{"error":"app","message":"no"}}}"#,
            r#"{"op":"del","id":{"clientID":"c","id":1}}"#,
        ] {
            let op: MutationOp = serde_json::from_str(text).expect(text);
            assert_eq!(serde_json::to_string(&op).expect("writes"), text);
        }
        assert!(
            serde_json::from_str::<MutationOp>(r#"{"op":"put","id":{"clientID":"c","id":1}}"#)
                .is_err()
        );
    }
}
