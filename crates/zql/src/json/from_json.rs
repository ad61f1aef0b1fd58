//! [`FromJson`]: what can be read from JSON text without serde, and the plain types that can.
//!
//! Everything that a browser decodes is read this way. A derived `Deserialize` is compiled once for every type, with
//! all its checks; here the checks are in functions that exist once, and a type is a table of names and a few stores.
//! Servers, which read more kinds of messages and need not count bytes, may read the same types through serde: see
//! [`read_through_json`](crate::read_through_json).

use super::deserializer::RawText;
use super::{Inside, JsonError, JsonReader, Number, read_with};
use crate::sorted_map::SortedMap;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What can be read from JSON text.
pub trait FromJson<'de>: Sized {
    /// Reads the next value.
    ///
    /// # Errors
    /// It is not JSON, or not of this type.
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError>;

    /// Reads the next value to where another one stands. After an error anything may stand there.
    ///
    /// What is read into a field of a structure is not moved again: that is one call for each field and nothing more.
    ///
    /// # Errors
    /// As [`FromJson::from_json`].
    fn fill(&mut self, reader: &mut JsonReader<'de>) -> Result<(), JsonError> {
        *self = Self::from_json(reader)?;
        Ok(())
    }
}

/// Fills an option that null does not empty.
///
/// # Errors
/// As [`FromJson::from_json`].
pub fn fill_some<'de, T: FromJson<'de>>(
    place: &mut Option<T>,
    reader: &mut JsonReader<'de>,
) -> Result<(), JsonError> {
    *place = Some(T::from_json(reader)?);
    Ok(())
}

/// What is called for each member of an object, with its name.
pub type Member<'a, 'de> =
    dyn FnMut(Cow<'de, str>, &mut JsonReader<'de>) -> Result<(), JsonError> + 'a;

/// Reads the one value that a text holds.
///
/// # Errors
/// The text is not JSON, holds more than one value, is not a `T`, or nests deeper than 128 levels.
pub fn read<'de, T: FromJson<'de>>(text: &'de str) -> Result<T, JsonError> {
    read_with(text, T::from_json)
}

impl<'de> JsonReader<'de> {
    pub(super) fn new(text: &'de str) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
        }
    }

    /// Reads a list, element by element.
    ///
    /// # Errors
    /// What comes is no list, and what `element` gives.
    pub fn list(
        &mut self,
        element: &mut dyn FnMut(&mut Self) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        if self.peek() != b'[' {
            return Err(self.unexpected(&"a sequence"));
        }
        let mut inside = Inside::enter(self, b']')?;
        while inside.more()? {
            element(inside.reader)?;
        }
        Ok(())
    }

    /// Reads a list of as many elements; `element` is told which one comes.
    ///
    /// # Errors
    /// What comes is no list, or one of another length, and what `element` gives.
    pub fn tuple(
        &mut self,
        length: usize,
        element: &mut dyn FnMut(usize, &mut Self) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        let mut count = 0;
        self.list(&mut |reader| {
            count += 1;
            match count <= length {
                true => element(count - 1, reader),
                false => Err(JsonError::new("more elements than expected")),
            }
        })?;
        match count == length {
            true => Ok(()),
            false => Err(invalid_length()),
        }
    }

    /// Reads an object, member by member; `member` reads the value of the name that it is given.
    ///
    /// # Errors
    /// What comes is no object, and what `member` gives.
    pub fn members(&mut self, member: &mut Member<'_, 'de>) -> Result<(), JsonError> {
        if self.peek() != b'{' {
            return Err(self.unexpected(&"a map"));
        }
        let mut inside = Inside::enter(self, b'}')?;
        while inside.more()? {
            let name = inside.reader.key()?;
            member(name, inside.reader)?;
        }
        Ok(())
    }

    /// Whether null comes, which is then read.
    fn is_null(&mut self) -> Result<bool, JsonError> {
        match self.peek() {
            b'n' => self.word("null").map(|()| true),
            _ => Ok(false),
        }
    }

    fn any_number(&mut self) -> Result<Number, JsonError> {
        match self.peek() {
            b'-' | b'0'..=b'9' => self.number(),
            _ => Err(self.unexpected(&"a number")),
        }
    }

    /// Reads a whole number that is not above `most`.
    ///
    /// # Errors
    /// Another value comes.
    pub fn whole_number(&mut self, most: u64) -> Result<u64, JsonError> {
        match self.any_number()? {
            Number::Unsigned(value) if value <= most => Ok(value),
            Number::Unsigned(_) | Number::Signed(_) => {
                Err(JsonError::new("invalid value: integer out of range"))
            }
            Number::Float(_) => Err(JsonError::new(
                "invalid type: floating point, expected an integer",
            )),
        }
    }

    /// Reads a string that must be one of these; gives its place among them.
    ///
    /// # Errors
    /// Another value comes.
    pub fn one_of(&mut self, names: &[&str]) -> Result<usize, JsonError> {
        let name = Cow::from_json(self)?;
        // What comes may be a value that stands where a name should be, so the error does not tell it.
        let place = names.iter().position(|known| **known == *name);
        place.ok_or_else(|| JsonError::new("unknown variant"))
    }

    /// Goes through the next value and gives its text.
    ///
    /// # Errors
    /// It is not JSON.
    pub fn text_of_value(&mut self) -> Result<&'de str, JsonError> {
        self.skip()
    }
}

