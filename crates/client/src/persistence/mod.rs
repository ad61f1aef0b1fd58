//! The client's side of storage: what is asked of the store, and what follows from its answers.
//!
//! Requests are carried out one after another by the host, so a later one sees what an earlier one wrote.
//! Only one write of the queue is under way at a time: if it fails, no later mutation is stored before an earlier one.

mod answers;
pub(crate) mod earlier_store;
pub(crate) mod export;
pub(crate) mod faults;
pub(crate) mod kept_results;
pub(crate) mod loading;
pub(crate) mod log_following;
pub(crate) mod server_rows;
pub(crate) mod snapshot_writing;
pub(crate) mod stored_forms;

use crate::client::Client;
use crate::connection::pokes::Poke;
use crate::effect::{CallId, Effect, LogLevel, MutationInfo, Outcome};
use crate::event::StoreRequestId;
use crate::mutations::queue_writing::Marking;
use crate::mutations::{Mutation, MutationKey, Mutations, Settled};
use crate::options::Role;
use crate::persistence::faults::Faults;
use crate::persistence::log_following::{Following, Replacing};
use crate::persistence::snapshot_writing::SnapshotWriting;
use crate::persistence::stored_forms::{
    from_queue, outcome_of, remembered, to_outcome, to_patch, unnamed_outcome,
};
use crate::tabs::group_restart::Restart;
use landfall_protocol::ServerMode;
use landfall_store::{
    AppendPoke, BackendFailure, Confirm, FoldPlanning, Head, Open, QueuedMutation, StateReader,
    StoreFailure, StoreOp, StoreReply, StoreRequest, StoredOutcome,
};
use landfall_zql::sorted_map::{SortedMap, SortedSet};
use std::collections::VecDeque;

/// Pause before a failed write of the queue is tried again.
pub(crate) const RETRY_MS: f64 = 5_000.0;

/// How long the first replay of the stored queue may keep the stored rows from being shown.
const READY_WAIT_MS: f64 = 1_000.0;

/// A row that is read from storage counts as so many steps.
pub(crate) const LOAD_STEPS: usize = 2;

