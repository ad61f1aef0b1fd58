//! What a change costs does not grow with what it does not concern.

use std::collections::BTreeSet;
use std::sync::Arc;

use landfall_ivm::{Choice, LiveQuery, MemorySource, Pipeline, Progress, SourceChange, Steps};
use landfall_zql::ast::Ast;
use landfall_zql::{Row, Schema, TableId, ValueRef};

const SCHEMA: &str = r#"{"tables":{
  "p":{"columns":{"id":{"type":"string"},"r":{"type":"number"}},"primaryKey":["id"]},
  "c":{"columns":{"id":{"type":"string"},"pid":{"type":"string"},"v":{"type":"number"}},"primaryKey":["id"]},
  "j":{"columns":{"id":{"type":"string"},"pid":{"type":"string"},"to":{"type":"string"}},"primaryKey":["id"]}
}}"#;

/// A source with these numbers of rows; the children belong to the first parent.
struct World {
    source: MemorySource,
    parents: TableId,
    children: TableId,
}

fn name(at: usize) -> String {
    format!("{at:08}")
}

fn parent(at: usize, r: f64) -> Row {
    Row::from_values([ValueRef::String(&name(at)), ValueRef::Number(r)])
}

fn child(at: usize, of: usize, v: f64) -> Row {
    Row::from_values([
        ValueRef::String(&name(at)),
        ValueRef::String(&name(of)),
        ValueRef::Number(v),
    ])
}

impl World {
    fn new(parents: impl Iterator<Item = Row>, children: impl Iterator<Item = Row>) -> World {
        let schema = Arc::new(Schema::from_json(SCHEMA).expect("a schema"));
        let table = |name: &str| schema.table(name).expect("a table");
        let mut world = World {
            source: MemorySource::new(Arc::clone(&schema)),
            parents: table("p"),
            children: table("c"),
        };
        let parents: Vec<Row> = parents.collect();
        world.source.load(world.parents, &parents);
        let children: Vec<Row> = children.collect();
        world.source.load(world.children, &children);
        world
    }

    fn open(&self, ast: &str) -> LiveQuery {
        let ast = Ast::from_json(ast).expect("a query");
        let pipeline = Pipeline::plan(&ast, self.source.schema(), Choice::Hinted).expect("a plan");
        let mut live = LiveQuery::new(pipeline);
        while live
            .hydrate(&self.source, &Steps::unlimited())
            .expect("rows")
            == Progress::More
        {}
        live
    }

    /// The steps that a change takes.
    fn change(
        &mut self,
        live: &mut LiveQuery,
        change: (TableId, Option<Row>, Option<Row>),
    ) -> usize {
        const ALL: usize = usize::MAX / 2;
        let (table, old, new) = change;
        let change = SourceChange { table, old, new };
        let steps = Steps::new(ALL);
        live.begin(&change);
        while live.advance(&self.source, &steps).expect("rows") == Progress::More {}
        live.take_deltas();
        self.source.apply(&change);
        ALL - steps.left()
    }
}

const EXISTS: &str = r#"{"table":"p","where":{"type":"correlatedSubquery","op":"EXISTS","related":{"correlation":{"parentField":["id"],"childField":["pid"]},"subquery":{"table":"c","alias":"zsubq_c"}}}}"#;

#[test]
fn a_child_of_an_exists_does_not_cost_its_siblings() {
    let costs = [100, 10_000].map(|siblings| {
        let rows = (0..siblings).map(|at| child(at, 0, 0.0));
        let mut world = World::new([parent(0, 1.0)].into_iter(), rows);
        let mut live = world.open(EXISTS);
        let table = world.children;
        let new = |at: usize, v: f64| Some(child(siblings + at, 0, v));
        // The first change makes the index.
        world.change(&mut live, (table, None, new(0, 0.0)));
        [
            world.change(&mut live, (table, None, new(1, 0.0))),
            world.change(&mut live, (table, new(1, 0.0), new(1, 5.0))),
            world.change(&mut live, (table, new(1, 5.0), None)),
        ]
    });
    assert_eq!(costs[0], costs[1]);
}

