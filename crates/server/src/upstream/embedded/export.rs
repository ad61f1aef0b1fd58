//! An embedded file as SQL for Postgres: tables, rows, keys, indexes, and which mutations were applied.

use std::io::{self, Write};
use std::path::Path;

use landfall_zql::ColumnType;
use rusqlite::types::ValueRef as Cell;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::tables::{self, UserTable};
use crate::replica::quote;
use crate::upstream::UpstreamError;

/// Rows of one INSERT.
const ROWS_PER_INSERT: usize = 500;

/// Why a file could not be written as SQL.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The file.
    #[error(transparent)]
    File(#[from] UpstreamError),
    /// A value that its column's type cannot carry; the server leaves such a row out of queries.
    #[error("{table}.{column} holds a value that is no {expected}: mend it, then export again")]
    Value {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// What the column holds.
        expected: &'static str,
    },
    /// The output.
    #[error("the SQL cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl From<rusqlite::Error> for ExportError {
    fn from(error: rusqlite::Error) -> Self {
        ExportError::File(error.into())
    }
}

/// Writes a file as one transaction for `psql`. `own_tables` makes the tables of our own, which are in the schema
/// `shard`. Changes nothing.
pub fn export(
    path: &Path,
    own_tables: &str,
    shard: &str,
    out: &mut dyn Write,
) -> Result<(), ExportError> {
    if !path.exists() {
        return Err(ExportError::File(UpstreamError::File {
            path: path.display().to_string(),
            reason: "no such file".to_owned(),
        }));
    }
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    // All of it as it was at one moment, whoever writes meanwhile.
    conn.execute_batch("BEGIN")?;
    let (user_tables, warnings) = tables::read(&conn)?;
    writeln!(out, "BEGIN;")?;
    for warning in warnings {
        writeln!(out, "-- {}", warning.replace('\n', " "))?;
    }
    let exporter = Exporter { conn: &conn };
    for table in &user_tables {
        exporter.make(table, out)?;
        exporter.rows(table, out)?;
    }
    for table in &user_tables {
        exporter.indexes(table, out)?;
    }
    for table in &user_tables {
        exporter.foreign_keys(table, &user_tables, out)?;
    }
    writeln!(out, "{}", own_tables.trim())?;
    exporter.applied(shard, out)?;
    writeln!(out, "COMMIT;")?;
    Ok(())
}

struct Exporter<'a> {
    conn: &'a Connection,
}

