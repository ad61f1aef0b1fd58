//! Reads JSON objects straight into packed rows: the text is gone through once, and nothing but the row is made.

use std::ops::Range;

use crate::json::{Inside, JsonError, JsonReader, read_with};
use crate::row::{Row, RowBuilder};
use crate::row_json::{Names, RowJsonError, compact};
use crate::schema::{ColumnType, TableSchema};
use crate::value::{Value, ValueRef, text_between};

/// Reads rows one after another, reusing its buffers.
#[derive(Debug, Default)]
pub struct RowReader {
    /// What the object says of each column.
    cells: Vec<Option<Cell>>,
    /// Numbers and text in the order in which they came.
    payload: String,
    builder: RowBuilder,
}

/// A value, with its text or number in the payload.
#[derive(Clone, Debug)]
enum Cell {
    Plain(ValueRef<'static>),
    String(Range<usize>),
    Json(Range<usize>),
}

/// What is wrong with an object that is JSON: the first of it is kept, and tells only if the rest is JSON too.
type Wrong = Option<RowJsonError>;

impl RowReader {
    /// Reads a row. Missing columns are NULL, unknown ones are skipped.
    ///
    /// # Errors
    /// Not an object, a value of the wrong type, a column that comes twice, a key column that is missing, or a row
    /// that is too large.
    pub fn row(
        &mut self,
        table: &TableSchema,
        json: &str,
        names: Names,
    ) -> Result<Row, RowJsonError> {
        self.read(table, json, names)?;
        for &column in &table.primary_key {
            if matches!(self.value(column), None | Some(ValueRef::Null)) {
                return Err(RowJsonError::MissingKey {
                    table: table.name.clone(),
                    column: table.columns[column].name.clone(),
                });
            }
        }
        let mut builder = std::mem::take(&mut self.builder);
        for at in 0..self.cells.len() {
            builder.push(self.value(at).unwrap_or(ValueRef::Null));
        }
        let row = builder.try_finish();
        self.builder = builder;
        row.map_err(|_| RowJsonError::TooLarge {
            table: table.name.clone(),
        })
    }

    /// Reads the columns that an object names, in column order; `None` where it does not name one.
    ///
    /// # Errors
    /// Not an object, a value of the wrong type, or a column that comes twice.
    pub fn cells(
        &mut self,
        table: &TableSchema,
        json: &str,
        names: Names,
    ) -> Result<Vec<Option<Value>>, RowJsonError> {
        self.read(table, json, names)?;
        let values = (0..self.cells.len()).map(|at| self.value(at).map(Value::from));
        Ok(values.collect())
    }

    fn read(&mut self, table: &TableSchema, json: &str, names: Names) -> Result<(), RowJsonError> {
        self.cells.clear();
        self.cells.resize(table.columns.len(), None);
        self.payload.clear();
        let mut wrong = None;
        let read = read_with(json, |reader| {
            self.members(reader, table, names, &mut wrong)
        });
        read.map_err(|source| RowJsonError::Json {
            table: table.name.clone(),
            source,
        })?;
        wrong.map_or(Ok(()), Err)
    }

    fn members(
        &mut self,
        reader: &mut JsonReader<'_>,
        table: &TableSchema,
        names: Names,
        wrong: &mut Wrong,
    ) -> Result<(), JsonError> {
        if reader.peek() != b'{' {
            return Err(reader.unexpected(&"an object of column values"));
        }
        let mut expected = 0;
        let mut inside = Inside::enter(reader, b'}')?;
        while inside.more()? {
            let reader = &mut *inside.reader;
            let name = reader.key()?;
            let Some(column) = column_of(table, names, &name, expected) else {
                reader.skip()?;
                continue;
            };
            expected = column + 1;
            let value = self.value_of(reader, table.columns[column].ty)?;
            let before = value.map(|cell| self.cells[column].replace(cell));
            let problem = match before {
                Ok(None) => continue,
                Ok(Some(_)) => RowJsonError::Duplicate {
                    table: table.name.clone(),
                    column: table.columns[column].name.clone(),
                },
                Err(found) => RowJsonError::Type {
                    table: table.name.clone(),
                    column: table.columns[column].name.clone(),
                    expected: table.columns[column].ty.name(),
                    found,
                },
            };
            wrong.get_or_insert(problem);
        }
        Ok(())
    }

    /// Reads one value of a column of this type; or says what is there instead.
    fn value_of(
        &mut self,
        reader: &mut JsonReader<'_>,
        ty: ColumnType,
    ) -> Result<Result<Cell, &'static str>, JsonError> {
        let plain = |value, found| {
            let cell = Cell::Plain(value);
            ty.accepts(value).then_some(cell).ok_or(found)
        };
        if ty == ColumnType::Json {
            let json = reader.skip()?;
            return Ok(Ok(match json {
                "null" => Cell::Plain(ValueRef::Null),
                json => Cell::Json(self.keep(&compact(json))),
            }));
        }
        Ok(match reader.peek() {
            b'"' => {
                let text = reader.string()?;
                match ty {
                    ColumnType::String => Ok(Cell::String(self.keep(&text))),
                    _ => Err("string"),
                }
            }
            b'n' => {
                reader.word("null")?;
                plain(ValueRef::Null, "null")
            }
            first @ (b't' | b'f') => {
                reader.word(if first == b't' { "true" } else { "false" })?;
                plain(ValueRef::Bool(first == b't'), "boolean")
            }
            b'-' | b'0'..=b'9' => plain(ValueRef::Number(reader.double()?), "number"),
            first => {
                reader.skip()?;
                Err(if first == b'[' { "list" } else { "object" })
            }
        })
    }

    fn keep(&mut self, text: &str) -> Range<usize> {
        let start = self.payload.len();
        self.payload.push_str(text);
        start..self.payload.len()
    }

    fn value(&self, column: usize) -> Option<ValueRef<'_>> {
        let cell = self.cells.get(column)?.as_ref()?;
        Some(match cell {
            Cell::Plain(value) => *value,
            Cell::String(place) => {
                ValueRef::String(text_between(&self.payload, place.start, place.end))
            }
            Cell::Json(place) => {
                ValueRef::Json(text_between(&self.payload, place.start, place.end))
            }
        })
    }
}

/// The column of a name. Objects mostly have their members in one order, so the search starts behind the column that
/// was found last.
fn column_of(table: &TableSchema, names: Names, name: &str, expected: usize) -> Option<usize> {
    let columns = &table.columns;
    let count = columns.len();
    let mut places = (expected..count).chain(0..expected.min(count));
    places.find(|place| columns[*place].name_in(names) == name)
}
