//! CRUD mutations on a real Postgres: exactly once, with the effects, the id and the result in the right steps.

#![allow(
    clippy::unwrap_used,
    reason = "a test stops where something is not as it should be"
)]

mod support;

use std::sync::Arc;

use landfall_server::replica::ReplicaSchema;
use landfall_server::upstream::{
    AllowAll, Cleanup, CrudKind, CrudOp, CrudOutcome, CrudRequest, Judge, MutationId, Verdict,
    Write,
};
use landfall_zql::{TableId, ValueRef};
use support::{Database, Following, rows};

const SCHEMA: &str = "
CREATE TABLE item (id text PRIMARY KEY, code text UNIQUE NOT NULL, n int4 CHECK (n < 100), at timestamptz, tags text[], meta jsonb);
";

fn mutation(id: u64) -> MutationId {
    MutationId {
        group: "g".to_owned(),
        client: "c".to_owned(),
        id,
    }
}

fn op(kind: CrudKind, value: &str) -> CrudOp {
    CrudOp {
        kind,
        table: "item".to_owned(),
        primary_key: vec!["id".to_owned()],
        value: value.to_owned(),
    }
}

async fn crud(following: &Following, id: u64, ops: Vec<CrudOp>) -> CrudOutcome {
    crud_judged(following, id, ops, Arc::new(AllowAll)).await
}

async fn crud_judged(
    following: &Following,
    id: u64,
    ops: Vec<CrudOp>,
    judge: Arc<dyn Judge>,
) -> CrudOutcome {
    let request = CrudRequest {
        mutation: mutation(id),
        ops,
    };
    following
        .started
        .upstream
        .crud(request, judge)
        .await
        .unwrap()
}

const ROW: &str =
    r#"{"id":"1","code":"one","n":5,"at":1700000000123.456,"tags":["a","b c"],"meta":{"k":[1]}}"#;
const STORED: &str =
    r#"{"at":1700000000123.456,"code":"one","id":"1","meta":{"k":[1]},"n":5,"tags":["a","b c"]}"#;