/// Why a request was made.
#[derive(Debug)]
pub(crate) enum Purpose {
    ReadKept,
    Open,
    /// The stored rows are let go of.
    Repair,
    /// Storage was emptied.
    StoreAnew,
    /// A poke; on success these results are acknowledged to the server.
    Poke {
        acks: SortedMap<String, u64>,
        outcomes: Vec<StoredOutcome>,
    },
    Queue(Vec<(MutationKey, Option<CallId>)>),
    /// Whether it tells all that is about to be sent, and what was sent without storage knowing.
    Mark {
        all: bool,
    },
    StartGroup,
    /// Another tab has begun a new group: join it under a new id.
    Rejoin,
    /// What dead tabs left; these are known to be dead when it is asked.
    ReadQueue(SortedSet<String>),
    /// How these ended, of which only storage may know more than that they did.
    Outcomes(Vec<Settled>),
    /// What other tabs have stored, for a tab without a connection.
    FollowLog,
    FollowAll,
    LoadForFold,
    Fold,
    /// Nothing follows from it.
    Note(&'static str),
}

/// Requests under way and mutations to be written.
#[derive(Debug, Default)]
pub(crate) struct Persistence {
    next_request: u32,
    open: SortedMap<StoreRequestId, Purpose>,
    pub(crate) to_write: VecDeque<MutationKey>,
    pub(crate) is_writing: bool,
    pub(crate) is_folding: bool,
    pub(crate) retry_at: Option<f64>,
    /// When the queue, or what is stored of ends, is to be read again, because reading it failed.
    pub(crate) reread_at: Option<f64>,
    /// The queue is to be read once more behind the reading that is under way.
    read_on: bool,
    /// Ends that are told when storage could be read.
    unread_ends: Vec<Settled>,
    /// How far the queue is marked as about to be sent.
    pub(crate) marking: Marking,
    /// When the queue is to be marked as sent again, because that failed.
    pub(crate) remark_at: Option<f64>,
    /// When a mark that is not answered counts as failed.
    pub(crate) mark_by: Option<f64>,
    pub(crate) mark_failures: u32,
    /// What was sent although storage could not be told, by client: it is told as soon as it can be.
    pub(crate) unmarked: SortedMap<String, u64>,
    /// Storage could not be told what is about to be sent, and has carried out nothing since.
    pub(crate) cannot_tell: bool,
    /// Another tab has spoken of another group: only what storage is asked from this request on tells whether it has this
    /// one.
    doubted_from: Option<StoreRequestId>,
    /// Storage has carried something out since that was last tried.
    pub(crate) heals: bool,
    pub(crate) faults: Faults,
    pub(crate) following: Following,
    /// What others have stored, on its way to take the place of what is here.
    pub(crate) replacing: Option<Box<Replacing>>,
    /// The log record with which other tabs go on from what is here.
    pub(crate) log_next: u64,
    /// Mutations whose failure to be stored was told.
    pub(crate) told: SortedSet<MutationKey>,
    /// There is no storage: everything lives in memory.
    pub(crate) disabled: bool,
    /// All rows on their way into storage.
    pub(crate) snapshot: Option<Box<SnapshotWriting>>,
    /// A fold that is being planned.
    pub(crate) planning: Option<Box<FoldPlanning>>,
    /// When results are to be kept for the next start.
    pub(crate) keep_at: Option<f64>,
    /// Rows that are being read at the start.
    loading: Option<Box<StateReader>>,
    /// A new group is being begun: nothing is written meanwhile.
    pub(crate) restart: Option<Restart>,
}

impl Persistence {
    /// A mutation is to be stored.
    pub(crate) fn enqueue(&mut self, key: MutationKey) {
        self.to_write.push_back(key);
    }

    /// Whether storage is being told what is about to be sent.
    pub(crate) fn is_marking(&self) -> bool {
        let mut purposes = self.open.values();
        purposes.any(|purpose| matches!(purpose, Purpose::Mark { .. }))
    }

    /// Whether something was or may be sent that storage could not be told of.
    pub(crate) fn has_untold(&self) -> bool {
        self.cannot_tell || !self.unmarked.is_empty()
    }

    /// Another tab has spoken of another group.
    pub(crate) fn doubt_group(&mut self) {
        self.doubted_from = Some(StoreRequestId(self.next_request));
    }

    /// Whether another tab has spoken of another group, and storage has not answered since that it has this one.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubted_from.is_some()
    }

    fn is_reading_queue(&self) -> bool {
        let mut purposes = self.open.values();
        purposes.any(|purpose| matches!(purpose, Purpose::ReadQueue(_)))
    }

    /// The oldest request for whose answer the application waits, or the connection.
    pub(crate) fn waited_for(&self) -> Option<StoreRequestId> {
        let mut open = self.open.iter();
        let is_it = |purpose: &Purpose| {
            matches!(
                purpose,
                Purpose::Queue(_) | Purpose::StartGroup | Purpose::Rejoin
            )
        };
        let waited = open.find(|(_, purpose)| is_it(purpose));
        waited.map(|(request, _)| *request)
    }

    /// Mutations that are being written, with their calls.
    pub(crate) fn being_written(&self) -> Vec<(MutationKey, Option<CallId>)> {
        let written = |purpose: &Purpose| match purpose {
            Purpose::Queue(calls) => calls.clone(),
            _ => Vec::new(),
        };
        self.open.values().flat_map(written).collect()
    }

    /// More is sent by now than the marks that are under way have named.
    pub(crate) fn give_up_marks(&mut self) {
        for (_, purpose) in &mut self.open {
            if let Purpose::Mark { all } = purpose {
                *all = false;
            }
        }
    }

