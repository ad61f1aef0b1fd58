//! An app's own code in the server: queries by name, mutators, and rules, in Rust.
//!
//! ```
//! use landfall_server::app::{App, AppError};
//! use landfall_zql::builder::{Parameter, Query};
//! use serde::{Deserialize, Serialize};
//!
//! landfall_zql::tables! {
//!     pub mod note = "note" {
//!         columns { ID: String = "id", OWNER: String = "owner", TEXT: String = "text" }
//!         key (ID)
//!     }
//! }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Note { id: String, owner: String, text: String }
//!
//! #[derive(Deserialize)]
//! struct Add { id: String, text: String }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let app = App::new(catalog()?)
//!     .readable(note::Table, note::OWNER.eq(Parameter::claim("sub")))
//!     .query("note.search", |_caller, words: String| {
//!         Query::of(note::Table).filter(note::TEXT.ilike(format!("%{words}%")))
//!     })
//!     .mutator("note.add", |tx, Add { id, text }| {
//!         let owner = tx.caller().user().ok_or(AppError::new("log in first"))?.to_owned();
//!         tx.insert(note::Table, &Note { id, owner, text })?;
//!         Ok(())
//!     });
//! # let _ = app;
//! # Ok(())
//! # }
//! ```
//!
//! Leaves to others: who a caller is (`auth`), when a mutation is run and with what outcome (`push`, `upstream`).

mod answer;
mod call;
mod caller;
mod error;
mod transaction;

use std::collections::BTreeMap;
use std::sync::Arc;

use landfall_protocol::permissions::{Permissions, Policy, Rule, UpdatePolicy};
use landfall_zql::ast::Ast;
use landfall_zql::builder::{Catalog, Cond, Query, Table};
use landfall_zql::name_mapping::{To, ast_for_server, map_condition};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

pub use caller::Caller;
pub use error::AppError;
pub use transaction::{Transaction, Values};

pub(crate) use call::MutatorCall;

