//! The rows of one table on their way into a row batch: taken row by row, written column by column.
//!
//! Each row is read once, from its first column to its last; what a column turns out to hold decides how it is sent.

use crate::views::flush::RowBatch;
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

/// Rows of one table by column.
pub(crate) struct RowColumns {
    handles: Vec<u32>,
    columns: Vec<Column>,
}

struct Column {
    /// One bit for each row; written if any is set.
    nulls: Bits,
    has_nulls: bool,
    values: Values,
}

enum Values {
    Null,
    Numbers { values: Vec<f64>, are_whole: bool },
    Booleans(Bits),
    Strings { texts: Texts, distinct: Distinct },
    Json(Texts),
}

#[derive(Default)]
struct Bits {
    words: Vec<u32>,
    count: u32,
}

/// Strings one behind the other.
#[derive(Default)]
struct Texts {
    text: String,
    /// Where each ends, in bytes.
    ends: Vec<u32>,
}

/// The distinct strings of a column, as long as few of them repeat.
#[derive(Default)]
struct Distinct {
    /// Too many are different: the strings are sent as they come.
    given_up: bool,
    /// For each row the place of its string among the distinct ones.
    indices: Vec<u32>,
    /// The row that showed each of them first.
    first: Vec<u32>,
    /// By hash: the place of a distinct string, plus one.
    slots: Vec<u32>,
}

impl RowColumns {
    pub(crate) fn of(table: &TableSchema) -> Self {
        RowColumns {
            handles: Vec::new(),
            columns: table.columns.iter().map(|c| Column::of(c.ty)).collect(),
        }
    }

    pub(crate) fn push(&mut self, handle: u32, row: &Row) {
        self.handles.push(handle);
        for (column, values) in self.columns.iter_mut().enumerate() {
            values.push(row.get(column));
        }
    }

    /// Writes the table block, in the layout of `FLUSH.md`.
    pub(crate) fn write(&self, table: u32, batch: &mut RowBatch) {
        let (rows, columns) = (self.handles.len(), self.columns.len());
        batch.align();
        batch.words.extend([table, rows as u32, columns as u32, 0]);
        batch.words.extend_from_slice(&self.handles);
        for column in &self.columns {
            column.write(rows, batch);
        }
        batch.align();
    }
}

impl Column {
    fn of(ty: ColumnType) -> Self {
        let values = match ty {
            ColumnType::Null => Values::Null,
            ColumnType::Boolean => Values::Booleans(Bits::default()),
            ColumnType::Json => Values::Json(Texts::default()),
            ColumnType::Number => Values::Numbers {
                values: Vec::new(),
                are_whole: true,
            },
            ColumnType::String => Values::Strings {
                texts: Texts::default(),
                distinct: Distinct::default(),
            },
        };
        Column {
            nulls: Bits::default(),
            has_nulls: false,
            values,
        }
    }

    fn push(&mut self, value: ValueRef<'_>) {
        let is_null = matches!(value, ValueRef::Null);
        self.nulls.push(is_null);
        self.has_nulls |= is_null;
        match &mut self.values {
            Values::Null => {}
            Values::Numbers { values, are_whole } => {
                let number = match value {
                    ValueRef::Number(number) => number,
                    _ => 0.0,
                };
                *are_whole &= f64::from(number as i32) == number;
                values.push(number);
            }
            Values::Booleans(bits) => bits.push(matches!(value, ValueRef::Bool(true))),
            Values::Strings { texts, distinct } => {
                texts.push(text_of(value));
                distinct.push(texts, is_null);
            }
            Values::Json(texts) => texts.push(text_of(value)),
        }
    }

    fn write(&self, rows: usize, batch: &mut RowBatch) {
        if self.nulls.ones() == rows || matches!(self.values, Values::Null) {
            batch.words.extend([KIND_NULL, 0]);
            return;
        }
        match &self.values {
            Values::Null => {}
            Values::Numbers { values, are_whole } => {
                self.head([KIND_NUMBER, KIND_INTEGER][usize::from(*are_whole)], batch);
                if *are_whole {
                    batch
                        .words
                        .extend(values.iter().map(|number| *number as i32 as u32));
                    return;
                }
                batch.align();
                for number in values {
                    let bits = number.to_bits();
                    batch.words.push(bits as u32);
                    batch.words.push((bits >> 32) as u32);
                }
            }
            Values::Booleans(bits) => {
                self.head(KIND_BOOLEAN, batch);
                batch.words.extend_from_slice(&bits.words);
            }
            Values::Json(texts) => {
                self.head(KIND_JSON, batch);
                batch.texts(texts);
            }
            Values::Strings { texts, distinct } if !distinct.pays(rows) => {
                self.head(KIND_STRING, batch);
                batch.texts(texts);
            }
            Values::Strings { texts, distinct } => {
                self.head(KIND_DICTIONARY, batch);
                batch.words.push(distinct.first.len() as u32);
                let mut entries = Texts::default();
                for row in &distinct.first {
                    entries.push(texts.get(*row as usize));
                }
                batch.texts(&entries);
                batch.words.extend_from_slice(&distinct.indices);
            }
        }
    }

