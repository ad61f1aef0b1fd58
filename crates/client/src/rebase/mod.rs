//! The visible rows and how they change: first runs of mutators, and rebases of the pending ones on new server states.
//!
//! Two lanes. Lane F makes first runs, one at a time, in call order, on the visible rows. Lane R takes what pokes have
//! brought, replays the pending mutations on a branch, and swaps the result in as one transaction.
//! User code is never called: a run is handed out as a [`Run`] and comes back through [`Rebase::settle`].
//!
//! `server(k)` is `shadow[k]` if there, else the visible row. The shadow holds a key as long as a pending mutation
//! may have touched it.

pub(crate) mod round;
pub(crate) mod stage;

use crate::connection::pokes::Poke;
use crate::effect::{CallId, ErrorSource, MutationError, RunReason, TxId};
use crate::mutations::{Mutation, MutationKey, Mutations};
use crate::rebase::round::{Replay, Round, Staging, Trial, differences, layer_of, new_server_rows};
use landfall_ivm::{Branch, Layer, Progress, Steps};
use landfall_protocol::CrudOp;
use landfall_store::RowChange;
use landfall_zql::sorted_map::SortedSet;
use landfall_zql::{Key, Row, TableId};
use std::collections::VecDeque;

/// Names a row in all tables.
pub(crate) type RowKey = (TableId, Key);

/// The rows that views show, with the pipelines that hang on them.
pub(crate) trait VisibleRows {
    /// The row of this key, if there is one.
    fn row(&self, key: &RowKey) -> Option<Row>;
    /// The key of a row.
    fn key_of(&self, table: TableId, row: &Row) -> Key;
    /// All keys, in order.
    fn keys(&self) -> Vec<RowKey>;
    /// Changes rows as one transaction, in key order; no change is without effect.
    fn change(&mut self, changes: Vec<(RowKey, Option<Row>)>);

    /// Makes a copy of the rows, to be prepared in slices and shown at once. What is visible stays as it is.
    fn stage(&mut self);
    /// The row of this key in the copy.
    fn staged_row(&self, key: &RowKey) -> Option<Row>;
    /// Removes all rows of the copy.
    fn clear_stage(&mut self);
    /// Changes a row of the copy.
    fn change_stage(&mut self, key: RowKey, new: Option<Row>);
    /// Takes a change of the server into the copy.
    fn take_in_stage(&mut self, change: &RowChange);
    /// Whether the copy may change: nothing is half made from it.
    fn stage_is_still(&self) -> bool;
    /// Makes what is to be shown with the copy; `also_changed` are tables in which it may differ from the visible rows
    /// although the copy was not changed there.
    fn prepare_stage(&mut self, also_changed: &SortedSet<TableId>, steps: &Steps) -> Progress;
    /// The copy becomes visible.
    fn show_stage(&mut self);
    /// The copy is not needed.
    fn drop_stage(&mut self);
}

/// A mutator to run on a branch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Run {
    pub(crate) tx: TxId,
    pub(crate) call: Option<CallId>,
    pub(crate) reason: RunReason,
    pub(crate) client_id: String,
    pub(crate) mutation_id: u64,
    pub(crate) name: String,
    pub(crate) args_json: String,
}

/// What the client has to do because a lane moved.
#[derive(Debug)]
pub(crate) enum Step {
    /// Ask the host to run this mutator.
    Run(Run),
    /// A first run succeeded: it is visible and at the end of the queue, under this key.
    Committed { call: CallId, key: MutationKey },
    /// A first run failed; nothing happened.
    Refused { call: CallId, error: MutationError },
    /// A round is over: the visible rows are the new server state plus the pending mutations.
    Swapped { poke: Option<Poke> },
}

/// A call of a mutator that waits for its turn.
#[derive(Clone, Debug)]
struct Call {
    call: CallId,
    name: String,
    args_json: String,
    created_ms: f64,
}

#[derive(Debug)]
struct FirstRun {
    tx: TxId,
    call: Call,
    branch: Branch,
    ops: Vec<CrudOp>,
    deadline: f64,
}

/// The replay of a mutation counts as so many steps, besides what it reads.
const REPLAY_STEPS: usize = 100;

/// Who the runs belong to and how long they may take.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) client_id: String,
    pub(crate) deadline_ms: f64,
}

