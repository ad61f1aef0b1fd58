//! The connection's state machine: when to open a socket, when to give up on it, and what the application is told.
//!
//! [`next`] is the table of phases by triggers; it has no catch-all, so a new phase or trigger does not compile
//! until every cell is decided. [`Connection`] adds the times: back-off, time-outs, pings.
//! What is said on the socket is in `server_link.rs`, what pokes bring in `pokes.rs`.
//!
//! Differences from Zero, on purpose: retries back off exponentially with jitter, from an error state too;
//! writes are accepted in every state but *closed*.

pub(crate) mod draining;
pub(crate) mod inspection;
pub(crate) mod pokes;
mod pushes;
pub(crate) mod server_link;

use crate::options::Limits;
use crate::random::Random;
use serde::Serialize;

/// The connection state as the application sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum ConnectionState {
    /// Trying.
    Connecting {
        /// Why the last attempt failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The server answers.
    Connected,
    /// Without connection for a while, hidden, or without a server URL. Retries go on, and writes are accepted.
    Disconnected {
        /// Why.
        reason: String,
    },
    /// Paused until `connect` brings a token.
    NeedsAuth {
        /// Who refused.
        reason: AuthReason,
    },
    /// Something that trying again at once would not mend. Retried with long pauses, and by `connect`.
    Error {
        /// What.
        reason: String,
    },
    /// Closed for good.
    Closed {
        /// Why.
        reason: String,
    },
}

/// Who refused the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum AuthReason {
    /// The application's mutate endpoint.
    Mutate {
        /// 401 or 403.
        status: u16,
        /// The beginning of its answer.
        #[serde(skip_serializing_if = "Option::is_none")]
        body: Option<String>,
    },
    /// The application's query endpoint.
    Query {
        /// 401 or 403.
        status: u16,
        /// The beginning of its answer.
        #[serde(skip_serializing_if = "Option::is_none")]
        body: Option<String>,
    },
    /// The sync server itself.
    ZeroCache {
        /// Its words.
        reason: String,
    },
}

/// Where the machine stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not started, or without a server for ever.
    Idle,
    /// Between two attempts.
    Waiting,
    /// A socket is opening, or open without `connected`.
    Opening,
    /// `connected` has come.
    Connected,
    /// Until the application brings a token.
    NeedsAuth,
    /// Hidden for so long that the connection was given up.
    Asleep,
    /// For good.
    Closed,
}

/// What moves the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// Storage is loaded and there is a server.
    Start,
    /// The server said `connected`.
    Accepted,
    /// The socket closed, or the server asked to come again.
    Lost,
    /// An error that a quick retry would repeat.
    Fatal,
    /// A token is missing or refused.
    AuthRefused,
    /// The time of this phase is up: pause over, connect time-out, ping time-out.
    TimeUp,
    /// Hidden for too long.
    Hide,
    /// Visible again.
    Show,
    /// The browser says that there is a network again.
    NetworkUp,
    /// The browser says that the network is gone.
    NetworkDown,
    /// The application called `connect`.
    Resume,
    /// The application closed the client.
    Close,
}

/// What a cell of the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing happens.
    Stay,
    /// Open a socket now.
    Open,
    /// The connection is up.
    Up,
    /// Drop the socket, wait, try again.
    Retry,
    /// As `Retry`, and the application sees an error.
    RetryError,
    /// Drop the socket and wait for a token.
    AwaitAuth,
    /// Ask at once whether the other end still answers.
    Probe,
    /// Drop the socket and sleep until visible.
    Sleep,
    /// Drop the socket and end.
    End,
}

