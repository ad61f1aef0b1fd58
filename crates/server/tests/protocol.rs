//! The protocol in all of its versions, and the corners that no other test is about.

mod world;

use serde_json::{Value as Json, json};
use world::{Backend, World, issue_op};

scenarios!(
    every_version_is_served,
    nothing_happens_before_the_first_message,
    messages_without_an_answer_do_no_harm,
    a_zero_client_hears_that_its_mutation_failed,
);

fn issues() -> Json {
    json!({"table": "issue"})
}

fn rename(title: &str) -> Json {
    json!([issue_op("update", json!({"id": "i1", "title": title}))])
}

async fn every_version_is_served(backend: Backend) {
    let world = World::new(backend).await;
    for version in 30..=52 {
        let (group, client) = (format!("g{version}"), format!("c{version}"));
        let client = world.client(&group, &client).zero().version(version);
        let mut client = client.put("h", issues()).open().await;
        let connected = client.expect("connected").await;
        assert_eq!(connected["landfall"], Json::Null, "version {version}");
        client.got("h").await;
        assert_eq!(client.rows.len(), 3, "version {version}");
        client.crud(1, rename(&format!("v{version}"))).await;
        client.confirmed(1).await;
        let title = &client.row("issue", "i1").expect("a row")["title"];
        assert_eq!(title, &json!(format!("v{version}")));
    }
    world.end().await;
}

async fn nothing_happens_before_the_first_message(backend: Backend) {
    let world = World::new(backend).await;
    let mut client = world.client("g", "c");
    let init = std::mem::replace(&mut client.init, json!(null));
    let mut client = client.open().await;
    client.expect("connected").await;
    let wish = json!([{"op": "put", "hash": "x", "ast": issues()}]);
    client.desire(wish).await;
    client
        .send(json!(["deleteClients", {"clientIDs": ["other"]}]))
        .await;
    client
        .send(json!(["inspect", {"op": "version", "id": "1"}]))
        .await;
    client.send(json!(["ping", {}])).await;
    // Nothing but the answer to the last one.
    assert_eq!(client.next().await.expect("a message"), json!(["pong", {}]));
    let mut init = init;
    init["desiredQueriesPatch"] = json!([{"op": "put", "hash": "h", "ast": issues()}]);
    client.send(json!(["initConnection", init])).await;
    client.got("h").await;
    assert_eq!(client.rows.len(), 3);
    assert!(!client.has_got.contains("x"));
    world.end().await;
}

async fn messages_without_an_answer_do_no_harm(backend: Backend) {
    let world = World::new(backend).await;
    let mut client = world.client("g", "c").put("h", issues()).open().await;
    client.got("h").await;
    let before = client.cookie.clone();
    for message in [
        json!(["closeConnection", []]),
        json!(["closeConnection", ["anything", 1]]),
        json!(["ackMutationResponses", {"clientID": "c", "id": 7}]),
        json!(["ackMutationResponses", {"clientID": "nobody", "id": 7}]),
        json!(["deleteClients", {"clientGroupIDs": ["other"]}]),
        json!(["push", {"clientGroupID": "g", "mutations": [], "pushVersion": 1, "timestamp": 1, "requestID": "r"}]),
        json!(["updateAuth", {"auth": ""}]),
        json!(["ping", {}]),
    ] {
        client.send(message).await;
    }
    client.expect("pong").await;
    assert_eq!(
        (client.cookie.clone(), client.others.len()),
        (before, 1),
        "only `connected` besides"
    );
    client.crud(1, rename("after")).await;
    client.confirmed(1).await;
    world.end().await;
}

/// Landfall's client reads the reason from the mutation's result; Zero's is told by an error that leaves it connected.
async fn a_zero_client_hears_that_its_mutation_failed(backend: Backend) {
    let world = World::new(backend).await;
    let client = world.client("g", "c").zero().put("h", issues());
    let mut client = client.open().await;
    client.got("h").await;
    let wrong = issue_op("insert", json!({"id": "n", "open": true}));
    client.crud(1, json!([wrong])).await;
    let error = client.error().await;
    assert_eq!(error["kind"], "MutationFailed");
    client.crud(2, rename("next")).await;
    client.confirmed(2).await;
    assert_eq!(client.row("issue", "i1").expect("a row")["title"], "next");
    world.end().await;
}

/// The tables in PROTOCOL.md and README.md name tests that exist.
#[test]
fn the_tables_of_tests_are_true() {
    let protocol = include_str!("../../protocol/PROTOCOL.md");
    check(protocol, "## What is tested where", 30);
    check(include_str!("../README.md"), "## Faults and safety", 15);
}

fn check(text: &str, heading: &str, least: usize) {
    let table = text.split(heading).nth(1).expect("the table");
    let table = table.split("\n## ").next().expect("the table");
    let names = table.split('`').filter_map(|word| word.split_once("::"));
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut count = 0;
    for (file, test) in names {
        let source = std::fs::read_to_string(folder.join(format!("{file}.rs")));
        let source = source.unwrap_or_else(|error| panic!("{file}.rs: {error}"));
        assert!(source.contains(&format!("fn {test}(")), "{file}::{test}");
        count += 1;
    }
    assert!(count > least, "{count}");
}
