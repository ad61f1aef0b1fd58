//! Client groups over time: lost records, dead clients, slow sockets.

mod world;

use std::time::Duration;

use serde_json::{Value as Json, json};
use world::{Backend, Client, World, issue_op};

scenarios!(
    a_group_that_is_not_known_any_more_starts_afresh,
    what_is_not_recorded_any_more_is_sent_afresh,
    clients_that_are_gone_are_forgotten,
    pull_answers_cookie_and_confirmations,
    a_slow_client_holds_up_nobody,
    changes_during_a_long_hydration_are_not_lost,
    a_new_column_reaches_the_clients,
);

fn issues() -> Json {
    json!({"table": "issue"})
}

/// A client that has the issues, and has changed one.
async fn client_that_wrote(world: &World) -> Client {
    let mut client = world.client("g", "c").put("h", issues()).open().await;
    client.got("h").await;
    let op = issue_op("update", json!({"id": "i1", "title": "mine"}));
    client.crud(1, json!([op])).await;
    client.confirmed(1).await;
    client
}

async fn a_group_that_is_not_known_any_more_starts_afresh(backend: Backend) {
    let mut world = World::new(backend).await;
    let client = client_that_wrote(&world).await;
    let (cookie, _) = client.vanish();
    world.stop().await;
    for file in ["cvr.db", "cvr.db-wal", "cvr.db-shm"] {
        let _ = std::fs::remove_file(world.dir.path().join(file));
    }
    world.start().await;
    let mut zero = world.client("g", "c").zero().cookie(&cookie).open().await;
    assert_eq!(zero.error().await["kind"], "ClientNotFound");

    let mut client = world.client("g", "c").cookie(&cookie).open().await;
    let poke = client.poke().await;
    assert_eq!(poke.base.as_deref(), Some(cookie.as_str()));
    assert_eq!(poke.parts[0]["rowsPatch"], json!([{"op": "clear"}]));
    let error = client.error().await;
    assert_eq!(
        (&error["kind"], &error["maxBackoffMs"]),
        (&json!("Rehome"), &json!(0))
    );
    let mut client = world
        .client("g", "c")
        .cookie(&poke.cookie)
        .put("h", issues())
        .open()
        .await;
    let mut lmid = None;
    while client.have().len() < 3 {
        lmid = client.poke().await.lmid("c").or(lmid);
    }
    assert_eq!(
        lmid,
        Some(1),
        "confirmations are known to the database, not to the record"
    );
    world.end().await;
}

async fn what_is_not_recorded_any_more_is_sent_afresh(backend: Backend) {
    let mut world = World::new(backend).await;
    let client = client_that_wrote(&world).await;
    let (cookie, rows) = client.vanish();
    world.stop().await;
    let records = rusqlite::Connection::open(world.dir.path().join("cvr.db")).expect("records");
    records
        .execute_batch("DELETE FROM members; DELETE FROM instances")
        .expect("deleted");
    drop(records);
    world.sql("DELETE FROM issue WHERE id = 'i2'").await;
    world.start().await;
    let mut zero = world.client("g", "z").zero().cookie(&cookie).open().await;
    assert_eq!(zero.error().await["kind"], "ClientNotFound");
    let mut client = world.client("g", "c").cookie(&cookie).open().await;
    client.rows = rows;
    let poke = client.poke().await;
    assert_eq!(poke.base.as_deref(), Some(cookie.as_str()));
    assert_eq!(
        poke.parts[0]["rowsPatch"],
        json!([{"op": "clear"}]),
        "{poke:?}"
    );
    assert_eq!(
        (poke.lmid("c"), poke.desired("c"), poke.got()),
        (Some(1), vec!["put:h".into()], vec!["put:h".into()])
    );
    while client.row("issue", "i2").is_some() {
        client.poke().await;
    }
    assert_eq!(client.have(), ["issue:i1", "issue:i3"]);
    world.end().await;
}

async fn clients_that_are_gone_are_forgotten(backend: Backend) {
    let world = World::new(backend).await;
    let mut dead = world.client("g", "dead").put("h", issues()).open().await;
    dead.got("h").await;
    drop(dead);
    let mut alive = world.client("g", "alive").open().await;
    alive.poke().await;
    alive
        .send(json!(["deleteClients", {"clientIDs": ["dead", "never was"]}]))
        .await;
    assert_eq!(
        alive.expect("deleteClients").await,
        json!({"clientIDs": ["dead"]})
    );
    // A list of the living that was made before another tab opened spares that tab.
    let mut tab = world
        .client("g", "tab")
        .put("k", json!({"table": "comment"}))
        .open()
        .await;
    tab.got("k").await;
    let mut last = world.client("g", "last").zero();
    last.init["activeClients"] = json!(["last"]);
    let mut last = last.open().await;
    let poke = last.poke().await;
    assert_eq!(poke.desired("tab"), ["put:k"]);
    assert_eq!(poke.desired("dead"), Vec::<String>::new());
    world.end().await;
}