/// The table: every phase by every trigger.
pub(crate) fn next(phase: Phase, trigger: Trigger) -> Next {
    use Phase as P;
    use Trigger as T;
    match (phase, trigger) {
        (P::Closed, _) => Next::Stay,
        (P::Idle | P::Waiting | P::Opening | P::Connected | P::NeedsAuth | P::Asleep, T::Close) => {
            Next::End
        }

        (P::Idle, T::Start) => Next::Open,
        (P::Waiting | P::Opening | P::Connected | P::NeedsAuth | P::Asleep, T::Start) => Next::Stay,

        (P::Opening, T::Accepted) => Next::Up,
        (P::Idle | P::Waiting | P::Connected | P::NeedsAuth | P::Asleep, T::Accepted) => Next::Stay,

        (P::Opening | P::Connected, T::Lost) => Next::Retry,
        (P::Opening | P::Connected, T::Fatal) => Next::RetryError,
        (P::Opening | P::Connected, T::AuthRefused) => Next::AwaitAuth,
        // Without a socket these come too late to mean anything.
        (P::Idle | P::Waiting | P::NeedsAuth | P::Asleep, T::Lost | T::Fatal | T::AuthRefused) => {
            Next::Stay
        }

        (P::Waiting, T::TimeUp) => Next::Open,
        (P::Opening | P::Connected, T::TimeUp) => Next::Retry,
        (P::Idle | P::NeedsAuth | P::Asleep, T::TimeUp) => Next::Stay,

        (P::Waiting | P::Opening | P::Connected, T::Hide) => Next::Sleep,
        (P::Idle | P::NeedsAuth | P::Asleep, T::Hide) => Next::Stay,

        (P::Asleep | P::Waiting, T::Show) => Next::Open,
        // A tab that comes back may have slept through the end of its connection.
        (P::Connected, T::Show | T::NetworkUp | T::NetworkDown) => Next::Probe,
        (P::Idle | P::Opening | P::NeedsAuth, T::Show) => Next::Stay,

        (P::Waiting, T::NetworkUp) => Next::Open,
        (P::Idle | P::Opening | P::NeedsAuth | P::Asleep, T::NetworkUp) => Next::Stay,
        (P::Idle | P::Waiting | P::Opening | P::NeedsAuth | P::Asleep, T::NetworkDown) => {
            Next::Stay
        }

        (P::NeedsAuth | P::Waiting, T::Resume) => Next::Open,
        (P::Idle | P::Opening | P::Connected | P::Asleep, T::Resume) => Next::Stay,
    }
}

/// What the client must do for the connection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Open a socket.
    Open,
    /// Drop the socket, with this close code.
    Drop(Option<u16>),
    /// Send a ping.
    Ping,
    /// The connection was lost or given up: forget what was sent on it.
    Down,
    /// Tell the application.
    Publish(ConnectionState),
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq)]
enum Trouble {
    None,
    Retrying(String),
    Fatal(String),
}

/// How long the next pause may be, as a back-off error of the server said.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct PauseBounds {
    pub(crate) min_ms: Option<f64>,
    pub(crate) max_ms: Option<f64>,
}

/// A connection that lasted this long counts as a good one: losing it is answered at once.
const GOOD_CONNECTION_MS: f64 = 5_000.0;

/// The state machine with its clock.
#[derive(Debug)]
pub(crate) struct Connection {
    phase: Phase,
    limits: Limits,
    /// When the phase's time is up.
    deadline: Option<f64>,
    /// When a hidden tab gives up its connection.
    hide_at: Option<f64>,
    /// Since when there is no connection; `None` while connected.
    down_since: Option<f64>,
    up_since: f64,
    /// Before this time the server does not want to be asked again.
    not_before: f64,
    ping_sent: bool,
    failures: u32,
    trouble: Trouble,
    auth: Option<AuthReason>,
    ended: Option<String>,
    has_server: bool,
    published: Option<ConnectionState>,
}

