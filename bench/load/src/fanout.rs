//! Single writes at a pace, to groups that all watch the row that changes.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::error::LoadError;
use crate::group::{Group, fresh_name};
use crate::latencies::{Latencies, milliseconds};
use crate::target::{Query, Target};

/// Groups connected at one time while the load is built up.
const CONNECTING: usize = 16;

#[derive(Deserialize)]
pub struct Fanout {
    groups: usize,
    /// Distinct queries among the groups. All contain the rows that change.
    queries: usize,
    /// Rows of each query; only with 100 do the writes reach all groups.
    #[serde(default = "hundred")]
    rows: usize,
    writes: u64,
    /// Milliseconds from write to write.
    pace: u64,
    /// Seconds for connecting, and again from the first write to the last arrival.
    limit: u64,
}

fn hundred() -> usize {
    100
}

/// What all groups have seen.
struct Board {
    latencies: Latencies,
    /// Moment of each write, from the one with `first` on.
    sent: Vec<Instant>,
    first: u64,
    waiting: usize,
    failure: Option<LoadError>,
    changed: Rc<Notify>,
}

impl Board {
    /// A group that knew all writes up to `known` now knows those up to `mark`.
    fn arrived(&mut self, known: u64, mark: u64) {
        let now = Instant::now();
        let index =
            |mark: u64| usize::try_from(mark.saturating_sub(self.first)).unwrap_or(usize::MAX);
        for sent in self
            .sent
            .iter()
            .take(index(mark + 1))
            .skip(index(known + 1))
        {
            self.latencies.add(now - *sent);
        }
    }
}

impl Fanout {
    pub async fn run(self, target: &Target) -> Result<Value, LoadError> {
        let mut writer = target.writer().await?;
        let processes = target.processes();
        let queries: Vec<Query> = (0..self.queries)
            .map(|variant| Query::nth(self.rows, 7, variant))
            .collect::<Result<_, _>>()?;
        let mut warm = Group::connect(target, &fresh_name(0), None, &queries).await?;
        for _ in 0..queries.len() {
            // Several queries may arrive in one poke.
            if timeout(Duration::from_secs(2), warm.poke()).await.is_err() {
                break;
            }
        }
        let before = processes.memory()?;
        let start = Instant::now();
        let cpu = processes.cpu_seconds()?;
        let groups = timeout(
            Duration::from_secs(self.limit),
            self.connect(target, &queries),
        )
        .await
        .map_err(|_| LoadError::Late(self.limit, "not all groups have their rows"))??;
        let connect_ms = milliseconds(start.elapsed());
        let connect_cpu = processes.cpu_seconds()? - cpu;
        warm.close().await?;
        sleep(Duration::from_secs(1)).await;
        let connected = processes.memory()?;

        let changed = Rc::new(Notify::new());
        let first = writer.mark() + 1;
        let last = writer.mark() + self.writes;
        let board = Rc::new(RefCell::new(Board {
            latencies: Latencies::new(),
            sent: Vec::new(),
            first,
            waiting: groups.len(),
            failure: None,
            changed: changed.clone(),
        }));
        for group in groups {
            tokio::task::spawn_local(watch(group, board.clone(), first - 1, last));
        }
        let cpu = processes.cpu_seconds()?;
        let start = Instant::now();
        let mut ticks = interval(Duration::from_millis(self.pace));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for write in 0..self.writes {
            ticks.tick().await;
            board.borrow_mut().sent.push(Instant::now());
            writer.touch(700 + (write as usize % 100)).await?;
        }
        let all = async {
            loop {
                {
                    let mut board = board.borrow_mut();
                    if let Some(failure) = board.failure.take() {
                        return Err(failure);
                    }
                    if board.waiting == 0 {
                        return Ok(());
                    }
                }
                changed.notified().await;
            }
        };
        // What has not arrived by then is not in the figures, and they say so.
        let late = match timeout(Duration::from_secs(self.limit), all).await {
            Ok(done) => done.map(|()| false)?,
            Err(_) => true,
        };
        let cpu = processes.cpu_seconds()? - cpu;
        let seconds = start.elapsed().as_secs_f64();
        let after = processes.memory()?;
        let board = board.borrow();
        let per_group =
            |memory: u64| memory.saturating_sub(before.resident) as f64 / self.groups as f64;
        Ok(json!({
            "latency": board.latencies.summary(),
            "expected": self.groups as u64 * self.writes,
            "cpuPerWrite": cpu / self.writes as f64,
            "seconds": seconds,
            "connect": connect_ms, "connectCpu": connect_cpu,
            "memory": { "before": before, "connected": connected, "after": after },
            "perGroup": per_group(connected.resident), "perGroupAfter": per_group(after.resident),
            "late": late,
        }))
    }

    async fn connect(&self, target: &Target, queries: &[Query]) -> Result<Vec<Group>, LoadError> {
        let next = Rc::new(RefCell::new(0));
        let tasks: Vec<_> = (0..CONNECTING)
            .map(|_| {
                let (next, target, queries, total) =
                    (next.clone(), target.clone(), queries.to_vec(), self.groups);
                tokio::task::spawn_local(async move {
                    let mut groups = Vec::new();
                    loop {
                        let number = next.replace_with(|it| *it + 1);
                        if number >= total {
                            return Ok::<_, LoadError>(groups);
                        }
                        let query = &queries[number % queries.len()];
                        let mut group = Group::connect(
                            &target,
                            &fresh_name(number + 1),
                            None,
                            std::slice::from_ref(query),
                        )
                        .await?;
                        group.hydrated(query).await?;
                        groups.push(group);
                    }
                })
            })
            .collect();
        let mut groups = Vec::with_capacity(self.groups);
        for task in tasks {
            groups.extend(
                task.await
                    .map_err(|error| LoadError::Wrong(error.to_string()))??,
            );
        }
        Ok(groups)
    }
}

async fn watch(mut group: Group, board: Rc<RefCell<Board>>, mut known: u64, last: u64) {
    while known < last {
        let mark = group.mark().await;
        let mut board = board.borrow_mut();
        match mark {
            Ok(mark) => {
                board.arrived(known, mark);
                known = known.max(mark);
            }
            Err(error) => {
                board.failure.get_or_insert(error);
                break;
            }
        }
    }
    {
        let mut board = board.borrow_mut();
        board.waiting -= 1;
        if board.waiting == 0 || board.failure.is_some() {
            board.changed.notify_one();
        }
    }
    // The connection stays, so that memory is that of connected groups.
    while group.poke().await.is_ok() {}
}
