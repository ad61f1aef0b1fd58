//! A thread that reads queries for the first time, each a slice at a time.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use super::hydration::{Hydration, Slice};
use super::instance::InstanceError;
use super::limits::QueryLimits;
use super::messages::{Assignment, Report, Ticket};
use super::standing::{Ahead, Standing};
use crate::replica::{Replica, ReplicaError};

/// How long a query waits for the indexes that it needs; then it is read without.
const INDEX_WAIT: Duration = Duration::from_secs(60);

/// What a thread found to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Something was done, and more may be there.
    Busy,
    /// Nothing can be done now, but soon.
    Paused,
    /// Nothing is to be done until an order comes.
    Idle,
    /// Nobody will order anything any more.
    Over,
}

/// Hydrations of one thread.
pub(super) struct Hydrator {
    standing: Standing,
    orders: Receiver<Assignment>,
    report: Box<dyn Fn(Report) + Send>,
    limits: QueryLimits,
    hydrations: VecDeque<Hydration>,
    /// Hydrations in a row that had to wait.
    waited: usize,
    /// What it is reading, for when it meets a fault.
    at_hand: Option<Ticket>,
}

impl Hydrator {
    pub(super) fn new(
        replica: &Replica,
        orders: Receiver<Assignment>,
        report: Box<dyn Fn(Report) + Send>,
        limits: QueryLimits,
    ) -> Result<Self, ReplicaError> {
        let mut standing = Standing::open(replica)?;
        standing.rest();
        Ok(Hydrator {
            standing,
            orders,
            report,
            limits,
            hydrations: VecDeque::new(),
            waited: 0,
            at_hand: None,
        })
    }

    /// Takes an order that has come, or does a slice of one hydration.
    pub(super) fn turn(&mut self) -> Turn {
        match self.orders.try_recv() {
            Ok(order) => {
                self.obey(order);
                return Turn::Busy;
            }
            Err(TryRecvError::Disconnected) => return Turn::Over,
            Err(TryRecvError::Empty) => {}
        }
        let turn = self.work();
        if turn != Turn::Busy || self.hydrations.is_empty() {
            self.standing.rest();
        }
        turn
    }

    /// Waits for an order.
    pub(super) fn wait(&mut self) -> bool {
        let order = self.orders.recv();
        order.map(|order| self.obey(order)).is_ok()
    }

    fn obey(&mut self, order: Assignment) {
        match order {
            Assignment::Hydrate(ticket, query) => {
                self.hydrations.push_back(Hydration::new(ticket, query));
                self.waited = 0;
            }
            Assignment::Drop(ticket) => self.hydrations.retain(|h| h.ticket != ticket),
            Assignment::Clear => self.hydrations.clear(),
        }
    }

    fn work(&mut self) -> Turn {
        if self.hydrations.is_empty() {
            return Turn::Idle;
        }
        if !self.follow() {
            return Turn::Paused;
        }
        let Some(mut hydration) = self.hydrations.pop_front() else {
            return Turn::Busy;
        };
        let ticket = hydration.ticket;
        self.at_hand = Some(ticket);
        match self.advance(&mut hydration) {
            Ok(Some(Slice::Done)) => {
                if let Some(hydrated) = hydration.finish(self.standing.position) {
                    (self.report)(Report::Hydrated(Box::new(hydrated)));
                }
            }
            Ok(Some(Slice::More)) => {
                self.hydrations.push_back(hydration);
                self.waited = 0;
            }
            Ok(None) => {
                self.hydrations.push_back(hydration);
                self.waited += 1;
                if self.waited >= self.hydrations.len() {
                    self.waited = 0;
                    self.at_hand = None;
                    return Turn::Paused;
                }
            }
            Err(error) => {
                hydration.failed(&error);
                (self.report)(Report::Failed(ticket, error));
            }
        }
        self.at_hand = None;
        Turn::Busy
    }

