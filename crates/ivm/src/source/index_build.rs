//! Building an index of many rows, in as many steps as the host likes.
//!
//! Rows are dealt out to bins by a digit of their first column, between bounds that a sample has given; bins that are
//! still too large are dealt out again, by the next digit where all have the same one. Small bins are the chunks of
//! the index: what order their rows have is left to the first read.

use std::ops::ControlFlow;
use std::vec::IntoIter;

use landfall_zql::Row;
use landfall_zql::ast::Direction;
use landfall_zql::ordering::Order;
use landfall_zql::sort::sort;

use crate::source::chunk::Entry;
use crate::source::digits::Digits;
use crate::source::index::{BUILT_CHUNK, CHUNK, Index};
use crate::source::{IndexSpec, SourceChange};
use crate::steps::{Progress, Steps};

/// Rows per bin, on average.
const BIN: usize = CHUNK;
/// So many rows are brought in order at a time.
const LOOSE_CHUNK: usize = 8 * CHUNK;
/// Bins at a time: the places where the next rows go fit into fast memory.
const BINS: usize = if cfg!(test) { 16 } else { 1024 };
/// Sampled rows per bin.
const SAMPLES: usize = 3;
/// So many rows of a bin become part of a chunk in a step.
const BINNED_PER_STEP: usize = 16;
/// Rows that are looked at at a time.
const AT_A_TIME: usize = 64;

/// An index that is being built.
#[derive(Debug)]
pub(crate) struct IndexBuild {
    /// All that is before the bins.
    index: Index,
    /// The order in which the table is read.
    arrival: Order,
    /// How far the table has been read.
    last: Option<Row>,
    is_read: bool,
    deal: Deal,
    /// Bins that are left, the last one first.
    bins: Vec<Bin>,
    /// Changes of rows that were read before they changed.
    late: Vec<SourceChange>,
}

/// A digit of a row: of which of the ordered columns, and which of its digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    column: usize,
    digit: usize,
}

/// The place of the digit that stands beside the row.
const FIRST: Place = Place {
    column: 0,
    digit: 0,
};

/// Rows that come one after another.
#[derive(Debug)]
struct Bin {
    entries: Vec<Entry>,
    /// The first digit that they may differ in, if they can be dealt out.
    place: Option<Place>,
}

/// Rows that are being dealt out.
#[derive(Debug)]
struct Deal {
    place: Place,
    /// The smallest digit of each bin but the first.
    bounds: Vec<u64>,
    slots: Slots,
    bins: Vec<Vec<Entry>>,
    /// How many rows a bin has room for at first.
    room: usize,
    /// What is left to be dealt.
    rest: IntoIter<Entry>,
}

impl IndexBuild {
    /// Begins an index of the rows of a table, which are read in the order of another.
    pub fn new(spec: IndexSpec, table: &Index) -> IndexBuild {
        let sample = table.spread(bins(table.len()) * SAMPLES);
        let mut index = Index::new(spec);
        index.expect(&mut sample.iter().copied());
        let sample = sample.into_iter().map(|row| index.prefix(row)).collect();
        IndexBuild {
            arrival: table.spec().0.clone(),
            last: None,
            is_read: false,
            deal: Deal::new(FIRST, sample, table.len(), Vec::new()),
            bins: Vec::new(),
            late: Vec::new(),
            index,
        }
    }

    /// How many steps [`IndexBuild::new`] was.
    pub fn begun(&self) -> usize {
        self.deal.bounds.len()
    }

