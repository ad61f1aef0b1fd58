//! Conditions without subqueries, compiled for one table and evaluated over packed rows.
//!
//! NULL logic is two-valued: a comparison with NULL on either side is false, except that `IS` and `IS NOT` take NULL
//! for a value like any other, and that `NOT IN` an empty list is true of everything, NULL included.
//! Whatever a table cannot answer is an error of [`Predicate::compile`]; evaluation cannot fail.

mod lookups;
mod shape;

use thiserror::Error;
use triomphe::Arc;

use crate::ast::{Condition, Literal, Operand, Path, SimpleOperator};
use crate::like::LikePattern;
use crate::row::Row;
use crate::schema::{Column, ColumnType, TableSchema};
use crate::sort::sort_by;
use crate::value::{Quoted, Value, ValueRef, compare};

pub use lookups::Lookup;
pub use shape::Shape;

/// A condition over the rows of one table. Clones share it.
#[derive(Clone, Debug)]
pub struct Predicate(Arc<Node>);

#[derive(Debug)]
enum Node {
    Constant(bool),
    Test { column: usize, test: Test },
    And(Vec<Node>),
    Or(Vec<Node>),
}

/// A test of one value.
#[derive(Debug)]
enum Test {
    Equal(Value),
    NotEqual(Value),
    IsNull,
    IsNotNull,
    /// `IS NOT` a value: true of NULL.
    Differs(Value),
    Less(Value),
    Greater(Value),
    LessOrEqual(Value),
    GreaterOrEqual(Value),
    /// Sorted by [`compare`], at least two.
    In(Vec<Value>),
    NotIn(Vec<Value>),
    Like(LikePattern),
    NotLike(LikePattern),
}

