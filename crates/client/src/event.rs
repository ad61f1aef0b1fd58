//! What the host tells the client: [`Event`].
//!
//! Requests of the application (views, mutations) are methods of [`crate::Client`], since they answer at once.
//! Events are what happens by itself: sockets, storage, the timer, locks, other tabs, the page.

use crate::effect::SocketId;
use landfall_store::{StoreFailure, StoreReply};
use std::fmt;

/// A text that stays where it is, outside of the client's memory, and is handed over in pieces.
pub trait TextPieces {
    /// The next piece in UTF-8, of about so many bytes; `None` when all of the text was given. Characters may be cut.
    fn next_piece(&mut self, bytes: usize) -> Option<Vec<u8>>;
}

impl fmt::Debug for dyn TextPieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TextPieces")
    }
}

/// Names one storage request; the answer carries the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreRequestId(pub u32);

/// Something that happened outside.
#[derive(Debug)]
pub enum Event {
    /// The answer to one [`crate::Effect::Store`].
    /// Every request is answered exactly once, in the order in which the requests were given out.
    Stored {
        /// The number the request had.
        request: StoreRequestId,
        /// What came of it.
        result: Result<StoreReply, StoreFailure>,
    },
    /// What stores of earlier schemas answered to [`crate::Client::earlier_request`]; none if there are none.
    /// A held client whose own store is empty is not ready before this, or its release.
    Earlier {
        /// One answer of each store.
        answers: Vec<Result<StoreReply, StoreFailure>>,
    },
    /// The WebSocket is open (the server accepted the upgrade).
    SocketOpened {
        /// Which socket; events of a socket that the client has closed or replaced are ignored.
        socket: SocketId,
    },
    /// A text frame arrived.
    SocketText {
        /// Which socket.
        socket: SocketId,
        /// The frame as it came.
        text: String,
    },
    /// A long text frame arrived. The client takes its pieces when it comes to them, each in a slice of its work;
    /// what comes after it waits.
    SocketPieces {
        /// Which socket.
        socket: SocketId,
        /// The frame.
        text: Box<dyn TextPieces>,
    },
    /// A binary frame arrived (poke chunks of protocol 52).
    SocketBinary {
        /// Which socket.
        socket: SocketId,
        /// The frame as it came.
        bytes: Vec<u8>,
    },
    /// The network took more of what was sent. While a large message is on its way nothing else need come.
    SocketTook {
        /// Which socket.
        socket: SocketId,
    },
    /// The WebSocket is closed, or could not be opened.
    SocketClosed {
        /// Which socket.
        socket: SocketId,
        /// The close code, 1006 when the connection broke.
        code: u16,
        /// The reason given by the server, often empty.
        reason: String,
    },
    /// The moment named by the latest [`crate::Effect::WakeAt`] has come.
    /// Waking too early or too often is harmless.
    Wake,
    /// The page became visible or hidden.
    /// The client starts out believing that it is visible.
    Visibility {
        /// Whether the page can be seen.
        visible: bool,
    },
    /// The page is being left (`pagehide`): what storage is asked for now must be on its way when the host comes back from
    /// this event, or it never is.
    Leaving,
    /// The browser's `online` and `offline` events.
    /// The client starts out believing that it is online.
    Online {
        /// Whether the browser believes that there is a network.
        online: bool,
    },
    /// A message of another tab of the same client group arrived on the channel.
    Announced {
        /// The text of that tab's [`crate::Effect::Announce`].
        text: String,
    },
    /// A lock asked for by [`crate::Effect::RequestLock`] is now held.
    LockGranted {
        /// The name of the lock.
        name: String,
    },
}
