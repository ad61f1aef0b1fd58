//! The operators of a pipeline. `OPERATORS.md` holds the contract that all of them keep.

pub(crate) mod condition;
pub(crate) mod connection;
pub(crate) mod drive;
pub(crate) mod join;
pub(crate) mod junction_take;
pub(crate) mod partitions;
pub(crate) mod skip;
pub(crate) mod take;
