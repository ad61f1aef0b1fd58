//! One write of a mutation: resolved against the tables, judged, and carried out by SQL.

use std::collections::BTreeMap;
use std::sync::Arc;

use landfall_zql::{Row, RowBuilder, TableId};
use rusqlite::types::Value as Cell;
use tokio_postgres::Transaction;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::catalog::PublishedTable;
use super::kind::Kind;
use super::rows::{self, TransactionRows};
use super::{plan, quote, values};
use crate::replica::{ReplicaError, ReplicaSchema, ReplicaTable, pack_cells};
use crate::upstream::error::postgres_text;
use crate::upstream::write_target::WriteTarget;
use crate::upstream::{CrudKind, CrudOp, Judge, Refusal, UpstreamError, Verdict, Write, denied};

/// The tables that mutations may name, as Postgres has them.
#[derive(Debug)]
pub struct WritableTables {
    /// The tables as queries see them.
    pub schema: Arc<ReplicaSchema>,
    /// By table id.
    pub tables: BTreeMap<TableId, WritableTable>,
}

/// A table that mutations may name.
#[derive(Debug)]
pub struct WritableTable {
    /// `"schema"."table"`.
    pub sql: String,
    /// By column of the replica's row: type for casts, and kind.
    pub columns: Vec<(String, Kind)>,
}

impl Default for WritableTables {
    fn default() -> Self {
        WritableTables {
            schema: Arc::new(ReplicaSchema::new(Vec::new())),
            tables: BTreeMap::new(),
        }
    }
}

impl WritableTables {
    /// The tables of a schema.
    pub fn new(published: &[PublishedTable], schema: Arc<ReplicaSchema>) -> Self {
        let by_name: BTreeMap<String, &PublishedTable> = published
            .iter()
            .map(|table| (table.server_name(), table))
            .collect();
        let tables = schema
            .present()
            .filter_map(|table| {
                let published = by_name.get(&table.name)?;
                let columns = table.columns.iter().filter_map(|column| {
                    let found = published.columns.iter().find(|c| c.name == column.name)?;
                    Some((found.type_sql.clone(), found.kind.clone()?))
                });
                let writable = WritableTable {
                    sql: published.sql(),
                    columns: columns.collect(),
                };
                Some((table.id, writable))
            })
            .collect();
        WritableTables { schema, tables }
    }
}

/// Why a transaction did not commit.
pub enum Abort {
    /// Another transaction was in the way.
    Retry,
    /// The judge refused.
    Denied(String),
    /// The mutation cannot be carried out.
    Failed(String),
    /// The mutation itself refuses.
    Refused(Refusal),
    /// Postgres cannot serve at the moment.
    Upstream(UpstreamError),
}

impl Abort {
    /// What is wrong, for whoever asked for it.
    pub fn text(&self) -> String {
        match self {
            Abort::Retry => "another transaction was in the way".to_owned(),
            Abort::Denied(reason) | Abort::Failed(reason) => reason.clone(),
            Abort::Refused(refusal) => refusal.reason.clone(),
            Abort::Upstream(error) => error.to_string(),
        }
    }
}

impl From<UpstreamError> for Abort {
    fn from(error: UpstreamError) -> Self {
        match error {
            UpstreamError::Postgres(error) => error.into(),
            other => Abort::Failed(other.to_string()),
        }
    }
}

impl From<tokio_postgres::Error> for Abort {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(state) = error.code() else {
            return Abort::Upstream(error.into());
        };
        if *state == SqlState::T_R_SERIALIZATION_FAILURE
            || *state == SqlState::T_R_DEADLOCK_DETECTED
        {
            return Abort::Retry;
        }
        // Data, integrity, names and rights, raised exceptions: the mutation's own fault. The rest passes.
        let own_fault = ["0A", "21", "22", "23", "2F", "42", "44", "P0"]
            .iter()
            .any(|class| state.code().starts_with(class));
        if own_fault {
            Abort::Failed(postgres_text(&error))
        } else {
            Abort::Upstream(error.into())
        }
    }
}

/// A write to be judged, with rows of its own.
enum Asked {
    Insert {
        new: Row,
    },
    Change {
        old: Row,
        changed: Vec<usize>,
    },
    Changed {
        old: Row,
        new: Row,
        changed: Vec<usize>,
    },
    ChangeNone {
        changed: Vec<usize>,
    },
    Delete {
        old: Row,
    },
    DeleteNone,
}

impl Asked {
    fn write(&self) -> Write<'_> {
        match self {
            Asked::Insert { new } => Write::Insert { new },
            Asked::Change { old, changed } => Write::Change { old, changed },
            Asked::Changed { old, new, changed } => Write::Changed { old, new, changed },
            Asked::ChangeNone { changed } => Write::ChangeNone { changed },
            Asked::Delete { old } => Write::Delete { old },
            Asked::DeleteNone => Write::DeleteNone,
        }
    }
}

