//! What the protocol says of wishes, clients and times to live, sentence by sentence, on a group without a pool.

use std::collections::BTreeMap;
use std::sync::Arc;

use landfall_protocol::{ClientSchema, decode_upstream};
use landfall_zql::ast::Ast;
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use tokio::sync::oneshot;

use super::group::VERSION_PATIENCE_MS;
use super::outbound::{Frame, Outbound, Port};
use super::{
    Attach, ConnectionContext, ConnectionId, Effect, Group, GroupEvent, QueryLimits, Rules,
};
use crate::clock::Now;
use crate::cvr::{CvrVersion, GroupRecord, InstanceId, StateVersion};
use crate::queries::{CatchUpReply, PoolEvent, PreparedQuery, SyncedEvent};

/// The version at which the pool stands.
const POINT: StateVersion = 7;
const MINUTE: u64 = 60_000;

#[derive(Default)]
struct Open {
    /// What the database lacks of every schema.
    lacks: Mutex<Option<&'static str>>,
}

impl Rules for Open {
    fn pool_version(&self) -> StateVersion {
        POINT
    }

    fn want_version(&self, _: StateVersion) {}

    fn check_schema(&self, _: &ClientSchema) -> Result<(), String> {
        self.lacks
            .lock()
            .map_or(Ok(()), |lacks| Err(lacks.to_owned()))
    }

    fn prepare_client_query(&self, ast: &Ast, _: Option<&Json>) -> Result<PreparedQuery, String> {
        Ok(PreparedQuery::new(ast))
    }

    fn prepare_app_query(&self, name: &str, ast: &Ast) -> Result<PreparedQuery, String> {
        Ok(PreparedQuery::named(name, ast))
    }

    fn has_query_endpoint(&self) -> bool {
        false
    }

    fn validates(&self, _: &ConnectionContext) -> bool {
        false
    }

    fn query_limits(&self) -> QueryLimits {
        QueryLimits {
            per_group: 100,
            per_client: 100,
        }
    }

    fn told(&self, _: StateVersion, _: StateVersion) {}
}

/// A socket that takes everything.
#[derive(Default)]
struct Heard(Mutex<Vec<Frame>>);

impl Port for Heard {
    fn send(&self, frames: Vec<Frame>) {
        self.0.lock().extend(frames);
    }

    fn congested(&self) -> bool {
        false
    }
}

/// A group, its time, its store, and the sockets of its clients.
struct Room {
    group: Group,
    rules: Arc<Open>,
    now: Now,
    stored: GroupRecord,
    sockets: BTreeMap<ConnectionId, Arc<Heard>>,
    cleaned: Vec<Vec<String>>,
    next: ConnectionId,
}

impl Room {
    fn new() -> Room {
        Room::with(None)
    }

    fn with(stored: Option<GroupRecord>) -> Room {
        let rules = Arc::new(Open::default());
        Room {
            group: Group::new("g".into(), rules.clone(), stored.clone()),
            rules,
            now: Now {
                steady_ms: 1_000,
                wall_ms: 1_700_000_000_000,
            },
            stored: stored.unwrap_or_default(),
            sockets: BTreeMap::new(),
            cleaned: Vec::new(),
            next: 0,
        }
    }

    /// The same group in the next process.
    fn restarted(self) -> Room {
        Room {
            now: self.now,
            ..Room::with(Some(self.stored))
        }
    }

    fn event(&mut self, event: GroupEvent) {
        for effect in self.group.handle(self.now, event) {
            match effect {
                Effect::Store(writes) => writes.iter().for_each(|w| self.stored.apply(w)),
                Effect::Send(outbound, frames) => outbound.send_all(frames),
                Effect::Sync {
                    queries, catch_ups, ..
                } => {
                    let instance = |key: &[u8]| {
                        InstanceId(
                            key.iter()
                                .fold(1, |sum, byte| sum * 31 % 99_991 + u64::from(*byte)),
                        )
                    };
                    let synced = SyncedEvent {
                        version: POINT,
                        queries: queries
                            .iter()
                            .map(|(hash, query)| (hash.clone(), Ok(instance(&query.key))))
                            .collect(),
                        rows: None,
                        catch_ups: catch_ups
                            .iter()
                            .map(|c| (c.connection, CatchUpReply::Rows(None)))
                            .collect(),
                        lmids: BTreeMap::new(),
                        results: BTreeMap::new(),
                    };
                    self.event(GroupEvent::Pool(PoolEvent::Synced(Box::new(synced))));
                }
                Effect::CleanClients(_, clients) => self.cleaned.push(clients),
                _ => {}
            }
        }
    }

