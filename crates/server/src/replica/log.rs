//! SQLite's log of a file that is always read: nobody empties it by themselves, since snapshots overlap.

use std::time::Duration;

use rusqlite::Connection;

/// How long readers have to let go. Whoever waits writes nothing meanwhile.
const PATIENCE: Duration = Duration::from_millis(50);

/// Copies all of the log into the file and gives its room back, if readers let go of it soon. True if that was done.
/// `usual` is how long the connection waits for locks otherwise.
pub(crate) fn empty_log(conn: &Connection, usual: Duration) -> Result<bool, rusqlite::Error> {
    conn.busy_timeout(PATIENCE)?;
    let busy = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
        row.get::<_, bool>(0)
    });
    conn.busy_timeout(usual)?;
    Ok(!busy?)
}
