//! What an operator keeps for each partition of its input; partitions stay for as long as the operator does.

use std::collections::BTreeMap;

use landfall_zql::Key;

/// Values by partition. The tree holds their places, so that all operators share the code of one tree.
#[derive(Debug)]
pub(crate) struct Partitions<T> {
    places: BTreeMap<Key, usize>,
    kept: Vec<T>,
}

impl<T: Default> Partitions<T> {
    pub fn new() -> Partitions<T> {
        Partitions {
            places: BTreeMap::new(),
            kept: Vec::new(),
        }
    }

    pub fn contains(&self, key: &Key) -> bool {
        self.places.contains_key(key)
    }

    pub fn get(&self, key: &Key) -> Option<&T> {
        self.places.get(key).map(|place| &self.kept[*place])
    }

    /// The value of a partition, made if there is none.
    pub fn entry(&mut self, key: &Key) -> &mut T {
        let place = match self.places.get(key) {
            Some(place) => *place,
            None => {
                let place = self.kept.len();
                self.places.insert(key.clone(), place);
                self.kept.push(T::default());
                place
            }
        };
        &mut self.kept[place]
    }
}
