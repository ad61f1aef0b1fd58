//! What is told of a write's end is true, in every tab and after every reload, or that nobody knows is told.

use landfall_client::{CallId, Client, Outcome, Role, RunReason, TxId, WriteOp};
use landfall_sim::disk::DiskFault;
use landfall_sim::host::{Mutator, Progress, thrown};
use landfall_sim::notes::{self, MUTATORS, SCHEMA, note, open, world};
use landfall_sim::world::{TabId, World};
use landfall_store::{NewMutation, StoreName, StoreOp, StoreRequest, WriteQueue};
use serde_json::{Value, json};

/// How the writes ended that a tab lists, in its order; `None` for those that wait.
fn listed(world: &World, id: TabId) -> Vec<Option<Outcome>> {
    let infos = world.tabs[&id].client.mutations();
    infos.into_iter().map(|info| info.outcome).collect()
}

#[track_caller]
fn failed(outcome: Option<&Outcome>) -> &str {
    match outcome {
        Some(Outcome::Failed { error }) => &error.message,
        other => panic!("{other:?}"),
    }
}

/// Found as seed 115015508: what waited behind a snapshot was in the next one, but not what it told.
#[test]
fn a_failure_that_comes_while_all_rows_are_stored_and_then_once_more_is_no_success() {
    let mut world = world();
    for id in 0..300 {
        let row = json!({"id": format!("n{id}")});
        world.server.commit(|rows| rows.put("note", row));
    }
    let maker = open(&mut world);
    world.slices = Some((1, 0));
    let other = world.open_tab();
    world.settle();
    world.tab(other).manual_work = true;
    for id in [Some("y"), None, Some("z")] {
        match id {
            Some(id) => world
                .server
                .commit(|rows| rows.put("note", json!({"id": id}))),
            None => {
                world.tab(maker).mutate("refused", &note("x"));
                world.lose_answers(maker);
                world.tab(maker).frozen = true;
            }
        }
        // Enough to show what came, not to store all rows.
        for _ in 0..50 {
            world.settle();
            world.tab(other).work_one();
            world.tab(other).pump();
        }
    }
    world.tab(other).manual_work = false;
    world.pass(2_000.0);
    world.kill_tab(maker);
    let fresh = open(&mut world);
    assert_eq!(failed(listed(&world, fresh)[0].as_ref()), "refused");
}

#[test]
fn a_failure_is_kept_for_one_that_is_taken_for_dead() {
    let mut world = world();
    world.browsers[0].has_locks = false;
    let (sleeper, other) = (open(&mut world), open(&mut world));
    world.cut_off.insert(other);
    world.break_tab(other);
    world.tab(sleeper).storage_fails = true;
    let call = world.tab(sleeper).mutate("refused", &note("a"));
    world.lose_answers(sleeper);
    world.tab(sleeper).frozen = true;
    assert_eq!(world.server.executed.len(), 1);
    *world.skews.entry(other).or_default() += 90_000_000.0;
    world.pass(100_000.0);
    // It hears of the failure, acknowledges it, and lets the server and storage forget the other one.
    world.cut_off.clear();
    world.pass(200_000.0);
    for said in ["ackMutationResponses", "deleteClients"] {
        assert!(world.server.received.contains(&said.to_owned()), "{said}");
    }
    let waking = world.tab(sleeper);
    waking.storage_fails = false;
    waking.frozen = false;
    world.pass(60_000.0);
    let end = world.tabs[&sleeper].ends.get(&call);
    assert_eq!(failed(end), "refused");
    let infos = world.tabs[&sleeper].client.mutations();
    assert_eq!(infos[0].name, "refused", "it knows what it was");
}

/// A tab that sleeps while another sends its write and is told of the failure.
fn refused_elsewhere() -> (World, TabId, TabId, CallId) {
    let mut world = world();
    let (away, other) = (open(&mut world), open(&mut world));
    world.cut_off.insert(away);
    world.break_tab(away);
    let call = world.tab(away).mutate("refused", &note("a"));
    world.settle();
    world.tab(away).frozen = true;
    world.pass(60_000.0);
    assert_eq!(failed(listed(&world, other)[0].as_ref()), "refused");
    (world, away, other, call)
}

