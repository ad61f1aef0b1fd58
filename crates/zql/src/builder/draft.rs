//! A query that is being built, without regard to how its names are checked.

use serde::Serialize;

use super::catalog::{Cardinality, Hop, Relationship};
use super::condition::{and, simplify};
use super::error::QueryError;
use crate::ast::{
    Ast, Bound, Condition, CorrelatedSubquery, Direction, ExistsOperator, Literal, System,
};
use crate::sorted_map::SortedMap;

/// What the names of subqueries in conditions start with.
pub(super) const SUBQUERY_PREFIX: &str = "zsubq_";

/// How an answer is shaped: one row or a list, and the same for each relationship.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Format {
    /// One row, or none.
    pub singular: bool,
    /// By name.
    pub relationships: SortedMap<String, Format>,
}

/// A query that is complete.
#[derive(Clone, Debug, PartialEq)]
pub struct BuiltQuery {
    /// The query, in client names.
    pub ast: Ast,
    /// The shape of its answer.
    pub format: Format,
}

/// How a condition on a relationship is evaluated; hints that never change the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExistsHints {
    /// From the related rows (`true`), or from the rows of the query.
    pub flip: Option<bool>,
    /// There is one related row, which a unique key names.
    pub scalar: Option<bool>,
}

#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub ast: Ast,
    format: Format,
}

impl Draft {
    pub fn new(table: &str) -> Draft {
        Draft {
            ast: Ast {
                table: table.to_owned(),
                ..Ast::default()
            },
            format: Format::default(),
        }
    }

    /// The rows that a relationship leads to.
    pub fn at_end_of(relationship: &Relationship) -> Draft {
        let last = relationship.last();
        let mut draft = Draft::new(&last.table);
        draft.format.singular = last.cardinality == Cardinality::One;
        draft
    }

    pub fn filter(&mut self, added: Condition) {
        self.ast.condition = Some(simplify(match self.ast.condition.take() {
            Some(condition) => and([condition, added]),
            None => added,
        }));
    }

    pub fn related(&mut self, name: &str, relationship: &Relationship, far: Draft) {
        let Relationship { first, second } = relationship;
        let last = correlated(relationship.last(), named(far.ast, name.to_owned()));
        let entry = match second {
            None => last,
            Some(_) => CorrelatedSubquery {
                hidden: Some(true),
                ..correlated(
                    first,
                    Ast {
                        table: first.table.clone(),
                        alias: Some(name.to_owned()),
                        related: Some(vec![last]),
                        ..Ast::default()
                    },
                )
            },
        };
        self.ast.related.get_or_insert_default().push(entry);
        let relationships = &mut self.format.relationships;
        relationships.insert(name.to_owned(), far.format);
    }

    pub fn exists(
        &self,
        name: &str,
        Relationship { first, second }: &Relationship,
        far: Draft,
        hints: ExistsHints,
    ) -> Result<Condition, QueryError> {
        let parts = [
            ("start", far.ast.start.is_some()),
            ("related", far.ast.related.is_some()),
        ];
        if let Some((part, _)) = parts.into_iter().find(|(_, there)| *there)
            && hints.flip != Some(true)
        {
            return Err(QueryError::ExistsPart {
                part,
                table: self.ast.table.clone(),
                relationship: name.to_owned(),
            });
        }
        let alias = format!("{SUBQUERY_PREFIX}{name}");
        let Some(second) = second else {
            return Ok(exists(correlated(first, named(far.ast, alias)), hints));
        };
        let hidden = format!("{SUBQUERY_PREFIX}zhidden_{name}");
        let inner = exists(correlated(second, named(far.ast, hidden)), hints);
        let junction = Ast {
            table: first.table.clone(),
            alias: Some(alias),
            condition: Some(inner),
            ..Ast::default()
        };
        let outer_hints = ExistsHints {
            scalar: None,
            ..hints
        };
        Ok(exists(correlated(first, junction), outer_hints))
    }

    pub fn order_by(&mut self, column: &str, direction: Direction) {
        let order = self.ast.order_by.get_or_insert_default();
        order.push((column.to_owned(), direction));
    }

    pub fn limit(&mut self, limit: u32) -> Result<(), QueryError> {
        if i32::try_from(limit).is_err() {
            return Err(QueryError::LimitTooLarge);
        }
        self.ast.limit = Some(limit);
        Ok(())
    }

    pub fn one(&mut self) {
        self.ast.limit = Some(1);
        self.format.singular = true;
    }

    pub fn start(&mut self, row: SortedMap<String, Literal>, exclusive: bool) {
        self.ast.start = Some(Bound { row, exclusive });
    }

    pub fn build(self) -> BuiltQuery {
        BuiltQuery {
            ast: self.ast,
            format: self.format,
        }
    }
}

fn named(ast: Ast, alias: String) -> Ast {
    Ast {
        alias: Some(alias),
        ..ast
    }
}

fn correlated(hop: &Hop, subquery: Ast) -> CorrelatedSubquery {
    CorrelatedSubquery {
        system: Some(System::Client),
        correlation: hop.correlation.clone(),
        hidden: None,
        subquery: Box::new(subquery),
    }
}

fn exists(related: CorrelatedSubquery, hints: ExistsHints) -> Condition {
    Condition::CorrelatedSubquery {
        related: Box::new(related),
        op: ExistsOperator::Exists,
        flip: hints.flip,
        scalar: hints.scalar,
    }
}
