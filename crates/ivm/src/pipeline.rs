//! A query as an arena of operators: built from an AST, hydrated once, then fed with changes.

use std::cell::RefCell;
use std::ops::ControlFlow;

use landfall_zql::ast::{Ast, Condition, CorrelatedSubquery, ExistsOperator, Literal, System};
use landfall_zql::ordering::Order;
use landfall_zql::predicate::Predicate;
use landfall_zql::{ColumnType, Row, Schema, TableId, TableSchema, ValueRef};

use crate::change::{Change, Node, Output, Relationship, Role};
use crate::condition::{Term, Where};
use crate::connection::{Connection, Overlay};
use crate::error::{BuildError, SourceError};
use crate::join::Join;
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
    Where(Where),
    Take(Take),
    Join(Join),
}

/// Takes root nodes one by one; `Break` ends the fetch.
pub type NodeSink<'a> = dyn FnMut(Reader<'_>, Node) -> Result<ControlFlow<()>, SourceError> + 'a;

/// Where an operator's changes go.
#[derive(Clone, Copy, Debug)]
enum Downstream {
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
    operators: Vec<Operator>,
    downstream: Vec<Downstream>,
    root: OpId,
    table: TableId,
    order: Order,
    relationships: Vec<Relationship>,
    indexes: Vec<(TableId, IndexSpec)>,
}

impl Pipeline {
    /// Builds the pipeline of a query. `ast` has the names that `schema` calls `name`.
    ///
    /// # Errors
    /// Unknown names, values of the wrong type, and what has no meaning where it stands.
    pub fn build(ast: &Ast, schema: &Schema) -> Result<Pipeline, BuildError> {
        let mut builder = Builder {
            schema,
            operators: Vec::new(),
            downstream: Vec::new(),
            indexes: Vec::new(),
        };
        let level = builder.level(ast, None)?;
        builder.indexes.sort();
        builder.indexes.dedup();
        Ok(Pipeline {
            operators: builder.operators,
            downstream: builder.downstream,
            root: level.output,
            table: level.table,
            order: level.order,
            relationships: level.relationships,
            indexes: builder.indexes,
        })
    }

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
        if let Some(replaced) = &node.replaced
            && replaced.0 == join
        {
            return Ok(replaced.1.clone());
        }
        self.pipeline.join(join).children(self, &node.row)
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
            Operator::Where(condition) => condition.fetch(self, request, sink),
            Operator::Take(take) => take.fetch(self, request, sink),
            Operator::Join(join) => self.fetch(join.parent, request, sink),
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
            Operator::Join(_) => self.send(to, change, output),
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

struct Builder<'a> {
    schema: &'a Schema,
    operators: Vec<Operator>,
    downstream: Vec<Downstream>,
    indexes: Vec<(TableId, IndexSpec)>,
}

/// The last operator of one level of the query, and what its rows are.
struct Level {
    output: OpId,
    table: TableId,
    order: Order,
    relationships: Vec<Relationship>,
}

