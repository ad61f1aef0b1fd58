//! The six queries of `npm run bench:engine`, opened one after another over the same kind of data, without the client
//! and JavaScript around them. `cargo bench -p landfall-ivm --bench page -- --rounds 5 --explain`.

#![allow(
    clippy::unwrap_used,
    reason = "a bench stops where its data is not what it made"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use landfall_ivm::{Choice, LiveQuery, MemorySource, Pipeline, Steps};
use landfall_zql::ast::Ast;
use landfall_zql::{Row, RowBuilder, Schema, ValueRef};

const SCHEMA: &str = r#"{"tables":{
  "user":{"columns":{"id":{"type":"string"},"name":{"type":"string"}},"primaryKey":["id"]},
  "label":{"columns":{"id":{"type":"string"},"name":{"type":"string"}},"primaryKey":["id"]},
  "issue":{"columns":{"id":{"type":"string"},"title":{"type":"string"},"description":{"type":"string"},"status":{"type":"string"},
    "priority":{"type":"number"},"ownerID":{"type":"string"},"created":{"type":"number"},"modified":{"type":"number"}},"primaryKey":["id"]},
  "issueLabel":{"columns":{"issueID":{"type":"string"},"labelID":{"type":"string"}},"primaryKey":["issueID","labelID"]},
  "comment":{"columns":{"id":{"type":"string"},"issueID":{"type":"string"},"authorID":{"type":"string"},"body":{"type":"string"},
    "created":{"type":"number"}},"primaryKey":["id"]}
}}"#;

const USERS: usize = 1000;
const LABELS: usize = 50;
const STATUSES: [&str; 5] = ["open", "started", "review", "closed", "rejected"];
const YEAR: usize = 365 * 24 * 3600 * 1000;
const PRESENT: f64 = 1.76e12;
const WORDS: &str = "anchor beacon cargo deck ebb fathom gale harbour inlet jetty keel lantern mast north oar pilot \
    quay rudder sail tide upwind vessel wharf yard buoy current drift estuary fog gangway hull island knot ledge moor \
    navigate overboard port";

/// The numbers that the page draws.
struct Random(i32);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        let shifted = |value: i32, by: u32| ((value as u32) >> by) as i32;
        self.0 = self.0.wrapping_add(0x6d2b_79f5);
        let mut mixed = (self.0 ^ shifted(self.0, 15)).wrapping_mul(1 | self.0);
        mixed = mixed.wrapping_add((mixed ^ shifted(mixed, 7)).wrapping_mul(61 | mixed)) ^ mixed;
        let drawn = (mixed ^ shifted(mixed, 14)) as u32;
        (f64::from(drawn) / 4_294_967_296.0 * limit as f64) as usize
    }

    fn time(&mut self) -> f64 {
        PRESENT - self.below(YEAR) as f64
    }

    fn sentence(&mut self, words: &[&str], count: usize) -> String {
        let chosen: Vec<&str> = (0..count).map(|_| words[self.below(words.len())]).collect();
        chosen.join(" ")
    }
}

fn key(prefix: &str, number: usize) -> String {
    format!("{prefix}{number:07}")
}

type Cells = Vec<Cell>;

enum Cell {
    Text(String),
    Number(f64),
}

/// Packs rows whose cells are given in the order of these columns; a schema keeps its columns in an order of its own.
fn pack(schema: &Schema, table: &str, names: &str, rows: impl Iterator<Item = Cells>) -> Vec<Row> {
    let columns = &schema[schema.table(table).unwrap()].columns;
    let at = |name: &String| names.split(' ').position(|other| other == name).unwrap();
    let places: Vec<usize> = columns.iter().map(|column| at(&column.name)).collect();
    let mut builder = RowBuilder::default();
    let pack = |cells: Cells| {
        for place in &places {
            builder.push(match &cells[*place] {
                Cell::Text(text) => ValueRef::String(text),
                Cell::Number(number) => ValueRef::Number(*number),
            });
        }
        builder.finish()
    };
    rows.map(pack).collect()
}

