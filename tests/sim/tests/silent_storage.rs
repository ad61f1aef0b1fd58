//! Storage that does not answer a page that has begun: what the application is told, and that no write is lost or carried
//! out twice.

use landfall_client::{CallId, Client, Outcome, RunReason, TxId, WriteOp};
use landfall_sim::disk::DiskFault;
use landfall_sim::host::{Mutator, Progress, thrown};
use landfall_sim::notes::{self, MUTATORS, SCHEMA, note, open};
use landfall_sim::world::{TabId, World};
use landfall_store::BackendFailure;
use serde_json::{Value, json};

/// A world in which one tab has, offline, one stored write.
fn world() -> (World, TabId) {
    let mut world = notes::world();
    let id = open(&mut world);
    world.network_down();
    world.tab(id).mutate("upsert", &note("b"));
    world.settle();
    (world, id)
}

#[track_caller]
fn told(world: &World, id: TabId, kind: &str) {
    let wanted = format!("StorageProblem {{ kind: {kind}");
    let notes = world.tabs[&id].notes.iter();
    let count = notes.filter(|note| note.starts_with(&wanted)).count();
    assert_eq!(count, 1, "{:?}", world.tabs[&id].notes);
}

/// The notes that were written at the server, in their order.
#[track_caller]
fn carried_out(world: &World, expected: &[&str]) {
    let calls = world.server.executed.iter();
    let id = |argument: &str| {
        let row: Value = serde_json::from_str(argument).expect("JSON");
        row["row"]["id"].as_str().map(str::to_owned)
    };
    let ids: Vec<String> = calls.filter_map(|call| id(&call.argument)).collect();
    assert_eq!(ids, expected);
}

/// Storage answers again what it was asked.
fn answer_all(world: &mut World, id: TabId) {
    let tab = world.tab(id);
    (tab.storage_stalled, tab.manual_storage) = (false, false);
    tab.pump();
    world.pass(60_000.0);
}

/// The next page sends what storage holds.
fn open_next(world: &mut World) {
    open(world);
    world.pass(60_000.0);
}

#[test]
fn a_write_that_storage_does_not_answer_is_told_as_not_durable() {
    let (mut world, id) = world();
    world.tab(id).storage_stalled = true;
    let calls = ["c", "d"].map(|name| world.tab(id).mutate("upsert", &note(name)));
    world.pass(25_000.0);
    assert!(
        calls
            .iter()
            .all(|call| !world.tabs[&id].durable.contains_key(call))
    );
    world.pass(15_000.0);
    let late = world.tab(id).mutate("upsert", &note("e"));
    world.pass(10_000.0);
    told(&world, id, "Other");
    let is_error = |world: &World, call| matches!(world.tabs[&id].durable.get(call), Some(Err(_)));
    let all = [calls[0], calls[1], late];
    assert!(all.iter().all(|call| is_error(&world, call)));
    // It was slow, and stores them after all. What was told stays.
    answer_all(&mut world, id);
    assert!(all.iter().all(|call| is_error(&world, call)));
    let soon = world.tab(id).mutate("upsert", &note("f"));
    world.settle();
    assert_eq!(world.tabs[&id].durable.get(&soon), Some(&Ok(())));
    world.kill_tab(id);
    world.network_up();
    open_next(&mut world);
    carried_out(&world, &["b", "c", "d", "e", "f"]);
}

#[test]
fn a_page_that_slept_while_a_write_was_stored_waits_for_the_answer() {
    let (mut world, id) = world();
    world.tab(id).storage_stalled = true;
    let call = world.tab(id).mutate("upsert", &note("c"));
    world.pass(10_000.0);
    let tab = world.tab(id);
    tab.set_clock(tab.now + 3_600_000.0);
    assert_eq!(tab.durable.get(&call), None);
    tab.storage_stalled = false;
    tab.pump();
    assert_eq!(world.tabs[&id].durable.get(&call), Some(&Ok(())));
}

#[test]
fn a_new_group_that_storage_does_not_answer_is_begun_in_memory() {
    let (mut world, id) = world();
    world.tab(id).storage_stalled = true;
    let asked = world.tab(id).mutate("upsert", &note("c"));
    let waiting = world.tab(id).mutate("upsert", &note("d"));
    world.server.forget_all();
    world.network_up();
    world.pass(25_000.0);
    carried_out(&world, &[]);
    world.pass(35_000.0);
    told(&world, id, "Unavailable");
    // What storage has, or may have, is left to it; what it was not asked for is sent.
    let tab = &world.tabs[&id];
    assert!(matches!(tab.durable.get(&asked), Some(Err(_))));
    assert_eq!(tab.ends.get(&asked), Some(&Outcome::Uncertain));
    assert_eq!(tab.ends.get(&waiting), Some(&Outcome::Confirmed));
    carried_out(&world, &["d"]);
    // The group is begun in storage after all.
    answer_all(&mut world, id);
    let late = world.tab(id).mutate("upsert", &note("e"));
    world.settle();
    assert!(matches!(world.tabs[&id].durable.get(&late), Some(Err(_))));
    carried_out(&world, &["d", "e"]);
    open_next(&mut world);
    carried_out(&world, &["d", "e", "b", "c"]);
}

