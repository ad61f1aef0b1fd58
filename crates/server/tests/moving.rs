//! From an embedded file to Postgres: rows, and the knowledge of which mutations were applied.

mod world;

use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};
use world::{Backend, World, issue_op};

fn issues() -> Json {
    json!({"table": "issue"})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_moves_with_its_clients() {
    if std::env::var("LANDFALL_TEST_POSTGRES_URL").is_err() {
        return eprintln!("not run: LANDFALL_TEST_POSTGRES_URL is not set");
    }
    let mut old = World::new(Backend::Embedded).await;
    let mut client = old.client("g", "c").put("h", issues()).open().await;
    client.got("h").await;
    let add = |id: &str, title: &str| {
        let row = json!({"id": id, "title": title, "owner": null, "priority": 1.5, "open": true});
        json!([issue_op("insert", row)])
    };
    client.crud(1, add("n1", "it's new")).await;
    client.confirmed(1).await;
    client
        .crud(2, json!([issue_op("insert", json!({"id": "n2"}))]))
        .await;
    client.confirmed(2).await;
    let (cookie, rows) = client.vanish();
    old.stop().await;

    let exported = Command::new(env!("CARGO_BIN_EXE_landfall-server"))
        .args(["export", "--db", &old.address()])
        .stderr(Stdio::inherit())
        .output()
        .expect("runs");
    assert!(exported.status.success());
    let sql = String::from_utf8(exported.stdout).expect("text");

    let mut new = World::unstarted(Backend::Postgres, &["--dev"]).await;
    new.sql("DROP TABLE comment, issue").await;
    new.sql(&sql).await;
    new.start().await;
    // The client comes with its cookie and sends what it is not sure of: mutation 2 again, and 3.
    let mut client = new.client("g", "c").cookie(&cookie).open().await;
    let message = client.error().await;
    // This server does not know the group: the client starts afresh, with its mutation ids.
    assert!(["ClientNotFound", "Rehome"].contains(&message["kind"].as_str().unwrap_or_default()));
    let mut client = new.client("g", "c").put("h", issues()).open().await;
    client.crud(2, add("n2", "a second time")).await;
    client.crud(3, add("n3", "for the first time")).await;
    client.confirmed(3).await;
    while !client.has_got.contains("h") {
        client.poke().await;
    }
    let mut expected: Vec<String> = rows.keys().map(|(t, id)| format!("{t}:{id}")).collect();
    expected.push("issue:n3".to_owned());
    assert_eq!(client.have(), expected);
    let before = &rows[&("issue".to_owned(), "n1".to_owned())];
    assert_eq!(client.row("issue", "n1"), Some(before));
    let results = new
        .list("SELECT result::text FROM zero_0.mutations ORDER BY \"mutationID\"")
        .await;
    assert_eq!(
        results.len(),
        1,
        "the result that was not fetched came along: {results:?}"
    );
    new.end().await;
}
