//! Postgres as the upstream: initial copy, logical replication, mutations by SQL.
//!
//! One thread owns the replica file and follows the stream; it reconnects by itself and copies everything anew when
//! the slot is gone or the schema changed. Mutations use connections of their own.

mod catalog;
mod check;
mod copy_text;
mod crud;
#[cfg(test)]
mod hostile;
mod kind;
mod load;
mod look;
mod mutation;
mod operation;
mod pg_time;
mod pgoutput;
mod plan;
mod rows;
mod schema_change;
mod session;
mod setup;
mod stream;
mod tls;
mod values;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use pgwire_replication::ReplicationClient;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use super::{CommitTimes, Started, State, Status, UpstreamError};
use crate::replica::{Layout, Replica, ReplicaError, ReplicaSchema, ReplicaState, ReplicaWriter};

use catalog::PublishedTable;
use crud::PostgresUpstream;
use load::{Crossing, Load};
use operation::WritableTables;
use session::Address;
use setup::Names;
use stream::Applier;

pub(super) use look::look;

pub use check::check;

pub(crate) use crate::replica::quote;
pub(crate) use session::Address as PostgresAddress;

/// How often the catalogue is compared with what is followed: a change of an unused table sends nothing by itself.
const CATALOGUE_INTERVAL: Duration = Duration::from_secs(5);
/// Attempts to take up a changed schema before everything is copied anew.
const MAX_FAILED_CHANGES: u32 = 3;
/// Longest pause between attempts to reconnect.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// SQL that makes our own tables in a database, and the name of the schema that is the shard's.
///
/// # Errors
/// The app's name is no plain identifier.
pub fn own_tables(app_id: &str, shard_num: u32) -> Result<(String, String), UpstreamError> {
    let names = Names::new(app_id, shard_num)?;
    Ok((setup::tables(&names), names.shard))
}

/// What is needed to follow a Postgres.
#[derive(Clone)]
pub struct PostgresSettings {
    /// `postgres://…`; holds the password.
    pub url: String,
    /// The replica file.
    pub replica_file: PathBuf,
    /// Name of the app: prefix of our schemas.
    pub app_id: String,
    /// Number of the shard.
    pub shard_num: u32,
    /// Publications to follow; empty = one of ours over schema `public`.
    pub publications: Vec<String>,
}

/// Connects, copies what is published unless the replica file is current, and follows changes.
/// Returns when the replica can be read.
pub async fn start(settings: PostgresSettings) -> Result<Started, UpstreamError> {
    let address = Arc::new(Address::parse(&settings.url)?);
    let names = Names::new(&settings.app_id, settings.shard_num)?;
    let status = Arc::new(Mutex::new(Status {
        state: State::Disconnected {
            reason: "starting".to_owned(),
        },
        lag: None,
    }));
    let tables = Arc::new(RwLock::new(Arc::new(WritableTables::default())));
    let commits = Arc::new(CommitTimes::default());
    let (stop, stopped) = watch::channel(false);
    let (ready, is_ready) = oneshot::channel();
    let (done, is_done) = watch::channel(false);
    let follower = Follower {
        address: address.clone(),
        names: names.clone(),
        settings,
        status: status.clone(),
        tables: tables.clone(),
        commits: commits.clone(),
        stop: stopped,
        ready: None,
    };
    // A runtime of its own: the stream must not depend on when the caller's ends. Its one worker reads the socket
    // while the thread applies.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("landfall-replication-io")
        .enable_all()
        .build()
        .map_err(|error| UpstreamError::Setup(format!("cannot start a runtime: {error}")))?;
    std::thread::Builder::new()
        .name("landfall-replication".to_owned())
        .spawn(move || {
            follower.run(runtime.handle(), ready);
            done.send_replace(true);
        })
        .map_err(|error| UpstreamError::Setup(format!("cannot start a thread: {error}")))?;
    let replica = is_ready.await.map_err(|_| UpstreamError::Stopped)??;
    let upstream = PostgresUpstream::new(&address, &names, tables, status, stop, is_done)?;
    Ok(Started {
        replica,
        upstream: Arc::new(upstream),
        commits,
    })
}

