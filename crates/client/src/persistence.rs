//! The client's side of storage: what is asked of the store, and what follows from its answers.
//!
//! Requests are carried out one after another by the host, so a later one sees what an earlier one wrote.
//! Only one write of the queue is under way at a time: if it fails, no later mutation is stored before an earlier one.

use crate::client::Client;
use crate::effect::{CallId, Effect, LogLevel, MutationError, MutationInfo, Outcome};
use crate::event::StoreRequestId;
use crate::group_restart::Restart;
use crate::mutations::{Mutation, MutationKey, Settled, Stored};
use crate::pokes::Poke;
use crate::queries::QueryChange;
use crate::server_link::PushGate;
use landfall_protocol::{CrudOp, MutationMode, QueryMode, ServerMode};
use landfall_store::{
    AppendPoke, Ending, FrozenOps, Head, Loaded, MarkAttempted, NewMutation, Open, PageWriter,
    Patch, QuerySets, QueuedMutation, RememberedMode, RowChange, StoreFailure, StoreOp, StoreReply,
    StoreRequest, StoredOutcome, WriteQueue, WriteSnapshot, plan_fold,
};
use landfall_zql::json;
use landfall_zql::sorted_map::{SortedMap, SortedSet};
use std::collections::VecDeque;

/// Pause before a failed write of the queue is tried again.
pub(crate) const RETRY_MS: f64 = 5_000.0;

/// How long the first replay of the stored queue may keep the stored rows from being shown.
const READY_WAIT_MS: f64 = 1_000.0;

/// How often marking the queue is tried before it is sent without.
const MARK_ATTEMPTS: u32 = 3;

/// Why a request was made.
#[derive(Debug)]
pub(crate) enum Purpose {
    Open,
    /// A poke; on success these results are acknowledged to the server.
    Poke {
        acks: SortedMap<String, u64>,
        outcomes: Vec<StoredOutcome>,
    },
    Queue(Vec<(MutationKey, Option<CallId>)>),
    Mark,
    StartGroup,
    /// Another tab has begun a new group: join it under a new id.
    Rejoin {
        group: String,
        new_client: String,
    },
    /// What dead tabs left; these are known to be dead when it is asked.
    ReadQueue(SortedSet<String>),
    /// How these ended, of which only storage may know more than that they did.
    Outcomes(Vec<Settled>),
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
    is_writing: bool,
    is_folding: bool,
    retry_at: Option<f64>,
    /// When the queue is to be read again, because reading it failed.
    reread_at: Option<f64>,
    /// When the queue is to be marked as sent again, because that failed.
    remark_at: Option<f64>,
    mark_failures: u32,
    /// Mutations whose failure to be stored was told.
    told: SortedSet<MutationKey>,
    /// There is no storage: everything lives in memory.
    pub(crate) disabled: bool,
    /// A new group is being begun: nothing is written meanwhile.
    pub(crate) restart: Option<Restart>,
}

impl Persistence {
    /// A mutation is to be stored.
    pub(crate) fn enqueue(&mut self, key: MutationKey) {
        self.to_write.push_back(key);
    }

    pub(crate) fn next_deadline(&self) -> Option<f64> {
        let restart_at = self.restart.as_ref().and_then(|restart| restart.retry_at);
        [self.retry_at, self.reread_at, self.remark_at, restart_at]
            .into_iter()
            .flatten()
            .reduce(f64::min)
    }
}

fn remembered(mode: ServerMode) -> RememberedMode {
    RememberedMode {
        named_queries: mode.queries == QueryMode::Named,
        custom_mutations: mode.mutations == MutationMode::Custom,
        version: mode.version,
    }
}

fn server_mode(mode: RememberedMode) -> ServerMode {
    ServerMode {
        queries: if mode.named_queries {
            QueryMode::Named
        } else {
            QueryMode::Ast
        },
        mutations: if mode.custom_mutations {
            MutationMode::Custom
        } else {
            MutationMode::Crud
        },
        version: mode.version,
    }
}

fn ops_json(ops: &[CrudOp]) -> String {
    serde_json::to_string(ops).expect("operations are strings and JSON texts")
}