    fn connect(&mut self, client: &str, init: Json) -> ConnectionId {
        self.next += 1;
        let id = self.next;
        let socket = Arc::new(Heard::default());
        let out = Outbound::new(socket.clone());
        let (reply, mut verdict) = oneshot::channel();
        let context = ConnectionContext {
            id,
            client_id: client.to_owned(),
            group_id: "g".to_owned(),
            protocol: 51,
            landfall: true,
            ..ConnectionContext::default()
        };
        self.sockets.insert(id, socket);
        self.event(GroupEvent::Attach(Box::new(Attach {
            context,
            outbound: out,
            base_cookie: None,
            reply,
        })));
        verdict.try_recv().expect("answered").expect("accepted");
        self.say(id, "initConnection", init);
        id
    }

    fn say(&mut self, id: ConnectionId, kind: &str, body: Json) {
        let text = json!([kind, body]).to_string();
        let message = decode_upstream(&text).expect("a message");
        self.event(GroupEvent::Message(id, Box::new(message)));
    }

    fn desire(&mut self, id: ConnectionId, ops: Json) {
        self.say(
            id,
            "changeDesiredQueries",
            json!({"desiredQueriesPatch": ops}),
        );
    }

    /// Time passes as a task's timer sees it.
    fn pass(&mut self, mut ms: u64) {
        while let Some(tick) = self.group.next_tick_ms().filter(|tick| *tick <= ms) {
            // A timer is a little late, and so an event that is due now is due.
            let step = tick.max(1).min(ms);
            self.now.steady_ms += step;
            self.now.wall_ms += step;
            ms -= step;
            self.event(GroupEvent::Tick);
            if ms == 0 {
                return;
            }
        }
        self.now.steady_ms += ms;
        self.now.wall_ms += ms;
        self.event(GroupEvent::Tick);
    }

    /// Everything that a connection was told since it was last asked: patches of wishes and of what was got, kinds of
    /// other messages.
    fn told(&mut self, id: ConnectionId) -> Vec<String> {
        let mut told = Vec::new();
        let Some(socket) = self.sockets.get(&id) else {
            return told;
        };
        for frame in socket.0.lock().drain(..) {
            match frame {
                Frame::Text(text) => told.extend(describe(&text)),
                Frame::Close(_) => told.push("closed".to_owned()),
                _ => told.push("binary".to_owned()),
            }
        }
        told
    }
}

fn describe(text: &str) -> Vec<String> {
    let message: Json = serde_json::from_str(text).expect("JSON");
    let body = &message[1];
    let op = |op: &Json| {
        format!(
            "{}:{}",
            op["op"].as_str().unwrap_or("?"),
            op["hash"].as_str().unwrap_or("?")
        )
    };
    match message[0].as_str().expect("a kind") {
        "pokeStart" | "pokeEnd" => Vec::new(),
        "pokePart" => {
            let mut all = Vec::new();
            for (client, ops) in body["desiredQueriesPatches"]
                .as_object()
                .into_iter()
                .flatten()
            {
                let ops = ops.as_array().expect("a list");
                all.extend(ops.iter().map(|o| format!("{client} {}", op(o))));
            }
            let got = body["gotQueriesPatch"].as_array().into_iter().flatten();
            all.extend(got.map(|o| format!("got {}", op(o))));
            all
        }
        "error" => vec![format!("error {}", body["kind"].as_str().unwrap_or("?"))],
        "deleteClients" => vec![format!("deleteClients {}", body["clientIDs"])],
        kind => vec![kind.to_owned()],
    }
}

fn init(ops: Json) -> Json {
    json!({"desiredQueriesPatch": ops})
}

