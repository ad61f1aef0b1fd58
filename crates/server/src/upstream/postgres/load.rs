//! The initial copy: a new slot, its exported snapshot, and every published row into the replica.

use futures::{StreamExt, pin_mut};
use pgwire_replication::{Lsn, ReplicationClient};
use rusqlite::types::Value as Cell;
use tokio_postgres::Client;

use super::catalog::{self, PublishedTable};
use super::copy_text::{CopyError, CopyRows};
use super::plan::{self, Plan, Target};
use super::session::Address;
use super::setup::{self, Names};
use super::{quote, values};
use crate::replica::{ReplicaState, ReplicaWriter};
use crate::upstream::UpstreamError;

/// Everything a load needs to know.
pub struct Load<'a> {
    /// Where Postgres is.
    pub address: &'a Address,
    /// Our names.
    pub names: &'a Names,
    /// The publications to follow.
    pub publications: &'a [String],
}

/// What was loaded.
pub struct Loaded {
    /// What the file says of itself now.
    pub state: ReplicaState,
    /// The published tables at the snapshot.
    pub tables: Vec<PublishedTable>,
}

impl From<CopyError> for UpstreamError {
    fn from(error: CopyError) -> Self {
        UpstreamError::Data(error.to_string())
    }
}

impl Load<'_> {
    /// Makes a slot and copies its snapshot. The writer has an open transaction, which stays open.
    /// A slot whose copy fails is dropped again.
    pub async fn run(
        &self,
        client: &mut Client,
        writer: &mut ReplicaWriter,
    ) -> Result<Loaded, UpstreamError> {
        let slot = self.names.new_slot();
        let config = self.address.replication(&slot, self.publications, 0);
        let mut session = ReplicationClient::connect_gated(config).await?;
        let system = session.identify_system().await?;
        let rows = session
            .simple_query(&format!(
                "CREATE_REPLICATION_SLOT {} LOGICAL pgoutput (SNAPSHOT 'export')",
                quote(&slot)
            ))
            .await?;
        let exported = Exported::read(&rows)?;
        let generation = format!("pg-{}-{}", system.system_id, system.timeline);
        let copied = self
            .copy(client, writer, &exported, &slot, generation)
            .await;
        // The snapshot lived as long as this session.
        session.abort();
        if copied.is_err()
            && let Err(error) = drop_after_session(client, &slot).await
        {
            tracing::warn!(%slot, %error, "the slot of a failed copy could not be dropped");
        }
        copied
    }

    async fn copy(
        &self,
        client: &mut Client,
        writer: &mut ReplicaWriter,
        exported: &Exported,
        slot: &str,
        generation: String,
    ) -> Result<Loaded, UpstreamError> {
        let transaction = client.transaction().await?;
        transaction
            .batch_execute(&format!(
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '{}'",
                exported.snapshot.replace('\'', "''")
            ))
            .await?;
        let tables = catalog::read(&transaction, self.publications).await?;
        let (schema, warnings) = catalog::replica_schema(&tables, &self.names.internal());
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        writer.recreate(std::sync::Arc::new(schema))?;
        let version = exported.version();
        for table in &tables {
            let plan = plan::plan(table, writer.schema(), self.names);
            copy_table(&transaction, writer, table, &plan, version).await?;
        }
        transaction.commit().await?;
        writer.index_keys()?;
        let state = ReplicaState {
            version,
            confirmed: exported.consistent_point,
            generation,
            slot: slot.to_owned(),
            publications: self.publications.join(","),
            tables: serde_json::to_string(&tables)
                .map_err(|error| UpstreamError::Data(error.to_string()))?,
        };
        writer.set_state(&state)?;
        Ok(Loaded { state, tables })
    }
}

async fn drop_after_session(client: &Client, slot: &str) -> Result<(), UpstreamError> {
    setup::take_over(client, slot).await?;
    setup::drop_slot(client, slot).await
}

struct Exported {
    consistent_point: u64,
    snapshot: String,
}

impl Exported {
    fn read(rows: &[pgwire_replication::QueryRow]) -> Result<Self, UpstreamError> {
        let text = |column: usize| {
            rows.first()
                .and_then(|row| row.get(column))
                .and_then(Option::as_ref)
                .and_then(|bytes| str::from_utf8(bytes).ok())
                .ok_or_else(|| {
                    UpstreamError::Data("the answer to CREATE_REPLICATION_SLOT".to_owned())
                })
        };
        let consistent_point = Lsn::parse(text(1)?)
            .map_err(|error| UpstreamError::Data(error.to_string()))?
            .as_u64();
        Ok(Exported {
            consistent_point,
            snapshot: text(2)?.to_owned(),
        })
    }

    /// The version of the snapshot: below that of the first commit after it, which may begin at the very point.
    fn version(&self) -> u64 {
        self.consistent_point.saturating_sub(1)
    }
}

async fn copy_table(
    transaction: &tokio_postgres::Transaction<'_>,
    writer: &mut ReplicaWriter,
    table: &PublishedTable,
    plan: &Plan,
    version: u64,
) -> Result<(), UpstreamError> {
    if matches!(plan.target, Target::Skipped) {
        return Ok(());
    }
    let columns: Vec<String> = plan
        .columns
        .iter()
        .map(|&(at, _)| quote(&table.columns[at].name))
        .collect();
    let only = if table.partitioned { "" } else { "ONLY " };
    let filter = if table.filters.is_empty() {
        String::new()
    } else {
        format!(" WHERE ({})", table.filters.join(") OR ("))
    };
    let sql = format!(
        "COPY (SELECT {} FROM {only}{}{filter}) TO STDOUT",
        columns.join(","),
        table.sql()
    );
    let stream = transaction.copy_out(&sql).await?;
    pin_mut!(stream);
    let mut rows = CopyRows::default();
    let mut count = 0_u64;
    while let Some(chunk) = stream.next().await {
        rows.feed::<UpstreamError>(&chunk?, |row| {
            count += 1;
            if count.is_multiple_of(100_000) {
                tracing::info!(table = %table.server_name(), rows = count, "copying");
            }
            load_row(writer, table, plan, row, version)
        })?;
    }
    rows.finish()?;
    tracing::info!(table = %table.server_name(), rows = count, "copied");
    Ok(())
}

fn load_row(
    writer: &mut ReplicaWriter,
    table: &PublishedTable,
    plan: &Plan,
    row: &[Option<String>],
    version: u64,
) -> Result<(), UpstreamError> {
    if row.len() != plan.columns.len() {
        return Err(UpstreamError::Data(format!(
            "a copied row of {} has {} columns",
            table.server_name(),
            row.len()
        )));
    }
    let mut cells = Vec::with_capacity(row.len());
    for ((_, kind), text) in plan.columns.iter().zip(row) {
        cells.push(match text {
            None => Cell::Null,
            Some(text) => values::decode(kind, text).unwrap_or_else(|_| plan::misfit(text)),
        });
    }
    plan.load(writer, cells, version)
}
