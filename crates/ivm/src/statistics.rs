//! What a planner knows of tables: how many rows they have, and a sample of them that stands for the rest.

use landfall_zql::sort::sort;
use landfall_zql::{Key, Row, TableId};

use crate::error::SourceError;
use crate::source::Source;
use std::ops::ControlFlow;

/// Rows of a table that are looked at: shares below one in so many are guesses.
const SAMPLE: usize = 256;

/// Tables of a source, each asked for once.
pub(crate) struct Statistics<'a> {
    source: &'a dyn Source,
    tables: Vec<(TableId, Option<Table>)>,
}

/// A table in numbers.
pub(crate) struct Table {
    pub rows: f64,
    sample: Vec<Row>,
}

impl<'a> Statistics<'a> {
    pub fn new(source: &'a dyn Source) -> Statistics<'a> {
        Statistics {
            source,
            tables: Vec::new(),
        }
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
        Ok(Some(Table { rows, sample }))
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

    /// How many different values the rows have in these columns together, NULL left out. `likely` is what the number
    /// is if a sample cannot tell: nearly all of it differs.
    pub fn distinct(&self, columns: &[usize], likely: f64) -> f64 {
        let mut keys: Vec<Key> = self
            .sample
            .iter()
            .filter(|row| columns.iter().all(|column| !row.get(*column).is_null()))
            .map(|row| {
                Key(Row::from_values(
                    columns.iter().map(|column| row.get(*column)),
                ))
            })
            .collect();
        sort(&mut keys);
        let (mut different, mut once) = (0.0_f64, 0.0_f64);
        for equal in keys.chunk_by(|a, b| a == b) {
            different += 1.0;
            once += f64::from(u8::from(equal.len() == 1));
        }
        let seen = keys.len() as f64;
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
}
