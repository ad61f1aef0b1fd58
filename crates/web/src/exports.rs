//! [`Core`]: what JavaScript can call. Few and dull; each call translates and passes on.
//!
//! After every call JavaScript takes the effects with [`Core::take`].
//! An error is thrown as an `Error` whose `name` is a stable code.

use crate::host::Host;
use crate::startup::Startup;
use js_sys::{Error, Function};
use landfall_client::json::to_text;
use landfall_client::{
    ClientError, ErrorSource, MutationError, QuerySource, TxId, ViewId, ViewRequest, WriteOp,
};
use std::rc::Rc;
use wasm_bindgen::prelude::*;
use web_sys::IdbDatabase;

/// A running client.
#[wasm_bindgen]
pub struct Core {
    host: Rc<Host>,
}

/// JSON text that is made in parts.
#[wasm_bindgen]
pub struct Export {
    parts: landfall_client::Export,
}

#[wasm_bindgen]
impl Export {
    /// The next part, of some kilobytes.
    pub fn next_part(&mut self) -> Option<String> {
        self.parts.next()
    }
}

#[wasm_bindgen]
impl Core {
    /// Makes a client, to be started by [`Core::start`] in another task. `options` is JSON text, `entropy` 32 fresh random
    /// bytes.
    /// `notify` is called from a task of its own when effects wait that no call of JavaScript brought about;
    /// `report_panic` is called with the message of a panic, and must not call this object again.
    /// `database` is the client's, if it is open already; it is closed with the client.
    #[wasm_bindgen(constructor)]
    pub fn new(
        options: &str,
        entropy: &[u8],
        notify: Function,
        report_panic: Function,
        database: Option<IdbDatabase>,
    ) -> Result<Core, Error> {
        crate::panic::install(report_panic);
        let startup = Startup::parse(options, entropy).map_err(|text| error("argument", &text))?;
        let host = Host::new(startup, notify, database).map_err(|refused| thrown(&refused))?;
        Ok(Core { host })
    }

    /// Begins to work. To be called once, before anything else that changes the client.
    pub fn start(&self) {
        self.host.start();
    }

    /// Has the browser compile what is likely to be called later, a little at a time; whether there is more. For moments in
    /// which the page has nothing to do.
    pub fn warm_up(&self) -> bool {
        self.host.warm_up()
    }

    /// This module's memory, in which the letters of [`Core::take`] are read.
    #[wasm_bindgen(unchecked_return_type = "WebAssembly.Memory")]
    pub fn memory(&self) -> JsValue {
        wasm_bindgen::memory()
    }

    /// The address of a letter with all effects that wait, or 0; its form is told in `outgoing.rs`.
    pub fn take(&self) -> u32 {
        let has_outward = self.host.has_outward();
        self.host.outbox().take(has_outward)
    }

    /// Sends and stores what waits for the page to be shown a change first: to be called after a letter that says so.
    /// Tells whether something waits for JavaScript now.
    pub fn carry_outward(&self) -> bool {
        self.host.carry_outward();
        !self.host.outbox().is_empty()
    }

    /// The effects of the letter that are texts, as JSON text of a list.
    pub fn texts(&self) -> String {
        self.host.outbox().texts()
    }

    /// JSON text of tables and columns in the order in which flushes number them.
    pub fn layout(&self) -> String {
        self.host.read(|client| client.layout())
    }

    /// Opens a view or, if not `materialize`, a preload. `source` is `local`, `ast` or `named`.
    pub fn view(
        &self,
        ast: String,
        source: &str,
        name: Option<String>,
        args: Option<String>,
        ttl_ms: f64,
        materialize: bool,
    ) -> Result<u32, Error> {
        let source = match (source, name, args) {
            ("local", ..) => QuerySource::Local,
            ("ast", ..) => QuerySource::Ast,
            ("named", Some(name), Some(args_json)) => QuerySource::Named { name, args_json },
            _ => return Err(error("argument", "a query has an unknown source")),
        };
        let request = ViewRequest {
            ast_json: ast,
            source,
            ttl_ms,
            materialize,
        };
        self.host.pause_warm_up();
        self.call(|client, now| client.view(now, request))
            .map(|view| view.0)
    }

    /// Changes the TTL of a view.
    pub fn set_ttl(&self, view: u32, ttl_ms: f64) -> Result<(), Error> {
        self.call(|client, now| client.set_ttl(now, ViewId(view), ttl_ms))
    }

    /// Closes a view.
    pub fn drop_view(&self, view: u32) -> Result<(), Error> {
        self.call(|client, now| client.drop_view(now, ViewId(view)))
    }

    /// Asks the server again for a query that failed.
    pub fn retry(&self, view: u32) -> Result<(), Error> {
        self.call(|client, now| client.retry(now, ViewId(view)))
    }

    /// Runs a query once on what is visible: the address of the operands of a flush.
    /// What waits in [`Core::take`] must be taken before, since the answer goes on from it.
    pub fn run(&self, ast: &str) -> Result<u32, Error> {
        let flush = self.call(|client, _| client.run(ast))?;
        Ok(self.host.outbox().answer(flush))
    }

