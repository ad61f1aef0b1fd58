//! `Sec-WebSocket-Protocol`: the one header a browser lets a client fill, used for the token and the first message.
//!
//! The server must send the whole value back as the chosen sub-protocol.

use crate::error::HandshakeError;
use crate::init_connection::InitConnection;
use crate::json::check_depth;
use crate::percent::{base64, from_base64, unescape};
use landfall_zql::json::{from_str, to_text};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fmt;

/// The longest header a client sends unless told otherwise, in characters.
pub const MAX_HEADER_LENGTH: usize = 8192;

/// What a client puts into the header.
#[derive(Clone, PartialEq, Default)]
pub struct SecProtocol {
    /// The first message, if it fits; else it follows as text.
    pub init_connection: Option<InitConnection>,
    /// The user's token.
    pub auth_token: Option<String>,
}

impl fmt::Debug for SecProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecProtocol")
            .field("init_connection", &self.init_connection)
            .field("auth_token", &self.auth_token.as_ref().map(|_| "…"))
            .finish()
    }
}

/// What a server finds in the header.
///
/// The first message stays text: the server looks at the client's version and greets it before it reads the message, and
/// answers a malformed one as it answers any other, so that the client hears what is wrong.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ReceivedProtocol {
    /// The text of the first message, to be read by [`decode_upstream`](crate::decode_upstream), unless it follows.
    pub first_message: Option<String>,
    /// The user's token.
    pub auth_token: Option<String>,
}

impl fmt::Debug for ReceivedProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedProtocol")
            .field("first_message", &self.first_message)
            .field("auth_token", &self.auth_token.as_ref().map(|_| "…"))
            .finish()
    }
}

/// A header that respects a length, see [`SecProtocol::encode_within`].
#[derive(Clone, PartialEq, Eq)]
pub struct EncodedProtocol {
    /// The value of the header. Holds the token: never to be logged.
    pub value: String,
    /// Whether the first message is in it; if not, the client sends it as text after `connected`.
    pub holds_init_connection: bool,
    /// The value is too long all the same, because of the token. The connection is tried nevertheless.
    pub too_long: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    init_connection_message: Option<(&'static str, &'a InitConnection)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_token: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read<'a> {
    #[serde(default, borrow)]
    init_connection_message: Option<&'a RawValue>,
    #[serde(default)]
    auth_token: Option<String>,
}

impl SecProtocol {
    /// The value of the header.
    pub fn encode(&self) -> String {
        encode(self.init_connection.as_ref(), self.auth_token.as_deref())
    }

    /// The value of the header, without the first message if it would be longer than `max` characters.
    pub fn encode_within(&self, max: usize) -> EncodedProtocol {
        let whole = self.encode();
        if whole.len() <= max || self.init_connection.is_none() {
            return EncodedProtocol {
                holds_init_connection: self.init_connection.is_some(),
                too_long: whole.len() > max,
                value: whole,
            };
        }
        let value = encode(None, self.auth_token.as_deref());
        EncodedProtocol {
            holds_init_connection: false,
            too_long: value.len() > max,
            value,
        }
    }
}

impl ReceivedProtocol {
    /// Reads the value of the header.
    pub fn decode(value: &str) -> Result<Self, HandshakeError> {
        let refused = |reason: &str| HandshakeError::Protocol(reason.to_owned());
        let text = unescape(value, false).ok_or_else(|| refused("broken escape"))?;
        let bytes = from_base64(&text).ok_or_else(|| refused("not base64"))?;
        let json = String::from_utf8(bytes).map_err(|_| refused("not UTF-8"))?;
        check_depth(&json).map_err(|error| refused(&error.to_string()))?;
        let read: Read<'_> = from_str(&json).map_err(|_| refused("not the expected JSON"))?;
        Ok(Self {
            first_message: read
                .init_connection_message
                .map(|message| message.get().to_owned()),
            auth_token: read.auth_token,
        })
    }
}

