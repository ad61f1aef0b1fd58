//! The worker: follows the replica from point to point, hydrates, joins groups.
//!
//! Invariants: every group hears points and answers in one order; a poke leaves after its point is durable; a query
//! that fails fails alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use landfall_ivm::{Choice, Pipeline};
use landfall_zql::TableId;

use super::accounting::{Deltas, RowKey};
use super::classes::Groups;
use super::instance::{Instance, InstanceError, Slice, tables_of, without};
use super::members::Step;
use super::pool::{Gauges, OnPermissions};
use super::request::{PoolEvent, SyncRequest};
use super::rewound::Rewound;
use crate::cvr::{CvrError, CvrStore, InstanceId, PointWrite, StateVersion};
use crate::replica::{
    Advance, Lagged, Reader, Replica, ReplicaError, ReplicaSchema, Reset, Subscription,
};

/// How long a pipeline without users is kept current.
const LINGER: Duration = Duration::from_secs(60);
/// Changes that are pushed one by one; beyond, pipelines are read anew.
const MAX_PUSHED: usize = 20_000;
/// How long the reader tries to stand at the end of a step.
const ALIGN: Duration = Duration::from_secs(1);
/// How often records that nobody refers to are removed.
const SWEEP: Duration = Duration::from_secs(600);

/// Why the pool cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// The replica cannot be read.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// The records cannot be read.
    #[error(transparent)]
    Cvr(#[from] CvrError),
    /// The thread cannot be started.
    #[error("the query pool's thread cannot be started: {0}")]
    Thread(std::io::Error),
}

pub(super) struct Worker {
    pub(super) replica: Replica,
    pub(super) reader: Reader,
    moves: Subscription,
    /// Where the last step that was taken from `moves` ends.
    position: StateVersion,
    /// Steps that were taken and not applied yet, since the reader stood between two.
    taken: Vec<Arc<Advance>>,
    requests: VecDeque<SyncRequest>,
    pub(super) cvr: Arc<dyn CvrStore>,
    on_permissions: OnPermissions,
    gauges: Arc<Gauges>,
    /// The schema that pipelines are built for.
    schema: Arc<ReplicaSchema>,
    pub(super) instances: BTreeMap<InstanceId, Instance>,
    by_key: BTreeMap<Arc<[u8]>, InstanceId>,
    by_table: BTreeMap<TableId, BTreeSet<InstanceId>>,
    hydrating: VecDeque<InstanceId>,
    pub(super) groups: Groups,
    waiting: Vec<Waiting>,
    swept: Instant,
    /// The newest point that is stored.
    durable: StateVersion,
}

/// A sync whose queries are not all read yet.
struct Waiting {
    request: SyncRequest,
    queries: Vec<(String, Result<InstanceId, String>)>,
}

impl Worker {
    pub(super) fn new(
        replica: &Replica,
        cvr: Arc<dyn CvrStore>,
        on_permissions: OnPermissions,
        gauges: Arc<Gauges>,
    ) -> Result<Self, WorkerError> {
        let (position, moves) = replica.subscribe_at();
        let reader = replica.reader()?;
        let schema = reader.schema().clone();
        let mut worker = Worker {
            schema,
            replica: replica.clone(),
            reader,
            moves,
            position,
            taken: Vec::new(),
            requests: VecDeque::new(),
            cvr,
            on_permissions,
            gauges,
            instances: BTreeMap::new(),
            by_key: BTreeMap::new(),
            by_table: BTreeMap::new(),
            hydrating: VecDeque::new(),
            groups: Groups::default(),
            waiting: Vec::new(),
            swept: Instant::now(),
            durable: 0,
        };
        worker.begin_records()?;
        // What the reader already sees is no news to anyone.
        worker.start_at_newest()?;
        worker.read_permissions();
        worker.publish_gauges();
        Ok(worker)
    }

    fn begin_records(&self) -> Result<(), CvrError> {
        let generation = self.replica.generation();
        self.cvr.begin(&generation, self.reader.version())
    }

