//! Clean-up of stored mutation results, sent to the mutate endpoint as a custom mutation with a reserved name.

use crate::error::ProtocolError;
use crate::json::{Json, present};
use crate::mutation::{CustomMutation, Mutation};
use crate::number::{JsNumber, safe_integer};
use crate::push::{PUSH_VERSION, Push};
use serde::{Deserialize, Serialize};

/// The reserved name. Such a mutation takes no id and gets no entry in the answer.
pub const CLEANUP_NAME: &str = "_zero_cleanupResults";

/// Which stored results may go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", try_from = "CleanupFields")]
pub enum Cleanup {
    /// Those of one client, up to an id, which it has acknowledged.
    #[serde(rename_all = "camelCase")]
    Single {
        /// The group.
        #[serde(rename = "clientGroupID")]
        client_group_id: String,
        /// The client.
        #[serde(rename = "clientID")]
        client_id: String,
        /// The last id whose result may go.
        #[serde(rename = "upToMutationID")]
        up_to: u64,
    },
    /// All of some clients, which are deleted.
    Bulk {
        /// The group.
        #[serde(rename = "clientGroupID")]
        client_group_id: String,
        /// The clients; at least one.
        #[serde(rename = "clientIDs")]
        client_ids: Vec<String>,
    },
}

#[derive(Deserialize)]
struct CleanupFields {
    #[serde(rename = "type", default, deserialize_with = "present")]
    kind: Option<String>,
    #[serde(rename = "clientGroupID")]
    client_group_id: String,
    #[serde(rename = "clientID", default, deserialize_with = "present")]
    client_id: Option<String>,
    #[serde(rename = "upToMutationID", default, deserialize_with = "present_id")]
    up_to: Option<u64>,
    #[serde(rename = "clientIDs", default, deserialize_with = "present")]
    client_ids: Option<Vec<String>>,
}

fn present_id<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    safe_integer(deserializer).map(Some)
}

impl TryFrom<CleanupFields> for Cleanup {
    type Error = &'static str;

    fn try_from(fields: CleanupFields) -> Result<Self, Self::Error> {
        let CleanupFields {
            kind,
            client_group_id,
            client_id,
            up_to,
            client_ids,
        } = fields;
        match (kind.as_deref(), client_id, up_to, client_ids) {
            (Some("single") | None, Some(client_id), Some(up_to), _) => Ok(Self::Single {
                client_group_id,
                client_id,
                up_to,
            }),
            (Some("bulk"), _, _, Some(client_ids)) if !client_ids.is_empty() => Ok(Self::Bulk {
                client_group_id,
                client_ids,
            }),
            _ => Err("not a clean-up of mutation results"),
        }
    }
}

impl Cleanup {
    /// The push that carries this clean-up; `client_id` names the client that it is sent on behalf of.
    pub fn to_push(
        &self,
        client_id: &str,
        timestamp: JsNumber,
        request_id: String,
    ) -> Result<Push, ProtocolError> {
        let (Self::Single {
            client_group_id, ..
        }
        | Self::Bulk {
            client_group_id, ..
        }) = self;
        Ok(Push {
            client_group_id: client_group_id.clone(),
            mutations: vec![Mutation::Custom(CustomMutation {
                id: 0,
                client_id: client_id.to_owned(),
                name: CLEANUP_NAME.to_owned(),
                args: vec![Json::of(self)?],
                timestamp,
            })],
            push_version: JsNumber::from(PUSH_VERSION),
            schema_version: None,
            timestamp,
            request_id,
            auth: None,
            traceparent: None,
        })
    }

    /// The clean-up in a mutation, if it is one.
    pub fn of(mutation: &CustomMutation) -> Option<Result<Self, ProtocolError>> {
        (mutation.name == CLEANUP_NAME).then(|| match mutation.args.as_slice() {
            [arg] => arg.read(),
            _ => Err(ProtocolError::Malformed(
                "a clean-up has one argument".to_owned(),
            )),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn travels_as_a_push() {
        for cleanup in [
            Cleanup::Single {
                client_group_id: "g".into(),
                client_id: "c".into(),
                up_to: 7,
            },
            Cleanup::Bulk {
                client_group_id: "g".into(),
                client_ids: vec!["c".into(), "d".into()],
            },
        ] {
            let push = cleanup
                .to_push("c", JsNumber::from(5), "cleanup-1".into())
                .expect("a push");
            let text = serde_json::to_string(&push).expect("writes");
            let read: Push = serde_json::from_str(&text).expect("reads");
            let [Mutation::Custom(mutation)] = read.mutations.as_slice() else {
                panic!("one custom mutation")
            };
            assert_eq!(
                Cleanup::of(mutation)
                    .expect("a clean-up")
                    .expect("well-formed"),
                cleanup
            );
        }
    }

    #[test]
    fn old_and_broken_forms() {
        let read = |text: &str| serde_json::from_str::<Cleanup>(text);
        assert!(matches!(
            read(r#"{"clientGroupID":"g","clientID":"c","upToMutationID":1}"#),
            Ok(Cleanup::Single { up_to: 1, .. })
        ));
        for text in [
            r#"{"type":"bulk","clientGroupID":"g","clientIDs":[]}"#,
            r#"{"type":"single","clientGroupID":"g","clientID":"c"}"#,
            r#"{"type":"all","clientGroupID":"g"}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
