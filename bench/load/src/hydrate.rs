//! From asking to having: a server's start, and queries of connected clients.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::error::LoadError;
use crate::group::{Group, fresh_name};
use crate::latencies::{median, milliseconds};
use crate::target::{Query, Target};

/// Waits until a client has the rows of a query, trying again while there is nobody to connect to.
#[derive(Deserialize)]
pub struct Ready {
    pub limit: u64,
    #[serde(default = "hundred")]
    pub rows: usize,
}

fn hundred() -> usize {
    100
}

impl Ready {
    pub async fn run(self, target: &Target) -> Result<Value, LoadError> {
        let query = Query::nth(self.rows, 3, 0)?;
        let attempts = async {
            for attempt in 0.. {
                let answered = async {
                    let name = fresh_name(attempt);
                    let mut group =
                        Group::connect(target, &name, None, std::slice::from_ref(&query)).await?;
                    let rows = group.hydrated(&query).await?;
                    group.close().await?;
                    if rows >= query.rows {
                        Ok(())
                    } else {
                        Err(LoadError::Wrong(format!(
                            "{rows} rows instead of {}",
                            query.rows
                        )))
                    }
                };
                // A server that takes connections before it can serve them may leave one without an answer.
                match timeout(Duration::from_secs(20), answered).await {
                    Ok(Ok(())) => break,
                    Ok(Err(error @ (LoadError::Wrong(_) | LoadError::Message(_)))) => {
                        return Err(error);
                    }
                    Ok(Err(_)) | Err(_) => sleep(Duration::from_millis(20)).await,
                }
            }
            Ok(())
        };
        timeout(Duration::from_secs(self.limit), attempts)
            .await
            .map_err(|_| LoadError::Late(self.limit, "no client has its rows"))??;
        Ok(json!({ "memory": target.processes().memory()? }))
    }
}

/// New queries of clients that are connected already.
#[derive(Deserialize)]
pub struct Hydrate {
    rows: usize,
    repeats: usize,
}

impl Hydrate {
    pub async fn run(self, target: &Target) -> Result<Value, LoadError> {
        let (mut first, mut shared) = (Vec::new(), Vec::new());
        for repeat in 0..self.repeats {
            let query = Query::nth(self.rows, 1 + repeat, 0)?;
            let mut groups = Vec::new();
            for list in [&mut first, &mut shared] {
                let mut group = Group::connect(target, &fresh_name(repeat), None, &[]).await?;
                group.poke().await?;
                let start = Instant::now();
                group.want(vec![query.put()]).await?;
                let rows = group.hydrated(&query).await?;
                list.push(milliseconds(start.elapsed()));
                if rows != self.rows {
                    return Err(LoadError::Wrong(format!(
                        "{rows} rows instead of {}",
                        self.rows
                    )));
                }
                groups.push(group);
            }
            for group in groups {
                group.close().await?;
            }
        }
        Ok(json!({ "first": median(first), "shared": median(shared) }))
    }
}
