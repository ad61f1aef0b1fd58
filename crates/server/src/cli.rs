//! The command line of `landfall-server`, also for programs that bring an app with them.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::analyze::analyze_file;
use crate::app::App;
use crate::config::{self, Command, Config, Flags, LogFormat, UpstreamAddress};
use crate::telemetry::Telemetry;
use crate::{install_tls, server, upstream};

/// Runs the program: reads flags, environment and configuration file, and serves until it is told to stop.
///
/// A program of its own with an app in it takes the same settings and commands as `landfall-server`.
pub fn main(app: App) -> ExitCode {
    install_tls();
    let done = match Flags::from_process() {
        Command::Exec { db } => exec(&db),
        Command::Export {
            db,
            app_id,
            shard_num,
        } => export(&db, &app_id, shard_num),
        Command::Analyze { db, query, json } => analyze(&db, query.as_deref(), json),
        Command::Check(flags) => check(&flags),
        Command::Serve(flags) => serve(&flags, app),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("landfall-server: {}", text_of(&error));
            ExitCode::FAILURE
        }
    }
}

/// What went wrong and why, each thing once: most errors quote their cause already.
fn text_of(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&cause);
        }
    }
    text
}

fn exec(db: &Path) -> anyhow::Result<()> {
    let mut sql = String::new();
    std::io::stdin()
        .read_to_string(&mut sql)
        .context("standard input cannot be read")?;
    if let Some(rows) = upstream::embedded::exec(db, &sql)? {
        println!("{rows}");
    }
    Ok(())
}

fn export(db: &Path, app_id: &str, shard_num: u32) -> anyhow::Result<()> {
    let (own_tables, shard) = upstream::postgres::own_tables(app_id, shard_num)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    upstream::embedded::export(db, &own_tables, &shard, &mut out)?;
    out.flush().context("the SQL cannot be written")
}

fn analyze(db: &Path, query: Option<&Path>, json: bool) -> anyhow::Result<()> {
    let query = match query {
        Some(file) => std::fs::read_to_string(file)
            .with_context(|| format!("{} cannot be read", file.display()))?,
        None => {
            std::io::read_to_string(std::io::stdin()).context("standard input cannot be read")?
        }
    };
    let analysis = analyze_file(db, &query)?;
    if json {
        println!("{}", analysis.to_json());
    } else {
        print!("{analysis}");
    }
    Ok(())
}

fn check(flags: &Flags) -> anyhow::Result<()> {
    let config = config::resolve(flags, &|name| std::env::var(name).ok())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let findings = runtime.block_on(crate::check::check(&config));
    for finding in &findings {
        println!("{finding}");
    }
    let stops = findings.iter().filter(|finding| finding.stops).count();
    anyhow::ensure!(stops == 0, "{stops} missing");
    println!("the server can start");
    Ok(())
}

fn serve(flags: &Flags, app: App) -> anyhow::Result<()> {
    let config = config::resolve(flags, &|name| std::env::var(name).ok())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let telemetry = {
        let _inside = runtime.enter();
        Telemetry::start(&config)?
    };
    start_logs(&config, telemetry.as_ref())?;
    for (name, _) in std::env::vars_os() {
        if let Some(name) = name.to_str().filter(|name| config::is_unknown(name)) {
            tracing::warn!("there is no setting {name}: the variable is not used");
        }
    }
    let done = runtime.block_on(run(config, app));
    if let Some(telemetry) = telemetry {
        runtime.block_on(telemetry.shutdown());
    }
    done
}

async fn run(config: Config, app: App) -> anyhow::Result<()> {
    let host = match config.host.as_str() {
        "0.0.0.0" | "::" => "127.0.0.1".to_owned(),
        host => host.to_owned(),
    };
    let stop = stop_signal()?;
    let postgres = matches!(config.upstream, UpstreamAddress::Postgres(_));
    let running = server::start_app(config, app).await.map_err(|error| {
        let hint = match error {
            server::ServerError::Upstream(_) if postgres => {
                "\n  `landfall-server check` with the same settings names everything that is missing, with the SQL"
            }
            _ => "",
        };
        anyhow::anyhow!("{}{hint}", text_of(&error.into()))
    })?;
    println!(
        "landfall-server ready on http://{host}:{}",
        running.address.port()
    );
    let ended = tokio::select! {
        () = stop => None,
        reason = running.ended() => Some(reason),
    };
    tracing::info!("stopping");
    running.shutdown().await;
    match ended {
        // A supervisor starts it anew, and it then reads everything anew.
        Some(reason) => anyhow::bail!("{reason}"),
        None => Ok(()),
    }
}

/// Resolves at Ctrl-C or SIGTERM; registered before anything long begins.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    {
        Ok(async {
            if let Err(error) = tokio::signal::ctrl_c().await {
                tracing::error!(%error, "Ctrl-C cannot be noticed");
                std::future::pending::<()>().await;
            }
        })
    }
}

fn start_logs(config: &Config, telemetry: Option<&Telemetry>) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log_level).context("log-level")?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match config.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let mut layers = vec![lines.with_filter(filter).boxed()];
    layers.extend(telemetry.map(Telemetry::layer));
    tracing_subscriber::registry().with(layers).init();
    Ok(())
}
