//! Several tabs of one group: showing each other's writes, noticing dead ones, and sending what those left behind.
//!
//! A tab is alive as long as it holds the lock named after its client id. Where pages have no locks, it is alive as
//! long as its record in storage is renewed. The server is asked to forget only those that are dead.
//!
//! Sending what another tab has stored needs no certainty: the server takes an id once. So what stays unconfirmed for
//! long while this tab is connected is sent by this tab as well, whether its maker is dead, frozen or only slow.

pub(crate) mod announcements;
pub(crate) mod group_restart;

use crate::client::Client;
use crate::effect::{Effect, Outcome};
use crate::mutations::{Mutation, Settled};
use crate::options::Role;
use crate::persistence::stored_forms::to_outcome;
use landfall_protocol::{DeleteClients, Upstream};
use landfall_store::{ClientRecord, Head, StoreOp, compare_cookies};
use landfall_zql::sort::sort;
use landfall_zql::sorted_map::{SortedMap, SortedSet};
use std::cmp::Ordering;

const RECOVERY_LOCK: &str = "recovery";

/// What another tab has stored is sent as well when it was not confirmed for as long as this, or twice that.
const STALE_MS: f64 = 10_000.0;

/// How often a tab without locks looks after the others and renews its own record.
const LOOK_MS: f64 = 60_000.0;

/// Without locks a tab is dead when its record was not renewed for a day, by whichever clock.
const DEAD_MS: f64 = 86_400_000.0;

fn client_lock(client: &str) -> String {
    format!("client/{client}")
}

/// What this tab knows of the others.
#[derive(Debug, Default)]
pub(crate) struct Tabs {
    /// Clients whose lock this tab waits for.
    watched: SortedSet<String>,
    /// Clients whose lock was granted to this tab: they are gone. What they stored last is being read.
    dying: SortedSet<String>,
    /// Clients that are gone, and all that they stored is known here.
    dead: SortedSet<String>,
    /// Those of them that have only been silent for long, by their record.
    silent: SortedSet<String>,
    /// How far others have said that they sent their own mutations without storage knowing.
    sent: SortedMap<String, u64>,
    /// Dead clients whose mutations are all confirmed: the server may forget them.
    drained: SortedSet<String>,
    /// Dead clients that the server was asked to forget on this connection.
    asked: SortedSet<String>,
    recovery: Recovery,
    /// The tab was granted a lock of its own: pages have locks here.
    has_lock: bool,
    /// The oldest pending mutation of every other client when it was last looked at, while connected.
    oldest: SortedMap<String, u64>,
    /// Clients whose oldest mutation has stayed the same from one look to the next.
    stale: SortedSet<String>,
    /// Those of them that were stale before, each with its oldest mutation that is known.
    stuck: SortedMap<String, u64>,
    /// When to look again.
    stale_at: Option<f64>,
    look_at: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Recovery {
    #[default]
    No,
    Waiting,
    Held,
}

impl Tabs {
    /// Dead clients that the server may forget.
    pub(crate) fn deletable(&self) -> Vec<String> {
        self.drained.iter().cloned().collect()
    }

    /// Other clients whose mutations this tab sends.
    pub(crate) fn recovering(&self) -> Vec<String> {
        let mut clients = Vec::new();
        for client in &self.dead {
            if self.recovery == Recovery::Held && !self.stale.contains(client) {
                clients.push(client.clone());
            }
        }
        clients.extend(self.stale.iter().cloned());
        clients
    }

    pub(crate) fn next_deadline(&self) -> Option<f64> {
        let looks = [self.stale_at, self.look_at].into_iter().flatten();
        looks.reduce(f64::min)
    }

    /// What others have said of it: for each client the last mutation that it has sent without storage knowing.
    pub(crate) fn sent(&self) -> &SortedMap<String, u64> {
        &self.sent
    }

    pub(crate) fn dead(&self) -> &SortedSet<String> {
        &self.dead
    }

    /// Whether a client is surely dead, and not only silent for long.
    pub(crate) fn is_gone(&self, client: &str) -> bool {
        self.dead.contains(client) && !self.silent.contains(client)
    }

    pub(crate) fn dying(&self) -> &SortedSet<String> {
        &self.dying
    }

    /// A new group begins: the dead of the old one are nobody's business any more.
    pub(crate) fn forget_dead(&mut self) {
        self.dying.clear();
        self.dead.clear();
        self.silent.clear();
        self.sent.clear();
        self.drained.clear();
        self.asked.clear();
        self.oldest.clear();
        self.stale.clear();
        self.stuck.clear();
    }
}

impl Client {
    /// Takes the lock of a client that this tab is or is about to be: before storage can name it to others, who would
    /// otherwise be granted the lock first and take this tab for dead.
    pub(crate) fn hold_lock_of(&mut self, client: &str) {
        let name = client_lock(client);
        self.effects.push(Effect::RequestLock { name });
    }

