//! Maps and sets for a handful of entries, kept as sorted lists.
//!
//! They iterate in the order of their keys, as `BTreeMap` and `BTreeSet` do, and read like those.
//! A B-tree costs about ten kilobytes of WebAssembly for every pair of key and value types; a sorted list costs a few
//! hundred bytes, most of them shared by all maps with the same keys.
//! Inserting moves what lies behind: what may grow to many thousands of entries in no particular order, such as
//! anything that is kept per row, belongs into a `BTreeMap`.
//! Decoding sorts once, so that no foreign text makes it slow.

use crate::sort::{arrange, sorted_places};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;

/// A map for a handful of entries, in the order of its keys.
#[derive(Clone, PartialEq, Eq)]
pub struct SortedMap<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
}

/// A set for a handful of members, in their order.
#[derive(Clone, PartialEq, Eq)]
pub struct SortedSet<K> {
    members: Vec<K>,
}

/// Where a key is, or where it would have to go.
fn place<K: Borrow<Q>, Q: Ord + ?Sized>(keys: &[K], key: &Q) -> Result<usize, usize> {
    // What comes in order, as most does, is only compared to the last.
    match keys.last() {
        Some(last) if last.borrow() < key => Err(keys.len()),
        _ => keys.binary_search_by(|known| known.borrow().cmp(key)),
    }
}

impl<K, V> SortedMap<K, V> {
    /// An empty map.
    pub const fn new() -> Self {
        Self {
            keys: Vec::new(),
            values: Vec::new(),
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.values.clear();
    }

    /// The entries in the order of their keys.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> + ExactSizeIterator + Clone {
        self.keys.iter().zip(&self.values)
    }

    /// The keys in order.
    pub fn keys(&self) -> std::slice::Iter<'_, K> {
        self.keys.iter()
    }

    /// The values in the order of their keys.
    pub fn values(&self) -> std::slice::Iter<'_, V> {
        self.values.iter()
    }

    /// The values in the order of their keys, to be changed.
    pub fn values_mut(&mut self) -> std::slice::IterMut<'_, V> {
        self.values.iter_mut()
    }

    /// The entries in the order of their keys, values to be changed.
    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = (&K, &mut V)> {
        self.keys.iter().zip(&mut self.values)
    }

    /// The keys, without their values.
    pub fn into_keys(self) -> std::vec::IntoIter<K> {
        self.keys.into_iter()
    }

    /// The values, without their keys.
    pub fn into_values(self) -> std::vec::IntoIter<V> {
        self.values.into_iter()
    }
}

impl<K: Ord, V> SortedMap<K, V> {
    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let at = place(&self.keys, key).ok()?;
        self.values.get(at)
    }

    /// The value of a key, to be changed.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let at = place(&self.keys, key).ok()?;
        self.values.get_mut(at)
    }

    /// Whether the key has a value.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        place(&self.keys, key).is_ok()
    }

    /// Sets the value of a key; gives the one that it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match place(&self.keys, &key) {
            Ok(at) => Some(std::mem::replace(&mut self.values[at], value)),
            Err(at) => {
                self.keys.insert(at, key);
                self.values.insert(at, value);
                None
            }
        }
    }

    /// The value of a key, after setting it if there was none.
    pub fn get_or_insert_with(&mut self, key: K, value: impl FnOnce() -> V) -> &mut V {
        let at = match place(&self.keys, &key) {
            Ok(at) => at,
            Err(at) => {
                self.keys.insert(at, key);
                self.values.insert(at, value());
                at
            }
        };
        &mut self.values[at]
    }

    /// The value of a key, after setting it to the default if there was none.
    pub fn get_or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        self.get_or_insert_with(key, V::default)
    }

    /// The entries whose keys are at least `from` and, if there is an `until`, below it.
    pub fn range<'a>(
        &'a self,
        from: &K,
        until: Option<&K>,
    ) -> impl Iterator<Item = (&'a K, &'a V)> {
        let at = |key: &K| place(&self.keys, key).unwrap_or_else(|at| at);
        let end = until.map_or(self.keys.len(), at);
        let start = at(from).min(end);
        self.keys[start..end].iter().zip(&self.values[start..end])
    }

    /// Removes the entries whose keys are at least `from` and below `until`.
    pub fn remove_range(&mut self, from: &K, until: &K) {
        let at = |key: &K| place(&self.keys, key).unwrap_or_else(|at| at);
        let end = at(until);
        let start = at(from).min(end);
        self.keys.drain(start..end);
        self.values.drain(start..end);
    }

    /// Keeps only the entries for which `keep` holds.
    pub fn retain(&mut self, keep: impl Fn(&K, &V) -> bool) {
        let mut at = 0;
        while at < self.keys.len() {
            if keep(&self.keys[at], &self.values[at]) {
                at += 1;
            } else {
                self.keys.remove(at);
                self.values.remove(at);
            }
        }
    }

    /// Removes a key; gives its value.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let at = place(&self.keys, key).ok()?;
        self.keys.remove(at);
        Some(self.values.remove(at))
    }
}

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SortedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Ord, V> Extend<(K, V)> for SortedMap<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<K: Ord, V> SortedMap<K, V> {
    /// Keys in any order and the value of each, in time that grows little faster than their number. Of one key the
    /// last value counts.
    pub(crate) fn from_lists(mut keys: Vec<K>, mut values: Vec<V>) -> Self {
        if !keys.is_sorted_by(|a, b| a < b) {
            let (origins, last) = places_of(&keys);
            arrange(&mut keys, origins.clone());
            arrange(&mut values, origins);
            keep(&mut keys, &last);
            keep(&mut values, &last);
        }
        SortedMap { keys, values }
    }
}

