//! What planners ask of tables: about how many rows there are, and a sample of them, without reading them all.
//!
//! Places in a rowid table are tried at even distances. SQLite keeps no counts, and its own statistics are only as new
//! as the last `ANALYZE`, which nobody runs on a user's file.

use std::time::{Duration, Instant};

use landfall_zql::{Row, RowBuilder, TableId};
use rusqlite::OptionalExtension;

use super::{Reader, ReplicaError, ReplicaTable, carried, quote, read_row, sql};

/// Rows that are counted one by one; larger tables are estimated.
const COUNTED: u64 = 4096;
/// Places that are tried.
const PLACES: u64 = 256;
/// How long what was found is taken to be true.
const LIFETIME: Duration = Duration::from_secs(60);

/// A table, as it was found.
#[derive(Debug)]
pub(super) struct Statistic {
    pub rows: u64,
    pub sample: Vec<Row>,
    taken: Instant,
}

impl Statistic {
    pub fn is_fresh(&self) -> bool {
        self.taken.elapsed() < LIFETIME
    }
}

impl Reader {
    /// Uses what is known of a table, found now unless it was found lately.
    pub(super) fn statistic<T>(
        &self,
        id: TableId,
        use_it: impl FnOnce(&Statistic) -> T,
    ) -> Result<T, ReplicaError> {
        if let Some(known) = self.statistics.borrow().get(&id)
            && known.is_fresh()
        {
            return Ok(use_it(known));
        }
        let found = self.look_at(self.table(id)?)?;
        let result = use_it(&found);
        self.statistics.borrow_mut().insert(id, found);
        Ok(result)
    }

    fn look_at(&self, table: &ReplicaTable) -> Result<Statistic, ReplicaError> {
        let name = quote(&table.sql_name);
        let counted: u64 = self
            .connection()
            .prepare_cached(&format!(
                "SELECT count(*) FROM (SELECT 1 FROM {name} LIMIT {COUNTED})"
            ))?
            .query_row([], |row| row.get::<_, i64>(0))?
            .unsigned_abs();
        let (rows, sample) = match self.span(table) {
            Some(span) if counted == COUNTED => self.spread(table, span)?,
            _ => (counted, self.first(table, counted.div_ceil(PLACES).max(1))?),
        };
        Ok(Statistic {
            rows: rows.max(counted),
            sample,
            taken: Instant::now(),
        })
    }

    /// The first and the last rowid; `None` for tables that have none.
    fn span(&self, table: &ReplicaTable) -> Option<(i64, i64)> {
        let is_named = |name: &str| {
            let mut columns = table.columns.iter();
            columns.any(|column| column.name.eq_ignore_ascii_case(name))
        };
        if is_named("rowid") {
            return None;
        }
        let name = quote(&table.sql_name);
        let sql =
            format!("SELECT (SELECT min(rowid) FROM {name}), (SELECT max(rowid) FROM {name})");
        // A table without rowids has no such column.
        let mut statement = self.connection().prepare_cached(&sql).ok()?;
        statement
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
            .ok()
    }

    /// Rows at even distances, and how many there are by the distances to them.
    fn spread(
        &self,
        table: &ReplicaTable,
        (first, last): (i64, i64),
    ) -> Result<(u64, Vec<Row>), ReplicaError> {
        let span = last.abs_diff(first).saturating_add(1);
        let mut statement = self.connection().prepare_cached(&format!(
            "SELECT rowid, {} FROM {} WHERE rowid >= ?1 ORDER BY rowid LIMIT 1",
            sql::columns(table),
            quote(&table.sql_name)
        ))?;
        let mut builder = RowBuilder::default();
        let mut sample = Vec::new();
        let mut gaps = Vec::new();
        for place in 0..PLACES {
            let offset = (u128::from(span) * u128::from(place) / u128::from(PLACES)) as u64;
            let wanted = first.saturating_add_unsigned(offset);
            let found = statement
                .query_row([wanted], |row| {
                    let found: i64 = row.get(0)?;
                    Ok((found, read_row(table, row, 1, &mut builder)))
                })
                .optional()?;
            let Some((found, row)) = found else { continue };
            gaps.push(found.abs_diff(wanted));
            sample.extend(carried(row)?);
        }
        gaps.sort_unstable();
        // The median: a few large holes say nothing of the rest.
        let gap = gaps.get(gaps.len() / 2).copied().unwrap_or(0);
        Ok((span / gap.saturating_mul(2).saturating_add(1), sample))
    }

