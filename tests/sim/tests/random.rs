//! Random worlds under a seed: tabs that come and die, a network that flaps, storage that stalls and fails, mutators
//! that await, a server that changes rows by itself and refuses some writes.
//!
//! Checked at every step: each view equals its query run from scratch, and every rule of the flush. Checked at the end,
//! with everything up again: what was durable is at the server once and in order, and all tabs show what it holds.

use landfall_client::{CallId, Client, Outcome, QuerySource, RunReason, TxId, ViewId, WriteOp};
use landfall_sim::decoder::{Decoder, IDLE_ROWS};
use landfall_sim::host::{Mutator, Progress, thrown};
use landfall_sim::server::{Rows, Server, ServerMutator};
use landfall_sim::world::{TabId, World};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const SCHEMA: &str = r#"{"tables":{
    "note":{"name":"note","columns":{
        "id":{"type":"string","optional":false},
        "parent":{"type":"string","optional":true},
        "kind":{"type":"string","optional":true},
        "n":{"type":"number","optional":true},
        "on":{"type":"boolean","optional":true},
        "data":{"type":"json","optional":true}},"primaryKey":["id"]}}}"#;

const QUERIES: &[&str] = &[
    r#"{"table":"note","orderBy":[["id","asc"]]}"#,
    r#"{"table":"note","orderBy":[["n","desc"],["id","asc"]],"limit":3}"#,
    r#"{"table":"note","where":{"type":"simple","op":"=","left":{"type":"column","name":"on"},"right":{"type":"literal","value":true}}}"#,
    r#"{"table":"note","orderBy":[["n","asc"]],"related":[
        {"correlation":{"parentField":["id"],"childField":["parent"]},
         "subquery":{"table":"note","alias":"children","orderBy":[["n","asc"]],"limit":2,"related":[
            {"correlation":{"parentField":["parent"],"childField":["id"]},
             "subquery":{"table":"note","alias":"back"}}]}},
        {"correlation":{"parentField":["parent"],"childField":["id"]},
         "subquery":{"table":"note","alias":"up","limit":1}}]}"#,
];

/// A small generator, so that a seed is all that a failure needs.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn id(&mut self) -> String {
        format!("n{}", self.roll(8))
    }

    fn row(&mut self) -> Value {
        let text = ["red", "blue", "ü 😀", ""][self.roll(4) as usize];
        let on = [Value::Null, json!(true), json!(false)][self.roll(3) as usize].clone();
        let data = [Value::Null, json!({"a": [1, "x"]}), json!("s")][self.roll(3) as usize].clone();
        json!({
            "id": self.id(),
            "parent": if self.roll(3) == 0 { Value::Null } else { json!(self.id()) },
            "kind": if self.roll(4) == 0 { Value::Null } else { json!(text) },
            "n": if self.roll(5) == 0 { Value::Null } else { json!(self.roll(6) as f64 - 2.5) },
            "on": on,
            "data": data,
        })
    }
}

fn write(client: &mut Client, tx: TxId, op: WriteOp, row: &Value) -> Progress {
    let result = client.write(tx, "note", op, &row.to_string());
    Progress::Done(result.map_err(|error| thrown(error.to_string())))
}

fn upsert(client: &mut Client, tx: TxId, arg: &Value, step: usize, _: RunReason) -> Progress {
    match arg["awaits"].as_u64() {
        Some(awaits) if (step as u64) < awaits => Progress::Await,
        _ => write(client, tx, WriteOp::Upsert, &arg["row"]),
    }
}

fn remove(client: &mut Client, tx: TxId, arg: &Value, _: usize, _: RunReason) -> Progress {
    write(
        client,
        tx,
        WriteOp::Delete,
        &json!({"id": arg["row"]["id"]}),
    )
}

/// Counts up what it reads, after an await.
fn count(client: &mut Client, tx: TxId, arg: &Value, step: usize, _: RunReason) -> Progress {
    if step == 0 {
        return Progress::Await;
    }
    let ast = json!({"table": "note", "where": {"type": "simple", "op": "=",
        "left": {"type": "column", "name": "id"}, "right": {"type": "literal", "value": arg["row"]["id"]}}});
    let ast = ast.to_string();
    let Ok(flush) = client.read_detached(tx, &ast) else {
        return Progress::Done(Err(thrown("closed")));
    };
    let rows = Decoder::new(&client.layout()).detached(&flush, &ast);
    let n = rows[0]["n"].as_f64().unwrap_or(0.0) + 1.0;
    write(
        client,
        tx,
        WriteOp::Update,
        &json!({"id": arg["row"]["id"], "n": n}),
    )
}

const MUTATORS: &[(&str, Mutator)] = &[
    ("upsert", upsert),
    ("remove", remove),
    ("count", count),
    ("refused", upsert),
];