#[cold]
fn invalid_length() -> JsonError {
    JsonError::new("invalid length")
}

impl<'de: 'a, 'a> FromJson<'de> for Cow<'a, str> {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        match reader.peek() {
            b'"' => reader.string(),
            _ => Err(reader.unexpected(&"a string")),
        }
    }
}

impl<'de> FromJson<'de> for String {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        Cow::from_json(reader).map(Cow::into_owned)
    }
}

impl<'de> FromJson<'de> for bool {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        match reader.peek() {
            b't' => reader.word("true").map(|()| true),
            b'f' => reader.word("false").map(|()| false),
            _ => Err(reader.unexpected(&"a boolean")),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "whole numbers too are read as the nearest double"
)]
impl<'de> FromJson<'de> for f64 {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        Ok(match reader.any_number()? {
            Number::Unsigned(value) => value as f64,
            Number::Signed(value) => value as f64,
            Number::Float(value) => value,
        })
    }
}

macro_rules! whole_numbers {
    ($($type:ty)*) => {$(
        #[expect(clippy::cast_possible_truncation, reason = "it is not above the largest")]
        impl<'de> FromJson<'de> for $type {
            fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
                reader.whole_number(u64::from(<$type>::MAX)).map(|value| value as $type)
            }
        }
    )*};
}

whole_numbers!(u16 u32);

impl<'de> FromJson<'de> for u64 {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        reader.whole_number(u64::MAX)
    }
}

impl<'de, T: FromJson<'de>> FromJson<'de> for Option<T> {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        match reader.is_null()? {
            true => Ok(None),
            false => T::from_json(reader).map(Some),
        }
    }
}

impl<'de, T: FromJson<'de>> FromJson<'de> for Box<T> {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        T::from_json(reader).map(Box::new)
    }
}

impl<'de, T: FromJson<'de>> FromJson<'de> for Vec<T> {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        let mut list = Vec::new();
        list.fill(reader)?;
        Ok(list)
    }

    fn fill(&mut self, reader: &mut JsonReader<'de>) -> Result<(), JsonError> {
        self.clear();
        reader.list(&mut |reader| {
            self.push(T::from_json(reader)?);
            Ok(())
        })
    }
}

impl<'de, A: FromJson<'de>, B: FromJson<'de>> FromJson<'de> for (A, B) {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        let (mut first, mut second) = (None, None);
        reader.tuple(2, &mut |place, reader| {
            match place {
                0 => first = Some(A::from_json(reader)?),
                _ => second = Some(B::from_json(reader)?),
            }
            Ok(())
        })?;
        first.zip(second).ok_or_else(invalid_length)
    }
}

/// Reads an object's members as they come.
pub(crate) fn entries<'de, T: FromJson<'de>>(
    reader: &mut JsonReader<'de>,
) -> Result<Vec<(String, T)>, JsonError> {
    let mut entries = Vec::new();
    reader.members(&mut |name, reader| {
        entries.push((name.into_owned(), T::from_json(reader)?));
        Ok(())
    })?;
    Ok(entries)
}

impl<'de, T: FromJson<'de>> FromJson<'de> for SortedMap<String, T> {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        let (mut names, mut values) = (Vec::new(), Vec::new());
        reader.members(&mut |name, reader| {
            values.push(T::from_json(reader)?);
            names.push(name.into_owned());
            Ok(())
        })?;
        Ok(SortedMap::from_lists(names, values))
    }
}

impl<'de: 'a, 'a> FromJson<'de> for &'a RawValue {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        serde::Deserialize::deserialize(RawText(Some(reader.skip()?)))
    }
}

impl<'de> FromJson<'de> for Box<RawValue> {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        <&RawValue>::from_json(reader).map(ToOwned::to_owned)
    }
}
