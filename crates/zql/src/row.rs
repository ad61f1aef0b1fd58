//! Packed rows: one immutable byte string per row, the same in memory, in stored pages and in the log.
//!
//! Layout, little-endian: `u16` number of columns; per column a `u32` = tag << 29 | end of its payload, counted
//! from the start of the payload area; then the payload area. Tags: 0 NULL, 1 false, 2 true, 3 number (8 bytes),
//! 4 string (UTF-8), 5 JSON text (UTF-8).
//!
//! Equal rows have equal bytes: the number -0 is packed as 0, and JSON's `null` as NULL.

use std::fmt;
use std::hash::{Hash, Hasher};

use thiserror::Error;
use triomphe::ThinArc;

use crate::json::is_json;
use crate::value::ValueRef;

const TAG_SHIFT: u32 = 29;
const END_MASK: u32 = (1 << TAG_SHIFT) - 1;
const NULL: u32 = 0;
const FALSE: u32 = 1;
const TRUE: u32 = 2;
const NUMBER: u32 = 3;
const STRING: u32 = 4;
const JSON: u32 = 5;

/// Why bytes are not a packed row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RowError {
    /// The bytes end before what their header announces, or go on after it.
    #[error("a packed row has the wrong length")]
    Length,
    /// A column's payload does not start where the one before ends, or has an impossible size.
    #[error("column {0} of a packed row has a wrong extent")]
    Extent(usize),
    /// A tag that no version of the format has.
    #[error("column {0} of a packed row has an unknown tag")]
    Tag(usize),
    /// Text that is not UTF-8.
    #[error("column {0} of a packed row is not UTF-8")]
    Utf8(usize),
    /// A number that is not finite, or -0.
    #[error("column {0} of a packed row is not a number that a row can hold")]
    Number(usize),
    /// JSON text that is not JSON, or is `null`.
    #[error("column {0} of a packed row is not JSON")]
    Json(usize),
    /// More columns, or a longer row, than the format can hold.
    #[error("a row is too large to be packed")]
    TooLarge,
}

/// An immutable row. A clone is another pointer to the same bytes.
#[derive(Clone)]
pub struct Row(ThinArc<(), u8>);

