//! Log, snapshot and fold: whatever the order of events, the store at its cookie is the server's state at that cookie.

mod world;

use landfall_store::*;
use landfall_zql::{Row, ValueRef};
use proptest::prelude::*;
use world::*;

fn cookie_of(reply: &StoreReply) -> (&'static str, Option<String>) {
    match reply {
        StoreReply::Appended(head) => ("appended", head.cookie.clone()),
        StoreReply::AlreadyThere(head) => ("already there", head.cookie.clone()),
        StoreReply::NeedsSnapshot(head) => ("needs snapshot", head.cookie.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_empty_store_becomes_a_group_once() {
    let store = MemoryStore::default();
    let first = store.execute(&open_as("c1")).expect("opens");
    assert!(matches!(first, StoreReply::Opened { created: true, .. }));
    let other = StoreRequest {
        group_id: "group2".into(),
        ..open_as("c2")
    };
    let Ok(StoreReply::Opened {
        loaded,
        created: false,
    }) = store.execute(&other)
    else {
        panic!("joins")
    };
    assert_eq!(loaded.head.group_id, GROUP);
    assert_eq!(loaded.clients.len(), 2);
    let wrong = StoreRequest {
        group_id: "group2".into(),
        op: StoreOp::ReadQueue { except: None },
    };
    assert!(
        matches!(store.execute(&wrong), Err(StoreFailure::OtherGroup { group_id }) if group_id == GROUP)
    );
    let empty = MemoryStore::default();
    assert!(matches!(
        empty.execute(&request(StoreOp::ReadQueue { except: None })),
        Err(StoreFailure::NotOpen)
    ));
}

#[test]
fn another_schema_is_refused() {
    let store = MemoryStore::default();
    opened(&store, "c1");
    let mut other = (*schema()).clone();
    other.tables[0].columns[1].ty = landfall_zql::ColumnType::String;
    let open = Open {
        schema: other.into(),
        client_id: "c2".into(),
        now: 1.0,
        was_there: false,
        reads_only: false,
    };
    assert!(matches!(
        store.execute(&request(StoreOp::Open(open))),
        Err(StoreFailure::OtherSchema)
    ));
}

/// The server went 1 → 2 → 3. Tab X got it in two pokes, tab Y in one.
/// `steps`: what is appended, as (base, cookie), and what must come of it.
fn check_chain(steps: &[(&str, &str, &str)], end: &str) {
    let changes = |from: &str, to: &str| {
        let mut patch = rows(Vec::new());
        if (from..to).contains(&"1") && from < "2" && to >= "2" {
            patch.rows.extend([put_a("x", 2.0), del_a("y")]);
        }
        if from < "3" && to >= "3" {
            // Absolute, as the server would say it: `x` as it is at 3, `y` there again.
            patch.rows.extend([put_a("x", 3.0), put_a("y", 3.0)]);
        }
        patch
    };
    let store = MemoryStore::default();
    opened(&store, "c1");
    append(
        &store,
        poke(None, "1", rows(vec![put_a("x", 1.0), put_a("y", 1.0)])),
    );
    for (base, cookie, outcome) in steps {
        let reply = append(&store, poke(Some(base), cookie, changes(base, cookie)));
        assert_eq!(
            cookie_of(&reply).0,
            *outcome,
            "{base} → {cookie} in {steps:?}"
        );
    }
    let loaded = unread(&store);
    assert_eq!(loaded.head.cookie.as_deref(), Some(end), "{steps:?}");
    let mut model = Model::default();
    model.apply(&rows(vec![put_a("x", 1.0), put_a("y", 1.0)]));
    model.apply(&changes("1", end));
    assert_eq!(
        Model::of(loaded.read().expect("undamaged")),
        model,
        "{steps:?}"
    );
}

#[test]
fn pokes_of_two_tabs_in_every_order() {
    let (step12, step23, step13) = (("1", "2"), ("2", "3"), ("1", "3"));
    let with = |(base, cookie), outcome| (base, cookie, outcome);
    check_chain(
        &[
            with(step12, "appended"),
            with(step23, "appended"),
            with(step13, "already there"),
        ],
        "3",
    );
    check_chain(
        &[
            with(step12, "appended"),
            with(step13, "appended"),
            with(step23, "already there"),
        ],
        "3",
    );
    check_chain(
        &[
            with(step13, "appended"),
            with(step12, "already there"),
            with(step23, "already there"),
        ],
        "3",
    );
    check_chain(
        &[with(step13, "appended"), with(step13, "already there")],
        "3",
    );
    // Tab X's own first step was lost (a relaxed transaction and a power failure).
    check_chain(
        &[
            with(step23, "needs snapshot"),
            with(step13, "appended"),
            with(step23, "already there"),
        ],
        "3",
    );
    check_chain(&[with(step23, "needs snapshot")], "1");
}

#[test]
fn a_poke_from_nothing_leaves_nothing_of_what_was() {
    let store = MemoryStore::default();
    opened(&store, "c1");
    append(
        &store,
        poke(
            None,
            "1",
            Patch {
                got: vec![got("h")],
                ..rows(vec![put_a("x", 1.0), put_a("y", 1.0)])
            },
        ),
    );
    // Another tab, which began with the empty store as well, is hydrated later; `y` was deleted in between.
    append(
        &store,
        poke(
            None,
            "2",
            Patch {
                got: vec![got("i")],
                ..rows(vec![put_a("x", 2.0)])
            },
        ),
    );
    let state = unread(&store).read().expect("undamaged");
    assert_eq!(state.tables[0], [a("x", 2.0)]);
    assert_eq!(state.queries.got, ["i".to_owned()].into());
}

#[test]
fn a_lost_tail_is_replaced_by_a_snapshot() {
    let store = MemoryStore::default();
    opened(&store, "c1");
    append(&store, poke(None, "1", rows(vec![put_a("old", 1.0)])));
    let model = Model {
        ..Model::of(ServerState {
            tables: vec![vec![a("new", 2.0)], vec![b(1.0, "k", "[]")]],
            ..Default::default()
        })
    };
    let snapshot = |cookie: &str| {
        request(StoreOp::WriteSnapshot(WriteSnapshot {
            cookie: cookie.into(),
            last_mutation_ids: [("c1".to_owned(), 4)].into(),
            pages: model.pages(),
            queries: model.queries(),
            outcomes: Vec::new(),
        }))
    };
    assert_eq!(
        cookie_of(&store.execute(&snapshot("00")).expect("a reply")).0,
        "already there"
    );
    assert_eq!(
        cookie_of(&store.execute(&snapshot("3")).expect("a reply")),
        ("appended", Some("3".into()))
    );
    let after = unread(&store);
    assert!(log_len(&after) == 0);
    assert_eq!(after.head.last_mutation_id("c1"), 4);
    assert_eq!(Model::of(after.read().expect("undamaged")), model);
    // The next poke follows as if nothing had happened, and a fold from memory at the same cookie is taken.
    append(&store, poke(Some("3"), "4", rows(vec![put_a("more", 1.0)])));
    assert_eq!(log_len(&unread(&store)), 1);
    assert_eq!(
        cookie_of(&store.execute(&snapshot("4")).expect("a reply")).0,
        "appended"
    );
    assert!(log_len(&unread(&store)) == 0);
}

#[test]
fn a_follower_reads_the_log_from_where_it_was() {
    let store = MemoryStore::default();
    opened(&store, "c1");
    for (base, cookie) in [(None, "1"), (Some("1"), "2"), (Some("2"), "3")] {
        append(&store, poke(base, cookie, rows(vec![put_a(cookie, 1.0)])));
    }
    let read = |from| match store.execute(&request(StoreOp::ReadLog {
        schema: schema(),
        from,
    })) {
        Ok(StoreReply::Log { records, .. }) => records.map(|records| {
            records
                .into_iter()
                .map(|record| record.cookie)
                .collect::<Vec<_>>()
        }),
        other => panic!("{other:?}"),
    };
    assert_eq!(read(1), Some(vec!["2".to_owned(), "3".to_owned()]));
    assert_eq!(read(3), Some(vec![]));
    assert_eq!(read(4), None);
    fold(&store);
    assert_eq!(read(1), None);
    assert_eq!(read(3), Some(vec![]));
}

fn fold(store: &MemoryStore) {
    let plan = plan_fold(unread(store)).expect("folds");
    let reply = store.execute(&request(StoreOp::Fold(plan)));
    assert!(matches!(reply, Ok(StoreReply::Folded(_))), "{reply:?}");
}

#[test]
fn folds_do_not_lose_what_came_meanwhile_nor_undo_another() {
    let store = MemoryStore::default();
    opened(&store, "c1");
    append(&store, poke(None, "1", rows(vec![put_a("x", 1.0)])));
    let plan = plan_fold(unread(&store)).expect("folds");
    let late = plan.clone();
    append(
        &store,
        poke(Some("1"), "2", rows(vec![put_a("x", 2.0), put_a("y", 2.0)])),
    );
    assert!(matches!(
        store.execute(&request(StoreOp::Fold(plan))),
        Ok(StoreReply::Folded(_))
    ));
    let after = unread(&store);
    assert_eq!(log_len(&after), 1);
    assert_eq!(
        after.head.log_bytes,
        store
            .values(StoreName::Log)
            .values()
            .map(|value| value.len() as u64)
            .sum::<u64>()
    );
    assert_eq!(
        after.read().expect("undamaged").tables[0],
        [a("x", 2.0), a("y", 2.0)]
    );
    assert!(matches!(
        store.execute(&request(StoreOp::Fold(late))),
        Ok(StoreReply::FoldOutdated(_))
    ));
}

#[test]
fn a_fold_writes_only_the_pages_it_touches() {
    let store = MemoryStore::default();
    opened(&store, "c1");
    let big = format!("\"{}\"", "x".repeat(1000));
    let many = (0..3000)
        .map(|n| RowChange::Put {
            table: B,
            row: b(f64::from(n), "k", &big),
        })
        .collect();
    append(&store, poke(None, "1", rows(many)));
    assert!(unread(&store).head.log_bytes > PAGE_BYTES as u64);
    fold(&store);
    let before = store.values(StoreName::Pages);
    assert!(before.len() > 4, "{} pages", before.len());
    append(
        &store,
        poke(
            Some("1"),
            "2",
            rows(vec![RowChange::Put {
                table: B,
                row: b(1500.0, "k", "1"),
            }]),
        ),
    );
    fold(&store);
    let after = store.values(StoreName::Pages);
    let kept = before
        .iter()
        .filter(|(key, value)| after.get(*key) == Some(value))
        .count();
    // One page is replaced, and the sets of queries stay as they were.
    assert_eq!((kept, after.len()), (before.len() - 1, before.len()));
    assert_eq!(
        unread(&store).read().expect("undamaged").tables[1].len(),
        3000
    );
}

#[test]
fn a_page_in_the_place_of_another_is_refused_however_it_is_read() {
    let store = MemoryStore::default();
    opened(&store, "c1");
    let big = format!("\"{}\"", "x".repeat(1000));
    let put = |n| RowChange::Put {
        table: B,
        row: b(f64::from(n), "k", &big),
    };
    append(&store, poke(None, "1", rows((0..3000).map(put).collect())));
    fold(&store);
    let pages: Vec<_> = store.values(StoreName::Pages).into_iter().collect();
    let [.., (_, earlier), (last, _)] = pages.as_slice() else {
        panic!("{} pages", pages.len());
    };
    store.set_value(StoreName::Pages, last.clone(), earlier.clone());
    let ahead = store.execute(&open_as("c1"));
    let Ok(StoreReply::Opened { loaded: ahead, .. }) = ahead else {
        panic!("{ahead:?}");
    };
    let expected = Err(StoreFailure::Corrupt {
        store: "pages",
        source: FormatError::Order,
    });
    assert_eq!(ahead.read(), expected);
    assert_eq!(unread(&store).read(), expected);
}

#[test]
fn rows_of_an_earlier_store_are_read_as_those_of_another_schema_in_steps() {
    let store = MemoryStore::default();
    opened(&store, "c1");
    let puts = (0..1000).flat_map(|n| {
        let row = b(f64::from(n), "k", "1");
        [
            put_a(&format!("{n:04}"), 1.0),
            RowChange::Put { table: B, row },
        ]
    });
    append(&store, poke(None, "1", rows(puts.collect())));
    fold(&store);
    let late = rows(vec![del_a("0000"), put_a("x", 2.0)]);
    append(&store, poke(Some("1"), "2", late));
    let Ok(StoreReply::Earlier(mut earlier)) = store.execute(&read_earlier()) else {
        panic!("it is there");
    };
    assert_eq!((earlier.seen(), earlier.was_given()), (1.0, true));
    let state = earlier.clone().read().expect("undamaged");
    assert_eq!(state.tables[..1], [vec![]]);
    let ids = (1..1000).map(|n| format!("{n:04}")).chain(["x".to_owned()]);
    let ids: Vec<Row> = ids
        .map(|id| Row::from_values([ValueRef::String(&id)]))
        .collect();
    assert_eq!(state.tables[1], ids);
    assert_eq!(
        state.tables[2],
        unread(&store).read().expect("undamaged").tables[1]
    );
    let mut reader = StateReader::new(&mut earlier).expect("pages");
    let mut given = 0;
    loop {
        let before = given;
        let step = reader
            .step(&mut |_, rows| given += rows.count())
            .expect("rows");
        assert!(given - before <= 64);
        if step.is_none() {
            break;
        }
    }
    assert_eq!(given, 2000);
}

#[test]
fn pages_do_not_crumble() {
    let store = MemoryStore::default();
    opened(&store, "c1");
    let big = format!("\"{}\"", "x".repeat(1000));
    let many = (0..5000)
        .map(|n| RowChange::Put {
            table: B,
            row: b(f64::from(n), "k", &big),
        })
        .collect();
    append(&store, poke(None, "0000", rows(many)));
    fold(&store);
    // Almost everything goes, a little at a time.
    let mut cookie = "0000".to_owned();
    for step in 0..20 {
        let gone = (0..5000).filter(|n| n % 20 == step && n % 100 != 0);
        let keys = schema().tables[1].clone();
        let dels = gone
            .map(|n| RowChange::Del {
                table: B,
                key: keys.key_of(&b(f64::from(n), "k", "1")),
            })
            .collect();
        let next = format!("{:04}", step + 1);
        append(&store, poke(Some(&cookie), &next, rows(dels)));
        cookie = next;
        fold(&store);
    }
    assert_eq!(
        unread(&store).read().expect("undamaged").tables[1].len(),
        50
    );
    assert_eq!(
        store.values(StoreName::Pages).len(),
        2,
        "the sets of queries and one page"
    );
}

#[test]
fn the_head_says_when_to_fold() {
    let store = MemoryStore::default();
    opened(&store, "c1");
    let mut head = unread(&store).head;
    assert!(!head.needs_fold());
    head.log_next = FOLD_RECORDS + 1;
    assert!(head.needs_fold());
    head.log_next = 0;
    head.log_bytes = FOLD_BYTES + 1;
    assert!(head.needs_fold());
}

fn any_patch() -> impl Strategy<Value = Patch> {
    let ids = || prop::sample::select(&["a", "b", "c", "d", "e", "f", ""]);
    let big = prop_oneof![9 => Just(3usize), 1 => Just(200_000)];
    let change = prop_oneof![
        (ids(), any::<i32>()).prop_map(|(id, n)| put_a(id, f64::from(n))),
        ids().prop_map(del_a),
        (0..4i32, ids(), big).prop_map(|(x, y, size)| RowChange::Put {
            table: B,
            row: b(f64::from(x), y, &format!("\"{}\"", "z".repeat(size))),
        }),
        (0..4i32, ids()).prop_map(|(x, y)| RowChange::Del {
            table: B,
            key: schema().tables[1].key_of(&b(f64::from(x), y, "1")),
        }),
    ];
    let query = (any::<bool>(), ids()).prop_map(|(put, hash)| match put {
        true => QueryChange::Put { hash: hash.into() },
        false => QueryChange::Del { hash: hash.into() },
    });
    let desired = (ids(), query.clone()).prop_map(|(client_id, change)| DesiredChange {
        client_id: client_id.into(),
        change,
    });
    let clear = prop_oneof![9 => Just(false), 1 => Just(true)];
    (
        clear,
        prop::collection::vec(change, 0..8),
        prop::collection::vec(desired, 0..4),
        prop::collection::vec(query, 0..4),
    )
        .prop_map(|(clear, rows, desired, got)| Patch {
            clear,
            rows,
            desired,
            got,
        })
}

/// More changes than one step reads; the last one per key counts.
fn any_long_patch() -> impl Strategy<Value = Patch> {
    let change = (any::<bool>(), 0..600u32, prop::option::of(0..9i32)).prop_map(|(is_a, id, n)| {
        let row = b(f64::from(id), "k", "1");
        match (is_a, n) {
            (true, Some(n)) => put_a(&format!("{id:03}"), f64::from(n)),
            (true, None) => del_a(&format!("{id:03}")),
            (false, Some(_)) => RowChange::Put { table: B, row },
            (false, None) => RowChange::Del {
                table: B,
                key: schema().tables[1].key_of(&row),
            },
        }
    });
    let rows = prop::collection::vec(change, 0..800);
    (any_patch(), rows).prop_map(|(patch, rows)| Patch { rows, ..patch })
}

/// What is stored, read in steps, none of which is long.
fn read_in_steps(store: &MemoryStore) -> Model {
    let mut unread = unread(store);
    let mut reader = StateReader::new(&mut unread).expect("undamaged");
    let mut tables = vec![Vec::new(), Vec::new()];
    loop {
        let mut given = 0;
        let step = reader.step(&mut |table, rows| {
            let before = tables[table.0 as usize].len();
            tables[table.0 as usize].extend(rows);
            given += tables[table.0 as usize].len() - before;
        });
        let Some(cost) = step.expect("undamaged") else {
            break;
        };
        assert!(cost <= 65 && given <= cost, "{cost} for {given} rows");
    }
    let queries = reader.into_queries();
    Model::of(ServerState { tables, queries })
}

#[derive(Clone, Debug)]
enum Event {
    Poke(Patch),
    Again,
    Fold,
    LateFold(Patch),
    Snapshot,
    Reopen,
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => any_patch().prop_map(Event::Poke),
        1 => Just(Event::Again),
        2 => Just(Event::Fold),
        1 => any_patch().prop_map(Event::LateFold),
        1 => Just(Event::Snapshot),
        1 => Just(Event::Reopen),
    ]
}

/// A second or so; `LANDFALL_TEST_SECONDS` asks for more.
fn budget() -> ProptestConfig {
    let seconds = std::env::var("LANDFALL_TEST_SECONDS")
        .ok()
        .and_then(|text| text.parse::<u32>().ok())
        .unwrap_or(1);
    ProptestConfig::with_cases(64u32.saturating_mul(seconds))
}

proptest! {
    #![proptest_config(budget())]

    #[test]
    fn a_long_log_is_read_in_short_steps(patches in prop::collection::vec((any_long_patch(), any::<bool>()), 1..6)) {
        let store = MemoryStore::default();
        opened(&store, "c1");
        let mut model = Model::default();
        for (step, (patch, folds)) in patches.into_iter().enumerate() {
            model.apply(&patch);
            let base = (step > 0).then(|| step.to_string());
            append(&store, poke(base.as_deref(), &(step + 1).to_string(), patch));
            prop_assert_eq!(&read_in_steps(&store), &model);
            if folds {
                fold(&store);
                prop_assert_eq!(&read_in_steps(&store), &model);
            }
        }
    }

    #[test]
    fn the_store_is_the_servers_state(events in prop::collection::vec(any_event(), 1..24)) {
        let store = MemoryStore::default();
        opened(&store, "c1");
        let mut model = Model::default();
        let (mut step, mut last) = (0, None::<AppendPoke>);
        let next = |model: &mut Model, patch: Patch, step: &mut u32| {
            model.apply(&patch);
            let base = (*step > 0).then(|| format!("{:08}", *step));
            *step += 1;
            poke(base.as_deref(), &format!("{:08}", *step), patch)
        };
        for event in events {
            match event {
                Event::Poke(patch) => {
                    let poke = next(&mut model, patch, &mut step);
                    prop_assert_eq!(cookie_of(&append(&store, poke.clone())).0, "appended");
                    last = Some(poke);
                }
                Event::Again => {
                    if let Some(poke) = last.clone() {
                        prop_assert_eq!(cookie_of(&append(&store, poke)).0, "already there");
                    }
                }
                Event::Fold => fold(&store),
                Event::LateFold(patch) => {
                    let plan = plan_fold(unread(&store)).expect("folds");
                    let poke = next(&mut model, patch, &mut step);
                    append(&store, poke);
                    let reply = store.execute(&request(StoreOp::Fold(plan)));
                    prop_assert!(matches!(reply, Ok(StoreReply::Folded(_))));
                }
                Event::Snapshot => {
                    let snapshot = WriteSnapshot {
                        cookie: format!("{step:08}"),
                        last_mutation_ids: Default::default(),
                        pages: model.pages(),
                        queries: model.queries(),
                        outcomes: Vec::new(),
                    };
                    if step > 0 {
                        let reply = store.execute(&request(StoreOp::WriteSnapshot(snapshot))).expect("a reply");
                        prop_assert_eq!(cookie_of(&reply).0, "appended");
                    }
                }
                Event::Reopen => {
                    opened(&store, "c1");
                }
            }
            prop_assert_eq!(Model::of(unread(&store).read().expect("undamaged")), model.clone());
        }
    }
}
