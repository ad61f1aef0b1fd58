//! Effects that TypeScript carries out: as JSON text, and flushes as typed arrays beside it.
//!
//! `js/src/core/effects.ts` is written from [`Outgoing`] by the test `the_types_of_typescript_are_current`.

use js_sys::{Array, Uint8Array, Uint32Array};
use landfall_client::{
    ConnectionState, Effect, Flush, LogLevel, MutationError, Outcome, RunReason,
    StorageProblemKind, UpdateReason,
};
use serde::Serialize;
use wasm_bindgen::prelude::*;

/// One effect for TypeScript.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(rename = "HostEffect", optional_fields))]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub(crate) enum Outgoing {
    /// The next of the flushes that come with the batch.
    Flush,
    RunMutator {
        tx: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        call: Option<u32>,
        #[cfg_attr(test, ts(type = "'optimistic' | 'rebase'"))]
        reason: RunReason,
        #[serde(rename = "clientID")]
        client_id: String,
        #[cfg_attr(test, ts(type = "number"))]
        #[serde(rename = "mutationID")]
        mutation_id: u64,
        name: String,
        // Left out for a call of this page, which has its arguments.
        #[serde(rename = "argsJSON", skip_serializing_if = "Option::is_none")]
        args_json: Option<String>,
    },
    /// The local run of a call has ended; without an error it succeeded.
    MutationLocal {
        call: u32,
        #[cfg_attr(test, ts(optional, type = "MutationError"))]
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<MutationError>,
    },
    /// The mutation is stored, or could not be.
    MutationDurable {
        call: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    MutationOutcome {
        #[serde(skip_serializing_if = "Option::is_none")]
        call: Option<u32>,
        #[cfg_attr(test, ts(type = "MutationOutcome"))]
        outcome: Outcome,
    },
    /// The list of pending, failed and uncertain mutations is another.
    MutationsChanged,
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

/// What waits for TypeScript.
#[derive(Default)]
pub(crate) struct Outbox {
    effects: Vec<Outgoing>,
    flushes: Vec<Flush>,
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.effects.is_empty()
    }

    /// An effect of the client that is JavaScript's to carry out.
    pub(crate) fn push_effect(&mut self, effect: Effect) {
        match outgoing(effect) {
            Some(effect) => self.push(effect),
            None => debug_assert!(false, "the host carries out this effect itself"),
        }
    }

    pub(crate) fn push(&mut self, effect: Outgoing) {
        self.effects.push(effect);
    }

    pub(crate) fn push_flush(&mut self, flush: Flush) {
        if !flush.is_empty() {
            self.effects.push(Outgoing::Flush);
            self.flushes.push(flush);
        }
    }

    /// Empties the box: `[json, rows, operations, releases, rows, …]` with three arrays for each flush,
    /// or `undefined` when there is nothing. Without `json` there is one flush and no other effect.
    pub(crate) fn take(&mut self) -> JsValue {
        if self.is_empty() {
            return JsValue::UNDEFINED;
        }
        let effects = std::mem::take(&mut self.effects);
        let json = match effects.as_slice() {
            [Outgoing::Flush] => JsValue::UNDEFINED,
            _ => serde_json::to_string(&effects)
                .expect("effects are plain data with text keys")
                .into(),
        };
        let taken = Array::of1(&json);
        for flush in std::mem::take(&mut self.flushes) {
            for part in flush_parts(&flush).iter() {
                taken.push(&part);
            }
        }
        taken.into()
    }
}

fn outgoing(effect: Effect) -> Option<Outgoing> {
    Some(match effect {
        Effect::RunMutator {
            tx,
            call,
            reason,
            client_id,
            mutation_id,
            name,
            args_json,
        } => Outgoing::RunMutator {
            args_json: call.is_none().then_some(args_json),
            tx: tx.0,
            call: call.map(|call| call.0),
            reason,
            client_id,
            mutation_id,
            name,
        },
        Effect::MutationLocal { call, result } => Outgoing::MutationLocal {
            call: call.0,
            error: result.err(),
        },
        Effect::MutationDurable { call, result } => Outgoing::MutationDurable {
            call: call.0,
            error: result.err(),
        },
        Effect::MutationOutcome { call, outcome, .. } => Outgoing::MutationOutcome {
            call: call.map(|call| call.0),
            outcome,
        },
        Effect::MutationsChanged => Outgoing::MutationsChanged,
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
        Effect::Log { level, message } => Outgoing::Log { level, message },
        Effect::Store { .. }
        | Effect::OpenSocket { .. }
        | Effect::SendText { .. }
        | Effect::CloseSocket { .. }
        | Effect::WakeAt { .. }
        | Effect::Flush(_)
        | Effect::Announce { .. }
        | Effect::RequestLock { .. }
        | Effect::ReleaseLock { .. }
        | Effect::Closed => return None,
    })
}

/// `[rows, operations, releases]`, copied out of the module's memory.
pub(crate) fn flush_parts(flush: &Flush) -> Array {
    Array::of3(
        &Uint8Array::from(flush.rows.as_slice()),
        &Uint32Array::from(flush.ops.as_slice()),
        &Uint32Array::from(flush.releases.as_slice()),
    )
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
