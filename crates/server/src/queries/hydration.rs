//! Reading a query for the first time: in slices, while the database goes on changing.
//!
//! All slices read the state of the first one; what has changed since is pushed when everything is read, in slices too.

use std::collections::{BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use landfall_ivm::{Choice, Pipeline, Progress, Source, SourceError, Steps, Walk};
use landfall_zql::{Schema, TableId};
use tracing::Span;
use tracing::field::Empty;

use super::accounting::{Counter, Deltas};
use super::instance::{InstanceError, guarded, source_change};
use super::limits::QueryLimits;
use super::messages::{Hydrated, Ticket};
use super::prepare::PreparedQuery;
use super::rewound::Undo;
use super::standing::without;
use crate::cvr::StateVersion;
use crate::replica::{Advance, RowChange};
use crate::telemetry::TRACE;

/// How long a slice may take.
const SLICE: Duration = Duration::from_millis(8);
/// Steps of a push between two looks at the clock.
const STEPS: usize = 512;
/// Rows that are visited before a reading looks at the clock, if no root row ends meanwhile. Each look opens the
/// statements anew.
const ROWS: usize = 20_000;
/// Changes that may wait until the query is read before that starts anew.
pub(super) const MAX_PENDING: usize = 20_000;
/// How often it may start anew for that reason.
pub(super) const MAX_RESTARTS: u32 = 8;

/// A hydration under way.
pub(super) struct Hydration {
    pub(super) ticket: Ticket,
    query: Arc<PreparedQuery>,
    state: Reading,
    /// How often it was overtaken by changes and began anew.
    restarts: u32,
    /// Time that its slices took.
    spent: Duration,
    /// Since when it is known.
    pub(super) begun: Instant,
    /// For traces: from the beginning to the end, the time included in which others had their turn.
    span: Span,
}

/// What has been read, of one state of the source.
#[derive(Default)]
struct Reading {
    pipeline: Option<Pipeline>,
    /// Below the row that is not all read yet.
    walk: Walk,
    is_read: bool,
    counted: Deltas,
    bytes: usize,
    /// Steps since it began, not pushed yet, and what shows the state before them.
    pending: VecDeque<Arc<Advance>>,
    undo: Undo,
    waiting: usize,
    /// How many changes of the first pending step are pushed.
    pushed: usize,
    /// The pipeline is in the middle of the next one.
    is_pushing: bool,
}

/// How a slice ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Slice {
    /// More is to be done.
    More,
    /// All is read, and brought to the source's version.
    Done,
}

impl Hydration {
    pub(super) fn new(ticket: Ticket, query: Arc<PreparedQuery>) -> Self {
        let span = tracing::debug_span!(
            target: TRACE,
            "hydrate",
            instance = ticket.instance.0,
            query = &*query.name,
            table = query.ast.table,
            rows = Empty,
            bytes = Empty,
            restarts = Empty,
            failed = Empty,
        );
        Hydration {
            span,
            ticket,
            query,
            state: Reading::default(),
            restarts: 0,
            spent: Duration::ZERO,
            begun: Instant::now(),
        }
    }

    /// The pipeline; it is built for the source as it is now, if there is none.
    pub(super) fn pipeline(&mut self, newest: &dyn Source) -> Result<&Pipeline, InstanceError> {
        let pipeline = match self.state.pipeline.take() {
            Some(pipeline) => pipeline,
            None => build(&self.query, newest)?,
        };
        Ok(self.state.pipeline.insert(pipeline))
    }

    /// Forgets what was read: the changes since are not known one by one.
    pub(super) fn restart(&mut self) {
        self.state = Reading::default();
    }

    /// Takes in what happened to the source, before anything of it is read.
    pub(super) fn note(
        &mut self,
        schema: &Schema,
        steps: &[Arc<Advance>],
        reset: &BTreeSet<TableId>,
    ) -> Result<(), InstanceError> {
        let Some(pipeline) = &self.state.pipeline else {
            return Ok(());
        };
        if reset.iter().any(|table| pipeline.reads(*table)) {
            self.restart();
            return Ok(());
        }
        for table in reset {
            self.state.undo.forget(*table);
        }
        for pending in &mut self.state.pending {
            // Of tables that the pipeline does not read: they may have another shape than their rows now.
            *pending = without(pending, reset);
        }
        self.state.waiting += steps.iter().map(|step| step.changes.len()).sum::<usize>();
        if self.state.waiting > MAX_PENDING {
            self.restarts += 1;
            self.restart();
            return match self.restarts {
                ..=MAX_RESTARTS => Ok(()),
                _ => Err(InstanceError::Overrun),
            };
        }
        for change in steps.iter().flat_map(|step| &step.changes) {
            self.state.undo.add(schema, change);
        }
        let changed = steps.iter().filter(|step| !step.changes.is_empty());
        self.state.pending.extend(changed.cloned());
        Ok(())
    }

