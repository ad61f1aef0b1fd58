//! After a deploy with another schema: the rows of the earlier store are shown until the server has given rows to this
//! client's own.
//!
//! A group belongs to one schema, at the server too, so the new store begins without a cookie and is given everything
//! anew. What the earlier store held is shown meanwhile as the rows of an abandoned group are: nobody takes it for what
//! the server has given, it is not stored here, and the first poke that answers replaces it by the difference.

use crate::client::Client;
use crate::effect::{Effect, LogLevel};
use crate::options::Role;
use landfall_store::{EarlierRows, Loaded, StoreFailure, StoreOp, StoreReply, StoreRequest};
use landfall_zql::{Row, TableId};

/// What is known of earlier stores.
#[derive(Debug, Default)]
pub(crate) struct EarlierStore {
    /// The host has told, or is not asked any more.
    told: bool,
    /// What to show of the newest one.
    rows: Option<EarlierRows>,
    /// This client's own store, which holds no rows yet, until the host has told.
    own: Option<Box<Loaded>>,
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
    pub(crate) fn wait_for_earlier(&mut self, loaded: Box<Loaded>) -> Option<Box<Loaded>> {
        if self.role != Role::Held || self.earlier.told || loaded.was_given() {
            return Some(loaded);
        }
        self.earlier.own = Some(loaded);
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
        if let Some(loaded) = self.earlier.own.take() {
            self.take_opened(now, *loaded);
        }
    }

    /// The rows to show of a store that holds these: its own, if the server has given any, or those of an earlier one.
    pub(crate) fn rows_to_show(
        &mut self,
        was_given: bool,
        own: Vec<Vec<Row>>,
    ) -> Vec<(TableId, Row)> {
        let tables = match self.earlier.rows.take() {
            Some(earlier) if !was_given => {
                self.stale_rows = true;
                earlier.tables
            }
            _ => own,
        };
        let ids: Vec<TableId> = self.schema.iter().map(|(table, _)| table).collect();
        ids.into_iter()
            .zip(tables)
            .flat_map(|(table, rows)| rows.into_iter().map(move |row| (table, row)))
            .collect()
    }

    /// This store holds what the server has given.
    pub(crate) fn tell_unneeded(&mut self) {
        if !self.stale_rows && std::mem::take(&mut self.earlier.needed) {
            self.effects.push(Effect::EarlierUnneeded);
        }
    }
}