    /// Whether storage is being asked for all that it holds, or repaired for that.
    pub(crate) fn is_opening(&self) -> bool {
        let mut purposes = self.open.values();
        purposes.any(|purpose| matches!(purpose, Purpose::Open | Purpose::Repair))
    }

    pub(crate) fn next_deadline(&self) -> Option<f64> {
        let restart_at = self.restart.as_ref().and_then(|restart| restart.retry_at);
        let own = [
            self.retry_at,
            self.reread_at,
            self.remark_at,
            self.mark_by,
            self.keep_at,
            self.faults.look_at,
            restart_at,
        ];
        own.into_iter().flatten().reduce(f64::min)
    }
}

impl Client {
    pub(crate) fn ask_store(&mut self, purpose: Purpose, op: StoreOp) {
        let Some(group_id) = self.group_id.clone() else {
            return;
        };
        self.ask_store_as(group_id, purpose, op);
    }

    pub(crate) fn ask_store_as(&mut self, group_id: String, purpose: Purpose, op: StoreOp) {
        if self.persistence.disabled {
            return;
        }
        let request = StoreRequestId(self.persistence.next_request);
        self.persistence.next_request += 1;
        self.persistence.open.insert(request, purpose);
        self.effects.push(Effect::Store {
            request,
            op: StoreRequest { group_id, op },
        });
    }

    /// Asks for everything that is stored.
    pub(crate) fn load(&mut self, now: f64) {
        let fresh_group = self.random.id();
        let op = match self.role {
            Role::Draining => StoreOp::OpenQueue,
            Role::Usual | Role::Held => {
                let open = self.opening(now, self.client_id.clone());
                StoreOp::Open(Open {
                    was_there: false,
                    ..open
                })
            }
        };
        self.ask_store_as(fresh_group, Purpose::Open, op);
        self.look_at_opening_later(now);
    }

    /// Opens a group that was in storage before.
    pub(crate) fn opening(&self, now: f64, client_id: String) -> Open {
        Open {
            schema: self.schema.clone(),
            client_id,
            now,
            was_there: true,
            reads_only: self.persistence.faults.is_full(now),
        }
    }

    /// Reads the stored queue, for what dead tabs stored without announcing it.
    pub(crate) fn read_queue(&mut self) {
        self.persistence.reread_at = None;
        let ends = std::mem::take(&mut self.persistence.unread_ends);
        if !ends.is_empty() {
            self.read_outcomes(ends);
        }
        // Many pages may be found dead at once, and one more reading finds what all of them left.
        self.persistence.read_on = self.persistence.is_reading_queue();
        if self.persistence.read_on {
            return;
        }
        let dying = self.tabs.dying().clone();
        // Its own mutations are here, whatever storage says of them.
        let except = Some(self.client_id.clone());
        self.ask_store(Purpose::ReadQueue(dying), StoreOp::ReadQueue { except });
    }

    /// Mutations as they were stored.
    pub(crate) fn take_stored(&mut self, queue: Vec<QueuedMutation>) -> Vec<Mutation> {
        let mutations: Vec<Mutation> = queue.into_iter().map(from_queue).collect();
        for mutation in &mutations {
            let what = match mutation {
                Mutation { unreadable, .. } if *unreadable => "writes",
                Mutation { unusable, .. } if unusable.is_some() => "arguments",
                _ => continue,
            };
            let Mutation { client_id, id, .. } = mutation;
            let text = format!("the stored {what} of mutation {id} of {client_id} cannot be read");
            self.log(LogLevel::Warn, &text);
        }
        mutations
    }

    fn on_queue_read(
        &mut self,
        now: f64,
        dying: SortedSet<String>,
        result: Result<StoreReply, StoreFailure>,
    ) {
        if self.persistence.read_on {
            self.read_queue();
        }
        let Ok(StoreReply::Queue {
            head,
            queue,
            clients,
        }) = result
        else {
            self.persistence.reread_at = Some(now + RETRY_MS);
            return;
        };
        self.take_records(now, &clients);
        let queue = self.take_stored(queue);
        self.end_stuck(&head, &queue);
        for mutation in queue {
            let owner = mutation.client_id.clone();
            if self.mutations.insert(mutation) {
                self.mutations_changed = true;
                self.rebase.request_round();
                self.watch(&owner);
            }
        }
        self.bury(dying);
    }

