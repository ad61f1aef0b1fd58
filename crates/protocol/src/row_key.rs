//! The text by which Zero's clients name a row in their own store. It never travels; tools that read such a store
//! need it.

use landfall_zql::{Key, ValueRef, write_json};

/// The name of a row: one key column as its value's text, several as a hash of all.
pub fn row_key(key: &Key) -> String {
    let mut values = key.0.iter();
    if let (Some(only), None) = (values.next(), values.next()) {
        return match only {
            ValueRef::String(text) => text.to_owned(),
            other => json(other),
        };
    }
    let list: Vec<String> = key.0.iter().map(json).collect();
    landfall_zql::hash::h128(&format!("[{}]", list.join(","))).to_string()
}

fn json(value: ValueRef<'_>) -> String {
    let mut text = String::new();
    write_json(value, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_zql::Row;

    fn check(values: &[ValueRef<'_>], name: &str) {
        assert_eq!(
            row_key(&Key(Row::from_values(values.iter().copied()))),
            name
        );
    }

    #[test]
    fn known_names() {
        check(&[ValueRef::String("abc")], "abc");
        check(&[ValueRef::Number(12.0)], "12");
        check(&[ValueRef::Bool(true)], "true");
        check(
            &[ValueRef::String("x"), ValueRef::Number(1.0)],
            "180794214858165989435894838441342021471",
        );
    }
}
