//! Doubles from decimal digits and back, exactly, in little code.
//!
//! The ways of the standard library and of `zmij` are faster and carry tables of powers that compression cannot shrink;
//! in a browser's module they weigh more than all that is done with fractions there.
//! Whole numbers never come here.

use crate::value::text_between;
use std::cmp::Ordering;

/// Digits behind these can decide only whether a number lies above a boundary, not where the boundary is.
const SIGNIFICANT_DIGITS: usize = 800;
const CHUNK: u32 = 1_000_000_000;
const CHUNK_DIGITS: usize = 9;

/// Reads a number in the form that JSON allows, rounded to the nearest double. Infinite if it is too large.
pub(crate) fn parse(text: &str) -> f64 {
    let mut digits = Vec::new();
    let mut exponent = 0i64;
    let mut in_fraction = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'0'..=b'9' => {
                exponent -= i64::from(in_fraction);
                if digits.len() < SIGNIFICANT_DIGITS {
                    if byte != b'0' || !digits.is_empty() {
                        digits.push(byte - b'0');
                    }
                } else {
                    exponent += 1;
                    // The last digit stands for all that are left out.
                    if byte != b'0' && digits[SIGNIFICANT_DIGITS - 1] == 0 {
                        digits[SIGNIFICANT_DIGITS - 1] = 1;
                    }
                }
            }
            b'.' => in_fraction = true,
            b'e' | b'E' => {
                exponent = exponent.saturating_add(whole(text_between(text, at + 1, text.len())));
                break;
            }
            _ => {}
        }
    }
    let size = scaled(&digits, exponent);
    if text.starts_with('-') { -size } else { size }
}

fn whole(text: &str) -> i64 {
    let size = text
        .bytes()
        .filter(u8::is_ascii_digit)
        .fold(0i64, |sum, digit| {
            sum.saturating_mul(10)
                .saturating_add(i64::from(digit - b'0'))
        });
    if text.starts_with('-') { -size } else { size }
}

/// The shortest digits that read back as this positive number, the closest of them, and where the point is:
/// the number is 0.digits times ten to that power.
pub(crate) fn shortest(number: f64) -> (Vec<u8>, i64) {
    let bits = number.to_bits();
    let biased = (bits >> 52 & 0x7ff) as i64;
    let fraction = bits & ((1 << 52) - 1);
    let (mantissa, exponent) = match biased {
        0 => (fraction, -1074),
        _ => (fraction | 1 << 52, biased - 1075),
    };
    let mut big = Big(vec![mantissa as u32, (mantissa >> 32) as u32]);
    if exponent >= 0 {
        big.shift_left(exponent as usize);
    } else {
        (0..-exponent).for_each(|_| big.multiply_add(5, 0));
    }
    let all = big.into_digits();
    let point = all.len() as i64 + exponent.min(0);
    for count in 1..all.len().min(18) {
        let (low, rest) = all.split_at(count);
        let high = successor(low);
        let fits = |digits: &[u8]| scaled(digits, point - count as i64) == number;
        let digits = match (fits(low), fits(&high)) {
            (false, false) => continue,
            (true, false) => low.to_vec(),
            (false, true) => high,
            (true, true) => match half(rest) {
                Ordering::Less => low.to_vec(),
                Ordering::Equal if low[count - 1] % 2 == 0 => low.to_vec(),
                _ => high,
            },
        };
        // 9 is followed by 10.
        let point = point + (digits.len() - count) as i64;
        return (digits, point);
    }
    (all, point)
}

/// How the digits behind a cut compare with a half.
fn half(rest: &[u8]) -> Ordering {
    rest[0]
        .cmp(&5)
        .then_with(|| match rest[1..].iter().any(|digit| *digit > 0) {
            true => Ordering::Greater,
            false => Ordering::Equal,
        })
}

/// The next number of as many digits, or one more.
fn successor(digits: &[u8]) -> Vec<u8> {
    let mut next = digits.to_vec();
    for digit in next.iter_mut().rev() {
        if *digit < 9 {
            *digit += 1;
            return next;
        }
        *digit = 0;
    }
    next.insert(0, 1);
    next
}

