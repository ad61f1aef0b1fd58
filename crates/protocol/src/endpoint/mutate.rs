//! The mutate endpoint. The request is the [`Push`](crate::Push) itself, as JSON.

use crate::error::ProtocolError;
use crate::error_body::{EndpointFailure, ErrorBody, Origin, PushFailed, Reason};
use crate::json::{Json, nullable};
use crate::mutation::MutationRef;
use crate::push::{LegacyPushError, LegacyPushErrorKind, PushResponse, PushedMutation};
use landfall_zql::json;
use serde::{Deserialize, Serialize};

/// What the mutate endpoint answered.
#[derive(Clone, Debug, PartialEq)]
pub enum MutateResponse {
    /// The push was carried out; single mutations may have failed.
    Mutations {
        /// The user that the endpoint saw: `None` if it did not say, `Some(None)` if nobody is logged in.
        user_id: Option<Option<String>>,
        /// The results.
        mutations: Vec<PushedMutation>,
    },
    /// The push failed as a whole.
    Failed(PushFailed),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MutateResponseBody {
    #[serde(
        skip_serializing_if = "Option::is_none",
        default,
        rename = "userID",
        deserialize_with = "stated"
    )]
    user_id: Option<Option<String>>,
    mutations: Vec<PushedMutation>,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    kind: Option<String>,
}

pub(super) fn stated<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<String>>, D::Error> {
    nullable(deserializer).map(Some)
}

impl MutateResponse {
    /// Reads an answer with status 200, in its present or one of its old forms.
    pub fn decode(text: &str) -> Result<Self, ProtocolError> {
        let Kind { kind } = json::from_str(text)?;
        match kind.as_deref() {
            Some("MutateResponse") => {
                let MutateResponseBody { user_id, mutations } = json::from_str(text)?;
                Ok(Self::Mutations { user_id, mutations })
            }
            Some("PushFailed") => match json::from_str(text)? {
                ErrorBody::PushFailed(failed) => Ok(Self::Failed(failed)),
                _ => Err(ProtocolError::Malformed("not a PushFailed".to_owned())),
            },
            Some(_) => Err(ProtocolError::Malformed(
                "unknown kind of answer".to_owned(),
            )),
            None => match json::from_str(text)? {
                PushResponse::Mutations { mutations } => Ok(Self::Mutations {
                    user_id: None,
                    mutations,
                }),
                PushResponse::Failed(failed) => Ok(Self::Failed(from_legacy(failed))),
            },
        }
    }

    /// Writes an answer; for application servers in Rust and for tests.
    pub fn encode(&self) -> String {
        #[derive(Serialize)]
        #[serde(tag = "kind")]
        enum Body<'a> {
            MutateResponse {
                #[serde(rename = "userID", skip_serializing_if = "Option::is_none")]
                user_id: &'a Option<Option<String>>,
                mutations: &'a [PushedMutation],
            },
        }
        let text = match self {
            Self::Mutations { user_id, mutations } => {
                serde_json::to_string(&Body::MutateResponse { user_id, mutations })
            }
            Self::Failed(failed) => serde_json::to_string(&ErrorBody::PushFailed(failed.clone())),
        };
        text.expect("answers have string keys only and thus a JSON form")
    }
}

fn from_legacy(error: LegacyPushError) -> PushFailed {
    let LegacyPushError {
        error,
        status,
        details,
        mutation_ids,
    } = error;
    let (reason, message) = match error {
        LegacyPushErrorKind::UnsupportedPushVersion => {
            (Reason::UnsupportedPushVersion, "push version not supported")
        }
        LegacyPushErrorKind::UnsupportedSchemaVersion => {
            (Reason::Internal, "schema version not supported")
        }
        LegacyPushErrorKind::Http => (
            Reason::Http,
            "the mutate endpoint answered with an error status",
        ),
        LegacyPushErrorKind::ZeroPusher => (Reason::Internal, "the push could not be carried out"),
    };
    // `http` speaks of a status; without one the form is broken, and a client could not make sense of it.
    let reason = if reason == Reason::Http && status.is_none() {
        Reason::Internal
    } else {
        reason
    };
    let (origin, body_preview, details): (Origin, Option<String>, Option<Json>) = match reason {
        Reason::Http => (
            Origin::ZeroCache,
            details.and_then(|details| details.read().ok()),
            None,
        ),
        _ => (Origin::Server, None, details),
    };
    let status = status.filter(|_| reason == Reason::Http);
    PushFailed {
        mutation_ids: mutation_ids.unwrap_or_default(),
        failure: EndpointFailure {
            message: message.to_owned(),
            origin,
            reason,
            status,
            body_preview,
            details,
        },
    }
}

impl PushFailed {
    /// The same failure with the mutations of one client only, for that client's connection.
    pub fn for_client(&self, client_id: &str) -> Self {
        let ids = self
            .mutation_ids
            .iter()
            .filter(|id: &&MutationRef| id.client_id == client_id);
        Self {
            mutation_ids: ids.cloned().collect(),
            failure: self.failure.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> MutateResponse {
        MutateResponse::decode(text).expect(text)
    }

    #[test]
    fn present_forms_round_trip() {
        for text in [
            r#"{"kind":"MutateResponse","mutations":[{"id":{"clientID":"c","id":1},"result":{}}]}"#,
            r#"{"kind":"MutateResponse","userID":null,"mutations":[]}"#,
            r#"{"kind":"MutateResponse","userID":"u","mutations":[{"id":{"clientID":"c","id":1},"result":{"error":"app","message":"no"}}]}"#,
            r#"{"kind":"PushFailed","message":"m","origin":"server","mutationIDs":[{"clientID":"c","id":1}],"reason":"oooMutation"}"#,
        ] {
            assert_eq!(decode(text).encode(), text);
        }
    }

    #[test]
    fn old_forms() {
        assert!(matches!(
            decode(
                r#"{"mutations":[{"id":{"id":1,"clientID":"c"},"result":{"error":"oooMutation"}}]}"#
            ),
            MutateResponse::Mutations { user_id: None, .. }
        ));
        let failed = |text| match decode(text) {
            MutateResponse::Failed(failed) => failed,
            other => panic!("{other:?}"),
        };
        let http = failed(
            r#"{"error":"http","status":403,"details":"go away","mutationIDs":[{"id":1,"clientID":"c"},{"id":1,"clientID":"d"}]}"#,
        );
        assert!(http.failure.is_auth());
        assert_eq!(http.failure.body_preview.as_deref(), Some("go away"));
        assert_eq!(http.for_client("d").mutation_ids.len(), 1);
        let version = failed(r#"{"error":"unsupportedPushVersion"}"#);
        assert_eq!(version.failure.reason, Reason::UnsupportedPushVersion);
        assert_eq!(
            failed(r#"{"error":"http","details":"x"}"#).failure.reason,
            Reason::Internal
        );
    }

    #[test]
    fn refuses_other_answers() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"kind":"Other","mutations":[]}"#,
            r#"{"kind":"PushFailed"}"#,
            "<html>",
        ] {
            assert!(MutateResponse::decode(text).is_err(), "{text}");
        }
    }
}
