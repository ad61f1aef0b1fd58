//! Indexes made on demand for the orders and constraints of queries.

use landfall_zql::ast::Direction;
use landfall_zql::{Order, TableId};
use rusqlite::Connection;

use super::{ReplicaError, ReplicaSchema, ReplicaTable, quote};

/// Own indexes that a table gets at most: each costs at every write.
const MAX_PER_TABLE: usize = 32;

/// An index that a query would use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct IndexWish {
    /// The table.
    pub table: TableId,
    /// Columns that are fixed to a value, ascending.
    pub fixed: Vec<usize>,
    /// The other columns, in the order of rows; true is descending.
    pub order: Vec<(usize, bool)>,
}

impl IndexWish {
    /// An index on columns in an order.
    pub fn ordered(table: TableId, order: &Order) -> Self {
        let order = order.0.iter();
        IndexWish {
            table,
            fixed: Vec::new(),
            order: order
                .map(|&(column, direction)| (column, direction == Direction::Desc))
                .collect(),
        }
    }

    /// Whether its first columns are a unique key, whose own index serves.
    pub fn begins_with_key(&self, table: &ReplicaTable) -> bool {
        table.unique_keys.iter().any(|key| {
            let first = self.order.iter().take(key.len());
            let mut columns: Vec<usize> = first.map(|(column, _)| *column).collect();
            columns.sort_unstable();
            columns == *key
        })
    }

    /// Its columns as SQL writes them.
    pub fn columns(&self, table: &ReplicaTable) -> String {
        let fixed = self.fixed.iter().map(|&column| (column, false));
        let columns = fixed.chain(self.order.iter().copied());
        let part = |(column, desc): (usize, bool)| {
            let name = table.columns.get(column).map_or("?", |column| &column.name);
            format!("{}{}", quote(name), if desc { " DESC" } else { "" })
        };
        columns.map(part).collect::<Vec<_>>().join(", ")
    }

    fn parts<'a>(&self, table: &'a ReplicaTable) -> Option<Vec<(&'a str, bool)>> {
        let fixed = self.fixed.iter().map(|&column| (column, false));
        fixed
            .chain(self.order.iter().copied())
            .map(|(column, desc)| Some((table.columns.get(column)?.name.as_str(), desc)))
            .collect()
    }

    /// Whether the fixed columns leave one row at most, so that the key's own index serves.
    pub fn is_lookup(&self, table: &ReplicaTable) -> bool {
        let fixed = |key: &Vec<usize>| key.iter().all(|column| self.fixed.contains(column));
        table.unique_keys.iter().any(fixed)
    }
}

/// Whether the table has an index that serves.
pub(super) fn is_served(
    conn: &Connection,
    table: &ReplicaTable,
    wish: &IndexWish,
) -> Result<bool, ReplicaError> {
    let Some(parts) = wish.parts(table) else {
        return Ok(false);
    };
    let existing = read(conn, table)?;
    Ok(existing
        .iter()
        .any(|index| index.serves(&parts, wish.fixed.len())))
}

/// Makes the index unless the table has one that serves.
pub(crate) fn make(
    conn: &Connection,
    schema: &ReplicaSchema,
    wish: &IndexWish,
) -> Result<bool, ReplicaError> {
    let Some(table) = schema.table(wish.table).filter(|table| !table.is_gone()) else {
        return Ok(false);
    };
    let Some(parts) = wish.parts(table).filter(|parts| !parts.is_empty()) else {
        return Ok(false);
    };
    let existing = read(conn, table)?;
    let own = existing.iter().filter(|index| index.own).count();
    if existing
        .iter()
        .any(|index| index.serves(&parts, wish.fixed.len()))
        || own >= MAX_PER_TABLE
    {
        return Ok(false);
    }
    let columns: Vec<String> = parts
        .iter()
        .map(|(name, desc)| {
            let direction = if *desc { " DESC" } else { "" };
            format!("{} COLLATE BINARY{direction}", quote(name))
        })
        .collect();
    let labels: Vec<String> = parts
        .iter()
        .map(|(name, desc)| format!("{name}{}", if *desc { " desc" } else { "" }))
        .collect();
    let index = format!("_landfall_ix_{}({})", table.sql_name, labels.join(","));
    conn.execute_batch(&format!(
        "CREATE INDEX IF NOT EXISTS {} ON {} ({})",
        quote(&index),
        quote(&table.sql_name),
        columns.join(",")
    ))?;
    tracing::info!(table = %table.name, columns = %labels.join(","), "made an index for a query");
    Ok(true)
}

/// A whole (not partial) index over plain columns in binary order.
struct Existing {
    own: bool,
    parts: Vec<(Option<String>, bool)>,
}

impl Existing {
    /// Whether rows with the first `fixed` columns given come out in order, forwards or backwards.
    fn serves(&self, wanted: &[(&str, bool)], fixed: usize) -> bool {
        let named = self.parts.len() >= wanted.len()
            && self
                .parts
                .iter()
                .zip(wanted)
                .all(|((name, _), (wanted, _))| name.as_deref() == Some(wanted));
        let turns = self.parts.iter().zip(wanted).skip(fixed);
        let turned: Vec<bool> = turns
            .map(|((_, desc), (_, wanted))| desc != wanted)
            .collect();
        named && (turned.iter().all(|turned| *turned) || !turned.contains(&true))
    }
}

fn read(conn: &Connection, table: &ReplicaTable) -> Result<Vec<Existing>, ReplicaError> {
    let mut names =
        conn.prepare_cached("SELECT name FROM pragma_index_list(?1) WHERE partial = 0")?;
    let names = names
        .query_map([&table.sql_name], |row| row.get::<_, String>(0))?
        .collect::<Result<Vec<_>, _>>()?;
    names
        .into_iter()
        .map(|name| {
            let mut parts = conn.prepare_cached(
                "SELECT CASE coll WHEN 'BINARY' THEN name END, \"desc\" FROM pragma_index_xinfo(?1) WHERE key = 1 ORDER BY seqno",
            )?;
            let parts = parts
                .query_map([&name], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<Vec<_>, _>>()?;
            Ok(Existing {
                own: name.starts_with("_landfall_ix_"),
                parts,
            })
        })
        .collect()
}
