//! A small server: holds rows, runs pushed mutations once and in order, and gives every row to everybody.
//!
//! It speaks the wire protocol in text. Since clients evaluate their queries themselves, sending more rows than a
//! query needs is allowed; what is tested is the client, not which rows a server selects.

use landfall_protocol::{
    CrudKind, Downstream, Mutation, ReceivedProtocol, StateVersion, UpQueryOp, Upstream,
    decode_upstream,
};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Carries out a custom mutation on the rows, or says why not.
pub type ServerMutator = fn(&mut Rows, &Value) -> Result<(), String>;

/// Rows by table and key, server names.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    rows: BTreeMap<(String, String), Value>,
    changed: BTreeSet<(String, String)>,
}

impl Rows {
    /// The row of this key.
    pub fn get(&self, table: &str, id: &str) -> Option<&Value> {
        self.rows.get(&(table.to_owned(), id.to_owned()))
    }

    /// Puts a row; its key is the column `id`.
    pub fn put(&mut self, table: &str, row: Value) {
        let key = (
            table.to_owned(),
            row["id"].as_str().expect("ids are strings").to_owned(),
        );
        self.changed.insert(key.clone());
        self.rows.insert(key, row);
    }

    /// Removes a row.
    pub fn remove(&mut self, table: &str, id: &str) {
        let key = (table.to_owned(), id.to_owned());
        self.changed.insert(key.clone());
        self.rows.remove(&key);
    }

    /// All rows of a table in key order.
    pub fn table(&self, table: &str) -> Vec<Value> {
        self.rows
            .iter()
            .filter(|((t, _), _)| t == table)
            .map(|(_, row)| row.clone())
            .collect()
    }
}

#[derive(Default)]
struct Group {
    last_ids: BTreeMap<String, (u64, u64)>,
    got: BTreeMap<String, u64>,
    desired: BTreeMap<(String, String), u64>,
    results: BTreeMap<(String, u64), (Value, u64)>,
    schema_known: bool,
    /// Everything is forgotten but what mutations did: their last ids and results live with the data.
    forgotten: bool,
}

impl Group {
    fn forget(&mut self) {
        self.got.clear();
        self.desired.clear();
        self.schema_known = false;
        self.forgotten = true;
    }
}

struct Connection {
    group: String,
    client: String,
    cookie: Option<u64>,
    initialised: bool,
    out: Vec<String>,
}

/// The server.
#[derive(Default)]
pub struct Server {
    /// What it holds.
    pub rows: Rows,
    /// Version of the last change of each row that was ever there.
    versions: BTreeMap<(String, String), u64>,
    version: u64,
    groups: BTreeMap<String, Group>,
    connections: BTreeMap<String, Connection>,
    mutators: BTreeMap<&'static str, ServerMutator>,
    /// What it says in `connected`, if it is one of ours.
    pub mode: Option<Value>,
    /// Names of all mutations that were carried out, with client and id, in order.
    pub applied: Vec<(String, u64, String)>,
    /// Arguments of all custom mutations that were carried out or refused, in order.
    pub executed: Vec<String>,
    /// Message types received, in order.
    pub received: Vec<String>,
}

