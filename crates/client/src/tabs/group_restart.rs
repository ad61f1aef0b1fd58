//! The end of a client group that the server has forgotten, and the beginning of the next one.
//!
//! Storage decides what was never sent and is issued again under new names; what may have been sent becomes uncertain.
//! The first tab that is told does it; the others find another group in storage and join it.
//! Until storage has answered there is no group, so no socket is opened and nothing is written.

use crate::client::Client;
use crate::connection::PauseBounds;
use crate::effect::{Effect, MutationInfo, Outcome, StorageProblemKind};
use crate::mutations::{KnownToStorage, Mutation, Stored};
use crate::persistence::faults::kind_of;
use crate::persistence::stored_forms::take_ends;
use crate::persistence::{Purpose, RETRY_MS};
use landfall_store::{StartGroup, StoreFailure, StoreOp, StoreReply};

/// Within this time of a fresh start, another one does not reconnect at once.
const ANEW_PAUSE_MS: f64 = 60_000.0;

/// How often storage is asked before the tab goes on in memory.
const ATTEMPTS: u32 = 3;

/// A group that is being begun.
#[derive(Debug)]
pub(crate) struct Restart {
    old_group: String,
    new_group: String,
    pub(crate) new_client: String,
    /// Another tab has begun it.
    is_there: bool,
    failures: u32,
    pub(crate) retry_at: Option<f64>,
}

impl Client {
    /// The server has forgotten the group: a new one begins when storage has made it.
    pub(crate) fn start_anew(&mut self, now: f64) {
        if self.persistence.restart.is_some() || !self.loaded {
            return;
        }
        let Some(old_group) = self.group_id.take() else {
            return;
        };
        let (new_group, new_client) = (self.random.id(), self.random.id());
        self.hold_lock_of(&new_client);
        if self.persistence.disabled {
            self.finish_restart(now, new_group, new_client, &KnownToStorage::default());
            return;
        }
        self.persistence.restart = Some(Restart {
            old_group,
            new_group,
            new_client,
            is_there: false,
            failures: 0,
            retry_at: None,
        });
        self.ask_for_group(now);
    }

    fn ask_for_group(&mut self, now: f64) {
        let Some(restart) = &mut self.persistence.restart else {
            return;
        };
        restart.retry_at = None;
        let (is_there, old_group) = (restart.is_there, restart.old_group.clone());
        let (new_group_id, client_id) = (restart.new_group.clone(), restart.new_client.clone());
        if is_there {
            let open = StoreOp::Open(self.opening(now, client_id));
            return self.ask_store_as(new_group_id, Purpose::Rejoin, open);
        }
        let op = StartGroup {
            new_group_id,
            client_id,
            sent: self.sent_through().into_iter().collect(),
            now,
        };
        self.ask_store_as(old_group, Purpose::StartGroup, StoreOp::StartGroup(op));
    }

    /// Another tab has begun a new group first.
    pub(crate) fn give_up_restart(&mut self) {
        if let Some(restart) = self.persistence.restart.take() {
            self.release_lock_of(&restart.new_client);
            self.group_id = Some(restart.old_group);
        }
    }

    /// Asks storage again when its time has come.
    pub(crate) fn restart_again(&mut self, now: f64) {
        let due = |restart: &Restart| restart.retry_at.is_some_and(|at| at <= now);
        if self.persistence.restart.as_ref().is_some_and(due) {
            self.ask_for_group(now);
        }
    }

    pub(crate) fn on_group_answer(&mut self, now: f64, result: Result<StoreReply, StoreFailure>) {
        let Some(restart) = self.persistence.restart.take() else {
            return;
        };
        if let Ok(StoreReply::GroupStarted(started)) = result {
            let names = started.reissued.iter().map(|r| {
                let old = (r.old_client_id.clone(), r.old_id);
                (old, (r.mutation.id, r.mutation.sequence))
            });
            let mut queued = started.queued.iter();
            let known = KnownToStorage {
                reissued: names.collect(),
                queued: queued
                    .find(|(client, _)| *client == self.client_id)
                    .map(|(_, last)| *last),
            };
            self.finish_restart(now, restart.new_group, restart.new_client, &known);
            // Storage knows more than this tab had been told.
            let reissued = started.reissued.into_iter();
            let mut queue = self.take_stored(reissued.map(|r| r.mutation).collect());
            let ended = take_ends(started.outcomes, &mut queue);
            for mutation in queue {
                self.mutations.insert(mutation);
            }
            self.mutations.replace_ended(ended);
            return;
        }
        if let Some(restart) = self.try_later(now, restart) {
            // What is stored stays there for a later session; sending it from here as well could carry it out twice.
            self.go_on_in_memory(now, &restart);
        }
    }

