//! Junction take: the first destinations that a parent reaches through a junction table, each counted once however many
//! junction rows lead to it. Shows the junction rows that lead to one of them, and of those only these destinations.
//!
//! Unlike a take it keeps all destinations of a hydrated partition: which one follows when one leaves is decided by the
//! far table's order, which no index of the junction table has.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::ops::ControlFlow;

use landfall_zql::ordering::Order;
use landfall_zql::sort::{sort, sort_by};
use landfall_zql::{Key, Row, ValueRef};

use crate::change::{Change, Node};
use crate::error::SourceError;
use crate::operators::partitions::Partitions;
use crate::pipeline::push::Task;
use crate::pipeline::{JoinId, OpId, Reader, Request};
use crate::source::Sink;

#[derive(Debug)]
pub(crate) struct JunctionTake {
    pub input: OpId,
    /// From a junction row to its destinations.
    pub far: JoinId,
    pub limit: usize,
    /// Columns of the junction table, sorted.
    pub partition: Vec<usize>,
    /// Of the junction rows.
    order: Order,
    /// Of the destinations.
    far_order: Order,
    pub partitions: RefCell<Partitions<Partition>>,
    /// The partition whose changes are being announced, one after the other.
    settling: RefCell<Option<Settling>>,
}

/// What is known of the changes that are still to be announced.
#[derive(Debug)]
struct Settling {
    key: Key,
    /// A destination that left, with the children that it had.
    gone: Option<Node>,
    /// A link that stays, while its destination becomes another row.
    edit: Option<(Link, Row)>,
}

