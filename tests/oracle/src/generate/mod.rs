//! Random programs: tables, relationships, rows, a query, and transactions that go for the places where engines err.

mod query;
mod transactions;

use crate::brute::State;
use crate::cell::{Cell, Type};
use crate::program::{Column, Data, Program, Record, Table};
use crate::random::Random;

/// Which rows of one table belong to a row of another.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    pub name: String,
    pub parent: usize,
    pub child: usize,
    pub parent_columns: Vec<usize>,
    pub child_columns: Vec<usize>,
}

impl Edge {
    /// The same, seen from the children.
    fn reversed(&self) -> Edge {
        Edge {
            name: self.name.clone(),
            parent: self.child,
            child: self.parent,
            parent_columns: self.child_columns.clone(),
            child_columns: self.parent_columns.clone(),
        }
    }
}

/// Tables, how they hang together, and the values that their columns take.
pub(crate) struct World {
    pub tables: Vec<Table>,
    pub edges: Vec<Edge>,
    texts: [Vec<&'static str>; 2],
    numbers: Vec<f64>,
    /// Which texts a column takes.
    wide: Vec<Vec<bool>>,
}

/// Characters that sort, fold or count otherwise than they look: astral and combining ones, case pairs, wildcards.
const TEXTS: &[&str] = &[
    "",
    "a",
    "A",
    "b",
    "B",
    "ab",
    "aB",
    "a_b",
    "a%b",
    "\\",
    "é",
    "e\u{301}",
    "É",
    "😀",
    "😀a",
    "～",
    "ß",
    "SS",
    "İ",
    "i\u{307}",
    "ı",
    "K",
    "k",
    "Σ",
    "ς",
    "ΑΣ",
    "ας",
    "a\nb",
    "10",
    "9",
    "\u{1F1E6}\u{1F1F9}",
    "ﬁ",
    "'",
    "\"",
];
const NUMBERS: &[f64] = &[
    0.0,
    -0.0,
    1.0,
    2.0,
    3.0,
    -1.0,
    0.5,
    -2.5,
    10.0,
    1e300,
    -1e300,
    9007199254740991.0,
    5e-324,
];
const JSONS: &[&str] = &["{\"a\":1}", "[1,\"x\",null]", "\"a\"", "1", "true", "{}"];

/// How deep queries go.
#[derive(Clone, Copy)]
struct Depth {
    /// Levels of related rows below the first.
    related: usize,
    /// Levels of conditions in a condition.
    conditions: usize,
}

/// The program of a seed.
pub fn program(seed: u64) -> Program {
    let random = &mut Random::new(seed);
    let world = World::random(random);
    let mut rows: Data = world.tables.iter().map(|_| Vec::new()).collect();
    let most = *random.pick(&[3, 6, 10, 14]);
    let focus = match world.edges.is_empty() || random.chance(60) {
        true => None,
        false => Some(random.pick(&world.edges).clone()),
    };
    let apart = focus.as_ref().is_some_and(|edge| edge.parent != edge.child);
    let is_crowd = apart && random.chance(10);
    if let (true, Some(edge)) = (is_crowd, &focus) {
        world.crowd(random, &mut rows, edge.parent);
    }
    for table in 0..world.tables.len() {
        for _ in 0..random.below(most + 1) {
            let record = world.record(random, table);
            if !world.is_taken(&rows, table, &record) {
                rows[table].push(record);
            }
        }
    }
    if let Some(edge) = &focus {
        if !is_crowd && random.chance(40) {
            world.gather(random, &mut rows, &edge.reversed(), 1);
        } else {
            world.gather(random, &mut rows, edge, if is_crowd { 1 } else { 2 });
        }
    }
    // A crowd joined with itself at every level would be a crowd of crowds.
    let depth = match is_crowd {
        true => Depth {
            related: 1,
            conditions: 0,
        },
        false => Depth {
            related: 3,
            conditions: 2,
        },
    };
    let ask = |random: &mut Random| query::root(random, &world, &rows, focus.as_ref(), depth);
    let mut query = ask(random);
    // What shows nothing at first shows little later.
    for _ in 0..3 {
        let state = State {
            tables: &world.tables,
            data: &rows,
        };
        if random.chance(15) || !state.view(&query).is_empty() {
            break;
        }
        query = ask(random);
    }
    let transactions = transactions::random(random, &world, &rows, &query);
    Program {
        tables: world.tables,
        rows,
        query,
        transactions,
    }
}

impl World {
    fn random(random: &mut Random) -> World {
        let count = *random.pick(&[1, 2, 2, 3, 3, 4, 5]);
        let renamed = random.chance(40);
        let tables: Vec<Table> = (0..count).map(|at| table(random, at, renamed)).collect();
        let wide = tables
            .iter()
            .map(|table| table.columns.iter().map(|_| random.chance(35)).collect())
            .collect();
        let few = 2 + random.below(4);
        let many = 5 + random.below(8);
        let some_numbers = 2 + random.below(4);
        let mut world = World {
            texts: [random.some(TEXTS, few), random.some(TEXTS, many)],
            numbers: random.some(NUMBERS, some_numbers),
            tables,
            edges: Vec::new(),
            wide,
        };
        for _ in 0..count + 2 + random.below(3) {
            if let Some(edge) = world.edge(random) {
                world.edges.push(edge);
            }
        }
        world
    }

