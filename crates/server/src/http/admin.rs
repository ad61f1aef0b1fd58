//! Who may use the routes for administrators: whoever has the password, or, without one, anyone in development mode.
//!
//! After a wrong password its address has to wait, so that guessing takes long; nobody else notices. Nothing is kept
//! waiting on the server's side, where whoever hangs up early would wait less.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use parking_lot::Mutex;

use crate::config::Secret;

/// No password is taken from an address for so long after a wrong one.
const PAUSE: Duration = Duration::from_secs(1);

/// Knows the password, and who guesses.
#[derive(Debug)]
pub struct Administrators {
    password: Option<Secret>,
    dev: bool,
    /// When the last wrong password of an address came.
    wrong: Mutex<BTreeMap<IpAddr, Instant>>,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No password, or a wrong one.
    Password,
    /// Another wrong one was given from there a moment ago: this one was not looked at.
    TooSoon,
}

impl Administrators {
    /// Nobody has guessed yet.
    pub fn new(password: Option<Secret>, dev: bool) -> Self {
        Administrators {
            password,
            dev,
            wrong: Mutex::default(),
        }
    }

    /// Whether there is a password to ask for.
    pub(super) fn have_password(&self) -> bool {
        self.password.is_some()
    }

    /// Decides about a request from this address.
    pub(super) fn admit(
        &self,
        address: Option<IpAddr>,
        headers: &HeaderMap,
    ) -> Result<(), Refusal> {
        let given = password_of(headers);
        self.judge(address, given.as_deref(), Instant::now())
    }

    fn judge(
        &self,
        address: Option<IpAddr>,
        given: Option<&str>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let Some(password) = &self.password else {
            return if self.dev {
                Ok(())
            } else {
                Err(Refusal::Password)
            };
        };
        // Browsers ask without one first.
        let given = given.ok_or(Refusal::Password)?;
        let from = neighbourhood(address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()));
        let mut wrong = self.wrong.lock();
        wrong.retain(|_, at| now.saturating_duration_since(*at) < PAUSE);
        if wrong.contains_key(&from) {
            return Err(Refusal::TooSoon);
        }
        if password.is(given) {
            return Ok(());
        }
        wrong.insert(from, now);
        tracing::warn!(address = %from, "a wrong admin password was given");
        Err(Refusal::Password)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Refusal::Password => {
                let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"landfall\"")];
                (StatusCode::UNAUTHORIZED, challenge, "").into_response()
            }
            Refusal::TooSoon => {
                let pause = [(header::RETRY_AFTER, PAUSE.as_secs().to_string())];
                (StatusCode::TOO_MANY_REQUESTS, pause, "").into_response()
            }
        }
    }
}

/// The password of a request's `Authorization: Basic`; the name before it does not matter.
fn password_of(headers: &HeaderMap) -> Option<String> {
    let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let encoded = given.strip_prefix("Basic ")?.trim();
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded);
    let text = String::from_utf8(bytes.ok()?).ok()?;
    text.split_once(':')
        .map(|(_, password)| password.to_owned())
}

/// What counts as one address: somebody with one of version 6 has a whole network of them.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (!0 << 64)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_guesses_waits_and_nobody_else() {
        let doors = Administrators::new(Some(Secret::new("open sesame")), true);
        let start = Instant::now();
        let check = |ms: u64, from: &str, given: Option<&str>, expected: Result<(), Refusal>| {
            let address = from.parse().expect("an address");
            let now = start + Duration::from_millis(ms);
            let found = doors.judge(Some(address), given, now);
            assert_eq!(found, expected, "{ms} {from} {given:?}");
        };
        let (right, wrong) = (Some("open sesame"), Some("open barley"));
        check(0, "10.0.0.1", None, Err(Refusal::Password));
        check(0, "10.0.0.1", right, Ok(()));
        check(0, "10.0.0.1", wrong, Err(Refusal::Password));
        check(1, "10.0.0.1", None, Err(Refusal::Password));
        check(1, "10.0.0.1", right, Err(Refusal::TooSoon));
        check(1, "10.0.0.1", wrong, Err(Refusal::TooSoon));
        check(1, "::ffff:10.0.0.1", right, Err(Refusal::TooSoon));
        check(1, "10.0.0.2", right, Ok(()));
        check(999, "10.0.0.1", right, Err(Refusal::TooSoon));
        check(1000, "10.0.0.1", right, Ok(()));
        check(2000, "2001:db8::1", wrong, Err(Refusal::Password));
        check(2001, "2001:db8::2", right, Err(Refusal::TooSoon));
        check(2001, "2001:db8:0:1::1", right, Ok(()));
    }

    #[test]
    fn without_a_password_development_decides() {
        let judge = |dev| Administrators::new(None, dev).judge(None, Some("x"), Instant::now());
        assert_eq!(judge(true), Ok(()));
        assert_eq!(judge(false), Err(Refusal::Password));
    }

    #[test]
    fn the_password_of_a_header() {
        let check = |header: &str, expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            let value = header.parse().expect("a header");
            headers.insert(header::AUTHORIZATION, value);
            assert_eq!(password_of(&headers).as_deref(), expected, "{header}");
        };
        check("Basic YWRtaW46b3BlbjpzZXNhbWU=", Some("open:sesame"));
        check("Basic YWRtaW4=", None);
        check("Basic ???", None);
        check("Bearer YWRtaW46b3Blbg==", None);
    }
}
