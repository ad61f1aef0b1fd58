//! Servers over a database of its own, and clients that speak the protocol. Each test has a world to itself.

#![allow(
    dead_code,
    unused_imports,
    reason = "every test file uses its own part"
)]

mod client;
mod cluster;
mod connect;
mod database;
mod gate;
mod node;
mod poke;

use std::path::{Path, PathBuf};
use std::time::Duration;

use landfall_server::app::App;
use landfall_server::server::Running;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

pub use client::{Client, Closed, issue_op};
pub use cluster::Cluster;
pub use connect::ClientBuilder;
use database::{Database, connect};
pub use gate::Gate;
use node::Node;
pub use node::Process;
pub use poke::Poke;

/// Longest wait for anything, on a machine that has a lot to do.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Where the truth lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Embedded,
    Postgres,
}

/// Runs a scenario over both kinds of upstream. Without LANDFALL_TEST_POSTGRES_URL the second half says that it did
/// not run (see scripts/with-postgres.mjs).
#[macro_export]
macro_rules! scenarios {
    ($($name:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() { super::$name($crate::world::Backend::Embedded).await; })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                if std::env::var("LANDFALL_TEST_POSTGRES_URL").is_err() {
                    return eprintln!("not run: LANDFALL_TEST_POSTGRES_URL is not set");
                }
                super::$name($crate::world::Backend::Postgres).await;
            })+
        }
    };
}

/// The client schema that fits the tables.
pub fn client_schema() -> Json {
    let column = |ty: &str| json!({"type": ty});
    json!({"tables": {
        "issue": {"primaryKey": ["id"], "columns": {"id": column("string"), "title": column("string"),
            "owner": column("string"), "priority": column("number"), "open": column("boolean")}},
        "comment": {"primaryKey": ["id"], "columns": {"id": column("string"), "issue_id": column("string"),
            "body": column("string")}},
    }})
}

/// Real Postgres, or the test says that it did not run.
pub fn has_postgres() -> bool {
    let has = std::env::var("LANDFALL_TEST_POSTGRES_URL").is_ok();
    if !has {
        eprintln!("not run: LANDFALL_TEST_POSTGRES_URL is not set");
    }
    has
}

/// One text value of a Postgres.
pub async fn text_at(url: &str, query: &str) -> String {
    let client = connect(url).await;
    client.query_one(query, &[]).await.expect("one row").get(0)
}

/// A database and servers over it; most worlds have one server.
pub struct World {
    pub dir: TempDir,
    database: Database,
    flags: Vec<String>,
    nodes: Vec<Option<Node>>,
    app: fn() -> App,
    permissions: Option<tempfile::NamedTempFile>,
    /// Where replicas and records are.
    files: PathBuf,
    /// The address that servers are given, if it is not the database's own.
    by_way_of: Option<String>,
}

impl World {
    /// A world in development mode.
    pub async fn new(backend: Backend) -> World {
        World::with(backend, &["--dev"]).await
    }

