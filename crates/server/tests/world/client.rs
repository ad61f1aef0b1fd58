//! A client that speaks the protocol and keeps what it is told, as a real one does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value as Json, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::poke::row_name;
use super::{PATIENCE, Poke};

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    pub code: Option<u16>,
    pub reason: String,
}

/// A connected client. It keeps what pokes told it, as a real one does.
pub struct Client {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub protocol: Option<String>,
    pub client: String,
    pub group: String,
    pub cookie: Option<String>,
    pub rows: BTreeMap<(String, String), Json>,
    /// Queries whose rows are all there.
    pub has_got: BTreeSet<String>,
    /// Messages that were not asked for yet.
    pub others: Vec<Json>,
    /// The last mutation id of each client.
    pub lmids: BTreeMap<String, u64>,
    /// The poke that arrives, with its id.
    partial: Option<(Json, Poke)>,
    /// Slices of it, if it is binary.
    chunks: Vec<u8>,
}

/// What a connection brings.
enum Received {
    Poke(Poke),
    Other(Json),
}

impl Client {
    pub async fn connect(
        url: &str,
        protocol: Option<&str>,
        headers: &[(String, String)],
        client: String,
        group: String,
    ) -> Client {
        let connected = Client::try_connect(url, protocol, headers, client, group).await;
        connected.expect("upgrade")
    }

    /// `None` if the server cannot be reached.
    pub async fn try_connect(
        url: &str,
        protocol: Option<&str>,
        headers: &[(String, String)],
        client: String,
        group: String,
    ) -> Option<Client> {
        let mut request = url.into_client_request().expect("URL");
        let map = request.headers_mut();
        if let Some(protocol) = protocol {
            map.insert("sec-websocket-protocol", protocol.parse().expect("header"));
        }
        for (name, value) in headers {
            let name: axum::http::HeaderName = name.parse().expect("name");
            map.insert(name, value.parse().expect("header"));
        }
        let (socket, response) = tokio_tungstenite::connect_async(request).await.ok()?;
        let header = response.headers().get("sec-websocket-protocol");
        let protocol = header.map(|v| v.to_str().expect("text").to_owned());
        Some(Client {
            socket,
            protocol,
            client,
            group,
            cookie: None,
            rows: BTreeMap::new(),
            has_got: BTreeSet::new(),
            others: Vec::new(),
            lmids: BTreeMap::new(),
            partial: None,
            chunks: Vec::new(),
        })
    }

    pub async fn send(&mut self, message: Json) {
        self.send_text(message.to_string()).await;
    }

    pub async fn send_text(&mut self, text: String) {
        assert!(self.try_send(text).await, "sent");
    }

    /// False if the connection has ended.
    pub async fn try_send(&mut self, text: String) -> bool {
        self.socket.send(Message::Text(text.into())).await.is_ok()
    }

