//! Durations, and what is said of many.

use std::time::Duration;

use serde_json::{Value, json};

/// Counts by microseconds in steps of about 2 %, so that millions of durations stay small.
pub struct Latencies {
    counts: Vec<u64>,
    count: u64,
    longest: Duration,
}

const STEPS_PER_OCTAVE: f64 = 32.0;

impl Latencies {
    pub fn new() -> Latencies {
        Latencies {
            counts: Vec::new(),
            count: 0,
            longest: Duration::ZERO,
        }
    }

    pub fn add(&mut self, duration: Duration) {
        let micros = duration.as_micros().max(1) as f64;
        let slot = (micros.log2() * STEPS_PER_OCTAVE) as usize;
        if self.counts.len() <= slot {
            self.counts.resize(slot + 1, 0);
        }
        self.counts[slot] += 1;
        self.count += 1;
        self.longest = self.longest.max(duration);
    }

    fn quantile(&self, part: f64) -> Option<f64> {
        let wanted = ((self.count as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        for (slot, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Some(2f64.powf((slot as f64 + 0.5) / STEPS_PER_OCTAVE) / 1000.0);
            }
        }
        None
    }

    /// In milliseconds.
    pub fn summary(&self) -> Value {
        json!({
            "count": self.count, "p50": self.quantile(0.5), "p99": self.quantile(0.99),
            "max": self.longest.as_secs_f64() * 1000.0,
        })
    }
}

/// Median of milliseconds, of an unsorted list that is not empty.
pub fn median(mut list: Vec<f64>) -> f64 {
    list.sort_by(f64::total_cmp);
    let middle = list.len() / 2;
    if list.len() % 2 == 1 {
        list[middle]
    } else {
        (list[middle - 1] + list[middle]) / 2.0
    }
}

pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_their_steps() {
        let mut latencies = Latencies::new();
        for ms in 1..=1000 {
            latencies.add(Duration::from_millis(ms));
        }
        for (part, wanted) in [(0.5, 500.0), (0.99, 990.0)] {
            let found = latencies.quantile(part).unwrap_or_default();
            assert!((found / wanted - 1.0).abs() < 0.03, "{part}: {found}");
        }
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
