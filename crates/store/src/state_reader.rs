//! The server's state as stored, row by row: the log first, then the pages with the log's changes among their rows.
//!
//! A page is let go of when it has been read, so that rows and pages are not in memory twice.

use crate::decide::corrupt;
use crate::error::{FormatError, StoreFailure};
use crate::page::{FirstAndPage, QuerySets, StoredPage, compare};
use crate::patch::{OpenRecord, RowChange};
use crate::request::StoreName;
use crate::schema_change::CarryOver;
use crate::unread::Unread;
use landfall_zql::sort::{Sorting, arrange, sort_by};
use landfall_zql::{Key, Row, Schema, TableId};
use std::cmp::Ordering;
use std::iter::{self, Peekable};
use std::sync::Arc;

/// Most rows that one step reads.
pub(crate) const STEP_ROWS: usize = 64;

/// To merge so many changes takes as long as to read one.
const MERGES_PER_ROW: usize = 8;

/// What is known of a page before it is read.
pub(crate) struct NextPage {
    pub(crate) number: u32,
    pub(crate) bytes: usize,
    /// The first row of the page behind it.
    pub(crate) next: Option<(TableId, Key)>,
    /// Whether the log changes something in it, or before the page behind it.
    pub(crate) is_touched: bool,
}

/// Takes rows of a table.
pub type Give<'a> = dyn FnMut(TableId, &mut dyn Iterator<Item = Row>) + 'a;

/// Reads the server's state from what came out of storage.
#[derive(Debug)]
pub struct StateReader {
    schema: Arc<Schema>,
    log: std::vec::IntoIter<Vec<u8>>,
    log_next: u64,
    log_end: u64,
    /// The record that is being read.
    record: Option<OpenRecord>,
    next_page: u32,
    /// With what may be their first rows; the last one is the next one.
    pages: Vec<FirstAndPage>,
    overlay: Overlay,
    sorting: Option<Sorting>,
    /// What the log says, once all of it is read.
    changes: Option<Peekable<std::vec::IntoIter<Change>>>,
    queries: QuerySets,
    /// The last row that a page held.
    last: Option<(TableId, Row)>,
    /// The next row of the page at hand; the log's changes before it are given first.
    held: Option<(TableId, Row)>,
    /// The rows of the page at hand that were read ahead are in order behind those before them, and that is the last one.
    is_ordered: bool,
    carried: Option<Arc<CarryOver>>,
}

impl StateReader {
    /// Reads what pages and log are; the rest stays behind in `unread`.
    ///
    /// # Errors
    /// A page cannot be read at all.
    pub fn new(unread: &mut Unread) -> Result<StateReader, StoreFailure> {
        let schema = Arc::clone(&unread.schema);
        let pages = pages_in_order(std::mem::take(&mut unread.pages), &schema)
            .map_err(corrupt(StoreName::Pages))?;
        Ok(StateReader {
            log: std::mem::take(&mut unread.log).into_iter(),
            log_next: unread.head.log_first,
            log_end: unread.head.log_next,
            record: None,
            next_page: unread.head.next_page,
            pages,
            overlay: Overlay::default(),
            sorting: None,
            changes: None,
            queries: std::mem::take(&mut unread.queries),
            last: None,
            held: None,
            is_ordered: false,
            carried: unread.carried.take(),
            schema,
        })
    }

    /// Reads on for a moment and gives rows, in the order of tables and keys. How much work it was, in rows; `None` when
    /// everything was read before.
    ///
    /// # Errors
    /// What is stored is damaged; the rows given so far are of no use.
    pub fn step(&mut self, give: &mut Give<'_>) -> Result<Option<usize>, StoreFailure> {
        if let Some(rows) = self.read_log()? {
            return Ok(Some(rows));
        }
        match self.carried.clone() {
            None => self.read_rows(give),
            Some(carried) => self.read_rows(&mut |table, rows| carried.give(table, rows, give)),
        }
    }

    /// Reads some of the log; `None` when all of it was read before.
    pub(crate) fn read_log(&mut self) -> Result<Option<usize>, StoreFailure> {
        match self.changes {
            Some(_) => Ok(None),
            None => self.read_records().map_err(corrupt(StoreName::Log)),
        }
    }

    /// Reads some rows, when the log is read; `None` when all were read before.
    pub(crate) fn read_rows(&mut self, give: &mut Give<'_>) -> Result<Option<usize>, StoreFailure> {
        self.read_some(give).map_err(corrupt(StoreName::Pages))
    }