    /// Goes on until the steps are spent, but a little in any case. Each row costs a step whenever it is dealt.
    pub fn go_on(&mut self, table: &Index, steps: &Steps) -> Progress {
        let mut has_moved = false;
        if !self.is_read {
            let from = match &self.last {
                Some(last) => {
                    let order = &table.spec().0;
                    let is_read = |row: &Row| order.compare(row, last).is_le();
                    table.seek(table.prefix(last), &is_read)
                }
                None => (0, 0),
            };
            let mut last: Option<&Row> = None;
            // Some at a time are fetched, looked at, and dealt: so the processor waits for several rows at once.
            let mut fetched: Vec<Entry> = Vec::with_capacity(AT_A_TIME);
            let done = table.iter_from(from).try_for_each(|row| {
                if std::mem::replace(&mut has_moved, true) && steps.are_spent() {
                    return ControlFlow::Break(());
                }
                steps.spend();
                last = Some(row);
                fetched.push(Entry::new(0, row.clone()));
                if fetched.len() == AT_A_TIME {
                    self.deal_all(&mut fetched);
                }
                ControlFlow::Continue(())
            });
            self.deal_all(&mut fetched);
            if done.is_break() {
                self.last = last.cloned();
                return Progress::More;
            }
            self.is_read = true;
        }
        loop {
            while let Some(entry) = self.deal.rest.next() {
                steps.spend();
                let digit = self.digit(&entry, self.deal.place);
                self.deal.give(digit, entry);
                if std::mem::replace(&mut has_moved, true) && steps.are_spent() {
                    return Progress::More;
                }
            }
            self.collect();
            match self.next_deal(steps) {
                ControlFlow::Break(progress) => return progress,
                ControlFlow::Continue(()) => {}
            }
        }
    }

    /// Notes a change of the table that is about to happen.
    pub fn note(&mut self, change: &SourceChange) {
        let is_read = |row: &Row| {
            let last = self.last.as_ref();
            self.is_read || last.is_some_and(|last| self.arrival.compare(row, last).is_le())
        };
        let late = SourceChange {
            table: change.table,
            old: change.old.clone().filter(is_read),
            new: change.new.clone().filter(is_read),
        };
        if late.old.is_some() || late.new.is_some() {
            self.late.push(late);
        }
    }

    /// How many changes wait for the end.
    pub fn late(&self) -> usize {
        self.late.len()
    }

    /// The index, when all is done.
    pub fn finish(mut self) -> Index {
        for change in &self.late {
            self.index.put(change);
        }
        self.index
    }

    fn deal_all(&mut self, entries: &mut Vec<Entry>) {
        for entry in entries.iter_mut() {
            entry.set_prefix(self.index.prefix(&entry.row));
        }
        for entry in entries.drain(..) {
            self.deal.give(entry.prefix(), entry);
        }
    }

    /// Takes what was dealt as bins of its own.
    fn collect(&mut self) {
        let bins = std::mem::take(&mut self.deal.bins);
        let Deal { place, bounds, .. } = &self.deal;
        for (number, entries) in bins.into_iter().enumerate().rev() {
            let Some(first) = entries.first() else {
                continue;
            };
            let from = number.checked_sub(1).map_or(0, |before| bounds[before]);
            let to = bounds.get(number).map_or(u64::MAX, |next| next - 1);
            let place = match from == to {
                true if *place == FIRST && self.index.is_coarse(from) => None,
                true => Some(self.behind(*place, &first.row)),
                false => Some(*place),
            };
            self.bins.push(Bin { entries, place });
        }
    }

    /// The place after one whose digits are all the same.
    fn behind(&self, place: Place, row: &Row) -> Place {
        if self.digits(row, place.column).goes_on(place.digit) {
            Place {
                digit: place.digit + 1,
                ..place
            }
        } else {
            Place {
                column: place.column + 1,
                digit: 0,
            }
        }
    }

