//! Work in slices: what finds nothing must stop as well, and one change may concern many rows.

use std::ops::ControlFlow;
use std::sync::Arc;

use landfall_ivm::{
    IndexSpec, LiveQuery, MemorySource, Pipeline, Progress, RowDelta, Source, SourceChange, Steps,
    Walk,
};
use landfall_zql::ast::{Ast, Direction};
use landfall_zql::ordering::Order;
use landfall_zql::{Row, Schema, TableId, ValueRef};

const SCHEMA: &str = r#"{"tables":{
  "a":{"columns":{"id":{"type":"number"},"owner":{"type":"string"}},"primaryKey":["id"]},
  "b":{"columns":{"id":{"type":"string"},"name":{"type":"string"}},"primaryKey":["id"]}
}}"#;
const ISSUES: usize = 1000;

/// A thousand rows of one owner.
fn source() -> MemorySource {
    let schema = Schema::from_json(SCHEMA).expect("a schema");
    let mut source = MemorySource::new(Arc::new(schema));
    let rows: Vec<Row> = (0..ISSUES)
        .map(|id| Row::from_values([ValueRef::Number(id as f64), ValueRef::String("o")]))
        .collect();
    source.load(TableId(0), &rows);
    source.load(TableId(1), &[owner("before")]);
    source
}

fn owner(name: &str) -> Row {
    Row::from_values([ValueRef::String("o"), ValueRef::String(name)])
}

fn query(json: &str) -> Ast {
    Ast::from_json(json).expect("a query")
}

/// A condition that there is a row of `table` whose column `to` equals `from`.
fn exists(to: &str, table: &str, from: &str, rest: &str) -> String {
    format!(
        r#"{{"type":"correlatedSubquery","op":"EXISTS","related":{{"correlation":{{"parentField":["{from}"],"childField":["{to}"]}},
            "subquery":{{"table":"{table}","alias":"zsubq_{table}"{rest}}}}}}}"#
    )
}

fn is(column: &str, value: &str) -> String {
    format!(
        r#"{{"type":"simple","left":{{"type":"column","name":"{column}"}},"op":"=","right":{{"type":"literal","value":"{value}"}}}}"#
    )
}

/// How many slices of ten steps a hydration takes, and how many rows it gives.
fn hydration(ast: &str) -> (usize, usize) {
    let source = source();
    let mut live = LiveQuery::build(&query(ast), source.schema()).expect("builds");
    let mut slices = 1;
    while live.hydrate(&source, &Steps::new(10)).expect("reads") == Progress::More {
        slices += 1;
        assert!(slices < ISSUES, "no end in sight");
    }
    (slices, live.entries().len())
}

