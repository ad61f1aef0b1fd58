//! Writes under declared permissions: each rule is a condition on the written row, and may ask for others.

use std::ops::ControlFlow;
use std::sync::Arc;

use landfall_ivm::{Choice, FetchRequest, Pipeline, Sink, Source, SourceError};
use landfall_protocol::permissions::{Permissions, Policy as Rules, Rule};
use landfall_zql::ast::{Ast, Condition};
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
        match write {
            Write::Insert { new } => judgement.insert(new),
            Write::Change { old, changed } => {
                let before = |rules: &Rules| rules.update.as_ref()?.pre_mutation.clone();
                judgement.update(&before, changed, old, Some(old))
            }
            Write::Changed { old, new, changed } => {
                let after = |rules: &Rules| rules.update.as_ref()?.post_mutation.clone();
                judgement.update(&after, changed, new, Some(old))
            }
            Write::Delete { old } => judgement.delete(old),
        }
    }
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
        self.update(&|rules| rules.insert.clone(), &cells, new, None)
    }

    fn delete(&self, old: &Row) -> Verdict {
        let all: Vec<usize> = (0..self.table.columns.len()).collect();
        self.update(&|rules| rules.delete.clone(), &all, old, Some(old))
    }

    /// The row's rules and those of each column that has any for what is done.
    fn update(
        &self,
        phase: &Phase<'_>,
        columns: &[usize],
        row: &Row,
        old: Option<&Row>,
    ) -> Verdict {
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
            match self.allows(&rules, row, old) {
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
    fn allows(&self, rules: &[Rule], row: &Row, old: Option<&Row>) -> Verdict {
        let binding = Binding::of_write(self.claims, old.map(|old| (self.table, old)));
        let mut verdict = Verdict::Denied;
        for rule in rules {
            match self.holds(binding.rule(&rule.1), row) {
                Verdict::Allowed => return Verdict::Allowed,
                Verdict::NeedsRows => verdict = Verdict::NeedsRows,
                Verdict::Denied => {}
            }
        }
        verdict
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
