//! Landfall's incremental view maintenance engine: a query becomes a pipeline of operators that is hydrated once
//! and then kept current, change by change. `OPERATORS.md` holds the contract that all operators keep.
//!
//! Knows neither wire messages nor JavaScript, and does no I/O: rows come from a [`Source`].

mod change;
mod error;
mod live_query;
mod operators;
mod pipeline;
mod planner;
mod source;

mod steps;
mod view;

pub use change::{Change, Node, Output, Relationship, Role};
pub use error::{AnalyzeError, BuildError, SourceError};
pub use live_query::{LiveQuery, evaluate};
pub use pipeline::rows::{RowDelta, RowSink, WITNESSES};
pub use pipeline::walk::Walk;
pub use pipeline::{HydrateSink, JoinId, NodeSink, Pipeline, Reader};
pub use planner::Choice;
pub use planner::analyze::analyze;
pub use planner::explain::{Access, AccessPath, Evaluation, Expected, LevelPlan, Read};
pub use source::branch::{Branch, Branched, Layer};
pub use source::memory::MemorySource;
pub use source::{Basis, FetchRequest, IndexSpec, Sink, Source, SourceChange, Start};
pub use steps::{Progress, Steps};
pub use view::{Entry, Step, View, ViewDelta};
