//! How far a point has got to the groups: while the last one is on its way, commits are gathered for the next.
//!
//! So what a commit costs falls when there is more to do than can be done, and no group is ever far behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long the next point waits for groups at most: one that does not answer holds up the others for no longer.
const PATIENCE: Duration = Duration::from_millis(20);
/// … and for each group that hears of the point.
const PATIENCE_PER_GROUP: Duration = Duration::from_micros(50);
/// … but never longer than this.
const MAX_PATIENCE: Duration = Duration::from_secs(1);
/// The longest rest between two points.
const MAX_REST: Duration = Duration::from_millis(250);

/// Held by everyone who still has to hear of a point.
#[derive(Debug)]
pub struct Told(Option<Under>);

struct Under {
    begun: Instant,
    state: Arc<Mutex<State>>,
    number: u64,
    over: Arc<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Under {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Under").finish_non_exhaustive()
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let Some(under) = self.0.take() else { return };
        let now = Instant::now();
        let mut state = under.state.lock();
        if state.number == under.number {
            // As long again is left to everyone else, the groups' clients among them.
            let rest = (now - under.begun).min(MAX_REST);
            state.free_at = now + rest;
            drop(state);
            (under.over)();
        }
    }
}

#[derive(Debug)]
struct State {
    /// The last point that was told.
    number: u64,
    /// When the next one may follow.
    free_at: Instant,
}

/// The pace at which points follow each other.
pub(super) struct Telling {
    state: Arc<Mutex<State>>,
    over: Arc<dyn Fn() + Send + Sync>,
}

impl Telling {
    /// `over` is called, from any thread, whenever everyone has heard of the last point.
    pub(super) fn new(over: impl Fn() + Send + Sync + 'static) -> Self {
        let state = State {
            number: 0,
            free_at: Instant::now(),
        };
        Telling {
            state: Arc::new(Mutex::new(state)),
            over: Arc::new(over),
        }
    }

    /// A point is told to some groups, each of which holds this until it has taken it in.
    pub(super) fn begin(&self, groups: usize) -> Arc<Told> {
        let groups = u32::try_from(groups).unwrap_or(u32::MAX);
        let patience = PATIENCE.saturating_add(PATIENCE_PER_GROUP.saturating_mul(groups));
        let begun = Instant::now();
        let mut state = self.state.lock();
        state.number += 1;
        state.free_at = begun + patience.min(MAX_PATIENCE);
        Arc::new(Told(Some(Under {
            begun,
            state: self.state.clone(),
            number: state.number,
            over: self.over.clone(),
        })))
    }

    /// How long the next point is to wait; zero if not at all.
    pub(super) fn wait(&self) -> Duration {
        self.wait_from(Instant::now())
    }

    fn wait_from(&self, now: Instant) -> Duration {
        self.state.lock().free_at.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn the_next_point_waits_for_those_who_hear_of_the_last() {
        let over = Arc::new(AtomicUsize::new(0));
        let count = over.clone();
        let telling = Telling::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(telling.wait(), Duration::ZERO);
        let now = Instant::now();
        let told = telling.begin(10_000);
        let second = told.clone();
        drop(told);
        assert!(telling.wait_from(now) > MAX_REST && over.load(Ordering::Relaxed) == 0);
        drop(second);
        assert!(telling.wait() <= MAX_REST && over.load(Ordering::Relaxed) == 1);
    }

    #[test]
    fn who_hears_of_an_earlier_point_holds_nobody_up() {
        let telling = Telling::new(|| {});
        let slow = telling.begin(1);
        drop(telling.begin(1));
        let wait = telling.wait();
        drop(slow);
        assert!(telling.wait() <= wait);
    }
}
