//! Rows and keys from and to JSON objects, without a tree in between. Reading itself is in `row_reader.rs`.

use std::borrow::Cow;

use thiserror::Error;

use crate::json::JsonError;
use crate::row::Row;
use crate::row_reader::RowReader;
use crate::schema::{Key, TableSchema};
use crate::value::{Quoted, Value, ValueRef, text_between, write_json};

/// Which names a JSON object uses for columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Those of queries on the client.
    Client,
    /// Those of the source of truth and the wire.
    Server,
}

/// Why a JSON text is not a row of a table.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RowJsonError {
    /// Not JSON, or not an object.
    #[error("a row of table {} is not a JSON object: {source}", Quoted(.table))]
    Json {
        /// The table.
        table: String,
        /// What the parser says.
        source: JsonError,
    },
    /// A value that the column cannot hold.
    #[error(
        "column {} of table {} holds a {expected}, not a {found}",
        Quoted(.column), Quoted(.table)
    )]
    Type {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// What the column holds.
        expected: &'static str,
        /// What the JSON text has.
        found: &'static str,
    },
    /// Two members for one column.
    #[error("a row of table {} has column {} twice", Quoted(.table), Quoted(.column))]
    Duplicate {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// A row that cannot be packed.
    #[error("a row of table {} is too large", Quoted(.table))]
    TooLarge {
        /// The table.
        table: String,
    },
    /// A key column is absent or NULL.
    #[error("the primary key column {} of table {} is missing", Quoted(.column), Quoted(.table))]
    MissingKey {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
}

impl TableSchema {
    /// Reads a row. Missing columns are NULL, unknown ones are skipped.
    ///
    /// # Errors
    /// Not an object, a value of the wrong type, a column that comes twice, a key column that is missing, or a row
    /// that is too large.
    pub fn row_from_json(&self, json: &str, names: Names) -> Result<Row, RowJsonError> {
        RowReader::default().row(self, json, names)
    }

    /// Reads the columns that an object names, in column order; `None` where it does not name one.
    ///
    /// # Errors
    /// Not an object, a value of the wrong type, or a column that comes twice.
    pub fn cells_from_json(
        &self,
        json: &str,
        names: Names,
    ) -> Result<Vec<Option<Value>>, RowJsonError> {
        RowReader::default().cells(self, json, names)
    }

    /// Reads a primary key from an object that has at least the key columns.
    ///
    /// # Errors
    /// As [`TableSchema::row_from_json`].
    pub fn key_from_json(&self, json: &str, names: Names) -> Result<Key, RowJsonError> {
        Ok(self.key_of(&self.row_from_json(json, names)?))
    }

    /// Writes a whole row as an object, NULLs included.
    pub fn row_to_json(&self, row: &Row, names: Names, out: &mut String) {
        let columns = self.columns.iter().zip(row.iter());
        write_object(
            columns.map(|(column, value)| (column.name_in(names), value)),
            out,
        );
    }

    /// Writes a primary key as an object of its columns.
    pub fn key_to_json(&self, key: &Key, names: Names, out: &mut String) {
        let columns = self
            .primary_key
            .iter()
            .map(|column| &self.columns[*column])
            .zip(key.0.iter());
        write_object(
            columns.map(|(column, value)| (column.name_in(names), value)),
            out,
        );
    }
}

impl crate::schema::Column {
    /// This column's name on one side.
    pub fn name_in(&self, names: Names) -> &str {
        match names {
            Names::Client => &self.name,
            Names::Server => &self.server_name,
        }
    }
}

fn write_object<'a>(members: impl Iterator<Item = (&'a str, ValueRef<'a>)>, out: &mut String) {
    out.push('{');
    for (at, (name, value)) in members.enumerate() {
        if at > 0 {
            out.push(',');
        }
        write_json(ValueRef::String(name), out);
        out.push(':');
        write_json(value, out);
    }
    out.push('}');
}

/// JSON text without the white space between its tokens.
pub fn without_white_space(json: &str) -> String {
    compact(json).into_owned()
}

