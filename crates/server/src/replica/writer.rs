//! Writes the replica of a Postgres: applies changes, keeps the watermark with them, and publishes each commit.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use landfall_zql::{ColumnType, Row, RowBuilder, TableId};
use rusqlite::types::Value as Cell;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::cells::is_safe;
use super::layout::{ROW_VERSION, SHARED_TABLES, version_cell};
use super::log::empty_log;
use super::{
    LeftOut, Replica, ReplicaColumn, ReplicaError, ReplicaSchema, ReplicaTable, StateVersion,
    StepBuilder, TableDraft, carried, indexes, pack_cells, quote, sql,
};

/// Layout of the file; another one is loaded anew.
const FORMAT: i64 = 2;
/// Frames of the log after which it is copied into the file.
const CHECKPOINT_FRAMES: i64 = 1000;
/// Frames of the log after which it is emptied as well: 16 MiB.
const MAX_FRAMES: i64 = 4096;
/// The size of a page, which SQLite takes by default.
const PAGE_SIZE: i64 = 4096;
/// How long a write waits for another program that holds the file.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);

const STATE_TABLE: &str = "
CREATE TABLE IF NOT EXISTS _landfall_state (
  lock INTEGER PRIMARY KEY CHECK (lock = 1),
  format INTEGER NOT NULL, version INTEGER NOT NULL, confirmed INTEGER NOT NULL,
  generation TEXT NOT NULL, slot TEXT NOT NULL, publications TEXT NOT NULL, tables TEXT NOT NULL
) STRICT;
";

/// What a replica file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReplicaState {
    /// The last applied commit.
    pub version: StateVersion,
    /// The log position up to which the upstream may forget.
    pub confirmed: u64,
    /// The history that versions belong to.
    pub generation: String,
    /// The replication slot.
    pub slot: String,
    /// Publications, comma separated.
    pub publications: String,
    /// The published tables, in the upstream's own form.
    pub tables: String,
}

/// The only writer of a replica file.
pub(crate) struct ReplicaWriter {
    pub(super) conn: Connection,
    pub(super) schema: Arc<ReplicaSchema>,
    statements: Vec<Statements>,
    builder: RowBuilder,
    pub(super) step: StepBuilder,
    /// The schema before the open transaction, if that changes it.
    old_schema: Option<Arc<ReplicaSchema>>,
    left_out: LeftOut,
    /// The version before the open transaction.
    version: StateVersion,
}

struct Statements {
    select: String,
    insert: String,
    update: String,
    delete: String,
    clear: String,
}

impl Statements {
    fn new(table: &ReplicaTable) -> Self {
        let name = quote(&table.sql_name);
        let width = table.columns.len();
        let places: Vec<String> = (1..=width + 1).map(|n| format!("?{n}")).collect();
        let assignments: Vec<String> = table
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| format!("{} = ?{}", quote(&column.name), at + 1))
            .collect();
        Statements {
            select: sql::select_by_key(table),
            insert: format!(
                "INSERT OR REPLACE INTO {name} ({},{}) VALUES ({})",
                sql::columns(table),
                quote(ROW_VERSION),
                places.join(",")
            ),
            update: format!(
                "UPDATE {name} SET {}, {} = ?{} WHERE {}",
                assignments.join(","),
                quote(ROW_VERSION),
                width + 1,
                sql::key_condition(table, width + 2)
            ),
            delete: format!("DELETE FROM {name} WHERE {}", sql::key_condition(table, 1)),
            clear: format!("DELETE FROM {name}"),
        }
    }
}

impl ReplicaWriter {
    /// Opens a file for its one writer; makes it if there is none.
    pub fn open(path: &Path) -> Result<Self, ReplicaError> {
        let conn = Connection::open(path)?;
        conn.busy_timeout(BUSY_PATIENCE)?;
        conn.set_prepared_statement_cache_capacity(1024);
        Ok(ReplicaWriter {
            conn,
            schema: Arc::new(ReplicaSchema::new(Vec::new())),
            statements: Vec::new(),
            builder: RowBuilder::default(),
            step: StepBuilder::default(),
            old_schema: None,
            left_out: LeftOut::default(),
            version: 0,
        })
    }

