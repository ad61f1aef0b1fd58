//! The change log inside the user's file: its tables, and the triggers by which every writer fills it.
//!
//! Entries name rows by key; what the rows were and are is read from two snapshots. Noting a row too often is
//! harmless, missing one is not: a REPLACE removes the rows that collide on any unique index without telling delete
//! triggers, so BEFORE triggers note all of those.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::tables::{MAX_KEY, UserTable};
use crate::replica::{SHARED_TABLES, quote};

/// Stands for a change of the schema in the log.
pub const SCHEMA_ENTRY: &str = "_landfall_schema";

/// Prefix of our triggers' names.
const TRIGGER_PREFIX: &str = "_landfall_";

fn own_tables() -> String {
    let keys: Vec<String> = (0..MAX_KEY).map(|at| format!("k{at}")).collect();
    format!(
        "{SHARED_TABLES}
        CREATE TABLE IF NOT EXISTS _landfall_log (seq INTEGER PRIMARY KEY AUTOINCREMENT, tbl TEXT NOT NULL, {});
        CREATE TABLE IF NOT EXISTS _landfall_state (lock INTEGER PRIMARY KEY CHECK (lock = 1), generation TEXT NOT NULL) STRICT;
        INSERT OR IGNORE INTO _landfall_state VALUES (1, lower(hex(randomblob(12))));",
        keys.join(", ")
    )
}

/// Makes our tables and sets the triggers right, in the open transaction. True if anything had to be changed.
pub fn install(conn: &Connection, tables: &[UserTable]) -> Result<bool, rusqlite::Error> {
    conn.execute_batch(&own_tables())?;
    let mut wanted: BTreeMap<String, String> = BTreeMap::new();
    for table in tables {
        wanted.extend(triggers(table));
    }
    wanted.extend(own_triggers());
    let mut changed = false;
    for (name, sql) in present(conn)? {
        if wanted.get(&name) == Some(&sql) {
            wanted.remove(&name);
        } else {
            conn.execute_batch(&format!("DROP TRIGGER {}", quote(&name)))?;
            changed = true;
        }
    }
    changed |= !wanted.is_empty();
    for sql in wanted.values() {
        conn.execute_batch(sql)?;
    }
    if changed {
        conn.execute(
            "INSERT INTO _landfall_log (tbl) VALUES (?1)",
            [SCHEMA_ENTRY],
        )?;
    }
    Ok(changed)
}

/// Whether the triggers are as they should be.
pub fn is_installed(conn: &Connection, tables: &[UserTable]) -> Result<bool, rusqlite::Error> {
    let mut wanted: BTreeMap<String, String> = tables.iter().flat_map(triggers).collect();
    wanted.extend(own_triggers());
    Ok(present(conn)? == wanted)
}

fn present(conn: &Connection) -> Result<BTreeMap<String, String>, rusqlite::Error> {
    conn.prepare("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND substr(name, 1, length(?1)) = ?1")?
        .query_map([TRIGGER_PREFIX], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// The triggers of a user's table by name.
fn triggers(table: &UserTable) -> Vec<(String, String)> {
    let name = quote(&table.name);
    let label = format!("'{}'", table.name.replace('\'', "''"));
    let key = |prefix: &str| {
        let columns: Vec<String> = table
            .row_key
            .iter()
            .map(|c| format!("{prefix}{}", quote(c)))
            .collect();
        columns.join(", ")
    };
    let places: Vec<String> = (0..table.row_key.len())
        .map(|at| format!("k{at}"))
        .collect();
    let insert = format!("INSERT INTO _landfall_log (tbl, {})", places.join(", "));
    let note = |prefix: &str| format!("{insert} VALUES ({label}, {});", key(prefix));
    let collisions: String = table
        .collisions
        .iter()
        .map(|index| {
            let terms: Vec<String> = index
                .iter()
                .map(|part| {
                    format!(
                        "{0} COLLATE {1} = NEW.{0}",
                        quote(&part.column),
                        part.collation
                    )
                })
                .collect();
            format!(
                " {insert} SELECT {label}, {} FROM {name} WHERE {};",
                key(""),
                terms.join(" AND ")
            )
        })
        .collect();
    let trigger = |suffix: &str, event: &str, body: &str| {
        let trigger = format!("{TRIGGER_PREFIX}on_{}_{suffix}", table.name);
        let sql = format!(
            "CREATE TRIGGER {} {event} ON {name} BEGIN {} END",
            quote(&trigger),
            body.trim()
        );
        (trigger, sql)
    };
    let mut triggers = vec![
        trigger("ai", "AFTER INSERT", &note("NEW.")),
        trigger(
            "au",
            "AFTER UPDATE",
            &format!("{} {}", note("OLD."), note("NEW.")),
        ),
        trigger("ad", "AFTER DELETE", &note("OLD.")),
    ];
    if !collisions.is_empty() {
        triggers.push(trigger("bi", "BEFORE INSERT", &collisions));
        triggers.push(trigger("bu", "BEFORE UPDATE", &collisions));
    }
    triggers
}

/// The triggers of our own tables: they also stamp each row with the version of its last change.
fn own_triggers() -> Vec<(String, String)> {
    let stamp = |table: &str, event: &str, suffix: &str, keys: &[&str]| {
        let trigger = format!("{table}_{suffix}");
        let places: Vec<String> = (0..keys.len()).map(|at| format!("k{at}")).collect();
        let values: Vec<String> = keys.iter().map(|key| format!("NEW.{key}")).collect();
        let terms: Vec<String> = keys
            .iter()
            .map(|key| format!("{key} = NEW.{key}"))
            .collect();
        let sql = format!(
            "CREATE TRIGGER {trigger} AFTER {event} ON {table} BEGIN \
             INSERT INTO _landfall_log (tbl, {}) VALUES ('{table}', {}); \
             UPDATE {table} SET version = last_insert_rowid() WHERE {}; END",
            places.join(", "),
            values.join(", "),
            terms.join(" AND ")
        );
        (trigger, sql)
    };
    let permissions = |event: &str, suffix: &str| {
        let trigger = format!("_landfall_permissions_{suffix}");
        let sql = format!(
            "CREATE TRIGGER {trigger} AFTER {event} ON _landfall_permissions BEGIN \
             INSERT INTO _landfall_log (tbl) VALUES ('_landfall_permissions'); END"
        );
        (trigger, sql)
    };
    let (client, result) = (["client_group", "client"], ["client_group", "client", "id"]);
    vec![
        stamp("_landfall_clients", "INSERT", "ai", &client),
        stamp("_landfall_clients", "UPDATE OF lmid", "au", &client),
        stamp("_landfall_results", "INSERT", "ai", &result),
        stamp("_landfall_results", "UPDATE OF result", "au", &result),
        permissions("INSERT", "ai"),
        permissions("UPDATE", "au"),
        permissions("DELETE", "ad"),
    ]
}
