//! A group's record as rows: reading it, and each of its writes.

use rusqlite::Transaction;

use super::{
    CvrError, CvrVersion, Desire, GotSpan, GroupRecord, GroupWrite, InstanceId, QueryDefinition,
    SentResult,
};

pub(super) fn version(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<CvrVersion> {
    Ok(CvrVersion {
        state: row.get::<_, i64>(at)? as u64,
        config: row.get::<_, i64>(at + 1)? as u64,
    })
}

fn optional_version(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Option<CvrVersion>> {
    Ok(
        match (
            row.get::<_, Option<i64>>(at)?,
            row.get::<_, Option<i64>>(at + 1)?,
        ) {
            (Some(state), Some(config)) => Some(CvrVersion {
                state: state as u64,
                config: config as u64,
            }),
            _ => None,
        },
    )
}

pub(super) fn clear_group(tx: &Transaction<'_>, group: &str) -> rusqlite::Result<()> {
    for table in ["clients", "desires", "queries", "spans", "results"] {
        tx.prepare_cached(&format!("DELETE FROM {table} WHERE grp = ?"))?
            .execute([group])?;
    }
    tx.prepare_cached(
        "UPDATE groups SET client_schema = NULL, state = 0, config = 0, ttl_clock = 0, pruned_state = 0, pruned_config = 0, purged = 1 WHERE id = ?",
    )?
    .execute([group])?;
    Ok(())
}

pub(super) fn read_members_of_group(
    tx: &Transaction<'_>,
    group: &str,
    record: &mut GroupRecord,
) -> Result<(), CvrError> {
    let mut clients = tx.prepare_cached("SELECT client FROM clients WHERE grp = ?")?;
    for client in clients.query_map([group], |row| row.get(0))? {
        record.clients.insert(client?);
    }
    let mut desires = tx.prepare_cached(
        "SELECT client, hash, state, config, active, ttl, inactivated_at FROM desires WHERE grp = ?",
    )?;
    let found = desires.query_map([group], |row| {
        let desire = Desire {
            version: version(row, 2)?,
            active: row.get(4)?,
            ttl_ms: row.get::<_, i64>(5)? as u64,
            inactivated_at_ms: row.get::<_, Option<i64>>(6)?.map(|v| v as u64),
        };
        Ok(((row.get(0)?, row.get(1)?), desire))
    })?;
    record.desires = found.collect::<Result<_, _>>()?;

    let mut queries =
        tx.prepare_cached("SELECT hash, ast, name, args FROM queries WHERE grp = ?")?;
    let mut rows = queries.query([group])?;
    while let Some(row) = rows.next()? {
        let hash: String = row.get(0)?;
        let definition = match (row.get::<_, Option<String>>(1)?, row.get(2)?, row.get(3)?) {
            (Some(ast), _, _) => QueryDefinition::Ast(ast),
            (None, Some(name), Some(args)) => QueryDefinition::Named { name, args },
            _ => {
                return Err(CvrError::Damaged(format!(
                    "query {hash} has neither AST nor name"
                )));
            }
        };
        record.queries.insert(hash, definition);
    }

    let mut spans = tx.prepare_cached(
        "SELECT hash, instance, from_state, from_config, until_state, until_config FROM spans
         WHERE grp = ? ORDER BY from_state, from_config, hash",
    )?;
    let found = spans.query_map([group], |row| {
        Ok(GotSpan {
            hash: row.get(0)?,
            instance: InstanceId(row.get::<_, i64>(1)? as u64),
            from: version(row, 2)?,
            until: optional_version(row, 4)?,
        })
    })?;
    record.spans = found.collect::<Result<_, _>>()?;

    let mut results = tx.prepare_cached(
        "SELECT client, mutation, put_state, put_config, del_state, del_config FROM results WHERE grp = ?",
    )?;
    let found = results.query_map([group], |row| {
        Ok((
            (row.get(0)?, row.get::<_, i64>(1)? as u64),
            SentResult {
                put: version(row, 2)?,
                del: optional_version(row, 4)?,
            },
        ))
    })?;
    record.results = found.collect::<Result<_, _>>()?;
    Ok(())
}

pub(super) fn write_one(
    tx: &Transaction<'_>,
    group: &str,
    write: &GroupWrite,
) -> Result<(), CvrError> {
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| -> rusqlite::Result<usize> {
        tx.prepare_cached(sql)?.execute(values)
    };
    match write {
        GroupWrite::Owner(owner) => {
            run(
                "UPDATE groups SET owned = 1, owner = ?2 WHERE id = ?1",
                &[&group, owner],
            )?;
        }
        GroupWrite::ClientSchema(schema) => {
            run(
                "UPDATE groups SET client_schema = ?2 WHERE id = ?1",
                &[&group, &&**schema],
            )?;
        }
        GroupWrite::Version(v) => {
            let sql = "UPDATE groups SET state = ?2, config = ?3, purged = 0 WHERE id = ?1";
            run(sql, &[&group, &(v.state as i64), &(v.config as i64)])?;
        }
        GroupWrite::Clock {
            ttl_clock_ms,
            now_ms,
        } => {
            let sql = "UPDATE groups SET ttl_clock = ?2, last_active = ?3 WHERE id = ?1";
            run(sql, &[&group, &(*ttl_clock_ms as i64), now_ms])?;
        }
        GroupWrite::Client(client) => {
            run(
                "INSERT OR IGNORE INTO clients VALUES (?, ?)",
                &[&group, client],
            )?;
        }
        GroupWrite::DropClient(client) => {
            run(
                "DELETE FROM clients WHERE grp = ? AND client = ?",
                &[&group, client],
            )?;
        }
        GroupWrite::Desire(client, hash, d) => {
            let sql = "INSERT OR REPLACE INTO desires VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
            let (state, config) = (d.version.state as i64, d.version.config as i64);
            let at = d.inactivated_at_ms.map(|v| v as i64);
            run(
                sql,
                &[
                    &group,
                    client,
                    hash,
                    &state,
                    &config,
                    &d.active,
                    &(d.ttl_ms as i64),
                    &at,
                ],
            )?;
        }
        GroupWrite::DropDesire(client, hash) => {
            run(
                "DELETE FROM desires WHERE grp = ? AND client = ? AND hash = ?",
                &[&group, client, hash],
            )?;
        }
        GroupWrite::Query(hash, definition) => {
            let sql = "INSERT OR REPLACE INTO queries VALUES (?, ?, ?, ?, ?)";
            let none: Option<String> = None;
            match definition {
                QueryDefinition::Ast(ast) => run(sql, &[&group, hash, ast, &none, &none])?,
                QueryDefinition::Named { name, args } => {
                    run(sql, &[&group, hash, &none, name, args])?
                }
            };
        }
        GroupWrite::DropQuery(hash) => {
            run(
                "DELETE FROM queries WHERE grp = ? AND hash = ?",
                &[&group, hash],
            )?;
        }
        GroupWrite::Open(s) => {
            let sql = "INSERT OR REPLACE INTO spans VALUES (?, ?, ?, ?, ?, ?, ?)";
            let until = s.until.map(|u| (u.state as i64, u.config as i64));
            let (us, uc) = (until.map(|u| u.0), until.map(|u| u.1));
            let (fs, fc) = (s.from.state as i64, s.from.config as i64);
            run(
                sql,
                &[&group, &s.hash, &(s.instance.0 as i64), &fs, &fc, &us, &uc],
            )?;
        }
        GroupWrite::Close(hash, v) => {
            let sql = "UPDATE spans SET until_state = ?3, until_config = ?4
                       WHERE grp = ?1 AND hash = ?2 AND until_state IS NULL";
            run(sql, &[&group, hash, &(v.state as i64), &(v.config as i64)])?;
        }
        GroupWrite::Result(client, id, r) => {
            let del = r.del.map(|v| (v.state as i64, v.config as i64));
            let (put_state, put_config) = (r.put.state as i64, r.put.config as i64);
            let (ds, dc) = (del.map(|d| d.0), del.map(|d| d.1));
            let sql = "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?, ?)";
            run(
                sql,
                &[
                    &group,
                    client,
                    &(*id as i64),
                    &put_state,
                    &put_config,
                    &ds,
                    &dc,
                ],
            )?;
        }
        GroupWrite::Prune(below) => {
            let below: [&dyn rusqlite::ToSql; 3] =
                [&group, &(below.state as i64), &(below.config as i64)];
            run(
                "UPDATE groups SET pruned_state = ?2, pruned_config = ?3 WHERE id = ?1",
                &below,
            )?;
            run(
                "DELETE FROM spans WHERE grp = ?1 AND (until_state, until_config) <= (?2, ?3)",
                &below,
            )?;
            run(
                "DELETE FROM results WHERE grp = ?1 AND (del_state, del_config) <= (?2, ?3)",
                &below,
            )?;
            let desires =
                "DELETE FROM desires WHERE grp = ?1 AND active = 0 AND (state, config) <= (?2, ?3)
                AND hash NOT IN (SELECT hash FROM queries WHERE grp = ?1)";
            run(desires, &below)?;
        }
        GroupWrite::Clear => clear_group(tx, group)?,
    }
    Ok(())
}