impl Server {
    /// A server with these mutators.
    pub fn new(mutators: &[(&'static str, ServerMutator)]) -> Server {
        Server {
            version: 1,
            mutators: mutators.iter().copied().collect(),
            ..Server::default()
        }
    }

    /// Changes rows from outside, as one commit.
    pub fn commit(&mut self, change: impl FnOnce(&mut Rows)) {
        change(&mut self.rows);
        self.finish_version();
    }

    fn finish_version(&mut self) {
        self.version += 1;
        for key in std::mem::take(&mut self.rows.changed) {
            self.versions.insert(key, self.version);
        }
    }

    fn cookie(version: u64) -> String {
        StateVersion(version).to_string()
    }

    /// The last mutation id of a client, in whichever group it is.
    pub fn last_id(&self, client: &str) -> u64 {
        self.groups
            .values()
            .filter_map(|group| group.last_ids.get(client))
            .map(|(id, _)| *id)
            .max()
            .unwrap_or(0)
    }

    /// Forgets all groups, as after a purge.
    pub fn forget_all(&mut self) {
        self.groups.values_mut().for_each(Group::forget);
        let clients: Vec<String> = self.connections.keys().cloned().collect();
        for client in clients {
            let error = json!(["error", {"kind": "ClientNotFound", "message": "Client not found", "origin": "zeroCache"}]);
            self.say(&client, &error);
            if let Some(connection) = self.connections.get_mut(&client) {
                connection.initialised = false;
            }
        }
    }

    /// Forgets a group, as after a purge.
    pub fn forget(&mut self, group: &str) {
        if let Some(group) = self.groups.get_mut(group) {
            group.forget();
        }
    }

    /// A client connects. Returns what it hears at once.
    pub fn connect(&mut self, url: &str, protocol: &str) -> Vec<String> {
        let params: BTreeMap<String, String> = url
            .split_once('?')
            .map(|(_, query)| query)
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.replace("%3A", ":")))
            .collect();
        let client = params["clientID"].clone();
        let cookie = params
            .get("baseCookie")
            .filter(|c| !c.is_empty())
            .map(|text| {
                StateVersion::parse(text)
                    .expect("a cookie of this server")
                    .0
            });
        self.connections.insert(
            client.clone(),
            Connection {
                group: params["clientGroupID"].clone(),
                client: client.clone(),
                cookie,
                initialised: false,
                out: Vec::new(),
            },
        );
        let mut body = json!({"wsid": params["wsid"], "timestamp": 1});
        if let (Some(mode), true) = (&self.mode, params.contains_key("landfall")) {
            body["landfall"] = mode.clone();
        }
        self.say(&client, &json!(["connected", body]));
        let header = ReceivedProtocol::decode(protocol).expect("the handshake value is good");
        match header.first_message {
            Some(text) => self.receive(&client, &text),
            None => self.poke_all(),
        }
        self.take_out(&client)
    }

