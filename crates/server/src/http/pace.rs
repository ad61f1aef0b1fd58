//! How fast the messages of a connection are taken: what comes faster waits in the network.

use std::time::Duration;

use tokio::time::Instant;

/// Lets a second's worth of messages through at once, then one after another.
pub(super) struct Pace {
    /// Time that one message is worth.
    cost: Duration,
    /// When all that was let through is paid for.
    paid: Instant,
}

impl Pace {
    pub(super) fn new(per_second: u32) -> Self {
        Pace {
            cost: Duration::from_secs(1) / per_second.max(1),
            paid: Instant::now(),
        }
    }

    /// Waits until the next message may be taken.
    pub(super) async fn wait(&mut self) {
        let now = Instant::now();
        self.paid = self.paid.max(now) + self.cost;
        let ahead = self.paid - now;
        if ahead > Duration::from_secs(1) {
            metrics::counter!("landfall_messages_delayed_total").increment(1);
            tokio::time::sleep(ahead - Duration::from_secs(1)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_a_flood_is_slowed_down() {
        let mut pace = Pace::new(10);
        let start = Instant::now();
        for _ in 0..10 {
            pace.wait().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..20 {
            pace.wait().await;
        }
        assert_eq!(start.elapsed().as_millis(), 2_000);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let later = Instant::now();
        for _ in 0..10 {
            pace.wait().await;
        }
        assert_eq!(later.elapsed(), Duration::ZERO);
    }
}