    /// When the next slice has to be over for good.
    pub(super) fn deadline(&self, limits: &QueryLimits) -> Instant {
        Instant::now() + limits.hydration.saturating_sub(self.spent)
    }

    /// Goes on for a while. `newest` shows all steps that were noted.
    pub(super) fn slice(
        &mut self,
        newest: &dyn Source,
        limits: &QueryLimits,
    ) -> Result<Slice, InstanceError> {
        let begun = Instant::now();
        let _entered = self.span.enter();
        let state = &mut self.state;
        let done = guarded(|| match state.is_read {
            false => state.read(newest, limits).map(|()| Slice::More),
            true => state.catch_up(newest),
        });
        self.spent += begun.elapsed();
        match done {
            // Whatever was interrupted met the same end.
            _ if self.spent > limits.hydration => Err(InstanceError::TooSlow(limits.hydration)),
            done => done,
        }
    }

    /// Notes why nothing has come of it.
    pub(super) fn failed(&self, error: &InstanceError) {
        self.span.record("failed", tracing::field::display(error));
    }

    /// What it has come to, at the version of the source.
    pub(super) fn finish(self, at: StateVersion) -> Option<Hydrated> {
        self.span.record("rows", self.state.counted.len());
        self.span.record("bytes", self.state.bytes);
        self.span.record("restarts", self.restarts);
        Some(Hydrated {
            ticket: self.ticket,
            pipeline: self.state.pipeline?,
            at,
            counted: self.state.counted,
        })
    }
}

impl Reading {
    fn read(&mut self, newest: &dyn Source, limits: &QueryLimits) -> Result<(), InstanceError> {
        let source = self.undo.over(newest);
        // From the first row on: whatever it takes to find that one, a slice gets on.
        let mut begun = None;
        let Some(pipeline) = &self.pipeline else {
            return Err(InstanceError::Fault);
        };
        let mut counter = Counter::new(newest.schema(), &mut self.counted);
        let before = self.bytes;
        let mut over = None;
        loop {
            let progress = pipeline.hydrate(&source, &Steps::new(ROWS), &mut |reader, node| {
                let entered = counter.enter(reader, node, &mut self.walk)?;
                over = limits.exceeded(counter.rows(), before + counter.bytes());
                let begun = *begun.get_or_insert_with(Instant::now);
                let ends = over.is_some() || begun.elapsed() > SLICE;
                Ok(match ends || entered == Progress::More {
                    true => ControlFlow::Break(entered),
                    false => ControlFlow::Continue(()),
                })
            })?;
            if let Some(error) = over {
                return Err(error);
            }
            self.is_read = progress == Progress::Done;
            let begun = *begun.get_or_insert_with(Instant::now);
            if self.is_read || begun.elapsed() > SLICE {
                break;
            }
        }
        self.bytes = before + counter.bytes();
        Ok(())
    }

    fn catch_up(&mut self, newest: &dyn Source) -> Result<Slice, InstanceError> {
        let begun = Instant::now();
        let Some(pipeline) = &self.pipeline else {
            return Err(InstanceError::Fault);
        };
        let mut counter = Counter::new(newest.schema(), &mut self.counted);
        while let Some(step) = self.pending.front() {
            for change in &step.changes[self.pushed..] {
                if !std::mem::replace(&mut self.is_pushing, true) {
                    pipeline.begin(&source_change(change));
                }
                loop {
                    let source = self.undo.over(newest);
                    let steps = Steps::new(STEPS);
                    if pipeline.advance(&source, &steps, &mut counter)? == Progress::Done {
                        break;
                    }
                    if begun.elapsed() > SLICE {
                        return Ok(Slice::More);
                    }
                }
                self.is_pushing = false;
                self.pushed += 1;
                self.undo.reveal(newest.schema(), change);
                if begun.elapsed() > SLICE {
                    return Ok(Slice::More);
                }
            }
            self.waiting -= step.changes.len();
            self.pushed = 0;
            self.pending.pop_front();
        }
        Ok(Slice::Done)
    }
}

pub(super) fn build(query: &PreparedQuery, source: &dyn Source) -> Result<Pipeline, SourceError> {
    Pipeline::plan(&query.ast, source.schema(), Choice::Estimated(source)).map_err(|e| {
        SourceError {
            message: e.to_string(),
            source: None,
        }
    })
}

