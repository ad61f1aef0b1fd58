//! The row changes of a poke as text, encoded once for everyone who needs just these.
//!
//! What is beyond the first megabyte waits in a temporary file until sockets take it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::OnceLock;

use axum::extract::ws::Utf8Bytes;
use landfall_protocol::{PokeBuilder, part_message};
use parking_lot::Mutex;

use crate::cvr::CvrVersion;

/// Bytes of a poke that are kept in memory.
const IN_MEMORY: usize = 1 << 20;

/// The row changes of a poke.
#[derive(Debug)]
pub struct PokeBody {
    /// The poke id that the parts carry.
    pub poke_id: String,
    /// Complete `pokePart` messages.
    pub parts: Vec<PokePart>,
    file: Option<Mutex<File>>,
    /// Start and end of the poke for those who were first to need them.
    ends: OnceLock<Ends>,
}

#[derive(Debug)]
struct Ends {
    base: Option<CvrVersion>,
    to: CvrVersion,
    start: Utf8Bytes,
    end: Utf8Bytes,
}

/// One `pokePart` message.
#[derive(Clone, Debug)]
pub enum PokePart {
    /// In memory, shared.
    Text(Utf8Bytes),
    /// In the body's file.
    Stored {
        /// Where it begins.
        offset: u64,
        /// Its bytes.
        length: usize,
    },
}

impl PokeBody {
    /// A body in memory.
    pub fn new(poke_id: impl Into<String>, parts: Vec<Utf8Bytes>) -> Self {
        PokeBody {
            poke_id: poke_id.into(),
            parts: parts.into_iter().map(PokePart::Text).collect(),
            file: None,
            ends: OnceLock::new(),
        }
    }

    /// The messages around the parts: most of those who share a body also stand at the same version.
    pub(crate) fn ends(
        &self,
        base: Option<CvrVersion>,
        to: CvrVersion,
        make: impl Fn() -> (Utf8Bytes, Utf8Bytes),
    ) -> (Utf8Bytes, Utf8Bytes) {
        let first = self.ends.get_or_init(|| {
            let (start, end) = make();
            Ends {
                base,
                to,
                start,
                end,
            }
        });
        match (first.base, first.to) == (base, to) {
            true => (first.start.clone(), first.end.clone()),
            false => make(),
        }
    }

    /// The text of a part. Reads a file, so not from where others must not wait.
    pub fn read(&self, part: usize) -> io::Result<Utf8Bytes> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "no such part of a poke");
        match self.parts.get(part).ok_or_else(missing)? {
            PokePart::Text(text) => Ok(text.clone()),
            PokePart::Stored { offset, length } => {
                let mut file = self.file.as_ref().ok_or_else(missing)?.lock();
                let mut bytes = vec![0; *length];
                file.seek(SeekFrom::Start(*offset))?;
                file.read_exact(&mut bytes)?;
                let text = String::from_utf8(bytes).map_err(io::Error::other)?;
                Ok(text.into())
            }
        }
    }
}

/// Takes row changes in and puts their text where it belongs.
pub(super) struct BodyWriter {
    poke_id: String,
    builder: PokeBuilder,
    parts: Vec<PokePart>,
    in_memory: usize,
    file: Option<File>,
    written: u64,
    /// Files cannot be made or written: everything stays in memory.
    no_file: bool,
}

impl BodyWriter {
    pub(super) fn new(poke_id: String) -> Self {
        BodyWriter {
            builder: PokeBuilder::new(poke_id.clone()),
            poke_id,
            parts: Vec::new(),
            in_memory: 0,
            file: None,
            written: 0,
            no_file: false,
        }
    }

    /// A row is gone; `write` appends its key.
    pub(super) fn del(&mut self, table: &str, write: impl FnOnce(&mut String)) {
        self.builder.row_del(table, write);
        self.take();
    }

    /// A row is new or changed; `write` appends it.
    pub(super) fn put(&mut self, table: &str, write: impl FnOnce(&mut String)) {
        self.builder.row_put(table, write);
        self.take();
    }

    /// The body; `None` if there is nothing in it.
    pub(super) fn finish(mut self) -> Option<PokeBody> {
        let last = std::mem::replace(&mut self.builder, PokeBuilder::new("")).finish();
        last.iter().for_each(|body| self.place(body));
        if self.parts.is_empty() {
            return None;
        }
        metrics::counter!("landfall_poke_file_bytes_total").increment(self.written);
        Some(PokeBody {
            poke_id: self.poke_id,
            parts: self.parts,
            file: self.file.map(Mutex::new),
            ends: OnceLock::new(),
        })
    }

    fn take(&mut self) {
        for body in self.builder.take_bodies() {
            self.place(&body);
        }
    }

    fn place(&mut self, body: &str) {
        let text = part_message(body);
        let length = text.len();
        if self.in_memory + length > IN_MEMORY && !self.no_file {
            match self.store(text.as_bytes()) {
                Ok(offset) => return self.parts.push(PokePart::Stored { offset, length }),
                Err(error) => {
                    tracing::warn!(%error, "a large poke stays in memory: its temporary file cannot be written");
                    self.no_file = true;
                }
            }
        }
        self.in_memory += length;
        self.parts.push(PokePart::Text(text.into()));
    }

    fn store(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let file = match &mut self.file {
            Some(file) => file,
            // Without a name: it is gone with the last one who reads it.
            None => self.file.insert(tempfile::tempfile()?),
        };
        file.seek(SeekFrom::Start(self.written))?;
        file.write_all(bytes)?;
        let offset = self.written;
        self.written += bytes.len() as u64;
        Ok(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rows: usize, is_stored: bool) {
        let mut writer = BodyWriter::new("06".to_owned());
        let row = |n: usize| format!(r#"{{"id":{n},"text":"{}"}}"#, "x".repeat(10_000));
        for n in 0..rows {
            writer.put("t", |out| out.push_str(&row(n)));
        }
        let body = writer.finish().expect("rows");
        let stored = |part: &PokePart| matches!(part, PokePart::Stored { .. });
        assert_eq!(body.parts.iter().any(stored), is_stored);
        let mut text = String::new();
        for part in 0..body.parts.len() {
            text.push_str(&body.read(part).expect("readable"));
        }
        let mut rest = text.as_str();
        for n in 0..rows {
            let at = rest.find(&row(n)).unwrap_or_else(|| panic!("row {n}"));
            rest = &rest[at..];
        }
        assert_eq!(text.matches("\"op\":\"put\"").count(), rows);
        assert!(body.read(body.parts.len()).is_err());
    }

    #[test]
    fn a_small_body_is_in_memory_and_a_large_one_in_a_file() {
        check(10, false);
        check(150, true);
    }

    #[test]
    fn nothing_makes_no_body() {
        assert!(BodyWriter::new("06".to_owned()).finish().is_none());
    }
}
