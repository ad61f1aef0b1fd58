//! What a database lacks before the server can follow it. Changes nothing.

use tokio_postgres::{Client, GenericClient};

use super::session::Address;
use super::setup::Names;
use super::{PostgresSettings, catalog, quote};
use crate::check::Finding;
use crate::upstream::UpstreamError;

const FACTS: &str = "
SELECT current_setting('server_version_num')::int4, current_setting('server_version'), current_setting('wal_level'),
       current_user::text, current_database()::text, r.rolsuper,
       r.rolreplication OR EXISTS (SELECT 1 FROM pg_roles m WHERE m.rolname = 'rds_replication' AND pg_has_role(current_user, m.oid, 'member')),
       has_database_privilege(current_database(), 'CREATE'),
       current_setting('max_replication_slots')::int4 - (SELECT count(*)::int4 FROM pg_replication_slots),
       current_setting('max_wal_senders')::int4 - (SELECT count(*)::int4 FROM pg_stat_replication)
FROM pg_roles r WHERE r.rolname = current_user";

/// Slots and connections that the server uses: one for the stream, one more for a while when tables change.
const SLOTS: i32 = 2;

/// Looks at the database of these settings.
pub async fn check(settings: &PostgresSettings) -> Vec<Finding> {
    match look(settings).await {
        Ok(findings) => findings,
        Err(error) => vec![Finding::stop(error.to_string(), None)],
    }
}

async fn look(settings: &PostgresSettings) -> Result<Vec<Finding>, UpstreamError> {
    let names = Names::new(&settings.app_id, settings.shard_num)?;
    let mut client = Address::parse(&settings.url)?.connect().await?;
    let mut findings = server(&client, &names).await?;
    let is_super = client.query_one(FACTS, &[]).await?.get(5);
    let transaction = client.transaction().await?;
    let publications = publications(
        &transaction,
        &names,
        &settings.publications,
        is_super,
        &mut findings,
    )
    .await?;
    let tables = catalog::read(&transaction, &publications).await?;
    let (drafts, warnings) = catalog::drafts(&tables, &names.internal());
    findings.extend(warnings.into_iter().map(Finding::warn));
    for table in catalog::without_identity(&transaction, &publications).await? {
        let mut what = table.what();
        if settings.publications.is_empty() && table.by_default {
            what.push_str("; the server sets it when it starts");
        }
        findings.push(Finding::warn_with(what, table.mend()));
    }
    if drafts.is_empty() && !publications.is_empty() {
        findings.push(Finding::warn("no table is published that could be synced"));
    }
    // With it goes the publication that was made to look at.
    transaction.rollback().await?;
    Ok(findings)
}

/// Version, settings and rights.
async fn server(client: &Client, names: &Names) -> Result<Vec<Finding>, UpstreamError> {
    let row = client.query_one(FACTS, &[]).await?;
    let mut findings = Vec::new();
    let mut stop = |what: String, sql: Option<String>| findings.push(Finding::stop(what, sql));
    if row.get::<_, i32>(0) < 150_000 {
        let version: String = row.get(1);
        stop(
            format!("Postgres 15 or newer is needed, the server is {version}"),
            None,
        );
    }
    let wal_level: String = row.get(2);
    if wal_level != "logical" {
        stop(
            format!("logical replication is off: wal_level is {wal_level}"),
            Some("ALTER SYSTEM SET wal_level = 'logical'; -- then restart Postgres".to_owned()),
        );
    }
    let role = quote(&row.get::<_, String>(3));
    let database = quote(&row.get::<_, String>(4));
    let is_super: bool = row.get(5);
    if !is_super && row.get::<_, Option<bool>>(6) != Some(true) {
        stop(
            format!("the role {role} has no right to replicate"),
            Some(format!("ALTER ROLE {role} REPLICATION;")),
        );
    }
    if !row.get::<_, bool>(7) && !schemas_exist(client, names).await? {
        stop(
            format!(
                "the role {role} may not create the schemas {} and {}",
                names.app, names.shard
            ),
            Some(format!("GRANT CREATE ON DATABASE {database} TO {role};")),
        );
    }
    for (column, setting) in [(8, "max_replication_slots"), (9, "max_wal_senders")] {
        let free: i32 = row.get(column);
        if free < SLOTS {
            stop(
                format!("{setting} leaves {free} free, the server needs {SLOTS}"),
                Some(format!(
                    "ALTER SYSTEM SET {setting} = 20; -- then restart Postgres"
                )),
            );
        }
    }
    Ok(findings)
}

async fn schemas_exist(client: &Client, names: &Names) -> Result<bool, UpstreamError> {
    let row = client
        .query_one(
            "SELECT count(*) = 2 FROM pg_namespace WHERE nspname = ANY($1)",
            &[&names.internal()],
        )
        .await?;
    Ok(row.get(0))
}

/// The publications that can be read.
async fn publications(
    transaction: &impl GenericClient,
    names: &Names,
    configured: &[String],
    is_super: bool,
    findings: &mut Vec<Finding>,
) -> Result<Vec<String>, UpstreamError> {
    let publication = |name: String| async move {
        transaction
            .query_opt(
                "SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate FROM pg_publication WHERE pubname = $1",
                &[&name],
            )
            .await
            .map(|row| row.map(|row| row.get::<_, bool>(0)))
    };
    if configured.is_empty() {
        let name = names.default_publication();
        if publication(name.clone()).await?.is_some() {
            return Ok(vec![name]);
        }
        let sql = format!(
            "CREATE PUBLICATION {} FOR TABLES IN SCHEMA public WITH (publish_via_partition_root = true);",
            quote(&name)
        );
        if !is_super {
            let what = format!(
                "the publication {name} can only be made by a superuser; or publish tables of your choice and name the publication in app-publications"
            );
            findings.push(Finding::stop(what, sql));
            return Ok(Vec::new());
        }
        transaction.batch_execute(&sql).await?;
        return Ok(vec![name]);
    }
    let mut found = Vec::new();
    for name in configured {
        match publication(name.clone()).await? {
            Some(true) => found.push(name.clone()),
            Some(false) => findings.push(Finding::stop(
                format!("the publication {name} must publish insert, update, delete and truncate"),
                format!(
                    "ALTER PUBLICATION {} SET (publish = 'insert, update, delete, truncate');",
                    quote(name)
                ),
            )),
            None => findings.push(Finding::stop(
                format!("there is no publication {name}"),
                format!(
                    "CREATE PUBLICATION {} FOR TABLES IN SCHEMA public;",
                    quote(name)
                ),
            )),
        }
    }
    Ok(found)
}