const WINDOW: &str = r#"{"table":"p","limit":10,"where":{"type":"simple","op":"!=","left":{"type":"column","name":"r"},"right":{"type":"literal","value":0}}}"#;

#[test]
fn a_row_that_leaves_a_window_that_is_not_full_costs_no_search() {
    let costs = [100, 10_000].map(|rows| {
        let shown = |at| f64::from(u8::from(at < 5));
        let mut world = World::new(
            (0..rows).map(|at| parent(at, shown(at))),
            std::iter::empty(),
        );
        let mut live = world.open(WINDOW);
        let table = world.parents;
        let removed = (table, Some(parent(3, 1.0)), None);
        let hidden = (table, Some(parent(2, 1.0)), Some(parent(2, 0.0)));
        [removed, hidden].map(|change| world.change(&mut live, change))
    });
    assert_eq!(costs[0], costs[1]);
}

#[test]
fn the_search_for_the_row_that_follows_is_sliced() {
    const ROWS: usize = 10_000;
    // What leaves, what comes in from far away, and what an edit brings to another place; all is as when done at once.
    for (old, new) in [
        (Some(parent(3, 1.0)), None),
        (Some(parent(3, 1.0)), Some(parent(3, 0.0))),
        (Some(parent(9, 1.0)), None),
    ] {
        let shown = |at| f64::from(u8::from(at < 10 || at == ROWS - 1));
        let world = World::new(
            (0..ROWS).map(|at| parent(at, shown(at))),
            std::iter::empty(),
        );
        let mut live = world.open(WINDOW);
        live.begin(&SourceChange {
            table: world.parents,
            old,
            new,
        });
        let slices = advance_in_slices(&mut live, &world);
        let last = live.entries().last().map(|entry| entry.row.clone());
        assert_eq!(
            (live.entries().len(), last),
            (10, Some(parent(ROWS - 1, 1.0)))
        );
        assert!(slices >= ROWS / 110, "{slices} slices");
    }
}

/// Takes the change that was begun to its end, a hundred steps at a time; gives how many times.
fn advance_in_slices(live: &mut LiveQuery, world: &World) -> usize {
    let mut slices = 1;
    while live.advance(&world.source, &Steps::new(100)).expect("rows") == Progress::More {
        slices += 1;
    }
    slices
}

