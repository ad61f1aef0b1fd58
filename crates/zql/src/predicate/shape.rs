//! A compiled condition laid open, for sources that carry it out in a language of their own.

use super::{Node, Predicate, Test};
use crate::ast::SimpleOperator;
use crate::value::Value;

/// A condition over the columns of a row.
#[derive(Clone, Debug)]
pub enum Shape<'a> {
    /// True or false of every row.
    Constant(bool),
    /// A column compared with values: one; all of a list, which are sorted; or none, which stands for NULL.
    /// NULL meets `IS` without values and `IS NOT` with one, and nothing else.
    Test {
        /// The column.
        column: usize,
        /// How it is compared. Never one of the operators for patterns.
        op: SimpleOperator,
        /// With what.
        values: &'a [Value],
    },
    /// A pattern that a column is matched against.
    Pattern,
    /// All of them.
    And(Vec<Shape<'a>>),
    /// One of them at least.
    Or(Vec<Shape<'a>>),
}

impl Predicate {
    /// What the condition consists of.
    pub fn shape(&self) -> Shape<'_> {
        self.0.shape()
    }
}

impl Node {
    fn shape(&self) -> Shape<'_> {
        match self {
            Node::Constant(value) => Shape::Constant(*value),
            Node::And(parts) => Shape::And(parts.iter().map(Node::shape).collect()),
            Node::Or(parts) => Shape::Or(parts.iter().map(Node::shape).collect()),
            Node::Test { column, test } => {
                let Some((op, values)) = test.comparison() else {
                    return Shape::Pattern;
                };
                let column = *column;
                Shape::Test { column, op, values }
            }
        }
    }
}

impl Test {
    fn comparison(&self) -> Option<(SimpleOperator, &[Value])> {
        use SimpleOperator as Op;
        let (op, value) = match self {
            Test::IsNull => return Some((Op::Is, &[])),
            Test::IsNotNull => return Some((Op::IsNot, &[])),
            Test::In(values) => return Some((Op::In, values)),
            Test::NotIn(values) => return Some((Op::NotIn, values)),
            Test::Like(_) | Test::NotLike(_) => return None,
            Test::Equal(value) => (Op::Equal, value),
            Test::NotEqual(value) => (Op::NotEqual, value),
            Test::Differs(value) => (Op::IsNot, value),
            Test::Less(value) => (Op::Less, value),
            Test::Greater(value) => (Op::Greater, value),
            Test::LessOrEqual(value) => (Op::LessOrEqual, value),
            Test::GreaterOrEqual(value) => (Op::GreaterOrEqual, value),
        };
        Some((op, std::slice::from_ref(value)))
    }
}
