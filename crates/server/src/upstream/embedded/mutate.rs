//! Mutations on the embedded file: the id check, the writes and the last mutation id under one savepoint.

use std::collections::BTreeMap;

use landfall_ivm::Source;
use landfall_zql::row_json::without_white_space;
use landfall_zql::{ColumnType, Row, RowBuilder};
use rusqlite::types::Value as Cell;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params, params_from_iter};
use serde_json::Value as Json;

use super::exec::sqlite_text;
use crate::replica::{ReplicaSchema, ReplicaTable, TransactionRows, pack_cells, quote, read_row};
use crate::upstream::write_target::WriteTarget;
use crate::upstream::{
    AllowAll, Cleanup, CrudKind, CrudOp, CrudOutcome, CrudRequest, Judge, Mutation, MutationId,
    MutationTransaction, Refusal, TransactionError, Verdict, Write, app_error, denied,
};

/// Why a mutation did not go through.
enum Abort {
    Denied(String),
    Failed(String),
    Refused(Refusal),
    /// The file cannot be written at the moment; nothing is decided.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Abort {
    fn from(error: rusqlite::Error) -> Self {
        if is_own_fault(&error) {
            Abort::Failed(sqlite_text(&error))
        } else {
            Abort::Sqlite(error)
        }
    }
}

impl Abort {
    fn text(&self) -> String {
        match self {
            Abort::Denied(reason) | Abort::Failed(reason) => reason.clone(),
            Abort::Refused(refusal) => refusal.reason.clone(),
            Abort::Sqlite(error) => sqlite_text(error),
        }
    }
}

/// Whether an error is the mutation's own fault, and not the file's or the disk's.
pub fn is_own_fault(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqlInputError { .. } => true,
        other => matches!(
            other.sqlite_error_code(),
            Some(
                ErrorCode::ConstraintViolation
                    | ErrorCode::TypeMismatch
                    | ErrorCode::TooBig
                    | ErrorCode::Unknown
            )
        ),
    }
}

/// Runs a mutation inside the open transaction. An error leaves the transaction to the caller to give up.
pub fn crud(
    conn: &Connection,
    schema: &ReplicaSchema,
    request: &CrudRequest,
    judge: &dyn Judge,
) -> Result<CrudOutcome, rusqlite::Error> {
    once(conn, &request.mutation, || {
        let mut ops = request.ops.iter();
        ops.try_for_each(|op| Operation::new(schema, op)?.run(conn, judge))
    })
}

/// Runs a mutation of ours, likewise.
pub fn custom(
    conn: &Connection,
    schema: &ReplicaSchema,
    id: &MutationId,
    mutation: &dyn Mutation,
) -> Result<CrudOutcome, rusqlite::Error> {
    once(conn, id, || {
        let mut transaction = EmbeddedTransaction {
            conn,
            rows: TransactionRows { conn, schema },
            failure: None,
        };
        let ran = mutation.run(&mut transaction);
        // What the file said comes before what the mutation made of it.
        match (transaction.failure, ran) {
            (Some(failure), _) => Err(failure),
            (None, ran) => ran.map_err(Abort::Refused),
        }
    })
}

/// The transaction of a mutation of ours.
struct EmbeddedTransaction<'a> {
    conn: &'a Connection,
    rows: TransactionRows<'a>,
    /// The first write that failed.
    failure: Option<Abort>,
}

impl MutationTransaction for EmbeddedTransaction<'_> {
    fn write(&mut self, op: &CrudOp) -> Result<(), TransactionError> {
        if let Some(failure) = &self.failure {
            return Err(TransactionError(failure.text()));
        }
        let written = Operation::new(self.rows.schema, op)
            .and_then(|operation| operation.run(self.conn, &AllowAll));
        written.map_err(|failure| {
            let error = TransactionError(failure.text());
            self.failure = Some(failure);
            error
        })
    }

    fn rows(&self) -> &dyn Source {
        &self.rows
    }
}