    fn read_permissions(&self) {
        match self.reader.permissions() {
            Ok(text) => (self.on_permissions)(text.as_deref()),
            Err(error) => tracing::error!(%error, "the upstream's permissions cannot be read"),
        }
    }

    fn publish_gauges(&self) {
        self.gauges
            .version
            .store(self.reader.version(), Ordering::Release);
        self.gauges
            .instances
            .store(self.instances.len() as u64, Ordering::Relaxed);
        let members = self
            .instances
            .values()
            .map(|i| i.members.len() as u64)
            .sum();
        self.gauges.members.store(members, Ordering::Relaxed);
    }

    /// Whether there is something to do without being asked.
    pub(super) fn is_busy(&self) -> bool {
        !self.hydrating.is_empty() || !self.requests.is_empty()
    }

    /// Nothing to do: the replica's log may be reset meanwhile.
    pub(super) fn rest(&mut self) {
        if let Err(error) = self.reader.release() {
            tracing::warn!(%error, "the reader's snapshot cannot be released");
        }
    }

    /// Moves the reader to the end of a step. False if it cannot be read now.
    ///
    /// In an embedded file another process may commit at any time, so the reader can see into the middle of a step.
    /// What is read there would be counted twice; right after a step is known, the next try sees its end.
    fn move_reader(&mut self) -> Result<bool, Lagged> {
        let begun = Instant::now();
        loop {
            let newest = match self.reader.advance() {
                Ok(newest) => newest,
                Err(error) => {
                    tracing::warn!(%error, "the replica cannot be read now");
                    return Ok(false);
                }
            };
            self.taken.extend(self.moves.take_until(newest)?);
            self.position = self
                .taken
                .last()
                .map_or(self.position, |advance| advance.to);
            if self.position == newest {
                return Ok(true);
            }
            if begun.elapsed() > ALIGN {
                tracing::warn!("other processes write faster than the replica can be followed");
                return Ok(false);
            }
        }
    }

    /// Forgets where it was, and stands at the newest version.
    fn start_at_newest(&mut self) -> Result<(), ReplicaError> {
        (self.position, self.moves) = self.replica.subscribe_at();
        self.taken.clear();
        loop {
            match self.move_reader() {
                Ok(true) => break,
                // A reader that fails says so itself; one that is only unlucky tries again.
                Ok(false) => {
                    self.reader.advance()?;
                }
                Err(Lagged) => (self.position, self.moves) = self.replica.subscribe_at(),
            }
        }
        // Their effects are in every hydration from here on.
        self.taken.clear();
        self.schema = self.reader.schema().clone();
        Ok(())
    }

    /// Moves to the newest version of the replica, point by point. False if it cannot be read now.
    pub(super) fn follow(&mut self) -> bool {
        match self.move_reader() {
            Ok(true) => {
                let advances = std::mem::take(&mut self.taken);
                self.steps(advances);
            }
            Ok(false) => return false,
            Err(Lagged) => {
                tracing::warn!("the query pool fell behind; every query is read anew");
                metrics::counter!("landfall_pool_lagged_total").increment(1);
                self.restart();
            }
        }
        self.publish_gauges();
        true
    }