#[test]
fn rows_that_are_only_visited_are_steps() {
    let nobody = r#"{"type":"simple","left":{"type":"column","name":"owner"},"op":"!=","right":{"type":"literal","value":"o"}}"#;
    assert_eq!(hydration(r#"{"table":"a"}"#), (ISSUES / 10, ISSUES));
    assert_eq!(
        hydration(&format!(r#"{{"table":"a","where":{nobody}}}"#)),
        (ISSUES / 10, 0)
    );
    assert_eq!(
        hydration(&format!(r#"{{"table":"a","where":{nobody},"limit":5}}"#)),
        (ISSUES / 10, 0)
    );
    assert_eq!(hydration(r#"{"table":"a","limit":25}"#), (3, 25));
    // Each row and its owner.
    let related = r#"[{"system":"client","correlation":{"parentField":["owner"],"childField":["id"]},"subquery":{"table":"b","alias":"b"}}]"#;
    assert_eq!(
        hydration(&format!(r#"{{"table":"a","related":{related}}}"#)),
        (ISSUES / 5, ISSUES)
    );
}

/// A driver reads its children, and looks their parents up, in slices too: flipped, and flipped below a flipped one.
#[test]
fn a_driver_searches_in_slices() {
    let children = |below: &str| {
        format!(
            r#"{{"type":"correlatedSubquery","op":"EXISTS","flip":true,"related":{{
                "correlation":{{"parentField":["id"],"childField":["id"]}},
                "subquery":{{"table":"a","alias":"zsubq_a"{below}}}}}}}"#
        )
    };
    let query = |condition: &str| hydration(&format!(r#"{{"table":"a","where":{condition}}}"#));
    // Per row: the child, the look-up and the parent, the candidate, and the child again to decide the condition.
    let (slices, rows) = query(&children(""));
    assert_eq!(rows, ISSUES);
    assert!(slices >= ISSUES * 4 / 10, "{slices} slices");
    let below = format!(r#","where":{}"#, children(""));
    let (nested, rows) = query(&children(&below));
    assert_eq!(rows, ISSUES);
    assert!(nested >= slices + ISSUES * 3 / 10, "{nested} slices");
    let members: Vec<String> = (0..500).map(|id| id.to_string()).collect();
    let list = format!(
        r#"{{"type":"or","conditions":[{},{{"type":"simple","left":{{"type":"column","name":"id"}},"op":"IN",
            "right":{{"type":"literal","value":[{}]}}}}]}}"#,
        children(""),
        members.join(",")
    );
    let (listed, rows) = query(&list);
    assert_eq!(rows, ISSUES);
    assert!(listed > slices, "{listed} slices");
}

/// One value has many rows.
#[test]
fn the_rows_of_one_look_up_are_read_in_slices() {
    let driven = exists("id", "b", "owner", "").replacen('{', r#"{"flip":true,"#, 1);
    let (slices, rows) = hydration(&format!(r#"{{"table":"a","limit":5,"where":{driven}}}"#));
    assert_eq!(rows, 5);
    // Each is put into the index, and looked up.
    assert!(slices >= 2 * ISSUES / 10, "{slices} slices");
}

/// One row has many candidates, and none or only the last will do: the search for it is left between any two, and gone
/// on with; what was asked before is not asked again.
#[test]
fn the_children_that_decide_about_one_row_are_read_in_slices() {
    let at_least = |id: usize| {
        format!(
            r#"{{"type":"simple","left":{{"type":"column","name":"id"}},"op":">=","right":{{"type":"literal","value":{id}}}}}"#
        )
    };
    let among = |condition: String| exists("owner", "a", "id", &format!(r#","where":{condition}"#));
    let below = |condition: String| exists("id", "a", "id", &format!(r#","where":{condition}"#));
    let last = among(at_least(ISSUES - 1));
    let none = among(below(at_least(ISSUES)));
    let nested = among(below(at_least(ISSUES - 1)));
    let not = |condition: &String| condition.replacen("EXISTS", "NOT EXISTS", 1);
    let both = |of: [&String; 2], op: &str| {
        format!(r#"{{"type":"{op}","conditions":[{},{}]}}"#, of[0], of[1])
    };
    for (condition, rows, steps) in [
        (last.clone(), 1, 1),
        (none.clone(), 0, 2),
        (nested.clone(), 1, 2),
        (not(&none), 1, 2),
        (not(&nested), 0, 2),
        (both([&last, &nested], "and"), 1, 3),
        (both([&last, &none], "and"), 0, 3),
        (both([&none, &nested], "or"), 1, 4),
    ] {
        // The index by owner comes first, and its few bins.
        let least = ISSUES / 10 + steps * ISSUES / 10;
        let (slices, shown) = hydration(&format!(r#"{{"table":"b","where":{condition}}}"#));
        assert_eq!(shown, rows, "{condition}");
        // The row itself and the candidate that comes again take some steps of each slice.
        assert!(
            (least..least * 3 / 2).contains(&slices),
            "{slices} slices, {least} expected: {condition}"
        );
    }
}

/// So are the rows by which it was decided, of which a few are needed.
#[test]
fn the_rows_that_an_exists_needs_are_read_in_slices() {
    let source = source();
    let few = exists("id", "a", "id", r#","where":{"type":"or","conditions":[FEW]}"#).replace(
        "FEW",
        &[100, 500, 700, 900]
            .map(|id| {
                format!(
                    r#"{{"type":"simple","left":{{"type":"column","name":"id"}},"op":"=","right":{{"type":"literal","value":{id}}}}}"#
                )
            })
            .join(","),
    );
    let condition = exists("owner", "a", "id", &format!(r#","where":{few}"#));
    let ast = query(&format!(r#"{{"table":"b","where":{condition}}}"#));
    let pipeline = Pipeline::build(&ast, source.schema()).expect("builds");
    let (mut walk, mut rows, mut slices) = (Walk::default(), Vec::new(), 0);
    let mut progress = Progress::More;
    let mut calls = 0;
    while progress == Progress::More {
        calls += 1;
        assert!(calls < ISSUES, "no end in sight");
        progress = pipeline
            .hydrate(&source, &Steps::new(10), &mut |reader, node| {
                slices += 1;
                let counted = reader.hydrate_rows(node, &mut walk, &mut |table, delta| {
                    let RowDelta::Enter(row) = delta else {
                        panic!("nothing leaves");
                    };
                    rows.push((table, row.clone()));
                })?;
                Ok(match counted {
                    Progress::Done => ControlFlow::Continue(()),
                    Progress::More => ControlFlow::Break(Progress::More),
                })
            })
            .expect("reads");
    }
    let a = |id: usize| {
        let row = Row::from_values([ValueRef::Number(id as f64), ValueRef::String("o")]);
        (TableId(0), row)
    };
    // Each of the first three with the one that decides about it.
    let wanted = [100, 100, 500, 500, 700, 700].map(a);
    assert_eq!(rows[0], (TableId(1), owner("before")));
    assert_eq!(rows[1..], wanted);
    assert!(slices >= 700 * 2 / 10, "{slices} slices");
}

#[test]
fn a_sink_that_breaks_is_gone_on_with() {
    let source = source();
    for limit in ["", r#","limit":30"#] {
        let ast = query(&format!(r#"{{"table":"a"{limit}}}"#));
        let pipeline = Pipeline::build(&ast, source.schema()).expect("builds");
        let mut ids = Vec::new();
        let mut progress = Progress::More;
        while progress == Progress::More {
            progress = pipeline
                .hydrate(&source, &Steps::unlimited(), &mut |_, node| {
                    ids.push(node.row.get(0) == ValueRef::Number(ids.len() as f64));
                    Ok(ControlFlow::Break(Progress::Done))
                })
                .expect("reads");
        }
        assert_eq!(ids.len(), if limit.is_empty() { ISSUES } else { 30 });
        assert!(ids.into_iter().all(|is_next| is_next));
    }
}

#[test]
fn one_change_under_many_parents_stops_between_them() {
    let source = source();
    let ast = query(
        r#"{"table":"a","related":[{"system":"client","correlation":{"parentField":["owner"],"childField":["id"]},"subquery":{"table":"b","alias":"b"}}]}"#,
    );
    let mut live = LiveQuery::build(&ast, source.schema()).expect("builds");
    live.hydrate(&source, &Steps::unlimited()).expect("reads");
    live.begin(&SourceChange {
        table: TableId(1),
        old: Some(owner("before")),
        new: Some(owner("after")),
    });
    let mut slices = 1;
    let mut most = 0;
    let mut shown = 0;
    while live.advance(&source, &Steps::new(10)).expect("reads") == Progress::More {
        let after = live.entries().iter();
        let now = after
            .filter(|entry| entry.children[0][0].row == owner("after"))
            .count();
        most = most.max(now - shown);
        shown = now;
        slices += 1;
    }
    assert_eq!(live.take_deltas().len(), ISSUES);
    assert!((ISSUES / 10..ISSUES / 4).contains(&slices), "{slices}");
    assert!(most <= 10, "{most} in one slice");
}

/// An index is made in slices, by the rows that are read for it, before the first row that needs it is shown.
#[test]
fn indexes_are_made_in_slices() {
    let by_owner = r#""orderBy":[["owner","asc"]]"#;
    let related = format!(
        r#"[{{"system":"client","correlation":{{"parentField":["id"],"childField":["owner"]}},"subquery":{{"table":"a","alias":"a",{by_owner}}}}}]"#
    );
    for ast in [
        format!(r#"{{"table":"a","limit":5,{by_owner}}}"#),
        format!(r#"{{"table":"b","related":{related}}}"#),
    ] {
        let source = source();
        let mut live = LiveQuery::build(&query(&ast), source.schema()).expect("builds");
        let (table, spec) = live.pipeline().indexes()[0].clone();
        assert_eq!(table, TableId(0));
        let mut slices = 1;
        while live.hydrate(&source, &Steps::new(10)).expect("reads") == Progress::More {
            assert!(live.entries().is_empty() || source.has_index(table, &spec));
            slices += 1;
        }
        assert!(source.has_index(table, &spec) && !live.entries().is_empty());
        assert!(
            (ISSUES / 10..ISSUES / 3).contains(&slices),
            "{slices} slices"
        );
    }
}

/// What the first read of a part of an index brings in order counts, and only then.
#[test]
fn bringing_rows_in_order_is_work() {
    let source = source();
    let ast = query(r#"{"table":"a","limit":5,"orderBy":[["owner","asc"]]}"#);
    let steps = || {
        let mut live = LiveQuery::build(&ast, source.schema()).expect("builds");
        let (table, spec) = live.pipeline().indexes()[0].clone();
        let prepared = source.prepare(table, &spec, &Steps::unlimited());
        assert_eq!(prepared.expect("reads"), Progress::Done);
        let steps = Steps::new(ISSUES);
        assert_eq!(
            live.hydrate(&source, &steps).expect("reads"),
            Progress::Done
        );
        ISSUES - steps.left()
    };
    let (first, again) = (steps(), steps());
    assert_eq!(again, 5);
    assert!(
        (again + 10..again + ISSUES * 3 / 4).contains(&first),
        "{first}"
    );
}

/// Bounds of the first ordered column are where a read begins and stops: what is outside is not visited.
#[test]
fn a_read_begins_and_stops_at_the_bounds_of_its_order() {
    let read = |op: &str, bound: usize, direction: &str, rest: &str| {
        hydration(&format!(
            r#"{{"table":"a","where":{{"type":"simple","left":{{"type":"column","name":"id"}},"op":"{op}",
                "right":{{"type":"literal","value":{bound}}}}},"orderBy":[["id","{direction}"]]{rest}}}"#
        ))
    };
    assert_eq!(read(">=", ISSUES - 100, "asc", ""), (10, 100));
    // The row at the bound is visited as well.
    assert_eq!(read("<", 100, "asc", ""), (11, 100));
    // Descending, the index is made first: its rows are read, and the few bins that they were dealt out to are taken.
    let made = ISSUES / 10 + 3;
    assert_eq!(read("<=", 100, "desc", ""), (made + 10, 101));
    assert_eq!(read(">", ISSUES - 101, "desc", ""), (made + 10, 100));
    assert_eq!(read(">", 10, "asc", r#","limit":20"#).1, 20);
    let start = r#","start":{"row":{"id":950},"exclusive":true}"#;
    assert_eq!(read(">=", ISSUES - 100, "asc", start), (5, 49));
    let start = r#","start":{"row":{"id":5},"exclusive":true}"#;
    assert_eq!(read(">=", ISSUES - 100, "asc", start), (10, 100));
}

#[test]
fn a_source_that_is_not_used_any_more_is_dropped_in_pieces_and_what_it_shares_stays() {
    let mut gone = source();
    gone.retain_index(TableId(0), &by_owner());
    let mut live = LiveQuery::build(
        &query(r#"{"table":"a","orderBy":[["owner","desc"]]}"#),
        gone.schema(),
    );
    let live = live.as_mut().expect("builds");
    live.hydrate(&gone, &Steps::unlimited()).expect("reads");
    let mut kept = gone.clone();
    assert_eq!(gone.shed(), 0, "all of it is shared");
    kept.apply(&SourceChange {
        table: TableId(1),
        old: Some(owner("before")),
        new: Some(owner("after")),
    });
    assert_eq!(kept.rows(TableId(0)).count(), ISSUES);
    let mut pieces = Vec::new();
    loop {
        match kept.shed() {
            0 => break,
            rows => pieces.push(rows),
        }
    }
    // By key and by owner.
    assert_eq!(pieces.iter().sum::<usize>(), 2 * ISSUES + 1);
    assert!(pieces.iter().all(|rows| *rows <= 256), "{pieces:?}");
}

fn by_owner() -> IndexSpec {
    IndexSpec(Order(vec![(1, Direction::Desc), (0, Direction::Asc)]))
}

const CHILDREN: &str = r#"{"tables":{
  "p":{"columns":{"id":{"type":"string"},"w":{"type":"string"}},"primaryKey":["id"]},
  "c":{"columns":{"id":{"type":"string"},"pid":{"type":"string"}},"primaryKey":["id"]},
  "j":{"columns":{"id":{"type":"string"},"pid":{"type":"string"},"to":{"type":"string"}},"primaryKey":["id"]}
}}"#;

/// One parent with all the children, which also are what it reaches through a junction.
fn family() -> MemorySource {
    let schema = Schema::from_json(CHILDREN).expect("a schema");
    let mut source = MemorySource::new(Arc::new(schema));
    let row = |values: &[&str]| Row::from_values(values.iter().map(|it| ValueRef::String(it)));
    let names: Vec<String> = (0..ISSUES).map(|at| format!("{at:05}")).collect();
    let table = |name: &str| source.schema().table(name).expect("a table");
    let (p, c, j) = (table("p"), table("c"), table("j"));
    source.load(p, &[row(&["p", "w"])]);
    let children: Vec<Row> = names.iter().map(|name| row(&[name, "p"])).collect();
    source.load(c, &children);
    let back = names.iter().rev();
    let links: Vec<Row> = names
        .iter()
        .zip(back)
        .map(|(at, to)| row(&[at, "p", to]))
        .collect();
    source.load(j, &links);
    source
}

fn related(from: &str, table: &str, to: &str, rest: &str) -> String {
    format!(
        r#"[{{"correlation":{{"parentField":["{from}"],"childField":["{to}"]}},"subquery":{{"table":"{table}","alias":"{table}"{rest}}}}}]"#
    )
}

/// What is related to one row is read in slices, at any depth, through junctions, with limits, and where it is driven;
/// by who shows it, and by who counts it.
#[test]
fn the_children_of_one_row_are_read_in_slices() {
    let source = family();
    let below = format!(r#","related":{}"#, related("pid", "p", "id", ""));
    let exists = r#","where":{"type":"correlatedSubquery","op":"EXISTS","flip":true,"related":{
        "correlation":{"parentField":["id"],"childField":["to"]},"subquery":{"table":"j","alias":"zsubq_j"}}}"#;
    let junction = |limit: &str| {
        let far = related("to", "c", "id", limit);
        related("id", "j", "pid", &format!(r#","related":{far}"#)).replacen(
            '{',
            r#"{"hidden":true,"#,
            1,
        )
    };
    // All destinations by one junction row.
    let far = related("pid", "c", "pid", r#","limit":1000"#);
    let far = related(
        "id",
        "c",
        "pid",
        &format!(r#","where":{},"related":{far}"#, is("id", "00500")),
    );
    let far = far.replacen('{', r#"{"hidden":true,"#, 1);
    for (related, per_child) in [
        (related("id", "c", "pid", ""), 1),
        (related("id", "c", "pid", &below), 2),
        (related("id", "c", "pid", r#","limit":1000"#), 1),
        (related("id", "c", "pid", exists), 4),
        (junction(""), 2),
        // All of them are brought in order, which these are in already.
        (junction(r#","limit":1000"#), 5),
        (far.clone(), 2),
    ] {
        let ast = query(&format!(r#"{{"table":"p","related":{related}}}"#));
        let whole = {
            let mut live = LiveQuery::build(&ast, source.schema()).expect("builds");
            while live.hydrate(&source, &Steps::unlimited()).expect("reads") == Progress::More {}
            live.entries().to_vec()
        };
        assert_eq!(whole[0].children[0].len(), ISSUES);
        let mut live = LiveQuery::build(&ast, source.schema()).expect("builds");
        let (mut slices, mut most) = (1, 0);
        let mut progress = Progress::More;
        while progress == Progress::More {
            progress = live.hydrate(&source, &Steps::new(10)).expect("reads");
            let shown = live
                .entries()
                .first()
                .map_or(0, |entry| entry.children[0].len());
            assert!(shown <= most + 10, "{shown} after {most}: {related}");
            most = shown;
            slices += 1;
            assert!(slices < ISSUES, "no end in sight: {related}");
        }
        assert_eq!(live.entries(), whole);
        let least = per_child * ISSUES / 10;
        assert!(
            (least..2 * least).contains(&slices),
            "{slices} slices: {related}"
        );

        let pipeline = Pipeline::build(&ast, source.schema()).expect("builds");
        let (mut walk, mut rows, mut most) = (Walk::default(), 0, 0);
        let mut progress = Progress::More;
        while progress == Progress::More {
            let before = rows;
            progress = pipeline
                .hydrate(&source, &Steps::new(10), &mut |reader, node| {
                    let counted = reader.hydrate_rows(node, &mut walk, &mut |_, _| rows += 1)?;
                    Ok(match counted {
                        Progress::Done => ControlFlow::Continue(()),
                        Progress::More => ControlFlow::Break(Progress::More),
                    })
                })
                .expect("reads");
            most = most.max(rows - before);
        }
        assert!(
            rows > ISSUES && most <= 12,
            "{most} of {rows} rows in a slice: {related}"
        );
    }
}
