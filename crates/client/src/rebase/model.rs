//! The model test of the rebase: after every step, the state is rebuilt from scratch and compared.
//!
//! It sees a swap that forgets a key, a branch that is not a stable snapshot, a shadow that outlives or misses its
//! mutation, and an order of replay that differs from the queue's.

use super::*;
use crate::random::Random;
use landfall_protocol::{CrudKind, Json};
use landfall_store::RowChange;
use landfall_zql::ValueRef;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Visible rows without pipelines.
#[derive(Default)]
struct Plain {
    rows: BTreeMap<RowKey, Row>,
    transactions: usize,
    staged: Option<BTreeMap<RowKey, Row>>,
    /// Turns until what is to be shown with the copy is made.
    preparing: usize,
}

impl VisibleRows for Plain {
    fn row(&self, key: &RowKey) -> Option<Row> {
        self.rows.get(key).cloned()
    }
    fn key_of(&self, _: TableId, row: &Row) -> Key {
        key(number(row)).1
    }
    fn keys(&self) -> Vec<RowKey> {
        self.rows.keys().cloned().collect()
    }
    fn change(&mut self, changes: Vec<(RowKey, Option<Row>)>) {
        assert!(
            changes.is_sorted_by(|a, b| a.0 < b.0),
            "changes come in key order, one per key"
        );
        self.transactions += 1;
        for (key, row) in changes {
            assert_ne!(
                self.rows.get(&key),
                row.as_ref(),
                "no change is without effect"
            );
            match row {
                Some(row) => self.rows.insert(key, row),
                None => self.rows.remove(&key),
            };
        }
    }
    fn stage(&mut self) {
        self.staged = Some(self.rows.clone());
        self.preparing = 3;
    }
    fn staged_row(&self, key: &RowKey) -> Option<Row> {
        self.staged.as_ref()?.get(key).cloned()
    }
    fn clear_stage(&mut self) {
        self.staged = Some(BTreeMap::new());
    }
    fn change_stage(&mut self, key: RowKey, new: Option<Row>) {
        assert!(self.stage_is_still());
        let staged = self.staged.as_mut().expect("there is a copy");
        match new {
            Some(row) => staged.insert(key, row),
            None => staged.remove(&key),
        };
    }
    fn take_in_stage(&mut self, change: &RowChange) {
        match change {
            RowChange::Put { table, row } => {
                self.change_stage((*table, self.key_of(*table, row)), Some(row.clone()));
            }
            RowChange::Del { table, key } => self.change_stage((*table, key.clone()), None),
        }
    }
    fn stage_is_still(&self) -> bool {
        self.preparing == 3 || self.preparing == 0
    }
    fn prepare_stage(&mut self, _: &SortedSet<TableId>, steps: &Steps) -> Progress {
        while self.preparing > 0 {
            self.preparing -= 1;
            steps.spend_many(1);
            if steps.are_spent() {
                return Progress::More;
            }
        }
        Progress::Done
    }
    fn show_stage(&mut self) {
        assert_eq!(self.preparing, 0, "shown when it is made");
        self.rows = self.staged.take().expect("there is a copy");
    }
    fn drop_stage(&mut self) {
        self.staged = None;
    }
}

type State = BTreeMap<u64, u64>;

fn key(k: u64) -> RowKey {
    (
        TableId(0),
        Key(Row::from_values([ValueRef::Number(k as f64)])),
    )
}

fn row(k: u64, v: u64) -> Row {
    Row::from_values([ValueRef::Number(k as f64), ValueRef::Number(v as f64)])
}

fn number(row: &Row) -> u64 {
    match row.get(0) {
        ValueRef::Number(n) => n as u64,
        other => panic!("no number: {other:?}"),
    }
}

fn value(row: &Row) -> u64 {
    match row.get(1) {
        ValueRef::Number(n) => n as u64,
        other => panic!("no number: {other:?}"),
    }
}

/// A mutator: reads key `a`, and after some awaits does something to `b`. It throws if `a` is a multiple of 3.
#[derive(Clone, Copy, Debug)]
struct Program {
    kind: u64,
    a: u64,
    b: u64,
    awaits: u64,
}

impl Program {
    fn random(random: &mut Random) -> Program {
        Program {
            kind: random.next() % 4,
            a: random.next() % 6,
            b: random.next() % 6,
            awaits: random.next() % 4,
        }
    }

    fn encode(self) -> String {
        format!("[{},{},{},{}]", self.kind, self.a, self.b, self.awaits)
    }

    fn decode(text: &str) -> Program {
        let [kind, a, b, awaits]: [u64; 4] = serde_json::from_str(text).expect("own text");
        Program { kind, a, b, awaits }
    }

    /// What it leaves at `b`; `None` if it throws.
    fn effect(self, a: Option<u64>, b: Option<u64>) -> Option<Option<u64>> {
        let read = a.unwrap_or(1);
        if read.is_multiple_of(3) {
            return None;
        }
        Some(match self.kind {
            0 => Some(read * 3 % 50 + 1),
            1 => None,
            2 => Some(b.unwrap_or(0) + 1),
            _ => b.or(Some(read)),
        })
    }

