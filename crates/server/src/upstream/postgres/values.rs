//! Converts between Postgres' text format and the replica's values, and from JSON to Postgres' text format.
//!
//! COPY and pgoutput share these decoders; the session settings that they rely on are `super::session::SETTINGS`.

use landfall_zql::row_json::without_white_space;
use rusqlite::types::Value as Cell;
use serde_json::Value as Json;

use super::kind::Kind;
use super::pg_time;

/// Why a value could not be converted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// Text from Postgres that its type does not write.
    #[error("not the text form of {kind:?}")]
    Text {
        /// What was expected.
        kind: Kind,
    },
    /// JSON that the column cannot take.
    #[error("expected {expected}")]
    Json {
        /// What was expected.
        expected: &'static str,
    },
}

/// Decodes a value in text format.
pub fn decode(kind: &Kind, text: &str) -> Result<Cell, ValueError> {
    let wrong = || ValueError::Text { kind: kind.clone() };
    Ok(match kind {
        Kind::Bool => match text {
            "t" | "true" => Cell::Integer(1),
            "f" | "false" => Cell::Integer(0),
            _ => return Err(wrong()),
        },
        Kind::Integer => Cell::Integer(text.parse().map_err(|_| wrong())?),
        Kind::Float => real(text.parse().map_err(|_| wrong())?),
        Kind::Text => Cell::Text(text.to_owned()),
        Kind::Json => Cell::Text(without_white_space(text)),
        Kind::Date | Kind::Timestamp | Kind::TimestampTz => {
            real(pg_time::epoch_ms(text).ok_or_else(wrong)?)
        }
        Kind::Time | Kind::TimeTz => Cell::Integer(pg_time::ms_of_day(text).ok_or_else(wrong)?),
        Kind::Array(element) => Cell::Text(array_to_json(element, text)?),
    })
}

// NaN and infinity are NULL: JSON has neither, so no client could be told them, and a NaN has no place in an order.
fn real(value: f64) -> Cell {
    if value.is_finite() {
        Cell::Real(value)
    } else {
        Cell::Null
    }
}

/// Decodes an array in text format (`{1,NULL,"a b",{…}}`, with or without bounds) to a JSON array.
fn array_to_json(element: &Kind, text: &str) -> Result<String, ValueError> {
    let wrong = || ValueError::Text {
        kind: Kind::Array(Box::new(element.clone())),
    };
    let body = match text.strip_prefix('[') {
        Some(_) => text.split_once('=').ok_or_else(wrong)?.1,
        None => text,
    };
    let mut out = String::new();
    let mut depth = 0usize;
    let mut rest = body;
    loop {
        let mut chars = rest.chars();
        match chars.next() {
            Some('{') => {
                depth += 1;
                out.push('[');
                rest = chars.as_str();
            }
            Some('}') => {
                depth = depth.checked_sub(1).ok_or_else(wrong)?;
                out.push(']');
                rest = chars.as_str();
                if depth == 0 {
                    return if rest.is_empty() {
                        Ok(out)
                    } else {
                        Err(wrong())
                    };
                }
            }
            Some(',') if depth > 0 => {
                out.push(',');
                rest = chars.as_str();
            }
            Some(_) if depth > 0 => {
                let (item, tail) = array_item(rest).ok_or_else(wrong)?;
                write_element(element, item.as_deref(), &mut out)?;
                rest = tail;
            }
            _ => return Err(wrong()),
        }
    }
}

/// Reads one element: the text, or `None` for NULL, and what follows.
fn array_item(text: &str) -> Option<(Option<String>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', '}'])?;
        let (item, tail) = text.split_at(end);
        let item = (item != "NULL").then(|| item.to_owned());
        return Some((item, tail));
    };
    let mut item = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => return Some((Some(item), chars.as_str())),
            '\\' => item.push(chars.next()?),
            other => item.push(other),
        }
    }
}

