//! Tables, columns and primary keys, under their client and their server names.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::ops::Index;

use thiserror::Error;

use crate::hash::{base36, h64};
use crate::json::{self, JsonError, entries};
use crate::row::Row;
use crate::sort::{sort, sort_by};
use crate::sorted_map::SortedMap;
use crate::value::{Quoted, ValueRef, compare};
use crate::{json_names, json_object};

/// A table's place in its [`Schema`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u32);

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ColumnType {
    /// Text; also enumerations, UUIDs and the like.
    String,
    /// An IEEE double; also dates and times, as milliseconds.
    Number,
    /// True or false.
    Boolean,
    /// Any JSON value.
    Json,
    /// Only NULL.
    Null,
}

json_names!(ColumnType {
    String = "string",
    Number = "number",
    Boolean = "boolean",
    Json = "json",
    Null = "null",
});

impl ColumnType {
    /// The name that the wire and TypeScript use.
    pub fn name(self) -> &'static str {
        match self {
            ColumnType::String => "string",
            ColumnType::Number => "number",
            ColumnType::Boolean => "boolean",
            ColumnType::Json => "json",
            ColumnType::Null => "null",
        }
    }

    /// Whether a value may stand in a column of this type; NULL may in every column.
    pub fn accepts(self, value: ValueRef<'_>) -> bool {
        matches!(
            (self, value),
            (_, ValueRef::Null)
                | (ColumnType::String, ValueRef::String(_))
                | (ColumnType::Number, ValueRef::Number(_))
                | (ColumnType::Boolean, ValueRef::Bool(_))
                | (ColumnType::Json, ValueRef::Json(_))
        )
    }
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name in queries and rows on the client.
    pub name: String,
    /// Name at the source of truth and on the wire.
    pub server_name: String,
    /// What it holds.
    pub ty: ColumnType,
    /// Whether it may be NULL.
    pub optional: bool,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSchema {
    /// Name in queries on the client.
    pub name: String,
    /// Name at the source of truth and on the wire.
    pub server_name: String,
    /// Columns sorted by `name`; a row has its values in this order.
    pub columns: Vec<Column>,
    /// Columns of the primary key, in declared order.
    pub primary_key: Vec<usize>,
}

impl TableSchema {
    /// The place of the column with this client name.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns
            .binary_search_by(|column| column.name.as_str().cmp(name))
            .ok()
    }

    /// The place of the column with this server name.
    pub fn column_by_server_name(&self, name: &str) -> Option<usize> {
        self.columns
            .iter()
            .position(|column| column.server_name == name)
    }

    /// The primary key of a row of this table.
    pub fn key_of(&self, row: &Row) -> Key {
        let values = self.primary_key.iter().map(|column| row.get(*column));
        Key(Row::from_values(values))
    }

    /// Compares two rows of this table by primary key.
    pub fn compare_keys(&self, a: &Row, b: &Row) -> Ordering {
        self.primary_key
            .iter()
            .map(|column| compare(a.get(*column), b.get(*column)))
            .find(|ordering| ordering.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}

/// A packed primary key: the key columns alone, in primary-key order. Ordered as its values are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub Row);

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        let shared = self
            .0
            .iter()
            .zip(other.0.iter())
            .map(|(a, b)| compare(a, b))
            .find(|ordering| ordering.is_ne());
        shared.unwrap_or_else(|| self.0.len().cmp(&other.0.len()))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Why a schema is not one.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// The JSON text is not a schema.
    #[error("the schema is not valid: {0}")]
    Json(#[from] JsonError),
    /// A primary key is empty.
    #[error("table {} is missing a primary key", Quoted(.table))]
    NoPrimaryKey {
        /// The table.
        table: String,
    },
    /// A primary key names a column that the table lacks.
    #[error(
        "the primary key of table {} names the unknown column {}",
        Quoted(.table), Quoted(.column)
    )]
    UnknownKeyColumn {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// A primary key names a column twice.
    #[error("the primary key of table {} names column {} twice", Quoted(.table), Quoted(.column))]
    RepeatedKeyColumn {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// A primary key names a column whose values have no order.
    #[error(
        "column {} of table {} holds {ty} and cannot be part of the primary key",
        Quoted(.column), Quoted(.table)
    )]
    KeyColumnType {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// What it holds.
        ty: &'static str,
    },
    /// More columns than a row can have.
    #[error("table {} has more than 65,535 columns", Quoted(.table))]
    TooManyColumns {
        /// The table.
        table: String,
    },
    /// Two tables, or two columns of a table, have one name on one side.
    #[error("the name {} is used twice", Quoted(.name))]
    DuplicateName {
        /// The name.
        name: String,
    },
}

