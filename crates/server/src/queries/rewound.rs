//! A reader at a new version, shown as of an older one, and moved on change by change.
//!
//! What has not been pushed yet is taken back from its before-images; so one reader serves pipelines at different
//! versions, and no old snapshot is held.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use landfall_ivm::{FetchRequest, Sink, Source, SourceError};
use landfall_zql::{Key, Row, Schema, TableId};

use crate::replica::{Advance, RowChange};

/// Images of a row, oldest first: what it was before each change that is taken back.
type Images = VecDeque<Option<Row>>;

/// A source in an older state.
pub struct Rewound<'a> {
    newest: &'a dyn Source,
    taken_back: BTreeMap<TableId, BTreeMap<Key, Images>>,
}

impl<'a> Rewound<'a> {
    /// `newest`, without these advances.
    pub fn new<'b>(
        newest: &'a dyn Source,
        advances: impl IntoIterator<Item = &'b Arc<Advance>>,
    ) -> Self {
        let mut rewound = Rewound {
            newest,
            taken_back: BTreeMap::new(),
        };
        for change in advances.into_iter().flat_map(|a| &a.changes) {
            if let Some(key) = rewound.key(change) {
                let images = rewound
                    .taken_back
                    .entry(change.table)
                    .or_default()
                    .entry(key)
                    .or_default();
                images.push_back(change.before.clone());
            }
        }
        rewound
    }

    /// Shows the oldest change that is taken back: it has been pushed.
    pub fn reveal(&mut self, change: &RowChange) {
        let Some(key) = self.key(change) else { return };
        let Some(table) = self.taken_back.get_mut(&change.table) else {
            return;
        };
        if let Some(images) = table.get_mut(&key) {
            images.pop_front();
            if images.is_empty() {
                table.remove(&key);
            }
        }
        if table.is_empty() {
            self.taken_back.remove(&change.table);
        }
    }

    /// A changed key comes as a removal and an addition, so both images have one key.
    fn key(&self, change: &RowChange) -> Option<Key> {
        let row = change.before.as_ref().or(change.after.as_ref())?;
        Some(self.newest.schema()[change.table].key_of(row))
    }
}

impl Source for Rewound<'_> {
    fn schema(&self) -> &Schema {
        self.newest.schema()
    }

    fn fetch(&self, request: &FetchRequest<'_>, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        let Some(images) = self.taken_back.get(&request.table) else {
            return self.newest.fetch(request, sink);
        };
        let table = &self.newest.schema()[request.table];
        let shown = images
            .values()
            .filter_map(|images| images.front().and_then(Option::as_ref));
        let mut older: Vec<&Row> = shown.filter(|row| request.admits(row)).collect();
        older.sort_by(|a, b| request.compare(a, b));
        let mut older = older.into_iter().peekable();
        let mut flow = ControlFlow::Continue(());
        self.newest.fetch(request, &mut |row| {
            if images.contains_key(&table.key_of(row)) {
                return ControlFlow::Continue(());
            }
            while let Some(before) = older.next_if(|o| request.compare(o, row).is_lt()) {
                flow = sink(before);
                if flow.is_break() {
                    return flow;
                }
            }
            flow = sink(row);
            flow
        })?;
        for row in older {
            if flow.is_break() {
                break;
            }
            flow = sink(row);
        }
        Ok(())
    }

    fn get(&self, table: TableId, key: &Key) -> Result<Option<Row>, SourceError> {
        match self
            .taken_back
            .get(&table)
            .and_then(|images| images.get(key))
            .and_then(VecDeque::front)
        {
            Some(image) => Ok(image.clone()),
            None => self.newest.get(table, key),
        }
    }

    fn row_count(&self, table: TableId) -> Result<Option<u64>, SourceError> {
        self.newest.row_count(table)
    }

    fn sample(&self, table: TableId, count: usize, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        self.newest.sample(table, count, sink)
    }
}
