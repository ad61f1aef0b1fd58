//! Storage that fails: what the application is told, and that no write is lost by it.

use landfall_client::{ConnectionState, Event, Outcome, Role};
use landfall_sim::disk::DiskFault;
use landfall_sim::notes::{
    self, QUERIES, arrives, named, note, one_offline_write, open, told, written_offline,
};
use landfall_sim::world::{TabId, World};
use landfall_store::{BackendFailure, StoreName};
use serde_json::json;

#[test]
fn the_rows_make_room_for_the_queue() {
    let (mut world, id) = one_offline_write();
    let tab = world.tab(id);
    tab.next_fault = DiskFault::Fails(BackendFailure::Quota);
    let call = tab.mutate("upsert", &note("c"));
    assert!(matches!(tab.durable.get(&call), Some(Err(_))));
    world.settle();
    told(&world, id, "Quota");
    let disk = world.browsers[0].disk.store();
    assert!(
        disk.values(StoreName::Log).is_empty(),
        "rows were let go of"
    );
    assert_eq!(
        disk.values(StoreName::Queue).len(),
        2,
        "both writes are stored"
    );
    // Nothing is lost with the page.
    world.kill_tab(id);
    open(&mut world);
    arrives(&mut world, 2, &["a", "b", "c"]);
}

#[test]
fn a_full_disk_is_not_tried_again_with_every_poke() {
    let mut world = notes::world();
    let id = open(&mut world);
    world.tab(id).next_fault = DiskFault::Fails(BackendFailure::Quota);
    for n in 0..20 {
        let row = json!({"id": n.to_string()});
        world.server.commit(|rows| rows.put("note", row));
        world.settle();
    }
    let problems = |world: &World| {
        let notes = &world.tabs[&id].notes;
        notes
            .iter()
            .filter(|n| n.starts_with("StorageProblem"))
            .count()
    };
    assert_eq!(problems(&world), 1);
    let pages = |world: &World| {
        world.browsers[0]
            .disk
            .store()
            .values(StoreName::Pages)
            .len()
    };
    assert_eq!(pages(&world), 0);
    world.pass(70_000.0);
    world
        .server
        .commit(|rows| rows.put("note", json!({"id": "last"})));
    world.settle();
    assert!(
        pages(&world) > 0,
        "stored as a whole when there may be room again"
    );
}

/// Opens a tab whose storage fails when it is asked for everything.
fn open_failing(world: &mut World, kind: BackendFailure) -> TabId {
    let id = world.open_tab_with(0, 0.0, |tab| tab.manual_storage = true);
    let tab = world.tab(id);
    assert!(tab.commit_one(), "what was kept is asked for first");
    tab.next_fault = DiskFault::Fails(kind);
    tab.manual_storage = false;
    tab.pump();
    id
}

#[test]
fn a_connection_to_storage_that_is_lost_at_the_start_is_tried_again() {
    let (mut world, id) = one_offline_write();
    world.kill_tab(id);
    let id = open_failing(&mut world, BackendFailure::Closed);
    world.pass(1_000.0);
    told(&world, id, "Closed");
    assert_eq!(world.tabs[&id].client.mutations().len(), 1);
    arrives(&mut world, 1, &["a", "b"]);
}

/// Answers the oldest request of a tab to storage.
fn answer(world: &mut World, id: TabId, fault: DiskFault) {
    let tab = world.tab(id);
    tab.next_fault = fault;
    assert!(tab.commit_one() && tab.hear_one(), "storage is asked");
    tab.pump();
}

#[test]
fn a_page_that_gives_storage_up_takes_no_writes_along() {
    let (mut world, id) = one_offline_write();
    // A second record, so that the first one takes a slice.
    world.network_up();
    world.server.rate_limited = true;
    world
        .server
        .commit(|rows| rows.put("note", json!({"id": "d"})));
    world.pass(5_000.0);
    world.network_down();
    world.browsers[0].disk.damage(StoreName::Log, |_| 1);
    world.slices = Some((1, 0));
    let second = world.open_tab_with(0, 0.0, |tab| {
        (tab.manual_storage, tab.manual_work) = (true, true);
    });
    let fails = DiskFault::Fails(BackendFailure::Other);
    // What was kept, and everything.
    for _ in 0..2 {
        answer(&mut world, second, DiskFault::None);
    }
    while world.tab(second).work_one() {}
    world.tab(second).pump();
    // A repair, everything again, and once more.
    for fault in [fails, fails] {
        answer(&mut world, second, fault);
    }
    world.pass(2_000.0);
    answer(&mut world, second, DiskFault::None);
    // While it reads it hears that the first page is gone, and asks for its writes.
    let name = format!("client/{}", world.tabs[&id].client.client_id());
    world.kill_tab(id);
    let tab = world.tab(second);
    tab.event(Event::LockGranted { name });
    // What it reads is damaged, and it goes on without storage before it is told of them.
    assert!(tab.ready);
    assert!(tab.commit_one() && tab.hear_one(), "they were asked for");
    (tab.manual_storage, tab.manual_work) = (false, false);
    tab.pump();
    // It works in memory, in a group of its own.
    world.tab(second).view(QUERIES[0], named(0));
    world.server.rate_limited = false;
    world.network_up();
    world.pass(5_000.0);
    assert!(world.server.executed.is_empty());
    // Who comes next repairs the store, and sends what waits in it.
    open(&mut world);
    arrives(&mut world, 1, &["a", "b", "d"]);
}

