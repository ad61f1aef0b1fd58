//! Tabs of one group, each a sentence about what they owe each other; most went wrong in a simulated world first.

use landfall_client::{CallId, ConnectionState, Event, Outcome};
use landfall_sim::disk::DiskFault;
use landfall_sim::notes::{QUERIES, note, open, world};
use landfall_sim::world::{TabId, World};
use landfall_store::StoreName;
use serde_json::json;

/// What a tab shows of all notes.
#[track_caller]
fn check(world: &mut World, tab: TabId, expected: &[&str]) {
    let tab = world.tab(tab);
    let rows = tab.client.run(QUERIES[0]).expect("the query is good");
    let rows = tab.decoder.answer(&rows, QUERIES[0]);
    let ids: Vec<&str> = rows
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|row| row["id"].as_str())
        .collect();
    assert_eq!(ids, expected);
}

#[test]
fn what_a_frozen_tab_has_stored_is_sent_by_another() {
    let mut world = world();
    let (frozen, other) = (open(&mut world), open(&mut world));
    world.cut_off.insert(frozen);
    world.break_tab(frozen);
    let tab = world.tab(frozen);
    tab.mutate("upsert", &note("a"));
    world.settle();
    world.tab(frozen).frozen = true;
    world.pass(60_000.0);
    assert_eq!(world.server.applied().len(), 1);
    check(&mut world, other, &["a"]);
    // It wakes, and is told once.
    world.cut_off.clear();
    world.tab(frozen).frozen = false;
    world.pass(60_000.0);
    assert_eq!(world.server.executed.len(), 1);
    let ends: Vec<&Outcome> = world.tabs[&frozen].ends.values().collect();
    assert_eq!(ends, [&Outcome::Confirmed]);
}

#[test]
fn a_frozen_tab_that_takes_care_of_the_dead_is_replaced() {
    let mut world = world();
    let (careful, dying) = (open(&mut world), open(&mut world));
    let other = open(&mut world);
    world.cut_off.insert(dying);
    world.break_tab(dying);
    world.tab(careful).frozen = true;
    let tab = world.tab(dying);
    tab.mutate("upsert", &note("a"));
    world.settle();
    world.kill_tab(dying);
    world.pass(60_000.0);
    assert_eq!(world.server.applied().len(), 1);
    check(&mut world, other, &["a"]);
}

#[test]
fn without_locks_what_a_dead_tab_has_stored_is_found_and_sent() {
    let mut world = world();
    world.browsers[0].has_locks = false;
    let (dying, other) = (open(&mut world), open(&mut world));
    world.network_down();
    let tab = world.tab(dying);
    tab.mutate("upsert", &note("a"));
    // Killed after the commit, before the announcement.
    tab.announced.clear();
    world.kill_tab(dying);
    world.network_up();
    world.pass(150_000.0);
    assert_eq!(world.server.applied().len(), 1);
    assert!(world.tabs[&other].client.mutations().is_empty());
}

#[test]
fn without_locks_a_client_that_was_silent_for_a_day_is_forgotten() {
    let mut world = world();
    world.browsers[0].has_locks = false;
    let dying = open(&mut world);
    world.kill_tab(dying);
    let other = open(&mut world);
    world.pass(100_000.0);
    assert!(!world.server.received.contains(&"deleteClients".to_owned()));
    *world.skews.entry(other).or_default() += 90_000_000.0;
    world.pass(200_000.0);
    assert!(world.server.received.contains(&"deleteClients".to_owned()));
}

#[test]
fn what_a_tab_stores_after_the_others_forgot_it_is_sent_when_it_has_died() {
    let mut world = world();
    world.browsers[0].has_locks = false;
    let (sleeper, other) = (open(&mut world), open(&mut world));
    world
        .tabs
        .get_mut(&sleeper)
        .expect("it lives")
        .mutate("upsert", &note("a"));
    world.settle();
    assert_eq!(world.server.applied().len(), 1);
    world.tab(sleeper).frozen = true;
    *world.skews.entry(other).or_default() += 90_000_000.0;
    world.pass(200_000.0);
    assert!(world.server.received.contains(&"deleteClients".to_owned()));
    // Storage knows nothing of its first write any more, and the server says nothing more about it.
    world.network_down();
    let tab = world.tab(sleeper);
    tab.frozen = false;
    let call = tab.mutate("upsert", &note("b"));
    world.settle();
    assert_eq!(world.tabs[&sleeper].durable.get(&call), Some(&Ok(())));
    world.kill_tab(sleeper);
    world.kill_tab(other);
    let heir = open(&mut world);
    world.network_up();
    world.pass(90_000.0);
    assert_eq!(world.server.applied().len(), 2);
    assert!(world.tabs[&heir].client.mutations().is_empty());
    check(&mut world, heir, &["a", "b"]);
}

