//! Who may read and write what, under declared permissions and verified tokens.

mod world;

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value as Json, json};
use world::{Backend, ClientBuilder, World, issue_op};

scenarios!(
    only_permitted_rows_are_read,
    denied_writes_leave_a_result_and_change_nothing,
    tokens_are_checked_at_the_door,
    a_group_belongs_to_its_first_user,
    rights_follow_a_new_token,
    write_rules_may_ask_for_other_rows,
    no_way_leads_to_a_hidden_row,
    errors_tell_nothing_of_hidden_rows,
    outcomes_of_writes_tell_nothing_of_hidden_rows,
    permissions_follow_the_databases_own_table,
);

fn own() -> Json {
    json!(["allow", {"type": "simple", "op": "=", "left": {"type": "column", "name": "owner"},
        "right": {"type": "static", "anchor": "authData", "field": "sub"}}])
}

fn open() -> Json {
    json!(["allow", {"type": "simple", "op": "=", "left": {"type": "column", "name": "open"},
        "right": {"type": "literal", "value": true}}])
}

fn admin() -> Json {
    json!(["allow", {"type": "simple", "op": "=", "left": {"type": "static", "anchor": "authData", "field": "role"},
        "right": {"type": "literal", "value": "admin"}}])
}

fn anyone() -> Json {
    json!(["allow", {"type": "and", "conditions": []}])
}

fn permissions() -> Json {
    json!({"tables": {
        "issue": {
            "row": {"select": [own(), admin()], "insert": [own()],
                "update": {"preMutation": [own()], "postMutation": [own()]}, "delete": [admin()]},
            "cell": {"priority": {"update": {"preMutation": [open()], "postMutation": [anyone()]}}},
        },
        "comment": {"row": {"select": [anyone()]}},
    }})
}

async fn world(backend: Backend) -> World {
    World::guarded(backend, &permissions(), &["--auth-secret", "k"]).await
}

fn token(secret: &str, claims: Json) -> String {
    encode(
        &Header::default(),
        &claims,
        &EncodingKey::from_secret(secret.as_bytes()),
    )
    .expect("signs")
}

fn user(client: ClientBuilder, name: &str, claims: Json) -> ClientBuilder {
    let mut client = client.param("userID", name);
    client.token = Some(token("k", claims));
    client
}

fn ann(client: ClientBuilder) -> ClientBuilder {
    user(client, "ann", json!({"sub": "ann"}))
}

async fn only_permitted_rows_are_read(backend: Backend) {
    let world = world(backend).await;
    let issues = json!({"table": "issue"});
    let mut client = ann(world.client("g", "c"))
        .put("h", issues.clone())
        .open()
        .await;
    assert_eq!(client.got("h").await.rows(), ["put:issue:i1"]);
    // The same query of another user is another pipeline.
    let boss = user(
        world.client("g2", "c"),
        "boss",
        json!({"sub": "boss", "role": "admin"}),
    );
    let mut boss = boss.put("h", issues.clone()).open().await;
    assert_eq!(boss.got("h").await.rows().len(), 3);
    let mut nobody = world.client("g3", "c").put("h", issues).open().await;
    assert!(nobody.got("h").await.rows().is_empty());
    world
        .sql("UPDATE issue SET owner = 'ann' WHERE id = 'i2'")
        .await;
    assert_eq!(client.poke().await.rows(), ["put:issue:i2"]);
    world
        .sql("UPDATE issue SET owner = 'bob' WHERE id = 'i1'")
        .await;
    assert_eq!(client.poke().await.rows(), ["del:issue:i1"]);
    // Rules hold in related rows too: comments are open, their issue is not.
    let issue = json!({"correlation": {"parentField": ["issue_id"], "childField": ["id"]},
        "subquery": {"table": "issue", "alias": "issue"}});
    client
        .desire(
            json!([{"op": "put", "hash": "k", "ast": {"table": "comment", "related": [issue]}}]),
        )
        .await;
    let rows = client.got("k").await.rows();
    assert_eq!(rows, ["put:comment:c1", "put:comment:c2", "put:comment:c3"]);
    drop((client, boss, nobody));
    world.end().await;
}

