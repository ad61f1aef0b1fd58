//! A step of the replica from one version to the next, and the bounded ring that hands steps out.
//!
//! A step enters the ring before its commit and is announced after it.
//! So a reader that sees a version finds its step, and a subscriber that hears of a version can read it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use landfall_zql::{Row, TableId};
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::StateVersion;

/// Steps that the ring keeps at most: some seconds of the fastest stream of small transactions, since whoever falls
/// further behind reads every query anew. Half a kilobyte each.
const MAX_STEPS: usize = 32_768;
/// Row changes that the ring keeps at most, over all steps.
const MAX_CHANGES: usize = 200_000;

/// One step: everything that one commit of the replica changed.
#[derive(Debug, Clone, Default)]
pub struct Advance {
    /// The version before.
    pub from: StateVersion,
    /// The version after.
    pub to: StateVersion,
    /// At most one change per row key, in the order of tables and keys; none for tables in `reset`.
    pub changes: Vec<RowChange>,
    /// Last mutation ids that rose.
    pub lmids: Vec<LmidChange>,
    /// Mutation results that were put or deleted.
    pub results: Vec<ResultChange>,
    /// Tables whose changes are not listed.
    pub reset: Reset,
    /// Whether the permissions row changed.
    pub permissions_changed: bool,
}

/// A changed row. A row whose key changed is one removed and one added row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    /// The table.
    pub table: TableId,
    /// The row at [`Advance::from`].
    pub before: Option<Row>,
    /// The row at [`Advance::to`].
    pub after: Option<Row>,
}

/// The last mutation id of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LmidChange {
    /// The client group.
    pub group: String,
    /// The client.
    pub client: String,
    /// The last mutation that was dealt with.
    pub lmid: u64,
}

/// The result of a mutation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultChange {
    /// The client group.
    pub group: String,
    /// The client.
    pub client: String,
    /// The mutation.
    pub id: u64,
    /// JSON text of the result; `None` if it was deleted.
    pub result: Option<String>,
}

/// Which tables changed in a way that is not listed row by row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Reset {
    /// None.
    #[default]
    None,
    /// These: too many changes, changes that could not be followed, or columns that are others from now on.
    Tables(BTreeSet<TableId>),
}

/// The subscriber was too slow, or the ring never held what it asked for: it must read anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the changes asked for are no longer held")]
pub struct Lagged;

/// The newest steps.
#[derive(Debug)]
pub(super) struct Ring {
    held: Mutex<Held>,
    entered: Condvar,
    announced: watch::Sender<StateVersion>,
}

#[derive(Debug)]
struct Held {
    steps: VecDeque<Arc<Advance>>,
    /// Number of the first held step.
    first: u64,
    changes: usize,
    newest: StateVersion,
}

impl Ring {
    pub(super) fn new(version: StateVersion) -> Self {
        Ring {
            held: Mutex::new(Held {
                steps: VecDeque::new(),
                first: 0,
                changes: 0,
                newest: version,
            }),
            entered: Condvar::new(),
            announced: watch::Sender::new(version),
        }
    }

    /// Takes a step in, before its commit.
    pub(super) fn enter(&self, advance: Advance) {
        let mut held = self.held.lock();
        held.changes += advance.changes.len();
        held.newest = advance.to;
        held.steps.push_back(Arc::new(advance));
        while held.steps.len() > MAX_STEPS || (held.changes > MAX_CHANGES && held.steps.len() > 1) {
            if let Some(dropped) = held.steps.pop_front() {
                held.changes -= dropped.changes.len();
                held.first += 1;
            }
        }
        drop(held);
        self.entered.notify_all();
    }

    /// Takes the newest step back: its commit failed.
    pub(super) fn retract(&self) {
        let mut held = self.held.lock();
        if let Some(dropped) = held.steps.pop_back() {
            held.changes -= dropped.changes.len();
            held.newest = dropped.from;
        }
    }

    /// Tells subscribers of the newest step, after its commit.
    pub(super) fn announce(&self) {
        let newest = self.held.lock().newest;
        self.announced.send_replace(newest);
    }

    pub(super) fn announced(&self) -> StateVersion {
        *self.announced.borrow()
    }

    /// Waits until the ring has been told of a version. False if it took too long.
    pub(super) fn wait_for(&self, version: StateVersion, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut held = self.held.lock();
        while held.newest < version {
            if self.entered.wait_until(&mut held, deadline).timed_out() {
                return held.newest >= version;
            }
        }
        true
    }

    /// The steps that lead from one version to another; the last may end before it, if that is in the middle of one.
    pub(super) fn between(
        &self,
        from: StateVersion,
        to: StateVersion,
    ) -> Result<Vec<Arc<Advance>>, Lagged> {
        let held = self.held.lock();
        let first = held.steps.partition_point(|step| step.to <= from);
        let reaches_back = match held.steps.get(first) {
            Some(step) => step.from <= from,
            None => held.newest <= from,
        };
        if !reaches_back && from < to {
            return Err(Lagged);
        }
        let later = held.steps.range(first..);
        Ok(later.take_while(|step| step.to <= to).cloned().collect())
    }

