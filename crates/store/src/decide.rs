//! The transactions: what each request reads, and what follows from what it read.
//!
//! Pure functions, so that IndexedDB, the memory backend and the simulator cannot differ.

mod append;
mod group;
mod kept;
mod load;
mod mutations;
mod repair;

use crate::error::{FormatError, StoreFailure};
use crate::head::Head;
use crate::key;
use crate::page::StoredPage;
use crate::queue::StoredOutcome;
use crate::request::{
    Decision, Read, ReadResult, StoreName, StoreOp, StoreReply, StoreRequest, WriteOp,
};

/// What a request reads. The head comes first, if it reads anything.
pub(crate) fn reads(request: &StoreRequest) -> Vec<Read> {
    if matches!(request.op, StoreOp::KeepResults(_)) {
        return Vec::new();
    }
    let mut reads = vec![key::get(StoreName::Head, key::HEAD)];
    match &request.op {
        StoreOp::Open(_) | StoreOp::Load { .. } | StoreOp::ReadEarlier { .. } => {
            reads.extend(load::reads());
        }
        StoreOp::ReadKept { .. } => reads.extend(kept::reads()),
        StoreOp::ReadLog { from, .. } => {
            reads.push(Read::Range {
                store: StoreName::Log,
                from: key::log(*from),
                until: None,
                limit: None,
            });
            reads.push(key::all(StoreName::Outcomes));
        }
        StoreOp::OpenQueue => {
            reads.extend([StoreName::Queue, StoreName::Outcomes, StoreName::Clients].map(key::all));
        }
        StoreOp::Confirm(confirm) => reads.extend(append::outcome_reads(&confirm.outcomes)),
        StoreOp::ReadQueue { except } => reads.extend(mutations::queue_reads(except.as_deref())),
        StoreOp::ReadOutcomes => reads.push(key::all(StoreName::Outcomes)),
        StoreOp::AppendPoke(append) => reads.extend(append::outcome_reads(&append.outcomes)),
        StoreOp::WriteSnapshot(snapshot) => reads.extend(append::outcome_reads(&snapshot.outcomes)),
        StoreOp::WriteQueue(write) => reads.extend(mutations::write_reads(write)),
        StoreOp::MarkAttempted(mark) => reads.extend(mutations::mark_reads(mark)),
        StoreOp::TouchClient { client_id, .. } => {
            reads.push(key::get(StoreName::Clients, client_id.as_bytes()));
        }
        StoreOp::RemoveClients { client_ids, .. } => reads.extend(group::remove_reads(client_ids)),
        StoreOp::ClearOutcomes { ids, .. } => reads.extend(group::clear_reads(ids)),
        StoreOp::StartGroup(_) | StoreOp::Repair(_) => {
            reads.extend([StoreName::Queue, StoreName::Outcomes, StoreName::Clients].map(key::all));
        }
        StoreOp::KeepResults(_) | StoreOp::Fold(_) | StoreOp::SetServerMode(_) | StoreOp::Erase => {
        }
    }
    reads
}