    /// Lets go of the lock of a client that this tab is no more.
    pub(crate) fn release_lock_of(&mut self, client: &str) {
        let name = client_lock(client);
        self.effects.push(Effect::ReleaseLock { name });
    }

    /// Waits for the end of another tab.
    pub(crate) fn watch(&mut self, client: &str) {
        if client != self.client_id
            && !self.tabs.dead.contains(client)
            && !self.tabs.dying.contains(client)
            && self.tabs.watched.insert(client.to_owned())
        {
            self.effects.push(Effect::RequestLock {
                name: client_lock(client),
            });
        }
    }

    /// A lock is held now.
    pub(crate) fn on_lock_granted(&mut self, name: &str) {
        if name == RECOVERY_LOCK {
            if self.tabs.recovery == Recovery::Waiting {
                self.tabs.recovery = Recovery::Held;
                self.read_queue();
            }
            return;
        }
        let Some(client) = name.strip_prefix("client/") else {
            return;
        };
        // That of the next group may be granted before storage has begun the group.
        let restart = self.persistence.restart.as_ref();
        let is_coming = restart.is_some_and(|restart| restart.new_client == client);
        self.tabs.has_lock |= is_coming || client == self.client_id;
        if self.tabs.watched.remove(client) {
            self.tabs.dying.insert(client.to_owned());
            // It may have stored mutations that it did not live to announce.
            self.read_queue();
            // Kept by nobody: the next tab must be able to notice the same.
            self.effects.push(Effect::ReleaseLock {
                name: name.to_owned(),
            });
        }
    }

    /// The stored queue was read: everything that the dying left is known.
    pub(crate) fn bury(&mut self, dying: SortedSet<String>) {
        for client in dying {
            if self.tabs.dying.remove(&client) {
                self.tabs.dead.insert(client);
            }
        }
    }

    /// Connected: become the tab that takes care of the dead ones, once no other tab is.
    pub(crate) fn begin_recovery(&mut self, now: f64) {
        self.tabs.asked.clear();
        self.tabs.stale_at = Some(now + STALE_MS);
        if self.tabs.recovery == Recovery::No {
            self.tabs.recovery = Recovery::Waiting;
            self.effects.push(Effect::RequestLock {
                name: RECOVERY_LOCK.to_owned(),
            });
        }
    }

    /// Whether a dead tab has left mutations that this tab is about to be allowed to send.
    pub(crate) fn waits_for_recovery(&self) -> bool {
        self.tabs.recovery == Recovery::Waiting
            && self
                .mutations
                .pending()
                .iter()
                .any(|m| self.tabs.dead.contains(&m.client_id))
    }

    /// Not connected any more: another tab may do better.
    pub(crate) fn stop_recovery(&mut self) {
        self.tabs.stale_at = None;
        self.tabs.oldest.clear();
        self.tabs.stale.clear();
        self.tabs.stuck.clear();
        if self.tabs.recovery != Recovery::No {
            self.tabs.recovery = Recovery::No;
            self.effects.push(Effect::ReleaseLock {
                name: RECOVERY_LOCK.to_owned(),
            });
        }
    }

    /// While connected: whose mutations do not move?
    pub(crate) fn look_for_stale(&mut self, now: f64) {
        if self.tabs.stale_at.is_none_or(|at| at > now) {
            return;
        }
        let mut oldest: SortedMap<String, u64> = SortedMap::new();
        for mutation in self.mutations.pending() {
            if mutation.client_id != self.client_id {
                let id = oldest.get_or_insert_with(mutation.client_id.clone(), || mutation.id);
                *id = (*id).min(mutation.id);
            }
        }
        let before = std::mem::replace(&mut self.tabs.oldest, oldest);
        for (client, id) in &self.tabs.oldest {
            if before.get(client) != Some(id) {
                continue;
            }
            // Whoever knows what is missing has had time to send it.
            if !self.tabs.stale.insert(client.clone()) {
                self.tabs.stuck.insert(client.clone(), *id);
            }
        }
        self.tabs.stale_at = Some(now + STALE_MS);
        if !self.tabs.stuck.is_empty() {
            self.read_queue();
        }
    }

