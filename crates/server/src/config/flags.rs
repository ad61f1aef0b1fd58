//! The command line. Values stay text here; `resolve` gives them meaning.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The Landfall sync server.
#[derive(Parser, Debug)]
#[command(
    name = "landfall-server",
    version,
    about,
    args_conflicts_with_subcommands = false
)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: Flags,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run the server (the default).
    Serve(Box<Flags>),
    /// Say what is missing in the database, with the SQL that mends it; change nothing.
    Check(Box<Flags>),
    /// Run SQL from standard input on an embedded database file.
    Exec {
        /// The SQLite file.
        #[arg(long, value_name = "FILE")]
        db: PathBuf,
    },
    /// Print an embedded database file as SQL for Postgres: tables, rows, and which mutations were applied.
    Export {
        /// The SQLite file.
        #[arg(long, value_name = "FILE")]
        db: PathBuf,
        /// Prefix of the upstream schemas, as the server on Postgres will have it.
        #[arg(long, value_name = "NAME", default_value = "zero")]
        app_id: String,
        /// Number of the shard.
        #[arg(long, value_name = "N", default_value_t = 0)]
        shard_num: u32,
    },
    /// Run a query once and say how it is read: table by table, what was chosen, expected and read.
    Analyze {
        /// The SQLite file: an embedded database, or the replica of a Postgres.
        #[arg(long, value_name = "FILE")]
        db: PathBuf,
        /// File with the query, an AST as JSON with the server's names [default: standard input]
        #[arg(long, value_name = "FILE")]
        query: Option<PathBuf>,
        /// Print JSON instead of text
        #[arg(long)]
        json: bool,
    },
}