    /// Makes chunks of bins up to one that has to be dealt out, or until the steps are spent.
    fn next_deal(&mut self, steps: &Steps) -> ControlFlow<Progress> {
        while let Some(Bin { mut entries, place }) = self.bins.pop() {
            steps.spend_many(1 + entries.len() / BINNED_PER_STEP);
            let many = place.filter(|_| entries.len() > LOOSE_CHUNK);
            let Some(place) = many else {
                entries.shrink_to_fit();
                self.index.push_chunk(entries, self.unsorted_columns());
                if steps.are_spent() && !self.bins.is_empty() {
                    return ControlFlow::Break(Progress::More);
                }
                continue;
            };
            if self.is_in_order(place) {
                let mut entries = entries.into_iter();
                while entries.len() > 0 {
                    let chunk = entries.by_ref().take(BUILT_CHUNK).collect();
                    self.index.push_chunk(chunk, 0);
                }
            } else {
                let count = entries.len();
                let every = (count / (bins(count) * SAMPLES)).max(1);
                let sample = entries.iter().step_by(every);
                let sample = sample.map(|entry| self.digit(entry, place));
                self.deal = Deal::new(place, sample.collect(), count, entries);
                return ControlFlow::Continue(());
            }
        }
        ControlFlow::Break(Progress::Done)
    }

    fn digit(&self, entry: &Entry, place: Place) -> u64 {
        match place {
            FIRST => entry.prefix(),
            Place { column, digit } => self.digits(&entry.row, column).at(digit),
        }
    }

    /// The digits of one of the ordered columns.
    fn digits<'a>(&'a self, row: &'a Row, number: usize) -> Digits<'a> {
        let part = self.index.spec().0.0.get(number).copied();
        let (column, direction) = part.unwrap_or((usize::MAX, Direction::Asc));
        match number {
            0 => self.index.digits(row.get(column)),
            _ => Digits::of(row.get(column), direction),
        }
    }

    /// How many of the ordered columns rows have not come in the order of.
    fn unsorted_columns(&self) -> usize {
        let count = self.index.spec().0.0.len();
        let behind = |column: &usize| {
            self.is_in_order(Place {
                column: *column,
                digit: 0,
            })
        };
        (0..count).find(behind).unwrap_or(count)
    }

    /// Whether rows that are the same before a place have come in the order of what is behind it.
    fn is_in_order(&self, place: Place) -> bool {
        let columns = &self.index.spec().0.0;
        let (same, rest) = columns.split_at(place.column.min(columns.len()));
        let is_open = |part: &&(usize, Direction)| same.iter().all(|(column, _)| *column != part.0);
        place.digit == 0 && rest.iter().eq(self.arrival.0.iter().filter(is_open))
    }
}

impl Deal {
    /// Deals so many rows out by the digits at a place, of which there is a sample.
    fn new(place: Place, mut sample: Vec<u64>, count: usize, entries: Vec<Entry>) -> Deal {
        sort(&mut sample);
        let mut bounds: Vec<u64> = Vec::with_capacity(sample.len() / SAMPLES + 1);
        for digit in sample.into_iter().step_by(SAMPLES) {
            // A digit that many rows have gets a bin of its own.
            if bounds.last() == Some(&digit) {
                bounds.extend(digit.checked_add(1));
            } else if bounds.last().is_none_or(|last| *last < digit) {
                bounds.push(digit);
            }
        }
        Deal {
            place,
            slots: Slots::of(&bounds),
            bins: std::iter::repeat_with(Vec::new)
                .take(bounds.len() + 1)
                .collect(),
            room: count / (bounds.len() + 1) / 4 * 5 + 4,
            bounds,
            rest: entries.into_iter(),
        }
    }

    fn give(&mut self, digit: u64, entry: Entry) {
        let bin = self.slots.count_up_to(digit, &self.bounds);
        let bin = &mut self.bins[bin];
        if bin.capacity() == 0 {
            bin.reserve_exact(self.room);
        }
        bin.push(entry);
    }
}

/// Where to look among sorted numbers: equal parts of what is between the first and the last one, and how many of the
/// numbers are before each part. There are more parts than numbers, since those of texts lie close together.
#[derive(Debug)]
struct Slots {
    least: u64,
    shift: u32,
    before: Vec<u16>,
}

