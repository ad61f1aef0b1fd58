//! A group that keeps its rows, to be compared with the database.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use crate::error::LoadError;
use crate::group::{Group, Poke};
use crate::target::{Query, Target};
use crate::writer::Writer;

/// A group that keeps its rows.
pub struct Checker {
    name: String,
    group: Option<Group>,
    cookie: Option<String>,
    queries: Vec<Query>,
    /// Marks by key.
    rows: BTreeMap<String, i64>,
    /// The highest mark that has come: marks grow, so what is older and missing was lost, and the rest is only late.
    newest: i64,
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "rowsPatch", default)]
    rows: Vec<RowPatch>,
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum RowPatch {
    Put { value: RowValue },
    Del { id: RowKey },
}

#[derive(Deserialize)]
struct RowValue {
    id: String,
    mark: i64,
}

#[derive(Deserialize)]
struct RowKey {
    id: String,
}

impl Checker {
    pub fn new(name: String, queries: Vec<Query>) -> Checker {
        Checker {
            name,
            group: None,
            cookie: None,
            queries,
            rows: BTreeMap::new(),
            newest: 0,
        }
    }

    /// Connects, at its cookie if it has one.
    pub async fn connect(&mut self, target: &Target) -> Result<(), LoadError> {
        // The server remembers what a known group wants.
        let wanted = if self.cookie.is_none() {
            self.queries.as_slice()
        } else {
            &[]
        };
        self.group = Some(Group::connect(target, &self.name, self.cookie.clone(), wanted).await?);
        Ok(())
    }

    pub async fn disconnect(&mut self) -> Result<(), LoadError> {
        match self.group.take() {
            Some(group) => group.close().await,
            None => Ok(()),
        }
    }

    /// Takes pokes until the moment given.
    pub async fn follow(&mut self, until: Instant) -> Result<(), LoadError> {
        let Some(group) = &mut self.group else {
            return Err(LoadError::Closed);
        };
        while let Ok(poke) = timeout_at(until, group.poke()).await {
            self.cookie.clone_from(&group.cookie);
            let newest = apply(&mut self.rows, &poke?)?;
            self.newest = self.newest.max(newest);
        }
        Ok(())
    }

    /// Follows until the rows are those of the database, which nobody changes any more.
    pub async fn converge(&mut self, writer: &Writer, limit: Duration) -> Result<usize, LoadError> {
        let mut wanted = BTreeMap::new();
        for query in &self.queries {
            wanted.extend(writer.rows(query).await?);
        }
        let end = Instant::now() + limit;
        while self.rows != wanted {
            if Instant::now() >= end {
                return Err(self.difference(&wanted));
            }
            self.follow(Instant::now() + Duration::from_millis(200))
                .await?;
        }
        Ok(wanted.len())
    }

    fn difference(&self, wanted: &BTreeMap<String, i64>) -> LoadError {
        let missing: Vec<i64> = wanted
            .iter()
            .filter(|(key, mark)| self.rows.get(*key) != Some(mark))
            .map(|(_, mark)| *mark)
            .collect();
        let lost = missing.iter().filter(|mark| **mark < self.newest).count();
        let extra = self
            .rows
            .keys()
            .filter(|key| !wanted.contains_key(*key))
            .count();
        let first = wanted
            .iter()
            .find(|(key, mark)| self.rows.get(*key) != Some(mark));
        LoadError::Wrong(format!(
            "{}: {} of {} rows missing or old (first {first:?}, here {:?}), {lost} of them lost and the others late, {extra} too many",
            self.name,
            missing.len(),
            wanted.len(),
            first.and_then(|(key, _)| self.rows.get(key)),
        ))
    }
}

/// Takes a poke in; gives its highest mark.
fn apply(rows: &mut BTreeMap<String, i64>, poke: &Poke) -> Result<i64, LoadError> {
    let mut newest = 0;
    for text in poke {
        let (_, part): (String, Part) = serde_json::from_str(text)?;
        for patch in part.rows {
            match patch {
                RowPatch::Put { value } => {
                    newest = newest.max(value.mark);
                    rows.insert(value.id, value.mark);
                }
                RowPatch::Del { id } => {
                    rows.remove(&id.id);
                }
            }
        }
    }
    Ok(newest)
}
