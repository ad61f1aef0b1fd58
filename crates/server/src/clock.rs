//! The clocks, read in one place.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A moment by both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since some moment of this process; never jumps.
    pub steady_ms: u64,
    /// Milliseconds since the epoch, as whoever sets the clock sees it.
    pub wall_ms: u64,
}

/// The present moment.
pub fn now() -> Now {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    Now {
        steady_ms: BEGAN.get_or_init(Instant::now).elapsed().as_millis() as u64,
        wall_ms: now_ms(),
    }
}

/// Milliseconds since the epoch.
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as u64)
}
