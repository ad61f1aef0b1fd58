//! Encrypted connections to Postgres, and passwords: what each `sslmode` insists on.

mod support;

use landfall_server::upstream::Started;
use landfall_server::upstream::postgres::{PostgresSettings, check, start};
use support::Database;
use url::Url;

const TABLE: &str = "CREATE TABLE item (id text PRIMARY KEY); INSERT INTO item VALUES ('a')";

/// The authority of the test server, unless it has none.
fn authority() -> Option<String> {
    let ca = std::env::var("LANDFALL_TEST_POSTGRES_CA").ok();
    if ca.is_none() {
        eprintln!("not run: LANDFALL_TEST_POSTGRES_CA is not set");
    }
    ca
}

fn settings(
    database: &Database,
    host: &str,
    user: Option<(&str, &str)>,
    tls: &[(&str, &str)],
) -> PostgresSettings {
    let settings = database.settings();
    let mut url = Url::parse(&settings.url).expect("a URL");
    url.set_host(Some(host)).expect("a host");
    if let Some((user, password)) = user {
        url.set_username(user).expect("a user");
        url.set_password(Some(password)).expect("a password");
    }
    url.query_pairs_mut().clear().extend_pairs(tls);
    PostgresSettings {
        url: url.into(),
        ..settings
    }
}

/// Starts, follows a change, and says which of the server's connections are encrypted.
async fn encrypted(database: &Database, settings: PostgresSettings) -> Result<Vec<bool>, String> {
    // A checkout of its own replica each time.
    for suffix in ["", "-wal", "-shm"] {
        let mut file = settings.replica_file.clone().into_os_string();
        file.push(suffix);
        // There is none the first time.
        let _ = std::fs::remove_file(file);
    }
    let Started {
        upstream, replica, ..
    } = start(settings).await.map_err(|e| e.to_string())?;
    let mut steps = replica.subscribe();
    database
        .sql("INSERT INTO item VALUES (gen_random_uuid()::text)")
        .await;
    tokio::time::timeout(support::PATIENCE, steps.next())
        .await
        .expect("a step in time")
        .expect("a step");
    let rows = database.client.query(
        "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
         WHERE application_name = 'landfall' AND datname = current_database() ORDER BY 1",
        &[],
    );
    let rows = rows.await.expect("connections");
    upstream.shutdown().await;
    database.drop_slots().await;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mode_encrypts_and_checks_what_it_says() {
    let Some(ca) = authority() else { return };
    let other = ca.replace("ca.crt", "other-ca.crt");
    let database = Database::new(TABLE).await;
    let mode = async |host: &str, tls: &[(&str, &str)]| {
        encrypted(&database, settings(&database, host, None, tls)).await
    };
    let with = |mode: &'static str, ca: &str| {
        [("sslmode", mode), ("sslrootcert", ca)].map(|(n, v)| (n, v.to_owned()))
    };
    let checked = async |host: &str, mode_name: &'static str, ca: &str| {
        let tls = with(mode_name, ca);
        let tls: Vec<(&str, &str)> = tls.iter().map(|(n, v)| (*n, v.as_str())).collect();
        mode(host, &tls).await
    };
    assert_eq!(
        mode("127.0.0.1", &[("sslmode", "disable")]).await,
        Ok(vec![false])
    );
    assert_eq!(
        mode("127.0.0.1", &[("sslmode", "prefer")]).await,
        Ok(vec![true])
    );
    assert_eq!(
        mode("127.0.0.1", &[("sslmode", "require")]).await,
        Ok(vec![true])
    );
    assert_eq!(checked("localhost", "verify-ca", &ca).await, Ok(vec![true]));
    assert_eq!(
        checked("localhost", "verify-full", &ca).await,
        Ok(vec![true])
    );
    // The certificate is for localhost. With verify-ca that should not matter, but the transport of the replication
    // stream takes rustls's newer error for a wrong name for another one, so it refuses as with verify-full.
    for mode in ["verify-full", "verify-ca"] {
        let wrong_name = checked("127.0.0.1", mode, &ca).await.expect_err("refused");
        assert!(wrong_name.contains("not valid for name"), "{wrong_name}");
    }
    for mode in ["verify-ca", "verify-full"] {
        let wrong_authority = checked("localhost", mode, &other)
            .await
            .expect_err("refused");
        assert!(wrong_authority.contains("certificate"), "{wrong_authority}");
    }
    let no_file = checked("localhost", "verify-full", "/nowhere/ca.crt")
        .await
        .expect_err("refused");
    assert!(no_file.contains("/nowhere/ca.crt"), "{no_file}");
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_proved_and_never_shown() {
    if authority().is_none() {
        return;
    }
    let database = Database::new(TABLE).await;
    database
        .sql("DROP ROLE IF EXISTS landfall_scram; CREATE ROLE landfall_scram LOGIN SUPERUSER REPLICATION PASSWORD 'pass/wörd'")
        .await;
    for mode in ["disable", "require"] {
        let user = Some(("landfall_scram", "pass/wörd"));
        let right = settings(&database, "127.0.0.1", user, &[("sslmode", mode)]);
        assert_eq!(
            encrypted(&database, right).await,
            Ok(vec![mode == "require"])
        );
        let user = Some(("landfall_scram", "hunter2"));
        let wrong = settings(&database, "127.0.0.1", user, &[("sslmode", mode)]);
        let findings = check(&wrong).await;
        let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
        let refused = encrypted(&database, wrong).await.expect_err("refused");
        assert!(
            refused.contains("password authentication failed"),
            "{refused}"
        );
        assert!(
            findings
                .iter()
                .any(|f| f.contains("password authentication failed")),
            "{findings:?}"
        );
        let all = format!("{refused} {findings:?}");
        assert!(!all.contains("hunter2"), "{all}");
    }
    database
        .sql("DROP OWNED BY landfall_scram CASCADE; DROP ROLE landfall_scram")
        .await;
    database.drop().await;
}
