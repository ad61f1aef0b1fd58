//! The rows of one table on their way into a row batch: taken row by row, written column by column.
//!
//! Each row is read once, from its first column to its last; what a column turns out to hold decides how it is sent.

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

/// Rows of one table by column.
pub(crate) struct RowColumns {
    handles: Vec<u32>,
    /// No more rows than this will come.
    most: usize,
    columns: Vec<Column>,
}

struct Column {
    /// Written if any is set.
    nulls: Bits,
    values: Values,
}

enum Values {
    Null,
    Numbers(Numbers),
    Booleans(Bits),
    Strings { texts: Texts, distinct: Distinct },
    Json(Texts),
}

/// Numbers as they are sent: a word for each, or two from the first one on that is not whole.
struct Numbers {
    words: Vec<u32>,
    are_whole: bool,
}

/// One bit for each row; what lies behind the last one that is set is not there yet.
#[derive(Default)]
struct Bits {
    words: Vec<u32>,
}

/// Strings one behind the other, each with its separator.
#[derive(Default)]
struct Texts {
    text: Vec<u8>,
    /// Where each ends, in bytes, without the separator.
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
    /// Columns without rows; there will be no more rows than `most`.
    pub(crate) fn of(table: &TableSchema, most: usize) -> Self {
        RowColumns {
            handles: Vec::with_capacity(most),
            most,
            columns: table
                .columns
                .iter()
                .map(|c| Column::of(c.ty, most))
                .collect(),
        }
    }

    pub(crate) fn push(&mut self, handle: u32, row: &Row) {
        let (index, most) = (self.handles.len(), self.most);
        self.handles.push(handle);
        for (column, values) in self.columns.iter_mut().enumerate() {
            values.push(row.get(column), index, most);
        }
    }

    /// Whether its strings can be told apart by what ends each.
    pub(crate) fn is_separable(&self) -> bool {
        self.columns.iter().all(|column| match &column.values {
            Values::Strings { texts, .. } | Values::Json(texts) => texts.is_separable(),
            Values::Null | Values::Numbers(_) | Values::Booleans(_) => true,
        })
    }

    /// Writes the table block, in the layout of `FLUSH.md`.
    pub(crate) fn write(&self, table: u32, batch: &mut BatchWriter) {
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
    fn of(ty: ColumnType, most: usize) -> Self {
        let values = match ty {
            ColumnType::Null => Values::Null,
            ColumnType::Boolean => Values::Booleans(Bits::default()),
            ColumnType::Json => Values::Json(Texts::default()),
            ColumnType::Number => Values::Numbers(Numbers {
                words: Vec::with_capacity(most),
                are_whole: true,
            }),
            ColumnType::String => Values::Strings {
                texts: Texts::default(),
                distinct: Distinct {
                    given_up: most < DICTIONARY_FROM,
                    ..Distinct::default()
                },
            },
        };
        Column {
            nulls: Bits::default(),
            values,
        }
    }

    fn push(&mut self, value: ValueRef<'_>, index: usize, most: usize) {
        let is_null = matches!(value, ValueRef::Null);
        if is_null {
            self.nulls.set(index);
        }
        match &mut self.values {
            Values::Null => {}
            Values::Numbers(numbers) => numbers.push(match value {
                ValueRef::Number(number) => number,
                _ => 0.0,
            }),
            Values::Booleans(bits) => {
                if matches!(value, ValueRef::Bool(true)) {
                    bits.set(index);
                }
            }
            Values::Strings { texts, distinct } => {
                texts.push(text_of(value), most);
                distinct.push(texts, is_null);
            }
            Values::Json(texts) => texts.push(text_of(value), most),
        }
    }

    fn write(&self, rows: usize, batch: &mut BatchWriter) {
        if self.nulls.ones() == rows || matches!(self.values, Values::Null) {
            batch.words.extend([KIND_NULL, 0]);
            return;
        }
        match &self.values {
            Values::Null => {}
            Values::Numbers(numbers) => {
                let kind = [KIND_NUMBER, KIND_INTEGER][usize::from(numbers.are_whole)];
                self.head(kind, rows, batch);
                if !numbers.are_whole {
                    batch.align();
                }
                batch.words.extend_from_slice(&numbers.words);
            }
            Values::Booleans(bits) => {
                self.head(KIND_BOOLEAN, rows, batch);
                batch.bits(bits, rows);
            }
            Values::Json(texts) => {
                self.head(KIND_JSON, rows, batch);
                batch.texts(texts);
            }
            Values::Strings { texts, distinct } if !distinct.pays(rows) => {
                self.head(KIND_STRING, rows, batch);
                batch.texts(texts);
            }
            Values::Strings { texts, distinct } => {
                self.head(KIND_DICTIONARY, rows, batch);
                let entries = &distinct.first;
                batch.words.push(entries.len() as u32);
                batch.texts(&Texts::of(
                    entries.iter().map(|row| texts.get(*row as usize)),
                ));
                batch.words.extend_from_slice(&distinct.indices);
            }
        }
    }

    fn head(&self, kind: u32, rows: usize, batch: &mut BatchWriter) {
        let has_nulls = !self.nulls.words.is_empty();
        batch.words.extend([kind, u32::from(has_nulls)]);
        if has_nulls {
            batch.bits(&self.nulls, rows);
        }
    }
}

impl Numbers {
    fn push(&mut self, number: f64) {
        let whole = number as i32;
        if self.are_whole && f64::from(whole) == number {
            self.words.push(whole as u32);
            return;
        }
        if self.are_whole {
            self.are_whole = false;
            let whole = std::mem::take(&mut self.words);
            self.words.reserve(2 * whole.capacity());
            for number in whole {
                self.push(f64::from(number as i32));
            }
        }
        let bits = number.to_bits();
        self.words
            .extend_from_slice(&[bits as u32, (bits >> 32) as u32]);
    }
}

impl Bits {
    fn set(&mut self, index: usize) {
        let word = index >> 5;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (index & 31);
    }

