//! A query that is served: its members with their labels, and where its pipeline is.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use landfall_ivm::{SourceChange, SourceError};
use landfall_zql::{Key, Row, Schema};

use super::accounting::{Deltas, RowKey};
use super::encode::fingerprint;
use super::members::{AccountingError, ColdMembers, Departed, Live, Members, Step};
use super::messages::{Hydrated, Ticket};
use super::prepare::PreparedQuery;
use crate::cvr::{InstanceId, StateVersion, StoredInstance, StoredMember};
use crate::replica::{ReplicaError, RowChange};

/// Stretches of unrecorded states that are told apart.
const MAX_GAPS: usize = 32;

/// Members of an instance over the replica's rows.
pub(super) type InstanceMembers = Members<RowKey, Row>;

/// A query that is served, or about to be.
pub(super) struct Instance {
    pub(super) id: InstanceId,
    pub(super) query: Arc<PreparedQuery>,
    pub(super) members: InstanceMembers,
    /// Whether there are members: from the end of the first hydration on.
    pub(super) is_settled: bool,
    pub(super) state: State,
    /// Names the present pipeline.
    pub(super) ticket: Ticket,
    /// What is stored of an earlier life; taken in when the hydration ends.
    pub(super) stored: Option<StoredInstance>,
    /// States that nobody recorded: after the end of the earlier life and before this one, and while it was read anew.
    gaps: Vec<(StateVersion, StateVersion)>,
    /// Its members are still those of this version, since it is read anew.
    pub(super) behind_since: Option<StateVersion>,
    /// Groups that use it.
    pub(super) users: usize,
    pub(super) idle_since: Option<Instant>,
    /// The version of its members when their memory was added up.
    pub(super) weighed_at: StateVersion,
    /// How often in a row its pipeline could not be taken over.
    pub(super) refusals: u32,
    /// Why it cannot be served; it goes when nobody holds it any more.
    pub(super) failed: Option<String>,
}

/// Where the pipeline of an instance is.
pub(super) enum State {
    /// It is being read, for the first time or anew.
    Hydrating,
    /// It is read, up to a version that has not been published yet.
    Read(Box<Hydrated>),
    /// A worker takes it over; what it had before.
    Adopting(Deltas),
    /// It is current.
    Alive,
}

/// Why an instance cannot be served.
#[derive(Debug, thiserror::Error)]
pub(super) enum InstanceError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    #[error("the query has more than {0} rows")]
    TooManyRows(usize),
    #[error("the rows of the query take more than {0} bytes")]
    TooMuchMemory(usize),
    #[error("the query takes longer than {0:?}")]
    TooSlow(Duration),
    #[error("the database changes faster than the query can be read")]
    Overrun,
    #[error(transparent)]
    Accounting(#[from] AccountingError),
    #[error("the query met a fault of the server")]
    Fault,
}

impl Instance {
    pub(super) fn new(ticket: Ticket, query: Arc<PreparedQuery>) -> Self {
        Instance {
            id: ticket.instance,
            query,
            members: Members::default(),
            is_settled: false,
            state: State::Hydrating,
            ticket,
            stored: None,
            gaps: Vec::new(),
            behind_since: None,
            users: 0,
            idle_since: None,
            weighed_at: 0,
            refusals: 0,
            failed: None,
        }
    }

    /// Whether its members are those of the published version.
    pub(super) fn is_alive(&self) -> bool {
        matches!(self.state, State::Alive)
    }

    /// The pipeline is read: the first time, or anew. Returns what is to be stored, and what changed for those who
    /// have had its rows all along.
    pub(super) fn take_in(
        &mut self,
        point: StateVersion,
        counted: Deltas,
        load: impl FnOnce() -> Result<Vec<StoredMember>, InstanceError>,
        schema: &Schema,
    ) -> Result<Vec<RowKey>, InstanceError> {
        self.refusals = 0;
        let changed = if self.is_settled {
            let steps = self.settle_again(point, counted)?;
            if let Some(since) = self.behind_since.take() {
                self.note_gap(since, point);
            }
            steps.into_iter().map(|(key, _)| key).collect()
        } else {
            self.settle(point, counted, load()?, schema)?
        };
        self.state = State::Alive;
        Ok(changed)
    }

    /// The difference between what was there and what a fresh reading gave, as one point.
    fn settle_again(
        &mut self,
        point: StateVersion,
        mut counted: Deltas,
    ) -> Result<Vec<(RowKey, Step)>, InstanceError> {
        for (key, live) in self.members.live() {
            counted.entry(key.clone()).or_default().count -= live.count;
        }
        Ok(self.members.step(point, counted)?)
    }

