//! A database of its own for each test, in the Postgres that `LANDFALL_TEST_POSTGRES_URL` names.
//! `node scripts/with-postgres.mjs -- cargo test -p landfall-server` starts one.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use landfall_server::replica::{Advance, Reader, Replica, Subscription};
use landfall_server::upstream::postgres::{PostgresSettings, start};
use landfall_server::upstream::{Started, UpstreamError};
use landfall_zql::{Names, TableId};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

/// How long a test waits for something that should happen soon.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A database, and a folder for the replica.
pub struct Database {
    admin: Client,
    /// A connection to the database.
    pub client: Client,
    name: String,
    url: String,
    folder: TempDir,
}

/// The address of the test server, or a panic that says how to get one.
fn server_url() -> String {
    std::env::var("LANDFALL_TEST_POSTGRES_URL").expect(
        "LANDFALL_TEST_POSTGRES_URL is not set: run `node scripts/with-postgres.mjs -- cargo test -p landfall-server`",
    )
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .expect("the test server answers");
    tokio::spawn(connection);
    client
}

impl Database {
    /// Makes a database and runs `sql` in it.
    pub async fn new(sql: &str) -> Self {
        if std::env::var_os("RUST_LOG").is_some() {
            // Fails when another test of the binary has done it.
            let _ = tracing_subscriber::fmt()
                .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
                .try_init();
        }
        let server = server_url();
        let admin = connect(&server).await;
        let name = format!("t_{:016x}", rand::random::<u64>());
        admin
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await
            .expect("a database can be made");
        let mut url = url::Url::parse(&server).expect("the address is a URL");
        url.set_path(&name);
        let client = connect(url.as_str()).await;
        client
            .batch_execute(sql)
            .await
            .expect("the schema is valid");
        Database {
            admin,
            client,
            name,
            url: url.to_string(),
            folder: tempfile::tempdir().expect("a folder can be made"),
        }
    }

    /// Runs SQL.
    pub async fn sql(&self, sql: &str) {
        self.client.batch_execute(sql).await.expect(sql);
    }

    /// The first column of the first row, as text.
    pub async fn text(&self, sql: &str) -> Option<String> {
        let row = self.client.query_opt(sql, &[]).await.expect(sql);
        row.and_then(|row| row.get(0))
    }

    /// Drops the database's slots; a walsender may need a moment to end.
    pub async fn drop_slots(&self) {
        const DROP: &str = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()";
        for _ in 0..1800 {
            if self.client.batch_execute(DROP).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the slots stay in use");
    }

    /// Where the replica file is.
    pub fn replica_file(&self) -> PathBuf {
        self.folder.path().join("replica.db")
    }

    /// Settings to follow it.
    pub fn settings(&self) -> PostgresSettings {
        PostgresSettings {
            url: self.url.clone(),
            replica_file: self.replica_file(),
            // Not the role's name: its search path would put the tests' tables into our schema.
            app_id: "app".to_owned(),
            shard_num: 0,
            publications: Vec::new(),
        }
    }

    /// Starts to follow it.
    pub async fn start(&self) -> Following {
        self.try_start().await.expect("the upstream starts")
    }

    /// Starts to follow it, or says why not.
    pub async fn try_start(&self) -> Result<Following, UpstreamError> {
        let started = start(self.settings()).await?;
        let steps = started.replica.subscribe();
        Ok(Following { started, steps })
    }

    /// Drops the database with its slots. Call it at the end; a test that failed leaves them to the server's end.
    pub async fn drop(self) {
        let Database {
            admin,
            client,
            name,
            ..
        } = self;
        drop(client);
        let slots = format!(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = '{name}' AND active;"
        );
        admin.batch_execute(&slots).await.expect("walsenders end");
        let drop = format!(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '{name}' AND NOT active"
        );
        for _ in 0..50 {
            if admin.batch_execute(&drop).await.is_ok()
                && admin
                    .batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)"))
                    .await
                    .is_ok()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the test's database could not be dropped");
    }
}

/// A running upstream, and its steps since it started.
pub struct Following {
    /// The upstream.
    pub started: Started,
    /// Its steps.
    pub steps: Subscription,
}

impl Following {
    /// The replica.
    pub fn replica(&self) -> &Replica {
        &self.started.replica
    }

    /// The next step.
    pub async fn step(&mut self) -> Arc<Advance> {
        tokio::time::timeout(PATIENCE, self.steps.next())
            .await
            .expect("a step arrives")
            .expect("the ring holds it")
    }

    /// The row changes of the next step as `before → after` in JSON.
    pub async fn changes(&mut self) -> Vec<String> {
        let step = self.step().await;
        describe(self.replica(), &step)
    }

    /// Stops following.
    pub async fn stop(self) {
        self.started.upstream.shutdown().await;
    }
}

/// Row changes as `table: before → after` in JSON.
pub fn describe(replica: &Replica, step: &Advance) -> Vec<String> {
    let schema = replica.schema();
    let describe = |table: TableId, row: &Option<landfall_zql::Row>| match row {
        None => "-".to_owned(),
        Some(row) => {
            let mut out = String::new();
            schema.zql[table].row_to_json(row, Names::Server, &mut out);
            out
        }
    };
    step.changes
        .iter()
        .map(|change| {
            format!(
                "{}: {} → {}",
                schema.zql[change.table].name,
                describe(change.table, &change.before),
                describe(change.table, &change.after)
            )
        })
        .collect()
}

/// All rows of a table in the order of its key, as JSON.
pub fn rows(reader: &Reader, table: &str) -> Vec<String> {
    use landfall_ivm::{FetchRequest, Source};
    let schema = reader.schema().clone();
    let id = schema.zql.table_by_server_name(table).expect(table);
    let order = landfall_zql::ordering::Order::complete(None, &schema.zql[id]).expect("an order");
    let request = FetchRequest {
        table: id,
        constraint: &[],
        order: &order,
        reverse: false,
        start: None,
        filter: None,
    };
    let mut out = Vec::new();
    reader
        .fetch(&request, &mut |row| {
            let mut text = String::new();
            schema.zql[id].row_to_json(row, Names::Server, &mut text);
            out.push(text);
            std::ops::ControlFlow::Continue(())
        })
        .expect("the rows can be read");
    out
}
