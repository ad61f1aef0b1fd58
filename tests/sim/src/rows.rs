//! The rows that the simulated server holds, and how mutations change them.

use landfall_protocol::CrudKind;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Names a row: server name of its table, and its key, the column `id`.
pub type RowName = (String, String);

/// Carries out a custom mutation on the rows, or says why not.
pub type ServerMutator = fn(&mut Rows, &Value) -> Result<(), String>;

/// Rows by table and key, server names.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    rows: BTreeMap<RowName, Value>,
    changed: BTreeSet<RowName>,
}

impl Rows {
    /// The row of this key.
    pub fn get(&self, table: &str, id: &str) -> Option<&Value> {
        self.rows.get(&(table.to_owned(), id.to_owned()))
    }

    /// Puts a row; its key is the column `id`.
    pub fn put(&mut self, table: &str, row: Value) {
        let id = row["id"].as_str().expect("ids are strings").to_owned();
        let key = (table.to_owned(), id);
        self.changed.insert(key.clone());
        self.rows.insert(key, row);
    }

    /// Removes a row.
    pub fn remove(&mut self, table: &str, id: &str) {
        let key = (table.to_owned(), id.to_owned());
        self.changed.insert(key.clone());
        self.rows.remove(&key);
    }

    /// All rows of a table in key order.
    pub fn table(&self, table: &str) -> Vec<Value> {
        self.iter()
            .filter(|((t, _), _)| t == table)
            .map(|(_, row)| row.clone())
            .collect()
    }

    /// All rows, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&RowName, &Value)> {
        self.rows.iter()
    }

    /// What was put or removed since the last time.
    pub(crate) fn take_changed(&mut self) -> BTreeSet<RowName> {
        std::mem::take(&mut self.changed)
    }

    pub(crate) fn apply_crud(&mut self, op: CrudKind, table: &str, value: Value) {
        let id = value["id"].as_str().expect("ids are strings").to_owned();
        let before = self.get(table, &id).cloned();
        match (op, before) {
            (CrudKind::Insert, Some(_)) | (CrudKind::Update, None) => {}
            (CrudKind::Insert | CrudKind::Upsert, None) => self.put(table, value),
            (CrudKind::Update | CrudKind::Upsert, Some(mut row)) => {
                if let (Some(row), Value::Object(changes)) = (row.as_object_mut(), value) {
                    row.extend(changes);
                }
                self.put(table, row);
            }
            (CrudKind::Delete, _) => self.remove(table, &id),
        }
    }
}
