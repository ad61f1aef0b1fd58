//! Random data, queries and transactions against a second, obvious implementation.
//!
//! Four properties, after every transaction:
//! - the view equals the query evaluated from scratch by loops over plain rows: sees wrong operators;
//! - the deltas, applied to the tree before, give the tree after: sees wrong positions;
//! - work in slices of any size gives the deltas that work without a stop gives: sees what is lost at a stop;
//! - rows entered minus rows left equals a fresh hydration: sees what a server would send too little or too much.

#![allow(
    clippy::unwrap_used,
    reason = "a test stops where its data is not what it made"
)]

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use landfall_ivm::{
    Branch, Change, Choice, Entry, LiveQuery, MemorySource, Output, Pipeline, Progress, Reader,
    RowDelta, Source, SourceChange, SourceError, Steps, ViewDelta, evaluate,
};
use landfall_zql::ast::{
    Ast, Bound, Condition, CorrelatedSubquery, Correlation, Direction, ExistsOperator, Literal,
    Operand, SimpleOperator,
};
use landfall_zql::{Row, Schema, TableId, ValueRef, compare};

const SCHEMA: &str = r#"{"tables":{
  "p":{"columns":{"id":{"type":"string"},"g":{"type":"string","optional":true},"r":{"type":"number"},"o":{"type":"string","optional":true}},"primaryKey":["id"]},
  "c":{"columns":{"id":{"type":"string"},"pid":{"type":"string","optional":true},"v":{"type":"number","optional":true},"k":{"type":"string","optional":true}},"primaryKey":["id"]},
  "d":{"columns":{"id":{"type":"string"},"cid":{"type":"string","optional":true},"w":{"type":"number"}},"primaryKey":["id"]},
  "j":{"columns":{"pid":{"type":"string"},"tid":{"type":"string"},"z":{"type":"number"}},"primaryKey":["tid","pid"]},
  "t":{"columns":{"id":{"type":"string"},"name":{"type":"string","optional":true}},"primaryKey":["id"]},
  "s":{"columns":{"id":{"type":"string"},"up":{"type":"string","optional":true},"r":{"type":"number"}},"primaryKey":["id"]}
}}"#;

/// Relationships: name, parent, columns, child, columns.
type Edge = (
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static str,
    &'static [&'static str],
);
const EDGES: &[Edge] = &[
    ("cs", "p", &["id"], "c", &["pid"]),
    ("owner", "p", &["o"], "t", &["id"]),
    ("same", "p", &["id", "r"], "j", &["pid", "z"]),
    ("ds", "c", &["id"], "d", &["cid"]),
    ("parent", "c", &["pid"], "p", &["id"]),
    ("owned", "t", &["id"], "p", &["o"]),
    ("kids", "s", &["id"], "s", &["up"]),
    ("above", "s", &["up"], "s", &["id"]),
];
/// Junctions: name, parent, column, junction, near column, far column, child, column.
const JUNCTIONS: &[[&str; 8]] = &[
    ["ts", "p", "id", "j", "pid", "tid", "t", "id"],
    ["via", "p", "id", "c", "pid", "k", "t", "id"],
];

/// A small generator of pseudo-random numbers (xorshift64*), so that a seed replays a run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: usize) -> usize {
        ((self.next() >> 33) as usize) % limit
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

type Data = BTreeMap<&'static str, Vec<Row>>;

const TABLES: &[&str] = &["p", "c", "d", "j", "t", "s"];

fn text(random: &mut Random, table: &str, column: &str) -> &'static str {
    const IDS: &[&str] = &["1", "2", "3", "4", "5", "é", "～", "😀"];
    const WORDS: &[&str] = &["", "a", "B", "b%", "a_b", "Ä"];
    match (table, column) {
        ("p", "g") | ("t", "name") => random.pick::<&str>(WORDS),
        _ => random.pick::<&str>(IDS),
    }
}

fn random_row(random: &mut Random, schema: &Schema, table: &str) -> Row {
    let table = &schema[schema.table(table).unwrap()];
    Row::from_values(table.columns.iter().map(|column| {
        if column.optional && random.chance(25) {
            ValueRef::Null
        } else if column.ty == landfall_zql::ColumnType::Number {
            ValueRef::Number(random.below(4) as f64)
        } else {
            ValueRef::String(text(random, &table.name, &column.name))
        }
    }))
}

