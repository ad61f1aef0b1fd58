//! The mutation queue: nothing is lost, nothing is stored twice or out of order, and what may have been sent is known.

mod world;

use landfall_store::*;
use landfall_zql::sorted_map::SortedMap;
use proptest::prelude::*;
use world::*;

fn failed(client_id: &str, id: u64) -> StoredOutcome {
    StoredOutcome {
        client_id: client_id.into(),
        id,
        name: String::new(),
        args: "[]".into(),
        ending: Ending::Failed {
            error: r#"{"error":"app"}"#.into(),
        },
    }
}

fn named(list: &[(&str, u64, bool)]) -> Vec<(String, u64, bool)> {
    list.iter()
        .map(|(client_id, id, attempted)| ((*client_id).to_owned(), *id, *attempted))
        .collect()
}

fn store_with(clients: &[&str]) -> MemoryStore {
    let store = MemoryStore::default();
    for client in clients {
        opened(&store, client);
    }
    store
}

#[test]
fn the_order_is_the_groups() {
    let store = store_with(&["c2", "c1"]);
    assert_eq!(
        sequences(store.execute(&queue("c2", &[1, 2], false))),
        [(1, 0), (2, 1)]
    );
    assert_eq!(
        sequences(store.execute(&queue("c1", &[1], false))),
        [(1, 2)]
    );
    assert_eq!(
        sequences(store.execute(&queue("c2", &[3], false))),
        [(3, 3)]
    );
    assert_eq!(
        pending(&store),
        named(&[
            ("c2", 1, false),
            ("c2", 2, false),
            ("c1", 1, false),
            ("c2", 3, false)
        ])
    );
    assert_eq!(opened(&store, "c3").queue.len(), 4);
}

#[test]
fn the_queue_is_read_without_the_mutations_of_one() {
    let clients = ["c", "c1", "c2", "c20", "d1"];
    let store = store_with(&clients);
    for client in clients {
        sequences(store.execute(&queue(client, &[1, 2], false)));
    }
    for except in clients.into_iter().chain(["c0", "", "zz"]) {
        let op = StoreOp::ReadQueue {
            except: Some(except.into()),
        };
        let Ok(StoreReply::Queue { queue, .. }) = store.execute(&request(op)) else {
            panic!("the queue");
        };
        let read = queue.iter().map(|m| (m.client_id.as_str(), m.id));
        let others = clients.into_iter().filter(|client| *client != except);
        assert!(read.eq(others.flat_map(|client| [(client, 1), (client, 2)])));
    }
}

#[test]
fn no_gaps_and_no_doubles() {
    let store = store_with(&["c1"]);
    let gap = |request| match store.execute(&request) {
        Err(StoreFailure::Gap { expected, found }) => (expected, found),
        other => panic!("{other:?}"),
    };
    assert_eq!(gap(queue("c1", &[2], false)), (1, 2));
    assert_eq!(gap(queue("c1", &[1, 3], false)), (2, 3));
    assert!(
        pending(&store).is_empty(),
        "a refused request leaves nothing behind"
    );
    assert_eq!(
        sequences(store.execute(&queue("c1", &[1], false))),
        [(1, 0)]
    );
    // The answer to the first request was lost, and the client asks again with one more.
    assert_eq!(
        sequences(store.execute(&queue("c1", &[1, 2], false))),
        [(1, 0), (2, 1)]
    );
    assert_eq!(gap(queue("c1", &[4], false)), (3, 4));
}

#[test]
fn confirmed_before_it_was_stored() {
    let store = store_with(&["c1"]);
    confirm(&store, "1", "c1", 2, vec![]);
    assert_eq!(
        sequences(store.execute(&queue("c1", &[1, 2, 3], true))),
        [(1, 0), (2, 0), (3, 0)]
    );
    assert_eq!(pending(&store), named(&[("c1", 3, true)]));
}

