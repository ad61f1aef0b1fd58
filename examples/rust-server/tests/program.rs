//! The example as it is built, driven by clients that speak the protocol: on a SQLite file, and on Postgres where
//! LANDFALL_TEST_POSTGRES_URL names one (see scripts/with-postgres.mjs).

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use futures::{SinkExt as _, StreamExt as _};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value as Json, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const SECRET: &str = "a secret of this test, long enough";
const PATIENCE: Duration = Duration::from_secs(20);

/// The program, killed when the test ends.
struct Program {
    child: Child,
    address: String,
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(upstream: &str, folder: &std::path::Path) -> Program {
    let mut child = Command::new(env!("CARGO_BIN_EXE_landfall-example-rust-server"))
        .args([
            "--upstream-db",
            upstream,
            "--host",
            "127.0.0.1",
            "--port",
            "0",
        ])
        .args(["--auth-secret", SECRET, "--log-level", "warn"])
        .arg("--replica-file")
        .arg(folder.join("replica.db"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the example starts");
    let mut line = String::new();
    let out = child.stdout.take().expect("its output");
    BufReader::new(out).read_line(&mut line).expect("a line");
    let address = line.trim().rsplit("http://").next().expect("an address");
    assert!(line.contains(" ready on http://"), "{line:?}");
    let address = address.to_owned();
    Program { child, address }
}

struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    id: String,
    next: u64,
    rows: BTreeMap<(String, String), Json>,
    got: Vec<String>,
    results: Vec<Json>,
    lmid: u64,
}

impl Client {
    async fn open(program: &Program, user: &str, queries: &[(&str, Json)]) -> Client {
        let id = format!("c{user}");
        let column = |ty: &str| json!({"type": ty});
        let (text, number, boolean) = (column("string"), column("number"), column("boolean"));
        let schema = json!({"tables": {
            "list": {"primaryKey": ["id"], "columns": {"id": text, "owner_id": text, "name": text, "shared": boolean}},
            "todo": {"primaryKey": ["id"],
                "columns": {"id": text, "list_id": text, "text": text, "done": boolean, "rank": number}},
        }});
        let wanted: Vec<Json> = queries
            .iter()
            .map(|(name, args)| json!({"op": "put", "hash": name, "name": name, "args": args}))
            .collect();
        let init =
            json!(["initConnection", {"desiredQueriesPatch": wanted, "clientSchema": schema}]);
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
        let claims = json!({"sub": user, "iat": 1});
        let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key);
        let header = json!({"initConnectionMessage": init, "authToken": token.expect("a token")});
        let header = base64::engine::general_purpose::STANDARD.encode(header.to_string());
        let header = utf8_percent_encode(&header, NON_ALPHANUMERIC).to_string();
        let url = format!(
            "ws://{}/sync/v51/connect?clientID={id}&clientGroupID=g{user}&userID={user}&ts=1&lmid=0",
            program.address
        );
        let mut request = url.into_client_request().expect("a URL");
        request
            .headers_mut()
            .insert("sec-websocket-protocol", header.parse().expect("a header"));
        let (socket, _) = tokio_tungstenite::connect_async(request)
            .await
            .expect("an upgrade");
        let mut client = Client {
            socket,
            id,
            next: 1,
            rows: BTreeMap::new(),
            got: Vec::new(),
            results: Vec::new(),
            lmid: 0,
        };
        while client.got.len() < queries.len() {
            client.read().await;
        }
        client
    }

    /// Reads one poke, or one other message.
    async fn read(&mut self) {
        while self
            .message()
            .await
            .is_some_and(|kind| kind.starts_with("poke") && kind != "pokeEnd")
        {}
    }

    async fn message(&mut self) -> Option<String> {
        let frame = tokio::time::timeout(PATIENCE, self.socket.next()).await;
        let Some(Ok(Message::Text(text))) = frame.expect("a message in time") else {
            panic!("the connection ended");
        };
        let message: Json = serde_json::from_str(&text).expect("JSON");
        assert!(
            message[0] != "error" && message[0] != "transformError",
            "{message}"
        );
        let kind = message[0].as_str().map(str::to_owned);
        if kind.as_deref() != Some("pokePart") {
            return kind;
        }
        let part = &message[1];
        let list = |name: &str| part[name].as_array().cloned().unwrap_or_default();
        for op in list("rowsPatch") {
            let table = op["tableName"].as_str().expect("a table").to_owned();
            match op["op"].as_str() {
                Some("put") => {
                    let id = op["value"]["id"].as_str().expect("a key").to_owned();
                    self.rows.insert((table, id), op["value"].clone());
                }
                Some("del") => {
                    let id = op["id"]["id"].as_str().expect("a key").to_owned();
                    self.rows.remove(&(table, id));
                }
                other => panic!("{other:?}"),
            }
        }
        let got = list("gotQueriesPatch");
        self.got.extend(got.iter().map(|op| op["hash"].to_string()));
        self.results.extend(list("mutationsPatch"));
        if let Some(lmid) = part["lastMutationIDChanges"][&self.id].as_u64() {
            self.lmid = lmid;
        }
        kind
    }

    /// Runs a mutation; its error, if it was refused.
    async fn mutate(&mut self, name: &str, args: Json) -> Option<Json> {
        let id = self.next;
        self.next += 1;
        let mutation = json!({"type": "custom", "id": id, "clientID": self.id, "name": name, "args": [args], "timestamp": 1});
        let group = format!("g{}", &self.id[1..]);
        let push = json!(["push", {"clientGroupID": group, "mutations": [mutation], "pushVersion": 1,
            "timestamp": 1, "requestID": "r"}]);
        let push = Message::Text(push.to_string().into());
        self.socket.send(push).await.expect("sent");
        while self.lmid < id {
            self.read().await;
        }
        self.results
            .pop()
            .map(|put| put["mutation"]["result"].clone())
    }

    async fn until(&mut self, holds: impl Fn(&Client) -> bool) {
        while !holds(self) {
            self.read().await;
        }
    }

    fn names(&self) -> Vec<String> {
        self.rows
            .keys()
            .map(|(table, id)| format!("{table} {id}"))
            .collect()
    }
}

/// What two users do with their lists, whatever the lists are stored in.
async fn scenario(program: Program) {
    let queries = [("lists", json!([])), ("todo.search", json!(["milk"]))];
    let mut ann = Client::open(&program, "ann", &queries).await;
    let mut bob = Client::open(&program, "bob", &queries).await;

    // The owner is the user, whatever the page says.
    let list = json!({"id": "l1", "name": "Shopping", "ownerID": "bob"});
    assert_eq!(ann.mutate("list.create", list).await, None);
    assert_eq!(ann.rows[&("list".into(), "l1".into())]["owner_id"], "ann");
    for (id, text) in [("t1", "Milk"), ("t2", "Bread"), ("t3", "Milk powder")] {
        let todo = json!({"id": id, "listID": "l1", "text": text});
        assert_eq!(ann.mutate("todo.add", todo).await, None);
    }
    ann.until(|ann| ann.names() == ["list l1", "todo t1", "todo t3"])
        .await;
    assert_eq!(ann.rows[&("todo".into(), "t3".into())]["rank"], 3);

    // Bob sees nothing of it, and does nothing to it.
    let refusal = bob
        .mutate("todo.setDone", json!({"id": "t1", "done": true}))
        .await;
    assert_eq!(
        refusal,
        Some(json!({"error": "app", "message": "This list is not yours"}))
    );
    assert_eq!(bob.names(), Vec::<String>::new());
    let shared = json!({"id": "l2", "name": "Party", "shared": true});
    assert_eq!(bob.mutate("list.create", shared).await, None);
    let todo = json!({"id": "t4", "listID": "l2", "text": "milkshake"});
    assert_eq!(bob.mutate("todo.add", todo).await, None);
    // Ann reads the shared list without being able to write on it.
    let have = ["list l1", "list l2", "todo t1", "todo t3", "todo t4"];
    ann.until(|ann| ann.names() == have).await;
    let todo = json!({"id": "t5", "listID": "l2", "text": "x"});
    let refusal = ann.mutate("todo.add", todo).await;
    assert_eq!(
        refusal,
        Some(json!({"error": "app", "message": "This list is not yours"}))
    );

    assert_eq!(
        ann.mutate("todo.setDone", json!({"id": "t1", "done": true}))
            .await,
        None
    );
    assert_eq!(ann.rows[&("todo".into(), "t1".into())]["done"], true);
}

#[tokio::test]
async fn on_a_new_sqlite_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("todo.db");
    scenario(start(&file.display().to_string(), folder.path())).await;
    // Started again it finds its tables and their rows; the group still wants what it wanted before.
    let program = start(&file.display().to_string(), folder.path());
    let ann = Client::open(&program, "ann", &[("list", json!(["l1"]))]).await;
    let have = [
        "list l1", "list l2", "todo t1", "todo t2", "todo t3", "todo t4",
    ];
    assert_eq!(ann.names(), have);
}

