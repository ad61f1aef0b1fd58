//! Keys of stored values. Numbers are big-endian, so that keys order as numbers do.

use crate::request::{NewValue, Read, StoreName, WriteOp};

pub(crate) const HEAD: &[u8] = b"head";
pub(crate) const SCHEMA: &[u8] = b"schema";
const KEPT: &[u8] = b"kept";
const AFTER_KEPT: &[u8] = b"kept\xff";
/// The sets of queries lie beside the pages, before all of them.
pub(crate) const QUERIES: &[u8] = &[0];

/// The key of results at a cookie, in one of a few places. The length in front keeps cookies apart.
pub(crate) fn kept(cookie: &str, place: u8) -> Vec<u8> {
    [kept_at(cookie).as_slice(), &[place]].concat()
}

fn kept_at(cookie: &str) -> Vec<u8> {
    let length = (cookie.len() as u64).to_be_bytes();
    [KEPT, &length, cookie.as_bytes()].concat()
}

/// The first key of all kept results, and the first one beyond.
pub(crate) fn all_kept() -> (Vec<u8>, Vec<u8>) {
    (KEPT.to_vec(), AFTER_KEPT.to_vec())
}

/// What [`all_kept`] says for those before this cookie, and for those behind it.
pub(crate) fn around_kept(cookie: &str) -> [(Vec<u8>, Vec<u8>); 2] {
    let first = kept_at(cookie);
    // Places are few.
    let last = [first.as_slice(), &[0xff]].concat();
    [(KEPT.to_vec(), first), (last, AFTER_KEPT.to_vec())]
}

/// All kept results.
pub(crate) fn kept_range() -> Read {
    let (from, until) = all_kept();
    Read::Range {
        store: StoreName::Head,
        from,
        until: Some(until),
        limit: None,
    }
}

/// The key of a log record.
pub(crate) fn log(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// The key of a page.
pub(crate) fn page(number: u32) -> Vec<u8> {
    let mut key = vec![1];
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// The first key of all pages.
pub(crate) fn first_page() -> Vec<u8> {
    vec![1]
}

/// The key of a mutation in queue or outcomes. The length in front keeps clients apart, whatever their ids hold.
pub(crate) fn mutation(client_id: &str, id: u64) -> Vec<u8> {
    let mut key = client_prefix(client_id);
    key.extend_from_slice(&id.to_be_bytes());
    key
}

/// The first key beyond all mutations of a client.
pub(crate) fn after_client(client_id: &str) -> Vec<u8> {
    let mut key = client_prefix(client_id);
    key.extend_from_slice(&[0xff; 9]);
    key
}

fn client_prefix(client_id: &str) -> Vec<u8> {
    let mut key = (client_id.len() as u64).to_be_bytes().to_vec();
    key.extend_from_slice(client_id.as_bytes());
    key
}

pub(crate) fn get(store: StoreName, key: impl Into<Vec<u8>>) -> Read {
    Read::Get {
        store,
        key: key.into(),
    }
}

pub(crate) fn all(store: StoreName) -> Read {
    Read::Range {
        store,
        from: Vec::new(),
        until: None,
        limit: None,
    }
}

/// Any one value: is there one at all?
pub(crate) fn any(store: StoreName) -> Read {
    Read::Range {
        store,
        from: Vec::new(),
        until: None,
        limit: Some(1),
    }
}

/// Any one mutation of a client: is there one at all?
pub(crate) fn any_of_client(store: StoreName, client_id: &str) -> Read {
    of_client(store, client_id, Some(1))
}

/// All mutations of a client.
pub(crate) fn all_of_client(store: StoreName, client_id: &str) -> Read {
    of_client(store, client_id, None)
}

fn of_client(store: StoreName, client_id: &str, limit: Option<u32>) -> Read {
    Read::Range {
        store,
        from: mutation(client_id, 0),
        until: Some(after_client(client_id)),
        limit,
    }
}

pub(crate) fn put(store: StoreName, key: impl Into<Vec<u8>>, value: Vec<u8>) -> WriteOp {
    WriteOp::Put {
        store,
        key: key.into(),
        value: NewValue::Bytes(value),
    }
}
