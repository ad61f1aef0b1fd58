//! The mutation queue in memory: what is pending, in which order it is replayed, what is to be sent, how it ended.
//!
//! One mutation is in `mutation.rs`. Running and replaying mutators is the work of the rebase; writing the queue to
//! storage that of `queue_writing.rs`.
//!
//! Invariants: the ids of one client form a gap-free run above its last confirmed one; what was sent for an id
//! never changes; stored mutations come in the order of their group-wide sequence, own unstored ones last.

mod listing;
mod mutation;
pub(crate) mod queue_writing;
pub(crate) mod writes;

pub use listing::ListPart;
pub(crate) use mutation::{Mutation, Stored, read_arguments};

use crate::effect::{CallId, MutationInfo, Outcome};
use landfall_store::Frozen;
use landfall_zql::sort::{sort, sort_by_key};
use landfall_zql::sorted_map::SortedMap;
use listing::Listing;
use std::cell::Cell;

/// Names a mutation: the client that made it and its number there.
pub(crate) type MutationKey = (String, u64);

/// What storage says of the queue where a new group begins.
#[derive(Default)]
pub(crate) struct KnownToStorage {
    /// What it has issued again: id and sequence, by the old names.
    pub(crate) reissued: SortedMap<MutationKey, (u64, u64)>,
    /// The last mutation of this tab's old client that it ever held, if it knows the client.
    pub(crate) queued: Option<u64>,
}

impl KnownToStorage {
    fn may_have_held(&self, own: &Mutation) -> bool {
        match own.stored {
            Stored::At(_) => true,
            Stored::Unknown => self.queued.is_none_or(|last| own.id <= last),
            Stored::Pending | Stored::Refused => false,
        }
    }
}

/// A mutation that left the queue, and how.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    pub(crate) mutation: Mutation,
    pub(crate) outcome: Outcome,
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Mutations {
    pending: Vec<Mutation>,
    /// Where one was found last: they are mostly looked up in their order.
    near: Cell<usize>,
    /// No mutation of a client has been pending that has a higher id than this.
    highest: SortedMap<String, u64>,
    /// Last mutation id of each client that the applied pokes have named.
    confirmed: SortedMap<String, u64>,
    /// Highest id of each client that was sent on this connection.
    sent: SortedMap<String, u64>,
    /// Failed and uncertain mutations that the application has not cleared.
    ended: Vec<MutationInfo>,
    /// What the application was told of all this.
    listing: Listing,
    next_id: u64,
    /// Counts changes of the queue other than at its end.
    revision: u64,
}

impl Mutations {
    pub(crate) fn new() -> Self {
        Mutations {
            next_id: 1,
            ..Mutations::default()
        }
    }

    /// What storage held. Rows that were confirmed before they were written are left out.
    pub(crate) fn load(
        &mut self,
        confirmed: SortedMap<String, u64>,
        queue: Vec<Mutation>,
        ended: Vec<MutationInfo>,
    ) {
        self.confirmed = confirmed;
        self.ended = ended;
        for mutation in queue {
            self.insert(mutation);
        }
    }

