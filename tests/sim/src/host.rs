//! A tab: one client with everything a browser would give it, driven step by step.
//!
//! Mutators are Rust functions that run in steps, one per turn, so that they can "await".

use crate::decoder::Decoder;
use crate::disk::{Disk, DiskFault};
use landfall_client::{
    CallId, Client, ConnectionState, Effect, ErrorSource, Event, MutationError, Options, Outcome,
    QuerySource, Role, RunReason, SocketId, StoreRequestId, TextPieces, TxId, ViewId, ViewRequest,
};
use landfall_store::{BackendFailure, StoreFailure, StoreReply, StoreRequest};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What one step of a mutator says.
pub enum Progress {
    /// There is more to do, in a later turn.
    Await,
    /// It has ended.
    Done(Result<(), MutationError>),
}

/// One step of a mutator: its transaction, its first argument, the number of the step, and why it runs.
pub type Mutator = fn(&mut Client, TxId, &Value, usize, RunReason) -> Progress;

/// An error as a mutator throws it.
pub fn thrown(message: impl Into<String>) -> MutationError {
    MutationError {
        source: ErrorSource::App,
        message: message.into(),
        details: None,
    }
}

struct RunningMutator {
    tx: TxId,
    mutator: Option<Mutator>,
    argument: Value,
    reason: RunReason,
    step: usize,
}

/// What the socket of a tab is doing.
#[derive(Clone, Debug, PartialEq)]
pub struct Socket {
    /// Its number.
    pub id: SocketId,
    /// The URL it was opened with.
    pub url: String,
    /// The handshake value.
    pub protocol: String,
}

/// A text that stays with the host, and how many bytes each of its pieces has, in turn.
struct Cut {
    text: String,
    at: usize,
    sizes: Vec<usize>,
}

impl TextPieces for Cut {
    fn next_piece(&mut self, bytes: usize) -> Option<Vec<u8>> {
        if self.at == self.text.len() {
            return None;
        }
        self.sizes.rotate_left(1);
        let size = self.sizes.last().map_or(bytes, |size| bytes.min(*size));
        let end = self.text.len().min(self.at + size.max(1));
        let piece = self.text.as_bytes()[self.at..end].to_vec();
        self.at = end;
        Some(piece)
    }
}

/// A tab.
pub struct Tab {
    /// The client under test.
    pub client: Client,
    /// What JavaScript would hold.
    pub decoder: Decoder,
    /// The clock.
    pub now: f64,
    /// Storage shared with the other tabs of the browser.
    pub disk: Disk,
    /// The socket that the client has asked for.
    pub socket: Option<Socket>,
    /// Texts to the server that it has not taken yet.
    pub sent: VecDeque<String>,
    /// Most texts to the server that came of one call of the client.
    pub most_sent: usize,
    /// Announcements that the other tabs have not taken yet.
    pub announced: VecDeque<String>,
    /// Locks asked for or held.
    pub locks: BTreeSet<String>,
    /// Locks held.
    pub held: BTreeSet<String>,
    /// Locks asked for that the browser has not taken note of yet.
    pub lock_requests: Vec<String>,
    /// The client shows what it holds.
    pub ready: bool,
    /// Latest connection state.
    pub connection: Option<ConnectionState>,
    /// Results of calls.
    pub local: BTreeMap<CallId, Result<u64, MutationError>>,
    /// Durability of calls.
    pub durable: BTreeMap<CallId, Result<(), String>>,
    /// Outcomes by client and id.
    pub outcomes: BTreeMap<(String, u64), Outcome>,
    /// Outcomes by call.
    pub ends: BTreeMap<CallId, Outcome>,
    /// Everything else, as text, in order.
    pub notes: Vec<String>,
    /// Storage does nothing while set.
    pub storage_stalled: bool,
    /// Storage requests fail while set.
    pub storage_fails: bool,
    /// Storage is carried out and answered only by [`Tab::commit_one`] and [`Tab::hear_one`].
    pub manual_storage: bool,
    /// The client goes on with its work only by [`Tab::work_one`].
    pub manual_work: bool,
    /// The client has more to do.
    pub wants_work: bool,
    goes_out: bool,
    /// What waits to be stored and sent waits for something else that happens.
    pub goes_out_late: bool,
    /// Texts of the server come in pieces of these sizes in turn; whole if there are none.
    pub piece_sizes: Vec<usize>,
    /// What happens to the next request.
    pub next_fault: DiskFault,
    /// The page does not run.
    pub frozen: bool,
    /// A tab that holds what storage held when it gave results to show before the rows, and is alone with it.
    pub twin: Option<Box<Tab>>,
    options: Options,
    mutators: BTreeMap<&'static str, Mutator>,
    running: VecDeque<RunningMutator>,
    stores: VecDeque<(StoreRequestId, StoreRequest)>,
    answers: VecDeque<(StoreRequestId, Result<StoreReply, StoreFailure>)>,
    wake_at: Option<f64>,
    /// The socket that has closed by itself last.
    broken: Option<SocketId>,
    /// Prints what happens, when `LANDFALL_TRACE` is set.
    trace: bool,
}

