//! The wire as it is, so that nobody changes it unnoticed.
//!
//! If this test fails, the text of a message has changed. Other ends of every version from 30 on must still understand
//! it: say in `PROTOCOL.md` what changed and why that is so, and only then take over the new snapshot.

use landfall_protocol::*;
use landfall_zql::sorted_map::SortedMap;

const SNAPSHOT: &str = include_str!("wire_snapshot.txt");

fn json(text: &str) -> Json {
    Json::parse(text).expect("JSON")
}

fn raw(text: &str) -> &serde_json::value::RawValue {
    serde_json::from_str(text).expect("JSON")
}

fn reference() -> MutationRef {
    MutationRef {
        client_id: "c".into(),
        id: 1,
    }
}

/// Every message with every field.
fn upstream() -> Vec<Upstream> {
    let headers = || Some(SortedMap::from([("x-a".to_owned(), "b".to_owned())]));
    let column = |ty| ClientColumn { ty };
    let columns = [
        ("a", ClientColumnType::String),
        ("b", ClientColumnType::Number),
        ("c", ClientColumnType::Boolean),
        ("d", ClientColumnType::Json),
        ("e", ClientColumnType::Null),
    ];
    let table = ClientTable {
        columns: columns
            .map(|(name, ty)| (name.to_owned(), column(ty)))
            .into(),
        primary_key: Some(vec!["a".into()]),
    };
    let ast = serde_json::from_str(r#"{"table":"issue","limit":5}"#).expect("an AST");
    let patch = vec![
        UpQueryOp::Put(PutQuery {
            hash: "h".into(),
            ttl: Some(JsNumber::from(5)),
            query: QueryText::Ast(Box::new(ast)),
        }),
        UpQueryOp::Put(PutQuery {
            hash: "i".into(),
            ttl: None,
            query: QueryText::Named {
                name: "a.b".into(),
                args: vec![json("{\"x\":1}")],
            },
        }),
        UpQueryOp::Del { hash: "j".into() },
        UpQueryOp::Clear,
    ];
    let deleted = DeleteClients {
        client_ids: Some(vec!["x".into()]),
        client_group_ids: Some(vec!["y".into()]),
    };
    let crud = |op| CrudOp {
        op,
        table_name: "t".into(),
        primary_key: vec!["id".into()],
        value: json("{\"id\":1}"),
    };
    let inspect = |op| Upstream::Inspect(Inspect { id: "1".into(), op });
    vec![
        Upstream::InitConnection(InitConnection {
            desired_queries_patch: patch.clone(),
            client_schema: Some(ClientSchema {
                tables: SortedMap::from([("t".to_owned(), table)]),
            }),
            deleted: Some(deleted.clone()),
            user_push_url: Some("u".into()),
            user_push_headers: headers(),
            user_query_url: Some("v".into()),
            user_query_headers: headers(),
            active_clients: Some(vec!["c".into()]),
            traceparent: Some("t".into()),
        }),
        Upstream::ChangeDesiredQueries(ChangeDesiredQueries {
            desired_queries_patch: patch,
            traceparent: None,
        }),
        Upstream::DeleteClients(deleted),
        Upstream::Push(Push {
            client_group_id: "g".into(),
            mutations: vec![
                Mutation::Custom(CustomMutation {
                    id: 1,
                    client_id: "c".into(),
                    name: "a.b".into(),
                    args: vec![json("null")],
                    timestamp: JsNumber::from(2),
                }),
                Mutation::Crud(CrudMutation {
                    id: 2,
                    client_id: "c".into(),
                    ops: [
                        CrudKind::Insert,
                        CrudKind::Upsert,
                        CrudKind::Update,
                        CrudKind::Delete,
                    ]
                    .map(crud)
                    .to_vec(),
                    timestamp: JsNumber::from(3),
                }),
            ],
            push_version: JsNumber::from(PUSH_VERSION),
            schema_version: Some(JsNumber::from(1)),
            timestamp: JsNumber::from(4),
            request_id: "r".into(),
            auth: Some("a".into()),
            traceparent: Some("t".into()),
        }),
        Upstream::AckMutationResponses(MutationId {
            id: 1,
            client_id: "c".into(),
        }),
        Upstream::Ping,
        Upstream::UpdateAuth(UpdateAuth { auth: "a".into() }),
        Upstream::Pull(Pull {
            client_group_id: "g".into(),
            cookie: None,
            request_id: "r".into(),
        }),
        Upstream::CloseConnection(vec![json("1")]),
        inspect(InspectOp::Queries {
            client_id: Some("c".into()),
        }),
        inspect(InspectOp::Metrics),
        inspect(InspectOp::Version),
        inspect(InspectOp::Authenticate { value: "p".into() }),
        inspect(InspectOp::AnalyzeQuery(Box::new(AnalyzeQuery {
            name: Some("n".into()),
            args: Some(vec![]),
            options: Some(AnalyzeOptions {
                vended_rows: Some(true),
                synced_rows: Some(false),
                join_plans: Some(true),
            }),
            ..AnalyzeQuery::default()
        }))),
    ]
}

/// Every message with every field that servers send.
fn downstream() -> Vec<Downstream<'static>> {
    let ops = || {
        vec![
            DownQueryOp::Put { hash: "h".into() },
            DownQueryOp::Del { hash: "i".into() },
            DownQueryOp::Clear,
        ]
    };
    let results = [
        MutationResult::Ok {
            data: Some(json("1")),
        },
        MutationResult::App {
            message: Some("m".into()),
            details: Some(json("{}")),
        },
        MutationResult::AlreadyProcessed { details: None },
        MutationResult::OutOfOrder { details: None },
    ];
    let mut mutations_patch: Vec<MutationOp> = results
        .into_iter()
        .map(|result| MutationOp::Put {
            mutation: MutationOutcome {
                id: reference(),
                result,
            },
        })
        .collect();
    mutations_patch.push(MutationOp::Del { id: reference() });
    let mut messages = vec![
        Downstream::Connected(Connected {
            wsid: "w".into(),
            timestamp: Some(JsNumber::from(1)),
            landfall: Some(ServerMode {
                queries: QueryMode::Ast,
                mutations: MutationMode::Custom,
                version: LANDFALL_VERSION,
            }),
        }),
        Downstream::Pong,
        Downstream::PokeStart(PokeStart {
            poke_id: "1".into(),
            base_cookie: None,
            schema_versions: None,
            timestamp: None,
        }),
        Downstream::PokePart(PokePart {
            poke_id: "1".into(),
            last_mutation_id_changes: SortedMap::from([("c".to_owned(), 1)]),
            desired_queries_patches: SortedMap::from([("c".to_owned(), ops())]),
            got_queries_patch: ops(),
            rows_patch: vec![
                RowOp::Put {
                    table: "t".into(),
                    value: raw("{\"id\":1}"),
                },
                RowOp::Del {
                    table: "t".into(),
                    id: raw("{\"id\":1}"),
                },
                RowOp::Update {
                    table: "t".into(),
                    id: raw("{\"id\":1}"),
                    merge: Some(raw("{\"a\":1}")),
                    constrain: Some(vec!["a".into()]),
                },
                RowOp::Clear,
            ],
            mutations_patch,
        }),
        Downstream::PokeEnd(PokeEnd::new("1", "00:01")),
        Downstream::PokeEnd(PokeEnd::cancelled("1")),
        Downstream::DeleteClients(DeletedClients {
            client_ids: Some(vec!["c".into()]),
            client_group_ids: None,
        }),
        Downstream::TransformError(vec![ErroredQuery {
            error: ErroredQueryKind::App,
            id: "h".into(),
            name: "n".into(),
            message: Some("m".into()),
            details: Some(json("1")),
        }]),
        Downstream::Inspect(InspectReply {
            op: "version".into(),
            id: "1".into(),
            value: json("\"v\""),
        }),
        Downstream::Pull(PullResponse {
            cookie: Some("00".into()),
            request_id: "r".into(),
            last_mutation_id_changes: SortedMap::from([("c".to_owned(), 1)]),
        }),
        Downstream::Error(ErrorBody::rehome("m")),
        Downstream::Error(ErrorBody::PushFailed(PushFailed {
            mutation_ids: vec![reference()],
            failure: EndpointFailure::http(500, "m", Some("b".into())),
        })),
        Downstream::Error(ErrorBody::TransformFailed(TransformFailed {
            query_ids: vec!["h".into()],
            failure: EndpointFailure::new(Reason::Timeout, "m"),
        })),
    ];
    messages.extend(ErrorKind::ALL.map(|kind| Downstream::Error(ErrorBody::new(kind, "m"))));
    messages
}