    /// Changes whenever a place in the queue may mean another mutation than before.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// The id that the next successful mutation of this client will have.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id
    }

    pub(crate) fn pending(&self) -> &[Mutation] {
        &self.pending
    }

    pub(crate) fn get_mut(&mut self, key: &MutationKey) -> Option<&mut Mutation> {
        let place = self.place(key)?;
        self.pending.get_mut(place)
    }

    /// What other tabs may have sent counts, not what was made of it here.
    pub(crate) fn adopt(&mut self, otherwise: Vec<Frozen>) {
        for frozen in otherwise {
            let key = (frozen.client_id.clone(), frozen.id);
            if let Some(mutation) = self.get_mut(&key).filter(|mutation| !mutation.pushed) {
                mutation.adopt(frozen);
            }
        }
    }

    /// Others have sent these, and storage knows how they ended.
    pub(crate) fn leave_to_others(&mut self, confirmed: &[MutationKey]) {
        for key in confirmed {
            if let Some(mutation) = self.get_mut(key) {
                mutation.leave_to_others();
            }
        }
    }

    /// Storage cannot be told as what these are sent: another tab may send them with other writes, or without any.
    pub(crate) fn doubt(&mut self, own: &str, being_written: &[MutationKey]) {
        for m in &mut self.pending {
            let is_known = matches!(m.stored, Stored::At(_) | Stored::Unknown);
            if m.client_id == own && !m.pushed && (is_known || being_written.contains(&m.key())) {
                m.unmarked = true;
                if matches!(m.sent_outcome, Some(Outcome::Failed { .. })) {
                    m.sent_outcome = Some(Outcome::Uncertain);
                }
            }
        }
    }

    /// For each client the last pending mutation of which this holds.
    pub(crate) fn through(&self, holds: fn(&Mutation) -> bool) -> SortedMap<String, u64> {
        let mut through = SortedMap::new();
        for mutation in self.pending.iter().filter(|mutation| holds(mutation)) {
            let last = through.get_or_insert_with(mutation.client_id.clone(), || 0);
            *last = mutation.id.max(*last);
        }
        through
    }

    pub(crate) fn get(&self, key: &MutationKey) -> Option<&Mutation> {
        self.pending.get(self.place(key)?)
    }

    fn place(&self, (client_id, id): &MutationKey) -> Option<usize> {
        let is_it = |m: &Mutation| m.id == *id && m.client_id == *client_id;
        let (before, from) = self
            .pending
            .split_at(self.near.get().min(self.pending.len()));
        let behind = from
            .iter()
            .position(is_it)
            .map(|place| before.len() + place);
        let place = behind.or_else(|| before.iter().position(is_it))?;
        self.near.set(place);
        Some(place)
    }

    /// Whether nothing of this name has been pending; quickly, where ids ascend.
    fn is_new(&self, key: &MutationKey) -> bool {
        self.highest.get(&key.0).is_none_or(|&id| id < key.1) || self.place(key).is_none()
    }

    fn note_id(&mut self, client_id: &str, id: u64) {
        match self.highest.get_mut(client_id) {
            Some(highest) => *highest = id.max(*highest),
            None => {
                self.highest.insert(client_id.to_owned(), id);
            }
        }
    }

    pub(crate) fn confirmed(&self) -> &SortedMap<String, u64> {
        &self.confirmed
    }

    pub(crate) fn confirmed_of(&self, client: &str) -> u64 {
        self.confirmed.get(client).copied().unwrap_or(0)
    }

    /// Takes out the mutation that storage now holds under another name; returns the call of this page that made it.
    pub(crate) fn take_renamed(&mut self, stored: &Mutation) -> Option<CallId> {
        let same = |m: &Mutation| {
            m.created_ms == stored.created_ms
                && m.name == stored.name
                && m.args_json == stored.args_json
        };
        let place = self.pending.iter().position(same)?;
        self.revision += 1;
        self.pending.remove(place).call
    }

    /// Storage has renamed what it held: only what it never had stays, and what may have been sent.
    pub(crate) fn forget_stored(&mut self) -> Vec<Mutation> {
        self.take_out(|m| matches!(m.stored, Stored::At(_) | Stored::Unknown) && !m.attempted)
    }

    /// What these clients made up to these ids.
    pub(crate) fn take_left(&mut self, by: &SortedMap<String, u64>) -> Vec<Mutation> {
        self.take_out(|m| by.get(&m.client_id).is_some_and(|last| m.id <= *last))
    }

    fn take_out(&mut self, leaves: impl Fn(&Mutation) -> bool) -> Vec<Mutation> {
        self.revision += 1;
        let (left, stays) = self.pending.drain(..).partition(leaves);
        self.pending = stays;
        left
    }

    /// What storage says of ended mutations.
    pub(crate) fn replace_ended(&mut self, ended: Vec<MutationInfo>) {
        for info in ended {
            if !self.knows_end(&info) {
                self.ended.push(info);
            }
        }
    }

    pub(crate) fn knows_end(&self, info: &MutationInfo) -> bool {
        self.ended
            .iter()
            .any(|e| e.client_id == info.client_id && e.mutation_id == info.mutation_id)
    }

    /// A mutation of this page has run: it takes the next id and the last place.
    pub(crate) fn append(&mut self, mutation: Mutation) {
        debug_assert_eq!(mutation.id, self.next_id);
        self.next_id += 1;
        self.note_id(&mutation.client_id, mutation.id);
        self.pending.push(mutation);
    }

    /// A mutation of another tab or an earlier session. Returns whether it was new.
    pub(crate) fn insert(&mut self, mutation: Mutation) -> bool {
        if mutation.id <= self.confirmed_of(&mutation.client_id) || !self.is_new(&mutation.key()) {
            return false;
        }
        self.note_id(&mutation.client_id, mutation.id);
        // What was uncertain when its group seemed to be over waits again.
        let is_it =
            |e: &MutationInfo| (&e.client_id, e.mutation_id) == (&mutation.client_id, mutation.id);
        self.ended
            .retain(|e| !is_it(e) || e.outcome != Some(Outcome::Uncertain));
        let order = mutation.order();
        let before = self.pending.iter().rposition(|m| m.order() <= order);
        self.pending
            .insert(before.map_or(0, |place| place + 1), mutation);
        self.revision += 1;
        true
    }

    /// Storage has committed these mutations with these sequences. Returns whether the order of replay changed.
    pub(crate) fn stored(&mut self, sequences: &[(MutationKey, u64)]) -> bool {
        for (key, sequence) in sequences {
            if let Some(mutation) = self.get_mut(key) {
                mutation.stored = Stored::At(*sequence);
            }
        }
        if self.pending.is_sorted_by_key(Mutation::order) {
            return false;
        }
        sort_by_key(&mut self.pending, Mutation::order);
        self.revision += 1;
        true
    }

    /// Which of the pending ones a poke with these last mutation ids and results ends, and how.
    pub(crate) fn settled_by(
        &self,
        confirmed: &SortedMap<String, u64>,
        results: &SortedMap<MutationKey, Outcome>,
    ) -> Vec<Settled> {
        self.pending
            .iter()
            .filter(|m| {
                confirmed
                    .get(&m.client_id)
                    .is_some_and(|last| *last >= m.id)
            })
            .map(|m| Settled {
                mutation: m.clone(),
                outcome: m.outcome(results.get(&m.key())),
            })
            .collect()
    }

    /// Takes a poke's last mutation ids as applied; ended mutations leave the queue.
    pub(crate) fn apply(&mut self, confirmed: &SortedMap<String, u64>, settled: &[Settled]) {
        for (client, last) in confirmed {
            let known = self.confirmed.get_or_insert_with(client.clone(), || 0);
            *known = (*known).max(*last);
        }
        let confirmed = &self.confirmed;
        self.pending
            .retain(|m| confirmed.get(&m.client_id).is_none_or(|last| *last < m.id));
        for end in settled {
            self.note_end(&end.mutation, &end.outcome);
        }
    }

    /// Keeps an outcome that the application should see, until it clears it.
    pub(crate) fn note_end(&mut self, mutation: &Mutation, outcome: &Outcome) {
        if *outcome != Outcome::Confirmed {
            self.replace_ended(vec![MutationInfo {
                outcome: Some(outcome.clone()),
                ..mutation.info()
            }]);
        }
    }

    /// The application has seen an outcome. Returns whether there was one.
    pub(crate) fn clear_end(&mut self, client_id: &str, id: u64) -> bool {
        let before = self.ended.len();
        self.ended
            .retain(|info| info.client_id != client_id || info.mutation_id != id);
        self.ended.len() != before
    }

    /// A new connection: what was sent on the old one counts for nothing.
    pub(crate) fn forget_sent(&mut self) {
        self.sent.clear();
    }

    /// The next mutations of these clients to send, marked as sent: in the order of the queue, so that what was made
    /// on top of another mutation does not arrive before it. As many as this are not all, perhaps.
    pub(crate) fn take_unsent(&mut self, clients: &[&str], most: usize) -> Vec<MutationKey> {
        // Of each client the ids to send, without gaps, and the next of them.
        let mut spans: SortedMap<&str, (std::ops::Range<u64>, u64)> = SortedMap::new();
        for client in clients {
            let start = self
                .confirmed_of(client)
                .max(self.sent.get(*client).copied().unwrap_or(0));
            let mut ids: Vec<u64> = self
                .pending
                .iter()
                .filter(|m| m.id > start && m.client_id == *client)
                .map(|m| m.id)
                .collect();
            sort(&mut ids);
            // A gap would be refused; it closes when the missing one is announced or loaded.
            let expected = start + 1..;
            let gapless = expected.zip(&ids).take_while(|(a, b)| a == *b).count() as u64;
            if gapless > 0 {
                spans.insert(client, (start + 1..start + 1 + gapless, start + 1));
            }
        }
        let mut keys = Vec::new();
        let first = spans.values().map(|(span, _)| span.start).min();
        let Some(first) = first else {
            return keys;
        };
        // In each place that a client has in the queue its next one: ids ascend, whatever the places say.
        for mutation in self.pending.iter().filter(|m| m.id >= first) {
            if keys.len() == most {
                break;
            }
            if let Some((span, next)) = spans.get_mut(mutation.client_id.as_str())
                && span.contains(&mutation.id)
            {
                keys.push((mutation.client_id.clone(), *next));
                *next += 1;
            }
        }
        for (client, (_, next)) in spans {
            self.sent.insert(client.to_owned(), next - 1);
        }
        keys
    }

    /// Whether anything is pending.
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Pending, failed and uncertain ones, for the application.
    pub(crate) fn infos(&self) -> Vec<MutationInfo> {
        let mut infos: Vec<MutationInfo> = self.pending.iter().map(Mutation::info).collect();
        infos.extend_from_slice(&self.ended);
        infos
    }

    /// The same list as what has changed in it since this was asked last.
    pub(crate) fn changed_infos(&mut self) -> Vec<ListPart> {
        let (pending, ended) = (&self.pending, &self.ended);
        let waiting = pending.iter().map(|m| (m.client_id.as_str(), m.id, None));
        let over = ended
            .iter()
            .map(|m| (m.client_id.as_str(), m.mutation_id, m.outcome.as_ref()));
        self.listing
            .tell(waiting.chain(over), |place| match pending.get(place) {
                Some(mutation) => mutation.info(),
                None => ended[place - pending.len()].clone(),
            })
    }

    /// The server forgot the group. What storage has issued again gets its new name; what was sent, by whomever, is
    /// returned and noted as uncertain; own mutations that storage never had come last. Everything belongs to the new
    /// client.
    pub(crate) fn reidentify(
        &mut self,
        old_client: &str,
        new_client: &str,
        known: &KnownToStorage,
    ) -> Vec<Mutation> {
        self.confirmed.clear();
        self.sent.clear();
        let mut uncertain = Vec::new();
        let mut last = known
            .reissued
            .values()
            .map(|(id, _)| *id)
            .max()
            .unwrap_or(0);
        for mut mutation in std::mem::take(&mut self.pending) {
            let own = mutation.client_id == old_client;
            match known.reissued.get(&mutation.key()) {
                Some(&(id, sequence)) => {
                    mutation.id = id;
                    mutation.stored = Stored::At(sequence);
                }
                // One of this page that storage held, or may have held, and has not issued again, whoever it is named
                // after by now: another tab may have sent it.
                None if mutation.attempted
                    || own && known.may_have_held(&mutation)
                    || !own && mutation.call.is_some() =>
                {
                    self.note_end(&mutation, &Outcome::Uncertain);
                    uncertain.push(mutation);
                    continue;
                }
                None if own => {
                    last += 1;
                    mutation.id = last;
                    mutation.stored = Stored::Pending;
                }
                // Another tab's, and it takes care of it.
                None => continue,
            }
            mutation.client_id = new_client.to_owned();
            // It was never sent: how it was about to be sent counts for nothing.
            mutation.attempted = false;
            mutation.pushed = false;
            mutation.sent_by_other = false;
            mutation.unmarked = false;
            mutation.sent_outcome = None;
            self.pending.push(mutation);
        }
        sort_by_key(&mut self.pending, |mutation| mutation.id);
        self.revision += 1;
        self.next_id = last + 1;
        self.note_id(new_client, last);
        uncertain
    }
}

