//! Decodes what is more than a structure: unions that a member tells apart, and values of several types.
//!
//! A union is read as one structure with the members of all its variants: nothing has to be kept until the member that
//! decides has come. A new kind of node is a variant, its members among the fields of its union, and one more arm.

use super::bounds::Bounds;
use super::{
    Anchor, Ast, Bound, Condition, CorrelatedSubquery, Correlation, Direction, ExistsOperator,
    Literal, MAX_PATTERN, Operand, Path, SimpleOperator,
};
use crate::sorted_map::SortedMap;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use std::fmt;

/// An optional member that is absent or has a value: the wire never has null for "absent".
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AstFields {
    #[serde(default, deserialize_with = "present")]
    schema: Option<String>,
    table: String,
    #[serde(default, deserialize_with = "present")]
    alias: Option<String>,
    #[serde(default, deserialize_with = "present", rename = "where")]
    condition: Option<Condition>,
    #[serde(default, deserialize_with = "present")]
    related: Option<Vec<CorrelatedSubquery>>,
    #[serde(default, deserialize_with = "present")]
    start: Option<Bound>,
    #[serde(default, deserialize_with = "present")]
    limit: Option<u32>,
    #[serde(default, deserialize_with = "present")]
    order_by: Option<Vec<(String, Direction)>>,
}

impl TryFrom<AstFields> for Ast {
    type Error = &'static str;

    fn try_from(fields: AstFields) -> Result<Self, Self::Error> {
        let ast = Ast {
            schema: fields.schema,
            table: fields.table,
            alias: fields.alias,
            condition: fields.condition,
            related: fields.related,
            start: fields.start,
            limit: fields.limit,
            order_by: fields.order_by,
        };
        Bounds::default().check(&ast)?;
        Ok(ast)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ConditionFields {
    r#type: ConditionType,
    #[serde(default, deserialize_with = "present")]
    left: Option<Operand>,
    #[serde(default, deserialize_with = "present")]
    right: Option<Operand>,
    #[serde(default, deserialize_with = "present")]
    op: Option<String>,
    #[serde(default, deserialize_with = "present")]
    conditions: Option<Vec<Condition>>,
    #[serde(default, deserialize_with = "present")]
    related: Option<Box<CorrelatedSubquery>>,
    #[serde(default, deserialize_with = "present")]
    flip: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    scalar: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum ConditionType {
    Simple,
    And,
    Or,
    CorrelatedSubquery,
}

const OTHER_MEMBERS: &str = "a condition has not the members of its type";
const UNKNOWN_OPERATOR: &str = "unknown operator";

impl TryFrom<ConditionFields> for Condition {
    type Error = &'static str;

    fn try_from(fields: ConditionFields) -> Result<Self, Self::Error> {
        Ok(match fields {
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OperandFields {
    r#type: OperandType,
    #[serde(default, deserialize_with = "present")]
    value: Option<Literal>,
    #[serde(default, deserialize_with = "present")]
    name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    anchor: Option<Anchor>,
    #[serde(default, deserialize_with = "present")]
    field: Option<Path>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum OperandType {
    Literal,
    Column,
    Static,
}

impl TryFrom<OperandFields> for Operand {
    type Error = &'static str;

    fn try_from(fields: OperandFields) -> Result<Self, Self::Error> {
        let OperandFields {
            r#type,
            value,
            name,
            anchor,
            field,
        } = fields;
        Ok(match (r#type, value, name, anchor, field) {
            (OperandType::Literal, Some(value), None, None, None) => Operand::Literal { value },
            (OperandType::Column, None, Some(name), None, None) => Operand::Column { name },
            (OperandType::Static, None, None, Some(anchor), Some(field)) => {
                Operand::Static { anchor, field }
            }
            _ => return Err("an operand has not the members of its type"),
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CorrelationFields {
    parent_field: Vec<String>,
    child_field: Vec<String>,
}

impl TryFrom<CorrelationFields> for Correlation {
    type Error = &'static str;

    fn try_from(fields: CorrelationFields) -> Result<Self, Self::Error> {
        let CorrelationFields {
            parent_field,
            child_field,
        } = fields;
        if parent_field.is_empty() || parent_field.len() != child_field.len() {
            return Err(
                "a correlation needs as many parent fields as child fields, and at least one",
            );
        }
        Ok(Correlation {
            parent_field,
            child_field,
        })
    }
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PathVisitor)
    }
}

struct PathVisitor;

impl<'de> Visitor<'de> for PathVisitor {
    type Value = Path;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name or a list of names")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Path, E> {
        Ok(Path::Name(name.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Path, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = list.next_element()? {
            names.push(name);
        }
        Ok(Path::Names(names))
    }
}

impl<'de> Deserialize<'de> for Literal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LiteralVisitor)
    }
}

struct LiteralVisitor;

impl<'de> Visitor<'de> for LiteralVisitor {
    type Value = Literal;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Literal, E> {
        Ok(Literal::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Literal, E> {
        Ok(Literal::Bool(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Literal, E> {
        Ok(Literal::Number(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Literal, E> {
        Ok(Literal::Number(value as f64))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Literal, E> {
        Ok(Literal::Number(value as f64))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Literal, E> {
        Ok(Literal::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Literal, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        let scalar = |value: &Literal| {
            !matches!(value, Literal::Null | Literal::Array(_) | Literal::Json(_))
        };
        match values.iter().all(scalar) {
            true => Ok(Literal::Array(values)),
            false => json_literal(&values),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Literal, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = object.next_entry::<String, Literal>()? {
            members.push(member);
        }
        json_literal(&SortedMap::from_entries(members))
    }
}

/// JSON text without spaces, members sorted by name.
fn json_literal<E: Error>(value: &impl serde::Serialize) -> Result<Literal, E> {
    serde_json::to_string(value)
        .map(Literal::Json)
        .map_err(E::custom)
}