pub(crate) fn from_queue(queued: QueuedMutation) -> Mutation {
    Mutation {
        client_id: queued.client_id,
        id: queued.id,
        name: queued.name,
        args_json: queued.args,
        created_ms: queued.timestamp,
        call: None,
        ops: queued
            .ops
            .and_then(|json| json::from_str(&json).ok())
            .unwrap_or_default(),
        attempted: queued.attempted,
        stored: Stored::At(queued.sequence),
        replay_error: None,
        sent_error: None,
    }
}

pub(crate) fn from_outcome(stored: StoredOutcome) -> MutationInfo {
    let outcome = match stored.ending {
        Ending::Uncertain => Outcome::Uncertain,
        Ending::Failed { error } => Outcome::Failed {
            error: json::from_str(&error).unwrap_or(MutationError {
                source: crate::ErrorSource::Zero,
                message: error,
                details: None,
            }),
        },
    };
    MutationInfo {
        client_id: stored.client_id,
        mutation_id: stored.id,
        name: stored.name,
        args_json: stored.args,
        outcome: Some(outcome),
    }
}

fn to_outcome(mutation: &Mutation, outcome: &Outcome) -> Option<StoredOutcome> {
    let ending = match outcome {
        Outcome::Confirmed => return None,
        Outcome::Uncertain => Ending::Uncertain,
        Outcome::Failed { error } => Ending::Failed {
            error: serde_json::to_string(error).expect("an error is strings"),
        },
    };
    Some(StoredOutcome {
        client_id: mutation.client_id.clone(),
        id: mutation.id,
        name: mutation.name.clone(),
        args: mutation.args_json.clone(),
        ending,
    })
}

fn to_patch(poke: &Poke) -> Patch {
    let rows = poke
        .rows
        .iter()
        .map(|((table, key), row)| match row {
            Some(row) => RowChange::Put {
                table: *table,
                row: row.clone(),
            },
            None => RowChange::Del {
                table: *table,
                key: key.clone(),
            },
        })
        .collect();
    let got = poke
        .got
        .iter()
        .filter_map(|change| match change {
            QueryChange::Put(hash) => Some(landfall_store::QueryChange::Put { hash: hash.clone() }),
            QueryChange::Del(hash) => Some(landfall_store::QueryChange::Del { hash: hash.clone() }),
            QueryChange::Clear => None,
        })
        .collect();
    // What this client is known to want dies with it: a client id is never used again.
    Patch {
        clear: poke.cleared,
        rows,
        desired: Vec::new(),
        got,
    }
}

impl Client {
    fn ask_store(&mut self, purpose: Purpose, op: StoreOp) {
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
        let open = Open {
            schema: self.schema.clone(),
            client_id: self.client_id.clone(),
            now,
        };
        self.ask_store_as(fresh_group, Purpose::Open, StoreOp::Open(open));
    }

    /// A request was answered.
    pub(crate) fn on_stored(
        &mut self,
        now: f64,
        request: StoreRequestId,
        result: Result<StoreReply, StoreFailure>,
    ) {
        let Some(purpose) = self.persistence.open.remove(&request) else {
            self.log(
                LogLevel::Warn,
                "storage answered a request that was not made",
            );
            return;
        };
        if let Err(failure) = &result {
            let message = failure.to_string();
            self.log(LogLevel::Warn, &message);
            self.effects.push(Effect::StorageProblem { message });
        }
        let other_group = match (&purpose, &result) {
            (Purpose::Open | Purpose::Rejoin { .. }, _) => None,
            (_, Err(StoreFailure::OtherGroup { group_id })) => Some(group_id.clone()),
            _ => None,
        };
        match purpose {
            Purpose::StartGroup if other_group.is_some() => self.give_up_restart(),
            Purpose::Rejoin { group, new_client } => {
                self.on_rejoined(now, group, new_client, result);
            }
            Purpose::Open => self.on_opened(now, result),
            Purpose::Poke { acks, outcomes } => self.on_poke_stored(acks, outcomes, result),
            Purpose::Queue(keys) => self.on_queue_stored(now, keys, result),
            Purpose::Mark => self.on_marked(now, result.is_ok()),
            Purpose::StartGroup => self.on_group_answer(now, result),
            Purpose::ReadQueue(dying) => self.on_queue_read(now, dying, result),
            Purpose::Outcomes(ends) => self.on_outcomes_read(ends, result),
            Purpose::LoadForFold => match result {
                Ok(StoreReply::Loaded(loaded)) => {
                    let plan = plan_fold(&loaded);
                    self.ask_store(Purpose::Fold, StoreOp::Fold(plan));
                }
                _ => self.persistence.is_folding = false,
            },
            Purpose::Fold => self.persistence.is_folding = false,
            Purpose::Note(what) => {
                if result.is_err() {
                    self.log(LogLevel::Warn, &format!("not stored: {what}"));
                }
            }
        }
        if let Some(group) = other_group {
            self.rejoin(now, group);
        }
    }

