//! All parts put together: from a configuration to a running server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use landfall_protocol::{ClientColumnType, ClientSchema, MutationMode, QueryMode, ServerMode};
use landfall_zql::ColumnType;
use landfall_zql::ast::Ast;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::Value as Json;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::app::App;
use crate::auth::{Policy, PolicyError, TokenVerifier};
use crate::clock;
use crate::config::{Config, CvrAddress, Limits, UpstreamAddress};
use crate::cvr::{CvrError, CvrStore, PostgresCvr, SqliteCvr, StateVersion};
use crate::http::{self, Administrators, Admission, HttpContext, Origins};
use crate::inspect::Inspector;
use crate::push::Pusher;
use crate::push::endpoint::AppEndpoints;
use crate::queries::{PoolError, PoolHandle, PreparedQuery};
use crate::replica::Replica;
use crate::session::{ConnectionContext, QueryLimits, Registry, Rules, SessionContext};
use crate::telemetry;
use crate::upstream::{
    CommitTimes, Started, State, Status, Upstream, UpstreamError, embedded, postgres,
};

/// Groups that read or write their records at the same time.
const STORAGE_THREADS: usize = 8;
/// How far the two clocks may drift apart within an hour.
const CLOCK_SLACK_MS: u64 = 10 * 60 * 1000;
/// How long the server takes to stop, at most.
const GRACE: Duration = Duration::from_secs(12);
/// The part of it that connections have to take what waits for them.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How often gauges are measured for a collector, and what histograms have gathered is taken together.
const MEASURES: Duration = Duration::from_secs(5);
/// Records of groups that nobody used for so long are dropped; their clients start afresh, and lose nothing.
const GROUP_LIFE_MS: i64 = 30 * 24 * 60 * 60 * 1000;

/// Why the server cannot start. Each text is one line for whoever started it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The port cannot be opened.
    #[error("cannot listen on {host}:{port}: {reason}")]
    Listen {
        /// The address.
        host: String,
        /// The port.
        port: u16,
        /// Why.
        reason: String,
    },
    /// The database.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The records.
    #[error("{}: {source}", path.display())]
    CvrFile {
        /// Their file.
        path: PathBuf,
        /// Why.
        source: CvrError,
    },
    /// The records, which are in Postgres.
    #[error(transparent)]
    Cvr(#[from] CvrError),
    /// The query pool.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The permissions file.
    #[error("--permissions {}: {reason}", path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The app's declarations.
    #[error("the app: {0}")]
    App(String),
    /// The HTTP client.
    #[error("cannot make an HTTP client: {0}")]
    Http(#[from] reqwest::Error),
}

/// A server that runs.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its query pool.
    pub pool: PoolHandle,
    registry: Arc<Registry>,
    pusher: Arc<Pusher>,
    upstream: Arc<dyn Upstream>,
    stopping: watch::Sender<bool>,
    serving: JoinHandle<std::io::Result<()>>,
}

/// Starts a server; returns when it takes connections.
///
/// # Errors
/// It cannot start; the text says why.
pub async fn start(config: Config) -> Result<Running, ServerError> {
    start_app(config, App::default()).await
}

