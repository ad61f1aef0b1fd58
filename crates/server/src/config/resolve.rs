//! Resolving settings: where a value is looked for, and what its text means.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{
    Config, ConfigErrors, CvrAddress, Endpoint, Flags, JwtKey, JwtSettings, Limits, LogFormat,
    Secret, UpstreamAddress,
};
use crate::queries::{MAX_THREADS, PoolSettings, QueryLimits};

/// Resolves the settings from flags, environment and configuration file.
pub fn resolve(
    flags: &Flags,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigErrors> {
    let mut lookup = Lookup {
        flags: flags.values(),
        env,
        file: BTreeMap::new(),
        problems: Vec::new(),
    };
    if let Some(path) = lookup.text("config") {
        lookup.read_file(Path::new(&path));
    }
    let config = lookup.config();
    match (config, lookup.problems) {
        (Some(config), problems) if problems.is_empty() => Ok(config),
        (_, problems) => Err(ConfigErrors(problems)),
    }
}

/// Whether a variable has the form of a setting of ours and is none, as after a slip of the pen.
pub fn is_unknown(variable: &str) -> bool {
    let words = variable.strip_prefix("LANDFALL_");
    words.is_some_and(|words| {
        let name = words.replace('_', "-").to_lowercase();
        !Flags::names().contains(&name.as_str())
    })
}

/// Settings whose name in zero-cache is not simply the same words.
const OLDER_NAMES: &[(&str, &[&str])] = &[
    ("query-threads", &["ZERO_NUM_SYNC_WORKERS"]),
    ("mutate-url", &["ZERO_PUSH_URL"]),
    ("mutate-api-key", &["ZERO_PUSH_API_KEY"]),
    ("mutate-forward-cookies", &["ZERO_PUSH_FORWARD_COOKIES"]),
    ("query-url", &["ZERO_GET_QUERIES_URL"]),
    ("query-api-key", &["ZERO_GET_QUERIES_API_KEY"]),
    (
        "query-forward-cookies",
        &["ZERO_GET_QUERIES_FORWARD_COOKIES"],
    ),
];

/// Settings that have no counterpart in zero-cache.
const OURS_ONLY: &[&str] = &[
    "config",
    "dev",
    "permissions",
    "host",
    "allowed-origins",
    "max-buffered-bytes",
    "query-threads",
    "query-max-rows",
    "query-max-bytes",
    "query-hydration-limit-ms",
    "query-advance-limit-ms",
    "max-connections",
    "max-connections-per-group",
    "max-connections-per-user",
    "max-messages-per-second",
    "max-queries-per-client",
    "max-queries-per-group",
    "otlp-endpoint",
];

struct Lookup<'a> {
    flags: BTreeMap<&'static str, String>,
    env: &'a dyn Fn(&str) -> Option<String>,
    file: BTreeMap<String, String>,
    problems: Vec<String>,
}

