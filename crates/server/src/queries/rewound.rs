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

/// What is shown in place of what the newest state has.
#[derive(Default)]
pub(super) struct Undo {
    tables: BTreeMap<TableId, TakenBack>,
}

/// What is shown of a table in place of what the newest state has.
#[derive(Default)]
struct TakenBack {
    /// Images of a row, oldest first: what it was before each change that is taken back.
    images: BTreeMap<Key, VecDeque<Option<Row>>>,
    /// The oldest images in the orders that reads asked for.
    sorted: RefCell<BTreeMap<IndexSpec, Arc<Vec<Row>>>>,
}

impl TakenBack {
    fn replace(&mut self, shown: Option<&Row>, next: Option<&Row>) {
        for (IndexSpec(order), rows) in self.sorted.get_mut() {
            // Nobody reads between two changes, so nothing is copied.
            let rows = Arc::make_mut(rows);
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

    fn sorted(&self, spec: IndexSpec) -> Arc<Vec<Row>> {
        let mut sorted = self.sorted.borrow_mut();
        let rows = sorted.entry(spec).or_insert_with_key(|IndexSpec(order)| {
            let shown = self.images.values().filter_map(VecDeque::front).flatten();
            let mut rows: Vec<Row> = shown.cloned().collect();
            rows.sort_unstable_by(|a, b| order.compare(a, b));
            Arc::new(rows)
        });
        rows.clone()
    }

    /// The rows that a request asks for, in its direction.
    fn rows<'a>(&self, request: &'a FetchRequest<'a>) -> impl Iterator<Item = Row> + 'a {
        let rows = self.sorted(request.index());
        let compared = |row: &Row| {
            let columns = request.constraint.iter();
            let places = columns.map(|(column, value)| compare(row.get(*column), *value));
            places.fold(Ordering::Equal, Ordering::then)
        };
        let mut from = rows.partition_point(|row| compared(row).is_lt());
        let mut to = from + rows[from..].partition_point(|row| compared(row).is_eq());
        if let Some(start) = request.start {
            // Those that the direction of travel has left behind lie on one side of the start.
            let behind = |row: &Row| request.compare(row, start.row).is_lt();
            match request.reverse {
                false => from += rows[from..to].partition_point(behind),
                true => to = from + rows[from..to].partition_point(|row| !behind(row)),
            }
        }
        let is_reverse = request.reverse;
        (from..to)
            .map(move |at| rows[if is_reverse { from + to - 1 - at } else { at }].clone())
            .filter(|row| request.admits(row))
    }
}

impl Undo {
    /// Takes a change back that came after all others.
    pub(super) fn add(&mut self, schema: &Schema, change: &RowChange) {
        let Some(key) = key_of(schema, change) else {
            return;
        };
        let table = self.tables.entry(change.table).or_default();
        let images = table.images.entry(key).or_default();
        images.push_back(change.before.clone());
        if images.len() == 1 {
            table.replace(None, change.before.as_ref());
        }
    }

    /// Shows the oldest change that is taken back: it has been pushed.
    pub(super) fn reveal(&mut self, schema: &Schema, change: &RowChange) {
        let Some(key) = key_of(schema, change) else {
            return;
        };
        let Some(table) = self.tables.get_mut(&change.table) else {
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
            self.tables.remove(&change.table);
        }
    }

    /// Forgets what was taken back of a table.
    pub(super) fn forget(&mut self, table: TableId) {
        self.tables.remove(&table);
    }

    /// `newest` as it was.
    pub(super) fn over<'a>(&'a self, newest: &'a dyn Source) -> Undone<'a> {
        Undone { newest, undo: self }
    }
}

/// A changed key comes as a removal and an addition, so both images have one key.
fn key_of(schema: &Schema, change: &RowChange) -> Option<Key> {
    let row = change.before.as_ref().or(change.after.as_ref())?;
    Some(schema[change.table].key_of(row))
}

/// A source in an older state.
pub struct Rewound<'a> {
    newest: &'a dyn Source,
    undo: Undo,
}

impl<'a> Rewound<'a> {
    /// `newest`, without these advances.
    pub fn new<'b>(
        newest: &'a dyn Source,
        advances: impl IntoIterator<Item = &'b Arc<Advance>>,
    ) -> Self {
        let mut undo = Undo::default();
        for change in advances.into_iter().flat_map(|a| &a.changes) {
            undo.add(newest.schema(), change);
        }
        Rewound { newest, undo }
    }

    /// Shows the oldest change that is taken back: it has been pushed.
    pub fn reveal(&mut self, change: &RowChange) {
        self.undo.reveal(self.newest.schema(), change);
    }
}

impl Source for Rewound<'_> {
    fn schema(&self) -> &Schema {
        self.newest.schema()
    }

    fn fetch(&self, request: &FetchRequest<'_>, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        self.undo.over(self.newest).fetch(request, sink)
    }

    fn get(&self, table: TableId, key: &Key) -> Result<Option<Row>, SourceError> {
        self.undo.over(self.newest).get(table, key)
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

/// A source with changes taken back, borrowed.
pub(super) struct Undone<'a> {
    newest: &'a dyn Source,
    undo: &'a Undo,
}

impl Source for Undone<'_> {
    fn schema(&self) -> &Schema {
        self.newest.schema()
    }

    fn fetch(&self, request: &FetchRequest<'_>, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        let Some(taken_back) = self.undo.tables.get(&request.table) else {
            return self.newest.fetch(request, sink);
        };
        if request.is_empty() {
            return Ok(());
        }
        let table = &self.newest.schema()[request.table];
        let mut older = taken_back.rows(request).peekable();
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
        let taken_back = self.undo.tables.get(&table);
        let images = taken_back.and_then(|t| t.images.get(key));
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
