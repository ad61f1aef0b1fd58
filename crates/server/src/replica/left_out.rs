//! Tells of rows that are left out of queries, since a column of theirs holds what its type cannot carry.
//!
//! Such a row is as if it were not there: it comes back by itself when the value is mended at the source.

use std::collections::BTreeMap;

use landfall_zql::Row;

use super::{ReplicaError, carried};

/// Counts left-out rows by their reason, and logs each reason at its first, tenth, hundredth … row.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    counts: BTreeMap<String, u64>,
}

impl LeftOut {
    /// A row as it is now at the source, or none if it is left out.
    pub fn carried(&mut self, row: Result<Row, ReplicaError>) -> Result<Option<Row>, ReplicaError> {
        if let Err(error @ ReplicaError::Value { .. }) = &row {
            self.tell(error);
        }
        carried(row)
    }

    fn tell(&mut self, error: &ReplicaError) {
        metrics::counter!("landfall_rows_left_out_total").increment(1);
        let count = self.counts.entry(error.to_string()).or_default();
        *count += 1;
        if is_power_of_ten(*count) {
            tracing::warn!(%error, rows = *count, "a row is left out of every query until its value is mended");
        }
    }
}

fn is_power_of_ten(mut count: u64) -> bool {
    while count > 1 && count.is_multiple_of(10) {
        count /= 10;
    }
    count == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_logged_ever_less_often() {
        let logged: Vec<u64> = (0..2_000).filter(|&count| is_power_of_ten(count)).collect();
        assert_eq!(logged, [1, 10, 100, 1000]);
    }
}
