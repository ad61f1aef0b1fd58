//! `error`: the server refuses something. The kind decides what the client does about it, see [`crate::reaction`].
//!
//! Every error that is written carries an origin: clients take one without for an internal failure of their own.

use crate::json::Json;
use crate::mutation::MutationRef;
use crate::number::JsNumber;
use landfall_zql::json::{FromJson, JsonError, JsonReader};
use landfall_zql::sorted_map::SortedMap;
use landfall_zql::{json_names, json_object, read_through_json};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// What an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[allow(missing_docs)] // The names are the protocol's own; the table of reactions says what each means.
pub enum ErrorKind {
    AuthInvalidated,
    ClientNotFound,
    InvalidConnectionRequest,
    InvalidConnectionRequestBaseCookie,
    InvalidConnectionRequestLastMutationID,
    InvalidConnectionRequestClientDeleted,
    InvalidMessage,
    InvalidPush,
    MutationRateLimited,
    MutationFailed,
    Unauthorized,
    VersionNotSupported,
    SchemaVersionNotSupported,
    Internal,
    Rebalance,
    Rehome,
    ServerOverloaded,
    PushFailed,
    TransformFailed,
}

impl ErrorKind {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::AuthInvalidated,
        Self::ClientNotFound,
        Self::InvalidConnectionRequest,
        Self::InvalidConnectionRequestBaseCookie,
        Self::InvalidConnectionRequestLastMutationID,
        Self::InvalidConnectionRequestClientDeleted,
        Self::InvalidMessage,
        Self::InvalidPush,
        Self::MutationRateLimited,
        Self::MutationFailed,
        Self::Unauthorized,
        Self::VersionNotSupported,
        Self::SchemaVersionNotSupported,
        Self::Internal,
        Self::Rebalance,
        Self::Rehome,
        Self::ServerOverloaded,
        Self::PushFailed,
        Self::TransformFailed,
    ];

    /// Whether errors of this kind may tell the client when to come back.
    pub fn is_backoff(self) -> bool {
        matches!(
            self,
            Self::Rebalance | Self::Rehome | Self::ServerOverloaded
        )
    }
}

/// Where an error arose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Origin {
    /// In the application's own server.
    #[serde(rename = "server")]
    Server,
    /// In the sync server.
    #[serde(rename = "zeroCache")]
    ZeroCache,
}

/// Why a call of an application endpoint failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// The endpoint's database.
    Database,
    /// One side does not understand the other.
    Parse,
    /// A mutation's number was not the next one.
    #[serde(rename = "oooMutation")]
    OutOfOrderMutation,
    /// The endpoint does not know this push version.
    UnsupportedPushVersion,
    /// Anything else.
    Internal,
    /// The endpoint answered with an error status.
    Http,
    /// The endpoint did not answer in time.
    Timeout,
}

/// The body of an `error` message.
#[derive(Clone, Debug, PartialEq)]
pub enum ErrorBody {
    /// An error that says no more than its kind.
    Basic(BasicError),
    /// The client shall come back.
    Backoff(BackoffError),
    /// Mutations could not be handed to the application.
    PushFailed(PushFailed),
    /// Queries could not be had from the application.
    TransformFailed(TransformFailed),
}

/// An error that says no more than its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicError {
    /// One that is neither for back-off nor about an endpoint.
    pub kind: ErrorKind,
    /// For people; holds no secrets.
    pub message: String,
    /// Absent only in messages of other servers.
    pub origin: Option<Origin>,
}

/// The client shall come back.
#[derive(Clone, Debug, PartialEq)]
pub struct BackoffError {
    /// One for which [`ErrorKind::is_backoff`] holds.
    pub kind: ErrorKind,
    /// For people; holds no secrets.
    pub message: String,
    /// Not before this many milliseconds.
    pub min_backoff_ms: Option<JsNumber>,
    /// Not later than after this many milliseconds.
    pub max_backoff_ms: Option<JsNumber>,
    /// To be added to the URL until an attempt succeeds.
    pub reconnect_params: Option<SortedMap<String, String>>,
    /// Absent only in messages of other servers.
    pub origin: Option<Origin>,
}