/// Runs writes under the next id of a client. What was written is undone when they fail, and the failure noted.
fn once(
    conn: &Connection,
    id: &MutationId,
    writes: impl FnOnce() -> Result<(), Abort>,
) -> Result<CrudOutcome, rusqlite::Error> {
    conn.execute_batch("SAVEPOINT mutation")?;
    let ran = match take_id(conn, id)? {
        Some(outcome) => Ok(outcome),
        None => writes().map(|()| CrudOutcome::Applied),
    };
    let (result, outcome) = match ran {
        Ok(outcome) => {
            conn.execute_batch("RELEASE mutation")?;
            return Ok(outcome);
        }
        Err(Abort::Sqlite(error)) => return Err(error),
        Err(abort) if conn.is_autocommit() => {
            // A trigger's RAISE(ROLLBACK) ended the whole transaction, with the mutations before this one.
            return Err(ended(&abort.text()));
        }
        Err(Abort::Denied(reason)) => (app_error(&reason), CrudOutcome::Denied { reason }),
        Err(Abort::Failed(reason)) => (app_error(&reason), CrudOutcome::Failed { reason }),
        Err(Abort::Refused(Refusal { reason, result })) => (result, CrudOutcome::Failed { reason }),
    };
    undo(conn)?;
    Ok(record(conn, id, &result)?.unwrap_or(outcome))
}

fn ended(reason: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CONSTRAINT),
        Some(reason.to_owned()),
    )
}

fn undo(conn: &Connection) -> Result<(), rusqlite::Error> {
    conn.execute_batch("ROLLBACK TO mutation; RELEASE mutation")
}

/// Takes the next id of the client. An outcome means that it is not this mutation's turn; then nothing is written.
fn take_id(
    conn: &Connection,
    mutation: &MutationId,
) -> Result<Option<CrudOutcome>, rusqlite::Error> {
    let lmid: i64 = conn
        .prepare_cached(
            "SELECT lmid FROM _landfall_clients WHERE client_group = ?1 AND client = ?2",
        )?
        .query_row([&mutation.group, &mutation.client], |row| row.get(0))
        .optional()?
        .unwrap_or(0);
    let lmid = lmid.max(0) as u64;
    if mutation.id <= lmid {
        return Ok(Some(CrudOutcome::AlreadyProcessed { lmid }));
    }
    if mutation.id > lmid + 1 {
        return Ok(Some(CrudOutcome::OutOfOrder { expected: lmid + 1 }));
    }
    conn.prepare_cached(
        "INSERT INTO _landfall_clients VALUES (?1, ?2, ?3, 0) ON CONFLICT DO UPDATE SET lmid = excluded.lmid",
    )?
    .execute(params![mutation.group, mutation.client, signed(mutation.id)])?;
    Ok(None)
}

/// Notes a mutation that failed: its id and its result.
pub fn record(
    conn: &Connection,
    mutation: &MutationId,
    result: &str,
) -> Result<Option<CrudOutcome>, rusqlite::Error> {
    if let Some(outcome) = take_id(conn, mutation)? {
        return Ok(Some(outcome));
    }
    conn.prepare_cached(
        "INSERT INTO _landfall_results VALUES (?1, ?2, ?3, ?4, 0) ON CONFLICT DO UPDATE SET result = excluded.result",
    )?
    .execute(params![mutation.group, mutation.client, signed(mutation.id), result])?;
    Ok(None)
}

/// Marks results as deleted; the marks tell clients that were away.
pub fn cleanup(conn: &Connection, cleanup: &Cleanup) -> Result<(), rusqlite::Error> {
    match cleanup {
        Cleanup::Single {
            group,
            client,
            up_to,
        } => {
            conn.prepare_cached(
                "UPDATE _landfall_results SET result = NULL WHERE client_group = ?1 AND client = ?2 AND id <= ?3 AND result IS NOT NULL",
            )?
            .execute(params![group, client, signed(*up_to)])?;
        }
        Cleanup::Bulk { group, clients } => {
            for client in clients {
                conn.prepare_cached(
                    "UPDATE _landfall_results SET result = NULL WHERE client_group = ?1 AND client = ?2 AND result IS NOT NULL",
                )?
                .execute([group, client])?;
            }
        }
    }
    Ok(())
}

