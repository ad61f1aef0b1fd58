//! What a client asks of its store: each [`StoreRequest`] is one transaction, as data.
//!
//! A host carries a request out like this, in **one** transaction of its backend:
//! 1. it does all of [`StoreRequest::reads`];
//! 2. it calls [`StoreRequest::decide`] with the results, in the same order;
//! 3. it does all of [`Decision::writes`], in order;
//! 4. when the transaction is committed it hands on [`Decision::reply`].
//!
//! If the decision is a failure, or the backend fails, nothing is written.
//! Requests of one host are carried out one after another; those of several hosts (tabs) are kept apart by the
//! transactions of the backend. Correctness needs nothing else: locks between tabs only save work.

use crate::error::StoreFailure;
use crate::head::{Head, RememberedMode};
use crate::kept_results::KeptResult;
use crate::page::{NewPage, NewPages, QuerySets, StoredPage};
use crate::patch::{LogRecord, Patch};
use crate::queue::{ClientRecord, Ending, NewMutation, QueuedMutation, StoredOutcome};
use crate::unread::Unread;
use landfall_zql::Schema;
use landfall_zql::sorted_map::SortedMap;
use std::sync::Arc;

/// A request for one client group.
#[derive(Clone, Debug)]
pub struct StoreRequest {
    /// The group that the requesting tab belongs to. If the store holds another one, the request fails with
    /// [`StoreFailure::OtherGroup`]. For [`StoreOp::Open`]: the id for a new group, if the store is empty.
    pub group_id: String,
    /// What is asked.
    pub op: StoreOp,
}

/// What is asked.
#[derive(Clone, Debug)]
pub enum StoreOp {
    /// Join the group in the store, or make one, and read everything.
    Open(Open),
    /// Read what users made in a store of any schema, rows left out. The group must be there; whichever it is, is told.
    OpenQueue,
    /// Read the rows of a store of any schema, as far as they are rows of this one. The group is whichever is there.
    ReadEarlier {
        /// The schema of the code that runs.
        schema: Arc<Schema>,
    },
    /// Take last mutation ids and outcomes without rows and cookie.
    Confirm(Confirm),
    /// Read the results that were kept at the cookie that the store is at. The group is whichever is there.
    ReadKept {
        /// The schema of the code that runs.
        schema: Arc<Schema>,
    },
    /// Keep results for the next start. Reads nothing, so that a page can still ask for it when it is left.
    KeepResults(KeepResults),
    /// Read everything, for a fold or after the store went ahead of this tab.
    Load {
        /// The group's schema.
        schema: Arc<Schema>,
    },
    /// Read the log from a record on.
    ReadLog {
        /// The group's schema.
        schema: Arc<Schema>,
        /// The number of the first record wanted.
        from: u64,
    },
    /// Read the mutations that are not confirmed.
    ReadQueue {
        /// The client whose mutations are left out: it knows them.
        except: Option<String>,
    },
    /// Read how mutations ended that failed or are uncertain.
    ReadOutcomes,
    /// Store a poke, or several merged ones.
    AppendPoke(AppendPoke),
    /// Store all rows, in place of pages and log: after [`StoreReply::NeedsSnapshot`], or as a fold from memory.
    WriteSnapshot(WriteSnapshot),
    /// Move log records into pages, as planned by [`crate::plan_fold`].
    Fold(FoldPlan),
    /// Store mutations of one client.
    WriteQueue(WriteQueue),
    /// Mutations are about to be sent.
    MarkAttempted(MarkAttempted),
    /// The application has seen these outcomes. Of another client that may still ask, how the mutation ended stays,
    /// without a name.
    ClearOutcomes {
        /// The client that clears.
        by: String,
        /// Client and mutation id of each.
        ids: Vec<(String, u64)>,
    },
    /// Remember how the server takes queries and mutations.
    SetServerMode(RememberedMode),
    /// This client is alive.
    TouchClient {
        /// The client.
        client_id: String,
        /// Now, in epoch milliseconds.
        now: f64,
    },
    /// Forget clients that are dead. Those with queued mutations or outcomes stay.
    RemoveClients {
        /// The clients.
        client_ids: Vec<String>,
        /// They are surely gone: what is there for them alone goes too.
        are_gone: bool,
    },
    /// The server knows this group no more: begin another one and keep the unsent mutations.
    StartGroup(StartGroup),
    /// Let go of the server's rows, because they are damaged or take the room that the queue needs. What the users
    /// made stays; if not even the head can be read, in a new group.
    Repair(Repair),
    /// Delete everything.
    Erase,
}

