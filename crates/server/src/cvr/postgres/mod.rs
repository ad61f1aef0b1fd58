//! Client view records in Postgres, shared by several nodes.
//!
//! Every group and every living instance belongs to one node. A node takes a group over by loading it: the node that
//! had it finds its name in `moved` before its next point is told to anybody, because both lock that node's row; and
//! its writes of the group's record are refused. What it may have told until then ends at its `durable`, which the
//! group remembers as `reached`. An instance of a node that lives is copied, not taken: the copy's labels say as much
//! about the past as the original's did when it was made.

mod group_rows;
mod link;
mod node;

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};

use deadpool_postgres::Transaction;
use parking_lot::Mutex;
use tokio_postgres::{Client, IsolationLevel};

use super::{
    CvrError, CvrStore, GroupRecord, GroupWrite, InstanceId, PointWrite, SchemaText, StateVersion,
    StoredInstance, StoredMember,
};
use crate::upstream::PostgresAddress as Address;
use group_rows::{clear_group, read_members_of_group, version, write_one};
use link::{Failed, Link, execute, query};

/// Keys of members are packed rows: those of format 1 have another layout.
const FORMAT: i32 = 2;
const TABLES: &str = include_str!("tables.sql");
/// Members that one statement writes.
const MEMBERS_AT_ONCE: usize = 5_000;

/// The store in a schema of a Postgres.
pub struct PostgresCvr {
    link: Link,
    schema: String,
    node: Arc<AtomicI32>,
    /// Holds the node's lock.
    session: Mutex<Option<Client>>,
    /// Moves up to here have been dealt with.
    seen: Arc<AtomicI64>,
}

impl PostgresCvr {
    /// Connects, and makes the tables in `schema` if they are missing.
    pub fn open(url: &str, schema: &str) -> Result<Self, CvrError> {
        let address = Address::parse(url)
            .and_then(|address| address.in_schema(schema))
            .map_err(|error| CvrError::Postgres(error.to_string()))?;
        let link = Link::new(address)?;
        let store = PostgresCvr {
            link,
            schema: schema.to_owned(),
            node: Arc::default(),
            session: Mutex::new(None),
            seen: Arc::default(),
        };
        store.make_tables()?;
        Ok(store)
    }

    fn make_tables(&self) -> Result<(), CvrError> {
        let schema = self.schema.clone();
        self.link.run(move |mut client| {
            let schema = schema.clone();
            Box::pin(async move {
                let tx = client.transaction().await?;
                // Two nodes may start at once.
                tx.query_one("SELECT pg_advisory_xact_lock(hashtext($1), 0)", &[&schema])
                    .await?;
                tx.batch_execute(&format!(
                    "CREATE SCHEMA IF NOT EXISTS \"{schema}\"; {TABLES}"
                ))
                .await?;
                Ok(tx.commit().await?)
            })
        })
    }

    /// A session that holds the lock of a node.
    fn hold(&self, node: i32) -> Result<Client, CvrError> {
        let client = self.link.session()?;
        let (client, held) = self.link.wait(async move {
            let sql = "SELECT pg_try_advisory_lock(hashtext(current_schema()), $1)";
            let row = client.query_one(sql, &[&node]).await;
            let row = row.map_err(|error| CvrError::Away(error.to_string()))?;
            Ok((client, row.get::<_, bool>(0)))
        })?;
        match held {
            true => Ok(client),
            false => Err(CvrError::Fenced),
        }
    }

    /// The node, whose lock is held. A session that broke is replaced; if others noticed first, the node has ended.
    fn living(&self) -> Result<i32, CvrError> {
        let node = self.node.load(Ordering::Acquire);
        // Kept until the new session is there: a second one would find the lock taken by the first.
        let mut session = self.session.lock();
        if session.as_ref().is_none_or(Client::is_closed) {
            *session = Some(self.hold(node)?);
        }
        Ok(node)
    }
}