fn driven_window() -> String {
    let driven = EXISTS.replace(r#""op":"EXISTS""#, r#""op":"EXISTS","flip":true"#);
    driven.replacen("{", r#"{"limit":10,"#, 1)
}

/// What follows when a row leaves, and what precedes when one comes in.
#[test]
fn the_search_of_a_driven_level_is_sliced() {
    const ROWS: usize = 3_000;
    for (old, new, last) in [
        (Some(parent(3, 1.0)), None, 11),
        (None, Some(parent(2, 1.0)), 9),
    ] {
        let world = World::new(
            (0..ROWS).filter(|at| *at != 2).map(|at| parent(at, 1.0)),
            (0..ROWS).map(|at| child(at, at, 0.0)),
        );
        let mut live = world.open(&driven_window());
        live.begin(&SourceChange {
            table: world.parents,
            old,
            new,
        });
        let slices = advance_in_slices(&mut live, &world);
        // The children, their look-ups, and the parents.
        assert!(slices >= 3 * ROWS / 110, "{slices} slices");
        let shown = live.entries().last().map(|entry| entry.row.clone());
        assert_eq!(shown, Some(parent(last, 1.0)));
        assert_eq!(live.entries().len(), 10);
    }
}

/// Only the first change at the end of a window searches; the others find what is near the end, as it is by then.
#[test]
fn a_driven_level_is_not_searched_again_for_each_change() {
    const ROWS: usize = 3_000;
    let mut world = World::new(
        (0..ROWS).map(|at| parent(2 * at, 1.0)),
        (0..2 * ROWS).map(|at| child(at, at, 0.0)),
    );
    let mut live = world.open(&driven_window());
    let (parents, children) = (world.parents, world.children);
    let gone = |at: usize| (parents, Some(parent(at, 1.0)), None);
    let new = |at: usize| (parents, None, Some(parent(at, 1.0)));
    let childless = |at: usize| (children, Some(child(at, at, 0.0)), None);
    let shown = |live: &LiveQuery| {
        live.entries()
            .iter()
            .map(|entry| entry.row.clone())
            .collect()
    };
    let rows = |rows: &[usize]| -> Vec<Row> { rows.iter().map(|at| parent(*at, 1.0)).collect() };
    let first = world.change(&mut live, gone(0));
    assert!(first > 4 * ROWS, "{first} steps");
    let mut most = 0;
    // Behind the window one comes, one leaves and one stops to meet the condition.
    for change in [new(23), gone(24), childless(26)] {
        most = most.max(world.change(&mut live, change));
    }
    for at in [2, 4, 6, 8] {
        most = most.max(world.change(&mut live, gone(at)));
    }
    let now: Vec<Row> = shown(&live);
    assert_eq!(now, rows(&[10, 12, 14, 16, 18, 20, 22, 23, 28, 30]));
    // And back: what comes in makes the last one leave.
    for change in [(children, None, Some(child(26, 26, 0.0))), new(2), new(9)] {
        most = most.max(world.change(&mut live, change));
    }
    let now: Vec<Row> = shown(&live);
    assert_eq!(now, rows(&[2, 9, 10, 12, 14, 16, 18, 20, 22, 23]));
    // One of them brings a part of an index in order.
    assert!(most < first / 50, "{most} steps");
    // What was kept comes to its end: a search now and then, each for as many changes as it is long.
    let costs: Vec<usize> = (5..1_005)
        .filter(|at| *at != 12)
        .map(|at| world.change(&mut live, gone(2 * at)))
        .collect();
    let searches = costs.iter().filter(|cost| **cost > ROWS).count();
    assert!((1..=6).contains(&searches), "{searches} searches");
    let all: usize = costs.iter().sum();
    assert!(all < 100 * costs.len(), "{all} steps");
    let now: Vec<Row> = shown(&live);
    let next: Vec<usize> = [2, 9, 23]
        .into_iter()
        .chain((1_005..1_012).map(|at| 2 * at))
        .collect();
    assert_eq!(now, rows(&next));
}

/// What is kept of a search has two ends, and rows in it may have stopped to meet the condition.
#[test]
fn a_search_goes_on_where_what_is_kept_of_the_last_one_ends() {
    const ROWS: usize = 3_000;
    const LIMIT: usize = 500;
    let ast = driven_window().replace("10", &LIMIT.to_string());
    let mut world = World::new(
        (0..ROWS).map(|at| parent(2 * at, 1.0)),
        (0..2 * ROWS).map(|at| child(at, at, 0.0)),
    );
    let mut live = world.open(&ast);
    let mut wanted: BTreeSet<usize> = (0..ROWS).map(|at| 2 * at).collect();
    let (parents, children) = (world.parents, world.children);
    let mut change = |wanted: &BTreeSet<usize>, change| {
        world.change(&mut live, change);
        let shown = live.entries().last().map(|entry| entry.row.clone());
        let last = wanted.iter().nth(LIMIT - 1);
        assert_eq!(shown, last.map(|last| parent(*last, 1.0)));
        assert_eq!(live.entries().len(), LIMIT);
    };
    // What would follow stops to meet the condition, and another one follows.
    for at in 0..LIMIT {
        let next = *wanted.iter().nth(LIMIT).expect("there are more");
        wanted.remove(&next);
        change(&wanted, (children, Some(child(next, next, 0.0)), None));
        wanted.remove(&(2 * at));
        change(&wanted, (parents, Some(parent(2 * at, 1.0)), None));
    }
    // As many come in, each of which makes the last one leave; of those before it some have left the condition.
    for at in 0..LIMIT {
        if at % 2 == 0 {
            let before = *wanted.iter().nth(LIMIT - 2).expect("there are more");
            wanted.remove(&before);
            change(&wanted, (children, Some(child(before, before, 0.0)), None));
        }
        wanted.insert(2 * at + 1);
        change(&wanted, (parents, None, Some(parent(2 * at + 1, 1.0))));
    }
}

#[test]
fn windows_of_parents_that_left_are_forgotten() {
    let mut world = World::new(std::iter::empty(), std::iter::empty());
    let related = r#"{"table":"p","related":[{"correlation":{"parentField":["id"],"childField":["pid"]},"subquery":{"table":"c","alias":"cs","limit":3}}]}"#;
    let mut live = world.open(related);
    let (parents, children) = (world.parents, world.children);
    let mut sizes = Vec::new();
    for at in 0..2_000 {
        let (parent, child) = (Some(parent(at, 1.0)), Some(child(at, at, 0.0)));
        world.change(&mut live, (parents, None, parent.clone()));
        world.change(&mut live, (children, None, child.clone()));
        // Every hundredth stays.
        if at % 100 != 0 {
            world.change(&mut live, (children, child, None));
            world.change(&mut live, (parents, parent, None));
        }
        if at % 1_000 == 500 {
            sizes.push(format!("{:?}", live.pipeline()).len());
        }
    }
    assert_eq!(live.entries().len(), 20);
    assert!(sizes[1] < 2 * sizes[0], "{sizes:?}");
    // Those that stayed are still current.
    world.change(&mut live, (children, None, Some(child(5_000, 0, 0.0))));
    assert_eq!(live.entries()[0].children[0].len(), 2);
}

/// One parent that reaches children through a junction, with a limit of most of them.
#[test]
fn a_change_below_a_limited_junction_does_not_cost_the_limit() {
    let link = |at: usize, to: usize| {
        Row::from_values([
            ValueRef::String(&name(at)),
            ValueRef::String(&name(0)),
            ValueRef::String(&name(to)),
        ])
    };
    let costs = [100, 10_000].map(|links| {
        let rows = (0..links).map(|at| child(at, 0, 0.0));
        let mut world = World::new([parent(0, 1.0)].into_iter(), rows);
        let junctions = world.source.schema().table("j").expect("a table");
        // The other way round, and two junction rows for each destination.
        let rows: Vec<Row> = (0..2 * links).map(|at| link(at, links - 1 - at / 2)).collect();
        world.source.load(junctions, &rows);
        let limit = links - 10;
        let ast = format!(
            r#"{{"table":"p","related":[{{"hidden":true,"correlation":{{"parentField":["id"],"childField":["pid"]}},"subquery":{{"table":"j","alias":"cs","related":[
                {{"correlation":{{"parentField":["to"],"childField":["id"]}},"subquery":{{"table":"c","alias":"cs","limit":{limit}}}}}]}}}}]}}"#
        );
        let ast = Ast::from_json(&ast).expect("a query");
        let mut live = LiveQuery::build(&ast, world.source.schema()).expect("builds");
        let steps = Steps::new(1_000 * links);
        while live.hydrate(&world.source, &steps).expect("rows") == Progress::More {}
        let hydration = (1_000 * links - steps.left()) / links;
        assert_eq!(live.entries()[0].children[0].len(), limit);
        // The first change of a table makes the indexes.
        let far = world.children;
        let edit = |at, from, to| (far, Some(child(at, 0, from)), Some(child(at, 0, to)));
        world.change(&mut live, edit(1, 0.0, 1.0));
        let gone = |at| (junctions, Some(link(at, links - 1 - at / 2)), None);
        world.change(&mut live, gone(0));
        let changes = [
            world.change(&mut live, edit(5, 0.0, 1.0)),
            world.change(&mut live, (far, Some(child(5, 0, 1.0)), None)),
            world.change(&mut live, (far, None, Some(child(5, 0, 2.0)))),
            world.change(&mut live, gone(2 * links - 3)),
            world.change(&mut live, gone(2 * links - 4)),
            world.change(&mut live, (junctions, None, Some(link(2 * links, 1)))),
        ];
        assert_eq!(live.entries()[0].children[0].len(), limit);
        assert!(live.entries()[0].children[0][1].count == 1);
        (hydration, changes)
    });
    let [(few, changes), (many, others)] = costs;
    // Bringing them in order costs a little more for each.
    assert!(many <= few + 4, "{few} steps per row, {many} of many");
    for (few, many) in changes.into_iter().zip(others) {
        assert!(many <= few + 10, "{few} steps, {many} in a large window");
    }
}
