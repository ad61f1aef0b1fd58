//! From a request to a connection that its group has accepted.
//!
//! The upgrade is always completed: a browser shows a script nothing of a refused upgrade, but it does show a close code.

use std::sync::Arc;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, OriginalUri, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use landfall_protocol::close;
use landfall_protocol::{
    ConnectRequest, Connected, Downstream, ErrorBody, ErrorKind, HandshakeError, JsNumber,
    ReceivedProtocol, ServerMode, check_version, parse_connect,
};
use tokio::sync::oneshot;

use super::HttpContext;
use super::admission::Ticket;
use super::line::{ItsLine, Line};
use super::socket::{self, Session};
use crate::clock;
use crate::session::{Attach, ConnectionContext, GroupEvent, GroupHandle, Outbound};

/// The version of our extension to the protocol.
const EXTENSION: u32 = 1;
/// What is read from a socket at a time: each connection keeps room for it.
const READ_BUFFER: usize = 2048;
/// How often a group may end while a connection joins it.
const JOIN_ATTEMPTS: usize = 5;

pub(super) async fn upgrade(
    State(context): State<Arc<HttpContext>>,
    ConnectInfo(ItsLine(line)): ConnectInfo<ItsLine>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let Ok(upgrade) = upgrade else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let path = uri
        .path_and_query()
        .map_or_else(|| uri.path().to_owned(), |p| p.as_str().to_owned());
    let protocol = headers
        .get(header::SEC_WEBSOCKET_PROTOCOL)
        .and_then(|v| v.to_str().ok())
        .map(str::to_owned);
    let upgrade = match &protocol {
        Some(protocol) => upgrade.protocols([protocol.clone()]),
        None => upgrade,
    };
    upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_message_size(context.max_payload_bytes)
        .max_frame_size(context.max_payload_bytes)
        .on_upgrade(move |socket| async move {
            let request = Request {
                path,
                protocol,
                headers,
            };
            connected(context, request, socket, line).await;
        })
}

struct Request {
    path: String,
    protocol: Option<String>,
    headers: HeaderMap,
}

fn parse(request: &Request) -> Result<(ConnectRequest, ReceivedProtocol), HandshakeError> {
    let connect = parse_connect(&request.path)?;
    let protocol = request.protocol.as_deref().unwrap_or_default();
    Ok((connect, ReceivedProtocol::decode(protocol)?))
}

async fn connected(
    context: Arc<HttpContext>,
    request: Request,
    mut socket: WebSocket,
    line: Arc<Line>,
) {
    // What the request holds is let go before the connection begins its long life.
    let greeted = Box::pin(greet(context, request, &mut socket, line)).await;
    if let Some(session) = greeted {
        socket::run(session, socket).await;
    }
}

/// Decides about a request, and takes its first message in. `None` if the socket has been told why it ends.
async fn greet(
    context: Arc<HttpContext>,
    request: Request,
    socket: &mut WebSocket,
    line: Arc<Line>,
) -> Option<Session> {
    let (connect, protocol) = match parse(&request) {
        Ok(parsed) => parsed,
        Err(error) => {
            tracing::info!(%error, "handshake refused");
            end(socket, close::HANDSHAKE, &error.to_string()).await;
            return None;
        }
    };
    let accepted = accept(
        &context,
        &request.headers,
        &connect,
        protocol.auth_token.as_deref(),
    )
    .await;
    let joined = match accepted {
        Err(body) => Err(body),
        Ok((connection, ticket)) => {
            line.open();
            let out = Outbound::new(line.clone());
            let cookie = connect.params.base_cookie.as_ref();
            match join(&context, &connection, &out, cookie).await {
                None => Err(ErrorBody::rehome("the client group is moving")),
                Some((_, Err(body))) => Err(body),
                Some((group, Ok(()))) => Ok((connection, ticket, group, out)),
            }
        }
    };
    let (connection, ticket, group, out) = match joined {
        Ok(joined) => joined,
        Err(body) => {
            refuse(socket, body).await;
            return None;
        }
    };
    let greeting = greeting(&context, &connection).encode();
    let mut session = Session {
        context,
        id: connection.id,
        user_id: connection.user_id,
        auth: connection.auth,
        group,
        out,
        line,
        _ticket: ticket,
    };
    if let Err(body) = check_version(connect.version) {
        session.out.text(Downstream::Error(body).encode());
        session.out.close(None);
    } else {
        session.out.text(greeting);
        if let Some(message) = protocol.first_message {
            session.text(&message).await;
        }
    }
    Some(session)
}