/// Starts a server with an app's queries and mutators in it.
///
/// # Errors
/// It cannot start; the text says why.
pub async fn start_app(config: Config, app: App) -> Result<Running, ServerError> {
    crate::install_tls();
    if !app.mistakes().is_empty() {
        return Err(ServerError::App(app.mistakes().join("; ")));
    }
    let app = Arc::new(app);
    let (listener, address) = http::listen(&config.host, config.port)
        .await
        .map_err(|error| {
            let reason = match error.kind() {
                std::io::ErrorKind::AddrInUse => {
                    "the port is in use; choose another with --port (LANDFALL_PORT)".to_owned()
                }
                _ => error.to_string(),
            };
            ServerError::Listen {
                host: config.host.clone(),
                port: config.port,
                reason,
            }
        })?;
    let policy = Arc::new(read_policy(&config, &app)?);
    // The recorder is one for the process; a second server in it goes without.
    let metrics = telemetry::install_recorder(&config);
    if let (UpstreamAddress::Embedded(file), Some(sql)) = (&config.upstream, app.setup())
        && !file.exists()
    {
        embedded::exec(file, sql)?;
    }
    let Started {
        replica,
        upstream,
        commits,
    } = start_upstream(&config).await?;
    // Not before the database is found: who gives a wrong address reads of that alone.
    if config.dev {
        tracing::warn!(
            host = config.host,
            "DEVELOPMENT MODE: where no permissions are declared, everyone may read and write everything"
        );
    }
    if is_closed(&config, &app) {
        tracing::warn!(
            "no permissions and no endpoints are given (--permissions, --query-url, --mutate-url): \
             nobody may read or write anything, unless the database has a table of permissions"
        );
    }
    let cvr = open_cvr(&config)?;
    let declared = policy.clone();
    let on_permissions = Box::new(move |text: Option<&str>| {
        if let Err(error) = declared.declare(text) {
            tracing::error!(%error, "everything is closed until the permissions can be read");
        }
    });
    let pool = PoolHandle::start(&replica, cvr.clone(), on_permissions, config.pool)?;

    let exports = config.otlp_endpoint.is_some();
    let client = reqwest::Client::builder().build()?;
    let endpoints = AppEndpoints::new(&config, app.clone(), policy.clone(), client.clone());
    let endpoints = Arc::new(endpoints);
    let mode = mode(&config, &app);
    let passed_on = config.query.is_some() || config.mutate.is_some();
    let tokens = TokenVerifier::new(config.jwt.clone(), passed_on, config.dev, client);
    let pusher = Arc::new(Pusher {
        endpoints: endpoints.clone(),
        app,
        upstream: upstream.clone(),
        policy: policy.clone(),
        enable_crud: config.enable_crud,
        limit: config.mutation_limit,
        workers: parking_lot::Mutex::default(),
    });
    let rules = Arc::new(ServerRules {
        pool: pool.clone(),
        replica: replica.clone(),
        policy: policy.clone(),
        endpoints: endpoints.clone(),
        limits: config.limits,
        commits,
    });
    let inspector = Arc::new(Inspector::new(
        rules.clone(),
        endpoints.clone(),
        replica,
        config.admin_password.clone(),
        config.dev,
    ));
    let session = SessionContext {
        rules,
        cvr: cvr.clone(),
        storage: Semaphore::new(STORAGE_THREADS),
        pool: pool.clone(),
        endpoints,
        pusher: pusher.clone(),
        inspector,
    };
    let (stopping, stopped) = watch::channel(false);
    let kept_metrics = metrics.clone();
    let registry = Registry::new(Arc::new(session));
    let context = HttpContext {
        registry: registry.clone(),
        tokens,
        pool: pool.clone(),
        upstream: upstream.clone(),
        mode,
        dev: config.dev,
        origins: Origins::new(&config.allowed_origins, config.dev),
        policy: policy.clone(),
        max_payload_bytes: config.max_payload_bytes,
        max_buffered_bytes: config.max_buffered_bytes,
        administrators: Administrators::new(config.admin_password.clone(), config.dev),
        metrics,
        stopping: stopped,
        admission: Admission::new(config.limits),
        messages_per_second: config.limits.messages_per_second,
        connections: AtomicU64::new(0),
    };
    let context = Arc::new(context);
    if exports {
        tokio::spawn(measure(context.clone(), stopping.subscribe()));
    }
    let serving = tokio::spawn(http::serve(listener, context));
    tokio::spawn(purge(cvr, stopping.subscribe()));
    if let Some(metrics) = kept_metrics {
        tokio::spawn(keep_metrics(metrics, stopping.subscribe()));
    }
    Ok(Running {
        address,
        pool,
        registry,
        pusher,
        upstream,
        stopping,
        serving,
    })
}

