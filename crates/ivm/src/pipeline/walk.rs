//! A walk over what is related to a row, level below level, which can be left between any two rows and gone on with.

use std::ops::ControlFlow;

use landfall_zql::Row;

use crate::change::{Node, Relationship, Role};
use crate::error::SourceError;
use crate::pipeline::rows::{RowDelta, RowSink, WITNESSES};
use crate::pipeline::{JoinId, Reader};
use crate::source::{Basis, Start};
use crate::steps::{Pause, Progress};

/// Where a walk was left: what was being read at each level, the outermost last. Empty where nothing was begun.
#[derive(Debug, Default)]
pub struct Walk {
    stops: Vec<Stop>,
    /// It is never left.
    is_whole: bool,
}

#[derive(Debug)]
struct Stop {
    /// Which of the relationships.
    branch: usize,
    /// Where to go on among its rows, if not at the first.
    position: Option<(Row, Basis)>,
    /// How many of its rows were given.
    given: usize,
    /// The row of the position was given, but not all that is below it.
    is_open: bool,
}

/// Takes a related row: of which relationship it is, by number, and whether it is given for the first time; it is given
/// again to go on with what is below it. `More` if the walk was left there.
pub(crate) type Visit<'a> =
    dyn FnMut(&mut Walk, usize, &Row, bool) -> Result<Progress, SourceError> + 'a;

impl Walk {
    /// A walk that is never left.
    pub fn whole() -> Walk {
        Walk {
            is_whole: true,
            ..Walk::default()
        }
    }

    /// Whether it was left and not gone on with.
    pub fn is_begun(&self) -> bool {
        !self.stops.is_empty()
    }

    /// Gives the rows that are related to a row in these relationships, of each as many as are wanted; goes on where it
    /// was left.
    pub(crate) fn children(
        &mut self,
        reader: Reader<'_>,
        parent: &Row,
        relationships: &mut dyn Iterator<Item = (JoinId, usize)>,
        visit: &mut Visit<'_>,
    ) -> Result<Progress, SourceError> {
        let mut stop = self.stops.pop();
        let begun = stop.as_ref().map_or(0, |stop| stop.branch);
        for (branch, (join, wanted)) in relationships.enumerate().skip(begun) {
            let mut position = None;
            let mut given = 0;
            if let Some(stop) = stop.take() {
                position = stop.position;
                given = stop.given;
                if let Some((row, _)) = &position
                    && stop.is_open
                    && visit(self, branch, row, false)? == Progress::More
                {
                    return Ok(self.leave(branch, position, given, true));
                }
            }
            let wanted = wanted - given;
            if wanted == 0 {
                continue;
            }
            let pause = Pause::default();
            let pauses = (!self.is_whole).then_some(&pause);
            let start = position
                .as_ref()
                .map(|(row, basis)| Start { row, basis: *basis });
            let mut open = None;
            let mut failure = None;
            reader.each_child(join, parent, wanted, start, pauses, &mut |row| {
                given += 1;
                match visit(self, branch, row, true) {
                    Ok(Progress::Done) => return ControlFlow::Continue(()),
                    Ok(Progress::More) => open = Some((row.clone(), Basis::After)),
                    Err(error) => failure = Some(error),
                }
                ControlFlow::Break(())
            })?;
            if let Some(error) = failure {
                return Err(error);
            }
            if open.is_some() {
                return Ok(self.leave(branch, open, given, true));
            }
            if pause.has_stopped() {
                let next = pause.into_next().map(|row| (row, Basis::At));
                return Ok(self.leave(branch, next.or(position), given, false));
            }
        }
        Ok(Progress::Done)
    }

    fn leave(
        &mut self,
        branch: usize,
        position: Option<(Row, Basis)>,
        given: usize,
        is_open: bool,
    ) -> Progress {
        self.stops.push(Stop {
            branch,
            position,
            given,
            is_open,
        });
        Progress::More
    }
}

impl Reader<'_> {
    /// Gives what [`Reader::rows_of_node`] gives of a node that is hydrated, but may stop between two rows.
    ///
    /// # Errors
    /// Rows could not be read.
    pub fn hydrate_rows(
        self,
        node: &Node,
        walk: &mut Walk,
        sink: &mut RowSink<'_>,
    ) -> Result<Progress, SourceError> {
        let pipeline = self.pipeline();
        if !walk.is_begun() {
            sink(pipeline.table(), RowDelta::Enter(&node.row));
        }
        self.rows_below(pipeline.relationships(), &node.row, walk, sink)
    }

    fn rows_below(
        self,
        relationships: &[Relationship],
        row: &Row,
        walk: &mut Walk,
        sink: &mut RowSink<'_>,
    ) -> Result<Progress, SourceError> {
        let mut needed = relationships.iter().map(|relationship| {
            let wanted = match relationship.role {
                Role::Permission => 0,
                Role::Exists => WITNESSES,
                Role::Result | Role::Hidden => usize::MAX,
            };
            (relationship.join, wanted)
        });
        walk.children(self, row, &mut needed, &mut |walk, at, row, is_new| {
            let relationship = &relationships[at];
            if is_new {
                sink(relationship.table, RowDelta::Enter(row));
            }
            self.rows_below(&relationship.relationships, row, walk, sink)
        })
    }
}
