//! The mutation queue: first in, first out, without gaps, and what may have been sent is known.

use super::{Results, put_head};
use crate::error::StoreFailure;
use crate::head::Head;
use crate::key;
use crate::queue::{ClientRecord, Ending, QueuedMutation, StoredOutcome};
use crate::request::{
    Decision, Frozen, MarkAttempted, Read, StoreName, StoreReply, WriteOp, WriteQueue,
};
use landfall_zql::sort::sort_by_key;
use landfall_zql::sorted_map::SortedMap;

/// What is not confirmed, in the group's order. A mutation may have been stored after its confirmation was.
pub(super) fn pending(
    head: &Head,
    mut queue: Vec<QueuedMutation>,
    clients: &[ClientRecord],
) -> Vec<QueuedMutation> {
    let attempted: SortedMap<&str, u64> = clients
        .iter()
        .map(|client| (client.client_id.as_str(), client.attempted))
        .collect();
    queue.retain(|mutation| mutation.id > head.last_mutation_id(&mutation.client_id));
    for mutation in &mut queue {
        // Without a record nobody knows; what may have been sent must not be taken for unsent.
        mutation.attempted = attempted
            .get(mutation.client_id.as_str())
            .is_none_or(|&through| mutation.id <= through);
    }
    sort_by_key(&mut queue, |mutation| mutation.sequence);
    queue
}

/// The mutations before and behind those of one client, and the records of all clients.
pub(super) fn queue_reads(except: Option<&str>) -> [Read; 3] {
    let between = |from: Vec<u8>, until: Option<Vec<u8>>| Read::Range {
        store: StoreName::Queue,
        from,
        until,
        limit: None,
    };
    let (before, behind) = match except {
        Some(client_id) => (key::mutation(client_id, 0), key::after_client(client_id)),
        None => Default::default(),
    };
    [
        between(Vec::new(), Some(before)),
        between(behind, None),
        key::all(StoreName::Clients),
    ]
}

pub(super) fn read_queue(head: Box<Head>, mut results: Results) -> Result<Decision, StoreFailure> {
    let mut queue = results.decoded(StoreName::Queue, QueuedMutation::decode)?;
    queue.extend(results.decoded(StoreName::Queue, QueuedMutation::decode)?);
    let clients = results.decoded(StoreName::Clients, ClientRecord::decode)?;
    Ok(Decision {
        writes: Vec::new(),
        reply: StoreReply::Queue {
            queue: pending(&head, queue, &clients),
            clients,
            head,
        },
    })
}

/// The client's record, and those of its mutations that an earlier request has stored without being answered.
pub(super) fn write_reads(write: &WriteQueue) -> [Read; 2] {
    let first = write.mutations.first().map_or(0, |mutation| mutation.id);
    [
        key::get(StoreName::Clients, write.client_id.as_bytes()),
        Read::Range {
            store: StoreName::Queue,
            from: key::mutation(&write.client_id, first),
            until: Some(key::after_client(&write.client_id)),
            limit: None,
        },
    ]
}

pub(super) fn write_queue(
    mut head: Box<Head>,
    write: &WriteQueue,
    mut results: Results,
) -> Result<Decision, StoreFailure> {
    let known = results.maybe(StoreName::Clients, ClientRecord::decode)?;
    let before: SortedMap<u64, u64> = results
        .decoded(StoreName::Queue, QueuedMutation::decode)?
        .into_iter()
        .map(|mutation| (mutation.id, mutation.sequence))
        .collect();
    let known_here = head.last_mutation_id(&write.client_id);
    let mut record = known.unwrap_or_else(|| ClientRecord {
        // Others have forgotten this client, and may have sent what was stored of it.
        attempted: write.unsure,
        ..ClientRecord::new(write.client_id.clone(), write.now)
    });
    if known_here == 0 && record.last_queued == 0 && write.confirmed > 0 {
        // Others have forgotten this client while it slept, or storage was emptied. Whoever sends what it stores must
        // know where that begins, and the server tells an id only when it changes.
        let id = write.client_id.clone();
        *head.last_mutation_ids.get_or_default(id) = write.confirmed;
    }
    let mut stored = record.last_queued.max(known_here).max(write.confirmed);
    let mut writes = Vec::new();
    let mut sequences = Vec::new();
    for mutation in &write.mutations {
        // Stored before by a request whose answer was lost, or confirmed already, and so before all that wait.
        if mutation.id <= stored {
            sequences.push((mutation.id, before.get(&mutation.id).copied().unwrap_or(0)));
            continue;
        }
        if mutation.id != stored + 1 {
            return Err(StoreFailure::Gap {
                expected: stored + 1,
                found: mutation.id,
            });
        }
        stored = mutation.id;
        let sequence = head.next_sequence;
        head.next_sequence += 1;
        sequences.push((mutation.id, sequence));
        let queued = QueuedMutation::new(&write.client_id, mutation, sequence);
        writes.push(key::put(
            StoreName::Queue,
            key::mutation(&write.client_id, mutation.id),
            queued.encode(),
        ));
        if let Some(ending) = mutation.end.clone() {
            let key = key::mutation(&write.client_id, mutation.id);
            writes.push(key::put(
                StoreName::Outcomes,
                key,
                outcome_of(&queued, ending).encode(),
            ));
        }
    }
    record.last_queued = record.last_queued.max(stored);
    record.seen = record.seen.max(write.now);
    record.attempted = record.attempted.max(write.attempted);
    writes.push(key::put(
        StoreName::Clients,
        write.client_id.as_bytes(),
        record.encode(),
    ));
    writes.push(put_head(&head));
    Ok(Decision {
        writes,
        reply: StoreReply::Queued { sequences },
    })
}

