//! After a deploy with another schema: a client of the old store that does nothing but send what was left there.
//!
//! A store belongs to one schema, and so does its group at the server. The writes that are left in it go out under their
//! old ids, in their old group, so that pages with the old code, which may still be open, can do the same meanwhile.
//! The client of the new schema is held back until then, so that what it is first given contains their effects.

use crate::client::Client;
use crate::connection::Phase;
use crate::effect::Effect;
use crate::options::Role;
use crate::persistence::Purpose;
use landfall_store::{Confirm, StoreOp, StoredOutcome};
use landfall_zql::sorted_map::SortedMap;

impl Client {
    /// A held client may connect.
    pub fn release(&mut self, now_ms: f64) {
        if self.role != Role::Held {
            return;
        }
        self.go_on_with_own(now_ms);
        self.role = Role::Usual;
        // If rows are still being read, it starts when they are.
        if self.is_loaded() {
            self.start_connection(now_ms);
        }
        self.settle_down(now_ms);
    }

    /// Connects, unless it is not time or of no use.
    pub(crate) fn start_connection(&mut self, now: f64) {
        let useless = self.role == Role::Draining && self.mutations.is_empty();
        if self.role != Role::Held && !useless {
            let actions = self.link.connection.start(now, &mut self.random);
            self.act(now, actions);
        }
    }

    /// Tells when nothing is left. What a page with the earlier code stores after that is sent as well.
    pub(crate) fn go_on_draining(&mut self, now: f64) {
        if self.role != Role::Draining {
            return;
        }
        if !self.mutations.is_empty() {
            let has_server = self.link.cache_url.is_some();
            if has_server && self.link.connection.phase() == Phase::Idle {
                self.start_connection(now);
            }
            return;
        }
        let restarting = self.persistence.restart.is_some();
        if !restarting && !self.drained && !self.poke_store_in_flight() {
            self.drained = true;
            self.effects.push(Effect::Drained);
        }
    }

    /// What a poke says of the mutations that were left.
    pub(crate) fn store_confirmation(
        &mut self,
        last_mutation_ids: SortedMap<String, u64>,
        acks: SortedMap<String, u64>,
        outcomes: Vec<StoredOutcome>,
    ) {
        let op = StoreOp::Confirm(Confirm {
            last_mutation_ids,
            outcomes: outcomes.clone(),
        });
        self.ask_store(Purpose::Poke { acks, outcomes }, op);
    }
}
