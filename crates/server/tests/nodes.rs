//! Several servers over one Postgres that share the client view records: groups move between them.

mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use world::{Backend, Client, ClientBuilder, Gate, World, has_postgres, issue_op};

fn issues() -> Json {
    json!({"table": "issue", "orderBy": [["id", "asc"]]})
}

fn comments() -> Json {
    json!({"table": "comment", "orderBy": [["id", "asc"]]})
}

async fn two_nodes() -> World {
    let mut world = World::sharing(&[]).await;
    world.start_node(0).await;
    world.start_node(1).await;
    world
}

/// A client that goes on where another connection of it was.
async fn back(world: &World, node: usize, client: Client) -> Client {
    let (group, name) = (client.group.clone(), client.client.clone());
    let has_got = client.has_got.clone();
    let (cookie, rows) = client.vanish();
    let mut client = world
        .client_at(node, &group, &name)
        .cookie(&cookie)
        .open()
        .await;
    client.cookie = Some(cookie);
    client.rows = rows;
    client.has_got = has_got;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_goes_on_at_another_node_without_a_download() {
    if !has_postgres() {
        return;
    }
    let mut world = two_nodes().await;
    let mut client = world.client_at(0, "g", "c").put("h", issues()).open().await;
    client.got("h").await;
    // Nothing happened meanwhile, and the database is idle: nothing but a cookie is to be told.
    let mut client = back(&world, 1, client).await;
    let poke = client.poke().await;
    assert_eq!(poke.rows(), Vec::<String>::new(), "{poke:?}");
    world
        .sql("UPDATE issue SET title = 'on the way' WHERE id = 'i1'")
        .await;
    assert_eq!(client.poke().await.rows(), ["put:issue:i1"]);
    // While nobody is connected things change; the node that served last is gone.
    let away = back(&world, 1, client).await;
    world.stop_node(1).await;
    world
        .sql("UPDATE issue SET title = 'meanwhile' WHERE id = 'i2'; DELETE FROM issue WHERE id = 'i3'")
        .await;
    let mut client = back(&world, 0, away).await;
    while client.row("issue", "i3").is_some() {
        let poke = client.poke().await;
        assert!(
            !poke.rows().contains(&"put:issue:i1".to_owned()),
            "{poke:?}"
        );
    }
    assert_eq!(client.have(), ["issue:i1", "issue:i2"]);
    assert_eq!(
        client.row("issue", "i2").expect("there")["title"],
        "meanwhile"
    );
    drop(client);
    world.end().await;
}

/// A set with the key "k", for which whoever asks waits until it is let go.
struct HeldKeys {
    url: String,
    asked: Arc<Notify>,
    let_go: Arc<Notify>,
}

impl HeldKeys {
    async fn serve() -> HeldKeys {
        let [asked, let_go] = [(); 2].map(|()| Arc::new(Notify::new()));
        let (ask, wait) = (asked.clone(), let_go.clone());
        let answer = async move || {
            ask.notify_one();
            wait.notified().await;
            json!({"keys": [{"kty": "oct", "alg": "HS256", "k": "aw"}]}).to_string()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let router = axum::Router::new().route("/", axum::routing::get(answer));
        tokio::spawn(axum::serve(listener, router).into_future());
        HeldKeys { url, asked, let_go }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_takes_no_more_groups() {
    if !has_postgres() {
        return;
    }
    let keys = HeldKeys::serve().await;
    let mut world = World::sharing(&["--auth-jwks-url", &keys.url]).await;
    world.start_node(0).await;
    world.start_node(1).await;
    let ann = |client: ClientBuilder| client.param("userID", "ann");
    // At the door of the other node somebody waits for a token to be checked, and goes in when all is over there.
    let mut late = ann(world.client_at(1, "g", "b"));
    late.token = Some(
        encode(
            &Header::default(),
            &json!({"sub": "ann"}),
            &EncodingKey::from_secret(b"k"),
        )
        .expect("signs"),
    );
    let mut late = late.open().await;
    keys.asked.notified().await;
    world.stop_node(1).await;
    let mut first = ann(world.client_at(0, "g", "a").put("h", issues()))
        .open()
        .await;
    first.got("h").await;
    keys.let_go.notify_one();
    assert_eq!(late.error().await["kind"], "Rehome");
    world
        .sql("UPDATE issue SET title = 'here' WHERE id = 'i1'")
        .await;
    assert_eq!(first.poke().await.rows(), ["put:issue:i1"]);
    drop((first, late));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_served_by_one_node_at_a_time() {
    if !has_postgres() {
        return;
    }
    let world = two_nodes().await;
    let mut first = world.client_at(0, "g", "a").put("h", issues()).open().await;
    first.got("h").await;
    let mut other = world
        .client_at(0, "other", "o")
        .put("h", issues())
        .open()
        .await;
    other.got("h").await;
    // Another client of the group comes to the other node: the group is there from now on.
    let mut second = world.client_at(1, "g", "b").open().await;
    second.poke().await;
    while second.have().len() < 3 {
        second.poke().await;
    }
    second
        .desire(json!([{"op": "put", "hash": "k", "ast": comments()}]))
        .await;
    second.got("k").await;
    // The first one is told nothing more than that it should come back, and its group's neighbour goes on.
    world
        .sql("UPDATE issue SET title = 'after the move' WHERE id = 'i1'")
        .await;
    let error = first.error().await;
    assert_eq!(error["kind"], "Rehome");
    assert_ne!(
        first.row("issue", "i1").expect("there")["title"],
        "after the move"
    );
    assert_eq!(other.poke().await.rows(), ["put:issue:i1"]);
    // It comes back, to the wrong node even: the group moves again, and has what it got meanwhile.
    let mut first = back(&world, 0, first).await;
    while first.have().len() < 6 {
        first.poke().await;
    }
    assert_eq!(
        first.row("issue", "i1").expect("there")["title"],
        "after the move"
    );
    // What the node that has lost it is asked to store is refused.
    second.desire(json!([{"op": "del", "hash": "k"}])).await;
    assert_eq!(second.error().await["kind"], "Rehome");
    drop((first, second, other));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_belongs_to_its_user_on_every_node() {
    if !has_postgres() {
        return;
    }
    let world = two_nodes().await;
    let mut ann = world
        .client_at(0, "g", "a")
        .param("userID", "ann")
        .put("h", issues())
        .open()
        .await;
    ann.got("h").await;
    let mut bob = world
        .client_at(1, "g", "b")
        .param("userID", "bob")
        .open()
        .await;
    assert_eq!(bob.error().await["kind"], "Unauthorized");
    drop((ann, bob));
    world.end().await;
}

/// A node that was killed is not missed: whoever takes its groups goes on from what it had made durable.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_is_followed_by_another() {
    if !has_postgres() {
        return;
    }
    let mut world = World::sharing(&[]).await;
    world.start_process(0).await;
    world.start_process(1).await;
    let mut client = world.client_at(0, "g", "c").put("h", issues()).open().await;
    client.got("h").await;
    world
        .sql("UPDATE issue SET title = 'last words' WHERE id = 'i1'")
        .await;
    assert_eq!(client.poke().await.rows(), ["put:issue:i1"]);
    world.kill_node(0);
    world.sql("DELETE FROM issue WHERE id = 'i3'").await;
    let mut client = back(&world, 1, client).await;
    while client.row("issue", "i3").is_some() {
        let poke = client.poke().await;
        assert!(
            !poke.rows().contains(&"put:issue:i2".to_owned()),
            "{poke:?}"
        );
    }
    // The same place starts again, and the client comes home.
    world.start_process(0).await;
    let mut client = back(&world, 0, client).await;
    client.poke().await;
    world
        .sql("UPDATE issue SET title = 'home again' WHERE id = 'i2'")
        .await;
    while client.row("issue", "i2").expect("there")["title"] != "home again" {
        client.poke().await;
    }
    drop(client);
    world.end().await;
}

/// What an earlier server recorded is forgotten, once no such server runs any more.
#[tokio::test(flavor = "multi_thread")]
async fn records_of_an_earlier_format_begin_anew() {
    if !has_postgres() {
        return;
    }
    let mut world = World::sharing(&[]).await;
    world.start_node(0).await;
    let mut client = world.client_at(0, "g", "c").put("h", issues()).open().await;
    client.got("h").await;
    let (cookie, _) = client.vanish();
    world.stop_node(0).await;
    let schema = "SELECT table_schema FROM information_schema.tables WHERE table_name = 'members'";
    let schema = world.text(schema).await.expect("a schema of the records");
    let meta = format!("\"{schema}\".meta");
    world.sql(&format!("UPDATE {meta} SET format = 1")).await;
    world.start_node(0).await;
    let earlier = world.client_at(0, "g", "c").zero().cookie(&cookie);
    assert_eq!(earlier.open().await.error().await["kind"], "ClientNotFound");
    let mut client = world.client_at(0, "n", "n").put("h", issues()).open().await;
    client.got("h").await;
    assert_eq!(client.have(), ["issue:i1", "issue:i2", "issue:i3"]);
    let format = format!("SELECT format::text FROM {meta}");
    assert_eq!(world.text(&format).await.as_deref(), Some("2"));
    drop(client);
    world.end().await;
}

/// A server that is told to stop sends its clients away, finishes what they have pushed, and hands over.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_hands_its_groups_over() {
    if !has_postgres() {
        return;
    }
    let mut world = two_nodes().await;
    let mut client = world.client_at(0, "g", "c").put("h", issues()).open().await;
    client.got("h").await;
    let pushed = 20;
    for id in 1..=pushed {
        let op = issue_op("update", json!({"id": "i1", "title": format!("push {id}")}));
        client.crud(id, json!([op])).await;
    }
    // The server has read all of them once it answers.
    client
        .send(json!(["pull", {"clientGroupID": "g", "cookie": null, "requestID": "r"}]))
        .await;
    client.expect("pull").await;
    let begun = Instant::now();
    world.stop_node(0).await;
    assert!(
        begun.elapsed() < Duration::from_secs(12),
        "{:?}",
        begun.elapsed()
    );
    let error = client.error().await;
    assert_eq!(error["kind"], "Rehome");
    assert_eq!(error["minBackoffMs"], error["maxBackoffMs"]);
    assert!(error["maxBackoffMs"].as_f64().expect("a pause") <= 500.0);
    assert_eq!(client.closed().await.code, None);
    let title = world.text("SELECT title FROM issue WHERE id = 'i1'").await;
    assert_eq!(title.as_deref(), Some("push 20"), "what was pushed is done");
    let mut client = back(&world, 1, client).await;
    while client.row("issue", "i1").expect("there")["title"] != "push 20" {
        client.poke().await;
    }
    // It sends everything again that it has heard nothing of: nothing is done twice.
    for id in 1..=pushed {
        let op = issue_op("update", json!({"id": "i1", "title": "twice"}));
        client.crud(id, json!([op])).await;
    }
    let op = issue_op("update", json!({"id": "i2", "title": "next"}));
    client.crud(pushed + 1, json!([op])).await;
    client.confirmed(pushed + 1).await;
    assert_eq!(
        client.row("issue", "i1").expect("there")["title"],
        "push 20"
    );
    drop(client);
    world.end().await;
}

/// Nobody's client ends for good because the records cannot be reached for a while.
#[tokio::test(flavor = "multi_thread")]
async fn records_out_of_reach_send_clients_away_until_they_are_back() {
    if !has_postgres() {
        return;
    }
    let mut world = World::unstarted(Backend::Postgres, &["--dev"]).await;
    let target = world.target();
    let gate = Gate::new(target.clone()).await;
    world.keep_records_behind(&gate);
    world.start().await;
    let mut client = world.client("g", "c").put("h", issues()).open().await;
    client.got("h").await;
    gate.cut();
    // Longer than the server waits for its records: what it is to store, and what it is to read.
    client
        .desire(json!([{"op": "put", "hash": "k", "ast": comments()}]))
        .await;
    let mut other = world.client("other", "o").put("h", issues()).open().await;
    for error in [client.error().await, other.error().await] {
        assert_eq!(error["kind"], "Rehome", "{error}");
        let pause = error["minBackoffMs"].as_f64().expect("a pause");
        assert!((1_000.0..=2_000.0).contains(&pause), "{error}");
    }
    world
        .sql("UPDATE issue SET title = 'meanwhile' WHERE id = 'i2'")
        .await;
    gate.lead_to(target);
    let wish = json!([{"op": "put", "hash": "k", "ast": comments()}]);
    let mut client = back(&world, 0, client).await;
    client.desire(wish.clone()).await;
    let from = Instant::now();
    while client.have().len() < 6
        || client.row("issue", "i2").expect("there")["title"] != "meanwhile"
    {
        assert!(from.elapsed() < Duration::from_secs(60), "rows in time");
        // Until the lock of the connection that was cut is free, another server is said to have the group.
        if client.follow(Duration::from_millis(100)).await.is_err() {
            client = back(&world, 0, client).await;
            client.desire(wish.clone()).await;
        }
    }
    drop((client, other));
    world.end().await;
}

/// Several notice at once that the node's lock is gone: one of them takes it again, and the others wait for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_lost_is_taken_again_once() {
    if !has_postgres() {
        return;
    }
    let mut world = World::sharing(&[]).await;
    world.start_node(0).await;
    let mut first = world.client("first", "c").put("h", issues()).open().await;
    first.got("h").await;
    for round in 0..5 {
        world
            .sql(
                "SELECT pg_terminate_backend(pid) FROM pg_locks
                  WHERE locktype = 'advisory' AND objsubid = 2 AND pid <> pg_backend_pid()
                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            )
            .await;
        let visits = (0..6).map(async |visitor| {
            let group = format!("g{round}-{visitor}");
            let mut client = world.client(&group, "c").put("h", issues()).open().await;
            client.got("h").await;
        });
        futures::future::join_all(visits).await;
    }
    drop(first);
    world.end().await;
}
