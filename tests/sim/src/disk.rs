//! Storage of a browser as a disk behaves: transactions are whole, but the last relaxed ones may be lost in a power
//! failure, and a tab may be told of a failure although the transaction was committed.

use landfall_store::{
    BackendFailure, Durability, MemoryStore, StoreFailure, StoreName, StoreReply, StoreRequest,
};
use std::cell::RefCell;
use std::rc::Rc;

/// What happens to a tab's next request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskFault {
    /// Nothing in particular.
    #[default]
    None,
    /// It fails, and nothing is written.
    Fails(BackendFailure),
    /// It is committed, and reported as failed: the connection to the storage was lost in between.
    Unknown,
}

/// The disk; a clone is another handle on the same one.
#[derive(Clone, Default)]
pub struct Disk(Rc<RefCell<Content>>);

#[derive(Default)]
struct Content {
    store: MemoryStore,
    /// What a power failure surely leaves, then the states after each relaxed transaction since.
    safe: MemoryStore,
    unsafe_tail: Vec<MemoryStore>,
    was_repaired: bool,
}

impl Disk {
    /// The present content.
    pub fn store(&self) -> MemoryStore {
        self.0.borrow().store.clone()
    }

    /// Another disk with the same content.
    pub fn copy(&self) -> Disk {
        let store = self.0.borrow().store.snapshot();
        let safe = store.snapshot();
        Disk(Rc::new(RefCell::new(Content {
            store,
            safe,
            unsafe_tail: Vec::new(),
            was_repaired: self.was_repaired(),
        })))
    }

    /// Whether somebody has let go of the rows, and kept what users made.
    pub fn was_repaired(&self) -> bool {
        self.0.borrow().was_repaired
    }

    /// Carries out a request.
    pub fn execute(
        &self,
        request: &StoreRequest,
        fault: DiskFault,
    ) -> Result<StoreReply, StoreFailure> {
        if let DiskFault::Fails(kind) = fault {
            let message = "injected".to_owned();
            return Err(StoreFailure::Backend { kind, message });
        }
        let mut content = self.0.borrow_mut();
        let result = content.store.execute(request);
        content.was_repaired |= matches!(result, Ok(StoreReply::Repaired { .. }));
        if result.is_ok() {
            let now = content.store.snapshot();
            match request.durability() {
                Durability::Strict => {
                    content.safe = now;
                    content.unsafe_tail.clear();
                }
                Durability::Relaxed => content.unsafe_tail.push(now),
            }
        }
        if fault == DiskFault::Unknown {
            let (kind, message) = (
                BackendFailure::Closed,
                "injected after the commit".to_owned(),
            );
            return Err(StoreFailure::Backend { kind, message });
        }
        result
    }

    /// The power fails: of the relaxed transactions after the last strict one, `kept(how many)` are left.
    pub fn lose_power(&self, kept: impl FnOnce(usize) -> usize) {
        let mut content = self.0.borrow_mut();
        let kept = kept(content.unsafe_tail.len());
        if let Some(store) = kept
            .checked_sub(1)
            .and_then(|last| content.unsafe_tail.get(last))
        {
            content.safe = store.snapshot();
        }
        content.store = content.safe.snapshot();
        content.unsafe_tail.clear();
    }

    /// One value of a store, chosen by its place, loses its second half.
    pub fn damage(&self, name: StoreName, choose: impl FnOnce(usize) -> usize) {
        let content = self.0.borrow();
        let values = content.store.values(name);
        if let Some((key, value)) = values.iter().nth(choose(values.len())) {
            let half = value[..value.len() / 2].to_vec();
            content.store.set_value(name, key.clone(), half);
        }
    }

    /// The browser evicts everything.
    pub fn evict(&self) {
        let mut content = self.0.borrow_mut();
        for name in StoreName::ALL {
            content.store.clear(name);
        }
        content.safe = content.store.snapshot();
        content.unsafe_tail.clear();
    }
}
