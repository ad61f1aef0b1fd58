//! The connection's table, and runs of the machine under a clock.

use super::*;

const PHASES: [Phase; 7] = [
    Phase::Idle,
    Phase::Waiting,
    Phase::Opening,
    Phase::Connected,
    Phase::NeedsAuth,
    Phase::Asleep,
    Phase::Closed,
];
const TRIGGERS: [Trigger; 12] = [
    Trigger::Start,
    Trigger::Accepted,
    Trigger::Lost,
    Trigger::Fatal,
    Trigger::AuthRefused,
    Trigger::TimeUp,
    Trigger::Hide,
    Trigger::Show,
    Trigger::NetworkUp,
    Trigger::NetworkDown,
    Trigger::Resume,
    Trigger::Close,
];

/// The whole table, one line per phase, one letter per trigger, for a reviewer to read.
#[test]
fn the_table_reads_as_intended() {
    let letter = |next| match next {
        Next::Stay => '.',
        Next::Open => 'O',
        Next::Up => 'U',
        Next::Retry => 'R',
        Next::RetryError => 'E',
        Next::AwaitAuth => 'A',
        Next::Probe => 'P',
        Next::Sleep => 'S',
        Next::End => 'X',
    };
    let table: Vec<String> = PHASES
        .iter()
        .map(|&phase| {
            TRIGGERS
                .iter()
                .map(|&trigger| letter(next(phase, trigger)))
                .collect()
        })
        .collect();
    assert_eq!(
        table,
        [
            "O..........X", // Idle
            ".....OSOO.OX", // Waiting
            ".UREARS....X", // Opening
            "..REARSPPP.X", // Connected
            "..........OX", // NeedsAuth
            ".......O...X", // Asleep
            "............", // Closed
        ]
    );
}

struct World {
    connection: Connection,
    random: Random,
    now: f64,
    log: Vec<String>,
}

impl World {
    fn new() -> Self {
        World {
            connection: Connection::new(0.0, Limits::default(), true),
            random: Random::new([5; 32]),
            now: 0.0,
            log: Vec::new(),
        }
    }

    fn note(&mut self, actions: Vec<Action>) {
        for action in actions {
            self.log.push(match action {
                Action::Open => "open".into(),
                Action::Drop(code) => format!("drop {code:?}"),
                Action::Ping => "ping".into(),
                Action::Down => continue,
                Action::Publish(state) => match state {
                    ConnectionState::Connecting { reason } => {
                        format!("connecting {}", reason.unwrap_or_default())
                    }
                    ConnectionState::Connected => "connected".into(),
                    ConnectionState::Disconnected { reason } => {
                        format!("disconnected {reason}")
                    }
                    ConnectionState::NeedsAuth { .. } => "needs-auth".into(),
                    ConnectionState::Error { reason } => format!("error {reason}"),
                    ConnectionState::Closed { reason } => format!("closed {reason}"),
                },
            });
        }
    }

    fn act(
        &mut self,
        step: impl FnOnce(&mut Connection, f64, &mut Random) -> Vec<Action>,
    ) -> &mut Self {
        let actions = step(&mut self.connection, self.now, &mut self.random);
        self.note(actions);
        self
    }

    fn start(&mut self) -> &mut Self {
        self.act(|c, now, random| c.start(now, random))
    }

    fn up(&mut self) -> &mut Self {
        self.act(|c, now, random| c.accepted(now, random))
    }

    fn lose(&mut self) -> &mut Self {
        self.act(|c, now, random| c.lost(now, "AbruptClose", PauseBounds::default(), random))
    }

    /// Lets time pass, waking at each deadline.
    fn pass(&mut self, ms: f64) -> &mut Self {
        let end = self.now + ms;
        while let Some(at) = self.connection.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.act(|c, now, random| c.on_time(now, random));
        }
        self.now = end;
        self
    }

    #[track_caller]
    fn check(&mut self, expected: &[&str]) -> &mut Self {
        assert_eq!(self.log, expected);
        self.log.clear();
        self
    }
}

#[test]
fn a_good_connection_that_breaks_is_opened_again_at_once() {
    World::new()
        .start()
        .check(&["open", "connecting "])
        .up()
        .check(&["connected"])
        .pass(4_900.0)
        .act(|c, now, _| {
            c.heard(now, false);
            Vec::new()
        })
        .pass(1_000.0)
        .lose()
        .check(&["drop None", "connecting AbruptClose"])
        .pass(1.0)
        .check(&["open"]);
}

#[test]
fn failed_attempts_back_off_and_become_disconnected_after_a_minute() {
    let mut world = World::new();
    world.start().check(&["open", "connecting "]);
    let mut pauses = Vec::new();
    for _ in 0..8 {
        world.lose();
        let pause = world.connection.deadline.expect("waiting has a deadline") - world.now;
        pauses.push(pause);
        world.pass(pause);
    }
    assert!(pauses[0] >= 250.0 && pauses[0] <= 500.0, "{pauses:?}");
    assert!(pauses[3] >= 2_000.0 && pauses[3] <= 4_000.0, "{pauses:?}");
    assert!(pauses.iter().all(|p| *p <= 30_000.0), "{pauses:?}");
    world.log.clear();
    world.pass(60_000.0);
    assert!(
        world.log.contains(&"disconnected Offline".to_string()),
        "{:?}",
        world.log
    );
    world.log.clear();
    world.pass(60_000.0);
    assert!(
        world.log.contains(&"open".to_string()),
        "retries go on: {:?}",
        world.log
    );
}

