//! IndexedDB: one database, opened once, in which each storage request is one transaction.
//!
//! web-sys is used directly. What decides is small: the durability of a transaction (`strict` or `relaxed`),
//! the events `versionchange`, `close` and `blocked`, and a decision between reads and writes that must not leave the
//! transaction. The two crates that wrap IndexedDB (`rexie`, `indexed_db_futures`) are built on futures: a transaction
//! ends when a future of anything else is awaited in it, and together with an executor they add about 16 KB of brotli.
//! Here the decision is called inside the success event of the last read, so it cannot await.

use crate::panic::{Held, hold, panicked};
use crate::socket::describe;
use crate::transaction::Running;
use landfall_store::{BackendFailure, StoreFailure, StoreName, StoreReply, StoreRequest};
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::*;
use web_sys::{
    DomException, Event, IdbDatabase, IdbFactory, IdbOpenDbRequest, IdbVersionChangeEvent,
};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(thread_local_v2, js_name = indexedDB)]
    static INDEXED_DB: Option<IdbFactory>;
}

/// The version of every database: another format is another database name, never an upgrade that an open tab blocks.
const VERSION: u32 = 1;

pub(crate) type OnEvent = Closure<dyn FnMut(Event)>;

/// An open database; clones are handles on the same one. The last handle closes it.
#[derive(Clone)]
pub struct Database(Rc<Open>);

/// What can be done with a connection to a database.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Connection {
    Open,
    /// The browser has closed it, or newer code has asked for the database: another one can be opened.
    Lost,
    /// Another page has deleted the database. To make it again would bring back what was to go.
    Deleted,
}

struct Open {
    database: IdbDatabase,
    connection: Rc<Cell<Connection>>,
    running: Transactions,
    _held: Held,
    _on_closed: OnEvent,
}

/// What runs on a database; what has ended may still be in it.
type Transactions = Rc<RefCell<Vec<Weak<Running>>>>;

impl Database {
    /// Opens or makes the database of this name.
    pub fn open(name: &str, done: impl Fn(Result<Database, StoreFailure>) + 'static) {
        let done = Rc::new(done);
        match open_request(name) {
            Ok(request) => on_opened(request, done),
            Err(error) => done(Err(failure(&error))),
        }
    }

    /// One that is open.
    pub(crate) fn of(database: IdbDatabase) -> Database {
        Database(Rc::new(Open::new(database)))
    }

    /// Whether this connection can still be used.
    pub fn is_open(&self) -> bool {
        self.0.connection.get() == Connection::Open
    }

    /// Whether another page has deleted the database.
    pub fn is_deleted(&self) -> bool {
        self.0.connection.get() == Connection::Deleted
    }

    /// Carries out one request in one transaction. `done` is called after the transaction has committed or aborted.
    pub fn execute(
        &self,
        request: StoreRequest,
        done: impl Fn(Result<StoreReply, StoreFailure>) + 'static,
    ) {
        let done = Rc::new(done);
        match Running::start(&self.0.database, request, done.clone()) {
            Ok(running) => {
                let mut all = self.0.running.borrow_mut();
                all.retain(|one| one.strong_count() > 0);
                all.push(running);
            }
            Err(error) => {
                let failure = failure(&error);
                if is_closed(&failure) && self.is_open() {
                    // Some browsers close connections without the event, as of a page that was in the background.
                    self.0.connection.set(Connection::Lost);
                    self.0.database.close();
                }
                done(Err(failure));
            }
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
        Ok(Database::of(database.unchecked_into()))
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
        let connection = Rc::new(Cell::new(Connection::Open));
        let running = Transactions::default();
        let on_closed = {
            let (database, connection) = (database.clone(), connection.clone());
            let running = running.clone();
            // For `versionchange`: somebody wants to delete the database, and waits for us; what runs comes to its end.
            // For `close`: the browser has closed it, and what runs may have no end.
            OnEvent::new(move |event: Event| {
                let change = event.dyn_ref::<IdbVersionChangeEvent>();
                connection.set(match change.map(IdbVersionChangeEvent::new_version) {
                    Some(None) => Connection::Deleted,
                    Some(Some(_)) | None => Connection::Lost,
                });
                database.close();
                if event.type_() == "close" && !panicked() {
                    let left: Vec<_> = running.take().iter().filter_map(Weak::upgrade).collect();
                    left.iter().for_each(|one| one.give_up());
                }
            })
        };
        let function = on_closed.as_ref().unchecked_ref();
        database.set_onversionchange(Some(function));
        database.set_onclose(Some(function));
        Open {
            _held: hold(&database),
            database,
            connection,
            running,
            _on_closed: on_closed,
        }
    }
}

fn request_failure(request: &IdbOpenDbRequest) -> StoreFailure {
    match request.error() {
        Ok(Some(error)) => failure(&error),
        _ => failure(&"the database cannot be opened".into()),
    }
}

/// What is told of a database that another page has deleted.
pub(crate) fn deleted() -> StoreFailure {
    StoreFailure::Backend {
        kind: BackendFailure::Unavailable,
        message: "another page has deleted the database; nothing is stored until this page is loaded again".into(),
    }
}

fn is_closed(failure: &StoreFailure) -> bool {
    let StoreFailure::Backend { kind, .. } = failure else {
        return false;
    };
    *kind == BackendFailure::Closed
}

pub(crate) fn failure(error: &JsValue) -> StoreFailure {
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
