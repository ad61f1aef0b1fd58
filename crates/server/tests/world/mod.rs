//! A server over a database of its own, and clients that speak the protocol. Each test has a world to itself.

#![allow(dead_code, reason = "every test file uses its own part")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use futures::{SinkExt as _, StreamExt as _};
use landfall_server::config::{self, Flags};
use landfall_server::server::{self, Running};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Where the truth lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Embedded,
    Postgres,
}

/// Runs a scenario over both kinds of upstream. Without LANDFALL_TEST_POSTGRES_URL the second half says that it did
/// not run (see scripts/with-postgres.mjs).
#[macro_export]
macro_rules! scenarios {
    ($($name:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() { super::$name($crate::world::Backend::Embedded).await; })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                if std::env::var("LANDFALL_TEST_POSTGRES_URL").is_err() {
                    return eprintln!("not run: LANDFALL_TEST_POSTGRES_URL is not set");
                }
                super::$name($crate::world::Backend::Postgres).await;
            })+
        }
    };
}

const SQLITE_TABLES: &str = r#"
CREATE TABLE issue (id TEXT PRIMARY KEY NOT NULL, title TEXT NOT NULL, owner TEXT, priority REAL,
  open INTEGER NOT NULL CHECK (open IN (0, 1))) STRICT;
CREATE TABLE comment (id TEXT PRIMARY KEY NOT NULL, issue_id TEXT NOT NULL, body TEXT NOT NULL) STRICT;
"#;
const POSTGRES_TABLES: &str = r#"
CREATE TABLE issue (id TEXT PRIMARY KEY, title TEXT NOT NULL, owner TEXT, priority DOUBLE PRECISION,
  open BOOLEAN NOT NULL);
CREATE TABLE comment (id TEXT PRIMARY KEY, issue_id TEXT NOT NULL, body TEXT NOT NULL);
"#;
const ROWS: &str = r#"
INSERT INTO issue VALUES ('i1', 'first', 'ann', 1, TRUE), ('i2', 'second', 'bob', 2, TRUE),
  ('i3', 'third', NULL, 3, FALSE);
INSERT INTO comment VALUES ('c1', 'i1', 'hello'), ('c2', 'i1', 'again'), ('c3', 'i2', 'other');
"#;

/// The client schema that fits the tables.
pub fn client_schema() -> Json {
    let column = |ty: &str| json!({"type": ty});
    json!({"tables": {
        "issue": {"primaryKey": ["id"], "columns": {"id": column("string"), "title": column("string"),
            "owner": column("string"), "priority": column("number"), "open": column("boolean")}},
        "comment": {"primaryKey": ["id"], "columns": {"id": column("string"), "issue_id": column("string"),
            "body": column("string")}},
    }})
}

enum Database {
    Embedded(PathBuf),
    Postgres {
        client: Box<tokio_postgres::Client>,
        name: String,
        admin: String,
        url: String,
    },
}

/// A database and a server over it.
pub struct World {
    pub dir: TempDir,
    database: Database,
    flags: Vec<String>,
    running: Option<Running>,
    permissions: Option<tempfile::NamedTempFile>,
}

impl World {
    /// A world in development mode.
    pub async fn new(backend: Backend) -> World {
        World::with(backend, &["--dev"]).await
    }

