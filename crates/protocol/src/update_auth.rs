//! `updateAuth`: a new token for this connection.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Checked like the token of the handshake; refused if it belongs to another user.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateAuth {
    /// The token.
    pub auth: String,
}

impl fmt::Debug for UpdateAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpdateAuth { auth: … }")
    }
}
