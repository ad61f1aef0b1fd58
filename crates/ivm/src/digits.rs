//! Rows by the digits of their ordered columns: numbers of 64 bits that are ordered as the values are. To sort by them
//! costs no comparison of values, and columns with few values cost next to nothing.

use landfall_zql::ast::Direction;
use landfall_zql::ordering::{Order, compare_by};
use landfall_zql::sort::sort_by;
use landfall_zql::{Row, ValueRef};

/// Bytes of text in a digit; the eighth says how much of it is text.
const TEXT: usize = 7;
/// Up to this many keys are sorted by insertion.
const FEW: usize = 48;
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
    let mut bytes = [0; 8];
    let shown = rest.len().min(TEXT);
    bytes[..shown].copy_from_slice(&rest[..shown]);
    bytes[TEXT] = rest.len().min(TEXT + 1) as u8 + 1;
    u64::from_be_bytes(bytes)
}

/// Sorts rows into an order; what stands beside each becomes the first digit of its first column.
pub(crate) fn radix_sort(rows: &mut [(u64, &Row)], order: &Order) {
    let mut spare = Vec::new();
    sort_from(rows, &order.0, 0, &mut spare);
}

/// Sorts rows that are equal up to a place of the first of these columns. Rows with equal digits stay in the order in
/// which they came, which often is that of the next column.
fn sort_from<'a>(
    rows: &mut [(u64, &'a Row)],
    columns: &[(usize, Direction)],
    place: usize,
    spare: &mut Vec<(u64, &'a Row)>,
) {
    let Some((&(column, direction), rest)) = columns.split_first() else {
        return;
    };
    for (digit, row) in rows.iter_mut() {
        *digit = Digits::of(row.get(column), direction).at(place);
    }
    if !rows.is_sorted_by_key(|(digit, _)| *digit) {
        sort_by_digit(rows, spare);
    }
    for run in rows.chunk_by_mut(|a, b| a.0 == b.0) {
        let (digit, first) = run[0];
        if run.len() == 1 {
            continue;
        }
        if place >= DEEP {
            sort_by(run, |a, b| compare_by(columns, a.1, b.1));
        } else if Digits::of(first.get(column), direction).goes_on(place) {
            sort_from(run, columns, place + 1, spare);
        } else {
            sort_from(run, rest, 0, spare);
        }
        run.iter_mut().for_each(|(other, _)| *other = digit);
    }
}

fn sort_by_digit<'a>(rows: &mut [(u64, &'a Row)], spare: &mut Vec<(u64, &'a Row)>) {
    if rows.len() <= FEW {
        for end in 1..rows.len() {
            let moved = rows[end];
            let mut at = end;
            while at > 0 && rows[at - 1].0 > moved.0 {
                rows[at] = rows[at - 1];
                at -= 1;
            }
            rows[at] = moved;
        }
        return;
    }
    // Byte by byte from the least significant one; bytes that are the same in all rows are passed over.
    let differing = rows
        .iter()
        .fold(0, |bits, (digit, _)| bits | digit ^ rows[0].0);
    for shift in (0..u64::BITS).step_by(8) {
        if differing >> shift & 0xff == 0 {
            continue;
        }
        let byte = |digit: u64| (digit >> shift & 0xff) as usize;
        let mut ends = [0usize; 256];
        for (digit, _) in rows.iter() {
            ends[byte(*digit)] += 1;
        }
        let mut total = 0;
        for end in &mut ends {
            let count = *end;
            *end = total;
            total += count;
        }
        spare.clear();
        spare.extend_from_slice(rows);
        for &item in spare.iter() {
            let to = &mut ends[byte(item.0)];
            rows[*to] = item;
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