fn write_element(kind: &Kind, text: Option<&str>, out: &mut String) -> Result<(), ValueError> {
    let Some(text) = text else {
        out.push_str("null");
        return Ok(());
    };
    match (kind, decode(kind, text)?) {
        (Kind::Bool, Cell::Integer(value)) => {
            out.push_str(if value == 0 { "false" } else { "true" })
        }
        (_, Cell::Integer(value)) => out.push_str(&value.to_string()),
        (_, Cell::Real(value)) => {
            landfall_zql::write_json(landfall_zql::ValueRef::Number(value), out);
        }
        (Kind::Json | Kind::Array(_), Cell::Text(text)) => out.push_str(&text),
        (_, Cell::Text(text)) => {
            landfall_zql::write_json(landfall_zql::ValueRef::String(&text), out);
        }
        (_, Cell::Null | Cell::Blob(_)) => out.push_str("null"),
    }
    Ok(())
}

/// The text format of a JSON text for a column, or `None` for NULL.
/// A JSON column gets the text as it came: the type `json` keeps the order of an object's members.
pub fn encode_text(kind: &Kind, json: &str) -> Result<Option<String>, ValueError> {
    if *kind == Kind::Json && json != "null" {
        return Ok(Some(json.to_owned()));
    }
    let value = landfall_zql::json::from_str(json).map_err(|_| ValueError::Json {
        expected: "a value",
    })?;
    encode(kind, &value)
}

/// The text format of a JSON value for a column, or `None` for NULL.
fn encode(kind: &Kind, value: &Json) -> Result<Option<String>, ValueError> {
    // In a JSON column the JSON null is SQL NULL, as it is on the wire.
    if value.is_null() {
        return Ok(None);
    }
    let expected = |expected| ValueError::Json { expected };
    let number = || value.as_f64().ok_or(expected("a number"));
    Ok(Some(match kind {
        Kind::Bool => match value {
            Json::Bool(true) => "t".to_owned(),
            Json::Bool(false) => "f".to_owned(),
            _ => return Err(expected("a boolean")),
        },
        Kind::Integer | Kind::Float => number_text(number()?),
        Kind::Text => match value {
            Json::String(text) => text.clone(),
            _ => return Err(expected("a string")),
        },
        Kind::Json => value.to_string(),
        Kind::Date => pg_time::date_text(number()?).ok_or(expected("ms since the epoch"))?,
        Kind::Timestamp | Kind::TimestampTz => {
            pg_time::timestamp_text(number()?).ok_or(expected("ms since the epoch"))?
        }
        Kind::Time | Kind::TimeTz => {
            pg_time::time_text(number()?).ok_or(expected("ms since midnight"))?
        }
        Kind::Array(element) => {
            let mut out = String::new();
            write_array(element, value, &mut out)?;
            out
        }
    }))
}

fn number_text(value: f64) -> String {
    let mut out = String::new();
    landfall_zql::write_json(landfall_zql::ValueRef::Number(value), &mut out);
    out
}

fn write_array(element: &Kind, value: &Json, out: &mut String) -> Result<(), ValueError> {
    let Json::Array(items) = value else {
        return Err(ValueError::Json {
            expected: "an array",
        });
    };
    out.push('{');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        match (element, item) {
            (Kind::Json, _) | (_, Json::Null) => {}
            (_, Json::Array(_)) => {
                write_array(element, item, out)?;
                continue;
            }
            _ => {}
        }
        match encode(element, item)? {
            None => out.push_str("NULL"),
            Some(text) => write_quoted(&text, out),
        }
    }
    out.push('}');
    Ok(())
}

