//! The data, the changes and the queries of the benches: an issue tracker, the same rows for the same seed everywhere.
//! The benches of the SQLite source include this file as well.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each bench uses a part; a bench stops where its data is not what it made"
)]

use landfall_ivm::SourceChange;
use landfall_zql::ast::Ast;
use landfall_zql::{Row, RowBuilder, Schema, TableId, ValueRef};

pub const SCHEMA: &str = r#"{"tables":{
  "user":{"columns":{"id":{"type":"string"},"name":{"type":"string"}},"primaryKey":["id"]},
  "issue":{"columns":{"id":{"type":"string"},"title":{"type":"string"},"open":{"type":"boolean"},"priority":{"type":"number"},
    "status":{"type":"string"},"ownerId":{"type":"string","optional":true},"creatorId":{"type":"string"},"created":{"type":"number"}},"primaryKey":["id"]},
  "comment":{"columns":{"id":{"type":"string"},"issueId":{"type":"string"},"authorId":{"type":"string"},"created":{"type":"number"},
    "body":{"type":"string"}},"primaryKey":["id"]},
  "label":{"columns":{"id":{"type":"string"},"name":{"type":"string"}},"primaryKey":["id"]},
  "issueLabel":{"columns":{"issueId":{"type":"string"},"labelId":{"type":"string"}},"primaryKey":["issueId","labelId"]}
}}"#;

const USERS: usize = 1000;
const LABELS: usize = 50;
const STATUSES: [&str; 5] = ["backlog", "todo", "in progress", "in review", "done"];
const WORDS: [&str; 12] = [
    "crash", "menu", "slow", "login", "sync", "export", "colour", "cursor", "table", "offline",
    "search", "upload",
];

/// Pseudo-random numbers (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed ^ 0x9E37_79B9_7F4A_7C15)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        ((self.next() >> 33) as usize) % limit
    }
}

/// An id as apps make them: random letters and digits, from a table's number and the row's.
pub fn id(kind: u64, number: usize) -> String {
    const DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut random = Random::new(kind << 40 | (number as u64 + 1));
    random.next();
    (0..16).map(|_| DIGITS[random.below(62)] as char).collect()
}

pub fn user_id(number: usize) -> String {
    id(1, number)
}

pub fn issue_id(number: usize) -> String {
    id(2, number)
}

fn sentence(random: &mut Random, words: usize) -> String {
    let words: Vec<&str> = (0..words)
        .map(|_| WORDS[random.below(WORDS.len())])
        .collect();
    words.join(" ")
}

/// Takes the values of a row.
type Make<'a> = dyn FnMut(&[(&str, ValueRef<'_>)]) + 'a;

/// All rows, per table in the order of primary keys.
pub struct Data {
    pub schema: Schema,
    pub tables: Vec<(TableId, Vec<Row>)>,
    pub issues: usize,
}

impl Data {
    /// `issues` issues with three comments and one or two labels each.
    pub fn new(issues: usize) -> Data {
        let schema = Schema::from_json(SCHEMA).unwrap();
        let mut data = Data {
            schema,
            tables: Vec::new(),
            issues,
        };
        let mut random = Random::new(7);
        data.table("user", USERS, &mut |number, row| {
            row(&[
                ("id", text(&user_id(number))),
                ("name", text(&format!("User {number}"))),
            ]);
        });
        data.table("label", LABELS, &mut |number, row| {
            row(&[
                ("id", text(&id(3, number))),
                ("name", text(&format!("label {number}"))),
            ]);
        });
        data.table("issue", issues, &mut |number, row| {
            row(&issue(number, &mut random).columns())
        });
        data.table("comment", issues * 3, &mut |number, row| {
            row(&[
                ("id", text(&id(4, number))),
                ("issueId", text(&issue_id(random.below(issues)))),
                ("authorId", text(&user_id(random.below(USERS)))),
                (
                    "created",
                    ValueRef::Number(1.6e12 + random.below(100_000_000) as f64 * 1000.0),
                ),
                ("body", text(&sentence(&mut random, 8))),
            ]);
        });
        data.table("issueLabel", issues, &mut |number, row| {
            let first = random.below(LABELS);
            let issue = issue_id(number);
            row(&[("issueId", text(&issue)), ("labelId", text(&id(3, first)))]);
            if number.is_multiple_of(2) {
                let second = id(3, (first + 1) % LABELS);
                row(&[("issueId", text(&issue)), ("labelId", text(&second))]);
            }
        });
        data
    }

