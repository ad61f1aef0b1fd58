//! Reads JSON texts: what browsers read through [`FromJson`], anything else through serde's `Deserialize`; and writes them.
//!
//! Differs from `serde_json` in three ways.
//! It is small: one kind of input, and what does not depend on the type that is read is written once, which makes a
//! module for browsers about a hundred kilobytes lighter.
//! It is strict: structures are read from objects only, and variants of enums from their bare names only.
//! And its errors never quote values, so that they can be logged.

use crate::value::text_between;
use serde::de::{self, Deserialize, Expected, Unexpected};
use std::borrow::Cow;
use std::fmt;

mod deserializer;
mod from_json;
mod object;
mod writer;

pub(crate) use from_json::entries;
pub use from_json::{FromJson, Member, fill_some, read};
pub use object::Members;
pub use writer::to_text;

/// How deeply values may nest. What passes through unread, or is skipped, may nest without bound.
const MAX_DEPTH: u8 = 128;

/// Why a text is not JSON, or not the JSON that was asked for.
#[derive(Debug)]
pub struct JsonError(Box<Reason>);

#[derive(Debug)]
struct Reason {
    message: String,
    /// Where reading stopped, once that is known.
    at: Option<usize>,
}

impl JsonError {
    #[cold]
    fn new(message: impl Into<String>) -> Self {
        Self(Box::new(Reason {
            message: message.into(),
            at: None,
        }))
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match self.0.at {
            Some(at) => write!(f, " at byte {at}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for JsonError {}

impl de::Error for JsonError {
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    #[cold]
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!(
            "invalid type: {}, expected {expected}",
            kind_of(&found)
        ))
    }

    #[cold]
    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!(
            "invalid value: {}, expected {expected}",
            kind_of(&found)
        ))
    }

    // The name of the variant comes from outside, and may be a value that stands where a name should be.
    #[cold]
    fn unknown_variant(_: &str, _: &'static [&'static str]) -> Self {
        Self::new("unknown variant")
    }
}

fn kind_of(value: &Unexpected<'_>) -> &'static str {
    match value {
        Unexpected::Bool(_) => "boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "integer",
        Unexpected::Float(_) => "floating point",
        Unexpected::Char(_) | Unexpected::Str(_) => "string",
        Unexpected::Unit | Unexpected::Option => "null",
        Unexpected::Seq => "sequence",
        Unexpected::Map => "map",
        _ => "value",
    }
}

/// Reads the one value that a text holds.
///
/// # Errors
/// The text is not JSON, holds more than one value, is not a `T`, or nests deeper than 128 levels.
pub fn from_str<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, JsonError> {
    read_with(text, |reader| T::deserialize(reader))
}

/// Reads the one value that a text holds in a way of the caller's.
///
/// # Errors
/// As [`from_str`].
pub fn read_with<'de, T>(
    text: &'de str,
    read: impl FnOnce(&mut JsonReader<'de>) -> Result<T, JsonError>,
) -> Result<T, JsonError> {
    let mut reader = JsonReader::new(text);
    match read(&mut reader) {
        Ok(value) => reader.end().map(|()| value),
        Err(error) => Err(reader.located(error)),
    }
}

/// Whether a text is one JSON value.
pub fn is_json(text: &str) -> bool {
    read_with(text, |reader| reader.skip().map(drop)).is_ok()
}

/// The place in a text up to which it has been read.
pub struct JsonReader<'de> {
    text: &'de str,
    at: usize,
    depth: u8,
}