    fn ones(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }
}

impl Texts {
    fn of<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Texts {
        let mut all = Texts::default();
        for text in texts {
            all.append(text, SEPARATOR);
        }
        all
    }

    fn push(&mut self, text: &str, most: usize) {
        if self.ends.is_empty() {
            // The others may be as long.
            self.ends.reserve(most);
            self.text
                .reserve((most * (text.len() + 1)).min(PIECE_BYTES));
        }
        self.append(text.as_bytes(), SEPARATOR);
    }

    fn append(&mut self, text: &[u8], separator: u8) {
        self.text.extend_from_slice(text);
        self.ends.push(self.text.len() as u32);
        self.text.push(separator);
    }

    fn get(&self, index: usize) -> &[u8] {
        let start = match index {
            0 => 0,
            _ => self.ends[index - 1] + 1,
        };
        &self.text[start as usize..self.ends[index] as usize]
    }

    fn is_separable(&self) -> bool {
        separators(&self.text) == self.ends.len()
    }

    /// The same strings as JSON texts.
    fn to_json(&self) -> Texts {
        let mut all = Texts::default();
        for index in 0..self.ends.len() {
            let text = String::from_utf8_lossy(self.get(index));
            all.append(to_text(&*text).as_bytes(), b',');
        }
        all
    }
}

/// How many there are, counted in eight bytes at once.
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
    fn slot(&self, texts: &Texts, text: &[u8]) -> Option<usize> {
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

/// A row batch that is being written.
pub(crate) struct BatchWriter {
    words: Vec<u32>,
    text: Vec<u8>,
    /// The lengths of the pieces that are complete.
    pieces: Vec<u32>,
    /// Where the present one begins.
    begun: usize,
    as_json: bool,
}

impl BatchWriter {
    /// A batch of so many tables; strings are sent `as_json` where they cannot be separated.
    pub(crate) fn new(tables: usize, as_json: bool) -> Self {
        BatchWriter {
            words: vec![tables as u32, 0, u32::from(as_json), 0],
            text: Vec::new(),
            pieces: Vec::new(),
            begun: 0,
            as_json,
        }
    }

    pub(crate) fn finish(mut self) -> RowBatch {
        self.end_piece(self.text.len());
        self.words[1] = self.pieces.len() as u32;
        self.words.extend(self.pieces);
        RowBatch {
            words: self.words,
            text: self.text,
        }
    }

    /// Numbers of eight bytes stand at even words.
    fn align(&mut self) {
        if !self.words.len().is_multiple_of(2) {
            self.words.push(0);
        }
    }

    fn bits(&mut self, bits: &Bits, rows: usize) {
        let end = self.words.len() + rows.div_ceil(32);
        self.words.extend_from_slice(&bits.words);
        self.words.resize(end, 0);
    }

    fn texts(&mut self, texts: &Texts) {
        match self.as_json {
            true => self.append(&texts.to_json()),
            false => self.append(texts),
        }
    }

    fn append(&mut self, texts: &Texts) {
        let start = self.text.len();
        self.text.extend_from_slice(&texts.text);
        if self.text.len() - self.begun <= PIECE_BYTES {
            return;
        }
        self.end_piece(start);
        let mut first = 0;
        while self.text.len() - self.begun > PIECE_BYTES {
            let limit = self.begun - start + PIECE_BYTES;
            let fitting = texts.ends.partition_point(|end| (*end as usize) < limit);
            // A string is never cut.
            first = fitting.max(first + 1);
            self.end_piece(start + texts.ends[first - 1] as usize + 1);
        }
    }

    fn end_piece(&mut self, at: usize) {
        if at > self.begun {
            self.pieces.push((at - self.begun) as u32);
            self.begun = at;
        }
    }
}

fn text_of(value: ValueRef<'_>) -> &str {
    match value {
        ValueRef::String(text) | ValueRef::Json(text) => text,
        ValueRef::Null | ValueRef::Bool(_) | ValueRef::Number(_) => "",
    }
}
