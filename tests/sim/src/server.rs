//! A scripted server: holds rows, runs pushed mutations once and in order, keeps a view record for each client group,
//! and pokes every connection from its own cookie.
//!
//! It speaks the wire protocol in text. A group is given all rows of the tables that its queries name, as far as its
//! user may see them: which rows a query needs is the real server's business, and tested there.

use crate::rows::{RowName, Rows, ServerMutator};
use crate::server_group::{Group, GroupState, QueryTables};
use landfall_protocol::{
    InitConnection, Mutation, Push, QueryText, ReceivedProtocol, StateVersion, UpQueryOp, Upstream,
    decode_downstream, decode_upstream,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Names a connection.
pub type ConnectionId = u32;

struct Connection {
    group: String,
    client: String,
    cookie: Option<u64>,
    initialised: bool,
    /// A newer connection of the same client has taken its place: it is sent nothing, and its queries count no more.
    replaced: bool,
    /// The server has said something after which it closes.
    closing: bool,
    out: Vec<String>,
}

/// A mutation that the server was asked to carry out.
#[derive(Clone, Debug, PartialEq)]
pub struct Executed {
    /// Its client.
    pub client: String,
    /// Its number.
    pub id: u64,
    /// The mutator, or `crud`.
    pub name: String,
    /// The first argument, or the writes.
    pub argument: String,
    /// Why it was refused.
    pub refusal: Option<String>,
}

/// The server.
#[derive(Default)]
pub struct Server {
    /// What it holds.
    pub rows: Rows,
    /// Version of the last change of each row that was ever there.
    versions: BTreeMap<RowName, u64>,
    version: u64,
    groups: BTreeMap<String, Group>,
    connections: BTreeMap<ConnectionId, Connection>,
    mutators: BTreeMap<&'static str, ServerMutator>,
    /// The tables of each named query; others are about everything.
    pub queries: BTreeMap<String, Vec<&'static str>>,
    /// What it says in `connected`, if it is one of ours.
    pub mode: Option<Value>,
    /// The token without which nobody is let in.
    pub token: Option<String>,
    /// Rows of which only this is true are seen.
    pub permission: Option<fn(&Value) -> bool>,
    /// Pushes are refused because they come too fast.
    pub rate_limited: bool,
    /// The application's endpoint is down.
    pub endpoint_down: bool,
    /// The body of the error with which every connection is refused.
    pub refusal: Option<Value>,
    /// How often clients have connected, or tried to.
    pub attempts: usize,
    /// Clients of which a push was turned away: what they had sent after it comes with a gap.
    turned_away: BTreeSet<String>,
    /// All mutations that were carried out or refused, in order.
    pub executed: Vec<Executed>,
    /// Message types received, in order.
    pub received: Vec<String>,
    /// The traces that messages belonged to, each with the type of its message.
    pub traces: Vec<(String, String)>,
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
        for key in self.rows.take_changed() {
            self.versions.insert(key, self.version);
        }
    }

    fn cookie(version: u64) -> String {
        StateVersion(version).to_string()
    }

    /// Mutations that were carried out: client, number and mutator.
    pub fn applied(&self) -> Vec<(&str, u64, &str)> {
        self.executed
            .iter()
            .filter(|done| done.refusal.is_none())
            .map(|done| (done.client.as_str(), done.id, done.name.as_str()))
            .collect()
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

    /// What a group was given at a cookie; `None` if the server never gave that cookie to it.
    pub fn state_at(&self, group: &str, cookie: &str) -> Option<&GroupState> {
        let version = StateVersion::parse(cookie).ok()?.0;
        self.groups.get(group)?.states.get(&version)
    }

    /// All groups that there ever were.
    pub fn group_ids(&self) -> Vec<String> {
        self.groups.keys().cloned().collect()
    }

    /// Forgets all groups, as after a purge.
    pub fn forget_all(&mut self) {
        self.groups.values_mut().for_each(Group::forget);
        let known: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for connection in known {
            self.fail(connection, "ClientNotFound", "Client not found");
            if let Some(connection) = self.connections.get_mut(&connection) {
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

    /// Whoever is behind begins with a clear.
    pub fn resync_all(&mut self) {
        self.version += 1;
        for group in self.groups.values_mut() {
            group.resync_below = self.version;
        }
    }

    /// Gives up queries that nobody wants.
    pub fn expire_queries(&mut self) {
        self.version += 1;
        for group in self.groups.values_mut() {
            group.expire(self.version);
        }
    }

    /// A release without this mutator.
    pub fn forget_mutator(&mut self, name: &str) {
        self.mutators.remove(name);
    }

    /// Another rule of who sees what.
    pub fn set_permission(&mut self, permission: Option<fn(&Value) -> bool>) {
        self.permission = permission;
        self.version += 1;
    }

    /// Another token is needed from now on; whoever is connected is told.
    pub fn set_token(&mut self, token: Option<String>) {
        self.token = token;
        let known: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for connection in known {
            self.fail(connection, "AuthInvalidated", "the token has expired");
        }
    }

    /// Asks every client to come again.
    pub fn rehome(&mut self) {
        let known: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for connection in known {
            self.fail(connection, "Rehome", "moved");
        }
    }

    /// Every connection, now and later, is refused with this body of an error.
    pub fn refuse_all(&mut self, body: &Value) {
        self.refusal = Some(body.clone());
        let known: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for connection in known {
            self.fail_with(connection, body);
        }
    }

    fn fail(&mut self, id: ConnectionId, kind: &str, message: &str) {
        self.fail_with(
            id,
            &json!({"kind": kind, "message": message, "origin": "zeroCache"}),
        );
    }

    fn fail_with(&mut self, id: ConnectionId, body: &Value) {
        self.say(id, &json!(["error", body]));
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.closing = true;
        }
    }

    /// A client connects. What it hears waits in [`Server::take_out`].
    pub fn connect(&mut self, id: ConnectionId, url: &str, protocol: &str) {
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
        for old in self.connections.values_mut().filter(|c| c.client == client) {
            old.replaced = true;
        }
        let connection = Connection {
            group: params["clientGroupID"].clone(),
            client,
            cookie,
            initialised: false,
            replaced: false,
            closing: false,
            out: Vec::new(),
        };
        self.connections.insert(id, connection);
        self.attempts += 1;
        if let Some(body) = self.refusal.clone() {
            return self.fail_with(id, &body);
        }
        let header = ReceivedProtocol::decode(protocol).expect("the handshake value is good");
        if self.token.is_some() && header.auth_token != self.token {
            return self.fail(id, "Unauthorized", "no");
        }
        let mut body = json!({"wsid": params["wsid"], "timestamp": 1});
        if let (Some(mode), true) = (&self.mode, params.contains_key("landfall")) {
            body["landfall"] = mode.clone();
        }
        self.say(id, &json!(["connected", body]));
        if let Some(text) = header.first_message {
            self.receive(id, &text);
        }
    }

    /// A text of a client arrives; answers wait in [`Server::take_out`].
    pub fn receive(&mut self, id: ConnectionId, text: &str) {
        let message = decode_upstream(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        self.take(id, message);
    }

    /// A connection is gone.
    pub fn disconnect(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
    }

    /// What a client hears, and whether the server closes the connection after it.
    pub fn take_out(&mut self, id: ConnectionId) -> (Vec<String>, bool) {
        self.poke(id);
        match self.connections.get_mut(&id) {
            Some(connection) => (
                std::mem::take(&mut connection.out),
                connection.closing || connection.replaced,
            ),
            None => (Vec::new(), true),
        }
    }

    fn say(&mut self, id: ConnectionId, message: &Value) {
        let text = message.to_string();
        // What is said must be what the protocol crate reads.
        decode_downstream(&text).expect("a good message");
        let open = |connection: &&mut Connection| !connection.closing && !connection.replaced;
        if let Some(connection) = self.connections.get_mut(&id).filter(open) {
            connection.out.push(text);
        }
    }

    fn take(&mut self, id: ConnectionId, message: Upstream) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let (group, client) = (connection.group.clone(), connection.client.clone());
        let first = matches!(message, Upstream::InitConnection(_));
        // The connection has failed, or another one counts; what else comes on it is not heard. But a push that was
        // under way when its connection was replaced may still be carried out.
        let late = connection.replaced && !matches!(message, Upstream::Push(_));
        if connection.closing || late || connection.initialised == first {
            return;
        }
        self.received.push(message_name(&message).into());
        let trace = match &message {
            Upstream::InitConnection(init) => &init.traceparent,
            Upstream::ChangeDesiredQueries(change) => &change.traceparent,
            Upstream::Push(push) => &push.traceparent,
            _ => &None,
        };
        if let Some(trace) = trace {
            self.traces
                .push((message_name(&message).into(), trace.clone()));
        }
        match message {
            Upstream::InitConnection(init) => self.initialise(id, &group, init),
            Upstream::ChangeDesiredQueries(change) => {
                self.take_queries(&group, &client, change.desired_queries_patch);
            }
            Upstream::Push(push) => self.push(id, &group, push),
            Upstream::AckMutationResponses(ack) => {
                self.version += 1;
                if let Some(group) = self.groups.get_mut(&group) {
                    group.acknowledge(&ack.client_id, ack.id, self.version);
                }
            }
            Upstream::DeleteClients(delete) => {
                let ids = delete.client_ids.unwrap_or_default();
                self.delete_clients(id, ids);
            }
            Upstream::UpdateAuth(update) => {
                if self.token.is_some() && self.token != Some(update.auth) {
                    self.fail(id, "AuthInvalidated", "another token is needed");
                }
            }
            Upstream::Ping => self.say(id, &json!(["pong", {}])),
            other => panic!("unexpected {other:?}"),
        }
    }

    fn initialise(&mut self, id: ConnectionId, group: &str, init: InitConnection) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let known = self.groups.get(group).is_some_and(|group| !group.forgotten);
        if connection.cookie.is_some() && !known {
            return self.fail(id, "ClientNotFound", "Client not found");
        }
        connection.initialised = true;
        let client = connection.client.clone();
        let record = self.groups.entry(group.to_owned()).or_default();
        assert!(
            record.schema_known || init.client_schema.is_some(),
            "a new group names its schema"
        );
        record.schema_known = true;
        if std::mem::take(&mut record.forgotten) {
            // What others of the group hold is of another life of it.
            self.version += 1;
            record.resync_below = self.version;
        }
        self.take_queries(group, &client, init.desired_queries_patch);
        if let Some(deleted) = init.deleted {
            self.delete_clients(id, deleted.client_ids.unwrap_or_default());
        }
    }

    fn delete_clients(&mut self, id: ConnectionId, ids: Vec<String>) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let own = ids.contains(&connection.client);
        assert!(!own, "a client does not delete itself");
        self.version += 1;
        if let Some(group) = self.groups.get_mut(&connection.group) {
            for client in &ids {
                group.undesire_all(client, self.version);
            }
        }
        self.say(id, &json!(["deleteClients", {"clientIDs": ids}]));
    }

    fn take_queries(&mut self, group: &str, client: &str, ops: Vec<UpQueryOp>) {
        self.version += 1;
        let version = self.version;
        for op in ops {
            let tables = match &op {
                UpQueryOp::Put(put) => self.tables_of(&put.query),
                UpQueryOp::Del { .. } | UpQueryOp::Clear => None,
            };
            let Some(group) = self.groups.get_mut(group) else {
                return;
            };
            match op {
                UpQueryOp::Put(put) => group.desire(client, put.hash, tables, version),
                UpQueryOp::Del { hash } => group.undesire(client, &hash, version),
                UpQueryOp::Clear => group.undesire_all(client, version),
            }
        }
    }

    fn tables_of(&self, query: &QueryText) -> QueryTables {
        match query {
            QueryText::Named { name, .. } => {
                let tables = self.queries.get(name)?;
                Some(tables.iter().map(|table| (*table).to_owned()).collect())
            }
            QueryText::Ast(ast) => {
                let ast = serde_json::to_value(ast).expect("an AST is JSON");
                let mut tables = BTreeSet::new();
                collect_tables(&ast, &mut tables);
                Some(tables)
            }
        }
    }

    fn push(&mut self, id: ConnectionId, group: &str, push: Push) {
        assert_eq!(push.client_group_id, group);
        if self.rate_limited || self.endpoint_down {
            let clients = push.mutations.iter().map(|m| m.client_id().to_owned());
            self.turned_away.extend(clients);
        }
        if self.rate_limited {
            let error = json!(["error", {"kind": "MutationRateLimited", "message": "slower", "origin": "zeroCache"}]);
            return self.say(id, &error);
        }
        if self.endpoint_down {
            let details = json!({"origin": "zeroCache", "reason": "http", "status": 503});
            return self.push_failed(id, &push.mutations, &details);
        }
        for (place, mutation) in push.mutations.iter().enumerate() {
            if !self.apply(group, mutation) {
                // With it all that came behind it in the message, of other clients as well.
                let rest = push.mutations[place..].iter();
                self.turned_away
                    .extend(rest.map(|m| m.client_id().to_owned()));
                let details = json!({"origin": "server", "reason": "oooMutation"});
                return self.push_failed(id, &push.mutations[place..], &details);
            }
        }
    }

    fn push_failed(&mut self, id: ConnectionId, mutations: &[Mutation], details: &Value) {
        let ids: Vec<Value> = mutations
            .iter()
            .map(|m| json!({"id": m.id(), "clientID": m.client_id()}))
            .collect();
        let mut body = json!({"kind": "PushFailed", "message": "not now", "mutationIDs": ids});
        for (name, value) in details.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        self.say(id, &json!(["error", body]));
    }

    /// Carries a mutation out; `false` if one before it is missing.
    fn apply(&mut self, group: &str, mutation: &Mutation) -> bool {
        let (client, id) = (mutation.client_id().to_owned(), mutation.id());
        let record = self.groups.entry(group.to_owned()).or_default();
        let last = record.last_ids.get(&client).map_or(0, |last| last.0);
        if id <= last {
            return true;
        }
        if id != last + 1 {
            let excused = self.turned_away.contains(&client);
            assert!(
                excused,
                "mutation {id} of client {client} comes after {last}"
            );
            return false;
        }
        let before = self.rows.clone();
        let (name, argument, result) = match mutation {
            Mutation::Custom(custom) => {
                let argument = custom.args.first().map_or("null", |json| json.as_str());
                let value = serde_json::from_str(argument).expect("JSON");
                let result = match self.mutators.get(custom.name.as_str()) {
                    Some(mutator) => mutator(&mut self.rows, &value),
                    None => Err(format!("no mutator {}", custom.name)),
                };
                (custom.name.clone(), argument.to_owned(), result)
            }
            Mutation::Crud(crud) => {
                for op in &crud.ops {
                    let value = serde_json::from_str(op.value.as_str()).expect("JSON");
                    self.rows.apply_crud(op.op, &op.table_name, value);
                }
                let ops = serde_json::to_string(&crud.ops).expect("JSON");
                ("crud".to_owned(), ops, Ok(()))
            }
        };
        if result.is_err() {
            self.rows = before;
        }
        self.finish_version();
        let version = self.version;
        if let Some(record) = self.groups.get_mut(group) {
            record.last_ids.insert(client.clone(), (id, version));
            if let Err(message) = &result {
                let result = json!({"error": "app", "message": message});
                record
                    .results
                    .insert((client.clone(), id), (Some(result), version));
            }
        }
        self.executed.push(Executed {
            client,
            id,
            name,
            argument,
            refusal: result.err(),
        });
        true
    }

    /// Brings a connection to the present version.
    fn poke(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let live = connection.initialised && !connection.replaced && !connection.closing;
        if !live || connection.cookie == Some(self.version) {
            return;
        }
        let base = connection.cookie;
        let (group, me) = (connection.group.clone(), connection.client.clone());
        let permission = self.permission;
        let Some(record) = self.groups.get_mut(&group) else {
            return;
        };
        let visible = |row: &Value| permission.is_none_or(|rule| rule(row));
        record.refresh(&self.rows, &self.versions, visible, self.version);
        let parts = record.parts_since(base.unwrap_or(0), &self.rows, &me);
        let (poke, base) = (Self::cookie(self.version), base.map(Self::cookie));
        self.say(
            id,
            &json!(["pokeStart", {"pokeID": poke, "baseCookie": base}]),
        );
        for part in parts {
            let mut body = Value::Object(part);
            body["pokeID"] = json!(poke);
            self.say(id, &json!(["pokePart", body]));
        }
        self.say(id, &json!(["pokeEnd", {"pokeID": poke, "cookie": poke}]));
        let version = self.version;
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.cookie = Some(version);
        }
    }
}

fn message_name(message: &Upstream) -> &'static str {
    match message {
        Upstream::InitConnection(_) => "initConnection",
        Upstream::ChangeDesiredQueries(_) => "changeDesiredQueries",
        Upstream::Push(_) => "push",
        Upstream::AckMutationResponses(_) => "ackMutationResponses",
        Upstream::DeleteClients(_) => "deleteClients",
        Upstream::UpdateAuth(_) => "updateAuth",
        Upstream::Ping => "ping",
        _ => "other",
    }
}

fn collect_tables(ast: &Value, tables: &mut BTreeSet<String>) {
    match ast {
        Value::Object(members) => {
            if let Some(Value::String(table)) = members.get("table") {
                tables.insert(table.clone());
            }
            members
                .values()
                .for_each(|value| collect_tables(value, tables));
        }
        Value::Array(values) => values
            .iter()
            .for_each(|value| collect_tables(value, tables)),
        _ => {}
    }
}
