//! Values of the query language: borrowed from a packed row, or owned.

use std::cmp::Ordering;
use std::fmt::{self, Write as _};

/// A value inside a row, or a literal. `Json` is JSON text without insignificant white space.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// SQL NULL; absent and `undefined` are the same.
    Null,
    /// A boolean.
    Bool(bool),
    /// An IEEE double; never NaN or infinite when it came from JSON.
    Number(f64),
    /// Text.
    String(&'a str),
    /// JSON text.
    Json(&'a str),
}

/// An owned value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// A boolean.
    Bool(bool),
    /// An IEEE double.
    Number(f64),
    /// Text.
    String(Box<str>),
    /// JSON text.
    Json(Box<str>),
}

impl Value {
    /// The same value, borrowed.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Value::Null => ValueRef::Null,
            Value::Bool(value) => ValueRef::Bool(*value),
            Value::Number(value) => ValueRef::Number(*value),
            Value::String(value) => ValueRef::String(value),
            Value::Json(value) => ValueRef::Json(value),
        }
    }
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Value::Null,
            ValueRef::Bool(value) => Value::Bool(value),
            ValueRef::Number(value) => Value::Number(value),
            ValueRef::String(value) => Value::String(value.into()),
            ValueRef::Json(value) => Value::Json(value.into()),
        }
    }
}

impl ValueRef<'_> {
    /// Whether this is NULL.
    pub fn is_null(self) -> bool {
        self == ValueRef::Null
    }

    fn rank(self) -> u8 {
        match self {
            ValueRef::Null => 0,
            ValueRef::Bool(_) => 1,
            ValueRef::Number(_) => 2,
            ValueRef::String(_) => 3,
            ValueRef::Json(_) => 4,
        }
    }
}

/// Total order: NULL, booleans, numbers, strings by UTF-8 bytes, JSON by its text. `0` equals `-0`.
#[inline]
pub fn compare(a: ValueRef<'_>, b: ValueRef<'_>) -> Ordering {
    match (a, b) {
        (ValueRef::Bool(a), ValueRef::Bool(b)) => a.cmp(&b),
        (ValueRef::Number(a), ValueRef::Number(b)) => (a + 0.0).total_cmp(&(b + 0.0)),
        (ValueRef::String(a), ValueRef::String(b)) | (ValueRef::Json(a), ValueRef::Json(b)) => {
            a.as_bytes().cmp(b.as_bytes())
        }
        _ => a.rank().cmp(&b.rank()),
    }
}

/// Equality of join keys: NULL equals nothing, itself included.
pub fn join_eq(a: ValueRef<'_>, b: ValueRef<'_>) -> bool {
    !a.is_null() && compare(a, b) == Ordering::Equal
}

/// Writes a value as JSON. Numbers have the shortest form that JavaScript gives them; NaN and infinities become null.
pub fn write_json(value: ValueRef<'_>, out: &mut String) {
    match value {
        ValueRef::Null => out.push_str("null"),
        ValueRef::Bool(true) => out.push_str("true"),
        ValueRef::Bool(false) => out.push_str("false"),
        ValueRef::Number(number) => write_number(number, out),
        ValueRef::String(text) => write_string(text, out),
        ValueRef::Json(text) => out.push_str(text),
    }
}

/// Appends a number as JavaScript writes it; `null` for what is not finite.
pub fn write_number(number: f64, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = if !number.is_finite() {
        out.write_str("null")
    } else if number.fract() == 0.0 && number.abs() < 1e15 {
        write!(out, "{}", number as i64)
    } else {
        write_digits(number, out)
    };
}

/// The shortest digits of a positive number, and the power of ten that 0.digits is to be multiplied with.
#[cfg(not(target_arch = "wasm32"))]
fn shortest(number: f64) -> (String, i32) {
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(number);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = [whole, fraction].concat();
    let digits = all.trim_start_matches('0');
    let point =
        exponent.parse().unwrap_or(0) + whole.len() as i32 - (all.len() - digits.len()) as i32;
    (digits.trim_end_matches('0').to_owned(), point)
}

#[cfg(target_arch = "wasm32")]
fn shortest(number: f64) -> (String, i32) {
    let (digits, point) = crate::decimal::shortest(number);
    let text = digits.iter().map(|digit| char::from(b'0' + digit));
    (text.collect(), point as i32)
}

