//! The client end to end, against a scripted server: from a poke to a view, from a mutator to the server and back.

use landfall_client::{Client, ConnectionState, Outcome, QuerySource, RunReason, TxId, WriteOp};
use landfall_sim::decoder::IDLE_ROWS;
use landfall_sim::host::{Mutator, Progress, thrown};
use landfall_sim::rows::{Rows, ServerMutator};
use landfall_sim::server::Server;
use landfall_sim::world::World;
use landfall_store::StoreName;
use serde_json::{Value, json};

const SCHEMA: &str = r#"{"tables":{
    "issue":{"name":"issue","serverName":"issues","columns":{
        "id":{"type":"string","optional":false},
        "title":{"type":"string","optional":false},
        "rank":{"type":"number","optional":true,"serverName":"sort_rank"},
        "done":{"type":"boolean","optional":true}},"primaryKey":["id"]},
    "comment":{"name":"comment","columns":{
        "id":{"type":"string","optional":false},
        "issueID":{"type":"string","optional":false},
        "text":{"type":"string","optional":true}},"primaryKey":["id"]}}}"#;

const ISSUES: &str = r#"{"table":"issue","orderBy":[["id","asc"]]}"#;
const WITH_COMMENTS: &str = r#"{"table":"issue","orderBy":[["rank","desc"]],"limit":3,"related":[
    {"correlation":{"parentField":["id"],"childField":["issueID"]},
     "subquery":{"table":"comment","alias":"comments","orderBy":[["id","asc"]]}}]}"#;

fn named(name: &str) -> QuerySource {
    QuerySource::Named {
        name: name.into(),
        args_json: "[]".into(),
    }
}

fn done(result: Result<(), landfall_client::ClientError>) -> Progress {
    Progress::Done(result.map_err(|error| thrown(error.to_string())))
}

fn create(client: &mut Client, tx: TxId, arg: &Value, _: usize, _: RunReason) -> Progress {
    done(client.write(tx, "issue", WriteOp::Insert, &arg.to_string()))
}

fn rename(client: &mut Client, tx: TxId, arg: &Value, _: usize, _: RunReason) -> Progress {
    done(client.write(tx, "issue", WriteOp::Update, &arg.to_string()))
}

/// Awaits twice, then counts `rank` up by what it read.
fn bump(client: &mut Client, tx: TxId, arg: &Value, step: usize, _: RunReason) -> Progress {
    if step < 2 {
        return Progress::Await;
    }
    let ast = json!({"table": "issue", "where": {"type": "simple", "op": "=",
        "left": {"type": "column", "name": "id"}, "right": {"type": "literal", "value": arg["id"]}}});
    let flush = client
        .read_detached(tx, &ast.to_string())
        .expect("the query is good");
    let decoder = landfall_sim::decoder::Decoder::new(&client.layout());
    let rows = decoder.detached(&flush, &ast.to_string());
    let rank = rows[0]["rank"].as_i64().unwrap_or(0) + 1;
    done(client.write(
        tx,
        "issue",
        WriteOp::Update,
        &json!({"id": arg["id"], "rank": rank}).to_string(),
    ))
}

fn fail(client: &mut Client, tx: TxId, _: &Value, _: usize, _: RunReason) -> Progress {
    let written = client.write(
        tx,
        "issue",
        WriteOp::Insert,
        r#"{"id":"x","title":"never"}"#,
    );
    assert!(written.is_ok());
    Progress::Done(Err(thrown("no")))
}

const MUTATORS: &[(&str, Mutator)] = &[
    ("create", create),
    ("rename", rename),
    ("bump", bump),
    ("fail", fail),
    ("refused", create),
];

fn server_create(rows: &mut Rows, arg: &Value) -> Result<(), String> {
    let id = arg["id"].as_str().unwrap_or_default();
    if rows.get("issues", id).is_none() {
        rows.put("issues", server_row(arg));
    }
    Ok(())
}

fn server_row(arg: &Value) -> Value {
    json!({"id": arg["id"], "title": arg["title"], "sort_rank": arg["rank"], "done": arg["done"]})
}

fn server_rename(rows: &mut Rows, arg: &Value) -> Result<(), String> {
    if let Some(mut row) = rows
        .get("issues", arg["id"].as_str().unwrap_or_default())
        .cloned()
    {
        row["title"] = arg["title"].clone();
        rows.put("issues", row);
    }
    Ok(())
}

fn server_bump(rows: &mut Rows, arg: &Value) -> Result<(), String> {
    if let Some(mut row) = rows
        .get("issues", arg["id"].as_str().unwrap_or_default())
        .cloned()
    {
        row["sort_rank"] = json!(row["sort_rank"].as_i64().unwrap_or(0) + 1);
        rows.put("issues", row);
    }
    Ok(())
}

fn server_refuse(_: &mut Rows, _: &Value) -> Result<(), String> {
    Err("not allowed".into())
}

const SERVER_MUTATORS: &[(&str, ServerMutator)] = &[
    ("create", server_create),
    ("rename", server_rename),
    ("bump", server_bump),
    ("refused", server_refuse),
];

fn world() -> World {
    let mut server = Server::new(SERVER_MUTATORS);
    server.commit(|rows| {
        rows.put(
            "issues",
            json!({"id": "1", "title": "one", "sort_rank": 1, "done": false}),
        );
        rows.put(
            "issues",
            json!({"id": "2", "title": "zwei ü 😀", "sort_rank": null, "done": null}),
        );
        rows.put(
            "comment",
            json!({"id": "c1", "issueID": "1", "text": "first"}),
        );
    });
    World::new(SCHEMA, MUTATORS, server)
}

fn issue(id: &str, title: &str) -> Value {
    json!({"id": id, "title": title})
}

fn titles(world: &World, tab: usize, view: landfall_client::ViewId) -> Vec<String> {
    let rows = world.tabs[&tab].decoder.json(view.0);
    rows.as_array()
        .expect("a list")
        .iter()
        .map(|row| row["title"].as_str().expect("text").to_owned())
        .collect()
}

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

#[test]
fn a_server_url_that_cannot_be_used_is_refused() {
    let mut options = landfall_client::Options::new(SCHEMA, [1; 32]);
    options.cache_url = Some("ftp://x".into());
    let error = Client::new(0.0, options).err().expect("refused");
    assert_eq!(error.code(), "cache-url");
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
