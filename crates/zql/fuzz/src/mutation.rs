//! Tries a law on examples that are damaged at random: what runs with the tests, where no fuzzer is.

use std::panic::catch_unwind;
use std::time::{Duration, Instant};

use super::seeds;

/// A small generator of random numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("a remainder fits")
    }
}

/// Bytes that mean something to the decoders.
const TOKENS: [&[u8]; 24] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b",",
    b":",
    b"null",
    b"true",
    b"-0",
    b"1e308",
    b"1e-400",
    b"0.1",
    b"\\ud83d\\ude00",
    b"\\ud800",
    b"\\u0000",
    "\u{1f600}".as_bytes(),
    b"%",
    b"_",
    b"\\\\",
    b"{\"type\":\"or\",\"conditions\":[]}",
    b"IN",
    b"LIKE",
    b"\xff\xff\xff\xff",
];

fn mutate(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = (at + 1 + random.below(8)).min(bytes.len());
        match random.below(7) {
            0 => drop(bytes.drain(at..end)),
            1 => {
                let token = TOKENS[random.below(TOKENS.len())];
                bytes.splice(at..at, token.iter().copied());
            }
            2 => {
                let token = TOKENS[random.below(TOKENS.len())];
                bytes.splice(at..end, token.iter().copied());
            }
            3 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            4 if at < bytes.len() => bytes[at] = random.next().to_le_bytes()[0],
            5 if !other.is_empty() => {
                let from = random.below(other.len());
                let to = (from + 1 + random.below(40)).min(other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            _ => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
        }
    }
}

/// How long random tests may take, from `LANDFALL_TEST_SECONDS`.
pub fn budget() -> Duration {
    let given = std::env::var("LANDFALL_TEST_SECONDS").ok();
    Duration::from_secs(given.and_then(|text| text.parse().ok()).unwrap_or(4))
}

/// Tries a law on its examples, and for some time on damaged ones; `LANDFALL_TEST_SEED` sets which.
///
/// # Panics
/// The law does not hold, or takes long.
pub fn try_law(name: &str, law: fn(&[u8]), time: Duration) {
    let given = std::env::var("LANDFALL_TEST_SEED").ok();
    let seed: u64 = given.and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let seeds = seeds::of(name);
    assert!(seeds.len() > 3, "{name}");
    seeds.iter().for_each(|seed| law(seed));
    let end = Instant::now() + time;
    while Instant::now() < end {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        let other = &seeds[random.below(seeds.len())];
        mutate(&mut random, &mut bytes, other);
        let began = Instant::now();
        if catch_unwind(|| law(&bytes)).is_err() {
            panic!("{name}, seed {seed}: {}", String::from_utf8_lossy(&bytes));
        }
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{name}: {bytes:?}"
        );
    }
}