/// Where the element is that belongs to each place of a sorted list, and whether it is the last of its kind.
fn places_of<K: Ord>(keys: &[K]) -> (Vec<usize>, Vec<bool>) {
    let origins = sorted_places(keys.len(), &|a, b| keys[a].cmp(&keys[b]));
    let is_last = |at: usize| match origins.get(at + 1) {
        Some(next) => keys[origins[at]] != keys[*next],
        None => true,
    };
    let last = (0..keys.len()).map(is_last).collect();
    (origins, last)
}

fn keep<T>(list: &mut Vec<T>, which: &[bool]) {
    let mut which = which.iter();
    list.retain(|_| which.next() == Some(&true));
}

impl<K: Ord, V> FromIterator<(K, V)> for SortedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        map.extend(entries);
        map
    }
}

impl<K: Ord, V, const N: usize> From<[(K, V); N]> for SortedMap<K, V> {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<K, V> IntoIterator for SortedMap<K, V> {
    type Item = (K, V);
    type IntoIter = std::iter::Zip<std::vec::IntoIter<K>, std::vec::IntoIter<V>>;

    fn into_iter(self) -> Self::IntoIter {
        self.keys.into_iter().zip(self.values)
    }
}

impl<'a, K, V> IntoIterator for &'a SortedMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = std::iter::Zip<std::slice::Iter<'a, K>, std::slice::Iter<'a, V>>;

    fn into_iter(self) -> Self::IntoIter {
        self.keys.iter().zip(&self.values)
    }
}

impl<'a, K, V> IntoIterator for &'a mut SortedMap<K, V> {
    type Item = (&'a K, &'a mut V);
    type IntoIter = std::iter::Zip<std::slice::Iter<'a, K>, std::slice::IterMut<'a, V>>;

    fn into_iter(self) -> Self::IntoIter {
        self.keys.iter().zip(&mut self.values)
    }
}

impl<K: Serialize, V: Serialize> Serialize for SortedMap<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<'de, K: Ord + Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for SortedMap<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

struct Entries<K, V>(PhantomData<(K, V)>);

impl<'de, K: Ord + Deserialize<'de>, V: Deserialize<'de>> Visitor<'de> for Entries<K, V> {
    type Value = SortedMap<K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        while let Some((key, value)) = entries.next_entry()? {
            keys.push(key);
            values.push(value);
        }
        Ok(SortedMap::from_lists(keys, values))
    }
}

impl<K> SortedSet<K> {
    /// An empty set.
    pub const fn new() -> Self {
        Self {
            members: Vec::new(),
        }
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Removes all members.
    pub fn clear(&mut self) {
        self.members.clear();
    }

    /// The members in order.
    pub fn iter(&self) -> std::slice::Iter<'_, K> {
        self.members.iter()
    }

    /// The smallest member.
    pub fn first(&self) -> Option<&K> {
        self.members.first()
    }
}

