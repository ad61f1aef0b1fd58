//! What follows from each call and event: everything that has become possible is done, rounds, runs, sends and writes, and
//! what changed is handed over in one flush.

use crate::client::Client;
use crate::connection::Phase;
use crate::connection::pokes::Poke;
use crate::effect::{CallId, Effect, Outcome};
use crate::mutations::{Mutation, MutationKey, Settled};
use crate::options::Role;
use crate::rebase::{Run, Step};

impl Client {
    /// Does everything that has become possible, then hands over what changed.
    pub(crate) fn settle_down(&mut self, now: f64) {
        self.goes_out = false;
        if !self.closed {
            self.change(now);
            if self.loaded {
                self.let_out(now);
            }
            self.hand_over(now);
        }
    }

    /// The part of it that the page is shown. The other part is asked for: what many calls in one task leave to be stored
    /// and sent goes out together.
    pub(crate) fn show_change(&mut self, now: f64) {
        if !self.closed {
            self.change(now);
            self.hand_over(now);
        }
    }

    /// What changes rows and views.
    fn change(&mut self, now: f64) {
        self.on_time(now);
        self.open_on(now);
        self.read_on(now);
        if self.loaded {
            self.replace_on();
            self.run_lanes(now);
            // Nothing is left to do if there is nothing to fill.
            let _ = self.visible.work(&self.slices.steps);
            self.show_when_ready(now);
        }
    }

    /// What storage, the server and other tabs are told.
    fn let_out(&mut self, now: f64) {
        self.mark_again(now);
        self.send_due(now);
        self.wait_for_mark(now);
        self.look_for_silence(now);
        self.let_the_dead_go();
        self.look_after_others(now);
        self.write_queue(now);
        self.go_on_draining(now);
        self.keep_results(now);
    }

    fn hand_over(&mut self, now: f64) {
        self.flush();
        if std::mem::take(&mut self.mutations_changed) {
            self.effects.push(Effect::MutationsChanged);
        }
        self.set_timer(now);
        self.ask_for_more();
    }

    fn show_when_ready(&mut self, now: f64) {
        if let Some(limit) = self.ready_by {
            let replayed = self.rebase.is_idle() && !self.rebase.round_is_asked_for();
            if !replayed && now < limit {
                return;
            }
            self.ready_by = None;
            self.filling_first = true;
            self.visible.show();
            let _ = self.visible.work(&self.slices.steps);
        }
        if !self.filling_first || !self.visible.is_current() {
            return;
        }
        self.filling_first = false;
        self.flush();
        self.effects.push(Effect::Ready {
            client_id: self.client_id.clone(),
            client_group_id: self.group_id.clone().unwrap_or_default(),
            mutations: self.mutations.infos(),
        });
    }

    fn on_time(&mut self, now: f64) {
        if self.has_unread() {
            // Whether the server is silent shows when what it has said is read.
            self.link.connection.heard(now, false);
        }
        if self.link.connection.phase() != Phase::Closed {
            let actions = self.link.connection.on_time(now, &mut self.random);
            self.act(now, actions);
        }
        let mut steps = Vec::new();
        self.rebase
            .on_time(now, &mut self.visible, &mut self.mutations, &mut steps);
        self.take_steps(now, steps);
    }

    /// Rounds and runs, until both lanes wait for something outside.
    fn run_lanes(&mut self, now: f64) {
        loop {
            if self.rebase.is_idle() {
                self.begin_round(now);
            }
            let mut steps = Vec::new();
            self.rebase.advance(
                now,
                &mut self.visible,
                &mut self.mutations,
                &self.slices.steps,
                &mut steps,
            );
            if steps.is_empty() {
                return;
            }
            self.take_steps(now, steps);
        }
    }

    fn begin_round(&mut self, now: f64) {
        if self.pokes.is_waiting() {
            match self
                .pokes
                .take_merged(self.cookie.as_deref(), self.mutations.confirmed())
            {
                Ok(Some(poke)) if self.role == Role::Draining => self.on_swapped(now, Some(poke)),
                Ok(Some(mut poke)) => {
                    self.replace_stale_rows(&mut poke);
                    self.rebase
                        .begin_round(now, Some(poke), self.mutations.pending().len());
                    return;
                }
                Ok(None) => {}
                Err(error) => self.on_poke_error(now, &error),
            }
        }
        if self.rebase.round_is_due(now) && self.role != Role::Draining {
            self.rebase
                .begin_round(now, None, self.mutations.pending().len());
        }
    }

    /// The first poke of a new group that holds rows or answers voids the rows of the abandoned one; the first of all
    /// if no answers are waited for.
    fn replace_stale_rows(&self, poke: &mut Poke) {
        let answers = !poke.rows.is_empty() || !poke.got.is_empty();
        if self.stale_rows && (answers || self.queries.is_empty()) {
            poke.cleared = true;
        }
    }

