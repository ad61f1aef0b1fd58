//! Makes the schemas, tables, publications and slots that we need in the upstream database.

use std::future::Future;

use tokio_postgres::{Client, GenericClient};

use super::{catalog, quote};
use crate::replica::ReplicaState;
use crate::upstream::UpstreamError;
use crate::upstream::error::postgres_text;

/// Names of everything of ours upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Schema of the app.
    pub app: String,
    /// Schema of the shard.
    pub shard: String,
    number: u32,
}

impl Names {
    /// The names of a shard; the app's name must be a plain identifier, as it is part of a slot's name.
    pub fn new(app: &str, number: u32) -> Result<Self, UpstreamError> {
        let plain = !app.is_empty()
            && app.len() <= 32
            && app
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !plain {
            return Err(UpstreamError::Setup(format!(
                "the app id {app:?} may only have lower-case letters, digits and _, 32 at most"
            )));
        }
        Ok(Names {
            app: app.to_owned(),
            shard: format!("{app}_{number}"),
            number,
        })
    }

    fn metadata_publication(&self) -> String {
        format!("_{}_metadata_{}", self.app, self.number)
    }

    /// The publication that is made where none is named.
    pub fn default_publication(&self) -> String {
        format!("_{}_public_{}", self.app, self.number)
    }

    /// The schemas that hold our own tables.
    pub fn internal(&self) -> Vec<String> {
        vec![self.app.clone(), self.shard.clone()]
    }

    /// A name for a new slot.
    pub fn new_slot(&self) -> String {
        format!("{}_{:08x}", self.shard, rand::random::<u32>())
    }
}

/// Makes what is missing and returns the publications to follow.
pub async fn prepare(
    client: &Client,
    names: &Names,
    configured: &[String],
) -> Result<Vec<String>, UpstreamError> {
    if !is_prepared(client, names).await? {
        client
            .batch_execute(&tables(names))
            .await
            .map_err(|error| explain("create our schemas", &error))?;
    }
    warn_of_strays(client, names).await?;
    let (app, shard) = (quote(&names.app), quote(&names.shard));
    let metadata = names.metadata_publication();
    if !publication_exists(client, &metadata).await? {
        client
            .batch_execute(&format!(
                "CREATE PUBLICATION {} FOR TABLE {app}.permissions, {shard}.clients, {shard}.mutations",
                quote(&metadata)
            ))
            .await
            .map_err(|error| explain("create a publication", &error))?;
    }
    // Nobody sees the publication before the tables in it can be changed.
    let publications = in_transaction(client, async {
        let mut publications = vec![metadata];
        publications.extend(user_publications(client, names, configured).await?);
        set_identities(client, &publications).await?;
        if configured.is_empty() {
            keep_changeable(client, &publications).await?;
        }
        Ok(publications)
    })
    .await?;
    for table in catalog::without_identity(client, &publications).await? {
        tracing::warn!("{}: {}", table.what(), table.mend());
    }
    Ok(publications)
}

async fn in_transaction<T>(
    client: &Client,
    work: impl Future<Output = Result<T, UpstreamError>>,
) -> Result<T, UpstreamError> {
    client.batch_execute("BEGIN").await?;
    let outcome = work.await;
    let end = if outcome.is_ok() {
        "COMMIT"
    } else {
        "ROLLBACK"
    };
    client.batch_execute(end).await?;
    outcome
}

/// As `prepare` does, for tables that were made since; with publications of the user's own nothing is done.
pub async fn keep_new_changeable(
    client: &Client,
    publications: &[String],
    configured: &[String],
) -> Result<(), UpstreamError> {
    // Without the transaction, as there is hardly ever anything to do.
    let tables = catalog::without_identity(client, publications).await?;
    if !configured.is_empty() || !tables.iter().any(|table| table.by_default) {
        return Ok(());
    }
    in_transaction(client, keep_changeable(client, publications)).await
}

/// Our own publication has every table of a schema in it. Postgres refuses to change those without a replica identity, so
/// they are given one: following a database must not break the application's own writes.
async fn keep_changeable(client: &Client, publications: &[String]) -> Result<(), UpstreamError> {
    for table in catalog::without_identity(client, publications).await? {
        // One that somebody has chosen is theirs.
        if !table.by_default {
            continue;
        }
        match alter(client, &table.mend()).await? {
            Ok(()) => tracing::warn!(
                "the table {} has no primary key: its REPLICA IDENTITY is FULL now, as Postgres would refuse the application's UPDATE and DELETE on it while it is published; it is not synced before it has a primary key",
                table.sql
            ),
            Err(reason) => {
                tracing::warn!(table = %table.sql, reason, "the replica identity could not be set")
            }
        }
    }
    Ok(())
}

