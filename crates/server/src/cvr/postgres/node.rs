//! Nodes: which server is alive, and which history the records belong to.
//!
//! A node holds an advisory lock as long as its session lives, so others see at once that it is gone. The lock only
//! says whom to look after: what keeps a node from writing after it was given up is its row, which says `ended`.

use deadpool_postgres::Transaction;

use super::link::Failed;
use crate::cvr::{CvrError, StateVersion};
use crate::upstream::same_system;

/// Ends a node: its instances are frozen where its last point left them.
pub(super) async fn end(tx: &Transaction<'_>, node: i32) -> Result<(), Failed> {
    tx.execute("UPDATE nodes SET ended = true WHERE id = $1", &[&node])
        .await?;
    tx.execute(
        "UPDATE instances SET frozen = (SELECT durable FROM nodes WHERE id = $1) WHERE node = $1 AND frozen IS NULL",
        &[&node],
    )
    .await?;
    tx.execute("DELETE FROM moved WHERE node = $1", &[&node])
        .await?;
    Ok(())
}

/// Whether a node that has not said so is gone.
pub(super) async fn is_gone(tx: &Transaction<'_>, node: i32) -> Result<bool, Failed> {
    let sql = "SELECT pg_try_advisory_xact_lock(hashtext(current_schema()), $1)";
    Ok(tx.query_one(sql, &[&node]).await?.get(0))
}

/// Ends the nodes that are gone. Returns whether others than `own` are left.
pub(super) async fn reap(tx: &Transaction<'_>, own: i32) -> Result<bool, Failed> {
    let others = tx
        .query(
            "SELECT id FROM nodes WHERE NOT ended AND id <> $1 ORDER BY id",
            &[&own],
        )
        .await?;
    let mut left = false;
    for row in others {
        let node: i32 = row.get(0);
        match is_gone(tx, node).await? {
            true => end(tx, node).await?,
            false => left = true,
        }
    }
    Ok(left)
}

/// Enters a node whose lock is held; `earlier` is what this process was before. Returns whether the records of
/// another history had to be forgotten.
pub(super) async fn enter(
    tx: &Transaction<'_>,
    node: i32,
    earlier: i32,
    generation: &str,
    version: StateVersion,
) -> Result<bool, Failed> {
    let meta = tx
        .query_one("SELECT generation, format FROM meta FOR UPDATE", &[])
        .await?;
    let format: i32 = meta.get(1);
    end(tx, earlier).await?;
    let others = reap(tx, node).await?;
    // Records of an earlier format are forgotten, once no server is left that goes on with them.
    if format > super::FORMAT || format < super::FORMAT && others {
        return Err(Failed::Final(CvrError::Format {
            found: i64::from(format),
            known: i64::from(super::FORMAT),
        }));
    }
    let known: Option<String> = meta.get(0);
    let newest: i64 = tx
        .query_one(
            "SELECT greatest((SELECT max(durable) FROM nodes), (SELECT max(reached) FROM groups), 0)",
            &[],
        )
        .await?
        .get(0);
    let goes_on = match &known {
        None => false,
        Some(_) if format < super::FORMAT => false,
        Some(known) if known == generation => true,
        // A standby that took over goes on with the same history if its log is ahead of all that was told.
        Some(known) => same_system(known, generation) && version >= newest as u64,
    };
    if !goes_on {
        if known.is_some() && others {
            return Err(Failed::Final(CvrError::OtherDatabase));
        }
        forget_all(tx, generation).await?;
    }
    tx.execute("INSERT INTO nodes (id) VALUES ($1)", &[&node])
        .await?;
    Ok(!goes_on && known.is_some())
}

/// The owner of a group outlives its records: a group never passes to another user.
async fn forget_all(tx: &Transaction<'_>, generation: &str) -> Result<(), Failed> {
    tx.batch_execute(
        "TRUNCATE nodes, moved, clients, desires, queries, spans, results, instances, members;
         UPDATE groups SET node = NULL, reached = 0, client_schema = NULL, state = 0, config = 0, ttl_clock = 0,
           pruned_state = 0, pruned_config = 0, purged = true",
    )
    .await?;
    tx.execute(
        "UPDATE meta SET generation = $1, format = $2",
        &[&generation, &super::FORMAT],
    )
    .await?;
    Ok(())
}