    pub fn id(&self, name: &str) -> TableId {
        self.schema.table(name).unwrap()
    }

    fn table(&mut self, name: &str, count: usize, make: &mut dyn FnMut(usize, &mut Make<'_>)) {
        let id = self.id(name);
        let table = &self.schema[id];
        let mut rows = Vec::with_capacity(count);
        for number in 0..count {
            make(number, &mut |values| rows.push(self.row(id, values)));
        }
        rows.sort_unstable_by(|a, b| table.compare_keys(a, b));
        // Rows that are loaded from storage lie in memory in this order too.
        let rows = rows.iter().map(|row| Row::from_bytes(row.bytes()).unwrap());
        let rows: Vec<Row> = rows.collect();
        self.tables.push((id, rows));
    }

    pub fn row(&self, table: TableId, values: &[(&str, ValueRef<'_>)]) -> Row {
        let mut builder = RowBuilder::default();
        for column in &self.schema[table].columns {
            let value = values.iter().find(|(name, _)| *name == column.name);
            builder.push(value.map_or(ValueRef::Null, |(_, value)| *value));
        }
        builder.finish()
    }

    pub fn rows(&self, name: &str) -> &[Row] {
        let id = self.id(name);
        &self
            .tables
            .iter()
            .find(|(table, _)| *table == id)
            .unwrap()
            .1
    }

    /// Replaces one column of a row.
    pub fn edit(&self, table: &str, old: &Row, column: &str, value: ValueRef<'_>) -> SourceChange {
        let table = self.id(table);
        let column = self.schema[table].column(column).unwrap();
        SourceChange {
            table,
            old: Some(old.clone()),
            new: Some(old.with(&[(column, value)])),
        }
    }
}

fn text(text: &str) -> ValueRef<'_> {
    ValueRef::String(text)
}

struct Issue {
    id: String,
    title: String,
    open: bool,
    priority: f64,
    status: &'static str,
    owner: Option<String>,
    creator: String,
    created: f64,
}

fn issue(number: usize, random: &mut Random) -> Issue {
    let status = random.below(STATUSES.len());
    Issue {
        id: issue_id(number),
        title: sentence(random, 5),
        open: status < 4,
        priority: random.below(5) as f64,
        status: STATUSES[status],
        owner: (random.below(5) > 0).then(|| user_id(random.below(USERS))),
        creator: user_id(random.below(USERS)),
        created: 1.6e12 + random.below(100_000_000) as f64 * 1000.0,
    }
}

impl Issue {
    fn columns(&self) -> [(&'static str, ValueRef<'_>); 8] {
        [
            ("id", text(&self.id)),
            ("title", text(&self.title)),
            ("open", ValueRef::Bool(self.open)),
            ("priority", ValueRef::Number(self.priority)),
            ("status", text(self.status)),
            (
                "ownerId",
                self.owner.as_deref().map_or(ValueRef::Null, text),
            ),
            ("creatorId", text(&self.creator)),
            ("created", ValueRef::Number(self.created)),
        ]
    }
}

/// What undoes the changes.
pub fn back(changes: &[SourceChange]) -> Vec<SourceChange> {
    let undo = |change: &SourceChange| SourceChange {
        table: change.table,
        old: change.new.clone(),
        new: change.old.clone(),
    };
    changes.iter().rev().map(undo).collect()
}

/// Edits of distinct random issues: titles, and what the queries filter and order by.
pub fn edits(data: &Data, count: usize, seed: u64) -> Vec<SourceChange> {
    let issues = data.rows("issue");
    let mut random = Random::new(seed);
    let step = issues.len() / count;
    (0..count)
        .map(|number| {
            let old = &issues[number * step + random.below(step)];
            match number % 4 {
                0 | 1 => data.edit("issue", old, "title", ValueRef::String("changed")),
                2 => data.edit("issue", old, "priority", ValueRef::Number(4.0)),
                _ => data.edit("issue", old, "created", ValueRef::Number(1.65e12)),
            }
        })
        .collect()
}

/// New issues that each push one out of the windows of 50.
pub fn newest(data: &Data, count: usize) -> Vec<SourceChange> {
    let table = data.id("issue");
    let template = &data.rows("issue")[0];
    let columns = &data.schema[table];
    let (id, created) = (columns.column("id"), columns.column("created"));
    (0..count)
        .map(|number| {
            let name = format!("new{number:05}");
            let row = template.with(&[
                (id.expect("a column"), ValueRef::String(&name)),
                (
                    created.expect("a column"),
                    ValueRef::Number(2e12 + number as f64),
                ),
            ]);
            SourceChange {
                table,
                old: None,
                new: Some(row),
            }
        })
        .collect()
}

/// The six queries: name, AST.
pub fn queries() -> Vec<(&'static str, Ast)> {
    let comments = |inner: &str| {
        format!(
            r#"{{"system":"client","correlation":{{"parentField":["id"],"childField":["issueId"]}},"subquery":{{"table":"comment","alias":"comments",{inner}"orderBy":[["created","desc"]]}}}}"#
        )
    };
    let author = r#""related":[{"system":"client","correlation":{"parentField":["authorId"],"childField":["id"]},"subquery":{"table":"user","alias":"author"}}],"limit":10,"#;
    let exists = |filter: &str| {
        format!(
            r#"{{"type":"correlatedSubquery","op":"EXISTS","related":{{"system":"client","correlation":{{"parentField":["id"],"childField":["issueId"]}},"subquery":{{"table":"comment","alias":"zsubq_comments","where":{filter}}}}}}}"#
        )
    };
    let test = |column: &str, op: &str, value: &str| {
        format!(
            r#"{{"type":"simple","left":{{"type":"column","name":"{column}"}},"op":"{op}","right":{{"type":"literal","value":{value}}}}}"#
        )
    };
    let quoted = format!("\"{}\"", user_id(7));
    let by_user = exists(&test("authorId", "=", &quoted));
    let texts = [
        (
            "filter",
            format!(
                r#"{{"table":"issue","where":{{"type":"and","conditions":[{},{}]}}}}"#,
                test("status", "=", "\"in progress\""),
                test("priority", ">=", "3"),
            ),
        ),
        (
            "order+limit",
            r#"{"table":"issue","orderBy":[["created","desc"]],"limit":50}"#.to_owned(),
        ),
        (
            "related",
            format!(
                r#"{{"table":"issue","orderBy":[["created","desc"]],"limit":50,"related":[{}]}}"#,
                comments(""),
            ),
        ),
        (
            "related two levels",
            format!(
                r#"{{"table":"issue","orderBy":[["created","desc"]],"limit":50,"related":[{}]}}"#,
                comments(author),
            ),
        ),
        (
            "exists",
            format!(r#"{{"table":"issue","where":{by_user}}}"#),
        ),
        (
            "or+exists",
            format!(
                r#"{{"table":"issue","where":{{"type":"or","conditions":[{},{by_user}]}},"orderBy":[["created","desc"]],"limit":500}}"#,
                test("ownerId", "=", &quoted),
            ),
        ),
    ];
    texts
        .map(|(name, json)| (name, Ast::from_json(&json).unwrap()))
        .into()
}
