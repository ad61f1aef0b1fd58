//! What whoever runs a server sees of it: checks before the start, readiness, metrics, limits.

mod support;
mod world;

use landfall_server::check::check;
use landfall_server::config::{self, Flags};
use serde_json::json;
use support::Database;
use world::{Backend, Gate, World, issue_op};

async fn get(world: &World, path: &str) -> (u16, String) {
    let url = format!("http://{}{path}", world.running().address);
    let answer = reqwest::get(url).await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("text"))
}

async fn a_running_server_is_ready_and_measured(backend: Backend) {
    let world = World::new(backend).await;
    let mut ready = get(&world, "/ready").await;
    for _ in 0..1200 {
        if ready.0 == 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        ready = get(&world, "/ready").await;
    }
    assert_eq!(ready, (200, "OK".to_owned()));
    // Only the first server of a process has the recorder.
    let (status, metrics) = get(&world, "/metrics").await;
    if status == 200 {
        for name in [
            "landfall_replication_connected 1",
            "landfall_pipelines 0",
            "landfall_groups 0",
        ] {
            assert!(metrics.contains(name), "{metrics}");
        }
    }
    world.end().await;
}

async fn mutations_beyond_the_limit_wait(backend: Backend) {
    let flags = [
        "--dev",
        "--per-user-mutation-limit-max",
        "2",
        "--per-user-mutation-limit-window-ms",
        "6000",
    ];
    let world = World::with(backend, &flags).await;
    let mut client = world
        .client("g", "c")
        .put("h", json!({"table": "issue"}))
        .open()
        .await;
    client.got("h").await;
    let rename = |n: u64| {
        json!([issue_op(
            "update",
            json!({"id": "i1", "title": format!("t{n}")})
        )])
    };
    client.crud(1, rename(1)).await;
    client.crud(2, rename(2)).await;
    client.crud(3, rename(3)).await;
    assert_eq!(client.error().await["kind"], "MutationRateLimited");
    client.confirmed(2).await;
    // The window: long enough for a busy machine to write three times in it.
    tokio::time::sleep(std::time::Duration::from_millis(6200)).await;
    client.crud(3, rename(3)).await;
    client.confirmed(3).await;
    assert_eq!(client.row("issue", "i1").expect("there")["title"], "t3");
    world.end().await;
}

