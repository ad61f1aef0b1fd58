//! What breaks around the server while clients write: nothing is lost, nothing is done twice, clients converge.

mod world;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rand::Rng as _;
use serde_json::{Value as Json, json};
use world::{Backend, Client, Cluster, Gate, World, has_postgres, issue_op};

/// Notes every write that takes effect, so that a write that is done twice shows.
const NOTE_SQLITE: &str = "CREATE TABLE seen (id TEXT NOT NULL) STRICT;
    CREATE TRIGGER note AFTER UPDATE ON issue BEGIN INSERT INTO seen VALUES (NEW.title); END";
const NOTE_POSTGRES: &str = "CREATE SCHEMA aside; CREATE TABLE aside.seen (id TEXT NOT NULL);
    CREATE FUNCTION aside.note() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN INSERT INTO aside.seen VALUES (NEW.title); RETURN NEW; END $$;
    CREATE TRIGGER note AFTER UPDATE ON issue FOR EACH ROW EXECUTE FUNCTION aside.note()";

/// A client that writes without end, as a real one does: in order, and again from the last confirmation when it was cut.
struct Writer {
    node: usize,
    name: String,
    cookie: Option<String>,
    rows: BTreeMap<(String, String), Json>,
    lmid: u64,
    /// The last id that was given to a write.
    newest: u64,
    client: Option<Client>,
    sent: u64,
}

impl Writer {
    fn new(node: usize, name: &str) -> Writer {
        Writer {
            node,
            name: name.to_owned(),
            cookie: None,
            rows: BTreeMap::new(),
            lmid: 0,
            newest: 0,
            client: None,
            sent: 0,
        }
    }

    async fn connect(&mut self, world: &World) {
        let query = json!({"table": "issue", "orderBy": [["id", "asc"]]});
        let Some(builder) = world.try_client_at(self.node, &self.name, &self.name) else {
            return;
        };
        let mut builder = builder.put("h", query);
        if let Some(cookie) = &self.cookie {
            builder = builder.cookie(cookie);
        }
        if let Some(mut client) = builder.try_open().await {
            client.cookie = self.cookie.clone();
            client.rows = self.rows.clone();
            self.client = Some(client);
            self.sent = self.lmid;
        }
    }

    /// Writes and reads for a moment.
    async fn work(&mut self, world: &World, time: Duration) {
        if self.client.is_none() {
            self.connect(world).await;
        }
        let Some(client) = &mut self.client else {
            return tokio::time::sleep(time).await;
        };
        let mut alive = true;
        while alive && self.sent < self.newest {
            let id = self.sent + 1;
            let title = format!("{} {id}", self.name);
            let op = issue_op("update", json!({"id": "i1", "title": title}));
            let mutation = json!({"type": "crud", "id": id, "clientID": self.name, "name": "_zero_crud",
                "args": [{"ops": [op]}], "timestamp": 1});
            let push = json!(["push", {"clientGroupID": self.name, "mutations": [mutation], "pushVersion": 1,
                "timestamp": 1, "requestID": "r"}]);
            alive = client.try_send(push.to_string()).await;
            self.sent = id;
        }
        alive = alive && client.follow(time).await.is_ok();
        // What a poke has told is stored, and no more than that.
        self.cookie = client.cookie.clone();
        self.rows = client.rows.clone();
        let told = client.lmids.get(&self.name).copied().unwrap_or(0);
        assert!(told <= self.newest);
        self.lmid = self.lmid.max(told);
        for message in &client.others {
            let kind = message[1]["kind"].as_str().unwrap_or_default();
            let passes = ["Rehome", "ServerOverloaded", "Rebalance"].contains(&kind);
            assert!(message[0] != "error" || passes, "{message}");
        }
        if !alive || client.others.iter().any(|message| message[0] == "error") {
            self.client = None;
        }
    }

    async fn write(&mut self, world: &World, writes: u64) {
        for _ in 0..writes {
            self.newest += 1;
            self.work(world, Duration::from_millis(5)).await;
        }
    }

    async fn settle(&mut self, world: &World) {
        let begun = Instant::now();
        while self.lmid < self.newest || self.client.is_none() {
            assert!(
                begun.elapsed() < world::PATIENCE * 2,
                "confirmed {} of {}",
                self.lmid,
                self.newest
            );
            self.work(world, Duration::from_millis(50)).await;
        }
    }
}

/// Every write is in the database once, and every client shows what the database holds.
async fn check(world: &World, writers: &mut [Writer], seen: &str) {
    for writer in writers.iter_mut() {
        writer.settle(world).await;
    }
    let sum: u64 = writers.iter().map(|writer| writer.newest).sum();
    // A second note of the same write would have failed it, and so left a result and no effect.
    let noted = world
        .list(&format!("SELECT id FROM {seen} ORDER BY id"))
        .await;
    assert_eq!(noted.len() as u64, sum);
    let title = world.text("SELECT title FROM issue WHERE id = 'i1'").await;
    let title = json!(title);
    for writer in writers {
        let begun = Instant::now();
        loop {
            let key = ("issue".to_owned(), "i1".to_owned());
            if writer
                .rows
                .get(&key)
                .is_some_and(|row| row["title"] == title)
            {
                break;
            }
            assert!(
                begun.elapsed() < world::PATIENCE,
                "{} shows {:?}",
                writer.name,
                writer.rows.get(&key)
            );
            writer.work(world, Duration::from_millis(50)).await;
        }
        assert_eq!(writer.rows.len(), 3);
    }
}

