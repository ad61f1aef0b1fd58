//! Everything that a store holds: rows are read piece by piece at start-up, or at once before a fold.

use crate::decide::{check_log, corrupt};
use crate::error::{FormatError, StoreFailure};
use crate::head::Head;
use crate::page::{Page, QuerySets, StoredPage};
use crate::patch::{DesiredChange, LogRecord, Patch, QueryChange, RowChange};
use crate::queue::{ClientRecord, QueuedMutation, StoredOutcome};
use crate::request::StoreName;
use crate::schema_change::CarryOver;
use landfall_zql::sort::sort_by;
use landfall_zql::{Key, Row, Schema, TableId};
use std::sync::Arc;

/// Everything that a store holds, as it came out of storage: what is about rows is not read yet.
#[derive(Clone, Debug)]
pub struct Unread {
    /// Where the store stands.
    pub head: Box<Head>,
    /// Mutations that are not confirmed, in the group's order.
    pub queue: Vec<QueuedMutation>,
    /// Mutations that failed or are uncertain, by client and id.
    pub outcomes: Vec<StoredOutcome>,
    /// The clients of the group, by id.
    pub clients: Vec<ClientRecord>,
    pub(crate) schema: Arc<Schema>,
    pub(crate) pages: Vec<StoredPage>,
    pub(crate) log: Vec<Vec<u8>>,
    pub(crate) queries: QuerySets,
    /// What its rows are given as, if it is a store of another schema.
    pub(crate) carried: Option<Arc<CarryOver>>,
}

impl Unread {
    /// When one of its clients was last known to be alive, in epoch milliseconds.
    pub fn seen(&self) -> f64 {
        let seen = self.clients.iter().map(|client| client.seen);
        seen.fold(0.0, f64::max)
    }

    /// Whether the server has given anything yet; a damaged record counts as something.
    pub fn was_given(&self) -> bool {
        let gives = |bytes: &Vec<u8>| match LogRecord::decode(bytes, &self.schema) {
            Ok(record) => !record.patch.rows.is_empty() || !record.patch.got.is_empty(),
            Err(_) => true,
        };
        !self.pages.is_empty() || !self.queries.got.is_empty() || self.log.iter().any(gives)
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// Pages or log are damaged.
    pub fn read(self) -> Result<Loaded, StoreFailure> {
        let schema = &self.schema;
        let read = self.pages.into_iter().map(|page| Page::read(page, schema));
        let pages: Vec<Page> = read
            .collect::<Result<_, _>>()
            .and_then(|pages| Page::sort(pages, schema))
            .map_err(corrupt(StoreName::Pages))?;
        // A page that is written must not take the place of one that stays.
        if pages.iter().any(|page| page.number >= self.head.next_page) {
            return Err(corrupt(StoreName::Pages)(FormatError::PageCount));
        }
        let log: Vec<LogRecord> = self
            .log
            .iter()
            .map(|bytes| LogRecord::decode(bytes, schema))
            .collect::<Result<_, _>>()
            .map_err(corrupt(StoreName::Log))?;
        check_log(&log, self.head.log_first, self.head.log_next)?;
        Ok(Loaded {
            head: self.head,
            queue: self.queue,
            outcomes: self.outcomes,
            clients: self.clients,
            schema: self.schema,
            pages,
            log,
            queries: self.queries,
        })
    }
}

/// Everything that a store holds.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Where the store stands.
    pub head: Box<Head>,
    /// Mutations that are not confirmed, in the group's order.
    pub queue: Vec<QueuedMutation>,
    /// Mutations that failed or are uncertain, by client and id.
    pub outcomes: Vec<StoredOutcome>,
    /// The clients of the group, by id.
    pub clients: Vec<ClientRecord>,
    pub(crate) schema: Arc<Schema>,
    pub(crate) pages: Vec<Page>,
    pub(crate) log: Vec<LogRecord>,
    pub(crate) queries: QuerySets,
}

/// The server's state as stored.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ServerState {
    /// For each table of the schema its rows, in the order of their keys.
    pub tables: Vec<Vec<Row>>,
    /// Desired and got queries.
    pub queries: QuerySets,
}

/// A row in place of what has its key before, or nothing.
pub(crate) type Change = ((TableId, Key), Option<Row>);

