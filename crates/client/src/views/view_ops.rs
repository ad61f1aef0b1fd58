//! View operations as words, with the handles of the rows they show counted on the way (layout in `FLUSH.md`).

use crate::effect::ViewId;
use crate::views::flush::op;
use crate::views::row_handles::RowHandles;
use landfall_ivm::{Entry, Pipeline, Relationship, Role, Step, ViewDelta};
use landfall_zql::TableId;
use landfall_zql::sort::sort_by_key;

/// The tables of the rows of a view, level by level.
#[derive(Debug)]
pub(crate) struct TableShape {
    pub(crate) table: TableId,
    /// One per relationship that the query shows, in document order.
    pub(crate) lists: Vec<TableShape>,
}

impl TableShape {
    pub(crate) fn of(pipeline: &Pipeline) -> Self {
        Self::level(pipeline.table(), pipeline.relationships())
    }

    fn level(table: TableId, relationships: &[Relationship]) -> Self {
        let mut shown: Vec<&Relationship> = relationships.iter().filter(|r| is_shown(r)).collect();
        sort_by_key(&mut shown, |relationship| relationship.index);
        let lists = shown
            .into_iter()
            .map(|outer| {
                let mut far = outer;
                while far.role == Role::Hidden
                    && let Some(inner) = far.relationships.iter().find(|r| is_shown(r))
                {
                    far = inner;
                }
                Self::level(far.table, &far.relationships)
            })
            .collect();
        TableShape { table, lists }
    }

    fn at(&self, path: &[Step]) -> &TableShape {
        path.iter()
            .fold(self, |shape, (_, list)| &shape.lists[*list as usize])
    }
}

fn is_shown(relationship: &Relationship) -> bool {
    matches!(relationship.role, Role::Result | Role::Hidden)
}

/// Collects the operations of one flush.
#[derive(Default)]
pub(crate) struct ViewOps {
    words: Vec<u32>,
}

impl ViewOps {
    pub(crate) fn take(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.words)
    }

    /// The whole of a view.
    pub(crate) fn snapshot(
        &mut self,
        handles: &mut RowHandles,
        view: ViewId,
        shape: &TableShape,
        list: &[Entry],
    ) {
        self.words.extend([op::SNAPSHOT, view.0, 0]);
        let length = self.words.len() - 1;
        self.list(handles, shape, list);
        self.words[length] = (self.words.len() - length - 1) as u32;
    }

    pub(crate) fn status(&mut self, view: ViewId, status: u32) {
        self.words.extend([op::STATUS, view.0, status]);
    }

    /// What changed in a view.
    pub(crate) fn deltas(
        &mut self,
        handles: &mut RowHandles,
        view: ViewId,
        shape: &TableShape,
        deltas: Vec<ViewDelta>,
    ) {
        for delta in deltas {
            match delta {
                ViewDelta::Insert {
                    path,
                    position,
                    entry,
                } => {
                    self.place(op::INSERT, view, &path, position);
                    self.entry(handles, shape.at(&path), &entry);
                }
                ViewDelta::Remove {
                    path,
                    position,
                    entry,
                } => {
                    self.place(op::REMOVE, view, &path, position);
                    handles.release_list(std::slice::from_ref(&entry));
                }
                ViewDelta::Replace {
                    path,
                    position,
                    old,
                    new,
                } => {
                    self.place(op::REPLACE, view, &path, position);
                    self.words.push(handles.retain(shape.at(&path).table, &new));
                    handles.release(&old);
                }
                ViewDelta::Move {
                    path,
                    from,
                    to,
                    old,
                    new,
                } => {
                    self.place(op::MOVE, view, &path, from);
                    self.words.push(to);
                    self.words.push(handles.retain(shape.at(&path).table, &new));
                    handles.release(&old);
                }
            }
        }
    }

    fn place(&mut self, opcode: u32, view: ViewId, path: &[Step], position: u32) {
        self.words.extend([opcode, view.0, path.len() as u32]);
        self.words
            .extend(path.iter().flat_map(|(position, list)| [*position, *list]));
        self.words.push(position);
    }

    /// A list with everything below it: its length, then for each entry its row and its lists.
    pub(crate) fn list(&mut self, handles: &mut RowHandles, shape: &TableShape, list: &[Entry]) {
        self.words.push(list.len() as u32);
        for entry in list {
            self.entry(handles, shape, entry);
        }
    }

    fn entry(&mut self, handles: &mut RowHandles, shape: &TableShape, entry: &Entry) {
        self.words.push(handles.retain(shape.table, &entry.row));
        for (list, shape) in entry.children.iter().zip(&shape.lists) {
            self.list(handles, shape, list);
        }
    }
}