    /// The stored queue was read. What others announced long ago and storage holds no more is over: the server may have
    /// forgotten its client, and then says nothing of it. But where storage was emptied, it may never have been sent, and
    /// never can be if its maker is dead and something before it was not heard of.
    pub(crate) fn end_stuck(&mut self, head: &Head, stored: &[Mutation]) {
        let is_lost = head.has_lost_ends();
        let is_behind =
            compare_cookies(self.cookie.as_deref(), head.cookie.as_deref()) == Ordering::Less;
        let mut stuck: SortedMap<String, u64> = SortedMap::new();
        for (client, oldest) in std::mem::take(&mut self.tabs.stuck) {
            let is_dead = self.tabs.dead.contains(&client);
            let taken = head.last_mutation_id(&client);
            let taken = taken.max(self.mutations.confirmed_of(&client));
            let is_stored = |m: &Mutation| m.client_id == client && (is_dead || m.id == oldest);
            let is_over = match is_lost {
                // The server has taken it, and is about to tell or has told long ago.
                _ if oldest <= taken => !is_behind,
                true => is_dead && oldest > taken + 1,
                false => true,
            };
            if is_over && !stored.iter().any(is_stored) {
                // One that lives may have stored more since.
                stuck.insert(client, if is_dead { u64::MAX } else { oldest });
            }
        }
        if stuck.is_empty() {
            return;
        }
        let outcome = match is_lost {
            true => Outcome::Uncertain,
            false => Outcome::Confirmed,
        };
        let (mut outcomes, mut ends) = (Vec::new(), Vec::new());
        for mutation in self.mutations.take_left(&stuck) {
            outcomes.extend(to_outcome(&mutation, &outcome));
            self.mutations.note_end(&mutation, &outcome);
            if mutation.call.is_some() {
                ends.push(Settled {
                    mutation,
                    outcome: outcome.clone(),
                });
            }
        }
        if !ends.is_empty() {
            self.read_outcomes(ends);
        }
        self.store_ends("writes that cannot be sent", outcomes);
        self.mutations_changed = true;
        self.rebase.request_round();
    }

    /// Where pages have no locks: renews the own record, and looks for what others have stored.
    pub(crate) fn look_after_others(&mut self, now: f64) {
        if self.tabs.has_lock || self.persistence.disabled {
            self.tabs.look_at = None;
            return;
        }
        let due = *self.tabs.look_at.get_or_insert(now + LOOK_MS);
        if due > now {
            return;
        }
        self.tabs.look_at = Some(now + LOOK_MS);
        // Between two groups there is nobody to look after.
        if self.group_id.is_none() {
            return;
        }
        let client_id = self.client_id.clone();
        self.store_note("a sign of life", StoreOp::TouchClient { client_id, now });
        self.read_queue();
    }

    /// The records of all clients, as stored.
    pub(crate) fn take_records(&mut self, now: f64, records: &[ClientRecord]) {
        for record in records {
            self.watch(&record.client_id);
            let silent = (now - record.seen).abs() > DEAD_MS;
            if silent && !self.tabs.has_lock && self.tabs.watched.remove(&record.client_id) {
                self.tabs.dead.insert(record.client_id.clone());
                self.tabs.silent.insert(record.client_id.clone());
            }
        }
    }

    /// Dead clients with nothing left to send are named to the server, which may then forget their queries.
    pub(crate) fn let_the_dead_go(&mut self) {
        // Pages with the earlier code may still ask what became of their writes.
        if self.role == Role::Draining {
            return;
        }
        // Without locks nobody holds the one of recovery; to be asked twice is harmless.
        let mine = self.tabs.recovery == Recovery::Held || !self.tabs.has_lock;
        // Where there never was a server nobody else has to forget them.
        let is_local = self.link.cache_url.is_none() && self.link.mode.is_none();
        if !is_local && (!mine || !self.link.connection.is_connected()) {
            return;
        }
        // Most often there are none: what is pending is looked through for those alone. Once for all of them, since without
        // a server they may be many, and their writes stay.
        let is_new = |client: &&String| !self.tabs.asked.contains(*client);
        if !self.tabs.dead.iter().any(|client| is_new(&client)) {
            return;
        }
        let pending = self.mutations.pending().iter();
        let mut owners: Vec<&str> = pending.map(|m| m.client_id.as_str()).collect();
        owners.dedup();
        sort(&mut owners);
        let has_left = |client: &String| owners.binary_search(&client.as_str()).is_ok();
        let dead = self.tabs.dead.iter().filter(is_new);
        let new: Vec<String> = dead.filter(|client| !has_left(client)).cloned().collect();
        if new.is_empty() || self.poke_store_in_flight() {
            return;
        }
        self.tabs.drained.extend(new.iter().cloned());
        if is_local {
            return self.on_clients_deleted(new);
        }
        self.tabs.asked.extend(new.iter().cloned());
        self.send(&Upstream::DeleteClients(DeleteClients {
            client_ids: Some(new),
            ..DeleteClients::default()
        }));
    }

    /// The server has forgotten these clients.
    pub(crate) fn on_clients_deleted(&mut self, clients: Vec<String>) {
        let known: Vec<String> = clients
            .into_iter()
            .filter(|client| self.tabs.drained.remove(client))
            .collect();
        for client in &known {
            self.tabs.dead.remove(client);
        }
        let is_silent = |client: &String| self.tabs.silent.remove(client);
        let (silent, gone): (Vec<String>, Vec<String>) = known.into_iter().partition(is_silent);
        for (clients, are_gone) in [(silent, false), (gone, true)] {
            if !clients.is_empty() {
                self.store_removal(clients, are_gone);
            }
        }
    }
}
