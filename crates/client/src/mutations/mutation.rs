//! One pending mutation: what is known of it, what it is sent as, and how it ends if the server says nothing of it.

use super::MutationKey;
use crate::effect::{CallId, ErrorSource, MutationError, MutationInfo, Outcome};
use crate::persistence::stored_forms::{ending_of, ops_json, outcome_of, read_ops};
use landfall_protocol::{CrudOp, Json};
use landfall_store::Frozen;
use landfall_zql::json;

/// How far a mutation's way into storage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Not written yet, or being written.
    Pending,
    /// Committed, with its place in the group's order.
    At(u64),
    /// Storage refused it: it lives in memory only.
    Refused,
    /// Storage failed while it was written, and may hold it all the same.
    Unknown,
}

/// One pending mutation.
#[derive(Clone, Debug)]
pub(crate) struct Mutation {
    pub(crate) client_id: String,
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) args_json: String,
    pub(crate) created_ms: f64,
    /// The call in this page that made it.
    pub(crate) call: Option<CallId>,
    /// The writes of its latest successful run, as the server understands them.
    pub(crate) ops: Vec<CrudOp>,
    /// It has been sent, or may have been: its ops never change again.
    pub(crate) attempted: bool,
    /// This tab has sent it.
    pub(crate) pushed: bool,
    /// Another tab has sent it before this one was about to, and storage knows how it ended.
    pub(crate) sent_by_other: bool,
    /// Storage has or may have it, and could not be told as which writes this tab sends it: another tab may send something
    /// else.
    pub(crate) unmarked: bool,
    pub(crate) stored: Stored,
    /// Why its last replay failed, if it did.
    pub(crate) replay_error: Option<MutationError>,
    /// Why nobody knows what it was called with: it is neither replayed nor sent as a call.
    pub(crate) unusable: Option<MutationError>,
    /// Storage holds writes of it that cannot be read, and no replay has made them anew.
    pub(crate) unreadable: bool,
    /// Storage holds no writes of it, since it was made for a server that takes calls or its last replay failed, and no
    /// replay here has made them.
    pub(crate) unwritten: bool,
    /// The outcome if the server takes it and says nothing more, where that is not [`Outcome::Confirmed`]: it is sent
    /// without its writes, or without what it calls.
    pub(crate) sent_outcome: Option<Outcome>,
}

/// Arguments from outside; in place of those that cannot be read none, and why.
pub(crate) fn read_arguments(args_json: String) -> (String, Option<MutationError>) {
    match json::read::<Vec<Json>>(&args_json) {
        Ok(_) => (args_json, None),
        Err(problem) => {
            let error = MutationError {
                source: ErrorSource::Zero,
                message: format!("its stored arguments cannot be read: {problem}"),
                details: None,
            };
            ("[]".to_owned(), Some(error))
        }
    }
}

fn never_written() -> MutationError {
    MutationError {
        source: ErrorSource::Zero,
        message: "the server takes writes only, and those of this call are not known".into(),
        details: None,
    }
}

impl Mutation {
    pub(crate) fn key(&self) -> MutationKey {
        (self.client_id.clone(), self.id)
    }

    /// It is about to be sent: from here on it does not change.
    pub(crate) fn freeze(&mut self, as_writes: bool) {
        if !as_writes {
            self.freeze_call();
        } else if self.ops.is_empty() && self.sent_outcome.is_none() {
            self.sent_outcome = match self.attempted {
                // The mutator refused, or the writes could neither be read nor be made anew.
                false => self
                    .replay_error
                    .clone()
                    .or(self.unwritten.then(never_written))
                    .map(|error| Outcome::Failed { error }),
                // An earlier sending may have brought them.
                true => (self.unreadable || self.unwritten).then_some(Outcome::Uncertain),
            };
        }
        self.attempted = true;
    }

    fn freeze_call(&mut self) {
        match &self.unusable {
            Some(error) if self.sent_outcome.is_none() => {
                self.sent_outcome = Some(match self.attempted {
                    // It may have been sent by one who could read them.
                    true => Outcome::Uncertain,
                    false => Outcome::Failed {
                        error: error.clone(),
                    },
                });
            }
            Some(_) => {}
            // It may have gone out without writes to a server that took writes; this one takes calls.
            None => {
                if self.sent_outcome.is_some() {
                    self.sent_outcome = Some(Outcome::Uncertain);
                }
            }
        }
    }

    /// What storage is told before it is sent as writes.
    pub(crate) fn frozen(&self) -> Frozen {
        let fails = matches!(self.sent_outcome, Some(Outcome::Failed { .. }));
        Frozen {
            client_id: self.client_id.clone(),
            id: self.id,
            // What cannot be read stays as it is stored: read again, it says so again. But who is told that it fails must
            // not find writes to send, which its maker may have stored before it was refused.
            ops: (fails || !self.unreadable && !self.unwritten).then(|| ops_json(&self.ops)),
            end: self.sent_outcome.as_ref().and_then(ending_of),
            sent: self.pushed,
        }
    }

