//! The warm-up: browsers compile a function of WebAssembly when it is called first, in the page's own thread. The functions
//! that make the first answers and the first write take longer to compile than to run, so they are called once when nobody
//! waits for them: a client of its own, without storage and server, writes two rows, answers queries and changes the rows.
//!
//! What first views need comes first, for the time in which the page waits for its storage; the rest is for moments in
//! which the page has nothing to do.

use crate::client::Client;
use crate::effect::{Effect, TxId};
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

/// What is done in a step of its own.
#[derive(Clone, Copy)]
enum Step {
    /// Calls a mutator.
    Call,
    /// Its writes and reads.
    Write(WriteOp, &'static str),
    Read,
    /// Ends it.
    Settle,
    /// Opens a view.
    Show(&'static str),
}
use Step::{Call, Read, Settle, Show, Write};

/// Rows and first views of them; other views, and then each kind of change for all of them.
const STEPS: [Step; 15] = [
    Call,
    Write(WriteOp::Insert, r#"{"id":"a","n":1}"#),
    Read,
    Write(WriteOp::Insert, r#"{"id":"b","n":2.5}"#),
    Settle,
    Show(QUERIES[0]),
    Show(QUERIES[1]),
    Show(QUERIES[2]),
    Show(QUERIES[3]),
    Show(QUERIES[4]),
    Call,
    Write(WriteOp::Update, r#"{"id":"a","n":3}"#),
    Write(WriteOp::Delete, r#"{"id":"b"}"#),
    Write(WriteOp::Upsert, r#"{"id":"c","n":2}"#),
    Settle,
];

/// So many of them are for first views.
const FIRST: usize = 8;

/// Warms up in steps, one for a task of the page, so that none of these compiles much.
#[derive(Default)]
pub struct WarmUp {
    client: Option<Box<Client>>,
    tx: Option<TxId>,
    steps: usize,
}

impl WarmUp {
    /// Does the next step; whether there are more. Nothing that happens here is seen anywhere else.
    pub fn step(&mut self) -> bool {
        match (&mut self.client, self.steps) {
            (client, 0) => *client = begin(),
            (Some(client), done) => match STEPS.get(done - 1) {
                Some(step) => step.go(client, &mut self.tx),
                None => self.client = None,
            },
            _ => {}
        }
        self.steps += 1;
        self.client.is_some()
    }

    /// Whether the next step is for first views.
    pub fn is_for_first_views(&self) -> bool {
        self.steps <= FIRST
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

impl Step {
    fn go(self, client: &mut Client, tx: &mut Option<TxId>) {
        match (self, *tx) {
            (Call, _) => {
                let _called = client.mutate(0.0, "m", "[null]");
                *tx = client
                    .take_effects()
                    .iter()
                    .find_map(|effect| match effect {
                        Effect::RunMutator { tx, .. } => Some(*tx),
                        _ => None,
                    });
            }
            (Write(op, row), Some(tx)) => {
                let _written = client.write(tx, "t", op, row);
            }
            (Read, Some(tx)) => {
                let _read = client.read(tx, QUERIES[0]);
            }
            (Settle, Some(tx)) => {
                client.settle(0.0, tx, Ok(()));
                client.go_out(0.0);
            }
            (Show(query), _) => {
                let request = ViewRequest {
                    ast_json: query.to_owned(),
                    source: QuerySource::Local,
                    ttl_ms: 0.0,
                    materialize: true,
                };
                let _opened = client.view(0.0, request);
            }
            _ => {}
        }
        client.take_effects();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::ViewId;
    use landfall_zql::ValueRef;

    fn rows(client: &Client) -> Vec<ValueRef<'_>> {
        let rows = client.visible.rows();
        rows.map(|(_, row)| row.get(0)).collect()
    }

    #[test]
    fn every_step_does_what_it_is_for() {
        let mut client = begin().expect("a client");
        assert!(client.is_loaded());
        let mut tx = None;
        let mut views = 0;
        for step in STEPS {
            step.go(&mut client, &mut tx);
            if let Show(_) = step {
                views += 1;
                assert!(client.is_filled(ViewId(views)));
                assert_eq!(rows(&client), ["a", "b"].map(ValueRef::String));
            }
        }
        assert_eq!(views as usize, QUERIES.len());
        assert_eq!(rows(&client), ["a", "c"].map(ValueRef::String));
    }

    #[test]
    fn there_is_an_end() {
        let mut warm_up = WarmUp::default();
        let steps = [(); 18].map(|()| (warm_up.is_for_first_views(), warm_up.step()));
        let is_first = |n| n <= FIRST;
        let has_more = |n| n <= STEPS.len();
        assert!(
            steps
                .into_iter()
                .eq((0..18).map(|n| (is_first(n), has_more(n))))
        );
    }
}
