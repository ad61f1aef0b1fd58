//! The durable state of a Landfall client, without I/O.
//!
//! A store holds one client group: the server's rows (snapshot pages and a log of patches), the mutation queue, the
//! outcomes of mutations and the group's clients. `FORMAT.md` beside this crate gives its bytes.
//!
//! A [`StoreRequest`] is one transaction as data: what it reads, and a pure function from that to what it writes and
//! answers. Hosts (IndexedDB, [`MemoryStore`], a simulator) carry transactions out and decide nothing.
//!
//! Several tabs share a store. What they may do to each other is settled inside the transactions; this crate knows no
//! locks, no clock, no sockets, and nothing of the wire but that a cookie is text with an order.

mod cookie_order;
mod decide;
mod encoding;
mod error;
mod fold;
mod head;
mod kept_results;
mod key;
mod memory;
mod page;
mod patch;
mod queue;
mod request;
mod schema_change;
mod state_reader;
mod stored_schema;
mod unread;

pub use cookie_order::compare as compare_cookies;
pub use encoding::FORMAT_VERSION;
pub use error::{BackendFailure, FormatError, StoreFailure};
pub use fold::{FoldPlanning, plan_fold};
pub use head::{FOLD_BYTES, FOLD_RECORDS, Head, RememberedMode};
pub use kept_results::{KEPT_BYTES, KeptResult, KeptTree};
pub use memory::MemoryStore;
pub use page::{NewPage, NewPages, PAGE_BYTES, PageWriter, QuerySets, StoredPage};
pub use patch::{DesiredChange, LogRecord, Patch, QueryChange, RowChange};
pub use queue::{ClientRecord, Ending, NewMutation, QueuedMutation, StoredOutcome};
pub use request::{
    AppendPoke, Confirm, Decision, Durability, FoldPlan, Frozen, GroupStarted, KeepResults,
    MarkAttempted, Mode, NewValue, Open, Read, ReadResult, Reissued, Repair, StartGroup, StoreName,
    StoreOp, StoreReply, StoreRequest, WriteOp, WriteQueue, WriteSnapshot,
};
pub use state_reader::{Give, StateReader};
pub use unread::{ServerState, Unread};