impl CvrStore for PostgresCvr {
    fn begin(&self, generation: &str, version: StateVersion) -> Result<(), CvrError> {
        let earlier = self.node.load(Ordering::Acquire);
        let node = self.link.run(|client| {
            Box::pin(async move {
                let row = client.query_one("SELECT nextval('node_ids')::int4", &[]);
                Ok(row.await?.get::<_, i32>(0))
            })
        })?;
        // First the lock: a node without one counts as gone.
        *self.session.lock() = Some(self.hold(node)?);
        let generation = generation.to_owned();
        let forgotten = self.link.run(move |mut client| {
            let generation = generation.clone();
            Box::pin(async move {
                let tx = client.transaction().await?;
                let forgotten = node::enter(&tx, node, earlier, &generation, version).await?;
                tx.commit().await?;
                Ok(forgotten)
            })
        })?;
        if forgotten {
            tracing::info!("the client view records belong to another replica; they begin anew");
        }
        self.node.store(node, Ordering::Release);
        self.seen.store(0, Ordering::Release);
        tracing::info!(node, schema = %self.schema, "the client view records are shared");
        Ok(())
    }

    fn end(&self) -> Result<(), CvrError> {
        let node = self.node.load(Ordering::Acquire);
        let ended = self.link.run(move |mut client| {
            Box::pin(async move {
                let tx = client.transaction().await?;
                node::end(&tx, node).await?;
                Ok(tx.commit().await?)
            })
        });
        self.session.lock().take();
        ended
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn load_group(&self, group: &str) -> Result<Option<GroupRecord>, CvrError> {
        let (group, node) = (group.to_owned(), self.living()?);
        self.link.run(move |mut client| {
            let group = group.clone();
            Box::pin(async move {
                let tx = client.transaction().await?;
                let record = take_group(&tx, &group, node).await?;
                tx.commit().await?;
                Ok(Some(record))
            })
        })
    }

    fn serves(&self, group: &str) -> Result<bool, CvrError> {
        let (group, node) = (group.to_owned(), self.node.load(Ordering::Acquire));
        self.link.run(move |mut client| {
            let group = group.clone();
            Box::pin(async move {
                let tx = client.transaction().await?;
                let sql = "SELECT 1 FROM groups WHERE id = $1 AND node = $2";
                Ok(!query(&tx, sql, &[&group, &node]).await?.is_empty())
            })
        })
    }

    fn write_group(&self, group: &str, writes: &[GroupWrite]) -> Result<(), CvrError> {
        let (group, writes) = (group.to_owned(), Arc::new(writes.to_vec()));
        let node = self.node.load(Ordering::Acquire);
        self.link.run(move |mut client| {
            let (group, writes) = (group.clone(), writes.clone());
            Box::pin(async move {
                let tx = client.transaction().await?;
                let sql = "SELECT 1 FROM groups WHERE id = $1 AND node = $2 FOR UPDATE";
                if query(&tx, sql, &[&group, &node]).await?.is_empty() {
                    return Err(Failed::Final(CvrError::Moved));
                }
                for write in writes.iter() {
                    write_one(&tx, &group, write).await?;
                }
                Ok(tx.commit().await?)
            })
        })
    }

    fn commit_point(&self, write: &PointWrite) -> Result<Vec<String>, CvrError> {
        let (write, node) = (Arc::new(write.clone()), self.living()?);
        let seen = self.seen.load(Ordering::Acquire);
        let (moved, newest) = self.link.run(move |mut client| {
            let write = write.clone();
            Box::pin(async move {
                let tx = client.transaction().await?;
                let moved = write_point(&tx, node, seen, &write).await?;
                tx.commit().await?;
                Ok(moved)
            })
        })?;
        // Told to nobody yet, but the caller does nothing before it has dealt with them.
        self.seen.fetch_max(newest, Ordering::AcqRel);
        Ok(moved)
    }

    fn next_instance(&self) -> Result<InstanceId, CvrError> {
        self.link.run(|client| {
            Box::pin(async move {
                let row = client.query_one("SELECT nextval('instance_ids')", &[]);
                Ok(InstanceId(row.await?.get::<_, i64>(0) as u64))
            })
        })
    }

    fn find_instance(&self, key: &[u8]) -> Result<Option<StoredInstance>, CvrError> {
        let (key, node) = (key.to_vec(), self.node.load(Ordering::Acquire));
        self.link.run(move |mut client| {
            let key = key.clone();
            Box::pin(async move {
                let tx = client
                    .build_transaction()
                    .isolation_level(IsolationLevel::RepeatableRead)
                    .start()
                    .await?;
                let found = find(&tx, node, &key).await?;
                tx.commit().await?;
                Ok(found)
            })
        })
    }

    fn load_cold(
        &self,
        id: InstanceId,
    ) -> Result<Option<(StoredInstance, Vec<StoredMember>)>, CvrError> {
        self.link.run(move |mut client| {
            Box::pin(async move {
                let tx = client
                    .build_transaction()
                    .isolation_level(IsolationLevel::RepeatableRead)
                    .read_only(true)
                    .start()
                    .await?;
                let sql =
                    "SELECT i.id, coalesce(i.frozen, n.durable, 0), i.pruned_below FROM instances i
                    LEFT JOIN nodes n ON n.id = i.node WHERE i.id = $1";
                let rows = query(&tx, sql, &[&(id.0 as i64)]).await?;
                let Some(row) = rows.first() else {
                    return Ok(None);
                };
                Ok(Some((stored_instance(row), members(&tx, id).await?)))
            })
        })
    }

    fn load_members(&self, id: InstanceId) -> Result<Vec<StoredMember>, CvrError> {
        self.link.run(move |mut client| {
            Box::pin(async move {
                let tx = client.transaction().await?;
                members(&tx, id).await
            })
        })
    }

    fn sweep_instances(&self, alive: &[InstanceId]) -> Result<usize, CvrError> {
        let alive: Arc<Vec<i64>> = Arc::new(alive.iter().map(|id| id.0 as i64).collect());
        let node = self.node.load(Ordering::Acquire);
        self.link.run(move |mut client| {
            let alive = alive.clone();
            Box::pin(async move {
                let tx = client.transaction().await?;
                node::reap(&tx, node).await?;
                let sql = "WITH dropped AS (DELETE FROM instances i WHERE id NOT IN (SELECT instance FROM spans)
                      AND (node IS NULL OR node = $1 AND id <> ALL($2)
                        OR EXISTS (SELECT 1 FROM nodes n WHERE n.id = i.node AND n.ended)) RETURNING id)
                    SELECT id FROM dropped";
                let dropped: Vec<i64> = query(&tx, sql, &[&node, &*alive])
                    .await?
                    .iter()
                    .map(|row| row.get(0))
                    .collect();
                execute(&tx, "DELETE FROM members WHERE instance = ANY($1)", &[&dropped]).await?;
                let unused = "DELETE FROM nodes n WHERE ended AND NOT EXISTS (SELECT 1 FROM groups WHERE node = n.id)
                    AND NOT EXISTS (SELECT 1 FROM instances WHERE node = n.id)";
                execute(&tx, unused, &[]).await?;
                tx.commit().await?;
                Ok(dropped.len())
            })
        })
    }

