//! Calls of the application's own server: what the sync server asks there and what comes back.
//!
//! Answers are read leniently: unknown keys are ignored. Sending, retrying and headers are the server's business.

pub mod cleanup;
pub mod mutate;
pub mod query;
