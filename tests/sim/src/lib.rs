//! Deterministic simulation: clients, storage, network and a server in one thread.
//!
//! [`host::Tab`] is a client with a browser around it, [`decoder::Decoder`] holds what JavaScript would hold,
//! [`server::Server`] is a small server that gives every row to everybody, [`world::World`] puts them together.

pub mod decoder;
pub mod host;
pub mod server;
pub mod world;
