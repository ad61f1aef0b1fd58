//! Junction take: the first destinations that a parent reaches through a junction table, each counted once however many
//! junction rows lead to it. Shows the junction rows that lead to one of them, and of those only these destinations.
//!
//! Unlike a take it keeps all destinations of a hydrated partition: which one follows when one leaves is decided by the
//! far table's order, which no index of the junction table has.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use landfall_zql::ordering::Order;
use landfall_zql::sort::{sort, sort_by};
use landfall_zql::{Key, Row, ValueRef};

use crate::change::{Change, Node, Output};
use crate::error::SourceError;
use crate::pipeline::{JoinId, OpId, Reader, Request};
use crate::source::Sink;

#[derive(Debug)]
pub(crate) struct JunctionTake {
    pub input: OpId,
    /// From a junction row to its destinations.
    far: JoinId,
    limit: usize,
    /// Columns of the junction table, sorted.
    partition: Vec<usize>,
    /// Of the junction rows.
    order: Order,
    /// Of the destinations.
    far_order: Order,
    partitions: RefCell<BTreeMap<Key, Partition>>,
}

/// What one parent reaches.
#[derive(Debug, Default)]
struct Partition {
    /// Every destination, in order.
    all: Vec<Destination>,
    /// What has been announced: the first of them, but for the moment between two changes.
    shown: Vec<Destination>,
}

#[derive(Clone, Debug)]
struct Destination {
    row: Row,
    /// The junction rows that lead to it, at least one.
    through: Vec<Row>,
}

/// A junction row and one of its destinations.
#[derive(Clone, Debug)]
struct Link {
    junction: Row,
    destination: Row,
}

impl JunctionTake {
    pub fn new(
        input: OpId,
        far: JoinId,
        limit: u32,
        partition: &[usize],
        order: Order,
        far_order: Order,
    ) -> JunctionTake {
        let mut partition = partition.to_vec();
        sort(&mut partition);
        partition.dedup();
        JunctionTake {
            input,
            far,
            limit: limit as usize,
            partition,
            order,
            far_order,
            partitions: RefCell::new(BTreeMap::new()),
        }
    }

    fn partition_of(&self, junction: &Row) -> Key {
        Key(Row::from_values(
            self.partition.iter().map(|column| junction.get(*column)),
        ))
    }

    fn is_hydrated(&self, key: &Key) -> bool {
        self.partitions.borrow().contains_key(key)
    }

    /// Works on a partition that is hydrated. No change may be sent meanwhile.
    fn with<T>(&self, key: &Key, work: impl FnOnce(&mut Partition) -> T) -> T {
        let mut partitions = self.partitions.borrow_mut();
        work(partitions.entry(key.clone()).or_default())
    }

    /// Gives the junction rows of one parent: the only way in which this level is read.
    pub fn fetch(
        &self,
        reader: Reader<'_>,
        request: &Request<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), SourceError> {
        if self.limit == 0 {
            return Ok(());
        }
        let columns = request.constraint.iter().map(|(column, _)| column);
        debug_assert!(
            columns.eq(&self.partition),
            "a junction is read by its parent"
        );
        let key = Key(Row::from_values(
            request.constraint.iter().map(|(_, value)| *value),
        ));
        if !self.is_hydrated(&key) {
            self.hydrate(reader, request.constraint, &key)?;
        }
        let mut rows: Vec<Row> = self.with(&key, |partition| {
            let shown = partition.shown.iter();
            shown.flat_map(|to| to.through.iter().cloned()).collect()
        });
        sort_by(&mut rows, |a, b| self.compare_travel(request, a, b));
        rows.dedup_by(|a, b| self.order.compare(a, b).is_eq());
        let mut started = rows.iter().filter(|row| self.is_started(request, row));
        let _ = started.try_for_each(sink);
        Ok(())
    }

    fn compare_travel(&self, request: &Request<'_>, a: &Row, b: &Row) -> Ordering {
        let ordering = self.order.compare(a, b);
        if request.reverse {
            ordering.reverse()
        } else {
            ordering
        }
    }

    fn is_started(&self, request: &Request<'_>, row: &Row) -> bool {
        request
            .start
            .is_none_or(|start| match self.compare_travel(request, row, start.row) {
                Ordering::Less => false,
                Ordering::Equal => start.basis == crate::source::Basis::At,
                Ordering::Greater => true,
            })
    }

