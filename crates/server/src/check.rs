//! `landfall-server check`: says before the first start what is missing in the database, with the SQL that mends it.

use std::fmt;

use crate::config::{Config, UpstreamAddress};
use crate::upstream::{embedded, postgres};

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether the server cannot start like this; otherwise something is left out.
    pub stops: bool,
    /// What it is.
    pub what: String,
    /// SQL that mends it, where there is any.
    pub sql: Option<String>,
}

impl Finding {
    /// Keeps the server from starting.
    pub(crate) fn stop(what: impl Into<String>, sql: impl Into<Option<String>>) -> Self {
        Finding {
            stops: true,
            what: what.into(),
            sql: sql.into(),
        }
    }

    /// Something that is left out.
    pub(crate) fn warn(what: impl Into<String>) -> Self {
        Finding {
            stops: false,
            what: what.into(),
            sql: None,
        }
    }

    /// Something that the server starts with, and the SQL that mends it.
    pub(crate) fn warn_with(what: impl Into<String>, sql: impl Into<String>) -> Self {
        Finding {
            sql: Some(sql.into()),
            ..Finding::warn(what)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.stops { "missing" } else { "warning" };
        write!(f, "{kind}: {}", self.what)?;
        match &self.sql {
            Some(sql) => write!(f, "\n    {sql}"),
            None => Ok(()),
        }
    }
}

/// Everything that is not as it should be; nothing is changed.
pub async fn check(config: &Config) -> Vec<Finding> {
    match &config.upstream {
        UpstreamAddress::Embedded(path) => embedded::check(path),
        UpstreamAddress::Postgres(url) => {
            postgres::check(&postgres::PostgresSettings {
                url: url.expose().to_owned(),
                replica_file: config.replica_file.clone(),
                app_id: config.app_id.clone(),
                shard_num: config.shard_num,
                publications: config.publications.clone(),
            })
            .await
        }
    }
}
