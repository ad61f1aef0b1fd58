//! The tables that queries may use, as the replica holds them.
//!
//! Table and column names are the server's: the bare name in schema `public`, `schema.table` otherwise.

use std::collections::{BTreeMap, BTreeSet};

use landfall_zql::{Column, ColumnType, Schema, TableId, TableSchema};

/// What stands in the place of a table that is gone; no table of a database can have this name.
const GONE: &str = "\0gone";

/// All syncable tables.
#[derive(Debug, Clone)]
pub struct ReplicaSchema {
    /// The schema as pipelines see it; client and server names are equal. A table's primary key is its row key.
    pub zql: Schema,
    /// What the replica knows beyond that, by table id.
    pub tables: Vec<ReplicaTable>,
    by_name: BTreeMap<String, TableId>,
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
    pub fn new(drafts: Vec<TableDraft>) -> Self {
        ReplicaSchema::of(Vec::new()).evolve(drafts)
    }

    /// The schema that follows this one. A table keeps its id while its rows are identified in the same way, so that
    /// whoever has nothing to do with a change goes on undisturbed; a table that is gone leaves its place empty.
    pub fn evolve(&self, mut drafts: Vec<TableDraft>) -> Self {
        drafts.sort_by(|a, b| a.name.cmp(&b.name));
        let mut tables: Vec<ReplicaTable> = self
            .tables
            .iter()
            .map(|table| ReplicaTable::gone(table.id))
            .collect();
        for draft in drafts {
            let table = ReplicaTable::new(TableId(tables.len() as u32), draft);
            match self
                .table_by_name(&table.name)
                .filter(|before| before.identity() == table.identity())
            {
                Some(before) => {
                    let id = before.id;
                    tables[id.0 as usize] = ReplicaTable { id, ..table };
                }
                None => tables.push(table),
            }
        }
        ReplicaSchema::of(tables)
    }

    fn of(tables: Vec<ReplicaTable>) -> Self {
        let present = tables.iter().filter(|table| !table.is_gone());
        ReplicaSchema {
            zql: Schema {
                tables: tables.iter().map(ReplicaTable::zql).collect(),
            },
            by_name: present
                .map(|table| (table.name.clone(), table.id))
                .collect(),
            tables,
        }
    }

    /// The ids of all tables, of those that are gone as well.
    pub fn all_ids(&self) -> BTreeSet<TableId> {
        self.tables.iter().map(|table| table.id).collect()
    }

    /// The tables that there are.
    pub fn present(&self) -> impl Iterator<Item = &ReplicaTable> {
        self.tables.iter().filter(|table| !table.is_gone())
    }

    /// A table by its id.
    pub fn table(&self, id: TableId) -> Option<&ReplicaTable> {
        self.tables.get(id.0 as usize)
    }

    /// A table by its server name.
    pub fn table_by_name(&self, name: &str) -> Option<&ReplicaTable> {
        self.table(*self.by_name.get(name)?)
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

    fn gone(id: TableId) -> Self {
        ReplicaTable {
            id,
            name: GONE.to_owned(),
            sql_name: GONE.to_owned(),
            columns: Vec::new(),
            row_key: Vec::new(),
            unique_keys: Vec::new(),
        }
    }

    /// Whether this is only the empty place of a table that is gone.
    pub fn is_gone(&self) -> bool {
        self.columns.is_empty()
    }

    /// What a row is identified by: names and types.
    fn identity(&self) -> Vec<(&str, ColumnType)> {
        let columns = self.row_key.iter().map(|&at| &self.columns[at]);
        columns
            .map(|column| (column.name.as_str(), column.ty))
            .collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(name: &str, columns: &[&str], key: &str) -> TableDraft {
        let column = |name: &&str| ReplicaColumn {
            name: (*name).to_owned(),
            ty: ColumnType::String,
            not_null: true,
        };
        TableDraft {
            name: name.to_owned(),
            sql_name: name.to_owned(),
            columns: columns.iter().map(column).collect(),
            row_key: vec![key.to_owned()],
            unique_keys: Vec::new(),
        }
    }

    #[test]
    fn ids_outlive_changes_that_do_not_concern_them() {
        let id = |schema: &ReplicaSchema, name: &str| schema.table_by_name(name).map(|t| t.id.0);
        let first = ReplicaSchema::new(vec![
            draft("b", &["id"], "id"),
            draft("c", &["id"], "id"),
            draft("d", &["id", "e"], "id"),
        ]);
        let next = first.evolve(vec![
            draft("a", &["id"], "id"),
            draft("c", &["id", "more"], "id"),
            draft("d", &["id", "e"], "e"),
        ]);
        let ids: Vec<_> = ["a", "b", "c", "d"].map(|name| id(&next, name)).into();
        assert_eq!(ids, [Some(3), None, Some(1), Some(4)]);
        assert!(next.tables[0].is_gone() && next.tables[2].is_gone());
        assert_eq!(next.zql.table_by_server_name("b"), None);
        assert_eq!(next.present().count(), 3);
    }
}