/// All columns of a table in text format, in the order of the replica's rows.
pub fn texts(table: &ReplicaTable) -> String {
    let columns = table.columns.iter();
    let texts: Vec<String> = columns
        .map(|column| format!("{}::text", quote(&column.name)))
        .collect();
    texts.join(",")
}

/// Packs a row of [`texts`]; the inner error stands for a value that no client can hold.
pub fn pack(
    table: &ReplicaTable,
    writable: &WritableTable,
    row: &tokio_postgres::Row,
) -> Result<Result<Row, ReplicaError>, tokio_postgres::Error> {
    let mut cells = Vec::with_capacity(writable.columns.len());
    for (at, (_, kind)) in writable.columns.iter().enumerate() {
        cells.push(match row.try_get::<_, Option<&str>>(at)? {
            None => Cell::Null,
            Some(text) => values::decode(kind, text).unwrap_or_else(|_| plan::misfit(text)),
        });
    }
    Ok(pack_cells(table, &cells, &mut RowBuilder::default()))
}

/// One write of a mutation, resolved against the tables.
pub struct Operation<'a> {
    tables: &'a Arc<WritableTables>,
    schema: &'a ReplicaSchema,
    table: &'a ReplicaTable,
    writable: &'a WritableTable,
    kind: CrudKind,
    /// Columns of the key.
    key: Vec<usize>,
    /// The columns that an update sets.
    changed: Vec<usize>,
    /// The given columns in text format.
    values: BTreeMap<usize, Option<String>>,
}

impl<'a> Operation<'a> {
    /// A write, if the table can take it.
    pub fn new(tables: &'a Arc<WritableTables>, op: &'a CrudOp) -> Result<Self, Abort> {
        let schema = tables.schema.as_ref();
        let target = WriteTarget::find(schema, op).map_err(Abort::Failed)?;
        let table = target.table;
        let writable = tables
            .tables
            .get(&table.id)
            .ok_or_else(|| Abort::Failed(format!("there is no table {:?}", op.table)))?;
        let convert =
            |column: usize, json: &str| values::encode_text(&writable.columns[column].1, json);
        Ok(Operation {
            tables,
            schema,
            table,
            writable,
            kind: op.kind,
            values: target.values(convert).map_err(Abort::Failed)?,
            changed: target.changed(),
            key: target.key,
        })
    }

    /// Carries it out, if the judge allows it.
    pub async fn run(
        &self,
        transaction: &Transaction<'_>,
        judge: &Arc<dyn Judge>,
    ) -> Result<(), Abort> {
        let before = self.read(transaction).await?;
        match (self.kind, before) {
            // Nothing happens, and whether it could have is asked all the same: what is refused must not depend on
            // whether a row is there that the user may not know of.
            (CrudKind::Insert, Some(_)) => {
                let new = self.proposed()?;
                self.ask(transaction, judge, Asked::Insert { new }).await
            }
            (CrudKind::Update, None) => {
                let changed = self.changed.clone();
                self.ask(transaction, judge, Asked::ChangeNone { changed })
                    .await
            }
            (CrudKind::Delete, None) => self.ask(transaction, judge, Asked::DeleteNone).await,
            (CrudKind::Insert | CrudKind::Upsert, None) => {
                let inserted = self.insert(transaction).await;
                let inserted = inserted.map_err(|abort| self.unexplained(abort, judge))?;
                let Some(new) = inserted else {
                    // Someone else's row appeared in between; the next attempt sees it.
                    return Err(Abort::Retry);
                };
                self.ask(transaction, judge, Asked::Insert { new }).await
            }
            (CrudKind::Update | CrudKind::Upsert, Some(old)) => {
                let changed = self.changed.clone();
                let change = Asked::Change {
                    old: old.clone(),
                    changed: changed.clone(),
                };
                self.ask(transaction, judge, change).await?;
                let new = match changed.is_empty() {
                    true => old.clone(),
                    false => self.update(transaction, &changed).await?,
                };
                self.ask(transaction, judge, Asked::Changed { old, new, changed })
                    .await
            }
            (CrudKind::Delete, Some(old)) => {
                self.ask(transaction, judge, Asked::Delete { old }).await?;
                let mut parameters = Parameters::default();
                let condition = self.key_condition(&mut parameters);
                let sql = format!("DELETE FROM {} WHERE {condition}", self.writable.sql);
                let statement = transaction.prepare(&sql).await?;
                transaction.execute(&statement, &parameters.refs()).await?;
                Ok(())
            }
        }
    }

    /// The row that an insert asks for, as far as it says.
    fn proposed(&self) -> Result<Row, Abort> {
        let columns = self.writable.columns.iter().enumerate();
        let cells: Vec<Cell> = columns
            .map(|(column, (_, kind))| match self.values.get(&column) {
                Some(Some(text)) => {
                    values::decode(kind, text).unwrap_or_else(|_| plan::misfit(text))
                }
                Some(None) | None => Cell::Null,
            })
            .collect();
        pack_cells(self.table, &cells, &mut RowBuilder::default())
            .map_err(|error| Abort::Failed(error.to_string()))
    }

