//! The embedded upstream: commits of our own and of other processes become the same steps.

#![allow(
    clippy::unwrap_used,
    reason = "a test stops where something is not as it should be"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use landfall_ivm::{FetchRequest, Source};
use landfall_server::replica::{Advance, Reader, Reset, Subscription};
use landfall_server::upstream::embedded::{EmbeddedSettings, exec, start};
use landfall_server::upstream::{
    AllowAll, CrudKind, CrudOp, CrudOutcome, CrudRequest, MutationId, Started, UpstreamError,
};
use landfall_zql::{Key, Names, Row, TableId};
use rusqlite::Connection;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

struct File {
    folder: TempDir,
    started: Started,
    steps: Subscription,
    /// The rows that the steps add up to.
    model: BTreeMap<(TableId, Key), Row>,
}

impl File {
    async fn new(sql: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        exec(&folder.path().join("app.db"), sql).unwrap();
        Self::open(folder).await
    }

    async fn open(folder: TempDir) -> Self {
        let path = folder.path().join("app.db");
        let started = start(EmbeddedSettings { path }).await.unwrap();
        let steps = started.replica.subscribe();
        let mut file = File {
            folder,
            started,
            steps,
            model: BTreeMap::new(),
        };
        file.model = file.rows();
        file
    }

    async fn reopen(self) -> Self {
        self.started.upstream.shutdown().await;
        let File { folder, .. } = self;
        Self::open(folder).await
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("app.db")
    }

    /// A connection of someone else.
    fn foreign(&self) -> Connection {
        let conn = Connection::open(self.path()).unwrap();
        conn.busy_timeout(PATIENCE).unwrap();
        conn
    }

    fn reader(&self) -> Reader {
        self.started.replica.reader().unwrap()
    }

    /// All rows as they are now.
    fn rows(&self) -> BTreeMap<(TableId, Key), Row> {
        let reader = self.reader();
        let schema = reader.schema().clone();
        let mut rows = BTreeMap::new();
        for id in schema.present().map(|table| table.id) {
            let table = &schema.zql[id];
            let order = landfall_zql::ordering::Order::complete(None, table).unwrap();
            let request = FetchRequest {
                table: id,
                constraint: &[],
                order: &order,
                reverse: false,
                start: None,
                filter: None,
            };
            let mut put = |row: &Row| {
                rows.insert((id, table.key_of(row)), row.clone());
                std::ops::ControlFlow::Continue(())
            };
            Source::fetch(&reader, &request, &mut put).unwrap();
        }
        rows
    }

    async fn step(&mut self) -> Arc<Advance> {
        let step = tokio::time::timeout(PATIENCE, self.steps.next())
            .await
            .unwrap()
            .unwrap();
        self.apply(&step);
        step
    }

    /// Takes steps until they add up to what the file holds; anything missed never does.
    async fn settle(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let target = {
            let reader = self.reader();
            reader.version()
        };
        while self.started.replica.version() < target || self.model != self.rows() {
            assert!(
                Instant::now() < deadline,
                "the steps do not add up to the file"
            );
            let step = tokio::time::timeout(PATIENCE, self.steps.next())
                .await
                .unwrap()
                .unwrap();
            assert_eq!(step.reset, Reset::None);
            self.apply(&step);
        }
    }

    fn apply(&mut self, step: &Advance) {
        for change in &step.changes {
            let table = &self.started.replica.schema().zql[change.table];
            let row = change.before.as_ref().or(change.after.as_ref()).unwrap();
            let key = (change.table, table.key_of(row));
            let known = match &change.after {
                Some(after) => self.model.insert(key, after.clone()),
                None => self.model.remove(&key),
            };
            assert_eq!(known, change.before, "the row before is the one known");
        }
    }

