//! Pushes: the pending mutations in the form and in the portions in which they are sent.
//!
//! When they may go is decided by `server_link`.

use crate::client::Client;
use crate::connection::server_link::number;
use crate::mutations::MutationKey;
use landfall_protocol::{
    CrudMutation, CustomMutation, JsNumber, Mutation as WireMutation, PUSH_VERSION, Push, Upstream,
};
use landfall_zql::json;

/// Most bytes of arguments in one message, unless a single mutation has more.
const PUSH_BYTES: usize = 1 << 20;
/// What a mutation calls whose arguments cannot be read. No server has it, so that each refuses it and nothing else is
/// carried out in its place.
const UNUSABLE_NAME: &str = "_landfall_unreadable";

impl Client {
    /// Sends what may go now, as much as a turn has time for, in as few messages as may be.
    pub(super) fn push(&mut self, now: f64) {
        let mut clients = self.recovering();
        clients.insert(0, self.client_id.clone());
        let names: Vec<&str> = clients.iter().map(String::as_str).collect();
        let most = self.limits.push_batch.max(1);
        let keys = self.mutations.take_unsent(&names, most);
        self.link.push_on = keys.len() == most;
        let mut batch: Vec<WireMutation> = Vec::new();
        let mut bytes = 0;
        for key in keys {
            let Some((mutation, size)) = self.wire_mutation(&key) else {
                continue;
            };
            let full = bytes + size > PUSH_BYTES && !batch.is_empty();
            let other_kind = batch.last().is_some_and(|last| {
                std::mem::discriminant(last) != std::mem::discriminant(&mutation)
            });
            if full || other_kind {
                self.send_push(now, std::mem::take(&mut batch));
                bytes = 0;
            }
            bytes += size;
            batch.push(mutation);
        }
        if !batch.is_empty() {
            self.send_push(now, batch);
        }
    }

    fn send_push(&mut self, now: f64, mutations: Vec<WireMutation>) {
        let Some(group) = self.group_id.clone() else {
            return;
        };
        let request_id = format!(
            "{}-{}-{}",
            self.client_id, self.link.request_part, self.link.requests
        );
        self.link.requests += 1;
        self.send(&Upstream::Push(Push {
            client_group_id: group,
            mutations,
            push_version: JsNumber::from(PUSH_VERSION),
            schema_version: None,
            timestamp: number(now.floor()),
            request_id,
            auth: None,
            traceparent: self.link.traceparent.clone(),
        }));
        // Whoever begins the next group must not issue it again.
        if self.sent_untold() > 0 {
            self.say_hello();
        }
    }

    /// The mutation as it is sent. From here on it never changes.
    fn wire_mutation(&mut self, key: &MutationKey) -> Option<(WireMutation, usize)> {
        let mutation = self.mutations.get_mut(key)?;
        mutation.pushed = true;
        let crud = self.link.sends_writes_of(mutation);
        mutation.freeze(crud);
        let timestamp = number(mutation.created_ms.floor());
        let (id, client_id) = (mutation.id, mutation.client_id.clone());
        if crud {
            let ops = mutation.ops.clone();
            let size = ops.iter().map(|op| op.value.as_str().len() + 64).sum();
            return Some((
                WireMutation::Crud(CrudMutation {
                    id,
                    client_id,
                    ops,
                    timestamp,
                }),
                size,
            ));
        }
        let size = mutation.args_json.len();
        let args = json::read(&mutation.args_json).ok();
        let (name, args) = match args.filter(|_| mutation.unusable.is_none()) {
            Some(args) => (mutation.name.clone(), args),
            // Its id must be used up, or nothing after it would be taken.
            None => (UNUSABLE_NAME.to_owned(), Vec::new()),
        };
        Some((
            WireMutation::Custom(CustomMutation {
                id,
                client_id,
                name,
                args,
                timestamp,
            }),
            size,
        ))
    }
}
