//! What can go wrong when a query is built or its rows are read.

use landfall_zql::Quoted;
use landfall_zql::ordering::OrderError;
use landfall_zql::predicate::PredicateError;
use thiserror::Error;

/// Why a query cannot be turned into a pipeline.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The schema has no such table.
    #[error("unknown table {}", Quoted(.table))]
    UnknownTable {
        /// The name in the query.
        table: String,
    },
    /// The table has no such column.
    #[error("unknown column {} of table {}", Quoted(.column), Quoted(.table))]
    UnknownColumn {
        /// The table.
        table: String,
        /// The name in the query.
        column: String,
    },
    /// The order cannot be built.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// A comparison cannot be built.
    #[error(transparent)]
    Predicate(#[from] PredicateError),
    /// A bound names a value that its column cannot hold.
    #[error(
        "the start of the query on table {} has a value of the wrong type for column {}",
        Quoted(.table), Quoted(.column)
    )]
    StartType {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// Columns that are to be equal hold values that never are, or have no equality.
    #[error("{parent} and {child} cannot be joined")]
    CorrelationTypes {
        /// The parent's column, with its table and type.
        parent: String,
        /// The child's.
        child: String,
    },
    /// A limit behind two junctions, one after the other.
    #[error(
        "relationship {} has a limit behind more than one junction table",
        Quoted(.relationship)
    )]
    LimitBehindJunctions {
        /// The relationship's name.
        relationship: String,
    },
    /// A subquery of `EXISTS` with a part that has no meaning there.
    #[error("EXISTS subqueries must not have {part}")]
    ExistsPart {
        /// `start` or `related`.
        part: &'static str,
    },
}

/// Why a query could not be analysed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AnalyzeError {
    /// It cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// It could not be run.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Why rows could not be read. The memory source never fails; a database can.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct SourceError {
    /// What happened, without values of rows.
    pub message: String,
    /// What the source says.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}
