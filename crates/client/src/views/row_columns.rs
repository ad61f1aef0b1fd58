//! The rows of a batch on their way to JavaScript: written table by table, and in each column by column.
//!
//! What a column turns out to hold decides how it is sent.

use crate::views::flush::RowBatch;
use landfall_zql::json::to_text;
use landfall_zql::{ColumnType, Row, TableSchema, ValueRef};

const KIND_NULL: u32 = 0;
const KIND_NUMBER: u32 = 1;
const KIND_BOOLEAN: u32 = 2;
const KIND_STRING: u32 = 3;
const KIND_DICTIONARY: u32 = 4;
const KIND_JSON: u32 = 5;
const KIND_INTEGER: u32 = 6;

/// Below this number of rows a dictionary does not pay.
const DICTIONARY_FROM: usize = 8;
/// So many distinct strings are always fine; above that, one in four values may be new.
const DICTIONARY_FREE: usize = 16;
/// Strings whose hashes fall together more often than this are sent as they come.
const LONGEST_PROBE: usize = 64;

/// Ends each string; where a string holds it itself, all are sent as JSON and a comma ends each.
const SEPARATOR: u8 = 0;
/// A string that JavaScript cuts out of a text keeps that text alive, so texts are sent in pieces of this length.
const PIECE_BYTES: usize = 32 << 10;

/// A row batch that is being written, in the layout of `FLUSH.md`.
pub(crate) struct BatchWriter {
    words: Vec<u32>,
    text: Vec<u8>,
    /// How many strings the text has.
    strings: usize,
    /// The lengths of the pieces that are complete.
    pieces: Vec<u32>,
    /// Where the present one begins.
    begun: usize,
    as_json: bool,
}

impl BatchWriter {
    /// A batch of so many tables; `as_json` if strings cannot be separated otherwise.
    pub(crate) fn new(tables: usize, as_json: bool) -> Self {
        BatchWriter {
            words: vec![tables as u32, 0, u32::from(as_json), 0],
            text: Vec::new(),
            strings: 0,
            pieces: Vec::new(),
            begun: 0,
            as_json,
        }
    }

    /// Writes a table block: rows with their handles.
    pub(crate) fn table(
        &mut self,
        number: u32,
        table: &TableSchema,
        handles: &[u32],
        rows: &[&Row],
    ) {
        let columns = &table.columns;
        self.align();
        self.words
            .extend([number, rows.len() as u32, columns.len() as u32, 0]);
        self.words.extend_from_slice(handles);
        for (at, column) in columns.iter().enumerate() {
            self.column(column.ty, rows, at);
        }
        self.align();
    }

    /// The batch; `None` if its strings cannot be told apart by what ends each.
    pub(crate) fn finish(mut self) -> Option<RowBatch> {
        if !self.as_json && separators(&self.text) != self.strings {
            return None;
        }
        self.end_piece(self.text.len());
        self.words[1] = self.pieces.len() as u32;
        self.words.extend(self.pieces);
        Some(RowBatch {
            words: self.words,
            text: self.text,
        })
    }

    fn column(&mut self, ty: ColumnType, rows: &[&Row], column: usize) {
        let is_null = |row: &&Row| matches!(row.get(column), ValueRef::Null);
        let nulls = match ty {
            _ if rows.iter().all(is_null) => return self.words.push(KIND_NULL),
            ColumnType::Null => return self.words.push(KIND_NULL),
            ColumnType::Boolean => self.booleans(rows, column),
            ColumnType::Number => match self.integers(rows, column) {
                Some(nulls) => nulls,
                None => self.numbers(rows, column),
            },
            ColumnType::Json => self.strings(KIND_JSON, rows, column),
            ColumnType::String => match self.dictionary(rows, column) {
                Some(nulls) => nulls,
                None => self.strings(KIND_STRING, rows, column),
            },
        };
        let has_nulls = !nulls.words.is_empty();
        self.words.push(u32::from(has_nulls));
        if has_nulls {
            self.bits(&nulls, rows.len());
        }
    }

    fn booleans(&mut self, rows: &[&Row], column: usize) -> Bits {
        let mut trues = Bits::default();
        let mut nulls = Bits::default();
        for (index, row) in rows.iter().enumerate() {
            match row.get(column) {
                ValueRef::Bool(true) => trues.set(index),
                ValueRef::Null => nulls.set(index),
                _ => {}
            }
        }
        self.words.push(KIND_BOOLEAN);
        self.bits(&trues, rows.len());
        nulls
    }

    /// A word for each number; `None` and nothing written if not all are whole.
    fn integers(&mut self, rows: &[&Row], column: usize) -> Option<Bits> {
        let start = self.words.len();
        let mut nulls = Bits::default();
        self.words.reserve(rows.len() + 1);
        self.words.push(KIND_INTEGER);
        for (index, row) in rows.iter().enumerate() {
            let number = row.number(column).unwrap_or_else(|| {
                nulls.set(index);
                0.0
            });
            let whole = number as i32;
            if f64::from(whole) != number {
                self.words.truncate(start);
                return None;
            }
            self.words.push(whole as u32);
        }
        Some(nulls)
    }

    /// Two words for each number.
    fn numbers(&mut self, rows: &[&Row], column: usize) -> Bits {
        let mut nulls = Bits::default();
        self.words.push(KIND_NUMBER);
        self.align();
        self.words.reserve(2 * rows.len());
        for (index, row) in rows.iter().enumerate() {
            let number = row.number(column).unwrap_or_else(|| {
                nulls.set(index);
                0.0
            });
            let bits = number.to_bits();
            self.words
                .extend_from_slice(&[bits as u32, (bits >> 32) as u32]);
        }
        nulls
    }

