//! The client end to end, against a scripted server: from a poke to a view, from a mutator to the server and back.

use landfall_client::{Client, ConnectionState, Effect, Event, Outcome, QuerySource};
use landfall_sim::decoder::IDLE_ROWS;
use landfall_sim::host::thrown;
use landfall_sim::issues::{ISSUES, SCHEMA, WITH_COMMENTS, issue, named, titles, world};
use landfall_sim::server::Server;
use landfall_sim::world::World;
use serde_json::{Value, json};

#[test]
fn a_poke_becomes_a_view() {
    let mut world = world();
    let tab = world.open_tab();
    let t = world.tabs.get_mut(&tab).expect("open");
    let view = t.view(ISSUES, named("all"));
    assert_eq!(t.decoder.json(view.0), json!([]));
    assert_eq!(t.decoder.status(view.0), 0);
    world.settle();
    let t = &world.tabs[&tab];
    assert_eq!(t.connection, Some(ConnectionState::Connected));
    assert_eq!(
        t.decoder.json(view.0),
        json!([{"done": false, "id": "1", "rank": 1, "title": "one"},
               {"done": null, "id": "2", "rank": null, "title": "zwei ü 😀"}])
    );
    assert_eq!(t.decoder.status(view.0), 1, "complete");
    assert_eq!(world.server.received, ["initConnection"]);
}

#[test]
fn a_text_in_pieces_shows_nothing_before_its_end_and_is_void_without_it() {
    let mut world = world();
    world.slices = Some((1, 0));
    let tab = world.open_tab();
    let view = world.tabs.get_mut(&tab).expect("open");
    let view = view.view(ISSUES, named("all"));
    world.settle();
    let before = titles(&world, tab, view);
    let t = world.tabs.get_mut(&tab).expect("open");
    (t.piece_sizes, t.manual_work) = (vec![3, 1, 4], true);
    world.server.commit(|rows| {
        rows.put("issues", json!({"id": "2", "title": "zwo 🦀"}));
        rows.put("issues", json!({"id": "3", "title": "drei"}));
    });
    world.settle();
    let t = world.tabs.get_mut(&tab).expect("open");
    let mut slices = 0;
    while slices < 100 && t.work_one() {
        t.pump();
        slices += 1;
    }
    assert_eq!(slices, 100, "there is more to read");
    assert_eq!(titles(&world, tab, view), before);
    // What follows is behind it, and so is the end of the connection.
    world.server.commit(|rows| rows.remove("issues", "1"));
    world.settle();
    world.network_down();
    world.settle();
    assert_eq!(titles(&world, tab, view), before);
    let t = world.tabs.get_mut(&tab).expect("open");
    t.manual_work = false;
    t.pump();
    // The end came before the second poke was applied; it comes again.
    assert_eq!(titles(&world, tab, view), ["one", "zwo 🦀", "drei"]);
    world.network_up();
    world.pass(60_000.0);
    assert_eq!(titles(&world, tab, view), ["zwo 🦀", "drei"]);

    let t = world.tabs.get_mut(&tab).expect("open");
    t.manual_work = true;
    // A connection that the client itself gives up takes the rest of the text with it.
    world
        .server
        .commit(|rows| rows.put("issues", json!({"id": "4", "title": "vier"})));
    world.settle();
    let t = world.tabs.get_mut(&tab).expect("open");
    assert!(t.work_one());
    t.event(Event::Visibility { visible: false });
    t.pass(310_000.0);
    assert_ne!(t.connection, Some(ConnectionState::Connected));
    t.manual_work = false;
    t.event(Event::Visibility { visible: true });
    assert_eq!(titles(&world, tab, view), ["zwo 🦀", "drei"]);
    world.pass(60_000.0);
    assert_eq!(titles(&world, tab, view), ["zwo 🦀", "drei", "vier"]);
}

