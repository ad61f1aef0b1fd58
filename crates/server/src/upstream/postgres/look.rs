//! A replica file as it is, without its Postgres.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};

use super::catalog::{self, PublishedTable};
use crate::replica::{Layout, Replica, ReplicaError, ReplicaSchema, ReplicaWriter};
use crate::upstream::UpstreamError;

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
