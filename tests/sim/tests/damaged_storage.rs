//! Stored values that are damaged: what can be read is kept, and what was sent is not issued again.

use landfall_client::{Client, ConnectionState, Outcome, Role, RunReason, TxId, WriteOp};
use landfall_sim::disk::DiskFault;
use landfall_sim::host::{Mutator, Progress, thrown};
use landfall_sim::notes::{
    self, MUTATORS, SCHEMA, arrives, next_release, note, one_offline_write, open, tell_storage,
    told, written_offline,
};
use landfall_sim::world::{TabId, World};
use landfall_store::{BackendFailure, Frozen, MarkAttempted, StoreName, StoreOp};
use serde_json::{Value, json};

#[test]
fn damaged_rows_are_loaded_anew_and_the_queue_is_kept() {
    for store in [StoreName::Log, StoreName::Head] {
        let (mut world, id) = one_offline_write();
        world.kill_tab(id);
        world.browsers[0].disk.damage(store, |_| 0);
        let id = open(&mut world);
        told(&world, id, "Damaged");
        world.pass(5_000.0);
        assert_eq!(world.tabs[&id].client.mutations().len(), 1);
        arrives(&mut world, 1, &["a", "b"]);
    }
}

#[test]
fn a_head_that_is_damaged_when_another_group_is_joined_leaves_writes_uncertain() {
    let (mut world, first) = one_offline_write();
    let second = open(&mut world);
    let call = world.tab(second).mutate("upsert", &note("c"));
    world.settle();
    world.tab(second).frozen = true;
    world.server.forget_all();
    world.network_up();
    world.pass(5_000.0);
    assert_eq!(world.server.executed.len(), 2, "the first tab sends both");
    // The second one learns of the other group when it stores something, and cannot read it.
    let stalled = world.tab(second);
    stalled.frozen = false;
    stalled.manual_storage = true;
    stalled.mutate("upsert", &note("d"));
    stalled.commit_one();
    stalled.hear_one();
    stalled.pump();
    world.browsers[0].disk.damage(StoreName::Head, |_| 0);
    world.tab(second).manual_storage = false;
    world.settle();
    told(&world, second, "Damaged");
    assert_eq!(
        world.tabs[&second].ends.get(&call),
        Some(&Outcome::Uncertain)
    );
    world.kill_tab(first);
    open(&mut world);
    arrives(&mut world, 3, &["a", "b", "c", "d"]);
}

#[test]
fn a_damaged_mutation_is_told_and_the_others_are_sent() {
    let (mut world, id) = one_offline_write();
    for id_of_row in ["c", "d"] {
        world.tab(id).mutate("upsert", &note(id_of_row));
    }
    world.settle();
    world.kill_tab(id);
    world.browsers[0].disk.damage(StoreName::Queue, |_| 1);
    let id = open(&mut world);
    told(&world, id, "Damaged");
    arrives(&mut world, 2, &["a", "b", "d"]);
}

/// Found as seed 82013628: what its maker had sent unmarked was issued again by one who knew that the server had it.
#[test]
fn what_the_server_has_confirmed_is_not_issued_again_where_the_head_is_lost() {
    let mut world = notes::world();
    let [maker, other] = [(); 2].map(|()| open(&mut world));
    world.network_down();
    world.tab(maker).mutate("upsert", &note("b"));
    world.settle();
    world.tab(maker).storage_stalled = true;
    world.tab(other).storage_fails = true;
    world.network_up();
    world.pass(60_000.0);
    assert_eq!(world.server.executed.len(), 1);
    world.kill_tab(maker);
    world.browsers[0].disk.damage(StoreName::Head, |_| 0);
    world.tab(other).storage_fails = false;
    world
        .server
        .commit(|rows| rows.put("note", note("c")["row"].clone()));
    world.pass(60_000.0);
    arrives(&mut world, 1, &["b", "c"]);
}

