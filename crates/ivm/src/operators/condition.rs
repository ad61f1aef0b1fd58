//! Where: keeps the rows that meet a condition with subqueries. Conditions without are met by the connection already.

use std::ops::ControlFlow;

use landfall_zql::Row;
use landfall_zql::predicate::Predicate;

use crate::change::{Change, Node};
use crate::error::SourceError;
use crate::pipeline::{JoinId, OpId, Reader, Request};
use crate::source::Sink;

#[derive(Debug)]
pub(crate) struct Where {
    pub input: OpId,
    pub term: Term,
}

#[derive(Debug)]
pub(crate) enum Term {
    Simple(Predicate),
    And(Vec<Term>),
    Or(Vec<Term>),
    Exists { join: JoinId, negated: bool },
}

/// An answer that is known for one relationship, instead of the one its children would give.
type Known = Option<(JoinId, bool)>;

impl Term {
    fn is_met(&self, reader: Reader<'_>, row: &Row, known: Known) -> Result<bool, SourceError> {
        match self {
            Term::Simple(predicate) => Ok(predicate.matches(row)),
            Term::And(terms) => {
                for term in terms {
                    if !term.is_met(reader, row, known)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Term::Or(terms) => {
                for term in terms {
                    if term.is_met(reader, row, known)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Term::Exists { join, negated } => {
                let exists = match known {
                    Some((known, exists)) if known == *join => exists,
                    _ => reader.pipeline().join(*join).has_children(reader, row, 1)?,
                };
                Ok(exists != *negated)
            }
        }
    }

    pub fn decides_by(&self, wanted: JoinId) -> bool {
        match self {
            Term::Simple(_) => false,
            Term::And(terms) | Term::Or(terms) => terms.iter().any(|term| term.decides_by(wanted)),
            Term::Exists { join, .. } => *join == wanted,
        }
    }
}

impl Where {
    pub fn fetch(
        &self,
        reader: Reader<'_>,
        request: &Request<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), SourceError> {
        let mut failure = None;
        reader.fetch(
            self.input,
            request,
            &mut |row| match self.term.is_met(reader, row, None) {
                Ok(true) => sink(row),
                Ok(false) => ControlFlow::Continue(()),
                Err(error) => {
                    failure = Some(error);
                    ControlFlow::Break(())
                }
            },
        )?;
        failure.map_or(Ok(()), Err)
    }

    pub fn push(&self, reader: Reader<'_>, change: Change) -> Result<Option<Change>, SourceError> {
        let is_met = |row: &Row| self.term.is_met(reader, row, None);
        Ok(match change {
            Change::Add(node) => is_met(&node.row)?.then_some(Change::Add(node)),
            Change::Remove(node) => is_met(&node.row)?.then_some(Change::Remove(node)),
            Change::Edit { old, new } => {
                let (was, is) = (is_met(&old)?, is_met(&new)?);
                Change::edit(old, was, new, is)
            }
            Change::Child { row, join, change } => self.child(reader, row, join, change)?,
        })
    }

    /// What the change of a row's child is for the row: it may enter or leave by it.
    fn child(
        &self,
        reader: Reader<'_>,
        row: Row,
        join: JoinId,
        change: Box<Change>,
    ) -> Result<Option<Change>, SourceError> {
        let counts =
            self.term.decides_by(join) && matches!(*change, Change::Add(_) | Change::Remove(_));
        if !counts {
            let is_met = self.term.is_met(reader, &row, None)?;
            return Ok(is_met.then_some(Change::Child { row, join, change }));
        }
        let operator = reader.pipeline().join(join);
        let (before, now) = match *change {
            Change::Add(_) => (operator.has_children(reader, &row, 2)?, true),
            _ => (true, operator.has_children(reader, &row, 1)?),
        };
        let was_met = self.term.is_met(reader, &row, Some((join, before)))?;
        let is_met = self.term.is_met(reader, &row, Some((join, now)))?;
        Ok(match (was_met, is_met) {
            (false, false) => None,
            (true, true) => Some(Change::Child { row, join, change }),
            (false, true) => Some(Change::Add(row.into())),
            (true, false) => {
                // The row leaves with the children that it had.
                let mut children = operator.children(reader, &row)?;
                operator.take_back(&change, &mut children);
                Some(Change::Remove(
                    Node::from(row).with_children(join, children),
                ))
            }
        })
    }
}
