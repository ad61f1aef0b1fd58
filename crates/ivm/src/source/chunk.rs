//! What an index is made of: rows beside the digits that decide most comparisons, in chunks of neighbours.

use std::cell::{Cell, OnceCell, RefCell};
use std::cmp::Ordering;

use landfall_zql::Row;
use landfall_zql::ast::Direction;
use landfall_zql::ordering::{Order, compare_by};
use landfall_zql::sort::{arrange, sort_by};

use crate::source::digits::{Digits, tells_all};
use crate::source::index::CHUNK;

/// A row with a digit of its first column. Twelve bytes where pointers have four: a `u64` would make it sixteen.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    prefix: [u32; 2],
    pub row: Row,
}

impl Entry {
    pub fn new(prefix: u64, row: Row) -> Entry {
        let mut entry = Entry {
            prefix: [0; 2],
            row,
        };
        entry.set_prefix(prefix);
        entry
    }

    #[inline]
    pub fn prefix(&self) -> u64 {
        let [low, high] = self.prefix;
        u64::from(high) << 32 | u64::from(low)
    }

    #[inline]
    pub fn set_prefix(&mut self, prefix: u64) {
        self.prefix = [prefix as u32, (prefix >> 32) as u32];
    }

    /// Whether it has this prefix. Most are told apart by the half that changes faster.
    #[inline]
    fn has(&self, prefix: u64) -> bool {
        self.prefix[0] == prefix as u32 && self.prefix() == prefix
    }

    pub fn compare(&self, other: &Entry, order: &Order) -> Ordering {
        let by_prefix = self.prefix().cmp(&other.prefix());
        by_prefix.then_with(|| order.compare(&self.row, &other.row))
    }
}

/// So often rows are picked from a chunk, or changed in it, before it is brought in order, which costs about as much.
const PICKS: usize = if cfg!(test) { 3 } else { 16 };

/// A longer chunk is brought in order before it is changed.
const MOST_LOOSE: usize = 16 * CHUNK;

/// So many rows more a full chunk gets room for, while it is not in order.
const LOOSE_ROOM: usize = CHUNK / 8;

/// As many entries are brought in order by insertion.
const RUN: usize = 8;

/// Sorts entries by columns; those that are equal in them keep their order. Most are told apart without a look at the
/// rows.
pub(crate) fn bring_in_order(entries: &mut [Entry], mut columns: &[(usize, Direction)]) {
    type Placed = (u64, usize);
    let count = entries.len();
    let prefixes = entries.iter().map(Entry::prefix);
    let mut placed: Vec<Placed> = prefixes.zip(0..).collect();
    // Rows that are all the same in a column are sorted by the digits of the next one.
    while let [(_, direction), (next, ascending), ..] = *columns
        && let Some(&(digit, _)) = placed.first()
        && tells_all(digit, direction)
        && placed.iter().all(|other| other.0 == digit)
    {
        columns = &columns[1..];
        for (entry, placed) in entries.iter().zip(&mut placed) {
            placed.0 = Digits::of(entry.row.get(next), ascending).first();
        }
    }
    let direction = columns.first().map_or(Direction::Asc, |first| first.1);
    let by_rows = |a: usize, b: usize, columns: &[(usize, Direction)]| {
        compare_by(columns, &entries[a].row, &entries[b].row).is_gt()
    };
    let is_behind = |a: &Placed, b: &Placed| match a.0.cmp(&b.0) {
        Ordering::Equal if tells_all(a.0, direction) => match columns {
            [] | [_] => false,
            [_, rest @ ..] => by_rows(a.1, b.1, rest),
        },
        Ordering::Equal => by_rows(a.1, b.1, columns),
        ordering => ordering.is_gt(),
    };
    if placed.is_sorted_by(|a, b| !is_behind(a, b)) {
        return;
    }
    for run in placed.chunks_mut(RUN) {
        for end in 1..run.len() {
            let mut at = end;
            while at > 0 && is_behind(&run[at - 1], &run[at]) {
                run.swap(at - 1, at);
                at -= 1;
            }
        }
    }
    let mut width = RUN;
    let mut merged = Vec::with_capacity(count);
    while width < count {
        for both in placed.chunks(2 * width) {
            let (mut left, mut right) = both.split_at(width.min(both.len()));
            while let ([first, others @ ..], [second, rest @ ..]) = (left, right) {
                if is_behind(first, second) {
                    merged.push(*second);
                    right = rest;
                } else {
                    merged.push(*first);
                    left = others;
                }
            }
            merged.extend_from_slice(left);
            merged.extend_from_slice(right);
        }
        std::mem::swap(&mut placed, &mut merged);
        merged.clear();
        width *= 2;
    }
    arrange(
        entries,
        placed.into_iter().map(|(_, place)| place).collect(),
    );
}

