//! A group's record as rows of Postgres: reading it, and each of its writes. Each write may be made twice.

use deadpool_postgres::Transaction;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::link::{Failed, execute, query};
use crate::cvr::{
    CvrError, CvrVersion, Desire, GotSpan, GroupRecord, GroupWrite, InstanceId, QueryDefinition,
    SentResult,
};

pub(super) fn version(row: &Row, at: usize) -> CvrVersion {
    CvrVersion {
        state: row.get::<_, i64>(at) as u64,
        config: row.get::<_, i64>(at + 1) as u64,
    }
}

fn optional_version(row: &Row, at: usize) -> Option<CvrVersion> {
    let (state, config): (Option<i64>, Option<i64>) = (row.get(at), row.get(at + 1));
    Some(CvrVersion {
        state: state? as u64,
        config: config? as u64,
    })
}

pub(super) async fn read_members_of_group(
    tx: &Transaction<'_>,
    group: &str,
    record: &mut GroupRecord,
) -> Result<(), Failed> {
    let of_group: &[&(dyn ToSql + Sync)] = &[&group];
    // Polled together, they go out at once.
    let (clients, desires, queries, spans, results) = futures::try_join!(
        query(tx, "SELECT client FROM clients WHERE grp = $1", of_group),
        query(
            tx,
            "SELECT client, hash, state, config, active, ttl, inactivated_at FROM desires WHERE grp = $1",
            of_group
        ),
        query(
            tx,
            "SELECT hash, ast, name, args FROM queries WHERE grp = $1",
            of_group
        ),
        query(
            tx,
            "SELECT hash, instance, from_state, from_config, until_state, until_config FROM spans
             WHERE grp = $1 ORDER BY from_state, from_config, hash COLLATE \"C\"",
            of_group
        ),
        query(
            tx,
            "SELECT client, mutation, put_state, put_config, del_state, del_config FROM results WHERE grp = $1",
            of_group
        ),
    )?;
    record.clients = clients.iter().map(|row| row.get(0)).collect();
    let desire = |row: &Row| Desire {
        version: version(row, 2),
        active: row.get(4),
        ttl_ms: row.get::<_, i64>(5) as u64,
        inactivated_at_ms: row.get::<_, Option<i64>>(6).map(|v| v as u64),
    };
    record.desires = desires
        .iter()
        .map(|row| ((row.get(0), row.get(1)), desire(row)))
        .collect();
    for row in &queries {
        let hash: String = row.get(0);
        let definition = match (row.get(1), row.get(2), row.get(3)) {
            (Some(ast), _, _) => QueryDefinition::Ast(ast),
            (None, Some(name), Some(args)) => QueryDefinition::Named { name, args },
            _ => {
                return Err(Failed::Final(CvrError::Damaged(format!(
                    "query {hash} has neither AST nor name"
                ))));
            }
        };
        record.queries.insert(hash, definition);
    }
    let span = |row: &Row| GotSpan {
        hash: row.get(0),
        instance: InstanceId(row.get::<_, i64>(1) as u64),
        from: version(row, 2),
        until: optional_version(row, 4),
    };
    record.spans = spans.iter().map(span).collect();
    let result = |row: &Row| SentResult {
        put: version(row, 2),
        del: optional_version(row, 4),
    };
    record.results = results
        .iter()
        .map(|row| ((row.get(0), row.get::<_, i64>(1) as u64), result(row)))
        .collect();
    Ok(())
}

pub(super) async fn clear_group(tx: &Transaction<'_>, group: &str) -> Result<(), Failed> {
    for table in ["clients", "desires", "queries", "spans", "results"] {
        tx.execute(&format!("DELETE FROM {table} WHERE grp = $1"), &[&group])
            .await?;
    }
    tx.execute(
        "UPDATE groups SET client_schema = NULL, state = 0, config = 0, ttl_clock = 0, pruned_state = 0,
           pruned_config = 0, purged = true WHERE id = $1",
        &[&group],
    )
    .await?;
    Ok(())
}

