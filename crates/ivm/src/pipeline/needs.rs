//! The indexes that a pipeline's reads need, made before they read.

use std::cell::Cell;
use std::ops::Range;

use landfall_zql::TableId;

use crate::error::SourceError;
use crate::pipeline::{OpId, Reader};
use crate::source::IndexSpec;
use crate::steps::Progress;

/// Indexes of tables, in the order in which they are to be made.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    indexes: Vec<(TableId, IndexSpec)>,
    /// How many of them are there.
    made: Cell<usize>,
}

impl Needs {
    pub fn add(&mut self, table: TableId, index: IndexSpec) {
        self.indexes.push((table, index));
    }

    /// Whether there is nothing to prepare.
    pub fn are_met(&self) -> bool {
        self.made.get() == self.indexes.len()
    }

    /// Has the source make what it can until the steps are spent, but a little in any case.
    pub fn prepare(&self, reader: Reader<'_>) -> Result<Progress, SourceError> {
        while let Some((table, index)) = self.indexes.get(self.made.get()) {
            let progress = reader.source().prepare(*table, index, reader.steps)?;
            if progress == Progress::More {
                return Ok(Progress::More);
            }
            self.made.set(self.made.get() + 1);
        }
        Ok(Progress::Done)
    }
}

/// The operators of a level and of all levels below it.
pub(crate) type Below = Range<OpId>;

/// An index by which the parents of changed children are looked up: only changes at or below the children need it.
#[derive(Debug)]
pub(crate) struct Lookup {
    /// Of the children.
    below: Below,
    need: Needs,
}

impl Lookup {
    pub fn new(below: Below, table: TableId, index: IndexSpec) -> Lookup {
        let mut need = Needs::default();
        need.add(table, index);
        Lookup { below, need }
    }

    /// Where the operators begin that are at the children or below, if this one is.
    pub fn is_above(&self, operator: OpId) -> Option<OpId> {
        self.below.contains(&operator).then_some(self.below.start)
    }

    pub fn need(&self) -> &Needs {
        &self.need
    }

    /// The index, if it is still to be made for a change that the connections among these operators may see.
    pub fn missing(&self, sees: impl FnOnce(Below) -> bool) -> Option<&Needs> {
        (!self.need.are_met() && sees(self.below.clone())).then_some(&self.need)
    }
}
