//! Packed rows: one immutable byte string per row, the same in memory, in stored pages and in the log.
//!
//! Layout, little-endian:
//! - `u16`: the number of columns, and 1 << 15 if the payload is shorter than 8 KiB;
//! - per column a `u16` = tag << 13 | end of its payload, counted from the start of the payload area; or, if the payload
//!   is not that short, a `u32` = tag << 29 | end;
//! - the payload area.
//!
//! Tags: 0 NULL, 1 false, 2 true, 3 number, 4 string (UTF-8), 5 JSON text (UTF-8). A number is a signed integer of 1, 2,
//! 4 or 6 bytes, the fewest that hold it, or eight bytes of a double.
//!
//! Equal rows have equal bytes: the number -0 is packed as 0, and JSON's `null` as NULL.

use std::fmt;
use std::hash::{Hash, Hasher};

use thiserror::Error;
use triomphe::ThinArc;

use crate::value::{ValueRef, compare};

use self::validate::validate;

mod earlier;
mod validate;

/// The bit of the first two bytes that says that the entries of columns are narrow.
const NARROW: u16 = 1 << 15;
/// The bits of the first two bytes that say how many columns there are.
const COUNT: u16 = NARROW - 1;
/// Bytes of text and numbers that a row with narrow entries can hold, and the bits of an entry that say where they end.
const NARROW_MOST: usize = (1 << 13) - 1;
/// Bytes of text and numbers that a row can hold.
const MOST: usize = (1 << 29) - 1;
const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const NUMBER: u8 = 3;
const STRING: u8 = 4;
const JSON: u8 = 5;
/// Integers of so many bits are packed as such.
const INTEGER_BITS: u32 = 48;

/// Why bytes are not a packed row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RowError {
    /// The first bytes are not those of a row, or those of a row of another size.
    #[error("a packed row has a wrong header")]
    Header,
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
    /// A number that is not finite, or packed in another way than the one.
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
        Layout::of(self.bytes()).count
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
        let (tag, slice) = self.packed(column);
        match tag {
            NULL => ValueRef::Null,
            FALSE => ValueRef::Bool(false),
            TRUE => ValueRef::Bool(true),
            NUMBER => ValueRef::Number(number(slice)),
            STRING => ValueRef::String(text(slice)),
            _ => ValueRef::Json(text(slice)),
        }
    }

    /// The text of a column, or its JSON text; `None` if it holds something else.
    #[inline]
    pub fn text(&self, column: usize) -> Option<&str> {
        let (tag, slice) = self.packed(column);
        (tag >= STRING).then(|| text(slice))
    }

    /// The number that a column holds; `None` if it holds something else.
    #[inline]
    pub fn number(&self, column: usize) -> Option<f64> {
        let (tag, slice) = self.packed(column);
        (tag == NUMBER).then(|| number(slice))
    }

    /// Whether a column holds this value. For text that is quicker than to take the value out: most often its length
    /// tells that it is another one.
    #[inline]
    pub fn holds(&self, column: usize, value: ValueRef<'_>) -> bool {
        match value {
            ValueRef::String(text) => self.packed(column) == (STRING, text.as_bytes()),
            _ => compare(self.get(column), value).is_eq(),
        }
    }

    /// The tag of a column, and its payload.
    #[inline]
    fn packed(&self, column: usize) -> (u8, &[u8]) {
        let bytes = self.bytes();
        let layout = Layout::of(bytes);
        if column >= layout.count {
            return (NULL, &[]);
        }
        let (tag, start, end) = match layout.is_narrow {
            true => layout.extent(bytes, column),
            false => layout.wide_extent(bytes, column),
        };
        (tag, &bytes[start..end])
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

/// Where the parts of a packed row are.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Layout {
    count: usize,
    is_narrow: bool,
}

/// The entries are behind the first two bytes.
const ENTRIES: usize = 2;

impl Layout {
    /// For so many columns, and so many bytes of payload.
    fn new(count: usize, payload: usize) -> Layout {
        Layout {
            count,
            is_narrow: payload <= NARROW_MOST,
        }
    }

    #[inline]
    fn of(bytes: &[u8]) -> Layout {
        let first = u16::from_le_bytes([bytes[0], bytes[1]]);
        Layout {
            count: usize::from(first & COUNT),
            is_narrow: first & NARROW != 0,
        }
    }

