//! Logs name clients, queries and mutations, and hold no value of anybody's.

mod world;

use std::io;
use std::sync::Arc;

use landfall_server::app::{App, AppError};
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use tracing_subscriber::EnvFilter;
use world::{Backend, Client, World, issue_op};

/// Everything that is a value begins like this.
const VALUE: &str = "S3CR3T";

landfall_zql::tables! {
    /// What has to be done.
    pub mod issue = "issue" {
        columns { ID: String = "id", TITLE: String = "title", OPEN: bool = "open" }
        key (ID)
    }
}

fn app() -> App {
    App::new(catalog().expect("a catalog"))
        .query("issue", |_, id: f64| {
            landfall_zql::builder::Query::of(issue::Table).filter(issue::ID.eq(id.to_string()))
        })
        .mutator("add", |_, title: String| {
            Err(AppError::new(format!("no {title}")))
        })
        .mutator("number", |_, _: f64| Ok(()))
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn mutate(client: &mut Client, id: u64, name: &str, args: Json) {
    let mutation = json!({"type": "custom", "id": id, "clientID": client.client, "name": name, "args": [args], "timestamp": 1});
    client.push(json!([mutation])).await;
}

/// Whatever can go wrong with values, goes wrong.
async fn trouble(backend: Backend) {
    let secret = |what: &str| format!("{VALUE}-{what}");
    let world = World::with_app(
        backend,
        &["--dev", "--admin-password", "S3CR3T-password"],
        app,
    )
    .await;
    let literal = json!({"type": "simple", "op": "=", "left": {"type": "column", "name": "title"},
        "right": {"type": "literal", "value": secret("literal")}});
    let wrong = json!({"type": "simple", "op": "=", "left": {"type": "column", "name": "open"},
        "right": {"type": "literal", "value": secret("literal")}});
    let mut client = world
        .client("the-group", "the-client")
        .param("userID", "the-user");
    client.token = Some(secret("token"));
    let client = client
        .put("literal", json!({"table": "issue", "where": literal}))
        .put("wrong", json!({"table": "issue", "where": wrong}))
        .named("the-query", "issue", json!([secret("argument")]));
    let mut client = client.open().await;
    while !client.has_got.contains("literal") {
        client.poke().await;
    }
    client
        .send(json!(["inspect", {"op": "authenticate", "id": "1", "value": secret("guess")}]))
        .await;
    client.expect("inspect").await;
    mutate(&mut client, 1, "add", json!(secret("title"))).await;
    mutate(&mut client, 2, "number", json!(secret("number"))).await;
    client.confirmed(2).await;

    let mut zero = world.client("other-group", "zero").zero().open().await;
    zero.poke().await;
    let title = secret("row");
    let writes = [
        json!({"id": secret("key"), "title": title, "open": title}),
        json!({"id": secret("key"), "title": title, "priority": title, "open": true}),
        json!({"id": secret("key"), "open": true}),
        json!({"id": secret("key"), "title": 5, "open": true}),
    ];
    for (id, value) in (1..).zip(writes) {
        zero.crud(id, json!([issue_op("insert", value)])).await;
        assert_eq!(zero.error().await["kind"], "MutationFailed");
    }
    // What the server itself reads of a row that does not fit.
    world
        .sql(&format!(
            "INSERT INTO issue VALUES ('{}', 't', 'o', 1, TRUE)",
            secret("key")
        ))
        .await;
    let messages = [
        json!(["push", {"clientGroupID": secret("group"), "unknown": secret("member")}]),
        json!(["changeDesiredQueries", {"desiredQueriesPatch": [{"op": secret("op")}]}]),
    ];
    for (at, message) in messages.into_iter().enumerate() {
        let client = world.client(&format!("bad-group-{at}"), "bad");
        let mut bad = client.open().await;
        bad.poke().await;
        bad.send(message).await;
        assert_eq!(bad.error().await["kind"], "InvalidMessage");
    }
    drop((client, zero));
    world.end().await;
}

/// An app that takes everybody for the same user.
async fn another_user() {
    let answer = |axum::Json(body): axum::Json<Json>| async move {
        let query = body[0] == "transform";
        let user = format!("{VALUE}-user");
        axum::Json(if query {
            json!({"kind": "QueryResponse", "userID": user, "queries": []})
        } else {
            json!({"kind": "MutateResponse", "userID": user, "mutations": []})
        })
    };
    let router = axum::Router::new().route("/api", axum::routing::post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let url = format!("http://{}/api", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let flags = ["--query-url", &url, "--mutate-url", &url];
    let world = World::with(Backend::Embedded, &flags).await;
    let client = |group: &str| {
        world
            .client(group, "c")
            .param("userID", &format!("{VALUE}-page"))
    };
    let asks = client("g1").named("h", "all", json!([]));
    assert_eq!(asks.open().await.error().await["kind"], "TransformFailed");
    let mut writes = client("g2").open().await;
    mutate(&mut writes, 1, "add", json!(1)).await;
    assert_eq!(writes.error().await["kind"], "PushFailed");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_is_logged() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("landfall_server=trace"))
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    another_user().await;
    trouble(Backend::Embedded).await;
    if std::env::var("LANDFALL_TEST_POSTGRES_URL").is_ok() {
        trouble(Backend::Postgres).await;
    } else {
        eprintln!("not run on Postgres: LANDFALL_TEST_POSTGRES_URL is not set");
    }
    let text = String::from_utf8(log.0.lock().clone()).expect("text");
    let leaks: Vec<&str> = text.lines().filter(|line| line.contains(VALUE)).collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
    let warned = |endpoint: &str| {
        let about = format!("endpoint=\"{endpoint}\"");
        text.lines()
            .any(|l| l.contains(" WARN ") && l.contains("another user") && l.contains(&about))
    };
    assert!(warned("query") && warned("mutate"), "{text}");
    for named in [
        "the-group",
        "the-client",
        "the-query",
        "other-group",
        "mutation=1",
    ] {
        assert!(text.contains(named), "{named} is not named:\n{text}");
    }
}
