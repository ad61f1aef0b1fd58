//! Results that the last session kept: what views show until their rows are read.

use crate::effect::ViewId;
use crate::views::resting::count;
use crate::views::row_handles::RowHandles;
use crate::views::view_ops::{TableShape, ViewOps};
use crate::views::{OpenView, Visible};
use landfall_ivm::{Entry, SourceChange};
use landfall_store::{KeptResult, KeptTree};
use landfall_zql::sorted_map::SortedMap;
use landfall_zql::{Key, Row, Schema, TableId};

/// So many rows the results that are kept may have together.
const MOST_ROWS: usize = 1_000;

/// Results that may be shown before there are rows.
#[derive(Default)]
pub(crate) struct Kept {
    results: Vec<KeptResult>,
    /// The rows of those that are shown, so that all of them show the same ones.
    rows: SortedMap<(TableId, Key), Row>,
}

impl Kept {
    /// The result of this query, if it was kept and still has this shape.
    fn entries(&mut self, query: &str, shape: &TableShape, schema: &Schema) -> Option<Vec<Entry>> {
        let kept = self.results.iter().find(|kept| kept.query == query)?;
        let KeptTree { mut rows, words } = kept.read(schema).ok()?;
        for (table, row) in &mut rows {
            let key = (*table, schema[*table].key_of(row));
            let known = self.rows.get_or_insert_with(key, || row.clone());
            if known == row {
                *row = known.clone();
            }
        }
        let mut tree = TreeReader {
            words: words.iter(),
            rows: &rows,
        };
        let entries = tree.list(shape)?;
        tree.words.as_slice().is_empty().then_some(entries)
    }
}

/// Reads the tree of a kept result; `None` if it is not one of this shape.
struct TreeReader<'a> {
    words: std::slice::Iter<'a, u32>,
    rows: &'a [(TableId, Row)],
}

impl TreeReader<'_> {
    fn list(&mut self, shape: &TableShape) -> Option<Vec<Entry>> {
        let count = *self.words.next()?;
        (0..count).map(|_| self.entry(shape)).collect()
    }

    fn entry(&mut self, shape: &TableShape) -> Option<Entry> {
        let (table, row) = self.rows.get(*self.words.next()? as usize)?;
        let lists = shape.lists.iter().map(|shape| self.list(shape));
        let children = lists.collect::<Option<_>>()?;
        (*table == shape.table).then(|| Entry {
            row: row.clone(),
            count: 1,
            children,
        })
    }
}

impl Visible {
    /// Results that were kept of the rows that will be loaded: views show them until then.
    pub(crate) fn offer_kept(&mut self, results: Vec<KeptResult>) {
        if self.shown {
            return;
        }
        self.kept.results = results;
        let views: Vec<ViewId> = self.views.keys().copied().collect();
        for view in views {
            self.show_kept(view);
        }
    }

    /// Shows what was kept of a view's query, as long as there are no rows to show.
    pub(crate) fn show_kept(&mut self, view: ViewId) {
        if let Some(open) = self.views.get_mut(&view)
            && !self.shown
            && let Some(entries) = self.kept.entries(&open.text, &open.shape, &self.schema)
        {
            self.ops
                .snapshot(&mut self.handles, view, &open.shape, &entries);
            self.handles.release_list(&open.kept);
            open.kept = entries;
        }
    }

    /// There are rows. Those that views show already take the place of their equals, so that JavaScript keeps its objects.
    pub(crate) fn leave_kept(&mut self) {
        for ((table, _), row) in std::mem::take(&mut self.kept).rows {
            let loaded = self.source.row_like(table, &row).filter(|it| **it == row);
            if let Some(old) = loaded.cloned() {
                self.source.apply(&SourceChange {
                    table,
                    old: Some(old),
                    new: Some(row),
                });
            }
        }
    }

    /// The results of the queries that are shown or rest, as far as they are small.
    pub(crate) fn results_to_keep(&self) -> Vec<KeptResult> {
        let mut room = MOST_ROWS;
        let mut results = Vec::new();
        for open in self.views.values().chain(self.resting.queries().rev()) {
            let rows = count(open.query.entries());
            if rows > 0 && rows <= room {
                room -= rows;
                results.push(result_of(open));
            }
        }
        results
    }
}

fn result_of(open: &OpenView) -> KeptResult {
    let mut handles = RowHandles::keeping(0);
    let mut ops = ViewOps::default();
    ops.list(&mut handles, &open.shape, open.query.entries());
    let (rows, _) = handles.take(|rows| rows.map(|(_, table, row)| (table, row.clone())).collect());
    let words = ops.take();
    KeptResult::new(open.text.to_string(), &KeptTree { rows, words })
}
