//! The bytes of each version, kept, so that stores of earlier code still load.
//!
//! If this fails the format has changed: give it a new version, and keep the files of the old ones.

mod world;

use landfall_store::*;
use std::fmt::Write;
use world::*;

const VERSION_1: &str = include_str!("format_1.txt");
const VERSION_2: &str = include_str!("format_2.txt");
const VERSION_4: &str = include_str!("format_4.txt");

fn store() -> MemoryStore {
    let store = MemoryStore::default();
    opened(&store, "c1");
    let desired = vec![DesiredChange {
        client_id: "c1".into(),
        change: got("h"),
    }];
    let patch = Patch {
        desired,
        got: vec![got("h")],
        ..rows(vec![put_a("x", 1.5)])
    };
    append(&store, poke(None, "1", patch));
    let plan = plan_fold(unread(&store)).expect("folds");
    store.execute(&request(StoreOp::Fold(plan))).expect("folds");
    append(
        &store,
        poke(
            Some("1"),
            "2:01",
            rows(vec![
                del_a("x"),
                RowChange::Put {
                    table: B,
                    row: b(1.0, "é", "[1]"),
                },
            ]),
        ),
    );
    store.execute(&queue("c1", &[1, 2], true)).expect("stores");
    let outcome = StoredOutcome {
        client_id: "c1".into(),
        id: 1,
        name: String::new(),
        args: String::new(),
        ending: Ending::Failed { error: "{}".into() },
    };
    confirm(&store, "3", "c1", 1, vec![outcome]);
    let mode = RememberedMode {
        named_queries: true,
        custom_mutations: false,
        version: 1,
    };
    store
        .execute(&request(StoreOp::SetServerMode(mode)))
        .expect("remembers");
    let tree = KeptTree {
        rows: vec![(B, b(1.0, "é", "[1]"))],
        words: vec![1, 0],
    };
    let results = vec![KeptResult::new("{}".into(), &tree)];
    let cookie = "3".to_owned();
    store
        .execute(&request(StoreOp::KeepResults(KeepResults {
            cookie,
            results,
        })))
        .expect("keeps");
    store
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[test]
fn the_format_has_not_changed() {
    let mut now = String::new();
    for name in StoreName::ALL {
        for (key, value) in store().values(name) {
            let _ = writeln!(now, "{} {} {}", name.name(), hex(&key), hex(&value));
        }
    }
    assert!(now == VERSION_4, "the format has changed; it is now\n{now}");
}

#[track_caller]
fn loads(bytes: &str) {
    let found = opened(&stored(bytes), "c2");
    assert_eq!(found.head.cookie.as_deref(), Some("3"));
    assert_eq!(
        found
            .queue
            .iter()
            .map(|queued| (queued.id, queued.attempted))
            .collect::<Vec<_>>(),
        [(2, true)]
    );
    assert_eq!(found.outcomes[0].name, "m1");
    let state = found.read().expect("undamaged");
    assert_eq!(state.tables, [vec![], vec![b(1.0, "é", "[1]")]]);
    assert_eq!(state.queries.got, ["h".to_owned()].into());
}

#[test]
fn a_store_of_each_version_loads() {
    loads(VERSION_1);
    loads(VERSION_2);
    loads(VERSION_4);
}
