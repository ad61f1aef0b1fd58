//! `[type, body]`: reads the type, then the body straight into the right message, without a copy in between.

use crate::error::ProtocolError;
use landfall_zql::json::read_with;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::marker::PhantomData;

/// A set of messages that are told apart by their type.
pub(crate) trait Messages<'de>: Sized {
    /// Reads the body of a message of this type; `Ok(None)` if there is no such type.
    fn body<A: SeqAccess<'de>>(kind: &str, seq: &mut A) -> Result<Option<Self>, A::Error>;
}

/// Reads a body of type `T`.
pub(crate) fn next<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(
    seq: &mut A,
) -> Result<T, A::Error> {
    seq.next_element()?
        .ok_or_else(|| A::Error::custom("a message is an array of its type and its body"))
}

/// Reads one message.
pub(crate) fn decode<'de, M: Messages<'de>>(text: &'de str) -> Result<M, ProtocolError> {
    let mut unknown = None;
    let seed = Message {
        unknown: &mut unknown,
        messages: PhantomData,
    };
    let message = read_with(text, |reader| seed.deserialize(reader));
    match (message, unknown) {
        (_, Some(kind)) => Err(ProtocolError::UnknownType(kind)),
        (Ok(message), None) => Ok(message),
        (Err(error), None) => Err(error.into()),
    }
}

/// Writes one message.
pub(crate) fn encode<T: Serialize + ?Sized>(kind: &str, body: &T) -> String {
    serde_json::to_string(&(kind, body))
        .expect("messages have string keys only and thus a JSON form")
}

struct Message<'u, M> {
    unknown: &'u mut Option<String>,
    messages: PhantomData<M>,
}

impl<'de, M: Messages<'de>> DeserializeSeed<'de> for Message<'_, M> {
    type Value = M;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<M, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, M: Messages<'de>> Visitor<'de> for Message<'_, M> {
    type Value = M;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of a message type and a body")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<M, A::Error> {
        let kind: String = next(&mut seq)?;
        let Some(message) = M::body(&kind, &mut seq)? else {
            // The text comes from outside and may go to a log: a type is short, and so is what is kept of it.
            *self.unknown = Some(kind.chars().take(40).collect());
            return Err(A::Error::custom("unknown message type"));
        };
        match seq.next_element::<IgnoredAny>()? {
            None => Ok(message),
            Some(_) => Err(A::Error::custom("a message has two elements")),
        }
    }
}
