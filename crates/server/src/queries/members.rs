//! The members of one query instance, each with the versions at which it entered, changed and left.
//!
//! A label may be later than the truth but never earlier, and an entry too many in a poke does no harm.
//! Generic over key and row, so that the rules can be tested against a model without an engine.

use std::collections::{BTreeMap, BTreeSet};

use crate::cvr::StateVersion;

/// Departures kept at least, before pruning is considered.
const TOMBSTONES_KEPT: usize = 1_000;

/// A row that is in the instance now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live<R> {
    /// Its contents.
    pub row: R,
    /// How often the pipeline emits it, over all levels.
    pub count: i64,
    /// Version at which it last entered.
    pub entered: StateVersion,
    /// Version at which its contents last changed while inside.
    pub changed: StateVersion,
}

/// A row that was in the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departed {
    /// Version at which it had entered.
    pub entered: StateVersion,
    /// Version at which it left.
    pub left: StateVersion,
}

/// What a point did to one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It came in.
    Entered,
    /// It stayed, with other contents.
    Changed,
    /// It went out.
    Left,
}

/// The change of one key within a point: sum of counts, and the contents it had last.
#[derive(Clone, Debug)]
pub struct Delta<R> {
    /// Sum of the emitted counts.
    pub count: i64,
    /// Contents of the latest occurrence that came in.
    pub row: Option<R>,
}

// Not derived: that would ask for a default row.
impl<R> Default for Delta<R> {
    fn default() -> Self {
        Delta {
            count: 0,
            row: None,
        }
    }
}

/// A pipeline took away a row more often than it had given it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("row accounting of a query went below zero")]
pub struct AccountingError;

/// All members of an instance.
#[derive(Clone, Debug)]
pub struct Members<K, R> {
    live: BTreeMap<K, Live<R>>,
    departed: BTreeMap<K, Departed>,
    pruned_below: StateVersion,
    changed_at: StateVersion,
}

impl<K, R> Default for Members<K, R> {
    fn default() -> Self {
        Members {
            live: BTreeMap::new(),
            departed: BTreeMap::new(),
            pruned_below: 0,
            changed_at: 0,
        }
    }
}

impl<K: Ord + Clone, R: Clone + PartialEq> Members<K, R> {
    /// Rows in the instance now.
    pub fn live(&self) -> impl Iterator<Item = (&K, &Live<R>)> {
        self.live.iter()
    }

    /// A row in the instance now.
    pub fn get(&self, key: &K) -> Option<&Live<R>> {
        self.live.get(key)
    }

    /// A row that left and has not come back.
    pub fn departed(&self, key: &K) -> Option<&Departed> {
        self.departed.get(key)
    }

    /// Rows that left and have not come back.
    pub fn all_departed(&self) -> impl Iterator<Item = (&K, &Departed)> {
        self.departed.iter()
    }

    /// Departures at or below this version are forgotten.
    pub fn pruned_below(&self) -> StateVersion {
        self.pruned_below
    }

    /// The newest label: nothing happened after it.
    pub fn changed_at(&self) -> StateVersion {
        self.changed_at
    }

    /// Number of rows in the instance.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether the instance is empty.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Takes in a row that a fresh hydration gave, with the labels of an earlier life.
    pub fn restore_live(&mut self, key: K, live: Live<R>) {
        self.changed_at = self.changed_at.max(live.entered).max(live.changed);
        self.live.insert(key, live);
    }

    /// Takes in a departure of an earlier life.
    pub fn restore_departed(&mut self, key: K, departed: Departed) {
        self.changed_at = self.changed_at.max(departed.left);
        self.departed.insert(key, departed);
    }

    /// Sets the bound of forgotten departures.
    pub fn restore_pruned(&mut self, below: StateVersion) {
        self.pruned_below = self.pruned_below.max(below);
    }

