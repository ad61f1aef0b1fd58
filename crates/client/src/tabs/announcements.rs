//! What tabs of a group tell each other on their channel.
//!
//! Everything is announced after its storage transaction committed, so no tab shows what only a dead tab's memory held.

use crate::client::Client;
use crate::effect::{Effect, LogLevel};
use crate::mutations::{Mutation, MutationKey, Stored, read_arguments};
use landfall_protocol::CrudOp;
use landfall_zql::json::{self, FromJson, JsonError, JsonReader, to_text};
use landfall_zql::json_object;
use serde::Serialize;

/// What tabs tell each other. Tagged from outside, since JSON that passes through unread cannot be buffered.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
enum Announcement {
    /// A tab has started, or has sent something.
    Hello(Hello),
    /// Mutations of a tab are in storage.
    Mutations(StoredMutations),
    /// A poke is in storage.
    Poke(StoredPoke),
}

#[derive(Debug, Default, Serialize)]
struct Hello {
    /// Empty if it could not be read.
    group: String,
    client: String,
    /// The last mutation of its own that it may have sent without storage knowing; 0 if none.
    sent: u64,
}

#[derive(Debug, Default, Serialize)]
struct StoredMutations {
    group: String,
    client: String,
    stored: Vec<StoredMutation>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct StoredMutation {
    id: u64,
    sequence: u64,
    name: String,
    args_json: String,
    created_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ops: Option<Vec<CrudOp>>,
}

#[derive(Debug, Default, Serialize)]
struct StoredPoke {
    group: String,
    cookie: String,
}

json_object!(Hello {
    "group" must group,
    "client" must client,
    "sent" may sent,
});

json_object!(StoredMutations {
    "group" must group,
    "client" must client,
    "stored" must stored,
});

json_object!(StoredMutation {
    "id" must id,
    "sequence" must sequence,
    "name" must name,
    "argsJson" must args_json,
    "createdMs" must created_ms,
    "ops" may ops,
});

json_object!(StoredPoke {
    "group" must group,
    "cookie" must cookie,
});

#[derive(Default)]
struct Announced {
    hello: Option<Hello>,
    mutations: Option<StoredMutations>,
    poke: Option<StoredPoke>,
}

json_object!(Announced {
    "hello" may hello,
    "mutations" may mutations,
    "poke" may poke,
});

impl<'de> FromJson<'de> for Announcement {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        let announced = Announced::from_json(reader)?;
        match (announced.hello, announced.mutations, announced.poke) {
            (Some(hello), None, None) => Ok(Self::Hello(hello)),
            (None, Some(mutations), None) => Ok(Self::Mutations(mutations)),
            (None, None, Some(poke)) => Ok(Self::Poke(poke)),
            _ => Err(JsonError::refused("an announcement of another kind")),
        }
    }
}

impl Client {
    /// Tells the other tabs that this one is there, with the group that storage has, and what they cannot learn there.
    pub(crate) fn say_hello(&mut self) {
        if let Some(group) = self.group_id.clone()
            && !self.persistence.disabled
        {
            let (client, sent) = (self.client_id.clone(), self.sent_untold());
            self.announce(&Announcement::Hello(Hello {
                group,
                client,
                sent,
            }));
        }
    }

    /// Asks the other tabs what they have sent. Which group storage has this one cannot read.
    pub(crate) fn ask_what_was_sent(&mut self) {
        let client = self.client_id.clone();
        self.announce(&Announcement::Hello(Hello {
            client,
            ..Hello::default()
        }));
    }

    /// The last mutation of this tab that it may have sent without storage knowing; 0 if none.
    pub(crate) fn sent_untold(&self) -> u64 {
        let persistence = &self.persistence;
        if !persistence.cannot_tell && !persistence.unmarked.contains_key(&self.client_id) {
            return 0;
        }
        let sent = self.sent_through();
        sent.get(&self.client_id).copied().unwrap_or(0)
    }

