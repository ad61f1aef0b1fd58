//! A whole session, message by message: what one end writes the other reads, and writes again as the same text.

use landfall_protocol::endpoint::query;
use landfall_protocol::{
    ClientSchema, ConnectParams, Cookie, Downstream, InitConnection, Json, Mutation,
    MutationResult, QueryText, ReceivedProtocol, RowOp, SecProtocol, UpQueryOp, Upstream,
    decode_downstream, decode_upstream, parse_connect,
};

fn up(text: &str) -> Upstream {
    let message = decode_upstream(text).expect(text);
    assert_eq!(message.encode(), text);
    message
}

fn down(text: &str) -> Downstream<'_> {
    let message = decode_downstream(text).expect(text);
    assert_eq!(message.encode(), text);
    message
}

#[test]
fn handshake() {
    let init_text = r#"["initConnection",{"desiredQueriesPatch":[{"op":"put","hash":"1k3nhdk2bnacc","name":"issueByID","args":["1"],"ttl":300000}],"clientSchema":{"tables":{"issue":{"columns":{"id":{"type":"string"},"title":{"type":"string"}},"primaryKey":["id"]}}},"activeClients":["4k1v"]}]"#;
    let Upstream::InitConnection(init) = up(init_text) else {
        panic!("initConnection")
    };
    let protocol = SecProtocol {
        init_connection: Some(init.clone()),
        auth_token: Some("tok".into()),
    };
    let received = ReceivedProtocol::decode(&protocol.encode()).expect("it decodes");
    assert_eq!(received.auth_token.as_deref(), Some("tok"));
    let message = received.first_message.expect("a message");
    assert_eq!(up(&message), Upstream::InitConnection(init.clone()));

    let [UpQueryOp::Put(put)] = init.desired_queries_patch.as_slice() else {
        panic!("one put")
    };
    assert_eq!(
        put.query,
        QueryText::Named {
            name: "issueByID".into(),
            args: vec![Json::parse(r#""1""#).expect("JSON")]
        }
    );
    let QueryText::Named { name, args } = &put.query else {
        unreachable!()
    };
    let request = [query::TransformQuery {
        id: put.hash.clone(),
        name: name.clone(),
        args: args.clone(),
    }];
    assert_eq!(
        query::encode_request(&request),
        r#"["transform",[{"id":"1k3nhdk2bnacc","name":"issueByID","args":["1"]}]]"#
    );
}

#[test]
fn url() {
    let params = ConnectParams {
        client_id: "4k1v".into(),
        client_group_id: "9d0q".into(),
        user_id: Some("u1".into()),
        base_cookie: Some("4e68aa:02".into()),
        ts: 812.4,
        lmid: 1,
        wsid: "Xa".into(),
        profile_id: Some("p7".into()),
        ..ConnectParams::default()
    };
    let url = params.url("http://localhost:4848", 51, &[]).expect("a URL");
    assert!(
        url.contains("baseCookie=4e68aa%3A02&ts=812.4&lmid=1&"),
        "{url}"
    );
    let request =
        parse_connect(url.strip_prefix("ws://localhost:4848").expect("a path")).expect("a request");
    assert_eq!((request.version, request.params), (51, params));
}

#[test]
fn first_pokes() {
    let Downstream::Connected(connected) =
        down(r#"["connected",{"wsid":"Xa","timestamp":1700000000000}]"#)
    else {
        panic!("connected")
    };
    assert_eq!(connected.landfall, None);
    let Downstream::PokeStart(start) =
        down(r#"["pokeStart",{"pokeID":"00:01","baseCookie":null}]"#)
    else {
        panic!("pokeStart")
    };
    assert_eq!(start.base_cookie, None);
    down(
        r#"["pokePart",{"pokeID":"00:01","desiredQueriesPatches":{"4k1v":[{"op":"put","hash":"1k3nhdk2bnacc"}]}}]"#,
    );
    down(r#"["pokeEnd",{"pokeID":"00:01","cookie":"00:01"}]"#);
    down(r#"["pokeStart",{"pokeID":"4e672g","baseCookie":"00:01"}]"#);
    let text = r#"["pokePart",{"pokeID":"4e672g","gotQueriesPatch":[{"op":"put","hash":"1k3nhdk2bnacc"}],"rowsPatch":[{"op":"put","tableName":"issue","value":{"id":"1","title":"a","created":1700000000000.5,"meta":null}}]}]"#;
    let Downstream::PokePart(part) = down(text) else {
        panic!("pokePart")
    };
    let [RowOp::Put { table, value }] = part.rows_patch.as_slice() else {
        panic!("one put")
    };
    assert_eq!(table, "issue");
    assert_eq!(
        value.get(),
        r#"{"id":"1","title":"a","created":1700000000000.5,"meta":null}"#
    );
    let Downstream::PokeEnd(end) = down(r#"["pokeEnd",{"pokeID":"4e672g","cookie":"4e672g"}]"#)
    else {
        panic!("pokeEnd")
    };
    assert!(!end.cancel);
    assert!(
        Cookie::parse(&end.cookie).expect("a cookie") > Cookie::parse("00:01").expect("a cookie")
    );
}

#[test]
fn mutations_and_their_ends() {
    let push = r#"["push",{"clientGroupID":"9d0q","mutations":[{"type":"custom","id":1,"clientID":"4k1v","name":"issue.rename","args":[{"id":"1","title":"b"}],"timestamp":1700000000990}],"pushVersion":1,"timestamp":1700000001000,"requestID":"4k1v-ab12-0"}]"#;
    let Upstream::Push(push) = up(push) else {
        panic!("push")
    };
    let [Mutation::Custom(mutation)] = push.mutations.as_slice() else {
        panic!("one custom mutation")
    };
    assert_eq!((mutation.id, mutation.name.as_str()), (1, "issue.rename"));
    let part = r#"["pokePart",{"pokeID":"4e68aa","lastMutationIDChanges":{"4k1v":1},"mutationsPatch":[{"op":"put","mutation":{"id":{"clientID":"4k1v","id":1},"result":{"error":"app","message":"no"}}}]}]"#;
    let Downstream::PokePart(part) = down(part) else {
        panic!("pokePart")
    };
    assert_eq!(part.last_mutation_id_changes.get("4k1v"), Some(&1));
    let [landfall_protocol::MutationOp::Put { mutation }] = part.mutations_patch.as_slice() else {
        panic!("one put")
    };
    assert_eq!(
        mutation.result,
        MutationResult::App {
            message: Some("no".into()),
            details: None
        }
    );
    up(r#"["ackMutationResponses",{"id":1,"clientID":"4k1v"}]"#);
}

#[test]
fn the_rest() {
    up(r#"["changeDesiredQueries",{"desiredQueriesPatch":[{"op":"del","hash":"1k3nhdk2bnacc"}]}]"#);
    up(
        r#"["changeDesiredQueries",{"desiredQueriesPatch":[{"op":"clear"}],"traceparent":"00-ab-cd-01"}]"#,
    );
    up(r#"["deleteClients",{"clientIDs":["a"]}]"#);
    up(r#"["ping",{}]"#);
    up(r#"["updateAuth",{"auth":"t"}]"#);
    up(r#"["pull",{"clientGroupID":"g","cookie":null,"requestID":"r"}]"#);
    up(r#"["closeConnection",[1,"a"]]"#);
    up(r#"["inspect",{"op":"version","id":"1"}]"#);
    up(
        r#"["push",{"clientGroupID":"g","mutations":[],"pushVersion":1,"schemaVersion":2,"timestamp":1.5,"requestID":"r","auth":"t"}]"#,
    );
    down(r#"["pong",{}]"#);
    down(r#"["error",{"kind":"Rehome","message":"m","origin":"zeroCache","maxBackoffMs":0}]"#);
    down(r#"["deleteClients",{"clientIDs":["a"]}]"#);
    down(
        r#"["transformError",[{"error":"parse","id":"h","name":"n","message":"m","details":{"a":[1]}}]]"#,
    );
    down(r#"["inspect",{"op":"version","id":"1","value":"1.2.3"}]"#);
    down(r#"["pull",{"cookie":"00","requestID":"r","lastMutationIDChanges":{"c":3}}]"#);
    down(r#"["pushResponse",{"mutations":[{"id":{"clientID":"c","id":1},"result":{}}]}]"#);
    down(r#"["pushResponse",{"error":"http","status":500,"details":"x"}]"#);
    down(
        r#"["connected",{"wsid":"w","landfall":{"queries":"named","mutations":"crud","version":1}}]"#,
    );
}

#[test]
fn servers_of_the_future_do_not_break_the_client() {
    for text in [
        r#"["connected",{"wsid":"w","landfall":{"queries":"psychic","version":9}}]"#,
        r#"["connected",{"wsid":"w","landfall":7,"more":{}}]"#,
    ] {
        let Ok(Downstream::Connected(connected)) = decode_downstream(text) else {
            panic!("{text}")
        };
        assert_eq!(connected.landfall, None);
    }
}

#[test]
fn upstream_refuses_what_downstream_forgives() {
    for text in [
        r#"["ping",{"a":1}]"#,
        r#"["ping",[]]"#,
        r#"["ping"]"#,
        r#"["ping",{},{}]"#,
        r#"["ping",{}] []"#,
        r#"{"0":"ping","1":{}}"#,
        r#"["updateAuth",["t"]]"#,
        r#"["deleteClients",{"clientIDs":null}]"#,
        r#"["initConnection",{"desiredQueriesPatch":[],"clientSchema":null}]"#,
        r#"["initConnection",{"desiredQueriesPatch":[],"clientSchema":[{}]}]"#,
        r#"["initConnection",{"desiredQueriesPatch":[["put","h"]]}]"#,
        r#"["push",{"clientGroupID":"g","mutations":[],"pushVersion":1,"timestamp":1}]"#,
        r#"["push",{"clientGroupID":"g","mutations":[],"pushVersion":{"a":1},"timestamp":1,"requestID":"r"}]"#,
        r#"["pull",{"clientGroupID":"g","requestID":"r"}]"#,
        r#"["unknown",{}]"#,
        r#"[1,{}]"#,
        "",
    ] {
        assert!(decode_upstream(text).is_err(), "{text}");
    }
    assert!(decode_downstream(r#"["pong",{"a":1}]"#).is_ok());
    for text in [
        r#"["pong"]"#,
        r#"["pong",{},1]"#,
        r#"["pokeEnd",{"pokeID":"1"}]"#,
        r#"["chat",{}]"#,
    ] {
        assert!(decode_downstream(text).is_err(), "{text}");
    }
}

#[test]
fn a_schema_is_sent_only_if_there_is_one() {
    let init = InitConnection {
        client_schema: Some(ClientSchema {
            tables: Default::default(),
        }),
        ..Default::default()
    };
    assert_eq!(
        Upstream::InitConnection(init).encode(),
        r#"["initConnection",{"desiredQueriesPatch":[],"clientSchema":{"tables":{}}}]"#
    );
}
