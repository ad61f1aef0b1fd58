//! Deterministic simulation: clients, storage, network and a server in one thread.
//!
//! [`host::Tab`] is a client with a browser around it, [`decoder::Decoder`] holds what JavaScript would hold,
//! [`disk::Disk`] is storage that loses what a power failure may lose, [`network::Wire`] a connection that delivers
//! late, [`server::Server`] a scripted server with view records; [`world::World`] puts them together, and
//! [`promises`] says what must hold. [`random_run`] makes a world of a seed.

pub mod decoder;
pub mod dice;
pub mod disk;
pub mod host;
pub mod issues;
pub mod network;
pub mod notes;
pub mod promises;
mod random_checks;
mod random_faults;
pub mod random_run;
pub mod rows;
pub mod server;
pub mod server_group;
pub mod world;
