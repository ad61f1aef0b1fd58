//! One storage request as one transaction of IndexedDB: reads, then the decision inside the last success event, then
//! writes, then the end.
//!
//! Pages are read and written few at a time, each in a task of its own: together they are tens of megabytes. The
//! transaction stays open meanwhile, as one of its requests is always under way. The rows of a page are read in the task
//! that it comes in, as far as there is time in it, while the browser fetches the next ones.

use crate::clock::now_ms;
use crate::database::{OnEvent, failure};
use crate::pace::Pace;
use crate::panic::panicked;
use crate::tabs::object_with;
use js_sys::{Array, Function, Object, Uint8Array};
use landfall_store::{
    BackendFailure, Durability, Mode, NewValue, PAGE_BYTES, Read, ReadResult, StoreFailure,
    StoreName, StoreReply, StoreRequest, StoredPage, WriteOp,
};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::*;
use web_sys::{Event, IdbDatabase, IdbKeyRange, IdbObjectStore, IdbRequest, IdbTransaction};

/// So many pages are asked for at a time: enough that the browser is not waited for, few enough for one task.
const PAGES_AT_ONCE: usize = 4;

/// So many small values are written in one task.
const WRITES_AT_ONCE: usize = 64;

/// So long may rows of a page be read in the task that it comes in; the others are read when they are wanted.
const READ_MS: f64 = 5.0;

/// So many bytes of a page count as one step.
const BYTES_PER_STEP: usize = 256;