    /// Every so many rows of a table that is small, or the first ones of one without rowids.
    fn first(&self, table: &ReplicaTable, step: u64) -> Result<Vec<Row>, ReplicaError> {
        let mut statement = self.connection().prepare_cached(&format!(
            "SELECT {} FROM {} LIMIT {COUNTED}",
            sql::columns(table),
            quote(&table.sql_name)
        ))?;
        let mut builder = RowBuilder::default();
        let mut rows = statement.query([])?;
        let mut sample = Vec::new();
        let mut at = 0_u64;
        while let Some(row) = rows.next()? {
            if at.is_multiple_of(step) {
                sample.extend(carried(read_row(table, row, 0, &mut builder))?);
            }
            at += 1;
        }
        Ok(sample)
    }
}

#[cfg(test)]
mod tests {
    use landfall_ivm::Source;
    use rusqlite::Connection;

    use crate::upstream::embedded::ByHand;

    /// About how many rows a planner is told of, and how many it is shown.
    fn check(
        script: &str,
        rows: std::ops::RangeInclusive<u64>,
        shown: std::ops::RangeInclusive<usize>,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let conn = Connection::open(&path).unwrap();
        let numbers =
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)";
        conn.execute_batch(&script.replace("NUMBERS", numbers))
            .unwrap();
        let file = ByHand::open(&path).unwrap();
        let reader = file.replica().reader().unwrap();
        let table = Source::schema(&reader).table("t").unwrap();
        let count = reader.row_count(table).unwrap().unwrap();
        assert!(rows.contains(&count), "{script}: {count} rows");
        let mut sample = 0;
        reader
            .sample(table, 256, &mut |_| {
                sample += 1;
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        assert!(shown.contains(&sample), "{script}: {sample} shown");
    }

    #[test]
    fn tables_are_counted_and_sampled() {
        let table = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT);";
        check(table, 0..=0, 0..=0);
        check(
            &format!("{table} NUMBERS INSERT INTO t SELECT i, 'x' FROM n LIMIT 100"),
            100..=100,
            100..=100,
        );
        check(
            &format!("{table} NUMBERS INSERT INTO t SELECT i, 'x' FROM n LIMIT 3000"),
            3000..=3000,
            200..=256,
        );
        check(
            &format!("{table} NUMBERS INSERT INTO t SELECT i, 'x' FROM n"),
            20_000..=20_000,
            256..=256,
        );
        // Far apart, and with a hole.
        check(
            &format!("{table} NUMBERS INSERT INTO t SELECT i * 1000000, 'x' FROM n"),
            10_000..=40_000,
            256..=256,
        );
        check(
            &format!(
                "{table} NUMBERS INSERT INTO t SELECT i, 'x' FROM n; DELETE FROM t WHERE id BETWEEN 5000 AND 12000"
            ),
            10_000..=20_000,
            200..=256,
        );
        // Without rowids a large table is larger than was counted.
        let table = "CREATE TABLE t (id TEXT PRIMARY KEY NOT NULL, a TEXT) WITHOUT ROWID;";
        check(
            &format!("{table} NUMBERS INSERT INTO t SELECT 'k' || i, 'x' FROM n"),
            4096..=4096,
            200..=256,
        );
        let table = "CREATE TABLE t (id TEXT PRIMARY KEY NOT NULL, rowid TEXT);";
        check(
            &format!("{table} NUMBERS INSERT INTO t SELECT 'k' || i, 'x' FROM n LIMIT 100"),
            100..=100,
            100..=100,
        );
    }
}
