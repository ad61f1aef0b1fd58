//! One pipeline with its members: hydrated in slices, then moved from point to point.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use landfall_ivm::{Choice, Pipeline, Source, SourceChange, SourceError};
use landfall_zql::{Key, Row, Schema, TableId};

use super::accounting::{Counter, Deltas, RowKey};
use super::encode::fingerprint;
use super::members::{ColdMembers, Departed, Live, Members, Step};
use super::prepare::PreparedQuery;
use super::rewound::Rewound;
use crate::cvr::{InstanceId, StateVersion, StoredInstance, StoredMember};
use crate::replica::{Advance, RowChange};

/// How long a slice of a hydration may take.
const SLICE: Duration = Duration::from_millis(8);
/// Rows that a query may have.
const MAX_ROWS: usize = 2_000_000;
/// Changes that may wait for a hydration before it starts anew.
const MAX_PENDING: usize = 20_000;
/// How often a hydration may start anew for that reason.
const MAX_RESTARTS: u32 = 8;

/// Members of an instance over the replica's rows.
pub(super) type InstanceMembers = Members<RowKey, Row>;

/// A query that is served, or about to be.
pub(super) struct Instance {
    pub(super) id: InstanceId,
    pub(super) query: Arc<PreparedQuery>,
    pub(super) pipeline: Pipeline,
    pub(super) hydration: Option<Hydration>,
    pub(super) members: InstanceMembers,
    /// What is stored of an earlier life; taken in when the hydration ends.
    pub(super) stored: Option<StoredInstance>,
    /// States that nobody recorded: after the end of the earlier life, before this one.
    pub(super) gap: Option<(StateVersion, StateVersion)>,
    /// Groups that use it.
    pub(super) users: usize,
    pub(super) idle_since: Option<Instant>,
    /// The pipeline's state is not to be trusted any more.
    pub(super) broken: bool,
    /// Why it cannot be served; it goes when nobody holds it any more.
    pub(super) failed: Option<String>,
}

/// A hydration under way.
#[derive(Default)]
pub(super) struct Hydration {
    counted: Deltas,
    last: Option<Row>,
    /// Advances since it began, not pushed yet.
    pending: Vec<Arc<Advance>>,
    waiting: usize,
    /// The pipeline has seen rows of an abandoned hydration and is to be built anew.
    stale: bool,
    /// How often it was overtaken by changes and began anew.
    restarts: u32,
}

/// How a slice of a hydration ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Slice {
    /// More is to be read.
    More,
    /// All is read, and brought to the reader's version.
    Done,
}

/// Why an instance cannot be served.
#[derive(Debug, thiserror::Error)]
pub(super) enum InstanceError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("the query has more than {MAX_ROWS} rows")]
    TooLarge,
    #[error("the database changes faster than the query can be read")]
    Overrun,
    #[error(transparent)]
    Accounting(#[from] super::members::AccountingError),
    #[error("the query met a fault of the server")]
    Fault,
}

