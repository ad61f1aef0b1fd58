//! Who comes and goes: groups with the queries that they ask for, and instances with those who use them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use super::accounting::cost;
use super::coordinator::Coordinator;
use super::instance::{Instance, State};
use super::messages::Ticket;
use super::prepare::PreparedQuery;
use super::request::{PoolEvent, SyncRequest};
use crate::cvr::{CvrError, InstanceId, PointWrite};

/// How long a pipeline without users is kept current.
const LINGER: Duration = Duration::from_secs(60);
/// How often records that nobody refers to are removed.
const SWEEP: Duration = Duration::from_secs(600);

/// How often the memory of queries is added up.
const WEIGH: Duration = Duration::from_secs(10);

/// A sync whose queries are not all read yet.
pub(super) struct Waiting {
    pub(super) request: SyncRequest,
    pub(super) queries: Vec<(String, Result<InstanceId, String>)>,
}

impl Waiting {
    /// An instance that is waited for will not come.
    pub(super) fn fail(&mut self, id: InstanceId, message: &str) {
        for (_, instance) in self.queries.iter_mut().filter(|(_, i)| *i == Ok(id)) {
            *instance = Err(message.to_owned());
        }
    }
}

impl Coordinator {
    /// Takes a group's request in; it is answered when all of its queries are read.
    pub(super) fn sync(&mut self, request: SyncRequest) {
        // One that has begun in the place of another may ask before it is heard that the other has ended.
        self.forget_where(&request.group, |hearer| {
            !hearer.same_channel(&request.events)
        });
        self.requests.push_back(request);
    }

    pub(super) fn admit_all(&mut self) {
        while let Some(request) = self.requests.pop_front() {
            let queries = request
                .queries
                .iter()
                .map(|(hash, query)| (hash.clone(), self.instance_for(query)))
                .collect();
            self.waiting.push(Waiting { request, queries });
        }
    }

    fn instance_for(&mut self, query: &Arc<PreparedQuery>) -> Result<InstanceId, String> {
        if let Some(id) = self.by_key.get(&query.key) {
            let failed = self.instances.get(id).and_then(|i| i.failed.clone());
            return failed.map_or(Ok(*id), Err);
        }
        let unreadable = |error: CvrError| {
            tracing::error!(%error, "the client view records cannot be read");
            "the server cannot read its records".to_owned()
        };
        let stored = self.cvr.find_instance(&query.key).map_err(unreadable)?;
        let id = match &stored {
            Some(stored) => stored.id,
            None => self.cvr.next_instance().map_err(unreadable)?,
        };
        let ticket = Ticket {
            instance: id,
            life: self.next_life(),
        };
        let mut instance = Instance::new(ticket, query.clone());
        instance.stored = stored;
        self.by_key.insert(query.key.clone(), id);
        self.instances.insert(id, instance);
        self.crew.hydrate(ticket, query.clone());
        Ok(id)
    }

