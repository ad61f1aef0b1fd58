//! The inspector's questions, and who may ask them.

mod world;

use serde_json::{Value as Json, json};
use world::{Backend, Client, World};

scenarios!(
    nothing_is_told_without_the_password,
    queries_are_told_with_their_rows_and_times,
    a_query_is_analysed_under_the_permissions_of_who_asks,
);

fn permissions() -> Json {
    let own = json!(["allow", {"type": "simple", "op": "=", "left": {"type": "column", "name": "owner"},
        "right": {"type": "literal", "value": "ann"}}]);
    json!({"tables": {"issue": {"row": {"select": [own]}}}})
}

async fn world(backend: Backend) -> World {
    World::guarded(backend, &permissions(), &["--admin-password", "sesame"]).await
}

async fn ask(client: &mut Client, question: Json) -> Json {
    client.send(json!(["inspect", question])).await;
    let answer = client.expect("inspect").await;
    assert_eq!(answer["id"], question["id"]);
    json!([answer["op"], answer["value"]])
}

async fn admitted(client: &mut Client) {
    let question = json!({"op": "authenticate", "id": "pw", "value": "sesame"});
    assert_eq!(ask(client, question).await, json!(["authenticated", true]));
}

async fn nothing_is_told_without_the_password(backend: Backend) {
    let world = world(backend).await;
    let mut client = world.client("g", "c").open().await;
    client.poke().await;
    let questions = [
        json!({"op": "version", "id": "1"}),
        json!({"op": "metrics", "id": "2"}),
        json!({"op": "queries", "id": "3"}),
        json!({"op": "analyze-query", "id": "4", "ast": {"table": "issue"}}),
        json!({"op": "authenticate", "id": "5", "value": "sesam"}),
        json!({"op": "authenticate", "id": "6", "value": ""}),
    ];
    for question in questions {
        let answer = ask(&mut client, question).await;
        assert_eq!(answer, json!(["authenticated", false]));
    }
    admitted(&mut client).await;
    let version = ask(&mut client, json!({"op": "version", "id": "7"})).await;
    assert_eq!(version, json!(["version", env!("CARGO_PKG_VERSION")]));
    // The password opens its own client group only.
    let mut other = world.client("g2", "c2").open().await;
    other.poke().await;
    let answer = ask(&mut other, json!({"op": "version", "id": "8"})).await;
    assert_eq!(answer, json!(["authenticated", false]));
    world.end().await;
}

async fn queries_are_told_with_their_rows_and_times(backend: Backend) {
    let world = world(backend).await;
    let comments = json!({"correlation": {"parentField": ["id"], "childField": ["issue_id"]},
        "subquery": {"table": "comment", "alias": "comments"}});
    let ast = json!({"table": "issue", "related": [comments]});
    let client = world.client("g", "c").put("h", ast.clone());
    let mut client = client.open().await;
    client.got("h").await;
    let mut other = world.client("g", "d").put("k", json!({"table": "comment"}));
    other
        .init
        .as_object_mut()
        .expect("an object")
        .remove("clientSchema");
    let mut other = other.open().await;
    other.got("k").await;
    other.desire(json!([{"op": "del", "hash": "k"}])).await;
    other.poke().await;
    admitted(&mut client).await;

    let answer = ask(
        &mut client,
        json!({"op": "queries", "id": "1", "clientID": "c"}),
    )
    .await;
    let [row] = answer[1].as_array().expect("rows").as_slice() else {
        panic!("one query: {answer}");
    };
    // ann's issue; comments have no rule, so there are none.
    assert_eq!(row["rowCount"], 1, "{row}");
    assert_eq!(
        (&row["clientID"], &row["queryID"]),
        (&json!("c"), &json!("h"))
    );
    assert_eq!((&row["ast"], &row["name"]), (&ast, &Json::Null));
    assert_eq!(
        (&row["got"], &row["deleted"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(
        (&row["ttl"], &row["inactivatedAt"]),
        (&json!(300_000), &Json::Null)
    );
    assert!(
        row["metrics"]["query-hydration-server-ms"].is_u64(),
        "{row}"
    );

    let answer = ask(&mut client, json!({"op": "queries", "id": "2"})).await;
    assert_eq!(answer[1].as_array().map(Vec::len), Some(2));
    assert_eq!(answer[1][1]["deleted"], true);
    assert!(answer[1][1]["inactivatedAt"].is_u64(), "{answer}");
    let answer = ask(&mut client, json!({"op": "metrics", "id": "3"})).await;
    let digest = answer[1]["query-materialization-server"]
        .as_array()
        .expect("a digest");
    assert_eq!((digest.len(), &digest[0]), (5, &json!(1000)), "two points");
    assert_eq!(answer[1]["query-update-server"], json!([1000]));

    // Clients of version 50 take a digest where later ones take a number.
    let mut old = world
        .client("g3", "e")
        .version(50)
        .put("h", ast)
        .open()
        .await;
    old.got("h").await;
    admitted(&mut old).await;
    let answer = ask(&mut old, json!({"op": "queries", "id": "4"})).await;
    let metrics = &answer[1][0]["metrics"];
    assert_eq!(
        metrics["query-materialization-server"]
            .as_array()
            .map(Vec::len),
        Some(3)
    );
    assert_eq!(metrics["query-hydration-server-ms"], Json::Null);
    world.end().await;
}

async fn a_query_is_analysed_under_the_permissions_of_who_asks(backend: Backend) {
    let world = world(backend).await;
    let mut client = world.client("g", "c").open().await;
    client.poke().await;
    admitted(&mut client).await;
    for field in ["ast", "value"] {
        let mut question =
            json!({"op": "analyze-query", "id": "1", "options": {"syncedRows": true}});
        question[field] = json!({"table": "issue"});
        let answer = ask(&mut client, question).await;
        let value = &answer[1];
        assert_eq!(
            (&answer[0], &value["syncedRowCount"]),
            (&json!("analyze-query"), &json!(1)),
            "{answer}"
        );
        let row =
            json!({"id": "i1", "title": "first", "owner": "ann", "priority": 1, "open": true});
        assert_eq!(value["syncedRows"], json!({"issue": [row]}));
        assert_eq!(value["warnings"], json!([]));
        assert!(
            value["afterPermissions"]
                .as_str()
                .is_some_and(|text| text.contains("ann"))
        );
        assert!(value["readRowCount"].as_u64() >= Some(1), "{value}");
        assert!(value["end"].as_u64() >= value["start"].as_u64());
    }
    let wrong = [
        (json!({"ast": {"table": "nothing"}}), "nothing"),
        (json!({"name": "issues", "args": []}), "no query \"issues\""),
        (json!({}), "neither"),
    ];
    for (mut question, expected) in wrong {
        question["op"] = json!("analyze-query");
        question["id"] = json!("2");
        let answer = ask(&mut client, question).await;
        let text = answer[1].as_str().unwrap_or_default();
        assert!(answer[0] == "error" && text.contains(expected), "{answer}");
    }
    world.end().await;
}