    #[inline]
    fn payload(self) -> usize {
        ENTRIES + if self.is_narrow { 2 } else { 4 } * self.count
    }

    /// The tag of a column, and where its payload is.
    #[inline]
    fn extent(self, bytes: &[u8], column: usize) -> (u8, usize, usize) {
        let start = match column.checked_sub(1) {
            Some(before) => self.entry(bytes, before).1,
            None => 0,
        };
        let (tag, end) = self.entry(bytes, column);
        (tag, self.payload() + start, self.payload() + end)
    }

    /// The same for rows that are seldom so long, kept out of the way of the others.
    #[cold]
    #[inline(never)]
    fn wide_extent(self, bytes: &[u8], column: usize) -> (u8, usize, usize) {
        self.extent(bytes, column)
    }

    /// The tag of a column, and where its payload ends.
    #[inline]
    fn entry(self, bytes: &[u8], column: usize) -> (u8, usize) {
        let entries = &bytes[ENTRIES..];
        if self.is_narrow {
            let entry = u16::from_le_bytes(entries.as_chunks().0[column]);
            ((entry >> 13) as u8, usize::from(entry) & NARROW_MOST)
        } else {
            let entry = u32::from_le_bytes(entries.as_chunks().0[column]);
            ((entry >> 29) as u8, entry as usize & MOST)
        }
    }
}

#[inline]
fn number(slice: &[u8]) -> f64 {
    match *slice {
        [a] => f64::from(a.cast_signed()),
        [a, b] => f64::from(i16::from_le_bytes([a, b])),
        [a, b, c, d] => f64::from(i32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e, f] => wide_integer([a, b, c, d, e, f]) as f64,
        _ => f64::from_le_bytes(*slice.first_chunk().expect("a packed double has 8 bytes")),
    }
}

#[inline]
fn wide_integer([a, b, c, d, e, f]: [u8; 6]) -> i64 {
    i64::from_le_bytes([0, 0, a, b, c, d, e, f]) >> (i64::BITS - INTEGER_BITS)
}

/// The bytes of a number, and how many of them count.
fn pack_number(number: f64) -> ([u8; 8], usize) {
    // Adding 0 turns -0 into 0.
    let number = number + 0.0;
    let integer = number as i64;
    let spare = 64 - INTEGER_BITS;
    if integer as f64 != number || integer << spare >> spare != integer {
        return (number.to_le_bytes(), 8);
    }
    let size = match integer {
        -0x80..0x80 => 1,
        -0x8000..0x8000 => 2,
        -0x8000_0000..0x8000_0000 => 4,
        _ => 6,
    };
    (integer.to_le_bytes(), size)
}