fn encode(init_connection: Option<&InitConnection>, auth_token: Option<&str>) -> String {
    let written = Written {
        init_connection_message: init_connection.map(|init| ("initConnection", init)),
        auth_token,
    };
    base64(to_text(&written).as_bytes())
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{Upstream, decode_upstream};
    use proptest::prelude::*;

    const SMALL: &str = "eyJpbml0Q29ubmVjdGlvbk1lc3NhZ2UiOlsiaW5pdENvbm5lY3Rpb24iLHsiZGVzaXJlZFF1ZXJpZXNQYXRjaCI6W119XSwiYXV0aFRva2VuIjoidG9rIn0%3D";

    fn small() -> SecProtocol {
        SecProtocol {
            init_connection: Some(InitConnection::default()),
            auth_token: Some("tok".into()),
        }
    }

    fn received(sent: &SecProtocol) -> ReceivedProtocol {
        ReceivedProtocol {
            first_message: sent
                .init_connection
                .clone()
                .map(|init| Upstream::InitConnection(init).encode()),
            auth_token: sent.auth_token.clone(),
        }
    }

    #[test]
    fn known_values() {
        for (protocol, value) in [(small(), SMALL), (SecProtocol::default(), "e30%3D")] {
            assert_eq!(protocol.encode(), value);
            assert_eq!(ReceivedProtocol::decode(value), Ok(received(&protocol)));
        }
    }

    #[test]
    fn a_malformed_first_message_is_left_to_be_answered() {
        for message in [
            r#"["initConnection",{"desiredQueriesPatch":[],"later":1}]"#,
            r#"["somethingNew",{}]"#,
        ] {
            let json = format!(r#"{{"initConnectionMessage":{message}}}"#);
            let received = ReceivedProtocol::decode(&base64(json.as_bytes()));
            let text = received.expect("it decodes").first_message;
            assert_eq!(text.as_deref(), Some(message));
            assert!(decode_upstream(message).is_err());
        }
    }

    #[test]
    fn the_first_message_stays_out_if_it_does_not_fit() {
        let fits = small().encode_within(SMALL.len());
        assert!(fits.holds_init_connection && !fits.too_long);
        let cut = small().encode_within(SMALL.len() - 1);
        assert!(!cut.holds_init_connection && !cut.too_long);
        assert_eq!(
            ReceivedProtocol::decode(&cut.value),
            Ok(ReceivedProtocol {
                first_message: None,
                ..received(&small())
            })
        );
        assert!(small().encode_within(3).too_long);
    }

    #[test]
    fn refuses_other_values() {
        let encoded = |json: &str| base64(json.as_bytes());
        for value in [
            "",
            "e30%3D, e30%3D",
            "%",
            "e30%3D%3D%3D",
            &encoded("[]"),
            &encoded(&format!(
                r#"{{"initConnectionMessage":{}{}}}"#,
                "[".repeat(5000),
                "]".repeat(5000)
            )),
            &encoded(r#"{"authToken":5}"#),
        ] {
            assert!(
                matches!(
                    ReceivedProtocol::decode(value),
                    Err(HandshakeError::Protocol(_))
                ),
                "{value}"
            );
        }
    }

    #[test]
    fn tokens_are_not_printed() {
        assert!(!format!("{:?}", small()).contains("tok\""));
        let received = ReceivedProtocol::decode(&small().encode());
        assert!(!format!("{received:?}").contains("tok\""));
        let error = ReceivedProtocol::decode(&base64(br#"{"authToken":["secret"]}"#));
        assert!(error.is_err() && !format!("{error:?}").contains("secret"));
    }

    proptest! {
        #[test]
        fn any_token_survives(token: String) {
            let protocol = SecProtocol { init_connection: None, auth_token: Some(token) };
            let value = protocol.encode();
            prop_assert!(value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'%'));
            prop_assert_eq!(ReceivedProtocol::decode(&value), Ok(received(&protocol)));
        }

        #[test]
        fn any_value_is_read_or_refused(value: String, bytes: Vec<u8>) {
            let _ = ReceivedProtocol::decode(&value);
            let _ = ReceivedProtocol::decode(&base64(&bytes));
        }
    }
}
