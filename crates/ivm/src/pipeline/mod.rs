//! A query as an arena of operators: hydrated once, then fed with changes. `build.rs` makes it from an AST.

pub(crate) mod build;
pub(crate) mod needs;
pub(crate) mod push;
pub(crate) mod rows;
pub(crate) mod walk;

use std::cell::{RefCell, RefMut};
use std::ops::ControlFlow;

use landfall_zql::ordering::Order;
use landfall_zql::{Row, TableId, ValueRef};

use crate::change::{Node, Output, Relationship};
use crate::error::SourceError;
use crate::operators::condition::Where;
use crate::operators::connection::Connection;
use crate::operators::drive::Drive;
use crate::operators::join::Join;
use crate::operators::junction_take::JunctionTake;
use crate::operators::partitions::Crowd;
use crate::operators::skip::Skip;
use crate::operators::take::Take;
use crate::pipeline::needs::{Lookup, Needs};
use crate::pipeline::push::Task;
use crate::planner::Estimate;
use crate::source::{Basis, IndexSpec, Sink, Source, SourceChange, Start};
use crate::steps::{Pause, Progress, Steps};

/// An operator's place in its pipeline.
pub(crate) type OpId = usize;

/// A join of a pipeline: the identity of a relationship.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JoinId(pub(crate) OpId);

/// What an operator is asked for; it answers in its own order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Request<'a> {
    /// Sorted by column, each at most once.
    pub constraint: &'a [(usize, ValueRef<'a>)],
    pub start: Option<Start<'a>>,
    pub reverse: bool,
    /// The fetch may stop before its end when the steps are spent.
    pub pause: Option<&'a Pause>,
}

impl Request<'_> {
    /// Whether to stop before this row, because the steps are spent. To be asked by who gives rows of its own.
    pub fn pauses(&self, reader: Reader<'_>, row: &Row) -> bool {
        self.pause
            .is_some_and(|pause| pause.before(row, reader.steps))
    }
}

#[derive(Debug)]
pub(crate) enum Operator {
    Connection(Connection),
    Skip(Skip),
    Drive(Drive),
    Where(Where),
    Take(Take),
    Join(Join),
    JunctionTake(JunctionTake),
}

impl Operator {
    /// What it reads; `None` for a connection.
    pub fn input(&self) -> Option<OpId> {
        match self {
            Operator::Connection(_) => None,
            Operator::Skip(skip) => Some(skip.input),
            Operator::Drive(drive) => Some(drive.input),
            Operator::Where(condition) => Some(condition.input),
            Operator::Take(take) => Some(take.input),
            Operator::Join(join) => Some(join.parent),
            Operator::JunctionTake(take) => Some(take.input),
        }
    }

    /// The columns that part the rows of a take, sorted, and what it keeps for each partition.
    pub fn partitions(&self) -> Option<(&[usize], RefMut<'_, dyn Crowd>)> {
        Some(match self {
            Operator::Take(take) => {
                let kept = RefMut::map(take.partitions.borrow_mut(), |kept| kept as &mut dyn Crowd);
                (take.partition.as_slice(), kept)
            }
            Operator::JunctionTake(take) => {
                let kept = RefMut::map(take.partitions.borrow_mut(), |kept| kept as &mut dyn Crowd);
                (take.partition.as_slice(), kept)
            }
            _ => return None,
        })
    }
}

/// Takes root nodes one by one; `Break` ends the fetch.
pub type NodeSink<'a> = dyn FnMut(Reader<'_>, Node) -> Result<ControlFlow<()>, SourceError> + 'a;

/// Takes root nodes of a hydration one by one; `Break` ends the slice. With `More` the node was not done with: it comes
/// first in the next slice.
pub type HydrateSink<'a> =
    dyn FnMut(Reader<'_>, &Node) -> Result<ControlFlow<Progress>, SourceError> + 'a;

/// Where an operator's changes go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Downstream {
    Output,
    Input(OpId),
    /// The child side of a join.
    Child(OpId),
}

/// Reads that decide which root rows there are.
const ROOT: usize = 0;
/// Reads of what is related to a root row.
pub(crate) const RELATED: usize = 1;

/// A query that can be hydrated and kept current.
///
/// After an error in [`Pipeline::fetch`] or [`Pipeline::push`] its state is not to be trusted: build a new one.
#[derive(Debug)]
pub struct Pipeline {
    pub(crate) operators: Vec<Operator>,
    pub(crate) downstream: Vec<Downstream>,
    pub(crate) root: OpId,
    pub(crate) table: TableId,
    pub(crate) order: Order,
    pub(crate) relationships: Vec<Relationship>,
    pub(crate) indexes: Vec<(TableId, IndexSpec)>,
    /// What reads need, by when they happen.
    pub(crate) needs: [Needs; 2],
    /// What reads of the parents of changed children need.
    pub(crate) lookups: Vec<Lookup>,
    /// A root node that waits for the indexes that its relationships are read by, or is not done with.
    pub(crate) waiting: RefCell<Option<Node>>,
    /// Where hydration has got to.
    pub(crate) hydrated: RefCell<Option<(Row, Basis)>>,
    /// What is left to do of the change in progress.
    pub(crate) tasks: RefCell<Vec<Task>>,
    /// What was expected of levels when they were planned, by their connections.
    pub(crate) estimates: Vec<(OpId, Estimate)>,
}

