//! What servers send. Decoding ignores unknown keys and insists on the shape of the known ones.

use crate::connected::Connected;
use crate::delete_clients::DeletedClients;
use crate::error::ProtocolError;
use crate::error_body::ErrorBody;
use crate::inspect::InspectReply;
use crate::json::Anything;
use crate::poke::{PokeEnd, PokePart, PokeStart};
use crate::pull::PullResponse;
use crate::push::PushResponse;
use crate::tagged::{self, Messages};
use crate::transform_error::ErroredQuery;
use landfall_zql::json::{FromJson, JsonError, JsonReader};

/// A message from server to client.
#[derive(Clone, Debug)]
pub enum Downstream<'a> {
    /// The handshake succeeded.
    Connected(Connected),
    /// Something is refused.
    Error(ErrorBody),
    /// I am here.
    Pong,
    /// A poke begins.
    PokeStart(PokeStart),
    /// A piece of a poke.
    PokePart(PokePart<'a>),
    /// A poke is complete, or void.
    PokeEnd(PokeEnd),
    /// These clients are forgotten.
    DeleteClients(DeletedClients),
    /// These queries failed.
    TransformError(Vec<ErroredQuery>),
    /// An answer to the inspector.
    Inspect(InspectReply),
    /// How far the group is.
    Pull(PullResponse),
    /// Results of mutations, from servers of old.
    PushResponse(PushResponse),
}

/// Reads a message from a server.
///
/// Depth is bounded by the shapes: what may nest freely is passed on unread, and skipped without recursion.
pub fn decode_downstream(text: &str) -> Result<Downstream<'_>, ProtocolError> {
    tagged::decode(text)
}

impl<'de: 'a, 'a> Messages<'de> for Downstream<'a> {
    fn body(kind: &str, reader: &mut JsonReader<'de>) -> Result<Option<Self>, JsonError> {
        // Filled where it stands: a message that is moved into its variant is code for each variant.
        let mut message = match kind {
            "pokePart" => Self::PokePart(PokePart::default()),
            "pokeStart" => Self::PokeStart(PokeStart::default()),
            "pokeEnd" => Self::PokeEnd(PokeEnd::default()),
            "pong" => Self::Pong,
            "connected" => Self::Connected(Connected::default()),
            "error" => return ErrorBody::from_json(reader).map(|body| Some(Self::Error(body))),
            "deleteClients" => Self::DeleteClients(DeletedClients::default()),
            "transformError" => Self::TransformError(Vec::new()),
            "inspect" => {
                return InspectReply::from_json(reader).map(|body| Some(Self::Inspect(body)));
            }
            "pull" => Self::Pull(PullResponse::default()),
            "pushResponse" => {
                return PushResponse::from_json(reader).map(|body| Some(Self::PushResponse(body)));
            }
            _ => return Ok(None),
        };
        match &mut message {
            Self::PokePart(body) => body.fill(reader),
            Self::PokeStart(body) => body.fill(reader),
            Self::PokeEnd(body) => body.fill(reader),
            Self::Connected(body) => body.fill(reader),
            Self::DeleteClients(body) => body.fill(reader),
            Self::TransformError(body) => body.fill(reader),
            Self::Pull(body) => body.fill(reader),
            _ => Anything::from_json(reader).map(drop),
        }?;
        Ok(Some(message))
    }
}

impl Downstream<'_> {
    /// The message as text.
    pub fn encode(&self) -> String {
        match self {
            Self::Connected(body) => tagged::encode("connected", body),
            Self::Error(body) => tagged::encode("error", body),
            Self::Pong => tagged::encode("pong", &Anything {}),
            Self::PokeStart(body) => tagged::encode("pokeStart", body),
            Self::PokePart(body) => tagged::encode("pokePart", body),
            Self::PokeEnd(body) => tagged::encode("pokeEnd", body),
            Self::DeleteClients(body) => tagged::encode("deleteClients", body),
            Self::TransformError(body) => tagged::encode("transformError", body),
            Self::Inspect(body) => tagged::encode("inspect", body),
            Self::Pull(body) => tagged::encode("pull", body),
            Self::PushResponse(body) => tagged::encode("pushResponse", body),
        }
    }
}
