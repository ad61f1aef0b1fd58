//! The query as SQL on a real Postgres, after every transaction. The server is the one that
//! `LANDFALL_TEST_POSTGRES_URL` names; nothing is left behind in it.

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, Error, NoTls};

use crate::program::Program;
use crate::run::{Expected, Failure, same};
use crate::sql::{Dialect, Sql};

/// Lower case by Unicode's full mapping, the final sigma as a plain one; whatever the database's own locale is.
const LOWER: &str = "CREATE FUNCTION pg_temp.oracle_lower(text) RETURNS text LANGUAGE sql IMMUTABLE
  AS $$ SELECT replace(lower($1 COLLATE \"und-x-icu\"), 'ς', 'σ') $$;";

/// A connection.
pub struct Postgres {
    runtime: Runtime,
    client: Client,
}

impl Postgres {
    /// Connects.
    ///
    /// # Panics
    /// There is no server to be found.
    pub fn connect() -> Postgres {
        let url = std::env::var("LANDFALL_TEST_POSTGRES_URL").expect(
            "LANDFALL_TEST_POSTGRES_URL is not set: run `node scripts/with-postgres.mjs -- cargo test -p landfall-oracle`",
        );
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&url, NoTls)
                .await
                .expect("the test server answers");
            tokio::spawn(connection);
            client.batch_execute(LOWER).await.expect(LOWER);
            // Compiling a statement takes longer than running it over a few rows.
            client
                .batch_execute("SET jit = off")
                .await
                .expect("a setting");
            client
        });
        Postgres { runtime, client }
    }

    /// Compares Postgres' answers with the obvious ones.
    ///
    /// # Errors
    /// They differ.
    pub fn run(&mut self, program: &Program, expected: &Expected) -> Result<(), Failure> {
        let Postgres { runtime, client } = self;
        runtime.block_on(async {
            let outcome = steps(client, program, expected).await;
            client.batch_execute("ROLLBACK").await.map_err(failed)?;
            outcome.map_err(failed)?
        })
    }
}

fn failed(error: Error) -> Failure {
    let detail = error.as_db_error().map(|error| error.message().to_owned());
    Failure {
        step: 0,
        what: format!("{error}: {}", detail.unwrap_or_default()),
    }
}

async fn steps(
    client: &Client,
    program: &Program,
    expected: &Expected,
) -> Result<Result<(), Failure>, Error> {
    let sql = Sql {
        dialect: Dialect::Postgres,
        tables: &program.tables,
    };
    let mut script = format!("BEGIN; {}", sql.create(true));
    for (table, rows) in program.rows.iter().enumerate() {
        for row in rows {
            script.push_str(&sql.insert(table, row));
        }
    }
    client.batch_execute(&script).await?;
    let query = client.prepare(&sql.query(&program.query)).await?;
    for (step, view) in expected.views.iter().enumerate() {
        if step > 0 {
            let changes = program.transactions[step - 1].iter();
            let script: String = changes.map(|change| sql.change(change)).collect();
            client.batch_execute(&script).await?;
        }
        let text: String = client.query_one(&query, &[]).await?.get(0);
        let json = serde_json::from_str(&text).expect("Postgres writes JSON");
        let got = sql.answer(&program.query, &json);
        if let Err(failure) = same(step, "SQL on Postgres", &got, view) {
            return Ok(Err(failure));
        }
    }
    Ok(Ok(()))
}
