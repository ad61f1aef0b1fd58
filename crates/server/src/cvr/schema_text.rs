//! Client schemas as text: groups that have the same one share it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Deref;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

static KNOWN: Mutex<Known> = Mutex::new(Known {
    texts: BTreeMap::new(),
    room: 0,
});

/// The text of a client schema. Equal texts are one copy as long as somebody holds it, so that thousands of groups of
/// one app cost one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaText(Arc<str>);

/// Texts by hash.
struct Known {
    texts: BTreeMap<u64, Weak<str>>,
    /// How many there may be before it is looked for those that nobody holds any more.
    room: usize,
}

impl From<&str> for SchemaText {
    fn from(text: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let hash = hasher.finish();
        let mut known = KNOWN.lock();
        let held = known.texts.get(&hash).and_then(Weak::upgrade);
        if let Some(held) = held {
            // Another text with the same hash goes without.
            return SchemaText(if *held == *text { held } else { text.into() });
        }
        if known.texts.len() >= known.room {
            known.texts.retain(|_, text| text.strong_count() > 0);
            known.room = 64 + 2 * known.texts.len();
        }
        let text: Arc<str> = text.into();
        known.texts.insert(hash, Arc::downgrade(&text));
        SchemaText(text)
    }
}

impl Deref for SchemaText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one_copy_as_long_as_somebody_holds_it() {
        let first = SchemaText::from("a schema of this test");
        let same = SchemaText::from("a schema of this test");
        assert!(Arc::ptr_eq(&first.0, &same.0));
        assert_eq!(&*same, "a schema of this test");
        for n in 0..1_000 {
            drop(SchemaText::from(format!("schema {n}").as_str()));
        }
        // Other tests may hold some.
        assert!(KNOWN.lock().texts.len() < 500);
        assert!(Arc::ptr_eq(
            &first.0,
            &SchemaText::from("a schema of this test").0
        ));
    }
}