fn init_with_schema(ops: Json) -> Json {
    json!({"desiredQueriesPatch": ops, "clientSchema": {"tables": {}}})
}

fn put(hash: &str) -> Json {
    json!({"op": "put", "hash": hash, "ast": {"table": hash}})
}

fn put_for(hash: &str, ttl: i64) -> Json {
    json!({"op": "put", "hash": hash, "ast": {"table": hash}, "ttl": ttl})
}

fn del(hash: &str) -> Json {
    json!({"op": "del", "hash": hash})
}

#[test]
fn one_update_is_one_version_however_many_operations_it_has() {
    let mut room = Room::new();
    let a = room.connect("a", init(json!([put("x"), put("y")])));
    let before = room.stored.version;
    room.told(a);
    room.desire(a, json!([put("z"), del("x"), del("y"), del("unknown")]));
    // One for the wishes, one for what was got.
    assert_eq!(room.stored.version.config, before.config + 2);
    assert_eq!(room.told(a), ["a put:z", "a del:x", "a del:y", "got put:z"]);
    let unchanged = room.stored.version;
    room.desire(a, json!([put("z"), del("unknown")]));
    assert_eq!((room.stored.version, room.told(a).len()), (unchanged, 0));
}

#[test]
fn a_new_client_is_a_version_even_without_queries() {
    let mut room = Room::new();
    let a = room.connect("a", init(json!([put("x")])));
    let before = room.stored.version;
    room.connect("b", init(json!([])));
    assert!(room.stored.version > before);
    assert!(room.stored.clients.contains("b"));
    assert_eq!(room.told(a).last().map(String::as_str), Some("got put:x"));
}

#[test]
fn a_wish_is_told_again_when_it_wakes_up_or_lasts_longer() {
    let mut room = Room::new();
    let a = room.connect("a", init(json!([put_for("x", 1_000)])));
    room.told(a);
    for (ttl, told) in [
        (500, 0),
        (1_000, 0),
        (2_000, 1),
        (-1, 1),
        (600_000, 0),
        (700_000, 0),
    ] {
        room.desire(a, json!([put_for("x", ttl)]));
        assert_eq!(room.told(a).len(), told, "ttl {ttl}");
    }
    room.desire(a, json!([del("x")]));
    room.desire(a, json!([put_for("x", 10)]));
    assert_eq!(room.told(a), ["a del:x", "a put:x"]);
}

/// How long a query stays got after its wish has ended.
fn check_life(op: Json, life: u64) {
    let mut room = Room::new();
    let a = room.connect("a", init(json!([op])));
    room.pass(5 * MINUTE);
    room.desire(a, json!([del("x")]));
    room.told(a);
    if life > 0 {
        room.pass(life - 1);
        assert_eq!(room.told(a), Vec::<String>::new(), "too early");
        assert!(room.stored.got("x").is_some());
        room.pass(1);
    } else {
        room.pass(0);
    }
    assert_eq!(room.told(a), ["got del:x"]);
    assert!(room.stored.got("x").is_none() && !room.stored.queries.contains_key("x"));
}

#[test]
fn a_query_stays_for_its_time_and_no_longer() {
    check_life(put("x"), 300_000);
    check_life(put_for("x", 1_234), 1_234);
    check_life(put_for("x", -1), 600_000);
    check_life(put_for("x", 9_999_999), 600_000);
}

#[test]
fn the_last_client_decides_when_a_query_goes() {
    let mut room = Room::new();
    let a = room.connect("a", init(json!([put_for("x", 1_000)])));
    let b = room.connect("b", init(json!([put_for("x", 5_000)])));
    room.desire(a, json!([del("x")]));
    room.pass(MINUTE);
    room.told(a);
    room.desire(b, json!([del("x")]));
    room.pass(4_999);
    assert_eq!(room.told(a), ["b del:x"]);
    room.pass(1);
    assert_eq!(room.told(a), ["got del:x"]);
}

