//! Values, packed rows, schema, AST, predicates and ordering of Landfall's query language.
//!
//! Knows nothing of where rows live, and does no I/O.

pub mod ast;
pub mod builder;
#[cfg(any(test, target_arch = "wasm32"))]
mod decimal;
pub mod hash;
pub mod json;
mod like;
mod lower_case;
pub mod name_mapping;
pub mod normalize;
pub mod ordering;
pub mod predicate;
pub mod row;
pub mod row_json;
mod row_reader;
pub mod schema;
pub mod sort;
pub mod sorted_map;
pub mod static_parameters;
pub mod value;

pub use ast::{Ast, AstError};
pub use hash::hash_of_name_and_args;
pub use name_mapping::{NameError, To, ast_for_server, map_ast};
pub use normalize::{canonical_bytes, hash_of_ast, normalize};
pub use ordering::{Order, OrderError};
pub use predicate::{Predicate, PredicateError};
pub use row::{Row, RowBuilder, RowError};
pub use row_json::{Names, RowJsonError};
pub use row_reader::RowReader;
pub use schema::{Column, ColumnType, Key, Schema, SchemaError, TableId, TableSchema};
pub use static_parameters::{StaticParameters, bind_operand, bind_static_parameters};
pub use value::{
    Quoted, Value, ValueRef, compare, join_eq, text_between, write_json, write_number,
};
