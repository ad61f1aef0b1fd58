//! What an emptied store leads to: the browser evicts what it held, while pages have it in memory, sleep, or have gone.

use landfall_client::{MutationInfo, Outcome};
use landfall_sim::notes::{self, arrives, note, one_offline_write, open, told};
use landfall_sim::world::{TabId, World};
use landfall_store::StoreName;
use serde_json::json;

#[test]
fn what_the_browser_evicted_is_stored_again() {
    let (mut world, id) = one_offline_write();
    world.browsers[0].disk.evict();
    world.tab(id).mutate("upsert", &note("c"));
    world.settle();
    told(&world, id, "Evicted");
    world.pass(10_000.0);
    let queued = world.browsers[0]
        .disk
        .store()
        .values(StoreName::Queue)
        .len();
    assert_eq!(queued, 2);
    world.kill_tab(id);
    open(&mut world);
    arrives(&mut world, 2, &["a", "b", "c"]);
}

#[test]
fn what_the_browser_evicted_before_another_tab_began_anew_is_uncertain() {
    let (mut world, first) = one_offline_write();
    let call = world.tab(first).mutate("upsert", &note("c"));
    world.settle();
    world.browsers[0].disk.evict();
    // It finds an empty store, and makes a group of its own.
    open(&mut world);
    world.tab(first).mutate("upsert", &note("d"));
    world.settle();
    let tab = &world.tabs[&first];
    assert_eq!(tab.ends.get(&call), Some(&Outcome::Uncertain));
    let uncertain = tab.client.mutations();
    let uncertain = uncertain.iter().filter(|info| info.outcome.is_some());
    assert_eq!(uncertain.count(), 2, "the application can decide");
    arrives(&mut world, 1, &["a", "d"]);
}

#[test]
fn what_another_tab_stores_again_after_an_eviction_does_not_make_silence_a_success() {
    let mut world = notes::world();
    let (first, second) = (open(&mut world), open(&mut world));
    let call = world.tab(first).mutate("refused", &note("b"));
    world.cut_off.insert(first);
    world.lose_answers(first);
    world.tab(first).frozen = true;
    // The second tab stores that the write was refused, and the browser lets go of it.
    world.settle();
    assert_eq!(world.server.executed.len(), 1);
    world.browsers[0].disk.evict();
    world.tab(second).mutate("upsert", &note("c"));
    world.settle();
    told(&world, second, "Evicted");
    world
        .server
        .commit(|rows| rows.put("note", json!({"id": "d"})));
    world.settle();
    // The first one learns from storage that the write is over.
    world.tab(first).frozen = false;
    world.pass(60_000.0);
    let ended = world.tabs[&first].ends.get(&call);
    assert_eq!(ended, Some(&Outcome::Uncertain));
}

fn one_of_three_writes_offline() -> (World, [TabId; 3]) {
    let mut world = notes::world();
    let tabs = [(); 3].map(|()| open(&mut world));
    world.network_down();
    world.tab(tabs[0]).mutate("upsert", &note("b"));
    world.settle();
    (world, tabs)
}

/// Found as seed 960017: the follower took the write for over, and stored that as what the server had said.
#[test]
fn a_write_that_an_emptied_store_holds_no_more_is_not_taken_for_over() {
    let (mut world, [maker, follower, again]) = one_of_three_writes_offline();
    world.cut_off.extend([maker, follower]);
    world.browsers[0].disk.evict();
    world.tab(again).mutate("upsert", &note("c"));
    world.settle();
    told(&world, again, "Evicted");
    world.kill_tab(again);
    // One that knows of the write only what storage does.
    open(&mut world);
    world.network_up();
    world.pass(30_000.0);
    assert_eq!(
        world.server.executed.len(),
        1,
        "the write after the eviction"
    );
    let made_it = world.tabs[&maker].client.client_id().to_owned();
    let pending = world.tabs[&follower].client.mutations();
    let waits = pending
        .iter()
        .any(|m| m.client_id == made_it && m.outcome.is_none());
    assert!(waits, "{pending:?}");
    world.kill_tab(maker);
    world.cut_off.clear();
    arrives(&mut world, 2, &["b", "c"]);
}

/// Found as seed 1001496: the follower went on to where the server says nothing more of the write, and waited for ever.
#[test]
fn a_write_of_a_dead_tab_that_an_emptied_store_holds_no_more_is_not_waited_for_in_vain() {
    let (mut world, [maker, follower, again]) = one_of_three_writes_offline();
    world.browsers[0].disk.evict();
    world.kill_tab(maker);
    world.tab(again).mutate("upsert", &note("c"));
    world.settle();
    world.cut_off.insert(follower);
    world.tab(follower).frozen = true;
    world.network_up();
    world.pass(60_000.0);
    assert!(world.server.received.contains(&"deleteClients".to_owned()));
    // It wakes before it has a connection, and could follow what is stored.
    world.tab(follower).frozen = false;
    world.pass(60_000.0);
    world.cut_off.clear();
    world.pass(60_000.0);
    assert_eq!(world.tabs[&follower].client.mutations(), []);
    arrives(&mut world, 2, &["b", "c"]);
}

