//! The flush: rows by column, view operations, releases. The layout is described in `FLUSH.md`.
//!
//! This module writes bytes and words. Which rows and operations there are is decided by the views.

use landfall_zql::sorted_map::SortedMap;
use landfall_zql::{ColumnType, Row, Schema, TableId, ValueRef};

/// What changed for JavaScript, for all views together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flush {
    /// New row versions, by table and column.
    pub rows: Vec<u8>,
    /// View operations.
    pub ops: Vec<u32>,
    /// Handles that no view shows any more.
    pub releases: Vec<u32>,
}

impl Flush {
    /// Whether there is nothing to apply.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.ops.is_empty() && self.releases.is_empty()
    }
}

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

/// Opcodes of the view operations.
pub(crate) mod op {
    pub(crate) const SNAPSHOT: u32 = 1;
    pub(crate) const INSERT: u32 = 2;
    pub(crate) const REMOVE: u32 = 3;
    pub(crate) const REPLACE: u32 = 4;
    pub(crate) const MOVE: u32 = 5;
    pub(crate) const STATUS: u32 = 6;
}

/// Writes the row batch of these rows.
pub(crate) fn encode_rows(schema: &Schema, rows: &[(u32, TableId, Row)]) -> Vec<u8> {
    if rows.is_empty() {
        return Vec::new();
    }
    let mut by_table: SortedMap<TableId, Vec<(u32, &Row)>> = SortedMap::new();
    for (handle, table, row) in rows {
        by_table.get_or_default(*table).push((*handle, row));
    }
    let mut batch = Batch::default();
    batch.word(by_table.len() as u32);
    batch.word(0);
    batch.word(0);
    batch.word(0);
    for (table, rows) in &by_table {
        batch.table(schema, *table, rows);
    }
    batch.finish()
}

#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    text: String,
}

impl Batch {
    fn word(&mut self, word: u32) {
        self.bytes.extend_from_slice(&word.to_le_bytes());
    }

