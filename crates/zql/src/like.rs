//! Patterns of `LIKE` and `ILIKE`: `%` is any run of characters, `_` is one, `\x` is `x` itself. A character is a
//! code point; line ends are characters like any other.
//!
//! `ILIKE` lower-cases both sides character by character with Unicode's full mapping, and takes the final sigma for
//! a plain one: what a character becomes never depends on its neighbours, so a pattern may cut a word anywhere.

use crate::lower_case::lower_case;
use std::borrow::Cow;

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct LikePattern {
    shape: Shape,
    ignore_case: bool,
}

#[derive(Debug)]
enum Shape {
    /// No `%`: the text is one run from end to end.
    Whole(Run),
    /// Runs around `%`: the first at the start, the last at the end, the others in this order in between.
    Runs {
        first: Run,
        middle: Vec<Run>,
        last: Run,
    },
}

/// What stands between two `%`.
#[derive(Debug, Default)]
struct Run(Vec<Part>);

#[derive(Debug)]
enum Part {
    Text(String),
    /// `_`, this many times.
    Any(usize),
}

impl LikePattern {
    /// Compiles a pattern; `None` when it ends in a `\` that escapes nothing.
    pub(crate) fn new(pattern: &str, ignore_case: bool) -> Option<LikePattern> {
        let mut runs = vec![Run::default()];
        let mut characters = pattern.chars();
        while let Some(character) = characters.next() {
            let run = runs.last_mut()?;
            match character {
                '%' => runs.push(Run::default()),
                '_' => run.push_any(),
                '\\' => run.push_text(characters.next()?, ignore_case),
                other => run.push_text(other, ignore_case),
            }
        }
        let last = runs.pop()?;
        let shape = if runs.is_empty() {
            Shape::Whole(last)
        } else {
            let first = runs.remove(0);
            runs.retain(|run| !run.0.is_empty());
            Shape::Runs {
                first,
                middle: runs,
                last,
            }
        };
        Some(LikePattern { shape, ignore_case })
    }

    /// Whether the whole text matches.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let text = if self.ignore_case {
            lower_case_text(text)
        } else {
            Cow::Borrowed(text)
        };
        match &self.shape {
            Shape::Whole(run) => run.at_start(&text) == Some(""),
            Shape::Runs {
                first,
                middle,
                last,
            } => {
                let inner = first.at_start(&text).and_then(|rest| last.at_end(rest));
                let rest = middle
                    .iter()
                    .try_fold(inner, |rest, run| rest.map(|rest| run.find(rest)));
                matches!(rest, Some(Some(_)))
            }
        }
    }
}

impl Run {
    fn push_any(&mut self) {
        if let Some(Part::Any(count)) = self.0.last_mut() {
            *count += 1;
        } else {
            self.0.push(Part::Any(1));
        }
    }

    fn push_text(&mut self, character: char, ignore_case: bool) {
        if !matches!(self.0.last(), Some(Part::Text(_))) {
            self.0.push(Part::Text(String::new()));
        }
        if let Some(Part::Text(text)) = self.0.last_mut() {
            if ignore_case {
                push_lower_case(character, text);
            } else {
                text.push(character);
            }
        }
    }

    /// What follows this run when the text starts with it.
    fn at_start<'t>(&self, text: &'t str) -> Option<&'t str> {
        self.0.iter().try_fold(text, |rest, part| match part {
            Part::Text(wanted) => rest.strip_prefix(wanted.as_str()),
            Part::Any(count) => {
                let mut characters = rest.chars();
                characters.nth(count - 1)?;
                Some(characters.as_str())
            }
        })
    }

    /// What precedes this run when the text ends with it.
    fn at_end<'t>(&self, text: &'t str) -> Option<&'t str> {
        self.0.iter().rev().try_fold(text, |rest, part| match part {
            Part::Text(wanted) => rest.strip_suffix(wanted.as_str()),
            Part::Any(count) => {
                let mut characters = rest.chars();
                characters.nth_back(count - 1)?;
                Some(characters.as_str())
            }
        })
    }

    /// What follows the first occurrence of this run. To take the first one is right: it leaves the most to the runs
    /// that come after.
    fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        if let [Part::Text(wanted)] = self.0.as_slice() {
            return after_first(text, wanted);
        }
        let starts = text.char_indices().map(|(at, _)| at);
        starts
            .filter_map(|at| text.get(at..))
            .find_map(|rest| self.at_start(rest))
    }
}

/// What follows the first occurrence.
#[cfg(not(target_arch = "wasm32"))]
fn after_first<'t>(text: &'t str, wanted: &str) -> Option<&'t str> {
    text.split_once(wanted).map(|(_, rest)| rest)
}

#[cfg(target_arch = "wasm32")]
use after_first_by_sums as after_first;

