//! Values as digits: numbers of 64 bits that are ordered as the values are. To compare them costs no look at the row.

use landfall_zql::ast::Direction;
use landfall_zql::{Row, ValueRef};

/// Bytes of text in a digit; the eighth says how much of it is text.
const TEXT: usize = 7;
/// The eighth byte of a digit of text: so much more than its length, which is between it and [`MORE`].
const LENGTH: u64 = 2;
/// The eighth byte of a digit behind which there is more text.
const MORE: u64 = LENGTH + TEXT as u64 + 1;
/// The digit of all texts that come before those with the common beginning; NULL is before them.
const BEFORE: u64 = LENGTH - 1;
/// The digit of all texts that come after those: bytes that no text has.
const BEHIND: u64 = u64::MAX << 8 | MORE;
/// Ids that are numbered go on where a sample ends: so many decimals are not taken for common.
const DECIMALS: usize = 3;

/// What the texts of a column begin with, nearly all of them. Digits are taken of what follows it: those of ids that
/// begin alike would be the same otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Beginning(Box<[u8]>);

impl Beginning {
    /// What all texts of a sample have in common.
    pub fn of(sample: &mut dyn Iterator<Item = &Row>, column: usize) -> Beginning {
        let mut common: Option<&[u8]> = None;
        for row in sample {
            let text: &[u8] = match row.get(column) {
                ValueRef::Null => continue,
                ValueRef::String(text) | ValueRef::Json(text) => text.as_bytes(),
                ValueRef::Bool(_) | ValueRef::Number(_) => &[],
            };
            let known = common.unwrap_or(text);
            let same = known.iter().zip(text).take_while(|(a, b)| a == b).count();
            common = Some(&known[..same]);
        }
        let mut common = common.unwrap_or_default();
        for _ in 0..DECIMALS {
            if let [rest @ .., b'0'..=b'9'] = common {
                common = rest;
            }
        }
        Beginning(common.into())
    }
}

/// Whether values with this digit are outside the common beginning, and so may differ in any way.
pub(crate) fn is_coarse(digit: u64, direction: Direction) -> bool {
    [BEFORE, BEHIND].contains(&directed(digit, direction))
}

/// Whether only equal values have this digit as their first one. Of a number that is not always said.
pub(crate) fn tells_all(digit: u64, direction: Direction) -> bool {
    let last = directed(digit, direction) & 0xff;
    last != MORE && last != BEFORE
}

/// A digit that is ordered in a direction, or back.
fn directed(digit: u64, direction: Direction) -> u64 {
    match direction {
        Direction::Asc => digit,
        Direction::Desc => !digit,
    }
}

/// A value as a sequence of digits.
pub(crate) struct Digits<'a> {
    value: ValueRef<'a>,
    direction: Direction,
    beginning: &'a [u8],
}

impl<'a> Digits<'a> {
    pub fn of(value: ValueRef<'a>, direction: Direction) -> Digits<'a> {
        Digits {
            value,
            direction,
            beginning: &[],
        }
    }

    /// The digits without a common beginning.
    pub fn without(self, beginning: &'a Beginning) -> Digits<'a> {
        Digits {
            beginning: &beginning.0,
            ..self
        }
    }

    /// The most significant digit.
    pub fn first(&self) -> u64 {
        self.at(0)
    }

    /// The digit at a place; the digits before it are those of the values that it is compared with.
    pub fn at(&self, place: usize) -> u64 {
        let ascending = match self.value {
            ValueRef::Null => 0,
            ValueRef::Bool(value) => LENGTH + u64::from(value),
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
                let text = text.as_bytes();
                if text.starts_with(self.beginning) {
                    text_digit(text, self.beginning.len() + place * TEXT)
                } else if text < self.beginning {
                    BEFORE
                } else {
                    BEHIND
                }
            }
        };
        directed(ascending, self.direction)
    }

    /// Whether values that share their digits up to this place may differ behind it.
    pub fn goes_on(&self, place: usize) -> bool {
        match self.value {
            ValueRef::String(text) | ValueRef::Json(text) => {
                text.len() > self.beginning.len() + (place + 1) * TEXT
            }
            ValueRef::Null | ValueRef::Bool(_) | ValueRef::Number(_) => false,
        }
    }
}

/// Seven bytes from a place on and how many there are: equal digits of texts that end in them mean equal texts.
fn text_digit(text: &[u8], from: usize) -> u64 {
    let rest = text.get(from..).unwrap_or_default();
    if let Some(bytes) = rest.first_chunk() {
        return u64::from_be_bytes(*bytes) & !0xff | MORE;
    }
    let missing = (TEXT - rest.len()) as u32 * 8;
    let bytes = match text.last_chunk() {
        // What is before the place is shifted out.
        Some(last) => u64::from_be_bytes(*last) << 8,
        None => {
            rest.iter()
                .fold(0, |bytes, byte| bytes << 8 | u64::from(*byte))
                << 8
        }
    };
    bytes << missing | (rest.len() as u64 + LENGTH)
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

    #[test]
    fn a_beginning_is_what_texts_have_in_common() {
        let check = |texts: &[Option<&str>], expected: &str| {
            let rows = texts
                .iter()
                .map(|text| Row::from_values([text.map_or(ValueRef::Null, ValueRef::String)]));
            let rows: Vec<Row> = rows.collect();
            let Beginning(found) = Beginning::of(&mut rows.iter(), 0);
            assert_eq!(&*found, expected.as_bytes(), "{texts:?}");
        };
        check(&[], "");
        check(&[None], "");
        check(&[Some("issue_a"), None, Some("issue_bb")], "issue_");
        check(&[Some("issue_"), Some("issue_bb")], "issue_");
        check(&[Some("c0012345"), Some("c0023456")], "c");
        check(&[Some("c00000012345"), Some("c00000023456")], "c000");
        check(&[Some("a"), Some("b")], "");
    }

    proptest! {
        #[test]
        fn digits_are_ordered_as_values(a in value(), b in value(), c in text(), d in text(), sample in prop::collection::vec(text(), 0..3)) {
            let sample: Vec<Row> = sample.iter().map(|text| Row::from_values([text.as_ref()])).collect();
            let beginning = Beginning::of(&mut sample.iter(), 0);
            for (a, b) in [(a, b), (c, d)] {
                let (a, b) = (a.as_ref(), b.as_ref());
                if std::mem::discriminant(&a) != std::mem::discriminant(&b) && !a.is_null() && !b.is_null() {
                    continue;
                }
                let ascending = |value| Digits::of(value, Direction::Asc).without(&beginning);
                let descending = |value| Digits::of(value, Direction::Desc).without(&beginning);
                let mut place = 0;
                let found = loop {
                    let ordering = ascending(a).at(place).cmp(&ascending(b).at(place));
                    prop_assert_eq!(ordering, descending(b).at(place).cmp(&descending(a).at(place)));
                    if ordering.is_eq() && is_coarse(ascending(a).at(place), Direction::Asc) {
                        prop_assert!(is_coarse(descending(a).at(place), Direction::Desc));
                        prop_assert!(!tells_all(ascending(a).at(place), Direction::Asc));
                        break compare(a, b);
                    }
                    if place == 0 && ordering.is_eq() && tells_all(ascending(a).at(place), Direction::Asc) {
                        prop_assert!(tells_all(descending(a).at(place), Direction::Desc));
                        prop_assert_eq!(compare(a, b), ordering);
                    }
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
