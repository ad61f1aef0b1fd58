//! The planner: whether a level is read from end to end or driven by its condition, and by which part of it.
//!
//! Every level is decided once, children first, so the effort grows with the size of the query only.

use std::slice;

use landfall_zql::TableSchema;
use landfall_zql::ast::Condition;
use landfall_zql::predicate::Predicate;

use crate::drive::Driver;
use crate::error::BuildError;
use crate::pipeline::JoinId;
use crate::source::{Constraint, Source};

/// How a pipeline finds the rows of a level whose condition names a way other than to read the whole level: by values
/// of columns, or from the children of an `EXISTS`. Results never depend on it.
#[derive(Clone, Copy)]
pub enum Choice<'a> {
    /// As the query's `flip` says; without it by reading the level.
    Hinted,
    /// By reading the level, always.
    Scan,
    /// By the condition, wherever that is possible.
    Driven,
    /// Now this, now that, as pseudo-random numbers from this seed have it.
    Seeded(u64),
    /// As `flip` says; without it what costs least by the estimates of this source.
    Estimated(&'a dyn Source),
}

/// A level, as far as the planner needs to know it.
pub(crate) struct Shape<'a> {
    pub schema: &'a TableSchema,
    pub condition: Option<&'a Condition>,
    pub pinned: &'a Constraint,
    /// In document order; an `EXISTS` that is decided without rows is `None`.
    pub subqueries: &'a [Option<Subquery>],
}

/// An `EXISTS` of a level.
pub(crate) struct Subquery {
    pub join: JoinId,
    pub negated: bool,
    pub flip: Option<bool>,
}

/// A way to find all rows that meet a condition.
struct Way {
    driver: Driver,
    /// Whether the query asks for it.
    hinted: bool,
}

pub(crate) struct Planner<'a> {
    choice: Choice<'a>,
    random: u64,
}

impl<'a> Planner<'a> {
    pub fn new(choice: Choice<'a>) -> Planner<'a> {
        let random = match choice {
            Choice::Seeded(seed) => seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            _ => 1,
        };
        Planner { choice, random }
    }

    /// The driver of a level; `None` when it is read from end to end.
    pub fn decide(&mut self, level: &Shape<'_>) -> Result<Option<Driver>, BuildError> {
        if matches!(self.choice, Choice::Scan) {
            return Ok(None);
        }
        let Some(condition) = level.condition else {
            return Ok(None);
        };
        let way = self.way(condition, level, &mut level.subqueries.iter())?;
        let Some(way) = way else {
            return Ok(None);
        };
        let takes_it = match self.choice {
            Choice::Scan => false,
            Choice::Driven => true,
            Choice::Seeded(_) => self.chance(),
            Choice::Hinted | Choice::Estimated(_) => way.hinted,
        };
        Ok(takes_it.then_some(way.driver))
    }

    fn way(
        &mut self,
        condition: &Condition,
        level: &Shape<'_>,
        subqueries: &mut slice::Iter<'_, Option<Subquery>>,
    ) -> Result<Option<Way>, BuildError> {
        if !has_subquery(condition) {
            return by_values(condition, level);
        }
        Ok(match condition {
            Condition::Simple { .. } => None,
            Condition::CorrelatedSubquery { .. } => subqueries
                .next()
                .and_then(Option::as_ref)
                .and_then(|subquery| self.by_children(subquery)),
            Condition::And { conditions } => {
                let (plain, others): (Vec<_>, Vec<_>) =
                    conditions.iter().partition(|part| !has_subquery(part));
                let plain = Condition::And {
                    conditions: plain.into_iter().cloned().collect(),
                };
                let mut best = by_values(&plain, level)?;
                for part in others {
                    let other = self.way(part, level, subqueries)?;
                    best = self.better(best, other);
                }
                best
            }
            Condition::Or { conditions } => {
                let mut drivers = Vec::new();
                let (mut complete, mut hinted) = (true, false);
                for part in conditions {
                    match self.way(part, level, subqueries)? {
                        Some(way) => {
                            hinted |= way.hinted;
                            drivers.push(way.driver);
                        }
                        None => complete = false,
                    }
                }
                complete.then_some(Way {
                    driver: Driver::Any(drivers),
                    hinted,
                })
            }
        })
    }

    /// Whether hints count: tests that force a choice force it against them too.
    fn heeds_hints(&self) -> bool {
        matches!(self.choice, Choice::Hinted | Choice::Estimated(_))
    }

    fn by_children(&self, subquery: &Subquery) -> Option<Way> {
        let refused = subquery.flip == Some(false) && self.heeds_hints();
        (!subquery.negated && !refused).then_some(Way {
            driver: Driver::Children(subquery.join),
            hinted: subquery.flip == Some(true),
        })
    }

    fn better(&mut self, a: Option<Way>, b: Option<Way>) -> Option<Way> {
        let (a, b) = match (a, b) {
            (Some(a), Some(b)) => (a, b),
            (a, b) => return a.or(b),
        };
        let takes_a = match self.choice {
            Choice::Seeded(_) => self.chance(),
            _ => a.hinted || !b.hinted,
        };
        Some(if takes_a { a } else { b })
    }

    fn chance(&mut self) -> bool {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 63 == 1
    }
}

/// A condition without subqueries that asks for values of columns, other than those that every row of the level has.
fn by_values(condition: &Condition, level: &Shape<'_>) -> Result<Option<Way>, BuildError> {
    let lookups = Predicate::compile(condition, level.schema)?.lookups();
    let is_news =
        |(column, _): &(usize, _)| level.pinned.iter().all(|(pinned, _)| pinned != column);
    Ok(lookups
        .filter(|lookups| lookups.iter().all(|lookup| lookup.iter().any(is_news)))
        .map(|lookups| Way {
            driver: Driver::Lookups(lookups),
            hinted: false,
        }))
}

pub(crate) fn has_subquery(condition: &Condition) -> bool {
    match condition {
        Condition::Simple { .. } => false,
        Condition::And { conditions } | Condition::Or { conditions } => {
            conditions.iter().any(has_subquery)
        }
        Condition::CorrelatedSubquery { .. } => true,
    }
}
