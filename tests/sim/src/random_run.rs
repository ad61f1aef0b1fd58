//! Random worlds under a seed: browsers with tabs that come, freeze and die, clocks that differ and jump, a network that
//! delays and breaks, storage that stalls, fails, is damaged and loses its tail, mutators that await, releases with another
//! schema, a server that changes rows and permissions by itself, refuses some writes, asks for other tokens, starts
//! clients anew and forgets them.
//!
//! What is checked as it runs and at the end is in `random_checks.rs`.

use crate::dice::Dice;
use crate::disk::DiskFault;
use crate::host::Tab;
use crate::notes::{self, MUTATORS, NEXT_SCHEMA, QUERIES, SCHEMA, named, not_hidden};
use crate::promises;
use crate::server::Server;
use crate::world::{BrowserId, TabId, World};
use landfall_client::{CallId, Event, Outcome, QuerySource, Role, ViewId};
use landfall_store::BackendFailure;
use landfall_zql::Schema;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const DAY_MS: f64 = 86_400_000.0;

/// Runs the world of a seed to its end; panics where a promise is broken.
pub fn run(seed: u64) -> Run {
    let mut run = Run::new(seed);
    for _ in 0..300 {
        run.step();
    }
    run.finish();
    run
}

fn some_id(dice: &mut Dice) -> String {
    format!("n{}", dice.roll(8))
}

fn some_row(dice: &mut Dice, release: Release) -> Value {
    let text = ["red", "blue", "ü 😀", "hidden"][dice.roll(4) as usize];
    let on = [Value::Null, json!(true), json!(false)][dice.roll(3) as usize].clone();
    let data = [Value::Null, json!({"a": [1, "x"]}), json!("s")][dice.roll(3) as usize].clone();
    let mut row = json!({
        "id": some_id(dice),
        "parent": if dice.once_in(3) { Value::Null } else { json!(some_id(dice)) },
        "kind": if dice.once_in(4) { Value::Null } else { json!(text) },
        "n": if dice.once_in(5) { Value::Null } else { json!(dice.roll(6) as f64 - 2.5) },
        "on": on,
        "data": data,
    });
    if let (Release::Next, Value::Object(members)) = (release, &mut row) {
        members.remove("data");
    }
    row
}

/// The code that made a store, by its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// That of [`notes::SCHEMA`].
    Present,
    /// That of [`notes::NEXT_SCHEMA`].
    Next,
}

/// A mutation that the application made.
pub(crate) struct Made {
    pub(crate) argument: String,
    /// It reported that it is durable.
    pub(crate) durable: bool,
    /// The client and the id under which it was first known.
    pub(crate) key: Option<(String, u64)>,
}

/// A tab of the next release that may not connect until another has sent what the earlier store holds.
struct Held {
    draining: TabId,
    since: f64,
}

