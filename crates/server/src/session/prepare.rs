//! What wanted queries mean: permissions put in, or asked of the app.

use std::collections::BTreeSet;
use std::sync::Arc;

use landfall_protocol::{Downstream, ErrorBody, ErroredQuery, ErroredQueryKind, QueryText};
use landfall_zql::ast::Ast;

use super::connection::{Connection, ConnectionContext, ConnectionId, Progress};
use super::contract::Effect;
use super::group::Group;
use crate::cvr::QueryDefinition;
use crate::queries::PreparedQuery;

/// An answer of the query endpoint.
pub struct Transformed {
    /// The connection on whose behalf it was asked.
    pub connection: ConnectionId,
    /// True when running queries are only refreshed.
    pub background: bool,
    /// Each query, or one error for all.
    pub outcome: Result<TransformedQueries, Box<ErrorBody>>,
}

/// What queries mean, by hash, or why each failed.
pub type TransformedQueries = Vec<(String, Result<Ast, ErroredQuery>)>;

/// A query to be named to the query endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedQuery {
    /// Its hash.
    pub hash: String,
    /// Its name.
    pub name: String,
    /// Its arguments, JSON text of an array.
    pub args: String,
}

/// Which queries to find out about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Prepare {
    /// Those that are not known.
    Missing,
    /// The same, and the connection is new: it is to be checked.
    Connected,
    /// All.
    Again,
}

/// How long an answer about named queries serves new connections with the same token.
const TRANSFORM_CACHE_MS: u64 = 5_000;
/// The report of a query that this server refuses.
pub(super) fn errored(hash: &str, name: &str, message: String) -> ErroredQuery {
    ErroredQuery {
        error: ErroredQueryKind::App,
        id: hash.to_owned(),
        name: name.to_owned(),
        message: Some(message),
        details: None,
    }
}

impl Group {
    /// Finds out what each wanted query is.
    pub(super) fn prepare_queries(&mut self, context: &Arc<ConnectionContext>, what: Prepare) {
        // Permissions were bound to the claims of an earlier connection; others may mean other rows.
        let rebind = self.claims != context.auth.claims;
        self.claims = context.auth.claims.clone();
        let again = what == Prepare::Again || rebind;
        // A new connection may have other rights at the app than those before it.
        let fresh = self.now_ms < self.transformed_at + TRANSFORM_CACHE_MS
            && self.token == context.auth.token;
        let ask_again = again || (what == Prepare::Connected && !fresh);
        self.token = context.auth.token.clone();
        let mut named = Vec::new();
        let definitions: Vec<(String, QueryDefinition)> = self
            .record
            .queries
            .iter()
            .filter(|_| self.unfit.is_none())
            .map(|(h, d)| (h.clone(), d.clone()))
            .collect();
        for (hash, definition) in definitions {
            let query = self.queries.entry(hash.clone()).or_default();
            let known = query.prepared.is_some() || query.failed.is_some();
            let renew = match definition {
                QueryDefinition::Ast(_) => again,
                QueryDefinition::Named { .. } => ask_again,
            };
            if query.pending || (known && !renew) {
                continue;
            }
            match definition {
                QueryDefinition::Ast(text) => {
                    let claims = context.auth.claims.as_ref();
                    let prepared = serde_json::from_str(&text)
                        .map_err(|e| e.to_string())
                        .and_then(|ast| self.rules.prepare_client_query(&ast, claims));
                    self.prepared(&hash, "", prepared);
                }
                QueryDefinition::Named { name, args } if self.rules.has_query_endpoint() => {
                    query.pending = true;
                    named.push(NamedQuery { hash, name, args });
                }
                QueryDefinition::Named { name, .. } => {
                    let message =
                        "this server has no query endpoint, so queries by name cannot be answered";
                    self.prepared(&hash, &name, Err(message.to_owned()));
                }
            }
        }
        if !named.is_empty() || (what == Prepare::Connected && self.rules.validates(context)) {
            self.transformed_at = self.now_ms;
            let context = context.clone();
            self.effects.push(Effect::Transform {
                context,
                queries: named,
                background: what == Prepare::Again,
            });
        }
    }

    fn prepared(&mut self, hash: &str, name: &str, outcome: Result<PreparedQuery, String>) {
        match outcome {
            Ok(prepared) => {
                let query = self.queries.entry(hash.to_owned()).or_default();
                query.failed = None;
                query.pending = false;
                if query
                    .prepared
                    .as_ref()
                    .is_none_or(|p| p.key != prepared.key)
                {
                    query.prepared = Some(Arc::new(prepared));
                }
                self.sync_needed = true;
            }
            Err(message) => self.query_failed(errored(hash, name, message)),
        }
    }

    /// Drops a query's rows and tells the connections why.
    pub(super) fn query_failed(&mut self, error: ErroredQuery) {
        let hash = error.id.clone();
        // What the app says about a query by name may hold values of the user's; what this server says holds none.
        let reason = error.message.as_deref().filter(|_| error.name.is_empty());
        tracing::info!(group = %self.id, query = %hash, name = error.name, reason, "query failed");
        let query = self.queries.entry(hash.clone()).or_default();
        query.prepared = None;
        query.pending = false;
        query.failed = Some(error.clone());
        if query.joined.is_some() || self.record.got(&hash).is_some() {
            self.sync_needed = true;
        }
        let wants = |c: &Connection| {
            let key = (c.context.client_id.clone(), hash.clone());
            c.progress != Progress::Waiting
                && self.record.desires.get(&key).is_some_and(|d| d.active)
        };
        let told: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, c)| wants(c))
            .map(|(id, _)| *id)
            .collect();
        for id in told {
            self.send_message(id, &Downstream::TransformError(vec![error.clone()]));
        }
    }

    pub(super) fn transformed(&mut self, answer: Transformed) {
        let asked: BTreeSet<String> = self
            .queries
            .iter()
            .filter(|(_, q)| q.pending)
            .map(|(h, _)| h.clone())
            .collect();
        match answer.outcome {
            Ok(queries) => {
                for (hash, outcome) in queries {
                    if !self.queries.contains_key(&hash) {
                        continue;
                    }
                    match outcome {
                        Ok(ast) => {
                            let name = match self.record.queries.get(&hash) {
                                Some(QueryDefinition::Named { name, .. }) => name.as_str(),
                                _ => "",
                            };
                            let prepared = self.rules.prepare_app_query(name, &ast);
                            self.prepared(&hash, "", prepared);
                        }
                        Err(error) => self.query_failed(error),
                    }
                }
                self.sync_needed = true;
            }
            Err(body) => {
                for hash in &asked {
                    if let Some(query) = self.queries.get_mut(hash) {
                        query.pending = false;
                    }
                }
                if !answer.background {
                    self.fail(answer.connection, *body);
                }
            }
        }
    }

    pub(super) fn definition(query: &QueryText) -> QueryDefinition {
        match query {
            QueryText::Ast(ast) => {
                QueryDefinition::Ast(serde_json::to_string(ast).unwrap_or_default())
            }
            QueryText::Named { name, args } => {
                let args: Vec<&str> = args.iter().map(|a| a.as_str()).collect();
                QueryDefinition::Named {
                    name: name.clone(),
                    args: format!("[{}]", args.join(",")),
                }
            }
        }
    }
}
