//! Random worlds under a seed: browsers with tabs that come, freeze and die, clocks that differ, a network that delays
//! and breaks, storage that stalls, fails and loses its tail, mutators that await, a server that changes rows and
//! permissions by itself, refuses some writes, asks for other tokens, starts clients anew and forgets them.
//!
//! Checked as it runs: each view equals its query run from scratch, every rule of the flush, and what tabs and storage
//! hold for the server's rows is what the server gave at their cookie. Checked at the end, with everything up again:
//! what was durable is at the server once and in order, every call has its true outcome, and all tabs show what the
//! server holds.

use landfall_client::{CallId, ErrorSource, Outcome, QuerySource, ViewId};
use landfall_sim::decoder::IDLE_ROWS;
use landfall_sim::dice::Dice;
use landfall_sim::disk::DiskFault;
use landfall_sim::host::Tab;
use landfall_sim::notes::{self, MUTATORS, QUERIES, SCHEMA, named, not_hidden};
use landfall_sim::promises;
use landfall_sim::server::Server;
use landfall_sim::world::{BrowserId, TabId, World};
use landfall_store::StoreName;
use landfall_zql::Schema;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn some_id(dice: &mut Dice) -> String {
    format!("n{}", dice.roll(8))
}

fn some_row(dice: &mut Dice) -> Value {
    let text = ["red", "blue", "ü 😀", "hidden"][dice.roll(4) as usize];
    let on = [Value::Null, json!(true), json!(false)][dice.roll(3) as usize].clone();
    let data = [Value::Null, json!({"a": [1, "x"]}), json!("s")][dice.roll(3) as usize].clone();
    json!({
        "id": some_id(dice),
        "parent": if dice.once_in(3) { Value::Null } else { json!(some_id(dice)) },
        "kind": if dice.once_in(4) { Value::Null } else { json!(text) },
        "n": if dice.once_in(5) { Value::Null } else { json!(dice.roll(6) as f64 - 2.5) },
        "on": on,
        "data": data,
    })
}

/// A mutation that the application made.
struct Made {
    argument: String,
    /// It reported that it is durable.
    durable: bool,
}

struct Run {
    dice: Dice,
    world: World,
    schema: Arc<Schema>,
    /// Whether the server may forget groups in this run.
    forgetful: bool,
    tokens: u64,
    views: BTreeMap<TabId, Vec<(ViewId, &'static str)>>,
    made: BTreeMap<(TabId, CallId), Made>,
    /// Calls whose outcome was told.
    ended: BTreeMap<(TabId, CallId), Outcome>,
    /// Mutations that reported durable: client and id.
    durable: BTreeSet<(String, u64)>,
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
        let mut world = World::new(SCHEMA, MUTATORS, server);
        if dice.once_in(2) {
            world.add_browser();
        }
        for browser in &mut world.browsers {
            browser.has_locks = !dice.once_in(4);
        }
        Run {
            dice,
            world,
            schema: Arc::new(Schema::from_json(SCHEMA).expect("the schema is good")),
            forgetful,
            tokens: 0,
            views: BTreeMap::new(),
            made: BTreeMap::new(),
            ended: BTreeMap::new(),
            durable: BTreeSet::new(),
        }
    }

    fn open_tab(&mut self, browser: BrowserId) -> TabId {
        let skew = match self.dice.roll(4) {
            0 => self.dice.roll(100_000_000) as f64 - 50_000_000.0,
            _ => 0.0,
        };
        let id = self.world.open_tab_in(browser, skew);
        self.views.insert(id, Vec::new());
        if let Some(tab) = self.world.tabs.get_mut(&id) {
            tab.manual_storage = true;
        }
        id
    }

    fn some_browser(&mut self) -> BrowserId {
        self.dice.roll(self.world.browsers.len() as u64) as usize
    }

