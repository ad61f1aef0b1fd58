//! The pool of query pipelines, shared by every group that has the same query.

mod members;

pub use members::{AccountingError, CatchUp, Delta, Departed, Live, Members, Step, catch_up};
