//! Turns commits of any process into steps: reads the log between two snapshots, and the rows on both sides.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use landfall_zql::{Row, RowBuilder};
use rusqlite::types::Value as Cell;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params_from_iter};

use super::change_log::{self, SCHEMA_ENTRY};
use super::tables::{self, MAX_KEY, UserTable};
use super::witness::Witness;
use crate::replica::{
    Advance, Layout, LeftOut, Replica, ReplicaError, ReplicaSchema, ReplicaTable, Reset,
    StateVersion, StepBuilder, TableDraft, carried, empty_log, make_index, read_row, select_by_key,
};
use crate::upstream::{CommitTimes, UpstreamError};

/// Frames of SQLite's log (about 16 MB) after which all snapshots of this thread are given up to let it be reset.
const LOG_FRAMES: i64 = 4_000;
/// Frames from which on SQLite copies the log with each commit, if a program does not say otherwise.
const AUTOMATIC_FRAMES: i64 = 1_000;
/// Entries of a step beyond which its tables are reset instead of being read row by row.
const MAX_ENTRIES: u64 = 100_000;
/// Entries of the change log that are kept.
const KEPT_ENTRIES: u64 = 100_000;

/// How long a lock is waited for.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);

/// Opens a connection to the user's file.
pub fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_timeout(BUSY_PATIENCE)?;
    conn.set_prepared_statement_cache_capacity(512);
    Ok(conn)
}

/// Reads tables and makes the log and the triggers, in one transaction. True if something had to be made.
pub fn install(conn: &Connection) -> Result<(Vec<UserTable>, bool), UpstreamError> {
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let made = tables::read(conn).and_then(|(tables, warnings)| {
        let changed = change_log::install(conn, &tables)?;
        conn.execute_batch("COMMIT")?;
        Ok((tables, warnings, changed))
    });
    match made {
        Ok((tables, warnings, changed)) => {
            for warning in warnings {
                tracing::warn!("{warning}");
            }
            Ok((tables, changed))
        }
        Err(error) => {
            if !conn.is_autocommit() {
                conn.execute_batch("ROLLBACK")?;
            }
            Err(error.into())
        }
    }
}

/// The tables that queries see.
pub fn drafts(tables: &[UserTable]) -> Vec<TableDraft> {
    tables.iter().map(UserTable::draft).collect()
}

/// Follows the file's versions and publishes a step for each that it meets.
pub struct Follower {
    /// Name of the file's history.
    generation: String,
    replica: Replica,
    schema: Arc<ReplicaSchema>,
    tables: Vec<UserTable>,
    schema_version: i64,
    /// Holds a snapshot of `version`.
    old: Connection,
    /// Has no transaction between two steps.
    new: Connection,
    version: StateVersion,
    left_out: LeftOut,
    /// When versions were noticed: SQLite does not tell when they were committed, but is asked often.
    commits: Arc<CommitTimes>,
}

impl Follower {
    /// A follower that goes on from the present version, and the replica that it feeds.
    pub fn open(path: &Path, tables: Vec<UserTable>) -> Result<Self, UpstreamError> {
        let (old, new) = (connect(path)?, connect(path)?);
        old.execute_batch("BEGIN")?;
        let version = Layout::Embedded.version(&old)?;
        let schema_version = schema_version(&old)?;
        let generation: String =
            old.query_row("SELECT generation FROM _landfall_state", [], |row| {
                row.get(0)
            })?;
        let schema = Arc::new(ReplicaSchema::new(drafts(&tables)));
        let public = format!("file-{generation}");
        let replica = Replica::new(path, Layout::Embedded, &public, version, schema.clone());
        Ok(Follower {
            generation,
            replica,
            schema,
            tables,
            schema_version,
            old,
            new,
            version,
            left_out: LeftOut::default(),
            commits: Arc::default(),
        })
    }

    /// When recent versions were committed.
    pub fn commits(&self) -> &Arc<CommitTimes> {
        &self.commits
    }

    /// The replica.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// What an older copy of the file would contradict.
    pub fn witness(&self) -> Witness {
        Witness {
            generation: self.generation.clone(),
            version: self.version,
        }
    }

    /// The present schema.
    pub fn schema(&self) -> &Arc<ReplicaSchema> {
        &self.schema
    }

    /// Publishes what was committed since the last call. `writer` has no open transaction.
    pub fn step(&mut self, writer: &Connection) -> Result<(), UpstreamError> {
        self.new.execute_batch("BEGIN")?;
        let outcome = self.publish(writer);
        // After a published step this is the older snapshot; after a failure the one that was not used.
        if !self.new.is_autocommit() {
            self.new.execute_batch("ROLLBACK")?;
        }
        outcome
    }

