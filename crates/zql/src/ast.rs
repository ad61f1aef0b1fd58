//! A query as data: the JSON form that client and server exchange. Decoding is strict and bounded in depth.

mod bounds;
mod decode;

use crate::json::{self, JsonError};
use crate::sorted_map::SortedMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use thiserror::Error;

/// A query. Names are the client's until the AST is mapped for the server.
#[derive(Clone, Debug, PartialEq, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct Ast {
    /// Carried through, never read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The table whose rows the query gives.
    pub table: String,
    /// Name of the relationship; needed on every subquery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// What a row must satisfy; all rows when absent.
    #[serde(skip_serializing_if = "Option::is_none", rename = "where")]
    pub condition: Option<Condition>,
    /// Relationships of the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub related: Option<Vec<CorrelatedSubquery>>,
    /// Where in the order the result starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Bound>,
    /// The largest number of rows; per parent in a subquery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The order; the primary key follows implicitly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_by: Option<Vec<(String, Direction)>>,
}

/// A direction of one part of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Smallest first, NULL before all.
    Asc,
    /// Largest first, NULL after all.
    Desc,
}

/// A place in the order of a query.
#[derive(Clone, Debug, PartialEq, Serialize, Default)]
pub struct Bound {
    /// Values of some columns; the others count as NULL.
    pub row: SortedMap<String, Literal>,
    /// Whether a row at this very place is left out.
    pub exclusive: bool,
}

/// What a row must satisfy. An empty `and` is true, an empty `or` is false.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Condition {
    /// A comparison.
    Simple {
        /// What is compared.
        left: Operand,
        /// With what; never a column.
        right: Operand,
        /// How.
        op: SimpleOperator,
    },
    /// True when all conditions are.
    And {
        /// The conditions.
        conditions: Vec<Condition>,
    },
    /// True when one condition is.
    Or {
        /// The conditions.
        conditions: Vec<Condition>,
    },
    /// True when the subquery has a row, or has none.
    CorrelatedSubquery {
        /// The subquery.
        related: Box<CorrelatedSubquery>,
        /// Which of the two.
        op: ExistsOperator,
        /// Hint: evaluate from the subquery's side.
        #[serde(skip_serializing_if = "Option::is_none")]
        flip: Option<bool>,
        /// Hint: the subquery has one row at most.
        #[serde(skip_serializing_if = "Option::is_none")]
        scalar: Option<bool>,
    },
}

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Operand {
    /// A constant.
    Literal {
        /// Its value.
        value: Literal,
    },
    /// A column of the row.
    Column {
        /// Its name.
        name: String,
    },
    /// A parameter that permissions bind before the query runs.
    Static {
        /// Where its value comes from.
        anchor: Anchor,
        /// Which of its members, or a path of members.
        field: Path,
    },
}

/// Where the value of a parameter comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Anchor {
    /// The claims of the user's token.
    AuthData,
    /// The row before a mutation.
    PreMutationRow,
}

/// A member's name, or the names on the way to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Path {
    /// One name.
    Name(String),
    /// Several names, outermost first.
    Names(Vec<String>),
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the wire names say it")]
pub enum SimpleOperator {
    Equal,
    NotEqual,
    Is,
    IsNot,
    Less,
    Greater,
    LessOrEqual,
    GreaterOrEqual,
    Like,
    NotLike,
    ILike,
    NotILike,
    In,
    NotIn,
}

impl SimpleOperator {
    /// The name that the wire uses.
    pub fn name(self) -> &'static str {
        match self {
            SimpleOperator::Equal => "=",
            SimpleOperator::NotEqual => "!=",
            SimpleOperator::Is => "IS",
            SimpleOperator::IsNot => "IS NOT",
            SimpleOperator::Less => "<",
            SimpleOperator::Greater => ">",
            SimpleOperator::LessOrEqual => "<=",
            SimpleOperator::GreaterOrEqual => ">=",
            SimpleOperator::Like => "LIKE",
            SimpleOperator::NotLike => "NOT LIKE",
            SimpleOperator::ILike => "ILIKE",
            SimpleOperator::NotILike => "NOT ILIKE",
            SimpleOperator::In => "IN",
            SimpleOperator::NotIn => "NOT IN",
        }
    }

    /// Whether the right side is a pattern.
    pub fn is_like(self) -> bool {
        use SimpleOperator::{ILike, Like, NotILike, NotLike};
        matches!(self, Like | NotLike | ILike | NotILike)
    }

    /// Whether the right side is a list.
    pub fn takes_a_list(self) -> bool {
        matches!(self, SimpleOperator::In | SimpleOperator::NotIn)
    }
}

