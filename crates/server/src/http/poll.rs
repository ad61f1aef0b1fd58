//! A client that polls: the messages that it would send on a socket in, those that it would get out.
//!
//! `POST /sync/v<version>/pull?…` takes the parameters of a connection and a JSON array of messages, the last of which is
//! a `pull` with the client's cookie. The answer is the array of messages from there on, pokes and the answer to the
//! `pull` at its end; one that ends otherwise is to be asked again.
//! To its group such a request is a connection like any other, and a short one.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::ws::Message;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use landfall_protocol::{
    Downstream, ErrorBody, ErrorKind, Pull, Upstream, check_version, decode_upstream, parse_connect,
};
use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::HttpContext;
use super::admission::Ticket;
use super::handshake::{accept, join};
use crate::session::{Frame, GroupEvent, GroupHandle, Outbound, Port};

/// How long a client waits for the next message of its answer, the first reading of its queries included.
const PATIENCE: Duration = Duration::from_secs(60);
/// An answer of which nobody takes anything for so long is given up.
const STALL: Duration = Duration::from_secs(30);
/// Pieces of an answer that wait to be taken.
const PIECES: usize = 4;
/// The newest version of the protocol that speaks text only.
const TEXT_VERSION: u32 = 51;

pub(super) async fn poll(
    State(context): State<Arc<HttpContext>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let path = uri.path_and_query().map_or(uri.path(), |it| it.as_str());
    match begin(&context, path, &headers, body).await {
        Ok(poll) => {
            let (pieces, taken) = mpsc::channel(PIECES);
            tokio::spawn(poll.run(context, pieces));
            let stream = futures::stream::unfold(taken, |mut taken| async {
                let piece: Bytes = taken.recv().await?;
                Some((Ok::<_, Infallible>(piece), taken))
            });
            let head = [
                (header::CONTENT_TYPE, "application/json"),
                (header::CACHE_CONTROL, "no-store"),
            ];
            (head, Body::from_stream(stream)).into_response()
        }
        Err(body) => {
            tracing::info!(kind = ?body.kind(), "poll refused");
            let status = status(&body);
            let text = format!("[{}]", Downstream::Error(body).encode());
            (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
        }
    }
}

fn status(body: &ErrorBody) -> StatusCode {
    match body.kind() {
        ErrorKind::Unauthorized | ErrorKind::AuthInvalidated => StatusCode::UNAUTHORIZED,
        ErrorKind::Rehome | ErrorKind::Rebalance | ErrorKind::ServerOverloaded => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => StatusCode::BAD_REQUEST,
    }
}

/// Decides about a request, and hands its messages to its group.
async fn begin(
    context: &HttpContext,
    path: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Poll, ErrorBody> {
    let invalid = |message: String| ErrorBody::new(ErrorKind::InvalidMessage, message);
    let connect = parse_connect(path)
        .map_err(|error| ErrorBody::new(ErrorKind::InvalidConnectionRequest, error.to_string()))?;
    check_version(connect.version)?;
    let limit = context.max_payload_bytes;
    let body = to_bytes(body, limit).await.map_err(|_| {
        invalid(format!(
            "the body cannot be read, or has more than {limit} bytes"
        ))
    })?;
    let (messages, pull) = read(&body).map_err(invalid)?;
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let (mut connection, ticket) = accept(context, headers, &connect, token).await?;
    connection.polls = true;
    connection.protocol = connection.protocol.min(TEXT_VERSION);
    let (queue, frames) = Queue::new(context.max_buffered_bytes);
    let out = Outbound::new(queue.clone());
    let moving = || ErrorBody::rehome("the client group is moving");
    let (group, verdict) = join(context, &connection, &out, pull.cookie.as_ref())
        .await
        .ok_or_else(moving)?;
    verdict?;
    let id = connection.id;
    let poll = Poll {
        id,
        group,
        queue,
        frames,
        _ticket: ticket,
    };
    for message in messages.into_iter().chain([Upstream::Pull(pull)]) {
        let event = GroupEvent::Message(id, Box::new(message));
        if !poll.group.send(event).await {
            return Err(moving());
        }
    }
    Ok(poll)
}

/// The messages of a request before its `pull`, and that.
fn read(body: &[u8]) -> Result<(Vec<Upstream>, Pull), String> {
    let texts: Vec<&RawValue> = serde_json::from_slice(body)
        .map_err(|_| "the body is not a JSON array of messages".to_owned())?;
    let mut messages = texts
        .into_iter()
        .map(|text| decode_upstream(text.get()).map_err(|error| error.to_string()))
        .collect::<Result<Vec<Upstream>, String>>()?;
    let Some(Upstream::Pull(pull)) = messages.pop() else {
        return Err("the last message of a poll is a pull".to_owned());
    };
    let has_place = |message: &Upstream| {
        matches!(
            message,
            Upstream::InitConnection(_)
                | Upstream::ChangeDesiredQueries(_)
                | Upstream::DeleteClients(_)
                | Upstream::Push(_)
                | Upstream::AckMutationResponses(_)
        )
    };
    match messages.iter().all(has_place) {
        true => Ok((messages, pull)),
        false => Err("a poll has a message that needs a socket".to_owned()),
    }
}

/// A request that its group has taken.
struct Poll {
    id: u64,
    group: GroupHandle,
    queue: Arc<Queue>,
    frames: mpsc::UnboundedReceiver<Vec<Frame>>,
    /// Its place among the connections that are allowed.
    _ticket: Ticket,
}

/// Where an answer is.
#[derive(PartialEq, Eq)]
enum Answer {
    GoesOn,
    /// The `pull` is answered, or the group has ended the connection.
    Ended,
    /// Nobody takes it, or it cannot be read.
    Lost,
}

impl Poll {
    async fn run(mut self, context: Arc<HttpContext>, pieces: mpsc::Sender<Bytes>) {
        let mut stopping = context.stopping.clone();
        let mut separator = '[';
        let answer = loop {
            let frames = tokio::select! {
                frames = timeout(PATIENCE, self.frames.recv()) => {
                    let message = "the answer takes too long; poll again";
                    frames.map_err(|_| ErrorBody::new(ErrorKind::ServerOverloaded, message))
                }
                () = stopped(&mut stopping) => Err(ErrorBody::rehome("the server stops")),
            };
            let answer = match frames {
                Ok(Some(frames)) => self.pass_on(frames, &pieces, &mut separator).await,
                Ok(None) => Answer::Ended,
                Err(body) => {
                    let text = Downstream::Error(body).encode();
                    match put(&pieces, &mut separator, &text).await {
                        Answer::Lost => Answer::Lost,
                        Answer::GoesOn | Answer::Ended => Answer::Ended,
                    }
                }
            };
            if answer != Answer::GoesOn {
                break answer;
            }
        };
        if answer != Answer::Lost {
            let end = if separator == '[' { "[]" } else { "]" };
            // Whoever asked may have gone.
            let _ = timeout(STALL, pieces.send(Bytes::from_static(end.as_bytes()))).await;
        }
        self.group.send(GroupEvent::Disconnected(self.id)).await;
    }

    async fn pass_on(
        &mut self,
        frames: Vec<Frame>,
        pieces: &mpsc::Sender<Bytes>,
        separator: &mut char,
    ) -> Answer {
        for frame in frames {
            let length = frame.size();
            let read = match frame.is_at_hand() {
                true => frame.messages(),
                false => tokio::task::spawn_blocking(|| frame.messages())
                    .await
                    .unwrap_or_else(|error| Err(std::io::Error::other(error))),
            };
            let messages = match read {
                Ok(messages) => messages,
                Err(error) => {
                    tracing::error!(connection = self.id, %error, "a stored poke cannot be read");
                    return Answer::Lost;
                }
            };
            for message in messages {
                let Message::Text(text) = message else {
                    return Answer::Ended;
                };
                if put(pieces, separator, &text).await == Answer::Lost {
                    return Answer::Lost;
                }
                if text.starts_with("[\"pull\",") {
                    return Answer::Ended;
                }
            }
            if self.queue.written(length) && !self.group.send(GroupEvent::Drained(self.id)).await {
                return Answer::Ended;
            }
        }
        Answer::GoesOn
    }
}

/// What the group sends, until it is taken.
struct Queue {
    frames: mpsc::UnboundedSender<Vec<Frame>>,
    waiting: AtomicUsize,
    /// Bytes that may wait.
    limit: usize,
    /// Whether somebody waits for it to be empty.
    watched: AtomicBool,
}

impl Queue {
    fn new(limit: usize) -> (Arc<Self>, mpsc::UnboundedReceiver<Vec<Frame>>) {
        let (frames, taken) = mpsc::unbounded_channel();
        let queue = Queue {
            frames,
            waiting: AtomicUsize::new(0),
            limit,
            watched: AtomicBool::new(false),
        };
        (Arc::new(queue), taken)
    }

    /// Tells that so many bytes were taken. True if somebody waits for the queue to be empty and it now is.
    fn written(&self, length: usize) -> bool {
        let before = self.waiting.fetch_sub(length, Ordering::AcqRel);
        before == length && length > 0 && self.watched.swap(false, Ordering::AcqRel)
    }
}

impl Port for Queue {
    fn send(&self, frames: Vec<Frame>) {
        let length = frames.iter().map(Frame::size).sum();
        self.waiting.fetch_add(length, Ordering::AcqRel);
        // An error says that the answer is at its end.
        let _ = self.frames.send(frames);
    }

    fn congested(&self) -> bool {
        if self.waiting.load(Ordering::Acquire) <= self.limit {
            return false;
        }
        self.watched.store(true, Ordering::Release);
        // It may have been emptied between the two lines; then nobody would tell.
        self.waiting.load(Ordering::Acquire) > 0 || !self.watched.swap(false, Ordering::AcqRel)
    }
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that nobody can ask to stop any more, which is a reason to stop.
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Adds a message to the answer.
async fn put(pieces: &mpsc::Sender<Bytes>, separator: &mut char, text: &str) -> Answer {
    let piece = format!("{separator}{text}");
    *separator = ',';
    match timeout(STALL, pieces.send(piece.into())).await {
        Ok(Ok(())) => Answer::GoesOn,
        Ok(Err(_)) | Err(_) => Answer::Lost,
    }
}
