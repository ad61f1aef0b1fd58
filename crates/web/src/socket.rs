//! One WebSocket: frames and ends become calls of a listener.

use crate::panic::{Held, guarded, hold};
use js_sys::{ArrayBuffer, JsString, Uint8Array};
use landfall_client::TextPieces;
use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::*;
use web_sys::{BinaryType, CloseEvent, MessageEvent, WebSocket};

/// From so many UTF-16 units on a text stays with JavaScript and is read in pieces: the module's memory never shrinks.
/// What a server sends in one go, part by part, may be long too.
const LONG_TEXT: u32 = 6 << 10;

/// A piece of a long text has so many bytes at most.
const MOST_ENCODED: u32 = 32 << 10;

#[wasm_bindgen]
extern "C" {
    #[derive(Debug)]
    type TextEncoder;

    #[wasm_bindgen(constructor)]
    fn new() -> TextEncoder;

    #[wasm_bindgen(method, js_name = encodeInto)]
    fn encode_into(this: &TextEncoder, text: &JsString, bytes: &Uint8Array) -> Encoded;

    type Encoded;

    #[wasm_bindgen(method, getter)]
    fn read(this: &Encoded) -> u32;

    #[wasm_bindgen(method, getter)]
    fn written(this: &Encoded) -> u32;
}

/// What a socket reports.
#[derive(Debug)]
pub enum SocketEvent {
    /// The server accepted the upgrade.
    Opened,
    /// A text frame.
    Text(String),
    /// A long text frame.
    LongText(LongText),
    /// A binary frame.
    Binary(Vec<u8>),
    /// The end, whoever caused it; nothing follows.
    Closed {
        /// The close code; 1006 when the connection broke or never came to be.
        code: u16,
        /// The reason given by the server.
        reason: String,
    },
}

/// A text that stays with JavaScript.
#[derive(Debug)]
pub struct LongText {
    text: JsString,
    at: u32,
    encoding: Rc<OnceCell<Encoding>>,
}

// The encoder of the page is many times as fast as going through the characters, as bindings do. All texts of a socket
// share one, with its buffer: one for each would be garbage that the page stops to collect.
#[derive(Debug)]
struct Encoding {
    encoder: TextEncoder,
    bytes: Uint8Array,
}

impl Encoding {
    fn new() -> Encoding {
        Encoding {
            encoder: TextEncoder::new(),
            bytes: Uint8Array::new_with_length(MOST_ENCODED),
        }
    }
}

impl LongText {
    /// All of this text.
    pub fn new(text: JsString) -> LongText {
        LongText::with_encoding(text, Rc::default())
    }

    fn with_encoding(text: JsString, encoding: Rc<OnceCell<Encoding>>) -> LongText {
        LongText {
            text,
            at: 0,
            encoding,
        }
    }
}

impl TextPieces for LongText {
    fn next_piece(&mut self, bytes: usize) -> Option<Vec<u8>> {
        if self.at == self.text.length() {
            return None;
        }
        // Room for one character at least.
        let room = u32::try_from(bytes).map_or(MOST_ENCODED, |bytes| bytes.clamp(4, MOST_ENCODED));
        let Encoding { encoder, bytes } = self.encoding.get_or_init(Encoding::new);
        // One unit too many: the encoder stops before it, and never between the halves of a character.
        let rest = self.text.slice(self.at, self.at.saturating_add(room + 1));
        let encoded = encoder.encode_into(&rest, &bytes.subarray(0, room));
        self.at += encoded.read();
        Some(bytes.subarray(0, encoded.written()).to_vec())
    }
}

/// An open or opening WebSocket. Dropping it closes it without a code, and nothing is reported any more.
pub struct Socket {
    socket: WebSocket,
    // Bytes of frames, and how many of them the network had taken when last asked.
    sent: Cell<f64>,
    taken: Cell<f64>,
    _held: Held,
    _on_open: Closure<dyn FnMut()>,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
    _on_close: Closure<dyn FnMut(CloseEvent)>,
}

impl Socket {
    /// Opens a socket. The error is the browser's text: a URL or protocol that it refuses to try.
    pub fn open(
        url: &str,
        protocol: &str,
        listener: impl Fn(SocketEvent) + 'static,
    ) -> Result<Socket, String> {
        let socket = WebSocket::new_with_str(url, protocol).map_err(|error| describe(&error))?;
        socket.set_binary_type(BinaryType::Arraybuffer);
        let listener = Rc::new(guarded(listener));
        let on_open = {
            let listener = listener.clone();
            Closure::<dyn FnMut()>::new(move || listener(SocketEvent::Opened))
        };
        let on_message = {
            let listener = listener.clone();
            let encoding = Rc::default();
            Closure::<dyn FnMut(MessageEvent)>::new(move |message: MessageEvent| {
                if let Some(event) = frame(&message.data(), &encoding) {
                    listener(event);
                }
            })
        };
        let on_close = Closure::<dyn FnMut(CloseEvent)>::new(move |close: CloseEvent| {
            listener(SocketEvent::Closed {
                code: close.code(),
                reason: close.reason(),
            });
        });
        socket.set_onopen(Some(on_open.as_ref().unchecked_ref()));
        socket.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        socket.set_onclose(Some(on_close.as_ref().unchecked_ref()));
        Ok(Socket {
            _held: hold(&socket),
            socket,
            sent: Cell::default(),
            taken: Cell::default(),
            _on_open: on_open,
            _on_message: on_message,
            _on_close: on_close,
        })
    }

    /// Sends a text frame. On a socket that is closing the browser drops it: the close event says the rest.
    pub fn send(&self, text: &str) -> Result<(), String> {
        self.sent.set(self.sent.get() + text.len() as f64);
        self.socket
            .send_with_str(text)
            .map_err(|error| describe(&error))
    }

    /// Whether the network has taken more of what was sent since this was asked last.
    pub fn has_taken(&self) -> bool {
        let sent = self.sent.get();
        let before = self.taken.get();
        if before < sent {
            self.taken
                .set(sent - f64::from(self.socket.buffered_amount()));
        }
        self.taken.get() > before
    }

    /// Closes with a code; without one, dropping is enough.
    pub fn close(self, code: Option<u16>) {
        self.silence();
        if let Some(code) = code {
            // Only codes other than 1000 and 3000..=4999 are refused, and then dropping still closes.
            let _refused = self.socket.close_with_code(code);
        }
    }

    fn silence(&self) {
        self.socket.set_onopen(None);
        self.socket.set_onmessage(None);
        self.socket.set_onclose(None);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.silence();
        // Closing without a code cannot fail, and does nothing when the socket is closed already.
        let _closed = self.socket.close();
    }
}

fn frame(data: &JsValue, encoding: &Rc<OnceCell<Encoding>>) -> Option<SocketEvent> {
    if let Some(text) = data.dyn_ref::<JsString>() {
        if text.length() > LONG_TEXT {
            let long = LongText::with_encoding(text.clone(), encoding.clone());
            return Some(SocketEvent::LongText(long));
        }
        return Some(SocketEvent::Text(String::from(text)));
    }
    let buffer = data.dyn_ref::<ArrayBuffer>()?;
    Some(SocketEvent::Binary(Uint8Array::new(buffer).to_vec()))
}

/// The text of something that JavaScript threw.
pub(crate) fn describe(thrown: &JsValue) -> String {
    js_sys::Object::from(thrown.clone())
        .to_string()
        .as_string()
        .unwrap_or_default()
}
