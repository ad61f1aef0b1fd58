//! Which of the rows that meet an `EXISTS` are needed of a parent: the first three.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use landfall_ivm::{
    Change, Choice, MemorySource, Output, Pipeline, Reader, RowDelta, SourceChange, SourceError,
};
use landfall_zql::ast::Ast;
use landfall_zql::{Row, Schema, TableId, ValueRef};

const SCHEMA: &str = r#"{"tables":{
  "p":{"columns":{"id":{"type":"string"}},"primaryKey":["id"]},
  "c":{"columns":{"id":{"type":"string"},"pid":{"type":"string"},"v":{"type":"number"}},"primaryKey":["id"]},
  "d":{"columns":{"id":{"type":"string"},"of":{"type":"string"}},"primaryKey":["id"]}
}}"#;

/// Of a child: that its value is positive.
const POSITIVE: &str = r#"{"type":"simple","op":">","left":{"type":"column","name":"v"},"right":{"type":"literal","value":0}}"#;

/// Of a child: that it has a child of its own.
const HAS_CHILD: &str = r#"{"type":"correlatedSubquery","op":"EXISTS","related":{"correlation":{"parentField":["id"],"childField":["of"]},"subquery":{"table":"d","alias":"zsubq_d"}}}"#;

/// Parents with a child that meets these conditions.
fn query(conditions: &[&str]) -> Ast {
    let conditions = conditions.join(",");
    let text = format!(
        r#"{{"table":"p","where":{{"type":"correlatedSubquery","op":"EXISTS","related":{{"correlation":{{"parentField":["id"],"childField":["pid"]}},"subquery":{{"table":"c","alias":"zsubq_c","where":{{"type":"and","conditions":[{conditions}]}}}}}}}}}}"#
    );
    Ast::from_json(&text).expect("a query")
}

fn row<const N: usize>(values: [&str; N]) -> Row {
    Row::from_values(values.map(ValueRef::String))
}

fn child(id: &str, v: f64) -> Row {
    Row::from_values([
        ValueRef::String(id),
        ValueRef::String("p1"),
        ValueRef::Number(v),
    ])
}

/// Counts the needed rows by their ids.
#[derive(Default)]
struct Counts(BTreeMap<String, i64>);

impl Counts {
    fn take(&mut self, delta: RowDelta<'_>) {
        let mut count = |row: &Row, by| {
            let ValueRef::String(id) = row.get(0) else {
                panic!("an id")
            };
            *self.0.entry(id.to_owned()).or_default() += by;
            self.0.retain(|_, count| *count != 0);
        };
        match delta {
            RowDelta::Enter(row) => count(row, 1),
            RowDelta::Leave(row) => count(row, -1),
            RowDelta::Edit { old, new } => {
                count(old, -1);
                count(new, 1);
            }
        }
    }
}

impl Output for Counts {
    fn push(&mut self, reader: Reader<'_>, change: Change) -> Result<(), SourceError> {
        reader.rows_of_change(&change, &mut |_, delta| self.take(delta))
    }
}

struct World {
    source: MemorySource,
    pipeline: Pipeline,
    counts: Counts,
}

impl World {
    /// One parent with these children, each with a child of its own; asked for by these conditions of a child.
    fn new(children: &[&str], conditions: &[&str]) -> World {
        let schema = Arc::new(Schema::from_json(SCHEMA).expect("a schema"));
        let table = |name: &str| schema.table(name).expect("a table");
        let mut source = MemorySource::new(Arc::clone(&schema));
        source.load(table("p"), &[row(["p1"])]);
        let rows: Vec<Row> = children.iter().map(|id| child(id, 1.0)).collect();
        source.load(table("c"), &rows);
        let below = |id: &&str| row([&format!("d{id}"), id]);
        let rows: Vec<Row> = children.iter().map(below).collect();
        source.load(table("d"), &rows);
        let ast = query(conditions);
        let pipeline = Pipeline::plan(&ast, source.schema(), Choice::Hinted).expect("a plan");
        let mut counts = Counts::default();
        pipeline
            .fetch(&source, None, &mut |reader, node| {
                reader.rows_of_node(&node, &mut |_, delta| counts.take(delta))?;
                Ok(ControlFlow::Continue(()))
            })
            .expect("rows");
        World {
            source,
            pipeline,
            counts,
        }
    }

    fn table(&self, name: &str) -> TableId {
        self.source.schema().table(name).expect("a table")
    }

    /// Pushes a change and gives the ids of the rows that are needed then, each once.
    fn change(&mut self, table: &str, old: Option<Row>, new: Option<Row>) -> Vec<&str> {
        let table = self.table(table);
        let change = SourceChange { table, old, new };
        self.pipeline
            .push(&self.source, &change, &mut self.counts)
            .expect("rows");
        self.source.apply(&change);
        self.needed()
    }

    fn needed(&self) -> Vec<&str> {
        assert!(self.counts.0.values().all(|count| *count == 1));
        self.counts.0.keys().map(String::as_str).collect()
    }
}

const FIVE: [&str; 5] = ["b", "c", "d", "e", "f"];
const DEEP: [&str; 2] = [POSITIVE, HAS_CHILD];

#[test]
fn the_first_three_are_needed_with_what_they_need() {
    let world = World::new(&FIVE, &DEEP);
    assert_eq!(world.needed(), ["b", "c", "d", "db", "dc", "dd", "p1"]);
    let world = World::new(&["b", "c"], &DEEP);
    assert_eq!(world.needed(), ["b", "c", "db", "dc", "p1"]);
}

#[test]
fn one_that_comes_before_them_takes_the_place_of_the_last() {
    let mut world = World::new(&FIVE, &DEEP);
    world.change("c", None, Some(child("a", 1.0)));
    let below = Some(row(["da", "a"]));
    let needed = ["a", "b", "c", "da", "db", "dc", "p1"];
    assert_eq!(world.change("d", None, below), needed);
}

#[test]
fn one_that_comes_behind_them_is_not_needed() {
    let mut world = World::new(&FIVE, &DEEP);
    let before: Vec<String> = world.needed().into_iter().map(str::to_owned).collect();
    world.change("c", None, Some(child("g", 1.0)));
    assert_eq!(world.change("d", None, Some(row(["dg", "g"]))), before);
    assert_eq!(world.change("d", None, Some(row(["de2", "e"]))), before);
}

#[test]
fn another_one_follows_one_that_leaves() {
    let mut world = World::new(&FIVE, &DEEP);
    let hidden = world.change("c", Some(child("c", 1.0)), Some(child("c", 0.0)));
    assert_eq!(hidden, ["b", "d", "db", "dd", "de", "e", "p1"]);
    let below = Some(row(["db", "b"]));
    let needed = ["d", "dd", "de", "df", "e", "f", "p1"];
    assert_eq!(world.change("d", below, None), needed);
}

#[test]
fn an_edit_of_the_key_may_move_one_out_of_them_and_into_them() {
    let mut world = World::new(&FIVE, &[POSITIVE]);
    assert_eq!(world.needed(), ["b", "c", "d", "p1"]);
    let mut rename = |from, to| {
        let (old, new) = (child(from, 1.0), child(to, 1.0));
        let needed = world.change("c", Some(old), Some(new));
        needed.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(rename("c", "z"), ["b", "d", "e", "p1"]);
    assert_eq!(rename("z", "a"), ["a", "b", "d", "p1"]);
    assert_eq!(rename("f", "y"), ["a", "b", "d", "p1"]);
    assert_eq!(rename("b", "c"), ["a", "c", "d", "p1"]);
}