/// Why a call of an application endpoint failed, in detail.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointFailure {
    /// For people; holds no secrets.
    pub message: String,
    /// Who found the failure.
    pub origin: Origin,
    /// Why.
    pub reason: Reason,
    /// With [`Reason::Http`] always, else never.
    pub status: Option<u16>,
    /// The beginning of the answer's body, with [`Reason::Http`].
    pub body_preview: Option<String>,
    /// More about it, for programs.
    pub details: Option<Json>,
}

impl EndpointFailure {
    /// A failure that the sync server found itself.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            origin: Origin::ZeroCache,
            reason,
            status: None,
            body_preview: None,
            details: None,
        }
    }

    /// The endpoint answered with an error status.
    pub fn http(status: u16, message: impl Into<String>, body_preview: Option<String>) -> Self {
        Self {
            status: Some(status),
            body_preview,
            ..Self::new(Reason::Http, message)
        }
    }

    /// Whether the endpoint says that the user is not, or no longer, who they claim to be.
    pub fn is_auth(&self) -> bool {
        self.reason == Reason::Http && matches!(self.status, Some(401 | 403))
    }
}

/// Mutations could not be handed to the application.
#[derive(Clone, Debug, PartialEq)]
pub struct PushFailed {
    /// Which.
    pub mutation_ids: Vec<MutationRef>,
    /// Why.
    pub failure: EndpointFailure,
}

/// Queries could not be had from the application.
#[derive(Clone, Debug, PartialEq)]
pub struct TransformFailed {
    /// Which, by hash.
    pub query_ids: Vec<String>,
    /// Why.
    pub failure: EndpointFailure,
}

impl ErrorBody {
    /// An error found by the sync server: for back-off without limits, else basic.
    ///
    /// `PushFailed` and `TransformFailed` need more than a message; asked for them, this makes `Internal`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let (message, origin) = (message.into(), Some(Origin::ZeroCache));
        match kind {
            ErrorKind::PushFailed | ErrorKind::TransformFailed => Self::Basic(BasicError {
                kind: ErrorKind::Internal,
                message,
                origin,
            }),
            kind if kind.is_backoff() => Self::Backoff(BackoffError {
                kind,
                message,
                min_backoff_ms: None,
                max_backoff_ms: None,
                reconnect_params: None,
                origin,
            }),
            kind => Self::Basic(BasicError {
                kind,
                message,
                origin,
            }),
        }
    }

    /// The client shall reconnect at once, for instance to another server.
    pub fn rehome(message: impl Into<String>) -> Self {
        Self::Backoff(BackoffError {
            kind: ErrorKind::Rehome,
            message: message.into(),
            min_backoff_ms: None,
            max_backoff_ms: Some(JsNumber::from(0)),
            reconnect_params: None,
            origin: Some(Origin::ZeroCache),
        })
    }

    /// The same, after a pause: many clients that are told at once come back apart from each other.
    pub fn rehome_after(message: impl Into<String>, pause_ms: u64) -> Self {
        let pause = JsNumber::new(pause_ms as f64);
        Self::Backoff(BackoffError {
            kind: ErrorKind::Rehome,
            message: message.into(),
            min_backoff_ms: pause,
            max_backoff_ms: pause,
            reconnect_params: None,
            origin: Some(Origin::ZeroCache),
        })
    }

    /// What it is about.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Basic(error) => error.kind,
            Self::Backoff(error) => error.kind,
            Self::PushFailed(_) => ErrorKind::PushFailed,
            Self::TransformFailed(_) => ErrorKind::TransformFailed,
        }
    }

    /// What it says to people.
    pub fn message(&self) -> &str {
        match self {
            Self::Basic(error) => &error.message,
            Self::Backoff(error) => &error.message,
            Self::PushFailed(error) => &error.failure.message,
            Self::TransformFailed(error) => &error.failure.message,
        }
    }

    /// Where it arose; `None` only in messages of other servers.
    pub fn origin(&self) -> Option<Origin> {
        match self {
            Self::Basic(error) => error.origin,
            Self::Backoff(error) => error.origin,
            Self::PushFailed(error) => Some(error.failure.origin),
            Self::TransformFailed(error) => Some(error.failure.origin),
        }
    }
}