/// Pushes a change through a pipeline, until a time has come. False if it was not done by then.
pub(super) fn push_until(
    pipeline: &Pipeline,
    source: &dyn Source,
    change: &RowChange,
    deltas: &mut Deltas,
    deadline: Instant,
) -> Result<bool, InstanceError> {
    guarded(|| {
        let mut counter = Counter::new(source.schema(), deltas);
        pipeline.begin(&source_change(change));
        while pipeline.advance(source, &Steps::new(STEPS), &mut counter)? == Progress::More {
            if Instant::now() > deadline {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cvr::InstanceId;
    use crate::queries::instance::Instance;
    use crate::replica::Reset;
    use landfall_ivm::MemorySource;
    use landfall_zql::ast::Ast;
    use landfall_zql::{Row, ValueRef};

    const SCHEMA: &str = r#"{"tables": {"t": {"name": "t", "columns": {"id": {"type": "string"}}, "primaryKey": ["id"]}}}"#;

    fn row(n: usize) -> Row {
        Row::from_values([ValueRef::String(&format!("r{n:06}"))])
    }

    fn insert(rows: std::ops::Range<usize>) -> Arc<Advance> {
        let changes = rows.map(|n| RowChange {
            table: TableId(0),
            before: None,
            after: Some(row(n)),
        });
        Arc::new(Advance {
            from: 1,
            to: 2,
            changes: changes.collect(),
            lmids: Vec::new(),
            results: Vec::new(),
            reset: Reset::None,
            permissions_changed: false,
        })
    }

    fn hydration(source: &dyn Source) -> Hydration {
        let ast = Ast {
            table: "t".into(),
            ..Ast::default()
        };
        let instance = InstanceId(1);
        let ticket = Ticket { instance, life: 1 };
        let mut hydration = Hydration::new(ticket, Arc::new(PreparedQuery::new(&ast)));
        hydration.pipeline(source).expect("builds");
        hydration
    }

    fn source(rows: usize) -> MemorySource {
        let schema = Arc::new(Schema::from_json(SCHEMA).expect("schema"));
        let mut source = MemorySource::new(schema);
        source.load(TableId(0), &(0..rows).map(row).collect::<Vec<_>>());
        source
    }

    fn read(
        hydration: &mut Hydration,
        source: &dyn Source,
        limits: &QueryLimits,
    ) -> Result<(), InstanceError> {
        hydration.pipeline(source)?;
        while hydration.slice(source, limits)? == Slice::More {}
        Ok(())
    }

    /// A bulk insert while a query was first read made the query fail.
    #[test]
    fn a_hydration_that_is_overtaken_begins_anew() {
        let rows = MAX_PENDING + 1;
        let source = source(rows);
        let mut hydration = hydration(&source);
        let none = BTreeSet::new();
        hydration
            .note(source.schema(), &[insert(0..rows)], &none)
            .expect("begins anew");
        read(&mut hydration, &source, &QueryLimits::default()).expect("reads");
        let hydrated = hydration.finish(2).expect("is read");
        let mut instance = Instance::new(
            hydrated.ticket,
            Arc::new(PreparedQuery::new(&Ast::default())),
        );
        let schema = source.schema();
        instance
            .settle(2, hydrated.counted, Vec::new(), schema)
            .expect("settles");
        assert_eq!(instance.members.len(), rows);
        assert!(instance.members.live().all(|(_, live)| live.count == 1));
    }

    #[test]
    fn a_hydration_that_is_always_overtaken_fails() {
        let source = source(0);
        let mut hydration = hydration(&source);
        let flood = insert(0..MAX_PENDING + 1);
        let failed = (0..=MAX_RESTARTS).find_map(|_| {
            hydration.pipeline(&source).expect("builds");
            let flood = std::slice::from_ref(&flood);
            hydration
                .note(source.schema(), flood, &BTreeSet::new())
                .err()
        });
        assert!(matches!(failed, Some(InstanceError::Overrun)));
    }

    /// Steps that arrive between slices are pushed when everything is read, and not seen before.
    #[test]
    fn what_happens_between_slices_is_counted_once() {
        let mut source = source(5_000);
        let mut hydration = hydration(&source);
        let limits = QueryLimits::default();
        for n in 5_000..5_100 {
            let step = insert(n..n + 1);
            source.apply(&source_change(&step.changes[0]));
            hydration
                .note(source.schema(), &[step], &BTreeSet::new())
                .expect("waits");
            hydration.slice(&source, &limits).expect("reads");
        }
        read(&mut hydration, &source, &limits).expect("reads");
        let counted = hydration.finish(2).expect("is read").counted;
        assert_eq!(counted.len(), 5_100);
        assert!(counted.values().all(|delta| delta.count == 1));
    }

    #[test]
    fn each_bound_ends_a_hydration() {
        let source = source(5_000);
        let check = |limits: QueryLimits, message: &str| {
            let failed = read(&mut hydration(&source), &source, &limits).expect_err("fails");
            assert!(failed.to_string().contains(message), "{failed}");
        };
        let limits = QueryLimits::default();
        check(
            QueryLimits {
                rows: 4_999,
                ..limits
            },
            "more than 4999 rows",
        );
        check(
            QueryLimits {
                bytes: 5_000,
                ..limits
            },
            "more than 5000 bytes",
        );
        let hydration = Duration::from_nanos(1);
        check(
            QueryLimits {
                hydration,
                ..limits
            },
            "longer than",
        );
    }
}
