//! After a deploy with another schema: the rows of the earlier store are shown until the server has given rows to this
//! client's own.
//!
//! A group belongs to one schema, at the server too, so the new store begins without a cookie and is given everything
//! anew. What the earlier store held is shown meanwhile as the rows of an abandoned group are: nobody takes it for what
//! the server has given, it is not stored here, and the first poke that answers replaces it by the difference.
//!
//! It is read behind this client's own store, in the same slices.

use crate::client::Client;
use crate::effect::{Effect, LogLevel};
use crate::options::Role;
use landfall_store::{StateReader, StoreFailure, StoreOp, StoreReply, StoreRequest, Unread};
use landfall_zql::sort::sort_by;

/// What is known of earlier stores.
#[derive(Debug, Default)]
pub(crate) struct EarlierStore {
    /// The host has told, or is not asked any more.
    told: bool,
    /// What may be shown, of the newest one first.
    found: std::vec::IntoIter<Box<Unread>>,
    /// This client's own store, which holds no rows yet, until the host has told.
    own: Option<Box<Unread>>,
    /// The host waits to be told that the earlier stores may go.
    needed: bool,
}

impl EarlierStore {
    pub(crate) fn of(role: Role) -> Self {
        EarlierStore {
            needed: role == Role::Held,
            ..EarlierStore::default()
        }
    }
}

impl Client {
    /// What a host asks of each store of an earlier schema; the answers go into [`crate::Event::Earlier`].
    pub fn earlier_request(&self) -> StoreRequest {
        StoreRequest {
            group_id: String::new(),
            op: StoreOp::ReadEarlier {
                schema: self.schema.clone(),
            },
        }
    }

    /// A held client with an empty store waits for what the host finds in earlier ones.
    pub(crate) fn wait_for_earlier(&mut self, unread: Box<Unread>) -> Option<Box<Unread>> {
        if self.role != Role::Held || self.earlier.told || unread.was_given() {
            return Some(unread);
        }
        self.earlier.own = Some(unread);
        None
    }

    pub(crate) fn on_earlier(&mut self, now: f64, answers: Vec<Result<StoreReply, StoreFailure>>) {
        if std::mem::replace(&mut self.earlier.told, true) {
            return;
        }
        let mut found = Vec::new();
        for answer in answers {
            match answer {
                // A release that never reached the server has left nothing to show.
                Ok(StoreReply::Earlier(unread)) if unread.was_given() => found.push(unread),
                Ok(_) => {}
                Err(failure) => self.tell_unreadable(&failure),
            }
        }
        sort_by(&mut found, |a, b| b.seen().total_cmp(&a.seen()));
        self.earlier.found = found.into_iter();
        self.go_on_with_own(now);
    }

    fn tell_unreadable(&mut self, failure: &StoreFailure) {
        let message = format!("an earlier store cannot be read: {failure}");
        self.log(LogLevel::Warn, &message);
    }

    /// Nothing more is waited for.
    pub(crate) fn go_on_with_own(&mut self, now: f64) {
        self.earlier.told = true;
        if let Some(unread) = self.earlier.own.take() {
            self.begin_loading(now, *unread);
        }
    }

    /// Earlier stores are of no use where the server has given something to this one.
    pub(crate) fn look_at_earlier(&mut self, own: &Unread) {
        if self.earlier.needed && own.was_given() {
            self.earlier.found = Vec::new().into_iter();
            self.tell_unneeded();
        }
    }

    /// All of this client's own store is read: goes on with the rows of an earlier one, if there are any to be shown.
    pub(crate) fn read_earlier(&mut self, now: f64) {
        while let Some(mut unread) = self.earlier.found.next() {
            match StateReader::new(&mut unread) {
                Ok(reader) => {
                    self.stale_rows = true;
                    return self.begin_reading(reader);
                }
                Err(failure) => self.tell_unreadable(&failure),
            }
        }
        self.begin(now);
    }

    /// All rows of an earlier store are read.
    pub(crate) fn show_earlier(&mut self, now: f64) {
        self.earlier.found = Vec::new().into_iter();
        self.stale_rows = !self.visible.is_empty();
        self.begin(now);
    }

    /// An earlier store turns out to be damaged: it is passed over.
    pub(crate) fn give_up_earlier(&mut self, now: f64, failure: &StoreFailure) {
        self.visible.unload();
        self.stale_rows = false;
        self.tell_unreadable(failure);
        self.read_earlier(now);
    }

    /// This store holds what the server has given.
    pub(crate) fn tell_unneeded(&mut self) {
        if !self.stale_rows && std::mem::take(&mut self.earlier.needed) {
            self.effects.push(Effect::EarlierUnneeded);
        }
    }
}
