//! Snapshot pages: the rows of all tables, sorted, in pieces of a few hundred kilobytes.
//!
//! Pages are numbered in the order in which they were written. Their order is that of their first rows, by table and
//! key, so that a fold can replace some of them and leave the others where they are.

use crate::encoding::{HEADER, Kind, Reader, Writer};
use crate::error::FormatError;
use crate::state_reader::Give;
use landfall_zql::sorted_map::{SortedMap, SortedSet};
use landfall_zql::{Row, Schema, TableId};
use std::cmp::Ordering;
use std::sync::Arc;

/// A page is closed when it has reached this size.
pub const PAGE_BYTES: usize = 256 << 10;
/// A page that has become smaller than this is joined with the next one when it is rewritten.
pub(crate) const SMALL_PAGE_BYTES: usize = PAGE_BYTES / 4;

/// What a page has around its runs: kind and version, number, count of rows, checksum.
const PAGE_FRAME: usize = HEADER + 3 * size_of::<u32>();
/// The fewest bytes of a row.
const LEAST_ROW: usize = size_of::<u32>();
/// What a run has before its rows: table and count.
const RUN_HEADER: usize = 2 * size_of::<u32>();

/// A page as it came out of storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPage(Form);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Unread(Vec<u8>),
    ReadAhead(Result<FirstAndPage, FormatError>),
}

/// A page that is being read, behind what may be its first row.
pub(crate) type FirstAndPage = ((TableId, Row), PageRows);

impl StoredPage {
    /// Its rows are read when they are wanted.
    pub(crate) fn unread(bytes: Vec<u8>) -> StoredPage {
        StoredPage(Form::Unread(bytes))
    }

    /// Its rows are read now, as far as they lie in so many bytes; what is wrong with them is told when they are wanted.
    pub(crate) fn read_ahead(bytes: Vec<u8>, most: usize, schema: &Schema) -> StoredPage {
        let mut begun = PageRows::new(bytes, schema);
        if let Ok((first, page)) = &mut begun {
            page.read_ahead(first, most, schema);
        }
        StoredPage(Form::ReadAhead(begun))
    }

    /// Begins to read it, or goes on with what is read.
    pub(crate) fn begin(self, schema: &Schema) -> Result<FirstAndPage, FormatError> {
        match self.0 {
            Form::Unread(bytes) => PageRows::new(bytes, schema),
            Form::ReadAhead(begun) => begun,
        }
    }
}

/// A page that is read row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PageRows {
    pub(crate) number: u32,
    len: usize,
    ahead: Option<Ahead>,
    bytes: Vec<u8>,
    version: u8,
    /// Where the next row is; the value as a whole is checked before the first one.
    at: usize,
    is_checked: bool,
    left: u32,
    table: TableId,
    left_of_run: u32,
}

/// What was read before it was wanted: rows in their order, and how they ended, if they did.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ahead {
    /// The last one first.
    rows: Vec<(TableId, Row)>,
    last: (TableId, Row),
    end: Option<Result<(), FormatError>>,
}

impl PageRows {
    /// The page, not checked yet, and what may be its first row.
    fn new(bytes: Vec<u8>, schema: &Schema) -> Result<FirstAndPage, FormatError> {
        let mut page = Self {
            number: 0,
            len: bytes.len(),
            ahead: None,
            bytes,
            version: 0,
            at: 0,
            is_checked: true,
            left: 0,
            table: TableId(0),
            left_of_run: 0,
        };
        match page.begin(schema) {
            Ok(first) => Ok((first, page)),
            // What is wrong with the value as a whole explains more.
            Err(error) => Err(Reader::new(Kind::Page, &page.bytes).err().unwrap_or(error)),
        }
    }

