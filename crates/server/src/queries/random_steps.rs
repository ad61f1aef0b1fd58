//! The threads of the pool without threads: each is moved on by one step at a time, in random order, while
//! transactions are committed and groups come, change their queries, return and go. At each version that a group is
//! told of, its rows are those that SQL gives for that version.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use landfall_ivm::WITNESSES;
use landfall_zql::ast::Ast;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rusqlite::Connection;
use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::coordinator::Coordinator;
use super::crew::Crew;
use super::hydrator::{Hydrator, Turn};
use super::limits::QueryLimits;
use super::poke_body::PokeBody;
use super::pool::{Gauges, Mail};
use super::prepare::PreparedQuery;
use super::request::{
    CatchUpReply, CatchUpRequest, PointEvent, PoolEvent, SyncRequest, SyncedEvent,
};
use super::worker::Worker;
use crate::cvr::{InstanceId, SqliteCvr, StateVersion};
use crate::upstream::embedded::ByHand;

const TABLES: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;
    CREATE TABLE issue (id TEXT PRIMARY KEY NOT NULL, owner TEXT, n INTEGER NOT NULL);
    CREATE TABLE comment (id TEXT PRIMARY KEY NOT NULL, issue TEXT NOT NULL, body TEXT NOT NULL);";

const ISSUES: &str = "SELECT 'issue', id, json_object('id', id, 'owner', owner, 'n', n) FROM issue";
const COMMENTS: &str =
    "SELECT 'comment', id, json_object('id', id, 'issue', issue, 'body', body) FROM comment";

