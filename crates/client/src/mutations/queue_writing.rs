//! Mutations on their way into storage, and what storage must know before they are sent.
//!
//! One write of the queue is under way at a time: if it fails, no later mutation is stored before an earlier one.

use crate::client::Client;
use crate::connection::server_link::PushGate;
use crate::effect::{CallId, Effect, StorageProblemKind};
use crate::mutations::{Mutation, MutationKey, Stored};
use crate::persistence::stored_forms::{ending_of, ops_json};
use crate::persistence::{Purpose, RETRY_MS};
use landfall_store::{
    BackendFailure, MarkAttempted, NewMutation, StoreFailure, StoreOp, StoreReply, WriteQueue,
};
use landfall_zql::sort::sort_by_key;
use landfall_zql::sorted_map::SortedMap;

/// How often marking the queue is tried before it is sent without.
const MARK_ATTEMPTS: u32 = 3;

/// So many times the usual pause is the longest between two attempts.
const MAX_MARK_PAUSES: u32 = 12;

/// How far the queue is marked as about to be sent.
#[derive(Debug, Default)]
pub(crate) struct Marking {
    /// Marks before this one may have failed, so what they named counts as unmarked.
    is_unsure: bool,
    /// What the parts of this one have named: of each client the mutations up to this one.
    through: SortedMap<String, u64>,
}

