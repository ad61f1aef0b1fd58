//! Client groups over time: lost records, dead clients, slow sockets, random histories.

mod world;

use std::time::Duration;

use futures::StreamExt as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
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
    clients_equal_sql_whatever_happens,
);

fn issues() -> Json {
    json!({"table": "issue"})
}

async fn a_group_that_is_not_known_any_more_starts_afresh(backend: Backend) {
    let mut world = World::new(backend).await;
    let mut client = world.client("g", "c").put("h", issues()).open().await;
    client.got("h").await;
    client
        .crud(
            1,
            json!([issue_op("update", json!({"id": "i1", "title": "mine"}))]),
        )
        .await;
    client.confirmed(1).await;
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
    let mut client = world.client("g", "c").put("h", issues()).open().await;
    client.got("h").await;
    client
        .crud(
            1,
            json!([issue_op("update", json!({"id": "i1", "title": "mine"}))]),
        )
        .await;
    client.confirmed(1).await;
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
    client
        .send(json!(["inspect", {"op": "version", "id": "q"}]))
        .await;
    assert_eq!(
        client.expect("inspect").await,
        json!({"op": "authenticated", "id": "q", "value": false})
    );
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
             SELECT 'comment:' || id FROM comment WHERE issue_id IN (SELECT id FROM issue)"),
        _ => (json!({"table": "issue", "where": simple("owner", "=", json!("ann"))}),
            "SELECT 'issue:' || id FROM issue WHERE owner = 'ann'"),
    };
    (format!("q{n}"), ast, sql)
}

struct Tab {
    name: String,
    wanted: Vec<usize>,
    online: Option<Client>,
    cookie: Option<String>,
    rows: std::collections::BTreeMap<(String, String), Json>,
    got: std::collections::BTreeSet<String>,
}

/// Tabs of two groups come, go, change their queries and reconnect with any older cookie, while the data changes and
/// the server restarts. In the end each holds exactly what SQL says. Prints its seed.
async fn clients_equal_sql_whatever_happens(backend: Backend) {
    let seed = std::env::var("LANDFALL_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or_else(rand::random);
    println!("LANDFALL_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::new(backend).await;
    let mut tabs: Vec<Tab> = (0..4)
        .map(|n| Tab {
            name: format!("t{n}"),
            wanted: vec![],
            online: None,
            cookie: None,
            rows: Default::default(),
            got: Default::default(),
        })
        .collect();
    let rounds = std::env::var("LANDFALL_TEST_SECONDS")
        .ok()
        .and_then(|s| s.parse::<usize>().ok())
        .unwrap_or(4)
        * 15;
    for round in 0..rounds {
        let n = random.random_range(0..tabs.len());
        match random.random_range(0..10) {
            0..4 => world.sql(&change(&mut random, round)).await,
            4..6 => toggle(&world, &mut tabs[n], n, &mut random).await,
            6..9 => rewish(&mut tabs[n], &mut random).await,
            _ if round % 3 == 0 => {
                for tab in &mut tabs {
                    go_offline(tab);
                }
                world.stop().await;
                world.sql(&change(&mut random, round)).await;
                world.start().await;
            }
            _ => {}
        }
    }
    for (n, tab) in tabs.iter_mut().enumerate() {
        if tab.online.is_none() {
            toggle(&world, tab, n, &mut random).await;
        }
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
    if let Some(client) = tab.online.take() {
        let (cookie, got) = (client.cookie.clone(), client.has_got.clone());
        let (_, rows) = client.vanish();
        if cookie.is_some() {
            (tab.cookie, tab.rows, tab.got) = (cookie, rows, got);
        }
    }
}

async fn toggle(world: &World, tab: &mut Tab, n: usize, random: &mut StdRng) {
    if tab.online.is_some() {
        return go_offline(tab);
    }
    let group = format!("g{}", n % 2);
    let mut builder = world.client(&group, &tab.name);
    // A tab whose store was lost starts with nothing; its group may still know its wishes.
    if tab.cookie.is_some() && random.random_range(0..6) == 0 {
        (tab.cookie, tab.rows, tab.got) = (None, Default::default(), Default::default());
    }
    if let Some(cookie) = &tab.cookie {
        builder = builder.cookie(cookie);
    }
    for wanted in &tab.wanted {
        let (hash, ast, _) = query(*wanted);
        builder = builder.put(&hash, ast);
    }
    let mut client = builder.open().await;
    client.rows = tab.rows.clone();
    client.has_got = tab.got.clone();
    client.cookie = tab.cookie.clone();
    client.poke().await;
    tab.online = Some(client);
}

async fn rewish(tab: &mut Tab, random: &mut StdRng) {
    let n = random.random_range(0..4);
    let (hash, ast, _) = query(n);
    let Some(client) = &mut tab.online else {
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
    let Some(client) = &mut tab.online else {
        return;
    };
    let deadline = tokio::time::Instant::now() + world::PATIENCE;
    loop {
        let mut expected = std::collections::BTreeSet::new();
        for hash in &client.has_got {
            let n = hash
                .trim_start_matches('q')
                .parse()
                .expect("one of our queries");
            expected.extend(world.list(query(n).2).await);
        }
        let have: std::collections::BTreeSet<String> = client.have().into_iter().collect();
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
        match tokio::time::timeout(Duration::from_millis(300), client.socket.next()).await {
            Ok(Some(Ok(message))) => client.take(message).await,
            Ok(end) => panic!("{name}: the connection ended: {end:?}"),
            Err(_) => {}
        }
    }
}
