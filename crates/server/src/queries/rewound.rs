//! A reader at a new version, shown as of an older one, and moved on change by change.
//!
//! What has not been pushed yet is taken back from its before-images; so one reader serves pipelines at different
//! versions, and no old snapshot is held.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use landfall_ivm::{AccessPath, FetchRequest, IndexSpec, Sink, Source, SourceError};
use landfall_zql::{Key, Row, Schema, TableId, compare};

use crate::replica::{Advance, RowChange};

/// A source in an older state.
pub struct Rewound<'a> {
    newest: &'a dyn Source,
    taken_back: BTreeMap<TableId, TakenBack>,
}

/// What is shown of a table in place of what the newest state has.
#[derive(Default)]
struct TakenBack {
    /// Images of a row, oldest first: what it was before each change that is taken back.
    images: BTreeMap<Key, VecDeque<Option<Row>>>,
    /// The oldest images in the orders that reads asked for.
    sorted: RefCell<BTreeMap<IndexSpec, Vec<Row>>>,
}

impl TakenBack {
    fn replace(&mut self, shown: Option<&Row>, next: Option<&Row>) {
        for (IndexSpec(order), rows) in self.sorted.get_mut() {
            let place = |row: &Row, rows: &[Row]| rows.binary_search_by(|r| order.compare(r, row));
            if let Some(shown) = shown
                && let Ok(at) = place(shown, rows)
            {
                rows.remove(at);
            }
            if let Some(next) = next
                && let Err(at) = place(next, rows)
            {
                rows.insert(at, next.clone());
            }
        }
    }

    /// The rows that a request asks for, in its direction.
    fn rows(&self, request: &FetchRequest<'_>) -> Vec<Row> {
        let mut sorted = self.sorted.borrow_mut();
        let spec = request.index();
        let rows: &Vec<Row> = sorted.entry(spec).or_insert_with_key(|IndexSpec(order)| {
            let shown = self.images.values().filter_map(VecDeque::front).flatten();
            let mut rows: Vec<Row> = shown.cloned().collect();
            rows.sort_unstable_by(|a, b| order.compare(a, b));
            rows
        });
        let compared = |row: &Row| {
            let columns = request.constraint.iter();
            let places = columns.map(|(column, value)| compare(row.get(*column), *value));
            places.fold(Ordering::Equal, Ordering::then)
        };
        let from = rows.partition_point(|row| compared(row).is_lt());
        let len = rows[from..].partition_point(|row| compared(row).is_eq());
        let mut among = &rows[from..from + len];
        if let Some(start) = request.start {
            // Those that the direction of travel has left behind lie on one side of the start.
            let behind = |row: &Row| request.compare(row, start.row).is_lt();
            among = match request.reverse {
                false => &among[among.partition_point(behind)..],
                true => &among[..among.partition_point(|row| !behind(row))],
            };
        }
        let admitted = among.iter().filter(|row| request.admits(row)).cloned();
        let mut rows: Vec<Row> = admitted.collect();
        if request.reverse {
            rows.reverse();
        }
        rows
    }
}

impl<'a> Rewound<'a> {
    /// `newest`, without these advances.
    pub fn new<'b>(
        newest: &'a dyn Source,
        advances: impl IntoIterator<Item = &'b Arc<Advance>>,
    ) -> Self {
        Rewound::before(newest, advances.into_iter().flat_map(|a| &a.changes))
    }

    /// `newest`, without these changes, oldest first.
    pub fn before<'b>(
        newest: &'a dyn Source,
        changes: impl IntoIterator<Item = &'b RowChange>,
    ) -> Self {
        let mut rewound = Rewound {
            newest,
            taken_back: BTreeMap::new(),
        };
        for change in changes {
            if let Some(key) = rewound.key(change) {
                let table = rewound.taken_back.entry(change.table).or_default();
                let images = table.images.entry(key).or_default();
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
        if let Entry::Occupied(mut images) = table.images.entry(key) {
            let shown = images.get_mut().pop_front().flatten();
            let next = images.get().front().cloned().flatten();
            if images.get().is_empty() {
                images.remove();
            }
            table.replace(shown.as_ref(), next.as_ref());
        }
        if table.images.is_empty() {
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
        let Some(taken_back) = self.taken_back.get(&request.table) else {
            return self.newest.fetch(request, sink);
        };
        if request.is_empty() {
            return Ok(());
        }
        let table = &self.newest.schema()[request.table];
        let mut older = taken_back.rows(request).into_iter().peekable();
        let mut flow = ControlFlow::Continue(());
        self.newest.fetch(request, &mut |row| {
            if taken_back.images.contains_key(&table.key_of(row)) {
                return ControlFlow::Continue(());
            }
            while let Some(before) = older.next_if(|o| request.compare(o, row).is_lt()) {
                flow = sink(&before);
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
            flow = sink(&row);
        }
        Ok(())
    }

    fn get(&self, table: TableId, key: &Key) -> Result<Option<Row>, SourceError> {
        let images = self.taken_back.get(&table).and_then(|t| t.images.get(key));
        match images.and_then(VecDeque::front) {
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

    fn has_index(&self, table: TableId, index: &IndexSpec) -> bool {
        self.newest.has_index(table, index)
    }

    fn access_path(&self, request: &FetchRequest<'_>) -> Result<Option<AccessPath>, SourceError> {
        self.newest.access_path(request)
    }
}
