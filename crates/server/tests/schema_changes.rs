//! Changes of tables while clients are connected: who is not concerned notices nothing.

mod support;
mod world;

use serde_json::{Value as Json, json};
use support::{Database, rows};
use world::{Backend, World, issue_op};

fn all(table: &str) -> Json {
    json!({"table": table})
}

async fn a_change_disturbs_nobody_whom_it_does_not_concern(backend: Backend) {
    let world = World::new(backend).await;
    let mut other = world
        .client("g1", "c1")
        .put("h", all("comment"))
        .open()
        .await;
    other.got("h").await;
    let mut client = world.client("g2", "c2").put("h", all("issue")).open().await;
    client.got("h").await;
    world
        .sql("ALTER TABLE issue ADD COLUMN note TEXT; UPDATE issue SET note = 'n' WHERE id = 'i1'")
        .await;
    let poke = client.poke().await;
    assert!(
        poke.rows().contains(&"put:issue:i1".to_owned()),
        "{:?}",
        poke.rows()
    );
    while client.row("issue", "i1").expect("there")["note"] != "n" {
        client.poke().await;
    }
    assert_eq!(
        client.row("issue", "i2").expect("there")["note"],
        Json::Null
    );
    // On the same connection, without anything in between.
    world
        .sql("UPDATE comment SET body = 'new' WHERE id = 'c3'")
        .await;
    assert_eq!(other.poke().await.rows(), ["put:comment:c3"]);
    // A new table is there for whoever asks.
    world
        .sql("CREATE TABLE badge (id TEXT PRIMARY KEY NOT NULL, name TEXT); INSERT INTO badge VALUES ('l1', 'bug')")
        .await;
    loop {
        let mut third = world.client("g3", "c3").put("h", all("badge")).open().await;
        if let Ok(poke) =
            tokio::time::timeout(std::time::Duration::from_millis(300), third.got("h")).await
        {
            assert_eq!(poke.rows(), ["put:badge:l1"]);
            break;
        }
        // Not taken up yet: the query failed.
    }
    // What a client needs goes: that one is told, the other goes on.
    world.sql("ALTER TABLE issue DROP COLUMN priority").await;
    assert_eq!(client.error().await["kind"], "SchemaVersionNotSupported");
    world.end().await;
}

async fn a_query_over_a_table_that_goes_fails_alone(backend: Backend) {
    let mut world = World::new(backend).await;
    world.stop().await;
    world
        .sql("CREATE TABLE badge (id TEXT PRIMARY KEY NOT NULL, name TEXT); INSERT INTO badge VALUES ('l1', 'bug')")
        .await;
    world.start().await;
    let mut client = world
        .client("g", "c")
        .put("l", all("badge"))
        .put("h", all("comment"))
        .open()
        .await;
    client.got("l").await;
    world.sql("DROP TABLE badge").await;
    let failed = client.expect("transformError").await;
    assert_eq!(failed[0]["id"], "l", "{failed}");
    world
        .sql("UPDATE comment SET body = 'new' WHERE id = 'c3'")
        .await;
    while client.row("comment", "c3").expect("there")["body"] != "new" {
        client.poke().await;
    }
    world.end().await;
}

async fn writes_of_an_earlier_schema_are_sent_after_what_it_names_is_gone(backend: Backend) {
    let mut world = World::new(backend).await;
    let mut page = world
        .client("g", "page")
        .put("h", all("issue"))
        .open()
        .await;
    page.got("h").await;
    let cookie = page.cookie.clone().expect("a cookie");
    drop(page);
    world.stop().await;
    world.sql("ALTER TABLE issue DROP COLUMN priority").await;
    world.start().await;
    let drain = world.client("g", "drain").cookie(&cookie);
    let mut drain = drain.open().await;
    let value = json!({"id": "i1", "title": "waited"});
    drain.crud(1, json!([issue_op("update", value)])).await;
    drain.confirmed(1).await;
    let value = json!({"id": "i1", "priority": 9});
    drain.crud(2, json!([issue_op("update", value)])).await;
    // What cannot be carried out is told as failed, and does not hold up what follows.
    drain.confirmed(2).await;
    let value = json!({"id": "i1", "owner": "zoe"});
    drain.crud(3, json!([issue_op("update", value)])).await;
    drain.confirmed(3).await;
    let found = world.text("SELECT title || owner FROM issue WHERE id = 'i1'");
    assert_eq!(found.await.as_deref(), Some("waitedzoe"));
    let again = world.client("g", "page").cookie(&cookie);
    let mut again = again.open().await;
    assert_eq!(again.error().await["kind"], "SchemaVersionNotSupported");
    world.end().await;
}

scenarios!(
    writes_of_an_earlier_schema_are_sent_after_what_it_names_is_gone,
    a_change_disturbs_nobody_whom_it_does_not_concern,
    a_query_over_a_table_that_goes_fails_alone,
);