/// What one parent reaches.
#[derive(Debug, Default)]
pub(crate) struct Partition {
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
            partitions: RefCell::new(Partitions::new()),
            settling: RefCell::new(None),
        }
    }

    fn partition_of(&self, junction: &Row) -> Key {
        Key(Row::from_values(
            self.partition.iter().map(|column| junction.get(*column)),
        ))
    }

    fn is_hydrated(&self, key: &Key) -> bool {
        self.partitions.borrow().contains(key)
    }

    /// Works on a partition that is hydrated.
    fn with<T>(&self, key: &Key, work: impl FnOnce(&mut Partition) -> T) -> T {
        work(self.partitions.borrow_mut().entry(key))
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
        *self.partitions.borrow_mut().entry(key) = partition;
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

    /// The first link of a list that another one has not, leaving out one link.
    fn missing(
        &self,
        list: &[Destination],
        other: &[Destination],
        except: Option<&Link>,
    ) -> Option<Link> {
        list.iter().find_map(|to| {
            let found = self.find(other, &to.row);
            let is_missing = |junction: &&Row| {
                !found.is_ok_and(|at| self.leads(junction, &other[at]))
                    && !except.is_some_and(|link| self.is_link(link, junction, &to.row))
            };
            to.through.iter().find(is_missing).map(|junction| Link {
                junction: junction.clone(),
                destination: to.row.clone(),
            })
        })
    }

    fn is_link(&self, link: &Link, junction: &Row, destination: &Row) -> bool {
        self.order.compare(&link.junction, junction).is_eq()
            && self
                .far_order
                .compare(&link.destination, destination)
                .is_eq()
    }

    /// What is to be passed on now; what must follow it is put on `tasks`.
    pub fn push(
        &self,
        reader: Reader<'_>,
        own: OpId,
        change: Change,
        tasks: &mut Vec<Task>,
    ) -> Result<Option<Change>, SourceError> {
        let key = self.partition_of(match &change {
            Change::Add(node) | Change::Remove(node) => &node.row,
            Change::Edit { old, .. } => old,
            Change::Child { row, .. } => row,
        });
        // Nobody has asked for this partition: what is in it does not matter.
        if !self.is_hydrated(&key) {
            return Ok(None);
        }
        let mut gone = None;
        let mut edit = None;
        let mut passed = None;
        match change {
            Change::Add(Node { row, .. }) => {
                let destinations = self.destinations(reader, &row)?;
                self.with(&key, |partition| {
                    for node in destinations {
                        self.link(&mut partition.all, &row, node.row);
                    }
                });
            }
            Change::Remove(node) => passed = self.remove_junction(&key, node),
            Change::Edit { old, new } => return Ok(self.edit_junction(&key, old, new)),
            Change::Child { row, join, change } if join == self.far => match *change {
                Change::Add(node) => {
                    self.with(&key, |partition| {
                        self.link(&mut partition.all, &row, node.row);
                    });
                }
                Change::Remove(node) => {
                    self.with(&key, |partition| {
                        self.unlink(&mut partition.all, &row, &node.row);
                    });
                    gone = Some(node);
                }
                Change::Edit { old, new } => edit = self.edit_destination(&key, row, old, new),
                Change::Child { row: ref far, .. } => {
                    let is_shown = self.with(&key, |partition| self.is_shown(partition, &row, far));
                    return Ok(is_shown.then_some(Change::Child { row, join, change }));
                }
            },
            Change::Child { ref row, .. } => {
                let is_shown = !self.shown_destinations(row).is_empty();
                return Ok(is_shown.then_some(change));
            }
        }
        *self.settling.borrow_mut() = Some(Settling { key, gone, edit });
        tasks.push(Task::Announce { take: own });
        Ok(passed)
    }

    fn remove_junction(&self, key: &Key, node: Node) -> Option<Change> {
        let shown = self.shown_destinations(&node.row);
        self.with(key, |partition| {
            for list in [&mut partition.all, &mut partition.shown] {
                list.retain_mut(|to| {
                    let is_other = |other: &Row| self.order.compare(other, &node.row).is_ne();
                    to.through.retain(is_other);
                    !to.through.is_empty()
                });
            }
        });
        (!shown.is_empty()).then(|| Change::Remove(node.with_children(self.far, shown)))
    }

    /// The columns that decide about parent and destinations are the same.
    fn edit_junction(&self, key: &Key, old: Row, new: Row) -> Option<Change> {
        let is_shown = !self.shown_destinations(&old).is_empty();
        self.with(key, |partition| {
            for list in [&mut partition.all, &mut partition.shown] {
                for junction in list.iter_mut().flat_map(|to| &mut to.through) {
                    if self.order.compare(junction, &old).is_eq() {
                        *junction = new.clone();
                    }
                }
            }
        });
        is_shown.then_some(Change::Edit { old, new })
    }

    /// Gives the link if it is shown before and after.
    fn edit_destination(
        &self,
        key: &Key,
        junction: Row,
        old: Row,
        new: Row,
    ) -> Option<(Link, Row)> {
        self.with(key, |partition| {
            self.unlink(&mut partition.all, &junction, &old);
            self.link(&mut partition.all, &junction, new.clone());
            let was_shown = self.is_shown(partition, &junction, &old);
            let place = self.find(&partition.all, &new);
            let stays = was_shown && place.is_ok_and(|at| at < self.limit);
            let destination = old;
            let link = Link {
                junction,
                destination,
            };
            stays.then_some((link, new))
        })
    }

    /// The next change that makes what is shown the first destinations again: removals, then an edit, then additions.
    pub fn announce(&self) -> Option<Change> {
        let mut settling = self.settling.borrow_mut();
        let Settling { key, gone, edit } = settling.as_mut()?;
        let change = self.with(key, |partition| {
            let Partition { all, shown } = partition;
            let first = &all[..all.len().min(self.limit)];
            let staying = edit.as_ref().map(|(link, _)| link);
            if let Some(link) = self.missing(shown, first, staying) {
                return Some(self.leave(shown, link, gone.as_ref()));
            }
            if let Some((link, new)) = edit.take() {
                let Link {
                    junction,
                    destination: old,
                } = link;
                self.unlink(shown, &junction, &old);
                self.link(shown, &junction, new.clone());
                return Some(self.far_change(junction, Change::Edit { old, new }));
            }
            let link = self.missing(first, shown, None)?;
            Some(self.enter(shown, link))
        });
        if change.is_none() {
            *settling = None;
        }
        change
    }

    fn leave(&self, shown: &mut Vec<Destination>, link: Link, gone: Option<&Node>) -> Change {
        let Link {
            junction,
            destination,
        } = link;
        self.unlink(shown, &junction, &destination);
        let is_gone = |node: &&Node| self.far_order.compare(&node.row, &destination).is_eq();
        let node = gone.filter(is_gone).cloned();
        let node = node.unwrap_or_else(|| destination.into());
        if shown.iter().any(|to| self.leads(&junction, to)) {
            return self.far_change(junction, Change::Remove(node));
        }
        Change::Remove(Node::from(junction).with_children(self.far, vec![node]))
    }

    fn enter(&self, shown: &mut Vec<Destination>, link: Link) -> Change {
        let Link {
            junction,
            destination,
        } = link;
        let was_shown = shown.iter().any(|to| self.leads(&junction, to));
        self.link(shown, &junction, destination.clone());
        if was_shown {
            return self.far_change(junction, Change::Add(destination.into()));
        }
        Change::Add(junction.into())
    }

    fn far_change(&self, junction: Row, change: Change) -> Change {
        Change::Child {
            row: junction,
            join: self.far,
            change: Box::new(change),
        }
    }
}
