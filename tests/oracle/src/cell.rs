//! Values of rows in plain Rust, with an order and an equality of their own.

use std::cmp::Ordering;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Text.
    Text,
    /// A double.
    Number,
    /// True or false.
    Bool,
    /// JSON: neither ordered nor compared.
    Json,
}

/// A value in a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// NULL.
    Null,
    /// True or false.
    Bool(bool),
    /// A double; never NaN.
    Number(f64),
    /// Text.
    Text(String),
    /// JSON text without white space.
    Json(String),
}

impl Cell {
    /// Whether it is NULL.
    pub fn is_null(&self) -> bool {
        *self == Cell::Null
    }

    /// Its place among values of its type: NULL before all, texts by code points.
    pub fn order(&self, other: &Cell) -> Ordering {
        match (self, other) {
            (Cell::Null, Cell::Null) => Ordering::Equal,
            (Cell::Null, _) => Ordering::Less,
            (_, Cell::Null) => Ordering::Greater,
            (Cell::Bool(a), Cell::Bool(b)) => a.cmp(b),
            (Cell::Number(a), Cell::Number(b)) => {
                if a < b {
                    Ordering::Less
                } else if a > b {
                    Ordering::Greater
                } else {
                    Ordering::Equal
                }
            }
            (Cell::Text(a), Cell::Text(b)) => a.chars().cmp(b.chars()),
            (a, b) => unreachable!("{a:?} and {b:?} are never compared"),
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Cell::Null => serde_json::Value::Null,
            Cell::Bool(value) => (*value).into(),
            Cell::Number(value) if value.fract() == 0.0 && value.abs() < 1e15 => {
                (*value as i64).into()
            }
            Cell::Number(value) => (*value).into(),
            Cell::Text(text) => text.as_str().into(),
            Cell::Json(text) => serde_json::from_str(text).unwrap_or_default(),
        }
    }

    /// From JSON, as a column of this type holds it.
    pub fn from_json(ty: Type, json: &serde_json::Value) -> Option<Cell> {
        use serde_json::Value as Json;
        Some(match (ty, json) {
            (_, Json::Null) => Cell::Null,
            (Type::Bool, Json::Bool(value)) => Cell::Bool(*value),
            (Type::Number, Json::Number(value)) => Cell::Number(value.as_f64()?),
            (Type::Text, Json::String(text)) => Cell::Text(text.clone()),
            (Type::Json, other) => Cell::Json(other.to_string()),
            _ => return None,
        })
    }
}
