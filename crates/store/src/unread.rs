//! Everything that a store holds, as it came out of storage.

use crate::error::StoreFailure;
use crate::head::Head;
use crate::page::{QuerySets, StoredPage};
use crate::patch::{DesiredChange, OpenRecord, QueryChange};
use crate::queue::{ClientRecord, QueuedMutation, StoredOutcome};
use crate::schema_change::CarryOver;
use crate::state_reader::StateReader;
use landfall_zql::{Row, Schema, TableId};
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
        let gives_nothing = |bytes: &Vec<u8>| {
            let open = OpenRecord::new(bytes.clone());
            open.is_ok_and(|open| {
                open.left == 0 && open.end().is_ok_and(|it| it.patch.got.is_empty())
            })
        };
        !self.pages.is_empty()
            || !self.queries.got.is_empty()
            || !self.log.iter().all(gives_nothing)
    }

    /// Reads the server's state at once, as [`StateReader`] does in steps.
    ///
    /// # Errors
    /// Pages or log are damaged.
    pub fn read(mut self) -> Result<ServerState, StoreFailure> {
        let mut tables = vec![Vec::new(); self.schema.tables.len()];
        let mut reader = StateReader::new(&mut self)?;
        let mut give = |table: TableId, rows: &mut dyn Iterator<Item = Row>| {
            let place = table.0 as usize;
            // Of a store of another schema there may be more.
            tables.resize(tables.len().max(place + 1), Vec::new());
            tables[place].extend(rows);
        };
        while reader.step(&mut give)?.is_some() {}
        let queries = reader.into_queries();
        Ok(ServerState { tables, queries })
    }
}

/// The server's state as stored.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ServerState {
    /// For each table of the schema its rows, in the order of their keys.
    pub tables: Vec<Vec<Row>>,
    /// Desired and got queries.
    pub queries: QuerySets,
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
