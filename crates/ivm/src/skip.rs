//! Skip: leaves out the rows before the start of a query.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use landfall_zql::Row;
use landfall_zql::ordering::Order;

use crate::change::{Change, Output};
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

    pub fn push(
        &self,
        reader: Reader<'_>,
        own: OpId,
        change: Change,
        output: &mut dyn Output,
    ) -> Result<(), SourceError> {
        let change = match change {
            Change::Add(ref node) | Change::Remove(ref node) if !self.shows(&node.row) => {
                return Ok(());
            }
            Change::Child { ref row, .. } if !self.shows(row) => return Ok(()),
            Change::Edit { old, new } => match (self.shows(&old), self.shows(&new)) {
                (false, false) => return Ok(()),
                (false, true) => Change::Add(new.into()),
                (true, false) => Change::Remove(old.into()),
                (true, true) => Change::Edit { old, new },
            },
            other => other,
        };
        reader.send(own, change, output)
    }
}
