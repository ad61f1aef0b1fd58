//! The query as SQL on SQLite, after every transaction.

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;

use crate::program::Program;
use crate::run::{Expected, Failure, same};
use crate::sql::{Dialect, Sql};

/// A database in memory that knows `oracle_lower` and a `LIKE` that heeds case.
///
/// # Errors
/// SQLite refuses.
pub fn open() -> rusqlite::Result<Connection> {
    let conn = Connection::open_in_memory()?;
    conn.execute_batch("PRAGMA case_sensitive_like = ON")?;
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    conn.create_scalar_function("oracle_lower", 1, flags, |context| {
        let text: Option<String> = context.get(0)?;
        Ok(text.map(|text| {
            let lowered = text.chars().flat_map(crate::brute::lower);
            lowered.collect::<String>()
        }))
    })?;
    Ok(conn)
}

/// Compares SQLite's answers with the obvious ones.
///
/// # Errors
/// They differ.
pub fn run(program: &Program, expected: &Expected) -> Result<(), Failure> {
    steps(program, expected).map_err(|error| Failure {
        step: 0,
        what: error.to_string(),
    })?
}

fn steps(program: &Program, expected: &Expected) -> rusqlite::Result<Result<(), Failure>> {
    let conn = open()?;
    let sql = Sql {
        dialect: Dialect::Sqlite,
        tables: &program.tables,
    };
    conn.execute_batch(&sql.create(false))?;
    for (table, rows) in program.rows.iter().enumerate() {
        for row in rows {
            conn.execute_batch(&sql.insert(table, row))?;
        }
    }
    let mut query = conn.prepare(&sql.query(&program.query))?;
    for (step, view) in expected.views.iter().enumerate() {
        if step > 0 {
            for change in &program.transactions[step - 1] {
                conn.execute_batch(&sql.change(change))?;
            }
        }
        let text: String = query.query_row([], |row| row.get(0))?;
        let json = serde_json::from_str(&text).expect("SQLite writes JSON");
        let got = sql.answer(&program.query, &json);
        if let Err(failure) = same(step, "SQL on SQLite", &got, view) {
            return Ok(Err(failure));
        }
    }
    Ok(Ok(()))
}
