//! The way to the pool: commands in, and the thread that runs them.
//!
//! One worker for now. Everything that a group hears comes from its worker in order, so several workers need a
//! coordinator of points, not another interface.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::Duration;

use tokio::sync::watch;

use super::request::SyncRequest;
use super::worker::{Worker, WorkerError};
use crate::cvr::{CvrStore, StateVersion};
use crate::replica::Replica;

/// How often an idle worker looks round.
const ROUND: Duration = Duration::from_secs(1);

/// How long to wait before a replica that cannot be read is tried again.
const PAUSE: Duration = Duration::from_millis(50);

enum Command {
    Sync(SyncRequest),
    Forget(Arc<str>),
    Wake,
    Stop,
}

/// What the pool is at, for health and tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// The newest version that is published.
    pub version: StateVersion,
    /// Pipelines.
    pub instances: u64,
    /// Rows in all pipelines.
    pub members: u64,
}

#[derive(Default)]
pub(super) struct Gauges {
    pub(super) version: AtomicU64,
    pub(super) instances: AtomicU64,
    pub(super) members: AtomicU64,
    woken: AtomicBool,
    ended: watch::Sender<bool>,
}

/// A way to the pool. Clones share one pool.
#[derive(Clone)]
pub struct PoolHandle {
    commands: Sender<Command>,
    gauges: Arc<Gauges>,
}

/// Takes over permissions that the upstream declares.
pub type OnPermissions = Box<dyn Fn(Option<&str>) + Send>;

impl PoolHandle {
    /// Starts the pool's thread, and the task that wakes it when the replica has moved.
    pub fn start(
        replica: &Replica,
        cvr: Arc<dyn CvrStore>,
        on_permissions: OnPermissions,
    ) -> Result<Self, WorkerError> {
        let (commands, receiver) = channel();
        let gauges = Arc::new(Gauges::default());
        let handle = PoolHandle {
            commands,
            gauges: gauges.clone(),
        };
        let worker = Worker::new(replica, cvr, on_permissions, gauges.clone())?;
        let spawned = std::thread::Builder::new()
            .name("landfall-pool".to_owned())
            .spawn(move || {
                run(worker, &receiver, &gauges);
                gauges.ended.send_replace(true);
            });
        spawned.map_err(WorkerError::Thread)?;
        tokio::spawn(wake(replica.clone(), handle.clone()));
        Ok(handle)
    }

    /// Asks for a sync; the answer comes over the request's channel.
    pub fn sync(&self, request: SyncRequest) {
        self.send(Command::Sync(request));
    }

    /// A group has ended.
    pub fn forget(&self, group: &Arc<str>) {
        self.send(Command::Forget(group.clone()));
    }

    /// Ends the pool; resolves when what it leaves behind is stored.
    pub async fn stop(&self) {
        self.send(Command::Stop);
        let mut ended = self.gauges.ended.subscribe();
        // An error says that the pool is gone, which is what is wanted.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// The newest version that is published.
    pub fn version(&self) -> StateVersion {
        self.gauges.version.load(Ordering::Acquire)
    }

    /// What the pool is at.
    pub fn stats(&self) -> PoolStats {
        PoolStats {
            version: self.version(),
            instances: self.gauges.instances.load(Ordering::Relaxed),
            members: self.gauges.members.load(Ordering::Relaxed),
        }
    }

    fn send(&self, command: Command) {
        if self.commands.send(command).is_err() {
            tracing::error!("the query pool has ended");
        }
    }
}

/// Wakes the worker when the replica has moved; many moves may be one wake-up.
async fn wake(replica: Replica, pool: PoolHandle) {
    let mut moves = replica.subscribe();
    loop {
        if moves.next().await.is_err() {
            moves = replica.subscribe();
        }
        let sent = pool.gauges.woken.swap(true, Ordering::AcqRel)
            || pool.commands.send(Command::Wake).is_ok();
        if !sent {
            return;
        }
    }
}

fn run(mut worker: Worker, commands: &Receiver<Command>, gauges: &Gauges) {
    loop {
        let command = if worker.is_busy() {
            match commands.try_recv() {
                Ok(command) => Some(command),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => return,
            }
        } else {
            worker.rest();
            match commands.recv_timeout(ROUND) {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        };
        gauges.woken.store(false, Ordering::Release);
        let stop = matches!(command, Some(Command::Stop));
        let step = AssertUnwindSafe(|| step(&mut worker, command));
        if std::panic::catch_unwind(step).is_err() {
            // Nothing of what the worker holds is trusted any more; what is stored is.
            tracing::error!("the query pool met a fault and begins anew");
            worker.restart();
        }
        if stop {
            return;
        }
    }
}

fn step(worker: &mut Worker, command: Option<Command>) {
    match command {
        Some(Command::Sync(request)) => worker.sync(request),
        Some(Command::Forget(group)) => worker.forget(&group),
        Some(Command::Stop) => return worker.stop(),
        Some(Command::Wake) | None => {}
    }
    match worker.follow() {
        true => worker.work(),
        // What waits stays; whatever keeps the replica from being read needs a moment to pass.
        false => std::thread::sleep(PAUSE),
    }
}
