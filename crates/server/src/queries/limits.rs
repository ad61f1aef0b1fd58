//! What one query may cost, and how many threads serve all of them.

use std::time::Duration;

use super::instance::InstanceError;

/// Threads at most.
pub const MAX_THREADS: usize = 64;

/// Bounds of each query by itself: one that goes beyond fails, and no other does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryLimits {
    /// Rows, over all of its levels.
    pub rows: usize,
    /// Bytes of memory that its rows take, about.
    pub bytes: usize,
    /// Time of a thread that reading it for the first time may take.
    pub hydration: Duration,
    /// Time that the changes of one round may take; beyond, it is read anew while others go on.
    pub advance: Duration,
}

impl Default for QueryLimits {
    fn default() -> Self {
        QueryLimits {
            rows: 2_000_000,
            bytes: 1 << 30,
            hydration: Duration::from_secs(60),
            advance: Duration::from_secs(1),
        }
    }
}

impl QueryLimits {
    /// What a query with so many rows and bytes goes beyond.
    pub(super) fn exceeded(&self, rows: usize, bytes: usize) -> Option<InstanceError> {
        if rows > self.rows {
            return Some(InstanceError::TooManyRows(self.rows));
        }
        (bytes > self.bytes).then_some(InstanceError::TooMuchMemory(self.bytes))
    }
}

/// How the pool is set up.
#[derive(Clone, Copy, Debug)]
pub struct PoolSettings {
    /// Threads that keep queries current; as many as there are processors, unless set.
    pub threads: usize,
    /// Bounds of each query.
    pub limits: QueryLimits,
}

impl Default for PoolSettings {
    fn default() -> Self {
        let processors = std::thread::available_parallelism();
        PoolSettings {
            threads: processors.map_or(2, usize::from).min(MAX_THREADS),
            limits: QueryLimits::default(),
        }
    }
}
