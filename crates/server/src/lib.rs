//! The Landfall sync server: upstream, replica, shared query pipelines, client groups, pushes, HTTP.
//!
//! Binary and library: [`main`] is the whole program, for binaries that bring an [app](app::App).

pub mod analyze;
pub mod app;
pub mod auth;
pub mod check;
mod cli;
mod clock;
pub mod config;
pub mod cvr;
pub mod http;
pub mod inspect;
pub mod push;
pub mod queries;
pub mod replica;
pub mod server;
pub mod session;
mod telemetry;
pub mod upstream;

pub use cli::main;

/// Chooses the TLS implementation of this process; later calls change nothing.
pub fn install_tls() {
    // An error says that one is chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
