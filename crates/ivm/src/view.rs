//! A view: the ordered tree of a query's result, kept current by the changes of its pipeline, and the positions at
//! which it changed.

use landfall_zql::Row;
use landfall_zql::ordering::Order;

use crate::change::{Change, Node, Output, Relationship, Role};
use crate::error::SourceError;
use crate::pipeline::walk::Walk;
use crate::pipeline::{JoinId, Pipeline, Reader};
use crate::steps::Progress;

/// A row of a result with its related rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The row.
    pub row: Row,
    /// How often the row was added: more than once only through a junction that names it more than once, or below
    /// such a row, whose children come with every reference to it.
    pub count: u32,
    /// One list per `related` entry of the query, in document order.
    pub children: Vec<Vec<Entry>>,
}

/// A step of a path: an entry's position in its list, and which of its lists.
pub type Step = (u32, u32);

/// A change of a view. Positions hold after the deltas before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewDelta {
    /// A new entry at a position.
    Insert {
        /// The list; empty for the root.
        path: Vec<Step>,
        /// Where in it.
        position: u32,
        /// The entry with its related rows.
        entry: Entry,
    },
    /// An entry is gone.
    Remove {
        /// The list.
        path: Vec<Step>,
        /// Where it was.
        position: u32,
        /// The entry with its related rows.
        entry: Entry,
    },
    /// An entry shows another version of its row at the same place.
    Replace {
        /// The list.
        path: Vec<Step>,
        /// Where in it.
        position: u32,
        /// Before.
        old: Row,
        /// After.
        new: Row,
    },
    /// An entry shows another version of its row at another place.
    Move {
        /// The list.
        path: Vec<Step>,
        /// Where it was.
        from: u32,
        /// Where it is, counted without it.
        to: u32,
        /// Before.
        old: Row,
        /// After.
        new: Row,
    },
}

/// One level of the tree.
#[derive(Debug)]
struct Shape {
    order: Order,
    /// Number of lists of an entry.
    lists: usize,
    links: Vec<Link>,
}

/// How the children of a level come to one of its lists.
#[derive(Debug)]
struct Link {
    /// The joins on the way: one, or two and more through hidden junctions.
    hops: Vec<JoinId>,
    list: usize,
    shape: Shape,
}

/// The result of a query.
#[derive(Debug)]
pub struct View {
    shape: Shape,
    root: Vec<Entry>,
    deltas: Vec<ViewDelta>,
}

impl View {
    /// An empty view of a pipeline's output.
    pub fn new(pipeline: &Pipeline) -> View {
        let shape = shape(pipeline, pipeline.order().clone(), pipeline.relationships());
        View {
            shape,
            root: Vec::new(),
            deltas: Vec::new(),
        }
    }

    /// The result as it is now.
    pub fn entries(&self) -> &[Entry] {
        &self.root
    }

    /// The result, taken out of the view.
    pub(crate) fn into_entries(self) -> Vec<Entry> {
        self.root
    }

    /// What has changed since the last call. Hydration leaves no deltas.
    pub fn take_deltas(&mut self) -> Vec<ViewDelta> {
        std::mem::take(&mut self.deltas)
    }

    /// Appends the next root row of a hydration with what is related to it, or goes on with the last one.
    pub(crate) fn hydrate(
        &mut self,
        reader: Reader<'_>,
        row: &Row,
        walk: &mut Walk,
    ) -> Result<Progress, SourceError> {
        if !walk.is_begun() {
            self.root.push(Entry::new(&self.shape, row.clone()));
        }
        match self.root.last_mut() {
            Some(entry) => fill(reader, &self.shape, entry, walk),
            None => Ok(Progress::Done),
        }
    }
}

impl Output for View {
    fn push(&mut self, reader: Reader<'_>, change: Change) -> Result<(), SourceError> {
        let mut path = Vec::new();
        let mut cursor = Cursor {
            reader,
            path: &mut path,
            deltas: &mut self.deltas,
        };
        cursor.apply(&self.shape, &mut self.root, change)
    }
}

fn shape(pipeline: &Pipeline, order: Order, relationships: &[Relationship]) -> Shape {
    let shown = || {
        relationships
            .iter()
            .filter(|relationship| matches!(relationship.role, Role::Result | Role::Hidden))
    };
    let links = shown()
        .filter_map(|relationship| link(pipeline, relationship))
        .collect();
    Shape {
        order,
        lists: shown()
            .map(|relationship| relationship.index + 1)
            .max()
            .unwrap_or(0),
        links,
    }
}

