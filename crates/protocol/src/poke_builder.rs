//! Builds the parts of a poke, on the server, without building the messages first.
//!
//! A part is closed after 100 changes or once its row changes reach 8 KiB, so that a client can read while the next
//! part is made and no message meets a size limit.
//! Start and end are messages of their own: one encoded body serves all connections that stand at the same version.

use crate::mutation::MutationOp;
use crate::queries_patch::DownQueryOp;
use landfall_zql::sorted_map::SortedMap;
use serde::Serialize;
use std::fmt::Write;

/// A part is closed after this many changes.
pub const PART_CHANGES: usize = 100;
/// A part is closed once its row changes reach this many bytes: sockets keep room for the largest message that they
/// have ever sent.
pub const PART_BYTES: usize = 8 << 10;

/// Collects changes and gives out bodies of `pokePart` messages.
#[derive(Debug)]
pub struct PokeBuilder {
    poke_id: String,
    bodies: Vec<String>,
    changes: usize,
    last_mutation_ids: SortedMap<String, u64>,
    desired: SortedMap<String, String>,
    got: String,
    rows: String,
    results: String,
}

impl PokeBuilder {
    /// Begins the parts of the poke with this id.
    pub fn new(poke_id: impl Into<String>) -> Self {
        Self {
            poke_id: poke_id.into(),
            bodies: Vec::new(),
            changes: 0,
            last_mutation_ids: SortedMap::new(),
            desired: SortedMap::new(),
            got: String::new(),
            rows: String::new(),
            results: String::new(),
        }
    }

    /// Mutations of `client` up to `id` are confirmed.
    pub fn last_mutation_id(&mut self, client: &str, id: u64) {
        self.last_mutation_ids.insert(client.to_owned(), id);
        self.count();
    }

    /// What `client` is known to want changes.
    pub fn desired(&mut self, client: &str, op: &DownQueryOp) {
        push_item(
            self.desired
                .get_or_insert_with(client.to_owned(), Default::default),
            op,
        );
        self.count();
    }

    /// What the group has got changes.
    pub fn got(&mut self, op: &DownQueryOp) {
        push_item(&mut self.got, op);
        self.count();
    }

    /// The stored result of a mutation changes.
    pub fn mutation_result(&mut self, op: &MutationOp) {
        push_item(&mut self.results, op);
        self.count();
    }