#[cfg(test)]
mod tests {
    use super::mutation::tests::mutation;
    use super::*;
    use crate::effect::{ErrorSource, MutationError};

    #[track_caller]
    fn check(queue: &Mutations, expected: &str) {
        let shown: Vec<String> = queue
            .pending
            .iter()
            .map(|m| format!("{}{}", m.client_id, m.id))
            .collect();
        assert_eq!(shown.join(" "), expected);
    }

    fn own(queue: &mut Mutations) {
        let id = queue.next_id();
        queue.append(mutation("a", id, Stored::Pending));
    }

    #[test]
    fn stored_ones_come_in_the_order_of_the_group_and_own_unstored_ones_last() {
        let mut queue = Mutations::new();
        own(&mut queue);
        assert!(queue.insert(mutation("b", 1, Stored::At(5))));
        check(&queue, "b1 a1");
        assert!(
            !queue.insert(mutation("b", 1, Stored::At(5))),
            "heard twice"
        );
        assert!(queue.stored(&[(("a".into(), 1), 4)]), "the order changed");
        check(&queue, "a1 b1");
        own(&mut queue);
        assert!(!queue.stored(&[(("a".into(), 2), 6)]));
        check(&queue, "a1 b1 a2");
    }

    #[test]
    fn a_connection_sends_what_is_above_the_confirmed_id_once_and_without_gaps() {
        let mut queue = Mutations::new();
        for _ in 0..3 {
            own(&mut queue);
        }
        let ids = |keys: Vec<MutationKey>| keys.into_iter().map(|k| k.1).collect::<Vec<_>>();
        assert_eq!(ids(queue.take_unsent(&["a"], 100)), [1, 2, 3]);
        assert_eq!(ids(queue.take_unsent(&["a"], 100)), [0u64; 0]);
        queue.apply(&SortedMap::from([("a".into(), 1)]), &[]);
        queue.forget_sent();
        own(&mut queue);
        assert_eq!(ids(queue.take_unsent(&["a"], 100)), [2, 3, 4]);
        queue.insert(mutation("b", 2, Stored::At(9)));
        assert_eq!(
            ids(queue.take_unsent(&["b"], 100)),
            [0u64; 0],
            "b1 is missing"
        );
        queue.insert(mutation("b", 1, Stored::At(8)));
        assert_eq!(ids(queue.take_unsent(&["a", "b"], 100)), [1, 2]);
        queue.forget_sent();
        let mut shown = || -> Vec<String> {
            let keys = queue.take_unsent(&["a", "b"], 3);
            keys.into_iter()
                .map(|k| format!("{}{}", k.0, k.1))
                .collect()
        };
        assert_eq!(shown(), ["b1", "b2", "a2"], "in the order of the group");
        assert_eq!(shown(), ["a3", "a4"], "where it was left");
        assert_eq!(shown(), [""; 0]);
    }

