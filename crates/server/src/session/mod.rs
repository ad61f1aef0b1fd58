//! Client groups: what they want, what they have been told, and the pokes between the two.
//!
//! `group` decides and does no I/O: events in, effects out (`contract`). `actor` runs one group as a task and carries effects out.
//! `registry` finds or starts the task of a group.

mod actor;
mod connect;
mod connection;
mod contract;
mod desires;
mod group;
mod inspect;
mod outbound;
mod poke;
mod prepare;
mod pull;
mod registry;
mod sync;
#[cfg(test)]
mod tests;

pub use actor::GroupHandle;
pub use connection::{ConnectionAuth, ConnectionContext, ConnectionId};
pub use contract::{Attach, Effect, GroupEvent, QueryLimits, Rules};
pub use group::Group;
pub use outbound::{Form, Frame, Outbound, Port};
pub use prepare::{NamedQuery, Transformed, TransformedQueries};
pub use registry::{Registry, SessionContext};
