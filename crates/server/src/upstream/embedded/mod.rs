//! A SQLite file as the upstream: truth and replica in one.
//!
//! One thread writes our mutations and turns every process's commits into steps. Triggers in the file note the keys
//! of changed rows, whoever changes them; what rows were and are comes from two snapshots.

mod by_hand;
mod change_log;
mod exec;
mod export;
mod follow;
mod mutate;
mod tables;
mod witness;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use super::{
    Cleanup, CrudOutcome, CrudRequest, Judge, Mutation, MutationId, Started, State, Status,
    Upstream, UpstreamError,
};
use crate::check::Finding;
use crate::replica::{Layout, Replica, ReplicaSchema, is_busy};

use follow::Follower;
use witness::Witness;

pub use by_hand::ByHand;
pub use exec::exec;
pub use export::{ExportError, export};

/// How often commits of other processes are looked for.
const POLL: Duration = Duration::from_millis(15);
/// How long a mutation waits for a lock that another process holds.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Mutations that may wait; more are refused.
const QUEUE: usize = 1024;
/// Mutations that share a commit.
const BATCH: usize = 100;
/// How often old entries and SQLite's log are tidied up.
const TIDY: Duration = Duration::from_secs(5);

/// What is needed to serve a SQLite file.
#[derive(Debug, Clone)]
pub struct EmbeddedSettings {
    /// The file; its tables must exist.
    pub path: PathBuf,
}

/// Prepares the file and follows it.
pub async fn start(settings: EmbeddedSettings) -> Result<Started, UpstreamError> {
    let path = settings.path.clone();
    let opened = tokio::task::spawn_blocking(move || open(&settings.path)).await;
    let (writer, follower) = opened.map_err(|_| UpstreamError::Stopped)??;
    let replica = follower.replica().clone();
    let commits = follower.commits().clone();
    let status = Arc::new(Mutex::new(Status {
        state: State::Connected,
        lag: None,
    }));
    let (jobs, inbox) = sync_channel(QUEUE);
    let worker = Worker {
        writer,
        follower,
        inbox,
        status: status.clone(),
        waiting: Vec::new(),
        seen: None,
        last_tidy: Instant::now(),
        stop: None,
        path,
        witness: None,
    };
    std::thread::Builder::new()
        .name("landfall-embedded".to_owned())
        .spawn(move || worker.run())
        .map_err(|error| UpstreamError::Setup(format!("cannot start a thread: {error}")))?;
    Ok(Started {
        replica,
        upstream: Arc::new(EmbeddedUpstream { jobs, status }),
        commits,
    })
}

/// The replica of a file as it is now, which is not followed.
pub(super) fn look(path: &Path) -> Result<Replica, UpstreamError> {
    let conn = follow::connect(path)?;
    conn.pragma_update(None, "query_only", true)?;
    let (tables, _) = tables::read(&conn)?;
    let logged: bool = conn.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = '_landfall_log')",
        [],
        |row| row.get(0),
    )?;
    if !logged {
        return Err(UpstreamError::File {
            path: path.display().to_string(),
            reason: "it has not been served yet".to_owned(),
        });
    }
    let version = Layout::Embedded.version(&conn)?;
    let schema = Arc::new(ReplicaSchema::new(follow::drafts(&tables)));
    Ok(Replica::new(
        path,
        Layout::Embedded,
        "look",
        version,
        schema,
    ))
}

fn open(path: &Path) -> Result<(Connection, Follower), UpstreamError> {
    let wrong = |reason: String| UpstreamError::File {
        path: path.display().to_string(),
        reason,
    };
    if !path.exists() {
        return Err(wrong(
            "no such file; make it with `landfall-server exec --db FILE < schema.sql`".to_owned(),
        ));
    }
    let prepare = || -> Result<_, UpstreamError> {
        let writer = follow::connect(path)?;
        let mode: String = writer.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(wrong(format!(
                "its journal mode is {mode} and cannot be WAL"
            )));
        }
        writer.execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON")?;
        let (tables, _) = follow::install(&writer)?;
        witness::check(&writer, path)?;
        let follower = Follower::open(path, tables)?;
        Ok((writer, follower))
    };
    prepare().map_err(|error| match error {
        UpstreamError::Replica(error) if error.is_busy() => UpstreamError::Locked,
        UpstreamError::Replica(error) => wrong(error.to_string()),
        other => other,
    })
}

type Reply = oneshot::Sender<Result<CrudOutcome, UpstreamError>>;

enum Task {
    Crud(CrudRequest, Arc<dyn Judge>),
    Custom(MutationId, Arc<dyn Mutation>),
    Fail(MutationId, String),
    Cleanup(Cleanup),
}

enum Job {
    Run(Task, Reply),
    Stop(oneshot::Sender<()>),
}

struct Waiting {
    task: Task,
    reply: Reply,
    since: Instant,
}

/// The thread that writes the file and follows it.
struct Worker {
    writer: Connection,
    follower: Follower,
    inbox: Receiver<Job>,
    status: Arc<Mutex<Status>>,
    waiting: Vec<Waiting>,
    /// SQLite's count of foreign commits when it was last looked at.
    seen: Option<i64>,
    last_tidy: Instant,
    stop: Option<oneshot::Sender<()>>,
    path: PathBuf,
    /// The last one that was stored.
    witness: Option<Witness>,
}