    fn replay(self, state: &mut State) {
        if let Some(after) = self.effect(state.get(&self.a).copied(), state.get(&self.b).copied()) {
            match after {
                Some(v) => state.insert(self.b, v),
                None => state.remove(&self.b),
            };
        }
    }
}

/// A mutator that has read and awaits.
struct Running {
    tx: TxId,
    program: Program,
    read: Option<u64>,
    left: u64,
    /// It has written, and ends like this after its last await.
    outcome: Option<Result<(), MutationError>>,
}

struct World {
    random: Random,
    rows: Plain,
    rebase: Rebase,
    mutations: Mutations,
    running: Vec<Running>,
    /// Fold of the applied pokes.
    server: State,
    /// What the server will say next, and how far it has confirmed.
    ahead: State,
    confirmed: BTreeMap<String, u64>,
    waiting: Vec<Poke>,
    foreign: u64,
    sequence: u64,
    calls: u32,
    swaps: usize,
    swaps_with_rows: usize,
}

impl World {
    fn new(seed: u64) -> World {
        let mut entropy = [0; 32];
        entropy[..8].copy_from_slice(&seed.to_le_bytes());
        World {
            random: Random::new(entropy),
            rows: Plain::default(),
            // Every other world makes all of its rounds in slices.
            rebase: Rebase::new(
                Identity {
                    client_id: "me".into(),
                    deadline_ms: 1e9,
                },
                if seed.is_multiple_of(2) { 0 } else { 3 },
            ),
            mutations: Mutations::new(),
            running: Vec::new(),
            server: State::new(),
            ahead: State::new(),
            confirmed: BTreeMap::new(),
            waiting: Vec::new(),
            foreign: 0,
            sequence: 0,
            calls: 0,
            swaps: 0,
            swaps_with_rows: 0,
        }
    }

    fn step(&mut self) {
        match self.random.next() % 16 {
            0..=1 => {
                self.calls += 1;
                let args = Program::random(&mut self.random).encode();
                self.rebase.call(CallId(self.calls), "m", &args, 0.0);
            }
            2 => self.foreign_mutation(),
            3..=4 => self.server_speaks(),
            _ => {
                for _ in 0..6 {
                    self.run_one();
                    self.advance();
                }
            }
        }
        self.advance();
        self.check();
    }

    fn foreign_mutation(&mut self) {
        self.foreign += 1;
        self.sequence += 1;
        let new = self.mutations.insert(Mutation {
            client_id: "other".into(),
            id: self.foreign,
            name: "m".into(),
            args_json: Program::random(&mut self.random).encode(),
            created_ms: 0.0,
            call: None,
            ops: Vec::new(),
            attempted: false,
            pushed: false,
            sent_by_other: false,
            unmarked: false,
            stored: crate::mutations::Stored::At(self.sequence),
            replay_error: None,
            unusable: None,
            unreadable: false,
            unwritten: false,
            sent_outcome: None,
        });
        if new {
            self.rebase.request_round();
        }
    }

    /// The server confirms the oldest few mutations, changes some rows by itself, and may start anew.
    fn server_speaks(&mut self) {
        let mut poke = Poke {
            base: None,
            cookie: "c".into(),
            ..Poke::default()
        };
        let before = self.ahead.clone();
        let take = self.random.next() % 6;
        let known = self.confirmed.clone();
        let unconfirmed = self
            .mutations
            .pending()
            .iter()
            .filter(|m| known.get(&m.client_id).is_none_or(|last| *last < m.id));
        for mutation in unconfirmed.take(take as usize) {
            Program::decode(&mutation.args_json).replay(&mut self.ahead);
            self.confirmed
                .insert(mutation.client_id.clone(), mutation.id);
            poke.confirmed
                .insert(mutation.client_id.clone(), mutation.id);
        }
        for _ in 0..self.random.next() % 3 {
            let k = self.random.next() % 6;
            match self.random.next() % 3 {
                0 => self.ahead.remove(&k),
                _ => self.ahead.insert(k, self.random.next() % 50),
            };
        }
        poke.cleared = self.random.next().is_multiple_of(8);
        for k in 0..6 {
            let (old, new) = (before.get(&k), self.ahead.get(&k));
            // Sending too much is harmless.
            if old != new || (poke.cleared && new.is_some()) || self.random.next().is_multiple_of(5)
            {
                poke.rows.push(match new {
                    Some(v) => RowChange::Put {
                        table: TableId(0),
                        row: row(k, *v),
                    },
                    None => RowChange::Del {
                        table: TableId(0),
                        key: key(k).1,
                    },
                });
            }
        }
        self.waiting.push(poke);
    }

    fn run_one(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let index = self.random.next() as usize % self.running.len();
        if self.running[index].left > 0 {
            self.running[index].left -= 1;
            return;
        }
        match self.running[index].outcome.take() {
            None => self.write_one(index),
            Some(result) => {
                let run = self.running.remove(index);
                let mut steps = Vec::new();
                self.rebase.settle(
                    run.tx,
                    result,
                    &mut self.rows,
                    &mut self.mutations,
                    &mut steps,
                );
                self.take(steps);
            }
        }
    }