impl Pipeline {
    /// The table of the root rows.
    pub fn table(&self) -> TableId {
        self.table
    }

    /// The order of the root rows.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// Relationships of the root rows, those for `EXISTS` included.
    pub fn relationships(&self) -> &[Relationship] {
        &self.relationships
    }

    /// The indexes that make this pipeline's reads quick, sorted, each once.
    pub fn indexes(&self) -> &[(TableId, IndexSpec)] {
        &self.indexes
    }

    /// Whether a change of this table can reach the pipeline.
    pub fn reads(&self, table: TableId) -> bool {
        self.connections(table).next().is_some()
    }

    /// A column and a value for each use of the table: a row that has none of them cannot reach the pipeline. `None`
    /// when some use takes rows of any value.
    pub fn pins(&self, table: TableId) -> Option<Vec<(usize, ValueRef<'_>)>> {
        self.connections(table)
            .map(|(_, connection)| {
                let (column, value) = connection.pinned.first()?;
                Some((*column, value.as_ref()))
            })
            .collect()
    }

    /// Gives root rows in order; the first fetch hydrates. To go on after a break, pass the last row as `after`.
    ///
    /// # Errors
    /// Rows could not be read.
    pub fn fetch(
        &self,
        source: &dyn Source,
        after: Option<&Row>,
        sink: &mut NodeSink<'_>,
    ) -> Result<(), SourceError> {
        let steps = Steps::unlimited();
        let reader = Reader::new(self, source, &steps);
        let request = Request {
            start: after.map(|row| Start {
                row,
                basis: Basis::After,
            }),
            ..Request::default()
        };
        reader.give(&request, sink)
    }

    /// Gives further root rows in order, until the steps are spent or the sink breaks; the next call goes on there.
    /// At least one row is visited. Between two calls the source may not change.
    ///
    /// # Errors
    /// Rows could not be read.
    pub fn hydrate(
        &self,
        source: &dyn Source,
        steps: &Steps,
        sink: &mut HydrateSink<'_>,
    ) -> Result<Progress, SourceError> {
        let reader = Reader::new(self, source, steps);
        let mut give = |reader: Reader<'_>, node: Node| {
            Ok(match sink(reader, &node)? {
                ControlFlow::Continue(()) => ControlFlow::Continue(()),
                ControlFlow::Break(progress) => {
                    if progress == Progress::More {
                        self.waiting.replace(Some(node));
                    }
                    ControlFlow::Break(())
                }
            })
        };
        if self.needs[ROOT].prepare(reader)? == Progress::More {
            return Ok(Progress::More);
        }
        if self.waiting.borrow().is_some() {
            if self.needs[RELATED].prepare(reader)? == Progress::More {
                return Ok(Progress::More);
            }
            if let Some(node) = self.waiting.take()
                && give(reader, node)?.is_break()
            {
                return Ok(Progress::More);
            }
        }
        let position = self.hydrated.take();
        let pause = Pause::default();
        let request = Request {
            start: position
                .as_ref()
                .map(|(row, basis)| Start { row, basis: *basis }),
            pause: Some(&pause),
            ..Request::default()
        };
        let mut last = None;
        reader.give(&request, &mut |reader, node| {
            let row = node.row.clone();
            if !self.needs[RELATED].are_met()
                && self.needs[RELATED].prepare(reader)? == Progress::More
            {
                last = Some(row);
                self.waiting.replace(Some(node));
                return Ok(ControlFlow::Break(()));
            }
            let flow = give(reader, node)?;
            if flow.is_break() {
                last = Some(row);
            }
            Ok(flow)
        })?;
        if last.is_none() && !pause.has_stopped() {
            for operator in &self.operators {
                if let Operator::Drive(drive) = operator {
                    drive.forget();
                }
            }
            return Ok(Progress::Done);
        }
        let last = last.map(|row| (row, Basis::After));
        let next = || pause.into_next().map(|row| (row, Basis::At));
        *self.hydrated.borrow_mut() = last.or_else(next).or(position);
        Ok(Progress::More)
    }

    /// Pushes one change; the source still shows the state before it.
    ///
    /// # Errors
    /// Rows could not be read.
    pub fn push(
        &self,
        source: &dyn Source,
        change: &SourceChange,
        output: &mut dyn Output,
    ) -> Result<(), SourceError> {
        self.begin(change);
        self.advance(source, &Steps::unlimited(), output).map(drop)
    }

    /// The driver of a level, given its last operator.
    pub(crate) fn drive_of(&self, mut operator: OpId) -> Option<&Drive> {
        loop {
            match &self.operators[operator] {
                Operator::Drive(drive) => return Some(drive),
                other => operator = other.input()?,
            }
        }
    }

    pub(crate) fn connections(&self, table: TableId) -> impl Iterator<Item = (OpId, &Connection)> {
        let mut from = 0;
        std::iter::from_fn(move || {
            let found = self.connection_from(from, table)?;
            from = found.0 + 1;
            Some(found)
        })
    }

    /// The first connection of a table among the operators from this one on.
    pub(crate) fn connection_from(
        &self,
        from: OpId,
        table: TableId,
    ) -> Option<(OpId, &Connection)> {
        let operators = self.operators.iter().enumerate().skip(from);
        operators
            .filter_map(|(id, operator)| match operator {
                Operator::Connection(connection) => Some((id, connection)),
                _ => None,
            })
            .find(|(_, connection)| connection.table == table)
    }

    pub(crate) fn join(&self, id: JoinId) -> &Join {
        match &self.operators[id.0] {
            Operator::Join(join) => join,
            _ => unreachable!("a JoinId is made for a join"),
        }
    }
}

