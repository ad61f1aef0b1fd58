//! Results beside their rows: given back only as long as they are results of what is stored.

mod world;

use landfall_store::*;
use landfall_zql::Schema;
use std::sync::Arc;
use world::*;

fn tree() -> KeptTree {
    KeptTree {
        rows: vec![(A, a("x", 1.5)), (B, b(1.0, "é", "[1]"))],
        words: vec![1, 0, 1, 1],
    }
}

fn result(query: &str) -> KeptResult {
    KeptResult::new(query.into(), &tree())
}

fn keep(store: &MemoryStore, cookie: &str, results: Vec<KeptResult>) {
    let cookie = cookie.to_owned();
    let keep = request(StoreOp::KeepResults(KeepResults { cookie, results }));
    assert_eq!(keep.reads(), [], "a page that is left cannot wait");
    store.execute(&keep).expect("keeps");
}

fn kept_as(store: &MemoryStore, schema: Arc<Schema>) -> Vec<KeptResult> {
    match store.execute(&request(StoreOp::ReadKept { schema })) {
        Ok(StoreReply::Kept(results)) => results,
        other => panic!("{other:?}"),
    }
}

/// The queries whose results are given back.
fn kept(store: &MemoryStore) -> Vec<String> {
    let results = kept_as(store, schema()).into_iter();
    results.map(|result| result.query).collect()
}

/// A store at cookie 1 with the result of a query `q`.
fn store() -> MemoryStore {
    let store = MemoryStore::default();
    opened(&store, "c1");
    append(&store, poke(None, "1", rows(vec![put_a("x", 1.5)])));
    keep(&store, "1", vec![result("q")]);
    assert_eq!(kept(&store), ["q"]);
    store
}

#[test]
fn a_result_comes_back_as_it_was() {
    let results = kept_as(&store(), schema());
    assert_eq!(results, [result("q")]);
    assert_eq!(results[0].read(&schema()), Ok(tree()));
}

#[test]
fn an_empty_store_keeps_nothing() {
    assert!(kept(&MemoryStore::default()).is_empty());
    let store = MemoryStore::default();
    opened(&store, "c1");
    keep(&store, "1", vec![result("q")]);
    assert!(kept(&store).is_empty(), "there are no rows");
}

#[test]
fn another_cookie_voids_results() {
    let store = store();
    append(&store, poke(Some("1"), "2", rows(vec![put_a("x", 2.0)])));
    assert!(kept(&store).is_empty());
    keep(&store, "2", vec![result("new")]);
    assert_eq!(kept(&store), ["new"]);
    keep(&store, "1", vec![result("late")]);
    assert!(kept(&store).is_empty(), "they are of rows that are gone");
}

#[test]
fn a_mutation_that_waits_hides_results() {
    let store = store();
    store.execute(&queue("c1", &[1], false)).expect("stores");
    assert!(kept(&store).is_empty());
    // The rows are the same when it is confirmed without any.
    let last_mutation_ids = [("c1".to_owned(), 1)].into_iter().collect();
    let confirm = Confirm {
        last_mutation_ids,
        outcomes: Vec::new(),
    };
    let confirm = request(StoreOp::Confirm(confirm));
    store.execute(&confirm).expect("confirms");
    assert_eq!(kept(&store), ["q"]);
}

#[test]
fn another_schema_gets_none() {
    let mut other = (*schema()).clone();
    other.tables[0].columns[1].ty = landfall_zql::ColumnType::String;
    assert!(kept_as(&store(), other.into()).is_empty());
}

#[test]
fn pages_that_show_something_else_first_keep_it_beside_each_other() {
    let store = store();
    keep(&store, "1", vec![result("other"), result("s")]);
    assert_eq!(kept(&store), ["q", "other", "s"]);
    keep(&store, "1", vec![result("q"), result("t")]);
    assert_eq!(kept(&store), ["q", "t", "other", "s"]);
    // Of another group, which begins with the same cookies.
    let of_other = StoreRequest {
        group_id: "group2".into(),
        op: StoreOp::KeepResults(KeepResults {
            cookie: "1".into(),
            results: vec![result("other")],
        }),
    };
    store.execute(&of_other).expect("keeps");
    assert_eq!(kept(&store), ["q", "t"]);
}

#[test]
fn many_pages_at_one_cookie_keep_a_bounded_number_of_values() {
    let store = store();
    for page in 0..100 {
        keep(&store, "1", vec![result(&format!("query {page}"))]);
    }
    assert_eq!(kept(&store).len(), 8);
}

#[test]
fn what_was_kept_at_other_cookies_goes() {
    for other in ["", "0", "10", "11", "2", "1:01"] {
        let store = store();
        keep(&store, "1", vec![result("other")]);
        let before = store.values(StoreName::Head).len();
        keep(&store, other, vec![result("s")]);
        assert_eq!(store.values(StoreName::Head).len(), before - 1, "{other}");
        keep(&store, "1", vec![result("t")]);
        assert_eq!(kept(&store), ["t"]);
    }
}

#[test]
fn there_is_room_for_so_much() {
    let store = store();
    let large = |query: &str, bytes: usize| {
        let mut tree = tree();
        tree.rows.push((A, a(&"x".repeat(bytes), 0.0)));
        KeptResult::new(query.into(), &tree)
    };
    let half = KEPT_BYTES / 2;
    keep(
        &store,
        "1",
        vec![large("a", half), large("b", half), large("c", 1000)],
    );
    assert_eq!(kept(&store), ["q", "a", "c"]);
    keep(&store, "1", vec![large("a", 2 * half)]);
    assert_eq!(kept(&store), ["q"]);
}

#[test]
fn a_new_group_and_a_repair_forget_results() {
    let start = || StartGroup {
        new_group_id: "group2".into(),
        client_id: "c9".into(),
        sent: Vec::new(),
        now: 1.0,
    };
    let repair = StoreOp::Repair(Repair {
        schema: schema(),
        instead: start(),
    });
    for op in [StoreOp::StartGroup(start()), repair, StoreOp::Erase] {
        let store = store();
        let values = |store: &MemoryStore| store.values(StoreName::Head).len();
        let before = values(&store);
        store.execute(&request(op)).expect("begins anew");
        assert!(kept(&store).is_empty());
        assert!(values(&store) < before, "their room is given back");
    }
}

#[test]
fn damage_is_as_good_as_nothing() {
    let store = store();
    let all = store.values(StoreName::Head);
    for (key, value) in &all {
        for at in 0..value.len() {
            let mut damaged = value.clone();
            damaged[at] ^= 0x10;
            for bytes in [damaged, value[..at].to_vec()] {
                store.set_value(StoreName::Head, key.clone(), bytes);
                assert!(kept(&store).is_empty());
            }
        }
        store.set_value(StoreName::Head, key.clone(), value.clone());
        assert_eq!(kept(&store), ["q"]);
    }
}