/// What follows from what was read.
pub(crate) fn decide(
    request: &StoreRequest,
    results: Vec<ReadResult>,
) -> Result<Decision, StoreFailure> {
    if let StoreOp::KeepResults(keep) = &request.op {
        return Ok(kept::keep(&request.group_id, keep));
    }
    let mut results = Results(results.into_iter());
    let head = results.value()?;
    let mut head = match &request.op {
        // Works on damaged stores too: it is the way out.
        StoreOp::Erase => {
            let writes = StoreName::ALL
                .map(|store| WriteOp::Clear { store })
                .to_vec();
            return Ok(Decision {
                writes,
                reply: StoreReply::Done,
            });
        }
        StoreOp::Repair(repair) => return repair::repair(head.as_deref(), repair, results),
        StoreOp::OpenQueue => return load::open_queue(head.as_deref(), results),
        StoreOp::ReadEarlier { schema } => {
            return load::read_earlier(head.as_deref(), schema, results);
        }
        StoreOp::ReadKept { schema } => return kept::read(head.as_deref(), schema, results),
        StoreOp::Open(open) => {
            return load::open(&request.group_id, open, head.as_deref(), results);
        }
        _ => in_group(head.as_deref(), &request.group_id)?,
    };
    match &request.op {
        StoreOp::Open(_)
        | StoreOp::OpenQueue
        | StoreOp::ReadEarlier { .. }
        | StoreOp::ReadKept { .. }
        | StoreOp::KeepResults(_)
        | StoreOp::Repair(_)
        | StoreOp::Erase => Err(StoreFailure::Contract),
        StoreOp::Confirm(confirm) => append::confirm_only(head, confirm, results),
        StoreOp::Load { schema } => load::load(head, schema, results),
        StoreOp::ReadLog { schema, from } => load::read_log(head, schema, *from, results),
        StoreOp::ReadQueue { .. } => mutations::read_queue(head, results),
        StoreOp::ReadOutcomes => Ok(Decision {
            writes: Vec::new(),
            reply: StoreReply::Outcomes {
                stored: results.decoded(StoreName::Outcomes, StoredOutcome::decode)?,
                has_lost_ends: head.has_lost_ends(),
            },
        }),
        StoreOp::AppendPoke(append) => append::append_poke(head, append, results),
        StoreOp::WriteSnapshot(snapshot) => append::write_snapshot(head, snapshot, results),
        StoreOp::Fold(plan) => append::fold(head, plan),
        StoreOp::WriteQueue(write) => mutations::write_queue(head, write, results),
        StoreOp::MarkAttempted(mark) => mutations::mark_attempted(&head, mark, results),
        StoreOp::ClearOutcomes { by, ids } => group::clear(head, by, ids, results),
        StoreOp::SetServerMode(mode) => {
            head.server_mode = Some(*mode);
            Ok(done(vec![put_head(&head)]))
        }
        StoreOp::TouchClient { client_id, now } => group::touch(client_id, *now, results),
        StoreOp::RemoveClients {
            client_ids,
            are_gone,
        } => group::remove(head, client_ids, *are_gone, results),
        StoreOp::StartGroup(start) => group::start(&head, start, results),
    }
}

/// What was read, handed out in order.
struct Results(std::vec::IntoIter<ReadResult>);

impl Results {
    fn value(&mut self) -> Result<Option<Vec<u8>>, StoreFailure> {
        match self.0.next() {
            Some(ReadResult::Value(value)) => Ok(value),
            _ => Err(StoreFailure::Contract),
        }
    }

    fn values(&mut self) -> Result<Vec<Vec<u8>>, StoreFailure> {
        match self.0.next() {
            Some(ReadResult::Values(values)) => Ok(values),
            _ => Err(StoreFailure::Contract),
        }
    }

    fn pages(&mut self) -> Result<Vec<StoredPage>, StoreFailure> {
        match self.0.next() {
            Some(ReadResult::Pages(pages)) => Ok(pages),
            _ => Err(StoreFailure::Contract),
        }
    }

    /// Values of a range, each decoded.
    fn decoded<T>(
        &mut self,
        store: StoreName,
        decode: impl Fn(&[u8]) -> Result<T, FormatError>,
    ) -> Result<Vec<T>, StoreFailure> {
        self.values()?
            .iter()
            .map(|bytes| decode(bytes))
            .collect::<Result<_, _>>()
            .map_err(corrupt(store))
    }

    /// Values of a range as far as they can be decoded, and how many cannot.
    fn readable<T>(
        &mut self,
        decode: impl Fn(&[u8]) -> Result<T, FormatError>,
    ) -> Result<(Vec<T>, usize), StoreFailure> {
        let values = self.values()?;
        let good: Vec<T> = values
            .iter()
            .filter_map(|bytes| decode(bytes).ok())
            .collect();
        let lost = values.len() - good.len();
        Ok((good, lost))
    }

    /// One value, decoded if it is there.
    fn maybe<T>(
        &mut self,
        store: StoreName,
        decode: impl Fn(&[u8]) -> Result<T, FormatError>,
    ) -> Result<Option<T>, StoreFailure> {
        self.value()?
            .map(|bytes| decode(&bytes))
            .transpose()
            .map_err(corrupt(store))
    }
}

fn in_group(head: Option<&[u8]>, group_id: &str) -> Result<Box<Head>, StoreFailure> {
    let head =
        Head::decode(head.ok_or(StoreFailure::NotOpen)?).map_err(corrupt(StoreName::Head))?;
    match head.group_id == group_id {
        true => Ok(head),
        false => Err(StoreFailure::OtherGroup {
            group_id: head.group_id,
        }),
    }
}

pub(crate) fn corrupt(store: StoreName) -> impl Fn(FormatError) -> StoreFailure {
    move |source| StoreFailure::Corrupt {
        store: store.name(),
        source,
    }
}

fn put_head(head: &Head) -> WriteOp {
    key::put(StoreName::Head, key::HEAD, head.encode())
}

fn done(writes: Vec<WriteOp>) -> Decision {
    Decision {
        writes,
        reply: StoreReply::Done,
    }
}
