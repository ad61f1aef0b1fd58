//! The one timer of a client.

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

impl Drop for Timer {
    fn drop(&mut self) {
        self.set(None);
    }
}
