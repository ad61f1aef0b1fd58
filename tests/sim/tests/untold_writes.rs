//! Writes that were sent while storage could not be told: it is told later, the other pages are told at once, and no new
//! group issues them again.

use landfall_client::{Event, Outcome};
use landfall_sim::notes::{arrives, note, open, told, world, written_offline};
use landfall_sim::world::{TabId, World};
use landfall_store::StoreName;
use serde_json::json;

/// A stored write that was sent while storage could not be told, and a server that takes it.
fn sent_unmarked() -> (World, TabId) {
    let mut world = world();
    world
        .server
        .commit(|rows| rows.put("note", json!({"id": "a"})));
    let id = open(&mut world);
    world.network_down();
    world.tab(id).mutate("upsert", &note("b"));
    world.settle();
    world.tab(id).storage_fails = true;
    world.network_up();
    world.pass(60_000.0);
    assert_eq!(world.server.executed.len(), 1);
    (world, id)
}

#[test]
fn what_storage_could_not_be_told_before_it_was_sent_it_is_told_when_it_works_again() {
    let (mut world, id) = sent_unmarked();
    world.cut_off.insert(id);
    world.break_tab(id);
    world.tab(id).storage_fails = false;
    world.pass(70_000.0);
    world.kill_tab(id);
    world.server.forget_all();
    let id = open(&mut world);
    world.pass(60_000.0);
    assert_eq!(world.server.executed.len(), 1, "sent once");
    let ended = world.tabs[&id].client.mutations();
    assert_eq!(ended[0].outcome, Some(Outcome::Uncertain));
}

#[test]
fn a_new_group_does_not_issue_again_what_was_sent_while_storage_could_not_be_told() {
    let (mut world, id) = sent_unmarked();
    world.tab(id).storage_fails = false;
    world.server.forget_all();
    world.break_tab(id);
    world.pass(60_000.0);
    assert_eq!(world.server.executed.len(), 1, "sent once");
}

/// Found as seed 111016106.
#[test]
fn what_a_page_says_that_it_has_sent_another_one_that_begins_a_group_does_not_issue_again() {
    for is_late in [false, true] {
        let (mut world, id) = written_offline(world());
        let early = (!is_late).then(|| open(&mut world));
        world.cut_off.extend(early);
        world.tab(id).storage_fails = true;
        world.network_up();
        world.pass(60_000.0);
        assert_eq!(world.server.executed.len(), 1);
        let other = early.unwrap_or_else(|| open(&mut world));
        world.server.forget_all();
        world.cut_off = [id].into();
        world.break_tab(id);
        world.break_tab(other);
        world.pass(60_000.0);
        world.tab(id).storage_fails = false;
        world.cut_off.clear();
        world.pass(60_000.0);
        arrives(&mut world, 1, &["a", "b"]);
    }
}

/// Found as seed 113004151: two that took each other for dead answered for ever.
#[test]
fn only_a_page_that_begins_is_told_what_was_sent() {
    let (mut world, id) = sent_unmarked();
    let group = world.server.group_ids().remove(0);
    for (sent, answers) in [(0, 1), (2, 0)] {
        let hello = json!({"hello": {"group": group, "client": format!("c{sent}"), "sent": sent}});
        let tab = world.tab(id);
        tab.event(Event::Announced {
            text: hello.to_string(),
        });
        tab.pump();
        assert_eq!(tab.announced.len(), answers);
        tab.announced.clear();
    }
}

/// Found as seed 113001068: it was not listened to before storage had told of its group, and that was damaged.
#[test]
fn what_a_page_says_that_it_has_sent_one_that_repairs_storage_does_not_issue_again() {
    let (mut world, id) = sent_unmarked();
    world.browsers[0].disk.damage(StoreName::Head, |_| 0);
    let repairing = world.open_tab_with(0, 0.0, |tab| tab.manual_storage = true);
    // It hears of what was sent, because that page sends once more.
    world.tab(id).mutate("upsert", &note("c"));
    world.pass(2_000.0);
    assert_eq!(world.server.executed.len(), 2);
    world.kill_tab(id);
    world.tab(repairing).manual_storage = false;
    world.pass(60_000.0);
    arrives(&mut world, 2, &["a", "b", "c"]);
}

/// Found as seed 113074104.
#[test]
fn who_repairs_storage_asks_before_what_was_sent() {
    let (mut world, id) = sent_unmarked();
    world.browsers[0].disk.damage(StoreName::Head, |_| 0);
    let repairing = open(&mut world);
    world.pass(5_000.0);
    world.kill_tab(id);
    world.pass(60_000.0);
    arrives(&mut world, 1, &["a", "b"]);
    told(&world, repairing, "Damaged");
}

/// Found as seed 121000994: storage worked again, the page that had sent did not know it yet, and the one that had heard of it
/// told nobody.
#[test]
fn who_hears_what_was_sent_tells_storage() {
    let (mut world, id) = written_offline(world());
    let other = open(&mut world);
    world.cut_off.insert(other);
    world.tab(id).storage_fails = true;
    world.network_up();
    world.pass(60_000.0);
    assert_eq!(world.server.executed.len(), 1);
    world.kill_tab(id);
    world.kill_tab(other);
    world.browsers[0].disk.damage(StoreName::Head, |_| 0);
    world.cut_off.clear();
    let repairing = open(&mut world);
    world.pass(60_000.0);
    arrives(&mut world, 1, &["a", "b"]);
    told(&world, repairing, "Damaged");
}
