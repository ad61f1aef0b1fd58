//! Queries whose tables, columns and relationships are types.

use std::marker::PhantomData;
use std::ops::Not;

use super::argument::{Argument, Parameter};
use super::catalog::{Declaration, Relationship};
use super::condition::{and, not, or};
use super::draft::{BuiltQuery, Draft, ExistsHints};
use super::dynamic::compare;
use super::error::QueryError;
use crate::ast::{Condition, Direction, Literal, Operand, SimpleOperator};
use crate::schema::ColumnType;

/// A declared table; [`tables!`](crate::tables) makes one per table.
pub trait Table: Copy {
    /// Its client name.
    const NAME: &'static str;

    /// Its columns, key and relationships.
    fn declaration() -> Declaration;
}

/// What a column holds: `String`, `f64`, `bool`, [`Json`], or an `Option` of one of them.
pub trait Kind {
    /// The kind without `Option`.
    type Base;
    /// The type in the schema.
    const TYPE: ColumnType;
    /// Whether it may be NULL.
    const OPTIONAL: bool;
}

/// A column of any JSON value. It can be compared with NULL only.
#[derive(Clone, Copy, Debug)]
pub enum Json {}

macro_rules! kinds {
    ($($kind:ty = $ty:ident),+) => {
        $(
            impl Kind for $kind {
                type Base = $kind;
                const TYPE: ColumnType = ColumnType::$ty;
                const OPTIONAL: bool = false;
            }
        )+
    };
}

kinds!(String = String, f64 = Number, bool = Boolean, Json = Json);

impl<K: Kind> Kind for Option<K> {
    type Base = K::Base;
    const TYPE: ColumnType = K::TYPE;
    const OPTIONAL: bool = true;
}

/// A value that columns of base `B` can be compared with, and that is not NULL.
#[diagnostic::on_unimplemented(message = "a column of `{B}` cannot be compared with `{Self}`")]
pub trait Scalar<B>: Into<Argument> {}

impl Scalar<String> for &str {}
impl Scalar<String> for &String {}
impl Scalar<String> for String {}
impl Scalar<bool> for bool {}

/// A value that columns of base `B` can be compared with: a [`Scalar`], an `Option` of one, or a [`Parameter`].
#[diagnostic::on_unimplemented(message = "a column of `{B}` cannot be compared with `{Self}`")]
pub trait Value<B>: Into<Argument> {}

impl Value<String> for &str {}
impl Value<String> for &String {}
impl Value<String> for String {}
impl Value<bool> for bool {}
impl<B, S: Scalar<B>> Value<B> for Option<S> {}
impl<B> Value<B> for Parameter {}

/// A list for `IN`: anything that gives [`Scalar`]s, a [`Parameter`], or an [`Argument`].
#[diagnostic::on_unimplemented(message = "`{Self}` is not a list of values for a column of `{B}`")]
pub trait List<B> {
    /// As an argument.
    fn list(self) -> Argument;
}

impl<B, S: Scalar<B>, I: IntoIterator<Item = S>> List<B> for I {
    fn list(self) -> Argument {
        Argument::List(self.into_iter().map(Into::into).collect())
    }
}

/// For a list that is known at run time only, such as NULL.
impl<B> List<B> for Argument {
    fn list(self) -> Argument {
        self
    }
}

impl<B> List<B> for Parameter {
    fn list(self) -> Argument {
        self.into()
    }
}

/// A column of table `T` that holds `K`.
pub struct Column<T, K> {
    name: &'static str,
    of: PhantomData<fn() -> (T, K)>,
}

impl<T, K> Clone for Column<T, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, K> Copy for Column<T, K> {}

/// One part of an order.
pub struct OrderPart<T> {
    column: &'static str,
    direction: Direction,
    of: PhantomData<fn() -> T>,
}

/// The value of a column of the row that a query starts at.
pub struct Cell<T> {
    column: &'static str,
    value: Result<Literal, QueryError>,
    of: PhantomData<fn() -> T>,
}

impl<T> Cell<T> {
    /// The column's client name, and the value.
    ///
    /// # Errors
    /// (of the second part) A value that no column can hold.
    pub fn into_parts(self) -> (&'static str, Result<Literal, QueryError>) {
        (self.column, self.value)
    }
}

impl<T, K> Column<T, K> {
    /// The column of this name.
    pub const fn new(name: &'static str) -> Self {
        Column {
            name,
            of: PhantomData,
        }
    }

    /// Its client name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    fn compare(self, op: SimpleOperator, value: Argument) -> Cond<T> {
        let left = Operand::Column {
            name: self.name.to_owned(),
        };
        Cond::new(
            value
                .operand(op)
                .map(|right| Condition::Simple { left, right, op }),
        )
    }

    /// The column is NULL.
    pub fn is_null(self) -> Cond<T> {
        self.compare(SimpleOperator::Is, Argument::Null)
    }

    /// The column is not NULL.
    pub fn is_not_null(self) -> Cond<T> {
        self.compare(SimpleOperator::IsNot, Argument::Null)
    }
}

