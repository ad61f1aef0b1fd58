//! The filter of a request as SQL: SQLite leaves rows out before they are unpacked.
//!
//! A filter is a hint, so what SQL would decide differently stays with whoever asked. Nothing here is for an index to
//! use: which one serves a request follows from its constraint and its order alone.

use landfall_ivm::FetchRequest;
use landfall_zql::ColumnType;
use landfall_zql::ast::SimpleOperator as Op;
use landfall_zql::predicate::Shape;
use rusqlite::types::Value as Cell;

use super::{ReplicaTable, quote, to_cell};

/// Values that are handed to SQLite with one request at most.
const MAX_VALUES: usize = 256;

/// What SQL can say of the request's filter beyond its constraint: at least the rows that pass meet it.
pub(super) fn condition(
    table: &ReplicaTable,
    request: &FetchRequest<'_>,
    parameters: &mut Vec<Cell>,
) -> Option<String> {
    let shape = request.filter?.shape();
    let mut parts = match shape {
        Shape::And(parts) => parts,
        single => vec![single],
    };
    let is_constrained = |part: &Shape<'_>| {
        let fixed = |column| request.constraint.iter().any(|(fixed, _)| fixed == column);
        matches!(part, Shape::Test { column, op: Op::Equal, .. } if fixed(column))
    };
    parts.retain(|part| !is_constrained(part));
    let mut filter = Filter {
        table,
        left: MAX_VALUES,
        parameters,
    };
    filter.all(&parts)
}

struct Filter<'a> {
    table: &'a ReplicaTable,
    left: usize,
    parameters: &'a mut Vec<Cell>,
}

impl Filter<'_> {
    /// Those of the parts that SQL can say.
    fn all(&mut self, parts: &[Shape<'_>]) -> Option<String> {
        let said: Vec<String> = parts.iter().filter_map(|part| self.one(part)).collect();
        (!said.is_empty()).then(|| said.join(" AND "))
    }

    fn one(&mut self, shape: &Shape<'_>) -> Option<String> {
        match shape {
            Shape::Constant(false) => Some("0".to_owned()),
            Shape::Constant(true) | Shape::Pattern => None,
            Shape::And(parts) => self.all(parts),
            Shape::Or(parts) => {
                let before = (self.parameters.len(), self.left);
                let said: Option<Vec<String>> = parts.iter().map(|part| self.one(part)).collect();
                if said.is_none() {
                    self.parameters.truncate(before.0);
                    self.left = before.1;
                }
                Some(format!("({})", said?.join(" OR ")))
            }
            Shape::Test { column, op, values } => {
                let operator = operator(*op)?;
                self.left = self.left.checked_sub(values.len())?;
                let column = operand(self.table, *column)?;
                let first = self.parameters.len() + 1;
                self.parameters
                    .extend(values.iter().map(|value| to_cell(value.as_ref())));
                Some(match (op, values) {
                    (Op::In | Op::NotIn, _) => {
                        let places: Vec<String> = (first..first + values.len())
                            .map(|place| format!("?{place}"))
                            .collect();
                        format!("{column} {operator} ({})", places.join(","))
                    }
                    (_, []) => format!("{column} {operator} NULL"),
                    _ => format!("{column} {operator} ?{first}"),
                })
            }
        }
    }
}

/// A column as it is compared, out of reach of every index. The sign also takes its affinity away, so that nothing is
/// converted: a value of another type than the column's makes a row that is left out in any case.
fn operand(table: &ReplicaTable, column: usize) -> Option<String> {
    let column = table.columns.get(column)?;
    let name = quote(&column.name);
    Some(match column.ty {
        ColumnType::String | ColumnType::Json => format!("(+{name} COLLATE BINARY)"),
        _ => format!("+{name}"),
    })
}

fn operator(op: Op) -> Option<&'static str> {
    Some(match op {
        Op::Equal => "=",
        Op::NotEqual => "<>",
        Op::Is => "IS",
        Op::IsNot => "IS NOT",
        Op::Less => "<",
        Op::Greater => ">",
        Op::LessOrEqual => "<=",
        Op::GreaterOrEqual => ">=",
        Op::In => "IN",
        Op::NotIn => "NOT IN",
        _ => return None,
    })
}