#[wasm_bindgen]
extern "C" {
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

/// A transaction on its way.
pub(crate) struct Running {
    transaction: IdbTransaction,
    request: RefCell<Option<StoreRequest>>,
    reads: Vec<Reading>,
    pages: RefCell<Pages>,
    // How many parts are still being read: what is small, and pages.
    reading: Cell<usize>,
    // What the decision writes, as far as it is not written, and what it answers then.
    writes: RefCell<VecDeque<WriteOp>>,
    reply: RefCell<Option<StoreReply>>,
    result: RefCell<Option<Result<StoreReply, StoreFailure>>>,
    done: Rc<dyn Fn(Result<StoreReply, StoreFailure>)>,
    has_ended: Cell<bool>,
    // Call `take_page` and `write_on`.
    on_page: RefCell<Option<Function>>,
    on_written: RefCell<Option<Function>>,
    keep: RefCell<Vec<OnEvent>>,
}

impl Running {
    /// `done` is called after it has committed or aborted.
    pub(crate) fn start(
        database: &IdbDatabase,
        request: StoreRequest,
        done: Rc<dyn Fn(Result<StoreReply, StoreFailure>)>,
    ) -> Result<Weak<Running>, JsValue> {
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
            pages: RefCell::default(),
            reading: Cell::new(0),
            writes: RefCell::default(),
            reply: RefCell::default(),
            result: RefCell::default(),
            done,
            has_ended: Cell::default(),
            on_page: RefCell::default(),
            on_written: RefCell::default(),
            keep: RefCell::default(),
        });
        running.clone().listen();
        if running.reading.get() == 0 {
            running.decide();
        }
        Ok(Rc::downgrade(&running))
    }

    /// The browser has closed the database, and may never say how this ended: whether it was stored is not known.
    pub(crate) fn give_up(&self) {
        if self.has_ended.replace(true) {
            return;
        }
        self.request.take();
        self.writes.take();
        // What listens stays: events may still come.
        (self.done)(Err(StoreFailure::Backend {
            kind: BackendFailure::Closed,
            message: "the browser closed the database".into(),
        }));
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
        let on_request = |react: fn(&Running, &IdbRequest)| {
            let running = self.clone();
            OnEvent::new(move |event: Event| {
                let request = event.target().map(JsCast::unchecked_into::<IdbRequest>);
                if let Some(request) = request
                    && !panicked()
                {
                    react(&running, &request);
                }
            })
        };
        let (read, written) = (on(Running::part_is_read), on(Running::write_on));
        let page_keys = on_request(Running::begin_pages);
        let page = on_request(Running::take_page);
        let (complete, abort) = (on(Running::complete), on(Running::abort));
        // Requests of a transaction succeed in the order in which they were made.
        let last = self.reads.iter().rev().find_map(Reading::request);
        let keys = self.reads.iter().find_map(Reading::page_keys);
        for (request, listener) in [(last, &read), (keys, &page_keys)] {
            if let Some(request) = request {
                request.set_onsuccess(Some(listener.as_ref().unchecked_ref()));
                self.reading.set(self.reading.get() + 1);
            }
        }
        self.transaction
            .set_oncomplete(Some(complete.as_ref().unchecked_ref()));
        self.transaction
            .set_onabort(Some(abort.as_ref().unchecked_ref()));
        let kept = vec![read, page_keys, page, written, complete, abort];
        self.on_page.replace(Some(function_of(&kept[2])));
        self.on_written.replace(Some(function_of(&kept[3])));
        self.keep.replace(kept);
    }

    fn part_is_read(&self) {
        self.reading.set(self.reading.get().saturating_sub(1));
        if self.reading.get() == 0 {
            self.decide();
        }
    }

    fn begin_pages(&self, keys: &IdbRequest) {
        let Ok(keys) = keys.result() else {
            // It has succeeded, so it has a result.
            return;
        };
        let keys: Array = keys.unchecked_into();
        self.pages.borrow_mut().keys = keys.iter().collect();
        for _ in 0..PAGES_AT_ONCE {
            self.ask_for_page();
        }
        self.end_pages();
    }

    // A request that fails aborts the transaction, and one that is refused has been aborted: `abort` follows.
    fn ask_for_page(&self) {
        let key = self.pages.borrow_mut().keys.pop_front();
        let Some(key) = key else { return };
        let asked = store_of(&self.transaction, StoreName::Pages).and_then(|store| store.get(&key));
        match asked {
            Ok(request) => {
                request.set_onsuccess(self.on_page.borrow().as_ref());
                self.pages.borrow_mut().asked += 1;
            }
            Err(error) => self.refuse(failure(&error)),
        }
    }

    fn take_page(&self, request: &IdbRequest) {
        // Asked for first: the browser fetches it meanwhile.
        self.ask_for_page();
        if let Ok(value) = request.result()
            && let Some(request) = &*self.request.borrow()
        {
            let mut pages = self.pages.borrow_mut();
            let (bytes, most) = (bytes(&value), pages.ahead);
            let (read, begun) = (bytes.len().min(most), now_ms());
            let page = request.take_page(bytes, most);
            pages.read.push(page);
            let steps = pages.pace.after(read / BYTES_PER_STEP, now_ms() - begun);
            pages.ahead = steps * BYTES_PER_STEP;
        }
        self.pages.borrow_mut().asked -= 1;
        self.end_pages();
    }

    fn end_pages(&self) {
        if self.pages.borrow().asked == 0 {
            self.part_is_read();
        }
    }

    fn decide(&self) {
        let Some(request) = self.request.take() else {
            return;
        };
        let decided = self.read_results();
        match decided.and_then(|results| request.decide(results)) {
            Ok(decision) => {
                self.writes.replace(decision.writes.into());
                self.reply.replace(Some(decision.reply));
                self.write_on();
            }
            Err(refused) => self.refuse(refused),
        }
    }

    // Writes up to a page and with it, or so many small values, and goes on when that is done: in a task of its own.
    fn write_on(&self) {
        for written in 1.. {
            let next = self.writes.borrow_mut().pop_front();
            let Some(op) = next else { break };
            let is_page = matches!(
                &op,
                WriteOp::Put {
                    value: NewValue::Page { .. },
                    ..
                }
            );
            match write(&self.transaction, op) {
                Ok(Some(request)) if is_page || written >= WRITES_AT_ONCE => {
                    request.set_onsuccess(self.on_written.borrow().as_ref());
                    return;
                }
                Ok(_) => {}
                Err(error) => return self.refuse(failure(&error)),
            }
        }
        // Saves waiting until the browser finds out that nothing follows. Old browsers lack it.
        let _unknown = self.transaction.unchecked_ref::<Committable>().commit();
        self.result.replace(self.reply.take().map(Ok));
    }

    fn refuse(&self, refused: StoreFailure) {
        self.request.take();
        self.writes.take();
        self.result.replace(Some(Err(refused)));
        // Refused only if the transaction is aborting already: `abort` follows either way.
        let _aborting = self.transaction.abort();
    }

    fn read_results(&self) -> Result<Vec<ReadResult>, StoreFailure> {
        let result = |read: &Reading| match read {
            Reading::Pages(_) => Ok(ReadResult::Pages(self.pages.take().read)),
            small => small.result(),
        };
        self.reads
            .iter()
            .map(result)
            .collect::<Result<_, _>>()
            .map_err(|error| failure(&error))
    }

    fn complete(&self) {
        self.end(false);
    }

    fn abort(&self) {
        self.end(true);
    }

    // Nothing of this transaction happens any more. Browsers do not always say why it was aborted, but nothing of it is
    // stored then, whatever was decided.
    fn end(&self, is_aborted: bool) {
        drop(self.keep.take());
        if self.has_ended.replace(true) {
            return;
        }
        let result = match self.result.take() {
            Some(Err(refused)) => Err(refused),
            Some(Ok(reply)) if !is_aborted => Ok(reply),
            _ => Err(match self.transaction.error() {
                Some(error) => failure(&error),
                None => StoreFailure::Backend {
                    kind: BackendFailure::Closed,
                    message: "the transaction was aborted".into(),
                },
            }),
        };
        (self.done)(result);
    }
}