#[tokio::test]
async fn on_postgres() {
    let Ok(server) = std::env::var("LANDFALL_TEST_POSTGRES_URL") else {
        return eprintln!("not run: LANDFALL_TEST_POSTGRES_URL is not set");
    };
    let connect = async |url: &str| {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
            .await
            .expect("Postgres");
        tokio::spawn(connection);
        client
    };
    let admin = connect(&server).await;
    let name = format!("rust_server_{}", std::process::id());
    admin
        .batch_execute(&format!("CREATE DATABASE {name}"))
        .await
        .expect("a database");
    let mut url = url::Url::parse(&server).expect("a URL");
    url.set_path(&name);
    let client = connect(url.as_str()).await;
    client
        .batch_execute(
            "CREATE TABLE list (id text PRIMARY KEY, owner_id text NOT NULL, name text NOT NULL, shared boolean NOT NULL);
             CREATE TABLE todo (id text PRIMARY KEY, list_id text NOT NULL REFERENCES list, text text NOT NULL,
                done boolean NOT NULL, rank double precision NOT NULL);",
        )
        .await
        .expect("tables");
    let folder = tempfile::tempdir().expect("a folder");
    scenario(start(url.as_str(), folder.path())).await;
    drop(client);
    let drop_slots = format!(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '{name}' AND NOT active"
    );
    for _ in 0..900 {
        admin.batch_execute(&drop_slots).await.expect("slots");
        let drop = format!("DROP DATABASE {name} WITH (FORCE)");
        if admin.batch_execute(&drop).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the test's database cannot be dropped");
}

/// The guide shows parts of the program as they are.
#[test]
fn the_guide_is_about_this_program() {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let program = words(include_str!("../src/main.rs"));
    let guide = include_str!("../../../www/guide/rust.md");
    let samples: Vec<&str> = guide.split("```rust\n").skip(1).collect();
    assert_eq!(samples.len(), 5);
    for sample in samples {
        let sample = sample.split("```").next().unwrap_or_default();
        assert!(program.contains(&words(sample)), "{sample}");
    }
}