json_names!(ErrorKind {
    AuthInvalidated = "AuthInvalidated",
    ClientNotFound = "ClientNotFound",
    InvalidConnectionRequest = "InvalidConnectionRequest",
    InvalidConnectionRequestBaseCookie = "InvalidConnectionRequestBaseCookie",
    InvalidConnectionRequestLastMutationID = "InvalidConnectionRequestLastMutationID",
    InvalidConnectionRequestClientDeleted = "InvalidConnectionRequestClientDeleted",
    InvalidMessage = "InvalidMessage",
    InvalidPush = "InvalidPush",
    MutationRateLimited = "MutationRateLimited",
    MutationFailed = "MutationFailed",
    Unauthorized = "Unauthorized",
    VersionNotSupported = "VersionNotSupported",
    SchemaVersionNotSupported = "SchemaVersionNotSupported",
    Internal = "Internal",
    Rebalance = "Rebalance",
    Rehome = "Rehome",
    ServerOverloaded = "ServerOverloaded",
    PushFailed = "PushFailed",
    TransformFailed = "TransformFailed",
});

json_names!(Origin {
    Server = "server",
    ZeroCache = "zeroCache",
});

json_names!(Reason {
    Database = "database",
    Parse = "parse",
    OutOfOrderMutation = "oooMutation",
    UnsupportedPushVersion = "unsupportedPushVersion",
    Internal = "internal",
    Http = "http",
    Timeout = "timeout",
});

#[derive(Default)]
struct Fields {
    kind: Option<ErrorKind>,
    message: String,
    origin: Option<Origin>,
    min_backoff_ms: Option<JsNumber>,
    max_backoff_ms: Option<JsNumber>,
    reconnect_params: Option<SortedMap<String, String>>,
    mutation_ids: Option<Vec<MutationRef>>,
    query_ids: Option<Vec<String>>,
    reason: Option<Reason>,
    status: Option<u16>,
    body_preview: Option<String>,
    details: Option<Json>,
}

json_object!(Fields {
    "kind" some kind,
    "message" must message,
    "origin" some origin,
    "minBackoffMs" some min_backoff_ms,
    "maxBackoffMs" some max_backoff_ms,
    "reconnectParams" some reconnect_params,
    "mutationIDs" some mutation_ids,
    "queryIDs" some query_ids,
    "reason" some reason,
    "status" some status,
    "bodyPreview" some body_preview,
    "details" some details,
});

impl Fields {
    fn failure(self) -> Result<EndpointFailure, JsonError> {
        let reason = self.reason.ok_or_else(|| JsonError::missing("reason"))?;
        if reason == Reason::Http && self.status.is_none() {
            return Err(JsonError::missing("status"));
        }
        Ok(EndpointFailure {
            message: self.message,
            origin: self.origin.ok_or_else(|| JsonError::missing("origin"))?,
            reason,
            status: self.status,
            body_preview: self.body_preview,
            details: self.details,
        })
    }
}

impl<'de> FromJson<'de> for ErrorBody {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        let mut fields = Fields::from_json(reader)?;
        Ok(
            match fields.kind.ok_or_else(|| JsonError::missing("kind"))? {
                ErrorKind::PushFailed => {
                    let ids = fields.mutation_ids.take();
                    Self::PushFailed(PushFailed {
                        mutation_ids: ids.ok_or_else(|| JsonError::missing("mutationIDs"))?,
                        failure: fields.failure()?,
                    })
                }
                ErrorKind::TransformFailed => {
                    let ids = fields.query_ids.take();
                    Self::TransformFailed(TransformFailed {
                        query_ids: ids.ok_or_else(|| JsonError::missing("queryIDs"))?,
                        failure: fields.failure()?,
                    })
                }
                kind if kind.is_backoff() => Self::Backoff(BackoffError {
                    kind,
                    message: fields.message,
                    min_backoff_ms: fields.min_backoff_ms,
                    max_backoff_ms: fields.max_backoff_ms,
                    reconnect_params: fields.reconnect_params,
                    origin: fields.origin,
                }),
                kind => Self::Basic(BasicError {
                    kind,
                    message: fields.message,
                    origin: fields.origin,
                }),
            },
        )
    }
}

