//! Random transactions on a real Postgres, with the connection cut at random: the steps add up to what Postgres holds.

#![allow(
    clippy::unwrap_used,
    reason = "a test stops where something is not as it should be"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use landfall_server::replica::{Advance, Reset, StateVersion};
use landfall_server::upstream::State;
use landfall_server::upstream::postgres::start;
use landfall_zql::{Key, Names, Row, TableId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::{Database, Following, PATIENCE, rows};
use tokio::net::{TcpListener, TcpStream};

const SCHEMA: &str = "
CREATE TABLE t (a int4, b text, u int4 UNIQUE, body text, PRIMARY KEY (a, b));
ALTER TABLE t ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE TABLE marker (n int4 PRIMARY KEY);
";

/// One random statement; each may fail on a unique key, which ends its transaction.
fn statement(random: &mut StdRng) -> String {
    let a = random.random_range(0..6);
    let b = ["x", "y", "Z"][random.random_range(0..3)];
    let u = random.random_range(0..12);
    match random.random_range(0..20) {
        0..7 => format!(
            "INSERT INTO t VALUES ({a}, '{b}', {u}, repeat('{b}', {})) ON CONFLICT DO NOTHING",
            a * 1500
        ),
        7..11 => format!("UPDATE t SET u = NULL WHERE a = {a}"),
        11..13 => format!("UPDATE t SET a = a + 10 WHERE b = '{b}' AND a < 10"),
        13..15 => format!("UPDATE t SET body = 'new {u}' WHERE a = {a} AND b = '{b}'"),
        15..17 => format!("DELETE FROM t WHERE a > {a}"),
        17 => format!("DELETE FROM t WHERE b = '{b}'"),
        18 => format!("UPDATE t SET b = b || '{b}' WHERE length(b) < 3"),
        _ if u == 0 => "TRUNCATE t".to_owned(),
        _ => format!(
            "DELETE FROM t WHERE a = {a}; INSERT INTO t VALUES ({a}, '{b}', NULL, 'again') ON CONFLICT DO NOTHING"
        ),
    }
}

/// The rows that the steps add up to.
#[derive(Default)]
struct Model {
    rows: BTreeMap<(TableId, Key), Row>,
    /// The version that a table was read at after its last reset.
    read_at: BTreeMap<TableId, StateVersion>,
}

impl Model {
    fn apply(&mut self, following: &Following, step: &Advance) {
        let schema = following.replica().schema();
        match &step.reset {
            Reset::None => {}
            Reset::Tables(tables) => {
                let mut reader = following.replica().reader().unwrap();
                assert!(reader.advance().unwrap() >= step.to);
                self.rows.retain(|(table, _), _| !tables.contains(table));
                self.load(&reader, tables.iter().copied());
            }
        }
        for change in &step.changes {
            // The reader may have seen later steps as well.
            if self.read_at.get(&change.table) >= Some(&step.to) {
                continue;
            }
            let row = change.before.as_ref().or(change.after.as_ref()).unwrap();
            let key = (change.table, schema.zql[change.table].key_of(row));
            let known = match &change.after {
                Some(after) => self.rows.insert(key, after.clone()),
                None => self.rows.remove(&key),
            };
            assert_eq!(known, change.before, "the row before is the one known");
        }
    }

    fn load(
        &mut self,
        reader: &landfall_server::replica::Reader,
        tables: impl Iterator<Item = TableId>,
    ) {
        let schema = reader.schema().clone();
        for id in tables {
            let table = &schema.zql[id];
            self.read_at.insert(id, reader.version());
            for text in rows(reader, &table.name) {
                let row = table.row_from_json(&text, Names::Server).unwrap();
                self.rows.insert((id, table.key_of(&row)), row);
            }
        }
    }

    fn texts(&self, following: &Following) -> Vec<String> {
        let schema = following.replica().schema();
        let t = schema.table_by_name("t").unwrap().id;
        let texts = self
            .rows
            .iter()
            .filter(|((table, _), _)| *table == t)
            .map(|(_, row)| {
                let mut out = String::new();
                schema.zql[t].row_to_json(row, Names::Server, &mut out);
                out
            });
        texts.collect()
    }
}

const EXPECTED: &str = r#"SELECT coalesce(string_agg(format('{"a":%s,"b":"%s","body":"%s","u":%s}', a, b, body, coalesce(u::text, 'null')), E'\n' ORDER BY a, b COLLATE "C"), '') FROM t"#;

#[tokio::test(flavor = "multi_thread")]
async fn steps_add_up_to_what_postgres_holds() {
    let seconds = std::env::var("LANDFALL_TEST_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let deadline = Instant::now() + Duration::from_secs(seconds.unwrap_or(4));
    let seed = std::env::var("LANDFALL_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(rand::random);
    println!("LANDFALL_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let db = Database::new(SCHEMA).await;
    let mut following = db.start().await;
    let mut model = Model::default();
    let mut round = 0;
    // On a busy machine a few rounds take longer than that.
    while round <= 3 || Instant::now() < deadline {
        round += 1;
        for _ in 0..random.random_range(1..8) {
            let statements: Vec<String> = (0..random.random_range(1..5))
                .map(|_| statement(&mut random))
                .collect();
            // A transaction that a unique key stops is rolled back, and must leave no trace.
            let _ = db.client.batch_execute(&statements.join(";")).await;
        }
        if random.random_bool(0.2) {
            db.sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = current_database() AND active").await;
        }
        db.sql(&format!("INSERT INTO marker VALUES ({round})"))
            .await;
        let marked = following
            .replica()
            .schema()
            .table_by_name("marker")
            .unwrap()
            .id;
        loop {
            let step = following.step().await;
            model.apply(&following, &step);
            if step.changes.iter().any(|change| change.table == marked) {
                break;
            }
        }
        let expected = db.text(EXPECTED).await.unwrap();
        let reader = following.replica().reader().unwrap();
        assert_eq!(
            rows(&reader, "t").join("\n"),
            expected,
            "the replica in round {round}"
        );
        let mut texts = model.texts(&following);
        texts.sort();
        let mut sorted: Vec<&str> = expected.lines().collect();
        sorted.sort_unstable();
        assert_eq!(texts, sorted, "the steps in round {round}");
    }
    assert!(round > 3);
    following.stop().await;
    db.drop().await;
}

/// Passes connections on to Postgres while it is open; closing it cuts them all.
struct Gate {
    port: u16,
    open: Arc<AtomicBool>,
}

impl Gate {
    async fn new(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = Arc::new(AtomicBool::new(true));
        let is_open = open.clone();
        tokio::spawn(async move {
            while let Ok((inbound, _)) = listener.accept().await {
                tokio::spawn(pass(inbound, target.clone(), is_open.clone()));
            }
        });
        Gate { port, open }
    }
}

async fn pass(mut inbound: TcpStream, target: String, open: Arc<AtomicBool>) {
    if !open.load(Ordering::SeqCst) {
        return;
    }
    let mut outbound = TcpStream::connect(target).await.unwrap();
    let closed = async {
        while open.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut inbound, &mut outbound) => {}
        () = closed => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_is_followed_again_when_it_is_back() {
    let db = Database::new(SCHEMA).await;
    let mut settings = db.settings();
    let mut url = url::Url::parse(&settings.url).unwrap();
    let gate = Gate::new(format!(
        "{}:{}",
        url.host_str().unwrap(),
        url.port().unwrap_or(5432)
    ))
    .await;
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(gate.port)).unwrap();
    settings.url = url.to_string();
    let started = start(settings).await.unwrap();
    let steps = started.replica.subscribe();
    let mut following = Following { started, steps };
    db.sql("INSERT INTO marker VALUES (1)").await;
    assert_eq!(following.step().await.changes.len(), 1);
    gate.open.store(false, Ordering::SeqCst);
    wait_for(&following, |state| {
        matches!(state, State::Disconnected { .. })
    })
    .await;
    db.sql("INSERT INTO marker VALUES (2)").await;
    assert_eq!(
        rows(&following.replica().reader().unwrap(), "marker").len(),
        1,
        "reads go on meanwhile"
    );
    gate.open.store(true, Ordering::SeqCst);
    assert_eq!(following.changes().await, [r#"marker: - → {"n":2}"#]);
    wait_for(&following, |state| *state == State::Connected).await;
    following.stop().await;
    db.drop().await;
}

async fn wait_for(following: &Following, wanted: impl Fn(&State) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !wanted(&following.started.upstream.status().state) {
        assert!(
            Instant::now() < deadline,
            "{:?}",
            following.started.upstream.status()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