    pub(crate) fn read_outcomes(&mut self, ends: Vec<Settled>) {
        if self.group_id.is_none() || self.persistence.disabled {
            // Between two groups, or without storage by now: nobody can be asked.
            return self.tell_doubtful(ends, Vec::new(), true);
        }
        self.ask_store(Purpose::Outcomes(ends), StoreOp::ReadOutcomes);
    }

    fn on_outcomes_read(
        &mut self,
        now: f64,
        ends: Vec<Settled>,
        result: Result<StoreReply, StoreFailure>,
    ) {
        match result {
            Ok(StoreReply::Outcomes {
                stored,
                has_lost_ends,
            }) => {
                self.persistence.faults.lost_ends |= has_lost_ends;
                // A failure that storage had may be gone with it.
                let is_lost = self.persistence.faults.lost_ends;
                self.tell_doubtful(ends, stored, is_lost);
            }
            Err(StoreFailure::Backend { kind, .. }) if kind != BackendFailure::Unavailable => {
                self.persistence.unread_ends.extend(ends);
                self.persistence.reread_at = Some(now + RETRY_MS);
            }
            Ok(_) | Err(_) => self.tell_doubtful(ends, Vec::new(), true),
        }
    }

    /// Tells how mutations ended of which the server said nothing more. Silence is no success where what storage knew of
    /// failures is lost.
    fn tell_doubtful(&mut self, mut ends: Vec<Settled>, stored: Vec<StoredOutcome>, is_lost: bool) {
        if is_lost {
            ends.iter_mut()
                .for_each(|end| end.outcome = Outcome::Uncertain);
        }
        let mut unsure = Vec::new();
        for outcome in stored {
            let same =
                |end: &&mut Settled| end.mutation.key() == (outcome.client_id.clone(), outcome.id);
            if let Some(end) = ends.iter_mut().find(same) {
                end.outcome = outcome_of(outcome.ending);
                let mutation = &end.mutation;
                if mutation.unmarked && mutation.pushed && self.link.sends_writes_of(mutation) {
                    // Which of the two tabs that sent it was first nobody knows.
                    end.outcome = Outcome::Uncertain;
                    unsure.extend(to_outcome(mutation, &end.outcome));
                }
            }
        }
        self.store_ends("an end that is not known", unsure);
        for end in &ends {
            if end.outcome != Outcome::Confirmed {
                let info = MutationInfo {
                    outcome: Some(end.outcome.clone()),
                    ..end.mutation.info()
                };
                self.mutations.replace_ended(vec![info]);
                self.mutations_changed = true;
            }
            self.tell_outcome(end);
        }
    }

    fn on_opened(&mut self, now: f64, result: Result<StoreReply, StoreFailure>) {
        self.persistence.faults.open_at = None;
        match result {
            Ok(StoreReply::Opened { loaded, .. }) => {
                if let Some(unread) = self.wait_for_earlier(loaded) {
                    self.begin_loading(now, *unread);
                }
            }
            Ok(_) => self.begin_without_storage(now),
            Err(failure) if self.open_again(now, &failure) => {}
            Err(_) => self.begin_without_storage(now),
        }
    }

    /// Nothing can be read: work in memory, and begin a group that nobody else knows.
    pub(crate) fn begin_without_storage(&mut self, now: f64) {
        self.persistence.disabled = true;
        self.persistence.faults.open_at = None;
        // What was asked of the stored group, and what came of it, is nothing to the new one: a mutation that both groups sent
        // would be carried out twice.
        self.persistence.open = SortedMap::new();
        self.mutations = Mutations::new();
        self.group_id = Some(self.random.id());
        self.begin(now);
    }

