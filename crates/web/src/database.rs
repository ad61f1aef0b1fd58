//! IndexedDB: one database, opened once, in which each storage request is one transaction.
//!
//! web-sys is used directly. What decides is small: the durability of a transaction (`strict` or `relaxed`),
//! the events `versionchange`, `close` and `blocked`, and a decision between reads and writes that must not leave the
//! transaction. The two crates that wrap IndexedDB (`rexie`, `indexed_db_futures`) are built on futures: a transaction
//! ends when a future of anything else is awaited in it, and together with an executor they add about 16 KB of brotli.
//! Here the decision is called inside the success event of the last read, so it cannot await.

use crate::panic::{Held, hold, panicked};
use crate::socket::describe;
use crate::tabs::object_with;
use js_sys::{Array, Object, Uint8Array};
use landfall_store::{
    BackendFailure, Durability, Mode, Read, ReadResult, StoreFailure, StoreName, StoreReply,
    StoreRequest, WriteOp,
};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::*;
use web_sys::{
    DomException, Event, IdbDatabase, IdbFactory, IdbKeyRange, IdbObjectStore, IdbOpenDbRequest,
    IdbRequest, IdbTransaction,
};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(thread_local_v2, js_name = indexedDB)]
    static INDEXED_DB: Option<IdbFactory>;

    // `transaction` with its options, which web-sys keeps behind an unstable switch.
    #[wasm_bindgen(extends = IdbDatabase)]
    type DurableDatabase;

    #[wasm_bindgen(method, catch, js_name = transaction)]
    fn durable_transaction(
        this: &DurableDatabase,
        stores: &Array,
        mode: &str,
        options: &Object,
    ) -> Result<IdbTransaction, JsValue>;

    type Committable;

    #[wasm_bindgen(method, catch)]
    fn commit(this: &Committable) -> Result<(), JsValue>;
}

/// The version of every database: another format is another database name, never an upgrade that an open tab blocks.
const VERSION: u32 = 1;

type OnEvent = Closure<dyn FnMut(Event)>;

/// An open database; clones are handles on the same one. The last handle closes it.
#[derive(Clone)]
pub struct Database(Rc<Open>);

struct Open {
    database: IdbDatabase,
    closed: Rc<Cell<bool>>,
    _held: Held,
    _on_closed: Closure<dyn FnMut()>,
}

impl Database {
    /// Opens or makes the database of this name.
    pub fn open(name: &str, done: impl Fn(Result<Database, StoreFailure>) + 'static) {
        let done = Rc::new(done);
        match open_request(name) {
            Ok(request) => on_opened(request, done),
            Err(error) => done(Err(failure(&error))),
        }
    }

    /// Whether the database can still be used: another tab may have deleted it, the browser may have closed it.
    pub fn is_open(&self) -> bool {
        !self.0.closed.get()
    }

