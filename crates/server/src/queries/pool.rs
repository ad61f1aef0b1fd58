//! The way to the pool: commands in, and the threads that run it.
//!
//! One thread coordinates: everything that a group hears comes from it, in order. Others keep pipelines current, and
//! others again read queries for the first time.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use super::coordinator::{Coordinator, PoolError};
use super::crew::Crew;
use super::hydrator::{Hydrator, Turn};
use super::limits::PoolSettings;
use super::messages::Report;
use super::prepare::{PreparedQuery, Shared};
use super::request::{PoolEvent, SyncRequest};
use super::worker::Worker;
use crate::cvr::{CvrStore, StateVersion};
use crate::replica::Replica;

/// How often an idle coordinator looks round.
const ROUND: Duration = Duration::from_secs(1);
/// How long to wait before a replica that cannot be read is tried again.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a thread waits for what will be there soon.
const MOMENT: Duration = Duration::from_millis(5);
/// Messages that are taken in before something is made of them.
const BATCH: usize = 1_000;

pub(super) enum Mail {
    Sync(SyncRequest),
    Forget(Arc<str>, UnboundedSender<PoolEvent>),
    Report(Report),
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
    mail: Sender<Mail>,
    gauges: Arc<Gauges>,
    queries: Arc<Shared>,
}

/// Takes over permissions that the upstream declares.
pub type OnPermissions = Box<dyn Fn(Option<&str>) + Send>;

impl PoolHandle {
    /// Starts the pool's threads, and the task that wakes them when the replica has moved.
    pub fn start(
        replica: &Replica,
        cvr: Arc<dyn CvrStore>,
        on_permissions: OnPermissions,
        settings: PoolSettings,
    ) -> Result<Self, PoolError> {
        let (mail, received) = channel();
        let gauges = Arc::new(Gauges::default());
        let handle = PoolHandle {
            mail: mail.clone(),
            gauges: gauges.clone(),
            queries: Arc::default(),
        };
        let crew = start_crew(replica, &mail, settings)?;
        let mut coordinator = Coordinator::new(
            replica,
            cvr,
            on_permissions,
            gauges.clone(),
            crew,
            settings.limits,
        )?;
        let over = mail.clone();
        // Without a coordinator nobody needs to know.
        coordinator.gather(move || drop(over.send(Mail::Wake)));
        spawn("landfall-pool", move || {
            coordinate(coordinator, &received, &gauges);
            gauges.ended.send_replace(true);
        })?;
        tokio::spawn(wake(replica.clone(), handle.clone()));
        Ok(handle)
    }

    /// Asks for a sync; the answer comes over the request's channel.
    pub fn sync(&self, request: SyncRequest) {
        self.send(Mail::Sync(request));
    }

    /// A group has ended to which answers went this way.
    pub fn forget(&self, group: &Arc<str>, events: UnboundedSender<PoolEvent>) {
        // A pool that has ended knows of no groups.
        drop(self.mail.send(Mail::Forget(group.clone(), events)));
    }