impl Client {
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
        let calls = self.calls_of(&keys);
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
        let link = &self.link;
        let with_ops = |m: &Mutation| link.mode.is_none() || link.sends_writes_of(m);
        let mutations: Vec<NewMutation> = keys
            .iter()
            .filter_map(|key| self.mutations.get(key))
            .map(|m| NewMutation {
                id: m.id,
                name: m.name.clone(),
                args: m.args_json.clone(),
                ops: m.known_ops().filter(|_| with_ops(m)).map(ops_json),
                timestamp: m.created_ms,
                end: m.sent_outcome.as_ref().and_then(ending_of),
            })
            .collect();
        if mutations.is_empty() {
            calls
                .into_iter()
                .for_each(|(_, call)| self.tell_durable(call, Ok(())));
            return;
        }
        self.persistence.is_writing = true;
        // Also after a failed write some of them may have been sent. What must be marked first is not sent before.
        let is_open = matches!(self.link.push_gate, PushGate::Marking | PushGate::Open);
        let may_be_sent = |m: &&Mutation| m.attempted || (is_open && !self.ends_unmarked(m));
        let known = keys.iter().filter_map(|key| self.mutations.get(key));
        let attempted = known.take_while(may_be_sent).last().map_or(0, |m| m.id);
        let mut known = keys.iter().filter_map(|key| self.mutations.get(key));
        let unsure = known.rfind(|m| m.stored == Stored::Unknown);
        let unsure = unsure.map_or(0, |m| m.id);
        let op = WriteQueue {
            client_id: self.client_id.clone(),
            mutations,
            attempted,
            unsure,
            confirmed: self.mutations.confirmed_of(&self.client_id),
            now,
        };
        self.ask_store(Purpose::Queue(calls), StoreOp::WriteQueue(op));
    }

    /// The server has taken a mutation: if it still waits to be stored, nothing is left to store.
    pub(crate) fn spare_queue(&mut self, mutation: &Mutation) {
        let key = mutation.key();
        let mut waiting = self.persistence.to_write.iter();
        let Some(place) = waiting.position(|other| *other == key) else {
            return;
        };
        self.persistence.to_write.remove(place);
        if !self.persistence.told.remove(&key) {
            self.tell_durable(mutation.call, Ok(()));
        }
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

    /// Storage does not answer: what waits for it may never be stored, and is not called durable.
    pub(crate) fn tell_undurable(&mut self, why: &str) {
        let mut waiting = self.persistence.being_written();
        waiting.extend(self.calls_of(&self.persistence.to_write));
        for (key, call) in waiting {
            if self.persistence.told.insert(key) {
                self.tell_durable(call, Err(why.to_owned()));
            }
        }
    }

    fn calls_of<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a MutationKey>,
    ) -> Vec<(MutationKey, Option<CallId>)> {
        let call = |key| self.mutations.get(key).and_then(|m| m.call);
        keys.into_iter()
            .map(|key| (key.clone(), call(key)))
            .collect()
    }

    pub(crate) fn on_queue_stored(
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
                let placed: Vec<(MutationKey, u64)> = keys
                    .iter()
                    .filter_map(|(key, _)| Some((key.clone(), *sequences.get(&key.1)?)))
                    .collect();
                self.on_mutations_stored(&placed);
                for (key, call) in keys {
                    if !self.persistence.told.remove(&key) {
                        self.tell_durable(call, Ok(()));
                    }
                }
            }
            Err(StoreFailure::Gap { expected, .. }) if self.fill_gap(expected, &keys) => {}
            Err(failure) => {
                for (key, call) in keys.into_iter().rev() {
                    if self.persistence.told.insert(key.clone()) {
                        self.tell_durable(call, Err(failure.to_string()));
                    }
                    if let Some(mutation) = self.mutations.get_mut(&key) {
                        mutation.stored = match failure {
                            _ if mutation.stored == Stored::Unknown => Stored::Unknown,
                            StoreFailure::Backend {
                                kind: BackendFailure::Closed | BackendFailure::Other,
                                ..
                            } => Stored::Unknown,
                            _ => Stored::Refused,
                        };
                    }
                    // Again with the next ones, and before them.
                    self.persistence.to_write.push_front(key);
                }
                self.persistence.retry_at = Some(now + RETRY_MS);
            }
        }
    }

    /// Storage has lost mutations of this page, or has seen their end and forgotten it: they are stored again, before
    /// those that could not be. Returns whether there are any.
    fn fill_gap(&mut self, expected: u64, keys: &[(MutationKey, Option<CallId>)]) -> bool {
        let own = |m: &&Mutation| m.client_id == self.client_id && m.id >= expected;
        let lost = |m: &&Mutation| own(m) && matches!(m.stored, Stored::At(_));
        let pending = self.mutations.pending().iter();
        let mut waiting: Vec<MutationKey> = pending.filter(lost).map(Mutation::key).collect();
        if waiting.is_empty() {
            return false;
        }
        for key in &waiting {
            if let Some(mutation) = self.mutations.get_mut(key) {
                mutation.stored = Stored::Unknown;
            }
        }
        waiting.extend(keys.iter().map(|(key, _)| key.clone()));
        waiting.extend(self.persistence.to_write.drain(..));
        sort_by_key(&mut waiting, |key| key.1);
        self.persistence.to_write.extend(waiting);
        true
    }

    fn on_mutations_stored(&mut self, stored: &[(MutationKey, u64)]) {
        if self.mutations.stored(stored) {
            self.rebase.request_round_soon();
        }
        self.announce_mutations(stored);
    }

    /// Before the first push of a connection, and before those of a dead tab are sent, storage must know that they
    /// may have been sent.
    pub(crate) fn open_push_gate(&mut self) {
        // A mark of an earlier connection that is still under way may fail.
        let is_unsure = self.persistence.mark_failures > 0 || self.persistence.is_marking();
        self.persistence.marking = Marking {
            is_unsure,
            through: SortedMap::new(),
        };
        self.mark_on();
    }

    /// Marks the next part of the queue; if nothing is left of it, pushes may go.
    fn mark_on(&mut self) {
        let keys = self.to_be_marked();
        if keys.is_empty() || self.persistence.disabled {
            self.link.push_gate = PushGate::Open;
            return;
        }
        let most = self.limits.mark_batch.max(1);
        let all = keys.len() <= most;
        let part: Vec<MutationKey> = keys.into_iter().take(most).collect();
        let named = &mut self.persistence.marking.through;
        for (client_id, id) in &part {
            name(named, client_id, *id);
        }
        let mut through = named.clone();
        // What was sent without storage knowing comes last: whoever finds it marked must find how it was sent as well.
        if all {
            let queue = self.mutations.pending().iter();
            for mutation in queue.filter(self.sent_here()) {
                name(&mut through, &mutation.client_id, mutation.id);
            }
            for (client_id, id) in &self.persistence.unmarked {
                name(&mut through, client_id, *id);
            }
        }
        self.link.push_gate = match all {
            true => PushGate::Marking,
            false => PushGate::MarkingPart,
        };
        self.mark(all, through, part);
    }

    /// What is about to be sent and is not marked yet, by ids: a mark names all of a client up to an id.
    fn to_be_marked(&self) -> Vec<MutationKey> {
        let queue = self.mutations.pending().iter().filter(self.sent_here());
        let mut due: Vec<&Mutation> = queue.filter(|m| self.is_unmarked(m)).collect();
        sort_by_key(&mut due, |m| m.id);
        due.into_iter().map(Mutation::key).collect()
    }

    /// Whether a mutation is not marked as sent, or by a mark that may have failed.
    fn is_unmarked(&self, m: &Mutation) -> bool {
        let Marking { is_unsure, through } = &self.persistence.marking;
        let is_sure = || through.get(&m.client_id).is_some_and(|last| m.id <= *last);
        !m.attempted || *is_unsure && !is_sure()
    }

    /// Other clients whose mutations this tab sends.
    pub(crate) fn recovering(&self) -> Vec<String> {
        match self.persistence.cannot_tell {
            true => Vec::new(),
            false => self.tabs.recovering(),
        }
    }

    /// Whether this tab sends a mutation: its own, and those of the dead.
    fn sent_here(&self) -> impl Fn(&&Mutation) -> bool + '_ {
        let recovering = self.recovering();
        move |m| m.client_id == self.client_id || recovering.contains(&m.client_id)
    }

    fn mark(&mut self, all: bool, through: SortedMap<String, u64>, keys: Vec<MutationKey>) {
        let mut frozen = Vec::new();
        for key in keys {
            if let Some(mutation) = self.mutations.get_mut(&key) {
                let as_writes = self.link.sends_writes_of(mutation);
                mutation.freeze(as_writes);
                if as_writes {
                    frozen.push(mutation.frozen());
                }
            }
        }
        let through = through.into_iter().collect();
        let mark = MarkAttempted { through, frozen };
        self.ask_store(Purpose::Mark { all }, StoreOp::MarkAttempted(mark));
    }

    /// Storage knows, or cannot be told, that the queue is about to be sent. A row that is not marked must not be
    /// sent, or it could be issued again after the server forgot the group; but storage that stays broken must not
    /// keep the user's work from the server for ever. What it could not be told then, it is told when it works again.
    pub(crate) fn on_marked(
        &mut self,
        now: f64,
        all: bool,
        result: Result<StoreReply, StoreFailure>,
    ) {
        let persistence = &mut self.persistence;
        persistence.mark_by = None;
        let stored = match result {
            Ok(reply) => {
                persistence.mark_failures = 0;
                persistence.heals |= persistence.cannot_tell;
                if all {
                    persistence.unmarked.clear();
                }
                if let StoreReply::Marked {
                    otherwise,
                    confirmed,
                } = reply
                {
                    self.mutations.adopt(otherwise);
                    self.mutations.leave_to_others(&confirmed);
                }
                true
            }
            Err(_) => {
                persistence.mark_failures += 1;
                false
            }
        };
        // Only the last mark names what is about to be sent now.
        if self.persistence.is_marking() {
            return;
        }
        let failures = self.persistence.mark_failures;
        match self.link.push_gate {
            PushGate::MarkingPart if stored => self.mark_on(),
            PushGate::Marking if stored => self.link.push_gate = PushGate::Open,
            PushGate::MarkingPart | PushGate::Marking if self.may_go_unmarked() => {
                self.go_unmarked();
            }
            PushGate::MarkingPart | PushGate::Marking => {
                self.link.push_gate = PushGate::Shut;
                self.persistence.remark_at = Some(now + RETRY_MS);
            }
            PushGate::Shut | PushGate::Open => {}
        }
        if !stored && self.persistence.has_untold() {
            let pause = RETRY_MS * f64::from(failures.min(MAX_MARK_PAUSES));
            self.persistence.remark_at = Some(now + pause);
        }
    }

    /// Whether marks have failed often enough. But where storage may hold another group by now, this queue may have been
    /// issued again in it: then only storage can say what is still to be sent.
    fn may_go_unmarked(&self) -> bool {
        self.persistence.mark_failures > MARK_ATTEMPTS && !self.persistence.is_doubtful()
    }

    /// What this tab has made goes without storage knowing. What the dead have left waits: storage still calls it unsent, and
    /// another tab could send something else for it.
    fn go_unmarked(&mut self) {
        self.persistence.cannot_tell = true;
        for key in self.to_be_marked() {
            if let Some(mutation) = self.mutations.get_mut(&key) {
                mutation.freeze(self.link.sends_writes_of(mutation));
            }
        }
        let written = self.persistence.being_written().into_iter();
        let written: Vec<_> = written.map(|(key, _)| key).collect();
        self.mutations.doubt(&self.client_id, &written);
        self.persistence.unmarked = self.mutations.through(|m| m.attempted);
        self.link.push_gate = PushGate::Open;
    }

    /// Storage that does not answer for so long has failed as well, but is not asked again before it does.
    pub(crate) fn wait_for_mark(&mut self, now: f64) {
        let waits = matches!(
            self.link.push_gate,
            PushGate::MarkingPart | PushGate::Marking
        );
        let persistence = &mut self.persistence;
        if !waits {
            persistence.mark_by = None;
            return;
        }
        if *persistence.mark_by.get_or_insert(now + RETRY_MS) > now {
            return;
        }
        persistence.mark_by = Some(now + RETRY_MS);
        persistence.mark_failures += 1;
        if !self.may_go_unmarked() {
            return;
        }
        self.persistence.mark_by = None;
        self.persistence.give_up_marks();
        self.tell_silence(StorageProblemKind::Other);
        self.go_unmarked();
    }

    /// Another tab has sent so many of its mutations without storage knowing. It may die before it can tell it, so this one
    /// does.
    pub(crate) fn tell_for(&mut self, client: &str, sent: u64) {
        let is_new = self
            .tabs
            .sent()
            .get(client)
            .is_none_or(|known| *known < sent);
        if is_new && !self.persistence.disabled {
            name(&mut self.persistence.unmarked, client, sent);
            self.persistence.give_up_marks();
            self.persistence.heals |= !self.persistence.cannot_tell;
        }
    }

    /// The connection is gone: the next one marks what it sends.
    pub(crate) fn forget_mark(&mut self) {
        if self.persistence.unmarked.is_empty() {
            self.persistence.remark_at = None;
        }
    }

    /// Tries the mark again when its time has come, or when storage was seen to work.
    pub(crate) fn mark_again(&mut self, now: f64) {
        let persistence = &mut self.persistence;
        let is_due = persistence.remark_at.take_if(|at| *at <= now).is_some();
        let heals = std::mem::take(&mut persistence.heals);
        // Then all that is about to be sent is marked, and what the dead have left as well.
        let tells = (heals || is_due) && std::mem::take(&mut persistence.cannot_tell);
        if tells && self.link.push_gate == PushGate::Open {
            self.link.push_gate = PushGate::Shut;
        }
        let heals = tells || heals && !persistence.unmarked.is_empty();
        if !is_due && !heals {
            return;
        }
        if self.is_to_be_marked() {
            return self.open_push_gate();
        }
        let through = self.persistence.unmarked.clone();
        // When a mark that is under way is made, this is called again.
        if !through.is_empty() && !self.persistence.is_marking() {
            let is_named = |m: &&Mutation| m.attempted && through.get(&m.client_id).is_some();
            let pending = self.mutations.pending().iter().filter(is_named);
            let keys = pending.map(Mutation::key).collect();
            self.mark(true, through, keys);
        }
    }

    /// For each client the last mutation that this tab has sent or knows to be sent or carried out, whatever storage knows.
    pub(crate) fn sent_through(&self) -> SortedMap<String, u64> {
        let mut through = self.mutations.through(|m| m.pushed);
        let unmarked = self.persistence.unmarked.iter();
        let known = unmarked.chain(self.mutations.confirmed().iter());
        for (client, id) in known.chain(self.tabs.sent().iter()) {
            name(&mut through, client, *id);
        }
        through
    }

    /// Whether something is about to be sent that storage must know of first: a dead tab's mutations that it still
    /// calls unsent, or one that goes without its writes and has an end already.
    pub(crate) fn has_unmarked(&self) -> bool {
        let recovering = self.recovering();
        self.mutations.pending().iter().any(|m| {
            self.ends_unmarked(m) || recovering.contains(&m.client_id) && self.is_unmarked(m)
        })
    }

    /// Whether a mutation of this tab is to be sent without its writes, and storage does not know yet how it ends.
    fn ends_unmarked(&self, m: &Mutation) -> bool {
        // What is quickly told comes first: all that is pending is asked.
        let fails = !m.attempted && m.ops.is_empty() && m.replay_error.is_some();
        fails && m.client_id == self.client_id && self.link.sends_writes_of(m)
    }
}

/// Of this client the mutations up to this one are named.
fn name(through: &mut SortedMap<String, u64>, client_id: &str, id: u64) {
    let last = through.get_or_insert_with(client_id.to_owned(), || 0);
    *last = id.max(*last);
}