#[test]
fn a_tab_that_the_others_forgot_learns_from_the_server_what_became_of_its_writes() {
    let mut world = world();
    world.browsers[0].has_locks = false;
    // Everything that comes is stored as a whole.
    world.slices = Some((300, 0));
    let lonely = open(&mut world);
    world.cut_off.insert(lonely);
    world.break_tab(lonely);
    let tab = world.tab(lonely);
    tab.mutate("upsert", &note("a"));
    world.settle();
    let other = open(&mut world);
    *world.skews.entry(other).or_default() += 90_000_000.0;
    world.pass(200_000.0);
    assert!(world.server.received.contains(&"deleteClients".to_owned()));
    // Its only write is over, and storage holds more than it knows of, but not that.
    let row = json!({"id": "b"});
    world.server.commit(|rows| rows.put("note", row));
    world.pass(10_000.0);
    world.cut_off.clear();
    world.pass(90_000.0);
    assert_eq!(world.server.applied().len(), 1);
    let tab = &world.tabs[&lonely];
    let ends: Vec<&Outcome> = tab.ends.values().collect();
    assert_eq!(ends, [&Outcome::Confirmed]);
    assert!(tab.client.mutations().is_empty());
    check(&mut world, lonely, &["a", "b"]);
}

#[test]
fn a_tab_that_missed_that_storage_was_emptied_stores_again_what_waits() {
    let mut world = world();
    let (first, second) = (open(&mut world), open(&mut world));
    world
        .tabs
        .get_mut(&first)
        .expect("it lives")
        .mutate("upsert", &note("a"));
    world.settle();
    world.network_down();
    let tab = world.tab(first);
    let waiting = tab.mutate("upsert", &note("b"));
    world.settle();
    world.browsers[0].disk.evict();
    // The second tab makes the group again; the first one finds its own writes gone when it stores the next.
    world
        .tabs
        .get_mut(&second)
        .expect("it lives")
        .mutate("upsert", &note("c"));
    world.settle();
    world.pass(10_000.0);
    let tab = world.tab(first);
    let next = tab.mutate("upsert", &note("d"));
    world.settle();
    let tab = &world.tabs[&first];
    assert_eq!(tab.durable.get(&waiting), Some(&Ok(())));
    assert_eq!(tab.durable.get(&next), Some(&Ok(())));
    let queue = world.browsers[0].disk.store().values(StoreName::Queue);
    assert_eq!(queue.len(), 3);
    world.kill_tab(first);
    world.kill_tab(second);
    let heir = open(&mut world);
    world.network_up();
    world.pass(90_000.0);
    assert_eq!(world.server.applied().len(), 4);
    assert!(world.tabs[&heir].client.mutations().is_empty());
    check(&mut world, heir, &["a", "b", "c", "d"]);
}

#[test]
fn a_tab_without_a_connection_follows_what_another_stores() {
    let mut world = world();
    let (online, offline) = (open(&mut world), open(&mut world));
    world.cut_off.insert(offline);
    world.break_tab(offline);
    world
        .server
        .commit(|rows| rows.put("note", json!({"id": "a"})));
    world.settle();
    check(&mut world, offline, &["a"]);
    // A failure that only the other was told of, too.
    let tab = world.tab(offline);
    let call = tab.mutate("refused", &note("b"));
    check(&mut world, offline, &["a", "b"]);
    world.pass(40_000.0);
    check(&mut world, offline, &["a"]);
    let end = world.tabs[&offline].ends.get(&call);
    assert!(matches!(end, Some(Outcome::Failed { .. })), "{end:?}");
    // Back online it goes on from there, and shows nothing twice.
    world.cut_off.clear();
    world.server.commit(|rows| rows.remove("note", "a"));
    world.pass(60_000.0);
    check(&mut world, offline, &[]);
    check(&mut world, online, &[]);
    assert_eq!(world.server.executed.len(), 1);
}