pub(crate) fn compact(json: &str) -> Cow<'_, str> {
    let is_space = |byte: u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    if !json.bytes().any(is_space) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len());
    let mut in_string = false;
    let mut escaped = false;
    let mut kept = 0;
    for (at, byte) in json.bytes().enumerate() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if is_space(byte) {
            out.push_str(text_between(json, kept, at));
            kept = at + 1;
        } else {
            in_string = byte == b'"';
        }
    }
    out.push_str(text_between(json, kept, json.len()));
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Schema;
    use proptest::prelude::*;

    const SCHEMA: &str = r#"{"tables":{"t":{"primaryKey":["id","b"],"columns":{
        "id":{"type":"string","serverName":"the_id"},"b":{"type":"boolean"},
        "n":{"type":"number","optional":true},"j":{"type":"json","optional":true},
        "z":{"type":"null","optional":true}}}}}"#;

    fn table() -> TableSchema {
        Schema::from_json(SCHEMA).unwrap().tables.remove(0)
    }

    fn to_json(table: &TableSchema, row: &Row, names: Names) -> String {
        let mut out = String::new();
        table.row_to_json(row, names, &mut out);
        out
    }

    /// Reads client names; the result in server names.
    fn check(json: &str, expected: Result<&str, &str>) {
        let table = table();
        match (table.row_from_json(json, Names::Client), expected) {
            (Ok(row), Ok(text)) => {
                let server = to_json(&table, &row, Names::Server);
                assert_eq!(server, text);
                assert_eq!(table.row_from_json(&server, Names::Server).unwrap(), row);
            }
            (Err(error), Err(text)) => assert_eq!(error.to_string(), text, "{json}"),
            (found, wanted) => panic!("{json}: {found:?}, not {wanted:?}"),
        }
    }

    #[test]
    fn rows() {
        check(
            r#"{"id":"1","b":false}"#,
            Ok(r#"{"b":false,"the_id":"1","j":null,"n":null,"z":null}"#),
        );
        check(
            r#" { "z" : null, "n" : 1.50, "j" : { "a b" : [ 1, "x \\\" y" ] } , "unknown": [{}], "b":true,"i\u0064":"é\n" } "#,
            Ok(r#"{"b":true,"the_id":"é\n","j":{"a b":[1,"x \\\" y"]},"n":1.5,"z":null}"#),
        );
        for (number, written) in [
            ("-0", "0"),
            ("1e2", "100"),
            ("0", "0"),
            ("-5", "-5"),
            ("999999999999999", "999999999999999"),
            ("-999999999999999", "-999999999999999"),
            ("1234567890123456", "1234567890123456"),
            ("9007199254740993", "9007199254740992"),
            ("18446744073709551616", "18446744073709552000"),
            ("0.1e-6", "1e-7"),
            ("2.2250738585072011e-308", "2.225073858507201e-308"),
        ] {
            check(
                &format!(r#"{{"id":"1","b":false,"n":{number}}}"#),
                Ok(&format!(
                    r#"{{"b":false,"the_id":"1","j":null,"n":{written},"z":null}}"#
                )),
            );
        }
        check(
            r#"{"id":"1","b":false,"j":"null"}"#,
            Ok(r#"{"b":false,"the_id":"1","j":"null","n":null,"z":null}"#),
        );
    }

    #[test]
    fn what_is_not_a_row() {
        let wrong = |column: &str, expected: &str, found: &str| {
            format!(r#"column "{column}" of table "t" holds a {expected}, not a {found}"#)
        };
        let number = |found| wrong("n", "number", found);
        check(r#"{"id":"1","b":false,"n":"1"}"#, Err(&number("string")));
        check(r#"{"id":"1","b":false,"n":true}"#, Err(&number("boolean")));
        check(r#"{"id":"1","b":false,"n":[1]}"#, Err(&number("list")));
        check(
            r#"{"id":"1","b":false,"n":{"a":{"b":1}}}"#,
            Err(&number("object")),
        );
        check(
            r#"{"id":1,"b":false}"#,
            Err(&wrong("id", "string", "number")),
        );
        check(r#"{"id":"1","b":0}"#, Err(&wrong("b", "boolean", "number")));
        check(
            r#"{"id":"1","b":true,"z":1}"#,
            Err(&wrong("z", "null", "number")),
        );
        let missing = r#"the primary key column "id" of table "t" is missing"#;
        check(r#"{"b":true}"#, Err(missing));
        check(r#"{"id":null,"b":true}"#, Err(missing));
        check(r#"{"the_id":"1","b":true}"#, Err(missing));
        check(
            r#"{"id":"1","b":true,"id":"2"}"#,
            Err(r#"a row of table "t" has column "id" twice"#),
        );
        for json in [
            "",
            "[]",
            "1",
            "null",
            r#"{"id":"1""#,
            "{} {}",
            r#"{"n":1e999}"#,
        ] {
            match table().row_from_json(json, Names::Client) {
                Err(RowJsonError::Json { .. }) => {}
                found => panic!("{json}: {found:?}"),
            }
        }
        let deep = format!(r#"{{"j":{}"#, "[".repeat(100_000));
        assert!(table().row_from_json(&deep, Names::Client).is_err());
    }

    #[test]
    fn keys() {
        let table = table();
        let key = table
            .key_from_json(r#"{"b":true,"the_id":"1"}"#, Names::Server)
            .unwrap();
        assert_eq!(key.0.get(0), ValueRef::String("1"));
        let mut out = String::new();
        table.key_to_json(&key, Names::Client, &mut out);
        assert_eq!(out, r#"{"id":"1","b":true}"#);
        assert!(table.key_from_json(r#"{"b":true}"#, Names::Server).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_fine(text in any::<String>(), inner in any::<String>()) {
            let table = table();
            let members = format!("{{{inner}}}");
            for json in [text, members] {
                drop(table.row_from_json(&json, Names::Client));
                without_white_space(&json);
            }
        }

        #[test]
        fn rows_come_back(id in any::<String>(), b in any::<bool>(), n in any::<f64>(), j in any::<String>()) {
            prop_assume!(n.is_finite());
            let mut json = String::new();
            write_json(ValueRef::String(&j), &mut json);
            let table = table();
            let json = format!(r#"[{json}]"#);
            let row = Row::from_values([
                ValueRef::Bool(b), ValueRef::String(&id), ValueRef::Json(&json), ValueRef::Number(n), ValueRef::Null,
            ]);
            for names in [Names::Client, Names::Server] {
                let text = to_json(&table, &row, names);
                prop_assert_eq!(&table.row_from_json(&text, names).unwrap(), &row);
            }
        }
    }
}