/// Settings given as flags. Each is also read from `LANDFALL_X` and, where zero-cache has it, `ZERO_X`.
#[derive(Args, Debug, Clone, Default)]
pub struct Flags {
    /// File with NAME=value lines, read last
    #[arg(long, value_name = "FILE")]
    config: Option<String>,
    /// postgres://… or the path of a SQLite file (embedded mode)
    #[arg(long, value_name = "ADDRESS")]
    upstream_db: Option<String>,
    /// Replica file (Postgres mode) [default: landfall-replica.db]
    #[arg(long, value_name = "FILE")]
    replica_file: Option<String>,
    /// Client view records: a file, or postgres://… to share them between servers [default: a file beside the replica]
    #[arg(long, value_name = "ADDRESS")]
    cvr_db: Option<String>,
    /// Prefix of the upstream schemas [default: zero]
    #[arg(long, value_name = "NAME")]
    app_id: Option<String>,
    /// Publications to replicate, separated by commas
    #[arg(long, value_name = "LIST")]
    app_publications: Option<String>,
    /// Number of the shard [default: 0]
    #[arg(long, value_name = "N")]
    shard_num: Option<String>,
    /// Address to listen on [default: 0.0.0.0, with --dev 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
    /// Origins of the pages that may connect, separated by commas; * = all [default: *, with --dev those of this machine]
    #[arg(long, value_name = "LIST")]
    allowed_origins: Option<String>,
    /// Port to listen on, 0 = any free one [default: 4848]
    #[arg(long, value_name = "N")]
    port: Option<String>,
    /// The app's query endpoint (several patterns: commas; the first is the default)
    #[arg(long, value_name = "URL")]
    query_url: Option<String>,
    /// X-Api-Key for the query endpoint
    #[arg(long, value_name = "KEY")]
    query_api_key: Option<String>,
    /// Forward cookies to the query endpoint
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    query_forward_cookies: Option<String>,
    /// Client-sent headers that the query endpoint may see
    #[arg(long, value_name = "LIST")]
    query_allowed_client_headers: Option<String>,
    /// Headers of the upgrade request that the query endpoint may see
    #[arg(long, value_name = "LIST")]
    query_allowed_request_headers: Option<String>,
    /// The app's mutate endpoint (several patterns: commas; the first is the default)
    #[arg(long, value_name = "URL")]
    mutate_url: Option<String>,
    /// X-Api-Key for the mutate endpoint
    #[arg(long, value_name = "KEY")]
    mutate_api_key: Option<String>,
    /// Forward cookies to the mutate endpoint
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    mutate_forward_cookies: Option<String>,
    /// Client-sent headers that the mutate endpoint may see
    #[arg(long, value_name = "LIST")]
    mutate_allowed_client_headers: Option<String>,
    /// Headers of the upgrade request that the mutate endpoint may see
    #[arg(long, value_name = "LIST")]
    mutate_allowed_request_headers: Option<String>,
    /// Shared secret that tokens are verified with
    #[arg(long, value_name = "SECRET")]
    auth_secret: Option<String>,
    /// Public key (JWK) that tokens are verified with
    #[arg(long, value_name = "JWK")]
    auth_jwk: Option<String>,
    /// URL of the key set that tokens are verified with
    #[arg(long, value_name = "URL")]
    auth_jwks_url: Option<String>,
    /// Issuer that tokens must name
    #[arg(long, value_name = "TEXT")]
    auth_issuer: Option<String>,
    /// Audience that tokens must name
    #[arg(long, value_name = "TEXT")]
    auth_audience: Option<String>,
    /// Password of the admin routes
    #[arg(long, value_name = "TEXT")]
    admin_password: Option<String>,
    /// Compiled permissions (JSON)
    #[arg(long, value_name = "FILE")]
    permissions: Option<String>,
    /// Development mode: anyone may read and write anything
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    dev: Option<String>,
    /// Accept CRUD mutations [default: true]
    #[arg(long, value_name = "BOOL")]
    enable_crud_mutations: Option<String>,
    /// Mutations that a client group may send within the window [default: no limit]
    #[arg(long, value_name = "N")]
    per_user_mutation_limit_max: Option<String>,
    /// The window of that limit [default: 60000]
    #[arg(long, value_name = "MS")]
    per_user_mutation_limit_window_ms: Option<String>,
    /// Largest message accepted from a client [default: 10485760]
    #[arg(long, value_name = "BYTES")]
    websocket_max_payload_bytes: Option<String>,
    /// Bytes that may wait for a slow connection [default: 1048576]
    #[arg(long, value_name = "BYTES")]
    max_buffered_bytes: Option<String>,
    /// Threads that keep queries current [default: one per processor]
    #[arg(long, value_name = "N")]
    query_threads: Option<String>,
    /// Rows that one query may have, over all of its levels [default: 2000000]
    #[arg(long, value_name = "N")]
    query_max_rows: Option<String>,
    /// Memory that the rows of one query may take, about [default: 1073741824]
    #[arg(long, value_name = "BYTES")]
    query_max_bytes: Option<String>,
    /// Time of a thread that the first reading of a query may take [default: 60000]
    #[arg(long, value_name = "MS")]
    query_hydration_limit_ms: Option<String>,
    /// Time that changes may take in one query; beyond, it is read anew while others go on [default: 1000]
    #[arg(long, value_name = "MS")]
    query_advance_limit_ms: Option<String>,
    /// Connections that the server takes [default: 50000]
    #[arg(long, value_name = "N")]
    max_connections: Option<String>,
    /// Connections of one client group [default: 200]
    #[arg(long, value_name = "N")]
    max_connections_per_group: Option<String>,
    /// Connections of one user who is logged in [default: 1000]
    #[arg(long, value_name = "N")]
    max_connections_per_user: Option<String>,
    /// Messages that a connection may send in a second; more are read later [default: 500]
    #[arg(long, value_name = "N")]
    max_messages_per_second: Option<String>,
    /// Queries that a client may want at a time [default: 2000]
    #[arg(long, value_name = "N")]
    max_queries_per_client: Option<String>,
    /// Queries that a client group may have [default: 10000]
    #[arg(long, value_name = "N")]
    max_queries_per_group: Option<String>,
    /// Collector of traces and metrics: OTLP over HTTP, http://host:4318 (or OTEL_EXPORTER_OTLP_ENDPOINT)
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// Log filter: error, warn, info, debug, trace [default: info]
    #[arg(long, value_name = "FILTER")]
    log_level: Option<String>,
    /// text or json [default: text]
    #[arg(long, value_name = "FORM")]
    log_format: Option<String>,
}

