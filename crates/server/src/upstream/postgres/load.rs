//! The initial copy: a new slot, its exported snapshot, and every published row into the replica.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{StreamExt, pin_mut};
use pgwire_replication::{Lsn, ReplicationClient};
use rusqlite::types::Value as Cell;
use tokio_postgres::Client;

use super::catalog::{self, PublishedTable};
use super::copy_text::{CopyError, CopyRows};
use super::plan::{self, Plan, Target};
use super::session::Address;
use super::setup::{self, Names};
use super::{quote, schema_change, values};
use crate::replica::{ReplicaState, ReplicaWriter, TableDraft};
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
        let mut snapshot = self.snapshot(&slot, "").await?;
        let copied = self.copy(client, writer, &snapshot, &slot).await;
        // The snapshot lived as long as this session.
        snapshot.session.abort();
        if copied.is_err()
            && let Err(error) = drop_after_session(client, &slot).await
        {
            tracing::warn!(%slot, %error, "the slot of a failed copy could not be dropped");
        }
        copied
    }

    /// Makes a slot, and the snapshot that its stream goes on from.
    async fn snapshot(&self, slot: &str, kind: &str) -> Result<Snapshot, UpstreamError> {
        let config = self.address.replication(slot, self.publications, 0);
        let mut session = ReplicationClient::connect_gated(config).await?;
        let system = session.identify_system().await?;
        let rows = session
            .simple_query(&format!(
                "CREATE_REPLICATION_SLOT {} {kind} LOGICAL pgoutput (SNAPSHOT 'export')",
                quote(slot)
            ))
            .await?;
        Ok(Snapshot {
            session,
            exported: Exported::read(&rows)?,
            generation: format!("pg-{}-{}", system.system_id, system.timeline),
        })
    }

    async fn copy(
        &self,
        client: &mut Client,
        writer: &mut ReplicaWriter,
        snapshot: &Snapshot,
        slot: &str,
    ) -> Result<Loaded, UpstreamError> {
        let transaction = snapshot.exported.open(client).await?;
        let tables = catalog::read(&transaction, self.publications).await?;
        writer.recreate(self.drafts(&tables))?;
        let version = snapshot.exported.version();
        for table in &tables {
            let plan = plan::plan(table, writer.schema(), self.names);
            copy_table(&transaction, writer, table, &plan, version).await?;
        }
        transaction.commit().await?;
        writer.index_keys()?;
        let state = ReplicaState {
            version,
            confirmed: snapshot.exported.consistent_point,
            generation: snapshot.generation.clone(),
            slot: slot.to_owned(),
            publications: self.publications.join(","),
            tables: to_json(&tables)?,
        };
        writer.set_state(&state)?;
        Ok(Loaded { state, tables })
    }

    /// The replica's tables; what is left out is said.
    fn drafts(&self, tables: &[PublishedTable]) -> Vec<TableDraft> {
        let (drafts, warnings) = catalog::drafts(tables, &self.names.internal());
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        drafts
    }

    /// Takes up the tables as they are published now, in the writer's open transaction: what can be kept stays, the
    /// rest is copied. The replica then is as of no version, until the stream has reached the crossing.
    pub async fn alter(
        &self,
        client: &mut Client,
        writer: &mut ReplicaWriter,
        before: &[PublishedTable],
        keep: bool,
    ) -> Result<Crossing, UpstreamError> {
        let slot = self.names.new_slot();
        let mut snapshot = self.snapshot(&slot, "TEMPORARY").await?;
        let altered = self
            .alter_at(client, writer, &snapshot.exported, before, keep)
            .await;
        snapshot.session.abort();
        altered
    }

    async fn alter_at(
        &self,
        client: &mut Client,
        writer: &mut ReplicaWriter,
        exported: &Exported,
        before: &[PublishedTable],
        keep: bool,
    ) -> Result<Crossing, UpstreamError> {
        let transaction = exported.open(client).await?;
        let tables = catalog::read(&transaction, self.publications).await?;
        let known = if keep { before } else { &[] };
        let kept = schema_change::kept(known, &tables, &self.names.internal());
        let empty = writer.alter(self.drafts(&tables), &kept)?;
        let version = exported.version();
        let mut copied = BTreeSet::new();
        for table in &tables {
            let plan = plan::plan(table, writer.schema(), self.names);
            let is_empty = |id| empty.contains(id);
            if matches!(&plan.target, Target::Table { id, .. } if is_empty(id)) {
                copy_table(&transaction, writer, table, &plan, version).await?;
                copied.insert(table.oid);
            }
        }
        transaction.commit().await?;
        writer.index_filled(&empty)?;
        // Something for the stream to bring, however idle the database is.
        client
            .execute(
                "SELECT pg_logical_emit_message(false, 'landfall', 'schema')",
                &[],
            )
            .await?;
        Ok(Crossing {
            position: exported.consistent_point,
            version,
            before: before.into(),
            tables: tables.into(),
            copied,
        })
    }
}

/// Where the stream meets tables that were altered: up to there some of its changes are in them already.
pub struct Crossing {
    /// The position in the log.
    pub position: u64,
    /// The version of the replica at it.
    pub version: u64,
    /// The published tables before it.
    pub before: Arc<[PublishedTable]>,
    /// The published tables at it.
    pub tables: Arc<[PublishedTable]>,
    /// Object ids of tables that were copied at it.
    pub copied: BTreeSet<u32>,
}

/// Published tables as they are kept in the replica file.
pub fn to_json(tables: &[PublishedTable]) -> Result<String, UpstreamError> {
    serde_json::to_string(tables).map_err(|error| UpstreamError::Data(error.to_string()))
}

/// A snapshot, which lives as long as its idle session.
struct Snapshot {
    session: ReplicationClient,
    exported: Exported,
    generation: String,
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

    /// A transaction that sees the snapshot.
    async fn open<'a>(
        &self,
        client: &'a mut Client,
    ) -> Result<tokio_postgres::Transaction<'a>, UpstreamError> {
        let transaction = client.transaction().await?;
        transaction
            .batch_execute(&format!(
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '{}'",
                self.snapshot.replace('\'', "''")
            ))
            .await?;
        Ok(transaction)
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
        .filter_map(|(at, _)| Some(quote(&table.columns.get((*at)?)?.name)))
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