    /// Mutations of this tab are in storage under these sequences: the others may show them.
    pub(crate) fn announce_mutations(&mut self, stored: &[(MutationKey, u64)]) {
        let Some(group) = self.group_id.clone() else {
            return;
        };
        let known = stored
            .iter()
            .filter_map(|(key, sequence)| Some((self.mutations.get(key)?, *sequence)));
        let stored: Vec<StoredMutation> = known
            .map(|(mutation, sequence)| StoredMutation {
                id: mutation.id,
                sequence,
                name: mutation.name.clone(),
                args_json: mutation.args_json.clone(),
                created_ms: mutation.created_ms,
                ops: mutation.known_ops().map(<[_]>::to_vec),
            })
            .collect();
        if !stored.is_empty() {
            let client = self.client_id.clone();
            self.announce(&Announcement::Mutations(StoredMutations {
                group,
                client,
                stored,
            }));
        }
    }

    /// A poke is in storage: who has no connection can follow it there.
    pub(crate) fn announce_poke(&mut self, cookie: String) {
        if let Some(group) = self.group_id.clone() {
            self.announce(&Announcement::Poke(StoredPoke { group, cookie }));
        }
    }

    fn announce(&mut self, announcement: &Announcement) {
        let text = to_text(announcement);
        self.effects.push(Effect::Announce { text });
    }

    /// A message of another tab.
    pub(crate) fn on_announced(&mut self, text: &str) {
        let announcement = match json::read(text) {
            Ok(announcement) => announcement,
            // A tab with newer code may say more.
            Err(error) => {
                self.log(
                    LogLevel::Debug,
                    &format!("an announcement was not understood: {error}"),
                );
                return;
            }
        };
        let (Announcement::Hello(Hello { group, .. })
        | Announcement::Poke(StoredPoke { group, .. })
        | Announcement::Mutations(StoredMutations { group, .. })) = &announcement;
        if self.group_id.as_ref().is_some_and(|own| own != group) {
            self.persistence.doubt_group();
        }
        match announcement {
            Announcement::Hello(Hello {
                group,
                client,
                sent,
            }) => {
                let is_own = self.group_id.as_deref() == Some(&group);
                if is_own {
                    self.watch(&client);
                }
                if sent > 0 {
                    if is_own {
                        self.tell_for(&client, sent);
                    }
                    // Also before it is read which group storage has: perhaps it cannot be.
                    self.tabs.sent.insert(client, sent);
                } else if (is_own || group.is_empty()) && self.sent_untold() > 0 {
                    self.say_hello();
                }
            }
            Announcement::Poke(StoredPoke { group, cookie }) => {
                if self.group_id.as_deref() == Some(&group) {
                    self.follow_log(Some(&cookie));
                }
            }
            Announcement::Mutations(announced) => self.on_stored_elsewhere(announced),
        }
    }

    fn on_stored_elsewhere(&mut self, announced: StoredMutations) {
        let StoredMutations {
            group,
            client,
            stored,
        } = announced;
        if self.group_id.as_deref() != Some(&group) || client == self.client_id {
            return;
        }
        self.watch(&client);
        for mutation in stored {
            let (args_json, unusable) = read_arguments(mutation.args_json);
            let new = self.mutations.insert(Mutation {
                client_id: client.clone(),
                id: mutation.id,
                name: mutation.name,
                args_json,
                created_ms: mutation.created_ms,
                call: None,
                unwritten: mutation.ops.is_none(),
                ops: mutation.ops.unwrap_or_default(),
                attempted: false,
                pushed: false,
                sent_by_other: false,
                unmarked: false,
                stored: Stored::At(mutation.sequence),
                replay_error: unusable.clone(),
                unusable,
                unreadable: false,
                sent_outcome: None,
            });
            if new {
                self.mutations_changed = true;
                self.rebase.request_round_soon();
            }
        }
    }
}
