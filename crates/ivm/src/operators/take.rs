//! Take: the first rows of the level, or of each partition of it. Never shows more than its limit, not even for the
//! moment between two changes: what leaves is removed before what comes is added.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::ops::ControlFlow;

use landfall_zql::ordering::Order;
use landfall_zql::sort::sort;
use landfall_zql::{Key, Row, ValueRef};

use crate::change::{Change, Node};
use crate::error::SourceError;
use crate::operators::partitions::Partitions;
use crate::pipeline::push::{Place, Task};
use crate::pipeline::{OpId, Reader, Request};
use crate::source::{Basis, Sink, Start};
use crate::steps::Pause;

#[derive(Debug)]
pub(crate) struct Take {
    pub input: OpId,
    limit: usize,
    /// Sorted; empty when the whole level is one partition.
    pub partition: Vec<usize>,
    order: Order,
    pub partitions: RefCell<Partitions<Kept>>,
    /// The partition whose hydration is under way, one slice after the other.
    growing: RefCell<Option<Kept>>,
    /// A row that is within the bound already but not announced yet.
    hidden: RefCell<Option<Row>>,
}

/// What a hydrated partition keeps: `size` rows up to `bound`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    size: usize,
    bound: Option<Row>,
}

impl Take {
    pub fn new(input: OpId, limit: u32, partition: Option<&[usize]>, order: Order) -> Take {
        let mut partition = partition.unwrap_or_default().to_vec();
        sort(&mut partition);
        partition.dedup();
        Take {
            input,
            limit: limit as usize,
            partition,
            order,
            partitions: RefCell::new(Partitions::new()),
            growing: RefCell::new(None),
            hidden: RefCell::new(None),
        }
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    fn partition_of(&self, row: &Row) -> Key {
        Key(Row::from_values(
            self.partition.iter().map(|column| row.get(*column)),
        ))
    }

    fn kept(&self, row: &Row) -> Option<Kept> {
        self.partitions
            .borrow()
            .get(&self.partition_of(row))
            .cloned()
    }

    fn keep(&self, row: &Row, kept: Kept) {
        *self.partitions.borrow_mut().entry(&self.partition_of(row)) = kept;
    }

    fn shows(&self, row: &Row) -> bool {
        let within = match self.partitions.borrow().get(&self.partition_of(row)) {
            Some(Kept {
                bound: Some(bound), ..
            }) => self.order.compare(row, bound).is_le(),
            _ => false,
        };
        within
            && !self
                .hidden
                .borrow()
                .as_ref()
                .is_some_and(|hidden| self.order.compare(hidden, row).is_eq())
    }

    pub fn fetch(
        &self,
        reader: Reader<'_>,
        request: &Request<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), SourceError> {
        if self.limit == 0 {
            return Ok(());
        }
        let is_own = request
            .constraint
            .iter()
            .map(|(column, _)| column)
            .eq(&self.partition);
        if is_own {
            let key = Key(Row::from_values(
                request.constraint.iter().map(|(_, value)| *value),
            ));
            if !self.partitions.borrow().contains(&key) {
                if request.pause.is_some() {
                    return self.grow(reader, request, key, sink);
                }
                let rows = self.hydrate(reader, request.constraint, key)?;
                if request.start.is_none() && !request.reverse {
                    // Hydration gave the very rows that are asked for.
                    let _ = rows.iter().try_for_each(sink);
                    return Ok(());
                }
            }
        }
        reader.fetch(self.input, request, &mut |row| {
            if self.shows(row) {
                sink(row)
            } else if is_own && !request.reverse && !self.is_hidden(row) {
                // In order, nothing comes after the bound of the only partition.
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
    }

    fn is_hidden(&self, row: &Row) -> bool {
        self.hidden
            .borrow()
            .as_ref()
            .is_some_and(|hidden| self.order.compare(hidden, row).is_eq())
    }

    /// Hydrates a partition row by row as the rows are given; goes on where the slice before stopped.
    fn grow(
        &self,
        reader: Reader<'_>,
        request: &Request<'_>,
        key: Key,
        sink: &mut Sink<'_>,
    ) -> Result<(), SourceError> {
        let mut kept = self.growing.take().unwrap_or_default();
        let mut stopped = false;
        if kept.size < self.limit {
            reader.fetch(self.input, request, &mut |row| {
                kept.size += 1;
                kept.bound = Some(row.clone());
                let flow = sink(row);
                stopped = flow.is_break();
                if kept.size == self.limit {
                    return ControlFlow::Break(());
                }
                flow
            })?;
        }
        let paused = request.pause.is_some_and(Pause::has_stopped);
        if stopped || paused {
            self.growing.replace(Some(kept));
        } else {
            *self.partitions.borrow_mut().entry(&key) = kept;
        }
        Ok(())
    }

    fn hydrate(
        &self,
        reader: Reader<'_>,
        constraint: &[(usize, ValueRef<'_>)],
        key: Key,
    ) -> Result<Vec<Row>, SourceError> {
        let mut rows = Vec::new();
        reader.fetch(
            self.input,
            &Request {
                constraint,
                ..Request::default()
            },
            &mut |row| {
                rows.push(row.clone());
                if rows.len() < self.limit {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            },
        )?;
        let kept = Kept {
            size: rows.len(),
            bound: rows.last().cloned(),
        };
        *self.partitions.borrow_mut().entry(&key) = kept;
        Ok(rows)
    }

    /// What is to be passed on now; what must follow it is put on `tasks`.
    pub fn push(
        &self,
        reader: Reader<'_>,
        own: OpId,
        change: Change,
        tasks: &mut Vec<Task>,
    ) -> Result<Option<Change>, SourceError> {
        self.take_in(reader, own, change, None, tasks)
    }

    /// Goes on with a change for which a row was looked for; nothing has been kept or passed on yet.
    pub fn look_on(
        &self,
        reader: Reader<'_>,
        own: OpId,
        change: Change,
        from: Place,
        tasks: &mut Vec<Task>,
    ) -> Result<Option<Change>, SourceError> {
        self.take_in(reader, own, change, Some(from), tasks)
    }

    fn take_in(
        &self,
        reader: Reader<'_>,
        own: OpId,
        change: Change,
        from: Option<Place>,
        tasks: &mut Vec<Task>,
    ) -> Result<Option<Change>, SourceError> {
        let row = match &change {
            Change::Add(node) | Change::Remove(node) => &node.row,
            Change::Edit { old, .. } => old,
            Change::Child { row, .. } => row,
        };
        // Nobody has asked for this partition: what is in it does not matter.
        let Some(kept) = self.kept(row) else {
            return Ok(None);
        };
        if let Change::Child { row, .. } = &change {
            return Ok(self.shows(row).then_some(change));
        }
        let mut stage = Stage {
            take: self,
            reader,
            own,
            from,
            tasks,
        };
        let passed = match change.clone() {
            Change::Add(node) => stage.add(node.row, kept),
            Change::Remove(node) => stage.remove(node, kept),
            Change::Edit { old, new } => stage.edit(old, new, kept),
            Change::Child { .. } => Ok(None),
        };
        match passed {
            Ok(passed) => Ok(passed),
            Err(Unsent::Failed(error)) => Err(error),
            Err(Unsent::LooksOn(from)) => {
                let take = own;
                tasks.push(Task::Look { take, change, from });
                Ok(None)
            }
        }
    }

    /// The row that was hidden during a removal is shown from now on.
    pub fn announce(&self) -> Option<Change> {
        self.hidden.take().map(|row| Change::Add(row.into()))
    }
}

/// One push through a take.
struct Stage<'a> {
    take: &'a Take,
    reader: Reader<'a>,
    own: OpId,
    /// Where a search goes on.
    from: Option<Place>,
    tasks: &'a mut Vec<Task>,
}

type Sent = Result<Option<Change>, Unsent>;

/// Why nothing could be passed on.
enum Unsent {
    Failed(SourceError),
    /// The steps are spent: it is looked on from here.
    LooksOn(Place),
}

impl From<SourceError> for Unsent {
    fn from(error: SourceError) -> Unsent {
        Unsent::Failed(error)
    }
}

impl Stage<'_> {
    /// The first row of the partition of `place`, from `place` on in a direction.
    fn near(&mut self, place: &Row, basis: Basis, reverse: bool) -> Result<Option<Row>, Unsent> {
        let constraint: Vec<(usize, ValueRef<'_>)> = self
            .take
            .partition
            .iter()
            .map(|column| (*column, place.get(*column)))
            .collect();
        let from = match self.from.take() {
            // The search in the other direction came first, and found nothing.
            Some(from) if from.reverse != reverse => {
                self.from = Some(from);
                return Ok(None);
            }
            from => from,
        };
        let start = match &from {
            Some(from) => Start {
                row: &from.next,
                basis: from.basis,
            },
            None => Start { row: place, basis },
        };
        let pause = Pause::default();
        let request = Request {
            constraint: &constraint,
            start: Some(start),
            reverse,
            pause: Some(&pause),
        };
        let mut found = None;
        self.reader.fetch(self.take.input, &request, &mut |row| {
            found = Some(row.clone());
            ControlFlow::Break(())
        })?;
        if !pause.has_stopped() {
            if let Some(drive) = self.reader.pipeline().drive_of(self.take.input) {
                drive.keep_near(place);
            }
            return Ok(found);
        }
        let (next, basis) = match pause.into_next() {
            Some(next) => (next, Basis::At),
            None => (start.row.clone(), start.basis),
        };
        Err(Unsent::LooksOn(Place {
            next,
            basis,
            reverse,
        }))
    }

    fn add(&mut self, row: Row, Kept { size, bound }: Kept) -> Sent {
        let take = self.take;
        let Some(bound) = bound else {
            if take.limit == 0 {
                return Ok(None);
            }
            take.keep(
                &row,
                Kept {
                    size: 1,
                    bound: Some(row.clone()),
                },
            );
            return Ok(Some(Change::Add(row.into())));
        };
        let is_before = take.order.compare(&row, &bound).is_lt();
        if size < take.limit {
            let bound = if is_before { bound } else { row.clone() };
            take.keep(
                &row,
                Kept {
                    size: size + 1,
                    bound: Some(bound),
                },
            );
            return Ok(Some(Change::Add(row.into())));
        }
        if is_before {
            self.replace_bound(row, size, bound)
        } else {
            Ok(None)
        }
    }

    /// The bound row makes room for a row before it, which the input shows already.
    fn replace_bound(&mut self, row: Row, size: usize, bound: Row) -> Sent {
        let last = self
            .near(&bound, Basis::After, true)?
            .unwrap_or_else(|| row.clone());
        self.take.keep(
            &row,
            Kept {
                size,
                bound: Some(last),
            },
        );
        self.exchange(bound.into(), row)
    }

    /// Removes, then adds; what is to be added is not shown before.
    fn exchange(&mut self, removed: Node, added: Row) -> Sent {
        *self.take.hidden.borrow_mut() = Some(added);
        self.tasks.push(Task::Announce { take: self.own });
        Ok(Some(Change::Remove(removed)))
    }

    fn remove(&mut self, node: Node, Kept { size, bound }: Kept) -> Sent {
        let Some(bound) = bound else { return Ok(None) };
        let take = self.take;
        let row = &node.row;
        let place = take.order.compare(row, &bound);
        if place == Ordering::Greater {
            return Ok(None);
        }
        // Behind a window that is not full there is nothing.
        if size >= take.limit
            && let Some(next) = self.near(&bound, Basis::After, false)?
        {
            take.keep(
                row,
                Kept {
                    size,
                    bound: Some(next.clone()),
                },
            );
            return self.exchange(node, next);
        }
        let bound = if place == Ordering::Equal {
            self.near(&bound, Basis::After, true)?
        } else {
            Some(bound)
        };
        take.keep(
            row,
            Kept {
                size: size - 1,
                bound,
            },
        );
        Ok(Some(Change::Remove(node)))
    }

    fn edit(&mut self, old: Row, new: Row, Kept { size, bound }: Kept) -> Sent {
        let Some(bound) = bound else { return Ok(None) };
        let take = self.take;
        let keep = |bound: Row| {
            take.keep(
                &new,
                Kept {
                    size,
                    bound: Some(bound),
                },
            )
        };
        let (was, is) = (
            take.order.compare(&old, &bound),
            take.order.compare(&new, &bound),
        );
        match (was, is) {
            (Ordering::Greater, Ordering::Greater) => Ok(None),
            (Ordering::Greater, _) => self.replace_bound(new, size, bound),
            (Ordering::Less, Ordering::Less | Ordering::Equal) => {
                Ok(Some(Change::Edit { old, new }))
            }
            (Ordering::Equal, Ordering::Equal) => {
                keep(new.clone());
                Ok(Some(Change::Edit { old, new }))
            }
            (Ordering::Equal, Ordering::Less) => {
                // The row before the old place is the last one now; it may be the edited row itself.
                let last = self
                    .near(&bound, Basis::At, true)?
                    .unwrap_or_else(|| new.clone());
                keep(last);
                Ok(Some(Change::Edit { old, new }))
            }
            (_, Ordering::Greater) => {
                // What follows the rows that are kept: the edited row at its new place, or another one before it.
                let next = match size < take.limit {
                    true => None,
                    false => self.near(&bound, Basis::After, false)?,
                };
                let next = next.unwrap_or_else(|| new.clone());
                keep(next.clone());
                if take.order.compare(&next, &new).is_eq() {
                    return Ok(Some(Change::Edit { old, new }));
                }
                self.exchange(old.into(), next)
            }
        }
    }
}
