//! The one timer of a client, and its way to go on after the page had its turn.

use crate::clock::now_ms;
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

/// Calls one function at one time; a new time replaces the old one.
pub(crate) struct Timer {
    callback: Closure<dyn FnMut()>,
    running: Option<JsValue>,
}

impl Timer {
    pub(crate) fn new(callback: impl FnMut() + 'static) -> Self {
        Timer {
            callback: Closure::new(callback),
            running: None,
        }
    }

    /// Sets or cancels the time (of [`now_ms`]'s clock).
    pub(crate) fn set(&mut self, at_ms: Option<f64>) {
        if let Some(timer) = self.running.take() {
            clear_timeout(&timer);
        }
        self.running = at_ms.map(|at_ms| {
            let delay = (at_ms - now_ms()).clamp(0.0, LONGEST_DELAY_MS);
            set_timeout(&self.callback, delay.ceil())
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
}

/// Calls one function soon: in a task of its own, so that input and painting come in between. A timer would wait four
/// milliseconds each time.
pub(crate) struct Soon {
    callback: Closure<dyn FnMut()>,
    // Only while there is something to do: an open port keeps Node running.
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

    /// There is nothing to do for now.
    pub(crate) fn rest(&mut self) {
        if let Some(channel) = self.channel.take() {
            channel.port1().set_onmessage(None);
            channel.port1().close();
        }
    }
}

impl Drop for Soon {
    fn drop(&mut self) {
        self.rest();
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.set(None);
    }
}
