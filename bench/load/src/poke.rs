//! Messages of the server, looked at no closer than a case needs: the load must cost less than what it loads.

use memchr::memmem;

/// What a message is.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Kind {
    Connected,
    Start,
    Part,
    End,
    /// An error for the connection, or for a query.
    Error,
    Other,
}

pub fn kind(text: &str) -> Kind {
    match text.get(2..).and_then(|rest| rest.split('"').next()) {
        Some("pokePart") => Kind::Part,
        Some("pokeEnd") => Kind::End,
        Some("pokeStart") => Kind::Start,
        Some("connected") => Kind::Connected,
        Some("error" | "transformError") => Kind::Error,
        _ => Kind::Other,
    }
}

/// The highest `mark` of the rows in a part.
pub fn highest_mark(text: &str) -> Option<u64> {
    const NAME: &str = "\"mark\":";
    memmem::find_iter(text.as_bytes(), NAME)
        .filter_map(|at| {
            let rest = &text[at + NAME.len()..];
            let end = rest
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len());
            rest[..end].parse().ok()
        })
        .max()
}

/// Whether a part says that a query is there in full.
pub fn has_got(text: &str, hash: &str) -> bool {
    // A row cannot look like this: quotes inside its values are escaped.
    text.split_once("\"gotQueriesPatch\":[")
        .and_then(|(_, rest)| rest.split(']').next())
        .is_some_and(|patch| patch.contains(&format!("\"hash\":\"{hash}\"")))
}

/// Whether a `pokeEnd` takes the poke back.
pub fn is_cancelled(text: &str) -> bool {
    text.contains("\"cancel\":true")
}

/// The cookie of a `pokeEnd`.
pub fn cookie(text: &str) -> Option<&str> {
    text.split("\"cookie\":\"").nth(1)?.split('"').next()
}

/// How many rows a part puts.
pub fn rows(text: &str) -> usize {
    memmem::find_iter(text.as_bytes(), "\"mark\":").count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart() {
        let part = r#"["pokePart",{"pokeID":"1","rowsPatch":[{"op":"put","tableName":"issue","value":{"id":"1","mark":41}},{"op":"put","tableName":"issue","value":{"mark":7,"id":"2"}}],"gotQueriesPatch":[{"op":"put","hash":"q1"}]}]"#;
        assert_eq!(kind(part), Kind::Part);
        assert_eq!(highest_mark(part), Some(41));
        assert_eq!(rows(part), 2);
        assert!(has_got(part, "q1") && !has_got(part, "q"));
        let end = r#"["pokeEnd",{"pokeID":"1","cookie":"4e68aa:01"}]"#;
        assert_eq!((kind(end), cookie(end)), (Kind::End, Some("4e68aa:01")));
        for (text, wanted) in [
            (r#"["pong",{}]"#, Kind::Other),
            (r#"["error",{}]"#, Kind::Error),
            ("", Kind::Other),
            ("[]", Kind::Other),
        ] {
            assert_eq!(kind(text), wanted, "{text}");
        }
    }
}