    fn hydrate(
        &self,
        reader: Reader<'_>,
        constraint: &[(usize, ValueRef<'_>)],
        key: &Key,
    ) -> Result<(), SourceError> {
        let request = Request {
            constraint,
            ..Request::default()
        };
        let mut junctions = Vec::new();
        reader.fetch(self.input, &request, &mut |row| {
            junctions.push(row.clone());
            ControlFlow::Continue(())
        })?;
        let mut partition = Partition::default();
        for junction in junctions {
            for destination in self.destinations(reader, &junction)? {
                self.link(&mut partition.all, &junction, destination.row);
            }
        }
        let shown = partition.all.iter().take(self.limit);
        partition.shown = shown.cloned().collect();
        self.partitions.borrow_mut().insert(key.clone(), partition);
        Ok(())
    }

    /// All destinations of a junction row.
    fn destinations(&self, reader: Reader<'_>, junction: &Row) -> Result<Vec<Node>, SourceError> {
        reader.pipeline().join(self.far).children(reader, junction)
    }

    /// The destinations of a junction row that are shown, in order.
    pub fn shown_destinations(&self, junction: &Row) -> Vec<Node> {
        let partitions = self.partitions.borrow();
        let shown = partitions.get(&self.partition_of(junction));
        let shown = shown.into_iter().flat_map(|partition| &partition.shown);
        shown
            .filter(|to| self.leads(junction, to))
            .map(|to| to.row.clone().into())
            .collect()
    }

    fn leads(&self, junction: &Row, to: &Destination) -> bool {
        let same = |other: &Row| self.order.compare(other, junction).is_eq();
        to.through.iter().any(same)
    }

    fn find(&self, list: &[Destination], row: &Row) -> Result<usize, usize> {
        list.binary_search_by(|to| self.far_order.compare(&to.row, row))
    }

    fn link(&self, list: &mut Vec<Destination>, junction: &Row, row: Row) {
        match self.find(list, &row) {
            Ok(at) => {
                list[at].row = row;
                list[at].through.push(junction.clone());
            }
            Err(at) => {
                let through = vec![junction.clone()];
                list.insert(at, Destination { row, through });
            }
        }
    }

    fn unlink(&self, list: &mut Vec<Destination>, junction: &Row, row: &Row) {
        let Ok(at) = self.find(list, row) else { return };
        let through = &mut list[at].through;
        through.retain(|other| self.order.compare(other, junction).is_ne());
        if through.is_empty() {
            list.remove(at);
        }
    }

    fn is_shown(&self, partition: &Partition, junction: &Row, row: &Row) -> bool {
        let found = self.find(&partition.shown, row);
        found.is_ok_and(|at| self.leads(junction, &partition.shown[at]))
    }

    /// The links of the first list that the second has not.
    fn missing(&self, list: &[Destination], other: &[Destination]) -> Vec<Link> {
        let mut links = Vec::new();
        for to in list {
            let found = self.find(other, &to.row);
            for junction in &to.through {
                if !found.is_ok_and(|at| self.leads(junction, &other[at])) {
                    links.push(Link {
                        junction: junction.clone(),
                        destination: to.row.clone(),
                    });
                }
            }
        }
        links
    }

    fn is_same(&self, a: &Link, b: &Link) -> bool {
        self.order.compare(&a.junction, &b.junction).is_eq()
            && self
                .far_order
                .compare(&a.destination, &b.destination)
                .is_eq()
    }

    pub fn push(
        &self,
        reader: Reader<'_>,
        own: OpId,
        change: Change,
        output: &mut dyn Output,
    ) -> Result<(), SourceError> {
        let key = self.partition_of(match &change {
            Change::Add(node) | Change::Remove(node) => &node.row,
            Change::Edit { old, .. } => old,
            Change::Child { row, .. } => row,
        });
        // Nobody has asked for this partition: what is in it does not matter.
        if !self.is_hydrated(&key) {
            return Ok(());
        }
        let mut stage = Stage {
            take: self,
            key,
            reader,
            own,
            output,
        };
        match change {
            Change::Add(node) => stage.add_junction(&node.row),
            Change::Remove(node) => stage.remove_junction(node),
            Change::Edit { old, new } => stage.edit_junction(old, new),
            Change::Child { row, join, change } if join == self.far => match *change {
                Change::Add(node) => stage.add_destination(&row, node.row),
                Change::Remove(node) => stage.remove_destination(&row, node),
                Change::Edit { old, new } => stage.edit_destination(row, old, new),
                change @ Change::Child { .. } => stage.pass(row, join, change),
            },
            Change::Child { row, join, change } => stage.pass(row, join, *change),
        }
    }
}

/// One push through a junction take.
struct Stage<'a> {
    take: &'a JunctionTake,
    key: Key,
    reader: Reader<'a>,
    own: OpId,
    output: &'a mut dyn Output,
}

impl Stage<'_> {
    fn with<T>(&self, work: impl FnOnce(&mut Partition) -> T) -> T {
        self.take.with(&self.key, work)
    }

    fn send(&mut self, change: Change) -> Result<(), SourceError> {
        self.reader.send_through(self.own, change, self.output)
    }

    fn send_far(&mut self, junction: Row, change: Change) -> Result<(), SourceError> {
        let join = self.take.far;
        self.send(Change::Child {
            row: junction,
            join,
            change: Box::new(change),
        })
    }

    fn add_junction(&mut self, junction: &Row) -> Result<(), SourceError> {
        let destinations = self.take.destinations(self.reader, junction)?;
        self.with(|partition| {
            for node in destinations {
                self.take.link(&mut partition.all, junction, node.row);
            }
        });
        self.settle(None)
    }

