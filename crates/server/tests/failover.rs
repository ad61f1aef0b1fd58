//! The log that the server follows is lost: everything is copied anew behind the state that is served meanwhile.

mod world;

use std::time::{Duration, Instant};

use landfall_server::upstream::State;
use serde_json::{Value as Json, json};
use world::{Backend, Client, Cluster, Gate, World, has_postgres};

fn issues() -> Json {
    json!({"table": "issue", "orderBy": [["id", "asc"]]})
}

async fn until_shown(client: &mut Client, id: &str, title: &str) -> Vec<String> {
    let mut told = Vec::new();
    while client.row("issue", id).expect("there")["title"] != title {
        told.extend(client.poke().await.rows());
    }
    told
}

const DROP_SLOTS: &str = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots
      WHERE database = current_database() AND active;
    SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
      WHERE database = current_database() AND NOT active";

async fn slots(world: &World) -> Vec<String> {
    let sql =
        "SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()";
    world.list(sql).await
}

/// Drops the slots that are there, however often the server comes back to them.
async fn drop_slots(world: &World) {
    let before = slots(world).await;
    while slots(world).await.iter().any(|slot| before.contains(slot)) {
        world.try_sql(DROP_SLOTS).await;
    }
}

/// So many rows that a copy takes a while.
const MANY: &str = "INSERT INTO comment SELECT 'n' || n, 'none', repeat('x', 200) FROM generate_series(1, 80000) n";

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_slot_is_made_good_behind_the_served_state() {
    if !has_postgres() {
        return;
    }
    let mut world = World::unstarted(Backend::Postgres, &["--dev"]).await;
    world.sql(MANY).await;
    world.start().await;
    let mut client = world.client("g", "c").put("h", issues()).open().await;
    client.got("h").await;
    drop_slots(&world).await;
    world
        .sql("UPDATE issue SET title = 'unseen' WHERE id = 'i1'; DELETE FROM issue WHERE id = 'i3'")
        .await;
    // Others are served the old state meanwhile, or the new one as soon as it is there.
    let begun = Instant::now();
    let mut served = 0;
    while world.running().upstream_status().state != State::Connected || served == 0 {
        assert!(begun.elapsed() < world::PATIENCE * 2);
        let group = format!("other{served}");
        let mut other = world.client(&group, "o").put("h", issues()).open().await;
        let waited = Instant::now();
        other.got("h").await;
        assert!(
            waited.elapsed() < Duration::from_secs(5),
            "{:?}",
            waited.elapsed()
        );
        served += 1;
    }
    assert!(
        served > 1,
        "the copy took long enough to be of any interest"
    );
    let mut told = until_shown(&mut client, "i1", "unseen").await;
    while client.row("issue", "i3").is_some() {
        told.extend(client.poke().await.rows());
    }
    told.sort();
    assert_eq!(
        told,
        ["del:issue:i3", "put:issue:i1"],
        "only what differs is told"
    );
    world
        .sql("UPDATE issue SET title = 'seen' WHERE id = 'i2'")
        .await;
    assert_eq!(
        until_shown(&mut client, "i2", "seen").await,
        ["put:issue:i2"]
    );

    // Lost while the server is down: it is ready with what it has.
    let (cookie, rows) = client.vanish();
    world.stop().await;
    drop_slots(&world).await;
    world
        .sql("UPDATE issue SET title = 'down' WHERE id = 'i2'")
        .await;
    world.start().await;
    let mut early = world.client("early", "e").put("h", issues()).open().await;
    early.got("h").await;
    let first = early.row("issue", "i2").expect("there")["title"].clone();
    assert_eq!(first, "seen", "served before the copy is complete");
    until_shown(&mut early, "i2", "down").await;
    let mut client = world.client("g", "c").cookie(&cookie).open().await;
    client.rows = rows;
    client.cookie = Some(cookie);
    let told = until_shown(&mut client, "i2", "down").await;
    assert_eq!(told, ["put:issue:i2"]);
    drop((client, early));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_standby_is_followed() {
    if !has_postgres() {
        return;
    }
    let mut primary = Cluster::new().await;
    let mut world = World::at(&primary.url("postgres"), &["--dev"]).await;
    let gate = Gate::new(primary.target()).await;
    world.go_through(&gate);
    world.start().await;
    let mut client = world.client("g", "c").put("h", issues()).open().await;
    client.got("h").await;
    let standby = primary.standby().await;
    world
        .sql("UPDATE issue SET title = 'before' WHERE id = 'i1'")
        .await;
    assert_eq!(
        until_shown(&mut client, "i1", "before").await,
        ["put:issue:i1"]
    );
    let begun = Instant::now();
    let there = standby.url(&world.database_name());
    while world::text_at(&there, "SELECT title FROM issue WHERE id = 'i1'").await != "before" {
        assert!(
            begun.elapsed() < world::PATIENCE,
            "the standby does not follow"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    gate.cut();
    primary.kill().await;
    standby.promote().await;
    world.move_to(&there);
    world
        .sql("UPDATE issue SET title = 'after' WHERE id = 'i2'")
        .await;
    gate.lead_to(standby.target());
    let told = until_shown(&mut client, "i2", "after").await;
    assert_eq!(
        told,
        ["put:issue:i2"],
        "the connection goes on, and only what differs is told"
    );
    // Writes go there as well, and come back.
    let op = world::issue_op("update", json!({"id": "i3", "title": "written"}));
    client.crud(1, json!([op])).await;
    client.confirmed(1).await;
    assert_eq!(
        client.row("issue", "i3").expect("there")["title"],
        "written"
    );
    // The same after a restart: the records still belong to this history.
    let (cookie, rows) = client.vanish();
    world.stop().await;
    world.start().await;
    let mut client = world.client("g", "c").cookie(&cookie).open().await;
    client.rows = rows;
    client.cookie = Some(cookie);
    assert_eq!(client.poke().await.rows(), Vec::<String>::new());
    drop(client);
    world.stop().await;
}
