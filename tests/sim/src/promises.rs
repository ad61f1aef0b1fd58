//! What must hold at every moment of a simulation, whatever has happened.

use crate::host::Tab;
use crate::server::Server;
use crate::server_group::GroupState;
use crate::world::{BrowserId, World};
use landfall_store::{StoreOp, StoreReply, StoreRequest};
use landfall_zql::{Names, Schema};
use serde_json::{Value, json};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Whole numbers as integers, as the decoder gives them, and absent columns as null.
pub fn normal(row: &Value, columns: &[String]) -> Value {
    let number = |v: &Value| match v.as_f64() {
        Some(f) if f.fract() == 0.0 => json!(f as i64),
        _ => v.clone(),
    };
    let members = columns
        .iter()
        .map(|c| (c.clone(), number(&row[c.as_str()])));
    Value::Object(members.collect())
}

/// The argument of a call, as the simulation names it.
pub fn argument_of(args_json: &str) -> String {
    let args: Vec<Value> = serde_json::from_str(args_json).expect("JSON");
    args.first().cloned().unwrap_or_default().to_string()
}

/// Rows by table, each as the schema's columns.
type Tables = BTreeMap<String, Vec<Value>>;

fn columns(schema: &Schema) -> BTreeMap<String, Vec<String>> {
    schema
        .iter()
        .map(|(_, table)| {
            let names = table.columns.iter().map(|column| column.name.clone());
            (table.name.clone(), names.collect())
        })
        .collect()
}

fn given(state: &GroupState, schema: &Schema) -> Tables {
    let columns = columns(schema);
    let mut tables = Tables::new();
    for ((table, _), row) in &state.rows {
        if let Some(columns) = columns.get(table) {
            tables
                .entry(table.clone())
                .or_default()
                .push(normal(row, columns));
        }
    }
    tables
}

fn exported(export: &Value, schema: &Schema) -> Tables {
    let columns = columns(schema);
    let mut tables = Tables::new();
    for (table, rows) in export["tables"].as_object().into_iter().flatten() {
        let rows = rows.as_array().into_iter().flatten();
        let rows = rows.map(|row| normal(row, &columns[table])).collect();
        tables.insert(table.clone(), rows);
    }
    tables
}

/// The arguments of what storage calls unsent.
pub fn unsent(world: &World, tab: &Tab) -> Vec<String> {
    let op = StoreOp::ReadQueue { except: None };
    let queues = world.server.group_ids().into_iter().filter_map(|group_id| {
        let op = op.clone();
        match tab.disk.store().execute(&StoreRequest { group_id, op }) {
            Ok(StoreReply::Queue { queue, .. }) => Some(queue),
            _ => None,
        }
    });
    let unsent = queues.flatten().filter(|queued| !queued.attempted);
    unsent.map(|queued| argument_of(&queued.args)).collect()
}

/// What a tab takes for the server's rows is what the server gave its group at that cookie: every poke was applied
/// whole and once, and no row is held that the user may not see.
pub fn a_tab_holds_what_the_server_gave(server: &Server, tab: &Tab, schema: &Schema) {
    let export = tab.export();
    let (Some(group), Some(cookie)) = (export["clientGroupID"].as_str(), export["cookie"].as_str())
    else {
        return;
    };
    let state = server
        .state_at(group, cookie)
        .unwrap_or_else(|| panic!("group {group} was never at {cookie}"));
    let client = tab.client.client_id();
    assert_eq!(
        exported(&export, schema),
        given(state, schema),
        "rows of {client} at {cookie}"
    );
}

/// What is stored is what the server gave the group at the cookie that is stored with it.
///
/// Last mutation ids may be ahead in a store that is drained for the next release: rows are not followed any more. So may
/// those of a client that stores its first write after others were confirmed: its queue begins behind these. A page that
/// slept while the rows were let go of may store older ones. Last mutation ids may be behind for a client that the others
/// took for dead, until the write is confirmed with which it comes back.
pub fn storage_holds_what_the_server_gave(
    world: &World,
    browser: BrowserId,
    schema: &Arc<Schema>,
    is_drained: bool,
) {
    let disk = &world.browsers[browser].disk;
    for group_id in world.server.group_ids() {
        let request = StoreRequest {
            group_id: group_id.clone(),
            op: StoreOp::Load {
                schema: schema.clone(),
            },
        };
        let Ok(StoreReply::Loaded(loaded)) = disk.store().execute(&request) else {
            continue;
        };
        let (head, queue) = (loaded.head.clone(), loaded.queue.clone());
        let (Ok(stored), Some(cookie)) = (loaded.read(), head.cookie) else {
            continue;
        };
        let state = world
            .server
            .state_at(&group_id, &cookie)
            .unwrap_or_else(|| panic!("group {group_id} was never at {cookie}"));
        for (client, id) in &head.last_mutation_ids {
            let known = state.last_ids.get(client).copied().unwrap_or(0);
            let may_be_ahead = known == 0 || disk.was_repaired();
            let is_ahead = may_be_ahead && *id <= world.server.last_id(client);
            let comes_back = || queue.iter().any(|m| m.client_id == *client && m.id > known);
            assert!(
                match id.cmp(&known) {
                    Ordering::Less => comes_back(),
                    Ordering::Equal => true,
                    Ordering::Greater => is_drained || is_ahead,
                },
                "{id}, not {known}: stored last mutation id of {client} at {cookie}"
            );
        }
        let columns = columns(schema);
        let mut tables = Tables::new();
        for ((_, table), rows) in schema.iter().zip(stored.tables) {
            for row in rows {
                let mut text = String::new();
                table.row_to_json(&row, Names::Client, &mut text);
                let row = serde_json::from_str(&text).expect("a row is JSON");
                let row = normal(&row, &columns[&table.name]);
                tables.entry(table.name.clone()).or_default().push(row);
            }
        }
        assert_eq!(tables, given(state, schema), "stored rows at {cookie}");
    }
}
