//! Connections to Postgres: address, TLS, session settings, and what the server must offer.

use std::path::PathBuf;
use std::time::Duration;

use pgwire_replication::{Lsn, Publication, ReplicationConfig, TlsConfig};
use rustls::ClientConfig;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls;
use crate::upstream::UpstreamError;
use crate::upstream::error::postgres_text;

/// Pins the text forms that the decoders read, on every connection.
pub const SETTINGS: &str =
    "-c datestyle=ISO -c intervalstyle=iso_8601 -c timezone=UTC -c extra_float_digits=1";

/// How long a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest replication message that is accepted: one row.
const MAX_MESSAGE: usize = 256 << 20;

/// Where Postgres is and how to talk to it. Holds the password; has no `Debug`.
#[derive(Clone)]
pub struct Address {
    config: tokio_postgres::Config,
    ssl: Ssl,
    root_cert: Option<PathBuf>,
}

/// The `sslmode` of the address, with libpq's meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ssl {
    /// Never.
    Disable,
    /// If the server offers it; certificate not checked.
    Prefer,
    /// Always; certificate not checked.
    Require,
    /// Always; certificate chain checked.
    VerifyCa,
    /// Always; certificate chain and host name checked.
    VerifyFull,
}

impl Address {
    /// Reads a `postgres://` address. `sslmode` and `sslrootcert` are understood as libpq does.
    pub fn parse(text: &str) -> Result<Self, UpstreamError> {
        // The text holds a password: no error may repeat it.
        let wrong = |what: &str| UpstreamError::Address(what.to_owned());
        let mut url = url::Url::parse(text).map_err(|_| wrong("not a postgres:// URL"))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(wrong("not a postgres:// URL"));
        }
        let mut ssl = Ssl::Prefer;
        let mut root_cert = None;
        let mut others = Vec::new();
        for (name, value) in url.query_pairs().into_owned() {
            match name.as_str() {
                "sslmode" => ssl = Ssl::parse(&value)?,
                "sslrootcert" => root_cert = Some(PathBuf::from(value)),
                _ => others.push((name, value)),
            }
        }
        url.set_query(None);
        if !others.is_empty() {
            url.query_pairs_mut().extend_pairs(others);
        }
        let mut config: tokio_postgres::Config = url
            .as_str()
            .parse()
            .map_err(|_| wrong("a part of it cannot be read"))?;
        if config.get_hosts().is_empty() {
            return Err(wrong("it names no host"));
        }
        if config.get_user().is_none() {
            return Err(wrong(
                "it names no user: postgres://USER:PASSWORD@HOST:PORT/DATABASE",
            ));
        }
        config
            .application_name("landfall")
            .connect_timeout(CONNECT_TIMEOUT)
            .ssl_mode(match ssl {
                Ssl::Disable => tokio_postgres::config::SslMode::Disable,
                Ssl::Prefer => tokio_postgres::config::SslMode::Prefer,
                _ => tokio_postgres::config::SslMode::Require,
            })
            .options(SETTINGS);
        Ok(Address {
            config,
            ssl,
            root_cert,
        })
    }

    /// The same place, with names looked up in one schema, which need not exist yet.
    pub fn in_schema(mut self, schema: &str) -> Result<Self, UpstreamError> {
        if !schema
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_')
        {
            return Err(UpstreamError::Address(format!(
                "{schema:?} is no name of a schema"
            )));
        }
        self.config
            .options(format!("{SETTINGS} -c search_path={schema}"));
        Ok(self)
    }

    /// Host and port, for messages.
    pub fn host(&self) -> String {
        let (host, port) = self.host_and_port();
        format!("{host}:{port}")
    }

    fn host_and_port(&self) -> (String, u16) {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            #[cfg(unix)]
            Some(Host::Unix(path)) => path.to_string_lossy().into_owned(),
            None => String::new(),
        };
        (
            host,
            self.config.get_ports().first().copied().unwrap_or(5432),
        )
    }

    fn user(&self) -> &str {
        self.config.get_user().unwrap_or_default()
    }

    /// The configuration that connection pools use.
    pub fn config(&self) -> &tokio_postgres::Config {
        &self.config
    }

    /// The TLS settings, unless TLS is off.
    pub fn tls(&self) -> Result<Option<MakeRustlsConnect>, UpstreamError> {
        let config: ClientConfig = match self.ssl {
            Ssl::Disable => return Ok(None),
            Ssl::Prefer | Ssl::Require => tls::unchecked()?,
            Ssl::VerifyCa => tls::checked(self.root_cert.as_deref(), false)?,
            Ssl::VerifyFull => tls::checked(self.root_cert.as_deref(), true)?,
        };
        Ok(Some(MakeRustlsConnect::new(config)))
    }

    /// Opens a connection; its driver runs as a task until the client is dropped.
    pub async fn connect(&self) -> Result<Client, UpstreamError> {
        let connected = match self.tls()? {
            None => match self.config.connect(NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(drive(connection));
                    Ok(client)
                }
                Err(error) => Err(error),
            },
            Some(tls) => match self.config.connect(tls).await {
                Ok((client, connection)) => {
                    tokio::spawn(drive(connection));
                    Ok(client)
                }
                Err(error) => Err(error),
            },
        };
        connected.map_err(|error| self.connect_error(&error))
    }

    /// Tells a refusal from silence.
    pub fn connect_error(&self, error: &tokio_postgres::Error) -> UpstreamError {
        let host = self.host();
        let reason = postgres_text(error);
        // 57P03: starting up or shutting down, which passes.
        let passes = error
            .code()
            .is_some_and(|code| code.code().starts_with("57P"));
        if error.as_db_error().is_some() && !passes {
            UpstreamError::Refused { host, reason }
        } else {
            UpstreamError::Unreachable { host, reason }
        }
    }

    /// The settings of a replication connection.
    pub fn replication(
        &self,
        slot: &str,
        publications: &[String],
        start: u64,
    ) -> ReplicationConfig {
        let (host, port) = self.host_and_port();
        let password = self.config.get_password().unwrap_or_default();
        // Names reach the server as an identifier list.
        let names = publications.iter().map(|name| super::quote(name));
        ReplicationConfig::new(
            host,
            self.user(),
            String::from_utf8_lossy(password),
            self.config.get_dbname().unwrap_or(self.user()),
            slot,
            names.collect::<Publication>(),
        )
        .with_port(port)
        .with_tls(self.replication_tls())
        .with_start_lsn(Lsn::from_u64(start))
        .with_status_interval(Duration::from_secs(1))
        .with_wakeup_interval(Duration::from_secs(5))
        .with_max_message_size(MAX_MESSAGE)
        .with_application_name("landfall")
        .with_options(SETTINGS)
    }

    fn replication_tls(&self) -> TlsConfig {
        match self.ssl {
            Ssl::Disable => TlsConfig::disabled(),
            Ssl::Prefer => {
                let mut config = TlsConfig::require();
                config.mode = pgwire_replication::SslMode::Prefer;
                config
            }
            Ssl::Require => TlsConfig::require(),
            Ssl::VerifyCa => TlsConfig::verify_ca(self.root_cert.clone()),
            Ssl::VerifyFull => TlsConfig::verify_full(self.root_cert.clone()),
        }
    }
}