impl Row {
    /// Checks foreign bytes completely.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Row, RowError> {
        validate(bytes)?;
        Ok(Row(ThinArc::from_header_and_slice((), bytes)))
    }

    /// Packs values; see [`RowBuilder`] to pack many rows.
    ///
    /// # Panics
    /// As [`RowBuilder::finish`].
    pub fn from_values<'a>(values: impl IntoIterator<Item = ValueRef<'a>>) -> Row {
        let mut builder = RowBuilder::default();
        for value in values {
            builder.push(value);
        }
        builder.finish()
    }

    /// The number of columns.
    pub fn len(&self) -> usize {
        let bytes = self.bytes();
        usize::from(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    /// Whether the row has no column.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The packed bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.0.slice
    }

    /// The value of a column; NULL beyond the last one.
    #[inline]
    pub fn get(&self, column: usize) -> ValueRef<'_> {
        let bytes = self.bytes();
        let count = usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
        if column >= count {
            return ValueRef::Null;
        }
        let payload = 2 + 4 * count;
        let start = if column == 0 {
            0
        } else {
            (word(bytes, column - 1) & END_MASK) as usize
        };
        let entry = word(bytes, column);
        let slice = &bytes[payload + start..payload + (entry & END_MASK) as usize];
        match entry >> TAG_SHIFT {
            NULL => ValueRef::Null,
            FALSE => ValueRef::Bool(false),
            TRUE => ValueRef::Bool(true),
            NUMBER => ValueRef::Number(f64::from_le_bytes(
                slice.try_into().expect("a packed number has 8 bytes"),
            )),
            STRING => ValueRef::String(text(slice)),
            _ => ValueRef::Json(text(slice)),
        }
    }

    /// The values in column order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = ValueRef<'_>> {
        (0..self.len()).map(|column| self.get(column))
    }

    /// A copy with some columns replaced.
    pub fn with(&self, changes: &[(usize, ValueRef<'_>)]) -> Row {
        Row::from_values((0..self.len()).map(|column| {
            changes
                .iter()
                .rev()
                .find(|(changed, _)| *changed == column)
                .map_or_else(|| self.get(column), |(_, value)| *value)
        }))
    }

    /// Whether both are pointers to the same bytes.
    pub fn ptr_eq(a: &Row, b: &Row) -> bool {
        a.address() == b.address()
    }

    /// The address of the bytes: an identity for as long as a pointer is held.
    pub fn address(&self) -> usize {
        self.bytes().as_ptr().addr()
    }

    /// How many pointers to the same bytes there are.
    pub fn holders(&self) -> usize {
        ThinArc::strong_count(&self.0)
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Row) -> bool {
        Row::ptr_eq(self, other) || self.bytes() == other.bytes()
    }
}

impl Eq for Row {}

impl Hash for Row {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes().hash(state);
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Packs the values of a row in a buffer that is used again.
pub(crate) fn pack<'a>(
    values: impl ExactSizeIterator<Item = ValueRef<'a>>,
    packed: &mut Vec<u8>,
) -> Result<Row, RowError> {
    let count = u16::try_from(values.len()).map_err(|_| RowError::TooLarge)?;
    packed.clear();
    packed.extend_from_slice(&count.to_le_bytes());
    packed.resize(2 + 4 * usize::from(count), 0);
    let payload = packed.len();
    for (column, value) in values.enumerate() {
        let present = packed.len() - payload;
        let (tag, added) = append(value, packed);
        let end = payload_end(present, added).ok_or(RowError::TooLarge)?;
        let entry = tag << TAG_SHIFT | end;
        packed[2 + 4 * column..][..4].copy_from_slice(&entry.to_le_bytes());
    }
    Ok(Row(ThinArc::from_header_and_slice((), packed)))
}

/// Adds the payload of a value; gives its tag and how much was added.
fn append(value: ValueRef<'_>, payload: &mut Vec<u8>) -> (u32, usize) {
    let before = payload.len();
    let tag = match value {
        ValueRef::Null | ValueRef::Json("null") => NULL,
        ValueRef::Bool(false) => FALSE,
        ValueRef::Bool(true) => TRUE,
        ValueRef::Number(number) => {
            // Adding 0 turns -0 into 0.
            payload.extend_from_slice(&(number + 0.0).to_le_bytes());
            NUMBER
        }
        ValueRef::String(text) => {
            payload.extend_from_slice(text.as_bytes());
            STRING
        }
        ValueRef::Json(text) => {
            payload.extend_from_slice(text.as_bytes());
            JSON
        }
    };
    (tag, payload.len() - before)
}

/// Packs rows one after another, reusing its buffers.
#[derive(Debug, Default)]
pub struct RowBuilder {
    entries: Vec<u32>,
    payload: Vec<u8>,
    packed: Vec<u8>,
    too_large: bool,
}

impl RowBuilder {
    /// Adds the next column. A row may have 65,535 columns, and 512 MB less one byte of text and numbers.
    pub fn push(&mut self, value: ValueRef<'_>) {
        let present = self.payload.len();
        let (tag, added) = append(value, &mut self.payload);
        let end = payload_end(present, added).unwrap_or_else(|| {
            self.too_large = true;
            self.payload.truncate(present);
            0
        });
        self.entries.push(tag << TAG_SHIFT | end);
    }

    /// The row of the columns pushed since the last call.
    ///
    /// # Panics
    /// When it is too large; use [`RowBuilder::try_finish`] where nothing bounds the values.
    pub fn finish(&mut self) -> Row {
        self.try_finish()
            .expect("what hands out values bounds their size")
    }

    /// The row of the columns pushed since the last call.
    ///
    /// # Errors
    /// When it is too large; the builder is ready for the next row.
    pub fn try_finish(&mut self) -> Result<Row, RowError> {
        let row = match u16::try_from(self.entries.len()) {
            Ok(count) if !self.too_large => {
                self.packed.extend_from_slice(&count.to_le_bytes());
                for entry in &self.entries {
                    self.packed.extend_from_slice(&entry.to_le_bytes());
                }
                self.packed.extend_from_slice(&self.payload);
                Ok(Row(ThinArc::from_header_and_slice((), &self.packed)))
            }
            _ => Err(RowError::TooLarge),
        };
        self.entries.clear();
        self.payload.clear();
        self.packed.clear();
        self.too_large = false;
        row
    }
}

/// Where new payload ends, if an entry can say so.
fn payload_end(present: usize, added: usize) -> Option<u32> {
    let end = u32::try_from(present.checked_add(added)?).ok()?;
    (end <= END_MASK).then_some(end)
}

#[inline]
fn word(bytes: &[u8], column: usize) -> u32 {
    let (words, _) = bytes[2..].as_chunks();
    u32::from_le_bytes(words[column])
}

#[inline]
#[expect(
    unsafe_code,
    reason = "re-checking UTF-8 at every read of a string would double the cost of a comparison"
)]
fn text(slice: &[u8]) -> &str {
    // SAFETY: a `Row` is made by `RowBuilder` from `&str`s or by `from_bytes`, which checks UTF-8; it is immutable.
    unsafe { std::str::from_utf8_unchecked(slice) }
}

