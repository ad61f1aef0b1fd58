//! What waits to be written to one socket, with a bound on its bytes.
//!
//! Nothing here blocks: a connection that does not drain is *congested*, and whoever sends decides what that means.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes};
use bytes::Bytes;
use landfall_protocol::{CHUNK_BYTES, close};
use tokio::sync::mpsc;

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

    fn len(&self) -> usize {
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

/// The sending side of a connection. Clones send to the same socket.
#[derive(Clone)]
pub struct Outbound {
    queue: mpsc::UnboundedSender<Vec<Frame>>,
    gauge: Arc<Gauge>,
}

/// The receiving side, held by the task that writes the socket.
pub struct Drain {
    queue: mpsc::UnboundedReceiver<Vec<Frame>>,
    gauge: Arc<Gauge>,
}

#[derive(Default)]
struct Gauge {
    bytes: AtomicUsize,
    limit: usize,
    watched: AtomicBool,
}

/// Makes both sides; `limit` is the number of waiting bytes from which the connection counts as congested.
pub fn outbound(limit: usize) -> (Outbound, Drain) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let gauge = Arc::new(Gauge {
        limit,
        ..Gauge::default()
    });
    (
        Outbound {
            queue: sender,
            gauge: gauge.clone(),
        },
        Drain {
            queue: receiver,
            gauge,
        },
    )
}

impl Outbound {
    /// Queues a frame. A socket that is gone takes it silently: its end is reported elsewhere.
    pub fn send(&self, frame: Frame) {
        self.send_all(vec![frame]);
    }

    /// Queues frames that belong together.
    pub fn send_all(&self, frames: Vec<Frame>) {
        let length = frames.iter().map(Frame::len).sum();
        self.gauge.bytes.fetch_add(length, Ordering::AcqRel);
        let _ = self.queue.send(frames);
    }

    /// Queues a text message.
    pub fn text(&self, text: impl Into<Utf8Bytes>) {
        self.send(Frame::Text(text.into()));
    }

    /// Closes after what is queued.
    pub fn close(&self, reason: Option<(u16, String)>) {
        self.send(Frame::Close(reason));
    }

    /// Whether so much waits that nothing large should be added. Asks to be told when it has drained.
    pub fn congested(&self) -> bool {
        if self.gauge.bytes.load(Ordering::Acquire) <= self.gauge.limit {
            return false;
        }
        self.gauge.watched.store(true, Ordering::Release);
        // It may have drained between the two lines; then nobody would tell.
        self.gauge.bytes.load(Ordering::Acquire) > 0
            || !self.gauge.watched.swap(false, Ordering::AcqRel)
    }
}

impl Drain {
    /// The next frames; `None` when no sender is left.
    pub async fn next(&mut self) -> Option<Vec<Frame>> {
        self.queue.recv().await
    }

    /// The next frames, if there are any yet.
    pub fn try_next(&mut self) -> Option<Vec<Frame>> {
        self.queue.try_recv().ok()
    }

    /// Tells that frames of a length have been written. True if somebody waits for the queue to be empty and it now is.
    pub fn written(&self, length: usize) -> bool {
        let before = self.gauge.bytes.fetch_sub(length, Ordering::AcqRel);
        before == length && length > 0 && self.gauge.watched.swap(false, Ordering::AcqRel)
    }

    /// The length that `written` wants back.
    pub fn len_of(frame: &Frame) -> usize {
        frame.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_congested_connection_is_reported_when_it_drains() {
        let (out, mut drain) = outbound(4);
        out.text("1234");
        assert!(!out.congested(), "at the bound, not above");
        out.text("5");
        assert!(out.congested());
        let first = drain.next().await.expect("first");
        assert!(!drain.written(Drain::len_of(&first[0])));
        let second = drain.try_next().expect("second");
        assert!(drain.written(Drain::len_of(&second[0])));
        assert!(!out.congested() && drain.try_next().is_none());
    }
}