/// Why a condition cannot be evaluated over the rows of a table.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PredicateError {
    /// The table has no such column.
    #[error("table {} has no column {} to filter by", Quoted(.table), Quoted(.column))]
    UnknownColumn {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// The literal is of another type than the column.
    #[error(
        "column {} of table {} is a {expected} and cannot be compared with a {found}",
        Quoted(.column), Quoted(.table)
    )]
    LiteralType {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// What the column holds.
        expected: &'static str,
        /// What the literal is.
        found: &'static str,
    },
    /// JSON values have neither equality nor order.
    #[error(
        "column {} of table {} holds JSON: only IS NULL and IS NOT NULL are possible",
        Quoted(.column), Quoted(.table)
    )]
    JsonColumn {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// Two literals of types that have no common order.
    #[error("cannot compare a {left} with a {right}")]
    LiteralTypes {
        /// The type on the left.
        left: &'static str,
        /// The type on the right.
        right: &'static str,
    },
    /// `IN` or `NOT IN` needs a list.
    #[error("{operator} needs a list on its right, not a {found}")]
    NotAList {
        /// The operator.
        operator: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// A list, or an object, where one value is needed.
    #[error("{operator} cannot compare with a {found}")]
    NotAScalar {
        /// The operator.
        operator: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// `LIKE` and its kin need text.
    #[error("{operator} needs text on both sides, not a {found}")]
    NotText {
        /// The operator.
        operator: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// The pattern ends in a `\` that escapes nothing.
    #[error("LIKE pattern must not end with escape character")]
    LikePattern,
    /// A parameter that permissions should have bound.
    #[error("the static parameter {} is not bound to a value", Quoted(.field))]
    StaticParameter {
        /// Its path, joined by dots.
        field: String,
    },
    /// A column on the right of a comparison.
    #[error("a comparison has column {} on its right", Quoted(.column))]
    ColumnOnTheRight {
        /// The column.
        column: String,
    },
    /// A subquery: it needs more than a row.
    #[error("a correlated subquery cannot be evaluated on a row alone")]
    Subquery,
}

impl Predicate {
    /// True of every row.
    pub fn always() -> Predicate {
        Predicate(Arc::new(Node::Constant(true)))
    }

    /// Compiles a condition for the rows of `table`. Constant parts are folded.
    ///
    /// # Errors
    /// Whatever cannot be evaluated, wherever in the condition it stands.
    pub fn compile(
        condition: &Condition,
        table: &TableSchema,
    ) -> Result<Predicate, PredicateError> {
        Node::compile(condition, table).map(|node| Predicate(Arc::new(node)))
    }

    /// Whether a row satisfies the condition.
    pub fn matches(&self, row: &Row) -> bool {
        self.0.matches(row)
    }

    /// Whether the condition is true of every row.
    pub fn is_always(&self) -> bool {
        matches!(*self.0, Node::Constant(true))
    }

    /// Whether the condition is true of no row.
    pub fn is_never(&self) -> bool {
        matches!(*self.0, Node::Constant(false))
    }

    /// The columns that the condition pins to one value that is not NULL: equalities that stand alone or in the
    /// outermost `and`. At most one per column; a row still has to match the whole condition.
    pub fn equalities(&self) -> Vec<(usize, Value)> {
        let mut pinned: Vec<(usize, Value)> = Vec::new();
        for part in self.parts() {
            if let Node::Test {
                column,
                test: Test::Equal(value),
            } = part
                && pinned.iter().all(|(present, _)| present != column)
            {
                pinned.push((*column, value.clone()));
            }
        }
        pinned
    }

    /// Values that a column of every matching row is not less than, and not greater than, and never NULL: from
    /// comparisons that stand alone or in the outermost `and`.
    pub fn bounds(&self, of: usize) -> (Option<&Value>, Option<&Value>) {
        let (mut least, mut greatest) = (None, None);
        for part in self.parts() {
            match part {
                Node::Test { column, test } if *column == of => match test {
                    Test::Greater(value) | Test::GreaterOrEqual(value) => least = Some(value),
                    Test::Less(value) | Test::LessOrEqual(value) => greatest = Some(value),
                    _ => {}
                },
                _ => {}
            }
        }
        (least, greatest)
    }

    /// What must hold together.
    fn parts(&self) -> &[Node] {
        match &*self.0 {
            Node::And(parts) => parts,
            single => std::slice::from_ref(single),
        }
    }
}

impl Node {
    fn compile(condition: &Condition, table: &TableSchema) -> Result<Node, PredicateError> {
        match condition {
            Condition::Simple { left, right, op } => Node::simple(left, right, *op, table),
            Condition::And { conditions } => Node::group(conditions, table, true),
            Condition::Or { conditions } => Node::group(conditions, table, false),
            Condition::CorrelatedSubquery { .. } => Err(PredicateError::Subquery),
        }
    }

    /// An `and` (neutral: true) or an `or` (neutral: false). The whole list is compiled even when a constant
    /// decides, so that errors do not depend on order.
    fn group(
        conditions: &[Condition],
        table: &TableSchema,
        neutral: bool,
    ) -> Result<Node, PredicateError> {
        let mut parts = Vec::with_capacity(conditions.len());
        let mut decided = false;
        for condition in conditions {
            match Node::compile(condition, table)? {
                Node::Constant(value) => decided |= value != neutral,
                Node::And(nested) if neutral => parts.extend(nested),
                Node::Or(nested) if !neutral => parts.extend(nested),
                part => parts.push(part),
            }
        }
        if decided {
            return Ok(Node::Constant(!neutral));
        }
        Ok(match parts.len() {
            0 => Node::Constant(neutral),
            1 => parts.swap_remove(0),
            _ if neutral => Node::And(parts),
            _ => Node::Or(parts),
        })
    }

    fn simple(
        left: &Operand,
        right: &Operand,
        op: SimpleOperator,
        table: &TableSchema,
    ) -> Result<Node, PredicateError> {
        let right = match right {
            Operand::Literal { value } => value,
            Operand::Static { field, .. } => return Err(unbound(field)),
            Operand::Column { name } => {
                return Err(PredicateError::ColumnOnTheRight {
                    column: name.clone(),
                });
            }
        };
        match left {
            Operand::Column { name } => {
                let column = table
                    .column(name)
                    .ok_or_else(|| PredicateError::UnknownColumn {
                        table: table.name.clone(),
                        column: name.clone(),
                    })?;
                check_types(table, &table.columns[column], op, right)?;
                Ok(match Outcome::compile(op, right)? {
                    Outcome::Constant(value) => Node::Constant(value),
                    Outcome::Test(test) => Node::Test { column, test },
                })
            }
            Operand::Literal { value } => constant(value, op, right).map(Node::Constant),
            Operand::Static { field, .. } => Err(unbound(field)),
        }
    }

    fn matches(&self, row: &Row) -> bool {
        match self {
            Node::Constant(value) => *value,
            // What filters ask most often.
            Node::Test {
                column,
                test: Test::Equal(literal),
            } => row.holds(*column, literal.as_ref()),
            Node::Test { column, test } => test.passes(row.get(*column)),
            Node::And(parts) => parts.iter().all(|part| part.matches(row)),
            Node::Or(parts) => parts.iter().any(|part| part.matches(row)),
        }
    }
}

/// What an operator and the literal on its right amount to.
enum Outcome {
    Constant(bool),
    Test(Test),
}

impl Outcome {
    fn compile(op: SimpleOperator, literal: &Literal) -> Result<Outcome, PredicateError> {
        use SimpleOperator as Op;
        if let Literal::Null = literal {
            return Ok(match op {
                Op::Is => Outcome::Test(Test::IsNull),
                Op::IsNot => Outcome::Test(Test::IsNotNull),
                _ => Outcome::Constant(false),
            });
        }
        let test = match op {
            Op::Equal | Op::Is => Test::Equal(scalar(op, literal)?),
            Op::NotEqual => Test::NotEqual(scalar(op, literal)?),
            Op::IsNot => Test::Differs(scalar(op, literal)?),
            Op::Less => Test::Less(scalar(op, literal)?),
            Op::Greater => Test::Greater(scalar(op, literal)?),
            Op::LessOrEqual => Test::LessOrEqual(scalar(op, literal)?),
            Op::GreaterOrEqual => Test::GreaterOrEqual(scalar(op, literal)?),
            Op::Like | Op::ILike => Test::Like(pattern(op, literal)?),
            Op::NotLike | Op::NotILike => Test::NotLike(pattern(op, literal)?),
            Op::In | Op::NotIn => return Outcome::list(op, literal),
        };
        Ok(Outcome::Test(test))
    }

    fn list(op: SimpleOperator, literal: &Literal) -> Result<Outcome, PredicateError> {
        let Literal::Array(members) = literal else {
            return Err(PredicateError::NotAList {
                operator: op.name(),
                found: type_name(literal),
            });
        };
        let mut values = members
            .iter()
            .map(|member| scalar(op, member))
            .collect::<Result<Vec<_>, _>>()?;
        sort_by(&mut values, |a, b| compare(a.as_ref(), b.as_ref()));
        values.dedup_by(|a, b| compare(a.as_ref(), b.as_ref()).is_eq());
        let negated = op == SimpleOperator::NotIn;
        Ok(match values.len() {
            0 => Outcome::Constant(negated),
            1 if negated => Outcome::Test(Test::NotEqual(values.swap_remove(0))),
            1 => Outcome::Test(Test::Equal(values.swap_remove(0))),
            _ if negated => Outcome::Test(Test::NotIn(values)),
            _ => Outcome::Test(Test::In(values)),
        })
    }
}

impl Test {
    fn passes(&self, value: ValueRef<'_>) -> bool {
        match self {
            Test::IsNull => value.is_null(),
            Test::Differs(literal) => compare(value, literal.as_ref()).is_ne(),
            _ if value.is_null() => false,
            Test::IsNotNull => true,
            Test::Equal(literal) => compare(value, literal.as_ref()).is_eq(),
            Test::NotEqual(literal) => compare(value, literal.as_ref()).is_ne(),
            Test::Less(literal) => compare(value, literal.as_ref()).is_lt(),
            Test::Greater(literal) => compare(value, literal.as_ref()).is_gt(),
            Test::LessOrEqual(literal) => compare(value, literal.as_ref()).is_le(),
            Test::GreaterOrEqual(literal) => compare(value, literal.as_ref()).is_ge(),
            Test::In(literals) => among(literals, value),
            Test::NotIn(literals) => !among(literals, value),
            Test::Like(pattern) => like(pattern, value) == Some(true),
            Test::NotLike(pattern) => like(pattern, value) == Some(false),
        }
    }
}

fn among(sorted: &[Value], value: ValueRef<'_>) -> bool {
    sorted
        .binary_search_by(|literal| compare(literal.as_ref(), value))
        .is_ok()
}

fn like(pattern: &LikePattern, value: ValueRef<'_>) -> Option<bool> {
    match value {
        ValueRef::String(text) => Some(pattern.matches(text)),
        _ => None,
    }
}

/// Refuses literals that a column can never hold.
fn check_types(
    table: &TableSchema,
    column: &Column,
    op: SimpleOperator,
    literal: &Literal,
) -> Result<(), PredicateError> {
    let null_test = matches!(op, SimpleOperator::Is | SimpleOperator::IsNot)
        && matches!(literal, Literal::Null);
    if column.ty == ColumnType::Json && !null_test {
        return Err(PredicateError::JsonColumn {
            table: table.name.clone(),
            column: column.name.clone(),
        });
    }
    if op.is_like() && !matches!(column.ty, ColumnType::String | ColumnType::Null) {
        return Err(PredicateError::NotText {
            operator: op.name(),
            found: column.ty.name(),
        });
    }
    let members = match literal {
        Literal::Array(members) if op.takes_a_list() => members.as_slice(),
        // The shape is wrong, which is reported when the operator is compiled.
        Literal::Array(_) | Literal::Json(_) => return Ok(()),
        _ if op.takes_a_list() || op.is_like() => return Ok(()),
        single => std::slice::from_ref(single),
    };
    let foreign = members.iter().find(|member| {
        !matches!(
            (column.ty, member),
            (_, Literal::Null)
                | (ColumnType::String, Literal::String(_))
                | (ColumnType::Number, Literal::Number(_))
                | (ColumnType::Boolean, Literal::Bool(_))
        )
    });
    match foreign {
        None => Ok(()),
        Some(member) => Err(PredicateError::LiteralType {
            table: table.name.clone(),
            column: column.name.clone(),
            expected: column.ty.name(),
            found: type_name(member),
        }),
    }
}

/// A comparison of two literals. Different types are never equal; they have no order.
fn constant(left: &Literal, op: SimpleOperator, right: &Literal) -> Result<bool, PredicateError> {
    let value = match left {
        Literal::Null => Value::Null,
        other => scalar(op, other)?,
    };
    let test = match Outcome::compile(op, right)? {
        Outcome::Constant(result) => return Ok(result),
        Outcome::Test(test) => test,
    };
    let value = value.as_ref();
    match &test {
        _ if value.is_null() => {}
        Test::Less(_) | Test::Greater(_) | Test::LessOrEqual(_) | Test::GreaterOrEqual(_)
            if type_name(left) != type_name(right) =>
        {
            return Err(PredicateError::LiteralTypes {
                left: type_name(left),
                right: type_name(right),
            });
        }
        Test::Like(_) | Test::NotLike(_) if !matches!(value, ValueRef::String(_)) => {
            return Err(PredicateError::NotText {
                operator: op.name(),
                found: type_name(left),
            });
        }
        _ => {}
    }
    Ok(test.passes(value))
}

fn scalar(op: SimpleOperator, literal: &Literal) -> Result<Value, PredicateError> {
    Ok(match literal {
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Number(value) => Value::Number(*value),
        Literal::String(value) => Value::String(value.as_str().into()),
        Literal::Null | Literal::Array(_) | Literal::Json(_) => {
            return Err(PredicateError::NotAScalar {
                operator: op.name(),
                found: type_name(literal),
            });
        }
    })
}

fn pattern(op: SimpleOperator, literal: &Literal) -> Result<LikePattern, PredicateError> {
    let Literal::String(pattern) = literal else {
        return Err(PredicateError::NotText {
            operator: op.name(),
            found: type_name(literal),
        });
    };
    let ignore_case = matches!(op, SimpleOperator::ILike | SimpleOperator::NotILike);
    LikePattern::new(pattern, ignore_case).ok_or(PredicateError::LikePattern)
}

fn unbound(field: &Path) -> PredicateError {
    PredicateError::StaticParameter {
        field: match field {
            Path::Name(name) => name.clone(),
            Path::Names(names) => names.join("."),
        },
    }
}

fn type_name(literal: &Literal) -> &'static str {
    match literal {
        Literal::Null => "null",
        Literal::Bool(_) => "boolean",
        Literal::Number(_) => "number",
        Literal::String(_) => "string",
        Literal::Array(_) => "list",
        Literal::Json(_) => "json",
    }
}

#[cfg(test)]
mod tests;
