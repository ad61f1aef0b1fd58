//! What a client does about an error of the server or a close of the socket, as data.

use crate::close;
use crate::error_body::{BackoffError, ErrorBody, ErrorKind};

/// What the client does.
#[derive(Clone, Debug, PartialEq)]
pub struct Reaction {
    /// What becomes of the connection.
    pub connection: ConnectionReaction,
    /// What else is to be done.
    pub action: Action,
}

/// What becomes of the connection.
#[derive(Clone, Debug, PartialEq)]
pub enum ConnectionReaction {
    /// The state is `needs-auth` until the application gives a token.
    NeedsAuth(AuthRefusal),
    /// Reconnect after the usual pause, within the bounds that the server gave.
    Retry(Backoff),
    /// The state is `error` until the application connects again.
    Error,
    /// The socket stays open, and the state as it is.
    Keep,
}

/// Who refused the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthRefusal {
    /// The application's mutate endpoint.
    Mutate {
        /// 401 or 403.
        status: u16,
        /// The beginning of its answer.
        body: Option<String>,
    },
    /// The application's query endpoint.
    Query {
        /// 401 or 403.
        status: u16,
        /// The beginning of its answer.
        body: Option<String>,
    },
    /// The sync server.
    SyncServer {
        /// Its words.
        reason: String,
    },
}

/// Bounds for the pause before the next attempt.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Backoff {
    /// Not before, in milliseconds.
    pub min_ms: Option<f64>,
    /// Not later than, in milliseconds; wins over the lower bound.
    pub max_ms: Option<f64>,
    /// To be added to the URL until an attempt succeeds.
    pub reconnect_params: Vec<(String, String)>,
}

impl Backoff {
    /// The usual pause, brought within the bounds.
    pub fn clamp(&self, usual_ms: f64) -> f64 {
        let raised = usual_ms.max(self.min_ms.unwrap_or(usual_ms));
        raised.min(self.max_ms.unwrap_or(raised)).max(0.0)
    }
}

/// What else is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    None,
    /// The application needs newer code; the group is as good as before.
    UpdateForVersion,
    /// The application needs newer code, and the group must not be used again.
    UpdateForSchema,
    /// The server does not know this group: it must not be used again.
    AbandonGroup,
    /// The stored state is not one the server ever made: it must be dropped.
    DropStore,
    /// The mutations sent on this connection were not taken: send them again with the next push.
    ResendMutations,
}

/// The reaction to an `error` message.
pub fn reaction(error: &ErrorBody) -> Reaction {
    let kind = error.kind();
    let action = action(kind);
    // Without an origin nobody knows who is speaking: a failure, whatever the kind says.
    // Only a rate limit is harmless enough to be believed.
    let connection = match (error.origin(), kind) {
        (_, ErrorKind::MutationRateLimited) => ConnectionReaction::Keep,
        (None, _) => ConnectionReaction::Error,
        (Some(_), _) => connection_reaction(error),
    };
    Reaction { connection, action }
}

fn action(kind: ErrorKind) -> Action {
    match kind {
        ErrorKind::VersionNotSupported => Action::UpdateForVersion,
        ErrorKind::SchemaVersionNotSupported => Action::UpdateForSchema,
        ErrorKind::ClientNotFound => Action::AbandonGroup,
        ErrorKind::InvalidConnectionRequestBaseCookie
        | ErrorKind::InvalidConnectionRequestLastMutationID => Action::DropStore,
        ErrorKind::MutationRateLimited => Action::ResendMutations,
        ErrorKind::AuthInvalidated
        | ErrorKind::Unauthorized
        | ErrorKind::InvalidConnectionRequest
        | ErrorKind::InvalidConnectionRequestClientDeleted
        | ErrorKind::InvalidMessage
        | ErrorKind::InvalidPush
        | ErrorKind::MutationFailed
        | ErrorKind::Internal
        | ErrorKind::Rebalance
        | ErrorKind::Rehome
        | ErrorKind::ServerOverloaded
        | ErrorKind::PushFailed
        | ErrorKind::TransformFailed => Action::None,
    }
}

fn connection_reaction(error: &ErrorBody) -> ConnectionReaction {
    match error {
        ErrorBody::Basic(basic) => match basic.kind {
            ErrorKind::AuthInvalidated | ErrorKind::Unauthorized => {
                ConnectionReaction::NeedsAuth(AuthRefusal::SyncServer {
                    reason: basic.message.clone(),
                })
            }
            ErrorKind::MutationFailed => ConnectionReaction::Retry(Backoff::default()),
            ErrorKind::MutationRateLimited => ConnectionReaction::Keep,
            _ => ConnectionReaction::Error,
        },
        ErrorBody::Backoff(BackoffError {
            min_backoff_ms,
            max_backoff_ms,
            reconnect_params,
            ..
        }) => ConnectionReaction::Retry(Backoff {
            min_ms: min_backoff_ms.map(|ms| ms.get()),
            max_ms: max_backoff_ms.map(|ms| ms.get()),
            reconnect_params: reconnect_params
                .clone()
                .unwrap_or_default()
                .into_iter()
                .collect(),
        }),
        ErrorBody::PushFailed(push) => match (push.failure.is_auth(), push.failure.status) {
            (true, Some(status)) => ConnectionReaction::NeedsAuth(AuthRefusal::Mutate {
                status,
                body: push.failure.body_preview.clone(),
            }),
            _ => ConnectionReaction::Error,
        },
        ErrorBody::TransformFailed(transform) => {
            match (transform.failure.is_auth(), transform.failure.status) {
                (true, Some(status)) => ConnectionReaction::NeedsAuth(AuthRefusal::Query {
                    status,
                    body: transform.failure.body_preview.clone(),
                }),
                _ => ConnectionReaction::Error,
            }
        }
    }
}

