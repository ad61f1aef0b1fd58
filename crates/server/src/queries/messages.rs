//! What the coordinator and its threads tell each other.
//!
//! Each thread takes its orders in the sequence in which they were given, and its reports arrive in the sequence in
//! which they were made.

use std::collections::BTreeMap;
use std::sync::Arc;

use landfall_ivm::Pipeline;

use super::accounting::Deltas;
use super::instance::InstanceError;
use super::prepare::PreparedQuery;
use crate::cvr::{InstanceId, StateVersion};

/// Names one pipeline of an instance, from its hydration to its end. A report about another one is of no interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket {
    pub(super) instance: InstanceId,
    /// Never given twice.
    pub(super) life: u64,
}

/// To a thread that reads queries for the first time.
pub(super) enum Assignment {
    Hydrate(Ticket, Arc<PreparedQuery>),
    Drop(Ticket),
    Clear,
}

/// To a thread that keeps queries current.
pub(super) enum Order {
    /// Takes a pipeline over that has got to `at`, and brings it to `to`, where the thread stands.
    Adopt {
        ticket: Ticket,
        pipeline: Box<Pipeline>,
        at: StateVersion,
        to: StateVersion,
    },
    /// Brings all pipelines to a version.
    Step {
        round: u64,
        to: StateVersion,
    },
    Drop(Ticket),
    Clear,
}

/// To the coordinator.
pub(super) enum Report {
    Hydrated(Box<Hydrated>),
    Failed(Ticket, InstanceError),
    /// What the pipeline gave on the way to where the thread stands.
    Adopted(Ticket, Deltas),
    /// The way there is not known any more, or could not be gone.
    Refused(Ticket),
    Stepped(Box<Stepped>),
}

/// A query that was read.
pub(super) struct Hydrated {
    pub(super) ticket: Ticket,
    pub(super) pipeline: Pipeline,
    /// The version at which it has just these rows.
    pub(super) at: StateVersion,
    pub(super) counted: Deltas,
}

/// What pipelines gave on the way to a version.
pub(super) type Given = BTreeMap<Ticket, Deltas>;

/// What a thread's pipelines gave in a round.
pub(super) struct Stepped {
    pub(super) worker: usize,
    pub(super) round: u64,
    pub(super) deltas: Given,
    /// Pipelines that could not be brought there; the thread has dropped them.
    pub(super) broken: Vec<Ticket>,
}
