//! A file that is followed only when told to: for tools and tests that decide themselves when time goes on.

use std::path::Path;

use rusqlite::Connection;

use super::follow::Follower;
use crate::replica::Replica;
use crate::upstream::UpstreamError;

/// Follows a file in steps of the caller's; the other half of what [`super::start`] does in a thread.
pub struct ByHand {
    writer: Connection,
    follower: Follower,
}

impl ByHand {
    /// Prepares the file, whose tables must exist.
    pub fn open(path: &Path) -> Result<Self, UpstreamError> {
        let (writer, follower) = super::open(path)?;
        Ok(ByHand { writer, follower })
    }

    /// The replica.
    pub fn replica(&self) -> &Replica {
        self.follower.replica()
    }

    /// Publishes what was committed since the last call, and makes the indexes that readers have asked for.
    pub fn step(&mut self) -> Result<(), UpstreamError> {
        self.follower.step(&self.writer)?;
        self.follower.grant_wishes(&self.writer)
    }
}
