//! The program itself: settings from the environment, the ready line, one clear line when it cannot start.

mod world;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use world::{Backend, World};

fn server(settings: &[(&str, &str)]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall-server"));
    command
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    settings
        .iter()
        .fold(&mut command, |c, (name, value)| c.env(name, value))
        .spawn()
        .expect("starts")
}

/// The one line of a server that does not start.
fn refusal(settings: &[(&str, &str)]) -> String {
    let output = server(settings).wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).expect("text")
}

fn backend() -> Backend {
    match std::env::var("LANDFALL_TEST_POSTGRES_URL") {
        Ok(_) => Backend::Postgres,
        Err(_) => Backend::Embedded,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_when_it_is_ready_and_stops_on_sigterm() {
    let mut world = World::new(backend()).await;
    world.stop().await;
    let (address, replica) = (
        world.address(),
        world.dir.path().join("replica.db").display().to_string(),
    );
    let settings = [
        ("LANDFALL_UPSTREAM_DB", address.as_str()),
        ("ZERO_REPLICA_FILE", &replica),
        ("LANDFALL_PORT", "0"),
        ("LANDFALL_DEV", "true"),
    ];
    let mut child = server(&settings);
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("output"))
        .read_line(&mut line)
        .expect("a line");
    let port = line
        .trim()
        .strip_prefix("landfall-server ready on http://127.0.0.1:")
        .expect(&line);
    let answer = reqwest_get(&format!("http://127.0.0.1:{port}/keepalive")).await;
    assert_eq!(answer, "OK");
    let metrics = reqwest_get(&format!("http://127.0.0.1:{port}/metrics")).await;
    assert!(metrics.contains("landfall_groups 0"), "{metrics}");

    let taken = [
        ("LANDFALL_UPSTREAM_DB", "unused.db"),
        ("LANDFALL_PORT", port),
    ];
    assert!(refusal(&taken).contains("the port is in use"));

    assert!(
        Command::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .status()
            .expect("kill")
            .success()
    );
    assert!(child.wait().expect("ends").success());
    let mut log = String::new();
    child
        .stderr
        .take()
        .expect("log")
        .read_to_string(&mut log)
        .expect("text");
    assert!(log.contains("DEVELOPMENT MODE"), "{log}");
    world.end().await;
}

async fn reqwest_get(url: &str) -> String {
    landfall_server::install_tls();
    reqwest::get(url)
        .await
        .expect("an answer")
        .text()
        .await
        .expect("text")
}

#[test]
fn it_says_in_one_line_why_it_does_not_start() {
    let missing = refusal(&[]);
    assert!(missing.contains("upstream-db: missing"), "{missing}");
    let nobody = refusal(&[
        ("LANDFALL_UPSTREAM_DB", "postgres://u:geheim@127.0.0.1:1/d"),
        ("LANDFALL_PORT", "0"),
    ]);
    let lines: Vec<&str> = nobody
        .lines()
        .filter(|l| l.starts_with("landfall-server:"))
        .collect();
    assert_eq!(lines.len(), 1, "{nobody}");
    assert!(!nobody.contains("geheim"), "{nobody}");
    let file = refusal(&[
        ("LANDFALL_UPSTREAM_DB", "/nowhere/at/all.db"),
        ("LANDFALL_PORT", "0"),
    ]);
    assert!(
        file.starts_with("landfall-server:") && file.contains("/nowhere/at/all.db"),
        "{file}"
    );
    let permissions = refusal(&[
        ("LANDFALL_UPSTREAM_DB", "x.db"),
        ("LANDFALL_PORT", "0"),
        ("LANDFALL_PERMISSIONS", "/nowhere.json"),
    ]);
    assert!(permissions.contains("/nowhere.json"), "{permissions}");
}