async fn denied_writes_leave_a_result_and_change_nothing(backend: Backend) {
    let world = world(backend).await;
    let mut client = ann(world.client("g", "c"))
        .put("h", json!({"table": "issue"}))
        .open()
        .await;
    client.got("h").await;
    let row = |id: &str, owner: &str| json!({"id": id, "title": "t", "owner": owner, "priority": 1, "open": true});
    let denied = [
        issue_op("insert", row("n1", "bob")),
        issue_op("update", json!({"id": "i2", "title": "mine now"})),
        issue_op("update", json!({"id": "i1", "owner": "bob"})),
        issue_op("upsert", row("i2", "ann")),
        issue_op("delete", json!({"id": "i1"})),
        json!({"op": "insert", "tableName": "comment", "primaryKey": ["id"],
            "value": {"id": "n", "issue_id": "i1", "body": "b"}}),
    ];
    for (id, op) in (1..).zip(denied) {
        // The first write is allowed; the mutation is one transaction.
        client
            .crud(
                id,
                json!([issue_op("update", json!({"id": "i1", "title": "x"})), op]),
            )
            .await;
        let poke = client.confirmed(id).await;
        assert_eq!(
            poke.results()[0]["mutation"]["result"]["error"],
            "app",
            "{poke:?}"
        );
        assert!(poke.rows().is_empty(), "{poke:?}");
    }
    assert_eq!(
        world
            .text("SELECT title FROM issue WHERE id = 'i1'")
            .await
            .as_deref(),
        Some("first")
    );
    client
        .crud(
            7,
            json!([
                issue_op("insert", row("n2", "ann")),
                issue_op("update", json!({"id": "i1", "priority": 5}))
            ]),
        )
        .await;
    assert_eq!(
        client.confirmed(7).await.rows(),
        ["put:issue:i1", "put:issue:n2"]
    );
    // The cell's rule looks at the row before: closed issues keep their priority, their title may change.
    client
        .crud(
            8,
            json!([issue_op("update", json!({"id": "i1", "open": false}))]),
        )
        .await;
    client.confirmed(8).await;
    client
        .crud(
            9,
            json!([issue_op("update", json!({"id": "i1", "priority": 6}))]),
        )
        .await;
    assert_eq!(client.confirmed(9).await.results().len(), 1);
    client
        .crud(
            10,
            json!([issue_op("update", json!({"id": "i1", "title": "closed"}))]),
        )
        .await;
    assert_eq!(client.confirmed(10).await.rows(), ["put:issue:i1"]);
    drop(client);
    world.end().await;
}

async fn tokens_are_checked_at_the_door(backend: Backend) {
    let world = world(backend).await;
    let refused = async |client: ClientBuilder, kind: &str| {
        let mut client = client.open().await;
        assert_eq!(client.error().await["kind"], kind);
        assert_eq!(client.closed().await.code, Some(3000));
    };
    let mut forged = world.client("g", "c").param("userID", "ann");
    forged.token = Some(token("other", json!({"sub": "ann"})));
    refused(forged, "AuthInvalidated").await;
    let mut nobody = world.client("g", "c");
    nobody.token = Some(token("k", json!({"sub": "ann"})));
    refused(nobody, "Unauthorized").await;
    refused(
        user(world.client("g", "c"), "ann", json!({"sub": "bob"})),
        "Unauthorized",
    )
    .await;
    world.end().await;
}

async fn a_group_belongs_to_its_first_user(backend: Backend) {
    let mut world = world(backend).await;
    let mut client = ann(world.client("g", "c"))
        .put("h", json!({"table": "issue"}))
        .open()
        .await;
    client.got("h").await;
    let bob = || user(world.client("g", "c"), "bob", json!({"sub": "bob"}));
    let mut other = bob().open().await;
    assert_eq!(other.error().await["kind"], "Unauthorized");
    assert_eq!(other.closed().await.code, Some(3000));
    world
        .sql("UPDATE issue SET title = 'still here' WHERE id = 'i1'")
        .await;
    assert_eq!(
        client.poke().await.rows(),
        ["put:issue:i1"],
        "the owner's connection is not displaced"
    );
    drop(client);
    world.stop().await;
    world.start().await;
    let mut other = user(world.client("g", "c"), "bob", json!({"sub": "bob"}))
        .open()
        .await;
    assert_eq!(
        other.error().await["kind"],
        "Unauthorized",
        "also after a restart"
    );
    world.end().await;
}