/// A tab that another one is ahead of by a thousand notes, which are stored as a whole; with its next slice it begins to
/// read them. The network is down.
fn behind(world: &mut World) -> (TabId, TabId, Vec<String>) {
    world.slices = Some((100, 0));
    let (online, offline) = (open(world), world.open_tab());
    world.cut_off.insert(offline);
    world.break_tab(offline);
    world.tab(offline).manual_work = true;
    let ids: Vec<String> = (0..1_000).map(|n| format!("n{n:04}")).collect();
    world.server.commit(|rows| {
        for id in &ids {
            rows.put("note", json!({"id": id}));
        }
    });
    world.settle();
    world.network_down();
    (online, offline, ids)
}

/// Lets a tab do the slices that it asks for; how many they were.
fn work(world: &mut World, id: TabId, most: usize) -> usize {
    let mut slices = 0;
    while slices < most && world.tab(id).work_one() {
        world.settle();
        slices += 1;
    }
    slices
}

#[test]
fn what_another_tab_has_stored_as_a_whole_is_read_in_slices() {
    let mut world = world();
    let (_, offline, ids) = behind(&mut world);
    let slices = work(&mut world, offline, usize::MAX);
    // A step of the reader each, and then those in which the rows are taken in.
    assert!(slices > 1_000 / 64 + 1_000 * 4 / 100, "{slices}");
    world.tab(offline).manual_work = false;
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    check(&mut world, offline, &ids);
}

#[test]
fn writes_that_are_made_while_what_another_tab_has_stored_is_read_are_not_taken_for_over() {
    let mut world = world();
    let (online, offline, ids) = behind(&mut world);
    assert_eq!(work(&mut world, offline, 5), 5);
    // What storage said of the queue was true before these.
    world.tab(offline).mutate("upsert", &note("x"));
    world.tab(online).mutate("upsert", &note("y"));
    world.settle();
    world.tab(offline).manual_work = false;
    world.settle();
    let mut expected: Vec<&str> = ids.iter().map(String::as_str).collect();
    expected.extend(["x", "y"]);
    check(&mut world, offline, &expected);
    assert_eq!(world.tabs[&offline].client.mutations().len(), 2);
}

#[test]
fn a_write_whose_answer_was_lost_keeps_its_place_before_later_ones() {
    let mut world = world();
    let (a, b) = (open(&mut world), open(&mut world));
    world.network_down();
    let tab = world.tab(a);
    tab.next_fault = DiskFault::Unknown;
    let call = tab.mutate("upsert", &note("a"));
    assert!(matches!(tab.durable.get(&call), Some(Err(_))));
    world.settle();
    let tab = world.tab(b);
    tab.mutate("remove", &note("a"));
    world.settle();
    world.pass(10_000.0);
    check(&mut world, a, &[]);
    check(&mut world, b, &[]);
}

#[test]
fn a_failure_that_another_tab_acknowledged_for_one_that_slept_is_not_taken_for_success() {
    let mut world = world();
    world.browsers[0].has_locks = false;
    let (a, _) = (open(&mut world), open(&mut world));
    world.network_down();
    let tab = world.tab(a);
    let call = tab.mutate("refused", &note("a"));
    tab.frozen = true;
    world.network_up();
    // Sent by the other tab; then the sleeping one counts as dead, and the failure is acknowledged in its name.
    world.pass(60_000.0);
    *world.skews.entry(2).or_default() += 90_000_000.0;
    world.pass(200_000.0);
    assert_eq!(world.server.executed.len(), 1);
    let acknowledged = "ackMutationResponses".to_owned();
    assert!(world.server.received.contains(&acknowledged));
    // It hears from the server before storage answers.
    let tab = world.tab(a);
    tab.frozen = false;
    tab.storage_stalled = true;
    world.pass(20_000.0);
    world.tab(a).storage_stalled = false;
    world.pass(60_000.0);
    let end = world.tabs[&a].ends.get(&call);
    assert!(matches!(end, Some(Outcome::Failed { .. })), "{end:?}");
}

