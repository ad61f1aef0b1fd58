//! Values that queries compare with.

use super::error::QueryError;
use crate::ast::{Anchor, Literal, Operand, Path, SimpleOperator};

/// A value that a query compares with, checked when the comparison is made.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    /// NULL: only `IS` and `IS NOT` find it.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number, which must be finite.
    Number(f64),
    /// Text.
    String(String),
    /// A list for `IN` and `NOT IN`; its members are neither NULL nor lists.
    List(Vec<Argument>),
    /// A value that permissions bind before the query runs.
    Parameter(Parameter),
}

/// A value that permissions bind before the query runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    anchor: Anchor,
    field: Path,
}

impl Parameter {
    /// A claim of the user's token.
    pub fn claim(name: &str) -> Parameter {
        Parameter::new(Anchor::AuthData, Path::Name(name.to_owned()))
    }

    /// A member of a claim of the user's token: the names on the way to it.
    pub fn claim_at<'a>(path: impl IntoIterator<Item = &'a str>) -> Parameter {
        let names = path.into_iter().map(str::to_owned).collect();
        Parameter::new(Anchor::AuthData, Path::Names(names))
    }

    /// A parameter as the AST has it.
    pub fn new(anchor: Anchor, field: Path) -> Parameter {
        Parameter { anchor, field }
    }
}

impl Argument {
    /// As the side of a comparison by `op`.
    pub(super) fn operand(self, op: SimpleOperator) -> Result<Operand, QueryError> {
        let value = match self {
            Argument::Parameter(Parameter { anchor, field }) => {
                return Ok(Operand::Static { anchor, field });
            }
            Argument::Null => Literal::Null,
            Argument::List(members) => {
                let members = members.into_iter().map(Argument::scalar);
                Literal::Array(members.collect::<Result<_, _>>()?)
            }
            other if op.takes_a_list() => {
                return Err(QueryError::ListNeeded {
                    operator: op.name(),
                    found: other.type_name(),
                });
            }
            other => other.scalar()?,
        };
        Ok(Operand::Literal { value })
    }

    fn scalar(self) -> Result<Literal, QueryError> {
        let found = match self {
            Argument::Bool(value) => return Ok(Literal::Bool(value)),
            Argument::String(value) => return Ok(Literal::String(value)),
            Argument::Number(value) if value.is_finite() => return Ok(Literal::Number(value)),
            Argument::Number(value) if value.is_nan() => "NaN",
            Argument::Number(value) if value > 0.0 => "Infinity",
            Argument::Number(_) => "-Infinity",
            Argument::Null => "null",
            Argument::List(_) | Argument::Parameter(_) => "object",
        };
        Err(QueryError::NotComparable { found })
    }

    fn type_name(&self) -> &'static str {
        match self {
            Argument::Bool(_) => "boolean",
            Argument::Number(_) => "number",
            Argument::String(_) => "string",
            Argument::Null | Argument::List(_) | Argument::Parameter(_) => "object",
        }
    }
}

impl From<bool> for Argument {
    fn from(value: bool) -> Argument {
        Argument::Bool(value)
    }
}

impl From<&str> for Argument {
    fn from(value: &str) -> Argument {
        Argument::String(value.to_owned())
    }
}

impl From<&String> for Argument {
    fn from(value: &String) -> Argument {
        Argument::String(value.clone())
    }
}

impl From<String> for Argument {
    fn from(value: String) -> Argument {
        Argument::String(value)
    }
}

impl From<Parameter> for Argument {
    fn from(value: Parameter) -> Argument {
        Argument::Parameter(value)
    }
}

impl<T: Into<Argument>> From<Option<T>> for Argument {
    fn from(value: Option<T>) -> Argument {
        value.map_or(Argument::Null, Into::into)
    }
}

impl<T: Into<Argument>> From<Vec<T>> for Argument {
    fn from(values: Vec<T>) -> Argument {
        Argument::List(values.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Argument>, const N: usize> From<[T; N]> for Argument {
    fn from(values: [T; N]) -> Argument {
        Argument::List(values.into_iter().map(Into::into).collect())
    }
}

/// Numbers of the language are IEEE doubles: an integer beyond 2⁵³ becomes the nearest one.
macro_rules! number {
    ($($ty:ty),+) => {
        $(
            impl From<$ty> for Argument {
                fn from(value: $ty) -> Argument {
                    Argument::Number(value as f64)
                }
            }

            impl super::typed::Scalar<f64> for $ty {}
            impl super::typed::Value<f64> for $ty {}
        )+
    };
}

number!(f64, f32, i8, i16, i32, i64, u8, u16, u32, u64, usize);