/// The reaction to a close of the socket that no `error` message explained; `None` means: reconnect as after any loss.
pub fn close_reaction(code: u16) -> Option<Reaction> {
    (code == close::TOO_BIG).then_some(Reaction {
        connection: ConnectionReaction::Error,
        action: Action::AbandonGroup,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn react(text: &str) -> Reaction {
        reaction(&serde_json::from_str(text).expect(text))
    }

    fn retry() -> ConnectionReaction {
        ConnectionReaction::Retry(Backoff::default())
    }

    #[test]
    fn basic_kinds() {
        use ConnectionReaction::{Error, Keep};
        let refused =
            || ConnectionReaction::NeedsAuth(AuthRefusal::SyncServer { reason: "m".into() });
        for (kind, connection, action) in [
            (ErrorKind::AuthInvalidated, refused(), Action::None),
            (ErrorKind::Unauthorized, refused(), Action::None),
            (ErrorKind::Rebalance, retry(), Action::None),
            (ErrorKind::Rehome, retry(), Action::None),
            (ErrorKind::ServerOverloaded, retry(), Action::None),
            (
                ErrorKind::VersionNotSupported,
                Error,
                Action::UpdateForVersion,
            ),
            (
                ErrorKind::SchemaVersionNotSupported,
                Error,
                Action::UpdateForSchema,
            ),
            (ErrorKind::ClientNotFound, Error, Action::AbandonGroup),
            (
                ErrorKind::InvalidConnectionRequestBaseCookie,
                Error,
                Action::DropStore,
            ),
            (
                ErrorKind::InvalidConnectionRequestLastMutationID,
                Error,
                Action::DropStore,
            ),
            (
                ErrorKind::InvalidConnectionRequestClientDeleted,
                Error,
                Action::None,
            ),
            (ErrorKind::InvalidConnectionRequest, Error, Action::None),
            (ErrorKind::InvalidMessage, Error, Action::None),
            (ErrorKind::InvalidPush, Error, Action::None),
            (ErrorKind::Internal, Error, Action::None),
            (
                ErrorKind::MutationRateLimited,
                Keep,
                Action::ResendMutations,
            ),
            (ErrorKind::MutationFailed, retry(), Action::None),
        ] {
            assert_eq!(
                reaction(&ErrorBody::new(kind, "m")),
                Reaction { connection, action },
                "{kind:?}"
            );
        }
    }

    #[test]
    fn without_origin_only_the_connection_part_changes() {
        for (kind, connection, action) in [
            ("Rehome", ConnectionReaction::Error, Action::None),
            ("Unauthorized", ConnectionReaction::Error, Action::None),
            (
                "ClientNotFound",
                ConnectionReaction::Error,
                Action::AbandonGroup,
            ),
            (
                "MutationRateLimited",
                ConnectionReaction::Keep,
                Action::ResendMutations,
            ),
        ] {
            assert_eq!(
                react(&format!(r#"{{"kind":"{kind}","message":"m"}}"#)),
                Reaction { connection, action }
            );
        }
    }

    #[test]
    fn endpoints_that_refuse_the_token() {
        let push = |reason: &str, status: u16| {
            react(&format!(
                r#"{{"kind":"PushFailed","message":"m","origin":"zeroCache","mutationIDs":[],"reason":"{reason}","status":{status},"bodyPreview":"b"}}"#
            ))
            .connection
        };
        let needs_auth = |status| {
            ConnectionReaction::NeedsAuth(AuthRefusal::Mutate {
                status,
                body: Some("b".into()),
            })
        };
        assert_eq!(push("http", 401), needs_auth(401));
        assert_eq!(push("http", 403), needs_auth(403));
        assert_eq!(push("http", 500), ConnectionReaction::Error);
        assert_eq!(push("internal", 401), ConnectionReaction::Error);
        let query = react(
            r#"{"kind":"TransformFailed","message":"m","origin":"zeroCache","queryIDs":[],"reason":"http","status":401}"#,
        );
        assert_eq!(
            query.connection,
            ConnectionReaction::NeedsAuth(AuthRefusal::Query {
                status: 401,
                body: None
            })
        );
    }

    #[test]
    fn pauses_stay_within_bounds() {
        let clamp = |min_ms, max_ms| {
            Backoff {
                min_ms,
                max_ms,
                ..Backoff::default()
            }
            .clamp(5000.0)
        };
        assert_eq!(clamp(None, None), 5000.0);
        assert_eq!(clamp(Some(8000.0), None), 8000.0);
        assert_eq!(clamp(None, Some(0.0)), 0.0);
        assert_eq!(clamp(Some(9000.0), Some(7000.0)), 7000.0);
        assert_eq!(clamp(None, Some(-5.0)), 0.0);
    }

    #[test]
    fn closes() {
        assert_eq!(
            close_reaction(1009).map(|reaction| reaction.action),
            Some(Action::AbandonGroup)
        );
        assert_eq!(close_reaction(1006), None);
    }
}
