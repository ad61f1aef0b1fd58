//! What the user's file holds: tables, column types, keys, and the unique indexes that triggers must watch.

use landfall_zql::ColumnType;
use rusqlite::Connection;

use crate::replica::{ReplicaColumn, TableDraft};

/// Key columns that a log entry has room for.
pub const MAX_KEY: usize = 8;

/// A table of the user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserTable {
    /// Its name.
    pub name: String,
    /// Its columns that can be synced.
    pub columns: Vec<ReplicaColumn>,
    /// The columns that identify a row.
    pub row_key: Vec<String>,
    /// Unique keys without nullable columns.
    pub unique_keys: Vec<Vec<String>>,
    /// Every unique index: a REPLACE may remove the rows that collide on it.
    pub collisions: Vec<Vec<Indexed>>,
}

/// A column of a unique index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Indexed {
    /// The column.
    pub column: String,
    /// How the index compares it.
    pub collation: String,
}

impl UserTable {
    /// The table for the replica's schema.
    pub fn draft(&self) -> TableDraft {
        TableDraft {
            name: self.name.clone(),
            sql_name: self.name.clone(),
            columns: self.columns.clone(),
            row_key: self.row_key.clone(),
            unique_keys: self.unique_keys.clone(),
        }
    }
}

struct Declared {
    name: String,
    ty: String,
    not_null: bool,
    /// Place in the primary key, from 1; 0 is outside.
    key: i64,
}

/// Reads the tables; and one warning for each thing that is left out.
pub fn read(conn: &Connection) -> Result<(Vec<UserTable>, Vec<String>), rusqlite::Error> {
    let mut statement = conn.prepare(
        "SELECT l.name, l.wr OR l.strict, m.sql FROM pragma_table_list l JOIN sqlite_master m ON m.type = 'table' AND m.name = l.name
         WHERE l.schema = 'main' AND l.type = 'table' AND l.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND l.name NOT LIKE '\\_landfall\\_%' ESCAPE '\\'
         ORDER BY l.name",
    )?;
    let names = statement
        .query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?))
        })?
        .collect::<Result<Vec<(String, bool, String)>, _>>()?;
    let mut tables = Vec::new();
    let mut warnings = Vec::new();
    for (name, keys_not_null, sql) in names {
        match table(conn, &name, keys_not_null, &sql, &mut warnings)? {
            Ok(table) => tables.push(table),
            Err(reason) => warnings.push(format!("table {name} is not synced: {reason}")),
        }
    }
    Ok((tables, warnings))
}

fn table(
    conn: &Connection,
    name: &str,
    keys_not_null: bool,
    sql: &str,
    warnings: &mut Vec<String>,
) -> Result<Result<UserTable, String>, rusqlite::Error> {
    let declared = declared(conn, name)?;
    let checks = squeeze(sql);
    let mut columns = Vec::new();
    let mut left_out = Vec::new();
    for column in &declared {
        match column_type(column, &checks) {
            Some(ty) => columns.push(ReplicaColumn {
                name: column.name.clone(),
                ty,
                not_null: column.not_null
                    || (column.key > 0 && (keys_not_null || is_rowid(column, &declared))),
            }),
            None => left_out.push(format!("{} ({})", column.name, column.ty)),
        }
    }
    if !left_out.is_empty() {
        warnings.push(format!(
            "columns of {name} that cannot be synced are left out: {}",
            left_out.join(", ")
        ));
    }
    let mut keys: Vec<&Declared> = declared.iter().filter(|column| column.key > 0).collect();
    keys.sort_by_key(|column| column.key);
    let primary: Vec<String> = keys.iter().map(|column| column.name.clone()).collect();
    let mut unique_keys: Vec<Vec<String>> = Vec::new();
    let mut collisions = Vec::new();
    for index in unique_indexes(conn, name)? {
        let Some(parts) = index.parts else {
            warnings.push(format!(
                "a REPLACE that collides on an expression index of {name} is not noticed"
            ));
            continue;
        };
        let is_key = index.whole
            && parts
                .iter()
                .all(|part| columns.iter().any(|c| c.name == part.column && c.not_null));
        if is_key {
            unique_keys.push(parts.iter().map(|part| part.column.clone()).collect());
        }
        collisions.push(parts);
    }
    // An INTEGER PRIMARY KEY has no index of its own.
    if let [only] = keys.as_slice()
        && is_rowid(only, &declared)
    {
        collisions.push(vec![Indexed {
            column: only.name.clone(),
            collation: "BINARY".to_owned(),
        }]);
    }
    let row_key = if primary.is_empty() {
        unique_keys
            .iter()
            .min_by_key(|key| (key.len(), (*key).clone()))
            .cloned()
    } else {
        Some(primary)
    };
    let Some(row_key) = row_key else {
        return Ok(Err(
            "it has no primary key and no unique index over not-null columns".to_owned(),
        ));
    };
    if row_key
        .iter()
        .any(|name| !columns.iter().any(|column| column.name == *name))
    {
        return Ok(Err("a column of its key cannot be synced".to_owned()));
    }
    if row_key.len() > MAX_KEY {
        return Ok(Err(format!("its key has more than {MAX_KEY} columns")));
    }
    Ok(Ok(UserTable {
        name: name.to_owned(),
        columns,
        row_key,
        unique_keys,
        collisions,
    }))
}

