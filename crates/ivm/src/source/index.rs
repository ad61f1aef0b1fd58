//! An ordered set of rows: eight bytes of the first column, in order-preserving form and without what its texts begin
//! with, decide most comparisons.

use std::cell::Cell;
use std::cmp::Ordering;
use std::rc::Rc;

use landfall_zql::ast::Direction;
use landfall_zql::{Row, ValueRef};

use crate::source::chunk::{Chunk, Entry, bring_in_order};
use crate::source::digits::{Beginning, Digits, is_coarse, tells_all};
use crate::source::{IndexSpec, SourceChange};

/// Rows per chunk: an insertion moves at most this many entries.
pub(crate) const CHUNK: usize = if cfg!(test) { 16 } else { 256 };
/// Rows per chunk of an index that was built at once, so that the first insertions split nothing.
pub(crate) const BUILT_CHUNK: usize = CHUNK / 4 * 3;

/// So many rows are looked at for a prefix while one is brought in order.
const PICKED: usize = 16;

/// Rows that are looked at for what they begin with.
const SAMPLE: usize = 128;

/// Rows in the order of an [`IndexSpec`], which no two of them may be equal under. A clone shares the chunks in which
/// neither has changed since.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    spec: IndexSpec,
    /// What the texts of the first column begin with.
    beginning: Beginning,
    /// No chunk is empty.
    chunks: Vec<Rc<Chunk>>,
    /// The first prefix of each chunk.
    firsts: Vec<u64>,
    len: usize,
    /// Whether chunks came that the first read brings in order.
    is_loose: bool,
    /// Rows that reads have brought in order.
    sorted: Cell<usize>,
}

/// A place between two rows.
pub(crate) type Position = (usize, usize);

impl Index {
    pub fn new(spec: IndexSpec) -> Index {
        Index {
            spec,
            beginning: Beginning::default(),
            chunks: Vec::new(),
            firsts: Vec::new(),
            len: 0,
            is_loose: false,
            sorted: Cell::default(),
        }
    }

