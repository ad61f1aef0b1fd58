//! Browsers with several tabs each, a network between them and one server.
//!
//! [`World::step`] moves everything as far as it goes, which is how scenarios run; [`World::chance`] moves one thing
//! that the dice choose, so that everything may come before or after everything else.

use crate::dice::Dice;
use crate::disk::{Disk, DiskFault};
use crate::host::{Mutator, Tab};
use crate::network::Wire;
use crate::server::{ConnectionId, Server};
use landfall_client::{Event, Options};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A page that runs has heard by then what another one announced: the browser hands it over at once, and only what else
/// the page has to do may come first.
const HEARD_MS: f64 = 1_000.0;

/// More than that at once is a jump of a tab's clock.
const CLOCK_JUMP_MS: f64 = 3_600_000.0;

/// Names a tab of the world for as long as it lives.
pub type TabId = usize;
/// Names a browser.
pub type BrowserId = usize;

/// What the tabs of a browser share.
pub struct Browser {
    /// Its storage.
    pub disk: Disk,
    /// Whether pages have locks.
    pub has_locks: bool,
    /// Who holds each lock, and who waits for it, in the order of asking.
    locks: BTreeMap<String, VecDeque<TabId>>,
}

/// The world.
pub struct World {
    /// Of tabs that are opened from now on: the steps of a slice, and how many changes are made in slices. As many mutations
    /// and one more are sent at a time.
    pub slices: Option<(usize, usize)>,
    /// The server.
    pub server: Server,
    /// Living tabs.
    pub tabs: BTreeMap<TabId, Tab>,
    /// The browsers; tab by tab in `homes`.
    pub browsers: Vec<Browser>,
    /// The browser of each tab.
    pub homes: BTreeMap<TabId, BrowserId>,
    /// Whether the network is up.
    pub network: bool,
    /// Tabs that do not get through to the server.
    pub cut_off: BTreeSet<TabId>,
    /// The clock.
    pub now: f64,
    /// How far each tab's clock is ahead.
    pub skews: BTreeMap<TabId, f64>,
    /// The token that new tabs begin with.
    pub token: Option<String>,
    schema_json: String,
    mutators: Vec<(&'static str, Mutator)>,
    /// The number of the next tab; its client's ids follow from it.
    pub next_tab: TabId,
    wires: BTreeMap<ConnectionId, Wire>,
    next_wire: ConnectionId,
    /// Announcements on their way to each tab, and since when.
    inboxes: BTreeMap<TabId, VecDeque<(f64, String)>>,
}

impl World {
    /// A world with one empty browser.
    pub fn new(schema_json: &str, mutators: &[(&'static str, Mutator)], server: Server) -> World {
        let mut world = World {
            slices: None,
            server,
            tabs: BTreeMap::new(),
            browsers: Vec::new(),
            homes: BTreeMap::new(),
            network: true,
            cut_off: BTreeSet::new(),
            now: 1_000_000.0,
            skews: BTreeMap::new(),
            token: None,
            schema_json: schema_json.to_owned(),
            mutators: mutators.to_vec(),
            next_tab: 1,
            wires: BTreeMap::new(),
            next_wire: 1,
            inboxes: BTreeMap::new(),
        };
        world.add_browser();
        world
    }

    /// Another browser, with empty storage.
    pub fn add_browser(&mut self) -> BrowserId {
        self.browsers.push(Browser {
            disk: Disk::default(),
            has_locks: true,
            locks: BTreeMap::new(),
        });
        self.browsers.len() - 1
    }

    /// Opens a tab in the first browser.
    pub fn open_tab(&mut self) -> TabId {
        self.open_tab_in(0, 0.0)
    }

    /// Opens a tab whose clock is ahead by so much.
    pub fn open_tab_in(&mut self, browser: BrowserId, skew: f64) -> TabId {
        self.open_tab_with(browser, skew, |_| {})
    }

    /// Opens a tab that is prepared before it does anything.
    pub fn open_tab_with(
        &mut self,
        browser: BrowserId,
        skew: f64,
        prepare: impl FnOnce(&mut Tab),
    ) -> TabId {
        self.open_tab_as(browser, skew, |_| {}, prepare)
    }

    /// Opens a tab with other options, prepared before it does anything.
    pub fn open_tab_as(
        &mut self,
        browser: BrowserId,
        skew: f64,
        change: impl FnOnce(&mut Options),
        prepare: impl FnOnce(&mut Tab),
    ) -> TabId {
        let id = self.next_tab;
        self.next_tab += 1;
        let mut entropy = [0; 32];
        entropy[..8].copy_from_slice(&(id as u64).to_le_bytes());
        let mut options = Options::new(self.schema_json.clone(), entropy);
        options.limits.idle_rows = crate::decoder::IDLE_ROWS;
        if let Some((slice_steps, stage_from)) = self.slices {
            options.limits.slice_steps = slice_steps;
            options.limits.early_rows = stage_from + 1;
            options.limits.stage_from = stage_from;
            options.limits.snapshot_from = stage_from * 2;
            options.limits.push_batch = stage_from + 1;
            options.limits.mark_batch = stage_from + 1;
        }
        options.cache_url = Some("http://server".into());
        options.user_id = Some("u1".into());
        options.auth = self.token.clone();
        change(&mut options);
        let disk = self.browsers[browser].disk.clone();
        let mut tab = Tab::open(options, disk, &self.mutators, self.now + skew);
        prepare(&mut tab);
        tab.pump();
        self.tabs.insert(id, tab);
        self.homes.insert(id, browser);
        self.skews.insert(id, skew);
        self.inboxes.insert(id, VecDeque::new());
        self.collect(id);
        id
    }

    /// Tells a held tab what the stores of these browsers, made by earlier code, hold.
    pub fn tell_earlier(&mut self, id: TabId, browsers: &[BrowserId]) {
        let disks: Vec<Disk> = browsers
            .iter()
            .map(|browser| self.browsers[*browser].disk.clone())
            .collect();
        self.with_tab(id, |tab| {
            let request = tab.client.earlier_request();
            let answers = disks
                .iter()
                .map(|disk| disk.execute(&request, DiskFault::None))
                .collect();
            tab.event(Event::Earlier { answers });
            true
        });
    }

    /// A tab that lives.
    #[track_caller]
    pub fn tab(&mut self, id: TabId) -> &mut Tab {
        self.tabs.get_mut(&id).expect("it lives")
    }

    /// A tab dies without a word: what it had not stored or sent is gone, its locks are free.
    pub fn kill_tab(&mut self, id: TabId) {
        self.tabs.remove(&id);
        self.inboxes.remove(&id);
        for wire in self.wires.values_mut().filter(|wire| wire.tab == id) {
            wire.abandon();
        }
    }

    /// The network goes down: every connection breaks.
    pub fn network_down(&mut self) {
        self.network = false;
        for (id, wire) in std::mem::take(&mut self.wires) {
            self.server.disconnect(id);
            let tab = self.tabs.get_mut(&wire.tab);
            if let Some(tab) = tab.filter(|tab| wire.is_of(tab)) {
                tab.break_connection();
            }
            self.collect(wire.tab);
        }
    }

    /// One tab's connection breaks after the server has heard everything and before the tab hears the answers.
    pub fn lose_answers(&mut self, id: TabId) {
        self.collect(id);
        let Some((&connection, wire)) = self.wires.iter_mut().find(|(_, wire)| wire.tab == id)
        else {
            return;
        };
        wire.drain_up(&mut self.server, connection);
        self.wires.remove(&connection);
        self.server.disconnect(connection);
        if let Some(tab) = self.tabs.get_mut(&id) {
            tab.break_connection();
        }
        self.collect(id);
    }

    /// One tab's connection breaks; what is on its way may still arrive, and the server notices later.
    pub fn break_tab(&mut self, id: TabId) {
        for wire in self.wires.values_mut().filter(|wire| wire.tab == id) {
            wire.abandon();
        }
        if let Some(tab) = self.tabs.get_mut(&id) {
            tab.break_connection();
        }
        self.collect(id);
    }

    /// The network comes back.
    pub fn network_up(&mut self) {
        self.network = true;
    }

    fn awake(&self) -> Vec<TabId> {
        let awake = self.tabs.iter().filter(|(_, tab)| !tab.frozen);
        awake.map(|(id, _)| *id).collect()
    }

    /// One step of everything: locks, announcements, sockets, messages, awaiting mutators. Whether anything happened.
    pub fn step(&mut self) -> bool {
        let mut busy = false;
        while self.grant_a_lock(|_| 0) {
            busy = true;
        }
        for id in self.awake() {
            while self.hear_announcement(id) {
                busy = true;
            }
        }
        for id in self.awake() {
            busy |= self.connect(id);
        }
        let wires: Vec<ConnectionId> = self.wires.keys().copied().collect();
        for wire in wires {
            while self.deliver_up(wire) {
                busy = true;
            }
            while self.deliver_down(wire) {
                busy = true;
            }
            busy |= self.let_go(wire);
        }
        for id in self.awake() {
            if let Some(tab) = self.tabs.get_mut(&id) {
                busy |= tab.is_awaiting();
                tab.turn();
            }
            self.collect(id);
        }
        busy
    }

    /// Steps until nothing moves.
    pub fn settle(&mut self) -> &mut Self {
        for _ in 0..10_000 {
            if !self.step() {
                return self;
            }
        }
        panic!("the world does not come to rest");
    }

    /// Lets time pass, in small pieces so that the parts can talk.
    pub fn pass(&mut self, ms: f64) -> &mut Self {
        let end = self.now + ms;
        let mut at_rest = false;
        while self.now < end {
            if at_rest {
                self.skip_idle_time(end);
            }
            at_rest = true;
            self.now = (self.now + 100.0).min(end);
            for id in self.awake() {
                let skew = self.skews.get(&id).copied().unwrap_or(0.0);
                if let Some(tab) = self.tabs.get_mut(&id) {
                    let ahead = self.now + skew - tab.now;
                    // A clock that jumps does not go through the time between.
                    if ahead > CLOCK_JUMP_MS {
                        tab.set_clock(tab.now + ahead);
                    }
                    tab.pass((self.now + skew - tab.now).max(0.0));
                }
                self.collect(id);
            }
            self.settle();
        }
        self
    }

    /// Of a world at rest: whole pieces of time in which nobody wakes.
    fn skip_idle_time(&mut self, end: f64) {
        let mut until = end;
        for id in self.awake() {
            let skew = self.skews.get(&id).copied().unwrap_or(0.0);
            if let Some(at) = self.tabs[&id].wakes_at() {
                let is_due = at <= self.tabs[&id].now;
                until = until.min(if is_due { self.now } else { at - skew });
            }
        }
        // One less: no rounding may skip the piece in which somebody wakes.
        let pieces = ((until - self.now) / 100.0).floor() - 1.0;
        self.now += 100.0 * pieces.max(0.0);
    }

    /// One thing of a tab that the dice choose: a message, an answer of storage, a lock, a step of a mutator.
    pub fn chance(&mut self, dice: &mut Dice) {
        self.now += dice.roll(20) as f64;
        let tabs = self.awake();
        tabs.iter().for_each(|id| self.hear_old_announcements(*id));
        let Some(&id) = dice.pick(&tabs) else {
            return;
        };
        match dice.roll(14) {
            0 => {
                self.grant_a_lock(|count| dice.roll(count as u64) as usize);
            }
            1..=2 => {
                self.hear_announcement(id);
            }
            3..=4 => {
                self.with_tab(id, Tab::commit_one);
            }
            5 => {
                self.with_tab(id, Tab::hear_one);
            }
            6 => {
                self.with_tab(id, Tab::step_one_mutator);
            }
            7 => {
                let clock = self.now + self.skews.get(&id).copied().unwrap_or(0.0);
                self.with_tab(id, |tab| tab.set_clock(clock));
            }
            8 => {
                self.connect(id);
            }
            9..=10 => {
                self.with_tab(id, Tab::work_one);
            }
            _ => {
                let wires: Vec<ConnectionId> = self.wires.keys().copied().collect();
                if let Some(&wire) = dice.pick(&wires) {
                    match dice.roll(5) {
                        0..=1 => self.deliver_up(wire),
                        2..=3 => self.deliver_down(wire),
                        _ => self.let_go(wire),
                    };
                }
            }
        }
    }

    fn with_tab(&mut self, id: TabId, act: impl FnOnce(&mut Tab) -> bool) -> bool {
        let Some(tab) = self.tabs.get_mut(&id) else {
            return false;
        };
        let moved = act(tab);
        tab.pump();
        self.collect(id);
        moved
    }

    /// Takes what a tab has sent and announced.
    pub fn collect(&mut self, id: TabId) {
        let Some(tab) = self.tabs.get_mut(&id) else {
            return;
        };
        let home = self.homes.get(&id).copied().unwrap_or_default();
        for name in tab.lock_requests.drain(..) {
            if self.browsers[home].has_locks {
                let queue = self.browsers[home].locks.entry(name).or_default();
                queue.retain(|other| *other != id);
                queue.push_back(id);
            }
        }
        for wire in self.wires.values_mut().filter(|wire| wire.tab == id) {
            if wire.is_of(tab) {
                wire.take_sent(tab);
            } else {
                wire.abandon();
            }
        }
        if tab.announced.is_empty() {
            return;
        }
        let said: Vec<String> = tab.announced.drain(..).collect();
        for (other, inbox) in &mut self.inboxes {
            if *other != id && self.homes.get(other) == Some(&home) {
                inbox.extend(said.iter().map(|text| (self.now, text.clone())));
            }
        }
    }

    fn grant_a_lock(&mut self, choose: impl FnOnce(usize) -> usize) -> bool {
        let (mut free, tabs) = (Vec::new(), &self.tabs);
        for browser in &mut self.browsers {
            for (name, queue) in &mut browser.locks {
                let wants = |id: &TabId| tabs.get(id).is_some_and(|tab| tab.locks.contains(name));
                while queue.pop_front_if(|id| !wants(id)).is_some() {}
                let first = queue.front().and_then(|id| Some((*id, self.tabs.get(id)?)));
                if let Some((id, tab)) = first
                    && !tab.frozen
                    && !tab.held.contains(name)
                {
                    free.push((id, name.clone()));
                }
            }
        }
        if free.is_empty() {
            return false;
        }
        let (id, name) = free.swap_remove(choose(free.len()));
        self.with_tab(id, |tab| {
            tab.held.insert(name.clone());
            tab.event(Event::LockGranted { name });
            true
        })
    }

    fn hear_announcement(&mut self, id: TabId) -> bool {
        let inbox = self.inboxes.get_mut(&id);
        let Some((_, text)) = inbox.and_then(VecDeque::pop_front) else {
            return false;
        };
        self.with_tab(id, |tab| {
            tab.event(Event::Announced { text });
            true
        })
    }

    fn hear_old_announcements(&mut self, id: TabId) {
        let now = self.now;
        let is_old = |inbox: &VecDeque<(f64, String)>| {
            let oldest = inbox.front();
            oldest.is_some_and(|(since, _)| now - since > HEARD_MS)
        };
        while self.inboxes.get(&id).is_some_and(is_old) && self.hear_announcement(id) {}
    }

    /// A socket that a tab has asked for reaches the server, or fails to.
    fn connect(&mut self, id: TabId) -> bool {
        self.collect(id);
        let Some(tab) = self.tabs.get_mut(&id) else {
            return false;
        };
        let Some(socket) = tab.socket.clone() else {
            return false;
        };
        if self
            .wires
            .values()
            .any(|wire| wire.tab == id && wire.socket == socket.id)
        {
            return false;
        }
        if !self.network || self.cut_off.contains(&id) {
            tab.break_connection();
            self.collect(id);
            return true;
        }
        let connection = self.next_wire;
        self.next_wire += 1;
        self.wires.insert(connection, Wire::new(id, socket.id));
        self.server
            .connect(connection, &socket.url, &socket.protocol);
        self.with_tab(id, |tab| {
            tab.event(Event::SocketOpened { socket: socket.id });
            true
        })
    }

    fn deliver_up(&mut self, connection: ConnectionId) -> bool {
        let Some(wire) = self.wires.get_mut(&connection) else {
            return false;
        };
        wire.deliver_up(&mut self.server, connection)
    }

    fn deliver_down(&mut self, connection: ConnectionId) -> bool {
        let Some(wire) = self.wires.get_mut(&connection) else {
            return false;
        };
        let id = wire.tab;
        let Some(tab) = self
            .tabs
            .get_mut(&id)
            .filter(|tab| !tab.frozen && wire.is_of(tab))
        else {
            return false;
        };
        let Some(text) = wire.take_down(&mut self.server, connection) else {
            return false;
        };
        match text {
            Some(text) => tab.receive(&text),
            // The server has closed the connection.
            None => tab.break_connection(),
        };
        self.collect(id);
        true
    }

    /// The server notices that a client is gone.
    fn let_go(&mut self, connection: ConnectionId) -> bool {
        let over = self.wires.get(&connection).is_some_and(Wire::is_over);
        if over {
            self.wires.remove(&connection);
            self.server.disconnect(connection);
        }
        over
    }
}