/// A tab whose write may be stored or not sleeps while another begins a new group and sends what is stored.
#[test]
fn without_locks_a_tab_between_two_groups_sleeps_until_there_is_something_to_do() {
    let mut world = world();
    world.browsers[0].has_locks = false;
    let id = open(&mut world);
    let tab = world.tab(id);
    tab.storage_stalled = true;
    world.server.forget_all();
    // Storage does not answer for long; nobody is woken again and again meanwhile.
    world.pass(200_000.0);
    let tab = world.tab(id);
    tab.storage_stalled = false;
    world.pass(60_000.0);
    assert_eq!(world.tabs[&id].connection, Some(ConnectionState::Connected));
}

#[test]
fn a_failure_that_could_not_be_stored_is_stored_with_what_comes_next() {
    let mut world = world();
    let (a, b) = (open(&mut world), open(&mut world));
    let tab = world.tab(a);
    let call = tab.mutate("refused", &note("a"));
    assert_eq!(tab.durable.get(&call), Some(&Ok(())));
    world.cut_off.insert(a);
    world.lose_answers(a);
    assert_eq!(world.server.executed.len(), 1);
    world.tab(b).storage_fails = true;
    world.settle();
    world.tab(b).storage_fails = false;
    // Everything goes into storage with this one.
    let row = json!({"id": "b"});
    world.server.commit(|rows| rows.put("note", row));
    world.pass(40_000.0);
    check(&mut world, a, &["b"]);
    let end = world.tabs[&a].ends.get(&call);
    assert!(matches!(end, Some(Outcome::Failed { .. })), "{end:?}");
}

#[test]
fn a_failure_that_only_emptied_storage_knew_is_not_taken_for_success() {
    let mut world = world();
    world.browsers[0].has_locks = false;
    world.network_down();
    let a = open(&mut world);
    let tab = world.tab(a);
    let call = tab.mutate("refused", &note("a"));
    tab.frozen = true;
    world.network_up();
    let b = open(&mut world);
    *world.skews.entry(b).or_default() += 90_000_000.0;
    // The other tab takes it for dead, and acknowledges the failure in its name.
    world.pass(200_000.0);
    let acknowledged = "ackMutationResponses".to_owned();
    assert!(world.server.received.contains(&acknowledged));
    world.kill_tab(b);
    world.browsers[0].disk.evict();
    let tab = world.tab(a);
    tab.frozen = false;
    tab.mutate("upsert", &note("b"));
    world.pass(60_000.0);
    assert_eq!(world.tabs[&a].ends.get(&call), Some(&Outcome::Uncertain));
    let known = world.tabs[&a].client.mutations();
    assert_eq!(known.len(), 1, "the application can decide");
}

fn a_write_of_unknown_fate() -> (World, TabId, CallId) {
    let mut world = world();
    let (a, _) = (open(&mut world), open(&mut world));
    world.network_down();
    let tab = world.tab(a);
    tab.next_fault = DiskFault::Unknown;
    let call = tab.mutate("upsert", &note("a"));
    assert!(matches!(tab.durable.get(&call), Some(Err(_))));
    tab.frozen = true;
    world.server.forget_all();
    world.network_up();
    world.pass(60_000.0);
    assert_eq!(world.server.executed.len(), 1, "the other tab has sent it");
    (world, a, call)
}

#[test]
fn a_write_that_may_be_stored_is_not_issued_again_by_a_tab_that_wakes() {
    let (mut world, a, call) = a_write_of_unknown_fate();
    world.tab(a).frozen = false;
    world.pass(60_000.0);
    assert_eq!(world.server.executed.len(), 1);
    assert_eq!(world.tabs[&a].ends.get(&call), Some(&Outcome::Uncertain));
    let infos = world.tabs[&a].client.mutations();
    assert_eq!(infos.len(), 1, "the application can decide: {infos:?}");
    check(&mut world, a, &["a"]);
}

