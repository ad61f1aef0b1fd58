//! After a deploy: mutators that are gone, and a schema with another store.

use landfall_client::{Outcome, Role};
use landfall_sim::notes::{self, MUTATORS, QUERIES, SCHEMA, named, next_release, note, shows};
use landfall_sim::world::{TabId, World};
use landfall_store::StoreName;
use serde_json::json;

/// A world in which a tab of the old release wrote offline, and is gone.
fn world(writes: &[&str]) -> World {
    let mut world = notes::world();
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
        let tab = world.tab(id);
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
    let held = world.open_tab_as(fresh, 0.0, next_release(Role::Held), |_| {});
    let tab = world.tab(held);
    tab.view(QUERIES[0], named(0));
    world.tell_earlier(held, &[0]);
    let draining = world.open_tab_as(0, 0.0, next_release(Role::Draining), |_| {});
    (held, draining)
}

fn release(world: &mut World, held: TabId) {
    let tab = world.tab(held);
    tab.client.release(tab.now);
    tab.pump();
    world.settle();
}

fn drained(world: &World, id: TabId) -> bool {
    world.tabs[&id].notes.contains(&"Drained".to_owned())
}

#[test]
fn writes_in_the_store_of_the_old_schema_are_sent_once_before_the_new_one_connects() {
    let mut world = world(&["b", "no", "c"]);
    let (held, draining) = deploy(&mut world);
    world.pass(20_000.0);
    assert!(!drained(&world, draining), "offline nothing is drained");
    world.network_up();
    // Sooner than the page gives up waiting for it.
    world.pass(8_000.0);
    assert!(drained(&world, draining));
    assert_eq!(world.server.executed.len(), 3);
    release(&mut world, held);
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

fn unneeded(world: &World, id: TabId) -> bool {
    let notes = &world.tabs[&id].notes;
    notes.contains(&"EarlierUnneeded".to_owned())
}

#[test]
fn rows_of_the_old_store_are_shown_until_the_server_gives_those_of_the_new_schema() {
    let mut world = world(&[]);
    let (held, draining) = deploy(&mut world);
    world.pass(20_000.0);
    assert!(drained(&world, draining), "there is nothing to send");
    shows(&mut world, held, &["a"]);
    let tab = &world.tabs[&held];
    assert_eq!(tab.decoder.rows.len(), 1);
    let view = *tab.decoder.views.keys().next().expect("a view");
    assert_eq!(tab.decoder.status(view), 0, "nobody says that this is all");
    assert!(!unneeded(&world, held));
    let fresh = world.homes[&held];
    let given = |world: &World| {
        let disk = world.browsers[fresh].disk.store();
        disk.values(StoreName::Log).len() + disk.values(StoreName::Pages).len()
    };
    assert_eq!(given(&world), 0, "it is stored where it came from only");
    // Closed and opened again before the server was there: the same.
    world.kill_tab(held);
    let held = world.open_tab_as(fresh, 0.0, next_release(Role::Held), |_| {});
    world.tell_earlier(held, &[0]);
    let tab = world.tab(held);
    let view = tab.view(QUERIES[0], named(0));
    shows(&mut world, held, &["a"]);
    // What happened at the server meanwhile comes as a difference.
    let handle = world.tabs[&held].decoder.views[&view.0].list[0].handle;
    world
        .server
        .commit(|rows| rows.put("note", json!({"id": "b"})));
    world.network_up();
    release(&mut world, held);
    shows(&mut world, held, &["a", "b"]);
    let tab = &world.tabs[&held];
    assert_eq!(tab.decoder.status(view.0), 1);
    assert_eq!(tab.decoder.views[&view.0].list[0].handle, handle);
    assert!(unneeded(&world, held) && given(&world) > 0);
    // From now on the store speaks for itself.
    world.kill_tab(held);
    world.network_down();
    world.server.commit(|rows| rows.remove("note", "a"));
    let held = world.open_tab_as(fresh, 0.0, next_release(Role::Held), |_| {});
    shows(&mut world, held, &["a", "b"]);
    assert!(unneeded(&world, held));
}

#[test]
fn rows_of_the_old_store_that_the_user_may_not_see_any_more_go_with_the_first_answer() {
    let mut world = world(&[]);
    let (held, _) = deploy(&mut world);
    shows(&mut world, held, &["a"]);
    world.server.set_permission(Some(|_| false));
    world.network_up();
    release(&mut world, held);
    shows(&mut world, held, &[]);
}

#[test]
fn the_newest_of_several_old_stores_is_shown_and_damaged_ones_are_passed_over() {
    let mut world = world(&[]);
    let newer = world.add_browser();
    world.network_up();
    world
        .server
        .commit(|rows| rows.put("note", json!({"id": "b"})));
    let id = world.open_tab_in(newer, 5_000.0);
    let tab = world.tab(id);
    tab.view(QUERIES[0], named(0));
    world.settle();
    world.kill_tab(id);
    let damaged = world.add_browser();
    world.browsers[damaged].disk = world.browsers[newer].disk.copy();
    world.browsers[damaged].disk.damage(StoreName::Log, |_| 0);
    let fresh = world.add_browser();
    let held = world.open_tab_as(fresh, 0.0, next_release(Role::Held), |_| {});
    world.tell_earlier(held, &[damaged, newer, 0]);
    shows(&mut world, held, &["a", "b"]);
    let notes = &world.tabs[&held].notes;
    let told = |note: &String| note.contains("an earlier store cannot be read");
    assert!(notes.iter().any(told), "{notes:?}");
}

/// A store of the old release with so many notes of so many letters, in pages, and the network down.
fn filled(notes: usize, letters: usize) -> World {
    let mut world = notes::world();
    world.slices = Some((100, 0));
    let kind = "x".repeat(letters);
    world.server.commit(|rows| {
        for n in 0..notes {
            rows.put("note", json!({"id": format!("n{n:04}"), "kind": kind}));
        }
    });
    let id = world.open_tab();
    world.tab(id).view(QUERIES[0], named(0));
    world.settle();
    world.kill_tab(id);
    world.network_down();
    world
}

/// Opens a page of the new release that works when it is told to, and lets it do so many slices, or all.
fn open_slowly(world: &mut World, browser: usize, most: usize) -> (TabId, usize) {
    let held = world.open_tab_as(browser, 0.0, next_release(Role::Held), |tab| {
        tab.manual_work = true;
    });
    world.tell_earlier(held, &[0]);
    let tab = world.tab(held);
    let mut slices = 0;
    while slices < most && tab.work_one() {
        tab.pump();
        slices += 1;
    }
    (held, slices)
}

#[test]
fn rows_of_the_old_store_are_read_in_slices_and_anew_by_the_page_after_one_that_died_meanwhile() {
    let mut world = filled(1_000, 1);
    let fresh = world.add_browser();
    let (held, _) = open_slowly(&mut world, fresh, 5);
    assert!(!world.tabs[&held].ready, "there is more to read");
    world.kill_tab(held);
    let (held, slices) = open_slowly(&mut world, fresh, usize::MAX);
    assert!(world.tabs[&held].ready);
    // A slice reads no more than a step of the reader.
    assert!(slices >= 1_000 / 64, "{slices}");
    let expected: Vec<String> = (0..1_000).map(|n| format!("n{n:04}")).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    shows(&mut world, held, &expected);
    let disk = world.browsers[fresh].disk.store();
    assert!(disk.values(StoreName::Pages).is_empty(), "nothing is kept");
    // A page that is released in the middle of it reads on, and takes what the server gives in its place.
    world.kill_tab(held);
    let (held, _) = open_slowly(&mut world, fresh, 5);
    world.network_up();
    world
        .server
        .commit(|rows| (1..1_000).for_each(|n| rows.remove("note", &format!("n{n:04}"))));
    let tab = world.tab(held);
    tab.view(QUERIES[0], named(0));
    tab.client.release(tab.now);
    assert!(!tab.ready);
    tab.manual_work = false;
    tab.pump();
    assert!(tab.ready);
    world.settle();
    shows(&mut world, held, &["n0000"]);
    assert!(unneeded(&world, held));
}

#[test]
fn nothing_is_shown_of_an_old_store_that_turns_out_to_be_damaged_behind_its_first_rows() {
    let mut world = world(&[]);
    let large = filled(400, 3_000);
    let newer = world.add_browser();
    world.browsers[newer].disk = large.browsers[0].disk.clone();
    let pages = |count: usize| {
        assert!(count > 3, "{count} values");
        count - 1
    };
    world.browsers[newer].disk.damage(StoreName::Pages, pages);
    let fresh = world.add_browser();
    for browsers in [&[newer, 0][..], &[newer]] {
        let held = world.open_tab_as(fresh, 0.0, next_release(Role::Held), |_| {});
        world.tell_earlier(held, browsers);
        assert!(world.tabs[&held].ready);
        shows(
            &mut world,
            held,
            if browsers.len() == 1 { &[] } else { &["a"] },
        );
        let notes = &world.tabs[&held].notes;
        let told = |note: &String| note.contains("an earlier store cannot be read");
        assert!(notes.iter().any(told), "{notes:?}");
        world.kill_tab(held);
    }
}

#[test]
fn the_rows_of_the_release_before_the_last_are_shown_if_the_last_one_never_reached_the_server() {
    let mut world = world(&[]);
    let unused = world.add_browser();
    let id = world.open_tab_as(unused, 5_000.0, next_release(Role::Held), |_| {});
    world.tell_earlier(id, &[0]);
    shows(&mut world, id, &["a"]);
    world.kill_tab(id);
    let fresh = world.add_browser();
    let held = world.open_tab_as(fresh, 0.0, next_release(Role::Held), |_| {});
    world.tell_earlier(held, &[0, unused]);
    shows(&mut world, held, &["a"]);
}

#[test]
fn a_write_on_rows_of_the_old_store_is_kept() {
    let mut world = world(&[]);
    let (held, _) = deploy(&mut world);
    let tab = world.tab(held);
    tab.mutate("upsert", &json!({"row": {"id": "a", "kind": "blue"}}));
    tab.mutate("remove", &json!({"row": {"id": "x"}}));
    world.settle();
    shows(&mut world, held, &["a"]);
    world.network_up();
    release(&mut world, held);
    world.pass(5_000.0);
    assert_eq!(world.server.applied().len(), 2);
    shows(&mut world, held, &["a"]);
}

#[test]
fn a_held_client_that_is_told_of_no_old_store_begins_empty() {
    let mut world = notes::world();
    let held = world.open_tab_as(0, 0.0, next_release(Role::Held), |_| {});
    assert!(!world.tabs[&held].ready, "it waits for the host");
    world.tell_earlier(held, &[]);
    assert!(world.tabs[&held].ready);
    // Released without having been told, it waits no longer.
    let fresh = world.add_browser();
    let held = world.open_tab_as(fresh, 0.0, next_release(Role::Held), |_| {});
    release(&mut world, held);
    assert!(world.tabs[&held].ready);
}

#[test]
fn a_page_of_the_old_release_and_the_draining_one_carry_nothing_out_twice() {
    let mut world = world(&["b"]);
    let old = world.open_tab();
    world.settle();
    let tab = world.tab(old);
    tab.mutate("upsert", &note("c"));
    let (_, draining) = deploy(&mut world);
    world.network_up();
    world.pass(60_000.0);
    assert!(drained(&world, draining));
    assert_eq!(world.server.executed.len(), 2);
    assert!(world.tabs[&old].client.mutations().is_empty());
}

#[test]
fn what_a_page_of_the_old_release_stores_after_the_draining_is_sent_too() {
    let mut world = world(&["no"]);
    let (_, draining) = deploy(&mut world);
    world.network_up();
    world.pass(60_000.0);
    assert!(drained(&world, draining));
    // There is a failure that the user has not seen, so it stays; opened again it has nothing to send, and waits.
    world.kill_tab(draining);
    let (_, draining) = deploy(&mut world);
    world.settle();
    let old = world.open_tab();
    world.settle();
    world.cut_off.insert(old);
    world.break_tab(old);
    let tab = world.tab(old);
    tab.mutate("upsert", &note("b"));
    world.pass(60_000.0);
    assert_eq!(world.server.applied().len(), 1);
    let infos = world.tabs[&draining].client.mutations();
    assert_eq!(infos.len(), 1, "the failure: {infos:?}");
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
    let mut world = notes::world();
    let (_, draining) = deploy(&mut world);
    world.settle();
    assert!(drained(&world, draining));
    let disk = world.browsers[0].disk.store();
    assert!(disk.values(StoreName::Head).is_empty(), "none was made");
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
