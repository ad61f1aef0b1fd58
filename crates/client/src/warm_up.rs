//! The warm-up: browsers compile a function of WebAssembly when it is called first, in the page's own thread. The functions
//! that make the first answer take longer to compile than to run, so they are called once while the page waits for its
//! storage: a client of its own, without storage and server, writes two rows and answers three queries.

use crate::client::Client;
use crate::effect::{Effect, TxId};
use crate::event::Event;
use crate::options::Options;
use crate::request::{QuerySource, ViewRequest, WriteOp};
use landfall_store::{BackendFailure, StoreFailure};

const SCHEMA: &str = r#"{"tables":{"t":{"name":"t","columns":{"id":{"type":"string"},"n":{"type":"number"}},"primaryKey":["id"]}}}"#;

/// What most first queries have, a little more in each: an order, a condition and a limit, related rows.
const QUERIES: [&str; 3] = [
    r#"{"table":"t","orderBy":[["id","asc"]]}"#,
    r#"{"table":"t","where":{"type":"simple","op":">=","left":{"type":"column","name":"n"},"right":{"type":"literal","value":0}},"limit":2,"orderBy":[["n","desc"],["id","asc"]]}"#,
    r#"{"table":"t","related":[{"correlation":{"parentField":["id"],"childField":["id"]},"subquery":{"table":"t","alias":"u","orderBy":[["id","asc"]]}}],"orderBy":[["id","asc"]]}"#,
];

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
            (2, Some(client)) => write(client),
            (step, Some(client)) => match QUERIES.get(step - 3) {
                Some(query) => show(client, query),
                None => self.client = None,
            },
            _ => {}
        }
        self.client.is_some()
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

fn write(client: &mut Client) {
    let _called = client.mutate(0.0, "m", "[null]");
    let run = |effect: &Effect| match effect {
        Effect::RunMutator { tx, .. } => Some(*tx),
        _ => None,
    };
    if let Some(tx) = client.take_effects().iter().find_map(run) {
        put(client, tx);
        client.settle(0.0, tx, Ok(()));
    }
    client.take_effects();
}

fn put(client: &mut Client, tx: TxId) {
    for row in [r#"{"id":"a","n":1}"#, r#"{"id":"b","n":2.5}"#] {
        let _written = client.write(tx, "t", WriteOp::Insert, row);
    }
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

    #[test]
    fn every_step_does_what_it_is_for() {
        let mut client = begin().expect("a client");
        assert!(client.is_loaded());
        write(&mut client);
        assert_eq!(client.visible.rows().count(), 2);
        for (n, query) in (1..).zip(QUERIES) {
            show(&mut client, query);
            assert!(client.is_filled(crate::effect::ViewId(n)));
        }
    }

    #[test]
    fn there_is_an_end() {
        let mut warm_up = WarmUp::default();
        assert_eq!(
            [(); 7].map(|()| warm_up.step()),
            [true, true, true, true, true, false, false]
        );
    }
}
