//! The server's copy of the upstream in a SQLite file, with versions.
//!
//! One writer changes it and puts every step into a ring; readers hold snapshots at known versions.
//! In embedded mode the file is the upstream itself and other processes write it as well.
//! Leaves to others: where changes come from (`upstream`), and what is made of them (`queries`).

mod advance;
mod alter;
mod cells;
mod error;
mod filter;
mod indexes;
mod layout;
mod left_out;
mod log;
mod reader;
mod schema;
mod source;
mod sql;
mod statistics;
mod step;
mod writer;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use advance::Ring;

pub use advance::{Advance, Lagged, LmidChange, Reset, ResultChange, RowChange, Subscription};
pub use cells::{carried, pack_cells, read_row, to_cell};
pub use error::ReplicaError;
pub use layout::Layout;
pub use reader::{Reader, StoredResult};
pub use schema::{ReplicaColumn, ReplicaSchema, ReplicaTable, TableDraft};

pub(crate) use alter::KeptTable;
pub(crate) use error::is_busy;
pub(crate) use indexes::{IndexWish, make as make_index};
pub(crate) use layout::SHARED_TABLES;
pub(crate) use left_out::LeftOut;
pub(crate) use log::empty_log;
pub(crate) use source::TransactionRows;
pub(crate) use sql::{quote, select_by_key};
pub(crate) use step::StepBuilder;
pub(crate) use writer::{ReplicaState, ReplicaWriter};

/// A state of the upstream: the commit position of Postgres, or the sequence of an embedded file's change log.
pub type StateVersion = u64;

/// A handle on the replica. Clones share one replica.
#[derive(Debug, Clone)]
pub struct Replica {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    layout: Layout,
    generation: Arc<str>,
    ring: Arc<Ring>,
    /// Schemas with the version from which each holds, the newest last.
    schemas: Mutex<Vec<(StateVersion, Arc<ReplicaSchema>)>>,
    wishes: Mutex<Vec<IndexWish>>,
    /// Wishes that the writer has dealt with, whether it made an index or not.
    answered: Mutex<BTreeSet<IndexWish>>,
    /// Tells the writer of wishes.
    wished: Notify,
    /// A version that readers wait for.
    wanted: AtomicU64,
    /// Reads of large tables that no index served when they were first made.
    scanned: Mutex<BTreeSet<IndexWish>>,
}

impl Replica {
    /// A replica whose file is complete at `version`.
    pub(crate) fn new(
        path: &Path,
        layout: Layout,
        generation: &str,
        version: StateVersion,
        schema: Arc<ReplicaSchema>,
    ) -> Self {
        Replica {
            shared: Arc::new(Shared {
                path: path.to_owned(),
                layout,
                generation: generation.into(),
                ring: Arc::new(Ring::new(version)),
                schemas: Mutex::new(vec![(version, schema)]),
                wishes: Mutex::default(),
                answered: Mutex::default(),
                wished: Notify::new(),
                wanted: AtomicU64::new(0),
                scanned: Mutex::default(),
            }),
        }
    }

    /// The newest schema.
    pub fn schema(&self) -> Arc<ReplicaSchema> {
        self.shared.schema_at(StateVersion::MAX)
    }

    /// The newest version that was announced.
    pub fn version(&self) -> StateVersion {
        self.shared.ring.announced()
    }

    /// Names the history that versions belong to: versions of different generations cannot be compared.
    pub fn generation(&self) -> Arc<str> {
        self.shared.generation.clone()
    }

    /// A reader with a connection of its own, at the newest version.
    pub fn reader(&self) -> Result<Reader, ReplicaError> {
        Reader::open(self.shared.clone())
    }

    /// Every step after the newest announced version.
    pub fn subscribe(&self) -> Subscription {
        self.subscribe_at().1
    }

    /// The newest announced version, and every step after it.
    pub fn subscribe_at(&self) -> (StateVersion, Subscription) {
        Subscription::new(self.shared.ring.clone())
    }

    /// The steps that lead from one version to another, as far as whole steps reach.
    pub fn steps_between(
        &self,
        from: StateVersion,
        to: StateVersion,
    ) -> Result<Vec<Arc<Advance>>, Lagged> {
        self.shared.ring.between(from, to)
    }

    /// Asks whoever feeds the replica to get to a version even if nothing changes any more.
    pub(crate) fn want(&self, version: StateVersion) {
        self.shared.wanted.fetch_max(version, Ordering::Relaxed);
        self.shared.wished.notify_one();
    }

    /// The version that readers wait for, if it is still to come.
    pub(crate) fn wanted(&self) -> Option<StateVersion> {
        let wanted = self.shared.wanted.load(Ordering::Relaxed);
        (wanted > self.version()).then_some(wanted)
    }

    /// How many kinds of reads of large tables had no index to serve them when they were first made.
    pub fn scans(&self) -> usize {
        self.shared.scanned.lock().len()
    }

    /// Puts a step into the ring, before its commit.
    pub(crate) fn enter(&self, advance: Advance, schema: Option<Arc<ReplicaSchema>>) {
        if let Some(schema) = schema {
            let mut schemas = self.shared.schemas.lock();
            schemas.push((advance.to, schema));
            // A reader lags by a commit or two, never by a chain of schema changes.
            let surplus = schemas.len().saturating_sub(8);
            schemas.drain(..surplus);
            // Indexes go with what they were on.
            self.shared.answered.lock().clear();
        }
        self.shared.ring.enter(advance);
    }

    /// Takes the last step back: its commit failed.
    pub(crate) fn retract(&self, had_schema: bool) {
        if had_schema {
            self.shared.schemas.lock().pop();
        }
        self.shared.ring.retract();
    }

    /// Announces the last step, after its commit.
    pub(crate) fn announce(&self) {
        self.shared.ring.announce();
    }

    /// Makes the indexes that readers asked for, and tells them so. True if any had to be made.
    pub(crate) fn grant_wishes<E>(
        &self,
        mut make: impl FnMut(&IndexWish) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let wishes = std::mem::take(&mut *self.shared.wishes.lock());
        let mut made = false;
        for wish in wishes {
            made |= make(&wish)?;
            self.shared.answered.lock().insert(wish);
        }
        Ok(made)
    }

    /// Waits until a reader asks for an index. Each wish wakes one waiter.
    pub(crate) async fn wished(&self) {
        self.shared.wished.notified().await;
    }
}

impl Shared {
    fn schema_at(&self, version: StateVersion) -> Arc<ReplicaSchema> {
        let schemas = self.schemas.lock();
        let newest = schemas.iter().rev().find(|(from, _)| *from <= version);
        let (_, schema) = newest
            .or_else(|| schemas.first())
            .expect("a replica is made with a schema, and the newest is never dropped");
        schema.clone()
    }

    /// Asks the writer for an index, unless there is one. It is made soon, between two steps.
    fn wish(&self, wish: IndexWish) {
        let mut wishes = self.wishes.lock();
        if !wishes.contains(&wish) {
            wishes.push(wish);
            self.wished.notify_one();
        }
    }
}
