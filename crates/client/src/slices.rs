//! Work in slices, so that the page never waits for long: each call does a bounded number of steps, and asks to be
//! called again if there is more to do.
//!
//! Calls of the application share the steps that are left of the last slice, so that many of them in one task of the page
//! are not many slices; a task of its own then begins a new one. So it does when the host finds that calls take long, and
//! ends the slice: only small views are filled at once until then.
//!
//! What was asked for in one call and is small is done in that call. Texts of the server wait in line when there is
//! more than one slice of them, in their order with the end of their socket; a long one stays outside and is read in
//! pieces.

use crate::client::Client;
use crate::connection::pokes::Reading;
use crate::effect::{Effect, SocketId};
use crate::event::{Event, TextPieces};
use landfall_ivm::Steps;
use std::collections::VecDeque;

/// So many bytes of a server's text count as one step.
const BYTES_PER_STEP: usize = 32;

/// A piece of a long text has so many bytes.
const PIECE_BYTES: usize = 32 << 10;

/// The work of one call is one of so many parts of a slice: the host makes as many calls as there is time for. What runs for
/// the first time takes much longer than it will.
const PARTS: usize = 4;

/// So small a part of a slice fills a small view.
const PARTS_FOR_SMALL: usize = 20;

/// The steps of the present call, and what waits for the next one.
#[derive(Debug)]
pub(crate) struct Slices {
    allowed: usize,
    pub(crate) steps: Steps,
    /// What is left of the slice besides.
    rest: usize,
    asked: bool,
    /// Texts of the server and ends of sockets.
    inbox: VecDeque<Event>,
    /// How far the text at the front is read, if it is one that comes in pieces and was begun.
    reading: Option<Reading>,
}

impl Slices {
    pub(crate) fn new(allowed: usize) -> Self {
        let allowed = allowed.max(1);
        Slices {
            allowed,
            steps: Steps::new(allowed),
            rest: 0,
            asked: false,
            inbox: VecDeque::new(),
            reading: None,
        }
    }

    /// A part of a slice begins, with the task of the page that it is in.
    pub(crate) fn begin(&mut self) {
        let part = (self.allowed / PARTS).max(1);
        self.steps = Steps::new(part);
        self.rest = self.allowed - part;
    }

    /// It has ended: what is left of the slice is for calls of the application.
    pub(crate) fn end(&mut self) {
        let left = std::mem::take(&mut self.rest) + self.steps.left();
        self.steps = Steps::new(left);
    }

    /// A view is opened: if the host has ended the slice, it has a few steps all the same, for small ones are filled at once.
    pub(crate) fn begin_view(&mut self) {
        if self.steps.are_spent() {
            let few = self.rest.min(self.allowed / PARTS_FOR_SMALL);
            self.steps = Steps::new(few);
            self.rest -= few;
        }
    }

    /// Whether little is left of what was given.
    fn is_used_up(&self) -> bool {
        self.steps.left() < self.allowed.saturating_sub(self.rest) / 2
    }
}

impl Client {
    /// How much is done in one slice from now on: the host relates steps to time.
    pub fn set_slice_steps(&mut self, steps: usize) {
        self.slices.allowed = steps.max(1);
    }

    /// The page has been kept long enough: what can wait for the next slice does.
    pub fn end_slice(&mut self) {
        self.slices.end();
        let left = std::mem::replace(&mut self.slices.steps, Steps::new(0));
        self.slices.rest = left.left();
    }

    /// How many steps of the present slice were taken: by one call of [`Client::work`], if that was the last one.
    pub fn spent_steps(&self) -> usize {
        let left = self.slices.steps.left();
        self.slices.allowed.saturating_sub(left)
    }