fn random_condition(random: &mut Random, schema: &Schema, table: &str, depth: usize) -> Condition {
    match random.below(if depth == 0 { 3 } else { 8 }) {
        0..=2 => {
            let columns = &schema[schema.table(table).unwrap()].columns;
            let column = random.pick(columns).clone();
            let is_number = column.ty == landfall_zql::ColumnType::Number;
            let literal = |random: &mut Random| {
                if is_number {
                    Literal::Number(random.below(4) as f64)
                } else {
                    Literal::String(text(random, table, &column.name).to_owned())
                }
            };
            use SimpleOperator as Op;
            let (op, value) = match random.below(if is_number { 10 } else { 14 }) {
                0 => (Op::Equal, literal(random)),
                1 => (Op::NotEqual, literal(random)),
                2 => (Op::Less, literal(random)),
                3 => (Op::GreaterOrEqual, literal(random)),
                4 => (
                    Op::Is,
                    if random.chance(50) {
                        Literal::Null
                    } else {
                        literal(random)
                    },
                ),
                5 => (
                    Op::IsNot,
                    if random.chance(50) {
                        Literal::Null
                    } else {
                        literal(random)
                    },
                ),
                6 => (
                    Op::In,
                    Literal::Array((0..random.below(3)).map(|_| literal(random)).collect()),
                ),
                7 => (
                    Op::NotIn,
                    Literal::Array((0..1 + random.below(2)).map(|_| literal(random)).collect()),
                ),
                8 => (Op::LessOrEqual, literal(random)),
                9 => (Op::Greater, literal(random)),
                10 => (Op::Like, Literal::String("_".into())),
                11 => (Op::NotLike, Literal::String("a%".into())),
                12 => (Op::ILike, Literal::String("A%".into())),
                _ => (Op::NotILike, Literal::String("%B%".into())),
            };
            Condition::Simple {
                left: Operand::Column { name: column.name },
                right: Operand::Literal { value },
                op,
            }
        }
        3 | 4 => Condition::And {
            conditions: (0..random.below(3))
                .map(|_| random_condition(random, schema, table, depth - 1))
                .collect(),
        },
        5 => Condition::Or {
            conditions: (0..random.below(3))
                .map(|_| random_condition(random, schema, table, depth - 1))
                .collect(),
        },
        _ => {
            let edges: Vec<&Edge> = EDGES.iter().filter(|edge| edge.1 == table).collect();
            if edges.is_empty() {
                return Condition::And {
                    conditions: Vec::new(),
                };
            }
            let edge = random.pick(&edges);
            let mut subquery = Ast {
                table: edge.3.into(),
                alias: Some(format!("zsubq_{}", edge.0)),
                ..Ast::default()
            };
            if random.chance(60) {
                subquery.condition = Some(random_condition(random, schema, edge.3, depth - 1));
            }
            if random.chance(10) {
                subquery.limit = Some(random.below(2) as u32);
            }
            let op = if random.chance(50) {
                ExistsOperator::Exists
            } else {
                ExistsOperator::NotExists
            };
            Condition::CorrelatedSubquery {
                related: Box::new(csq(edge.2, edge.4, subquery)),
                op,
                flip: *random.pick(&[None, Some(false), Some(true)]),
                scalar: None,
            }
        }
    }
}

fn csq(parent: &[&str], child: &[&str], subquery: Ast) -> CorrelatedSubquery {
    let names = |columns: &[&str]| columns.iter().map(|name| (*name).to_owned()).collect();
    CorrelatedSubquery {
        system: None,
        correlation: Correlation {
            parent_field: names(parent),
            child_field: names(child),
        },
        hidden: None,
        subquery: Box::new(subquery),
    }
}