#[test]
fn a_page_that_finds_another_group_after_a_repair_takes_no_writes_of_the_first_along() {
    let (mut world, id) = one_offline_write();
    world.browsers[0].disk.damage(StoreName::Log, |_| 0);
    let second = world.open_tab_with(0, 0.0, |tab| tab.manual_storage = true);
    // What was kept, everything, a repair.
    for _ in 0..3 {
        answer(&mut world, second, DiskFault::None);
    }
    // It hears of a write in the group that it has found.
    world.tab(id).mutate("upsert", &note("c"));
    world.settle();
    // Before it is told what is stored now, the server forgets the group, and the first page begins another one.
    world.server.forget_all();
    world.network_up();
    world.pass(5_000.0);
    world.kill_tab(id);
    answer(&mut world, second, DiskFault::None);
    let tab = &world.tabs[&second];
    assert!(tab.ready && tab.client.mutations().is_empty());
    world.tab(second).manual_storage = false;
    world.tab(second).view(QUERIES[0], named(0));
    arrives(&mut world, 2, &["a", "b", "c"]);
}

#[test]
fn without_storage_everything_works_in_memory() {
    let mut world = notes::world();
    let id = open_failing(&mut world, BackendFailure::Unavailable);
    world.settle();
    told(&world, id, "Unavailable");
    let tab = world.tab(id);
    tab.view(QUERIES[0], named(0));
    let call = tab.mutate("upsert", &note("a"));
    assert!(
        matches!(tab.durable.get(&call), Some(Err(_))),
        "not durable, and told so"
    );
    arrives(&mut world, 1, &["a"]);
}

#[test]
fn a_write_that_the_server_takes_before_storage_does_is_told_so() {
    let (mut world, id) = one_offline_write();
    world.network_up();
    world.pass(60_000.0);
    arrives(&mut world, 1, &["a", "b"]);
    let tab = world.tab(id);
    tab.next_fault = DiskFault::Fails(BackendFailure::Other);
    let refused = tab.mutate("upsert", &note("c"));
    // Storage is tried again a while later, with both.
    let waiting = tab.mutate("upsert", &note("d"));
    assert!(matches!(tab.durable.get(&refused), Some(Err(_))));
    assert_eq!(tab.durable.get(&waiting), None);
    world.settle();
    let tab = &world.tabs[&id];
    assert_eq!(tab.durable.get(&waiting), Some(&Ok(())));
    assert!(matches!(tab.durable.get(&refused), Some(Err(_))));
}

#[test]
fn a_mark_that_an_earlier_connection_waited_for_is_waited_for_by_the_next_one() {
    let (mut world, id) = one_offline_write();
    world.tab(id).manual_storage = true;
    world.network_up();
    world.pass(5_000.0);
    world.break_tab(id);
    world.pass(5_000.0);
    let connected = &world.tabs[&id].connection;
    assert_eq!(connected, &Some(ConnectionState::Connected));
    assert_eq!(
        world.server.executed,
        [],
        "storage still calls the write unsent"
    );
    // What storage calls unsent is sent by whoever begins a new group.
    world.browsers[0].disk.damage(StoreName::Head, |_| 0);
    world.tab(id).manual_storage = false;
    arrives(&mut world, 1, &["a", "b"]);
}

/// Found as seed 3011781.
#[test]
fn what_is_to_be_read_again_does_not_keep_a_page_awake_that_waits_for_earlier_stores() {
    let (mut world, maker) = one_offline_write();
    // Its rows cannot be read: until others have been looked for it has none.
    world.browsers[0].disk.damage(StoreName::Log, |_| 0);
    let held = |options: &mut landfall_client::Options| options.role = Role::Held;
    let heir = world.open_tab_as(0, 0.0, held, |_| {});
    world.settle();
    world.tab(heir).storage_fails = true;
    // The heir asks for the queue.
    world.kill_tab(maker);
    world.pass(60_000.0);
    assert!(!world.tabs[&heir].ready);
    world.tab(heir).storage_fails = false;
    world.tell_earlier(heir, &[]);
    let heir = world.tab(heir);
    heir.client.release(heir.now);
    heir.pump();
    arrives(&mut world, 1, &["a", "b"]);
}

