//! An app in the server: queries, read rules and mutators in Rust.

mod world;

use std::time::Duration;

use landfall_server::app::{App, AppError};
use landfall_zql::builder::{Parameter, Query};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use world::{Backend, Client, World};

scenarios!(
    queries_by_name_hold_the_rules_of_their_tables,
    a_mutation_is_applied_once_with_its_id,
    a_refused_mutation_leaves_nothing_but_its_result,
    mutators_read_what_they_wrote_and_what_belongs_to_it,
    mutations_of_different_groups_do_not_lose_each_others_writes,
    mutations_wait_for_the_ones_before_them,
    crud_is_judged_by_the_apps_rules,
);

landfall_zql::tables! {
    /// What has to be done.
    pub mod issue = "issue" {
        columns {
            ID: String = "id",
            TITLE: String = "title",
            OWNER: Option<String> = "owner",
            RANK: Option<f64> = "rank" as "priority",
            OPEN: bool = "open",
        }
        key (ID)
        relationships {
            many COMMENTS = "comments": comment(ID = ISSUE_ID),
        }
    }

    /// What was said about it.
    pub mod comment = "comment" {
        columns {
            ID: String = "id",
            ISSUE_ID: String = "issueID" as "issue_id",
            BODY: String = "body",
        }
        key (ID)
        relationships {
            one ISSUE = "issue": issue(ISSUE_ID = ID),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Issue {
    id: String,
    title: String,
    owner: Option<String>,
    rank: Option<f64>,
    open: bool,
}

#[derive(Deserialize)]
struct Comment {
    id: String,
    #[serde(rename = "issueID")]
    issue_id: String,
}

#[derive(Deserialize)]
struct WithComments {
    title: String,
    comments: Vec<Comment>,
}

#[derive(Deserialize)]
struct Titled {
    id: String,
    title: String,
}

fn app() -> App {
    let by_title = |title: &str| Query::of(issue::Table).filter(issue::TITLE.eq(title));
    App::new(catalog().expect("a catalog"))
        .readable(issue::Table, issue::OWNER.eq(Parameter::claim("sub")))
        .readable(issue::Table, issue::OWNER.is_null())
        .query("issues", |_, ()| {
            Query::of(issue::Table)
                .related(issue::COMMENTS)
                .order_by(issue::ID.asc())
        })
        .query("issue", |caller, id: String| match caller.user() {
            Some(_) => Ok(Query::of(issue::Table).filter(issue::ID.eq(id)).one()),
            None => Err(AppError::new("log in first").with_details(json!({"login": true}))),
        })
        // The comments have no rule of their own, their issues have.
        .query("commented", |_, ()| {
            Query::of(comment::Table).related(comment::ISSUE)
        })
        .mutator("issue.add", move |tx, new: Titled| {
            if tx.exists(by_title(&new.title))? {
                return Err(AppError::new("the title is taken")
                    .with_details(json!({"code": "taken", "title": new.title})));
            }
            let owner = tx.caller().user().map(str::to_owned);
            let (id, title) = (new.id, new.title);
            let row = Issue {
                id,
                title,
                owner,
                rank: None,
                open: true,
            };
            tx.insert(issue::Table, &row)
        })
        .mutator("issue.addAndRefuse", |tx, id: String| {
            let row = [
                issue::ID.at(&id),
                issue::TITLE.at("t"),
                issue::OPEN.at(true),
            ];
            tx.insert(issue::Table, row)?;
            Err(AppError::new("after all, no"))
        })
        .mutator("issue.addTwoIgnoringErrors", |tx, id: String| {
            let row = [
                issue::ID.at(&id),
                issue::TITLE.at("t"),
                issue::OPEN.at(true),
            ];
            tx.insert(issue::Table, row)?;
            // The title is missing, which the database minds and this mutator does not.
            let _ = tx.insert(issue::Table, [issue::ID.at("other"), issue::OPEN.at(true)]);
            Ok(())
        })
        .mutator("issue.panic", |_, ()| panic!("a mistake of the app"))
        .mutator("issue.bump", |tx, id: String| {
            let query = Query::of(issue::Table).filter(issue::ID.eq(&id));
            let found: Option<Issue> = tx.one(query)?;
            let found = found.ok_or(AppError::new("no such issue"))?;
            let rank = found.rank.unwrap_or_default() + 1.0;
            tx.update(issue::Table, [issue::ID.at(id), issue::RANK.at(rank)])
        })
        .mutator("issue.delete", |tx, id: String| {
            let query = Query::of(issue::Table)
                .filter(issue::ID.eq(&id))
                .related(issue::COMMENTS);
            let Some(found) = tx.one::<WithComments, _>(query)? else {
                return Err(AppError::new("no such issue"));
            };
            for comment in &found.comments {
                assert_eq!(comment.issue_id, id);
                tx.delete(comment::Table, [comment::ID.at(&comment.id)])?;
            }
            tx.delete(issue::Table, [issue::ID.at(&id)])?;
            if tx.exists(Query::of(issue::Table).filter(issue::ID.eq(&id)))? {
                return Err(AppError::new(
                    "the transaction does not show its own writes",
                ));
            }
            let row = [
                issue::ID.at(format!("{id}-was")),
                issue::TITLE.at(&found.title),
                issue::OPEN.at(false),
            ];
            tx.upsert(issue::Table, row)
        })
}

async fn open(backend: Backend) -> World {
    World::with_app(backend, &["--dev"], app).await
}

fn mutation(client: &Client, id: u64, name: &str, args: Json) -> Json {
    json!({"type": "custom", "id": id, "clientID": client.client, "name": name, "args": [args], "timestamp": 1})
}

async fn mutate(client: &mut Client, id: u64, name: &str, args: Json) {
    let mutation = mutation(client, id, name, args);
    client.push(json!([mutation])).await;
}

async fn count(world: &World, sql: &str) -> String {
    let sql = format!("SELECT CAST(count(*) AS TEXT) FROM {sql}");
    world.text(&sql).await.expect("a count")
}

async fn queries_by_name_hold_the_rules_of_their_tables(backend: Backend) {
    let world = open(backend).await;
    let ann = world
        .client("g", "c")
        .param("userID", "ann")
        .named("h", "issues", json!([]))
        .named("one", "issue", json!(["i3"]))
        .named("none", "missing", json!([]));
    let mut ann = ann.open().await;
    let connected = ann.expect("connected").await;
    let landfall = json!({"queries": "named", "mutations": "custom", "version": 1});
    assert_eq!(connected["landfall"], landfall);
    let error = ann.expect("transformError").await;
    assert_eq!(error[0]["message"], "there is no query \"missing\"");
    while !(ann.has_got.contains("h") && ann.has_got.contains("one")) {
        ann.poke().await;
    }
    // i2 is bob's; its comment is not shown either, being asked for below it.
    assert_eq!(
        ann.have(),
        ["comment:c1", "comment:c2", "issue:i1", "issue:i3"]
    );
    world
        .sql("UPDATE issue SET owner = 'ann' WHERE id = 'i2'")
        .await;
    ann.poke().await;
    assert!(ann.row("issue", "i2").is_some() && ann.row("comment", "c3").is_some());

    // Nobody: what needs a user is refused, rules with a claim do not hold.
    let nobody = world
        .client("g2", "c2")
        .named("h", "issues", json!([]))
        .named("one", "issue", json!(["i3"]))
        .named("all", "commented", json!([]))
        .put("ast", json!({"table": "comment"}));
    let mut nobody = nobody.open().await;
    let error = nobody.expect("transformError").await;
    assert_eq!(
        error,
        json!([{"error": "app", "id": "one", "name": "issue", "message": "log in first", "details": {"login": true}}])
    );
    while !["h", "all", "ast"]
        .iter()
        .all(|h| nobody.has_got.contains(*h))
    {
        nobody.poke().await;
    }
    // The app's query of comments shows them; that of a client shows none, since the table has no rule.
    let have = ["comment:c1", "comment:c2", "comment:c3", "issue:i3"];
    assert_eq!(nobody.have(), have);
    world.end().await;
}

/// Ann's client, which has the issues.
async fn ann(world: &World) -> Client {
    let client = world
        .client("g", "c")
        .param("userID", "ann")
        .named("h", "issues", json!([]));
    let mut client = client.open().await;
    client.got("h").await;
    client
}

async fn a_mutation_is_applied_once_with_its_id(backend: Backend) {
    let world = open(backend).await;
    let mut client = ann(&world).await;
    mutate(
        &mut client,
        1,
        "issue.add",
        json!({"id": "n1", "title": "new"}),
    )
    .await;
    let poke = client.confirmed(1).await;
    assert_eq!(poke.results(), Vec::<Json>::new());
    let row = json!({"id": "n1", "title": "new", "owner": "ann", "priority": null, "open": true});
    assert_eq!(client.row("issue", "n1"), Some(&row));
    // Sent again, also in one message with the next: done already.
    mutate(&mut client, 1, "issue.bump", json!("n1")).await;
    let again = mutation(&client, 1, "issue.bump", json!("n1"));
    let next = mutation(&client, 2, "issue|bump", json!("n1"));
    client.push(json!([again, next])).await;
    client.confirmed(2).await;
    assert_eq!(client.row("issue", "n1").expect("the row")["priority"], 1);
    world.end().await;
}

async fn a_refused_mutation_leaves_nothing_but_its_result(backend: Backend) {
    let world = open(backend).await;
    let mut client = ann(&world).await;
    let calls = [
        ("issue.add", json!({"id": "n", "title": "first"})),
        ("issue.add", json!({"title": 7})),
        ("issue.addAndRefuse", json!("n")),
        ("issue.addTwoIgnoringErrors", json!("n")),
        ("issue.panic", json!(null)),
        ("issue.nothing", json!(null)),
        ("issue.bump", json!("i1")),
    ];
    for (id, (name, args)) in (1..).zip(&calls) {
        mutate(&mut client, id, name, args.clone()).await;
    }
    let mut results = Vec::new();
    while client.row("issue", "i1").expect("the row")["priority"] != 2 {
        results.extend(client.poke().await.results());
    }
    let results: Vec<(u64, Json)> = results
        .iter()
        .map(|put| {
            let mutation = &put["mutation"];
            let id = mutation["id"]["id"].as_u64().expect("an id");
            (id, mutation["result"].clone())
        })
        .collect();
    assert_eq!(
        results.iter().map(|r| r.0).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5, 6]
    );
    let taken = json!({"error": "app", "message": "the title is taken", "details": {"code": "taken", "title": "first"}});
    assert_eq!(results[0].1, taken);
    let texts: Vec<&str> = results
        .iter()
        .map(|r| r.1["message"].as_str().expect("a message"))
        .collect();
    assert!(
        texts[1].starts_with("the arguments do not fit"),
        "{texts:?}"
    );
    assert_eq!(texts[2], "after all, no");
    assert!(texts[3].contains("title"), "{texts:?}");
    assert_eq!(texts[4], "the app's code failed");
    assert_eq!(texts[5], "there is no mutator \"issue.nothing\"");
    assert_eq!(count(&world, "issue").await, "3");
    // The results go when they were seen.
    client
        .send(json!(["ackMutationResponses", {"clientID": "c", "id": 6}]))
        .await;
    let mut gone = Vec::new();
    while gone.len() < 6 {
        gone.extend(client.poke().await.results());
    }
    assert!(gone.iter().all(|op| op["op"] == "del"), "{gone:?}");
    world.end().await;
}

async fn mutators_read_what_they_wrote_and_what_belongs_to_it(backend: Backend) {
    let world = open(backend).await;
    let mut client = ann(&world).await;
    mutate(&mut client, 1, "issue.delete", json!("i1")).await;
    let poke = client.confirmed(1).await;
    assert_eq!(poke.results(), Vec::<Json>::new());
    assert_eq!(client.have(), ["issue:i1-was", "issue:i3"]);
    assert_eq!(count(&world, "comment").await, "1");
    world.end().await;
}

/// Each reads the rank and writes it back: none may be lost, whoever comes first.
async fn mutations_of_different_groups_do_not_lose_each_others_writes(backend: Backend) {
    let world = open(backend).await;
    let mut clients = Vec::new();
    for at in 0..4 {
        let client = world.client(&format!("g{at}"), &format!("c{at}"));
        clients.push(client.param("userID", "ann").open().await);
    }
    let runs = clients.into_iter().map(|mut client| async move {
        for id in 1..=8 {
            mutate(&mut client, id, "issue.bump", json!("i1")).await;
        }
        client.confirmed(8).await;
    });
    futures::future::join_all(runs).await;
    let rank =
        world.text("SELECT CAST(CAST(priority AS INTEGER) AS TEXT) FROM issue WHERE id = 'i1'");
    assert_eq!(rank.await.as_deref(), Some("33"));
    world.end().await;
}

async fn mutations_wait_for_the_ones_before_them(backend: Backend) {
    let world = open(backend).await;
    let mut client = world.client("g", "c").open().await;
    mutate(&mut client, 2, "issue.bump", json!("i1")).await;
    assert_eq!(client.error().await["reason"], "oooMutation");
    assert_eq!(count(&world, "issue WHERE priority = 1").await, "1");
    world.end().await;
}

/// Users write their own issues, and give them to nobody; comments are added where an issue is seen.
fn rules() -> App {
    let mine = || issue::OWNER.eq(Parameter::claim("sub"));
    App::new(catalog().expect("a catalog"))
        .readable(issue::Table, mine())
        .readable(
            comment::Table,
            comment::ISSUE.exists_in(|issue| issue.filter(issue::OPEN.eq(true))),
        )
        .insertable(issue::Table, mine())
        .updatable(issue::Table, mine(), mine())
        .deletable(issue::Table, mine().and(issue::OPEN.eq(false)))
        .insertable(
            comment::Table,
            comment::ISSUE.exists_in(|issue| issue.filter(mine())),
        )
}

async fn crud_is_judged_by_the_apps_rules(backend: Backend) {
    let world = World::with_app(backend, &["--auth-secret", "k"], rules).await;
    let key = jsonwebtoken::EncodingKey::from_secret(b"k");
    let claims = json!({"sub": "ann"});
    let client = world
        .client("g", "c")
        .param("userID", "ann")
        .put("h", json!({"table": "issue"}));
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key);
    let mut client = world::ClientBuilder {
        token: Some(token.expect("signs")),
        ..client
    }
    .open()
    .await;
    let connected = client.expect("connected").await;
    let landfall = json!({"queries": "ast", "mutations": "crud", "version": 1});
    assert_eq!(connected["landfall"], landfall);
    let comment = |id: &str, issue: &str| {
        json!({"op": "insert", "tableName": "comment", "primaryKey": ["id"],
            "value": {"id": id, "issue_id": issue, "body": "b"}})
    };
    let writes = [
        (
            true,
            world::issue_op(
                "insert",
                json!({"id": "n1", "title": "t", "owner": "ann", "open": true}),
            ),
        ),
        (
            false,
            world::issue_op(
                "insert",
                json!({"id": "n2", "title": "t", "owner": "bob", "open": true}),
            ),
        ),
        (
            true,
            world::issue_op("update", json!({"id": "i1", "title": "mine"})),
        ),
        (
            false,
            world::issue_op("update", json!({"id": "i2", "title": "mine"})),
        ),
        (
            false,
            world::issue_op("update", json!({"id": "i1", "owner": "bob"})),
        ),
        (false, world::issue_op("delete", json!({"id": "i1"}))),
        (
            true,
            world::issue_op("update", json!({"id": "i1", "open": false})),
        ),
        (true, world::issue_op("delete", json!({"id": "i1"}))),
        (true, comment("d1", "n1")),
        (false, comment("d2", "i2")),
        (
            false,
            json!({"op": "delete", "tableName": "comment", "primaryKey": ["id"], "value": {"id": "c3"}}),
        ),
    ];
    for (id, (_, op)) in (1..).zip(&writes) {
        client.crud(id, json!([op])).await;
    }
    let mut refused = Vec::new();
    while client.lmids.get("c") != Some(&(writes.len() as u64)) {
        refused.extend(client.poke().await.results());
    }
    let refused: Vec<u64> = refused
        .iter()
        .map(|put| put["mutation"]["id"]["id"].as_u64().expect("an id"))
        .collect();
    let expected = (1..).zip(&writes).filter(|(_, (allowed, _))| !allowed);
    assert_eq!(refused, expected.map(|(id, _)| id).collect::<Vec<u64>>());
    assert_eq!(
        world.list("SELECT id FROM issue ORDER BY id").await,
        ["i2", "i3", "n1"]
    );
    let comments = world.list("SELECT id FROM comment ORDER BY id").await;
    assert_eq!(comments, ["c1", "c2", "c3", "d1"]);
    assert_eq!(client.have(), ["issue:n1"]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_in_the_declarations_are_said_at_the_start() {
    let twice = || {
        app()
            .query("issues", |_, ()| Query::of(issue::Table))
            .mutator("issue.add", |_, ()| Ok(()))
    };
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("app.db");
    let words = [
        "--upstream-db",
        file.to_str().expect("text"),
        "--port",
        "0",
        "--dev",
    ];
    let flags = landfall_server::config::Flags::parse_words(&words).expect("flags");
    let config = landfall_server::config::resolve(&flags, &|_| None).expect("settings");
    let started = landfall_server::server::start_app(config, twice());
    let started = tokio::time::timeout(Duration::from_secs(20), started).await;
    let error = started
        .expect("an answer")
        .err()
        .expect("a refusal")
        .to_string();
    assert_eq!(
        error,
        "the app: the query \"issues\" is there twice; the mutator \"issue.add\" is there twice"
    );
}
