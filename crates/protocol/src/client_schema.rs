//! The tables a client believes in, as it tells the server while it has no cookie.

use crate::json::present;
use landfall_zql::schema::{ColumnType, Schema, TableSchema};
use landfall_zql::sort::sort;
use landfall_zql::sorted_map::SortedMap;
use serde::{Deserialize, Serialize};

/// Tables by server name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientSchema {
    /// Tables by server name.
    pub tables: SortedMap<String, ClientTable>,
}

/// One table of a [`ClientSchema`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientTable {
    /// Columns by server name.
    pub columns: SortedMap<String, ClientColumn>,
    /// Server names of the key columns. Clients below version 41 may leave it out.
    #[serde(
        rename = "primaryKey",
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub primary_key: Option<Vec<String>>,
}

/// One column of a [`ClientTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientColumn {
    /// What the client expects to find in it.
    #[serde(rename = "type")]
    pub ty: ClientColumnType,
}

/// The type of a column on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientColumnType {
    /// Text.
    String,
    /// A JavaScript number.
    Number,
    /// True or false.
    Boolean,
    /// Nothing but null.
    Null,
    /// Any JSON value.
    Json,
}

impl ClientSchema {
    /// The wire form of a schema.
    pub fn of(schema: &Schema) -> Self {
        let tables = schema.tables.iter();
        Self {
            tables: tables
                .map(|table| (table.server_name.clone(), ClientTable::of(table)))
                .collect(),
        }
    }

    /// Whether both say the same; the order of key columns does not matter.
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.normalised() == other.normalised()
    }

    fn normalised(&self) -> Self {
        let mut copy = self.clone();
        for table in copy.tables.values_mut() {
            if let Some(key) = &mut table.primary_key {
                sort(key);
            }
        }
        copy
    }
}

impl ClientTable {
    fn of(table: &TableSchema) -> Self {
        let server_name = |at: &usize| table.columns[*at].server_name.clone();
        let mut key: Vec<String> = table.primary_key.iter().map(server_name).collect();
        sort(&mut key);
        let columns = table.columns.iter();
        Self {
            columns: columns
                .map(|column| (column.server_name.clone(), ClientColumn::of(column.ty)))
                .collect(),
            primary_key: Some(key),
        }
    }
}

impl ClientColumn {
    fn of(ty: ColumnType) -> Self {
        let ty = match ty {
            ColumnType::String => ClientColumnType::String,
            ColumnType::Number => ClientColumnType::Number,
            ColumnType::Boolean => ClientColumnType::Boolean,
            ColumnType::Null => ClientColumnType::Null,
            ColumnType::Json => ClientColumnType::Json,
        };
        Self { ty }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUE: &str = r#"{"tables":{"issue":{"columns":{"created_at":{"type":"number"},"id":{"type":"string"},"title":{"type":"string"}},"primaryKey":["id"]}}}"#;

    #[test]
    fn round_trip() {
        let schema: ClientSchema = serde_json::from_str(ISSUE).expect("a schema");
        assert_eq!(serde_json::to_string(&schema).expect("writes"), ISSUE);
    }

    #[test]
    fn is_what_the_schema_is_hashed_by() {
        let schema = Schema::from_json(
            r#"{"tables":{"b":{"serverName":"z","columns":{"id":{"type":"string","serverName":"x"},"a":{"type":"json"},"n":{"type":"null"},"on":{"type":"boolean"}},"primaryKey":["on","id"]},"issue":{"serverName":"a","columns":{"id":{"type":"number"}},"primaryKey":["id"]}}}"#,
        )
        .expect("a schema");
        let text = serde_json::to_string(&ClientSchema::of(&schema)).expect("writes");
        assert_eq!(text, schema.client_schema_json());
    }

    #[test]
    fn refuses_other_shapes() {
        for text in [
            "{}",
            r#"{"tables":{},"version":1}"#,
            r#"{"tables":{"a":{"columns":{"b":{"type":"date"}}}}}"#,
            r#"{"tables":{"a":{"columns":{"b":{"type":"json","optional":true}}}}}"#,
            r#"{"tables":{"a":{"columns":{},"primaryKey":null}}}"#,
        ] {
            assert!(
                serde_json::from_str::<ClientSchema>(text).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn order_of_key_columns_does_not_matter() {
        let schema = |key: &str| -> ClientSchema {
            serde_json::from_str(&format!(
                r#"{{"tables":{{"a":{{"columns":{{}},"primaryKey":{key}}}}}}}"#
            ))
            .expect("a schema")
        };
        assert!(schema(r#"["x","y"]"#).agrees_with(&schema(r#"["y","x"]"#)));
        assert!(!schema(r#"["x","y"]"#).agrees_with(&schema(r#"["x"]"#)));
    }
}
