//! What a mutator's insert, upsert, update and delete mean: which row they leave, and what the server is told.
//!
//! Rows come in as JSON objects with client column names; an absent column is one that JavaScript left `undefined`.

use crate::error::ClientError;
use crate::rebase::RowKey;
use crate::request::WriteOp;
use landfall_protocol::{CrudKind, CrudOp, Json};
use landfall_zql::json;
use landfall_zql::sort::sort;
use landfall_zql::sorted_map::SortedMap;
use landfall_zql::{Key, Names, Row, Schema, TableId, TableSchema, ValueRef};
use serde_json::value::RawValue;

/// A write, checked against the schema.
#[derive(Debug)]
pub(crate) struct Write {
    op: WriteOp,
    table: TableId,
    pub(crate) key: RowKey,
    /// All columns; those not given are NULL.
    row: Row,
    /// Columns that were given.
    given: Vec<usize>,
    /// The operation as the server understands it.
    pub(crate) crud: CrudOp,
}

impl Write {
    /// Checks names and types.
    pub(crate) fn new(
        schema: &Schema,
        table: &str,
        op: WriteOp,
        row_json: &str,
    ) -> Result<Write, ClientError> {
        let id = schema
            .table(table)
            .ok_or_else(|| ClientError::UnknownTable {
                table: table.to_owned(),
            })?;
        let table = &schema[id];
        let fields: SortedMap<String, &RawValue> = json::read(row_json).map_err(|error| {
            ClientError::Value(format!(
                "a write to \"{}\" needs an object of columns: {error}",
                table.name
            ))
        })?;
        let mut given = Vec::with_capacity(fields.len());
        for name in fields.keys() {
            given.push(
                table
                    .column(name)
                    .ok_or_else(|| ClientError::UnknownColumn {
                        table: table.name.clone(),
                        column: name.clone(),
                    })?,
            );
        }
        sort(&mut given);
        if op == WriteOp::Delete {
            given.retain(|column| table.primary_key.contains(column));
        }
        check_given(table, op, &given, &fields)?;
        let row = if op == WriteOp::Delete {
            let key = key_object(table, &fields)?;
            table.row_from_json(key.as_str(), Names::Client)
        } else {
            table.row_from_json(row_json, Names::Client)
        }
        .map_err(|error| ClientError::Value(error.to_string()))?;
        check_nulls(table, &given, &row)?;
        let key: Key = table.key_of(&row);
        let crud = crud_op(table, op, &given, &fields)?;
        Ok(Write {
            op,
            table: id,
            key: (id, key),
            row,
            given,
            crud,
        })
    }

    /// The row that is there afterwards, given the one before; `None` if the write does nothing.
    pub(crate) fn effect(
        &self,
        schema: &Schema,
        before: Option<&Row>,
    ) -> Result<Option<Option<Row>>, ClientError> {
        let after = match (self.op, before) {
            (WriteOp::Insert, Some(_)) | (WriteOp::Update | WriteOp::Delete, None) => {
                return Ok(None);
            }
            (WriteOp::Delete, Some(_)) => None,
            (WriteOp::Update | WriteOp::Upsert, Some(before)) => Some(self.changed(before)),
            (WriteOp::Insert | WriteOp::Upsert, None) => {
                self.check_complete(&schema[self.table])?;
                Some(self.row.clone())
            }
        };
        Ok(Some(after))
    }

