//! The threads of the pool, as their coordinator knows them: who has which pipeline.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::messages::{Assignment, Hydrated, Order, Ticket};
use super::prepare::PreparedQuery;
use crate::cvr::StateVersion;

/// The ways to all threads.
pub(super) struct Crew {
    hydrators: Vec<Sender<Assignment>>,
    workers: Vec<Sender<Order>>,
    /// The pipelines of each worker.
    pipelines: Vec<BTreeSet<Ticket>>,
}

impl Crew {
    /// There is one of each kind at least.
    pub(super) fn new(hydrators: Vec<Sender<Assignment>>, workers: Vec<Sender<Order>>) -> Self {
        Crew {
            pipelines: workers.iter().map(|_| BTreeSet::new()).collect(),
            hydrators,
            workers,
        }
    }

    pub(super) fn hydrate(&self, ticket: Ticket, query: Arc<PreparedQuery>) {
        self.assign(ticket, Assignment::Hydrate(ticket, query));
    }

    pub(super) fn stop_hydrating(&self, ticket: Ticket) {
        self.assign(ticket, Assignment::Drop(ticket));
    }

    /// Gives a pipeline to a worker, which is at `to`; gives back the rest.
    pub(super) fn adopt(&mut self, read: Hydrated, to: StateVersion) -> super::accounting::Deltas {
        let Hydrated {
            ticket,
            pipeline,
            at,
            counted,
        } = read;
        let worker = self.worker_of(ticket);
        self.pipelines[worker].insert(ticket);
        self.order(
            worker,
            Order::Adopt {
                ticket,
                pipeline: Box::new(pipeline),
                at,
                to,
            },
        );
        counted
    }

    /// A pipeline is of no use any more.
    pub(super) fn drop_pipeline(&mut self, ticket: Ticket) {
        let worker = self.worker_of(ticket);
        if self.pipelines[worker].remove(&ticket) {
            self.order(worker, Order::Drop(ticket));
        }
    }

    /// A worker has dropped a pipeline itself.
    pub(super) fn lost(&mut self, ticket: Ticket) {
        let worker = self.worker_of(ticket);
        self.pipelines[worker].remove(&ticket);
    }

    /// Sends everyone who has pipelines to a version; returns who that is.
    pub(super) fn step(&self, round: u64, to: StateVersion) -> BTreeSet<usize> {
        let busy = self.pipelines.iter().enumerate();
        let busy = busy.filter(|(_, pipelines)| !pipelines.is_empty());
        let busy: BTreeSet<usize> = busy.map(|(worker, _)| worker).collect();
        for worker in &busy {
            self.order(*worker, Order::Step { round, to });
        }
        busy
    }

    pub(super) fn clear(&mut self) {
        for hydrator in &self.hydrators {
            told(hydrator.send(Assignment::Clear).is_ok());
        }
        for worker in 0..self.workers.len() {
            self.order(worker, Order::Clear);
        }
        self.pipelines.iter_mut().for_each(BTreeSet::clear);
    }

    fn worker_of(&self, ticket: Ticket) -> usize {
        (ticket.life % self.workers.len() as u64) as usize
    }

    fn assign(&self, ticket: Ticket, assignment: Assignment) {
        let hydrator = (ticket.life % self.hydrators.len() as u64) as usize;
        told(self.hydrators[hydrator].send(assignment).is_ok());
    }

    fn order(&self, worker: usize, order: Order) {
        told(self.workers[worker].send(order).is_ok());
    }
}

fn told(is_there: bool) {
    if !is_there {
        tracing::error!("a thread of the query pool has ended");
    }
}