fn text(text: impl Into<String>) -> Cell {
    Cell::Text(text.into())
}

/// The rows of the page by table, in the order of their keys.
fn generate(schema: &Schema, issues: usize) -> BTreeMap<&'static str, Vec<Row>> {
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut random = Random(20_261_121);
    let random = &mut random;
    let user = (0..USERS).map(|n| vec![text(key("u", n)), text(random.sentence(&words, 2))]);
    let user = pack(schema, "user", "id name", user);
    let label = (0..LABELS).map(|n| {
        let name = format!("{}-{n}", words[n % words.len()]);
        vec![text(key("l", n)), text(name)]
    });
    let label = pack(schema, "label", "id name", label);
    let mut links = Vec::new();
    let issue = (0..issues).map(|n| {
        let created = random.time();
        let row = vec![
            text(key("i", n)),
            text(random.sentence(&words, 5)),
            text(random.sentence(&words, 9)),
            text(STATUSES[random.below(5)]),
            Cell::Number(random.below(5) as f64),
            text(key("u", random.below(USERS))),
            Cell::Number(created),
            Cell::Number(created + random.below((PRESENT - created) as usize) as f64),
        ];
        let first = random.below(LABELS);
        let labels = (1..=random.below(4)).map(|i| (n, (first + i * 7) % LABELS));
        links.extend(labels);
        row
    });
    let names = "id title description status priority ownerID created modified";
    let issue = pack(schema, "issue", names, issue);
    links.sort_unstable();
    let links = links
        .iter()
        .map(|(n, label)| vec![text(key("i", *n)), text(key("l", *label))]);
    let issue_label = pack(schema, "issueLabel", "issueID labelID", links);
    let comment = (0..issues * 3).map(|n| {
        vec![
            text(key("c", n)),
            text(key("i", random.below(issues))),
            text(key("u", random.below(USERS))),
            text(random.sentence(&words, 6)),
            Cell::Number(random.time()),
        ]
    });
    let names = "id issueID authorID body created";
    let comment = pack(schema, "comment", names, comment);
    BTreeMap::from([
        ("user", user),
        ("label", label),
        ("issue", issue),
        ("issueLabel", issue_label),
        ("comment", comment),
    ])
}

fn related(parent: &str, child: &str, table: &str, alias: &str, inner: &str) -> String {
    format!(
        r#"{{"system":"client","correlation":{{"parentField":["{parent}"],"childField":["{child}"]}},"subquery":{{"table":"{table}","alias":"{alias}"{inner}}}}}"#
    )
}

