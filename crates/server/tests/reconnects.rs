//! Random histories: tabs come, go and reconnect with any cookie they ever had, while data changes and servers are
//! restarted, killed, or hand groups over to each other. In the end every tab holds what SQL says.

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value as Json, json};
use world::{Backend, Client, World};

#[tokio::test(flavor = "multi_thread")]
async fn one_server_over_a_file() {
    let world = World::unstarted(Backend::Embedded, &["--dev"]).await;
    clients_equal_sql_whatever_happens(world, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_over_postgres() {
    if world::has_postgres() {
        let world = World::unstarted(Backend::Postgres, &["--dev"]).await;
        clients_equal_sql_whatever_happens(world, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_that_share_their_records() {
    if world::has_postgres() {
        let world = World::sharing(&[]).await;
        clients_equal_sql_whatever_happens(world, 2).await;
    }
}

/// A query and the SQL that gives the ids of its rows, `table:id`.
fn query(n: usize) -> (String, Json, &'static str) {
    let comments = json!({"correlation": {"parentField": ["id"], "childField": ["issue_id"]},
        "subquery": {"table": "comment", "alias": "comments"}});
    let simple = |column: &str, op: &str, value: Json| {
        json!({"type": "simple", "op": op,
        "left": {"type": "column", "name": column}, "right": {"type": "literal", "value": value}})
    };
    let exists = json!({"type": "correlatedSubquery", "op": "EXISTS", "related": {
        "correlation": {"parentField": ["id"], "childField": ["issue_id"]},
        "subquery": {"table": "comment", "alias": "zsubq_comments"}}});
    let (ast, sql) = match n {
        0 => (json!({"table": "issue", "orderBy": [["priority", "desc"]], "limit": 3}),
            "SELECT 'issue:' || id FROM (SELECT id FROM issue ORDER BY priority DESC, id LIMIT 3) AS t"),
        1 => (json!({"table": "issue", "where": simple("open", "=", json!(true)), "related": [comments]}),
            "SELECT 'issue:' || id FROM issue WHERE open UNION SELECT 'comment:' || c.id FROM comment c JOIN issue i
             ON c.issue_id = i.id WHERE i.open"),
        2 => (json!({"table": "issue", "where": exists}),
            "SELECT 'issue:' || id FROM issue WHERE id IN (SELECT issue_id FROM comment) UNION
             SELECT 'comment:' || id FROM (SELECT id, issue_id, row_number() OVER (PARTITION BY issue_id ORDER BY id)
             AS place FROM comment) AS c WHERE place <= 3 AND issue_id IN (SELECT id FROM issue)"),
        _ => (json!({"table": "issue", "where": simple("owner", "=", json!("ann"))}),
            "SELECT 'issue:' || id FROM issue WHERE owner = 'ann'"),
    };
    (format!("q{n}"), ast, sql)
}

/// What a tab has stored at some time.
#[derive(Clone, Default)]
struct Stored {
    cookie: Option<String>,
    rows: BTreeMap<(String, String), Json>,
    got: BTreeSet<String>,
}

struct Tab {
    name: String,
    group: String,
    wanted: Vec<usize>,
    online: Option<(usize, Client)>,
    /// Everything it ever had, the newest last.
    history: Vec<Stored>,
}

/// Prints its seed.
async fn clients_equal_sql_whatever_happens(mut world: World, nodes: usize) {
    let seed = std::env::var("LANDFALL_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or_else(rand::random);
    println!("LANDFALL_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for node in 0..nodes {
        world.start_process(node).await;
    }
    let tab = |n: usize| Tab {
        name: format!("t{n}"),
        group: format!("g{}", n % 2),
        wanted: vec![],
        online: None,
        history: vec![Stored::default()],
    };
    let mut tabs: Vec<Tab> = (0..4).map(tab).collect();
    let rounds = std::env::var("LANDFALL_TEST_SECONDS")
        .ok()
        .and_then(|s| s.parse::<usize>().ok())
        .unwrap_or(4)
        * 15;
    for round in 0..rounds {
        let n = random.random_range(0..tabs.len());
        match random.random_range(0..10) {
            0..4 => world.sql(&change(&mut random, round)).await,
            4..6 if tabs[n].online.is_some() => go_offline(&mut tabs[n]),
            4..6 => go_online(&world, &mut tabs, n, nodes, &mut random).await,
            6..9 => rewish(&mut tabs[n], &mut random).await,
            _ if round % 3 == 0 => {
                let node = random.random_range(0..nodes);
                for tab in &mut tabs {
                    if tab.online.as_ref().is_some_and(|(at, _)| *at == node) {
                        go_offline(tab);
                    }
                }
                match random.random_range(0..2) {
                    0 => world.stop_node(node).await,
                    _ => world.kill_node(node),
                }
                world.sql(&change(&mut random, round)).await;
                world.start_process(node).await;
            }
            _ => {}
        }
    }
    for n in 0..tabs.len() {
        if tabs[n].online.is_none() {
            go_online(&world, &mut tabs, n, nodes, &mut random).await;
        }
    }
    for n in 0..tabs.len() {
        // The last of a group may have taken it to another server.
        if tabs[n].online.is_none() {
            let beside = |tab: &&Tab| tab.group == tabs[n].group && tab.online.is_some();
            let node = tabs.iter().find(beside).and_then(|tab| tab.online.as_ref());
            let node = node.map_or(0, |(node, _)| *node);
            connect(&world, &mut tabs[n], node, &mut random).await;
        }
    }
    for tab in &mut tabs {
        settle(&world, tab).await;
    }
    world.end().await;
}

fn change(random: &mut StdRng, round: usize) -> String {
    let issue = random.random_range(0..8);
    let comment = random.random_range(0..8);
    match random.random_range(0..6) {
        0 => format!("DELETE FROM issue WHERE id = 'r{issue}'; INSERT INTO issue VALUES ('r{issue}', 't{round}', 'ann',
            {}, TRUE)", random.random_range(0..9)),
        1 => format!("DELETE FROM issue WHERE id = 'r{issue}'"),
        2 => format!("UPDATE issue SET open = NOT open, title = 'u{round}' WHERE id = 'i{}'", issue % 3 + 1),
        3 => format!("DELETE FROM comment WHERE id = 'r{comment}'; INSERT INTO comment VALUES ('r{comment}', 'r{issue}',
            'b{round}')"),
        4 => format!("UPDATE issue SET priority = {}, owner = 'bob' WHERE id = 'r{issue}'", random.random_range(0..9)),
        _ => format!("UPDATE comment SET issue_id = 'i{}' WHERE id = 'r{comment}'", issue % 3 + 1),
    }
}

fn go_offline(tab: &mut Tab) {
    if let Some((_, client)) = tab.online.take() {
        let (cookie, got) = (client.cookie.clone(), client.has_got.clone());
        let (_, rows) = client.vanish();
        if cookie.is_some() {
            tab.history.push(Stored { cookie, rows, got });
        }
    }
}

async fn go_online(world: &World, tabs: &mut [Tab], n: usize, nodes: usize, random: &mut StdRng) {
    let node = random.random_range(0..nodes);
    let group = tabs[n].group.clone();
    // A group that moves is at one server: its other tabs lose their connection, with what they have read so far.
    for other in tabs.iter_mut().filter(|tab| tab.group == group) {
        if other.online.as_ref().is_some_and(|(at, _)| *at != node) {
            go_offline(other);
        }
    }
    connect(world, &mut tabs[n], node, random).await;
}

async fn connect(world: &World, tab: &mut Tab, node: usize, random: &mut StdRng) {
    let mut builder = world.client_at(node, &tab.group, &tab.name);
    // Mostly what it had last; sometimes an older state, down to nothing, as after a crash of the browser.
    let last = tab.history.len() - 1;
    let at = match random.random_range(0..4) {
        0 => random.random_range(0..=last),
        _ => last,
    };
    let stored = tab.history[at].clone();
    if let Some(cookie) = &stored.cookie {
        builder = builder.cookie(cookie);
    }
    for wanted in &tab.wanted {
        let (hash, ast, _) = query(*wanted);
        builder = builder.put(&hash, ast);
    }
    let mut client = builder.open().await;
    (client.cookie, client.rows, client.has_got) = (stored.cookie, stored.rows, stored.got);
    client.poke().await;
    tab.online = Some((node, client));
}

async fn rewish(tab: &mut Tab, random: &mut StdRng) {
    let n = random.random_range(0..4);
    let (hash, ast, _) = query(n);
    let Some((_, client)) = &mut tab.online else {
        return;
    };
    if tab.wanted.contains(&n) {
        tab.wanted.retain(|w| *w != n);
        client.desire(json!([{"op": "del", "hash": hash}])).await;
    } else {
        tab.wanted.push(n);
        client
            .desire(json!([{"op": "put", "hash": hash, "ast": ast, "ttl": 0}]))
            .await;
    }
}

/// Reads on until the tab has got its wanted queries and holds exactly the rows of what it has got, as SQL says.
async fn settle(world: &World, tab: &mut Tab) {
    let Some((_, client)) = &mut tab.online else {
        return;
    };
    let deadline = tokio::time::Instant::now() + world::PATIENCE;
    loop {
        let mut expected = BTreeSet::new();
        for hash in &client.has_got {
            let n = hash
                .trim_start_matches('q')
                .parse()
                .expect("one of our queries");
            expected.extend(world.list(query(n).2).await);
        }
        let have: BTreeSet<String> = client.have().into_iter().collect();
        let mut stale = Vec::new();
        for ((table, id), row) in &client.rows {
            let column = if table == "issue" { "title" } else { "body" };
            let there = world
                .list(&format!("SELECT {column} FROM {table} WHERE id = '{id}'"))
                .await;
            if there.first().map(String::as_str) != row[column].as_str() {
                stale.push(id.clone());
            }
        }
        let wanted = tab
            .wanted
            .iter()
            .all(|n| client.has_got.contains(&query(*n).0));
        if wanted && have == expected && stale.is_empty() {
            return;
        }
        let name = &tab.name;
        let time = tokio::time::Instant::now() < deadline;
        assert!(
            time,
            "{name}: got {:?}, have {have:?}, expected {expected:?}, stale {stale:?}",
            client.has_got
        );
        let read = client.follow(Duration::from_millis(200)).await;
        read.unwrap_or_else(|closed| panic!("{name}: the connection ended: {closed:?}"));
    }
}
