//! Handles: the numbers that stand for row versions at the boundary, given out, counted and taken back.
//!
//! Inside, rows are pointers; a handle exists only while JavaScript holds the row's object.
//! A row that nothing shows any more stays known for a while, so that a query that is asked again costs numbers only.
//! A handle that is released is free for another row only after the flush that says so was handed over.

use landfall_ivm::Entry;
use landfall_zql::{Row, TableId};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

struct Slot {
    table: TableId,
    row: Option<Row>,
    /// Places that show the row.
    count: u32,
    /// Whether it stands in the idle queue.
    queued: bool,
}

/// The row versions that JavaScript holds.
pub(crate) struct RowHandles {
    slots: Vec<Slot>,
    by_address: HashMap<usize, u32, BuildHasherDefault<AddressHasher>>,
    free: Vec<u32>,
    fresh: Vec<u32>,
    /// Their count has reached zero since the last flush.
    released: Vec<u32>,
    /// Handles that nothing showed when they were put here, oldest first.
    idle: VecDeque<u32>,
    idle_limit: usize,
}

/// Spreads addresses: they are multiples of the allocator's grain, and nobody from outside chooses them.
#[derive(Default)]
pub(crate) struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes
            .iter()
            .for_each(|byte| self.write_usize(usize::from(*byte)));
    }

    fn write_usize(&mut self, address: usize) {
        let mixed = (self.0 ^ (address as u64 >> 2)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// Where the row is. Unique among the rows of the table, since each slot keeps its row alive.
fn address(row: &Row) -> usize {
    row.address()
}

impl RowHandles {
    /// No handles yet; so many rows that nothing shows will be kept, the newest.
    pub(crate) fn keeping(idle_limit: usize) -> Self {
        RowHandles {
            slots: Vec::new(),
            by_address: HashMap::default(),
            free: Vec::new(),
            fresh: Vec::new(),
            released: Vec::new(),
            idle: VecDeque::new(),
            idle_limit,
        }
    }

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
            queued: false,
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

    /// What `encode` makes of the rows that JavaScript has not seen, and the handles whose objects it may let go.
    /// The latter are free from now on.
    pub(crate) fn take<T>(
        &mut self,
        encode: impl FnOnce(&mut dyn Iterator<Item = (u32, TableId, &Row)>) -> T,
    ) -> (T, Vec<u32>) {
        let mut gone = Vec::new();
        for handle in std::mem::take(&mut self.released) {
            let slot = &mut self.slots[handle as usize];
            // Shown again within the same flush, or known to be idle.
            if slot.count > 0 || slot.queued {
                continue;
            }
            let Some(row) = &slot.row else { continue };
            // Its count may have reached zero more than once since the last flush.
            slot.queued = true;
            // A version that has been replaced can never be shown again.
            if row.holders() == 1 {
                gone.push(handle);
            } else {
                self.idle.push_back(handle);
            }
        }
        while self.idle.len() > self.idle_limit {
            let Some(handle) = self.idle.pop_front() else {
                break;
            };
            let slot = &mut self.slots[handle as usize];
            slot.queued = false;
            if slot.count == 0 {
                gone.push(handle);
            }
        }
        // Also rows that are gone already: operations of this flush may name them.
        let slots = &self.slots;
        let mut rows = self.fresh.iter().filter_map(|&handle| {
            let slot = &slots[handle as usize];
            Some((handle, slot.table, slot.row.as_ref()?))
        });
        let fresh = encode(&mut rows);
        self.fresh.clear();
        for &handle in &gone {
            if let Some(row) = self.slots[handle as usize].row.take() {
                self.by_address.remove(&address(&row));
                self.free.push(handle);
            }
        }
        (fresh, gone)
    }

    /// How many rows JavaScript has not seen.
    pub(crate) fn fresh(&self) -> usize {
        self.fresh.len()
    }

    /// How many row versions JavaScript holds.
    #[cfg(test)]
    pub(crate) fn known(&self) -> usize {
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

    fn handles_of(rows: &mut dyn Iterator<Item = (u32, TableId, &Row)>) -> Vec<u32> {
        rows.map(|(handle, ..)| handle).collect()
    }

    /// Handles with rows that a source holds as well.
    struct World {
        handles: RowHandles,
        rows: Vec<Row>,
    }

    impl World {
        fn new(idle_limit: usize, rows: usize) -> Self {
            World {
                handles: RowHandles::keeping(idle_limit),
                rows: (0..rows).map(|i| row(&i.to_string())).collect(),
            }
        }

        /// Shows (`+i`) and hides (`-i`) rows, lets the source forget one (`xi`), then flushes.
        #[track_caller]
        fn check(&mut self, steps: &str, fresh: &[u32], releases: &[u32]) -> &mut Self {
            for step in steps.split_whitespace() {
                let (what, row) = step.split_at(1);
                let row: usize = row.parse().expect("an index");
                match what {
                    "+" => {
                        self.handles.retain(TableId(0), &self.rows[row]);
                    }
                    "-" => self.handles.release(&self.rows[row]),
                    _ => panic!("{step}"),
                }
            }
            let (sent, gone) = self.handles.take(handles_of);
            assert_eq!((sent.as_slice(), gone.as_slice()), (fresh, releases));
            self
        }
    }

    #[test]
    fn a_row_crosses_once_and_stays_known_when_nothing_shows_it() {
        World::new(8, 2)
            .check("+0 +0 +1", &[0, 1], &[])
            .check("-0", &[], &[])
            .check("-0 -1", &[], &[])
            .check("+1 +0", &[], &[])
            .check("-1 -0", &[], &[]);
    }

    #[test]
    fn beyond_the_limit_the_oldest_idle_rows_go() {
        let mut world = World::new(2, 4);
        world
            .check("+0 +1 +2 +3", &[0, 1, 2, 3], &[])
            .check("-0 -1 -2", &[], &[0])
            .check("-3", &[], &[1])
            .check("+2", &[], &[])
            // Row 2 leaves the queue without a release, since it is shown.
            .check("+0", &[1], &[])
            .check("-0", &[], &[])
            .check("-2", &[], &[3]);
        assert_eq!(world.handles.known(), 2);
    }

    #[test]
    fn without_room_a_handle_lives_as_long_as_something_shows_its_row() {
        let mut world = World::new(0, 3);
        world
            .check("+0 +0 -0", &[0], &[])
            // Not reused by the flush that releases it.
            .check("-0 +1", &[1], &[0])
            .check("+2", &[0], &[]);
        assert_eq!(world.handles.known(), 2);
    }

    #[test]
    fn a_row_shown_again_in_the_same_flush_keeps_its_handle() {
        World::new(0, 1)
            .check("+0", &[0], &[])
            .check("-0 +0", &[], &[])
            .check("-0 +0 -0", &[], &[0]);
    }

    #[test]
    fn a_version_that_only_javascript_holds_goes_at_once() {
        let mut handles = RowHandles::keeping(8);
        let replaced = row("old");
        let handle = handles.retain(TableId(0), &replaced);
        handles.release(&replaced);
        drop(replaced);
        assert_eq!(handles.take(handles_of), (vec![handle], vec![handle]));
        assert_eq!(handles.known(), 0);
    }
}
