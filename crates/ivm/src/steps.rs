//! Work in slices: how much a host allows at a time, and where a fetch stopped for that.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;

use landfall_zql::Row;
use landfall_zql::sort::Sorting;

use crate::error::SourceError;
use crate::source::{Basis, Start};

/// So many elements of what is brought in order are merged in a step.
const MERGED: usize = 8;

/// What goes on at a start, until it is to pause.
type Read<'a> = dyn FnMut(Option<Start<'_>>, Option<&Pause>) -> Result<(), SourceError> + 'a;

/// How much may be done before the host gets its thread back. A step is a row that is visited, whether it is given
/// or not, or a change that is passed on.
#[derive(Debug)]
pub struct Steps {
    left: Cell<usize>,
}

impl Steps {
    /// This many steps.
    pub fn new(count: usize) -> Steps {
        Steps {
            left: Cell::new(count),
        }
    }

    /// As many as it takes.
    pub fn unlimited() -> Steps {
        Steps::new(usize::MAX)
    }

    /// How many are left.
    pub fn left(&self) -> usize {
        self.left.get()
    }

    pub(crate) fn spend(&self) {
        self.spend_many(1);
    }

    /// Counts work that the host does itself.
    pub fn spend_many(&self, count: usize) {
        self.left.set(self.left.get().saturating_sub(count));
    }

    /// Sorts on; if it is sliced until they are spent, but a little in any case. Gives the place where each element of the
    /// sorted list is when all is done.
    pub(crate) fn sort(
        &self,
        sorting: &mut Sorting,
        is_sliced: bool,
        compare: &dyn Fn(usize, usize) -> Ordering,
    ) -> Option<Vec<usize>> {
        loop {
            if let Some(places) = sorting.go_on(MERGED, compare) {
                return Some(std::mem::take(places));
            }
            self.spend();
            if is_sliced && self.are_spent() {
                return None;
            }
        }
    }

    /// Whether none are left.
    pub fn are_spent(&self) -> bool {
        self.left.get() == 0
    }
}

/// How a slice of work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to do.
    More,
    /// All is done.
    Done,
}

/// Lets a fetch stop between two rows when the steps are spent, and says at which row to go on.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    /// Whether this slice has visited a row: every slice does, or there would be no end.
    has_moved: Cell<bool>,
    has_stopped: Cell<bool>,
    next: RefCell<Option<Row>>,
}

impl Pause {
    /// Whether to stop before this row.
    pub fn before(&self, row: &Row, steps: &Steps) -> bool {
        if !self.has_moved.replace(true) || !steps.are_spent() {
            return false;
        }
        self.stop(Some(row.clone()));
        true
    }

    /// Stops before a row; without one before the first: the fetch goes on with the same request.
    pub fn stop(&self, next: Option<Row>) {
        self.has_stopped.set(true);
        self.next.replace(next);
    }

    /// Whether the fetch has stopped.
    pub fn has_stopped(&self) -> bool {
        self.has_stopped.get()
    }

    /// The row that was not visited any more, if the fetch stopped behind another one.
    pub fn into_next(self) -> Option<Row> {
        self.next.into_inner()
    }

    /// Reads on at a position; if it is sliced until the steps are spent: the position is where to go on then.
    pub fn read_on(
        position: &mut Option<Row>,
        is_sliced: bool,
        read: &mut Read<'_>,
    ) -> Result<Progress, SourceError> {
        let pause = Pause::default();
        let from = position.take();
        let start = from.as_ref().map(|row| Start {
            row,
            basis: Basis::At,
        });
        read(start, is_sliced.then_some(&pause))?;
        if pause.has_stopped() {
            *position = pause.into_next().or(from);
            return Ok(Progress::More);
        }
        Ok(Progress::Done)
    }
}
