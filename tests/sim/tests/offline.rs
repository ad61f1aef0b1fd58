//! What is kept while the server is away, the page is gone, storage fails or the server has forgotten the group.

use landfall_client::{ConnectionState, Outcome};
use landfall_sim::issues::{ISSUES, WITH_COMMENTS, issue, named, titles, world};
use landfall_sim::world::World;
use landfall_store::StoreName;
use serde_json::json;

#[test]
fn reopened_offline_rows_and_pending_writes_are_there_and_are_sent_once_when_the_server_is_back() {
    let mut world = world();
    let tab = world.open_tab();
    world
        .tabs
        .get_mut(&tab)
        .expect("open")
        .view(ISSUES, named("all"));
    world.settle();
    world.network_down();
    let t = world.tabs.get_mut(&tab).expect("open");
    for n in 3..103 {
        let call = t.mutate("create", &issue(&n.to_string(), &format!("issue {n}")));
        assert_eq!(t.durable.get(&call), Some(&Ok(())));
    }
    t.mutate("rename", &issue("1", "eins"));
    world.kill_tab(tab);
    let tab = world.open_tab();
    let view = world
        .tabs
        .get_mut(&tab)
        .expect("open")
        .view(ISSUES, named("all"));
    world.settle();
    let seen = titles(&world, tab, view);
    assert_eq!((seen.len(), seen[0].as_str()), (102, "eins"));
    assert_eq!(
        world.tabs[&tab].decoder.status(view.0),
        0,
        "not complete without the server"
    );
    assert_eq!(world.server.applied().len(), 0);
    world.network_up();
    world.pass(60_000.0);
    assert_eq!(world.server.applied().len(), 101);
    assert!(
        world
            .server
            .applied()
            .windows(2)
            .all(|pair| pair[0].1 + 1 == pair[1].1),
        "in order, once"
    );
    assert_eq!(world.server.rows.table("issues").len(), 102);
    assert!(world.tabs[&tab].client.mutations().is_empty());
    assert_eq!(world.tabs[&tab].decoder.status(view.0), 1);
    assert!(
        world.server.received.contains(&"deleteClients".to_owned()),
        "the dead tab is named to the server"
    );
}

#[test]
fn a_long_queue_goes_out_in_several_turns_of_the_page() {
    let mut world = world();
    let tab = world.open_tab();
    world.tab(tab).view(ISSUES, named("all"));
    world.settle();
    world.network_down();
    for n in 3..1003 {
        let title = format!("issue {n}");
        world
            .tab(tab)
            .mutate("create", &issue(&n.to_string(), &title));
    }
    world.tab(tab).most_sent = 0;
    world.network_up();
    world.pass(60_000.0);
    let applied = world.server.applied();
    assert_eq!(applied.len(), 1000);
    assert!(
        applied.windows(2).all(|pair| pair[0].1 + 1 == pair[1].1),
        "in order, once"
    );
    assert!(world.tabs[&tab].client.mutations().is_empty());
    assert_eq!(world.tabs[&tab].most_sent, 1, "100 mutations at a time");
}

#[test]
fn writes_go_on_while_the_connection_is_away_and_arrive_once() {
    let mut world = world();
    let tab = world.open_tab();
    let view = world
        .tabs
        .get_mut(&tab)
        .expect("open")
        .view(ISSUES, named("all"));
    world.settle();
    world.network_down();
    world.pass(70_000.0);
    assert!(matches!(
        world.tabs[&tab].connection,
        Some(ConnectionState::Disconnected { .. })
    ));
    let t = world.tabs.get_mut(&tab).expect("open");
    let call = t.mutate("create", &issue("3", "three"));
    assert_eq!(t.local[&call], Ok(1), "offline does not refuse writes");
    t.mutate("bump", &json!({"id": "1"}));
    world.settle();
    world.server.commit(|rows| {
        rows.put(
            "issues",
            json!({"id": "1", "title": "uno", "sort_rank": 10, "done": true}),
        )
    });
    world.network_up();
    world.pass(60_000.0);
    assert_eq!(titles(&world, tab, view), ["uno", "zwei ü 😀", "three"]);
    assert_eq!(world.server.applied().len(), 2);
    assert_eq!(world.tabs[&tab].decoder.json(view.0)[0]["rank"], json!(11));
}

