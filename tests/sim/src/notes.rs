//! A small application for simulations: notes, tags, and five mutators: the server refuses one, and another may refuse
//! its own replays.

use crate::decoder::Decoder;
use crate::disk::DiskFault;
use crate::host::{Mutator, Progress, thrown};
use crate::rows::{Rows, ServerMutator};
use crate::server::Server;
use crate::world::{TabId, World};
use landfall_client::{Client, Options, QuerySource, Role, RunReason, TxId, WriteOp};
use landfall_store::{StoreOp, StoreRequest};
use serde_json::{Value, json};

/// Notes that point to notes, and tags.
pub const SCHEMA: &str = r#"{"tables":{
    "note":{"name":"note","columns":{
        "id":{"type":"string","optional":false},
        "parent":{"type":"string","optional":true},
        "kind":{"type":"string","optional":true},
        "n":{"type":"number","optional":true},
        "on":{"type":"boolean","optional":true},
        "data":{"type":"json","optional":true}},"primaryKey":["id"]},
    "tag":{"name":"tag","columns":{
        "id":{"type":"string","optional":false},
        "note":{"type":"string","optional":true}},"primaryKey":["id"]}}}"#;

/// The schema of the next release: notes have a column less, tags one more, and there is another table.
pub const NEXT_SCHEMA: &str = r#"{"tables":{
    "note":{"name":"note","columns":{
        "id":{"type":"string","optional":false},
        "parent":{"type":"string","optional":true},
        "kind":{"type":"string","optional":true},
        "n":{"type":"number","optional":true},
        "on":{"type":"boolean","optional":true}},"primaryKey":["id"]},
    "tag":{"name":"tag","columns":{
        "id":{"type":"string","optional":false},
        "colour":{"type":"string","optional":true},
        "note":{"type":"string","optional":true}},"primaryKey":["id"]},
    "mark":{"name":"mark","columns":{
        "id":{"type":"string","optional":false}},"primaryKey":["id"]}}}"#;

/// Makes the options of a client those of the next release.
pub fn next_release(role: Role) -> impl Fn(&mut Options) {
    move |options| {
        options.schema_json = NEXT_SCHEMA.into();
        options.role = role;
    }
}

/// All notes; some of them in some order; tags; notes with their relations.
pub const QUERIES: &[&str] = &[
    r#"{"table":"note","orderBy":[["id","asc"]]}"#,
    r#"{"table":"note","orderBy":[["n","desc"],["id","asc"]],"limit":3}"#,
    r#"{"table":"tag","orderBy":[["id","asc"]]}"#,
    r#"{"table":"note","where":{"type":"simple","op":"=","left":{"type":"column","name":"on"},"right":{"type":"literal","value":true}}}"#,
    r#"{"table":"note","orderBy":[["n","asc"]],"related":[
        {"correlation":{"parentField":["id"],"childField":["parent"]},
         "subquery":{"table":"note","alias":"children","orderBy":[["n","asc"]],"limit":2,"related":[
            {"correlation":{"parentField":["parent"],"childField":["id"]},
             "subquery":{"table":"note","alias":"back"}}]}},
        {"correlation":{"parentField":["parent"],"childField":["id"]},
         "subquery":{"table":"note","alias":"up","limit":1}}]}"#,
];

/// A rule of who sees what.
pub fn not_hidden(row: &Value) -> bool {
    row["kind"] != json!("hidden")
}

fn write(client: &mut Client, tx: TxId, op: WriteOp, row: &Value) -> Progress {
    let result = client.write(tx, "note", op, &row.to_string());
    Progress::Done(result.map_err(|error| thrown(error.to_string())))
}

fn upsert(client: &mut Client, tx: TxId, arg: &Value, step: usize, _: RunReason) -> Progress {
    match arg["awaits"].as_u64() {
        Some(awaits) if (step as u64) < awaits => Progress::Await,
        _ => write(client, tx, WriteOp::Upsert, &arg["row"]),
    }
}

fn remove(client: &mut Client, tx: TxId, arg: &Value, _: usize, _: RunReason) -> Progress {
    write(
        client,
        tx,
        WriteOp::Delete,
        &json!({"id": arg["row"]["id"]}),
    )
}

/// Counts up what it reads, after an await.
fn count(client: &mut Client, tx: TxId, arg: &Value, step: usize, _: RunReason) -> Progress {
    if step == 0 {
        return Progress::Await;
    }
    let ast = json!({"table": "note", "where": {"type": "simple", "op": "=",
        "left": {"type": "column", "name": "id"}, "right": {"type": "literal", "value": arg["row"]["id"]}}});
    let ast = ast.to_string();
    let Ok(flush) = client.read_detached(tx, &ast) else {
        return Progress::Done(Err(thrown("closed")));
    };
    let rows = Decoder::new(&client.layout()).detached(&flush, &ast);
    let n = rows[0]["n"].as_f64().unwrap_or(0.0) + 1.0;
    write(
        client,
        tx,
        WriteOp::Update,
        &json!({"id": arg["row"]["id"], "n": n}),
    )
}