/// Alters a table within the open transaction, unless it would wait for long: then others would wait behind it.
async fn alter(client: &Client, statement: &str) -> Result<Result<(), String>, UpstreamError> {
    client
        .batch_execute("SAVEPOINT landfall_alter; SET LOCAL lock_timeout = '2s'")
        .await?;
    let Err(error) = client.batch_execute(statement).await else {
        client
            .batch_execute("RELEASE SAVEPOINT landfall_alter")
            .await?;
        return Ok(Ok(()));
    };
    let reason = postgres_text(&error);
    client
        .batch_execute("ROLLBACK TO SAVEPOINT landfall_alter")
        .await?;
    Ok(Err(reason))
}

/// Postgres puts new tables into the schema that has the role's name, which may be ours: those are not synced.
async fn warn_of_strays(client: &Client, names: &Names) -> Result<(), UpstreamError> {
    let rows = client
        .query(
            "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND c.relname <> 'permissions' ORDER BY 1",
            &[&names.app],
        )
        .await?;
    for row in rows {
        let table: String = row.get(0);
        tracing::warn!(%table, schema = %names.app,
            "the table is in our own schema and is not synced; the role's search path may lead there: use public");
    }
    Ok(())
}

/// Whether our tables are there: then a reconnect runs no DDL.
async fn is_prepared(client: &Client, names: &Names) -> Result<bool, UpstreamError> {
    let (app, shard) = (quote(&names.app), quote(&names.shard));
    let tables = [
        format!("{app}.permissions"),
        format!("{shard}.clients"),
        format!("{shard}.mutations"),
    ];
    let row = client
        .query_one(
            "SELECT bool_and(to_regclass(name) IS NOT NULL) FROM unnest($1::text[]) AS name",
            &[&tables.as_slice()],
        )
        .await?;
    Ok(row.get(0))
}