#[test]
fn clear_ends_the_wishes_of_its_client_at_once() {
    let mut room = Room::new();
    let a = room.connect("a", init(json!([put("x"), put("y")])));
    let b = room.connect("b", init(json!([put("y")])));
    room.told(b);
    room.desire(a, json!([{"op": "clear"}]));
    assert_eq!(room.told(b), ["a del:x", "a del:y", "got del:x"]);
    assert!(room.stored.got("y").is_some());
    room.desire(b, json!([{"op": "clear"}]));
    assert!(room.stored.got("y").is_none());
}

#[test]
fn the_clock_of_a_group_stands_still_while_nobody_is_there() {
    let mut room = Room::new();
    let a = room.connect("a", init(json!([put_for("x", 100_000), put("y")])));
    room.desire(a, json!([del("x")]));
    room.pass(99_000);
    room.event(GroupEvent::Disconnected(a));
    assert_eq!(room.stored.ttl_clock_ms, 99_000);
    room.now.steady_ms += 50 * 60 * MINUTE;
    room.now.wall_ms += 50 * 60 * MINUTE;
    let mut room = room.restarted();
    let a = room.connect("a", init(json!([])));
    assert!(room.told(a).contains(&"got put:x".to_owned()));
    room.pass(999);
    assert_eq!(room.told(a), Vec::<String>::new());
    room.pass(1);
    assert_eq!(room.told(a), ["got del:x"]);
}

#[test]
fn the_clock_is_stored_every_minute() {
    let mut room = Room::new();
    room.connect("a", init(json!([put("x")])));
    room.pass(3 * MINUTE + 10);
    assert_eq!(room.stored.ttl_clock_ms, 3 * MINUTE);
    // A kill loses less than a minute of it.
    let mut room = room.restarted();
    room.connect("a", init(json!([])));
    room.pass(MINUTE);
    assert_eq!(room.stored.ttl_clock_ms, 4 * MINUTE);
}

#[test]
fn a_wall_clock_that_jumps_ends_nothing() {
    for jump in [
        49 * 3_600_000_i64,
        31 * 24 * 3_600_000,
        -31 * 24 * 3_600_000,
    ] {
        let mut room = Room::new();
        let a = room.connect("a", init(json!([put_for("x", 10_000)])));
        room.desire(a, json!([del("x")]));
        room.told(a);
        room.pass(4_000);
        room.now.wall_ms = room.now.wall_ms.saturating_add_signed(jump);
        room.pass(5_999);
        assert_eq!(room.told(a), Vec::<String>::new(), "{jump}");
        room.pass(1);
        assert_eq!(room.told(a), ["got del:x"], "{jump}");
    }
}

#[test]
fn deleted_clients_lose_their_wishes_and_everyone_hears() {
    let mut room = Room::new();
    let a = room.connect("a", init(json!([put("x")])));
    let b = room.connect("b", init(json!([put("y")])));
    let c = room.connect("c", init(json!([])));
    room.event(GroupEvent::Disconnected(b));
    room.told(a);
    room.told(c);
    room.say(a, "deleteClients", json!({"clientIDs": ["b", "nobody"]}));
    assert_eq!(room.told(a), ["b del:y", "deleteClients [\"b\"]"]);
    assert_eq!(room.told(c), ["b del:y", "deleteClients [\"b\"]"]);
    assert_eq!(room.cleaned, [["b"]]);
    assert!(!room.stored.clients.contains("b"));
    assert!(room.stored.got("y").is_some(), "kept for its time to live");
    room.pass(300_000);
    assert_eq!(room.told(a), ["got del:y"]);
    room.say(
        a,
        "deleteClients",
        json!({"clientIDs": ["b"], "clientGroupIDs": ["h"]}),
    );
    assert_eq!(room.told(a), Vec::<String>::new());
    assert_eq!(room.cleaned.len(), 1);
    room.say(a, "deleteClients", json!({"clientIDs": ["a"]}));
    assert_eq!(room.told(a), ["error Internal", "closed"]);
}