/// All tables, sorted by client name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// The tables; a [`TableId`] is a place in this list.
    pub tables: Vec<TableSchema>,
}

#[derive(Default)]
struct SchemaJson {
    tables: Vec<(String, TableJson)>,
}

json_object!(SchemaJson {
    "tables" [entries] tables,
});

#[derive(Default)]
struct TableJson {
    server_name: Option<String>,
    columns: Vec<(String, ColumnJson)>,
    primary_key: Vec<String>,
}

json_object!(TableJson {
    "serverName" may server_name,
    "columns" [entries] columns,
    "primaryKey" must primary_key,
});

struct ColumnJson {
    r#type: ColumnType,
    optional: bool,
    server_name: Option<String>,
}

impl Default for ColumnJson {
    fn default() -> Self {
        Self {
            r#type: ColumnType::Null,
            optional: false,
            server_name: None,
        }
    }
}

json_object!(ColumnJson {
    "type" must r#type,
    "optional" may optional,
    "serverName" may server_name,
});

impl Schema {
    /// A schema of these tables, checked and sorted.
    ///
    /// # Errors
    /// Names that are used twice, primary keys that are empty, name a column twice, an unknown one, or one that cannot
    /// identify a row, and tables with more columns than a row can have.
    pub fn new(mut tables: Vec<TableSchema>) -> Result<Schema, SchemaError> {
        sort_by(&mut tables, |a, b| a.name.cmp(&b.name));
        for table in &mut tables {
            table.sort_columns()?;
            table.check()?;
        }
        unique(tables.iter().map(|table| table.name.as_str()))?;
        unique(tables.iter().map(|table| table.server_name.as_str()))?;
        Ok(Schema { tables })
    }

    /// Reads the runtime form of a TypeScript schema: `{"tables": {name: {"serverName"?, "columns": {name: {"type",
    /// "optional"?, "serverName"?}}, "primaryKey": [name, …]}}}`. Other keys are ignored.
    ///
    /// # Errors
    /// JSON of another shape, and what [`Schema::new`] refuses.
    pub fn from_json(json: &str) -> Result<Schema, SchemaError> {
        let SchemaJson { tables } = json::read(json)?;
        let tables = tables
            .into_iter()
            .map(|(name, table)| table.build(name))
            .collect::<Result<_, _>>()?;
        Schema::new(tables)
    }

    /// The table with this client name.
    pub fn table(&self, name: &str) -> Option<TableId> {
        // Not searched by order: a schema that changes keeps its ids and adds at the end.
        self.tables
            .iter()
            .position(|table| table.name == name)
            .map(TableId::at)
    }

    /// The table with this server name.
    pub fn table_by_server_name(&self, name: &str) -> Option<TableId> {
        self.tables
            .iter()
            .position(|table| table.server_name == name)
            .map(TableId::at)
    }

    /// All tables with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (TableId, &TableSchema)> {
        self.tables
            .iter()
            .enumerate()
            .map(|(at, table)| (TableId::at(at), table))
    }

    /// The `clientSchema` of the wire: server names, everything sorted, no white space.
    pub fn client_schema_json(&self) -> String {
        let tables: SortedMap<&str, &TableSchema> = self
            .tables
            .iter()
            .map(|table| (table.server_name.as_str(), table))
            .collect();
        let mut out = String::from("{\"tables\":{");
        for (at, (name, table)) in tables.into_iter().enumerate() {
            separate(&mut out, at);
            quote(name, &mut out);
            out.push_str(":{\"columns\":{");
            let columns: SortedMap<&str, ColumnType> = table
                .columns
                .iter()
                .map(|column| (column.server_name.as_str(), column.ty))
                .collect();
            for (at, (name, ty)) in columns.into_iter().enumerate() {
                separate(&mut out, at);
                quote(name, &mut out);
                let _ = write!(out, ":{{\"type\":\"{}\"}}", ty.name());
            }
            out.push_str("},\"primaryKey\":[");
            let mut key: Vec<&str> = table
                .primary_key
                .iter()
                .map(|at| table.columns[*at].server_name.as_str())
                .collect();
            sort(&mut key);
            for (at, name) in key.into_iter().enumerate() {
                separate(&mut out, at);
                quote(name, &mut out);
            }
            out.push_str("]}");
        }
        out.push_str("}}");
        out
    }
}

