//! Builds queries in Rust programs: the same queries as the TypeScript builder does, down to the hash.
//!
//! Two forms share one core.
//! Programs that know their tables declare them with [`tables!`](crate::tables) and get columns and relationships with
//! types: what a column cannot be compared with does not compile.
//! Programs that learn them at run time look names up in a [`Catalog`] ([`DynamicQuery`]), and get errors.
//!
//! ```
//! use landfall_zql::builder::Query;
//!
//! landfall_zql::tables! {
//!     pub mod user = "user" {
//!         columns {
//!             ID: String = "id",
//!             NAME: String = "name",
//!         }
//!         key (ID)
//!     }
//!
//!     pub mod issue = "issue" as "issues" {
//!         columns {
//!             ID: String = "id",
//!             OPEN: bool = "open",
//!             RANK: Option<f64> = "rank",
//!             OWNER_ID: Option<String> = "ownerID" as "owner_id",
//!         }
//!         key (ID)
//!         relationships {
//!             one OWNER = "owner": user(OWNER_ID = ID),
//!         }
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mine = Query::of(issue::Table)
//!     .filter(issue::OPEN.eq(true).and(issue::RANK.gt(3)))
//!     .filter(issue::OWNER.exists_in(|user| user.filter(user::NAME.like("A%"))))
//!     .related(issue::OWNER)
//!     .order_by(issue::RANK.desc())
//!     .limit(50)
//!     .build()?;
//! assert_eq!(mine.ast.table, "issue");
//! # Ok(())
//! # }
//! ```
//!
//! ```compile_fail,E0277
//! landfall_zql::tables! {
//!     pub mod issue = "issue" { columns { ID: String = "id", RANK: f64 = "rank" } key (ID) }
//! }
//! # fn main() {
//! let never = issue::RANK.eq("high");
//! # }
//! ```

/// The samples of the guide compile and run.
#[cfg(doctest)]
#[doc = include_str!("../../../../www/guide/queries.md")]
struct Guide;

mod argument;
mod catalog;
mod condition;
mod declare;
mod draft;
mod dynamic;
mod error;
mod typed;

pub use argument::{Argument, Parameter};
pub use catalog::{Cardinality, Catalog, CatalogError, Declaration, Hop, Relationship};
pub use condition::{and, not, or, simplify};
pub use declare::{HopBetween, many, one};
pub use draft::{BuiltQuery, ExistsHints, Format};
pub use dynamic::{DynamicQuery, compare};
pub use error::QueryError;
pub use typed::{
    Cell, Column, Cond, Json, Kind, List, OrderPart, Query, RelationshipTo, Scalar, Table, Value,
    compare_values,
};