    pub(crate) fn take_steps(&mut self, now: f64, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Run(run) => self.ask_for_run(run),
                Step::Committed { call, key } => self.on_committed(call, &key),
                Step::Refused { call, error } => {
                    self.effects.push(Effect::MutationLocal {
                        call,
                        result: Err(error),
                    });
                }
                Step::Swapped { poke } => self.on_swapped(now, poke),
            }
        }
    }

    fn ask_for_run(&mut self, run: Run) {
        self.effects.push(Effect::RunMutator {
            tx: run.tx,
            call: run.call,
            reason: run.reason,
            client_id: run.client_id,
            mutation_id: run.mutation_id,
            name: run.name,
            args_json: run.args_json,
        });
    }

    fn on_committed(&mut self, call: CallId, key: &MutationKey) {
        self.mutations_changed = true;
        self.flush();
        self.effects.push(Effect::MutationLocal {
            call,
            result: Ok(key.1),
        });
        self.persistence.enqueue(key.clone());
    }

    /// The visible rows stand on a new server state, or were replayed.
    fn on_swapped(&mut self, now: f64, poke: Option<Poke>) {
        let Some(mut poke) = poke else { return };
        // Until now they were visible.
        self.stale_rows &= !poke.cleared;
        let settled = self.mutations.settled_by(&poke.confirmed, &poke.results);
        self.mutations.apply(&poke.confirmed, &settled);
        self.queries
            .apply_desired(&poke.desired, now + self.limits.query_throttle_ms);
        for (view, status) in self.queries.apply_got(&poke.got, poke.stored.is_none()) {
            self.visible.set_status(view, status);
        }
        if poke.moves() {
            self.cookie = Some(poke.cookie.clone());
            self.keep_results_later(now);
        }
        self.flush();
        self.tell_outcomes(&settled, &poke);
        if self.mutations.is_empty() {
            self.queries
                .release_removals(now + self.limits.query_throttle_ms);
        }
        match poke.stored {
            Some(next) => self.persistence.log_next = next,
            None if poke.moves() => self.store_poke(&mut poke, &settled),
            None => {}
        }
        self.visible.leaving.take_changes(poke.rows);
        // What was announced while this round ran.
        self.follow_on();
    }

    /// Whether storage may know better that a mutation was refused: another tab has seen the failure and acknowledged it,
    /// for the mutation had become its own, or it took this tab for dead; so the server has told this one nothing. Or
    /// another tab has sent it without its writes, of which the server says nothing.
    fn is_doubtful(&self, end: &Settled, poke: &Poke) -> bool {
        let key = end.mutation.key();
        let Mutation {
            pushed,
            sent_by_other,
            unmarked,
            ..
        } = end.mutation;
        let is_own = pushed && !sent_by_other && !unmarked;
        let by_others = !is_own && self.link.sends_writes_of(&end.mutation);
        let renamed = key.0 != self.client_id;
        // A poke from nothing does not name results that are gone.
        let silent = poke.base.is_none() || poke.cleared || poke.result_changes.contains(&key);
        (end.mutation.call.is_some() || end.mutation.is_failing_unsent())
            && end.outcome == Outcome::Confirmed
            && (renamed || silent || by_others)
    }

    fn tell_outcomes(&mut self, settled: &[Settled], poke: &Poke) {
        let mut doubtful = Vec::new();
        for end in settled {
            self.mutations_changed = true;
            self.spare_queue(&end.mutation);
            if !self.persistence.disabled && self.is_doubtful(end, poke) {
                doubtful.push(end.clone());
            } else {
                self.tell_outcome(end);
            }
        }
        if !doubtful.is_empty() {
            self.read_outcomes(doubtful);
        }
    }

    pub(crate) fn tell_outcome(&mut self, end: &Settled) {
        self.effects.push(Effect::MutationOutcome {
            call: end.mutation.call,
            client_id: end.mutation.client_id.clone(),
            mutation_id: end.mutation.id,
            outcome: end.outcome.clone(),
        });
    }

    /// Hands over what changed since the last time, if anything.
    pub(crate) fn flush(&mut self) {
        let flush = self.visible.take_flush();
        if !flush.is_empty() {
            self.effects.push(Effect::Flush(flush));
        }
    }

    fn set_timer(&mut self, now: f64) {
        let next = [
            self.link.next_deadline(),
            self.link
                .connection
                .is_connected()
                .then(|| self.queries.next_deadline())
                .flatten(),
            self.rebase.next_deadline(),
            self.rebase.next_round(now),
            // What is to be tried again then waits until everything is read.
            self.loaded
                .then(|| self.persistence.next_deadline())
                .flatten(),
            self.persistence.faults.open_at,
            self.tabs.next_deadline(),
            self.ready_by,
        ]
        .into_iter()
        .flatten()
        .reduce(f64::min);
        if next != self.wake_at {
            self.wake_at = next;
            self.effects.push(Effect::WakeAt { at_ms: next });
        }
    }
}