    fn begin(&mut self, schema: &Schema) -> Result<(TableId, Row), FormatError> {
        let mut reader = Reader::unchecked(Kind::Page, &self.bytes)?;
        self.version = reader.version();
        let (number, left) = (reader.u32(), reader.u32());
        reader.check()?;
        let at = self.bytes.len() - reader.left();
        (self.number, self.left, self.at) = (number, left, at);
        let first = self.decode(schema)?.ok_or(FormatError::RowCount)?;
        (self.left, self.at, self.left_of_run, self.is_checked) = (left, at, 0, false);
        Ok(first)
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn read_ahead(&mut self, first: &(TableId, Row), most: usize, schema: &Schema) {
        // How many there are is only known when all are read, but none is without bytes.
        let room = self.left.min((self.bytes.len() / LEAST_ROW) as u32) as usize;
        let mut rows: Vec<(TableId, Row)> = Vec::with_capacity(room);
        let mut end = None;
        while end.is_none() && self.at < most {
            match self.decode(schema) {
                Ok(Some(row)) => {
                    let last = rows.last();
                    if last.is_some_and(|last| compare(schema, last, &row) != Ordering::Less) {
                        end = Some(Err(FormatError::Order));
                    } else {
                        rows.push(row);
                    }
                }
                Ok(None) => end = Some(Ok(())),
                Err(error) => end = Some(Err(error)),
            }
        }
        if end.is_none() && rows.is_empty() {
            return;
        }
        let last = rows.last().unwrap_or(first).clone();
        rows.reverse();
        // What is read is not kept twice.
        self.bytes = match &end {
            Some(_) => Vec::new(),
            None => self.bytes.get(self.at..).unwrap_or_default().to_vec(),
        };
        self.at = 0;
        self.ahead = Some(Ahead { rows, last, end });
    }

    /// The last row that was read ahead, while there are such rows; those before it are in their order.
    pub(crate) fn last_ahead(&self) -> Option<&(TableId, Row)> {
        self.ahead.as_ref().map(|ahead| &ahead.last)
    }

    /// Gives so many of the rows that were read ahead, as far as they are of one table; returns how many there were.
    pub(crate) fn give_ahead(&mut self, most: usize, give: &mut Give<'_>) -> usize {
        let Some(Ahead { rows, .. }) = &mut self.ahead else {
            return 0;
        };
        let Some(&(table, _)) = rows.last() else {
            return 0;
        };
        let alike = rows.iter().rev().take_while(|(other, _)| *other == table);
        let count = alike.take(most).count();
        let given = rows.drain(rows.len() - count..);
        give(table, &mut given.rev().map(|(_, row)| row));
        count
    }

    /// The next row; after the last one nothing may be left over.
    pub(crate) fn next(&mut self, schema: &Schema) -> Result<Option<(TableId, Row)>, FormatError> {
        if let Some(ahead) = &mut self.ahead {
            match (ahead.rows.pop(), &ahead.end) {
                (Some(row), _) => return Ok(Some(row)),
                (None, Some(end)) => return end.clone().map(|()| None),
                (None, None) => self.ahead = None,
            }
        }
        self.decode(schema)
    }

    fn decode(&mut self, schema: &Schema) -> Result<Option<(TableId, Row)>, FormatError> {
        if !self.is_checked {
            let left = Reader::new(Kind::Page, &self.bytes)?.left();
            self.bytes.truncate(HEADER + left);
            self.is_checked = true;
        }
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let mut reader = Reader::inside(rest, self.version);
        if self.left == 0 {
            return reader.end().map(|()| None);
        }
        while self.left_of_run == 0 {
            self.table = TableId(reader.u32());
            self.left_of_run = reader.u32();
            reader.check()?;
            if self.left_of_run > self.left {
                return Err(FormatError::RowCount);
            }
        }
        let known = schema.tables.get(self.table.0 as usize);
        let known = known.ok_or(FormatError::Table(self.table.0))?;
        let row = reader.row(known.columns.len())?;
        self.left -= 1;
        self.left_of_run -= 1;
        self.at = self.bytes.len() - reader.left();
        Ok(Some((self.table, row)))
    }
}

/// The order of pages: by table, then by key.
pub(crate) fn compare(schema: &Schema, a: &(TableId, Row), b: &(TableId, Row)) -> Ordering {
    a.0.cmp(&b.0)
        .then_with(|| match schema.tables.get(a.0.0 as usize) {
            Some(table) => table.compare_keys(&a.1, &b.1),
            None => Ordering::Equal,
        })
}

/// A page that is to be stored, but for its number. It shares the rows with whoever has them: their bytes are put
/// together when they are written, so that all pages of a store are never in memory at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPage(Arc<Runs>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Runs {
    /// Rows by table, sorted; none of the lists is empty.
    runs: Vec<(TableId, Vec<Row>)>,
    /// How many bytes they are in the page.
    bytes: usize,
}

impl NewPage {
    /// The value of the page under a number.
    pub(crate) fn value(&self, number: u32) -> Vec<u8> {
        let Runs { runs, bytes } = &*self.0;
        let mut out = Writer::with_room(Kind::Page, bytes + PAGE_FRAME);
        out.u32(number);
        out.len(runs.iter().map(|(_, rows)| rows.len()).sum());
        for (table, rows) in runs {
            out.u32(table.0);
            out.len(rows.len());
            for row in rows {
                out.row(row);
            }
        }
        out.finish()
    }
}

/// Pages that are to be stored; the transaction gives them their numbers.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct NewPages(pub(crate) Vec<NewPage>);

