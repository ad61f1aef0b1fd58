//! Effects that TypeScript carries out: the frequent ones as numbers, which it reads where they lie in memory, the others
//! as JSON text.
//!
//! A *letter* is a list of words: how many follow; what else there is (1 for texts, 2 for something that goes out when
//! the page has been shown the letter); then one effect after another, each a code with its operands.
//!
//! | code | effect | operands |
//! |---|---|---|
//! | 0 | a flush (`crates/client/FLUSH.md`) | address and length of: the words of the row batch, its text in bytes, operations, releases |
//! | 1 | run the mutator of a call | transaction, call, 1 if it is a replay, mutation id: low and high word |
//! | 2 | the local run of a call succeeded | call |
//! | 3 | the mutation of a call is stored | call |
//! | 4 | the mutation of a call is confirmed | call |
//! | 5 | the list of mutations is another | |
//! | 6 | the next of the texts | |
//!
//! A letter, and all that it names, stays where it is until the next one is taken.
//!
//! `js/src/core/effects.ts` is written from [`Outgoing`] by the test `the_types_of_typescript_are_current`.

use landfall_client::json::to_text;
use landfall_client::{
    ConnectionState, Effect, Flush, LogLevel, MutationError, Outcome, RunReason,
    StorageProblemKind, UpdateReason,
};
use serde::Serialize;

/// One effect for TypeScript.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "HostEffect", optional_fields))]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub(crate) enum Outgoing {
    /// A replay of what another page or session has called.
    RunMutator {
        tx: u32,
        #[cfg_attr(test, ts(type = "'optimistic' | 'rebase'"))]
        reason: RunReason,
        #[serde(rename = "clientID")]
        client_id: String,
        #[cfg_attr(test, ts(type = "number"))]
        #[serde(rename = "mutationID")]
        mutation_id: u64,
        name: String,
        #[serde(rename = "argsJSON")]
        args_json: String,
    },
    /// The local run of a call has failed.
    MutationLocal {
        call: u32,
        #[cfg_attr(test, ts(type = "MutationError"))]
        error: MutationError,
    },
    /// The mutation could not be stored.
    MutationDurable { call: u32, error: String },
    MutationOutcome {
        #[serde(skip_serializing_if = "Option::is_none")]
        call: Option<u32>,
        #[cfg_attr(test, ts(type = "MutationOutcome"))]
        outcome: Outcome,
    },
    QueryFailed {
        views: Vec<u32>,
        kind: String,
        name: String,
        message: String,
        #[serde(rename = "detailsJSON", skip_serializing_if = "Option::is_none")]
        details_json: Option<String>,
    },
    Connection {
        #[cfg_attr(test, ts(type = "ConnectionState"))]
        state: ConnectionState,
    },
    Ready {
        #[serde(rename = "clientGroupID")]
        client_group_id: String,
    },
    UpdateNeeded {
        #[cfg_attr(
            test,
            ts(type = "'NewClientGroup' | 'VersionNotSupported' | 'SchemaVersionNotSupported'")
        )]
        reason: UpdateReason,
        message: String,
    },
    ClientStateNotFound {
        #[serde(rename = "clientID")]
        client_id: String,
        #[serde(rename = "clientGroupID")]
        client_group_id: String,
    },
    StorageProblem {
        #[cfg_attr(
            test,
            ts(type = "'quota' | 'unavailable' | 'closed' | 'damaged' | 'evicted' | 'other'")
        )]
        kind: StorageProblemKind,
        message: String,
    },
    /// An answer to a question of the inspector.
    Inspected {
        op: String,
        id: String,
        #[serde(rename = "valueJSON")]
        value_json: String,
    },
    Log {
        #[cfg_attr(test, ts(type = "'error' | 'warn' | 'info' | 'debug'"))]
        level: LogLevel,
        message: String,
    },
    /// A draining client has nothing left to send.
    Drained,
    /// The rows of the stores of earlier schemas are not needed any more.
    EarlierUnneeded,
    /// The client is closed and has let go of everything.
    Closed,
}

