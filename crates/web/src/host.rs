//! [`Host`]: turns what the browser says into events of the client, and carries out the client's effects.
//!
//! Nothing is decided here. Effects that concern the application wait in the outbox until JavaScript takes them.
//! What goes out (to storage, the server, other tabs) waits behind them: the page is shown a change first, and JavaScript
//! calls [`Host::carry_outward`] when it has done so. What follows closely waits for the page's next turn, so that the
//! writes of a loop go out together. If the page is not concerned, it goes out at once. The timer is set with it.

use crate::clock::now_ms;
use crate::outgoing::{Outbox, Outgoing};
use crate::pace::{Calls, Pace};
use crate::page::{Page, PageEvent};
use crate::panic::{guarded, panicked};
use crate::socket::{Socket, SocketEvent};
use crate::startup::{Startup, StorageKind};
use crate::storage::Storage;
use crate::tabs::{Channel, Locks};
use crate::timer::{Soon, Timer};
use js_sys::Function;
use landfall_client::{Client, ClientError, Effect, Event, LogLevel, SocketId, WarmUp};
use std::cell::{Cell, RefCell, RefMut};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use wasm_bindgen::prelude::*;
use web_sys::IdbDatabase;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = queueMicrotask)]
    fn queue_microtask(callback: &Function);
}

/// A slice of the client's work should take so long; the page's own part of the task comes on top.
const CALL_MS: f64 = 4.0;

/// After so long a turn of work the page has its own, which may be slower than this one by far.
const WORK_MS: f64 = 5.0;

/// After so long a turn of work the page is told what came of it in its next turn: to show it takes as long again.
const TELLING_MS: f64 = 2.5;

/// What goes out so soon after something else waits for the next turn of the page.
const APART_MS: f64 = 4.0;

/// A client and everything in the page that it uses.
pub(crate) struct Host {
    client: RefCell<Client>,
    arrived: RefCell<VecDeque<Event>>,
    carrying: Cell<bool>,
    // The client has more to do, and may be doing it.
    wants_work: Cell<bool>,
    working: Cell<bool>,
    // The next turn of the page is for carrying out, and for telling it what the last one brought.
    tells_next: Cell<bool>,
    pace: RefCell<Pace>,
    calls: RefCell<Calls>,
    warm_up: RefCell<Option<WarmUp>>,
    // While the page waits for its storage.
    warms_up: Cell<bool>,
    outbox: RefCell<Outbox>,
    outward: RefCell<VecDeque<Effect>>,
    // When something went out last, and whether the next turn of the page is for letting more out.
    went_out: Cell<f64>,
    goes_out_next: Cell<bool>,
    // A page that is hidden or left may never have another turn.
    has_turns: Cell<bool>,
    notify: Function,
    storage: Rc<Storage>,
    has_private_storage: bool,
    storage_name: String,
    // One, or two for a moment: a list is smaller than a map, in code too.
    sockets: RefCell<Vec<(SocketId, Socket)>>,
    // `None` before the start and after the end.
    page: RefCell<Option<PageConnections>>,
    weak: Weak<Host>,
}

// What the client shares with the page and other tabs.
struct PageConnections {
    timer: Timer,
    soon: Soon,
    channel: Option<Channel>,
    locks: Option<Locks>,
    _page: Page,
}

impl Host {
    /// Makes the client, which does nothing before the [start](Host::start). Its database may be open already.
    pub(crate) fn new(
        startup: Startup,
        notify: Function,
        database: Option<IdbDatabase>,
    ) -> Result<Rc<Host>, ClientError> {
        let pace = Pace::new(CALL_MS, startup.client.limits.slice_steps);
        let client = Client::new(now_ms(), startup.client)?;
        Ok(Rc::new_cyclic(|weak: &Weak<Host>| Host {
            client: RefCell::new(client),
            arrived: RefCell::default(),
            carrying: Cell::new(false),
            wants_work: Cell::new(false),
            working: Cell::new(false),
            tells_next: Cell::new(false),
            pace: RefCell::new(pace),
            calls: RefCell::default(),
            warm_up: RefCell::new(Some(WarmUp::default())),
            warms_up: Cell::new(startup.storage == StorageKind::Indexed),
            outbox: RefCell::default(),
            outward: RefCell::default(),
            went_out: Cell::default(),
            goes_out_next: Cell::default(),
            has_turns: Cell::new(true),
            notify,
            storage: Storage::new(startup.storage, &startup.storage_name, database, {
                let weak = weak.clone();
                move |request, result| tell(&weak, Event::Stored { request, result })
            }),
            has_private_storage: startup.storage == StorageKind::Memory,
            storage_name: startup.storage_name,
            sockets: RefCell::default(),
            page: RefCell::default(),
            weak: weak.clone(),
        }))
    }

