//! Rows and keys from and to JSON objects, without a tree in between.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::row::{Row, RowBuilder};
use crate::schema::{ColumnType, Key, TableSchema};
use crate::value::{Value, ValueRef, write_json};

/// Which names a JSON object uses for columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Those of queries on the client.
    Client,
    /// Those of the source of truth and the wire.
    Server,
}

/// Why a JSON text is not a row of a table.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RowJsonError {
    /// Not JSON, or not an object.
    #[error("a row of table {table:?} is not a JSON object: {source}")]
    Json {
        /// The table.
        table: String,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A value that the column cannot hold.
    #[error("column {column:?} of table {table:?} holds a {expected}, not this value")]
    Type {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// What the column holds.
        expected: &'static str,
    },
    /// A key column is absent or NULL.
    #[error("the primary key column {column:?} of table {table:?} is missing")]
    MissingKey {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
}

impl TableSchema {
    /// Reads a row. Missing columns are NULL, unknown ones are skipped.
    ///
    /// # Errors
    /// Not an object, a value of the wrong type, or a key column that is missing.
    pub fn row_from_json(&self, json: &str, names: Names) -> Result<Row, RowJsonError> {
        let cells = self.cells_from_json(json, names)?;
        for &column in &self.primary_key {
            if cells[column]
                .as_ref()
                .is_none_or(|value| value.as_ref().is_null())
            {
                return Err(RowJsonError::MissingKey {
                    table: self.name.clone(),
                    column: self.columns[column].name.clone(),
                });
            }
        }
        let mut builder = RowBuilder::default();
        for cell in &cells {
            builder.push(cell.as_ref().map_or(ValueRef::Null, Value::as_ref));
        }
        Ok(builder.finish())
    }

    /// Reads the columns that an object names, in column order; `None` where it does not name one.
    ///
    /// # Errors
    /// Not an object, or a value of the wrong type.
    pub fn cells_from_json(
        &self,
        json: &str,
        names: Names,
    ) -> Result<Vec<Option<Value>>, RowJsonError> {
        let mut reader = serde_json::Deserializer::from_str(json);
        let seed = CellsSeed { table: self, names };
        let cells = seed
            .deserialize(&mut reader)
            .and_then(|cells| reader.end().map(|()| cells));
        cells
            .map_err(|source| RowJsonError::Json {
                table: self.name.clone(),
                source,
            })?
            .map_err(|column| RowJsonError::Type {
                table: self.name.clone(),
                column: self.columns[column].name.clone(),
                expected: self.columns[column].ty.name(),
            })
    }

    /// Reads a primary key from an object that has at least the key columns.
    ///
    /// # Errors
    /// As [`TableSchema::row_from_json`].
    pub fn key_from_json(&self, json: &str, names: Names) -> Result<Key, RowJsonError> {
        Ok(self.key_of(&self.row_from_json(json, names)?))
    }

    /// Writes a whole row as an object, NULLs included.
    pub fn row_to_json(&self, row: &Row, names: Names, out: &mut String) {
        let columns = self.columns.iter().zip(row.iter());
        write_object(
            columns.map(|(column, value)| (column.name_in(names), value)),
            out,
        );
    }

    /// Writes a primary key as an object of its columns.
    pub fn key_to_json(&self, key: &Key, names: Names, out: &mut String) {
        let columns = self
            .primary_key
            .iter()
            .map(|column| &self.columns[*column])
            .zip(key.0.iter());
        write_object(
            columns.map(|(column, value)| (column.name_in(names), value)),
            out,
        );
    }
}

impl crate::schema::Column {
    /// This column's name on one side.
    pub fn name_in(&self, names: Names) -> &str {
        match names {
            Names::Client => &self.name,
            Names::Server => &self.server_name,
        }
    }
}

fn write_object<'a>(members: impl Iterator<Item = (&'a str, ValueRef<'a>)>, out: &mut String) {
    out.push('{');
    for (at, (name, value)) in members.enumerate() {
        if at > 0 {
            out.push(',');
        }
        write_json(ValueRef::String(name), out);
        out.push(':');
        write_json(value, out);
    }
    out.push('}');
}

/// The cells, or the column whose value has the wrong type.
type Cells = Result<Vec<Option<Value>>, usize>;

struct CellsSeed<'a> {
    table: &'a TableSchema,
    names: Names,
}

impl<'de> DeserializeSeed<'de> for CellsSeed<'_> {
    type Value = Cells;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cells, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for CellsSeed<'_> {
    type Value = Cells;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of column values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cells, A::Error> {
        let mut cells = vec![None; self.table.columns.len()];
        let mut wrong = None;
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            let column = match self.names {
                Names::Client => self.table.column(&name),
                Names::Server => self.table.column_by_server_name(&name),
            };
            let Some(column) = column else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let raw = map.next_value::<&'de RawValue>()?;
            match cell(raw.get(), self.table.columns[column].ty) {
                Some(value) => cells[column] = Some(value),
                None => wrong = wrong.or(Some(column)),
            }
        }
        Ok(wrong.map_or(Ok(cells), Err))
    }
}

fn cell(json: &str, ty: ColumnType) -> Option<Value> {
    if json == "null" {
        return Some(Value::Null);
    }
    match ty {
        ColumnType::String => serde_json::from_str::<Box<str>>(json)
            .ok()
            .map(Value::String),
        ColumnType::Number => serde_json::from_str::<f64>(json).ok().map(Value::Number),
        ColumnType::Boolean => serde_json::from_str::<bool>(json).ok().map(Value::Bool),
        ColumnType::Json => Some(Value::Json(without_white_space(json).into())),
        ColumnType::Null => None,
    }
}

/// JSON text without the white space between its tokens.
pub fn without_white_space(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut in_string = false;
    let mut escaped = false;
    for character in json.chars() {
        if in_string {
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
        } else if matches!(character, ' ' | '\t' | '\n' | '\r') {
            continue;
        } else {
            in_string = character == '"';
        }
        out.push(character);
    }
    out
}
