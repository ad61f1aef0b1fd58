//! Queries by name and mutations, as the app answers them: in this process, or at its endpoints over HTTP.

use std::sync::Arc;
use std::time::Duration;

use landfall_protocol::endpoint::mutate::MutateResponse;
use landfall_protocol::endpoint::query::{
    QueryResponse, TransformQuery, TransformedQuery, encode_request,
};
use landfall_protocol::{
    EndpointFailure, ErrorBody, ErroredQuery, ErroredQueryKind, Json, ProtocolError, Push, Reason,
    TransformFailed,
};
use landfall_zql::ast::Ast;
use reqwest::header::{
    AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName, HeaderValue, ORIGIN,
};
use tracing::Instrument as _;

use crate::app::{App, AppError, Caller};
use crate::auth::Policy;
use crate::config::{Config, Endpoint};
use crate::session::{ConnectionContext, NamedQuery, TransformedQueries};
use crate::telemetry::{TRACE, current_trace, join_trace};

/// How often a request is sent at most.
const ATTEMPTS: u32 = 4;
/// How much of an error's body is passed on.
const PREVIEW_CHARS: usize = 512;
/// The longest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// The app: its code in this process, and its endpoints.
pub struct AppEndpoints {
    app: Arc<App>,
    policy: Arc<Policy>,
    http: reqwest::Client,
    query: Option<Endpoint>,
    mutate: Option<Endpoint>,
    app_id: String,
    schema: String,
}

/// What a client hears whose user is not the one that the app's endpoint has found.
pub(super) fn another_user(endpoint: &str, context: &ConnectionContext) -> EndpointFailure {
    // Neither of the users is named: what identifies them may be a secret.
    tracing::warn!(
        endpoint,
        group = context.group_id,
        page = if context.user_id.is_some() {
            "somebody"
        } else {
            "nobody"
        },
        "the endpoint answers for another user than the page's: the `userID` that it gives to handleQueryRequest or handleMutateRequest must be the one that the page gives to ZeroProvider; does it read the same token or cookie, and is it given one (`auth`, --query-forward-cookies, --mutate-forward-cookies)?"
    );
    let message = format!("the {endpoint} endpoint sees another user");
    EndpointFailure::http(401, message.clone(), Some(message))
}

impl AppEndpoints {
    /// The endpoints of a configuration.
    pub fn new(config: &Config, app: Arc<App>, policy: Arc<Policy>, http: reqwest::Client) -> Self {
        AppEndpoints {
            app,
            policy,
            http,
            query: config.query.clone(),
            mutate: config.mutate.clone(),
            app_id: config.app_id.clone(),
            schema: config.shard_schema(),
        }
    }

    /// Whether queries by name can be answered.
    pub fn has_query(&self) -> bool {
        self.query.is_some() || self.app.has_queries()
    }

    /// Whether there is an endpoint for custom mutations.
    pub fn has_mutate(&self) -> bool {
        self.mutate.is_some()
    }

    /// Whether the query endpoint is the one to say who a connection is.
    pub fn validates(&self, context: &ConnectionContext) -> bool {
        let cookies = self.query.as_ref().is_some_and(|q| q.forward_cookies);
        self.query.is_some()
            && (context.auth.token.is_some() || (cookies && context.user_id.is_some()))
    }

    /// Finds out what queries mean for the user of a connection. Those that the app in this process does not have are
    /// asked for at the endpoint, if there is one.
    pub async fn transform(
        &self,
        context: &ConnectionContext,
        queries: &[NamedQuery],
    ) -> Result<TransformedQueries, ErrorBody> {
        let is_own = |query: &&NamedQuery| self.query.is_none() || self.app.has_query(&query.name);
        let (own, others): (Vec<&NamedQuery>, Vec<&NamedQuery>) = queries.iter().partition(is_own);
        let caller = Caller::of(context);
        let mut answers: TransformedQueries = own
            .into_iter()
            .map(|query| {
                let answer = self.resolve(query, &caller).map_err(|error| ErroredQuery {
                    error: ErroredQueryKind::App,
                    id: query.hash.clone(),
                    name: query.name.clone(),
                    details: error.details().and_then(|details| Json::of(details).ok()),
                    message: Some(error.message().to_owned()),
                });
                (query.hash.clone(), answer)
            })
            .collect();
        if self.query.is_some() && (answers.is_empty() || !others.is_empty()) {
            answers.extend(self.ask(context, &others).await?);
        }
        Ok(answers)
    }