async fn drive(connection: impl Future<Output = Result<(), tokio_postgres::Error>>) {
    if let Err(error) = connection.await {
        // Whoever uses the client gets an error of its own; this says why.
        tracing::debug!(reason = %postgres_text(&error), "a connection to Postgres ended");
    }
}

impl Ssl {
    fn parse(text: &str) -> Result<Self, UpstreamError> {
        Ok(match text {
            "disable" => Ssl::Disable,
            "allow" | "prefer" => Ssl::Prefer,
            "require" => Ssl::Require,
            "verify-ca" => Ssl::VerifyCa,
            "verify-full" => Ssl::VerifyFull,
            other => {
                return Err(UpstreamError::Address(format!(
                    "sslmode {other:?} is not known"
                )));
            }
        })
    }
}

/// Checks that the server can replicate to us.
pub async fn check(client: &Client) -> Result<(), UpstreamError> {
    let row = client
        .query_one(
            "SELECT current_setting('server_version_num')::int4, current_setting('server_version'), current_setting('wal_level'),
                    current_user::text,
                    (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user)
                    OR EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'rds_replication' AND pg_has_role(current_user, oid, 'member'))",
            &[],
        )
        .await?;
    if row.get::<_, i32>(0) < 150_000 {
        return Err(UpstreamError::TooOld(row.get(1)));
    }
    let wal_level: String = row.get(2);
    if wal_level != "logical" {
        return Err(UpstreamError::NotLogical(wal_level));
    }
    if row.get::<_, Option<bool>>(4) != Some(true) {
        return Err(UpstreamError::NoReplicationRight(row.get(3)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_ssl_modes() {
        let check = |text: &str, ssl: Ssl, host: &str| {
            let address = Address::parse(text).map_err(|e| e.to_string()).unwrap();
            assert_eq!(
                (address.ssl, address.host().as_str()),
                (ssl, host),
                "{text}"
            );
        };
        check("postgres://u:p@db:5433/app", Ssl::Prefer, "db:5433");
        check(
            "postgresql://u@db/app?sslmode=disable",
            Ssl::Disable,
            "db:5432",
        );
        check(
            "postgres://u@db/app?sslmode=verify-full&sslrootcert=/ca.pem",
            Ssl::VerifyFull,
            "db:5432",
        );
    }

    #[test]
    fn a_wrong_address_never_shows_its_password() {
        for text in [
            "mysql://u:hunter2@db/app",
            "postgres://u:hunter2@db/app?sslmode=maybe",
            "postgres://u:hunter2@db/app?what=1",
            "postgres:hunter2",
        ] {
            let error = Address::parse(text).map(|_| ()).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
