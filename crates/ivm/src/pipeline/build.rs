//! From an AST to a pipeline: resolves names, checks what the language cannot mean, and puts the operators in place.

use std::cell::RefCell;

use landfall_zql::ast::{Ast, Condition, CorrelatedSubquery, ExistsOperator, Literal, System};
use landfall_zql::ordering::Order;
use landfall_zql::predicate::Predicate;
use landfall_zql::sort::{sort, sort_by_key};
use landfall_zql::{Column, ColumnType, Quoted, Row, Schema, TableId, TableSchema, ValueRef};

use crate::change::{Relationship, Role};
use crate::error::BuildError;
use crate::operators::condition::{Term, Where};
use crate::operators::connection::{Connection, Overlay};
use crate::operators::drive::{Drive, Driver};
use crate::operators::join::Join;
use crate::operators::junction_take::JunctionTake;
use crate::operators::skip::Skip;
use crate::operators::take::Take;
use crate::pipeline::needs::{Below, Lookup, Needs};
use crate::pipeline::{Downstream, JoinId, OpId, Operator, Pipeline, RELATED};
use crate::planner::range::Range;
use crate::planner::{Choice, Decision, Estimate, Planner, Shape, Subquery, has_subquery};
use crate::source::{Constraint, IndexSpec};

impl Pipeline {
    /// Builds the pipeline of a query. `ast` has the names that `schema` calls `name`. What it reads is as the query's
    /// hints say.
    ///
    /// # Errors
    /// Unknown names, values of the wrong type, and what has no meaning where it stands.
    pub fn build(ast: &Ast, schema: &Schema) -> Result<Pipeline, BuildError> {
        Pipeline::plan(ast, schema, Choice::Hinted)
    }

    /// Builds the pipeline of a query, and chooses what it reads.
    ///
    /// # Errors
    /// As [`Pipeline::build`].
    pub fn plan(ast: &Ast, schema: &Schema, choice: Choice<'_>) -> Result<Pipeline, BuildError> {
        let mut builder = Builder {
            schema,
            planner: Planner::new(choice),
            operators: Vec::new(),
            downstream: Vec::new(),
            indexes: Vec::new(),
            needs: <[Needs; 2]>::default(),
            lookups: Vec::new(),
            related: 0,
            estimates: Vec::new(),
        };
        let level = builder.level(ast, None, Role::Result)?;
        sort(&mut builder.indexes);
        builder.indexes.dedup();
        Ok(Pipeline {
            operators: builder.operators,
            downstream: builder.downstream,
            root: level.output,
            table: level.table,
            order: level.order,
            relationships: level.relationships,
            indexes: builder.indexes,
            needs: builder.needs,
            lookups: builder.lookups,
            waiting: RefCell::new(None),
            hydrated: RefCell::new(None),
            tasks: RefCell::new(Vec::new()),
            estimates: builder.estimates,
        })
    }
}

struct Builder<'a> {
    schema: &'a Schema,
    planner: Planner<'a>,
    operators: Vec<Operator>,
    downstream: Vec<Downstream>,
    indexes: Vec<(TableId, IndexSpec)>,
    needs: [Needs; 2],
    lookups: Vec<Lookup>,
    /// How many relationships of the result the level is below.
    related: usize,
    /// By the connection of the level.
    estimates: Vec<(OpId, Estimate)>,
}

/// A level whose operators are being put in place.
struct Draft {
    table: TableId,
    order: Order,
    /// The last operator so far.
    output: OpId,
    relationships: Vec<Relationship>,
    /// As [`Shape::subqueries`].
    subqueries: Vec<Option<Subquery>>,
}

/// The last operator of one level of the query, and what its rows are.
struct Level {
    output: OpId,
    table: TableId,
    order: Order,
    relationships: Vec<Relationship>,
    estimate: Option<Estimate>,
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