    fn purge_groups(&self, before_ms: i64) -> Result<usize, CvrError> {
        // Those that another living node serves are its business: its clock may be another.
        let node = self.node.load(Ordering::Acquire);
        self.link.run(move |mut client| {
            Box::pin(async move {
                let tx = client.transaction().await?;
                let sql = "UPDATE groups g SET node = NULL, reached = 0 WHERE last_active < $1 AND NOT purged
                    AND NOT EXISTS (SELECT 1 FROM nodes n WHERE n.id = g.node AND NOT n.ended AND n.id <> $2)
                    RETURNING id";
                let rows = query(&tx, sql, &[&before_ms, &node]).await?;
                for row in &rows {
                    clear_group(&tx, row.get(0)).await?;
                }
                tx.commit().await?;
                Ok(rows.len())
            })
        })
    }
}

/// Makes a group this node's, and reads its record.
async fn take_group(tx: &Transaction<'_>, group: &str, node: i32) -> Result<GroupRecord, Failed> {
    let new =
        "INSERT INTO groups (id, last_active) VALUES ($1, (extract(epoch FROM now()) * 1000)::int8)
        ON CONFLICT DO NOTHING";
    execute(tx, new, &[&group]).await?;
    let sql = "SELECT owned, owner, client_schema, state, config, ttl_clock, purged, pruned_state, pruned_config,
        node, reached FROM groups WHERE id = $1 FOR UPDATE";
    let rows = query(tx, sql, &[&group]).await?;
    let Some(row) = rows.first() else {
        return Err(Failed::Passing(
            "a client group went while it was read".to_owned(),
        ));
    };
    let mut reached: i64 = row.get(10);
    if let Some(before) = row.get::<_, Option<i32>>(9) {
        // Whoever has this row locked commits a point, whose pokes are told before the group is taken.
        let sql = "SELECT durable, ended FROM nodes WHERE id = $1 FOR UPDATE";
        let nodes = query(tx, sql, &[&before]).await?;
        if let Some(other) = nodes.first() {
            reached = reached.max(other.get(0));
            if before != node && !other.get::<_, bool>(1) {
                let sql = "INSERT INTO moved (node, grp) VALUES ($1, $2)";
                execute(tx, sql, &[&before, &group]).await?;
            }
        }
    }
    let sql = "UPDATE groups SET node = $2, reached = $3 WHERE id = $1";
    execute(tx, sql, &[&group, &node, &reached]).await?;
    let sql = "DELETE FROM moved WHERE node = $1 AND grp = $2";
    execute(tx, sql, &[&node, &group]).await?;
    let mut record = GroupRecord {
        owner: row.get::<_, bool>(0).then(|| row.get(1)),
        client_schema: row.get::<_, Option<&str>>(2).map(SchemaText::from),
        version: version(row, 3),
        reached: reached as u64,
        ttl_clock_ms: row.get::<_, i64>(5) as u64,
        purged: row.get(6),
        pruned_below: version(row, 7),
        ..GroupRecord::default()
    };
    read_members_of_group(tx, group, &mut record).await?;
    Ok(record)
}

