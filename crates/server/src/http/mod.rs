//! The HTTP side: health, metrics, the WebSocket upgrade, and clients that poll.
//!
//! Knows sockets and frames; what a message means is for `session`.

mod admin;
mod admission;
mod frames;
mod handshake;
mod line;
mod origins;
mod pace;
mod poll;
mod socket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use landfall_protocol::ServerMode;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::auth::{Policy, TokenVerifier};
use crate::queries::PoolHandle;
use crate::session::Registry;
use crate::upstream::{self, Upstream};
pub use admin::Administrators;
pub use admission::Admission;
use line::{ItsLine, LineListener};
pub use origins::Origins;

/// Bytes that the kernel holds for a connection.
const SEND_BUFFER: u32 = 256 << 10;

/// What the routes work with.
pub struct HttpContext {
    /// The client groups.
    pub registry: Arc<Registry>,
    /// Decides about tokens.
    pub tokens: TokenVerifier,
    /// The query pool, for health.
    pub pool: PoolHandle,
    /// The database, for health.
    pub upstream: Arc<dyn Upstream>,
    /// What our clients are told about this server.
    pub mode: ServerMode,
    /// Development mode.
    pub dev: bool,
    /// From which pages connections are taken.
    pub origins: Origins,
    /// Who may read and write what.
    pub policy: Arc<Policy>,
    /// Largest message from a client.
    pub max_payload_bytes: usize,
    /// Bytes that may wait for one connection.
    pub max_buffered_bytes: usize,
    /// Who may use the routes for administrators.
    pub administrators: Administrators,
    /// Renders the metrics.
    pub metrics: Option<PrometheusHandle>,
    /// Becomes true when the server stops.
    pub stopping: watch::Receiver<bool>,
    /// Who is connected.
    pub admission: Arc<Admission>,
    /// Messages that a connection may send in a second.
    pub messages_per_second: u32,
    pub(crate) connections: AtomicU64,
}

impl HttpContext {
    pub(crate) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Sets the gauges.
    pub(crate) fn measure(&self) {
        metrics::gauge!("landfall_connections").set(self.admission.connected() as f64);
        metrics::gauge!("landfall_groups").set(self.registry.len() as f64);
        let stats = self.pool.stats();
        metrics::gauge!("landfall_pipelines").set(stats.instances as f64);
        metrics::gauge!("landfall_pipeline_rows").set(stats.members as f64);
        let status = self.upstream.status();
        let connected = status.state == upstream::State::Connected;
        metrics::gauge!("landfall_replication_connected").set(f64::from(u8::from(connected)));
        if let Some(lag) = status.lag {
            metrics::gauge!("landfall_replication_lag_seconds").set(lag.as_secs_f64());
        }
        if let Some(bytes) = resident_bytes() {
            metrics::gauge!("landfall_resident_memory_bytes").set(bytes as f64);
        }
    }
}

/// Serves until told to stop.
pub async fn serve(listener: TcpListener, context: Arc<HttpContext>) -> std::io::Result<()> {
    let mut stopping = context.stopping.clone();
    let listener = LineListener::new(listener, context.max_buffered_bytes);
    let router = Router::new()
        .route("/", get(|| async { "OK" }))
        .route("/keepalive", get(|| async { "OK" }))
        .route("/ready", get(ready))
        .route("/statz", get(statz))
        .route("/metrics", get(render_metrics))
        .fallback(get(handshake::upgrade).post(poll::poll))
        .with_state(context);
    let service = router.into_make_service_with_connect_info::<ItsLine>();
    axum::serve(listener, service)
        .with_graceful_shutdown(async move {
            // An error means that nobody can ask to stop any more, which is a reason to stop.
            let _ = stopping.wait_for(|stop| *stop).await;
        })
        .await
}

/// Opens the port; an address in use is reported as such.
pub async fn listen(host: &str, port: u16) -> std::io::Result<(TcpListener, SocketAddr)> {
    let address = tokio::net::lookup_host((host, port)).await?.next();
    let address = address.ok_or_else(|| std::io::Error::other(format!("{host} has no address")))?;
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    // A restart takes the port over from its predecessor's closing connections.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    // Inherited by every connection: more would only be minutes of a slow line that nobody can take back.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    let listener = socket.listen(1024)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Whether clients should be sent here: changes arrive, and the server is not about to stop.
///
/// Anyone may ask, so the reason is told to administrators only (`/statz`), and to the log.
async fn ready(State(context): State<Arc<HttpContext>>) -> Response {
    let state = match context.upstream.status().state {
        _ if *context.stopping.borrow() => "the server is stopping",
        upstream::State::Connected => return "OK".into_response(),
        upstream::State::Disconnected { .. } => "no changes arrive from the database at the moment",
        upstream::State::Stopped { .. } => "no changes arrive from the database any more",
    };
    (StatusCode::SERVICE_UNAVAILABLE, state).into_response()
}

async fn statz(
    State(context): State<Arc<HttpContext>>,
    ConnectInfo(ItsLine(line)): ConnectInfo<ItsLine>,
    headers: HeaderMap,
) -> Response {
    if let Err(refusal) = context.administrators.admit(line.peer(), &headers) {
        return refusal.into_response();
    }
    let stats = context.pool.stats();
    let upstream = match context.upstream.status().state {
        upstream::State::Connected => "connected".to_owned(),
        upstream::State::Disconnected { reason } | upstream::State::Stopped { reason } => reason,
    };
    axum::Json(serde_json::json!({
        "groups": context.registry.len(),
        "version": stats.version,
        "instances": stats.instances,
        "members": stats.members,
        "upstream": upstream,
    }))
    .into_response()
}

async fn render_metrics(
    State(context): State<Arc<HttpContext>>,
    ConnectInfo(ItsLine(line)): ConnectInfo<ItsLine>,
    headers: HeaderMap,
) -> Response {
    let administrators = &context.administrators;
    if administrators.have_password()
        && let Err(refusal) = administrators.admit(line.peer(), &headers)
    {
        return refusal.into_response();
    }
    context.measure();
    match &context.metrics {
        Some(handle) => handle.render().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Memory of the process, where the system tells.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