impl Connection {
    pub(crate) fn new(now: f64, limits: Limits, has_server: bool) -> Self {
        Connection {
            phase: Phase::Idle,
            limits,
            deadline: None,
            hide_at: None,
            down_since: Some(now),
            up_since: now,
            not_before: now,
            ping_sent: false,
            failures: 0,
            trouble: Trouble::None,
            auth: None,
            ended: None,
            has_server,
            published: None,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.phase == Phase::Connected
    }

    /// The next moment at which [`Connection::on_time`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<f64> {
        let disconnect = match (&self.published, self.down_since, &self.trouble) {
            (Some(ConnectionState::Connecting { .. }), Some(since), _) => {
                Some(since + self.limits.disconnect_ms)
            }
            _ => None,
        };
        [self.deadline, self.hide_at, disconnect]
            .into_iter()
            .flatten()
            .reduce(f64::min)
    }

    /// Storage is loaded: begin, if there is a server.
    pub(crate) fn start(&mut self, now: f64, random: &mut Random) -> Vec<Action> {
        if self.has_server {
            self.down_since = Some(now);
            self.apply(now, Trigger::Start, PauseBounds::default(), random)
        } else {
            self.with_state(now, Vec::new())
        }
    }

    /// The server said `connected`.
    pub(crate) fn accepted(&mut self, now: f64, random: &mut Random) -> Vec<Action> {
        self.apply(now, Trigger::Accepted, PauseBounds::default(), random)
    }

    /// The socket closed, or a retryable error came.
    pub(crate) fn lost(
        &mut self,
        now: f64,
        reason: impl Into<String>,
        bounds: PauseBounds,
        random: &mut Random,
    ) -> Vec<Action> {
        if matches!(self.phase, Phase::Opening | Phase::Connected)
            && !matches!(self.trouble, Trouble::Fatal(_))
        {
            self.trouble = Trouble::Retrying(reason.into());
        }
        self.apply(now, Trigger::Lost, bounds, random)
    }

    /// An error that a quick retry would repeat.
    pub(crate) fn fatal(
        &mut self,
        now: f64,
        reason: impl Into<String>,
        random: &mut Random,
    ) -> Vec<Action> {
        if matches!(self.phase, Phase::Opening | Phase::Connected) {
            self.trouble = Trouble::Fatal(reason.into());
        }
        self.apply(now, Trigger::Fatal, PauseBounds::default(), random)
    }

    /// The token is missing or refused.
    pub(crate) fn auth_refused(
        &mut self,
        now: f64,
        reason: AuthReason,
        random: &mut Random,
    ) -> Vec<Action> {
        if matches!(self.phase, Phase::Opening | Phase::Connected) {
            self.auth = Some(reason);
        }
        self.apply(now, Trigger::AuthRefused, PauseBounds::default(), random)
    }

    /// The application called `connect`.
    pub(crate) fn resume(&mut self, now: f64, random: &mut Random) -> Vec<Action> {
        let failed = matches!(self.trouble, Trouble::Fatal(_));
        let paused = match self.phase {
            Phase::NeedsAuth => true,
            // An attempt that is under way becomes this one: whoever called is told what comes of it, even if that is the
            // same error.
            Phase::Waiting | Phase::Opening => failed,
            _ => false,
        };
        if !paused {
            return Vec::new();
        }
        self.not_before = now;
        self.failures = 0;
        self.trouble = Trouble::None;
        self.auth = None;
        self.down_since = Some(now);
        self.apply(now, Trigger::Resume, PauseBounds::default(), random)
    }

    /// A sign that the other end lives. Any is: on a slow line a pong comes behind much else, and a ping goes behind much
    /// else. But only a pong answers a ping, for what was on its way before may come from a connection that has ended
    /// meanwhile.
    pub(crate) fn heard(&mut self, now: f64, pong: bool) {
        if self.phase == Phase::Connected {
            self.ping_sent &= !pong;
            self.deadline = Some(now + self.limits.ping_timeout_ms);
        }
    }

