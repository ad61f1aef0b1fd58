//! What the engine is held against: random programs, and answers to them that are worked out without it.
//!
//! - `brute`: loops over plain records; sees wrong operators.
//! - `sql`: the query as one statement for SQLite and for Postgres; sees where brute force and engine are wrong alike.
//! - `run`: the engine over any source, `memory` and `replica` being the two. After every transaction: the view, the deltas applied to the view before, the
//!   rows that a server would send, and a hydration from scratch. After every single change: no list longer than its
//!   limit.
//! - `shrink`: makes a small program of one that fails.

#![allow(
    clippy::expect_used,
    missing_docs,
    reason = "a test stops where its program is not what it made"
)]

pub mod brute;
pub mod case;
pub mod cell;
pub mod engine;
pub mod generate;
pub mod memory;
#[cfg(feature = "databases")]
pub mod postgres;
pub mod program;
pub mod random;
#[cfg(feature = "databases")]
pub mod replica;
pub mod report;
pub mod run;
pub mod shrink;
pub mod sql;
pub mod sqlite;
pub mod tree;
