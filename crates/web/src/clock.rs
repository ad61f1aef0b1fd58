//! The time, read from the page: the only clock the client has.

use std::cell::Cell;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    type Performance;

    #[wasm_bindgen(thread_local_v2, js_name = performance)]
    static PERFORMANCE: Performance;

    #[wasm_bindgen(method)]
    fn now(this: &Performance) -> f64;

    #[wasm_bindgen(method, getter, js_name = timeOrigin)]
    fn time_origin(this: &Performance) -> f64;
}

thread_local! {
    // It never changes, and asking for it takes as long as asking for the time.
    static TIME_ORIGIN: Cell<Option<f64>> = const { Cell::new(None) };
}

/// Milliseconds since the epoch, from a clock that never goes back.
pub(crate) fn now_ms() -> f64 {
    PERFORMANCE.with(|performance| {
        let origin = TIME_ORIGIN.get().unwrap_or_else(|| {
            let origin = performance.time_origin();
            TIME_ORIGIN.set(Some(origin));
            origin
        });
        origin + performance.now()
    })
}
