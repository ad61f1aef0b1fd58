//! Follows the replication stream: applies commits in batches, publishes them, confirms what is synced.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use pgwire_replication::{Lsn, ReplicationClient, ReplicationEvent};

use super::catalog::PublishedTable;
use super::load::Crossing;
use super::pgoutput::{self, Message, Relation};
use super::plan::{self, Plan, Target};
use super::setup::Names;
use crate::replica::{Replica, ReplicaWriter};
use crate::upstream::{CommitTimes, UpstreamError};

/// Row changes after which a batch of transactions is committed even if more are waiting.
const BATCH_CHANGES: usize = 2_000;
/// Age at which a batch is committed even if more transactions are waiting.
const BATCH_AGE: Duration = Duration::from_millis(20);
/// How often what was committed is synced and confirmed.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// Seconds between the Unix epoch and that of Postgres.
const POSTGRES_EPOCH: u64 = 946_684_800;

/// Applies one session's events to the replica.
pub struct Applier<'a> {
    writer: &'a mut ReplicaWriter,
    replica: &'a Replica,
    tables: Arc<[PublishedTable]>,
    names: &'a Names,
    plans: BTreeMap<u32, Plan>,
    /// Set until the stream has reached it; the writer's transaction stays open until then.
    crossing: Option<Crossing>,
    /// What was described before the crossing.
    relations: BTreeMap<u32, Relation>,
    /// The version of the last applied commit.
    version: u64,
    /// Up to where everything is applied.
    applied: u64,
    /// Up to where everything survives a loss of power.
    synced: u64,
    last_sync: Instant,
    transaction: Option<Transaction>,
    batch: Option<Batch>,
    lag: Option<Duration>,
    commits: &'a CommitTimes,
}

/// The upstream transaction whose changes arrive.
struct Transaction {
    version: u64,
    /// Sent again after a reconnect, though applied.
    known: bool,
}

/// Applied transactions that share one commit.
struct Batch {
    version: u64,
    changes: usize,
    since: Instant,
}

impl<'a> Applier<'a> {
    /// An applier that goes on from `version`, with everything up to `applied` synced.
    pub fn new(
        writer: &'a mut ReplicaWriter,
        replica: &'a Replica,
        tables: Arc<[PublishedTable]>,
        names: &'a Names,
        version: u64,
        applied: u64,
        commits: &'a CommitTimes,
    ) -> Self {
        Applier {
            writer,
            replica,
            tables,
            names,
            plans: BTreeMap::new(),
            crossing: None,
            relations: BTreeMap::new(),
            version,
            applied,
            synced: applied,
            last_sync: Instant::now(),
            transaction: None,
            batch: None,
            lag: None,
            commits,
        }
    }

    /// Applies events until the session ends, `stop` is true, or something fails. `progress` is told of the lag.
    pub async fn follow(
        &mut self,
        client: &mut ReplicationClient,
        stop: &mut tokio::sync::watch::Receiver<bool>,
        progress: impl Fn(Option<Duration>),
    ) -> Result<(), UpstreamError> {
        loop {
            if *stop.borrow() {
                return self.sync(client);
            }
            let event = tokio::select! {
                event = client.recv() => Some(event?),
                _ = tokio::time::sleep(SYNC_INTERVAL) => None,
                _ = self.replica.wished() => None,
                _ = stop.changed() => None,
            };
            match event {
                Some(Some(event)) => self.drain(client, event).await?,
                Some(None) => return Err(ended()),
                None => self.idle()?,
            }
            progress(self.lag);
            if self.last_sync.elapsed() >= SYNC_INTERVAL {
                self.sync(client)?;
            }
        }
    }

    /// Applies events up to where tables were altered, and commits them with these.
    pub async fn cross(
        &mut self,
        client: &mut ReplicationClient,
        stop: &mut tokio::sync::watch::Receiver<bool>,
        crossing: Crossing,
    ) -> Result<(), UpstreamError> {
        self.tables = crossing.tables.clone();
        self.crossing = Some(crossing);
        while self.crossing.is_some() {
            let event = tokio::select! {
                event = client.recv() => event?.ok_or_else(ended)?,
                _ = stop.wait_for(|stop| *stop) => return Err(UpstreamError::Stopped),
            };
            self.apply(event)?;
        }
        Ok(())
    }