/// The same, and the other one clears the failure.
fn cleared_elsewhere() -> (World, TabId, TabId, CallId) {
    let (mut world, away, other, call) = refused_elsewhere();
    let client = world.tabs[&away].client.client_id().to_owned();
    let seeing = world.tab(other);
    seeing.client.clear_outcome(seeing.now, &client, 1);
    seeing.pump();
    world.settle();
    assert_eq!(listed(&world, other), []);
    (world, away, other, call)
}

#[test]
fn a_failure_that_another_tab_has_cleared_is_no_success_in_a_new_group() {
    let (mut world, away, other, call) = cleared_elsewhere();
    world.server.forget_all();
    world.break_tab(other);
    world.pass(60_000.0);
    world.tab(away).frozen = false;
    world.cut_off.clear();
    world.pass(60_000.0);
    let end = world.tabs[&away].ends.get(&call);
    assert_eq!(end, Some(&Outcome::Uncertain));
}

#[test]
fn a_failure_that_another_tab_has_cleared_is_no_success() {
    let (mut world, away, other, call) = cleared_elsewhere();
    world.tab(away).frozen = false;
    world.pass(60_000.0);
    assert_eq!(failed(world.tabs[&away].ends.get(&call)), "refused");
    // Nobody else is shown it again.
    world.kill_tab(other);
    let other = open(&mut world);
    assert_eq!(listed(&world, other), []);
}

#[test]
fn a_failure_in_a_new_group_that_another_tab_has_cleared_is_no_success() {
    let mut world = world();
    let (away, other) = (open(&mut world), open(&mut world));
    world.network_down();
    let call = world.tab(away).mutate("refused", &note("a"));
    world.settle();
    world.tab(away).frozen = true;
    world.server.forget_all();
    world.network_up();
    world.pass(60_000.0);
    assert_eq!(world.server.executed.len(), 1);
    let seeing = world.tab(other);
    for info in seeing.client.mutations() {
        seeing
            .client
            .clear_outcome(seeing.now, &info.client_id, info.mutation_id);
    }
    seeing.pump();
    world.tab(away).frozen = false;
    world.pass(60_000.0);
    let end = world.tabs[&away].ends.get(&call);
    assert_eq!(end, Some(&Outcome::Uncertain));
}

/// Found as seed 101002035: nothing was ever said of it.
#[test]
fn what_another_tab_issued_again_and_sent_is_uncertain_to_its_maker_that_begins_the_next_group() {
    let mut world = world();
    let (maker, other) = (open(&mut world), open(&mut world));
    world.network_down();
    let call = world.tab(maker).mutate("upsert", &note("a"));
    world.settle();
    world.cut_off.insert(maker);
    world.server.forget_all();
    world.server.rate_limited = true;
    world.network_up();
    world.pass(5_000.0);
    let names = world.tabs[&maker].client.mutations();
    assert_eq!(names[0].client_id, world.tabs[&other].client.client_id());
    world.cut_off = [other].into();
    world.server.forget_all();
    world.break_tab(other);
    world.pass(60_000.0);
    let end = world.tabs[&maker].ends.get(&call);
    assert_eq!(end, Some(&Outcome::Uncertain));
}