fn server_upsert(rows: &mut Rows, arg: &Value) -> Result<(), String> {
    rows.put("note", arg["row"].clone());
    Ok(())
}

fn server_remove(rows: &mut Rows, arg: &Value) -> Result<(), String> {
    rows.remove("note", arg["row"]["id"].as_str().unwrap_or_default());
    Ok(())
}

fn server_count(rows: &mut Rows, arg: &Value) -> Result<(), String> {
    let id = arg["row"]["id"].as_str().unwrap_or_default();
    if let Some(mut row) = rows.get("note", id).cloned() {
        row["n"] = json!(row["n"].as_f64().unwrap_or(0.0) + 1.0);
        rows.put("note", row);
    }
    Ok(())
}

fn server_refuse(_: &mut Rows, _: &Value) -> Result<(), String> {
    Err("refused".into())
}

const SERVER_MUTATORS: &[(&str, ServerMutator)] = &[
    ("upsert", server_upsert),
    ("remove", server_remove),
    ("count", server_count),
    ("refused", server_refuse),
];

struct Run {
    /// Whether the server may forget groups in this run.
    forgetful: bool,
    /// Arguments of calls that reported durable.
    durable_args: BTreeSet<String>,
    /// Arguments by tab and call.
    args: BTreeMap<(TabId, CallId), String>,
    made: u32,
    dice: Dice,
    world: World,
    views: BTreeMap<TabId, Vec<(ViewId, &'static str)>>,
    /// Mutations that reported durable: client and id.
    durable: BTreeSet<(String, u64)>,
    calls: BTreeMap<TabId, Vec<CallId>>,
    refused: BTreeSet<(String, u64)>,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut server = Server::new(SERVER_MUTATORS);
        if seed.is_multiple_of(3) {
            server.mode = Some(json!({"queries": "ast", "mutations": "crud", "version": 1}));
        }
        let mut run = Run {
            forgetful: seed % 4 == 1 && server.mode.is_none(),
            durable_args: BTreeSet::new(),
            args: BTreeMap::new(),
            made: 0,
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            world: World::new(SCHEMA, MUTATORS, server),
            views: BTreeMap::new(),
            durable: BTreeSet::new(),
            calls: BTreeMap::new(),
            refused: BTreeSet::new(),
        };
        run.open_tab();
        run
    }

    fn open_tab(&mut self) {
        let tab = self.world.open_tab();
        self.views.insert(tab, Vec::new());
        self.calls.insert(tab, Vec::new());
    }

    fn some_tab(&mut self) -> Option<TabId> {
        let tabs: Vec<TabId> = self.world.tabs.keys().copied().collect();
        (!tabs.is_empty()).then(|| tabs[self.dice.roll(tabs.len() as u64) as usize])
    }

    fn step(&mut self) {
        match self.dice.roll(26) {
            24 => {
                if let Some(tab) = self.some_tab() {
                    self.world.lose_answers(tab);
                }
            }
            25 if self.forgetful && self.dice.roll(3) == 0 => self.world.server.forget_all(),
            0 if self.world.tabs.len() < 4 => self.open_tab(),
            1 => {
                if let Some(tab) = self.some_tab() {
                    self.note_durable();
                    self.world.kill_tab(tab);
                }
            }
            2 => self.world.network_down(),
            3..=4 => self.world.network_up(),
            5 => self.with_tab(|tab, _| tab.storage_stalled = !tab.storage_stalled),
            6 => self
                .with_tab(|tab, dice| tab.storage_fails = !tab.storage_fails && dice.roll(3) == 0),
            7..=8 => self.toggle_view(),
            9..=12 => self.mutate(),
            13..=14 => {
                let (row, gone) = (self.dice.row(), self.dice.roll(4) == 0);
                self.world.server.commit(|rows| match gone {
                    true => rows.remove("note", row["id"].as_str().expect("text")),
                    false => rows.put("note", row),
                });
            }
            15 => {
                self.world.pass(700.0);
            }
            _ => {
                self.world.step();
            }
        }
        self.check_views();
    }

    fn with_tab(&mut self, change: impl FnOnce(&mut landfall_sim::host::Tab, &mut Dice)) {
        if let Some(id) = self.some_tab()
            && let Some(tab) = self.world.tabs.get_mut(&id)
        {
            change(tab, &mut self.dice);
            tab.pump();
        }
    }

    fn toggle_view(&mut self) {
        let Some(id) = self.some_tab() else { return };
        let (Some(tab), Some(views)) = (self.world.tabs.get_mut(&id), self.views.get_mut(&id))
        else {
            return;
        };
        if views.len() > 3 || (self.dice.roll(3) == 0 && !views.is_empty()) {
            let (view, _) = views.remove(self.dice.roll(views.len() as u64) as usize);
            tab.drop_view(view);
            return;
        }
        let which = self.dice.roll(QUERIES.len() as u64) as usize;
        let source = match self.dice.roll(3) {
            0 => QuerySource::Local,
            _ => QuerySource::Named {
                name: format!("q{which}"),
                args_json: "[]".into(),
            },
        };
        views.push((tab.view(QUERIES[which], source), QUERIES[which]));
    }