    /// Commits once the stream has reached the crossing. What was described before it is described anew where it
    /// differs.
    fn reach(&mut self, position: u64) -> Result<(), UpstreamError> {
        let Some(crossing) = self
            .crossing
            .take_if(|crossing| position >= crossing.position)
        else {
            return Ok(());
        };
        self.plans.clear();
        for relation in std::mem::take(&mut self.relations).into_values() {
            if self.tables.iter().any(|table| table.matches(&relation)) {
                self.describe(&relation)?;
            }
        }
        self.batch = None;
        self.version = self.version.max(crossing.version);
        self.applied = self.applied.max(crossing.position);
        self.writer
            .commit(self.replica, crossing.version, self.synced)?;
        tracing::info!(version = crossing.version, "the schema changed");
        Ok(())
    }

    /// Applies an event and those that wait behind it, up to the end of a batch.
    async fn drain(
        &mut self,
        client: &mut ReplicationClient,
        first: ReplicationEvent,
    ) -> Result<(), UpstreamError> {
        let mut next = Some(first);
        loop {
            let event = match next.take() {
                Some(event) => event,
                // In the middle of a transaction nothing can be committed: the rest is on its way.
                None if self.transaction.is_some() => client.recv().await?.ok_or_else(ended)?,
                None if self.batch_is_full() => break,
                None => match client.recv().now_or_never() {
                    Some(event) => event?.ok_or_else(ended)?,
                    None => break,
                },
            };
            self.apply(event)?;
        }
        self.commit()
    }

    fn batch_is_full(&self) -> bool {
        self.batch.as_ref().is_some_and(|batch| {
            batch.changes >= BATCH_CHANGES || batch.since.elapsed() >= BATCH_AGE
        })
    }

    fn apply(&mut self, event: ReplicationEvent) -> Result<(), UpstreamError> {
        match event {
            ReplicationEvent::Begin { final_lsn, .. } => {
                self.reach(final_lsn.as_u64())?;
                let version = final_lsn.as_u64();
                self.transaction = Some(Transaction {
                    version,
                    known: version <= self.version,
                });
            }
            ReplicationEvent::XLogData { data, .. } => self.change(&data)?,
            ReplicationEvent::Commit {
                lsn,
                end_lsn,
                commit_time_micros,
            } => {
                let committed = time(commit_time_micros);
                let transaction = self.transaction.take();
                if transaction.is_some_and(|t| !t.known) {
                    self.version = lsn.as_u64();
                    if let Some(committed) = committed {
                        self.commits.note(self.version, committed);
                    }
                    if let Some(batch) = &mut self.batch {
                        batch.version = lsn.as_u64();
                    }
                }
                self.applied = self.applied.max(end_lsn.as_u64());
                self.lag = committed.and_then(|at| SystemTime::now().duration_since(at).ok());
            }
            ReplicationEvent::KeepAlive { wal_end, .. } if self.transaction.is_none() => {
                // Everything before it has been sent, so an idle database need not keep its log.
                self.reach(wal_end.as_u64())?;
                if self.crossing.is_none() {
                    self.applied = self.applied.max(wal_end.as_u64());
                }
            }
            ReplicationEvent::Message {
                lsn,
                transactional: false,
                ..
            } if self.transaction.is_none() => self.reach(lsn.as_u64())?,
            _ => {}
        }
        Ok(())
    }

    fn change(&mut self, data: &[u8]) -> Result<(), UpstreamError> {
        let message =
            pgoutput::decode(data).map_err(|error| UpstreamError::Data(error.to_string()))?;
        if let Message::Relation(relation) = message {
            return self.describe(&relation);
        }
        let Some(transaction) = &self.transaction else {
            return Ok(());
        };
        if transaction.known || matches!(message, Message::Other(_)) {
            return Ok(());
        }
        let version = transaction.version;
        if self.batch.is_none() && self.crossing.is_none() {
            self.writer.begin()?;
            self.batch = Some(Batch {
                version,
                changes: 0,
                since: Instant::now(),
            });
        }
        if let Some(batch) = &mut self.batch {
            batch.changes += 1;
        }
        let plans = &self.plans;
        let plan = |relation: u32| {
            // Partitions are described as well, though their rows come as those of the whole table.
            plans.get(&relation).ok_or_else(|| {
                UpstreamError::SchemaChanged(format!("a table is new (object {relation})"))
            })
        };
        match message {
            Message::Insert { relation, new } => {
                plan(relation)?.put(self.writer, None, &new, version)
            }
            Message::Update { relation, old, new } => {
                plan(relation)?.put(self.writer, old.as_ref(), &new, version)
            }
            Message::Delete { relation, old } => plan(relation)?.delete(self.writer, &old, version),
            Message::Truncate { relations } => {
                for relation in relations {
                    plan(relation)?.truncate(self.writer, version)?;
                }
                Ok(())
            }
            Message::Relation(_) | Message::Other(_) => Ok(()),
        }
    }

