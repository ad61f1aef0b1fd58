//! A tab without a connection follows what another tab of the group has stored, as if it were told by the server.
//!
//! A record of the log is the patch of a poke, and its changes are absolute: what this tab has of it already does no
//! harm. If the log does not reach back far enough, everything is read and takes the place of what is here.

use crate::client::Client;
use crate::connection::pokes::Poke;
use crate::effect::Outcome;
use crate::mutations::{Mutation, MutationKey, Stored};
use crate::persistence::stored_forms::{from_outcome, from_record};
use crate::persistence::{LOAD_STEPS, Purpose};
use crate::queries::QueryChange;
use landfall_store::{
    LogRecord, QueuedMutation, RowChange, StateReader, StoreFailure, StoreOp, StoreReply,
    StoredOutcome, Unread, compare_cookies,
};
use landfall_zql::sorted_map::SortedMap;
use std::cmp::Ordering;

/// Whether storage is being read, and is to be read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Following {
    reading: bool,
    again: bool,
}

/// What others have stored, while its rows are read: it becomes one poke, from wherever this client is by then.
#[derive(Debug)]
pub(crate) struct Replacing {
    reader: StateReader,
    poke: Poke,
}

impl Client {
    /// Storage may be ahead: at this cookie, or who knows where.
    pub(crate) fn follow_log(&mut self, cookie: Option<&str>) {
        let own = self.coming_cookie();
        let ahead = cookie.is_none_or(|it| compare_cookies(own, Some(it)) == Ordering::Less);
        if ahead {
            self.persistence.following.again = true;
            self.follow_on();
        }
    }

    /// Reads the log, if it is to be read and nothing stands in the way.
    pub(crate) fn follow_on(&mut self) {
        let Following { reading, again } = self.persistence.following;
        // With a socket the server tells; during a round the place to go on from is not reached yet.
        let connected = self.link.socket.is_some();
        if reading || !again || connected || !self.is_loaded() || !self.rebase.is_idle() {
            return;
        }
        if self.group_id.is_none() || self.persistence.disabled {
            return;
        }
        self.persistence.following = Following {
            reading: true,
            again: false,
        };
        let schema = self.schema.clone();
        let from = self.persistence.log_next;
        self.ask_store(Purpose::FollowLog, StoreOp::ReadLog { schema, from });
    }

    pub(crate) fn on_log_read(&mut self, result: Result<StoreReply, StoreFailure>) {
        self.persistence.following.reading = false;
        if self.link.socket.is_some() || !self.rebase.is_idle() {
            return;
        }
        match result {
            Ok(StoreReply::Log {
                head,
                records: Some(records),
                outcomes,
            }) => self.follow_records(head.cookie.as_deref(), records, outcomes),
            Ok(StoreReply::Log { head, .. }) => {
                let behind = compare_cookies(self.cookie.as_deref(), head.cookie.as_deref());
                if behind == Ordering::Less {
                    self.read_all();
                }
            }
            // The next announcement tries again.
            Ok(_) | Err(_) => {}
        }
        self.follow_on();
    }

    fn read_all(&mut self) {
        self.persistence.following.reading = true;
        let schema = self.schema.clone();
        self.ask_store(Purpose::FollowAll, StoreOp::Load { schema });
    }

    fn follow_records(
        &mut self,
        stored: Option<&str>,
        records: Vec<LogRecord>,
        outcomes: Vec<StoredOutcome>,
    ) {
        let mut at = self.cookie.clone();
        let mut pokes: Vec<Poke> = Vec::new();
        for record in records {
            let next = record.number + 1;
            if compare_cookies(at.as_deref(), Some(&record.cookie)) != Ordering::Less {
                self.persistence.log_next = next;
                continue;
            }
            if compare_cookies(at.as_deref(), record.base.as_deref()) == Ordering::Less {
                // Storage has lost its tail, and others have written another one.
                return self.read_all();
            }
            let base = at.replace(record.cookie.clone());
            pokes.push(from_record(record, base));
        }
        if compare_cookies(at.as_deref(), stored) == Ordering::Less {
            // What is stored was written anew, and the log has no record of how it came about.
            return self.read_all();
        }
        if let Some(last) = pokes.last_mut() {
            last.results = results(outcomes);
        }
        self.pokes.follow(pokes);
    }