fn queries() -> Vec<(&'static str, Ast)> {
    let test = |column: &str, op: &str, value: &str| {
        format!(
            r#"{{"type":"simple","left":{{"type":"column","name":"{column}"}},"op":"{op}","right":{{"type":"literal","value":{value}}}}}"#
        )
    };
    let exists = |related: String| {
        format!(r#"{{"type":"correlatedSubquery","op":"EXISTS","related":{related}}}"#)
    };
    let newest =
        |rest: &str| format!(r#"{{"table":"issue","orderBy":[["modified","desc"]],{rest}}}"#);
    let comments = |inner: &str| related("id", "issueID", "comment", "comments", inner);
    let author = related("authorID", "id", "user", "author", "");
    let owner = related("ownerID", "id", "user", "owner", "");
    let named = test("name", "=", r#""keel-10""#);
    let label = exists(related(
        "labelID",
        "id",
        "label",
        "zsubq_labels",
        &format!(r#","where":{named}"#),
    ));
    let labels = exists(related(
        "id",
        "issueID",
        "issueLabel",
        "zsubq_labels",
        &format!(r#","where":{label}"#),
    ));
    let his = test("authorID", "=", r#""u0000007""#);
    let his = exists(related(
        "id",
        "issueID",
        "comment",
        "zsubq_comments",
        &format!(r#","where":{his}"#),
    ));
    let filter = [
        test("status", "=", r#""open""#),
        test("priority", ">=", "3"),
    ]
    .join(",");
    let owned = test("ownerID", "=", r#""u0000007""#);
    let texts = [
        (
            "filter",
            format!(r#"{{"table":"issue","where":{{"type":"and","conditions":[{filter}]}}}}"#),
        ),
        ("orderLimit", newest(r#""limit":50"#)),
        (
            "related",
            newest(&format!(r#""limit":50,"related":[{}]"#, comments(""))),
        ),
        (
            "related2",
            newest(&format!(
                r#""limit":50,"related":[{owner},{}]"#,
                comments(&format!(r#","related":[{author}]"#))
            )),
        ),
        (
            "exists",
            newest(&format!(r#""where":{labels},"limit":100"#)),
        ),
        (
            "orExists",
            newest(&format!(
                r#""where":{{"type":"or","conditions":[{owned},{his}]}},"limit":20"#
            )),
        ),
    ];
    texts
        .map(|(name, json)| (name, Ast::from_json(&json).unwrap()))
        .into()
}

fn open(source: &mut MemorySource, ast: &Ast, explain: bool) -> LiveQuery {
    let pipeline = Pipeline::plan(ast, source.schema(), Choice::Estimated(source)).unwrap();
    if explain {
        println!("{}", pipeline.explain(source.schema()));
    }
    let mut query = LiveQuery::new(pipeline);
    for (table, spec) in query.pipeline().indexes() {
        source.retain_index(*table, spec);
    }
    query.hydrate(source, &Steps::unlimited()).unwrap();
    query
}

/// For `callgrind --toggle-collect`: only what `--watch` names goes through here.
#[inline(never)]
fn watched(source: &mut MemorySource, ast: &Ast) -> LiveQuery {
    open(source, ast, false)
}

fn milliseconds(times: &mut [f64]) -> String {
    times.sort_by(f64::total_cmp);
    let [least, median] = [times[0], times[times.len() / 2]];
    format!("{median:9.3} ({least:.3})")
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<usize>().ok()
    };
    let watch = arguments.iter().position(|argument| argument == "--watch");
    let watch = watch.and_then(|at| arguments.get(at + 1));
    let rounds = value("--rounds").unwrap_or(5);
    let schema = Arc::new(Schema::from_json(SCHEMA).unwrap());
    let rows = generate(&schema, value("--issues").unwrap_or(100_000));
    let explain = arguments.iter().any(|argument| argument == "--explain");
    let queries = queries();
    let mut first = vec![Vec::new(); queries.len()];
    let mut again = vec![Vec::new(); queries.len()];
    for round in 0..rounds {
        let mut source = MemorySource::new(Arc::clone(&schema));
        for (name, rows) in &rows {
            source.load(schema.table(name).unwrap(), rows);
        }
        let mut live = Vec::new();
        for ((name, ast), times) in queries.iter().zip(&mut first) {
            let explain = explain && round == 0;
            if explain {
                println!("{name}");
            }
            let start = Instant::now();
            live.push(match watch == Some(&format!("first/{name}")) {
                true => watched(&mut source, ast),
                false => open(&mut source, ast, explain),
            });
            times.push(start.elapsed().as_secs_f64() * 1000.0);
            if explain {
                println!("{} rows\n", live.last().unwrap().entries().len());
            }
        }
        for ((name, ast), times) in queries.iter().zip(&mut again) {
            let start = Instant::now();
            match watch == Some(&format!("again/{name}")) {
                true => watched(&mut source, ast),
                false => open(&mut source, ast, false),
            };
            times.push(start.elapsed().as_secs_f64() * 1000.0);
        }
    }
    println!(
        "{:12} {:>20} {:>20}   median (least), ms",
        "", "first", "again"
    );
    for (((name, _), first), again) in queries.iter().zip(&mut first).zip(&mut again) {
        println!(
            "{name:12} {:>20} {:>20}",
            milliseconds(first),
            milliseconds(again)
        );
    }
}
