//! Makes a small program of one that fails: leaves out what is not needed for the failure, until nothing can be.

use landfall_zql::ast::{Ast, Condition};

use crate::program::Program;

/// The smallest program that was found to fail still, within a number of tries.
pub fn shrink(program: &Program, fails: &mut dyn FnMut(&Program) -> bool) -> Program {
    let mut best = program.clone();
    let mut tries = 4000;
    loop {
        let before = best.clone();
        for candidates in [transactions, queries, rows, changes, columns, tables] {
            let mut at = 0;
            // What follows a candidate that was taken is at its place now.
            while let Some(mut smaller) = candidates(&best, at) {
                smaller.repair();
                tries -= 1;
                if tries == 0 {
                    return best;
                }
                if smaller != best && fails(&smaller) {
                    best = smaller;
                } else {
                    at += 1;
                }
            }
        }
        if best == before {
            return best;
        }
    }
}

/// Without a transaction, the last first.
fn transactions(program: &Program, at: usize) -> Option<Program> {
    let place = program.transactions.len().checked_sub(at + 1)?;
    let mut smaller = program.clone();
    smaller.transactions.remove(place);
    Some(smaller)
}

/// Without one change of a transaction.
fn changes(program: &Program, at: usize) -> Option<Program> {
    let mut left = at;
    for (number, transaction) in program.transactions.iter().enumerate() {
        if left < transaction.len() {
            let mut smaller = program.clone();
            smaller.transactions[number].remove(left);
            return Some(smaller);
        }
        left -= transaction.len();
    }
    None
}

/// Without one row.
fn rows(program: &Program, at: usize) -> Option<Program> {
    let mut left = at;
    for (table, rows) in program.rows.iter().enumerate() {
        if left < rows.len() {
            let mut smaller = program.clone();
            smaller.rows[table].remove(left);
            return Some(smaller);
        }
        left -= rows.len();
    }
    None
}

/// Without a part of the query.
fn queries(program: &Program, at: usize) -> Option<Program> {
    let query = smaller_queries(&program.query).into_iter().nth(at)?;
    Some(Program {
        query,
        ..program.clone()
    })
}

/// Without a column that is neither in a key nor in the query.
fn columns(program: &Program, at: usize) -> Option<Program> {
    let text = program.query.to_json();
    let mut left = at;
    for (place, table) in program.tables.iter().enumerate() {
        for column in 0..table.columns.len() {
            let name = format!("{:?}", table.columns[column].name);
            if table.key.contains(&column) || text.contains(&name) {
                continue;
            }
            if left > 0 {
                left -= 1;
                continue;
            }
            let mut smaller = program.clone();
            let of = &mut smaller.tables[place];
            of.columns.remove(column);
            for key in &mut of.key {
                *key -= usize::from(*key > column);
            }
            for row in &mut smaller.rows[place] {
                row.remove(column);
            }
            for change in smaller.transactions.iter_mut().flatten() {
                if change.table == place {
                    for row in change.old.iter_mut().chain(&mut change.new) {
                        row.remove(column);
                    }
                }
            }
            return Some(smaller);
        }
    }
    None
}

/// Without a table that the query does not use.
fn tables(program: &Program, at: usize) -> Option<Program> {
    let text = program.query.to_json();
    let unused = (0..program.tables.len())
        .filter(|place| !text.contains(&format!("\"table\":{:?}", program.tables[*place].name)));
    let place = unused.into_iter().nth(at)?;
    let mut smaller = program.clone();
    smaller.tables.remove(place);
    smaller.rows.remove(place);
    for transaction in &mut smaller.transactions {
        transaction.retain(|change| change.table != place);
        for change in transaction {
            change.table -= usize::from(change.table > place);
        }
    }
    Some(smaller)
}

fn smaller_queries(ast: &Ast) -> Vec<Ast> {
    let mut found = Vec::new();
    let mut with = |change: &dyn Fn(&mut Ast)| {
        let mut smaller = ast.clone();
        change(&mut smaller);
        found.push(smaller);
    };
    for index in 0..ast.related.as_ref().map_or(0, Vec::len) {
        with(&|ast| {
            if let Some(related) = &mut ast.related {
                related.remove(index);
            }
            ast.related.take_if(|related| related.is_empty());
        });
    }
    if ast.condition.is_some() {
        with(&|ast| ast.condition = None);
    }
    if ast.start.is_some() {
        with(&|ast| ast.start = None);
    }
    if ast.limit.is_some() {
        with(&|ast| ast.limit = None);
    }
    for part in 0..ast.order_by.as_ref().map_or(0, Vec::len) {
        with(&|ast| {
            if let Some(order) = &mut ast.order_by {
                order.remove(part);
            }
            ast.order_by.take_if(|order| order.is_empty());
        });
    }
    if let Some(condition) = &ast.condition {
        for smaller in smaller_conditions(condition) {
            with(&|ast| ast.condition = Some(smaller.clone()));
        }
    }
    for (index, entry) in ast.related.iter().flatten().enumerate() {
        // A junction must keep its far side.
        let is_hidden = entry.hidden == Some(true);
        for smaller in smaller_queries(&entry.subquery) {
            if is_hidden && smaller.related.is_none() {
                continue;
            }
            with(&|ast| {
                if let Some(related) = &mut ast.related {
                    *related[index].subquery = smaller.clone();
                }
            });
        }
    }
    found
}

fn smaller_conditions(condition: &Condition) -> Vec<Condition> {
    match condition {
        Condition::Simple { .. } => Vec::new(),
        Condition::And { conditions } => {
            smaller_lists(conditions, |conditions| Condition::And { conditions })
        }
        Condition::Or { conditions } => {
            smaller_lists(conditions, |conditions| Condition::Or { conditions })
        }
        Condition::CorrelatedSubquery {
            related,
            op,
            flip,
            scalar,
        } => {
            let mut found = Vec::new();
            for (hint, other) in [(flip, scalar), (scalar, flip)] {
                if hint.is_some() {
                    let is_flip = std::ptr::eq(hint, flip);
                    found.push(Condition::CorrelatedSubquery {
                        related: related.clone(),
                        op: *op,
                        flip: if is_flip { None } else { *other },
                        scalar: if is_flip { *other } else { None },
                    });
                }
            }
            if related.system.is_some() {
                let mut plain = related.clone();
                plain.system = None;
                found.push(Condition::CorrelatedSubquery {
                    related: plain,
                    op: *op,
                    flip: *flip,
                    scalar: *scalar,
                });
            }
            for smaller in smaller_queries(&related.subquery) {
                let mut with = related.clone();
                *with.subquery = smaller;
                found.push(Condition::CorrelatedSubquery {
                    related: with,
                    op: *op,
                    flip: *flip,
                    scalar: *scalar,
                });
            }
            found
        }
    }
}

fn smaller_lists(
    conditions: &[Condition],
    group: impl Fn(Vec<Condition>) -> Condition,
) -> Vec<Condition> {
    let mut found = conditions.to_vec();
    for at in 0..conditions.len() {
        let mut fewer = conditions.to_vec();
        fewer.remove(at);
        found.push(group(fewer));
    }
    for (at, part) in conditions.iter().enumerate() {
        for smaller in smaller_conditions(part) {
            let mut with = conditions.to_vec();
            with[at] = smaller;
            found.push(group(with));
        }
    }
    found
}