/// Neighbours in an index, which the first one to look brings in order: most parts of most indexes are never read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chunk {
    entries: OnceCell<Vec<Entry>>,
    unsorted: RefCell<Vec<Entry>>,
    /// How many columns the others are to be sorted by.
    by: usize,
    /// How often rows were picked from them.
    picks: Cell<usize>,
}

impl Chunk {
    pub fn of(entries: Vec<Entry>) -> Chunk {
        Chunk {
            entries: OnceCell::from(entries),
            ..Chunk::default()
        }
    }

    pub fn unsorted(entries: Vec<Entry>, by: usize) -> Chunk {
        Chunk {
            unsorted: RefCell::new(entries),
            by,
            ..Chunk::default()
        }
    }

    /// How many entries are still to be brought in order.
    pub fn left_to_sort(&self) -> usize {
        match self.entries.get() {
            Some(_) => 0,
            None => self.unsorted.borrow().len(),
        }
    }

    /// The entries, brought in order if they are not.
    pub fn entries(&self, order: &Order) -> &Vec<Entry> {
        self.entries.get_or_init(|| {
            let mut entries = self.unsorted.take();
            let by = self.by.min(order.0.len());
            bring_in_order(&mut entries, &order.0[..by]);
            entries
        })
    }

    /// The entries, in order or not.
    pub fn all_mut(&mut self) -> &mut Vec<Entry> {
        match self.entries.get_mut() {
            Some(entries) => entries,
            None => self.unsorted.get_mut(),
        }
    }

    pub fn entries_mut(&mut self, order: &Order) -> &mut Vec<Entry> {
        self.entries(order);
        self.entries
            .get_mut()
            .expect("they were brought in order just now")
    }

    /// Whether a row is better changed where it is than brought in order with all others.
    pub fn takes_loose_changes(&self) -> bool {
        (1..=MOST_LOOSE).contains(&self.left_to_sort()) && self.picks.get() < PICKS
    }

    /// Adds a row among those that are not in order; one that is equal under the order is replaced. Whether it is new.
    pub fn insert_loose(&mut self, prefix: u64, row: Row, order: &Order) -> bool {
        let found = self.find_loose(prefix, &row, order);
        let entries = self.unsorted.get_mut();
        if let Some(at) = found {
            entries[at].row = row;
            return false;
        }
        if entries.len() == entries.capacity() {
            entries.reserve_exact(LOOSE_ROOM);
        }
        entries.push(Entry::new(prefix, row));
        self.by = order.0.len();
        true
    }

    /// Takes a row out of those that are not in order, if it is there.
    pub fn remove_loose(&mut self, prefix: u64, row: &Row, order: &Order) -> Option<Row> {
        let at = self.find_loose(prefix, row, order)?;
        self.by = order.0.len();
        Some(self.unsorted.get_mut().swap_remove(at).row)
    }

    fn find_loose(&mut self, prefix: u64, row: &Row, order: &Order) -> Option<usize> {
        *self.picks.get_mut() += 1;
        let is_it = |entry: &Entry| entry.has(prefix) && order.compare(&entry.row, row).is_eq();
        self.unsorted.get_mut().iter().position(is_it)
    }

    /// The rows with a prefix, which say that they are equal in the first column, in order. While few rows are asked
    /// for, the others need not be brought in order; `None` if it is time to do so.
    pub fn pick(&self, prefix: u64, order: &Order) -> Option<Vec<Row>> {
        let is_it = |entry: &&Entry| entry.has(prefix);
        let row = |entry: &Entry| entry.row.clone();
        if let Some(entries) = self.entries.get() {
            let from = entries.partition_point(|entry| entry.prefix() < prefix);
            return Some(entries[from..].iter().take_while(is_it).map(row).collect());
        }
        let picks = self.picks.get();
        self.picks.set(picks + 1);
        (picks < PICKS).then(|| {
            let mut rows: Vec<Row> = self
                .unsorted
                .borrow()
                .iter()
                .filter(is_it)
                .map(row)
                .collect();
            let by = order.0.get(1..self.by.min(order.0.len()));
            if let Some(columns @ [_, ..]) = by {
                sort_by(&mut rows, |a, b| compare_by(columns, a, b));
            }
            rows
        })
    }
}
