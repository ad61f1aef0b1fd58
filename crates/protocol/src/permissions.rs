//! The compiled permissions of an application: who may read and write which rows without an application endpoint.
//!
//! Read: for each table the `select` rules, OR-ed; a table without any gives no rows.
//! Write: the row policy and the policy of every written column must each have a rule that holds; an absent or empty
//! row policy denies.
//! A rule is a condition with server names; `authData` stands for the user's claims, `preMutationRow` for the old row.

use crate::error::ProtocolError;
use crate::json::{check_depth, present};
use landfall_zql::ast::Condition;
use landfall_zql::json;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The rules of all tables.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permissions {
    /// By server name. A table that is not here has no rules and is closed.
    pub tables: BTreeMap<String, TablePermissions>,
}

/// The rules of a table.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TablePermissions {
    /// For rows as a whole.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub row: Option<Policy>,
    /// For single columns, by server name. Their `select` is not consulted.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub cell: Option<BTreeMap<String, Policy>>,
}

/// Rules for each thing that can be done.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Reading.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub select: Option<Vec<Rule>>,
    /// Adding; looks at the new row.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub insert: Option<Vec<Rule>>,
    /// Changing; both sides must allow it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub update: Option<UpdatePolicy>,
    /// Removing; looks at the old row.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub delete: Option<Vec<Rule>>,
}

/// Rules for changing a row.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdatePolicy {
    /// Looks at the old row.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub pre_mutation: Option<Vec<Rule>>,
    /// Looks at the new row.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub post_mutation: Option<Vec<Rule>>,
}

/// One rule: `["allow", condition]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule(Effect, pub Condition);

/// What a rule does. There is no rule that denies: what no rule allows is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Effect {
    Allow,
}

impl Rule {
    /// Allows what meets the condition.
    pub fn allow(condition: Condition) -> Self {
        Self(Effect::Allow, condition)
    }
}

impl Permissions {
    /// Reads the compiled form.
    pub fn decode(text: &str) -> Result<Self, ProtocolError> {
        check_depth(text)?;
        Ok(json::from_str(text)?)
    }

    /// The rules under which rows of a table may be read; none if it is closed.
    pub fn select(&self, table: &str) -> &[Rule] {
        self.row(table)
            .and_then(|row| row.select.as_deref())
            .unwrap_or_default()
    }

    /// The row policy of a table.
    pub fn row(&self, table: &str) -> Option<&Policy> {
        self.tables.get(table)?.row.as_ref()
    }

    /// The policy of a column of a table.
    pub fn cell(&self, table: &str, column: &str) -> Option<&Policy> {
        self.tables.get(table)?.cell.as_ref()?.get(column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUE: &str = r#"{"tables":{"issue":{"row":{"select":[["allow",{"type":"and","conditions":[]}]],"insert":[],"update":{"preMutation":[["allow",{"type":"simple","op":"=","left":{"type":"column","name":"owner_id"},"right":{"type":"static","anchor":"authData","field":"sub"}}]]}},"cell":{"title":{"update":{}}}}}}"#;

    #[test]
    fn reads_the_compiled_form() {
        let permissions = Permissions::decode(ISSUE).expect("permissions");
        assert_eq!(permissions.select("issue").len(), 1);
        assert!(permissions.select("comment").is_empty());
        assert!(
            permissions
                .row("issue")
                .is_some_and(|row| row.insert.as_deref() == Some(&[]) && row.delete.is_none())
        );
        assert!(
            permissions.cell("issue", "title").is_some()
                && permissions.cell("issue", "id").is_none()
        );
        let written = serde_json::to_string(&permissions).expect("writes");
        assert_eq!(Permissions::decode(&written).expect("reads"), permissions);
    }

    #[test]
    fn a_rule_that_is_not_understood_is_refused_and_not_skipped() {
        for text in [
            "{}",
            "null",
            r#"{"tables":{},"roles":{}}"#,
            r#"{"tables":{"a":{"rows":{}}}}"#,
            r#"{"tables":{"a":{"row":{"read":[]}}}}"#,
            r#"{"tables":{"a":{"row":{"select":null}}}}"#,
            r#"{"tables":{"a":{"row":{"select":[["deny",{"type":"and","conditions":[]}]]}}}}"#,
            r#"{"tables":{"a":{"row":{"select":[["allow"]]}}}}"#,
            r#"{"tables":{"a":{"row":{"select":[["allow",{"type":"xor","conditions":[]}]]}}}}"#,
            r#"{"tables":{"a":{"row":{"update":[]}}}}"#,
        ] {
            assert!(Permissions::decode(text).is_err(), "{text}");
        }
    }
}
