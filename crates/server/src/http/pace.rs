//! How fast the messages of a connection are taken: what comes faster waits in the network.

use std::time::{Duration, Instant};

/// What may be taken at once.
const BURST: Duration = Duration::from_secs(1);

/// Lets a second's worth of messages through at once, then one after another.
pub(super) struct Pace {
    /// Time that one message is worth.
    cost: Duration,
    /// When all that was let through is paid for.
    paid: Option<Instant>,
}

impl Pace {
    pub(super) fn new(per_second: u32) -> Self {
        Pace {
            cost: Duration::from_secs(1) / per_second.max(1),
            paid: None,
        }
    }

    /// Waits until the next message may be taken.
    pub(super) async fn wait(&mut self) {
        let delay = self.delay(Instant::now());
        if !delay.is_zero() {
            metrics::counter!("landfall_messages_delayed_total").increment(1);
            tokio::time::sleep(delay).await;
        }
    }

    /// How long a message that comes now has to wait.
    fn delay(&mut self, now: Instant) -> Duration {
        let paid = self.paid.map_or(now, |paid| paid.max(now)) + self.cost;
        self.paid = Some(paid);
        (paid - now).saturating_sub(BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_is_slowed_down() {
        let mut pace = Pace::new(10);
        let mut now = Instant::now();
        let mut take = |messages: usize, pause: u64| {
            now += Duration::from_secs(pause);
            let start = now;
            for _ in 0..messages {
                now += pace.delay(now);
            }
            (now - start).as_millis()
        };
        assert_eq!(take(10, 0), 0);
        assert_eq!(take(20, 0), 2_000);
        assert_eq!(take(10, 60), 0);
        assert_eq!(take(15, 1), 500);
    }
}
