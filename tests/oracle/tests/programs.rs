//! Random programs: the engine in memory, brute force and SQL on SQLite agree after every transaction.
//!
//! `LANDFALL_TEST_SECONDS` sets the time of each test, `LANDFALL_TEST_SEED` replays a seed.

use landfall_oracle::memory::{self, MemoryManner};
use landfall_oracle::random::Random;
use landfall_oracle::report::programs;
use landfall_oracle::sqlite;

#[test]
fn the_engine_in_memory_gives_the_obvious_answers() {
    let tally = programs("memory", 10, 1, &mut |seed, program, expected| {
        let manner = MemoryManner::random(&mut Random::new(!seed));
        memory::run(program, expected, manner)
    });
    assert!(tally.programs > 0);
}

#[test]
fn sql_on_sqlite_gives_the_obvious_answers() {
    let tally = programs("SQLite", 6, 1, &mut |_, program, expected| {
        sqlite::run(program, expected)
    });
    assert!(tally.programs > 0);
}