impl Builder<'_> {
    fn add(&mut self, operator: Operator) -> OpId {
        self.operators.push(operator);
        self.downstream.push(Downstream::Output);
        self.operators.len() - 1
    }

    fn add_after(&mut self, input: OpId, operator: Operator) -> OpId {
        let id = self.add(operator);
        self.downstream[input] = Downstream::Input(id);
        id
    }

    /// `partition`: the columns by which a parent level joins this one.
    fn level(&mut self, ast: &Ast, partition: Option<&[usize]>) -> Result<Level, BuildError> {
        let schema = self.schema;
        let id = schema
            .table(&ast.table)
            .ok_or_else(|| BuildError::UnknownTable {
                table: ast.table.clone(),
            })?;
        let table = &schema[id];
        let order = Order::complete(ast.order_by.as_deref(), table)?;
        let filter = match ast.condition.as_ref().and_then(without_subqueries) {
            Some(condition) => Predicate::compile(&condition, table)?,
            None => Predicate::always(),
        };
        let connection = Connection {
            table: id,
            order: order.clone(),
            pinned: pinned(&filter),
            filter,
            split: split_columns(ast, table, partition)?,
            overlay: RefCell::new(Overlay::default()),
        };
        self.plan_indexes(&connection, partition);
        let mut output = self.add(Operator::Connection(connection));
        if let Some(bound) = &ast.start {
            let row = start_row(&bound.row, table)?;
            let skip = Skip {
                input: output,
                row,
                exclusive: bound.exclusive,
                order: order.clone(),
            };
            output = self.add_after(output, Operator::Skip(skip));
        }
        let mut relationships = Vec::new();
        if let Some(condition) = ast
            .condition
            .as_ref()
            .filter(|condition| has_subquery(condition))
        {
            let term = self.term(condition, id, &mut output, &order, &mut relationships)?;
            output = self.add_after(
                output,
                Operator::Where(Where {
                    input: output,
                    term,
                }),
            );
        }
        if let Some(limit) = ast.limit {
            let take = Take::new(output, limit, partition, order.clone());
            output = self.add_after(output, Operator::Take(take));
        }
        let related = ast.related.as_deref().unwrap_or_default();
        for (index, entry) in related.iter().enumerate() {
            // Of two relationships with one name the last one counts.
            let name = entry.subquery.alias.as_deref();
            if related[index + 1..]
                .iter()
                .any(|later| later.subquery.alias.as_deref() == name)
            {
                continue;
            }
            let role = if entry.hidden == Some(true) {
                Role::Hidden
            } else {
                Role::Result
            };
            relationships.push(self.relationship(
                entry,
                &entry.subquery,
                id,
                &mut output,
                &order,
                role,
                index,
            )?);
        }
        Ok(Level {
            output,
            table: id,
            order,
            relationships,
        })
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one call for related, one for EXISTS"
    )]
    fn relationship(
        &mut self,
        entry: &CorrelatedSubquery,
        subquery: &Ast,
        parent: TableId,
        output: &mut OpId,
        order: &Order,
        role: Role,
        index: usize,
    ) -> Result<Relationship, BuildError> {
        let schema = self.schema;
        let child = schema
            .table(&subquery.table)
            .ok_or_else(|| BuildError::UnknownTable {
                table: subquery.table.clone(),
            })?;
        let parent_columns = columns(&entry.correlation.parent_field, &schema[parent])?;
        let child_columns = columns(&entry.correlation.child_field, &schema[child])?;
        let level = self.level(subquery, Some(&child_columns))?;
        self.plan_parent_lookup(*output, &parent_columns);
        let join = Join::new(
            *output,
            level.output,
            parent_columns,
            child_columns,
            order.clone(),
            level.order,
        );
        let id = self.add_after(*output, Operator::Join(join));
        self.downstream[level.output] = Downstream::Child(id);
        *output = id;
        Ok(Relationship {
            join: JoinId(id),
            name: subquery.alias.clone().unwrap_or_default(),
            index,
            table: level.table,
            role: if entry.system == Some(System::Permissions) {
                Role::Permission
            } else {
                role
            },
            relationships: level.relationships,
        })
    }

    fn term(
        &mut self,
        condition: &Condition,
        table: TableId,
        output: &mut OpId,
        order: &Order,
        relationships: &mut Vec<Relationship>,
    ) -> Result<Term, BuildError> {
        let mut terms = |builder: &mut Self, conditions: &[Condition]| {
            conditions
                .iter()
                .map(|part| builder.term(part, table, output, order, relationships))
                .collect::<Result<_, _>>()
        };
        Ok(match condition {
            Condition::And { conditions } => Term::And(terms(self, conditions)?),
            Condition::Or { conditions } => Term::Or(terms(self, conditions)?),
            Condition::Simple { .. } => {
                Term::Simple(Predicate::compile(condition, &self.schema[table])?)
            }
            Condition::CorrelatedSubquery { related, op, .. } => {
                let subquery = &related.subquery;
                if subquery.start.is_some() {
                    return Err(BuildError::ExistsPart { part: "start" });
                }
                if subquery
                    .related
                    .as_ref()
                    .is_some_and(|related| !related.is_empty())
                {
                    return Err(BuildError::ExistsPart { part: "related" });
                }
                let negated = *op == ExistsOperator::NotExists;
                if subquery.limit == Some(0) {
                    return Ok(if negated {
                        Term::And(Vec::new())
                    } else {
                        Term::Or(Vec::new())
                    });
                }
                // A limit cannot change whether there is a row.
                let unlimited = Ast {
                    limit: None,
                    order_by: None,
                    ..(**subquery).clone()
                };
                let index = relationships.len();
                let relationship = self.relationship(
                    related,
                    &unlimited,
                    table,
                    output,
                    order,
                    Role::Exists,
                    index,
                )?;
                let join = relationship.join;
                relationships.push(relationship);
                Term::Exists { join, negated }
            }
        })
    }

    /// Reads that a connection will serve: all its rows in order, and those of one parent.
    fn plan_indexes(&mut self, connection: &Connection, partition: Option<&[usize]>) {
        let mut constrained: Vec<usize> = connection
            .pinned
            .iter()
            .map(|(column, _)| *column)
            .collect();
        constrained.extend(partition.unwrap_or_default());
        self.plan_index(connection.table, constrained, &connection.order);
    }

    /// The parents of a changed child.
    fn plan_parent_lookup(&mut self, input: OpId, parent_columns: &[usize]) {
        let mut at = input;
        let connection = loop {
            at = match &self.operators[at] {
                Operator::Connection(connection) => break connection,
                Operator::Skip(skip) => skip.input,
                Operator::Where(condition) => condition.input,
                Operator::Take(take) => take.input,
                Operator::Join(join) => join.parent,
            };
        };
        let mut constrained: Vec<usize> = connection
            .pinned
            .iter()
            .map(|(column, _)| *column)
            .collect();
        constrained.extend(parent_columns);
        let (table, order) = (connection.table, connection.order.clone());
        self.plan_index(table, constrained, &order);
    }

    fn plan_index(&mut self, table: TableId, mut constrained: Vec<usize>, order: &Order) {
        constrained.sort_unstable();
        constrained.dedup();
        // A pinned primary key is one look-up: no index of its own.
        if self.schema[table]
            .primary_key
            .iter()
            .all(|column| constrained.contains(column))
        {
            return;
        }
        self.indexes
            .push((table, IndexSpec::new(constrained.into_iter(), order)));
    }
}

