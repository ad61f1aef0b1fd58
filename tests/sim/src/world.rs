//! A browser with several tabs on one storage, a network that can be down, and one server.

use crate::host::{Mutator, Tab};
use crate::server::Server;
use landfall_client::{Event, Options, SocketId};
use landfall_store::MemoryStore;
use std::collections::BTreeMap;

/// Names a tab of the world for as long as it lives.
pub type TabId = usize;

/// The world.
pub struct World {
    /// The server.
    pub server: Server,
    /// Living tabs.
    pub tabs: BTreeMap<TabId, Tab>,
    /// Storage of the browser.
    pub store: MemoryStore,
    /// Whether the network is up.
    pub network: bool,
    /// The clock.
    pub now: f64,
    schema_json: String,
    mutators: Vec<(&'static str, Mutator)>,
    next_tab: TabId,
    /// Which socket of which tab the server knows, by client.
    connected: BTreeMap<TabId, (SocketId, String)>,
    /// Who holds each lock.
    locks: BTreeMap<String, TabId>,
}

impl World {
    /// A world with an empty browser.
    pub fn new(schema_json: &str, mutators: &[(&'static str, Mutator)], server: Server) -> World {
        World {
            server,
            tabs: BTreeMap::new(),
            store: MemoryStore::default(),
            network: true,
            now: 1_000_000.0,
            schema_json: schema_json.to_owned(),
            mutators: mutators.to_vec(),
            next_tab: 1,
            connected: BTreeMap::new(),
            locks: BTreeMap::new(),
        }
    }

    /// Opens a tab.
    pub fn open_tab(&mut self) -> TabId {
        let id = self.next_tab;
        self.next_tab += 1;
        let mut entropy = [0; 32];
        entropy[..8].copy_from_slice(&(id as u64).to_le_bytes());
        let mut options = Options::new(self.schema_json.clone(), entropy);
        options.limits.idle_rows = crate::decoder::IDLE_ROWS;
        options.cache_url = Some("http://server".into());
        options.user_id = Some("u1".into());
        let mut tab = Tab::open(options, self.store.clone(), &self.mutators, self.now);
        tab.pump();
        self.tabs.insert(id, tab);
        id
    }

    /// A tab dies without a word: what it had not stored or sent is gone, its locks are free.
    pub fn kill_tab(&mut self, id: TabId) {
        self.tabs.remove(&id);
        self.locks.retain(|_, holder| *holder != id);
        if let Some((_, client)) = self.connected.remove(&id) {
            self.server.disconnect(&client);
        }
    }

    /// The network goes down: every connection breaks.
    pub fn network_down(&mut self) {
        self.network = false;
        for (id, (_, client)) in std::mem::take(&mut self.connected) {
            self.server.disconnect(&client);
            if let Some(tab) = self.tabs.get_mut(&id) {
                tab.break_connection();
            }
        }
    }

    /// One tab's connection breaks after the server has heard everything and before the tab hears the answers.
    pub fn lose_answers(&mut self, id: TabId) {
        let Some((_, client)) = self.connected.remove(&id) else {
            return;
        };
        if let Some(tab) = self.tabs.get_mut(&id) {
            while let Some(text) = tab.sent.pop_front() {
                self.server.receive(&client, &text);
            }
            self.server.disconnect(&client);
            tab.break_connection();
        }
    }

    /// The network comes back.
    pub fn network_up(&mut self) {
        self.network = true;
    }

    /// One step of everything: locks, announcements, sockets, messages, awaiting mutators. Whether anything happened.
    pub fn step(&mut self) -> bool {
        let mut busy = self.grant_locks();
        busy |= self.deliver_announcements();
        let ids: Vec<TabId> = self.tabs.keys().copied().collect();
        for id in ids {
            busy |= self.network_step(id);
            if let Some(tab) = self.tabs.get_mut(&id) {
                busy |= tab.is_awaiting();
                tab.turn();
            }
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
        while self.now < end {
            self.now = (self.now + 100.0).min(end);
            for tab in self.tabs.values_mut() {
                let ahead = self.now - tab.now;
                tab.pass(ahead.max(0.0));
            }
            self.settle();
        }
        self
    }

    fn grant_locks(&mut self) -> bool {
        let mut granted = Vec::new();
        self.locks.retain(|name, holder| {
            self.tabs
                .get(holder)
                .is_some_and(|tab| tab.locks.contains(name))
        });
        for (id, tab) in &self.tabs {
            for name in &tab.locks {
                if !self.locks.contains_key(name) {
                    self.locks.insert(name.clone(), *id);
                    granted.push((*id, name.clone()));
                }
            }
        }
        let any = !granted.is_empty();
        for (id, name) in granted {
            if let Some(tab) = self.tabs.get_mut(&id) {
                tab.event(Event::LockGranted { name });
            }
        }
        any
    }

    fn deliver_announcements(&mut self) -> bool {
        let mut said = Vec::new();
        for (id, tab) in &mut self.tabs {
            said.extend(tab.announced.drain(..).map(|text| (*id, text)));
        }
        for (from, text) in &said {
            for (_, tab) in self.tabs.iter_mut().filter(|(id, _)| *id != from) {
                tab.event(Event::Announced { text: text.clone() });
            }
        }
        !said.is_empty()
    }

    fn network_step(&mut self, id: TabId) -> bool {
        let Some(tab) = self.tabs.get_mut(&id) else {
            return false;
        };
        let known = self.connected.get(&id).map(|(socket, _)| *socket);
        let present = tab.socket.as_ref().map(|socket| socket.id);
        if known != present
            && let Some((_, client)) = self.connected.remove(&id)
        {
            self.server.disconnect(&client);
        }
        let Some(socket) = tab.socket.clone() else {
            return false;
        };
        if !self.network {
            tab.break_connection();
            return true;
        }
        let client = match self.connected.get(&id) {
            Some((_, client)) => client.clone(),
            None => {
                let client = client_of(&socket.url);
                self.connected.insert(id, (socket.id, client.clone()));
                tab.event(Event::SocketOpened { socket: socket.id });
                let texts = self.server.connect(&socket.url, &socket.protocol);
                deliver(tab, socket.id, texts);
                return true;
            }
        };
        let mut busy = false;
        while let Some(text) = tab.sent.pop_front() {
            busy = true;
            self.server.receive(&client, &text);
        }
        let texts = self.server.take_out(&client);
        busy |= !texts.is_empty();
        deliver(tab, socket.id, texts);
        busy
    }
}

/// Delivers texts as long as the socket is the same.
fn deliver(tab: &mut Tab, socket: SocketId, texts: Vec<String>) {
    for text in texts {
        if tab.socket.as_ref().map(|s| s.id) == Some(socket) {
            tab.receive(&text);
        }
    }
}

fn client_of(url: &str) -> String {
    let at = url.find("clientID=").expect("the URL names the client") + "clientID=".len();
    url[at..]
        .split('&')
        .next()
        .expect("split gives at least one")
        .to_owned()
}