    fn steps(&mut self, mut advances: Vec<Arc<Advance>>) {
        let reset = reset_tables(&advances);
        if !reset.is_empty() {
            // Whoever reads these tables reads them anew; their rows may have had another shape.
            advances.iter_mut().for_each(|a| *a = without(a, &reset));
            self.instances
                .values_mut()
                .for_each(|i| i.forget_tables(&reset));
        }
        let mut failures = self.note(&advances);
        failures.extend(self.take_schema());
        let Some(last) = advances.last().cloned() else {
            return;
        };
        let advances = advances.as_slice();
        let large = advances.iter().map(|a| a.changes.len()).sum::<usize>() > MAX_PUSHED;
        let Worker {
            reader,
            instances,
            by_table,
            ..
        } = self;
        let mut points = Vec::new();
        let mut source = Rewound::new(reader, advances);
        for advance in advances {
            let mut deltas: BTreeMap<InstanceId, Deltas> = BTreeMap::new();
            for change in &advance.changes {
                for id in by_table.get(&change.table).into_iter().flatten() {
                    let Some(instance) = instances.get_mut(id).filter(|i| i.is_alive()) else {
                        continue;
                    };
                    instance.broken |= large;
                    if instance.broken {
                        continue;
                    }
                    if let Err(error) =
                        instance.push(&source, change, deltas.entry(*id).or_default())
                    {
                        tracing::warn!(instance = %id, %error, "a query is read anew");
                        instance.broken = true;
                    }
                }
                source.reveal(change);
            }
            points.push(deltas);
        }
        for (advance, deltas) in advances.iter().zip(points) {
            let mut steps = self.apply(advance.to, deltas);
            if advance.to == last.to {
                steps.extend(self.rebuild_broken(advance.to, &mut failures));
            }
            if advance.permissions_changed {
                self.read_permissions();
            }
            self.publish(advance, steps);
        }
        for (id, error) in failures {
            self.fail(id, &error);
        }
    }

    /// Tells instances what is coming, in order and before anything is pushed: where a table's changes are not known
    /// one by one, what came before them cannot be taken back either.
    fn note(&mut self, advances: &[Arc<Advance>]) -> Vec<(InstanceId, InstanceError)> {
        let mut failures = Vec::new();
        for advance in advances {
            mark_reset(advance, &mut self.instances, &self.by_table);
            for instance in self.instances.values_mut() {
                if let Err(error) = instance.note(advance) {
                    failures.push((instance.id, error));
                }
            }
        }
        failures
    }

    /// Adapts to a schema that is new at the reader's version: the pipelines that it concerns were marked before.
    fn take_schema(&mut self) -> Vec<(InstanceId, InstanceError)> {
        let mut failures = Vec::new();
        let schema = self.reader.schema().clone();
        if Arc::ptr_eq(&schema, &self.schema) {
            return failures;
        }
        self.schema = schema.clone();
        for instance in self.instances.values_mut() {
            if !instance.broken && instance.is_alive() {
                continue;
            }
            if let Err(error) = instance.adapt(&self.reader) {
                failures.push((instance.id, error));
            }
        }
        self.by_table.clear();
        for instance in self.instances.values() {
            for table in tables_of(&instance.pipeline, &schema.zql) {
                self.by_table.entry(table).or_default().insert(instance.id);
            }
        }
        self.groups.tell_all(|| PoolEvent::SchemaChanged);
        failures
    }

    fn apply(
        &mut self,
        point: StateVersion,
        deltas: BTreeMap<InstanceId, Deltas>,
    ) -> BTreeMap<InstanceId, Vec<(RowKey, Step)>> {
        let mut steps = BTreeMap::new();
        for (id, deltas) in deltas {
            let Some(instance) = self.instances.get_mut(&id).filter(|i| !i.broken) else {
                continue;
            };
            match instance.members.step(point, deltas) {
                Ok(done) if done.is_empty() => {}
                Ok(done) => {
                    steps.insert(id, done);
                }
                Err(error) => {
                    tracing::error!(instance = %id, %error, "a query is read anew");
                    instance.broken = true;
                }
            }
        }
        steps
    }

    fn rebuild_broken(
        &mut self,
        point: StateVersion,
        failures: &mut Vec<(InstanceId, InstanceError)>,
    ) -> BTreeMap<InstanceId, Vec<(RowKey, Step)>> {
        let mut steps = BTreeMap::new();
        let given_up: BTreeSet<InstanceId> = failures.iter().map(|(id, _)| *id).collect();
        let broken = |i: &&mut Instance| {
            i.broken && i.is_alive() && i.failed.is_none() && !given_up.contains(&i.id)
        };
        for instance in self.instances.values_mut().filter(broken) {
            match instance.rebuild(&self.reader, point) {
                Ok(done) => {
                    steps.insert(instance.id, done);
                }
                Err(error) => failures.push((instance.id, error)),
            }
        }
        steps
    }

