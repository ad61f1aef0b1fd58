//! What JavaScript says once, when it starts a client.

use landfall_client::{Headers, Limits, Options};
use serde::Deserialize;

/// The parsed options: those of the client, and what only the host needs.
pub(crate) struct Startup {
    pub(crate) client: Options,
    /// The database's name, which also tells the locks and the channel of one client group from others.
    pub(crate) storage_name: String,
    pub(crate) storage: StorageKind,
}

/// Where the client's state is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum StorageKind {
    /// In IndexedDB.
    Indexed,
    /// In memory only.
    Memory,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Given {
    schema: Box<serde_json::value::RawValue>,
    #[serde(rename = "clientID")]
    client_id: String,
    storage_name: String,
    storage: StorageKind,
    #[serde(default, rename = "cacheURL")]
    cache_url: Option<String>,
    #[serde(default, rename = "userID")]
    user_id: Option<String>,
    #[serde(default)]
    auth: Option<String>,
    #[serde(default, rename = "queryURL")]
    query_url: Option<String>,
    #[serde(default)]
    query_headers: Headers,
    #[serde(default, rename = "mutateURL")]
    mutate_url: Option<String>,
    #[serde(default)]
    mutate_headers: Headers,
    #[serde(default)]
    ping_timeout_ms: Option<f64>,
    #[serde(default)]
    hidden_disconnect_ms: Option<f64>,
    #[serde(default)]
    disconnect_ms: Option<f64>,
    #[serde(default)]
    query_throttle_ms: Option<f64>,
    #[serde(default)]
    max_header_length: Option<usize>,
}

impl Startup {
    pub(crate) fn parse(options: &str, entropy: &[u8]) -> Result<Startup, String> {
        let given: Given =
            landfall_client::json::from_str(options).map_err(|error| error.to_string())?;
        let entropy = entropy
            .try_into()
            .map_err(|_| "32 bytes of entropy are needed".to_owned())?;
        let mut client = Options::new(given.schema.get(), entropy);
        client.limits = limits(&given);
        client.client_id = Some(given.client_id);
        client.cache_url = given.cache_url;
        client.user_id = given.user_id;
        client.auth = given.auth;
        client.query_url = given.query_url;
        client.query_headers = given.query_headers;
        client.mutate_url = given.mutate_url;
        client.mutate_headers = given.mutate_headers;
        Ok(Startup {
            client,
            storage_name: given.storage_name,
            storage: given.storage,
        })
    }
}

fn limits(given: &Given) -> Limits {
    let usual = Limits::default();
    Limits {
        ping_timeout_ms: given.ping_timeout_ms.unwrap_or(usual.ping_timeout_ms),
        hidden_disconnect_ms: given
            .hidden_disconnect_ms
            .unwrap_or(usual.hidden_disconnect_ms),
        disconnect_ms: given.disconnect_ms.unwrap_or(usual.disconnect_ms),
        query_throttle_ms: given.query_throttle_ms.unwrap_or(usual.query_throttle_ms),
        max_header_length: given.max_header_length.unwrap_or(usual.max_header_length),
        ..usual
    }
}