    /// Another tab may have sent it already, as this.
    pub(super) fn adopt(&mut self, frozen: Frozen) {
        let (ops, problem) = read_ops(frozen.ops.as_deref());
        self.ops = ops;
        self.unreadable = problem.is_some();
        self.unwritten = frozen.ops.is_none();
        let known = frozen.end.map(outcome_of);
        let is_unknown = self.unreadable || self.unwritten;
        self.sent_outcome = known.or(is_unknown.then_some(Outcome::Uncertain));
    }

    /// Another tab has sent it already, as what it was then.
    pub(super) fn leave_to_others(&mut self) {
        self.sent_by_other = true;
        self.unreadable = false;
        self.unwritten = false;
        self.sent_outcome = None;
    }

    /// It was about to be sent as a failure. If the server has it, another tab has sent it: as what, storage knows.
    pub(crate) fn is_failing_unsent(&self) -> bool {
        !self.pushed && matches!(self.sent_outcome, Some(Outcome::Failed { .. }))
    }

    /// How it ended if the server has it and said this of it, or nothing more.
    pub(super) fn outcome(&self, said: Option<&Outcome>) -> Outcome {
        match (&self.sent_outcome, said) {
            _ if self.is_failing_unsent() => said.cloned().unwrap_or(Outcome::Confirmed),
            // What was asked for was never sent: what the server says is of something else.
            (Some(known @ Outcome::Failed { .. }), _) => known.clone(),
            (_, Some(said)) => said.clone(),
            (known, None) => known.clone().unwrap_or(Outcome::Confirmed),
        }
    }

    /// The writes that others may send for it. None are known of one that was refused when it ran last: whoever sends it
    /// runs it again, or tells that it failed.
    pub(crate) fn known_ops(&self) -> Option<&[CrudOp]> {
        let fails = match &self.sent_outcome {
            Some(end) => matches!(end, Outcome::Failed { .. }),
            None => !self.attempted && self.replay_error.is_some(),
        };
        let is_refused = fails && self.ops.is_empty();
        (!is_refused && !self.unwritten).then_some(&self.ops)
    }

    pub(super) fn order(&self) -> u64 {
        match self.stored {
            Stored::At(sequence) => sequence,
            Stored::Pending | Stored::Refused | Stored::Unknown => u64::MAX,
        }
    }

    pub(crate) fn info(&self) -> MutationInfo {
        MutationInfo {
            client_id: self.client_id.clone(),
            mutation_id: self.id,
            name: self.name.clone(),
            args_json: self.args_json.clone(),
            outcome: None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use landfall_store::Ending;

    pub(crate) fn mutation(client: &str, id: u64, stored: Stored) -> Mutation {
        Mutation {
            client_id: client.into(),
            id,
            name: format!("m{id}"),
            args_json: "[null]".into(),
            created_ms: 0.0,
            call: None,
            ops: Vec::new(),
            attempted: false,
            pushed: false,
            sent_by_other: false,
            unmarked: false,
            stored,
            replay_error: None,
            unusable: None,
            unreadable: false,
            unwritten: false,
            sent_outcome: None,
        }
    }

    fn refused() -> MutationError {
        MutationError {
            source: ErrorSource::App,
            message: "no".into(),
            details: None,
        }
    }

    #[test]
    fn what_this_tab_has_not_sent_did_not_end_as_it_would_have_sent_it() {
        let mut own = Mutation {
            call: Some(CallId(1)),
            replay_error: Some(refused()),
            ..mutation("a", 1, Stored::At(1))
        };
        own.freeze(true);
        assert_eq!(own.outcome(None), Outcome::Confirmed);
        own.pushed = true;
        assert!(matches!(own.outcome(None), Outcome::Failed { .. }));
    }

    /// Found as seed 83002858: another tab sent it empty, and called it a success.
    #[test]
    fn of_what_is_about_to_be_sent_as_a_failure_others_hear_no_writes() {
        let mut own = Mutation {
            replay_error: Some(refused()),
            ..mutation("a", 1, Stored::Pending)
        };
        assert_eq!(own.known_ops(), None);
        own.freeze(true);
        assert_eq!(own.known_ops(), None);
    }

    #[test]
    fn what_fails_is_frozen_without_writes_whatever_its_maker_has_stored() {
        let mut heard = Mutation {
            unwritten: true,
            replay_error: Some(refused()),
            ..mutation("a", 1, Stored::At(1))
        };
        heard.freeze(true);
        let frozen = heard.frozen();
        assert_eq!(frozen.ops.as_deref(), Some("[]"));
        assert!(matches!(frozen.end, Some(Ending::Failed { .. })));
    }
}
