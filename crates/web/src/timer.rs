//! The one timer of a client, and its way to go on after the page had its turn.

use crate::clock::now_ms;
use std::cell::RefCell;
use std::rc::Rc;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    // An object in Node, a number elsewhere: kept as it comes.
    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(callback: &Closure<dyn FnMut()>, delay_ms: f64) -> JsValue;

    #[wasm_bindgen(js_name = clearTimeout)]
    fn clear_timeout(timer: &JsValue);
}

/// Longer delays fire at once in browsers; waking too early is harmless.
const LONGEST_DELAY_MS: f64 = 2_147_483_647.0;

/// Calls one function at one time, or earlier: a new time replaces the old one.
pub(crate) struct Timer {
    callback: Closure<dyn FnMut()>,
    running: Rc<RefCell<Option<Running>>>,
}

struct Running {
    at_ms: f64,
    handle: JsValue,
}

impl Timer {
    pub(crate) fn new(mut callback: impl FnMut() + 'static) -> Self {
        let running = Rc::new(RefCell::new(None));
        let fired = running.clone();
        Timer {
            callback: Closure::new(move || {
                fired.take();
                callback();
            }),
            running,
        }
    }

    /// Whether this time (of [`now_ms`]'s clock) is left to the timer that runs. One that fires earlier is as good, for times
    /// change with every write: who is called too early says anew when.
    pub(crate) fn is_set_for(&self, at_ms: Option<f64>) -> bool {
        let running = self.running.borrow();
        let fires_at = running.as_ref().map(|running| running.at_ms);
        fires_at <= at_ms && fires_at.is_some() == at_ms.is_some()
    }

    /// Sets or cancels the time, unless it is set.
    pub(crate) fn set(&mut self, at_ms: Option<f64>) {
        if self.is_set_for(at_ms) {
            return;
        }
        let mut running = self.running.borrow_mut();
        if let Some(Running { handle, .. }) = running.take() {
            clear_timeout(&handle);
        }
        *running = at_ms.map(|at_ms| {
            let delay = (at_ms - now_ms()).clamp(0.0, LONGEST_DELAY_MS);
            let handle = set_timeout(&self.callback, delay.ceil());
            Running { at_ms, handle }
        });
    }
}

#[wasm_bindgen]
extern "C" {
    type MessageChannel;

    #[wasm_bindgen(constructor)]
    fn new() -> MessageChannel;

    #[wasm_bindgen(method, getter)]
    fn port1(this: &MessageChannel) -> Port;

    #[wasm_bindgen(method, getter)]
    fn port2(this: &MessageChannel) -> Port;

    type Port;

    #[wasm_bindgen(method, setter, js_name = onmessage)]
    fn set_onmessage(this: &Port, listener: Option<&Closure<dyn FnMut()>>);

    #[wasm_bindgen(method, js_name = postMessage)]
    fn post(this: &Port, message: u32);

    #[wasm_bindgen(method)]
    fn close(this: &Port);

    // Node has it, browsers have not.
    #[wasm_bindgen(method, getter)]
    fn unref(this: &Port) -> JsValue;
}

/// Calls one function soon: in a task of its own, so that input and painting come in between. A timer would wait four
/// milliseconds each time.
pub(crate) struct Soon {
    callback: Closure<dyn FnMut()>,
    channel: Option<MessageChannel>,
}

impl Soon {
    pub(crate) fn new(callback: impl FnMut() + 'static) -> Self {
        Soon {
            callback: Closure::new(callback),
            channel: None,
        }
    }

    /// Has the function called once.
    pub(crate) fn ask(&mut self) {
        let channel = self.channel.get_or_insert_with(|| {
            let channel = MessageChannel::new();
            channel.port1().set_onmessage(Some(&self.callback));
            channel
        });
        channel.port2().post(0);
    }

    /// There is nothing to do for now. An open port keeps Node running; elsewhere it stays for the next time.
    pub(crate) fn rest(&mut self) {
        if self
            .channel
            .as_ref()
            .is_some_and(|channel| !channel.port1().unref().is_undefined())
        {
            self.close();
        }
    }

    fn close(&mut self) {
        if let Some(channel) = self.channel.take() {
            channel.port1().set_onmessage(None);
            channel.port1().close();
        }
    }
}

impl Drop for Soon {
    fn drop(&mut self) {
        self.close();
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.set(None);
    }
}
