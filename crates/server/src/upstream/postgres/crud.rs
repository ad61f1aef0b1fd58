//! Mutations by SQL: the id check, the writes and the last mutation id in one transaction.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use futures::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio_postgres::{IsolationLevel, NoTls, Transaction};

use super::mutation;
use super::operation::{Abort, Operation, WritableTables};
use super::quote;
use super::session::Address;
use super::setup::Names;
use crate::upstream::error::postgres_text;
use crate::upstream::{
    Cleanup, CrudOp, CrudOutcome, CrudRequest, Judge, Mutation, MutationId, Refusal, Status,
    Upstream, UpstreamError, app_error,
};

/// How often a transaction that lost against another one is tried.
const ATTEMPTS: u32 = 10;
/// Connections for mutations.
const POOL_SIZE: usize = 8;

/// The side of a Postgres upstream that writes.
pub struct PostgresUpstream {
    pool: Pool,
    host: String,
    shard: String,
    tables: Arc<RwLock<Arc<WritableTables>>>,
    status: Arc<Mutex<Status>>,
    stop: watch::Sender<bool>,
    done: watch::Receiver<bool>,
    /// Transactions that lost against others are tried again one after another, so that they do not lose among
    /// themselves.
    losers: tokio::sync::Mutex<()>,
}

/// What a mutation does.
enum Work {
    /// Writes that were sent.
    Crud(Vec<CrudOp>, Arc<dyn Judge>),
    /// A mutation of ours.
    Custom(Arc<dyn Mutation>),
}

impl PostgresUpstream {
    /// Connects when the first mutation comes.
    pub fn new(
        address: &Address,
        names: &Names,
        tables: Arc<RwLock<Arc<WritableTables>>>,
        status: Arc<Mutex<Status>>,
        stop: watch::Sender<bool>,
        done: watch::Receiver<bool>,
    ) -> Result<Self, UpstreamError> {
        let config = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = match address.tls()? {
            Some(tls) => Manager::from_config(address.config().clone(), tls, config),
            None => Manager::from_config(address.config().clone(), NoTls, config),
        };
        let pool = Pool::builder(manager)
            .max_size(POOL_SIZE)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| {
                UpstreamError::Setup(format!("cannot make a connection pool: {error}"))
            })?;
        Ok(PostgresUpstream {
            pool,
            host: address.host(),
            shard: quote(&names.shard),
            tables,
            status,
            stop,
            done,
            losers: tokio::sync::Mutex::new(()),
        })
    }

    async fn connection(&self) -> Result<Object, UpstreamError> {
        self.pool
            .get()
            .await
            .map_err(|error| UpstreamError::Unreachable {
                host: self.host.clone(),
                reason: match error {
                    deadpool_postgres::PoolError::Backend(error) => postgres_text(&error),
                    other => other.to_string(),
                },
            })
    }

    async fn run(&self, id: &MutationId, work: &Work) -> Result<CrudOutcome, UpstreamError> {
        let mut attempt = 1;
        let mut turn = None;
        let (result, outcome) = loop {
            let reason = match self.attempt(id, work).await {
                Ok(outcome) => return Ok(outcome),
                Err(Abort::Upstream(error)) => return Err(error),
                Err(Abort::Retry) if attempt < ATTEMPTS => {
                    if turn.is_none() {
                        turn = Some(self.losers.lock().await);
                    }
                    let pause = rand::random_range(0..1 << attempt);
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                    attempt += 1;
                    continue;
                }
                Err(Abort::Retry) => "the write lost against others ten times".to_owned(),
                Err(Abort::Failed(reason)) => reason,
                Err(Abort::Refused(Refusal { reason, result })) => {
                    break (result, CrudOutcome::Failed { reason });
                }
                Err(Abort::Denied(reason)) => {
                    break (app_error(&reason), CrudOutcome::Denied { reason });
                }
            };
            break (app_error(&reason), CrudOutcome::Failed { reason });
        };
        drop(turn);
        Ok(recorded(self.record(id, &result).await?, outcome))
    }

    async fn attempt(&self, id: &MutationId, work: &Work) -> Result<CrudOutcome, Abort> {
        let tables = self.tables.read().clone();
        let mut connection = self.connection().await.map_err(Abort::Upstream)?;
        let transaction = connection.build_transaction();
        let transaction = match work {
            // Every row that it writes is locked before it is judged.
            Work::Crud(..) => transaction,
            // What it decides by may be any row.
            Work::Custom(_) => transaction.isolation_level(IsolationLevel::Serializable),
        };
        let transaction = transaction.start().await?;
        if let Some(outcome) = self.take_id(&transaction, id).await? {
            transaction.rollback().await?;
            return Ok(outcome);
        }
        match work {
            Work::Crud(ops, judge) => {
                for op in ops {
                    let operation = Operation::new(&tables, op)?;
                    operation.run(&transaction, judge).await?;
                }
            }
            Work::Custom(custom) => mutation::run(&transaction, &tables, custom).await?,
        }
        transaction.commit().await?;
        Ok(CrudOutcome::Applied)
    }

    /// Takes the next id of the client, under its row's lock. An outcome means that it is not this mutation's turn.
    async fn take_id(
        &self,
        transaction: &Transaction<'_>,
        mutation: &MutationId,
    ) -> Result<Option<CrudOutcome>, tokio_postgres::Error> {
        let sql = format!(
            "INSERT INTO {}.clients AS c (\"clientGroupID\", \"clientID\", \"lastMutationID\") VALUES ($1, $2, 1)
             ON CONFLICT (\"clientGroupID\", \"clientID\") DO UPDATE SET \"lastMutationID\" = c.\"lastMutationID\" + 1
             RETURNING \"lastMutationID\"",
            self.shard
        );
        let statement = transaction.prepare(&sql).await?;
        let row = transaction
            .query_one(&statement, &[&mutation.group, &mutation.client])
            .await?;
        let expected = row.get::<_, i64>(0).max(0) as u64;
        Ok(match mutation.id.cmp(&expected) {
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Less => Some(CrudOutcome::AlreadyProcessed { lmid: expected - 1 }),
            std::cmp::Ordering::Greater => Some(CrudOutcome::OutOfOrder { expected }),
        })
    }

    /// The second transaction of a failed mutation: its id and its result.
    async fn record(
        &self,
        mutation: &MutationId,
        result: &str,
    ) -> Result<Option<CrudOutcome>, UpstreamError> {
        let mut connection = self.connection().await?;
        let transaction = connection.transaction().await?;
        if let Some(outcome) = self.take_id(&transaction, mutation).await? {
            transaction.rollback().await?;
            return Ok(Some(outcome));
        }
        let sql = format!(
            "INSERT INTO {}.mutations (\"clientGroupID\", \"clientID\", \"mutationID\", result) VALUES ($1, $2, $3, $4::text::json)",
            self.shard
        );
        let id = i64::try_from(mutation.id).unwrap_or(i64::MAX);
        transaction
            .execute(&sql, &[&mutation.group, &mutation.client, &id, &result])
            .await?;
        transaction.commit().await?;
        Ok(None)
    }

    async fn cleanup(&self, cleanup: Cleanup) -> Result<(), UpstreamError> {
        let connection = self.connection().await?;
        match cleanup {
            Cleanup::Single {
                group,
                client,
                up_to,
            } => {
                let sql = format!(
                    "DELETE FROM {}.mutations WHERE \"clientGroupID\" = $1 AND \"clientID\" = $2 AND \"mutationID\" <= $3",
                    self.shard
                );
                let up_to = i64::try_from(up_to).unwrap_or(i64::MAX);
                connection.execute(&sql, &[&group, &client, &up_to]).await?;
            }
            Cleanup::Bulk { group, clients } => {
                let sql = format!(
                    "DELETE FROM {}.mutations WHERE \"clientGroupID\" = $1 AND \"clientID\" = ANY($2)",
                    self.shard
                );
                connection.execute(&sql, &[&group, &clients]).await?;
            }
        }
        Ok(())
    }
}

