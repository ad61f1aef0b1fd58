//! The server under load, the database behind it, and the queries that are asked.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::LoadError;
use crate::processes::Processes;
use crate::writer::Writer;

/// Where to connect.
#[derive(Deserialize, Clone)]
pub struct Target {
    /// `ws://host:port`
    pub server: String,
    /// The database that the server follows.
    pub postgres: String,
    /// Process of the server; those it has started count as well.
    pub pid: u32,
    /// Files whose sizes a soak reports, with what SQLite keeps beside them.
    #[serde(default)]
    pub files: Vec<String>,
}

impl Target {
    pub fn processes(&self) -> Processes {
        Processes::of(self.pid)
    }

    /// Bytes of the files to report, with SQLite's logs beside them.
    pub fn files_size(&self) -> u64 {
        let size = |path: String| std::fs::metadata(path).map(|it| it.len()).unwrap_or(0);
        self.files
            .iter()
            .map(|path| {
                size(path.clone()) + size(format!("{path}-wal")) + size(format!("{path}-shm"))
            })
            .sum()
    }

    pub async fn writer(&self) -> Result<Writer, LoadError> {
        Writer::connect(&self.postgres).await
    }
}

/// A named query with its argument: the rows of `issue` in which a column has a value.
#[derive(Clone)]
pub struct Query {
    pub hash: String,
    /// The column, and the value that it has.
    pub column: &'static str,
    pub value: String,
    pub argument: Value,
    pub rows: usize,
}

/// Columns by how many rows share one value.
const COLUMNS: [(usize, &str); 4] = [
    (1, "id"),
    (100, "project"),
    (1_000, "area"),
    (10_000, "region"),
];

impl Query {
    /// The rows of the `n`th group of `rows` rows; `variant` makes another query with the same rows.
    pub fn nth(rows: usize, n: usize, variant: usize) -> Result<Query, LoadError> {
        let (_, column) = COLUMNS
            .into_iter()
            .find(|(size, _)| *size == rows)
            .ok_or_else(|| LoadError::Wrong(format!("no query of {rows} rows")))?;
        let value = if column == "id" {
            issue_id(n)
        } else {
            format!("{}{n}", &column[..1])
        };
        Ok(Query {
            hash: format!("{column}{n}v{variant}"),
            argument: json!({ "column": column, "value": value, "above": -1 - variant as i64 }),
            column,
            value,
            rows,
        })
    }

    pub fn put(&self) -> Value {
        json!({ "op": "put", "hash": self.hash, "name": "issues", "args": [self.argument], "ttl": 0 })
    }
}

/// Key of the `n`th issue.
pub fn issue_id(n: usize) -> String {
    format!("{n:07}")
}

/// The client's schema, as `initConnection` carries it.
pub fn client_schema() -> Value {
    let columns = [
        ("id", "string"),
        ("project", "string"),
        ("area", "string"),
        ("region", "string"),
        ("title", "string"),
        ("owner", "string"),
        ("rank", "number"),
        ("mark", "number"),
        ("modified", "number"),
    ];
    let columns: serde_json::Map<String, Value> = columns
        .into_iter()
        .map(|(name, kind)| (name.into(), json!({ "type": kind })))
        .collect();
    json!({ "tables": { "issue": { "columns": columns, "primaryKey": ["id"] } } })
}
