//! What holds in a random world.
//!
//! As it runs: each view equals its query run from scratch, every rule of the flush, and what tabs and storage hold for the
//! server's rows is what the server gave at their cookie. At the end, with everything up again: what was durable is at
//! the server once and in order, every call has its true outcome, and all tabs show what the server holds.

use crate::decoder::IDLE_ROWS;
use crate::disk::DiskFault;
use crate::notes::{QUERIES, named};
use crate::promises;
use crate::random_run::{Release, Run, takes_writes};
use crate::world::TabId;
use landfall_client::{ErrorSource, Event, Outcome};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

impl Run {
    pub(crate) fn check(&mut self) {
        self.check_views();
        if self.dice.once_in(4) {
            self.check_rows_of_tabs();
            for browser in 0..self.world.browsers.len() {
                let schema = self.schema_of(browser);
                let is_drained = self.is_earlier(browser);
                promises::storage_holds_what_the_server_gave(
                    &self.world,
                    browser,
                    schema,
                    is_drained,
                );
            }
        }
    }

    fn check_rows_of_tabs(&self) {
        let ready = self.world.tabs.iter().filter(|(_, tab)| tab.ready);
        for (id, tab) in ready {
            if !self.draining.contains(id) {
                let schema = self.schema_of(self.home(*id));
                promises::a_tab_holds_what_the_server_gave(&self.world.server, tab, schema);
            }
        }
    }

    fn check_views(&mut self) {
        self.check_kept_results();
        for (id, tab) in self.world.tabs.iter_mut().filter(|(_, tab)| tab.ready) {
            for (view, ast) in &self.views[id] {
                let fresh = tab.client.run(ast).expect("the query is good");
                let mut fresh = tab.decoder.answer(&fresh, ast);
                // One that is filled in slices shows nothing before it shows all.
                if !tab.client.is_filled(*view) {
                    assert!(tab.manual_work, "view {} of tab {id} is filled", view.0);
                    fresh = json!([]);
                }
                assert_eq!(
                    tab.decoder.json(view.0),
                    fresh,
                    "view {} of tab {id}",
                    view.0
                );
            }
            // What is prepared for a view that was closed meanwhile is let go of when the preparation is over.
            let is_preparing = tab.wants_work || tab.is_awaiting();
            if self.views[id].is_empty() && !is_preparing {
                let rows = tab.decoder.rows.len();
                assert!(
                    rows <= IDLE_ROWS,
                    "tab {id} shows nothing and holds {rows} rows"
                );
            }
        }
    }

    /// Before its rows are read, a tab shows nothing, or what it is going to show if nothing happens meanwhile.
    fn check_kept_results(&mut self) {
        let early = self.world.tabs.iter_mut().filter(|(_, tab)| !tab.ready);
        for (id, tab) in early {
            let Some(twin) = &mut tab.twin else { continue };
            // What was kept can be read where rows are damaged.
            if twin
                .notes
                .iter()
                .any(|note| note.starts_with("StorageProblem"))
            {
                continue;
            }
            for (view, ast) in &self.views[id] {
                let shown = tab.decoder.json(view.0);
                let rows = twin.client.run(ast).expect("the query is good");
                let rows = twin.decoder.answer(&rows, ast);
                let name = view.0;
                assert!(
                    shown == json!([]) || shown == rows,
                    "view {name} of tab {id} shows {shown} early, and {rows} is stored"
                );
            }
        }
    }