    /// Applies the summed changes of one point and tells what they did. Nothing is applied on error.
    pub fn step(
        &mut self,
        point: StateVersion,
        deltas: BTreeMap<K, Delta<R>>,
    ) -> Result<Vec<(K, Step)>, AccountingError> {
        let counted = |k: &K, d: &Delta<R>| self.live.get(k).map_or(0, |l| l.count) + d.count;
        let valid = |(k, d): (&K, &Delta<R>)| match counted(k, d) {
            0 => true,
            count => count > 0 && (d.row.is_some() || self.live.contains_key(k)),
        };
        if !deltas.iter().all(valid) {
            return Err(AccountingError);
        }
        let mut steps = Vec::new();
        for (key, delta) in deltas {
            if let Some(step) = self.step_one(point, &key, delta) {
                self.changed_at = point;
                steps.push((key, step));
            }
        }
        Ok(steps)
    }

    fn step_one(&mut self, point: StateVersion, key: &K, delta: Delta<R>) -> Option<Step> {
        let Some(live) = self.live.get_mut(key) else {
            let row = delta.row.filter(|_| delta.count > 0)?;
            self.departed.remove(key);
            self.live.insert(
                key.clone(),
                Live {
                    row,
                    count: delta.count,
                    entered: point,
                    changed: point,
                },
            );
            return Some(Step::Entered);
        };
        live.count += delta.count;
        if live.count == 0 {
            let entered = live.entered;
            self.live.remove(key);
            self.departed.insert(
                key.clone(),
                Departed {
                    entered,
                    left: point,
                },
            );
            return Some(Step::Left);
        }
        match delta.row {
            Some(row) if row != live.row => {
                live.row = row;
                live.changed = point;
                Some(Step::Changed)
            }
            _ => None,
        }
    }

    /// Forgets the oldest departures when there are many more than members. Returns the new bound if it rose.
    pub fn prune(&mut self) -> Option<StateVersion> {
        if self.departed.len() <= TOMBSTONES_KEPT.max(2 * self.live.len()) {
            return None;
        }
        let mut labels: Vec<StateVersion> = self.departed.values().map(|d| d.left).collect();
        labels.sort_unstable();
        let bound = labels[labels.len() / 2];
        self.departed.retain(|_, d| d.left > bound);
        self.pruned_below = bound;
        Some(bound)
    }
}

/// Who is and was in an instance since when: all that is needed of what a client *had*.
pub trait Labels<K> {
    /// The version at which a present member last entered.
    fn entered(&self, key: &K) -> Option<StateVersion>;
    /// All present members.
    fn each_live(&self, each: &mut dyn FnMut(&K));
    /// Members that left after a version and have not come back.
    fn each_departed(&self, after: StateVersion, each: &mut dyn FnMut(&K));
}

impl<K: Ord + Clone, R: Clone + PartialEq> Labels<K> for Members<K, R> {
    fn entered(&self, key: &K) -> Option<StateVersion> {
        self.live.get(key).map(|live| live.entered)
    }

    fn each_live(&self, each: &mut dyn FnMut(&K)) {
        self.live.keys().for_each(each);
    }

    fn each_departed(&self, after: StateVersion, each: &mut dyn FnMut(&K)) {
        self.departed
            .iter()
            .filter(|(_, d)| d.left > after)
            .for_each(|(k, _)| each(k));
    }
}

/// The labels of an instance that no pipeline serves.
#[derive(Clone, Debug, Default)]
pub struct ColdMembers<K: Ord> {
    /// Present members with the version at which they entered.
    pub live: BTreeMap<K, StateVersion>,
    /// Departed ones with the version at which they left.
    pub departed: BTreeMap<K, StateVersion>,
}

impl<K: Ord> Labels<K> for ColdMembers<K> {
    fn entered(&self, key: &K) -> Option<StateVersion> {
        self.live.get(key).copied()
    }

    fn each_live(&self, each: &mut dyn FnMut(&K)) {
        self.live.keys().for_each(each);
    }

    fn each_departed(&self, after: StateVersion, each: &mut dyn FnMut(&K)) {
        self.departed
            .iter()
            .filter(|(_, left)| **left > after)
            .for_each(|(k, _)| each(k));
    }
}

/// The rows of a catch-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatchUp<K, R> {
    /// Rows to send, with their present contents.
    pub puts: Vec<(K, R)>,
    /// Rows to take away.
    pub dels: Vec<K>,
}