async fn rights_follow_a_new_token(backend: Backend) {
    let world = world(backend).await;
    let client = user(
        world.client("g", "c"),
        "ann",
        json!({"sub": "ann", "iat": 1}),
    );
    let mut client = client.put("h", json!({"table": "issue"})).open().await;
    assert_eq!(client.got("h").await.rows(), ["put:issue:i1"]);
    let update = |claims: Json| json!(["updateAuth", {"auth": token("k", claims)}]);
    client
        .send(update(json!({"sub": "ann", "role": "admin", "iat": 2})))
        .await;
    assert_eq!(client.poke().await.rows(), ["put:issue:i2", "put:issue:i3"]);
    client.send(update(json!({"sub": "ann", "iat": 3}))).await;
    assert_eq!(client.poke().await.rows(), ["del:issue:i2", "del:issue:i3"]);
    client.send(update(json!({"sub": "bob", "iat": 4}))).await;
    assert_eq!(client.error().await["kind"], "Unauthorized");
    world.end().await;
}

/// Whoever owns a comment's issue may write it; an issue goes only when no comment is left.
fn exists(op: &str, child: &str, field: [&str; 2], condition: Option<Json>) -> Json {
    let mut subquery = json!({"table": child, "alias": "zsubq_x"});
    if let Some(condition) = condition {
        subquery["where"] = condition;
    }
    json!(["allow", {"type": "correlatedSubquery", "op": op, "related": {"system": "permissions",
        "correlation": {"parentField": [field[0]], "childField": [field[1]]}, "subquery": subquery}}])
}

async fn write_rules_may_ask_for_other_rows(backend: Backend) {
    let mine = exists(
        "EXISTS",
        "issue",
        ["issue_id", "id"],
        Some(own()[1].clone()),
    );
    let childless = exists("NOT EXISTS", "comment", ["id", "issue_id"], None);
    let permissions = json!({"tables": {
        "issue": {"row": {"select": [anyone()], "insert": [anyone()],
            "update": {"preMutation": [own()], "postMutation": [anyone()]}, "delete": [childless]}},
        "comment": {"row": {"select": [anyone()], "insert": [mine.clone()],
            "update": {"preMutation": [mine.clone()], "postMutation": [mine.clone()]}, "delete": [mine]}},
    }});
    let world = World::guarded(backend, &permissions, &["--auth-secret", "k"]).await;
    let mut client = ann(world.client("g", "c"))
        .put("h", json!({"table": "comment"}))
        .open()
        .await;
    client.got("h").await;
    let comment = |op: &str, value: Json| json!({"op": op, "tableName": "comment", "primaryKey": ["id"], "value": value});
    let cases = [
        (
            true,
            json!([comment(
                "insert",
                json!({"id": "n1", "issue_id": "i1", "body": "b"})
            )]),
        ),
        (
            false,
            json!([comment(
                "insert",
                json!({"id": "n2", "issue_id": "i2", "body": "b"})
            )]),
        ),
        (
            false,
            json!([comment(
                "insert",
                json!({"id": "n2", "issue_id": "nowhere", "body": "b"})
            )]),
        ),
        (
            true,
            json!([comment("update", json!({"id": "c1", "body": "changed"}))]),
        ),
        (
            false,
            json!([comment("update", json!({"id": "c3", "body": "changed"}))]),
        ),
        // It may not be moved away to another's issue, nor taken over from one.
        (
            false,
            json!([comment("update", json!({"id": "c1", "issue_id": "i2"}))]),
        ),
        (
            false,
            json!([comment("update", json!({"id": "c3", "issue_id": "i1"}))]),
        ),
        (false, json!([comment("delete", json!({"id": "c3"}))])),
        // What the mutation itself did before counts.
        (
            true,
            json!([
                issue_op(
                    "insert",
                    json!({"id": "n", "title": "t", "owner": "ann", "open": true})
                ),
                comment("insert", json!({"id": "n3", "issue_id": "n", "body": "b"})),
            ]),
        ),
        (false, json!([issue_op("delete", json!({"id": "n"}))])),
        (
            true,
            json!([
                comment("delete", json!({"id": "n3"})),
                issue_op("delete", json!({"id": "n"}))
            ]),
        ),
        // The right is that of before the write: giving the issue away and then writing is too late.
        (
            false,
            json!([
                issue_op("update", json!({"id": "i1", "owner": "bob"})),
                comment("update", json!({"id": "c1", "body": "too late"})),
            ]),
        ),
    ];
    for (id, (allowed, ops)) in (1..).zip(cases) {
        client.crud(id, ops.clone()).await;
        let results = client.confirmed(id).await.results();
        assert_eq!(results.is_empty(), allowed, "{ops}: {results:?}");
    }
    drop(client);
    world.end().await;
}