fn validate(bytes: &[u8]) -> Result<(), RowError> {
    let header: [u8; 2] = bytes
        .get(..2)
        .and_then(|header| header.try_into().ok())
        .ok_or(RowError::Length)?;
    let count = usize::from(u16::from_le_bytes(header));
    let payload = bytes.get(2 + 4 * count..).ok_or(RowError::Length)?;
    let mut start = 0;
    for column in 0..count {
        let entry = word(bytes, column);
        let end = (entry & END_MASK) as usize;
        let slice = payload.get(start..end).ok_or(RowError::Extent(column))?;
        match entry >> TAG_SHIFT {
            NULL | FALSE | TRUE if slice.is_empty() => {}
            NUMBER => validate_number(slice, column)?,
            STRING | JSON => {
                let text = std::str::from_utf8(slice).map_err(|_| RowError::Utf8(column))?;
                if entry >> TAG_SHIFT == JSON {
                    validate_json(text, column)?;
                }
            }
            NULL | FALSE | TRUE => return Err(RowError::Extent(column)),
            _ => return Err(RowError::Tag(column)),
        }
        start = end;
    }
    if start == payload.len() {
        Ok(())
    } else {
        Err(RowError::Length)
    }
}

fn validate_number(slice: &[u8], column: usize) -> Result<(), RowError> {
    let bytes = slice.try_into().map_err(|_| RowError::Extent(column))?;
    let number = f64::from_le_bytes(bytes);
    let negative_zero = number == 0.0 && number.is_sign_negative();
    if number.is_finite() && !negative_zero {
        Ok(())
    } else {
        Err(RowError::Number(column))
    }
}