fn random_query(random: &mut Random, schema: &Schema, table: &str, depth: usize) -> Ast {
    let columns = &schema[schema.table(table).unwrap()].columns;
    let mut ast = Ast {
        table: table.into(),
        ..Ast::default()
    };
    if random.chance(60) {
        ast.condition = Some(random_condition(random, schema, table, depth.min(2)));
    }
    if random.chance(60) {
        let parts = 1 + random.below(2);
        let direction = |random: &mut Random| {
            if random.chance(50) {
                Direction::Asc
            } else {
                Direction::Desc
            }
        };
        ast.order_by = Some(
            (0..parts)
                .map(|_| (random.pick(columns).name.clone(), direction(random)))
                .collect(),
        );
    }
    if random.chance(40) {
        ast.limit = Some(random.below(4) as u32);
    }
    if random.chance(20) {
        let row = random_row(random, schema, table);
        let cells = columns
            .iter()
            .zip(row.iter())
            .filter(|_| random.chance(70))
            .map(|(column, value)| {
                (
                    column.name.clone(),
                    match value {
                        ValueRef::Number(number) => Literal::Number(number),
                        ValueRef::String(text) => Literal::String(text.to_owned()),
                        _ => Literal::Null,
                    },
                )
            });
        ast.start = Some(Bound {
            row: cells.collect(),
            exclusive: false,
        });
        if random.chance(50) {
            ast.start.as_mut().unwrap().exclusive = true;
        }
    }
    if depth > 0 {
        let mut related = Vec::new();
        for edge in EDGES.iter().filter(|edge| edge.1 == table) {
            if random.chance(35) {
                let mut subquery = random_query(random, schema, edge.3, depth - 1);
                subquery.alias = Some(edge.0.into());
                related.push(csq(edge.2, edge.4, subquery));
            }
        }
        for [name, _, own, junction, near, far, child, key] in
            JUNCTIONS.iter().filter(|junction| junction[1] == table)
        {
            if random.chance(35) {
                let mut subquery = random_query(random, schema, child, depth - 1);
                subquery.alias = Some((*name).into());
                let inner = csq(&[*far], &[*key], subquery);
                let middle = Ast {
                    table: (*junction).into(),
                    alias: Some((*name).into()),
                    related: Some(vec![inner]),
                    ..Ast::default()
                };
                related.push(CorrelatedSubquery {
                    hidden: Some(true),
                    ..csq(&[*own], &[*near], middle)
                });
            }
        }
        if !related.is_empty() {
            ast.related = Some(related);
        }
    }
    ast
}

/// The obvious implementation.
mod oracle {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    pub struct Tree {
        pub row: Row,
        pub lists: Vec<Vec<Tree>>,
    }

    pub fn run(
        ast: &Ast,
        schema: &Schema,
        data: &Data,
        parent: Option<(&Row, &str, &Correlation)>,
    ) -> Vec<Tree> {
        let table = &schema[schema.table(&ast.table).unwrap()];
        let column =
            |table: &str, name: &str| schema[schema.table(table).unwrap()].column(name).unwrap();
        let mut rows: Vec<Row> = data.get(ast.table.as_str()).cloned().unwrap_or_default();
        if let Some((row, of, correlation)) = parent {
            rows.retain(|child| {
                correlation
                    .parent_field
                    .iter()
                    .zip(&correlation.child_field)
                    .all(|(own, other)| {
                        let (a, b) = (
                            row.get(column(of, own)),
                            child.get(column(&ast.table, other)),
                        );
                        !a.is_null() && a == b
                    })
            });
        }
        rows.retain(|row| {
            ast.condition
                .as_ref()
                .is_none_or(|condition| meets(condition, &ast.table, row, schema, data))
        });
        let mut order: Vec<(usize, Direction)> = Vec::new();
        for (name, direction) in ast.order_by.iter().flatten() {
            order.push((column(&ast.table, name), *direction));
        }
        order.extend(table.primary_key.iter().map(|key| (*key, Direction::Asc)));
        let by_order = |a: &Row, b: &Row| {
            for (column, direction) in &order {
                let ordering = match compare(a.get(*column), b.get(*column)) {
                    Ordering::Equal => continue,
                    other => other,
                };
                return if *direction == Direction::Asc {
                    ordering
                } else {
                    ordering.reverse()
                };
            }
            Ordering::Equal
        };
        rows.sort_by(by_order);
        if let Some(Bound { row, exclusive }) = &ast.start {
            let bound =
                Row::from_values(
                    table
                        .columns
                        .iter()
                        .map(|column| match row.get(&column.name) {
                            Some(Literal::Number(number)) => ValueRef::Number(*number),
                            Some(Literal::String(text)) => ValueRef::String(text),
                            _ => ValueRef::Null,
                        }),
                );
            rows.retain(|row| match by_order(row, &bound) {
                Ordering::Less => false,
                Ordering::Equal => !exclusive,
                Ordering::Greater => true,
            });
        }
        rows.truncate(ast.limit.map_or(usize::MAX, |limit| limit as usize));
        rows.into_iter()
            .map(|row| {
                let lists = ast
                    .related
                    .iter()
                    .flatten()
                    .map(|entry| {
                        let unlimited;
                        let subquery = match entry.hidden {
                            Some(true) => {
                                unlimited = without_far_limit(&entry.subquery);
                                &unlimited
                            }
                            _ => &entry.subquery,
                        };
                        let children = run(
                            subquery,
                            schema,
                            data,
                            Some((&row, &ast.table, &entry.correlation)),
                        );
                        if entry.hidden != Some(true) {
                            return children;
                        }
                        let far = &entry.subquery.related.as_ref().unwrap()[0];
                        let limit = far
                            .subquery
                            .limit
                            .map_or(usize::MAX, |limit| limit as usize);
                        let ids: Vec<Row> = children
                            .into_iter()
                            .flat_map(|child| child.lists.into_iter().next().unwrap())
                            .map(|far| far.row)
                            .collect();
                        let all = run(
                            &Ast {
                                limit: None,
                                ..(*far.subquery).clone()
                            },
                            schema,
                            data,
                            None,
                        );
                        all.into_iter()
                            .filter(|tree| ids.contains(&tree.row))
                            .take(limit)
                            .collect()
                    })
                    .collect();
                Tree { row, lists }
            })
            .collect()
    }