/// Codes of the effects in a letter.
mod code {
    pub(super) const FLUSH: u32 = 0;
    pub(super) const RUN: u32 = 1;
    pub(super) const LOCAL: u32 = 2;
    pub(super) const DURABLE: u32 = 3;
    pub(super) const CONFIRMED: u32 = 4;
    pub(super) const CHANGED: u32 = 5;
    pub(super) const TEXT: u32 = 6;
}

/// Where the number of words stands, and what else there is.
const HEADER: [u32; 2] = [0; 2];

/// To make objects of so many words of rows takes the page some milliseconds.
const MANY_WORDS: usize = 48 << 10;

/// What waits for TypeScript, and what it is reading.
#[derive(Default)]
pub(crate) struct Outbox {
    waiting: Letter,
    taken: Letter,
    answer: Letter,
}

#[derive(Default)]
struct Letter {
    words: Vec<u32>,
    texts: Vec<Outgoing>,
    // Their addresses are among the words.
    flushes: Vec<Flush>,
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.words.is_empty()
    }

    /// Whether enough waits for a task of the page.
    pub(crate) fn is_much(&self) -> bool {
        let rows = self
            .waiting
            .flushes
            .iter()
            .map(|flush| flush.rows.words.len());
        rows.sum::<usize>() > MANY_WORDS
    }

    /// An effect of the client that is JavaScript's to carry out.
    pub(crate) fn push_effect(&mut self, effect: Effect) {
        match effect {
            Effect::RunMutator {
                tx,
                call: Some(call),
                reason,
                mutation_id,
                ..
            } => {
                let replay = u32::from(reason == RunReason::Rebase);
                let (low, high) = (mutation_id as u32, (mutation_id >> 32) as u32);
                self.write(&[code::RUN, tx.0, call.0, replay, low, high]);
            }
            Effect::MutationLocal {
                call,
                result: Ok(_),
            } => self.write(&[code::LOCAL, call.0]),
            Effect::MutationDurable {
                call,
                result: Ok(()),
            } => self.write(&[code::DURABLE, call.0]),
            Effect::MutationOutcome {
                call: Some(call),
                outcome: Outcome::Confirmed,
                ..
            } => self.write(&[code::CONFIRMED, call.0]),
            Effect::MutationsChanged => self.write(&[code::CHANGED]),
            other => match outgoing(other) {
                Some(effect) => self.push(effect),
                None => debug_assert!(false, "the host carries out this effect itself"),
            },
        }
    }

    pub(crate) fn push(&mut self, effect: Outgoing) {
        self.write(&[code::TEXT]);
        self.waiting.texts.push(effect);
    }

    pub(crate) fn push_flush(&mut self, flush: Flush) {
        if !flush.is_empty() {
            self.write(&[code::FLUSH]);
            self.write(&places(&flush));
            self.waiting.flushes.push(flush);
        }
    }

    fn write(&mut self, words: &[u32]) {
        if self.waiting.words.is_empty() {
            self.waiting.words.extend(HEADER);
        }
        self.waiting.words.extend_from_slice(words);
    }

    /// The address of a letter with all that waits, or 0.
    pub(crate) fn take(&mut self, has_outward: bool) -> u32 {
        self.taken = std::mem::take(&mut self.waiting);
        let has_texts = !self.taken.texts.is_empty();
        match self.taken.words.as_mut_slice() {
            [] => 0,
            words => {
                words[0] = words.len() as u32 - 1;
                words[1] = u32::from(has_texts) | u32::from(has_outward) << 1;
                address(words)
            }
        }
    }

    /// The texts of the letter that was taken last, as a list in JSON.
    pub(crate) fn texts(&mut self) -> String {
        to_text(&std::mem::take(&mut self.taken.texts))
    }

    /// The address of the operands of a flush that is the answer to a question; it stays until the next answer.
    pub(crate) fn answer(&mut self, flush: Flush) -> u32 {
        self.answer.words = places(&flush).into();
        self.answer.flushes = vec![flush];
        address(&self.answer.words)
    }
}