    /// `partition`: the columns by which a parent level joins this one. The limit of what a
    /// junction leads to counts for the parent.
    fn level(
        &mut self,
        ast: &Ast,
        partition: Option<&[usize]>,
        role: Role,
    ) -> Result<Level, BuildError> {
        let schema = self.schema;
        let id = table_id(schema, &ast.table)?;
        let table = &schema[id];
        let mut order = Order::complete(ast.order_by.as_deref(), table)?;
        let condition = ast.condition.as_ref();
        let filter = match condition.and_then(without_subqueries) {
            Some(condition) => Predicate::compile(&condition, table)?,
            None => Predicate::always(),
        };
        let pinned = pinned(&filter);
        // An EXISTS looks rows up for one parent without a driver, and is driven when all are asked for.
        let is_exists = role == Role::Exists;
        let joined_by = partition.unwrap_or_default();
        let is_wide = partition.is_none() && self.planner.is_wide(id, table, &pinned, &order);
        let is_narrow = is_exists && self.planner.is_narrow(id, table, joined_by, &pinned);
        let unpinned = (is_wide || is_narrow).then(|| sorted(joined_by));
        if is_exists {
            let columns = unpinned
                .clone()
                .unwrap_or_else(|| constrained(joined_by, &pinned));
            order = self.planner.any_order(id, &columns, order);
        }
        let connection = self.add(Operator::Connection(Connection {
            table: id,
            order: order.clone(),
            pinned: pinned.clone(),
            unpinned,
            range: match partition {
                None => Range::new(&filter, &pinned, &order, table),
                Some(_) => None,
            },
            filter: filter.clone(),
            split: split_columns(ast, table, partition)?,
            overlay: RefCell::new(Overlay::default()),
        }));
        let mut draft = Draft {
            table: id,
            order,
            output: connection,
            relationships: Vec::new(),
            subqueries: Vec::new(),
        };
        if let Some(bound) = &ast.start {
            let row = start_row(&bound.row, table)?;
            self.append(&mut draft, |input, order| {
                Operator::Skip(Skip {
                    input,
                    row,
                    exclusive: bound.exclusive,
                    order,
                })
            });
        }
        let term = condition
            .filter(|condition| has_subquery(condition))
            .map(|condition| self.term(&mut draft, condition))
            .transpose()?;
        let columns = if is_exists {
            Vec::new()
        } else {
            sorted(joined_by)
        };
        let Decision { driver, estimate } = self.planner.decide(&Shape {
            table: id,
            schema: table,
            condition,
            filter: &filter,
            pinned: &pinned,
            is_wide,
            columns: &columns,
            order: &draft.order,
            limit: ast.limit,
            is_exists,
            subqueries: &draft.subqueries,
        })?;
        self.estimates
            .extend(estimate.map(|estimate| (connection, estimate)));
        if driver.is_none() || is_exists {
            self.plan_fetch(connection, joined_by);
        }
        if let Some(driver) = driver {
            if !is_exists {
                self.plan_driver(&driver, connection, &columns);
            }
            let resumes = partition.is_none() && ast.limit.is_none();
            self.append(&mut draft, |input, order| {
                Operator::Drive(Drive {
                    input,
                    driver,
                    columns,
                    order,
                    resumes,
                    found: RefCell::new(None),
                    search: RefCell::new(None),
                })
            });
        }
        if let Some(term) = term {
            self.append(&mut draft, |input, _| {
                Operator::Where(Where {
                    input,
                    term,
                    decision: RefCell::default(),
                })
            });
        }
        if let Some(limit) = ast.limit {
            self.append(&mut draft, |input, order| {
                Operator::Take(Take::new(input, limit, partition, order))
            });
        }
        let mut far_limit = None;
        for (index, entry) in ast.shown_related().enumerate() {
            let child_role = if entry.hidden == Some(true) {
                Role::Hidden
            } else {
                Role::Result
            };
            let is_far = role == Role::Hidden
                && far_limit.is_none()
                && entry.system != Some(System::Permissions);
            let unlimited;
            let subquery = match entry.subquery.limit {
                Some(_) if is_far => {
                    unlimited = Ast {
                        limit: None,
                        ..(*entry.subquery).clone()
                    };
                    &unlimited
                }
                _ => &entry.subquery,
            };
            let (join, _) = self.relationship(&mut draft, entry, subquery, child_role, index)?;
            if is_far {
                far_limit = Some((join, entry.subquery.limit));
            }
        }
        if let (Some((far, Some(limit))), Some(partition)) = (far_limit, partition) {
            self.junction_take(&mut draft, far, limit, partition);
        }
        Ok(Level {
            output: draft.output,
            table: id,
            order: draft.order,
            relationships: draft.relationships,
            estimate,
        })
    }

    /// Puts an operator behind the last one of a level.
    fn append(&mut self, draft: &mut Draft, operator: impl FnOnce(OpId, Order) -> Operator) {
        let operator = operator(draft.output, draft.order.clone());
        draft.output = self.add_after(draft.output, operator);
    }

