//! Order-preserving text for unsigned integers, the digits of which cookies are made.
//!
//! The text is the number in lower-case base 36 behind one base-36 digit that holds the count of digits minus one.
//! So comparing two texts byte by byte compares the two numbers.

use crate::error::CookieError;

const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Writes `value` in its order-preserving form.
pub fn encode(value: u64) -> String {
    // 2^64 - 1 has 13 digits in base 36.
    let mut digits = [0u8; 13];
    let mut start = digits.len();
    let mut rest = value;
    loop {
        start -= 1;
        digits[start] = DIGITS[(rest % 36) as usize];
        rest /= 36;
        if rest == 0 {
            break;
        }
    }
    let digits = &digits[start..];
    let mut text = String::with_capacity(1 + digits.len());
    text.push(DIGITS[digits.len() - 1] as char);
    text.extend(digits.iter().map(|&digit| digit as char));
    text
}

/// Reads the order-preserving form; refuses every text that [`encode`] would not have written.
pub fn decode(text: &str) -> Result<u64, CookieError> {
    let malformed = || CookieError::Malformed(text.to_owned());
    let (&length, digits) = text.as_bytes().split_first().ok_or_else(malformed)?;
    let length = digit_value(length).ok_or_else(malformed)? + 1;
    let padded = digits.len() > 1 && digits.first() == Some(&b'0');
    if digits.len() as u64 != length || padded {
        return Err(malformed());
    }
    let mut value = 0u64;
    for &digit in digits {
        let digit = digit_value(digit).ok_or_else(malformed)?;
        value = value
            .checked_mul(36)
            .and_then(|value| value.checked_add(digit))
            .ok_or_else(malformed)?;
    }
    Ok(value)
}

fn digit_value(digit: u8) -> Option<u64> {
    match digit {
        b'0'..=b'9' => Some(u64::from(digit - b'0')),
        b'a'..=b'z' => Some(u64::from(digit - b'a') + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_texts() {
        for (value, text) in [
            (0, "00"),
            (10, "0a"),
            (35, "0z"),
            (36, "110"),
            (1295, "1zz"),
            (1296, "2100"),
            (46655, "2zzz"),
            (0x16B_3748, "4e672g"),
            (u64::MAX, "c3w5e11264sgsf"),
        ] {
            assert_eq!(encode(value), text);
            assert_eq!(decode(text), Ok(value));
        }
    }

    #[test]
    fn refuses_what_it_would_not_write() {
        for text in [
            "",
            "0",
            "1",
            "10",
            "101",
            "0A",
            "0 ",
            "00 ",
            "1-1",
            "c3w5e11264sgsg",
            "z1",
            "0é",
            "100",
        ] {
            assert!(decode(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn order_of_texts_is_order_of_numbers(a: u64, b: u64) {
            prop_assert_eq!(encode(a).cmp(&encode(b)), a.cmp(&b));
            prop_assert_eq!(decode(&encode(a)), Ok(a));
        }

        #[test]
        fn any_text_decodes_or_is_refused(text: String) {
            if let Ok(value) = decode(&text) {
                prop_assert_eq!(encode(value), text);
            }
        }
    }
}