#[test]
fn a_call_whose_arguments_cannot_be_read_fails_and_what_comes_after_it_is_sent() {
    let mut world = world();
    let id = open(&mut world);
    world.network_down();
    let mutation = |id, args: &str| NewMutation {
        id,
        name: "upsert".into(),
        args: args.into(),
        ops: None,
        timestamp: 1.0,
        end: None,
    };
    let op = StoreOp::WriteQueue(WriteQueue {
        client_id: "of another time".into(),
        mutations: vec![
            mutation(1, "[{"),
            mutation(2, &json!([note("b")]).to_string()),
        ],
        attempted: 0,
        unsure: 0,
        confirmed: 0,
        now: world.now,
    });
    let group_id = world.server.group_ids().remove(0);
    let request = StoreRequest { group_id, op };
    let stored = world.browsers[0].disk.execute(&request, DiskFault::None);
    stored.expect("the group is there");
    world.kill_tab(id);
    let id = open(&mut world);
    let warned = |note: &String| note.contains("the stored arguments of mutation 1");
    assert!(world.tabs[&id].notes.iter().any(warned));
    world.network_up();
    world.pass(60_000.0);
    let executed = &world.server.executed;
    let names: Vec<&str> = executed.iter().map(|done| done.name.as_str()).collect();
    assert_eq!(names, ["_landfall_unreadable", "upsert"]);
    assert!(executed[0].refusal.is_some());
    for _ in 0..2 {
        let ends = listed(&world, id);
        assert_eq!(ends.len(), 1);
        assert!(failed(ends[0].as_ref()).starts_with("its stored arguments cannot be read"));
        // The same after a reload.
        world.kill_tab(id);
        assert_eq!(open(&mut world), id + 1);
        world.kill_tab(id + 1);
        world.next_tab = id;
        assert_eq!(open(&mut world), id);
    }
}

#[test]
fn a_failure_that_was_lost_with_a_damaged_store_is_uncertain_in_every_tab() {
    let (mut world, away, _, call) = refused_elsewhere();
    world.browsers[0].disk.damage(StoreName::Outcomes, |_| 0);
    let repairing = open(&mut world);
    let told = |note: &String| note.contains("1 stored mutations or outcomes could not be read");
    assert!(world.tabs[&repairing].notes.iter().any(told));
    world
        .server
        .commit(|rows| rows.put("note", json!({"id": "b"})));
    world.settle();
    world.tab(away).frozen = false;
    world.pass(60_000.0);
    let end = world.tabs[&away].ends.get(&call);
    assert_eq!(end, Some(&Outcome::Uncertain));
}

#[test]
fn a_write_that_was_lost_with_a_damaged_store_is_uncertain_to_its_maker() {
    let mut world = world();
    let maker = open(&mut world);
    world.network_down();
    let call = world.tab(maker).mutate("upsert", &note("a"));
    world.settle();
    world.browsers[0].disk.damage(StoreName::Queue, |_| 0);
    open(&mut world);
    world.pass(5_000.0);
    world.tab(maker).mutate("upsert", &note("b"));
    world.settle();
    let end = world.tabs[&maker].ends.get(&call);
    assert_eq!(end, Some(&Outcome::Uncertain));
}

/// A mutator whose replays are refused.
fn once(client: &mut Client, tx: TxId, arg: &Value, _: usize, reason: RunReason) -> Progress {
    if reason == RunReason::Rebase {
        return Progress::Done(Err(thrown("once only")));
    }
    let written = client.write(tx, "note", WriteOp::Upsert, &arg["row"].to_string());
    Progress::Done(written.map_err(|error| thrown(error.to_string())))
}

/// A server that takes writes.
fn crud_world() -> World {
    let mutators = [MUTATORS, &[("once", once as Mutator)]].concat();
    let mut world = World::new(SCHEMA, &mutators, notes::server());
    world.server.mode = Some(json!({"queries": "ast", "mutations": "crud", "version": 1}));
    world
}

#[test]
fn a_write_that_its_mutator_refused_is_listed_as_failed_after_a_reload() {
    let mut world = crud_world();
    let id = open(&mut world);
    world.network_down();
    world.tab(id).mutate("once", &note("a"));
    world.settle();
    world.kill_tab(id);
    let sending = open(&mut world);
    world.tab(sending).manual_storage = true;
    world.network_up();
    // It dies when the server has it, and before the answer is stored.
    loop {
        world.pass(100.0);
        if !world.server.executed.is_empty() {
            break;
        }
        let storing = world.tab(sending);
        if storing.commit_one() {
            storing.hear_one();
        }
        storing.pump();
    }
    world.kill_tab(sending);
    assert_eq!(world.server.executed.len(), 1);
    assert_eq!(world.server.executed[0].argument, "[]", "without writes");
    for _ in 0..2 {
        let id = open(&mut world);
        world.pass(60_000.0);
        let ends = listed(&world, id);
        assert_eq!(ends.len(), 1);
        assert_eq!(failed(ends[0].as_ref()), "once only");
        world.kill_tab(id);
    }
}

