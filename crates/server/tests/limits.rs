//! Limits of what a client, a group or a user may ask for: each is met, says so, and disturbs nobody else.

mod world;

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use world::{Backend, World};

scenarios!(
    connections_of_a_group_and_of_a_user_are_limited,
    queries_of_a_client_and_of_a_group_are_limited,
    a_flood_of_messages_is_taken_slowly,
    a_query_that_costs_too_much_fails_alone,
);

fn issue(id: usize) -> Json {
    json!({"table": "issue", "where": {"type": "simple", "op": "=", "left": {"type": "column", "name": "id"},
        "right": {"type": "literal", "value": format!("i{id}")}}})
}

async fn connections_of_a_group_and_of_a_user_are_limited(backend: Backend) {
    let flags = [
        "--dev",
        "--max-connections-per-group",
        "2",
        "--max-connections-per-user",
        "3",
    ];
    let world = World::with(backend, &flags).await;
    let connect = |group: &str, client: &str| {
        let client = world.client(group, client).param("userID", "ann");
        client.open()
    };
    let mut first = connect("g", "a").await;
    let mut second = connect("g", "b").await;
    let (_, _) = (
        first.expect("connected").await,
        second.expect("connected").await,
    );
    let error = connect("g", "c").await.error().await;
    assert_eq!(error["kind"], "ServerOverloaded");
    assert_eq!(
        error["message"],
        "the client group has too many connections"
    );
    let mut third = connect("h", "c").await;
    third.expect("connected").await;
    let error = connect("i", "d").await.error().await;
    assert_eq!(error["message"], "the user has too many connections");
    // Others are served, and a place that was left is free again.
    let mut bob = world.client("j", "e").param("userID", "bob").open().await;
    bob.expect("connected").await;
    drop(first);
    for _ in 0..3000 {
        let mut again = connect("g", "c").await;
        let message = again.next().await.expect("a message");
        if message[0] == "connected" {
            return world.end().await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the place stays taken");
}

async fn queries_of_a_client_and_of_a_group_are_limited(backend: Backend) {
    let flags = [
        "--dev",
        "--max-queries-per-client",
        "2",
        "--max-queries-per-group",
        "3",
    ];
    let world = World::with(backend, &flags).await;
    let client = world.client("g", "c").put("1", issue(1)).put("2", issue(2));
    let mut client = client.put("3", issue(3)).open().await;
    let error = client.expect("transformError").await;
    let refused = |id: &str, message: &str| json!([{"error": "app", "id": id, "name": "", "message": message}]);
    assert_eq!(error, refused("3", "the client has too many queries"));
    while client.has_got.len() < 2 {
        client.poke().await;
    }
    // Who lets go may ask for another one.
    let change = json!([{"op": "del", "hash": "1"}, {"op": "put", "hash": "3", "ast": issue(3)}]);
    client.desire(change).await;
    client.got("3").await;
    // The one that was let go waits for the end of its time, so the group has three.
    let mut other = world.client("g", "d").put("2", issue(2)).put("4", issue(4));
    other
        .init
        .as_object_mut()
        .expect("an object")
        .remove("clientSchema");
    let mut other = other.open().await;
    let error = other.expect("transformError").await;
    assert_eq!(error, refused("4", "the client group has too many queries"));
    other.poke().await;
    assert!(other.row("issue", "i2").is_some());
    world.end().await;
}

async fn a_flood_of_messages_is_taken_slowly(backend: Backend) {
    let world = World::with(backend, &["--dev", "--max-messages-per-second", "20"]).await;
    let mut flood = world.client("g", "c").open().await;
    let mut other = world.client("h", "d").open().await;
    let (_, _) = (flood.poke().await, other.poke().await);
    let start = Instant::now();
    for _ in 0..50 {
        flood.send(json!(["ping", {}])).await;
    }
    other.send(json!(["ping", {}])).await;
    other.expect("pong").await;
    let quick = start.elapsed();
    for _ in 0..50 {
        flood.expect("pong").await;
    }
    let all = start.elapsed();
    // Twenty at once, the others at twenty a second.
    assert!(all >= Duration::from_millis(1_400), "{all:?}");
    assert!(quick < all, "{quick:?}");
    world.end().await;
}

async fn a_query_that_costs_too_much_fails_alone(backend: Backend) {
    let world = World::with(backend, &["--dev", "--query-max-rows", "4"]).await;
    let comments = || json!({"table": "comment"});
    let mut greedy = world.client("g", "c").put("h", comments());
    greedy = greedy.put("few", json!({"table": "issue"}));
    let mut greedy = greedy.open().await;
    greedy.got("h").await;
    let mut other = world.client("o", "o").put("h", json!({"table": "issue"}));
    other = other.put("one", issue(1));
    let mut other = other.open().await;
    other.got("h").await;
    // It grows beyond the bound while it is followed, and would be beyond it for whoever asks anew.
    world
        .sql("INSERT INTO comment VALUES ('c8', 'i1', 'b'), ('c9', 'i1', 'b')")
        .await;
    let mut late = world.client("l", "l").put("h", comments()).open().await;
    for client in [&mut greedy, &mut late] {
        let error = client.expect("transformError").await;
        assert_eq!(error[0]["id"], "h", "{error}");
        let message = error[0]["message"].as_str().expect("a text");
        assert_eq!(message, "the query has more than 4 rows");
    }
    // The rest of those who asked for it, and everyone else, goes on.
    world
        .sql("UPDATE issue SET title = 'goes on' WHERE id = 'i1'")
        .await;
    for client in [&mut greedy, &mut other] {
        while client.row("issue", "i1").expect("there")["title"] != "goes on" {
            client.poke().await;
        }
    }
    assert!(!greedy.have().iter().any(|row| row.starts_with("comment")));
    drop((greedy, late, other));
    world.end().await;
}