/// Breaks something a few times under the writes of two clients.
async fn under_load(
    world: &mut World,
    nodes: usize,
    seen: &str,
    mut fault: impl AsyncFnMut(&mut World, Step),
) {
    let mut writers = [Writer::new(0, "a"), Writer::new(nodes - 1, "b")];
    for _ in 0..3 {
        let writes = rand::rng().random_range(5..40);
        for writer in &mut writers {
            writer.write(world, writes).await;
        }
        fault(world, Step::Break).await;
        for writer in &mut writers {
            writer.write(world, 5).await;
        }
        // Long enough for everyone to try again and fail.
        tokio::time::sleep(Duration::from_millis(300)).await;
        fault(world, Step::Mend).await;
    }
    check(world, &mut writers, seen).await;
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Break,
    Mend,
}

async fn killed_server(world: &mut World, step: Step) {
    match step {
        Step::Break => world.kill_node(0),
        Step::Mend => world.start_process(0).await,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_killed_over_a_file() {
    let mut world = World::unstarted(Backend::Embedded, &["--dev"]).await;
    world.sql(NOTE_SQLITE).await;
    world.start_process(0).await;
    under_load(&mut world, 1, "seen", killed_server).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_servers_is_killed() {
    if !has_postgres() {
        return;
    }
    let mut world = World::sharing(&[]).await;
    world.sql(NOTE_POSTGRES).await;
    world.start_process(0).await;
    world.start_process(1).await;
    under_load(&mut world, 2, "aside.seen", killed_server).await;
    world.end().await;
}

/// The records are in the same Postgres, so they go away as well.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_killed() {
    if !has_postgres() {
        return;
    }
    let cluster = tokio::sync::Mutex::new(Cluster::new().await);
    let address = cluster.lock().await.url("postgres");
    let mut world = World::sharing_at(&address, &[]).await;
    world.sql(NOTE_POSTGRES).await;
    world.start_process(0).await;
    under_load(&mut world, 1, "aside.seen", async |_, step| {
        let mut cluster = cluster.lock().await;
        match step {
            Step::Break => cluster.kill().await,
            Step::Mend => cluster.start().await,
        }
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_line_to_postgres_is_cut() {
    if !has_postgres() {
        return;
    }
    let mut world = World::sharing(&[]).await;
    world.sql(NOTE_POSTGRES).await;
    let target = world.target();
    let gate = Gate::new(target.clone()).await;
    world.go_through(&gate);
    world.start_process(0).await;
    under_load(&mut world, 1, "aside.seen", async |_, step| match step {
        Step::Break => gate.cut(),
        Step::Mend => gate.lead_to(target.clone()),
    })
    .await;
    world.end().await;
}

/// A folder on a file system of its own that is nearly full.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// `None` where file systems may not be mounted.
    fn mount(folder: &'a Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=40m", "tmpfs"])
            .arg(folder);
        let mounted = mount.status().is_ok_and(|status| status.success());
        mounted.then_some(SmallDisk(folder))
    }

    fn filler(&self) -> std::path::PathBuf {
        self.0.join("filler")
    }

    /// Leaves no room at all.
    fn fill(&self) {
        let zeros = vec![0; 4096];
        let mut file = std::fs::File::create(self.filler()).expect("a file");
        while std::io::Write::write_all(&mut file, &zeros).is_ok() {}
    }

    fn empty(&self) {
        std::fs::remove_file(self.filler()).expect("removed");
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // Lazily: a server that was not stopped may still have files open.
        let unmounted = Command::new("umount").arg("-l").arg(self.0).status();
        assert!(std::thread::panicking() || unmounted.is_ok_and(|status| status.success()));
    }
}

/// Replica and records share a disk that is full for a while.
#[tokio::test(flavor = "multi_thread")]
async fn the_disk_is_full() {
    if !has_postgres() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let Some(disk) = SmallDisk::mount(folder.path()) else {
        return eprintln!("not run: file systems cannot be mounted here");
    };
    let mut world = World::unstarted(Backend::Postgres, &["--dev"]).await;
    world.keep_files_in(folder.path());
    world.sql(NOTE_POSTGRES).await;
    world.start_process(0).await;
    under_load(&mut world, 1, "aside.seen", async |world: &mut World, step| match step {
        Step::Break => {
            disk.fill();
            // Something larger than the room within the logs.
            let text = "x".repeat(500_000);
            world
                .sql(&format!("INSERT INTO comment SELECT 'f' || n || gen_random_uuid(), 'i1', '{text}' FROM generate_series(1, 20) n"))
                .await;
        }
        Step::Mend => {
            world.sql("DELETE FROM comment WHERE id LIKE 'f%'").await;
            disk.empty();
        }
    })
    .await;
    world.end().await;
}
