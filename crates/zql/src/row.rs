//! Packed rows: one immutable byte string per row, the same in memory, in stored pages and in the log.
//!
//! Layout, little-endian: `u16` number of columns; per column a `u32` = tag << 29 | end of its payload, counted
//! from the start of the payload area; then the payload area. Tags: 0 NULL, 1 false, 2 true, 3 number (8 bytes),
//! 4 string (UTF-8), 5 JSON text (UTF-8).

use std::fmt;
use std::hash::{Hash, Hasher};

use thiserror::Error;
use triomphe::ThinArc;

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
    pub fn bytes(&self) -> &[u8] {
        &self.0.slice
    }

    /// The value of a column; NULL beyond the last one.
    pub fn get(&self, column: usize) -> ValueRef<'_> {
        let bytes = self.bytes();
        let count = self.len();
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

/// Packs rows one after another, reusing its buffers.
#[derive(Debug, Default)]
pub struct RowBuilder {
    entries: Vec<u32>,
    payload: Vec<u8>,
    packed: Vec<u8>,
}

impl RowBuilder {
    /// Adds the next column.
    pub fn push(&mut self, value: ValueRef<'_>) {
        let tag = match value {
            ValueRef::Null => NULL,
            ValueRef::Bool(false) => FALSE,
            ValueRef::Bool(true) => TRUE,
            ValueRef::Number(number) => {
                self.payload.extend_from_slice(&number.to_le_bytes());
                NUMBER
            }
            ValueRef::String(text) => {
                self.payload.extend_from_slice(text.as_bytes());
                STRING
            }
            ValueRef::Json(text) => {
                self.payload.extend_from_slice(text.as_bytes());
                JSON
            }
        };
        let end = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        assert!(
            end <= END_MASK,
            "a row is smaller than 512 MB: every source of rows bounds them"
        );
        self.entries.push(tag << TAG_SHIFT | end);
    }

    /// The row of the columns pushed since the last call.
    pub fn finish(&mut self) -> Row {
        let count =
            u16::try_from(self.entries.len()).expect("a table has fewer than 65,536 columns");
        self.packed.extend_from_slice(&count.to_le_bytes());
        for entry in &self.entries {
            self.packed.extend_from_slice(&entry.to_le_bytes());
        }
        self.packed.extend_from_slice(&self.payload);
        let row = Row(ThinArc::from_header_and_slice((), &self.packed));
        self.entries.clear();
        self.payload.clear();
        self.packed.clear();
        row
    }
}

fn word(bytes: &[u8], column: usize) -> u32 {
    let at = 2 + 4 * column;
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

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
            NUMBER if slice.len() == 8 => {}
            STRING | JSON => {
                std::str::from_utf8(slice).map_err(|_| RowError::Utf8(column))?;
            }
            NULL | FALSE | TRUE | NUMBER => return Err(RowError::Extent(column)),
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