/// Lays the digits of a number out as JavaScript does.
fn write_digits(number: f64, out: &mut String) -> fmt::Result {
    let sign = if number < 0.0 { "-" } else { "" };
    let (digits, point) = shortest(number.abs());
    let count = digits.len() as i32;
    match point {
        1..=21 if count <= point => {
            let zeros = (point - count) as usize;
            write!(out, "{sign}{digits}{:0<zeros$}", "")
        }
        1..=21 => {
            let whole = text_between(&digits, 0, point as usize);
            let fraction = text_between(&digits, point as usize, digits.len());
            write!(out, "{sign}{whole}.{fraction}")
        }
        -5..=0 => {
            let zeros = -point as usize;
            write!(out, "{sign}0.{:0<zeros$}{digits}", "")
        }
        _ => {
            let first = text_between(&digits, 0, 1);
            let rest = text_between(&digits, 1, digits.len());
            let dot = if rest.is_empty() { "" } else { "." };
            write!(out, "{sign}{first}{dot}{rest}e{:+}", point - 1)
        }
    }
}

/// Part of a text, as slicing gives it; without slicing's long messages, which bring tables of characters with them.
///
/// # Panics
/// As slicing does.
pub fn text_between(text: &str, start: usize, end: usize) -> &str {
    text.get(start..end).expect("whole characters of the text")
}

