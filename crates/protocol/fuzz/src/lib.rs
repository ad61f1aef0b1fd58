//! What the fuzzers check; see `README.md`.

pub mod laws;
pub mod seeds;
