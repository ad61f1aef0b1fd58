//! Foreign bytes: what is decoded from queries, rows and JSON texts that were damaged at random keeps the laws that the
//! fuzzers check, and none of them takes long.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../fuzz/src/laws.rs"]
mod laws;
#[path = "../fuzz/src/mutation.rs"]
mod mutation;
#[path = "../fuzz/src/seeds.rs"]
mod seeds;

use std::time::{Duration, Instant};

#[test]
fn damaged_bytes_keep_the_laws() {
    let share = mutation::budget() / u32::try_from(laws::LAWS.len()).unwrap();
    for (name, law) in laws::LAWS {
        mutation::try_law(name, law, share);
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
            &format!("[{}]", numbers(50_000).collect::<Vec<_>>().join(",")),
        )),
        group(
            (0..3_000)
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
                took < Duration::from_secs(60),
                "{name} took {took:?}: {start}"
            );
        }
    }
}
