//! Queries by name and custom mutations through an app's endpoints.

mod world;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json as JsonBody, Router};
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use world::{Backend, World};

scenarios!(
    queries_by_name_are_answered_by_the_app,
    a_refused_user_hears_it,
    an_endpoint_that_is_down_is_tried_again,
);

/// A tiny app: what it was asked, and what it answers.
#[derive(Clone, Default)]
struct App {
    asked: Arc<Mutex<Vec<Asked>>>,
    answers: Arc<Mutex<Vec<(u16, Json)>>>,
}

#[derive(Clone, Debug)]
struct Asked {
    uri: String,
    headers: HeaderMap,
    body: Json,
}

impl App {
    async fn start() -> (App, String) {
        let app = App::default();
        let router = Router::new()
            .route("/api", post(answer))
            .with_state(app.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("port");
        let url = format!("http://{}/api", listener.local_addr().expect("address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (app, url)
    }

    /// Answers, in order, before the usual ones.
    fn then(&self, status: u16, body: Json) {
        self.answers.lock().push((status, body));
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }
}

async fn answer(
    State(app): State<App>,
    uri: Uri,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Json>,
) -> impl IntoResponse {
    app.asked.lock().push(Asked {
        uri: uri.to_string(),
        headers,
        body: body.clone(),
    });
    let mut prepared = app.answers.lock();
    if !prepared.is_empty() {
        let (status, body) = prepared.remove(0);
        return (
            StatusCode::from_u16(status).expect("status"),
            JsonBody(body),
        );
    }
    let queries: Vec<Json> = body[1]
        .as_array()
        .into_iter()
        .flatten()
        .map(transformed)
        .collect();
    (
        StatusCode::OK,
        JsonBody(json!({"kind": "QueryResponse", "queries": queries})),
    )
}

fn transformed(query: &Json) -> Json {
    let (id, name) = (&query["id"], &query["name"]);
    match name.as_str() {
        Some("issueByID") => {
            json!({"id": id, "name": name, "ast": {"table": "issue", "where": {"type": "simple",
            "op": "=", "left": {"type": "column", "name": "id"},
            "right": {"type": "literal", "value": query["args"][0]}}}})
        }
        Some("allIssues") => json!({"id": id, "name": name, "ast": {"table": "issue"}}),
        _ => json!({"error": "app", "id": id, "name": name, "message": "no such query"}),
    }
}

async fn queries_by_name_are_answered_by_the_app(backend: Backend) {
    let (app, url) = App::start().await;
    let flags = [
        "--query-url",
        &url,
        "--query-api-key",
        "key",
        "--query-forward-cookies",
    ];
    let world = World::with(backend, &flags).await;
    let mut client = world
        .client("g", "c")
        .named("h", "issueByID", json!(["i1"]))
        .named("bad", "nope", json!([]));
    client.token = Some("tok".into());
    client.headers.push(("cookie".into(), "s=1".into()));
    let mut client = client.param("userID", "ann").open().await;
    assert_eq!(
        client.expect("connected").await["landfall"]["queries"],
        "named"
    );
    assert_eq!(client.got("h").await.rows(), ["put:issue:i1"]);
    let errors = client.expect("transformError").await;
    assert_eq!(
        errors,
        json!([{"error": "app", "id": "bad", "name": "nope", "message": "no such query"}])
    );
    let asked = &app.asked()[0];
    assert_eq!(asked.uri, "/api?schema=zero_0&appID=zero");
    assert_eq!(asked.headers["authorization"], "Bearer tok");
    assert_eq!(asked.headers["x-api-key"], "key");
    assert_eq!(asked.headers["cookie"], "s=1");
    assert_eq!(asked.body[0], "transform");
    world
        .sql("UPDATE issue SET title = 'x' WHERE id = 'i1'")
        .await;
    assert_eq!(client.poke().await.rows(), ["put:issue:i1"]);
    // An AST is not answered under the app's permissions.
    client
        .desire(json!([{"op": "put", "hash": "ast", "ast": {"table": "issue"}}]))
        .await;
    assert_eq!(client.expect("transformError").await[0]["id"], "ast");
    client
        .desire(json!([{"op": "put", "hash": "all", "name": "allIssues", "args": []}]))
        .await;
    assert_eq!(
        client.got("all").await.rows(),
        ["put:issue:i2", "put:issue:i3"]
    );
    world.end().await;
}

async fn a_refused_user_hears_it(backend: Backend) {
    let (app, url) = App::start().await;
    let world = World::with(backend, &["--query-url", &url]).await;
    app.then(401, json!("go away"));
    let mut client = world
        .client("g", "c")
        .named("h", "allIssues", json!([]))
        .open()
        .await;
    let error = client.error().await;
    assert_eq!(error["kind"], "TransformFailed");
    assert_eq!(
        (&error["status"], &error["reason"]),
        (&json!(401), &json!("http"))
    );
    assert_eq!(error["bodyPreview"], "\"go away\"");
    app.then(
        200,
        json!({"kind": "QueryResponse", "userID": "bob", "queries": []}),
    );
    let mut client = world
        .client("g2", "c")
        .param("userID", "ann")
        .named("h", "allIssues", json!([]))
        .open()
        .await;
    let error = client.error().await;
    assert_eq!(error["status"], 401);
    assert_eq!(error["bodyPreview"], "the query endpoint sees another user");
    app.then(200, json!("nonsense"));
    let mut client = world
        .client("g3", "c")
        .named("h", "allIssues", json!([]))
        .open()
        .await;
    assert_eq!(client.error().await["reason"], "parse");
    world.end().await;
}

async fn an_endpoint_that_is_down_is_tried_again(backend: Backend) {
    let (app, url) = App::start().await;
    let world = World::with(backend, &["--query-url", &url]).await;
    app.then(503, json!({}));
    app.then(500, json!({}));
    let mut client = world
        .client("g", "c")
        .named("h", "allIssues", json!([]))
        .open()
        .await;
    assert_eq!(client.got("h").await.rows().len(), 3);
    assert_eq!(app.asked().len(), 3);
    world.end().await;
}

mod custom_mutations {
    use super::*;

    fn custom(id: u64) -> Json {
        json!({"type": "custom", "id": id, "clientID": "c", "name": "issue.rename", "args": [{"id": "i1"}],
            "timestamp": 1})
    }

    const LMID: &str = r#"INSERT INTO zero_0.clients ("clientGroupID", "clientID", "lastMutationID")
        VALUES ('g', 'c', 1) ON CONFLICT ("clientGroupID", "clientID")
        DO UPDATE SET "lastMutationID" = zero_0.clients."lastMutationID" + 1"#;

    #[tokio::test(flavor = "multi_thread")]
    async fn come_back_by_replication() {
        if std::env::var("LANDFALL_TEST_POSTGRES_URL").is_err() {
            return eprintln!("not run: LANDFALL_TEST_POSTGRES_URL is not set");
        }
        let (app, url) = App::start().await;
        let world = World::with(Backend::Postgres, &["--dev", "--mutate-url", &url]).await;
        let mut client = world
            .client("g", "c")
            .put("h", json!({"table": "issue"}))
            .open()
            .await;
        assert_eq!(
            client.expect("connected").await["landfall"]["mutations"],
            "custom"
        );
        client.got("h").await;

        app.then(200, json!({"kind": "MutateResponse", "mutations": [{"id": {"clientID": "c", "id": 1}, "result": {}}]}));
        client.push(json!([custom(1)])).await;
        world
            .sql(&format!(
                "BEGIN; {LMID}; UPDATE issue SET title = 'b' WHERE id = 'i1'; COMMIT"
            ))
            .await;
        let poke = client.confirmed(1).await;
        assert_eq!(poke.rows(), ["put:issue:i1"]);

        // A mutator that throws: the app stores the result, the client acknowledges it, the app is told to clean up.
        app.then(
            200,
            json!({"kind": "MutateResponse", "mutations": [
            {"id": {"clientID": "c", "id": 2}, "result": {"error": "app", "message": "no"}}]}),
        );
        app.then(200, json!({"kind": "MutateResponse", "mutations": []}));
        client.push(json!([custom(2)])).await;
        world
            .sql(&format!(
                "BEGIN; {LMID}; INSERT INTO zero_0.mutations VALUES ('g', 'c', 2,
            '{{\"error\": \"app\", \"message\": \"no\"}}'); COMMIT"
            ))
            .await;
        let poke = client.confirmed(2).await;
        assert_eq!(
            poke.results()[0]["mutation"]["result"],
            json!({"error": "app", "message": "no"})
        );
        client
            .send(json!(["ackMutationResponses", {"clientID": "c", "id": 2}]))
            .await;
        let cleanup = loop {
            let asked = app.asked();
            if let Some(cleanup) = asked
                .iter()
                .find(|a| a.body["mutations"][0]["name"] == "_zero_cleanupResults")
            {
                break cleanup.body["mutations"][0]["args"][0].clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        };
        let expected =
            json!({"type": "single", "clientGroupID": "g", "clientID": "c", "upToMutationID": 2});
        assert_eq!(cleanup, expected);
        world.sql("DELETE FROM zero_0.mutations").await;
        assert_eq!(
            client.poke().await.results(),
            [json!({"op": "del", "id": {"clientID": "c", "id": 2}})]
        );

        app.then(200, json!({"kind": "PushFailed", "origin": "server", "reason": "oooMutation", "message": "order",
            "mutationIDs": [{"clientID": "c", "id": 9}]}));
        client.push(json!([custom(9)])).await;
        let error = client.error().await;
        assert_eq!(
            (&error["kind"], &error["reason"]),
            (&json!("PushFailed"), &json!("oooMutation"))
        );
        world.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn need_an_endpoint() {
        if std::env::var("LANDFALL_TEST_POSTGRES_URL").is_err() {
            return eprintln!("not run: LANDFALL_TEST_POSTGRES_URL is not set");
        }
        let world = World::new(Backend::Postgres).await;
        let mut client = world.client("g", "c").open().await;
        client.poke().await;
        client.push(json!([custom(1)])).await;
        assert_eq!(client.error().await["kind"], "InvalidPush");
        world.end().await;
    }
}