    /// Carries out one request in one transaction. `done` is called after the transaction has committed or aborted.
    pub fn execute(
        &self,
        request: StoreRequest,
        done: impl Fn(Result<StoreReply, StoreFailure>) + 'static,
    ) {
        let done = Rc::new(done);
        if let Err(error) = Running::start(&self.0.database, request, done.clone()) {
            done(Err(failure(&error)));
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.database.set_onversionchange(None);
        self.database.set_onclose(None);
        // Waits by itself for running transactions.
        self.database.close();
    }
}

fn open_request(name: &str) -> Result<IdbOpenDbRequest, JsValue> {
    INDEXED_DB.with(|factory| match factory {
        Some(factory) => factory.open_with_u32(name, VERSION),
        None => Err("this page has no IndexedDB".into()),
    })
}

type Opened = Rc<dyn Fn(Result<Database, StoreFailure>)>;

fn on_opened(request: IdbOpenDbRequest, done: Opened) {
    // The callbacks live until one of the last two has been called.
    // Nothing listens to `blocked`: it comes to those who ask for a newer version, and there is one version only.
    let keep: Rc<RefCell<Vec<OnEvent>>> = Rc::default();
    let end = |result: fn(&IdbOpenDbRequest) -> Result<Database, StoreFailure>| {
        let (keep, request, done) = (keep.clone(), request.clone(), done.clone());
        OnEvent::new(move |_| {
            request.set_onsuccess(None);
            request.set_onerror(None);
            drop(keep.take());
            if !panicked() {
                done(result(&request));
            }
        })
    };
    let make = {
        let request = request.clone();
        OnEvent::new(move |_| {
            let made = request
                .result()
                .and_then(|database| make_stores(database.unchecked_ref()));
            if let Err(error) = made {
                // Thrown out of this event it aborts the upgrade, and `error` follows.
                wasm_bindgen::throw_val(error);
            }
        })
    };
    let success = end(|request| {
        let database = request.result().map_err(|error| failure(&error))?;
        Ok(Database(Rc::new(Open::new(database.unchecked_into()))))
    });
    let error = end(|request| Err(request_failure(request)));
    request.set_onupgradeneeded(Some(make.as_ref().unchecked_ref()));
    request.set_onsuccess(Some(success.as_ref().unchecked_ref()));
    request.set_onerror(Some(error.as_ref().unchecked_ref()));
    keep.replace(vec![make, success, error]);
}

fn make_stores(database: &IdbDatabase) -> Result<(), JsValue> {
    for store in StoreName::ALL {
        database.create_object_store(store.name())?;
    }
    Ok(())
}

impl Open {
    fn new(database: IdbDatabase) -> Open {
        let closed = Rc::new(Cell::new(false));
        let on_closed = {
            let (database, closed) = (database.clone(), closed.clone());
            // For `versionchange`: somebody wants to delete the database, and waits for us.
            // For `close`: the browser has closed it.
            Closure::<dyn FnMut()>::new(move || {
                closed.set(true);
                database.close();
            })
        };
        let function = on_closed.as_ref().unchecked_ref();
        database.set_onversionchange(Some(function));
        database.set_onclose(Some(function));
        Open {
            _held: hold(&database),
            database,
            closed,
            _on_closed: on_closed,
        }
    }
}

// A transaction on its way: reads, then the decision inside the last success event, then writes, then the end.
struct Running {
    transaction: IdbTransaction,
    request: RefCell<Option<StoreRequest>>,
    reads: Vec<Reading>,
    result: RefCell<Option<Result<StoreReply, StoreFailure>>>,
    done: Rc<dyn Fn(Result<StoreReply, StoreFailure>)>,
    keep: RefCell<Vec<OnEvent>>,
}

impl Running {
    fn start(
        database: &IdbDatabase,
        request: StoreRequest,
        done: Rc<dyn Fn(Result<StoreReply, StoreFailure>)>,
    ) -> Result<(), JsValue> {
        let names: Array = StoreName::ALL
            .iter()
            .map(|store| JsValue::from_str(store.name()))
            .collect();
        let durability = match request.durability() {
            Durability::Strict => "strict",
            Durability::Relaxed => "relaxed",
        };
        let mode = match request.mode() {
            Mode::ReadOnly => "readonly",
            Mode::ReadWrite => "readwrite",
        };
        let transaction = database
            .unchecked_ref::<DurableDatabase>()
            .durable_transaction(&names, mode, &object_with("durability", &durability.into()))?;
        let reads = request
            .reads()
            .iter()
            .map(|read| Reading::issue(&transaction, read))
            .collect::<Result<_, _>>()?;
        let running = Rc::new(Running {
            transaction,
            request: RefCell::new(Some(request)),
            reads,
            result: RefCell::default(),
            done,
            keep: RefCell::default(),
        });
        running.clone().listen();
        if !running.reads.iter().any(|read| read.request().is_some()) {
            running.decide();
        }
        Ok(())
    }

    fn listen(self: Rc<Self>) {
        let on = |react: fn(&Running)| {
            let running = self.clone();
            OnEvent::new(move |_| {
                if !panicked() {
                    react(&running);
                }
            })
        };
        let (read, complete, abort) = (on(Running::decide), on(Running::end), on(Running::end));
        // Requests of a transaction succeed in the order in which they were made.
        if let Some(last) = self.reads.iter().rev().find_map(Reading::request) {
            last.set_onsuccess(Some(read.as_ref().unchecked_ref()));
        }
        self.transaction
            .set_oncomplete(Some(complete.as_ref().unchecked_ref()));
        self.transaction
            .set_onabort(Some(abort.as_ref().unchecked_ref()));
        self.keep.replace(vec![read, complete, abort]);
    }

    fn decide(&self) {
        let Some(request) = self.request.take() else {
            return;
        };
        let decided = self.read_results().and_then(|results| {
            let decision = request.decide(results)?;
            for op in decision.writes {
                write(&self.transaction, &op).map_err(|error| failure(&error))?;
            }
            Ok(decision.reply)
        });
        if decided.is_err() {
            // Refused only if the transaction is aborting already: `abort` follows either way.
            let _aborting = self.transaction.abort();
        } else {
            // Saves waiting until the browser finds out that nothing follows. Old browsers lack it.
            let _unknown = self.transaction.unchecked_ref::<Committable>().commit();
        }
        self.result.replace(Some(decided));
    }

