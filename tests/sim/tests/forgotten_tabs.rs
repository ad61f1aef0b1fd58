//! Tabs that the others took for dead, and that storage and the server have forgotten: what they announced is over, and
//! nobody waits for it.

use landfall_sim::disk::DiskFault;
use landfall_sim::notes::{self, arrives, note, open, tell_storage};
use landfall_sim::world::{TabId, World};
use landfall_store::{Confirm, StoreOp};
use landfall_zql::sorted_map::SortedMap;

/// Found as seed 82003568: a page that was asleep waited for a write that had long been taken.
#[test]
fn what_a_forgotten_tab_announced_long_ago_is_not_waited_for() {
    let mut world = notes::world();
    let maker = open(&mut world);
    world.network_down();
    let late = world.open_tab_with(0, 0.0, |tab| tab.manual_storage = true);
    // It hears of the first before it has a group, and of the second when it wakes.
    world.tab(maker).mutate("upsert", &note("b"));
    world.settle();
    world.tab(late).frozen = true;
    world.tab(maker).mutate("upsert", &note("c"));
    world.settle();
    world.kill_tab(maker);
    open(&mut world);
    world.network_up();
    world.pass(10_000.0);
    assert!(world.server.received.contains(&"deleteClients".to_owned()));
    wake(&mut world, late);
    arrives(&mut world, 2, &["b", "c"]);
    assert_eq!(world.tabs[&late].client.mutations(), []);
}

/// A tab that has asked for what is stored, and hears nothing of it and of the others before it wakes.
fn open_asleep(world: &mut World) -> TabId {
    let id = world.open_tab_with(0, 0.0, |tab| tab.manual_storage = true);
    world.tab(id).frozen = true;
    id
}

/// Now it hears of one write.
#[track_caller]
fn wake(world: &mut World, id: TabId) {
    let tab = world.tab(id);
    (tab.frozen, tab.manual_storage) = (false, false);
    tab.pump();
    world.settle();
    assert_eq!(world.tabs[&id].client.mutations().len(), 1);
}

/// Storage forgets a tab: for good, or as one that was only silent for long.
fn forget(world: &World, id: TabId, are_gone: bool) {
    let client_ids = vec![world.tabs[&id].client.client_id().to_owned()];
    let op = StoreOp::RemoveClients {
        client_ids,
        are_gone,
    };
    tell_storage(world, op);
}

/// Found as seeds 1387 and 82008093: it was sent once more, and the server says nothing of a client that it has forgotten.
#[test]
fn the_only_write_of_a_forgotten_tab_is_not_waited_for() {
    for is_named in [false, true] {
        let mut world = notes::world();
        let maker = open(&mut world);
        world.network_down();
        let late = open_asleep(&mut world);
        let client = world.tabs[&maker].client.client_id().to_owned();
        world.tab(maker).mutate("upsert", &note("b"));
        world.settle();
        world.kill_tab(maker);
        open(&mut world);
        world.network_up();
        world.pass(10_000.0);
        assert!(world.server.received.contains(&"deleteClients".to_owned()));
        wake(&mut world, late);
        // Another one that slept may have stored again how far its mutations were taken.
        if is_named {
            let confirm = Confirm {
                last_mutation_ids: SortedMap::from([(client, 1)]),
                outcomes: Vec::new(),
            };
            tell_storage(&world, StoreOp::Confirm(confirm));
        }
        arrives(&mut world, 1, &["b"]);
        assert_eq!(world.tabs[&late].client.mutations(), []);
    }
}

/// Found as seed 82013651.
#[test]
fn a_write_that_is_over_is_not_waited_for_though_its_maker_lives_and_is_forgotten() {
    let mut world = notes::world();
    let maker = open(&mut world);
    let late = open_asleep(&mut world);
    world.tab(maker).mutate("upsert", &note("b"));
    world.pass(2_000.0);
    forget(&world, maker, true);
    wake(&mut world, late);
    arrives(&mut world, 1, &["b"]);
    assert_eq!(world.tabs[&late].client.mutations(), []);
}

/// Found as seed 110002422: it was stored when storage had long been told that the tab is forgotten.
#[test]
fn a_write_that_is_stored_after_its_maker_was_forgotten_is_over_once_its_end_is_stored() {
    let mut world = notes::world();
    let maker = world.open_tab();
    open(&mut world);
    world.tab(maker).storage_stalled = true;
    world.tab(maker).mutate("upsert", &note("b"));
    world.pass(60_000.0);
    forget(&world, maker, false);
    world.tab(maker).storage_stalled = false;
    world.pass(2_000.0);
    arrives(&mut world, 1, &["b"]);
    let fresh = open(&mut world);
    assert_eq!(world.tabs[&fresh].client.mutations(), []);
}

/// Found as seed 110023932: it waited for ever, since the server says nothing once more of what it has taken.
#[test]
fn a_write_that_is_stored_once_more_by_a_tab_that_was_taken_for_dead_is_over() {
    let mut world = notes::world();
    let maker = world.open_tab();
    world.cut_off.insert(maker);
    world.break_tab(maker);
    let storing = world.tab(maker);
    storing.next_fault = DiskFault::Unknown;
    storing.mutate("upsert", &note("b"));
    world.settle();
    world.tab(maker).frozen = true;
    open(&mut world);
    world.pass(60_000.0);
    assert_eq!(world.server.executed.len(), 1);
    forget(&world, maker, false);
    world.tab(maker).frozen = false;
    world.pass(10_000.0);
    world.kill_tab(maker);
    arrives(&mut world, 1, &["b"]);
    let fresh = open(&mut world);
    assert_eq!(world.tabs[&fresh].client.mutations(), []);
}