impl Schema {
    /// The hash of [`Schema::client_schema_json`] in base 36: schemas that a server cannot tell apart share it.
    pub fn hash(&self) -> String {
        base36(h64(&self.client_schema_json()))
    }
}

impl TableId {
    fn at(place: usize) -> TableId {
        TableId(u32::try_from(place).expect("a schema has fewer than four billion tables"))
    }
}

impl Index<TableId> for Schema {
    type Output = TableSchema;

    fn index(&self, id: TableId) -> &TableSchema {
        &self.tables[id.0 as usize]
    }
}

impl TableSchema {
    /// Sorts the columns by name; the primary key keeps its order.
    fn sort_columns(&mut self) -> Result<(), SchemaError> {
        if self.columns.is_sorted_by(|a, b| a.name <= b.name) {
            return Ok(());
        }
        let names = self.key_names()?;
        sort_by(&mut self.columns, |a, b| a.name.cmp(&b.name));
        self.primary_key = names.iter().filter_map(|name| self.column(name)).collect();
        Ok(())
    }

    fn key_names(&self) -> Result<Vec<String>, SchemaError> {
        let key = self.primary_key.iter();
        key.map(|at| match self.columns.get(*at) {
            Some(column) => Ok(column.name.clone()),
            None => Err(SchemaError::UnknownKeyColumn {
                table: self.name.clone(),
                column: format!("#{at}"),
            }),
        })
        .collect()
    }

    fn check(&self) -> Result<(), SchemaError> {
        let table = || self.name.clone();
        if self.columns.len() > usize::from(u16::MAX) {
            return Err(SchemaError::TooManyColumns { table: table() });
        }
        unique(self.columns.iter().map(|column| column.name.as_str()))?;
        unique(
            self.columns
                .iter()
                .map(|column| column.server_name.as_str()),
        )?;
        let names = self.key_names()?;
        if names.is_empty() {
            return Err(SchemaError::NoPrimaryKey { table: table() });
        }
        for (place, (at, name)) in self.primary_key.iter().zip(&names).enumerate() {
            let ty = self.columns[*at].ty;
            if matches!(ty, ColumnType::Json | ColumnType::Null) {
                return Err(SchemaError::KeyColumnType {
                    table: table(),
                    column: name.clone(),
                    ty: ty.name(),
                });
            }
            if names[..place].contains(name) {
                return Err(SchemaError::RepeatedKeyColumn {
                    table: table(),
                    column: name.clone(),
                });
            }
        }
        Ok(())
    }
}

impl TableJson {
    fn build(self, name: String) -> Result<TableSchema, SchemaError> {
        let columns: Vec<Column> = self
            .columns
            .into_iter()
            .map(|(name, column)| Column {
                server_name: column.server_name.unwrap_or_else(|| name.clone()),
                name,
                ty: column.r#type,
                optional: column.optional,
            })
            .collect();
        let primary_key = self
            .primary_key
            .into_iter()
            .map(|key| {
                columns
                    .iter()
                    .position(|column| column.name == key)
                    .ok_or_else(|| SchemaError::UnknownKeyColumn {
                        table: name.clone(),
                        column: key,
                    })
            })
            .collect::<Result<_, _>>()?;
        Ok(TableSchema {
            server_name: self.server_name.unwrap_or_else(|| name.clone()),
            name,
            columns,
            primary_key,
        })
    }
}

fn unique<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), SchemaError> {
    let mut sorted: Vec<&str> = names.collect();
    sort(&mut sorted);
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(SchemaError::DuplicateName {
            name: pair[0].to_owned(),
        }),
        None => Ok(()),
    }
}

fn separate(out: &mut String, at: usize) {
    if at > 0 {
        out.push(',');
    }
}

