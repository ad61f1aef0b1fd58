//! Mutations of one group: in order, one at a time, each with an outcome.
//!
//! What became of a mutation reaches the client through the upstream tables and a poke. Only what those cannot carry
//! is told to the connection that pushed.

pub mod endpoint;

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use landfall_protocol::endpoint::cleanup;
use landfall_protocol::endpoint::mutate::MutateResponse;
use landfall_protocol::{
    CrudKind as WireKind, CrudMutation, EndpointFailure, ErrorBody, ErrorKind, JsNumber, Mutation,
    MutationRef, MutationResult, Push, PushFailed, Reason,
};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::app::{App, Caller, MutatorCall};
use crate::auth::Policy;
use crate::clock;
use crate::session::{ConnectionContext, GroupEvent};
use crate::telemetry::{TRACE, join_trace};
use crate::upstream::{
    Cleanup, CrudKind, CrudOp, CrudOutcome, CrudRequest, MutationId, Upstream, UpstreamError,
};
use endpoint::AppEndpoints;

/// Pushes that may wait in a group; a client whose push is refused sends it again.
const WAITING: usize = 1_000;
/// Mutations that are combined into one request.
const COMBINED: usize = 500;

/// Carries out the mutations of all groups.
pub struct Pusher {
    /// The app's endpoints.
    pub endpoints: Arc<AppEndpoints>,
    /// The app's code in this process.
    pub app: Arc<App>,
    /// The database.
    pub upstream: Arc<dyn Upstream>,
    /// Who may write what.
    pub policy: Arc<Policy>,
    /// Whether CRUD mutations are accepted.
    pub enable_crud: bool,
    /// Mutations that a group may send within a time.
    pub limit: Option<(usize, Duration)>,
    /// Everyone who carries out mutations.
    pub workers: Mutex<JoinSet<()>>,
}

enum Job {
    Push(Arc<ConnectionContext>, Push),
    CleanResults(Arc<ConnectionContext>, String, u64),
    CleanClients(Arc<ConnectionContext>, Vec<String>),
}

/// The mutations of one group that wait.
pub struct PushQueue {
    group: Arc<str>,
    pusher: Arc<Pusher>,
    events: mpsc::UnboundedSender<GroupEvent>,
    jobs: OnceLock<mpsc::Sender<Job>>,
    /// Pushes within the window of the limit, and how many mutations each had.
    recent: Mutex<VecDeque<(Instant, usize)>>,
}

impl Pusher {
    /// Resolves when all queues whose group has ended are empty.
    pub async fn drained(&self) {
        let mut workers = std::mem::take(&mut *self.workers.lock());
        while let Some(ended) = workers.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "mutations were given up; their client sends them again");
            }
        }
    }

    fn spawn(&self, worker: Worker) {
        let mut workers = self.workers.lock();
        // Those that have ended are forgotten when the next one begins.
        while workers.try_join_next().is_some() {}
        workers.spawn(worker.run());
    }

    /// A queue for a group; failures are told to `events`.
    pub fn queue(
        self: &Arc<Self>,
        group: Arc<str>,
        events: mpsc::UnboundedSender<GroupEvent>,
    ) -> PushQueue {
        PushQueue {
            group,
            pusher: self.clone(),
            events,
            jobs: OnceLock::new(),
            recent: Mutex::default(),
        }
    }
}

impl PushQueue {
    /// Queues a push.
    pub fn push(&self, context: Arc<ConnectionContext>, push: Push) {
        let connection = context.id;
        let refusal = if self.is_over_limit(push.mutations.len()) {
            Some("too many mutations within a short time")
        } else if !self.queue(Job::Push(context, push)) {
            Some("too many mutations are waiting")
        } else {
            None
        };
        if let Some(message) = refusal {
            metrics::counter!("landfall_pushes_limited_total").increment(1);
            let body = ErrorBody::new(ErrorKind::MutationRateLimited, message);
            // The group may have ended meanwhile.
            let _ = self
                .events
                .send(GroupEvent::PushFailed(connection, Box::new(body)));
        }
    }

    /// Whether a push of so many mutations is too much now; if not, it counts.
    fn is_over_limit(&self, mutations: usize) -> bool {
        let Some((max, window)) = self.pusher.limit else {
            return false;
        };
        let now = Instant::now();
        let mut recent = self.recent.lock();
        while recent.front().is_some_and(|(at, _)| now - *at > window) {
            recent.pop_front();
        }
        let sum: usize = recent.iter().map(|(_, count)| count).sum();
        if sum + mutations > max {
            return true;
        }
        recent.push_back((now, mutations));
        false
    }

