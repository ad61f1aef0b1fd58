//! What a client sees: connections, queries, live changes, reconnects. Over both kinds of upstream.

mod world;

use serde_json::json;
use world::{Backend, Closed, World, client_schema, issue_op};

scenarios!(
    a_fresh_client_is_greeted_and_gets_its_rows,
    a_change_is_poked_with_only_the_rows_that_changed,
    rows_enter_and_leave_a_query,
    related_rows_come_along,
    a_client_comes_back_with_its_cookie,
    two_groups_share_a_pipeline,
    a_group_mirrors_wishes_to_all_of_its_clients,
    a_query_goes_when_its_time_is_over,
    a_crud_push_comes_back_as_a_poke,
    a_failing_mutation_leaves_a_result,
    the_server_restarts_and_clients_catch_up,
    version_52_gets_binary_parts,
);

fn issues() -> serde_json::Value {
    json!({"table": "issue", "orderBy": [["id", "asc"]]})
}

async fn a_fresh_client_is_greeted_and_gets_its_rows(backend: Backend) {
    let world = World::new(backend).await;
    let mut client = world.client("g", "c").put("h", issues()).open().await;
    assert!(client.protocol.is_some(), "the sub-protocol is echoed");
    let connected = client.expect("connected").await;
    assert_eq!(connected["wsid"], "ws-c");
    assert_eq!(
        connected["landfall"],
        json!({"queries": "ast", "mutations": "crud", "version": 1})
    );
    let first = client.poke().await;
    assert_eq!(
        (first.base.as_deref(), first.cookie.as_str()),
        (None, "00:01")
    );
    assert_eq!(first.desired("c"), ["put:h"]);
    let second = client.poke().await;
    assert_eq!(second.got(), ["put:h"]);
    assert_eq!(
        second.rows(),
        ["put:issue:i1", "put:issue:i2", "put:issue:i3"]
    );
    let expected =
        json!({"id": "i3", "title": "third", "owner": null, "priority": 3, "open": false});
    assert_eq!(client.row("issue", "i3"), Some(&expected));
    client.send(json!(["ping", {}])).await;
    client.expect("pong").await;
    let mut zero = world.client("g2", "z").zero().open().await;
    assert!(
        zero.expect("connected").await.get("landfall").is_none(),
        "others are told nothing new"
    );
    drop(client);
    world.end().await;
}

async fn a_change_is_poked_with_only_the_rows_that_changed(backend: Backend) {
    let world = World::new(backend).await;
    let mut client = world.client("g", "c").put("h", issues()).open().await;
    client.got("h").await;
    world
        .sql("UPDATE issue SET title = 'changed' WHERE id = 'i2'")
        .await;
    let poke = client.poke().await;
    assert_eq!(poke.rows(), ["put:issue:i2"]);
    assert_eq!(
        client.row("issue", "i2").expect("there")["title"],
        "changed"
    );
    world.sql("INSERT INTO issue VALUES ('i4', 'fourth', 'ann', 1, TRUE); DELETE FROM issue WHERE id = 'i1'").await;
    assert_eq!(client.poke().await.rows(), ["del:issue:i1", "put:issue:i4"]);
    drop(client);
    world.end().await;
}

async fn rows_enter_and_leave_a_query(backend: Backend) {
    let world = World::new(backend).await;
    let two = json!({"table": "issue", "orderBy": [["priority", "desc"]], "limit": 2, "where": {"type": "simple",
        "op": "=", "left": {"type": "column", "name": "open"}, "right": {"type": "literal", "value": true}}});
    let mut client = world.client("g", "c").put("h", two).open().await;
    assert_eq!(
        client.got("h").await.rows(),
        ["put:issue:i1", "put:issue:i2"]
    );
    world
        .sql("UPDATE issue SET open = TRUE WHERE id = 'i3'")
        .await;
    assert_eq!(client.poke().await.rows(), ["del:issue:i1", "put:issue:i3"]);
    world.sql("DELETE FROM issue WHERE id = 'i2'").await;
    assert_eq!(client.poke().await.rows(), ["del:issue:i2", "put:issue:i1"]);
    drop(client);
    world.end().await;
}