    fn publish(&mut self, advance: &Advance, steps: BTreeMap<InstanceId, Vec<(RowKey, Step)>>) {
        let schema = self.reader.schema().clone();
        let events = self
            .groups
            .point(advance, &steps, &self.instances, &schema.zql);
        let mut write = PointWrite {
            point: advance.to,
            ..PointWrite::default()
        };
        for (id, steps) in &steps {
            let Some(instance) = self.instances.get_mut(id) else {
                continue;
            };
            let stored = steps
                .iter()
                .filter_map(|(key, _)| instance.stored_member(key, &schema.zql))
                .collect();
            write.members.push((*id, stored));
            write
                .pruned
                .extend(instance.members.prune().map(|below| (*id, below)));
        }
        if write.members.is_empty() && events.is_empty() && !advance.permissions_changed {
            return;
        }
        if !self.commit(&write) {
            return;
        }
        metrics::counter!("landfall_points_total").increment(1);
        self.groups.tell(events);
        if advance.permissions_changed {
            self.groups.tell_all(|| PoolEvent::PermissionsChanged);
        }
    }

    /// Makes a point durable. If that fails nothing that depends on it may leave: all groups begin anew.
    pub(super) fn commit(&mut self, write: &PointWrite) -> bool {
        match self.try_commit(write) {
            Ok(_) => true,
            Err(error) => {
                tracing::error!(%error, "a point cannot be stored; all clients reconnect");
                self.restart();
                false
            }
        }
    }

    /// Makes a point durable. Groups that another node has taken over hear nothing of it; they are told, and given back.
    pub(super) fn try_commit(&mut self, write: &PointWrite) -> Result<Vec<String>, CvrError> {
        if write.is_empty() && write.point <= self.durable {
            return Ok(Vec::new());
        }
        let moved = self.cvr.commit_point(write)?;
        self.durable = self.durable.max(write.point);
        for group in &moved {
            self.hand_over(&Arc::from(group.as_str()));
        }
        Ok(moved)
    }

    /// Another node serves a group from now on.
    fn hand_over(&mut self, group: &Arc<str>) {
        let waiting = self.waiting.iter().map(|w| &w.request);
        for request in waiting.chain(&self.requests) {
            if request.group == *group {
                // The group may have ended meanwhile.
                let _ = request.events.send(PoolEvent::Moved);
            }
        }
        self.groups.tell(vec![(group.clone(), PoolEvent::Moved)]);
        self.forget(group);
    }

    /// Ends all groups and pipelines; clients reconnect and catch up from what is stored.
    pub(super) fn restart(&mut self) {
        self.groups.tell_all(|| PoolEvent::Restarted);
        let waiting = self.waiting.drain(..).map(|waiting| waiting.request);
        for request in waiting.chain(self.requests.drain(..)) {
            // The group may have ended meanwhile.
            let _ = request.events.send(PoolEvent::Restarted);
        }
        self.freeze_all();
        self.groups = Groups::default();
        self.durable = 0;
        if let Err(error) = self.begin_records() {
            tracing::error!(%error, "the client view records cannot be checked");
        }
        self.read_permissions();
        if let Err(error) = self.start_at_newest() {
            tracing::warn!(%error, "the replica cannot be read now");
        }
        self.publish_gauges();
    }

    fn freeze_all(&mut self) {
        let alive = self
            .instances
            .values()
            .filter(|i| i.is_alive())
            .map(|i| i.id)
            .collect();
        let point = self.gauges.version.load(Ordering::Acquire);
        let write = PointWrite {
            point,
            frozen: alive,
            ..PointWrite::default()
        };
        if let Err(error) = self.cvr.commit_point(&write) {
            tracing::error!(%error, "the end of the queries cannot be stored");
        }
        self.instances.clear();
        self.by_key.clear();
        self.by_table.clear();
        self.hydrating.clear();
    }