/// Refuses its replays, if the argument says so.
fn fickle(client: &mut Client, tx: TxId, arg: &Value, step: usize, reason: RunReason) -> Progress {
    if reason == RunReason::Rebase && arg["fickle"] == json!(true) {
        return Progress::Done(Err(thrown("not again")));
    }
    upsert(client, tx, arg, step, reason)
}

/// What the application can do.
pub const MUTATORS: &[(&str, Mutator)] = &[
    ("upsert", upsert),
    ("remove", remove),
    ("count", count),
    ("refused", upsert),
    ("fickle", fickle),
];

fn server_upsert(rows: &mut Rows, arg: &Value) -> Result<(), String> {
    rows.put("note", arg["row"].clone());
    Ok(())
}

fn server_remove(rows: &mut Rows, arg: &Value) -> Result<(), String> {
    rows.remove("note", arg["row"]["id"].as_str().unwrap_or_default());
    Ok(())
}

fn server_count(rows: &mut Rows, arg: &Value) -> Result<(), String> {
    let id = arg["row"]["id"].as_str().unwrap_or_default();
    if let Some(mut row) = rows.get("note", id).cloned() {
        row["n"] = json!(row["n"].as_f64().unwrap_or(0.0) + 1.0);
        rows.put("note", row);
    }
    Ok(())
}

fn server_refuse(_: &mut Rows, _: &Value) -> Result<(), String> {
    Err("refused".into())
}

/// The same at the server, which refuses what is called so.
pub const SERVER_MUTATORS: &[(&str, ServerMutator)] = &[
    ("upsert", server_upsert),
    ("remove", server_remove),
    ("count", server_count),
    ("refused", server_refuse),
    ("fickle", server_upsert),
];

/// A world of this application with one browser.
pub fn world() -> World {
    World::new(SCHEMA, MUTATORS, server())
}

/// Opens a tab that shows the first query, and lets things settle.
pub fn open(world: &mut World) -> TabId {
    let id = world.open_tab();
    world.tab(id).view(QUERIES[0], named(0));
    world.settle();
    id
}

/// The argument of a mutator for this note.
pub fn note(id: &str) -> Value {
    json!({"row": {"id": id, "kind": "red"}})
}

/// A server of this application.
pub fn server() -> Server {
    let mut server = Server::new(SERVER_MUTATORS);
    for (number, ast) in QUERIES.iter().enumerate() {
        let tables = match ast.contains("\"tag\"") {
            true => vec!["tag"],
            false => vec!["note"],
        };
        server.queries.insert(format!("q{number}"), tables);
    }
    server
}

/// One of [`QUERIES`], by name.
pub fn named(which: usize) -> QuerySource {
    QuerySource::Named {
        name: format!("q{which}"),
        args_json: "[]".into(),
    }
}

/// A world in which one tab has a row and, offline, one stored write.
pub fn one_offline_write() -> (World, TabId) {
    written_offline(world())
}

/// The same with this world.
pub fn written_offline(mut world: World) -> (World, TabId) {
    world
        .server
        .commit(|rows| rows.put("note", json!({"id": "a"})));
    let id = open(&mut world);
    world.network_down();
    let tab = world.tab(id);
    let call = tab.mutate("upsert", &note("b"));
    assert_eq!(tab.durable.get(&call), Some(&Ok(())));
    world.settle();
    (world, id)
}

/// The application was told of a fault of storage.
#[track_caller]
pub fn told(world: &World, id: TabId, kind: &str) {
    let wanted = format!("StorageProblem {{ kind: {kind}");
    let notes = &world.tabs[&id].notes;
    assert!(
        notes.iter().any(|note| note.starts_with(&wanted)),
        "{notes:?}"
    );
}

/// Online again: the writes of the world arrive once, and every tab shows everything, a fresh one too.
#[track_caller]
pub fn arrives(world: &mut World, writes: usize, expected: &[&str]) {
    world.network_up();
    world.pass(90_000.0);
    assert_eq!(world.server.executed.len(), writes);
    let ids: Vec<TabId> = world.tabs.keys().copied().collect();
    let fresh = open(world);
    world.settle();
    for id in ids.into_iter().chain([fresh]) {
        shows(world, id, expected);
    }
}

/// A tab shows these notes.
#[track_caller]
pub fn shows(world: &mut World, id: TabId, expected: &[&str]) {
    let tab = world.tab(id);
    let rows = tab.client.run(QUERIES[0]).expect("the query is good");
    let rows = tab.decoder.answer(&rows, QUERIES[0]);
    let rows = rows.as_array().expect("a list");
    let ids: Vec<&str> = rows.iter().filter_map(|row| row["id"].as_str()).collect();
    assert_eq!(ids, expected);
}

/// Storage is told this by somebody.
pub fn tell_storage(world: &World, op: StoreOp) {
    let group_id = world.server.group_ids().remove(0);
    let request = StoreRequest { group_id, op };
    let done = world.browsers[0].disk.execute(&request, DiskFault::None);
    done.expect("the group is there");
}
