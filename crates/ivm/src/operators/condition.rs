//! Where: keeps the rows that meet a condition with subqueries. Conditions without are met by the connection already.

use std::cell::RefCell;
use std::ops::ControlFlow;

use landfall_zql::Row;
use landfall_zql::predicate::Predicate;

use crate::change::{Change, Node};
use crate::error::SourceError;
use crate::pipeline::{JoinId, OpId, Reader, Request};
use crate::source::Sink;
use crate::steps::{Pause, Progress};

#[derive(Debug)]
pub(crate) struct Where {
    pub input: OpId,
    pub term: Term,
    /// How far the condition of a row was decided when the steps were spent.
    pub decision: RefCell<Decision>,
}

#[derive(Debug, Default)]
pub(crate) struct Decision {
    /// `None` when all is decided.
    row: Option<Row>,
    /// Of the `EXISTS` that were asked for, in that order.
    answers: Vec<bool>,
    /// The child at which the next one goes on.
    position: Option<Row>,
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

/// `None` if the steps are spent.
type Answer = Result<Option<bool>, SourceError>;

impl Term {
    /// Whether a row meets it; `exists` says so of an `EXISTS`, negated or not.
    fn is_met(&self, row: &Row, exists: &mut dyn FnMut(JoinId) -> Answer) -> Answer {
        let (terms, others) = match self {
            Term::Simple(predicate) => return Ok(Some(predicate.matches(row))),
            Term::Exists { join, negated } => {
                return Ok(exists(*join)?.map(|exists| exists != *negated));
            }
            Term::And(terms) => (terms, true),
            Term::Or(terms) => (terms, false),
        };
        for term in terms {
            let answer = term.is_met(row, exists)?;
            if answer != Some(others) {
                return Ok(answer);
            }
        }
        Ok(Some(others))
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
        reader.fetch(self.input, request, &mut |row| {
            let answer = match request.pause {
                Some(pause) => self.decide(reader, row, pause),
                None => self.is_met(reader, row, None).map(Some),
            };
            match answer {
                Ok(Some(true)) => return sink(row),
                Ok(Some(false)) => return ControlFlow::Continue(()),
                Ok(None) => {}
                Err(error) => failure = Some(error),
            }
            ControlFlow::Break(())
        })?;
        failure.map_or(Ok(()), Err)
    }

    fn is_met(&self, reader: Reader<'_>, row: &Row, known: Known) -> Result<bool, SourceError> {
        let answer = self.term.is_met(row, &mut |join| match known {
            Some((known, exists)) if known == join => Ok(Some(exists)),
            _ => {
                let join = reader.pipeline().join(join);
                join.has_children(reader, row, 1).map(Some)
            }
        });
        Ok(answer? == Some(true))
    }

    /// Decides about a row until the steps are spent, but goes on a little in any case: the fetch stops before the row
    /// then, and when it comes again goes on.
    fn decide(&self, reader: Reader<'_>, row: &Row, pause: &Pause) -> Answer {
        let mut decision = self.decision.take();
        let Decision {
            row: of,
            answers,
            position,
        } = &mut decision;
        if of.take().as_ref() != Some(row) {
            answers.clear();
            *position = None;
        }
        let mut asked = 0;
        let answer = self.term.is_met(row, &mut |join| {
            asked += 1;
            if let Some(answer) = answers.get(asked - 1) {
                return Ok(Some(*answer));
            }
            let join = reader.pipeline().join(join);
            let mut exists = false;
            let progress = Pause::read_on(position, true, &mut |start, pause| {
                exists = join.has_children_from(reader, row, 1, start, pause)?;
                Ok(())
            })?;
            if progress == Progress::More {
                return Ok(None);
            }
            answers.push(exists);
            Ok(Some(exists))
        })?;
        if answer.is_none() {
            *of = Some(row.clone());
            pause.stop(Some(row.clone()));
        }
        self.decision.replace(decision);
        Ok(answer)
    }

    pub fn push(&self, reader: Reader<'_>, change: Change) -> Result<Option<Change>, SourceError> {
        let is_met = |row: &Row| self.is_met(reader, row, None);
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
            let is_met = self.is_met(reader, &row, None)?;
            return Ok(is_met.then_some(Change::Child { row, join, change }));
        }
        let operator = reader.pipeline().join(join);
        let (before, now) = match *change {
            Change::Add(_) => (operator.has_children(reader, &row, 2)?, true),
            _ => (true, operator.has_children(reader, &row, 1)?),
        };
        let was_met = self.is_met(reader, &row, Some((join, before)))?;
        let is_met = self.is_met(reader, &row, Some((join, now)))?;
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