    #[test]
    fn a_result_wins_over_the_last_mutation_id() {
        let mut queue = Mutations::new();
        own(&mut queue);
        own(&mut queue);
        let failed = Outcome::Failed {
            error: MutationError {
                source: ErrorSource::App,
                message: "no".into(),
                details: None,
            },
        };
        let confirmed = SortedMap::from([("a".to_owned(), 2)]);
        let settled = queue.settled_by(
            &confirmed,
            &SortedMap::from([(("a".to_owned(), 1), failed.clone())]),
        );
        let outcomes: Vec<_> = settled.iter().map(|s| s.outcome.clone()).collect();
        assert_eq!(outcomes, [failed, Outcome::Confirmed]);
        queue.apply(&confirmed, &settled);
        assert!(queue.is_empty());
        assert_eq!(queue.infos().len(), 1);
        assert!(queue.clear_end("a", 1));
        assert!(queue.infos().is_empty());
    }

    #[test]
    fn what_was_uncertain_and_waits_again_is_listed_once() {
        let mut queue = Mutations::new();
        let [first, second] = [1, 2].map(|id| mutation("b", id, Stored::At(id)));
        queue.note_end(&first, &Outcome::Uncertain);
        queue.note_end(&second, &Outcome::Uncertain);
        assert!(queue.insert(second));
        let infos = queue.infos();
        let listed: Vec<_> = infos.iter().map(|m| (m.mutation_id, &m.outcome)).collect();
        assert_eq!(listed, [(2, &None), (1, &Some(Outcome::Uncertain))]);
    }

