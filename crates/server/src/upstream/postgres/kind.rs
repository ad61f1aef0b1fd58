//! How a Postgres type is carried: which of the client's types it becomes, and whether it can be synced at all.

use landfall_zql::ColumnType;
use serde::{Deserialize, Serialize};

/// The family of a Postgres type, as far as its text form and meaning go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// `bool`.
    Bool,
    /// `int2`, `int4`, `int8`.
    Integer,
    /// `float4`, `float8`, `numeric`.
    Float,
    /// Texts, enums, and types that are carried by their text form.
    Text,
    /// `json`, `jsonb`.
    Json,
    /// `date`: ms since the epoch.
    Date,
    /// `timestamp`: ms since the epoch, read as UTC.
    Timestamp,
    /// `timestamptz`: ms since the epoch.
    TimestampTz,
    /// `time`: ms since midnight.
    Time,
    /// `timetz`: ms since midnight in UTC.
    TimeTz,
    /// An array: a JSON array of its elements, nested as declared.
    Array(Box<Kind>),
}

/// What the catalogue says of a type.
#[derive(Debug, Clone, Copy)]
pub struct TypeFacts<'a> {
    /// `pg_type.typname`.
    pub name: &'a str,
    /// `pg_type.typtype`: `b` base, `e` enum, `d` domain, …
    pub class: u8,
}

impl Kind {
    /// The kind of a type, or `None` if its columns are not synced.
    /// `element` is given for arrays.
    pub fn of(ty: TypeFacts<'_>, element: Option<TypeFacts<'_>>) -> Option<Kind> {
        if let Some(element) = element {
            // An element of any other type is carried as its text.
            return Some(Kind::Array(Box::new(
                Kind::scalar(element).unwrap_or(Kind::Text),
            )));
        }
        Kind::scalar(ty)
    }

    fn scalar(ty: TypeFacts<'_>) -> Option<Kind> {
        match ty.class {
            b'e' => return Some(Kind::Text),
            b'b' => {}
            _ => return None,
        }
        Some(match ty.name {
            "bool" => Kind::Bool,
            "int2" | "int4" | "int8" => Kind::Integer,
            "float4" | "float8" | "numeric" => Kind::Float,
            "text" | "varchar" | "bpchar" | "char" | "uuid" | "cidr" | "inet" | "macaddr"
            | "macaddr8" | "pg_lsn" | "isbn" | "isbn13" | "issn" | "issn13" | "ismn" | "ismn13"
            | "ean13" | "upc" => Kind::Text,
            "json" | "jsonb" => Kind::Json,
            "date" => Kind::Date,
            "timestamp" => Kind::Timestamp,
            "timestamptz" => Kind::TimestampTz,
            "time" => Kind::Time,
            "timetz" => Kind::TimeTz,
            _ => return None,
        })
    }

    /// Whether it has values that no client can be told (NaN, infinity) and that are NULL in the replica.
    pub fn has_values_beyond_json(&self) -> bool {
        matches!(
            self,
            Kind::Float | Kind::Date | Kind::Timestamp | Kind::TimestampTz
        )
    }

    /// The client's type.
    pub fn column_type(&self) -> ColumnType {
        match self {
            Kind::Bool => ColumnType::Boolean,
            Kind::Integer
            | Kind::Float
            | Kind::Date
            | Kind::Timestamp
            | Kind::TimestampTz
            | Kind::Time
            | Kind::TimeTz => ColumnType::Number,
            Kind::Text => ColumnType::String,
            Kind::Json | Kind::Array(_) => ColumnType::Json,
        }
    }
}
