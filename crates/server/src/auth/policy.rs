//! Declared permissions: put into queries, and asked about writes.
//!
//! What is declared always holds. Without a declaration everything is closed, except in development mode.

use std::sync::Arc;

use landfall_protocol::permissions::{Permissions, Policy as Rules, Rule};
use landfall_zql::ast::{
    Anchor, Ast, Condition, CorrelatedSubquery, Literal, Operand, Path, System,
};
use landfall_zql::predicate::Predicate;
use landfall_zql::{Row, StaticParameters, TableId, TableSchema, ValueRef, bind_operand};
use parking_lot::RwLock;
use serde_json::Value as Json;

use crate::replica::ReplicaSchema;
use crate::upstream::{Judge, Write};

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
struct Binding<'a> {
    claims: Option<&'a Json>,
    old: Option<(&'a TableSchema, &'a Row)>,
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
    fn rule(&self, condition: &Condition) -> Condition {
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
        match table
            .column_by_server_name(name)
            .map(|column| row.get(column))
        {
            None | Some(ValueRef::Null) => Literal::Null,
            Some(ValueRef::Bool(value)) => Literal::Bool(value),
            Some(ValueRef::Number(value)) => Literal::Number(value),
            Some(ValueRef::String(value)) => Literal::String(value.to_owned()),
            Some(ValueRef::Json(value)) => Literal::Json(value.to_owned()),
        }
    }
}

/// Decides about the writes of one user.
pub struct PolicyJudge {
    open: bool,
    permissions: Option<Arc<Permissions>>,
    claims: Option<Json>,
}

impl Judge for PolicyJudge {
    fn judge(&self, schema: &ReplicaSchema, table: TableId, write: Write<'_>) -> bool {
        if self.open {
            return true;
        }
        let Some(permissions) = &self.permissions else {
            return false;
        };
        let table = &schema.zql[table];
        let judgement = Judgement {
            table,
            claims: self.claims.as_ref(),
            permissions,
        };
        match write {
            Write::Insert { new } => judgement.insert(new),
            Write::Update { old, new, changed } => judgement.update(old, new, changed),
            Write::Delete { old } => judgement.delete(old),
        }
    }
}

struct Judgement<'a> {
    table: &'a TableSchema,
    claims: Option<&'a Json>,
    permissions: &'a Permissions,
}

impl Judgement<'_> {
    fn insert(&self, new: &Row) -> bool {
        let written = |column: &usize| !matches!(new.get(*column), ValueRef::Null);
        let cells = (0..self.table.columns.len()).filter(written);
        self.row(|rules| rules.insert.as_deref(), new, None)
            && self.cells(cells, |r| r.insert.as_deref(), new, None)
    }

    fn update(&self, old: &Row, new: &Row, changed: &[usize]) -> bool {
        let before = |rules: &Rules| rules.update.as_ref().and_then(|u| u.pre_mutation.clone());
        let after = |rules: &Rules| rules.update.as_ref().and_then(|u| u.post_mutation.clone());
        let phase = |rules: &dyn Fn(&Rules) -> Option<Vec<Rule>>, row: &Row| {
            let of_row = self
                .permissions
                .row(&self.table.server_name)
                .and_then(rules);
            let of_cells = changed
                .iter()
                .filter_map(|column| self.cell(*column).and_then(rules));
            self.allows(of_row.as_deref(), row, Some(old))
                && of_cells
                    .into_iter()
                    .all(|rules| self.allows(Some(&rules), row, Some(old)))
        };
        phase(&before, old) && phase(&after, new)
    }

    fn delete(&self, old: &Row) -> bool {
        let all = 0..self.table.columns.len();
        self.row(|rules| rules.delete.as_deref(), old, Some(old))
            && self.cells(all, |r| r.delete.as_deref(), old, Some(old))
    }

    fn row(&self, rules: impl Fn(&Rules) -> Option<&[Rule]>, row: &Row, old: Option<&Row>) -> bool {
        self.allows(
            self.permissions
                .row(&self.table.server_name)
                .and_then(rules),
            row,
            old,
        )
    }

    /// A column without a policy for what is done has no say.
    fn cells(
        &self,
        mut columns: impl Iterator<Item = usize>,
        rules: impl Fn(&Rules) -> Option<&[Rule]>,
        row: &Row,
        old: Option<&Row>,
    ) -> bool {
        columns.all(|column| match self.cell(column).and_then(&rules) {
            Some(rules) => self.allows(Some(rules), row, old),
            None => true,
        })
    }

    fn cell(&self, column: usize) -> Option<&Rules> {
        self.permissions.cell(
            &self.table.server_name,
            &self.table.columns[column].server_name,
        )
    }

    /// What no rule allows is denied.
    fn allows(&self, rules: Option<&[Rule]>, row: &Row, old: Option<&Row>) -> bool {
        let binding = Binding {
            claims: self.claims,
            old: old.map(|row| (self.table, row)),
        };
        let holds = |rule: &Rule| {
            let condition = binding.rule(&rule.1);
            match Predicate::compile(&condition, self.table) {
                Ok(predicate) => predicate.matches(row),
                Err(error) => {
                    tracing::error!(table = %self.table.server_name, %error, "a write rule cannot be evaluated; denied");
                    false
                }
            }
        };
        rules.unwrap_or_default().iter().any(holds)
    }
}
