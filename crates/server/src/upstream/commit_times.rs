//! When recent versions were committed, so that it can be measured when clients are told of them.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use crate::cvr::StateVersion;

/// Commits that are remembered.
const REMEMBERED: usize = 1_024;

/// The newest commits, by version. Shared by whoever follows the database and whoever asks.
#[derive(Debug, Default)]
pub struct CommitTimes(Mutex<VecDeque<(StateVersion, SystemTime)>>);

impl CommitTimes {
    /// Notes a commit; versions only grow.
    pub fn note(&self, version: StateVersion, at: SystemTime) {
        let mut commits = self.0.lock();
        if commits.back().is_some_and(|(last, _)| *last >= version) {
            return;
        }
        if commits.len() == REMEMBERED {
            commits.pop_front();
        }
        commits.push_back((version, at));
    }

    /// How long ago the first commit above `before` was made that is part of `version`; `None` if it is forgotten.
    pub fn age(&self, before: StateVersion, version: StateVersion) -> Option<Duration> {
        let commits = self.0.lock();
        let first = commits.partition_point(|(v, _)| *v <= before);
        let (found, at) = commits.get(first)?;
        // Clocks of two machines may disagree; a commit in the future is one just now.
        (*found <= version).then(|| SystemTime::now().duration_since(*at).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_untold_commit_counts() {
        let times = CommitTimes::default();
        let now = SystemTime::now();
        for (version, ago) in [(10, 50), (12, 40), (15, 30), (15, 1)] {
            times.note(version, now - Duration::from_secs(ago));
        }
        let check = |before, version, expected: Option<u64>| {
            let age = times.age(before, version).map(|age| age.as_secs());
            assert_eq!(age, expected, "{before} to {version}");
        };
        check(10, 15, Some(40));
        check(12, 15, Some(30));
        check(0, 12, Some(50));
        check(15, 15, None);
        check(12, 14, None);
    }
}
