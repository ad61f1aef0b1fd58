//! Questions of an inspector to the server, and the answers: both are passed on unread.
//!
//! Nothing is kept here: a question that a lost connection leaves without an answer is forgotten, and the asker sees
//! the connection's state.

use crate::client::Client;
use crate::effect::Effect;
use crate::error::ClientError;
use landfall_protocol::InspectReply;

impl Client {
    /// Sends the server a question: JSON text of the body of an `inspect` message, with an `id` of the asker's.
    /// [`Effect::Inspected`] brings the answer.
    pub fn inspect(&mut self, now_ms: f64, question_json: &str) -> Result<(), ClientError> {
        self.check_open()?;
        match self.link.socket {
            Some(socket) if self.link.connection.is_connected() => {
                let text = ["[\"inspect\",", question_json, "]"].concat();
                self.effects.push(Effect::SendText { socket, text });
            }
            _ => return Err(ClientError::NotConnected),
        }
        self.settle_down(now_ms);
        Ok(())
    }

    pub(crate) fn on_inspect_reply(&mut self, reply: InspectReply) {
        self.effects.push(Effect::Inspected {
            op: reply.op,
            id: reply.id,
            value_json: reply.value.as_str().to_owned(),
        });
    }
}