/// Reads a pipeline's rows in one state of its source.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    pipeline: &'a Pipeline,
    source: &'a dyn Source,
    pub(crate) steps: &'a Steps,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        pipeline: &'a Pipeline,
        source: &'a dyn Source,
        steps: &'a Steps,
    ) -> Reader<'a> {
        Reader {
            pipeline,
            source,
            steps,
        }
    }

    /// The pipeline.
    pub fn pipeline(&self) -> &'a Pipeline {
        self.pipeline
    }

    /// The children of a node in one of its relationships, in order.
    ///
    /// # Errors
    /// Rows could not be read.
    pub fn children(self, join: JoinId, node: &Node) -> Result<Vec<Node>, SourceError> {
        self.first_children(join, node, usize::MAX)
    }

    /// The first children of a node in one of its relationships, as many as are wanted if there are.
    pub(crate) fn first_children(
        self,
        join: JoinId,
        node: &Node,
        wanted: usize,
    ) -> Result<Vec<Node>, SourceError> {
        let replaced = node.replaced.iter().flat_map(|replaced| replaced.iter());
        if let Some((_, children)) = replaced.into_iter().find(|(of, _)| *of == join) {
            return Ok(children.iter().take(wanted).cloned().collect());
        }
        let join = self.pipeline.join(join);
        match join.limited_by.map(|id| &self.pipeline.operators[id]) {
            Some(Operator::JunctionTake(take)) => Ok(take.shown_destinations(self, &node.row)),
            _ => join.first_children(self, &node.row, wanted),
        }
    }

    /// Gives children of a row, as many as are wanted; may stop between two of them.
    pub(crate) fn each_child(
        self,
        join: JoinId,
        parent: &Row,
        wanted: usize,
        start: Option<Start<'_>>,
        pause: Option<&Pause>,
        sink: &mut Sink<'_>,
    ) -> Result<(), SourceError> {
        let operator = self.pipeline.join(join);
        if let Some(Operator::JunctionTake(take)) =
            operator.limited_by.map(|id| &self.pipeline.operators[id])
        {
            take.each_shown(self, parent, start, pause, sink);
            return Ok(());
        }
        operator.each_child(self, parent, wanted, start, pause, sink)
    }

    pub(crate) fn source(self) -> &'a dyn Source {
        self.source
    }

    /// Gives the root rows of a request as nodes.
    fn give(self, request: &Request<'_>, sink: &mut NodeSink<'_>) -> Result<(), SourceError> {
        let mut failure = None;
        self.fetch(self.pipeline.root, request, &mut |row| {
            sink(self, row.clone().into()).unwrap_or_else(|error| {
                failure = Some(error);
                ControlFlow::Break(())
            })
        })?;
        failure.map_or(Ok(()), Err)
    }

    pub(crate) fn fetch(
        self,
        operator: OpId,
        request: &Request<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), SourceError> {
        match &self.pipeline.operators[operator] {
            Operator::Connection(connection) => connection.fetch(self, request, sink),
            Operator::Skip(skip) => skip.fetch(self, request, sink),
            Operator::Drive(drive) => drive.fetch(self, request, sink),
            Operator::Where(condition) => condition.fetch(self, request, sink),
            Operator::Take(take) => take.fetch(self, request, sink),
            Operator::Join(join) => self.fetch(join.parent, request, sink),
            Operator::JunctionTake(take) => take.fetch(self, request, sink),
        }
    }
}
