//! Values as digits: numbers of 64 bits that are ordered as the values are. To compare them costs no look at the row.

use landfall_zql::ValueRef;
use landfall_zql::ast::Direction;

/// Bytes of text in a digit; the eighth says how much of it is text.
const TEXT: usize = 7;
/// The eighth byte of a digit behind which there is more text.
const MORE: u64 = TEXT as u64 + 2;

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
    pub fn at(&self, place: usize) -> u64 {
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
    pub fn goes_on(&self, place: usize) -> bool {
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
