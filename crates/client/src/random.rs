//! Randomness handed in once, stretched as far as needed: xoshiro256** over the host's entropy.
//!
//! Ids and jitter come from here, so a simulation that gives the same entropy sees the same run.

/// A deterministic stream of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: [u64; 4],
}

impl Random {
    pub(crate) fn new(entropy: [u8; 32]) -> Self {
        let mut state = [0u64; 4];
        for (word, bytes) in state.iter_mut().zip(entropy.chunks_exact(8)) {
            let mut buffer = [0u8; 8];
            buffer.copy_from_slice(bytes);
            *word = u64::from_le_bytes(buffer);
        }
        if state == [0; 4] {
            // The all-zero state would stay zero for ever.
            state = [0x9e37_79b9_7f4a_7c15, 1, 2, 3];
        }
        let mut random = Random { state };
        for _ in 0..16 {
            random.next();
        }
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number in `0.0 .. 1.0`.
    pub(crate) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// `length` characters of an alphabet whose size is a power of two, at most 64.
    fn text(&mut self, alphabet: &[u8], length: usize) -> String {
        debug_assert!(alphabet.len().is_power_of_two() && alphabet.len() <= 64);
        (0..length)
            .map(|_| char::from(alphabet[(self.next() >> 58) as usize % alphabet.len()]))
            .collect()
    }

    /// A client or client group id: 18 characters of `0-9a-v`.
    pub(crate) fn id(&mut self) -> String {
        self.text(b"0123456789abcdefghijklmnopqrstuv", 18)
    }

    /// A socket id: 21 characters of `0-9A-Za-z_-`.
    pub(crate) fn socket_id(&mut self) -> String {
        self.text(
            b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-",
            21,
        )
    }

    /// The random part of this page's request ids: 8 hexadecimal digits.
    pub(crate) fn request_part(&mut self) -> String {
        self.text(b"0123456789abcdef", 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_format_of_the_wire() {
        let mut random = Random::new([7; 32]);
        let id = random.id();
        assert_eq!(id.len(), 18);
        assert!(
            id.bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'v').contains(&b))
        );
        assert_eq!(random.socket_id().len(), 21);
        assert_eq!(random.request_part().len(), 8);
    }

    #[test]
    fn streams_differ_by_entropy_and_repeat_by_entropy() {
        let draw = |seed: u8| {
            let mut random = Random::new([seed; 32]);
            (random.id(), random.fraction())
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1).0, draw(2).0);
        assert_ne!(draw(0).0, draw(1).0);
        assert!((0.0..1.0).contains(&draw(3).1));
    }
}