#[test]
fn a_write_that_may_be_stored_is_not_issued_again_from_memory() {
    let (mut world, a, call) = a_write_of_unknown_fate();
    world.browsers[0].disk.damage(StoreName::Head, |_| 0);
    world.tab(a).frozen = false;
    world.pass(60_000.0);
    assert_eq!(world.server.executed.len(), 1);
    assert_eq!(world.tabs[&a].ends.get(&call), Some(&Outcome::Uncertain));
}

#[test]
fn a_failure_of_a_write_that_could_not_be_stored_is_not_taken_for_success() {
    let mut world = world();
    let (a, b) = (open(&mut world), open(&mut world));
    let tab = world.tab(a);
    tab.storage_fails = true;
    let call = tab.mutate("refused", &note("a"));
    assert!(matches!(tab.durable.get(&call), Some(Err(_))));
    world.cut_off.insert(a);
    world.lose_answers(a);
    assert_eq!(world.server.executed.len(), 1);
    // The other tab is told of a failure of something it has never heard of, and stores that it is over.
    world.settle();
    world.tab(a).storage_fails = false;
    world
        .server
        .commit(|rows| rows.put("note", json!({"id": "b"})));
    world.pass(40_000.0);
    check(&mut world, a, &["b"]);
    let end = world.tabs[&a].ends.get(&call);
    assert!(matches!(end, Some(Outcome::Failed { .. })), "{end:?}");
    // Nobody else shows it: they do not know what it was.
    assert!(world.tabs[&b].client.mutations().is_empty());
    world.kill_tab(b);
    let b = open(&mut world);
    assert!(world.tabs[&b].client.mutations().is_empty());
}

#[test]
fn a_token_that_comes_while_the_old_one_is_refused_is_tried() {
    let mut world = world();
    world.server.set_token(Some("new".into()));
    world.token = Some("old".into());
    let id = world.open_tab();
    // The socket is opening with the old token.
    let tab = world.tab(id);
    tab.client.connect(tab.now, Some("new".into()));
    tab.pump();
    world.pass(5_000.0);
    assert_eq!(world.tabs[&id].connection, Some(ConnectionState::Connected));
}

#[test]
fn an_export_holds_rows_and_pending_writes() {
    let mut world = world();
    let id = open(&mut world);
    world
        .server
        .commit(|rows| rows.put("note", json!({"id": "a", "n": 1})));
    world.settle();
    world.network_down();
    let tab = world.tab(id);
    tab.mutate("upsert", &note("b"));
    let export = tab.export();
    assert_eq!(export["tables"]["note"][0]["id"], json!("a"));
    assert_eq!(export["tables"]["note"].as_array().map(Vec::len), Some(1));
    assert_eq!(export["mutations"][0]["name"], json!("upsert"));
    assert_eq!(export["clientID"], json!(tab.client.client_id()));
}

#[test]
fn what_another_tab_sent_for_one_that_slept_is_not_sent_again_in_a_new_group() {
    let mut world = world();
    world.browsers[0].has_locks = false;
    let slept = open(&mut world);
    world.network_down();
    let tab = world.tab(slept);
    let call = tab.mutate("upsert", &note("a"));
    world.settle();
    world.tab(slept).frozen = true;
    // A tab a month later takes it for dead and sends its write, but does not live to store the answer.
    let month = 31.0 * 86_400_000.0;
    let other = world.open_tab_in(0, month);
    world
        .tabs
        .get_mut(&other)
        .expect("just opened")
        .manual_storage = true;
    world.network_up();
    loop {
        world.pass(100.0);
        if !world.server.executed.is_empty() {
            break;
        }
        let storing = world.tab(other);
        if storing.commit_one() {
            storing.hear_one();
        }
        storing.pump();
    }
    world.kill_tab(other);
    world.server.forget_all();
    world.tab(slept).frozen = false;
    world.pass(60_000.0);
    assert_eq!(world.server.executed.len(), 1, "sent once");
    let ended = world.tabs[&slept].ends.get(&call);
    assert_eq!(ended, Some(&Outcome::Uncertain));
}

/// Storage carries out and answers what it was asked, one after another, with time for what follows.
fn store_slowly(world: &mut World, id: TabId) {
    while world.tab(id).commit_one() {
        let tab = world.tab(id);
        tab.hear_one();
        tab.pump();
        world.settle();
    }
}

