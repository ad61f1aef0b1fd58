//! Storage requests carried out in real IndexedDB: the same answers as in memory, and what only a browser can do.
// Calls of JavaScript that cannot fail here are unwrapped.
#![allow(missing_docs, clippy::unwrap_used)]
#![cfg(target_arch = "wasm32")]

use js_sys::{Array, Promise};
use landfall_store::{
    AppendPoke, BackendFailure, Frozen, KeepResults, KeptResult, KeptTree, MarkAttempted,
    MemoryStore, NewMutation, Open, PageWriter, Patch, QuerySets, RowChange, ServerState,
    StoreFailure, StoreOp, StoreReply, StoreRequest, WriteQueue, WriteSnapshot,
};
use landfall_web::Database;
use landfall_zql::sorted_map::SortedMap;
use landfall_zql::{Row, Schema, TableId, ValueRef};
use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

type Answer = Result<StoreReply, StoreFailure>;

/// Waits for a callback.
async fn called<T: 'static>(start: impl FnOnce(Box<dyn Fn(T)>)) -> T {
    let result = Rc::new(RefCell::new(None));
    let slot = result.clone();
    let mut start = Some(start);
    let promise = Promise::new(&mut |resolve, _| {
        let slot = slot.clone();
        if let Some(start) = start.take() {
            start(Box::new(move |value| {
                slot.replace(Some(value));
                resolve.call0(&JsValue::UNDEFINED).unwrap();
            }));
        }
    });
    JsFuture::from(promise).await.unwrap();
    result.take().expect("the callback has been called")
}

async fn open(name: &str) -> Database {
    called(|done| Database::open(name, done)).await.unwrap()
}

async fn execute(database: &Database, request: StoreRequest) -> Answer {
    called(|done| database.execute(request, done)).await
}

/// Two requests, the second one given before the first one is answered.
async fn both(database: &Database, first: StoreRequest, second: StoreRequest) -> (Answer, Answer) {
    let slot = Rc::new(RefCell::new(None));
    let kept = slot.clone();
    database.execute(first, move |answer| {
        kept.replace(Some(answer));
    });
    let second = execute(database, second).await;
    let first = slot.take().expect("the first one was answered before");
    (first, second)
}

async fn delete(name: &str) {
    let deleted = js_sys::Function::from(
        js_sys::Reflect::get(&indexed_db(), &"deleteDatabase".into()).unwrap(),
    );
    let request = deleted.call1(&indexed_db(), &name.into()).unwrap();
    called(|done: Box<dyn Fn(())>| {
        let success = Closure::<dyn FnMut()>::new(move || done(())).into_js_value();
        js_sys::Reflect::set(&request, &"onsuccess".into(), &success).unwrap();
    })
    .await;
}

fn indexed_db() -> JsValue {
    js_sys::Reflect::get(&js_sys::global(), &"indexedDB".into()).unwrap()
}

fn schema() -> Arc<Schema> {
    let json = r#"{"tables":{"issue":{"name":"issue","columns":{
        "id":{"type":"string","optional":false},"title":{"type":"string","optional":true}},
        "primaryKey":["id"]}}}"#;
    Arc::new(Schema::from_json(json).unwrap())
}

fn request(op: StoreOp) -> StoreRequest {
    StoreRequest {
        group_id: "group1".into(),
        op,
    }
}

fn open_group(client_id: &str) -> StoreRequest {
    request(StoreOp::Open(Open {
        schema: schema(),
        client_id: client_id.into(),
        now: 1.0,
        was_there: false,
        reads_only: false,
    }))
}

fn put(id: &str, title: &str) -> RowChange {
    RowChange::Put {
        table: TableId(0),
        row: Row::from_values([ValueRef::String(id), ValueRef::String(title)]),
    }
}

fn poke(base: Option<&str>, cookie: &str, rows: Vec<RowChange>) -> StoreRequest {
    request(StoreOp::AppendPoke(AppendPoke {
        base: base.map(Into::into),
        cookie: cookie.into(),
        patch: Patch {
            rows,
            ..Patch::default()
        },
        last_mutation_ids: SortedMap::new(),
        outcomes: Vec::new(),
    }))
}

fn mutations(client_id: &str, ids: impl IntoIterator<Item = u64>) -> StoreRequest {
    request(StoreOp::WriteQueue(WriteQueue {
        client_id: client_id.into(),
        mutations: ids
            .into_iter()
            .map(|id| NewMutation {
                id,
                name: "issue.create".into(),
                args: format!("[{{\"id\":\"{id}\"}}]"),
                ops: None,
                timestamp: 5.0,
                end: None,
            })
            .collect(),
        attempted: 0,
        unsure: 0,
        confirmed: 0,
        now: 2.0,
    }))
}