    /// A durable write is at the server once, or, if the server forgot groups, reported as uncertain.
    fn check_writes(&self) {
        let server = &self.world.server;
        if takes_writes(server) {
            for key in self.durable.iter().filter(|_| !self.evicting) {
                let known = server.last_id(&key.0) >= key.1;
                assert!(known, "{key:?} was durable and never arrived");
            }
            return self.check_refusals();
        }
        let mut executed: BTreeMap<&str, Option<&String>> = BTreeMap::new();
        for done in &server.executed {
            let before = executed.insert(&done.argument, done.refusal.as_ref());
            let is_known = !self.untold.contains(&done.argument);
            assert!(
                before.is_none() || !is_known,
                "carried out twice: {}",
                done.argument
            );
        }
        let mut uncertain = BTreeSet::new();
        for tab in self.world.tabs.values() {
            for info in tab.client.mutations() {
                if info.outcome == Some(Outcome::Uncertain) {
                    uncertain.insert(promises::argument_of(&info.args_json));
                }
            }
        }
        assert!(
            uncertain.is_empty() || self.forgetful || self.evicting,
            "nothing is uncertain without a reason"
        );
        for ((tab, call), made) in &self.made {
            let done = executed.get(made.argument.as_str());
            if made.durable && !self.evicting {
                let told = uncertain.contains(&made.argument);
                let known = done.is_some() || told || self.cleared.contains(&made.argument);
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

    /// Where the server takes writes: what a mutator refused in the end came without any, and is told as failed.
    fn check_refusals(&self) {
        let executed = &self.world.server.executed;
        // Who drains a store knows no mutators.
        let is_reason = |said: &str| said == "not again" || said.contains("are not known");
        for ((tab, call), made) in self.made.iter().filter(|_| !self.evicting) {
            let is_it = |(client, id): &(String, u64)| {
                executed
                    .iter()
                    .find(|done| done.client == *client && done.id == *id)
            };
            let Some(done) = made.key.as_ref().and_then(is_it) else {
                continue;
            };
            let came_empty = done.argument == "[]";
            match self.ended.get(&(*tab, *call)) {
                None | Some(Outcome::Uncertain) => {}
                Some(Outcome::Confirmed) if !came_empty => {}
                Some(Outcome::Failed { error }) if came_empty && is_reason(&error.message) => {}
                Some(told) => panic!("told {told:?}, came {}: {}", done.argument, made.argument),
            }
        }
    }

    /// What a tab did arrives in the order in which it did it. Where groups end, because the server forgets them or the
    /// queue is damaged, what was stored and what was not belong to two clients, whose pushes may overtake each other.
    fn check_order(&self) {
        let groups_end = self.forgetful || self.evicting;
        let executed = self.world.server.executed.iter().enumerate();
        let place: BTreeMap<&str, (usize, &str)> = executed
            .map(|(place, done)| (done.argument.as_str(), (place, done.client.as_str())))
            .collect();
        let mut last: BTreeMap<(TabId, Option<&str>), usize> = BTreeMap::new();
        for ((tab, _), made) in &self.made {
            let Some(&(place, client)) = place.get(made.argument.as_str()) else {
                continue;
            };
            let by = (*tab, groups_end.then_some(client));
            if let Some(before) = last.insert(by, place) {
                assert!(
                    before < place,
                    "came too early: {} of tab {tab}",
                    made.argument
                );
            }
        }
    }

    /// Everything is up again and has had time.
    pub(crate) fn finish(&mut self) {
        self.world.server.rate_limited = false;
        self.world.server.endpoint_down = false;
        self.world.network_up();
        self.world.cut_off.clear();
        let token = self.world.token.clone();
        for tab in self.world.tabs.values_mut() {
            tab.frozen = false;
            tab.storage_fails = false;
            tab.storage_stalled = false;
            tab.manual_storage = false;
            tab.manual_work = false;
            tab.next_fault = DiskFault::None;
            tab.client.connect(tab.now, token.clone());
            tab.event(Event::Visibility { visible: true });
        }
        self.world.settle();
        for browser in 0..self.world.browsers.len() {
            self.open_tab(browser);
        }
        for tab in self.world.tabs.values_mut() {
            tab.manual_storage = false;
            tab.manual_work = false;
        }
        for (id, tab) in &mut self.world.tabs {
            if !self.draining.contains(id) {
                let view = tab.view(QUERIES[0], named(0));
                self.views.entry(*id).or_default().push((view, QUERIES[0]));
            }
        }
        self.world.pass(60_000.0);
        self.release_held(0.0);
        self.world.pass(180_000.0);
        self.note();
        self.check_views();
        self.check_rows_of_tabs();
        self.check_writes();
        self.check_order();
        self.check_ends();
        self.check_answers();
    }

    /// Nothing is pending, and every call that ran has an outcome.
    fn check_ends(&self) {
        for (id, tab) in &self.world.tabs {
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
        }
    }

    /// All tabs show what the server holds.
    fn check_answers(&mut self) {
        let held = self.world.server.rows.table("note");
        let permission = self.world.server.permission;
        let seen: Vec<Value> = held
            .into_iter()
            .filter(|row| permission.is_none_or(|rule| rule(row)))
            .collect();
        let releases: BTreeMap<TabId, Release> = self
            .world
            .tabs
            .keys()
            .map(|id| (*id, self.release_of(self.home(*id))))
            .collect();
        for (id, tab) in &mut self.world.tabs {
            if self.draining.contains(id) {
                continue;
            }
            let columns = ["id", "parent", "kind", "n", "on", "data"];
            let columns = match releases[id] {
                Release::Present => &columns[..],
                Release::Next => &columns[..5],
            };
            let columns: Vec<String> = columns.iter().map(|&name| name.to_owned()).collect();
            let held: Value = seen
                .iter()
                .map(|row| promises::normal(row, &columns))
                .collect();
            let rows = tab.client.run(QUERIES[0]).expect("the query is good");
            let rows = tab.decoder.answer(&rows, QUERIES[0]);
            assert_eq!(rows, held, "tab {id} shows what the server holds");
        }
    }
}