fn pinned(filter: &Predicate) -> crate::source::Constraint {
    let mut pinned = filter.equalities();
    pinned.sort_by_key(|(column, _)| *column);
    pinned.dedup_by_key(|(column, _)| *column);
    pinned
}

fn columns(names: &[String], table: &TableSchema) -> Result<Vec<usize>, BuildError> {
    names
        .iter()
        .map(|name| {
            table.column(name).ok_or_else(|| BuildError::UnknownColumn {
                table: table.name.clone(),
                column: name.clone(),
            })
        })
        .collect()
}

fn has_subquery(condition: &Condition) -> bool {
    match condition {
        Condition::Simple { .. } => false,
        Condition::And { conditions } | Condition::Or { conditions } => {
            conditions.iter().any(has_subquery)
        }
        Condition::CorrelatedSubquery { .. } => true,
    }
}

/// The strongest condition without subqueries that every matching row meets; `None` when there is none.
fn without_subqueries(condition: &Condition) -> Option<Condition> {
    match condition {
        Condition::Simple { .. } => Some(condition.clone()),
        Condition::CorrelatedSubquery { .. } => None,
        Condition::And { conditions } => {
            let conditions: Vec<Condition> =
                conditions.iter().filter_map(without_subqueries).collect();
            (!conditions.is_empty()).then_some(Condition::And { conditions })
        }
        Condition::Or { conditions } => {
            let conditions: Option<Vec<Condition>> =
                conditions.iter().map(without_subqueries).collect();
            Some(Condition::Or {
                conditions: conditions?,
            })
        }
    }
}

fn split_columns(
    ast: &Ast,
    table: &TableSchema,
    partition: Option<&[usize]>,
) -> Result<Vec<usize>, BuildError> {
    fn collect(condition: &Condition, names: &mut Vec<String>) {
        match condition {
            Condition::Simple { .. } => {}
            Condition::And { conditions } | Condition::Or { conditions } => {
                conditions.iter().for_each(|part| collect(part, names));
            }
            Condition::CorrelatedSubquery { related, .. } => {
                names.extend(related.correlation.parent_field.clone())
            }
        }
    }
    let mut names = Vec::new();
    ast.condition
        .iter()
        .for_each(|condition| collect(condition, &mut names));
    ast.related
        .iter()
        .flatten()
        .for_each(|entry| names.extend(entry.correlation.parent_field.clone()));
    let mut split = columns(&names, table)?;
    split.extend(partition.unwrap_or_default());
    split.sort_unstable();
    split.dedup();
    Ok(split)
}

/// The bound as a row of the table; columns that it does not name are NULL.
fn start_row(
    bound: &landfall_zql::sorted_map::SortedMap<String, Literal>,
    table: &TableSchema,
) -> Result<Row, BuildError> {
    let mut values = vec![ValueRef::Null; table.columns.len()];
    for (name, literal) in bound {
        let column = columns(std::slice::from_ref(name), table)?[0];
        let ty = table.columns[column].ty;
        let value = match literal {
            Literal::Null => ValueRef::Null,
            // JSON columns cannot be ordered by: their values do not matter here.
            _ if ty == ColumnType::Json => ValueRef::Null,
            Literal::Bool(value) => ValueRef::Bool(*value),
            Literal::Number(value) => ValueRef::Number(*value),
            Literal::String(value) => ValueRef::String(value),
            Literal::Array(_) | Literal::Json(_) => {
                return Err(BuildError::StartType {
                    table: table.name.clone(),
                    column: name.clone(),
                });
            }
        };
        if !ty.accepts(value) {
            return Err(BuildError::StartType {
                table: table.name.clone(),
                column: name.clone(),
            });
        }
        values[column] = value;
    }
    Ok(Row::from_values(values))
}
