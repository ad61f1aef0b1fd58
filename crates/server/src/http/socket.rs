//! One accepted socket: messages in, frames out, until either side ends it.

use std::sync::Arc;
use std::time::Duration;

use axum::Error as SocketError;
use axum::extract::ws::{Message, WebSocket};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use landfall_protocol::{Downstream, ErrorBody, ErrorKind, Upstream, close, decode_upstream};

use super::HttpContext;
use super::admission::Ticket;
use super::pace::Pace;
use super::stall::Progress;
use crate::session::{ConnectionContext, Drain, Frame, GroupEvent, GroupHandle, Outbound};

/// How often the server looks whether a client must be told that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// Silence after which a `pong` is sent unasked.
const SILENCE: Duration = Duration::from_secs(6);
/// Bytes that are handed to a socket together.
const AT_ONCE: usize = 64 << 10;
/// A connection of which the kernel takes nothing for so long is given up. A kernel takes more when a good part of what
/// it has is gone: with a reader of 2 KB a second that was 15 seconds.
const STALL: Duration = Duration::from_secs(30);
/// How long a connection that ends has to take what waits for it.
const FAREWELL: Duration = Duration::from_secs(10);

/// Groups that may come back to another server within a millisecond.
const GROUPS_PER_MS: u64 = 2;
/// Within what time connections come back at least.
const MIN_SPREAD_MS: u64 = 500;
/// Within what time they come back at most.
const MAX_SPREAD_MS: u64 = 15_000;

/// A connection that its group has accepted.
pub(super) struct Session {
    pub(super) context: Arc<HttpContext>,
    pub(super) connection: ConnectionContext,
    pub(super) group: GroupHandle,
    pub(super) out: Outbound,
    pub(super) progress: Progress,
    /// Its place among the connections that are allowed.
    pub(super) _ticket: Ticket,
}

impl Session {
    /// Hands a message to the group. False when there is nobody to take it.
    pub(super) async fn message(&mut self, message: Upstream) -> bool {
        match message {
            Upstream::Ping => {
                self.out.text(Downstream::Pong.encode());
                true
            }
            Upstream::UpdateAuth(update) => self.update_auth(&update.auth).await,
            message => {
                self.group
                    .send(GroupEvent::Message(self.connection.id, Box::new(message)))
                    .await
            }
        }
    }

    async fn update_auth(&mut self, token: &str) -> bool {
        let user = self.connection.user_id.as_deref();
        match self
            .context
            .tokens
            .replace(user, &self.connection.auth, token)
            .await
        {
            Ok(None) => true,
            Ok(Some(auth)) => {
                self.connection.auth = auth.clone();
                self.group
                    .send(GroupEvent::Reauthenticated(
                        self.connection.id,
                        Box::new(auth),
                    ))
                    .await
            }
            Err(error) => {
                self.fail(error.into());
                false
            }
        }
    }

    fn fail(&self, body: ErrorBody) {
        self.out.text(Downstream::Error(body).encode());
        self.out.close(None);
    }

    /// Reads a message and hands it to the group. False when the connection is at its end.
    pub(super) async fn text(&mut self, text: &str) -> bool {
        match decode_upstream(text) {
            Ok(message) => self.message(message).await,
            Err(error) => {
                tracing::info!(connection = self.connection.id, %error, "message refused");
                self.fail(ErrorBody::new(ErrorKind::InvalidMessage, error.to_string()));
                false
            }
        }
    }
}

/// Runs the connection to its end, and tells the group.
pub(super) async fn run(mut session: Session, socket: WebSocket, drain: Drain) {
    let (sink, mut stream) = socket.split();
    let (id, group) = (session.connection.id, session.group.clone());
    let mut stopping = session.context.stopping.clone();
    let writer = Writer {
        id,
        sink,
        drain,
        group: session.group.clone(),
        progress: session.progress.clone(),
    };
    let mut writer = tokio::spawn(writer.run());
    let written = tokio::select! {
        () = read(&mut session, &mut stream) => false,
        _ = stopping.wait_for(|stop| *stop) => {
            session.fail(ErrorBody::rehome_after("the server stops", spread_ms(&session.context)));
            false
        }
        _ = &mut writer => true,
    };
    group.send(GroupEvent::Disconnected(id)).await;
    drop(session);
    if !written && tokio::time::timeout(FAREWELL, &mut writer).await.is_err() {
        writer.abort();
    }
}

