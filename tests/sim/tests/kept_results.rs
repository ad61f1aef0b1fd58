//! What was shown last is shown before the rows are read, if nothing has happened since.

use landfall_client::{Event, ViewId};
use landfall_sim::notes::{self, QUERIES, named, note, open};
use landfall_sim::world::{TabId, World};
use serde_json::{Value, json};

/// A world in which one tab shows notes a and b.
fn world() -> (World, TabId) {
    let mut world = notes::world();
    world.server.commit(|rows| {
        rows.put("note", json!({"id": "a", "n": 1}));
        rows.put("note", json!({"id": "b", "n": 2, "parent": "a"}));
    });
    let tab = open(&mut world);
    (world, tab)
}

/// A tab that has to wait for its storage, with a view.
fn begin(world: &mut World, query: usize) -> (TabId, ViewId) {
    let tab = world.open_tab_with(0, 0.0, |tab| {
        (tab.manual_storage, tab.manual_work) = (true, true);
    });
    let view = world.tab(tab).view(QUERIES[query], named(query));
    (tab, view)
}

/// Answers the tab's oldest request to storage.
fn answer(world: &mut World, tab: TabId) {
    let tab = world.tab(tab);
    assert!(tab.commit_one() && tab.hear_one(), "storage is asked");
    tab.pump();
}

/// The tab need not wait any more.
fn go_on(world: &mut World, tab: TabId) {
    let tab = world.tab(tab);
    (tab.manual_storage, tab.manual_work) = (false, false);
    tab.pump();
}