fn link(pipeline: &Pipeline, outer: &Relationship) -> Option<Link> {
    let mut hops = vec![outer.join];
    let mut far = outer;
    while far.role == Role::Hidden {
        far = far
            .relationships
            .iter()
            .find(|inner| matches!(inner.role, Role::Result | Role::Hidden))?;
        hops.push(far.join);
    }
    let order = pipeline.join(far.join).child_order().clone();
    Some(Link {
        hops,
        list: outer.index,
        shape: shape(pipeline, order, &far.relationships),
    })
}

fn find(shape: &Shape, list: &[Entry], row: &Row) -> Result<usize, usize> {
    list.binary_search_by(|entry| shape.order.compare(&entry.row, row))
}

/// Reads what is related to an entry, until the walk is left.
fn fill(
    reader: Reader<'_>,
    shape: &Shape,
    entry: &mut Entry,
    walk: &mut Walk,
) -> Result<Progress, SourceError> {
    let Entry { row, children, .. } = entry;
    let mut joins = shape.links.iter().map(|link| (link.hops[0], usize::MAX));
    walk.children(reader, row, &mut joins, &mut |walk, at, row, is_new| {
        let link = &shape.links[at];
        let list = &mut children[link.list];
        collect(reader, link, &link.hops[1..], row, is_new, list, walk)
    })
}

/// Puts a row in its place, which is behind further hops, and reads what is related to it.
fn collect(
    reader: Reader<'_>,
    link: &Link,
    hops: &[JoinId],
    row: &Row,
    is_new: bool,
    list: &mut Vec<Entry>,
    walk: &mut Walk,
) -> Result<Progress, SourceError> {
    if let Some((hop, rest)) = hops.split_first() {
        let mut joins = std::iter::once((*hop, usize::MAX));
        return walk.children(reader, row, &mut joins, &mut |walk, _, row, is_new| {
            collect(reader, link, rest, row, is_new, list, walk)
        });
    }
    let is_last = |last: &Entry| is_new && link.shape.order.compare(&last.row, row).is_lt();
    let place = match list.last().is_none_or(is_last) {
        true => Err(list.len()),
        false => find(&link.shape, list, row),
    };
    let at = match place {
        Ok(at) => {
            list[at].count += u32::from(is_new);
            at
        }
        Err(at) => {
            list.insert(at, Entry::new(&link.shape, row.clone()));
            at
        }
    };
    fill(reader, &link.shape, &mut list[at], walk)
}

impl Entry {
    fn new(shape: &Shape, row: Row) -> Entry {
        Entry {
            row,
            count: 1,
            children: vec![Vec::new(); shape.lists],
        }
    }

    /// Takes in another reference to the same row with the children that it brings.
    fn unite(&mut self, shape: &Shape, other: Entry) {
        self.count += other.count;
        for link in &shape.links {
            let list = &mut self.children[link.list];
            for child in other.children[link.list].iter().cloned() {
                match find(&link.shape, list, &child.row) {
                    Ok(at) => list[at].unite(&link.shape, child),
                    Err(at) => list.insert(at, child),
                }
            }
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a view has fewer than four billion entries"
)]
fn position(at: usize) -> u32 {
    at as u32
}

/// Applies a change somewhere in the tree.
struct Cursor<'a> {
    reader: Reader<'a>,
    path: &'a mut Vec<Step>,
    deltas: &'a mut Vec<ViewDelta>,
}

