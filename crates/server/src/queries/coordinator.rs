//! The coordinator: publishes the replica's versions as points, one after another, each when every pipeline has
//! reached it; keeps members and groups.
//!
//! Invariants: every group hears points and answers in one order; a poke leaves after its point is durable; a query
//! that fails fails alone; a pipeline that has to be read anew holds up nobody but the groups that have it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::accounting::Deltas;
use super::admission::Waiting;
use super::classes::{Groups, Steps};
use super::crew::Crew;
use super::instance::{Instance, InstanceError, State};
use super::limits::QueryLimits;
use super::messages::{Report, Stepped, Ticket};
use super::pool::{Gauges, OnPermissions};
use super::replies::Replies;
use super::request::{PoolEvent, SyncRequest};
use super::standing::Standing;
use super::telling::Telling;
use crate::cvr::{CvrError, CvrStore, InstanceId, PointWrite, StateVersion};
use crate::replica::{Advance, Replica, ReplicaError, ReplicaSchema};

/// How often a pipeline may be refused in a row before its query fails.
const MAX_REFUSALS: u32 = 5;
/// How often it is looked round for what nobody needs any more.
const KEEP: Duration = Duration::from_secs(1);

/// Why the pool cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The replica cannot be read.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// The records cannot be read.
    #[error(transparent)]
    Cvr(#[from] CvrError),
    /// A thread cannot be started.
    #[error("a thread of the query pool cannot be started: {0}")]
    Thread(std::io::Error),
}

pub(super) struct Coordinator {
    /// Its position is the published point.
    pub(super) standing: Standing,
    pub(super) cvr: Arc<dyn CvrStore>,
    on_permissions: OnPermissions,
    gauges: Arc<Gauges>,
    pub(super) crew: Crew,
    pub(super) limits: QueryLimits,
    /// The schema that groups were last told of.
    schema: Arc<ReplicaSchema>,
    pub(super) instances: BTreeMap<InstanceId, Instance>,
    pub(super) by_key: BTreeMap<Arc<[u8]>, InstanceId>,
    /// Instances whose pipelines are read and not given to a worker yet.
    read: BTreeSet<InstanceId>,
    pub(super) groups: Groups,
    pub(super) requests: VecDeque<SyncRequest>,
    pub(super) waiting: Vec<Waiting>,
    pub(super) replies: RefCell<Replies>,
    round: Option<Round>,
    rounds: u64,
    /// The pace of points, unless each is to follow at once.
    telling: Option<Telling>,
    lives: u64,
    kept: Instant,
    pub(super) swept: Instant,
    pub(super) weighed: Instant,
    /// The newest point that is stored.
    durable: StateVersion,
}

/// Workers are on their way to a version.
struct Round {
    number: u64,
    steps: Vec<Arc<Advance>>,
    /// Workers that have not reported.
    awaited: BTreeSet<usize>,
    deltas: BTreeMap<InstanceId, Deltas>,
    broken: Vec<Ticket>,
}

impl Coordinator {
    pub(super) fn new(
        replica: &Replica,
        cvr: Arc<dyn CvrStore>,
        on_permissions: OnPermissions,
        gauges: Arc<Gauges>,
        crew: Crew,
        limits: QueryLimits,
    ) -> Result<Self, PoolError> {
        let standing = Standing::open(replica)?;
        let coordinator = Coordinator {
            schema: standing.reader.schema().clone(),
            standing,
            cvr,
            on_permissions,
            gauges,
            crew,
            limits,
            instances: BTreeMap::new(),
            by_key: BTreeMap::new(),
            read: BTreeSet::new(),
            groups: Groups::default(),
            requests: VecDeque::new(),
            waiting: Vec::new(),
            replies: RefCell::default(),
            round: None,
            rounds: 0,
            telling: None,
            lives: 0,
            kept: Instant::now(),
            swept: Instant::now(),
            weighed: Instant::now(),
            durable: 0,
        };
        coordinator.begin_records()?;
        coordinator.read_permissions();
        coordinator.publish_gauges();
        Ok(coordinator)
    }

    fn begin_records(&self) -> Result<(), CvrError> {
        let generation = self.standing.replica.generation();
        self.cvr.begin(&generation, self.point())
    }

    fn read_permissions(&self) {
        match self.standing.reader.permissions() {
            Ok(text) => (self.on_permissions)(text.as_deref()),
            Err(error) => tracing::error!(%error, "the upstream's permissions cannot be read"),
        }
    }