/// Found as seed 110011003: it went without storage knowing, and whoever repaired storage next issued it again.
#[test]
fn a_head_that_is_damaged_once_more_is_mended_before_writes_are_sent() {
    let (mut world, id) = one_offline_write();
    let damage = |world: &World| world.browsers[0].disk.damage(StoreName::Head, |_| 0);
    damage(&world);
    world.tab(id).manual_storage = true;
    world.network_up();
    while !world.browsers[0].disk.was_repaired() {
        world.pass(100.0);
        let tab = world.tab(id);
        tab.commit_one();
        tab.hear_one();
        tab.pump();
    }
    damage(&world);
    world.tab(id).manual_storage = false;
    world.pass(60_000.0);
    world.kill_tab(id);
    open(&mut world);
    world.pass(60_000.0);
    arrives(&mut world, 1, &["a", "b"]);
}

#[test]
fn a_store_that_was_read_in_part_leaves_nothing_to_a_tab_without_storage() {
    let (mut world, id) = one_offline_write();
    world.kill_tab(id);
    world.browsers[0].disk.damage(StoreName::Log, |_| 0);
    let id = world.open_tab_with(0, 0.0, |tab| tab.manual_storage = true);
    let opening = world.tab(id);
    // The head and the queue can be read, the rows cannot; after the repair storage is gone.
    for fault in [
        DiskFault::None,
        DiskFault::None,
        DiskFault::Fails(BackendFailure::Unavailable),
    ] {
        opening.next_fault = fault;
        assert!(opening.commit_one() && opening.hear_one());
        opening.pump();
    }
    told(&world, id, "Damaged");
    told(&world, id, "Unavailable");
    let export = world.tabs[&id].export();
    assert_eq!(export["cookie"], json!(null));
    assert_eq!(export["mutations"], json!([]));
    world.network_up();
    world.pass(30_000.0);
    assert_eq!(world.server.executed, [], "it belongs to another group");
    world.kill_tab(id);
    open(&mut world);
    arrives(&mut world, 1, &["a", "b"]);
}

/// A mutator whose replays are refused.
fn once(client: &mut Client, tx: TxId, arg: &Value, _: usize, reason: RunReason) -> Progress {
    if reason == RunReason::Rebase {
        return Progress::Done(Err(thrown("once only")));
    }
    let written = client.write(tx, "note", WriteOp::Upsert, &arg["row"].to_string());
    Progress::Done(written.map_err(|error| thrown(error.to_string())))
}

/// A server that takes writes and not calls, and a stored mutation whose writes nobody understands any more; marked as
/// sent if `sent`.
fn unreadable(mutator: &str, sent: bool) -> (World, TabId) {
    let mutators = [MUTATORS, &[("once", once as Mutator)]].concat();
    let mut world = World::new(SCHEMA, &mutators, notes::server());
    world.server.mode = Some(json!({"queries": "ast", "mutations": "crud", "version": 1}));
    let row = json!({"id": "a"});
    world.server.commit(|rows| rows.put("note", row));
    let id = open(&mut world);
    world.network_down();
    world.tab(id).mutate(mutator, &note("b"));
    world.settle();
    let client_id = world.tab(id).client.client_id().to_owned();
    world.kill_tab(id);
    let through = [(client_id.clone(), 1)];
    let frozen = Frozen {
        client_id,
        id: 1,
        ops: Some("[1]".into()),
        end: None,
        sent: false,
    };
    let op = StoreOp::MarkAttempted(MarkAttempted {
        through: through.into_iter().filter(|_| sent).collect(),
        frozen: vec![frozen],
    });
    tell_storage(&world, op);
    let id = open(&mut world);
    let notes = &world.tabs[&id].notes;
    let warned = |note: &String| note.contains("the stored writes of mutation 1");
    assert!(notes.iter().any(warned), "{notes:?}");
    (world, id)
}

#[test]
fn writes_that_cannot_be_read_are_made_anew_by_the_mutator() {
    let (mut world, id) = unreadable("upsert", false);
    arrives(&mut world, 1, &["a", "b"]);
    assert_eq!(world.tabs[&id].client.mutations(), []);
}

#[test]
fn writes_that_can_neither_be_read_nor_be_made_anew_are_told_as_failed() {
    let (mut world, id) = unreadable("once", false);
    arrives(&mut world, 1, &["a"]);
    let ended = &world.tabs[&id].client.mutations()[0];
    let Some(Outcome::Failed { error }) = &ended.outcome else {
        panic!("{ended:?}");
    };
    assert_eq!(error.message, "once only");
}