    /// A query of the app in this process, under the app's rules.
    fn resolve(&self, query: &NamedQuery, caller: &Caller) -> Result<Ast, AppError> {
        let args = argument(&query.args)?;
        let ast = self.app.resolve(&query.name, args, caller)?;
        Ok(self.policy.own(ast, Some(caller.claims())))
    }

    async fn ask(
        &self,
        context: &ConnectionContext,
        queries: &[&NamedQuery],
    ) -> Result<TransformedQueries, ErrorBody> {
        let query_ids: Vec<String> = queries.iter().map(|q| q.hash.clone()).collect();
        let failed = |failure| {
            ErrorBody::TransformFailed(TransformFailed {
                query_ids: query_ids.clone(),
                failure,
            })
        };
        let mut asked = Vec::new();
        for query in queries {
            let args: Vec<Json> = serde_json::from_str(&query.args)
                .map_err(|e| failed(EndpointFailure::new(Reason::Parse, e.to_string())))?;
            asked.push(TransformQuery {
                id: query.hash.clone(),
                name: query.name.clone(),
                args,
            });
        }
        let Some(endpoint) = &self.query else {
            return Err(failed(EndpointFailure::new(
                Reason::Internal,
                "no query endpoint is configured",
            )));
        };
        let call = Call {
            name: "query",
            endpoint,
            url: context.query_url.as_deref(),
            headers: &context.query_headers,
            traceparent: context.traceparent.as_deref(),
        };
        let span = tracing::debug_span!(
            target: TRACE,
            "query endpoint",
            otel.kind = "client",
            group = context.group_id,
            queries = asked.len(),
        );
        join_trace(&span, context.traceparent.as_deref());
        let answer = self
            .call(
                &call,
                context,
                encode_request(&asked),
                QueryResponse::decode,
            )
            .instrument(span)
            .await
            .map_err(failed)?;
        match answer {
            QueryResponse::Queries {
                user_id: Some(user),
                ..
            } if user != context.user_id => Err(failed(another_user("query", context))),
            QueryResponse::Queries { queries, .. } => {
                Ok(queries.into_iter().map(transformed).collect())
            }
            QueryResponse::Failed(body) => Err(ErrorBody::TransformFailed(body)),
        }
    }

    /// Has mutations carried out.
    pub async fn mutate(
        &self,
        context: &ConnectionContext,
        push: &Push,
    ) -> Result<MutateResponse, EndpointFailure> {
        let Some(endpoint) = &self.mutate else {
            return Err(EndpointFailure::new(
                Reason::Internal,
                "no mutate endpoint is configured",
            ));
        };
        let body = serde_json::to_string(push)
            .map_err(|e| EndpointFailure::new(Reason::Internal, e.to_string()))?;
        let call = Call {
            name: "mutate",
            endpoint,
            url: context.push_url.as_deref(),
            headers: &context.push_headers,
            traceparent: push.traceparent.as_deref(),
        };
        let span = tracing::debug_span!(
            target: TRACE,
            "mutate endpoint",
            otel.kind = "client",
            group = context.group_id,
            mutations = push.mutations.len(),
        );
        self.call(&call, context, body, MutateResponse::decode)
            .instrument(span)
            .await
    }

    /// What an endpoint answers; why it does not is logged here, in words of our own.
    async fn call<T>(
        &self,
        call: &Call<'_>,
        context: &ConnectionContext,
        body: String,
        decode: impl FnOnce(&str) -> Result<T, ProtocolError>,
    ) -> Result<T, EndpointFailure> {
        let name = call.name;
        let decoded = self.send(call, context, body).await.and_then(|text| {
            decode(&text).map_err(|error| {
                let message = format!("the {name} endpoint answered with something else than the protocol has: {error}");
                EndpointFailure::new(Reason::Parse, message)
            })
        });
        if let Err(failure) = &decoded {
            tracing::warn!(group = context.group_id, "{}", failure.message);
        }
        decoded
    }