async fn until(following: &support::Following, table: &str, expected: &[&str]) {
    let deadline = std::time::Instant::now() + support::PATIENCE;
    loop {
        let reader = following.replica().reader().expect("a reader");
        let found = match reader.schema().table_by_name(table) {
            Some(_) => rows(&reader, table),
            None => Vec::new(),
        };
        if found == expected {
            return;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "{table}: {found:?}, not {expected:?}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn tables_are_altered_where_they_are() {
    let db = Database::new(
        "CREATE TABLE kept (id int4 PRIMARY KEY, a text, b text); INSERT INTO kept VALUES (1, 'a1', 'b1'), (2, 'a2', 'b2');
         CREATE TABLE other (id int4 PRIMARY KEY); INSERT INTO other VALUES (1)",
    )
    .await;
    let following = db.start().await;
    // Several changes with rows between them, all before the server has seen the first.
    db.sql("ALTER TABLE kept ADD COLUMN c text").await;
    db.sql("UPDATE kept SET c = 'c1' WHERE id = 1").await;
    db.sql("ALTER TABLE kept DROP COLUMN a").await;
    db.sql("INSERT INTO kept VALUES (3, 'b3', 'c3'); INSERT INTO other VALUES (2)")
        .await;
    until(
        &following,
        "kept",
        &[
            r#"{"b":"b1","c":"c1","id":1}"#,
            r#"{"b":"b2","c":null,"id":2}"#,
            r#"{"b":"b3","c":"c3","id":3}"#,
        ],
    )
    .await;
    until(&following, "other", &[r#"{"id":1}"#, r#"{"id":2}"#]).await;
    // Names, with nothing that tells of it in the stream.
    db.sql("ALTER TABLE kept RENAME COLUMN b TO title; ALTER TABLE kept RENAME TO renamed")
        .await;
    until(
        &following,
        "renamed",
        &[
            r#"{"c":"c1","id":1,"title":"b1"}"#,
            r#"{"c":null,"id":2,"title":"b2"}"#,
            r#"{"c":"c3","id":3,"title":"b3"}"#,
        ],
    )
    .await;
    // Values that no stream carries: the table is copied.
    db.sql("ALTER TABLE renamed ADD COLUMN n int4 NOT NULL DEFAULT 7; ALTER TABLE renamed ALTER COLUMN id TYPE int8").await;
    db.sql("DELETE FROM renamed WHERE id = 2").await;
    until(
        &following,
        "renamed",
        &[
            r#"{"c":"c1","id":1,"n":7,"title":"b1"}"#,
            r#"{"c":"c3","id":3,"n":7,"title":"b3"}"#,
        ],
    )
    .await;
    // Another key.
    db.sql("ALTER TABLE renamed DROP CONSTRAINT kept_pkey; ALTER TABLE renamed ADD PRIMARY KEY (title)").await;
    db.sql("UPDATE renamed SET title = 'z' WHERE id = 1; DELETE FROM renamed WHERE id = 3")
        .await;
    until(
        &following,
        "renamed",
        &[r#"{"c":"c1","id":1,"n":7,"title":"z"}"#],
    )
    .await;
    // A key that goes takes the table out of sync, and back again.
    db.sql("ALTER TABLE renamed DROP CONSTRAINT renamed_pkey")
        .await;
    until(&following, "renamed", &[]).await;
    db.sql("ALTER TABLE renamed ADD PRIMARY KEY (id)").await;
    until(
        &following,
        "renamed",
        &[r#"{"c":"c1","id":1,"n":7,"title":"z"}"#],
    )
    .await;
    // Another schema, and back.
    db.sql("CREATE SCHEMA aside; ALTER TABLE other SET SCHEMA aside")
        .await;
    until(&following, "other", &[]).await;
    db.sql("INSERT INTO aside.other VALUES (3); ALTER TABLE aside.other SET SCHEMA public")
        .await;
    until(
        &following,
        "other",
        &[r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":3}"#],
    )
    .await;
    let copies = db
        .text("SELECT count(*)::text FROM pg_replication_slots WHERE database = current_database()")
        .await;
    assert_eq!(copies.as_deref(), Some("1"), "no slot is left over");
    following.stop().await;

    // Changes while nobody watches are taken up at the start, without a copy of everything.
    db.sql("ALTER TABLE renamed DROP COLUMN c; INSERT INTO other VALUES (4)")
        .await;
    let slot = db
        .text(
            "SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()",
        )
        .await;
    let following = db.start().await;
    until(&following, "renamed", &[r#"{"id":1,"n":7,"title":"z"}"#]).await;
    until(
        &following,
        "other",
        &[r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":3}"#, r#"{"id":4}"#],
    )
    .await;
    assert_eq!(
        db.text(
            "SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()"
        )
        .await,
        slot
    );
    following.stop().await;
    db.drop().await;
}

#[tokio::test]
async fn a_publication_gains_and_loses_tables_columns_and_rows() {
    let db = Database::new(
        "CREATE TABLE a (id int4 PRIMARY KEY, x text, y text); INSERT INTO a VALUES (1, 'x', 'y'), (2, 'x', 'y');
         CREATE TABLE b (id int4 PRIMARY KEY); INSERT INTO b VALUES (1);
         CREATE PUBLICATION mine FOR TABLE a (id, x)",
    )
    .await;
    let mut settings = db.settings();
    settings.publications = vec!["mine".to_owned()];
    let started = landfall_server::upstream::postgres::start(settings)
        .await
        .expect("starts");
    let steps = started.replica.subscribe();
    let following = support::Following { started, steps };
    until(
        &following,
        "a",
        &[r#"{"id":1,"x":"x"}"#, r#"{"id":2,"x":"x"}"#],
    )
    .await;
    db.sql("ALTER PUBLICATION mine SET TABLE a, b").await;
    until(
        &following,
        "a",
        &[r#"{"id":1,"x":"x","y":"y"}"#, r#"{"id":2,"x":"x","y":"y"}"#],
    )
    .await;
    until(&following, "b", &[r#"{"id":1}"#]).await;
    db.sql("INSERT INTO b VALUES (2)").await;
    until(&following, "b", &[r#"{"id":1}"#, r#"{"id":2}"#]).await;
    db.sql("ALTER PUBLICATION mine SET TABLE a WHERE (id > 1)")
        .await;
    until(&following, "a", &[r#"{"id":2,"x":"x","y":"y"}"#]).await;
    until(&following, "b", &[]).await;
    following.stop().await;
    db.drop().await;
}
