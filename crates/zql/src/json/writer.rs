//! [`to_text`]: writes what serde can serialize, without the code for failing.
//!
//! Everything that the browser's module writes through serde goes through it. Writing to a text cannot fail, so its
//! error has no values, and the checks that a derived `Serialize` has after every field are not compiled. Whether a
//! comma is needed is seen from what was written last, so lists and objects have no state.

use crate::value::{ValueRef, write_json, write_number};
use serde::ser::{
    self, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use std::fmt::{self, Write};

use super::deserializer::RAW_VALUE;

/// The JSON text of a value. Numbers are written as JavaScript writes them, `null` for what is not finite.
///
/// # Panics
/// A type's own `Serialize` refuses to be written, or is in need of bytes.
pub fn to_text<T: Serialize + ?Sized>(value: &T) -> String {
    let mut writer = JsonWriter {
        out: String::new(),
        raw: false,
    };
    match value.serialize(&mut writer) {
        Ok(()) => writer.out,
    }
}

struct JsonWriter {
    out: String,
    /// The next text is JSON already.
    raw: bool,
}

/// Why a value cannot be written: there is no reason.
#[derive(Debug)]
enum Never {}

impl fmt::Display for Never {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl std::error::Error for Never {}

impl ser::Error for Never {
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Self {
        panic!("a value has no JSON form: {message}")
    }
}

impl JsonWriter {
    /// Before an element of a list or an object.
    fn separate(&mut self) {
        if !matches!(self.out.as_bytes().last(), Some(b'[' | b'{')) {
            self.out.push(',');
        }
    }

    fn name(&mut self, name: &str) {
        // The one field of a raw value has no name.
        if !self.raw {
            self.separate();
            self.text(name);
            self.out.push(':');
        }
    }

    fn text(&mut self, text: &str) {
        write_json(ValueRef::String(text), &mut self.out);
    }

    /// Without the standard library's way, of which browsers compile more than this before the first row is shown.
    fn integer(&mut self, is_negative: bool, mut rest: u64) {
        let mut digits = Vec::with_capacity(20);
        while rest > 0 || digits.is_empty() {
            digits.push(rest % 10);
            rest /= 10;
        }
        if is_negative {
            self.out.push('-');
        }
        let digits = digits.into_iter().rev();
        self.out
            .extend(digits.map(|digit| char::from(b'0' + digit as u8)));
    }

    fn open(&mut self, bracket: char) {
        self.out.push(bracket);
    }

    /// What follows is the one member of an object.
    fn variant(&mut self, name: &str) {
        self.open('{');
        self.name(name);
    }

    fn close(&mut self, brackets: &str) {
        self.out.push_str(brackets);
    }
}

macro_rules! integers {
    ($($function:ident $type:ty: $is_negative:expr, $size:expr;)*) => {$(
        fn $function(self, value: $type) -> Result<(), Never> {
            self.integer($is_negative(value), $size(value).into());
            Ok(())
        }
    )*};
}

impl Serializer for &mut JsonWriter {
    type Ok = ();
    type Error = Never;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    integers! {
        serialize_i8 i8: i8::is_negative, i8::unsigned_abs;
        serialize_i16 i16: i16::is_negative, i16::unsigned_abs;
        serialize_i32 i32: i32::is_negative, i32::unsigned_abs;
        serialize_i64 i64: i64::is_negative, i64::unsigned_abs;
        serialize_u8 u8: |_| false, u64::from;
        serialize_u16 u16: |_| false, u64::from;
        serialize_u32 u32: |_| false, u64::from;
        serialize_u64 u64: |_| false, u64::from;
    }

    fn serialize_i128(self, value: i128) -> Result<(), Never> {
        // Writing to a String cannot fail.
        let _ = write!(self.out, "{value}");
        Ok(())
    }

    fn serialize_u128(self, value: u128) -> Result<(), Never> {
        let _ = write!(self.out, "{value}");
        Ok(())
    }

    fn serialize_bool(self, value: bool) -> Result<(), Never> {
        write_json(ValueRef::Bool(value), &mut self.out);
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), Never> {
        self.serialize_f64(f64::from(value))
    }

    fn serialize_f64(self, value: f64) -> Result<(), Never> {
        write_number(value, &mut self.out);
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Never> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, text: &str) -> Result<(), Never> {
        match self.raw {
            true => self.out.push_str(text),
            false => self.text(text),
        }
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Never> {
        self.collect_seq(bytes)
    }

    fn serialize_none(self) -> Result<(), Never> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Never> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Never> {
        self.out.push_str("null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Never> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Never> {
        self.text(variant);
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Never> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Never> {
        self.variant(variant);
        value.serialize(&mut *self)?;
        self.close("}");
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Never> {
        self.open('[');
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Never> {
        self.serialize_seq(None)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Never> {
        self.serialize_seq(None)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self, Never> {
        self.variant(variant);
        self.serialize_seq(None)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, Never> {
        self.open('{');
        Ok(self)
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Self, Never> {
        self.raw = name == RAW_VALUE;
        if !self.raw {
            self.open('{');
        }
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self, Never> {
        self.variant(variant);
        self.serialize_map(None)
    }
}

/// The parts of lists, which differ by the names of their functions only.
macro_rules! lists {
    ($($part:ident $function:ident $brackets:literal,)*) => {$(
        impl $part for &mut JsonWriter {
            type Ok = ();
            type Error = Never;

            fn $function<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Never> {
                self.separate();
                value.serialize(&mut **self)
            }

            fn end(self) -> Result<(), Never> {
                self.close($brackets);
                Ok(())
            }
        }
    )*};
}

lists! {
    SerializeSeq serialize_element "]",
    SerializeTuple serialize_element "]",
    SerializeTupleStruct serialize_field "]",
    SerializeTupleVariant serialize_field "]}",
}

impl SerializeMap for &mut JsonWriter {
    type Ok = ();
    type Error = Never;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Never> {
        self.separate();
        let start = self.out.len();
        key.serialize(&mut **self)?;
        self.key_end(start);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Never> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Never> {
        self.close("}");
        Ok(())
    }
}

impl JsonWriter {
    /// Keys that are not texts become some.
    fn key_end(&mut self, start: usize) {
        if self.out.as_bytes().get(start) != Some(&b'"') {
            let key = self.out.split_off(start);
            self.text(&key);
        }
        self.out.push(':');
    }
}

/// Fields by name, and how their end is written.
macro_rules! structures {
    ($($of:ident $end:ident,)*) => {$(
        impl $of for &mut JsonWriter {
            type Ok = ();
            type Error = Never;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Never> {
                self.name(name);
                value.serialize(&mut **self)
            }

            fn end(self) -> Result<(), Never> {
                self.$end();
                Ok(())
            }
        }
    )*};
}

structures! {
    SerializeStruct end_struct,
    SerializeStructVariant end_variant,
}

impl JsonWriter {
    fn end_struct(&mut self) {
        match self.raw {
            true => self.raw = false,
            false => self.close("}"),
        }
    }

    fn end_variant(&mut self) {
        self.close("}}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Serialize;
    use serde_json::value::RawValue;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    #[derive(Serialize)]
    enum Shape {
        Unit,
        Newtype(Option<u8>),
        Tuple(i8, String),
        Struct { a: char, b: () },
    }

    #[derive(Serialize)]
    #[serde(tag = "type", rename_all = "camelCase")]
    enum Tagged {
        Empty,
        OneField { a: u64 },
    }

    #[derive(Serialize)]
    struct Whole<'a> {
        shapes: [Shape; 5],
        tagged: (Tagged, Tagged),
        by_number: BTreeMap<u32, bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        left_out: Option<u8>,
        raw: Vec<&'a RawValue>,
        #[serde(flatten)]
        rest: BTreeMap<&'a str, Tagged>,
        empty: (Vec<u8>, BTreeMap<String, u8>, Option<u8>),
    }

    #[test]
    fn writes_every_shape_as_serde_json_does() {
        let raw = [r#"{"a": [1.50, "[{"]}"#, "[]", "\"{\""]
            .map(|text| super::super::read(text).expect("JSON"));
        let whole = Whole {
            shapes: [
                Shape::Unit,
                Shape::Newtype(None),
                Shape::Newtype(Some(7)),
                Shape::Tuple(-1, "\"[\u{1}é".to_owned()),
                Shape::Struct { a: '{', b: () },
            ],
            tagged: (Tagged::Empty, Tagged::OneField { a: u64::MAX }),
            by_number: [(1, true), (2, false)].into(),
            left_out: None,
            raw: raw.into(),
            rest: [("x", Tagged::Empty), ("y", Tagged::OneField { a: 0 })].into(),
            empty: (vec![], BTreeMap::new(), None),
        };
        let theirs = serde_json::to_string(&whole).expect("writes");
        assert_eq!(to_text(&whole), theirs);
    }

    #[test]
    fn writes_numbers_as_javascript_does() {
        let numbers = [1.0, -0.0, 1.5, 1e21, 1e-7, f64::NAN, f64::INFINITY];
        assert_eq!(to_text(&numbers), "[1,0,1.5,1e+21,1e-7,null,null]");
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 30, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..5)
                    .prop_map(|members| json!(members)),
            ]
        })
    }

    proptest! {
        #[test]
        fn writes_values_as_serde_json_does(value in value()) {
            prop_assert_eq!(to_text(&value), value.to_string());
        }
    }
}