impl Cursor<'_> {
    fn apply(
        &mut self,
        shape: &Shape,
        list: &mut Vec<Entry>,
        change: Change,
    ) -> Result<(), SourceError> {
        match change {
            Change::Add(node) => self.add(shape, list, node),
            Change::Remove(node) => self.remove(shape, list, node),
            Change::Edit { old, new } => {
                self.edit(shape, list, &old, new);
                Ok(())
            }
            Change::Child { row, join, change } => {
                // Relationships that only decide an EXISTS are not part of the view.
                let Some(link) = shape.links.iter().find(|link| link.hops[0] == join) else {
                    return Ok(());
                };
                let found = find(shape, list, &row);
                debug_assert!(found.is_ok(), "a child changes under a row of the view");
                let Ok(at) = found else { return Ok(()) };
                self.path.push((position(at), position(link.list)));
                let done = self.descend(
                    link,
                    &link.hops[1..],
                    &mut list[at].children[link.list],
                    *change,
                );
                self.path.pop();
                done
            }
        }
    }

    /// A change behind the first hop of a link: rows of the hops in between are not shown.
    fn descend(
        &mut self,
        link: &Link,
        hops: &[JoinId],
        list: &mut Vec<Entry>,
        change: Change,
    ) -> Result<(), SourceError> {
        let Some((hop, rest)) = hops.split_first() else {
            return self.apply(&link.shape, list, change);
        };
        match change {
            Change::Add(node) => {
                for far in self.reader.children(*hop, &node)? {
                    self.descend(link, rest, list, Change::Add(far))?;
                }
            }
            Change::Remove(node) => {
                for far in self.reader.children(*hop, &node)? {
                    self.descend(link, rest, list, Change::Remove(far))?;
                }
            }
            Change::Child { join, change, .. } if join == *hop => {
                self.descend(link, rest, list, *change)?
            }
            Change::Child { .. } | Change::Edit { .. } => {}
        }
        Ok(())
    }

    fn add(&mut self, shape: &Shape, list: &mut Vec<Entry>, node: Node) -> Result<(), SourceError> {
        match find(shape, list, &node.row) {
            Ok(at) => {
                list[at].count += 1;
                self.children(shape, list, at, &node, Change::Add)?;
            }
            Err(at) => {
                let mut entry = Entry::new(shape, node.row);
                fill(self.reader, shape, &mut entry, &mut Walk::whole())?;
                list.insert(at, entry.clone());
                self.deltas.push(ViewDelta::Insert {
                    path: self.path.clone(),
                    position: position(at),
                    entry,
                });
            }
        }
        Ok(())
    }

    /// A reference to an entry comes or goes beside others: so do the references to its children.
    fn children(
        &mut self,
        shape: &Shape,
        list: &mut [Entry],
        at: usize,
        node: &Node,
        change: fn(Node) -> Change,
    ) -> Result<(), SourceError> {
        for link in &shape.links {
            self.path.push((position(at), position(link.list)));
            for child in self.reader.children(link.hops[0], node)? {
                let list = &mut list[at].children[link.list];
                self.descend(link, &link.hops[1..], list, change(child))?;
            }
            self.path.pop();
        }
        Ok(())
    }

    fn remove(
        &mut self,
        shape: &Shape,
        list: &mut Vec<Entry>,
        node: Node,
    ) -> Result<(), SourceError> {
        let found = find(shape, list, &node.row);
        debug_assert!(found.is_ok(), "a row that leaves is in the view");
        let Ok(at) = found else { return Ok(()) };
        if list[at].count > 1 {
            list[at].count -= 1;
            return self.children(shape, list, at, &node, Change::Remove);
        }
        let entry = list.remove(at);
        self.deltas.push(ViewDelta::Remove {
            path: self.path.clone(),
            position: position(at),
            entry,
        });
        Ok(())
    }

    /// All references to an entry move with the first of their edits: between two of them the list would hold the
    /// row twice.
    fn edit(&mut self, shape: &Shape, list: &mut Vec<Entry>, old: &Row, new: Row) {
        let Ok(from) = find(shape, list, old) else {
            let found = find(shape, list, &new);
            debug_assert!(found.is_ok(), "a row that is edited is in the view");
            return;
        };
        let path = self.path.clone();
        if shape.order.compare(old, &new).is_eq() {
            let before = std::mem::replace(&mut list[from].row, new.clone());
            if before != new {
                self.deltas.push(ViewDelta::Replace {
                    path,
                    position: position(from),
                    old: before,
                    new,
                });
            }
            return;
        }
        let mut entry = list.remove(from);
        match find(shape, list, &new) {
            Ok(to) => {
                self.deltas.push(ViewDelta::Remove {
                    path,
                    position: position(from),
                    entry: entry.clone(),
                });
                list[to].unite(shape, entry);
            }
            Err(to) => {
                entry.row = new.clone();
                list.insert(to, entry);
                self.deltas.push(ViewDelta::Move {
                    path,
                    from: position(from),
                    to: position(to),
                    old: old.clone(),
                    new,
                });
            }
        }
    }
}