impl Exporter<'_> {
    fn make(&self, table: &UserTable, out: &mut dyn Write) -> Result<(), ExportError> {
        writeln!(out, "CREATE TABLE {} (", quote(&table.name))?;
        for column in &table.columns {
            let ty = match column.ty {
                ColumnType::String | ColumnType::Null => "text",
                ColumnType::Boolean => "boolean",
                ColumnType::Json => "jsonb",
                ColumnType::Number if self.is_integer(&table.name, &column.name)? => "bigint",
                ColumnType::Number => "double precision",
            };
            let not_null = if column.not_null { " NOT NULL" } else { "" };
            writeln!(out, "  {} {ty}{not_null},", quote(&column.name))?;
        }
        writeln!(out, "  PRIMARY KEY ({})\n);", list(&table.row_key))?;
        Ok(())
    }

    fn is_integer(&self, table: &str, column: &str) -> Result<bool, rusqlite::Error> {
        let declared: Option<String> = self
            .conn
            .prepare_cached("SELECT type FROM pragma_table_xinfo(?1) WHERE name = ?2")?
            .query_row([table, column], |row| row.get(0))
            .optional()?
            .flatten();
        Ok(declared.is_some_and(|ty| ty.to_uppercase().contains("INT")))
    }

    fn rows(&self, table: &UserTable, out: &mut dyn Write) -> Result<(), ExportError> {
        let names: Vec<String> = table.columns.iter().map(|c| c.name.clone()).collect();
        let sql = format!(
            "SELECT {} FROM {} ORDER BY {}",
            list(&names),
            quote(&table.name),
            list(&table.row_key)
        );
        let mut statement = self.conn.prepare(&sql)?;
        let mut rows = statement.query([])?;
        let mut written = 0;
        while let Some(row) = rows.next()? {
            let mut values = Vec::with_capacity(table.columns.len());
            for (at, column) in table.columns.iter().enumerate() {
                let value = literal(column.ty, row.get_ref(at)?);
                values.push(value.ok_or_else(|| ExportError::Value {
                    table: table.name.clone(),
                    column: column.name.clone(),
                    expected: column.ty.name(),
                })?);
            }
            match written % ROWS_PER_INSERT {
                0 => {
                    let end = if written > 0 { ";\n" } else { "" };
                    let (table, names) = (quote(&table.name), list(&names));
                    write!(out, "{end}INSERT INTO {table} ({names}) VALUES\n  ")?;
                }
                _ => write!(out, ",\n  ")?,
            }
            write!(out, "({})", values.join(", "))?;
            written += 1;
        }
        if written > 0 {
            writeln!(out, ";")?;
        }
        Ok(())
    }

    fn indexes(&self, table: &UserTable, out: &mut dyn Write) -> Result<(), ExportError> {
        let mut statement = self.conn.prepare(
            "SELECT name, \"unique\", partial FROM pragma_index_list(?1)
             WHERE origin <> 'pk' AND name NOT LIKE '\\_landfall\\_%' ESCAPE '\\' ORDER BY name",
        )?;
        let indexes = statement
            .query_map([&table.name], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?
            .collect::<Result<Vec<(String, bool, bool)>, _>>()?;
        for (name, unique, partial) in indexes {
            let mut statement = self.conn.prepare(
                "SELECT name, desc FROM pragma_index_xinfo(?1) WHERE key ORDER BY seqno",
            )?;
            let parts = statement
                .query_map([&name], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<Vec<(Option<String>, bool)>, _>>()?;
            let known = |name: &Option<String>| {
                let name = name.as_ref();
                name.is_some_and(|name| table.columns.iter().any(|c| c.name == *name))
            };
            if partial || !parts.iter().all(|(name, _)| known(name)) {
                writeln!(
                    out,
                    "-- the index {} of {} is left out: make it by hand",
                    line(&name),
                    line(&table.name)
                )?;
                continue;
            }
            let columns: Vec<String> = parts.iter().filter_map(|(name, _)| name.clone()).collect();
            if unique && columns == table.row_key {
                continue;
            }
            let parts: Vec<String> = parts
                .iter()
                .filter_map(|(name, desc)| {
                    let desc = if *desc { " DESC" } else { "" };
                    Some(format!("{}{desc}", quote(name.as_ref()?)))
                })
                .collect();
            let unique = if unique { "UNIQUE " } else { "" };
            let (table, parts) = (quote(&table.name), parts.join(", "));
            writeln!(out, "CREATE {unique}INDEX ON {table} ({parts});")?;
        }
        Ok(())
    }

    fn foreign_keys(
        &self,
        table: &UserTable,
        all: &[UserTable],
        out: &mut dyn Write,
    ) -> Result<(), ExportError> {
        let mut statement = self.conn.prepare(
            "SELECT id, \"table\", \"from\", \"to\", on_update, on_delete FROM pragma_foreign_key_list(?1) ORDER BY id, seq",
        )?;
        let mut keys: Vec<ForeignKey> = Vec::new();
        let mut rows = statement.query([&table.name])?;
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            if keys.last().is_none_or(|key| key.id != id) {
                keys.push(ForeignKey {
                    id,
                    to: row.get(1)?,
                    own: Vec::new(),
                    theirs: Vec::new(),
                    actions: format!(
                        "ON UPDATE {} ON DELETE {}",
                        row.get::<_, String>(4)?,
                        row.get::<_, String>(5)?
                    ),
                });
            }
            if let Some(key) = keys.last_mut() {
                key.own.push(row.get(2)?);
                key.theirs.extend(row.get::<_, Option<String>>(3)?);
            }
        }
        for key in keys {
            if !all.iter().any(|other| other.name == key.to) {
                writeln!(
                    out,
                    "-- a foreign key of {} to {} is left out",
                    line(&table.name),
                    line(&key.to)
                )?;
                continue;
            }
            let theirs = match key.theirs.is_empty() {
                true => String::new(),
                false => format!(" ({})", list(&key.theirs)),
            };
            writeln!(
                out,
                "ALTER TABLE {} ADD FOREIGN KEY ({}) REFERENCES {}{theirs} {};",
                quote(&table.name),
                list(&key.own),
                quote(&key.to),
                key.actions
            )?;
        }
        Ok(())
    }

    /// The last mutation ids, so that no mutation is applied a second time, and results that were not fetched.
    fn applied(&self, shard: &str, out: &mut dyn Write) -> Result<(), ExportError> {
        let is_served: bool = self.conn.query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = '_landfall_clients')",
            [],
            |row| row.get(0),
        )?;
        if !is_served {
            return Ok(());
        }
        let shard = quote(shard);
        let mut statement = self
            .conn
            .prepare("SELECT client_group, client, lmid FROM _landfall_clients ORDER BY 1, 2")?;
        let mut rows = statement.query(params![])?;
        while let Some(row) = rows.next()? {
            let (group, client) = (
                text(&row.get::<_, String>(0)?),
                text(&row.get::<_, String>(1)?),
            );
            let lmid: i64 = row.get(2)?;
            writeln!(
                out,
                "INSERT INTO {shard}.clients (\"clientGroupID\", \"clientID\", \"lastMutationID\") VALUES ({group}, {client}, {lmid});"
            )?;
        }
        let mut statement = self.conn.prepare(
            "SELECT client_group, client, id, result FROM _landfall_results WHERE result IS NOT NULL ORDER BY 1, 2, 3",
        )?;
        let mut rows = statement.query(params![])?;
        while let Some(row) = rows.next()? {
            let (group, client) = (
                text(&row.get::<_, String>(0)?),
                text(&row.get::<_, String>(1)?),
            );
            let (id, result): (i64, String) = (row.get(2)?, row.get(3)?);
            writeln!(
                out,
                "INSERT INTO {shard}.mutations (\"clientGroupID\", \"clientID\", \"mutationID\", result) VALUES ({group}, {client}, {id}, {});",
                text(&result)
            )?;
        }
        Ok(())
    }
}