/// What the log says about rows.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    /// The pages are void.
    pub(crate) clear: bool,
    /// In the order of the log.
    rows: Vec<Change>,
}

impl Overlay {
    pub(crate) fn apply(&mut self, patch: &Patch, schema: &Schema) {
        if patch.clear {
            self.clear = true;
            self.rows.clear();
        }
        for change in &patch.rows {
            match change {
                RowChange::Put { table, row } => {
                    let key = schema.tables[table.0 as usize].key_of(row);
                    self.rows.push(((*table, key), Some(row.clone())));
                }
                RowChange::Del { table, key } => {
                    self.rows.push(((*table, key.clone()), None));
                }
            }
        }
    }

    /// The last word on each key, in the order of keys.
    pub(crate) fn into_changes(mut self) -> Vec<Change> {
        sort_by(&mut self.rows, |a, b| a.0.cmp(&b.0));
        self.rows.dedup_by(|later, earlier| {
            let is_same = later.0 == earlier.0;
            if is_same {
                std::mem::swap(later, earlier);
            }
            is_same
        });
        self.rows
    }
}

impl Loaded {
    /// Applies the log to the pages.
    pub fn into_server_state(mut self) -> ServerState {
        let overlay = self.overlay();
        let queries = self.folded_queries();
        let pages = if overlay.clear {
            Vec::new()
        } else {
            std::mem::take(&mut self.pages)
        };
        let mut tables: Vec<Vec<Row>> = vec![Vec::new(); self.schema.tables.len()];
        let rows = pages.into_iter().flat_map(|page| page.rows);
        merge(
            &self.schema,
            rows,
            overlay.into_changes().into_iter(),
            |table, row| {
                // Rows were read against this schema, so their tables are in it.
                if let Some(rows) = tables.get_mut(table.0 as usize) {
                    rows.push(row);
                }
            },
        );
        ServerState { tables, queries }
    }

    /// Log records that are not folded, in order.
    pub fn log(&self) -> &[LogRecord] {
        &self.log
    }

    pub(crate) fn overlay(&self) -> Overlay {
        let mut overlay = Overlay::default();
        for record in &self.log {
            overlay.apply(&record.patch, &self.schema);
        }
        overlay
    }

    pub(crate) fn folded_queries(&self) -> QuerySets {
        let mut queries = self.queries.clone();
        for record in &self.log {
            queries.apply(record.patch.clear, &record.patch.desired, &record.patch.got);
        }
        queries
    }
}

impl QuerySets {
    /// Applies the changes of a patch.
    pub fn apply(&mut self, clear: bool, desired: &[DesiredChange], got: &[QueryChange]) {
        if clear {
            *self = Self::default();
        }
        for DesiredChange { client_id, change } in desired {
            match change {
                QueryChange::Put { hash } => {
                    self.desired
                        .get_or_default(client_id.clone())
                        .insert(hash.clone());
                }
                QueryChange::Del { hash } => {
                    if let Some(hashes) = self.desired.get_mut(client_id) {
                        hashes.remove(hash);
                        if hashes.is_empty() {
                            self.desired.remove(client_id);
                        }
                    }
                }
            }
        }
        for change in got {
            match change {
                QueryChange::Put { hash } => self.got.insert(hash.clone()),
                QueryChange::Del { hash } => self.got.remove(hash),
            };
        }
    }
}

/// Gives the rows of both inputs in order, the second replacing or removing rows of the first.
pub(crate) fn merge(
    schema: &Schema,
    rows: impl Iterator<Item = (TableId, Row)>,
    changes: impl Iterator<Item = Change>,
    mut give: impl FnMut(TableId, Row),
) {
    let mut changes = changes.peekable();
    for (table, row) in rows {
        // Most rows have no change: a key is made only while changes are left.
        let mut replaced = false;
        if changes.peek().is_some() {
            let key = (table, schema.tables[table.0 as usize].key_of(&row));
            while let Some((change, value)) = changes.next_if(|(change, _)| *change <= key) {
                replaced |= change == key;
                if let Some(value) = value {
                    give(change.0, value);
                }
            }
        }
        if !replaced {
            give(table, row);
        }
    }
    for ((table, _), value) in changes {
        if let Some(value) = value {
            give(table, value);
        }
    }
}
