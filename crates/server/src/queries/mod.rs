//! The pool of query pipelines, shared by every group that has the same query.

mod accounting;
mod classes;
mod encode;
mod instance;
mod join;
mod members;
mod poke_body;
mod pool;
mod prepare;
mod request;
mod rewound;
mod worker;

pub use members::{
    AccountingError, CatchUp, ColdMembers, Delta, Departed, Labels, Live, Members, Step, catch_up,
};
pub use poke_body::{PokeBody, PokePart};
pub use pool::{OnPermissions, PoolHandle, PoolStats};
pub use prepare::PreparedQuery;
pub use request::{CatchUpReply, CatchUpRequest, PointEvent, PoolEvent, SyncRequest, SyncedEvent};
pub use rewound::Rewound;
pub use worker::WorkerError;