async fn pull_answers_cookie_and_confirmations(backend: Backend) {
    let world = World::new(backend).await;
    let mut client = world.client("g", "c").put("h", issues()).open().await;
    client.got("h").await;
    client.crud(1, json!([])).await;
    client.confirmed(1).await;
    client
        .send(json!(["pull", {"clientGroupID": "g", "cookie": null, "requestID": "r"}]))
        .await;
    let answer = client.expect("pull").await;
    let expected =
        json!({"cookie": client.cookie, "requestID": "r", "lastMutationIDChanges": {"c": 1}});
    assert_eq!(answer, expected);
    world.end().await;
}

async fn a_slow_client_holds_up_nobody(backend: Backend) {
    let world = World::with(backend, &["--dev", "--max-buffered-bytes", "20000"]).await;
    let mut slow = world.client("slow", "s").put("h", issues()).open().await;
    let mut quick = world.client("quick", "q").put("h", issues()).open().await;
    slow.got("h").await;
    quick.got("h").await;
    let text = "x".repeat(400_000);
    let rounds = 30;
    for round in 0..rounds {
        world
            .sql(&format!(
                "UPDATE issue SET title = '{round}{text}' WHERE id = 'i1'"
            ))
            .await;
        let poke = quick.poke().await;
        assert_eq!(poke.rows(), ["put:issue:i1"]);
    }
    world
        .sql("UPDATE issue SET title = 'end' WHERE id = 'i1'; DELETE FROM issue WHERE id = 'i2'")
        .await;
    // Only now the slow one reads on: it gets where the others are, in fewer pokes than there were changes.
    let mut pokes = 0;
    while slow.row("issue", "i1").expect("there")["title"] != "end"
        || slow.row("issue", "i2").is_some()
    {
        slow.poke().await;
        pokes += 1;
    }
    assert!(pokes < rounds, "{pokes} pokes for {rounds} changes");
    assert_eq!(slow.have(), ["issue:i1", "issue:i3"]);
    world.end().await;
}

async fn changes_during_a_long_hydration_are_not_lost(backend: Backend) {
    let world = World::new(backend).await;
    let numbers = match backend {
        Backend::Postgres => "INSERT INTO comment SELECT 'n' || i, 'i1', 'b' FROM generate_series(1, 20000) AS i",
        Backend::Embedded => {
            "INSERT INTO comment WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
             SELECT 'n' || i, 'i1', 'b' FROM n"
        }
    };
    world.sql(numbers).await;
    let mut client = world
        .client("g", "c")
        .put("h", json!({"table": "comment"}))
        .open()
        .await;
    let mut changes = 0;
    {
        let hydration = client.got("h");
        tokio::pin!(hydration);
        loop {
            tokio::select! {
                _ = &mut hydration => break,
                () = tokio::time::sleep(Duration::from_millis(3)) => {
                    changes += 1;
                    assert!(changes < 2_800, "the query is never got");
                    let row = changes * 7;
                    world.sql(&format!("UPDATE comment SET body = 'changed' WHERE id = 'n{row}';
                        DELETE FROM comment WHERE id = 'n{}'", row + 1)).await;
                }
            }
        }
    }
    world
        .sql("INSERT INTO comment VALUES ('last', 'i1', 'b')")
        .await;
    while client.row("comment", "last").is_none() {
        client.poke().await;
    }
    assert_eq!(client.have().len(), 20_000 + 4 - changes);
    for change in 1..=changes {
        let id = format!("n{}", change * 7);
        assert_eq!(
            client.row("comment", &id).expect("there")["body"],
            "changed"
        );
    }
    world.end().await;
}

async fn a_new_column_reaches_the_clients(backend: Backend) {
    let world = World::new(backend).await;
    let mut client = world.client("g", "c").put("h", issues()).open().await;
    client.got("h").await;
    world
        .sql("ALTER TABLE issue ADD COLUMN note TEXT; UPDATE issue SET note = 'n' WHERE id = 'i1'")
        .await;
    while client.row("issue", "i1").expect("there")["note"] != "n" {
        client.poke().await;
    }
    assert_eq!(
        client.row("issue", "i2").expect("there")["note"],
        Json::Null,
        "every row has the new column"
    );
    world
        .sql("UPDATE issue SET note = 'm' WHERE id = 'i2'")
        .await;
    assert_eq!(client.poke().await.rows(), ["put:issue:i2"]);
    world.end().await;
}