fn keep(query: &str, cookie: &str) -> StoreRequest {
    let tree = KeptTree {
        rows: vec![(TableId(0), Row::from_values([ValueRef::String("x"); 2]))],
        words: vec![1, 0],
    };
    request(StoreOp::KeepResults(KeepResults {
        cookie: cookie.into(),
        results: vec![KeptResult::new(query.into(), &tree)],
    }))
}

fn freeze(client_id: &str, ids: RangeInclusive<u64>) -> StoreRequest {
    request(StoreOp::MarkAttempted(MarkAttempted {
        through: vec![(client_id.into(), *ids.end())],
        frozen: ids
            .map(|id| Frozen {
                client_id: client_id.into(),
                id,
                ops: Some(format!("[{id}]")),
                end: None,
                sent: false,
            })
            .collect(),
    }))
}

fn load() -> StoreRequest {
    request(StoreOp::Load { schema: schema() })
}

/// The program that both backends run: every kind of request, also ones that are refused.
fn program() -> Vec<StoreRequest> {
    let many: Vec<_> = (0..500)
        .map(|n| put(&format!("row{n}"), "ü € 😀"))
        .collect();
    vec![
        load(),
        open_group("c1"),
        poke(None, "01", many),
        poke(Some("01"), "02", vec![put("row1", "again"), put("x", "")]),
        poke(Some("01"), "02", vec![put("row1", "late")]),
        poke(Some("05"), "06", vec![]),
        keep("c1", "02"),
        keep("c2", "02"),
        request(StoreOp::ReadKept { schema: schema() }),
        keep("c2", "01"),
        request(StoreOp::ReadKept { schema: schema() }),
        keep("c1", "02"),
        mutations("c1", [1, 2, 3]),
        request(StoreOp::ReadKept { schema: schema() }),
        mutations("c1", [7]),
        mutations("c1", [4]),
        // More values than are written in one task, and as many.
        mutations("c1", 5..=204),
        mutations("c1", 205..=266),
        request(StoreOp::ReadQueue { except: None }),
        freeze("c1", 10..=250),
        request(StoreOp::ReadQueue { except: None }),
        request(StoreOp::ReadLog {
            schema: schema(),
            from: 1,
        }),
        request(StoreOp::TouchClient {
            client_id: "c1".into(),
            now: 9.0,
        }),
        request(StoreOp::ClearOutcomes {
            by: "c2".into(),
            ids: vec![("c1".into(), 1)],
        }),
        open_group("c2"),
        request(StoreOp::RemoveClients {
            client_ids: vec!["c1".into(), "c2".into()],
            are_gone: true,
        }),
        load(),
        request(StoreOp::Erase),
        load(),
    ]
}

#[wasm_bindgen_test]
async fn indexeddb_answers_as_memory_does() {
    let database = open("answers").await;
    let memory = MemoryStore::default();
    for (step, request) in program().into_iter().enumerate() {
        let expected = memory.execute(&request);
        let found = execute(&database, request).await;
        assert_eq!(format!("{found:?}"), format!("{expected:?}"), "step {step}");
    }
}

/// All rows, as pages: more of them than are read at a time.
fn snapshot(cookie: &str, text: &str) -> StoreRequest {
    let mut pages = PageWriter::default();
    for n in 0..600 {
        let (id, title) = (format!("row{n:04}"), text.repeat(10_000));
        let row = Row::from_values([ValueRef::String(&id), ValueRef::String(&title)]);
        pages.push(TableId(0), &row);
    }
    let pages = pages.finish();
    assert!(pages.len() > 8, "{} pages", pages.len());
    request(StoreOp::WriteSnapshot(WriteSnapshot {
        cookie: cookie.into(),
        last_mutation_ids: SortedMap::new(),
        pages,
        queries: QuerySets::default(),
        outcomes: Vec::new(),
    }))
}

async fn state(database: &Database) -> ServerState {
    match execute(database, load()).await {
        Ok(StoreReply::Loaded(unread)) => unread.read().expect("undamaged"),
        other => panic!("{other:?}"),
    }
}