fn declared(conn: &Connection, table: &str) -> Result<Vec<Declared>, rusqlite::Error> {
    conn.prepare("SELECT name, type, \"notnull\", pk FROM pragma_table_xinfo(?1) WHERE hidden <> 1 ORDER BY cid")?
        .query_map([table], |row| {
            Ok(Declared {
                name: row.get(0)?,
                ty: row.get::<_, Option<String>>(1)?.unwrap_or_default(),
                not_null: row.get(2)?,
                key: row.get(3)?,
            })
        })?
        .collect()
}

fn is_rowid(column: &Declared, all: &[Declared]) -> bool {
    column.ty.eq_ignore_ascii_case("INTEGER") && all.iter().filter(|c| c.key > 0).count() == 1
}

struct UniqueIndex {
    /// False if it covers some rows only.
    whole: bool,
    /// `None` if it is over an expression.
    parts: Option<Vec<Indexed>>,
}

fn unique_indexes(conn: &Connection, table: &str) -> Result<Vec<UniqueIndex>, rusqlite::Error> {
    let indexes = conn
        .prepare(
            "SELECT name, partial FROM pragma_index_list(?1) WHERE \"unique\" = 1 ORDER BY name",
        )?
        .query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<Vec<(String, bool)>, _>>()?;
    indexes
        .into_iter()
        .map(|(name, partial)| {
            let parts = conn
                .prepare(
                    "SELECT name, coll FROM pragma_index_xinfo(?1) WHERE key = 1 ORDER BY seqno",
                )?
                .query_map([&name], |row| {
                    let column: Option<String> = row.get(0)?;
                    let collation: String = row.get(1)?;
                    Ok(column.map(|column| Indexed { column, collation }))
                })?
                .collect::<Result<Option<Vec<_>>, _>>()?;
            Ok(UniqueIndex {
                whole: !partial,
                parts,
            })
        })
        .collect()
}

/// The type that queries see, from the declared type and the checks that stand for booleans and JSON.
fn column_type(column: &Declared, checks: &str) -> Option<ColumnType> {
    let ty = column.ty.to_ascii_uppercase();
    let name = squeeze(&column.name);
    let is_checked = |condition: String| {
        checks
            .split("check(")
            .skip(1)
            .any(|check| holds_condition(check, &condition))
    };
    let has = |part: &str| ty.contains(part);
    Some(if has("BOOL") {
        ColumnType::Boolean
    } else if has("JSONB") || ty.is_empty() || ty == "ANY" {
        return None;
    } else if has("JSON") {
        ColumnType::Json
    } else if has("INT") {
        if is_checked(format!("{name}in(0,1)")) {
            ColumnType::Boolean
        } else {
            ColumnType::Number
        }
    } else if has("CHAR") || has("CLOB") || has("TEXT") {
        if is_checked(format!("json_valid({name})")) {
            ColumnType::Json
        } else {
            ColumnType::String
        }
    } else if has("BLOB") {
        return None;
    } else if has("UUID") || has("STRING") {
        ColumnType::String
    } else {
        ColumnType::Number
    })
}