impl Lookup<'_> {
    fn text(&self, name: &str) -> Option<String> {
        if let Some(value) = self.flags.get(name) {
            return Some(value.clone());
        }
        let words = name.replace('-', "_").to_uppercase();
        let mut names = vec![format!("LANDFALL_{words}")];
        if !OURS_ONLY.contains(&name) {
            names.push(format!("ZERO_{words}"));
        }
        let older = OLDER_NAMES.iter().filter(|(ours, _)| *ours == name);
        names.extend(older.flat_map(|(_, names)| names.iter().map(|n| (*n).to_owned())));
        let set = |value: String| (!value.is_empty()).then_some(value);
        let from_env = names.iter().find_map(|n| (self.env)(n).and_then(set));
        from_env.or_else(|| {
            names
                .iter()
                .find_map(|n| self.file.get(n).cloned().and_then(set))
        })
    }

    fn list(&self, name: &str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split(',')
            .map(str::trim)
            .filter(|s| !s.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn secret(&self, name: &str) -> Option<Secret> {
        self.text(name).map(Secret)
    }

    fn parsed<T: std::str::FromStr>(&mut self, name: &str, default: T, expected: &str) -> T {
        match self.text(name) {
            None => default,
            Some(text) => text.trim().parse().unwrap_or_else(|_| {
                self.problems.push(format!("{name}: expected {expected}"));
                default
            }),
        }
    }

    fn switch(&mut self, name: &str, default: bool) -> bool {
        match self.text(name).map(|t| t.to_lowercase()).as_deref() {
            None => default,
            Some("1" | "true" | "yes" | "on") => true,
            Some("0" | "false" | "no" | "off") => false,
            Some(_) => {
                self.problems
                    .push(format!("{name}: expected true or false"));
                default
            }
        }
    }

    fn read_file(&mut self, path: &Path) {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                self.problems.push(format!(
                    "config: {} cannot be read: {error}",
                    path.display()
                ));
                return;
            }
        };
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line.split_once('=') {
                Some((name, _)) if is_unknown(name.trim()) => self.problems.push(format!(
                    "config: line {}: there is no setting {}",
                    number + 1,
                    name.trim()
                )),
                Some((name, value)) => {
                    let value = value.trim().trim_matches('"').to_owned();
                    self.file.insert(name.trim().to_owned(), value);
                }
                None => self
                    .problems
                    .push(format!("config: line {} is not NAME=value", number + 1)),
            }
        }
    }

    fn config(&mut self) -> Option<Config> {
        let upstream = self.upstream();
        let app_id = self.app_id();
        let dev = self.switch("dev", false);
        // What anyone may read and write is for this machine only, unless somebody asks for more.
        let host = if dev { "127.0.0.1" } else { "0.0.0.0" };
        let (replica_file, cvr) = self.files(upstream.as_ref());
        let config = Config {
            replica_file,
            cvr,
            app_id,
            shard_num: self.parsed("shard-num", 0, "a number"),
            publications: self.list("app-publications"),
            host: self.text("host").unwrap_or_else(|| host.into()),
            allowed_origins: self.origins(),
            port: self.parsed("port", 4848, "a port number (0 to 65535)"),
            query: self.endpoint("query"),
            mutate: self.endpoint("mutate"),
            jwt: self.jwt(),
            admin_password: self.secret("admin-password"),
            permissions_file: self.text("permissions").map(PathBuf::from),
            dev,
            enable_crud: self.switch("enable-crud-mutations", true),
            mutation_limit: self.mutation_limit(),
            limits: self.limits(),
            max_payload_bytes: self.parsed(
                "websocket-max-payload-bytes",
                10 << 20,
                "a number of bytes",
            ),
            max_buffered_bytes: self.parsed("max-buffered-bytes", 1 << 20, "a number of bytes"),
            pool: self.pool(),
            otlp_endpoint: self.otlp_endpoint(),
            log_level: self.text("log-level").unwrap_or_else(|| "info".into()),
            log_format: self.log_format(),
            upstream: upstream?,
        };
        Some(config)
    }

    fn otlp_endpoint(&mut self) -> Option<String> {
        let has_exporter = cfg!(feature = "opentelemetry");
        // A platform sets the common variable for all programs, those that export nothing included.
        let common = || (self.env)("OTEL_EXPORTER_OTLP_ENDPOINT").filter(|url| !url.is_empty());
        let given = self.text("otlp-endpoint");
        let url = given.or_else(|| common().filter(|_| has_exporter))?;
        if !has_exporter {
            self.problems
                .push("otlp-endpoint: this program was built without OpenTelemetry".into());
        } else if !url.starts_with("http://") && !url.starts_with("https://") {
            self.problems
                .push("otlp-endpoint: expected http://… or https://…".into());
        }
        Some(url)
    }

    fn limits(&mut self) -> Limits {
        let connections = "a number of connections";
        let queries = "a number of queries";
        let limits = Limits {
            connections: self.parsed("max-connections", 50_000, connections),
            connections_per_group: self.parsed("max-connections-per-group", 200, connections),
            connections_per_user: self.parsed("max-connections-per-user", 1_000, connections),
            messages_per_second: self.parsed("max-messages-per-second", 500, "a number"),
            queries_per_client: self.parsed("max-queries-per-client", 2_000, queries),
            queries_per_group: self.parsed("max-queries-per-group", 10_000, queries),
        };
        if limits.messages_per_second == 0 {
            self.problems
                .push("max-messages-per-second: expected at least 1".into());
        }
        limits
    }

    fn origins(&mut self) -> Vec<String> {
        let origins = self.list("allowed-origins");
        let is_one = |text: &str| {
            let rest = text.split_once("://").map(|(_, rest)| rest);
            text == "*" || rest.is_some_and(|rest| !rest.is_empty() && !rest.contains('/'))
        };
        if !origins.iter().all(|origin| is_one(origin)) {
            self.problems
                .push("allowed-origins: expected https://host, without a path, or *".into());
        }
        origins
    }

    fn mutation_limit(&mut self) -> Option<(usize, Duration)> {
        let window = self.parsed("per-user-mutation-limit-window-ms", 60_000, "milliseconds");
        self.text("per-user-mutation-limit-max")?;
        let max = self.parsed("per-user-mutation-limit-max", 0, "a number of mutations");
        Some((max, Duration::from_millis(window)))
    }

    fn pool(&mut self) -> PoolSettings {
        let PoolSettings { threads, limits } = PoolSettings::default();
        let milliseconds = |time: Duration| time.as_millis() as u64;
        let (hydration, advance) = (milliseconds(limits.hydration), milliseconds(limits.advance));
        let threads = self.parsed("query-threads", threads, "a number of threads");
        if !(1..=MAX_THREADS).contains(&threads) {
            self.problems
                .push(format!("query-threads: expected 1 to {MAX_THREADS}"));
        }
        let hydration = self.parsed("query-hydration-limit-ms", hydration, "milliseconds");
        let advance = self.parsed("query-advance-limit-ms", advance, "milliseconds");
        PoolSettings {
            threads,
            limits: QueryLimits {
                rows: self.parsed("query-max-rows", limits.rows, "a number of rows"),
                bytes: self.parsed("query-max-bytes", limits.bytes, "a number of bytes"),
                hydration: Duration::from_millis(hydration),
                advance: Duration::from_millis(advance),
            },
        }
    }

    fn upstream(&mut self) -> Option<UpstreamAddress> {
        let Some(text) = self.text("upstream-db") else {
            self.problems.push(
                "upstream-db: missing; give postgres://… or the path of a SQLite file (LANDFALL_UPSTREAM_DB)".into(),
            );
            return None;
        };
        let scheme = text
            .split_once("://")
            .map(|(scheme, _)| scheme.to_lowercase());
        match scheme.as_deref() {
            Some("postgres" | "postgresql") => Some(UpstreamAddress::Postgres(Secret(text))),
            None => Some(UpstreamAddress::Embedded(PathBuf::from(text))),
            Some("file" | "sqlite") => {
                let path = text
                    .split_once("://")
                    .map(|(_, path)| path)
                    .unwrap_or_default();
                Some(UpstreamAddress::Embedded(PathBuf::from(path)))
            }
            Some(_) => {
                self.problems
                    .push("upstream-db: expected postgres://… or the path of a SQLite file".into());
                None
            }
        }
    }

    fn app_id(&mut self) -> String {
        let id = self.text("app-id").unwrap_or_else(|| "zero".into());
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if id.is_empty() || !id.chars().all(fits) {
            self.problems
                .push("app-id: only the characters a-z, 0-9 and _ are allowed".into());
        }
        id
    }

    fn files(&mut self, upstream: Option<&UpstreamAddress>) -> (PathBuf, CvrAddress) {
        let replica = match upstream {
            Some(UpstreamAddress::Embedded(path)) => path.clone(),
            _ => self
                .text("replica-file")
                .unwrap_or_else(|| "landfall-replica.db".into())
                .into(),
        };
        let beside = || {
            let mut name = replica.file_name().unwrap_or_default().to_owned();
            name.push("-cvr");
            replica.with_file_name(name)
        };
        let cvr = match self.text("cvr-db") {
            None => CvrAddress::File(beside()),
            Some(text) => match text.split_once("://").map(|(scheme, _)| scheme) {
                None => CvrAddress::File(PathBuf::from(text)),
                Some("postgres" | "postgresql") => CvrAddress::Postgres(Secret(text)),
                Some(_) => {
                    self.problems
                        .push("cvr-db: expected a file or postgres://…".into());
                    CvrAddress::File(beside())
                }
            },
        };
        (replica, cvr)
    }

    fn endpoint(&mut self, prefix: &str) -> Option<Endpoint> {
        let name = |rest: &str| format!("{prefix}-{rest}");
        let urls = self.list(&name("url"));
        for url in &urls {
            let parsed = url::Url::parse(url);
            if !parsed.is_ok_and(|u| matches!(u.scheme(), "http" | "https")) {
                self.problems
                    .push(format!("{}: expected an http or https URL", name("url")));
            }
        }
        let lower = |names: Vec<String>| names.into_iter().map(|n| n.to_lowercase()).collect();
        let endpoint = Endpoint {
            api_key: self.secret(&name("api-key")),
            forward_cookies: self.switch(&name("forward-cookies"), false),
            allowed_client_headers: lower(self.list(&name("allowed-client-headers"))),
            allowed_request_headers: lower(self.list(&name("allowed-request-headers"))),
            urls,
        };
        (!endpoint.urls.is_empty()).then_some(endpoint)
    }

    fn jwt(&mut self) -> Option<JwtSettings> {
        let mut keys = Vec::new();
        keys.extend(self.secret("auth-secret").map(JwtKey::Secret));
        keys.extend(self.secret("auth-jwk").map(JwtKey::Jwk));
        keys.extend(self.text("auth-jwks-url").map(JwtKey::JwksUrl));
        if keys.len() > 1 {
            self.problems
                .push("auth: give only one of auth-secret, auth-jwk and auth-jwks-url".into());
        }
        let key = keys.into_iter().next()?;
        Some(JwtSettings {
            key,
            issuer: self.text("auth-issuer"),
            audience: self.text("auth-audience"),
        })
    }

    fn log_format(&mut self) -> LogFormat {
        match self.text("log-format").as_deref() {
            None | Some("text") => LogFormat::Text,
            Some("json") => LogFormat::Json,
            Some(_) => {
                self.problems
                    .push("log-format: expected text or json".into());
                LogFormat::Text
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(args: &[&str], env: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
        let flags = Flags::parse_words(args).expect("flags parse");
        resolve(&flags, &|name| {
            env.iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| (*v).to_owned())
        })
    }

    #[test]
    fn a_flag_wins_over_landfall_wins_over_zero() {
        let env = [
            ("ZERO_UPSTREAM_DB", "z.db"),
            ("LANDFALL_UPSTREAM_DB", "l.db"),
            ("ZERO_PORT", "1"),
        ];
        let config = check(&["--upstream-db", "f.db"], &env).expect("valid");
        assert_eq!(config.upstream, UpstreamAddress::Embedded("f.db".into()));
        assert_eq!(config.port, 1);
        let config = check(&[], &env).expect("valid");
        assert_eq!(config.upstream, UpstreamAddress::Embedded("l.db".into()));
        assert_eq!(config.cvr, CvrAddress::File("l.db-cvr".into()));
        let env = [
            ("ZERO_UPSTREAM_DB", "u.db"),
            ("ZERO_CVR_DB", "postgres://u@h/d"),
        ];
        let config = check(&[], &env).expect("valid");
        let shared = Secret::new("postgres://u@h/d");
        assert_eq!(config.cvr, CvrAddress::Postgres(shared));
    }

    #[test]
    fn older_names_of_zero_are_read() {
        let config = check(
            &[],
            &[("ZERO_UPSTREAM_DB", "a"), ("ZERO_PUSH_URL", "http://x/p")],
        )
        .expect("valid");
        assert_eq!(config.mutate.expect("set").urls, ["http://x/p"]);
        assert_eq!(config.query, None);
        assert!(!config.dev);
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let env = [
            ("LANDFALL_PORT", "eighty"),
            ("ZERO_APP_ID", "My App"),
            ("LANDFALL_QUERY_URL", "ftp://x"),
            ("LANDFALL_AUTH_SECRET", "hush"),
            ("LANDFALL_AUTH_JWK", "{}"),
            ("LANDFALL_DEV", "maybe"),
            ("LANDFALL_ALLOWED_ORIGINS", "https://a.example/"),
        ];
        let problems = check(&[], &env).expect_err("invalid").0;
        assert_eq!(problems.len(), 7, "{problems:?}");
        assert!(!format!("{problems:?}").contains("hush"));
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let config =
            check(&["--upstream-db", "postgres://u:geheim@h/d", "--dev"], &[]).expect("valid");
        assert!(config.dev);
        assert!(!format!("{config:?}").contains("geheim"));
    }

    #[test]
    fn what_is_open_to_everyone_listens_on_this_machine_only() {
        let host = |args: &[&str]| check(args, &[]).expect("valid").host;
        assert_eq!(host(&["--upstream-db", "a.db"]), "0.0.0.0");
        assert_eq!(host(&["--upstream-db", "a.db", "--dev"]), "127.0.0.1");
        let asked = ["--upstream-db", "a.db", "--dev", "--host", "0.0.0.0"];
        assert_eq!(host(&asked), "0.0.0.0");
    }

    #[test]
    fn a_misspelt_setting_in_the_file_is_a_problem() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("landfall.conf");
        let text = "LANDFALL_UPSTREAM_DB=a.db\nLANDFALL_QUERY_URLL=http://x\nZERO_NEW_THING=1\nPATH=/bin\n";
        std::fs::write(&file, text).expect("writes");
        let problems = check(&["--config", &file.display().to_string()], &[]).expect_err("invalid");
        assert_eq!(
            problems.0,
            ["config: line 2: there is no setting LANDFALL_QUERY_URLL"]
        );
    }
}
