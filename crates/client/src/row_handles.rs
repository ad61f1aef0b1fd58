//! Handles: the numbers that stand for row versions at the boundary, given out, counted and taken back.
//!
//! Inside, rows are pointers; a handle exists only while some view shows the row.
//! A handle that is released is free for another row only after the flush that says so was handed over.

use landfall_ivm::Entry;
use landfall_zql::{Row, TableId};
use std::collections::HashMap;

struct Slot {
    table: TableId,
    row: Option<Row>,
    count: u32,
}

/// The row versions that JavaScript holds.
#[derive(Default)]
pub(crate) struct RowHandles {
    slots: Vec<Slot>,
    by_address: HashMap<usize, u32>,
    free: Vec<u32>,
    fresh: Vec<u32>,
    released: Vec<u32>,
}

/// Where the row is. Unique among the rows of the table, since each slot keeps its row alive.
fn address(row: &Row) -> usize {
    row.address()
}

impl RowHandles {
    /// The handle of a row that one more place shows.
    pub(crate) fn retain(&mut self, table: TableId, row: &Row) -> u32 {
        let address = address(row);
        if let Some(&handle) = self.by_address.get(&address) {
            self.slots[handle as usize].count += 1;
            return handle;
        }
        let slot = Slot {
            table,
            row: Some(row.clone()),
            count: 1,
        };
        let handle = match self.free.pop() {
            Some(handle) => {
                self.slots[handle as usize] = slot;
                handle
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        self.by_address.insert(address, handle);
        self.fresh.push(handle);
        handle
    }

    /// One place fewer shows the row.
    pub(crate) fn release(&mut self, row: &Row) {
        let Some(&handle) = self.by_address.get(&address(row)) else {
            debug_assert!(false, "a row that no view shows was released");
            return;
        };
        let slot = &mut self.slots[handle as usize];
        slot.count -= 1;
        if slot.count == 0 {
            self.released.push(handle);
        }
    }

    /// A list of entries is not shown any more, with everything below it.
    pub(crate) fn release_list(&mut self, list: &[Entry]) {
        for entry in list {
            self.release(&entry.row);
            entry
                .children
                .iter()
                .for_each(|list| self.release_list(list));
        }
    }

    /// The rows that JavaScript has not seen, and the handles that nothing shows any more.
    /// The latter are free from now on.
    pub(crate) fn take(&mut self) -> (Vec<(u32, TableId, Row)>, Vec<u32>) {
        let mut fresh = Vec::with_capacity(self.fresh.len());
        for handle in self.fresh.drain(..) {
            let slot = &self.slots[handle as usize];
            if let Some(row) = &slot.row {
                fresh.push((handle, slot.table, row.clone()));
            }
        }
        let mut releases = Vec::new();
        for handle in self.released.drain(..) {
            let slot = &mut self.slots[handle as usize];
            // Shown again within the same flush.
            if slot.count > 0 {
                continue;
            }
            if let Some(row) = slot.row.take() {
                self.by_address.remove(&address(&row));
                self.free.push(handle);
                releases.push(handle);
            }
        }
        (fresh, releases)
    }

    /// How many row versions are shown.
    #[cfg(test)]
    pub(crate) fn live(&self) -> usize {
        self.by_address.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_zql::ValueRef;

    fn row(text: &str) -> Row {
        Row::from_values([ValueRef::String(text)])
    }

    #[test]
    fn a_handle_lives_as_long_as_something_shows_its_row() {
        let mut handles = RowHandles::default();
        let a = row("a");
        let first = handles.retain(TableId(0), &a);
        assert_eq!(handles.retain(TableId(0), &a.clone()), first);
        handles.release(&a);
        let (fresh, releases) = handles.take();
        assert_eq!((fresh.len(), releases), (1, vec![]));
        handles.release(&a);
        let b = row("b");
        assert_ne!(
            handles.retain(TableId(0), &b),
            first,
            "not reused by the flush that releases it"
        );
        assert_eq!(handles.take().1, vec![first]);
        assert_eq!(
            handles.retain(TableId(0), &row("c")),
            first,
            "reused by the next"
        );
        assert_eq!(handles.live(), 2);
    }

    #[test]
    fn a_row_shown_again_in_the_same_flush_keeps_its_handle() {
        let mut handles = RowHandles::default();
        let a = row("a");
        let first = handles.retain(TableId(0), &a);
        handles.take();
        handles.release(&a);
        assert_eq!(handles.retain(TableId(0), &a), first);
        let (fresh, releases) = handles.take();
        assert!(fresh.is_empty() && releases.is_empty());
    }

    #[test]
    fn released_and_shown_and_released_is_released_once() {
        let mut handles = RowHandles::default();
        let a = row("a");
        let first = handles.retain(TableId(0), &a);
        handles.release(&a);
        handles.retain(TableId(0), &a);
        handles.release(&a);
        assert_eq!(handles.take().1, vec![first]);
        assert!(handles.take().1.is_empty());
    }
}