/// Whether a check says the condition, alone or beside `… IS NULL OR`; not as the end of another name.
fn holds_condition(check: &str, condition: &str) -> bool {
    check.match_indices(condition).any(|(at, _)| {
        let before = &check[..at];
        before.is_empty()
            || before.ends_with('(')
            || before.ends_with("isnullor")
            || before.ends_with("notnulland")
    })
}

/// SQL text in lower case without white space and quotes, to find checks in.
fn squeeze(sql: &str) -> String {
    sql.chars()
        .filter(|c| !c.is_whitespace() && !matches!(c, '"' | '`' | '[' | ']'))
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql: &str, expected: &str) {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(sql).unwrap();
        let (tables, warnings) = read(&conn).unwrap();
        let mut found: Vec<String> = tables
            .iter()
            .map(|table| {
                let columns: Vec<String> = table
                    .columns
                    .iter()
                    .map(|c| {
                        format!(
                            "{}:{}{}",
                            c.name,
                            c.ty.name(),
                            if c.not_null { "!" } else { "" }
                        )
                    })
                    .collect();
                format!(
                    "{}({}) key {:?}",
                    table.name,
                    columns.join(" "),
                    table.row_key
                )
            })
            .collect();
        found.extend(warnings);
        assert_eq!(found.join("\n"), expected);
    }

    #[test]
    fn declared_types() {
        check(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL, b BOOLEAN, c JSON, d VARCHAR(9), e DOUBLE, f DATETIME, g BLOB, h)",
            "t(id:number! a:string! b:boolean c:json d:string e:number f:number) key [\"id\"]\n\
             columns of t that cannot be synced are left out: g (BLOB), h ()",
        );
        check(
            "CREATE TABLE s (id TEXT PRIMARY KEY, done INTEGER NOT NULL CHECK (done IN (0, 1)), \"Meta\" TEXT CHECK (json_valid(\"Meta\")),
             n INTEGER CHECK (n > 1), undone INTEGER, more TEXT CHECK (more IS NULL OR json_valid(more)), maybe INTEGER CHECK (maybe IS NULL OR maybe IN (0,1))) STRICT",
            "s(id:string! done:boolean! Meta:json n:number undone:number more:json maybe:boolean) key [\"id\"]",
        );
    }

    #[test]
    fn keys() {
        check(
            "CREATE TABLE t (a INT, b INT, PRIMARY KEY (b, a)) WITHOUT ROWID",
            "t(a:number! b:number!) key [\"b\", \"a\"]",
        );
        check(
            "CREATE TABLE t (a INT NOT NULL UNIQUE, b INT UNIQUE)",
            "t(a:number! b:number) key [\"a\"]",
        );
        check(
            "CREATE TABLE t (a INT, b INT UNIQUE)",
            "table t is not synced: it has no primary key and no unique index over not-null columns",
        );
    }

    #[test]
    fn every_unique_index_is_watched() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT COLLATE NOCASE, UNIQUE (a, b)); CREATE UNIQUE INDEX i ON t (b) WHERE a IS NULL;",
        )
        .unwrap();
        let (tables, _) = read(&conn).unwrap();
        let parts: Vec<Vec<String>> = tables[0]
            .collisions
            .iter()
            .map(|index| {
                index
                    .iter()
                    .map(|p| format!("{} {}", p.column, p.collation))
                    .collect()
            })
            .collect();
        assert_eq!(
            parts,
            [
                vec!["b NOCASE"],
                vec!["a BINARY", "b NOCASE"],
                vec!["id BINARY"]
            ]
        );
    }
}