impl Worker {
    fn run(mut self) {
        loop {
            match self.inbox.recv_timeout(POLL) {
                Ok(Job::Stop(done)) => self.stop = Some(done),
                Ok(Job::Run(task, reply)) => self.take(task, reply),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let wrote = self.flush_waiting();
            if let Some(done) = self.stop.take() {
                self.testify();
                self.status.lock().state = State::Stopped {
                    reason: "shut down".to_owned(),
                };
                // Whoever asked may be gone.
                let _ = done.send(());
                return;
            }
            match self.follow(wrote) {
                Ok(()) => self.status.lock().state = State::Connected,
                Err(error) => {
                    tracing::error!(%error, "the database file cannot be followed");
                    self.status.lock().state = State::Disconnected {
                        reason: error.to_string(),
                    };
                    // Looks again in a moment, whether or not something changes.
                    self.seen = None;
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
        }
    }

    fn take(&mut self, task: Task, reply: Reply) {
        self.waiting.push(Waiting {
            task,
            reply,
            since: Instant::now(),
        });
        while self.waiting.len() < BATCH {
            match self.inbox.try_recv() {
                Ok(Job::Run(task, reply)) => self.waiting.push(Waiting {
                    task,
                    reply,
                    since: Instant::now(),
                }),
                Ok(Job::Stop(done)) => {
                    self.stop = Some(done);
                    return;
                }
                Err(_) => return,
            }
        }
    }

    /// Runs what waits as one transaction, unless another process holds the lock. True if something was committed.
    fn flush_waiting(&mut self) -> bool {
        if self.waiting.is_empty() {
            return false;
        }
        if let Err(error) = self.begin() {
            let busy = is_busy(&error);
            let (expired, patient) = std::mem::take(&mut self.waiting)
                .into_iter()
                .partition::<Vec<_>, _>(|job| !busy || job.since.elapsed() >= LOCK_WAIT);
            self.waiting = patient;
            let error = Arc::new(error);
            for job in expired {
                answer(job.reply, Err(write_error(&error)));
            }
            return false;
        }
        let jobs = std::mem::take(&mut self.waiting);
        match self.run_all(&jobs) {
            Ok(outcomes) => {
                for (job, outcome) in jobs.into_iter().zip(outcomes) {
                    answer(job.reply, Ok(outcome));
                }
            }
            // One of them spoiled the common transaction: each gets its own.
            Err(_) => {
                for job in jobs {
                    let outcome = self.run_alone(&job.task);
                    answer(job.reply, outcome);
                }
            }
        }
        true
    }

    /// Begins a transaction without waiting long: the stream of other processes' commits goes on meanwhile.
    fn begin(&self) -> Result<(), rusqlite::Error> {
        self.writer.busy_timeout(POLL)?;
        let begun = self.writer.execute_batch("BEGIN IMMEDIATE");
        self.writer.busy_timeout(LOCK_WAIT)?;
        begun
    }

    fn run_all(&self, jobs: &[Waiting]) -> Result<Vec<CrudOutcome>, rusqlite::Error> {
        let outcomes = jobs
            .iter()
            .map(|job| self.run_task(&job.task))
            .collect::<Result<Vec<_>, _>>()
            .and_then(|outcomes| {
                self.writer.execute_batch("COMMIT")?;
                Ok(outcomes)
            });
        if outcomes.is_err() && !self.writer.is_autocommit() {
            self.writer.execute_batch("ROLLBACK")?;
        }
        outcomes
    }

    fn run_alone(&self, task: &Task) -> Result<CrudOutcome, UpstreamError> {
        let run = |task: &Task| {
            self.writer.execute_batch("BEGIN IMMEDIATE")?;
            let outcome = self.run_task(task).and_then(|outcome| {
                self.writer.execute_batch("COMMIT")?;
                Ok(outcome)
            });
            if outcome.is_err() && !self.writer.is_autocommit() {
                self.writer.execute_batch("ROLLBACK")?;
            }
            outcome
        };
        let id = match task {
            Task::Crud(CrudRequest { mutation: id, .. }, _) | Task::Custom(id, _) => Some(id),
            Task::Fail(..) | Task::Cleanup(_) => None,
        };
        let outcome = match (run(task), id) {
            // It failed at the commit, or undid the transaction: as any failure it leaves a result.
            (Err(error), Some(id)) if mutate::is_own_fault(&error) => {
                let reason = exec::sqlite_text(&error);
                let result = super::app_error(&reason);
                run(&Task::Fail(id.clone(), result)).map(|outcome| match outcome {
                    CrudOutcome::Failed { .. } => CrudOutcome::Failed { reason },
                    other => other,
                })
            }
            (outcome, _) => outcome,
        };
        outcome.map_err(|error| write_error(&error))
    }

    fn run_task(&self, task: &Task) -> Result<CrudOutcome, rusqlite::Error> {
        match task {
            Task::Crud(request, judge) => mutate::crud(
                &self.writer,
                self.follower.schema(),
                request,
                judge.as_ref(),
            ),
            Task::Custom(id, mutation) => {
                let schema = self.follower.schema();
                mutate::custom(&self.writer, schema, id, mutation.as_ref())
            }
            Task::Fail(mutation, result) => {
                let outcome = mutate::record(&self.writer, mutation, result)?;
                Ok(outcome.unwrap_or_else(|| CrudOutcome::Failed {
                    reason: result.clone(),
                }))
            }
            Task::Cleanup(cleanup) => {
                mutate::cleanup(&self.writer, cleanup)?;
                Ok(CrudOutcome::Applied)
            }
        }
    }

    fn follow(&mut self, wrote: bool) -> Result<(), UpstreamError> {
        let foreign: i64 = self
            .writer
            .query_row("PRAGMA data_version", [], |row| row.get(0))?;
        if wrote || self.seen != Some(foreign) {
            self.follower.step(&self.writer)?;
            self.seen = Some(foreign);
        }
        self.follower.grant_wishes(&self.writer)?;
        if self.last_tidy.elapsed() >= TIDY {
            self.last_tidy = Instant::now();
            self.follower.tidy(&self.writer)?;
            self.testify();
        }
        Ok(())
    }

    /// Remembers outside the file how far it was followed.
    fn testify(&mut self) {
        let witness = self.follower.witness();
        if self.witness.as_ref() == Some(&witness) {
            return;
        }
        match witness.store(&self.path) {
            Ok(()) => self.witness = Some(witness),
            Err(error) => {
                tracing::warn!(%error, "an older copy of the database would not be noticed")
            }
        }
    }
}

fn write_error(error: &rusqlite::Error) -> UpstreamError {
    if is_busy(error) {
        UpstreamError::Locked
    } else {
        UpstreamError::Setup(format!(
            "the database file cannot be written: {}",
            exec::sqlite_text(error)
        ))
    }
}

fn answer(reply: Reply, outcome: Result<CrudOutcome, UpstreamError>) {
    // A connection that is gone needs no answer: what was committed arrives with the changes.
    let _ = reply.send(outcome);
}

struct EmbeddedUpstream {
    jobs: SyncSender<Job>,
    status: Arc<Mutex<Status>>,
}

impl EmbeddedUpstream {
    fn run(&self, task: Task) -> BoxFuture<'_, Result<CrudOutcome, UpstreamError>> {
        let (reply, outcome) = oneshot::channel();
        let sent = self.jobs.try_send(Job::Run(task, reply));
        Box::pin(async move {
            match sent {
                Ok(()) => outcome.await.map_err(|_| UpstreamError::Stopped)?,
                Err(TrySendError::Full(_)) => Err(UpstreamError::Overloaded),
                Err(TrySendError::Disconnected(_)) => Err(UpstreamError::Stopped),
            }
        })
    }
}

impl Upstream for EmbeddedUpstream {
    fn status(&self) -> Status {
        self.status.lock().clone()
    }

    fn crud(
        &self,
        request: CrudRequest,
        judge: Arc<dyn Judge>,
    ) -> BoxFuture<'_, Result<CrudOutcome, UpstreamError>> {
        self.run(Task::Crud(request, judge))
    }

    fn mutate(
        &self,
        id: MutationId,
        mutation: Arc<dyn Mutation>,
    ) -> BoxFuture<'_, Result<CrudOutcome, UpstreamError>> {
        self.run(Task::Custom(id, mutation))
    }

