//! The time, read from the page: the only clock the client has.

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

/// Milliseconds since the epoch, from a clock that never goes back.
pub(crate) fn now_ms() -> f64 {
    PERFORMANCE.with(|performance| performance.time_origin() + performance.now())
}