/// Writes of the deprecated calls go out as writes, also where the server takes calls.
#[test]
fn a_deprecated_write_that_may_have_been_sent_keeps_what_it_writes() {
    let mutators = [MUTATORS, &[("_zero_crud", once as Mutator)]].concat();
    let mut world = World::new(SCHEMA, &mutators, notes::server());
    let id = open(&mut world);
    world.network_down();
    world.tab(id).mutate("_zero_crud", &note("a"));
    world.settle();
    // It dies when storage says that it is about to be sent, and before it is.
    world.tab(id).manual_storage = true;
    world.network_up();
    world.pass(5_000.0);
    let dying = world.tab(id);
    while dying.commit_one() {}
    world.kill_tab(id);
    assert_eq!(world.server.executed, []);
    let id = open(&mut world);
    world.pass(60_000.0);
    assert_eq!(world.server.executed.len(), 1);
    assert_eq!(world.server.rows.table("note").len(), 1);
    assert_eq!(listed(&world, id), []);
}

#[test]
fn what_a_tab_may_have_sent_with_its_writes_is_not_sent_without_them_by_another() {
    let mut world = crud_world();
    let (maker, heir) = (open(&mut world), open(&mut world));
    world.tab(maker).mutate("upsert", &note("a"));
    world.settle();
    assert_eq!(world.server.executed.len(), 1);
    // On its way when the network goes down; in the other tab the replay refuses it.
    world.tab(maker).mutate("once", &note("b"));
    world.network_down();
    world.settle();
    world.kill_tab(maker);
    world.network_up();
    world.pass(60_000.0);
    assert_eq!(world.server.executed.len(), 2);
    assert_eq!(world.server.rows.table("note").len(), 2, "both are there");
    assert_eq!(listed(&world, heir), []);
}

#[test]
fn a_refused_write_that_is_stored_with_one_that_was_sent_does_not_count_as_sent() {
    let mut world = crud_world();
    let (id, other) = (open(&mut world), open(&mut world));
    for id in [id, other] {
        world.cut_off.insert(id);
        world.break_tab(id);
    }
    world.tab(id).storage_fails = true;
    world.tab(id).mutate("upsert", &note("a"));
    // It is sent, and the server does not take it yet.
    world.server.rate_limited = true;
    world.cut_off.remove(&id);
    world.pass(60_000.0);
    assert!(world.server.received.contains(&"push".to_owned()));
    world.server.rate_limited = false;
    world.cut_off.insert(id);
    world.break_tab(id);
    world.tab(id).mutate("once", &note("b"));
    // A write of the other one is shown, so that those of this one run again.
    world.tab(other).mutate("upsert", &note("c"));
    world.settle();
    world.tab(id).storage_fails = false;
    world.pass(30_000.0);
    world.kill_tab(id);
    world.cut_off.clear();
    world.pass(60_000.0);
    assert_eq!(world.server.executed.len(), 3);
    let ends = listed(&world, other);
    assert_eq!(ends.len(), 1);
    assert_eq!(failed(ends[0].as_ref()), "once only");
}

/// A call that was stored for a server that takes calls; sent to it as well, if `sent`, and not taken.
fn stored_for_calls(mutator: &str, sent: bool) -> World {
    let mut world = crud_world();
    let takes_writes = world.server.mode.take();
    world.server.mode = Some(json!({"queries": "named", "mutations": "custom", "version": 1}));
    let id = open(&mut world);
    world.network_down();
    world.tab(id).mutate(mutator, &note("a"));
    world.settle();
    if sent {
        world.server.rate_limited = true;
        world.network_up();
        world.pass(30_000.0);
        assert!(world.server.received.contains(&"push".to_owned()));
        world.network_down();
        world.server.rate_limited = false;
    }
    world.kill_tab(id);
    world.server.mode = takes_writes;
    world
}

