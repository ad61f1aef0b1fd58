//! Writes under declared permissions: each rule is a condition on the written row, and may ask for others.

use std::ops::ControlFlow;
use std::sync::Arc;

use landfall_ivm::{Choice, FetchRequest, Pipeline, Sink, Source, SourceError};
use landfall_protocol::permissions::{Permissions, Policy as Rules, Rule};
use landfall_zql::ast::{Anchor, Ast, Condition, Operand};
use landfall_zql::predicate::Predicate;
use landfall_zql::{Key, Row, Schema, TableId, TableSchema, ValueRef};
use serde_json::Value as Json;

use super::policy::Binding;
use crate::replica::ReplicaSchema;
use crate::upstream::{Judge, Verdict, Write};

/// Decides about the writes of one user.
pub struct PolicyJudge {
    /// Whether anything is allowed.
    pub(super) open: bool,
    /// What is declared.
    pub(super) permissions: Option<Arc<Permissions>>,
    /// Who writes.
    pub(super) claims: Option<Json>,
}

impl Judge for PolicyJudge {
    fn judge(
        &self,
        schema: &ReplicaSchema,
        table: TableId,
        write: Write<'_>,
        rows: Option<&dyn Source>,
    ) -> Verdict {
        if self.open {
            return Verdict::Allowed;
        }
        let Some(permissions) = &self.permissions else {
            return Verdict::Denied;
        };
        let judgement = Judgement {
            schema: &schema.zql,
            id: table,
            table: &schema.zql[table],
            claims: self.claims.as_ref(),
            permissions,
            rows,
        };
        let before = |rules: &Rules| rules.update.as_ref()?.pre_mutation.clone();
        let after = |rules: &Rules| rules.update.as_ref()?.post_mutation.clone();
        let delete = |rules: &Rules| rules.delete.clone();
        let all: Vec<usize> = (0..judgement.table.columns.len()).collect();
        match write {
            Write::Insert { new } => judgement.insert(new),
            Write::Change { old, changed } => {
                judgement.write(&before, changed, On::Row(old, Some(old)))
            }
            Write::Changed { old, new, changed } => {
                judgement.write(&after, changed, On::Row(new, Some(old)))
            }
            Write::Delete { old } => judgement.write(&delete, &all, On::Row(old, Some(old))),
            Write::ChangeNone { changed } => match judgement.write(&before, changed, On::Any) {
                Verdict::Allowed => judgement.write(&after, changed, On::Any),
                verdict => verdict,
            },
            Write::DeleteNone => judgement.write(&delete, &all, On::Any),
        }
    }
}

/// What a rule is asked about.
#[derive(Clone, Copy)]
enum On<'a> {
    /// A row, and what it was before.
    Row(&'a Row, Option<&'a Row>),
    /// Whatever row there may be.
    Any,
}

struct Judgement<'a> {
    schema: &'a Schema,
    id: TableId,
    table: &'a TableSchema,
    claims: Option<&'a Json>,
    permissions: &'a Permissions,
    rows: Option<&'a dyn Source>,
}

type Phase<'a> = dyn Fn(&Rules) -> Option<Vec<Rule>> + 'a;