impl Serialize for SimpleOperator {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Whether the subquery must have a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum ExistsOperator {
    /// It must.
    #[serde(rename = "EXISTS")]
    Exists,
    /// It must not.
    #[serde(rename = "NOT EXISTS")]
    NotExists,
}

/// A subquery and how its rows belong to the parent's.
#[derive(Clone, Debug, PartialEq, Serialize, Default)]
pub struct CorrelatedSubquery {
    /// Who put it there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<System>,
    /// Which child rows belong to a parent row.
    pub correlation: Correlation,
    /// Set for the first hop through a junction table: its rows are not part of the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<bool>,
    /// The subquery.
    pub subquery: Box<Ast>,
}

/// Who put a subquery into a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum System {
    /// A permission rule: its rows are not sent.
    Permissions,
    /// The app.
    Client,
    /// A test.
    Test,
}

/// Positional equality of columns of a parent and a child row; both lists have the same length, at least one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct Correlation {
    /// Columns of the parent.
    pub parent_field: Vec<String>,
    /// Columns of the child.
    pub child_field: Vec<String>,
}

/// A constant: a scalar, a list of scalars that are not null (for `IN`), or, in a bound only, any JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// NULL.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(f64),
    /// Text.
    String(String),
    /// A list for `IN`.
    Array(Vec<Literal>),
    /// JSON text of an object or of a list that holds more than scalars.
    Json(String),
}

impl Serialize for Literal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Literal::Null => serializer.serialize_unit(),
            Literal::Bool(value) => serializer.serialize_bool(*value),
            Literal::Number(value) => serialize_number(*value, serializer),
            Literal::String(value) => serializer.serialize_str(value),
            Literal::Array(values) => serializer.collect_seq(values),
            Literal::Json(text) => json::read::<&RawValue>(text)
                .map_err(serde::ser::Error::custom)?
                .serialize(serializer),
        }
    }
}

/// The largest magnitude up to which every integer is a double.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Whole numbers without a fraction, as JavaScript writes them.
fn serialize_number<S: Serializer>(value: f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.fract() == 0.0 && value.abs() <= EXACT {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a whole number within 2^53"
        )]
        return serializer.serialize_i64(value as i64);
    }
    serializer.serialize_f64(value)
}

impl From<serde_json::Value> for Literal {
    fn from(value: serde_json::Value) -> Self {
        use serde_json::Value as Json;
        let scalar =
            |value: &Json| matches!(value, Json::Bool(_) | Json::Number(_) | Json::String(_));
        match value {
            Json::Null => Literal::Null,
            Json::Bool(value) => Literal::Bool(value),
            Json::Number(value) => value.as_f64().map_or(Literal::Null, Literal::Number),
            Json::String(value) => Literal::String(value),
            Json::Array(values) if values.iter().all(scalar) => {
                Literal::Array(values.into_iter().map(Literal::from).collect())
            }
            other => Literal::Json(other.to_string()),
        }
    }
}

/// The most comparisons, groups and subqueries in the conditions of a query.
pub const MAX_CONDITIONS: usize = 65_536;
/// The most subqueries of a query, in conditions and as relationships.
pub const MAX_SUBQUERIES: usize = 1_024;
/// The most bytes of a pattern: to match one takes up to its length times that of the text.
pub const MAX_PATTERN: usize = 8_192;

