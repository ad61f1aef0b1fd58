//! Objects with known members: [`Members`] is the table, [`json_object`](crate::json_object) makes one for a structure.

use super::{JsonError, JsonReader};

/// The members of an object.
pub struct Members {
    /// Their names; 32 at most.
    pub names: &'static [&'static str],
    /// One bit for each name that must be there, the first name's the lowest.
    pub required: u32,
    /// Other names are refused, and not just skipped.
    pub closed: bool,
}

impl<'de> JsonReader<'de> {
    /// Reads an object; `member` reads the value of a name, which it is given by place.
    ///
    /// # Errors
    /// What comes is no object, lacks a member or has one twice, and what `member` gives.
    pub fn object(
        &mut self,
        members: &Members,
        member: &mut dyn FnMut(usize, &mut Self) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        let mut seen = 0;
        self.members(&mut |name, reader| {
            let place = members.names.iter().position(|known| **known == *name);
            let Some(place) = place else {
                return match members.closed {
                    true => Err(JsonError::new("unknown field")),
                    false => reader.skip().map(drop),
                };
            };
            if seen & 1 << place != 0 {
                return Err(about("duplicate field", members.names[place]));
            }
            seen |= 1 << place;
            member(place, reader)
        })?;
        match members.required & !seen {
            0 => Ok(()),
            missing => Err(JsonError::missing(
                members.names[missing.trailing_zeros() as usize],
            )),
        }
    }
}

impl JsonError {
    /// An object has no member of this name.
    #[must_use]
    pub fn missing(name: &'static str) -> Self {
        about("missing field", name)
    }

    /// What was read is not what it should be. The reason must not quote values.
    #[must_use]
    pub fn refused(reason: &'static str) -> Self {
        Self::new(reason)
    }
}

#[cold]
fn about(what: &str, name: &str) -> JsonError {
    let mut message = String::from(what);
    for part in [" `", name, "`"] {
        message.push_str(part);
    }
    JsonError::new(message)
}

/// Reads a structure that has a default from an object: name, how, field.
///
/// `must`: it must be there. `may`: it may be left out, but be null only if the field's type takes null.
/// `some`: the field is an option that is empty if it is left out; null is refused.
/// A function in place of these reads the value: in brackets if it must be there, in parentheses if it may be left out.
/// With `closed` before the brace, other names are refused; a function after `then` checks what was read.
#[macro_export]
macro_rules! json_object {
    ($type:ident $(<$life:lifetime>)? $($closed:ident)? { $($name:literal $how:tt $field:ident,)* } $(then $check:path)?) => {
        impl<'de $(: $life, $life)?> $crate::json::FromJson<'de> for $type $(<$life>)? {
            fn from_json(
                reader: &mut $crate::json::JsonReader<'de>,
            ) -> Result<Self, $crate::json::JsonError> {
                let mut it = Self::default();
                it.fill(reader)?;
                Ok(it)
            }

            fn fill(
                &mut self,
                reader: &mut $crate::json::JsonReader<'de>,
            ) -> Result<(), $crate::json::JsonError> {
                #[allow(non_camel_case_types)]
                enum Place { $($field,)* }
                const MEMBERS: $crate::json::Members = $crate::json::Members {
                    names: &[$($name,)*],
                    required: 0 $(| ($crate::json_object!(@required $how) << Place::$field as u32))*,
                    closed: false $(|| $crate::json_object!(@closed $closed))?,
                };
                reader.object(&MEMBERS, &mut |place, reader| {
                    $(if place == Place::$field as usize {
                        return $crate::json_object!(@read $how reader, self.$field);
                    })*
                    Ok(())
                })?;
                $($check(self).map_err($crate::json::JsonError::refused)?;)?
                Ok(())
            }
        }
    };
    (@required must) => { 1 };
    (@required may) => { 0 };
    (@required some) => { 0 };
    (@required [$read:path]) => { 1 };
    (@required ($read:path)) => { 0 };
    (@read [$read:path] $reader:ident, $place:expr) => { $read($reader).map(|value| $place = value) };
    (@read ($read:path) $reader:ident, $place:expr) => { $read($reader).map(|value| $place = value) };
    (@read some $reader:ident, $place:expr) => { $crate::json::fill_some(&mut $place, $reader) };
    (@read $how:tt $reader:ident, $place:expr) => { $crate::json::FromJson::fill(&mut $place, $reader) };
    (@closed closed) => { true };
}

/// Reads an enumeration of names.
#[macro_export]
macro_rules! json_names {
    ($type:ident { $($variant:ident = $name:literal,)* }) => {
        impl<'de> $crate::json::FromJson<'de> for $type {
            fn from_json(
                reader: &mut $crate::json::JsonReader<'de>,
            ) -> Result<Self, $crate::json::JsonError> {
                let place = reader.one_of(&[$($name,)*])?;
                Ok([$(Self::$variant,)*][place])
            }
        }
    };
}

/// Lets serde read types that are read by [`FromJson`](crate::json::FromJson), from JSON only.
#[macro_export]
macro_rules! read_through_json {
    ($($type:ident $(<$life:lifetime>)?),* $(,)?) => {$(
        impl<'de $(: $life, $life)?> serde::Deserialize<'de> for $type $(<$life>)? {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = $crate::read_through_json!(@text deserializer $($life)?);
                $crate::json::read(text.get()).map_err(serde::de::Error::custom)
            }
        }
    )*};
    (@text $deserializer:ident) => {
        <Box<serde_json::value::RawValue> as serde::Deserialize>::deserialize($deserializer)?
    };
    (@text $deserializer:ident $life:lifetime) => {
        <&serde_json::value::RawValue as serde::Deserialize>::deserialize($deserializer)?
    };
}