    fn strings(&mut self, kind: u32, rows: &[&Row], column: usize) -> Bits {
        let mut nulls = Bits::default();
        self.words.push(kind);
        for (index, row) in rows.iter().enumerate() {
            self.string(row.text(column).unwrap_or_else(|| {
                nulls.set(index);
                ""
            }));
        }
        nulls
    }

    /// Each distinct string once; `None` and nothing written if too few of them repeat.
    fn dictionary(&mut self, rows: &[&Row], column: usize) -> Option<Bits> {
        if rows.len() < DICTIONARY_FROM {
            return None;
        }
        let mut nulls = Bits::default();
        let mut distinct = Distinct::default();
        let mut indices = Vec::with_capacity(rows.len());
        for (index, row) in rows.iter().enumerate() {
            indices.push(match row.text(column) {
                Some(text) => distinct.place(text, index)?,
                None => {
                    nulls.set(index);
                    0
                }
            });
        }
        let entries = distinct.entries;
        if entries.len() > rows.len() / 4 {
            return None;
        }
        self.words.extend([KIND_DICTIONARY, entries.len() as u32]);
        entries.into_iter().for_each(|text| self.string(text));
        self.words.extend(indices);
        Some(nulls)
    }

    fn string(&mut self, text: &str) {
        let start = self.text.len();
        if self.as_json {
            self.text.extend_from_slice(to_text(text).as_bytes());
            self.text.push(b',');
        } else {
            self.text.extend_from_slice(text.as_bytes());
            self.text.push(SEPARATOR);
        }
        self.strings += 1;
        // A string is never cut.
        if self.text.len() - self.begun > PIECE_BYTES {
            self.end_piece(start);
        }
    }

    fn end_piece(&mut self, at: usize) {
        if at > self.begun {
            self.pieces.push((at - self.begun) as u32);
            self.begun = at;
        }
    }

    fn bits(&mut self, bits: &Bits, rows: usize) {
        let end = self.words.len() + rows.div_ceil(32);
        self.words.extend_from_slice(&bits.words);
        self.words.resize(end, 0);
    }

    /// Numbers of eight bytes stand at even words.
    fn align(&mut self) {
        if !self.words.len().is_multiple_of(2) {
            self.words.push(0);
        }
    }
}

/// One bit for each row; what lies behind the last one that is set is not there yet.
#[derive(Default)]
struct Bits {
    words: Vec<u32>,
}

impl Bits {
    fn set(&mut self, index: usize) {
        let word = index >> 5;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (index & 31);
    }
}

/// How many separators there are, counted in eight bytes at once.
fn separators(text: &[u8]) -> usize {
    let (words, rest) = text.as_chunks::<8>();
    let zeros = words.iter().map(|word| {
        let word = u64::from_le_bytes(*word);
        let low = u64::from_ne_bytes([0x7f; 8]);
        // The high bit of each byte that is 0.
        (!(((word & low) + low) | word | low)).count_ones() as usize
    });
    zeros.sum::<usize>() + rest.iter().filter(|byte| **byte == SEPARATOR).count()
}

/// The distinct strings of a column.
#[derive(Default)]
struct Distinct<'a> {
    entries: Vec<&'a str>,
    /// By hash: the place of an entry, plus one.
    slots: Vec<u32>,
}

impl<'a> Distinct<'a> {
    /// The place of the string of a row among the distinct ones; `None` if too many are, or too many fall together.
    fn place(&mut self, text: &'a str, row: usize) -> Option<u32> {
        if self.entries.len() * 2 >= self.slots.len() {
            self.grow()?;
        }
        let slot = self.slot(text)?;
        if self.slots[slot] == 0 {
            // A column of names of their own is given up early.
            if self.entries.len() >= DICTIONARY_FREE + row / 4 {
                return None;
            }
            self.entries.push(text);
            self.slots[slot] = self.entries.len() as u32;
        }
        Some(self.slots[slot] - 1)
    }

    /// Where the string is, or where it would have to go, if that is near to where its hash says.
    fn slot(&self, text: &str) -> Option<usize> {
        let mask = self.slots.len() - 1;
        let start = hash(text.as_bytes()) as usize;
        (start..start + LONGEST_PROBE)
            .map(|slot| slot & mask)
            .find(|slot| match self.slots[*slot].checked_sub(1) {
                Some(place) => self.entries[place as usize] == text,
                None => true,
            })
    }

    fn grow(&mut self) -> Option<()> {
        self.slots = vec![0; (self.slots.len() * 4).max(64)];
        for place in 0..self.entries.len() {
            let slot = self.slot(self.entries[place])?;
            self.slots[slot] = place as u32 + 1;
        }
        Some(())
    }
}

/// Of the ends of a string, which is where keys differ.
fn hash(bytes: &[u8]) -> u32 {
    let ends = match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(head), Some(tail)) => {
            u64::from_le_bytes(*head) ^ u64::from_le_bytes(*tail).rotate_left(29)
        }
        _ => bytes
            .iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    let mixed = (ends ^ bytes.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // What stands high in the word has changed nothing but the highest digits.
    (mixed >> 32) as u32 ^ (mixed >> 51) as u32
}
