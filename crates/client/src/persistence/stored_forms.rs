//! What is stored, in the client's terms and back.

use crate::connection::pokes::Poke;
use crate::effect::{ErrorSource, MutationError, MutationInfo, Outcome};
use crate::mutations::{Mutation, MutationKey, Stored};
use crate::queries::QueryChange;
use landfall_protocol::{CrudOp, MutationMode, QueryMode, ServerMode};
use landfall_store::{Ending, LogRecord, Patch, QueuedMutation, RememberedMode, StoredOutcome};
use landfall_zql::json::{self, to_text};

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

/// Writes that cannot be read are made anew by the replay. If it fails, or if they may have been sent, the application is
/// told when the server has taken the mutation without them.
pub(crate) fn from_queue(queued: QueuedMutation) -> Mutation {
    let ops = queued.ops.as_deref().map(json::read::<Vec<CrudOp>>);
    let (ops, problem) = match ops.transpose() {
        Ok(ops) => (ops.unwrap_or_default(), None),
        Err(problem) => (Vec::new(), Some(problem)),
    };
    Mutation {
        client_id: queued.client_id,
        id: queued.id,
        name: queued.name,
        args_json: queued.args,
        created_ms: queued.timestamp,
        call: None,
        ops,
        unreadable: problem.is_some(),
        attempted: queued.attempted,
        stored: Stored::At(queued.sequence),
        replay_error: problem.map(|problem| MutationError {
            source: ErrorSource::Zero,
            message: format!("its stored writes cannot be read: {problem}"),
            details: None,
        }),
        sent_outcome: None,
    }
}

pub(crate) fn from_outcome(stored: StoredOutcome) -> MutationInfo {
    let outcome = match stored.ending {
        Ending::Uncertain => Outcome::Uncertain,
        Ending::Failed { error } => Outcome::Failed {
            error: json::read(&error).unwrap_or(MutationError {
                source: ErrorSource::Zero,
                message: error,
                details: None,
            }),
        },
    };
    MutationInfo {
        client_id: stored.client_id,
        mutation_id: stored.id,
        name: stored.name,
        args_json: stored.args,
        outcome: Some(outcome),
    }
}

/// The outcomes that the application is shown: of the others only the tab that made them knows what they are.
pub(crate) fn named_ends(outcomes: &[StoredOutcome]) -> Vec<MutationInfo> {
    let named = outcomes.iter().filter(|outcome| !outcome.name.is_empty());
    named.cloned().map(from_outcome).collect()
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
    let ending = match outcome {
        Outcome::Confirmed => return None,
        Outcome::Uncertain => Ending::Uncertain,
        Outcome::Failed { error } => Ending::Failed {
            error: to_text(error),
        },
    };
    Some(StoredOutcome {
        client_id: key.0.clone(),
        id: key.1,
        name: String::new(),
        args: "[]".to_owned(),
        ending,
    })
}

/// A log record as the poke that it was, from where this client stands.
pub(crate) fn from_record(record: LogRecord, base: Option<String>) -> Poke {
    let got = record.patch.got.into_iter().map(|change| match change {
        landfall_store::QueryChange::Put { hash } => QueryChange::Put(hash),
        landfall_store::QueryChange::Del { hash } => QueryChange::Del(hash),
    });
    // From nothing at all means everything there is: it does not name what is gone.
    let cleared = record.patch.clear || record.base.is_none();
    let clear = cleared.then_some(QueryChange::Clear);
    Poke {
        base,
        cookie: record.cookie,
        cleared,
        rows: record.patch.rows,
        confirmed: record.last_mutation_ids,
        got: clear.into_iter().chain(got).collect(),
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
