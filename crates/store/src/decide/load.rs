//! Reading everything, and making a group where there is none.

use super::{Results, corrupt, put_head};
use crate::error::{FormatError, StoreFailure};
use crate::head::Head;
use crate::key;
use crate::page::QuerySets;
use crate::patch::LogRecord;
use crate::queue::{ClientRecord, QueuedMutation, StoredOutcome};
use crate::request::{Decision, Open, Read, StoreName, StoreReply};
use crate::schema_change::CarryOver;
use crate::stored_schema;
use crate::unread::Unread;
use landfall_zql::Schema;
use landfall_zql::sort::sort_by;
use std::sync::Arc;

/// All that is stored, the head left out.
pub(super) fn reads() -> [Read; 7] {
    [
        key::get(StoreName::Head, key::SCHEMA),
        key::get(StoreName::Pages, key::QUERIES),
        Read::Range {
            store: StoreName::Pages,
            from: key::first_page(),
            until: None,
            limit: None,
        },
        key::all(StoreName::Log),
        key::all(StoreName::Queue),
        key::all(StoreName::Outcomes),
        key::all(StoreName::Clients),
    ]
}

pub(super) fn open(
    group_id: &str,
    open: &Open,
    head: Option<&[u8]>,
    results: Results,
) -> Result<Decision, StoreFailure> {
    let created = head.is_none();
    let mut writes = Vec::new();
    let mut loaded = match head {
        Some(head) => {
            let head = Head::decode(head).map_err(corrupt(StoreName::Head))?;
            read_same_schema(head, &open.schema, results)?
        }
        None if open.reads_only => return Err(StoreFailure::NotOpen),
        None => {
            let mut head = Head::new(group_id.to_owned());
            if open.was_there {
                head.lose_ends();
            }
            writes.push(put_head(&head));
            writes.push(key::put(
                StoreName::Head,
                key::SCHEMA,
                stored_schema::encode(&open.schema),
            ));
            empty(head, &open.schema)
        }
    };
    let known = loaded
        .clients
        .iter_mut()
        .find(|client| client.client_id == open.client_id);
    let record = match known {
        Some(record) => {
            record.seen = record.seen.max(open.now);
            record.clone()
        }
        None => {
            let record = ClientRecord::new(open.client_id.clone(), open.now);
            loaded.clients.push(record.clone());
            sort_by(&mut loaded.clients, |a, b| a.client_id.cmp(&b.client_id));
            record
        }
    };
    writes.push(key::put(
        StoreName::Clients,
        open.client_id.as_bytes(),
        record.encode(),
    ));
    if open.reads_only {
        writes.clear();
    }
    Ok(Decision {
        writes,
        reply: StoreReply::Opened {
            loaded: Box::new(loaded),
            created,
        },
    })
}

pub(super) fn open_queue(
    head: Option<&[u8]>,
    mut results: Results,
) -> Result<Decision, StoreFailure> {
    let head = Head::decode(head.ok_or(StoreFailure::NotOpen)?);
    let head = head.map_err(corrupt(StoreName::Head))?;
    let queue = results.decoded(StoreName::Queue, QueuedMutation::decode)?;
    let outcomes = results.decoded(StoreName::Outcomes, StoredOutcome::decode)?;
    let clients = results.decoded(StoreName::Clients, ClientRecord::decode)?;
    let loaded = Unread {
        queue: super::mutations::pending(&head, queue, &clients),
        outcomes,
        clients,
        ..empty(head, &Arc::default())
    };
    Ok(Decision {
        writes: Vec::new(),
        reply: StoreReply::Opened {
            loaded: Box::new(loaded),
            created: false,
        },
    })
}

pub(super) fn load(
    head: Box<Head>,
    schema: &Arc<Schema>,
    results: Results,
) -> Result<Decision, StoreFailure> {
    let loaded = read_same_schema(head, schema, results)?;
    Ok(Decision {
        writes: Vec::new(),
        reply: StoreReply::Loaded(Box::new(loaded)),
    })
}

