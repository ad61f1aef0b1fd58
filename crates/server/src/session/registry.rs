//! Finds the task of a client group, or starts it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};

use super::actor;
use super::contract::{GroupEvent, Rules};
use crate::cvr::CvrStore;
use crate::inspect::Inspector;
use crate::push::Pusher;
use crate::push::endpoint::AppEndpoints;
use crate::queries::PoolHandle;

/// Messages that may wait for a group before its connections are read no further.
const INBOX: usize = 256;

/// What every group works with.
pub struct SessionContext {
    /// The server's rules.
    pub rules: Arc<dyn Rules>,
    /// The records.
    pub cvr: Arc<dyn CvrStore>,
    /// Turns at them.
    pub storage: Semaphore,
    /// The query pool.
    pub pool: PoolHandle,
    /// The app's endpoints.
    pub endpoints: Arc<AppEndpoints>,
    /// Carries out mutations.
    pub pusher: Arc<Pusher>,
    /// Answers inspectors.
    pub inspector: Arc<Inspector>,
}

/// A way to a running group.
#[derive(Clone)]
pub struct GroupHandle {
    pub(super) inbox: mpsc::Sender<GroupEvent>,
}

impl GroupHandle {
    /// Hands an event over, waiting while the group is busy. False when the group has ended.
    pub async fn send(&self, event: GroupEvent) -> bool {
        self.inbox.send(event).await.is_ok()
    }
}

/// All running groups.
pub struct Registry {
    context: Arc<SessionContext>,
    /// `None` once the server stops: a group that began then would be taken from the node that serves it by now.
    groups: Mutex<Option<HashMap<String, GroupHandle>>>,
}

impl Registry {
    /// An empty registry.
    pub fn new(context: Arc<SessionContext>) -> Arc<Self> {
        Arc::new(Registry {
            context,
            groups: Mutex::new(Some(HashMap::new())),
        })
    }

    /// The group with this name, started if need be.
    fn group(self: &Arc<Self>, id: &str) -> Option<GroupHandle> {
        let mut groups = self.groups.lock();
        let groups = groups.as_mut()?;
        if let Some(handle) = groups.get(id).filter(|h| !h.inbox.is_closed()) {
            return Some(handle.clone());
        }
        let (inbox, events) = mpsc::channel(INBOX);
        let handle = GroupHandle { inbox };
        groups.insert(id.to_owned(), handle.clone());
        tokio::spawn(actor::run(
            Arc::from(id),
            self.clone(),
            self.context.clone(),
            events,
        ));
        Some(handle)
    }

    /// Hands the first event of a connection to its group, and gives the way for the next ones; `None` if the server
    /// stops.
    pub async fn join(self: &Arc<Self>, id: &str, mut event: GroupEvent) -> Option<GroupHandle> {
        loop {
            let handle = self.group(id)?;
            match handle.inbox.send(event).await {
                Ok(()) => return Some(handle),
                // The group ended between finding and telling it; a new one takes its place.
                Err(mpsc::error::SendError(back)) => event = back,
            }
        }
    }

    /// Ends all groups, and begins no more; returns when what they know is stored.
    pub async fn shutdown(&self) {
        let groups = self.groups.lock().take().unwrap_or_default();
        let groups: Vec<GroupHandle> = groups.into_values().collect();
        for group in &groups {
            // A group that has ended needs no telling.
            let _ = group.inbox.send(GroupEvent::Stop).await;
        }
        for group in groups {
            group.inbox.closed().await;
        }
    }

    /// Number of running groups.
    pub fn len(&self) -> usize {
        self.groups.lock().as_ref().map_or(0, HashMap::len)
    }

    /// Whether no group runs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a group out if nothing waits for it. Afterwards nobody can find it any more.
    pub(super) fn retire(&self, id: &str, events: &mut mpsc::Receiver<GroupEvent>) -> bool {
        let mut groups = self.groups.lock();
        if !events.is_empty() {
            return false;
        }
        events.close();
        groups.as_mut().and_then(|groups| groups.remove(id));
        true
    }
}
