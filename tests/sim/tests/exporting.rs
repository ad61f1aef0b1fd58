//! What a client holds, as text that is made in parts while the client goes on.

use landfall_sim::notes::{self, QUERIES, named, note, open};
use landfall_sim::world::{TabId, World};
use serde_json::{Value, json};

/// A part ends with the row or mutation that makes it longer than this.
const PART_BYTES: usize = 16 << 10;

/// More than any row or mutation here has.
const LONGEST: usize = 300;

/// A tab that shows some notes and tags, and has written when it was offline.
fn world(notes: usize, tags: usize, writes: usize) -> (World, TabId) {
    let mut world = notes::world();
    world.server.commit(|rows| {
        for n in 0..notes {
            rows.put("note", json!({"id": format!("{n:04}"), "n": n}));
        }
        for n in 0..tags {
            rows.put("tag", json!({"id": format!("{n:04}"), "note": "0001"}));
        }
    });
    let id = open(&mut world);
    world.tab(id).view(QUERIES[2], named(2));
    world.pass(1_000.0);
    world.network_down();
    for n in 0..writes {
        world.tab(id).mutate("upsert", &note(&format!("{n:04}")));
        world
            .tab(id)
            .mutate("upsert", &note(&format!("{n:04}-new")));
        world
            .tab(id)
            .mutate("remove", &note(&format!("{:04}", n + writes)));
    }
    world.settle();
    (world, id)
}

#[test]
fn what_happens_between_two_parts_does_not_show() {
    let (mut world, id) = world(1_000, 500, 100);
    let before: String = world.tabs[&id].client.export().collect();
    let mut export = world.tabs[&id].client.export();
    let mut parts = vec![export.next().expect("a part")];
    // A write, a poke, and the end of what waited.
    world.tab(id).mutate("upsert", &note("between"));
    world.server.commit(|rows| {
        for n in 0..1_000 {
            rows.put("note", json!({"id": format!("{n:04}"), "n": -1}));
        }
        rows.remove("note", "0999");
        rows.remove("tag", "0499");
    });
    parts.extend(export.next());
    world.network_up();
    world.pass(60_000.0);
    parts.extend(export);
    assert!(parts.len() > 5, "{} parts", parts.len());
    assert_eq!(parts.concat(), before);
    let held: Value = serde_json::from_str(&before).expect("JSON");
    let rows = |table: &str| held["tables"][table].as_array().expect("rows").clone();
    let notes = rows("note");
    assert_eq!(notes.len(), 1_000);
    for (n, row) in notes.iter().enumerate() {
        let as_given = [&row["id"], &row["n"]] == [&json!(format!("{n:04}")), &json!(n)];
        assert!(as_given, "{row} is not what was only written");
    }
    assert_eq!(rows("tag").len(), 500);
    assert_eq!(held["mutations"].as_array().map(Vec::len), Some(300));
    let now = world.tabs[&id].export();
    assert_eq!(now["mutations"], json!([]));
    assert_eq!(now["tables"]["tag"].as_array().map(Vec::len), Some(499));
}

#[test]
fn no_part_is_long() {
    for (notes, tags, writes) in [(0, 0, 0), (0, 3, 0), (2, 0, 1), (3_000, 1, 0), (0, 0, 200)] {
        let (world, id) = world(notes, tags, writes);
        let parts: Vec<String> = world.tabs[&id].client.export().collect();
        let longest = parts.iter().map(String::len).max();
        assert!(longest <= Some(PART_BYTES + LONGEST), "{longest:?}");
        let (last, others) = parts.split_last().expect("a part");
        assert!(!last.is_empty() && others.iter().all(|part| part.len() > PART_BYTES));
        let held: Value = serde_json::from_str(&parts.concat()).expect("JSON");
        let mut tables = serde_json::Map::new();
        for (table, count) in [("note", notes), ("tag", tags)] {
            if count > 0 {
                assert_eq!(held["tables"][table].as_array().map(Vec::len), Some(count));
                tables.insert(table.to_owned(), held["tables"][table].clone());
            }
        }
        assert_eq!(held["tables"], Value::Object(tables));
        assert_eq!(held["mutations"].as_array().map(Vec::len), Some(3 * writes));
    }
}
