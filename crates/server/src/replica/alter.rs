//! Changes the tables of a replica in place: what rows need not be copied for is done by SQL on the file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use landfall_zql::TableId;

use super::writer::{ReplicaWriter, column_definition, create_table};
use super::{ReplicaError, ReplicaTable, TableDraft, quote};

/// A table whose rows are kept, perhaps under other names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptTable {
    /// Its server name so far.
    pub from: String,
    /// Its server name from now on.
    pub to: String,
    /// Names of the columns that are kept, from now on and so far; columns that are new begin as NULL.
    pub columns: BTreeMap<String, String>,
}

impl KeptTable {
    fn is_same(&self, before: &ReplicaTable, after: &ReplicaTable) -> bool {
        before.id == after.id
            && before.sql_name == after.sql_name
            && before.columns == after.columns
            && before.unique_keys == after.unique_keys
            && self.columns.iter().all(|(to, from)| to == from)
    }
}

impl ReplicaWriter {
    /// Takes up another schema in the open transaction. Tables that are not kept are dropped; those that are new, or
    /// not kept, are empty: the caller fills them and then calls [`ReplicaWriter::index_filled`]. Returns them.
    pub fn alter(
        &mut self,
        drafts: Vec<TableDraft>,
        kept: &[KeptTable],
    ) -> Result<BTreeSet<TableId>, ReplicaError> {
        let before = self.schema.clone();
        let after = Arc::new(before.evolve(drafts));
        let mut pairs = Vec::new();
        for table in kept {
            let from = before.table_by_name(&table.from);
            let to = after.table_by_name(&table.to);
            pairs.extend(from.zip(to).map(|(from, to)| (table, from, to)));
        }
        let kept_from: BTreeSet<TableId> = pairs.iter().map(|(_, from, _)| from.id).collect();
        let kept_to: BTreeSet<TableId> = pairs.iter().map(|(_, _, to)| to.id).collect();

        let mut touched: BTreeSet<TableId> = BTreeSet::new();
        for table in before.present().filter(|t| !kept_from.contains(&t.id)) {
            self.conn
                .execute_batch(&format!("DROP TABLE {}", quote(&table.sql_name)))?;
            touched.insert(table.id);
        }
        pairs.retain(|(table, from, to)| !table.is_same(from, to));
        // Names may be swapped: first out of the way, then to where they belong.
        for (table, from, to) in &pairs {
            self.alter_columns(table, from, to)?;
            self.rename(&from.sql_name, &aside(to.id))?;
            touched.extend([from.id, to.id]);
        }
        for (_, _, to) in &pairs {
            self.rename(&aside(to.id), &to.sql_name)?;
            self.index_table(to)?;
        }
        let mut empty = BTreeSet::new();
        for table in after.present().filter(|t| !kept_to.contains(&t.id)) {
            self.conn.execute_batch(&create_table(table))?;
            empty.insert(table.id);
        }
        touched.extend(&empty);
        self.take_schema(after);
        touched.into_iter().for_each(|id| self.step.reset(id));
        Ok(empty)
    }

    /// Makes the key indexes of tables that were filled.
    pub fn index_filled(&self, tables: &BTreeSet<TableId>) -> Result<(), ReplicaError> {
        let filled = self.schema.present().filter(|t| tables.contains(&t.id));
        filled.into_iter().try_for_each(|t| self.index_table(t))
    }

    fn alter_columns(
        &self,
        kept: &KeptTable,
        from: &ReplicaTable,
        to: &ReplicaTable,
    ) -> Result<(), ReplicaError> {
        let table = quote(&from.sql_name);
        self.drop_indexes(&from.sql_name)?;
        let staying: BTreeSet<&String> = kept.columns.values().collect();
        for column in from.columns.iter().filter(|c| !staying.contains(&c.name)) {
            let column = quote(&column.name);
            self.conn
                .execute_batch(&format!("ALTER TABLE {table} DROP COLUMN {column}"))?;
        }
        let renamed: Vec<(usize, (&String, &String))> = kept
            .columns
            .iter()
            .enumerate()
            .filter(|(_, (to, from))| to != from)
            .collect();
        for (at, (_, from)) in &renamed {
            self.rename_column(&table, from, &format!("_landfall_column_{at}"))?;
        }
        for (at, (to, _)) in &renamed {
            self.rename_column(&table, &format!("_landfall_column_{at}"), to)?;
        }
        for column in to
            .columns
            .iter()
            .filter(|c| !kept.columns.contains_key(&c.name))
        {
            let definition = column_definition(column);
            self.conn
                .execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {definition}"))?;
        }
        Ok(())
    }

    fn rename_column(&self, table: &str, from: &str, to: &str) -> Result<(), ReplicaError> {
        let (from, to) = (quote(from), quote(to));
        Ok(self
            .conn
            .execute_batch(&format!("ALTER TABLE {table} RENAME COLUMN {from} TO {to}"))?)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), ReplicaError> {
        let (from, to) = (quote(from), quote(to));
        Ok(self
            .conn
            .execute_batch(&format!("ALTER TABLE {from} RENAME TO {to}"))?)
    }

    fn drop_indexes(&self, table: &str) -> Result<(), ReplicaError> {
        let names = self
            .conn
            .prepare("SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = ?1 AND sql IS NOT NULL")?
            .query_map([table], |row| row.get::<_, String>(0))?
            .collect::<Result<Vec<_>, _>>()?;
        for name in names {
            self.conn
                .execute_batch(&format!("DROP INDEX {}", quote(&name)))?;
        }
        Ok(())
    }
}

/// A name that no table has.
fn aside(id: TableId) -> String {
    format!("_landfall_aside_{}", id.0)
}
