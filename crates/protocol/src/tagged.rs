//! `[type, body]`: reads the type, then the body straight into the right message, without a copy in between.

use crate::error::ProtocolError;
use landfall_zql::json::{FromJson, JsonError, JsonReader, read_with, to_text};
use serde::Serialize;
use std::borrow::Cow;

/// The messages of one direction.
pub(crate) trait Messages<'de>: Sized {
    /// Reads the body of a message of this type; `None` if the type is unknown.
    fn body(kind: &str, reader: &mut JsonReader<'de>) -> Result<Option<Self>, JsonError>;
}

/// Reads a message. Only messages of unknown type give [`ProtocolError::UnknownType`].
pub(crate) fn decode<'de, M: Messages<'de>>(text: &'de str) -> Result<M, ProtocolError> {
    let (mut kind, mut message, mut unknown) = (Cow::default(), None, false);
    let whole = read_with(text, |reader| {
        reader.tuple(2, &mut |place, reader| {
            if place == 0 {
                kind = Cow::from_json(reader)?;
                return Ok(());
            }
            message = M::body(&kind, reader)?;
            unknown = message.is_none();
            match unknown {
                true => Err(JsonError::refused("unknown message type")),
                false => Ok(()),
            }
        })
    });
    match (whole, message) {
        // The text comes from outside and may go to a log: a type is short, and so is what is kept of it.
        _ if unknown => Err(ProtocolError::UnknownType(kind.chars().take(40).collect())),
        (Ok(()), Some(message)) => Ok(message),
        (Ok(()), None) => Err(JsonError::refused("a message has two elements").into()),
        (Err(error), _) => Err(error.into()),
    }
}

/// Writes one message.
pub(crate) fn encode<T: Serialize + ?Sized>(kind: &str, body: &T) -> String {
    to_text(&(kind, body))
}
