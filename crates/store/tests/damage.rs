//! Damaged bytes: every request on a damaged store gives a reply or a typed failure, and erasing always helps.

mod world;

use landfall_store::*;
use proptest::prelude::*;
use world::*;

fn full_store() -> MemoryStore {
    let store = MemoryStore::default();
    opened(&store, "c1");
    opened(&store, "c2");
    let patch = Patch {
        rows: vec![
            put_a("x", 1.0),
            RowChange::Put {
                table: B,
                row: b(1.0, "k", r#"{"a":[1]}"#),
            },
            put_a("y", 2.5),
        ],
        desired: vec![DesiredChange {
            client_id: "c1".into(),
            change: got("h"),
        }],
        got: vec![got("h")],
        clear: false,
    };
    append(&store, poke(None, "1", patch));
    let plan = plan_fold(unread(&store)).expect("folds");
    store.execute(&request(StoreOp::Fold(plan))).expect("folds");
    append(
        &store,
        poke(Some("1"), "2", rows(vec![del_a("x"), put_a("z", 3.0)])),
    );
    append(
        &store,
        poke(
            Some("2"),
            "3:01",
            Patch {
                got: vec![QueryChange::Del { hash: "h".into() }],
                ..rows(vec![])
            },
        ),
    );
    store
        .execute(&queue("c1", &[1, 2, 3], true))
        .expect("stores");
    store.execute(&queue("c2", &[1], false)).expect("stores");
    let ending = Ending::Failed { error: "{}".into() };
    let outcome = StoredOutcome {
        client_id: "c1".into(),
        id: 1,
        name: "m".into(),
        args: "[]".into(),
        ending,
    };
    confirm(&store, "4", "c1", 1, vec![outcome]);
    let mode = RememberedMode {
        named_queries: true,
        custom_mutations: false,
        version: 1,
    };
    store
        .execute(&request(StoreOp::SetServerMode(mode)))
        .expect("remembers");
    store
}

fn requests() -> Vec<StoreRequest> {
    vec![
        open_as("c1"),
        request(StoreOp::Load { schema: schema() }),
        request(StoreOp::ReadLog {
            schema: schema(),
            from: 1,
        }),
        request(StoreOp::ReadQueue { except: None }),
        request(StoreOp::AppendPoke(poke(
            Some("4"),
            "5",
            rows(vec![put_a("q", 1.0)]),
        ))),
        queue("c1", &[4], true),
        request(StoreOp::MarkAttempted(MarkAttempted {
            through: vec![("c1".into(), 3)],
            frozen: vec![Frozen {
                client_id: "c1".into(),
                id: 2,
                ops: Some("[]".into()),
                end: None,
                sent: false,
            }],
        })),
        read_earlier(),
        request(StoreOp::TouchClient {
            client_id: "c2".into(),
            now: 3.0,
        }),
        request(StoreOp::RemoveClients {
            client_ids: vec!["c1".into(), "c2".into()],
            are_gone: true,
        }),
        request(StoreOp::StartGroup(StartGroup {
            new_group_id: "g".into(),
            client_id: "n".into(),
            sent: vec![("c1".into(), 4)],
            now: 1.0,
        })),
    ]
}

fn use_all(store: &MemoryStore) {
    for request in requests() {
        // What a request does to a damaged store must not keep the next one from being tried.
        let reply = store.snapshot().execute(&request);
        if let Ok(StoreReply::Earlier(earlier)) = reply {
            let _ = earlier.read();
        } else if let Ok(StoreReply::Opened { loaded, .. } | StoreReply::Loaded(loaded)) = reply {
            if let Ok(plan) = plan_fold((*loaded).clone()) {
                let _ = store.snapshot().execute(&StoreRequest {
                    group_id: GROUP.into(),
                    op: StoreOp::Fold(plan),
                });
            }
            let _ = loaded.read();
        }
    }
    store.execute(&request(StoreOp::Erase)).expect("erases");
    opened(store, "c1");
}

#[test]
fn an_undamaged_store_works() {
    let store = full_store();
    for request in requests() {
        assert!(store.snapshot().execute(&request).is_ok(), "{request:?}");
    }
    assert!(
        StoreName::ALL
            .iter()
            .all(|name| !store.values(*name).is_empty()),
        "every store is tried"
    );
}

/// Opens a store and reads all of it.
fn open_and_read(store: &MemoryStore) -> Result<(), StoreFailure> {
    let StoreReply::Opened { loaded, .. } = store.execute(&open_as("c1"))? else {
        panic!("opening gives everything");
    };
    loaded.read().map(drop)
}

#[test]
fn every_value_cut_short_or_lengthened_is_noticed() {
    let store = full_store();
    for name in StoreName::ALL {
        for (key, value) in store.values(name) {
            for len in 0..value.len() {
                let damaged = store.snapshot();
                damaged.set_value(name, key.clone(), value[..len].to_vec());
                let failure = open_and_read(&damaged).expect_err("cut short");
                assert!(
                    matches!(failure, StoreFailure::Corrupt { .. }),
                    "{name:?} {len}: {failure:?}"
                );
            }
            let damaged = store.snapshot();
            damaged.set_value(name, key, [value.as_slice(), &[0]].concat());
            assert!(open_and_read(&damaged).is_err(), "{name:?} one byte longer");
        }
    }
}

#[test]
fn another_format_version_is_named() {
    let store = full_store();
    for name in StoreName::ALL {
        let (key, mut value) = store.values(name).into_iter().next().expect("a value");
        value[1] = FORMAT_VERSION + 1;
        let damaged = store.snapshot();
        damaged.set_value(name, key, value);
        let failure = open_and_read(&damaged).expect_err("unknown");
        let expected = FormatError::Version(FORMAT_VERSION + 1);
        assert!(
            matches!(&failure, StoreFailure::Corrupt { source, .. } if *source == expected),
            "{failure:?}"
        );
    }
}

/// A store without one of its values.
fn without(store: &MemoryStore, lost: StoreName, key: &[u8]) -> MemoryStore {
    let copy = MemoryStore::default();
    for name in StoreName::ALL {
        for (other, value) in store.values(name) {
            if (name, other.as_slice()) != (lost, key) {
                copy.set_value(name, other, value);
            }
        }
    }
    copy
}

#[test]
fn missing_server_state_is_noticed() {
    let store = full_store();
    let records = store.values(StoreName::Log);
    assert!(records.len() > 2);
    for key in records.keys() {
        let failure = without(&store, StoreName::Log, key)
            .execute(&open_as("c1"))
            .expect_err("a gap");
        assert!(
            matches!(
                failure,
                StoreFailure::Corrupt {
                    source: FormatError::LogRange,
                    ..
                }
            ),
            "{failure:?}"
        );
    }
    let page = store
        .values(StoreName::Pages)
        .into_keys()
        .next_back()
        .expect("a page");
    let failure = without(&store, StoreName::Pages, &page)
        .execute(&open_as("c1"))
        .expect_err("a gap");
    assert!(
        matches!(
            failure,
            StoreFailure::Corrupt {
                source: FormatError::PageCount,
                ..
            }
        ),
        "{failure:?}"
    );
    let failure = without(&store, StoreName::Head, b"schema")
        .execute(&open_as("c1"))
        .expect_err("no schema");
    assert_eq!(failure, StoreFailure::OtherSchema);
}

#[test]
fn every_changed_bit_is_noticed() {
    let store = full_store();
    for name in StoreName::ALL {
        for (key, value) in store.values(name) {
            for at in 0..value.len() {
                let mut changed = value.clone();
                changed[at] ^= 1 << (at % 8);
                let damaged = store.snapshot();
                damaged.set_value(name, key.clone(), changed);
                let failure = open_and_read(&damaged).expect_err("one bit");
                let noticed = match &failure {
                    StoreFailure::Corrupt { source, .. } => match at {
                        0 => matches!(source, FormatError::Kind { .. }),
                        1 => matches!(source, FormatError::Version(_)),
                        _ => *source == FormatError::Checksum,
                    },
                    _ => false,
                };
                assert!(noticed, "{name:?} {at}: {failure:?}");
            }
        }
    }
}

/// A store as code without checksums wrote it: what is damaged there reaches the decoders.
fn without_checksums() -> MemoryStore {
    stored(include_str!("format_1.txt"))
}

/// Found by a fuzzer: the next fold would have written over a page that it left in place.
#[test]
fn a_head_that_would_number_pages_twice_is_refused() {
    let store = without_checksums();
    let (key, mut head) = store
        .values(StoreName::Head)
        .into_iter()
        .next()
        .expect("the head");
    // Before it stand the next sequence, the server's mode and the flag before that.
    let at = head.len() - 7 - 8 - 4;
    assert_eq!(head[at..at + 4], [1, 0, 0, 0], "the next page");
    head[at] = 0;
    store.set_value(StoreName::Head, key, head);
    let failure = open_and_read(&store).expect_err("refused");
    assert!(
        matches!(
            failure,
            StoreFailure::Corrupt {
                source: FormatError::PageCount,
                ..
            }
        ),
        "{failure:?}"
    );
}

proptest! {
    #[test]
    fn flipped_bytes(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in 1..=255u8, old: bool) {
        let mut store = full_store();
        if old {
            store = without_checksums();
        }
        let values: Vec<_> = StoreName::ALL
            .into_iter()
            .flat_map(|name| store.values(name).into_iter().map(move |(key, value)| (name, key, value)))
            .collect();
        let (name, key, mut value) = values[which.index(values.len())].clone();
        let at = at.index(value.len());
        value[at] ^= byte;
        store.set_value(name, key, value);
        use_all(&store);
    }

    #[test]
    fn foreign_values(name in prop::sample::select(&StoreName::ALL), kind in prop::sample::select(b"HSLPQMOC"),
                      key in prop::collection::vec(any::<u8>(), 0..12), tail in prop::collection::vec(any::<u8>(), 0..80)) {
        let store = full_store();
        store.set_value(name, key, [&[kind, 1], tail.as_slice()].concat());
        use_all(&store);
        let store = full_store();
        let (key, _) = store.values(name).into_iter().next().expect("a value");
        store.set_value(name, key, [&[kind, 1], tail.as_slice()].concat());
        use_all(&store);
    }
}
