//! The URL of a connection, written by the client and read by the server.
//!
//! `<ws|wss>://<host>[/<component>]/sync/v<version>/connect?<parameters>`

use crate::error::{CacheUrlError, HandshakeError};
use crate::percent::{escape, unescape};
use landfall_zql::write_number;
use std::fmt::Write;

/// What a client says about itself in the URL. Tokens never stand here.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ConnectParams {
    /// This instance of the client.
    pub client_id: String,
    /// The group that shares its store.
    pub client_group_id: String,
    /// The user; absent when logged out.
    pub user_id: Option<String>,
    /// What the client has; absent if it has nothing.
    pub base_cookie: Option<String>,
    /// Milliseconds since the page was loaded; for logs.
    pub ts: f64,
    /// The client's last confirmed mutation id; servers do not use it.
    pub lmid: u64,
    /// Names this attempt; comes back in `connected`.
    pub wsid: String,
    /// Names the browser profile, for statistics.
    pub profile_id: Option<String>,
    /// The client logs timings.
    pub debug_perf: bool,
    /// Asks our server for its extension, up to this version.
    pub landfall: Option<u32>,
}

/// A connection as the server sees it in the URL.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectRequest {
    /// The protocol version in the path, not yet checked.
    pub version: u32,
    /// The parameters.
    pub params: ConnectParams,
}

/// The names of our parameters; others are the server's own, given back to it by `reconnectParams`.
const NAMES: [&str; 10] = [
    "clientID",
    "clientGroupID",
    "userID",
    "baseCookie",
    "ts",
    "lmid",
    "wsid",
    "profileID",
    "debugPerf",
    "landfall",
];

impl ConnectParams {
    /// The URL to connect to. `reconnect_params` come from the last back-off error; colliding names are skipped.
    pub fn url(
        &self,
        cache_url: &str,
        version: u32,
        reconnect_params: &[(String, String)],
    ) -> Result<String, CacheUrlError> {
        let mut url = socket_base(cache_url)?;
        // Writing to a String cannot fail.
        let _ = write!(url, "/sync/v{version}/connect?clientID=");
        escape(&self.client_id, &mut url);
        let mut add = |name: &str, value: &str| {
            url.push('&');
            escape(name, &mut url);
            url.push('=');
            escape(value, &mut url);
        };
        add("clientGroupID", &self.client_group_id);
        if let Some(user_id) = &self.user_id {
            add("userID", user_id);
        }
        add(
            "baseCookie",
            self.base_cookie.as_deref().unwrap_or_default(),
        );
        let mut ts = String::new();
        write_number(self.ts, &mut ts);
        add("ts", &ts);
        add("lmid", &self.lmid.to_string());
        add("wsid", &self.wsid);
        if let Some(profile_id) = &self.profile_id {
            add("profileID", profile_id);
        }
        if self.debug_perf {
            add("debugPerf", "true");
        }
        if let Some(version) = self.landfall {
            add("landfall", &version.to_string());
        }
        for (name, value) in reconnect_params {
            if !NAMES.contains(&name.as_str()) {
                add(name, value);
            }
        }
        Ok(url)
    }
}

/// Checks the application's server address: what a client refuses before it ever connects.
pub fn check_cache_url(cache_url: &str) -> Result<(), CacheUrlError> {
    socket_base(cache_url).map(drop)
}

fn socket_base(cache_url: &str) -> Result<String, CacheUrlError> {
    let (scheme, rest) = cache_url.split_once(':').ok_or(CacheUrlError::Scheme)?;
    let rest = rest.strip_prefix("//").ok_or(CacheUrlError::Scheme)?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => "ws",
        "https" => "wss",
        _ => return Err(CacheUrlError::Scheme),
    };
    if rest.contains(['?', '#']) {
        return Err(CacheUrlError::QueryOrFragment);
    }
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if host.is_empty() {
        return Err(CacheUrlError::Host);
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    match path {
        "" => Ok(format!("{scheme}://{host}")),
        component if !component.contains('/') => Ok(format!("{scheme}://{host}/{component}")),
        _ => Err(CacheUrlError::Path),
    }
}