    async fn send(
        &self,
        call: &Call<'_>,
        context: &ConnectionContext,
        body: String,
    ) -> Result<String, EndpointFailure> {
        let name = call.name;
        let internal = |message: String| EndpointFailure::new(Reason::Internal, message);
        let url = call.address(&self.schema, &self.app_id).map_err(internal)?;
        let headers = call.headers(context);
        let mut attempt = 1;
        loop {
            let sent = self
                .http
                .post(url.clone())
                .headers(headers.clone())
                .body(body.clone())
                .send()
                .await;
            let failure = match sent {
                Ok(answer) if answer.status().is_success() => return read(answer).await,
                Ok(answer) => {
                    let status = answer.status();
                    let text = read(answer).await.unwrap_or_default();
                    let message = format!(
                        "the {name} endpoint answered with status {}",
                        status.as_u16()
                    );
                    let failure =
                        EndpointFailure::http(status.as_u16(), message, Some(preview(&text)));
                    if !status.is_server_error() {
                        return Err(failure);
                    }
                    failure
                }
                // The URL may hold a secret; it stays out of messages.
                Err(error) => internal(format!(
                    "the {name} endpoint cannot be reached: {}",
                    cause(&error.without_url())
                )),
            };
            if attempt == ATTEMPTS {
                return Err(failure);
            }
            let pause = 1000.min(100 * 2u64.pow(attempt - 1) + rand::random_range(0..100));
            tokio::time::sleep(Duration::from_millis(pause)).await;
            attempt += 1;
        }
    }
}

/// What the system said, if it was the system: the layers above say only that they failed. Other causes may name hosts,
/// which pages need not know.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    match innermost.downcast_ref::<std::io::Error>() {
        Some(system) => system.to_string(),
        None => error.to_string(),
    }
}

fn transformed(query: TransformedQuery) -> (String, Result<Ast, ErroredQuery>) {
    match query {
        TransformedQuery::Ast { id, ast, .. } => (id, Ok(*ast)),
        TransformedQuery::Errored(error) => (error.id.clone(), Err(error)),
    }
}

async fn read(mut answer: reqwest::Response) -> Result<String, EndpointFailure> {
    let broken = |message: String| EndpointFailure::new(Reason::Internal, message);
    let mut bytes = Vec::new();
    while let Some(chunk) = answer
        .chunk()
        .await
        .map_err(|e| broken(e.without_url().to_string()))?
    {
        if bytes.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(broken("the endpoint's answer is too long".to_owned()));
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes)
        .map_err(|_| EndpointFailure::new(Reason::Parse, "the endpoint's answer is not UTF-8"))
}

fn preview(text: &str) -> String {
    match text.char_indices().nth(PREVIEW_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

struct Call<'a> {
    /// Which endpoint it is, for messages.
    name: &'static str,
    endpoint: &'a Endpoint,
    url: Option<&'a str>,
    headers: &'a [(String, String)],
    /// The page's trace.
    traceparent: Option<&'a str>,
}

impl Call<'_> {
    fn address(&self, schema: &str, app_id: &str) -> Result<url::Url, String> {
        let default = self
            .endpoint
            .urls
            .first()
            .map(String::as_str)
            .unwrap_or_default();
        let chosen = self.url.unwrap_or(default);
        let mut url =
            url::Url::parse(chosen).map_err(|_| "the endpoint's address is no URL".to_owned())?;
        if self.url.is_some()
            && !self
                .endpoint
                .urls
                .iter()
                .any(|pattern| matches_pattern(pattern, &url))
        {
            return Err("the endpoint's address is not among the configured ones".to_owned());
        }
        if url
            .query_pairs()
            .any(|(name, _)| name == "schema" || name == "appID")
        {
            return Err(
                "the endpoint's address already has a parameter schema or appID".to_owned(),
            );
        }
        url.query_pairs_mut()
            .append_pair("schema", schema)
            .append_pair("appID", app_id);
        url.set_fragment(None);
        Ok(url)
    }

    /// Later ones win.
    fn headers(&self, context: &ConnectionContext) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut put = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        put(CONTENT_TYPE, "application/json");
        if let Some(key) = &self.endpoint.api_key {
            put(HeaderName::from_static("x-api-key"), key.expose());
        }
        let allowed = [
            (self.headers, &self.endpoint.allowed_client_headers),
            (
                context.headers.as_slice(),
                &self.endpoint.allowed_request_headers,
            ),
        ];
        for (given, allowed) in allowed {
            for (name, value) in given {
                let name = name.to_lowercase();
                if let (true, Ok(header)) = (allowed.contains(&name), HeaderName::try_from(name)) {
                    put(header, value);
                }
            }
        }
        if let Some(token) = &context.auth.token {
            put(AUTHORIZATION, &format!("Bearer {}", token.expose()));
        }
        let of_request = |wanted: &str| {
            context
                .headers
                .iter()
                .find(|(n, _)| n == wanted)
                .map(|(_, v)| v.as_str())
        };
        if let Some(cookie) = of_request("cookie").filter(|_| self.endpoint.forward_cookies) {
            put(COOKIE, cookie);
        }
        if let Some(origin) = of_request("origin") {
            put(ORIGIN, origin);
        }
        if let Some(trace) = current_trace(self.traceparent) {
            put(HeaderName::from_static("traceparent"), &trace);
        }
        headers
    }
}