    fn mutate(&mut self) {
        let Some(id) = self.some_tab() else { return };
        let Some(tab) = self.world.tabs.get_mut(&id) else {
            return;
        };
        let name = ["upsert", "upsert", "remove", "count", "refused"][self.dice.roll(5) as usize];
        // A server that takes writes cannot refuse by name.
        let name = if name == "refused" && self.world.server.mode.is_some() {
            "count"
        } else {
            name
        };
        self.made += 1;
        let arg = json!({"row": self.dice.row(), "awaits": self.dice.roll(3), "u": self.made});
        let call = tab.mutate(name, &arg);
        self.args.insert((id, call), arg.to_string());
        self.calls.entry(id).or_default().push(call);
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

    /// Notes which mutations have reported that they are durable, and which the server refused.
    fn note_durable(&mut self) {
        for (id, tab) in &self.world.tabs {
            for call in &self.calls[id] {
                if let (Some(Ok(())), Some(Ok(mutation))) =
                    (tab.durable.get(call), tab.local.get(call))
                {
                    self.durable
                        .insert((tab.client.client_id().to_owned(), *mutation));
                    self.durable_args.insert(self.args[&(*id, *call)].clone());
                }
            }
            for (key, outcome) in &tab.outcomes {
                if matches!(outcome, Outcome::Failed { .. }) {
                    self.refused.insert(key.clone());
                }
            }
        }
    }

    /// A durable write is at the server once, or, if the server forgot groups, reported as uncertain.
    fn check_writes(&self) {
        let server = &self.world.server;
        let applied = server
            .applied
            .iter()
            .map(|(client, id, _)| (client.clone(), *id));
        let once: BTreeSet<(String, u64)> = applied.clone().collect();
        assert_eq!(once.len(), applied.count(), "no id is applied twice");
        if server.mode.is_some() {
            for key in &self.durable {
                let known = server.last_id(&key.0) >= key.1;
                assert!(known, "{key:?} was durable and never arrived");
            }
            return;
        }
        let executed: BTreeSet<&String> = server.executed.iter().collect();
        assert_eq!(
            executed.len(),
            server.executed.len(),
            "no write is carried out twice"
        );
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
        for args in &self.durable_args {
            let known = executed.contains(args) || uncertain.contains(args);
            assert!(known, "{args} was durable and is lost");
        }
    }

    fn finish(&mut self) {
        for tab in self.world.tabs.values_mut() {
            tab.storage_stalled = false;
            tab.storage_fails = false;
            tab.pump();
        }
        self.open_tab();
        self.world.network_up();
        self.world.pass(90_000.0);
        self.note_durable();
        self.check_views();
        self.check_writes();
        let held = self.world.server.rows.table("note");
        for (id, tab) in &mut self.world.tabs {
            let pending: Vec<_> = tab
                .client
                .mutations()
                .into_iter()
                .filter(|m| m.outcome.is_none())
                .collect();
            assert!(pending.is_empty(), "tab {id} still has {pending:?}");
            let rows = tab.client.run(QUERIES[0]).expect("the query is good");
            let rows = tab.decoder.answer(&rows, QUERIES[0]);
            assert_eq!(rows, normal(&held), "tab {id} shows what the server holds");
        }
    }
}

/// Whole numbers as integers, as the decoder gives them, and absent columns as null.
fn normal(rows: &[Value]) -> Value {
    let columns = ["id", "parent", "kind", "n", "on", "data"];
    rows.iter()
        .map(|row| {
            let number = |v: &Value| match v.as_f64() {
                Some(f) if f.fract() == 0.0 => json!(f as i64),
                _ => v.clone(),
            };
            let members = columns.iter().map(|c| ((*c).to_owned(), number(&row[*c])));
            Value::Object(members.collect())
        })
        .collect()
}

fn run(seed: u64) {
    let mut run = Run::new(seed);
    for _ in 0..120 {
        run.step();
    }
    run.finish();
    if std::env::var_os("LANDFALL_STATS").is_some() {
        eprintln!(
            "{seed}: applied {} durable {} refused {} views {} tabs {}",
            run.world.server.applied.len(),
            run.durable.len(),
            run.refused.len(),
            run.views.values().map(Vec::len).sum::<usize>(),
            run.views.len()
        );
    }
}

#[test]
fn random_worlds_keep_the_promises() {
    let seconds = std::env::var("LANDFALL_TEST_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(2.0);
    let first: u64 = std::env::var("LANDFALL_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(1);
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut seed = first;
    while seed == first || Instant::now() < end {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("LANDFALL_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
        seed += 1;
    }
    eprintln!("{} seeds", seed - first);
}