fn signed(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

/// One write of a mutation, resolved against the tables.
struct Operation<'a> {
    schema: &'a ReplicaSchema,
    table: &'a ReplicaTable,
    kind: CrudKind,
    key: Vec<usize>,
    /// The columns that an update sets.
    changed: Vec<usize>,
    values: BTreeMap<usize, Cell>,
}

impl<'a> Operation<'a> {
    fn new(schema: &'a ReplicaSchema, op: &'a CrudOp) -> Result<Self, Abort> {
        let target = WriteTarget::find(schema, op).map_err(Abort::Failed)?;
        let table = target.table;
        let convert = |column: usize, json: &str| {
            let ty = table.columns[column].ty;
            let value = landfall_zql::json::from_str(json).ok();
            let cell = value.and_then(|value| cell(ty, &value));
            cell.ok_or_else(|| format!("expected a {}", ty.name()))
        };
        Ok(Operation {
            schema,
            table,
            kind: op.kind,
            values: target.values(convert).map_err(Abort::Failed)?,
            changed: target.changed(),
            key: target.key,
        })
    }

    fn run(&self, conn: &Connection, judge: &dyn Judge) -> Result<(), Abort> {
        match (self.kind, self.read(conn)?) {
            // Nothing happens, and whether it could have is asked all the same: what is refused must not depend on
            // whether a row is there that the user may not know of.
            (CrudKind::Insert, Some(_)) => {
                let new = self.proposed()?;
                self.ask(conn, judge, Write::Insert { new: &new })
            }
            (CrudKind::Update, None) => {
                let changed = &self.changed;
                self.ask(conn, judge, Write::ChangeNone { changed })
            }
            (CrudKind::Delete, None) => self.ask(conn, judge, Write::DeleteNone),
            (CrudKind::Insert | CrudKind::Upsert, None) => {
                self.insert(conn, judge)?;
                let new = self.read_back(conn)?;
                self.ask(conn, judge, Write::Insert { new: &new })
            }
            (CrudKind::Update | CrudKind::Upsert, Some(old)) => self.update(conn, judge, &old),
            (CrudKind::Delete, Some(old)) => {
                self.ask(conn, judge, Write::Delete { old: &old })?;
                let sql = format!(
                    "DELETE FROM {} WHERE {}",
                    quote(&self.table.sql_name),
                    self.condition(1)
                );
                conn.prepare_cached(&sql)?
                    .execute(params_from_iter(self.key_cells()))?;
                Ok(())
            }
        }
    }

    fn insert(&self, conn: &Connection, judge: &dyn Judge) -> Result<(), Abort> {
        let columns: Vec<usize> = self.values.keys().copied().collect();
        let places: Vec<String> = (1..=columns.len()).map(|at| format!("?{at}")).collect();
        let names: Vec<String> = columns.iter().map(|&column| self.name(column)).collect();
        let sql = format!(
            "INSERT INTO {} ({}) VALUES ({})",
            quote(&self.table.sql_name),
            names.join(","),
            places.join(",")
        );
        let inserted = conn
            .prepare_cached(&sql)
            .and_then(|mut insert| insert.execute(params_from_iter(self.values.values())));
        let Err(error) = inserted else { return Ok(()) };
        let abort = Abort::from(error);
        // Which other rows are in the way is nothing for whoever may not insert this one.
        if let (Abort::Failed(_), Ok(new)) = (&abort, self.proposed()) {
            self.ask(conn, judge, Write::Insert { new: &new })?;
        }
        Err(abort)
    }

    /// The row that an insert asks for, as far as it says.
    fn proposed(&self) -> Result<Row, Abort> {
        let columns = 0..self.table.columns.len();
        let cells: Vec<Cell> = columns
            .map(|column| self.values.get(&column).cloned().unwrap_or(Cell::Null))
            .collect();
        pack_cells(self.table, &cells, &mut RowBuilder::default())
            .map_err(|error| Abort::Failed(error.to_string()))
    }

