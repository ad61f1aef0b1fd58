//! Configuration: every setting as a flag, as `LANDFALL_X`, and as `ZERO_X` where zero-cache has the same one.
//!
//! A value is looked for in this order: flag, `LANDFALL_` variable, `ZERO_` variables, configuration file.
//! All mistakes are reported together, so that a deployment is put right in one go.

mod flags;
mod resolve;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::queries::PoolSettings;

pub use flags::{Command, Flags};
pub use resolve::{is_unknown, resolve};

/// The first text of a fresh configuration problem report.
const HEADING: &str = "the configuration has problems:";

/// A value that must never reach a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The secret itself, for the one place that uses it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether a given text is the secret; does not tell by its duration where the difference is.
    pub fn is(&self, given: &str) -> bool {
        let (a, b) = (self.0.as_bytes(), given.as_bytes());
        a.len() == b.len() && a.iter().zip(b).fold(0u8, |diff, (x, y)| diff | (x ^ y)) == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where the truth lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// A Postgres with logical replication; the address holds credentials.
    Postgres(Secret),
    /// A SQLite file that is truth and replica in one.
    Embedded(PathBuf),
}

/// Where the client view records live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CvrAddress {
    /// A SQLite file of this server alone.
    File(PathBuf),
    /// A Postgres, which several servers may share; the address holds credentials.
    Postgres(Secret),
}

/// One of the app's HTTP endpoints, and what is forwarded to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Allowed URL patterns; the first one is also the default address.
    pub urls: Vec<String>,
    /// Sent as `X-Api-Key`.
    pub api_key: Option<Secret>,
    /// Whether the cookies of the upgrade request go along.
    pub forward_cookies: bool,
    /// Names of client-sent headers that go along, in lower case.
    pub allowed_client_headers: Vec<String>,
    /// Names of upgrade-request headers that go along, in lower case.
    pub allowed_request_headers: Vec<String>,
}

/// How tokens are verified when the server itself does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtSettings {
    /// The key.
    pub key: JwtKey,
    /// Required issuer, if any.
    pub issuer: Option<String>,
    /// Required audience, if any.
    pub audience: Option<String>,
}

/// The key that tokens are verified with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwtKey {
    /// A shared secret (HS256, HS384, HS512).
    Secret(Secret),
    /// One public key as JWK text.
    Jwk(Secret),
    /// A URL that serves a set of keys.
    JwksUrl(String),
}

/// How much one client, group or user may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of the whole server.
    pub connections: usize,
    /// Connections of a client group.
    pub connections_per_group: usize,
    /// Connections of a user who is logged in.
    pub connections_per_user: usize,
    /// Messages that a connection may send in a second; more are read later.
    pub messages_per_second: u32,
    /// Queries that a client may want at a time.
    pub queries_per_client: usize,
    /// Queries that a client group may have.
    pub queries_per_group: usize,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Everything the server needs to know to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// The source of truth.
    pub upstream: UpstreamAddress,
    /// The replica file (Postgres mode).
    pub replica_file: PathBuf,
    /// The client view records.
    pub cvr: CvrAddress,
    /// Name of the app: prefix of the upstream schemas.
    pub app_id: String,
    /// Number of the shard.
    pub shard_num: u32,
    /// Publications to replicate; empty = all tables of `public`.
    pub publications: Vec<String>,
    /// Address to listen on.
    pub host: String,
    /// Origins of the pages that may connect; empty = the default.
    pub allowed_origins: Vec<String>,
    /// Port to listen on; 0 = any free one.
    pub port: u16,
    /// The app's query endpoint.
    pub query: Option<Endpoint>,
    /// The app's mutate endpoint.
    pub mutate: Option<Endpoint>,
    /// Token verification by the server.
    pub jwt: Option<JwtSettings>,
    /// Password of the admin routes.
    pub admin_password: Option<Secret>,
    /// Compiled permissions.
    pub permissions_file: Option<PathBuf>,
    /// Development mode: queries and CRUD writes without permissions.
    pub dev: bool,
    /// Whether CRUD mutations are accepted.
    pub enable_crud: bool,
    /// Mutations that a client group may send within a time.
    pub mutation_limit: Option<(usize, Duration)>,
    /// How much one client, group or user may ask for.
    pub limits: Limits,
    /// Largest message accepted from a client.
    pub max_payload_bytes: usize,
    /// Bytes that may wait for one slow connection before it lags.
    pub max_buffered_bytes: usize,
    /// Threads of the query pool, and the bounds of one query.
    pub pool: PoolSettings,
    /// The collector of traces and metrics (OTLP over HTTP), without `/v1/…`.
    pub otlp_endpoint: Option<String>,
    /// `tracing` filter.
    pub log_level: String,
    /// Form of the log lines.
    pub log_format: LogFormat,
}

impl Config {
    /// Name of the schema of client view records in Postgres.
    pub fn cvr_schema(&self) -> String {
        format!("{}_cvr", self.shard_schema())
    }

    /// Name of the shard's upstream schema.
    pub fn shard_schema(&self) -> String {
        format!("{}_{}", self.app_id, self.shard_num)
    }
}

/// All that is wrong with a configuration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{HEADING}\n{}", self.0.iter().map(|p| format!("  - {p}")).collect::<Vec<_>>().join("\n"))]
pub struct ConfigErrors(pub Vec<String>);