    /// Runs a query once on what is visible, and gives how as JSON text.
    pub fn analyze(&self, ast: &str) -> Result<String, Error> {
        self.call(|client, _| client.analyze(ast))
    }

    /// Sends the server a question of the inspector; an effect brings the answer.
    pub fn inspect(&self, question: &str) -> Result<(), Error> {
        self.call(|client, now| client.inspect(now, question))
    }

    /// Calls a mutator; the effects tell when to run it.
    pub fn mutate(&self, name: &str, args: &str) -> Result<u32, Error> {
        self.call(|client, now| client.mutate(now, name, args))
            .map(|call| call.0)
    }

    /// A write of a running mutator. `op`: 0 insert, 1 upsert, 2 update, 3 delete.
    pub fn write(&self, tx: u32, table: &str, op: u8, row: &str) -> Result<(), Error> {
        let op = match op {
            0 => WriteOp::Insert,
            1 => WriteOp::Upsert,
            2 => WriteOp::Update,
            3 => WriteOp::Delete,
            _ => return Err(error("argument", "a write has an unknown operation")),
        };
        self.within(|client| client.write(TxId(tx), table, op, row))
    }

    /// A query of a running mutator; as [`Core::run`].
    pub fn read(&self, tx: u32, ast: &str) -> Result<u32, Error> {
        let flush = self.within(|client| client.read(TxId(tx), ast))?;
        Ok(self.host.outbox().answer(flush))
    }

    /// Whether the page is neither hidden nor left: if it is, it may have no other turn.
    pub fn has_turns(&self) -> bool {
        self.host.has_turns()
    }

    /// A mutator has ended; without `source` it succeeded. `source` is `app` or `zero`.
    pub fn settle(
        &self,
        tx: u32,
        source: Option<String>,
        message: Option<String>,
        details: Option<String>,
    ) -> Result<(), Error> {
        let result = match source.as_deref() {
            None => Ok(()),
            Some(source) => Err(MutationError {
                source: match source {
                    "app" => ErrorSource::App,
                    _ => ErrorSource::Zero,
                },
                message: message.unwrap_or_default(),
                details,
            }),
        };
        self.call(|client, now| {
            client.settle(now, TxId(tx), result);
            Ok(())
        })
    }

    /// Brings a new token, if there is one, and goes on from *needs-auth* and *error*.
    pub fn connect(&self, auth: Option<String>) -> Result<(), Error> {
        self.call(|client, now| {
            client.connect(now, auth);
            Ok(())
        })
    }

    /// What is sent from now on belongs to this trace, or to none.
    pub fn set_traceparent(&self, traceparent: Option<String>) -> Result<(), Error> {
        self.call(|client, now| {
            client.set_traceparent(now, traceparent);
            Ok(())
        })
    }

    /// Tells a client with the role `held` the names of the databases of earlier schemas; it reads what they hold.
    pub fn earlier(&self, names: Vec<String>) {
        self.host.ask_earlier(&names);
    }

    /// A client with the role `held` may connect.
    pub fn release(&self) -> Result<(), Error> {
        self.call(|client, now| {
            client.release(now);
            Ok(())
        })
    }

    /// Everything that is local as it is now: rows, pending and failed mutations.
    pub fn export_json(&self) -> Export {
        let parts = self.host.read(|client| client.export());
        Export { parts }
    }

    /// JSON text of the pending, failed and uncertain mutations: a list of those that this has not told yet, and, for the
    /// others, of pairs of places in the list that it told last, from the first place up to, not including, the second.
    pub fn mutations(&self) -> String {
        to_text(&self.host.within(|client| client.changed_mutations()))
    }

    /// Forgets a failed or uncertain mutation.
    pub fn clear_outcome(&self, client_id: &str, mutation_id: f64) -> Result<(), Error> {
        self.call(|client, now| {
            // JavaScript's numbers are whole and far below 2^53 here.
            client.clear_outcome(now, client_id, mutation_id as u64);
            Ok(())
        })
    }

    /// Closes for good; the effect `closed` follows when everything is stored and let go.
    pub fn close(&self) -> Result<(), Error> {
        self.call(|client, now| {
            client.close(now);
            Ok(())
        })
    }

    fn call<T>(
        &self,
        call: impl FnOnce(&mut landfall_client::Client, f64) -> Result<T, ClientError>,
    ) -> Result<T, Error> {
        self.host.enter(call).map_err(|refused| thrown(&refused))
    }

    fn within<T>(
        &self,
        call: impl FnOnce(&mut landfall_client::Client) -> Result<T, ClientError>,
    ) -> Result<T, Error> {
        self.host.within(call).map_err(|refused| thrown(&refused))
    }
}

fn thrown(refused: &ClientError) -> Error {
    error(refused.code(), &refused.to_string())
}

fn error(code: &str, message: &str) -> Error {
    let error = Error::new(message);
    error.set_name(code);
    error
}