    /// Why an insert failed, unless the user may not insert the row anyway: then which other rows are in the way is
    /// nothing for them. A rule that asks for rows cannot be asked any more in a transaction that has failed.
    fn unexplained(&self, abort: Abort, judge: &Arc<dyn Judge>) -> Abort {
        let (Abort::Failed(_), Ok(new)) = (&abort, self.proposed()) else {
            return abort;
        };
        let write = Write::Insert { new: &new };
        match judge.judge(self.schema, self.table.id, write, None) {
            Verdict::Denied => Abort::Denied(denied(&self.table.name, self.kind)),
            Verdict::Allowed | Verdict::NeedsRows => abort,
        }
    }

    async fn ask(
        &self,
        transaction: &Transaction<'_>,
        judge: &Arc<dyn Judge>,
        asked: Asked,
    ) -> Result<(), Abort> {
        let mut verdict = judge.judge(self.schema, self.table.id, asked.write(), None);
        if verdict == Verdict::NeedsRows {
            let (judge, table) = (judge.clone(), self.table.id);
            let question = move |rows: &TransactionRows| {
                judge.judge(&rows.tables.schema, table, asked.write(), Some(rows))
            };
            verdict = rows::ask(transaction, self.tables, question).await?;
        }
        match verdict {
            Verdict::Allowed => Ok(()),
            Verdict::Denied | Verdict::NeedsRows => {
                Err(Abort::Denied(denied(&self.table.name, self.kind)))
            }
        }
    }

    async fn read(&self, transaction: &Transaction<'_>) -> Result<Option<Row>, Abort> {
        let mut parameters = Parameters::default();
        let condition = self.key_condition(&mut parameters);
        let sql = format!(
            "SELECT {} FROM {} WHERE {condition} FOR UPDATE",
            self.texts(),
            self.writable.sql
        );
        self.fetch(transaction, &sql, &parameters).await
    }

    async fn insert(&self, transaction: &Transaction<'_>) -> Result<Option<Row>, Abort> {
        let mut parameters = Parameters::default();
        let names: Vec<String> = self
            .values
            .keys()
            .map(|&column| self.name(column))
            .collect();
        let places: Vec<String> = self
            .values
            .iter()
            .map(|(&column, text)| parameters.add(self.writable, column, text))
            .collect();
        let key: Vec<String> = self.key.iter().map(|&column| self.name(column)).collect();
        // A collision on another unique key is the mutation's failure, not a silent nothing.
        let sql = format!(
            "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO NOTHING RETURNING {}",
            self.writable.sql,
            names.join(","),
            places.join(","),
            key.join(","),
            self.texts()
        );
        self.fetch(transaction, &sql, &parameters).await
    }

    async fn update(&self, transaction: &Transaction<'_>, changed: &[usize]) -> Result<Row, Abort> {
        let mut parameters = Parameters::default();
        let assignments: Vec<String> = changed
            .iter()
            .map(|&column| {
                format!(
                    "{} = {}",
                    self.name(column),
                    parameters.add(self.writable, column, &self.values[&column])
                )
            })
            .collect();
        let condition = self.key_condition(&mut parameters);
        let sql = format!(
            "UPDATE {} SET {} WHERE {condition} RETURNING {}",
            self.writable.sql,
            assignments.join(","),
            self.texts()
        );
        // The row is locked; only a trigger can have kept it from being updated.
        self.fetch(transaction, &sql, &parameters)
            .await?
            .ok_or_else(|| {
                Abort::Failed(format!("the update of {} was suppressed", self.table.name))
            })
    }

    async fn fetch(
        &self,
        transaction: &Transaction<'_>,
        sql: &str,
        parameters: &Parameters,
    ) -> Result<Option<Row>, Abort> {
        let statement = transaction.prepare(sql).await?;
        let Some(row) = transaction
            .query_opt(&statement, &parameters.refs())
            .await?
        else {
            return Ok(None);
        };
        pack(self.table, self.writable, &row)?
            .map(Some)
            .map_err(|error| Abort::Failed(error.to_string()))
    }

    fn name(&self, column: usize) -> String {
        quote(&self.table.columns[column].name)
    }

    /// All columns in text format, in the order of the replica's rows.
    fn texts(&self) -> String {
        texts(self.table)
    }

    fn key_condition(&self, parameters: &mut Parameters) -> String {
        let terms: Vec<String> = self
            .key
            .iter()
            .map(|&column| {
                let place = parameters.add(self.writable, column, &self.values[&column]);
                format!("{} = {place}", self.name(column))
            })
            .collect();
        terms.join(" AND ")
    }
}

/// Values in text format, cast to their columns' types by SQL.
#[derive(Default)]
struct Parameters {
    texts: Vec<Option<String>>,
}

impl Parameters {
    fn add(&mut self, table: &WritableTable, column: usize, text: &Option<String>) -> String {
        self.texts.push(text.clone());
        format!("${}::text::{}", self.texts.len(), table.columns[column].0)
    }

    fn refs(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.texts
            .iter()
            .map(|text| text as &(dyn ToSql + Sync))
            .collect()
    }
}