    fn relationship(
        &mut self,
        draft: &mut Draft,
        entry: &CorrelatedSubquery,
        subquery: &Ast,
        role: Role,
        index: usize,
    ) -> Result<(JoinId, Option<Estimate>), BuildError> {
        let schema = self.schema;
        let child = table_id(schema, &subquery.table)?;
        let parent_columns = columns(&entry.correlation.parent_field, &schema[draft.table])?;
        let child_columns = columns(&entry.correlation.child_field, &schema[child])?;
        check_types(
            (&schema[draft.table], &parent_columns),
            (&schema[child], &child_columns),
        )?;
        if role == Role::Hidden
            && let Some(far) = limit_behind_junctions(subquery)
        {
            return Err(BuildError::LimitBehindJunctions {
                relationship: far.alias.clone().unwrap_or_default(),
            });
        }
        let is_related = usize::from(role != Role::Exists);
        self.related += is_related;
        let first = self.operators.len();
        let level = self.level(subquery, Some(&child_columns), role)?;
        self.related -= is_related;
        let below = first..self.operators.len();
        self.plan_lookup(self.connection_below(draft.output), &parent_columns, below);
        let join = Join::new(
            draft.output,
            level.output,
            parent_columns,
            child_columns,
            draft.order.clone(),
            level.order.clone(),
        );
        draft.output = self.add_after(draft.output, Operator::Join(join));
        let join = JoinId(draft.output);
        self.downstream[level.output] = Downstream::Child(draft.output);
        draft.relationships.push(Relationship {
            join,
            name: subquery.alias.clone().unwrap_or_default(),
            index,
            table: level.table,
            order: level.order,
            role: if entry.system == Some(System::Permissions) {
                Role::Permission
            } else {
                role
            },
            relationships: level.relationships,
        });
        Ok((join, level.estimate))
    }

    fn junction_take(&mut self, draft: &mut Draft, far: JoinId, limit: u32, partition: &[usize]) {
        let id = self.operators.len();
        let Operator::Join(join) = &mut self.operators[far.0] else {
            unreachable!("a JoinId is made for a join")
        };
        join.limited_by = Some(id);
        let far_order = join.child_order().clone();
        self.append(draft, |input, order| {
            let take = JunctionTake::new(input, far, limit, partition, order, far_order);
            Operator::JunctionTake(take)
        });
    }

    fn term(&mut self, draft: &mut Draft, condition: &Condition) -> Result<Term, BuildError> {
        let mut terms = |conditions: &[Condition]| {
            conditions
                .iter()
                .map(|part| self.term(draft, part))
                .collect::<Result<_, _>>()
        };
        Ok(match condition {
            Condition::And { conditions } => Term::And(terms(conditions)?),
            Condition::Or { conditions } => Term::Or(terms(conditions)?),
            Condition::Simple { .. } => {
                Term::Simple(Predicate::compile(condition, &self.schema[draft.table])?)
            }
            Condition::CorrelatedSubquery {
                related, op, flip, ..
            } => {
                let negated = *op == ExistsOperator::NotExists;
                let Some((join, estimate)) = self.exists(draft, related)? else {
                    draft.subqueries.push(None);
                    return Ok(if negated {
                        Term::And(Vec::new())
                    } else {
                        Term::Or(Vec::new())
                    });
                };
                let operator = self.join(join);
                draft.subqueries.push(Some(Subquery {
                    join,
                    negated,
                    flip: *flip,
                    parent_columns: operator.parent_columns.clone(),
                    child_columns: operator.child_columns.clone(),
                    child_table: table_id(self.schema, &related.subquery.table)?,
                    estimate,
                }));
                Term::Exists { join, negated }
            }
        })
    }

    /// The join with the rows that an EXISTS asks for; `None` when there can be none.
    fn exists(
        &mut self,
        draft: &mut Draft,
        related: &CorrelatedSubquery,
    ) -> Result<Option<(JoinId, Option<Estimate>)>, BuildError> {
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
        if subquery.limit == Some(0) {
            return Ok(None);
        }
        // A limit cannot change whether there is a row.
        let unlimited = Ast {
            limit: None,
            order_by: None,
            ..(**subquery).clone()
        };
        let index = draft.relationships.len();
        self.relationship(draft, related, &unlimited, Role::Exists, index)
            .map(Some)
    }

    fn join(&self, JoinId(id): JoinId) -> &Join {
        match &self.operators[id] {
            Operator::Join(join) => join,
            _ => unreachable!("a JoinId is made for a join"),
        }
    }

    /// The connection at the bottom of a level.
    fn connection_below(&self, mut operator: OpId) -> OpId {
        while let Some(input) = self.operators[operator].input() {
            operator = input;
        }
        operator
    }

    /// Indexes for what a driver reads, beginning with the rows of its own level, which it asks `connection` for
    /// within `columns`.
    fn plan_driver(&mut self, driver: &Driver, connection: OpId, columns: &[usize]) {
        match driver {
            Driver::Any(drivers) => drivers
                .iter()
                .for_each(|driver| self.plan_driver(driver, connection, columns)),
            Driver::Lookups(lookups) => {
                let mut planned: Vec<Vec<usize>> = Vec::new();
                for lookup in lookups {
                    let mut wanted: Vec<usize> = lookup.iter().map(|(column, _)| *column).collect();
                    wanted.extend(columns);
                    if !planned.contains(&wanted) {
                        self.plan_fetch(connection, &wanted);
                        planned.push(wanted);
                    }
                }
            }
            Driver::Children(join) => {
                let join = self.join(*join);
                let mut parents = join.parent_columns.clone();
                parents.extend(columns);
                let within = join
                    .parent_columns
                    .iter()
                    .zip(&join.child_columns)
                    .filter(|(parent, _)| columns.contains(parent));
                let within: Vec<usize> = within.map(|(_, child)| *child).collect();
                let child = join.child;
                self.plan_fetch(connection, &parents);
                self.plan_all(child, &within);
            }
        }
    }