#[test]
fn another_group_that_storage_does_not_let_in_is_left_to_the_others() {
    let (mut world, first) = world();
    let second = open(&mut world);
    let early = world.tab(second).mutate("upsert", &note("c"));
    world.settle();
    world.tab(second).frozen = true;
    world.server.forget_all();
    world.network_up();
    world.pass(5_000.0);
    let tab = world.tab(second);
    tab.frozen = false;
    tab.manual_storage = true;
    tab.mutate("upsert", &note("d"));
    // It is told that there is another group, and is not let in.
    assert!(tab.commit_one() && tab.hear_one());
    world.pass(60_000.0);
    told(&world, second, "Unavailable");
    assert_eq!(
        world.tabs[&second].ends.get(&early),
        Some(&Outcome::Uncertain)
    );
    answer_all(&mut world, second);
    world.kill_tab(first);
    open_next(&mut world);
    carried_out(&world, &["b", "c", "d"]);
}

#[test]
fn a_group_that_storage_began_although_it_said_that_it_failed_is_not_that_of_the_page() {
    let (mut world, id) = world();
    world.server.forget_all();
    world.tab(id).manual_storage = true;
    world.network_up();
    world.pass(1_000.0);
    assert!(world.tab(id).commit_one(), "what it followed before");
    let fails = DiskFault::Fails(BackendFailure::Closed);
    for fault in [fails, fails, DiskFault::Unknown] {
        let tab = world.tab(id);
        tab.next_fault = fault;
        assert!(tab.commit_one());
        while tab.hear_one() {}
        world.pass(6_000.0);
    }
    let call = world.tab(id).mutate("upsert", &note("c"));
    world.pass(10_000.0);
    assert_eq!(world.tabs[&id].ends.get(&call), Some(&Outcome::Confirmed));
    carried_out(&world, &["c"]);
    open_next(&mut world);
    carried_out(&world, &["c", "b"]);
}

/// Two tabs with one more mutator, at a server that takes writes and not calls.
fn taking_writes(name: &'static str, mutator: Mutator) -> (World, [TabId; 2]) {
    let mutators = [MUTATORS, &[(name, mutator)]].concat();
    let mut world = World::new(SCHEMA, &mutators, notes::server());
    world.server.mode = Some(json!({"queries": "ast", "mutations": "crud", "version": 1}));
    let tabs = [(); 2].map(|()| open(&mut world));
    (world, tabs)
}

/// A mutator whose replays are refused.
fn once(client: &mut Client, tx: TxId, arg: &Value, _: usize, reason: RunReason) -> Progress {
    if reason == RunReason::Rebase {
        return Progress::Done(Err(thrown("once only")));
    }
    let written = client.write(tx, "note", WriteOp::Upsert, &arg["row"].to_string());
    Progress::Done(written.map_err(|error| thrown(error.to_string())))
}

/// Two tabs at a server that takes writes; the first one has made a write, offline, that both refuse by now.
fn refused_write() -> (World, [TabId; 2], CallId) {
    let (mut world, tabs) = taking_writes("once", once);
    world.network_down();
    let call = world.tab(tabs[0]).mutate("once", &note("a"));
    world.settle();
    world.tab(tabs[1]).mutate("upsert", &note("b"));
    world.pass(2_000.0);
    (world, tabs, call)
}

/// Found as seed 82005550: it went without its writes, and to its maker it was a success.
#[test]
fn what_the_dead_have_left_waits_until_storage_can_be_told_of_it() {
    let (mut world, [maker, late], _) = refused_write();
    world.kill_tab(maker);
    world.tab(late).storage_stalled = true;
    world.network_up();
    world.pass(90_000.0);
    let made_by = |id: TabId| world.tabs[&id].client.client_id().to_owned();
    let senders: Vec<_> = world
        .server
        .executed
        .iter()
        .map(|done| &done.client)
        .collect();
    assert_eq!(senders, [&made_by(late)], "its own goes");
    answer_all(&mut world, late);
    assert_eq!(world.server.executed.len(), 2);
    let fresh = open(&mut world);
    world.settle();
    for id in [late, fresh] {
        let listed = world.tabs[&id].client.mutations();
        let outcomes: Vec<_> = listed.iter().map(|info| &info.outcome).collect();
        assert!(
            matches!(outcomes[..], [Some(Outcome::Failed { .. })]),
            "{listed:?}"
        );
    }
}