/// A tab that has heard of all but the first write of another one, which died with the emptied store that held it.
fn heard_all_but_the_first(mut world: World) -> (World, TabId) {
    let maker = open(&mut world);
    world.network_down();
    let late = world.open_tab_with(0, 0.0, |tab| tab.manual_storage = true);
    let tab = world.tab(late);
    // What was kept, then everything: storage reads it before the write, and the tab is told afterwards.
    assert!(tab.commit_one() && tab.commit_one());
    world.tab(maker).mutate("upsert", &note("b"));
    world.settle();
    let tab = world.tab(late);
    tab.manual_storage = false;
    tab.pump();
    for id in ["c", "d"] {
        world.tab(maker).mutate("upsert", &note(id));
    }
    world.settle();
    assert_eq!(world.tabs[&late].client.mutations().len(), 2);
    world.browsers[0].disk.evict();
    world.kill_tab(maker);
    (world, late)
}

/// Found as seed 71018746: they were shown as waiting until the tab was loaded again.
#[test]
fn writes_of_a_dead_tab_behind_one_that_went_with_an_emptied_store_are_uncertain() {
    let (mut world, late) = heard_all_but_the_first(notes::world());
    world.tab(late).mutate("upsert", &note("e"));
    arrives(&mut world, 1, &["e"]);
    for tab in world.tabs.values() {
        let listed: Vec<_> = tab.client.mutations().into_iter().collect();
        let uncertain = |id: &str| {
            let of_it = |m: &&MutationInfo| m.args_json.contains(&format!(r#""id":"{id}""#));
            let found = listed.iter().find(of_it);
            found.and_then(|m| m.outcome.clone()) == Some(Outcome::Uncertain)
        };
        assert!(uncertain("c") && uncertain("d"), "{listed:?}");
    }
    assert!(world.server.received.contains(&"deleteClients".to_owned()));
}

#[test]
fn writes_of_a_dead_tab_behind_one_that_another_tab_has_heard_of_are_sent() {
    let mut world = notes::world();
    let heard = open(&mut world);
    let (mut world, late) = heard_all_but_the_first(world);
    // The one that cannot send takes care of the dead.
    world.cut_off.insert(heard);
    world.network_up();
    world.pass(2_000.0);
    world.cut_off.clear();
    arrives(&mut world, 3, &["b", "c", "d"]);
    assert_eq!(world.tabs[&late].client.mutations(), []);
}

/// Found as seed 31005349: it was sent under its old name by the tab that had slept, and under a new one by its maker.
#[test]
fn a_write_of_an_emptied_store_that_others_have_heard_of_is_not_issued_again() {
    let mut world = notes::world();
    world
        .server
        .commit(|rows| rows.put("note", json!({"id": "a"})));
    let [maker, sleeper, dead] = std::array::from_fn(|_| open(&mut world));
    world.network_down();
    world.tab(sleeper).frozen = true;
    let call = world.tab(maker).mutate("upsert", &note("b"));
    world.settle();
    // The maker is told that storage is empty, then that it has another group; it is in the first again by then.
    world.browsers[0].disk.evict();
    world.tab(maker).manual_storage = true;
    world.tab(maker).mutate("upsert", &note("c"));
    world.kill_tab(dead);
    world.settle();
    assert!(world.tab(maker).commit_one());
    // Nothing of what others announce is heard meanwhile.
    world.tab(maker).frozen = true;
    let other = open(&mut world);
    assert!(world.tab(maker).commit_one());
    world.kill_tab(other);
    world.browsers[0].disk.evict();
    let tab = world.tab(maker);
    tab.frozen = false;
    assert!(tab.hear_one() && tab.pump().commit_one());
    while tab.hear_one() || tab.commit_one() {
        tab.pump();
    }
    tab.manual_storage = false;
    world.settle();
    world.network_up();
    world.pass(30_000.0);
    world.tab(sleeper).frozen = false;
    world.pass(90_000.0);
    let calls = world.server.executed.iter();
    let of_b = calls.filter(|call| call.argument.contains(r#""id":"b""#));
    assert_eq!(of_b.count(), 1);
    assert_eq!(world.tabs[&maker].ends[&call], Outcome::Uncertain);
}

/// Found as seeds 91016238 and 91019937: it came back, and with it what had been issued again meanwhile.
#[test]
fn a_group_that_others_have_left_does_not_come_back_into_an_emptied_store() {
    let (mut world, id) = one_offline_write();
    let call = *world.tabs[&id].durable.keys().next().expect("one write");
    world.tab(id).storage_fails = true;
    world.browsers[0].disk.damage(StoreName::Head, |_| 0);
    let other = open(&mut world);
    world.network_up();
    world.pass(60_000.0);
    assert_eq!(world.server.executed.len(), 1);
    world.kill_tab(other);
    world.browsers[0].disk.evict();
    world.tab(id).storage_fails = false;
    world.tab(id).mutate("upsert", &note("c"));
    arrives(&mut world, 2, &["a", "b", "c"]);
    let ends = &world.tabs[&id].ends;
    assert_eq!(ends.get(&call), Some(&Outcome::Uncertain));
}
