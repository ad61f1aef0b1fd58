//! A program: tables, their rows, one query, and transactions. Plain data, from which every engine is fed.

use std::cmp::Ordering;

use landfall_zql::ast::Ast;
use serde_json::{Map, Value as Json, json};

use crate::cell::{Cell, Type};

/// A column of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Name in queries.
    pub name: String,
    /// Name at the source.
    pub server_name: String,
    /// What it holds.
    pub ty: Type,
    /// Whether it may be NULL.
    pub optional: bool,
}

/// A table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Name in queries.
    pub name: String,
    /// Name at the source.
    pub server_name: String,
    /// Columns in the order of records.
    pub columns: Vec<Column>,
    /// The primary key, in declared order.
    pub key: Vec<usize>,
}

impl Table {
    /// The place of a column.
    pub fn column(&self, name: &str) -> usize {
        self.columns
            .iter()
            .position(|column| column.name == name)
            .unwrap_or_else(|| panic!("table {} has no column {name}", self.name))
    }

    /// Whether two records have one key.
    pub fn same_key(&self, a: &[Cell], b: &[Cell]) -> bool {
        self.key
            .iter()
            .all(|column| a[*column].order(&b[*column]) == Ordering::Equal)
    }

    /// A record as a JSON object.
    pub fn to_json(&self, record: &[Cell]) -> Json {
        let members = self
            .columns
            .iter()
            .zip(record)
            .map(|(column, cell)| (column.name.clone(), cell.to_json()));
        Json::Object(members.collect::<Map<_, _>>())
    }

    /// A record from a JSON object; what is missing is NULL.
    pub fn from_json(&self, json: &Json) -> Record {
        self.columns
            .iter()
            .map(|column| {
                Cell::from_json(column.ty, &json[&column.name])
                    .unwrap_or_else(|| panic!("{json} is no row of {}", self.name))
            })
            .collect()
    }
}

/// A row: one value per column.
pub type Record = Vec<Cell>;

/// A change of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The table.
    pub table: usize,
    /// The row before; it is there.
    pub old: Option<Record>,
    /// The row after; its key is not there unless it is the old one's.
    pub new: Option<Record>,
}

/// The rows of each table.
pub type Data = Vec<Vec<Record>>;

/// Carries out a change.
pub fn apply(tables: &[Table], data: &mut Data, change: &Change) {
    let (table, rows) = (&tables[change.table], &mut data[change.table]);
    if let Some(old) = &change.old {
        rows.retain(|row| !table.same_key(row, old));
    }
    rows.extend(change.new.clone());
}

/// Everything that a run needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// The tables.
    pub tables: Vec<Table>,
    /// Their rows at first.
    pub rows: Data,
    /// The query, in the client's names.
    pub query: Ast,
    /// What happens then.
    pub transactions: Vec<Vec<Change>>,
}

impl Program {
    /// The table with this name.
    pub fn table(&self, name: &str) -> usize {
        table(&self.tables, name)
    }

    /// Makes the transactions fit the rows again after some were left out: what is absent cannot be edited, what is
    /// there not be added.
    pub fn repair(&mut self) {
        let mut data = self.rows.clone();
        for transaction in &mut self.transactions {
            let mut kept = Vec::new();
            for mut change in transaction.drain(..) {
                let table = &self.tables[change.table];
                let rows = &data[change.table];
                let find = |wanted: &Record| rows.iter().find(|row| table.same_key(row, wanted));
                change.old = change.old.and_then(|old| find(&old).cloned());
                if let Some(new) = &change.new
                    && let Some(there) = find(new)
                    && !change
                        .old
                        .as_ref()
                        .is_some_and(|old| table.same_key(old, there))
                {
                    if change.old.is_some() {
                        continue;
                    }
                    change.old = Some(there.clone());
                }
                if change.old.is_none() && change.new.is_none() {
                    continue;
                }
                apply(&self.tables, &mut data, &change);
                kept.push(change);
            }
            *transaction = kept;
        }
    }

    /// The schema as TypeScript gives it.
    pub fn schema_json(&self) -> Json {
        let tables = self.tables.iter().map(|table| {
            let columns = table.columns.iter().map(|column| {
                let ty = match column.ty {
                    Type::Text => "string",
                    Type::Number => "number",
                    Type::Bool => "boolean",
                    Type::Json => "json",
                };
                let mut json = json!({"type": ty, "optional": column.optional});
                if column.server_name != column.name {
                    json["serverName"] = column.server_name.as_str().into();
                }
                (column.name.clone(), json)
            });
            let key: Vec<&str> = table
                .key
                .iter()
                .map(|column| table.columns[*column].name.as_str())
                .collect();
            let mut json = json!({
                "name": table.name,
                "columns": columns.collect::<Map<_, _>>(),
                "primaryKey": key,
            });
            if table.server_name != table.name {
                json["serverName"] = table.server_name.as_str().into();
            }
            (table.name.clone(), json)
        });
        json!({"tables": tables.collect::<Map<_, _>>()})
    }

    /// The tables of a schema as TypeScript gives it.
    pub fn tables_from_json(schema: &Json) -> Vec<Table> {
        let text = |json: &Json| json.as_str().map(str::to_owned);
        let tables = schema["tables"].as_object().expect("tables");
        tables
            .iter()
            .map(|(name, json)| {
                let columns: Vec<Column> = json["columns"]
                    .as_object()
                    .expect("columns")
                    .iter()
                    .map(|(name, column)| Column {
                        name: name.clone(),
                        server_name: text(&column["serverName"]).unwrap_or_else(|| name.clone()),
                        ty: match column["type"].as_str() {
                            Some("string") => Type::Text,
                            Some("number") => Type::Number,
                            Some("boolean") => Type::Bool,
                            _ => Type::Json,
                        },
                        optional: column["optional"] == true,
                    })
                    .collect();
                let key = json["primaryKey"].as_array().expect("a primary key");
                let key = key.iter().map(|name| {
                    let found = columns.iter().position(|column| *name == column.name);
                    found.expect("a key of columns")
                });
                Table {
                    name: name.clone(),
                    server_name: text(&json["serverName"]).unwrap_or_else(|| name.clone()),
                    key: key.collect(),
                    columns,
                }
            })
            .collect()
    }
}

/// The table with this name.
pub fn table(tables: &[Table], name: &str) -> usize {
    tables
        .iter()
        .position(|table| table.name == name)
        .unwrap_or_else(|| panic!("there is no table {name}"))
}