    /// A world with declared permissions.
    pub async fn guarded(backend: Backend, permissions: &Json, flags: &[&str]) -> World {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), permissions.to_string()).expect("written");
        let path = file.path().display().to_string();
        let flags: Vec<&str> = flags
            .iter()
            .copied()
            .chain(["--permissions", &path])
            .collect();
        let mut world = World::with(backend, &flags).await;
        world.permissions = Some(file);
        world
    }

    pub async fn with(backend: Backend, flags: &[&str]) -> World {
        let mut world = World::unstarted(backend, flags).await;
        world.start().await;
        world
    }

    /// A world whose server has an app in it.
    pub async fn with_app(backend: Backend, flags: &[&str], app: fn() -> App) -> World {
        let mut world = World::unstarted(backend, flags).await;
        world.app = app;
        world.start().await;
        world
    }

    /// A world in development mode whose client view records are in its Postgres, where several servers share them.
    pub async fn sharing(flags: &[&str]) -> World {
        let world = World::unstarted(Backend::Postgres, flags).await;
        world.shared()
    }

    /// The same in another Postgres than that of the tests.
    pub async fn sharing_at(postgres: &str, flags: &[&str]) -> World {
        let database = Database::postgres_at(postgres).await;
        World::over(database, flags).shared()
    }

    /// A world in another Postgres than that of the tests.
    pub async fn at(postgres: &str, flags: &[&str]) -> World {
        World::over(Database::postgres_at(postgres).await, flags)
    }

    fn shared(mut self) -> World {
        let address = self.address();
        let words = ["--dev", "--cvr-db", &address];
        self.flags.extend(words.map(str::to_owned));
        self
    }

    /// A world whose servers are started by the test.
    pub async fn unstarted(backend: Backend, flags: &[&str]) -> World {
        match backend {
            Backend::Embedded => {
                let dir = tempfile::tempdir().expect("temporary directory");
                let database = Database::embedded(dir.path().join("app.db"));
                World {
                    files: dir.path().to_owned(),
                    dir,
                    ..World::over(database, flags)
                }
            }
            Backend::Postgres => World::over(Database::postgres().await, flags),
        }
    }

    fn over(database: Database, flags: &[&str]) -> World {
        // Shown with a test that fails. Another test of the binary may have done it.
        let filter = tracing_subscriber::EnvFilter::try_from_default_env();
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter.unwrap_or_else(|_| "landfall_server=debug".into()))
            .with_test_writer()
            .try_init();
        let dir = tempfile::tempdir().expect("temporary directory");
        World {
            files: dir.path().to_owned(),
            dir,
            database,
            flags: flags.iter().map(|f| (*f).to_owned()).collect(),
            nodes: Vec::new(),
            app: App::default,
            permissions: None,
            by_way_of: None,
        }
    }

    /// Where the database listens.
    pub fn target(&self) -> String {
        let url = url::Url::parse(&self.address()).expect("a URL");
        let host = url.host_str().expect("a host");
        format!("{host}:{}", url.port().unwrap_or(5432))
    }

    /// Servers reach the database by way of a gate from now on.
    pub fn go_through(&mut self, gate: &Gate) {
        let own = self.address();
        let by_way = gate.through(&own);
        for flag in self.flags.iter_mut().filter(|flag| **flag == own) {
            flag.clone_from(&by_way);
        }
        self.by_way_of = Some(by_way);
    }

    /// Servers keep the client view records in the world's own Postgres, reached by way of a gate, from now on.
    pub fn keep_records_behind(&mut self, gate: &Gate) {
        let address = gate.through(&self.address());
        self.flags.extend(["--cvr-db".to_owned(), address]);
    }

    /// Servers keep replicas and records in another folder from now on.
    pub fn keep_files_in(&mut self, folder: &Path) {
        self.files = folder.to_owned();
    }

    /// What `--upstream-db` takes.
    pub fn address(&self) -> String {
        match &self.database {
            Database::Embedded(path) => path.display().to_string(),
            Database::Postgres { url, .. } => url.clone(),
        }
    }

    pub async fn start(&mut self) {
        self.start_node(0).await;
    }

    /// Starts one of several servers; each has a replica of its own.
    pub async fn start_node(&mut self, number: usize) {
        let node = Node::start(&self.words(number), (self.app)()).await;
        self.place(number, node);
    }

    /// Starts a server as a process of its own, which can be killed.
    pub async fn start_process(&mut self, number: usize) {
        self.start_process_with(number, &[]).await;
    }

    /// The same, with something in its environment.
    pub async fn start_process_with(&mut self, number: usize, environment: &[(&str, &str)]) {
        let node = Node::spawn(&self.words(number), environment).await;
        self.place(number, node);
    }

    fn place(&mut self, number: usize, node: Node) {
        self.nodes
            .resize_with(self.nodes.len().max(number + 1), || None);
        self.nodes[number] = Some(node);
    }

    fn words(&self, number: usize) -> Vec<String> {
        let file = |name: &str| {
            let name = match number {
                0 => format!("{name}.db"),
                _ => format!("{name}-{number}.db"),
            };
            self.files.join(name).display().to_string()
        };
        let mut words: Vec<String> = ["--host", "127.0.0.1", "--port", "0"]
            .map(str::to_owned)
            .into();
        let mut set = |name: &str, value: String| {
            words.extend([format!("--{name}"), value]);
        };
        let address = self.by_way_of.clone().unwrap_or_else(|| self.address());
        set("upstream-db", address);
        set("replica-file", file("replica"));
        if !self.flags.iter().any(|flag| flag == "--cvr-db") {
            set("cvr-db", file("cvr"));
        }
        words.extend(self.flags.iter().cloned());
        words
    }

    pub async fn stop(&mut self) {
        for number in 0..self.nodes.len() {
            self.stop_node(number).await;
        }
    }

    pub async fn stop_node(&mut self, number: usize) {
        if let Some(node) = self.nodes[number].take() {
            node.stop().await;
        }
    }

    /// Kills a server that is a process, at once.
    pub fn kill_node(&mut self, number: usize) {
        match self.nodes[number].take() {
            Some(Node::Process(process)) => process.kill(),
            _ => panic!("node {number} is no process"),
        }
    }

    pub fn running(&self) -> &Running {
        match self.nodes.first() {
            Some(Some(Node::Here(running))) => running,
            _ => panic!("the server does not run in this process"),
        }
    }

    /// Runs statements as another program would.
    pub async fn sql(&self, statements: &str) {
        self.database.sql(statements).await;
    }

    /// The same where failing is part of the plan.
    pub async fn try_sql(&self, statements: &str) {
        if let Database::Postgres { url, .. } = &self.database {
            // Whoever asks looks at what became of it.
            let _ = connect(url).await.batch_execute(statements).await;
        }
    }

    /// The name of the database in its Postgres.
    pub fn database_name(&self) -> String {
        match &self.database {
            Database::Postgres { name, .. } => name.clone(),
            Database::Embedded(_) => panic!("a file"),
        }
    }

    /// The truth is elsewhere from now on.
    pub fn move_to(&mut self, address: &str) {
        match &mut self.database {
            Database::Postgres { url, .. } => url.replace_range(.., address),
            Database::Embedded(_) => panic!("a file"),
        }
    }

    /// One text value.
    pub async fn text(&self, query: &str) -> Option<String> {
        self.database.text(query).await
    }

    /// A column of texts.
    pub async fn list(&self, query: &str) -> Vec<String> {
        self.database.list(query).await
    }

    pub fn client(&self, group: &str, client: &str) -> ClientBuilder {
        self.client_at(0, group, client)
    }

    /// A client of one of several servers.
    pub fn client_at(&self, number: usize, group: &str, client: &str) -> ClientBuilder {
        self.try_client_at(number, group, client)
            .expect("the server runs")
    }

    /// `None` if the server does not run.
    pub fn try_client_at(&self, number: usize, group: &str, client: &str) -> Option<ClientBuilder> {
        let node = self.nodes.get(number)?.as_ref()?;
        let address = node.address();
        Some(ClientBuilder {
            url: format!("ws://{address}/sync/v51/connect"),
            params: vec![
                ("clientID".into(), client.into()),
                ("clientGroupID".into(), group.into()),
                ("ts".into(), "1.5".into()),
                ("lmid".into(), "0".into()),
                ("wsid".into(), format!("ws-{client}")),
                ("landfall".into(), "1".into()),
            ],
            init: json!({"desiredQueriesPatch": [], "clientSchema": client_schema()}),
            token: None,
            headers: Vec::new(),
        })
    }

    /// Stops everything and removes the database.
    pub async fn end(mut self) {
        self.stop().await;
        if let Database::Postgres { name, admin, .. } = self.database {
            let admin = connect(&admin).await;
            let slots = format!(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
                 WHERE database = '{name}' AND NOT active"
            );
            for _ in 0..900 {
                admin.batch_execute(&slots).await.expect("slots");
                if admin
                    .batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)"))
                    .await
                    .is_ok()
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            panic!("the test's database cannot be dropped");
        }
    }
}
