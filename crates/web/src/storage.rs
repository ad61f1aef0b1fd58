//! Carries out storage requests one after another, in memory or in IndexedDB, and answers each exactly once.

use crate::database::{Database, deleted};
use crate::panic::guarded;
use crate::startup::StorageKind;
use landfall_client::StoreRequestId;
use landfall_store::{MemoryStore, StoreFailure, StoreReply, StoreRequest};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use web_sys::IdbDatabase;

type Answer = Result<StoreReply, StoreFailure>;

/// The client's storage.
pub(crate) struct Storage {
    state: RefCell<State>,
    name: String,
    answer: Box<dyn Fn(StoreRequestId, Answer)>,
    weak: Weak<Storage>,
}

struct State {
    backend: Backend,
    waiting: VecDeque<(StoreRequestId, StoreRequest)>,
    // A request is being carried out, or the database is being opened for it.
    busy: bool,
    finished: Option<Box<dyn Fn(())>>,
}

enum Backend {
    Memory(MemoryStore),
    // Opened when first asked for, and again after the browser has closed it.
    Indexed(Option<Database>),
}

impl Storage {
    /// `database` may be open already. `answer` is called once for each request, in the order of the requests.
    pub(crate) fn new(
        kind: StorageKind,
        name: &str,
        database: Option<IdbDatabase>,
        answer: impl Fn(StoreRequestId, Answer) + 'static,
    ) -> Rc<Storage> {
        let backend = match kind {
            StorageKind::Memory => Backend::Memory(MemoryStore::default()),
            StorageKind::Indexed => Backend::Indexed(database.map(Database::of)),
        };
        Rc::new_cyclic(|weak| Storage {
            state: RefCell::new(State {
                backend,
                waiting: VecDeque::new(),
                busy: false,
                finished: None,
            }),
            name: name.to_owned(),
            answer: Box::new(answer),
            weak: weak.clone(),
        })
    }

    /// Takes a request; its answer comes before this returns or later.
    pub(crate) fn submit(&self, id: StoreRequestId, request: StoreRequest) {
        self.state.borrow_mut().waiting.push_back((id, request));
        self.next();
    }

    /// Calls `done` when every request is answered and the database is closed.
    pub(crate) fn finish(&self, done: impl Fn(()) + 'static) {
        self.state.borrow_mut().finished = Some(Box::new(done));
        self.next();
    }

    fn next(&self) {
        loop {
            let mut state = self.state.borrow_mut();
            if state.busy {
                return;
            }
            let Some((id, request)) = state.waiting.pop_front() else {
                return self.end(state);
            };
            match &mut state.backend {
                Backend::Memory(memory) => {
                    let result = memory.execute(&request);
                    drop(state);
                    (self.answer)(id, result);
                }
                Backend::Indexed(Some(database)) if database.is_deleted() => {
                    drop(state);
                    (self.answer)(id, Err(deleted()));
                }
                Backend::Indexed(Some(database)) if database.is_open() => {
                    let done = self.when_done(id);
                    let database = database.clone();
                    state.busy = true;
                    drop(state);
                    database.execute(request, done);
                    return;
                }
                Backend::Indexed(_) => {
                    state.waiting.push_front((id, request));
                    state.busy = true;
                    drop(state);
                    self.open();
                    return;
                }
            }
        }
    }

    fn end(&self, mut state: std::cell::RefMut<'_, State>) {
        let Some(done) = state.finished.take() else {
            return;
        };
        if let Backend::Indexed(database) = &mut state.backend {
            *database = None;
        }
        drop(state);
        done(());
    }

    fn when_done(&self, id: StoreRequestId) -> impl Fn(Answer) + 'static {
        let weak = self.weak.clone();
        guarded(move |result| {
            if let Some(storage) = weak.upgrade() {
                storage.state.borrow_mut().busy = false;
                (storage.answer)(id, result);
                storage.next();
            }
        })
    }

    fn open(&self) {
        let weak = self.weak.clone();
        Database::open(
            &self.name,
            guarded(move |opened| {
                if let Some(storage) = weak.upgrade() {
                    storage.opened(opened);
                }
            }),
        );
    }

    // A database that cannot be opened fails the request that wanted it; the next one tries again.
    fn opened(&self, opened: Result<Database, StoreFailure>) {
        let mut state = self.state.borrow_mut();
        state.busy = false;
        match opened {
            Ok(database) => {
                state.backend = Backend::Indexed(Some(database));
                drop(state);
            }
            Err(failure) => {
                let failed = state.waiting.pop_front();
                drop(state);
                if let Some((id, _)) = failed {
                    (self.answer)(id, Err(failure));
                }
            }
        }
        self.next();
    }
}