    /// Ends the pool; resolves when what it leaves behind is stored.
    pub async fn stop(&self) {
        self.send(Mail::Stop);
        let mut ended = self.gauges.ended.subscribe();
        // An error says that the pool is gone, which is what is wanted.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// The same query, in the copy that other groups hold.
    pub fn share(&self, query: PreparedQuery) -> PreparedQuery {
        self.queries.share(query)
    }

    /// The newest version that is published.
    pub fn version(&self) -> StateVersion {
        self.gauges.version.load(Ordering::Acquire)
    }

    /// What the pool is at; rows as they were counted last.
    pub fn stats(&self) -> PoolStats {
        PoolStats {
            version: self.version(),
            instances: self.gauges.instances.load(Ordering::Relaxed),
            members: self.gauges.members.load(Ordering::Relaxed),
        }
    }

    fn send(&self, mail: Mail) {
        if self.mail.send(mail).is_err() {
            tracing::error!("the query pool has ended");
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), PoolError> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(run).map(drop).map_err(PoolError::Thread)
}

/// Starts the threads that do the work. They end when the coordinator does.
fn start_crew(
    replica: &Replica,
    mail: &Sender<Mail>,
    settings: PoolSettings,
) -> Result<Crew, PoolError> {
    let PoolSettings { threads, limits } = settings;
    let report = || {
        let mail = mail.clone();
        // Without a coordinator nobody needs to know.
        Box::new(move |report| drop(mail.send(Mail::Report(report))))
    };
    let (mut hydrators, mut workers) = (Vec::new(), Vec::new());
    for number in 0..threads.max(1) {
        let (orders, received) = channel();
        let mut worker = Worker::new(number, replica, received, report(), limits)?;
        spawn("landfall-queries", move || {
            run(&mut worker, Worker::turn, Worker::wait, Worker::recover)
        })?;
        workers.push(orders);
    }
    // A slice can take long where SQLite sorts a large table, so there are two at least.
    for _ in 0..threads.div_ceil(2).max(2) {
        let (orders, received) = channel();
        let mut hydrator = Hydrator::new(replica, received, report(), limits)?;
        spawn("landfall-hydrate", move || {
            run(
                &mut hydrator,
                Hydrator::turn,
                Hydrator::wait,
                Hydrator::recover,
            )
        })?;
        hydrators.push(orders);
    }
    Ok(Crew::new(hydrators, workers))
}

/// Wakes the coordinator when the replica has moved; many moves may be one wake-up.
async fn wake(replica: Replica, pool: PoolHandle) {
    let mut moves = replica.subscribe();
    loop {
        if moves.next().await.is_err() {
            moves = replica.subscribe();
        }
        let sent =
            pool.gauges.woken.swap(true, Ordering::AcqRel) || pool.mail.send(Mail::Wake).is_ok();
        if !sent {
            return;
        }
    }
}

fn run<T>(state: &mut T, turn: fn(&mut T) -> Turn, wait: fn(&mut T) -> bool, recover: fn(&mut T)) {
    loop {
        let step = AssertUnwindSafe(|| match turn(state) {
            Turn::Idle => wait(state),
            Turn::Over => false,
            Turn::Busy => true,
            Turn::Paused => {
                std::thread::sleep(MOMENT);
                true
            }
        });
        match std::panic::catch_unwind(step) {
            Ok(true) => {}
            Ok(false) => return,
            Err(_) => {
                tracing::error!("a thread of the query pool met a fault and begins anew");
                recover(state);
            }
        }
    }
}

fn coordinate(mut coordinator: Coordinator, received: &Receiver<Mail>, gauges: &Gauges) {
    let mut patience = ROUND;
    loop {
        let first = match received.recv_timeout(patience) {
            Ok(mail) => Some(mail),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        gauges.woken.store(false, Ordering::Release);
        let step = AssertUnwindSafe(|| {
            let later = received.try_iter().take(BATCH);
            for mail in first.into_iter().chain(later) {
                if take(&mut coordinator, mail) {
                    return None;
                }
            }
            Some(coordinator.go_on())
        });
        match std::panic::catch_unwind(step) {
            Ok(None) => return,
            Ok(Some(is_readable)) => {
                patience = match (is_readable, coordinator.pause()) {
                    (false, _) => PAUSE,
                    (true, Duration::ZERO) => ROUND,
                    (true, pause) => pause,
                }
            }
            Err(_) => {
                // Nothing of what is held is trusted any more; what is stored is.
                tracing::error!("the query pool met a fault and begins anew");
                coordinator.restart();
            }
        }
    }
}

/// True when the pool is to end.
fn take(coordinator: &mut Coordinator, mail: Mail) -> bool {
    match mail {
        Mail::Sync(request) => coordinator.sync(request),
        Mail::Forget(group, events) => coordinator.forget_ended(&group, &events),
        Mail::Report(report) => coordinator.hear(report),
        Mail::Wake => {}
        Mail::Stop => {
            coordinator.stop();
            return true;
        }
    }
    false
}