impl Running {
    /// Resolves with the reason when the database is not followed any more and will not be again.
    pub async fn ended(&self) -> String {
        loop {
            if let State::Stopped { reason } = self.upstream.status().state {
                return reason;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// How the database is followed.
    pub fn upstream_status(&self) -> Status {
        self.upstream.status()
    }

    /// Sends the connections away, carries out what they have pushed, stores what is to be stored, and stops following
    /// the database. Returns within a bound; what is not done by then is done again when clients come back.
    pub async fn shutdown(mut self) {
        let deadline = Instant::now() + GRACE;
        // An error says that nobody listens, which is what is wanted.
        let _ = self.stopping.send(true);
        if tokio::time::timeout(LAST_WORDS, &mut self.serving)
            .await
            .is_err()
        {
            tracing::warn!("some connections did not end in time");
            self.serving.abort();
        }
        within(deadline, "client groups", self.registry.shutdown()).await;
        within(deadline, "mutations under way", self.pusher.drained()).await;
        within(deadline, "the query pool", self.pool.stop()).await;
        within(
            deadline,
            "the database connection",
            self.upstream.shutdown(),
        )
        .await;
    }
}

async fn within(deadline: Instant, what: &str, work: impl Future<Output = ()>) {
    if tokio::time::timeout_at(deadline, work).await.is_err() {
        tracing::warn!("{what} did not end in time");
    }
}

fn mode(config: &Config, app: &App) -> ServerMode {
    ServerMode {
        queries: if config.query.is_some() || app.has_queries() {
            QueryMode::Named
        } else {
            QueryMode::Ast
        },
        mutations: if config.mutate.is_some() || app.has_mutators() {
            MutationMode::Custom
        } else {
            MutationMode::Crud
        },
        version: landfall_protocol::LANDFALL_VERSION,
    }
}

async fn start_upstream(config: &Config) -> Result<Started, UpstreamError> {
    match &config.upstream {
        UpstreamAddress::Postgres(url) => {
            postgres::start(postgres::PostgresSettings {
                url: url.expose().to_owned(),
                replica_file: config.replica_file.clone(),
                app_id: config.app_id.clone(),
                shard_num: config.shard_num,
                publications: config.publications.clone(),
            })
            .await
        }
        UpstreamAddress::Embedded(file) => {
            embedded::start(embedded::EmbeddedSettings { path: file.clone() }).await
        }
    }
}

fn open_cvr(config: &Config) -> Result<Arc<dyn CvrStore>, ServerError> {
    match &config.cvr {
        CvrAddress::Postgres(url) => {
            let store = PostgresCvr::open(url.expose(), &config.cvr_schema())?;
            Ok(Arc::new(store))
        }
        CvrAddress::File(path) => match SqliteCvr::open(path) {
            Ok(store) => Ok(Arc::new(store)),
            Err(source) => {
                let path = path.clone();
                Err(ServerError::CvrFile { path, source })
            }
        },
    }
}

/// Whether nothing says who may do what.
fn is_closed(config: &Config, app: &App) -> bool {
    let has_app = app.has_queries() || app.has_mutators() || app.permissions().is_some();
    let has_endpoint = config.query.is_some() || config.mutate.is_some();
    !config.dev && !has_endpoint && config.permissions_file.is_none() && !has_app
}

fn read_policy(config: &Config, app: &App) -> Result<Policy, ServerError> {
    if let Some(rules) = app.permissions() {
        return match &config.permissions_file {
            None => Ok(Policy::of_app(config.dev, rules)),
            Some(_) => Err(ServerError::App(
                "its rules and a permissions file cannot both hold".to_owned(),
            )),
        };
    }
    let Some(path) = &config.permissions_file else {
        return Policy::new(config.dev, None).map_err(|e| unreadable(&PathBuf::new(), &e));
    };
    let text = std::fs::read_to_string(path).map_err(|e| ServerError::Permissions {
        path: path.clone(),
        reason: e.to_string(),
    })?;
    Policy::new(config.dev, Some(&text)).map_err(|e| unreadable(path, &e))
}

fn unreadable(path: &std::path::Path, error: &PolicyError) -> ServerError {
    ServerError::Permissions {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

/// Keeps gauges current for a collector; `/metrics` does it when it is asked.
async fn measure(context: Arc<HttpContext>, mut stopping: watch::Receiver<bool>) {
    let mut due = tokio::time::interval(MEASURES);
    loop {
        tokio::select! {
            _ = due.tick() => context.measure(),
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

/// Takes together what histograms have gathered; else it would wait, in ever more memory, for somebody to ask.
async fn keep_metrics(metrics: PrometheusHandle, mut stopping: watch::Receiver<bool>) {
    let mut due = tokio::time::interval(MEASURES);
    loop {
        tokio::select! {
            _ = due.tick() => metrics.run_upkeep(),
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

async fn purge(cvr: Arc<dyn CvrStore>, mut stopping: watch::Receiver<bool>) {
    let mut due = tokio::time::interval(Duration::from_secs(3600));
    let mut seen = clock::now();
    loop {
        tokio::select! {
            _ = due.tick() => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
        let now = clock::now();
        let by_wall = now.wall_ms.abs_diff(seen.wall_ms);
        let jumped = by_wall.abs_diff(now.steady_ms - seen.steady_ms) > CLOCK_SLACK_MS;
        seen = now;
        if jumped {
            // Groups that are in use have not stored yet that they are, by the new time.
            tracing::warn!("the clock was set; old records are looked for later");
            continue;
        }
        let before = now.wall_ms as i64 - GROUP_LIFE_MS;
        let store = cvr.clone();
        match tokio::task::spawn_blocking(move || store.purge_groups(before)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(groups)) => {
                tracing::info!(groups, "records of unused client groups were removed")
            }
            Ok(Err(error)) => tracing::warn!(%error, "old records cannot be removed"),
            Err(error) => tracing::warn!(%error, "old records cannot be removed"),
        }
    }
}

struct ServerRules {
    pool: PoolHandle,
    replica: Replica,
    policy: Arc<Policy>,
    endpoints: Arc<AppEndpoints>,
    limits: Limits,
    commits: Arc<CommitTimes>,
}

impl Rules for ServerRules {
    fn pool_version(&self) -> StateVersion {
        self.pool.version()
    }

    fn want_version(&self, version: StateVersion) {
        self.replica.want(version);
    }

    fn check_schema(&self, schema: &ClientSchema) -> Result<(), String> {
        let replica = self.replica.schema();
        for (name, table) in &schema.tables {
            let Some(id) = replica.zql.table_by_server_name(name) else {
                return Err(format!(
                    "the table {name:?} does not exist, or has no key that identifies its rows"
                ));
            };
            let known = &replica.zql[id];
            for (column, wanted) in &table.columns {
                let Some(at) = known.column_by_server_name(column) else {
                    return Err(format!("the table {name:?} has no column {column:?}"));
                };
                let (there, wanted) = (known.columns[at].ty, column_type(wanted.ty));
                if there != wanted {
                    let (there, wanted) = (there.name(), wanted.name());
                    return Err(format!(
                        "the column {column:?} of {name:?} is a {there}, not a {wanted}"
                    ));
                }
            }
            if let Some(key) = &table.primary_key {
                let mut wanted: Vec<&str> = key.iter().map(String::as_str).collect();
                let names = known
                    .primary_key
                    .iter()
                    .map(|c| known.columns[*c].server_name.as_str());
                let mut there: Vec<&str> = names.collect();
                wanted.sort_unstable();
                there.sort_unstable();
                if wanted != there {
                    return Err(format!(
                        "the rows of {name:?} are identified by {there:?}, not by {wanted:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn prepare_client_query(
        &self,
        ast: &Ast,
        claims: Option<&Json>,
    ) -> Result<PreparedQuery, String> {
        let ast = self.policy.read(ast, claims).map_err(|e| e.to_string())?;
        Ok(self.pool.share(PreparedQuery::new(&ast)))
    }

    fn prepare_app_query(&self, name: &str, ast: &Ast) -> Result<PreparedQuery, String> {
        Ok(self.pool.share(PreparedQuery::named(name, ast)))
    }

    fn has_query_endpoint(&self) -> bool {
        self.endpoints.has_query()
    }

    fn validates(&self, context: &ConnectionContext) -> bool {
        self.endpoints.validates(context)
    }

    fn query_limits(&self) -> QueryLimits {
        QueryLimits {
            per_group: self.limits.queries_per_group,
            per_client: self.limits.queries_per_client,
        }
    }

    fn told(&self, before: StateVersion, version: StateVersion) {
        if let Some(age) = self.commits.age(before, version) {
            metrics::histogram!("landfall_end_to_end_lag_seconds").record(age.as_secs_f64());
        }
    }
}

fn column_type(ty: ClientColumnType) -> ColumnType {
    match ty {
        ClientColumnType::String => ColumnType::String,
        ClientColumnType::Number => ColumnType::Number,
        ClientColumnType::Boolean => ColumnType::Boolean,
        ClientColumnType::Json => ColumnType::Json,
        ClientColumnType::Null => ColumnType::Null,
    }
}
