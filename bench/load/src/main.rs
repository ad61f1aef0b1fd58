//! Load for sync servers, ours and others that speak the same protocol.
//!
//! `landfall-load '{"case":…}'` runs one case against a server that is already there and prints one line of JSON.
//! Starting servers, the database and the table of figures are left to `bench/server.mjs`.

mod burst;
mod checker;
mod error;
mod fanout;
mod group;
mod hydrate;
mod latencies;
mod poke;
mod processes;
mod random;
mod soak;
mod target;
mod writer;

use std::process::ExitCode;

use serde::Deserialize;

use crate::error::LoadError;
use crate::target::Target;

/// What to do, from the command line.
#[derive(Deserialize)]
struct Request {
    #[serde(flatten)]
    target: Target,
    #[serde(flatten)]
    case: Case,
}

#[derive(Deserialize)]
#[serde(tag = "case", rename_all = "kebab-case")]
enum Case {
    /// Waits until a client has its rows: the end of a start.
    Ready(hydrate::Ready),
    /// New queries of clients that are connected already.
    Hydrate(hydrate::Hydrate),
    /// Single writes at a pace, to groups that watch.
    Fanout(fanout::Fanout),
    /// As many one-row transactions as the database takes, one group watching.
    Burst(burst::Burst),
    /// All of it at random for minutes, and a comparison with the database at the end.
    Soak(soak::Soak),
    /// Memory of the server as it is.
    Memory,
}

async fn run(request: Request) -> Result<serde_json::Value, LoadError> {
    let target = request.target;
    match request.case {
        Case::Ready(case) => case.run(&target).await,
        Case::Hydrate(case) => case.run(&target).await,
        Case::Fanout(case) => case.run(&target).await,
        Case::Burst(case) => case.run(&target).await,
        Case::Soak(case) => case.run(&target).await,
        Case::Memory => Ok(serde_json::json!({ "memory": target.processes().memory()? })),
    }
}

fn main() -> ExitCode {
    let done = std::env::args()
        .nth(1)
        .ok_or(LoadError::Usage)
        .and_then(|text| Ok(serde_json::from_str(&text)?))
        .and_then(|request| {
            // One thread: the load is the same for every server, and leaves it the other cores.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            tokio::task::LocalSet::new().block_on(&runtime, run(request))
        });
    match done {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("landfall-load: {error}");
            ExitCode::FAILURE
        }
    }
}
