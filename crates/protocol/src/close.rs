//! Close codes of the WebSocket.

/// The client is closed for good.
pub const DONE: u16 = 1000;
/// The handshake was refused.
pub const HANDSHAKE: u16 = 1002;
/// A message was too big.
pub const TOO_BIG: u16 = 1009;
/// The server failed before the session began.
pub const INTERNAL: u16 = 1011;
/// The token was refused at the handshake.
pub const UNAUTHORIZED: u16 = 3000;

/// The largest message a server takes unless told otherwise, in bytes.
pub const MAX_PAYLOAD_BYTES: usize = 10 * 1024 * 1024;

/// How many bytes the reason of a close may have.
const REASON_BYTES: usize = 123;

/// The reason of a close, cut to what fits, never inside a character.
pub fn close_reason(text: &str) -> &str {
    &text[..text.floor_char_boundary(REASON_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_cut_between_characters() {
        for (text, length) in [
            ("short".to_owned(), 5),
            ("x".repeat(200), 123),
            ("é".repeat(100), 122),
            (String::new(), 0),
        ] {
            assert_eq!(close_reason(&text).len(), length);
        }
    }
}
