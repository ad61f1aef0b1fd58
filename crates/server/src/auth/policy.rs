//! Declared permissions: put into queries, and asked about writes.
//!
//! What is declared always holds. Without a declaration everything is closed, except in development mode.

use std::sync::Arc;

use landfall_protocol::permissions::Permissions;
use landfall_zql::ast::{
    Anchor, Ast, Condition, CorrelatedSubquery, Literal, Operand, Path, System,
};
use landfall_zql::{Row, StaticParameters, TableSchema, ValueRef, bind_operand};
use parking_lot::RwLock;
use serde_json::Value as Json;

use super::judge::PolicyJudge;
use crate::upstream::Judge;

/// Why a query may not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyError {
    /// Nothing is declared.
    #[error("no read permissions are declared, so queries given as an AST are not answered")]
    Closed,
    /// The permissions cannot be read.
    #[error("the permissions cannot be read: {0}")]
    Malformed(String),
}

/// Who may read and write what.
pub struct Policy {
    dev: bool,
    /// From a file: the upstream's table is not asked then.
    fixed: bool,
    permissions: RwLock<Option<Arc<Permissions>>>,
}

impl Policy {
    /// A policy with the text of a permissions file, if there is one.
    pub fn new(dev: bool, file: Option<&str>) -> Result<Self, PolicyError> {
        let permissions = file.map(decode).transpose()?;
        Ok(Policy {
            dev,
            fixed: permissions.is_some(),
            permissions: RwLock::new(permissions),
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
        let bind = Binding { claims, old: None };
        let permissions = self.permissions.read().clone();
        let Some(permissions) = permissions else {
            return match self.dev {
                true => Ok(bind.ast(ast, &|_, own| own)),
                false => Err(PolicyError::Closed),
            };
        };
        let restrict = |table: &str, own: Option<Condition>| {
            let rules = permissions
                .select(table)
                .iter()
                .map(|rule| bind.rule(&rule.1))
                .collect();
            let allowed = Condition::Or { conditions: rules };
            Some(match own {
                Some(own) => Condition::And {
                    conditions: vec![own, allowed],
                },
                None => allowed,
            })
        };
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

/// Values for static parameters.
pub(super) struct Binding<'a> {
    /// The claims of the user's token.
    pub(super) claims: Option<&'a Json>,
    /// The row before a write.
    pub(super) old: Option<(&'a TableSchema, &'a Row)>,
}

/// Adds to the condition of a table.
type Restrict<'a> = dyn Fn(&str, Option<Condition>) -> Option<Condition> + 'a;

impl Binding<'_> {
    fn ast(&self, ast: &Ast, restrict: &Restrict<'_>) -> Ast {
        let own = ast
            .condition
            .as_ref()
            .map(|c| self.condition(c, Some(restrict), None));
        let related = ast.related.as_ref().map(|related| {
            related
                .iter()
                .map(|r| self.subquery(r, Some(restrict), None))
                .collect()
        });
        Ast {
            condition: restrict(&ast.table, own),
            related,
            ..ast.clone()
        }
    }

    /// A rule's condition: its subqueries are the rule's, not the user's, and are not restricted themselves.
    pub(super) fn rule(&self, condition: &Condition) -> Condition {
        self.condition(condition, None, Some(System::Permissions))
    }

    fn subquery(
        &self,
        related: &CorrelatedSubquery,
        restrict: Option<&Restrict<'_>>,
        system: Option<System>,
    ) -> CorrelatedSubquery {
        let subquery = match restrict {
            Some(restrict) => self.ast(&related.subquery, restrict),
            None => {
                let inner = &*related.subquery;
                let condition = inner
                    .condition
                    .as_ref()
                    .map(|c| self.condition(c, None, system));
                Ast {
                    condition,
                    ..inner.clone()
                }
            }
        };
        // A client cannot declare its own subquery to be a permission, which would keep its rows from being sent.
        let system = system.or(Some(System::Client));
        CorrelatedSubquery {
            system,
            subquery: Box::new(subquery),
            ..related.clone()
        }
    }

    fn condition(
        &self,
        condition: &Condition,
        restrict: Option<&Restrict<'_>>,
        system: Option<System>,
    ) -> Condition {
        let all = |conditions: &[Condition]| {
            conditions
                .iter()
                .map(|c| self.condition(c, restrict, system))
                .collect()
        };
        match condition {
            Condition::Simple { left, right, op } => Condition::Simple {
                left: self.operand(left),
                right: self.operand(right),
                op: *op,
            },
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
                related: Box::new(self.subquery(related, restrict, system)),
                op: *op,
                flip: *flip,
                scalar: *scalar,
            },
        }
    }

    fn operand(&self, operand: &Operand) -> Operand {
        let Operand::Static {
            anchor: Anchor::PreMutationRow,
            field,
        } = operand
        else {
            let parameters = StaticParameters {
                auth_data: self.claims,
                pre_mutation_row: None,
            };
            return bind_operand(operand, parameters);
        };
        let path: Vec<&str> = match field {
            Path::Name(name) => vec![name],
            Path::Names(names) => names.iter().map(String::as_str).collect(),
        };
        Operand::Literal {
            value: self.old_value(&path),
        }
    }

    fn old_value(&self, path: &[&str]) -> Literal {
        let ([name], Some((table, row))) = (path, self.old) else {
            return Literal::Null;
        };
        let column = table.column_by_server_name(name);
        column.map_or(Literal::Null, |column| literal(row.get(column)))
    }
}

fn literal(value: ValueRef<'_>) -> Literal {
    match value {
        ValueRef::Null => Literal::Null,
        ValueRef::Bool(value) => Literal::Bool(value),
        ValueRef::Number(value) => Literal::Number(value),
        ValueRef::String(value) => Literal::String(value.to_owned()),
        ValueRef::Json(value) => Literal::Json(value.to_owned()),
    }
}