/// The lanes and the shadow.
#[derive(Debug)]
pub(crate) struct Rebase {
    identity: Identity,
    /// A round with more changes than this is made in slices.
    stage_from: usize,
    shadow: Layer,
    waiting: VecDeque<Call>,
    first: Option<FirstRun>,
    round: Option<Round>,
    /// A round is due although no poke asks for one: the queue changed from outside.
    round_due: bool,
    pace: Pace,
    next_tx: u32,
}

/// Keeps rounds that only show what other tabs wrote from taking more than a part of the time: each of them replays
/// the whole queue, however little was added to it.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    /// When the running round began.
    begun_ms: f64,
    /// When the next round may begin that nobody waits for.
    next_ms: f64,
}

/// After a round so many times its length is left to others, up to [`LONGEST_PAUSE_MS`].
const PAUSE_PER_ROUND: f64 = 4.0;
const LONGEST_PAUSE_MS: f64 = 1_000.0;

impl Rebase {
    pub(crate) fn new(identity: Identity, stage_from: usize) -> Self {
        Rebase {
            identity,
            stage_from,
            shadow: Layer::new(),
            waiting: VecDeque::new(),
            first: None,
            round: None,
            round_due: false,
            pace: Pace::default(),
            next_tx: 1,
        }
    }

    pub(crate) fn set_client_id(&mut self, client_id: String) {
        self.identity.client_id = client_id;
    }

    /// Whether lane R can take a poke.
    pub(crate) fn is_idle(&self) -> bool {
        self.round.is_none()
    }

    /// The cookie that the visible rows will be at when the present round is over, if it is on a poke.
    pub(crate) fn coming_cookie(&self) -> Option<&str> {
        let poke = self.round.as_ref()?.poke.as_ref()?;
        Some(&poke.cookie)
    }

    /// The queue is another: replay now.
    pub(crate) fn request_round(&mut self) {
        self.round_due = true;
        self.pace.next_ms = 0.0;
    }

    /// Another tab has added to the queue, or the order changed: replay soon, for all that comes until then.
    pub(crate) fn request_round_soon(&mut self) {
        self.round_due = true;
    }

    /// Whether a round without a poke is asked for and may begin.
    pub(crate) fn round_is_due(&self, now: f64) -> bool {
        self.round_is_asked_for() && self.pace.next_ms <= now
    }

    /// Whether a round without a poke is asked for.
    pub(crate) fn round_is_asked_for(&self) -> bool {
        self.round_due && self.round.is_none()
    }

    /// When the earliest running mutator runs out of time.
    pub(crate) fn next_deadline(&self) -> Option<f64> {
        let first = self.first.as_ref().map(|run| run.deadline);
        let replay = self
            .round
            .as_ref()
            .and_then(|r| r.running.as_ref())
            .map(|run| run.deadline);
        [first, replay].into_iter().flatten().reduce(f64::min)
    }

    /// When the round may begin that is asked for and has to wait.
    pub(crate) fn next_round(&self, now: f64) -> Option<f64> {
        let asked = self.round_is_asked_for() && self.pace.next_ms > now;
        asked.then_some(self.pace.next_ms)
    }

    /// The server's value of a key.
    pub(crate) fn server_row(&self, rows: &impl VisibleRows, key: &RowKey) -> Option<Row> {
        match self.shadow.get(key) {
            Some(row) => row.clone(),
            None => rows.row(key),
        }
    }

    /// Whether what is visible is what the server has given, and nothing is about to change it.
    pub(crate) fn shows_server_rows(&self) -> bool {
        self.is_idle() && self.shadow.is_empty()
    }

    /// The server's rows where they may be others than the visible ones.
    pub(crate) fn shadow(&self) -> &Layer {
        &self.shadow
    }

    /// The application calls a mutator.
    pub(crate) fn call(&mut self, call: CallId, name: &str, args_json: &str, now: f64) {
        self.waiting.push_back(Call {
            call,
            name: name.to_owned(),
            args_json: args_json.to_owned(),
            created_ms: now,
        });
    }

    /// Calls that have not begun; they are given up when the client closes.
    pub(crate) fn take_waiting(&mut self) -> Vec<CallId> {
        let running = self.first.take().map(|run| run.call.call);
        let mut calls = Vec::from_iter(running);
        while let Some(Call { call, .. }) = self.waiting.pop_front() {
            calls.push(call);
        }
        calls
    }