    /// An index of a list of rows; quicker when they are in order already.
    pub fn build<'a>(spec: IndexSpec, rows: impl Iterator<Item = &'a Row>) -> Index {
        let mut index = Index::new(spec);
        let mut entries: Vec<Entry> = rows.map(|row| Entry::new(0, row.clone())).collect();
        let every = entries.len() / SAMPLE + 1;
        let mut sample = entries.iter().step_by(every).map(|entry| &entry.row);
        index.expect(&mut sample);
        for entry in &mut entries {
            entry.set_prefix(index.prefix(&entry.row));
        }
        bring_in_order(&mut entries, &index.spec.0.0);
        let mut entries = entries.into_iter();
        while entries.len() > 0 {
            index.push_chunk(entries.by_ref().take(BUILT_CHUNK).collect(), 0);
        }
        index
    }

    pub fn spec(&self) -> &IndexSpec {
        &self.spec
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Drops some rows of chunks that nobody shares, of an index that is not used any more. How many they were; 0 when none
    /// is left.
    pub fn shed(&mut self) -> usize {
        while let Some(chunk) = self.chunks.last_mut() {
            if let Some(chunk) = Rc::get_mut(chunk) {
                let entries = chunk.all_mut();
                let before = entries.len();
                entries.truncate(before.saturating_sub(CHUNK));
                if before > entries.len() {
                    return before - entries.len();
                }
            }
            self.chunks.pop();
        }
        0
    }

    /// Makes ready for rows like these, while there are none.
    pub fn expect(&mut self, sample: &mut dyn Iterator<Item = &Row>) {
        let (column, _) = self.first_column();
        self.beginning = Beginning::of(sample, column);
    }

    /// The most significant column; one that no row has if rows are not told apart.
    fn first_column(&self) -> (usize, Direction) {
        let first = self.spec.0.0.first();
        first.copied().unwrap_or((usize::MAX, Direction::Asc))
    }

    /// The digits of a value in the first ordered column.
    pub fn digits<'a>(&'a self, value: ValueRef<'a>) -> Digits<'a> {
        Digits::of(value, self.first_column().1).without(&self.beginning)
    }

    /// Whether rows with this prefix are equal in the first column.
    pub fn tells_all(&self, prefix: u64) -> bool {
        tells_all(prefix, self.first_column().1)
    }

    /// Whether rows with this prefix may differ in any way.
    pub fn is_coarse(&self, prefix: u64) -> bool {
        is_coarse(prefix, self.first_column().1)
    }

    /// The prefix that rows with this row's first ordered column have.
    pub fn prefix(&self, row: &Row) -> u64 {
        self.digits(row.get(self.first_column().0)).first()
    }

    /// Now and then while an index grows, prefixes are made anew for what its rows begin with by then.
    fn has_grown(&mut self) {
        let chunks = self.chunks.len();
        if !chunks.is_power_of_two() || !chunks.trailing_zeros().is_multiple_of(2) {
            return;
        }
        let (column, _) = self.first_column();
        let beginning = Beginning::of(&mut self.spread(SAMPLE).into_iter(), column);
        let is_own = |chunk: &mut Rc<Chunk>| Rc::get_mut(chunk).is_some();
        if beginning == self.beginning || !self.chunks.iter_mut().all(is_own) {
            return;
        }
        self.beginning = beginning;
        let mut chunks = std::mem::take(&mut self.chunks);
        for (chunk, first) in chunks.iter_mut().zip(0..) {
            let entries = Rc::make_mut(chunk).all_mut();
            for entry in entries.iter_mut() {
                entry.set_prefix(self.prefix(&entry.row));
            }
            let least = entries.iter().map(Entry::prefix).min();
            self.firsts[first] = least.unwrap_or_default();
        }
        self.chunks = chunks;
    }

    fn entries(&self, chunk: usize) -> &[Entry] {
        let chunk = self.chunks.get(chunk);
        chunk.map_or(&[], |chunk| self.read(chunk))
    }

    /// The entries of a chunk, in order.
    fn read<'a>(&self, chunk: &'a Chunk) -> &'a [Entry] {
        match chunk.left_to_sort() {
            0 => {}
            sorted => self.sorted.set(self.sorted.get() + sorted),
        }
        chunk.entries(&self.spec.0)
    }

    /// How many rows reads have had to bring in order since the last call.
    pub fn take_sorted(&self) -> usize {
        self.sorted.take()
    }

    /// Adds a chunk behind the others, which the first read sorts by so many columns; in the other ones it is in order.
    pub fn push_chunk(&mut self, entries: Vec<Entry>, by: usize) {
        let Some(first) = entries.iter().map(Entry::prefix).min() else {
            return;
        };
        self.firsts.push(first);
        self.len += entries.len();
        self.is_loose |= by > 0;
        self.chunks.push(Rc::new(match by {
            0 => Chunk::of(entries),
            by => Chunk::unsorted(entries, by),
        }));
    }

    /// How many chunks begin with a smaller prefix, and how many behind them with this one.
    fn chunks_at(&self, prefix: u64) -> (usize, usize) {
        let smaller = self.firsts.partition_point(|first| *first < prefix);
        let rest = &self.firsts[smaller..];
        let same = match rest.first() == Some(&prefix) {
            true => rest.partition_point(|first| *first == prefix),
            false => 0,
        };
        (smaller, same)
    }

    /// The first position that is not before a place; what is before it by its prefix, or by `is_before` if its
    /// prefix is the place's own, comes first.
    pub fn seek(&self, prefix: u64, is_before: &dyn Fn(&Row) -> bool) -> Position {
        let before = |entry: &Entry| match entry.prefix().cmp(&prefix) {
            Ordering::Equal => is_before(&entry.row),
            ordering => ordering.is_lt(),
        };
        // Chunks that begin with a smaller prefix, then those among the ones with this prefix that begin before.
        let (smaller, same) = self.chunks_at(prefix);
        let started = self.chunks[smaller..smaller + same]
            .partition_point(|chunk| before(&self.read(chunk)[0]));
        let Some(chunk) = (smaller + started).checked_sub(1) else {
            return (0, 0);
        };
        (chunk, self.entries(chunk).partition_point(before))
    }

    /// The rows with this prefix, which are equal in the first column, in order, if they are found without bringing
    /// others in order.
    pub fn pick(&self, prefix: u64) -> Option<Vec<Row>> {
        if !self.is_loose {
            return None;
        }
        // They may begin in the last chunk that begins before, and end in one that begins with them.
        let (smaller, same) = self.chunks_at(prefix);
        let chunks = &self.chunks[smaller.saturating_sub(1)..smaller + same];
        let unsorted: usize = chunks.iter().map(|chunk| chunk.left_to_sort()).sum();
        if same > 1 || unsorted == 0 {
            return None;
        }
        let mut picked = Vec::new();
        for chunk in chunks {
            picked.append(&mut chunk.pick(prefix, &self.spec.0)?);
        }
        // Each chunk is looked through, and what is picked is brought in order.
        self.sorted
            .set(self.sorted.get() + unsorted / PICKED + picked.len());
        Some(picked)
    }

    /// Where `row` is, or where it belongs.
    fn find(&self, prefix: u64, row: &Row) -> Result<Position, Position> {
        let (chunk, at) = self.seek(prefix, &|other| self.spec.0.compare(other, row).is_lt());
        let is_here = |&(chunk, at): &Position| {
            // Most chunks are told apart by their prefixes, and need no look.
            let may_be = self.firsts.get(chunk).is_some_and(|first| *first <= prefix);
            let entry = may_be.then(|| self.entries(chunk).get(at)).flatten();
            entry.is_some_and(|entry| {
                entry.prefix() == prefix && self.spec.0.compare(&entry.row, row).is_eq()
            })
        };
        // What follows the last row of a chunk is the first one of the next.
        let candidates = [(chunk, at), (chunk + 1, 0)];
        candidates.into_iter().find(is_here).ok_or((chunk, at))
    }

    /// The chunk that has all rows with this prefix, and others before them, if it is not in order and may stay so.
    fn loose_chunk(&self, prefix: u64) -> Option<usize> {
        if !self.is_loose {
            return None;
        }
        let behind = self.firsts.partition_point(|first| *first < prefix);
        let is_alone = self.firsts.get(behind) != Some(&prefix);
        let before = behind.checked_sub(1).filter(|_| is_alone);
        before.filter(|chunk| self.chunks[*chunk].takes_loose_changes())
    }

    /// Adds a row; one that is equal under the order is replaced.
    pub fn insert(&mut self, row: Row) {
        let prefix = self.prefix(&row);
        if let Some(chunk) = self.loose_chunk(prefix) {
            let chunk = Rc::make_mut(&mut self.chunks[chunk]);
            self.len += usize::from(chunk.insert_loose(prefix, row, &self.spec.0));
            return;
        }
        let found = self.find(prefix, &row);
        if self.chunks.is_empty() {
            return self.push_chunk(vec![Entry::new(prefix, row)], 0);
        }
        let (chunk, at) = found.unwrap_or_else(|at| at);
        let entries = Rc::make_mut(&mut self.chunks[chunk]).entries_mut(&self.spec.0);
        if found.is_ok() {
            entries[at].row = row;
            return;
        }
        self.len += 1;
        if entries.len() == entries.capacity() {
            let room = (entries.len() * 2).clamp(4, CHUNK);
            entries.reserve_exact(room.saturating_sub(entries.len()).max(1));
        }
        entries.insert(at, Entry::new(prefix, row));
        let upper = (entries.len() >= CHUNK).then(|| entries.split_off(entries.len() / 2));
        if at == 0 {
            self.firsts[chunk] = prefix;
        }
        if let Some(upper) = upper {
            self.firsts.insert(chunk + 1, upper[0].prefix());
            self.chunks.insert(chunk + 1, Rc::new(Chunk::of(upper)));
            self.has_grown();
        }
    }

    /// Adds a row, at no cost to speak of if it comes after all others.
    pub fn append(&mut self, row: Row) {
        let order = &self.spec.0;
        let prefix = self.prefix(&row);
        let entry = Entry::new(prefix, row);
        if let Some(chunk) = self.chunks.last_mut() {
            let entries = Rc::make_mut(chunk).entries_mut(order);
            let is_last = |last: &Entry| last.compare(&entry, order).is_lt();
            if !entries.last().is_some_and(is_last) {
                return self.insert(entry.row);
            }
            if entries.len() < BUILT_CHUNK {
                if entries.len() == entries.capacity() {
                    entries.reserve_exact(BUILT_CHUNK - entries.len());
                }
                entries.push(entry);
                self.len += 1;
                return;
            }
        }
        self.push_chunk(vec![entry], 0);
        self.has_grown();
    }

    /// Takes a row out, if it is there.
    pub fn remove(&mut self, row: &Row) -> Option<Row> {
        let prefix = self.prefix(row);
        if let Some(chunk) = self.loose_chunk(prefix) {
            let chunk = Rc::make_mut(&mut self.chunks[chunk]);
            let removed = chunk.remove_loose(prefix, row, &self.spec.0);
            self.len -= usize::from(removed.is_some());
            return removed;
        }
        let (chunk, at) = self.find(prefix, row).ok()?;
        let entries = Rc::make_mut(&mut self.chunks[chunk]).entries_mut(&self.spec.0);
        let removed = entries.remove(at);
        match entries.first() {
            Some(first) => self.firsts[chunk] = first.prefix(),
            None => {
                self.chunks.remove(chunk);
                self.firsts.remove(chunk);
            }
        }
        self.len -= 1;
        Some(removed.row)
    }

    /// Puts one version of a row in place of another; the new one is added even if the old one is not there.
    pub fn replace(&mut self, old: &Row, new: Row) {
        if self.spec.0.compare(old, &new).is_ne() {
            self.remove(old);
        }
        self.insert(new);
    }

    /// The row that is equal to this one under the order.
    pub fn equal_to(&self, row: &Row) -> Option<&Row> {
        let prefix = self.prefix(row);
        let order = &self.spec.0;
        let last = self.chunks.last()?.entries(order).last()?;
        let by_prefix = last.prefix().cmp(&prefix);
        // What comes in order, as most does, is only compared to the last.
        match by_prefix.then_with(|| order.compare(&last.row, row)) {
            Ordering::Less => None,
            Ordering::Equal => Some(&last.row),
            Ordering::Greater => self.find(prefix, row).ok().and_then(|at| self.get(at)),
        }
    }

    /// The rows behind this one, or all.
    pub fn iter_after(&self, row: Option<&Row>) -> impl Iterator<Item = &Row> {
        let at = row.map(|row| {
            let not_after = |other: &Row| self.spec.0.compare(other, row).is_le();
            self.seek(self.prefix(row), &not_after)
        });
        self.iter_from(at.unwrap_or_default())
    }

    /// Carries out a change of the table.
    pub fn put(&mut self, change: &SourceChange) {
        match (&change.old, &change.new) {
            (Some(old), Some(new)) => self.replace(old, new.clone()),
            (Some(old), None) => drop(self.remove(old)),
            (None, Some(new)) => self.insert(new.clone()),
            (None, None) => {}
        }
    }

    /// The row at a position, if there is one.
    pub fn get(&self, position: Position) -> Option<&Row> {
        self.iter_from(position).next()
    }

    /// The entries from a position on.
    pub fn entries_from(&self, (chunk, at): Position) -> impl Iterator<Item = &Entry> {
        let first = self.entries(chunk).get(at..).unwrap_or_default();
        let rest = self.chunks.iter().skip(chunk + 1);
        first.iter().chain(rest.flat_map(|chunk| self.read(chunk)))
    }

    /// The entries before a position, last one first.
    pub fn entries_back_from(&self, (chunk, at): Position) -> impl Iterator<Item = &Entry> {
        let first = self.entries(chunk).get(..at).unwrap_or_default();
        let rest = self.chunks[..chunk.min(self.chunks.len())].iter().rev();
        let rest = rest.flat_map(|chunk| self.read(chunk).iter().rev());
        first.iter().rev().chain(rest)
    }

    /// The rows from a position on.
    pub fn iter_from(&self, position: Position) -> impl Iterator<Item = &Row> {
        self.entries_from(position).map(|entry| &entry.row)
    }

    /// Rows from all over, about `count`; all of them when there are no more. Distances between them vary, so that
    /// what repeats at regular distances is met as often as it occurs.
    pub fn spread(&self, count: usize) -> Vec<&Row> {
        if count >= self.len {
            return self.iter().collect();
        }
        let chunks = self.chunks.len();
        let mut rows = Vec::with_capacity(count);
        for number in 0..chunks {
            let chunk = self.entries(number);
            let wanted = (number + 1) * count / chunks - number * count / chunks;
            let wanted = wanted.min(chunk.len());
            for part in 0..wanted {
                let (from, to) = (
                    part * chunk.len() / wanted,
                    (part + 1) * chunk.len() / wanted,
                );
                // Any number will do that has nothing to do with the data.
                let noise = (number * 31 + part).wrapping_mul(0x9E37_79B1) >> 7;
                rows.push(&chunk[from + noise % (to - from)].row);
            }
        }
        rows
    }

    /// The position behind the last row.
    pub fn end(&self) -> Position {
        (self.chunks.len(), 0)
    }

    /// All rows.
    pub fn iter(&self) -> impl Iterator<Item = &Row> {
        self.iter_from((0, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_zql::ValueRef;
    use landfall_zql::ast::Direction;
    use landfall_zql::ordering::Order;
    use proptest::prelude::*;

    fn row((a, b): &(Option<String>, i32)) -> Row {
        let text = a.as_deref().map_or(ValueRef::Null, ValueRef::String);
        Row::from_values([text, ValueRef::Number(f64::from(*b))])
    }

    fn spec(direction: Direction) -> IndexSpec {
        IndexSpec(Order(vec![(0, direction), (1, Direction::Asc)]))
    }

    fn same(index: &Index, expected: &[Row]) {
        let found: Vec<&Row> = index.iter().collect();
        assert_eq!(found, expected.iter().collect::<Vec<_>>());
        let back = index.entries_back_from(index.end());
        let back: Vec<&Row> = back.map(|entry| &entry.row).collect();
        assert_eq!(back, expected.iter().rev().collect::<Vec<_>>());
        assert_eq!(index.len(), expected.len());
        let firsts = (0..index.chunks.len()).map(|chunk| index.entries(chunk)[0].prefix());
        assert!(firsts.eq(index.firsts.iter().copied()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn built_and_filled_indexes_are_sorted_lists(
            values in prop::collection::vec((prop::option::of("[a\u{0}b]{0,16}"), -600..600i32), 0..1500),
            beginning in prop::sample::select(vec!["", "issue_"]),
            descending in any::<bool>(),
        ) {
            let begin = |(text, number)| match number {
                -590..590 => (Option::map(text, |text: String| format!("{beginning}{text}")), number),
                number => (text, number),
            };
            let values: Vec<_> = values.into_iter().map(begin).collect();
            let spec = spec(if descending { Direction::Desc } else { Direction::Asc });
            let mut rows: Vec<Row> = values.iter().map(row).collect();
            let mut filled = Index::new(spec.clone());
            rows.iter().for_each(|row| filled.insert(row.clone()));
            rows.sort_by(|a, b| spec.0.compare(a, b));
            rows.dedup_by(|a, b| spec.0.compare(a, b).is_eq());
            same(&filled, &rows);
            let mut appended = Index::new(spec.clone());
            rows.iter().step_by(2).for_each(|row| appended.append(row.clone()));
            let before = appended.clone();
            rows.iter().skip(1).step_by(2).rev().for_each(|row| appended.append(row.clone()));
            same(&appended, &rows);
            same(&before, &rows.iter().step_by(2).cloned().collect::<Vec<_>>());
            let shuffled: Vec<&Row> = rows.iter().step_by(2).chain(rows.iter().skip(1).step_by(2)).collect();
            let mut built = Index::build(spec.clone(), shuffled.into_iter());
            same(&built, &rows);
            for gone in rows.iter().step_by(3) {
                prop_assert_eq!(built.remove(gone), Some(gone.clone()));
                prop_assert_eq!(built.remove(gone), None);
            }
            let left: Vec<Row> = rows.iter().enumerate().filter(|(at, _)| at % 3 != 0).map(|(_, row)| row.clone()).collect();
            same(&built, &left);
            for (at, row) in rows.iter().enumerate().step_by(5) {
                prop_assert_eq!(built.equal_to(row), (at % 3 != 0).then_some(row));
                let after = built.iter_after(Some(row)).cloned().collect::<Vec<_>>();
                let behind = rows.iter().enumerate().skip(at + 1).filter(|(at, _)| at % 3 != 0);
                prop_assert_eq!(after, behind.map(|(_, row)| row.clone()).collect::<Vec<_>>());
            }
            prop_assert_eq!(built.iter_after(None).count(), left.len());
            rows.iter().for_each(|row| built.replace(row, row.clone()));
            same(&built, &rows);
        }
    }
}
