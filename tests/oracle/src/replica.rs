//! A program over the SQLite replica: what a server does. Transactions are committed to a file, followed as steps, and
//! pushed as the server pushes them, through a reader that is rewound.

use std::path::PathBuf;

use landfall_ivm::SourceChange;
use landfall_server::queries::Rewound;
use landfall_server::upstream::embedded::ByHand;
use landfall_zql::{Schema, To, map_ast};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::engine::{Places, Side};
use crate::program::Program;
use crate::run::{Expected, Failure, Manner, Watched};
use crate::sql::{Dialect, Sql};

type Any = Box<dyn std::error::Error + Send + Sync>;

/// Runs the program.
///
/// # Errors
/// Something is not the obvious answer.
pub fn run(program: &Program, expected: &Expected, manner: Manner) -> Result<(), Failure> {
    steps(program, expected, manner).unwrap_or_else(|error| {
        Err(Failure {
            step: 0,
            what: error.to_string(),
        })
    })
}

/// A folder that a crash of the machine need not survive.
fn folder() -> std::io::Result<TempDir> {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    }
}

fn steps(
    program: &Program,
    expected: &Expected,
    manner: Manner,
) -> Result<Result<(), Failure>, Any> {
    let folder = folder()?;
    let path = folder.path().join("app.db");
    let sql = Sql {
        dialect: Dialect::Sqlite,
        tables: &program.tables,
    };
    let conn = Connection::open(&path)?;
    conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF")?;
    let mut script = format!("BEGIN; {}", sql.create(false));
    for (table, rows) in program.rows.iter().enumerate() {
        for row in rows {
            script.push_str(&sql.insert(table, row));
        }
    }
    conn.execute_batch(&format!("{script} COMMIT"))?;
    let mut file = ByHand::open(&path)?;
    let mut heard = file.replica().subscribe();
    let mut reader = file.replica().reader()?;
    let client = Schema::from_json(&program.schema_json().to_string())?;
    let ast = map_ast(&program.query, &client, To::Server)?;
    let schema = reader.schema().zql.clone();
    let places = Places::new(&program.tables, &schema, Side::Server);
    let mut watched = match Watched::build(program, expected, ast, &reader, places, manner) {
        Ok(watched) => watched,
        Err(failure) => return Ok(Err(failure)),
    };
    if let Err(failure) = watched.hydrate(&reader) {
        return Ok(Err(failure));
    }
    for (at, transaction) in program.transactions.iter().enumerate() {
        let changes: String = transaction
            .iter()
            .map(|change| sql.change(change))
            .collect();
        conn.execute_batch(&format!("BEGIN IMMEDIATE; {changes} COMMIT"))?;
        // Makes the indexes too that the last step has asked for.
        file.step()?;
        let version = reader.advance()?;
        let advances = heard.take_until(version)?;
        let mut rewound = Rewound::new(&reader, &advances);
        for change in advances.iter().flat_map(|advance| &advance.changes) {
            let pushed = SourceChange {
                table: change.table,
                old: change.before.clone(),
                new: change.after.clone(),
            };
            if let Err(failure) = watched.push(&rewound, &pushed) {
                return Ok(Err(failure));
            }
            rewound.reveal(change);
        }
        if let Err(mut failure) = watched.commit(&reader) {
            failure.what = format!("{} (transaction {at})", failure.what);
            return Ok(Err(failure));
        }
    }
    Ok(Ok(()))
}
