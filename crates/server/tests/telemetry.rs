//! Traces and metrics reach a collector. Needs the feature: `cargo test -p landfall-server --features opentelemetry`.

#![cfg(feature = "opentelemetry")]

mod world;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};
use world::{Backend, World, issue_op};

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, Bytes)>>>);

impl Collector {
    async fn start() -> (Collector, String) {
        let collector = Collector::default();
        let router = Router::new().fallback(take).with_state(collector.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (collector, url)
    }

    /// Waits until something was sent to a path that has all of these in it.
    async fn until(&self, path: &str, wanted: &[&[u8]]) {
        let has = |body: &[u8], text: &[u8]| body.windows(text.len()).any(|part| part == text);
        let begun = std::time::Instant::now();
        loop {
            let all = self
                .0
                .lock()
                .iter()
                .any(|(to, body)| to == path && wanted.iter().all(|text| has(body, text)));
            if all {
                return;
            }
            assert!(
                begun.elapsed() < world::PATIENCE,
                "{path} got {:?}",
                self.0.lock()
            );
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

async fn take(
    State(collector): State<Collector>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Json<Value> {
    if uri.path() == "/query" {
        return Json(answer(&body));
    }
    assert_eq!(headers["content-type"], "application/x-protobuf");
    collector.0.lock().push((uri.path().to_owned(), body));
    Json(Value::Null)
}

/// The app's endpoint: every name is one query.
fn answer(body: &[u8]) -> Value {
    let asked: Value = serde_json::from_slice(body).expect("JSON");
    let secret = json!({"type": "simple", "op": "!=", "left": {"type": "column", "name": "title"},
        "right": {"type": "literal", "value": "a secret literal"}});
    let queries = asked[1].as_array().expect("queries");
    let answers = queries.iter().map(|query| {
        json!({"id": query["id"], "name": query["name"], "ast": {"table": "issue", "where": secret}})
    });
    json!({"kind": "QueryResponse", "queries": answers.collect::<Vec<_>>()})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_part_of_the_pages_trace_and_metrics_arrive() {
    let (collector, url) = Collector::start().await;
    let endpoint = format!("{url}/query");
    let flags = ["--dev", "--otlp-endpoint", &url, "--query-url", &endpoint];
    let mut world = World::unstarted(Backend::Embedded, &flags).await;
    // The first process of this test; its children take what it has in its environment.
    let often = [
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
    ];
    world.start_process_with(0, &often).await;
    let client = world.client("the-group", "the-client");
    let args = json!(["a secret argument"]);
    let mut client = client.named("h", "openIssues", args).open().await;
    client.got("h").await;
    assert_eq!(client.have().len(), 3);
    let span: [&[u8]; 4] = [b"hydrate", b"openIssues", b"issue", b"rows"];
    collector.until("/v1/traces", &span).await;
    let ops = json!([issue_op(
        "update",
        json!({"id": "i1", "title": "a secret title"})
    )]);
    let mutation = json!({"type": "crud", "id": 1, "clientID": "the-client", "name": "_zero_crud",
        "args": [{"ops": ops}], "timestamp": 1});
    client
        .send(
            json!(["push", {"clientGroupID": "the-group", "mutations": [mutation], "pushVersion": 1,
            "timestamp": 1, "requestID": "r",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}]),
        )
        .await;
    client.confirmed(1).await;
    let trace = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes();
    let parent = 0xb7ad_6b71_6920_3331_u64.to_be_bytes();
    let span: [&[u8]; 5] = [&trace, &parent, b"push", b"the-group", b"landfall-server"];
    collector.until("/v1/traces", &span).await;
    let counted: [&[u8]; 2] = [b"landfall_crud_mutations_total", b"landfall_connections"];
    collector.until("/v1/metrics", &counted).await;
    drop(client);
    world.end().await;
    let leaks = |(_, body): &(String, Bytes)| body.windows(8).any(|part| part == b"a secret");
    assert!(!collector.0.lock().iter().any(leaks), "values stay here");
}