    /// Goes on with what [`Effect::MoreWork`] asked for.
    pub fn work(&mut self, now_ms: f64) {
        self.slices.asked = false;
        self.slices.begin();
        while !self.slices.steps.are_spent()
            && let Some(event) = self.slices.inbox.pop_front()
        {
            if let Event::SocketPieces { socket, text } = event {
                self.take_piece(now_ms, socket, text);
                continue;
            }
            self.slices.steps.spend_many(cost(&event));
            self.take_event(now_ms, event);
        }
        self.settle_down(now_ms);
        self.store_on();
        self.slices.end();
    }

    /// What storage gets in large pieces is made here alone, and many rows are freed here: nobody who calls waits for it.
    fn store_on(&mut self) {
        if self.is_loaded() && !self.closed {
            // First what gives memory back: what follows takes some, and a module's memory never shrinks.
            self.visible.leaving.work(&self.slices.steps);
            self.write_on();
            self.fold_on();
            self.ask_for_more();
        }
    }

    /// Reads one piece of the text at the front, which goes back there; at its end the message is taken.
    fn take_piece(&mut self, now: f64, socket: SocketId, mut text: Box<dyn TextPieces>) {
        let mut reading = self.slices.reading.take().unwrap_or_default();
        if self.link.socket != Some(socket) {
            // What was read of it goes with it.
            return;
        }
        let Some(piece) = text.next_piece(PIECE_BYTES) else {
            return self.on_read(now, reading);
        };
        let cost = piece.len() / BYTES_PER_STEP;
        self.slices.steps.spend_many(cost.max(1));
        match reading.take(&piece, self.row_schema()) {
            Ok(()) => {
                self.slices.reading = Some(reading);
                let rest = Event::SocketPieces { socket, text };
                self.slices.inbox.push_front(rest);
            }
            Err(refusal) => self.on_refusal(now, &refusal),
        }
    }

    /// Puts an event in line if others of its kind wait; gives it back if it is its turn.
    pub(crate) fn defer(&mut self, event: Event) -> Option<Event> {
        let of_server = matches!(
            event,
            Event::SocketText { .. }
                | Event::SocketPieces { .. }
                | Event::SocketBinary { .. }
                | Event::SocketClosed { .. }
        );
        if !of_server {
            return Some(event);
        }
        // Several texts may come without a pause between them.
        let is_small = cost(&event) <= self.slices.allowed / 8;
        if self.slices.inbox.is_empty() && is_small {
            return Some(event);
        }
        self.slices.inbox.push_back(event);
        None
    }

    /// Whether something of the server waits in line.
    pub(crate) fn has_unread(&self) -> bool {
        !self.slices.inbox.is_empty()
    }

    /// Whether a call of [`Client::work`] would get on with something.
    fn has_work(&self) -> bool {
        let shows = self.rebase.has_work() || self.visible.has_work();
        let rows = self.is_loaded() && (shows || !self.visible.leaving.is_empty());
        let reads = self.is_reading_on() || self.is_replacing();
        let stores = reads || self.is_writing_snapshot() || self.is_planning_fold();
        rows || stores || self.has_unread() || self.is_pushing_on()
    }

    pub(crate) fn ask_for_more(&mut self) {
        if !self.slices.asked && (self.has_work() || self.slices.is_used_up()) {
            self.slices.asked = true;
            self.effects.push(Effect::MoreWork);
        }
    }
}

fn cost(event: &Event) -> usize {
    match event {
        Event::SocketText { text, .. } => text.len() / BYTES_PER_STEP,
        // Always in line.
        Event::SocketPieces { .. } => usize::MAX,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_a_part_and_leaves_the_rest_to_the_application() {
        let mut slices = Slices::new(8);
        slices.begin();
        assert_eq!(slices.steps.left(), 2);
        slices.steps.spend_many(3);
        assert!(slices.steps.are_spent());
        assert!(slices.is_used_up());
        slices.end();
        assert_eq!(slices.steps.left(), 6);
        assert!(!slices.is_used_up());
        slices.steps.spend_many(3);
        assert!(slices.is_used_up());
    }
}
