//! The query as one SQL statement, compiled from the AST by rules of its own, for SQLite and for Postgres.
//!
//! The statement gives one JSON text: a list of `[cells, count, list, …]`, cells as texts or null. What SQL cannot say
//! in the same way: `ILIKE` lower-cases with a function that the caller brings (`oracle_lower`), texts are compared
//! under `COLLATE "C"` in Postgres, and there is no NaN.

use std::fmt::Write;

use landfall_zql::ast::{
    Ast, Bound, Condition, CorrelatedSubquery, Correlation, Direction, ExistsOperator, Literal,
    Operand, SimpleOperator as Op,
};
use serde_json::Value as Json;

use crate::cell::{Cell, Type};
use crate::program::{Change, Record, Table, table};
use crate::tree::{Node, counting, shown};

/// The database that is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

/// Compiles for the tables of a program.
#[derive(Clone, Copy)]
pub struct Sql<'a> {
    pub dialect: Dialect,
    pub tables: &'a [Table],
}

/// A row that a statement ranges over.
#[derive(Clone, Copy)]
struct Range<'a> {
    alias: usize,
    of: &'a Table,
}

impl Range<'_> {
    fn column(&self, name: &str) -> String {
        self.at(self.of.column(name))
    }

    fn at(&self, column: usize) -> String {
        format!(
            "x{}.{}",
            self.alias,
            quote(&self.of.columns[column].server_name)
        )
    }
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

impl<'a> Sql<'a> {
    fn is_sqlite(self) -> bool {
        self.dialect == Dialect::Sqlite
    }

