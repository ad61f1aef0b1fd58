//! What views show is kept in storage when it has not changed for a moment, and when the page is left. A page that starts
//! shows it before it has read the rows, if nothing has happened since.

use crate::client::Client;
use crate::options::Role;
use crate::persistence::Purpose;
use landfall_store::{KeepResults, StoreFailure, StoreOp, StoreReply};

/// How long after a change results are kept: what changes all the time is not kept at each change.
const KEEP_AFTER_MS: f64 = 2_000.0;

impl Client {
    /// Asks for what the last session kept. The rows are asked for behind it.
    pub(crate) fn ask_for_kept(&mut self) {
        if self.role != Role::Draining {
            let schema = self.schema.clone();
            // Of whichever group is there.
            self.ask_store_as(
                String::new(),
                Purpose::ReadKept,
                StoreOp::ReadKept { schema },
            );
        }
    }

    /// A failure is told when the rows are read.
    pub(crate) fn on_kept_read(&mut self, result: Result<StoreReply, StoreFailure>) {
        if let Ok(StoreReply::Kept(results)) = result {
            self.visible.offer_kept(results);
        }
    }

    /// What views show has changed, or stands at another cookie.
    pub(crate) fn keep_results_later(&mut self, now: f64) {
        if self.role != Role::Draining && !self.persistence.disabled {
            self.persistence.keep_at.get_or_insert(now + KEEP_AFTER_MS);
        }
    }

    /// The page may be gone in a moment.
    pub(crate) fn keep_results_soon(&mut self, now: f64) {
        if let Some(at) = &mut self.persistence.keep_at {
            *at = now;
        }
    }

    /// Keeps results when it is time, if they are those of the rows at the cookie: what comes next is kept otherwise.
    pub(crate) fn keep_results(&mut self, now: f64) {
        if self.persistence.keep_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        if !self.visible.is_current() {
            return self.keep_results_later(now);
        }
        let is_of_rows = self.rebase.shows_server_rows()
            && !self.stale_rows
            && self.persistence.restart.is_none()
            && !self.persistence.faults.is_full(now);
        if let Some(cookie) = self.cookie.clone()
            && is_of_rows
        {
            let results = self.visible.results_to_keep();
            if !results.is_empty() {
                let keep = KeepResults { cookie, results };
                self.store_note("results for the next start", StoreOp::KeepResults(keep));
            }
        }
    }
}