    fn align8(&mut self) {
        while !self.bytes.len().is_multiple_of(8) {
            self.bytes.push(0);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.align8();
        let offset = self.bytes.len() as u32;
        let length = self.text.len() as u32;
        self.bytes[4..8].copy_from_slice(&offset.to_le_bytes());
        self.bytes[8..12].copy_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(self.text.as_bytes());
        self.bytes
    }

    fn table(&mut self, schema: &Schema, table: TableId, rows: &[(u32, &Row)]) {
        let columns = &schema[table].columns;
        self.align8();
        self.word(table.0);
        self.word(rows.len() as u32);
        self.word(columns.len() as u32);
        self.word(0);
        for (handle, _) in rows {
            self.word(*handle);
        }
        for (index, column) in columns.iter().enumerate() {
            let values: Vec<ValueRef<'_>> = rows.iter().map(|(_, row)| row.get(index)).collect();
            self.column(column.ty, &values);
        }
        self.align8();
    }

    fn column(&mut self, ty: ColumnType, values: &[ValueRef<'_>]) {
        let nulls = values
            .iter()
            .filter(|v| matches!(v, ValueRef::Null))
            .count();
        if nulls == values.len() {
            self.word(KIND_NULL);
            self.word(0);
            return;
        }
        match ty {
            ColumnType::Number => self.numbers(nulls, values),
            ColumnType::Boolean => {
                self.head(KIND_BOOLEAN, nulls, values);
                self.bits(values, |value| matches!(value, ValueRef::Bool(true)));
            }
            ColumnType::Json => {
                self.head(KIND_JSON, nulls, values);
                self.texts(values.iter().map(|value| text_of(*value)));
            }
            ColumnType::String => match dictionary(values) {
                Some((entries, indices)) => {
                    self.head(KIND_DICTIONARY, nulls, values);
                    self.word(entries.len() as u32);
                    self.texts(entries.iter().copied());
                    for index in indices {
                        self.word(index);
                    }
                }
                None => {
                    self.head(KIND_STRING, nulls, values);
                    self.texts(values.iter().map(|value| text_of(*value)));
                }
            },
            ColumnType::Null => {
                self.word(KIND_NULL);
                self.word(0);
            }
        }
    }

    fn numbers(&mut self, nulls: usize, values: &[ValueRef<'_>]) {
        let numbers = values.iter().map(|value| match value {
            ValueRef::Number(number) => *number,
            _ => 0.0,
        });
        if numbers
            .clone()
            .all(|number| f64::from(number as i32) == number)
        {
            self.head(KIND_INTEGER, nulls, values);
            numbers.for_each(|number| self.word(number as i32 as u32));
            return;
        }
        self.head(KIND_NUMBER, nulls, values);
        self.align8();
        for number in numbers {
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn head(&mut self, kind: u32, nulls: usize, values: &[ValueRef<'_>]) {
        self.word(kind);
        self.word(u32::from(nulls > 0));
        if nulls > 0 {
            self.bits(values, |value| matches!(value, ValueRef::Null));
        }
    }

    fn bits(&mut self, values: &[ValueRef<'_>], set: impl Fn(&ValueRef<'_>) -> bool) {
        for chunk in values.chunks(32) {
            let mut word = 0u32;
            for (bit, value) in chunk.iter().enumerate() {
                word |= u32::from(set(value)) << bit;
            }
            self.word(word);
        }
    }

    fn texts<'a>(&mut self, texts: impl Iterator<Item = &'a str>) {
        let (length_at, start) = (self.bytes.len(), self.text.len());
        self.word(0);
        for text in texts {
            self.word(utf16_length(text));
            self.text.push_str(text);
        }
        let length = (self.text.len() - start) as u32;
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
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
    if text.is_ascii() {
        return text.len() as u32;
    }
    text.bytes()
        .map(|byte| u32::from(byte & 0xc0 != 0x80) + u32::from(byte >= 0xf0))
        .sum()
}

/// The distinct strings and each row's index into them, if few strings repeat.
fn dictionary<'a>(values: &[ValueRef<'a>]) -> Option<(Vec<&'a str>, Vec<u32>)> {
    if values.len() < DICTIONARY_FROM {
        return None;
    }
    let limit = values.len() / 4;
    let mut known: SortedMap<&str, u32> = SortedMap::new();
    let mut entries = Vec::new();
    let mut indices = Vec::with_capacity(values.len());
    for (seen, value) in values.iter().enumerate() {
        let ValueRef::String(text) = *value else {
            indices.push(0);
            continue;
        };
        let index = match known.get(text) {
            Some(&index) => index,
            // A column of names of their own is given up early.
            None if entries.len() >= limit.min(DICTIONARY_FREE + seen / 4) => return None,
            None => {
                let index = entries.len() as u32;
                entries.push(text);
                known.insert(text, index);
                index
            }
        };
        indices.push(index);
    }
    Some((entries, indices))
}

/// JSON text of the tables and columns in the order in which flushes number them.
pub(crate) fn layout(schema: &Schema) -> String {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Table<'a> {
        name: &'a str,
        columns: Vec<Column<'a>>,
        primary_key: Vec<&'a str>,
    }
    #[derive(serde::Serialize)]
    struct Column<'a> {
        name: &'a str,
        #[serde(rename = "type")]
        ty: &'a str,
    }
    let tables: Vec<Table<'_>> = schema
        .tables
        .iter()
        .map(|table| Table {
            name: &table.name,
            columns: table
                .columns
                .iter()
                .map(|c| Column {
                    name: &c.name,
                    ty: c.ty.name(),
                })
                .collect(),
            primary_key: table
                .primary_key
                .iter()
                .map(|&c| table.columns[c].name.as_str())
                .collect(),
        })
        .collect();
    serde_json::to_string(&tables).expect("strings and lists can be written")
}