    /// The announced version, and the number of the first step after it.
    fn position(&self) -> (StateVersion, u64) {
        let held = self.held.lock();
        let announced = self.announced();
        let later = held.steps.iter().filter(|step| step.to > announced).count();
        let next = held.first + (held.steps.len() - later) as u64;
        (announced, next)
    }

    fn get(&self, number: u64) -> Result<Option<Arc<Advance>>, Lagged> {
        let held = self.held.lock();
        let index = number.checked_sub(held.first).ok_or(Lagged)?;
        Ok(usize::try_from(index)
            .ok()
            .and_then(|index| held.steps.get(index).cloned()))
    }
}

/// Hands out every step after the version it began at, in order.
#[derive(Debug)]
pub struct Subscription {
    ring: Arc<Ring>,
    next: u64,
    announced: watch::Receiver<StateVersion>,
}

impl Subscription {
    /// A subscription that begins after the version given beside it.
    pub(super) fn new(ring: Arc<Ring>) -> (StateVersion, Self) {
        let announced = ring.announced.subscribe();
        let (version, next) = ring.position();
        let subscription = Subscription {
            ring,
            next,
            announced,
        };
        (version, subscription)
    }

    /// The next step, once readers can see it.
    pub async fn next(&mut self) -> Result<Arc<Advance>, Lagged> {
        loop {
            if let Some(step) = self.try_next()? {
                return Ok(step);
            }
            // The sender lives in the ring, which this subscription holds.
            if self.announced.changed().await.is_err() {
                return Err(Lagged);
            }
        }
    }

    /// The next step if readers can see it already.
    pub fn try_next(&mut self) -> Result<Option<Arc<Advance>>, Lagged> {
        let announced = *self.announced.borrow_and_update();
        self.take_if(|step| step.to <= announced)
    }

    /// All steps up to a version that a reader sees, announced or not.
    pub fn take_until(&mut self, version: StateVersion) -> Result<Vec<Arc<Advance>>, Lagged> {
        let mut steps = Vec::new();
        while let Some(step) = self.take_if(|step| step.to <= version)? {
            steps.push(step);
        }
        Ok(steps)
    }

    fn take_if(
        &mut self,
        wanted: impl FnOnce(&Advance) -> bool,
    ) -> Result<Option<Arc<Advance>>, Lagged> {
        let step = self.ring.get(self.next)?;
        let step = step.filter(|step| wanted(step));
        self.next += u64::from(step.is_some());
        Ok(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(from: u64, to: u64, changes: usize) -> Advance {
        let change = RowChange {
            table: TableId(0),
            before: None,
            after: None,
        };
        Advance {
            from,
            to,
            changes: vec![change; changes],
            ..Advance::default()
        }
    }

    #[test]
    fn a_step_is_handed_out_after_its_announcement_or_to_who_sees_it() {
        let ring = Arc::new(Ring::new(5));
        let (version, mut heard) = Subscription::new(ring.clone());
        let (_, mut seen) = Subscription::new(ring.clone());
        assert_eq!(version, 5);
        ring.enter(step(5, 7, 1));
        assert_eq!(heard.try_next().unwrap().map(|s| s.to), None);
        assert_eq!(seen.take_until(7).unwrap().len(), 1);
        ring.announce();
        assert_eq!(heard.try_next().unwrap().map(|s| s.to), Some(7));
        assert!(seen.try_next().unwrap().is_none());
        assert_eq!(Subscription::new(ring).0, 7);
    }

    #[test]
    fn a_retracted_step_is_never_handed_out() {
        let ring = Arc::new(Ring::new(1));
        let (_, mut heard) = Subscription::new(ring.clone());
        ring.enter(step(1, 2, 1));
        ring.retract();
        ring.enter(step(1, 3, 1));
        ring.announce();
        assert_eq!(heard.try_next().unwrap().map(|s| s.to), Some(3));
    }

    #[test]
    fn the_way_between_two_versions_is_known_or_refused() {
        let ring = Ring::new(5);
        let way = |ring: &Ring, from, to| {
            let steps = ring.between(from, to);
            steps.map(|steps| steps.iter().map(|s| s.to).collect::<Vec<_>>())
        };
        assert_eq!(way(&ring, 5, 5), Ok(vec![]));
        assert_eq!(way(&ring, 4, 5), Err(Lagged));
        ring.enter(step(5, 7, 1));
        ring.enter(step(7, 8, 1));
        assert_eq!(way(&ring, 5, 8), Ok(vec![7, 8]));
        assert_eq!(way(&ring, 7, 8), Ok(vec![8]));
        assert_eq!(way(&ring, 8, 8), Ok(vec![]));
        // In the middle of a step, as another process may leave a file.
        assert_eq!(way(&ring, 5, 6), Ok(vec![]));
        assert_eq!(way(&ring, 4, 8), Err(Lagged));
    }

    #[test]
    fn a_slow_subscriber_is_told() {
        let ring = Arc::new(Ring::new(0));
        let (_, mut heard) = Subscription::new(ring.clone());
        for version in 0..3 {
            ring.enter(step(version, version + 1, MAX_CHANGES / 2 + 1));
        }
        ring.announce();
        assert_eq!(heard.try_next().unwrap_err(), Lagged);
        assert_eq!(ring.held.lock().steps.len(), 1);
    }
}
