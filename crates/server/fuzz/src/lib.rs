//! What the fuzzers check; see `README.md`.

#[path = "../../src/upstream/postgres/copy_text.rs"]
pub mod copy_text;
#[path = "../../src/upstream/postgres/kind.rs"]
pub mod kind;
#[path = "../../src/upstream/postgres/pg_time.rs"]
pub mod pg_time;
#[path = "../../src/upstream/postgres/pgoutput.rs"]
pub mod pgoutput;
#[path = "../../src/upstream/postgres/values.rs"]
pub mod values;

pub mod laws;
pub mod seeds;
