//! Who calls.

use serde_json::Value as Json;

use crate::session::ConnectionContext;

/// Who asks a query or makes a mutation, as far as the server has verified it.
#[derive(Debug, Clone, PartialEq)]
pub struct Caller {
    claims: Json,
}

impl Caller {
    /// The caller with these claims.
    pub fn new(claims: Json) -> Self {
        Caller { claims }
    }

    /// The caller at a connection.
    pub(crate) fn of(context: &ConnectionContext) -> Self {
        Caller::new(context.auth.claims.clone().unwrap_or_default())
    }

    /// The user, unless nobody is logged in.
    pub fn user(&self) -> Option<&str> {
        self.claims.get("sub").and_then(Json::as_str)
    }

    /// All claims of the token; null without one.
    pub fn claims(&self) -> &Json {
        &self.claims
    }
}
