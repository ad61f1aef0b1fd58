//! What a planner knows of tables: how many rows they have, and a sample of them that stands for the rest.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::ops::ControlFlow;

use landfall_zql::sort::sort_by;
use landfall_zql::{Row, TableId, compare};

use crate::error::SourceError;
use crate::source::{IndexSpec, Source};

/// Rows of a table that are looked at: shares below one in so many are guesses.
const SAMPLE: usize = 128;

/// Tables of a source, each asked for once.
pub(crate) struct Statistics<'a> {
    source: &'a dyn Source,
    tables: Vec<(TableId, Option<Table>)>,
}

/// A table in numbers.
pub(crate) struct Table {
    pub rows: f64,
    sample: Vec<Row>,
    pub primary_key: Vec<usize>,
    /// By columns.
    seen: RefCell<Vec<(Vec<usize>, Seen)>>,
}

/// What a sample has in some columns: rows without NULL, different values among them, and values seen only once.
#[derive(Clone, Copy, Default)]
struct Seen {
    rows: f64,
    different: f64,
    once: f64,
}

impl<'a> Statistics<'a> {
    pub fn new(source: &'a dyn Source) -> Statistics<'a> {
        Statistics {
            source,
            tables: Vec::new(),
        }
    }

    /// Whether the source has an index.
    pub fn has_index(&self, table: TableId, index: &IndexSpec) -> bool {
        self.source.has_index(table, index)
    }

    /// An index of the source that begins with these columns.
    pub fn index_on(&self, table: TableId, columns: &[usize]) -> Option<IndexSpec> {
        self.source.index_on(table, columns)
    }

    /// A table; `None` when the source knows nothing of it.
    pub fn table(&mut self, id: TableId) -> Option<&Table> {
        let known = self.tables.iter().position(|(known, _)| *known == id);
        let at = known.unwrap_or_else(|| {
            // A table that cannot be read now is one that nothing is known of.
            self.tables.push((id, self.read(id).unwrap_or_default()));
            self.tables.len() - 1
        });
        self.tables[at].1.as_ref()
    }

    fn read(&self, id: TableId) -> Result<Option<Table>, SourceError> {
        let Some(rows) = self.source.row_count(id)? else {
            return Ok(None);
        };
        let mut sample = Vec::new();
        self.source.sample(id, SAMPLE, &mut |row| {
            sample.push(row.clone());
            ControlFlow::Continue(())
        })?;
        let rows = (rows as f64).max(sample.len() as f64);
        Ok(Some(Table {
            rows,
            sample,
            primary_key: self.source.schema()[id].primary_key.clone(),
            seen: RefCell::default(),
        }))
    }
}

impl Table {
    /// The share of rows that pass.
    pub fn share(&self, passes: impl Fn(&Row) -> bool) -> f64 {
        let seen = self.sample.len() as f64;
        let hits = self.sample.iter().filter(|row| passes(row)).count() as f64;
        if seen >= self.rows {
            return if hits == 0.0 { 0.0 } else { hits / seen };
        }
        // Not seen does not mean not there.
        (hits + 0.5) / (seen + 1.0)
    }

    /// Whether no two rows have the same values in these columns.
    pub fn is_unique(&self, columns: &[usize]) -> bool {
        self.primary_key.iter().all(|key| columns.contains(key))
    }

    /// How many different values the rows have in these columns together, NULL left out. `likely` is what the number
    /// is if a sample cannot tell: nearly all of it differs.
    pub fn distinct(&self, columns: &[usize], likely: f64) -> f64 {
        if self.is_unique(columns) {
            return self.rows.max(1.0);
        }
        let Seen {
            rows: seen,
            different,
            once,
        } = self.seen(columns);
        if seen == 0.0 {
            return 1.0;
        }
        let rows = self.rows * seen / self.sample.len() as f64;
        if seen >= rows {
            return different;
        }
        // What was seen once stands for more that was not seen at all.
        let estimate = (rows / seen).sqrt() * once + (different - once);
        if once >= seen * 0.8 {
            estimate.max(likely.min(rows))
        } else {
            estimate.min(rows)
        }
    }

    /// Looks at the values of columns in the sample, once for each set of columns.
    fn seen(&self, columns: &[usize]) -> Seen {
        let mut known = self.seen.borrow_mut();
        if let Some((_, seen)) = known.iter().find(|(of, _)| of == columns) {
            return *seen;
        }
        let is_null = |row: &Row| columns.iter().any(|column| row.get(*column).is_null());
        let mut rows: Vec<&Row> = self.sample.iter().filter(|row| !is_null(row)).collect();
        let by_value = |a: &Row, b: &Row| {
            let parts = columns.iter();
            let mut parts = parts.map(|column| compare(a.get(*column), b.get(*column)));
            parts.find(|part| part.is_ne()).unwrap_or(Ordering::Equal)
        };
        sort_by(&mut rows, |a, b| by_value(a, b));
        let mut seen = Seen {
            rows: rows.len() as f64,
            ..Seen::default()
        };
        for equal in rows.chunk_by(|a, b| by_value(a, b).is_eq()) {
            seen.different += 1.0;
            seen.once += f64::from(u8::from(equal.len() == 1));
        }
        known.push((columns.to_vec(), seen));
        seen
    }
}