    pub(super) fn stop(&mut self) {
        self.freeze_all();
        if let Err(error) = self.cvr.end() {
            tracing::warn!(%error, "the end of this node cannot be stored");
        }
    }

    /// Takes a group's request in; it is answered when all of its queries are read.
    pub(super) fn sync(&mut self, request: SyncRequest) {
        self.requests.push_back(request);
    }

    fn admit(&mut self, request: SyncRequest) {
        let queries: Vec<_> = request
            .queries
            .iter()
            .map(|(hash, query)| (hash.clone(), self.instance_for(query)))
            .collect();
        self.waiting.push(Waiting { request, queries });
        self.join_ready();
    }

    fn instance_for(&mut self, query: &Arc<super::PreparedQuery>) -> Result<InstanceId, String> {
        if let Some(id) = self.by_key.get(&query.key) {
            let failed = self.instances.get(id).and_then(|i| i.failed.clone());
            return failed.map_or(Ok(*id), Err);
        }
        let schema = self.reader.schema().clone();
        let pipeline = Pipeline::plan(&query.ast, &schema.zql, Choice::Estimated(&self.reader))
            .map_err(|e| e.to_string())?;
        let unreadable = |error: CvrError| {
            tracing::error!(%error, "the client view records cannot be read");
            "the server cannot read its records".to_owned()
        };
        let stored = self.cvr.find_instance(&query.key).map_err(unreadable)?;
        let id = match &stored {
            Some(stored) => stored.id,
            None => self.cvr.next_instance().map_err(unreadable)?,
        };
        for table in tables_of(&pipeline, &schema.zql) {
            self.by_table.entry(table).or_default().insert(id);
        }
        self.by_key.insert(query.key.clone(), id);
        let instance = Instance {
            stored,
            ..Instance::new(id, query.clone(), pipeline)
        };
        self.instances.insert(id, instance);
        self.hydrating.push_back(id);
        Ok(id)
    }

    /// One slice of what is to be read.
    pub(super) fn work(&mut self) {
        while let Some(request) = self.requests.pop_front() {
            self.admit(request);
        }
        if let Some(id) = self.hydrating.pop_front() {
            match self.hydrate(id) {
                Ok(Slice::More) => self.hydrating.push_back(id),
                Ok(Slice::Done) => {}
                Err(error) => self.fail(id, &error),
            }
            self.join_ready();
            self.publish_gauges();
        }
        self.drop_idle();
    }

    fn hydrate(&mut self, id: InstanceId) -> Result<Slice, InstanceError> {
        let Some(instance) = self.instances.get_mut(&id) else {
            return Ok(Slice::Done);
        };
        if instance.hydrate(&self.reader)? == Slice::More {
            return Ok(Slice::More);
        }
        let point = self.reader.version();
        let schema = self.reader.schema().clone();
        let stored = match &instance.stored {
            Some(_) => self.cvr.load_members(id).map_err(stored_error)?,
            None => Vec::new(),
        };
        let changed = instance.settle(point, stored, &schema.zql)?;
        instance.idle_since = Some(Instant::now());
        let members = changed
            .iter()
            .filter_map(|key| instance.stored_member(key, &schema.zql))
            .collect();
        let born = vec![(id, instance.query.key.to_vec())];
        let write = PointWrite {
            point,
            members: vec![(id, members)],
            born,
            ..PointWrite::default()
        };
        self.commit(&write);
        Ok(Slice::Done)
    }