    /// A limit behind a junction counts for the parent, not for each junction row.
    fn without_far_limit(junction: &Ast) -> Ast {
        let mut junction = junction.clone();
        for far in junction.related.iter_mut().flatten() {
            far.subquery.limit = None;
        }
        junction
    }

    fn meets(condition: &Condition, table: &str, row: &Row, schema: &Schema, data: &Data) -> bool {
        match condition {
            Condition::And { conditions } => conditions
                .iter()
                .all(|part| meets(part, table, row, schema, data)),
            Condition::Or { conditions } => conditions
                .iter()
                .any(|part| meets(part, table, row, schema, data)),
            Condition::CorrelatedSubquery { related, op, .. } => {
                let unlimited = Ast {
                    limit: related.subquery.limit.filter(|limit| *limit == 0),
                    ..(*related.subquery).clone()
                };
                let found = !run(
                    &unlimited,
                    schema,
                    data,
                    Some((row, table, &related.correlation)),
                )
                .is_empty();
                found == (*op == ExistsOperator::Exists)
            }
            Condition::Simple {
                left: Operand::Column { name },
                right: Operand::Literal { value },
                op,
            } => {
                let own = row.get(schema[schema.table(table).unwrap()].column(name).unwrap());
                let other = |literal: &Literal| match literal {
                    Literal::Number(number) => compare(own, ValueRef::Number(*number)),
                    Literal::String(text) => compare(own, ValueRef::String(text)),
                    _ => compare(own, ValueRef::Null),
                };
                let shown = if let ValueRef::String(text) = own {
                    text
                } else {
                    ""
                };
                use SimpleOperator as Op;
                match op {
                    Op::Is => other(value).is_eq(),
                    Op::IsNot => other(value).is_ne(),
                    _ if own.is_null() => false,
                    Op::Equal => other(value).is_eq(),
                    Op::NotEqual => other(value).is_ne(),
                    Op::Less => other(value).is_lt(),
                    Op::LessOrEqual => other(value).is_le(),
                    Op::Greater => other(value).is_gt(),
                    Op::GreaterOrEqual => other(value).is_ge(),
                    Op::In | Op::NotIn => {
                        let Literal::Array(values) = value else {
                            unreachable!()
                        };
                        values.iter().any(|value| other(value).is_eq()) == (*op == Op::In)
                    }
                    Op::Like => shown.chars().count() == 1,
                    Op::NotLike => !shown.starts_with('a'),
                    Op::ILike => shown.to_lowercase().starts_with('a'),
                    Op::NotILike => !shown.to_lowercase().contains('b'),
                }
            }
            Condition::Simple { .. } => unreachable!(),
        }
    }
}

use oracle::Tree;

fn tree(entry: &Entry) -> Tree {
    Tree {
        row: entry.row.clone(),
        lists: entry
            .children
            .iter()
            .map(|list| list.iter().map(tree).collect())
            .collect(),
    }
}