pub(super) async fn write_one(
    tx: &Transaction<'_>,
    group: &str,
    write: &GroupWrite,
) -> Result<(), Failed> {
    let run = async |sql: &str, values: &[&(dyn ToSql + Sync)]| -> Result<(), Failed> {
        execute(tx, sql, values).await?;
        Ok(())
    };
    let parts = |v: &CvrVersion| (v.state as i64, v.config as i64);
    match write {
        GroupWrite::Owner(owner) => {
            let sql = "UPDATE groups SET owned = true, owner = $2 WHERE id = $1";
            run(sql, &[&group, owner]).await
        }
        GroupWrite::ClientSchema(schema) => {
            let sql = "UPDATE groups SET client_schema = $2 WHERE id = $1";
            run(sql, &[&group, &&**schema]).await
        }
        GroupWrite::Version(v) => {
            let sql = "UPDATE groups SET state = $2, config = $3, purged = false WHERE id = $1";
            let (state, config) = parts(v);
            run(sql, &[&group, &state, &config]).await
        }
        GroupWrite::Clock {
            ttl_clock_ms,
            now_ms,
        } => {
            let sql = "UPDATE groups SET ttl_clock = $2, last_active = $3 WHERE id = $1";
            run(sql, &[&group, &(*ttl_clock_ms as i64), now_ms]).await
        }
        GroupWrite::Client(client) => {
            let sql = "INSERT INTO clients VALUES ($1, $2) ON CONFLICT DO NOTHING";
            run(sql, &[&group, client]).await
        }
        GroupWrite::DropClient(client) => {
            let sql = "DELETE FROM clients WHERE grp = $1 AND client = $2";
            run(sql, &[&group, client]).await
        }
        GroupWrite::Desire(client, hash, d) => {
            let sql = "INSERT INTO desires VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                ON CONFLICT (grp, client, hash) DO UPDATE SET state = excluded.state, config = excluded.config,
                active = excluded.active, ttl = excluded.ttl, inactivated_at = excluded.inactivated_at";
            let (state, config) = parts(&d.version);
            let at = d.inactivated_at_ms.map(|v| v as i64);
            let ttl = d.ttl_ms as i64;
            run(
                sql,
                &[&group, client, hash, &state, &config, &d.active, &ttl, &at],
            )
            .await
        }
        GroupWrite::DropDesire(client, hash) => {
            let sql = "DELETE FROM desires WHERE grp = $1 AND client = $2 AND hash = $3";
            run(sql, &[&group, client, hash]).await
        }
        GroupWrite::Query(hash, definition) => {
            let sql =
                "INSERT INTO queries VALUES ($1, $2, $3, $4, $5) ON CONFLICT (grp, hash) DO UPDATE
                SET ast = excluded.ast, name = excluded.name, args = excluded.args";
            let (ast, name, args) = match definition {
                QueryDefinition::Ast(ast) => (Some(ast), None, None),
                QueryDefinition::Named { name, args } => (None, Some(name), Some(args)),
            };
            run(sql, &[&group, hash, &ast, &name, &args]).await
        }
        GroupWrite::DropQuery(hash) => {
            let sql = "DELETE FROM queries WHERE grp = $1 AND hash = $2";
            run(sql, &[&group, hash]).await
        }
        GroupWrite::Open(s) => {
            let sql = "INSERT INTO spans VALUES ($1, $2, $3, $4, $5, $6, $7)
                ON CONFLICT (grp, hash, from_state, from_config) DO UPDATE SET instance = excluded.instance,
                until_state = excluded.until_state, until_config = excluded.until_config";
            let (from, until) = (parts(&s.from), s.until.as_ref().map(parts));
            let (until_state, until_config) = (until.map(|u| u.0), until.map(|u| u.1));
            let instance = s.instance.0 as i64;
            run(
                sql,
                &[
                    &group,
                    &s.hash,
                    &instance,
                    &from.0,
                    &from.1,
                    &until_state,
                    &until_config,
                ],
            )
            .await
        }
        GroupWrite::Close(hash, v) => {
            let sql = "UPDATE spans SET until_state = $3, until_config = $4
                WHERE grp = $1 AND hash = $2 AND until_state IS NULL";
            let (state, config) = parts(v);
            run(sql, &[&group, hash, &state, &config]).await
        }
        GroupWrite::Result(client, id, r) => {
            let sql = "INSERT INTO results VALUES ($1, $2, $3, $4, $5, $6, $7)
                ON CONFLICT (grp, client, mutation) DO UPDATE SET put_state = excluded.put_state,
                put_config = excluded.put_config, del_state = excluded.del_state, del_config = excluded.del_config";
            let (put, del) = (parts(&r.put), r.del.as_ref().map(parts));
            let (del_state, del_config) = (del.map(|d| d.0), del.map(|d| d.1));
            let id = *id as i64;
            run(
                sql,
                &[&group, client, &id, &put.0, &put.1, &del_state, &del_config],
            )
            .await
        }
        GroupWrite::Prune(below) => {
            let (state, config) = parts(below);
            for sql in [
                "UPDATE groups SET pruned_state = $2, pruned_config = $3 WHERE id = $1",
                "DELETE FROM spans WHERE grp = $1 AND (until_state, until_config) <= ($2, $3)",
                "DELETE FROM results WHERE grp = $1 AND (del_state, del_config) <= ($2, $3)",
                "DELETE FROM desires WHERE grp = $1 AND NOT active AND (state, config) <= ($2, $3)
                 AND hash NOT IN (SELECT hash FROM queries WHERE grp = $1)",
            ] {
                run(sql, &[&group, &state, &config]).await?;
            }
            Ok(())
        }
        GroupWrite::Clear => clear_group(tx, group).await,
    }
}
