//! Foreign bytes: what is decoded from queries, rows and JSON texts that were damaged at random keeps the laws that the
//! fuzzers check, and none of them takes long.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../fuzz/src/laws.rs"]
mod laws;
#[path = "../fuzz/src/seeds.rs"]
mod seeds;

use std::panic::catch_unwind;
use std::time::{Duration, Instant};

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
        usize::try_from(self.next() % bound as u64).unwrap()
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

fn seconds() -> u64 {
    let given = std::env::var("LANDFALL_TEST_SECONDS").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(4)
}

#[test]
fn damaged_bytes_keep_the_laws() {
    let given = std::env::var("LANDFALL_TEST_SEED").ok();
    let seed: u64 = given.and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let share = Duration::from_secs(seconds()) / u32::try_from(laws::LAWS.len()).unwrap();
    for (name, law) in laws::LAWS {
        let seeds = seeds::of(name);
        assert!(seeds.len() > 3, "{name}");
        seeds.iter().for_each(|seed| law(seed));
        let end = Instant::now() + share;
        while Instant::now() < end {
            let mut bytes = seeds[random.below(seeds.len())].clone();
            let other = &seeds[random.below(seeds.len())];
            mutate(&mut random, &mut bytes, other);
            let began = Instant::now();
            if catch_unwind(|| law(&bytes)).is_err() {
                panic!("{name}, seed {seed}: {:?}", String::from_utf8_lossy(&bytes));
            }
            assert!(
                began.elapsed() < Duration::from_secs(5),
                "{name}: {bytes:?}"
            );
        }
    }
}

/// Texts of a few megabytes that are bad for naive decoders.
#[test]
fn large_texts_take_no_long_time() {
    let column = r#"{"type":"column","name":"title"}"#;
    let simple = |op: &str, value: &str| {
        let right = format!(r#"{{"type":"literal","value":{value}}}"#);
        format!(r#"{{"type":"simple","left":{column},"right":{right},"op":"{op}"}}"#)
    };
    let of = |condition: &str| format!(r#"{{"table":"issue","where":{condition}}}"#);
    let group = |members: Vec<String>| {
        of(&format!(
            r#"{{"type":"or","conditions":[{}]}}"#,
            members.join(",")
        ))
    };
    let numbers = |count: usize| (0..count).rev().map(|n| format!("\"{n}\""));
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let members = |count: usize| {
        let members = numbers(count)
            .map(|name| format!("{name}:{name}"))
            .collect::<Vec<_>>();
        format!("{{{}}}", members.join(","))
    };
    let texts = [
        of(&simple(
            "IN",
            &format!("[{}]", numbers(100_000).collect::<Vec<_>>().join(",")),
        )),
        group(
            (0..10_000)
                .map(|n| simple("=", &format!("\"{n}\"")))
                .collect(),
        ),
        group(
            (0..200)
                .map(|_| simple("ILIKE", &format!("\"{}\"", "_%a".repeat(2_000))))
                .collect(),
        ),
        format!(
            r#"{{"table":"issue","start":{{"row":{},"exclusive":true}}}}"#,
            members(100_000)
        ),
        format!(
            r#"{{"table":"issue","alias":"{}"}}"#,
            "\\u0041".repeat(100_000)
        ),
        members(100_000),
        nested(200_000),
        format!(r#"{{"id":"x","meta":{}}}"#, nested(200_000)),
        format!("[{}]", "1e308,".repeat(100_000)),
        "9".repeat(100_000),
        format!("0.{}", "3".repeat(100_000)),
    ];
    for text in texts {
        for (name, law) in laws::LAWS {
            let began = Instant::now();
            law(text.as_bytes());
            let took = began.elapsed();
            let start: String = text.chars().take(80).collect();
            assert!(
                took < Duration::from_secs(10),
                "{name} took {took:?}: {start}"
            );
        }
    }
}