    /// Begins a round on this poke, or on none to replay after a change of the queue, of so many mutations.
    pub(crate) fn begin_round(&mut self, now: f64, poke: Option<Poke>, pending: usize) {
        debug_assert!(self.round.is_none());
        self.round_due = false;
        self.pace.begun_ms = now;
        let patch = poke.as_ref().map_or(0, |poke| poke.rows.len());
        let is_large = patch + self.shadow.len().max(pending) > self.stage_from;
        let is_cleared = poke.as_ref().is_some_and(|poke| poke.cleared);
        self.round = Some(Round {
            poke,
            staging: (is_large || is_cleared).then(Staging::default),
            trial: None,
            replayed: SortedSet::new(),
            cursor: (0, 0),
            running: None,
            gate: false,
        });
    }

    /// Gives the running round up: what it stands on is void.
    pub(crate) fn abandon_round(&mut self, rows: &mut impl VisibleRows) {
        if self
            .round
            .take()
            .is_some_and(|round| round.staging.is_some())
        {
            rows.drop_stage();
        }
    }

    /// Whether the round could go on if there were steps left.
    pub(crate) fn has_work(&self) -> bool {
        let waits = |round: &Round| round.running.is_some() || (round.gate && self.first.is_some());
        self.round.as_ref().is_some_and(|round| !waits(round))
    }

    /// Moves both lanes as far as they go without user code and with the steps allowed. `now` dates the deadlines of
    /// new runs.
    pub(crate) fn advance(
        &mut self,
        now: f64,
        rows: &mut impl VisibleRows,
        mutations: &mut Mutations,
        allowed: &Steps,
        steps: &mut Vec<Step>,
    ) {
        self.advance_round(now, rows, mutations, allowed, steps);
        self.advance_first(now, mutations, steps);
    }

    fn take_tx(&mut self) -> TxId {
        let tx = TxId(self.next_tx);
        self.next_tx += 1;
        tx
    }

    fn advance_first(&mut self, now: f64, mutations: &Mutations, steps: &mut Vec<Step>) {
        let gate = self.round.as_ref().is_some_and(|round| round.gate);
        if self.first.is_some() || gate {
            return;
        }
        let Some(call) = self.waiting.pop_front() else {
            return;
        };
        let tx = self.take_tx();
        steps.push(Step::Run(Run {
            tx,
            call: Some(call.call),
            reason: RunReason::Optimistic,
            client_id: self.identity.client_id.clone(),
            mutation_id: mutations.next_id(),
            name: call.name.clone(),
            args_json: call.args_json.clone(),
        }));
        self.first = Some(FirstRun {
            tx,
            call,
            branch: Branch::new(Layer::new()),
            ops: Vec::new(),
            deadline: now + self.identity.deadline_ms,
        });
    }

    fn advance_round(
        &mut self,
        now: f64,
        rows: &mut impl VisibleRows,
        mutations: &mut Mutations,
        allowed: &Steps,
        steps: &mut Vec<Step>,
    ) {
        let Some(round) = &mut self.round else { return };
        if round.running.is_some() || allowed.are_spent() {
            return;
        }
        if round.restore_server(&self.shadow, rows, allowed) == Progress::More {
            return;
        }
        if let Some(mutation) = round.next(mutations) {
            let staged = round.staging.is_some();
            let trial = round.trial.get_or_insert_with(|| {
                Trial::new(match staged {
                    true => Layer::new(),
                    false => new_server_rows(&self.shadow, rows, round.poke.as_ref()),
                })
            });
            allowed.spend_many(REPLAY_STEPS);
            trial.branch.push_layer();
            let key = mutation.key();
            let tx = TxId(self.next_tx);
            self.next_tx += 1;
            steps.push(Step::Run(Run {
                tx,
                call: mutation.call,
                reason: RunReason::Rebase,
                client_id: key.0.clone(),
                mutation_id: key.1,
                name: mutation.name.clone(),
                args_json: mutation.args_json.clone(),
            }));
            round.running = Some(Replay {
                tx,
                key,
                ops: Vec::new(),
                deadline: now + self.identity.deadline_ms,
            });
            return;
        }
        if round.prepare(&self.shadow, rows, allowed) == Progress::More {
            return;
        }
        round.gate = true;
        if self.first.is_none() {
            self.swap(now, rows, steps);
        } else if round.trial.is_none() && round.staging.is_none() {
            // What the first run changes in the meantime is noted there.
            let server = new_server_rows(&self.shadow, rows, round.poke.as_ref());
            round.trial = Some(Trial::new(server));
        }
    }