    /// Ends the hydration: members get labels, those of an earlier life where nothing changed. Returns what is to be
    /// stored.
    pub(super) fn settle(
        &mut self,
        point: StateVersion,
        counted: Deltas,
        stored: Vec<StoredMember>,
        schema: &Schema,
    ) -> Result<Vec<RowKey>, InstanceError> {
        let mut earlier: BTreeMap<RowKey, StoredMember> = BTreeMap::new();
        for member in stored {
            // Members of tables that are gone cannot be named any more, and nobody has them under this schema.
            if let Some(key) = row_key(schema, &member) {
                earlier.insert(key, member);
            }
        }
        let mut changed = Vec::new();
        let mut members = Members::default();
        for (key, delta) in counted {
            let (count, row) = match (delta.count, delta.row) {
                (0, _) => continue,
                (count, Some(row)) if count > 0 => (count, row),
                _ => return Err(AccountingError.into()),
            };
            let before = earlier.remove(&key).filter(|m| m.left.is_none());
            let same = before
                .as_ref()
                .is_some_and(|m| m.fingerprint == fingerprint(&row));
            // An earlier life on a node that was ahead may have seen later versions; what is here entered by now.
            let entered = before.as_ref().map_or(point, |m| m.entered.min(point));
            let last = before
                .as_ref()
                .filter(|_| same)
                .map_or(point, |m| m.changed.min(point));
            if !same {
                changed.push(key.clone());
            }
            members.restore_live(
                key,
                Live {
                    row,
                    count,
                    entered,
                    changed: last,
                },
            );
        }
        for (key, member) in earlier {
            if member.left.is_none() {
                changed.push(key.clone());
            }
            let left = member.left.unwrap_or(point);
            members.restore_departed(
                key,
                Departed {
                    entered: member.entered,
                    left,
                },
            );
        }
        if let Some(stored) = &self.stored {
            members.restore_pruned(stored.pruned_below);
            let durable = stored.durable;
            self.note_gap(durable, point);
        }
        self.members = members;
        self.is_settled = true;
        Ok(changed)
    }

    /// Whether a client that has this instance's rows of a state can be brought up from there.
    pub(super) fn reaches_back_to(&self, since: StateVersion) -> bool {
        since >= self.members.pruned_below() && self.vouches_for(since)
    }

    /// Whether the labels of its rows say what happened since then: a state that nobody watched is not among them.
    pub(super) fn vouches_for(&self, since: StateVersion) -> bool {
        let is_in = |(from, to): &(StateVersion, StateVersion)| *from < since && since < *to;
        !self.gaps.iter().any(is_in)
    }

    /// States between these were not watched.
    fn note_gap(&mut self, from: StateVersion, to: StateVersion) {
        self.gaps.push((from, to));
        if self.gaps.len() > MAX_GAPS {
            // What lies between two is given up with them.
            let first = self.gaps.remove(0);
            self.gaps[0].0 = first.0;
        }
    }

    /// A member or a departure as it is stored.
    pub(super) fn stored_member(&self, key: &RowKey, schema: &Schema) -> Option<StoredMember> {
        let table = schema[key.table].server_name.clone();
        let packed: Box<[u8]> = key.key.0.bytes().into();
        if let Some(live) = self.members.get(key) {
            return Some(StoredMember {
                table,
                key: packed,
                entered: live.entered,
                changed: live.changed,
                left: None,
                fingerprint: fingerprint(&live.row),
            });
        }
        let departed = self.members.departed(key)?;
        Some(StoredMember {
            table,
            key: packed,
            entered: departed.entered,
            changed: departed.left,
            left: Some(departed.left),
            fingerprint: 0,
        })
    }
}

/// Members of an instance that no pipeline serves.
pub(super) fn cold(stored: Vec<StoredMember>, schema: &Schema) -> ColdMembers<RowKey> {
    let mut cold = ColdMembers {
        live: BTreeMap::new(),
        departed: BTreeMap::new(),
    };
    for member in stored {
        let Some(key) = row_key(schema, &member) else {
            continue;
        };
        match member.left {
            None => cold.live.insert(key, member.entered),
            Some(left) => cold.departed.insert(key, left),
        };
    }
    cold
}

fn row_key(schema: &Schema, member: &StoredMember) -> Option<RowKey> {
    let table = schema.table_by_server_name(&member.table)?;
    let key = Row::from_bytes(&member.key)
        .ok()
        .filter(|row| row.len() == schema[table].primary_key.len())?;
    Some(RowKey {
        table,
        key: Key(key),
    })
}

/// Keeps a fault of the engine to the query that met it.
pub(super) fn guarded<T>(
    work: impl FnOnce() -> Result<T, InstanceError>,
) -> Result<T, InstanceError> {
    // Whatever the pipeline's state is after a fault, it is not used again: the instance is built anew or dropped.
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        metrics::counter!("landfall_query_faults_total").increment(1);
        Err(InstanceError::Fault)
    })
}

/// A change of the replica as pipelines take it.
pub(super) fn source_change(change: &RowChange) -> SourceChange {
    SourceChange {
        table: change.table,
        old: change.before.clone(),
        new: change.after.clone(),
    }
}
