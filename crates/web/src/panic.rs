//! What happens after a bug of ours: the message is reported once, and this instance does nothing any more.
//!
//! A panic ends in a trap, so nothing after it runs and what is borrowed stays borrowed.
//! Every callback that the browser holds is [`guarded`]: after a panic it returns at once.
//! What the page holds open for the client (sockets, the database, channels, locks) is [`hold`] here as JavaScript
//! objects and closed by the hook, without a look at the client's state.

use js_sys::{Function, Set};
use std::cell::{Cell, RefCell};
use std::panic::PanicHookInfo;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::*;

// One instance of the module serves one client, so this is the state of one client.
thread_local! {
    static PANICKED: Cell<bool> = const { Cell::new(false) };
    static REPORT: RefCell<Option<Function>> = const { RefCell::new(None) };
    static HELD: Set = Set::new(&JsValue::UNDEFINED);
}

#[wasm_bindgen]
extern "C" {
    /// Whatever has a method `close`.
    #[derive(Clone)]
    pub(crate) type Closable;

    #[wasm_bindgen(method, catch)]
    fn close(this: &Closable) -> Result<(), JsValue>;
}

/// Whether this instance has panicked.
pub(crate) fn panicked() -> bool {
    PANICKED.get()
}

/// Installs the hook. `report` is called once with the message; it must not enter the instance again.
pub fn install(report: Function) {
    REPORT.set(Some(report));
    std::panic::set_hook(Box::new(on_panic));
}

fn on_panic(info: &PanicHookInfo<'_>) {
    if PANICKED.replace(true) {
        return;
    }
    HELD.with(|held| {
        held.for_each(&mut |open, _, _| {
            // One that will not close must not keep the others open.
            let _refused = open.unchecked_ref::<Closable>().close();
        });
    });
    let report = REPORT.with(|report| report.try_borrow_mut().ok().and_then(|mut it| it.take()));
    if let Some(report) = report {
        // A report that throws would only hide the panic.
        let _thrown = report.call1(&JsValue::UNDEFINED, &JsValue::from_str(&info.to_string()));
    }
}

/// A listener that is deaf after a panic.
pub(crate) fn guarded<T>(listener: impl Fn(T) + 'static) -> impl Fn(T) + 'static {
    move |event| {
        if !panicked() {
            listener(event);
        }
    }
}

/// While this lives, a panic closes the object.
pub(crate) struct Held(JsValue);

/// Has the object closed if this instance panics.
pub(crate) fn hold(object: &JsValue) -> Held {
    HELD.with(|held| held.add(object));
    Held(object.clone())
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.with(|held| held.delete(&self.0));
    }
}
