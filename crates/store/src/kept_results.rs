//! Results of queries, kept beside the rows that they were read from, so that a page that starts can show them before it
//! has read the rows.
//!
//! They are a copy of what pages and log say at one cookie. Whoever moves the store on without keeping them anew makes
//! them void; nothing depends on them, and what cannot be read of them is as good as absent.

use crate::encoding::{Kind, Reader, Writer};
use crate::error::FormatError;
use landfall_zql::hash::h32_of_bytes;
use landfall_zql::{Row, Schema, TableId};

/// Most bytes of all results of a page together.
pub const KEPT_BYTES: usize = 256 << 10;

/// The result of one query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptResult {
    /// The query, as whoever keeps its result names it.
    pub query: String,
    /// The rows and the tree, encoded.
    bytes: Vec<u8>,
}

/// What a kept result holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptTree {
    /// Each row of the result, once.
    pub rows: Vec<(TableId, Row)>,
    /// The result: the number of entries, then for each entry the place of its row and its lists in the same form. How
    /// many lists an entry has is known from the query.
    pub words: Vec<u32>,
}

impl KeptResult {
    /// The result of this query.
    pub fn new(query: String, tree: &KeptTree) -> KeptResult {
        let mut out = Writer::new(Kind::Result);
        out.len(tree.rows.len());
        for (table, row) in &tree.rows {
            out.u32(table.0);
            out.row(row);
        }
        out.len(tree.words.len());
        tree.words.iter().for_each(|word| out.u32(*word));
        KeptResult {
            query,
            bytes: out.finish(),
        }
    }

    /// What it holds; the words may still name rows that are not there.
    ///
    /// # Errors
    /// It is damaged, or not of this schema.
    pub fn read(&self, schema: &Schema) -> Result<KeptTree, FormatError> {
        let mut reader = Reader::new(Kind::Result, &self.bytes)?;
        let rows = reader.list(|reader| {
            let table = TableId(reader.u32());
            let columns = schema.tables.get(table.0 as usize);
            let columns = columns.ok_or(FormatError::Table(table.0))?.columns.len();
            Ok((table, reader.row(columns)?))
        })?;
        let words = reader.list(|reader| Ok(reader.u32()))?;
        reader.end()?;
        Ok(KeptTree { rows, words })
    }

    fn size(&self) -> usize {
        self.query.len() + self.bytes.len()
    }
}

/// So many places there are for what pages show.
const PLACES: u32 = 8;

/// What a page shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptResults {
    pub(crate) group_id: String,
    /// What the rows were.
    pub(crate) cookie: String,
    pub(crate) results: Vec<KeptResult>,
}

impl KeptResults {
    /// These, the first ones first, as far as there is room.
    pub(crate) fn of(
        group_id: &str,
        cookie: &str,
        all: impl Iterator<Item = KeptResult>,
    ) -> KeptResults {
        let mut results: Vec<KeptResult> = Vec::new();
        let mut room = KEPT_BYTES;
        for result in all {
            if result.size() <= room {
                room -= result.size();
                results.push(result);
            }
        }
        KeptResults {
            group_id: group_id.to_owned(),
            cookie: cookie.to_owned(),
            results,
        }
    }

    /// Whether they are results of the rows at this cookie of this group.
    pub(crate) fn are_at(&self, group_id: &str, cookie: Option<&str>) -> bool {
        self.group_id == group_id && Some(self.cookie.as_str()) == cookie
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(Kind::Kept);
        out.text(&self.group_id);
        out.text(&self.cookie);
        out.len(self.results.len());
        for result in &self.results {
            out.text(&result.query);
            out.bytes(&result.bytes);
        }
        out.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<KeptResults, FormatError> {
        let mut reader = Reader::new(Kind::Kept, bytes)?;
        let kept = KeptResults {
            group_id: reader.text(),
            cookie: reader.text(),
            results: reader.list(|reader| {
                Ok(KeptResult {
                    query: reader.text(),
                    bytes: reader.bytes().to_vec(),
                })
            })?,
        };
        reader.end()?;
        Ok(kept)
    }
}

/// Where a page keeps these: pages that show something else first are unlikely to be in each other's way, and however many
/// pages come and go while nothing happens, what they keep is bounded.
pub(crate) fn place_of(results: &[KeptResult]) -> u8 {
    let first = results.first().map_or("", |result| &result.query);
    (h32_of_bytes(first.as_bytes()) % PLACES) as u8
}