    /// A text of a client arrives; answers wait in [`Server::take_out`].
    pub fn receive(&mut self, client: &str, text: &str) {
        let message = decode_upstream(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        self.take(client, message);
        self.poke_all();
    }

    /// A connection is gone.
    pub fn disconnect(&mut self, client: &str) {
        self.connections.remove(client);
    }

    /// What a client hears.
    pub fn take_out(&mut self, client: &str) -> Vec<String> {
        self.poke_all();
        self.connections
            .get_mut(client)
            .map(|c| std::mem::take(&mut c.out))
            .unwrap_or_default()
    }

    fn say(&mut self, client: &str, message: &Value) {
        let text = message.to_string();
        // What is said must be what the protocol crate reads.
        let _: Downstream<'_> =
            landfall_protocol::decode_downstream(&text).expect("a good message");
        if let Some(connection) = self.connections.get_mut(client) {
            connection.out.push(text);
        }
    }

    fn take(&mut self, client: &str, message: Upstream) {
        let Some(connection) = self.connections.get(client) else {
            return;
        };
        let group = connection.group.clone();
        let refused = !connection.initialised && !matches!(message, Upstream::InitConnection(_));
        if refused {
            // The connection has failed; what else comes on it is not heard.
            return;
        }
        match message {
            Upstream::InitConnection(init) => {
                self.received.push("initConnection".into());
                let known = self
                    .groups
                    .get(&group)
                    .is_some_and(|group| !group.forgotten);
                if connection.cookie.is_some() && !known {
                    let error = json!(["error", {"kind": "ClientNotFound", "message": "Client not found", "origin": "zeroCache"}]);
                    self.say(client, &error);
                    return;
                }
                let record = self.groups.entry(group).or_default();
                assert!(
                    record.schema_known || init.client_schema.is_some(),
                    "a new group names its schema"
                );
                record.schema_known = true;
                record.forgotten = false;
                if let Some(connection) = self.connections.get_mut(client) {
                    connection.initialised = true;
                }
                self.take_queries(client, init.desired_queries_patch);
            }
            Upstream::ChangeDesiredQueries(change) => {
                self.received.push("changeDesiredQueries".into());
                self.take_queries(client, change.desired_queries_patch);
            }
            Upstream::Push(push) => {
                self.received.push("push".into());
                assert_eq!(push.client_group_id, group);
                for mutation in push.mutations {
                    self.apply(&group, mutation);
                }
            }
            Upstream::AckMutationResponses(ack) => {
                self.received.push("ackMutationResponses".into());
                if let Some(group) = self.groups.get_mut(&group) {
                    group
                        .results
                        .retain(|(client, id), _| *client != ack.client_id || *id > ack.id);
                }
            }
            Upstream::DeleteClients(delete) => {
                self.received.push("deleteClients".into());
                let ids = delete.client_ids.unwrap_or_default();
                assert!(
                    !ids.iter().any(|id| id == client),
                    "a client does not delete itself"
                );
                self.say(client, &json!(["deleteClients", {"clientIDs": ids}]));
            }
            Upstream::Ping => self.say(client, &json!(["pong", {}])),
            other => panic!("unexpected {other:?}"),
        }
    }

    fn take_queries(&mut self, client: &str, ops: Vec<UpQueryOp>) {
        let Some(connection) = self.connections.get(client) else {
            return;
        };
        let Some(group) = self.groups.get_mut(&connection.group) else {
            return;
        };
        self.version += 1;
        for op in ops {
            match op {
                UpQueryOp::Put(put) => {
                    group
                        .desired
                        .insert((client.to_owned(), put.hash.clone()), self.version);
                    group.got.entry(put.hash).or_insert(self.version);
                }
                UpQueryOp::Del { hash } => {
                    group.desired.remove(&(client.to_owned(), hash));
                }
                UpQueryOp::Clear => group.desired.retain(|(c, _), _| c != client),
            }
        }
    }

    fn apply(&mut self, group: &str, mutation: Mutation) {
        let (client, id) = (mutation.client_id().to_owned(), mutation.id());
        let last = self
            .groups
            .entry(group.to_owned())
            .or_default()
            .last_ids
            .get(&client)
            .map_or(0, |l| l.0);
        if id <= last {
            return;
        }
        assert_eq!(id, last + 1, "ids of a client have no gaps");
        let before = self.rows.clone();
        let (name, result) = match &mutation {
            Mutation::Custom(custom) => {
                let argument = custom.args.first().map_or("null", |json| json.as_str());
                self.executed.push(argument.to_owned());
                let argument = serde_json::from_str(argument).expect("JSON");
                let result = match self.mutators.get(custom.name.as_str()) {
                    Some(mutator) => mutator(&mut self.rows, &argument),
                    None => Err(format!("no mutator {}", custom.name)),
                };
                (custom.name.clone(), result)
            }
            Mutation::Crud(crud) => {
                for op in &crud.ops {
                    let value = serde_json::from_str(op.value.as_str()).expect("JSON");
                    apply_crud(&mut self.rows, op.op, &op.table_name, value);
                }
                ("crud".to_owned(), Ok(()))
            }
        };
        if result.is_err() {
            self.rows = before;
        }
        self.finish_version();
        let version = self.version;
        let Some(record) = self.groups.get_mut(group) else {
            return;
        };
        record.last_ids.insert(client.clone(), (id, version));
        match result {
            Ok(()) => self.applied.push((client, id, name)),
            Err(message) => {
                record.results.insert(
                    (client, id),
                    (json!({"error": "app", "message": message}), version),
                );
            }
        }
    }

    /// Brings every initialised connection to the present version.
    fn poke_all(&mut self) {
        let clients: Vec<String> = self
            .connections
            .iter()
            .filter(|(_, c)| c.initialised)
            .map(|(client, _)| client.clone())
            .collect();
        for client in clients {
            self.poke(&client);
        }
    }

    fn poke(&mut self, client: &str) {
        let Some(connection) = self.connections.get(client) else {
            return;
        };
        let base = connection.cookie;
        if base == Some(self.version) {
            return;
        }
        let since = base.unwrap_or(0);
        let (group, me) = (connection.group.clone(), connection.client.clone());
        let Some(record) = self.groups.get(&group) else {
            return;
        };
        let part = part_since(record, &self.rows, &self.versions, since, &me);
        let (id, cookie) = (Self::cookie(self.version), Self::cookie(self.version));
        let mut body = Value::Object(part);
        body["pokeID"] = json!(id);
        let base = base.map(Self::cookie);
        self.say(
            client,
            &json!(["pokeStart", {"pokeID": id, "baseCookie": base}]),
        );
        self.say(client, &json!(["pokePart", body]));
        self.say(
            client,
            &json!(["pokeEnd", {"pokeID": id, "cookie": cookie}]),
        );
        let version = self.version;
        if let Some(connection) = self.connections.get_mut(client) {
            connection.cookie = Some(version);
        }
    }
}

fn part_since(
    group: &Group,
    rows: &Rows,
    versions: &BTreeMap<(String, String), u64>,
    since: u64,
    me: &str,
) -> Map<String, Value> {
    let mut part = Map::new();
    let ids: Map<String, Value> = group
        .last_ids
        .iter()
        .filter(|(_, l)| l.1 > since)
        .map(|(c, l)| (c.clone(), json!(l.0)))
        .collect();
    part.insert("lastMutationIDChanges".into(), Value::Object(ids));
    let desired: Vec<Value> = group
        .desired
        .iter()
        .filter(|((client, _), version)| client == me && **version > since)
        .map(|((_, hash), _)| json!({"op": "put", "hash": hash}))
        .collect();
    part.insert("desiredQueriesPatches".into(), json!({ me: desired }));
    let got: Vec<Value> = group
        .got
        .iter()
        .filter(|(_, version)| **version > since)
        .map(|(hash, _)| json!({"op": "put", "hash": hash}))
        .collect();
    part.insert("gotQueriesPatch".into(), json!(got));
    let changes: Vec<Value> = versions
        .iter()
        .filter(|(_, version)| **version > since)
        .map(|((table, id), _)| match rows.get(table, id) {
            Some(row) => json!({"op": "put", "tableName": table, "value": row}),
            None => json!({"op": "del", "tableName": table, "id": {"id": id}}),
        })
        .collect();
    part.insert("rowsPatch".into(), json!(changes));
    let results: Vec<Value> = group
        .results
        .iter()
        .filter(|(_, (_, version))| *version > since)
        .map(|((client, id), (result, _))| {
            json!({"op": "put", "mutation": {"id": {"clientID": client, "id": id}, "result": result}})
        })
        .collect();
    part.insert("mutationsPatch".into(), json!(results));
    part
}

fn apply_crud(rows: &mut Rows, op: CrudKind, table: &str, value: Value) {
    let id = value["id"].as_str().expect("ids are strings").to_owned();
    let before = rows.get(table, &id).cloned();
    match (op, before) {
        (CrudKind::Insert, Some(_)) | (CrudKind::Update, None) => {}
        (CrudKind::Insert | CrudKind::Upsert, None) => rows.put(table, value),
        (CrudKind::Update | CrudKind::Upsert, Some(mut row)) => {
            if let (Some(row), Value::Object(changes)) = (row.as_object_mut(), value) {
                row.extend(changes);
            }
            rows.put(table, row);
        }
        (CrudKind::Delete, _) => rows.remove(table, &id),
    }
}
