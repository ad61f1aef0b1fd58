//! A query answered from scratch, in the most obvious way: the twin that engines are compared with.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use landfall_zql::ast::{
    Bound, Condition, CorrelatedSubquery, Correlation, ExistsOperator, Literal,
};
use landfall_zql::{
    Ast, ColumnType, Names, Order, Predicate, Row, Schema, TableSchema, Value, ValueRef, join_eq,
};
use serde_json::{Value as Json, json};

/// The rows of all tables.
pub struct Tables {
    pub schema: Schema,
    pub rows: BTreeMap<String, Vec<Row>>,
}

impl Tables {
    pub fn new(schema: Schema) -> Tables {
        Tables {
            schema,
            rows: BTreeMap::new(),
        }
    }

    pub fn table(&self, name: &str) -> &TableSchema {
        &self.schema[self.schema.table(name).unwrap()]
    }

    pub fn row(&self, table: &str, json: &Json) -> Row {
        let json = json.to_string();
        self.table(table)
            .row_from_json(&json, Names::Client)
            .unwrap()
    }

    pub fn add(&mut self, table: &str, row: Row) {
        self.rows.entry(table.to_owned()).or_default().push(row);
    }

    pub fn remove(&mut self, table: &str, row: &Row) {
        let rows = self.rows.get_mut(table).unwrap();
        let at = rows.iter().position(|present| present == row).unwrap();
        rows.swap_remove(at);
    }

    /// The view of a query: nodes `{row, count?, related?}`.
    pub fn view(&self, ast: &Ast, format: &Json) -> Result<Json, String> {
        let nodes = self.nodes(ast, format, &[])?;
        shaped(nodes, format, "")
    }

    /// The rows of a query that have these values, in order.
    fn select(&self, ast: &Ast, constraint: &[(String, Value)]) -> Result<Vec<Row>, String> {
        let table = self.table(&ast.table);
        let order =
            Order::complete(ast.order_by.as_deref(), table).map_err(|error| error.to_string())?;
        let start = ast.start.as_ref().map(|start| bound(start, table));
        let mut selected = Vec::new();
        if let Some(condition) = &ast.condition {
            // So that what cannot be compiled fails even without rows.
            self.satisfies(condition, &table_of_nulls(table), table)?;
        }
        for row in self.rows.get(&ast.table).into_iter().flatten() {
            let belongs = constraint.iter().all(|(column, value)| {
                join_eq(row.get(table.column(column).unwrap()), value.as_ref())
            });
            let started =
                start
                    .as_ref()
                    .is_none_or(|(at, exclusive)| match order.compare(row, at) {
                        Ordering::Less => false,
                        Ordering::Equal => !exclusive,
                        Ordering::Greater => true,
                    });
            let wanted = match &ast.condition {
                Some(condition) => self.satisfies(condition, row, table)?,
                None => true,
            };
            if belongs && started && wanted {
                selected.push(row.clone());
            }
        }
        selected.sort_by(|a, b| order.compare(a, b));
        if let Some(limit) = ast.limit {
            selected.truncate(limit as usize);
        }
        Ok(selected)
    }

