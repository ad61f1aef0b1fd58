//! The order of cookies, as far as the store needs it.
//!
//! A cookie is `<state>[:<config>]`, and both parts order as text. Comparing whole texts would misplace one case:
//! a back-fill step `X.01` comes after `X:01`, though `.` sorts before `:`.
//! The store takes cookies from clients and knows nothing else about them, so it needs no more than this.

use std::cmp::Ordering;

/// Compares two cookies; `None` is the state before the first one.
pub fn compare(a: Option<&str>, b: Option<&str>) -> Ordering {
    a.map(parts).cmp(&b.map(parts))
}

fn parts(cookie: &str) -> (&str, &str) {
    cookie.split_once(':').unwrap_or((cookie, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_server() {
        let ascending = [
            None,
            Some("00"),
            Some("00:01"),
            Some("4e672g"),
            Some("4e672g:01"),
            Some("4e672g:0a"),
            Some("4e672g:110"),
            Some("4e672g.01"),
            Some("4e672g.01:01"),
            Some("4e672h"),
            Some("5000000"),
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(compare(*a, *b), i.cmp(&j), "{a:?} {b:?}");
            }
        }
    }
}
