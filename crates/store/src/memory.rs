//! A backend in memory: for tests, for the simulator, and for browsers that give no storage.

use crate::error::StoreFailure;
use crate::request::{Mode, Read, ReadResult, StoreName, StoreReply, StoreRequest, WriteOp};
use landfall_zql::sorted_map::SortedMap;
use std::sync::{Arc, Mutex, PoisonError};

// Keys are mostly added at the end: pages, records of the log and mutations are numbered.
type Values = SortedMap<StoreName, SortedMap<Vec<u8>, Vec<u8>>>;

/// A store in memory. A clone is another handle on the same data, as another tab would have.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    values: Arc<Mutex<Values>>,
}

impl MemoryStore {
    /// Carries out one request, as one transaction.
    pub fn execute(&self, request: &StoreRequest) -> Result<StoreReply, StoreFailure> {
        // A panic cannot leave a transaction half done: writes are applied only after everything that may fail.
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let results = request
            .reads()
            .iter()
            .map(|read| read_from(&values, request, read))
            .collect();
        let decision = request.decide(results)?;
        if request.mode() == Mode::ReadOnly && !decision.writes.is_empty() {
            return Err(StoreFailure::Contract);
        }
        for write in decision.writes {
            apply(&mut values, write);
        }
        Ok(decision.reply)
    }

    /// The stored values of one store, by key; for tests that look at bytes.
    pub fn values(&self, store: StoreName) -> SortedMap<Vec<u8>, Vec<u8>> {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        values.get(&store).cloned().unwrap_or_default()
    }

    /// Sets one value; for tests that damage bytes.
    pub fn set_value(&self, store: StoreName, key: Vec<u8>, value: Vec<u8>) {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        values.get_or_default(store).insert(key, value);
    }

    /// Removes all values of a store; for tests that lose them.
    pub fn clear(&self, store: StoreName) {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        values.remove(&store);
    }

    /// A copy that shares nothing with this one: what a crash would leave.
    pub fn snapshot(&self) -> Self {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        Self {
            values: Arc::new(Mutex::new(values.clone())),
        }
    }
}

fn read_from(values: &Values, request: &StoreRequest, read: &Read) -> ReadResult {
    match read {
        Read::Get { store, key } => {
            ReadResult::Value(values.get(store).and_then(|store| store.get(key)).cloned())
        }
        Read::Range {
            store,
            from,
            until,
            limit,
        } => {
            let limit = limit.map_or(usize::MAX, |limit| limit as usize);
            let range = values
                .get(store)
                .map(|store| store.range(from, until.as_ref()));
            let range = range.into_iter().flatten().take(limit);
            let found = range.map(|(_, value)| value.clone());
            match store {
                StoreName::Pages => {
                    // Half of each is read ahead: whoever reads on meets both.
                    let take = |page: Vec<u8>| {
                        let most = page.len() / 2;
                        request.take_page(page, most)
                    };
                    ReadResult::Pages(found.map(take).collect())
                }
                _ => ReadResult::Values(found.collect()),
            }
        }
    }
}

fn apply(values: &mut Values, write: WriteOp) {
    match write {
        WriteOp::Put { store, key, value } => {
            values.get_or_default(store).insert(key, value.into_bytes());
        }
        WriteOp::Delete { store, key } => {
            values.get_or_default(store).remove(&key);
        }
        WriteOp::DeleteRange { store, from, until } => {
            values.get_or_default(store).remove_range(&from, &until);
        }
        WriteOp::Clear { store } => {
            values.remove(&store);
        }
    }
}
