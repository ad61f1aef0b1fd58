//! The algebra of conditions, as the builder in TypeScript has it: groups are flattened and constants folded while a
//! query is built, and "not" is pushed down to the comparisons, since the AST has none.

use crate::ast::{Condition, ExistsOperator, SimpleOperator};

/// The conjunction of the conditions; true ones are left out.
pub fn and(conditions: impl IntoIterator<Item = Condition>) -> Condition {
    let conditions = conditions.into_iter();
    let mut kept: Vec<_> = conditions.filter(|one| !is_true(one)).collect();
    if kept.len() == 1 {
        return kept.swap_remove(0);
    }
    match kept.iter().position(is_false) {
        Some(at) => kept.swap_remove(at),
        None => Condition::And { conditions: kept },
    }
}

/// The disjunction of the conditions; false ones are left out.
pub fn or(conditions: impl IntoIterator<Item = Condition>) -> Condition {
    let conditions = conditions.into_iter();
    let mut kept: Vec<_> = conditions.filter(|one| !is_false(one)).collect();
    if kept.len() == 1 {
        return kept.swap_remove(0);
    }
    match kept.iter().position(is_true) {
        Some(at) => kept.swap_remove(at),
        None => Condition::Or { conditions: kept },
    }
}

/// The opposite of a condition. A comparison with NULL stays false.
pub fn not(condition: Condition) -> Condition {
    let all = |conditions: Vec<Condition>| conditions.into_iter().map(not).collect();
    match condition {
        Condition::Simple { left, right, op } => Condition::Simple {
            left,
            right,
            op: opposite(op),
        },
        Condition::And { conditions } => Condition::Or {
            conditions: all(conditions),
        },
        Condition::Or { conditions } => Condition::And {
            conditions: all(conditions),
        },
        Condition::CorrelatedSubquery {
            related,
            op,
            flip,
            scalar,
        } => Condition::CorrelatedSubquery {
            related,
            op: match op {
                ExistsOperator::Exists => ExistsOperator::NotExists,
                ExistsOperator::NotExists => ExistsOperator::Exists,
            },
            flip,
            scalar,
        },
    }
}

/// The same condition without groups in groups of their own kind, groups of one, and constants in groups.
pub fn simplify(condition: Condition) -> Condition {
    match condition {
        Condition::And { conditions } => match single(conditions) {
            Ok(only) => simplify(only),
            Err(conditions) => and(flat(conditions, |one| match one {
                Condition::And { conditions } => Ok(conditions),
                other => Err(other),
            })),
        },
        Condition::Or { conditions } => match single(conditions) {
            Ok(only) => simplify(only),
            Err(conditions) => or(flat(conditions, |one| match one {
                Condition::Or { conditions } => Ok(conditions),
                other => Err(other),
            })),
        },
        leaf => leaf,
    }
}

fn single(mut conditions: Vec<Condition>) -> Result<Condition, Vec<Condition>> {
    match conditions.len() {
        1 => Ok(conditions.swap_remove(0)),
        _ => Err(conditions),
    }
}

fn flat(
    conditions: Vec<Condition>,
    members: fn(Condition) -> Result<Vec<Condition>, Condition>,
) -> Vec<Condition> {
    let mut flat = Vec::with_capacity(conditions.len());
    for condition in conditions {
        match members(simplify(condition)) {
            Ok(inner) => flat.extend(inner),
            Err(other) => flat.push(other),
        }
    }
    flat
}

fn opposite(op: SimpleOperator) -> SimpleOperator {
    use SimpleOperator as Op;
    match op {
        Op::Equal => Op::NotEqual,
        Op::NotEqual => Op::Equal,
        Op::Is => Op::IsNot,
        Op::IsNot => Op::Is,
        Op::Less => Op::GreaterOrEqual,
        Op::GreaterOrEqual => Op::Less,
        Op::Greater => Op::LessOrEqual,
        Op::LessOrEqual => Op::Greater,
        Op::Like => Op::NotLike,
        Op::NotLike => Op::Like,
        Op::ILike => Op::NotILike,
        Op::NotILike => Op::ILike,
        Op::In => Op::NotIn,
        Op::NotIn => Op::In,
    }
}

fn is_true(condition: &Condition) -> bool {
    matches!(condition, Condition::And { conditions } if conditions.is_empty())
}

fn is_false(condition: &Condition) -> bool {
    matches!(condition, Condition::Or { conditions } if conditions.is_empty())
}