#[tokio::test]
async fn writes_their_id_and_their_effects_arrive_in_one_step() {
    let db = Database::new(SCHEMA).await;
    let mut following = db.start().await;
    assert_eq!(
        crud(&following, 1, vec![op(CrudKind::Insert, ROW)]).await,
        CrudOutcome::Applied
    );
    let step = following.step().await;
    assert_eq!(
        support::describe(following.replica(), &step),
        [format!("item: - → {STORED}")]
    );
    assert_eq!((step.lmids.len(), step.lmids[0].lmid), (1, 1));
    let ops = vec![
        op(CrudKind::Upsert, r#"{"id":"1","code":"uno"}"#),
        op(CrudKind::Insert, r#"{"id":"1","code":"taken"}"#),
        op(CrudKind::Update, r#"{"id":"nobody","n":1}"#),
        op(CrudKind::Update, r#"{"id":"1","n":6,"tags":null}"#),
        op(CrudKind::Upsert, r#"{"id":"2","code":"two"}"#),
        op(CrudKind::Delete, r#"{"id":"3"}"#),
    ];
    assert_eq!(crud(&following, 2, ops).await, CrudOutcome::Applied);
    following.step().await;
    let reader = following.replica().reader().unwrap();
    assert_eq!(
        rows(&reader, "item"),
        [
            r#"{"at":1700000000123.456,"code":"uno","id":"1","meta":{"k":[1]},"n":6,"tags":null}"#,
            r#"{"at":null,"code":"two","id":"2","meta":null,"n":null,"tags":null}"#,
        ]
    );
    assert_eq!(reader.lmids("g").unwrap(), [("c".to_owned(), 2)]);
    following.stop().await;
    db.drop().await;
}

#[tokio::test]
async fn values_are_cast_to_the_whole_type_of_their_column() {
    let schema = "CREATE TYPE public.\"Mood\" AS ENUM ('sad', 'ok');
        CREATE TABLE item (id text PRIMARY KEY, fixed char(5), codes char(3)[], mood \"Mood\", moods \"Mood\"[],
            short varchar(4), price numeric(8, 2), raw json, odd \"char\");";
    let db = Database::new(schema).await;
    let mut following = db.start().await;
    let row = r#"{"codes":["abc","d  "],"fixed":"ab   ","id":"1","mood":"ok","moods":["sad","ok"],"odd":"x","price":1.25,"raw":{"b":1,"a":[1,{"d":2,"c":3}]},"short":"four"}"#;
    assert_eq!(
        crud(&following, 1, vec![op(CrudKind::Insert, row)]).await,
        CrudOutcome::Applied
    );
    following.step().await;
    let reader = following.replica().reader().unwrap();
    assert_eq!(rows(&reader, "item"), [row]);
    following.stop().await;
    db.drop().await;
}

#[tokio::test]
async fn a_mutation_is_applied_at_most_once_and_in_order() {
    let db = Database::new(SCHEMA).await;
    let following = db.start().await;
    let insert = vec![op(CrudKind::Insert, ROW)];
    assert_eq!(
        crud(&following, 2, insert.clone()).await,
        CrudOutcome::OutOfOrder { expected: 1 }
    );
    assert_eq!(
        crud(&following, 1, insert.clone()).await,
        CrudOutcome::Applied
    );
    db.sql("DELETE FROM item").await;
    assert_eq!(
        crud(&following, 1, insert.clone()).await,
        CrudOutcome::AlreadyProcessed { lmid: 1 }
    );
    assert_eq!(
        db.text("SELECT count(*)::text FROM item").await.as_deref(),
        Some("0")
    );
    // Ten tries of one mutation at once: one is applied.
    let tries = (0..10).map(|_| crud(&following, 2, insert.clone()));
    let outcomes = futures::future::join_all(tries).await;
    let applied = outcomes
        .iter()
        .filter(|outcome| **outcome == CrudOutcome::Applied);
    assert_eq!(applied.count(), 1, "{outcomes:?}");
    following.stop().await;
    db.drop().await;
}

#[tokio::test]
async fn a_failure_leaves_a_result_and_nothing_else() {
    let db = Database::new(SCHEMA).await;
    let mut following = db.start().await;
    crud(&following, 1, vec![op(CrudKind::Insert, ROW)]).await;
    following.step().await;
    let cases = [
        (
            r#"{"id":"2","code":"one"}"#,
            "duplicate key value violates unique constraint",
        ),
        (
            r#"{"id":"2","code":"two","n":100}"#,
            "violates check constraint",
        ),
        (
            r#"{"id":"2","code":"two","n":"many"}"#,
            "item.n: expected a number",
        ),
        (
            r#"{"id":"2","code":"two","what":1}"#,
            "has no column \"what\"",
        ),
        (r#"{"code":"two"}"#, "lacks a part of its key"),
    ];
    for (at, (value, expected)) in cases.into_iter().enumerate() {
        let id = at as u64 + 2;
        let ops = vec![
            op(CrudKind::Insert, r#"{"id":"first","code":"first"}"#),
            op(CrudKind::Insert, value),
        ];
        let outcome = crud(&following, id, ops).await;
        assert!(
            matches!(&outcome, CrudOutcome::Failed { reason } if reason.contains(expected)),
            "{outcome:?}"
        );
        let step = following.step().await;
        assert!(step.changes.is_empty());
        assert_eq!(step.lmids[0].lmid, id);
        let result = step.results[0].result.as_deref().unwrap();
        assert!(
            result.starts_with(r#"{"error":"app","message":""#),
            "{result}"
        );
    }
    let cleanup = Cleanup::Single {
        group: "g".to_owned(),
        client: "c".to_owned(),
        up_to: 3,
    };
    following
        .started
        .upstream
        .cleanup_results(cleanup)
        .await
        .unwrap();
    let step = following.step().await;
    let deleted: Vec<(u64, bool)> = step
        .results
        .iter()
        .map(|r| (r.id, r.result.is_none()))
        .collect();
    assert_eq!(deleted, [(2, true), (3, true)]);
    let reader = following.replica().reader().unwrap();
    let since = reader.results_since("g", None).unwrap();
    let live: Vec<u64> = since
        .iter()
        .filter(|r| r.result.is_some())
        .map(|r| r.id)
        .collect();
    assert_eq!(live, [4, 5, 6]);
    following.stop().await;
    db.drop().await;
}

/// Allows what keeps `n` below 10.
struct Small;

impl Judge for Small {
    fn judge(
        &self,
        schema: &ReplicaSchema,
        table: TableId,
        write: Write<'_>,
        _: Option<&dyn landfall_ivm::Source>,
    ) -> Verdict {
        let n = schema.zql[table].column("n").unwrap();
        let allowed = match write {
            Write::Insert { new } | Write::Changed { new, .. } => {
                !matches!(new.get(n), ValueRef::Number(n) if n >= 10.0)
            }
            Write::Change { .. } | Write::ChangeNone { .. } => true,
            Write::Delete { .. } | Write::DeleteNone => false,
        };
        match allowed {
            true => Verdict::Allowed,
            false => Verdict::Denied,
        }
    }
}

#[tokio::test]
async fn a_denied_write_advances_the_id_and_says_why() {
    let db = Database::new(SCHEMA).await;
    let mut following = db.start().await;
    let judge: Arc<dyn Judge> = Arc::new(Small);
    let outcome = crud_judged(
        &following,
        1,
        vec![op(CrudKind::Insert, ROW)],
        judge.clone(),
    )
    .await;
    assert_eq!(outcome, CrudOutcome::Applied);
    following.step().await;
    for (id, denied) in [
        (2, op(CrudKind::Update, r#"{"id":"1","n":50}"#)),
        (3, op(CrudKind::Delete, r#"{"id":"1"}"#)),
    ] {
        let ops = vec![op(CrudKind::Update, r#"{"id":"1","n":7}"#), denied];
        let outcome = crud_judged(&following, id, ops, judge.clone()).await;
        assert!(
            matches!(&outcome, CrudOutcome::Denied { .. }),
            "{outcome:?}"
        );
        let step = following.step().await;
        assert!(step.changes.is_empty(), "nothing is written");
        assert!(
            step.results[0]
                .result
                .as_deref()
                .unwrap()
                .contains("not allowed to")
        );
    }
    let failed = following
        .started
        .upstream
        .fail(mutation(4), r#"{"error":"app","message":"no"}"#.to_owned());
    assert!(matches!(failed.await.unwrap(), CrudOutcome::Failed { .. }));
    assert_eq!(following.step().await.lmids[0].lmid, 4);
    following.stop().await;
    db.drop().await;
}
