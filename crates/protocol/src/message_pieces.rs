//! Messages of a server that are read as they come, in pieces of any size: the row operations of a `pokePart` are
//! handed out one by one as soon as each is complete, so that a large message never lies in memory as a whole.
//!
//! The reader only finds where operations begin and end, by strings and brackets. What it hands out, and the message
//! without it, go through the same decoders as any message, so nothing is accepted here that they refuse: a text is a
//! message exactly if each operation and the rest are.

use crate::downstream::{Downstream, decode_downstream};
use crate::error::ProtocolError;
use crate::poke::RowOp;
use landfall_zql::json::{self, end_of_plain_text};
use std::borrow::Cow;
use std::ops::Range;

/// The depth of the members of a message's body, and that of the elements of their lists.
const MEMBERS: usize = 2;
const OPERATIONS: usize = 3;

/// Buffers larger than this are given back after use.
const KEPT_BUFFER: usize = 64 << 10;

/// Reads one message.
#[derive(Debug, Default)]
pub struct PieceReader {
    /// What came so far, without the row operations.
    rest: Vec<u8>,
    /// The beginning of a row operation.
    operation: Vec<u8>,
    depth: usize,
    in_string: bool,
    /// The next byte is escaped.
    escaped: bool,
    /// Within the list of row operations.
    in_rows: bool,
    /// An operation must follow.
    after_comma: bool,
    /// Where in `rest` the first string of the message is: its type.
    kind: Option<Range<usize>>,
    /// Where in `rest` the last string among the members of the body is, or where it begins.
    member: Range<usize>,
    /// How many elements of the message are complete.
    elements: usize,
}

impl PieceReader {
    /// Takes the next piece; `operation` gets the text of each row operation that it completes, in their order.
    ///
    /// # Errors
    /// What `operation` gives, and text that is not UTF-8. After an error the message is lost.
    pub fn push<E: From<ProtocolError>>(
        &mut self,
        piece: &[u8],
        operation: &mut dyn FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut at = 0;
        // Where the bytes begin that are not yet in one of the buffers.
        let mut from = 0;
        while at < piece.len() {
            if self.in_string {
                at = self.go_through_string(piece, from, at);
                continue;
            }
            match piece[at] {
                b'"' => {
                    self.in_string = true;
                    if !self.in_rows {
                        self.member.start = self.rest.len() + at - from;
                    }
                }
                b'[' if self.depth == MEMBERS && !self.in_rows => {
                    self.rest.extend_from_slice(&piece[from..at]);
                    from = at;
                    self.depth += 1;
                    if self.is_at_rows() {
                        self.rest.push(b'[');
                        self.in_rows = true;
                        from += 1;
                    }
                }
                b'[' | b'{' => self.depth += 1,
                b',' if self.in_rows && self.depth == OPERATIONS => {
                    self.hand_out(&piece[from..at], operation)?;
                    self.after_comma = true;
                    from = at + 1;
                }
                b',' if self.depth == 1 => self.elements += 1,
                b']' | b'}' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.in_rows && self.depth == MEMBERS {
                        if self.after_comma || !is_blank(&self.operation, &piece[from..at]) {
                            self.hand_out(&piece[from..at], operation)?;
                        }
                        self.operation.clear();
                        self.after_comma = false;
                        self.in_rows = false;
                        from = at;
                    }
                }
                _ => {}
            }
            at += 1;
        }
        match self.in_rows {
            true => self.operation.extend_from_slice(&piece[from..]),
            false => self.rest.extend_from_slice(&piece[from..]),
        }
        Ok(())
    }

    /// The message, without the row operations that were handed out.
    ///
    /// # Errors
    /// What came is not one message of the protocol.
    pub fn finish(&self) -> Result<Downstream<'_>, ProtocolError> {
        let rest = std::str::from_utf8(&self.rest).map_err(|_| ProtocolError::NotUtf8)?;
        decode_downstream(rest)
    }

    /// Goes on in a string; gives the place behind it, or the end of the piece.
    fn go_through_string(&mut self, piece: &[u8], from: usize, mut at: usize) -> usize {
        if std::mem::take(&mut self.escaped) {
            at += 1;
        }
        loop {
            at = end_of_plain_text(piece, at);
            match piece.get(at) {
                None => {
                    self.escaped = at > piece.len();
                    return piece.len();
                }
                Some(b'\\') => at += 2,
                Some(b'"') => break,
                // A control character: the decoder refuses it.
                Some(_) => at += 1,
            }
        }
        at += 1;
        self.in_string = false;
        if !self.in_rows {
            self.member.end = self.rest.len() + at - from;
            if self.depth == 1 && self.elements == 0 {
                self.kind = Some(self.member.clone());
            }
        }
        at
    }

    /// Whether a list that begins behind `rest` is that of the row operations.
    fn is_at_rows(&self) -> bool {
        let before = trimmed(&self.rest);
        let key = before.strip_suffix(b":").map(trimmed);
        let is_member = key.is_some_and(|key| key.len() == self.member.end);
        is_member
            && self.elements == 1
            && self.is_text(self.member.clone(), "rowsPatch")
            && self
                .kind
                .clone()
                .is_some_and(|kind| self.is_text(kind, "pokePart"))
    }

    /// Whether a string says this.
    fn is_text(&self, place: Range<usize>, expected: &str) -> bool {
        // Escaped, a character takes six bytes at most.
        if place.len() > 6 * expected.len() + 2 {
            return false;
        }
        let quoted = self.rest.get(place).map(std::str::from_utf8);
        let text = quoted.and_then(|quoted| json::read::<Cow<'_, str>>(quoted.ok()?).ok());
        text.is_some_and(|text| text == expected)
    }

    fn hand_out<E: From<ProtocolError>>(
        &mut self,
        end: &[u8],
        operation: &mut dyn FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| ProtocolError::NotUtf8);
        if self.operation.is_empty() {
            return operation(text(end)?);
        }
        self.operation.extend_from_slice(end);
        operation(text(&self.operation)?)?;
        self.operation.clear();
        self.operation.shrink_to(KEPT_BUFFER);
        Ok(())
    }
}

impl<'a> RowOp<'a> {
    /// Reads a row operation that [`PieceReader`] handed out.
    ///
    /// # Errors
    /// The text is no row operation.
    pub fn decode(text: &'a str) -> Result<Self, ProtocolError> {
        Ok(json::read(text)?)
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn is_blank(begin: &[u8], end: &[u8]) -> bool {
    begin.iter().chain(end).all(|byte| is_space(*byte))
}

/// Without white space at the end.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| !is_space(*byte));
    &bytes[..end.map_or(0, |last| last + 1)]
}

#[cfg(test)]
mod tests;
