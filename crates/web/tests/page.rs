//! Sockets that cannot connect, channels and locks: what a page gives, translated into calls of a listener.
// Calls of JavaScript that cannot fail here are unwrapped.
#![allow(missing_docs, clippy::unwrap_used)]
#![cfg(target_arch = "wasm32")]

use js_sys::Promise;
use landfall_client::TextPieces;
use landfall_web::{Channel, Locks, LongText, Page, PageEvent, Socket, SocketEvent};
use std::cell::RefCell;
use std::rc::Rc;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(callback: &js_sys::Function, ms: f64);
}

/// What a listener has heard.
struct Heard<T>(Rc<RefCell<Vec<T>>>);

impl<T: 'static> Heard<T> {
    fn new() -> (Self, impl Fn(T) + 'static) {
        let heard = Rc::new(RefCell::new(Vec::new()));
        let list = heard.clone();
        (Heard(heard), move |event| list.borrow_mut().push(event))
    }

    /// Waits until there are as many; the test's own time limit ends a wait that is in vain.
    async fn wait_for(&self, count: usize) {
        while self.0.borrow().len() < count {
            sleep(5.0).await;
        }
    }
}

async fn sleep(ms: f64) {
    let promise = Promise::new(&mut |resolve, _| set_timeout(&resolve, ms));
    JsFuture::from(promise).await.unwrap();
}

#[wasm_bindgen_test]
async fn a_socket_that_cannot_connect_reports_its_end_once() {
    let (heard, listener) = Heard::new();
    // The discard port: browsers refuse it, or nobody listens.
    let _socket = Socket::open("ws://127.0.0.1:9/sync", "e30%3D", listener).unwrap();
    heard.wait_for(1).await;
    sleep(20.0).await;
    let heard = heard.0.borrow();
    assert_eq!(heard.len(), 1);
    assert!(matches!(&heard[0], SocketEvent::Closed { code: 1006, .. }));
}

#[wasm_bindgen_test]
fn a_url_or_protocol_that_the_browser_refuses_is_an_error() {
    for (url, protocol) in [
        ("ftp://127.0.0.1/", "x"),
        ("ws://127.0.0.1:9/", "no protocol"),
    ] {
        let refused = Socket::open(url, protocol, |_| {}).err().unwrap();
        assert!(refused.contains("SyntaxError"), "{refused}");
    }
}

#[wasm_bindgen_test]
async fn a_dropped_socket_reports_nothing() {
    let (heard, listener) = Heard::<SocketEvent>::new();
    drop(Socket::open("ws://127.0.0.1:9/sync", "e30%3D", listener).unwrap());
    sleep(100.0).await;
    assert!(heard.0.borrow().is_empty());
}

#[wasm_bindgen_test]
fn a_long_text_comes_whole_in_pieces() {
    let text = "a🦀é\u{ffff}".repeat(50);
    for bytes in 1..20 {
        let mut long = LongText::new(js_sys::JsString::from(text.as_str()));
        let pieces = std::iter::from_fn(|| long.next_piece(bytes));
        let read = pieces.flatten().collect::<Vec<u8>>();
        assert_eq!(String::from_utf8(read).unwrap(), text, "{bytes} bytes");
    }
    assert_eq!(LongText::new("".into()).next_piece(10), None);
}

// The client lets go of a socket when it hears of its end, from within the socket's own callback.
#[wasm_bindgen_test]
async fn a_socket_may_be_dropped_by_its_own_event() {
    let (heard, listener) = Heard::new();
    let slot = Rc::new(RefCell::new(None));
    let own = slot.clone();
    let socket = Socket::open("ws://127.0.0.1:9/sync", "e30%3D", move |event| {
        drop(own.take());
        listener(event);
    });
    slot.replace(Some(socket.unwrap()));
    heard.wait_for(1).await;
    assert!(slot.borrow().is_none());
}

#[wasm_bindgen_test]
async fn a_channel_reaches_the_others_of_its_name() {
    let (one, on_one) = Heard::new();
    let (two, on_two) = Heard::new();
    let (other, on_other) = Heard::<String>::new();
    let first = Channel::open("name", on_one).unwrap();
    let _second = Channel::open("name", on_two).unwrap();
    let _third = Channel::open("another name", on_other).unwrap();
    first.post("héllo").unwrap();
    two.wait_for(1).await;
    assert_eq!(*two.0.borrow(), ["héllo"]);
    assert_eq!(*one.0.borrow(), [""; 0]);
    assert_eq!(*other.0.borrow(), [""; 0]);
}

#[wasm_bindgen_test]
async fn a_lock_is_held_by_one_and_passes_on() {
    let (one, two) = (Heard::new(), Heard::new());
    let mut first = Locks::of_page().unwrap();
    let mut second = Locks::of_page().unwrap();
    first.request("writer", one.1).unwrap();
    one.0.wait_for(1).await;
    second.request("writer", two.1).unwrap();
    sleep(30.0).await;
    assert_eq!(two.0.0.borrow().len(), 0);
    first.release("writer");
    two.0.wait_for(1).await;
}

#[wasm_bindgen_test]
async fn a_wait_that_is_given_up_is_never_granted_and_holds_nobody_up() {
    let (one, two, three) = (Heard::new(), Heard::<()>::new(), Heard::new());
    let mut first = Locks::of_page().unwrap();
    first.request("lock", one.1).unwrap();
    one.0.wait_for(1).await;
    let mut second = Locks::of_page().unwrap();
    second.request("lock", two.1).unwrap();
    drop(second);
    let mut third = Locks::of_page().unwrap();
    third.request("lock", three.1).unwrap();
    drop(first);
    three.0.wait_for(1).await;
    assert_eq!(two.0.0.borrow().len(), 0);
}

#[wasm_bindgen_test]
fn a_page_that_is_left_is_told_at_once() {
    let (heard, listener) = Heard::new();
    let page = Page::watch(listener);
    let window: web_sys::EventTarget = js_sys::global().unchecked_into();
    let leave = || window.dispatch_event(&web_sys::Event::new("pagehide").unwrap());
    leave().unwrap();
    assert_eq!(*heard.0.borrow(), [PageEvent::Leaving]);
    drop(page);
    leave().unwrap();
    assert_eq!(heard.0.borrow().len(), 1);
}
