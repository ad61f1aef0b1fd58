//! Random transactions. Half of the changes go where windows end, where rows tie, and where one row has several parents.

use landfall_zql::ast::{Ast, Condition, CorrelatedSubquery, Operand};

use super::World;
use crate::brute::State;
use crate::cell::Cell;
use crate::program::{Change, Data, Record, apply, table};
use crate::random::Random;
use crate::tree::{Node, counting, shown};

pub(super) fn random(
    random: &mut Random,
    world: &World,
    rows: &Data,
    query: &Ast,
) -> Vec<Vec<Change>> {
    let mut writer = Writer {
        world,
        data: rows.clone(),
        touched: None,
        edges: Vec::new(),
        gone: Vec::new(),
        tables: vec![table(&world.tables, &query.table)],
        hot: world.tables.iter().map(|_| Vec::new()).collect(),
        wider: widened(query),
        query,
        transaction: Vec::new(),
    };
    writer.uses(query);
    let transactions = 2 + random.below(7);
    let mut all = Vec::new();
    for _ in 0..transactions {
        let moves = *random.pick(&[1, 1, 1, 2, 2, 3, 5]);
        for _ in 0..moves {
            writer.one_move(random);
        }
        all.push(std::mem::take(&mut writer.transaction));
    }
    all
}

/// Equality of columns of two tables.
struct Link {
    parent: (usize, Vec<usize>),
    child: (usize, Vec<usize>),
}

struct Writer<'a> {
    world: &'a World,
    data: Data,
    /// The row that was written last.
    touched: Option<(usize, Record)>,
    /// Correlations of the query.
    edges: Vec<Link>,
    /// Rows that were taken away because they have many parents: they come back.
    gone: Vec<(usize, Record)>,
    /// Tables of the query, once per use.
    tables: Vec<usize>,
    /// The columns of each table that the query orders, joins or filters by, once per use.
    hot: Vec<Vec<usize>>,
    query: &'a Ast,
    /// The query with every limit one larger: its last rows lie just outside.
    wider: Ast,
    transaction: Vec<Change>,
}