    /// A fault of the server was met: nothing that is held here is trusted any more.
    pub(super) fn recover(&mut self) {
        let tickets = self.hydrations.drain(..).map(|h| h.ticket);
        let tickets: Vec<_> = tickets.chain(self.at_hand.take()).collect();
        for ticket in tickets {
            (self.report)(Report::Failed(ticket, InstanceError::Fault));
        }
    }

    /// One slice; `None` if the indexes are not there yet.
    fn advance(&self, hydration: &mut Hydration) -> Result<Option<Slice>, InstanceError> {
        let reader = &self.standing.reader;
        let is_late = hydration.begun.elapsed() > INDEX_WAIT;
        let pipeline = hydration.pipeline(reader)?;
        if !is_late && !reader.ask_for_indexes(pipeline.indexes())? {
            return Ok(None);
        }
        reader.set_deadline(Some(hydration.deadline(&self.limits)));
        let slice = hydration.slice(reader, &self.limits);
        reader.set_deadline(None);
        slice.map(Some)
    }

    /// Moves to the newest version, and tells the hydrations what has changed. False if it cannot be read now.
    fn follow(&mut self) -> bool {
        let Ahead { steps, reset } = match self.standing.look_ahead() {
            Ok(Some(ahead)) => ahead,
            Ok(None) => return false,
            Err(_) => {
                tracing::warn!("queries that are being read fell behind and begin anew");
                self.hydrations.iter_mut().for_each(Hydration::restart);
                if let Err(error) = self.standing.start_at_newest() {
                    tracing::warn!(%error, "the replica cannot be read now");
                    return false;
                }
                return true;
            }
        };
        let Some(last) = steps.last() else {
            return true;
        };
        self.standing.position = last.to;
        let report = &self.report;
        let schema = &self.standing.reader.schema().zql;
        self.hydrations
            .retain_mut(|hydration| match hydration.note(schema, &steps, &reset) {
                Ok(()) => true,
                Err(error) => {
                    hydration.failed(&error);
                    report(Report::Failed(hydration.ticket, error));
                    false
                }
            });
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use landfall_zql::ast::Ast;
    use rusqlite::Connection;

    use super::*;
    use crate::cvr::InstanceId;
    use crate::queries::PreparedQuery;
    use crate::upstream::embedded::ByHand;

    #[test]
    fn a_query_waits_until_its_indexes_are_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.db");
        let conn = Connection::open(&path).expect("opens");
        conn.execute_batch(
            "CREATE TABLE t (id TEXT PRIMARY KEY NOT NULL, n INTEGER NOT NULL);
             WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 2000)
             INSERT INTO t SELECT 'k' || i, (i * 7919) % 2000 FROM r",
        )
        .expect("SQL");
        let mut file = ByHand::open(&path).expect("is followed");
        let (orders, received) = channel();
        let (reports, reported) = channel();
        let report = Box::new(move |report| drop(reports.send(report)));
        let limits = QueryLimits::default();
        let mut hydrator = Hydrator::new(file.replica(), received, report, limits).expect("starts");
        let query = r#"{"table":"t","orderBy":[["n","desc"]],"limit":5}"#;
        let query = Arc::new(PreparedQuery::new(&Ast::from_json(query).expect("a query")));
        let instance = InstanceId(1);
        let ticket = Ticket { instance, life: 1 };
        orders
            .send(Assignment::Hydrate(ticket, query))
            .expect("is taken");
        assert_eq!(hydrator.turn(), Turn::Busy);
        assert_eq!(hydrator.turn(), Turn::Paused);
        assert_eq!(hydrator.turn(), Turn::Paused);
        file.step().expect("makes the index");
        while hydrator.turn() == Turn::Busy {}
        match reported.try_recv() {
            Ok(Report::Hydrated(read)) => assert_eq!(read.counted.len(), 5),
            _ => panic!("the query was not read"),
        }
        assert_eq!(
            file.replica().scans(),
            0,
            "nothing was read without an index"
        );
    }
}