/// Tells whoever waits for a replica that can be read.
type Ready = oneshot::Sender<Result<Replica, UpstreamError>>;

/// The thread that follows the stream.
struct Follower {
    address: Arc<Address>,
    names: Names,
    settings: PostgresSettings,
    status: Arc<Mutex<Status>>,
    tables: Arc<RwLock<Arc<WritableTables>>>,
    commits: Arc<CommitTimes>,
    stop: watch::Receiver<bool>,
    /// Whoever waits for a replica that can be read.
    ready: Option<Ready>,
}

/// What is followed at the moment.
struct Following {
    writer: ReplicaWriter,
    replica: Replica,
    tables: Arc<[PublishedTable]>,
    /// Whether the file shows tables as they were before the server was stopped.
    is_outdated: bool,
    /// How often a changed schema could not be taken up.
    failed_changes: u32,
}

impl Follower {
    fn run(mut self, handle: &Handle, ready: Ready) {
        let mut following = match handle.block_on(self.open()) {
            Ok(following) => following,
            Err(error) => {
                self.set_state(State::Stopped {
                    reason: error.to_string(),
                });
                // Nobody is waiting any more only if the caller gave up.
                let _ = ready.send(Err(error));
                return;
            }
        };
        self.ready = Some(ready);
        if !following.is_outdated {
            tell_ready(&mut self.ready, &following.replica);
        }
        handle.block_on(self.follow(&mut following));
        let mut status = self.status.lock();
        if !matches!(status.state, State::Stopped { .. }) {
            status.state = State::Stopped {
                reason: "shut down".to_owned(),
            };
        }
    }

    /// Follows the stream until told to stop.
    async fn follow(&mut self, following: &mut Following) {
        let mut failures = 0_u32;
        while !*self.stop.borrow() {
            let before = following.replica.version();
            let outcome = self.session(following).await;
            if let Err(error) = following.writer.rollback() {
                tracing::error!(%error, "the replica's transaction could not be rolled back");
            }
            let Err(error) = outcome else {
                continue;
            };
            if following.replica.version() > before {
                failures = 0;
            }
            if matches!(error, UpstreamError::SchemaChanged(_)) {
                tracing::info!(%error, "taking up the changed schema");
                if failures == 0 && following.failed_changes == 0 {
                    failures = 1;
                    continue;
                }
            } else {
                tracing::warn!(%error, "following Postgres was interrupted");
            }
            self.set_state(State::Disconnected {
                reason: error.to_string(),
            });
            let anew = following.failed_changes >= MAX_FAILED_CHANGES
                || matches!(
                    error,
                    UpstreamError::SlotLost(_) | UpstreamError::Replica(ReplicaError::Damaged(_))
                );
            if anew {
                match self.resync(following).await {
                    Ok(()) => {
                        tell_ready(&mut self.ready, &following.replica);
                        failures = 0;
                        continue;
                    }
                    Err(error @ UpstreamError::OtherDatabase) => {
                        if let Some(ready) = self.ready.take() {
                            // Whoever waited may have given up.
                            let _ = ready.send(Err(UpstreamError::OtherDatabase));
                        }
                        tracing::error!(%error, "following Postgres has ended");
                        self.set_state(State::Stopped {
                            reason: error.to_string(),
                        });
                        return;
                    }
                    Err(error) => {
                        tracing::error!(%error, "copying everything anew failed");
                        if let Err(error) = following.writer.rollback() {
                            tracing::error!(%error, "the replica's transaction could not be rolled back");
                        }
                        self.set_state(State::Disconnected {
                            reason: error.to_string(),
                        });
                    }
                }
            }
            failures += 1;
            self.pause(failures).await;
        }
    }

