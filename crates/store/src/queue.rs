//! The mutation queue, the outcomes of mutations, and the clients of the group.
//!
//! Queue and outcomes are keyed by client and mutation id, so that all mutations up to a confirmed id go with one
//! range. The order between clients is the sequence, assigned when a mutation is stored.
//!
//! Whether a mutation was ever sent is one number per client, not a flag per mutation: ids are sent in order, and so
//! one small write marks a queue of any length before the first push of a connection.

use crate::encoding::{Kind, Reader, Writer};
use crate::error::FormatError;

/// A mutation about to be stored. Its client is named by the request.
#[derive(Clone, Debug, PartialEq)]
pub struct NewMutation {
    /// The number in the client's sequence.
    pub id: u64,
    /// The mutator's name.
    pub name: String,
    /// JSON text of the argument list.
    pub args: String,
    /// JSON text of the writes it made, where the server takes these and not the call.
    pub ops: Option<String>,
    /// When it was made, in epoch milliseconds.
    pub timestamp: f64,
    /// How it ends if the server takes it, where that is known already and no success.
    pub end: Option<Ending>,
}

/// A mutation that the server has not confirmed.
#[derive(Clone, Debug, PartialEq)]
pub struct QueuedMutation {
    /// The place in the group's order.
    pub sequence: u64,
    /// The client that made it.
    pub client_id: String,
    /// The number in the client's sequence.
    pub id: u64,
    /// The mutator's name.
    pub name: String,
    /// JSON text of the argument list.
    pub args: String,
    /// JSON text of the writes it made, where the server takes these and not the call.
    pub ops: Option<String>,
    /// When it was made, in epoch milliseconds.
    pub timestamp: f64,
    /// Whether it may have been sent. If not, it certainly was not.
    pub attempted: bool,
}

impl QueuedMutation {
    pub(crate) fn new(client_id: &str, mutation: &NewMutation, sequence: u64) -> Self {
        let NewMutation {
            id,
            name,
            args,
            ops,
            timestamp,
            end: _,
        } = mutation.clone();
        Self {
            sequence,
            client_id: client_id.to_owned(),
            id,
            name,
            args,
            ops,
            timestamp,
            attempted: false,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(Kind::Mutation);
        out.u64(self.sequence);
        out.text(&self.client_id);
        out.u64(self.id);
        out.text(&self.name);
        out.text(&self.args);
        out.optional_text(self.ops.as_deref());
        out.f64(self.timestamp);
        out.finish()
    }

    /// `attempted` is left false: the client's record knows.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(Kind::Mutation, bytes)?;
        let mutation = Self {
            sequence: reader.u64(),
            client_id: reader.text(),
            id: reader.u64(),
            name: reader.text(),
            args: reader.text(),
            ops: reader.optional_text(),
            timestamp: reader.f64(),
            attempted: false,
        };
        reader.end()?;
        Ok(mutation)
    }
}

/// How a mutation ended, if not well.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredOutcome {
    /// The client that made it.
    pub client_id: String,
    /// The number in the client's sequence.
    pub id: u64,
    /// The mutator's name; empty if whoever was told of it did not know the mutation: only the client that made it does.
    pub name: String,
    /// JSON text of the argument list; `[]` if nobody knew it any more.
    pub args: String,
    /// How it ended.
    pub ending: Ending,
}

/// How a mutation ended, if not well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The server refused it.
    Failed {
        /// JSON text of its reason.
        error: String,
    },
    /// It may or may not have been carried out: the server forgot the group before it answered.
    Uncertain,
}

impl StoredOutcome {
    /// The same for the client that made the mutation alone.
    pub(crate) fn without_name(self) -> Self {
        Self {
            name: String::new(),
            args: "[]".to_owned(),
            ..self
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(Kind::Outcome);
        out.text(&self.client_id);
        out.u64(self.id);
        out.text(&self.name);
        out.text(&self.args);
        out.optional_text(match &self.ending {
            Ending::Failed { error } => Some(error),
            Ending::Uncertain => None,
        });
        out.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(Kind::Outcome, bytes)?;
        let outcome = Self {
            client_id: reader.text(),
            id: reader.u64(),
            name: reader.text(),
            args: reader.text(),
            ending: match reader.optional_text() {
                Some(error) => Ending::Failed { error },
                None => Ending::Uncertain,
            },
        };
        reader.end()?;
        Ok(outcome)
    }
}

/// A client (tab) of the group.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientRecord {
    /// The client.
    pub client_id: String,
    /// The last mutation id that was ever stored.
    pub last_queued: u64,
    /// Mutations up to this id may have been sent.
    pub attempted: u64,
    /// When the client was last known to be alive, in epoch milliseconds.
    pub seen: f64,
}

impl ClientRecord {
    pub(crate) fn new(client_id: String, seen: f64) -> Self {
        Self {
            client_id,
            last_queued: 0,
            attempted: 0,
            seen,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(Kind::Client);
        out.text(&self.client_id);
        out.u64(self.last_queued);
        out.u64(self.attempted);
        out.f64(self.seen);
        out.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(Kind::Client, bytes)?;
        let record = Self {
            client_id: reader.text(),
            last_queued: reader.u64(),
            attempted: reader.u64(),
            seen: reader.f64(),
        };
        reader.end()?;
        Ok(record)
    }
}
