//! One server: in this process, or as a process that can be killed.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use landfall_server::app::App;
use landfall_server::config::{self, Flags};
use landfall_server::server::{self, Running};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// Longest wait for a server to be ready.
const START: Duration = Duration::from_secs(120);

pub(super) enum Node {
    Here(Running),
    Process(Box<Process>),
}

/// A server that is a process.
pub struct Process {
    child: Child,
    address: SocketAddr,
}

impl Node {
    pub(super) async fn start(words: &[String], app: App) -> Node {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let flags = Flags::parse_words(&words).expect("flags");
        let config = config::resolve(&flags, &|_| None).expect("configuration");
        let started = tokio::time::timeout(START, server::start_app(config, app)).await;
        Node::Here(started.expect("starts in time").expect("starts"))
    }

    pub(super) async fn spawn(words: &[String], environment: &[(&str, &str)]) -> Node {
        let mut child = Command::new(env!("CARGO_BIN_EXE_landfall-server"))
            .args(words)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(match std::env::var_os("RUST_LOG") {
                Some(_) => Stdio::inherit(),
                None => Stdio::null(),
            })
            .kill_on_drop(true)
            .spawn()
            .expect("starts");
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("output"));
        tokio::time::timeout(START, output.read_line(&mut line))
            .await
            .expect("starts in time")
            .expect("a line");
        let address = line
            .trim()
            .strip_prefix("landfall-server ready on http://")
            .unwrap_or_else(|| panic!("the server said {line:?}"));
        let address = address.parse().expect("an address");
        Node::Process(Box::new(Process { child, address }))
    }

    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Node::Here(running) => running.address,
            Node::Process(process) => process.address,
        }
    }

    pub(super) async fn stop(self) {
        match self {
            Node::Here(running) => running.shutdown().await,
            Node::Process(process) => process.stop().await,
        }
    }
}

impl Process {
    /// Ends it without a chance to do anything more.
    pub fn kill(mut self) {
        self.child.start_kill().expect("killed");
    }

    /// Asks it to end, and waits until it has.
    pub async fn stop(mut self) {
        if let Some(id) = self.child.id() {
            let mut kill = Command::new("kill");
            let told = kill.args(["-TERM", &id.to_string()]).status().await;
            assert!(told.expect("kill").success());
        }
        let ended = tokio::time::timeout(START, self.child.wait()).await;
        assert!(ended.expect("ends in time").expect("ended").success());
    }
}
