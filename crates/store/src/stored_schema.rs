//! The schema that the stored rows were packed for, so that they can be read without the code that wrote them.

use crate::encoding::{Kind, Reader, Writer};
use crate::error::FormatError;
use landfall_zql::{Column, ColumnType, Schema, TableSchema};

/// The bytes of a schema. Equal bytes mean that rows can be read as they are.
pub(crate) fn encode(schema: &Schema) -> Vec<u8> {
    let mut out = Writer::new(Kind::Schema);
    out.len(schema.tables.len());
    for table in &schema.tables {
        out.text(&table.name);
        out.text(&table.server_name);
        out.len(table.columns.len());
        for column in &table.columns {
            out.text(&column.name);
            out.text(&column.server_name);
            out.u8(tag(column.ty));
            out.u8(u8::from(column.optional));
        }
        out.len(table.primary_key.len());
        for &column in &table.primary_key {
            out.len(column);
        }
    }
    out.finish()
}

/// Reads a schema back.
pub(crate) fn decode(bytes: &[u8]) -> Result<Schema, FormatError> {
    let mut reader = Reader::new(Kind::Schema, bytes)?;
    let tables = reader.list(table)?;
    reader.end()?;
    // Rows name tables by their place: sorting must not have moved any.
    let names: Vec<String> = tables.iter().map(|table| table.name.clone()).collect();
    let schema = Schema::new(tables).map_err(|_| FormatError::Schema)?;
    let in_place = schema.tables.iter().map(|table| &table.name).eq(&names);
    in_place.then_some(schema).ok_or(FormatError::Schema)
}

fn table(reader: &mut Reader<'_>) -> Result<TableSchema, FormatError> {
    let (name, server_name) = (reader.text(), reader.text());
    let columns = reader.list(column)?;
    let primary_key = reader.list(|reader| {
        let column = usize::try_from(reader.u32()).map_err(|_| FormatError::Schema)?;
        (column < columns.len())
            .then_some(column)
            .ok_or(FormatError::Schema)
    })?;
    Ok(TableSchema {
        name,
        server_name,
        columns,
        primary_key,
    })
}

fn column(reader: &mut Reader<'_>) -> Result<Column, FormatError> {
    let (name, server_name) = (reader.text(), reader.text());
    let ty = match reader.u8() {
        0 => ColumnType::String,
        1 => ColumnType::Number,
        2 => ColumnType::Boolean,
        3 => ColumnType::Json,
        4 => ColumnType::Null,
        other => return Err(FormatError::Tag(other)),
    };
    Ok(Column {
        name,
        server_name,
        ty,
        optional: reader.flag(),
    })
}

fn tag(ty: ColumnType) -> u8 {
    match ty {
        ColumnType::String => 0,
        ColumnType::Number => 1,
        ColumnType::Boolean => 2,
        ColumnType::Json => 3,
        ColumnType::Null => 4,
    }
}
