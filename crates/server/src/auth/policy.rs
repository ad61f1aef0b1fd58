//! Declared permissions: put into queries, and asked about writes.
//!
//! What is declared always holds. Without a declaration everything is closed, except in development mode.

use std::sync::Arc;

use landfall_protocol::permissions::{Permissions, Rule};
use landfall_zql::ast::{Ast, Condition, CorrelatedSubquery, System};
use landfall_zql::static_parameters::{StaticParameters, bind_condition, bind_static_parameters};
use landfall_zql::{Names, Row, TableSchema};
use parking_lot::RwLock;
use serde_json::{Map, Value as Json};

use super::judge::PolicyJudge;
use crate::upstream::Judge;

/// Why a query may not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyError {
    /// Nothing is declared.
    #[error(
        "nobody may read anything: no permissions are declared (--permissions), no endpoint answers queries by name (--query-url), and this is no development server (--dev)"
    )]
    Closed,
    /// The permissions cannot be read.
    #[error("the permissions cannot be read: {0}")]
    Malformed(String),
}

/// Who may read and write what.
pub struct Policy {
    dev: bool,
    /// From a file or the app: the upstream's table is not asked then.
    fixed: bool,
    /// The read rules of the app in this process, which hold for its own queries as well.
    own: Option<Arc<Permissions>>,
    permissions: RwLock<Option<Arc<Permissions>>>,
}

impl Policy {
    /// A policy with the text of a permissions file, if there is one.
    pub fn new(dev: bool, file: Option<&str>) -> Result<Self, PolicyError> {
        let permissions = file.map(decode).transpose()?;
        Ok(Policy {
            dev,
            fixed: permissions.is_some(),
            own: None,
            permissions: RwLock::new(permissions),
        })
    }

    /// A policy with the read rules of the app in this process.
    pub fn of_app(dev: bool, rules: Permissions) -> Self {
        let rules = Arc::new(rules);
        Policy {
            dev,
            fixed: true,
            own: Some(rules.clone()),
            permissions: RwLock::new(Some(rules)),
        }
    }

    /// A query of the app in this process, with the app's read rules put in at every level that has any.
    pub fn own(&self, ast: Ast, claims: Option<&Json>) -> Ast {
        let Some(rules) = &self.own else { return ast };
        let bind = Binding::claims(claims);
        bind.ast(&ast, &|table, own| match rules.select(table) {
            [] => own,
            rules => Some(allowed(rules, own)),
        })
    }

    /// Takes over what the upstream declares. A text that cannot be read closes everything.
    pub fn declare(&self, text: Option<&str>) -> Result<(), PolicyError> {
        if self.fixed {
            return Ok(());
        }
        let read = text.map(decode).transpose();
        let (permissions, outcome) = match read {
            Ok(permissions) => (permissions, Ok(())),
            Err(error) => (Some(Arc::default()), Err(error)),
        };
        *self.permissions.write() = permissions;
        outcome
    }

    /// Whether anyone may do anything.
    pub fn is_open(&self) -> bool {
        self.dev && self.permissions.read().is_none()
    }

    /// A client's query with the read permissions of these claims put in at every level.
    pub fn read(&self, ast: &Ast, claims: Option<&Json>) -> Result<Ast, PolicyError> {
        let bind = Binding::claims(claims);
        let permissions = self.permissions.read().clone();
        let Some(permissions) = permissions else {
            return match self.dev {
                true => Ok(bind.ast(ast, &|_, own| own)),
                false => Err(PolicyError::Closed),
            };
        };
        let restrict =
            |table: &str, own: Option<Condition>| Some(allowed(permissions.select(table), own));
        Ok(bind.ast(ast, &restrict))
    }

    /// The judge for writes under these claims.
    pub fn judge(self: &Arc<Self>, claims: Option<Json>) -> Arc<dyn Judge> {
        let permissions = self.permissions.read().clone();
        Arc::new(PolicyJudge {
            open: self.is_open(),
            permissions,
            claims,
        })
    }
}

fn decode(text: &str) -> Result<Arc<Permissions>, PolicyError> {
    Permissions::decode(text)
        .map(Arc::new)
        .map_err(|error| PolicyError::Malformed(error.to_string()))
}

