//! Drive: finds the rows of a level from its condition, by values or from the children that an `EXISTS` asks for,
//! where the level would otherwise be read from end to end.
//!
//! What it gives are at least the rows that meet the condition, all of them rows of its input: the condition itself
//! is decided behind it, or by the connection. So a driver changes what is read and never what comes out.

use std::cell::RefCell;
use std::ops::{ControlFlow, Range};

use landfall_zql::ordering::Order;
use landfall_zql::predicate::Lookup;
use landfall_zql::sort::{Sorting, arrange, sort};
use landfall_zql::{Key, Row, ValueRef, join_eq};

use crate::change::{Change, Node};
use crate::error::SourceError;
use crate::operators::join::Join;
use crate::pipeline::{JoinId, OpId, Reader, Request};
use crate::source::{Basis, Sink, Start};
use crate::steps::{Pause, Progress};

#[derive(Debug)]
pub(crate) struct Drive {
    pub input: OpId,
    pub driver: Driver,
    /// A fetch is driven if it is constrained on exactly these columns, which are sorted; others are few rows anyway.
    pub columns: Vec<usize>,
    pub order: Order,
    /// Whether hydration may break off here and go on later.
    pub resumes: bool,
    /// What was found for a fetch that has not finished with it, or near the place where a take looked for a row.
    pub found: RefCell<Option<Found>>,
    /// What is being found.
    pub search: RefCell<Option<(Key, Search)>>,
}

/// What was found with these values in the columns, in order, nothing left out in between. Changes keep it true.
#[derive(Debug)]
pub(crate) struct Found {
    key: Key,
    rows: Vec<Row>,
    /// Whether there is more before the first of them, and behind the last.
    is_cut: [bool; 2],
    /// How many are kept on either side of a place: in proportion to all, so that their use makes up for the search.
    near: usize,
}

/// A search that stops when the steps are spent and goes on later.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// How many of the driver's leaves are done with.
    leaves: usize,
    /// Of the present one: where its children are read on, or the rows of a look-up, and the keys that children have.
    position: Option<Row>,
    keys: Vec<Key>,
    has_keys: bool,
    /// How many keys or values have been looked up.
    looked_up: usize,
    rows: Vec<Row>,
    /// Once all are found.
    sorting: Option<Sorting>,
}

/// Where candidates come from.
#[derive(Clone, Debug)]
pub(crate) enum Driver {
    /// Rows with these values.
    Lookups(Vec<Lookup>),
    /// Parents of the rows that a child level gives.
    Children(JoinId),
    /// Whatever one of these finds.
    Any(Vec<Driver>),
}

/// Columns with the values that they must equal: sorted by column, each at most once.
type Columns<'a> = [(usize, ValueRef<'a>)];

impl Drive {
    pub fn fetch(
        &self,
        reader: Reader<'_>,
        request: &Request<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), SourceError> {
        let constrained = request.constraint.iter().map(|(column, _)| column);
        if !constrained.eq(&self.columns) {
            return reader.fetch(self.input, request, sink);
        }
        let key = Key(Row::from_values(
            request.constraint.iter().map(|(_, value)| *value),
        ));
        let reverse = request.reverse;
        // Where what was kept came to its end.
        let mut end: Option<Row> = None;
        loop {
            let start = match &end {
                Some(row) => Some(Start {
                    row,
                    basis: Basis::At,
                }),
                None => request.start,
            };
            let serves =
                |found: &mut Found| found.key == key && self.part(found, start, reverse).is_some();
            let known = self.found.borrow_mut().take_if(serves);
            let is_kept = known.is_some() || self.resumes || request.pause.is_some();
            let found = match known {
                Some(found) => found,
                None => match self.candidates(reader, request, &key)? {
                    Some(rows) => Found::all(key.clone(), rows),
                    None => {
                        request.pause.inspect(|pause| pause.stop(end));
                        return Ok(());
                    }
                },
            };
            let part = self.part(&found, start, reverse).unwrap_or_default();
            for at in 0..part.len() {
                let row = match reverse {
                    true => &found.rows[part.end - 1 - at],
                    false => &found.rows[part.start + at],
                };
                if !request.pauses(reader, row) {
                    reader.steps.spend();
                    if sink(row).is_continue() {
                        continue;
                    }
                }
                if is_kept {
                    self.found.replace(Some(found));
                }
                return Ok(());
            }
            end = found.end(reverse).cloned();
            if end.is_none() {
                return Ok(());
            }
        }
    }

    /// Which of what was found comes from a start on; `None` if there may be a row before that which is not known.
    fn part(
        &self,
        Found { rows, is_cut, .. }: &Found,
        start: Option<Start<'_>>,
        reverse: bool,
    ) -> Option<Range<usize>> {
        let is_before = |row: &Row| start.is_some_and(|start| self.is_before(row, start, reverse));
        let at = rows.partition_point(|row| is_before(row) != reverse);
        // The row at a cut is where the next search begins.
        let [first, behind] = is_cut.map(usize::from);
        let last = rows.len().saturating_sub(behind);
        let part = if reverse { first..at } else { at..last };
        let is_known = (first..=last).contains(&at);
        (is_known && !(part.is_empty() && is_cut[usize::from(!reverse)])).then_some(part)
    }

