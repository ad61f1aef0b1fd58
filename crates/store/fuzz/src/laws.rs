//! What must hold of any stored bytes: a request gives a reply or a typed failure, never a panic; a store that opens can
//! be folded and opens again with the same rows; one that does not can be repaired; erasing always helps.

use super::seeds;
use landfall_store::{
    MemoryStore, Open, Repair, ServerState, StartGroup, StoreFailure, StoreName, StoreOp,
    StoreReply, StoreRequest, plan_fold,
};
use landfall_zql::Schema;
use std::sync::{Arc, OnceLock};

/// A law, with its name.
pub type Law = (&'static str, fn(&[u8]));

/// The laws, by the names of the fuzzers.
pub const LAWS: [Law; 2] = [
    ("stored_value", stored_value),
    ("stored_store", stored_store),
];

const GROUP: &str = "group1";

/// One value of a good store is another.
pub fn stored_value(bytes: &[u8]) {
    let store = example().snapshot();
    if replace_one(&store, bytes).is_some() {
        check(&store);
    }
}

/// Many values of a good store are others.
pub fn stored_store(bytes: &[u8]) {
    let store = example().snapshot();
    let mut rest = bytes;
    while let Some(left) = replace_one(&store, rest) {
        rest = left;
    }
    check(&store);
}

type Values = Vec<(&'static str, Vec<u8>, Vec<u8>)>;

fn values() -> &'static Values {
    static VALUES: OnceLock<Values> = OnceLock::new();
    VALUES.get_or_init(seeds::values)
}

fn example() -> &'static MemoryStore {
    static EXAMPLE: OnceLock<MemoryStore> = OnceLock::new();
    EXAMPLE.get_or_init(|| {
        let store = MemoryStore::default();
        for (name, key, value) in values() {
            store.set_value(by_name(name), key.clone(), value.clone());
        }
        store
    })
}

fn by_name(name: &str) -> StoreName {
    let all = StoreName::ALL.into_iter();
    let mut named = all.filter(|store| store.name() == name);
    named.next().expect("a store of this name")
}

/// Puts the next value into its place, under the kind that belongs there; gives what is left of the bytes.
fn replace_one<'a>(store: &MemoryStore, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_first_chunk::<3>()?;
    let (name, key, before) = &values()[usize::from(head[0]) % values().len()];
    let length = usize::from(u16::from_le_bytes([head[1], head[2]])).min(rest.len());
    let (value, rest) = rest.split_at(length);
    let value = [&before[..2], value].concat();
    store.set_value(by_name(name), key.clone(), value);
    Some(rest)
}

fn schema() -> Arc<Schema> {
    static SCHEMA: OnceLock<Arc<Schema>> = OnceLock::new();
    let json = r#"{"tables":{
        "a":{"columns":{"id":{"type":"string"},"n":{"type":"number"}},"primaryKey":["id"]},
        "b":{"serverName":"bees","columns":{"x":{"type":"number"},"y":{"type":"string","serverName":"why"},"z":{"type":"json","optional":true}},"primaryKey":["y","x"]}}}"#;
    let made = || Arc::new(Schema::from_json(json).expect("the schema of the example"));
    SCHEMA.get_or_init(made).clone()
}

fn ask(store: &MemoryStore, op: StoreOp) -> Result<StoreReply, StoreFailure> {
    let group_id = GROUP.to_owned();
    store.execute(&StoreRequest { group_id, op })
}

fn rows(store: &MemoryStore) -> Result<ServerState, StoreFailure> {
    let open = StoreOp::Open(Open {
        schema: schema(),
        client_id: "c9".into(),
        now: 9.0,
        was_there: false,
        reads_only: false,
    });
    match ask(store, open)? {
        StoreReply::Opened { loaded, .. } => loaded.read(),
        other => panic!("opening answered {other:?}"),
    }
}

fn check(store: &MemoryStore) {
    // Whatever they answer, they answer.
    if let Ok(StoreReply::Earlier(earlier)) = ask(store, StoreOp::ReadEarlier { schema: schema() })
    {
        let _ = earlier.read();
    }
    let _ = ask(store, StoreOp::OpenQueue);
    let _ = ask(store, StoreOp::ReadQueue { except: None });
    read_kept(store);
    match rows(store) {
        Ok(state) => check_fold(store, &state),
        Err(_) => check_repair(store),
    }
    ask(store, StoreOp::Erase).expect("erasing helps always");
    rows(store).expect("an empty store opens");
}

/// What is kept can be read or not.
fn read_kept(store: &MemoryStore) {
    let store = store.snapshot();
    store.clear(StoreName::Queue);
    let schema = schema();
    let asked = ask(&store, StoreOp::ReadKept { schema });
    if let StoreReply::Kept(results) = asked.expect("it is there or not") {
        for result in results {
            let _ = result.read(&self::schema());
        }
    }
}

/// What opens can be folded, unless its head names another group, and holds the same afterwards.
fn check_fold(store: &MemoryStore, state: &ServerState) {
    let schema = schema();
    let Ok(StoreReply::Loaded(loaded)) = ask(store, StoreOp::Load { schema }) else {
        return;
    };
    let plan = plan_fold(*loaded).expect("what opens can be folded");
    if let Ok(StoreReply::Folded(_)) = ask(store, StoreOp::Fold(plan)) {
        assert_eq!(rows(store).as_ref(), Ok(state), "folded");
    }
}

/// What does not open because of its bytes opens after a repair.
fn check_repair(store: &MemoryStore) {
    let instead = StartGroup {
        new_group_id: "group2".into(),
        client_id: "c8".into(),
        sent: Vec::new(),
        now: 8.0,
    };
    let schema = schema();
    let repair = StoreOp::Repair(Repair { schema, instead });
    ask(store, repair).expect("a store with a head can be repaired");
    rows(store).expect("a repaired store opens");
}
