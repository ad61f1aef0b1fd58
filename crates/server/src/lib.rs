//! The Landfall sync server: upstream, replica, shared query pipelines, client groups, pushes, HTTP.
//!
//! Binary and library: `main.rs` reads the configuration and waits for a signal; everything else is here.

pub mod config;
pub mod cvr;
pub mod queries;
