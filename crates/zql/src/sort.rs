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
    let mut places: Vec<usize> = (0..len).collect();
    merge_sort(&mut places, &mut Vec::new(), compare);
    places
}

/// Sorts places by merging halves; what is sorted already is only looked through.
fn merge_sort(
    places: &mut [usize],
    first_half: &mut Vec<usize>,
    compare: &dyn Fn(usize, usize) -> Ordering,
) {
    if places.len() < 2 {
        return;
    }
    let middle = places.len() / 2;
    merge_sort(&mut places[..middle], first_half, compare);
    merge_sort(&mut places[middle..], first_half, compare);
    if compare(places[middle - 1], places[middle]).is_le() {
        return;
    }
    first_half.clear();
    first_half.extend_from_slice(&places[..middle]);
    // What is taken from the second half always lies behind what is written.
    let (mut second, mut to) = (middle, 0);
    for &place in first_half.iter() {
        while second < places.len() && compare(places[second], place).is_lt() {
            places[to] = places[second];
            (second, to) = (second + 1, to + 1);
        }
        places[to] = place;
        to += 1;
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
    }
}