/// The same in less code: compares only where the last bytes have the sum that the wanted bytes have.
#[cfg(any(target_arch = "wasm32", test))]
fn after_first_by_sums<'t>(text: &'t str, wanted: &str) -> Option<&'t str> {
    const BASE: u32 = 0x0100_0193;
    let add = |sum: u32, byte: u8| sum.wrapping_mul(BASE).wrapping_add(u32::from(byte));
    let (bytes, length) = (text.as_bytes(), wanted.len());
    let wanted_sum = wanted.bytes().fold(0, add);
    let leaving = BASE.wrapping_pow(length as u32);
    let mut sum = bytes.get(..length)?.iter().copied().fold(0, add);
    for end in length.. {
        if sum == wanted_sum && bytes[end - length..end] == *wanted.as_bytes() {
            return text.get(end..);
        }
        let gone = u32::from(bytes[end - length]);
        sum = add(sum, *bytes.get(end)?).wrapping_sub(gone.wrapping_mul(leaving));
    }
    None
}

fn lower_case_text(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(text.to_ascii_lowercase())
        } else {
            Cow::Borrowed(text)
        };
    }
    let mut lower = String::with_capacity(text.len());
    for character in text.chars() {
        push_lower_case(character, &mut lower);
    }
    Cow::Owned(lower)
}

fn push_lower_case(character: char, out: &mut String) {
    match character {
        'ς' => out.push('σ'),
        'İ' => out.push_str("i\u{307}"),
        other => out.push(lower_case(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(text: &str, pattern: &str, ignore_case: bool) -> bool {
        LikePattern::new(pattern, ignore_case)
            .unwrap()
            .matches(text)
    }

    #[test]
    fn patterns() {
        let check = |text: &str, pattern: &str, like: bool, ilike: bool| {
            assert_eq!(matches(text, pattern, false), like, "{text} LIKE {pattern}");
            assert_eq!(
                matches(text, pattern, true),
                ilike,
                "{text} ILIKE {pattern}"
            );
        };
        check("", "", true, true);
        check("", "%", true, true);
        check("", "_", false, false);
        check("abc", "abc", true, true);
        check("abc", "ABC", false, true);
        check("abc", "ab", false, false);
        check("abc", "a%", true, true);
        check("abc", "%c", true, true);
        check("abc", "%b%", true, true);
        check("abc", "%%b%%", true, true);
        check("abc", "a%b%c", true, true);
        check("abc", "a__", true, true);
        check("abc", "a___", false, false);
        check("abc", "_%_", true, true);
        check("a", "_%_", false, false);
        check("aba", "ab%ba", false, false);
        check("abba", "ab%ba", true, true);
        check("xab", "%a_b%", false, false);
        check("xaacb", "%a_b%", true, true);
        check("aab", "%ab", true, true);
        check("mississippi", "%iss%ip%", true, true);
        check("mississippi", "m%iss%iss%iss%", false, false);
        check("100%", r"100\%", true, true);
        check("100x", r"100\%", false, false);
        check("a_b", r"a\_b", true, true);
        check("axb", r"a\_b", false, false);
        check(r"a\b", r"a\\b", true, true);
        check("ab", r"\a\b", true, true);
        check("a.b", "a.b", true, true);
        check("axb", "a.b", false, false);
        check("A\nB", "a_b", false, true);
        check("A\r\nB", "A%B", true, true);
        check("\u{1F600}", "_", true, true);
        check("\u{1F600}", "__", false, false);
        check("\u{212A}", "k%", false, true);
        check("straße", "STRASSE", false, false);
        check("STRASSE", "strasse", false, true);
        check("İ", "i", false, false);
        check("ΣΑΣ", "σας", false, true);
        check("ΣΑΣ", "σα%", false, true);
        check("ΑΣΑ", "%ας%", false, true);
        check("ÄÖ", "äö", false, true);
    }

    #[test]
    fn a_trailing_escape_is_refused() {
        for pattern in ["\\", "a\\", "a\\\\\\", "%\\"] {
            assert!(LikePattern::new(pattern, false).is_none(), "{pattern}");
        }
        assert!(LikePattern::new("a\\\\", false).is_some());
    }

    /// The definition, without any thought of speed.
    fn oracle(text: &[char], pattern: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['%', rest @ ..] => (0..=text.len()).any(|skip| oracle(&text[skip..], rest)),
            ['_', rest @ ..] => !text.is_empty() && oracle(&text[1..], rest),
            ['\\', literal, rest @ ..] | [literal, rest @ ..] => {
                text.first() == Some(literal) && oracle(&text[1..], rest)
            }
        }
    }

    proptest! {
        #[test]
        fn both_searches_find_the_same(text in "[abß]{0,40}", wanted in "[abß]{0,4}") {
            let expected = after_first(&text, &wanted);
            prop_assert_eq!(after_first_by_sums(&text, &wanted), expected, "{} in {}", wanted, text);
        }

        #[test]
        fn agrees_with_the_definition(text in "[abé😀%_]{0,10}", pattern in r"([abé😀%_]|\\[ab%_\\]){0,7}") {
            let characters = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(
                matches(&text, &pattern, false),
                oracle(&characters(&text), &characters(&pattern))
            );
        }

        #[test]
        fn any_pattern_and_text_are_fine(text in any::<String>(), pattern in any::<String>(), ignore_case in any::<bool>()) {
            if let Some(pattern) = LikePattern::new(&pattern, ignore_case) {
                pattern.matches(&text);
            }
            let everything = LikePattern::new("%", ignore_case).unwrap();
            prop_assert!(everything.matches(&text));
        }
    }
}
