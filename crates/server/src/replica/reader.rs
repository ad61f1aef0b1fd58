//! A connection that reads the replica at a known version.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use landfall_ivm::IndexSpec;
use landfall_zql::{Key, Row, RowBuilder, TableId};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params_from_iter};

use super::layout::{Layout, ROW_VERSION, version_cell};
use super::statistics::Statistic;
use super::{
    IndexWish, Replica, ReplicaError, ReplicaSchema, ReplicaTable, Shared, StateVersion, carried,
    indexes, quote, read_row, sql, to_cell,
};
use crate::analyze::LARGE;

/// How long a reader waits for the step of a version that it already sees.
const STEP_WAIT: Duration = Duration::from_secs(10);

/// Steps of SQLite's machine between two looks at the clock: some tenths of a millisecond.
const DEADLINE_STEPS: i32 = 20_000;

/// Reads rows, last mutation ids and results, all of one version.
///
/// Owned by one thread. Moves only when told to; a released reader holds no snapshot.
pub struct Reader {
    shared: Arc<Shared>,
    conn: Connection,
    schema: Arc<ReplicaSchema>,
    version: StateVersion,
    open: bool,
    /// What planners were told lately.
    pub(super) statistics: RefCell<BTreeMap<TableId, Statistic>>,
    /// Indexes that were asked for already.
    wished: RefCell<BTreeSet<IndexWish>>,
    /// Indexes that are there, or not worth waiting for.
    present: RefCell<BTreeSet<IndexWish>>,
    deadline: Arc<Deadline>,
}

/// When a read is to be given up: nanoseconds after `base`, 0 for never.
#[derive(Debug)]
struct Deadline {
    base: Instant,
    at: AtomicU64,
}

impl Deadline {
    fn has_passed(&self) -> bool {
        let at = self.at.load(Ordering::Relaxed);
        at != 0 && self.base.elapsed().as_nanos() as u64 >= at
    }
}

/// A stored result of a mutation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResult {
    /// The client.
    pub client: String,
    /// The mutation.
    pub id: u64,
    /// JSON text; `None` if it was deleted.
    pub result: Option<String>,
    /// The version at which it was stored or deleted.
    pub version: StateVersion,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("version", &self.version)
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

impl Reader {
    pub(super) fn open(shared: Arc<Shared>) -> Result<Self, ReplicaError> {
        let conn = Connection::open_with_flags(
            &shared.path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        conn.busy_timeout(Duration::from_secs(5))?;
        conn.pragma_update(None, "query_only", true)?;
        conn.pragma_update(None, "mmap_size", 0x7fff_0000_i64)?;
        conn.set_prepared_statement_cache_capacity(1024);
        let schema = shared.schema_at(StateVersion::MAX);
        let deadline = Arc::new(Deadline {
            base: Instant::now(),
            at: AtomicU64::new(0),
        });
        let mut reader = Reader {
            shared,
            conn,
            schema,
            version: 0,
            open: false,
            statistics: RefCell::default(),
            wished: RefCell::default(),
            present: RefCell::default(),
            deadline: deadline.clone(),
        };
        reader
            .conn
            .progress_handler(DEADLINE_STEPS, Some(move || deadline.has_passed()))?;
        reader.advance()?;
        Ok(reader)
    }

    /// The version that is read.
    pub fn version(&self) -> StateVersion {
        self.version
    }

    /// The schema at that version.
    pub fn schema(&self) -> &Arc<ReplicaSchema> {
        &self.schema
    }

    /// The replica this reader belongs to.
    pub fn replica(&self) -> Replica {
        Replica {
            shared: self.shared.clone(),
        }
    }

    /// Moves to the newest version and returns it. Its steps are in the ring when this returns.
    pub fn advance(&mut self) -> Result<StateVersion, ReplicaError> {
        self.release()?;
        self.conn.execute_batch("BEGIN")?;
        self.open = true;
        let version = self.shared.layout.version(&self.conn)?;
        if !self.shared.ring.wait_for(version, STEP_WAIT) {
            self.release()?;
            return Err(ReplicaError::Behind(version));
        }
        self.version = version;
        let schema = self.shared.schema_at(version);
        if !Arc::ptr_eq(&schema, &self.schema) {
            // Columns may have other places, and indexes are gone with what they were on.
            self.statistics.get_mut().clear();
            self.wished.get_mut().clear();
            self.present.get_mut().clear();
            self.schema = schema;
        }
        Ok(version)
    }

    /// Lets the snapshot go, so that the log can be reset while this reader is idle.
    /// Reads need an `advance` first.
    pub fn release(&mut self) -> Result<(), ReplicaError> {
        if self.open {
            self.open = false;
            self.conn.execute_batch("ROLLBACK")?;
        }
        Ok(())
    }

    /// Reads from now on fail when this time has come, until another is set.
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        let since = |at: Instant| at.saturating_duration_since(self.deadline.base).as_nanos();
        let at = deadline.map_or(0, |at| since(at).max(1) as u64);
        self.deadline.at.store(at, Ordering::Relaxed);
    }