    /// Reads the stored queue, for what dead tabs stored without announcing it.
    pub(crate) fn read_queue(&mut self) {
        self.persistence.reread_at = None;
        let dying = self.tabs.dying().clone();
        self.ask_store(Purpose::ReadQueue(dying), StoreOp::ReadQueue);
    }

    fn on_queue_read(
        &mut self,
        now: f64,
        dying: SortedSet<String>,
        result: Result<StoreReply, StoreFailure>,
    ) {
        let Ok(StoreReply::Queue(queue)) = result else {
            self.persistence.reread_at = Some(now + RETRY_MS);
            return;
        };
        for mutation in queue.into_iter().map(from_queue) {
            let owner = mutation.client_id.clone();
            // Own ones are here already, whatever storage says of them.
            if owner != self.client_id && self.mutations.insert(mutation) {
                self.mutations_changed = true;
                self.rebase.request_round();
                self.watch(&owner);
            }
        }
        self.bury(dying);
    }

    pub(crate) fn read_outcomes(&mut self, ends: Vec<Settled>) {
        if self.group_id.is_none() {
            // Between two groups; storage will not be asked.
            return ends.iter().for_each(|end| self.tell_outcome(end));
        }
        self.ask_store(Purpose::Outcomes(ends), StoreOp::ReadOutcomes);
    }

    fn on_outcomes_read(
        &mut self,
        mut ends: Vec<Settled>,
        result: Result<StoreReply, StoreFailure>,
    ) {
        let stored = match result {
            Ok(StoreReply::Outcomes(stored)) => stored,
            _ => Vec::new(),
        };
        for info in stored.into_iter().map(from_outcome) {
            let same = |end: &&mut Settled| {
                end.mutation.key() == (info.client_id.clone(), info.mutation_id)
            };
            if let (Some(end), Some(outcome)) = (ends.iter_mut().find(same), &info.outcome) {
                end.outcome = outcome.clone();
                self.mutations.replace_ended(vec![info]);
                self.mutations_changed = true;
            }
        }
        for end in &ends {
            self.tell_outcome(end);
        }
    }

    fn on_opened(&mut self, now: f64, result: Result<StoreReply, StoreFailure>) {
        match result {
            Ok(StoreReply::Opened { loaded, .. }) => self.take_loaded(*loaded),
            _ => {
                // Nothing can be read: work in memory, and begin a group that nobody else knows.
                self.persistence.disabled = true;
                self.group_id = Some(self.random.id());
                self.visible.load(Vec::new());
            }
        }
        self.loaded = true;
        self.mutations_changed = true;
        // What is pending is replayed first, so that nobody sees the rows without it; but not for long.
        self.ready_by = Some(now + READY_WAIT_MS);
        self.say_hello();
        let actions = self.link.connection.start(now, &mut self.random);
        self.act(now, actions);
    }

