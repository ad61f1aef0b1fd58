//! What must hold of any bytes from Postgres: they give an error or a value, never a panic, and nothing is larger than
//! the bytes it came from.

use super::copy_text::{CopyError, CopyRows};
use super::kind::Kind;
use super::pgoutput::{self, Field, Message};
use super::values;

/// A law, with its name.
pub type Law = (&'static str, fn(&[u8]));

/// The laws, by the names of the fuzzers.
pub const LAWS: [Law; 3] = [
    ("pgoutput", pgoutput),
    ("copy_text", copy_text),
    ("value", value),
];

/// A message of the replication plugin.
pub fn pgoutput(bytes: &[u8]) {
    let Ok(message) = pgoutput::decode(bytes) else {
        return;
    };
    let parts = match &message {
        Message::Relation(relation) => relation.columns.len(),
        Message::Insert { new, .. } => size(new),
        Message::Update { old, new, .. } => old.as_deref().map_or(0, size) + size(new),
        Message::Delete { old, .. } => size(old),
        Message::Truncate { relations } => relations.len(),
        Message::Other(_) => 0,
    };
    assert!(parts <= bytes.len(), "each part takes a byte at least");
}

/// Columns, and the length of their texts.
fn size(tuple: &[Field<'_>]) -> usize {
    let text = |field: &Field<'_>| match field {
        Field::Text(text) => text.len(),
        Field::Null | Field::Unchanged => 0,
    };
    tuple.len() + tuple.iter().map(text).sum::<usize>()
}

/// Copied data: the same rows however it is cut. The first byte says how.
pub fn copy_text(bytes: &[u8]) {
    let Some((&size, data)) = bytes.split_first() else {
        return;
    };
    let whole = rows(std::iter::once(data));
    let pieces = rows(data.chunks(usize::from(size) + 1));
    assert_eq!(whole, pieces, "in one piece and in several");
}

type Rows = Vec<Vec<Option<String>>>;

fn rows<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Rows, Result<(), CopyError>) {
    let mut reader = CopyRows::default();
    let mut rows = Rows::new();
    for chunk in chunks {
        let fed = reader.feed(chunk, |row| {
            rows.push(row.to_vec());
            Ok::<_, CopyError>(())
        });
        if fed.is_err() {
            return (rows, fed);
        }
    }
    (rows, reader.finish())
}

/// A value in text format, and a JSON text on its way there; the first byte chooses the type.
pub fn value(bytes: &[u8]) {
    let Some((&choice, rest)) = bytes.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    let kinds = [
        Kind::Bool,
        Kind::Integer,
        Kind::Float,
        Kind::Text,
        Kind::Json,
        Kind::Date,
        Kind::Timestamp,
        Kind::TimestampTz,
        Kind::Time,
        Kind::TimeTz,
    ];
    let place = usize::from(choice);
    let scalar = kinds[place % kinds.len()].clone();
    let kind = match place / kinds.len() % 2 {
        0 => scalar,
        _ => Kind::Array(Box::new(scalar)),
    };
    let _ = values::decode(&kind, text);
    let _ = values::encode_text(&kind, text);
}
