//! The start: what storage holds, as far as it is small in one piece, the rows in slices.

use crate::client::Client;
use crate::mutations::Mutations;
use crate::options::Role;
use crate::persistence::LOAD_STEPS;
use crate::persistence::stored_forms::{server_mode, take_ends};
use landfall_store::{StateReader, StoreFailure, Unread};
use landfall_zql::sorted_map::SortedSet;

impl Client {
    /// Takes what is not rows; the rows are read in slices.
    pub(crate) fn begin_loading(&mut self, now: f64, mut unread: Unread) {
        // Of what was read before in vain, answers may have come.
        self.mutations = Mutations::new();
        self.look_at_earlier(&unread);
        let rows = match self.role {
            Role::Draining => None,
            Role::Usual | Role::Held => Some(StateReader::new(&mut unread)),
        };
        let head = unread.head;
        self.group_id = Some(head.group_id);
        self.persistence.log_next = head.log_next;
        self.cookie = head.cookie;
        self.link.mode = head.server_mode.map(server_mode);
        let mut queue = self.take_stored(unread.queue);
        let ended = take_ends(unread.outcomes, &mut queue);
        let mut others = SortedSet::new();
        for client in unread.clients {
            others.insert(client.client_id);
        }
        for mutation in &queue {
            others.insert(mutation.client_id.clone());
        }
        self.mutations.load(head.last_mutation_ids, queue, ended);
        if !self.mutations.is_empty() {
            self.rebase.request_round();
        }
        for client in &others {
            self.watch(client);
        }
        match rows {
            None => self.begin(now),
            Some(Ok(reader)) => self.begin_reading(reader),
            Some(Err(failure)) => self.give_up_loading(now, &failure),
        }
    }

    /// Rows are read by [`Client::read_on`].
    pub(crate) fn begin_reading(&mut self, reader: StateReader) {
        self.persistence.loading = Some(Box::new(reader));
    }

    /// Reads rows of storage as long as there are steps: first this client's own.
    pub(crate) fn read_on(&mut self, now: f64) {
        while !self.slices.steps.are_spent()
            && let Some(reader) = &mut self.persistence.loading
        {
            let visible = &mut self.visible;
            match reader.step(&mut |table, rows| visible.load(table, rows)) {
                Ok(Some(rows)) => self.slices.steps.spend_many(rows * LOAD_STEPS),
                Ok(None) => {
                    let reader = self.persistence.loading.take();
                    if self.stale_rows {
                        return self.show_earlier(now);
                    }
                    let queries = reader.map(|reader| reader.into_queries());
                    self.queries.load(queries.unwrap_or_default().got);
                    self.read_earlier(now);
                }
                Err(failure) => {
                    self.persistence.loading = None;
                    match self.stale_rows {
                        true => self.give_up_earlier(now, &failure),
                        false => self.give_up_loading(now, &failure),
                    }
                }
            }
        }
    }

    pub(crate) fn is_reading_on(&self) -> bool {
        self.persistence.loading.is_some()
    }

    /// What is stored cannot be read.
    fn give_up_loading(&mut self, now: f64, failure: &StoreFailure) {
        self.visible.unload();
        self.mutations = Mutations::new();
        self.cookie = None;
        self.tell_store_failure(failure);
        // What is under way for a repair belongs to the group.
        let opens_again = self.open_again(now, failure);
        // It may be another one that is found then: what is said of this one meanwhile is nothing to that.
        self.group_id = None;
        if !opens_again {
            self.begin_without_storage(now);
        }
    }
}
