//! What the page tells: whether it can be seen, that it is left, and whether the browser believes in a network.

use crate::panic::guarded;
use js_sys::Reflect;
use std::rc::Rc;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::*;
use web_sys::EventTarget;

/// A change of the page's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageEvent {
    /// The page can be seen, or no longer.
    Visible(bool),
    /// The page is left.
    Leaving,
    /// The browser went online or offline.
    Online(bool),
}

/// Listens to the page until it is dropped.
pub struct Page {
    listening: Vec<Listening>,
}

struct Listening {
    target: EventTarget,
    name: &'static str,
    callback: Closure<dyn FnMut()>,
}

impl Page {
    /// Reports the present state where it is not the usual one (visible and online), then every change.
    /// A worker has no document, Node neither: what is missing is not listened to.
    pub fn watch(listener: impl Fn(PageEvent) + 'static) -> Page {
        let listener = Rc::new(guarded(listener));
        let mut page = Page {
            listening: Vec::new(),
        };
        let global: JsValue = js_sys::global().into();
        if let Some(document) = get(&global, "document") {
            if !is_visible(&document) {
                listener(PageEvent::Visible(false));
            }
            let (target, listener) = (document.clone(), listener.clone());
            page.on(&document, "visibilitychange", move || {
                listener(PageEvent::Visible(is_visible(&target)));
            });
        }
        let online = get(&global, "navigator").and_then(|navigator| get(&navigator, "onLine"));
        if online.and_then(|online| online.as_bool()) == Some(false) {
            listener(PageEvent::Online(false));
        }
        let leaving = listener.clone();
        page.on(&global, "pagehide", move || leaving(PageEvent::Leaving));
        for (name, online) in [("online", true), ("offline", false)] {
            let listener = listener.clone();
            page.on(&global, name, move || listener(PageEvent::Online(online)));
        }
        page
    }

    fn on(&mut self, target: &JsValue, name: &'static str, callback: impl FnMut() + 'static) {
        if get(target, "addEventListener").is_none() {
            return;
        }
        let target = target.unchecked_ref::<EventTarget>();
        let callback = Closure::<dyn FnMut()>::new(callback);
        let function = callback.as_ref().unchecked_ref();
        if target
            .add_event_listener_with_callback(name, function)
            .is_ok()
        {
            self.listening.push(Listening {
                target: target.clone(),
                name,
                callback,
            });
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        for listening in &self.listening {
            let function = listening.callback.as_ref().unchecked_ref();
            // Removing what was added cannot fail.
            let _removed = listening
                .target
                .remove_event_listener_with_callback(listening.name, function);
        }
    }
}

fn is_visible(document: &JsValue) -> bool {
    let state = get(document, "visibilityState").and_then(|state| state.as_string());
    state.as_deref() != Some("hidden")
}

fn get(object: &JsValue, name: &str) -> Option<JsValue> {
    let value = Reflect::get(object, &JsValue::from_str(name)).ok()?;
    (!value.is_undefined() && !value.is_null()).then_some(value)
}