    fn describe(&mut self, relation: &Relation) -> Result<(), UpstreamError> {
        let plan = match &self.crossing {
            Some(crossing) => Some(self.plan_between(crossing, relation)?),
            None => self.plan(relation)?,
        };
        if self.crossing.is_some() {
            self.relations.insert(relation.id, relation.clone());
        }
        match plan {
            Some(plan) => self.plans.insert(relation.id, plan),
            None => self.plans.remove(&relation.id),
        };
        Ok(())
    }

    /// The way of a table's rows; `None` if no rows are expected from it.
    fn plan(&self, relation: &Relation) -> Result<Option<Plan>, UpstreamError> {
        let Some(known) = self.tables.iter().find(|table| table.oid == relation.id) else {
            return Ok(None);
        };
        if !known.matches(relation) {
            return Err(changed(relation, "has other columns or another identity"));
        }
        let plan = plan::plan(known, self.writer.schema(), self.names);
        if matches!(plan.target, Target::Skipped) {
            tracing::debug!(table = %known.server_name(), "changes of a table that is not synced are ignored");
        }
        Ok(Some(plan))
    }

    fn plan_between(
        &self,
        crossing: &Crossing,
        relation: &Relation,
    ) -> Result<Plan, UpstreamError> {
        let find = |tables: &[PublishedTable]| -> Option<PublishedTable> {
            tables
                .iter()
                .find(|table| table.oid == relation.id)
                .cloned()
        };
        let after = find(&crossing.tables);
        match after.filter(|_| !crossing.copied.contains(&relation.id)) {
            // It is gone, or the copy has it already.
            None => Ok(Plan::skipped()),
            Some(after) => plan::plan_between(
                find(&crossing.before).as_ref(),
                &after,
                relation,
                self.writer.schema(),
                self.names,
            )
            .ok_or_else(|| changed(relation, "changed more than once")),
        }
    }

    /// Commits and publishes the batch, if there is one.
    fn commit(&mut self) -> Result<(), UpstreamError> {
        if let Some(batch) = self.batch.take() {
            self.writer
                .commit(self.replica, batch.version, self.synced)?;
        }
        Ok(())
    }

    /// Everything before `applied` has arrived, so the replica is as of the version just before it; said only when
    /// somebody waits, since every version is a step for the readers.
    fn step_to_wanted(&mut self) -> Result<(), UpstreamError> {
        let version = self.applied.saturating_sub(1);
        let waits = self.replica.wanted().is_some() && version > self.version;
        if waits && self.batch.is_none() && self.transaction.is_none() && self.crossing.is_none() {
            self.writer.begin()?;
            self.writer.commit(self.replica, version, self.synced)?;
            self.version = version;
        }
        Ok(())
    }

    fn idle(&mut self) -> Result<(), UpstreamError> {
        self.step_to_wanted()?;
        self.writer.grant_wishes(self.replica)?;
        self.writer.checkpoint()?;
        Ok(())
    }

    /// Syncs what is committed, then confirms it.
    fn sync(&mut self, client: &ReplicationClient) -> Result<(), UpstreamError> {
        self.last_sync = Instant::now();
        if self.applied > self.synced && self.batch.is_none() {
            self.writer.sync(self.applied)?;
            self.synced = self.applied;
            client.update_applied_lsn(Lsn::from_u64(self.synced));
        }
        self.idle()
    }
}

fn changed(relation: &Relation, how: &str) -> UpstreamError {
    UpstreamError::SchemaChanged(format!("table {}.{} {how}", relation.schema, relation.name))
}

fn ended() -> UpstreamError {
    UpstreamError::Replication(pgwire_replication::PgWireError::Task(
        "the stream ended".to_owned(),
    ))
}

fn time(commit_time_micros: i64) -> Option<SystemTime> {
    let since_epoch = Duration::from_micros(u64::try_from(commit_time_micros).ok()?);
    Some(UNIX_EPOCH + Duration::from_secs(POSTGRES_EPOCH) + since_epoch)
}