    /// Listens to the page. The client's first effects are carried out in the next turn: much of this runs for the first
    /// time, and is compiled.
    pub(crate) fn start(&self) {
        // What the page says at once waits until then.
        self.carrying.set(true);
        self.page.replace(Some(self.connect_to_page()));
        self.tells_next.set(true);
        self.with_page(|page| page.soon.ask());
    }

    fn connect_to_page(&self) -> PageConnections {
        let [timer, soon, channel, page] = [(); 4].map(|()| self.weak.clone());
        PageConnections {
            timer: Timer::new(move || tell(&timer, Event::Wake)),
            soon: Soon::new(move || {
                if let Some(host) = soon.upgrade()
                    && !panicked()
                {
                    host.work();
                }
            }),
            // Without shared storage there is no group to talk to.
            channel: (!self.has_private_storage)
                .then(|| {
                    Channel::open(&self.storage_name, move |text| {
                        tell(&channel, Event::Announced { text });
                    })
                })
                .flatten(),
            locks: (!self.has_private_storage).then(Locks::of_page).flatten(),
            _page: Page::watch(move |event| {
                let event = match event {
                    PageEvent::Visible(visible) => Event::Visibility { visible },
                    PageEvent::Leaving => Event::Leaving,
                    PageEvent::Online(online) => Event::Online { online },
                };
                tell(&page, event);
            }),
        }
    }

    /// A call of JavaScript that changes the client; it takes what is in the outbox afterwards.
    pub(crate) fn enter<T>(
        &self,
        call: impl FnOnce(&mut Client, f64) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let begun = self.begin_call();
        let result = call(&mut self.client.borrow_mut(), begun);
        self.end_call(begun);
        result
    }

    // Not in the function above, of which there is one for each kind of call. So is what follows a call.
    fn begin_call(&self) -> f64 {
        let now = now_ms();
        if self.calls.borrow().are_long(now) {
            self.client.borrow_mut().end_slice();
        }
        now
    }

    fn end_call(&self, begun: f64) {
        self.carry_out();
        if self.outbox.borrow().is_empty() {
            self.carry_outward();
        }
        if self.calls.borrow_mut().ended(begun, now_ms()) {
            self.ask_for_work();
        }
    }

    /// A call of JavaScript from which nothing follows outside: what waits to go out waits on.
    pub(crate) fn within<T>(&self, call: impl FnOnce(&mut Client) -> T) -> T {
        call(&mut self.client.borrow_mut())
    }

    /// The page asks for rows itself: that calls what the warm-up would have called.
    pub(crate) fn pause_warm_up(&self) {
        self.warms_up.set(false);
    }

    /// Does a step of the warm-up; whether there are more.
    pub(crate) fn warm_up(&self) -> bool {
        let mut warm_up = self.warm_up.borrow_mut();
        let more = warm_up.as_mut().is_some_and(WarmUp::step);
        if !more {
            *warm_up = None;
        }
        let first = warm_up.as_ref().is_some_and(WarmUp::is_for_first_views);
        self.warms_up.set(first && self.warms_up.get());
        more
    }

    /// A call of JavaScript that only reads.
    pub(crate) fn read<T>(&self, call: impl FnOnce(&Client) -> T) -> T {
        call(&self.client.borrow())
    }