#[wasm_bindgen_test]
async fn pages_are_stored_and_read_as_a_whole_though_one_by_one() {
    let database = open("pages").await;
    let memory = MemoryStore::default();
    let steps = [
        open_group("c1"),
        snapshot("01", "a"),
        poke(
            Some("01"),
            "02",
            vec![put("row0300", "changed"), put("x", "")],
        ),
        snapshot("03", "b"),
    ];
    for step in steps {
        memory.execute(&step).expect("in memory");
        // Another one waits for it, however many tasks it takes.
        let (stored, read) = both(&database, step, load()).await;
        stored.expect("in the browser");
        read.expect("reads behind it");
        let Ok(StoreReply::Loaded(unread)) = memory.execute(&load()) else {
            panic!("memory answers");
        };
        let expected = unread.read().expect("undamaged");
        assert!(state(&database).await == expected);
    }
}

#[wasm_bindgen_test]
async fn what_was_stored_is_there_after_reopening() {
    let database = open("reopening").await;
    let opened = execute(&database, open_group("c1")).await;
    assert!(matches!(
        opened,
        Ok(StoreReply::Opened { created: true, .. })
    ));
    execute(&database, mutations("c1", [1])).await.unwrap();
    drop(database);

    let database = open("reopening").await;
    let opened = execute(&database, open_group("c2")).await.unwrap();
    let StoreReply::Opened { loaded, created } = opened else {
        panic!("{opened:?}");
    };
    assert!(!created);
    assert_eq!(loaded.queue.len(), 1);
    assert_eq!(loaded.queue[0].args, r#"[{"id":"1"}]"#);
}

#[wasm_bindgen_test]
async fn a_refused_decision_writes_nothing() {
    let database = open("refused").await;
    execute(&database, open_group("c1")).await.unwrap();
    let refused = execute(&database, mutations("c1", [2])).await;
    assert!(matches!(
        refused,
        Err(StoreFailure::Gap {
            expected: 1,
            found: 2
        })
    ));
    let queue = execute(&database, request(StoreOp::ReadQueue { except: None })).await;
    assert!(matches!(queue, Ok(StoreReply::Queue { queue, .. }) if queue.is_empty()));
}

// Without a decision inside the transaction both would see the old head and append.
#[wasm_bindgen_test]
async fn two_connections_decide_one_after_the_other() {
    let (one, two) = (open("two").await, open("two").await);
    execute(&one, open_group("c1")).await.unwrap();
    let (first, second) = (Rc::new(RefCell::new(None)), Rc::new(RefCell::new(None)));
    called(|done: Box<dyn Fn(())>| {
        let done = Rc::new(done);
        for (database, slot) in [(&one, &first), (&two, &second)] {
            let (slot, done, other) = (slot.clone(), done.clone(), [first.clone(), second.clone()]);
            database.execute(
                poke(None, "01", vec![put("a", "b")]),
                move |answer: Answer| {
                    slot.replace(Some(answer));
                    if other.iter().all(|slot| slot.borrow().is_some()) {
                        done(());
                    }
                },
            );
        }
    })
    .await;
    assert!(matches!(first.take(), Some(Ok(StoreReply::Appended(_)))));
    assert!(matches!(
        second.take(),
        Some(Ok(StoreReply::AlreadyThere(_)))
    ));
}

#[wasm_bindgen_test]
async fn a_deletion_from_outside_is_not_held_up_and_is_noticed() {
    let database = open("deleted").await;
    execute(&database, open_group("c1")).await.unwrap();
    delete("deleted").await;
    assert!(!database.is_open());
    assert!(database.is_deleted());
    let answer = execute(&database, load()).await;
    assert!(
        matches!(
            answer,
            Err(StoreFailure::Backend {
                kind: BackendFailure::Closed,
                ..
            })
        ),
        "{answer:?}"
    );
    assert!(database.is_deleted());
    // And the name is free for a new database.
    let again = open("deleted").await;
    let opened = execute(&again, open_group("c1")).await;
    assert!(matches!(
        opened,
        Ok(StoreReply::Opened { created: true, .. })
    ));
}

#[wasm_bindgen_test]
async fn a_database_of_a_newer_format_is_an_error_and_no_panic() {
    let factory = indexed_db();
    let open_function =
        js_sys::Function::from(js_sys::Reflect::get(&factory, &"open".into()).unwrap());
    let newer = open_function
        .apply(&factory, &Array::of2(&"newer".into(), &7.into()))
        .unwrap();
    called(|done: Box<dyn Fn(())>| {
        let success = Closure::<dyn FnMut()>::new(move || done(())).into_js_value();
        js_sys::Reflect::set(&newer, &"onsuccess".into(), &success).unwrap();
    })
    .await;
    let opened: Result<Database, StoreFailure> = called(|done| Database::open("newer", done)).await;
    assert!(matches!(opened, Err(StoreFailure::Backend { .. })));
}