    fn read_results(&self) -> Result<Vec<ReadResult>, StoreFailure> {
        self.reads
            .iter()
            .map(Reading::result)
            .collect::<Result<_, _>>()
            .map_err(|error| failure(&error))
    }

    // After commit or abort: nothing of this transaction happens any more.
    fn end(&self) {
        drop(self.keep.take());
        let aborted = self.transaction.error();
        let result = match (self.result.take(), aborted) {
            (Some(Err(refused)), _) => Err(refused),
            (Some(Ok(reply)), None) => Ok(reply),
            (_, Some(error)) => Err(failure(&error)),
            (None, None) => Err(failure(&"the transaction was aborted".into())),
        };
        (self.done)(result);
    }
}

// One read on its way.
enum Reading {
    One(IdbRequest),
    Many(IdbRequest),
    // A range that holds no keys; IndexedDB would refuse it.
    Nothing,
}

impl Reading {
    fn issue(transaction: &IdbTransaction, read: &Read) -> Result<Reading, JsValue> {
        Ok(match read {
            Read::Get { store, key } => {
                Reading::One(store_of(transaction, *store)?.get(&binary(key))?)
            }
            Read::Range {
                store,
                from,
                until,
                limit,
            } => {
                let Some(range) = key_range(from, until.as_deref())? else {
                    return Ok(Reading::Nothing);
                };
                let store = store_of(transaction, *store)?;
                Reading::Many(match limit {
                    Some(limit) => store.get_all_with_key_and_limit(&range, *limit)?,
                    None => store.get_all_with_key(&range)?,
                })
            }
        })
    }

    fn request(&self) -> Option<&IdbRequest> {
        match self {
            Reading::One(request) | Reading::Many(request) => Some(request),
            Reading::Nothing => None,
        }
    }

    fn result(&self) -> Result<ReadResult, JsValue> {
        Ok(match self {
            Reading::One(request) => {
                let value = request.result()?;
                ReadResult::Value((!value.is_undefined()).then(|| bytes(&value)))
            }
            Reading::Many(request) => {
                let values: Array = request.result()?.unchecked_into();
                ReadResult::Values(values.iter().map(|value| bytes(&value)).collect())
            }
            Reading::Nothing => ReadResult::Values(Vec::new()),
        })
    }
}

fn write(transaction: &IdbTransaction, op: &WriteOp) -> Result<(), JsValue> {
    match op {
        WriteOp::Put { store, key, value } => {
            store_of(transaction, *store)?.put_with_key(&binary(value), &binary(key))?;
        }
        WriteOp::Delete { store, key } => {
            store_of(transaction, *store)?.delete(&binary(key))?;
        }
        WriteOp::DeleteRange { store, from, until } => {
            if let Some(range) = key_range(from, Some(until))? {
                store_of(transaction, *store)?.delete(&range)?;
            }
        }
        WriteOp::Clear { store } => {
            store_of(transaction, *store)?.clear()?;
        }
    }
    Ok(())
}

fn store_of(transaction: &IdbTransaction, store: StoreName) -> Result<IdbObjectStore, JsValue> {
    transaction.object_store(store.name())
}

// From a key up to and without another, or to the end. `None` if nothing can lie in it.
fn key_range(from: &[u8], until: Option<&[u8]>) -> Result<Option<IdbKeyRange>, JsValue> {
    match until {
        None => IdbKeyRange::lower_bound(&binary(from)).map(Some),
        Some(until) if until <= from => Ok(None),
        Some(until) => IdbKeyRange::bound_with_lower_open_and_upper_open(
            &binary(from),
            &binary(until),
            false,
            true,
        )
        .map(Some),
    }
}

fn binary(bytes: &[u8]) -> JsValue {
    Uint8Array::from(bytes).into()
}

fn bytes(value: &JsValue) -> Vec<u8> {
    Uint8Array::new(value).to_vec()
}

fn request_failure(request: &IdbOpenDbRequest) -> StoreFailure {
    match request.error() {
        Ok(Some(error)) => failure(&error),
        _ => failure(&"the database cannot be opened".into()),
    }
}

fn failure(error: &JsValue) -> StoreFailure {
    let name = error
        .dyn_ref::<DomException>()
        .map(DomException::name)
        .unwrap_or_default();
    let kind = match name.as_str() {
        "QuotaExceededError" => BackendFailure::Quota,
        "InvalidStateError" | "AbortError" => BackendFailure::Closed,
        "SecurityError" | "NotAllowedError" | "" => BackendFailure::Unavailable,
        _ => BackendFailure::Other,
    };
    StoreFailure::Backend {
        kind,
        message: describe(error),
    }
}