struct ForeignKey {
    id: i64,
    to: String,
    own: Vec<String>,
    /// Empty: their primary key.
    theirs: Vec<String>,
    actions: String,
}

fn list(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| quote(name)).collect();
    names.join(", ")
}

fn line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A value as SQL; `None` if the column cannot carry it.
fn literal(ty: ColumnType, cell: Cell<'_>) -> Option<String> {
    Some(match (ty, cell) {
        (_, Cell::Null) => "NULL".to_owned(),
        (ColumnType::Boolean, Cell::Integer(value)) => (value != 0).to_string().to_uppercase(),
        (ColumnType::Number, Cell::Integer(value)) => value.to_string(),
        (ColumnType::Number, Cell::Real(value)) if value.is_finite() => format!("{value:?}"),
        (ColumnType::String, Cell::Text(bytes)) => text(readable(bytes)?),
        (ColumnType::Json, Cell::Text(bytes)) => {
            let json = readable(bytes)?;
            serde_json::from_str::<serde::de::IgnoredAny>(json).ok()?;
            text(json)
        }
        _ => return None,
    })
}

/// Text that Postgres can hold.
fn readable(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.contains('\0')).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_as_sql() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch(
            "CREATE TABLE \"Owner\" (id TEXT PRIMARY KEY NOT NULL, mail TEXT UNIQUE) STRICT;
             CREATE TABLE note (a INTEGER, b TEXT, owner TEXT REFERENCES \"Owner\" ON DELETE CASCADE, rank REAL, done BOOLEAN NOT NULL,
               meta JSON, pic BLOB, PRIMARY KEY (a, b));
             CREATE INDEX by_rank ON note (rank DESC, a);
             CREATE INDEX some ON note (a) WHERE done;
             INSERT INTO \"Owner\" VALUES ('o''1', NULL);
             INSERT INTO note VALUES (1, 'x', 'o''1', 0.5, 1, '{\"k\":\"it''s\"}', x'00'), (2, 'back\\slash', NULL, 3, 0, NULL, NULL);",
        )
        .unwrap();
        let run = || {
            let mut out = Vec::new();
            export(&path, "-- own", "zero_0", &mut out).map(|()| String::from_utf8(out).unwrap())
        };
        let expected = r#"BEGIN;
-- columns of note that cannot be synced are left out: pic (BLOB)
CREATE TABLE "Owner" (
  "id" text NOT NULL,
  "mail" text,
  PRIMARY KEY ("id")
);
INSERT INTO "Owner" ("id", "mail") VALUES
  ('o''1', NULL);
CREATE TABLE "note" (
  "a" bigint,
  "b" text,
  "owner" text,
  "rank" double precision,
  "done" boolean NOT NULL,
  "meta" jsonb,
  PRIMARY KEY ("a", "b")
);
INSERT INTO "note" ("a", "b", "owner", "rank", "done", "meta") VALUES
  (1, 'x', 'o''1', 0.5, TRUE, '{"k":"it''s"}'),
  (2, 'back\slash', NULL, 3.0, FALSE, NULL);
CREATE UNIQUE INDEX ON "Owner" ("mail");
CREATE INDEX ON "note" ("rank" DESC, "a");
-- the index some of note is left out: make it by hand
ALTER TABLE "note" ADD FOREIGN KEY ("owner") REFERENCES "Owner" ON UPDATE NO ACTION ON DELETE CASCADE;
-- own
COMMIT;
"#;
        assert_eq!(run().unwrap(), expected);
        conn.execute_batch("UPDATE note SET rank = 'high' WHERE a = 1")
            .unwrap();
        let refused = run().unwrap_err().to_string();
        assert_eq!(
            refused,
            "note.rank holds a value that is no number: mend it, then export again"
        );
    }
}