async fn related_rows_come_along(backend: Backend) {
    let world = World::new(backend).await;
    let comments = json!({"correlation": {"parentField": ["id"], "childField": ["issue_id"]},
        "subquery": {"table": "comment", "alias": "comments"}});
    let query = json!({"table": "issue", "related": [comments], "where": {"type": "simple", "op": "=",
        "left": {"type": "column", "name": "id"}, "right": {"type": "literal", "value": "i1"}}});
    let mut client = world.client("g", "c").put("h", query).open().await;
    assert_eq!(
        client.got("h").await.rows(),
        ["put:comment:c1", "put:comment:c2", "put:issue:i1"]
    );
    world
        .sql("UPDATE comment SET issue_id = 'i1' WHERE id = 'c3'")
        .await;
    assert_eq!(client.poke().await.rows(), ["put:comment:c3"]);
    world.sql("DELETE FROM issue WHERE id = 'i1'").await;
    let gone = [
        "del:comment:c1",
        "del:comment:c2",
        "del:comment:c3",
        "del:issue:i1",
    ];
    assert_eq!(client.poke().await.rows(), gone);
    drop(client);
    world.end().await;
}

async fn a_client_comes_back_with_its_cookie(backend: Backend) {
    let world = World::new(backend).await;
    let mut client = world.client("g", "c").put("h", issues()).open().await;
    client.got("h").await;
    let (cookie, rows) = client.vanish();

    let mut client = world.client("g", "c").cookie(&cookie).open().await;
    let poke = client.poke().await;
    assert_eq!(
        (poke.base.as_ref(), &poke.cookie, poke.parts.len()),
        (Some(&cookie), &cookie, 0)
    );
    drop(client);

    world.sql("UPDATE issue SET title = 'meanwhile' WHERE id = 'i1'; DELETE FROM issue WHERE id = 'i2'").await;
    let mut client = world.client("g", "c").cookie(&cookie).open().await;
    client.rows = rows;
    while client.row("issue", "i2").is_some() {
        client.poke().await;
    }
    assert_eq!(client.have(), ["issue:i1", "issue:i3"]);
    assert_eq!(
        client.row("issue", "i1").expect("there")["title"],
        "meanwhile"
    );

    let mut stranger = world
        .client("other", "x")
        .zero()
        .cookie(&cookie)
        .open()
        .await;
    assert_eq!(stranger.error().await["kind"], "ClientNotFound");
    let mut ahead = world.client("g", "y").cookie("bzzzzzzzzzzzz").open().await;
    assert_eq!(
        ahead.error().await["kind"],
        "InvalidConnectionRequestBaseCookie"
    );
    let mut broken = world.client("g", "z").cookie("?").open().await;
    assert_eq!(broken.error().await["kind"], "Internal");
    world
        .sql("UPDATE issue SET title = 'still served' WHERE id = 'i1'")
        .await;
    assert_eq!(client.poke().await.rows(), ["put:issue:i1"]);
    drop(client);
    world.end().await;
}

async fn two_groups_share_a_pipeline(backend: Backend) {
    let world = World::new(backend).await;
    let mut a = world.client("g1", "a").put("h", issues()).open().await;
    let mut b = world
        .client("g2", "b")
        .put("other-name", issues())
        .open()
        .await;
    a.got("h").await;
    b.got("other-name").await;
    assert_eq!(world.running().pool.stats().instances, 1);
    world
        .sql("UPDATE issue SET title = 'x' WHERE id = 'i1'")
        .await;
    assert_eq!(a.poke().await.rows(), ["put:issue:i1"]);
    assert_eq!(b.poke().await.rows(), ["put:issue:i1"]);
    drop((a, b));
    world.end().await;
}

async fn a_group_mirrors_wishes_to_all_of_its_clients(backend: Backend) {
    let world = World::new(backend).await;
    let mut a = world.client("g", "a").put("h", issues()).open().await;
    a.got("h").await;
    let mut b = world.client("g", "b").open().await;
    let first = b.poke().await;
    assert_eq!(first.desired("a"), ["put:h"]);
    assert_eq!(first.got(), ["put:h"]);
    assert_eq!(b.have().len(), 3);
    b.desire(json!([{"op": "put", "hash": "k", "ast": {"table": "comment"}}]))
        .await;
    assert_eq!(a.got("k").await.rows().len(), 3);
    b.got("k").await;
    b.desire(json!([{"op": "del", "hash": "k"}])).await;
    loop {
        if a.poke().await.desired("b") == ["del:k"] {
            break;
        }
    }
    // The same client once more: the older connection ends.
    let mut again = world.client("g", "a").open().await;
    again.poke().await;
    a.closed().await;
    drop((again, b));
    world.end().await;
}

