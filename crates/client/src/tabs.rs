//! Several tabs of one group: showing each other's writes, noticing dead ones, and sending what those left behind.
//!
//! A mutation is announced after its storage transaction committed, so no tab shows a write that only a dead tab's
//! memory held. A tab is alive as long as it holds the lock named after its client id.

use crate::client::Client;
use crate::effect::{Effect, LogLevel};
use crate::mutations::{Mutation, Stored};
use landfall_protocol::{CrudOp, DeleteClients, Upstream};
use landfall_zql::json;
use landfall_zql::sorted_map::SortedSet;
use serde::{Deserialize, Serialize};

const RECOVERY_LOCK: &str = "recovery";

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
    /// Dead clients whose mutations are all confirmed: the server may forget them.
    drained: SortedSet<String>,
    /// Dead clients that the server was asked to forget on this connection.
    asked: SortedSet<String>,
    recovery: Recovery,
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

    /// Dead clients whose mutations this tab sends.
    pub(crate) fn recovering(&self) -> Vec<String> {
        match self.recovery {
            Recovery::Held => self.dead.iter().cloned().collect(),
            Recovery::No | Recovery::Waiting => Vec::new(),
        }
    }

    pub(crate) fn dead(&self) -> &SortedSet<String> {
        &self.dead
    }

    pub(crate) fn dying(&self) -> &SortedSet<String> {
        &self.dying
    }

    /// A new group begins: the dead of the old one are nobody's business any more.
    pub(crate) fn forget_dead(&mut self) {
        self.dying.clear();
        self.dead.clear();
        self.drained.clear();
        self.asked.clear();
    }
}

/// What tabs tell each other. Tagged from outside, since JSON that passes through unread cannot be buffered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "Announced")]
enum Announcement {
    /// A tab has started.
    Hello(Hello),
    /// A mutation is in storage.
    Mutation(StoredMutation),
}

#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    group: String,
    client: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredMutation {
    group: String,
    client: String,
    id: u64,
    sequence: u64,
    name: String,
    args_json: String,
    created_ms: f64,
    ops: Vec<CrudOp>,
}

#[derive(Deserialize)]
struct Announced {
    hello: Option<Hello>,
    mutation: Option<StoredMutation>,
}

impl TryFrom<Announced> for Announcement {
    type Error = &'static str;

    fn try_from(announced: Announced) -> Result<Self, Self::Error> {
        match (announced.hello, announced.mutation) {
            (Some(hello), None) => Ok(Self::Hello(hello)),
            (None, Some(mutation)) => Ok(Self::Mutation(mutation)),
            _ => Err("an announcement of another kind"),
        }
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

    /// Tells the other tabs that this one is there.
    pub(crate) fn say_hello(&mut self) {
        if let Some(group) = self.group_id.clone() {
            let client = self.client_id.clone();
            self.announce(&Announcement::Hello(Hello { group, client }));
        }
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

    /// A mutation of this tab is in storage under this sequence: the others may show it.
    pub(crate) fn announce_mutation(&mut self, mutation: &Mutation, sequence: u64) {
        let Some(group) = self.group_id.clone() else {
            return;
        };
        self.announce(&Announcement::Mutation(StoredMutation {
            group,
            client: mutation.client_id.clone(),
            id: mutation.id,
            sequence,
            name: mutation.name.clone(),
            args_json: mutation.args_json.clone(),
            created_ms: mutation.created_ms,
            ops: mutation.ops.clone(),
        }));
    }

    fn announce(&mut self, announcement: &Announcement) {
        match serde_json::to_string(announcement) {
            Ok(text) => self.effects.push(Effect::Announce { text }),
            Err(error) => self.log(
                LogLevel::Error,
                &format!("an announcement could not be written: {error}"),
            ),
        }
    }

    /// A message of another tab.
    pub(crate) fn on_announced(&mut self, text: &str) {
        let announcement = match json::from_str(text) {
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
        match announcement {
            Announcement::Hello(Hello { group, client }) => {
                if self.group_id.as_deref() == Some(&group) {
                    self.watch(&client);
                }
            }
            Announcement::Mutation(StoredMutation {
                group,
                client,
                id,
                sequence,
                name,
                args_json,
                created_ms,
                ops,
            }) => {
                if self.group_id.as_deref() != Some(&group) || client == self.client_id {
                    return;
                }
                self.watch(&client);
                let new = self.mutations.insert(Mutation {
                    client_id: client,
                    id,
                    name,
                    args_json,
                    created_ms,
                    call: None,
                    ops,
                    attempted: false,
                    stored: Stored::At(sequence),
                    replay_error: None,
                    sent_error: None,
                });
                if new {
                    self.mutations_changed = true;
                    self.rebase.request_round();
                }
            }
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
    pub(crate) fn begin_recovery(&mut self) {
        self.tabs.asked.clear();
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
        if self.tabs.recovery != Recovery::No {
            self.tabs.recovery = Recovery::No;
            self.effects.push(Effect::ReleaseLock {
                name: RECOVERY_LOCK.to_owned(),
            });
        }
    }

    /// Dead clients with nothing left to send are named to the server, which may then forget their queries.
    pub(crate) fn let_the_dead_go(&mut self) {
        if self.tabs.recovery != Recovery::Held || !self.link.connection.is_connected() {
            return;
        }
        let left: SortedSet<&str> = self
            .mutations
            .pending()
            .iter()
            .map(|m| m.client_id.as_str())
            .collect();
        let new: Vec<String> = self
            .tabs
            .dead
            .iter()
            .filter(|client| !left.contains(client.as_str()) && !self.tabs.asked.contains(*client))
            .cloned()
            .collect();
        if new.is_empty() || self.poke_store_in_flight() {
            return;
        }
        self.tabs.drained.extend(new.iter().cloned());
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
        if !known.is_empty() {
            self.store_removal(known);
        }
    }
}