/// When a connection is to come back, so that whoever takes over is not asked by all at once.
fn spread_ms(context: &HttpContext) -> u64 {
    let groups = context.registry.len() as u64;
    let spread = (groups / GROUPS_PER_MS).clamp(MIN_SPREAD_MS, MAX_SPREAD_MS);
    rand::random_range(0..=spread)
}

async fn read(session: &mut Session, stream: &mut SplitStream<WebSocket>) {
    let mut pace = Pace::new(session.context.messages_per_second);
    while let Some(message) = stream.next().await {
        pace.wait().await;
        let go_on = match message {
            Ok(Message::Text(text)) => session.text(&text).await,
            Ok(Message::Binary(_)) => {
                session.fail(ErrorBody::new(
                    ErrorKind::InvalidMessage,
                    "binary messages are not understood",
                ));
                false
            }
            Ok(Message::Ping(_) | Message::Pong(_)) => true,
            Ok(Message::Close(_)) => false,
            Err(error) => {
                if is_too_big(&error) {
                    let limit = session.context.max_payload_bytes;
                    let reason = format!("a message has more than {limit} bytes");
                    session.out.close(Some((close::TOO_BIG, reason)));
                }
                false
            }
        };
        if !go_on {
            return;
        }
    }
}

fn is_too_big(error: &SocketError) -> bool {
    let text = error.to_string();
    text.contains("too long") || text.contains("too big")
}

struct Writer {
    id: u64,
    sink: SplitSink<WebSocket, Message>,
    drain: Drain,
    group: GroupHandle,
    progress: Progress,
}

impl Writer {
    async fn run(mut self) {
        let mut beat = tokio::time::interval(HEARTBEAT);
        let mut last = tokio::time::Instant::now();
        loop {
            tokio::select! {
                frames = self.drain.next() => {
                    let Some(frames) = frames else { return };
                    let Some(length) = self.write_all(frames).await else { return };
                    last = tokio::time::Instant::now();
                    if self.drain.written(length) && !self.group.send(GroupEvent::Drained(self.id)).await {
                        return;
                    }
                }
                _ = beat.tick() => {
                    if last.elapsed() > SILENCE {
                        let pong = Message::Text(Downstream::Pong.encode().into());
                        if !(self.feed(pong).await && self.flush().await) {
                            return;
                        }
                        last = tokio::time::Instant::now();
                    }
                }
            }
        }
    }

    /// Writes frames, and what waits behind them, at once. Gives back their length; `None` if that was the end.
    async fn write_all(&mut self, mut frames: Vec<Frame>) -> Option<usize> {
        let mut length = 0;
        loop {
            for frame in frames {
                let closing = matches!(frame, Frame::Close(_));
                length += Drain::len_of(&frame);
                if !self.write_frame(frame).await {
                    return None;
                }
                if closing {
                    self.flush().await;
                    return None;
                }
            }
            match self.drain.try_next() {
                Some(more) if length < AT_ONCE => frames = more,
                Some(more) => {
                    // Those that were written need not wait for it to be counted.
                    self.drain.written(length);
                    (frames, length) = (more, 0);
                }
                None => break,
            }
        }
        self.flush().await.then_some(length)
    }

    async fn write_frame(&mut self, frame: Frame) -> bool {
        let messages = if frame.is_at_hand() {
            frame.messages()
        } else {
            let read = tokio::task::spawn_blocking(|| frame.messages()).await;
            read.unwrap_or_else(|error| Err(std::io::Error::other(error)))
        };
        match messages {
            Ok(messages) => {
                for message in messages {
                    if !self.feed(message).await {
                        return false;
                    }
                }
                true
            }
            Err(error) => {
                // The client comes back and gets a poke that can be read.
                tracing::error!(connection = self.id, %error, "a stored poke cannot be read");
                false
            }
        }
    }

    async fn feed(&mut self, message: Message) -> bool {
        moving(self.id, &self.progress, self.sink.feed(message)).await
    }

    async fn flush(&mut self) -> bool {
        moving(self.id, &self.progress, self.sink.flush()).await
    }
}

/// Waits for a write, however long it takes, as long as bytes move.
async fn moving(
    id: u64,
    progress: &Progress,
    writing: impl Future<Output = Result<(), SocketError>>,
) -> bool {
    let mut writing = std::pin::pin!(writing);
    let mut before = progress.bytes();
    loop {
        match tokio::time::timeout(STALL, &mut writing).await {
            Ok(result) => return result.is_ok(),
            Err(_) if progress.bytes() == before => {
                tracing::info!(connection = id, "connection given up: no byte moves");
                metrics::counter!("landfall_connections_stalled_total").increment(1);
                return false;
            }
            Err(_) => before = progress.bytes(),
        }
    }
}