    /// Keeps what was found true when a row comes, leaves or may meet the condition from now on.
    pub fn see(&self, change: &Change) {
        let mut kept = self.found.borrow_mut();
        let Some(found) = kept.as_mut() else { return };
        let Found {
            key, rows, is_cut, ..
        } = found;
        let (gone, here) = match change {
            Change::Remove(node) => (Some(&node.row), None),
            Change::Edit { old, new } => (Some(old), Some(new)),
            Change::Add(Node { row, .. }) | Change::Child { row, .. } => (None, Some(row)),
        };
        let place =
            |rows: &[Row], row: &Row| rows.binary_search_by(|other| self.order.compare(other, row));
        if let Some(row) = gone
            && let Ok(at) = place(rows, row)
        {
            rows.remove(at);
        }
        if let Some(row) = here
            && let Err(at) = place(rows, row)
        {
            let is_between = !(at == 0 && is_cut[0] || at == rows.len() && is_cut[1]);
            let mut columns = self.columns.iter().zip(key.0.iter());
            if is_between && columns.all(|(column, value)| join_eq(row.get(*column), value)) {
                rows.insert(at, row.clone());
            }
        }
        // Without a row it has no ends.
        if rows.is_empty() || rows.len() > 8 * found.near {
            *kept = None;
        }
    }

    /// Keeps of what was found what is near a place from which a row was looked for: the next one is looked for there
    /// as well.
    pub fn keep_near(&self, place: &Row) {
        self.search.take();
        if let Some(Found {
            rows, is_cut, near, ..
        }) = &mut *self.found.borrow_mut()
        {
            let at = rows.partition_point(|row| self.order.compare(row, place).is_lt());
            let (first, last) = (at.saturating_sub(*near), rows.len().min(at + *near));
            if rows.len() > 3 * *near {
                is_cut[0] |= first > 0;
                is_cut[1] |= last < rows.len();
                *rows = rows[first..last].to_vec();
            }
        }
    }

    /// Nobody looks for rows any more.
    pub fn forget(&self) {
        self.found.take();
        self.search.take();
    }

    /// Everything that the driver finds, each row once; `None` if the fetch has stopped before all was found.
    fn candidates(
        &self,
        reader: Reader<'_>,
        request: &Request<'_>,
        key: &Key,
    ) -> Result<Option<Vec<Row>>, SourceError> {
        let begun = self.search.take().filter(|(of, _)| of == key);
        let mut search = begun.map_or_else(Search::default, |(_, search)| search);
        let sliced = request.pause.is_some();
        let mut origins = None;
        if self.go_on(reader, request.constraint, sliced, &mut search)? == Progress::Done {
            let Search { rows, sorting, .. } = &mut search;
            let compare = |a: usize, b: usize| self.order.compare(&rows[a], &rows[b]);
            let sorting = sorting.get_or_insert_with(|| Sorting::new(rows.len()));
            origins = reader.steps.sort(sorting, sliced, &compare);
        }
        let Some(origins) = origins else {
            self.search.replace(Some((key.clone(), search)));
            return Ok(None);
        };
        let mut rows = search.rows;
        arrange(&mut rows, origins);
        rows.dedup_by(|a, b| self.order.compare(a, b).is_eq());
        Ok(Some(rows))
    }

    /// Searches on. If `sliced`, until the steps are spent, but a little in any case.
    fn go_on(
        &self,
        reader: Reader<'_>,
        within: &Columns<'_>,
        sliced: bool,
        search: &mut Search,
    ) -> Result<Progress, SourceError> {
        let mut has_moved = false;
        for leaf in self.driver.leaves().into_iter().skip(search.leaves) {
            if let Driver::Children(join) = leaf
                && !search.has_keys
            {
                let join = reader.pipeline().join(*join);
                if join.read_keys(reader, within, sliced, search)? == Progress::More {
                    return Ok(Progress::More);
                }
                search.has_keys = true;
                has_moved = true;
            }
            let Search {
                keys,
                looked_up,
                rows,
                position,
                ..
            } = search;
            while let Some(wanted) = leaf.wanted(reader, keys, *looked_up) {
                if sliced && has_moved && reader.steps.are_spent() {
                    return Ok(Progress::More);
                }
                has_moved = true;
                reader.steps.spend();
                let constraint = wanted.and_then(|wanted| both(within, &wanted));
                if let Some(constraint) = constraint {
                    let progress = Pause::read_on(position, sliced, &mut |start, pause| {
                        let request = Request {
                            constraint: &constraint,
                            start,
                            pause,
                            ..Request::default()
                        };
                        reader.fetch(self.input, &request, &mut |row| {
                            rows.push(row.clone());
                            ControlFlow::Continue(())
                        })
                    })?;
                    if progress == Progress::More {
                        return Ok(Progress::More);
                    }
                }
                *looked_up += 1;
            }
            *search = Search {
                leaves: search.leaves + 1,
                rows: std::mem::take(rows),
                ..Search::default()
            };
        }
        Ok(Progress::Done)
    }

