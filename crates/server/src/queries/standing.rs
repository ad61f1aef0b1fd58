//! A reader that is followed by its owner: where the owner stands, and the steps from there to what is read.

use std::collections::BTreeSet;
use std::sync::Arc;

use landfall_zql::TableId;

use crate::cvr::StateVersion;
use crate::replica::{Advance, Lagged, Reader, Replica, ReplicaError, Reset};

/// How often a reader is moved in the hope that it stands at the end of a step.
const TRIES: usize = 50;

/// A reader, and the version up to which its owner has dealt with everything.
pub(super) struct Standing {
    pub(super) replica: Replica,
    pub(super) reader: Reader,
    pub(super) position: StateVersion,
    /// What the reader shows, while it holds a snapshot.
    shown: Option<StateVersion>,
}

/// What lies between an owner's position and what its reader sees.
pub(super) struct Ahead {
    /// Steps in order, without the changes of tables in `reset`.
    pub(super) steps: Vec<Arc<Advance>>,
    /// Tables whose changes are not known one by one.
    pub(super) reset: BTreeSet<TableId>,
}

impl Standing {
    pub(super) fn open(replica: &Replica) -> Result<Self, ReplicaError> {
        let mut standing = Standing {
            replica: replica.clone(),
            reader: replica.reader()?,
            position: 0,
            shown: None,
        };
        standing.start_at_newest()?;
        Ok(standing)
    }

    /// Forgets where it was, and stands at a new version.
    pub(super) fn start_at_newest(&mut self) -> Result<(), ReplicaError> {
        self.position = self.replica.version();
        // Lagged means that the ring has already moved on: the next look is at a newer one.
        loop {
            if let Ok(Some(steps)) = self.look() {
                self.position = steps.last().map_or(self.position, |step| step.to);
                return Ok(());
            }
            self.reader.advance()?;
            self.position = self.replica.version();
        }
    }

    /// Moves the reader to the end of the newest step, and gives the steps from the position to there. `None` if it
    /// cannot be read now.
    ///
    /// In an embedded file another process may commit at any time, so the reader can see into the middle of a step.
    /// What is read there would be counted twice; right after a step is known, the next try sees its end.
    pub(super) fn look(&mut self) -> Result<Option<Vec<Arc<Advance>>>, Lagged> {
        self.shown = None;
        for _ in 0..TRIES {
            let newest = match self.reader.advance() {
                Ok(newest) => newest,
                Err(error) => {
                    tracing::warn!(%error, "the replica cannot be read now");
                    return Ok(None);
                }
            };
            let steps = self.replica.steps_between(self.position, newest)?;
            let end = steps.last().map_or(self.position, |step| step.to);
            if end >= newest {
                self.shown = Some(newest);
                return Ok(Some(steps));
            }
        }
        tracing::warn!("other processes write faster than the replica can be followed");
        Ok(None)
    }

    /// As [`Standing::look`], for whoever pushes the changes.
    pub(super) fn look_ahead(&mut self) -> Result<Option<Ahead>, Lagged> {
        Ok(self.look()?.map(Ahead::new))
    }

    /// Whether what is read is the state at the position.
    pub(super) fn stands(&self) -> bool {
        self.shown == Some(self.position)
    }

    /// Lets the snapshot go, so that the log can be reset.
    pub(super) fn rest(&mut self) {
        self.shown = None;
        if let Err(error) = self.reader.release() {
            tracing::warn!(%error, "the reader's snapshot cannot be released");
        }
    }
}

impl Ahead {
    pub(super) fn new(mut steps: Vec<Arc<Advance>>) -> Self {
        let sets = steps.iter().filter_map(|step| match &step.reset {
            Reset::None => None,
            Reset::Tables(tables) => Some(tables),
        });
        let reset: BTreeSet<TableId> = sets.flatten().copied().collect();
        if !reset.is_empty() {
            // Whoever reads these tables reads them anew; their rows may have had another shape.
            steps.iter_mut().for_each(|s| *s = without(s, &reset));
        }
        Ahead { steps, reset }
    }
}

/// A step without the changes of some tables.
pub(super) fn without(step: &Arc<Advance>, tables: &BTreeSet<TableId>) -> Arc<Advance> {
    if !step.changes.iter().any(|c| tables.contains(&c.table)) {
        return step.clone();
    }
    let mut rest = Advance::clone(step);
    rest.changes.retain(|c| !tables.contains(&c.table));
    Arc::new(rest)
}