async fn a_query_goes_when_its_time_is_over(backend: Backend) {
    let world = World::new(backend).await;
    let mut client = world.client("g", "c").put("h", issues()).open().await;
    client.got("h").await;
    let open = json!({"table": "issue", "where": {"type": "simple", "op": "=",
        "left": {"type": "column", "name": "id"}, "right": {"type": "literal", "value": "i1"}}});
    client
        .desire(json!([{"op": "put", "hash": "k", "ast": open, "ttl": 0}]))
        .await;
    assert!(
        client.got("k").await.rows().is_empty(),
        "the row is there already"
    );
    client.desire(json!([{"op": "del", "hash": "h"}, {"op": "put", "hash": "t", "ast": {"table": "comment"},
        "ttl": 100}])).await;
    client.got("t").await;
    client.desire(json!([{"op": "del", "hash": "t"}])).await;
    let poke = loop {
        let poke = client.poke().await;
        if poke.got() == ["del:t"] {
            break poke;
        }
    };
    assert_eq!(
        poke.rows(),
        ["del:comment:c1", "del:comment:c2", "del:comment:c3"]
    );
    assert_eq!(client.have().len(), 3, "h is kept for its time to live");
    drop(client);
    world.end().await;
}

async fn a_crud_push_comes_back_as_a_poke(backend: Backend) {
    let world = World::new(backend).await;
    let mut client = world.client("g", "c").put("h", issues()).open().await;
    client.got("h").await;
    let new = json!({"id": "i9", "title": "new", "owner": null, "priority": 9, "open": true});
    client
        .crud(
            1,
            json!([
                issue_op("insert", new.clone()),
                issue_op("delete", json!({"id": "i1"}))
            ]),
        )
        .await;
    let poke = client.confirmed(1).await;
    assert_eq!(
        poke.rows(),
        ["del:issue:i1", "put:issue:i9"],
        "effects and confirmation come in one poke"
    );
    assert_eq!(client.row("issue", "i9"), Some(&new));
    // What was done is not done again.
    client
        .crud(1, json!([issue_op("delete", json!({"id": "i9"}))]))
        .await;
    client
        .crud(
            2,
            json!([issue_op("update", json!({"id": "i9", "title": "newer"}))]),
        )
        .await;
    client.confirmed(2).await;
    assert_eq!(
        world
            .text("SELECT title FROM issue WHERE id = 'i9'")
            .await
            .as_deref(),
        Some("newer")
    );
    client.crud(4, json!([])).await;
    let error = client.error().await;
    assert_eq!(error["reason"], "oooMutation");
    assert_eq!(error["mutationIDs"], json!([{"clientID": "c", "id": 4}]));
    let mut zero = world.client("g", "z").zero().open().await;
    zero.poke().await;
    zero.crud(2, json!([])).await;
    assert_eq!(zero.error().await["kind"], "InvalidPush");
    world.end().await;
}

async fn a_failing_mutation_leaves_a_result(backend: Backend) {
    let world = World::new(backend).await;
    let mut client = world.client("g", "c").put("h", issues()).open().await;
    client.got("h").await;
    client
        .crud(
            1,
            json!([issue_op("update", json!({"id": "i1", "title": null}))]),
        )
        .await;
    let poke = client.confirmed(1).await;
    let results = poke.results();
    assert_eq!(results.len(), 1, "{poke:?}");
    assert_eq!(
        results[0]["mutation"]["id"],
        json!({"clientID": "c", "id": 1})
    );
    assert_eq!(results[0]["mutation"]["result"]["error"], "app");
    assert!(poke.rows().is_empty());
    client
        .send(json!(["ackMutationResponses", {"clientID": "c", "id": 1}]))
        .await;
    let gone = client.poke().await;
    assert_eq!(
        gone.results(),
        [json!({"op": "del", "id": {"clientID": "c", "id": 1}})]
    );
    client
        .crud(
            2,
            json!([issue_op("update", json!({"id": "i1", "title": "fine"}))]),
        )
        .await;
    assert_eq!(client.confirmed(2).await.rows(), ["put:issue:i1"]);
    world.end().await;
}