/// Stores a point. Returns the groups that were taken over since the last one, and up to where they were read.
async fn write_point(
    tx: &Transaction<'_>,
    node: i32,
    seen: i64,
    write: &PointWrite,
) -> Result<(Vec<String>, i64), Failed> {
    let point = write.point as i64;
    let sql = "UPDATE nodes SET durable = greatest(durable, $2) WHERE id = $1 AND NOT ended";
    if execute(tx, sql, &[&node, &point]).await? == 0 {
        return Err(Failed::Final(CvrError::Fenced));
    }
    for (id, key) in &write.born {
        let sql = "INSERT INTO instances (id, key, node, frozen, pruned_below) VALUES ($1, $2, $3, NULL, 0)
            ON CONFLICT (id) DO UPDATE SET frozen = NULL WHERE instances.node = $3";
        if execute(tx, sql, &[&(id.0 as i64), key, &node]).await? == 0 {
            return Err(Failed::Final(CvrError::Fenced));
        }
    }
    for (id, members) in &write.members {
        for some in members.chunks(MEMBERS_AT_ONCE) {
            write_members(tx, *id, some).await?;
        }
    }
    for (id, below) in &write.pruned {
        let (id, below) = (id.0 as i64, *below as i64);
        let sql = "DELETE FROM members WHERE instance = $1 AND gone <= $2";
        execute(tx, sql, &[&id, &below]).await?;
        let sql = "UPDATE instances SET pruned_below = $2 WHERE id = $1";
        execute(tx, sql, &[&id, &below]).await?;
    }
    if !write.frozen.is_empty() {
        let frozen: Vec<i64> = write.frozen.iter().map(|id| id.0 as i64).collect();
        let sql = "UPDATE instances SET frozen = $2 WHERE id = ANY($1) AND node = $3";
        execute(tx, sql, &[&frozen, &point, &node]).await?;
    }
    if seen > 0 {
        let sql = "DELETE FROM moved WHERE node = $1 AND seq <= $2";
        execute(tx, sql, &[&node, &seen]).await?;
    }
    // Statements of their own, after the node's row is locked: they see every group that was taken before.
    let moved = query(tx, "SELECT grp, seq FROM moved WHERE node = $1", &[&node]).await?;
    let newest = moved.iter().map(|row| row.get(1)).max().unwrap_or(0);
    let mut groups: Vec<String> = moved.iter().map(|row| row.get(0)).collect();
    if !write.joining.is_empty() {
        let sql = "SELECT id FROM groups WHERE id = ANY($1) AND node IS DISTINCT FROM $2";
        let taken = query(tx, sql, &[&write.joining, &node]).await?;
        groups.extend(taken.iter().map(|row| row.get::<_, String>(0)));
    }
    Ok((groups, newest))
}