/// A run.
pub struct Run {
    pub(crate) dice: Dice,
    pub(crate) world: World,
    /// The store of each browser of the world; that of the next release beside the one of the present.
    releases: Vec<Release>,
    schemas: [Arc<Schema>; 2],
    /// The store that the next release finds beside its own.
    earlier: BTreeMap<BrowserId, BrowserId>,
    held: BTreeMap<TabId, Held>,
    pub(crate) draining: BTreeSet<TabId>,
    /// Whether the server may forget groups in this run.
    pub(crate) forgetful: bool,
    /// Whether the browser may evict storage in this run: what only storage held is lost then.
    pub(crate) evicting: bool,
    tokens: u64,
    pub(crate) views: BTreeMap<TabId, Vec<(ViewId, &'static str)>>,
    pub(crate) made: BTreeMap<(TabId, CallId), Made>,
    /// Calls whose outcome was told.
    pub(crate) ended: BTreeMap<(TabId, CallId), Outcome>,
    /// Mutations that reported durable: client and id.
    pub(crate) durable: BTreeSet<(String, u64)>,
    /// Arguments of failed and uncertain mutations that the user has seen.
    pub(crate) cleared: BTreeSet<String>,
    /// Tabs whose storage is broken, and how much the server had carried out before.
    pub(crate) broken: BTreeMap<TabId, usize>,
    /// Arguments of what a tab sent whose storage was broken until it died: that it was sent only the server knows.
    pub(crate) untold: BTreeSet<String>,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut dice = Dice::new(seed);
        let mut server = notes::server();
        if dice.once_in(3) {
            server.mode = Some(json!({"queries": "ast", "mutations": "crud", "version": 1}));
        } else if dice.once_in(2) {
            server.mode = Some(json!({"queries": "named", "mutations": "custom", "version": 1}));
        }
        let crud = server
            .mode
            .as_ref()
            .is_some_and(|mode| mode["mutations"] == "crud");
        let forgetful = !crud && dice.once_in(3);
        let evicting = dice.once_in(8);
        let mut world = World::new(SCHEMA, MUTATORS, server);
        if dice.once_in(2) {
            world.add_browser();
        }
        for browser in &mut world.browsers {
            browser.has_locks = !dice.once_in(4);
        }
        Run {
            dice,
            releases: vec![Release::Present; world.browsers.len()],
            world,
            schemas: [SCHEMA, NEXT_SCHEMA]
                .map(|json| Arc::new(Schema::from_json(json).expect("the schema is good"))),
            earlier: BTreeMap::new(),
            held: BTreeMap::new(),
            draining: BTreeSet::new(),
            forgetful,
            evicting,
            tokens: 0,
            views: BTreeMap::new(),
            made: BTreeMap::new(),
            ended: BTreeMap::new(),
            durable: BTreeSet::new(),
            cleared: BTreeSet::new(),
            broken: BTreeMap::new(),
            untold: BTreeSet::new(),
        }
    }

    pub(crate) fn open_tab(&mut self, browser: BrowserId) -> TabId {
        let skew = self.some_skew();
        self.world.slices = match self.dice.roll(4) {
            0 => None,
            1 => Some((1, 0)),
            _ => Some((1 + self.dice.roll(300) as usize, self.dice.roll(4) as usize)),
        };
        // Some find everything at once; with others what the user does comes before what is stored.
        let waits = self.dice.once_in(2);
        let prepare = |tab: &mut Tab| {
            tab.manual_storage = waits;
            tab.manual_work = waits;
        };
        let id = match self.releases[browser] {
            Release::Present => self.world.open_tab_with(browser, skew, prepare),
            Release::Next => self.open_next(browser, skew, prepare),
        };
        self.views.insert(id, Vec::new());
        if waits {
            for _ in 0..self.dice.roll(3) {
                self.open_view(id);
            }
        }
        let pieces = self.some_piece_sizes();
        if let Some(tab) = self.world.tabs.get_mut(&id) {
            tab.piece_sizes = pieces;
            tab.manual_storage = true;
            tab.manual_work = true;
        }
        id
    }

    /// Whole texts, tiny pieces, or some of any size.
    fn some_piece_sizes(&mut self) -> Vec<usize> {
        match self.dice.roll(6) {
            0..=2 => Vec::new(),
            3 => vec![1],
            _ => (0..4).map(|_| 1 + self.dice.roll(400) as usize).collect(),
        }
    }

    /// A clock that is right, hours off, or a month.
    fn some_skew(&mut self) -> f64 {
        match self.dice.roll(12) {
            0..=2 => self.dice.roll(100_000_000) as f64 - 50_000_000.0,
            3 => [-31.0, 31.0][self.dice.roll(2) as usize] * DAY_MS,
            _ => 0.0,
        }
    }

    /// A tab of the next release, and one that drains the earlier store for it.
    fn open_next(
        &mut self,
        browser: BrowserId,
        skew: f64,
        prepare: impl FnOnce(&mut Tab),
    ) -> TabId {
        let earlier = self.earlier[&browser];
        let held = self
            .world
            .open_tab_as(browser, skew, notes::next_release(Role::Held), prepare);
        if !self.dice.once_in(8) {
            self.world.tell_earlier(held, &[earlier]);
        }
        let change = notes::next_release(Role::Draining);
        let draining = self.world.open_tab_as(earlier, skew, change, |_| {});
        self.views.insert(draining, Vec::new());
        self.draining.insert(draining);
        let since = self.world.now;
        self.held.insert(held, Held { draining, since });
        held
    }