    /// The page became visible or hidden.
    pub(crate) fn visibility(
        &mut self,
        now: f64,
        visible: bool,
        random: &mut Random,
    ) -> Vec<Action> {
        if !visible {
            if self.hide_at.is_none() {
                self.hide_at = Some(now + self.limits.hidden_disconnect_ms);
            }
            return Vec::new();
        }
        self.hide_at = None;
        if self.phase == Phase::Asleep {
            self.down_since = Some(now);
            self.trouble = Trouble::None;
        }
        self.apply(now, Trigger::Show, PauseBounds::default(), random)
    }

    /// The browser's `online` and `offline` events.
    pub(crate) fn network(&mut self, now: f64, online: bool, random: &mut Random) -> Vec<Action> {
        let trigger = if online {
            Trigger::NetworkUp
        } else {
            Trigger::NetworkDown
        };
        self.apply(now, trigger, PauseBounds::default(), random)
    }

    /// The application closed the client, or it broke.
    pub(crate) fn close(
        &mut self,
        now: f64,
        reason: impl Into<String>,
        random: &mut Random,
    ) -> Vec<Action> {
        if self.phase != Phase::Closed {
            self.ended = Some(reason.into());
        }
        self.apply(now, Trigger::Close, PauseBounds::default(), random)
    }

