//! After a deploy with another schema: the rows of the earlier store are shown until the server has given rows to this
//! client's own.
//!
//! A group belongs to one schema, at the server too, so the new store begins without a cookie and is given everything
//! anew. What the earlier store held is shown meanwhile as the rows of an abandoned group are: nobody takes it for what
//! the server has given, it is not stored here, and the first poke that answers replaces it by the difference.

use crate::client::Client;
use crate::effect::{Effect, LogLevel};
use crate::options::Role;
use landfall_store::{EarlierRows, StoreFailure, StoreOp, StoreReply, StoreRequest, Unread};

/// What is known of earlier stores.
#[derive(Debug, Default)]
pub(crate) struct EarlierStore {
    /// The host has told, or is not asked any more.
    told: bool,
    /// What to show of the newest one.
    rows: Option<EarlierRows>,
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
        let mut newest: Option<EarlierRows> = None;
        for answer in answers {
            match answer {
                Ok(StoreReply::Earlier(rows)) => {
                    if newest.as_ref().is_none_or(|known| known.seen < rows.seen) {
                        newest = Some(rows);
                    }
                }
                Ok(_) => {}
                Err(failure) => {
                    let message = format!("an earlier store cannot be read: {failure}");
                    self.log(LogLevel::Warn, &message);
                }
            }
        }
        self.earlier.rows = newest.filter(|rows| !rows.is_empty());
        self.go_on_with_own(now);
    }

    /// Nothing more is waited for.
    pub(crate) fn go_on_with_own(&mut self, now: f64) {
        self.earlier.told = true;
        if let Some(unread) = self.earlier.own.take() {
            self.begin_loading(now, *unread);
        }
    }

    /// Where the server has given nothing to this store yet, the rows of an earlier one are shown.
    pub(crate) fn show_earlier(&mut self, was_given: bool) {
        let earlier = self.earlier.rows.take();
        if was_given {
            return self.tell_unneeded();
        }
        let Some(earlier) = earlier else { return };
        self.stale_rows = true;
        for ((table, _), rows) in self.schema.iter().zip(earlier.tables) {
            self.visible.load(table, &mut rows.into_iter());
        }
    }

    /// This store holds what the server has given.
    pub(crate) fn tell_unneeded(&mut self) {
        if !self.stale_rows && std::mem::take(&mut self.earlier.needed) {
            self.effects.push(Effect::EarlierUnneeded);
        }
    }
}
