//! What waits to be written to one socket, with a bound on its bytes.
//!
//! Nothing here blocks: a connection that does not drain is *congested*, and whoever sends decides what that means.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::extract::ws::Utf8Bytes;
use bytes::Bytes;
use tokio::sync::mpsc;

/// One thing to do to the socket.
#[derive(Clone, Debug)]
pub enum Frame {
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message.
    Binary(Bytes),
    /// Close, without a code or with one.
    Close(Option<(u16, String)>),
}

impl Frame {
    fn len(&self) -> usize {
        match self {
            Frame::Text(text) => text.len(),
            Frame::Binary(bytes) => bytes.len(),
            Frame::Close(_) => 0,
        }
    }
}

/// The sending side of a connection. Clones send to the same socket.
#[derive(Clone)]
pub struct Outbound {
    queue: mpsc::UnboundedSender<Frame>,
    gauge: Arc<Gauge>,
}

/// The receiving side, held by the task that writes the socket.
pub struct Drain {
    queue: mpsc::UnboundedReceiver<Frame>,
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
        self.gauge.bytes.fetch_add(frame.len(), Ordering::AcqRel);
        let _ = self.queue.send(frame);
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
    /// The next frame; `None` when no sender is left.
    pub async fn next(&mut self) -> Option<Frame> {
        self.queue.recv().await
    }

    /// Tells that a frame has been written. True if somebody waits for the queue to be empty and it now is.
    pub fn written(&self, frame_len: usize) -> bool {
        let before = self.gauge.bytes.fetch_sub(frame_len, Ordering::AcqRel);
        before == frame_len && self.gauge.watched.swap(false, Ordering::AcqRel)
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
        assert!(!drain.written(Drain::len_of(&first)));
        let second = drain.next().await.expect("second");
        assert!(drain.written(Drain::len_of(&second)));
        assert!(!out.congested());
    }
}