fn recorded(instead: Option<CrudOutcome>, outcome: CrudOutcome) -> CrudOutcome {
    instead.unwrap_or(outcome)
}

impl Upstream for PostgresUpstream {
    fn status(&self) -> Status {
        self.status.lock().clone()
    }

    fn crud(
        &self,
        request: CrudRequest,
        judge: Arc<dyn Judge>,
    ) -> BoxFuture<'_, Result<CrudOutcome, UpstreamError>> {
        Box::pin(async move {
            let work = Work::Crud(request.ops, judge);
            self.run(&request.mutation, &work).await
        })
    }

    fn mutate(
        &self,
        id: MutationId,
        mutation: Arc<dyn Mutation>,
    ) -> BoxFuture<'_, Result<CrudOutcome, UpstreamError>> {
        Box::pin(async move { self.run(&id, &Work::Custom(mutation)).await })
    }

    fn fail(
        &self,
        mutation: MutationId,
        result: String,
    ) -> BoxFuture<'_, Result<CrudOutcome, UpstreamError>> {
        Box::pin(async move {
            let outcome = self.record(&mutation, &result).await?;
            Ok(recorded(outcome, CrudOutcome::Failed { reason: result }))
        })
    }

    fn cleanup_results(&self, cleanup: Cleanup) -> BoxFuture<'_, Result<(), UpstreamError>> {
        Box::pin(self.cleanup(cleanup))
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        let mut done = self.done.clone();
        self.stop.send_replace(true);
        Box::pin(async move {
            // An error means that the thread is gone, which is as good.
            let _ = done.wait_for(|done| *done).await;
            self.pool.close();
        })
    }
}
