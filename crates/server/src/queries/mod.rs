//! The pool of query pipelines, shared by every group that has the same query.
//!
//! `coordinator` publishes points and keeps members and groups; `worker`s keep pipelines current and `hydrator`s read
//! them for the first time, each in threads of their own.

mod accounting;
mod admission;
mod classes;
mod coordinator;
mod crew;
mod encode;
mod hydration;
mod hydrator;
mod instance;
mod join;
mod limits;
mod members;
mod messages;
mod poke_body;
mod pool;
mod prepare;
#[cfg(test)]
mod random_steps;
mod replies;
mod request;
mod rewound;
mod routes;
mod standing;
mod telling;
mod worker;

pub use coordinator::PoolError;
pub use limits::{MAX_THREADS, PoolSettings, QueryLimits};
pub use members::{
    AccountingError, CatchUp, ColdMembers, Delta, Departed, Labels, Live, Members, Step, catch_up,
};
pub use poke_body::{PokeBody, PokePart};
pub use pool::{OnPermissions, PoolHandle, PoolStats};
pub use prepare::PreparedQuery;
pub use request::{CatchUpReply, CatchUpRequest, PointEvent, PoolEvent, SyncRequest, SyncedEvent};
pub use rewound::Rewound;
pub use telling::Told;