impl NewPages {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Makes pages from sorted rows. Can be fed in slices.
#[derive(Debug, Default)]
pub struct PageWriter {
    pages: Vec<NewPage>,
    page: Runs,
}

impl PageWriter {
    /// Adds a row; rows come in the order of tables, and within a table in the order of keys.
    pub fn push(&mut self, table: TableId, row: &Row) {
        let page = &mut self.page;
        page.bytes += size_of::<u32>() + row.bytes().len();
        match page.runs.last_mut() {
            Some((last, rows)) if *last == table => rows.push(row.clone()),
            _ => {
                page.bytes += RUN_HEADER;
                page.runs.push((table, vec![row.clone()]));
            }
        }
        if page.bytes >= PAGE_BYTES {
            self.close_page();
        }
    }

    /// Adds rows, as [`PageWriter::push`] does.
    pub(crate) fn push_all(&mut self, table: TableId, rows: &mut dyn Iterator<Item = Row>) {
        rows.for_each(|row| self.push(table, &row));
    }

    /// Size of the page that is not yet closed.
    pub(crate) fn open_bytes(&self) -> usize {
        self.page.bytes
    }

    pub(crate) fn close_page(&mut self) {
        let mut page = std::mem::take(&mut self.page);
        if let Some((_, rows)) = page.runs.last_mut() {
            rows.shrink_to_fit();
            self.pages.push(NewPage(Arc::new(page)));
        }
    }

    /// The pages.
    pub fn finish(mut self) -> NewPages {
        self.close_page();
        NewPages(self.pages)
    }
}

/// Which queries are wanted, by client, and which are got.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct QuerySets {
    /// What each client of the group is known to want.
    pub desired: SortedMap<String, SortedSet<String>>,
    /// The queries whose rows are all there.
    pub got: SortedSet<String>,
}

impl QuerySets {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(Kind::Queries);
        out.len(self.desired.len());
        for (client_id, hashes) in &self.desired {
            out.text(client_id);
            out.len(hashes.len());
            for hash in hashes {
                out.text(hash);
            }
        }
        out.len(self.got.len());
        for hash in &self.got {
            out.text(hash);
        }
        out.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(Kind::Queries, bytes)?;
        let sets = Self {
            desired: reader
                .list(|reader| Ok((reader.text(), hashes(reader)?)))?
                .into_iter()
                .collect(),
            got: hashes(&mut reader)?,
        };
        reader.end()?;
        Ok(sets)
    }
}

fn hashes(reader: &mut Reader<'_>) -> Result<SortedSet<String>, FormatError> {
    Ok(reader
        .list(|reader| Ok(reader.text()))?
        .into_iter()
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_zql::ValueRef;

    fn schema() -> Schema {
        let json = r#"{"tables":{"a":{"columns":{"id":{"type":"number"}},"primaryKey":["id"]}}}"#;
        Schema::from_json(json).expect("a schema")
    }

    fn bytes(rows: u32) -> Vec<u8> {
        let mut writer = PageWriter::default();
        for id in 0..rows {
            writer.push(
                TableId(0),
                &Row::from_values([ValueRef::Number(f64::from(id))]),
            );
        }
        writer.finish().0[0].value(7)
    }

    /// What a page gives until its end, and what ends it.
    fn content(stored: StoredPage) -> (Vec<(TableId, Row)>, Result<(), FormatError>) {
        let mut rows = Vec::new();
        let mut page = match stored.begin(&schema()) {
            Ok((_, page)) => page,
            Err(error) => return (rows, Err(error)),
        };
        loop {
            match page.next(&schema()) {
                Ok(Some(row)) => rows.push(row),
                Ok(None) => return (rows, Ok(())),
                Err(error) => return (rows, Err(error)),
            }
        }
    }

    #[test]
    fn a_page_read_ahead_is_the_same_page() {
        let good = bytes(50);
        assert_eq!(content(StoredPage::unread(good.clone())).0.len(), 50);
        for cut in 0..good.len() {
            let mut damaged = good.clone();
            damaged[cut] ^= 1;
            for bytes in [good[..cut].to_vec(), damaged] {
                let late = content(StoredPage::unread(bytes.clone()));
                assert!(late.1.is_err());
                for most in [0, 100, usize::MAX] {
                    let ahead = StoredPage::read_ahead(bytes.clone(), most, &schema());
                    assert_eq!(content(ahead), late);
                }
            }
        }
        let late = content(StoredPage::unread(good.clone()));
        for most in 0..=good.len() {
            let ahead = StoredPage::read_ahead(good.clone(), most, &schema());
            assert_eq!(content(ahead), late);
        }
    }

    #[test]
    fn a_page_read_ahead_ends_where_its_order_does() {
        let mut writer = PageWriter::default();
        for id in [1.0, 2.0, 2.0, 3.0] {
            writer.push(TableId(0), &Row::from_values([ValueRef::Number(id)]));
        }
        let bytes = writer.finish().0[0].value(7);
        let ahead = StoredPage::read_ahead(bytes, usize::MAX, &schema());
        let (rows, end) = content(ahead);
        assert_eq!((rows.len(), end), (2, Err(FormatError::Order)));
    }
}