#[test]
fn a_stored_call_is_sent_as_writes_to_a_server_that_takes_no_calls_any_more() {
    for sent in [false, true] {
        let mut world = stored_for_calls("upsert", sent);
        world.network_up();
        let id = open(&mut world);
        world.pass(60_000.0);
        let executed = &world.server.executed;
        assert_eq!(executed.len(), 1);
        assert!(
            executed[0].argument.contains("upsert"),
            "{}",
            executed[0].argument
        );
        assert_eq!(listed(&world, id), []);
    }
}

#[test]
fn a_stored_call_whose_writes_nobody_knows_is_no_success_at_a_server_that_takes_no_calls() {
    for sent in [false, true] {
        let mut world = stored_for_calls("once", sent);
        world.network_up();
        let id = open(&mut world);
        world.pass(60_000.0);
        assert_eq!(world.server.executed.len(), 1);
        assert_eq!(world.server.executed[0].argument, "[]");
        let ends = listed(&world, id);
        assert_eq!(ends.len(), 1, "sent: {sent}");
        match sent {
            false => assert_eq!(failed(ends[0].as_ref()), "once only"),
            true => assert_eq!(ends[0], Some(Outcome::Uncertain)),
        }
    }
}

thread_local! {
    static REFUSES: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// A mutator whose replays are refused now and then.
fn moody(client: &mut Client, tx: TxId, arg: &Value, _: usize, reason: RunReason) -> Progress {
    if reason == RunReason::Rebase && REFUSES.get() {
        return Progress::Done(Err(thrown("not now")));
    }
    let written = client.write(tx, "note", WriteOp::Upsert, &arg["row"].to_string());
    Progress::Done(written.map_err(|error| thrown(error.to_string())))
}

#[test]
fn a_refusal_that_was_about_to_be_sent_counts_for_nothing_in_a_new_group() {
    let mutators = [MUTATORS, &[("moody", moody as Mutator)]].concat();
    let mut world = World::new(SCHEMA, &mutators, notes::server());
    world.server.mode = Some(json!({"queries": "ast", "mutations": "crud", "version": 1}));
    let (id, other) = (open(&mut world), open(&mut world));
    world.network_down();
    let call = world.tab(id).mutate("moody", &note("a"));
    world.settle();
    REFUSES.set(true);
    // A write of the other one is shown, so that this one runs again.
    world.tab(other).mutate("upsert", &note("b"));
    world.pass(2_000.0);
    // Storage does not note how it is about to end.
    world.tab(id).storage_fails = true;
    world.cut_off.insert(other);
    world.network_up();
    world.pass(4_000.0);
    assert_eq!(world.server.executed.len(), 0);
    world.server.forget_all();
    world.break_tab(id);
    world.tab(id).storage_fails = false;
    REFUSES.set(false);
    world.pass(60_000.0);
    let executed = &world.server.executed;
    assert!(executed.iter().all(|done| done.argument != "[]"));
    assert_eq!(executed.len(), 2);
    assert_eq!(world.tabs[&id].ends.get(&call), Some(&Outcome::Confirmed));
    assert_eq!(listed(&world, id), []);
}

/// Found as seed 2007425.
#[test]
fn a_write_that_was_sent_and_taken_is_no_failure_to_its_maker_who_refuses_it_later() {
    let mutators = [MUTATORS, &[("moody", moody as Mutator)]].concat();
    let mut world = World::new(SCHEMA, &mutators, notes::server());
    world.server.mode = Some(json!({"queries": "ast", "mutations": "crud", "version": 1}));
    REFUSES.set(false);
    let (maker, other) = (open(&mut world), open(&mut world));
    for id in [maker, other] {
        world.cut_off.insert(id);
        world.break_tab(id);
    }
    let call = world.tab(maker).mutate("moody", &note("a"));
    world.settle();
    // A page with newer code sends it, and leaves no rows to these.
    let drain = notes::next_release(Role::Draining);
    world.open_tab_as(0, 0.0, drain, |_| {});
    world.pass(30_000.0);
    assert_eq!(world.server.rows.table("note").len(), 1);
    // A write of the other one is shown, so that this one runs again.
    REFUSES.set(true);
    world.tab(other).mutate("upsert", &note("b"));
    world.pass(2_000.0);
    world.cut_off.clear();
    world.pass(60_000.0);
    let end = world.tabs[&maker].ends.get(&call);
    assert_eq!(end, Some(&Outcome::Confirmed));
    REFUSES.set(false);
}

#[test]
fn a_refused_write_that_is_drained_where_nobody_can_run_it_is_no_success() {
    let mut world = crud_world();
    let (id, other) = (open(&mut world), open(&mut world));
    world.network_down();
    world.tab(id).storage_fails = true;
    world.tab(id).mutate("once", &note("a"));
    // A write of the other one is shown, so that this one runs again before it is stored.
    world.tab(other).mutate("upsert", &note("b"));
    world.pass(2_000.0);
    world.tab(id).storage_fails = false;
    world.pass(30_000.0);
    world.kill_tab(id);
    world.kill_tab(other);
    let drain = notes::next_release(Role::Draining);
    let draining = world.open_tab_as(0, 0.0, drain, |_| {});
    world.network_up();
    world.pass(60_000.0);
    let executed = &world.server.executed;
    let writes: Vec<bool> = executed.iter().map(|done| done.argument != "[]").collect();
    assert_eq!(writes, [true, false]);
    let ends = listed(&world, draining);
    assert_eq!(ends.len(), 1);
    assert!(failed(ends[0].as_ref()).contains("are not known"));
}

/// A tab sleeps so long that another one sends its write and forgets its client; then the server forgets them all.
fn forgotten_in_its_sleep(fault: DiskFault, later: usize, heals_late: bool) {
    let mut world = world();
    world.browsers[0].has_locks = false;
    let (maker, other) = (open(&mut world), open(&mut world));
    world.cut_off.insert(maker);
    world.break_tab(maker);
    let making = world.tab(maker);
    making.next_fault = fault;
    let call = making.mutate("upsert", &note("a"));
    making.frozen = true;
    *world.skews.entry(other).or_default() += 90_000_000.0;
    world.pass(200_000.0);
    assert_eq!(world.server.executed.len(), 1, "the other tab has sent it");
    world.kill_tab(other);
    world.server.forget_all();
    let waking = world.tab(maker);
    waking.frozen = false;
    waking.storage_fails = heals_late;
    for _ in 0..later {
        waking.mutate("upsert", &note("b"));
    }
    world.settle();
    world.cut_off.clear();
    world.settle();
    world.tab(maker).storage_fails = false;
    world.pass(60_000.0);
    let executed = world.server.executed.len();
    assert_eq!(executed, 1 + later, "{fault:?}: each once");
    let end = world.tabs[&maker].ends.get(&call);
    let is_true = matches!(end, Some(Outcome::Uncertain | Outcome::Confirmed));
    assert!(is_true, "{fault:?}: {end:?}");
}

#[test]
fn what_was_sent_for_a_client_that_was_forgotten_in_its_sleep_is_not_issued_again() {
    for fault in [DiskFault::None, DiskFault::Unknown] {
        forgotten_in_its_sleep(fault, 0, false);
        forgotten_in_its_sleep(fault, 1, false);
        forgotten_in_its_sleep(fault, 0, true);
    }
}

#[test]
fn what_storage_could_not_take_before_the_group_was_forgotten_is_issued_again() {
    let mut world = world();
    let id = open(&mut world);
    world.cut_off.insert(id);
    world.break_tab(id);
    let making = world.tab(id);
    making.storage_fails = true;
    let call = making.mutate("upsert", &note("a"));
    world.server.forget_all();
    world.cut_off.clear();
    // It learns of the new group first.
    world.settle();
    world.tab(id).storage_fails = false;
    world.pass(60_000.0);
    assert_eq!(world.server.executed.len(), 1);
    let end = world.tabs[&id].ends.get(&call);
    assert_eq!(end, Some(&Outcome::Confirmed));
}