async fn the_server_restarts_and_clients_catch_up(backend: Backend) {
    let mut world = World::new(backend).await;
    let mut client = world.client("g", "c").put("h", issues()).open().await;
    client.got("h").await;
    world
        .sql("UPDATE issue SET title = 'before' WHERE id = 'i3'")
        .await;
    client.poke().await;
    let (cookie, rows) = client.vanish();
    world.stop().await;
    world.sql("UPDATE issue SET title = 'while away' WHERE id = 'i1'; DELETE FROM issue WHERE id = 'i2'").await;
    world.start().await;
    let mut client = world.client("g", "c").cookie(&cookie).open().await;
    client.rows = rows;
    let mut changed = Vec::new();
    while client.row("issue", "i2").is_some()
        || client.row("issue", "i1").expect("there")["title"] == "first"
    {
        changed.extend(client.poke().await.rows());
    }
    changed.sort();
    assert_eq!(
        changed,
        ["del:issue:i2", "put:issue:i1"],
        "only what changed"
    );
    assert_eq!(client.have(), ["issue:i1", "issue:i3"]);
    world
        .sql("UPDATE issue SET title = 'live again' WHERE id = 'i1'")
        .await;
    assert_eq!(client.poke().await.rows(), ["put:issue:i1"]);
    drop(client);
    world.end().await;
}

async fn version_52_gets_binary_parts(backend: Backend) {
    let world = World::new(backend).await;
    let mut client = world
        .client("g", "c")
        .version(52)
        .put("h", issues())
        .open()
        .await;
    assert_eq!(client.got("h").await.rows().len(), 3);
    let mut new = world.client("g2", "c").version(53).open().await;
    assert_eq!(new.error().await["kind"], "VersionNotSupported");
    let mut old = world.client("g3", "c").version(29).open().await;
    assert_eq!(old.error().await["kind"], "VersionNotSupported");
    world.end().await;
}

mod unrelated_to_the_upstream {
    use super::*;

