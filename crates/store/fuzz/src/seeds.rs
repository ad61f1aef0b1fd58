//! Examples to start from: the values of a store of format 1, as it was kept.

const STORE: &str = include_str!("../../tests/format_1.txt");

/// What code of that time did not keep yet.
const KEPT: &str = "head 6b65707400000000000000013301 4b010600000067726f757031010000003301000000020000007b7d2d00000052010100000000000000130000000200010000800900006078000000000000f83f020000000100000000000000";

/// The examples for a law.
pub fn of(law: &str) -> Vec<Vec<u8>> {
    let values: Vec<Vec<u8>> = values().into_iter().enumerate().map(one).collect();
    match law {
        "stored_store" => values
            .windows(2)
            .map(|pair| pair.concat())
            .chain([values.concat()])
            .collect(),
        _ => values,
    }
}

/// Store, key and value of everything in the example.
pub fn values() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    STORE
        .lines()
        .chain([KEPT])
        .map(|line| {
            let mut fields = line.split(' ');
            let mut next = || fields.next().expect("three fields");
            (next(), unhex(next()), unhex(next()))
        })
        .collect()
}

/// A value as the laws take it: its place, its length, and what follows its first two bytes.
fn one((place, (_, _, value)): (usize, (&str, Vec<u8>, Vec<u8>))) -> Vec<u8> {
    let rest = &value[2..];
    let mut bytes = vec![u8::try_from(place).expect("few values")];
    bytes.extend(
        u16::try_from(rest.len())
            .expect("small values")
            .to_le_bytes(),
    );
    bytes.extend(rest);
    bytes
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex"))
        .collect()
}
