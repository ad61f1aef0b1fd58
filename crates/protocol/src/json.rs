//! JSON values that pass through unread, and the rules for fields that all messages share.

use crate::error::ProtocolError;
use landfall_zql::json::{self, FromJson, JsonError, JsonReader, Members};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::fmt;

/// How deeply an upstream message may nest: below the recursion bound of the parser, above any honest query.
pub const MAX_DEPTH: usize = 120;

/// One JSON value as text, well-formed, never looked into.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(Box<RawValue>);

impl Json {
    /// Copies JSON text after checking that it is one well-formed value.
    pub fn parse(text: impl AsRef<str>) -> Result<Self, ProtocolError> {
        Ok(json::read(text.as_ref())?)
    }

    /// The JSON text of a value of ours.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, ProtocolError> {
        Self::parse(json::to_text(value))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Reads the value as a `T`; structures from objects only.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ProtocolError> {
        Ok(json::from_str(self.as_str())?)
    }
}

impl<'de> FromJson<'de> for Json {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        FromJson::from_json(reader).map(Self)
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Json {}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Box<RawValue>> for Json {
    fn from(raw: Box<RawValue>) -> Self {
        Self(raw)
    }
}

/// For fields that may be absent but not null.
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// For fields that may be null but not absent.
pub(crate) fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// An empty object, the body of messages that say nothing more than their type.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// An object whose members, if any, are ignored.
#[derive(Serialize)]
pub(crate) struct Anything {}

impl<'de> FromJson<'de> for Anything {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        const NONE: Members = Members {
            names: &[],
            required: 0,
            closed: false,
        };
        reader.object(&NONE, &mut |_, _| Ok(()))?;
        Ok(Self {})
    }
}

/// Refuses text that nests too deeply, in one pass and before anything is built from it.
pub(crate) fn check_depth(text: &str) -> Result<(), ProtocolError> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in text.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(ProtocolError::TooDeep { limit: MAX_DEPTH });
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_strings_only() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(check_depth(&nested(MAX_DEPTH)).is_ok());
        assert!(check_depth(&nested(MAX_DEPTH + 1)).is_err());
        assert!(check_depth(&format!(r#"["\"{}"]"#, "[".repeat(500))).is_ok());
        assert!(check_depth(&"[]".repeat(500)).is_ok());
    }

    #[test]
    fn json_keeps_the_text_as_it_came() {
        for text in ["null", "1.50", r#"{"b":1,"a":[true,"é\n"]}"#] {
            assert_eq!(Json::parse(text).expect("JSON").as_str(), text);
        }
        for text in ["", "{", "1 2", "undefined"] {
            assert!(Json::parse(text).is_err(), "{text}");
        }
    }
}
