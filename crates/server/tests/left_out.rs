//! A value that its column cannot carry leaves its row out of every query, and nothing else.

mod world;

use serde_json::json;
use world::{Backend, World};

async fn a_value_that_cannot_be_carried_leaves_out_its_row_only(backend: Backend) {
    let mut world = World::new(backend).await;
    world.stop().await;
    world
        .sql(
            "CREATE TABLE big (id TEXT PRIMARY KEY NOT NULL, n BIGINT);
             INSERT INTO big VALUES ('a', 1), ('b', 2), ('huge', 9007199254740993)",
        )
        .await;
    world.start().await;
    let all = json!({"table": "big", "orderBy": [["n", "desc"]]});
    let first = json!({"table": "big", "orderBy": [["n", "desc"]], "limit": 1});
    let mut client = world.client("g", "c").put("all", all.clone()).open().await;
    assert_eq!(client.got("all").await.rows(), ["put:big:a", "put:big:b"]);
    let mut other = world.client("g2", "c2").put("first", first).open().await;
    assert_eq!(other.got("first").await.rows(), ["put:big:b"]);

    // It leaves, and what it hid appears.
    world
        .sql("UPDATE big SET n = 9007199254740993 WHERE id = 'b'")
        .await;
    assert_eq!(client.poke().await.rows(), ["del:big:b"]);
    assert_eq!(other.poke().await.rows(), ["del:big:b", "put:big:a"]);
    // What changes in it meanwhile is no news, and does not stop what is.
    world
        .sql("UPDATE big SET n = -9223372036854775808 WHERE id = 'b'; UPDATE big SET n = 3 WHERE id = 'a'")
        .await;
    assert_eq!(client.poke().await.rows(), ["put:big:a"]);
    // A mutation that meets it fails by itself.
    client
        .crud(1, json!([{"op": "update", "tableName": "big", "primaryKey": ["id"], "value": {"id": "b", "n": 5}}]))
        .await;
    let confirmed = client.confirmed(1).await;
    assert_eq!(confirmed.results().len(), 1);
    assert!(
        confirmed.results()[0]
            .to_string()
            .contains("big.n holds an integer beyond 2^53"),
        "{:?}",
        confirmed.results()
    );
    // Mended at the source it is back.
    world.sql("UPDATE big SET n = 4 WHERE id = 'b'").await;
    assert_eq!(client.poke().await.rows(), ["put:big:b"]);
    world
        .sql("DELETE FROM big WHERE id = 'huge'; DELETE FROM big WHERE id = 'b'")
        .await;
    assert_eq!(client.poke().await.rows(), ["del:big:b"]);
    drop((client, other));
    world.end().await;
}

#[tokio::test]
async fn generated_columns_of_a_file_are_synced() {
    let mut world = World::new(Backend::Embedded).await;
    world.stop().await;
    world
        .sql(
            "CREATE TABLE twin (id TEXT PRIMARY KEY NOT NULL, n INT, twice INT GENERATED ALWAYS AS (n * 2) STORED,
               thrice INT AS (n * 3)) STRICT;
             INSERT INTO twin (id, n) VALUES ('a', 1)",
        )
        .await;
    world.start().await;
    let all = json!({"table": "twin"});
    let mut client = world.client("g", "c").put("all", all).open().await;
    client.got("all").await;
    let row = client.row("twin", "a").expect("there");
    assert_eq!((&row["twice"], &row["thrice"]), (&json!(2), &json!(3)));
    world.sql("UPDATE twin SET n = 5").await;
    client.poke().await;
    let row = client.row("twin", "a").expect("there");
    assert_eq!((&row["twice"], &row["thrice"]), (&json!(10), &json!(15)));
    drop(client);
    world.end().await;
}

#[tokio::test]
async fn infinity_in_a_file_leaves_out_its_row() {
    let mut world = World::new(Backend::Embedded).await;
    world.stop().await;
    world
        .sql(
            "CREATE TABLE far (id TEXT PRIMARY KEY NOT NULL, n REAL);
             INSERT INTO far VALUES ('a', 1), ('b', 9e999), ('c', -9e999)",
        )
        .await;
    world.start().await;
    let mut client = world
        .client("g", "c")
        .put("all", json!({"table": "far"}))
        .open()
        .await;
    assert_eq!(client.got("all").await.rows(), ["put:far:a"]);
    world.sql("UPDATE far SET n = 2 WHERE id = 'b'").await;
    assert_eq!(client.poke().await.rows(), ["put:far:b"]);
    world.sql("UPDATE far SET n = 9e999 WHERE id = 'b'").await;
    assert_eq!(client.poke().await.rows(), ["del:far:b"]);
    drop(client);
    world.end().await;
}

scenarios!(a_value_that_cannot_be_carried_leaves_out_its_row_only);