/// Found as seed 82004171: another tab had sent it with its writes.
#[test]
fn a_refusal_that_storage_cannot_be_told_of_is_uncertain() {
    let (mut world, [maker, other], call) = refused_write();
    world.tab(maker).storage_stalled = true;
    world.cut_off.insert(other);
    world.network_up();
    world.pass(60_000.0);
    assert_eq!(world.server.executed.len(), 1);
    assert_eq!(
        world.tabs[&maker].ends.get(&call),
        Some(&Outcome::Uncertain)
    );
}

/// A mutator that only its maker can replay.
fn hers(client: &mut Client, tx: TxId, arg: &Value, _: usize, _: RunReason) -> Progress {
    if arg["by"] != json!(client.client_id()) {
        return Progress::Done(Err(thrown("not mine")));
    }
    let written = client.write(tx, "note", WriteOp::Upsert, &arg["row"].to_string());
    Progress::Done(written.map_err(|error| thrown(error.to_string())))
}

/// Two tabs at a server that takes writes; the second one has made so many, offline, that the first cannot replay.
fn writes_of_hers<const N: usize>() -> (World, [TabId; 2], [CallId; N]) {
    let (mut world, tabs) = taking_writes("hers", hers);
    world.network_down();
    let by = world.tabs[&tabs[1]].client.client_id().to_owned();
    let argument = json!({"row": {"id": "a", "kind": "red"}, "by": by});
    let calls = [(); N].map(|()| world.tab(tabs[1]).mutate("hers", &argument));
    world.settle();
    (world, tabs, calls)
}

/// Found as seed 91040268: it was listed as failed, and stored as that.
#[test]
fn what_a_page_was_about_to_send_as_a_failure_has_not_failed_if_its_maker_was_first() {
    let (mut world, [other, maker], [call]) = writes_of_hers();
    world.cut_off.insert(maker);
    world.tab(other).storage_stalled = true;
    world.network_up();
    // The other one asks storage whether it may send what does not move.
    world.pass(30_000.0);
    assert_eq!(world.server.executed, []);
    world.cut_off.clear();
    world.pass(60_000.0);
    assert_ne!(world.server.executed[0].argument, "[]");
    answer_all(&mut world, other);
    let fresh = open(&mut world);
    world.settle();
    let confirmed = Some(&Outcome::Confirmed);
    assert_eq!(world.tabs[&maker].ends.get(&call), confirmed);
    for id in [other, fresh] {
        assert_eq!(world.tabs[&id].client.mutations(), []);
    }
}

/// Found as seed 118005481: a mark of an earlier connection that was not answered counted as made.
#[test]
fn what_another_page_made_does_not_go_without_its_writes_before_storage_knows() {
    let (mut world, [other, maker], _) = writes_of_hers::<1>();
    world.cut_off.insert(maker);
    world.network_up();
    // It takes the maker for one that cannot send, marks what it is about to send, and loses its connection.
    world.pass(15_000.0);
    assert_eq!(world.server.executed.len(), 0);
    world.tab(other).storage_stalled = true;
    world.pass(7_000.0);
    world.break_tab(other);
    world.pass(26_000.0);
    assert_eq!(world.server.executed.len(), 0);
}

/// Found as seed 1180: the maker was told of a success, since it had sent the writes, but the other was first.
#[test]
fn what_another_page_sent_without_its_writes_is_no_success_to_a_maker_that_sent_it_unmarked() {
    let (mut world, [other, maker], [call, late]) = writes_of_hers();
    world.tab(maker).storage_stalled = true;
    world.pass(2_000.0);
    world.network_up();
    while world
        .server
        .received
        .iter()
        .filter(|kind| *kind == "initConnection")
        .count()
        < 4
    {
        world.pass(100.0);
    }
    // The other one sends it, and before the maker hears of that it gives up waiting for storage.
    world.pass(16_000.0);
    world.tab(maker).frozen = true;
    world.pass(6_000.0);
    assert_eq!(world.server.executed.len(), 2);
    world.tab(maker).frozen = false;
    world.pass(20_000.0);
    let executed = &world.server.executed;
    assert!(executed.iter().all(|done| done.argument == "[]"));
    assert_eq!(executed.len(), 2);
    // What another has made of it storage knows.
    let ends = |world: &World| {
        let ends = &world.tabs[&maker].ends;
        [call, late].map(|call| ends.get(&call).cloned())
    };
    assert_eq!(ends(&world), [None, None]);
    answer_all(&mut world, maker);
    let uncertain = Some(Outcome::Uncertain);
    assert_eq!(ends(&world), [uncertain.clone(), uncertain]);
    // Nor does a page that begins later list it as failed.
    world.kill_tab(other);
    let fresh = open(&mut world);
    let listed = world.tabs[&fresh].client.mutations();
    assert_eq!(listed.len(), 2);
    assert!(
        listed
            .iter()
            .all(|info| info.outcome == Some(Outcome::Uncertain))
    );
}
