//! How a client connects.

use base64::Engine as _;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value as Json, json};

use super::Client;

/// A connection to be made.
#[derive(Clone)]
pub struct ClientBuilder {
    pub url: String,
    pub params: Vec<(String, String)>,
    pub init: Json,
    pub token: Option<String>,
    pub headers: Vec<(String, String)>,
}

impl ClientBuilder {
    pub fn param(mut self, name: &str, value: &str) -> Self {
        self.params.retain(|(n, _)| n != name);
        self.params.push((name.into(), value.into()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.params.retain(|(n, _)| n != name);
        self
    }

    /// As Zero's own client would connect.
    pub fn zero(self) -> Self {
        self.without("landfall")
    }

    pub fn version(mut self, version: u32) -> Self {
        self.url = self.url.replace("/v51/", &format!("/v{version}/"));
        self
    }

    pub fn cookie(self, cookie: &str) -> Self {
        let mut client = self.param("baseCookie", cookie);
        if let Some(init) = client.init.as_object_mut() {
            init.remove("clientSchema");
        }
        client
    }

    pub fn put(mut self, hash: &str, ast: Json) -> Self {
        self.desire(json!({"op": "put", "hash": hash, "ast": ast}));
        self
    }

    pub fn named(mut self, hash: &str, name: &str, args: Json) -> Self {
        self.desire(json!({"op": "put", "hash": hash, "name": name, "args": args}));
        self
    }

    fn desire(&mut self, op: Json) {
        self.init["desiredQueriesPatch"]
            .as_array_mut()
            .expect("a list")
            .push(op);
    }

    pub async fn open(self) -> Client {
        self.try_open().await.expect("the server answers")
    }

    /// `None` if the server cannot be reached.
    pub async fn try_open(self) -> Option<Client> {
        let query: Vec<String> = self
            .params
            .iter()
            .map(|(n, v)| format!("{n}={}", utf8_percent_encode(v, NON_ALPHANUMERIC)))
            .collect();
        let mut header = match &self.init {
            Json::Null => json!({}),
            init => json!({"initConnectionMessage": ["initConnection", init]}),
        };
        if let Some(token) = &self.token {
            header["authToken"] = json!(token);
        }
        let encoded = base64::engine::general_purpose::STANDARD.encode(header.to_string());
        let protocol = utf8_percent_encode(&encoded, NON_ALPHANUMERIC).to_string();
        let url = format!("{}?{}", self.url, query.join("&"));
        let client = self
            .params
            .iter()
            .find(|(n, _)| n == "clientID")
            .map(|(_, v)| v.clone())
            .unwrap_or_default();
        let group = self
            .params
            .iter()
            .find(|(n, _)| n == "clientGroupID")
            .map(|(_, v)| v.clone());
        Client::try_connect(
            &url,
            Some(&protocol),
            &self.headers,
            client,
            group.unwrap_or_default(),
        )
        .await
    }
}