/// Three writes made offline and then a connection, of which storage has answered so many requests. It is told of one
/// write at a time that it is about to be sent.
fn connecting(answers: usize) -> (World, TabId) {
    let mut world = notes::world();
    world.server.mode = Some(json!({"queries": "ast", "mutations": "crud", "version": 1}));
    world.slices = Some((1_000, 0));
    let (mut world, id) = written_offline(world);
    for name in ["c", "d"] {
        world.tab(id).mutate("upsert", &note(name));
        world.settle();
    }
    world.tab(id).manual_storage = true;
    world.network_up();
    world.pass(5_000.0);
    for _ in 0..answers {
        let tab = world.tab(id);
        assert!(tab.commit_one() && tab.hear_one());
        world.pass(100.0);
    }
    (world, id)
}

#[test]
fn a_long_queue_is_marked_in_parts_and_nothing_of_it_goes_before_all_of_it_is() {
    let mut marked = Vec::new();
    for answers in 0.. {
        let (mut world, id) = connecting(answers);
        if world.server.received.contains(&"push".to_owned()) {
            break;
        }
        world.kill_tab(id);
        world.server.forget_all();
        let heir = open(&mut world);
        world.pass(60_000.0);
        let uncertain = world.tabs[&heir].client.mutations().len();
        assert_eq!(world.server.executed.len() + uncertain, 3);
        marked.push(uncertain);
    }
    marked.dedup();
    assert_eq!(marked, [0, 1, 2]);
}

#[test]
fn a_queue_of_which_one_part_could_not_be_marked_is_marked_again() {
    for answers in 0..3 {
        let (mut world, id) = connecting(answers);
        let tab = world.tab(id);
        tab.next_fault = DiskFault::Fails(BackendFailure::Other);
        assert!(tab.commit_one() && tab.hear_one());
        world.pass(100.0);
        assert!(!world.server.received.contains(&"push".to_owned()));
        world.tab(id).manual_storage = false;
        arrives(&mut world, 3, &["a", "b", "c", "d"]);
    }
}

#[test]
fn a_write_made_while_a_long_queue_is_marked_goes_with_it() {
    for answers in 0..4 {
        let (mut world, id) = connecting(answers);
        world.tab(id).mutate("upsert", &note("e"));
        world.settle();
        world.tab(id).manual_storage = false;
        arrives(&mut world, 4, &["a", "b", "c", "d", "e"]);
    }
}

#[test]
fn storage_that_does_not_answer_keeps_no_writes_from_the_server() {
    let (mut world, id) = one_offline_write();
    world.tab(id).storage_stalled = true;
    world.network_up();
    world.pass(10_000.0);
    assert_eq!(world.server.executed, [], "it may only be slow");
    world.pass(20_000.0);
    assert_eq!(world.server.executed.len(), 1);
    told(&world, id, "Other");
    let late = world.tab(id).mutate("upsert", &note("c"));
    world.pass(10_000.0);
    assert_eq!(world.server.executed.len(), 2);
    // When it answers it is told what was sent: a new group sends none of it again.
    let tab = world.tab(id);
    tab.storage_stalled = false;
    tab.pump();
    world.settle();
    assert_eq!(world.tabs[&id].durable.get(&late), Some(&Ok(())));
    world.kill_tab(id);
    world.server.forget_all();
    arrives(&mut world, 2, &["a", "b", "c"]);
}

#[test]
fn a_page_whose_storage_does_not_answer_begins_without_it() {
    let (mut world, id) = one_offline_write();
    world.kill_tab(id);
    let stalled = world.open_tab_with(0, 0.0, |tab| tab.storage_stalled = true);
    let tab = world.tab(stalled);
    tab.view(QUERIES[0], named(0));
    let call = tab.mutate("upsert", &note("c"));
    world.network_up();
    world.pass(20_000.0);
    assert!(!world.tabs[&stalled].ready, "it may only be slow");
    world.pass(20_000.0);
    assert!(world.tabs[&stalled].ready);
    told(&world, stalled, "Unavailable");
    assert!(matches!(
        world.tabs[&stalled].durable.get(&call),
        Some(Err(_))
    ));
    assert_eq!(world.server.executed.len(), 1, "its own write");
    // What it had asked for is carried out and answered after all; what waits there is left to the next page.
    let tab = world.tab(stalled);
    tab.storage_stalled = false;
    tab.pump();
    world.pass(60_000.0);
    assert_eq!(world.server.executed.len(), 1);
    open(&mut world);
    arrives(&mut world, 2, &["a", "b", "c"]);
}