    fn is_before(&self, row: &Row, start: Start<'_>, reverse: bool) -> bool {
        let place = self.order.compare(row, start.row);
        match if reverse { place.reverse() } else { place } {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => start.basis == Basis::After,
            std::cmp::Ordering::Greater => false,
        }
    }
}

impl Found {
    fn all(key: Key, rows: Vec<Row>) -> Found {
        Found {
            key,
            is_cut: [false; 2],
            near: (rows.len() / 16).clamp(3, 1024),
            rows,
        }
    }

    /// The last row in a direction, if there is more behind it.
    fn end(&self, reverse: bool) -> Option<&Row> {
        let [before, behind] = self.is_cut;
        match reverse {
            true => self.rows.first().filter(|_| before),
            false => self.rows.last().filter(|_| behind),
        }
    }
}

impl Driver {
    fn leaves(&self) -> Vec<&Driver> {
        match self {
            Driver::Any(drivers) => drivers.iter().flat_map(Driver::leaves).collect(),
            leaf => vec![leaf],
        }
    }

    /// The constraint of a leaf's look-up number `at`: `None` when there are no more, `Some(None)` when no row can meet
    /// it. Every row that meets the condition meets one of them.
    fn wanted<'a>(
        &'a self,
        reader: Reader<'a>,
        keys: &'a [Key],
        at: usize,
    ) -> Option<Option<Vec<(usize, ValueRef<'a>)>>> {
        Some(match self {
            Driver::Any(_) => return None,
            Driver::Lookups(lookups) => {
                let lookup = lookups.get(at)?.iter();
                same(lookup.map(|(column, value)| (column, value.as_ref())))
            }
            Driver::Children(join) => {
                let Key(values) = keys.get(at)?;
                let columns = &reader.pipeline().join(*join).parent_columns;
                same(columns.iter().zip(values.iter()))
            }
        })
    }
}

impl Join {
    /// Reads the keys that all children have whose parents may be `within` a constraint, each once. While a child's
    /// change is in progress, its key is among them: some of its parents still have the child from before.
    fn read_keys(
        &self,
        reader: Reader<'_>,
        within: &Columns<'_>,
        sliced: bool,
        Search { position, keys, .. }: &mut Search,
    ) -> Result<Progress, SourceError> {
        let key_of = |row: &Row| {
            let values = self.child_columns.iter().map(|column| row.get(*column));
            Key(Row::from_values(values))
        };
        let Some(constraint) = self.for_children(within) else {
            return Ok(Progress::Done);
        };
        let progress = Pause::read_on(position, sliced, &mut |start, pause| {
            let request = Request {
                constraint: &constraint,
                start,
                pause,
                ..Request::default()
            };
            reader.fetch(self.child, &request, &mut |row| {
                let key = key_of(row);
                if keys.last() != Some(&key) {
                    keys.push(key);
                }
                ControlFlow::Continue(())
            })
        })?;
        if progress == Progress::More {
            return Ok(Progress::More);
        }
        keys.extend(self.child_in_progress().map(|row| key_of(&row)));
        sort(keys);
        keys.dedup();
        Ok(Progress::Done)
    }

    /// What a constraint on parents means for their children; `None` when no parent can meet it.
    fn for_children<'a>(&self, parents: &Columns<'a>) -> Option<Vec<(usize, ValueRef<'a>)>> {
        let columns = self.parent_columns.iter().zip(&self.child_columns);
        let known = columns.filter_map(|(parent, child)| {
            let at = parents.binary_search_by_key(parent, |(column, _)| *column);
            at.ok().map(|at| (child, parents[at].1))
        });
        same(known)
    }
}

/// A constraint from columns and values; `None` when no row can meet it.
fn same<'a, 'b>(
    columns: impl Iterator<Item = (&'b usize, ValueRef<'a>)>,
) -> Option<Vec<(usize, ValueRef<'a>)>> {
    let mut constraint: Vec<(usize, ValueRef<'a>)> = Vec::new();
    for (column, value) in columns {
        if value.is_null() {
            return None;
        }
        match constraint.binary_search_by_key(column, |(column, _)| *column) {
            Ok(at) if join_eq(constraint[at].1, value) => {}
            Ok(_) => return None,
            Err(at) => constraint.insert(at, (*column, value)),
        }
    }
    Some(constraint)
}

fn both<'a>(a: &Columns<'a>, b: &Columns<'a>) -> Option<Vec<(usize, ValueRef<'a>)>> {
    same(a.iter().chain(b).map(|(column, value)| (column, *value)))
}