/// The double nearest to these digits times ten to the power of `exponent`; ties go to the even one.
fn scaled(digits: &[u8], exponent: i64) -> f64 {
    let size = exponent.saturating_add(digits.len() as i64);
    if digits.is_empty() || size < -330 {
        return 0.0;
    }
    if size > 310 {
        return f64::INFINITY;
    }
    // Both factors are exact, so there is one rounding.
    if digits.len() <= 15 && exponent.abs() <= 22 {
        let mantissa = digits
            .iter()
            .fold(0.0, |sum, digit| sum * 10.0 + f64::from(*digit));
        let power = (0..exponent.abs()).fold(1.0, |power, _| power * 10.0);
        return if exponent < 0 {
            mantissa / power
        } else {
            mantissa * power
        };
    }
    let mut big = Big(Vec::new());
    digits
        .iter()
        .for_each(|digit| big.multiply_add(10, u32::from(*digit)));
    if exponent >= 0 {
        (0..exponent).for_each(|_| big.multiply_add(10, 0));
        return big.rounded(0);
    }
    // So many bits more than the division takes away that 66 are left.
    let power = exponent.unsigned_abs() as usize;
    let shift = 67 + power * 10 / 3;
    big.shift_left(shift);
    let mut rest = 0;
    for _ in 0..power / CHUNK_DIGITS {
        rest |= big.divide(CHUNK);
    }
    for _ in 0..power % CHUNK_DIGITS {
        rest |= big.divide(10);
    }
    if rest > 0 {
        big.0[0] |= 1;
    }
    big.rounded(-(shift as i64))
}

/// A natural number, least significant word first.
struct Big(Vec<u32>);