    /// The row with this row key, unless it holds a value that its column cannot carry.
    pub fn row(&self, table: TableId, key: &Key) -> Result<Option<Row>, ReplicaError> {
        let table = self.table(table)?;
        let mut statement = self.conn.prepare_cached(&sql::select_by_key(table))?;
        let mut rows = statement.query(params_from_iter(key.0.iter().map(to_cell)))?;
        match rows.next()? {
            Some(row) => carried(read_row(table, row, 0, &mut RowBuilder::default())),
            None => Ok(None),
        }
    }

    /// The version of a row's last change, if the row is there and its version is known.
    /// An embedded file knows it for as long as its log reaches back.
    pub fn row_version(
        &self,
        table: TableId,
        key: &Key,
    ) -> Result<Option<StateVersion>, ReplicaError> {
        let table = self.table(table)?;
        let sql = match self.shared.layout {
            Layout::Postgres => format!(
                "SELECT {} FROM {} WHERE {}",
                quote(ROW_VERSION),
                quote(&table.sql_name),
                sql::key_condition(table, 1)
            ),
            Layout::Embedded => return Ok(None),
        };
        let version = self
            .conn
            .prepare_cached(&sql)?
            .query_row(params_from_iter(key.0.iter().map(to_cell)), |row| {
                row.get::<_, i64>(0)
            })
            .optional()?;
        Ok(version.and_then(|version| StateVersion::try_from(version).ok()))
    }

    /// The last mutation id of every client of a group that ever wrote.
    pub fn lmids(&self, group: &str) -> Result<Vec<(String, u64)>, ReplicaError> {
        self.lmids_since(group, None)
    }

    /// The last mutation ids of a group that rose after a version.
    pub fn lmids_since(
        &self,
        group: &str,
        version: Option<StateVersion>,
    ) -> Result<Vec<(String, u64)>, ReplicaError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT client, lmid FROM _landfall_clients WHERE client_group = ?1 AND version > ?2 ORDER BY client",
        )?;
        let since = version.map_or(-1, version_cell);
        let rows = statement.query_map((group, since), |row| {
            Ok((row.get(0)?, row.get::<_, i64>(1)?.max(0) as u64))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The results of a group that were stored or deleted after a version.
    pub fn results_since(
        &self,
        group: &str,
        version: Option<StateVersion>,
    ) -> Result<Vec<StoredResult>, ReplicaError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT client, id, result, version FROM _landfall_results WHERE client_group = ?1 AND version > ?2 ORDER BY client, id",
        )?;
        let since = version.map_or(-1, version_cell);
        let rows = statement.query_map((group, since), |row| {
            Ok(StoredResult {
                client: row.get(0)?,
                id: row.get::<_, i64>(1)?.max(0) as u64,
                result: row.get(2)?,
                version: row.get::<_, i64>(3)?.max(0) as u64,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The permissions that the upstream holds, as JSON text.
    pub fn permissions(&self) -> Result<Option<String>, ReplicaError> {
        let permissions = self
            .conn
            .prepare_cached("SELECT permissions FROM _landfall_permissions")?
            .query_row([], |row| row.get(0))
            .optional()?;
        Ok(permissions.flatten())
    }

    /// Asks for an index once; gives whether this was the time.
    pub(super) fn wish(&self, wish: IndexWish) -> bool {
        if self.wished.borrow().contains(&wish) {
            return false;
        }
        let is_news = self
            .table(wish.table)
            .is_ok_and(|table| !wish.is_lookup(table));
        if is_news {
            self.shared.wish(wish.clone());
        }
        self.wished.borrow_mut().insert(wish);
        is_news
    }

    /// Asks for these indexes, where they are worth waiting for: on large tables, unless a unique key serves.
    /// Gives whether the writer has dealt with all of them; until then it is to be asked again.
    pub fn ask_for_indexes(&self, indexes: &[(TableId, IndexSpec)]) -> Result<bool, ReplicaError> {
        let mut is_ready = true;
        for (table, IndexSpec(order)) in indexes {
            let table = self.table(*table)?;
            let wish = IndexWish::ordered(table.id, order);
            if self.present.borrow().contains(&wish) {
                continue;
            }
            let is_present = wish.begins_with_key(table)
                || self.shared.answered.lock().contains(&wish)
                || self.statistic(table.id, |statistic| statistic.rows)? < LARGE
                || indexes::is_served(&self.conn, table, &wish)?;
            if is_present {
                self.present.borrow_mut().insert(wish);
            } else {
                self.shared.wish(wish);
                is_ready = false;
            }
        }
        Ok(is_ready)
    }

    /// Tells whoever runs the server that a large table is read without an index that would serve.
    pub(super) fn report_scan(&self, table: &ReplicaTable, wanted: &IndexWish) {
        let Ok(rows) = self.statistic(table.id, |statistic| statistic.rows) else {
            // The read itself says what is wrong.
            return;
        };
        if rows >= LARGE && self.shared.scanned.lock().insert(wanted.clone()) {
            metrics::counter!("landfall_unindexed_reads_total").increment(1);
            tracing::warn!(
                table = %table.name,
                rows,
                index = %wanted.columns(table),
                "a query reads a large table without an index; it is made if the table has room for one"
            );
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.conn
    }

    pub(super) fn table(&self, id: TableId) -> Result<&ReplicaTable, ReplicaError> {
        self.schema
            .table(id)
            .filter(|table| !table.is_gone())
            .ok_or_else(|| ReplicaError::Damaged(format!("there is no table {}", id.0)))
    }
}