macro_rules! comparisons {
    ($($(#[$doc:meta])* $method:ident = $op:ident),+ $(,)?) => {
        $(
            $(#[$doc])*
            pub fn $method(self, value: impl Value<K::Base>) -> Cond<T> {
                self.compare(SimpleOperator::$op, value.into())
            }
        )+
    };
}

impl<T, K: Kind> Column<T, K> {
    comparisons! {
        /// Equal; never true of NULL.
        eq = Equal,
        /// Not equal; never true of NULL.
        ne = NotEqual,
        /// Less.
        lt = Less,
        /// Less or equal.
        le = LessOrEqual,
        /// Greater.
        gt = Greater,
        /// Greater or equal.
        ge = GreaterOrEqual,
        /// Equal, NULL being a value like others.
        is = Is,
        /// Not equal, NULL being a value like others.
        is_not = IsNot,
    }

    /// Equal to a member of the list.
    pub fn is_in(self, list: impl List<K::Base>) -> Cond<T> {
        self.compare(SimpleOperator::In, list.list())
    }

    /// Not NULL, and equal to no member of the list.
    pub fn is_not_in(self, list: impl List<K::Base>) -> Cond<T> {
        self.compare(SimpleOperator::NotIn, list.list())
    }

    /// Smallest first, NULL before all.
    pub fn asc(self) -> OrderPart<T> {
        self.part(Direction::Asc)
    }

    /// Largest first, NULL after all.
    pub fn desc(self) -> OrderPart<T> {
        self.part(Direction::Desc)
    }

    fn part(self, direction: Direction) -> OrderPart<T> {
        OrderPart {
            column: self.name,
            direction,
            of: PhantomData,
        }
    }

    /// The value of this column in the row that a query starts at.
    pub fn at(self, value: impl Value<K::Base>) -> Cell<T> {
        let value = value.into().operand(SimpleOperator::Is);
        Cell {
            column: self.name,
            value: value.and_then(|operand| match operand {
                Operand::Literal { value } => Ok(value),
                _ => Err(QueryError::NotComparable { found: "object" }),
            }),
            of: PhantomData,
        }
    }
}

macro_rules! patterns {
    ($($(#[$doc:meta])* $method:ident = $op:ident),+ $(,)?) => {
        $(
            $(#[$doc])*
            pub fn $method(self, pattern: impl Value<String>) -> Cond<T> {
                self.compare(SimpleOperator::$op, pattern.into())
            }
        )+
    };
}

impl<T, K: Kind<Base = String>> Column<T, K> {
    patterns! {
        /// Matches the pattern.
        like = Like,
        /// Does not match the pattern.
        not_like = NotLike,
        /// Matches the pattern whatever the case.
        ilike = ILike,
        /// Does not match the pattern whatever the case.
        not_ilike = NotILike,
    }
}

/// A condition on rows of table `T`. What is wrong with it shows when the query is built.
pub struct Cond<T> {
    condition: Result<Condition, QueryError>,
    of: PhantomData<fn() -> T>,
}

impl<T> Cond<T> {
    fn new(condition: Result<Condition, QueryError>) -> Self {
        Cond {
            condition,
            of: PhantomData,
        }
    }

    /// The condition, in client names.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn into_condition(self) -> Result<Condition, QueryError> {
        self.condition
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Cond<T>) -> Cond<T> {
        Cond::all([self, other])
    }

    /// One or both.
    #[must_use]
    pub fn or(self, other: Cond<T>) -> Cond<T> {
        Cond::any([self, other])
    }

    /// All of them; true of none.
    pub fn all(conditions: impl IntoIterator<Item = Cond<T>>) -> Cond<T> {
        let conditions: Result<Vec<_>, _> =
            conditions.into_iter().map(|one| one.condition).collect();
        Cond::new(conditions.map(and))
    }

    /// At least one of them; false of none.
    pub fn any(conditions: impl IntoIterator<Item = Cond<T>>) -> Cond<T> {
        let conditions: Result<Vec<_>, _> =
            conditions.into_iter().map(|one| one.condition).collect();
        Cond::new(conditions.map(or))
    }
}

impl<T> Not for Cond<T> {
    type Output = Cond<T>;

    /// The opposite; a comparison with NULL stays false.
    fn not(self) -> Cond<T> {
        Cond::new(self.condition.map(not))
    }
}

/// Compares two values that are no columns, such as a parameter with a constant.
pub fn compare_values<T>(
    left: impl Into<Argument>,
    op: SimpleOperator,
    right: impl Into<Argument>,
) -> Cond<T> {
    Cond::new(compare(left, op, right))
}

/// A relationship that leads from rows of `T` to rows of `D`.
pub struct RelationshipTo<T, D> {
    name: &'static str,
    relationship: fn() -> Relationship,
    hints: ExistsHints,
    of: PhantomData<fn() -> (T, D)>,
}

impl<T, D> Clone for RelationshipTo<T, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, D> Copy for RelationshipTo<T, D> {}

impl<T, D> RelationshipTo<T, D> {
    /// The relationship of this name.
    pub const fn new(name: &'static str, relationship: fn() -> Relationship) -> Self {
        RelationshipTo {
            name,
            relationship,
            hints: ExistsHints {
                flip: None,
                scalar: None,
            },
            of: PhantomData,
        }
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The way it takes.
    pub fn hops(&self) -> Relationship {
        (self.relationship)()
    }

    /// Hint for `exists`: from the related rows (`true`), or from the rows of the query (`false`).
    #[must_use]
    pub const fn flip(mut self, flip: bool) -> Self {
        self.hints.flip = Some(flip);
        self
    }

    /// Hint for `exists`: a unique key names the one related row.
    #[must_use]
    pub const fn scalar(mut self, scalar: bool) -> Self {
        self.hints.scalar = Some(scalar);
        self
    }
}

impl<T: Table, D: Table> RelationshipTo<T, D> {
    /// There is a related row.
    pub fn exists(self) -> Cond<T> {
        self.exists_in(|query| query)
    }

    /// There is a related row in the subquery.
    pub fn exists_in(self, subquery: impl FnOnce(Query<D>) -> Query<D>) -> Cond<T> {
        let relationship = self.hops();
        let far = subquery(Query::at_end_of(&relationship)).draft;
        let parent = Draft::new(T::NAME);
        Cond::new(far.and_then(|far| parent.exists(self.name, &relationship, far, self.hints)))
    }
}

/// A query of rows of table `T`. What is wrong with it shows when it is [built](Query::build).
pub struct Query<T> {
    draft: Result<Draft, QueryError>,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Query<T> {
    fn clone(&self) -> Self {
        Query {
            draft: self.draft.clone(),
            of: PhantomData,
        }
    }
}

impl<T: Table> Query<T> {
    /// All rows of a table.
    pub fn of(_: T) -> Query<T> {
        Query {
            draft: Ok(Draft::new(T::NAME)),
            of: PhantomData,
        }
    }

    fn at_end_of(relationship: &Relationship) -> Query<T> {
        Query {
            draft: Ok(Draft::at_end_of(relationship)),
            of: PhantomData,
        }
    }

    fn then(mut self, step: impl FnOnce(&mut Draft) -> Result<(), QueryError>) -> Self {
        if let Ok(draft) = &mut self.draft
            && let Err(error) = step(draft)
        {
            self.draft = Err(error);
        }
        self
    }

    /// Keeps the rows that meet a condition; several are joined by "and".
    #[must_use]
    pub fn filter(self, condition: Cond<T>) -> Self {
        self.then(|draft| {
            draft.filter(condition.condition?);
            Ok(())
        })
    }

    /// Adds the related rows to each row.
    #[must_use]
    pub fn related<D: Table>(self, relationship: RelationshipTo<T, D>) -> Self {
        self.related_in(relationship, |query| query)
    }

    /// Adds the related rows that the subquery keeps to each row.
    #[must_use]
    pub fn related_in<D: Table>(
        self,
        relationship: RelationshipTo<T, D>,
        subquery: impl FnOnce(Query<D>) -> Query<D>,
    ) -> Self {
        let hops = relationship.hops();
        let far = subquery(Query::at_end_of(&hops)).draft;
        self.then(|draft| {
            draft.related(relationship.name, &hops, far?);
            Ok(())
        })
    }

    /// Sorts by a column; called again, sorts rows that are equal so far. Ties are broken by the primary key.
    #[must_use]
    pub fn order_by(self, part: OrderPart<T>) -> Self {
        self.then(|draft| {
            draft.order_by(part.column, part.direction);
            Ok(())
        })
    }

    /// Keeps the first `limit` rows; of a relationship, the first of each row.
    #[must_use]
    pub fn limit(self, limit: u32) -> Self {
        self.then(|draft| draft.limit(limit))
    }

    /// Keeps the first row, and makes the result that row.
    #[must_use]
    pub fn one(self) -> Self {
        self.then(|draft| {
            draft.one();
            Ok(())
        })
    }

    /// Starts after the place of a row in the query's order; columns that it lacks are NULL.
    #[must_use]
    pub fn start_after(self, row: impl IntoIterator<Item = Cell<T>>) -> Self {
        self.start(row, true)
    }

    /// Starts at the place of a row in the query's order; columns that it lacks are NULL.
    #[must_use]
    pub fn start_at(self, row: impl IntoIterator<Item = Cell<T>>) -> Self {
        self.start(row, false)
    }

    fn start(self, row: impl IntoIterator<Item = Cell<T>>, exclusive: bool) -> Self {
        let cells = row.into_iter();
        let row: Result<_, QueryError> = cells
            .map(|cell| Ok((cell.column.to_owned(), cell.value?)))
            .collect();
        self.then(|draft| {
            draft.start(row?, exclusive);
            Ok(())
        })
    }

    /// The query.
    ///
    /// # Errors
    /// The first thing that is wrong with it: a number that is not finite, a limit of 2³¹ or more, an `EXISTS` of a
    /// subquery with a start or related rows.
    pub fn build(self) -> Result<BuiltQuery, QueryError> {
        self.draft.map(Draft::build)
    }
}