fn write_quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn array(kind: Kind) -> Kind {
        Kind::Array(Box::new(kind))
    }

    fn check(kind: Kind, text: &str, expected: Cell) {
        assert_eq!(decode(&kind, text), Ok(expected), "{kind:?} {text}");
    }

    #[test]
    fn decodes_every_kind() {
        check(Kind::Bool, "t", Cell::Integer(1));
        check(
            Kind::Integer,
            "-9223372036854775808",
            Cell::Integer(i64::MIN),
        );
        check(Kind::Float, "1e-7", Cell::Real(1e-7));
        for text in ["NaN", "Infinity", "-Infinity", "1e400"] {
            check(Kind::Float, text, Cell::Null);
        }
        for text in ["infinity", "-infinity"] {
            check(Kind::Date, text, Cell::Null);
            check(Kind::Timestamp, text, Cell::Null);
            check(Kind::TimestampTz, text, Cell::Null);
        }
        check(
            array(Kind::Float),
            "{1.5,Infinity,NaN}",
            Cell::Text("[1.5,null,null]".into()),
        );
        check(
            Kind::Json,
            "{\"a\": [1, \" x\"]}",
            Cell::Text("{\"a\":[1,\" x\"]}".into()),
        );
        check(Kind::Date, "1970-01-02", Cell::Real(86_400_000.0));
        check(Kind::Time, "00:00:01.5009", Cell::Integer(1500));
    }

    #[test]
    fn decodes_arrays() {
        check(array(Kind::Integer), "{}", Cell::Text("[]".into()));
        check(
            array(Kind::Integer),
            "{1,NULL,3}",
            Cell::Text("[1,null,3]".into()),
        );
        check(
            array(Kind::Integer),
            "[0:1]={1,2}",
            Cell::Text("[1,2]".into()),
        );
        check(
            array(Kind::Text),
            r#"{a,"b,\"c\\",NULL,"NULL"}"#,
            Cell::Text(r#"["a","b,\"c\\",null,"NULL"]"#.into()),
        );
        check(
            array(Kind::Bool),
            "{{t,f},{f,NULL}}",
            Cell::Text("[[true,false],[false,null]]".into()),
        );
        check(
            array(Kind::Json),
            r#"{"{\"a\": 1}"}"#,
            Cell::Text(r#"[{"a":1}]"#.into()),
        );
    }

    #[test]
    fn foreign_text_is_refused() {
        for (kind, text) in [
            (Kind::Bool, "yes"),
            (Kind::Integer, "1.5"),
            (Kind::Date, "today"),
        ] {
            assert!(decode(&kind, text).is_err(), "{kind:?} {text}");
        }
        for text in ["", "{", "}", "{1", "{\"a", "{1}x", "[0:1]"] {
            assert!(decode(&array(Kind::Text), text).is_err(), "{text}");
        }
    }

    #[test]
    fn half_a_character_is_replaced() {
        let encoded = encode_text(&Kind::Text, r#""a\ud83d""#);
        assert_eq!(encoded, Ok(Some("a\u{fffd}".to_owned())));
    }

    #[test]
    fn encodes_json_for_columns() {
        let check = |kind: Kind, json: &str, expected: Option<&str>| {
            let value: Json = serde_json::from_str(json).unwrap();
            assert_eq!(
                encode(&kind, &value),
                Ok(expected.map(str::to_owned)),
                "{json}"
            );
        };
        check(Kind::Integer, "12", Some("12"));
        check(Kind::Float, "1.5", Some("1.5"));
        check(Kind::Json, "{\"a\":[1]}", Some("{\"a\":[1]}"));
        check(Kind::Json, "null", None);
        check(
            Kind::TimestampTz,
            "1700000000123.456",
            Some("2023-11-14 22:13:20.123456+00"),
        );
        check(
            array(Kind::Text),
            r#"["a\"b", null, "NULL"]"#,
            Some(r#"{"a\"b",NULL,"NULL"}"#),
        );
        check(
            array(Kind::Integer),
            "[[1,2],[3,4]]",
            Some(r#"{{"1","2"},{"3","4"}}"#),
        );
    }

    #[test]
    fn wrong_json_is_refused() {
        assert!(encode(&Kind::Integer, &Json::from("1")).is_err());
        assert!(encode(&Kind::Text, &Json::from(1)).is_err());
        assert!(encode(&array(Kind::Text), &Json::from("x")).is_err());
    }

    proptest! {
        #[test]
        fn text_arrays_survive_both_ways(items in prop::collection::vec(prop::option::of(".*"), 0..5)) {
            let json = Json::from(items);
            let text = encode(&array(Kind::Text), &json).unwrap().unwrap();
            let Cell::Text(back) = decode(&array(Kind::Text), &text).unwrap() else { panic!("not a text") };
            prop_assert_eq!(serde_json::from_str::<Json>(&back).unwrap(), json);
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".*") {
            for kind in [Kind::Integer, Kind::Float, Kind::Timestamp, Kind::TimeTz, Kind::Date, array(Kind::TimeTz)] {
                let _ = decode(&kind, &text);
            }
        }
    }
}
