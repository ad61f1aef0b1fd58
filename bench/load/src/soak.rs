//! Mixed load for minutes: writes, bursts, groups that come, go and return; then a comparison with the database.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::checker::Checker;
use crate::error::LoadError;
use crate::group::{Group, fresh_name};
use crate::processes::Memory;
use crate::random::Random;
use crate::target::{Query, Target};
use crate::writer::Writer;

const CHECKERS: usize = 8;
const VISITORS: usize = 60;
/// Issues that change; queries are about these.
const ISSUES: usize = 20_000;

#[derive(Deserialize)]
pub struct Soak {
    seconds: u64,
    #[serde(default)]
    seed: u64,
}

/// How often what happened.
#[derive(Default)]
struct Counts {
    writes: Cell<u64>,
    bursts: Cell<u64>,
    visits: Cell<u64>,
    returns: Cell<u64>,
    refused: RefCell<Vec<String>>,
}

fn add(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

impl Soak {
    pub async fn run(self, target: &Target) -> Result<Value, LoadError> {
        let end = Instant::now() + Duration::from_secs(self.seconds);
        let counts = Rc::new(Counts::default());
        let writing = tokio::task::spawn_local(write(
            target.writer().await?,
            Random::new(self.seed),
            counts.clone(),
            end,
        ));
        let mut random = Random::new(self.seed + 1);
        let checking: Vec<_> = (0..CHECKERS)
            .map(|number| {
                let queries = some_queries(&mut random, 3)?;
                let checker = Checker::new(fresh_name(number), queries);
                // Half of them stay, the others leave and return.
                let random = (number % 2 == 1).then(|| Random::new(self.seed + 10 + number as u64));
                Ok(tokio::task::spawn_local(check(
                    checker,
                    target.clone(),
                    random,
                    end,
                )))
            })
            .collect::<Result<_, LoadError>>()?;
        for number in 0..VISITORS {
            let random = Random::new(self.seed + 1000 + number as u64);
            tokio::task::spawn_local(visit(
                target.clone(),
                random,
                number + CHECKERS,
                counts.clone(),
                end,
            ));
        }
        let samples = self.sample(target, end).await?;
        let writer = writing
            .await
            .map_err(|error| LoadError::Wrong(error.to_string()))??;
        let at = |part: usize| samples.get((samples.len() - 1) * part / 2);
        let mut report = json!({
            "seconds": self.seconds, "writes": counts.writes.get(), "bursts": counts.bursts.get(),
            "visits": counts.visits.get(), "returns": counts.returns.get(), "refused": *counts.refused.borrow(),
            "start": at(0), "middle": at(1), "end": at(2),
            "highest": samples.iter().map(|it| it.memory.resident).max(),
            "samples": samples,
        });
        let compared = compare(checking, &writer).await;
        if compared.is_err() {
            // What was measured is true whatever the comparison says.
            eprintln!("{report}");
        }
        report["rowsCompared"] = json!(compared?);
        Ok(report)
    }

    async fn sample(&self, target: &Target, end: Instant) -> Result<Vec<Sample>, LoadError> {
        let processes = target.processes();
        let every = Duration::from_secs((self.seconds / 60).max(5));
        let mut samples = Vec::new();
        // The first when the load is there.
        let mut next = Instant::now() + every;
        while next <= end {
            sleep_until(next).await;
            next += every;
            samples.push(Sample {
                memory: processes.memory()?,
                cpu: processes.cpu_seconds()?,
                files: target.files_size(),
            });
        }
        if samples.is_empty() {
            return Err(LoadError::Wrong("too short: nothing was measured".into()));
        }
        Ok(samples)
    }
}

/// How long a group may take for what it has missed when nothing changes any more.
const CONVERGENCE: Duration = Duration::from_secs(300);

async fn compare(
    checking: Vec<JoinHandle<Result<Checker, LoadError>>>,
    writer: &Writer,
) -> Result<usize, LoadError> {
    let mut compared = 0;
    for task in checking {
        let mut checker = task
            .await
            .map_err(|error| LoadError::Wrong(error.to_string()))??;
        compared += checker.converge(writer, CONVERGENCE).await?;
    }
    Ok(compared)
}

#[derive(serde::Serialize)]
struct Sample {
    memory: Memory,
    cpu: f64,
    files: u64,
}

fn some_queries(random: &mut Random, count: usize) -> Result<Vec<Query>, LoadError> {
    (0..count)
        .map(|_| {
            let rows = [1, 100, 100, 1000][random.below(4)];
            Query::nth(rows, random.below(ISSUES / rows), random.below(3))
        })
        .collect()
}

async fn write(
    mut writer: Writer,
    mut random: Random,
    counts: Rc<Counts>,
    end: Instant,
) -> Result<Writer, LoadError> {
    while Instant::now() < end {
        if random.chance(1) && random.chance(20) {
            writer.burst(2000).await?;
            add(&counts.bursts);
        } else if random.chance(10) {
            // A row goes and comes back, maybe in another group of rows.
            let issue = random.below(ISSUES);
            writer.remove(issue).await?;
            sleep(Duration::from_millis(20)).await;
            writer.insert(issue).await?;
        } else {
            writer.touch(random.below(ISSUES)).await?;
        }
        add(&counts.writes);
        sleep(Duration::from_millis(5 + random.below(60) as u64)).await;
    }
    Ok(writer)
}

async fn check(
    mut checker: Checker,
    target: Target,
    mut random: Option<Random>,
    end: Instant,
) -> Result<Checker, LoadError> {
    checker.connect(&target).await?;
    while Instant::now() < end {
        match &mut random {
            None => checker.follow(end).await?,
            Some(random) => {
                let stay = Duration::from_secs(1 + random.below(20) as u64);
                checker.follow((Instant::now() + stay).min(end)).await?;
                checker.disconnect().await?;
                sleep(Duration::from_millis(random.below(15_000) as u64)).await;
                checker.connect(&target).await?;
            }
        }
    }
    Ok(checker)
}

/// Comes with some queries, changes its mind, goes, and comes back where it was, or as somebody new.
async fn visit(
    target: Target,
    mut random: Random,
    number: usize,
    counts: Rc<Counts>,
    end: Instant,
) {
    let mut name = fresh_name(number);
    let mut cookie = None;
    while Instant::now() < end {
        match visit_once(&target, &name, cookie.clone(), &mut random).await {
            Ok(reached) => cookie = reached,
            Err(error) => {
                counts.refused.borrow_mut().push(error.to_string());
                cookie = None;
            }
        }
        add(&counts.visits);
        sleep(Duration::from_millis(random.below(5000) as u64)).await;
        if cookie.is_none() || random.chance(20) {
            cookie = None;
            name = fresh_name(number);
        } else {
            add(&counts.returns);
        }
    }
}

async fn visit_once(
    target: &Target,
    name: &str,
    cookie: Option<String>,
    random: &mut Random,
) -> Result<Option<String>, LoadError> {
    let wanted = some_queries(random, 2)?;
    let mut group = Group::connect(target, name, cookie, &wanted).await?;
    for _ in 0..random.below(4) {
        let until = Duration::from_millis(random.below(4000) as u64);
        let reading = async {
            loop {
                group.poke().await?;
            }
        };
        if let Ok(ended) = timeout(until, reading).await {
            let ended: Result<(), LoadError> = ended;
            ended?;
        }
        if random.chance(50) {
            let mut patch: Vec<Value> = some_queries(random, 1)?.iter().map(Query::put).collect();
            patch.push(json!({ "op": "del", "hash": wanted[0].hash }));
            group.want(patch).await?;
        }
    }
    let cookie = group.cookie.clone();
    group.close().await?;
    Ok(cookie)
}