/// Values for static parameters, and the way that rules are put into queries.
pub(super) struct Binding<'a> {
    /// The claims of the user's token.
    claims: Option<&'a Json>,
    /// The row before a write, by server name.
    old: Option<Map<String, Json>>,
}

/// Adds to the condition of a table.
type Restrict<'a> = dyn Fn(&str, Option<Condition>) -> Option<Condition> + 'a;

impl<'a> Binding<'a> {
    /// For reading.
    fn claims(claims: Option<&'a Json>) -> Self {
        Binding { claims, old: None }
    }

    /// For writing; `old` is the row before, if there was one.
    pub(super) fn of_write(claims: Option<&'a Json>, old: Option<(&TableSchema, &Row)>) -> Self {
        let old = old.and_then(|(table, row)| {
            let mut text = String::new();
            table.row_to_json(row, Names::Server, &mut text);
            // What we wrote we can read; without the row every parameter on it is NULL.
            serde_json::from_str(&text).ok()
        });
        Binding { claims, old }
    }

    fn parameters(&self) -> StaticParameters<'_> {
        StaticParameters {
            auth_data: self.claims,
            pre_mutation_row: self.old.as_ref(),
        }
    }

    /// A query with its tables restricted and its parameters bound.
    fn ast(&self, ast: &Ast, restrict: &Restrict<'_>) -> Ast {
        bind_static_parameters(&restricted(ast, restrict), self.parameters())
    }

    /// A rule's condition.
    pub(super) fn rule(&self, condition: &Condition) -> Condition {
        bind_condition(&of_rule(condition), self.parameters())
    }
}

/// A query with something added to the condition of each of its tables.
fn restricted(ast: &Ast, restrict: &Restrict<'_>) -> Ast {
    let subquery = |related: &CorrelatedSubquery| CorrelatedSubquery {
        // A client cannot declare its own subquery to be a permission, which would keep its rows from being sent.
        system: Some(System::Client),
        subquery: Box::new(restricted(&related.subquery, restrict)),
        ..related.clone()
    };
    let condition = ast.condition.as_ref();
    let related = ast.related.as_ref();
    Ast {
        condition: restrict(&ast.table, condition.map(|c| with_subqueries(c, &subquery))),
        related: related.map(|related| related.iter().map(subquery).collect()),
        ..ast.clone()
    }
}

/// A condition, and that one of the rules holds; no rule holds where there is none. Parameters are left in.
fn allowed(rules: &[Rule], own: Option<Condition>) -> Condition {
    let rules = rules.iter().map(|rule| of_rule(&rule.1)).collect();
    let allowed = Condition::Or { conditions: rules };
    match own {
        Some(own) => Condition::And {
            conditions: vec![own, allowed],
        },
        None => allowed,
    }
}

/// A rule's condition: its subqueries are the rule's, not the user's, and are not restricted themselves.
fn of_rule(condition: &Condition) -> Condition {
    with_subqueries(condition, &|related| {
        let condition = related.subquery.condition.as_ref().map(of_rule);
        CorrelatedSubquery {
            system: Some(System::Permissions),
            subquery: Box::new(Ast {
                condition,
                ..(*related.subquery).clone()
            }),
            ..related.clone()
        }
    })
}

/// A condition with other subqueries in the same places.
fn with_subqueries(
    condition: &Condition,
    change: &dyn Fn(&CorrelatedSubquery) -> CorrelatedSubquery,
) -> Condition {
    let all = |conditions: &[Condition]| {
        let conditions = conditions.iter();
        conditions.map(|c| with_subqueries(c, change)).collect()
    };
    match condition {
        Condition::Simple { .. } => condition.clone(),
        Condition::And { conditions } => Condition::And {
            conditions: all(conditions),
        },
        Condition::Or { conditions } => Condition::Or {
            conditions: all(conditions),
        },
        Condition::CorrelatedSubquery {
            related,
            op,
            flip,
            scalar,
        } => Condition::CorrelatedSubquery {
            related: Box::new(change(related)),
            op: *op,
            flip: *flip,
            scalar: *scalar,
        },
    }
}