fn ids(world: &World, tab: TabId, view: ViewId) -> Vec<String> {
    let shown = world.tabs[&tab].decoder.json(view.0);
    let rows = shown.as_array().into_iter().flatten();
    rows.map(|row| row["id"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// What a tab that begins now shows when it has read what was kept.
#[track_caller]
fn check_early(world: &mut World, query: usize, expected: &[&str]) -> (TabId, ViewId) {
    let (tab, view) = begin(world, query);
    assert!(ids(world, tab, view).is_empty(), "nothing is read");
    answer(world, tab);
    assert_eq!(ids(world, tab, view), expected);
    assert!(!world.tabs[&tab].ready);
    (tab, view)
}

/// Lets the tab read its rows; what it showed early stays as it is, in JavaScript too.
fn check_rest(world: &mut World, tab: TabId, view: ViewId) {
    let held = |world: &World| -> Vec<u32> {
        let rows = &world.tabs[&tab].decoder.rows;
        rows.keys().copied().collect()
    };
    let (shown, rows) = (ids(world, tab, view), held(world));
    go_on(world, tab);
    assert!(world.tabs[&tab].ready);
    assert_eq!(ids(world, tab, view), shown);
    assert_eq!(held(world), rows, "no row is handed over again");
}

#[test]
fn what_was_shown_is_shown_before_the_rows_are_read() {
    let (mut world, first) = world();
    world.pass(5_000.0);
    world.kill_tab(first);
    let (tab, view) = check_early(&mut world, 0, &["a", "b"]);
    assert_eq!(world.tabs[&tab].decoder.status(view.0), 0, "not complete");
    check_rest(&mut world, tab, view);
    // What follows changes what was shown early.
    world.server.commit(|rows| rows.remove("note", "a"));
    world.settle();
    assert_eq!(ids(&world, tab, view), ["b"]);
}

#[test]
fn a_view_that_is_opened_after_that_shows_it_at_once() {
    let (mut world, first) = world();
    world.pass(5_000.0);
    world.kill_tab(first);
    let (tab, view) = check_early(&mut world, 0, &["a", "b"]);
    let again = world.tab(tab).view(QUERIES[0], named(0));
    let other = world.tab(tab).view(QUERIES[1], named(1));
    assert_eq!(ids(&world, tab, again), ["a", "b"]);
    assert!(ids(&world, tab, other).is_empty(), "nobody has shown it");
    world.tab(tab).drop_view(again);
    world.tab(tab).drop_view(other);
    check_rest(&mut world, tab, view);
}

#[test]
fn related_rows_are_shown_with_it() {
    let (mut world, first) = world();
    world.tab(first).view(QUERIES[4], named(4));
    world.settle();
    world.pass(5_000.0);
    let shown = |world: &World, tab: TabId, view: ViewId| -> Value {
        world.tabs[&tab].decoder.json(view.0)
    };
    world.kill_tab(first);
    let (tab, view) = check_early(&mut world, 4, &["a", "b"]);
    let early = shown(&world, tab, view);
    assert_eq!(early[0]["children"][0]["id"], json!("b"), "{early}");
    check_rest(&mut world, tab, view);
    assert_eq!(shown(&world, tab, view), early);
}

#[test]
fn a_query_whose_view_was_closed_is_kept_too() {
    let (mut world, first) = world();
    let view = world.tab(first).view(QUERIES[1], named(1));
    world.settle();
    world.tab(first).drop_view(view);
    world.pass(5_000.0);
    world.kill_tab(first);
    let (tab, view) = check_early(&mut world, 1, &["b", "a"]);
    check_rest(&mut world, tab, view);
}

#[test]
fn a_page_that_is_left_keeps_what_it_shows_at_once() {
    let hidden = Event::Visibility { visible: false };
    for event in [Event::Leaving, hidden] {
        let (mut world, first) = world();
        world.tab(first).event(event);
        world.kill_tab(first);
        let (tab, view) = check_early(&mut world, 0, &["a", "b"]);
        check_rest(&mut world, tab, view);
    }
}

#[test]
fn what_the_server_does_not_have_is_not_kept() {
    let (mut world, first) = world();
    world.network_down();
    let tab = world.tab(first);
    tab.storage_fails = true;
    tab.mutate("upsert", &note("c"));
    tab.storage_fails = false;
    tab.event(Event::Leaving);
    // The write was never stored, nor told to be.
    world.kill_tab(first);
    let (tab, view) = check_early(&mut world, 0, &[]);
    go_on(&mut world, tab);
    assert_eq!(ids(&world, tab, view), ["a", "b"]);
}

#[test]
fn tabs_keep_what_each_of_them_shows() {
    let (mut world, first) = world();
    let second = world.open_tab();
    world.tab(second).view(QUERIES[1], named(1));
    world.settle();
    world.pass(5_000.0);
    world.kill_tab(first);
    world.kill_tab(second);
    let (tab, _) = check_early(&mut world, 0, &["a", "b"]);
    world.kill_tab(tab);
    check_early(&mut world, 1, &["b", "a"]);
}

#[test]
fn nothing_is_shown_early_that_has_changed_since() {
    let (mut world, first) = world();
    world.pass(5_000.0);
    world.server.commit(|rows| rows.remove("note", "a"));
    world.settle();
    world.kill_tab(first);
    let (tab, view) = check_early(&mut world, 0, &[]);
    go_on(&mut world, tab);
    assert_eq!(ids(&world, tab, view), ["b"]);
}

#[test]
fn nothing_is_shown_early_while_a_write_waits() {
    let (mut world, first) = world();
    world.pass(5_000.0);
    world.network_down();
    world.tab(first).mutate("upsert", &note("c"));
    world.pass(5_000.0);
    world.kill_tab(first);
    let (tab, view) = check_early(&mut world, 0, &[]);
    go_on(&mut world, tab);
    assert_eq!(ids(&world, tab, view), ["a", "b", "c"]);
}

#[test]
fn what_happens_meanwhile_is_shown_with_the_rows() {
    let (mut world, first) = world();
    world.pass(5_000.0);
    let (tab, view) = check_early(&mut world, 0, &["a", "b"]);
    world.server.commit(|rows| {
        rows.put("note", json!({"id": "a", "n": 3}));
        rows.remove("note", "b");
    });
    world.settle();
    world.tab(first).mutate("upsert", &note("c"));
    world.settle();
    assert_eq!(ids(&world, tab, view), ["a", "b"]);
    go_on(&mut world, tab);
    assert_eq!(ids(&world, tab, view), ["a", "c"]);
}