#[test]
fn two_tabs_show_each_others_writes_offline() {
    let mut world = world();
    let (a, b) = (world.open_tab(), world.open_tab());
    let view_a = world
        .tabs
        .get_mut(&a)
        .expect("open")
        .view(ISSUES, named("all"));
    let view_b = world
        .tabs
        .get_mut(&b)
        .expect("open")
        .view(ISSUES, named("all"));
    world.settle();
    world.network_down();
    world
        .tabs
        .get_mut(&a)
        .expect("open")
        .mutate("create", &issue("3", "from a"));
    world.settle();
    world
        .tabs
        .get_mut(&b)
        .expect("open")
        .mutate("rename", &issue("3", "from b"));
    world.settle();
    assert_eq!(titles(&world, a, view_a), ["one", "zwei ü 😀", "from b"]);
    assert_eq!(titles(&world, b, view_b), ["one", "zwei ü 😀", "from b"]);
    world.kill_tab(a);
    world.network_up();
    world.pass(60_000.0);
    assert_eq!(titles(&world, b, view_b), ["one", "zwei ü 😀", "from b"]);
    assert_eq!(
        world.server.applied().len(),
        2,
        "the dead tab's write was sent by the living one"
    );
    assert!(world.tabs[&b].client.mutations().is_empty());
}

#[test]
fn a_server_that_forgot_the_group_gets_the_unsent_writes_under_a_new_one() {
    let mut world = world();
    let tab = world.open_tab();
    let view = world
        .tabs
        .get_mut(&tab)
        .expect("open")
        .view(ISSUES, named("all"));
    world.settle();
    world.network_down();
    world
        .tabs
        .get_mut(&tab)
        .expect("open")
        .mutate("create", &issue("3", "three"));
    let t = &world.tabs[&tab];
    let old_client = t.client.client_id().to_owned();
    let group = t
        .notes
        .iter()
        .find(|note| note.starts_with("Ready"))
        .expect("ready")
        .clone();
    let group = group.split("client_group_id: \"").nth(1).expect("named")[..18].to_owned();
    world.server.forget(&group);
    world.network_up();
    world.pass(60_000.0);
    assert_ne!(world.tabs[&tab].client.client_id(), old_client);
    assert_eq!(titles(&world, tab, view), ["one", "zwei ü 😀", "three"]);
    assert_eq!(world.server.applied().len(), 1);
    assert!(world.tabs[&tab].client.mutations().is_empty());
    assert_eq!(
        world.tabs[&tab].connection,
        Some(ConnectionState::Connected)
    );
}

#[test]
fn a_write_that_a_dead_tab_stored_without_announcing_it_is_found_and_sent() {
    let mut world = world();
    let (a, b) = (world.open_tab(), world.open_tab());
    world.settle();
    world.network_down();
    let t = world.tabs.get_mut(&a).expect("open");
    t.mutate("create", &issue("3", "three"));
    // Killed after the commit, before the announcement.
    t.announced.clear();
    world.kill_tab(a);
    world.network_up();
    world.pass(60_000.0);
    assert_eq!(world.server.applied().len(), 1);
    assert!(world.tabs[&b].client.mutations().is_empty());
}

#[test]
fn two_tabs_of_a_forgotten_group_meet_in_one_new_group() {
    let mut world = world();
    let (a, b) = (world.open_tab(), world.open_tab());
    let view = world
        .tabs
        .get_mut(&b)
        .expect("open")
        .view(ISSUES, named("all"));
    world.settle();
    world.network_down();
    for (tab, id) in [(a, "3"), (b, "4"), (a, "5")] {
        let call = world
            .tabs
            .get_mut(&tab)
            .expect("open")
            .mutate("create", &issue(id, id));
        assert_eq!(world.tabs[&tab].durable.get(&call), Some(&Ok(())));
        world.settle();
    }
    world.server.forget_all();
    world.network_up();
    world.pass(60_000.0);
    assert_eq!(world.server.applied().len(), 3, "each once");
    assert_eq!(titles(&world, b, view), ["one", "zwei ü 😀", "3", "4", "5"]);
    for tab in [a, b] {
        assert!(world.tabs[&tab].client.mutations().is_empty());
        assert_eq!(
            world.tabs[&tab].connection,
            Some(ConnectionState::Connected)
        );
        // Every call of the page gets its outcome, whatever its mutation is called now.
        assert!(
            world.tabs[&tab]
                .outcomes
                .values()
                .all(|o| *o == Outcome::Confirmed)
        );
        assert!(!world.tabs[&tab].outcomes.is_empty());
    }
}