async fn write_members(
    tx: &Transaction<'_>,
    id: InstanceId,
    members: &[StoredMember],
) -> Result<(), Failed> {
    let tables: Vec<&str> = members.iter().map(|m| m.table.as_str()).collect();
    let keys: Vec<&[u8]> = members.iter().map(|m| &*m.key).collect();
    let entered: Vec<i64> = members.iter().map(|m| m.entered as i64).collect();
    let changed: Vec<i64> = members.iter().map(|m| m.changed as i64).collect();
    let gone: Vec<Option<i64>> = members.iter().map(|m| m.left.map(|v| v as i64)).collect();
    let fingerprints: Vec<Vec<u8>> = members
        .iter()
        .map(|m| m.fingerprint.to_be_bytes().to_vec())
        .collect();
    let sql = "INSERT INTO members (instance, tbl, key, entered, changed, gone, fingerprint)
        SELECT $1, * FROM unnest($2::text[], $3::bytea[], $4::int8[], $5::int8[], $6::int8[], $7::bytea[])
        ON CONFLICT (instance, tbl, key) DO UPDATE SET entered = excluded.entered, changed = excluded.changed,
          gone = excluded.gone, fingerprint = excluded.fingerprint";
    execute(
        tx,
        sql,
        &[
            &(id.0 as i64),
            &tables,
            &keys,
            &entered,
            &changed,
            &gone,
            &fingerprints,
        ],
    )
    .await?;
    Ok(())
}

/// The stored instance that knows most, made this node's: taken if nobody has it, else copied.
async fn find(
    tx: &Transaction<'_>,
    node: i32,
    key: &[u8],
) -> Result<Option<StoredInstance>, Failed> {
    let sql = "SELECT i.id, coalesce(i.frozen, n.durable, 0) AS durable, i.pruned_below, i.node,
          (n.id IS NULL OR n.ended OR n.id = $2) AS free
        FROM instances i LEFT JOIN nodes n ON n.id = i.node
        WHERE md5(i.key) = md5($1::bytea) AND i.key = $1 ORDER BY durable DESC, i.id DESC LIMIT 1";
    let rows = query(tx, sql, &[&key, &node]).await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let found = stored_instance(row);
    let (owner, mut free): (Option<i32>, bool) = (row.get(3), row.get(4));
    if let Some(owner) = owner.filter(|_| !free) {
        free = node::is_gone(tx, owner).await?;
        if free {
            node::end(tx, owner).await?;
        }
    }
    let (id, durable) = (found.id.0 as i64, found.durable as i64);
    if free {
        let sql = "UPDATE instances SET node = $2, frozen = $3 WHERE id = $1";
        execute(tx, sql, &[&id, &node, &durable]).await?;
        return Ok(Some(found));
    }
    let sql = "INSERT INTO instances (id, key, node, frozen, pruned_below)
        VALUES (nextval('instance_ids'), $1, $2, $3, $3) RETURNING id, frozen, pruned_below";
    let rows = query(tx, sql, &[&key, &node, &durable]).await?;
    let Some(copy) = rows.first().map(stored_instance) else {
        return Ok(None);
    };
    // Nobody has been told anything of the copy, so departures before it are nobody's business.
    let sql =
        "INSERT INTO members SELECT $2, tbl, key, entered, changed, NULL, fingerprint FROM members
        WHERE instance = $1 AND gone IS NULL";
    execute(tx, sql, &[&id, &(copy.id.0 as i64)]).await?;
    Ok(Some(copy))
}

fn stored_instance(row: &tokio_postgres::Row) -> StoredInstance {
    StoredInstance {
        id: InstanceId(row.get::<_, i64>(0) as u64),
        durable: row.get::<_, i64>(1) as u64,
        pruned_below: row.get::<_, i64>(2) as u64,
    }
}

async fn members(tx: &Transaction<'_>, id: InstanceId) -> Result<Vec<StoredMember>, Failed> {
    let sql =
        "SELECT tbl, key, entered, changed, gone, fingerprint FROM members WHERE instance = $1";
    let rows = query(tx, sql, &[&(id.0 as i64)]).await?;
    let member = |row: &tokio_postgres::Row| StoredMember {
        table: row.get(0),
        key: row.get::<_, Vec<u8>>(1).into_boxed_slice(),
        entered: row.get::<_, i64>(2) as StateVersion,
        changed: row.get::<_, i64>(3) as StateVersion,
        left: row.get::<_, Option<i64>>(4).map(|v| v as StateVersion),
        // A fingerprint of another size compares unequal, so the row is simply sent again.
        fingerprint: row
            .get::<_, Vec<u8>>(5)
            .try_into()
            .map(u128::from_be_bytes)
            .unwrap_or(0),
    };
    Ok(rows.iter().map(member).collect())
}
