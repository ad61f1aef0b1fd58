//! A panic in a callback of the browser: reported once, everything let go, deaf from then on.
//! In a file of its own, because nothing of the instance can be trusted afterwards.
// Calls of JavaScript that cannot fail here are unwrapped.
#![allow(missing_docs, clippy::unwrap_used)]
#![cfg(target_arch = "wasm32")]

use js_sys::{Function, Promise, Reflect};
use landfall_web::{Channel, Locks};
use std::cell::RefCell;
use std::rc::Rc;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(callback: &Function, ms: f64);
}

async fn sleep(ms: f64) {
    let promise = Promise::new(&mut |resolve, _| set_timeout(&resolve, ms));
    JsFuture::from(promise).await.unwrap();
}

/// The test's own time limit ends a wait that is in vain.
async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        sleep(5.0).await;
    }
}

#[wasm_bindgen_test]
async fn a_panic_is_reported_once_and_ends_the_instance() {
    let reports = Rc::new(RefCell::new(Vec::new()));
    let list = reports.clone();
    let report = Closure::<dyn FnMut(String)>::new(move |text| list.borrow_mut().push(text));
    landfall_web::panic::install(report.into_js_value().into());

    let heard = Rc::new(RefCell::new(Vec::new()));
    let list = heard.clone();
    let channel = Channel::open("panic", move |text| list.borrow_mut().push(text)).unwrap();
    let granted = Rc::new(RefCell::new(0));
    let count = granted.clone();
    let mut locks = Locks::of_page().unwrap();
    locks
        .request("panic", move |()| *count.borrow_mut() += 1)
        .unwrap();
    until(|| *granted.borrow() == 1).await;

    // Uncaught errors of tasks would fail the test: this one is wanted.
    let quiet = Closure::<dyn FnMut() -> bool>::new(|| true).into_js_value();
    Reflect::set(&js_sys::global(), &"onerror".into(), &quiet).unwrap();
    let faults = Rc::new(RefCell::new(0));
    for text in ["the first", "the second"] {
        let faults = faults.clone();
        let fault = Closure::<dyn FnMut()>::new(move || {
            *faults.borrow_mut() += 1;
            panic!("{text} fault")
        });
        set_timeout(fault.into_js_value().unchecked_ref(), 0.0);
    }
    until(|| *faults.borrow() == 2).await;
    let reports = reports.take();
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert!(reports[0].contains("the first fault"), "{reports:?}");

    // The channel is closed, so posting fails; the lock is free for others; nothing is heard any more.
    assert!(channel.post("text").is_err());
    assert_eq!(*heard.borrow(), [""; 0]);
    while !is_free("panic").await {
        sleep(5.0).await;
    }
}

/// Whether the lock could be taken at once, asked without this crate, which is deaf now.
async fn is_free(name: &str) -> bool {
    let manager = ["navigator", "locks"]
        .iter()
        .fold(js_sys::global().into(), |object, name| {
            Reflect::get(&object, &(*name).into()).unwrap()
        });
    let query: Function = Reflect::get(&manager, &"query".into()).unwrap().into();
    let state = JsFuture::from(Promise::from(query.call0(&manager).unwrap()))
        .await
        .unwrap();
    let held = Reflect::get(&state, &"held".into()).unwrap();
    js_sys::Array::from(&held)
        .iter()
        .all(|lock| Reflect::get(&lock, &"name".into()).unwrap() != JsValue::from_str(name))
}