    /// The box of effects for JavaScript.
    pub(crate) fn outbox(&self) -> RefMut<'_, Outbox> {
        self.outbox.borrow_mut()
    }

    /// Asks stores of earlier schemas for the client.
    pub(crate) fn ask_earlier(&self, names: &[String]) {
        let request = self.read(Client::earlier_request);
        let weak = self.weak.clone();
        crate::earlier::ask(names, &request, move |answers| {
            tell(&weak, Event::Earlier { answers });
        });
    }

    // Something happened in the page. Within `carry_out` it waits its turn.
    fn event(&self, event: Event) {
        match event {
            Event::Visibility { visible } => self.has_turns.set(visible),
            Event::Leaving => self.has_turns.set(false),
            _ => {}
        }
        self.arrived.borrow_mut().push_back(event);
        if self.carrying.get() {
            return;
        }
        self.look_at_sockets();
        self.carry_out();
        self.end_turn();
    }

    // Before the client may give a connection up.
    fn look_at_sockets(&self) {
        let sockets = self.sockets.borrow();
        let took = sockets.iter().find(|(_, socket)| socket.has_taken());
        if let Some((socket, _)) = took {
            let event = Event::SocketTook { socket: *socket };
            self.client.borrow_mut().handle(now_ms(), event);
        }
    }

    // JavaScript did not call, so it has to be told.
    fn end_turn(&self) {
        if self.outbox.borrow().is_empty() {
            self.carry_outward();
        }
        if !self.outbox.borrow().is_empty() {
            queue_microtask(&self.notify);
        }
    }

    // A turn of the page for what is left to do.
    fn work(&self) {
        // If this turn does not let out what waits for it, because the page is told something first, another one is asked for.
        self.goes_out_next.set(false);
        self.calls.borrow_mut().turn();
        if self.tells_next.replace(false) {
            self.working.set(true);
            self.carry_out();
            self.working.set(false);
            return self.go_on();
        }
        if self.warms_up.get() {
            self.warm_up();
            self.with_page(|page| page.soon.ask());
            return;
        }
        let turn = now_ms();
        let mut now = turn;
        let mut steps = 0;
        self.look_at_sockets();
        self.working.set(true);
        while self.wants_work.replace(false) {
            let begun = now;
            self.client.borrow_mut().work(begun);
            steps += self.client.borrow().spent_steps();
            self.carry_out();
            now = now_ms();
            // The next one may take as long.
            if now + (now - begun) >= turn + WORK_MS || self.outbox.borrow().is_much() {
                break;
            }
        }
        self.keep_pace(steps, now - turn);
        self.working.set(false);
        if now >= turn + TELLING_MS && !self.outbox.borrow().is_empty() {
            self.tells_next.set(true);
            self.with_page(|page| page.soon.ask());
        } else {
            self.go_on();
        }
    }

    // Ends a turn of work, with another one behind it if there is more to do.
    fn go_on(&self) {
        let wants = self.wants_work.get() || self.warms_up.get();
        self.with_page(|page| match wants {
            true => page.soon.ask(),
            false => page.soon.rest(),
        });
        self.end_turn();
    }

    fn keep_pace(&self, spent: usize, took_ms: f64) {
        let steps = self.pace.borrow_mut().after(spent, took_ms);
        self.client.borrow_mut().set_slice_steps(steps);
    }

    fn ask_for_work(&self) {
        self.wants_work.set(true);
        if !self.working.get() {
            self.with_page(|page| page.soon.ask());
        }
    }

    fn carry_out(&self) {
        self.carrying.set(true);
        loop {
            let effects = self.client.borrow_mut().take_effects();
            for effect in effects {
                self.sort(effect);
            }
            let Some(event) = self.arrived.borrow_mut().pop_front() else {
                break;
            };
            self.client.borrow_mut().handle(now_ms(), event);
        }
        self.carrying.set(false);
    }

    fn sort(&self, effect: Effect) {
        match effect {
            Effect::Flush(flush) => self.outbox.borrow_mut().push_flush(flush),
            Effect::MoreWork => self.ask_for_work(),
            // To set a timer takes as long as to show a small view: it waits as well.
            Effect::WakeAt { at_ms } => {
                if self.with_page(|page| page.timer.is_set_for(at_ms)) == Some(false) {
                    self.outward.borrow_mut().push_back(effect);
                }
            }
            Effect::Store { .. }
            | Effect::OpenSocket { .. }
            | Effect::SendText { .. }
            | Effect::CloseSocket { .. }
            | Effect::Announce { .. }
            | Effect::RequestLock { .. }
            | Effect::ReleaseLock { .. }
            | Effect::GoOut
            | Effect::Closed => self.outward.borrow_mut().push_back(effect),
            other => self.outbox.borrow_mut().push_effect(other),
        }
    }

    /// Whether the page is neither hidden nor left.
    pub(crate) fn has_turns(&self) -> bool {
        self.has_turns.get()
    }

    /// Whether something is to go out in this turn of the page. What follows closely on something else waits for the next
    /// one, with all that comes until then.
    pub(crate) fn has_outward(&self) -> bool {
        if !self.has_waiting() {
            return false;
        }
        let is_close = now_ms() < self.went_out.get() + APART_MS;
        if !is_close || !self.has_turns() {
            return true;
        }
        if !self.goes_out_next.get() {
            let asked = self.with_page(|page| page.soon.ask());
            self.goes_out_next.set(asked.is_some());
        }
        !self.goes_out_next.get()
    }

    /// Carries out what waits to go out, and what comes of it.
    pub(crate) fn carry_outward(&self) {
        self.goes_out_next.set(false);
        while self.has_waiting() {
            self.went_out.set(now_ms());
            self.carrying.set(true);
            while let Some(effect) = self.next_outward() {
                self.carry_outward_one(effect);
            }
            self.carry_out();
        }
    }

    fn has_waiting(&self) -> bool {
        !self.outward.borrow().is_empty()
    }

    fn next_outward(&self) -> Option<Effect> {
        self.outward.borrow_mut().pop_front()
    }

    fn carry_outward_one(&self, effect: Effect) {
        match effect {
            Effect::Store { request, op } => self.storage.submit(request, op),
            Effect::OpenSocket {
                socket,
                url,
                protocol,
            } => self.open_socket(socket, &url, &protocol),
            Effect::SendText { socket, text } => self.send(socket, &text),
            Effect::CloseSocket { socket, code } => {
                if let Some(open) = self.forget_socket(socket) {
                    open.close(code);
                }
            }
            Effect::Announce { text } => self.announce(&text),
            Effect::RequestLock { name } => self.request_lock(name),
            Effect::ReleaseLock { name } => self.release_lock(&name),
            Effect::WakeAt { at_ms } => {
                self.with_page(|page| page.timer.set(at_ms));
            }
            Effect::GoOut => self.client.borrow_mut().go_out(now_ms()),
            Effect::Closed => self.finish(),
            other => self.sort(other),
        }
    }

    fn open_socket(&self, socket: SocketId, url: &str, protocol: &str) {
        let weak = self.weak.clone();
        let opened = Socket::open(url, protocol, move |event| match event {
            SocketEvent::Opened => tell(&weak, Event::SocketOpened { socket }),
            SocketEvent::Text(text) => tell(&weak, Event::SocketText { socket, text }),
            SocketEvent::LongText(text) => {
                let text = Box::new(text);
                tell(&weak, Event::SocketPieces { socket, text });
            }
            SocketEvent::Binary(bytes) => tell(&weak, Event::SocketBinary { socket, bytes }),
            SocketEvent::Closed { code, reason } => {
                if let Some(host) = weak.upgrade() {
                    host.forget_socket(socket);
                }
                tell(
                    &weak,
                    Event::SocketClosed {
                        socket,
                        code,
                        reason,
                    },
                );
            }
        });
        match opened {
            Ok(open) => {
                self.sockets.borrow_mut().push((socket, open));
            }
            Err(reason) => self.event(Event::SocketClosed {
                socket,
                code: 1006,
                reason,
            }),
        }
    }

    fn forget_socket(&self, socket: SocketId) -> Option<Socket> {
        let mut sockets = self.sockets.borrow_mut();
        let place = sockets.iter().position(|(id, _)| *id == socket)?;
        Some(sockets.swap_remove(place).1)
    }

    fn send(&self, socket: SocketId, text: &str) {
        let sockets = self.sockets.borrow();
        let open = sockets.iter().find(|(id, _)| *id == socket);
        if let Some((_, open)) = open
            && let Err(reason) = open.send(text)
        {
            // Only a socket that is still opening refuses; the client sends on open ones.
            self.log(LogLevel::Warn, format!("a frame was not sent: {reason}"));
        }
    }

    fn announce(&self, text: &str) {
        let problem = self.with_page(|page| page.channel.as_ref()?.post(text).err());
        if let Some(reason) = problem.flatten() {
            self.log(
                LogLevel::Warn,
                format!("other tabs were not told: {reason}"),
            );
        }
    }

    fn request_lock(&self, name: String) {
        if self.has_private_storage {
            // Nobody else can want it.
            return self.event(Event::LockGranted { name });
        }
        let full_name = self.full_name(&name);
        let weak = self.weak.clone();
        let problem = self.with_page(|page| {
            let granted = move |()| tell(&weak, Event::LockGranted { name: name.clone() });
            page.locks.as_mut()?.request(&full_name, granted).err()
        });
        if let Some(reason) = problem.flatten() {
            self.log(
                LogLevel::Warn,
                format!("a lock cannot be asked for: {reason}"),
            );
        }
    }

    fn release_lock(&self, name: &str) {
        let full_name = self.full_name(name);
        self.with_page(|page| {
            if let Some(locks) = &mut page.locks {
                locks.release(&full_name);
            }
        });
    }

    // Locks and channels are shared by the whole origin.
    fn full_name(&self, name: &str) -> String {
        format!("{}/{name}", self.storage_name)
    }

    // Lets go of the page at once, and of storage when it has answered. Of the locks after that: whoever is granted one
    // reads what this client has left, and does not look again.
    fn finish(&self) {
        self.sockets.borrow_mut().clear();
        let locks = self.with_page(|page| page.locks.take());
        let locks = Cell::new(locks);
        self.page.replace(None);
        let weak = self.weak.clone();
        self.storage.finish(guarded(move |()| {
            drop(locks.take());
            if let Some(host) = weak.upgrade() {
                host.outbox.borrow_mut().push(Outgoing::Closed);
                queue_microtask(&host.notify);
            }
        }));
    }

    fn log(&self, level: LogLevel, message: String) {
        self.outbox
            .borrow_mut()
            .push(Outgoing::Log { level, message });
    }

    fn with_page<T>(&self, act: impl FnOnce(&mut PageConnections) -> T) -> Option<T> {
        self.page.borrow_mut().as_mut().map(act)
    }
}

// Every callback of the browser ends up here.
fn tell(host: &Weak<Host>, event: Event) {
    if let Some(host) = host.upgrade()
        && !panicked()
    {
        host.event(event);
    }
}