    /// Settings for filling a file that nobody else sees yet.
    pub fn load_mode(&self) -> Result<(), ReplicaError> {
        self.conn.execute_batch(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE; PRAGMA cache_size=-65536;",
        )?;
        Ok(())
    }

    /// Settings for a file with readers.
    pub fn serve_mode(&self) -> Result<(), ReplicaError> {
        self.conn.execute_batch(
            "PRAGMA locking_mode=NORMAL; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=0;",
        )?;
        // A log that begins anew gives back what it had grown beyond this.
        self.conn
            .pragma_update(None, "journal_size_limit", MAX_FRAMES * PAGE_SIZE)?;
        Ok(())
    }

    /// What the file says of itself; `None` if it is empty or of another format.
    pub fn state(&self) -> Result<Option<ReplicaState>, ReplicaError> {
        let known: bool = self.conn.query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = '_landfall_state')",
            [],
            |row| row.get(0),
        )?;
        if !known {
            return Ok(None);
        }
        let state = self
            .conn
            .query_row(
                "SELECT version, confirmed, generation, slot, publications, tables FROM _landfall_state WHERE format = ?1",
                [FORMAT],
                |row| {
                    Ok(ReplicaState {
                        version: row.get::<_, i64>(0)?.max(0) as u64,
                        confirmed: row.get::<_, i64>(1)?.max(0) as u64,
                        generation: row.get(2)?,
                        slot: row.get(3)?,
                        publications: row.get(4)?,
                        tables: row.get(5)?,
                    })
                },
            )
            .optional()?;
        Ok(state)
    }

    /// The schema that changes are applied to.
    pub fn schema(&self) -> &Arc<ReplicaSchema> {
        &self.schema
    }

    /// Takes a schema whose tables exist in the file, at its stored version.
    pub fn adopt(&mut self, schema: Arc<ReplicaSchema>, version: StateVersion) {
        self.statements = schema.tables.iter().map(Statements::new).collect();
        self.schema = schema;
        self.version = version;
    }

    /// Begins a transaction.
    pub fn begin(&mut self) -> Result<(), ReplicaError> {
        self.conn.execute_batch("BEGIN IMMEDIATE")?;
        Ok(())
    }

    /// Drops everything in the file and makes empty tables for a schema, inside the open transaction.
    pub fn recreate(&mut self, drafts: Vec<TableDraft>) -> Result<(), ReplicaError> {
        let schema = Arc::new(self.schema.evolve(drafts));
        let tables = self
            .conn
            .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")?
            .query_map([], |row| row.get::<_, String>(0))?
            .collect::<Result<Vec<_>, _>>()?;
        for table in tables {
            self.conn
                .execute_batch(&format!("DROP TABLE {}", quote(&table)))?;
        }
        self.conn.execute_batch(STATE_TABLE)?;
        self.conn.execute_batch(SHARED_TABLES)?;
        for table in schema.present() {
            self.conn.execute_batch(&create_table(table))?;
        }
        self.take_schema(schema.clone());
        for id in schema.all_ids() {
            self.step.reset(id);
        }
        Ok(())
    }

    /// Changes the schema in the open transaction; a rollback brings the old one back.
    pub(super) fn take_schema(&mut self, schema: Arc<ReplicaSchema>) {
        let before = self.schema.clone();
        self.old_schema.get_or_insert(before);
        let version = self.version;
        self.adopt(schema, version);
    }

    /// Adds a row to a table that is being filled.
    pub fn load(
        &mut self,
        table: TableId,
        cells: Vec<Cell>,
        version: StateVersion,
    ) -> Result<(), ReplicaError> {
        if !cells.iter().all(is_safe) {
            let schema = self.schema.clone();
            let row = self.pack(find(&schema, table)?, &cells);
            self.left_out.carried(row)?;
        }
        let statements = self.statements_of(table)?;
        let version = Cell::Integer(version_cell(version));
        self.conn
            .prepare_cached(&statements.insert)?
            .execute(params_from_iter(cells.iter().chain([&version])))?;
        Ok(())
    }

    /// Makes the indexes of all unique keys; call it when the tables are filled.
    pub fn index_keys(&self) -> Result<(), ReplicaError> {
        self.schema.present().try_for_each(|t| self.index_table(t))
    }

    /// Makes the indexes of a table's unique keys.
    pub(super) fn index_table(&self, table: &ReplicaTable) -> Result<(), ReplicaError> {
        for (at, key) in table.unique_keys.iter().enumerate() {
            let mut row_key = table.row_key.clone();
            row_key.sort_unstable();
            // Other unique keys may be deferred upstream: they hold at commits only, not after each change.
            let (unique, key) = if *key == row_key {
                ("UNIQUE", &table.row_key)
            } else {
                ("", key)
            };
            let columns: Vec<String> = key.iter().map(|&c| quote(&table.columns[c].name)).collect();
            self.conn.execute_batch(&format!(
                "CREATE {unique} INDEX {} ON {} ({})",
                quote(&format!("_landfall_key_{}_{at}", table.sql_name)),
                quote(&table.sql_name),
                columns.join(",")
            ))?;
        }
        Ok(())
    }

    /// Puts a row. `old_key` is given if the key may have changed; a `None` cell keeps the old value.
    pub fn put(
        &mut self,
        table: TableId,
        old_key: Option<Vec<Cell>>,
        cells: Vec<Option<Cell>>,
        version: StateVersion,
    ) -> Result<(), ReplicaError> {
        let schema = self.schema.clone();
        let facts = find(&schema, table)?;
        let lookup = match &old_key {
            Some(key) => key.clone(),
            None => facts
                .row_key
                .iter()
                .map(|&c| cells[c].clone().unwrap_or(Cell::Null))
                .collect(),
        };
        let before = self.get(facts, &lookup)?;
        let cells = fill(facts, cells, before.as_deref())?;
        let key: Vec<Cell> = facts.row_key.iter().map(|&c| cells[c].clone()).collect();
        let after = self.pack(facts, &cells);
        let statements = &self.statements[table.0 as usize];
        let version = Cell::Integer(version_cell(version));
        if before.is_some() && key == lookup {
            let parameters = cells.iter().chain([&version]).chain(&key);
            self.conn
                .prepare_cached(&statements.update)?
                .execute(params_from_iter(parameters))?;
            let before = before.map(|before| self.pack(facts, &before));
            return self.note(table, before, Some(after));
        }
        if before.is_some() {
            self.conn
                .prepare_cached(&statements.delete)?
                .execute(params_from_iter(&lookup))?;
            let before = before.map(|before| self.pack(facts, &before));
            self.note(table, before, None)?;
        }
        let displaced = self.get(facts, &key)?;
        let displaced = displaced.map(|row| self.pack(facts, &row));
        self.conn
            .prepare_cached(&self.statements[table.0 as usize].insert)?
            .execute(params_from_iter(cells.iter().chain([&version])))?;
        self.note(table, displaced, Some(after))
    }

    /// Removes the row with this key, if it is there.
    pub fn remove(&mut self, table: TableId, key: &[Cell]) -> Result<(), ReplicaError> {
        let schema = self.schema.clone();
        let facts = find(&schema, table)?;
        let Some(before) = self.get(facts, key)? else {
            return Ok(());
        };
        self.conn
            .prepare_cached(&self.statements_of(table)?.delete)?
            .execute(params_from_iter(key))?;
        let before = self.pack(facts, &before);
        self.note(table, Some(before), None)
    }

    /// Empties a table.
    pub fn truncate(&mut self, table: TableId) -> Result<(), ReplicaError> {
        self.conn.execute(&self.statements_of(table)?.clear, [])?;
        self.step.reset(table);
        Ok(())
    }

    /// Sets the last mutation id of a client.
    pub fn set_lmid(
        &mut self,
        group: &str,
        client: &str,
        lmid: u64,
        version: StateVersion,
    ) -> Result<(), ReplicaError> {
        self.conn
            .prepare_cached("INSERT OR REPLACE INTO _landfall_clients VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![
                group,
                client,
                version_cell(lmid),
                version_cell(version)
            ])?;
        self.step.lmid(group, client, lmid);
        Ok(())
    }

    /// Stores the result of a mutation, or its deletion.
    pub fn set_result(
        &mut self,
        group: &str,
        client: &str,
        id: u64,
        result: Option<&str>,
        version: StateVersion,
    ) -> Result<(), ReplicaError> {
        self.conn
            .prepare_cached("INSERT OR REPLACE INTO _landfall_results VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
                group,
                client,
                version_cell(id),
                result,
                version_cell(version)
            ])?;
        self.step.result(group, client, id, result);
        Ok(())
    }

    /// Marks every stored result as deleted.
    pub fn clear_results(&mut self, version: StateVersion) -> Result<(), ReplicaError> {
        let results = self
            .conn
            .prepare(
                "SELECT client_group, client, id FROM _landfall_results WHERE result IS NOT NULL",
            )?
            .query_map([], |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, i64>(2)?,
                ))
            })?
            .collect::<Result<Vec<_>, _>>()?;
        for (group, client, id) in results {
            self.set_result(&group, &client, id.max(0) as u64, None, version)?;
        }
        Ok(())
    }

    /// Sets or removes the permissions.
    pub fn set_permissions(
        &mut self,
        permissions: Option<&str>,
        hash: Option<&str>,
    ) -> Result<(), ReplicaError> {
        self.conn
            .prepare_cached("INSERT OR REPLACE INTO _landfall_permissions VALUES (1, ?1, ?2)")?
            .execute(params![permissions, hash])?;
        self.step.permissions();
        Ok(())
    }

    /// Stores what the file says of itself; part of filling it.
    pub fn set_state(&mut self, state: &ReplicaState) -> Result<(), ReplicaError> {
        self.conn.execute(
            "INSERT OR REPLACE INTO _landfall_state VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                FORMAT,
                version_cell(state.version),
                version_cell(state.confirmed),
                state.generation,
                state.slot,
                state.publications,
                state.tables
            ],
        )?;
        Ok(())
    }

    /// Stores the published tables in the open transaction.
    pub fn set_tables(&mut self, tables: &str) -> Result<(), ReplicaError> {
        self.conn
            .execute("UPDATE _landfall_state SET tables = ?1", [tables])?;
        Ok(())
    }

    /// Commits a file that nobody else sees yet, synced.
    pub fn commit_load(&mut self, version: StateVersion) -> Result<(), ReplicaError> {
        self.conn.execute_batch("COMMIT")?;
        self.step = StepBuilder::default();
        self.old_schema = None;
        self.version = version;
        Ok(())
    }

    /// Commits the open transaction as `version` and publishes it.
    pub fn commit(
        &mut self,
        replica: &Replica,
        version: StateVersion,
        confirmed: u64,
    ) -> Result<(), ReplicaError> {
        self.conn
            .prepare_cached("UPDATE _landfall_state SET version = ?1, confirmed = ?2")?
            .execute([version_cell(version), version_cell(confirmed)])?;
        let advance = std::mem::take(&mut self.step).finish(self.version, version);
        let has_schema = self.old_schema.is_some();
        replica.enter(advance, has_schema.then(|| self.schema.clone()));
        if let Err(error) = self.conn.execute_batch("COMMIT") {
            replica.retract(has_schema);
            return Err(error.into());
        }
        self.old_schema = None;
        self.version = version;
        replica.announce();
        Ok(())
    }

    /// Gives up the open transaction, if there is one.
    pub fn rollback(&mut self) -> Result<(), ReplicaError> {
        self.step = StepBuilder::default();
        if let Some(schema) = self.old_schema.take() {
            let version = self.version;
            self.adopt(schema, version);
        }
        if !self.conn.is_autocommit() {
            self.conn.execute_batch("ROLLBACK")?;
        }
        Ok(())
    }

    /// Makes everything committed so far survive a loss of power, and stores the confirmed position with it.
    pub fn sync(&mut self, confirmed: u64) -> Result<(), ReplicaError> {
        self.conn.pragma_update(None, "synchronous", "FULL")?;
        let stored = self.conn.execute(
            "UPDATE _landfall_state SET confirmed = ?1",
            [version_cell(confirmed)],
        );
        self.conn.pragma_update(None, "synchronous", "NORMAL")?;
        stored?;
        Ok(())
    }

    /// Copies the log into the file when it has grown, which disturbs no reader, and empties it when it has grown a lot.
    ///
    /// SQLite begins the log anew only at a moment when nobody reads from it, and with many readers in turn there may be
    /// none: then it grows as long as there is work. Once everything is copied new readers do not use the log, so those
    /// that do are waited for.
    pub fn checkpoint(&self) -> Result<(), ReplicaError> {
        let frames: i64 = self
            .conn
            .query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1))?;
        if frames <= CHECKPOINT_FRAMES {
            return Ok(());
        }
        self.conn
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        if frames > MAX_FRAMES {
            self.empty_log()?;
        }
        Ok(())
    }

    /// Copies all of the log into the file and gives its room back, if readers let go of it soon.
    pub fn empty_log(&self) -> Result<(), ReplicaError> {
        if !empty_log(&self.conn, BUSY_PATIENCE)? {
            tracing::debug!("the replica's log cannot be emptied now: it is read");
        }
        Ok(())
    }

    /// Makes the indexes that readers asked for.
    pub fn grant_wishes(&self, replica: &Replica) -> Result<(), ReplicaError> {
        replica.grant_wishes(|wish| indexes::make(&self.conn, &self.schema, wish))?;
        Ok(())
    }

    fn get(&self, table: &ReplicaTable, key: &[Cell]) -> Result<Option<Vec<Cell>>, ReplicaError> {
        let width = table.columns.len();
        let row = self
            .conn
            .prepare_cached(&self.statements_of(table.id)?.select)?
            .query_row(params_from_iter(key), |row| {
                (0..width).map(|at| row.get(at)).collect()
            })
            .optional()?;
        Ok(row)
    }

    /// Packs a row; the error stands for a value that no row can carry.
    fn pack(&mut self, table: &ReplicaTable, cells: &[Cell]) -> Result<Row, ReplicaError> {
        pack_cells(table, cells, &mut self.builder)
    }

    /// Notes a change of a row; one that cannot be carried is as if it were not there.
    fn note(
        &mut self,
        table: TableId,
        before: Option<Result<Row, ReplicaError>>,
        after: Option<Result<Row, ReplicaError>>,
    ) -> Result<(), ReplicaError> {
        let before = before.map_or(Ok(None), carried)?;
        let after = after.map_or(Ok(None), |after| self.left_out.carried(after))?;
        self.step.change(&self.schema, table, before, after);
        Ok(())
    }

    fn statements_of(&self, table: TableId) -> Result<&Statements, ReplicaError> {
        self.statements
            .get(table.0 as usize)
            .ok_or_else(|| ReplicaError::Damaged(format!("there is no table {}", table.0)))
    }
}