    /// The next release comes to a browser: a store of its own beside the one that is there.
    fn deploy(&mut self) {
        let earlier = self.some_browser();
        if !self.is_earlier(earlier) && self.releases[earlier] == Release::Present {
            let browser = self.world.add_browser();
            self.world.browsers[browser].has_locks = self.world.browsers[earlier].has_locks;
            self.releases.push(Release::Next);
            self.earlier.insert(browser, earlier);
            self.open_tab(browser);
        }
    }

    /// Held tabs connect when the earlier store is drained, or after a while.
    pub(crate) fn release_held(&mut self, patience_ms: f64) {
        let (world, now) = (&self.world, self.world.now);
        let is_due = |held: &Held| {
            let told = |note: &String| note == "Drained";
            let tab = world.tabs.get(&held.draining);
            let drained = !self.draining.contains(&held.draining)
                || tab.is_some_and(|tab| tab.notes.iter().any(told));
            drained || now - held.since > patience_ms
        };
        let due = self.held.iter().filter(|(_, held)| is_due(held));
        for id in due.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.held.remove(&id);
            if let Some(tab) = self.world.tabs.get_mut(&id) {
                tab.client.release(tab.now);
                tab.pump();
                self.world.collect(id);
            }
        }
    }

    /// As a page does: what drains a store that holds nothing any more is closed.
    fn close_drained(&mut self) {
        let is_done = |id: &TabId| {
            self.world.tabs.get(id).is_none_or(|tab| {
                let told = tab.notes.iter().any(|note| note == "Drained");
                told && tab.client.mutations().is_empty()
            })
        };
        let done = self.draining.iter().copied().filter(is_done);
        for id in done.collect::<Vec<_>>() {
            self.world.kill_tab(id);
            self.draining.remove(&id);
        }
    }

    pub(crate) fn release_of(&self, browser: BrowserId) -> Release {
        self.releases[browser]
    }

    /// Whether the next release has a store beside this one.
    pub(crate) fn is_earlier(&self, browser: BrowserId) -> bool {
        self.earlier.values().any(|known| *known == browser)
    }

    pub(crate) fn schema_of(&self, browser: BrowserId) -> &Arc<Schema> {
        &self.schemas[usize::from(self.releases[browser] == Release::Next)]
    }

    pub(crate) fn home(&self, tab: TabId) -> BrowserId {
        self.world.homes.get(&tab).copied().unwrap_or_default()
    }

    pub(crate) fn some_browser(&mut self) -> BrowserId {
        self.dice.roll(self.world.browsers.len() as u64) as usize
    }

    pub(crate) fn some_tab(&mut self) -> Option<TabId> {
        let awake = self.world.tabs.iter().filter(|(_, tab)| !tab.frozen);
        let awake: Vec<TabId> = awake.map(|(id, _)| *id).collect();
        self.dice.pick(&awake).copied()
    }

    /// A tab that shows a page.
    fn some_page(&mut self) -> Option<TabId> {
        let tabs = self.world.tabs.iter().filter(|(_, tab)| !tab.frozen);
        let pages = tabs
            .map(|(id, _)| *id)
            .filter(|id| !self.draining.contains(id));
        let pages: Vec<TabId> = pages.collect();
        self.dice.pick(&pages).copied()
    }

    fn step(&mut self) {
        match self.dice.roll(410) {
            0..12 if self.world.tabs.len() < 7 => {
                let browser = self.some_browser();
                self.open_tab(browser);
            }
            12..16 => {
                if let Some(tab) = self.some_tab() {
                    if self.dice.once_in(3) {
                        self.close(tab);
                    }
                    self.note();
                    self.kill(tab);
                }
            }
            16..21 => self.freeze_or_thaw(),
            21..24 => self.world.network_down(),
            24..36 => self.world.network_up(),
            36..42 => {
                if let Some(tab) = self.some_tab() {
                    self.world.lose_answers(tab);
                }
            }
            42..48 => {
                if let Some(tab) = self.some_tab() {
                    self.world.break_tab(tab);
                }
            }
            48..58 => {
                self.with_tab(|tab, dice| match dice.roll(8) {
                    0..=1 => tab.storage_fails = true,
                    2..=3 => tab.next_fault = DiskFault::Unknown,
                    4 => tab.next_fault = DiskFault::Fails(BackendFailure::Quota),
                    5 => tab.next_fault = DiskFault::Fails(BackendFailure::Closed),
                    _ => tab.storage_fails = false,
                });
                self.note_broken();
            }
            400..403 => self.deploy(),
            403 if self.evicting => {
                let browser = self.some_browser();
                self.world.browsers[browser].disk.evict();
            }
            149 => self.come_back(),
            399 => self.stall(),
            406 => self.clear_outcomes(),
            407..410 => self.with_tab(|tab, dice| {
                match dice.roll(4) {
                    0 => tab.event(Event::Leaving),
                    which => tab.event(Event::Visibility { visible: which > 1 }),
                };
            }),
            404..406 => {
                let days = [49.0 / 24.0, 31.0][self.dice.roll(2) as usize];
                if let Some(tab) = self.some_tab() {
                    *self.world.skews.entry(tab).or_default() += days * DAY_MS;
                }
            }
            58..60 => self.power_failure(),
            146..149 => self.damage(),
            140..146 => {
                if let Some(tab) = self.some_tab()
                    && !self.world.cut_off.remove(&tab)
                {
                    self.world.cut_off.insert(tab);
                    self.world.break_tab(tab);
                }
            }
            60..80 => self.toggle_view(),
            80..105 => self.mutate(),
            105..120 => self.commit(),
            120..130 => self.at_the_server(),
            130..135 => {
                let jump = self.dice.roll(10_000_000) as f64;
                if let Some(tab) = self.some_tab() {
                    *self.world.skews.entry(tab).or_default() += jump;
                }
            }
            135..140 => self.world.now += self.dice.roll(20_000) as f64,
            _ => {
                for _ in 0..4 {
                    self.world.chance(&mut self.dice);
                }
            }
        }
        self.release_held(10_000.0);
        self.note();
        self.close_drained();
        self.check();
    }

    /// A user has seen what failed and what is uncertain.
    fn clear_outcomes(&mut self) {
        self.note();
        let Some(id) = self.some_page() else { return };
        let Some(tab) = self.world.tabs.get_mut(&id) else {
            return;
        };
        for info in tab.client.mutations() {
            if info.outcome.is_some() {
                self.cleared.insert(promises::argument_of(&info.args_json));
                tab.client
                    .clear_outcome(tab.now, &info.client_id, info.mutation_id);
            }
        }
        tab.pump();
        self.world.collect(id);
    }

    fn commit(&mut self) {
        let row = some_row(&mut self.dice, Release::Present);
        let gone = self.dice.once_in(4);
        let tag = self.dice.once_in(3);
        self.world.server.commit(|rows| match (tag, gone) {
            (false, true) => rows.remove("note", row["id"].as_str().expect("text")),
            (false, false) => rows.put("note", row),
            (true, true) => rows.remove("tag", row["id"].as_str().expect("text")),
            (true, false) => rows.put("tag", json!({"id": row["id"], "note": row["parent"]})),
        });
    }

    fn at_the_server(&mut self) {
        let server = &mut self.world.server;
        match self.dice.roll(16) {
            0 => server.resync_all(),
            1..=3 => server.expire_queries(),
            4..=5 => server.set_permission(self.dice.once_in(2).then_some(not_hidden as _)),
            6..=7 => {
                self.tokens += 1;
                let token = Some(format!("token {}", self.tokens));
                server.set_token(token.clone());
                self.world.token = token;
            }
            8..=10 => {
                let token = self.world.token.clone();
                self.with_tab(|tab, _| tab.client.connect(tab.now, token));
            }
            11 => server.rehome(),
            12..=13 => server.rate_limited = !server.rate_limited,
            14 => server.endpoint_down = !server.endpoint_down,
            _ if self.forgetful => server.forget_all(),
            _ => {}
        }
    }

    /// The application closes its client; what was asked of storage is answered to the end.
    fn close(&mut self, id: TabId) {
        if let Some(tab) = self.world.tabs.get_mut(&id) {
            tab.client.close(tab.now);
            tab.pump();
            while tab.commit_one() || tab.hear_one() {
                tab.pump();
            }
            self.world.collect(id);
        }
    }

    /// Nothing happens for a while; then the user leaves a browser, and comes back.
    fn come_back(&mut self) {
        let browser = self.some_browser();
        let ids = self.world.tabs.keys().copied();
        let ids: Vec<TabId> = ids.filter(|id| self.home(*id) == browser).collect();
        for id in &ids {
            if let Some(tab) = self.world.tabs.get_mut(id) {
                (tab.manual_storage, tab.manual_work) = (false, false);
            }
        }
        self.world.pass(5_000.0);
        self.note();
        for id in ids {
            self.kill(id);
        }
        self.open_tab(browser);
    }

    fn with_tab(&mut self, change: impl FnOnce(&mut Tab, &mut Dice)) {
        if let Some(id) = self.some_tab()
            && let Some(tab) = self.world.tabs.get_mut(&id)
        {
            change(tab, &mut self.dice);
            tab.pump();
            self.world.collect(id);
        }
    }

    fn toggle_view(&mut self) {
        let Some(id) = self.some_page() else { return };
        let (Some(tab), Some(views)) = (self.world.tabs.get_mut(&id), self.views.get_mut(&id))
        else {
            return;
        };
        if views.len() > 3 || (self.dice.once_in(3) && !views.is_empty()) {
            let (view, _) = views.remove(self.dice.roll(views.len() as u64) as usize);
            tab.drop_view(view);
        } else {
            self.open_view(id);
        }
        self.world.collect(id);
    }

    fn open_view(&mut self, id: TabId) {
        let (Some(tab), Some(views)) = (self.world.tabs.get_mut(&id), self.views.get_mut(&id))
        else {
            return;
        };
        let which = self.dice.roll(QUERIES.len() as u64) as usize;
        let source = match self.dice.roll(3) {
            0 => QuerySource::Local,
            _ => named(which),
        };
        views.push((tab.view(QUERIES[which], source), QUERIES[which]));
    }

    fn mutate(&mut self) {
        let Some(id) = self.some_page() else { return };
        let release = self.releases[self.home(id)];
        let Some(tab) = self.world.tabs.get_mut(&id) else {
            return;
        };
        let name = ["upsert", "upsert", "remove", "count", "refused"][self.dice.roll(5) as usize];
        // A server that takes writes cannot refuse by name.
        let name = if name == "refused" && takes_writes(&self.world.server) {
            "fickle"
        } else {
            name
        };
        let number = self.made.len();
        let arg = json!({"row": some_row(&mut self.dice, release), "awaits": self.dice.roll(3), "u": number,
            "fickle": number.is_multiple_of(2)});
        let call = tab.mutate(name, &arg);
        let made = Made {
            argument: arg.to_string(),
            durable: false,
            key: None,
        };
        self.made.insert((id, call), made);
        self.world.collect(id);
    }

    /// Notes what the tabs have told.
    pub(crate) fn note(&mut self) {
        for (tab_id, tab) in &self.world.tabs {
            for (call, result) in &tab.durable {
                if let (Ok(()), Some(Ok(mutation))) = (result, tab.local.get(call)) {
                    let made = self
                        .made
                        .get_mut(&(*tab_id, *call))
                        .expect("a call of this run");
                    if !made.durable {
                        made.durable = true;
                        self.durable
                            .insert((tab.client.client_id().to_owned(), *mutation));
                    }
                }
            }
            for (call, result) in &tab.local {
                if let (Ok(id), Some(made)) = (result, self.made.get_mut(&(*tab_id, *call))) {
                    let key = || (tab.client.client_id().to_owned(), *id);
                    made.key.get_or_insert_with(key);
                }
            }
            for (call, outcome) in &tab.ends {
                self.ended
                    .entry((*tab_id, *call))
                    .or_insert_with(|| outcome.clone());
            }
        }
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "executed {} made {} durable {} ended {} tabs {} stores {}",
            self.world.server.executed.len(),
            self.made.len(),
            self.durable.len(),
            self.ended.len(),
            self.views.len(),
            self.releases.len(),
        )
    }
}

/// A server that takes writes to rows, not calls of mutators.
pub(crate) fn takes_writes(server: &Server) -> bool {
    server
        .mode
        .as_ref()
        .is_some_and(|mode| mode["mutations"] == "crud")
}