impl Tab {
    /// Opens a tab on this storage.
    pub fn open(
        options: Options,
        disk: Disk,
        mutators: &[(&'static str, Mutator)],
        now: f64,
    ) -> Tab {
        let client = Client::new(now, options.clone()).expect("the options are good");
        let decoder = Decoder::new(&client.layout());
        Tab {
            client,
            decoder,
            now,
            disk,
            socket: None,
            sent: VecDeque::new(),
            most_sent: 0,
            announced: VecDeque::new(),
            locks: BTreeSet::new(),
            held: BTreeSet::new(),
            lock_requests: Vec::new(),
            ready: false,
            connection: None,
            local: BTreeMap::new(),
            durable: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            ends: BTreeMap::new(),
            notes: Vec::new(),
            storage_stalled: false,
            storage_fails: false,
            manual_storage: false,
            manual_work: false,
            wants_work: false,
            goes_out: false,
            goes_out_late: false,
            piece_sizes: Vec::new(),
            next_fault: DiskFault::None,
            frozen: false,
            twin: None,
            options,
            answers: VecDeque::new(),
            mutators: mutators.iter().copied().collect(),
            running: VecDeque::new(),
            stores: VecDeque::new(),
            wake_at: None,
            broken: None,
            trace: std::env::var_os("LANDFALL_TRACE").is_some(),
        }
    }

    /// Carries out all effects, storage included, until nothing is left but mutators that await.
    pub fn pump(&mut self) -> &mut Self {
        loop {
            let effects = self.client.take_effects();
            let idle = effects.is_empty();
            let is_text = |effect: &&Effect| matches!(effect, Effect::SendText { .. });
            self.most_sent = self.most_sent.max(effects.iter().filter(is_text).count());
            for effect in effects {
                self.carry_out(effect);
            }
            if idle && !self.goes_out_late && std::mem::take(&mut self.goes_out) {
                self.client.go_out(self.now);
                continue;
            }
            if idle && !self.answer_one_store() && (self.manual_work || !self.work_one()) {
                return self;
            }
        }
    }

    /// Lets the mutator that has waited longest take one step.
    pub fn step_one_mutator(&mut self) -> bool {
        let awaiting = self.is_awaiting();
        self.step_mutator();
        self.pump();
        awaiting
    }

    /// Pumps, and lets each awaiting mutator take one step.
    pub fn turn(&mut self) -> &mut Self {
        self.pump();
        for _ in 0..self.running.len() {
            self.step_mutator();
        }
        self.pump()
    }

    fn make_twin(&self) -> Tab {
        let options = Options {
            cache_url: None,
            role: Role::Usual,
            ..self.options.clone()
        };
        let mut twin = Tab::open(options, self.disk.copy(), &[], self.now);
        twin.pump();
        twin
    }

    /// When it wants to be woken, by its clock.
    pub fn wakes_at(&self) -> Option<f64> {
        self.wake_at
    }

    /// Whether a mutator is awaiting.
    pub fn is_awaiting(&self) -> bool {
        !self.running.is_empty()
    }

    fn answer_one_store(&mut self) -> bool {
        !self.manual_storage && (self.commit_one() || self.hear_one())
    }

    /// Carries out the oldest storage request, without telling the client yet.
    pub fn commit_one(&mut self) -> bool {
        if self.storage_stalled {
            return false;
        }
        let Some((request, op)) = self.stores.pop_front() else {
            return false;
        };
        let fault = match self.storage_fails {
            true => DiskFault::Fails(BackendFailure::Other),
            false => std::mem::take(&mut self.next_fault),
        };
        let result = self.disk.execute(&op, fault);
        if let Ok(StoreReply::Kept(results)) = &result
            && !results.is_empty()
            // A twin has no server, and no twin.
            && self.options.cache_url.is_some()
        {
            self.twin = Some(Box::new(self.make_twin()));
        }
        if self.trace {
            let text: String = format!("{result:?}").chars().take(300).collect();
            eprintln!("{} stores {request:?} {text}", self.client.client_id());
        }
        self.answers.push_back((request, result));
        true
    }

    /// Everything that the client holds, as it exports it.
    pub fn export(&self) -> Value {
        let text: String = self.client.export().collect();
        serde_json::from_str(&text).expect("an export is JSON")
    }

    /// Lets the client do its next slice of work.
    pub fn work_one(&mut self) -> bool {
        let wants = std::mem::take(&mut self.wants_work);
        if wants {
            self.client.work(self.now);
        }
        wants
    }

    /// Tells the client the oldest answer of storage.
    pub fn hear_one(&mut self) -> bool {
        let Some((request, result)) = self.answers.pop_front() else {
            return false;
        };
        let event = Event::Stored { request, result };
        self.client.handle(self.now, event);
        true
    }

    fn carry_out(&mut self, effect: Effect) {
        if self.trace && !matches!(effect, Effect::Flush(_) | Effect::WakeAt { .. }) {
            let text: String = format!("{effect:?}").chars().take(600).collect();
            eprintln!("{} < {text}", self.client.client_id());
        }
        match effect {
            Effect::Store { request, op } => self.stores.push_back((request, op)),
            Effect::OpenSocket {
                socket,
                url,
                protocol,
            } => {
                assert!(self.socket.is_none(), "one socket at a time");
                self.socket = Some(Socket {
                    id: socket,
                    url,
                    protocol,
                });
            }
            Effect::SendText { socket, text } => {
                if self.is_present(socket, "sent on") {
                    self.sent.push_back(text);
                }
            }
            Effect::CloseSocket { socket, .. } => {
                if self.is_present(socket, "closed") {
                    self.socket = None;
                    self.sent.clear();
                }
            }
            Effect::GoOut => self.goes_out = true,
            Effect::MoreWork => {
                assert!(!self.wants_work, "asked for work once");
                self.wants_work = true;
            }
            Effect::WakeAt { at_ms } => self.wake_at = at_ms,
            Effect::Flush(flush) => self.decoder.apply(&flush),
            Effect::RunMutator {
                tx,
                name,
                args_json,
                reason,
                ..
            } => {
                let arguments: Value =
                    serde_json::from_str(&args_json).expect("arguments are JSON");
                let mutator = self.mutators.get(name.as_str()).copied();
                self.running.push_back(RunningMutator {
                    tx,
                    mutator,
                    argument: arguments[0].clone(),
                    reason,
                    step: 0,
                });
                // Started in this very turn.
                self.running.rotate_right(1);
                self.step_mutator();
            }
            Effect::MutationLocal { call, result } => {
                assert!(
                    self.local.insert(call, result).is_none(),
                    "a call ends once"
                );
            }
            Effect::MutationDurable { call, result } => {
                self.durable.insert(call, result);
            }
            Effect::MutationOutcome {
                call,
                client_id,
                mutation_id,
                outcome,
            } => {
                if let Some(call) = call {
                    let before = self.ends.insert(call, outcome.clone());
                    assert!(
                        before.is_none(),
                        "one outcome per call {call:?}: {outcome:?} after {before:?}"
                    );
                }
                // What another tab has made may come back with its group, when that was taken to be over.
                let is_new = |before: &Outcome| *before == Outcome::Uncertain && call.is_none();
                let before = self.outcomes.insert((client_id, mutation_id), outcome);
                assert!(
                    before.is_none_or(|it| is_new(&it)),
                    "one outcome per mutation"
                );
            }
            Effect::Connection(state) => self.connection = Some(state),
            Effect::Announce { text } => self.announced.push_back(text),
            Effect::RequestLock { name } => {
                if self.locks.insert(name.clone()) {
                    self.lock_requests.push(name);
                }
            }
            Effect::ReleaseLock { name } => {
                self.locks.remove(&name);
                self.held.remove(&name);
                self.lock_requests.retain(|asked| *asked != name);
            }
            Effect::Log { level, message } => self.notes.push(format!("{level:?}: {message}")),
            other => {
                self.ready |= matches!(other, Effect::Ready { .. });
                self.notes.push(format!("{other:?}"));
            }
        }
    }

    /// Whether it is the present socket. One that has closed by itself may still be in use, until the client has come to
    /// that event.
    fn is_present(&self, socket: SocketId, what: &str) -> bool {
        let present = self.socket.as_ref().map(|s| s.id);
        assert!(
            present == Some(socket) || (present.is_none() && self.broken == Some(socket)),
            "{what} the present socket"
        );
        present.is_some()
    }

    /// One step of the mutator at the front of the queue.
    fn step_mutator(&mut self) {
        let Some(mut run) = self.running.pop_front() else {
            return;
        };
        let progress = match run.mutator {
            Some(mutator) => mutator(
                &mut self.client,
                run.tx,
                &run.argument,
                run.step,
                run.reason,
            ),
            None => Progress::Done(Err(thrown("Mutator not found"))),
        };
        run.step += 1;
        match progress {
            Progress::Await => self.running.push_back(run),
            Progress::Done(result) => self.client.settle(self.now, run.tx, result),
        }
    }

    /// The clock shows this now; the client is woken if it asked for it.
    pub fn set_clock(&mut self, now: f64) -> bool {
        self.now = self.now.max(now);
        let due = self.wake_at.take_if(|at| *at <= self.now).is_some();
        if due {
            self.event(Event::Wake);
        }
        due
    }

    /// Lets time pass, waking the client whenever it asked for it.
    pub fn pass(&mut self, ms: f64) -> &mut Self {
        let end = self.now + ms;
        self.pump();
        let mut in_vain = 0;
        while let Some(at) = self.wake_at.filter(|at| *at <= end) {
            self.wake_at = None;
            in_vain = if at > self.now { 0 } else { in_vain + 1 };
            assert!(
                in_vain < 1_000,
                "woken again and again at {at}, it is {}: {:?}",
                self.now,
                self.connection
            );
            self.now = self.now.max(at);
            self.client.handle(self.now, Event::Wake);
            self.pump();
        }
        self.now = end;
        self
    }

    /// Tells the client something.
    pub fn event(&mut self, event: Event) -> &mut Self {
        if self.trace && !matches!(event, Event::SocketText { .. } | Event::SocketPieces { .. }) {
            eprintln!("{} > {event:?}", self.client.client_id());
        }
        self.client.handle(self.now, event);
        self.pump()
    }

    /// A text of the server arrives on the present socket.
    pub fn receive(&mut self, text: &str) -> &mut Self {
        if self.trace {
            eprintln!("{} > {text}", self.client.client_id());
        }
        let socket = self.socket.as_ref().expect("there is a socket").id;
        let text = text.to_owned();
        if self.piece_sizes.is_empty() {
            return self.event(Event::SocketText { socket, text });
        }
        let sizes = self.piece_sizes.clone();
        let text = Box::new(Cut { text, at: 0, sizes });
        self.event(Event::SocketPieces { socket, text })
    }

    /// The connection breaks.
    pub fn break_connection(&mut self) -> &mut Self {
        self.sent.clear();
        if let Some(socket) = self.socket.take() {
            self.broken = Some(socket.id);
            self.event(Event::SocketClosed {
                socket: socket.id,
                code: 1006,
                reason: String::new(),
            });
        }
        self
    }

    /// Opens a view.
    pub fn view(&mut self, ast: &str, source: QuerySource) -> ViewId {
        let request = ViewRequest {
            ast_json: ast.to_owned(),
            source,
            ttl_ms: 300_000.0,
            materialize: true,
        };
        let view = self
            .client
            .view(self.now, request)
            .expect("the query is good");
        self.decoder.expect_view(view.0, ast);
        self.pump();
        view
    }

    /// Closes a view.
    pub fn drop_view(&mut self, view: ViewId) -> &mut Self {
        self.client
            .drop_view(self.now, view)
            .expect("the client is open");
        self.decoder.drop_view(view.0);
        self.pump()
    }

    /// Calls a mutator.
    pub fn mutate(&mut self, name: &str, argument: &Value) -> CallId {
        let call = self
            .client
            .mutate(self.now, name, &format!("[{argument}]"))
            .expect("the client is open");
        self.pump();
        call
    }
}