fn places(flush: &Flush) -> [u32; 8] {
    let Flush {
        rows,
        ops,
        releases,
    } = flush;
    [
        address(&rows.words),
        rows.words.len() as u32,
        address(&rows.text),
        rows.text.len() as u32,
        address(ops),
        ops.len() as u32,
        address(releases),
        releases.len() as u32,
    ]
}

// Addresses of WebAssembly have 32 bits.
fn address<T>(slice: &[T]) -> u32 {
    slice.as_ptr().addr() as u32
}

fn outgoing(effect: Effect) -> Option<Outgoing> {
    Some(match effect {
        Effect::RunMutator {
            tx,
            reason,
            client_id,
            mutation_id,
            name,
            args_json,
            ..
        } => Outgoing::RunMutator {
            args_json,
            tx: tx.0,
            reason,
            client_id,
            mutation_id,
            name,
        },
        Effect::MutationLocal {
            call,
            result: Err(error),
        } => Outgoing::MutationLocal {
            call: call.0,
            error,
        },
        Effect::MutationDurable {
            call,
            result: Err(error),
        } => Outgoing::MutationDurable {
            call: call.0,
            error,
        },
        Effect::MutationOutcome { call, outcome, .. } => Outgoing::MutationOutcome {
            call: call.map(|call| call.0),
            outcome,
        },
        Effect::QueryFailed {
            views,
            kind,
            name,
            message,
            details_json,
        } => Outgoing::QueryFailed {
            views: views.iter().map(|view| view.0).collect(),
            kind,
            name,
            message,
            details_json,
        },
        Effect::Connection(state) => Outgoing::Connection { state },
        Effect::Ready {
            client_group_id, ..
        } => Outgoing::Ready { client_group_id },
        Effect::UpdateNeeded { reason, message } => Outgoing::UpdateNeeded { reason, message },
        Effect::ClientStateNotFound {
            client_id,
            client_group_id,
        } => Outgoing::ClientStateNotFound {
            client_id,
            client_group_id,
        },
        Effect::StorageProblem { kind, message } => Outgoing::StorageProblem { kind, message },
        Effect::Drained => Outgoing::Drained,
        Effect::EarlierUnneeded => Outgoing::EarlierUnneeded,
        Effect::Inspected { op, id, value_json } => Outgoing::Inspected { op, id, value_json },
        Effect::Log { level, message } => Outgoing::Log { level, message },
        Effect::MutationLocal { .. }
        | Effect::MutationDurable { .. }
        | Effect::MutationsChanged
        | Effect::Store { .. }
        | Effect::OpenSocket { .. }
        | Effect::SendText { .. }
        | Effect::CloseSocket { .. }
        | Effect::WakeAt { .. }
        | Effect::GoOut
        | Effect::MoreWork
        | Effect::Flush(_)
        | Effect::Announce { .. }
        | Effect::RequestLock { .. }
        | Effect::ReleaseLock { .. }
        | Effect::Closed => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ts_rs::TS;

    const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../js/src/core/effects.ts");

    // Run with LANDFALL_WRITE_TYPES=1 to write them.
    #[test]
    fn the_types_of_typescript_are_current() {
        let types = format!(
            "// Written by the test `the_types_of_typescript_are_current` in crates/web; do not edit.\n\
             import type {{ConnectionState}} from '../connection.js';\n\
             import type {{MutationError, MutationOutcome}} from './mutation-outcome.js';\n\n\
             /** What the core asks of TypeScript. */\n\
             export {}\n",
            Outgoing::decl().replace(" | {", "\n  | {")
        );
        if std::env::var_os("LANDFALL_WRITE_TYPES").is_some() {
            std::fs::write(PATH, &types).unwrap();
        }
        assert_eq!(std::fs::read_to_string(PATH).unwrap(), types);
    }
}