    /// The round's state becomes the visible one.
    fn swap(&mut self, now: f64, rows: &mut impl VisibleRows, steps: &mut Vec<Step>) {
        let Some(mut round) = self.round.take() else {
            return;
        };
        let pause = (now - self.pace.begun_ms) * PAUSE_PER_ROUND;
        self.pace.next_ms = now + pause.clamp(0.0, LONGEST_PAUSE_MS);
        match (round.staging.take(), round.trial.take()) {
            (Some(staging), _) => {
                rows.show_stage();
                self.shadow = staging.shadow;
            }
            (None, Some(trial)) => self.swap_in(trial, round.poke.as_ref(), rows),
            (None, None) => self.take_alone(round.poke.as_ref(), rows),
        }
        steps.push(Step::Swapped { poke: round.poke });
    }

    /// The new server state becomes visible as it is: nothing is pending.
    fn take_alone(&mut self, poke: Option<&Poke>, rows: &mut impl VisibleRows) {
        match poke {
            Some(poke) if self.shadow.is_empty() && !poke.cleared => {
                rows.change(differences(rows, &layer_of(&poke.rows, rows)));
            }
            _ => {
                let server = new_server_rows(&self.shadow, rows, poke);
                rows.change(differences(rows, &server));
            }
        }
        self.shadow.clear();
    }

    fn swap_in(&mut self, mut trial: Trial, patch: Option<&Poke>, rows: &mut impl VisibleRows) {
        // First runs that were committed while the round ran have touched more keys.
        trial.touch(&self.shadow);
        let patch = patch.map(|poke| (poke.cleared, layer_of(&poke.rows, rows)));
        let patched = |key: &RowKey| {
            let (cleared, layer) = patch.as_ref()?;
            layer.get(key).cloned().or(cleared.then_some(None))
        };
        let mut shadow = Layer::new();
        for key in trial.branch.layers().iter().skip(1).flat_map(Layer::keys) {
            if shadow.contains_key(key) {
                continue;
            }
            let server = patched(key).unwrap_or_else(|| self.server_row(rows, key));
            shadow.insert(key.clone(), server);
        }
        trial.touch(&shadow);
        let mut changes = Vec::new();
        for key in trial.touched.keys() {
            let Some(new) = trial.branch.get(key.0, &key.1) else {
                continue;
            };
            if rows.row(key).as_ref() != new {
                changes.push((key.clone(), new.cloned()));
            }
        }
        rows.change(changes);
        self.shadow = shadow;
    }

    /// The branch, top-layer operations included, that a transaction reads, and whether it is one of the copy; `None` if
    /// the transaction is closed.
    pub(crate) fn branch(&self, tx: TxId) -> Option<(&Branch, bool)> {
        match (&self.first, &self.round) {
            (Some(first), _) if first.tx == tx => Some((&first.branch, false)),
            (_, Some(round)) if round.running.as_ref().is_some_and(|run| run.tx == tx) => {
                let trial = round.trial.as_ref()?;
                Some((&trial.branch, round.staging.is_some()))
            }
            _ => None,
        }
    }

    /// The row that a transaction sees.
    pub(crate) fn tx_row(&self, rows: &impl VisibleRows, tx: TxId, key: &RowKey) -> Option<Row> {
        let branch = self.branch(tx);
        let written = branch.and_then(|(branch, _)| branch.get(key.0, &key.1));
        match (written, branch) {
            (Some(row), _) => row.cloned(),
            (None, Some((_, true))) => rows.staged_row(key),
            (None, _) => rows.row(key),
        }
    }