#[test]
fn a_page_that_slept_while_storage_was_asked_waits_for_its_answer() {
    let (mut world, id) = one_offline_write();
    world.kill_tab(id);
    let id = world.open_tab_with(0, 0.0, |tab| tab.storage_stalled = true);
    world.pass(3_000.0);
    let tab = world.tab(id);
    tab.set_clock(tab.now + 3_600_000.0);
    tab.storage_stalled = false;
    tab.pump();
    assert_eq!(tab.client.mutations().len(), 1);
    arrives(&mut world, 1, &["a", "b"]);
}

#[test]
fn storage_that_fails_for_a_moment_at_the_start_is_used_afterwards() {
    let (mut world, id) = one_offline_write();
    world.kill_tab(id);
    let id = world.open_tab_with(0, 0.0, |tab| tab.storage_fails = true);
    world.pass(1_000.0);
    world.tab(id).storage_fails = false;
    world.pass(5_000.0);
    let call = world.tab(id).mutate("upsert", &note("c"));
    world.settle();
    assert_eq!(world.tabs[&id].durable.get(&call), Some(&Ok(())));
    arrives(&mut world, 2, &["a", "b", "c"]);
}

#[test]
fn a_full_disk_does_not_keep_what_is_stored_from_being_shown() {
    let (mut world, id) = one_offline_write();
    world.kill_tab(id);
    let id = open_failing(&mut world, BackendFailure::Quota);
    world.pass(1_000.0);
    told(&world, id, "Quota");
    let tab = world.tab(id);
    tab.view(QUERIES[0], named(0));
    assert_eq!(tab.client.mutations().len(), 1);
    let clients = || world.browsers[0].disk.store().values(StoreName::Clients);
    assert_eq!(clients().len(), 1, "nothing was written");
    let call = world.tab(id).mutate("upsert", &note("c"));
    assert_eq!(world.tabs[&id].durable.get(&call), Some(&Ok(())));
    arrives(&mut world, 2, &["a", "b", "c"]);
}

#[test]
fn an_empty_storage_without_room_is_used_when_there_is_some() {
    let mut world = notes::world();
    let id = open_failing(&mut world, BackendFailure::Quota);
    world.pass(3_000.0);
    world.network_down();
    let call = world.tab(id).mutate("upsert", &note("b"));
    world.pass(20_000.0);
    assert_eq!(world.tabs[&id].durable.get(&call), Some(&Ok(())));
    world.kill_tab(id);
    open(&mut world);
    arrives(&mut world, 1, &["b"]);
}

/// Found as seed 83011768: the storage that was empty at the start counted as emptied.
#[test]
fn an_empty_storage_without_room_has_lost_no_ends() {
    let mut world = notes::world();
    let id = open_failing(&mut world, BackendFailure::Quota);
    world.pass(3_000.0);
    let call = world.tab(id).mutate("upsert", &note("b"));
    world.lose_answers(id);
    world.server.resync_all();
    world.pass(60_000.0);
    assert_eq!(world.tabs[&id].ends.get(&call), Some(&Outcome::Confirmed));
}

#[test]
fn a_group_that_cannot_be_joined_for_a_moment_is_joined_later() {
    let mut world = notes::world();
    open(&mut world);
    let second = open(&mut world);
    world.network_down();
    let early = world.tab(second).mutate("upsert", &note("b"));
    world.settle();
    world.tab(second).frozen = true;
    world.server.forget_all();
    world.network_up();
    world.pass(5_000.0);
    let tab = world.tab(second);
    tab.frozen = false;
    tab.manual_storage = true;
    tab.mutate("upsert", &note("c"));
    answer(&mut world, second, DiskFault::None);
    // Now it joins the other group.
    let fails = DiskFault::Fails(BackendFailure::Closed);
    answer(&mut world, second, fails);
    world.tab(second).manual_storage = false;
    world.pass(10_000.0);
    let late = world.tab(second).mutate("upsert", &note("d"));
    world.settle();
    let tab = &world.tabs[&second];
    assert_eq!(tab.durable.get(&late), Some(&Ok(())));
    assert_eq!(tab.ends.get(&early), Some(&Outcome::Confirmed));
    arrives(&mut world, 3, &["b", "c", "d"]);
}