/// The records of the clients, then for each client those of its mutations that lie between the first and the last that
/// is frozen, and what is known of their ends: two requests, however many wait.
pub(super) fn mark_reads(mark: &MarkAttempted) -> impl Iterator<Item = Read> {
    let clients = mark
        .through
        .iter()
        .map(|(client_id, _)| key::get(StoreName::Clients, client_id.as_bytes()));
    let frozen = extents(&mark.frozen).into_iter();
    clients.chain(frozen.flat_map(|(client_id, first, last)| {
        [StoreName::Queue, StoreName::Outcomes].map(|store| Read::Range {
            store,
            from: key::mutation(client_id, first),
            until: Some(key::mutation(client_id, last.saturating_add(1))),
            limit: None,
        })
    }))
}

/// The clients with their first and their last mutation.
fn extents(frozen: &[Frozen]) -> Vec<(&str, u64, u64)> {
    let mut extents: Vec<(&str, u64, u64)> = Vec::new();
    for Frozen { client_id, id, .. } in frozen {
        match extents.iter_mut().find(|(known, ..)| known == client_id) {
            Some((_, first, last)) => (*first, *last) = ((*first).min(*id), (*last).max(*id)),
            None => extents.push((client_id, *id, *id)),
        }
    }
    extents
}

pub(super) fn mark_attempted(
    head: &Head,
    mark: &MarkAttempted,
    mut results: Results,
) -> Result<Decision, StoreFailure> {
    // A client may be named twice; the highest id counts.
    let mut records: SortedMap<&str, ClientRecord> = SortedMap::new();
    let mut before: SortedMap<&str, u64> = SortedMap::new();
    for (client_id, through) in &mark.through {
        // Without a record its mutations count as attempted anyway.
        let Some(stored) = results.maybe(StoreName::Clients, ClientRecord::decode)? else {
            continue;
        };
        before.insert(client_id, stored.attempted);
        let record = records.get_or_insert_with(client_id, || stored);
        record.attempted = record.attempted.max(*through);
    }
    let mut writes: Vec<WriteOp> = records
        .into_iter()
        .map(|(client_id, record)| {
            key::put(StoreName::Clients, client_id.as_bytes(), record.encode())
        })
        .collect();
    let mut stored: Stored<'_> = SortedMap::new();
    for (client_id, ..) in extents(&mark.frozen) {
        let queued = results.decoded(StoreName::Queue, QueuedMutation::decode)?;
        stored.insert(client_id, queued.into_iter().map(|m| (m, None)).collect());
        for ended in results.decoded(StoreName::Outcomes, StoredOutcome::decode)? {
            if let Some((_, end)) = find(&mut stored, client_id, ended.id) {
                *end = Some(ended.ending);
            }
        }
    }
    let (mut otherwise, mut confirmed) = (Vec::new(), Vec::new());
    for frozen in &mark.frozen {
        let Some((queued, end)) = find(&mut stored, &frozen.client_id, frozen.id) else {
            // Nothing is left to freeze, but whoever sent it may have sent something else.
            if !frozen.sent && frozen.id <= head.last_mutation_id(&frozen.client_id) {
                confirmed.push((frozen.client_id.clone(), frozen.id));
            }
            continue;
        };
        // Without a record nobody knows.
        let through = before.get(frozen.client_id.as_str());
        let was_attempted = through.is_none_or(|&through| frozen.id <= through);
        // Which writes arrive first is the same to all, but whether any do is not.
        if was_attempted && !frozen.sent && (frozen.end.is_some() || end.is_some()) {
            otherwise.push(Frozen {
                ops: queued.ops.clone(),
                end: end.clone(),
                ..frozen.clone()
            });
            continue;
        }
        let key = key::mutation(&frozen.client_id, frozen.id);
        if let Some(ending) = frozen.end.clone() {
            let outcome = outcome_of(queued, ending);
            writes.push(key::put(StoreName::Outcomes, key.clone(), outcome.encode()));
        }
        if let Some(ops) = frozen.ops.clone() {
            queued.ops = Some(ops);
            writes.push(key::put(StoreName::Queue, key, queued.encode()));
        }
    }
    Ok(Decision {
        writes,
        reply: StoreReply::Marked {
            otherwise,
            confirmed,
        },
    })
}

/// Mutations by client, in the order of their keys and so of their ids, each with its end if that is known.
type Stored<'a> = SortedMap<&'a str, Vec<(QueuedMutation, Option<Ending>)>>;

fn find<'a>(
    stored: &'a mut Stored<'_>,
    client_id: &str,
    id: u64,
) -> Option<&'a mut (QueuedMutation, Option<Ending>)> {
    let queue = stored.get_mut(client_id)?;
    let place = queue.binary_search_by_key(&id, |(queued, _)| queued.id);
    queue.get_mut(place.ok()?)
}

fn outcome_of(queued: &QueuedMutation, ending: Ending) -> StoredOutcome {
    StoredOutcome {
        client_id: queued.client_id.clone(),
        id: queued.id,
        name: queued.name.clone(),
        args: queued.args.clone(),
        ending,
    }
}