    /// Gives some of what the log adds before a row.
    pub(crate) fn read_changes_before(
        &mut self,
        next: &(TableId, Key),
        give: &mut Give<'_>,
    ) -> usize {
        let mut count = 0;
        while count < STEP_ROWS
            && let Some(changes) = &mut self.changes
            && let Some(((table, _), row)) = changes.next_if(|(change, _)| change < next)
        {
            count += 1;
            if let Some(row) = row {
                give(table, &mut iter::once(row));
            }
        }
        count
    }

    /// The numbers of the pages that are not read yet.
    pub(crate) fn page_numbers(&self) -> Vec<u32> {
        self.pages.iter().map(|(_, page)| page.number).collect()
    }

    /// How many pages are not read to their end.
    pub(crate) fn pages_left(&self) -> usize {
        self.pages.len()
    }

    /// What is known of the next page without reading it.
    pub(crate) fn next_page(&mut self) -> Option<NextPage> {
        let [.., (_, page)] = self.pages.as_slice() else {
            return None;
        };
        let next =
            self.pages.iter().rev().nth(1).map(|((table, row), _)| {
                (*table, self.schema.tables[table.0 as usize].key_of(row))
            });
        let change = self.changes.as_mut().and_then(Peekable::peek);
        Some(NextPage {
            number: page.number,
            bytes: page.len(),
            is_touched: change.is_some_and(|(key, _)| next.as_ref().is_none_or(|next| key < next)),
            next,
        })
    }

    /// Leaves a page out.
    pub(crate) fn skip_page(&mut self) {
        self.pages.pop();
    }

    /// Which queries are wanted and got; after the last step.
    pub fn into_queries(self) -> QuerySets {
        self.queries
    }

    fn read_records(&mut self) -> Result<Option<usize>, FormatError> {
        if self.record.is_none() {
            let Some(bytes) = self.log.next() else {
                return self.sort_changes();
            };
            let open = OpenRecord::new(bytes)?;
            if open.record.number != self.log_next || self.log_next == self.log_end {
                return Err(FormatError::LogRange);
            }
            self.log_next += 1;
            if open.record.patch.clear {
                self.overlay = Overlay {
                    clear: true,
                    rows: Vec::new(),
                };
            }
            self.record = Some(open);
        }
        let mut count = 0;
        while count < STEP_ROWS
            && let Some(open) = &mut self.record
        {
            count += 1;
            if let Some(change) = open.next(&self.schema)? {
                self.overlay.push(change, &self.schema);
            } else if let Some(open) = self.record.take() {
                let patch = open.end()?.patch;
                self.queries.apply(patch.clear, &patch.desired, &patch.got);
            }
        }
        Ok(Some(count))
    }

    /// Sorts what the log says, when all of it is read: the last word on each key stays.
    fn sort_changes(&mut self) -> Result<Option<usize>, FormatError> {
        if self.log_next != self.log_end {
            return Err(FormatError::LogRange);
        }
        let rows = &mut self.overlay.rows;
        let sorting = self.sorting.get_or_insert_with(|| Sorting::new(rows.len()));
        let compare = |a: usize, b: usize| rows[a].0.cmp(&rows[b].0);
        let Some(origins) = sorting.go_on(STEP_ROWS * MERGES_PER_ROW, &compare) else {
            return Ok(Some(STEP_ROWS));
        };
        arrange(rows, std::mem::take(origins));
        rows.dedup_by(|later, earlier| {
            let is_same = later.0 == earlier.0;
            if is_same {
                std::mem::swap(later, earlier);
            }
            is_same
        });
        if self.overlay.clear {
            self.pages.clear();
        }
        self.changes = Some(std::mem::take(rows).into_iter().peekable());
        Ok(None)
    }

    fn read_some(&mut self, give: &mut Give<'_>) -> Result<Option<usize>, FormatError> {
        let Some(changes) = &mut self.changes else {
            return Ok(None);
        };
        let mut count = 0;
        while count < STEP_ROWS {
            if self.held.is_none()
                && let Some((_, page)) = self.pages.last_mut()
            {
                if self.is_ordered && changes.peek().is_none() {
                    count += page.give_ahead(STEP_ROWS - count, give);
                }
                let Some(place) = page.next(&self.schema)? else {
                    self.pages.pop();
                    self.is_ordered = false;
                    return Ok(Some(count + 1));
                };
                let known = page.last_ahead();
                if !self.is_ordered || known.is_none() {
                    // A page that is written must not take the place of one that stays.
                    if page.number >= self.next_page {
                        return Err(FormatError::PageCount);
                    }
                    if let Some(last) = &self.last
                        && compare(&self.schema, last, &place) != Ordering::Less
                    {
                        return Err(FormatError::Order);
                    }
                    self.is_ordered = known.is_some();
                    self.last = Some(known.unwrap_or(&place).clone());
                }
                self.held = Some(place);
            }
            // Most rows have no change: a key is made only while changes are left.
            let held = self.held.as_ref().filter(|_| changes.peek().is_some());
            let key =
                held.map(|(table, row)| (*table, self.schema.tables[table.0 as usize].key_of(row)));
            let is_due = |change: &Change| key.as_ref().is_none_or(|key| change.0 <= *key);
            let row = match changes.next_if(is_due) {
                Some((change, row)) => {
                    if key.is_some_and(|key| key == change) {
                        self.held = None;
                    }
                    row.map(|row| (change.0, row))
                }
                None if self.held.is_none() => break,
                None => self.held.take(),
            };
            count += 1;
            if let Some((table, row)) = row {
                give(table, &mut iter::once(row));
            }
        }
        Ok((count > 0).then_some(count))
    }
}