    fn take_loaded(&mut self, loaded: Loaded) {
        let head = loaded.head.clone();
        self.group_id = Some(head.group_id);
        self.cookie = head.cookie;
        self.link.mode = head.server_mode.map(server_mode);
        let clients: Vec<String> = loaded
            .clients
            .iter()
            .map(|client| client.client_id.clone())
            .collect();
        let queue: Vec<Mutation> = loaded.queue.iter().cloned().map(from_queue).collect();
        let ended = loaded.outcomes.iter().cloned().map(from_outcome).collect();
        let owners: SortedSet<String> = queue
            .iter()
            .map(|mutation| mutation.client_id.clone())
            .collect();
        self.mutations.load(head.last_mutation_ids, queue, ended);
        let state = loaded.into_server_state();
        self.queries.load(state.queries.got);
        let tables = self
            .schema
            .iter()
            .map(|(table, _)| table)
            .collect::<Vec<_>>();
        let rows = tables
            .into_iter()
            .zip(state.tables)
            .flat_map(|(table, rows)| rows.into_iter().map(move |row| (table, row)))
            .collect();
        self.visible.load(rows);
        for client in clients.into_iter().chain(owners) {
            self.watch(&client);
        }
        if !self.mutations.is_empty() {
            self.rebase.request_round();
        }
    }

    /// Stores what a poke brought.
    pub(crate) fn store_poke(&mut self, poke: Poke, settled: &[Settled]) {
        let outcomes = settled
            .iter()
            .filter_map(|end| to_outcome(&end.mutation, &end.outcome))
            .collect::<Vec<_>>();
        let mut acks: SortedMap<String, u64> = SortedMap::new();
        for (client, id) in &poke.result_changes {
            if *client == self.client_id || self.tabs.dead().contains(client) {
                let last = acks.get_or_insert_with(client.clone(), || *id);
                *last = (*last).max(*id);
            }
        }
        let patch = to_patch(&poke);
        if self.persistence.disabled {
            self.acknowledge(acks);
            return;
        }
        let op = StoreOp::AppendPoke(AppendPoke {
            base: poke.base,
            cookie: poke.cookie,
            patch,
            last_mutation_ids: poke.confirmed,
            outcomes: outcomes.clone(),
        });
        self.ask_store(Purpose::Poke { acks, outcomes }, op);
    }

    /// Whether a poke is on its way into storage.
    pub(crate) fn poke_store_in_flight(&self) -> bool {
        self.persistence
            .open
            .values()
            .any(|purpose| matches!(purpose, Purpose::Poke { .. }))
    }

    fn on_poke_stored(
        &mut self,
        acks: SortedMap<String, u64>,
        outcomes: Vec<StoredOutcome>,
        result: Result<StoreReply, StoreFailure>,
    ) {
        match result {
            Ok(StoreReply::Appended(head)) => {
                self.acknowledge(acks);
                self.fold_if_needed(&head);
            }
            // Another tab was first, and stored the same outcomes.
            Ok(StoreReply::AlreadyThere(_)) => self.acknowledge(acks),
            Ok(StoreReply::NeedsSnapshot(_)) => self.store_snapshot(acks, outcomes),
            // Not acknowledged: the server tells the results again.
            Ok(_) | Err(_) => {}
        }
    }

    /// Storage has lost what this client builds on: it gets everything.
    fn store_snapshot(&mut self, acks: SortedMap<String, u64>, outcomes: Vec<StoredOutcome>) {
        let Some(cookie) = self.cookie.clone() else {
            return;
        };
        let mut pages = PageWriter::default();
        for ((table, _), row) in self.server_rows() {
            pages.push(table, &row);
        }
        let snapshot = WriteSnapshot {
            cookie,
            last_mutation_ids: self.mutations.confirmed().clone(),
            pages: pages.finish(),
            queries: QuerySets {
                got: self.queries.got().clone(),
                ..QuerySets::default()
            },
            outcomes: outcomes.clone(),
        };
        self.ask_store(
            Purpose::Poke { acks, outcomes },
            StoreOp::WriteSnapshot(snapshot),
        );
    }

    fn fold_if_needed(&mut self, head: &Head) {
        if head.needs_fold() && !self.persistence.is_folding {
            self.persistence.is_folding = true;
            self.ask_store(
                Purpose::LoadForFold,
                StoreOp::Load {
                    schema: self.schema.clone(),
                },
            );
        }
    }

