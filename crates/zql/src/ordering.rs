//! The order of a query: what the caller asked for, made total by the primary key.

use std::cmp::Ordering;

use thiserror::Error;

use crate::ast::Direction;
use crate::row::Row;
use crate::schema::{ColumnType, TableSchema};
use crate::value::{Quoted, compare};

/// Columns of one table and their directions, most significant first. [`Order::complete`] makes it total: no two
/// rows with different primary keys are equal under it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Order(pub Vec<(usize, Direction)>);

/// Why an order is not one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OrderError {
    /// The table has no such column.
    #[error("cannot order table {} by the unknown column {}", Quoted(.table), Quoted(.column))]
    UnknownColumn {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// JSON values have no order.
    #[error(
        "cannot order table {} by column {}: JSON values have no order",
        Quoted(.table), Quoted(.column)
    )]
    JsonColumn {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
}

impl Order {
    /// The order of a query over `table`: `order_by`, then the primary key's columns that it lacks, ascending and
    /// in declared order. Of a repeated column the first occurrence decides.
    ///
    /// # Errors
    /// A column that the table lacks, or one that holds JSON.
    pub fn complete(
        order_by: Option<&[(String, Direction)]>,
        table: &TableSchema,
    ) -> Result<Order, OrderError> {
        let mut parts: Vec<(usize, Direction)> = Vec::new();
        for (name, direction) in order_by.unwrap_or_default() {
            let column = ordered_column(table, name)?;
            add(&mut parts, column, *direction);
        }
        for &column in &table.primary_key {
            add(&mut parts, column, Direction::Asc);
        }
        Ok(Order(parts))
    }

    /// Compares two rows of the table. NULL is the smallest value: first ascending, last descending.
    #[inline]
    pub fn compare(&self, a: &Row, b: &Row) -> Ordering {
        compare_by(&self.0, a, b)
    }
}

/// Compares two rows by columns with their directions, most significant first.
#[inline]
pub fn compare_by(columns: &[(usize, Direction)], a: &Row, b: &Row) -> Ordering {
    for &(column, direction) in columns {
        let ordering = compare(a.get(column), b.get(column));
        if ordering.is_ne() {
            return match direction {
                Direction::Asc => ordering,
                Direction::Desc => ordering.reverse(),
            };
        }
    }
    Ordering::Equal
}

fn ordered_column(table: &TableSchema, name: &str) -> Result<usize, OrderError> {
    let Some(column) = table.column(name) else {
        return Err(OrderError::UnknownColumn {
            table: table.name.clone(),
            column: name.to_owned(),
        });
    };
    if table.columns[column].ty == ColumnType::Json {
        return Err(OrderError::JsonColumn {
            table: table.name.clone(),
            column: name.to_owned(),
        });
    }
    Ok(column)
}

fn add(parts: &mut Vec<(usize, Direction)>, column: usize, direction: Direction) {
    if parts.iter().all(|(present, _)| *present != column) {
        parts.push((column, direction));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row_json::Names;
    use crate::schema::Schema;

    const SCHEMA: &str = r#"{"tables":{"t":{"name":"t","primaryKey":["z","a"],"columns":{
        "a":{"type":"string"},"z":{"type":"string"},"n":{"type":"number","optional":true},
        "j":{"type":"json","optional":true}}}}}"#;

    fn table() -> TableSchema {
        Schema::from_json(SCHEMA).unwrap().tables.remove(0)
    }

    fn order(parts: &[(&str, Direction)]) -> Result<Order, OrderError> {
        let parts: Vec<_> = parts
            .iter()
            .map(|(name, direction)| ((*name).to_owned(), *direction))
            .collect();
        Order::complete(Some(&parts), &table())
    }

    #[test]
    fn the_primary_key_completes_in_declared_order() {
        use Direction::{Asc, Desc};
        let table = table();
        let (a, j, n, z) = (0, 1, 2, 3);
        assert_eq!(table.columns[j].name, "j");
        let check = |parts: &[(&str, Direction)], expected: &[(usize, Direction)]| {
            assert_eq!(order(parts), Ok(Order(expected.to_vec())), "{parts:?}");
        };
        check(&[], &[(z, Asc), (a, Asc)]);
        check(&[("n", Desc)], &[(n, Desc), (z, Asc), (a, Asc)]);
        check(&[("a", Desc)], &[(a, Desc), (z, Asc)]);
        check(
            &[("n", Desc), ("n", Asc), ("z", Desc)],
            &[(n, Desc), (z, Desc), (a, Asc)],
        );
        assert_eq!(
            Order::complete(None, &table),
            Ok(Order(vec![(z, Asc), (a, Asc)]))
        );
    }

    #[test]
    fn refuses_what_has_no_order() {
        let check = |column, expected: &str| {
            let error = order(&[(column, Direction::Asc)]).unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        check("x", r#"cannot order table "t" by the unknown column "x""#);
        check(
            "j",
            r#"cannot order table "t" by column "j": JSON values have no order"#,
        );
    }

    #[test]
    fn null_comes_first_ascending_and_last_descending() {
        let table = table();
        let row = |json| table.row_from_json(json, Names::Client).unwrap();
        let null = row(r#"{"z":"1","a":"1"}"#);
        let one = row(r#"{"z":"1","a":"2","n":1}"#);
        let two = row(r#"{"z":"0","a":"3","n":2}"#);
        let check = |direction, a: &Row, b: &Row, expected| {
            let order = order(&[("n", direction)]).unwrap();
            assert_eq!(order.compare(a, b), expected);
            assert_eq!(order.compare(b, a), expected.reverse());
        };
        check(Direction::Asc, &null, &one, Ordering::Less);
        check(Direction::Asc, &one, &two, Ordering::Less);
        check(Direction::Desc, &null, &one, Ordering::Greater);
        check(Direction::Desc, &two, &one, Ordering::Less);
        check(Direction::Desc, &two, &two, Ordering::Equal);
        let twin = row(r#"{"z":"1","a":"3","n":1}"#);
        check(Direction::Desc, &one, &twin, Ordering::Less);
    }
}
