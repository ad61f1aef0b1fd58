//! The clients of the group, and the end of a group that the server has forgotten.

use super::{Results, done, kept, put_head};
use crate::error::StoreFailure;
use crate::head::Head;
use crate::key;
use crate::queue::{ClientRecord, Ending, NewMutation, QueuedMutation, StoredOutcome};
use crate::request::{
    Decision, GroupStarted, Read, Reissued, StartGroup, StoreName, StoreReply, WriteOp,
};
use landfall_zql::sort::sort_by;

/// Renews the record of a client. One that the others have forgotten stays so until it writes: a new record would
/// begin its ids at 1 again.
pub(super) fn touch(
    client_id: &str,
    now: f64,
    mut results: Results,
) -> Result<Decision, StoreFailure> {
    let known = results.maybe(StoreName::Clients, ClientRecord::decode)?;
    let writes = known.map(|mut record| {
        record.seen = record.seen.max(now);
        key::put(StoreName::Clients, client_id.as_bytes(), record.encode())
    });
    Ok(done(writes.into_iter().collect()))
}

/// The head is written with every change, so that it names no more clients than this that only were silent for long.
const MOST_SILENT: usize = 100;

/// For each client: has it a queued mutation, and which outcomes?
pub(super) fn remove_reads(client_ids: &[String]) -> impl Iterator<Item = Read> {
    client_ids.iter().flat_map(|id| {
        [
            key::any_of_client(StoreName::Queue, id),
            key::all_of_client(StoreName::Outcomes, id),
        ]
    })
}

pub(super) fn remove(
    mut head: Box<Head>,
    client_ids: &[String],
    are_gone: bool,
    mut results: Results,
) -> Result<Decision, StoreFailure> {
    let mut removed = Vec::new();
    for client_id in client_ids {
        let queued = results.values()?;
        let outcomes = results.decoded(StoreName::Outcomes, StoredOutcome::decode)?;
        // Outcomes without a name are there for their client alone.
        if queued.is_empty() && outcomes.iter().all(|outcome| outcome.name.is_empty()) {
            removed.push(client_id.clone());
        }
    }
    if removed.is_empty() {
        return Ok(Decision {
            writes: Vec::new(),
            reply: StoreReply::Removed {
                client_ids: removed,
            },
        });
    }
    let mut writes: Vec<WriteOp> = removed
        .iter()
        .map(|id| WriteOp::Delete {
            store: StoreName::Clients,
            key: id.as_bytes().to_vec(),
        })
        .collect();
    // One that was only silent for long may come back and ask; then they stay for as long as the group lasts.
    let emptied = removed.iter().filter(|_| are_gone);
    writes.extend(emptied.map(|id| WriteOp::DeleteRange {
        store: StoreName::Outcomes,
        from: key::mutation(id, 0),
        until: key::after_client(id),
    }));
    // It may also store again what was carried out, and the server tells nobody once more that it was.
    if are_gone || head.last_mutation_ids.len() > MOST_SILENT {
        for client_id in &removed {
            head.last_mutation_ids.remove(client_id);
        }
    }
    writes.push(put_head(&head));
    Ok(Decision {
        writes,
        reply: StoreReply::Removed {
            client_ids: removed,
        },
    })
}

/// For each outcome: is its client known, and what is it?
pub(super) fn clear_reads(ids: &[(String, u64)]) -> impl Iterator<Item = Read> {
    ids.iter().flat_map(|(client_id, id)| {
        [
            key::get(StoreName::Clients, client_id.as_bytes()),
            key::get(StoreName::Outcomes, key::mutation(client_id, *id)),
        ]
    })
}

/// Nobody is shown these any more. A tab that made one and has slept since must still not take silence for success: of
/// its own mutation it finds the end without a name, and one that became another's in a new group it finds nowhere, so
/// that the group does not follow the one before any more.
pub(super) fn clear(
    mut head: Box<Head>,
    by: &str,
    ids: &[(String, u64)],
    mut results: Results,
) -> Result<Decision, StoreFailure> {
    let mut writes = Vec::new();
    for (client_id, id) in ids {
        let is_known = results.value()?.is_some();
        let outcome = results.maybe(StoreName::Outcomes, StoredOutcome::decode)?;
        let key = key::mutation(client_id, *id);
        match outcome {
            Some(outcome) if is_known && client_id != by => {
                let value = outcome.without_name().encode();
                writes.push(key::put(StoreName::Outcomes, key, value));
            }
            Some(_) => writes.push(WriteOp::Delete {
                store: StoreName::Outcomes,
                key,
            }),
            None => {}
        }
    }
    if !head.has_lost_ends() && head.previous_group.take().is_some() {
        writes.push(put_head(&head));
    }
    Ok(done(writes))
}

