//! What a write of a mutation names, found in the replica's tables.
//!
//! Leaves to the upstreams: what values are in their database, and how rows are written.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde_json::value::RawValue;

use super::CrudOp;
use crate::replica::{ReplicaSchema, ReplicaTable};

/// The table and the columns of a write.
pub(super) struct WriteTarget<'a> {
    /// The table.
    pub table: &'a ReplicaTable,
    /// Columns of the key that the client knows; each has a value.
    pub key: Vec<usize>,
    /// The given columns, with JSON text.
    values: BTreeMap<usize, &'a RawValue>,
}

impl<'a> WriteTarget<'a> {
    /// Finds what a write names, or says what is wrong with it.
    pub fn find(schema: &'a ReplicaSchema, op: &'a CrudOp) -> Result<Self, String> {
        let table = schema
            .table_by_name(&op.table)
            .ok_or_else(|| format!("there is no table {:?}", op.table))?;
        let key = table
            .unique_key(&op.primary_key)
            .ok_or_else(|| format!("{:?} is not a key of table {}", op.primary_key, table.name))?;
        let object: BTreeMap<String, &RawValue> = serde_json::from_str(&op.value)
            .map_err(|_| format!("the value of a write to {} is not an object", op.table))?;
        let mut values = BTreeMap::new();
        for (name, value) in object {
            let column = table.column(&name);
            let column =
                column.ok_or_else(|| format!("table {} has no column {name:?}", op.table))?;
            values.insert(column, value);
        }
        let is_given = |column: &usize| {
            values
                .get(column)
                .is_some_and(|value| value.get() != "null")
        };
        if !key.iter().all(is_given) {
            return Err(format!("a write to {} lacks a part of its key", op.table));
        }
        Ok(WriteTarget { table, key, values })
    }

    /// The given columns with their values as the database takes them.
    pub fn values<T, E: Display>(
        &self,
        convert: impl Fn(usize, &str) -> Result<T, E>,
    ) -> Result<BTreeMap<usize, T>, String> {
        let values = self.values.iter().map(|(&column, json)| {
            let value = convert(column, json.get()).map_err(|error| {
                format!(
                    "{}.{}: {error}",
                    self.table.name, self.table.columns[column].name
                )
            })?;
            Ok((column, value))
        });
        values.collect()
    }

    /// The columns that an update sets.
    pub fn changed(&self) -> Vec<usize> {
        let given = self.values.keys().copied();
        given.filter(|column| !self.key.contains(column)).collect()
    }
}