/// See [`StoreOp::Open`].
#[derive(Clone, Debug)]
pub struct Open {
    /// The schema of the code that runs. A store made for another one is refused.
    pub schema: Arc<Schema>,
    /// The client that opens; its record is made or renewed.
    pub client_id: String,
    /// Now, in epoch milliseconds.
    pub now: f64,
    /// The group was in this store before: if the store is empty, the browser has emptied it, and the group that is made
    /// says so.
    pub was_there: bool,
    /// There is no room for anything: nothing is written, an empty store has no group, and the client's record is made by
    /// what it writes later.
    pub reads_only: bool,
}

/// See [`StoreOp::AppendPoke`].
#[derive(Clone, Debug)]
pub struct AppendPoke {
    /// The cookie that the patch starts from.
    pub base: Option<String>,
    /// The cookie that it leads to.
    pub cookie: String,
    /// The changes, as received.
    pub patch: Patch,
    /// Last mutation ids that it confirms: these mutations leave the queue.
    pub last_mutation_ids: SortedMap<String, u64>,
    /// Mutations among them that failed. Name and arguments are taken from the queue where they are still there.
    pub outcomes: Vec<StoredOutcome>,
}

/// See [`StoreOp::Confirm`].
#[derive(Clone, Debug)]
pub struct Confirm {
    /// These mutations leave the queue.
    pub last_mutation_ids: SortedMap<String, u64>,
    /// Mutations among them that failed.
    pub outcomes: Vec<StoredOutcome>,
}

/// See [`StoreOp::KeepResults`].
#[derive(Clone, Debug)]
pub struct KeepResults {
    /// What the rows are that the results are of; if the store is elsewhere, they are void.
    pub cookie: String,
    /// The most important ones first: there is room for [`crate::KEPT_BYTES`].
    pub results: Vec<KeptResult>,
}

/// See [`StoreOp::WriteSnapshot`].
#[derive(Clone, Debug)]
pub struct WriteSnapshot {
    /// What the rows are.
    pub cookie: String,
    /// All last mutation ids that are known.
    pub last_mutation_ids: SortedMap<String, u64>,
    /// The server's rows, without the effects of pending mutations.
    pub pages: NewPages,
    /// Desired and got queries.
    pub queries: QuerySets,
    /// Mutations that failed and are not stored as such yet.
    pub outcomes: Vec<StoredOutcome>,
}

/// See [`StoreOp::Fold`].
#[derive(Clone, Debug)]
pub struct FoldPlan {
    pub(crate) generation: u64,
    pub(crate) log_first: u64,
    pub(crate) log_until: u64,
    pub(crate) log_bytes: u64,
    pub(crate) removed: Vec<u32>,
    pub(crate) pages: NewPages,
    pub(crate) queries: QuerySets,
}

/// See [`StoreOp::WriteQueue`].
#[derive(Clone, Debug)]
pub struct WriteQueue {
    /// The client that made the mutations.
    pub client_id: String,
    /// In the order of their ids, without gaps.
    pub mutations: Vec<NewMutation>,
    /// The last of them that was sent, or may be before this request is answered; 0 if none.
    pub attempted: u64,
    /// The last of them that an earlier request may have stored; 0 if none.
    pub unsure: u64,
    /// The last mutation id of the client, as far as it knows: storage may have forgotten it.
    pub confirmed: u64,
    /// Now, in epoch milliseconds.
    pub now: f64,
}

/// See [`StoreOp::MarkAttempted`].
#[derive(Clone, Debug)]
pub struct MarkAttempted {
    /// For each client the id up to which mutations are about to be sent.
    pub through: Vec<(String, u64)>,
    /// What is about to be sent where it may differ from what is stored; from now on it must not change.
    pub frozen: Vec<Frozen>,
}

/// What a mutation is sent as, where the server takes writes.
#[derive(Clone, Debug, PartialEq)]
pub struct Frozen {
    /// The client that made the mutation.
    pub client_id: String,
    /// The number in the client's sequence.
    pub id: u64,
    /// JSON text of the writes; what is stored stays if absent.
    pub ops: Option<String>,
    /// It is sent without writes, and this is how it ends if the server takes it and says nothing more. Stored as an
    /// outcome while the mutation still waits.
    pub end: Option<Ending>,
    /// Whoever asks has sent it already. If not, and another may have, then what is stored counts.
    pub sent: bool,
}

/// See [`StoreOp::StartGroup`].
#[derive(Clone, Debug)]
pub struct StartGroup {
    /// The id of the new group.
    pub new_group_id: String,
    /// The client that begins it; unsent mutations of all clients become its own, ids from 1.
    /// It must be new too: an id of the old group might have been seen by the server.
    pub client_id: String,
    /// For clients the id up to which whoever asks knows that mutations may have been sent: storage may not.
    pub sent: Vec<(String, u64)>,
    /// Now, in epoch milliseconds.
    pub now: f64,
}