    /// Storage has failed. It is asked again, unless that is of no use any more.
    fn try_later(&mut self, now: f64, mut restart: Restart) -> Option<Restart> {
        restart.failures += 1;
        if restart.failures >= ATTEMPTS || self.persistence.disabled {
            return Some(restart);
        }
        restart.retry_at = Some(now + RETRY_MS);
        self.persistence.restart = Some(restart);
        None
    }

    /// Storage cannot be asked any more. What it holds of this page's writes may still be sent from there, or not. It may
    /// also have begun the group all the same, under the names that were asked for: so this page takes others.
    fn go_on_in_memory(&mut self, now: f64, restart: &Restart) {
        self.persistence.disabled = true;
        for mutation in self.mutations.forget_stored() {
            self.end_uncertain(&mutation);
        }
        self.release_lock_of(&restart.new_client);
        let (group, client) = (self.random.id(), self.random.id());
        self.hold_lock_of(&client);
        self.finish_restart(now, group, client, &KnownToStorage::default());
    }

    fn end_uncertain(&mut self, mutation: &Mutation) {
        if mutation.call.is_some() {
            self.mutations.note_end(mutation, &Outcome::Uncertain);
            self.tell_uncertain(mutation);
        }
    }

    fn tell_uncertain(&mut self, mutation: &Mutation) {
        self.effects.push(Effect::MutationOutcome {
            call: mutation.call,
            client_id: mutation.client_id.clone(),
            mutation_id: mutation.id,
            outcome: Outcome::Uncertain,
        });
    }

    /// Another tab was told first that the server has forgotten the group, and has begun a new one in storage.
    pub(crate) fn rejoin(&mut self, now: f64, group: String) {
        if self.persistence.restart.is_some() {
            return;
        }
        let old_group = self.group_id.take().unwrap_or_default();
        let bounds = PauseBounds::default();
        let connection = &mut self.link.connection;
        let actions = connection.lost(now, "NewClientGroup", bounds, &mut self.random);
        self.act(now, actions);
        let new_client = self.random.id();
        self.hold_lock_of(&new_client);
        self.persistence.restart = Some(Restart {
            old_group,
            new_group: group,
            new_client,
            is_there: true,
            failures: 0,
            retry_at: None,
        });
        self.ask_for_group(now);
    }

    pub(crate) fn on_rejoined(&mut self, now: f64, result: Result<StoreReply, StoreFailure>) {
        let Some(mut restart) = self.persistence.restart.take() else {
            return;
        };
        if let Err(failure) = &result
            && !matches!(kind_of(failure), StorageProblemKind::Damaged)
        {
            match self.try_later(now, restart) {
                Some(given_up) => restart = given_up,
                None => return,
            }
        }
        let Ok(StoreReply::Opened { loaded, .. }) = result else {
            // Whatever is there now, it cannot be read: nothing of it may be sent twice, so only what was never
            // stored stays with this tab.
            return self.go_on_in_memory(now, &restart);
        };
        let Restart {
            old_group,
            new_group,
            new_client,
            ..
        } = restart;
        let group = match loaded.head.group_id.is_empty() {
            true => new_group,
            false => loaded.head.group_id.clone(),
        };
        let mut queue = self.take_stored(loaded.queue.clone());
        let ended: Vec<MutationInfo> = take_ends(loaded.outcomes.clone(), &mut queue);
        // The calls of this page go on with the mutations that they became, also those that were about to be sent.
        for mutation in &mut queue {
            mutation.call = self.mutations.take_renamed(mutation);
        }
        let is_next = loaded.head.previous_group.as_deref() == Some(old_group.as_str());
        let follows = is_next && !loaded.head.has_lost_ends();
        self.tell_missed_outcomes(&ended, follows);
        for mutation in self.mutations.forget_stored() {
            // Never stored, or stored, issued again and carried out.
            if mutation.stored == Stored::Unknown {
                self.end_uncertain(&mutation);
            }
        }
        self.finish_restart(now, group, new_client, &KnownToStorage::default());
        self.mutations.replace_ended(ended);
        for mutation in queue {
            let owner = mutation.client_id.clone();
            self.mutations.insert(mutation);
            self.watch(&owner);
        }
        for client in &loaded.clients {
            self.watch(&client.client_id);
        }
    }

