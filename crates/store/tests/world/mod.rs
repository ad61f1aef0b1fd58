//! A small schema, short ways to say requests, and a model to compare with; shared by the tests of this crate.

// Each test takes what it needs.
#![allow(dead_code, missing_docs)]

use landfall_store::*;
use landfall_zql::sorted_map::{SortedMap, SortedSet};
use landfall_zql::{Key, Row, Schema, TableId, ValueRef};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub const GROUP: &str = "group1";

pub fn schema() -> Arc<Schema> {
    let json = r#"{"tables":{
        "a":{"columns":{"id":{"type":"string"},"n":{"type":"number"}},"primaryKey":["id"]},
        "b":{"serverName":"bees","columns":{"x":{"type":"number"},"y":{"type":"string","serverName":"why"},"z":{"type":"json","optional":true}},"primaryKey":["y","x"]}}}"#;
    Arc::new(Schema::from_json(json).expect("a schema"))
}

pub const A: TableId = TableId(0);
pub const B: TableId = TableId(1);

pub fn a(id: &str, n: f64) -> Row {
    Row::from_values([ValueRef::String(id), ValueRef::Number(n)])
}

pub fn b(x: f64, y: &str, z: &str) -> Row {
    Row::from_values([ValueRef::Number(x), ValueRef::String(y), ValueRef::Json(z)])
}

pub fn put_a(id: &str, n: f64) -> RowChange {
    RowChange::Put {
        table: A,
        row: a(id, n),
    }
}

pub fn del_a(id: &str) -> RowChange {
    RowChange::Del {
        table: A,
        key: Key(Row::from_values([ValueRef::String(id)])),
    }
}

pub fn rows(rows: Vec<RowChange>) -> Patch {
    Patch {
        rows,
        ..Patch::default()
    }
}

pub fn got(hash: &str) -> QueryChange {
    QueryChange::Put { hash: hash.into() }
}

pub fn request(op: StoreOp) -> StoreRequest {
    StoreRequest {
        group_id: GROUP.into(),
        op,
    }
}

pub fn open_as(client_id: &str) -> StoreRequest {
    request(StoreOp::Open(Open {
        schema: schema(),
        client_id: client_id.into(),
        now: 1.0,
        was_there: false,
        reads_only: false,
    }))
}

pub fn opened(store: &MemoryStore, client_id: &str) -> Unread {
    match store.execute(&open_as(client_id)) {
        Ok(StoreReply::Opened { loaded, .. }) => *loaded,
        other => panic!("{other:?}"),
    }
}

pub fn unread(store: &MemoryStore) -> Unread {
    match store.execute(&request(StoreOp::Load { schema: schema() })) {
        Ok(StoreReply::Loaded(unread)) => *unread,
        other => panic!("{other:?}"),
    }
}

/// Asks for the rows as those of a schema with another table, and with one column less.
pub fn read_earlier() -> StoreRequest {
    let json = r#"{"tables":{
        "0":{"columns":{"id":{"type":"string"}},"primaryKey":["id"]},
        "a":{"columns":{"id":{"type":"string"}},"primaryKey":["id"]},
        "b":{"serverName":"bees","columns":{"x":{"type":"number"},"y":{"type":"string","serverName":"why"},"z":{"type":"json","optional":true}},"primaryKey":["y","x"]}}}"#;
    let schema = Arc::new(Schema::from_json(json).expect("a schema"));
    request(StoreOp::ReadEarlier { schema })
}

/// How many records the log has.
pub fn log_len(unread: &Unread) -> u64 {
    unread.head.log_next - unread.head.log_first
}

pub fn poke(base: Option<&str>, cookie: &str, patch: Patch) -> AppendPoke {
    AppendPoke {
        base: base.map(str::to_owned),
        cookie: cookie.into(),
        patch,
        last_mutation_ids: SortedMap::new(),
        outcomes: Vec::new(),
    }
}

pub fn append(store: &MemoryStore, poke: AppendPoke) -> StoreReply {
    store
        .execute(&request(StoreOp::AppendPoke(poke)))
        .expect("a reply")
}

pub fn confirm(
    store: &MemoryStore,
    cookie: &str,
    client_id: &str,
    id: u64,
    outcomes: Vec<StoredOutcome>,
) {
    let base = unread(store).head.cookie;
    let poke = AppendPoke {
        last_mutation_ids: SortedMap::from([(client_id.to_owned(), id)]),
        outcomes,
        ..poke(base.as_deref(), cookie, Patch::default())
    };
    assert!(matches!(append(store, poke), StoreReply::Appended(_)));
}

