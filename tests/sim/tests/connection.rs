//! What becomes of a connection whatever the server says: the state that the application sees, what it is told besides,
//! and that a write of that time arrives once.
//!
//! | the server says | state | then |
//! |---|---|---|
//! | nothing, or closes | `connecting`, after a minute `disconnected` | tried again and again |
//! | back-off errors, a failed write | the same | the same, within the bounds it gave |
//! | a token is missing or refused | `needs-auth` | waits for `connect` |
//! | newer code is needed | `error` | tried again, rarely; the application is told once |
//! | it does not know the group, or has lost a confirmed write | `error` | a new group takes the writes over |
//! | anything else | `error` | tried again, rarely |
//!
//! In Zero the last three rows wait for the application, most of its clients reload the page, and after the fifth the
//! writes are lost.

use landfall_client::{ConnectionState, Event, Outcome};
use landfall_sim::notes::{self, MUTATORS, QUERIES, SCHEMA, named};
use landfall_sim::world::{TabId, World};
use serde_json::{Value, json};

fn world() -> (World, TabId) {
    let mut world = World::new(SCHEMA, MUTATORS, notes::server());
    let id = world.open_tab();
    let tab = world.tabs.get_mut(&id).expect("just opened");
    tab.view(QUERIES[0], named(0));
    world.settle();
    assert_eq!(state(&world, id), "connected");
    (world, id)
}

fn state(world: &World, id: TabId) -> &'static str {
    match &world.tabs[&id].connection {
        None => "none",
        Some(ConnectionState::Connecting { .. }) => "connecting",
        Some(ConnectionState::Connected) => "connected",
        Some(ConnectionState::Disconnected { .. }) => "disconnected",
        Some(ConnectionState::NeedsAuth { .. }) => "needs-auth",
        Some(ConnectionState::Error { .. }) => "error",
        Some(ConnectionState::Closed { .. }) => "closed",
    }
}

fn told(world: &World, id: TabId, what: &str) -> usize {
    let notes = world.tabs[&id].notes.iter();
    notes.filter(|note| note.starts_with(what)).count()
}

/// A write that is made now: here, in storage, and nowhere else.
#[track_caller]
fn write(world: &mut World, id: TabId) {
    let tab = world.tabs.get_mut(&id).expect("it lives");
    let call = tab.mutate("upsert", &json!({"row": {"id": "made-meanwhile"}}));
    assert!(matches!(tab.local.get(&call), Some(Ok(_))));
    assert_eq!(tab.durable.get(&call), Some(&Ok(())));
    assert!(world.server.executed.is_empty());
}

#[track_caller]
fn arrives(world: &mut World, id: TabId) {
    world.pass(120_000.0);
    assert_eq!(state(world, id), "connected");
    assert_eq!(world.server.applied().len(), 1);
    let ends: Vec<&Outcome> = world.tabs[&id].ends.values().collect();
    assert_eq!(ends, [&Outcome::Confirmed]);
    assert!(world.tabs[&id].client.mutations().is_empty());
}

