//! Collects the changes of a step: one net change per row key, within bounds.

use std::collections::{BTreeMap, BTreeSet};

use landfall_zql::{Key, Row, TableId};

use super::{Advance, LmidChange, ReplicaSchema, Reset, ResultChange, RowChange, StateVersion};

/// Row changes of one step beyond which its tables are reset instead.
const MAX_CHANGES: usize = 50_000;
/// Bytes of rows of one step beyond which its tables are reset instead.
const MAX_BYTES: usize = 64 << 20;

/// Row changes by table and key: the row before the step and the row after it.
#[derive(Debug, Default)]
pub(crate) struct StepBuilder {
    changes: BTreeMap<(u32, Key), (Option<Row>, Option<Row>)>,
    bytes: usize,
    lmids: BTreeMap<(String, String), u64>,
    results: BTreeMap<(String, String, u64), Option<String>>,
    reset: BTreeSet<TableId>,
    permissions_changed: bool,
}

impl StepBuilder {
    /// Notes a change of a row. `before` and `after` have the same key where both are given.
    pub fn change(
        &mut self,
        schema: &ReplicaSchema,
        table: TableId,
        before: Option<Row>,
        after: Option<Row>,
    ) {
        if self.reset.contains(&table) {
            return;
        }
        let Some(row) = before.as_ref().or(after.as_ref()) else {
            return;
        };
        let key = schema.zql[table].key_of(row);
        self.bytes += after.as_ref().map_or(0, |row| row.bytes().len())
            + before.as_ref().map_or(0, |row| row.bytes().len());
        self.changes
            .entry((table.0, key))
            .and_modify(|(_, last)| last.clone_from(&after))
            .or_insert((before, after));
        if self.changes.len() > MAX_CHANGES || self.bytes > MAX_BYTES {
            self.give_up();
        }
    }

    /// Gives up listing the changes of a table.
    pub fn reset(&mut self, table: TableId) {
        self.changes.retain(|(changed, _), _| *changed != table.0);
        self.reset.insert(table);
    }

    fn give_up(&mut self) {
        let tables = self.changes.keys().map(|(table, _)| TableId(*table));
        self.reset.extend(tables);
        self.changes.clear();
        self.bytes = 0;
    }

    /// Notes a last mutation id.
    pub fn lmid(&mut self, group: &str, client: &str, lmid: u64) {
        self.lmids
            .insert((group.to_owned(), client.to_owned()), lmid);
    }

    /// Notes a mutation result, or its deletion.
    pub fn result(&mut self, group: &str, client: &str, id: u64, result: Option<&str>) {
        self.results.insert(
            (group.to_owned(), client.to_owned(), id),
            result.map(str::to_owned),
        );
    }

    /// Notes that the permissions changed.
    pub fn permissions(&mut self) {
        self.permissions_changed = true;
    }

    /// The step.
    pub fn finish(self, from: StateVersion, to: StateVersion) -> Advance {
        let changes = self
            .changes
            .into_iter()
            .filter(|(_, (before, after))| before != after)
            .map(|((table, _), (before, after))| RowChange {
                table: TableId(table),
                before,
                after,
            });
        let lmids = self
            .lmids
            .into_iter()
            .map(|((group, client), lmid)| LmidChange {
                group,
                client,
                lmid,
            });
        let results = self
            .results
            .into_iter()
            .map(|((group, client, id), result)| ResultChange {
                group,
                client,
                id,
                result,
            });
        Advance {
            from,
            to,
            changes: changes.collect(),
            lmids: lmids.collect(),
            results: results.collect(),
            reset: if self.reset.is_empty() {
                Reset::None
            } else {
                Reset::Tables(self.reset)
            },
            permissions_changed: self.permissions_changed,
        }
    }
}
