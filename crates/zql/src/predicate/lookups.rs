//! Which values of columns a condition asks for: what an index can find without reading the rest of the table.

use super::{Node, Predicate, Test};
use crate::value::{Value, join_eq};

/// Columns that must equal these values: sorted by column, each at most once, never NULL.
pub type Lookup = Vec<(usize, Value)>;

/// The longest list that is looked up member by member where one look-up finds the rows as well.
const SHORT: usize = 8;

impl Predicate {
    /// Look-ups that together find every matching row, and others perhaps; `None` when only a scan finds them all.
    /// Two of them may find the same row.
    pub fn lookups(&self) -> Option<Vec<Lookup>> {
        self.0.lookups()
    }
}

impl Node {
    fn lookups(&self) -> Option<Vec<Lookup>> {
        match self {
            Node::Constant(true) => None,
            Node::Constant(false) => Some(Vec::new()),
            Node::Test { column, test } => {
                let values = match test {
                    Test::Equal(value) => std::slice::from_ref(value),
                    Test::In(values) => values,
                    _ => return None,
                };
                Some(values.iter().map(|v| vec![(*column, v.clone())]).collect())
            }
            Node::Or(parts) => {
                let mut all = Vec::new();
                for part in parts {
                    all.append(&mut part.lookups()?);
                }
                Some(all)
            }
            Node::And(parts) => {
                let equal = parts.iter().filter_map(|part| match part {
                    Node::Test {
                        column,
                        test: Test::Equal(value),
                    } => Some((*column, value)),
                    _ => None,
                });
                let has_equal = equal.clone().next().is_some();
                let is_equal = |part: &&Node| {
                    matches!(
                        part,
                        Node::Test {
                            test: Test::Equal(_),
                            ..
                        }
                    )
                };
                let others = parts.iter().filter(|part| !is_equal(part));
                // With equalities beside it a list is worth its look-ups if it is short.
                let mut found = others
                    .filter_map(Node::lookups)
                    .filter(|lookups| !has_equal || lookups.len() <= SHORT)
                    .min_by_key(Vec::len)
                    .or_else(|| has_equal.then(|| vec![Lookup::new()]))?;
                for (column, value) in equal {
                    found.retain_mut(|lookup| narrow(lookup, column, value));
                }
                Some(found)
            }
        }
    }
}

/// Adds an equality; gives whether both can hold.
fn narrow(lookup: &mut Lookup, column: usize, value: &Value) -> bool {
    match lookup.binary_search_by_key(&column, |(column, _)| *column) {
        Ok(at) => join_eq(lookup[at].1.as_ref(), value.as_ref()),
        Err(at) => {
            lookup.insert(at, (column, value.clone()));
            true
        }
    }
}