    fn publish_gauges(&self) {
        let gauges = &self.gauges;
        gauges.version.store(self.point(), Ordering::Release);
        let instances = self.instances.len() as u64;
        gauges.instances.store(instances, Ordering::Relaxed);
    }

    /// The version that is published.
    pub(super) fn point(&self) -> StateVersion {
        self.standing.position
    }

    pub(super) fn next_life(&mut self) -> u64 {
        self.lives += 1;
        self.lives
    }

    /// Gathers commits while groups have not heard of the last point; `over` is called when they have.
    pub(super) fn gather(&mut self, over: impl Fn() + Send + Sync + 'static) {
        self.telling = Some(Telling::new(over));
    }

    /// How long the next point waits for groups; zero if not at all.
    pub(super) fn pause(&self) -> Duration {
        self.telling.as_ref().map_or(Duration::ZERO, Telling::wait)
    }

    /// Does everything that can be done now. False if the replica cannot be read.
    pub(super) fn go_on(&mut self) -> bool {
        self.admit_all();
        let mut is_readable = true;
        if self.round.is_none() {
            if self.standing.stands() {
                self.serve();
            }
            if self.is_due() {
                is_readable = self.begin_round();
                if self.round.is_none() && is_readable {
                    self.serve();
                }
            }
            if self.round.is_none() {
                self.standing.rest();
            }
        }
        if self.kept.elapsed() > KEEP {
            self.kept = Instant::now();
            self.keep();
            let members = self.instances.values().map(|i| i.members.len() as u64);
            self.gauges.members.store(members.sum(), Ordering::Relaxed);
        }
        self.publish_gauges();
        is_readable
    }

    /// Whether the next point may begin: whoever waits to be served does not wait for others to be told.
    fn is_due(&self) -> bool {
        let someone_waits =
            !self.waiting.is_empty() || !self.read.is_empty() || self.groups.has_held();
        someone_waits || self.pause().is_zero()
    }

    /// What can be done when the reader stands at the published point.
    fn serve(&mut self) {
        self.hand_over_read();
        self.release_held();
        self.join_ready();
    }

    /// Sends the workers to the newest version, if that is new. False if it cannot be read now.
    fn begin_round(&mut self) -> bool {
        let steps = match self.standing.look() {
            Ok(Some(steps)) => steps,
            Ok(None) => return false,
            Err(_) => {
                tracing::warn!("the query pool fell behind; every query is read anew");
                metrics::counter!("landfall_pool_lagged_total").increment(1);
                self.restart();
                return true;
            }
        };
        let Some(last) = steps.last() else {
            return true;
        };
        self.rounds += 1;
        let awaited = self.crew.step(self.rounds, last.to);
        let is_over = awaited.is_empty();
        self.round = Some(Round {
            number: self.rounds,
            steps,
            awaited,
            deltas: BTreeMap::new(),
            broken: Vec::new(),
        });
        if is_over {
            self.end_round();
        }
        true
    }

    /// Takes in what a thread reports.
    pub(super) fn hear(&mut self, report: Report) {
        match report {
            Report::Hydrated(read) => {
                if let Some(instance) = find(&mut self.instances, read.ticket) {
                    self.read.insert(instance.id);
                    instance.state = State::Read(read);
                }
            }
            Report::Failed(ticket, error) => {
                if find(&mut self.instances, ticket).is_some() {
                    self.fail(ticket.instance, &error);
                }
            }
            Report::Adopted(ticket, deltas) => self.adopted(ticket, deltas),
            Report::Refused(ticket) => self.refused(ticket),
            Report::Stepped(stepped) => self.stepped(*stepped),
        }
    }

    fn stepped(&mut self, stepped: Stepped) {
        let Some(round) = self.round.as_mut().filter(|r| r.number == stepped.round) else {
            return;
        };
        for (ticket, deltas) in stepped.deltas {
            if find(&mut self.instances, ticket).is_some_and(|i| i.is_alive()) {
                round.deltas.insert(ticket.instance, deltas);
            }
        }
        round.broken.extend(stepped.broken);
        round.awaited.remove(&stepped.worker);
        if round.awaited.is_empty() {
            self.end_round();
        }
    }