impl<'de> JsonReader<'de> {
    /// The next byte that is no white space; 0 at the end.
    pub(crate) fn peek(&mut self) -> u8 {
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            // Mostly there is no white space, and one comparison tells.
            if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return byte;
            }
            self.at += 1;
        }
        0
    }

    /// Takes the next byte that is no white space if it is this one.
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == byte;
        self.at += usize::from(found);
        found
    }

    /// Makes sure that nothing follows.
    fn end(&mut self) -> Result<(), JsonError> {
        self.peek();
        match self.at < self.text.len() {
            true => Err(self.located(JsonError::new("trailing characters"))),
            false => Ok(()),
        }
    }

    /// The error, with the place where reading stopped.
    #[cold]
    fn located(&mut self, mut error: JsonError) -> JsonError {
        self.peek();
        error.0.at.get_or_insert(self.at);
        error
    }

    /// An error about what comes next.
    #[cold]
    pub(crate) fn unexpected(&mut self, expected: &dyn Expected) -> JsonError {
        let found = match self.peek() {
            0 if self.at >= self.text.len() => {
                return JsonError::new("the text ends too early");
            }
            b'"' => Unexpected::Str(""),
            b'{' => Unexpected::Map,
            b'[' => Unexpected::Seq,
            b'n' => Unexpected::Unit,
            b't' | b'f' => Unexpected::Bool(true),
            b'-' | b'0'..=b'9' => Unexpected::Float(0.0),
            _ => return JsonError::new("not JSON"),
        };
        de::Error::invalid_type(found, expected)
    }

    /// Takes a word that must begin here.
    pub(crate) fn word(&mut self, word: &str) -> Result<(), JsonError> {
        if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(());
        }
        Err(JsonError::new("not JSON"))
    }

    fn enter(&mut self) -> Result<(), JsonError> {
        if self.depth == MAX_DEPTH {
            return Err(JsonError::new("recursion limit exceeded"));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// Reads a number that begins here.
    fn number(&mut self) -> Result<Number, JsonError> {
        let (text, integer) = self.digits()?;
        if integer && text != "-0" {
            if let Ok(value) = text.parse() {
                return Ok(Number::Unsigned(value));
            }
            if let Ok(value) = text.parse() {
                return Ok(Number::Signed(value));
            }
        }
        match parse_float(text) {
            value if value.is_finite() => Ok(Number::Float(value)),
            _ => Err(JsonError::new("number out of range")),
        }
    }

    /// Goes through a number that begins here; gives its text, and whether it is an integer.
    fn digits(&mut self) -> Result<(&'de str, bool), JsonError> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut at = start + usize::from(bytes[start] == b'-');
        let skip_digits = |at: &mut usize| {
            let first = *at;
            while bytes.get(*at).is_some_and(u8::is_ascii_digit) {
                *at += 1;
            }
            *at > first
        };
        let whole = at;
        let mut good = skip_digits(&mut at) && (bytes[whole] != b'0' || at == whole + 1);
        let mut integer = true;
        if bytes.get(at) == Some(&b'.') {
            integer = false;
            at += 1;
            good &= skip_digits(&mut at);
        }
        if let Some(b'e' | b'E') = bytes.get(at) {
            integer = false;
            at += 1;
            at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
            good &= skip_digits(&mut at);
        }
        self.at = at;
        match good {
            true => Ok((text_between(self.text, start, at), integer)),
            false => Err(JsonError::new("invalid number")),
        }
    }

    /// Goes through a string that begins here; gives what is between its quotes, and whether that has escapes.
    fn quoted(&mut self) -> Result<(&'de str, bool), JsonError> {
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let mut at = start;
        let mut escapes = false;
        loop {
            at = end_of_plain_text(bytes, at);
            self.at = at;
            match bytes.get(at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok((text_between(self.text, start, at), escapes));
                }
                Some(b'\\') => {
                    escapes = true;
                    at += match bytes.get(at + 1) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                        Some(b'u') if hex(bytes, at + 2).is_some() => 6,
                        _ => return Err(JsonError::new("invalid escape")),
                    };
                }
                Some(_) => return Err(JsonError::new("control character in a string")),
                None => return Err(JsonError::new("the text ends too early")),
            }
        }
    }

    /// Reads a number that begins here, as JavaScript does.
    pub(crate) fn double(&mut self) -> Result<f64, JsonError> {
        let (text, integer) = self.digits()?;
        let digits = text
            .bytes()
            .map(|digit| f64::from(digit.wrapping_sub(b'0')));
        // So many digits are exact all along.
        if integer && text.len() < 16 && !text.starts_with('-') {
            return Ok(digits.fold(0.0, |sum, digit| sum * 10.0 + digit));
        }
        match parse_float(text) {
            value if value.is_finite() => Ok(value),
            _ => Err(JsonError::new("number out of range")),
        }
    }

    /// Reads a string that begins here; borrows it unless it has escapes.
    pub(crate) fn string(&mut self) -> Result<Cow<'de, str>, JsonError> {
        Ok(match self.quoted()? {
            (text, false) => Cow::Borrowed(text),
            (text, true) => Cow::Owned(unescape(text)),
        })
    }

    /// Reads a key and the colon behind it.
    pub(crate) fn key(&mut self) -> Result<Cow<'de, str>, JsonError> {
        if self.peek() != b'"' {
            return Err(JsonError::new("key must be a string"));
        }
        let key = self.string()?;
        self.colon()?;
        Ok(key)
    }

    /// Goes through a key and the colon behind it.
    fn skip_key(&mut self) -> Result<(), JsonError> {
        if self.peek() != b'"' {
            return Err(JsonError::new("key must be a string"));
        }
        self.quoted()?;
        self.colon()
    }

    fn colon(&mut self) -> Result<(), JsonError> {
        match self.take(b':') {
            true => Ok(()),
            false => Err(JsonError::new("expected `:`")),
        }
    }

    /// Goes through the next value, without recursion, and gives its text.
    pub(crate) fn skip(&mut self) -> Result<&'de str, JsonError> {
        let mut closing = Vec::new();
        self.peek();
        let start = self.at;
        loop {
            match self.peek() {
                b'{' => {
                    self.at += 1;
                    if !self.take(b'}') {
                        closing.push(b'}');
                        self.skip_key()?;
                        continue;
                    }
                }
                b'[' => {
                    self.at += 1;
                    if !self.take(b']') {
                        closing.push(b']');
                        continue;
                    }
                }
                b'"' => drop(self.quoted()?),
                b'-' | b'0'..=b'9' => drop(self.digits()?),
                b't' => self.word("true")?,
                b'f' => self.word("false")?,
                b'n' => self.word("null")?,
                _ => return Err(self.unexpected(&"a value")),
            }
            while let Some(&close) = closing.last() {
                if self.take(b',') {
                    if close == b'}' {
                        self.skip_key()?;
                    }
                    break;
                }
                if !self.take(close) {
                    return Err(JsonError::new("expected `,` or a closing bracket"));
                }
                closing.pop();
            }
            if closing.is_empty() {
                return Ok(text_between(self.text, start, self.at));
            }
        }
    }
}

