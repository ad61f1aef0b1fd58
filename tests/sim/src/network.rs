//! One connection between a tab and the server: texts arrive in order, whenever they are delivered.

use crate::host::Tab;
use crate::server::{ConnectionId, Server};
use landfall_client::SocketId;
use std::collections::VecDeque;

/// A connection.
#[derive(Debug)]
pub struct Wire {
    /// The tab that opened it.
    pub tab: usize,
    /// The tab's name for it.
    pub socket: SocketId,
    up: VecDeque<String>,
    down: VecDeque<String>,
    /// The tab does not hold it any more; the server does not know yet.
    abandoned: bool,
    closed_by_server: bool,
}

impl Wire {
    pub(crate) fn new(tab: usize, socket: SocketId) -> Wire {
        Wire {
            tab,
            socket,
            up: VecDeque::new(),
            down: VecDeque::new(),
            abandoned: false,
            closed_by_server: false,
        }
    }

    /// Whether this is the present socket of its tab.
    pub(crate) fn is_of(&self, tab: &Tab) -> bool {
        !self.abandoned && tab.socket.as_ref().map(|socket| socket.id) == Some(self.socket)
    }

    pub(crate) fn take_sent(&mut self, tab: &mut Tab) {
        self.up.append(&mut tab.sent);
    }

    pub(crate) fn abandon(&mut self) {
        self.abandoned = true;
        self.down.clear();
    }

    /// Whether nothing more can come of it.
    pub(crate) fn is_over(&self) -> bool {
        self.abandoned && self.up.is_empty()
    }

    pub(crate) fn deliver_up(&mut self, server: &mut Server, connection: ConnectionId) -> bool {
        match self.up.pop_front() {
            Some(text) => {
                server.receive(connection, &text);
                true
            }
            None => false,
        }
    }

    pub(crate) fn drain_up(&mut self, server: &mut Server, connection: ConnectionId) {
        while self.deliver_up(server, connection) {}
    }

    /// The next text for the tab; `Some(None)` for the end of the connection.
    pub(crate) fn take_down(
        &mut self,
        server: &mut Server,
        connection: ConnectionId,
    ) -> Option<Option<String>> {
        if !self.closed_by_server {
            let (texts, closing) = server.take_out(connection);
            self.down.extend(texts);
            self.closed_by_server = closing;
        }
        match self.down.pop_front() {
            Some(text) => Some(Some(text)),
            None => self.closed_by_server.then_some(None),
        }
    }
}
