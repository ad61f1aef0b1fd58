//! Rows by the digits of their ordered columns: numbers of 64 bits that are ordered as the values are. To sort by them
//! costs no comparison of values, and columns with few values cost next to nothing.

use landfall_zql::ast::Direction;
use landfall_zql::ordering::{Order, compare_by};
use landfall_zql::sort::sort_by;
use landfall_zql::{Row, ValueRef};

/// Bytes of text in a digit; the eighth says how much of it is text.
const TEXT: usize = 7;
/// The eighth byte of a digit behind which there is more text.
const MORE: u64 = TEXT as u64 + 2;
/// Up to this many keys are sorted by insertion.
const FEW: usize = 48;
/// Up to this many rows are compared with each other.
const PAIRWISE: usize = 6;
/// Texts that are the same up to this digit are compared as a whole.
const DEEP: usize = 16;

/// A value as a sequence of digits.
pub(crate) struct Digits<'a> {
    value: ValueRef<'a>,
    direction: Direction,
}

impl<'a> Digits<'a> {
    pub fn of(value: ValueRef<'a>, direction: Direction) -> Digits<'a> {
        Digits { value, direction }
    }

    /// The most significant digit.
    pub fn first(&self) -> u64 {
        self.at(0)
    }

    /// The digit at a place; the digits before it are those of the values that it is compared with.
    fn at(&self, place: usize) -> u64 {
        let ascending = match self.value {
            ValueRef::Null => 0,
            ValueRef::Bool(value) => 1 + u64::from(value),
            ValueRef::Number(value) => {
                // `+ 0.0` makes one zero of two; no finite number becomes 0, which is NULL's.
                let bits = (value + 0.0).to_bits();
                if bits >> 63 == 1 {
                    !bits
                } else {
                    bits | 1 << 63
                }
            }
            ValueRef::String(text) | ValueRef::Json(text) => {
                text_digit(text.as_bytes().get(place * TEXT..).unwrap_or_default())
            }
        };
        match self.direction {
            Direction::Asc => ascending,
            Direction::Desc => !ascending,
        }
    }

    /// Whether values that share their digits up to this place may differ behind it.
    fn goes_on(&self, place: usize) -> bool {
        match self.value {
            ValueRef::String(text) | ValueRef::Json(text) => text.len() > (place + 1) * TEXT,
            ValueRef::Null | ValueRef::Bool(_) | ValueRef::Number(_) => false,
        }
    }
}

/// Seven bytes and how many there are: equal digits of texts that end in them mean equal texts.
fn text_digit(rest: &[u8]) -> u64 {
    if let Some(bytes) = rest.first_chunk() {
        return u64::from_be_bytes(*bytes) & !0xff | MORE;
    }
    let bytes = rest
        .iter()
        .fold(0, |digit, byte| digit << 8 | u64::from(*byte));
    let missing = (TEXT - rest.len()) as u32 * 8;
    bytes << missing << 8 | (rest.len() as u64 + 1)
}

/// A row by its number, and the digit that it is sorted by.
#[derive(Clone, Copy)]
struct Place {
    digit: u64,
    number: u32,
}

/// Rows in an order, each with the first digit of its first column.
pub(crate) fn sorted(
    rows: Vec<Row>,
    order: &Order,
) -> impl ExactSizeIterator<Item = (u64, Row)> + use<> {
    let numbers = 0..u32::try_from(rows.len()).expect("a table has fewer than four billion rows");
    let mut places: Vec<Place> = numbers.map(|number| Place { digit: 0, number }).collect();
    let mut sort = Sort {
        rows: &rows,
        spare: Vec::new(),
    };
    sort.by_columns(&mut places, &order.0, 0);
    let mut rows: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
    places.into_iter().map(move |place| {
        let row = rows[place.number as usize].take();
        (place.digit, row.expect("each row has one place"))
    })
}

struct Sort<'a> {
    rows: &'a [Row],
    spare: Vec<Place>,
}

