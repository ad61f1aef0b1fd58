//! Clients that poll: the same messages as on a socket, a request at a time.

mod world;

use std::collections::BTreeMap;

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value as Json, json};
use world::{Backend, World, client_schema, issue_op};

scenarios!(
    each_answer_is_what_changed_since_the_one_before,
    writes_of_a_client_that_is_gone_are_recovered,
    a_group_shares_sockets_and_polls,
    what_is_no_poll_is_refused,
    a_poll_is_for_the_groups_user_only,
);

/// A client that polls, and keeps what it is told.
struct Poller {
    url: String,
    group: String,
    token: Option<String>,
    http: reqwest::Client,
    cookie: Option<String>,
    rows: BTreeMap<String, Json>,
    lmids: Json,
}

impl Poller {
    fn new(world: &World, group: &str, client: &str, more: &str) -> Poller {
        let address = world.running().address;
        let url = format!(
            "http://{address}/sync/v52/pull?clientID={client}&clientGroupID={group}&ts=1&lmid=0&landfall=1{more}"
        );
        Poller {
            url,
            group: group.to_owned(),
            token: None,
            http: reqwest::Client::new(),
            cookie: None,
            rows: BTreeMap::new(),
            lmids: json!({}),
        }
    }

    async fn post(&self, body: String) -> (u16, Json) {
        self.send(self.http.post(&self.url).body(body)).await
    }

    async fn send(&self, mut request: reqwest::RequestBuilder) -> (u16, Json) {
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let request = request.timeout(world::PATIENCE);
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a whole answer");
        (status, serde_json::from_str(&text).expect("JSON"))
    }

    fn pull(&self) -> Json {
        json!(["pull", {"clientGroupID": self.group, "cookie": self.cookie, "requestID": "r"}])
    }

    /// The row operations of an answer, applied.
    async fn poll(&mut self, messages: Json) -> Vec<String> {
        let mut messages = messages.as_array().expect("messages").clone();
        messages.push(self.pull());
        let (status, answer) = self.post(json!(messages).to_string()).await;
        assert_eq!(status, 200, "{answer}");
        let answer = answer.as_array().expect("messages");
        let mut told = Vec::new();
        for message in answer {
            let body = &message[1];
            match message[0].as_str().expect("a kind") {
                "pokeStart" => assert_eq!(body["baseCookie"], json!(self.cookie)),
                "pokePart" => told.extend(self.apply(body)),
                "pokeEnd" => self.cookie = body["cookie"].as_str().map(str::to_owned),
                "pull" => {
                    assert_eq!(body["requestID"], "r");
                    assert_eq!(body["cookie"], json!(self.cookie), "pokes lead there");
                    self.lmids = body["lastMutationIDChanges"].clone();
                }
                other => panic!("{other}: {message}"),
            }
        }
        assert_eq!(answer.last().expect("a message")[0], "pull");
        told
    }

    fn apply(&mut self, part: &Json) -> Vec<String> {
        let ops = part["rowsPatch"].as_array().cloned().unwrap_or_default();
        ops.iter()
            .map(|op| {
                let kind = op["op"].as_str().expect("an operation");
                let of = if kind == "put" { "value" } else { "id" };
                let id = op[of]["id"].as_str().expect("an id").to_owned();
                match kind {
                    "put" => self.rows.insert(id.clone(), op["value"].clone()),
                    _ => self.rows.remove(&id),
                };
                format!("{kind}:{id}")
            })
            .collect()
    }

    fn push(&self, client: &str, id: u64, ops: Json) -> Json {
        let mutation = json!({"type": "crud", "id": id, "clientID": client, "name": "_zero_crud",
            "args": [{"ops": ops}], "timestamp": 1});
        json!(["push", {"clientGroupID": self.group, "mutations": [mutation], "pushVersion": 1,
            "timestamp": 1, "requestID": "p"}])
    }
}

fn wants_issues(hash: &str) -> Json {
    let put = json!({"op": "put", "hash": hash, "ast": {"table": "issue"}});
    json!(["initConnection", {"desiredQueriesPatch": [put], "clientSchema": client_schema()}])
}

/// What a client sends that wants what it wanted before.
fn again() -> Json {
    json!(["initConnection", {"desiredQueriesPatch": []}])
}

async fn each_answer_is_what_changed_since_the_one_before(backend: Backend) {
    let world = World::new(backend).await;
    let mut client = Poller::new(&world, "g", "c", "");
    let mut told = client.poll(json!([wants_issues("h")])).await;
    told.sort();
    assert_eq!(told, ["put:i1", "put:i2", "put:i3"]);
    assert!(client.poll(json!([again()])).await.is_empty());
    world
        .sql("UPDATE issue SET title = 'other' WHERE id = 'i1'; DELETE FROM issue WHERE id = 'i3'")
        .await;
    let mut told = Vec::new();
    while told.len() < 2 {
        told.extend(client.poll(json!([again()])).await);
    }
    told.sort();
    assert_eq!(told, ["del:i3", "put:i1"]);
    assert_eq!(client.rows["i1"]["title"], "other");
    world.end().await;
}

