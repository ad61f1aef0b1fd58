//! Skip: leaves out the rows before the start of a query.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use landfall_zql::Row;
use landfall_zql::ordering::Order;

use crate::change::{Change, Node};
use crate::error::SourceError;
use crate::pipeline::{OpId, Reader, Request};
use crate::source::{Basis, Sink, Start};

#[derive(Debug)]
pub(crate) struct Skip {
    pub input: OpId,
    /// The bound; it need not exist.
    pub row: Row,
    pub exclusive: bool,
    pub order: Order,
}

impl Skip {
    fn shows(&self, row: &Row) -> bool {
        match self.order.compare(row, &self.row) {
            Ordering::Less => false,
            Ordering::Equal => !self.exclusive,
            Ordering::Greater => true,
        }
    }

    pub fn fetch(
        &self,
        reader: Reader<'_>,
        request: &Request<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), SourceError> {
        if request.reverse {
            return reader.fetch(self.input, request, &mut |row| {
                if self.shows(row) {
                    sink(row)
                } else {
                    ControlFlow::Break(())
                }
            });
        }
        let own = Start {
            row: &self.row,
            basis: if self.exclusive {
                Basis::After
            } else {
                Basis::At
            },
        };
        let start = match request.start {
            None => own,
            Some(start) => match self.order.compare(start.row, own.row) {
                Ordering::Less => own,
                Ordering::Greater => start,
                Ordering::Equal if start.basis == Basis::After => start,
                Ordering::Equal => own,
            },
        };
        reader.fetch(
            self.input,
            &Request {
                start: Some(start),
                ..*request
            },
            sink,
        )
    }

    pub fn push(&self, change: Change) -> Option<Change> {
        match change {
            Change::Edit { old, new } => {
                let (was, is) = (self.shows(&old), self.shows(&new));
                Change::edit(old, was, new, is)
            }
            Change::Add(Node { ref row, .. })
            | Change::Remove(Node { ref row, .. })
            | Change::Child { ref row, .. } => self.shows(row).then_some(change),
        }
    }
}
