//! An ordered set of rows: 8 bytes of the first column, in order-preserving form, decide most comparisons.

use std::cmp::Ordering;

use landfall_zql::ast::Direction;
use landfall_zql::{Row, ValueRef};

use crate::source::IndexSpec;

/// Rows per chunk: an insertion moves at most this many entries.
const CHUNK: usize = 256;

#[derive(Clone, Debug)]
struct Entry {
    prefix: u64,
    row: Row,
}

/// Rows in the order of an [`IndexSpec`], which no two of them may be equal under.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    spec: IndexSpec,
    /// No chunk is empty.
    chunks: Vec<Vec<Entry>>,
    len: usize,
}

/// A place between two rows.
pub(crate) type Position = (usize, usize);

impl Index {
    pub fn new(spec: IndexSpec) -> Index {
        Index {
            spec,
            chunks: Vec::new(),
            len: 0,
        }
    }

    /// An index of many rows at once.
    pub fn build<'a>(spec: IndexSpec, rows: impl Iterator<Item = &'a Row>) -> Index {
        let mut entries: Vec<Entry> = rows
            .map(|row| Entry {
                prefix: prefix(&spec, row),
                row: row.clone(),
            })
            .collect();
        let by_order = |a: &Entry, b: &Entry| {
            a.prefix
                .cmp(&b.prefix)
                .then_with(|| spec.0.compare(&a.row, &b.row))
        };
        if !entries.is_sorted_by(|a, b| by_order(a, b).is_le()) {
            entries.sort_unstable_by(by_order);
        }
        let len = entries.len();
        let mut chunks = Vec::with_capacity(len / (CHUNK / 2) + 1);
        let mut entries = entries.into_iter();
        loop {
            // Half full, so that the first insertions split nothing.
            let chunk: Vec<Entry> = entries.by_ref().take(CHUNK / 2).collect();
            if chunk.is_empty() {
                break;
            }
            chunks.push(chunk);
        }
        Index { spec, chunks, len }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    fn compare(&self, entry: &Entry, prefix: u64, row: &Row) -> Ordering {
        entry
            .prefix
            .cmp(&prefix)
            .then_with(|| self.spec.0.compare(&entry.row, row))
    }

    /// Where `row` is, or where it belongs.
    fn find(&self, row: &Row) -> Result<Position, Position> {
        let prefix = prefix(&self.spec, row);
        let after = self
            .chunks
            .partition_point(|chunk| self.compare(&chunk[0], prefix, row).is_le());
        let Some(chunk) = after.checked_sub(1) else {
            return Err((0, 0));
        };
        match self.chunks[chunk].binary_search_by(|entry| self.compare(entry, prefix, row)) {
            Ok(at) => Ok((chunk, at)),
            Err(at) => Err((chunk, at)),
        }
    }

    /// Adds a row; one that is equal under the order is replaced.
    pub fn insert(&mut self, row: Row) {
        let entry = Entry {
            prefix: prefix(&self.spec, &row),
            row,
        };
        match self.find(&entry.row) {
            Ok((chunk, at)) => self.chunks[chunk][at] = entry,
            Err((chunk, at)) => {
                self.len += 1;
                if self.chunks.is_empty() {
                    self.chunks.push(vec![entry]);
                    return;
                }
                let entries = &mut self.chunks[chunk];
                entries.insert(at, entry);
                if entries.len() > CHUNK {
                    let upper = entries.split_off(CHUNK / 2);
                    self.chunks.insert(chunk + 1, upper);
                }
            }
        }
    }

    /// Takes a row out, if it is there.
    pub fn remove(&mut self, row: &Row) -> Option<Row> {
        let (chunk, at) = self.find(row).ok()?;
        let removed = self.chunks[chunk].remove(at);
        if self.chunks[chunk].is_empty() {
            self.chunks.remove(chunk);
        }
        self.len -= 1;
        Some(removed.row)
    }

    /// The row that is equal to this one under the order.
    pub fn get(&self, row: &Row) -> Option<&Row> {
        self.find(row)
            .ok()
            .map(|(chunk, at)| &self.chunks[chunk][at].row)
    }

    /// The first position at which `is_after` holds; it must hold for all rows after that one too.
    pub fn partition_point(&self, mut is_after: impl FnMut(&Row) -> bool) -> Position {
        let chunk = self
            .chunks
            .partition_point(|chunk| !is_after(&chunk[chunk.len() - 1].row));
        let Some(entries) = self.chunks.get(chunk) else {
            return (chunk, 0);
        };
        (
            chunk,
            entries.partition_point(|entry| !is_after(&entry.row)),
        )
    }

    /// The rows from a position on.
    pub fn iter_from(&self, (chunk, at): Position) -> impl Iterator<Item = &Row> {
        let first = self
            .chunks
            .get(chunk)
            .map_or(&[][..], |entries| &entries[at..]);
        let rest = self.chunks.iter().skip(chunk + 1).flatten();
        first.iter().chain(rest).map(|entry| &entry.row)
    }

    /// The rows before a position, last one first.
    pub fn iter_back_from(&self, (chunk, at): Position) -> impl Iterator<Item = &Row> {
        let first = self
            .chunks
            .get(chunk)
            .map_or(&[][..], |entries| &entries[..at]);
        let rest = self.chunks[..chunk.min(self.chunks.len())]
            .iter()
            .rev()
            .flat_map(|entries| entries.iter().rev());
        first.iter().rev().chain(rest).map(|entry| &entry.row)
    }

    /// Rows from all over, about `count`; all of them when there are no more.
    pub fn spread(&self, count: usize) -> impl Iterator<Item = &Row> {
        let step = self.len.div_ceil(count.max(1)).max(1);
        // Chunks that are smaller than a step give their first row, and some of them are passed over.
        let chunks = self
            .chunks
            .iter()
            .step_by(self.chunks.len().div_ceil(count.max(1)).max(1));
        chunks
            .flat_map(move |chunk| chunk.iter().step_by(step))
            .map(|entry| &entry.row)
    }

    /// All rows.
    pub fn iter(&self) -> impl Iterator<Item = &Row> {
        self.iter_from((0, 0))
    }
}

/// Eight bytes that are ordered as the first column is, as far as they go: smaller ones mean a smaller row.
fn prefix(IndexSpec(order): &IndexSpec, row: &Row) -> u64 {
    let Some((column, direction)) = order.0.first() else {
        return 0;
    };
    let ascending = match row.get(*column) {
        ValueRef::Null => 0,
        ValueRef::Bool(value) => 1 + u64::from(value),
        ValueRef::Number(value) => {
            // `+ 0.0` makes one zero of two; no finite number becomes 0, which is NULL's.
            let bits = (value + 0.0).to_bits();
            if bits >> 63 == 1 {
                !bits
            } else {
                bits | 1 << 63
            }
        }
        ValueRef::String(text) | ValueRef::Json(text) => {
            let mut bytes = [0; 8];
            let shown = text.len().min(8);
            bytes[..shown].copy_from_slice(&text.as_bytes()[..shown]);
            u64::from_be_bytes(bytes)
        }
    };
    match direction {
        Direction::Asc => ascending,
        Direction::Desc => !ascending,
    }
}
