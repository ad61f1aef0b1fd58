//! Random programs: SQL on a real Postgres gives the obvious answers, which the engine is held against as well.

use landfall_oracle::postgres::Postgres;
use landfall_oracle::report::programs;

#[test]
fn sql_on_postgres_gives_the_obvious_answers() {
    let mut postgres = Postgres::connect();
    let tally = programs("Postgres", 5, 7, &mut |_, program, expected| {
        postgres.run(program, expected)
    });
    assert!(tally.programs > 0);
}
