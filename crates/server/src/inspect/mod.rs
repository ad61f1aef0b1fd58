//! The inspector: what a developer with the admin password may ask about queries.
//!
//! Leaves to others: what a group has (it is handed in), how a query is planned and read (`analyze`).

mod counted;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use landfall_protocol::{
    AnalyzeQuery, Downstream, Inspect, InspectOp, InspectReply, Json as WireJson,
};
use landfall_zql::ast::Ast;
use parking_lot::Mutex;
use serde_json::{Map, Value as Json, json};
use tokio::sync::Semaphore;

use crate::analyze::analyze_reader;
use crate::clock;
use crate::config::Secret;
use crate::cvr::QueryDefinition;
use crate::push::endpoint::AppEndpoints;
use crate::queries::PreparedQuery;
use crate::replica::Replica;
use crate::session::{ConnectionContext, NamedQuery, Outbound, Rules};
use counted::Counted;

/// Queries that are run at one time for inspectors of all groups.
const AT_ONCE: usize = 2;
/// What a wrong password costs whoever gives it, and whoever waits behind.
const WRONG_PASSWORD_PAUSE: Duration = Duration::from_millis(500);
/// Clients below this version know no answer that says what went wrong.
const ERRORS_SINCE: u32 = 36;
/// Clients below this version take the time of a hydration as a digest.
const HYDRATION_MS_SINCE: u32 = 51;
/// The accuracy that digests claim; they hold single points, so they are exact.
const COMPRESSION: f64 = 1_000.0;

/// Answers inspectors.
pub struct Inspector {
    /// The server's rules.
    pub rules: Arc<dyn Rules>,
    /// For queries by name.
    pub endpoints: Arc<AppEndpoints>,
    /// What queries are run over.
    pub replica: Replica,
    /// The password; without one only development mode lets anyone ask.
    pub password: Option<Secret>,
    /// Development mode.
    pub dev: bool,
    admitted: Mutex<BTreeSet<String>>,
    passwords: tokio::sync::Mutex<()>,
    running: Semaphore,
}

/// One client's wish for a query, and how far it is.
#[derive(Clone, Debug)]
pub struct QueryState {
    /// The client.
    pub client: String,
    /// The query's hash.
    pub hash: String,
    /// How the client named it.
    pub definition: QueryDefinition,
    /// What it means, if that is known.
    pub prepared: Option<Arc<PreparedQuery>>,
    /// Whether all of its rows have been sent.
    pub got: bool,
    /// Whether the client still wants it.
    pub active: bool,
    /// How long it stays after that.
    pub ttl_ms: u64,
    /// When the client let go, by the group's clock.
    pub inactivated_at_ms: Option<u64>,
    /// From asking the query pool to its answer.
    pub hydration_ms: Option<u64>,
}

/// A question with what the group knows about it.
pub struct Asked {
    /// Who asks.
    pub context: Arc<ConnectionContext>,
    /// Where the answer goes.
    pub outbound: Outbound,
    /// The question.
    pub question: Inspect,
    /// The group's queries.
    pub queries: Vec<QueryState>,
}

/// What went wrong, for the developer who asked.
type Failure = String;

impl Inspector {
    /// An inspector whom nobody has given the password yet.
    pub fn new(
        rules: Arc<dyn Rules>,
        endpoints: Arc<AppEndpoints>,
        replica: Replica,
        password: Option<Secret>,
        dev: bool,
    ) -> Self {
        Inspector {
            rules,
            endpoints,
            replica,
            password,
            dev,
            admitted: Mutex::default(),
            passwords: tokio::sync::Mutex::default(),
            running: Semaphore::new(AT_ONCE),
        }
    }