    fn publish(&mut self, writer: &Connection) -> Result<(), UpstreamError> {
        let schema_version = schema_version(&self.new)?;
        if schema_version != self.schema_version && self.differs()? {
            self.new.execute_batch("ROLLBACK")?;
            let (tables, _) = install(writer)?;
            writer.execute(
                "INSERT INTO _landfall_log (tbl) VALUES (?1)",
                [SCHEMA_ENTRY],
            )?;
            self.new.execute_batch("BEGIN")?;
            return self.publish_schema(tables);
        }
        self.schema_version = schema_version;
        let version = Layout::Embedded.version(&self.new)?;
        if version < self.version {
            return Err(ReplicaError::Damaged(format!(
                "the file went back from version {} to {version}: was an older copy put in its place? Start the server anew",
                self.version
            ))
            .into());
        }
        if version == self.version {
            return Ok(());
        }
        let advance = if version - self.version > MAX_ENTRIES {
            self.collect_resets(version)?
        } else {
            let mut left_out = std::mem::take(&mut self.left_out);
            let collected = self.collect(version, &mut left_out);
            self.left_out = left_out;
            collected?
        };
        self.hand_out(advance, None);
        Ok(())
    }

    /// Whether tables or triggers are no longer those that are followed, as the new snapshot shows them.
    fn differs(&self) -> Result<bool, UpstreamError> {
        let (tables, _) = tables::read(&self.new)?;
        Ok(tables != self.tables || !change_log::is_installed(&self.new, &tables)?)
    }

    fn publish_schema(&mut self, tables: Vec<UserTable>) -> Result<(), UpstreamError> {
        tracing::info!("the tables changed: everything is read anew");
        self.schema_version = schema_version(&self.new)?;
        let version = Layout::Embedded.version(&self.new)?;
        self.schema = Arc::new(self.schema.evolve(drafts(&tables)));
        self.tables = tables;
        let mut advance = self.collect_own(version)?;
        // A trigger may have been missing as well, so no table's changes are sure to be in the log.
        advance.reset = Reset::Tables(self.schema.all_ids());
        self.hand_out(advance, Some(self.schema.clone()));
        Ok(())
    }

    fn hand_out(&mut self, advance: Advance, schema: Option<Arc<ReplicaSchema>>) {
        self.version = advance.to;
        self.commits.note(advance.to, SystemTime::now());
        self.replica.enter(advance, schema);
        self.replica.announce();
        std::mem::swap(&mut self.old, &mut self.new);
    }

    /// The step from the old snapshot to the new one.
    fn collect(
        &self,
        version: StateVersion,
        left_out: &mut LeftOut,
    ) -> Result<Advance, UpstreamError> {
        let mut step = StepBuilder::default();
        let mut builder = RowBuilder::default();
        for entry in self.entries(version)? {
            if let Some(table) = self.schema.table_by_name(&entry.table) {
                let key = &entry.key[..table.row_key.len()];
                let before = read(&self.old, table, key, &mut builder).transpose();
                let after = read(&self.new, table, key, &mut builder).transpose();
                let before = before.map_or(Ok(None), carried)?;
                let after = after.map_or(Ok(None), |row| left_out.carried(row))?;
                step.change(&self.schema, table.id, before, after);
            } else {
                self.own_entry(&entry, &mut step)?;
            }
        }
        Ok(step.finish(self.version, version))
    }

    /// A step of our own tables only.
    fn collect_own(&self, version: StateVersion) -> Result<Advance, UpstreamError> {
        let mut step = StepBuilder::default();
        for entry in self.entries(version)? {
            self.own_entry(&entry, &mut step)?;
        }
        Ok(step.finish(self.version, version))
    }

    /// A step that resets each table of the users' in it.
    fn collect_resets(&self, version: StateVersion) -> Result<Advance, UpstreamError> {
        let mut step = StepBuilder::default();
        let tables = self
            .new
            .prepare_cached("SELECT DISTINCT tbl FROM _landfall_log WHERE seq > ?1 AND seq <= ?2")?
            .query_map([self.version as i64, version as i64], |row| row.get(0))?
            .collect::<Result<Vec<String>, _>>()?;
        for name in tables {
            if let Some(table) = self.schema.table_by_name(&name) {
                step.reset(table.id);
            }
        }
        for entry in self.entries_of(version, "AND tbl LIKE '\\_landfall\\_%' ESCAPE '\\'")? {
            self.own_entry(&entry, &mut step)?;
        }
        Ok(step.finish(self.version, version))
    }

    fn entries(&self, version: StateVersion) -> Result<Vec<Entry>, UpstreamError> {
        self.entries_of(version, "")
    }