async fn writes_of_a_client_that_is_gone_are_recovered(backend: Backend) {
    let world = World::new(backend).await;
    let mut gone = world.client("g", "gone").open().await;
    gone.crud(
        1,
        json!([issue_op("update", json!({"id": "i1", "title": "one"}))]),
    )
    .await;
    gone.confirmed(1).await;
    drop(gone);
    // Somebody else sends what was left of it, and wants no rows.
    let mut client = Poller::new(&world, "g", "c", "");
    let write = |id: u64, title: &str| {
        let ops = json!([issue_op("update", json!({"id": "i1", "title": title}))]);
        client.push("gone", id, ops)
    };
    let push = json!([again(), write(1, "twice"), write(2, "two")]);
    client.poll(push).await;
    while client.lmids["gone"] != 2 {
        assert!(client.poll(json!([again()])).await.is_empty());
    }
    let title = world.text("SELECT title FROM issue WHERE id = 'i1'").await;
    assert_eq!(title.as_deref(), Some("two"));
    world.end().await;
}

async fn a_group_shares_sockets_and_polls(backend: Backend) {
    let world = World::new(backend).await;
    let mut tab = world
        .client("g", "tab")
        .put("h", json!({"table": "issue"}))
        .open()
        .await;
    tab.got("h").await;
    let mut client = Poller::new(&world, "g", "c", "");
    // The cookie of one is good for the other, since they are one group.
    client.cookie = tab.cookie.clone();
    assert!(client.poll(json!([again()])).await.is_empty());
    world
        .sql("UPDATE issue SET title = 'other' WHERE id = 'i2'")
        .await;
    while tab.row("issue", "i2").expect("there")["title"] != "other" {
        tab.poke().await;
    }
    assert_eq!(client.poll(json!([again()])).await, ["put:i2"]);
    let ops = json!([issue_op("update", json!({"id": "i2", "title": "mine"}))]);
    let push = client.push("c", 1, ops);
    client.poll(json!([again(), push])).await;
    while tab.row("issue", "i2").expect("there")["title"] != "mine" {
        tab.poke().await;
    }
    world.end().await;
}

async fn what_is_no_poll_is_refused(backend: Backend) {
    let world = World::new(backend).await;
    let client = Poller::new(&world, "g", "c", "");
    let elsewhere = json!(["pull", {"clientGroupID": "other", "cookie": null, "requestID": "r"}]);
    let bodies = [
        "".to_owned(),
        "{".to_owned(),
        "[]".to_owned(),
        "[1]".to_owned(),
        json!([again()]).to_string(),
        json!([client.pull(), client.pull()]).to_string(),
        json!([["ping", {}], client.pull()]).to_string(),
        json!([["initConnection", {"desiredQueriesPatch": [], "x": 1}], client.pull()]).to_string(),
    ];
    for body in bodies {
        let (status, answer) = client.post(body.clone()).await;
        assert_eq!(
            (status, &answer[0][1]["kind"]),
            (400, &json!("InvalidMessage")),
            "{body}"
        );
    }
    let (status, answer) = client.post(json!([elsewhere]).to_string()).await;
    assert_eq!(
        (status, &answer[0][1]["kind"]),
        (200, &json!("InvalidMessage"))
    );
    let mut old = Poller::new(&world, "g", "c", "");
    old.url = old.url.replace("/v52/", "/v29/");
    let (status, answer) = old.post(json!([old.pull()]).to_string()).await;
    assert_eq!(
        (status, &answer[0][1]["kind"]),
        (400, &json!("VersionNotSupported"))
    );
    old.url = old.url.replace("clientID=c&", "").replace("/v29/", "/v52/");
    let (status, _) = old.post(json!([old.pull()]).to_string()).await;
    assert_eq!(status, 400);
    // In development mode, which this world runs in, any page that a developer visits could ask.
    for (origin, expected) in [
        ("https://evil.example", 400),
        ("http://localhost:5173", 200),
    ] {
        let body = json!([client.pull()]).to_string();
        let request = client.http.post(&client.url).body(body);
        let (status, answer) = client.send(request.header("origin", origin)).await;
        assert_eq!(status, expected, "{origin} {answer}");
    }
    world.end().await;
}

async fn a_poll_is_for_the_groups_user_only(backend: Backend) {
    let allow = json!(["allow", {"type": "simple", "op": "=", "left": {"type": "column", "name": "owner"},
        "right": {"type": "static", "anchor": "authData", "field": "sub"}}]);
    let permissions = json!({"tables": {"issue": {"row": {"select": [allow]}}}});
    let world = World::guarded(backend, &permissions, &["--auth-secret", "k"]).await;
    let user = |name: &str| {
        let claims = json!({"sub": name});
        let key = EncodingKey::from_secret(b"k");
        let mut client = Poller::new(&world, "g", "c", &format!("&userID={name}"));
        client.token = Some(encode(&Header::default(), &claims, &key).expect("signs"));
        client
    };
    let mut ann = user("ann");
    assert_eq!(ann.poll(json!([wants_issues("h")])).await, ["put:i1"]);
    let bob = user("bob");
    let mut stolen = user("bob");
    stolen.url = ann.url.clone();
    for client in [bob, stolen] {
        let (status, answer) = client.post(json!([client.pull()]).to_string()).await;
        assert_eq!(status, 401, "{answer}");
    }
    world.end().await;
}