    /// Answers a question.
    pub async fn answer(&self, asked: Asked) {
        let (op, value) = match self.reply(&asked).await {
            Ok(answer) => answer,
            Err(_) if asked.context.protocol < ERRORS_SINCE => return,
            Err(failure) => ("error", failure.into()),
        };
        match WireJson::of(&value) {
            Ok(value) => {
                let id = asked.question.id;
                let op = op.to_owned();
                let reply = Downstream::Inspect(InspectReply { op, id, value });
                asked.outbound.text(reply.encode());
            }
            Err(error) => tracing::error!(%error, "an answer could not be written"),
        }
    }

    async fn reply(&self, asked: &Asked) -> Result<(&'static str, Json), Failure> {
        let group = &asked.context.group_id;
        if let InspectOp::Authenticate { value } = &asked.question.op {
            return Ok(("authenticated", self.admit(group, value).await.into()));
        }
        if !self.is_admitted(group) {
            return Ok(("authenticated", false.into()));
        }
        match &asked.question.op {
            InspectOp::Version => Ok(("version", env!("CARGO_PKG_VERSION").into())),
            InspectOp::Metrics => Ok(("metrics", metrics(&asked.queries))),
            InspectOp::Queries { client_id } => {
                let rows = self.queries(asked, client_id.as_deref()).await?;
                Ok(("queries", rows))
            }
            InspectOp::AnalyzeQuery(query) => {
                Ok(("analyze-query", self.analyze(asked, query).await?))
            }
            InspectOp::Authenticate { .. } => Ok(("authenticated", true.into())),
        }
    }

    fn is_admitted(&self, group: &str) -> bool {
        (self.password.is_none() && self.dev) || self.admitted.lock().contains(group)
    }

    /// Takes a password; passwords are taken one after another, so that guessing takes time.
    async fn admit(&self, group: &str, given: &str) -> bool {
        let _turn = self.passwords.lock().await;
        let right = match &self.password {
            Some(password) => password.is(given),
            None => self.dev,
        };
        if right {
            self.admitted.lock().insert(group.to_owned());
        } else {
            tracing::warn!(group, "an inspector gave a wrong password");
            tokio::time::sleep(WRONG_PASSWORD_PAUSE).await;
        }
        right
    }

    async fn queries(&self, asked: &Asked, client: Option<&str>) -> Result<Json, Failure> {
        let mut rows = Vec::new();
        let wanted = |query: &&QueryState| client.is_none_or(|client| client == query.client);
        for query in asked.queries.iter().filter(wanted) {
            let count = match &query.prepared {
                Some(prepared) if query.got => self.count(prepared.ast.clone()).await?.rows.len(),
                _ => 0,
            };
            let (ast, name, args) = match &query.definition {
                QueryDefinition::Ast(text) => (parsed(text), Json::Null, Json::Null),
                QueryDefinition::Named { name, args } => {
                    let ast = query.prepared.as_ref().map(|p| p.ast.to_json());
                    let ast = ast.map_or(Json::Null, |text| parsed(&text));
                    (ast, name.as_str().into(), parsed(args))
                }
            };
            rows.push(json!({
                "clientID": query.client,
                "queryID": query.hash,
                "ast": ast,
                "name": name,
                "args": args,
                "got": query.got,
                "deleted": !query.active,
                "ttl": query.ttl_ms,
                "inactivatedAt": query.inactivated_at_ms,
                "rowCount": count,
                "metrics": of_query(query, asked.context.protocol),
            }));
        }
        Ok(Json::Array(rows))
    }