#[test]
fn a_tab_whose_lock_is_granted_before_storage_has_begun_its_new_group_takes_no_living_tab_for_dead()
{
    let mut world = world();
    let first = open(&mut world);
    world.tab(first).manual_storage = true;
    world.server.forget_all();
    world.settle();
    // Its new client's lock is held by now.
    world.pass(200.0);
    store_slowly(&mut world, first);
    world.pass(20_000.0);
    store_slowly(&mut world, first);
    world.tab(first).manual_storage = false;
    world.tab(first).pump();
    let quiet = open(&mut world);
    world.pass(25.0 * 3_600_000.0);
    let lock = format!("client/{}", world.tabs[&quiet].client.client_id());
    assert!(world.tabs[&quiet].held.contains(&lock), "it lives");
    let deleted = |what: &String| what == "deleteClients";
    assert!(!world.server.received.iter().any(deleted));
}

/// How often a page that starts asks storage.
fn requests_at_start(world: &mut World, cache_url: Option<&str>) -> usize {
    let id = world.open_tab_as(
        0,
        0.0,
        |options| options.cache_url = cache_url.map(str::to_owned),
        |tab| tab.manual_storage = true,
    );
    let mut requests = 0;
    while world.step() || world.tab(id).commit_one() {
        requests += 1;
        let tab = world.tab(id);
        tab.hear_one();
        tab.pump();
    }
    requests
}

#[test]
fn pages_that_were_reloaded_often_while_offline_do_not_make_the_next_start_longer() {
    let mut world = world();
    world.network_down();
    for n in 0..30 {
        let id = open(&mut world);
        world.tab(id).mutate("upsert", &note(&n.to_string()));
        world.settle();
        world.kill_tab(id);
    }
    let requests = requests_at_start(&mut world, Some("http://server"));
    assert!(requests < 15, "{requests} requests");
    // What all of them left is found, and sent once.
    world.network_up();
    let id = open(&mut world);
    world.pass(60_000.0);
    assert_eq!(world.server.executed.len(), 30);
    assert_eq!(world.tabs[&id].client.mutations(), []);
}

#[test]
fn without_a_server_the_records_of_dead_pages_go_and_their_writes_stay() {
    let mut world = world();
    for n in 0..30 {
        let id = world.open_tab_as(0, 0.0, |options| options.cache_url = None, |_| {});
        if n == 0 {
            world.tab(id).mutate("upsert", &note("a"));
        }
        world.settle();
        world.kill_tab(id);
    }
    let records = world.browsers[0].disk.store().values(StoreName::Clients);
    assert!(records.len() <= 3, "{} records", records.len());
    let requests = requests_at_start(&mut world, None);
    assert!(requests < 15, "{requests} requests");
    let last = world.tabs.keys().next_back().copied().expect("it is open");
    check(&mut world, last, &["a"]);
}

/// Found as seed 101010980: its record was read before the locks were granted, and it was called gone by then.
#[test]
fn a_tab_whose_clock_is_far_off_hears_of_a_failure_that_another_has_acknowledged() {
    let mut world = world();
    let maker = world.open_tab_in(0, -31.0 * 86_400_000.0);
    let dead = open(&mut world);
    let name = format!("client/{}", world.tabs[&dead].client.client_id());
    world.kill_tab(dead);
    world.tab(maker).storage_fails = true;
    let call = world.tab(maker).mutate("refused", &note("b"));
    world.cut_off.insert(maker);
    world.lose_answers(maker);
    assert_eq!(world.server.executed.len(), 1);
    // It reads what the dead has left before it is granted its own lock.
    let other = world.open_tab();
    world.tab(other).event(Event::LockGranted { name });
    world.pass(30_000.0);
    let acknowledged = "ackMutationResponses".to_owned();
    assert!(world.server.received.contains(&acknowledged));
    world.kill_tab(other);
    world.tab(maker).storage_fails = false;
    world.cut_off.clear();
    world.pass(90_000.0);
    let ended = world.tabs[&maker].ends.get(&call);
    assert!(matches!(ended, Some(Outcome::Failed { .. })), "{ended:?}");
}