fn quote(text: &str, out: &mut String) {
    crate::value::write_json(ValueRef::String(text), out);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUE: &str = r#"{"tables":{"issue":{"name":"issue","extra":1,"primaryKey":["id"],"columns":{
        "title":{"type":"string","optional":false,"customType":null},"id":{"type":"string"},
        "created":{"type":"number","serverName":"created_at"}}}},"relationships":{}}"#;

    #[test]
    fn the_wire_form_and_its_hash() {
        let schema = Schema::from_json(ISSUE).unwrap();
        assert_eq!(
            schema.client_schema_json(),
            r#"{"tables":{"issue":{"columns":{"created_at":{"type":"number"},"id":{"type":"string"},"title":{"type":"string"}},"primaryKey":["id"]}}}"#
        );
        assert_eq!(schema.hash(), "24zpfbgf6trve");
        assert_eq!(Schema::default().client_schema_json(), r#"{"tables":{}}"#);
    }

    #[test]
    fn names_are_found_on_both_sides() {
        let schema = Schema::from_json(ISSUE).unwrap();
        let id = schema.table("issue").unwrap();
        assert_eq!(schema.table_by_server_name("issue"), Some(id));
        assert_eq!(
            (schema.table("x"), schema.table_by_server_name("x")),
            (None, None)
        );
        let table = &schema[id];
        assert_eq!(
            table.column("created"),
            table.column_by_server_name("created_at")
        );
        assert_eq!(
            (table.column("created_at"), table.column_by_server_name("x")),
            (None, None)
        );
    }

    fn column(name: &str) -> Column {
        Column {
            name: name.to_owned(),
            server_name: name.to_owned(),
            ty: ColumnType::String,
            optional: false,
        }
    }

    fn table(columns: &[&str], primary_key: &[usize]) -> TableSchema {
        TableSchema {
            name: "t".to_owned(),
            server_name: "t".to_owned(),
            columns: columns.iter().map(|name| column(name)).collect(),
            primary_key: primary_key.to_vec(),
        }
    }

    #[test]
    fn sorting_keeps_the_primary_key() {
        let schema = Schema::new(vec![table(&["c", "a", "b"], &[0, 2])]).unwrap();
        let names: Vec<_> = schema.tables[0]
            .columns
            .iter()
            .map(|column| &*column.name)
            .collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(schema.tables[0].primary_key, [2, 1]);
    }

    #[test]
    fn refusals() {
        let check = |tables: Vec<TableSchema>, expected: &str| {
            assert_eq!(Schema::new(tables).unwrap_err().to_string(), expected);
        };
        check(
            vec![table(&["a"], &[])],
            r#"table "t" is missing a primary key"#,
        );
        check(
            vec![table(&["a"], &[1])],
            r##"the primary key of table "t" names the unknown column "#1""##,
        );
        check(
            vec![table(&["b", "a"], &[2])],
            r##"the primary key of table "t" names the unknown column "#2""##,
        );
        check(
            vec![table(&["a"], &[0, 0])],
            r#"the primary key of table "t" names column "a" twice"#,
        );
        check(
            vec![table(&["a", "a"], &[0])],
            r#"the name "a" is used twice"#,
        );
        let twins = vec![table(&["a"], &[0]), table(&["a"], &[0])];
        check(twins, r#"the name "t" is used twice"#);
        let mut same_server_name = table(&["a", "b"], &[0]);
        same_server_name.columns[1].server_name = "a".to_owned();
        check(vec![same_server_name], r#"the name "a" is used twice"#);
        let mut json_key = table(&["a"], &[0]);
        json_key.columns[0].ty = ColumnType::Json;
        check(
            vec![json_key],
            r#"column "a" of table "t" holds json and cannot be part of the primary key"#,
        );
        let unknown = r#"{"tables":{"t":{"columns":{"a":{"type":"string"}},"primaryKey":["x"]}}}"#;
        assert_eq!(
            Schema::from_json(unknown).unwrap_err().to_string(),
            r#"the primary key of table "t" names the unknown column "x""#
        );
        for json in [
            "",
            "[]",
            "{}",
            r#"{"tables":[]}"#,
            r#"{"tables":{"t":{"columns":{"a":{"type":"date"}},"primaryKey":["a"]}}}"#,
        ] {
            assert!(
                matches!(Schema::from_json(json), Err(SchemaError::Json(_))),
                "{json}"
            );
        }
    }

    #[test]
    fn keys_are_ordered_by_value() {
        let table = &Schema::new(vec![table(&["a", "b"], &[1, 0])])
            .unwrap()
            .tables[0];
        let row = |a, b| Row::from_values([ValueRef::String(a), ValueRef::String(b)]);
        let check = |a: &Row, b: &Row, expected| {
            assert_eq!(table.compare_keys(a, b), expected);
            assert_eq!(table.key_of(a).cmp(&table.key_of(b)), expected);
        };
        check(&row("1", "2"), &row("2", "1"), Ordering::Greater);
        check(&row("1", "1"), &row("2", "1"), Ordering::Less);
        check(&row("1", "1"), &row("1", "1"), Ordering::Equal);
        let prefix = Key(Row::from_values([ValueRef::String("1")]));
        assert!(prefix < table.key_of(&row("", "1")) && prefix > table.key_of(&row("z", "0")));
    }
}
