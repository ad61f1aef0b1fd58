//! Asks the stores of earlier schemas what they hold, each in its own database, and gives all answers at once.

use crate::startup::StorageKind;
use crate::storage::Storage;
use landfall_client::StoreRequestId;
use landfall_store::{StoreFailure, StoreReply, StoreRequest};
use std::cell::RefCell;
use std::rc::Rc;

type Answer = Result<StoreReply, StoreFailure>;

struct Asking {
    left: usize,
    answers: Vec<Answer>,
    // Each answers into this, so they are let go of with the last answer.
    stores: Vec<Rc<Storage>>,
}

/// Asks the databases of these names. `done` is called once, after the last answer.
pub(crate) fn ask(names: &[String], request: &StoreRequest, done: impl Fn(Vec<Answer>) + 'static) {
    if names.is_empty() {
        return done(Vec::new());
    }
    let asking = Rc::new(RefCell::new(Asking {
        left: names.len(),
        answers: Vec::new(),
        stores: Vec::new(),
    }));
    let done = Rc::new(done);
    let stores: Vec<Rc<Storage>> = names
        .iter()
        .map(|name| {
            let (asking, done) = (asking.clone(), done.clone());
            Storage::new(StorageKind::Indexed, name, None, move |_, answer| {
                let mut state = asking.borrow_mut();
                state.answers.push(answer);
                state.left -= 1;
                if state.left == 0 {
                    let answers = std::mem::take(&mut state.answers);
                    let stores = std::mem::take(&mut state.stores);
                    drop(state);
                    done(answers);
                    drop(stores);
                }
            })
        })
        .collect();
    asking.borrow_mut().stores.clone_from(&stores);
    for store in stores {
        store.submit(StoreRequestId(0), request.clone());
    }
}
