//! Numbers as JavaScript has them: times, TTLs, timestamps.

use landfall_zql::json::{FromJson, JsonError, JsonReader};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The largest integer that every JavaScript number below it represents exactly: 2^53 - 1.
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// A finite number. Whole ones are written without a fraction, as JavaScript writes them.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Default)]
pub struct JsNumber(f64);

impl JsNumber {
    /// `None` for infinities and NaN, which JSON cannot carry.
    pub fn new(value: f64) -> Option<Self> {
        value.is_finite().then_some(Self(value))
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl From<u32> for JsNumber {
    fn from(value: u32) -> Self {
        Self(f64::from(value))
    }
}

impl Serialize for JsNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let whole = self.0 as i64;
        if whole as f64 == self.0 && whole.unsigned_abs() <= MAX_SAFE_INTEGER {
            serializer.serialize_i64(whole)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

impl<'de> FromJson<'de> for JsNumber {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        // Texts of numbers that are out of range are refused.
        f64::from_json(reader).map(Self)
    }
}

impl<'de> Deserialize<'de> for JsNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        Self::new(value).ok_or_else(|| de::Error::custom("number out of range"))
    }
}

/// Reads an id or counter: a whole number from 0 to 2^53 - 1.
pub(crate) fn safe_integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match u64::deserialize(deserializer)? {
        value @ 0..=MAX_SAFE_INTEGER => Ok(value),
        _ => Err(de::Error::custom("number is beyond 2^53 - 1")),
    }
}

/// Reads a counter; see [`MAX_SAFE_INTEGER`].
pub(crate) fn counter(reader: &mut JsonReader<'_>) -> Result<u64, JsonError> {
    reader.whole_number(MAX_SAFE_INTEGER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_have_no_fraction() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (-5.0, "-5"),
            (1_700_000_000_000.0, "1700000000000"),
            (812.4, "812.4"),
            (1_700_000_000_000.5, "1700000000000.5"),
        ] {
            let number = JsNumber::new(value).expect("finite");
            assert_eq!(serde_json::to_string(&number).expect("writes"), text);
            assert_eq!(
                serde_json::from_str::<JsNumber>(text).expect("reads").get(),
                value
            );
        }
        assert_eq!(JsNumber::new(f64::NAN), None);
        assert!(serde_json::from_str::<JsNumber>("1e999").is_err());
    }

    #[test]
    fn counters_stay_within_what_javascript_counts_exactly() {
        assert!(safe_integer(&mut serde_json::Deserializer::from_str("9007199254740991")).is_ok());
        for text in ["9007199254740992", "-1", "1.5", "null", "\"1\""] {
            assert!(
                safe_integer(&mut serde_json::Deserializer::from_str(text)).is_err(),
                "{text}"
            );
        }
    }
}