/// Queries as the engine and as SQL have them.
fn queries() -> Vec<(Arc<PreparedQuery>, String)> {
    let equal = |column: &str, value: &str| {
        format!(
            r#"{{"type":"simple","op":"=","left":{{"type":"column","name":"{column}"}},"right":{{"type":"literal","value":"{value}"}}}}"#
        )
    };
    let comments = |alias: &str, more: &str| {
        format!(
            r#"{{"correlation":{{"parentField":["id"],"childField":["issue"]}},"subquery":{{"table":"comment","alias":"{alias}"{more}}}}}"#
        )
    };
    let top = r#""table":"issue","orderBy":[["n","desc"]],"limit":3"#;
    let x = equal("body", "x");
    let texts = [
        (r#"{"table":"issue"}"#.to_owned(), ISSUES.to_owned()),
        (
            format!(r#"{{"table":"issue","where":{}}}"#, equal("owner", "ann")),
            format!("{ISSUES} WHERE owner = 'ann'"),
        ),
        (
            format!(r#"{{"table":"issue","where":{}}}"#, equal("owner", "bob")),
            format!("{ISSUES} WHERE owner = 'bob'"),
        ),
        (
            format!(r#"{{{top},"related":[{}]}}"#, comments("comments", "")),
            format!(
                "WITH top AS (SELECT id FROM issue ORDER BY n DESC, id LIMIT 3)
                 {ISSUES} WHERE id IN top UNION ALL {COMMENTS} WHERE issue IN top"
            ),
        ),
        (
            format!(
                r#"{{"table":"issue","where":{{"type":"correlatedSubquery","op":"EXISTS","related":{}}}}}"#,
                comments("zsubq_comments", &format!(r#","where":{x}"#))
            ),
            format!(
                "{ISSUES} WHERE id IN (SELECT issue FROM comment WHERE body = 'x')
                 UNION ALL {COMMENTS} WHERE id IN (SELECT id FROM
                    (SELECT id, issue, row_number() OVER (PARTITION BY issue ORDER BY id) AS place
                     FROM comment WHERE body = 'x')
                    WHERE place <= {WITNESSES} AND issue IN (SELECT id FROM issue))"
            ),
        ),
        (
            format!(r#"{{"table":"comment","where":{}}}"#, equal("issue", "i3")),
            format!("{COMMENTS} WHERE issue = 'i3'"),
        ),
    ];
    let prepared = texts.into_iter().map(|(json, sql)| {
        let ast = Ast::from_json(&json).expect("a query");
        (Arc::new(PreparedQuery::new(&ast)), sql)
    });
    prepared.collect()
}

/// Rows by table and key.
type Rows = BTreeMap<(String, String), Json>;

fn apply(rows: &mut Rows, body: Option<&Arc<PokeBody>>) {
    let Some(body) = body else { return };
    for part in 0..body.parts.len() {
        let part = body.read(part).expect("is readable");
        let part: Json = serde_json::from_str(part.as_str()).expect("JSON");
        for op in part[1]["rowsPatch"].as_array().into_iter().flatten() {
            let table = op["tableName"].as_str().expect("a table").to_owned();
            let is_put = op["op"] == "put";
            let id = &op[if is_put { "value" } else { "id" }]["id"];
            let key = (table, id.as_str().expect("a key").to_owned());
            match is_put {
                true => rows.insert(key, op["value"].clone()),
                false => rows.remove(&key),
            };
        }
    }
}

/// What a client had once, and may come back with.
#[derive(Clone)]
struct Past {
    version: StateVersion,
    had: Vec<InstanceId>,
    rows: Rows,
}

struct Group {
    name: Arc<str>,
    sender: UnboundedSender<PoolEvent>,
    events: UnboundedReceiver<PoolEvent>,
    /// Queries that were asked for, while that is not answered.
    asked: Option<(BTreeSet<usize>, Option<Past>)>,
    queries: BTreeSet<usize>,
    now: Past,
    past: Vec<Past>,
}

struct World {
    random: StdRng,
    queries: Vec<(Arc<PreparedQuery>, String)>,
    app: Connection,
    file: ByHand,
    coordinator: Coordinator,
    workers: Vec<Worker>,
    hydrators: Vec<Hydrator>,
    mail: Receiver<Mail>,
    /// By version, the rows of each query.
    truth: BTreeMap<StateVersion, Vec<Rows>>,
    groups: Vec<Group>,
    names: usize,
    seen: Seen,
    _folder: TempDir,
}

/// What has happened, so that a test that meets nothing is noticed.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    points: usize,
    returns: usize,
    /// Steps while groups were held back.
    held: usize,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = StdRng::seed_from_u64(seed);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.db");
        let app = Connection::open(&path).expect("opens");
        app.execute_batch(TABLES).expect("tables");
        let file = ByHand::open(&path).expect("is followed");
        let replica = file.replica().clone();
        let (post, mail) = channel();
        let report = || {
            let post = post.clone();
            Box::new(move |report| drop(post.send(Mail::Report(report))))
        };
        let (mut workers, mut hydrators) = (Vec::new(), Vec::new());
        let (mut to_workers, mut to_hydrators) = (Vec::new(), Vec::new());
        for number in 0..random.random_range(1..4) {
            let (orders, received) = channel();
            let mut limits = QueryLimits::default();
            if random.random_bool(0.2) {
                // Too slow for anything: its queries are read anew at every change.
                limits.advance = Duration::ZERO;
            }
            workers
                .push(Worker::new(number, &replica, received, report(), limits).expect("starts"));
            to_workers.push(orders);
        }
        for _ in 0..2 {
            let (orders, received) = channel();
            let limits = QueryLimits::default();
            hydrators.push(Hydrator::new(&replica, received, report(), limits).expect("starts"));
            to_hydrators.push(orders);
        }
        let coordinator = Coordinator::new(
            &replica,
            Arc::new(SqliteCvr::in_memory().expect("records")),
            Box::new(|_| {}),
            Arc::new(Gauges::default()),
            Crew::new(to_hydrators, to_workers),
            QueryLimits::default(),
        )
        .expect("starts");
        let mut world = World {
            random,
            queries: queries(),
            app,
            file,
            coordinator,
            workers,
            hydrators,
            mail,
            truth: BTreeMap::new(),
            groups: Vec::new(),
            names: 0,
            seen: Seen::default(),
            _folder: folder,
        };
        world.note_truth();
        world
    }

    fn note_truth(&mut self) {
        let rows_of = |sql: &String| {
            let mut statement = self.app.prepare_cached(sql).expect("SQL");
            let rows = statement.query_map([], |row| {
                let json: String = row.get(2)?;
                let value = serde_json::from_str(&json).expect("JSON");
                Ok(((row.get(0)?, row.get(1)?), value))
            });
            rows.expect("SQL")
                .collect::<Result<Rows, _>>()
                .expect("rows")
        };
        let rows = self.queries.iter().map(|(_, sql)| rows_of(sql)).collect();
        self.truth.insert(self.file.replica().version(), rows);
    }

    fn write(&mut self) {
        self.app.execute_batch("BEGIN IMMEDIATE").expect("begins");
        for _ in 0..self.random.random_range(1..5) {
            let (a, b) = (
                self.random.random_range(0..8),
                self.random.random_range(0..4),
            );
            let owner = ["'ann'", "'bob'", "NULL", "'eve'"][b];
            let body = ["x", "y", "z", "x"][b];
            let n = self.random.random_range(0..5);
            let statement = match self.random.random_range(0..8) {
                0 | 1 => format!("INSERT OR REPLACE INTO issue VALUES ('i{a}', {owner}, {n})"),
                2 | 3 => format!("UPDATE issue SET n = {n}, owner = {owner} WHERE id = 'i{a}'"),
                4 => format!("DELETE FROM issue WHERE id = 'i{a}'"),
                5 | 6 => {
                    format!("INSERT OR REPLACE INTO comment VALUES ('c{n}{a}', 'i{a}', '{body}')")
                }
                _ => format!("DELETE FROM comment WHERE id = 'c{n}{a}'"),
            };
            self.app.execute_batch(&statement).expect("SQL");
        }
        self.app.execute_batch("COMMIT").expect("commits");
        if self.random.random_bool(0.02) {
            // Every query is read anew: a table more.
            let name = format!("more{}", self.truth.len());
            let sql = format!("CREATE TABLE {name} (id TEXT PRIMARY KEY NOT NULL)");
            self.app.execute_batch(&sql).expect("SQL");
        }
        self.file.step().expect("is followed");
        self.note_truth();
    }

    fn some_queries(&mut self) -> BTreeSet<usize> {
        let all = 0..self.queries.len();
        all.filter(|_| self.random.random_bool(0.4)).collect()
    }

    fn come(&mut self) {
        self.names += 1;
        self.begin(format!("g{}", self.names).into());
    }

    fn begin(&mut self, name: Arc<str>) {
        let (sender, events) = unbounded_channel();
        self.groups.push(Group {
            name,
            sender,
            events,
            asked: None,
            queries: BTreeSet::new(),
            now: Past {
                version: 0,
                had: Vec::new(),
                rows: Rows::new(),
            },
            past: Vec::new(),
        });
        self.ask(self.groups.len() - 1);
    }

    /// A group asks for other queries; perhaps one of its clients is back from the past.
    fn ask(&mut self, at: usize) {
        let wanted = self.some_queries();
        let group = &mut self.groups[at];
        if group.asked.is_some() {
            return;
        }
        let back = match group.past.is_empty() || self.random.random_bool(0.5) {
            true => None,
            false => Some(group.past[self.random.random_range(0..group.past.len())].clone()),
        };
        let catch_up = back.as_ref().map(|past| CatchUpRequest {
            connection: 7,
            since: Some(past.version),
            had: past.had.clone(),
            recorded: true,
        });
        let named = |number: &usize| (number.to_string(), self.queries[*number].0.clone());
        self.coordinator.sync(SyncRequest {
            group: group.name.clone(),
            events: group.sender.clone(),
            queries: wanted.iter().map(named).collect(),
            catch_ups: catch_up.into_iter().collect(),
            for_current: true,
        });
        group.asked = Some((wanted, back));
    }

    fn union(&self, version: StateVersion, queries: &BTreeSet<usize>) -> Rows {
        let truth = &self.truth[&version];
        queries.iter().flat_map(|q| truth[*q].clone()).collect()
    }

    /// Takes in what groups were told.
    fn hear(&mut self) {
        for at in (0..self.groups.len()).rev() {
            while let Ok(event) = self.groups[at].events.try_recv() {
                match event {
                    PoolEvent::Point(point) => self.point(at, &point),
                    PoolEvent::Synced(synced) => self.synced(at, *synced),
                    PoolEvent::SchemaChanged => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    fn point(&mut self, at: usize, point: &PointEvent) {
        self.seen.points += 1;
        let group = &mut self.groups[at];
        assert!(
            point.version > group.now.version,
            "{} goes back",
            group.name
        );
        group.now.version = point.version;
        apply(&mut group.now.rows, point.rows.as_ref());
        // Whoever was held up hears of the queries that it has now together with what it has missed.
        let group = &self.groups[at];
        let has_just = |queries| group.now.rows == self.union(point.version, queries);
        let asked = group.asked.as_ref().map(|(asked, _)| asked);
        let is_as_before = has_just(&group.queries);
        assert!(
            is_as_before || asked.is_some_and(has_just),
            "{} at {}: {:?} of {:?}, not {:?}",
            group.name,
            point.version,
            group.now.rows.keys(),
            group.queries,
            self.union(point.version, &group.queries).keys()
        );
        let group = &mut self.groups[at];
        if group.past.len() < 20 && is_as_before && !group.now.had.is_empty() {
            group.past.push(group.now.clone());
        }
    }

    fn synced(&mut self, at: usize, synced: SyncedEvent) {
        let group = &mut self.groups[at];
        let (queries, back) = group.asked.take().expect("was asked");
        assert!(synced.version >= group.now.version);
        group.now.version = synced.version;
        let instances = synced.queries.iter().map(|(_, query)| query.clone());
        group.now.had = instances.collect::<Result<_, _>>().expect("all are served");
        apply(&mut group.now.rows, synced.rows.as_ref());
        group.queries = queries;
        let wanted = self.union(synced.version, &self.groups[at].queries);
        let group = &mut self.groups[at];
        assert_eq!(
            group.now.rows, wanted,
            "{} at {}",
            group.name, synced.version
        );
        for (_, reply) in synced.catch_ups {
            let mut rows = back.as_ref().expect("came back").rows.clone();
            let body = match &reply {
                CatchUpReply::Rows(body) => body,
                CatchUpReply::Afresh(body) => {
                    rows.clear();
                    body
                }
            };
            apply(&mut rows, body.as_ref());
            assert_eq!(rows, wanted, "{} is back at {}", group.name, synced.version);
            self.seen.returns += 1;
        }
        group.past.push(group.now.clone());
    }

    fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..6 => self.write(),
            6..8 if self.groups.len() < 8 => self.come(),
            8..11 if !self.groups.is_empty() => {
                let at = self.random.random_range(0..self.groups.len());
                self.ask(at);
            }
            11 if self.groups.len() > 2 => {
                let at = self.random.random_range(0..self.groups.len());
                let gone = self.groups.swap_remove(at);
                // Whoever takes its place may ask before it is known to have ended.
                if self.random.random_bool(0.5) {
                    self.begin(gone.name.clone());
                    if self.random.random_bool(0.5) {
                        self.coordinator.go_on();
                    }
                }
                self.coordinator.forget_ended(&gone.name, &gone.sender);
            }
            12..30 => drop(self.coordinator.go_on()),
            30..50 => drop(self.take_mail()),
            50..75 => {
                let at = self.random.random_range(0..self.workers.len());
                self.workers[at].turn();
            }
            _ => {
                let at = self.random.random_range(0..self.hydrators.len());
                self.hydrators[at].turn();
            }
        }
        self.hear();
        self.seen.held += usize::from(!self.coordinator.groups.held().is_empty());
    }

    fn take_mail(&mut self) -> bool {
        match self.mail.try_recv() {
            Ok(Mail::Report(report)) => {
                self.coordinator.hear(report);
                true
            }
            _ => false,
        }
    }

    /// Lets everything come to rest; then each group has just its rows of the newest version.
    fn settle(&mut self) {
        let mut calm = 0;
        while calm < 3 {
            let mut is_busy = self.take_mail();
            for worker in &mut self.workers {
                is_busy |= worker.turn() != Turn::Idle;
            }
            for hydrator in &mut self.hydrators {
                is_busy |= hydrator.turn() != Turn::Idle;
            }
            assert!(self.coordinator.go_on());
            self.hear();
            calm = if is_busy { 0 } else { calm + 1 };
        }
        let newest = self.file.replica().version();
        for group in &self.groups {
            assert!(group.asked.is_none(), "{} was not answered", group.name);
            let wanted = self.union(newest, &group.queries);
            assert_eq!(group.now.rows, wanted, "{} in the end", group.name);
        }
    }
}

fn seconds() -> u64 {
    let text = std::env::var("LANDFALL_TEST_SECONDS");
    text.ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

#[test]
fn groups_see_one_version_at_a_time_in_whatever_order_threads_run() {
    let deadline = Instant::now() + Duration::from_secs(seconds());
    let given = std::env::var("LANDFALL_TEST_SEED").ok();
    let given: Option<u64> = given.and_then(|seed| seed.parse().ok());
    let mut seen = Vec::new();
    loop {
        let seed = given.unwrap_or_else(rand::random);
        let run = std::panic::AssertUnwindSafe(|| {
            let mut world = World::new(seed);
            for _ in 0..6 {
                (0..150).for_each(|_| world.step());
                world.settle();
            }
            world.seen
        });
        match std::panic::catch_unwind(run) {
            Ok(done) => seen.push(done),
            Err(fault) => {
                eprintln!("LANDFALL_TEST_SEED={seed}");
                std::panic::resume_unwind(fault);
            }
        }
        if given.is_some() || Instant::now() > deadline {
            break;
        }
    }
    let sum = |of: fn(&Seen) -> usize| seen.iter().map(of).sum::<usize>();
    let (points, returns, held) = (sum(|s| s.points), sum(|s| s.returns), sum(|s| s.held));
    println!(
        "{} worlds: {points} points, {returns} returns, {held} steps held",
        seen.len()
    );
    assert!(points > 0 && returns > 0);
    // Every fifth worker is too slow for anything.
    assert!(held > 0 || seen.len() < 20);
}