pub fn mutation(id: u64) -> NewMutation {
    NewMutation {
        id,
        name: format!("m{id}"),
        args: format!("[{id}]"),
        ops: None,
        timestamp: 1_700_000_000_000.0 + id as f64,
        end: None,
    }
}

pub fn queue(client_id: &str, ids: &[u64], attempted: bool) -> StoreRequest {
    queue_above(client_id, 0, ids, attempted)
}

/// Of a client that knows of this last mutation id.
pub fn queue_above(client_id: &str, confirmed: u64, ids: &[u64], attempted: bool) -> StoreRequest {
    request(StoreOp::WriteQueue(WriteQueue {
        client_id: client_id.into(),
        mutations: ids.iter().map(|&id| mutation(id)).collect(),
        attempted: ids.last().copied().filter(|_| attempted).unwrap_or(0),
        unsure: 0,
        confirmed,
        now: 2.0,
    }))
}

pub fn sequences(reply: Result<StoreReply, StoreFailure>) -> Vec<(u64, u64)> {
    match reply {
        Ok(StoreReply::Queued { sequences }) => sequences,
        other => panic!("{other:?}"),
    }
}

/// Client, id and whether attempted, in the group's order.
pub fn pending(store: &MemoryStore) -> Vec<(String, u64, bool)> {
    unread(store)
        .queue
        .into_iter()
        .map(|queued| (queued.client_id, queued.id, queued.attempted))
        .collect()
}

/// The server's state, kept in the simplest way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    pub rows: BTreeMap<(TableId, Key), Row>,
    pub desired: BTreeSet<(String, String)>,
    pub got: SortedSet<String>,
}

impl Model {
    pub fn apply(&mut self, patch: &Patch) {
        if patch.clear {
            *self = Self::default();
        }
        for change in &patch.rows {
            match change {
                RowChange::Put { table, row } => {
                    let key = schema().tables[table.0 as usize].key_of(row);
                    self.rows.insert((*table, key), row.clone());
                }
                RowChange::Del { table, key } => {
                    self.rows.remove(&(*table, key.clone()));
                }
            }
        }
        for DesiredChange { client_id, change } in &patch.desired {
            match change {
                QueryChange::Put { hash } => self.desired.insert((client_id.clone(), hash.clone())),
                QueryChange::Del { hash } => {
                    self.desired.remove(&(client_id.clone(), hash.clone()))
                }
            };
        }
        for change in &patch.got {
            match change {
                QueryChange::Put { hash } => self.got.insert(hash.clone()),
                QueryChange::Del { hash } => self.got.remove(hash),
            };
        }
    }

    pub fn of(state: ServerState) -> Self {
        let schema = schema();
        let mut model = Self {
            got: state.queries.got,
            ..Self::default()
        };
        for (client_id, hashes) in state.queries.desired {
            model
                .desired
                .extend(hashes.into_iter().map(|hash| (client_id.clone(), hash)));
        }
        for ((table, known), rows) in schema.iter().zip(state.tables) {
            assert!(
                rows.is_sorted_by(|a, b| known.compare_keys(a, b).is_lt()),
                "rows come sorted and once each"
            );
            model.rows.extend(
                rows.into_iter()
                    .map(|row| ((table, known.key_of(&row)), row)),
            );
        }
        model
    }

    pub fn pages(&self) -> NewPages {
        let mut writer = PageWriter::default();
        for ((table, _), row) in &self.rows {
            writer.push(*table, row);
        }
        writer.finish()
    }

    pub fn queries(&self) -> QuerySets {
        let mut sets = QuerySets {
            got: self.got.clone(),
            ..QuerySets::default()
        };
        for (client_id, hash) in &self.desired {
            sets.desired
                .get_or_default(client_id.clone())
                .insert(hash.clone());
        }
        sets
    }
}

/// A store from a line for each value: the name of the object store, key and value as hexadecimal digits.
pub fn stored(text: &str) -> MemoryStore {
    let store = MemoryStore::default();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let name = StoreName::ALL
            .into_iter()
            .find(|name| name.name() == fields[0])
            .expect("a store");
        store.set_value(name, unhex(fields[1]), unhex(fields[2]));
    }
    store
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex"))
        .collect()
}
