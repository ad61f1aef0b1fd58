//! Another small application for scenarios: issues with comments, whose names differ at the server, and mutators that
//! await, read, throw and are refused.

use crate::decoder::Decoder;
use crate::host::{Mutator, Progress, thrown};
use crate::rows::{Rows, ServerMutator};
use crate::server::Server;
use crate::world::World;
use landfall_client::{Client, QuerySource, RunReason, TxId, WriteOp};
use serde_json::{Value, json};

/// Issues with comments; some names differ at the server.
pub const SCHEMA: &str = r#"{"tables":{
    "issue":{"name":"issue","serverName":"issues","columns":{
        "id":{"type":"string","optional":false},
        "title":{"type":"string","optional":false},
        "rank":{"type":"number","optional":true,"serverName":"sort_rank"},
        "done":{"type":"boolean","optional":true}},"primaryKey":["id"]},
    "comment":{"name":"comment","columns":{
        "id":{"type":"string","optional":false},
        "issueID":{"type":"string","optional":false},
        "text":{"type":"string","optional":true}},"primaryKey":["id"]}}}"#;

/// All issues.
pub const ISSUES: &str = r#"{"table":"issue","orderBy":[["id","asc"]]}"#;
/// The three issues of highest rank with their comments.
pub const WITH_COMMENTS: &str = r#"{"table":"issue","orderBy":[["rank","desc"]],"limit":3,"related":[
    {"correlation":{"parentField":["id"],"childField":["issueID"]},
     "subquery":{"table":"comment","alias":"comments","orderBy":[["id","asc"]]}}]}"#;

/// A query by name.
pub fn named(name: &str) -> QuerySource {
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
    let decoder = Decoder::new(&client.layout());
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

/// What the application can do.
pub const MUTATORS: &[(&str, Mutator)] = &[
    ("create", create),
    ("rename", rename),
    ("bump", bump),
    ("fail", fail),
    ("refused", create),
    // Plain writes of the page; the server has no mutator of this name.
    ("_zero_crud", create),
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

/// The same at the server, which refuses what is called so.
pub const SERVER_MUTATORS: &[(&str, ServerMutator)] = &[
    ("create", server_create),
    ("rename", server_rename),
    ("bump", server_bump),
    ("refused", server_refuse),
];

/// A world with two issues and a comment.
pub fn world() -> World {
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

/// An issue as an argument.
pub fn issue(id: &str, title: &str) -> Value {
    json!({"id": id, "title": title})
}

/// What a view of issues shows.
pub fn titles(world: &World, tab: usize, view: landfall_client::ViewId) -> Vec<String> {
    let rows = world.tabs[&tab].decoder.json(view.0);
    rows.as_array()
        .expect("a list")
        .iter()
        .map(|row| row["title"].as_str().expect("text").to_owned())
        .collect()
}