type NamedQuery = dyn Fn(&Catalog, &Caller, Json) -> Result<Ast, AppError> + Send + Sync;
type Mutator = dyn Fn(&mut Transaction<'_>, Json) -> Result<(), AppError> + Send + Sync;

/// What an app brings to the server. The default brings nothing.
#[derive(Default)]
pub struct App {
    catalog: Catalog,
    queries: BTreeMap<String, Box<NamedQuery>>,
    mutators: BTreeMap<String, Arc<Mutator>>,
    /// By client name of the table.
    rules: BTreeMap<&'static str, Policy>,
    setup: Option<String>,
    /// What is wrong with the declarations; the server says it when it starts.
    mistakes: Vec<String>,
}

/// What a function behind a query's name may give.
pub trait IntoQuery {
    /// The query, in client names.
    ///
    /// # Errors
    /// The query is refused, or is no query.
    fn into_ast(self) -> Result<Ast, AppError>;
}

impl<T: Table> IntoQuery for Query<T> {
    fn into_ast(self) -> Result<Ast, AppError> {
        let built = self
            .build()
            .map_err(|error| AppError::new(error.to_string()))?;
        Ok(built.ast)
    }
}

impl<Q: IntoQuery> IntoQuery for Result<Q, AppError> {
    fn into_ast(self) -> Result<Ast, AppError> {
        self?.into_ast()
    }
}

impl App {
    /// An app over these tables, without queries and mutators.
    pub fn new(catalog: Catalog) -> Self {
        App {
            catalog,
            ..App::default()
        }
    }

    /// Answers a query by name. The arguments are what the page passed; without any they are read as `()`.
    ///
    /// The function decides what the caller may ask; [read rules](App::readable) hold besides.
    #[must_use]
    pub fn query<A: DeserializeOwned, Q: IntoQuery>(
        mut self,
        name: &str,
        answer: impl Fn(&Caller, A) -> Q + Send + Sync + 'static,
    ) -> Self {
        let query = move |catalog: &Catalog, caller: &Caller, args: Json| {
            let ast = answer(caller, arguments(args)?).into_ast()?;
            ast_for_server(&ast, catalog.schema()).map_err(|error| AppError::new(error.to_string()))
        };
        if self
            .queries
            .insert(name.to_owned(), Box::new(query))
            .is_some()
        {
            self.mistakes
                .push(format!("the query {name:?} is there twice"));
        }
        self
    }

    /// Carries out mutations of this name.
    ///
    /// Its writes, its id and the client's last mutation id are one transaction, isolated from all others.
    /// It may run more than once, since a transaction may lose against another one, and it should not wait for
    /// anything but the transaction. What it refuses reaches the page as the mutation's error.
    #[must_use]
    pub fn mutator<A: DeserializeOwned>(
        mut self,
        name: &str,
        run: impl Fn(&mut Transaction<'_>, A) -> Result<(), AppError> + Send + Sync + 'static,
    ) -> Self {
        let mutator = move |tx: &mut Transaction<'_>, args: Json| run(tx, arguments(args)?);
        if self
            .mutators
            .insert(name.to_owned(), Arc::new(mutator))
            .is_some()
        {
            self.mistakes
                .push(format!("the mutator {name:?} is there twice"));
        }
        self
    }

    /// Declares who may read rows of a table; of several rules one has to hold.
    ///
    /// A rule holds at every level of every query, whoever wrote it. [`Parameter::claim`] stands for a claim of the
    /// caller's token. Queries that clients send as an AST show rows of tables with rules only.
    ///
    /// [`Parameter::claim`]: landfall_zql::builder::Parameter::claim
    #[must_use]
    pub fn readable<T: Table>(self, _: T, rule: Cond<T>) -> Self {
        self.rule(rule, |policy| &mut policy.select)
    }

    /// Declares who may insert rows into a table by CRUD; of several rules one has to hold for the new row.
    ///
    /// Rules of writes are for writes that clients send as CRUD: a mutator of the app decides for itself.
    /// A table without such a rule takes none.
    #[must_use]
    pub fn insertable<T: Table>(self, _: T, rule: Cond<T>) -> Self {
        self.rule(rule, |policy| &mut policy.insert)
    }

    /// Declares who may update rows of a table by CRUD, and what they may become: of several rules one `before` has to
    /// hold for the row as it was, and one `after` for the row as it is to be.
    #[must_use]
    pub fn updatable<T: Table>(self, _: T, before: Cond<T>, after: Cond<T>) -> Self {
        self.rule(before, |policy| &mut of_update(policy).pre_mutation)
            .rule(after, |policy| &mut of_update(policy).post_mutation)
    }

    /// Declares who may delete rows of a table by CRUD; of several rules one has to hold for the row.
    #[must_use]
    pub fn deletable<T: Table>(self, _: T, rule: Cond<T>) -> Self {
        self.rule(rule, |policy| &mut policy.delete)
    }

    fn rule<T: Table>(
        mut self,
        rule: Cond<T>,
        place: impl Fn(&mut Policy) -> &mut Option<Vec<Rule>>,
    ) -> Self {
        let schema = self.catalog.schema();
        let mapped = rule
            .into_condition()
            .map_err(|error| format!("a rule of {:?}: {error}", T::NAME))
            .and_then(|condition| {
                map_condition(&condition, T::NAME, schema, To::Server)
                    .map_err(|error| error.to_string())
            });
        match mapped {
            Ok(condition) => place(self.rules.entry(T::NAME).or_default())
                .get_or_insert_default()
                .push(Rule::allow(condition)),
            Err(mistake) => self.mistakes.push(mistake),
        }
        self
    }

    /// SQL that makes the tables of a new embedded file. A file that exists is left as it is.
    #[must_use]
    pub fn new_file(mut self, sql: &str) -> Self {
        self.setup = Some(sql.to_owned());
        self
    }

    /// What is wrong with the declarations.
    pub(crate) fn mistakes(&self) -> &[String] {
        &self.mistakes
    }

    pub(crate) fn setup(&self) -> Option<&str> {
        self.setup.as_deref()
    }

    pub(crate) fn has_queries(&self) -> bool {
        !self.queries.is_empty()
    }

    pub(crate) fn has_mutators(&self) -> bool {
        !self.mutators.is_empty()
    }

    pub(crate) fn has_query(&self, name: &str) -> bool {
        self.queries.contains_key(name)
    }

    pub(crate) fn has_mutator(&self, name: &str) -> bool {
        self.mutator_named(name).is_some()
    }

    /// Old clients join the parts of a name with `|`.
    fn mutator_named(&self, name: &str) -> Option<&Arc<Mutator>> {
        self.mutators
            .get(name)
            .or_else(|| self.mutators.get(&name.replace('|', ".")))
    }

    /// What a query by name means for a caller, in server names.
    pub(crate) fn resolve(&self, name: &str, args: Json, caller: &Caller) -> Result<Ast, AppError> {
        let Some(query) = self.queries.get(name) else {
            return Err(AppError::new(format!("there is no query {name:?}")));
        };
        call::guarded(|| query(&self.catalog, caller, args))
    }

    /// The rules as permissions, if there are any.
    pub(crate) fn permissions(&self) -> Option<Permissions> {
        let mut permissions = Permissions::default();
        for (name, rules) in &self.rules {
            // Mapping the rule's names has found the table.
            let Some(table) = self.catalog.table(name) else {
                continue;
            };
            let of_table = permissions
                .tables
                .entry(table.server_name.clone())
                .or_default();
            of_table.row = Some(rules.clone());
        }
        (!permissions.tables.is_empty()).then_some(permissions)
    }
}

fn of_update(policy: &mut Policy) -> &mut UpdatePolicy {
    policy.update.get_or_insert_default()
}

/// The arguments of a call: clients send one or none.
fn arguments<A: DeserializeOwned>(args: Json) -> Result<A, AppError> {
    serde_json::from_value(args)
        .map_err(|error| AppError::new(format!("the arguments do not fit: {error}")))
}