fn find(schema: &ReplicaSchema, table: TableId) -> Result<&ReplicaTable, ReplicaError> {
    schema
        .table(table)
        .ok_or_else(|| ReplicaError::Damaged(format!("there is no table {}", table.0)))
}

/// Takes the cells that did not change from the old row.
fn fill(
    table: &ReplicaTable,
    cells: Vec<Option<Cell>>,
    before: Option<&[Cell]>,
) -> Result<Vec<Cell>, ReplicaError> {
    let kept = |at: usize| {
        before.and_then(|row| row.get(at)).cloned().ok_or_else(|| {
            ReplicaError::Damaged(format!("a changed row of {} is missing", table.name))
        })
    };
    cells
        .into_iter()
        .enumerate()
        .map(|(at, cell)| cell.map_or_else(|| kept(at), Ok))
        .collect()
}

/// A column as CREATE TABLE and ALTER TABLE take it.
pub(super) fn column_definition(column: &ReplicaColumn) -> String {
    let affinity = match column.ty {
        ColumnType::Number | ColumnType::Boolean => "NUMERIC",
        ColumnType::String | ColumnType::Json | ColumnType::Null => "TEXT",
    };
    format!("{} {affinity}", quote(&column.name))
}

pub(super) fn create_table(table: &ReplicaTable) -> String {
    let mut parts: Vec<String> = table.columns.iter().map(column_definition).collect();
    parts.push(format!("{} INTEGER NOT NULL", quote(ROW_VERSION)));
    format!(
        "CREATE TABLE {} ({})",
        quote(&table.sql_name),
        parts.join(",")
    )
}

#[cfg(test)]
mod tests;