    /// A world with declared permissions.
    pub async fn guarded(backend: Backend, permissions: &Json, flags: &[&str]) -> World {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), permissions.to_string()).expect("written");
        let path = file.path().display().to_string();
        let flags: Vec<&str> = flags
            .iter()
            .copied()
            .chain(["--permissions", &path])
            .collect();
        let mut world = World::with(backend, &flags).await;
        world.permissions = Some(file);
        world
    }

    pub async fn with(backend: Backend, flags: &[&str]) -> World {
        if std::env::var_os("RUST_LOG").is_some() {
            // Fails when another test of the binary has done it.
            let _ = tracing_subscriber::fmt()
                .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
                .try_init();
        }
        let dir = tempfile::tempdir().expect("temporary directory");
        let database = match backend {
            Backend::Embedded => {
                let path = dir.path().join("app.db");
                let sqlite = rusqlite::Connection::open(&path).expect("SQLite file");
                sqlite
                    .execute_batch(&format!(
                        "PRAGMA journal_mode = WAL; {SQLITE_TABLES} {ROWS}"
                    ))
                    .expect("tables");
                Database::Embedded(path)
            }
            Backend::Postgres => Database::postgres().await,
        };
        let flags = flags.iter().map(|f| (*f).to_owned()).collect();
        let mut world = World {
            dir,
            database,
            flags,
            running: None,
            permissions: None,
        };
        world.start().await;
        world
    }

    /// What `--upstream-db` takes.
    pub fn address(&self) -> String {
        match &self.database {
            Database::Embedded(path) => path.display().to_string(),
            Database::Postgres { url, .. } => url.clone(),
        }
    }

    pub async fn start(&mut self) {
        let upstream = self.address();
        let replica = self.dir.path().join("replica.db").display().to_string();
        let cvr = self.dir.path().join("cvr.db").display().to_string();
        let fixed = [
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--upstream-db",
            &upstream,
            "--replica-file",
            &replica,
        ];
        let words: Vec<&str> = fixed
            .into_iter()
            .chain(["--cvr-db", &cvr])
            .chain(self.flags.iter().map(String::as_str))
            .collect();
        let flags = Flags::parse_words(&words).expect("flags");
        let config = config::resolve(&flags, &|_| None).expect("configuration");
        let started = tokio::time::timeout(Duration::from_secs(60), server::start(config)).await;
        self.running = Some(started.expect("starts in time").expect("starts"));
    }

    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown().await;
        }
    }

    pub fn running(&self) -> &Running {
        self.running.as_ref().expect("the server runs")
    }

    /// Runs statements as another program would.
    pub async fn sql(&self, statements: &str) {
        match &self.database {
            Database::Embedded(path) => {
                let sqlite = rusqlite::Connection::open(path).expect("SQLite file");
                sqlite.busy_timeout(PATIENCE).expect("time-out");
                sqlite
                    .execute_batch(&format!("BEGIN IMMEDIATE; {statements}; COMMIT"))
                    .expect("statements");
            }
            Database::Postgres { client, .. } => {
                client.batch_execute(statements).await.expect("statements")
            }
        }
    }

    /// One text value.
    pub async fn text(&self, query: &str) -> Option<String> {
        match &self.database {
            Database::Embedded(path) => {
                let sqlite = rusqlite::Connection::open(path).expect("SQLite file");
                sqlite
                    .query_row(query, [], |row| row.get(0))
                    .expect("one row")
            }
            Database::Postgres { client, .. } => {
                client.query_one(query, &[]).await.expect("one row").get(0)
            }
        }
    }

    /// A column of texts.
    pub async fn list(&self, query: &str) -> Vec<String> {
        match &self.database {
            Database::Embedded(path) => {
                let sqlite = rusqlite::Connection::open(path).expect("SQLite file");
                let mut statement = sqlite.prepare(query).expect("query");
                let rows = statement.query_map([], |row| row.get(0)).expect("rows");
                rows.collect::<Result<_, _>>().expect("texts")
            }
            Database::Postgres { client, .. } => client
                .query(query, &[])
                .await
                .expect("rows")
                .iter()
                .map(|row| row.get(0))
                .collect(),
        }
    }

    pub fn client(&self, group: &str, client: &str) -> ClientBuilder {
        let address = self.running().address;
        ClientBuilder {
            url: format!("ws://{address}/sync/v51/connect"),
            params: vec![
                ("clientID".into(), client.into()),
                ("clientGroupID".into(), group.into()),
                ("ts".into(), "1.5".into()),
                ("lmid".into(), "0".into()),
                ("wsid".into(), format!("ws-{client}")),
                ("landfall".into(), "1".into()),
            ],
            init: json!({"desiredQueriesPatch": [], "clientSchema": client_schema()}),
            token: None,
            headers: Vec::new(),
        }
    }

    /// Stops everything and removes the database.
    pub async fn end(mut self) {
        self.stop().await;
        if let Database::Postgres {
            client,
            name,
            admin,
            ..
        } = self.database
        {
            drop(client);
            let admin = connect(&admin).await;
            let slots = format!(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
                 WHERE database = '{name}' AND NOT active"
            );
            for _ in 0..50 {
                admin.batch_execute(&slots).await.expect("slots");
                if admin
                    .batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)"))
                    .await
                    .is_ok()
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            panic!("the test's database cannot be dropped");
        }
    }
}

