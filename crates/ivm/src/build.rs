//! From an AST to a pipeline: resolves names, checks what the language cannot mean, and puts the operators in place.

use std::cell::RefCell;

use landfall_zql::ast::{Ast, Condition, CorrelatedSubquery, ExistsOperator, Literal, System};
use landfall_zql::ordering::Order;
use landfall_zql::predicate::Predicate;
use landfall_zql::sort::{sort, sort_by_key};
use landfall_zql::{ColumnType, Row, Schema, TableId, TableSchema, ValueRef};

use crate::change::{Relationship, Role};
use crate::condition::{Term, Where};
use crate::connection::{Connection, Overlay};
use crate::error::BuildError;
use crate::join::Join;
use crate::junction_take::JunctionTake;
use crate::pipeline::{Downstream, JoinId, OpId, Operator, Pipeline};
use crate::skip::Skip;
use crate::source::{Constraint, IndexSpec};
use crate::take::Take;

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
        let level = builder.level(ast, None, false)?;
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
        })
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

    /// `partition`: the columns by which a parent level joins this one. A junction's rows are not shown, and a limit
    /// of what it leads to counts for the parent.
    fn level(
        &mut self,
        ast: &Ast,
        partition: Option<&[usize]>,
        is_junction: bool,
    ) -> Result<Level, BuildError> {
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
        let mut far_limit = None;
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
            let is_far =
                is_junction && far_limit.is_none() && entry.system != Some(System::Permissions);
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
            let relationship =
                self.relationship(entry, subquery, id, &mut output, &order, role, index)?;
            if is_far {
                far_limit = Some((relationship.join, entry.subquery.limit));
            }
            relationships.push(relationship);
        }
        if let (Some((far, Some(limit))), Some(partition)) = (far_limit, partition) {
            output = self.junction_take(output, far, limit, partition, &order);
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
        let is_junction = role == Role::Hidden;
        if is_junction && let Some(far) = limit_behind_junctions(subquery) {
            return Err(BuildError::LimitBehindJunctions {
                relationship: far.alias.clone().unwrap_or_default(),
            });
        }
        let level = self.level(subquery, Some(&child_columns), is_junction)?;
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

    fn junction_take(
        &mut self,
        input: OpId,
        far: JoinId,
        limit: u32,
        partition: &[usize],
        order: &Order,
    ) -> OpId {
        let id = self.operators.len();
        let Operator::Join(join) = &mut self.operators[far.0] else {
            unreachable!("a JoinId is made for a join")
        };
        join.limited_by = Some(id);
        let far_order = join.child_order().clone();
        let take = JunctionTake::new(input, far, limit, partition, order.clone(), far_order);
        self.add_after(input, Operator::JunctionTake(take))
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
                Operator::JunctionTake(take) => take.input,
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
        sort(&mut constrained);
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
