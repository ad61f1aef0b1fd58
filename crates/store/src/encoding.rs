//! The alphabet of the format: integers, text, lists, the two bytes that every stored value begins with, and the
//! checksum that it ends with.
//!
//! Reading never trusts a length: what it announces must be there, and nothing is allocated before it is.

use crate::error::FormatError;
use landfall_zql::hash::h32_of_bytes;
use landfall_zql::{Key, Row};

/// The version of the format, the second byte of every value that is written.
///
/// There is no version 3: one bit more makes it 1, whose values have no checksum that would tell.
pub const FORMAT_VERSION: u8 = 4;
/// Values of this version are read too: they are the same, but for the layout of packed rows.
const EARLIER_ROWS: u8 = 2;
/// So are values of this version, which have no checksum either.
const WITHOUT_CHECKSUM: u8 = 1;

/// Kind and version, which a checked reader has behind it.
pub(crate) const HEADER: usize = 2;

/// What a value is, its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Head = b'H',
    Schema = b'S',
    Log = b'L',
    Page = b'P',
    Queries = b'Q',
    Mutation = b'M',
    Outcome = b'O',
    Client = b'C',
    Kept = b'K',
    Result = b'R',
}

/// Appends to the bytes of one value.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new(kind: Kind) -> Self {
        Self::with_room(kind, 0)
    }

    /// For a value whose size is known.
    pub(crate) fn with_room(kind: Kind, bytes: usize) -> Self {
        let mut value = Vec::with_capacity(bytes.max(2));
        value.extend_from_slice(&[kind as u8, FORMAT_VERSION]);
        Self(value)
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn f64(&mut self, value: f64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.len(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(crate) fn optional_text(&mut self, text: Option<&str>) {
        self.u8(u8::from(text.is_some()));
        if let Some(text) = text {
            self.text(text);
        }
    }

    pub(crate) fn row(&mut self, row: &Row) {
        self.bytes(row.bytes());
    }

    /// The count of a list that follows. Lists and texts of ours stay far below 4 GiB: a message has 10 MiB at most.
    pub(crate) fn len(&mut self, len: usize) {
        self.u32(u32::try_from(len).expect("a list or text of one value is below 4 GiB"));
    }

    /// The value, with its checksum.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let checksum = h32_of_bytes(&self.0);
        self.u32(checksum);
        self.0
    }
}

/// Reads the bytes of one value.
///
/// What cannot be read is a zero or empty, and so is all that follows: [`check`](Self::check), [`end`](Self::end), and
/// reading a row or a list tell of it. One check in place of one per field is a few kilobytes of WebAssembly.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    version: u8,
    failed: Option<FormatError>,
}

impl<'a> Reader<'a> {
    /// Checks the first two bytes and the checksum.
    pub(crate) fn new(kind: Kind, bytes: &'a [u8]) -> Result<Self, FormatError> {
        match bytes {
            [first, version, rest @ ..] if *first == kind as u8 => match *version {
                FORMAT_VERSION | EARLIER_ROWS => Self::checked(bytes, *version),
                WITHOUT_CHECKSUM => Ok(Self {
                    bytes: rest,
                    version: WITHOUT_CHECKSUM,
                    failed: None,
                }),
                version => Err(FormatError::Version(version)),
            },
            _ => Err(FormatError::Kind {
                expected: kind as u8 as char,
            }),
        }
    }

    /// For a look at the beginning of a value that is read later; its end is not told from the checksum.
    pub(crate) fn unchecked(kind: Kind, bytes: &'a [u8]) -> Result<Self, FormatError> {
        match bytes {
            [
                first,
                version @ (FORMAT_VERSION | EARLIER_ROWS | WITHOUT_CHECKSUM),
                rest @ ..,
            ] if *first == kind as u8 => Ok(Self {
                bytes: rest,
                version: *version,
                failed: None,
            }),
            _ => Self::new(kind, bytes),
        }
    }

