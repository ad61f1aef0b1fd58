//! As many one-row transactions as the database takes, with one group watching all of the rows.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::error::LoadError;
use crate::group::{Group, fresh_name};
use crate::target::{Query, Target};

#[derive(Deserialize)]
pub struct Burst {
    writes: u64,
    /// Seconds to the last arrival.
    limit: u64,
}

impl Burst {
    pub async fn run(self, target: &Target) -> Result<Value, LoadError> {
        let mut writer = target.writer().await?;
        let processes = target.processes();
        let query = Query::nth(100, 0, 0)?;
        let mut group =
            Group::connect(target, &fresh_name(0), None, std::slice::from_ref(&query)).await?;
        group.hydrated(&query).await?;
        let last = writer.mark() + self.writes;
        let cpu = processes.cpu_seconds()?;
        let start = Instant::now();
        let reading = tokio::task::spawn_local(async move {
            let mut pokes = 0_u64;
            loop {
                let mark = group.mark().await?;
                pokes += 1;
                if mark >= last {
                    return Ok::<_, LoadError>((pokes, start.elapsed()));
                }
            }
        });
        writer.burst(self.writes).await?;
        let written = start.elapsed();
        let (pokes, arrived) = timeout(Duration::from_secs(self.limit), reading)
            .await
            .map_err(|_| LoadError::Late(self.limit, "the last change has not arrived"))?
            .map_err(|error| LoadError::Wrong(error.to_string()))??;
        Ok(json!({
            "perSecond": self.writes as f64 / arrived.as_secs_f64(),
            "databasePerSecond": self.writes as f64 / written.as_secs_f64(),
            "pokes": pokes,
            "cpuPerWrite": (processes.cpu_seconds()? - cpu) / self.writes as f64,
        }))
    }
}
