//! One accepted socket: messages in, frames out, until either side ends it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Error as SocketError;
use axum::extract::ws::{Message, WebSocket};
use landfall_protocol::{Downstream, ErrorBody, ErrorKind, Upstream, close, decode_upstream};

use super::HttpContext;
use super::admission::Ticket;
use super::line::{Line, Written};
use super::pace::Pace;
use crate::session::{
    ConnectionAuth, ConnectionId, Frame, GroupEvent, GroupHandle, Outbound, Port as _,
};

/// How often the server looks whether a client must be told that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// Looks without anything sent in between after which a `pong` is sent unasked.
const SILENCE: u32 = 2;
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
    pub(super) id: ConnectionId,
    pub(super) user_id: Option<String>,
    pub(super) auth: ConnectionAuth,
    pub(super) group: GroupHandle,
    pub(super) out: Outbound,
    pub(super) line: Arc<Line>,
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
                    .send(GroupEvent::Message(self.id, Box::new(message)))
                    .await
            }
        }
    }

    async fn update_auth(&mut self, token: &str) -> bool {
        let user = self.user_id.as_deref();
        match self.context.tokens.replace(user, &self.auth, token).await {
            Ok(None) => true,
            Ok(Some(auth)) => {
                self.auth = auth.clone();
                self.group
                    .send(GroupEvent::Reauthenticated(self.id, Box::new(auth)))
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
                tracing::info!(connection = self.id, %error, "message refused");
                self.fail(ErrorBody::new(ErrorKind::InvalidMessage, error.to_string()));
                false
            }
        }
    }
}

/// Runs the connection to its end, and tells the group.
pub(super) async fn run(mut session: Session, mut socket: WebSocket) {
    let (id, group, line) = (session.id, session.group.clone(), session.line.clone());
    let mut stopping = session.context.stopping.clone();
    let mut writing = pin!(write(id, &line, &group));
    let is_written = tokio::select! {
        () = &mut writing => true,
        () = read(&mut session, &mut socket) => false,
        () = beat(&line) => false,
        _ = stopping.wait_for(|stop| *stop) => {
            session.fail(ErrorBody::rehome_after("the server stops", spread_ms(&session.context)));
            false
        }
    };
    group.send(GroupEvent::Disconnected(id)).await;
    drop(session);
    if !is_written {
        line.finish();
        // What is not taken by then is given up.
        let _ = tokio::time::timeout(FAREWELL, writing).await;
    }
}

/// Writes what the kernel does not take at once, to the end of the connection.
async fn write(id: u64, line: &Line, group: &GroupHandle) {
    while line.write(id).await == Written::Drained {
        if !group.send(GroupEvent::Drained(id)).await {
            return;
        }
    }
}

/// Tells a client that hears nothing that the server is alive.
async fn beat(line: &Line) {
    let mut beats = tokio::time::interval(HEARTBEAT);
    let mut quiet = 0;
    loop {
        beats.tick().await;
        quiet = if line.spoke() { 0 } else { quiet + 1 };
        if quiet >= SILENCE {
            line.send(vec![Frame::Text(Downstream::Pong.encode().into())]);
        }
    }
}

/// When a connection is to come back, so that whoever takes over is not asked by all at once.
fn spread_ms(context: &HttpContext) -> u64 {
    let groups = context.registry.len() as u64;
    let spread = (groups / GROUPS_PER_MS).clamp(MIN_SPREAD_MS, MAX_SPREAD_MS);
    rand::random_range(0..=spread)
}

async fn read(session: &mut Session, socket: &mut WebSocket) {
    let mut pace = Pace::new(session.context.messages_per_second);
    while let Some(message) = socket.recv().await {
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
            Ok(Message::Close(_)) => {
                // The library answers when it is asked for more.
                let _ = tokio::time::timeout(HEARTBEAT, socket.recv()).await;
                false
            }
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