    /// Indexes for a read of a whole level, or of its rows that `within` constrain.
    fn plan_all(&mut self, level: OpId, within: &[usize]) {
        let connection = self.connection_below(level);
        let mut operator = Some(level);
        while let Some(at) = operator {
            if let Operator::Drive(drive) = &self.operators[at]
                && drive.columns == within
            {
                let driver = drive.driver.clone();
                return self.plan_driver(&driver, connection, within);
            }
            operator = self.operators[at].input();
        }
        self.plan_fetch(connection, within);
    }

    /// The index for reads of a connection's rows that are part of a hydration.
    fn plan_fetch(&mut self, connection: OpId, columns: &[usize]) {
        if let Some((table, spec)) = self.plan_read(connection, columns) {
            self.needs[self.related.min(RELATED)].add(table, spec);
        }
    }

    /// The index for reads of parents when rows of the levels below them change.
    fn plan_lookup(&mut self, connection: OpId, columns: &[usize], below: Below) {
        if let Some((table, spec)) = self.plan_read(connection, columns) {
            self.lookups.push(Lookup::new(below, table, spec));
        }
    }

    /// The index for reads of a connection's rows that these columns constrain.
    fn plan_read(&mut self, connection: OpId, columns: &[usize]) -> Option<(TableId, IndexSpec)> {
        let Operator::Connection(connection) = &self.operators[connection] else {
            unreachable!("a level begins with its connection");
        };
        let mut columns = sorted(columns);
        if connection.unpinned.as_ref() != Some(&columns) {
            columns = constrained(&columns, &connection.pinned);
        }
        // A pinned primary key is one look-up: no index of its own.
        if self.schema[connection.table]
            .primary_key
            .iter()
            .all(|column| columns.contains(column))
        {
            return None;
        }
        let spec = IndexSpec::new(columns.into_iter(), &connection.order);
        let table = connection.table;
        self.indexes.push((table, spec.clone()));
        Some((table, spec))
    }
}

/// The columns of a constraint on these columns and what a filter pins.
fn constrained(columns: &[usize], pinned: &Constraint) -> Vec<usize> {
    let pinned = pinned.iter().map(|(column, _)| column);
    sorted(&columns.iter().chain(pinned).copied().collect::<Vec<_>>())
}

fn sorted(columns: &[usize]) -> Vec<usize> {
    let mut columns = columns.to_vec();
    sort(&mut columns);
    columns.dedup();
    columns
}

fn table_id(schema: &Schema, name: &str) -> Result<TableId, BuildError> {
    schema.table(name).ok_or_else(|| BuildError::UnknownTable {
        table: name.to_owned(),
    })
}

fn pinned(filter: &Predicate) -> Constraint {
    let mut pinned = filter.equalities();
    sort_by_key(&mut pinned, |(column, _)| *column);
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

/// Columns that are to be equal must hold values of one type, and not JSON, which has no equality.
fn check_types(
    (parent, parent_columns): (&TableSchema, &[usize]),
    (child, child_columns): (&TableSchema, &[usize]),
) -> Result<(), BuildError> {
    for (own, other) in parent_columns.iter().zip(child_columns) {
        let (own, other) = (&parent.columns[*own], &child.columns[*other]);
        let is_null = own.ty == ColumnType::Null || other.ty == ColumnType::Null;
        if own.ty == ColumnType::Json
            || other.ty == ColumnType::Json
            || own.ty != other.ty && !is_null
        {
            let name = |table: &TableSchema, column: &Column| {
                let ty = column.ty.name();
                format!(
                    "column {} of table {} (a {ty})",
                    Quoted(&column.name),
                    Quoted(&table.name)
                )
            };
            return Err(BuildError::CorrelationTypes {
                parent: name(parent, own),
                child: name(child, other),
            });
        }
    }
    Ok(())
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

/// The subquery with a limit that a junction leads to through a further junction.
fn limit_behind_junctions(junction: &Ast) -> Option<&Ast> {
    let related = junction.related.iter().flatten();
    related
        .filter(|entry| entry.hidden == Some(true))
        .flat_map(|entry| entry.subquery.related.iter().flatten())
        .map(|entry| &*entry.subquery)
        .find(|far| far.limit.is_some())
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
    sort(&mut split);
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
