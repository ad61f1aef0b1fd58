//! Server state: the log, the snapshot in its place, and folding the one into the other.

use super::{Results, put_head};
use crate::cookie_order;
use crate::error::StoreFailure;
use crate::head::Head;
use crate::key;
use crate::page::{NewPages, QuerySets};
use crate::patch::{LogRecord, Patch};
use crate::queue::{QueuedMutation, StoredOutcome};
use crate::request::{
    AppendPoke, Confirm, Decision, FoldPlan, NewValue, Read, StoreName, StoreReply, WriteOp,
    WriteSnapshot,
};
use landfall_zql::sorted_map::SortedMap;
use std::cmp::Ordering;

/// The queue rows of mutations that failed, since they know what was called, and what is stored of their ends.
pub(super) fn outcome_reads(outcomes: &[StoredOutcome]) -> impl Iterator<Item = Read> {
    outcomes.iter().flat_map(|outcome| {
        let key = key::mutation(&outcome.client_id, outcome.id);
        [StoreName::Queue, StoreName::Outcomes].map(|store| key::get(store, key.clone()))
    })
}

/// A poke `base → cookie` on a store at `head`: dropped if the store is there already, appended if the store holds
/// everything up to `base`, refused if the store has lost something before `base`.
pub(super) fn append_poke(
    mut head: Box<Head>,
    append: &AppendPoke,
    results: Results,
) -> Result<Decision, StoreFailure> {
    let AppendPoke {
        base,
        cookie,
        patch,
        last_mutation_ids,
        outcomes,
    } = append;
    let stored = head.cookie.as_deref();
    if cookie_order::compare(stored, Some(cookie)) != Ordering::Less {
        return Ok(already_there(head, last_mutation_ids));
    }
    if cookie_order::compare(stored, base.as_deref()) == Ordering::Less {
        return Ok(Decision {
            writes: Vec::new(),
            reply: StoreReply::NeedsSnapshot(head),
        });
    }
    // A poke from nothing is everything there is: what another tab stored before and it does not name is gone.
    let clear = patch.clear || (base.is_none() && stored.is_some());
    let record = LogRecord {
        number: head.log_next,
        base: base.clone(),
        cookie: cookie.clone(),
        last_mutation_ids: last_mutation_ids.clone(),
        patch: Patch {
            clear,
            ..patch.clone()
        },
    };
    let value = record.encode();
    head.log_next += 1;
    head.log_bytes += value.len() as u64;
    head.cookie = Some(cookie.clone());
    let mut writes = vec![key::put(StoreName::Log, key::log(record.number), value)];
    writes.extend(confirm(&mut head, last_mutation_ids));
    writes.extend(put_outcomes(outcomes, results)?);
    writes.push(put_head(&head));
    Ok(Decision {
        writes,
        reply: StoreReply::Appended(head),
    })
}

/// What a poke says of mutations, for those who do not follow the rows.
pub(super) fn confirm_only(
    mut head: Box<Head>,
    asked: &Confirm,
    results: Results,
) -> Result<Decision, StoreFailure> {
    let mut writes = confirm(&mut head, &asked.last_mutation_ids);
    writes.extend(put_outcomes(&asked.outcomes, results)?);
    writes.push(put_head(&head));
    Ok(super::done(writes))
}

/// All rows at `cookie`. At the store's own cookie this is a fold from memory; behind it, it would lose something.
pub(super) fn write_snapshot(
    mut head: Box<Head>,
    snapshot: &WriteSnapshot,
    results: Results,
) -> Result<Decision, StoreFailure> {
    let WriteSnapshot {
        cookie,
        last_mutation_ids,
        pages,
        queries,
        outcomes,
    } = snapshot;
    if cookie_order::compare(head.cookie.as_deref(), Some(cookie)) == Ordering::Greater {
        return Ok(already_there(head, last_mutation_ids));
    }
    head.cookie = Some(cookie.clone());
    head.log_first = head.log_next;
    head.log_bytes = 0;
    let mut writes = vec![
        WriteOp::Clear {
            store: StoreName::Log,
        },
        WriteOp::Clear {
            store: StoreName::Pages,
        },
    ];
    head.pages = 0;
    writes.extend(put_pages(&mut head, pages, queries));
    writes.extend(confirm(&mut head, last_mutation_ids));
    writes.extend(put_outcomes(outcomes, results)?);
    writes.push(put_head(&head));
    Ok(Decision {
        writes,
        reply: StoreReply::Appended(head),
    })
}

