//! The flush: rows by column, view operations, releases. The layout is described in `FLUSH.md`.
//!
//! This module writes bytes and words. Which rows and operations there are is decided by the views.

use crate::views::row_columns::BatchWriter;
use landfall_zql::json::to_text;
use landfall_zql::sorted_map::SortedMap;
use landfall_zql::{Row, Schema, TableId};

/// What changed for JavaScript, for all views together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flush {
    /// New row versions, by table and column.
    pub rows: RowBatch,
    /// View operations.
    pub ops: Vec<u32>,
    /// Handles that no view shows any more.
    pub releases: Vec<u32>,
}

/// Rows by table and column: numbers, and one text with all strings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowBatch {
    /// The numbers; empty without rows.
    pub words: Vec<u32>,
    /// Every string in order of appearance, each with what ends it.
    pub text: Vec<u8>,
}

impl Flush {
    /// Whether there is nothing to apply.
    pub fn is_empty(&self) -> bool {
        self.rows.words.is_empty() && self.ops.is_empty() && self.releases.is_empty()
    }
}

/// Opcodes of the view operations.
pub(crate) mod op {
    pub(crate) const SNAPSHOT: u32 = 1;
    pub(crate) const INSERT: u32 = 2;
    pub(crate) const REMOVE: u32 = 3;
    pub(crate) const REPLACE: u32 = 4;
    pub(crate) const MOVE: u32 = 5;
    pub(crate) const STATUS: u32 = 6;
}

/// Writes the row batch of these rows, each with its handle.
pub(crate) fn encode_rows<'a>(
    schema: &Schema,
    rows: impl Iterator<Item = (u32, TableId, &'a Row)>,
) -> RowBatch {
    let mut by_table: SortedMap<TableId, (Vec<u32>, Vec<&Row>)> = SortedMap::new();
    for (handle, table, row) in rows {
        let (handles, rows) = by_table.get_or_insert_with(table, Default::default);
        handles.push(handle);
        rows.push(row);
    }
    if by_table.is_empty() {
        return RowBatch::default();
    }
    let write = |as_json| {
        let mut batch = BatchWriter::new(by_table.len(), as_json);
        for (table, (handles, rows)) in &by_table {
            batch.table(table.0, &schema[*table], handles, rows);
        }
        batch.finish()
    };
    // As JSON all strings can be told apart.
    write(false).or_else(|| write(true)).unwrap_or_default()
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
    to_text(&tables)
}
