//! Decodes queries: structures, unions that a member tells apart, and values of several types.
//!
//! A union is read as one structure with the members of all its variants: nothing has to be kept until the member that
//! decides has come. A new kind of node is a variant, its members among the fields of its union, and one more arm.
//! The wire never has null for "absent", so null is refused.

use super::bounds::Bounds;
use super::{
    Anchor, Ast, Bound, Condition, CorrelatedSubquery, Correlation, Direction, ExistsOperator,
    Literal, MAX_PATTERN, Operand, Path, SimpleOperator, System,
};
use crate::json::{FromJson, JsonError, JsonReader, to_text};
use crate::sorted_map::SortedMap;
use crate::{json_names, json_object, read_through_json};

// What servers read as a part of something else.
read_through_json!(Ast, Condition);

json_object!(Ast closed {
    "table" must table,
    "alias" some alias,
    "where" some condition,
    "related" some related,
    "orderBy" some order_by,
    "limit" some limit,
    "start" some start,
    "schema" some schema,
} then bounded);

fn bounded(ast: &Ast) -> Result<(), &'static str> {
    Bounds::default().check(ast)
}

json_names!(Direction {
    Asc = "asc",
    Desc = "desc",
});

json_object!(Bound closed {
    "row" must row,
    "exclusive" must exclusive,
});

json_object!(CorrelatedSubquery closed {
    "system" some system,
    "correlation" must correlation,
    "hidden" some hidden,
    "subquery" must subquery,
});

json_names!(System {
    Permissions = "permissions",
    Client = "client",
    Test = "test",
});

json_object!(Correlation closed {
    "parentField" must parent_field,
    "childField" must child_field,
} then same_length);

fn same_length(correlation: &Correlation) -> Result<(), &'static str> {
    let parents = correlation.parent_field.len();
    match parents > 0 && parents == correlation.child_field.len() {
        true => Ok(()),
        false => Err("a correlation needs as many parent fields as child fields, and at least one"),
    }
}

#[derive(Default)]
struct ConditionFields {
    r#type: ConditionType,
    left: Option<Operand>,
    right: Option<Operand>,
    op: Option<String>,
    conditions: Option<Vec<Condition>>,
    related: Option<Box<CorrelatedSubquery>>,
    flip: Option<bool>,
    scalar: Option<bool>,
}

json_object!(ConditionFields closed {
    "type" must r#type,
    "left" some left,
    "right" some right,
    "op" some op,
    "conditions" some conditions,
    "related" some related,
    "flip" some flip,
    "scalar" some scalar,
});

#[derive(Clone, Copy, Default)]
enum ConditionType {
    #[default]
    Simple,
    And,
    Or,
    CorrelatedSubquery,
}

json_names!(ConditionType {
    Simple = "simple",
    And = "and",
    Or = "or",
    CorrelatedSubquery = "correlatedSubquery",
});

impl<'de> FromJson<'de> for Condition {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        let fields = ConditionFields::from_json(reader)?;
        fields.condition().map_err(JsonError::refused)
    }
}

const OTHER_MEMBERS: &str = "a condition has not the members of its type";
const UNKNOWN_OPERATOR: &str = "unknown operator";

impl ConditionFields {
    fn condition(self) -> Result<Condition, &'static str> {
        Ok(match self {
            ConditionFields {
                r#type: ConditionType::Simple,
                left: Some(left),
                right: Some(right),
                op: Some(op),
                conditions: None,
                related: None,
                flip: None,
                scalar: None,
            } => {
                let op = SimpleOperator::named(&op).ok_or(UNKNOWN_OPERATOR)?;
                if matches!(right, Operand::Column { .. }) {
                    return Err("a comparison has a column on its right");
                }
                check_operand(&left, op)?;
                check_operand(&right, op)?;
                Condition::Simple { left, right, op }
            }
            ConditionFields {
                r#type: r#type @ (ConditionType::And | ConditionType::Or),
                left: None,
                right: None,
                op: None,
                conditions: Some(conditions),
                related: None,
                flip: None,
                scalar: None,
            } => match r#type {
                ConditionType::And => Condition::And { conditions },
                _ => Condition::Or { conditions },
            },
            ConditionFields {
                r#type: ConditionType::CorrelatedSubquery,
                left: None,
                right: None,
                op: Some(op),
                conditions: None,
                related: Some(related),
                flip,
                scalar,
            } => Condition::CorrelatedSubquery {
                related,
                op: match op.as_str() {
                    "EXISTS" => ExistsOperator::Exists,
                    "NOT EXISTS" => ExistsOperator::NotExists,
                    _ => return Err(UNKNOWN_OPERATOR),
                },
                flip,
                scalar,
            },
            _ => return Err(OTHER_MEMBERS),
        })
    }
}

