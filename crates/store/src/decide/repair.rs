//! The way out of a store that is damaged or full: the server's rows go, since the server gives them again.

use super::group::{Work, start_with};
use super::{Results, kept, put_head};
use crate::error::StoreFailure;
use crate::head::Head;
use crate::key;
use crate::queue::{ClientRecord, QueuedMutation, StoredOutcome};
use crate::request::{Decision, Repair, StoreName, StoreReply, WriteOp};
use crate::stored_schema;

/// The group goes on without rows, so that ids and last mutation ids still tell what was carried out. Only if the head
/// or a mutation cannot be read it ends: without the head nobody knows the ids, and ids must have no gaps.
pub(super) fn repair(
    head: Option<&[u8]>,
    repair: &Repair,
    mut results: Results,
) -> Result<Decision, StoreFailure> {
    let head_bytes = head.ok_or(StoreFailure::NotOpen)?;
    let (queue, lost_mutations) = results.readable(QueuedMutation::decode)?;
    let (outcomes, lost_outcomes) = results.readable(StoredOutcome::decode)?;
    let (clients, lost_clients) = results.readable(ClientRecord::decode)?;
    let lost = lost_mutations + lost_outcomes;
    let mut head = Head::decode(head_bytes).ok();
    // Whoever asks after what is lost, in whichever tab, must not take silence for success.
    if let Some(head) = head.as_mut().filter(|_| lost > 0) {
        head.lose_ends();
    }
    let mut decision = match head {
        Some(head) if lost_mutations + lost_clients == 0 => without_rows(head, &outcomes),
        head => {
            let head = head.unwrap_or_else(|| Head::new(String::new()));
            let work: Work = (queue, outcomes, clients);
            start_with(&head, &repair.instead, work)
        }
    };
    decision.writes.push(key::put(
        StoreName::Head,
        key::SCHEMA,
        stored_schema::encode(&repair.schema),
    ));
    decision.reply = StoreReply::Repaired { lost };
    Ok(decision)
}

fn without_rows(mut head: Box<Head>, outcomes: &[StoredOutcome]) -> Decision {
    head.cookie = None;
    head.log_first = head.log_next;
    head.log_bytes = 0;
    head.pages = 0;
    // A plan for a fold of what was there must not fit.
    head.pages_generation += 1;
    let cleared = [StoreName::Log, StoreName::Pages, StoreName::Outcomes];
    let mut writes = cleared.map(|store| WriteOp::Clear { store }).to_vec();
    for outcome in outcomes {
        let key = key::mutation(&outcome.client_id, outcome.id);
        writes.push(key::put(StoreName::Outcomes, key, outcome.encode()));
    }
    writes.push(kept::forget());
    writes.push(put_head(&head));
    Decision {
        writes,
        reply: StoreReply::Done,
    }
}