/// What a client at `since` needs to have the rows of `have`, when it had the instances `had`.
/// `None` as `since` stands for a client that has nothing.
///
/// `had` must be recorded from `since` on: see `pruned_below`. `witnesses` are those of `have` whose labels hold for
/// `since`: one that nobody watched just then cannot tell that a row stayed as it was.
pub fn catch_up<K: Ord + Clone, R: Clone + PartialEq>(
    since: Option<StateVersion>,
    had: &[&dyn Labels<K>],
    have: &[&Members<K, R>],
    witnesses: &[&Members<K, R>],
) -> CatchUp<K, R> {
    let mut must: BTreeMap<&K, &R> = BTreeMap::new();
    for (key, live) in have.iter().flat_map(|m| m.live()) {
        must.insert(key, &live.row);
    }
    let Some(since) = since else {
        let puts = must
            .into_iter()
            .map(|(k, r)| (k.clone(), r.clone()))
            .collect();
        return CatchUp {
            puts,
            dels: Vec::new(),
        };
    };
    let up_to_date = |key: &K| {
        let surely_had = had
            .iter()
            .any(|m| m.entered(key).is_some_and(|entered| entered <= since));
        // Whoever held the row since then would have labelled a change of it.
        let unchanged = || {
            witnesses.iter().any(|m| {
                m.get(key)
                    .is_some_and(|l| l.entered <= since && l.changed <= since)
            })
        };
        surely_had && unchanged()
    };
    let mut dels: BTreeSet<K> = BTreeSet::new();
    for members in had {
        let mut gone = |key: &K| {
            if !must.contains_key(key) {
                dels.insert(key.clone());
            }
        };
        // A present member may have left and come back since: its label cannot tell, so it counts as "may have".
        members.each_live(&mut gone);
        members.each_departed(since, &mut gone);
    }
    let puts = must
        .iter()
        .filter(|(k, _)| !up_to_date(k))
        .map(|(k, r)| ((*k).clone(), (*r).clone()))
        .collect();
    CatchUp {
        puts,
        dels: dels.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type M = Members<u8, u32>;

    fn set(members: &mut M, point: StateVersion, wanted: &BTreeMap<u8, u32>) -> Vec<(u8, Step)> {
        let mut deltas: BTreeMap<u8, Delta<u32>> = BTreeMap::new();
        for (key, live) in members.live() {
            deltas.entry(*key).or_default().count -= live.count;
        }
        for (key, row) in wanted {
            let delta = deltas.entry(*key).or_default();
            delta.count += 1;
            delta.row = Some(*row);
        }
        members.step(point, deltas).expect("counts are exact")
    }

    #[test]
    fn a_row_is_counted_over_all_its_occurrences() {
        let mut m = M::default();
        let plus = |count, row| BTreeMap::from([(1u8, Delta { count, row })]);
        assert_eq!(m.step(1, plus(2, Some(10))), Ok(vec![(1, Step::Entered)]));
        assert_eq!(m.step(2, plus(-1, None)), Ok(vec![]));
        assert_eq!(m.step(3, plus(0, Some(11))), Ok(vec![(1, Step::Changed)]));
        assert_eq!(m.step(4, plus(-1, None)), Ok(vec![(1, Step::Left)]));
        assert_eq!(m.step(5, plus(-1, None)), Err(AccountingError));
        assert_eq!(
            m.departed(&1),
            Some(&Departed {
                entered: 1,
                left: 4
            })
        );
    }

    #[test]
    fn a_row_that_came_back_to_a_dropped_query_is_taken_away() {
        let mut m = M::default();
        let row = BTreeMap::from([(1u8, 10u32)]);
        set(&mut m, 1, &row);
        set(&mut m, 3, &BTreeMap::new());
        set(&mut m, 4, &row);
        assert_eq!(catch_up::<u8, u32>(Some(2), &[&m], &[], &[]).dels, vec![1]);
    }

    #[test]
    fn nothing_is_sent_when_nothing_changed() {
        let mut m = M::default();
        set(&mut m, 1, &BTreeMap::from([(1, 1), (2, 2)]));
        assert_eq!(
            catch_up(Some(1), &[&m], &[&m], &[&m]),
            CatchUp {
                puts: vec![],
                dels: vec![]
            }
        );
    }

    /// A row went from 10 to 11 and back while one of its two queries was not watched.
    #[test]
    fn only_who_watched_can_tell_that_a_row_stayed_the_same() {
        let (mut watched, mut paused) = (M::default(), M::default());
        for (point, row) in [(1, 10u32), (12, 11), (18, 10)] {
            set(&mut watched, point, &BTreeMap::from([(1u8, row)]));
        }
        set(&mut paused, 1, &BTreeMap::from([(1u8, 10u32)]));
        let puts = |witnesses: &[&M]| {
            catch_up(Some(15), &[&watched], &[&watched, &paused], witnesses).puts
        };
        assert_eq!(puts(&[&watched]), vec![(1, 10)]);
        assert_eq!(puts(&[&watched, &paused]), vec![]);
    }

    #[test]
    fn pruning_forgets_the_older_half() {
        let mut wide: Members<u32, u32> = Members::default();
        for key in 0..2_002 {
            wide.departed.insert(
                key,
                Departed {
                    entered: 0,
                    left: u64::from(key),
                },
            );
        }
        let mut few = wide.clone();
        few.departed.retain(|k, _| *k < 1_000);
        assert_eq!(few.prune(), None);
        assert_eq!(wide.prune(), Some(1_001));
        assert_eq!(wide.departed.len(), 1_000);
    }

    /// Random histories of three queries over shared rows. A client that jumps from any version to the present, with
    /// any sets of queries then and now, must hold exactly the rows of its queries.
    type History = (Vec<Vec<BTreeMap<u8, bool>>>, usize, [bool; 3], [bool; 3]);

    fn histories() -> impl Strategy<Value = History> {
        let membership = proptest::collection::btree_map(0u8..6, any::<bool>(), 0..6);
        let point = proptest::collection::vec(membership, 3);
        (
            proptest::collection::vec(point, 1..8),
            0usize..8,
            any::<[bool; 3]>(),
            any::<[bool; 3]>(),
        )
    }

    proptest! {
        #[test]
        fn catch_up_reaches_the_union_of_the_queries((points, since, had, have) in histories()) {
            let mut instances = [M::default(), M::default(), M::default()];
            let mut contents: BTreeMap<u8, u32> = BTreeMap::new();
            let since = since % points.len() + 1;
            let mut client: BTreeMap<u8, u32> = BTreeMap::new();
            for (i, point) in points.iter().enumerate() {
                let version = i as StateVersion + 1;
                // A row is one row: all queries see the same contents, and `true` changes it.
                for (key, edited) in point.iter().flatten() {
                    let row = contents.entry(*key).or_insert(0);
                    *row += u32::from(*edited);
                }
                for (members, wanted) in instances.iter_mut().zip(point) {
                    let rows = wanted.keys().map(|k| (*k, contents[k])).collect();
                    set(members, version, &rows);
                }
                if i + 1 == since {
                    for (m, _) in instances.iter().zip(had).filter(|(_, h)| *h) {
                        client.extend(m.live().map(|(k, l)| (*k, l.row)));
                    }
                }
            }
            let pick = |which: [bool; 3]| -> Vec<&M> {
                instances.iter().zip(which).filter(|(_, w)| *w).map(|(m, _)| m).collect()
            };
            let labels = |which: [bool; 3]| -> Vec<&dyn Labels<u8>> {
                pick(which).into_iter().map(|m| m as &dyn Labels<u8>).collect()
            };
            let have_now = pick(have);
            let patch = catch_up(Some(since as StateVersion), &labels(had), &have_now, &have_now);
            for key in patch.dels {
                client.remove(&key);
            }
            client.extend(patch.puts);
            let wanted: BTreeMap<u8, u32> =
                pick(have).iter().flat_map(|m| m.live().map(|(k, l)| (*k, l.row))).collect();
            prop_assert_eq!(client, wanted);
        }
    }
}