fn apply(root: &mut Vec<Tree>, delta: &ViewDelta) {
    fn at<'a>(root: &'a mut Vec<Tree>, path: &[(u32, u32)]) -> &'a mut Vec<Tree> {
        path.iter().fold(root, |list, (position, index)| {
            &mut list[*position as usize].lists[*index as usize]
        })
    }
    match delta {
        ViewDelta::Insert {
            path,
            position,
            entry,
        } => at(root, path).insert(*position as usize, tree(entry)),
        ViewDelta::Remove {
            path,
            position,
            entry,
        } => {
            let removed = at(root, path).remove(*position as usize);
            assert_eq!(removed, tree(entry), "the removed subtree");
        }
        ViewDelta::Replace {
            path,
            position,
            old,
            new,
        } => {
            let row = &mut at(root, path)[*position as usize].row;
            assert_eq!(row, old);
            *row = new.clone();
        }
        ViewDelta::Move {
            path,
            from,
            to,
            old,
            new,
        } => {
            let list = at(root, path);
            let mut moved = list.remove(*from as usize);
            assert_eq!(moved.row, *old);
            moved.row = new.clone();
            list.insert(*to as usize, moved);
        }
    }
}

/// Whether no list is longer than the query allows.
fn is_within_limits(ast: &Ast, list: &[Tree]) -> bool {
    let related: Vec<&Ast> = ast.related.iter().flatten().map(shown_query).collect();
    let is_within = |tree: &Tree| {
        let mut lists = related.iter().zip(&tree.lists);
        lists.all(|(ast, list)| is_within_limits(ast, list))
    };
    ast.limit.is_none_or(|limit| list.len() <= limit as usize) && list.iter().all(is_within)
}

/// The query of the rows that a relationship shows.
fn shown_query(entry: &CorrelatedSubquery) -> &Ast {
    match entry.hidden {
        Some(true) => &entry.subquery.related.as_ref().unwrap()[0].subquery,
        _ => &entry.subquery,
    }
}

/// How often the output of a pipeline holds each row.
#[derive(Default, Debug, PartialEq)]
struct Counts(BTreeMap<(TableId, Vec<u8>), i64>);

impl Counts {
    fn add(&mut self, table: TableId, row: &Row, count: i64) {
        let key = (table, row.bytes().to_vec());
        let total = self.0.entry(key.clone()).or_default();
        *total += count;
        if *total == 0 {
            self.0.remove(&key);
        }
    }

    fn take(&mut self, table: TableId, delta: RowDelta<'_>) {
        match delta {
            RowDelta::Enter(row) => self.add(table, row, 1),
            RowDelta::Leave(row) => self.add(table, row, -1),
            RowDelta::Edit { old, new } => {
                self.add(table, old, -1);
                self.add(table, new, 1);
            }
        }
    }

    fn hydrate(pipeline: &Pipeline, source: &dyn Source) -> Counts {
        let mut counts = Counts::default();
        pipeline
            .fetch(source, None, &mut |reader, node| {
                reader.rows_of_node(&node, &mut |table, delta| counts.take(table, delta))?;
                Ok(ControlFlow::Continue(()))
            })
            .unwrap();
        counts
    }
}

impl Output for Counts {
    fn push(&mut self, reader: Reader<'_>, change: Change) -> Result<(), SourceError> {
        reader.rows_of_change(&change, &mut |table, delta| self.take(table, delta))
    }
}

fn random_change(random: &mut Random, schema: &Schema, data: &mut Data) -> SourceChange {
    let name = *random.pick(TABLES);
    let id = schema.table(name).unwrap();
    let table = &schema[id];
    let rows = data.entry(name).or_default();
    let same_key = |rows: &[Row], row: &Row| {
        rows.iter()
            .position(|other| table.compare_keys(other, row).is_eq())
    };
    let fresh = random_row(random, schema, name);
    if rows.is_empty() || (random.chance(40) && same_key(rows, &fresh).is_none()) {
        rows.push(fresh.clone());
        return SourceChange {
            table: id,
            old: None,
            new: Some(fresh),
        };
    }
    let at = random.below(rows.len());
    if random.chance(35) {
        return SourceChange {
            table: id,
            old: Some(rows.remove(at)),
            new: None,
        };
    }
    let old = rows[at].clone();
    let keep_key = random.chance(85) || same_key(rows, &fresh).is_some();
    let new = Row::from_values((0..table.columns.len()).map(|column| {
        let keep = (keep_key && table.primary_key.contains(&column)) || random.below(100) < 40;
        if keep && (keep_key || !table.primary_key.contains(&column)) {
            old.get(column)
        } else {
            fresh.get(column)
        }
    }));
    rows[at] = new.clone();
    SourceChange {
        table: id,
        old: Some(old),
        new: Some(new),
    }
}

