//! Client view records in a SQLite file beside the replica.

use std::path::Path;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};

use super::group_rows::{clear_group, read_members_of_group, version, write_one};
use super::{
    CvrError, CvrStore, GroupRecord, GroupWrite, InstanceId, PointWrite, SchemaText, StateVersion,
    StoredInstance, StoredMember,
};

/// Keys of members are packed rows: those of format 1 have another layout.
const FORMAT: i64 = 2;

const TABLES: &str = "
CREATE TABLE meta (one INTEGER PRIMARY KEY CHECK (one = 1), generation TEXT, durable INTEGER NOT NULL,
  next_instance INTEGER NOT NULL) STRICT;
INSERT INTO meta VALUES (1, NULL, 0, 1);
CREATE TABLE groups (id TEXT PRIMARY KEY, owned INTEGER NOT NULL DEFAULT 0, owner TEXT, client_schema TEXT,
  state INTEGER NOT NULL DEFAULT 0, config INTEGER NOT NULL DEFAULT 0, ttl_clock INTEGER NOT NULL DEFAULT 0,
  last_active INTEGER NOT NULL DEFAULT 0, purged INTEGER NOT NULL DEFAULT 0, pruned_state INTEGER NOT NULL DEFAULT 0,
  pruned_config INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
CREATE TABLE clients (grp TEXT, client TEXT, PRIMARY KEY (grp, client)) STRICT, WITHOUT ROWID;
CREATE TABLE desires (grp TEXT, client TEXT, hash TEXT, state INTEGER NOT NULL, config INTEGER NOT NULL,
  active INTEGER NOT NULL, ttl INTEGER NOT NULL, inactivated_at INTEGER, PRIMARY KEY (grp, client, hash))
  STRICT, WITHOUT ROWID;
CREATE TABLE queries (grp TEXT, hash TEXT, ast TEXT, name TEXT, args TEXT, PRIMARY KEY (grp, hash))
  STRICT, WITHOUT ROWID;
CREATE TABLE spans (grp TEXT, hash TEXT, instance INTEGER NOT NULL, from_state INTEGER, from_config INTEGER,
  until_state INTEGER, until_config INTEGER, PRIMARY KEY (grp, hash, from_state, from_config)) STRICT, WITHOUT ROWID;
CREATE INDEX spans_by_instance ON spans (instance);
CREATE TABLE results (grp TEXT, client TEXT, mutation INTEGER, put_state INTEGER NOT NULL, put_config INTEGER NOT NULL,
  del_state INTEGER, del_config INTEGER, PRIMARY KEY (grp, client, mutation)) STRICT, WITHOUT ROWID;
CREATE TABLE instances (id INTEGER PRIMARY KEY, key BLOB NOT NULL, frozen INTEGER, pruned_below INTEGER NOT NULL)
  STRICT;
CREATE INDEX instances_by_key ON instances (key);
CREATE TABLE members (instance INTEGER, tbl TEXT, key BLOB, entered INTEGER NOT NULL, changed INTEGER NOT NULL,
  gone INTEGER, fingerprint BLOB NOT NULL, PRIMARY KEY (instance, tbl, key)) STRICT, WITHOUT ROWID;
";

const EVERYTHING: &[&str] = &[
    "groups",
    "clients",
    "desires",
    "queries",
    "spans",
    "results",
    "instances",
    "members",
];

/// The store in one SQLite file.
pub struct SqliteCvr {
    connection: Mutex<Connection>,
}

impl SqliteCvr {
    /// Opens or makes the file. Instances left alive by a crash are frozen at the last durable point.
    pub fn open(path: &Path) -> Result<Self, CvrError> {
        Self::prepare(Connection::open(path)?)
    }

    /// A store that lives as long as the process.
    pub fn in_memory() -> Result<Self, CvrError> {
        Self::prepare(Connection::open_in_memory()?)
    }

    fn prepare(mut connection: Connection) -> Result<Self, CvrError> {
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        let is_other = "SELECT EXISTS (SELECT 1 FROM sqlite_master)
            AND NOT EXISTS (SELECT 1 FROM pragma_table_info('meta') WHERE name = 'next_instance')";
        if connection.query_row(is_other, [], |row| row.get(0))? {
            return Err(CvrError::OtherFile);
        }
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        let tx = connection.transaction()?;
        let format: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match format {
            0 => {
                tx.execute_batch(TABLES)?;
                tx.pragma_update(None, "user_version", FORMAT)?;
            }
            1 => {
                // They begin anew, as those of another replica do.
                tx.execute("UPDATE meta SET generation = NULL", [])?;
                tx.pragma_update(None, "user_version", FORMAT)?;
            }
            FORMAT => {}
            found => {
                return Err(CvrError::Format {
                    found,
                    known: FORMAT,
                });
            }
        }
        tx.execute(
            "UPDATE instances SET frozen = (SELECT durable FROM meta) WHERE frozen IS NULL",
            [],
        )?;
        tx.commit()?;
        Ok(SqliteCvr {
            connection: Mutex::new(connection),
        })
    }

    fn instance(
        &self,
        sql: &str,
        by: impl rusqlite::ToSql,
    ) -> Result<Option<StoredInstance>, CvrError> {
        let connection = self.connection.lock();
        let mut statement = connection.prepare_cached(sql)?;
        let found = statement.query_row([by], |row| {
            Ok(StoredInstance {
                id: InstanceId(row.get::<_, i64>(0)? as u64),
                durable: row.get::<_, i64>(1)? as u64,
                pruned_below: row.get::<_, i64>(2)? as u64,
            })
        });
        Ok(found.optional()?)
    }
}

impl CvrStore for SqliteCvr {
    fn begin(&self, generation: &str, _: StateVersion) -> Result<(), CvrError> {
        let mut connection = self.connection.lock();
        let tx = connection.transaction()?;
        let known: Option<String> =
            tx.query_row("SELECT generation FROM meta", [], |row| row.get(0))?;
        if known.as_deref() == Some(generation) {
            return Ok(());
        }
        let is_empty = "SELECT NOT EXISTS (SELECT 1 FROM groups)";
        if !tx.query_row(is_empty, [], |row| row.get(0))? {
            tracing::info!(
                "the client view records belong to another replica or another format; they begin anew"
            );
        }
        // The owner of a group outlives its records: a group never passes to another user.
        for table in EVERYTHING.iter().filter(|t| **t != "groups") {
            tx.execute(&format!("DELETE FROM {table}"), [])?;
        }
        tx.execute(
            "UPDATE groups SET client_schema = NULL, state = 0, config = 0, ttl_clock = 0, pruned_state = 0, pruned_config = 0, purged = 1",
            [],
        )?;
        tx.execute("UPDATE meta SET generation = ?, durable = 0", [generation])?;
        Ok(tx.commit()?)
    }

    fn load_group(&self, group: &str) -> Result<Option<GroupRecord>, CvrError> {
        let mut connection = self.connection.lock();
        let tx = connection.transaction()?;
        let head = tx
            .prepare_cached(
                "SELECT owned, owner, client_schema, state, config, ttl_clock, purged, pruned_state, pruned_config,
                 (SELECT durable FROM meta) FROM groups WHERE id = ?",
            )?
            .query_row([group], |row| {
                Ok(GroupRecord {
                    owner: if row.get::<_, bool>(0)? { Some(row.get(1)?) } else { None },
                    client_schema: row.get_ref(2)?.as_str_or_null()?.map(SchemaText::from),
                    version: version(row, 3)?,
                    ttl_clock_ms: row.get::<_, i64>(5)? as u64,
                    purged: row.get(6)?,
                    pruned_below: version(row, 7)?,
                    reached: row.get::<_, i64>(9)? as u64,
                    ..GroupRecord::default()
                })
            })
            .optional()?;
        let Some(mut record) = head else {
            return Ok(None);
        };
        read_members_of_group(&tx, group, &mut record)?;
        Ok(Some(record))
    }

    fn write_group(&self, group: &str, writes: &[GroupWrite]) -> Result<(), CvrError> {
        let mut connection = self.connection.lock();
        let tx = connection.transaction()?;
        tx.prepare_cached("INSERT INTO groups (id, last_active) VALUES (?, unixepoch() * 1000) ON CONFLICT DO NOTHING")?
            .execute([group])?;
        for write in writes {
            write_one(&tx, group, write)?;
        }
        Ok(tx.commit()?)
    }

    fn commit_point(&self, write: &PointWrite) -> Result<Vec<String>, CvrError> {
        let mut connection = self.connection.lock();
        let tx = connection.transaction()?;
        for (id, key) in &write.born {
            tx.prepare_cached(
                "INSERT INTO instances (id, key, frozen, pruned_below) VALUES (?1, ?2, NULL, 0)
                 ON CONFLICT (id) DO UPDATE SET frozen = NULL",
            )?
            .execute(params![id.0 as i64, key])?;
        }
        for (id, members) in &write.members {
            let mut put = tx.prepare_cached(
                "INSERT OR REPLACE INTO members (instance, tbl, key, entered, changed, gone, fingerprint)
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
            )?;
            for m in members {
                put.execute(params![
                    id.0 as i64,
                    m.table,
                    m.key,
                    m.entered as i64,
                    m.changed as i64,
                    m.left.map(|v| v as i64),
                    m.fingerprint.to_be_bytes().as_slice(),
                ])?;
            }
        }
        for (id, below) in &write.pruned {
            tx.prepare_cached("DELETE FROM members WHERE instance = ? AND gone <= ?")?
                .execute(params![id.0 as i64, *below as i64])?;
            tx.prepare_cached("UPDATE instances SET pruned_below = ?2 WHERE id = ?1")?
                .execute(params![id.0 as i64, *below as i64])?;
        }
        for id in &write.frozen {
            tx.prepare_cached("UPDATE instances SET frozen = ?2 WHERE id = ?1")?
                .execute(params![id.0 as i64, write.point as i64])?;
        }
        tx.prepare_cached("UPDATE meta SET durable = max(durable, ?)")?
            .execute([write.point as i64])?;
        tx.commit()?;
        Ok(Vec::new())
    }

    fn next_instance(&self) -> Result<InstanceId, CvrError> {
        let connection = self.connection.lock();
        let mut next = connection.prepare_cached(
            "UPDATE meta SET next_instance = next_instance + 1 RETURNING next_instance - 1",
        )?;
        let id: i64 = next.query_row([], |row| row.get(0))?;
        Ok(InstanceId(id as u64))
    }

    fn find_instance(&self, key: &[u8]) -> Result<Option<StoredInstance>, CvrError> {
        self.instance(
            "SELECT id, coalesce(frozen, (SELECT durable FROM meta)), pruned_below FROM instances
             WHERE key = ? ORDER BY id DESC LIMIT 1",
            key,
        )
    }

    fn load_cold(
        &self,
        id: InstanceId,
    ) -> Result<Option<(StoredInstance, Vec<StoredMember>)>, CvrError> {
        let sql = "SELECT id, coalesce(frozen, (SELECT durable FROM meta)), pruned_below FROM instances WHERE id = ?";
        // One process writes, and it is the caller: nothing changes between the two reads.
        match self.instance(sql, id.0 as i64)? {
            Some(stored) => Ok(Some((stored, self.load_members(id)?))),
            None => Ok(None),
        }
    }

    fn load_members(&self, id: InstanceId) -> Result<Vec<StoredMember>, CvrError> {
        let connection = self.connection.lock();
        let mut statement = connection.prepare_cached(
            "SELECT tbl, key, entered, changed, gone, fingerprint FROM members WHERE instance = ?",
        )?;
        let rows = statement.query_map([id.0 as i64], |row| {
            let fingerprint: Vec<u8> = row.get(5)?;
            Ok(StoredMember {
                table: row.get(0)?,
                key: row.get::<_, Vec<u8>>(1)?.into_boxed_slice(),
                entered: row.get::<_, i64>(2)? as StateVersion,
                changed: row.get::<_, i64>(3)? as StateVersion,
                left: row.get::<_, Option<i64>>(4)?.map(|v| v as StateVersion),
                // A fingerprint of another size compares unequal, so the row is simply sent again.
                fingerprint: fingerprint.try_into().map(u128::from_be_bytes).unwrap_or(0),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn sweep_instances(&self, alive: &[InstanceId]) -> Result<usize, CvrError> {
        let mut connection = self.connection.lock();
        let tx = connection.transaction()?;
        let ids: Vec<i64> = tx
            .prepare_cached(
                "SELECT id FROM instances WHERE id NOT IN (SELECT instance FROM spans)",
            )?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let mut dropped = 0;
        for id in ids
            .into_iter()
            .filter(|id| !alive.contains(&InstanceId(*id as u64)))
        {
            tx.prepare_cached("DELETE FROM members WHERE instance = ?")?
                .execute([id])?;
            tx.prepare_cached("DELETE FROM instances WHERE id = ?")?
                .execute([id])?;
            dropped += 1;
        }
        tx.commit()?;
        Ok(dropped)
    }

    fn purge_groups(&self, before_ms: i64) -> Result<usize, CvrError> {
        let mut connection = self.connection.lock();
        let tx = connection.transaction()?;
        let groups: Vec<String> = tx
            .prepare_cached("SELECT id FROM groups WHERE last_active < ? AND purged = 0")?
            .query_map([before_ms], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for group in &groups {
            clear_group(&tx, group)?;
        }
        tx.commit()?;
        Ok(groups.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CvrVersion, Desire, GotSpan, QueryDefinition, SentResult};
    use super::*;

    /// Writes in two steps; the stored record must equal the one kept in memory.
    fn check(writes: &[GroupWrite]) {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("cvr.db");
        let mut model = GroupRecord::default();
        for write in writes {
            let store = SqliteCvr::open(&path).expect("opens");
            store
                .write_group("g", std::slice::from_ref(write))
                .expect("writes");
            model.apply(write);
        }
        let store = SqliteCvr::open(&path).expect("opens again");
        assert_eq!(store.load_group("g").expect("loads"), Some(model));
        assert_eq!(store.load_group("other").expect("loads"), None);
    }

    fn v(state: u64, config: u64) -> CvrVersion {
        CvrVersion { state, config }
    }

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        let desire = Desire {
            version: v(1, 1),
            active: true,
            ttl_ms: 300_000,
            inactivated_at_ms: None,
        };
        let span = |from, i| GotSpan {
            hash: "h".into(),
            instance: InstanceId(i),
            from,
            until: None,
        };
        check(&[
            GroupWrite::Owner(None),
            GroupWrite::ClientSchema("{}".into()),
            GroupWrite::Client("c1".into()),
            GroupWrite::Client("c2".into()),
            GroupWrite::Desire("c1".into(), "h".into(), desire.clone()),
            GroupWrite::Query(
                "h".into(),
                QueryDefinition::Named {
                    name: "a.b".into(),
                    args: "[1]".into(),
                },
            ),
            GroupWrite::Query("i".into(), QueryDefinition::Ast("{}".into())),
            GroupWrite::Open(span(v(5, 0), 1)),
            GroupWrite::Close("h".into(), v(6, 2)),
            GroupWrite::Open(span(v(6, 2), 2)),
            GroupWrite::Result(
                "c1".into(),
                3,
                SentResult {
                    put: v(6, 0),
                    del: Some(v(7, 0)),
                },
            ),
            GroupWrite::Desire(
                "c1".into(),
                "h".into(),
                Desire {
                    active: false,
                    inactivated_at_ms: Some(12),
                    ..desire
                },
            ),
            GroupWrite::Prune(v(6, 1)),
            GroupWrite::Prune(v(6, 2)),
            GroupWrite::Prune(v(7, 0)),
            GroupWrite::DropClient("c2".into()),
            GroupWrite::DropQuery("i".into()),
            GroupWrite::Version(v(7, 1)),
            GroupWrite::Clock {
                ttl_clock_ms: 99,
                now_ms: 1,
            },
        ]);
    }

    #[test]
    fn only_unused_groups_are_purged() {
        let store = SqliteCvr::in_memory().expect("opens");
        for group in ["new", "old"] {
            store
                .write_group(
                    group,
                    &[GroupWrite::Client("c".into()), GroupWrite::Version(v(3, 0))],
                )
                .expect("writes");
        }
        let long_ago = GroupWrite::Clock {
            ttl_clock_ms: 1,
            now_ms: 5_000,
        };
        store.write_group("old", &[long_ago]).expect("writes");
        assert_eq!(store.purge_groups(1_000_000).expect("purges"), 1);
        let is_purged = |group| {
            store
                .load_group(group)
                .expect("loads")
                .expect("there")
                .purged
        };
        assert!(is_purged("old") && !is_purged("new"));
    }

    #[test]
    fn clearing_keeps_the_owner() {
        check(&[
            GroupWrite::Owner(Some("u".into())),
            GroupWrite::Client("c".into()),
            GroupWrite::Version(v(1, 1)),
        ]);
        let store = SqliteCvr::in_memory().expect("opens");
        let writes = [
            GroupWrite::Owner(Some("u".into())),
            GroupWrite::Client("c".into()),
            GroupWrite::Clear,
        ];
        store.write_group("g", &writes).expect("writes");
        let record = store.load_group("g").expect("loads").expect("there");
        assert_eq!(record.owner, Some(Some("u".into())));
        assert!(record.purged && record.clients.is_empty());
    }

    #[test]
    fn records_of_an_earlier_format_begin_anew_but_for_owners() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("cvr.db");
        let store = SqliteCvr::open(&path).expect("opens");
        store.begin("replica", 1).expect("begins");
        let writes = [
            GroupWrite::Owner(Some("u".into())),
            GroupWrite::Client("c".into()),
        ];
        store.write_group("g", &writes).expect("writes");
        let has_client = |store: &SqliteCvr| {
            let record = store.load_group("g").expect("loads").expect("there");
            assert_eq!(record.owner, Some(Some("u".into())));
            assert_ne!(record.purged, !record.clients.is_empty());
            !record.clients.is_empty()
        };
        for (format, stays) in [(FORMAT, true), (1, false)] {
            let raw = Connection::open(&path).expect("opens");
            raw.pragma_update(None, "user_version", format)
                .expect("writes");
            let store = SqliteCvr::open(&path).expect("opens");
            store.begin("replica", 1).expect("begins");
            assert_eq!(has_client(&store), stays);
        }
    }

    #[test]
    fn a_database_of_something_else_stays_as_it_is() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("app.db");
        for version in [0, 1, FORMAT] {
            let raw = Connection::open(&path).expect("opens");
            raw.execute_batch(
                "CREATE TABLE IF NOT EXISTS meta (a); CREATE TABLE IF NOT EXISTS clients (b)",
            )
            .expect("makes");
            raw.pragma_update(None, "user_version", version)
                .expect("writes");
            let before = std::fs::read(&path).expect("reads");
            assert!(matches!(SqliteCvr::open(&path), Err(CvrError::OtherFile)));
            assert_eq!(std::fs::read(&path).expect("reads"), before);
        }
    }

    #[test]
    fn a_crash_freezes_instances_at_the_last_durable_point() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("cvr.db");
        let store = SqliteCvr::open(&path).expect("opens");
        let id = store.next_instance().expect("id");
        let member = StoredMember {
            table: "t".into(),
            key: Box::from([1u8, 2].as_slice()),
            entered: 4,
            changed: 4,
            left: None,
            fingerprint: 77,
        };
        let write = PointWrite {
            point: 4,
            members: vec![(id, vec![member.clone()])],
            born: vec![(id, b"key".to_vec())],
            ..PointWrite::default()
        };
        store.commit_point(&write).expect("commits");
        store
            .commit_point(&PointWrite {
                point: 9,
                ..PointWrite::default()
            })
            .expect("commits");
        drop(store);
        let store = SqliteCvr::open(&path).expect("opens");
        let stored = StoredInstance {
            id,
            durable: 9,
            pruned_below: 0,
        };
        assert_eq!(store.find_instance(b"key").expect("finds"), Some(stored));
        assert_eq!(store.load_members(id).expect("loads"), vec![member]);
        assert_ne!(store.next_instance().expect("id"), id);
        assert_eq!(store.sweep_instances(&[]).expect("sweeps"), 1);
        assert_eq!(store.find_instance(b"key").expect("finds"), None);
    }
}