#[test]
fn a_change_at_the_server_arrives_with_its_relations() {
    let mut world = world();
    let tab = world.open_tab();
    let view = world
        .tabs
        .get_mut(&tab)
        .expect("open")
        .view(WITH_COMMENTS, named("some"));
    world.settle();
    let flushes = world.tabs[&tab].decoder.flushes;
    world.server.commit(|rows| {
        rows.put(
            "issues",
            json!({"id": "3", "title": "three", "sort_rank": 5, "done": true}),
        );
        rows.put("comment", json!({"id": "c0", "issueID": "1", "text": null}));
        rows.remove("issues", "2");
    });
    world.settle();
    assert_eq!(
        world.tabs[&tab].decoder.json(view.0),
        json!([{"done": true, "id": "3", "rank": 5, "title": "three", "comments": []},
               {"done": false, "id": "1", "rank": 1, "title": "one", "comments": [
                   {"id": "c0", "issueID": "1", "text": null}, {"id": "c1", "issueID": "1", "text": "first"}]}])
    );
    assert_eq!(
        world.tabs[&tab].decoder.flushes,
        flushes + 1,
        "one flush for the poke"
    );
}

#[test]
fn a_mutation_shows_at_once_is_sent_and_confirmed() {
    let mut world = world();
    let tab = world.open_tab();
    let view = world
        .tabs
        .get_mut(&tab)
        .expect("open")
        .view(ISSUES, named("all"));
    world.settle();
    let t = world.tabs.get_mut(&tab).expect("open");
    let call = t.mutate("create", &issue("3", "three"));
    assert_eq!(t.local.get(&call), Some(&Ok(1)));
    assert_eq!(t.durable.get(&call), Some(&Ok(())));
    assert_eq!(titles(&world, tab, view), ["one", "zwei ü 😀", "three"]);
    assert!(world.tabs[&tab].outcomes.is_empty(), "not confirmed yet");
    assert_eq!(world.tabs[&tab].client.mutations().len(), 1);
    world.settle();
    let t = &world.tabs[&tab];
    assert_eq!(
        t.outcomes.values().collect::<Vec<_>>(),
        [&Outcome::Confirmed]
    );
    assert!(t.client.mutations().is_empty());
    assert_eq!(titles(&world, tab, view), ["one", "zwei ü 😀", "three"]);
    assert_eq!(world.server.applied().len(), 1);
    assert!(world.server.rows.get("issues", "3").is_some());
}

