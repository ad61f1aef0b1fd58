//! Work in slices: how much a host allows at a time, and where a fetch stopped for that.

use std::cell::{Cell, RefCell};

use landfall_zql::Row;

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
}