    /// Everything the clients hold is void.
    ///
    /// Goes into a part of its own, before everything else: a client takes it to void also what stands before it in
    /// the same part, and that includes the changes to queries.
    pub fn clear(&mut self) {
        self.flush();
        self.rows.push_str(r#"{"op":"clear"}"#);
        self.changes += 1;
        self.flush();
    }

    /// A row is new or changed; `write` appends its JSON object, with server names.
    pub fn row_put(&mut self, table: &str, write: impl FnOnce(&mut String)) {
        self.row("put", table, "value", write);
    }

    /// A row is gone; `write` appends the JSON object of its key, with server names.
    pub fn row_del(&mut self, table: &str, write: impl FnOnce(&mut String)) {
        self.row("del", table, "id", write);
    }

    fn row(&mut self, op: &str, table: &str, field: &str, write: impl FnOnce(&mut String)) {
        comma(&mut self.rows);
        // Writing to a String cannot fail.
        let _ = write!(self.rows, r#"{{"op":"{op}","tableName":"#);
        push_json(&mut self.rows, table);
        let _ = write!(self.rows, r#","{field}":"#);
        write(&mut self.rows);
        self.rows.push('}');
        self.count();
    }

    fn count(&mut self) {
        self.changes += 1;
        if self.changes >= PART_CHANGES || self.rows.len() >= PART_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.changes == 0 {
            return;
        }
        self.changes = 0;
        let mut body = String::with_capacity(self.rows.len() + self.results.len() + 256);
        body.push_str(r#"{"pokeID":"#);
        push_json(&mut body, &self.poke_id);
        if !self.last_mutation_ids.is_empty() {
            body.push_str(r#","lastMutationIDChanges":"#);
            push_json(&mut body, &self.last_mutation_ids);
            self.last_mutation_ids.clear();
        }
        if !self.desired.is_empty() {
            body.push_str(r#","desiredQueriesPatches":{"#);
            for (index, (client, ops)) in std::mem::take(&mut self.desired).into_iter().enumerate()
            {
                if index > 0 {
                    body.push(',');
                }
                push_json(&mut body, &client);
                let _ = write!(body, ":[{ops}]");
            }
            body.push('}');
        }
        for (field, list) in [
            ("gotQueriesPatch", &mut self.got),
            ("rowsPatch", &mut self.rows),
            ("mutationsPatch", &mut self.results),
        ] {
            if !list.is_empty() {
                let _ = write!(body, r#","{field}":[{list}]"#);
                list.clear();
            }
        }
        body.push('}');
        self.bodies.push(body);
    }

    /// Bodies of the parts that are complete so far, for senders that stream.
    pub fn take_bodies(&mut self) -> Vec<String> {
        std::mem::take(&mut self.bodies)
    }

    /// Bodies of all parts not yet taken: `{"pokeID":…}`, to be framed by [`part_message`] or
    /// [`chunk_frames`](crate::poke_chunk::chunk_frames).
    pub fn finish(mut self) -> Vec<String> {
        self.flush();
        self.bodies
    }
}

/// The text message that holds one body of a part.
pub fn part_message(body: &str) -> String {
    format!(r#"["pokePart",{body}]"#)
}

fn comma(list: &mut String) {
    if !list.is_empty() {
        list.push(',');
    }
}

fn push_item<T: Serialize>(list: &mut String, item: &T) {
    comma(list);
    push_json(list, item);
}

fn push_json<T: Serialize + ?Sized>(out: &mut String, value: &T) {
    // Only strings, counters and our own operations come here, and a String takes every write.
    out.push_str(
        &serde_json::to_string(value).expect("strings, counters and operations have a JSON form"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poke::{PokePart, RowOp};
    use proptest::prelude::*;

    fn put(hash: &str) -> DownQueryOp {
        DownQueryOp::Put {
            hash: hash.to_owned(),
        }
    }

    #[test]
    fn one_small_part() {
        let mut builder = PokeBuilder::new("4e68aa");
        builder.row_put("issue", |out| out.push_str(r#"{"id":"1"}"#));
        builder.row_del("issue", |out| out.push_str(r#"{"id":"2"}"#));
        builder.last_mutation_id("c", 1);
        builder.desired("c", &put("h"));
        builder.got(&put("h"));
        assert_eq!(
            builder.finish(),
            [
                r#"{"pokeID":"4e68aa","lastMutationIDChanges":{"c":1},"desiredQueriesPatches":{"c":[{"op":"put","hash":"h"}]},"gotQueriesPatch":[{"op":"put","hash":"h"}],"rowsPatch":[{"op":"put","tableName":"issue","value":{"id":"1"}},{"op":"del","tableName":"issue","id":{"id":"2"}}]}"#
            ]
        );
    }

    #[test]
    fn nothing_makes_no_part() {
        assert!(PokeBuilder::new("00").finish().is_empty());
    }

    #[test]
    fn clear_comes_alone_and_first() {
        let mut builder = PokeBuilder::new("1");
        builder.clear();
        builder.got(&put("h"));
        assert_eq!(
            builder.finish(),
            [
                r#"{"pokeID":"1","rowsPatch":[{"op":"clear"}]}"#,
                r#"{"pokeID":"1","gotQueriesPatch":[{"op":"put","hash":"h"}]}"#
            ]
        );
    }

    #[test]
    fn parts_close_by_count_and_by_size() {
        let mut builder = PokeBuilder::new("1");
        for _ in 0..250 {
            builder.row_put("t", |out| out.push_str("{}"));
        }
        assert_eq!(builder.take_bodies().len(), 2);
        assert_eq!(builder.finish().len(), 1);
        let mut builder = PokeBuilder::new("1");
        let big = format!(r#"{{"a":"{}"}}"#, "x".repeat(PART_BYTES / 4));
        for _ in 0..4 {
            builder.row_put("t", |out| out.push_str(&big));
        }
        assert_eq!(builder.take_bodies().len(), 1);
        assert!(builder.finish().is_empty());
    }

    proptest! {
        #[test]
        fn every_change_arrives_once_and_in_order(tables in prop::collection::vec(".{0,5}", 0..300)) {
            let mut builder = PokeBuilder::new("a\"b");
            for (index, table) in tables.iter().enumerate() {
                builder.row_put(table, |out| { let _ = write!(out, r#"{{"i":{index}}}"#); });
            }
            let mut seen = Vec::new();
            for body in builder.finish() {
                let part: PokePart<'_> = serde_json::from_str(&body).expect("a part");
                prop_assert_eq!(&part.poke_id, "a\"b");
                prop_assert!(part.rows_patch.len() <= PART_CHANGES);
                for op in part.rows_patch {
                    let RowOp::Put { table, value } = op else { panic!("a put") };
                    prop_assert_eq!(value.get(), format!(r#"{{"i":{}}}"#, seen.len()));
                    seen.push(table.into_owned());
                }
            }
            prop_assert_eq!(seen, tables);
        }
    }
}
