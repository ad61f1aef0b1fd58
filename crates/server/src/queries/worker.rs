//! A thread that keeps pipelines current: it brings all of its own from one version to the next when it is told to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use landfall_ivm::Pipeline;

use super::accounting::Deltas;
use super::hydration::push_until;
use super::hydrator::Turn;
use super::instance::InstanceError;
use super::limits::QueryLimits;
use super::messages::{Given, Order, Report, Stepped, Ticket};
use super::rewound::Rewound;
use super::routes::Routes;
use super::standing::{Ahead, Standing};
use crate::cvr::StateVersion;
use crate::replica::{Advance, Lagged, Reader, Replica, ReplicaError, RowChange};

/// Changes of a round that are pushed one by one; beyond, pipelines are read anew.
const MAX_PUSHED: usize = 20_000;

/// Pipelines of one thread, all at one version.
pub(super) struct Worker {
    /// Which one it is.
    number: usize,
    standing: Standing,
    orders: Receiver<Order>,
    report: Box<dyn Fn(Report) + Send>,
    limits: QueryLimits,
    pipelines: BTreeMap<Ticket, Pipeline>,
    routes: Routes,
    /// What it was told to do, when the replica could not be read.
    postponed: Option<Order>,
    /// What it is doing, for when it meets a fault.
    at_hand: AtHand,
}

/// What others wait for.
#[derive(Clone, Copy)]
enum AtHand {
    Nothing,
    Adoption(Ticket),
    Round(u64),
}

/// What a round has come to so far.
struct Round<'a> {
    pipelines: &'a BTreeMap<Ticket, Pipeline>,
    reader: &'a Reader,
    limit: Duration,
    /// Time that each pipeline took.
    spent: BTreeMap<Ticket, Duration>,
    broken: BTreeSet<Ticket>,
}

impl Worker {
    pub(super) fn new(
        number: usize,
        replica: &Replica,
        orders: Receiver<Order>,
        report: Box<dyn Fn(Report) + Send>,
        limits: QueryLimits,
    ) -> Result<Self, ReplicaError> {
        let mut standing = Standing::open(replica)?;
        standing.rest();
        Ok(Worker {
            number,
            standing,
            orders,
            report,
            limits,
            pipelines: BTreeMap::new(),
            routes: Routes::default(),
            postponed: None,
            at_hand: AtHand::Nothing,
        })
    }

    /// Carries an order out, if one has come.
    pub(super) fn turn(&mut self) -> Turn {
        let order = match self
            .postponed
            .take()
            .map_or_else(|| self.orders.try_recv(), Ok)
        {
            Ok(order) => order,
            Err(TryRecvError::Empty) => return Turn::Idle,
            Err(TryRecvError::Disconnected) => return Turn::Over,
        };
        self.obey(order);
        match self.postponed {
            None => Turn::Busy,
            Some(_) => Turn::Paused,
        }
    }