    async fn analyze(&self, asked: &Asked, query: &AnalyzeQuery) -> Result<Json, Failure> {
        let ast = self.meaning(&asked.context, query).await?;
        let options = query.options.unwrap_or_default();
        let start = clock::now_ms();
        let counted = self.count(ast.clone()).await?;
        let replica = self.replica.clone();
        let analyzed = ast.clone();
        let analysis = blocking(move || {
            let reader = replica.reader().map_err(|error| error.to_string())?;
            analyze_reader(&reader, &analyzed).map_err(|error| error.to_string())
        })
        .await?;
        let mut read_counts = Map::new();
        let mut read = 0;
        for (at, level) in analysis.plan.levels().into_iter().enumerate() {
            let rows = level.read.as_ref().map_or(0, |read| read.rows);
            read += rows;
            let of_table = read_counts
                .entry(level.table.clone())
                .or_insert_with(|| json!({}));
            of_table[format!("level {at}")] = rows.into();
        }
        let mut warnings = analysis.warnings.clone();
        warnings.extend(counted.warning());
        let mut answer = json!({
            "warnings": warnings,
            "syncedRowCount": counted.rows.len(),
            "start": start,
            "end": clock::now_ms(),
            "elapsed": analysis.elapsed.as_secs_f64() * 1000.0,
            "afterPermissions": ast.to_json(),
            "readRowCount": read,
            "readRowCountsByQuery": read_counts,
        });
        if options.synced_rows == Some(true) {
            answer["syncedRows"] = counted.by_table();
        }
        // A key of ours; other clients ignore it.
        if asked.context.landfall {
            answer["plan"] = parsed(&analysis.plan.to_json());
        }
        Ok(answer)
    }

    /// The query as it would be run for whoever asks.
    async fn meaning(
        &self,
        context: &ConnectionContext,
        query: &AnalyzeQuery,
    ) -> Result<Arc<Ast>, Failure> {
        if let Some(ast) = query.ast.as_ref().or(query.value.as_ref()) {
            let claims = context.auth.claims.as_ref();
            return Ok(self.rules.prepare_client_query(ast, claims)?.ast);
        }
        let name = query
            .name
            .clone()
            .ok_or("neither an AST nor a name is given")?;
        let args: Vec<&str> = query.args.iter().flatten().map(WireJson::as_str).collect();
        let named = NamedQuery {
            hash: "inspected".to_owned(),
            name,
            args: format!("[{}]", args.join(",")),
        };
        let name = named.name.clone();
        let answers = self.endpoints.transform(context, &[named]).await;
        let answers = answers.map_err(|error| error.message().to_owned())?;
        match answers.into_iter().next() {
            Some((_, Ok(ast))) => Ok(self.rules.prepare_app_query(&name, &ast)?.ast),
            Some((_, Err(error))) => Err(error.message.unwrap_or_default()),
            None => Err("the app did not answer".to_owned()),
        }
    }

    async fn count(&self, ast: Arc<Ast>) -> Result<Counted, Failure> {
        // Closed never: it lives as long as the inspector.
        let _turn = self.running.acquire().await.map_err(|e| e.to_string())?;
        let replica = self.replica.clone();
        blocking(move || {
            let reader = replica.reader().map_err(|error| error.to_string())?;
            Counted::run(&reader, &ast)
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| error.to_string())?
}

/// JSON text of ours.
fn parsed(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_default()
}

/// Points as a digest: the compression, then pairs of mean and weight.
fn digest(points: impl Iterator<Item = u64>) -> Json {
    let mut points: Vec<u64> = points.collect();
    points.sort_unstable();
    let pairs = points.into_iter().flat_map(|ms| [ms as f64, 1.0]);
    std::iter::once(COMPRESSION)
        .chain(pairs)
        .collect::<Vec<f64>>()
        .into()
}

/// The times of the group's queries. What a change costs is not measured query by query: pipelines are shared.
fn metrics(queries: &[QueryState]) -> Json {
    json!({
        "query-materialization-server": digest(queries.iter().filter_map(|q| q.hydration_ms)),
        "query-update-server": digest(std::iter::empty()),
    })
}

fn of_query(query: &QueryState, protocol: u32) -> Json {
    let update = digest(std::iter::empty());
    match query.hydration_ms {
        None => Json::Null,
        Some(ms) if protocol < HYDRATION_MS_SINCE => json!({
            "query-materialization-server": digest(std::iter::once(ms)),
            "query-update-server": update,
        }),
        Some(ms) => json!({
            "query-hydration-server-ms": ms,
            "query-update-server": update,
        }),
    }
}