#[test]
fn writes_that_cannot_be_read_but_may_have_been_sent_are_told_as_uncertain() {
    for mutator in ["upsert", "once"] {
        let (mut world, id) = unreadable(mutator, true);
        arrives(&mut world, 1, &["a"]);
        let ended = &world.tabs[&id].client.mutations()[0];
        assert_eq!(ended.outcome, Some(Outcome::Uncertain), "{mutator}");
    }
}

#[test]
fn a_head_that_is_damaged_when_writes_are_about_to_be_sent_is_mended_before() {
    let mut world = notes::world();
    world.slices = Some((1, 0));
    let (mut world, id) = written_offline(world);
    world.browsers[0].disk.damage(StoreName::Head, |_| 0);
    let connecting = world.tab(id);
    connecting.manual_work = true;
    connecting.piece_sizes = vec![1000];
    world.network_up();
    // Nothing but the beginning of each connection is read, so that no poke finds the damage by being stored.
    for _ in 0..600 {
        world.pass(100.0);
        let reading = world.tab(id);
        if reading.connection != Some(ConnectionState::Connected) {
            reading.work_one();
            reading.pump();
        }
    }
    told(&world, id, "Damaged");
    let working = world.tab(id);
    working.manual_work = false;
    working.piece_sizes = Vec::new();
    arrives(&mut world, 1, &["a", "b"]);
}

#[test]
fn a_failure_that_storage_knows_is_told_when_storage_can_be_read_again() {
    let mut world = notes::world();
    let id = open(&mut world);
    let call = world.tab(id).mutate("refused", &note("b"));
    world.cut_off.insert(id);
    world.lose_answers(id);
    // The page of the next release stores the failure, and the server may forget it.
    world.open_tab_as(0, 0.0, next_release(Role::Draining), |_| {});
    world.settle();
    let stored = world.browsers[0].disk.store();
    assert_eq!(stored.values(StoreName::Outcomes).len(), 1);
    world.tab(id).storage_fails = true;
    world.cut_off.clear();
    world.pass(20_000.0);
    let connected = &world.tabs[&id].connection;
    assert_eq!(connected, &Some(ConnectionState::Connected));
    assert_eq!(world.tabs[&id].ends.get(&call), None, "nobody knows");
    world.tab(id).storage_fails = false;
    world.pass(20_000.0);
    let ended = world.tabs[&id].ends.get(&call);
    assert!(matches!(ended, Some(Outcome::Failed { .. })), "{ended:?}");
}

/// Found as seed 61017842: storage failed for one tab, while another one found damage and issued the queue again.
#[test]
fn a_queue_that_may_have_been_issued_again_does_not_go_without_storage_knowing() {
    let (mut world, id) = one_offline_write();
    world.tab(id).storage_fails = true;
    world.browsers[0].disk.damage(StoreName::Head, |_| 0);
    open(&mut world);
    world.network_up();
    world.pass(120_000.0);
    assert_eq!(world.server.executed.len(), 1);
    world.tab(id).storage_fails = false;
    arrives(&mut world, 1, &["a", "b"]);
}

/// Found as seed 91001243: an answer to what was asked before was taken for the answer.
#[test]
fn what_storage_was_asked_before_does_not_tell_whether_it_has_the_group_still() {
    let (mut world, id) = one_offline_write();
    let tab = world.tab(id);
    tab.manual_storage = true;
    tab.mutate("upsert", &note("c"));
    assert!(tab.commit_one());
    tab.frozen = true;
    world.browsers[0].disk.damage(StoreName::Head, |_| 0);
    let other = open(&mut world);
    world.network_up();
    world.pass(60_000.0);
    assert_eq!(world.server.executed.len(), 2);
    world.kill_tab(other);
    // What was announced comes first, then the answer.
    world.tab(id).frozen = false;
    world.settle();
    let tab = world.tab(id);
    assert!(tab.hear_one());
    (tab.storage_fails, tab.manual_storage) = (true, false);
    tab.pump();
    world.pass(120_000.0);
    assert_eq!(world.server.executed.len(), 2);
    world.tab(id).storage_fails = false;
    arrives(&mut world, 2, &["a", "b", "c"]);
}