/// See [`StoreOp::Repair`].
#[derive(Clone, Debug)]
pub struct Repair {
    /// The schema of the code that runs.
    pub schema: Arc<Schema>,
    /// The group that begins if the present one cannot be read.
    pub instead: StartGroup,
}

/// What a request gives back.
#[derive(Clone, Debug)]
pub enum StoreReply {
    /// To [`StoreOp::Open`].
    Opened {
        /// Everything that is stored.
        loaded: Box<Unread>,
        /// The store was empty, and the group is new.
        created: bool,
    },
    /// To [`StoreOp::Load`].
    Loaded(Box<Unread>),
    /// To [`StoreOp::ReadKept`]: none if anything has happened since, or a mutation waits.
    Kept(Vec<KeptResult>),
    /// To [`StoreOp::ReadEarlier`]; its rows are given as rows of the schema that was asked for.
    Earlier(Box<Unread>),
    /// To [`StoreOp::ReadLog`].
    Log {
        /// Where the store stands.
        head: Box<Head>,
        /// The records from the number asked for, if the log still reaches back to it; else load everything.
        records: Option<Vec<LogRecord>>,
        /// How mutations ended that failed or are uncertain.
        outcomes: Vec<StoredOutcome>,
    },
    /// To [`StoreOp::ReadQueue`].
    Queue {
        /// The head.
        head: Box<Head>,
        /// The mutations that are not confirmed, in the group's order.
        queue: Vec<QueuedMutation>,
        /// The clients of the group, by id.
        clients: Vec<ClientRecord>,
    },
    /// To [`StoreOp::ReadOutcomes`].
    Outcomes {
        /// By client and id.
        stored: Vec<StoredOutcome>,
        /// Earlier ones are lost: see [`Head::has_lost_ends`].
        has_lost_ends: bool,
    },
    /// The poke or the snapshot is stored.
    Appended(Box<Head>),
    /// The store already holds what the poke or the snapshot leads to, and maybe more.
    AlreadyThere(Box<Head>),
    /// The store is older than what the poke starts from: write a snapshot.
    NeedsSnapshot(Box<Head>),
    /// To [`StoreOp::Repair`].
    Repaired {
        /// How many mutations and outcomes could not be read.
        lost: usize,
    },
    /// The fold is stored.
    Folded(Box<Head>),
    /// Another fold or snapshot came first; nothing was written.
    FoldOutdated(Box<Head>),
    /// To [`StoreOp::WriteQueue`]: id and place in the group's order of each mutation, whether it was stored now or by
    /// an earlier request. The place of one that is confirmed already is 0.
    Queued {
        /// Id and sequence.
        sequences: Vec<(u64, u64)>,
    },
    /// To [`StoreOp::MarkAttempted`].
    Marked {
        /// What another may have sent otherwise than asked for, as that is stored: nothing was written of these.
        otherwise: Vec<Frozen>,
        /// What another has sent, by client and id: it is confirmed already, though not asked for as sent.
        confirmed: Vec<(String, u64)>,
    },
    /// To [`StoreOp::RemoveClients`]: those that were removed.
    Removed {
        /// The clients.
        client_ids: Vec<String>,
    },
    /// To [`StoreOp::StartGroup`].
    GroupStarted(Box<GroupStarted>),
    /// To everything else.
    Done,
}

/// See [`StoreReply::GroupStarted`].
#[derive(Clone, Debug)]
pub struct GroupStarted {
    /// The head of the new group: no cookie, nothing confirmed.
    pub head: Box<Head>,
    /// The mutations that were never sent, under their new ids, each with its old client and id.
    pub reissued: Vec<Reissued>,
    /// All outcomes: those stored before, and the mutations that may have been sent, now uncertain.
    pub outcomes: Vec<StoredOutcome>,
    /// For each client of the old group that was known, the last of its mutations that was ever stored; 0 if none.
    pub queued: Vec<(String, u64)>,
}

/// A mutation that became one of another client.
#[derive(Clone, Debug, PartialEq)]
pub struct Reissued {
    /// The client that made it.
    pub old_client_id: String,
    /// Its number there.
    pub old_id: u64,
    /// What it is now.
    pub mutation: QueuedMutation,
}

/// The stores of a group. Keys and values are bytes; keys order as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreName {
    /// The head and the schema.
    Head,
    /// Patches, by number.
    Log,
    /// Snapshot pages, by number, and the sets of queries.
    Pages,
    /// Mutations, by client and id.
    Queue,
    /// Endings of mutations, by client and id.
    Outcomes,
    /// Clients, by id.
    Clients,
}

impl StoreName {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Head,
        Self::Log,
        Self::Pages,
        Self::Queue,
        Self::Outcomes,
        Self::Clients,
    ];

    /// The name under which a backend keeps the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Log => "log",
            Self::Pages => "pages",
            Self::Queue => "queue",
            Self::Outcomes => "outcomes",
            Self::Clients => "clients",
        }
    }
}

