//! Cookies: how far a client group has come, as opaque text to clients and as (state, configuration) to servers.
//!
//! `<state>[:<config>]`: the state version is the replica's, the configuration version counts changes of wanted queries
//! since that state and disappears when the state moves on.
//!
//! Clients compare cookies as text, servers as pairs, and the two orders differ in one case: a back-fill step `X.01`
//! is above `X:01` for a server and below it for a client.
//! A [`Cookie`] therefore accepts a minor version from outside and can never be made with one here.

use crate::error::CookieError;
use crate::lexi;
use std::cmp::Ordering;
use std::fmt;

/// The version of a replica: one upstream commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StateVersion(pub u64);

impl StateVersion {
    /// Reads the order-preserving text; refuses minor versions.
    pub fn parse(text: &str) -> Result<Self, CookieError> {
        lexi::decode(text).map(Self)
    }
}

impl fmt::Display for StateVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&lexi::encode(self.0))
    }
}

/// A well-formed cookie. `Ord` is the server's order: state first, then configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cookie {
    text: String,
    major: u64,
    minor: Option<u64>,
    config: u64,
}

impl Cookie {
    /// The cookie of a state version with a number of configuration changes on top.
    pub fn new(state: StateVersion, config: u64) -> Self {
        let mut text = lexi::encode(state.0);
        if config > 0 {
            text.push(':');
            text.push_str(&lexi::encode(config));
        }
        Self {
            text,
            major: state.0,
            minor: None,
            config,
        }
    }

    /// Reads a cookie that came from outside.
    pub fn parse(text: &str) -> Result<Self, CookieError> {
        let malformed = |_| CookieError::Malformed(text.to_owned());
        let (state, config) = match text.split_once(':') {
            Some((state, config)) => (state, Some(config)),
            None => (text, None),
        };
        let (major, minor) = match state.split_once('.') {
            Some((major, minor)) => (major, Some(lexi::decode(minor).map_err(malformed)?)),
            None => (state, None),
        };
        Ok(Self {
            text: text.to_owned(),
            major: lexi::decode(major).map_err(malformed)?,
            minor,
            config: config.map_or(Ok(0), lexi::decode).map_err(malformed)?,
        })
    }

    /// The text that travels.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The state version, unless it is a step of a back-fill.
    pub fn state(&self) -> Option<StateVersion> {
        self.minor.is_none().then_some(StateVersion(self.major))
    }

    /// The major part of the state version; a back-fill step belongs to the state it started from.
    pub fn major(&self) -> StateVersion {
        StateVersion(self.major)
    }

    /// How many configuration changes lie on top of the state.
    pub fn config(&self) -> u64 {
        self.config
    }

    /// The text, for a server that is about to send it: refused if the cookie holds a back-fill step.
    pub fn for_output(&self) -> Result<&str, CookieError> {
        match self.minor {
            Some(_) => Err(CookieError::Minor(self.text.clone())),
            None => Ok(&self.text),
        }
    }

    /// Compares as clients do: byte by byte.
    pub fn cmp_as_text(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl Ord for Cookie {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.major, self.minor, self.config)
            .cmp(&(other.major, other.minor, other.config))
            // `X` and `X:00` are one version; the text keeps `Ord` and `Eq` in agreement.
            .then_with(|| self.text.cmp(&other.text))
    }
}

impl PartialOrd for Cookie {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cookie(text: &str) -> Cookie {
        Cookie::parse(text).expect("a cookie")
    }

    #[test]
    fn known_texts() {
        for (state, config, text) in [
            (0, 0, "00"),
            (0, 1, "00:01"),
            (0x16B_3748, 0, "4e672g"),
            (0x16B_3748, 2, "4e672g:02"),
        ] {
            let made = Cookie::new(StateVersion(state), config);
            assert_eq!(made.as_str(), text);
            assert_eq!(cookie(text), made);
            assert_eq!(made.for_output(), Ok(text));
        }
    }

    #[test]
    fn reads_back_fill_steps_and_refuses_to_send_them() {
        let step = cookie("1a9.28wa:02");
        assert_eq!((step.state(), step.config()), (None, 2));
        assert!(matches!(step.for_output(), Err(CookieError::Minor(_))));
    }

    #[test]
    fn orders_as_server_and_as_text_differ_at_back_fill_steps_only() {
        assert!(cookie("4e672g:02") > cookie("4e672g"));
        assert!(cookie("4e672h") > cookie("4e672g:0z"));
        let (config, step) = (cookie("4e672g:01"), cookie("4e672g.01"));
        assert!(step > config);
        assert_eq!(step.cmp_as_text(&config), Ordering::Less);
    }

    #[test]
    fn refuses_malformed_text() {
        for text in [
            "", ":", "00:", ":00", "00:1", "00.01.01", "00:01:01", "00:01.01", "zz", "4E672G",
            "00 ",
        ] {
            assert!(Cookie::parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_we_make_orders_alike_everywhere(a in (0u64..3, 0u64..40), b in (0u64..3, 0u64..40)) {
            let made = |(state, config): (u64, u64)| Cookie::new(StateVersion(state * 1_000_000_007), config);
            let (x, y) = (made(a), made(b));
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
            prop_assert_eq!(x.cmp_as_text(&y), a.cmp(&b));
        }

        #[test]
        fn any_text_parses_or_is_refused(text in "[0-9a-z:.]{0,12}|.*") {
            if let Ok(parsed) = Cookie::parse(&text) {
                prop_assert_eq!(parsed.as_str(), &text);
            }
        }
    }
}
