//! `pull`: how far the group is.
//!
//! On a socket the answer comes at once: what the client misses comes as pokes. A client that polls has no socket, so its
//! answer waits until the pokes before it have brought everything that the client wants.

use landfall_protocol::{Downstream, ErrorBody, ErrorKind, Pull, PullResponse};

use super::connection::{ConnectionId, Progress};
use super::group::Group;
use super::poke::cookie;
use crate::cvr::CvrVersion;

impl Group {
    pub(super) fn pull(&mut self, id: ConnectionId, pull: Pull) {
        if pull.client_group_id != *self.id {
            let message = "pull for another client group than the connection's";
            return self.fail(id, ErrorBody::new(ErrorKind::InvalidMessage, message));
        }
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let has_begun = connection.progress != Progress::Waiting;
        if connection.context.polls && has_begun {
            connection.pull = Some(pull);
        } else {
            self.answer_pull(id, pull);
        }
    }

    /// Answers those that have got everything.
    pub(super) fn answer_pulls(&mut self) {
        let is_settled = !self.sync_needed
            && self.in_flight.is_none()
            && !self.queries.values().any(|query| query.pending);
        if !is_settled {
            return;
        }
        let ready = |(id, c): (&ConnectionId, &mut super::connection::Connection)| {
            let pull = c
                .pull
                .take_if(|_| c.progress == Progress::Current && c.poked)?;
            Some((*id, pull))
        };
        let due: Vec<(ConnectionId, Pull)> =
            self.connections.iter_mut().filter_map(ready).collect();
        for (id, pull) in due {
            self.answer_pull(id, pull);
        }
    }

    fn answer_pull(&mut self, id: ConnectionId, pull: Pull) {
        let known = self.version != CvrVersion::EMPTY;
        let reply = PullResponse {
            cookie: known.then(|| cookie(self.version).as_str().to_owned()),
            request_id: pull.request_id,
            last_mutation_id_changes: self.lmids.clone().into_iter().collect(),
        };
        self.send_message(id, &Downstream::Pull(reply));
    }
}
