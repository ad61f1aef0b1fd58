//! From which pages connections are taken.
//!
//! Browsers name the page's origin when they connect, and do not let the page choose it; programs that are no browsers
//! name none, and are not held up. Tokens keep strangers out anyway; this is for what goes without: cookies that are
//! passed on to the app's endpoints, and development mode, in which every page that a developer visits could come.

use axum::http::{HeaderMap, header};
use url::{Host, Url};

/// Who may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// All pages.
    Any,
    /// Pages of this machine, and of the host by which the server is addressed.
    Here,
    /// The pages of these origins.
    Listed(Vec<String>),
}

impl Origins {
    /// What the setting means; without it everyone may come, in development those from here.
    pub fn new(listed: &[String], dev: bool) -> Origins {
        match listed {
            [] if dev => Origins::Here,
            [] => Origins::Any,
            listed if listed.iter().any(|origin| origin == "*") => Origins::Any,
            listed => Origins::Listed(listed.to_vec()),
        }
    }

    /// Whether a request may connect.
    pub fn allow(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return true;
        };
        let origin = origin.to_str().unwrap_or_default();
        match self {
            Origins::Any => true,
            Origins::Here => is_here(origin, headers),
            Origins::Listed(listed) => listed.iter().any(|one| one.eq_ignore_ascii_case(origin)),
        }
    }
}

fn is_here(origin: &str, headers: &HeaderMap) -> bool {
    let Ok(origin) = Url::parse(origin) else {
        return false;
    };
    let addressed = headers
        .get(header::HOST)
        .and_then(|host| Url::parse(&format!("http://{}", host.to_str().ok()?)).ok());
    match origin.host() {
        None => false,
        Some(Host::Domain(name)) if name == "localhost" || name.ends_with(".localhost") => true,
        Some(Host::Ipv4(address)) if address.is_loopback() => true,
        Some(Host::Ipv6(address)) if address.is_loopback() => true,
        // By a name a stranger's page could be here too, as names can be made to lead anywhere.
        Some(Host::Domain(_)) => false,
        Some(host) => addressed.is_some_and(|here| here.host() == Some(host)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(origins: &Origins, origin: &str, allowed: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "192.168.1.5:4848".parse().expect("a value"));
        headers.insert(header::ORIGIN, origin.parse().expect("a value"));
        assert_eq!(origins.allow(&headers), allowed, "{origins:?} {origin}");
    }

    #[test]
    fn in_development_pages_of_this_machine_may_come() {
        let here = Origins::new(&[], true);
        for origin in [
            "http://localhost:5173",
            "http://app.localhost",
            "http://127.0.0.1:1",
            "http://[::1]:5173",
            "http://192.168.1.5:5173",
        ] {
            check(&here, origin, true);
        }
        for origin in [
            "https://evil.example",
            "http://localhost.evil.example",
            "http://192.168.1.6",
            "null",
            "file://",
        ] {
            check(&here, origin, false);
        }
    }

    #[test]
    fn a_list_is_taken_at_its_word() {
        let one = Origins::new(&["https://app.example".to_owned()], true);
        check(&one, "https://app.example", true);
        check(&one, "https://APP.example", true);
        for origin in ["http://app.example", "https://app.example:8443", "null"] {
            check(&one, origin, false);
        }
        check(&Origins::new(&["*".to_owned()], true), "null", true);
        check(&Origins::new(&[], false), "https://any.example", true);
        assert!(one.allow(&HeaderMap::new()));
    }
}
