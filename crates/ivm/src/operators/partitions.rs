//! What an operator keeps for each partition of its input, which is for each key of its parents: for as long as there are
//! parents with it, and then until that is looked at.

use std::collections::BTreeMap;

use landfall_zql::Key;

/// Below so many partitions nobody looks which of them are needed.
const FEW: usize = 16;

/// Values by partition. The tree holds their places, so that all operators share the code of one tree.
#[derive(Debug)]
pub(crate) struct Partitions<T> {
    places: BTreeMap<Key, usize>,
    kept: Vec<(Key, T)>,
    /// How many there were when those were forgotten last that nobody needs.
    needed: usize,
}

impl<T: Default> Partitions<T> {
    pub fn new() -> Partitions<T> {
        Partitions {
            places: BTreeMap::new(),
            kept: Vec::new(),
            needed: 0,
        }
    }

    pub fn contains(&self, key: &Key) -> bool {
        self.places.contains_key(key)
    }

    pub fn get(&self, key: &Key) -> Option<&T> {
        self.places.get(key).map(|place| &self.kept[*place].1)
    }

    /// The value of a partition, made if there is none.
    pub fn entry(&mut self, key: &Key) -> &mut T {
        let place = match self.places.get(key) {
            Some(place) => *place,
            None => {
                let place = self.kept.len();
                self.places.insert(key.clone(), place);
                self.kept.push((key.clone(), T::default()));
                place
            }
        };
        &mut self.kept[place].1
    }
}

/// Partitions of any kind, of which some may be needed no more.
pub(crate) trait Crowd {
    /// All keys, if there are twice as many as were needed last: which of them are still needed is to be looked at.
    fn crowd(&mut self) -> Option<Vec<Key>>;
    /// Nobody needs this one any more.
    fn forget(&mut self, key: &Key);
}

impl<T> Crowd for Partitions<T> {
    fn crowd(&mut self) -> Option<Vec<Key>> {
        if self.kept.len() <= 2 * self.needed.max(FEW) {
            return None;
        }
        self.needed = self.kept.len();
        Some(self.kept.iter().map(|(key, _)| key.clone()).collect())
    }

    fn forget(&mut self, key: &Key) {
        let Some(place) = self.places.remove(key) else {
            return;
        };
        self.kept.swap_remove(place);
        if let Some((moved, _)) = self.kept.get(place) {
            self.places.insert(moved.clone(), place);
        }
        self.needed = self.kept.len();
    }
}