    #[test]
    fn a_forgotten_group_keeps_unsent_writes_and_names_the_uncertain_ones() {
        let mut queue = Mutations::new();
        for _ in 0..6 {
            own(&mut queue);
        }
        queue.pending[0].attempted = true;
        queue.pending[2].stored = Stored::At(5);
        queue.pending[4].stored = Stored::Unknown;
        queue.pending[5].stored = Stored::Refused;
        queue.insert(mutation("dead", 1, Stored::At(1)));
        queue.insert(mutation("alive", 1, Stored::At(9)));
        let known = KnownToStorage {
            reissued: SortedMap::from([
                (("dead".to_owned(), 1), (1, 1)),
                (("a".to_owned(), 2), (2, 4)),
            ]),
            queued: None,
        };
        let uncertain = queue.reidentify("a", "z", &known);
        check(&queue, "z1 z2 z3 z4");
        let names: Vec<&str> = queue.pending.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(
            names,
            ["m1", "m2", "m4", "m6"],
            "the dead tab's, the stored one, those in memory"
        );
        // The one that was sent, and those that storage held, or may have held, and has not issued again.
        let ids: Vec<u64> = uncertain.iter().map(|m| m.id).collect();
        assert_eq!(ids, [1, 3, 5]);
        assert_eq!(queue.next_id(), 5);
    }
}