    /// Calls of this page whose mutations another tab has issued again and seen to their end meanwhile. If the new group
    /// does not follow this tab's own, what became of them is not known: storage may have been emptied in between.
    fn tell_missed_outcomes(&mut self, ended: &[MutationInfo], follows: bool) {
        let missed = |m: &&Mutation| matches!(m.stored, Stored::At(_)) && !m.attempted;
        let missed: Vec<Mutation> = self
            .mutations
            .pending()
            .iter()
            .filter(missed)
            .cloned()
            .collect();
        for mutation in missed {
            match self.missed_outcome(&mutation, ended, follows) {
                Some(outcome) if mutation.call.is_some() => {
                    self.effects.push(Effect::MutationOutcome {
                        call: mutation.call,
                        client_id: mutation.client_id.clone(),
                        mutation_id: mutation.id,
                        outcome,
                    });
                }
                Some(_) => {}
                None => self.end_uncertain(&mutation),
            }
        }
    }

    /// How another tab has seen it end, if that is sure: under its new name it is known by what it calls alone.
    fn missed_outcome(
        &self,
        mutation: &Mutation,
        ended: &[MutationInfo],
        follows: bool,
    ) -> Option<Outcome> {
        let calls_same =
            |name: &str, args: &str| name == mutation.name && args == mutation.args_json;
        let is_new = |e: &&MutationInfo| !self.mutations.knows_end(e);
        let mut ends = ended
            .iter()
            .filter(|e| calls_same(&e.name, &e.args_json) && is_new(e));
        let pending = self.mutations.pending().iter();
        let alike = pending.filter(|m| calls_same(&m.name, &m.args_json));
        match (ends.next(), alike.count()) {
            (None, _) => follows.then_some(Outcome::Confirmed),
            (Some(end), 1) => end.outcome.clone().filter(|_| ends.next().is_none()),
            (Some(_), _) => None,
        }
    }

    /// The queue under its new names, and everything else from nothing.
    fn finish_restart(
        &mut self,
        now: f64,
        new_group: String,
        new_client: String,
        known: &KnownToStorage,
    ) {
        self.persistence.restart = None;
        self.forget_unstored();
        let old_client = self.client_id.clone();
        for mutation in self.mutations.reidentify(&old_client, &new_client, known) {
            self.tell_uncertain(&mutation);
        }
        self.persistence.to_write = self
            .mutations
            .pending()
            .iter()
            .filter(|m| !matches!(m.stored, Stored::At(_)))
            .map(Mutation::key)
            .collect();
        self.begin_group(now, new_group, new_client);
    }

    /// A new group has begun, in storage if there is one: the writes are kept, the rest starts from nothing.
    pub(crate) fn begin_group(&mut self, now: f64, group: String, client: String) {
        let old_client = std::mem::replace(&mut self.client_id, client.clone());
        self.release_lock_of(&old_client);
        self.rebase.set_client_id(client.clone());
        self.group_id = Some(group.clone());
        self.cookie = None;
        self.persistence.unmarked.clear();
        self.persistence.log_next = 0;
        self.abandon_snapshot();
        self.abandon_replacing();
        self.stale_rows = true;
        self.queries.forget_server();
        self.pokes.reset();
        self.tabs.forget_dead();
        self.mutations_changed = true;
        self.rebase.abandon_round(&mut self.visible);
        self.rebase.request_round();
        self.say_hello();
        self.effects.push(Effect::ClientStateNotFound {
            client_id: client,
            client_group_id: group,
        });
        // Once in a while at once; a server that forgets every new group at once is left to the usual pauses.
        let quiet = self.last_anew.is_none_or(|at| now - at > ANEW_PAUSE_MS);
        self.last_anew = Some(now);
        if quiet {
            let actions = self.link.connection.resume(now, &mut self.random);
            self.act(now, actions);
        }
    }
}