    fn changed(&self, before: &Row) -> Row {
        let changes: Vec<(usize, ValueRef<'_>)> = self
            .given
            .iter()
            .map(|&column| (column, self.row.get(column)))
            .collect();
        before.with(&changes)
    }

    /// A new row needs every column that may not be NULL.
    fn check_complete(&self, table: &TableSchema) -> Result<(), ClientError> {
        for (index, column) in table.columns.iter().enumerate() {
            if !column.optional && !self.given.contains(&index) {
                return Err(ClientError::Value(format!(
                    "column \"{}\" of table \"{}\" is required",
                    column.name, table.name
                )));
            }
        }
        Ok(())
    }
}

fn check_given(
    table: &TableSchema,
    op: WriteOp,
    given: &[usize],
    fields: &SortedMap<String, &RawValue>,
) -> Result<(), ClientError> {
    for &column in &table.primary_key {
        let name = &table.columns[column].name;
        let null = fields.get(name).is_none_or(|value| value.get() == "null");
        if null || !given.contains(&column) {
            return Err(ClientError::Value(format!(
                "a write to table \"{}\" needs its key column \"{name}\"",
                table.name
            )));
        }
    }
    if op == WriteOp::Insert {
        for (index, column) in table.columns.iter().enumerate() {
            if !column.optional && !given.contains(&index) {
                return Err(ClientError::Value(format!(
                    "column \"{}\" of table \"{}\" is required",
                    column.name, table.name
                )));
            }
        }
    }
    Ok(())
}

fn check_nulls(table: &TableSchema, given: &[usize], row: &Row) -> Result<(), ClientError> {
    for &index in given {
        let column = &table.columns[index];
        if !column.optional && matches!(row.get(index), ValueRef::Null) {
            return Err(ClientError::Value(format!(
                "column \"{}\" of table \"{}\" cannot be null",
                column.name, table.name
            )));
        }
    }
    Ok(())
}

/// The key columns as an object with client names.
fn key_object(
    table: &TableSchema,
    fields: &SortedMap<String, &RawValue>,
) -> Result<Json, ClientError> {
    let key: SortedMap<&str, &&RawValue> = table
        .primary_key
        .iter()
        .map(|&column| table.columns[column].name.as_str())
        .filter_map(|name| fields.get(name).map(|value| (name, value)))
        .collect();
    Json::of(&key).map_err(|error| ClientError::Value(error.to_string()))
}

fn crud_op(
    table: &TableSchema,
    op: WriteOp,
    given: &[usize],
    fields: &SortedMap<String, &RawValue>,
) -> Result<CrudOp, ClientError> {
    let value: SortedMap<&str, &&RawValue> = given
        .iter()
        .map(|&index| &table.columns[index])
        .filter_map(|column| {
            fields
                .get(&column.name)
                .map(|value| (column.server_name.as_str(), value))
        })
        .collect();
    Ok(CrudOp {
        op: match op {
            WriteOp::Insert => CrudKind::Insert,
            WriteOp::Upsert => CrudKind::Upsert,
            WriteOp::Update => CrudKind::Update,
            WriteOp::Delete => CrudKind::Delete,
        },
        table_name: table.server_name.clone(),
        primary_key: table
            .primary_key
            .iter()
            .map(|&c| table.columns[c].server_name.clone())
            .collect(),
        value: Json::of(&value).map_err(|error| ClientError::Value(error.to_string()))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Schema {
        Schema::from_json(
            r#"{"tables":{"issue":{"name":"issue","serverName":"issues","columns":{
                "id":{"type":"string","optional":false},
                "title":{"type":"string","optional":false},
                "done":{"type":"boolean","optional":true},
                "rank":{"type":"number","optional":true,"serverName":"sort_rank"}},
                "primaryKey":["id"]}}}"#,
        )
        .expect("the schema is good")
    }

    fn show(row: Option<&Row>) -> String {
        let schema = schema();
        let Some(row) = row else { return "gone".into() };
        let mut text = String::new();
        let id = schema.table("issue").expect("there");
        schema[id].row_to_json(row, Names::Client, &mut text);
        text
    }

    /// What a write leaves, over nothing and over an existing row.
    #[track_caller]
    fn check(op: WriteOp, json: &str, over_nothing: &str, over_row: &str) {
        let schema = schema();
        let id = schema.table("issue").expect("there");
        let before = schema[id]
            .row_from_json(
                r#"{"id":"1","title":"old","done":true,"rank":7}"#,
                Names::Client,
            )
            .expect("good");
        let after = |before: Option<&Row>| match Write::new(&schema, "issue", op, json)
            .and_then(|write| write.effect(&schema, before))
        {
            Ok(None) => "nothing".to_owned(),
            Ok(Some(row)) => show(row.as_ref()),
            Err(error) => error.to_string(),
        };
        assert_eq!(after(None), over_nothing, "{json} over nothing");
        assert_eq!(after(Some(&before)), over_row, "{json} over a row");
    }

    #[test]
    fn writes_leave_what_they_should() {
        let full = r#"{"done":null,"id":"1","rank":null,"title":"new"}"#;
        check(
            WriteOp::Insert,
            r#"{"id":"1","title":"new"}"#,
            full,
            "nothing",
        );
        check(
            WriteOp::Upsert,
            r#"{"id":"1","title":"new"}"#,
            full,
            r#"{"done":true,"id":"1","rank":7,"title":"new"}"#,
        );
        check(
            WriteOp::Update,
            r#"{"id":"1","rank":null}"#,
            "nothing",
            r#"{"done":true,"id":"1","rank":null,"title":"old"}"#,
        );
        check(WriteOp::Delete, r#"{"id":"1"}"#, "nothing", "gone");
        check(
            WriteOp::Delete,
            r#"{"id":"1","title":5}"#,
            "nothing",
            "gone",
        );
        let required = "column \"title\" of table \"issue\" is required";
        check(
            WriteOp::Upsert,
            r#"{"id":"1","rank":2}"#,
            required,
            r#"{"done":true,"id":"1","rank":2,"title":"old"}"#,
        );
        check(WriteOp::Insert, r#"{"id":"1"}"#, required, required);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error = |table: &str, op, json: &str| match Write::new(&schema(), table, op, json) {
            Ok(_) => "fine".to_owned(),
            Err(error) => error.to_string(),
        };
        let cases = [
            ("nope", WriteOp::Insert, "{}", "unknown table \"nope\""),
            (
                "issue",
                WriteOp::Insert,
                r#"{"id":"1","x":1}"#,
                "unknown column \"x\" of table \"issue\"",
            ),
            (
                "issue",
                WriteOp::Update,
                r#"{"title":"a"}"#,
                "a write to table \"issue\" needs its key column \"id\"",
            ),
            (
                "issue",
                WriteOp::Delete,
                r#"{"id":null}"#,
                "a write to table \"issue\" needs its key column \"id\"",
            ),
            (
                "issue",
                WriteOp::Update,
                r#"{"id":"1","title":null}"#,
                "column \"title\" of table \"issue\" cannot be null",
            ),
        ];
        for (table, op, json, expected) in cases {
            assert_eq!(error(table, op, json), expected);
        }
        let wrong = error("issue", WriteOp::Update, r#"{"id":"1","rank":"high"}"#);
        assert!(
            wrong.contains("rank") && wrong.contains("number"),
            "{wrong}"
        );
        assert!(error("issue", WriteOp::Insert, "[]").contains("issue"));
    }

    #[test]
    fn the_server_gets_its_own_names_and_only_what_was_given() {
        let write = Write::new(
            &schema(),
            "issue",
            WriteOp::Update,
            r#"{"id":"1","rank":3}"#,
        )
        .expect("good");
        assert_eq!(
            serde_json::to_string(&write.crud).expect("writes"),
            r#"{"op":"update","tableName":"issues","primaryKey":["id"],"value":{"id":"1","sort_rank":3}}"#
        );
    }
}
