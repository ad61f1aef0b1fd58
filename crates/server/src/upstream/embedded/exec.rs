//! Runs a script on an embedded file: to make its tables, to seed it, to look into it.

use std::path::Path;
use std::time::Duration;

use landfall_zql::{ValueRef, write_json};
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::types::ValueRef as CellRef;
use rusqlite::{Batch, Connection, Statement};

use crate::replica::is_busy;
use crate::upstream::UpstreamError;

/// Executes all statements in one transaction. Returns the rows of the last one, if it gives any, as a JSON array of
/// objects. Makes the file if it is missing.
pub fn exec(path: &Path, sql: &str) -> Result<Option<String>, UpstreamError> {
    let is_new = !path.exists();
    let run = || {
        let conn = Connection::open(path)?;
        conn.busy_timeout(Duration::from_secs(10))?;
        conn.pragma_update(None, "foreign_keys", true)?;
        run_all(&conn, sql)
    };
    run().map_err(|error: rusqlite::Error| {
        if is_new {
            remove_empty(path);
        }
        if is_busy(&error) {
            UpstreamError::Locked
        } else {
            UpstreamError::File {
                path: path.display().to_string(),
                reason: sqlite_text(&error),
            }
        }
    })
}

/// Takes back that opening a file that is not there makes an empty one.
fn remove_empty(path: &Path) {
    if std::fs::metadata(path).is_ok_and(|file| file.len() == 0) {
        // What went wrong before is what matters; an empty file is no harm.
        let _ = std::fs::remove_file(path);
    }
}

fn run_all(conn: &Connection, sql: &str) -> Result<Option<String>, rusqlite::Error> {
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let mut last = None;
    let mut batch = Batch::new(conn, sql);
    while let Some(mut statement) = batch.next()? {
        last = run_one(&mut statement)?;
    }
    conn.execute_batch("COMMIT")?;
    Ok(last)
}

fn run_one(statement: &mut Statement<'_>) -> Result<Option<String>, rusqlite::Error> {
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    if names.is_empty() {
        statement.execute([])?;
        return Ok(None);
    }
    let mut out = "[".to_owned();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if out.len() > 1 {
            out.push(',');
        }
        for (at, name) in names.iter().enumerate() {
            out.push(if at == 0 { '{' } else { ',' });
            write_json(ValueRef::String(name), &mut out);
            out.push(':');
            write_cell(row.get_ref(at)?, &mut out);
        }
        out.push('}');
    }
    out.push(']');
    Ok(Some(out))
}

fn write_cell(cell: CellRef<'_>, out: &mut String) {
    match cell {
        CellRef::Null => out.push_str("null"),
        CellRef::Integer(value) => out.push_str(&value.to_string()),
        CellRef::Real(value) => write_json(ValueRef::Number(value), out),
        CellRef::Text(text) => write_json(ValueRef::String(&String::from_utf8_lossy(text)), out),
        CellRef::Blob(bytes) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            write_json(ValueRef::String(&hex), out);
        }
    }
}

/// What SQLite said, without its result code.
pub fn sqlite_text(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_the_last_statement() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let check = |sql: &str, expected: Option<&str>| {
            assert_eq!(exec(&path, sql).unwrap().as_deref(), expected, "{sql}");
        };
        check(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT); INSERT INTO t VALUES (1, 'x \"y\"'), (2, NULL); -- end",
            None,
        );
        check(
            "SELECT 1; SELECT id, a FROM t ORDER BY id;",
            Some(r#"[{"id":1,"a":"x \"y\""},{"id":2,"a":null}]"#),
        );
        check("SELECT * FROM t WHERE id > 5", Some("[]"));
        check(
            "INSERT INTO t VALUES (3, 'z') RETURNING id",
            Some(r#"[{"id":3}]"#),
        );
    }

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        exec(&path, "CREATE TABLE t (id INTEGER PRIMARY KEY)").unwrap();
        let error = exec(
            &path,
            "INSERT INTO t VALUES (1); INSERT INTO nowhere VALUES (1)",
        )
        .unwrap_err();
        assert!(
            error.to_string().ends_with("a.db: no such table: nowhere"),
            "{error}"
        );
        assert_eq!(
            exec(&path, "SELECT * FROM t").unwrap().as_deref(),
            Some("[]")
        );
        let new = folder.path().join("b.db");
        exec(&new, "SELECT * FROM nowhere").unwrap_err();
        assert!(!new.exists());
    }
}
