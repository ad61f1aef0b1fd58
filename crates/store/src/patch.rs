//! What a poke changes, and the log record that keeps it.
//!
//! A patch is kept as it was received: a delete of a row that this tab lacks, or a put equal to what it has, may
//! matter to a store that is ahead of the tab.
//! All changes are absolute, so applying a patch to a later state that already holds part of it is right.

use crate::encoding::{HEADER, Kind, Reader, Writer};
use crate::error::FormatError;
use landfall_zql::sorted_map::SortedMap;
use landfall_zql::{Key, Row, Schema, TableId};

/// What a poke, or several merged ones, changes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Patch {
    /// Everything before is void: rows, desired and got queries.
    pub clear: bool,
    /// Changes to rows, in order; the last one per key counts.
    pub rows: Vec<RowChange>,
    /// Changes to what clients of the group are known to want, in order.
    pub desired: Vec<DesiredChange>,
    /// Changes to the queries whose rows are all there, in order.
    pub got: Vec<QueryChange>,
}

/// A change to one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowChange {
    /// The row is this, completely.
    Put {
        /// The table.
        table: TableId,
        /// The row.
        row: Row,
    },
    /// The row is gone.
    Del {
        /// The table.
        table: TableId,
        /// The row's key.
        key: Key,
    },
}

/// A change to a set of queries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryChange {
    /// The query is in the set.
    Put {
        /// The query.
        hash: String,
    },
    /// The query is not in the set.
    Del {
        /// The query.
        hash: String,
    },
}

/// A change to what one client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredChange {
    /// The client.
    pub client_id: String,
    /// The change.
    pub change: QueryChange,
}

/// A patch in the log, with the step that it makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// The record's number; consecutive.
    pub number: u64,
    /// The cookie that the patch starts from.
    pub base: Option<String>,
    /// The cookie that it leads to.
    pub cookie: String,
    /// Last mutation ids that it confirms.
    pub last_mutation_ids: SortedMap<String, u64>,
    /// The changes.
    pub patch: Patch,
}

impl LogRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(Kind::Log);
        out.u64(self.number);
        out.optional_text(self.base.as_deref());
        out.text(&self.cookie);
        out.len(self.last_mutation_ids.len());
        for (client_id, id) in &self.last_mutation_ids {
            out.text(client_id);
            out.u64(*id);
        }
        let Patch {
            clear,
            rows,
            desired,
            got,
        } = &self.patch;
        out.u8(u8::from(*clear));
        out.len(rows.len());
        for change in rows {
            match change {
                RowChange::Put { table, row } => {
                    out.u8(1);
                    out.u32(table.0);
                    out.row(row);
                }
                RowChange::Del { table, key } => {
                    out.u8(0);
                    out.u32(table.0);
                    out.row(&key.0);
                }
            }
        }
        out.len(desired.len());
        for DesiredChange { client_id, change } in desired {
            out.text(client_id);
            write_query(&mut out, change);
        }
        out.len(got.len());
        for change in got {
            write_query(&mut out, change);
        }
        out.finish()
    }

    pub(crate) fn decode(bytes: &[u8], schema: &Schema) -> Result<Self, FormatError> {
        let mut open = OpenRecord::new(bytes.to_vec())?;
        while let Some(change) = open.next(schema)? {
            open.record.patch.rows.push(change);
        }
        open.end()
    }
}

/// A record whose changes to rows are read one by one.
#[derive(Debug)]
pub(crate) struct OpenRecord {
    /// What stands before the changes to rows; they are not put into it.
    pub(crate) record: LogRecord,
    /// How many changes to rows are left.
    pub(crate) left: u32,
    bytes: Vec<u8>,
    version: u8,
    /// Where the next change is; the value as a whole is checked.
    at: usize,
}

impl OpenRecord {
    pub(crate) fn new(mut bytes: Vec<u8>) -> Result<Self, FormatError> {
        let mut reader = Reader::new(Kind::Log, &bytes)?;
        let end = HEADER + reader.left();
        let record = LogRecord {
            number: reader.u64(),
            base: reader.optional_text(),
            cookie: reader.text(),
            last_mutation_ids: reader
                .list(|reader| Ok((reader.text(), reader.u64())))?
                .into_iter()
                .collect(),
            patch: Patch {
                clear: reader.flag(),
                ..Patch::default()
            },
        };
        let left = reader.u32();
        reader.check()?;
        let (version, at) = (reader.version(), end - reader.left());
        bytes.truncate(end);
        Ok(Self {
            record,
            left,
            bytes,
            version,
            at,
        })
    }

    /// The next change to a row.
    pub(crate) fn next(&mut self, schema: &Schema) -> Result<Option<RowChange>, FormatError> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let mut reader = Reader::inside(rest, self.version);
        let change = row_change(&mut reader, schema)?;
        (self.left, self.at) = (left, self.bytes.len() - reader.left());
        Ok(Some(change))
    }

    /// Reads what stands behind the changes to rows, when all of them are read.
    pub(crate) fn end(self) -> Result<LogRecord, FormatError> {
        let mut record = self.record;
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let mut reader = Reader::inside(rest, self.version);
        record.patch.desired = reader.list(|reader| {
            Ok(DesiredChange {
                client_id: reader.text(),
                change: query_change(reader)?,
            })
        })?;
        record.patch.got = reader.list(query_change)?;
        reader.end()?;
        Ok(record)
    }
}

fn write_query(out: &mut Writer, change: &QueryChange) {
    let (tag, hash) = match change {
        QueryChange::Put { hash } => (1, hash),
        QueryChange::Del { hash } => (0, hash),
    };
    out.u8(tag);
    out.text(hash);
}

fn query_change(reader: &mut Reader<'_>) -> Result<QueryChange, FormatError> {
    Ok(match reader.flag() {
        true => QueryChange::Put {
            hash: reader.text(),
        },
        false => QueryChange::Del {
            hash: reader.text(),
        },
    })
}

fn row_change(reader: &mut Reader<'_>, schema: &Schema) -> Result<RowChange, FormatError> {
    let put = reader.flag();
    let table = TableId(reader.u32());
    reader.check()?;
    let known = schema
        .tables
        .get(table.0 as usize)
        .ok_or(FormatError::Table(table.0))?;
    Ok(match put {
        true => RowChange::Put {
            table,
            row: reader.row(known.columns.len())?,
        },
        false => RowChange::Del {
            table,
            key: reader.key(known.primary_key.len())?,
        },
    })
}
