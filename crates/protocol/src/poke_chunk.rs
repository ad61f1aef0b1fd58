//! Poke parts as binary frames, for clients of version 52 and above.
//!
//! Each frame is a zero byte and a slice of the UTF-8 text of one JSON array that holds the bodies of all parts.
//! Where the slices are cut has no meaning.

use crate::error::ProtocolError;
use crate::poke::PokePart;
use landfall_zql::json;

/// The largest frame a sender makes, including its first byte.
pub const CHUNK_BYTES: usize = 1 << 20;

const TAG: u8 = 0;

/// Frames for these bodies; one frame with an empty list if there are none.
pub fn chunk_frames<S: AsRef<str>>(bodies: &[S]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut frame = vec![TAG];
    let mut write = |mut bytes: &[u8]| {
        while !bytes.is_empty() {
            let room = CHUNK_BYTES - frame.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            frame.extend_from_slice(now);
            bytes = later;
            if frame.len() == CHUNK_BYTES {
                frames.push(std::mem::replace(&mut frame, vec![TAG]));
            }
        }
    };
    write(b"[");
    for (index, body) in bodies.iter().enumerate() {
        if index > 0 {
            write(b",");
        }
        write(body.as_ref().as_bytes());
    }
    write(b"]");
    if frame.len() > 1 {
        frames.push(frame);
    }
    frames
}

/// Puts the frames of one poke together again.
#[derive(Debug, Default)]
pub struct ChunkAssembler {
    bytes: Vec<u8>,
}

impl ChunkAssembler {
    /// Takes the next frame of the poke.
    pub fn push(&mut self, frame: &[u8]) -> Result<(), ProtocolError> {
        match frame.split_first() {
            Some((&TAG, slice)) => {
                self.bytes.extend_from_slice(slice);
                Ok(())
            }
            Some((&other, _)) => Err(ProtocolError::UnknownFrame(other)),
            None => Err(ProtocolError::Malformed("empty binary frame".to_owned())),
        }
    }

    /// Whether no frame has come since the start or the last [`clear`](Self::clear).
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Forgets the poke: it was cancelled, or has been read.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// The parts of the poke, borrowed from the frames; none if no frame came.
    pub fn parts(&self) -> Result<Vec<PokePart<'_>>, ProtocolError> {
        if self.bytes.is_empty() {
            return Ok(Vec::new());
        }
        let text = std::str::from_utf8(&self.bytes).map_err(|_| ProtocolError::NotUtf8)?;
        Ok(json::read(text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_pokes_are_one_frame() {
        assert_eq!(chunk_frames::<&str>(&[]), [b"\0[]"]);
        assert_eq!(
            chunk_frames(&[r#"{"pokeID":"4e672g"}"#]),
            [b"\0[{\"pokeID\":\"4e672g\"}]"]
        );
    }

    #[test]
    fn big_pokes_are_cut() {
        let body = format!(r#"{{"pokeID":"{}"}}"#, "é".repeat(CHUNK_BYTES));
        let frames = chunk_frames(&[&body, &body]);
        assert!(frames.len() > 3 && frames.iter().all(|frame| frame.len() <= CHUNK_BYTES));
        let mut assembler = ChunkAssembler::default();
        for frame in &frames {
            assembler.push(frame).expect("a chunk");
        }
        assert_eq!(assembler.parts().expect("parts").len(), 2);
    }

    #[test]
    fn refuses_foreign_frames() {
        let mut assembler = ChunkAssembler::default();
        assert!(matches!(
            assembler.push(&[1, b'[']),
            Err(ProtocolError::UnknownFrame(1))
        ));
        assert!(assembler.push(&[]).is_err());
        assert!(assembler.parts().expect("no frames, no parts").is_empty());
        assembler.push(&[0, 0xff]).expect("a slice");
        assert!(matches!(assembler.parts(), Err(ProtocolError::NotUtf8)));
        assembler.clear();
        assert!(assembler.is_empty());
    }

    proptest! {
        #[test]
        fn any_frames_give_parts_or_an_error(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..5)) {
            let mut assembler = ChunkAssembler::default();
            for frame in &frames {
                let _ = assembler.push(frame);
            }
            let _ = assembler.parts();
        }
    }
}