    /// Queues the removal of results that a client has received. A removal that finds no room is repeated by the
    /// client's next one.
    pub fn clean_results(&self, context: Arc<ConnectionContext>, client: String, up_to: u64) {
        self.queue(Job::CleanResults(context, client, up_to));
    }

    /// Queues the removal of all results of clients that are gone.
    pub fn clean_clients(&self, context: Arc<ConnectionContext>, clients: Vec<String>) {
        self.queue(Job::CleanClients(context, clients));
    }

    fn queue(&self, job: Job) -> bool {
        let jobs = self.jobs.get_or_init(|| {
            let (sender, receiver) = mpsc::channel(WAITING);
            let worker = Worker {
                group: self.group.clone(),
                pusher: self.pusher.clone(),
                events: self.events.clone(),
                jobs: receiver,
                next: VecDeque::new(),
                broken: None,
            };
            self.pusher.spawn(worker);
            sender
        });
        jobs.try_send(job).is_ok()
    }
}

struct Worker {
    group: Arc<str>,
    pusher: Arc<Pusher>,
    events: mpsc::UnboundedSender<GroupEvent>,
    jobs: mpsc::Receiver<Job>,
    next: VecDeque<Job>,
    /// The connection whose push failed last: what it sent behind is out of order and will come again.
    broken: Option<u64>,
}

impl Worker {
    async fn run(mut self) {
        while let Some(job) = self.take().await {
            match job {
                Job::Push(context, _) if self.broken == Some(context.id) => {}
                Job::Push(context, push) => {
                    let span = tracing::debug_span!(
                        target: TRACE,
                        "push",
                        group = %self.group,
                        client = context.client_id,
                        mutations = push.mutations.len(),
                    );
                    join_trace(&span, push.traceparent.as_deref());
                    if let Err(body) = self.push(&context, push).instrument(span).await {
                        if !matches!(body.kind(), ErrorKind::MutationFailed) {
                            self.broken = Some(context.id);
                        }
                        // The group may have ended meanwhile.
                        let _ = self
                            .events
                            .send(GroupEvent::PushFailed(context.id, Box::new(body)));
                    }
                }
                Job::CleanResults(context, client_id, up_to) => {
                    let client_group_id = self.group.to_string();
                    let cleanup = cleanup::Cleanup::Single {
                        client_group_id,
                        client_id,
                        up_to,
                    };
                    self.clean(&context, cleanup).await;
                }
                Job::CleanClients(context, client_ids) => {
                    let client_group_id = self.group.to_string();
                    self.clean(
                        &context,
                        cleanup::Cleanup::Bulk {
                            client_group_id,
                            client_ids,
                        },
                    )
                    .await;
                }
            }
        }
    }

    async fn take(&mut self) -> Option<Job> {
        match self.next.pop_front() {
            Some(job) => Some(job),
            None => self.jobs.recv().await,
        }
    }

    async fn push(&mut self, context: &ConnectionContext, push: Push) -> Result<(), ErrorBody> {
        match push.mutations.first() {
            None => Ok(()),
            Some(Mutation::Custom(_)) => {
                let push = self.combine(context, push);
                self.custom(context, push).await
            }
            Some(Mutation::Crud(_)) => self.crud(context, push).await,
        }
    }

    /// Adds what the same connection has pushed meanwhile.
    fn combine(&mut self, context: &ConnectionContext, mut push: Push) -> Push {
        while push.mutations.len() < COMBINED {
            let Ok(job) = self.jobs.try_recv() else { break };
            match job {
                Job::Push(other, more)
                    if other.id == context.id
                        && other.auth.revision == context.auth.revision
                        && self.next.is_empty()
                        && more
                            .mutations
                            .iter()
                            .all(|m| matches!(m, Mutation::Custom(_))) =>
                {
                    push.mutations.extend(more.mutations);
                }
                other => {
                    self.next.push_back(other);
                    break;
                }
            }
        }
        push
    }

    /// Custom mutations in order: those of the app in this process here, the others at the endpoint.
    async fn custom(&self, context: &ConnectionContext, push: Push) -> Result<(), ErrorBody> {
        let Push { mutations, .. } = &push;
        if mutations.iter().any(|m| matches!(m, Mutation::Crud(_))) {
            return Err(ErrorBody::new(
                ErrorKind::InvalidPush,
                "custom and CRUD mutations in one push",
            ));
        }
        let has_endpoint = self.pusher.endpoints.has_mutate();
        let is_own = |mutation: &Mutation| match mutation {
            Mutation::Custom(custom) => !has_endpoint || self.pusher.app.has_mutator(&custom.name),
            Mutation::Crud(_) => false,
        };
        if !has_endpoint && !self.pusher.app.has_mutators() {
            let message = "this server has no mutate endpoint and no mutators, so custom mutations cannot be carried out";
            return Err(ErrorBody::new(ErrorKind::InvalidPush, message));
        }
        for run in push.mutations.chunk_by(|a, b| is_own(a) == is_own(b)) {
            if run.iter().all(is_own) {
                for mutation in run {
                    self.own(context, mutation).await?;
                }
            } else {
                let mutations = run.to_vec();
                let part = Push {
                    mutations,
                    ..push.clone()
                };
                self.at_endpoint(context, part).await?;
            }
        }
        Ok(())
    }