    pub(crate) fn begin(&mut self, now: f64) {
        self.loaded = true;
        self.mutations_changed = true;
        // What is pending is replayed first, so that nobody sees the rows without it; but not for long.
        self.ready_by = Some(now + READY_WAIT_MS);
        self.say_hello();
        self.start_connection(now);
        // What was announced while rows were read.
        self.follow_on();
    }

    /// Stores what a poke brought.
    pub(crate) fn store_poke(&mut self, poke: &mut Poke, settled: &[Settled]) {
        let mut outcomes = Vec::new();
        for end in settled {
            outcomes.extend(to_outcome(&end.mutation, &end.outcome));
        }
        outcomes.append(&mut self.outcomes_of_others(poke, settled));
        let mut acks: SortedMap<String, u64> = SortedMap::new();
        for (client, id) in &poke.result_changes {
            let draining = self.role == Role::Draining;
            if draining || *client == self.client_id || self.tabs.dead().contains(client) {
                let last = acks.get_or_insert_with(client.clone(), || *id);
                *last = (*last).max(*id);
            }
        }
        if self.persistence.disabled {
            self.acknowledge(acks);
            return;
        }
        let (acks, outcomes) = self.with_unstored(acks, outcomes);
        if self.role == Role::Draining {
            let confirmed = std::mem::take(&mut poke.confirmed);
            return self.store_confirmation(confirmed, acks, outcomes);
        }
        // As a record of the log it would be one piece, and soon be moved into pages.
        if poke.rows.len() > self.limits.snapshot_from {
            return self.store_snapshot(acks, outcomes);
        }
        let patch = to_patch(poke);
        let append = AppendPoke {
            base: poke.base.take(),
            cookie: std::mem::take(&mut poke.cookie),
            patch,
            last_mutation_ids: std::mem::take(&mut poke.confirmed),
            outcomes: outcomes.clone(),
        };
        self.store_in_order(Purpose::Poke { acks, outcomes }, append);
    }

    /// Failures of mutations that only the tab that made them knows, because it could not store them. It may learn from
    /// storage that they are over, and must not take them for done; nor if it was only silent for so long that it is
    /// taken for dead.
    fn outcomes_of_others(&self, poke: &Poke, settled: &[Settled]) -> Vec<StoredOutcome> {
        let known = |key: &MutationKey| settled.iter().any(|end| end.mutation.key() == *key);
        poke.results
            .iter()
            .filter(|(key, _)| key.0 != self.client_id && !known(key))
            .filter(|(key, _)| !self.tabs.is_gone(&key.0))
            .filter_map(|(key, outcome)| unnamed_outcome(key, outcome))
            .collect()
    }

    /// Whether a poke is on its way into storage.
    pub(crate) fn poke_store_in_flight(&self) -> bool {
        let is_open = self
            .persistence
            .open
            .values()
            .any(|purpose| matches!(purpose, Purpose::Poke { .. }));
        is_open || self.is_writing_snapshot()
    }

    fn on_poke_stored(
        &mut self,
        now: f64,
        acks: SortedMap<String, u64>,
        outcomes: Vec<StoredOutcome>,
        result: Result<StoreReply, StoreFailure>,
    ) {
        match result {
            Ok(StoreReply::Appended(head)) => {
                self.acknowledge(acks);
                self.fold_if_needed(&head);
                self.persistence.log_next = head.log_next;
                self.tell_unneeded();
                if let Some(cookie) = head.cookie {
                    self.announce_poke(cookie);
                }
            }
            // Another tab was first, and stored the same outcomes; or there are no rows to store.
            Ok(StoreReply::AlreadyThere(_) | StoreReply::Done) => self.acknowledge(acks),
            Ok(StoreReply::NeedsSnapshot(_)) => {
                if self.persistence.faults.is_full(now) {
                    self.keep_unstored(acks, outcomes);
                } else {
                    let (acks, outcomes) = self.with_unstored(acks, outcomes);
                    self.store_snapshot(acks, outcomes);
                }
            }
            // Not acknowledged: what the server told could not be stored.
            Ok(_) | Err(_) => self.keep_unstored(acks, outcomes),
        }
    }

