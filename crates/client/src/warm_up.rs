//! The warm-up: browsers compile a function of WebAssembly when it is called first, in the page's own thread. The functions
//! that make the first answers and the first write take longer to compile than to run, so they are called once when nobody
//! waits for them: a client of its own, without storage and server, writes two rows, answers queries and changes the rows.
//!
//! What first views need comes first, for the time in which the page waits for its storage; the rest is for moments in
//! which the page has nothing to do.

use crate::client::Client;
use crate::effect::Effect;
use crate::event::Event;
use crate::options::Options;
use crate::request::{QuerySource, ViewRequest, WriteOp};
use landfall_store::{BackendFailure, StoreFailure};

const SCHEMA: &str = r#"{"tables":{"t":{"name":"t","columns":{"id":{"type":"string"},"n":{"type":"number"}},"primaryKey":["id"]}}}"#;

/// What most first queries have, a little more in each: an order, a condition and a limit, related rows. Then what others
/// have: a subquery in a condition, related rows of related rows with a limit.
const QUERIES: [&str; 5] = [
    r#"{"table":"t","orderBy":[["id","asc"]]}"#,
    r#"{"table":"t","where":{"type":"simple","op":">=","left":{"type":"column","name":"n"},"right":{"type":"literal","value":0}},"limit":2,"orderBy":[["n","desc"],["id","asc"]]}"#,
    r#"{"table":"t","related":[{"correlation":{"parentField":["id"],"childField":["id"]},"subquery":{"table":"t","alias":"u","orderBy":[["id","asc"]]}}],"orderBy":[["id","asc"]]}"#,
    r#"{"table":"t","where":{"type":"or","conditions":[{"type":"simple","op":"=","left":{"type":"column","name":"n"},"right":{"type":"literal","value":1}},{"type":"correlatedSubquery","op":"EXISTS","related":{"correlation":{"parentField":["id"],"childField":["id"]},"subquery":{"table":"t","alias":"u"}}}]},"limit":1,"orderBy":[["n","desc"],["id","asc"]]}"#,
    r#"{"table":"t","related":[{"correlation":{"parentField":["id"],"childField":["id"]},"subquery":{"table":"t","alias":"u","limit":1,"orderBy":[["n","asc"],["id","asc"]],"related":[{"correlation":{"parentField":["id"],"childField":["id"]},"subquery":{"table":"t","alias":"v","orderBy":[["id","asc"]]}}]}}],"limit":1,"orderBy":[["n","desc"],["id","asc"]]}"#,
];

/// So many of them are for first views.
const FIRST: usize = 3;

/// Rows before there are views, and then each kind of change for all of them.
const ROWS: [Write; 2] = [
    (WriteOp::Insert, r#"{"id":"a","n":1}"#),
    (WriteOp::Insert, r#"{"id":"b","n":2.5}"#),
];
const CHANGES: [Write; 3] = [
    (WriteOp::Update, r#"{"id":"a","n":3}"#),
    (WriteOp::Delete, r#"{"id":"b"}"#),
    (WriteOp::Upsert, r#"{"id":"c","n":2}"#),
];

type Write = (WriteOp, &'static str);

/// Warms up in steps, one for a task of the page, so that none of these compiles much.
#[derive(Default)]
pub struct WarmUp {
    client: Option<Box<Client>>,
    steps: usize,
}

impl WarmUp {
    /// Does the next step; whether there are more. Nothing that happens here is seen anywhere else.
    pub fn step(&mut self) -> bool {
        self.steps += 1;
        match (self.steps, &mut self.client) {
            (1, _) => self.client = begin(),
            (2, Some(client)) => write(client, &ROWS),
            (step, Some(client)) => match QUERIES.get(step - 3) {
                Some(query) => show(client, query),
                None if step == QUERIES.len() + 3 => write(client, &CHANGES),
                None => self.client = None,
            },
            _ => {}
        }
        self.client.is_some()
    }

    /// Whether the next step is for first views.
    pub fn is_for_first_views(&self) -> bool {
        self.steps < FIRST + 2
    }
}

// A client that has learnt that there is no storage. None of these can fail; if one did, less would be compiled.
fn begin() -> Option<Box<Client>> {
    let mut client = Client::new(0.0, Options::new(SCHEMA, [0; 32])).ok()?;
    for effect in client.take_effects() {
        if let Effect::Store { request, .. } = effect {
            let result = Err(StoreFailure::Backend {
                kind: BackendFailure::Unavailable,
                message: String::new(),
            });
            client.handle(0.0, Event::Stored { request, result });
        }
    }
    client.take_effects();
    Some(Box::new(client))
}

fn write(client: &mut Client, writes: &[Write]) {
    let _called = client.mutate(0.0, "m", "[null]");
    let run = |effect: &Effect| match effect {
        Effect::RunMutator { tx, .. } => Some(*tx),
        _ => None,
    };
    if let Some(tx) = client.take_effects().iter().find_map(run) {
        for (op, row) in writes {
            let _written = client.write(tx, "t", *op, row);
            let _read = client.read(tx, QUERIES[0]);
        }
        client.settle(0.0, tx, Ok(()));
        client.go_out(0.0);
    }
    client.take_effects();
}

fn show(client: &mut Client, query: &str) {
    let request = ViewRequest {
        ast_json: query.to_owned(),
        source: QuerySource::Local,
        ttl_ms: 0.0,
        materialize: true,
    };
    let _opened = client.view(0.0, request);
    client.take_effects();
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_zql::ValueRef;

    #[test]
    fn every_step_does_what_it_is_for() {
        let mut client = begin().expect("a client");
        assert!(client.is_loaded());
        write(&mut client, &ROWS);
        assert_eq!(client.visible.rows().count(), 2);
        for (n, query) in (1..).zip(QUERIES) {
            show(&mut client, query);
            assert!(client.is_filled(crate::effect::ViewId(n)));
        }
        write(&mut client, &CHANGES);
        let rows = client.visible.rows().map(|(_, row)| row.get(0));
        assert!(rows.eq(["a", "c"].map(ValueRef::String)));
    }

    #[test]
    fn there_is_an_end() {
        let mut warm_up = WarmUp::default();
        let steps = [(); 10].map(|()| (warm_up.is_for_first_views(), warm_up.step()));
        let first = [(true, true); 5];
        let rest = [
            (false, true),
            (false, true),
            (false, true),
            (false, false),
            (false, false),
        ];
        assert_eq!(steps, [first, rest].concat()[..]);
    }
}
