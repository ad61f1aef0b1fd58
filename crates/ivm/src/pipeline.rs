//! A query as an arena of operators: hydrated once, then fed with changes. `build.rs` makes it from an AST.

use std::ops::ControlFlow;

use landfall_zql::ordering::Order;
use landfall_zql::{Row, TableId, ValueRef};

use crate::change::{Change, Node, Output, Relationship};
use crate::condition::Where;
use crate::connection::Connection;
use crate::drive::Drive;
use crate::error::SourceError;
use crate::join::Join;
use crate::junction_take::JunctionTake;
use crate::skip::Skip;
use crate::source::{Basis, IndexSpec, Sink, Source, SourceChange, Start, same_in};
use crate::take::Take;

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

/// Takes root nodes one by one; `Break` ends the fetch.
pub type NodeSink<'a> = dyn FnMut(Reader<'_>, Node) -> Result<ControlFlow<()>, SourceError> + 'a;

/// Where an operator's changes go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Downstream {
    Output,
    Input(OpId),
    /// The child side of a join.
    Child(OpId),
}

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
        let reader = Reader {
            pipeline: self,
            source,
        };
        let request = Request {
            start: after.map(|row| Start {
                row,
                basis: Basis::After,
            }),
            ..Request::default()
        };
        let mut failure = None;
        reader.fetch(
            self.root,
            &request,
            &mut |row| match sink(reader, row.clone().into()) {
                Ok(flow) => flow,
                Err(error) => {
                    failure = Some(error);
                    ControlFlow::Break(())
                }
            },
        )?;
        failure.map_or(Ok(()), Err)
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
        let done = self.push_steps(source, change, output);
        for (_, connection) in self.connections(change.table) {
            connection.overlay.take();
        }
        done
    }

    fn push_steps(
        &self,
        source: &dyn Source,
        change: &SourceChange,
        output: &mut dyn Output,
    ) -> Result<(), SourceError> {
        let reader = Reader {
            pipeline: self,
            source,
        };
        let (old, new) = (change.old.as_ref(), change.new.as_ref());
        if let (Some(before), Some(after)) = (old, new)
            && !self
                .connections(change.table)
                .any(|(_, connection)| !same_in(&connection.split, before, after))
        {
            return reader.push_to_connections(change.table, old, new, output);
        }
        // An edit of a column that joins or partitions by is a removal and then an addition, each for all connections.
        if old.is_some() {
            reader.push_to_connections(change.table, old, None, output)?;
        }
        if new.is_some() {
            reader.push_to_connections(change.table, None, new, output)?;
        }
        Ok(())
    }

    fn connections(&self, table: TableId) -> impl Iterator<Item = (OpId, &Connection)> {
        self.operators
            .iter()
            .enumerate()
            .filter_map(move |(id, operator)| match operator {
                Operator::Connection(connection) if connection.table == table => {
                    Some((id, connection))
                }
                _ => None,
            })
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
}

impl<'a> Reader<'a> {
    /// The pipeline.
    pub fn pipeline(&self) -> &'a Pipeline {
        self.pipeline
    }

    /// The children of a node in one of its relationships, in order.
    ///
    /// # Errors
    /// Rows could not be read.
    pub fn children(self, join: JoinId, node: &Node) -> Result<Vec<Node>, SourceError> {
        let replaced = node.replaced.iter().flat_map(|replaced| replaced.iter());
        if let Some((_, children)) = replaced.into_iter().find(|(of, _)| *of == join) {
            return Ok(children.clone());
        }
        let join = self.pipeline.join(join);
        match join.limited_by.map(|id| &self.pipeline.operators[id]) {
            Some(Operator::JunctionTake(take)) => Ok(take.shown_destinations(&node.row)),
            _ => join.children(self, &node.row),
        }
    }

    pub(crate) fn source(self) -> &'a dyn Source {
        self.source
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

    /// Passes an operator's change on to whoever is downstream of it.
    pub(crate) fn send(
        self,
        from: OpId,
        change: Change,
        output: &mut dyn Output,
    ) -> Result<(), SourceError> {
        let (to, is_child) = match self.pipeline.downstream[from] {
            Downstream::Output => return output.push(self, change),
            Downstream::Input(to) => (to, false),
            Downstream::Child(to) => (to, true),
        };
        match &self.pipeline.operators[to] {
            Operator::Connection(_) => unreachable!("nothing is upstream of a connection"),
            Operator::Skip(skip) => skip.push(self, to, change, output),
            Operator::Where(condition) => condition.push(self, to, change, output),
            Operator::Take(take) => take.push(self, to, change, output),
            Operator::Join(join) if is_child => join.push_child(self, to, change, output),
            Operator::Drive(_) | Operator::Join(_) => self.send(to, change, output),
            Operator::JunctionTake(take) => take.push(self, to, change, output),
        }
    }

    fn push_to_connections(
        self,
        table: TableId,
        old: Option<&Row>,
        new: Option<&Row>,
        output: &mut dyn Output,
    ) -> Result<(), SourceError> {
        for (id, connection) in self.pipeline.connections(table) {
            // From here on this connection shows the change; those after it do not yet.
            connection.overlay.borrow_mut().include(old, new);
            let before = old.filter(|row| connection.filter.matches(row));
            let after = new.filter(|row| connection.filter.matches(row));
            let change = match (before, after) {
                (None, None) => continue,
                (None, Some(row)) => Change::Add(row.clone().into()),
                (Some(row), None) => Change::Remove(row.clone().into()),
                (Some(old), Some(new)) => Change::Edit {
                    old: old.clone(),
                    new: new.clone(),
                },
            };
            self.send(id, change, output)?;
        }
        Ok(())
    }
}