    fn satisfies(
        &self,
        condition: &Condition,
        row: &Row,
        table: &TableSchema,
    ) -> Result<bool, String> {
        let all = |conditions: &[Condition]| {
            let conditions = conditions.iter();
            conditions
                .map(|one| self.satisfies(one, row, table))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(match condition {
            Condition::Simple { .. } => Predicate::compile(condition, table)
                .map_err(|error| error.to_string())?
                .matches(row),
            Condition::And { conditions } => !all(conditions)?.contains(&false),
            Condition::Or { conditions } => all(conditions)?.contains(&true),
            Condition::CorrelatedSubquery { related, op, .. } => {
                for (part, there) in [
                    ("start", related.subquery.start.is_some()),
                    ("related", related.subquery.related.is_some()),
                ] {
                    if there {
                        return Err(format!("EXISTS subqueries must not have {part}"));
                    }
                }
                self.check_types(related, table)?;
                let mut subquery = (*related.subquery).clone();
                subquery.limit = subquery.limit.filter(|limit| *limit == 0);
                let found = self.select(&subquery, &constraint(related, row, table))?;
                found.is_empty() == (*op == ExistsOperator::NotExists)
            }
        })
    }

    fn check_types(
        &self,
        related: &CorrelatedSubquery,
        parent: &TableSchema,
    ) -> Result<(), String> {
        let child = self.table(&related.subquery.table);
        let ty = |table: &TableSchema, name: &String| table.columns[table.column(name).unwrap()].ty;
        let Correlation {
            parent_field,
            child_field,
        } = &related.correlation;
        let mut pairs = parent_field.iter().zip(child_field);
        let fits = |(own, other): (&String, &String)| {
            ty(parent, own) == ty(child, other) && ty(parent, own) != ColumnType::Json
        };
        match pairs.all(fits) {
            true => Ok(()),
            false => Err("cannot be joined".to_owned()),
        }
    }

    fn nodes(
        &self,
        ast: &Ast,
        format: &Json,
        constraint: &[(String, Value)],
    ) -> Result<Vec<(Row, Json)>, String> {
        let table = self.table(&ast.table);
        let rows = self.select(ast, constraint)?.into_iter();
        rows.map(|row| {
            let mut node = json!({"row": row_json(table, &row)});
            let relationships = format["relationships"].as_object().unwrap();
            for (name, format) in relationships {
                let mut entries = ast.related.iter().flatten().rev();
                let related = entries
                    .find(|related| related.subquery.alias.as_ref() == Some(name))
                    .unwrap();
                let children = self.children(related, &row, table, format)?;
                node["related"][name] = shaped(children, format, name)?;
            }
            Ok((row, node))
        })
        .collect()
    }

    fn children(
        &self,
        related: &CorrelatedSubquery,
        row: &Row,
        table: &TableSchema,
        format: &Json,
    ) -> Result<Vec<(Row, Json)>, String> {
        self.check_types(related, table)?;
        let constraint = constraint(related, row, table);
        if related.hidden != Some(true) {
            return self.nodes(&related.subquery, format, &constraint);
        }
        let junction = self.table(&related.subquery.table);
        let mut hop = related.subquery.related.as_ref().unwrap()[0].clone();
        let limit = hop.subquery.limit.take();
        let child = self.table(&hop.subquery.table);
        let order = Order::complete(hop.subquery.order_by.as_deref(), child).unwrap();
        let mut found: Vec<(Row, Json)> = Vec::new();
        for between in self.select(&related.subquery, &constraint)? {
            for (row, node) in self.children(&hop, &between, junction, format)? {
                match found.iter_mut().find(|(present, _)| *present == row) {
                    Some((_, present)) => {
                        present["count"] = json!(present["count"].as_u64().unwrap_or(1) + 1);
                    }
                    None => found.push((row, node)),
                }
            }
        }
        found.sort_by(|(a, _), (b, _)| order.compare(a, b));
        // The limit counts for the parent: each destination once.
        found.truncate(limit.map_or(usize::MAX, |limit| limit as usize));
        Ok(found)
    }
}

fn constraint(
    related: &CorrelatedSubquery,
    row: &Row,
    table: &TableSchema,
) -> Vec<(String, Value)> {
    let parents = related.correlation.parent_field.iter();
    let values = parents.map(|name| Value::from(row.get(table.column(name).unwrap())));
    let children = related.correlation.child_field.iter().cloned();
    children.zip(values).collect()
}

fn bound(start: &Bound, table: &TableSchema) -> (Row, bool) {
    let values: Vec<Value> = table
        .columns
        .iter()
        .map(|column| match start.row.get(&column.name) {
            None | Some(Literal::Null) => Value::Null,
            Some(Literal::Bool(value)) => Value::Bool(*value),
            Some(Literal::Number(value)) => Value::Number(*value),
            Some(Literal::String(value)) => Value::String(value.as_str().into()),
            Some(other) => panic!("{other:?} in a bound"),
        })
        .collect();
    let row = Row::from_values(values.iter().map(Value::as_ref));
    (row, start.exclusive)
}

fn table_of_nulls(table: &TableSchema) -> Row {
    Row::from_values(table.columns.iter().map(|_| ValueRef::Null))
}

fn row_json(table: &TableSchema, row: &Row) -> Json {
    let mut text = String::new();
    table.row_to_json(row, Names::Client, &mut text);
    serde_json::from_str(&text).unwrap()
}

fn shaped(nodes: Vec<(Row, Json)>, format: &Json, name: &str) -> Result<Json, String> {
    let mut nodes: Vec<Json> = nodes.into_iter().map(|(_, node)| node).collect();
    if format["singular"] != json!(true) {
        return Ok(Json::Array(nodes));
    }
    match nodes.len() {
        0 => Ok(Json::Null),
        1 => Ok(nodes.remove(0)),
        _ => Err(format!(
            "Singular relationship '{name}' should not have multiple rows"
        )),
    }
}