/// Adds the payload of a value; gives its tag.
fn append(value: ValueRef<'_>, payload: &mut Vec<u8>) -> u8 {
    match value {
        ValueRef::Null | ValueRef::Json("null") => NULL,
        ValueRef::Bool(false) => FALSE,
        ValueRef::Bool(true) => TRUE,
        ValueRef::Number(number) => {
            let (bytes, size) = pack_number(number);
            payload.extend_from_slice(&bytes[..size]);
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
    }
}

/// Packs rows one after another, reusing its buffers.
#[derive(Debug, Default)]
pub struct RowBuilder {
    /// Tags and ends.
    columns: Vec<(u8, u32)>,
    payload: Vec<u8>,
    packed: Vec<u8>,
    too_large: bool,
}

impl RowBuilder {
    /// Adds the next column. A row may have 32,767 columns, and 512 MB less one byte of text and numbers.
    pub fn push(&mut self, value: ValueRef<'_>) {
        let present = self.payload.len();
        let tag = append(value, &mut self.payload);
        let end = payload_end(self.payload.len()).unwrap_or_else(|| {
            self.too_large = true;
            self.payload.truncate(present);
            0
        });
        self.columns.push((tag, end));
    }

    /// The row of the columns pushed since the last call.
    ///
    /// # Panics
    /// When it is too large; use [`RowBuilder::try_finish`] where nothing bounds the values.
    pub fn finish(&mut self) -> Row {
        match self.try_finish() {
            Ok(row) => row,
            Err(error) => panic!("what hands out values bounds their size: {error}"),
        }
    }

    /// The row of the columns pushed since the last call.
    ///
    /// # Errors
    /// When it is too large; the builder is ready for the next row.
    pub fn try_finish(&mut self) -> Result<Row, RowError> {
        let count = self.columns.len();
        let row = match u16::try_from(count) {
            Ok(first @ ..=COUNT) if !self.too_large => {
                let packed = &mut self.packed;
                if Layout::new(count, self.payload.len()).is_narrow {
                    packed.extend_from_slice(&(first | NARROW).to_le_bytes());
                    for (tag, end) in &self.columns {
                        let entry = u16::from(*tag) << 13 | *end as u16;
                        packed.extend_from_slice(&entry.to_le_bytes());
                    }
                } else {
                    packed.extend_from_slice(&first.to_le_bytes());
                    for (tag, end) in &self.columns {
                        let entry = u32::from(*tag) << 29 | end;
                        packed.extend_from_slice(&entry.to_le_bytes());
                    }
                }
                packed.extend_from_slice(&self.payload);
                Ok(Row(ThinArc::from_header_and_slice((), packed)))
            }
            _ => Err(RowError::TooLarge),
        };
        self.columns.clear();
        self.payload.clear();
        self.packed.clear();
        self.too_large = false;
        row
    }
}

/// Where payload of this length ends, if a row can hold it.
fn payload_end(length: usize) -> Option<u32> {
    u32::try_from(length).ok().filter(|_| length <= MOST)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;
    use proptest::prelude::*;

    pub(super) fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            (-1e9..1e9).prop_map(|number: f64| Value::Number(number)),
            (any::<i64>(), 0u32..63).prop_map(|(number, by)| Value::Number((number >> by) as f64)),
            any::<String>().prop_map(|text| Value::String(text.into())),
            any::<bool>().prop_map(|flag| Value::Json(format!("[{flag}]").into())),
        ]
    }

    pub(super) fn pack(values: &[Value]) -> Row {
        Row::from_values(values.iter().map(Value::as_ref))
    }

    #[test]
    fn rows_are_as_small_as_they_can_be() {
        let check = |values: &[ValueRef<'_>], size: usize| {
            let row = Row::from_values(values.iter().copied());
            assert_eq!(row.bytes().len(), size, "{row:?}");
            assert!(row.iter().eq(values.iter().copied()));
            assert_eq!(Row::from_bytes(row.bytes()), Ok(row));
        };
        let number = |value: f64, size: usize| check(&[ValueRef::Number(value)], 4 + size);
        let top = 2f64.powi(47);
        number(127.0, 1);
        number(-128.0, 1);
        number(128.0, 2);
        number(-32768.0, 2);
        number(32768.0, 4);
        number(-2_147_483_648.0, 4);
        number(2_147_483_648.0, 6);
        number(top - 1.0, 6);
        number(-top, 6);
        number(top, 8);
        number(-top - 1.0, 8);
        number(0.5, 8);
        number(1e300, 8);
        check(&[], 2);
        check(&[ValueRef::Null; 3], 2 + 3 * 2);
        let long = "x".repeat(0x2000);
        let text = |length| ValueRef::String(&long[..length]);
        check(&[text(0x1fff)], 2 + 2 + 0x1fff);
        check(&[text(0x1fff), text(1)], 2 + 2 * 4 + 0x2000);
        check(&[text(0x2000)], 2 + 4 + 0x2000);
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
        assert_eq!(payload_end(MOST), Some(MOST as u32));
        assert_eq!(payload_end(MOST + 1), None);
        for _ in 0..=COUNT {
            builder.push(ValueRef::Null);
        }
        assert_eq!(builder.try_finish(), Err(RowError::TooLarge));
        for _ in 0..COUNT {
            builder.push(ValueRef::Null);
        }
        let row = builder.try_finish().unwrap();
        assert_eq!(row.len(), usize::from(COUNT));
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
        fn a_column_holds_what_compares_equal(held in value(), other in value()) {
            let row = pack(std::slice::from_ref(&held));
            for value in [&held, &other, &Value::Null, &Value::Number(-0.0), &Value::String("".into())] {
                let is_equal = compare(held.as_ref(), value.as_ref()).is_eq();
                prop_assert_eq!(row.holds(0, value.as_ref()), is_equal);
                prop_assert_eq!(row.holds(1, value.as_ref()), value.as_ref().is_null());
            }
        }

        #[test]
        fn any_bytes_are_fine(bytes in prop::collection::vec(any::<u8>(), 0..64), count in 0u8..4, is_narrow: bool) {
            let mut framed = vec![count, u8::from(is_narrow) << 7];
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