/// The server refuses everybody with this error, for two minutes.
struct Refusal {
    error: Value,
    /// The state at once, and after more than a minute.
    states: [&'static str; 2],
    /// Whether it is tried again without the application.
    retries: bool,
    /// How often the application is told that newer code is needed.
    updates: usize,
}

#[track_caller]
fn check(refusal: &Refusal) {
    let (mut world, id) = world();
    world.server.refuse_all(&refusal.error);
    world.pass(100.0);
    assert_eq!(state(&world, id), refusal.states[0], "{}", refusal.error);
    write(&mut world, id);
    let before = world.server.attempts;
    world.pass(120_000.0);
    assert_eq!(state(&world, id), refusal.states[1], "{}", refusal.error);
    let attempts = world.server.attempts - before;
    assert_eq!(attempts > 0, refusal.retries, "{}", refusal.error);
    assert!(attempts < 30, "{attempts} times: {}", refusal.error);
    let updates = told(&world, id, "UpdateNeeded");
    assert_eq!(updates, refusal.updates, "{}", refusal.error);
    world.server.refusal = None;
    if !refusal.retries {
        world.pass(120_000.0);
        assert_eq!(state(&world, id), refusal.states[1]);
        let tab = world.tabs.get_mut(&id).expect("it lives");
        tab.client.connect(tab.now, Some("newer".into()));
    }
    arrives(&mut world, id);
}

fn basic(kind: &str) -> Value {
    json!({"kind": kind, "message": "no", "origin": "zeroCache"})
}

fn failed(kind: &str, ids: &str, status: u16) -> Value {
    json!({"kind": kind, "message": "no", "origin": "zeroCache", "reason": "http", "status": status, ids: []})
}

#[test]
fn errors_that_ask_for_patience() {
    for error in [
        basic("Rehome"),
        basic("Rebalance"),
        json!({"kind": "ServerOverloaded", "message": "no", "origin": "zeroCache", "minBackoffMs": 8_000}),
        basic("MutationFailed"),
    ] {
        check(&Refusal {
            error,
            states: ["connecting", "disconnected"],
            retries: true,
            updates: 0,
        });
    }
}

#[test]
fn errors_that_ask_for_a_token() {
    for error in [
        basic("AuthInvalidated"),
        basic("Unauthorized"),
        failed("PushFailed", "mutationIDs", 401),
        failed("TransformFailed", "queryIDs", 403),
    ] {
        check(&Refusal {
            error,
            states: ["needs-auth", "needs-auth"],
            retries: false,
            updates: 0,
        });
    }
}

#[test]
fn errors_that_ask_for_newer_code_are_told_once() {
    for kind in ["VersionNotSupported", "SchemaVersionNotSupported"] {
        check(&Refusal {
            error: basic(kind),
            states: ["error", "error"],
            retries: true,
            updates: 1,
        });
    }
}

#[test]
fn errors_that_end_the_group() {
    for kind in [
        "ClientNotFound",
        "InvalidConnectionRequestBaseCookie",
        "InvalidConnectionRequestLastMutationID",
    ] {
        check(&Refusal {
            error: basic(kind),
            states: ["error", "error"],
            retries: true,
            updates: 0,
        });
    }
}

#[test]
fn all_other_errors() {
    for error in [
        basic("InvalidConnectionRequest"),
        basic("InvalidConnectionRequestClientDeleted"),
        basic("InvalidMessage"),
        basic("InvalidPush"),
        basic("Internal"),
        failed("PushFailed", "mutationIDs", 503),
        failed("TransformFailed", "queryIDs", 503),
        // Nobody knows who says it.
        json!({"kind": "Rehome", "message": "no"}),
    ] {
        check(&Refusal {
            error,
            states: ["error", "error"],
            retries: true,
            updates: 0,
        });
    }
}

#[test]
fn a_group_that_the_server_forgot_is_told_and_its_tabs_go_on_in_another() {
    let (mut world, id) = world();
    let group = |world: &World| world.tabs[&id].export()["clientGroupID"].clone();
    let before = group(&world);
    world.network_down();
    write(&mut world, id);
    world.server.forget_all();
    world.network_up();
    arrives(&mut world, id);
    assert_eq!(told(&world, id, "ClientStateNotFound"), 1);
    assert_ne!(group(&world), before);
}

/// A write is refused as out of order, so many ids after the last one that was confirmed: does the tab begin anew?
#[track_caller]
fn check_out_of_order(distance: u64, begins_anew: bool) {
    let (mut world, id) = world();
    let tab = world.tabs.get_mut(&id).expect("just opened");
    tab.mutate("upsert", &json!({"row": {"id": "before"}}));
    world.pass(1_000.0);
    let client = world.server.executed[0].client.clone();
    world.network_down();
    let tab = world.tabs.get_mut(&id).expect("it lives");
    tab.mutate("upsert", &json!({"row": {"id": "meanwhile"}}));
    world.server.refuse_all(&json!({
        "kind": "PushFailed", "message": "no", "origin": "server", "reason": "oooMutation",
        "mutationIDs": [{"clientID": client, "id": 1 + distance}],
    }));
    world.network_up();
    world.pass(120_000.0);
    let times = usize::from(begins_anew);
    assert_eq!(told(&world, id, "ClientStateNotFound"), times);
    world.server.refusal = None;
    world.pass(120_000.0);
    assert_eq!(state(&world, id), "connected");
    assert_eq!(told(&world, id, "ClientStateNotFound"), times);
    assert_eq!(world.server.applied().len(), 2);
    assert_eq!(world.server.executed[1].client != client, begins_anew);
}

#[test]
fn a_source_that_lost_a_confirmed_write_is_taken_for_another_one() {
    check_out_of_order(1, true);
}

#[test]
fn a_write_that_overtook_another_is_sent_again() {
    check_out_of_order(2, false);
}

#[test]
fn a_hidden_tab_gives_its_connection_up_after_five_minutes_and_stores_what_is_made() {
    let (mut world, id) = world();
    let tab = world.tabs.get_mut(&id).expect("it lives");
    tab.event(Event::Visibility { visible: false });
    world.pass(290_000.0);
    assert_eq!(state(&world, id), "connected");
    world.pass(20_000.0);
    assert_eq!(state(&world, id), "disconnected");
    write(&mut world, id);
    let before = world.server.attempts;
    world.pass(600_000.0);
    assert_eq!(world.server.attempts, before, "it sleeps");
    let tab = world.tabs.get_mut(&id).expect("it lives");
    tab.event(Event::Visibility { visible: true });
    assert_eq!(state(&world, id), "connecting");
    arrives(&mut world, id);
}

#[test]
fn when_the_browser_says_that_there_is_a_network_nobody_waits_for_the_pause_to_end() {
    let (mut world, id) = world();
    world.network_down();
    world.pass(300_000.0);
    assert_eq!(state(&world, id), "disconnected");
    write(&mut world, id);
    world.network_up();
    let tab = world.tabs.get_mut(&id).expect("it lives");
    tab.event(Event::Online { online: true });
    world.settle();
    assert_eq!(state(&world, id), "connected");
    arrives(&mut world, id);
}

#[test]
fn when_the_browser_says_that_the_network_is_gone_the_server_is_asked_whether_it_is_there() {
    let (mut world, id) = world();
    world.server.received.clear();
    let tab = world.tabs.get_mut(&id).expect("it lives");
    tab.event(Event::Online { online: false });
    world.settle();
    assert_eq!(world.server.received, ["ping"]);
    // It is: browsers are wrong about that, for example when a VPN goes.
    world.pass(60_000.0);
    assert_eq!(state(&world, id), "connected");
}

#[test]
fn a_token_is_changed_without_another_connection() {
    let (mut world, id) = world();
    world.server.token = Some("newer".into());
    let before = world.server.attempts;
    let tab = world.tabs.get_mut(&id).expect("it lives");
    tab.client.connect(tab.now, Some("newer".into()));
    tab.pump();
    world.settle();
    assert!(world.server.received.contains(&"updateAuth".to_owned()));
    assert_eq!(world.server.attempts, before);
    assert_eq!(state(&world, id), "connected");
}

/// Rows of a long text, on the way of a poke.
fn rows(from: usize, until: usize) -> String {
    let put = |n| json!({"op": "put", "tableName": "note", "value": {"id": format!("row-{n}"), "kind": "x".repeat(40)}});
    let rows: Vec<Value> = (from..until).map(put).collect();
    json!(["pokePart", {"pokeID": "p", "rowsPatch": rows}]).to_string()
}

const POKE_START: &str = r#"["pokeStart",{"pokeID":"p","baseCookie":"00"}]"#;

#[test]
fn a_pong_that_waits_behind_a_long_text_is_a_sign_of_life() {
    let (mut world, id) = world();
    let tab = world.tab(id);
    let socket = tab.socket.clone();
    tab.pass(5_001.0);
    assert!(tab.sent.iter().any(|text| text.contains("ping")));
    tab.manual_work = true;
    tab.piece_sizes = vec![32 << 10];
    tab.receive(POKE_START).receive(&rows(0, 20_000));
    tab.receive(r#"["pong",{}]"#);
    // The page has a slice for it now and then.
    for _ in 0..17 {
        tab.pass(300.0);
        tab.work_one();
        tab.pump();
    }
    assert_eq!(tab.socket, socket, "{:?}", tab.connection);
}

#[test]
fn rows_that_keep_coming_before_the_pong_are_a_sign_of_life() {
    let (mut world, id) = world();
    let tab = world.tab(id);
    let socket = tab.socket.clone();
    tab.receive(POKE_START);
    tab.event(Event::Visibility { visible: false });
    tab.event(Event::Visibility { visible: true });
    for n in 0..12 {
        tab.pass(500.0);
        assert_eq!(tab.socket, socket, "after {n} parts");
        tab.receive(&rows(n, n + 1));
    }
}

#[test]
fn a_token_that_comes_while_connecting_is_told_when_connected() {
    let mut world = World::new(SCHEMA, MUTATORS, notes::server());
    world.token = Some("old".into());
    let id = world.open_tab();
    let tab = world.tab(id);
    assert!(tab.socket.is_some(), "opening");
    tab.client.connect(tab.now, Some("new".into()));
    tab.pump();
    world.settle();
    assert_eq!(state(&world, id), "connected");
    assert!(world.server.received.contains(&"updateAuth".to_owned()));
}

#[test]
fn a_tab_that_is_shown_again_keeps_away_from_an_overloaded_server() {
    let (mut world, id) = world();
    let busy = json!({"kind": "ServerOverloaded", "origin": "zeroCache", "message": "busy", "minBackoffMs": 60_000});
    world.server.refuse_all(&busy);
    world.settle();
    world.server.refusal = None;
    let before = world.server.attempts;
    for _ in 0..10 {
        let tab = world.tab(id);
        tab.event(Event::Visibility { visible: false });
        tab.event(Event::Visibility { visible: true });
        tab.event(Event::Online { online: true });
        world.pass(5_000.0);
    }
    assert_eq!(world.server.attempts, before);
    world.pass(30_000.0);
    assert_eq!(state(&world, id), "connected");
}