// One read on its way.
enum Reading {
    One(IdbRequest),
    Many(IdbRequest),
    // The keys of pages, which are then read one by one.
    Pages(IdbRequest),
    // A range that holds no keys; IndexedDB would refuse it.
    Nothing,
}

// Pages on their way.
struct Pages {
    keys: VecDeque<JsValue>,
    asked: usize,
    read: Vec<StoredPage>,
    // How many bytes of a page are read in the task that it comes in.
    pace: Pace,
    ahead: usize,
}

impl Default for Pages {
    fn default() -> Pages {
        Pages {
            keys: VecDeque::new(),
            asked: 0,
            read: Vec::new(),
            pace: Pace::new(READ_MS, PAGE_BYTES * 2 / BYTES_PER_STEP),
            // The first one also has to wait for code to be compiled.
            ahead: PAGE_BYTES / 2,
        }
    }
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
                let is_pages = *store == StoreName::Pages;
                let store = store_of(transaction, *store)?;
                if is_pages {
                    return store.get_all_keys_with_key(&range).map(Reading::Pages);
                }
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
            Reading::Pages(_) | Reading::Nothing => None,
        }
    }

    fn page_keys(&self) -> Option<&IdbRequest> {
        match self {
            Reading::Pages(request) => Some(request),
            _ => None,
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
            Reading::Pages(_) | Reading::Nothing => ReadResult::Values(Vec::new()),
        })
    }
}

fn write(transaction: &IdbTransaction, op: WriteOp) -> Result<Option<IdbRequest>, JsValue> {
    let request = match op {
        WriteOp::Put { store, key, value } => {
            let value = binary(&value.into_bytes());
            store_of(transaction, store)?.put_with_key(&value, &binary(&key))?
        }
        WriteOp::Delete { store, key } => store_of(transaction, store)?.delete(&binary(&key))?,
        WriteOp::DeleteRange { store, from, until } => match key_range(&from, Some(&until))? {
            Some(range) => store_of(transaction, store)?.delete(&range)?,
            None => return Ok(None),
        },
        WriteOp::Clear { store } => store_of(transaction, store)?.clear()?,
    };
    Ok(Some(request))
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

// What is stored are arrays of bytes; to make one of another would copy it.
fn bytes(value: &JsValue) -> Vec<u8> {
    match value.dyn_ref::<Uint8Array>() {
        Some(bytes) => bytes.to_vec(),
        None => Uint8Array::new(value).to_vec(),
    }
}

fn function_of(closure: &OnEvent) -> Function {
    let function: &Function = closure.as_ref().unchecked_ref();
    function.clone()
}
