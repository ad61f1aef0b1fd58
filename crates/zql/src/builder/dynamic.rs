//! Queries by name: every name is looked up, and what is wrong is an error.

use super::argument::Argument;
use super::catalog::{Catalog, Relationship};
use super::draft::{BuiltQuery, Draft, ExistsHints, SUBQUERY_PREFIX};
use super::error::QueryError;
use crate::ast::{Condition, Direction, Literal, Operand, SimpleOperator};

/// The condition that two values compare so, of which neither is a column.
///
/// # Errors
/// A value that cannot be compared with.
pub fn compare(
    left: impl Into<Argument>,
    op: SimpleOperator,
    right: impl Into<Argument>,
) -> Result<Condition, QueryError> {
    Ok(Condition::Simple {
        left: left.into().operand(SimpleOperator::Equal)?,
        right: right.into().operand(op)?,
        op,
    })
}

/// A query whose names are checked against a [`Catalog`].
///
/// ```
/// use landfall_zql::ast::Direction;
/// use landfall_zql::builder::{Catalog, DynamicQuery};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let catalog = Catalog::from_json(
///     r#"{"tables":{"issue":{"columns":{"id":{"type":"string"},"open":{"type":"boolean"}},"primaryKey":["id"]}}}"#,
/// )?;
/// let open = DynamicQuery::of(&catalog, "issue")?
///     .filter("open", "=", true)?
///     .order_by("id", Direction::Desc)?
///     .build();
/// assert!(DynamicQuery::of(&catalog, "issue")?.filter("opne", "=", true).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct DynamicQuery<'a> {
    catalog: &'a Catalog,
    draft: Draft,
}

impl<'a> DynamicQuery<'a> {
    /// All rows of a table.
    ///
    /// # Errors
    /// There is no such table.
    pub fn of(catalog: &'a Catalog, table: &str) -> Result<Self, QueryError> {
        let Some(table) = catalog.table(table) else {
            return Err(QueryError::UnknownTable {
                table: table.to_owned(),
            });
        };
        let draft = Draft::new(&table.name);
        Ok(DynamicQuery { catalog, draft })
    }

    /// Keeps the rows whose column compares so with the value.
    ///
    /// # Errors
    /// An unknown column or operator, or a value that cannot be compared with.
    pub fn filter(
        self,
        column: &str,
        operator: &str,
        value: impl Into<Argument>,
    ) -> Result<Self, QueryError> {
        let condition = self.compare(column, operator, value)?;
        Ok(self.filter_by(condition))
    }

    /// Keeps the rows that meet a condition made by [`compare`](Self::compare), [`exists`](Self::exists) and the
    /// functions [`and`](super::and), [`or`](super::or), [`not`](super::not).
    #[must_use]
    pub fn filter_by(mut self, condition: Condition) -> Self {
        self.draft.filter(condition);
        self
    }

    /// The condition that a column compares so with a value.
    ///
    /// # Errors
    /// As [`filter`](Self::filter).
    pub fn compare(
        &self,
        column: &str,
        operator: &str,
        value: impl Into<Argument>,
    ) -> Result<Condition, QueryError> {
        self.check(column, "where")?;
        let op = SimpleOperator::named(operator).ok_or_else(|| QueryError::UnknownOperator {
            table: self.draft.ast.table.clone(),
            column: column.to_owned(),
            operator: operator.to_owned(),
        })?;
        Ok(Condition::Simple {
            left: Operand::Column {
                name: column.to_owned(),
            },
            right: value.into().operand(op)?,
            op,
        })
    }

    /// The condition that there is a related row in the subquery.
    ///
    /// # Errors
    /// An unknown relationship, what the subquery's own calls refuse, and a subquery with a start or related rows.
    pub fn exists(
        &self,
        relationship: &str,
        hints: ExistsHints,
        subquery: impl FnOnce(Self) -> Result<Self, QueryError>,
    ) -> Result<Condition, QueryError> {
        let found = self.relationship(relationship)?;
        let far = subquery(self.at_end_of(found))?.draft;
        self.draft.exists(relationship, found, far, hints)
    }

    /// Adds the related rows that the subquery keeps to each row.
    ///
    /// # Errors
    /// An unknown relationship, and what the subquery's own calls refuse.
    pub fn related(
        mut self,
        relationship: &str,
        subquery: impl FnOnce(Self) -> Result<Self, QueryError>,
    ) -> Result<Self, QueryError> {
        if relationship.starts_with(SUBQUERY_PREFIX) {
            return Err(QueryError::ReservedRelationship);
        }
        let found = self.relationship(relationship)?;
        let far = subquery(self.at_end_of(found))?.draft;
        self.draft.related(relationship, found, far);
        Ok(self)
    }

    /// Sorts by a column; called again, sorts rows that are equal so far.
    ///
    /// # Errors
    /// An unknown column.
    pub fn order_by(mut self, column: &str, direction: Direction) -> Result<Self, QueryError> {
        self.check(column, "orderBy")?;
        self.draft.order_by(column, direction);
        Ok(self)
    }

    /// Keeps the first `limit` rows; of a relationship, the first of each row.
    ///
    /// # Errors
    /// The limit is 2³¹ or more.
    pub fn limit(mut self, limit: u32) -> Result<Self, QueryError> {
        self.draft.limit(limit)?;
        Ok(self)
    }

    /// Keeps the first row, and makes the result that row.
    #[must_use]
    pub fn one(mut self) -> Self {
        self.draft.one();
        self
    }

    /// Starts after (or at, when `inclusive`) the place of a row in the query's order; columns that it lacks are NULL.
    ///
    /// # Errors
    /// An unknown column.
    pub fn start<'r>(
        mut self,
        row: impl IntoIterator<Item = (&'r str, Literal)>,
        inclusive: bool,
    ) -> Result<Self, QueryError> {
        let cells = row.into_iter().map(|(column, value)| {
            self.check(column, "start")?;
            Ok((column.to_owned(), value))
        });
        let row = cells.collect::<Result<_, _>>()?;
        self.draft.start(row, !inclusive);
        Ok(self)
    }

    /// The query.
    pub fn build(self) -> BuiltQuery {
        self.draft.build()
    }

    fn at_end_of(&self, relationship: &Relationship) -> Self {
        DynamicQuery {
            catalog: self.catalog,
            draft: Draft::at_end_of(relationship),
        }
    }

    fn check(&self, column: &str, method: &'static str) -> Result<(), QueryError> {
        let table = &self.draft.ast.table;
        let known = self.catalog.table(table);
        match known.and_then(|table| table.column(column)) {
            Some(_) => Ok(()),
            None => Err(QueryError::UnknownColumn {
                table: table.clone(),
                column: column.to_owned(),
                method,
            }),
        }
    }

    fn relationship(&self, name: &str) -> Result<&'a Relationship, QueryError> {
        let table = &self.draft.ast.table;
        let found = self.catalog.relationship(table, name);
        found.ok_or_else(|| QueryError::UnknownRelationship {
            table: table.clone(),
            relationship: name.to_owned(),
        })
    }
}