    /// Writes the mutations that wait, unless a write is under way.
    pub(crate) fn write_queue(&mut self, now: f64) {
        self.restart_again(now);
        if self.persistence.reread_at.is_some_and(|at| at <= now) {
            self.read_queue();
        }
        if self.persistence.retry_at.is_some_and(|at| at <= now) {
            self.persistence.retry_at = None;
        }
        let blocked = self.persistence.is_writing
            || self.persistence.restart.is_some()
            || self.persistence.retry_at.is_some()
            || self.persistence.to_write.is_empty();
        if blocked {
            return;
        }
        let keys: Vec<MutationKey> = self.persistence.to_write.drain(..).collect();
        let calls: Vec<(MutationKey, Option<CallId>)> = keys
            .iter()
            .map(|key| (key.clone(), self.mutations.get(key).and_then(|m| m.call)))
            .collect();
        if self.persistence.disabled {
            for (_, call) in calls {
                self.tell_durable(
                    call,
                    Err("there is no storage: the mutation lives in memory".into()),
                );
            }
            return;
        }
        // Confirmed before it was written: nothing is left to store.
        let with_ops = self
            .link
            .mode
            .is_none_or(|mode| mode.mutations == MutationMode::Crud);
        let mutations: Vec<NewMutation> = keys
            .iter()
            .filter_map(|key| self.mutations.get(key))
            .map(|m| NewMutation {
                id: m.id,
                name: m.name.clone(),
                args: m.args_json.clone(),
                ops: with_ops.then(|| ops_json(&m.ops)),
                timestamp: m.created_ms,
            })
            .collect();
        if mutations.is_empty() {
            calls
                .into_iter()
                .for_each(|(_, call)| self.tell_durable(call, Ok(())));
            return;
        }
        self.persistence.is_writing = true;
        // Also after a failed write: some of them may have been sent meanwhile.
        let sent = |key: &MutationKey| self.mutations.get(key).is_some_and(|m| m.attempted);
        let attempted = self.link.push_gate != PushGate::Shut || keys.iter().any(sent);
        let op = WriteQueue {
            client_id: self.client_id.clone(),
            mutations,
            attempted,
            now,
        };
        self.ask_store(Purpose::Queue(calls), StoreOp::WriteQueue(op));
    }

    /// The last chance: also behind a write that is under way. If that one fails, storage refuses this one as well,
    /// since ids are stored without gaps.
    pub(crate) fn write_rest_of_queue(&mut self, now: f64) {
        self.persistence.is_writing = false;
        self.persistence.retry_at = None;
        self.write_queue(now);
    }

    fn tell_durable(&mut self, call: Option<CallId>, result: Result<(), String>) {
        if let Some(call) = call {
            self.effects.push(Effect::MutationDurable { call, result });
        }
    }

    fn on_queue_stored(
        &mut self,
        now: f64,
        keys: Vec<(MutationKey, Option<CallId>)>,
        result: Result<StoreReply, StoreFailure>,
    ) {
        self.persistence.is_writing = false;
        match result {
            Ok(reply) => {
                let sequences: SortedMap<u64, u64> = match reply {
                    StoreReply::Queued { sequences } => sequences.into_iter().collect(),
                    _ => SortedMap::new(),
                };
                for (key, call) in keys {
                    if let Some(sequence) = sequences.get(&key.1) {
                        self.on_mutation_stored(&key, *sequence);
                    }
                    if !self.persistence.told.remove(&key) {
                        self.tell_durable(call, Ok(()));
                    }
                }
            }
            Err(failure) => {
                for (key, call) in keys.into_iter().rev() {
                    if self.persistence.told.insert(key.clone()) {
                        self.tell_durable(call, Err(failure.to_string()));
                    }
                    if let Some(mutation) = self.mutations.get_mut(&key) {
                        mutation.stored = Stored::Refused;
                    }
                    // Again with the next ones, and before them.
                    self.persistence.to_write.push_front(key);
                }
                self.persistence.retry_at = Some(now + RETRY_MS);
            }
        }
    }