impl Judgement<'_> {
    fn insert(&self, new: &Row) -> Verdict {
        let written = |column: &usize| !matches!(new.get(*column), ValueRef::Null);
        let cells: Vec<usize> = (0..self.table.columns.len()).filter(written).collect();
        self.write(&|rules| rules.insert.clone(), &cells, On::Row(new, None))
    }

    /// The row's rules and those of each column that has any for what is done.
    fn write(&self, phase: &Phase<'_>, columns: &[usize], on: On<'_>) -> Verdict {
        let of_row = self
            .permissions
            .row(&self.table.server_name)
            .and_then(phase)
            .unwrap_or_default();
        let of_cells = columns
            .iter()
            .filter_map(|column| self.cell(*column).and_then(phase));
        let mut verdict = Verdict::Allowed;
        for rules in std::iter::once(of_row).chain(of_cells) {
            match self.allows(&rules, on) {
                Verdict::Allowed => {}
                Verdict::NeedsRows => verdict = Verdict::NeedsRows,
                Verdict::Denied => return Verdict::Denied,
            }
        }
        verdict
    }

    fn cell(&self, column: usize) -> Option<&Rules> {
        self.permissions.cell(
            &self.table.server_name,
            &self.table.columns[column].server_name,
        )
    }

    /// What no rule allows is denied.
    fn allows(&self, rules: &[Rule], on: On<'_>) -> Verdict {
        let old = match on {
            On::Row(_, old) => old.map(|old| (self.table, old)),
            On::Any => None,
        };
        let binding = Binding::of_write(self.claims, old);
        let mut verdict = Verdict::Denied;
        for rule in rules {
            let held = match on {
                On::Row(row, _) => self.holds(binding.rule(&rule.1), row),
                On::Any => self.holds_always(&binding, &rule.1),
            };
            match held {
                Verdict::Allowed => return Verdict::Allowed,
                Verdict::NeedsRows => verdict = Verdict::NeedsRows,
                Verdict::Denied => {}
            }
        }
        verdict
    }

    /// Whether a rule holds for every row; what depends on a row is taken not to hold.
    fn holds_always(&self, binding: &Binding<'_>, rule: &Condition) -> Verdict {
        let certain = binding.rule(&without_rows(rule));
        self.verdict(
            Predicate::compile(&certain, self.table)
                .map(|predicate| predicate.is_always())
                .map_err(|error| error.to_string()),
        )
    }

    fn holds(&self, condition: Condition, row: &Row) -> Verdict {
        let held = if !asks_for_rows(&condition) {
            Predicate::compile(&condition, self.table)
                .map(|predicate| predicate.matches(row))
                .map_err(|error| error.to_string())
        } else if let Some(rows) = self.rows {
            self.matches(condition, row, rows)
        } else {
            return Verdict::NeedsRows;
        };
        self.verdict(held)
    }

    fn verdict(&self, held: Result<bool, String>) -> Verdict {
        match held {
            Ok(true) => Verdict::Allowed,
            Ok(false) => Verdict::Denied,
            Err(error) => {
                tracing::error!(table = %self.table.server_name, %error, "a write rule cannot be evaluated; denied");
                Verdict::Denied
            }
        }
    }

    /// Whether a row, which the source holds, meets a condition that asks for other rows.
    fn matches(&self, condition: Condition, row: &Row, rows: &dyn Source) -> Result<bool, String> {
        let ast = Ast {
            table: self.table.name.clone(),
            condition: Some(condition),
            ..Ast::default()
        };
        // Read from the row on: its own table is asked for this row only.
        let pipeline =
            Pipeline::plan(&ast, self.schema, Choice::Scan).map_err(|error| error.to_string())?;
        let pinned = Pinned {
            rows,
            table: self.id,
            row,
        };
        let mut found = false;
        pipeline
            .fetch(&pinned, None, &mut |_, _| {
                found = true;
                Ok(ControlFlow::Break(()))
            })
            .map_err(|error| error.message)?;
        Ok(found)
    }
}

fn asks_for_rows(condition: &Condition) -> bool {
    match condition {
        Condition::Simple { .. } => false,
        Condition::And { conditions } | Condition::Or { conditions } => {
            conditions.iter().any(asks_for_rows)
        }
        Condition::CorrelatedSubquery { .. } => true,
    }
}

/// A rule without what depends on the row before, the row after, or other rows: that counts as false. (Conditions know
/// no negation, so what holds without it holds in any case.)
fn without_rows(condition: &Condition) -> Condition {
    let of_row = |operand: &Operand| match operand {
        Operand::Literal { .. } => false,
        Operand::Column { .. } => true,
        Operand::Static { anchor, .. } => *anchor == Anchor::PreMutationRow,
    };
    let all = |conditions: &[Condition]| conditions.iter().map(without_rows).collect();
    match condition {
        Condition::Simple { left, right, .. } if of_row(left) || of_row(right) => Condition::Or {
            conditions: Vec::new(),
        },
        Condition::Simple { .. } => condition.clone(),
        Condition::And { conditions } => Condition::And {
            conditions: all(conditions),
        },
        Condition::Or { conditions } => Condition::Or {
            conditions: all(conditions),
        },
        Condition::CorrelatedSubquery { .. } => Condition::Or {
            conditions: Vec::new(),
        },
    }
}

/// A source in which the root of a query has one row; rows of subqueries are asked for by what joins them.
struct Pinned<'a> {
    rows: &'a dyn Source,
    table: TableId,
    row: &'a Row,
}

impl Source for Pinned<'_> {
    fn schema(&self) -> &Schema {
        self.rows.schema()
    }

    fn fetch(&self, request: &FetchRequest<'_>, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        if request.table == self.table && request.constraint.is_empty() {
            if request.admits(self.row) {
                // Whether more is wanted does not matter: there is no more.
                let _ = sink(self.row);
            }
            return Ok(());
        }
        self.rows.fetch(request, sink)
    }

    fn get(&self, table: TableId, key: &Key) -> Result<Option<Row>, SourceError> {
        self.rows.get(table, key)
    }
}