    /// All workers have arrived: what happened on the way is published as one point.
    ///
    /// A label that is later than the truth does no harm, and a row that came and went meanwhile concerns nobody.
    fn end_round(&mut self) {
        let Some(round) = self.round.take() else {
            return;
        };
        let Some(to) = round.steps.last().map(|step| step.to) else {
            return;
        };
        let before = self.point();
        for ticket in round.broken {
            self.crew.lost(ticket);
            if find(&mut self.instances, ticket).is_some_and(|i| i.is_alive()) {
                self.hold_back(ticket.instance, before);
            }
        }
        self.take_schema();
        let steps = self.apply(to, round.deltas, before);
        self.standing.position = to;
        self.publish(&round.steps, &steps);
    }

    fn take_schema(&mut self) {
        let schema = self.standing.reader.schema().clone();
        if !Arc::ptr_eq(&schema, &self.schema) {
            self.schema = schema;
            self.groups.tell_all(|| PoolEvent::SchemaChanged);
        }
    }

    /// Applies a point to the members of each instance. `before` is where groups stand that do not hear of it.
    fn apply(
        &mut self,
        point: StateVersion,
        deltas: BTreeMap<InstanceId, Deltas>,
        before: StateVersion,
    ) -> Steps {
        let mut steps = Steps::new();
        for (id, deltas) in deltas {
            let Some(instance) = self.instances.get_mut(&id).filter(|i| i.is_alive()) else {
                continue;
            };
            match instance.members.step(point, deltas) {
                Ok(done) if done.is_empty() => {}
                Ok(done) => {
                    let rows = instance.members.len();
                    steps.insert(id, done);
                    if let Some(error) = self.limits.exceeded(rows, 0) {
                        self.fail(id, &error);
                    }
                }
                Err(error) => {
                    tracing::error!(instance = %id, %error, "a query is read anew");
                    let ticket = instance.ticket;
                    self.crew.drop_pipeline(ticket);
                    self.hold_back(id, before);
                }
            }
        }
        steps
    }

    /// Stores a point, to which some commits have led, and tells those whom it concerns.
    fn publish(&mut self, commits: &[Arc<Advance>], steps: &Steps) {
        let point = self.point();
        let schema = self.schema.clone();
        let events = self
            .groups
            .point(point, commits, steps, &self.instances, &schema.zql);
        let mut write = PointWrite {
            point,
            ..PointWrite::default()
        };
        for (id, steps) in steps {
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
        let permissions_changed = commits.iter().any(|commit| commit.permissions_changed);
        if permissions_changed {
            self.read_permissions();
        }
        if write.members.is_empty() && events.is_empty() && !permissions_changed {
            return;
        }
        if !self.commit(&write) {
            return;
        }
        metrics::counter!("landfall_points_total").increment(1);
        // Before anyone is told: who comes back with this version must not find the pool behind it.
        self.gauges.version.store(point, Ordering::Release);
        let told = self
            .telling
            .as_ref()
            .map(|telling| telling.begin(self.groups.reach(&events)));
        self.groups.tell(events, told);
        if permissions_changed {
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

    /// Gives pipelines that are read to workers.
    fn hand_over_read(&mut self) {
        for id in std::mem::take(&mut self.read) {
            let point = self.standing.position;
            let Some(instance) = self.instances.get_mut(&id) else {
                continue;
            };
            match std::mem::replace(&mut instance.state, State::Hydrating) {
                State::Read(read) if read.at <= point => {
                    let counted = self.crew.adopt(*read, point);
                    instance.state = State::Adopting(counted);
                }
                // It is ahead, and waits for the point that is coming.
                State::Read(read) => {
                    instance.state = State::Read(read);
                    self.read.insert(id);
                }
                other => instance.state = other,
            }
        }
    }

    fn adopted(&mut self, ticket: Ticket, deltas: Deltas) {
        let Some(instance) = find(&mut self.instances, ticket) else {
            return;
        };
        let State::Adopting(mut counted) = std::mem::replace(&mut instance.state, State::Hydrating)
        else {
            return;
        };
        for (key, delta) in deltas {
            let sum = counted.entry(key).or_default();
            sum.count += delta.count;
            sum.row = delta.row.or(sum.row.take());
        }
        if let Err(error) = self.take_in(ticket.instance, counted) {
            self.fail(ticket.instance, &error);
        }
    }

    fn take_in(&mut self, id: InstanceId, counted: Deltas) -> Result<(), InstanceError> {
        let point = self.standing.position;
        let schema = self.standing.reader.schema().clone();
        let Some(instance) = self.instances.get_mut(&id) else {
            return Ok(());
        };
        let is_new = !instance.is_settled;
        let (cvr, is_stored) = (&self.cvr, instance.stored.is_some());
        let load = || match is_stored {
            true => cvr.load_members(id).map_err(stored_error),
            false => Ok(Vec::new()),
        };
        let changed = instance.take_in(point, counted, load, &schema.zql)?;
        if instance.users == 0 {
            instance.idle_since = Some(Instant::now());
        }
        let members = changed
            .iter()
            .filter_map(|key| instance.stored_member(key, &schema.zql))
            .collect();
        let born = is_new.then(|| (id, instance.query.key.to_vec()));
        let write = PointWrite {
            point,
            members: vec![(id, members)],
            born: born.into_iter().collect(),
            ..PointWrite::default()
        };
        self.commit(&write);
        Ok(())
    }

    fn refused(&mut self, ticket: Ticket) {
        let Some(instance) = find(&mut self.instances, ticket) else {
            return;
        };
        instance.refusals += 1;
        let refusals = instance.refusals;
        self.crew.lost(ticket);
        if refusals > MAX_REFUSALS {
            self.fail(ticket.instance, &InstanceError::Overrun);
        } else {
            self.read_anew(ticket.instance);
        }
    }

    /// An instance stays behind at a point, with all groups that have it, while it is read anew.
    fn hold_back(&mut self, id: InstanceId, point: StateVersion) {
        self.groups.hold(id, point);
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.behind_since.get_or_insert(point);
        }
        self.read_anew(id);
    }

    /// Has a query read with a new pipeline; the present one is gone.
    fn read_anew(&mut self, id: InstanceId) {
        let life = self.next_life();
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.ticket.life = life;
            instance.state = State::Hydrating;
            self.crew.hydrate(instance.ticket, instance.query.clone());
        }
    }

    /// A query cannot be served: only those who asked for it hear of it.
    pub(super) fn fail(&mut self, id: InstanceId, error: &InstanceError) {
        tracing::warn!(instance = %id, %error, "a query failed");
        metrics::counter!("landfall_queries_failed_total").increment(1);
        let message = error.to_string();
        for waiting in &mut self.waiting {
            waiting.fail(id, &message);
        }
        self.groups.tell_failed(id, &message);
        self.stop_pipeline(id);
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.failed = Some(message);
            if instance.users == 0 {
                self.drop_instance(id);
            }
        }
    }

