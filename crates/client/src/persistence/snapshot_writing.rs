//! All rows into storage, made in slices: after a large poke, in place of a long log, or when storage has lost something.
//!
//! Pokes that come meanwhile are stored behind it, in their order.

use crate::client::Client;
use crate::persistence::Purpose;
use crate::rebase::RowKey;
use landfall_ivm::{Layer, MemorySource};
use landfall_store::{AppendPoke, PageWriter, QuerySets, StoreOp, StoredOutcome, WriteSnapshot};
use landfall_zql::{Row, TableId};
use std::collections::btree_map;
use std::iter::Peekable;

/// A row that is put into a page counts as so many steps.
const WRITE_STEPS: usize = 2;

/// Rows on their way into pages.
pub(crate) struct SnapshotWriting {
    purpose: Purpose,
    /// The visible rows at the beginning.
    rows: RowCursor,
    /// The server's rows where they were others.
    shadow: Peekable<btree_map::IntoIter<RowKey, Option<Row>>>,
    pages: PageWriter,
    rest: WriteSnapshot,
    /// What is to be stored after it.
    behind: Vec<(Purpose, AppendPoke)>,
}

impl std::fmt::Debug for SnapshotWriting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SnapshotWriting")
    }
}

impl Client {
    /// Begins to store all of the server's rows as they are now.
    pub(crate) fn begin_snapshot(
        &mut self,
        mut purpose: Purpose,
        mut outcomes: Vec<StoredOutcome>,
    ) {
        let Some(cookie) = self.cookie.clone() else {
            return;
        };
        // What was begun before is contained in this one, with what it tells, and so are the pokes that wait behind it.
        if let Some(before) = self.persistence.snapshot.take() {
            outcomes.extend(before.rest.outcomes);
            purpose = self.joined(before.purpose, purpose);
            for (waiting, poke) in before.behind {
                outcomes.extend(poke.outcomes);
                purpose = self.joined(waiting, purpose);
            }
        }
        let (rows, shadow) = match self.stale_rows {
            true => (MemorySource::new(self.schema.clone()), Layer::new()),
            false => (self.visible.copy_rows(), self.rebase.shadow().clone()),
        };
        self.persistence.snapshot = Some(Box::new(SnapshotWriting {
            purpose,
            rows: RowCursor::new(rows),
            shadow: shadow.into_iter().peekable(),
            pages: PageWriter::default(),
            rest: WriteSnapshot {
                cookie,
                last_mutation_ids: self.mutations.confirmed().clone(),
                pages: PageWriter::default().finish(),
                queries: QuerySets {
                    got: self.queries.got().clone(),
                    ..QuerySets::default()
                },
                outcomes,
            },
            behind: Vec::new(),
        }));
    }

    fn joined(&mut self, before: Purpose, mut now: Purpose) -> Purpose {
        match (before, &mut now) {
            (
                Purpose::Poke {
                    acks: old,
                    outcomes,
                },
                Purpose::Poke {
                    acks,
                    outcomes: all,
                },
            ) => {
                for (client, id) in old {
                    let last = acks.get_or_insert_with(client, || id);
                    *last = (*last).max(id);
                }
                all.extend(outcomes);
            }
            // The results of a poke are acknowledged when it is stored, whatever it is stored with.
            (before @ Purpose::Poke { .. }, _) => {
                self.persistence.is_folding = false;
                return before;
            }
            (Purpose::Fold, Purpose::Poke { .. }) => self.persistence.is_folding = false,
            _ => {}
        }
        now
    }

    /// The group is over: its rows are not stored any more, nor are its pages.
    pub(crate) fn abandon_snapshot(&mut self) {
        let before = self.persistence.snapshot.take();
        let was_planning = self.persistence.planning.take().is_some();
        if was_planning || before.is_some_and(|before| matches!(before.purpose, Purpose::Fold)) {
            self.persistence.is_folding = false;
        }
    }

    /// Stores a poke at once, or behind the snapshot that is being made.
    pub(crate) fn store_in_order(&mut self, purpose: Purpose, poke: AppendPoke) {
        match &mut self.persistence.snapshot {
            Some(snapshot) => snapshot.behind.push((purpose, poke)),
            None => self.ask_store(purpose, StoreOp::AppendPoke(poke)),
        }
    }

    /// Puts rows into pages as long as there are steps.
    pub(crate) fn write_on(&mut self) {
        let Some(mut snapshot) = self.persistence.snapshot.take() else {
            return;
        };
        while !self.slices.steps.are_spent() {
            let Some((table, row)) = snapshot.next_row(|table, row| self.schema[table].key_of(row))
            else {
                let SnapshotWriting {
                    purpose,
                    pages,
                    rest,
                    behind,
                    ..
                } = *snapshot;
                let pages = pages.finish();
                self.ask_store(
                    purpose,
                    StoreOp::WriteSnapshot(WriteSnapshot { pages, ..rest }),
                );
                for (purpose, poke) in behind {
                    self.ask_store(purpose, StoreOp::AppendPoke(poke));
                }
                return;
            };
            snapshot.pages.push(table, &row);
            self.slices.steps.spend_many(WRITE_STEPS);
        }
        self.persistence.snapshot = Some(snapshot);
    }

    pub(crate) fn is_writing_snapshot(&self) -> bool {
        self.persistence.snapshot.is_some()
    }
}

/// Goes through rows by table and key. It shares them, and the lists they are in, with who has them too.
struct RowCursor {
    rows: MemorySource,
    tables: std::vec::IntoIter<TableId>,
    /// The table of the batch; `None` at the end.
    table: Option<TableId>,
    batch: std::vec::IntoIter<Row>,
    /// The last row of the batch.
    last: Option<Row>,
}

/// So many rows are taken at a time.
const BATCH: usize = 64;

impl RowCursor {
    fn new(rows: MemorySource) -> RowCursor {
        let tables: Vec<TableId> = rows.schema().iter().map(|(table, _)| table).collect();
        let mut tables = tables.into_iter();
        RowCursor {
            table: tables.next(),
            tables,
            rows,
            batch: Vec::new().into_iter(),
            last: None,
        }
    }

    fn peek(&mut self) -> Option<(TableId, &Row)> {
        while self.batch.as_slice().is_empty() {
            let rows = self.rows.rows_after(self.table?, self.last.as_ref());
            let batch: Vec<Row> = rows.take(BATCH).cloned().collect();
            self.last = batch.last().cloned();
            if batch.is_empty() {
                self.table = self.tables.next();
            }
            self.batch = batch.into_iter();
        }
        let row = self.batch.as_slice().first()?;
        Some((self.table?, row))
    }

    fn next(&mut self) -> Option<(TableId, Row)> {
        let (table, _) = self.peek()?;
        Some((table, self.batch.next()?))
    }
}

impl SnapshotWriting {
    fn next_row(
        &mut self,
        key_of: impl Fn(TableId, &Row) -> landfall_zql::Key,
    ) -> Option<(TableId, Row)> {
        loop {
            // A key is made only while the shadow has some left.
            let next = match (self.rows.peek(), self.shadow.peek()) {
                (Some((table, row)), Some((shadowed, _))) => {
                    let key = (table, key_of(table, row));
                    key.cmp(shadowed)
                }
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (None, None) => return None,
            };
            if next.is_lt() {
                return self.rows.next();
            }
            if next.is_eq() {
                self.rows.next();
            }
            if let Some(((table, _), Some(row))) = self.shadow.next() {
                return Some((table, row));
            }
        }
    }
}
