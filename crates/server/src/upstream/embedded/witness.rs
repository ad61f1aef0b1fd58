//! A small file beside the database that remembers how far it was followed.
//!
//! An older copy put in the database's place carries the same history name but fewer changes. Clients have seen more:
//! then a new history begins, above every version that was ever handed out.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use crate::replica::{Layout, StateVersion};
use crate::upstream::UpstreamError;

/// The witness is written now and then: versions up to this far beyond it may have been handed out.
const MARGIN: StateVersion = 1 << 24;

/// What the witness says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// The database's history.
    pub generation: String,
    /// A version of it that existed.
    pub version: StateVersion,
}

fn path_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-landfall");
    PathBuf::from(name)
}

impl Witness {
    /// Reads the witness; `None` if there is none, or none that can be read.
    fn load(database: &Path) -> Option<Witness> {
        let text = std::fs::read_to_string(path_of(database)).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Writes the witness in one piece.
    pub fn store(&self, database: &Path) -> Result<(), UpstreamError> {
        let path = path_of(database);
        let mut temporary = path.clone().into_os_string();
        temporary.push(".new");
        let text = serde_json::json!(self).to_string();
        std::fs::write(&temporary, text)
            .and_then(|()| std::fs::rename(&temporary, &path))
            .map_err(|error| UpstreamError::File {
                path: path.display().to_string(),
                reason: error.to_string(),
            })
    }
}

/// Begins a new history if the database is older than its witness. The log must be installed.
pub fn check(conn: &Connection, database: &Path) -> Result<(), UpstreamError> {
    let Some(witness) = Witness::load(database) else {
        return Ok(());
    };
    let generation: String =
        conn.query_row("SELECT generation FROM _landfall_state", [], |row| {
            row.get(0)
        })?;
    let version = Layout::Embedded.version(conn)?;
    if generation != witness.generation || version >= witness.version {
        return Ok(());
    }
    tracing::warn!(
        version,
        seen = witness.version,
        "the database is older than it was: clients read everything anew"
    );
    let beyond = i64::try_from(witness.version.saturating_add(MARGIN)).unwrap_or(i64::MAX - 1);
    conn.execute_batch("BEGIN IMMEDIATE")?;
    conn.execute(
        "UPDATE _landfall_state SET generation = lower(hex(randomblob(12)))",
        [],
    )?;
    conn.execute(
        "INSERT INTO _landfall_log (seq, tbl) VALUES (?1, ?2)",
        params![beyond, super::change_log::SCHEMA_ENTRY],
    )?;
    conn.execute_batch("COMMIT")?;
    Ok(())
}