    fn head(&self, kind: u32, batch: &mut RowBatch) {
        batch.words.extend([kind, u32::from(self.has_nulls)]);
        if self.has_nulls {
            batch.words.extend_from_slice(&self.nulls.words);
        }
    }
}

impl Bits {
    fn push(&mut self, bit: bool) {
        if self.count & 31 == 0 {
            self.words.push(0);
        }
        if let Some(last) = self.words.last_mut() {
            *last |= u32::from(bit) << (self.count & 31);
        }
        self.count += 1;
    }

    fn ones(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }
}

impl Texts {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len() as u32);
    }

    fn get(&self, index: usize) -> &str {
        let start = match index {
            0 => 0,
            _ => self.ends[index - 1],
        };
        &self.text[start as usize..self.ends[index] as usize]
    }
}

impl Distinct {
    /// The newest of these strings.
    fn push(&mut self, texts: &Texts, is_null: bool) {
        if self.given_up {
            return;
        }
        let row = texts.ends.len() - 1;
        if is_null {
            self.indices.push(0);
            return;
        }
        let text = texts.get(row);
        if self.first.len() * 2 >= self.slots.len() {
            self.grow(texts);
            if self.given_up {
                return;
            }
        }
        match self.slot(texts, text) {
            Some(slot) if self.slots[slot] > 0 => self.indices.push(self.slots[slot] - 1),
            // A column of names of their own is given up early.
            Some(slot) if self.first.len() < DICTIONARY_FREE + row / 4 => {
                self.indices.push(self.first.len() as u32);
                self.first.push(row as u32);
                self.slots[slot] = self.first.len() as u32;
            }
            _ => self.give_up(),
        }
    }

    fn give_up(&mut self) {
        *self = Distinct {
            given_up: true,
            ..Distinct::default()
        };
    }

    fn pays(&self, rows: usize) -> bool {
        !self.given_up && rows >= DICTIONARY_FROM && self.first.len() <= rows / 4
    }

    /// Where the string is, or where it would have to go, if that is near to where its hash says.
    fn slot(&self, texts: &Texts, text: &str) -> Option<usize> {
        let mask = self.slots.len() - 1;
        let start = hash(text) as usize;
        (start..start + LONGEST_PROBE)
            .map(|slot| slot & mask)
            .find(|slot| match self.slots[*slot].checked_sub(1) {
                Some(place) => texts.get(self.first[place as usize] as usize) == text,
                None => true,
            })
    }

    fn grow(&mut self, texts: &Texts) {
        self.slots = vec![0; (self.slots.len() * 4).max(64)];
        for place in 0..self.first.len() {
            match self.slot(texts, texts.get(self.first[place] as usize)) {
                Some(slot) => self.slots[slot] = place as u32 + 1,
                None => return self.give_up(),
            }
        }
    }
}

/// Of the ends of a string, which is where keys differ.
fn hash(text: &str) -> u32 {
    let bytes = text.as_bytes();
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

impl RowBatch {
    /// Numbers of eight bytes stand at even words.
    fn align(&mut self) {
        if !self.words.len().is_multiple_of(2) {
            self.words.push(0);
        }
    }

    /// A group of strings: its length in bytes, and the length of each in UTF-16 code units.
    fn texts(&mut self, texts: &Texts) {
        self.words.push(texts.text.len() as u32);
        if texts.text.is_ascii() {
            let mut start = 0;
            for end in &texts.ends {
                self.words.push(end - start);
                start = *end;
            }
        } else {
            for index in 0..texts.ends.len() {
                self.words.push(utf16_length(texts.get(index)));
            }
        }
        self.text.push_str(&texts.text);
    }
}

fn text_of(value: ValueRef<'_>) -> &str {
    match value {
        ValueRef::String(text) | ValueRef::Json(text) => text,
        ValueRef::Null | ValueRef::Bool(_) | ValueRef::Number(_) => "",
    }
}

/// Every byte but those that continue a character counts one, the first of four counts two.
fn utf16_length(text: &str) -> u32 {
    text.bytes()
        .map(|byte| u32::from(byte & 0xc0 != 0x80) + u32::from(byte >= 0xf0))
        .sum()
}