fn check_operand(operand: &Operand, op: SimpleOperator) -> Result<(), &'static str> {
    match operand {
        Operand::Literal {
            value: Literal::Json(_),
        } => Err("a literal is neither a scalar nor a list of scalars"),
        Operand::Literal {
            value: Literal::String(pattern),
        } if op.is_like() && pattern.len() > MAX_PATTERN => {
            Err("a pattern of more than 8192 bytes")
        }
        _ => Ok(()),
    }
}

impl SimpleOperator {
    /// The operator that the wire calls so.
    pub fn named(name: &str) -> Option<Self> {
        use SimpleOperator as Op;
        [
            Op::Equal,
            Op::NotEqual,
            Op::Is,
            Op::IsNot,
            Op::Less,
            Op::Greater,
            Op::LessOrEqual,
            Op::GreaterOrEqual,
            Op::Like,
            Op::NotLike,
            Op::ILike,
            Op::NotILike,
            Op::In,
            Op::NotIn,
        ]
        .into_iter()
        .find(|op| op.name() == name)
    }
}

#[derive(Default)]
struct OperandFields {
    r#type: OperandType,
    value: Option<Literal>,
    name: Option<String>,
    anchor: Option<Anchor>,
    field: Option<Path>,
}

json_object!(OperandFields closed {
    "type" must r#type,
    "value" some value,
    "name" some name,
    "anchor" some anchor,
    "field" some field,
});

#[derive(Clone, Copy, Default)]
enum OperandType {
    #[default]
    Literal,
    Column,
    Static,
}

json_names!(OperandType {
    Literal = "literal",
    Column = "column",
    Static = "static",
});

json_names!(Anchor {
    AuthData = "authData",
    PreMutationRow = "preMutationRow",
});

impl<'de> FromJson<'de> for Operand {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        let OperandFields {
            r#type,
            value,
            name,
            anchor,
            field,
        } = OperandFields::from_json(reader)?;
        Ok(match (r#type, value, name, anchor, field) {
            (OperandType::Literal, Some(value), None, None, None) => Operand::Literal { value },
            (OperandType::Column, None, Some(name), None, None) => Operand::Column { name },
            (OperandType::Static, None, None, Some(anchor), Some(field)) => {
                Operand::Static { anchor, field }
            }
            _ => {
                return Err(JsonError::refused(
                    "an operand has not the members of its type",
                ));
            }
        })
    }
}

impl<'de> FromJson<'de> for Path {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        match reader.peek() {
            b'[' => FromJson::from_json(reader).map(Path::Names),
            _ => FromJson::from_json(reader).map(Path::Name),
        }
    }
}

impl<'de> FromJson<'de> for Literal {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        Ok(match reader.peek() {
            b'"' => Literal::String(FromJson::from_json(reader)?),
            b't' | b'f' => Literal::Bool(FromJson::from_json(reader)?),
            b'n' => {
                reader.text_of_value()?;
                Literal::Null
            }
            b'[' => {
                let values = FromJson::from_json(reader)?;
                list_literal(values)
            }
            b'{' => json_literal(&SortedMap::<String, Literal>::from_json(reader)?),
            _ => Literal::Number(FromJson::from_json(reader)?),
        })
    }
}

fn list_literal(values: Vec<Literal>) -> Literal {
    let scalar =
        |value: &Literal| !matches!(value, Literal::Null | Literal::Array(_) | Literal::Json(_));
    match values.iter().all(scalar) {
        true => Literal::Array(values),
        false => json_literal(&values),
    }
}

/// JSON text without spaces, members sorted by name.
fn json_literal(value: &impl serde::Serialize) -> Literal {
    Literal::Json(to_text(value))
}
