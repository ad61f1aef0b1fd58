//! xxHash32 of texts, alone or several of them side by side under different seeds, and their text forms. They are
//! names, not protection: anyone can make two texts with one hash.

use twox_hash::XxHash32;

/// The 32-bit hash: seed 0.
pub fn h32(text: &str) -> u32 {
    h32_of_bytes(text.as_bytes())
}

/// The 32-bit hash of bytes: seed 0.
pub fn h32_of_bytes(bytes: &[u8]) -> u32 {
    XxHash32::oneshot(0, bytes)
}

/// The 64-bit hash: seeds 0 and 1, seed 0 in the high half.
pub fn h64(text: &str) -> u64 {
    (0..2).fold(0, |hash, seed| hash << 32 | u64::from(seeded(text, seed)))
}

/// The 128-bit hash: seeds 0 to 3, seed 0 highest. Its text form on the wire is decimal.
pub fn h128(text: &str) -> u128 {
    (0..4).fold(0, |hash, seed| hash << 32 | u128::from(seeded(text, seed)))
}

fn seeded(text: &str, seed: u32) -> u32 {
    XxHash32::oneshot(seed, text.as_bytes())
}

/// A number in lower-case base 36, without padding.
pub fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = u32::try_from(number % 36).unwrap_or_default();
        digits.push(char::from_digit(digit, 36).unwrap_or_default());
        number /= 36;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

/// The id of a named query: its name and the JSON text of its arguments, exactly as the client wrote it.
pub fn hash_of_name_and_args(name: &str, args_json: &str) -> String {
    base36(h64(&format!("{name}:{args_json}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_hashes() {
        assert_eq!(h32(""), 46_947_589);
        assert_eq!(base36(h64("")), "1j5etzlexqqa");
        assert_eq!(h64("abc"), 0x32d1_53ff_aa3d_a8ff);
        assert_eq!(base36(h64("abc")), "rtjjvs99c9of");
        assert_eq!(
            h128("abc").to_string(),
            "67548293528545111057375047383885910287"
        );
    }

    #[test]
    fn base_36() {
        for (number, text) in [(0, "0"), (35, "z"), (36, "10"), (u64::MAX, "3w5e11264sgsf")] {
            assert_eq!(base36(number), text);
            assert_eq!(u64::from_str_radix(text, 36), Ok(number));
        }
    }

    #[test]
    fn named_queries() {
        let check = |name, args, expected| assert_eq!(hash_of_name_and_args(name, args), expected);
        check("foo", "[]", "n10vdhyzs2yq");
        check("foo.bar", r#"[{"id":"1"}]"#, "6isephxdnu8f");
        check("issueByID", r#"["1"]"#, "1k3nhdk2bnacc");
        check("allIssues", "[]", "3hqsmc1p5vs54");
        check("a.b", r#"[{"z":1,"a":"é"}]"#, "321g2jtg3lyd4");
        check("a.b", r#"[{"a":"é","z":1}]"#, "15qp4swp2864x");
    }
}