    fn remove_junction(&mut self, node: Node) -> Result<(), SourceError> {
        let take = self.take;
        let shown = take.shown_destinations(&node.row);
        self.with(|partition| {
            for list in [&mut partition.all, &mut partition.shown] {
                list.retain_mut(|to| {
                    let same = |other: &Row| take.order.compare(other, &node.row).is_eq();
                    to.through.retain(|other| !same(other));
                    !to.through.is_empty()
                });
            }
        });
        if !shown.is_empty() {
            self.send(Change::Remove(node.with_children(take.far, shown)))?;
        }
        self.settle(None)
    }

    /// The columns that decide about parent and destinations are the same.
    fn edit_junction(&mut self, old: Row, new: Row) -> Result<(), SourceError> {
        let take = self.take;
        let is_shown = self.with(|partition| {
            let is_shown = partition.shown.iter().any(|to| take.leads(&old, to));
            for list in [&mut partition.all, &mut partition.shown] {
                for junction in list.iter_mut().flat_map(|to| &mut to.through) {
                    if take.order.compare(junction, &old).is_eq() {
                        *junction = new.clone();
                    }
                }
            }
            is_shown
        });
        if is_shown {
            self.send(Change::Edit { old, new })?;
        }
        Ok(())
    }

    fn add_destination(&mut self, junction: &Row, row: Row) -> Result<(), SourceError> {
        self.with(|partition| self.take.link(&mut partition.all, junction, row));
        self.settle(None)
    }

    fn remove_destination(&mut self, junction: &Row, node: Node) -> Result<(), SourceError> {
        self.with(|partition| self.take.unlink(&mut partition.all, junction, &node.row));
        self.settle(Some(node))
    }

    fn edit_destination(&mut self, junction: Row, old: Row, new: Row) -> Result<(), SourceError> {
        let take = self.take;
        let was_shown = self.with(|partition| take.is_shown(partition, &junction, &old));
        self.with(|partition| {
            take.unlink(&mut partition.all, &junction, &old);
            take.link(&mut partition.all, &junction, new.clone());
        });
        let stays = self.with(|partition| {
            let place = take.find(&partition.all, &new);
            place.is_ok_and(|at| at < take.limit)
        });
        if was_shown && stays {
            // Its place is taken over without leaving; but who is beyond the limit now leaves before.
            let staying = Link {
                junction: junction.clone(),
                destination: old.clone(),
            };
            self.retreat(None, Some(&staying))?;
            self.with(|partition| {
                take.unlink(&mut partition.shown, &junction, &old);
                take.link(&mut partition.shown, &junction, new.clone());
            });
            self.send_far(junction, Change::Edit { old, new })?;
        }
        self.settle(None)
    }

    /// Passes on what happens below a junction row, or below one of its destinations, that is shown.
    fn pass(&mut self, junction: Row, join: JoinId, change: Change) -> Result<(), SourceError> {
        let take = self.take;
        let is_shown = self.with(|partition| match &change {
            Change::Child { row, .. } if join == take.far => {
                take.is_shown(partition, &junction, row)
            }
            _ => partition.shown.iter().any(|to| take.leads(&junction, to)),
        });
        if !is_shown {
            return Ok(());
        }
        self.send(Change::Child {
            row: junction,
            join,
            change: Box::new(change),
        })
    }

    /// Makes what is shown the first destinations again: removals, then additions. `gone` is a destination that left,
    /// with the children that it had.
    fn settle(&mut self, gone: Option<Node>) -> Result<(), SourceError> {
        self.retreat(gone, None)?;
        let take = self.take;
        let entering = self.with(|partition| {
            let first = partition.all.len().min(take.limit);
            take.missing(&partition.all[..first], &partition.shown)
        });
        for Link {
            junction,
            destination,
        } in entering
        {
            let was_shown = self.with(|partition| {
                let was_shown = partition.shown.iter().any(|to| take.leads(&junction, to));
                take.link(&mut partition.shown, &junction, destination.clone());
                was_shown
            });
            if was_shown {
                self.send_far(junction, Change::Add(destination.into()))?;
            } else {
                self.send(Change::Add(junction.into()))?;
            }
        }
        Ok(())
    }

    /// Removes what is not among the first destinations any more, but for one link.
    fn retreat(&mut self, gone: Option<Node>, staying: Option<&Link>) -> Result<(), SourceError> {
        let take = self.take;
        let mut leaving = self.with(|partition| {
            let first = partition.all.len().min(take.limit);
            take.missing(&partition.shown, &partition.all[..first])
        });
        leaving.retain(|link| !staying.is_some_and(|staying| take.is_same(link, staying)));
        for Link {
            junction,
            destination,
        } in leaving
        {
            let is_shown = self.with(|partition| {
                take.unlink(&mut partition.shown, &junction, &destination);
                partition.shown.iter().any(|to| take.leads(&junction, to))
            });
            let node = match &gone {
                Some(node) if take.far_order.compare(&node.row, &destination).is_eq() => {
                    node.clone()
                }
                _ => destination.into(),
            };
            if is_shown {
                self.send_far(junction, Change::Remove(node))?;
            } else {
                let node = Node::from(junction).with_children(take.far, vec![node]);
                self.send(Change::Remove(node))?;
            }
        }
        Ok(())
    }
}
