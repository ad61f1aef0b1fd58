//! What can go wrong: bytes that are not of the format, requests that the stored state does not allow, and backends
//! that fail.

use landfall_zql::{Quoted, RowError};
use thiserror::Error;

/// Bytes that are not a value of the format.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Another kind of value, or none at all.
    #[error("not a value of kind '{expected}'")]
    Kind {
        /// The kind that should stand here.
        expected: char,
    },
    /// Written by another version of the format.
    #[error("format version {0} is unknown")]
    Version(u8),
    /// Bytes that are not those that were written.
    #[error("the checksum does not fit")]
    Checksum,
    /// Fewer bytes than announced.
    #[error("the value ends too early")]
    Truncated,
    /// More bytes than announced.
    #[error("bytes are left over at the end of the value")]
    TooLong,
    /// Text that is not UTF-8.
    #[error("text is not UTF-8")]
    Utf8,
    /// A choice that the format does not have.
    #[error("tag {0} is unknown")]
    Tag(u8),
    /// A table that the group's schema does not have.
    #[error("table {0} is unknown")]
    Table(u32),
    /// A row that does not fit its table.
    #[error("a row has {found} columns and its table {expected}")]
    Columns {
        /// Columns of the table or its key.
        expected: usize,
        /// Columns of the row.
        found: usize,
    },
    /// Bytes that are not a packed row.
    #[error(transparent)]
    Row(#[from] RowError),
    /// Rows that are not in the order of their keys.
    #[error("rows are out of order")]
    Order,
    /// A page with more or fewer rows than it says.
    #[error("a page does not hold as many rows as it says")]
    RowCount,
    /// Pages that are missing, or that the head does not know of.
    #[error("the pages do not match their head")]
    PageCount,
    /// A schema that no client could have written.
    #[error("the stored schema is malformed")]
    Schema,
    /// Log records that are missing, or that the head does not know of.
    #[error("the log does not match its head")]
    LogRange,
}

/// Why a storage request was not carried out. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StoreFailure {
    /// The store holds nothing: it was never opened, or was erased meanwhile.
    #[error("the store holds no client group")]
    NotOpen,
    /// Another tab has started another group in this store meanwhile.
    #[error("the store holds another client group now")]
    OtherGroup {
        /// The group that it holds.
        group_id: String,
    },
    /// The store was made for other tables or columns.
    #[error("the store was made for another schema")]
    OtherSchema,
    /// Mutations must be stored without gaps: one before this is missing.
    #[error("mutation {found} cannot be stored before mutation {expected}")]
    Gap {
        /// The next id that can be stored.
        expected: u64,
        /// The id that was to be stored.
        found: u64,
    },
    /// A stored value cannot be read.
    #[error("damaged data in store {}: {source}", Quoted(.store))]
    Corrupt {
        /// Where.
        store: &'static str,
        /// How.
        source: FormatError,
    },
    /// The backend answered something else than what was read.
    #[error("the storage backend broke its contract")]
    Contract,
    /// The backend failed.
    #[error("storage failed: {message}")]
    Backend {
        /// What can be done about it.
        kind: BackendFailure,
        /// What the backend said.
        message: String,
    },
}

/// How a backend failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackendFailure {
    /// No space is left: folding and clearing may help.
    Quota,
    /// There is no storage, or no permission to use it: work goes on in memory.
    Unavailable,
    /// The connection to the storage was lost: opening it again may help.
    Closed,
    /// Anything else; the same request may be tried again.
    Other,
}