/// The double nearest to a number in JSON's form; infinite if it is too large.
#[cfg(not(target_arch = "wasm32"))]
fn parse_float(text: &str) -> f64 {
    text.parse().unwrap_or(f64::NAN)
}

#[cfg(target_arch = "wasm32")]
fn parse_float(text: &str) -> f64 {
    crate::decimal::parse(text)
}

enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

/// The next place, from `at` on, of a quote, a backslash or a control character; or the end. Behind the end it is `at`.
pub fn end_of_plain_text(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::MAX / 255;
    while let Some(word) = bytes.get(at..at + 8).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*word);
        let (quote, backslash) = (word ^ (ONES * 0x22), word ^ (ONES * 0x5c));
        // In the lowest byte that matches, and in none below it, the highest bit is set.
        let found = (word.wrapping_sub(ONES * 0x20) & !word
            | quote.wrapping_sub(ONES) & !quote
            | backslash.wrapping_sub(ONES) & !backslash)
            & ONES << 7;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..b' ');
    while bytes.get(at).is_some_and(|byte| !special(byte)) {
        at += 1;
    }
    at
}

fn hex(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.iter().try_fold(0, |sum, &byte| {
        Some(sum << 4 | char::from(byte).to_digit(16)?)
    })
}

/// Resolves the escapes of a string in which all are well-formed.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        out.push_str(plain);
        let (simple, length) = match escape.as_bytes()[0] {
            b'b' => ('\u{8}', 1),
            b'f' => ('\u{c}', 1),
            b'n' => ('\n', 1),
            b'r' => ('\r', 1),
            b't' => ('\t', 1),
            b'u' => unescape_unicode(escape.as_bytes()),
            other => (char::from(other), 1),
        };
        out.push(simple);
        rest = text_between(escape, length, escape.len());
    }
    out.push_str(rest);
    out
}

/// Reads `uXXXX`, or `uXXXX\uXXXX` if both make one character; gives the character and the length.
/// Half a character, as of a text that was cut in the middle of one, is replaced as UTF-8 wants it.
fn unescape_unicode(escape: &[u8]) -> (char, usize) {
    let unit = |at| hex(escape, at).unwrap_or(0);
    let first = unit(1);
    let second = match escape.get(5..7) {
        Some(b"\\u") => unit(7),
        _ => 0,
    };
    let (code, length) = match (first, second) {
        (0xd800..=0xdbff, 0xdc00..=0xdfff) => {
            (0x1_0000 + ((first & 0x3ff) << 10 | second & 0x3ff), 11)
        }
        _ => (first, 5),
    };
    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    (character, length)
}

/// The elements of an array or the members of an object that is being read.
pub(crate) struct Inside<'r, 'de> {
    pub(crate) reader: &'r mut JsonReader<'de>,
    closing: u8,
    first: bool,
    closed: bool,
}

impl<'r, 'de> Inside<'r, 'de> {
    pub(crate) fn enter(reader: &'r mut JsonReader<'de>, closing: u8) -> Result<Self, JsonError> {
        reader.enter()?;
        Ok(Self {
            reader,
            closing,
            first: true,
            closed: false,
        })
    }

    /// Whether another element or member comes.
    pub(crate) fn more(&mut self) -> Result<bool, JsonError> {
        if self.closed {
            return Ok(false);
        }
        if self.reader.take(self.closing) {
            self.closed = true;
            self.reader.depth -= 1;
            return Ok(false);
        }
        match std::mem::take(&mut self.first) || self.reader.take(b',') {
            true => Ok(true),
            false => Err(JsonError::new("expected `,` or a closing bracket")),
        }
    }

    fn leave(&mut self) -> Result<(), JsonError> {
        match self.more()? {
            true => Err(JsonError::new("more elements than expected")),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