    /// A write of a transaction: the operation as the server understands it, and the row it leaves here, if it does
    /// anything here.
    pub(crate) fn write(&mut self, tx: TxId, op: CrudOp, effect: Option<(RowKey, Option<Row>)>) {
        if let Some(first) = self.first.as_mut().filter(|first| first.tx == tx) {
            first.ops.push(op);
            if let Some(((table, key), row)) = effect {
                first.branch.write(table, key, row);
            }
            return;
        }
        let Some(round) = &mut self.round else { return };
        let Some(replay) = round.running.as_mut().filter(|replay| replay.tx == tx) else {
            return;
        };
        replay.ops.push(op);
        if let (Some(((table, key), row)), Some(trial)) = (effect, &mut round.trial) {
            trial.branch.write(table, key, row);
        }
    }

    /// A mutator has ended. Does nothing for a transaction that is already closed.
    pub(crate) fn settle(
        &mut self,
        tx: TxId,
        result: Result<(), MutationError>,
        rows: &mut impl VisibleRows,
        mutations: &mut Mutations,
        steps: &mut Vec<Step>,
    ) {
        if let Some(first) = self.first.take_if(|first| first.tx == tx) {
            match result {
                Ok(()) => self.commit(first, rows, mutations, steps),
                Err(error) => steps.push(Step::Refused {
                    call: first.call.call,
                    error,
                }),
            }
            return;
        }
        let Some(round) = &mut self.round else { return };
        let Some(replay) = round.running.take_if(|replay| replay.tx == tx) else {
            return;
        };
        if let (Err(_), Some(trial)) = (&result, &mut round.trial) {
            trial.branch.pop_layer();
        }
        if let Some(mutation) = mutations.get_mut(&replay.key) {
            mutation.replay_error = result.as_ref().err().cloned();
            if !mutation.attempted || mutation.unwritten {
                match result {
                    Ok(()) => {
                        mutation.ops = replay.ops;
                        mutation.unreadable = false;
                        mutation.unwritten = false;
                    }
                    // The mutator itself refuses; a mutator that is missing or late has no say.
                    Err(error) if error.source == ErrorSource::App => mutation.ops.clear(),
                    Err(_) => {}
                }
            }
        }
    }

    /// Ends the runs whose time is up, as failures.
    pub(crate) fn on_time(
        &mut self,
        now: f64,
        rows: &mut impl VisibleRows,
        mutations: &mut Mutations,
        steps: &mut Vec<Step>,
    ) {
        let first = self
            .first
            .as_ref()
            .filter(|run| run.deadline <= now)
            .map(|run| run.tx);
        let replay = self
            .round
            .as_ref()
            .and_then(|round| round.running.as_ref())
            .filter(|run| run.deadline <= now)
            .map(|run| run.tx);
        for tx in first.into_iter().chain(replay) {
            let error = MutationError {
                source: ErrorSource::Zero,
                message: format!(
                    "the mutator did not end within {} ms (a mutator that awaits another call of mutate never ends)",
                    self.identity.deadline_ms as u64
                ),
                details: None,
            };
            self.settle(tx, Err(error), rows, mutations, steps);
        }
    }

    fn commit(
        &mut self,
        mut first: FirstRun,
        rows: &mut impl VisibleRows,
        mutations: &mut Mutations,
        steps: &mut Vec<Step>,
    ) {
        let writes = first.branch.pop_layer().unwrap_or_default();
        let mut changes = Vec::new();
        for (key, new) in writes {
            let old = rows.row(&key);
            let round = self.round.as_mut().filter(|round| round.staging.is_none());
            if let Some(trial) = round.and_then(|round| round.trial.as_mut()) {
                trial.branch.keep_before(key.0, &key.1, old.as_ref());
            }
            self.shadow
                .entry(key.clone())
                .or_insert_with(|| old.clone());
            if old != new {
                changes.push((key, new));
            }
        }
        rows.change(changes);
        let id = mutations.next_id();
        let mutation = Mutation {
            client_id: self.identity.client_id.clone(),
            id,
            name: first.call.name,
            args_json: first.call.args_json,
            created_ms: first.call.created_ms,
            call: Some(first.call.call),
            ops: first.ops,
            attempted: false,
            pushed: false,
            sent_by_other: false,
            unmarked: false,
            stored: crate::mutations::Stored::Pending,
            replay_error: None,
            unusable: None,
            unreadable: false,
            unwritten: false,
            sent_outcome: None,
        };
        let key = mutation.key();
        mutations.append(mutation);
        steps.push(Step::Committed {
            call: first.call.call,
            key,
        });
    }
}

#[cfg(test)]
mod model;
