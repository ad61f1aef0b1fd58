//! What follows from the answers of storage.

use crate::client::Client;
use crate::effect::LogLevel;
use crate::event::StoreRequestId;
use crate::persistence::Purpose;
use landfall_store::{BackendFailure, StoreFailure, StoreReply};

impl Client {
    /// A request was answered.
    pub(crate) fn on_stored(
        &mut self,
        now: f64,
        request: StoreRequestId,
        result: Result<StoreReply, StoreFailure>,
    ) {
        let Some(purpose) = self.persistence.open.remove(&request) else {
            if self.persistence.disabled {
                // Asked for before storage was given up.
                return;
            }
            self.log(
                LogLevel::Warn,
                "storage answered a request that was not made",
            );
            return;
        };
        let other_group = match (&purpose, &result) {
            (Purpose::Open | Purpose::Rejoin, _) => None,
            (_, Err(StoreFailure::OtherGroup { group_id })) if self.loaded => {
                Some(group_id.clone())
            }
            _ => None,
        };
        match (&other_group, &result) {
            (Some(_), _) => self.log(LogLevel::Info, "another tab has begun a new group"),
            (None, Err(_)) if matches!(purpose, Purpose::ReadKept) => {}
            // Whichever it is, it is about to be read.
            (None, Err(StoreFailure::OtherGroup { .. })) if !self.loaded => {}
            (None, Err(failure)) => self.on_store_failure(now, &purpose, failure),
            // What the mark of all has told need not be told again.
            (None, Ok(_)) => {
                self.persistence.heals |= !matches!(purpose, Purpose::Mark { all: true });
                if !matches!(purpose, Purpose::ReadKept) {
                    let doubted = &mut self.persistence.doubted_from;
                    doubted.take_if(|from| *from <= request);
                }
            }
        }
        match purpose {
            Purpose::StartGroup if other_group.is_some() => self.give_up_restart(),
            purpose => self.on_answer(now, purpose, result),
        }
        if let Some(group) = other_group {
            self.rejoin(now, group);
        }
    }

    /// Storage does not answer: all that it was asked counts as failed, and it is asked nothing more.
    pub(crate) fn give_up_storage(&mut self, now: f64, why: &str) {
        self.persistence.disabled = true;
        for (_, purpose) in std::mem::take(&mut self.persistence.open) {
            // Whether any of it is carried out nobody knows.
            let failure = StoreFailure::Backend {
                kind: BackendFailure::Other,
                message: why.to_owned(),
            };
            self.on_answer(now, purpose, Err(failure));
        }
    }

    fn on_answer(&mut self, now: f64, purpose: Purpose, result: Result<StoreReply, StoreFailure>) {
        match purpose {
            Purpose::Rejoin => self.on_rejoined(now, result),
            Purpose::ReadKept => {
                // Storage answers.
                self.look_at_opening_later(now);
                self.on_kept_read(result);
            }
            Purpose::Open => self.on_opened(now, result),
            Purpose::Repair => self.on_repaired(now, result),
            Purpose::StoreAnew => self.on_stored_anew(result),
            Purpose::Poke { acks, outcomes } => self.on_poke_stored(now, acks, outcomes, result),
            Purpose::Queue(keys) => self.on_queue_stored(now, keys, result),
            Purpose::Mark { all } => self.on_marked(now, all, result),
            Purpose::StartGroup => self.on_group_answer(now, result),
            Purpose::ReadQueue(dying) => self.on_queue_read(now, dying, result),
            Purpose::FollowLog => self.on_log_read(result),
            Purpose::FollowAll => self.on_all_read(result),
            Purpose::Outcomes(ends) => self.on_outcomes_read(now, ends, result),
            Purpose::LoadForFold => self.on_loaded_for_fold(result),
            Purpose::Fold => self.persistence.is_folding = false,
            Purpose::Note(what) => {
                if result.is_err() {
                    self.log(LogLevel::Warn, &format!("not stored: {what}"));
                }
            }
        }
    }
}