/// Every way that a query has to learn of a row: none shows what the rules hide.
async fn no_way_leads_to_a_hidden_row(backend: Backend) {
    let permissions = json!({"tables": {
        "issue": {"row": {"select": [own()]}},
        "comment": {"row": {"select": [anyone()]}},
    }});
    let world = World::guarded(backend, &permissions, &["--auth-secret", "k"]).await;
    // Ann owns i1 only; c3 belongs to i2, which she may not see. "second" is i2's title.
    let title = |op: &str| {
        json!({"type": "simple", "op": op, "left": {"type": "column", "name": "title"},
        "right": {"type": "literal", "value": "second"}})
    };
    let subquery = |op: &str, condition: Option<Json>| {
        let mut subquery = json!({"table": "issue", "alias": "zsubq_issue"});
        if let Some(condition) = condition {
            subquery["where"] = condition;
        }
        json!({"type": "correlatedSubquery", "op": op, "related": {
            "correlation": {"parentField": ["issue_id"], "childField": ["id"]}, "subquery": subquery}})
    };
    let pretended = |mut condition: Json| {
        condition["related"]["system"] = json!("permissions");
        condition
    };
    let hinted = |mut condition: Json, hint: &str| {
        condition[hint] = json!(true);
        condition
    };
    let related = json!([{"correlation": {"parentField": ["issue_id"], "childField": ["id"]},
        "subquery": {"table": "issue", "alias": "issue"}}]);
    let ways = [
        json!({"table": "issue"}),
        json!({"table": "issue", "where": title("=")}),
        json!({"table": "issue", "where": {"type": "or", "conditions": [title("="), title("!=")]}}),
        json!({"table": "issue", "orderBy": [["title", "desc"]], "limit": 2}),
        json!({"table": "issue", "orderBy": [["id", "asc"]], "start": {"row": {"id": "i1"}, "exclusive": true}}),
        json!({"table": "comment", "where": subquery("EXISTS", None)}),
        json!({"table": "comment", "where": subquery("EXISTS", Some(title("=")))}),
        json!({"table": "comment", "where": pretended(subquery("EXISTS", Some(title("="))))}),
        json!({"table": "comment", "where": hinted(subquery("EXISTS", Some(title("="))), "flip")}),
        json!({"table": "comment", "where": hinted(subquery("EXISTS", Some(title("="))), "scalar")}),
        json!({"table": "comment", "where": {"type": "and", "conditions": [
            subquery("NOT EXISTS", Some(title("!="))), subquery("EXISTS", None)]}}),
        json!({"table": "comment", "related": related}),
        json!({"table": "comment", "related": [{"correlation": {"parentField": ["issue_id"], "childField": ["issue_id"]},
            "subquery": {"table": "comment", "alias": "siblings", "related": related}}]}),
    ];
    for (n, way) in ways.into_iter().enumerate() {
        let group = format!("g{n}");
        let mut client = ann(world.client(&group, "c"))
            .put("h", way.clone())
            .open()
            .await;
        client.got("h").await;
        let have = client.have();
        let hidden = have
            .iter()
            .any(|row| row == "issue:i2" || row == "issue:i3");
        assert!(!hidden, "{way}: {have:?}");
        // Whether the hidden issue has this title shows in nothing that EXISTS lets through.
        if way["where"]["type"] == "correlatedSubquery" {
            assert!(!have.contains(&"comment:c3".to_owned()), "{way}: {have:?}");
        }
        // Nor when it changes.
        let before = client.have();
        world
            .sql(&format!(
                "UPDATE issue SET title = 'second', priority = {n} WHERE id = 'i2'"
            ))
            .await;
        world
            .sql(&format!(
                "UPDATE issue SET priority = {n} + 10 WHERE id = 'i1'"
            ))
            .await;
        if before.contains(&"issue:i1".to_owned()) {
            while client.row("issue", "i1").expect("there")["priority"] != json!(n + 10) {
                client.poke().await;
            }
        }
        assert_eq!(client.have(), before, "{way}");
    }
    world.end().await;
}