fn random_choice(random: &mut Random) -> Choice<'static> {
    match random.below(5) {
        0 => Choice::Hinted,
        1 => Choice::Scan,
        2 => Choice::Driven,
        _ => Choice::Seeded(random.next()),
    }
}

/// One program: data, one query, some transactions.
fn check(seed: u64) {
    let schema = Arc::new(Schema::from_json(SCHEMA).unwrap());
    let random = &mut Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    for _ in 0..4 {
        random.next();
    }
    let mut source = MemorySource::new(Arc::clone(&schema));
    let mut data = Data::new();
    for _ in 0..random.below(40) {
        let change = random_change(random, &schema, &mut data);
        source.apply(&change);
    }
    let table = *random.pick(TABLES);
    let ast = random_query(random, &schema, table, 2);
    let context = || format!("seed {seed}: {}", ast.to_json());
    let plan = |choice| {
        Pipeline::plan(&ast, &schema, choice)
            .unwrap_or_else(|error| panic!("{}: {error}", context()))
    };
    let choice = random_choice(random);
    let mut query = LiveQuery::new(plan(choice));
    let counted = plan(random_choice(random));
    if random.chance(70) {
        for (table, index) in query.pipeline().indexes() {
            source.retain_index(*table, index);
        }
    }
    // One is hydrated and advanced in slices of a step or some, the other without a stop.
    let mut through = LiveQuery::new(plan(choice));
    through.hydrate(&source, &Steps::unlimited()).unwrap();
    let slice = random.below(5);
    while query.hydrate(&source, &Steps::new(slice)).unwrap() == Progress::More {}
    let mut counts = Counts::hydrate(&counted, &source);
    let mut shown: Vec<Tree> = query.entries().iter().map(tree).collect();
    assert_eq!(
        shown,
        oracle::run(&ast, &schema, &data, None),
        "hydration, {}",
        context()
    );
    for step in 0..12 {
        let before = data.clone();
        let changes: Vec<SourceChange> = (0..1 + random.below(4))
            .map(|_| random_change(random, &schema, &mut data))
            .collect();
        // The same changes as a branch over the state before.
        let mut branch = Branch::default();
        for SourceChange { table, old, new } in &changes {
            for (row, value) in [(old, None), (new, new.clone())] {
                if let Some(row) = row {
                    branch.write(*table, schema[*table].key_of(row), value);
                }
            }
        }
        let expected = oracle::run(&ast, &schema, &data, None);
        let once = plan(random_choice(random));
        let branched: Vec<Tree> = evaluate(&once, &branch.over(&source))
            .unwrap()
            .iter()
            .map(tree)
            .collect();
        let about = || format!("step {step} {changes:?} on {before:?}, {}", context());
        assert_eq!(branched, expected, "branch, {}", about());
        for change in &changes {
            through.push(&source, change).unwrap();
            query.begin(change);
            while query.advance(&source, &Steps::new(slice)).unwrap() == Progress::More {}
            counted.push(&source, change, &mut counts).unwrap();
            source.apply(change);
        }
        let deltas = query.take_deltas();
        assert_eq!(deltas, through.take_deltas(), "slices, {}", about());
        for delta in deltas {
            apply(&mut shown, &delta);
            assert!(is_within_limits(&ast, &shown), "limit, {}", about());
        }
        let entries: Vec<Tree> = query.entries().iter().map(tree).collect();
        assert_eq!(entries, expected, "view, {}", about());
        assert_eq!(shown, expected, "deltas, {}", about());
        let fresh = Counts::hydrate(&plan(random_choice(random)), &source);
        assert_eq!(counts, fresh, "rows, {}", about());
    }
}

#[test]
fn views_equal_their_queries_after_every_transaction() {
    let seconds = std::env::var("LANDFALL_TEST_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(5);
    let first: u64 = std::env::var("LANDFALL_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut seed = first;
    while Instant::now() < end {
        check(seed);
        seed += 1;
    }
    println!("{} programs from seed {first}", seed - first);
}