impl Flags {
    /// Reads the process's command line; ends the process for `--help` and unknown flags.
    pub fn from_process() -> Command {
        Self::command(CommandLine::parse())
    }

    /// Reads flags from words without a program name, for tests and embedding.
    pub fn parse_words(words: &[&str]) -> Result<Flags, clap::Error> {
        let words = std::iter::once("landfall-server").chain(words.iter().copied());
        match Self::command(CommandLine::try_parse_from(words)?) {
            Command::Serve(flags) | Command::Check(flags) => Ok(*flags),
            Command::Exec { .. } | Command::Export { .. } | Command::Analyze { .. } => {
                Ok(Flags::default())
            }
        }
    }

    fn command(line: CommandLine) -> Command {
        line.command.unwrap_or(Command::Serve(Box::new(line.flags)))
    }

    /// The given values by setting name.
    pub(super) fn values(&self) -> BTreeMap<&'static str, String> {
        self.all()
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.clone()?)))
            .collect()
    }

    /// All settings there are, by name.
    pub(super) fn names() -> Vec<&'static str> {
        let none = Flags::default();
        none.all().into_iter().map(|(name, _)| name).collect()
    }

    fn all(&self) -> Vec<(&'static str, &Option<String>)> {
        vec![
            ("config", &self.config),
            ("upstream-db", &self.upstream_db),
            ("replica-file", &self.replica_file),
            ("cvr-db", &self.cvr_db),
            ("app-id", &self.app_id),
            ("app-publications", &self.app_publications),
            ("shard-num", &self.shard_num),
            ("host", &self.host),
            ("allowed-origins", &self.allowed_origins),
            ("port", &self.port),
            ("query-url", &self.query_url),
            ("query-api-key", &self.query_api_key),
            ("query-forward-cookies", &self.query_forward_cookies),
            (
                "query-allowed-client-headers",
                &self.query_allowed_client_headers,
            ),
            (
                "query-allowed-request-headers",
                &self.query_allowed_request_headers,
            ),
            ("mutate-url", &self.mutate_url),
            ("mutate-api-key", &self.mutate_api_key),
            ("mutate-forward-cookies", &self.mutate_forward_cookies),
            (
                "mutate-allowed-client-headers",
                &self.mutate_allowed_client_headers,
            ),
            (
                "mutate-allowed-request-headers",
                &self.mutate_allowed_request_headers,
            ),
            ("auth-secret", &self.auth_secret),
            ("auth-jwk", &self.auth_jwk),
            ("auth-jwks-url", &self.auth_jwks_url),
            ("auth-issuer", &self.auth_issuer),
            ("auth-audience", &self.auth_audience),
            ("admin-password", &self.admin_password),
            ("permissions", &self.permissions),
            ("dev", &self.dev),
            ("enable-crud-mutations", &self.enable_crud_mutations),
            (
                "per-user-mutation-limit-max",
                &self.per_user_mutation_limit_max,
            ),
            (
                "per-user-mutation-limit-window-ms",
                &self.per_user_mutation_limit_window_ms,
            ),
            (
                "websocket-max-payload-bytes",
                &self.websocket_max_payload_bytes,
            ),
            ("max-buffered-bytes", &self.max_buffered_bytes),
            ("query-threads", &self.query_threads),
            ("query-max-rows", &self.query_max_rows),
            ("query-max-bytes", &self.query_max_bytes),
            ("query-hydration-limit-ms", &self.query_hydration_limit_ms),
            ("query-advance-limit-ms", &self.query_advance_limit_ms),
            ("max-connections", &self.max_connections),
            ("max-connections-per-group", &self.max_connections_per_group),
            ("max-connections-per-user", &self.max_connections_per_user),
            ("max-messages-per-second", &self.max_messages_per_second),
            ("max-queries-per-client", &self.max_queries_per_client),
            ("max-queries-per-group", &self.max_queries_per_group),
            ("otlp-endpoint", &self.otlp_endpoint),
            ("log-level", &self.log_level),
            ("log-format", &self.log_format),
        ]
    }
}
