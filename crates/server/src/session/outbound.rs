//! What is sent to one socket, without the socket.
//!
//! A connection that does not drain is *congested*, and whoever sends decides what that means.

use std::sync::Arc;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes};
use bytes::Bytes;
use landfall_protocol::{CHUNK_BYTES, close};

use super::poke::body_of;
use crate::queries::{PokeBody, PokePart};

/// One thing to do to the socket.
#[derive(Clone, Debug)]
pub enum Frame {
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message.
    Binary(Bytes),
    /// A part of a shared poke, as it is or as a slice of a binary one.
    Part(Arc<PokeBody>, usize, Form),
    /// Close, without a code or with one.
    Close(Option<(u16, String)>),
}

/// How a stored part is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As the text message that it is.
    Text,
    /// As slices of a binary poke, after a separator if something came before it.
    Chunk(Option<u8>),
}

impl Frame {
    /// The messages of the frame. Reads a file, so not from where others must not wait.
    pub fn messages(self) -> std::io::Result<Vec<Message>> {
        Ok(match self {
            Frame::Text(text) => vec![Message::Text(text)],
            Frame::Binary(bytes) => vec![Message::Binary(bytes)],
            Frame::Part(body, part, Form::Text) => vec![Message::Text(body.read(part)?)],
            Frame::Part(body, part, Form::Chunk(separator)) => {
                let text = body.read(part)?;
                let bytes: Vec<u8> = separator
                    .into_iter()
                    .chain(body_of(&text).bytes())
                    .collect();
                let tagged = |slice: &[u8]| {
                    let mut chunk = Vec::with_capacity(slice.len() + 1);
                    chunk.push(0);
                    chunk.extend_from_slice(slice);
                    Message::Binary(chunk.into())
                };
                bytes.chunks(CHUNK_BYTES - 1).map(tagged).collect()
            }
            Frame::Close(None) => vec![Message::Close(None)],
            Frame::Close(Some((code, reason))) => {
                let reason = close::close_reason(&reason).to_owned().into();
                vec![Message::Close(Some(CloseFrame { code, reason }))]
            }
        })
    }

    /// Whether its messages are in memory.
    pub fn is_at_hand(&self) -> bool {
        match self {
            Frame::Part(body, part, _) => {
                !matches!(body.parts.get(*part), Some(PokePart::Stored { .. }))
            }
            _ => true,
        }
    }

    /// Bytes of its messages, about.
    pub fn size(&self) -> usize {
        match self {
            Frame::Part(body, part, _) => match body.parts.get(*part) {
                Some(PokePart::Stored { length, .. }) => *length,
                Some(PokePart::Text(text)) => text.len(),
                None => 0,
            },
            Frame::Text(text) => text.len(),
            Frame::Binary(bytes) => bytes.len(),
            Frame::Close(_) => 0,
        }
    }
}

/// A socket, as those see it who have something to send. Nothing here blocks.
pub trait Port: Send + Sync {
    /// Sends frames that belong together, behind those that wait. A socket that is gone takes them silently: its end
    /// is reported elsewhere.
    fn send(&self, frames: Vec<Frame>);
    /// Whether so much waits that nothing large should be added. Asks to be told when it has drained.
    fn congested(&self) -> bool;
}

/// The sending side of a connection. Clones send to the same socket.
#[derive(Clone)]
pub struct Outbound(Arc<dyn Port>);

impl Outbound {
    /// To a socket.
    pub fn new(port: Arc<dyn Port>) -> Self {
        Outbound(port)
    }

    /// Sends a frame.
    pub fn send(&self, frame: Frame) {
        self.send_all(vec![frame]);
    }

    /// Sends frames that belong together.
    pub fn send_all(&self, frames: Vec<Frame>) {
        self.0.send(frames);
    }

    /// Sends a text message.
    pub fn text(&self, text: impl Into<Utf8Bytes>) {
        self.send(Frame::Text(text.into()));
    }

    /// Closes after what is queued.
    pub fn close(&self, reason: Option<(u16, String)>) {
        self.send(Frame::Close(reason));
    }

    /// Whether so much waits that nothing large should be added. Asks to be told when it has drained.
    pub fn congested(&self) -> bool {
        self.0.congested()
    }
}
