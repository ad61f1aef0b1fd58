//! Junction take: the first destinations that a parent reaches through a junction table, each counted once however many
//! junction rows lead to it. Shows the junction rows that lead to one of them, and of those only these destinations.
//!
//! Unlike a take it keeps all destinations of a hydrated partition: which one follows when one leaves is decided by the
//! far table's order, which no index of the junction table has.

use std::cell::RefCell;
use std::ops::{ControlFlow, Range};
use std::vec::IntoIter;

use landfall_zql::ordering::Order;
use landfall_zql::sort::{Sorting, sort};
use landfall_zql::{Key, Row};

use crate::change::{Change, Node};
use crate::error::SourceError;
use crate::operators::partitions::Partitions;
use crate::pipeline::push::Task;
use crate::pipeline::{JoinId, OpId, Reader, Request};
use crate::source::{Sink, Start};
use crate::steps::{Pause, Progress};

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
    growing: RefCell<Option<Growing>>,
    /// The partition whose changes are being announced, one after the other.
    settling: RefCell<Option<Settling>>,
}

/// A partition that is being hydrated.
#[derive(Debug)]
struct Growing {
    key: Key,
    links: Vec<Link>,
    /// The junction row to go on at, and the destination.
    next: Option<Row>,
    far: Option<Row>,
    /// By destination, once all are read.
    sorting: Option<Sorting>,
}

/// What is still to be announced of one change: removals, then an edit, then additions.
#[derive(Debug)]
struct Settling {
    key: Key,
    leaves: IntoIter<Link>,
    /// A destination that left, with the children that it had.
    gone: Option<Node>,
    /// A link that stays, while its destination becomes another row.
    edit: Option<(Link, Row)>,
    enters: IntoIter<Link>,
}

/// What one parent reaches.
#[derive(Debug, Default)]
pub(crate) struct Partition {
    /// Every destination, in order.
    all: Vec<Destination>,
    /// By junction row, then by destination: every link, and those that are gone but still shown.
    links: Vec<Kept>,
}

#[derive(Debug)]
struct Destination {
    row: Row,
    /// The junction rows that lead to it, in order, at least one.
    through: Vec<Row>,
}

/// A junction row and one of its destinations.
#[derive(Clone, Debug)]
struct Link {
    junction: Row,
    destination: Row,
}