    async fn pause(&mut self, failures: u32) {
        let base = Duration::from_millis(100) * 2_u32.saturating_pow(failures.min(10) - 1);
        let pause = base.min(MAX_PAUSE).mul_f64(rand::random_range(0.5..1.0));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = self.stop.changed() => {}
        }
    }

    /// One connection's worth of following.
    async fn session(&mut self, following: &mut Following) -> Result<(), UpstreamError> {
        let mut client = self.address.connect().await?;
        let publications =
            setup::prepare(&client, &self.names, &self.settings.publications).await?;
        let state = following
            .writer
            .state()?
            .ok_or_else(|| ReplicaError::Damaged("its state is gone".to_owned()))?;
        self.check_slot(&client, &state, &publications).await?;
        // Where a full disk was the interruption, the log holds much of it, and would be short of room again soon.
        following.writer.empty_log()?;
        let published = catalog::read(&client, &publications).await?;
        let crossing = if schema_change::differs(&following.tables, &published) {
            following.failed_changes += 1;
            Some(self.alter(&mut client, following, &publications).await?)
        } else {
            None
        };
        let config = self
            .address
            .replication(&state.slot, &publications, state.confirmed);
        let mut stream = ReplicationClient::connect(config).await?;
        stream.wait_started().await?;
        tracing::info!(slot = %state.slot, version = state.version, "following Postgres");
        let mut applier = Applier::new(
            &mut following.writer,
            &following.replica,
            following.tables.clone(),
            &self.names,
            state.version,
            state.confirmed,
            &self.commits,
        );
        if let Some(crossing) = crossing {
            let tables = crossing.tables.clone();
            applier.cross(&mut stream, &mut self.stop, crossing).await?;
            following.tables = tables;
            following.failed_changes = 0;
            let schema = following.replica.schema();
            self.set_tables(&following.tables, schema);
        }
        tell_ready(&mut self.ready, &following.replica);
        self.status.lock().state = State::Connected;
        let configured = &self.settings.publications;
        let tables = following.tables.clone();
        let watch = watch_catalogue(client, publications, configured, tables, state.slot);
        let status = self.status.clone();
        let progress = |lag| status.lock().lag = lag;
        let outcome = tokio::select! {
            outcome = applier.follow(&mut stream, &mut self.stop, progress) => outcome,
            error = watch => Err(error),
        };
        if outcome.is_ok() {
            stream.shutdown().await?;
        }
        outcome
    }

    /// Takes up the tables as they are published now. Until the stream has crossed, the writer's transaction is open
    /// and readers see the old state.
    async fn alter(
        &self,
        client: &mut tokio_postgres::Client,
        following: &mut Following,
        publications: &[String],
    ) -> Result<Crossing, UpstreamError> {
        following.writer.begin()?;
        let keep = following.failed_changes <= 1;
        let crossing = self
            .loader(publications)
            .alter(client, &mut following.writer, &following.tables, keep)
            .await?;
        let tables = load::to_json(&crossing.tables)?;
        following.writer.set_tables(&tables)?;
        Ok(crossing)
    }

    async fn check_slot(
        &self,
        client: &tokio_postgres::Client,
        state: &ReplicaState,
        publications: &[String],
    ) -> Result<(), UpstreamError> {
        if state.publications != publications.join(",") {
            return Err(UpstreamError::SlotLost(
                "other publications are to be followed".to_owned(),
            ));
        }
        let slot = setup::find_slot(client, &state.slot).await?;
        let slot =
            slot.ok_or_else(|| UpstreamError::SlotLost(format!("{} does not exist", state.slot)))?;
        if slot.lost {
            return Err(UpstreamError::SlotLost(format!(
                "Postgres no longer has the log that {} needs",
                state.slot
            )));
        }
        if slot.confirmed > state.confirmed {
            return Err(UpstreamError::SlotLost(format!(
                "{} is ahead of the replica",
                state.slot
            )));
        }
        setup::take_over(client, &state.slot).await
    }

    /// Opens the replica file if it is current, else makes it.
    async fn open(&mut self) -> Result<Following, UpstreamError> {
        look::require_place(&self.settings.replica_file)?;
        let mut client = self.address.connect().await?;
        session::check(&client).await?;
        let publications =
            setup::prepare(&client, &self.names, &self.settings.publications).await?;
        match self.reopen(&client, &publications).await {
            Ok(Some(following)) => return Ok(following),
            Ok(None) => {}
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => tracing::warn!(%error, "the replica file is of no use and is made anew"),
        }
        self.load(&mut client, &publications).await
    }

    async fn reopen(
        &self,
        client: &tokio_postgres::Client,
        publications: &[String],
    ) -> Result<Option<Following>, UpstreamError> {
        if !self.settings.replica_file.exists() {
            return Ok(None);
        }
        let mut writer = ReplicaWriter::open(&self.settings.replica_file)?;
        let Some(state) = writer.state()? else {
            return Ok(None);
        };
        let tables: Vec<PublishedTable> = serde_json::from_str(&state.tables)
            .map_err(|error| ReplicaError::Damaged(format!("its tables: {error}")))?;
        let published = catalog::read(client, publications).await?;
        let differs = schema_change::differs(&tables, &published);
        match self.check_slot(client, &state, publications).await {
            Ok(()) => {}
            Err(UpstreamError::SlotLost(reason))
                if !differs && setup::goes_on(client, &state, publications).await? =>
            {
                tracing::warn!(
                    reason,
                    "serving the replica as it is until it is copied anew"
                );
            }
            Err(error) => return Err(error),
        }
        writer.serve_mode()?;
        let (drafts, _) = catalog::drafts(&tables, &self.names.internal());
        // Where tables differ, taking them up says it.
        if !differs {
            let (_, warnings) = catalog::drafts(&published, &self.names.internal());
            for warning in warnings {
                tracing::warn!("{warning}");
            }
        }
        let schema = Arc::new(ReplicaSchema::new(drafts));
        writer.adopt(schema.clone(), state.version);
        let path = &self.settings.replica_file;
        let replica = Replica::new(
            path,
            Layout::Postgres,
            &state.generation,
            state.version,
            schema.clone(),
        );
        self.set_tables(&tables, schema);
        Ok(Some(Following {
            writer,
            replica,
            is_outdated: differs,
            tables: tables.into(),
            failed_changes: 0,
        }))
    }

    /// Copies everything into a new file, which takes the replica's name when it is complete.
    async fn load(
        &self,
        client: &mut tokio_postgres::Client,
        publications: &[String],
    ) -> Result<Following, UpstreamError> {
        let path = &self.settings.replica_file;
        let temporary = with_suffix(path, ".loading");
        remove_database(&temporary)?;
        let mut writer = ReplicaWriter::open(&temporary)?;
        writer.load_mode()?;
        writer.begin()?;
        let loaded = self.loader(publications).run(client, &mut writer).await?;
        writer.commit_load(loaded.state.version)?;
        drop(writer);
        sync_file(&temporary)?;
        remove_database(path)?;
        std::fs::rename(&temporary, path).map_err(|error| file_error(path, &error))?;
        setup::drop_unused_slots(client, &self.names, &loaded.state.slot).await?;
        let mut writer = ReplicaWriter::open(path)?;
        writer.serve_mode()?;
        let (drafts, _) = catalog::drafts(&loaded.tables, &self.names.internal());
        let schema = Arc::new(ReplicaSchema::new(drafts));
        writer.adopt(schema.clone(), loaded.state.version);
        let replica = Replica::new(
            path,
            Layout::Postgres,
            &loaded.state.generation,
            loaded.state.version,
            schema.clone(),
        );
        self.set_tables(&loaded.tables, schema);
        Ok(Following {
            writer,
            replica,
            is_outdated: false,
            tables: loaded.tables.into(),
            failed_changes: 0,
        })
    }

    fn loader<'a>(&'a self, publications: &'a [String]) -> Load<'a> {
        Load {
            address: &self.address,
            names: &self.names,
            publications,
        }
    }

    /// Copies everything anew into the file that readers use, as one step of it.
    async fn resync(&self, following: &mut Following) -> Result<(), UpstreamError> {
        tracing::warn!("copying everything from Postgres anew");
        let mut client = self.address.connect().await?;
        session::check(&client).await?;
        let publications =
            setup::prepare(&client, &self.names, &self.settings.publications).await?;
        following.writer.begin()?;
        let loaded = self
            .loader(&publications)
            .run(&mut client, &mut following.writer)
            .await?;
        let mut state = loaded.state;
        let generation = following.replica.generation();
        if *state.generation != *generation {
            // A standby that took over goes on with the same history, as long as its log is ahead of what was seen.
            if same_system(&state.generation, &generation)
                && state.version > following.replica.version()
            {
                tracing::warn!(timeline = %state.generation, "following another timeline of the same Postgres");
                state.generation = generation.to_string();
                following.writer.set_state(&state)?;
            } else {
                setup::drop_slot(&client, &state.slot).await?;
                return Err(UpstreamError::OtherDatabase);
            }
        }
        self.set_tables(&loaded.tables, following.writer.schema().clone());
        following.failed_changes = 0;
        following
            .writer
            .commit(&following.replica, state.version, state.confirmed)?;
        following.writer.sync(state.confirmed)?;
        following.tables = loaded.tables.into();
        setup::drop_unused_slots(&client, &self.names, &state.slot).await
    }

    fn set_tables(&self, tables: &[PublishedTable], schema: Arc<ReplicaSchema>) {
        *self.tables.write() = Arc::new(WritableTables::new(tables, schema));
    }

    fn set_state(&self, state: State) {
        self.status.lock().state = state;
    }
}

