//! Values of the query language: borrowed from a packed row, or owned.

use std::cmp::Ordering;
use std::fmt::Write as _;

/// A value inside a row, or a literal. `Json` is JSON text without insignificant white space.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// SQL NULL; absent and `undefined` are the same.
    Null,
    /// A boolean.
    Bool(bool),
    /// An IEEE double; never NaN or infinite when it came from JSON.
    Number(f64),
    /// Text.
    String(&'a str),
    /// JSON text.
    Json(&'a str),
}

/// An owned value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// A boolean.
    Bool(bool),
    /// An IEEE double.
    Number(f64),
    /// Text.
    String(Box<str>),
    /// JSON text.
    Json(Box<str>),
}

impl Value {
    /// The same value, borrowed.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Value::Null => ValueRef::Null,
            Value::Bool(value) => ValueRef::Bool(*value),
            Value::Number(value) => ValueRef::Number(*value),
            Value::String(value) => ValueRef::String(value),
            Value::Json(value) => ValueRef::Json(value),
        }
    }
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Value::Null,
            ValueRef::Bool(value) => Value::Bool(value),
            ValueRef::Number(value) => Value::Number(value),
            ValueRef::String(value) => Value::String(value.into()),
            ValueRef::Json(value) => Value::Json(value.into()),
        }
    }
}

impl ValueRef<'_> {
    /// Whether this is NULL.
    pub fn is_null(self) -> bool {
        self == ValueRef::Null
    }

    fn rank(self) -> u8 {
        match self {
            ValueRef::Null => 0,
            ValueRef::Bool(_) => 1,
            ValueRef::Number(_) => 2,
            ValueRef::String(_) => 3,
            ValueRef::Json(_) => 4,
        }
    }
}

/// Total order: NULL, booleans, numbers, strings by UTF-8 bytes, JSON by its text. `0` equals `-0`.
pub fn compare(a: ValueRef<'_>, b: ValueRef<'_>) -> Ordering {
    match (a, b) {
        (ValueRef::Bool(a), ValueRef::Bool(b)) => a.cmp(&b),
        (ValueRef::Number(a), ValueRef::Number(b)) => (a + 0.0).total_cmp(&(b + 0.0)),
        (ValueRef::String(a), ValueRef::String(b)) | (ValueRef::Json(a), ValueRef::Json(b)) => {
            a.as_bytes().cmp(b.as_bytes())
        }
        _ => a.rank().cmp(&b.rank()),
    }
}

/// Equality of join keys: NULL equals nothing, itself included.
pub fn join_eq(a: ValueRef<'_>, b: ValueRef<'_>) -> bool {
    !a.is_null() && compare(a, b) == Ordering::Equal
}

/// Writes a value as JSON. Numbers have the shortest form that JavaScript gives them; NaN and infinities become null.
pub fn write_json(value: ValueRef<'_>, out: &mut String) {
    match value {
        ValueRef::Null => out.push_str("null"),
        ValueRef::Bool(true) => out.push_str("true"),
        ValueRef::Bool(false) => out.push_str("false"),
        ValueRef::Number(number) => write_number(number, out),
        ValueRef::String(text) => write_string(text, out),
        ValueRef::Json(text) => out.push_str(text),
    }
}

fn write_number(number: f64, out: &mut String) {
    let size = number.abs();
    // Writing to a String cannot fail.
    let _ = if !number.is_finite() {
        out.write_str("null")
    } else if size == 0.0 {
        out.write_str("0")
    } else if size >= 1e21 {
        let text = format!("{number:e}");
        out.write_str(&text.replacen('e', "e+", 1))
    } else if size < 1e-6 {
        write!(out, "{number:e}")
    } else {
        write!(out, "{number}")
    };
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x08 => "\\b",
            0x0c => "\\f",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[plain..at]);
        if escape.is_empty() {
            let _ = write!(out, "\\u{byte:04x}");
        } else {
            out.push_str(escape);
        }
        plain = at + 1;
    }
    out.push_str(&text[plain..]);
    out.push('"');
}