    fn checked(bytes: &'a [u8], version: u8) -> Result<Self, FormatError> {
        let (value, checksum) = bytes.split_last_chunk().ok_or(FormatError::Truncated)?;
        if h32_of_bytes(value) != u32::from_le_bytes(*checksum) {
            return Err(FormatError::Checksum);
        }
        // So short that the checksum would begin in the first two bytes.
        let bytes = value.get(2..).ok_or(FormatError::Truncated)?;
        Ok(Self {
            bytes,
            version,
            failed: None,
        })
    }

    /// The version of the format that the value was written in.
    pub(crate) fn version(&self) -> u8 {
        self.version
    }

    /// Goes on in the middle of a value.
    pub(crate) fn inside(bytes: &'a [u8], version: u8) -> Self {
        Self {
            bytes,
            version,
            failed: None,
        }
    }

    /// How many bytes are not read yet.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len()
    }

    fn fail(&mut self, error: FormatError) {
        self.bytes = &[];
        self.failed.get_or_insert(error);
    }

    /// Whether all that was read was there. Until then it may be made up.
    pub(crate) fn check(&self) -> Result<(), FormatError> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        match self.bytes.split_at_checked(len) {
            Some((taken, rest)) => {
                self.bytes = rest;
                taken
            }
            None => {
                self.fail(FormatError::Truncated);
                &[]
            }
        }
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        self.take(N).try_into().unwrap_or([0; N])
    }

    pub(crate) fn u8(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    pub(crate) fn f64(&mut self) -> f64 {
        f64::from_le_bytes(self.array())
    }

    pub(crate) fn flag(&mut self) -> bool {
        match self.u8() {
            0 => false,
            1 => true,
            other => {
                self.fail(FormatError::Tag(other));
                false
            }
        }
    }

    pub(crate) fn bytes(&mut self) -> &'a [u8] {
        let len = self.u32();
        self.take(usize::try_from(len).unwrap_or(usize::MAX))
    }

    pub(crate) fn text(&mut self) -> String {
        match std::str::from_utf8(self.bytes()) {
            Ok(text) => text.to_owned(),
            Err(_) => {
                self.fail(FormatError::Utf8);
                String::new()
            }
        }
    }

    pub(crate) fn optional_text(&mut self) -> Option<String> {
        self.flag().then(|| self.text())
    }

    // What `bytes` gives, in one piece: a store has far more rows than anything else.
    fn counted(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.bytes.split_first_chunk()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let (counted, rest) = rest.split_at_checked(len)?;
        self.bytes = rest;
        Some(counted)
    }

    /// A packed row with this many columns.
    pub(crate) fn row(&mut self, columns: usize) -> Result<Row, FormatError> {
        let Some(bytes) = self.counted() else {
            return Err(self.failed.clone().unwrap_or(FormatError::Truncated));
        };
        let row = match self.version {
            FORMAT_VERSION => Row::from_bytes(bytes)?,
            _ => Row::from_earlier_bytes(bytes)?,
        };
        match row.len() == columns {
            true => Ok(row),
            false => Err(FormatError::Columns {
                expected: columns,
                found: row.len(),
            }),
        }
    }

    /// A key with this many columns.
    pub(crate) fn key(&mut self, columns: usize) -> Result<Key, FormatError> {
        self.row(columns).map(Key)
    }

    /// A list; each element takes at least one byte, so a false count ends with the bytes.
    pub(crate) fn list<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, FormatError>,
    ) -> Result<Vec<T>, FormatError> {
        let count = self.u32();
        self.check()?;
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(element(self)?);
            self.check()?;
        }
        Ok(list)
    }

    /// Nothing may be left over.
    pub(crate) fn end(self) -> Result<(), FormatError> {
        self.check()?;
        match self.bytes {
            [] => Ok(()),
            _ => Err(FormatError::TooLong),
        }
    }
}