    /// Answers the requests all of whose queries are current or failed.
    pub(super) fn join_ready(&mut self) {
        let alive = |id: &InstanceId| self.instances.get(id).is_none_or(Instance::is_alive);
        let ready = |w: &Waiting| {
            let mut queries = w.queries.iter();
            queries.all(|(_, query)| query.as_ref().map_or(true, alive))
        };
        let (ready, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(ready);
        self.waiting = waiting;
        for Waiting { request, queries } in ready {
            self.join(request, queries);
        }
    }

    /// A group has ended to which answers went this way. One that has begun in its place meanwhile stays.
    pub(super) fn forget_ended(&mut self, group: &Arc<str>, events: &UnboundedSender<PoolEvent>) {
        self.forget_where(group, |hearer| hearer.same_channel(events));
    }

    /// Nothing is told any more where this holds of where the answers to a group go.
    fn forget_where(
        &mut self,
        group: &Arc<str>,
        holds: impl Fn(&UnboundedSender<PoolEvent>) -> bool,
    ) {
        let goes = |request: &SyncRequest| request.group == *group && holds(&request.events);
        self.requests.retain(|request| !goes(request));
        self.waiting.retain(|waiting| !goes(&waiting.request));
        if self.groups.hearer(group).is_some_and(holds) {
            for id in self.groups.remove(group) {
                self.release(id);
            }
        }
    }

    /// Nothing more is told to a group.
    pub(super) fn forget(&mut self, group: &Arc<str>) {
        self.forget_where(group, |_| true);
    }

    pub(super) fn release(&mut self, id: InstanceId) {
        let Some(instance) = self.instances.get_mut(&id) else {
            return;
        };
        instance.users = instance.users.saturating_sub(1);
        if instance.users == 0 {
            instance.idle_since = Some(Instant::now());
            if instance.failed.is_some() {
                self.drop_instance(id);
            }
        }
    }

    pub(super) fn drop_instance(&mut self, id: InstanceId) {
        self.stop_pipeline(id);
        if let Some(instance) = self.instances.remove(&id) {
            self.by_key.remove(&instance.query.key);
        }
    }

    /// Drops what nobody has needed for a while.
    pub(super) fn keep(&mut self) {
        let wanted: BTreeSet<InstanceId> = self
            .waiting
            .iter()
            .flat_map(|w| &w.queries)
            .filter_map(|(_, q)| q.as_ref().ok().copied())
            .collect();
        let is_over = |i: &&Instance| {
            let is_idle = i.idle_since.is_some_and(|since| since.elapsed() > LINGER);
            i.users == 0 && !wanted.contains(&i.id) && (is_idle || !matches!(i.state, State::Alive))
        };
        let idle = self.instances.values().filter(is_over);
        let idle: Vec<(InstanceId, bool)> = idle.map(|i| (i.id, i.is_settled)).collect();
        let frozen: Vec<InstanceId> = idle.iter().filter(|i| i.1).map(|i| i.0).collect();
        for (id, _) in idle {
            self.drop_instance(id);
        }
        if !frozen.is_empty() {
            let write = PointWrite {
                point: self.point(),
                frozen,
                ..PointWrite::default()
            };
            self.commit(&write);
        }
        if self.weighed.elapsed() > WEIGH {
            self.weighed = Instant::now();
            self.weigh();
        }
        if self.swept.elapsed() > SWEEP {
            self.swept = Instant::now();
            let alive: Vec<InstanceId> = self.instances.keys().copied().collect();
            if let Err(error) = self.cvr.sweep_instances(&alive) {
                tracing::warn!(%error, "old records cannot be removed");
            }
        }
    }

    /// Fails the queries whose rows have come to take too much memory.
    fn weigh(&mut self) {
        let limits = self.limits;
        let mut over = Vec::new();
        for instance in self.instances.values_mut().filter(|i| i.is_alive()) {
            let changed = instance.members.changed_at();
            if std::mem::replace(&mut instance.weighed_at, changed) == changed {
                continue;
            }
            let rows = instance.members.live();
            let bytes = rows.map(|(key, live)| cost(key, &live.row)).sum();
            over.extend(limits.exceeded(0, bytes).map(|error| (instance.id, error)));
        }
        for (id, error) in over {
            self.fail(id, &error);
        }
    }

    /// Another node serves a group from now on.
    pub(super) fn hand_over(&mut self, group: &Arc<str>) {
        let waiting = self.waiting.iter().map(|w| &w.request);
        for request in waiting.chain(&self.requests) {
            if request.group == *group {
                // The group may have ended meanwhile.
                let _ = request.events.send(PoolEvent::Moved);
            }
        }
        self.groups.tell_one(group, PoolEvent::Moved);
        self.forget(group);
    }

    /// A group ends because the pool cannot go on with it; its clients reconnect.
    pub(super) fn end_group(&mut self, group: &Arc<str>) {
        self.groups.tell_one(group, PoolEvent::Restarted);
        self.forget(group);
    }
}