/// Hands the connection to its group. A group that ends just then is replaced by a new one, unless the server stops.
pub(super) async fn join(
    context: &HttpContext,
    connection: &ConnectionContext,
    out: &Outbound,
    base_cookie: Option<&String>,
) -> Option<(GroupHandle, Result<(), ErrorBody>)> {
    for _ in 0..JOIN_ATTEMPTS {
        let (reply, verdict) = oneshot::channel();
        let attach = Attach {
            context: connection.clone(),
            outbound: out.clone(),
            base_cookie: base_cookie.cloned(),
            reply,
        };
        let attach = GroupEvent::Attach(Box::new(attach));
        let group = context.registry.join(&connection.group_id, attach).await?;
        if let Ok(verdict) = verdict.await {
            return Some((group, verdict));
        }
    }
    None
}

fn greeting(context: &HttpContext, connection: &ConnectionContext) -> Downstream<'static> {
    let mode = ServerMode {
        version: EXTENSION,
        ..context.mode
    };
    Downstream::Connected(Connected {
        wsid: connection.wsid.clone(),
        timestamp: JsNumber::new(clock::now_ms() as f64),
        landfall: connection.landfall.then_some(mode),
    })
}

/// Whether whoever asks may connect, and what is remembered of the request.
pub(super) async fn accept(
    context: &HttpContext,
    headers: &HeaderMap,
    connect: &ConnectRequest,
    token: Option<&str>,
) -> Result<(ConnectionContext, Ticket), ErrorBody> {
    let params = &connect.params;
    if !context.origins.allow(headers) {
        let origin = headers.get(header::ORIGIN).and_then(|v| v.to_str().ok());
        tracing::warn!(
            origin,
            "a page of an origin that is not allowed (--allowed-origins)"
        );
        return Err(ErrorBody::new(
            ErrorKind::InvalidConnectionRequest,
            "pages of this origin may not connect (--allowed-origins)",
        ));
    }
    let auth = context
        .tokens
        .resolve(params.user_id.as_deref(), token)
        .await?;
    let ticket = context
        .admission
        .admit(&params.client_group_id, params.user_id.as_deref())?;
    let readable = |(name, value): (&header::HeaderName, &header::HeaderValue)| {
        // Large, and of no use to an app.
        let handshake = name.as_str().starts_with("sec-websocket-");
        let value = value.to_str().ok().filter(|_| !handshake)?;
        Some((name.as_str().to_owned(), value.to_owned()))
    };
    let id = context.next_connection();
    if context.policy.is_open() {
        tracing::warn!(
            connection = id,
            "DEVELOPMENT MODE: this client may read and write without permissions"
        );
    }
    metrics::counter!("landfall_connections_total").increment(1);
    let connection = ConnectionContext {
        id,
        client_id: params.client_id.clone(),
        group_id: params.client_group_id.clone(),
        wsid: params.wsid.clone(),
        user_id: params.user_id.clone(),
        auth,
        protocol: connect.version,
        landfall: params.landfall.is_some(),
        headers: headers.iter().filter_map(readable).collect(),
        ..ConnectionContext::default()
    };
    Ok((connection, ticket))
}

/// Says what is wrong; authentication failures have a close code of their own.
async fn refuse(socket: &mut WebSocket, body: ErrorBody) {
    let message = body.message().to_owned();
    let auth = matches!(
        body.kind(),
        ErrorKind::Unauthorized | ErrorKind::AuthInvalidated
    );
    tracing::info!(kind = ?body.kind(), "connection refused");
    let text = Downstream::Error(body).encode();
    if socket.send(Message::Text(text.into())).await.is_err() {
        return;
    }
    match auth {
        true => end(socket, close::UNAUTHORIZED, &message).await,
        false => {
            // The peer may be gone already.
            let _ = socket.send(Message::Close(None)).await;
        }
    }
}

async fn end(socket: &mut WebSocket, code: u16, reason: &str) {
    let frame = CloseFrame {
        code,
        reason: close::close_reason(reason).into(),
    };
    // The peer may be gone already.
    let _ = socket.send(Message::Close(Some(frame))).await;
}