    async fn changes(&mut self) -> Vec<String> {
        let step = self.step().await;
        let schema = self.started.replica.schema();
        let text = |table: TableId, row: &Option<Row>| {
            row.as_ref().map_or("-".to_owned(), |row| {
                let mut out = String::new();
                schema.zql[table].row_to_json(row, Names::Server, &mut out);
                out
            })
        };
        step.changes
            .iter()
            .map(|c| format!("{} → {}", text(c.table, &c.before), text(c.table, &c.after)))
            .collect()
    }

    async fn crud(
        &self,
        id: u64,
        ops: Vec<(CrudKind, &str, &str)>,
    ) -> Result<CrudOutcome, UpstreamError> {
        let ops = ops.into_iter().map(|(kind, table, value)| CrudOp {
            kind,
            table: table.to_owned(),
            primary_key: vec!["id".to_owned()],
            value: value.to_owned(),
        });
        let mutation = MutationId {
            group: "g".to_owned(),
            client: "c".to_owned(),
            id,
        };
        let request = CrudRequest {
            mutation,
            ops: ops.collect(),
        };
        self.started
            .upstream
            .crud(request, Arc::new(AllowAll))
            .await
    }
}

const ITEMS: &str = "
CREATE TABLE item (id TEXT PRIMARY KEY NOT NULL, code TEXT UNIQUE, n INTEGER, done INTEGER CHECK (done IN (0, 1)), meta TEXT CHECK (json_valid(meta))) STRICT;
INSERT INTO item VALUES ('a', 'one', 1, 0, '{\"k\": 1}'), ('b', 'two', 2, 1, NULL);
";

#[tokio::test]
async fn a_foreign_commit_becomes_one_step() {
    let mut file = File::new(ITEMS).await;
    let foreign = file.foreign();
    foreign
        .execute_batch("BEGIN; UPDATE item SET n = 5 WHERE id = 'a'; INSERT INTO item (id) VALUES ('c'); DELETE FROM item WHERE id = 'b'; COMMIT")
        .unwrap();
    assert_eq!(
        file.changes().await,
        [
            r#"{"code":"one","done":false,"id":"a","meta":{"k":1},"n":1} → {"code":"one","done":false,"id":"a","meta":{"k":1},"n":5}"#,
            r#"{"code":"two","done":true,"id":"b","meta":null,"n":2} → -"#,
            r#"- → {"code":null,"done":null,"id":"c","meta":null,"n":null}"#,
        ]
    );
}

#[tokio::test]
async fn replace_on_a_secondary_key_removes_the_row_it_displaced() {
    let mut file = File::new(ITEMS).await;
    file.foreign()
        .execute_batch("INSERT OR REPLACE INTO item (id, code) VALUES ('z', 'two')")
        .unwrap();
    assert_eq!(
        file.changes().await,
        [
            r#"{"code":"two","done":true,"id":"b","meta":null,"n":2} → -"#,
            r#"- → {"code":"two","done":null,"id":"z","meta":null,"n":null}"#,
        ]
    );
    file.foreign()
        .execute_batch("UPDATE OR REPLACE item SET code = 'one' WHERE id = 'z'")
        .unwrap();
    assert_eq!(file.changes().await.len(), 2);
    assert_eq!(file.model, file.rows());
}

#[tokio::test]
async fn cascades_and_deleting_everything_are_seen() {
    let mut file = File::new(
        "CREATE TABLE parent (id INTEGER PRIMARY KEY); CREATE TABLE child (id INTEGER PRIMARY KEY, p INTEGER REFERENCES parent ON DELETE CASCADE);
         INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (1, 1), (2, 1), (3, 2);",
    )
    .await;
    let foreign = file.foreign();
    foreign
        .execute_batch("PRAGMA foreign_keys = ON; DELETE FROM parent WHERE id = 1")
        .unwrap();
    assert_eq!(file.step().await.changes.len(), 3);
    foreign.execute_batch("DELETE FROM child").unwrap();
    assert_eq!(file.step().await.changes.len(), 1);
    foreign.execute_batch("UPDATE parent SET id = 7").unwrap();
    assert_eq!(file.step().await.changes.len(), 2);
    foreign
        .execute_batch("VACUUM; INSERT INTO child VALUES (9, 7)")
        .unwrap();
    assert_eq!(file.step().await.changes.len(), 1);
    assert_eq!(file.model, file.rows());
}