impl<K: Ord> SortedSet<K> {
    /// Whether this is a member.
    pub fn contains<Q: Ord + ?Sized>(&self, member: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        place(&self.members, member).is_ok()
    }

    /// Adds a member; false if it was one.
    pub fn insert(&mut self, member: K) -> bool {
        let place = place(&self.members, &member);
        if let Err(at) = place {
            self.members.insert(at, member);
        }
        place.is_err()
    }

    /// Removes a member; false if it was none.
    pub fn remove<Q: Ord + ?Sized>(&mut self, member: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        let place = place(&self.members, member);
        if let Ok(at) = place {
            self.members.remove(at);
        }
        place.is_ok()
    }

    /// The members that are none of `other`, in order.
    pub fn difference<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a K> {
        self.iter().filter(|member| !other.contains(*member))
    }
}

impl<K> Default for SortedSet<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: fmt::Debug> fmt::Debug for SortedSet<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self).finish()
    }
}

impl<K: Ord> Extend<K> for SortedSet<K> {
    fn extend<I: IntoIterator<Item = K>>(&mut self, members: I) {
        for member in members {
            self.insert(member);
        }
    }
}

impl<K: Ord> FromIterator<K> for SortedSet<K> {
    fn from_iter<I: IntoIterator<Item = K>>(members: I) -> Self {
        let mut set = Self::new();
        set.extend(members);
        set
    }
}

impl<K: Ord, const N: usize> From<[K; N]> for SortedSet<K> {
    fn from(members: [K; N]) -> Self {
        members.into_iter().collect()
    }
}

impl<K> IntoIterator for SortedSet<K> {
    type Item = K;
    type IntoIter = std::vec::IntoIter<K>;

    fn into_iter(self) -> Self::IntoIter {
        self.members.into_iter()
    }
}

impl<'a, K> IntoIterator for &'a SortedSet<K> {
    type Item = &'a K;
    type IntoIter = std::slice::Iter<'a, K>;

    fn into_iter(self) -> Self::IntoIter {
        self.members.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    proptest! {
        #[test]
        fn collects_as_a_tree_does(entries in prop::collection::vec((0u8..20, any::<u8>()), 0..60)) {
            let map: SortedMap<_, _> = entries.iter().copied().collect();
            let tree: BTreeMap<_, _> = entries.iter().copied().collect();
            prop_assert!(map.iter().eq(&tree));
            let (keys, values) = entries.into_iter().unzip();
            prop_assert!(SortedMap::from_lists(keys, values) == map);
        }

        #[test]
        fn does_what_a_tree_does(steps in prop::collection::vec((any::<bool>(), 0u8..20, any::<u8>()), 0..60)) {
            let (mut map, mut tree) = (SortedMap::new(), BTreeMap::new());
            let (mut set, mut members) = (SortedSet::new(), BTreeSet::new());
            for (add, key, value) in steps {
                if add {
                    prop_assert_eq!(map.insert(key, value), tree.insert(key, value));
                    prop_assert_eq!(set.insert(key), members.insert(key));
                } else {
                    prop_assert_eq!(map.remove(&key), tree.remove(&key));
                    prop_assert_eq!(set.remove(&key), members.remove(&key));
                    let of_map = *map.get_or_insert_with(value, || key);
                    prop_assert_eq!(of_map, *tree.entry(value).or_insert(key));
                }
                prop_assert!(map.range(&key, None).eq(tree.range(key..)));
                if key <= value {
                    prop_assert!(map.range(&key, Some(&value)).eq(tree.range(key..value)));
                }
                if value == 5 {
                    map.retain(|known, value| (known ^ value) % 3 > 0);
                    tree.retain(|known, value| (*known ^ *value) % 3 > 0);
                }
                if value == 7 {
                    map.remove_range(&key, &value);
                    tree.retain(|known, _| !(key..value).contains(known));
                }
                prop_assert_eq!(map.get(&key), tree.get(&key));
                prop_assert_eq!(set.contains(&key), members.contains(&key));
                prop_assert!(map.iter().eq(&tree));
                prop_assert!(set.iter().eq(&members));
            }
            prop_assert_eq!(format!("{map:?} {set:?}"), format!("{tree:?} {members:?}"));
            prop_assert!(map.clone().into_iter().rev().collect::<SortedMap<_, _>>() == map);
        }
    }
}
