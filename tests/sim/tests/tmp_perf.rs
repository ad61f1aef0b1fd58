use landfall_client::*;
use landfall_store::MemoryStore;
use std::time::Instant;
#[test]
fn perf() {
    let schema = r#"{"tables":{"t":{"name":"t","columns":{"id":{"type":"string","optional":false},"a":{"type":"string","optional":true},"b":{"type":"string","optional":true},"n":{"type":"number","optional":true}},"primaryKey":["id"]}}}"#;
    let mut o = Options::new(schema, [3; 32]);
    o.cache_url = Some("http://x".into());
    let store = MemoryStore::default();
    let mut c = Client::new(0.0, o).expect("ok");
    let mut socket = None;
    let mut pump = |c: &mut Client, socket: &mut Option<SocketId>| {
        let mut flush = (0, 0);
        loop {
            let e = c.take_effects();
            if e.is_empty() {
                return flush;
            }
            for e in e {
                match e {
                    Effect::Store { request, op } => {
                        let r = store.execute(&op);
                        c.handle(0.0, Event::Stored { request, result: r });
                    }
                    Effect::OpenSocket { socket: s, .. } => *socket = Some(s),
                    Effect::Flush(f) => {
                        flush.0 += f.rows.len();
                        flush.1 += f.ops.len();
                    }
                    Effect::RunMutator { tx, .. } => {
                        c.write(tx, "t", WriteOp::Update, r#"{"id":"000100","n":5}"#)
                            .expect("w");
                        c.settle(0.0, tx, Ok(()));
                    }
                    _ => {}
                }
            }
        }
    };
    pump(&mut c, &mut socket);
    for q in [
        r#"{"table":"t","orderBy":[["n","desc"]]}"#,
        r#"{"table":"t","orderBy":[["a","asc"]],"limit":50}"#,
    ] {
        c.view(
            0.0,
            ViewRequest {
                ast_json: q.into(),
                source: QuerySource::Local,
                ttl_ms: 0.0,
                materialize: true,
            },
        )
        .expect("v");
    }
    pump(&mut c, &mut socket);
    let s = socket.expect("s");
    let t = |x: String| Event::SocketText { socket: s, text: x };
    c.handle(0.0, t(r#"["connected",{"wsid":"x"}]"#.into()));
    pump(&mut c, &mut socket);
    for (size, base, cookie) in [
        (10_000, "null".to_string(), "01"),
        (100_000, "\"01\"".to_string(), "02"),
        (100, "\"02\"".to_string(), "03"),
        (1, "\"03\"".to_string(), "04"),
    ] {
        let rows: Vec<String> = (0..size).map(|i| format!(r#"{{"op":"put","tableName":"t","value":{{"id":"{i:06}","a":"some text {}{cookie}","b":"more text that is longer {i}","n":{}}}}}"#, i * 7919 % 1000, i * 31 % 977)).collect();
        let part = format!(
            r#"["pokePart",{{"pokeID":"p","rowsPatch":[{}]}}]"#,
            rows.join(",")
        );
        c.handle(
            0.0,
            t(format!(
                r#"["pokeStart",{{"pokeID":"p","baseCookie":{base}}}]"#
            )),
        );
        let a = Instant::now();
        c.handle(0.0, t(part));
        let b = Instant::now();
        c.handle(
            0.0,
            t(format!(
                r#"["pokeEnd",{{"pokeID":"p","cookie":"{cookie}"}}]"#
            )),
        );
        let d = Instant::now();
        let f = pump(&mut c, &mut socket);
        eprintln!(
            "{size}: parse {:?} apply {:?} effects+store {:?} flush {f:?}",
            b - a,
            d - b,
            d.elapsed()
        );
    }
    let a = Instant::now();
    c.mutate(0.0, "m", "[null]").expect("m");
    let f = pump(&mut c, &mut socket);
    eprintln!("mutate {:?} {f:?}", a.elapsed());
}