    /// Ends whatever serves an instance.
    pub(super) fn stop_pipeline(&mut self, id: InstanceId) {
        let life = self.next_life();
        self.read.remove(&id);
        let Some(instance) = self.instances.get_mut(&id) else {
            return;
        };
        match instance.state {
            State::Hydrating => self.crew.stop_hydrating(instance.ticket),
            State::Read(_) => {}
            State::Adopting(_) | State::Alive => self.crew.drop_pipeline(instance.ticket),
        }
        instance.ticket.life = life;
        instance.state = State::Hydrating;
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
        self.replies.take();
        self.durable = 0;
        if let Err(error) = self.begin_records() {
            tracing::error!(%error, "the client view records cannot be checked");
        }
        if let Err(error) = self.standing.start_at_newest() {
            tracing::warn!(%error, "the replica cannot be read now");
        }
        self.schema = self.standing.reader.schema().clone();
        self.read_permissions();
        self.publish_gauges();
    }

    fn freeze_all(&mut self) {
        let settled = self.instances.values().filter(|i| i.is_settled);
        let frozen = settled.map(|i| i.id).collect();
        let write = PointWrite {
            point: self.point(),
            frozen,
            ..PointWrite::default()
        };
        if let Err(error) = self.cvr.commit_point(&write) {
            tracing::error!(%error, "the end of the queries cannot be stored");
        }
        self.crew.clear();
        self.round = None;
        self.read.clear();
        self.instances.clear();
        self.by_key.clear();
    }

    pub(super) fn stop(&mut self) {
        self.freeze_all();
        if let Err(error) = self.cvr.end() {
            tracing::warn!(%error, "the end of this node cannot be stored");
        }
    }
}

/// The instance whose present pipeline a ticket names.
fn find(instances: &mut BTreeMap<InstanceId, Instance>, ticket: Ticket) -> Option<&mut Instance> {
    let instance = instances.get_mut(&ticket.instance)?;
    (instance.ticket == ticket && instance.failed.is_none()).then_some(instance)
}

pub(super) fn stored_error(error: CvrError) -> InstanceError {
    let message = "the server cannot read its records".to_owned();
    InstanceError::Source(landfall_ivm::SourceError {
        message,
        source: Some(Box::new(error)),
    })
}