/// Reads the path and query of an upgrade request: `/sync/v51/connect?clientID=…`.
pub fn parse_connect(path_and_query: &str) -> Result<ConnectRequest, HandshakeError> {
    let (path, query) = path_and_query
        .split_once('?')
        .unwrap_or((path_and_query, ""));
    let version = parse_path(path)?;
    let query = Query::parse(query.split('#').next().unwrap_or_default())?;
    let params = ConnectParams {
        client_id: query.required("clientID")?,
        client_group_id: query.required("clientGroupID")?,
        user_id: query.optional("userID"),
        base_cookie: query.optional("baseCookie"),
        ts: query.number("ts")?,
        // Beyond 2^53 the number is not exact, and nobody reads it anyway.
        lmid: query.number("lmid")? as u64,
        wsid: query.get("wsid").unwrap_or_default().to_owned(),
        profile_id: query.optional("profileID"),
        debug_perf: query.get("debugPerf") == Some("true"),
        landfall: query
            .get("landfall")
            .and_then(|version| version.parse().ok()),
    };
    Ok(ConnectRequest { version, params })
}

fn parse_path(path: &str) -> Result<u32, HandshakeError> {
    let segments: Vec<&str> = path
        .strip_prefix('/')
        .ok_or(HandshakeError::Path)?
        .split('/')
        .collect();
    let (["sync", version, _] | [_, "sync", version, _]) = segments.as_slice() else {
        return Err(HandshakeError::Path);
    };
    let digits = version.strip_prefix('v').ok_or(HandshakeError::Path)?;
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(HandshakeError::Path);
    }
    // A number too large for us is a version from a far future: the version check refuses it with the right words.
    Ok(digits.parse().unwrap_or(u32::MAX))
}

struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str) -> Result<Self, HandshakeError> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (unescape(name, true), unescape(value, true)) {
                (Some(name), Some(value)) => Ok((name, value)),
                // The name is shown as it came: escaped, and therefore harmless.
                _ => Err(HandshakeError::Escape(name.chars().take(40).collect())),
            }
        });
        pairs.collect::<Result<_, _>>().map(Self)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    fn optional(&self, name: &str) -> Option<String> {
        self.get(name)
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
    }

    fn required(&self, name: &'static str) -> Result<String, HandshakeError> {
        self.optional(name).ok_or(HandshakeError::Missing(name))
    }

    fn number(&self, name: &'static str) -> Result<f64, HandshakeError> {
        let number = self.required(name)?.parse::<f64>();
        number
            .ok()
            .filter(|number| number.is_finite())
            .ok_or(HandshakeError::NotANumber(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn params() -> ConnectParams {
        ConnectParams {
            client_id: "4k1v".into(),
            client_group_id: "9d0q".into(),
            user_id: Some("u 1&ü".into()),
            base_cookie: Some("4e68aa:02".into()),
            ts: 812.4,
            lmid: 1,
            wsid: "Xa_-".into(),
            profile_id: Some("p7".into()),
            debug_perf: true,
            landfall: Some(1),
        }
    }

    #[test]
    fn writes_and_reads() {
        let url = params()
            .url("https://sync.example/", 51, &[])
            .expect("a URL");
        assert_eq!(
            url,
            "wss://sync.example/sync/v51/connect?clientID=4k1v&clientGroupID=9d0q&userID=u%201%26%C3%BC&baseCookie=4e68aa%3A02&ts=812.4&lmid=1&wsid=Xa_-&profileID=p7&debugPerf=true&landfall=1"
        );
        let request =
            parse_connect(url.strip_prefix("wss://sync.example").expect("prefix")).expect("reads");
        assert_eq!(
            request,
            ConnectRequest {
                version: 51,
                params: params()
            }
        );
    }

    #[test]
    fn a_new_logged_out_client() {
        let fresh = ConnectParams {
            user_id: None,
            base_cookie: None,
            profile_id: None,
            debug_perf: false,
            landfall: None,
            ..params()
        };
        let url = fresh
            .url("http://localhost:4848/base", 30, &[])
            .expect("a URL");
        assert!(
            url.starts_with("ws://localhost:4848/base/sync/v30/connect?"),
            "{url}"
        );
        assert!(url.contains("&baseCookie=&"), "{url}");
        let request =
            parse_connect(url.strip_prefix("ws://localhost:4848").expect("prefix")).expect("reads");
        assert_eq!(
            request,
            ConnectRequest {
                version: 30,
                params: fresh
            }
        );
    }

    #[test]
    fn reconnect_params_never_replace_ours() {
        let extra = [
            ("node".to_owned(), "a b".to_owned()),
            ("clientID".to_owned(), "evil".to_owned()),
        ];
        let url = params().url("http://h", 51, &extra).expect("a URL");
        assert!(url.ends_with("&node=a%20b"), "{url}");
        assert!(!url.contains("evil"), "{url}");
    }

    #[test]
    fn addresses_that_cannot_be_used() {
        for (url, error) in [
            ("sync.example", CacheUrlError::Scheme),
            ("ws://sync.example", CacheUrlError::Scheme),
            ("http://", CacheUrlError::Host),
            ("http:///a", CacheUrlError::Host),
            ("http://h/a/b", CacheUrlError::Path),
            ("http://h//a", CacheUrlError::Path),
            ("http://h/?a", CacheUrlError::QueryOrFragment),
            ("http://h#a", CacheUrlError::QueryOrFragment),
        ] {
            assert_eq!(check_cache_url(url), Err(error), "{url}");
        }
        for url in ["http://h", "HTTPS://h/", "http://h:1/a", "http://h/a/"] {
            assert_eq!(check_cache_url(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn refuses_what_is_missing_or_broken() {
        let good = "clientID=c&clientGroupID=g&ts=1&lmid=0";
        assert!(parse_connect(&format!("/sync/v51/connect?{good}")).is_ok());
        assert!(
            parse_connect(&format!(
                "/base/sync/v51/whatever?{good}&userID=&baseCookie=&x=1"
            ))
            .is_ok()
        );
        for path in [
            "/",
            "",
            "/sync/v51",
            "/sync/51/connect",
            "/sync/v/connect",
            "/sync/v5x/c",
            "/mutate/v1/c",
            "/a/b/sync/v1/c",
        ] {
            assert_eq!(
                parse_connect(&format!("{path}?{good}")),
                Err(HandshakeError::Path),
                "{path}"
            );
        }
        for (query, error) in [
            (
                "clientGroupID=g&ts=1&lmid=0",
                HandshakeError::Missing("clientID"),
            ),
            (
                "clientID=&clientGroupID=g&ts=1&lmid=0",
                HandshakeError::Missing("clientID"),
            ),
            (
                "clientID=c&clientGroupID=g&lmid=0",
                HandshakeError::Missing("ts"),
            ),
            (
                "clientID=c&clientGroupID=g&ts=NaN&lmid=0",
                HandshakeError::NotANumber("ts"),
            ),
            (
                "clientID=c&clientGroupID=g&ts=1&lmid=x",
                HandshakeError::NotANumber("lmid"),
            ),
            (
                "clientID=%ff&clientGroupID=g&ts=1&lmid=0",
                HandshakeError::Escape("clientID".into()),
            ),
        ] {
            assert_eq!(
                parse_connect(&format!("/sync/v51/connect?{query}")),
                Err(error),
                "{query}"
            );
        }
        let future =
            parse_connect(&format!("/sync/v99999999999/connect?{good}")).expect("a version");
        assert!(crate::version::check_version(future.version).is_err());
    }

    proptest! {
        #[test]
        fn any_url_is_read_or_refused(text: String, query in "[a-zA-Z%&=0-9+]{0,40}") {
            let _ = parse_connect(&text);
            let _ = parse_connect(&format!("/sync/v51/connect?{query}"));
            let _ = check_cache_url(&text);
        }

        #[test]
        fn any_ids_survive(client_id in ".+", user_id in ".+", cookie in ".+") {
            let params = ConnectParams { client_id, user_id: Some(user_id), base_cookie: Some(cookie), ..params() };
            let url = params.url("http://h", 51, &[]).expect("a URL");
            prop_assert_eq!(parse_connect(&url["ws://h".len()..]).expect("reads").params, params);
        }
    }
}