read_through_json!(ErrorBody);

impl Serialize for ErrorBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", &self.kind())?;
        map.serialize_entry("message", self.message())?;
        map.serialize_entry("origin", &self.origin().unwrap_or(Origin::ZeroCache))?;
        let failure = match self {
            Self::Basic(_) => None,
            Self::Backoff(error) => {
                if let Some(min) = error.min_backoff_ms {
                    map.serialize_entry("minBackoffMs", &min)?;
                }
                if let Some(max) = error.max_backoff_ms {
                    map.serialize_entry("maxBackoffMs", &max)?;
                }
                if let Some(params) = &error.reconnect_params {
                    map.serialize_entry("reconnectParams", params)?;
                }
                None
            }
            Self::PushFailed(error) => {
                map.serialize_entry("mutationIDs", &error.mutation_ids)?;
                Some(&error.failure)
            }
            Self::TransformFailed(error) => {
                map.serialize_entry("queryIDs", &error.query_ids)?;
                Some(&error.failure)
            }
        };
        if let Some(failure) = failure {
            map.serialize_entry("reason", &failure.reason)?;
            if let Some(status) = failure.status {
                map.serialize_entry("status", &status)?;
            }
            if let Some(preview) = &failure.body_preview {
                map.serialize_entry("bodyPreview", preview)?;
            }
            if let Some(details) = &failure.details {
                map.serialize_entry("details", details)?;
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) {
        let body: ErrorBody = serde_json::from_str(text).expect(text);
        assert_eq!(serde_json::to_string(&body).expect("writes"), text);
    }

    #[test]
    fn round_trips() {
        check(r#"{"kind":"Unauthorized","message":"no","origin":"zeroCache"}"#);
        check(
            r#"{"kind":"InvalidConnectionRequestLastMutationID","message":"","origin":"server"}"#,
        );
        check(
            r#"{"kind":"Rehome","message":"m","origin":"zeroCache","minBackoffMs":1,"maxBackoffMs":0,"reconnectParams":{"a":"b"}}"#,
        );
        check(
            r#"{"kind":"PushFailed","message":"m","origin":"server","mutationIDs":[{"clientID":"c","id":3}],"reason":"oooMutation","details":{"a":null}}"#,
        );
        check(
            r#"{"kind":"PushFailed","message":"m","origin":"zeroCache","mutationIDs":[],"reason":"http","status":500,"bodyPreview":"oops"}"#,
        );
        check(
            r#"{"kind":"TransformFailed","message":"m","origin":"zeroCache","queryIDs":["h"],"reason":"timeout"}"#,
        );
    }

    #[test]
    fn every_error_is_written_with_an_origin() {
        for kind in ErrorKind::ALL {
            let text = serde_json::to_string(&ErrorBody::new(kind, "m")).expect("writes");
            assert!(text.contains(r#""origin":"zeroCache""#), "{text}");
        }
        let foreign: ErrorBody =
            serde_json::from_str(r#"{"kind":"Internal","message":"m"}"#).expect("reads");
        assert_eq!(foreign.origin(), None);
        assert!(
            serde_json::to_string(&foreign)
                .expect("writes")
                .contains("origin")
        );
    }

    #[test]
    fn refuses_other_shapes() {
        for text in [
            r#"{"kind":"Other","message":"m","origin":"server"}"#,
            r#"{"kind":"Internal","origin":"server"}"#,
            r#"{"kind":"Internal","message":"m","origin":"client"}"#,
            r#"{"kind":"PushFailed","message":"m","origin":"server","reason":"parse"}"#,
            r#"{"kind":"PushFailed","message":"m","mutationIDs":[],"reason":"parse"}"#,
            r#"{"kind":"PushFailed","message":"m","origin":"zeroCache","mutationIDs":[],"reason":"http"}"#,
            r#"{"kind":"TransformFailed","message":"m","origin":"server","queryIDs":["h"]}"#,
        ] {
            assert!(serde_json::from_str::<ErrorBody>(text).is_err(), "{text}");
        }
    }
}
