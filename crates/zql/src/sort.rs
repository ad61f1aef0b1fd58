//! Sorting for lists that are short or seldom sorted: all of them share one sort, of places.
//!
//! The standard library's sorts are compiled anew for every type, about five kilobytes of WebAssembly each; so is the
//! one that is hidden in collecting a `BTreeMap`.

use std::cmp::Ordering;

/// Sorts a list; equal elements keep their order.
pub fn sort<T: Ord>(list: &mut [T]) {
    sort_by(list, T::cmp);
}

/// Sorts a list by a key; elements with equal keys keep their order.
pub fn sort_by_key<T, K: Ord>(list: &mut [T], key: impl Fn(&T) -> K) {
    sort_by(list, |a, b| key(a).cmp(&key(b)));
}

/// Sorts a list by a comparison; equal elements keep their order.
pub fn sort_by<T>(list: &mut [T], compare: impl Fn(&T, &T) -> Ordering) {
    let origins = sorted_places(list.len(), &|a, b| compare(&list[a], &list[b]));
    arrange(list, origins);
}

/// Puts at each place of a list the element that is now at its origin; each place is the origin of one.
pub fn arrange<T>(list: &mut [T], mut origins: Vec<usize>) {
    // Every element moves to its place along the cycles of the permutation.
    for start in 0..list.len() {
        let mut place = start;
        loop {
            let origin = std::mem::replace(&mut origins[place], place);
            if origin == start {
                break;
            }
            list.swap(place, origin);
            place = origin;
        }
    }
}

/// For each place of the sorted list, the place where its element is now; equal elements keep their order.
pub(crate) fn sorted_places(len: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut sorting = Sorting::new(len);
    sorting.go_on(usize::MAX, compare);
    sorting.places
}

/// A sort that can be left between two comparisons: the places of a list are merged in runs, two by two.
#[derive(Debug)]
pub struct Sorting {
    places: Vec<usize>,
    /// Runs of so many are in order: a power of two.
    width: usize,
    merged: Vec<usize>,
    /// Of the present two runs, how many are merged of the first one.
    of_first: usize,
}

impl Sorting {
    /// Begins with a list of this length.
    pub fn new(len: usize) -> Sorting {
        Sorting {
            places: (0..len).collect(),
            width: 1,
            merged: Vec::new(),
            of_first: 0,
        }
    }

    /// Merges so many elements, if there are as many left, or some more that are in order already. Gives the place where
    /// each element of the sorted list is now, when that is known; equal elements keep their order.
    pub fn go_on(
        &mut self,
        count: usize,
        compare: &dyn Fn(usize, usize) -> Ordering,
    ) -> Option<&mut Vec<usize>> {
        let len = self.places.len();
        for _ in 0..count {
            if self.width >= len {
                return Some(&mut self.places);
            }
            let Sorting {
                places,
                width,
                merged,
                of_first,
            } = self;
            let at = merged.len();
            let begin = at & !(2 * *width - 1);
            let middle = len.min(begin + *width);
            let end = len.min(middle + *width);
            let first = begin + *of_first;
            let second = middle + at - first;
            let is_in_order = |a: usize, b: usize| compare(places[a], places[b]).is_le();
            if at == begin && (middle == end || is_in_order(middle - 1, middle)) {
                merged.extend_from_slice(&places[begin..end]);
            } else if first < middle && (second == end || is_in_order(first, second)) {
                merged.push(places[first]);
                *of_first += 1;
            } else {
                merged.push(places[second]);
            }
            if merged.len() == end {
                *of_first = 0;
            }
            if merged.len() == len {
                std::mem::swap(places, merged);
                merged.clear();
                *width *= 2;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sorts_as_the_standard_library_does(list in prop::collection::vec((0u8..20, any::<u8>()), 0..100)) {
            let mut ours = list.clone();
            let mut theirs = list;
            sort_by_key(&mut ours, |(key, _)| *key);
            theirs.sort_by_key(|(key, _)| *key);
            prop_assert_eq!(&ours, &theirs);
            sort(&mut ours);
            theirs.sort();
            prop_assert_eq!(ours, theirs);
        }

        #[test]
        fn a_sort_that_is_left_goes_on(list in prop::collection::vec(0u8..20, 0..200), count in 1usize..20) {
            let mut theirs: Vec<usize> = (0..list.len()).collect();
            theirs.sort_by_key(|place| list[*place]);
            let mut sorting = Sorting::new(list.len());
            let mut rounds = 1;
            let compare = |a: usize, b: usize| list[a].cmp(&list[b]);
            let ours = loop {
                if let Some(places) = sorting.go_on(count, &compare) {
                    break places;
                }
                rounds += 1;
            };
            prop_assert_eq!(&*ours, &theirs);
            prop_assert!(rounds <= 2 + 8 * list.len() / count, "{} rounds", rounds);
        }
    }
}