    /// Time has passed.
    pub(crate) fn on_time(&mut self, now: f64, random: &mut Random) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.hide_at.is_some_and(|at| at <= now) {
            self.hide_at = None;
            actions.extend(self.apply(now, Trigger::Hide, PauseBounds::default(), random));
        }
        if self.deadline.is_some_and(|at| at <= now) {
            actions.extend(self.phase_time_up(now, random));
        }
        self.with_state(now, actions)
    }

    fn phase_time_up(&mut self, now: f64, random: &mut Random) -> Vec<Action> {
        match self.phase {
            Phase::Connected if !self.ping_sent => return self.probe(now),
            Phase::Connected => self.trouble = Trouble::Retrying("PingTimeout".into()),
            Phase::Opening if !matches!(self.trouble, Trouble::Fatal(_)) => {
                self.trouble = Trouble::Retrying("ConnectTimeout".into());
            }
            Phase::Opening | Phase::Waiting => {}
            Phase::Idle | Phase::NeedsAuth | Phase::Asleep | Phase::Closed => {
                self.deadline = None;
            }
        }
        self.apply(now, Trigger::TimeUp, PauseBounds::default(), random)
    }

    fn apply(
        &mut self,
        now: f64,
        trigger: Trigger,
        bounds: PauseBounds,
        random: &mut Random,
    ) -> Vec<Action> {
        let socket = matches!(self.phase, Phase::Opening | Phase::Connected);
        let mut actions = Vec::new();
        match next(self.phase, trigger) {
            Next::Stay => {}
            // Who comes back need not wait as long as we would, but as long as the server has asked for.
            Next::Open if self.not_before > now => {
                self.enter(Phase::Waiting, Some(self.not_before));
            }
            Next::Open => {
                self.enter(Phase::Opening, Some(now + self.limits.connect_timeout_ms));
                actions.push(Action::Open);
            }
            Next::Up => {
                self.enter(Phase::Connected, Some(now + self.limits.ping_timeout_ms));
                self.trouble = Trouble::None;
                self.up_since = now;
                self.down_since = None;
            }
            Next::Retry | Next::RetryError => {
                let closed_by_peer = trigger == Trigger::Lost && bounds == PauseBounds::default();
                self.leave(now, socket, None, &mut actions);
                let pause = self.pause(now, closed_by_peer, bounds, random);
                self.not_before = now + bounds.min_ms.map_or(0.0, |min| min.min(pause));
                self.enter(Phase::Waiting, Some(now + pause));
            }
            Next::AwaitAuth => {
                self.leave(now, socket, None, &mut actions);
                self.enter(Phase::NeedsAuth, None);
            }
            Next::Probe => actions.extend(self.probe(now)),
            Next::Sleep => {
                self.leave(now, socket, None, &mut actions);
                self.enter(Phase::Asleep, None);
            }
            Next::End => {
                self.leave(now, socket, Some(1000), &mut actions);
                self.enter(Phase::Closed, None);
                self.hide_at = None;
            }
        }
        self.with_state(now, actions)
    }

    fn enter(&mut self, phase: Phase, deadline: Option<f64>) {
        self.phase = phase;
        self.deadline = deadline;
        self.ping_sent = false;
    }

    fn leave(&mut self, now: f64, socket: bool, code: Option<u16>, actions: &mut Vec<Action>) {
        if self.down_since.is_none() {
            self.down_since = Some(now);
        }
        if socket {
            actions.push(Action::Drop(code));
            actions.push(Action::Down);
        }
    }

    fn probe(&mut self, now: f64) -> Vec<Action> {
        if self.ping_sent {
            return Vec::new();
        }
        self.ping_sent = true;
        self.deadline = Some(now + self.limits.ping_timeout_ms);
        vec![Action::Ping]
    }

    /// The next pause: nothing after a good connection, else growing with jitter, within the server's bounds.
    fn pause(
        &mut self,
        now: f64,
        closed_by_peer: bool,
        bounds: PauseBounds,
        random: &mut Random,
    ) -> f64 {
        let was_good = self.phase == Phase::Connected && now - self.up_since >= GOOD_CONNECTION_MS;
        if was_good {
            self.failures = 0;
            if closed_by_peer && !matches!(self.trouble, Trouble::Fatal(_)) {
                return 0.0;
            }
        }
        let doublings = self.failures.min(20);
        self.failures += 1;
        let top = (self.limits.backoff_first_ms * 2f64.powi(doublings as i32))
            .min(self.limits.backoff_max_ms);
        let top = match self.trouble {
            Trouble::Fatal(_) => top.max(self.limits.backoff_max_ms / 4.0),
            Trouble::None | Trouble::Retrying(_) => top,
        };
        let mut pause = top * (0.5 + 0.5 * random.fraction());
        if let Some(min) = bounds.min_ms {
            pause = pause.max(min);
        }
        if let Some(max) = bounds.max_ms {
            pause = pause.min(max);
        }
        pause.max(0.0)
    }

    /// The state that the application should see now.
    fn state(&self, now: f64) -> ConnectionState {
        match (self.phase, &self.trouble) {
            (Phase::Closed, _) => ConnectionState::Closed {
                reason: self.ended.clone().unwrap_or_default(),
            },
            (Phase::NeedsAuth, _) => ConnectionState::NeedsAuth {
                reason: self.auth.clone().unwrap_or(AuthReason::ZeroCache {
                    reason: String::new(),
                }),
            },
            (Phase::Connected, _) => ConnectionState::Connected,
            (Phase::Asleep, _) => ConnectionState::Disconnected {
                reason: "Hidden".into(),
            },
            (Phase::Idle, _) if !self.has_server => ConnectionState::Disconnected {
                reason: "NoSocketOrigin".into(),
            },
            (Phase::Idle | Phase::Waiting | Phase::Opening, Trouble::Fatal(reason)) => {
                ConnectionState::Error {
                    reason: reason.clone(),
                }
            }
            (Phase::Idle | Phase::Waiting | Phase::Opening, trouble) => {
                let long_down = self
                    .down_since
                    .is_some_and(|since| now - since >= self.limits.disconnect_ms);
                let reason = match trouble {
                    Trouble::Retrying(reason) => Some(reason.clone()),
                    Trouble::None | Trouble::Fatal(_) => None,
                };
                if long_down {
                    ConnectionState::Disconnected {
                        reason: "Offline".into(),
                    }
                } else {
                    ConnectionState::Connecting { reason }
                }
            }
        }
    }

    fn with_state(&mut self, now: f64, mut actions: Vec<Action>) -> Vec<Action> {
        let state = self.state(now);
        if self.published.as_ref() != Some(&state) {
            self.published = Some(state.clone());
            actions.push(Action::Publish(state));
        }
        actions
    }
}

#[cfg(test)]
mod tests;
