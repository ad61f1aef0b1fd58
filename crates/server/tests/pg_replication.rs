//! The replica of a real Postgres: initial copy, changes, restarts, lost connections.

#![allow(
    clippy::unwrap_used,
    reason = "a test stops where something is not as it should be"
)]

mod support;

use landfall_server::replica::Reset;
use landfall_server::upstream::{State, UpstreamError};
use support::{Database, PATIENCE, rows};

const ISSUES: &str = "
CREATE TABLE issue (id text PRIMARY KEY, title text NOT NULL, votes int4, body text, open bool DEFAULT true);
ALTER TABLE issue ALTER COLUMN body SET STORAGE EXTERNAL;
INSERT INTO issue (id, title, votes) VALUES ('b', 'second', NULL), ('a', 'first\twith tab \\ and \"quotes\"', 3);
";

#[tokio::test]
async fn initial_copy_then_changes() {
    let db = Database::new(ISSUES).await;
    let mut following = db.start().await;
    let reader = following.replica().reader().unwrap();
    assert_eq!(
        rows(&reader, "issue"),
        [
            r#"{"body":null,"id":"a","open":true,"title":"first\twith tab \\ and \"quotes\"","votes":3}"#,
            r#"{"body":null,"id":"b","open":true,"title":"second","votes":null}"#,
        ]
    );
    db.sql("INSERT INTO issue (id, title, votes) VALUES ('c', 'third', -1)")
        .await;
    assert_eq!(
        following.changes().await,
        [r#"issue: - → {"body":null,"id":"c","open":true,"title":"third","votes":-1}"#]
    );
    db.sql("UPDATE issue SET open = false WHERE id = 'c'").await;
    assert_eq!(
        following.changes().await,
        [concat!(
            r#"issue: {"body":null,"id":"c","open":true,"title":"third","votes":-1}"#,
            r#" → {"body":null,"id":"c","open":false,"title":"third","votes":-1}"#
        )]
    );
    db.sql("UPDATE issue SET id = 'd' WHERE id = 'c'").await;
    assert_eq!(
        following.changes().await,
        [
            r#"issue: {"body":null,"id":"c","open":false,"title":"third","votes":-1} → -"#,
            r#"issue: - → {"body":null,"id":"d","open":false,"title":"third","votes":-1}"#,
        ]
    );
    db.sql("DELETE FROM issue WHERE id = 'd'").await;
    assert_eq!(
        following.changes().await,
        [r#"issue: {"body":null,"id":"d","open":false,"title":"third","votes":-1} → -"#]
    );
    following.stop().await;
    db.drop().await;
}

#[tokio::test]
async fn one_transaction_is_one_net_step() {
    let db = Database::new(ISSUES).await;
    let mut following = db.start().await;
    let mut reader = following.replica().reader().unwrap();
    db.sql(
        "BEGIN; INSERT INTO issue VALUES ('x', '1'); UPDATE issue SET title = '2' WHERE id = 'x';
         INSERT INTO issue VALUES ('y', '1'); DELETE FROM issue WHERE id = 'y';
         DELETE FROM issue WHERE id = 'a'; INSERT INTO issue VALUES ('a', 'again'); COMMIT",
    )
    .await;
    let before = reader.version();
    assert_eq!(
        following.changes().await,
        [
            concat!(
                r#"issue: {"body":null,"id":"a","open":true,"title":"first\twith tab \\ and \"quotes\"","votes":3}"#,
                r#" → {"body":null,"id":"a","open":true,"title":"again","votes":null}"#
            ),
            r#"issue: - → {"body":null,"id":"x","open":true,"title":"2","votes":null}"#,
        ]
    );
    assert_eq!(
        rows(&reader, "issue").len(),
        2,
        "a reader stays where it is"
    );
    assert!(reader.advance().unwrap() > before);
    assert_eq!(rows(&reader, "issue").len(), 3);
    following.stop().await;
    db.drop().await;
}

#[tokio::test]
async fn an_unchanged_large_value_is_kept() {
    let db = Database::new(ISSUES).await;
    db.sql("UPDATE issue SET body = repeat('large ', 10000) WHERE id = 'a'")
        .await;
    let mut following = db.start().await;
    db.sql("UPDATE issue SET votes = 4 WHERE id = 'a'").await;
    let step = following.step().await;
    let after = step.changes[0].after.clone().unwrap();
    let mut reader = following.replica().reader().unwrap();
    reader.advance().unwrap();
    let body = after.iter().next().unwrap();
    assert!(matches!(body, landfall_zql::ValueRef::String(text) if text.len() == 60_000));
    assert!(rows(&reader, "issue")[0].len() > 60_000);
    following.stop().await;
    db.drop().await;
}

#[tokio::test]
async fn partitions_are_one_table_and_generated_columns_are_left_out() {
    let db = Database::new(
        "CREATE TABLE log (day int4, id int4, n int4, twice int4 GENERATED ALWAYS AS (n * 2) STORED, PRIMARY KEY (day, id)) PARTITION BY RANGE (day);
         CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM (0) TO (10);
         CREATE TABLE log_2 PARTITION OF log FOR VALUES FROM (10) TO (20);
         INSERT INTO log (day, id, n) VALUES (1, 1, 1), (11, 2, 2)",
    )
    .await;
    let mut following = db.start().await;
    let reader = following.replica().reader().unwrap();
    assert_eq!(
        rows(&reader, "log"),
        [r#"{"day":1,"id":1,"n":1}"#, r#"{"day":11,"id":2,"n":2}"#]
    );
    // A row that moves to another partition, its key with it.
    db.sql("UPDATE log SET day = 12, n = 5 WHERE id = 1").await;
    assert_eq!(
        following.changes().await,
        [
            r#"log: {"day":1,"id":1,"n":1} → -"#,
            r#"log: - → {"day":12,"id":1,"n":5}"#
        ]
    );
    db.sql("CREATE TABLE log_3 PARTITION OF log FOR VALUES FROM (20) TO (30); INSERT INTO log (day, id, n) VALUES (21, 3, 3)").await;
    assert_eq!(
        following.changes().await,
        [r#"log: - → {"day":21,"id":3,"n":3}"#]
    );
    db.sql("TRUNCATE log").await;
    following.step().await;
    let reader = following.replica().reader().unwrap();
    assert_eq!(rows(&reader, "log"), Vec::<String>::new());
    following.stop().await;
    db.drop().await;
}

#[tokio::test]
async fn a_key_that_passes_to_another_row_is_no_collision() {
    let db = Database::new(
        "CREATE TABLE plain (id int4 PRIMARY KEY, who text); INSERT INTO plain VALUES (1, 'a'), (2, 'b')",
    )
    .await;
    let mut following = db.start().await;
    db.sql(
        "BEGIN; UPDATE plain SET id = 3 WHERE id = 1; UPDATE plain SET id = 1 WHERE id = 2; COMMIT",
    )
    .await;
    assert_eq!(
        following.changes().await,
        [
            r#"plain: {"id":1,"who":"a"} → {"id":1,"who":"b"}"#,
            r#"plain: {"id":2,"who":"b"} → -"#,
            r#"plain: - → {"id":3,"who":"a"}"#
        ]
    );
    following.stop().await;
    db.drop().await;
}

#[tokio::test]
async fn truncate_resets_the_table() {
    let db = Database::new(ISSUES).await;
    let mut following = db.start().await;
    db.sql("BEGIN; TRUNCATE issue; INSERT INTO issue VALUES ('z', 'only'); COMMIT")
        .await;
    let step = following.step().await;
    assert!(matches!(&step.reset, Reset::Tables(tables) if tables.len() == 1));
    assert!(step.changes.is_empty());
    let reader = following.replica().reader().unwrap();
    assert_eq!(rows(&reader, "issue").len(), 1);
    following.stop().await;
    db.drop().await;
}

/// A transaction of any size takes bounded memory: beyond that its tables are read anew instead.
#[tokio::test]
async fn a_large_transaction_is_not_held_in_memory() {
    let db = Database::new(ISSUES).await;
    db.sql("CREATE TABLE other (id int4 PRIMARY KEY)").await;
    let mut following = db.start().await;
    db.sql(
        "BEGIN; INSERT INTO issue SELECT 'n' || n, 'title' FROM generate_series(1, 60000) n;
         INSERT INTO other VALUES (1); COMMIT",
    )
    .await;
    let step = following.step().await;
    assert!(matches!(&step.reset, Reset::Tables(tables) if tables.len() == 1));
    assert_eq!(
        step.changes.len(),
        1,
        "other tables are followed row by row"
    );
    let reader = following.replica().reader().unwrap();
    assert_eq!(rows(&reader, "issue").len(), 60_002);
    following.stop().await;
    db.drop().await;
}

#[tokio::test]
async fn a_restart_goes_on_from_the_stored_watermark() {
    let db = Database::new(ISSUES).await;
    let mut following = db.start().await;
    db.sql("INSERT INTO issue VALUES ('c', 'while running')")
        .await;
    let version = following.step().await.to;
    let slot = db
        .text(
            "SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()",
        )
        .await;
    following.stop().await;
    db.sql("INSERT INTO issue VALUES ('d', 'while stopped'); DELETE FROM issue WHERE id = 'a'")
        .await;
    let mut following = db.start().await;
    // The steps may come before the subscription did.
    let mut reader = following.replica().reader().unwrap();
    while reader.version() == version {
        following.step().await;
        reader.advance().unwrap();
    }
    let ids: Vec<bool> = ["\"a\"", "\"b\"", "\"c\"", "\"d\""]
        .iter()
        .map(|id| {
            rows(&reader, "issue")
                .iter()
                .any(|row| row.contains(&format!("\"id\":{id}")))
        })
        .collect();
    assert_eq!(ids, [false, true, true, true]);
    let same = db
        .text(
            "SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()",
        )
        .await;
    assert_eq!(slot, same, "no new copy was made");
    following.stop().await;
    db.drop().await;
}

#[tokio::test]
async fn a_killed_walsender_is_replaced() {
    let db = Database::new(ISSUES).await;
    let mut following = db.start().await;
    db.sql("INSERT INTO issue VALUES ('c', 'before')").await;
    following.step().await;
    for round in 0..3 {
        db.sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = current_database() AND active").await;
        db.sql(&format!("INSERT INTO issue VALUES ('n{round}', 'after')"))
            .await;
        let changes = following.changes().await;
        assert_eq!(changes.len(), 1, "{changes:?}");
        assert!(changes[0].contains(&format!("\"n{round}\"")), "{changes:?}");
    }
    assert_eq!(following.started.upstream.status().state, State::Connected);
    following.stop().await;
    db.drop().await;
}

/// The slot was taken to be ahead of the replica, which compared it with the position it had started from.
#[tokio::test]
async fn a_connection_cut_after_a_confirmation_is_no_reason_to_copy_anew() {
    let db = Database::new(ISSUES).await;
    let mut following = db.start().await;
    let confirmed = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE database = current_database()";
    let before = db.text(confirmed).await;
    db.sql("INSERT INTO issue VALUES ('c', 'confirmed')").await;
    following.step().await;
    let deadline = std::time::Instant::now() + PATIENCE;
    while db.text(confirmed).await == before {
        assert!(std::time::Instant::now() < deadline, "nothing is confirmed");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    db.sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = current_database() AND active").await;
    db.sql("INSERT INTO issue VALUES ('d', 'after')").await;
    let step = following.step().await;
    assert_eq!((step.reset.clone(), step.changes.len()), (Reset::None, 1));
    following.stop().await;
    db.drop().await;
}

#[tokio::test]
async fn a_lost_slot_or_a_changed_table_is_copied_anew_in_place() {
    let db = Database::new(ISSUES).await;
    let mut following = db.start().await;
    let mut reader = following.replica().reader().unwrap();
    db.sql("ALTER TABLE issue ADD COLUMN extra int4 DEFAULT 7; INSERT INTO issue VALUES ('c', 'new shape')").await;
    let step = following.step().await;
    assert!(matches!(step.reset, Reset::Tables(_)));
    reader.advance().unwrap();
    assert!(
        rows(&reader, "issue")
            .iter()
            .all(|row| row.contains("\"extra\":7"))
    );
    db.sql("CREATE TABLE note (id int4 PRIMARY KEY); INSERT INTO note VALUES (1)")
        .await;
    assert!(matches!(following.step().await.reset, Reset::Tables(_)));
    reader.advance().unwrap();
    assert_eq!(rows(&reader, "note"), [r#"{"id":1}"#]);
    following.stop().await;

    db.drop_slots().await;
    db.sql("INSERT INTO note VALUES (2)").await;
    let mut following = db.start().await;
    let mut reader = following.replica().reader().unwrap();
    // The file may be served as it was while everything is copied anew.
    while rows(&reader, "note").len() != 2 {
        following.step().await;
        reader.advance().unwrap();
    }
    following.stop().await;
    db.drop().await;
}

#[tokio::test]
async fn every_type_has_its_json_in_copy_and_stream() {
    let columns = "id int4 PRIMARY KEY, b bool, i2 int2, i8 int8, f4 float4, f8 float8, n numeric(20,4), t text, v varchar(9), c char(3),
        u uuid, inet inet, e mood, j json, jb jsonb, d date, ts timestamp, tz timestamptz, tm time, tmz timetz,
        ai int4[], at text[], aj jsonb[], ae mood[], ad timestamptz[], skipped bytea, interval_skipped interval";
    let values = "true, -7, 9007199254740991, 1.5, 1e-7, 123456.7891, E'tab\\tend\\\\', 'vär', 'ab',
        'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '10.0.0.1', 'sad', '{\"a\": [1, \"x y\"]}', '{\"b\": null}', '2024-02-29',
        '2023-11-14 22:13:20.123456', '2023-11-15 00:13:20.123456+02', '12:34:56.789', '01:00:00+02',
        '{1,NULL,-3}', '{\"a b\",NULL,\"q\\\"\"}', ARRAY['{\"k\": 1}'::jsonb], '{sad,happy}', '{2023-11-14 22:13:20+00}', '\\x00', '1 day'";
    let nulls = ", NULL".repeat(26);
    let schema =
        format!("CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE TABLE kinds ({columns});");
    let insert = |id: i32| {
        format!(
            "INSERT INTO kinds VALUES ({id}, {values}); INSERT INTO kinds VALUES ({}{nulls});",
            id + 1
        )
    };
    let db = Database::new(&format!("{schema}{}", insert(1))).await;
    let mut following = db.start().await;
    db.sql(&insert(3)).await;
    following.step().await;
    let mut reader = following.replica().reader().unwrap();
    while rows(&reader, "kinds").len() < 4 {
        following.step().await;
        reader.advance().unwrap();
    }
    let expected = |id: i32| {
        format!(
            concat!(
                r#"{{"ad":[1700000000000],"ae":["sad","happy"],"ai":[1,null,-3],"aj":[{{"k":1}}],"at":["a b",null,"q\""],"b":true,"c":"ab ","#,
                r#""d":1709164800000,"e":"sad","f4":1.5,"f8":1e-7,"i2":-7,"i8":9007199254740991,"id":{id},"inet":"10.0.0.1","#,
                r#""j":{{"a":[1,"x y"]}},"jb":{{"b":null}},"n":123456.7891,"t":"tab\tend\\","tm":45296789,"tmz":82800000,"#,
                r#""ts":1700000000123.456,"tz":1700000000123.456,"u":"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11","v":"vär"}}"#
            ),
            id = id
        )
    };
    let found = rows(&reader, "kinds");
    assert_eq!(found[0], expected(1), "by COPY");
    assert_eq!(found[2], expected(3), "by the stream");
    assert_eq!(found[1].replace("\"id\":2", "\"id\":4"), found[3]);
    assert_eq!(found[1].matches("null").count(), 24);
    following.stop().await;
    db.drop().await;
}

#[tokio::test]
async fn a_row_with_an_integer_that_no_client_can_hold_is_left_out() {
    let db = Database::new(
        "CREATE TABLE big (id int4 PRIMARY KEY, n int8); INSERT INTO big VALUES (1, 1), (3, 9007199254740992)",
    )
    .await;
    let mut following = db.start().await;
    db.sql("INSERT INTO big VALUES (2, 9007199254740993)").await;
    assert_eq!(following.changes().await, Vec::<String>::new());
    db.sql("UPDATE big SET n = 9007199254740993 WHERE id = 1")
        .await;
    assert_eq!(following.changes().await, ["big: {\"id\":1,\"n\":1} → -"]);
    db.sql("UPDATE big SET n = 2 WHERE id > 1").await;
    assert_eq!(
        following.changes().await,
        ["big: - → {\"id\":2,\"n\":2}", "big: - → {\"id\":3,\"n\":2}"]
    );
    let reader = following.replica().reader().unwrap();
    assert_eq!(
        rows(&reader, "big"),
        ["{\"id\":2,\"n\":2}", "{\"id\":3,\"n\":2}"]
    );
    following.stop().await;
    db.drop().await;
}

#[tokio::test]
async fn tables_without_a_key_are_left_out_and_others_get_an_identity() {
    let db = Database::new(
        "CREATE TABLE keyless (a int4); CREATE TABLE by_index (a int4 NOT NULL, b int4 NOT NULL, c text, UNIQUE (a, b));
         CREATE SCHEMA other; CREATE TABLE other.ignored (id int4 PRIMARY KEY);
         INSERT INTO by_index VALUES (1, 2, 'x')",
    )
    .await;
    let mut following = db.start().await;
    let names: Vec<String> = following
        .replica()
        .schema()
        .tables
        .iter()
        .map(|table| table.name.clone())
        .collect();
    assert_eq!(names, ["by_index"]);
    db.sql("INSERT INTO keyless VALUES (1); UPDATE keyless SET a = 2; DELETE FROM keyless; UPDATE by_index SET b = 3")
        .await;
    assert_eq!(
        following.changes().await,
        [
            r#"by_index: {"a":1,"b":2,"c":"x"} → -"#,
            r#"by_index: - → {"a":1,"b":3,"c":"x"}"#
        ]
    );
    following.stop().await;
    db.drop().await;
}

#[tokio::test]
async fn a_number_that_json_lacks_is_null_wherever_it_is_looked_at() {
    let db = Database::new(
        "CREATE TABLE odd (id int4 PRIMARY KEY, f float8 NOT NULL, d timestamptz NOT NULL);
         INSERT INTO odd VALUES (1, 'Infinity', 'infinity'), (2, 1, 'epoch')",
    )
    .await;
    let mut following = db.start().await;
    db.sql("UPDATE odd SET f = '-Infinity', d = '-infinity' WHERE id = 2")
        .await;
    following.step().await;
    let mut reader = following.replica().reader().unwrap();
    reader.advance().unwrap();
    assert_eq!(
        rows(&reader, "odd"),
        [
            r#"{"d":null,"f":null,"id":1}"#,
            r#"{"d":null,"f":null,"id":2}"#
        ]
    );
    let schema = following.replica().schema();
    let known = schema.zql.table_by_server_name("odd").unwrap();
    let optional = |name: &str| {
        let table = &schema.zql[known];
        table.columns[table.column_by_server_name(name).unwrap()].optional
    };
    assert!(optional("f") && optional("d") && !optional("id"));
    following.stop().await;
    db.drop().await;
}

#[tokio::test]
async fn a_domain_is_carried_as_the_type_below_it() {
    let db = Database::new(
        "CREATE DOMAIN code AS text CHECK (length(VALUE) < 9); CREATE DOMAIN short_code AS code CHECK (length(VALUE) < 5);
         CREATE DOMAIN money2 AS numeric(12, 2); CREATE DOMAIN tags AS text[]; CREATE DOMAIN span AS interval;
         CREATE TABLE article (id short_code PRIMARY KEY, price money2, tags tags, span span);
         INSERT INTO article VALUES ('a', 1.5, '{x,y}', '1 day')",
    )
    .await;
    let mut following = db.start().await;
    let reader = following.replica().reader().unwrap();
    assert_eq!(
        rows(&reader, "article"),
        [r#"{"id":"a","price":1.5,"tags":["x","y"]}"#]
    );
    db.sql("UPDATE article SET price = 2, id = 'b'").await;
    assert_eq!(
        following.changes().await,
        [
            r#"article: {"id":"a","price":1.5,"tags":["x","y"]} → -"#,
            r#"article: - → {"id":"b","price":2,"tags":["x","y"]}"#
        ]
    );
    following.stop().await;
    db.drop().await;
}

#[tokio::test]
async fn the_application_may_change_tables_that_are_not_synced() {
    let db = Database::new(
        "CREATE TABLE keyless (a int4); INSERT INTO keyless VALUES (1);
         CREATE TABLE parted (a int4) PARTITION BY RANGE (a); CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (9);
         INSERT INTO parted VALUES (1);
         CREATE TABLE deferred (a int4 PRIMARY KEY DEFERRABLE, b int4); INSERT INTO deferred VALUES (1, 1);
         CREATE TABLE chosen (a int4 PRIMARY KEY); ALTER TABLE chosen REPLICA IDENTITY NOTHING",
    )
    .await;
    let following = db.start().await;
    db.sql("UPDATE keyless SET a = 2; UPDATE parted SET a = 2; UPDATE deferred SET b = 2; DELETE FROM deferred; DELETE FROM parted")
        .await;
    let chosen = "SELECT relreplident::text FROM pg_class WHERE relname = 'chosen'";
    assert_eq!(db.text(chosen).await.as_deref(), Some("n"));
    // Also one that is made while the server runs, soon.
    db.sql("CREATE TABLE later (a int4); INSERT INTO later VALUES (1)")
        .await;
    let begun = std::time::Instant::now();
    while db
        .client
        .batch_execute("UPDATE later SET a = a + 1")
        .await
        .is_err()
    {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    following.stop().await;
    db.drop().await;
}

#[tokio::test]
async fn an_idle_database_lets_the_log_go() {
    let db = Database::new(ISSUES).await;
    let following = db.start().await;
    let lag = "SELECT (pg_current_wal_lsn() - confirmed_flush_lsn)::int8::text FROM pg_replication_slots WHERE database = current_database()";
    // Log that is of no interest to the publication, with nothing that is.
    db.sql("CREATE UNLOGGED TABLE elsewhere (a int4); SELECT pg_logical_emit_message(false, 'filler', repeat('x', 1000000))").await;
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let lag: i64 = db.text(lag).await.unwrap().parse().unwrap();
        if lag < 500_000 {
            break;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "{lag} bytes are retained"
        );
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    following.stop().await;
    db.drop().await;
}

#[tokio::test]
async fn an_address_that_is_of_no_use_is_one_clear_line() {
    let db = Database::new("").await;
    let mut settings = db.settings();
    settings.url = "postgres://nobody@127.0.0.1:1/none".to_owned();
    let Err(error) = landfall_server::upstream::postgres::start(settings).await else {
        panic!("nothing listens there");
    };
    assert!(
        matches!(error, UpstreamError::Unreachable { .. }),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .starts_with("cannot reach Postgres at 127.0.0.1:1: "),
        "{error}"
    );
    db.sql("CREATE ROLE plain_reader LOGIN").await;
    let mut settings = db.settings();
    let mut url = url::Url::parse(&settings.url).unwrap();
    url.set_username("plain_reader").unwrap();
    settings.url = url.to_string();
    let Err(error) = landfall_server::upstream::postgres::start(settings).await else {
        panic!("the role may not replicate");
    };
    assert!(
        matches!(&error, UpstreamError::NoReplicationRight(role) if role == "plain_reader"),
        "{error}"
    );
    db.sql("DROP ROLE plain_reader").await;
    db.drop().await;
}
