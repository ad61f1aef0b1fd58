//! After a deploy: mutators that are gone, and a schema with another store.

use landfall_client::{Outcome, Role};
use landfall_sim::notes::{self, MUTATORS, QUERIES, SCHEMA, named};
use landfall_sim::world::{TabId, World};
use serde_json::{Value, json};

fn note(id: &str) -> Value {
    json!({"row": {"id": id, "kind": "red"}})
}

/// The schema of the next release: a column less, a table more.
const NEXT_SCHEMA: &str = r#"{"tables":{
    "note":{"name":"note","columns":{
        "id":{"type":"string","optional":false},
        "kind":{"type":"string","optional":true}},"primaryKey":["id"]},
    "mark":{"name":"mark","columns":{
        "id":{"type":"string","optional":false}},"primaryKey":["id"]}}}"#;

/// A world in which a tab of the old release wrote offline, and is gone.
fn world(writes: &[&str]) -> World {
    let mut world = World::new(SCHEMA, MUTATORS, notes::server());
    world
        .server
        .commit(|rows| rows.put("note", json!({"id": "a"})));
    let id = world.open_tab();
    world
        .tabs
        .get_mut(&id)
        .expect("it lives")
        .view(QUERIES[0], named(0));
    world.settle();
    world.network_down();
    for name in writes {
        let tab = world.tabs.get_mut(&id).expect("it lives");
        tab.mutate(
            if *name == "no" { "refused" } else { "upsert" },
            &note(name),
        );
    }
    world.settle();
    world.kill_tab(id);
    world
}

/// The page of the new release: a held client on a store of its own, and one that drains the old store.
fn deploy(world: &mut World) -> (TabId, TabId) {
    let fresh = world.add_browser();
    let change = |role| {
        move |options: &mut landfall_client::Options| {
            options.schema_json = NEXT_SCHEMA.into();
            options.role = role;
        }
    };
    let held = world.open_tab_as(fresh, 0.0, change(Role::Held), |_| {});
    let tab = world.tabs.get_mut(&held).expect("it lives");
    tab.view(QUERIES[0], named(0));
    let draining = world.open_tab_as(0, 0.0, change(Role::Draining), |_| {});
    (held, draining)
}

fn drained(world: &World, id: TabId) -> bool {
    world.tabs[&id].notes.contains(&"Drained".to_owned())
}

#[track_caller]
fn shows(world: &mut World, id: TabId, expected: &[&str]) {
    let tab = world.tabs.get_mut(&id).expect("it lives");
    let rows = tab.client.run(QUERIES[0]).expect("the query is good");
    let rows = tab.decoder.answer(&rows, QUERIES[0]);
    let rows = rows.as_array().expect("a list");
    let ids: Vec<&str> = rows.iter().filter_map(|row| row["id"].as_str()).collect();
    assert_eq!(ids, expected);
}

#[test]
fn writes_in_the_store_of_the_old_schema_are_sent_once_before_the_new_one_connects() {
    let mut world = world(&["b", "no", "c"]);
    let (held, draining) = deploy(&mut world);
    world.pass(20_000.0);
    assert!(!drained(&world, draining), "offline nothing is drained");
    world.network_up();
    world.pass(60_000.0);
    assert!(drained(&world, draining));
    assert_eq!(world.server.executed.len(), 3);
    shows(&mut world, held, &[]);
    let tab = world.tabs.get_mut(&held).expect("it lives");
    tab.client.release(tab.now);
    tab.pump();
    world.settle();
    shows(&mut world, held, &["a", "b", "c"]);
    // The failure is there to be read, also when the old store is opened again.
    world.kill_tab(draining);
    let (_, again) = deploy(&mut world);
    world.pass(5_000.0);
    assert!(drained(&world, again));
    let infos = world.tabs[&again].client.mutations();
    assert!(
        matches!(infos[0].outcome, Some(Outcome::Failed { .. })),
        "{infos:?}"
    );
    assert_eq!(world.server.executed.len(), 3);
}

#[test]
fn a_page_of_the_old_release_and_the_draining_one_carry_nothing_out_twice() {
    let mut world = world(&["b"]);
    let old = world.open_tab();
    world.settle();
    let tab = world.tabs.get_mut(&old).expect("it lives");
    tab.mutate("upsert", &note("c"));
    let (_, draining) = deploy(&mut world);
    world.network_up();
    world.pass(60_000.0);
    assert!(drained(&world, draining));
    assert_eq!(world.server.executed.len(), 2);
    assert!(world.tabs[&old].client.mutations().is_empty());
}

#[test]
fn an_old_group_that_the_server_has_forgotten_is_drained_under_another() {
    let mut world = world(&["b", "c"]);
    world.server.forget_all();
    let (_, draining) = deploy(&mut world);
    world.network_up();
    world.pass(60_000.0);
    assert!(drained(&world, draining));
    assert_eq!(world.server.executed.len(), 2);
}

#[test]
fn without_a_store_there_is_nothing_to_drain() {
    let mut world = World::new(SCHEMA, MUTATORS, notes::server());
    let (_, draining) = deploy(&mut world);
    world.settle();
    assert!(drained(&world, draining));
    let disk = world.browsers[0].disk.store();
    assert!(
        disk.values(landfall_store::StoreName::Head).is_empty(),
        "none was made"
    );
}

#[test]
fn a_mutator_that_the_new_code_lacks_is_sent_and_blocks_nothing() {
    let mut world = world(&["b"]);
    let tab = world.open_tab();
    world.settle();
    // The same store, newer code: it has no such mutator, and the server neither.
    world.kill_tab(tab);
    let without: Vec<_> = MUTATORS
        .iter()
        .copied()
        .filter(|(name, _)| *name != "upsert")
        .collect();
    let disk = world.browsers[0].disk.clone();
    let mut next = World::new(SCHEMA, &without, world.server);
    next.server.forget_mutator("upsert");
    next.browsers[0].disk = disk;
    next.next_tab = 10;
    let id = next.open_tab();
    let tab = next.tabs.get_mut(&id).expect("it lives");
    tab.view(QUERIES[0], named(0));
    let call = tab.mutate("remove", &note("a"));
    next.pass(60_000.0);
    let names: Vec<(&str, bool)> = next
        .server
        .executed
        .iter()
        .map(|done| (done.name.as_str(), done.refusal.is_some()))
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.contains(&("upsert", true)) && names.contains(&("remove", false)));
    assert_eq!(next.tabs[&id].ends.get(&call), Some(&Outcome::Confirmed));
    let infos = next.tabs[&id].client.mutations();
    assert!(
        matches!(infos[0].outcome, Some(Outcome::Failed { .. })),
        "{infos:?}"
    );
    shows(&mut next, id, &[]);
}