    /// A relationship over columns of one type: from key to column, from column to key, or between any columns.
    fn edge(&self, random: &mut Random) -> Option<Edge> {
        let parent = random.below(self.tables.len());
        let child = if random.chance(20) {
            parent
        } else {
            random.below(self.tables.len())
        };
        let kind = random.below(4);
        let any = |table: usize| -> Vec<usize> {
            let columns = &self.tables[table].columns;
            (0..columns.len())
                .filter(|at| columns[*at].ty != Type::Json)
                .collect()
        };
        let above = match kind {
            0 => self.tables[parent].key.clone(),
            _ => any(parent),
        };
        let below = match kind {
            1 => self.tables[child].key.clone(),
            _ => any(child),
        };
        let mut edge = Edge {
            name: format!("r{}", self.edges.len()),
            parent,
            child,
            parent_columns: Vec::new(),
            child_columns: Vec::new(),
        };
        let parts = if random.chance(20) { 2 } else { 1 };
        for _ in 0..parts {
            let from = *random.pick(&above);
            let ty = self.tables[parent].columns[from].ty;
            let fitting: Vec<usize> = below
                .iter()
                .copied()
                .filter(|at| self.tables[child].columns[*at].ty == ty)
                .collect();
            if !fitting.is_empty() {
                edge.parent_columns.push(from);
                edge.child_columns.push(*random.pick(&fitting));
            }
        }
        (!edge.parent_columns.is_empty()).then_some(edge)
    }

    /// A value for a column; not NULL.
    pub fn value(&self, random: &mut Random, table: usize, column: usize) -> Cell {
        match self.tables[table].columns[column].ty {
            Type::Text => {
                let pool = &self.texts[usize::from(self.wide[table][column])];
                Cell::Text((*random.pick(pool)).to_owned())
            }
            Type::Number => Cell::Number(*random.pick(&self.numbers)),
            Type::Bool => Cell::Bool(random.chance(50)),
            Type::Json => Cell::Json((*random.pick(JSONS)).to_owned()),
        }
    }

    /// A value for a column, NULL now and then.
    pub fn cell(&self, random: &mut Random, table: usize, column: usize) -> Cell {
        if self.tables[table].columns[column].optional && random.chance(22) {
            Cell::Null
        } else {
            self.value(random, table, column)
        }
    }

    /// A row for a table.
    pub fn record(&self, random: &mut Random, table: usize) -> Record {
        (0..self.tables[table].columns.len())
            .map(|column| self.cell(random, table, column))
            .collect()
    }

    /// Whether a key is there already.
    pub fn is_taken(&self, data: &Data, table: usize, record: &Record) -> bool {
        let of = &self.tables[table];
        data[table].iter().any(|row| of.same_key(row, record))
    }

    /// Lets most rows of an edge's parent table have the same few children.
    fn gather(&self, random: &mut Random, rows: &mut Data, edge: &Edge, few: usize) {
        let children: Vec<Record> = rows[edge.child].iter().take(few).cloned().collect();
        if children.is_empty() {
            return;
        }
        let of = &self.tables[edge.parent];
        for at in 0..rows[edge.parent].len() {
            let mut parent = rows[edge.parent][at].clone();
            let child = random.pick(&children);
            for (own, other) in edge.parent_columns.iter().zip(&edge.child_columns) {
                if !of.key.contains(own) && !child[*other].is_null() {
                    parent[*own] = child[*other].clone();
                }
            }
            if random.chance(75) {
                rows[edge.parent][at] = parent;
            }
        }
    }

    /// Fills a table with more rows than an engine takes at a time.
    fn crowd(&self, random: &mut Random, rows: &mut Data, table: usize) {
        let base = self.record(random, table);
        for number in 0..100 + random.below(20) {
            let mut record = base.clone();
            if random.chance(20) {
                record = self.record(random, table);
            }
            for column in &self.tables[table].key {
                record[*column] = match self.tables[table].columns[*column].ty {
                    Type::Number => Cell::Number(number as f64),
                    Type::Text => Cell::Text(format!("k{number}")),
                    _ => continue,
                };
            }
            if !self.is_taken(rows, table, &record) {
                rows[table].push(record);
            }
        }
    }

    /// Relationships of a table.
    pub fn edges_of(&self, table: usize) -> Vec<&Edge> {
        self.edges
            .iter()
            .filter(|edge| edge.parent == table)
            .collect()
    }
}

fn table(random: &mut Random, at: usize, renamed: bool) -> Table {
    let keys = if random.chance(70) { 1 } else { 2 };
    let others = 2 + random.below(3);
    let renamed_here = renamed && random.chance(70);
    let columns: Vec<Column> = (0..keys + others)
        .map(|place| {
            let is_key = place < keys;
            let ty = match random.below(10) {
                0..=4 => Type::Text,
                5..=7 => Type::Number,
                8 if !is_key || place == 1 => Type::Bool,
                9 if !is_key => Type::Json,
                _ => Type::Text,
            };
            // Keys are not always the first column by name, and server names sort the other way round.
            let letter = char::from(b'a' + ((place * 5 + at) % 7) as u8);
            let name = format!("{letter}{place}");
            Column {
                server_name: if renamed_here && random.chance(60) {
                    format!("{}_{place}", char::from(b'z' - place as u8))
                } else {
                    name.clone()
                },
                name,
                ty,
                optional: !is_key && random.chance(70),
            }
        })
        .collect();
    let mut key: Vec<usize> = (0..keys).collect();
    if random.chance(50) {
        key.reverse();
    }
    let name = format!("t{at}");
    Table {
        server_name: if renamed_here {
            format!("x{}", 9 - at)
        } else {
            name.clone()
        },
        name,
        columns,
        key,
    }
}