/// What a store of whatever schema holds, of which rows are given as far as they are rows of this one.
pub(super) fn read_earlier(
    head: Option<&[u8]>,
    schema: &Schema,
    mut results: Results,
) -> Result<Decision, StoreFailure> {
    let head = Head::decode(head.ok_or(StoreFailure::NotOpen)?);
    let head = head.map_err(corrupt(StoreName::Head))?;
    let stored = results.maybe(StoreName::Head, stored_schema::decode)?;
    let stored = Arc::new(stored.ok_or(StoreFailure::OtherSchema)?);
    let mut earlier = read_all(head, &stored, results)?;
    earlier.carried = Some(Arc::new(CarryOver::new(&stored, schema)));
    Ok(Decision {
        writes: Vec::new(),
        reply: StoreReply::Earlier(Box::new(earlier)),
    })
}

pub(super) fn read_log(
    head: Box<Head>,
    schema: &Schema,
    from: u64,
    mut results: Results,
) -> Result<Decision, StoreFailure> {
    let records = results.decoded(StoreName::Log, |bytes| LogRecord::decode(bytes, schema))?;
    check_log(&records, from.max(head.log_first), head.log_next)?;
    let outcomes = results.decoded(StoreName::Outcomes, StoredOutcome::decode)?;
    let reaches = from >= head.log_first && from <= head.log_next;
    Ok(Decision {
        writes: Vec::new(),
        reply: StoreReply::Log {
            head,
            records: reaches.then_some(records),
            outcomes,
        },
    })
}

fn empty(head: Box<Head>, schema: &Arc<Schema>) -> Unread {
    Unread {
        head,
        queue: Vec::new(),
        outcomes: Vec::new(),
        clients: Vec::new(),
        schema: Arc::clone(schema),
        pages: Vec::new(),
        log: Vec::new(),
        queries: QuerySets::default(),
        carried: None,
    }
}

fn read_same_schema(
    head: Box<Head>,
    schema: &Arc<Schema>,
    mut results: Results,
) -> Result<Unread, StoreFailure> {
    let stored = results.maybe(StoreName::Head, stored_schema::decode)?;
    if stored.as_ref() != Some(&**schema) {
        return Err(StoreFailure::OtherSchema);
    }
    read_all(head, schema, results)
}

/// Everything after the schema, which is known to be this one.
fn read_all(
    head: Box<Head>,
    schema: &Arc<Schema>,
    mut results: Results,
) -> Result<Unread, StoreFailure> {
    let queries = results
        .maybe(StoreName::Pages, QuerySets::decode)?
        .unwrap_or_default();
    let pages = results.pages()?;
    if usize::try_from(head.pages) != Ok(pages.len()) {
        return Err(corrupt(StoreName::Pages)(FormatError::PageCount));
    }
    let log = results.values()?;
    if usize::try_from(head.log_next - head.log_first) != Ok(log.len()) {
        return Err(corrupt(StoreName::Log)(FormatError::LogRange));
    }
    let queue = results.decoded(StoreName::Queue, QueuedMutation::decode)?;
    let outcomes = results.decoded(StoreName::Outcomes, StoredOutcome::decode)?;
    let clients = results.decoded(StoreName::Clients, ClientRecord::decode)?;
    let queue = super::mutations::pending(&head, queue, &clients);
    Ok(Unread {
        queue,
        outcomes,
        clients,
        pages,
        log,
        queries,
        ..empty(head, schema)
    })
}

fn check_log(records: &[LogRecord], from: u64, until: u64) -> Result<(), StoreFailure> {
    let expected = from.min(until)..until;
    match records.iter().map(|record| record.number).eq(expected) {
        true => Ok(()),
        false => Err(corrupt(StoreName::Log)(FormatError::LogRange)),
    }
}
