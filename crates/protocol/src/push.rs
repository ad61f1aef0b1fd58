//! `push`: mutations on their way to the server.
//!
//! There is no positive answer: a mutation is confirmed when a poke brings the client's last mutation id up to it.

use crate::json::{Json, present};
use crate::mutation::{Mutation, MutationId, MutationRef, MutationResult, OutcomeFields};
use crate::number::JsNumber;
use landfall_zql::json::{FromJson, JsonError, JsonReader};
use landfall_zql::{json_names, json_object, read_through_json};
use serde::{Deserialize, Serialize};

/// The one push version there is.
pub const PUSH_VERSION: u32 = 1;

/// Mutations of a group; the type of the first decides the path of all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Push {
    /// Must be the connection's.
    #[serde(rename = "clientGroupID")]
    pub client_group_id: String,
    /// In order. Each client's ids run without gaps.
    pub mutations: Vec<Mutation>,
    /// See [`PUSH_VERSION`].
    pub push_version: JsNumber,
    /// From old clients, with CRUD mutations.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub schema_version: Option<JsNumber>,
    /// When it was sent, by the client's clock, in epoch milliseconds.
    pub timestamp: JsNumber,
    /// For logs.
    #[serde(rename = "requestID")]
    pub request_id: String,
    /// From old clients; the token of the connection counts.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub auth: Option<String>,
    /// W3C trace context.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub traceparent: Option<String>,
}

/// `pushResponse`: decoded for completeness; current servers never send it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum PushResponse {
    /// An old form of failure.
    Failed(LegacyPushError),
    /// Results of single mutations.
    Mutations {
        /// The results.
        mutations: Vec<PushedMutation>,
    },
}

/// Both forms at once: unlike a union that is tried form by form, this lets JSON values pass through unread.
#[derive(Default)]
struct PushResponseFields {
    mutations: Option<Vec<PushedMutation>>,
    error: Option<LegacyPushErrorKind>,
    status: Option<u16>,
    details: Option<Json>,
    mutation_ids: Option<Vec<MutationRef>>,
}

json_object!(PushResponseFields {
    "mutations" some mutations,
    "error" some error,
    "status" some status,
    "details" some details,
    "mutationIDs" some mutation_ids,
});

impl<'de> FromJson<'de> for PushResponse {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        let PushResponseFields {
            mutations,
            error,
            status,
            details,
            mutation_ids,
        } = PushResponseFields::from_json(reader)?;
        match (error, mutations) {
            (Some(error), _) => Ok(Self::Failed(LegacyPushError {
                error,
                status,
                details,
                mutation_ids,
            })),
            (None, Some(mutations)) => Ok(Self::Mutations { mutations }),
            (None, None) => Err(JsonError::missing("mutations")),
        }
    }
}

read_through_json!(PushResponse);

/// A mutation and its result in a [`PushResponse`] and in an answer of the application's mutate endpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PushedMutation {
    /// Which.
    pub id: MutationRef,
    /// How it ended.
    pub result: MutationResult,
}

impl<'de> FromJson<'de> for PushedMutation {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        let mut fields = OutcomeFields::from_json(reader)?;
        Ok(Self {
            result: fields.result()?,
            id: fields.id,
        })
    }
}

read_through_json!(PushedMutation);

/// How old servers and old application endpoints report a push that failed as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LegacyPushError {
    /// The kind.
    pub error: LegacyPushErrorKind,
    /// With `http` only.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub status: Option<u16>,
    /// More about it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub details: Option<Json>,
    /// The mutations that were not carried out.
    #[serde(
        rename = "mutationIDs",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub mutation_ids: Option<Vec<MutationRef>>,
}

/// See [`LegacyPushError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LegacyPushErrorKind {
    /// The endpoint does not know this push version.
    UnsupportedPushVersion,
    /// The endpoint does not know this schema version.
    UnsupportedSchemaVersion,
    /// The endpoint answered with an error status.
    Http,
    /// The sync server failed to reach or understand the endpoint.
    ZeroPusher,
}

json_names!(LegacyPushErrorKind {
    UnsupportedPushVersion = "unsupportedPushVersion",
    UnsupportedSchemaVersion = "unsupportedSchemaVersion",
    Http = "http",
    ZeroPusher = "zeroPusher",
});

/// `ackMutationResponses`: results of a client up to an id have arrived and may be forgotten.
pub type AckMutationResponses = MutationId;