    /// Carries out a mutation of the app in this process.
    async fn own(&self, context: &ConnectionContext, mutation: &Mutation) -> Result<(), ErrorBody> {
        let Mutation::Custom(mutation) = mutation else {
            return Ok(());
        };
        metrics::counter!("landfall_custom_mutations_total").increment(1);
        let args = mutation.args.first();
        let args = args.map_or(Ok(serde_json::Value::Null), |args| {
            serde_json::from_str(args.as_str())
        });
        let args = args.map_err(|_| {
            ErrorBody::new(
                ErrorKind::InvalidPush,
                "the arguments of a mutation cannot be read",
            )
        })?;
        let call = MutatorCall {
            app: self.pusher.app.clone(),
            name: mutation.name.clone(),
            args,
            caller: Caller::of(context),
        };
        let (id, client) = (mutation.id, &mutation.client_id);
        let at = MutationId {
            group: self.group.to_string(),
            client: client.clone(),
            id,
        };
        let span =
            tracing::debug_span!(target: TRACE, "mutator", name = mutation.name, mutation = id);
        let done = self.pusher.upstream.mutate(at, Arc::new(call));
        match done.instrument(span).await {
            Ok(CrudOutcome::Applied | CrudOutcome::AlreadyProcessed { .. }) => Ok(()),
            Ok(CrudOutcome::OutOfOrder { expected }) => {
                Err(out_of_order(context, client, id, expected))
            }
            Ok(CrudOutcome::Denied { .. } | CrudOutcome::Failed { .. }) => {
                // The result row says why to the page; the app's words may hold anything, so the log does not.
                let name = mutation.name.as_str();
                tracing::info!(group = %self.group, client, mutation = id, name, "mutation refused");
                Ok(())
            }
            Err(error) => Err(self.unavailable(&error)),
        }
    }

    fn unavailable(&self, error: &UpstreamError) -> ErrorBody {
        tracing::warn!(group = %self.group, %error, "the database took no mutation");
        ErrorBody::new(
            ErrorKind::ServerOverloaded,
            "the database does not take mutations now",
        )
    }

    async fn at_endpoint(&self, context: &ConnectionContext, push: Push) -> Result<(), ErrorBody> {
        let reference = |m: &Mutation| MutationRef {
            client_id: m.client_id().to_owned(),
            id: m.id(),
        };
        let mutation_ids: Vec<MutationRef> = push.mutations.iter().map(reference).collect();
        let failed = |mutation_ids, failure| {
            Err(ErrorBody::PushFailed(PushFailed {
                mutation_ids,
                failure,
            }))
        };
        metrics::counter!("landfall_custom_mutations_total").increment(mutation_ids.len() as u64);
        match self.pusher.endpoints.mutate(context, &push).await {
            Err(failure) => failed(mutation_ids, failure),
            Ok(MutateResponse::Failed(body)) => Err(ErrorBody::PushFailed(body)),
            Ok(MutateResponse::Mutations {
                user_id: Some(user),
                ..
            }) if user != context.user_id => {
                failed(mutation_ids, endpoint::another_user("mutate", context))
            }
            Ok(MutateResponse::Mutations { mutations, .. }) => {
                let out_of_order: Vec<MutationRef> = mutations
                    .into_iter()
                    .filter(|m| matches!(m.result, MutationResult::OutOfOrder { .. }))
                    .map(|m| m.id)
                    .collect();
                if out_of_order.is_empty() {
                    return Ok(());
                }
                let failure = EndpointFailure::new(
                    Reason::OutOfOrderMutation,
                    "a mutation came out of order",
                );
                failed(out_of_order, failure)
            }
        }
    }

    async fn crud(&self, context: &ConnectionContext, push: Push) -> Result<(), ErrorBody> {
        let refuse = |kind, message: &str| Err(ErrorBody::new(kind, message));
        if !self.pusher.enable_crud {
            return refuse(ErrorKind::InvalidPush, "CRUD mutations are switched off");
        }
        if context.auth.token.is_some()
            && context.auth.claims.is_none()
            && !self.pusher.policy.is_open()
        {
            return refuse(
                ErrorKind::Internal,
                "CRUD mutations need a token that this server can verify",
            );
        }
        for mutation in push.mutations {
            match mutation {
                Mutation::Crud(mutation) => self.crud_one(context, mutation).await?,
                Mutation::Custom(_) => {
                    return refuse(
                        ErrorKind::InvalidPush,
                        "custom and CRUD mutations in one push",
                    );
                }
            }
        }
        Ok(())
    }