    /// A query cannot be served: only those who asked for it hear of it.
    fn fail(&mut self, id: InstanceId, error: &InstanceError) {
        tracing::warn!(instance = %id, %error, "a query failed");
        metrics::counter!("landfall_queries_failed_total").increment(1);
        let message = error.to_string();
        for waiting in &mut self.waiting {
            for (_, instance) in waiting.queries.iter_mut().filter(|(_, i)| *i == Ok(id)) {
                *instance = Err(message.clone());
            }
        }
        self.groups.tell_failed(id, &message);
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.broken = true;
            instance.failed = Some(message);
            self.hydrating.retain(|other| *other != id);
        }
        if self.instances.get(&id).is_some_and(|i| i.users == 0) {
            self.drop_instance(id);
        }
        self.join_ready();
    }

    fn drop_instance(&mut self, id: InstanceId) {
        if let Some(instance) = self.instances.remove(&id) {
            self.by_key.remove(&instance.query.key);
            self.by_table.values_mut().for_each(|ids| {
                ids.remove(&id);
            });
            self.hydrating.retain(|other| *other != id);
        }
    }

    fn join_ready(&mut self) {
        let alive = |id: &InstanceId| self.instances.get(id).is_none_or(Instance::is_alive);
        let ready = |w: &Waiting| {
            w.queries
                .iter()
                .all(|(_, q)| q.as_ref().is_ok_and(alive) || q.is_err())
        };
        let (ready, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(ready);
        self.waiting = waiting;
        for Waiting { request, queries } in ready {
            self.join(request, queries);
        }
    }

    pub(super) fn forget(&mut self, group: &Arc<str>) {
        self.requests.retain(|request| request.group != *group);
        self.waiting.retain(|w| w.request.group != *group);
        for id in self.groups.remove(group) {
            self.release(id);
        }
    }

    pub(super) fn release(&mut self, id: InstanceId) {
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.users = instance.users.saturating_sub(1);
            if instance.users == 0 {
                instance.idle_since = Some(Instant::now());
            }
        }
    }

    fn drop_idle(&mut self) {
        let wanted: BTreeSet<InstanceId> = self
            .waiting
            .iter()
            .flat_map(|w| &w.queries)
            .filter_map(|(_, q)| q.as_ref().ok().copied())
            .collect();
        let over = |i: &&Instance| {
            i.users == 0
                && i.is_alive()
                && !wanted.contains(&i.id)
                && (i.broken || i.idle_since.is_some_and(|since| since.elapsed() > LINGER))
        };
        let idle: Vec<InstanceId> = self.instances.values().filter(over).map(|i| i.id).collect();
        if !idle.is_empty() {
            idle.iter().for_each(|id| self.drop_instance(*id));
            let write = PointWrite {
                point: self.reader.version(),
                frozen: idle,
                ..PointWrite::default()
            };
            self.commit(&write);
        }
        if self.swept.elapsed() > SWEEP {
            self.swept = Instant::now();
            let alive: Vec<InstanceId> = self.instances.keys().copied().collect();
            if let Err(error) = self.cvr.sweep_instances(&alive) {
                tracing::warn!(%error, "old records cannot be removed");
            }
        }
    }
}

fn stored_error(error: CvrError) -> InstanceError {
    let message = "the server cannot read its records".to_owned();
    InstanceError::Source(landfall_ivm::SourceError {
        message,
        source: Some(Box::new(error)),
    })
}

/// Tables whose changes are not known one by one.
fn reset_tables(advances: &[Arc<Advance>]) -> BTreeSet<TableId> {
    let sets = advances.iter().filter_map(|a| match &a.reset {
        Reset::None => None,
        Reset::Tables(tables) => Some(tables),
    });
    sets.flatten().copied().collect()
}

/// Pipelines over tables whose changes are not known one by one are read anew.
fn mark_reset(
    advance: &Advance,
    instances: &mut BTreeMap<InstanceId, Instance>,
    by_table: &BTreeMap<TableId, BTreeSet<InstanceId>>,
) {
    let Reset::Tables(tables) = &advance.reset else {
        return;
    };
    for id in tables.iter().filter_map(|t| by_table.get(t)).flatten() {
        if let Some(instance) = instances.get_mut(id) {
            instance.restart_hydration();
        }
    }
}
