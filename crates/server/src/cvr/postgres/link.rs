//! The way to the Postgres that holds the records: a runtime of its own, connections, and patience.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Transaction,
};
use futures::future::BoxFuture;
use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row};

use crate::cvr::CvrError;
use crate::upstream::postgres_text;

use super::Address;

/// Connections for the records, beside the one that holds the node's lock.
const POOL_SIZE: usize = 8;
/// How long something is tried again that passes by itself.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// Why something was not done.
pub(super) enum Failed {
    /// The same may succeed a moment later.
    Passing(String),
    /// It will not.
    Final(CvrError),
}

impl From<tokio_postgres::Error> for Failed {
    fn from(error: tokio_postgres::Error) -> Self {
        let text = postgres_text(&error);
        // Connections, resources, a server that stops or starts, transactions that lost against others.
        let passes = error.code().is_none_or(|code| {
            ["08", "53", "57P", "40"]
                .iter()
                .any(|class| code.code().starts_with(class))
        });
        match passes {
            true => Failed::Passing(text),
            false => Failed::Final(CvrError::Postgres(text)),
        }
    }
}

impl From<CvrError> for Failed {
    fn from(error: CvrError) -> Self {
        Failed::Final(error)
    }
}

/// What is done with a connection. May be done again after a failure that passes, so it must be safe to repeat.
pub(super) type Work<T> = BoxFuture<'static, Result<T, Failed>>;

/// Runs a statement that the connection prepares once.
pub(super) async fn execute(
    tx: &Transaction<'_>,
    sql: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<u64, Failed> {
    let statement = tx.prepare_cached(sql).await?;
    Ok(tx.execute(&statement, values).await?)
}

/// Runs a query that the connection prepares once.
pub(super) async fn query(
    tx: &Transaction<'_>,
    sql: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, Failed> {
    let statement = tx.prepare_cached(sql).await?;
    Ok(tx.query(&statement, values).await?)
}

/// A way to the records.
pub(super) struct Link {
    /// Only a drop takes it out.
    runtime: Option<Runtime>,
    pool: Pool,
    address: Arc<Address>,
}

impl Link {
    pub(super) fn new(address: Address) -> Result<Self, CvrError> {
        let failed = |error: &dyn std::fmt::Display| CvrError::Postgres(error.to_string());
        let config = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = match address.tls().map_err(|e| failed(&e))? {
            Some(tls) => Manager::from_config(address.config().clone(), tls, config),
            None => Manager::from_config(address.config().clone(), NoTls, config),
        };
        let pool = Pool::builder(manager)
            .max_size(POOL_SIZE)
            .build()
            .map_err(|e| failed(&e))?;
        // Callers are threads that wait, some of them inside another runtime.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("landfall-cvr-io")
            .enable_all()
            .build()
            .map_err(|e| failed(&e))?;
        Ok(Link {
            runtime: Some(runtime),
            pool,
            address: Arc::new(address),
        })
    }

    /// A connection of its own, for what belongs to a session.
    pub(super) fn session(&self) -> Result<Client, CvrError> {
        let address = self.address.clone();
        self.wait(async move {
            address
                .connect()
                .await
                .map_err(|error| match error.is_transient() {
                    true => CvrError::Away(error.to_string()),
                    false => CvrError::Postgres(error.to_string()),
                })
        })
    }

    /// Does something with a connection; tries again for a while if what failed passes by itself.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl Fn(Object) -> Work<T> + Send + 'static,
    ) -> Result<T, CvrError> {
        let pool = self.pool.clone();
        self.wait(async move {
            let begun = Instant::now();
            loop {
                let outcome = match pool.get().await {
                    Ok(client) => work(client).await,
                    Err(PoolError::Backend(error)) => Err(error.into()),
                    Err(error) => Err(Failed::Passing(error.to_string())),
                };
                match outcome {
                    Ok(done) => return Ok(done),
                    Err(Failed::Final(error)) => return Err(error),
                    Err(Failed::Passing(reason)) if begun.elapsed() > PATIENCE => {
                        return Err(CvrError::Away(reason));
                    }
                    Err(Failed::Passing(reason)) => {
                        tracing::debug!(reason, "the client view records are tried again");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        })
    }

    /// Waits for work on the runtime, from any thread.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, CvrError>> + Send + 'static,
    ) -> Result<T, CvrError> {
        let gone = || CvrError::Postgres("the connection to the records has ended".to_owned());
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let runtime = self.runtime.as_ref().ok_or_else(gone)?;
        runtime.spawn(async move {
            // The caller waits below.
            let _ = tell.send(work.await);
        });
        told.recv().map_err(|_| gone())?
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A plain drop would wait, which an asynchronous caller may not.
            runtime.shutdown_background();
        }
    }
}