impl Big {
    fn multiply_add(&mut self, factor: u32, summand: u32) {
        let mut carry = u64::from(summand);
        for word in &mut self.0 {
            carry += u64::from(*word) * u64::from(factor);
            *word = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    /// Divides; gives the remainder.
    fn divide(&mut self, divisor: u32) -> u32 {
        let mut rest = 0u64;
        for word in self.0.iter_mut().rev() {
            rest = rest << 32 | u64::from(*word);
            *word = (rest / u64::from(divisor)) as u32;
            rest %= u64::from(divisor);
        }
        rest as u32
    }

    fn shift_left(&mut self, bits: usize) {
        self.multiply_add(1 << (bits % 32), 0);
        self.0.splice(0..0, std::iter::repeat_n(0, bits / 32));
    }

    fn bit_length(&self) -> usize {
        let words = self
            .0
            .iter()
            .rposition(|word| *word > 0)
            .map_or(0, |at| at + 1);
        match words {
            0 => 0,
            _ => 32 * words - self.0[words - 1].leading_zeros() as usize,
        }
    }

    fn bit(&self, at: usize) -> bool {
        self.0
            .get(at / 32)
            .is_some_and(|word| word >> (at % 32) & 1 == 1)
    }

    /// The nearest double to this number, which is not zero, times two to the power of `exponent`.
    fn rounded(&self, exponent: i64) -> f64 {
        let length = self.bit_length() as i64;
        let top = length - 1 + exponent;
        if top > 1023 {
            return f64::INFINITY;
        }
        // Numbers below the normal ones have fewer bits.
        let kept = 53.min(top + 1075).max(0);
        let cut = length - kept;
        let mut mantissa = 0u64;
        for at in (cut..length).rev() {
            mantissa = mantissa << 1 | u64::from(at >= 0 && self.bit(at as usize));
        }
        if top + 1075 >= 0 && cut > 0 && self.bit(cut as usize - 1) {
            let above = (0..cut as usize - 1).any(|at| self.bit(at));
            mantissa += u64::from(above || mantissa & 1 == 1);
        }
        // A carry out of the mantissa raises the exponent by itself.
        match top >= -1022 {
            true => f64::from_bits((((top + 1022) as u64) << 52) + mantissa),
            false => f64::from_bits(mantissa),
        }
    }

    /// Decimal digits, without leading zeros.
    fn into_digits(mut self) -> Vec<u8> {
        let mut digits = Vec::new();
        while self.0.iter().any(|word| *word > 0) {
            let mut chunk = self.divide(CHUNK);
            for _ in 0..CHUNK_DIGITS {
                digits.push((chunk % 10) as u8);
                chunk /= 10;
            }
        }
        while digits.last() == Some(&0) {
            digits.pop();
        }
        digits.reverse();
        digits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(number: f64) -> String {
        let (digits, point) = shortest(number);
        let digits: String = digits
            .iter()
            .map(|digit| char::from(b'0' + digit))
            .collect();
        format!("0.{digits}e{point}")
    }

    #[track_caller]
    fn check_parse(text: &str) {
        let expected: f64 = text.parse().expect("a number");
        assert_eq!(parse(text).to_bits(), expected.to_bits(), "{text}");
    }

    #[track_caller]
    fn check_shortest(number: f64) {
        let written = text(number);
        assert_eq!(written.parse::<f64>(), Ok(number), "{written}");
        let mut buffer = zmij::Buffer::new();
        let expected: Vec<u8> = buffer
            .format_finite(number)
            .split('e')
            .next()
            .into_iter()
            .flat_map(str::bytes)
            .filter(u8::is_ascii_digit)
            .map(|digit| digit - b'0')
            .collect();
        let trim = |digits: &[u8]| {
            let text: String = digits.iter().map(|d| char::from(b'0' + d)).collect();
            text.trim_matches('0').to_owned()
        };
        assert_eq!(trim(&shortest(number).0), trim(&expected), "{number:e}");
    }

    #[test]
    fn the_hard_numbers_are_read() {
        for text in [
            "0.1",
            "-0.0",
            "0e5",
            "1e-400",
            "1e400",
            "1e309",
            "-1e309",
            "1.5",
            "123456789012345678901234567890",
            "9007199254740993",
            "9007199254740992.5",
            "9007199254740993.00000000000000000000000000000001",
            "1.7976931348623157e308",
            "1.7976931348623158e308",
            "1.7976931348623159e308",
            "2.2250738585072011e-308",
            "2.2250738585072014e-308",
            "4.9406564584124654e-324",
            "2.4703282292062327e-324",
            "2.4703282292062328e-324",
            "2e-324",
            "3e-324",
            "7e-324",
            "6.631236846766476e-316",
            "8.41e-322",
            "1e23",
            "8.5e22",
            "1e22",
            "1e-22",
            "1e-23",
            "0.000001",
            "1E+5",
            "1e-5",
            "5e-324",
            "179769313486231580793728971405301e276",
            "1e99999999999999999999",
            "1e-99999999999999999999",
            "0.00000000000000000000000000000000000001e38",
        ] {
            check_parse(text);
        }
        // Halfway between two doubles, and a hair above it, behind more digits than are kept.
        let half = "9007199254740993.";
        for zeros in [10, 700, 783, 784, 785, 900] {
            check_parse(&format!("{half}{}", "0".repeat(zeros)));
            check_parse(&format!("{half}{}1", "0".repeat(zeros)));
        }
        check_parse(&"9".repeat(400));
        check_parse(&"9".repeat(300));
        check_parse(&format!("0.{}1", "0".repeat(330)));
        check_parse(&format!("0.{}123", "0".repeat(300)));
    }

    #[test]
    fn the_hard_numbers_are_written() {
        for number in [
            0.1,
            0.3,
            1.0 / 3.0,
            5e-324,
            1e-323,
            f64::MIN_POSITIVE,
            f64::MAX,
            1e23,
            9.5e-3,
            2f64.powi(-44),
            2f64.powi(-1022),
            2f64.powi(1000),
            2f64.powi(60),
            9_007_199_254_740_994.0,
            4.35,
            0.30000000000000004,
            65_536.5,
            123.456,
        ] {
            check_shortest(number);
        }
        for power in (-1074..1024).step_by(11) {
            check_shortest(2f64.powi(power));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_double_is_written_and_read(bits in any::<u64>()) {
            let number = f64::from_bits(bits).abs();
            prop_assume!(number.is_finite() && number > 0.0);
            check_shortest(number);
            check_parse(&text(number));
            check_parse(&format!("{number}"));
        }

        #[test]
        fn any_text_is_read(whole in "0|[1-9][0-9]{0,25}", fraction in "(\\.[0-9]{1,30})?", power in -340i32..330) {
            check_parse(&format!("{whole}{fraction}"));
            check_parse(&format!("{whole}{fraction}e{power}"));
        }

        #[test]
        fn halves_go_to_the_even_one(bits in any::<u64>(), above in 0u8..3) {
            let number = f64::from_bits(bits & !(1 << 63));
            prop_assume!(number.is_finite() && number < 1e300 && number > 1e-300);
            let next = f64::from_bits(number.to_bits() + 1);
            // The exact middle, written out, and its neighbours in the last digit.
            let exact = |number: f64| format!("{number:.1100}");
            let middle = middle_of(&exact(number), &exact(next));
            let text = match above { 0 => middle, 1 => format!("{middle}1"), _ => format!("{middle}0") };
            check_parse(&text);
        }
    }

    /// The mean of two decimal texts of as many digits behind the point.
    fn middle_of(a: &str, b: &str) -> String {
        let width = a.len().max(b.len());
        let digits = |text: &str| -> Vec<u8> { format!("{text:0>width$}").into_bytes() };
        let (a, b) = (digits(a), digits(b));
        let mut sum = vec![0u8; width + 1];
        let mut carry = 0;
        for at in (0..width).rev() {
            if a[at] == b'.' {
                sum[at + 1] = b'.';
                continue;
            }
            let digit = a[at] - b'0' + b[at] - b'0' + carry;
            sum[at + 1] = b'0' + digit % 10;
            carry = digit / 10;
        }
        sum[0] = b'0' + carry;
        let mut rest = 0;
        for digit in sum.iter_mut().filter(|digit| **digit != b'.') {
            let value = rest * 10 + (*digit - b'0');
            *digit = b'0' + value / 2;
            rest = value % 2;
        }
        sum.push(if rest == 1 { b'5' } else { b'0' });
        String::from_utf8(sum).expect("digits")
    }
}