    /// Waits for an order.
    pub(super) fn wait(&mut self) -> bool {
        let order = self.orders.recv();
        order.map(|order| self.obey(order)).is_ok()
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Adopt {
                ticket,
                pipeline,
                at,
                to,
            } => self.adopt(ticket, pipeline, at, to),
            Order::Step { round, to } => self.step(round, to),
            Order::Drop(ticket) => self.drop_pipeline(ticket),
            Order::Clear => {
                self.pipelines.clear();
                self.routes = Routes::default();
            }
        }
        self.at_hand = AtHand::Nothing;
        self.standing.rest();
    }

    /// A fault of the server was met: nothing that is held here is trusted any more.
    pub(super) fn recover(&mut self) {
        let at_hand = std::mem::replace(&mut self.at_hand, AtHand::Nothing);
        let broken: Vec<Ticket> = std::mem::take(&mut self.pipelines).into_keys().collect();
        self.routes = Routes::default();
        match at_hand {
            AtHand::Nothing => {}
            AtHand::Adoption(ticket) => (self.report)(Report::Refused(ticket)),
            AtHand::Round(round) => self.arrived(round, BTreeMap::new(), broken),
        }
    }

    fn arrived(&self, round: u64, deltas: Given, broken: Vec<Ticket>) {
        (self.report)(Report::Stepped(Box::new(Stepped {
            worker: self.number,
            round,
            deltas,
            broken,
        })));
    }

    fn drop_pipeline(&mut self, ticket: Ticket) {
        self.pipelines.remove(&ticket);
        self.routes.remove(ticket);
    }

    fn adopt(
        &mut self,
        ticket: Ticket,
        pipeline: Box<Pipeline>,
        at: StateVersion,
        to: StateVersion,
    ) {
        self.at_hand = AtHand::Adoption(ticket);
        // A thread without pipelines has not been told of the rounds since.
        self.standing.position = at;
        let gone = self.standing.look_ahead().map(|ahead| {
            let ahead = ahead?;
            Some(self.bring(&pipeline, &ahead, to))
        });
        self.standing.position = to;
        match gone {
            Ok(Some(Some(deltas))) => {
                let schema = &self.standing.reader.schema().zql;
                self.routes.insert(ticket, &pipeline, schema);
                self.pipelines.insert(ticket, *pipeline);
                (self.report)(Report::Adopted(ticket, deltas));
            }
            Ok(None) => {
                self.postponed = Some(Order::Adopt {
                    ticket,
                    pipeline,
                    at,
                    to,
                });
            }
            Ok(Some(None)) | Err(Lagged) => (self.report)(Report::Refused(ticket)),
        }
    }

    /// Pushes what lies before `to` through a pipeline that is new here.
    fn bring(&self, pipeline: &Pipeline, ahead: &Ahead, to: StateVersion) -> Option<Deltas> {
        let mut deltas = Deltas::new();
        if ahead.reset.iter().any(|table| pipeline.reads(*table)) {
            return None;
        }
        let deadline = Instant::now() + self.limits.advance;
        let mut source = Rewound::new(&self.standing.reader, &ahead.steps);
        let due = ahead.steps.iter().filter(|step| step.to <= to);
        for change in due.flat_map(|step| &step.changes) {
            if pipeline.reads(change.table) {
                match push_until(pipeline, &source, change, &mut deltas, deadline) {
                    Ok(true) => {}
                    Ok(false) | Err(_) => return None,
                }
            }
            source.reveal(change);
        }
        Some(deltas)
    }

    fn step(&mut self, round: u64, to: StateVersion) {
        self.at_hand = AtHand::Round(round);
        let ahead = match self.standing.look_ahead() {
            Ok(Some(ahead)) => Some(ahead),
            Ok(None) => {
                self.postponed = Some(Order::Step { round, to });
                return;
            }
            Err(Lagged) => None,
        };
        self.standing.position = to;
        let mut deltas = Given::new();
        let broken = match ahead {
            Some(ahead) => self.push_all(&ahead, to, &mut deltas),
            // Nothing is known of what happened.
            None => self.pipelines.keys().copied().collect(),
        };
        for ticket in &broken {
            self.drop_pipeline(*ticket);
        }
        self.arrived(round, deltas, broken.into_iter().collect());
    }

    fn push_all(&self, ahead: &Ahead, to: StateVersion, deltas: &mut Given) -> BTreeSet<Ticket> {
        let due: Vec<&Arc<Advance>> = ahead.steps.iter().filter(|s| s.to <= to).collect();
        let is_large = due.iter().map(|s| s.changes.len()).sum::<usize>() > MAX_PUSHED;
        let mut work = Round {
            pipelines: &self.pipelines,
            reader: &self.standing.reader,
            limit: self.limits.advance,
            spent: BTreeMap::new(),
            broken: self.routes.readers(&ahead.reset).into_iter().collect(),
        };
        let mut source = Rewound::new(&self.standing.reader, &ahead.steps);
        for change in due.iter().flat_map(|step| &step.changes) {
            for ticket in self.routes.reached(change) {
                if is_large {
                    work.broken.insert(ticket);
                } else if !work.broken.contains(&ticket) {
                    work.push(ticket, &source, change, deltas.entry(ticket).or_default());
                }
            }
            source.reveal(change);
        }
        deltas.retain(|_, deltas| !deltas.is_empty());
        work.broken
    }
}

impl Round<'_> {
    fn push(
        &mut self,
        ticket: Ticket,
        source: &Rewound<'_>,
        change: &RowChange,
        deltas: &mut Deltas,
    ) {
        let Some(pipeline) = self.pipelines.get(&ticket) else {
            return;
        };
        let spent = self.spent.entry(ticket).or_default();
        let begun = Instant::now();
        let deadline = begun + self.limit.saturating_sub(*spent);
        self.reader.set_deadline(Some(deadline));
        let pushed = push_until(pipeline, source, change, deltas, deadline);
        self.reader.set_deadline(None);
        *spent += begun.elapsed();
        let error = match pushed {
            _ if *spent > self.limit => InstanceError::TooSlow(self.limit),
            Ok(true) => return,
            Ok(false) => InstanceError::TooSlow(self.limit),
            Err(error) => error,
        };
        tracing::warn!(instance = %ticket.instance, %error, "a query is read anew");
        metrics::counter!("landfall_queries_rebuilt_total").increment(1);
        self.broken.insert(ticket);
    }
}
