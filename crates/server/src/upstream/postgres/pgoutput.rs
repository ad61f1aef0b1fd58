//! Decodes the messages of the pgoutput plugin (protocol 1, text format).
//!
//! Everything is a slice of the message; nothing here knows tables or types.
//! The bytes are foreign: each malformed message is an error, none is a panic.

/// A message of the stream between `Begin` and `Commit`, which the transport reports itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// Describes a table, sent before its first change in a session and after each change of its shape.
    Relation(Relation),
    /// A new row.
    Insert {
        /// The table.
        relation: u32,
        /// The row.
        new: Tuple<'a>,
    },
    /// A changed row.
    Update {
        /// The table.
        relation: u32,
        /// The old key or the whole old row, if the key changed or the identity is FULL.
        old: Option<Tuple<'a>>,
        /// The row after the change.
        new: Tuple<'a>,
    },
    /// A removed row.
    Delete {
        /// The table.
        relation: u32,
        /// The old key or the whole old row.
        old: Tuple<'a>,
    },
    /// Emptied tables.
    Truncate {
        /// The tables.
        relations: Vec<u32>,
    },
    /// A message that carries no rows: types, origins, begin, commit, logical messages.
    Other(u8),
}

/// The shape of a table as the publisher sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// The table's object id.
    pub id: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its replica identity, as in `pg_class.relreplident`.
    pub identity: u8,
    /// The published columns, in order.
    pub columns: Vec<RelationColumn>,
}

/// A column of a [`Relation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn {
    /// The column's name.
    pub name: String,
    /// The object id of its type.
    pub type_id: u32,
}

/// The columns of one row.
pub type Tuple<'a> = Vec<Field<'a>>;

/// One column of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    /// SQL NULL.
    Null,
    /// A large value that did not change and is not repeated.
    Unchanged,
    /// The value in text format.
    Text(&'a str),
}

/// Why a message could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The message ended early.
    #[error("replication message is cut short")]
    Short,
    /// A part has a kind that the protocol does not define here.
    #[error("replication message has an unexpected part {0:#04x}")]
    Unexpected(u8),
    /// A text is not UTF-8.
    #[error("replication message holds text that is not UTF-8")]
    NotUtf8,
    /// Bytes are left over.
    #[error("replication message is longer than its content")]
    Trailing,
}

/// Decodes one message.
pub fn decode(bytes: &[u8]) -> Result<Message<'_>, DecodeError> {
    let mut input = Input { bytes };
    let tag = input.u8()?;
    let message = match tag {
        b'R' => Message::Relation(input.relation()?),
        b'I' => {
            let relation = input.u32()?;
            input.marker(b'N')?;
            Message::Insert {
                relation,
                new: input.tuple()?,
            }
        }
        b'U' => {
            let relation = input.u32()?;
            let (old, new) = input.update()?;
            Message::Update { relation, old, new }
        }
        b'D' => {
            let relation = input.u32()?;
            match input.u8()? {
                b'K' | b'O' => Message::Delete {
                    relation,
                    old: input.tuple()?,
                },
                other => return Err(DecodeError::Unexpected(other)),
            }
        }
        b'T' => Message::Truncate {
            relations: input.truncate()?,
        },
        other => return Ok(Message::Other(other)),
    };
    if input.bytes.is_empty() {
        Ok(message)
    } else {
        Err(DecodeError::Trailing)
    }
}

struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self
            .bytes
            .split_at_checked(count)
            .ok_or(DecodeError::Short)?;
        self.bytes = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self
            .bytes
            .split_first_chunk::<N>()
            .ok_or(DecodeError::Short)?;
        self.bytes = tail;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn marker(&mut self, expected: u8) -> Result<(), DecodeError> {
        match self.u8()? {
            found if found == expected => Ok(()),
            other => Err(DecodeError::Unexpected(other)),
        }
    }

    fn name(&mut self) -> Result<String, DecodeError> {
        let end = self
            .bytes
            .iter()
            .position(|&b| b == 0)
            .ok_or(DecodeError::Short)?;
        let text = str::from_utf8(self.take(end)?).map_err(|_| DecodeError::NotUtf8)?;
        self.take(1)?;
        Ok(text.to_owned())
    }

    fn relation(&mut self) -> Result<Relation, DecodeError> {
        let id = self.u32()?;
        let schema = self.name()?;
        let name = self.name()?;
        let identity = self.u8()?;
        let count = self.u16()?;
        let mut columns = Vec::new();
        for _ in 0..count {
            self.u8()?;
            let name = self.name()?;
            let type_id = self.u32()?;
            self.u32()?;
            columns.push(RelationColumn { name, type_id });
        }
        Ok(Relation {
            id,
            schema,
            name,
            identity,
            columns,
        })
    }

    fn update(&mut self) -> Result<(Option<Tuple<'a>>, Tuple<'a>), DecodeError> {
        match self.u8()? {
            b'N' => Ok((None, self.tuple()?)),
            b'K' | b'O' => {
                let old = self.tuple()?;
                self.marker(b'N')?;
                Ok((Some(old), self.tuple()?))
            }
            other => Err(DecodeError::Unexpected(other)),
        }
    }

    fn truncate(&mut self) -> Result<Vec<u32>, DecodeError> {
        let count = self.u32()?;
        self.u8()?;
        // The count is foreign: room is made as the ids are read.
        let mut relations = Vec::new();
        for _ in 0..count {
            relations.push(self.u32()?);
        }
        Ok(relations)
    }

    fn tuple(&mut self) -> Result<Tuple<'a>, DecodeError> {
        let count = self.u16()?;
        let mut fields = Vec::with_capacity(usize::from(count).min(self.bytes.len()));
        for _ in 0..count {
            fields.push(match self.u8()? {
                b'n' => Field::Null,
                b'u' => Field::Unchanged,
                b't' => {
                    let length = usize::try_from(self.u32()?).map_err(|_| DecodeError::Short)?;
                    let text = self.take(length)?;
                    Field::Text(str::from_utf8(text).map_err(|_| DecodeError::NotUtf8)?)
                }
                other => return Err(DecodeError::Unexpected(other)),
            });
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: &str) -> Vec<u8> {
        let mut out = vec![b't'];
        out.extend((value.len() as u32).to_be_bytes());
        out.extend(value.as_bytes());
        out
    }

    fn update() -> Vec<u8> {
        let mut bytes = vec![b'U', 0, 0, 0, 7, b'K', 0, 2];
        bytes.extend(text("1"));
        bytes.extend([b'n', b'N', 0, 2]);
        bytes.extend(text("2"));
        bytes.push(b'u');
        bytes
    }

    #[test]
    fn an_update_with_a_changed_key_and_an_unchanged_large_value() {
        let expected = Message::Update {
            relation: 7,
            old: Some(vec![Field::Text("1"), Field::Null]),
            new: vec![Field::Text("2"), Field::Unchanged],
        };
        assert_eq!(decode(&update()), Ok(expected));
    }

    #[test]
    fn every_prefix_of_a_message_is_refused() {
        let bytes = update();
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), Err(DecodeError::Short), "{end}");
        }
    }

    #[test]
    fn left_over_bytes_are_refused() {
        let mut bytes = update();
        bytes.push(0);
        assert_eq!(decode(&bytes), Err(DecodeError::Trailing));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(tag in prop::sample::select(b"RIUDTBCYOM".to_vec()), rest in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = vec![tag];
            bytes.extend(rest);
            let _ = decode(&bytes);
        }

        #[test]
        fn damaged_messages_never_panic(position in 0usize..40, value in any::<u8>()) {
            let mut bytes = update();
            if let Some(byte) = bytes.get_mut(position) {
                *byte = value;
            }
            let _ = decode(&bytes);
        }
    }
}
