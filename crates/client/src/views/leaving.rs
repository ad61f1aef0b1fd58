//! Rows that are not needed any more, let go of little by little: to free as many as a page may hold takes long.

use landfall_ivm::{MemorySource, Steps};
use landfall_store::RowChange;

/// So many changes are let go of at a time.
const AT_ONCE: usize = 64;

/// What is still to be freed.
#[derive(Default)]
pub(crate) struct Leaving {
    sources: Vec<MemorySource>,
    changes: Vec<std::vec::IntoIter<RowChange>>,
}

impl Leaving {
    /// Rows that were visible, or on a stage.
    pub(crate) fn take_source(&mut self, mut source: MemorySource) {
        // Most share nearly all of what they hold with those in their place.
        if source.shed() > 0 {
            self.sources.push(source);
        }
    }

    /// Rows as they came.
    pub(crate) fn take_changes(&mut self, changes: Vec<RowChange>) {
        if changes.len() > AT_ONCE {
            self.changes.push(changes.into_iter());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.changes.is_empty()
    }

    /// Frees rows as long as there are steps.
    pub(crate) fn work(&mut self, steps: &Steps) {
        while !steps.are_spent() {
            let gone = match (self.sources.last_mut(), self.changes.last_mut()) {
                (Some(source), _) => source.shed(),
                (None, Some(changes)) => changes.take(AT_ONCE).count(),
                (None, None) => return,
            };
            if gone == 0 && self.sources.pop().is_none() {
                self.changes.pop();
            }
            steps.spend_many(gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_zql::{Row, Schema, TableId, ValueRef};

    const ROWS: usize = 2_000;

    fn rows() -> impl Iterator<Item = Row> {
        (0..ROWS).map(|n| Row::from_values([ValueRef::Number(n as f64)]))
    }

    fn source() -> MemorySource {
        let json = r#"{"tables":{"a":{"columns":{"id":{"type":"number"}},"primaryKey":["id"]}}}"#;
        let schema = Schema::from_json(json).expect("a schema");
        let mut source = MemorySource::new(schema.into());
        source.append_all(TableId(0), &mut rows());
        source
    }

    #[test]
    fn rows_are_freed_in_slices() {
        let mut leaving = Leaving::default();
        leaving.take_source(source());
        let put = |row| RowChange::Put {
            table: TableId(0),
            row,
        };
        leaving.take_changes(rows().map(put).collect());
        let mut slices = 0;
        while !leaving.is_empty() {
            leaving.work(&Steps::new(1));
            slices += 1;
        }
        assert!(slices > ROWS / 256 + ROWS / AT_ONCE, "{slices}");
    }

    #[test]
    fn what_is_shared_is_not_gone_through() {
        let mut leaving = Leaving::default();
        let shown = source();
        leaving.take_source(shown.clone());
        assert!(leaving.is_empty());
        assert_eq!(shown.len(TableId(0)), ROWS);
    }
}
