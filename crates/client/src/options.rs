//! What a client is made with: [`Options`].

use landfall_zql::sorted_map::SortedMap;

/// HTTP headers by name.
pub type Headers = SortedMap<String, String>;

/// What a client is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    #[default]
    Usual,
    /// Everything, but it connects only after [`crate::Client::release`]: when what was asked for before it was there has
    /// been asked, and stores of earlier schemas are drained.
    Held,
    /// To send what is left in the store of an earlier schema: no rows, no queries, no mutators.
    /// [`crate::Effect::Drained`] tells when nothing is pending any more.
    Draining,
}

/// Everything that a client must be told once.
#[derive(Clone, Debug)]
pub struct Options {
    /// JSON text of the TypeScript schema (`createSchema` result).
    pub schema_json: String,
    /// `http(s)://host[/path]` of the server, or `None` to stay local.
    pub cache_url: Option<String>,
    /// The user, or `None` when logged out.
    pub user_id: Option<String>,
    /// The token, sent in the handshake only.
    pub auth: Option<String>,
    /// The application's query endpoint, if not the server's own setting.
    pub query_url: Option<String>,
    /// Headers for the query endpoint.
    pub query_headers: Headers,
    /// The application's mutate endpoint, if not the server's own setting.
    pub mutate_url: Option<String>,
    /// Headers for the mutate endpoint.
    pub mutate_headers: Headers,
    /// This client's id, if the host has made it: 18 characters of `0-9a-v`, never used before.
    pub client_id: Option<String>,
    /// Randomness for ids and jitter. Must be fresh for every client: ids come from it.
    pub entropy: [u8; 32],
    /// What it is for.
    pub role: Role,
    /// Times and limits.
    pub limits: Limits,
}

/// Times in milliseconds and sizes; the defaults are Zero's where Zero has the setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Socket open and `connected` must come within this time.
    pub connect_timeout_ms: f64,
    /// Silence after which a ping is sent, and again the time to wait for its pong.
    pub ping_timeout_ms: f64,
    /// How long a hidden tab keeps its connection.
    pub hidden_disconnect_ms: f64,
    /// How long to be without connection before the state is called `disconnected`. Retries go on.
    pub disconnect_ms: f64,
    /// First pause of the exponential back-off.
    pub backoff_first_ms: f64,
    /// Longest pause of the exponential back-off.
    pub backoff_max_ms: f64,
    /// Changes of wanted queries within this time travel in one message.
    pub query_throttle_ms: f64,
    /// How long a mutator may take to settle.
    pub mutator_deadline_ms: f64,
    /// Longest handshake value that may carry `initConnection`.
    pub max_header_length: usize,
    /// So many rows that no view shows any more are kept where views are shown, so that showing them again is cheap.
    pub idle_rows: usize,
    /// So many rows the queries may show together that are kept current after their views were closed.
    pub resting_rows: usize,
    /// From so many on, the rows of a view go to JavaScript before it is filled: to take fewer costs more than to make
    /// their objects.
    pub early_rows: usize,
    /// How much is done in one piece before [`crate::Effect::MoreWork`] asks for the rest: about so many rows read.
    /// [`crate::Client::set_slice_steps`] changes it.
    pub slice_steps: usize,
    /// A poke with more rows than this, or over more pending mutations, is applied on a copy, in slices.
    pub stage_from: usize,
    /// A poke with more rows than this is stored with all others, as pages.
    pub snapshot_from: usize,
    /// Most mutations that are sent in one turn, and so in one message. At least one.
    pub push_batch: usize,
    /// Most mutations of which storage is told at once that they are about to be sent. At least one.
    pub mark_batch: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connect_timeout_ms: 10_000.0,
            ping_timeout_ms: 5_000.0,
            hidden_disconnect_ms: 300_000.0,
            disconnect_ms: 60_000.0,
            backoff_first_ms: 500.0,
            backoff_max_ms: 30_000.0,
            query_throttle_ms: 10.0,
            mutator_deadline_ms: 10_000.0,
            max_header_length: 8_192,
            idle_rows: 32_768,
            resting_rows: 32_768,
            early_rows: 512,
            slice_steps: 2_000,
            stage_from: 250,
            snapshot_from: 10_000,
            push_batch: 100,
            mark_batch: 500,
        }
    }
}

impl Options {
    /// Options for a local client of this schema; set the other fields as needed.
    pub fn new(schema_json: impl Into<String>, entropy: [u8; 32]) -> Self {
        Options {
            schema_json: schema_json.into(),
            cache_url: None,
            user_id: None,
            auth: None,
            query_url: None,
            query_headers: Headers::new(),
            mutate_url: None,
            mutate_headers: Headers::new(),
            client_id: None,
            entropy,
            role: Role::Usual,
            limits: Limits::default(),
        }
    }
}