/// A row in place of what has its key before, or nothing.
type Change = ((TableId, Key), Option<Row>);

/// What the log says about rows.
#[derive(Debug, Default)]
struct Overlay {
    /// The pages are void.
    clear: bool,
    /// In the order of the log.
    rows: Vec<Change>,
}

impl Overlay {
    fn push(&mut self, change: RowChange, schema: &Schema) {
        self.rows.push(match change {
            RowChange::Put { table, row } => {
                let key = schema.tables[table.0 as usize].key_of(&row);
                ((table, key), Some(row))
            }
            RowChange::Del { table, key } => ((table, key), None),
        });
    }
}

/// The pages, the first one last.
fn pages_in_order(
    pages: Vec<StoredPage>,
    schema: &Schema,
) -> Result<Vec<FirstAndPage>, FormatError> {
    let begin = |page: StoredPage| page.begin(schema);
    let mut pages: Vec<FirstAndPage> = pages.into_iter().map(begin).collect::<Result<_, _>>()?;
    sort_by(&mut pages, |(a, _), (b, _)| compare(schema, b, a));
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::Head;
    use crate::page::PageWriter;
    use landfall_zql::ValueRef;

    /// What is read of pages of rows with these keys, of which so many bytes are read ahead.
    fn read(pages: &[&[u32]], most: Option<usize>) -> Result<Vec<f64>, StoreFailure> {
        let json = r#"{"tables":{"a":{"columns":{"id":{"type":"number"}},"primaryKey":["id"]}}}"#;
        let schema = Arc::new(Schema::from_json(json).expect("a schema"));
        let stored = |(keys, number): (&&[u32], u32)| {
            let mut writer = PageWriter::default();
            for key in *keys {
                let key = ValueRef::Number(f64::from(*key));
                writer.push(TableId(0), &Row::from_values([key]));
            }
            let bytes = writer.finish().0[0].value(number);
            match most {
                Some(most) => StoredPage::read_ahead(bytes, most, &schema),
                None => StoredPage::unread(bytes),
            }
        };
        let pages: Vec<StoredPage> = pages.iter().zip(0..).map(stored).collect();
        let mut head = Head::new("g".into());
        head.next_page = 8;
        let mut unread = Unread {
            head,
            queue: Vec::new(),
            outcomes: Vec::new(),
            clients: Vec::new(),
            schema,
            pages,
            log: Vec::new(),
            queries: QuerySets::default(),
            carried: None,
        };
        let mut reader = StateReader::new(&mut unread)?;
        let mut keys = Vec::new();
        while reader
            .step(&mut |_, rows| {
                keys.extend(rows.map(|row| match row.get(0) {
                    ValueRef::Number(key) => key,
                    other => panic!("{other:?}"),
                }));
            })?
            .is_some()
        {}
        Ok(keys)
    }

    #[test]
    fn pages_are_the_same_however_much_is_read_ahead() {
        let cases: [(&[&[u32]], usize); 5] = [
            (&[&[1, 2, 3, 4, 5, 6], &[7, 8, 9]], 9),
            (&[&[7, 8, 9], &[1, 2, 3]], 6),
            (&[&[1, 2, 4, 3, 5], &[7, 8]], 0),
            (&[&[1, 2, 3, 3, 5]], 0),
            (&[&[1, 2, 3, 7], &[7, 8]], 0),
        ];
        for (pages, rows) in cases {
            let plain = read(pages, None);
            let sorted = |keys: &Vec<f64>| keys.len() == rows && keys.is_sorted();
            assert!(plain.as_ref().map_or(rows == 0, sorted), "{plain:?}");
            for most in (0..80).chain([usize::MAX]) {
                assert_eq!(read(pages, Some(most)), plain, "{most}");
            }
        }
    }
}
