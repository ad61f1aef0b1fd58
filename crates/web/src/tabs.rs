//! Between tabs: the channel on which they announce things, and the locks that one of them holds at a time.

use crate::panic::{Held, guarded, hold};
use crate::socket::describe;
use js_sys::{Function, Object, Promise, Reflect};
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::*;
use web_sys::{AbortController, BroadcastChannel, MessageEvent};

/// A BroadcastChannel of texts. A message does not come back to the channel that posted it.
pub struct Channel {
    channel: BroadcastChannel,
    _held: Held,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
}

impl Channel {
    /// Joins the channel of this name; `None` where the page has no channels.
    pub fn open(name: &str, listener: impl Fn(String) + 'static) -> Option<Channel> {
        if !has_global("BroadcastChannel") {
            return None;
        }
        let channel = BroadcastChannel::new(name).ok()?;
        let listener = guarded(listener);
        let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |message: MessageEvent| {
            if let Some(text) = message.data().as_string() {
                listener(text);
            }
        });
        channel.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        Some(Channel {
            _held: hold(&channel),
            channel,
            _on_message: on_message,
        })
    }

    /// Posts to the other tabs.
    pub fn post(&self, text: &str) -> Result<(), String> {
        self.channel
            .post_message(&JsValue::from_str(text))
            .map_err(|error| describe(&error))
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.channel.set_onmessage(None);
        self.channel.close();
    }
}

/// The locks that a client holds or waits for. Dropping it gives them all back.
pub struct Locks {
    manager: LockManager,
    by_name: Vec<(String, Lock)>,
}

// Aborting ends the wait, and also the holding: the promise that holds the lock settles on the signal.
struct Lock {
    ending: AbortController,
    _held: Held,
    _on_grant: Closure<dyn FnMut(JsValue) -> Promise>,
}

impl Locks {
    /// The page's Web Locks; `None` where there are none (an insecure origin, Node).
    pub fn of_page() -> Option<Locks> {
        if !has_global("navigator") {
            return None;
        }
        let manager = NAVIGATOR.with(|navigator| navigator.as_ref().and_then(Navigator::locks))?;
        Some(Locks {
            manager,
            by_name: Vec::new(),
        })
    }

    /// Asks for an exclusive lock; `granted` is called when it is held. Asking twice changes nothing.
    pub fn request(&mut self, name: &str, granted: impl Fn(()) + 'static) -> Result<(), String> {
        if self.by_name.iter().any(|(known, _)| known == name) {
            return Ok(());
        }
        let ending = AbortController::new().map_err(|error| describe(&error))?;
        let signal = ending.signal();
        let options = object_with("signal", &signal);
        let granted = guarded(granted);
        let on_grant = Closure::<dyn FnMut(JsValue) -> Promise>::new(move |_lock| {
            let held = Promise::new(&mut |resolve, _| signal.set_onabort(Some(&resolve)));
            granted(());
            held
        });
        // The promise of a request rejects when its wait is given up, which nobody needs to hear of.
        let _handled = self
            .manager
            .request(name, &options, on_grant.as_ref().unchecked_ref())
            .catch_with(&DO_NOTHING.with(Clone::clone));
        let lock = Lock {
            _held: hold(&object_with("close", &bound_abort(&ending))),
            ending,
            _on_grant: on_grant,
        };
        self.by_name.push((name.to_owned(), lock));
        Ok(())
    }

    /// Gives a lock back, or stops waiting for it.
    pub fn release(&mut self, name: &str) {
        self.by_name.retain(|(known, _)| known != name);
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.ending.abort();
    }
}

#[wasm_bindgen]
extern "C" {
    type Navigator;

    #[wasm_bindgen(thread_local_v2, js_name = navigator)]
    static NAVIGATOR: Option<Navigator>;

    #[wasm_bindgen(method, getter)]
    fn locks(this: &Navigator) -> Option<LockManager>;

    type LockManager;

    #[wasm_bindgen(method)]
    fn request(this: &LockManager, name: &str, options: &Object, callback: &Function) -> Rejecting;

    // A promise whose rejection is handled by a plain function, which outlives every closure of ours.
    type Rejecting;

    #[wasm_bindgen(method, js_name = catch)]
    fn catch_with(this: &Rejecting, handler: &JsValue) -> JsValue;

    #[wasm_bindgen(method, getter, js_name = abort)]
    fn abort_function(this: &AbortAsFunction) -> Function;

    type AbortAsFunction;
}

thread_local! {
    static DO_NOTHING: JsValue = Closure::<dyn FnMut()>::new(|| {}).into_js_value();
}

fn bound_abort(controller: &AbortController) -> Function {
    controller
        .unchecked_ref::<AbortAsFunction>()
        .abort_function()
        .bind0(controller)
}

/// Whether the page has this global.
pub(crate) fn has_global(name: &str) -> bool {
    let value = Reflect::get(&js_sys::global(), &JsValue::from_str(name));
    value.is_ok_and(|value| !value.is_undefined() && !value.is_null())
}

/// `{[name]: value}`.
pub(crate) fn object_with(name: &str, value: &JsValue) -> Object {
    let object = Object::new();
    // A fresh object takes every property.
    let _set = Reflect::set(&object, &JsValue::from_str(name), value);
    object
}
