//! A Postgres of a test's own, which can be killed, copied and promoted. Made with the programs of the test server.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::PATIENCE;
use super::database::connect;

/// A cluster, running or not. Its superuser is `dev`; connections are on loopback, trusted.
pub struct Cluster {
    folder: TempDir,
    programs: PathBuf,
    /// Postgres refuses to run as root.
    user: (u32, u32),
    port: u16,
    server: Option<Child>,
}

impl Cluster {
    /// Makes and starts an empty cluster.
    pub async fn new() -> Cluster {
        let mut cluster = Cluster::prepare().await;
        let arguments = [
            "-U",
            "dev",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ];
        let data = cluster.data();
        cluster.run("initdb", &arguments, &["-D", &data]).await;
        cluster.start().await;
        cluster
    }

    async fn prepare() -> Cluster {
        let url = std::env::var("LANDFALL_TEST_POSTGRES_URL").expect("checked before");
        let given = connect(&url).await;
        let text =
            async |sql: &str| -> String { given.query_one(sql, &[]).await.expect(sql).get(0) };
        let programs = text("SELECT setting FROM pg_config WHERE name = 'BINDIR'").await;
        let data = text("SELECT current_setting('data_directory')").await;
        let owner = std::fs::metadata(data).expect("the test server's folder");
        let user = (owner.uid(), owner.gid());
        let folder = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::chown(folder.path(), Some(user.0), Some(user.1)).expect("chown");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        Cluster {
            folder,
            programs: programs.into(),
            user,
            port,
            server: None,
        }
    }

    fn data(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        let (uid, gid) = self.user;
        if std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() != uid) {
            command.uid(uid).gid(gid);
        }
        command
            .current_dir(self.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    async fn run(&self, program: &str, arguments: &[&str], more: &[&str]) {
        let mut command = self.command(program);
        let output = command.args(arguments).args(more).stderr(Stdio::piped());
        let output = output.output().await.expect(program);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}: {said}");
    }

    /// Starts the server, and waits until it answers.
    pub async fn start(&mut self) {
        let folder = self.folder.path().display().to_string();
        let port = self.port.to_string();
        let settings = [
            ("port", port.as_str()),
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", &folder),
            ("wal_level", "logical"),
            ("hot_standby", "on"),
            // What a kill leaves behind must be there: the kernel keeps what was written.
            ("fsync", "off"),
            ("full_page_writes", "off"),
            ("wal_sender_timeout", "10s"),
            ("timezone", "UTC"),
        ];
        let settings = settings.map(|(name, value)| format!("{name}={value}"));
        let mut command = self.command("postgres");
        command.args(["-D", &self.data()]).kill_on_drop(true);
        for setting in &settings {
            command.args(["-c", setting]);
        }
        self.server = Some(command.spawn().expect("postgres"));
        let begun = Instant::now();
        while tokio_postgres::connect(&self.url("postgres"), tokio_postgres::NoTls)
            .await
            .is_err()
        {
            assert!(begun.elapsed() < PATIENCE, "postgres does not answer");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Where a database of it is.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://dev@127.0.0.1:{}/{database}", self.port)
    }

    /// Where it listens.
    pub fn target(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Kills all of its processes at once.
    pub async fn kill(&mut self) {
        let mut server = self.server.take().expect("it runs");
        let pid = server.id().expect("it runs");
        for child in children(pid) {
            kill(child);
        }
        server.start_kill().expect("killed");
        server.wait().await.expect("ended");
        // Its processes are gone with it, or nearly: the next start waits for the memory that they share.
        for child in children(pid) {
            kill(child);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    /// A standby that follows this one.
    pub async fn standby(&self) -> Cluster {
        let mut standby = Cluster::prepare().await;
        let data = standby.data();
        let primary = self.url("postgres");
        let copy = ["-D", &data, "-d", &primary, "-R", "-c", "fast", "--no-sync"];
        standby.run("pg_basebackup", &copy, &[]).await;
        standby.start().await;
        standby
    }

    /// Ends a standby's following: from now on it is a primary on a timeline of its own.
    pub async fn promote(&self) {
        let client = connect(&self.url("postgres")).await;
        let promoted = client.query_one("SELECT pg_promote(true, 20)", &[]).await;
        assert!(promoted.expect("promoted").get::<_, bool>(0));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let Some(pid) = self.server.as_ref().and_then(Child::id) else {
            return;
        };
        for child in children(pid) {
            kill(child);
        }
        kill(pid);
    }
}

fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(Path::new(&path)).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|child| child.parse().ok())
        .collect()
}

fn kill(pid: u32) {
    // It may have ended by itself.
    let _ = std::process::Command::new("kill")
        .args(["-KILL", &pid.to_string()])
        .stderr(Stdio::null())
        .status();
}