    /// The next message, or how the connection ended.
    pub async fn next(&mut self) -> Result<Json, Closed> {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.socket.next())
                .await
                .expect("a message in time");
            match frame {
                Some(Ok(Message::Text(text))) => {
                    return Ok(serde_json::from_str(&text).expect("JSON"));
                }
                Some(Ok(Message::Binary(bytes))) => {
                    assert_eq!(bytes[0], 0, "a poke chunk");
                    self.chunks.extend_from_slice(&bytes[1..]);
                }
                Some(Ok(Message::Close(frame))) => {
                    let code = frame.as_ref().map(|f| f.code.into());
                    let reason = frame.map(|f| f.reason.to_string()).unwrap_or_default();
                    return Err(Closed { code, reason });
                }
                Some(Ok(_)) => {}
                None | Some(Err(_)) => {
                    return Err(Closed {
                        code: None,
                        reason: String::new(),
                    });
                }
            }
        }
    }

    /// The next message that is no piece of a poke, or the next poke, applied.
    async fn receive(&mut self) -> Result<Received, Closed> {
        loop {
            let message = self.next().await?;
            if let Some(received) = self.take(message) {
                return Ok(received);
            }
        }
    }

    /// Takes a message in; a poke is given out when it is complete.
    fn take(&mut self, message: Json) -> Option<Received> {
        let body = &message[1];
        match message[0].as_str() {
            Some("pokeStart") => {
                assert!(self.partial.is_none(), "one poke at a time");
                let base = body["baseCookie"].as_str().map(str::to_owned);
                let poke = Poke {
                    base,
                    ..Poke::default()
                };
                self.partial = Some((body["pokeID"].clone(), poke));
                None
            }
            Some("pokePart") => {
                let (id, poke) = self.partial.as_mut().expect("a poke begins with its start");
                assert_eq!(body["pokeID"], *id);
                poke.parts.push(body.clone());
                None
            }
            Some("pokeEnd") => {
                let (id, mut poke) = self.partial.take().expect("a poke begins with its start");
                assert_eq!(body["pokeID"], id);
                if !self.chunks.is_empty() {
                    let bodies: Json = serde_json::from_slice(&std::mem::take(&mut self.chunks))
                        .expect("the chunks of a poke are one list");
                    poke.parts = bodies.as_array().expect("bodies").clone();
                }
                poke.cookie = body["cookie"].as_str().expect("a cookie").to_owned();
                self.apply(&poke);
                Some(Received::Poke(poke))
            }
            _ => Some(Received::Other(message)),
        }
    }

    /// Reads for a while; says if the connection ended meanwhile. Half a poke is forgotten.
    pub async fn follow(&mut self, time: Duration) -> Result<(), Closed> {
        let end = tokio::time::Instant::now() + time;
        loop {
            match tokio::time::timeout_at(end, self.receive()).await {
                Ok(Ok(Received::Poke(_))) => {}
                Ok(Ok(Received::Other(message))) => self.others.push(message),
                Ok(Err(closed)) => return Err(closed),
                Err(_) => return Ok(()),
            }
        }
    }

    /// The next message of a kind; pokes on the way are applied, other messages kept.
    pub async fn expect(&mut self, kind: &str) -> Json {
        if let Some(at) = self.others.iter().position(|m| m[0] == kind) {
            return self.others.remove(at)[1].clone();
        }
        loop {
            let received = self.receive().await;
            match received.unwrap_or_else(|closed| panic!("{kind} expected, got {closed:?}")) {
                Received::Other(message) if message[0] == kind => return message[1].clone(),
                Received::Other(message) => {
                    assert_ne!(message[0], "error", "{kind} expected, got {message}");
                    self.others.push(message);
                }
                Received::Poke(_) => {}
            }
        }
    }

    /// The error that ends the connection.
    pub async fn error(&mut self) -> Json {
        loop {
            let received = self.receive().await;
            match received.unwrap_or_else(|closed| panic!("an error expected, got {closed:?}")) {
                Received::Other(message) if message[0] == "error" => {
                    assert!(
                        message[1]["origin"].is_string(),
                        "every error has an origin: {message}"
                    );
                    return message[1].clone();
                }
                _ => {}
            }
        }
    }

    pub async fn closed(&mut self) -> Closed {
        loop {
            if let Err(closed) = self.next().await {
                return closed;
            }
        }
    }

    /// The next poke, applied.
    pub async fn poke(&mut self) -> Poke {
        loop {
            let received = self.receive().await;
            match received.unwrap_or_else(|closed| panic!("a poke expected, got {closed:?}")) {
                Received::Poke(poke) => return poke,
                Received::Other(message) => {
                    assert_ne!(message[0], "error", "a poke expected, got {message}");
                    self.others.push(message);
                }
            }
        }
    }

    /// Pokes until one has got a query.
    pub async fn got(&mut self, hash: &str) -> Poke {
        loop {
            let poke = self.poke().await;
            if poke.got().contains(&format!("put:{hash}")) {
                return poke;
            }
        }
    }

    /// Pokes until a mutation is confirmed.
    pub async fn confirmed(&mut self, id: u64) -> Poke {
        let client = self.client.clone();
        loop {
            let poke = self.poke().await;
            if poke.lmid(&client).is_some_and(|lmid| lmid >= id) {
                return poke;
            }
        }
    }

    fn apply(&mut self, poke: &Poke) {
        if self.cookie.is_some() {
            assert_eq!(
                poke.base, self.cookie,
                "a poke continues where the client is"
            );
        }
        let before = poke.base.clone().unwrap_or_default();
        assert!(
            poke.cookie >= before,
            "cookies do not go back: {before} → {}",
            poke.cookie
        );
        assert!(
            poke.cookie > before || poke.parts.is_empty(),
            "what is new comes with a new cookie: {poke:?}"
        );
        self.cookie = Some(poke.cookie.clone());
        for part in &poke.parts {
            let lmids = part["lastMutationIDChanges"].as_object();
            for (client, id) in lmids.into_iter().flatten() {
                let id = id.as_u64().expect("a number");
                let before = self.lmids.insert(client.clone(), id).unwrap_or(0);
                assert!(
                    before <= id,
                    "confirmations do not go back: {before} → {id}"
                );
            }
        }
        if poke.list("rowsPatch").iter().any(|op| op["op"] == "clear") {
            self.has_got.clear();
        }
        for op in poke.got() {
            match op.split_once(':') {
                Some(("put", hash)) => self.has_got.insert(hash.to_owned()),
                Some(("del", hash)) => self.has_got.remove(hash),
                _ => panic!("unknown query operation {op}"),
            };
        }
        for op in poke.list("rowsPatch") {
            let table = op["tableName"].as_str().unwrap_or_default().to_owned();
            let name = row_name(&op);
            let id = name.rsplit(':').next().unwrap_or_default().to_owned();
            match op["op"].as_str() {
                Some("put") => {
                    self.rows.insert((table, id), op["value"].clone());
                }
                Some("del") => {
                    self.rows.remove(&(table, id));
                }
                Some("clear") => self.rows.clear(),
                other => panic!("unknown row operation {other:?}"),
            }
        }
    }

    /// Names of all rows, `table:id`.
    pub fn have(&self) -> Vec<String> {
        self.rows
            .keys()
            .map(|(table, id)| format!("{table}:{id}"))
            .collect()
    }

    pub fn row(&self, table: &str, id: &str) -> Option<&Json> {
        self.rows.get(&(table.to_owned(), id.to_owned()))
    }

    pub async fn desire(&mut self, ops: Json) {
        self.send(json!(["changeDesiredQueries", {"desiredQueriesPatch": ops}]))
            .await;
    }

    pub async fn push(&mut self, mutations: Json) {
        let body = json!({"clientGroupID": self.group, "mutations": mutations, "pushVersion": 1, "timestamp": 1,
            "requestID": "r"});
        self.send(json!(["push", body])).await;
    }

    /// A push of one CRUD mutation.
    pub async fn crud(&mut self, id: u64, ops: Json) {
        let mutation = json!({"type": "crud", "id": id, "clientID": self.client, "name": "_zero_crud",
            "args": [{"ops": ops}], "timestamp": 1});
        self.push(json!([mutation])).await;
    }

    /// Goes away without a word.
    pub fn vanish(self) -> (String, BTreeMap<(String, String), Json>) {
        (self.cookie.clone().unwrap_or_default(), self.rows)
    }
}

/// A CRUD operation on an issue.
pub fn issue_op(op: &str, value: Json) -> Json {
    json!({"op": op, "tableName": "issue", "primaryKey": ["id"], "value": value})
}