#[tokio::test]
async fn own_mutations_carry_their_id_and_failures_leave_results() {
    let mut file = File::new(ITEMS).await;
    let insert = vec![(
        CrudKind::Insert,
        "item",
        r#"{"id":"m","n":7,"done":true,"meta":{"a":[1,2]}}"#,
    )];
    assert_eq!(
        file.crud(1, insert.clone()).await.unwrap(),
        CrudOutcome::Applied
    );
    let step = file.step().await;
    assert_eq!((step.changes.len(), step.lmids[0].lmid), (1, 1));
    assert_eq!(
        file.crud(1, insert.clone()).await.unwrap(),
        CrudOutcome::AlreadyProcessed { lmid: 1 }
    );
    assert_eq!(
        file.crud(3, insert).await.unwrap(),
        CrudOutcome::OutOfOrder { expected: 2 }
    );
    let failing = vec![
        (CrudKind::Update, "item", r#"{"id":"m","n":8}"#),
        (CrudKind::Insert, "item", r#"{"id":"k","code":"one"}"#),
    ];
    let outcome = file.crud(2, failing).await.unwrap();
    assert!(
        matches!(&outcome, CrudOutcome::Failed { reason } if reason == "UNIQUE constraint failed: item.code"),
        "{outcome:?}"
    );
    let step = file.step().await;
    assert!(step.changes.is_empty());
    assert_eq!((step.lmids[0].lmid, step.results.len()), (2, 1));
    let reader = file.reader();
    assert_eq!(reader.lmids("g").unwrap(), [("c".to_owned(), 2)]);
    assert_eq!(reader.lmids_since("g", Some(step.from)).unwrap().len(), 1);
    assert!(reader.lmids_since("g", Some(step.to)).unwrap().is_empty());
    assert_eq!(reader.results_since("g", Some(step.from)).unwrap().len(), 1);
}

#[tokio::test]
async fn a_constraint_that_fails_at_the_commit_spoils_its_own_mutation_only() {
    let file = File::new(
        "CREATE TABLE parent (id INTEGER PRIMARY KEY);
         CREATE TABLE child (id INTEGER PRIMARY KEY, p INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
         CREATE TRIGGER no_13 BEFORE INSERT ON parent WHEN NEW.id = 13 BEGIN SELECT RAISE(ROLLBACK, 'not 13'); END;",
    )
    .await;
    let mutations = [
        file.crud(1, vec![(CrudKind::Insert, "parent", r#"{"id":1}"#)]),
        file.crud(2, vec![(CrudKind::Insert, "child", r#"{"id":1,"p":99}"#)]),
        file.crud(3, vec![(CrudKind::Insert, "parent", r#"{"id":13}"#)]),
        file.crud(4, vec![(CrudKind::Insert, "child", r#"{"id":2,"p":1}"#)]),
    ];
    let outcomes: Vec<CrudOutcome> = futures::future::join_all(mutations)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let short: Vec<String> = outcomes
        .iter()
        .map(|outcome| match outcome {
            CrudOutcome::Failed { reason } => reason.clone(),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        short,
        [
            "Applied",
            "FOREIGN KEY constraint failed",
            "not 13",
            "Applied"
        ]
    );
    assert_eq!(file.reader().lmids("g").unwrap(), [("c".to_owned(), 4)]);
}

#[tokio::test]
async fn writers_in_other_processes_and_our_own_add_up() {
    let mut file =
        File::new("CREATE TABLE t (id TEXT PRIMARY KEY, u INTEGER UNIQUE, n INTEGER);").await;
    let path = file.path();
    // The server's own program as another process.
    let program = std::env::var_os("CARGO_BIN_EXE_landfall-server");
    let writers: Vec<_> = (0..3_u64)
        .map(|writer| {
            let (path, program) = (path.clone(), program.clone());
            std::thread::spawn(move || {
                for round in 0..15_u64 {
                    let seed = writer * 1000 + round;
                    let sql = format!(
                        "INSERT OR REPLACE INTO t VALUES ('{}', {}, {seed}); UPDATE OR REPLACE t SET u = {} WHERE id = '{}'; DELETE FROM t WHERE id = '{}';",
                        seed * 7 % 11, seed * 5 % 7, seed * 3 % 7, seed % 11, seed * 13 % 11
                    );
                    match &program {
                        Some(program) if round % 5 == 0 => run_exec(program, &path, &sql),
                        _ => drop(exec(&path, &sql).unwrap()),
                    }
                }
            })
        })
        .collect();
    for id in 1..=20 {
        let value = format!(r#"{{"id":"own{}","n":{id}}}"#, id % 4);
        let outcome = file
            .crud(id, vec![(CrudKind::Upsert, "t", &value)])
            .await
            .unwrap();
        assert_eq!(outcome, CrudOutcome::Applied);
    }
    for writer in writers {
        tokio::task::spawn_blocking(move || writer.join().unwrap())
            .await
            .unwrap();
    }
    file.settle().await;
}

fn run_exec(program: &std::ffi::OsStr, path: &std::path::Path, sql: &str) {
    use std::io::Write;
    let mut child = Command::new(program)
        .args(["exec", "--db"])
        .arg(path)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(sql.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
}

#[tokio::test]
async fn writes_while_stopped_and_dropped_triggers_are_noticed() {
    let mut file = File::new(ITEMS).await;
    let before = file.started.replica.version();
    let generation = file.started.replica.generation();
    file.foreign()
        .execute_batch("DROP TRIGGER _landfall_on_item_ai; INSERT INTO item (id) VALUES ('unseen')")
        .unwrap();
    assert!(matches!(file.step().await.reset, Reset::Tables(_)));
    file.model = file.rows();
    let mut file = file.reopen().await;
    assert_eq!(file.started.replica.generation(), generation);
    assert!(file.started.replica.version() > before);
    file.foreign()
        .execute_batch("INSERT INTO item (id) VALUES ('seen')")
        .unwrap();
    assert_eq!(file.step().await.changes.len(), 1);
}

#[tokio::test]
async fn an_older_copy_begins_a_new_history_above_the_old_one() {
    let file = File::new(ITEMS).await;
    file.started.upstream.shutdown().await;
    let copy = file.folder.path().join("copy.db");
    file.foreign()
        .execute("VACUUM INTO ?1", [copy.to_str().unwrap()])
        .unwrap();
    let mut file = File::open(file.folder).await;
    let generation = file.started.replica.generation();
    file.foreign()
        .execute_batch("UPDATE item SET n = 77")
        .unwrap();
    let newest = file.step().await.to;
    file.started.upstream.shutdown().await;
    drop(file.steps);
    for suffix in ["", "-wal", "-shm"] {
        let path = file.folder.path().join(format!("app.db{suffix}"));
        let _ = std::fs::remove_file(path);
    }
    std::fs::copy(&copy, file.folder.path().join("app.db")).unwrap();
    let file = File::open(file.folder).await;
    assert_ne!(file.started.replica.generation(), generation);
    assert!(file.started.replica.version() > newest);
}

#[tokio::test]
async fn a_huge_commit_resets_its_tables_and_keeps_the_rest() {
    let mut file = File::new(&format!("{ITEMS} CREATE TABLE n (id INTEGER PRIMARY KEY);")).await;
    let foreign = file.foreign();
    foreign
        .execute_batch(
            "PRAGMA synchronous = OFF; BEGIN; INSERT INTO _landfall_clients VALUES ('g', 'x', 1, 0);
             WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 110000) INSERT INTO n SELECT i FROM c; COMMIT",
        )
        .unwrap();
    let step = file.step().await;
    let n = file.started.replica.schema().table_by_name("n").unwrap().id;
    assert_eq!(step.reset, Reset::Tables([n].into()));
    assert_eq!((step.changes.len(), step.lmids.len()), (0, 1));
    foreign.execute_batch("UPDATE item SET n = 3").unwrap();
    assert_eq!(file.step().await.changes.len(), 2);
}

#[tokio::test]
async fn a_changed_schema_is_taken_up() {
    let mut file = File::new(ITEMS).await;
    let foreign = file.foreign();
    foreign
        .execute_batch("CREATE TABLE new_item AS SELECT id, code FROM item; DROP TABLE item; ALTER TABLE new_item RENAME TO item")
        .unwrap();
    let mut resets = 0;
    while file
        .started
        .replica
        .schema()
        .table_by_name("item")
        .is_some()
    {
        assert!(matches!(file.step().await.reset, Reset::Tables(_)));
        resets += 1;
        assert!(resets < 5);
    }
    foreign.execute_batch("CREATE UNIQUE INDEX item_id ON item (id); CREATE TABLE more (id INTEGER PRIMARY KEY); INSERT INTO more VALUES (1)").unwrap();
    while file
        .started
        .replica
        .schema()
        .table_by_name("more")
        .is_none()
    {
        assert!(matches!(file.step().await.reset, Reset::Tables(_)));
    }
    file.model = file.rows();
    assert_eq!(file.model.len(), 1);
    foreign
        .execute_batch("INSERT INTO more VALUES (2)")
        .unwrap();
    while file.step().await.changes.is_empty() {}
    assert_eq!(file.model, file.rows());
}

#[tokio::test]
async fn a_lock_held_elsewhere_is_waited_for_then_named() {
    let mut file = File::new(ITEMS).await;
    let foreign = file.foreign();
    foreign
        .execute_batch("BEGIN IMMEDIATE; UPDATE item SET n = 100")
        .unwrap();
    let op = || vec![(CrudKind::Update, "item", r#"{"id":"a","n":3}"#)];
    let (outcome, ()) = tokio::join!(file.crud(1, op()), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        foreign.execute_batch("COMMIT").unwrap();
    });
    assert_eq!(outcome.unwrap(), CrudOutcome::Applied);
    file.settle().await;
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = file.crud(2, op()).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Locked), "{error}");
    foreign.execute_batch("COMMIT").unwrap();
    assert_eq!(file.crud(2, op()).await.unwrap(), CrudOutcome::Applied);
}

#[tokio::test]
async fn a_row_with_a_value_that_does_not_fit_is_left_out() {
    let mut file = File::new(
        "CREATE TABLE loose (id INTEGER PRIMARY KEY, n INTEGER); INSERT INTO loose VALUES (1, 1)",
    )
    .await;
    file.foreign()
        .execute_batch("INSERT INTO loose VALUES (2, 'many')")
        .unwrap();
    assert_eq!(file.changes().await, Vec::<String>::new());
    assert_eq!(file.rows().len(), 1);
    file.foreign()
        .execute_batch("UPDATE loose SET n = 2 WHERE id = 2")
        .unwrap();
    assert_eq!(file.changes().await, ["- → {\"id\":2,\"n\":2}"]);
    assert_eq!(file.rows().len(), 2);
}

#[tokio::test]
async fn a_missing_file_is_one_clear_line() {
    let Err(error) = start(EmbeddedSettings {
        path: "/nowhere/app.db".into(),
    })
    .await
    else {
        panic!("there is no such file");
    };
    assert!(
        error
            .to_string()
            .starts_with("/nowhere/app.db: no such file"),
        "{error}"
    );
}