/// Why a JSON text is not a query.
#[derive(Debug, Error)]
#[error("the query is not valid: {0}")]
pub struct AstError(#[from] JsonError);

impl Ast {
    /// Reads a query.
    ///
    /// # Errors
    /// JSON of another shape; nesting deeper than 128 levels; a column on the right of a comparison; an object, or a
    /// list with null or lists, as literal; more than [`MAX_CONDITIONS`], [`MAX_SUBQUERIES`] or [`MAX_PATTERN`] allow.
    pub fn from_json(json: &str) -> Result<Ast, AstError> {
        Ok(json::read(json)?)
    }

    /// The relationships that an answer has, in their order: of two with one name the last one counts.
    pub fn shown_related(&self) -> impl Iterator<Item = &CorrelatedSubquery> {
        let related = self.related.as_deref().unwrap_or_default();
        related.iter().enumerate().filter_map(move |(n, entry)| {
            let same = |later: &CorrelatedSubquery| later.subquery.alias == entry.subquery.alias;
            (!related[n + 1..].iter().any(same)).then_some(entry)
        })
    }

    /// The query as JSON.
    pub fn to_json(&self) -> String {
        json::to_text(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: Result<&str, &str>) {
        match (Ast::from_json(json), expected) {
            (Ok(ast), Ok(text)) => assert_eq!(ast.to_json(), text),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (got, wanted) => panic!("{json}: {got:?}, not {wanted:?}"),
        }
    }

    #[test]
    fn decodes_strictly() {
        let full = r#"{"table":"t","where":{"type":"and","conditions":[{"type":"simple","left":{"type":"column","name":"a"},"right":{"type":"literal","value":[1,"x",true]},"op":"IN"}]},"related":[{"system":"client","correlation":{"parentField":["id"],"childField":["tid"]},"subquery":{"table":"u","alias":"us"}}],"start":{"row":{"a":1.5,"j":{"k":[null]}},"exclusive":true},"limit":3,"orderBy":[["a","desc"]]}"#;
        check(full, Ok(full));
        check(
            r#"{"table":"t","where":{"type":"or","conditions":[]}}"#,
            Ok(r#"{"table":"t","where":{"type":"or","conditions":[]}}"#),
        );
        check(r#"{"table":"t","extra":1}"#, Err("unknown field"));
        check(r#"{"table":"t","limit":null}"#, Err("invalid type: null"));
        check(r#"{"table":"t","limit":-1}"#, Err("invalid value"));
        check(
            r#"{"table":"t","orderBy":[["a","up"]]}"#,
            Err("unknown variant"),
        );
        check(
            r#"{"table":"t","where":{"type":"simple","left":{"type":"column","name":"a"},"right":{"type":"column","name":"b"},"op":"="}}"#,
            Err("on its right"),
        );
        check(
            r#"{"table":"t","where":{"type":"simple","left":{"type":"column","name":"a"},"right":{"type":"literal","value":[null]},"op":"IN"}}"#,
            Err("list of scalars"),
        );
        check(
            r#"{"table":"t","where":{"type":"simple","left":{"type":"column","name":"a","x":1},"right":{"type":"literal","value":1},"op":"="}}"#,
            Err("unknown field"),
        );
        check(
            r#"{"table":"t","related":[{"correlation":{"parentField":[],"childField":[]},"subquery":{"table":"u"}}]}"#,
            Err("correlation"),
        );
    }

    #[test]
    fn size_is_bounded() {
        let simple = |op: &str, value: &str| {
            format!(
                r#"{{"type":"simple","left":{{"type":"column","name":"a"}},"right":{{"type":"literal","value":"{value}"}},"op":"{op}"}}"#
            )
        };
        let of = |condition: &str| format!(r#"{{"table":"t","where":{condition}}}"#);
        let bounded = |json: &str, expected: Option<&str>| match (Ast::from_json(json), expected) {
            (Ok(_), None) => {}
            (Err(error), Some(part)) => assert!(error.to_string().contains(part), "{error}"),
            (got, _) => panic!("{expected:?} {:?}", got.err()),
        };
        let many = |count: usize| {
            let members = vec![r#"{"type":"or","conditions":[]}"#; count].join(",");
            of(&format!(r#"{{"type":"and","conditions":[{members}]}}"#))
        };
        bounded(&many(MAX_CONDITIONS - 1), None);
        bounded(&many(MAX_CONDITIONS), Some("more than 65536 conditions"));
        let related = |count: usize| {
            let one = r#"{"correlation":{"parentField":["a"],"childField":["a"]},"subquery":{"table":"t"}}"#;
            format!(
                r#"{{"table":"t","related":[{}]}}"#,
                vec![one; count].join(",")
            )
        };
        bounded(&related(MAX_SUBQUERIES), None);
        bounded(
            &related(MAX_SUBQUERIES + 1),
            Some("more than 1024 subqueries"),
        );
        let text = "%".repeat(MAX_PATTERN + 1);
        bounded(&of(&simple("LIKE", &text[1..])), None);
        bounded(
            &of(&simple("NOT ILIKE", &text)),
            Some("a pattern of more than 8192 bytes"),
        );
        bounded(&of(&simple("=", &text)), None);
    }

    #[test]
    fn nesting_is_bounded() {
        let mut json = String::new();
        for _ in 0..100_000 {
            json.push_str(r#"{"type":"and","conditions":["#);
        }
        check(
            &format!(r#"{{"table":"t","where":{json}"#),
            Err("recursion limit"),
        );
    }
}