/// Something to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// One value; answered by [`ReadResult::Value`].
    Get {
        /// Where.
        store: StoreName,
        /// Its key.
        key: Vec<u8>,
    },
    /// The values of a range, in the order of keys; answered by [`ReadResult::Values`].
    Range {
        /// Where.
        store: StoreName,
        /// The first key of the range.
        from: Vec<u8>,
        /// The first key beyond the range; to the end if absent.
        until: Option<Vec<u8>>,
        /// No more values than this are needed.
        limit: Option<u32>,
    },
}

/// What a read gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadResult {
    /// To [`Read::Get`].
    Value(Option<Vec<u8>>),
    /// To [`Read::Range`].
    Values(Vec<Vec<u8>>),
    /// To [`Read::Range`] of pages, each taken by [`StoreRequest::take_page`].
    Pages(Vec<StoredPage>),
}

/// Something to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOp {
    /// Set one value.
    Put {
        /// Where.
        store: StoreName,
        /// Its key.
        key: Vec<u8>,
        /// The value.
        value: NewValue,
    },
    /// Remove one value.
    Delete {
        /// Where.
        store: StoreName,
        /// Its key.
        key: Vec<u8>,
    },
    /// Remove the values of a range.
    DeleteRange {
        /// Where.
        store: StoreName,
        /// The first key of the range.
        from: Vec<u8>,
        /// The first key beyond the range.
        until: Vec<u8>,
    },
    /// Remove all values of a store.
    Clear {
        /// Where.
        store: StoreName,
    },
}

/// A value that is to be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewValue {
    /// As it is.
    Bytes(Vec<u8>),
    /// A page, whose bytes are made when it is its turn. A host gives the browser a turn after each, since many of
    /// them take long.
    Page {
        /// Its number.
        number: u32,
        /// The rest of it.
        page: NewPage,
    },
}

impl NewValue {
    /// The bytes to store.
    pub fn into_bytes(self) -> Vec<u8> {
        match self {
            NewValue::Bytes(bytes) => bytes,
            NewValue::Page { number, page } => page.value(number),
        }
    }
}

/// What a transaction does after its reads.
#[derive(Clone, Debug)]
pub struct Decision {
    /// To be done in this order.
    pub writes: Vec<WriteOp>,
    /// To be handed on when they are committed.
    pub reply: StoreReply,
}

/// Whether a transaction writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It only reads.
    ReadOnly,
    /// It may write.
    ReadWrite,
}

/// What a power failure may undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Nothing that was answered.
    Strict,
    /// The last transactions, as a whole; the server gives them again.
    Relaxed,
}

impl StoreRequest {
    /// Whether the transaction writes.
    pub fn mode(&self) -> Mode {
        match self.op {
            StoreOp::OpenQueue
            | StoreOp::ReadEarlier { .. }
            | StoreOp::ReadKept { .. }
            | StoreOp::Load { .. }
            | StoreOp::ReadLog { .. }
            | StoreOp::ReadQueue { .. }
            | StoreOp::ReadOutcomes => Mode::ReadOnly,
            _ => Mode::ReadWrite,
        }
    }

    /// What a power failure may undo.
    pub fn durability(&self) -> Durability {
        let strict = match &self.op {
            StoreOp::WriteQueue(_)
            | StoreOp::MarkAttempted(_)
            | StoreOp::StartGroup(_)
            | StoreOp::Repair(_)
            | StoreOp::Erase => true,
            // A failure that was acknowledged to the server is told by nobody else.
            StoreOp::AppendPoke(append) => !append.outcomes.is_empty(),
            StoreOp::WriteSnapshot(snapshot) => !snapshot.outcomes.is_empty(),
            StoreOp::Confirm(confirm) => !confirm.outcomes.is_empty(),
            _ => false,
        };
        if strict {
            Durability::Strict
        } else {
            Durability::Relaxed
        }
    }

    /// What the transaction reads, before anything else.
    pub fn reads(&self) -> Vec<Read> {
        crate::decide::reads(self)
    }

    /// Takes the value of a page that the transaction has read. If its rows are what is asked for, they are read here, so
    /// that this happens while the host waits for the next page, up to so many bytes; otherwise it costs nothing.
    pub fn take_page(&self, bytes: Vec<u8>, most: usize) -> StoredPage {
        match &self.op {
            StoreOp::Open(open) => StoredPage::read_ahead(bytes, most, &open.schema),
            _ => StoredPage::unread(bytes),
        }
    }

    /// What the transaction writes and answers, given what it read.
    pub fn decide(&self, results: Vec<ReadResult>) -> Result<Decision, StoreFailure> {
        crate::decide::decide(self, results)
    }
}
