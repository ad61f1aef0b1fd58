//! Queries in the names of the other side: tables and columns are renamed; aliases, values and parameters stay.

use crate::value::Quoted;
use thiserror::Error;

use crate::ast::{Ast, Bound, Condition, CorrelatedSubquery, Correlation, Direction, Operand};
use crate::row_json::Names;
use crate::schema::{Schema, TableSchema};

/// The side whose names the result has; the input has the other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// From the names in queries to the names at the source of truth.
    Server,
    /// And back.
    Client,
}

/// A name that the schema does not have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// No table has this name.
    #[error("unknown table {}", Quoted(.table))]
    UnknownTable {
        /// The name.
        table: String,
    },
    /// The table has no column of this name.
    #[error("unknown column {} of {} table", Quoted(.column), Quoted(.table))]
    UnknownColumn {
        /// The table, as the query names it.
        table: String,
        /// The name.
        column: String,
    },
}

/// The same query in the names of the other side.
///
/// # Errors
/// A table or a column that the schema does not have.
pub fn map_ast(ast: &Ast, schema: &Schema, to: To) -> Result<Ast, NameError> {
    let mapper = Mapper { schema, to };
    mapper.ast(ast)
}

/// The same query as the server is to be asked it: in its names, and with what an order leaves open where that is the
/// columns of a compound key. The database may have these in another order than the schema, and so other first rows.
///
/// # Errors
/// As [`map_ast`].
pub fn ast_for_server(ast: &Ast, schema: &Schema) -> Result<Ast, NameError> {
    let mut ast = ast.clone();
    complete_orders(&mut ast, schema);
    map_ast(&ast, schema, To::Server)
}

fn complete_orders(ast: &mut Ast, schema: &Schema) {
    if let Some(id) = schema.table(&ast.table)
        && let table = &schema[id]
        && table.primary_key.len() > 1
    {
        let asked = ast.order_by.get_or_insert_default();
        let known = asked.len();
        for column in &table.primary_key {
            let name = table.columns[*column].name_in(Names::Client);
            if !asked[..known].iter().any(|(asked, _)| asked == name) {
                asked.push((name.to_owned(), Direction::Asc));
            }
        }
    }
    for related in ast.related.iter_mut().flatten() {
        complete_orders(&mut related.subquery, schema);
    }
}

/// The same condition on rows of `table` (named as the condition names it) in the names of the other side.
///
/// # Errors
/// As [`map_ast`].
pub fn map_condition(
    condition: &Condition,
    table: &str,
    schema: &Schema,
    to: To,
) -> Result<Condition, NameError> {
    let mapper = Mapper { schema, to };
    mapper.condition(condition, mapper.table(table)?)
}

struct Mapper<'a> {
    schema: &'a Schema,
    to: To,
}