async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
        .await
        .expect("Postgres");
    tokio::spawn(connection);
    client
}

impl Database {
    async fn postgres() -> Database {
        let admin_url = std::env::var("LANDFALL_TEST_POSTGRES_URL").expect("checked before");
        let admin = connect(&admin_url).await;
        let name = format!("landfall_{}", rand::random::<u64>());
        admin
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await
            .expect("database");
        let mut url = url::Url::parse(&admin_url).expect("URL");
        url.set_path(&name);
        let client = connect(url.as_str()).await;
        client
            .batch_execute(&format!("{POSTGRES_TABLES} {ROWS}"))
            .await
            .expect("tables");
        Database::Postgres {
            client: Box::new(client),
            name,
            admin: admin_url,
            url: url.to_string(),
        }
    }
}

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
        let query: Vec<String> = self
            .params
            .iter()
            .map(|(n, v)| format!("{n}={}", utf8_percent_encode(v, NON_ALPHANUMERIC)))
            .collect();
        let mut header = json!({"initConnectionMessage": ["initConnection", self.init]});
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
        Client::connect(
            &url,
            Some(&protocol),
            &self.headers,
            client,
            group.unwrap_or_default(),
        )
        .await
    }
}

/// A poke, its parts merged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Poke {
    pub base: Option<String>,
    pub cookie: String,
    pub parts: Vec<Json>,
}

impl Poke {
    fn list(&self, name: &str) -> Vec<Json> {
        self.parts
            .iter()
            .filter_map(|p| p[name].as_array())
            .flatten()
            .cloned()
            .collect()
    }

    /// `put:table:id` and `del:table:id`, sorted.
    pub fn rows(&self) -> Vec<String> {
        let mut rows: Vec<String> = self.list("rowsPatch").iter().map(row_name).collect();
        rows.sort();
        rows
    }

    pub fn puts(&self) -> Vec<Json> {
        self.list("rowsPatch")
            .into_iter()
            .filter(|op| op["op"] == "put")
            .map(|op| op["value"].clone())
            .collect()
    }

    /// `put:hash` and `del:hash`.
    pub fn got(&self) -> Vec<String> {
        self.list("gotQueriesPatch")
            .iter()
            .map(query_name)
            .collect()
    }

    pub fn desired(&self, client: &str) -> Vec<String> {
        let patches = self
            .parts
            .iter()
            .filter_map(|p| p["desiredQueriesPatches"][client].as_array());
        patches.flatten().map(query_name).collect()
    }

    pub fn lmid(&self, client: &str) -> Option<u64> {
        self.parts
            .iter()
            .find_map(|p| p["lastMutationIDChanges"][client].as_u64())
    }

    pub fn results(&self) -> Vec<Json> {
        self.list("mutationsPatch")
    }
}

fn row_name(op: &Json) -> String {
    let kind = op["op"].as_str().unwrap_or_default();
    let id = match kind {
        "put" => &op["value"]["id"],
        _ => &op["id"]["id"],
    };
    format!(
        "{kind}:{}:{}",
        op["tableName"].as_str().unwrap_or_default(),
        id.as_str().unwrap_or_default()
    )
}

fn query_name(op: &Json) -> String {
    format!(
        "{}:{}",
        op["op"].as_str().unwrap_or_default(),
        op["hash"].as_str().unwrap_or_default()
    )
}

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
}

