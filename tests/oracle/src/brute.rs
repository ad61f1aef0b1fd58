//! The obvious answer: loops over plain records. Shares no code with the engine but the AST as data.

use std::cmp::Ordering;

use landfall_ivm::WITNESSES;
use landfall_zql::ast::{
    Ast, Bound, Condition, CorrelatedSubquery, Correlation, Direction, ExistsOperator, Literal,
    Operand, SimpleOperator as Op, System,
};

use crate::cell::{Cell, Type};
use crate::program::{Data, Record, Table, table};
use crate::tree::{Node, counting, shown};

/// Rows of tables in one state.
#[derive(Clone, Copy)]
pub struct State<'a> {
    /// The tables.
    pub tables: &'a [Table],
    /// Their rows.
    pub data: &'a Data,
}

/// A row with the table that it is of.
#[derive(Clone, Copy)]
struct Parent<'a> {
    table: usize,
    row: &'a Record,
}

/// Occurrences of rows, table by table.
pub type Needed = Vec<(usize, Record)>;

impl<'a> State<'a> {
    /// What a query gives.
    pub fn view(self, ast: &Ast) -> Vec<Node> {
        self.nodes(ast, self.level(ast, None), 1)
    }

    /// Every occurrence of a row that a query shows, and of those that it decides by the first of each parent, but for
    /// permissions. `below` says which are the first.
    pub fn needed(self, ast: &Ast, below: &[Below]) -> Needed {
        let mut needed = Vec::new();
        for row in self.level(ast, None) {
            self.need_row(ast, row, below, &mut needed);
        }
        needed
    }

    fn table(self, name: &str) -> usize {
        table(self.tables, name)
    }