#[test]
fn confirmation_takes_mutations_of_one_client_up_to_an_id() {
    let store = store_with(&["c1", "c10"]);
    store
        .execute(&queue("c1", &[1, 2, 3], false))
        .expect("stores");
    store
        .execute(&queue("c10", &[1, 2], false))
        .expect("stores");
    confirm(&store, "1", "c1", 2, vec![]);
    assert_eq!(
        pending(&store),
        named(&[("c1", 3, false), ("c10", 1, false), ("c10", 2, false)])
    );
    assert_eq!(store.values(StoreName::Queue).len(), 3);
    // A lower id, from a poke of a slower tab, takes nothing back.
    confirm(&store, "2", "c1", 1, vec![]);
    assert_eq!(unread(&store).head.last_mutation_id("c1"), 2);
}

#[test]
fn failures_keep_what_was_called_and_stay_until_cleared() {
    let store = store_with(&["c1"]);
    store.execute(&queue("c1", &[1, 2], true)).expect("stores");
    confirm(&store, "1", "c1", 2, vec![failed("c1", 2)]);
    let outcomes = opened(&store, "c2").outcomes;
    assert_eq!(
        outcomes,
        [StoredOutcome {
            name: "m2".into(),
            args: "[2]".into(),
            ..failed("c1", 2)
        }]
    );
    let clear = StoreOp::ClearOutcomes {
        by: "c1".into(),
        ids: vec![("c1".into(), 2)],
    };
    store.execute(&request(clear)).expect("clears");
    assert!(unread(&store).outcomes.is_empty());
}

#[test]
fn what_may_have_been_sent_is_known() {
    let store = store_with(&["c1", "c2"]);
    store.execute(&queue("c1", &[1, 2], false)).expect("stores");
    store.execute(&queue("c2", &[1], true)).expect("stores");
    assert_eq!(
        pending(&store),
        named(&[("c1", 1, false), ("c1", 2, false), ("c2", 1, true)])
    );
    let mark = MarkAttempted {
        through: vec![("c1".into(), 1), ("c2".into(), 1), ("gone".into(), 5)],
        frozen: vec![
            Frozen {
                client_id: "c1".into(),
                id: 1,
                ops: Some("[1]".into()),
                end: None,
                sent: false,
            },
            Frozen {
                client_id: "c1".into(),
                id: 9,
                ops: Some("[9]".into()),
                end: None,
                sent: false,
            },
        ],
    };
    store
        .execute(&request(StoreOp::MarkAttempted(mark)))
        .expect("marks");
    assert_eq!(
        pending(&store),
        named(&[("c1", 1, true), ("c1", 2, false), ("c2", 1, true)])
    );
    assert_eq!(unread(&store).queue[0].ops.as_deref(), Some("[1]"));
    store.execute(&queue("c1", &[3], false)).expect("stores");
    assert_eq!(pending(&store).last(), named(&[("c1", 3, false)]).first());
}