/// Everyone may write issues and read their own: whatever goes wrong with another's is told without what is in it.
async fn errors_tell_nothing_of_hidden_rows(backend: Backend) {
    let permissions = json!({"tables": {"issue": {"row": {"select": [own()], "insert": [anyone()],
        "update": {"preMutation": [anyone()], "postMutation": [own(), open()]}, "delete": [own()]}}}});
    let world = World::guarded(backend, &permissions, &["--auth-secret", "k"]).await;
    world
        .sql(
            "UPDATE issue SET title = 'HIDDEN', owner = 'HIDDEN too', open = FALSE WHERE id = 'i2'",
        )
        .await;
    let bad_order = json!({"table": "issue", "orderBy": [["nothing", "asc"]]});
    let bad_start = json!({"table": "issue", "orderBy": [["title", "asc"]],
        "start": {"row": {"title": 5}, "exclusive": true}});
    let mut client = ann(world.client("g", "c"))
        .put("h", json!({"table": "issue"}))
        .put("order", bad_order)
        .put("start", bad_start)
        .open()
        .await;
    client.got("h").await;
    let other = |op: &str, table: &str, key: &str, value: Json| json!({"op": op, "tableName": table, "primaryKey": [key], "value": value});
    let writes = [
        issue_op("insert", json!({"id": "i2", "title": "mine", "open": true})),
        issue_op("insert", json!({"id": "n", "title": null, "open": true})),
        issue_op("update", json!({"id": "i2", "title": null})),
        issue_op("update", json!({"id": "i2", "priority": "no number"})),
        issue_op("update", json!({"id": "i2", "priority": 7})),
        issue_op("update", json!({"id": "i2", "open": "maybe"})),
        issue_op("upsert", json!({"id": "i2", "title": null, "open": true})),
        issue_op("delete", json!({"id": "i2"})),
        other(
            "update",
            "issue",
            "title",
            json!({"title": "HIDDE", "priority": 1}),
        ),
        other("update", "comment", "id", json!({"id": "c3", "body": null})),
        other("update", "elsewhere", "id", json!({"id": "c3"})),
    ];
    for (id, op) in (1..).zip(&writes) {
        client.crud(id, json!([op])).await;
    }
    let mut told = Vec::new();
    while client.lmids.get("c") != Some(&(writes.len() as u64)) {
        told.extend(client.poke().await.results());
    }
    // The first one finds its row there, and does nothing.
    assert_eq!(told.len(), writes.len() - 1, "{told:?}");
    told.append(&mut client.others);
    assert!(
        told.iter().any(|message| message[0] == "transformError"),
        "{told:?}"
    );
    let leaks = |message: &&Json| message.to_string().contains("HIDDEN");
    assert_eq!(told.iter().find(leaks), None);
    let row = world.text("SELECT title FROM issue WHERE id = 'i2'").await;
    assert_eq!(row.as_deref(), Some("HIDDEN"));
    assert!(client.row("issue", "i2").is_none());
    world.end().await;
}

