//! The layout that stored rows had before: read, never written.

use super::validate::validate_json;
use super::{FALSE, JSON, MOST, NULL, NUMBER, Row, RowBuilder, RowError, STRING, TRUE};
use crate::value::ValueRef;

impl Row {
    /// Reads foreign bytes of the layout that stored rows had before: `u16` number of columns; per column a `u32` =
    /// tag << 29 | end of its payload; the payload area, in which numbers have eight bytes.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn from_earlier_bytes(bytes: &[u8]) -> Result<Row, RowError> {
        let (count, rest) = bytes.split_first_chunk().ok_or(RowError::Length)?;
        let count = usize::from(u16::from_le_bytes(*count));
        let (entries, payload) = rest.split_at_checked(4 * count).ok_or(RowError::Length)?;
        let mut start = 0;
        let mut builder = RowBuilder::default();
        for (column, entry) in entries.as_chunks().0.iter().enumerate() {
            let entry = u32::from_le_bytes(*entry);
            let end = entry as usize & MOST;
            let slice = payload.get(start..end).ok_or(RowError::Extent(column))?;
            let text = || std::str::from_utf8(slice).map_err(|_| RowError::Utf8(column));
            builder.push(match (entry >> 29) as u8 {
                NULL => ValueRef::Null,
                FALSE => ValueRef::Bool(false),
                TRUE => ValueRef::Bool(true),
                NUMBER => {
                    let bytes = slice.try_into().map_err(|_| RowError::Extent(column))?;
                    let number = f64::from_le_bytes(bytes);
                    if !number.is_finite() {
                        return Err(RowError::Number(column));
                    }
                    ValueRef::Number(number)
                }
                STRING => ValueRef::String(text()?),
                JSON => {
                    validate_json(text()?, column)?;
                    ValueRef::Json(text()?)
                }
                _ => return Err(RowError::Tag(column)),
            });
            start = end;
        }
        match start == payload.len() {
            true => builder.try_finish(),
            false => Err(RowError::Length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::append;
    use super::super::tests::{pack, value};
    use super::*;
    use crate::value::Value;
    use proptest::prelude::*;

    /// The layout that stored rows had before.
    fn earlier(values: &[Value]) -> Vec<u8> {
        let mut entries = Vec::new();
        let mut payload = Vec::new();
        for value in values {
            let tag = match value.as_ref() {
                ValueRef::Number(number) => {
                    payload.extend(number.to_le_bytes());
                    NUMBER
                }
                value => append(value, &mut payload),
            };
            entries.extend((u32::from(tag) << 29 | payload.len() as u32).to_le_bytes());
        }
        let count = u16::try_from(values.len()).unwrap();
        [&count.to_le_bytes()[..], &entries, &payload].concat()
    }

    #[test]
    fn earlier_bytes_are_checked() {
        let refuse = |bytes: &[u8], expected| {
            assert_eq!(Row::from_earlier_bytes(bytes), Err(expected), "{bytes:?}");
        };
        let one = |tag: u32, payload: &[u8]| {
            let entry = tag << 29 | payload.len() as u32;
            [&[1, 0], &entry.to_le_bytes()[..], payload].concat()
        };
        refuse(&[1], RowError::Length);
        refuse(&[1, 0], RowError::Length);
        refuse(&[0, 0, 0], RowError::Length);
        refuse(&one(3, b"1234567"), RowError::Extent(0));
        refuse(&one(3, &f64::NAN.to_le_bytes()), RowError::Number(0));
        refuse(&one(4, &[0xff]), RowError::Utf8(0));
        refuse(&one(5, b"{"), RowError::Json(0));
        refuse(&one(6, b""), RowError::Tag(0));
        refuse(&[1, 0, 4, 0, 0, 4 << 5, b'a'], RowError::Extent(0));
        assert!(Row::from_earlier_bytes(&[0, 0]).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn values_come_back(values in prop::collection::vec(value(), 0..12)) {
            prop_assert_eq!(Row::from_earlier_bytes(&earlier(&values)), Ok(pack(&values)));
        }

        #[test]
        fn any_bytes_are_fine(bytes in prop::collection::vec(any::<u8>(), 0..64), count in 0u8..4) {
            for bytes in [[&[count, 0], &bytes[..]].concat(), bytes] {
                if let Ok(row) = Row::from_earlier_bytes(&bytes) {
                    prop_assert_eq!(Row::from_bytes(row.bytes()), Ok(row));
                }
            }
        }
    }
}