#[derive(Debug)]
struct Kept {
    link: Link,
    /// Whether it was announced: those to the first destinations are, but for the moment between two changes.
    is_shown: bool,
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
            growing: RefCell::new(None),
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
        let mut columns = request.constraint.iter().map(|(column, _)| column);
        debug_assert!(
            columns.by_ref().eq(&self.partition) && !request.reverse,
            "a junction is read by its parent"
        );
        let key = Key(Row::from_values(
            request.constraint.iter().map(|(_, value)| *value),
        ));
        if !self.is_hydrated(&key) && self.hydrate(reader, request, &key)? == Progress::More {
            return Ok(());
        }
        let partitions = self.partitions.borrow();
        let Some(Partition { links, .. }) = partitions.get(&key) else {
            return Ok(());
        };
        let first = request.start.map_or(0, |start| {
            links.partition_point(|kept| start.leaves_out(&kept.link.junction, &self.order))
        });
        let is_same = |a: &Kept, b: &Kept| {
            let (a, b) = (&a.link.junction, &b.link.junction);
            self.order.compare(a, b).is_eq()
        };
        for own in links[first..].chunk_by(is_same) {
            let junction = &own[0].link.junction;
            if request.pauses(reader, junction) {
                break;
            }
            reader.steps.spend_many(own.len());
            if own.iter().any(|kept| kept.is_shown) && sink(junction).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Reads a partition, as a whole before any of it is shown; in slices if the request may pause.
    fn hydrate(
        &self,
        reader: Reader<'_>,
        request: &Request<'_>,
        key: &Key,
    ) -> Result<Progress, SourceError> {
        let growing = self.growing.take().filter(|growing| growing.key == *key);
        let mut growing = growing.unwrap_or_else(|| Growing {
            key: key.clone(),
            links: Vec::new(),
            next: None,
            far: None,
            sorting: None,
        });
        let Growing {
            links,
            next,
            far,
            sorting,
            ..
        } = &mut growing;
        let is_sliced = request.pause.is_some();
        if sorting.is_none() {
            let mut failure = None;
            let progress = Pause::read_on(next, is_sliced, &mut |start, pause| {
                let junctions = Request {
                    constraint: request.constraint,
                    start,
                    pause,
                    ..Request::default()
                };
                reader.fetch(self.input, &junctions, &mut |junction| {
                    match self.reach(reader, junction, links, far, is_sliced) {
                        Ok(Progress::Done) => return ControlFlow::Continue(()),
                        Ok(Progress::More) => {
                            pause.inspect(|pause| pause.stop(Some(junction.clone())));
                        }
                        Err(error) => failure = Some(error),
                    }
                    ControlFlow::Break(())
                })
            })?;
            if let Some(error) = failure {
                return Err(error);
            }
            *sorting = (progress == Progress::Done).then(|| Sorting::new(links.len()));
        }
        let compare = |a: usize, b: usize| {
            let [a, b] = [a, b].map(|at: usize| &links[at].destination);
            self.far_order.compare(a, b)
        };
        let sort = |sorting: &mut Sorting| reader.steps.sort(sorting, is_sliced, &compare);
        let Some(places) = sorting.as_mut().and_then(sort) else {
            self.growing.replace(Some(growing));
            request.pause.inspect(|pause| pause.stop(None));
            return Ok(Progress::More);
        };
        let partition = self.partition(growing.links, &places);
        *self.partitions.borrow_mut().entry(key) = partition;
        Ok(Progress::Done)
    }

    /// Adds the links of a junction row from a destination on; it may stop between two of them, and notes the next.
    fn reach(
        &self,
        reader: Reader<'_>,
        junction: &Row,
        links: &mut Vec<Link>,
        next: &mut Option<Row>,
        is_sliced: bool,
    ) -> Result<Progress, SourceError> {
        let far = reader.pipeline().join(self.far);
        Pause::read_on(next, is_sliced, &mut |start, pause| {
            far.each_child(reader, junction, usize::MAX, start, pause, &mut |row| {
                links.push(Link {
                    junction: junction.clone(),
                    destination: row.clone(),
                });
                ControlFlow::Continue(())
            })
        })
    }

    /// A partition with these links, which are in their order, and their places by destination.
    fn partition(&self, links: Vec<Link>, by_destination: &[usize]) -> Partition {
        let is_shown = false;
        let links = links.into_iter().map(|link| Kept { link, is_shown });
        let mut links: Vec<Kept> = links.collect();
        let mut all: Vec<Destination> = Vec::new();
        for at in by_destination {
            let Kept { link, is_shown } = &mut links[*at];
            let junction = link.junction.clone();
            let row = &link.destination;
            match all.last_mut() {
                Some(last) if self.far_order.compare(&last.row, row).is_eq() => {
                    last.through.push(junction);
                }
                _ => all.push(Destination {
                    row: row.clone(),
                    through: vec![junction],
                }),
            }
            *is_shown = all.len() <= self.limit;
        }
        Partition { all, links }
    }

    /// The last destination that the limit admits, if it is reached.
    fn last_within(&self, all: &[Destination]) -> Option<Row> {
        Some(all.get(self.limit.checked_sub(1)?)?.row.clone())
    }

    /// All destinations of a junction row.
    fn destinations(&self, reader: Reader<'_>, junction: &Row) -> Result<Vec<Node>, SourceError> {
        reader.pipeline().join(self.far).children(reader, junction)
    }

    /// The destinations of a junction row that are shown, in order.
    pub fn shown_destinations(&self, reader: Reader<'_>, junction: &Row) -> Vec<Node> {
        let mut shown = Vec::new();
        self.each_shown(reader, junction, None, None, &mut |row| {
            shown.push(row.clone().into());
            ControlFlow::Continue(())
        });
        shown
    }

    /// Gives the destinations of a junction row that are shown, from a place on; may stop between two of them.
    pub fn each_shown(
        &self,
        reader: Reader<'_>,
        junction: &Row,
        start: Option<Start<'_>>,
        pause: Option<&Pause>,
        sink: &mut Sink<'_>,
    ) {
        let partitions = self.partitions.borrow();
        let Some(Partition { links, .. }) = partitions.get(&self.partition_of(junction)) else {
            return;
        };
        let own = &links[self.of(links, junction)];
        let first = start.map_or(0, |start| {
            own.partition_point(|kept| start.leaves_out(&kept.link.destination, &self.far_order))
        });
        for Kept { link, is_shown } in &own[first..] {
            if pause.is_some_and(|pause| pause.before(&link.destination, reader.steps)) {
                break;
            }
            reader.steps.spend();
            if *is_shown && sink(&link.destination).is_break() {
                break;
            }
        }
    }

    /// The destinations of those of some links that are shown.
    fn shown(&self, reader: Reader<'_>, links: &[Kept]) -> Vec<Node> {
        reader.steps.spend_many(links.len());
        let shown = links.iter().filter(|kept| kept.is_shown);
        let destinations = shown.map(|kept| kept.link.destination.clone().into());
        destinations.collect()
    }

    /// Where the links of a junction row are.
    fn of(&self, links: &[Kept], junction: &Row) -> Range<usize> {
        let is_before = |kept: &Kept| self.order.compare(&kept.link.junction, junction).is_lt();
        let start = links.partition_point(is_before);
        let is_own = |kept: &Kept| self.order.compare(&kept.link.junction, junction).is_eq();
        start..start + links[start..].partition_point(is_own)
    }

    /// Where a link is, or would be.
    fn place(&self, links: &[Kept], junction: &Row, destination: &Row) -> Result<usize, usize> {
        links.binary_search_by(|Kept { link, .. }| {
            let by_junction = self.order.compare(&link.junction, junction);
            by_junction.then_with(|| self.far_order.compare(&link.destination, destination))
        })
    }

    fn find(&self, all: &[Destination], row: &Row) -> Result<usize, usize> {
        all.binary_search_by(|to| self.far_order.compare(&to.row, row))
    }

    fn find_junction(&self, through: &[Row], junction: &Row) -> Result<usize, usize> {
        through.binary_search_by(|other| self.order.compare(other, junction))
    }

    fn link(&self, Partition { all, links }: &mut Partition, junction: &Row, row: Row) {
        match self.find(all, &row) {
            Ok(at) => {
                all[at].row = row.clone();
                let through = &mut all[at].through;
                if let Err(at) = self.find_junction(through, junction) {
                    through.insert(at, junction.clone());
                }
            }
            Err(at) => {
                let (row, through) = (row.clone(), vec![junction.clone()]);
                all.insert(at, Destination { row, through });
            }
        }
        let is_shown = self.is_shown(links, junction, &row);
        self.keep(links, junction, row, is_shown);
    }

    fn keep(&self, links: &mut Vec<Kept>, junction: &Row, destination: Row, is_shown: bool) {
        let place = self.place(links, junction, &destination);
        let link = Link {
            junction: junction.clone(),
            destination,
        };
        let kept = Kept { link, is_shown };
        match place {
            Ok(at) => links[at] = kept,
            Err(at) => links.insert(at, kept),
        }
    }

    /// A link that is shown is kept until that is taken back.
    fn unlink(&self, Partition { all, links }: &mut Partition, junction: &Row, row: &Row) {
        self.detach(all, junction, row);
        if let Ok(at) = self.place(links, junction, row)
            && !links[at].is_shown
        {
            links.remove(at);
        }
    }

    fn detach(&self, all: &mut Vec<Destination>, junction: &Row, row: &Row) {
        let Ok(at) = self.find(all, row) else { return };
        let through = &mut all[at].through;
        if let Ok(at) = self.find_junction(through, junction) {
            through.remove(at);
        }
        if through.is_empty() {
            all.remove(at);
        }
    }

    fn is_shown(&self, links: &[Kept], junction: &Row, row: &Row) -> bool {
        let place = self.place(links, junction, row);
        place.is_ok_and(|at| links[at].is_shown)
    }

    /// The place of a link's destination, if it is there; below the limit it is to be shown.
    fn due(&self, all: &[Destination], junction: &Row, row: &Row) -> Option<usize> {
        let at = self.find(all, row).ok()?;
        let through = self.find_junction(&all[at].through, junction);
        through.is_ok().then_some(at)
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
        let last = self.with(&key, |partition| self.last_within(&partition.all));
        let mut gone = None;
        let mut edit = None;
        let mut passed = None;
        // The links that come or go.
        let mut changed = Vec::new();
        match change {
            Change::Add(Node { row, .. }) => {
                let destinations = self.destinations(reader, &row)?;
                self.with(&key, |partition| {
                    for node in destinations {
                        self.link(partition, &row, node.row.clone());
                        changed.push((row.clone(), node.row));
                    }
                });
            }
            Change::Remove(node) => passed = self.remove_junction(reader, &key, node),
            Change::Edit { old, new } => return Ok(self.edit_junction(reader, &key, old, new)),
            Change::Child { row, join, change } if join == self.far => match *change {
                Change::Add(node) => {
                    self.with(&key, |partition| {
                        self.link(partition, &row, node.row.clone());
                    });
                    changed.push((row, node.row));
                }
                Change::Remove(node) => {
                    self.with(&key, |partition| self.unlink(partition, &row, &node.row));
                    changed.push((row, node.row.clone()));
                    gone = Some(node);
                }
                Change::Edit { old, new } => {
                    edit = self.edit_destination(&key, &row, &old, &new);
                    changed.extend([(row.clone(), old), (row, new)]);
                }
                Change::Child { row: ref far, .. } => {
                    let is_shown =
                        self.with(&key, |partition| self.is_shown(&partition.links, &row, far));
                    return Ok(is_shown.then_some(Change::Child { row, join, change }));
                }
            },
            Change::Child { ref row, .. } => {
                let is_shown = !self.shown_destinations(reader, row).is_empty();
                return Ok(is_shown.then_some(change));
            }
        }
        let (leaves, enters) = self.with(&key, |partition| {
            self.differences(reader, partition, last, changed, edit.as_ref())
        });
        *self.settling.borrow_mut() = Some(Settling {
            key,
            leaves,
            gone,
            edit,
            enters,
        });
        tasks.push(Task::Announce { take: own });
        Ok(passed)
    }

    /// What is shown and should not be, and the other way round, but for what an edit of a destination does: among the
    /// links that have changed, and those to destinations that come within the limit or behind it. `last` was the last
    /// destination within.
    fn differences(
        &self,
        reader: Reader<'_>,
        partition: &Partition,
        last: Option<Row>,
        changed: Vec<(Row, Row)>,
        edit: Option<&(Link, Row)>,
    ) -> (IntoIter<Link>, IntoIter<Link>) {
        let all = &partition.all;
        let now = all.len().min(self.limit);
        let before = last.map_or(all.len(), |last| {
            all.partition_point(|to| self.far_order.compare(&to.row, &last).is_le())
        });
        let moved = now.min(before)..now.max(before);
        let (mut leaves, mut enters): (Vec<Link>, Vec<Link>) = Default::default();
        let mut compare = |junction: &Row, row: &Row, due: Option<usize>| {
            reader.steps.spend();
            let is_due = due.is_some_and(|at| at < self.limit);
            let is_edited = edit.is_some_and(|(link, new)| {
                self.order.compare(&link.junction, junction).is_eq()
                    && [&link.destination, new].map(|of| self.far_order.compare(of, row).is_eq())
                        != [false; 2]
            });
            if !is_edited && is_due != self.is_shown(&partition.links, junction, row) {
                let list = if is_due { &mut enters } else { &mut leaves };
                list.push(Link {
                    junction: junction.clone(),
                    destination: row.clone(),
                });
            }
        };
        for (junction, row) in &changed {
            let due = self.due(all, junction, row);
            if !due.is_some_and(|at| moved.contains(&at)) {
                compare(junction, row, due);
            }
        }
        for at in moved {
            for junction in &all[at].through {
                compare(junction, &all[at].row, Some(at));
            }
        }
        (leaves.into_iter(), enters.into_iter())
    }

    fn remove_junction(&self, reader: Reader<'_>, key: &Key, node: Node) -> Option<Change> {
        let shown = self.with(key, |Partition { all, links }| {
            let own = self.of(links, &node.row);
            let shown = self.shown(reader, &links[own.clone()]);
            for Kept { link, .. } in links.drain(own) {
                self.detach(all, &link.junction, &link.destination);
            }
            shown
        });
        (!shown.is_empty()).then(|| Change::Remove(node.with_children(self.far, shown)))
    }

    /// The columns that decide about parent and destinations are the same.
    fn edit_junction(&self, reader: Reader<'_>, key: &Key, old: Row, new: Row) -> Option<Change> {
        let is_shown = self.with(key, |Partition { all, links }| {
            let own = self.of(links, &old);
            let is_shown = !self.shown(reader, &links[own.clone()]).is_empty();
            let mut own: Vec<Kept> = links.drain(own).collect();
            for Kept { link, .. } in &mut own {
                link.junction = new.clone();
                let Ok(at) = self.find(all, &link.destination) else {
                    continue;
                };
                let through = &mut all[at].through;
                if let Ok(at) = self.find_junction(through, &old) {
                    through.remove(at);
                }
                if let Err(at) = self.find_junction(through, &new) {
                    through.insert(at, new.clone());
                }
            }
            let at = self.of(links, &new).start;
            links.splice(at..at, own);
            is_shown
        });
        is_shown.then_some(Change::Edit { old, new })
    }

    /// Gives the link if it is shown before and after.
    fn edit_destination(
        &self,
        key: &Key,
        junction: &Row,
        old: &Row,
        new: &Row,
    ) -> Option<(Link, Row)> {
        self.with(key, |partition| {
            let was_shown = self.is_shown(&partition.links, junction, old);
            self.unlink(partition, junction, old);
            self.link(partition, junction, new.clone());
            let due = self.due(&partition.all, junction, new);
            let stays = was_shown && due.is_some_and(|at| at < self.limit);
            let link = Link {
                junction: junction.clone(),
                destination: old.clone(),
            };
            stays.then_some((link, new.clone()))
        })
    }

    /// The next change that makes what is shown the first destinations again: removals, then an edit, then additions.
    pub fn announce(&self) -> Option<Change> {
        let mut settling = self.settling.borrow_mut();
        let now = settling.as_mut()?;
        let change = self.with(&now.key, |partition| {
            if let Some(link) = now.leaves.next() {
                return Some(self.leave(partition, link, now.gone.as_ref()));
            }
            if let Some((
                Link {
                    junction,
                    destination,
                },
                new,
            )) = now.edit.take()
            {
                let old = destination;
                if let Ok(at) = self.place(&partition.links, &junction, &old) {
                    partition.links.remove(at);
                }
                self.keep(&mut partition.links, &junction, new.clone(), true);
                return Some(self.far_change(junction, Change::Edit { old, new }));
            }
            let link = now.enters.next()?;
            Some(self.enter(partition, link))
        });
        if change.is_none() {
            *settling = None;
        }
        change
    }

    fn shows_any(&self, links: &[Kept], junction: &Row) -> bool {
        let own = &links[self.of(links, junction)];
        own.iter().any(|kept| kept.is_shown)
    }

    fn leave(&self, partition: &mut Partition, link: Link, gone: Option<&Node>) -> Change {
        let Link {
            junction,
            destination,
        } = link;
        let Partition { all, links } = partition;
        if let Ok(at) = self.place(links, &junction, &destination) {
            links[at].is_shown = false;
            if self.due(all, &junction, &destination).is_none() {
                links.remove(at);
            }
        }
        let is_gone = |node: &&Node| self.far_order.compare(&node.row, &destination).is_eq();
        let node = gone.filter(is_gone).cloned();
        let node = node.unwrap_or_else(|| destination.into());
        if self.shows_any(links, &junction) {
            return self.far_change(junction, Change::Remove(node));
        }
        Change::Remove(Node::from(junction).with_children(self.far, vec![node]))
    }

    fn enter(&self, Partition { links, .. }: &mut Partition, link: Link) -> Change {
        let Link {
            junction,
            destination,
        } = link;
        let was_shown = self.shows_any(links, &junction);
        self.keep(links, &junction, destination.clone(), true);
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