    fn entries_of(&self, version: StateVersion, which: &str) -> Result<Vec<Entry>, UpstreamError> {
        let keys: Vec<String> = (0..MAX_KEY).map(|at| format!("k{at}")).collect();
        let sql = format!(
            "SELECT DISTINCT tbl, {} FROM _landfall_log WHERE seq > ?1 AND seq <= ?2 {which}",
            keys.join(", ")
        );
        let mut statement = self.new.prepare_cached(&sql)?;
        let mut rows = statement.query([self.version as i64, version as i64])?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            entries.push(Entry {
                table: row.get(0)?,
                key: (1..=MAX_KEY)
                    .map(|at| row.get(at))
                    .collect::<Result<_, _>>()?,
            });
        }
        Ok(entries)
    }

    fn own_entry(&self, entry: &Entry, step: &mut StepBuilder) -> Result<(), UpstreamError> {
        match (entry.table.as_str(), entry.key.as_slice()) {
            ("_landfall_clients", [Cell::Text(group), Cell::Text(client), ..]) => {
                let lmid: Option<i64> = self
                    .new
                    .prepare_cached("SELECT lmid FROM _landfall_clients WHERE client_group = ?1 AND client = ?2")?
                    .query_row([group, client], |row| row.get(0))
                    .optional()?;
                if let Some(lmid) = lmid {
                    step.lmid(group, client, lmid.max(0) as u64);
                }
            }
            (
                "_landfall_results",
                [Cell::Text(group), Cell::Text(client), Cell::Integer(id), ..],
            ) => {
                let result: Option<Option<String>> = self
                    .new
                    .prepare_cached("SELECT result FROM _landfall_results WHERE client_group = ?1 AND client = ?2 AND id = ?3")?
                    .query_row((group, client, id), |row| row.get(0))
                    .optional()?;
                step.result(
                    group,
                    client,
                    (*id).max(0) as u64,
                    result.flatten().as_deref(),
                );
            }
            ("_landfall_permissions", _) => step.permissions(),
            _ => {}
        }
        Ok(())
    }

    /// Lets SQLite's log be reset when it has grown, and drops old entries of the change log.
    pub fn tidy(&mut self, writer: &Connection) -> Result<(), UpstreamError> {
        writer.execute(
            "DELETE FROM _landfall_log WHERE seq <= ?1",
            [self.version.saturating_sub(KEPT_ENTRIES) as i64],
        )?;
        self.empty_log(writer, LOG_FRAMES)
    }

    /// Makes the indexes that readers asked for. They go through the log, and each later commit of a program that
    /// copies a long log by itself, as SQLite does by default, would go over all of it: so it is emptied at once.
    pub fn grant_wishes(&mut self, writer: &Connection) -> Result<(), UpstreamError> {
        let schema = &self.schema;
        let made = self
            .replica
            .grant_wishes(|wish| make_index(writer, schema, wish))?;
        match made {
            true => self.empty_log(writer, AUTOMATIC_FRAMES),
            false => Ok(()),
        }
    }

    /// Copies the log into the file, and resets it if it has at least so many frames.
    fn empty_log(&mut self, writer: &Connection, least: i64) -> Result<(), UpstreamError> {
        let frames: i64 =
            writer.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1))?;
        if frames < least {
            return Ok(());
        }
        self.old.execute_batch("ROLLBACK")?;
        // Fails while a reader elsewhere holds a snapshot; the next time may find none.
        if !matches!(empty_log(writer, BUSY_PATIENCE), Ok(true)) {
            tracing::debug!("the log of the database could not be reset: a reader is using it");
        }
        self.old.execute_batch("BEGIN")?;
        let version = Layout::Embedded.version(&self.old)?;
        if version != self.version {
            self.skip_to(version)?;
        }
        Ok(())
    }

    /// A commit slipped in while no snapshot was held: its rows before are lost, so its tables are reset.
    fn skip_to(&mut self, version: StateVersion) -> Result<(), UpstreamError> {
        self.new.execute_batch("BEGIN")?;
        let advance = self.collect_resets(version);
        self.new.execute_batch("ROLLBACK")?;
        let advance = advance?;
        self.version = version;
        self.replica.enter(advance, None);
        self.replica.announce();
        Ok(())
    }
}

/// A line of the change log.
#[derive(Debug)]
struct Entry {
    table: String,
    key: Vec<Cell>,
}

fn schema_version(conn: &Connection) -> Result<i64, rusqlite::Error> {
    conn.query_row("PRAGMA schema_version", [], |row| row.get(0))
}

fn read(
    conn: &Connection,
    table: &ReplicaTable,
    key: &[Cell],
    builder: &mut RowBuilder,
) -> Result<Option<Row>, ReplicaError> {
    let mut statement = conn.prepare_cached(&select_by_key(table))?;
    let mut rows = statement.query(params_from_iter(key))?;
    match rows.next()? {
        None => Ok(None),
        Some(row) => read_row(table, row, 0, builder).map(Some),
    }
}