    /// The rows of one level in order, those of one parent if there is one.
    fn level(self, ast: &Ast, parent: Option<(Parent<'_>, &Correlation)>) -> Vec<&'a Record> {
        let of = self.table(&ast.table);
        let mut rows: Vec<&Record> = self.data[of].iter().collect();
        if let Some((parent, correlation)) = parent {
            rows.retain(|row| self.belongs(parent, of, row, correlation));
        }
        rows.retain(|row| self.meets_all(ast, of, row));
        rows.sort_by(|a, b| self.in_order(ast, a, b));
        rows.truncate(ast.limit.map_or(usize::MAX, |limit| limit as usize));
        rows
    }

    fn meets_all(self, ast: &Ast, of: usize, row: &Record) -> bool {
        let condition = ast.condition.as_ref();
        condition.is_none_or(|condition| self.meets(condition, of, row))
            && ast
                .start
                .as_ref()
                .is_none_or(|start| self.is_from(ast, of, start, row))
    }

    fn belongs(
        self,
        parent: Parent<'_>,
        of: usize,
        row: &Record,
        correlation: &Correlation,
    ) -> bool {
        let own = &self.tables[parent.table];
        let pairs = correlation
            .parent_field
            .iter()
            .zip(&correlation.child_field);
        pairs.into_iter().all(|(above, below)| {
            let above = &parent.row[own.column(above)];
            let below = &row[self.tables[of].column(below)];
            !above.is_null() && above == below
        })
    }

    /// The order of a level: the one asked for, then the primary key.
    fn in_order(self, ast: &Ast, a: &[Cell], b: &[Cell]) -> Ordering {
        let of = &self.tables[self.table(&ast.table)];
        for (name, direction) in ast.order_by.iter().flatten() {
            let column = of.column(name);
            let ordering = match direction {
                Direction::Asc => a[column].order(&b[column]),
                Direction::Desc => b[column].order(&a[column]),
            };
            if ordering != Ordering::Equal {
                return ordering;
            }
        }
        for column in &of.key {
            let ordering = a[*column].order(&b[*column]);
            if ordering != Ordering::Equal {
                return ordering;
            }
        }
        Ordering::Equal
    }

    fn is_from(self, ast: &Ast, of: usize, start: &Bound, row: &Record) -> bool {
        let bound: Record = self.tables[of]
            .columns
            .iter()
            .map(|column| match start.row.get(&column.name) {
                // Nothing is ordered by JSON.
                Some(literal) if column.ty != Type::Json => cell(literal),
                _ => Cell::Null,
            })
            .collect();
        match self.in_order(ast, row, &bound) {
            Ordering::Less => false,
            Ordering::Equal => !start.exclusive,
            Ordering::Greater => true,
        }
    }

    fn nodes(self, ast: &Ast, rows: Vec<&Record>, count: usize) -> Vec<Node> {
        let nodes = rows.into_iter().map(|row| self.node(ast, row, count));
        nodes.collect()
    }

    fn node(self, ast: &Ast, row: &Record, count: usize) -> Node {
        let of = self.table(&ast.table);
        let related = ast.related.as_deref().unwrap_or_default();
        let lists =
            counting(related).map(|entry| self.list(Parent { table: of, row }, entry, count));
        Node {
            row: row.clone(),
            count,
            lists: lists.collect(),
        }
    }

    /// The rows of a relationship, once per reference to their parent.
    fn list(self, parent: Parent<'_>, entry: &CorrelatedSubquery, count: usize) -> Vec<Node> {
        let near = self.level(&entry.subquery, Some((parent, &entry.correlation)));
        if entry.hidden != Some(true) {
            return self.nodes(&entry.subquery, near, count);
        }
        let far = shown(entry);
        let found = self.far_rows(entry, &near);
        let nodes = found
            .into_iter()
            .map(|(row, leads)| self.node(far, row, leads * count));
        nodes.collect()
    }

    /// The rows behind the rows of a junction, each once, with the number of junction rows that lead there: in the
    /// far level's order, from its start, up to its limit.
    fn far_rows(self, entry: &CorrelatedSubquery, near: &[&Record]) -> Vec<(&'a Record, usize)> {
        let junction = self.table(&entry.subquery.table);
        let hop = &entry
            .subquery
            .related
            .as_ref()
            .expect("a junction leads on")[0];
        let far = &*hop.subquery;
        let of = self.table(&far.table);
        let mut rows: Vec<(&Record, usize)> = Vec::new();
        for row in &self.data[of] {
            if !self.meets_all(far, of, row) {
                continue;
            }
            let leads = |from: &&&Record| {
                let parent = Parent {
                    table: junction,
                    row: from,
                };
                self.belongs(parent, of, row, &hop.correlation)
            };
            let count = near.iter().filter(leads).count();
            if count > 0 {
                rows.push((row, count));
            }
        }
        rows.sort_by(|(a, _), (b, _)| self.in_order(far, a, b));
        rows.truncate(far.limit.map_or(usize::MAX, |limit| limit as usize));
        rows
    }

    fn meets(self, condition: &Condition, of: usize, row: &Record) -> bool {
        match condition {
            Condition::And { conditions } => {
                conditions.iter().all(|part| self.meets(part, of, row))
            }
            Condition::Or { conditions } => conditions.iter().any(|part| self.meets(part, of, row)),
            Condition::CorrelatedSubquery { related, op, .. } => {
                let unlimited = unlimited(&related.subquery);
                let parent = Parent { table: of, row };
                let exists = related.subquery.limit != Some(0)
                    && !self
                        .level(&unlimited, Some((parent, &related.correlation)))
                        .is_empty();
                exists == (*op == ExistsOperator::Exists)
            }
            Condition::Simple { left, right, op } => {
                let value = match left {
                    Operand::Column { name } => row[self.tables[of].column(name)].clone(),
                    Operand::Literal { value } => cell(value),
                    Operand::Static { .. } => unreachable!("parameters are bound before"),
                };
                let Operand::Literal { value: right } = right else {
                    unreachable!("the right side is a literal")
                };
                compare(*op, &value, right)
            }
        }
    }

    fn need_row(self, ast: &Ast, row: &Record, below: &[Below], needed: &mut Needed) {
        let of = self.table(&ast.table);
        let parent = Parent { table: of, row };
        needed.push((of, row.clone()));
        let mut below = below.iter();
        if let Some(condition) = &ast.condition {
            self.need_condition(condition, parent, &mut below, needed);
        }
        let related = ast.related.as_deref().unwrap_or_default();
        for (entry, below) in counting(related).zip(below) {
            if entry.hidden == Some(true) {
                self.need_junction(entry, parent, &below.below, needed);
                continue;
            }
            for row in self.level(&entry.subquery, Some((parent, &entry.correlation))) {
                self.need_row(&entry.subquery, row, &below.below, needed);
            }
        }
    }

    /// The rows of a junction, and behind each the far row; of a limited far side only what the window shows.
    fn need_junction(
        self,
        entry: &CorrelatedSubquery,
        parent: Parent<'_>,
        below: &[Below],
        needed: &mut Needed,
    ) {
        let junction = self.table(&entry.subquery.table);
        let hop = &entry
            .subquery
            .related
            .as_ref()
            .expect("a junction leads on")[0];
        let far_below = &below.last().expect("a junction leads on").below;
        let near = self.level(&entry.subquery, Some((parent, &entry.correlation)));
        let window = self.far_rows(entry, &near);
        let is_limited = hop.subquery.limit.is_some();
        let unpaired = Ast {
            related: None,
            ..(*entry.subquery).clone()
        };
        for row in near {
            let own = Parent {
                table: junction,
                row,
            };
            let of = self.table(&hop.subquery.table);
            let behind: Vec<_> = window
                .iter()
                .filter(|(far, _)| self.belongs(own, of, far, &hop.correlation))
                .collect();
            if is_limited && behind.is_empty() {
                continue;
            }
            self.need_row(&unpaired, row, below, needed);
            for (far, _) in behind {
                self.need_row(&hop.subquery, far, far_below, needed);
            }
        }
    }

    fn need_condition(
        self,
        condition: &Condition,
        parent: Parent<'_>,
        below: &mut std::slice::Iter<'_, Below>,
        needed: &mut Needed,
    ) {
        match condition {
            Condition::Simple { .. } => {}
            Condition::And { conditions } | Condition::Or { conditions } => {
                for part in conditions {
                    self.need_condition(part, parent, below, needed);
                }
            }
            Condition::CorrelatedSubquery { related, .. } => {
                if related.subquery.limit == Some(0) {
                    return;
                }
                let below = below.next().expect("one for each EXISTS");
                if related.system == Some(System::Permissions) {
                    return;
                }
                let unlimited = unlimited(&related.subquery);
                let mut rows = self.level(&unlimited, Some((parent, &related.correlation)));
                rows.sort_by(|a, b| below.compare(a, b));
                for row in rows.into_iter().take(WITNESSES) {
                    self.need_row(&unlimited, row, &below.below, needed);
                }
            }
        }
    }
}

/// How a query plan goes on below a level in one place: under each `EXISTS` in document order, then under what it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Below {
    /// The order in which the plan reads the rows: of those that meet an `EXISTS` it decides which are the first.
    pub order: Vec<(usize, Direction)>,
    /// What is below them.
    pub below: Vec<Below>,
}

impl Below {
    fn compare(&self, a: &[Cell], b: &[Cell]) -> Ordering {
        let columns = self
            .order
            .iter()
            .map(|(column, direction)| match direction {
                Direction::Asc => a[*column].order(&b[*column]),
                Direction::Desc => b[*column].order(&a[*column]),
            });
        columns.fold(Ordering::Equal, Ordering::then)
    }
}

/// A limit cannot change whether there is a row.
fn unlimited(ast: &Ast) -> Ast {
    Ast {
        limit: None,
        ..ast.clone()
    }
}

/// A scalar literal as a value.
pub fn cell(literal: &Literal) -> Cell {
    match literal {
        Literal::Null => Cell::Null,
        Literal::Bool(value) => Cell::Bool(*value),
        Literal::Number(value) => Cell::Number(*value),
        Literal::String(text) => Cell::Text(text.clone()),
        Literal::Array(_) | Literal::Json(_) => unreachable!("a scalar"),
    }
}

fn compare(op: Op, value: &Cell, right: &Literal) -> bool {
    if let Op::In | Op::NotIn = op {
        let Literal::Array(list) = right else {
            return false;
        };
        if list.is_empty() {
            return op == Op::NotIn;
        }
        return !value.is_null() && list.iter().any(|item| cell(item) == *value) == (op == Op::In);
    }
    let right = cell(right);
    match op {
        Op::Is => return *value == right,
        Op::IsNot => return *value != right,
        _ if value.is_null() || right.is_null() => return false,
        _ => {}
    }
    match op {
        Op::Equal => *value == right,
        Op::NotEqual => *value != right,
        Op::Less => value.order(&right) == Ordering::Less,
        Op::LessOrEqual => value.order(&right) != Ordering::Greater,
        Op::Greater => value.order(&right) == Ordering::Greater,
        Op::GreaterOrEqual => value.order(&right) != Ordering::Less,
        Op::Like => like(value, &right, |c| vec![c]),
        Op::NotLike => !like(value, &right, |c| vec![c]),
        Op::ILike => like(value, &right, lower),
        Op::NotILike => !like(value, &right, lower),
        Op::Is | Op::IsNot | Op::In | Op::NotIn => unreachable!("decided above"),
    }
}

/// A character in lower case; the final sigma is a plain one.
pub fn lower(character: char) -> Vec<char> {
    let lowered = character.to_lowercase();
    lowered.map(|c| if c == 'ς' { 'σ' } else { c }).collect()
}

/// A piece of a pattern.
enum Piece {
    Any,
    One,
    This(char),
}

fn like(value: &Cell, pattern: &Cell, fold: fn(char) -> Vec<char>) -> bool {
    let (Cell::Text(text), Cell::Text(pattern)) = (value, pattern) else {
        unreachable!("patterns are for text")
    };
    let text: Vec<char> = text.chars().flat_map(fold).collect();
    let mut pieces = Vec::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '%' => pieces.push(Piece::Any),
            '_' => pieces.push(Piece::One),
            '\\' => {
                let escaped = characters.next().expect("patterns do not end in an escape");
                pieces.extend(fold(escaped).into_iter().map(Piece::This));
            }
            other => pieces.extend(fold(other).into_iter().map(Piece::This)),
        }
    }
    matches(&text, &pieces)
}

fn matches(text: &[char], pieces: &[Piece]) -> bool {
    match pieces.split_first() {
        None => text.is_empty(),
        Some((Piece::Any, rest)) => (0..=text.len()).any(|at| matches(&text[at..], rest)),
        Some((Piece::One, rest)) => !text.is_empty() && matches(&text[1..], rest),
        Some((Piece::This(wanted), rest)) => {
            text.first() == Some(wanted) && matches(&text[1..], rest)
        }
    }
}
