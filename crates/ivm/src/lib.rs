//! Landfall's incremental view maintenance engine: a query becomes a pipeline of operators that is hydrated once
//! and then kept current, change by change. `OPERATORS.md` holds the contract that all operators keep.
//!
//! Knows neither wire messages nor JavaScript, and does no I/O: rows come from a [`Source`].

mod analyze;
mod branch;
mod build;
mod change;
mod chunk;
mod condition;
mod connection;
mod digits;
mod drive;
mod error;
mod explain;
mod index;
mod index_build;
mod join;
mod junction_take;
mod live_query;
mod memory_source;
mod needs;
mod partitions;
mod pipeline;
mod plan;
mod push;
mod range;
mod rows;
mod skip;
mod source;

mod statistics;
mod steps;
mod take;
mod view;

pub use analyze::analyze;
pub use branch::{Branch, Branched, Layer};
pub use change::{Change, Node, Output, Relationship, Role};
pub use error::{AnalyzeError, BuildError, SourceError};
pub use explain::{Access, AccessPath, Evaluation, Expected, LevelPlan, Read};
pub use live_query::{LiveQuery, evaluate};
pub use memory_source::MemorySource;
pub use pipeline::{JoinId, NodeSink, Pipeline, Reader};
pub use plan::Choice;
pub use rows::{RowDelta, RowSink};
pub use source::{Basis, FetchRequest, IndexSpec, Sink, Source, SourceChange, Start};
pub use steps::{Progress, Steps};
pub use view::{Entry, Step, View, ViewDelta};