#[test]
fn clients_that_are_not_active_are_deleted_if_a_list_says_so() {
    let mut room = Room::new();
    for client in ["a", "b", "c"] {
        let id = room.connect(client, init(json!([put(client)])));
        room.event(GroupEvent::Disconnected(id));
    }
    room.connect("a", init(json!([])));
    assert_eq!(room.stored.clients.len(), 3, "no list, nobody goes");
    let b = room.connect("b", init(json!([])));
    let mut listed = init(json!([]));
    listed["activeClients"] = json!(["d"]);
    let d = room.connect("d", listed);
    // Whoever is connected is alive, whatever the list says.
    let left: Vec<&str> = room.stored.clients.iter().map(String::as_str).collect();
    assert_eq!(left, ["a", "b", "d"]);
    assert!(room.told(b).contains(&"c del:c".to_owned()));
    assert!(
        !room
            .told(d)
            .iter()
            .any(|told| told.starts_with("deleteClients"))
    );
    assert!(room.stored.got("c").is_some(), "kept for its time to live");
}

#[test]
fn messages_before_the_first_one_mean_nothing_and_a_second_first_one_is_an_error() {
    let mut room = Room::new();
    let a = room.connect("a", init(json!([put("x")])));
    room.told(a);
    room.say(a, "initConnection", init(json!([])));
    assert_eq!(room.told(a), ["error Internal", "closed"]);
}

#[test]
fn each_visit_waits_anew_for_a_version_that_another_server_told() {
    let mut room = Room::with(Some(GroupRecord {
        version: CvrVersion::at(POINT + 1),
        ..GroupRecord::default()
    }));
    let a = room.connect("a", init(json!([])));
    room.pass(VERSION_PATIENCE_MS - 100);
    room.event(GroupEvent::Disconnected(a));
    room.pass(MINUTE);
    let b = room.connect("b", init(json!([])));
    room.pass(VERSION_PATIENCE_MS - 100);
    assert_eq!((room.told(a).len(), room.told(b).len()), (0, 0));
    room.pass(200);
    assert_eq!(room.told(b), ["error Rehome", "closed"]);
}

#[test]
fn events_are_small() {
    // A channel keeps room for dozens of them, for each group.
    assert!(size_of::<GroupEvent>() <= 24);
    assert!(size_of::<PoolEvent>() <= 16);
}

#[test]
fn without_what_its_schema_names_a_group_takes_pushes_and_answers_no_query() {
    for restarts in [false, true] {
        let mut room = Room::new();
        let a = room.connect("a", init_with_schema(json!([put("x")])));
        room.event(GroupEvent::Disconnected(a));
        if restarts {
            room = room.restarted();
        }
        *room.rules.lacks.lock() = Some("no column");
        if !restarts {
            room.event(GroupEvent::Pool(PoolEvent::SchemaChanged));
        }
        // What the page that is gone wanted is not read for whoever only pushes.
        let drain = room.connect("drain", init(json!([])));
        assert_eq!(room.told(drain), ["a put:x"]);
        assert!(room.group.instances().is_empty());
        assert!(!room.group.is_idle());
        let back = room.connect("a", init(json!([])));
        let refused = ["error SchemaVersionNotSupported", "closed"];
        assert_eq!(room.told(back), refused);
        let fresh = room.connect("b", init(json!([put("y")])));
        assert_eq!(room.told(fresh), refused);
        let cleared = room.connect("a", init(json!([{"op": "clear"}])));
        assert_eq!(room.told(cleared), Vec::<String>::new());
        room.desire(cleared, json!([put("y")]));
        assert_eq!(room.told(cleared), refused);
        assert_eq!(room.told(drain), ["a del:x"]);
        // It may come back.
        *room.rules.lacks.lock() = None;
        let a = room.connect("a", init(json!([put("x")])));
        assert_eq!(room.told(a), ["a put:x", "got put:x"]);
    }
}

#[test]
fn a_change_of_tables_ends_the_connections_that_want_queries_of_them() {
    let mut room = Room::new();
    let a = room.connect("a", init_with_schema(json!([put("x")])));
    let drain = room.connect("drain", init(json!([])));
    room.told(a);
    room.told(drain);
    *room.rules.lacks.lock() = Some("no column");
    room.event(GroupEvent::Pool(PoolEvent::SchemaChanged));
    assert_eq!(room.told(a), ["error SchemaVersionNotSupported", "closed"]);
    assert_eq!(room.told(drain), ["got del:x"]);
}