/// A name in a message: quoted, and on one line whatever it holds.
///
/// `{:?}` does the same with tables of all characters that can be shown, which weigh kilobytes in the browser's module.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut quoted = String::new();
        write_string(self.0, &mut quoted);
        f.write_str(&quoted)
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x08 => "\\b",
            0x0c => "\\f",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(text_between(text, plain, at));
        if escape.is_empty() {
            let _ = write!(out, "\\u{byte:04x}");
        } else {
            out.push_str(escape);
        }
        plain = at + 1;
    }
    out.push_str(text_between(text, plain, text.len()));
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(value: ValueRef<'_>) -> String {
        let mut out = String::new();
        write_json(value, &mut out);
        out
    }

    #[test]
    fn names_in_messages_stay_on_one_line() {
        for (name, shown) in [
            ("issue", r#""issue""#),
            ("größe", r#""größe""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("a\nb\u{1b}", r#""a\nb\u001b""#),
        ] {
            assert_eq!(Quoted(name).to_string(), shown);
        }
    }

    #[test]
    #[should_panic(expected = "whole characters")]
    fn a_text_is_not_cut_inside_a_character() {
        text_between("aé", 0, 2);
    }

    /// Bits of doubles, and the texts that JavaScript gives them.
    const NUMBERS: &[(u64, &str)] = &[
        (0x0000000000000000, "0"),
        (0x8000000000000000, "0"),
        (0x3ff0000000000000, "1"),
        (0xbff0000000000000, "-1"),
        (0x3fb999999999999a, "0.1"),
        (0x3fe0000000000000, "0.5"),
        (0x3fd5555555555555, "0.3333333333333333"),
        (0x419d6f3454000000, "123456789"),
        (0x4340000000000000, "9007199254740992"),
        (0x4340000000000001, "9007199254740994"),
        (0xc340000000000000, "-9007199254740992"),
        (0x430c6bf526340000, "1000000000000000"),
        (0x4341c37937e08000, "10000000000000000"),
        (0x437b69b4ba630f35, "123456789012345680"),
        (0x4415af1d78b58c40, "100000000000000000000"),
        (0x441ac53a7e04bcda, "123456789012345680000"),
        (0x444b1ae4d6e2ef50, "1e+21"),
        (0x4454542ba12a337c, "1.5e+21"),
        (0x4480f0cf064dd592, "1e+22"),
        (0x54b249ad2594c37d, "1e+100"),
        (0x7fefffffffffffff, "1.7976931348623157e+308"),
        (0x0000000000000001, "5e-324"),
        (0x0010000000000000, "2.2250738585072014e-308"),
        (0x3ee4f8b588e368f1, "0.00001"),
        (0x3eb0c6f7a0b5ed8d, "0.000001"),
        (0x3eb92a737110e454, "0.0000015"),
        (0x3eb0c2ac1dbbe3d8, "9.99e-7"),
        (0x3e7ad7f29abcaf48, "1e-7"),
        (0xbe8421f5f40d8376, "-1.5e-7"),
        (0x3fd3333333333334, "0.30000000000000004"),
        (0x4011666666666666, "4.35"),
        (0x4059100000000000, "100.25"),
        (0x3ddb7cdfd9d7bdbb, "1e-10"),
        (0x400921fb54442d18, "3.141592653589793"),
        (0xc5367c2f882c034c, "-2.7182818284590455e+25"),
        (0x40f0000800000000, "65536.5"),
        (0x3ee9e0fcaf9380fc, "0.00001234"),
    ];

    #[test]
    fn numbers_are_written_as_in_javascript() {
        for (bits, text) in NUMBERS {
            assert_eq!(json(ValueRef::Number(f64::from_bits(*bits))), *text);
        }
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(json(ValueRef::Number(number)), "null");
        }
    }

    #[test]
    fn text_is_written_as_in_javascript() {
        let check = |text: &str, expected: &str| assert_eq!(json(ValueRef::String(text)), expected);
        check("", r#""""#);
        check("a\"b\\c/d", r#""a\"b\\c/d""#);
        check("\n\r\t\u{8}\u{c}", r#""\n\r\t\b\f""#);
        check(
            "\u{0}\u{1f}\u{7f}\u{2028}é😀",
            "\"\\u0000\\u001f\u{7f}\u{2028}é😀\"",
        );
    }

    #[test]
    fn order_across_types() {
        let ascending = [
            ValueRef::Null,
            ValueRef::Bool(false),
            ValueRef::Bool(true),
            ValueRef::Number(-1.0),
            ValueRef::Number(0.0),
            ValueRef::Number(1e300),
            ValueRef::String(""),
            ValueRef::String("Z"),
            ValueRef::String("z"),
            ValueRef::String("\u{ff5e}"),
            ValueRef::String("\u{1f600}"),
            ValueRef::Json("1"),
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(compare(*a, *b), i.cmp(&j), "{a:?} {b:?}");
            }
        }
        let zeros = (ValueRef::Number(0.0), ValueRef::Number(-0.0));
        assert_eq!(compare(zeros.0, zeros.1), Ordering::Equal);
    }

    #[test]
    fn null_joins_with_nothing() {
        assert!(!join_eq(ValueRef::Null, ValueRef::Null));
        assert!(!join_eq(ValueRef::Null, ValueRef::Bool(false)));
        assert!(join_eq(ValueRef::Number(0.0), ValueRef::Number(-0.0)));
        assert!(!join_eq(ValueRef::String("1"), ValueRef::Number(1.0)));
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<f64>().prop_map(Value::Number),
            (-2i8..3).prop_map(|number| Value::Number(number.into())),
            "[ab]{0,2}".prop_map(|text| Value::String(text.into())),
            "[12]".prop_map(|text| Value::Json(text.into())),
        ]
    }

    proptest! {
        #[test]
        fn the_order_is_total(a in value(), b in value(), c in value()) {
            let (a, b, c) = (a.as_ref(), b.as_ref(), c.as_ref());
            prop_assert_eq!(compare(a, b), compare(b, a).reverse());
            prop_assert_eq!(compare(a, a), Ordering::Equal);
            if compare(a, b).is_le() && compare(b, c).is_le() {
                prop_assert!(compare(a, c).is_le());
            }
        }

        #[test]
        fn numbers_come_back(bits in any::<u64>()) {
            let number = f64::from_bits(bits);
            prop_assume!(number.is_finite());
            let text = json(ValueRef::Number(number));
            prop_assert_eq!(text.parse::<f64>(), Ok(number));
            prop_assert_eq!(serde_json::from_str::<f64>(&text).unwrap(), number);
            let exponent = text.contains('e');
            let size = number.abs();
            prop_assert_eq!(exponent, size != 0.0 && !(1e-6..1e21).contains(&size), "{}", text);
        }

        #[test]
        fn text_comes_back(text in any::<String>()) {
            let written = json(ValueRef::String(&text));
            prop_assert_eq!(&serde_json::from_str::<String>(&written).unwrap(), &text);
            prop_assert_eq!(written, serde_json::to_string(&text).unwrap());
        }
    }
}
