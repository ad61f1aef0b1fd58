//! All of the server's rows as they are at one moment, gone through little by little while the client goes on.

use crate::client::Client;
use crate::rebase::RowKey;
use landfall_ivm::{Layer, MemorySource};
use landfall_zql::{Row, TableId};
use std::cmp::Ordering;
use std::collections::btree_map;
use std::iter::Peekable;

/// The server's rows, by table and key.
pub(crate) struct ServerRows {
    /// The visible rows at the beginning.
    rows: RowCursor,
    /// The server's rows where they were others.
    shadow: Peekable<btree_map::IntoIter<RowKey, Option<Row>>>,
}

impl Client {
    /// All of the server's rows at the present cookie.
    pub(crate) fn server_rows(&self) -> ServerRows {
        let (rows, shadow) = match self.stale_rows {
            true => (MemorySource::new(self.schema.clone()), Layer::new()),
            false => (self.visible.copy_rows(), self.rebase.shadow().clone()),
        };
        ServerRows {
            rows: RowCursor::new(rows),
            shadow: shadow.into_iter().peekable(),
        }
    }
}

impl Iterator for ServerRows {
    type Item = (TableId, Row);

    fn next(&mut self) -> Option<(TableId, Row)> {
        loop {
            // A key is made only while the shadow has some left.
            let order = match self.shadow.peek() {
                None => Ordering::Less,
                Some((shadowed, _)) => match self.rows.peek_key() {
                    Some(key) => key.cmp(shadowed),
                    None => Ordering::Greater,
                },
            };
            if order.is_lt() {
                return self.rows.next();
            }
            if order.is_eq() {
                self.rows.next();
            }
            if let Some(((table, _), Some(row))) = self.shadow.next() {
                return Some((table, row));
            }
        }
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

    fn peek_key(&mut self) -> Option<RowKey> {
        let table = self.peek()?;
        let row = self.batch.as_slice().first()?;
        Some((table, self.rows.schema()[table].key_of(row)))
    }

    /// The table of the next row, which is in the batch then.
    fn peek(&mut self) -> Option<TableId> {
        while self.batch.as_slice().is_empty() {
            let rows = self.rows.rows_after(self.table?, self.last.as_ref());
            let batch: Vec<Row> = rows.take(BATCH).cloned().collect();
            self.last = batch.last().cloned();
            if batch.is_empty() {
                self.table = self.tables.next();
            }
            self.batch = batch.into_iter();
        }
        self.table
    }

    fn next(&mut self) -> Option<(TableId, Row)> {
        let table = self.peek()?;
        Some((table, self.batch.next()?))
    }
}