    /// The mutator writes, awaits again, and ends after that.
    fn write_one(&mut self, index: usize) {
        let run = &self.running[index];
        let program = run.program;
        let b = key(program.b);
        let now = self
            .rebase
            .tx_row(&self.rows, run.tx, &b)
            .map(|r| value(&r));
        let read_again = self
            .rebase
            .tx_row(&self.rows, run.tx, &key(program.a))
            .map(|r| value(&r));
        assert_eq!(read_again, run.read, "a branch is a stable snapshot");
        let outcome = program.effect(run.read, now);
        let after = match outcome {
            Some(after) => after,
            // Writes, then throws: nothing of it may stay.
            None => Some(49),
        };
        let value = Json::parse("{}").expect("JSON");
        let op = CrudOp {
            op: CrudKind::Upsert,
            table_name: "t".into(),
            primary_key: Vec::new(),
            value,
        };
        self.rebase
            .write(run.tx, op, Some((b, after.map(|v| row(program.b, v)))));
        let run = &mut self.running[index];
        run.left = program.awaits;
        run.outcome = Some(match outcome {
            Some(_) => Ok(()),
            None => Err(MutationError {
                source: ErrorSource::App,
                message: "a multiple of three".into(),
                details: None,
            }),
        });
    }

    fn advance(&mut self) {
        loop {
            if self.rebase.is_idle() && !self.waiting.is_empty() {
                let poke = self.waiting.remove(0);
                let pending = self.mutations.pending().len();
                self.rebase.begin_round(0.0, Some(poke), pending);
            } else if self.rebase.round_is_due(0.0) {
                let pending = self.mutations.pending().len();
                self.rebase.begin_round(0.0, None, pending);
            }
            let mut steps = Vec::new();
            let allowed = Steps::new(1 + self.random.next() as usize % 150);
            self.rebase.advance(
                0.0,
                &mut self.rows,
                &mut self.mutations,
                &allowed,
                &mut steps,
            );
            if steps.is_empty() {
                // The next slice may have to wait for others.
                if self.rebase.has_work() && !self.random.next().is_multiple_of(3) {
                    continue;
                }
                return;
            }
            self.take(steps);
        }
    }

    fn take(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Run(run) => {
                    let program = Program::decode(&run.args_json);
                    let read = self
                        .rebase
                        .tx_row(&self.rows, run.tx, &key(program.a))
                        .map(|r| value(&r));
                    self.running.push(Running {
                        tx: run.tx,
                        program,
                        read,
                        left: program.awaits,
                        outcome: None,
                    });
                }
                Step::Committed { .. } | Step::Refused { .. } => {}
                Step::Swapped { poke } => self.swapped(poke),
            }
        }
    }

    fn swapped(&mut self, poke: Option<Poke>) {
        self.swaps += 1;
        let Some(poke) = poke else { return };
        self.swaps_with_rows += usize::from(!poke.rows.is_empty());
        if poke.cleared {
            self.server.clear();
        }
        for change in poke.rows {
            match change {
                RowChange::Put { row, .. } => self.server.insert(number(&row), value(&row)),
                RowChange::Del { key, .. } => self.server.remove(&number(&key.0)),
            };
        }
        let settled = self.mutations.settled_by(&poke.confirmed, &poke.results);
        self.mutations.apply(&poke.confirmed, &settled);
    }

    /// C1: the server state is the fold of the applied pokes. C2: the visible state is that plus the pending ones.
    fn check(&self) {
        let server: State = (0..6)
            .filter_map(|k| {
                self.rebase
                    .server_row(&self.rows, &key(k))
                    .map(|r| (k, value(&r)))
            })
            .collect();
        assert_eq!(server, self.server, "C1");
        // A pending mutation stands for its place in the queue only once its round is over.
        if self.rebase.round_due || !self.rebase.is_idle() {
            return;
        }
        let mut expected = self.server.clone();
        for mutation in self.mutations.pending() {
            Program::decode(&mutation.args_json).replay(&mut expected);
        }
        let visible: State = (0..6)
            .filter_map(|k| self.rows.row(&key(k)).map(|r| (k, value(&r))))
            .collect();
        assert_eq!(visible, expected, "C2");
        if self.mutations.is_empty() {
            assert!(
                self.rebase.shadow.is_empty(),
                "no shadow without a pending mutation"
            );
        }
    }
}

#[test]
fn server_state_and_visible_state_hold_after_every_step() {
    let seconds = std::env::var("LANDFALL_TEST_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(1.0);
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let (mut seed, mut swaps) = (0, 0);
    // Enough to reach what is tested, however slow the machine is.
    while seed < 25 || Instant::now() < end {
        seed += 1;
        let mut world = World::new(seed);
        for step in 0..200 {
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.step()));
            if let Err(panic) = caught {
                eprintln!("seed {seed}, step {step}");
                std::panic::resume_unwind(panic);
            }
        }
        swaps += world.swaps_with_rows;
        assert!(world.swaps >= world.swaps_with_rows);
    }
    assert!(swaps > 100, "the test must reach what it tests: {swaps}");
}