impl Slots {
    fn of(sorted: &[u64]) -> Slots {
        let (least, most) = match sorted {
            [] => (0, 0),
            [least, ..] => (*least, sorted[sorted.len() - 1]),
        };
        let count = (8 * sorted.len()).next_power_of_two();
        let bits = u64::BITS - (most - least).leading_zeros();
        let shift = bits.saturating_sub(count.trailing_zeros());
        // Behind the last part there is one for all that is greater.
        let mut before = vec![0; count + 2];
        for number in sorted {
            before[((number - least) >> shift) as usize + 1] += 1;
        }
        for slot in 1..before.len() {
            before[slot] += before[slot - 1];
        }
        Slots {
            least,
            shift,
            before,
        }
    }

    /// How many of the numbers are at most this one.
    fn count_up_to(&self, number: u64, sorted: &[u64]) -> usize {
        let slot = number.saturating_sub(self.least) >> self.shift;
        let slot = (slot.min(u64::from(u32::MAX)) as usize).min(self.before.len() - 2);
        let (from, to) = (self.before[slot] as usize, self.before[slot + 1] as usize);
        from + sorted[from..to].partition_point(|other| *other <= number)
    }
}

/// How many bins so many rows are dealt out to.
fn bins(rows: usize) -> usize {
    (rows / BIN).min(BINS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_zql::{TableId, ValueRef};
    use proptest::prelude::*;

    /// Key, few values, texts that begin alike.
    fn row((id, few, text): (u16, u8, &str)) -> Row {
        let few = match few {
            0 => ValueRef::Null,
            few => ValueRef::Number(f64::from(few) - 2.5),
        };
        Row::from_values([ValueRef::Number(f64::from(id)), few, ValueRef::String(text)])
    }

    fn order(columns: &[usize], direction: Direction) -> Order {
        Order(columns.iter().map(|column| (*column, direction)).collect())
    }

    /// So many that they are dealt out, and none of them was there when the beginning was found.
    #[test]
    fn texts_outside_the_common_beginning_are_in_order() {
        let count = 2 * LOOSE_CHUNK as u16;
        let text = |id: u16| match id < count {
            true => format!("one and the same {:05}", id.wrapping_mul(7919)),
            false => format!("other {:05}", id.wrapping_mul(7919)),
        };
        let rows: Vec<Row> = (0..2 * count).map(|id| row((id, 1, &text(id)))).collect();
        let (before, later) = rows.split_at(count.into());
        let mut table = Index::build(IndexSpec(order(&[0], Direction::Asc)), before.iter());
        for direction in [Direction::Asc, Direction::Desc] {
            let spec = IndexSpec(order(&[2, 0], direction));
            let mut build = IndexBuild::new(spec.clone(), &table);
            later.iter().for_each(|row| table.insert(row.clone()));
            assert_eq!(build.go_on(&table, &Steps::unlimited()), Progress::Done);
            later.iter().for_each(|row| drop(table.remove(row)));
            let mut expected: Vec<&Row> = rows.iter().collect();
            expected.sort_by(|a, b| spec.0.compare(a, b));
            assert!(build.finish().iter().eq(expected));
        }
    }

    proptest! {
        #[test]
        fn slots_count_as_a_search_does(mut sorted in prop::collection::vec(any::<u64>(), 0..40), by in 0u32..64, number: u64, near in 0..3u64) {
            sorted.iter_mut().for_each(|number| *number >>= by);
            sorted.sort_unstable();
            let slots = Slots::of(&sorted);
            let near = sorted.iter().map(|other| other.saturating_add(near).saturating_sub(1));
            for number in near.chain([0, u64::MAX, number, number >> by]) {
                let expected = sorted.partition_point(|other| *other <= number);
                prop_assert_eq!(slots.count_up_to(number, &sorted), expected);
            }
        }
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![1 => "[ab]{0,3}", 200 => "one and the same [ab]{0,9}", 1 => "p[ab]{0,9}"]
    }

    /// A row that goes, changes or comes, in a table that began with so many.
    fn change(
        table: &Index,
        count: usize,
        (id, few, text): (u16, u8, &str),
        goes: bool,
    ) -> SourceChange {
        let new = row((id % (2 * count.max(1) as u16 + 3), few, text));
        let old = table.iter().find(|old| old.get(0) == new.get(0)).cloned();
        SourceChange {
            table: TableId(0),
            new: (!goes || old.is_none()).then_some(new),
            old,
        }
    }

    /// What is picked first: that reads parts that are not in order.
    fn has_what_the_table_has(built: &Index, table: &Index) -> Result<(), TestCaseError> {
        let mut expected: Vec<&Row> = table.iter().collect();
        expected.sort_by(|a, b| built.spec().0.compare(a, b));
        prop_assert_eq!(built.len(), expected.len());
        for row in expected.iter().step_by(3) {
            let prefix = built.prefix(row);
            let picked = built.pick(prefix).filter(|_| built.tells_all(prefix));
            let same = expected
                .iter()
                .copied()
                .filter(|other| built.prefix(other) == prefix);
            prop_assert!(picked.is_none_or(|picked| same.eq(&picked)));
        }
        let back = built.entries_back_from(built.end());
        let back: Vec<&Row> = back.map(|entry| &entry.row).collect();
        prop_assert!(back.into_iter().rev().eq(expected.iter().copied()));
        prop_assert!(built.iter().eq(expected));
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn an_index_made_in_steps_while_rows_change_has_what_the_table_has(
            values in prop::collection::vec((0..4u8, text()), 0..40 * CHUNK),
            columns in prop::sample::select(vec![vec![1, 0], vec![2, 0], vec![1, 2, 0], vec![2, 1, 0]]),
            descending in any::<bool>(),
            slices in prop::collection::vec((0..300usize, any::<u16>(), 0..4u8, text(), any::<bool>()), 1..60),
        ) {
            let direction = if descending { Direction::Desc } else { Direction::Asc };
            let spec = IndexSpec(order(&columns, direction));
            let rows = values.iter().enumerate();
            let rows: Vec<Row> = rows.map(|(id, (few, text))| row((id as u16 * 2, *few, text))).collect();
            let mut table = Index::build(IndexSpec(order(&[0], Direction::Asc)), rows.iter());
            let mut build = IndexBuild::new(spec.clone(), &table);
            let mut slices = slices.into_iter();
            loop {
                let Some((steps, id, few, text, goes)) = slices.next() else {
                    prop_assert_eq!(build.go_on(&table, &Steps::unlimited()), Progress::Done);
                    break;
                };
                if build.go_on(&table, &Steps::new(steps)) == Progress::Done {
                    break;
                }
                let change = change(&table, values.len(), (id, few, &text), goes);
                build.note(&change);
                table.put(&change);
            }
            let built = build.finish();
            has_what_the_table_has(&built, &table)?;
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn rows_change_before_anything_is_read(
            values in prop::collection::vec((0..4u8, text()), 0..40 * CHUNK),
            columns in prop::sample::select(vec![vec![0], vec![1, 0], vec![2, 0], vec![1, 2, 0], vec![2, 1, 0]]),
            descending in any::<bool>(),
            writes in prop::collection::vec((any::<u16>(), 0..4u8, text(), any::<bool>()), 1..150),
        ) {
            let direction = if descending { Direction::Desc } else { Direction::Asc };
            let spec = IndexSpec(order(&columns, direction));
            let row_of = |(id, (few, text)): (usize, &(u8, String))| row((id as u16 * 2, *few, text));
            let mut table = Index::build(
                IndexSpec(order(&[0], Direction::Asc)),
                values.iter().enumerate().map(row_of).collect::<Vec<_>>().iter(),
            );
            let mut build = IndexBuild::new(spec.clone(), &table);
            prop_assert_eq!(build.go_on(&table, &Steps::unlimited()), Progress::Done);
            let mut built = build.finish();
            let (untouched, before) = (built.clone(), table.clone());
            for (id, few, text, goes) in writes {
                let change = change(&table, values.len(), (id, few, &text), goes);
                built.put(&change);
                table.put(&change);
                prop_assert_eq!(built.len(), table.len());
            }
            for (built, table) in [(built, table), (untouched, before)] {
                has_what_the_table_has(&built, &table)?;
            }
        }
    }
}