#[test]
fn what_many_calls_leave_to_be_sent_and_stored_goes_out_together() {
    let mut world = world();
    let tab = world.open_tab();
    world.settle();
    let t = world.tabs.get_mut(&tab).expect("open");
    t.manual_storage = true;
    for id in ["3", "4", "5"] {
        let args = json!([issue(id, "made")]).to_string();
        t.client
            .mutate(t.now, "create", &args)
            .expect("it is taken");
    }
    t.pump();
    assert_eq!(t.client.mutations().len(), 3);
    assert!(t.commit_one(), "stored in one request");
    assert!(!t.commit_one(), "and no other");
    let pushes: Vec<Value> = t
        .sent
        .iter()
        .map(|text| serde_json::from_str(text).expect("JSON"))
        .collect();
    assert_eq!(pushes.len(), 1, "{pushes:?}");
    assert_eq!(pushes[0][1]["mutations"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_client_that_is_closed_before_its_writes_go_out_stores_and_sends_them() {
    let mut world = world();
    let tab = world.open_tab();
    world.settle();
    let t = world.tabs.get_mut(&tab).expect("open");
    t.goes_out_late = true;
    let call = t.mutate("create", &issue("3", "made"));
    assert!(t.sent.is_empty() && !t.durable.contains_key(&call));
    t.client.close(t.now);
    let told: Vec<&str> = t
        .client
        .take_effects()
        .iter()
        .filter_map(|effect| match effect {
            Effect::SendText { text, .. } => text.starts_with("[\"push\"").then_some("sent"),
            Effect::Store { .. } => Some("stored"),
            Effect::CloseSocket { .. } => Some("closed"),
            _ => None,
        })
        .collect();
    assert_eq!(told[..3], ["sent", "stored", "closed"]);
}

#[test]
fn a_refused_mutation_is_rolled_back_with_its_reason() {
    let mut world = world();
    let tab = world.open_tab();
    let view = world
        .tabs
        .get_mut(&tab)
        .expect("open")
        .view(ISSUES, named("all"));
    world.settle();
    world
        .tabs
        .get_mut(&tab)
        .expect("open")
        .mutate("refused", &issue("3", "three"));
    assert_eq!(titles(&world, tab, view).len(), 3);
    world.settle();
    assert_eq!(titles(&world, tab, view), ["one", "zwei ü 😀"]);
    let outcome = world.tabs[&tab].outcomes.values().next().cloned();
    assert_eq!(
        outcome,
        Some(Outcome::Failed {
            error: thrown("not allowed")
        })
    );
    assert!(
        world
            .server
            .received
            .contains(&"ackMutationResponses".to_owned())
    );
    // The failure survives a reload, until the application has cleared it.
    world.kill_tab(tab);
    let tab = world.open_tab();
    world.settle();
    let infos = world.tabs[&tab].client.mutations();
    assert_eq!(
        infos[0].outcome,
        Some(Outcome::Failed {
            error: thrown("not allowed")
        })
    );
    assert_eq!((infos[0].name.as_str(), infos.len()), ("refused", 1));
    let (client, id) = (infos[0].client_id.clone(), infos[0].mutation_id);
    let t = world.tabs.get_mut(&tab).expect("open");
    t.client.clear_outcome(t.now, &client, id);
    t.pump();
    world.kill_tab(tab);
    let tab = world.open_tab();
    world.settle();
    assert!(world.tabs[&tab].client.mutations().is_empty());
}

#[test]
fn a_mutator_that_throws_leaves_nothing_and_uses_no_id() {
    let mut world = world();
    let tab = world.open_tab();
    let view = world
        .tabs
        .get_mut(&tab)
        .expect("open")
        .view(ISSUES, named("all"));
    world.settle();
    let t = world.tabs.get_mut(&tab).expect("open");
    let failed = t.mutate("fail", &json!({}));
    let wrong = t.mutate("create", &json!({"id": "3", "title": 7}));
    let unknown = t.mutate("create", &json!({"id": "3", "title": "t", "nope": 1}));
    let good = t.mutate("create", &issue("3", "three"));
    assert_eq!(t.local[&failed], Err(thrown("no")));
    let message = |call| {
        t.local[&call]
            .as_ref()
            .expect_err("refused")
            .message
            .clone()
    };
    assert!(message(wrong).contains("title"), "{}", message(wrong));
    assert_eq!(
        message(unknown),
        "unknown column \"nope\" of table \"issue\""
    );
    assert_eq!(t.local[&good], Ok(1));
    world.settle();
    assert_eq!(titles(&world, tab, view), ["one", "zwei ü 😀", "three"]);
    assert_eq!(world.server.applied().len(), 1);
}

#[test]
fn an_awaiting_mutator_waits_in_line_and_pokes_wait_for_no_one() {
    let mut world = world();
    let tab = world.open_tab();
    let view = world
        .tabs
        .get_mut(&tab)
        .expect("open")
        .view(ISSUES, named("all"));
    world.settle();
    let t = world.tabs.get_mut(&tab).expect("open");
    let slow = t.mutate("bump", &json!({"id": "1"}));
    let next = t.mutate("rename", &issue("1", "renamed"));
    assert!(!t.local.contains_key(&slow) && !t.local.contains_key(&next));
    world.server.commit(|rows| {
        rows.put(
            "issues",
            json!({"id": "9", "title": "nine", "sort_rank": 0, "done": true}),
        )
    });
    world.settle();
    let t = &world.tabs[&tab];
    assert_eq!((&t.local[&slow], &t.local[&next]), (&Ok(1), &Ok(2)));
    assert_eq!(titles(&world, tab, view), ["renamed", "zwei ü 😀", "nine"]);
    assert_eq!(
        world
            .server
            .applied()
            .iter()
            .map(|a| a.2)
            .collect::<Vec<_>>(),
        ["bump", "rename"]
    );
}

#[test]
fn plain_writes_are_sent_as_writes_to_a_server_with_mutators_too() {
    let mut world = world();
    let tab = world.open_tab();
    world.settle();
    let t = world.tabs.get_mut(&tab).expect("open");
    t.mutate("rename", &issue("1", "before"));
    t.mutate("_zero_crud", &issue("3", "three"));
    t.mutate("rename", &issue("3", "after"));
    world.settle();
    let applied = world.server.applied();
    let kinds: Vec<_> = applied.iter().map(|a| a.2).collect();
    assert_eq!(kinds, ["rename", "crud", "rename"]);
    let title = &world.server.rows.get("issues", "3").expect("there")["title"];
    assert_eq!(title, &json!("after"));
}

#[test]
fn an_ast_and_crud_server_gets_asts_and_the_writes_that_the_mutator_made() {
    let mut world = world();
    world.server.mode = Some(json!({"queries": "ast", "mutations": "crud", "version": 1}));
    let tab = world.open_tab();
    let view = world
        .tabs
        .get_mut(&tab)
        .expect("open")
        .view(ISSUES, named("all"));
    world.settle();
    let t = world.tabs.get_mut(&tab).expect("open");
    t.mutate("create", &issue("3", "three"));
    t.mutate("bump", &json!({"id": "1"}));
    world.settle();
    assert_eq!(
        world
            .server
            .applied()
            .iter()
            .map(|a| a.2)
            .collect::<Vec<_>>(),
        ["crud", "crud"]
    );
    assert_eq!(
        world.server.rows.get("issues", "3").expect("there")["title"],
        json!("three")
    );
    assert_eq!(
        world.server.rows.get("issues", "1").expect("there")["sort_rank"],
        json!(2)
    );
    // The next connection knows the mode and says everything in the header.
    world.kill_tab(tab);
    let tab = world.open_tab();
    world
        .tabs
        .get_mut(&tab)
        .expect("open")
        .view(ISSUES, named("all"));
    world.server.received.clear();
    world.settle();
    assert_eq!(
        world.server.received.first().map(String::as_str),
        Some("initConnection")
    );
    assert_eq!(titles(&world, tab, landfall_client::ViewId(1)).len(), 3);
    let _ = view;
}

#[test]
fn rows_are_released_when_nothing_shows_them() {
    let mut world = world();
    let tab = world.open_tab();
    let t = world.tabs.get_mut(&tab).expect("open");
    let (a, b) = (
        t.view(ISSUES, named("all")),
        t.view(WITH_COMMENTS, QuerySource::Local),
    );
    world.settle();
    let t = world.tabs.get_mut(&tab).expect("open");
    assert_eq!(t.decoder.rows.len(), 3);
    t.mutate("rename", &issue("1", "uno"));
    let known = |t: &landfall_sim::host::Tab| (t.decoder.shown().len(), t.decoder.rows.len());
    assert_eq!(known(t), (3, 4), "the server's version is still in memory");
    t.drop_view(b);
    assert_eq!(known(t), (2, 4), "the comment is shown by nobody");
    t.drop_view(a);
    assert_eq!(known(t), (0, IDLE_ROWS), "the oldest is given up");
    world.settle();
}

#[test]
fn rows_prepared_for_a_view_that_was_closed_are_let_go_of_with_the_preparation() {
    let mut world = world();
    world.server.commit(|rows| {
        for i in 0..20 {
            rows.put("issues", json!({"id": format!("x{i}"), "title": "x"}));
        }
    });
    world.slices = Some((1, 0));
    let tab = world.open_tab();
    let t = world.tabs.get_mut(&tab).expect("open");
    let view = t.view(ISSUES, named("all"));
    world.settle();
    let t = world.tabs.get_mut(&tab).expect("open");
    assert_eq!(t.decoder.rows.len(), 22);
    t.drop_view(view);
    assert_eq!(t.decoder.rows.len(), IDLE_ROWS);
    t.manual_work = true;
    // Another query: the one that was closed is kept.
    let view = t.view(LAST_FIRST, QuerySource::Local);
    while t.decoder.rows.len() < 2 * IDLE_ROWS {
        assert!(t.work_one(), "rows are handed over in slices");
        t.pump();
    }
    assert!(!t.client.is_filled(view));
    t.drop_view(view);
    t.manual_work = false;
    t.pump();
    assert_eq!(t.decoder.rows.len(), IDLE_ROWS);
}

#[test]
fn when_the_page_was_kept_long_enough_only_small_views_are_filled_at_once() {
    let mut world = world();
    world.server.commit(|rows| {
        for i in 0..200 {
            rows.put("issues", json!({"id": format!("x{i}"), "title": "x"}));
        }
    });
    let tab = world.open_tab();
    let t = world.tabs.get_mut(&tab).expect("open");
    t.view(ISSUES, named("all"));
    world.settle();
    let t = world.tabs.get_mut(&tab).expect("open");
    t.manual_work = true;
    t.client.end_slice();
    let large = t.view(LAST_FIRST, QuerySource::Local);
    assert_eq!(t.decoder.json(large.0), json!([]));
    t.client.end_slice();
    let small = r#"{"table":"issue","orderBy":[["id","asc"]],"limit":2}"#;
    let small = t.view(small, QuerySource::Local);
    assert!(t.client.is_filled(small));
    assert!(!t.client.is_filled(large));
    while t.work_one() {
        t.pump();
    }
    assert!(t.client.is_filled(large), "a slice has begun");
    assert_eq!(titles(&world, tab, large).len(), 202);
}

const LAST_FIRST: &str = r#"{"table":"issue","orderBy":[["id","desc"]]}"#;

#[test]
fn a_query_that_is_shown_again_has_followed_what_changed() {
    let mut world = world();
    // A view that has to be filled takes many slices.
    world.slices = Some((1, 1_000));
    let tab = world.open_tab();
    let t = world.tabs.get_mut(&tab).expect("open");
    t.view(LAST_FIRST, named("all"));
    let opened = |world: &mut World| {
        let t = world.tabs.get_mut(&tab).expect("open");
        t.manual_work = true;
        let view = t.view(ISSUES, named("all"));
        (view, t.client.is_filled(view))
    };
    let closed = |world: &mut World, view| {
        let t = world.tabs.get_mut(&tab).expect("open");
        t.drop_view(view);
        t.manual_work = false;
        t.pump();
    };
    world.settle();
    let (view, at_once) = opened(&mut world);
    assert!(!at_once, "it is read for the first time");
    closed(&mut world, view);
    world.settle();
    let (view, at_once) = opened(&mut world);
    assert!(!at_once, "it was closed before it was filled");
    let t = world.tabs.get_mut(&tab).expect("open");
    t.manual_work = false;
    t.pump();
    world.settle();
    closed(&mut world, view);
    let t = world.tabs.get_mut(&tab).expect("open");
    t.mutate("rename", &issue("1", "uno"));
    world.server.commit(|rows| {
        rows.remove("issues", "2");
        rows.put("issues", json!({"id": "3", "title": "drei"}));
    });
    world.settle();
    let (view, at_once) = opened(&mut world);
    assert!(at_once);
    assert_eq!(titles(&world, tab, view), ["uno", "drei"]);
    closed(&mut world, view);
    // A poke of many rows is not followed.
    world.server.commit(|rows| {
        for i in 4..50 {
            rows.put("issues", json!({"id": format!("{i:02}"), "title": "x"}));
        }
    });
    world.settle();
    let (view, at_once) = opened(&mut world);
    assert!(!at_once);
    let t = world.tabs.get_mut(&tab).expect("open");
    t.manual_work = false;
    t.pump();
    assert_eq!(titles(&world, tab, view).len(), 48);
}

/// All column kinds, long enough for dictionaries and for more than one word of bits.
#[test]
fn every_kind_of_column_crosses_the_boundary() {
    let schema = r#"{"tables":{"t":{"name":"t","columns":{
        "id":{"type":"string","optional":false},
        "color":{"type":"string","optional":true},
        "text":{"type":"string","optional":true},
        "n":{"type":"number","optional":true},
        "on":{"type":"boolean","optional":true},
        "data":{"type":"json","optional":true},
        "never":{"type":"string","optional":true}},"primaryKey":["id"]}}}"#;
    let row = |i: usize| {
        let color = [json!("rot"), json!("grün 🌱"), json!(""), Value::Null][i % 4].clone();
        let data = [
            json!({"a": [1, "ü"]}),
            json!("text"),
            Value::Null,
            json!(false),
        ][i % 4]
            .clone();
        json!({
            "id": format!("{i:04}"), "color": color, "data": data, "never": null,
            "text": if i.is_multiple_of(3) { Value::Null } else { json!(format!("zeile 😀 {i}")) },
            "n": if i.is_multiple_of(5) { Value::Null } else { json!(i as f64 + 0.25) },
            "on": if i.is_multiple_of(7) { Value::Null } else { json!(i.is_multiple_of(2)) },
        })
    };
    let mut server = Server::new(&[]);
    server.commit(|rows| (0..301).for_each(|i| rows.put("t", row(i))));
    let mut world = World::new(schema, &[], server);
    let tab = world.open_tab();
    let view = world
        .tabs
        .get_mut(&tab)
        .expect("open")
        .view(r#"{"table":"t"}"#, named("t"));
    world.settle();
    let expected: Value = (0..301).map(row).collect();
    assert_eq!(world.tabs[&tab].decoder.json(view.0), expected);
    // A bulk change shows the view anew; rows that stay keep their handles.
    let kept = world.tabs[&tab].decoder.views[&view.0].list[250].handle;
    let changed = |i: usize| {
        let mut row = row(i);
        row["n"] = json!(-(i as i64));
        row
    };
    world.server.commit(|rows| {
        (0..150).for_each(|i| rows.put("t", changed(i)));
        (150..200).for_each(|i| rows.remove("t", &format!("{i:04}")));
    });
    world.settle();
    let expected: Value = (0..150).map(changed).chain((200..301).map(row)).collect();
    let decoder = &world.tabs[&tab].decoder;
    assert_eq!(decoder.json(view.0), expected);
    assert_eq!(decoder.views[&view.0].list[200].handle, kept);
    assert_eq!(decoder.rows.len(), 251);
}