/// The one argument of a call, from the JSON text of an array; null without one.
fn argument(args: &str) -> Result<serde_json::Value, AppError> {
    let args: Vec<serde_json::Value> =
        serde_json::from_str(args).map_err(|_| AppError::new("the arguments cannot be read"))?;
    Ok(args.into_iter().next().unwrap_or_default())
}

/// Whether a URL fits a pattern in which `*` stands for any text; query and fragment do not count.
fn matches_pattern(pattern: &str, url: &url::Url) -> bool {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    let plain = pattern.split(['?', '#']).next().unwrap_or_default();
    let pattern = url::Url::parse(plain).map_or_else(|_| plain.to_owned(), |u| u.to_string());
    glob(pattern.as_bytes(), url.as_str().as_bytes())
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match (pattern.get(p), retry) {
            (Some(b'*'), _) => {
                retry = Some((p, t));
                p += 1;
            }
            (Some(c), _) if *c == text[t] => {
                p += 1;
                t += 1;
            }
            (_, Some((star, from))) => {
                retry = Some((star, from + 1));
                p = star + 1;
                t = from + 1;
            }
            (_, None) => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn endpoint(urls: &[&str]) -> Endpoint {
        Endpoint {
            urls: urls.iter().map(|u| (*u).to_owned()).collect(),
            api_key: Some(Secret::new("key")),
            forward_cookies: true,
            allowed_client_headers: vec!["x-tenant".into()],
            allowed_request_headers: vec!["accept-language".into()],
        }
    }

    fn check(urls: &[&str], chosen: Option<&str>) -> Result<String, String> {
        let endpoint = endpoint(urls);
        Call {
            name: "query",
            endpoint: &endpoint,
            url: chosen,
            headers: &[],
            traceparent: None,
        }
        .address("zero_0", "zero")
        .map(|u| u.to_string())
    }

    #[test]
    fn addresses() {
        assert_eq!(
            check(&["http://a/q?x=1"], None),
            Ok("http://a/q?x=1&schema=zero_0&appID=zero".into())
        );
        assert_eq!(
            check(&["http://a/q"], Some("http://a/q?y#z")),
            Ok("http://a/q?y&schema=zero_0&appID=zero".into())
        );
        assert!(check(&["http://a/q"], Some("http://evil/q")).is_err());
        assert!(check(&["http://a/q?schema=s"], None).is_err());
        assert!(
            check(
                &["http://d/q", "https://*.app.dev/api/*"],
                Some("https://x.app.dev/api/q")
            )
            .is_ok()
        );
        assert!(
            check(
                &["http://d/q", "https://*.app.dev/api/*"],
                Some("https://x.app.dev/other")
            )
            .is_err()
        );
    }

    #[test]
    fn headers_are_allow_listed() {
        let endpoint = endpoint(&["http://a/"]);
        let given = [
            ("X-Tenant".to_owned(), "t".to_owned()),
            ("X-Admin".to_owned(), "1".to_owned()),
        ];
        let pairs = [
            ("cookie", "c=1"),
            ("origin", "http://o"),
            ("accept-language", "de"),
            ("host", "h"),
        ];
        let context = ConnectionContext {
            headers: pairs
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
            auth: crate::session::ConnectionAuth {
                token: Some(Secret::new("tok")),
                ..Default::default()
            },
            ..ConnectionContext::default()
        };
        let headers = Call {
            name: "query",
            endpoint: &endpoint,
            url: None,
            headers: &given,
            traceparent: None,
        }
        .headers(&context);
        let mut names: Vec<String> = headers.keys().map(|n| n.as_str().to_owned()).collect();
        names.sort();
        let expected = [
            "accept-language",
            "authorization",
            "content-type",
            "cookie",
            "origin",
            "x-api-key",
            "x-tenant",
        ];
        assert_eq!(names, expected);
        assert_eq!(headers["authorization"], "Bearer tok");
    }

    #[test]
    fn a_preview_is_cut_at_512_characters() {
        assert_eq!(preview("short"), "short");
        assert_eq!(preview(&"é".repeat(600)).chars().count(), 515);
    }
}