    /// Storage has lost what this client builds on: it gets everything.
    fn store_snapshot(&mut self, acks: SortedMap<String, u64>, outcomes: Vec<StoredOutcome>) {
        let purpose = Purpose::Poke {
            acks,
            outcomes: outcomes.clone(),
        };
        self.begin_snapshot(purpose, outcomes);
    }

    fn fold_if_needed(&mut self, head: &Head) {
        if !head.needs_fold() || self.persistence.is_folding {
            return;
        }
        self.persistence.is_folding = true;
        match &self.cookie {
            // What is stored is here: nothing has to be read for it.
            Some(_) if head.cookie == self.cookie && head.is_mostly_log() && !self.stale_rows => {
                self.begin_snapshot(Purpose::Fold, Vec::new());
            }
            _ => self.ask_store(
                Purpose::LoadForFold,
                StoreOp::Load {
                    schema: self.schema.clone(),
                },
            ),
        }
    }

    fn on_loaded_for_fold(&mut self, result: Result<StoreReply, StoreFailure>) {
        match result {
            Ok(StoreReply::Loaded(unread)) => match FoldPlanning::new(*unread) {
                Ok(planning) => self.persistence.planning = Some(Box::new(planning)),
                Err(failure) => self.give_up_folding(&failure),
            },
            Ok(_) => self.persistence.is_folding = false,
            Err(failure) => self.give_up_folding(&failure),
        }
    }

    /// Plans the fold as long as there are steps.
    pub(crate) fn fold_on(&mut self) {
        while !self.slices.steps.are_spent()
            && let Some(planning) = &mut self.persistence.planning
        {
            match planning.step() {
                Ok(Some(rows)) => self.slices.steps.spend_many(rows * LOAD_STEPS),
                Ok(None) => {
                    if let Some(planning) = self.persistence.planning.take() {
                        self.ask_store(Purpose::Fold, StoreOp::Fold(planning.finish()));
                    }
                }
                Err(failure) => self.give_up_folding(&failure),
            }
        }
    }

    pub(crate) fn is_planning_fold(&self) -> bool {
        self.persistence.planning.is_some()
    }

    fn give_up_folding(&mut self, failure: &StoreFailure) {
        self.persistence.planning = None;
        self.persistence.is_folding = false;
        // What cannot be read can be written anew.
        if matches!(failure, StoreFailure::Corrupt { .. }) {
            self.store_snapshot(SortedMap::new(), Vec::new());
        }
    }

    /// Stores something from which nothing follows.
    pub(crate) fn store_note(&mut self, what: &'static str, op: StoreOp) {
        self.ask_store(Purpose::Note(what), op);
    }

    pub(crate) fn store_ends(&mut self, what: &'static str, outcomes: Vec<StoredOutcome>) {
        if !outcomes.is_empty() {
            let op = StoreOp::Confirm(Confirm {
                last_mutation_ids: SortedMap::new(),
                outcomes,
            });
            self.store_note(what, op);
        }
    }

    pub(crate) fn store_mode(&mut self, mode: ServerMode) {
        self.store_note(
            "the server's mode",
            StoreOp::SetServerMode(remembered(mode)),
        );
    }

    pub(crate) fn store_cleared_outcome(&mut self, client_id: &str, id: u64) {
        let op = StoreOp::ClearOutcomes {
            by: self.client_id.clone(),
            ids: vec![(client_id.to_owned(), id)],
        };
        self.store_note("a cleared outcome", op);
    }

    pub(crate) fn store_removal(&mut self, client_ids: Vec<String>, are_gone: bool) {
        let op = StoreOp::RemoveClients {
            client_ids,
            are_gone,
        };
        self.store_note("the end of a client", op);
    }
}