impl Writer<'_> {
    fn uses(&mut self, ast: &Ast) {
        let parent = table(&self.world.tables, &ast.table);
        let mut entries = Vec::new();
        let of = &self.world.tables[parent];
        let ordered = ast.order_by.iter().flatten();
        let ordered = ordered.map(|(name, _)| of.column(name));
        self.hot[parent].extend(ordered);
        if let Some(condition) = &ast.condition {
            let mut names = Vec::new();
            subqueries(condition, &mut entries, &mut names);
            let columns = names.into_iter().map(|name| of.column(name));
            self.hot[parent].extend(columns);
        }
        entries.extend(ast.related.iter().flatten());
        for entry in entries {
            let child = table(&self.world.tables, &entry.subquery.table);
            let columns = |of: usize, names: &[String]| -> Vec<usize> {
                let names = names.iter();
                names
                    .map(|name| self.world.tables[of].column(name))
                    .collect()
            };
            let link = Link {
                parent: (parent, columns(parent, &entry.correlation.parent_field)),
                child: (child, columns(child, &entry.correlation.child_field)),
            };
            self.hot[parent].extend(&link.parent.1);
            self.hot[child].extend(&link.child.1);
            self.edges.push(link);
            self.tables.push(child);
            self.uses(&entry.subquery);
        }
    }

    fn one_move(&mut self, random: &mut Random) {
        match random.below(100) {
            0..18 => self.add(random),
            18..32 => {
                if let Some((table, row)) = self.row(random) {
                    self.put(table, Some(row), None);
                }
            }
            32..60 => self.edit(random),
            60..70 => self.follow_edge(random),
            70..78 => self.swap(random),
            78..82 => self.cascade(random),
            82..88 => self.toggle(random),
            88..94 => self.tie(random),
            _ => self.change_key(random),
        }
    }

    fn some_table(&self, random: &mut Random) -> usize {
        if random.chance(90) {
            *random.pick(&self.tables)
        } else {
            random.below(self.world.tables.len())
        }
    }

    /// A row that is there: at the end of a window, the last one written, or any.
    fn row(&self, random: &mut Random) -> Option<(usize, Record)> {
        match random.below(10) {
            0..4 => {
                let state = State {
                    tables: &self.world.tables,
                    data: &self.data,
                };
                let ast = if random.chance(50) {
                    self.query
                } else {
                    &self.wider
                };
                let mut ends = Vec::new();
                self.ends(ast, &state.view(ast), &mut ends);
                if !ends.is_empty() {
                    return Some(random.pick(&ends).clone());
                }
            }
            4 | 5 => {
                if let Some((table, row)) = &self.touched
                    && self.world.is_taken(&self.data, *table, row)
                {
                    return Some((*table, row.clone()));
                }
            }
            _ => {}
        }
        let table = self.some_table(random);
        let rows = &self.data[table];
        (!rows.is_empty()).then(|| (table, random.pick(rows).clone()))
    }

    /// First and last rows of all lists.
    fn ends(&self, ast: &Ast, list: &[Node], ends: &mut Vec<(usize, Record)>) {
        let of = table(&self.world.tables, &ast.table);
        for node in list.first().into_iter().chain(list.last()) {
            ends.push((of, node.row.clone()));
        }
        for node in list {
            let related = ast.related.as_deref().unwrap_or_default();
            for (entry, list) in counting(related).zip(&node.lists) {
                self.ends(shown(entry), list, ends);
            }
        }
    }

    fn put(&mut self, table: usize, old: Option<Record>, new: Option<Record>) {
        let of = &self.world.tables[table];
        if let Some(new) = &new {
            let keeps_key = old.as_ref().is_some_and(|old| of.same_key(old, new));
            if !keeps_key && self.world.is_taken(&self.data, table, new) {
                return;
            }
        }
        let change = Change { table, old, new };
        if let Some(row) = change.new.clone().or_else(|| change.old.clone()) {
            self.touched = Some((table, row));
        }
        apply(&self.world.tables, &mut self.data, &change);
        self.transaction.push(change);
    }

    fn add(&mut self, random: &mut Random) {
        let table = self.some_table(random);
        let mut record = self.world.record(random, table);
        // A neighbour of a row that is there, more often than a stranger.
        if let Some(other) = self.other(random, table)
            && random.chance(50)
        {
            let key = &self.world.tables[table].key;
            for (column, value) in other.into_iter().enumerate() {
                if !key.contains(&column) && random.chance(60) {
                    record[column] = value;
                }
            }
        }
        self.put(table, None, Some(record));
    }

    fn other(&self, random: &mut Random, table: usize) -> Option<Record> {
        let rows = &self.data[table];
        (!rows.is_empty()).then(|| random.pick(rows).clone())
    }

    fn edit(&mut self, random: &mut Random) {
        let Some((table, old)) = self.row(random) else {
            return;
        };
        let mut new = old.clone();
        for _ in 0..*random.pick(&[1, 1, 1, 2, 3]) {
            let column = self.column(random, table);
            new[column] = self.world.cell(random, table, column);
        }
        self.put(table, Some(old), Some(new));
    }

    /// A column outside of the key, more often one that matters to the query.
    fn column(&self, random: &mut Random, table: usize) -> usize {
        let of = &self.world.tables[table];
        let is_free = |at: &usize| !of.key.contains(at);
        let hot: Vec<usize> = self.hot[table].iter().copied().filter(is_free).collect();
        if !hot.is_empty() && random.chance(65) {
            return *random.pick(&hot);
        }
        let free: Vec<usize> = (0..of.columns.len()).filter(is_free).collect();
        *random.pick(&free)
    }

    /// Gives a row the key of a parent, or a parent the key of a child; or cuts it off.
    fn follow_edge(&mut self, random: &mut Random) {
        if self.edges.is_empty() {
            return self.edit(random);
        }
        let link = random.pick(&self.edges);
        let ((from, from_columns), (to, to_columns)) = if random.chance(50) {
            (&link.parent, &link.child)
        } else {
            (&link.child, &link.parent)
        };
        let (from, to) = (*from, *to);
        let (Some(source), Some(old)) = (self.other(random, from), self.other(random, to)) else {
            return;
        };
        let mut new = old.clone();
        let cut = random.chance(20);
        for (a, b) in from_columns.iter().zip(to_columns) {
            let column = &self.world.tables[to].columns[*b];
            if cut && column.optional {
                new[*b] = Cell::Null;
            } else if column.optional || !source[*a].is_null() {
                new[*b] = source[*a].clone();
            }
        }
        self.put(to, Some(old), Some(new));
    }

    /// Two rows exchange a value, or their keys.
    fn swap(&mut self, random: &mut Random) {
        let Some((table, first)) = self.row(random) else {
            return;
        };
        let Some(second) = self.other(random, table) else {
            return;
        };
        let of = &self.world.tables[table];
        if of.same_key(&first, &second) {
            return;
        }
        if random.chance(30) {
            let (mut a, mut b) = (first.clone(), second.clone());
            for column in &of.key {
                std::mem::swap(&mut a[*column], &mut b[*column]);
            }
            self.put(table, Some(first), None);
            self.put(table, Some(second), Some(a));
            self.put(table, None, Some(b));
            return;
        }
        let column = self.column(random, table);
        let (mut a, mut b) = (first.clone(), second.clone());
        std::mem::swap(&mut a[column], &mut b[column]);
        self.put(table, Some(first), Some(a));
        self.put(table, Some(second), Some(b));
    }

    /// The row with the most parents leaves, alone; or comes back.
    fn toggle(&mut self, random: &mut Random) {
        if random.chance(50)
            && let Some((table, row)) = self.gone.pop()
        {
            return self.put(table, None, Some(row));
        }
        if self.edges.is_empty() {
            return;
        }
        let link = random.pick(&self.edges);
        let ((parent, above), (child, below)) = (&link.parent, &link.child);
        let parents = |row: &Record| {
            let is_parent = |other: &&Record| {
                let mut pairs = above.iter().zip(below);
                pairs.all(|(a, b)| !row[*b].is_null() && other[*a] == row[*b])
            };
            self.data[*parent].iter().filter(is_parent).count()
        };
        let child = *child;
        if let Some(row) = self.data[child].iter().max_by_key(|row| parents(row)) {
            let row = row.clone();
            self.gone.push((child, row.clone()));
            self.put(child, Some(row), None);
        }
    }

    /// A row leaves with the rows that refer to it, in either order; or comes with one.
    fn cascade(&mut self, random: &mut Random) {
        if self.edges.is_empty() {
            return;
        }
        let link = random.pick(&self.edges);
        let (parent, child) = (link.parent.0, link.child.0);
        let columns = (link.parent.1.clone(), link.child.1.clone());
        let Some(row) = self.other(random, parent) else {
            return;
        };
        let children: Vec<Record> = self.data[child]
            .iter()
            .filter(|other| {
                let mut pairs = columns.0.iter().zip(&columns.1);
                pairs.all(|(a, b)| !row[*a].is_null() && row[*a] == other[*b])
            })
            .cloned()
            .collect();
        let parent_first = random.chance(50);
        if parent_first {
            self.put(parent, Some(row.clone()), None);
        }
        for other in children {
            if self.world.is_taken(&self.data, child, &other) {
                self.put(child, Some(other), None);
            }
        }
        if !parent_first && self.world.is_taken(&self.data, parent, &row) {
            self.put(parent, Some(row), None);
        }
    }

    /// A row gets another row's value in one column: equal sort keys, equal join keys.
    fn tie(&mut self, random: &mut Random) {
        let Some((table, old)) = self.row(random) else {
            return;
        };
        let Some(other) = self.other(random, table) else {
            return;
        };
        let column = self.column(random, table);
        let mut new = old.clone();
        new[column] = other[column].clone();
        self.put(table, Some(old), Some(new));
    }

    fn change_key(&mut self, random: &mut Random) {
        let Some((table, old)) = self.row(random) else {
            return;
        };
        let of = &self.world.tables[table];
        let mut new = old.clone();
        let column = *random.pick(&of.key);
        new[column] = self.world.value(random, table, column);
        if random.chance(30) {
            let column = random.below(of.columns.len());
            new[column] = self.world.cell(random, table, column);
        }
        self.put(table, Some(old), Some(new));
    }
}

/// The subqueries of a condition, and the columns that it compares.
fn subqueries<'a>(
    condition: &'a Condition,
    found: &mut Vec<&'a CorrelatedSubquery>,
    names: &mut Vec<&'a str>,
) {
    match condition {
        Condition::Simple { left, .. } => {
            if let Operand::Column { name } = left {
                names.push(name);
            }
        }
        Condition::And { conditions } | Condition::Or { conditions } => {
            for part in conditions {
                subqueries(part, found, names);
            }
        }
        Condition::CorrelatedSubquery { related, .. } => found.push(related),
    }
}

fn widened(ast: &Ast) -> Ast {
    let mut wider = ast.clone();
    wider.limit = ast.limit.map(|limit| limit + 1);
    for entry in wider.related.iter_mut().flatten() {
        *entry.subquery = widened(&entry.subquery);
    }
    wider
}
