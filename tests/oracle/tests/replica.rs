//! Random programs: the engine over the SQLite replica, stepped and rewound as the server does it, gives the obvious
//! answers.

use landfall_oracle::random::Random;
use landfall_oracle::replica;
use landfall_oracle::report::programs;
use landfall_oracle::run::Manner;

#[test]
fn the_engine_over_the_replica_gives_the_obvious_answers() {
    let tally = programs("replica", 5, 3, &mut |seed, program, expected| {
        replica::run(program, expected, Manner::random(&mut Random::new(!seed)))
    });
    assert!(tally.programs > 0);
}
