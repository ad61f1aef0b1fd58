//! What is read, what is refused, and that `serde_json` agrees.

use super::*;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Outer<'a> {
    inner: Vec<Option<Inner>>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(default)]
    pair: Option<(u32, Colour)>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Inner {
    id: u64,
}

#[derive(Debug, PartialEq, Deserialize)]
enum Colour {
    Red,
}

fn check(text: &str, expected: Result<(), &str>) {
    match (from_str::<Outer<'_>>(text), expected) {
        (Ok(_), Ok(())) => {}
        (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{text}: {error}"),
        (got, wanted) => panic!("{text}: {got:?}, not {wanted:?}"),
    }
}

#[test]
fn structures_are_objects_and_variants_are_names() {
    check(r#" { "inner" : [ {"id":1,"more":[{}]}, null ] } "#, Ok(()));
    check(r#"{"inner":[],"pair":[1,"Red"]}"#, Ok(()));
    check(r#"{"inner":[],"pair":null}"#, Ok(()));
    check(
        r#"[[{"id":1}]]"#,
        Err("invalid type: sequence, expected struct Outer at byte 0"),
    );
    check(r#"{"inner":[[1]]}"#, Err("invalid type: sequence"));
    check(
        r#"{"inner":[{"id":"secret"}]}"#,
        Err("invalid type: string, expected u64 at byte"),
    );
    check(r#"{"inner":[{"id":-1}]}"#, Err("invalid value: integer"));
    check(r#"{"inner":[{}]}"#, Err("missing field `id`"));
    check(r#"{"inner":[],"other":1}"#, Err("unknown field"));
    check(r#"{"inner":[],"inner":[]}"#, Err("duplicate field"));
    check(r#"{"inner":[],"pair":[1,"Red",2]}"#, Err("more elements"));
    check(r#"{"inner":[],"pair":[1]}"#, Err("invalid length"));
    check(r#"{"inner":[],"pair":[1,"Blue"]}"#, Err("unknown variant"));
    check(
        r#"{"inner":[],"pair":[1,{"Red":null}]}"#,
        Err("invalid type: map"),
    );
    check(
        r#"{"inner":[],"pair":[4294967296,"Red"]}"#,
        Err("invalid value"),
    );
    check(r#"{"inner":[]} x"#, Err("trailing"));
    check(r#"{"inner":["#, Err("ends too early"));
    check(r#"{inner:[]}"#, Err("key must be a string"));
}

#[test]
fn plain_texts_are_borrowed() {
    for (text, borrowed) in [
        (r#""plain, long enough é""#, true),
        (r#""esc\u0061ped, long enough""#, false),
    ] {
        let read = read_with(text, JsonReader::string).expect(text);
        assert_eq!(matches!(read, Cow::Borrowed(_)), borrowed, "{text}");
    }
}

#[test]
fn raw_values_keep_their_text() {
    let text = r#" [ {"a" : [1.50, "\ud800"]} , 2 ] "#;
    let raw: Vec<&RawValue> = from_str(text).expect(text);
    assert_eq!(raw[0].get(), r#"{"a" : [1.50, "\ud800"]}"#);
    let boxed: Box<RawValue> = from_str(text).expect(text);
    assert_eq!(boxed.get(), text.trim());
}

#[test]
fn half_a_character_is_replaced() {
    for (text, expected) in [
        (r#""a\ud83d""#, "a\u{fffd}"),
        (r#""\ude00b""#, "\u{fffd}b"),
        (r#""\ud83d\u0041""#, "\u{fffd}A"),
        (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
        (r#""\\ud83d""#, "\\ud83d"),
    ] {
        assert_eq!(from_str::<String>(text).expect(text), expected);
    }
}

#[test]
fn depth_is_bounded_unless_skipped() {
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    assert!(from_str::<Value>(&nested(128)).is_ok());
    let error = from_str::<Value>(&nested(129)).expect_err("too deep");
    assert!(error.to_string().contains("recursion limit"), "{error}");
    assert!(is_json(&nested(100_000)));
    assert!(!is_json(&"[".repeat(100_000)));
}

/// Both accept the text and read the same from it, or both refuse.
fn agrees(text: &str) -> Result<(), TestCaseError> {
    match (from_str::<Value>(text), serde_json::from_str::<Value>(text)) {
        (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs),
        (Err(_), Err(_)) => {}
        (ours, theirs) => prop_assert!(false, "{text}: {ours:?}, {theirs:?}"),
    }
    let theirs = serde_json::from_str::<de::IgnoredAny>(text);
    prop_assert_eq!(is_json(text), theirs.is_ok(), "{}", text);
    Ok(())
}

#[test]
fn serde_json_agrees_on_scalars() {
    for text in [
        "",
        " ",
        "0",
        "-0",
        "-",
        "01",
        "1.",
        ".5",
        "1.5e",
        "1e5",
        "1E+5",
        "-1e-5",
        "1e999",
        "-1e999",
        "1e-999",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775808",
        "-9223372036854775809",
        "0.1",
        "5e-324",
        "9007199254740993",
        "1.7976931348623157e308",
        "tru",
        "true",
        "falsey",
        "null",
        "nul",
        r#""""#,
        r#"""#,
        r#""\"#,
        r#""\x""#,
        r#""\u12""#,
        r#""\u00e9\n\/\\""#,
        r#""\ud83d\ude00""#,
        "\"a\nb\"",
        "\"\u{7f}\"",
        "[1,]",
        "[,]",
        "[1 2]",
        "{}",
        r#"{"a":1,}"#,
        r#"{"a" 1}"#,
        r#"{"a":}"#,
        r#"{1:2}"#,
        "[}",
        "\u{a0}1",
        "1\u{0}",
    ] {
        agrees(text).expect(text);
    }
}

proptest! {
    #[test]
    fn serde_json_agrees(text in r#"([ \[\]{},:"\\]|true|null|-?[0-9]{1,3}(\.[0-9])?|"[a-z\u{e9}]{0,12}(\\n|\\u00e9)?"){0,14}"#) {
        agrees(&text)?;
    }

    #[test]
    fn reads_every_number(number in any::<f64>().prop_filter("finite", |number| number.is_finite())) {
        agrees(&format!("{number:e}"))?;
        agrees(&serde_json::to_string(&number).expect("a number"))?;
    }

    #[test]
    fn reads_every_text(text in ".{0,40}") {
        agrees(&serde_json::to_string(&text).expect("a text"))?;
    }
}