fn validate_json(text: &str, column: usize) -> Result<(), RowError> {
    match is_json(text) && text != "null" {
        true => Ok(()),
        false => Err(RowError::Json(column)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            (-1e9..1e9).prop_map(|number: f64| Value::Number(number)),
            any::<String>().prop_map(|text| Value::String(text.into())),
            any::<bool>().prop_map(|flag| Value::Json(format!("[{flag}]").into())),
        ]
    }

    fn pack(values: &[Value]) -> Row {
        Row::from_values(values.iter().map(Value::as_ref))
    }

    fn refuse(bytes: &[u8], expected: RowError) {
        assert_eq!(Row::from_bytes(bytes), Err(expected), "{bytes:?}");
    }

    /// The bytes of a row with one column.
    fn one_column(tag: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap();
        let entry = u32::from(tag) << TAG_SHIFT | length;
        [&[1, 0], &entry.to_le_bytes()[..], payload].concat()
    }

    #[test]
    fn foreign_bytes_are_checked() {
        refuse(&[], RowError::Length);
        refuse(&[1], RowError::Length);
        refuse(&[1, 0], RowError::Length);
        refuse(&[0, 0, 0], RowError::Length);
        refuse(&one_column(0, b"x"), RowError::Extent(0));
        refuse(&one_column(3, b"1234567"), RowError::Extent(0));
        refuse(&one_column(3, &f64::NAN.to_le_bytes()), RowError::Number(0));
        refuse(
            &one_column(3, &(-0.0f64).to_le_bytes()),
            RowError::Number(0),
        );
        refuse(&one_column(4, &[0xff]), RowError::Utf8(0));
        refuse(&one_column(5, b"{"), RowError::Json(0));
        refuse(&one_column(5, b"null"), RowError::Json(0));
        refuse(&one_column(6, b""), RowError::Tag(0));
        refuse(&one_column(7, b""), RowError::Tag(0));
        let mut short = one_column(4, b"abc");
        short.pop();
        refuse(&short, RowError::Extent(0));
        let backwards = [
            &[2, 0][..],
            &(4 << TAG_SHIFT | 1u32).to_le_bytes(),
            &[0; 4],
            b"a",
        ];
        refuse(&backwards.concat(), RowError::Extent(1));
        assert!(Row::from_bytes(&[0, 0]).unwrap().is_empty());
    }

    #[test]
    fn equal_rows_have_equal_bytes() {
        let pack_one = |value| Row::from_values([value]);
        let zero = pack_one(ValueRef::Number(0.0));
        assert_eq!(pack_one(ValueRef::Number(-0.0)), zero);
        assert_eq!(pack_one(ValueRef::Json("null")), pack_one(ValueRef::Null));
        assert_ne!(
            pack_one(ValueRef::Json("[]")),
            pack_one(ValueRef::String("[]"))
        );
        assert_ne!(pack_one(ValueRef::Null), Row::from_values([]));
    }

    #[test]
    fn a_row_that_is_too_large_is_an_error() {
        let mut builder = RowBuilder::default();
        for _ in 0..=usize::from(u16::MAX) {
            builder.push(ValueRef::Null);
        }
        assert_eq!(builder.try_finish(), Err(RowError::TooLarge));
        let limit = END_MASK as usize;
        assert_eq!(payload_end(limit - 1, 1), Some(END_MASK));
        assert_eq!(payload_end(limit, 1), None);
        assert_eq!(payload_end(1, usize::MAX), None);
        builder.too_large = true;
        assert_eq!(builder.try_finish(), Err(RowError::TooLarge));
        builder.push(ValueRef::Bool(true));
        assert_eq!(
            builder.try_finish(),
            Ok(Row::from_values([ValueRef::Bool(true)]))
        );
    }

    #[test]
    fn clones_share_their_bytes() {
        let row = pack(&[Value::Bool(true)]);
        let clone = row.clone();
        assert!(Row::ptr_eq(&row, &clone));
        let twin = pack(&[Value::Bool(true)]);
        assert!(!Row::ptr_eq(&row, &twin) && row == twin);
    }

    proptest! {
        #[test]
        fn values_come_back(values in prop::collection::vec(value(), 0..12)) {
            let row = pack(&values);
            prop_assert_eq!(row.len(), values.len());
            let found: Vec<Value> = row.iter().map(Value::from).collect();
            prop_assert_eq!(&found, &values);
            prop_assert_eq!(row.get(values.len()), ValueRef::Null);
            prop_assert_eq!(Row::from_bytes(row.bytes()), Ok(row));
        }

        #[test]
        fn any_bytes_are_fine(bytes in prop::collection::vec(any::<u8>(), 0..64), count in 0u8..4) {
            let mut framed = vec![count, 0];
            framed.extend(&bytes);
            for bytes in [bytes, framed] {
                if let Ok(row) = Row::from_bytes(&bytes) {
                    prop_assert_eq!(&pack(&row.iter().map(Value::from).collect::<Vec<_>>()), &row);
                }
            }
        }

        /// One byte of a good row replaced: mostly just not a row, and if it is one, one that can be read.
        #[test]
        fn damaged_rows_are_fine(values in prop::collection::vec(value(), 1..6), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = pack(&values).bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(row) = Row::from_bytes(&bytes) {
                prop_assert_eq!(row.iter().count(), row.len());
            }
        }

        #[test]
        fn replaced_columns(values in prop::collection::vec(value(), 1..6), at in any::<prop::sample::Index>(), new in value()) {
            let at = at.index(values.len());
            let mut expected = values.clone();
            expected[at] = new.clone();
            let changed = pack(&values).with(&[(at, ValueRef::Null), (at, new.as_ref())]);
            prop_assert_eq!(changed, pack(&expected));
        }
    }
}