#[test]
fn what_is_frozen_of_several_clients_is_told_apart() {
    let store = store_with(&["c2", "c1"]);
    store
        .execute(&queue("c2", &[1, 2, 3, 4], false))
        .expect("stores");
    store
        .execute(&queue("c1", &[1, 2, 3], false))
        .expect("stores");
    // In no order, with others in between; the same ids in both.
    let frozen =
        [("c2", 4), ("c1", 3), ("c2", 1), ("c1", 1), ("none", 2)].map(|(client_id, id)| Frozen {
            client_id: client_id.into(),
            id,
            ops: Some(format!("[\"{client_id}\",{id}]")),
            end: (id == 3).then_some(Ending::Uncertain),
            sent: false,
        });
    let mark = MarkAttempted {
        through: vec![("c1".into(), 3), ("c2".into(), 4)],
        frozen: frozen.into(),
    };
    store
        .execute(&request(StoreOp::MarkAttempted(mark)))
        .expect("marks");
    let stored = unread(&store);
    let ops: Vec<_> = stored
        .queue
        .iter()
        .map(|it| (it.client_id.as_str(), it.id, it.ops.as_deref()))
        .collect();
    assert_eq!(
        ops,
        [
            ("c2", 1, Some(r#"["c2",1]"#)),
            ("c2", 2, None),
            ("c2", 3, None),
            ("c2", 4, Some(r#"["c2",4]"#)),
            ("c1", 1, Some(r#"["c1",1]"#)),
            ("c1", 2, None),
            ("c1", 3, Some(r#"["c1",3]"#)),
        ]
    );
    let ends: Vec<_> = stored
        .outcomes
        .iter()
        .map(|it| (it.client_id.as_str(), it.id))
        .collect();
    assert_eq!(ends, [("c1", 3)]);
}

#[test]
fn what_another_has_sent_and_the_server_has_confirmed_is_told_to_who_is_about_to_send_it() {
    let store = store_with(&["c1"]);
    store
        .execute(&queue("c1", &[1, 2, 3], false))
        .expect("stores");
    let confirm = StoreOp::Confirm(Confirm {
        last_mutation_ids: SortedMap::from([("c1".to_owned(), 2)]),
        outcomes: Vec::new(),
    });
    store.execute(&request(confirm)).expect("stores");
    let frozen = |id, sent| Frozen {
        client_id: "c1".into(),
        id,
        ops: Some("[]".into()),
        end: None,
        sent,
    };
    let mark = MarkAttempted {
        through: vec![("c1".into(), 4)],
        frozen: vec![
            frozen(1, true),
            frozen(2, false),
            frozen(3, false),
            frozen(4, false),
        ],
    };
    match store.execute(&request(StoreOp::MarkAttempted(mark))) {
        Ok(StoreReply::Marked {
            otherwise,
            confirmed,
        }) => {
            assert_eq!(otherwise, []);
            assert_eq!(
                confirmed,
                [("c1".to_owned(), 2)],
                "not what it has sent itself"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn how_a_mutation_ends_that_is_sent_without_writes_is_known_before_it_is_sent() {
    let store = store_with(&["c1"]);
    store.execute(&queue("c1", &[1, 2], false)).expect("stores");
    let frozen = |id, ops: &str, end, sent| Frozen {
        client_id: "c1".into(),
        id,
        ops: Some(ops.into()),
        end,
        sent,
    };
    let mark = |through, frozen| {
        let through = vec![("c1".into(), through)];
        let mark = MarkAttempted { through, frozen };
        match store.execute(&request(StoreOp::MarkAttempted(mark))) {
            Ok(StoreReply::Marked { otherwise, .. }) => otherwise,
            other => panic!("{other:?}"),
        }
    };
    let refused = Ending::Failed { error: "no".into() };
    let without = frozen(1, "[]", Some(refused.clone()), false);
    assert_eq!(mark(1, vec![without.clone()]), []);
    // Who comes later takes over what may have been sent, and who has sent it insists.
    assert_eq!(mark(1, vec![frozen(1, "[1]", None, false)]), [without]);
    assert_eq!(mark(2, vec![frozen(2, "[2]", None, false)]), []);
    let late = mark(2, vec![frozen(2, "[]", Some(refused.clone()), false)]);
    assert_eq!(late, [frozen(2, "[2]", None, false)]);
    assert_eq!(mark(2, vec![frozen(2, "[2, 2]", None, true)]), []);
    let stored = unread(&store);
    assert_eq!(stored.queue[0].ops.as_deref(), Some("[]"));
    assert_eq!(stored.queue[1].ops.as_deref(), Some("[2, 2]"));
    // It was never carried out, whatever becomes of the group.
    let start = StartGroup {
        new_group_id: "group2".into(),
        client_id: "n1".into(),
        sent: Vec::new(),
        now: 5.0,
    };
    let reply = store.execute(&request(StoreOp::StartGroup(start)));
    let Ok(StoreReply::GroupStarted(started)) = reply else {
        panic!("{reply:?}")
    };
    let endings: Vec<Ending> = started.outcomes.into_iter().map(|o| o.ending).collect();
    assert_eq!(endings, [refused, Ending::Uncertain]);
}

#[test]
fn clients_with_work_are_not_forgotten() {
    let store = store_with(&["c1", "c2", "c3"]);
    store.execute(&queue("c1", &[1], false)).expect("stores");
    store.execute(&queue("c2", &[1], false)).expect("stores");
    confirm(&store, "1", "c2", 1, vec![failed("c2", 1)]);
    let remove = |ids: &[&str]| {
        let client_ids = ids.iter().map(|&id| id.to_owned()).collect();
        match store.execute(&request(StoreOp::RemoveClients {
            client_ids,
            are_gone: true,
        })) {
            Ok(StoreReply::Removed { client_ids }) => client_ids,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(remove(&["c1", "c2", "c3"]), ["c3"]);
    confirm(&store, "2", "c1", 1, vec![]);
    assert_eq!(remove(&["c1", "c2"]), ["c1"]);
    assert_eq!(unread(&store).head.last_mutation_ids.len(), 1);
}

#[test]
fn a_tab_that_slept_goes_on_where_it_was() {
    let store = store_with(&["c1", "c2"]);
    store.execute(&queue("c1", &[1, 2], true)).expect("stores");
    confirm(&store, "1", "c1", 2, vec![]);
    store
        .execute(&request(StoreOp::RemoveClients {
            client_ids: vec!["c1".into()],
            are_gone: false,
        }))
        .expect("removes");
    // Its heartbeat must not make a record that begins at 1 again.
    store
        .execute(&request(StoreOp::TouchClient {
            client_id: "c1".into(),
            now: 9.0,
        }))
        .expect("touches");
    assert_eq!(
        sequences(store.execute(&queue_above("c1", 2, &[3, 4], false))),
        [(3, 2), (4, 3)]
    );
    assert!(matches!(
        store.execute(&queue_above("c1", 2, &[6], false)),
        Err(StoreFailure::Gap {
            expected: 5,
            found: 6
        })
    ));
    // Whoever sends these knows where they begin.
    assert_eq!(unread(&store).head.last_mutation_id("c1"), 2);
}

#[test]
fn a_tab_that_storage_forgot_stores_all_that_waits() {
    let store = store_with(&["c2"]);
    // Its mutation 2 was stored before the browser emptied storage.
    assert!(matches!(
        store.execute(&queue_above("c1", 1, &[3], false)),
        Err(StoreFailure::Gap {
            expected: 2,
            found: 3
        })
    ));
    assert_eq!(
        sequences(store.execute(&queue_above("c1", 1, &[2, 3], false))),
        [(2, 0), (3, 1)]
    );
    assert_eq!(
        pending(&store),
        named(&[("c1", 2, false), ("c1", 3, false)])
    );
    assert_eq!(unread(&store).head.last_mutation_id("c1"), 1);
}

#[test]
fn a_forgotten_group_begins_anew_with_its_unsent_work() {
    let store = store_with(&["c1", "c2"]);
    append(&store, poke(None, "7", rows(vec![put_a("x", 1.0)])));
    store.execute(&queue("c1", &[1], true)).expect("stores");
    store.execute(&queue("c2", &[1, 2], false)).expect("stores");
    store.execute(&queue("c1", &[2], false)).expect("stores");
    let mode = RememberedMode {
        named_queries: true,
        custom_mutations: true,
        version: 1,
    };
    store
        .execute(&request(StoreOp::SetServerMode(mode)))
        .expect("remembers");
    let plan = plan_fold(unread(&store)).expect("folds");
    let start = StartGroup {
        new_group_id: "group2".into(),
        client_id: "n1".into(),
        sent: Vec::new(),
        now: 5.0,
    };
    let Ok(StoreReply::GroupStarted(started)) =
        store.execute(&request(StoreOp::StartGroup(start.clone())))
    else {
        panic!("starts")
    };
    let reissued: Vec<_> = started
        .reissued
        .iter()
        .map(|new| (new.old_client_id.as_str(), new.old_id, new.mutation.id))
        .collect();
    assert_eq!(reissued, [("c2", 1, 1), ("c2", 2, 2), ("c1", 2, 3)]);
    assert!(matches!(
        started.outcomes.as_slice(),
        [StoredOutcome {
            ending: Ending::Uncertain,
            id: 1,
            ..
        }]
    ));
    // Old tabs notice, whatever they try, and write nothing.
    for op in [
        StoreOp::StartGroup(start),
        StoreOp::Fold(plan),
        StoreOp::ReadQueue { except: None },
    ] {
        assert!(matches!(
            store.execute(&request(op)),
            Err(StoreFailure::OtherGroup { .. })
        ));
    }
    let reopened = opened(&store, "n1");
    assert_eq!(
        (reopened.head.cookie.clone(), reopened.head.server_mode),
        (None, Some(mode))
    );
    assert_eq!(
        (
            reopened.queue.len(),
            reopened.outcomes.len(),
            reopened.clients.len()
        ),
        (3, 1, 1)
    );
    assert!(
        reopened
            .queue
            .iter()
            .all(|queued| queued.client_id == "n1" && !queued.attempted)
    );
    assert_eq!(
        Model::of(reopened.read().expect("undamaged")),
        Model::default()
    );
    let new = StoreRequest {
        group_id: "group2".into(),
        ..queue("n1", &[4], false)
    };
    assert_eq!(sequences(store.execute(&new)), [(4, 3)]);
}

#[test]
fn erasing_leaves_an_empty_store() {
    let store = store_with(&["c1"]);
    store.execute(&queue("c1", &[1], false)).expect("stores");
    store.execute(&request(StoreOp::Erase)).expect("erases");
    assert!(
        StoreName::ALL
            .iter()
            .all(|name| store.values(*name).is_empty())
    );
    assert!(opened(&store, "c1").queue.is_empty());
}

#[test]
fn what_must_survive_a_power_failure_is_strict() {
    let strict = |request: StoreRequest| request.durability() == Durability::Strict;
    assert!(strict(queue("c1", &[1], false)));
    assert!(!strict(request(StoreOp::AppendPoke(poke(
        None,
        "1",
        Patch::default()
    )))));
    let failing = AppendPoke {
        outcomes: vec![failed("c1", 1)],
        ..poke(None, "1", Patch::default())
    };
    assert!(strict(request(StoreOp::AppendPoke(failing))));
}

#[derive(Clone, Debug)]
enum Event {
    Write {
        client: usize,
        skip: u64,
        count: u64,
        attempted: bool,
    },
    Confirm {
        client: usize,
        upto: u64,
        fail: bool,
    },
    Mark {
        client: usize,
    },
    Remove {
        client: usize,
    },
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => (0..3usize, prop_oneof![4 => Just(0), 1 => 0..3u64], 1..4u64, any::<bool>())
            .prop_map(|(client, skip, count, attempted)| Event::Write { client, skip, count, attempted }),
        3 => (0..3usize, 0..4u64, any::<bool>()).prop_map(|(client, upto, fail)| Event::Confirm { client, upto, fail }),
        1 => (0..3usize).prop_map(|client| Event::Mark { client }),
        1 => (0..3usize).prop_map(|client| Event::Remove { client }),
    ]
}

proptest! {
    /// D1: stored ids of a client form a gap-free run above its last confirmed id. And nothing stored is lost.
    #[test]
    fn stored_ids_have_no_gaps(events in prop::collection::vec(any_event(), 1..40)) {
        let names = ["c0", "c1", "c2"];
        let store = store_with(&names);
        // Per client: last stored, last confirmed, attempted.
        let mut model = [(0u64, 0u64, 0u64); 3];
        for (step, event) in events.into_iter().enumerate() {
            match event {
                Event::Write { client, skip, count, attempted } => {
                    let (stored, _, sent) = &mut model[client];
                    let ids: Vec<u64> = (*stored + 1 + skip..=*stored + skip + count).collect();
                    let reply = store.execute(&queue(names[client], &ids, attempted));
                    if skip == 0 {
                        prop_assert_eq!(sequences(reply).len() as u64, count);
                        *stored += count;
                        if attempted { *sent = *stored }
                    } else {
                        prop_assert_eq!(reply.err(), Some(StoreFailure::Gap { expected: *stored + 1, found: ids[0] }));
                    }
                }
                Event::Confirm { client, upto, fail } => {
                    let (stored, confirmed, _) = &mut model[client];
                    *confirmed = (*confirmed + upto).min(*stored);
                    let outcomes = if fail && *confirmed > 0 { vec![failed(names[client], *confirmed)] } else { vec![] };
                    confirm(&store, &format!("{step:08}"), names[client], *confirmed, outcomes);
                }
                Event::Mark { client } => {
                    let (stored, _, sent) = &mut model[client];
                    *sent = *stored;
                    let mark = MarkAttempted { through: vec![(names[client].into(), *stored)], frozen: vec![] };
                    store.execute(&request(StoreOp::MarkAttempted(mark))).expect("marks");
                }
                Event::Remove { client } => {
                    let client_ids = vec![names[client].to_owned()];
                    let reply = store.execute(&request(StoreOp::RemoveClients { client_ids, are_gone: true }));
                    if let Ok(StoreReply::Removed { client_ids }) = reply && !client_ids.is_empty() {
                        let (stored, confirmed, sent) = &mut model[client];
                        prop_assert_eq!(&*stored, &*confirmed, "a client with queued mutations was removed");
                        // The next write of this client makes its record anew.
                        opened(&store, names[client]);
                        (*stored, *confirmed, *sent) = (0, 0, 0);
                    }
                }
            }
            let mut expected = Vec::new();
            for (client, (stored, confirmed, sent)) in model.iter().enumerate() {
                expected.extend((confirmed + 1..=*stored).map(|id| (names[client].to_owned(), id, id <= *sent)));
            }
            let mut found = pending(&store.snapshot());
            for name in names {
                let ids: Vec<u64> = found.iter().filter(|(client, ..)| client == name).map(|(_, id, _)| *id).collect();
                prop_assert!(ids.is_sorted(), "out of order: {:?}", ids);
            }
            found.sort();
            prop_assert_eq!(found, expected);
        }
    }
}

#[test]
fn a_group_that_is_made_once_more_in_an_emptied_store_says_so() {
    for was_there in [false, true] {
        let store = MemoryStore::default();
        let open = StoreOp::Open(Open {
            schema: schema(),
            client_id: "c1".into(),
            now: 1.0,
            was_there,
            reads_only: false,
        });
        store.execute(&request(open)).expect("opens");
        // Opened again it is what it was.
        opened(&store, "c2");
        let read = store.execute(&request(StoreOp::ReadOutcomes));
        let Ok(StoreReply::Outcomes { has_lost_ends, .. }) = read else {
            panic!("{read:?}");
        };
        assert_eq!(has_lost_ends, was_there);
        // The next group cannot tell either how the lost mutations ended.
        let start = StoreOp::StartGroup(StartGroup {
            new_group_id: "group2".into(),
            client_id: "c3".into(),
            sent: Vec::new(),
            now: 2.0,
        });
        match store.execute(&request(start)) {
            Ok(StoreReply::GroupStarted(started)) => {
                let previous = started.head.previous_group;
                assert_eq!(previous.is_some(), !was_there);
            }
            other => panic!("{other:?}"),
        }
    }
}
