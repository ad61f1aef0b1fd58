//! The rows that a transaction sees, as a source for rules: whoever asks waits, the transaction's task answers.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use landfall_ivm::{FetchRequest, Sink, Source, SourceError};
use landfall_zql::{Key, Row, Schema, TableId, ValueRef};
use tokio::sync::mpsc;
use tokio_postgres::Transaction;
use tokio_postgres::types::ToSql;

use super::operation::{WritableTables, pack, texts};
use super::{quote, values};
use crate::replica::carried;
use crate::upstream::UpstreamError;

/// Rows that one question may read.
const MAX_ROWS: usize = 10_000;

/// What is asked for: rows of a table whose columns have these values, in text format.
pub struct Lookup {
    table: TableId,
    equal: Vec<(usize, String)>,
    /// Whom to tell.
    pub answer: Sender<Result<Vec<Row>, String>>,
}

/// The rows of a transaction, for a thread that may wait.
pub struct TransactionRows {
    /// The tables.
    pub tables: Arc<WritableTables>,
    lookups: mpsc::UnboundedSender<Lookup>,
}

/// Asks a question that may look rows up, on a thread that may wait.
pub async fn ask<T: Send + 'static>(
    transaction: &Transaction<'_>,
    tables: &Arc<WritableTables>,
    question: impl FnOnce(&TransactionRows) -> T + Send + 'static,
) -> Result<T, UpstreamError> {
    let (rows, mut asked) = TransactionRows::new(tables.clone());
    let answer = tokio::task::spawn_blocking(move || question(&rows));
    let mut failure = None;
    while let Some(lookup) = asked.recv().await {
        match look_up(transaction, tables, &lookup).await {
            // Whoever asked may have been satisfied by less.
            Ok(rows) => drop(lookup.answer.send(Ok(rows))),
            Err(error) => {
                drop(lookup.answer.send(Err(error.to_string())));
                failure.get_or_insert(error);
            }
        }
    }
    let answer = answer
        .await
        .map_err(|error| UpstreamError::Data(format!("a write rule: {error}")))?;
    failure.map_or(Ok(answer), Err)
}

/// Reads what is asked for; the answer is left to the caller.
pub async fn look_up(
    transaction: &Transaction<'_>,
    tables: &WritableTables,
    lookup: &Lookup,
) -> Result<Vec<Row>, UpstreamError> {
    let gone = || UpstreamError::Data("a table is gone".to_owned());
    let table = tables.schema.table(lookup.table).ok_or_else(gone)?;
    let writable = tables.tables.get(&lookup.table).ok_or_else(gone)?;
    let mut terms = vec!["true".to_owned()];
    for (place, (column, _)) in lookup.equal.iter().enumerate() {
        let name = quote(&table.columns[*column].name);
        let ty = &writable.columns[*column].0;
        terms.push(format!("{name} = ${}::text::{ty}", place + 1));
    }
    let sql = format!(
        "SELECT {} FROM {} WHERE {} LIMIT {}",
        texts(table),
        writable.sql,
        terms.join(" AND "),
        MAX_ROWS + 1
    );
    let values: Vec<&(dyn ToSql + Sync)> = lookup
        .equal
        .iter()
        .map(|(_, text)| text as &(dyn ToSql + Sync))
        .collect();
    let statement = transaction.prepare(&sql).await?;
    let found = transaction.query(&statement, &values).await?;
    if found.len() > MAX_ROWS {
        return Err(UpstreamError::Data(format!(
            "more than {MAX_ROWS} rows of {} would be read at once",
            table.name
        )));
    }
    let mut rows = Vec::with_capacity(found.len());
    for row in found {
        rows.extend(carried(pack(table, writable, &row)?)?);
    }
    Ok(rows)
}

impl TransactionRows {
    /// Rows for a thread, and what it asks for.
    pub fn new(tables: Arc<WritableTables>) -> (Self, mpsc::UnboundedReceiver<Lookup>) {
        let (lookups, asked) = mpsc::unbounded_channel();
        (TransactionRows { tables, lookups }, asked)
    }

    fn find(
        &self,
        table: TableId,
        constraint: &[(usize, ValueRef<'_>)],
    ) -> Result<Vec<Row>, SourceError> {
        let failed = |message: String| SourceError {
            message,
            source: None,
        };
        let writable = self.tables.tables.get(&table);
        let writable = writable.ok_or_else(|| failed("a table is gone".to_owned()))?;
        let mut equal = Vec::new();
        for &(column, value) in constraint {
            let mut json = String::new();
            landfall_zql::write_json(value, &mut json);
            let text = values::encode_text(&writable.columns[column].1, &json)
                .map_err(|error| failed(error.to_string()))?;
            let Some(text) = text else {
                return Ok(Vec::new());
            };
            equal.push((column, text));
        }
        let (answer, answered) = channel();
        let lookup = Lookup {
            table,
            equal,
            answer,
        };
        let ended = || failed("the transaction has ended".to_owned());
        self.lookups.send(lookup).map_err(|_| ended())?;
        answered.recv().map_err(|_| ended())?.map_err(failed)
    }
}

impl Source for TransactionRows {
    fn schema(&self) -> &Schema {
        &self.tables.schema.zql
    }

    fn fetch(&self, request: &FetchRequest<'_>, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        if request.is_empty() {
            return Ok(());
        }
        let mut rows = self.find(request.table, request.constraint)?;
        rows.retain(|row| request.admits(row));
        rows.sort_by(|a, b| request.compare(a, b));
        for row in &rows {
            if sink(row).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn get(&self, table: TableId, key: &Key) -> Result<Option<Row>, SourceError> {
        let columns = &self.schema()[table].primary_key;
        let constraint: Vec<_> = columns.iter().copied().zip(key.0.iter()).collect();
        Ok(self.find(table, &constraint)?.into_iter().next())
    }
}
