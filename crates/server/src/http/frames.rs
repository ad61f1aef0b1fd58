//! Messages as the frames of a WebSocket server: whole, unmasked.
//!
//! Reading is left to the library; what is written goes straight to the socket, without a copy kept for each.

use axum::extract::ws::Message;

use crate::session::Frame;

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
pub(super) const PONG: u8 = 0x8a;

/// Appends a message as a frame.
pub(super) fn write_message(out: &mut Vec<u8>, message: &Message) {
    match message {
        Message::Text(text) => write_frame(out, TEXT, text.as_bytes()),
        Message::Binary(bytes) => write_frame(out, BINARY, bytes),
        Message::Ping(bytes) => write_frame(out, PING, bytes),
        Message::Pong(bytes) => write_frame(out, PONG, bytes),
        Message::Close(None) => write_frame(out, CLOSE, &[]),
        Message::Close(Some(frame)) => {
            let code = frame.code.to_be_bytes();
            let reason = frame.reason.as_bytes();
            write_frame(out, CLOSE, &[&code, reason].concat());
        }
    }
}

/// Appends the messages of a frame that is at hand.
pub(super) fn write_at_hand(out: &mut Vec<u8>, frame: Frame) -> std::io::Result<()> {
    match frame {
        Frame::Text(text) => write_frame(out, TEXT, text.as_bytes()),
        Frame::Binary(bytes) => write_frame(out, BINARY, &bytes),
        frame => {
            for message in frame.messages()? {
                write_message(out, &message);
            }
        }
    }
    Ok(())
}

fn write_frame(out: &mut Vec<u8>, first: u8, payload: &[u8]) {
    out.push(first);
    match payload.len() {
        short @ 0..126 => out.push(short as u8),
        middle @ 126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            out.push(127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(length: usize, header: &[u8]) {
        let text = "x".repeat(length);
        let mut out = Vec::new();
        write_message(&mut out, &Message::Text(text.clone().into()));
        assert_eq!(&out[..header.len()], header, "{length} bytes");
        assert_eq!(&out[header.len()..], text.as_bytes());
    }

    #[test]
    fn the_length_is_written_in_its_shortest_form() {
        check(0, &[0x81, 0]);
        check(125, &[0x81, 125]);
        check(126, &[0x81, 126, 0, 126]);
        check(65_535, &[0x81, 126, 0xff, 0xff]);
        check(65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_close_carries_its_code_first() {
        let frame = Frame::Close(Some((4000, "gone".to_owned())));
        let mut out = Vec::new();
        write_at_hand(&mut out, frame).expect("in memory");
        assert_eq!(out, b"\x88\x06\x0f\xa0gone");
    }
}