    /// Everything that is stored, in place of what is here.
    pub(crate) fn on_all_read(&mut self, result: Result<StoreReply, StoreFailure>) {
        self.persistence.following.reading = false;
        if self.link.socket.is_some() || !self.rebase.is_idle() {
            return;
        }
        let Ok(StoreReply::Loaded(mut unread)) = result else {
            return;
        };
        let ahead = self.is_behind(unread.head.cookie.as_deref());
        if !ahead || self.is_forgotten_in(&unread) {
            return;
        }
        match StateReader::new(&mut unread) {
            Ok(reader) => {
                self.persistence.following.reading = true;
                self.persistence.replacing = Some(Box::new(Replacing {
                    reader,
                    poke: self.poke_to(*unread),
                }));
            }
            Err(failure) => self.give_up_replacing(&failure),
        }
    }

    fn is_behind(&self, stored: Option<&str>) -> bool {
        compare_cookies(self.cookie.as_deref(), stored) == Ordering::Less
    }

    /// Reads rows of what others have stored as long as there are steps.
    pub(crate) fn replace_on(&mut self) {
        if self.link.socket.is_some() {
            self.abandon_replacing();
        }
        while !self.slices.steps.are_spent()
            && let Some(Replacing { reader, poke }) = self.persistence.replacing.as_deref_mut()
        {
            let rows = &mut poke.rows;
            let read = reader.step(&mut |table, given| {
                rows.extend(given.map(|row| RowChange::Put { table, row }));
            });
            match read {
                Ok(Some(rows)) => self.slices.steps.spend_many(rows * LOAD_STEPS),
                Ok(None) if self.rebase.is_idle() => self.replace(),
                // The place to go on from is not reached yet.
                Ok(None) => return,
                // The next announcement tries again; whoever writes next repairs it.
                Err(failure) => self.give_up_replacing(&failure),
            }
        }
    }

    /// All rows are read.
    fn replace(&mut self) {
        self.persistence.following.reading = false;
        let Some(replacing) = self.persistence.replacing.take() else {
            return;
        };
        let Replacing { reader, mut poke } = *replacing;
        let got = reader.into_queries().got;
        poke.got.extend(got.iter().cloned().map(QueryChange::Put));
        if self.is_behind(Some(&poke.cookie)) {
            poke.base = self.cookie.clone();
            self.pokes.follow(vec![poke]);
        }
        self.follow_on();
    }

    fn give_up_replacing(&mut self, failure: &StoreFailure) {
        self.abandon_replacing();
        self.tell_store_failure(failure);
    }

    /// What others have stored is not wanted any more.
    pub(crate) fn abandon_replacing(&mut self) {
        if let Some(replacing) = self.persistence.replacing.take() {
            self.persistence.following.reading = false;
            self.visible.leaving.take_changes(replacing.poke.rows);
        }
    }

    /// Whether there are rows to be read, or they may take their place.
    pub(crate) fn is_replacing(&self) -> bool {
        self.persistence.replacing.is_some() && self.rebase.is_idle()
    }

    /// Whether storage has forgotten what became of mutations: others took this tab for dead, which made them, or the
    /// browser emptied storage, and with it went those of anybody. Only the server can tell, and only who is still where
    /// it was before.
    fn is_forgotten_in(&self, loaded: &Unread) -> bool {
        let (head, all) = (&loaded.head, loaded.head.has_lost_ends());
        let mut pending = self.mutations.pending().iter();
        pending.any(|m| {
            let is_it = |q: &QueuedMutation| q.client_id == m.client_id && q.id == m.id;
            (all || m.client_id == self.client_id)
                && matches!(m.stored, Stored::At(_))
                && m.id > head.last_mutation_id(&m.client_id)
                && !loaded.queue.iter().any(is_it)
        })
    }

    /// How this client comes to be where storage is, without the rows and the answered queries.
    fn poke_to(&self, stored: Unread) -> Poke {
        let head = stored.head;
        let mut confirmed = head.last_mutation_ids;
        // What others made and storage holds no more is over, even if its client is forgotten already.
        let is_over = |m: &&Mutation| {
            let is_it = |q: &QueuedMutation| q.client_id == m.client_id && q.id == m.id;
            m.client_id != self.client_id && !stored.queue.iter().any(is_it)
        };
        for mutation in self.mutations.pending().iter().filter(is_over) {
            let last = confirmed.get_or_insert_with(mutation.client_id.clone(), || 0);
            *last = (*last).max(mutation.id);
        }
        Poke {
            cookie: head.cookie.unwrap_or_default(),
            cleared: true,
            confirmed,
            results: results(stored.outcomes),
            got: vec![QueryChange::Clear],
            stored: Some(head.log_next),
            ..Poke::default()
        }
    }
}

fn results(outcomes: Vec<StoredOutcome>) -> SortedMap<MutationKey, Outcome> {
    let infos = outcomes.into_iter().map(from_outcome);
    infos
        .filter_map(|info| Some(((info.client_id, info.mutation_id), info.outcome?)))
        .collect()
}
