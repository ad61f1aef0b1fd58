//! How large a query may be.

use super::{Ast, Condition, CorrelatedSubquery, MAX_CONDITIONS, MAX_SUBQUERIES};

/// Counts the parts of a query.
#[derive(Default)]
pub(super) struct Bounds {
    conditions: usize,
    subqueries: usize,
}

impl Bounds {
    /// Whether a query has no more parts than it may.
    pub fn check(&mut self, ast: &Ast) -> Result<(), &'static str> {
        if let Some(condition) = &ast.condition {
            self.condition(condition)?;
        }
        let mut related = ast.related.iter().flatten();
        related.try_for_each(|related| self.subquery(related))
    }

    fn subquery(&mut self, related: &CorrelatedSubquery) -> Result<(), &'static str> {
        self.subqueries += 1;
        if self.subqueries > MAX_SUBQUERIES {
            return Err("more than 1024 subqueries");
        }
        self.check(&related.subquery)
    }

    fn condition(&mut self, condition: &Condition) -> Result<(), &'static str> {
        self.conditions += 1;
        if self.conditions > MAX_CONDITIONS {
            return Err("more than 65536 conditions");
        }
        match condition {
            Condition::Simple { .. } => Ok(()),
            Condition::And { conditions } | Condition::Or { conditions } => conditions
                .iter()
                .try_for_each(|condition| self.condition(condition)),
            Condition::CorrelatedSubquery { related, .. } => self.subquery(related),
        }
    }
}