#[test]
fn silence_is_answered_with_a_ping_and_then_a_new_connection() {
    World::new()
        .start()
        .up()
        .pass(5_000.0)
        .check(&["open", "connecting ", "connected", "ping"])
        .act(|c, now, _| {
            c.heard(now, true);
            Vec::new()
        })
        .pass(5_000.0)
        .check(&["ping"])
        .act(|c, now, _| {
            // Only a pong answers a ping.
            c.heard(now, false);
            Vec::new()
        })
        .pass(5_000.0)
        .check(&["drop None", "connecting PingTimeout"]);
}

#[test]
fn who_says_something_before_the_pong_is_waited_for() {
    let mut world = World::new();
    world.start().up().pass(5_000.0);
    world.check(&["open", "connecting ", "connected", "ping"]);
    for _ in 0..10 {
        world.pass(4_000.0).act(|c, now, _| {
            c.heard(now, false);
            Vec::new()
        });
    }
    world.check(&[]).pass(5_000.0);
    world.check(&["drop None", "connecting PingTimeout"]);
}

#[test]
fn an_opening_that_takes_too_long_is_given_up() {
    World::new().start().pass(10_000.0).check(&[
        "open",
        "connecting ",
        "drop None",
        "connecting ConnectTimeout",
    ]);
}

#[test]
fn a_hidden_tab_sleeps_and_wakes() {
    World::new()
        .start()
        .up()
        .check(&["open", "connecting ", "connected"])
        .act(|c, now, random| c.visibility(now, false, random))
        .act(|c, now, _| {
            c.deadline = None; // a server that keeps talking
            let _ = now;
            Vec::new()
        })
        .pass(300_000.0)
        .check(&["drop None", "disconnected Hidden"])
        .act(|c, now, random| c.visibility(now, true, random))
        .check(&["open", "connecting "]);
}

#[test]
fn needs_auth_waits_for_connect() {
    World::new()
        .start()
        .act(|c, now, random| {
            c.auth_refused(
                now,
                AuthReason::ZeroCache {
                    reason: "no".into(),
                },
                random,
            )
        })
        .check(&["open", "connecting ", "drop None", "needs-auth"])
        .pass(3_600_000.0)
        .check(&[])
        .act(|c, now, random| c.resume(now, random))
        .check(&["open", "connecting "]);
}

#[test]
fn an_error_is_retried_with_long_pauses_and_stays_visible_until_connected() {
    World::new()
        .start()
        .up()
        .act(|c, now, random| c.fatal(now, "InvalidPush: no", random))
        .check(&[
            "open",
            "connecting ",
            "connected",
            "drop None",
            "error InvalidPush: no",
        ])
        .pass(3_700.0)
        .check(&[])
        .pass(4_000.0)
        .check(&["open"])
        // Whoever asks for an attempt while one is under way is told what comes of it.
        .act(|c, now, random| c.resume(now, random))
        .check(&["connecting "])
        .act(|c, now, random| c.fatal(now, "InvalidPush: no", random))
        .check(&["drop None", "error InvalidPush: no"])
        .act(|c, now, random| c.resume(now, random))
        .up()
        .check(&["open", "connecting ", "connected"]);
}

#[test]
fn the_server_may_ask_for_a_longer_or_shorter_pause() {
    let mut world = World::new();
    world.start().up();
    let bounds = PauseBounds {
        min_ms: Some(70_000.0),
        max_ms: None,
    };
    world.act(|c, now, random| c.lost(now, "ServerOverloaded", bounds, random));
    assert_eq!(world.connection.deadline, Some(70_000.0));
    world.log.clear();
    // Whatever happens meanwhile, but for the application, which may know better.
    world
        .act(|c, now, random| c.network(now, true, random))
        .act(|c, now, random| c.visibility(now, false, random))
        .act(|c, now, random| c.visibility(now, true, random))
        .pass(69_000.0)
        .check(&["disconnected Offline"]);
    world.pass(1_000.0).up();
    let bounds = PauseBounds {
        min_ms: None,
        max_ms: Some(0.0),
    };
    world.act(|c, now, random| c.lost(now, "Rehome", bounds, random));
    assert_eq!(world.connection.deadline, Some(world.now));
}

#[test]
fn who_comes_back_does_not_wait_for_our_own_pauses() {
    let mut world = World::new();
    world.start();
    for _ in 0..8 {
        world.lose();
        world.log.clear();
        world
            .act(|c, now, random| c.network(now, true, random))
            .check(&["open"]);
    }
}

#[test]
fn without_a_server_the_state_is_disconnected_and_close_is_final() {
    let mut world = World::new();
    world.connection = Connection::new(0.0, Limits::default(), false);
    world
        .start()
        .check(&["disconnected NoSocketOrigin"])
        .act(|c, now, random| c.close(now, "closed by the application", random))
        .check(&["closed closed by the application"])
        .start()
        .check(&[]);
}

/// Any order of triggers keeps the promises: retry from every phase but needs-auth, asleep and closed.
#[test]
fn every_live_phase_has_a_way_on() {
    for phase in PHASES {
        let ways: Vec<Next> = TRIGGERS.iter().map(|&t| next(phase, t)).collect();
        let dead = ways.iter().all(|n| *n == Next::Stay);
        assert_eq!(dead, phase == Phase::Closed, "{phase:?}");
    }
}