impl<'a> Sort<'a> {
    fn row(&self, place: Place) -> &'a Row {
        &self.rows[place.number as usize]
    }

    /// Sorts rows that are equal up to a digit of the first of these columns. Rows with equal digits stay in the order
    /// in which they came, which often is that of the next column.
    fn by_columns(&mut self, places: &mut [Place], columns: &[(usize, Direction)], digit: usize) {
        let Some((&(column, direction), rest)) = columns.split_first() else {
            return;
        };
        for place in places.iter_mut() {
            place.digit = Digits::of(self.row(*place).get(column), direction).at(digit);
        }
        if !places.is_sorted_by_key(|place| place.digit) {
            self.by_digit(places);
        }
        for run in places.chunk_by_mut(|a, b| a.digit == b.digit) {
            let first = run[0];
            if run.len() == 1 {
                continue;
            }
            let value = self.row(first).get(column);
            if run.len() <= PAIRWISE {
                self.pairwise(run, columns);
            } else if digit >= DEEP {
                sort_by(run, |a, b| compare_by(columns, self.row(*a), self.row(*b)));
            } else if Digits::of(value, direction).goes_on(digit) {
                self.by_columns(run, columns, digit + 1);
            } else {
                self.by_columns(run, rest, 0);
            }
            run.iter_mut().for_each(|place| place.digit = first.digit);
        }
    }

    fn pairwise(&self, places: &mut [Place], columns: &[(usize, Direction)]) {
        for end in 1..places.len() {
            let mut at = end;
            while at > 0
                && compare_by(columns, self.row(places[at - 1]), self.row(places[at])).is_gt()
            {
                places.swap(at - 1, at);
                at -= 1;
            }
        }
    }

    fn by_digit(&mut self, places: &mut [Place]) {
        if places.len() <= FEW {
            for end in 1..places.len() {
                let moved = places[end];
                let mut at = end;
                while at > 0 && places[at - 1].digit > moved.digit {
                    places[at] = places[at - 1];
                    at -= 1;
                }
                places[at] = moved;
            }
            return;
        }
        // Byte by byte from the least significant one; bytes that are the same in all rows are passed over.
        let first = places[0].digit;
        let differing = places
            .iter()
            .fold(0, |bits, place| bits | place.digit ^ first);
        for shift in (0..u64::BITS).step_by(8) {
            if differing >> shift & 0xff != 0 {
                self.by_byte(places, shift);
            }
        }
    }

    fn by_byte(&mut self, places: &mut [Place], shift: u32) {
        let byte = |place: &Place| (place.digit >> shift & 0xff) as usize;
        let mut next = [0usize; 256];
        for place in places.iter() {
            next[byte(place)] += 1;
        }
        let mut total = 0;
        for next in &mut next {
            total += std::mem::replace(next, total);
        }
        self.spare.clear();
        self.spare.extend_from_slice(places);
        for place in &self.spare {
            let to = &mut next[byte(place)];
            places[*to] = *place;
            *to += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_zql::{Value, compare};
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            (-1e9..1e9).prop_map(|number: f64| Value::Number(number)),
            (-2i8..3).prop_map(|number| Value::Number(number.into())),
        ]
    }

    fn text() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            "[\u{0}a]{0,17}".prop_map(|text| Value::String(text.into())),
        ]
    }

    proptest! {
        #[test]
        fn digits_are_ordered_as_values(a in value(), b in value(), c in text(), d in text()) {
            for (a, b) in [(a, b), (c, d)] {
                let (a, b) = (a.as_ref(), b.as_ref());
                if std::mem::discriminant(&a) != std::mem::discriminant(&b) && !a.is_null() && !b.is_null() {
                    continue;
                }
                let ascending = |value| Digits::of(value, Direction::Asc);
                let mut place = 0;
                let found = loop {
                    let ordering = ascending(a).at(place).cmp(&ascending(b).at(place));
                    prop_assert_eq!(ordering, Digits::of(b, Direction::Desc).at(place).cmp(&Digits::of(a, Direction::Desc).at(place)));
                    if ordering.is_ne() || !ascending(a).goes_on(place) {
                        break ordering;
                    }
                    place += 1;
                };
                prop_assert_eq!(found, compare(a, b));
            }
        }
    }
}