#[test]
fn the_wire_has_not_changed() {
    let mut now = String::new();
    for message in upstream() {
        let text = message.encode();
        assert_eq!(decode_upstream(&text).expect(&text), message);
        now += &format!("> {text}\n");
    }
    for message in downstream() {
        let text = message.encode();
        assert_eq!(decode_downstream(&text).expect(&text).encode(), text);
        now += &format!("< {text}\n");
    }
    let mut builder = PokeBuilder::new("1");
    builder.last_mutation_id("c", 1);
    builder.row_put("t", |out| out.push_str("{\"id\":1}"));
    for body in builder.finish() {
        now += &format!("< {}\n", part_message(&body));
    }
    let params = ConnectParams {
        client_id: "c".into(),
        client_group_id: "g".into(),
        user_id: Some("u".into()),
        profile_id: Some("p".into()),
        debug_perf: true,
        landfall: Some(LANDFALL_VERSION),
        ..ConnectParams::default()
    };
    now += &format!(
        "> {}\n",
        params
            .url("https://h", PROTOCOL_VERSION, &[])
            .expect("a URL")
    );
    now += &format!(
        "versions {MIN_VERSION}..={MAX_VERSION}, ours {PROTOCOL_VERSION}, extension {LANDFALL_VERSION}\n"
    );
    if now != SNAPSHOT {
        let old: Vec<&str> = SNAPSHOT.lines().collect();
        let changed: Vec<&str> = now.lines().filter(|line| !old.contains(line)).collect();
        panic!(
            "the wire has changed; new or changed lines:\n{}\n\nthe whole snapshot:\n{now}",
            changed.join("\n")
        );
    }
}
