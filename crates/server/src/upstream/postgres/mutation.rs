//! Mutations of ours in a Postgres transaction: the mutation runs on a thread that may wait, the transaction's task
//! does what it asks for.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use landfall_ivm::Source;
use tokio::sync::mpsc;
use tokio_postgres::Transaction;

use super::operation::{Abort, Operation, WritableTables};
use super::rows::{Lookup, TransactionRows, look_up};
use crate::upstream::{
    AllowAll, CrudOp, Judge, Mutation, MutationTransaction, TransactionError, UpstreamError,
};

/// A write, and whom to tell what became of it.
struct AskedWrite {
    op: CrudOp,
    answer: Sender<Result<(), String>>,
}

/// The thread's side.
struct PostgresTransaction {
    rows: TransactionRows,
    writes: mpsc::UnboundedSender<AskedWrite>,
}

impl MutationTransaction for PostgresTransaction {
    fn write(&mut self, op: &CrudOp) -> Result<(), TransactionError> {
        let (answer, answered) = channel();
        let op = op.clone();
        let ended = || TransactionError("the transaction has ended".to_owned());
        self.writes
            .send(AskedWrite { op, answer })
            .map_err(|_| ended())?;
        let written = answered.recv().map_err(|_| ended())?;
        written.map_err(TransactionError)
    }

    fn rows(&self) -> &dyn Source {
        &self.rows
    }
}

/// Runs a mutation in a transaction, which is left to the caller to commit.
pub async fn run(
    transaction: &Transaction<'_>,
    tables: &Arc<WritableTables>,
    mutation: &Arc<dyn Mutation>,
) -> Result<(), Abort> {
    let (rows, mut lookups) = TransactionRows::new(tables.clone());
    let (writes, mut asked) = mpsc::unbounded_channel();
    let judge: Arc<dyn Judge> = Arc::new(AllowAll);
    let mutation = mutation.clone();
    let thread = tokio::task::spawn_blocking(move || {
        mutation.run(&mut PostgresTransaction { rows, writes })
    });
    // The first failure counts: after it Postgres takes nothing more in this transaction.
    let mut failure: Option<Abort> = None;
    loop {
        tokio::select! {
            Some(lookup) = lookups.recv() => {
                let found = match &failure {
                    Some(failure) => Err(failure.text()),
                    None => found(transaction, tables, &lookup).await.map_err(|error| {
                        let text = error.text();
                        failure = Some(error);
                        text
                    }),
                };
                // Whoever asked may have been satisfied by less.
                let _ = lookup.answer.send(found);
            }
            Some(AskedWrite { op, answer }) = asked.recv() => {
                let written = match &failure {
                    Some(failure) => Err(failure.text()),
                    None => write(transaction, tables, &op, &judge).await.map_err(|error| {
                        let text = error.text();
                        failure = Some(error);
                        text
                    }),
                };
                // The mutation waits for this answer, unless it was torn down.
                let _ = answer.send(written);
            }
            else => break,
        }
    }
    let ran = thread
        .await
        .map_err(|error| Abort::Upstream(UpstreamError::Data(format!("a mutation: {error}"))))?;
    match failure {
        Some(failure) => Err(failure),
        None => ran.map_err(Abort::Refused),
    }
}

async fn found(
    transaction: &Transaction<'_>,
    tables: &WritableTables,
    lookup: &Lookup,
) -> Result<Vec<landfall_zql::Row>, Abort> {
    Ok(look_up(transaction, tables, lookup).await?)
}

async fn write(
    transaction: &Transaction<'_>,
    tables: &Arc<WritableTables>,
    op: &CrudOp,
    judge: &Arc<dyn Judge>,
) -> Result<(), Abort> {
    Operation::new(tables, op)?.run(transaction, judge).await
}
