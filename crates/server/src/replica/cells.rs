//! Rows between SQLite and packed form.

use landfall_zql::row_json::without_white_space;
use landfall_zql::{ColumnType, Row, RowBuilder, ValueRef};
use rusqlite::types::{Value as Cell, ValueRef as CellRef};

use super::{ReplicaColumn, ReplicaError, ReplicaTable};

/// The largest integer that a JavaScript number carries exactly.
const MAX_SAFE_INTEGER: i64 = (1 << 53) - 1;

/// Packs the columns of a SQLite row; `first` is the position of the table's first column in it.
pub fn read_row(
    table: &ReplicaTable,
    sql: &rusqlite::Row<'_>,
    first: usize,
    builder: &mut RowBuilder,
) -> Result<Row, ReplicaError> {
    let mut index = first;
    pack(table, builder, || {
        let cell = sql.get_ref(index)?;
        index += 1;
        Ok(cell)
    })
}

/// Packs cells in the order of the table's columns.
pub fn pack_cells(
    table: &ReplicaTable,
    cells: &[Cell],
    builder: &mut RowBuilder,
) -> Result<Row, ReplicaError> {
    let mut cells = cells.iter();
    pack(table, builder, || {
        Ok(cells.next().map_or(CellRef::Null, CellRef::from))
    })
}

/// A row, or none in place of one with a value that its column cannot carry.
pub fn carried(row: Result<Row, ReplicaError>) -> Result<Option<Row>, ReplicaError> {
    match row {
        Ok(row) => Ok(Some(row)),
        Err(ReplicaError::Value { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a cell is sure to be carried by the column that it was decoded for.
pub fn is_safe(cell: &Cell) -> bool {
    match cell {
        Cell::Integer(value) => (-MAX_SAFE_INTEGER..=MAX_SAFE_INTEGER).contains(value),
        Cell::Real(value) => value.is_finite(),
        Cell::Blob(_) => false,
        Cell::Null | Cell::Text(_) => true,
    }
}

fn pack<'a>(
    table: &ReplicaTable,
    builder: &mut RowBuilder,
    mut next: impl FnMut() -> Result<CellRef<'a>, rusqlite::Error>,
) -> Result<Row, ReplicaError> {
    for column in &table.columns {
        let pushed = next().map_err(ReplicaError::from).and_then(|cell| {
            push(column.ty, cell, builder).map_err(|found| misfit(table, column, found))
        });
        if let Err(error) = pushed {
            // Empties the builder for the next row.
            builder.finish();
            return Err(error);
        }
    }
    Ok(builder.finish())
}

fn misfit(table: &ReplicaTable, column: &ReplicaColumn, found: String) -> ReplicaError {
    ReplicaError::Value {
        table: table.name.clone(),
        column: column.name.clone(),
        found,
        expected: column.ty.name(),
    }
}

/// Appends a cell as the column's type; the error says what was found instead.
fn push(ty: ColumnType, cell: CellRef<'_>, builder: &mut RowBuilder) -> Result<(), String> {
    match (ty, cell) {
        (_, CellRef::Null) => builder.push(ValueRef::Null),
        // JSON has no infinity: a client would be told NULL.
        (_, CellRef::Real(value)) if !value.is_finite() => return Err("infinity".to_owned()),
        (ColumnType::Number, CellRef::Real(value)) => builder.push(ValueRef::Number(value)),
        (ColumnType::Number, CellRef::Integer(value)) => {
            if !(-MAX_SAFE_INTEGER..=MAX_SAFE_INTEGER).contains(&value) {
                return Err("an integer beyond 2^53".to_owned());
            }
            builder.push(ValueRef::Number(value as f64));
        }
        (ColumnType::Boolean, CellRef::Integer(value @ (0 | 1))) => {
            builder.push(ValueRef::Bool(value == 1));
        }
        (ColumnType::String, CellRef::Text(bytes)) => {
            builder.push(ValueRef::String(utf8(bytes)?));
        }
        (ColumnType::Json, CellRef::Text(bytes)) => push_json(utf8(bytes)?, builder)?,
        // A column declared JSON has numeric affinity: SQLite stores the JSON texts of numbers as numbers.
        (ColumnType::Json, CellRef::Integer(value)) => push_json(&value.to_string(), builder)?,
        (ColumnType::Json, CellRef::Real(value)) => {
            let mut text = String::new();
            landfall_zql::write_json(ValueRef::Number(value), &mut text);
            push_json(&text, builder)?;
        }
        (_, CellRef::Integer(_)) => return Err("an integer".to_owned()),
        (_, CellRef::Real(_)) => return Err("a number".to_owned()),
        (_, CellRef::Text(_)) => return Err("text".to_owned()),
        (_, CellRef::Blob(_)) => return Err("a value of another type".to_owned()),
    }
    Ok(())
}

fn push_json(text: &str, builder: &mut RowBuilder) -> Result<(), String> {
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return Err("text that is not JSON".to_owned());
    }
    if text.contains([' ', '\t', '\n', '\r']) {
        builder.push(ValueRef::Json(&without_white_space(text)));
    } else {
        builder.push(ValueRef::Json(text));
    }
    Ok(())
}

fn utf8(bytes: &[u8]) -> Result<&str, String> {
    str::from_utf8(bytes).map_err(|_| "text that is not UTF-8".to_owned())
}

/// A packed value as a SQLite parameter.
pub fn to_cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Bool(value) => Cell::Integer(i64::from(value)),
        ValueRef::Number(value) => Cell::Real(value),
        ValueRef::String(text) | ValueRef::Json(text) => Cell::Text(text.to_owned()),
    }
}