    fn on_mutation_stored(&mut self, key: &MutationKey, sequence: u64) {
        if self.mutations.stored(key, sequence) {
            self.rebase.request_round();
        }
        if let Some(mutation) = self.mutations.get(key).cloned() {
            self.announce_mutation(&mutation, sequence);
        }
    }

    /// Before the first push of a connection, and before those of a dead tab are sent, storage must know that they
    /// may have been sent.
    pub(crate) fn open_push_gate(&mut self) {
        let recovering = self.tabs.recovering();
        let crud = self
            .link
            .mode
            .is_some_and(|mode| mode.mutations == MutationMode::Crud);
        let mut through: SortedMap<String, u64> = SortedMap::new();
        let mut frozen = Vec::new();
        let mut keys = Vec::new();
        for mutation in self.mutations.pending() {
            if mutation.client_id != self.client_id && !recovering.contains(&mutation.client_id) {
                continue;
            }
            let last = through.get_or_insert_with(mutation.client_id.clone(), || 0);
            *last = (*last).max(mutation.id);
            if !mutation.attempted || self.persistence.mark_failures > 0 {
                keys.push(mutation.key());
                if crud {
                    frozen.push(FrozenOps {
                        client_id: mutation.client_id.clone(),
                        id: mutation.id,
                        ops: ops_json(&mutation.ops),
                    });
                }
            }
        }
        if keys.is_empty() || self.persistence.disabled {
            self.link.push_gate = PushGate::Open;
            return;
        }
        for key in keys {
            if let Some(mutation) = self.mutations.get_mut(&key) {
                mutation.freeze(crud);
            }
        }
        self.link.push_gate = PushGate::Marking;
        let through = through.into_iter().collect();
        self.ask_store(
            Purpose::Mark,
            StoreOp::MarkAttempted(MarkAttempted { through, frozen }),
        );
    }

    /// Storage knows, or cannot be told, that the queue is about to be sent. A row that is not marked must not be
    /// sent, or it could be issued again after the server forgot the group; but storage that stays broken must not
    /// keep the user's work from the server for ever.
    fn on_marked(&mut self, now: f64, stored: bool) {
        self.persistence.mark_failures = match stored {
            true => 0,
            false => self.persistence.mark_failures + 1,
        };
        if self.link.push_gate != PushGate::Marking {
            return;
        }
        if stored || self.persistence.mark_failures > MARK_ATTEMPTS {
            self.link.push_gate = PushGate::Open;
        } else {
            self.link.push_gate = PushGate::Shut;
            self.persistence.remark_at = Some(now + RETRY_MS);
        }
    }

    /// The connection is gone: the next one marks what it sends.
    pub(crate) fn forget_mark(&mut self) {
        self.persistence.remark_at = None;
    }

    /// Tries the mark again when its time has come.
    pub(crate) fn mark_again(&mut self, now: f64) {
        if self.persistence.remark_at.is_some_and(|at| at <= now) {
            self.persistence.remark_at = None;
            if self.link.push_gate == PushGate::Shut {
                self.open_push_gate();
            }
        }
    }

    /// Whether a dead tab's mutations are about to be sent that storage still calls unsent.
    pub(crate) fn has_unmarked_dead(&self) -> bool {
        let recovering = self.tabs.recovering();
        self.mutations
            .pending()
            .iter()
            .any(|m| !m.attempted && recovering.contains(&m.client_id))
    }

    pub(crate) fn store_mode(&mut self, mode: ServerMode) {
        self.ask_store(
            Purpose::Note("the server's mode"),
            StoreOp::SetServerMode(remembered(mode)),
        );
    }

    pub(crate) fn store_cleared_outcome(&mut self, client_id: &str, id: u64) {
        let ids = vec![(client_id.to_owned(), id)];
        self.ask_store(
            Purpose::Note("a cleared outcome"),
            StoreOp::ClearOutcomes { ids },
        );
    }

    pub(crate) fn store_removal(&mut self, client_ids: Vec<String>) {
        self.ask_store(
            Purpose::Note("the end of a client"),
            StoreOp::RemoveClients { client_ids },
        );
    }
}
