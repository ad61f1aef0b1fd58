//! Values, packed rows, schema, AST, predicates and ordering of Landfall's query language.
//!
//! Knows nothing of where rows live, and does no I/O.

pub mod ast;
mod like;
pub mod ordering;
pub mod predicate;
pub mod row;
pub mod row_json;
pub mod schema;
pub mod value;

pub use ast::{Ast, AstError};
pub use ordering::{Order, OrderError};
pub use predicate::{Predicate, PredicateError};
pub use row::{Row, RowBuilder, RowError};
pub use row_json::{Names, RowJsonError};
pub use schema::{Column, ColumnType, Key, Schema, SchemaError, TableId, TableSchema};
pub use value::{Value, ValueRef, compare, join_eq, write_json};