    fn of(self, name: &str) -> &'a Table {
        &self.tables[table(self.tables, name)]
    }

    /// Statements that make the tables.
    pub fn create(self, temporary: bool) -> String {
        let mut out = String::new();
        for table in self.tables {
            let columns = table.columns.iter().map(|column| {
                let ty = match (column.ty, self.dialect) {
                    (Type::Text, _) => "TEXT",
                    (Type::Number, Dialect::Sqlite) => "REAL",
                    (Type::Number, Dialect::Postgres) => "DOUBLE PRECISION",
                    (Type::Bool, _) => "BOOLEAN",
                    (Type::Json, _) => "JSON",
                };
                let null = if column.optional { "" } else { " NOT NULL" };
                format!("{} {ty}{null}", quote(&column.server_name))
            });
            let columns: Vec<String> = columns.collect();
            let key: Vec<String> = table
                .key
                .iter()
                .map(|column| quote(&table.columns[*column].server_name))
                .collect();
            let _ = write!(
                out,
                "CREATE {}TABLE {} ({}, PRIMARY KEY ({}));",
                if temporary { "TEMPORARY " } else { "" },
                quote(&table.server_name),
                columns.join(", "),
                key.join(", ")
            );
        }
        out
    }

    /// A statement that adds a row.
    pub fn insert(self, table: usize, row: &Record) -> String {
        let of = &self.tables[table];
        let columns: Vec<String> = of.columns.iter().map(|c| quote(&c.server_name)).collect();
        let cells: Vec<String> = row.iter().map(|cell| self.cell(cell)).collect();
        format!(
            "INSERT INTO {} ({}) VALUES ({});",
            quote(&of.server_name),
            columns.join(","),
            cells.join(",")
        )
    }

    /// A statement that makes a change.
    pub fn change(self, change: &Change) -> String {
        let of = &self.tables[change.table];
        let key = |row: &Record| {
            let parts = of.key.iter().map(|column| {
                let name = quote(&of.columns[*column].server_name);
                format!("{name} = {}", self.cell(&row[*column]))
            });
            parts.collect::<Vec<_>>().join(" AND ")
        };
        match (&change.old, &change.new) {
            (None, None) => String::new(),
            (None, Some(new)) => self.insert(change.table, new),
            (Some(old), None) => {
                format!("DELETE FROM {} WHERE {};", quote(&of.server_name), key(old))
            }
            (Some(old), Some(new)) => {
                let sets = of.columns.iter().zip(new).map(|(column, cell)| {
                    format!("{} = {}", quote(&column.server_name), self.cell(cell))
                });
                format!(
                    "UPDATE {} SET {} WHERE {};",
                    quote(&of.server_name),
                    sets.collect::<Vec<_>>().join(","),
                    key(old)
                )
            }
        }
    }

    fn cell(self, cell: &Cell) -> String {
        match (cell, self.dialect) {
            (Cell::Null, _) => "NULL".to_owned(),
            (Cell::Bool(value), Dialect::Sqlite) => u8::from(*value).to_string(),
            (Cell::Bool(value), Dialect::Postgres) => value.to_string(),
            (Cell::Number(value), Dialect::Sqlite) => format!("{value:e}"),
            (Cell::Number(value), Dialect::Postgres) => format!("'{value:e}'::float8"),
            (Cell::Text(value), _) | (Cell::Json(value), Dialect::Sqlite) => text(value),
            (Cell::Json(value), Dialect::Postgres) => format!("{}::json", text(value)),
        }
    }

    /// The statement of a query.
    pub fn query(self, ast: &Ast) -> String {
        let mut next = 0;
        let list = self.list(ast, None, &mut next);
        match self.dialect {
            Dialect::Sqlite => format!("SELECT {list}"),
            Dialect::Postgres => format!("SELECT {list}::text"),
        }
    }

    /// A list as a scalar subquery.
    fn list(
        self,
        ast: &Ast,
        parent: Option<(Range<'_>, &Correlation)>,
        next: &mut usize,
    ) -> String {
        let range = self.range(&ast.table, next);
        let mut terms = self.terms(ast, range, next);
        if let Some((parent, correlation)) = parent {
            terms.extend(correlated(parent, range, correlation));
        }
        let from = format!("{} AS x{}", quote(&range.of.server_name), range.alias);
        self.aggregate(ast, range, &from, &terms, "1", next)
    }

    fn range(self, name: &str, next: &mut usize) -> Range<'a> {
        *next += 1;
        Range {
            alias: *next,
            of: self.of(name),
        }
    }

    fn terms(self, ast: &Ast, range: Range<'_>, next: &mut usize) -> Vec<String> {
        let condition = ast
            .condition
            .iter()
            .map(|condition| self.condition(condition, range, next));
        let mut terms: Vec<String> = condition.collect();
        if let Some(start) = &ast.start {
            terms.push(self.start(ast, range, start));
        }
        terms
    }

    fn aggregate(
        self,
        ast: &Ast,
        range: Range<'_>,
        from: &str,
        terms: &[String],
        count: &str,
        next: &mut usize,
    ) -> String {
        let order = self.order(ast, range);
        let node = self.node(ast, range, count, next);
        let wanted = match terms.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", terms.join(" AND ")),
        };
        let limit = ast.limit.map_or_else(String::new, |limit| {
            format!(" ORDER BY {order} LIMIT {limit}")
        });
        let rows = format!(
            "SELECT {node} AS node, row_number() OVER (ORDER BY {order}) AS place FROM {from}{wanted}{limit}"
        );
        *next += 1;
        let own = *next;
        match self.dialect {
            Dialect::Sqlite => format!(
                "json((SELECT json_group_array(json(y{own}.node) ORDER BY y{own}.place) FROM ({rows}) AS y{own}))"
            ),
            Dialect::Postgres => format!(
                "(SELECT coalesce(json_agg(y{own}.node ORDER BY y{own}.place), '[]'::json) FROM ({rows}) AS y{own})"
            ),
        }
    }

    /// A node: cells, count, lists.
    fn node(self, ast: &Ast, range: Range<'_>, count: &str, next: &mut usize) -> String {
        let array = if self.is_sqlite() {
            "json_array"
        } else {
            "json_build_array"
        };
        let cells = range.of.columns.iter().enumerate().map(|(at, column)| {
            let name = range.at(at);
            match (column.ty, self.dialect) {
                (Type::Number, Dialect::Sqlite) => {
                    format!("CASE WHEN {name} IS NULL THEN NULL ELSE printf('%!.17g', {name}) END")
                }
                (Type::Json | Type::Bool, Dialect::Sqlite) => format!("CAST({name} AS TEXT)"),
                (Type::Text, Dialect::Sqlite) => name,
                (_, Dialect::Postgres) => format!("{name}::text"),
            }
        });
        let cells: Vec<String> = cells.collect();
        let mut parts = vec![format!("{array}({})", cells.join(",")), count.to_owned()];
        let related = ast.related.as_deref().unwrap_or_default();
        for entry in counting(related) {
            parts.push(if entry.hidden == Some(true) {
                self.junction(entry, range, next)
            } else {
                self.list(&entry.subquery, Some((range, &entry.correlation)), next)
            });
        }
        format!("{array}({})", parts.join(","))
    }

    /// The far rows of a junction, each once, with the number of junction rows that lead there.
    fn junction(self, entry: &CorrelatedSubquery, parent: Range<'_>, next: &mut usize) -> String {
        let near = &entry.subquery;
        let junction = self.range(&near.table, next);
        let mut terms = self.terms(near, junction, next);
        terms.extend(correlated(parent, junction, &entry.correlation));
        let window = near.limit.map_or_else(String::new, |limit| {
            format!(" ORDER BY {} LIMIT {limit}", self.order(near, junction))
        });
        let leads = format!(
            "SELECT * FROM {} AS x{} WHERE {}{window}",
            quote(&junction.of.server_name),
            junction.alias,
            terms.join(" AND ")
        );
        let hop = &near.related.as_ref().expect("a junction leads on")[0];
        let far = shown(entry);
        let range = self.range(&far.table, next);
        let lead = Range {
            alias: range.alias + 1,
            of: junction.of,
        };
        *next += 1;
        let through = correlated(lead, range, &hop.correlation).join(" AND ");
        let from = format!(
            "(SELECT x{alias}.*, (SELECT count(*) FROM ({leads}) AS x{lead} WHERE {through}) AS oracle_count FROM {table} AS x{alias}) AS x{alias}",
            alias = range.alias,
            lead = lead.alias,
            table = quote(&range.of.server_name),
        );
        let count = format!("x{}.oracle_count", range.alias);
        let mut terms = self.terms(far, range, next);
        terms.push(format!("{count} > 0"));
        self.aggregate(far, range, &from, &terms, &count, next)
    }

    /// A column as it is compared.
    fn operand(self, range: Range<'_>, column: usize) -> String {
        let name = range.at(column);
        if range.of.columns[column].ty == Type::Text && !self.is_sqlite() {
            return format!("{name} COLLATE \"C\"");
        }
        name
    }

    fn order_parts(self, ast: &Ast, of: &Table) -> Vec<(usize, Direction)> {
        let asked = ast.order_by.iter().flatten();
        let asked = asked.map(|(name, direction)| (of.column(name), *direction));
        let key = of.key.iter().map(|column| (*column, Direction::Asc));
        asked.chain(key).collect()
    }

    fn order(self, ast: &Ast, range: Range<'_>) -> String {
        let parts = self.order_parts(ast, range.of);
        let parts = parts.into_iter().map(|(column, direction)| {
            let how = match (direction, self.dialect) {
                (Direction::Asc, Dialect::Sqlite) => "ASC",
                (Direction::Desc, Dialect::Sqlite) => "DESC",
                (Direction::Asc, Dialect::Postgres) => "ASC NULLS FIRST",
                (Direction::Desc, Dialect::Postgres) => "DESC NULLS LAST",
            };
            format!("{} {how}", self.operand(range, column))
        });
        parts.collect::<Vec<_>>().join(", ")
    }

    /// Rows at or after a place: equal in the first columns and beyond it in the next, for every number of columns.
    fn start(self, ast: &Ast, range: Range<'_>, start: &Bound) -> String {
        let parts = self.order_parts(ast, range.of);
        let mut equal: Vec<String> = Vec::new();
        let mut ways: Vec<String> = Vec::new();
        for (column, direction) in parts {
            let name = &range.of.columns[column].name;
            let bound = start.row.get(name).map_or(Cell::Null, crate::brute::cell);
            let operand = self.operand(range, column);
            let value = self.cell(&bound);
            let beyond = match (direction, bound.is_null()) {
                (Direction::Asc, true) => format!("{operand} IS NOT NULL"),
                (Direction::Asc, false) => format!("{operand} > {value}"),
                (Direction::Desc, true) => "1 = 0".to_owned(),
                (Direction::Desc, false) => format!("({operand} < {value} OR {operand} IS NULL)"),
            };
            let mut way = equal.clone();
            way.push(beyond);
            ways.push(format!("({})", way.join(" AND ")));
            equal.push(match bound.is_null() {
                true => format!("{operand} IS NULL"),
                false => format!("{operand} = {value}"),
            });
        }
        if !start.exclusive {
            ways.push(format!("({})", equal.join(" AND ")));
        }
        format!("({})", ways.join(" OR "))
    }

    fn condition(self, condition: &Condition, range: Range<'_>, next: &mut usize) -> String {
        let mut group = |conditions: &[Condition], between: &str, empty: &str| {
            let parts: Vec<String> = conditions
                .iter()
                .map(|part| self.condition(part, range, next))
                .collect();
            match parts.is_empty() {
                true => empty.to_owned(),
                false => format!("({})", parts.join(between)),
            }
        };
        match condition {
            Condition::And { conditions } => group(conditions, " AND ", "1 = 1"),
            Condition::Or { conditions } => group(conditions, " OR ", "1 = 0"),
            Condition::Simple { left, right, op } => self.simple(left, right, *op, range),
            Condition::CorrelatedSubquery { related, op, .. } => {
                let subquery = &related.subquery;
                let child = self.range(&subquery.table, next);
                let mut terms = self.terms(subquery, child, next);
                terms.extend(correlated(range, child, &related.correlation));
                if subquery.limit == Some(0) {
                    terms.push("1 = 0".to_owned());
                }
                let not = if *op == ExistsOperator::NotExists {
                    "NOT "
                } else {
                    ""
                };
                format!(
                    "{not}EXISTS (SELECT 1 FROM {} AS x{} WHERE {})",
                    quote(&child.of.server_name),
                    child.alias,
                    terms.join(" AND ")
                )
            }
        }
    }

    fn simple(self, left: &Operand, right: &Operand, op: Op, range: Range<'_>) -> String {
        let Operand::Literal { value: right } = right else {
            unreachable!("the right side is a literal")
        };
        let is_null = matches!(left, Operand::Literal { value } if *value == Literal::Null);
        if is_null && !self.is_sqlite() {
            // Postgres wants to know of which type a NULL is.
            let is_true = match op {
                Op::Is => *right == Literal::Null,
                Op::IsNot => *right != Literal::Null,
                Op::NotIn => *right == Literal::Array(Vec::new()),
                _ => false,
            };
            return if is_true { "1 = 1" } else { "1 = 0" }.to_owned();
        }
        let left = match left {
            Operand::Column { name } => self.operand(range, range.of.column(name)),
            Operand::Literal { value } => self.typed(value),
            Operand::Static { .. } => unreachable!("parameters are bound before"),
        };
        if op.takes_a_list() {
            return self.within(&left, right, op == Op::NotIn);
        }
        if *right == Literal::Null {
            return match op {
                Op::Is => format!("{left} IS NULL"),
                Op::IsNot => format!("{left} IS NOT NULL"),
                // Comparing with NULL gives NULL, which no row meets.
                _ => "1 = 0".to_owned(),
            };
        }
        let not = matches!(op, Op::NotLike | Op::NotILike);
        let negation = if not { "NOT " } else { "" };
        if op.is_like() {
            let pattern = self.typed(right);
            let lower = match self.dialect {
                Dialect::Sqlite => "oracle_lower",
                Dialect::Postgres => "pg_temp.oracle_lower",
            };
            let (left, pattern) = match op {
                Op::ILike | Op::NotILike => {
                    (format!("{lower}({left})"), format!("{lower}({pattern})"))
                }
                _ => (left, pattern),
            };
            return format!("{left} {negation}LIKE {pattern} ESCAPE '\\'");
        }
        let value = self.typed(right);
        let operator = match (op, self.dialect) {
            (Op::Is, Dialect::Postgres) => "IS NOT DISTINCT FROM",
            (Op::IsNot, Dialect::Postgres) => "IS DISTINCT FROM",
            (Op::NotEqual, _) => "<>",
            (op, _) => op.name(),
        };
        format!("{left} {operator} {value}")
    }

    fn within(self, left: &str, list: &Literal, negated: bool) -> String {
        let Literal::Array(list) = list else {
            return "1 = 0".to_owned();
        };
        let items: Vec<String> = list.iter().map(|item| self.typed(item)).collect();
        let not = if negated { "NOT " } else { "" };
        if self.is_sqlite() {
            return format!("{left} {not}IN ({})", items.join(","));
        }
        match list.first() {
            // An empty array holds nothing of any type.
            None if negated => "1 = 1".to_owned(),
            None => "1 = 0".to_owned(),
            Some(_) => format!("{not}({left} = ANY (ARRAY[{}]))", items.join(",")),
        }
    }

    fn typed(self, literal: &Literal) -> String {
        let value = self.cell(&crate::brute::cell(literal));
        match (literal, self.dialect) {
            (Literal::String(_), Dialect::Postgres) => format!("{value}::text COLLATE \"C\""),
            _ => value,
        }
    }

    /// The answer of a statement as a tree.
    pub fn answer(self, ast: &Ast, json: &Json) -> Vec<Node> {
        self.answer_list(ast, json, 1)
    }

    /// A list below a row that is there several times: so are its rows.
    fn answer_list(self, ast: &Ast, json: &Json, count: usize) -> Vec<Node> {
        let list = json.as_array().expect("a list");
        let nodes = list.iter().map(|node| self.answer_node(ast, node, count));
        nodes.collect()
    }

    fn answer_node(self, ast: &Ast, json: &Json, above: usize) -> Node {
        let of = self.of(&ast.table);
        let cells = json[0].as_array().expect("cells");
        let row = of.columns.iter().zip(cells).map(|(column, cell)| {
            let Some(text) = cell.as_str() else {
                return Cell::Null;
            };
            match column.ty {
                Type::Text => Cell::Text(text.to_owned()),
                Type::Number => Cell::Number(text.parse().expect("a number")),
                Type::Bool => Cell::Bool(text == "1" || text == "true"),
                Type::Json => Cell::Json(text.to_owned()),
            }
        });
        let count = above * json[1].as_u64().expect("a count") as usize;
        let related = counting(ast.related.as_deref().unwrap_or_default()).enumerate();
        let lists = related.map(|(at, entry)| self.answer_list(shown(entry), &json[2 + at], count));
        Node {
            row: row.collect(),
            count,
            lists: lists.collect(),
        }
    }
}

fn correlated(parent: Range<'_>, child: Range<'_>, correlation: &Correlation) -> Vec<String> {
    let pairs = correlation
        .parent_field
        .iter()
        .zip(&correlation.child_field);
    pairs
        .map(|(above, below)| format!("{} = {}", child.column(below), parent.column(above)))
        .collect()
}