    fn fail(
        &self,
        mutation: MutationId,
        result: String,
    ) -> BoxFuture<'_, Result<CrudOutcome, UpstreamError>> {
        self.run(Task::Fail(mutation, result))
    }

    fn cleanup_results(&self, cleanup: Cleanup) -> BoxFuture<'_, Result<(), UpstreamError>> {
        let run = self.run(Task::Cleanup(cleanup));
        Box::pin(async move { run.await.map(|_| ()) })
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        let (done, is_done) = oneshot::channel();
        let jobs = self.jobs.clone();
        Box::pin(async move {
            let stop = tokio::task::spawn_blocking(move || jobs.send(Job::Stop(done)));
            if matches!(stop.await, Ok(Ok(()))) {
                // An error means that the thread is gone, which is as good.
                let _ = is_done.await;
            }
        })
    }
}

/// What keeps a file from being served, and what of it is left out. Changes nothing.
pub fn check(path: &Path) -> Vec<Finding> {
    if !path.exists() {
        let what = format!("{} does not exist", path.display());
        let mend = format!("landfall-server exec --db {} < schema.sql", path.display());
        return vec![Finding::stop(what, mend)];
    }
    match Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|conn| tables::read(&conn))
    {
        Ok((tables, warnings)) => {
            let mut findings: Vec<Finding> = warnings.into_iter().map(Finding::warn).collect();
            if tables.is_empty() {
                findings.push(Finding::warn("there is no table that could be synced"));
            }
            findings
        }
        Err(error) => vec![Finding::stop(format!("{}: {error}", path.display()), None)],
    }
}
