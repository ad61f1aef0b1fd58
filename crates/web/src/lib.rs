//! The Landfall client in a browser: a thin host around `landfall-client`.
//!
//! It owns what only a page has (WebSockets, one timer, IndexedDB, locks and channels between tabs, the page's
//! visibility), turns what they say into events of the client, and carries out the client's effects.
//! It decides nothing: a line that needs a unit test belongs in `client`.
//!
//! JavaScript calls the few exports of [`Core`] and takes effects from it; see `js/src/core`.
//! Rust never calls the application's code, and while effects are carried out nothing enters the client.
//!
//! # What crosses
//!
//! A call costs nanoseconds, a text of a few dozen characters some hundred, a row built field by field microseconds.
//! So rows cross once for each version, by columns, and after that only numbers do (`crates/client/FLUSH.md`).
//!
//! | what happens | calls into this module | what comes out |
//! |---|---|---|
//! | a mutation with w writes and r queries | `mutate`, w × `write`, r × (`take`, `read`), `settle`; a `take` after `mutate` and one after `settle` | numbers that ask for the run, r answers, then one flush for all views and the number of the call with what became of it |
//! | a poke of n frames | n message events, then a `take` | one flush |
//! | a replay in a rebase | as a mutation, without `mutate`; its arguments cross only if another page or session made it | as a mutation; one flush at the end for all replays |
//! | a view is opened | `view`, `take` | one flush: rows not seen before, and one snapshot of handles |
//!
//! What comes out lies in this module's memory until the next `take`, and is read there: nothing is copied, and only
//! what is rare comes as text.

mod clock;
mod database;
mod earlier;
mod exports;
mod host;
mod outgoing;
mod pace;
mod page;
pub mod panic;
mod socket;
mod startup;
mod storage;
mod tabs;
mod timer;
mod transaction;

pub use database::Database;
pub use exports::Core;
pub use page::{Page, PageEvent};
pub use socket::{LongText, Socket, SocketEvent};
pub use tabs::{Channel, Locks};