/// How much of its log Postgres keeps for the slot is measured, and readiness is that of the line to it.
#[tokio::test(flavor = "multi_thread")]
async fn the_slot_and_the_line_are_watched() {
    if !world::has_postgres() {
        return;
    }
    let mut world = World::unstarted(Backend::Postgres, &["--dev"]).await;
    let target = world.target();
    let gate = Gate::new(target.clone()).await;
    world.go_through(&gate);
    // A process has the recorder to itself.
    world.start_process(0).await;
    let url = world.client("g", "c").url.replace("ws:", "http:");
    let path = |path: &str| url.replace("/sync/v51/connect", path);
    let (url, ready, statz) = (path("/metrics"), path("/ready"), path("/statz"));
    let begun = std::time::Instant::now();
    loop {
        let text = reqwest::get(&url).await.expect("an answer").text().await;
        let text = text.expect("text");
        let of = |name: &str| -> Option<f64> {
            let line = text.lines().find(|line| line.starts_with(name))?;
            line.rsplit(' ').next()?.parse().ok()
        };
        let kept = of("landfall_replication_slot_kept_bytes ");
        if kept.is_some_and(|bytes| bytes < 64.0 * 1024.0 * 1024.0)
            && of("landfall_replication_connected ") == Some(1.0)
        {
            break;
        }
        assert!(begun.elapsed() < world::PATIENCE, "{text}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let until = async |wanted: u16| {
        let begun = std::time::Instant::now();
        loop {
            let answer = reqwest::get(&ready).await.expect("an answer");
            let status = answer.status().as_u16();
            let said = answer.text().await.expect("text");
            if status == wanted {
                return said;
            }
            assert!(begun.elapsed() < world::PATIENCE, "{status} {said}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    until(200).await;
    gate.cut();
    // Why is for administrators: it names hosts.
    let said = until(503).await;
    assert_eq!(said, "no changes arrive from the database at the moment");
    let stats = reqwest::get(&statz).await.expect("an answer").text().await;
    let stats = stats.expect("text");
    assert!(stats.contains("\"upstream\":"), "{stats}");
    gate.lead_to(target);
    until(200).await;
    world.end().await;
}

scenarios!(
    a_running_server_is_ready_and_measured,
    mutations_beyond_the_limit_wait
);

async fn findings(words: &[&str]) -> Vec<String> {
    let flags = Flags::parse_words(words).expect("flags");
    let config = config::resolve(&flags, &|_| None).expect("configuration");
    let found = check(&config).await;
    found.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_check_names_each_column_that_is_left_out_and_why() {
    let db = Database::new(
        "CREATE TABLE part (id int4 PRIMARY KEY, n int4, twice int4 GENERATED ALWAYS AS (n * 2) STORED, at point);
         CREATE DOMAIN span AS interval; CREATE TABLE timed (at span PRIMARY KEY);
         CREATE TABLE derived (n int4, twice int4 GENERATED ALWAYS AS (n * 2) STORED PRIMARY KEY);",
    )
    .await;
    assert_eq!(
        findings(&["--upstream-db", &db.settings().url]).await,
        [
            "warning: table derived is not synced: the column twice of its key is generated, and Postgres does not publish generated columns",
            "warning: columns of part that cannot be synced are left out: at (pg_catalog.point), twice (generated: Postgres does not publish generated columns)",
            "warning: table timed is not synced: the column at of its key has the type pg_catalog.\"interval\", which cannot be synced",
        ]
    );
    db.drop().await;
}

#[tokio::test]
async fn a_check_names_what_is_missing_and_changes_nothing() {
    let role = format!("plain_{:08x}", rand::random::<u32>());
    let db = Database::new(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'x'; CREATE TABLE good (id int4 PRIMARY KEY, at point);
         CREATE TABLE keyless (id int4); REVOKE CREATE ON DATABASE postgres FROM {role};"
    ))
    .await;
    let url = db.settings().url;
    let warnings = [
        "warning: columns of good that cannot be synced are left out: at (pg_catalog.point)",
        "warning: table keyless is not synced: it has no primary key (or unique index that is its replica identity) over not-null columns of supported types",
        "warning: Postgres refuses every UPDATE and DELETE on \"public\".\"keyless\", the application's too, while it is published (\"does not have a replica identity and publishes updates\"): give it a primary key, or set its replica identity; the server sets it when it starts\n    ALTER TABLE \"public\".\"keyless\" REPLICA IDENTITY FULL;",
    ];
    assert_eq!(findings(&["--upstream-db", &url]).await, warnings);
    let exists = db.text("SELECT count(*)::text FROM pg_publication").await;
    assert_eq!(exists.as_deref(), Some("0"), "nothing was made");

    let mut plain = url::Url::parse(&url).expect("URL");
    plain.set_username(&role).expect("a name");
    plain.set_password(Some("x")).expect("a password");
    let found = findings(&["--upstream-db", plain.as_str()]).await;
    let mends: Vec<&str> = found
        .iter()
        .filter_map(|f| f.split_once("\n    "))
        .map(|(_, sql)| sql)
        .collect();
    assert_eq!(mends.len(), 3, "{found:?}");
    assert!(
        mends[0].starts_with("ALTER ROLE") && mends[0].ends_with("REPLICATION;"),
        "{mends:?}"
    );
    assert!(
        mends[1].starts_with("GRANT CREATE ON DATABASE"),
        "{mends:?}"
    );
    assert!(mends[2].starts_with("CREATE PUBLICATION"), "{mends:?}");
    db.sql(mends[0]).await;
    db.sql(mends[1]).await;
    db.sql(mends[2]).await;
    assert_eq!(findings(&["--upstream-db", plain.as_str()]).await, warnings);

    db.sql("CREATE PUBLICATION half FOR TABLE good WITH (publish = 'insert')")
        .await;
    let found = findings(&["--upstream-db", &url, "--app-publications", "half,none"]).await;
    assert_eq!(found.len(), 2, "{found:?}");
    let name = db
        .text("SELECT current_database()::text")
        .await
        .expect("a name");
    db.sql(&format!(
        "REVOKE ALL ON DATABASE {name} FROM {role}; DROP ROLE {role}"
    ))
    .await;
    db.drop().await;
}

#[tokio::test]
async fn a_check_of_a_file_names_what_is_left_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.db");
    let path = path.to_str().expect("text");
    let found = findings(&["--upstream-db", path]).await;
    assert!(found[0].contains("does not exist"), "{found:?}");
    let conn = rusqlite::Connection::open(path).expect("a file");
    conn.execute_batch("CREATE TABLE good (id TEXT PRIMARY KEY NOT NULL)")
        .expect("a table");
    assert_eq!(
        findings(&["--upstream-db", path]).await,
        Vec::<String>::new()
    );
}

/// Nobody builds the container in a test, but what its files name must be there.
#[test]
fn the_container_files_name_settings_and_programs_that_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect(path);
    let (docker, compose) = (
        read("examples/container/Dockerfile"),
        read("examples/container/compose.yaml"),
    );
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let both = format!("{docker}{compose}");
    let words = both.split(|c: char| !is_name(c));
    let mut names: Vec<&str> = words
        .filter_map(|word| word.strip_prefix("LANDFALL_"))
        .collect();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() >= 5, "{names:?}");
    for name in names {
        let flag = format!("--{}", name.to_lowercase().replace('_', "-"));
        let known = Flags::parse_words(&[&flag, "1"]);
        assert!(known.is_ok(), "there is no setting LANDFALL_{name}");
    }
    let copied = docker
        .lines()
        .find_map(|line| line.strip_prefix("COPY --from=build /src/target/release/"))
        .and_then(|rest| rest.split_whitespace().next());
    assert_eq!(copied, Some("landfall-server"));
    let manifest = read("crates/server/Cargo.toml");
    assert!(manifest.contains("name = \"landfall-server\""));
    let features = docker.split("--features ").nth(1);
    let feature = features.and_then(|rest| rest.split_whitespace().next());
    let feature = feature.expect("a feature");
    assert!(manifest.contains(&format!("\n{feature} = [")), "{feature}");
    assert!(compose.contains("dockerfile: examples/container/Dockerfile"));
}
