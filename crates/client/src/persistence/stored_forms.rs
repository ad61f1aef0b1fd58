//! What is stored, in the client's terms and back.

use crate::connection::pokes::Poke;
use crate::effect::{ErrorSource, MutationError, MutationInfo, Outcome};
use crate::mutations::{Mutation, MutationKey, Stored, read_arguments};
use crate::queries::QueryChange;
use landfall_protocol::{CrudOp, MutationMode, QueryMode, ServerMode};
use landfall_store::{Ending, LogRecord, Patch, QueuedMutation, RememberedMode, StoredOutcome};
use landfall_zql::json::{self, JsonError, to_text};

pub(crate) fn remembered(mode: ServerMode) -> RememberedMode {
    RememberedMode {
        named_queries: mode.queries == QueryMode::Named,
        custom_mutations: mode.mutations == MutationMode::Custom,
        version: mode.version,
    }
}

pub(crate) fn server_mode(mode: RememberedMode) -> ServerMode {
    ServerMode {
        queries: if mode.named_queries {
            QueryMode::Named
        } else {
            QueryMode::Ast
        },
        mutations: if mode.custom_mutations {
            MutationMode::Custom
        } else {
            MutationMode::Crud
        },
        version: mode.version,
    }
}

pub(crate) fn ops_json(ops: &[CrudOp]) -> String {
    to_text(ops)
}

/// Writes as they were stored, or why they cannot be read.
pub(crate) fn read_ops(ops: Option<&str>) -> (Vec<CrudOp>, Option<JsonError>) {
    match ops.map(json::read::<Vec<CrudOp>>).transpose() {
        Ok(ops) => (ops.unwrap_or_default(), None),
        Err(problem) => (Vec::new(), Some(problem)),
    }
}

/// Writes that cannot be read are made anew by the replay. If it fails, or if they may have been sent, the application is
/// told when the server has taken the mutation without them.
pub(crate) fn from_queue(queued: QueuedMutation) -> Mutation {
    let (ops, problem) = read_ops(queued.ops.as_deref());
    let (args_json, unusable) = read_arguments(queued.args);
    Mutation {
        client_id: queued.client_id,
        id: queued.id,
        name: queued.name,
        args_json,
        created_ms: queued.timestamp,
        call: None,
        ops,
        unreadable: problem.is_some(),
        unwritten: queued.ops.is_none(),
        attempted: queued.attempted,
        pushed: false,
        sent_by_other: false,
        unmarked: false,
        stored: Stored::At(queued.sequence),
        replay_error: unusable.clone().or(problem.map(|problem| MutationError {
            source: ErrorSource::Zero,
            message: format!("its stored writes cannot be read: {problem}"),
            details: None,
        })),
        unusable,
        sent_outcome: None,
    }
}

pub(crate) fn outcome_of(ending: Ending) -> Outcome {
    match ending {
        Ending::Uncertain => Outcome::Uncertain,
        Ending::Failed { error } => Outcome::Failed {
            error: json::read(&error).unwrap_or(MutationError {
                source: ErrorSource::Zero,
                message: error,
                details: None,
            }),
        },
    }
}

pub(crate) fn ending_of(outcome: &Outcome) -> Option<Ending> {
    match outcome {
        Outcome::Confirmed => None,
        Outcome::Uncertain => Some(Ending::Uncertain),
        Outcome::Failed { error } => Some(Ending::Failed {
            error: to_text(error),
        }),
    }
}

pub(crate) fn from_outcome(stored: StoredOutcome) -> MutationInfo {
    MutationInfo {
        client_id: stored.client_id,
        mutation_id: stored.id,
        name: stored.name,
        args_json: stored.args,
        outcome: Some(outcome_of(stored.ending)),
    }
}

/// The outcomes that the application is shown: of those without a name only the tab that made them knows what they are,
/// and those of mutations that still wait tell how these will end.
pub(crate) fn take_ends(outcomes: Vec<StoredOutcome>, queue: &mut [Mutation]) -> Vec<MutationInfo> {
    let mut shown = Vec::new();
    for outcome in outcomes {
        let is_it = |m: &&mut Mutation| m.id == outcome.id && m.client_id == outcome.client_id;
        if let Some(waiting) = queue.iter_mut().find(is_it) {
            waiting.sent_outcome = Some(outcome_of(outcome.ending));
        } else if !outcome.name.is_empty() {
            shown.push(from_outcome(outcome));
        }
    }
    shown
}

pub(crate) fn to_outcome(mutation: &Mutation, outcome: &Outcome) -> Option<StoredOutcome> {
    Some(StoredOutcome {
        name: mutation.name.clone(),
        args: mutation.args_json.clone(),
        ..unnamed_outcome(&mutation.key(), outcome)?
    })
}

/// As [`to_outcome`], of a mutation of which nothing but its key is known here.
pub(crate) fn unnamed_outcome(key: &MutationKey, outcome: &Outcome) -> Option<StoredOutcome> {
    Some(StoredOutcome {
        client_id: key.0.clone(),
        id: key.1,
        name: String::new(),
        args: "[]".to_owned(),
        ending: ending_of(outcome)?,
    })
}

/// A log record as the poke that it was, from where this client stands.
pub(crate) fn from_record(record: LogRecord, base: Option<String>) -> Poke {
    // From nothing at all means everything there is: it does not name what is gone.
    let cleared = record.patch.clear || record.base.is_none();
    let mut got = Vec::from_iter(cleared.then_some(QueryChange::Clear));
    for change in record.patch.got {
        got.push(match change {
            landfall_store::QueryChange::Put { hash } => QueryChange::Put(hash),
            landfall_store::QueryChange::Del { hash } => QueryChange::Del(hash),
        });
    }
    Poke {
        base,
        cookie: record.cookie,
        cleared,
        rows: record.patch.rows,
        confirmed: record.last_mutation_ids,
        got,
        stored: Some(record.number + 1),
        ..Poke::default()
    }
}

pub(crate) fn to_patch(poke: &mut Poke) -> Patch {
    let got = poke
        .got
        .iter()
        .filter_map(|change| match change {
            QueryChange::Put(hash) => Some(landfall_store::QueryChange::Put { hash: hash.clone() }),
            QueryChange::Del(hash) => Some(landfall_store::QueryChange::Del { hash: hash.clone() }),
            QueryChange::Clear => None,
        })
        .collect();
    // What this client is known to want dies with it: a client id is never used again.
    Patch {
        clear: poke.cleared,
        rows: std::mem::take(&mut poke.rows),
        desired: Vec::new(),
        got,
    }
}