    fn some_tab(&mut self) -> Option<TabId> {
        let awake = self.world.tabs.iter().filter(|(_, tab)| !tab.frozen);
        let awake: Vec<TabId> = awake.map(|(id, _)| *id).collect();
        self.dice.pick(&awake).copied()
    }

    fn step(&mut self) {
        match self.dice.roll(400) {
            0..12 if self.world.tabs.len() < 6 => {
                let browser = self.some_browser();
                self.open_tab(browser);
            }
            12..16 => {
                if let Some(tab) = self.some_tab() {
                    self.note();
                    self.world.kill_tab(tab);
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
            48..58 => self.with_tab(|tab, dice| match dice.roll(4) {
                0 => tab.storage_fails = true,
                1 => tab.next_fault = DiskFault::Unknown,
                _ => tab.storage_fails = false,
            }),
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
        self.note();
        self.check();
    }

    fn freeze_or_thaw(&mut self) {
        let tabs: Vec<TabId> = self.world.tabs.keys().copied().collect();
        let Some(&id) = self.dice.pick(&tabs) else {
            return;
        };
        if let Some(tab) = self.world.tabs.get_mut(&id) {
            tab.frozen = !tab.frozen;
        }
    }

    fn power_failure(&mut self) {
        self.note();
        let browser = self.some_browser();
        let tabs: Vec<TabId> = self.world.tabs.keys().copied().collect();
        for tab in tabs {
            if self.world.homes.get(&tab) == Some(&browser) {
                self.world.kill_tab(tab);
            }
        }
        let dice = &mut self.dice;
        self.world.browsers[browser]
            .disk
            .lose_power(|count| dice.roll(count as u64 + 1) as usize);
    }

    /// A stored value is damaged. The head only where mutations may become uncertain.
    fn damage(&mut self) {
        let stores = [StoreName::Pages, StoreName::Log, StoreName::Head];
        let stores = if self.forgetful {
            &stores[..]
        } else {
            &stores[..2]
        };
        let browser = self.some_browser();
        if let Some(&store) = self.dice.pick(stores) {
            let dice = &mut self.dice;
            let disk = &self.world.browsers[browser].disk;
            disk.damage(store, |count| dice.roll(count as u64) as usize);
        }
    }

    fn commit(&mut self) {
        let (row, gone) = (some_row(&mut self.dice), self.dice.once_in(4));
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
        let Some(id) = self.some_tab() else { return };
        let (Some(tab), Some(views)) = (self.world.tabs.get_mut(&id), self.views.get_mut(&id))
        else {
            return;
        };
        if views.len() > 3 || (self.dice.once_in(3) && !views.is_empty()) {
            let (view, _) = views.remove(self.dice.roll(views.len() as u64) as usize);
            tab.drop_view(view);
        } else {
            let which = self.dice.roll(QUERIES.len() as u64) as usize;
            let source = match self.dice.roll(3) {
                0 => QuerySource::Local,
                _ => named(which),
            };
            views.push((tab.view(QUERIES[which], source), QUERIES[which]));
        }
        self.world.collect(id);
    }

    fn mutate(&mut self) {
        let Some(id) = self.some_tab() else { return };
        let Some(tab) = self.world.tabs.get_mut(&id) else {
            return;
        };
        let name = ["upsert", "upsert", "remove", "count", "refused"][self.dice.roll(5) as usize];
        // A server that takes writes cannot refuse by name.
        let name = if name == "refused" && takes_writes(&self.world.server) {
            "count"
        } else {
            name
        };
        let number = self.made.len();
        let arg =
            json!({"row": some_row(&mut self.dice), "awaits": self.dice.roll(3), "u": number});
        let call = tab.mutate(name, &arg);
        let made = Made {
            argument: arg.to_string(),
            durable: false,
        };
        self.made.insert((id, call), made);
        self.world.collect(id);
    }

    /// Notes what the tabs have told.
    fn note(&mut self) {
        for (id, tab) in &self.world.tabs {
            for (call, result) in &tab.durable {
                if let (Ok(()), Some(Ok(mutation))) = (result, tab.local.get(call)) {
                    let made = self
                        .made
                        .get_mut(&(*id, *call))
                        .expect("a call of this run");
                    if !made.durable {
                        made.durable = true;
                        self.durable
                            .insert((tab.client.client_id().to_owned(), *mutation));
                    }
                }
            }
            for (call, outcome) in &tab.ends {
                self.ended
                    .entry((*id, *call))
                    .or_insert_with(|| outcome.clone());
            }
        }
    }

    fn check(&mut self) {
        self.check_views();
        if self.dice.once_in(4) {
            for tab in self.world.tabs.values() {
                promises::a_tab_holds_what_the_server_gave(&self.world.server, tab, &self.schema);
            }
            for browser in 0..self.world.browsers.len() {
                promises::storage_holds_what_the_server_gave(&self.world, browser, &self.schema);
            }
        }
    }

    fn check_views(&mut self) {
        for (id, tab) in self.world.tabs.iter_mut().filter(|(_, tab)| tab.ready) {
            for (view, ast) in &self.views[id] {
                let fresh = tab.client.run(ast).expect("the query is good");
                let fresh = tab.decoder.answer(&fresh, ast);
                assert_eq!(
                    tab.decoder.json(view.0),
                    fresh,
                    "view {} of tab {id}",
                    view.0
                );
            }
            if self.views[id].is_empty() {
                assert!(
                    tab.decoder.rows.len() <= IDLE_ROWS,
                    "rows that no view shows are released"
                );
            }
        }
    }

    /// A durable write is at the server once, or, if the server forgot groups, reported as uncertain.
    fn check_writes(&self) {
        let server = &self.world.server;
        if takes_writes(server) {
            for key in &self.durable {
                let known = server.last_id(&key.0) >= key.1;
                assert!(known, "{key:?} was durable and never arrived");
            }
            return;
        }
        let mut executed: BTreeMap<&str, Option<&String>> = BTreeMap::new();
        for done in &server.executed {
            let before = executed.insert(&done.argument, done.refusal.as_ref());
            assert!(before.is_none(), "carried out twice: {}", done.argument);
        }
        let mut uncertain = BTreeSet::new();
        for tab in self.world.tabs.values() {
            for info in tab.client.mutations() {
                if info.outcome == Some(Outcome::Uncertain) {
                    let args: Vec<Value> = serde_json::from_str(&info.args_json).expect("JSON");
                    uncertain.insert(args[0].to_string());
                }
            }
        }
        assert!(
            uncertain.is_empty() || self.forgetful,
            "nothing is uncertain without a reason"
        );
        for ((tab, call), made) in &self.made {
            let done = executed.get(made.argument.as_str());
            if made.durable {
                let known = done.is_some() || uncertain.contains(&made.argument);
                assert!(known, "lost though durable: {} of tab {tab}", made.argument);
            }
            match (self.ended.get(&(*tab, *call)), done) {
                (None | Some(Outcome::Uncertain), _) => {}
                (Some(Outcome::Confirmed), Some(None)) => {}
                (Some(Outcome::Failed { error }), Some(Some(_)))
                    if error.source == ErrorSource::App => {}
                (Some(told), really) => {
                    panic!(
                        "told {told:?}, really {really:?}: {} of tab {tab}",
                        made.argument
                    )
                }
            }
        }
    }

    /// What a tab did arrives in the order in which it did it. Not where the server forgets groups: then what was
    /// stored and what was not belong to two clients, whose pushes may overtake each other.
    fn check_order(&self) {
        if self.forgetful {
            return;
        }
        let place: BTreeMap<&str, usize> = self
            .world
            .server
            .executed
            .iter()
            .enumerate()
            .map(|(place, done)| (done.argument.as_str(), place))
            .collect();
        let mut last: BTreeMap<TabId, usize> = BTreeMap::new();
        for ((tab, _), made) in &self.made {
            let Some(&place) = place.get(made.argument.as_str()) else {
                continue;
            };
            if let Some(before) = last.insert(*tab, place) {
                assert!(
                    before < place,
                    "came too early: {} of tab {tab}",
                    made.argument
                );
            }
        }
    }

    fn finish(&mut self) {
        self.world.server.rate_limited = false;
        self.world.server.endpoint_down = false;
        self.world.network_up();
        self.world.cut_off.clear();
        let token = self.world.token.clone();
        for tab in self.world.tabs.values_mut() {
            tab.frozen = false;
            tab.storage_fails = false;
            tab.manual_storage = false;
            tab.next_fault = DiskFault::None;
            tab.client.connect(tab.now, token.clone());
        }
        self.world.settle();
        for browser in 0..self.world.browsers.len() {
            let id = self.open_tab(browser);
            if let Some(tab) = self.world.tabs.get_mut(&id) {
                tab.manual_storage = false;
            }
        }
        for (id, tab) in &mut self.world.tabs {
            let view = tab.view(QUERIES[0], named(0));
            self.views.entry(*id).or_default().push((view, QUERIES[0]));
        }
        self.world.pass(180_000.0);
        self.note();
        self.check_views();
        for tab in self.world.tabs.values() {
            promises::a_tab_holds_what_the_server_gave(&self.world.server, tab, &self.schema);
        }
        self.check_writes();
        self.check_order();
        for (id, tab) in &mut self.world.tabs {
            let pending: Vec<_> = tab
                .client
                .mutations()
                .into_iter()
                .filter(|m| m.outcome.is_none())
                .collect();
            assert!(pending.is_empty(), "tab {id} still has {pending:?}");
            for (call, result) in &tab.local {
                let ended = self.ended.contains_key(&(*id, *call)) || result.is_err();
                assert!(ended, "call {call:?} of tab {id} has no outcome");
            }
            let held = self.world.server.rows.table("note");
            let permission = self.world.server.permission;
            let columns = ["id", "parent", "kind", "n", "on", "data"].map(str::to_owned);
            let seen = held
                .iter()
                .filter(|row| permission.is_none_or(|rule| rule(row)));
            let held: Value = seen.map(|row| promises::normal(row, &columns)).collect();
            let rows = tab.client.run(QUERIES[0]).expect("the query is good");
            let rows = tab.decoder.answer(&rows, QUERIES[0]);
            assert_eq!(rows, held, "tab {id} shows what the server holds");
        }
    }
}

fn takes_writes(server: &Server) -> bool {
    server
        .mode
        .as_ref()
        .is_some_and(|mode| mode["mutations"] == "crud")
}

fn run(seed: u64) {
    let mut run = Run::new(seed);
    for _ in 0..300 {
        run.step();
    }
    run.finish();
    if std::env::var_os("LANDFALL_STATS").is_some() {
        eprintln!(
            "{seed}: executed {} made {} durable {} ended {} tabs {}",
            run.world.server.executed.len(),
            run.made.len(),
            run.durable.len(),
            run.ended.len(),
            run.views.len()
        );
    }
}

/// Runs seeds for a while, from `LANDFALL_SEED` on; lists every seed that fails and what it said.
#[test]
fn random_worlds_keep_the_promises() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seconds = number("LANDFALL_TEST_SECONDS").unwrap_or(3.0);
    let first = number("LANDFALL_SEED").map_or(1, |seed| seed as u64);
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut failures = Vec::new();
    let mut seed = first;
    while seed == first || Instant::now() < end {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            let text: String = text.unwrap_or_default().chars().take(300).collect();
            let failure = format!("LANDFALL_SEED={seed}: {text}");
            eprintln!("{failure}");
            failures.push(failure);
        }
        seed += 1;
        if (seed - first).is_multiple_of(1000) {
            eprintln!("{} seeds, {} fail", seed - first, failures.len());
        }
    }
    eprintln!("{} seeds", seed - first);
    assert!(
        failures.is_empty(),
        "{} seeds fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
