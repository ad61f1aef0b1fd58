//! The truth of a world: tables with a few rows, in a SQLite file or a Postgres database of its own.

use std::path::PathBuf;

use super::PATIENCE;

const SQLITE_TABLES: &str = r#"
CREATE TABLE issue (id TEXT PRIMARY KEY NOT NULL, title TEXT NOT NULL, owner TEXT, priority REAL,
  open INTEGER NOT NULL CHECK (open IN (0, 1))) STRICT;
CREATE TABLE comment (id TEXT PRIMARY KEY NOT NULL, issue_id TEXT NOT NULL, body TEXT NOT NULL) STRICT;
"#;
const POSTGRES_TABLES: &str = r#"
CREATE TABLE issue (id TEXT PRIMARY KEY, title TEXT NOT NULL, owner TEXT, priority DOUBLE PRECISION,
  open BOOLEAN NOT NULL);
CREATE TABLE comment (id TEXT PRIMARY KEY, issue_id TEXT NOT NULL, body TEXT NOT NULL);
"#;
const ROWS: &str = r#"
INSERT INTO issue VALUES ('i1', 'first', 'ann', 1, TRUE), ('i2', 'second', 'bob', 2, TRUE),
  ('i3', 'third', NULL, 3, FALSE);
INSERT INTO comment VALUES ('c1', 'i1', 'hello'), ('c2', 'i1', 'again'), ('c3', 'i2', 'other');
"#;

pub(super) enum Database {
    Embedded(PathBuf),
    Postgres {
        name: String,
        admin: String,
        url: String,
    },
}

pub(super) async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls)
        .await
        .expect("Postgres");
    tokio::spawn(connection);
    client
}

impl Database {
    pub(super) fn embedded(path: PathBuf) -> Database {
        let sqlite = rusqlite::Connection::open(&path).expect("SQLite file");
        sqlite
            .execute_batch(&format!(
                "PRAGMA journal_mode = WAL; {SQLITE_TABLES} {ROWS}"
            ))
            .expect("tables");
        Database::Embedded(path)
    }

    /// Runs statements as another program would.
    pub(super) async fn sql(&self, statements: &str) {
        match self {
            Database::Embedded(path) => {
                let sqlite = rusqlite::Connection::open(path).expect("SQLite file");
                sqlite.busy_timeout(PATIENCE).expect("time-out");
                sqlite
                    .execute_batch(&format!("BEGIN IMMEDIATE; {statements}; COMMIT"))
                    .expect("statements");
            }
            Database::Postgres { url, .. } => {
                let client = connect(url).await;
                client.batch_execute(statements).await.expect("statements")
            }
        }
    }

    /// One text value.
    pub(super) async fn text(&self, query: &str) -> Option<String> {
        match self {
            Database::Embedded(path) => {
                let sqlite = rusqlite::Connection::open(path).expect("SQLite file");
                sqlite
                    .query_row(query, [], |row| row.get(0))
                    .expect("one row")
            }
            Database::Postgres { url, .. } => {
                let client = connect(url).await;
                client.query_one(query, &[]).await.expect("one row").get(0)
            }
        }
    }

    /// A column of texts.
    pub(super) async fn list(&self, query: &str) -> Vec<String> {
        match self {
            Database::Embedded(path) => {
                let sqlite = rusqlite::Connection::open(path).expect("SQLite file");
                let mut statement = sqlite.prepare(query).expect("query");
                let rows = statement.query_map([], |row| row.get(0)).expect("rows");
                rows.collect::<Result<_, _>>().expect("texts")
            }
            Database::Postgres { url, .. } => connect(url)
                .await
                .query(query, &[])
                .await
                .expect("rows")
                .iter()
                .map(|row| row.get(0))
                .collect(),
        }
    }

    pub(super) async fn postgres() -> Database {
        let given = std::env::var("LANDFALL_TEST_POSTGRES_URL").expect("checked before");
        Database::postgres_at(&given).await
    }

    pub(super) async fn postgres_at(admin_url: &str) -> Database {
        let admin = connect(admin_url).await;
        let name = format!("landfall_{}", rand::random::<u64>());
        admin
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await
            .expect("database");
        let mut url = url::Url::parse(admin_url).expect("URL");
        url.set_path(&name);
        let client = connect(url.as_str()).await;
        client
            .batch_execute(&format!("{POSTGRES_TABLES} {ROWS}"))
            .await
            .expect("tables");
        Database::Postgres {
            name,
            admin: admin_url.to_owned(),
            url: url.to_string(),
        }
    }
}
