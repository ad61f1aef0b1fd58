//! The log of a replica that is written without a pause.

use std::sync::atomic::{AtomicBool, Ordering};

use landfall_zql::ColumnType;

use super::super::Layout;
use super::*;

const ROWS: i64 = 300;

/// A file with one table of a few hundred rows, served.
fn served(path: &Path) -> (ReplicaWriter, Replica) {
    let column = |name: &str, ty| ReplicaColumn {
        name: name.to_owned(),
        ty,
        not_null: true,
    };
    let columns = vec![
        column("id", ColumnType::Number),
        column("text", ColumnType::String),
    ];
    let table = TableDraft {
        name: "t".to_owned(),
        sql_name: "t".to_owned(),
        columns,
        row_key: vec!["id".to_owned()],
        unique_keys: vec![vec!["id".to_owned()]],
    };
    let mut writer = ReplicaWriter::open(path).expect("opens");
    writer.begin().expect("begins");
    writer.recreate(vec![table]).expect("tables");
    let state = ReplicaState {
        version: 1,
        confirmed: 1,
        generation: "g".to_owned(),
        slot: "s".to_owned(),
        publications: String::new(),
        tables: String::new(),
    };
    writer.set_state(&state).expect("a state");
    writer.index_keys().expect("indexes");
    writer.commit_load(1).expect("commits");
    writer.serve_mode().expect("is served");
    let replica = Replica::new(path, Layout::Postgres, "g", 1, writer.schema().clone());
    (writer, replica)
}

/// Writes 60 MB in small transactions.
#[test]
fn the_log_stays_small_though_readers_leave_no_gap() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("replica.db");
    let (mut writer, replica) = served(&path);
    let table = writer.schema().present().next().expect("the table").id;
    let done = AtomicBool::new(false);
    let mut largest = 0;
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let mut reader = replica.reader().expect("reads");
            let done = &done;
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    reader.advance().expect("reads");
                    std::thread::sleep(Duration::from_millis(3));
                }
            });
        }
        for version in 2..600 {
            writer.begin().expect("begins");
            for at in 0..25 {
                let id = Cell::Integer((version * 25 + at) % ROWS);
                let text = Cell::Text(format!("{version}{}", "x".repeat(4_000)));
                let cells = vec![Some(id), Some(text)];
                writer
                    .put(table, None, cells, version as u64)
                    .expect("a row");
            }
            writer.commit(&replica, version as u64, 1).expect("commits");
            writer.checkpoint().expect("tidies up");
            let log = std::fs::metadata(folder.path().join("replica.db-wal"));
            largest = log.expect("a log").len().max(largest);
        }
        done.store(true, Ordering::Relaxed);
    });
    let bound = 2 * (MAX_FRAMES * PAGE_SIZE) as u64;
    assert!(largest < bound, "the log grew to {largest} bytes");
}