impl<'a> Mapper<'a> {
    fn table(&self, name: &str) -> Result<&'a TableSchema, NameError> {
        let id = match self.to {
            To::Server => self.schema.table(name),
            To::Client => self.schema.table_by_server_name(name),
        };
        match id {
            Some(id) => Ok(&self.schema[id]),
            None => Err(NameError::UnknownTable {
                table: name.to_owned(),
            }),
        }
    }

    fn column(&self, table: &TableSchema, name: &str) -> Result<String, NameError> {
        let (found, from, into) = match self.to {
            To::Server => (table.column(name), &table.name, Names::Server),
            To::Client => (
                table.column_by_server_name(name),
                &table.server_name,
                Names::Client,
            ),
        };
        match found {
            Some(column) => Ok(table.columns[column].name_in(into).to_owned()),
            None => Err(NameError::UnknownColumn {
                table: from.clone(),
                column: name.to_owned(),
            }),
        }
    }

    fn columns(&self, table: &TableSchema, names: &[String]) -> Result<Vec<String>, NameError> {
        names.iter().map(|name| self.column(table, name)).collect()
    }

    fn ast(&self, ast: &Ast) -> Result<Ast, NameError> {
        let table = self.table(&ast.table)?;
        let condition = ast.condition.as_ref();
        let related = ast.related.as_ref();
        let order_by = ast.order_by.as_ref();
        Ok(Ast {
            schema: ast.schema.clone(),
            table: match self.to {
                To::Server => table.server_name.clone(),
                To::Client => table.name.clone(),
            },
            alias: ast.alias.clone(),
            condition: condition
                .map(|condition| self.condition(condition, table))
                .transpose()?,
            related: related
                .map(|related| {
                    related
                        .iter()
                        .map(|one| self.subquery(one, table))
                        .collect()
                })
                .transpose()?,
            start: ast
                .start
                .as_ref()
                .map(|start| self.bound(start, table))
                .transpose()?,
            limit: ast.limit,
            order_by: order_by
                .map(|parts| {
                    let parts = parts.iter();
                    parts
                        .map(|(name, direction)| Ok((self.column(table, name)?, *direction)))
                        .collect()
                })
                .transpose()?,
        })
    }

    fn bound(&self, bound: &Bound, table: &TableSchema) -> Result<Bound, NameError> {
        let cells = bound.row.iter();
        Ok(Bound {
            row: cells
                .map(|(name, value)| Ok((self.column(table, name)?, value.clone())))
                .collect::<Result<_, _>>()?,
            exclusive: bound.exclusive,
        })
    }

    fn condition(
        &self,
        condition: &Condition,
        table: &TableSchema,
    ) -> Result<Condition, NameError> {
        let all = |conditions: &[Condition]| {
            let conditions = conditions.iter();
            conditions
                .map(|one| self.condition(one, table))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(match condition {
            Condition::Simple { left, right, op } => Condition::Simple {
                left: self.operand(left, table)?,
                right: self.operand(right, table)?,
                op: *op,
            },
            Condition::And { conditions } => Condition::And {
                conditions: all(conditions)?,
            },
            Condition::Or { conditions } => Condition::Or {
                conditions: all(conditions)?,
            },
            Condition::CorrelatedSubquery {
                related,
                op,
                flip,
                scalar,
            } => Condition::CorrelatedSubquery {
                related: Box::new(self.subquery(related, table)?),
                op: *op,
                flip: *flip,
                scalar: *scalar,
            },
        })
    }

    fn operand(&self, operand: &Operand, table: &TableSchema) -> Result<Operand, NameError> {
        Ok(match operand {
            Operand::Column { name } => Operand::Column {
                name: self.column(table, name)?,
            },
            Operand::Literal { .. } | Operand::Static { .. } => operand.clone(),
        })
    }

    fn subquery(
        &self,
        related: &CorrelatedSubquery,
        parent: &TableSchema,
    ) -> Result<CorrelatedSubquery, NameError> {
        let child = self.table(&related.subquery.table)?;
        Ok(CorrelatedSubquery {
            system: related.system,
            correlation: Correlation {
                parent_field: self.columns(parent, &related.correlation.parent_field)?,
                child_field: self.columns(child, &related.correlation.child_field)?,
            },
            hidden: related.hidden,
            subquery: Box::new(self.ast(&related.subquery)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"tables":{
        "issue":{"serverName":"issues","primaryKey":["id"],"columns":{"id":{"type":"string"},"ownerID":{"type":"string","serverName":"owner_id"}}},
        "user":{"primaryKey":["id"],"columns":{"id":{"type":"string","serverName":"user_id"}}}}}"#;

    fn check(client: &str, expected: Result<&str, &str>) {
        let schema = Schema::from_json(SCHEMA).unwrap();
        let ast = Ast::from_json(client).unwrap();
        match (map_ast(&ast, &schema, To::Server), expected) {
            (Ok(server), Ok(text)) => {
                assert_eq!(server.to_json(), text);
                assert_eq!(map_ast(&server, &schema, To::Client), Ok(ast));
            }
            (Err(error), Err(text)) => assert_eq!(error.to_string(), text),
            (found, wanted) => panic!("{client}: {found:?}, not {wanted:?}"),
        }
    }

    #[test]
    fn names_change_and_values_stay() {
        check(r#"{"table":"issue"}"#, Ok(r#"{"table":"issues"}"#));
        check(
            r#"{"table":"issue","alias":"ownerID","start":{"row":{"ownerID":"ownerID"},"exclusive":true},"limit":1,"orderBy":[["ownerID","desc"]]}"#,
            Ok(
                r#"{"table":"issues","alias":"ownerID","start":{"row":{"owner_id":"ownerID"},"exclusive":true},"limit":1,"orderBy":[["owner_id","desc"]]}"#,
            ),
        );
        check(
            r#"{"table":"issue","where":{"type":"or","conditions":[{"type":"simple","left":{"type":"column","name":"ownerID"},"right":{"type":"literal","value":"ownerID"},"op":"="},{"type":"correlatedSubquery","related":{"correlation":{"parentField":["ownerID"],"childField":["id"]},"subquery":{"table":"user","alias":"a"}},"op":"EXISTS"}]},"related":[{"correlation":{"parentField":["ownerID"],"childField":["id"]},"subquery":{"table":"user","alias":"id","orderBy":[["id","asc"]]}}]}"#,
            Ok(
                r#"{"table":"issues","where":{"type":"or","conditions":[{"type":"simple","left":{"type":"column","name":"owner_id"},"right":{"type":"literal","value":"ownerID"},"op":"="},{"type":"correlatedSubquery","related":{"correlation":{"parentField":["owner_id"],"childField":["user_id"]},"subquery":{"table":"user","alias":"a"}},"op":"EXISTS"}]},"related":[{"correlation":{"parentField":["owner_id"],"childField":["user_id"]},"subquery":{"table":"user","alias":"id","orderBy":[["user_id","asc"]]}}]}"#,
            ),
        );
    }

    #[test]
    fn unknown_names() {
        check(r#"{"table":"issues"}"#, Err(r#"unknown table "issues""#));
        check(
            r#"{"table":"issue","orderBy":[["owner_id","asc"]]}"#,
            Err(r#"unknown column "owner_id" of "issue" table"#),
        );
        check(
            r#"{"table":"issue","related":[{"correlation":{"parentField":["id"],"childField":["x"]},"subquery":{"table":"user"}}]}"#,
            Err(r#"unknown column "x" of "user" table"#),
        );
    }

    #[test]
    fn the_server_is_told_the_order_of_a_compound_key() {
        let schema = r#"{"tables":{"t":{"columns":{"a":{"type":"string"},"b":{"type":"string","serverName":"bb"},"n":{"type":"number"}},"primaryKey":["b","a"]},"u":{"columns":{"id":{"type":"string"}},"primaryKey":["id"]}}}"#;
        let schema = Schema::from_json(schema).expect("a schema");
        for (query, expected) in [
            (
                r#"{"table":"t"}"#,
                r#"{"table":"t","orderBy":[["bb","asc"],["a","asc"]]}"#,
            ),
            (
                r#"{"table":"t","orderBy":[["n","desc"],["a","desc"]]}"#,
                r#"{"table":"t","orderBy":[["n","desc"],["a","desc"],["bb","asc"]]}"#,
            ),
            (
                r#"{"table":"u","related":[{"correlation":{"parentField":["id"],"childField":["a"]},"subquery":{"table":"t","alias":"ts","limit":1}}]}"#,
                r#"{"table":"u","related":[{"correlation":{"parentField":["id"],"childField":["a"]},"subquery":{"table":"t","alias":"ts","limit":1,"orderBy":[["bb","asc"],["a","asc"]]}}]}"#,
            ),
        ] {
            let ast = Ast::from_json(query).expect("a query");
            let asked = ast_for_server(&ast, &schema).map(|ast| ast.to_json());
            assert_eq!(asked.as_deref(), Ok(expected));
        }
    }
}