    fn update(&self, conn: &Connection, judge: &dyn Judge, old: &Row) -> Result<(), Abort> {
        let changed = &self.changed;
        self.ask(conn, judge, Write::Change { old, changed })?;
        if !changed.is_empty() {
            self.set(conn, changed)?;
        }
        let new = &self.read_back(conn)?;
        self.ask(conn, judge, Write::Changed { old, new, changed })
    }

    fn set(&self, conn: &Connection, changed: &[usize]) -> Result<(), Abort> {
        let assignments: Vec<String> = changed
            .iter()
            .enumerate()
            .map(|(at, &column)| format!("{} = ?{}", self.name(column), at + 1))
            .collect();
        let sql = format!(
            "UPDATE {} SET {} WHERE {}",
            quote(&self.table.sql_name),
            assignments.join(","),
            self.condition(changed.len() + 1)
        );
        let parameters = changed
            .iter()
            .map(|column| &self.values[column])
            .chain(self.key_cells());
        conn.prepare_cached(&sql)?
            .execute(params_from_iter(parameters))?;
        Ok(())
    }

    fn ask(&self, conn: &Connection, judge: &dyn Judge, write: Write<'_>) -> Result<(), Abort> {
        let rows = TransactionRows {
            conn,
            schema: self.schema,
        };
        match judge.judge(self.schema, self.table.id, write, Some(&rows)) {
            Verdict::Allowed => Ok(()),
            Verdict::Denied | Verdict::NeedsRows => {
                Err(Abort::Denied(denied(&self.table.name, self.kind)))
            }
        }
    }

    fn read(&self, conn: &Connection) -> Result<Option<Row>, Abort> {
        let names: Vec<String> = (0..self.table.columns.len())
            .map(|column| self.name(column))
            .collect();
        let sql = format!(
            "SELECT {} FROM {} WHERE {}",
            names.join(","),
            quote(&self.table.sql_name),
            self.condition(1)
        );
        let mut statement = conn.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(self.key_cells()))?;
        match rows.next()? {
            None => Ok(None),
            Some(row) => read_row(self.table, row, 0, &mut RowBuilder::default())
                .map(Some)
                .map_err(|error| Abort::Failed(error.to_string())),
        }
    }

    fn read_back(&self, conn: &Connection) -> Result<Row, Abort> {
        self.read(conn)?.ok_or_else(|| {
            Abort::Failed(format!(
                "the write to {} was undone by a trigger",
                self.table.name
            ))
        })
    }

    fn name(&self, column: usize) -> String {
        quote(&self.table.columns[column].name)
    }

    fn key_cells(&self) -> impl Iterator<Item = &Cell> {
        self.key.iter().map(|column| &self.values[column])
    }

    fn condition(&self, first: usize) -> String {
        let terms: Vec<String> = self
            .key
            .iter()
            .enumerate()
            .map(|(at, &column)| format!("{} = ?{}", self.name(column), first + at))
            .collect();
        terms.join(" AND ")
    }
}

/// A JSON value for a column; `None` if the column cannot take it.
fn cell(ty: ColumnType, value: &Json) -> Option<Cell> {
    Some(match (ty, value) {
        (_, Json::Null) => Cell::Null,
        (ColumnType::Json, value) => Cell::Text(without_white_space(&value.to_string())),
        (ColumnType::Boolean, Json::Bool(value)) => Cell::Integer(i64::from(*value)),
        (ColumnType::String, Json::String(text)) => Cell::Text(text.clone()),
        (ColumnType::Number, Json::Number(number)) => {
            let number = number.as_f64()?;
            // Integers that a double holds exactly stay integers: STRICT tables insist on it.
            if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_991.0 {
                Cell::Integer(number as i64)
            } else {
                Cell::Real(number)
            }
        }
        _ => return None,
    })
}
