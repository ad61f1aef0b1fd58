//! Why a query cannot be built.

use thiserror::Error;

/// Why a query cannot be built. The texts are those of the TypeScript builder.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The schema has no such table.
    #[error("Unknown table \"{table}\"")]
    UnknownTable {
        /// The name.
        table: String,
    },
    /// The table has no such column.
    #[error("Unknown column \"{column}\" of table \"{table}\" in {method}")]
    UnknownColumn {
        /// The table.
        table: String,
        /// The name.
        column: String,
        /// The part of the query that names it.
        method: &'static str,
    },
    /// The table has no such relationship.
    #[error("Invalid relationship \"{relationship}\" of table \"{table}\"")]
    UnknownRelationship {
        /// The table.
        table: String,
        /// The name.
        relationship: String,
    },
    /// A relationship's name that is kept for subqueries of conditions.
    #[error("Relationship names may not start with \"zsubq_\". That is a reserved prefix.")]
    ReservedRelationship,
    /// The language has no such operator.
    #[error("Unknown operator \"{operator}\" for column \"{column}\" of table \"{table}\"")]
    UnknownOperator {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The name.
        operator: String,
    },
    /// `IN` and `NOT IN` without a list.
    #[error("The {operator} operator needs an array, not a {found}.")]
    ListNeeded {
        /// The operator.
        operator: &'static str,
        /// What stands there instead.
        found: &'static str,
    },
    /// A value that nothing can be compared with.
    #[error("A query can compare with text, finite numbers and booleans, not with {found}.")]
    NotComparable {
        /// What it is.
        found: &'static str,
    },
    /// A limit of 2³¹ or more.
    #[error("Limit must be an integer")]
    LimitTooLarge,
    /// A subquery of `EXISTS` with a part that has no meaning there.
    #[error(
        "EXISTS subqueries must not have {part} (exists(\"{relationship}\") of table \"{table}\")"
    )]
    ExistsPart {
        /// `start` or `related`.
        part: &'static str,
        /// The table.
        table: String,
        /// The relationship.
        relationship: String,
    },
}
