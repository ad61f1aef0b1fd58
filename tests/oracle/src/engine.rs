//! A program's way through the engine: rows, changes and results between plain data and packed rows.

use landfall_ivm::{Entry, Relationship, SourceChange};
use landfall_zql::{Row, Schema, TableId, ValueRef};

use crate::brute::Below;
use crate::cell::Cell;
use crate::program::{Change, Record, Table};
use crate::tree::Node;

/// Which names the engine's schema has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Client,
    /// The server's.
    Server,
}

/// Where the tables and columns of a program are in a schema of the engine.
#[derive(Clone, Debug)]
pub struct Places {
    /// For each table of the program its id, and for each of the engine's columns the program's.
    tables: Vec<(TableId, Vec<usize>)>,
}

impl Places {
    /// Looks tables and columns up by name.
    pub fn new(tables: &[Table], schema: &Schema, side: Side) -> Places {
        let tables = tables.iter().map(|table| {
            let wanted = match side {
                Side::Client => &table.name,
                Side::Server => &table.server_name,
            };
            let found = schema.iter().find(|(_, other)| other.name == *wanted);
            let (id, found) = found.unwrap_or_else(|| panic!("no table {wanted}"));
            let columns = found.columns.iter().map(|column| {
                let own = table.columns.iter().position(|own| match side {
                    Side::Client => own.name == column.name,
                    Side::Server => own.server_name == column.name,
                });
                own.unwrap_or_else(|| panic!("no column {} in {wanted}", column.name))
            });
            (id, columns.collect())
        });
        Places {
            tables: tables.collect(),
        }
    }

    /// The engine's name of a table of the program.
    pub fn id(&self, table: usize) -> TableId {
        self.tables[table].0
    }

    /// The program's table.
    pub fn table(&self, id: TableId) -> usize {
        let found = self.tables.iter().position(|(other, _)| *other == id);
        found.expect("the tables are the program's")
    }

    /// A record as a packed row.
    pub fn pack(&self, table: usize, record: &Record) -> Row {
        let columns = &self.tables[table].1;
        Row::from_values(columns.iter().map(|own| match &record[*own] {
            Cell::Null => ValueRef::Null,
            Cell::Bool(value) => ValueRef::Bool(*value),
            Cell::Number(value) => ValueRef::Number(*value),
            Cell::Text(text) => ValueRef::String(text),
            Cell::Json(text) => ValueRef::Json(text),
        }))
    }

    /// A packed row as a record.
    pub fn unpack(&self, table: usize, row: &Row) -> Record {
        let columns = &self.tables[table].1;
        let mut record = vec![Cell::Null; columns.len()];
        for (own, value) in columns.iter().zip(row.iter()) {
            record[*own] = match value {
                ValueRef::Null => Cell::Null,
                ValueRef::Bool(value) => Cell::Bool(value),
                ValueRef::Number(value) => Cell::Number(value),
                ValueRef::String(text) => Cell::Text(text.to_owned()),
                ValueRef::Json(text) => Cell::Json(text.to_owned()),
            };
        }
        record
    }

    /// How a plan goes on below a level.
    pub fn below(&self, relationships: &[Relationship]) -> Vec<Below> {
        let below = relationships.iter().map(|relationship| {
            let columns = &self.tables[self.table(relationship.table)].1;
            let order = relationship.order.0.iter();
            Below {
                order: order.map(|(at, way)| (columns[*at], *way)).collect(),
                below: self.below(&relationship.relationships),
            }
        });
        below.collect()
    }

    /// A change for the engine.
    pub fn change(&self, change: &Change) -> SourceChange {
        let pack = |row: &Option<Record>| row.as_ref().map(|row| self.pack(change.table, row));
        SourceChange {
            table: self.id(change.table),
            old: pack(&change.old),
            new: pack(&change.new),
        }
    }

    /// A view as a tree. `tables` says which table a level shows.
    pub fn tree(&self, shape: &Shape, entries: &[Entry]) -> Vec<Node> {
        let nodes = entries.iter().map(|entry| self.node(shape, entry));
        nodes.collect()
    }

    /// An entry of a view as a node.
    pub fn node(&self, shape: &Shape, entry: &Entry) -> Node {
        let lists = entry.children.iter().zip(&shape.lists);
        Node {
            row: self.unpack(shape.table, &entry.row),
            count: entry.count as usize,
            lists: lists.map(|(list, shape)| self.tree(shape, list)).collect(),
        }
    }
}

/// Which table each level of a result shows, and how many rows at most.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The table.
    pub table: usize,
    /// The limit, if there is one.
    pub limit: Option<usize>,
    /// One per relationship that counts, in their order.
    pub lists: Vec<Shape>,
}

impl Shape {
    /// The shape of a query's result.
    pub fn new(tables: &[Table], ast: &landfall_zql::Ast) -> Shape {
        let related = ast.related.as_deref().unwrap_or_default();
        let lists = crate::tree::counting(related)
            .map(|entry| Shape::new(tables, crate::tree::shown(entry)));
        Shape {
            table: crate::program::table(tables, &ast.table),
            limit: ast.limit.map(|limit| limit as usize),
            lists: lists.collect(),
        }
    }

    /// The first list that is longer than its limit.
    pub fn excess(&self, list: &[Entry]) -> Option<String> {
        if let Some(limit) = self.limit.filter(|limit| list.len() > *limit) {
            return Some(format!("{} rows under a limit of {limit}", list.len()));
        }
        list.iter().find_map(|entry| {
            let lists = entry.children.iter().zip(&self.lists);
            lists
                .into_iter()
                .find_map(|(list, shape)| shape.excess(list))
        })
    }
}
