//! What can be wrong with bytes that came from the other side, and with what we were asked to send.
//!
//! Not to be mixed up with [`crate::ErrorBody`], which is the error *message* of the protocol.

use landfall_zql::Quoted;
use landfall_zql::json::JsonError;
use thiserror::Error;

/// A message that does not follow the protocol.
///
/// The texts name the place and the expectation; they may quote names of fields and never values of them,
/// so that they can be logged and sent back.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// Not JSON, or JSON of another shape than the message has.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// The first element of the array names no message of this direction.
    #[error("unknown message type {}", Quoted(.0))]
    UnknownType(String),
    /// Nested more deeply than any honest message.
    #[error("message nested more than {limit} levels deep")]
    TooDeep {
        /// The bound that was met.
        limit: usize,
    },
    /// A binary frame that is no poke chunk.
    #[error("binary frame of unknown kind {0:#04x}")]
    UnknownFrame(u8),
    /// Binary frames whose bytes are not UTF-8 when put together.
    #[error("binary poke chunk is not UTF-8")]
    NotUtf8,
}

impl From<JsonError> for ProtocolError {
    fn from(error: JsonError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// A cookie or version text that is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CookieError {
    /// Not of the form of a version.
    #[error("malformed version {}", Quoted(.0))]
    Malformed(String),
    /// A step of a back-fill, which clients would order wrongly.
    #[error("version {} is a back-fill step and must not be sent", Quoted(.0))]
    Minor(String),
}

/// A connection attempt that fails before it becomes a session; the socket is closed with code 1002 and this text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The path is not `…/sync/v<version>/…`.
    #[error("invalid URL path")]
    Path,
    /// A required parameter is missing or empty.
    #[error("missing parameter {}", Quoted(.0))]
    Missing(&'static str),
    /// A parameter that should be a number is none.
    #[error("parameter {} is not a number", Quoted(.0))]
    NotANumber(&'static str),
    /// A percent escape that is broken or does not give UTF-8.
    #[error("broken escape in parameter {}", Quoted(.0))]
    Escape(String),
    /// `Sec-WebSocket-Protocol` is missing, is a list, or does not decode.
    #[error("invalid Sec-WebSocket-Protocol: {0}")]
    Protocol(String),
}

/// A server address from the application that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CacheUrlError {
    /// Neither http nor https.
    #[error("the server address must begin with http:// or https://")]
    Scheme,
    /// No host.
    #[error("the server address has no host")]
    Host,
    /// More than one path component.
    #[error("the path of the server address may have one component at most")]
    Path,
    /// A query or a fragment.
    #[error("the server address must have neither query nor fragment")]
    QueryOrFragment,
}