impl Instance {
    pub(super) fn new(id: InstanceId, query: Arc<PreparedQuery>, pipeline: Pipeline) -> Self {
        Instance {
            id,
            query,
            pipeline,
            hydration: Some(Hydration::default()),
            members: Members::default(),
            stored: None,
            gap: None,
            users: 0,
            idle_since: None,
            broken: false,
            failed: None,
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        self.hydration.is_none()
    }

    /// Changes of a table that the pipeline reads are not known one by one.
    pub(super) fn restart_hydration(&mut self) {
        match &mut self.hydration {
            Some(hydration) => {
                *hydration = Hydration {
                    stale: true,
                    ..Hydration::default()
                }
            }
            None => self.broken = true,
        }
    }

    /// Tables were changed that the pipeline may read: it is built for the schema as it is now.
    pub(super) fn adapt(&mut self, newest: &dyn Source) -> Result<(), InstanceError> {
        self.pipeline = build(&self.query, newest)?;
        Ok(())
    }

    /// Changes of these tables, which the pipeline does not read, may have another shape than their rows now.
    pub(super) fn forget_tables(&mut self, tables: &BTreeSet<TableId>) {
        if let Some(hydration) = &mut self.hydration {
            for advance in &mut hydration.pending {
                *advance = without(advance, tables);
            }
        }
    }

    /// An advance happened while the instance is being hydrated.
    pub(super) fn note(&mut self, advance: &Arc<Advance>) -> Result<(), InstanceError> {
        let Some(hydration) = &mut self.hydration else {
            return Ok(());
        };
        hydration.waiting += advance.changes.len();
        if hydration.waiting > MAX_PENDING {
            let restarts = hydration.restarts + 1;
            // Read from now on, nothing waits.
            *hydration = Hydration {
                stale: true,
                restarts,
                ..Hydration::default()
            };
            return match restarts {
                ..=MAX_RESTARTS => Ok(()),
                _ => Err(InstanceError::Overrun),
            };
        }
        if !advance.changes.is_empty() {
            hydration.pending.push(advance.clone());
        }
        Ok(())
    }

    /// Reads on for a while. `newest` shows all advances that were noted.
    pub(super) fn hydrate(&mut self, newest: &dyn Source) -> Result<Slice, InstanceError> {
        guarded(|| self.hydrate_slice(newest))
    }

    fn hydrate_slice(&mut self, newest: &dyn Source) -> Result<Slice, InstanceError> {
        let Some(hydration) = &mut self.hydration else {
            return Ok(Slice::Done);
        };
        let schema = newest.schema();
        if std::mem::take(&mut hydration.stale) {
            self.pipeline = build(&self.query, newest)?;
        }
        let mut source = Rewound::new(newest, &hydration.pending);
        if !read_slice(&self.pipeline, &source, hydration, schema)? {
            return Ok(Slice::More);
        }
        for advance in std::mem::take(&mut hydration.pending) {
            for change in &advance.changes {
                push(
                    &self.pipeline,
                    &source,
                    change,
                    schema,
                    &mut hydration.counted,
                )?;
                source.reveal(change);
            }
        }
        Ok(Slice::Done)
    }

    /// Ends the hydration: members get labels, those of an earlier life where nothing changed. Returns what is to be
    /// stored.
    pub(super) fn settle(
        &mut self,
        point: StateVersion,
        stored: Vec<StoredMember>,
        schema: &Schema,
    ) -> Result<Vec<RowKey>, InstanceError> {
        let Some(hydration) = self.hydration.take() else {
            return Ok(Vec::new());
        };
        let mut earlier: BTreeMap<RowKey, StoredMember> = BTreeMap::new();
        for member in stored {
            // Members of tables that are gone cannot be named any more, and nobody has them under this schema.
            if let Some(key) = row_key(schema, &member) {
                earlier.insert(key, member);
            }
        }
        let mut changed = Vec::new();
        let mut members = Members::default();
        for (key, delta) in hydration.counted {
            let (count, row) = match (delta.count, delta.row) {
                (0, _) => continue,
                (count, Some(row)) if count > 0 => (count, row),
                _ => return Err(super::members::AccountingError.into()),
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
            self.gap = Some((stored.durable, point));
        }
        self.members = members;
        Ok(changed)
    }

    /// Pushes one change; the source still shows the state before it.
    pub(super) fn push(
        &mut self,
        source: &dyn Source,
        change: &RowChange,
        deltas: &mut Deltas,
    ) -> Result<(), InstanceError> {
        guarded(|| push(&self.pipeline, source, change, source.schema(), deltas))
    }

    /// Reads everything anew with a fresh pipeline, as one point.
    pub(super) fn rebuild(
        &mut self,
        newest: &dyn Source,
        point: StateVersion,
    ) -> Result<Vec<(RowKey, Step)>, InstanceError> {
        let schema = newest.schema();
        self.pipeline = build(&self.query, newest)?;
        let mut hydration = Hydration::default();
        guarded(|| {
            while !read_slice(&self.pipeline, newest, &mut hydration, schema)? {}
            Ok(())
        })?;
        let mut deltas = hydration.counted;
        for (key, live) in self.members.live() {
            deltas.entry(key.clone()).or_default().count -= live.count;
        }
        self.broken = false;
        Ok(self.members.step(point, deltas)?)
    }

    /// Whether a client that has this instance's rows of a state can be brought up from there.
    pub(super) fn reaches_back_to(&self, since: StateVersion) -> bool {
        since >= self.members.pruned_below() && self.vouches_for(since)
    }

    /// Whether the labels of its rows say what happened since then: a state that nobody watched is not among them.
    pub(super) fn vouches_for(&self, since: StateVersion) -> bool {
        !self
            .gap
            .is_some_and(|(from, to)| from < since && since < to)
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

/// An advance without the changes of some tables.
pub(super) fn without(advance: &Arc<Advance>, tables: &BTreeSet<TableId>) -> Arc<Advance> {
    if !advance.changes.iter().any(|c| tables.contains(&c.table)) {
        return advance.clone();
    }
    let mut rest = Advance::clone(advance);
    rest.changes.retain(|c| !tables.contains(&c.table));
    Arc::new(rest)
}

fn build(query: &PreparedQuery, source: &dyn Source) -> Result<Pipeline, SourceError> {
    Pipeline::plan(&query.ast, source.schema(), Choice::Estimated(source)).map_err(|e| {
        SourceError {
            message: e.to_string(),
            source: None,
        }
    })
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
fn guarded<T>(work: impl FnOnce() -> Result<T, InstanceError>) -> Result<T, InstanceError> {
    // Whatever the pipeline's state is after a fault, it is not used again: the instance is built anew or dropped.
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        metrics::counter!("landfall_query_faults_total").increment(1);
        Err(InstanceError::Fault)
    })
}

/// Reads one slice; true when it was the last one.
fn read_slice(
    pipeline: &Pipeline,
    source: &dyn Source,
    hydration: &mut Hydration,
    schema: &Schema,
) -> Result<bool, InstanceError> {
    let begun = Instant::now();
    let after = hydration.last.clone();
    let mut last = None;
    let mut counter = Counter {
        schema,
        deltas: &mut hydration.counted,
    };
    let mut finished = true;
    let mut too_large = false;
    pipeline.fetch(source, after.as_ref(), &mut |reader, node| {
        counter.enter(reader, &node)?;
        last = Some(node.row);
        too_large = counter.deltas.len() > MAX_ROWS;
        if too_large || begun.elapsed() > SLICE {
            finished = false;
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if last.is_some() {
        hydration.last = last;
    }
    match too_large {
        true => Err(InstanceError::TooLarge),
        false => Ok(finished),
    }
}

fn push(
    pipeline: &Pipeline,
    source: &dyn Source,
    change: &RowChange,
    schema: &Schema,
    deltas: &mut Deltas,
) -> Result<(), InstanceError> {
    let change = SourceChange {
        table: change.table,
        old: change.before.clone(),
        new: change.after.clone(),
    };
    Ok(pipeline.push(source, &change, &mut Counter { schema, deltas })?)
}

/// Tables whose changes can reach a pipeline.
pub(super) fn tables_of(pipeline: &Pipeline, schema: &Schema) -> Vec<TableId> {
    schema
        .iter()
        .map(|(id, _)| id)
        .filter(|id| pipeline.reads(*id))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::Reset;
    use landfall_ivm::MemorySource;
    use landfall_zql::ValueRef;
    use landfall_zql::ast::Ast;

    const SCHEMA: &str = r#"{"tables": {"t": {"name": "t", "columns": {"id": {"type": "string"}}, "primaryKey": ["id"]}}}"#;

    fn row(n: usize) -> Row {
        Row::from_values([ValueRef::String(&format!("r{n:06}"))])
    }

    fn insert(rows: std::ops::Range<usize>) -> Arc<Advance> {
        let changes = rows.map(|n| RowChange {
            table: TableId(0),
            before: None,
            after: Some(row(n)),
        });
        Arc::new(Advance {
            from: 1,
            to: 2,
            changes: changes.collect(),
            lmids: Vec::new(),
            results: Vec::new(),
            reset: Reset::None,
            permissions_changed: false,
        })
    }

    /// A bulk insert while a query was first read made the query fail.
    #[test]
    fn a_hydration_that_is_overtaken_begins_anew() {
        let schema = Arc::new(Schema::from_json(SCHEMA).expect("schema"));
        let ast = Ast {
            table: "t".into(),
            ..Ast::default()
        };
        let pipeline = Pipeline::build(&ast, &schema).expect("builds");
        let mut instance =
            Instance::new(InstanceId(1), Arc::new(PreparedQuery::new(&ast)), pipeline);
        let mut source = MemorySource::new(schema.clone());
        let rows = MAX_PENDING + 1;
        instance.note(&insert(0..rows)).expect("begins anew");
        source.load(TableId(0), &(0..rows).map(row).collect::<Vec<_>>());
        while instance.hydrate(&source).expect("reads") == Slice::More {}
        instance.settle(2, Vec::new(), &schema).expect("settles");
        assert_eq!(instance.members.len(), rows);
        assert!(instance.members.live().all(|(_, live)| live.count == 1));
    }

    #[test]
    fn a_hydration_that_is_always_overtaken_fails() {
        let schema = Arc::new(Schema::from_json(SCHEMA).expect("schema"));
        let ast = Ast {
            table: "t".into(),
            ..Ast::default()
        };
        let pipeline = Pipeline::build(&ast, &schema).expect("builds");
        let mut instance =
            Instance::new(InstanceId(1), Arc::new(PreparedQuery::new(&ast)), pipeline);
        let flood = insert(0..MAX_PENDING + 1);
        let failed = (0..=MAX_RESTARTS)
            .map(|_| instance.note(&flood))
            .find_map(Result::err);
        assert!(matches!(failed, Some(InstanceError::Overrun)));
    }
}
