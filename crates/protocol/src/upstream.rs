//! What clients send. Decoding is strict: unknown keys anywhere and null in place of absence are refused.

use crate::change_desired_queries::ChangeDesiredQueries;
use crate::delete_clients::DeleteClients;
use crate::error::ProtocolError;
use crate::init_connection::InitConnection;
use crate::inspect::Inspect;
use crate::json::{Json, Nothing, check_depth};
use crate::pull::Pull;
use crate::push::{AckMutationResponses, Push};
use crate::tagged::{self, Messages};
use crate::update_auth::UpdateAuth;
use landfall_zql::json::{JsonError, JsonReader};
use serde::Deserialize;

/// A message from client to server.
#[derive(Clone, Debug, PartialEq)]
pub enum Upstream {
    /// The first one: what the client is and wants.
    InitConnection(InitConnection),
    /// It wants something else.
    ChangeDesiredQueries(ChangeDesiredQueries),
    /// Other clients of its group are dead.
    DeleteClients(DeleteClients),
    /// Mutations.
    Push(Push),
    /// Results of mutations have arrived.
    AckMutationResponses(AckMutationResponses),
    /// Are you there?
    Ping,
    /// A new token.
    UpdateAuth(UpdateAuth),
    /// How far is the group?
    Pull(Pull),
    /// Deprecated; to be ignored.
    CloseConnection(Vec<Json>),
    /// A question of the inspector.
    Inspect(Inspect),
}

/// Reads a message from a client.
pub fn decode_upstream(text: &str) -> Result<Upstream, ProtocolError> {
    check_depth(text)?;
    tagged::decode(text)
}

impl<'de> Messages<'de> for Upstream {
    fn body(kind: &str, reader: &mut JsonReader<'de>) -> Result<Option<Self>, JsonError> {
        Ok(Some(match kind {
            "initConnection" => Self::InitConnection(Deserialize::deserialize(reader)?),
            "changeDesiredQueries" => Self::ChangeDesiredQueries(Deserialize::deserialize(reader)?),
            "deleteClients" => Self::DeleteClients(Deserialize::deserialize(reader)?),
            "push" => Self::Push(Deserialize::deserialize(reader)?),
            "ackMutationResponses" => Self::AckMutationResponses(Deserialize::deserialize(reader)?),
            "ping" => {
                let Nothing {} = Deserialize::deserialize(reader)?;
                Self::Ping
            }
            "updateAuth" => Self::UpdateAuth(Deserialize::deserialize(reader)?),
            "pull" => Self::Pull(Deserialize::deserialize(reader)?),
            "closeConnection" => Self::CloseConnection(Deserialize::deserialize(reader)?),
            "inspect" => Self::Inspect(Deserialize::deserialize(reader)?),
            _ => return Ok(None),
        }))
    }
}

impl Upstream {
    /// The message as text.
    pub fn encode(&self) -> String {
        match self {
            Self::InitConnection(body) => tagged::encode("initConnection", body),
            Self::ChangeDesiredQueries(body) => tagged::encode("changeDesiredQueries", body),
            Self::DeleteClients(body) => tagged::encode("deleteClients", body),
            Self::Push(body) => tagged::encode("push", body),
            Self::AckMutationResponses(body) => tagged::encode("ackMutationResponses", body),
            Self::Ping => tagged::encode("ping", &Nothing {}),
            Self::UpdateAuth(body) => tagged::encode("updateAuth", body),
            Self::Pull(body) => tagged::encode("pull", body),
            Self::CloseConnection(body) => tagged::encode("closeConnection", body),
            Self::Inspect(body) => tagged::encode("inspect", body),
        }
    }
}
