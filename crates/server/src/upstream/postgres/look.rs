//! A replica file as it is, without its Postgres.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};

use super::catalog::{self, PublishedTable};
use crate::replica::{Layout, Replica, ReplicaError, ReplicaSchema, ReplicaWriter};
use crate::upstream::UpstreamError;

/// How every SQLite file begins.
const SQLITE_HEADER: &[u8] = b"SQLite format 3\0";

/// The replica in a file, which is not followed; `None` if the file is not one.
pub fn look(path: &Path) -> Result<Option<Replica>, UpstreamError> {
    if !is_replica(path)? {
        return Ok(None);
    }
    let Some(state) = ReplicaWriter::open(path)?.state()? else {
        return Err(UpstreamError::File {
            path: path.display().to_string(),
            reason: "it is the replica of another version of the server".to_owned(),
        });
    };
    let tables: Vec<PublishedTable> = serde_json::from_str(&state.tables)
        .map_err(|error| ReplicaError::Damaged(format!("its tables: {error}")))?;
    let (drafts, _) = catalog::drafts(&tables, &internal(&state.slot));
    let schema = ReplicaSchema::new(drafts);
    Ok(Some(Replica::new(
        path,
        Layout::Postgres,
        &state.generation,
        state.version,
        Arc::new(schema),
    )))
}

/// Refuses a file that holds something else: to make a replica would be to delete it.
/// A replica that is damaged is no reason; neither is a file without anything in it.
pub fn require_place(path: &Path) -> Result<(), UpstreamError> {
    let refused = |reason: String| UpstreamError::File {
        path: path.display().to_string(),
        reason,
    };
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty())
        && !folder.is_dir()
    {
        return Err(refused(format!("there is no folder {}", folder.display())));
    }
    let mut head = Vec::new();
    match std::fs::File::open(path) {
        Ok(file) => file.take(SQLITE_HEADER.len() as u64).read_to_end(&mut head),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => Err(error),
    }
    .map_err(|error| refused(error.to_string()))?;
    let is_other = head.as_slice() != SQLITE_HEADER || matches!(holds_other_tables(path), Ok(true));
    if is_other && !head.is_empty() {
        return Err(refused(
            "it is no replica, and would be overwritten; name another file (--replica-file), or remove it"
                .to_owned(),
        ));
    }
    Ok(())
}

fn holds_other_tables(path: &Path) -> Result<bool, ReplicaError> {
    if is_replica(path)? {
        return Ok(false);
    }
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    Ok(
        conn.query_row("SELECT EXISTS (SELECT 1 FROM sqlite_master)", [], |row| {
            row.get(0)
        })?,
    )
}

fn is_replica(path: &Path) -> Result<bool, ReplicaError> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    Ok(conn.query_row(
        "SELECT EXISTS (SELECT 1 FROM pragma_table_info('_landfall_state') WHERE name = 'slot')",
        [],
        |row| row.get(0),
    )?)
}

/// Our own schemas, from the name of a slot: app, number of the shard, and a random part.
fn internal(slot: &str) -> Vec<String> {
    let shard = slot.rsplit_once('_').map_or(slot, |(shard, _)| shard);
    let app = shard.rsplit_once('_').map_or(shard, |(app, _)| app);
    vec![app.to_owned(), shard.to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_replica_or_nothing_gives_its_place_to_a_replica() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let check = |name: &str, fits: bool| {
            let path = dir.path().join(name);
            assert_eq!(require_place(&path).is_ok(), fits, "{name}");
        };
        let make = |name: &str, sql: &str| {
            let conn = Connection::open(dir.path().join(name)).expect("opens");
            conn.execute_batch(sql).expect("makes");
        };
        check("missing.db", true);
        check("no-folder/replica.db", false);
        std::fs::write(dir.path().join("empty.db"), "").expect("writes");
        check("empty.db", true);
        std::fs::write(dir.path().join("notes.txt"), "buy bread").expect("writes");
        check("notes.txt", false);
        make("other.db", "CREATE TABLE note (id)");
        check("other.db", false);
        make(
            "embedded.db",
            "CREATE TABLE note (id); CREATE TABLE _landfall_state (version)",
        );
        check("embedded.db", false);
        make(
            "replica.db",
            "CREATE TABLE note (id); CREATE TABLE _landfall_state (version, slot)",
        );
        check("replica.db", true);
        // A replica whose pages are damaged is made anew.
        let mut bytes = std::fs::read(dir.path().join("replica.db")).expect("reads");
        bytes[100..].fill(0xff);
        std::fs::write(dir.path().join("damaged.db"), bytes).expect("writes");
        check("damaged.db", true);
    }
}
