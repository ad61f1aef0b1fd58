//! The tables that queries may use, as the replica holds them.
//!
//! Table and column names are the server's: the bare name in schema `public`, `schema.table` otherwise.

use landfall_zql::{Column, ColumnType, Schema, TableId, TableSchema};

/// All syncable tables.
#[derive(Debug, Clone)]
pub struct ReplicaSchema {
    /// The schema as pipelines see it; client and server names are equal. A table's primary key is its row key.
    pub zql: Schema,
    /// What the replica knows beyond that, by table id.
    pub tables: Vec<ReplicaTable>,
}

/// A syncable table.
#[derive(Debug, Clone)]
pub struct ReplicaTable {
    /// Its id in [`ReplicaSchema::zql`].
    pub id: TableId,
    /// Its server name.
    pub name: String,
    /// Its name in the SQLite file.
    pub sql_name: String,
    /// Its columns in the order of the rows.
    pub columns: Vec<ReplicaColumn>,
    /// The columns that identify a row, in declared order.
    pub row_key: Vec<usize>,
    /// Every unique key without nullable columns, the row key included; column indices ascending.
    pub unique_keys: Vec<Vec<usize>>,
}

/// A column of a syncable table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaColumn {
    /// Its server name, which is also its name in the SQLite file.
    pub name: String,
    /// The type queries see.
    pub ty: ColumnType,
    /// Whether the upstream forbids NULL.
    pub not_null: bool,
}

/// A table before ids and column indices are given.
#[derive(Debug, Clone)]
pub struct TableDraft {
    /// Server name.
    pub name: String,
    /// Name in the SQLite file.
    pub sql_name: String,
    /// Columns in any order.
    pub columns: Vec<ReplicaColumn>,
    /// Columns that identify a row, in declared order.
    pub row_key: Vec<String>,
    /// Unique keys without nullable columns.
    pub unique_keys: Vec<Vec<String>>,
}

impl ReplicaSchema {
    /// Gives ids by name and puts the columns in order.
    pub fn new(mut drafts: Vec<TableDraft>) -> Self {
        drafts.sort_by(|a, b| a.name.cmp(&b.name));
        let mut zql = Vec::new();
        let mut tables = Vec::new();
        for (index, draft) in drafts.into_iter().enumerate() {
            let table = ReplicaTable::new(TableId(index as u32), draft);
            zql.push(table.zql());
            tables.push(table);
        }
        ReplicaSchema {
            zql: Schema { tables: zql },
            tables,
        }
    }

    /// A table by its id.
    pub fn table(&self, id: TableId) -> Option<&ReplicaTable> {
        self.tables.get(id.0 as usize)
    }

    /// A table by its server name.
    pub fn table_by_name(&self, name: &str) -> Option<&ReplicaTable> {
        let index = self
            .tables
            .binary_search_by(|table| table.name.as_str().cmp(name))
            .ok()?;
        self.tables.get(index)
    }
}

impl ReplicaTable {
    fn new(id: TableId, draft: TableDraft) -> Self {
        let mut columns = draft.columns;
        columns.sort_by(|a, b| a.name.cmp(&b.name));
        let positions = |names: &[String]| -> Vec<usize> {
            names
                .iter()
                .filter_map(|name| columns.iter().position(|column| column.name == *name))
                .collect()
        };
        let row_key = positions(&draft.row_key);
        let mut unique_keys: Vec<Vec<usize>> = draft
            .unique_keys
            .iter()
            .chain([&draft.row_key])
            .map(|names| {
                let mut key = positions(names);
                key.sort_unstable();
                key
            })
            .collect();
        unique_keys.sort();
        unique_keys.dedup();
        ReplicaTable {
            id,
            name: draft.name,
            sql_name: draft.sql_name,
            row_key,
            unique_keys,
            columns,
        }
    }

    fn zql(&self) -> TableSchema {
        let columns = self.columns.iter().map(|column| Column {
            name: column.name.clone(),
            server_name: column.name.clone(),
            ty: column.ty,
            optional: !column.not_null,
        });
        TableSchema {
            name: self.name.clone(),
            server_name: self.name.clone(),
            columns: columns.collect(),
            primary_key: self.row_key.clone(),
        }
    }

    /// The columns of a unique key given by name, in the order given; `None` if it is not one.
    pub fn unique_key(&self, names: &[String]) -> Option<Vec<usize>> {
        let columns: Vec<usize> = names
            .iter()
            .map(|name| self.column(name))
            .collect::<Option<_>>()?;
        let mut sorted = columns.clone();
        sorted.sort_unstable();
        self.unique_keys.contains(&sorted).then_some(columns)
    }

    /// The index of a column.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns
            .binary_search_by(|column| column.name.as_str().cmp(name))
            .ok()
    }
}