/// Rows and cookie go, the users' work stays: what was certainly never sent is issued again in the same order, what
/// may have been sent waits for the user's decision.
pub(super) fn start(
    head: &Head,
    start: &StartGroup,
    mut results: Results,
) -> Result<Decision, StoreFailure> {
    let queue = results.decoded(StoreName::Queue, QueuedMutation::decode)?;
    let outcomes = results.decoded(StoreName::Outcomes, StoredOutcome::decode)?;
    let clients = results.decoded(StoreName::Clients, ClientRecord::decode)?;
    Ok(start_with(head, start, (queue, outcomes, clients)))
}

/// What users made, as it was stored.
pub(super) type Work = (Vec<QueuedMutation>, Vec<StoredOutcome>, Vec<ClientRecord>);

/// Begins a group with this work.
pub(super) fn start_with(head: &Head, start: &StartGroup, work: Work) -> Decision {
    let (queue, mut outcomes, clients) = work;
    let queued = clients
        .iter()
        .map(|client| (client.client_id.clone(), client.last_queued))
        .collect();
    // Outcomes without a name are there for clients that end here; these must then not take silence for success.
    let all = outcomes.len();
    outcomes.retain(|outcome| !outcome.name.is_empty());
    let tells_all = outcomes.len() == all && !head.has_lost_ends();
    let mut record = ClientRecord::new(start.client_id.clone(), start.now);
    let mut new_head = Head::new(start.new_group_id.clone());
    new_head.server_mode = head.server_mode;
    // What was lost with an emptied store did not come along.
    new_head.previous_group = Some(head.group_id.clone()).filter(|id| !id.is_empty() && tells_all);
    // A plan for a fold of the old group must not fit the new one.
    new_head.pages_generation = head.pages_generation + 1;
    new_head.next_page = head.next_page;
    let mut reissued = Vec::new();
    for old in super::mutations::pending(head, queue, &clients) {
        let QueuedMutation {
            client_id,
            id,
            name,
            args,
            ops,
            timestamp,
            attempted,
            ..
        } = old;
        let is_it = |(client, through): &(String, u64)| *client == client_id && id <= *through;
        if attempted || start.sent.iter().any(is_it) {
            // What was sent without writes has its end already.
            let has_end = |end: &StoredOutcome| end.client_id == client_id && end.id == id;
            if !outcomes.iter().any(has_end) {
                outcomes.push(StoredOutcome {
                    client_id,
                    id,
                    name,
                    args,
                    ending: Ending::Uncertain,
                });
            }
            continue;
        }
        record.last_queued += 1;
        let new = NewMutation {
            id: record.last_queued,
            name,
            args,
            ops,
            timestamp,
            end: None,
        };
        let mutation = QueuedMutation::new(&start.client_id, &new, new_head.next_sequence);
        new_head.next_sequence += 1;
        reissued.push(Reissued {
            old_client_id: client_id,
            old_id: id,
            mutation,
        });
    }
    sort_by(&mut outcomes, |a, b| {
        (&a.client_id, a.id).cmp(&(&b.client_id, b.id))
    });
    let mut writes = [
        StoreName::Log,
        StoreName::Pages,
        StoreName::Queue,
        StoreName::Outcomes,
        StoreName::Clients,
    ]
    .map(|store| WriteOp::Clear { store })
    .to_vec();
    writes.push(kept::forget());
    writes.push(put_head(&new_head));
    writes.push(key::put(
        StoreName::Clients,
        start.client_id.as_bytes(),
        record.encode(),
    ));
    for Reissued { mutation, .. } in &reissued {
        let key = key::mutation(&mutation.client_id, mutation.id);
        writes.push(key::put(StoreName::Queue, key, mutation.encode()));
    }
    for outcome in &outcomes {
        let key = key::mutation(&outcome.client_id, outcome.id);
        writes.push(key::put(StoreName::Outcomes, key, outcome.encode()));
    }
    let reply = StoreReply::GroupStarted(Box::new(GroupStarted {
        head: new_head,
        reissued,
        outcomes,
        queued,
    }));
    Decision { writes, reply }
}