    fn backend() -> Backend {
        match std::env::var("LANDFALL_TEST_POSTGRES_URL") {
            Ok(_) => Backend::Postgres,
            Err(_) => Backend::Embedded,
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn handshakes_that_fail_are_closed_with_1002() {
        let world = World::new(backend()).await;
        let address = world.running().address;
        let base = format!("ws://{address}/sync/v51/connect");
        let good = world.client("g", "c");
        for broken in [
            good.clone().without("clientID"),
            good.clone().param("clientGroupID", ""),
            good.clone().param("lmid", "many"),
        ] {
            assert_eq!(broken.open().await.closed().await.code, Some(1002));
        }
        let url = format!("{base}?clientID=c&clientGroupID=g&ts=1&lmid=0");
        for protocol in [None, Some("bm9wZQ"), Some("e30=, e30=")] {
            let Closed { code, .. } = match protocol {
                Some(text) if text.contains(',') => continue,
                _ => {
                    world::Client::connect(&url, protocol, &[], "c".into(), "g".into())
                        .await
                        .closed()
                        .await
                }
            };
            assert_eq!(code, Some(1002), "{protocol:?}");
        }
        world.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn bad_messages_end_their_own_connection_only() {
        let world = World::new(backend()).await;
        let mut good = world.client("g", "good").put("h", issues()).open().await;
        good.got("h").await;
        let texts = [
            "",
            "nonsense",
            "{}",
            r#"["unknown",{}]"#,
            r#"["ping",{"more":1}]"#,
            r#"["changeDesiredQueries",{"desiredQueriesPatch":[{"op":"put","hash":"x"}]}]"#,
            r#"["push",{"clientGroupID":"g"}]"#,
        ];
        for text in texts {
            let mut bad = world.client("g", "bad").open().await;
            bad.poke().await;
            bad.send_text(text.to_owned()).await;
            assert_eq!(bad.error().await["kind"], "InvalidMessage", "{text}");
            bad.closed().await;
        }
        let mut bad = world.client("g", "bad").open().await;
        bad.push(json!([])).await;
        bad.group = "other".into();
        bad.push(json!([])).await;
        assert_eq!(bad.error().await["kind"], "InvalidPush");
        let mut bad = world.client("g", "bad").open().await;
        bad.send(json!(["deleteClients", {"clientIDs": ["bad"]}]))
            .await;
        assert_eq!(bad.error().await["kind"], "Internal");
        world
            .sql("UPDATE issue SET title = 'on' WHERE id = 'i1'")
            .await;
        assert!(
            loop {
                let poke = good.poke().await;
                if !poke.rows().is_empty() {
                    break poke;
                }
            }
            .rows()
                == ["put:issue:i1"]
        );
        world.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_query_that_cannot_be_built_fails_alone() {
        let world = World::new(backend()).await;
        let client = world
            .client("g", "c")
            .put("table", json!({"table": "nowhere"}))
            .put(
                "column",
                json!({"table": "issue", "orderBy": [["nothing", "asc"]]}),
            )
            .put("fine", issues());
        let mut client = client.open().await;
        client.got("fine").await;
        let mut failed = Vec::new();
        for _ in 0..2 {
            let errors = client.expect("transformError").await;
            for error in errors.as_array().expect("a list") {
                assert!(!error["message"].as_str().expect("a message").is_empty());
                failed.push(error["id"].as_str().expect("a hash").to_owned());
            }
        }
        failed.sort();
        assert_eq!(failed, ["column", "table"]);
        world.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_message_that_is_too_big_is_closed_with_1009() {
        let world = World::with(
            backend(),
            &["--dev", "--websocket-max-payload-bytes", "2000"],
        )
        .await;
        let mut client = world.client("g", "c").open().await;
        client.poke().await;
        client
            .send_text(format!(r#"["ping",{{}}]{}"#, " ".repeat(5000)))
            .await;
        assert_eq!(client.closed().await.code, Some(1009));
        world.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_first_message_in_the_header_is_answered_as_any_other() {
        let world = World::new(backend()).await;
        let kind = async |version: u32, group: &str| {
            let mut client = world.client(group, "c").version(version);
            client.init["later"] = json!(1);
            client.open().await.error().await["kind"].clone()
        };
        assert_eq!(kind(51, "g1").await, "InvalidMessage");
        assert_eq!(kind(53, "g2").await, "VersionNotSupported");
        world.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_schema_that_does_not_fit_is_refused() {
        let world = World::new(backend()).await;
        let kind = async |schema: serde_json::Value, group: &str| {
            let mut client = world.client(group, "c").zero();
            client.init["clientSchema"] = schema;
            client.open().await.error().await["kind"].clone()
        };
        let mut no_table = client_schema();
        no_table["tables"]["nowhere"] = no_table["tables"]["issue"].clone();
        assert_eq!(kind(no_table, "g1").await, "SchemaVersionNotSupported");
        let mut wrong_type = client_schema();
        wrong_type["tables"]["issue"]["columns"]["title"]["type"] = json!("number");
        assert_eq!(kind(wrong_type, "g2").await, "SchemaVersionNotSupported");
        let mut wrong_key = client_schema();
        wrong_key["tables"]["issue"]["primaryKey"] = json!(["title"]);
        assert_eq!(kind(wrong_key, "g3").await, "SchemaVersionNotSupported");
        let mut first = world.client("g4", "c").open().await;
        first.poke().await;
        let mut less = client_schema();
        less["tables"]
            .as_object_mut()
            .expect("tables")
            .remove("comment");
        assert_eq!(kind(less, "g4").await, "InvalidConnectionRequest");
        let mut none = world.client("g5", "c").zero();
        none.init
            .as_object_mut()
            .expect("a message")
            .remove("clientSchema");
        assert_eq!(
            none.open().await.error().await["kind"],
            "InvalidConnectionRequest"
        );
        world.end().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_permissions_nothing_is_read() {
        let world = World::with(backend(), &[]).await;
        let mut client = world.client("g", "c").put("h", issues()).open().await;
        let errors = client.expect("transformError").await;
        assert_eq!(errors[0]["id"], "h");
        assert!(client.have().is_empty());
        world.end().await;
    }
}