/// A write to a row that may not be written ends like one to a row that is not there.
async fn outcomes_of_writes_tell_nothing_of_hidden_rows(backend: Backend) {
    let bosses = json!([admin()]);
    let permissions = json!({"tables": {"issue": {"row": {"select": [own()], "insert": [own()],
        "update": {"preMutation": [own(), admin()], "postMutation": [own(), admin()]}, "delete": bosses}}}});
    let world = World::guarded(backend, &permissions, &["--auth-secret", "k"]).await;
    world
        .sql("CREATE UNIQUE INDEX titles ON issue (title); UPDATE issue SET open = TRUE")
        .await;
    let mut client = ann(world.client("g", "c"))
        .put("h", json!({"table": "issue"}))
        .open()
        .await;
    client.got("h").await;
    assert_eq!(client.have(), ["issue:i1"]);
    // Of each write: the kind, and what it sets beside the key.
    let bobs = json!({"title": "t", "owner": "bob", "priority": 1, "open": true});
    let writes = [
        ("update", json!({"title": "mine"})),
        ("update", json!({"owner": "ann"})),
        ("update", json!({})),
        ("delete", json!({})),
        ("insert", bobs.clone()),
        ("insert", json!({})),
        ("upsert", bobs.clone()),
        ("upsert", json!({})),
    ];
    let mut id = 0;
    let mut outcome = async |ops: Json| {
        id += 1;
        client.crud(id, ops).await;
        let poke = client.confirmed(id).await;
        let results = poke.results();
        results.first().map(|put| put["mutation"]["result"].clone())
    };
    for (kind, value) in writes {
        let op = |key: &str| {
            let mut value = value.clone();
            value["id"] = json!(key);
            issue_op(kind, value)
        };
        let of_hidden = outcome(json!([op("i2")])).await;
        let of_absent = outcome(json!([op("nowhere")])).await;
        assert_eq!(of_hidden, of_absent, "{kind} {value}");
        let result = of_hidden.unwrap_or_else(|| panic!("{kind} {value} is let through"));
        assert_eq!(result["error"], "app");
    }
    // Nor is a hidden value told that a unique index would trip over, to whoever may not insert the row.
    let insert = |title: &str| {
        json!([issue_op(
            "insert",
            json!({"id": "new", "title": title, "owner": "bob", "open": true})
        )])
    };
    let taken = outcome(insert("second")).await;
    assert_eq!(taken, outcome(insert("free")).await);
    assert!(taken.is_some_and(|result| result["message"] == "not allowed to insert into issue"));
    let count = world.text("SELECT CAST(count(*) AS TEXT) FROM issue").await;
    assert_eq!(count.as_deref(), Some("3"));
    // Where any row may be written nothing can be told, so a row that is gone is no error.
    let claims = json!({"sub": "boss", "role": "admin"});
    let boss = user(world.client("g2", "b"), "boss", claims);
    let mut boss = boss.put("h", json!({"table": "issue"})).open().await;
    boss.got("h").await;
    let gone = json!([
        issue_op("update", json!({"id": "nowhere", "title": "t"})),
        issue_op("delete", json!({"id": "nowhere"})),
    ]);
    boss.crud(1, gone).await;
    assert!(boss.confirmed(1).await.results().is_empty());
    drop((client, boss));
    world.end().await;
}

/// Without a file the database says what is allowed, and may change its mind while clients are connected.
async fn permissions_follow_the_databases_own_table(backend: Backend) {
    let world = World::with(backend, &["--auth-secret", "k"]).await;
    let declare = async |rules: Json| {
        let text = json!({"tables": {"issue": {"row": rules}}});
        let statement = match backend {
            Backend::Postgres => format!("UPDATE zero.permissions SET permissions = '{text}'"),
            Backend::Embedded => {
                format!("INSERT OR REPLACE INTO _landfall_permissions VALUES (1, '{text}', NULL)")
            }
        };
        world.sql(&statement).await;
    };
    let mut client = ann(world.client("g", "c"))
        .put("h", json!({"table": "issue"}))
        .open()
        .await;
    let error = client.expect("transformError").await;
    assert_eq!(error[0]["id"], "h", "closed by default: {error}");
    declare(json!({"select": [anyone()]})).await;
    client.got("h").await;
    assert_eq!(client.have().len(), 3);
    declare(
        json!({"select": [own()], "update": {"preMutation": [own()], "postMutation": [own()]}}),
    )
    .await;
    while client.have() != ["issue:i1"] {
        client.poke().await;
    }
    // What may be written follows as well.
    client
        .crud(
            1,
            json!([issue_op("update", json!({"id": "i1", "title": "mine"}))]),
        )
        .await;
    client.confirmed(1).await;
    assert_eq!(client.row("issue", "i1").expect("there")["title"], "mine");
    declare(json!({"select": [own()]})).await;
    // Whoever sees the new rules in force has another pipeline; the write below may not come before that.
    let mut id = 1;
    loop {
        id += 1;
        let op = issue_op("update", json!({"id": "i1", "priority": id}));
        client.crud(id, json!([op])).await;
        if !client.confirmed(id).await.results().is_empty() {
            break;
        }
    }
    drop(client);
    world.end().await;
}