fn tell_ready(ready: &mut Option<Ready>, replica: &Replica) {
    if let Some(ready) = ready.take() {
        // Whoever waited may have given up.
        let _ = ready.send(Ok(replica.clone()));
    }
}

/// Returns when the catalogue differs from what is followed, or cannot be read. Measures the slot meanwhile.
async fn watch_catalogue(
    client: tokio_postgres::Client,
    publications: Vec<String>,
    configured: &[String],
    tables: Arc<[PublishedTable]>,
    slot: String,
) -> UpstreamError {
    loop {
        match setup::kept_for(&client, &slot).await {
            Ok(Some(bytes)) => {
                metrics::gauge!("landfall_replication_slot_kept_bytes").set(bytes as f64);
            }
            Ok(None) => {}
            Err(error) => return error,
        }
        tokio::time::sleep(CATALOGUE_INTERVAL).await;
        if let Err(error) = setup::keep_new_changeable(&client, &publications, configured).await {
            return error;
        }
        match catalog::read(&client, &publications).await {
            Ok(published) if schema_change::differs(&tables, &published) => {
                return UpstreamError::SchemaChanged("the catalogue shows other tables".to_owned());
            }
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}

/// Whether two generations, `pg-<system>-<timeline>`, are of one system.
pub(crate) fn same_system(a: &str, b: &str) -> bool {
    let system = |generation: &str| {
        generation
            .rsplit_once('-')
            .map(|(system, _)| system.to_owned())
    };
    system(a).is_some() && system(a) == system(b)
}

fn with_suffix(path: &std::path::Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn remove_database(path: &std::path::Path) -> Result<(), UpstreamError> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let path = with_suffix(path, suffix);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(file_error(&path, &error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn sync_file(path: &std::path::Path) -> Result<(), UpstreamError> {
    std::fs::File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|error| file_error(path, &error))
}

fn file_error(path: &std::path::Path, error: &std::io::Error) -> UpstreamError {
    UpstreamError::File {
        path: path.display().to_string(),
        reason: error.to_string(),
    }
}