/// SQL that makes our own tables where they are missing.
pub fn tables(names: &Names) -> String {
    let (app, shard) = (quote(&names.app), quote(&names.shard));
    format!(
        "
        SET client_min_messages = warning;
        CREATE SCHEMA IF NOT EXISTS {app};
        CREATE SCHEMA IF NOT EXISTS {shard};
        CREATE TABLE IF NOT EXISTS {app}.permissions (
          permissions jsonb, hash text, lock bool PRIMARY KEY DEFAULT true CHECK (lock)
        );
        CREATE OR REPLACE FUNCTION {app}.hash_permissions() RETURNS trigger LANGUAGE plpgsql AS
          $$ BEGIN NEW.hash = md5(NEW.permissions::text); RETURN NEW; END $$;
        CREATE OR REPLACE TRIGGER hash_permissions BEFORE INSERT OR UPDATE ON {app}.permissions
          FOR EACH ROW EXECUTE FUNCTION {app}.hash_permissions();
        INSERT INTO {app}.permissions (permissions) VALUES (NULL) ON CONFLICT DO NOTHING;
        CREATE TABLE IF NOT EXISTS {shard}.clients (
          \"clientGroupID\" text NOT NULL, \"clientID\" text NOT NULL, \"lastMutationID\" bigint NOT NULL, \"userID\" text,
          PRIMARY KEY (\"clientGroupID\", \"clientID\")
        );
        CREATE TABLE IF NOT EXISTS {shard}.mutations (
          \"clientGroupID\" text NOT NULL, \"clientID\" text NOT NULL, \"mutationID\" bigint NOT NULL, result json NOT NULL,
          PRIMARY KEY (\"clientGroupID\", \"clientID\", \"mutationID\")
        );
        RESET client_min_messages;
        "
    )
}

async fn publication_exists(client: &Client, name: &str) -> Result<bool, UpstreamError> {
    let row = client
        .query_one(
            "SELECT EXISTS (SELECT 1 FROM pg_publication WHERE pubname = $1)",
            &[&name],
        )
        .await?;
    Ok(row.get(0))
}

async fn user_publications(
    client: &Client,
    names: &Names,
    configured: &[String],
) -> Result<Vec<String>, UpstreamError> {
    if configured.is_empty() {
        let name = names.default_publication();
        if !publication_exists(client, &name).await? {
            client
                .batch_execute(&format!(
                    "CREATE PUBLICATION {} FOR TABLES IN SCHEMA public WITH (publish_via_partition_root = true)",
                    quote(&name)
                ))
                .await
                .map_err(|error| {
                    explain("create a publication of schema public (make one yourself and name it in the settings)", &error)
                })?;
        }
        return Ok(vec![name]);
    }
    for name in configured {
        if name.starts_with('_') {
            return Err(UpstreamError::Setup(format!(
                "the publication name {name:?} begins with _, which is kept for our own"
            )));
        }
        let row = client
            .query_opt(
                "SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate FROM pg_publication WHERE pubname = $1",
                &[name],
            )
            .await?;
        match row.map(|row| row.get::<_, bool>(0)) {
            Some(true) => {}
            Some(false) => {
                return Err(UpstreamError::Setup(format!(
                    "the publication {name:?} must publish insert, update, delete and truncate"
                )));
            }
            None => {
                return Err(UpstreamError::Setup(format!(
                    "there is no publication {name:?}"
                )));
            }
        }
    }
    Ok(configured.to_vec())
}

/// Gives tables without a primary key a replica identity, where an index serves.
async fn set_identities(client: &Client, publications: &[String]) -> Result<(), UpstreamError> {
    for table in catalog::read(client, publications).await? {
        let Some(index) = table.identity_candidate() else {
            continue;
        };
        let statement = format!(
            "ALTER TABLE {} REPLICA IDENTITY USING INDEX {}",
            table.sql(),
            quote(&index.name)
        );
        if let Err(reason) = alter(client, &statement).await? {
            tracing::warn!(table = %table.server_name(), reason,
                "the table has no primary key and its replica identity could not be set");
        }
    }
    Ok(())
}

fn explain(what: &str, error: &tokio_postgres::Error) -> UpstreamError {
    UpstreamError::Setup(format!(
        "cannot {what} in Postgres: {}",
        postgres_text(error)
    ))
}

/// What the server says of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The walsender that uses it.
    pub active_pid: Option<i32>,
    /// Whether its log is gone.
    pub lost: bool,
    /// The position up to which it was confirmed.
    pub confirmed: u64,
}

/// Looks a slot up.
pub async fn find_slot(client: &Client, name: &str) -> Result<Option<Slot>, UpstreamError> {
    let row = client
        .query_opt(
            "SELECT active_pid, coalesce(wal_status = 'lost', false) OR restart_lsn IS NULL,
                    coalesce((confirmed_flush_lsn - '0/0'::pg_lsn)::int8, 0)
             FROM pg_replication_slots WHERE slot_name = $1 AND slot_type = 'logical' AND database = current_database()",
            &[&name],
        )
        .await?;
    Ok(row.map(|row| Slot {
        active_pid: row.get(0),
        lost: row.get(1),
        confirmed: row.get::<_, i64>(2).max(0) as u64,
    }))
}

/// Bytes of its log that Postgres keeps for a slot.
pub async fn kept_for(client: &Client, name: &str) -> Result<Option<u64>, UpstreamError> {
    let row = client
        .query_opt(
            "SELECT (pg_current_wal_lsn() - restart_lsn)::int8 FROM pg_replication_slots
             WHERE slot_name = $1 AND restart_lsn IS NOT NULL",
            &[&name],
        )
        .await?;
    Ok(row.map(|row| row.get::<_, i64>(0).max(0) as u64))
}

/// Whether the database is the one that a replica was made from, and further on: then the replica shows a state that
/// was, though what happened since cannot be had from a slot.
pub async fn goes_on(
    client: &Client,
    state: &ReplicaState,
    publications: &[String],
) -> Result<bool, UpstreamError> {
    let row = client
        .query_one(
            "SELECT system_identifier::text, (pg_current_wal_lsn() - '0/0'::pg_lsn)::int8 FROM pg_control_system()",
            &[],
        )
        .await?;
    let (system, position): (String, i64) = (row.get(0), row.get(1));
    let timeline = state.generation.strip_prefix(&format!("pg-{system}-"));
    Ok(timeline.is_some()
        && u64::try_from(position).is_ok_and(|position| position > state.version)
        && state.publications == publications.join(","))
}

/// Ends the walsender that still holds a slot: a server that was replaced, or our own broken connection.
pub async fn take_over(client: &Client, name: &str) -> Result<(), UpstreamError> {
    for _ in 0..50 {
        match find_slot(client, name)
            .await?
            .and_then(|slot| slot.active_pid)
        {
            None => return Ok(()),
            Some(pid) => {
                client
                    .execute("SELECT pg_terminate_backend($1)", &[&pid])
                    .await?;
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Err(UpstreamError::Setup(format!(
        "the replication slot {name} is in use and its user does not let go"
    )))
}

/// Drops the shard's slots that nobody uses, except one: the replicas they fed are gone.
pub async fn drop_unused_slots(
    client: &Client,
    names: &Names,
    keep: &str,
) -> Result<(), UpstreamError> {
    let pattern = format!("^{}_[0-9a-f]{{8}}$", names.shard);
    let rows = client
        .query(
            "SELECT slot_name::text FROM pg_replication_slots
             WHERE slot_name ~ $1 AND slot_name <> $2 AND NOT active AND database = current_database()",
            &[&pattern, &keep],
        )
        .await?;
    for row in rows {
        let name: String = row.get(0);
        if let Err(error) = drop_slot(client, &name).await {
            tracing::warn!(slot = %name, %error, "an unused replication slot could not be dropped");
        }
    }
    Ok(())
}

/// Drops a slot.
pub async fn drop_slot(client: &impl GenericClient, name: &str) -> Result<(), UpstreamError> {
    client
        .execute("SELECT pg_drop_replication_slot($1)", &[&name])
        .await?;
    Ok(())
}