#[test]
fn storage_that_fails_while_the_server_has_forgotten_the_group_repeats_nothing() {
    let mut world = world();
    let tab = world.open_tab();
    world.settle();
    world.network_down();
    world
        .tabs
        .get_mut(&tab)
        .expect("open")
        .mutate("create", &issue("3", "three"));
    world.server.forget_all();
    world.network_up();
    world.tabs.get_mut(&tab).expect("open").storage_fails = true;
    world.pass(4_000.0);
    assert_eq!(
        world.server.applied().len(),
        0,
        "not from memory: storage still holds it"
    );
    world.tabs.get_mut(&tab).expect("open").storage_fails = false;
    world.pass(60_000.0);
    world.kill_tab(tab);
    world.open_tab();
    world.pass(60_000.0);
    assert_eq!(world.server.applied().len(), 1);
}

#[test]
fn a_write_that_cannot_be_stored_is_told_and_sent_all_the_same() {
    let mut world = world();
    let tab = world.open_tab();
    world.settle();
    let t = world.tabs.get_mut(&tab).expect("open");
    t.storage_fails = true;
    let call = t.mutate("create", &issue("3", "three"));
    assert!(matches!(t.durable.get(&call), Some(Err(_))));
    assert!(
        t.notes
            .iter()
            .any(|note| note.starts_with("StorageProblem"))
    );
    world.settle();
    assert_eq!(world.server.applied().len(), 1);
    assert_eq!(
        world.tabs[&tab].outcomes.values().collect::<Vec<_>>(),
        [&Outcome::Confirmed]
    );
}

#[test]
fn a_reload_keeps_what_the_server_has_answered() {
    let mut world = world();
    let tab = world.open_tab();
    world
        .tabs
        .get_mut(&tab)
        .expect("open")
        .view(ISSUES, named("all"));
    world.settle();
    world.kill_tab(tab);
    let tab = world.open_tab();
    let view = world
        .tabs
        .get_mut(&tab)
        .expect("open")
        .view(ISSUES, named("all"));
    let t = &world.tabs[&tab];
    assert_eq!(
        titles(&world, tab, view).len(),
        2,
        "rows before the connection"
    );
    assert_eq!(t.decoder.status(view.0), 0);
    world.settle();
    assert_eq!(world.tabs[&tab].decoder.status(view.0), 1);
}

#[test]
fn closing_stores_what_was_made_and_ends_what_was_waiting() {
    let mut world = world();
    let tab = world.open_tab();
    world.settle();
    world.network_down();
    let t = world.tabs.get_mut(&tab).expect("open");
    t.storage_stalled = true;
    t.mutate("create", &issue("3", "three"));
    t.mutate("create", &issue("4", "four"));
    let slow = t.mutate("bump", &json!({"id": "1"}));
    t.client.close(t.now);
    t.storage_stalled = false;
    t.pump();
    assert!(
        matches!(t.local.get(&slow), Some(Err(_))),
        "told that it is over"
    );
    assert!(
        t.notes.last().is_some_and(|note| note == "Closed")
            || t.notes.contains(&"Closed".to_owned())
    );
    assert!(t.client.mutate(t.now, "create", "[null]").is_err());
    world.kill_tab(tab);
    let tab = world.open_tab();
    world.settle();
    assert_eq!(world.tabs[&tab].client.mutations().len(), 2);
}

/// Records and pages in storage.
fn stored(world: &World) -> (usize, usize) {
    let store = world.browsers[0].disk.store();
    // One of the pages' values names the queries.
    let pages = store.values(StoreName::Pages).len().saturating_sub(1);
    (store.values(StoreName::Log).len(), pages)
}

#[test]
fn a_store_that_is_mostly_log_is_written_anew_from_memory() {
    let mut world = world();
    let tab = world.open_tab();
    let t = world.tabs.get_mut(&tab).expect("open");
    t.view(ISSUES, named("all"));
    world.settle();
    assert_eq!(stored(&world), (1, 0));
    // More than a log may be long, and nearly all of the store.
    let text = "x".repeat(1000);
    world.server.commit(|rows| {
        for number in 0..5000 {
            let id = format!("c{number:05}");
            rows.put("comment", json!({"id": id, "issueID": "1", "text": text}));
        }
    });
    world.settle();
    let (log, pages) = stored(&world);
    assert_eq!(log, 0);
    assert!(pages > 5, "{pages} pages");
    // What another tab shows before it hears from the server.
    world.kill_tab(tab);
    world.network_down();
    let tab = world.open_tab();
    let t = world.tabs.get_mut(&tab).expect("open");
    let view = t.view(WITH_COMMENTS, named("all"));
    world.settle();
    let shown = world.tabs[&tab].decoder.json(view.0);
    let comments = shown[0]["comments"].as_array().expect("a list");
    assert_eq!(comments.len(), 5001);
}