/// The pages of a plan in place of those it was made from; records that came later stay in the log.
pub(super) fn fold(mut head: Box<Head>, plan: &FoldPlan) -> Result<Decision, StoreFailure> {
    let FoldPlan {
        generation,
        log_first,
        log_until,
        log_bytes,
        removed,
        pages,
        queries,
    } = plan;
    let current = head.pages_generation == *generation
        && head.log_first == *log_first
        && head.log_next >= *log_until;
    if !current {
        return Ok(Decision {
            writes: Vec::new(),
            reply: StoreReply::FoldOutdated(head),
        });
    }
    head.log_first = *log_until;
    head.log_bytes = head.log_bytes.saturating_sub(*log_bytes);
    let mut writes: Vec<WriteOp> = removed
        .iter()
        .map(|&number| WriteOp::Delete {
            store: StoreName::Pages,
            key: key::page(number),
        })
        .collect();
    // The same generation means the same pages: all that the plan removes are among them.
    head.pages = head
        .pages
        .saturating_sub(u32::try_from(removed.len()).unwrap_or(u32::MAX));
    writes.extend(put_pages(&mut head, pages, queries));
    writes.push(WriteOp::DeleteRange {
        store: StoreName::Log,
        from: key::log(*log_first),
        until: key::log(*log_until),
    });
    writes.push(put_head(&head));
    Ok(Decision {
        writes,
        reply: StoreReply::Folded(head),
    })
}

fn put_pages(head: &mut Head, pages: &NewPages, queries: &QuerySets) -> Vec<WriteOp> {
    head.pages_generation += 1;
    let mut writes = vec![key::put(StoreName::Pages, key::QUERIES, queries.encode())];
    for page in &pages.0 {
        // Numbers begin anew after four thousand million pages; by then the first ones are long gone.
        let number = head.next_page;
        head.next_page = number.wrapping_add(1);
        head.pages = head.pages.saturating_add(1);
        let page = page.clone();
        writes.push(WriteOp::Put {
            store: StoreName::Pages,
            key: key::page(number),
            value: NewValue::Page { number, page },
        });
    }
    writes
}

/// Who was there first has stored the same, but for a client that was forgotten meanwhile and stores its write only now.
fn already_there(head: Box<Head>, last_mutation_ids: &SortedMap<String, u64>) -> Decision {
    let known = |client: &String| head.last_mutation_ids.get(client).copied().unwrap_or(0);
    let news = last_mutation_ids
        .iter()
        .filter(|(client, id)| known(client) < **id);
    Decision {
        writes: news
            .map(|(client, &id)| remove_queued(client, id))
            .collect(),
        reply: StoreReply::AlreadyThere(head),
    }
}

/// Raises last mutation ids and removes what they confirm from the queue.
fn confirm(head: &mut Head, last_mutation_ids: &SortedMap<String, u64>) -> Vec<WriteOp> {
    let mut writes = Vec::new();
    for (client_id, &id) in last_mutation_ids {
        let known = head.last_mutation_ids.get_or_default(client_id.clone());
        *known = id.max(*known);
        writes.push(remove_queued(client_id, *known));
    }
    writes
}

/// What a client has in the queue, up to this one.
fn remove_queued(client_id: &str, through: u64) -> WriteOp {
    WriteOp::DeleteRange {
        store: StoreName::Queue,
        from: key::mutation(client_id, 0),
        until: key::mutation(client_id, through.saturating_add(1)),
    }
}

fn put_outcomes(
    outcomes: &[StoredOutcome],
    mut results: Results,
) -> Result<Vec<WriteOp>, StoreFailure> {
    let mut writes = Vec::new();
    for outcome in outcomes {
        let mut outcome = outcome.clone();
        let queued = results.maybe(StoreName::Queue, QueuedMutation::decode)?;
        let known = results.value()?;
        match queued {
            Some(queued) => {
                outcome.name = queued.name;
                outcome.args = queued.args;
            }
            // Who knows less does not replace what is known.
            None if outcome.name.is_empty() && known.is_some() => continue,
            None => {}
        }
        let key = key::mutation(&outcome.client_id, outcome.id);
        writes.push(key::put(StoreName::Outcomes, key, outcome.encode()));
    }
    Ok(writes)
}