impl Client {
    pub async fn connect(
        url: &str,
        protocol: Option<&str>,
        headers: &[(String, String)],
        client: String,
        group: String,
    ) -> Client {
        let mut request = url.into_client_request().expect("URL");
        let map = request.headers_mut();
        if let Some(protocol) = protocol {
            map.insert("sec-websocket-protocol", protocol.parse().expect("header"));
        }
        for (name, value) in headers {
            let name: axum::http::HeaderName = name.parse().expect("name");
            map.insert(name, value.parse().expect("header"));
        }
        let (socket, response) = tokio_tungstenite::connect_async(request)
            .await
            .expect("upgrade");
        let header = response.headers().get("sec-websocket-protocol");
        let protocol = header.map(|v| v.to_str().expect("text").to_owned());
        Client {
            socket,
            protocol,
            client,
            group,
            cookie: None,
            rows: BTreeMap::new(),
            has_got: BTreeSet::new(),
            others: Vec::new(),
        }
    }

    pub async fn send(&mut self, message: Json) {
        self.send_text(message.to_string()).await;
    }

    pub async fn send_text(&mut self, text: String) {
        self.socket
            .send(Message::Text(text.into()))
            .await
            .expect("sent");
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
                    let bodies: Json = serde_json::from_slice(&bytes[1..])
                        .expect("one frame holds all of a small poke");
                    return Ok(json!(["chunk", bodies]));
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

    /// The next message of a kind; pokes on the way are applied, other messages kept.
    pub async fn expect(&mut self, kind: &str) -> Json {
        if let Some(at) = self.others.iter().position(|m| m[0] == kind) {
            return self.others.remove(at)[1].clone();
        }
        loop {
            let message = self
                .next()
                .await
                .unwrap_or_else(|closed| panic!("{kind} expected, got {closed:?}"));
            if message[0] == kind {
                return message[1].clone();
            }
            if message[0] == "pokeStart" {
                self.read_poke(&message[1]).await;
            } else {
                assert_ne!(message[0], "error", "{kind} expected, got {message}");
                self.others.push(message);
            }
        }
    }

    /// The error that ends the connection.
    pub async fn error(&mut self) -> Json {
        loop {
            let message = self
                .next()
                .await
                .unwrap_or_else(|closed| panic!("an error expected, got {closed:?}"));
            match message[0].as_str() {
                Some("error") => {
                    assert!(
                        message[1]["origin"].is_string(),
                        "every error has an origin: {message}"
                    );
                    return message[1].clone();
                }
                Some("pokeStart") => {
                    self.read_poke(&message[1]).await;
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
            let message = self
                .next()
                .await
                .unwrap_or_else(|closed| panic!("a poke expected, got {closed:?}"));
            if message[0] == "pokeStart" {
                return self.read_poke(&message[1]).await;
            }
            assert_ne!(message[0], "error", "a poke expected, got {message}");
            self.others.push(message);
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

    /// Takes a frame that was read from the socket directly.
    pub async fn take(&mut self, frame: Message) {
        if let Message::Text(text) = frame {
            let message: Json = serde_json::from_str(&text).expect("JSON");
            match message[0].as_str() {
                Some("pokeStart") => {
                    self.read_poke(&message[1]).await;
                }
                _ => self.others.push(message),
            }
        }
    }

    async fn read_poke(&mut self, start: &Json) -> Poke {
        let base = start["baseCookie"].as_str().map(str::to_owned);
        let mut poke = Poke {
            base,
            ..Poke::default()
        };
        loop {
            let message = self
                .next()
                .await
                .unwrap_or_else(|closed| panic!("inside a poke: {closed:?}"));
            match message[0].as_str() {
                Some("pokePart") => {
                    assert_eq!(message[1]["pokeID"], start["pokeID"]);
                    poke.parts.push(message[1].clone());
                }
                Some("chunk") => poke
                    .parts
                    .extend(message[1].as_array().expect("bodies").clone()),
                Some("pokeEnd") => {
                    assert_eq!(message[1]["pokeID"], start["pokeID"]);
                    poke.cookie = message[1]["cookie"].as_str().expect("a cookie").to_owned();
                    break;
                }
                Some("pong") => {}
                _ => self.others.push(message),
            }
        }
        self.apply(&poke);
        poke
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