    async fn crud_one(
        &self,
        context: &ConnectionContext,
        mutation: CrudMutation,
    ) -> Result<(), ErrorBody> {
        let (id, client) = (mutation.id, mutation.client_id.clone());
        let request = CrudRequest {
            mutation: MutationId {
                group: self.group.to_string(),
                client: client.clone(),
                id,
            },
            ops: mutation.ops.into_iter().map(op).collect(),
        };
        let judge = self.pusher.policy.judge(context.auth.claims.clone());
        metrics::counter!("landfall_crud_mutations_total").increment(1);
        let span = tracing::debug_span!(target: TRACE, "write", mutation = id);
        match self
            .pusher
            .upstream
            .crud(request, judge)
            .instrument(span)
            .await
        {
            Ok(CrudOutcome::Applied | CrudOutcome::AlreadyProcessed { .. }) => Ok(()),
            Ok(CrudOutcome::OutOfOrder { expected }) => {
                Err(out_of_order(context, &client, id, expected))
            }
            Ok(CrudOutcome::Denied { .. }) => {
                tracing::info!(group = %self.group, client, mutation = id, "mutation denied");
                Ok(())
            }
            Ok(CrudOutcome::Failed { reason }) => {
                // A Zero client is not told the reason, so the log is where a developer finds it.
                let reason = without_value(&reason);
                tracing::warn!(group = %self.group, client, mutation = id, reason, "mutation failed");
                match context.landfall {
                    // The result row says it, and says it only once.
                    true => Ok(()),
                    false => Err(ErrorBody::new(
                        ErrorKind::MutationFailed,
                        "the mutation failed",
                    )),
                }
            }
            Err(error) => Err(self.unavailable(&error)),
        }
    }

    async fn clean(&self, context: &ConnectionContext, cleanup: cleanup::Cleanup) {
        let outcome = if self.pusher.endpoints.has_mutate() {
            let now = JsNumber::new(clock::now_ms() as f64).unwrap_or_default();
            let request_id = format!("cleanup-{}-{}", self.group, clock::now_ms());
            match cleanup.to_push(&context.client_id, now, request_id) {
                Ok(push) => self
                    .pusher
                    .endpoints
                    .mutate(context, &push)
                    .await
                    .map(drop)
                    .map_err(|e| e.message),
                Err(error) => Err(error.to_string()),
            }
        } else {
            let cleanup = match cleanup {
                cleanup::Cleanup::Single {
                    client_group_id,
                    client_id,
                    up_to,
                } => Cleanup::Single {
                    group: client_group_id,
                    client: client_id,
                    up_to,
                },
                cleanup::Cleanup::Bulk {
                    client_group_id,
                    client_ids,
                } => Cleanup::Bulk {
                    group: client_group_id,
                    clients: client_ids,
                },
            };
            self.pusher
                .upstream
                .cleanup_results(cleanup)
                .await
                .map_err(|e| e.to_string())
        };
        if let Err(message) = outcome {
            // The next acknowledgement tries again.
            tracing::debug!(group = %self.group, message, "mutation results were not cleaned up");
        }
    }
}

/// A database's message without the value that it quotes at its end.
fn without_value(reason: &str) -> &str {
    reason.split(": \"").next().unwrap_or_default()
}

/// Clients of ours are told which mutation it was: one that follows their last confirmed one says that this is lost here.
fn out_of_order(context: &ConnectionContext, client: &str, id: u64, expected: u64) -> ErrorBody {
    let message = format!("mutation {id} of a client came where {expected} was expected");
    if !context.landfall {
        return ErrorBody::new(ErrorKind::InvalidPush, message);
    }
    let client_id = client.to_owned();
    ErrorBody::PushFailed(PushFailed {
        mutation_ids: vec![MutationRef { client_id, id }],
        failure: EndpointFailure::new(Reason::OutOfOrderMutation, message),
    })
}

fn op(op: landfall_protocol::CrudOp) -> CrudOp {
    let kind = match op.op {
        WireKind::Insert => CrudKind::Insert,
        WireKind::Upsert => CrudKind::Upsert,
        WireKind::Update => CrudKind::Update,
        WireKind::Delete => CrudKind::Delete,
    };
    CrudOp {
        kind,
        table: op.table_name,
        primary_key: op.primary_key,
        value: op.value.as_str().to_owned(),
    }
}
