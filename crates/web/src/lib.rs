//! The Landfall client in a browser: a thin host around `landfall-client`.
//!
//! It owns what only a page has (WebSockets, one timer, IndexedDB, locks and channels between tabs, the page's
//! visibility), turns what they say into events of the client, and carries out the client's effects.
//! It decides nothing: a line that needs a unit test belongs in `client`.
//!
//! JavaScript calls the few exports of [`Core`] and takes effects from it; see `js/src/core`.
//! Rust never calls the application's code, and while effects are carried out nothing enters the client.

mod clock;
mod database;
mod exports;
mod host;
mod outgoing;
mod page;
pub mod panic;
mod socket;
mod startup;
mod storage;
mod tabs;
mod timer;

pub use database::Database;
pub use exports::Core;
pub use page::{Page, PageEvent};
pub use socket::{Socket, SocketEvent};
pub use tabs::{Channel, Locks};