#[test]
fn a_server_url_that_cannot_be_used_is_refused() {
    let mut options = landfall_client::Options::new(SCHEMA, [1; 32]);
    options.cache_url = Some("ftp://x".into());
    let error = Client::new(0.0, options).err().expect("refused");
    assert_eq!(error.code(), "cache-url");
}

#[test]
fn what_is_sent_belongs_to_the_trace_that_the_application_is_in() {
    let mut world = world();
    let tab = world.open_tab();
    let trace = |world: &mut World, name: Option<&str>| {
        let t = world.tabs.get_mut(&tab).expect("open");
        t.client.set_traceparent(t.now, name.map(str::to_owned));
    };
    trace(&mut world, Some("first"));
    world
        .tabs
        .get_mut(&tab)
        .expect("open")
        .view(ISSUES, named("all"));
    world.settle();
    trace(&mut world, Some("second"));
    let t = world.tabs.get_mut(&tab).expect("open");
    t.view(r#"{"table":"issue","limit":1}"#, named("top"));
    world.pass(60_000.0);
    let t = world.tabs.get_mut(&tab).expect("open");
    t.goes_out_late = true;
    t.mutate("rename", &issue("1", "eins"));
    trace(&mut world, None);
    let t = world.tabs.get_mut(&tab).expect("open");
    t.goes_out_late = false;
    world.pass(60_000.0);
    let t = world.tabs.get_mut(&tab).expect("open");
    t.mutate("rename", &issue("1", "uno"));
    world.pass(60_000.0);
    assert_eq!(world.server.applied().len(), 2);
    let mut traces = world.server.traces.clone();
    traces.sort();
    assert_eq!(
        traces,
        [
            ("changeDesiredQueries", "second"),
            ("initConnection", "first"),
            ("push", "second"),
        ]
        .map(|(message, trace)| (message.to_owned(), trace.to_owned()))
    );
}

#[test]
fn rows_of_a_group_that_is_over_are_never_taken_for_those_of_the_new_one() {
    let mut world = world();
    world.slices = Some((1, 0));
    let tab = world.open_tab();
    let view = world.tab(tab).view(ISSUES, named("all"));
    world.settle();
    let before = titles(&world, tab, view);
    let export = |world: &World| world.tabs[&tab].export();
    let first_group = export(&world)["clientGroupID"].clone();
    world.server.forget_all();
    world.server.commit(|rows| rows.remove("issues", "1"));
    world.tab(tab).manual_work = true;
    let mut steps = 0;
    loop {
        world.settle();
        if titles(&world, tab, view) != before {
            break;
        }
        // What is shown until the new group has rows is not what the server gave it.
        let held = export(&world);
        if held["clientGroupID"] != first_group {
            assert_eq!(held["tables"], json!({}), "after {steps} steps");
            steps += 1;
        }
        assert!(world.tab(tab).work_one(), "the new rows come");
    }
    assert!(steps > 2, "they come in slices");
    let rows = &export(&world)["tables"]["issue"];
    assert_eq!(rows.as_array().map(Vec::len), Some(1));
}
