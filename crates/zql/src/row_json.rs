//! Rows and keys from and to JSON objects, without a tree in between.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::json::{JsonError, read_with};
use crate::row::{Row, RowBuilder};
use crate::schema::{ColumnType, Key, TableSchema};
use crate::value::{Value, ValueRef, write_json};

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
    #[error("a row of table {table:?} is not a JSON object: {source}")]
    Json {
        /// The table.
        table: String,
        /// What the parser says.
        source: JsonError,
    },
    /// A value that the column cannot hold.
    #[error("column {column:?} of table {table:?} holds a {expected}, not a {found}")]
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
    #[error("a row of table {table:?} has column {column:?} twice")]
    Duplicate {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// A row that cannot be packed.
    #[error("a row of table {table:?} is too large")]
    TooLarge {
        /// The table.
        table: String,
    },
    /// A key column is absent or NULL.
    #[error("the primary key column {column:?} of table {table:?} is missing")]
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
        let cells = self.read_cells(json, names)?;
        for &column in &self.primary_key {
            let cell = cells.get(column).and_then(Option::as_ref);
            if cell.is_none_or(|value| value.as_ref().is_null()) {
                return Err(RowJsonError::MissingKey {
                    table: self.name.clone(),
                    column: self.columns[column].name.clone(),
                });
            }
        }
        let mut builder = RowBuilder::default();
        for cell in &cells {
            builder.push(cell.as_ref().map_or(ValueRef::Null, Parsed::as_ref));
        }
        builder.try_finish().map_err(|_| RowJsonError::TooLarge {
            table: self.name.clone(),
        })
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
        let cells = self.read_cells(json, names)?.into_iter();
        Ok(cells
            .map(|cell| cell.map(|value| Value::from(value.as_ref())))
            .collect())
    }

    fn read_cells<'de>(
        &self,
        json: &'de str,
        names: Names,
    ) -> Result<Vec<Option<Parsed<'de>>>, RowJsonError> {
        let mut cells = Cells {
            table: self,
            names,
            values: vec![None; self.columns.len()],
            wrong: None,
        };
        read_with(json, |reader| cells.deserialize(reader)).map_err(|source| {
            RowJsonError::Json {
                table: self.name.clone(),
                source,
            }
        })?;
        match cells.wrong {
            None => Ok(cells.values),
            Some(wrong) => Err(wrong),
        }
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

/// Collects the values of one object. What is wrong with them is kept aside, so that only what is not JSON ends in an
/// error of the parser.
struct Cells<'a, 'de> {
    table: &'a TableSchema,
    names: Names,
    values: Vec<Option<Parsed<'de>>>,
    wrong: Option<RowJsonError>,
}

/// A value that still lies in the JSON text where it can.
#[derive(Clone)]
enum Parsed<'de> {
    Plain(ValueRef<'static>),
    String(Cow<'de, str>),
    Json(Cow<'de, str>),
}

impl Parsed<'_> {
    fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Parsed::Plain(value) => *value,
            Parsed::String(text) => ValueRef::String(text),
            Parsed::Json(text) => ValueRef::Json(text),
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut Cells<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Cells<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of column values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut expected = 0;
        while let Some(name) = map.next_key::<Name<'de>>()? {
            let Some(column) = self.column(&name.0, expected) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            expected = column + 1;
            let ty = self.table.columns[column].ty;
            match map.next_value_seed(Cell(ty))? {
                Ok(value) => self.set(column, value),
                Err(found) => self.refuse_type(column, found),
            }
        }
        Ok(())
    }
}

impl<'de> Cells<'_, 'de> {
    /// The column of a name. Objects mostly have their members in one order, so the search starts behind the column
    /// that was found last.
    fn column(&self, name: &str, expected: usize) -> Option<usize> {
        let columns = &self.table.columns;
        let count = columns.len();
        let mut places = (expected..count).chain(0..expected.min(count));
        places.find(|place| columns[*place].name_in(self.names) == name)
    }

    fn set(&mut self, column: usize, value: Parsed<'de>) {
        if self.values[column].replace(value).is_some() && self.wrong.is_none() {
            self.wrong = Some(RowJsonError::Duplicate {
                table: self.table.name.clone(),
                column: self.table.columns[column].name.clone(),
            });
        }
    }

    fn refuse_type(&mut self, column: usize, found: &'static str) {
        if self.wrong.is_none() {
            let column = &self.table.columns[column];
            self.wrong = Some(RowJsonError::Type {
                table: self.table.name.clone(),
                column: column.name.clone(),
                expected: column.ty.name(),
                found,
            });
        }
    }
}

/// A member's name, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads one value of a column of this type; or says what is there instead.
struct Cell(ColumnType);

impl<'de> DeserializeSeed<'de> for Cell {
    type Value = Result<Parsed<'de>, &'static str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.0 == ColumnType::Json {
            let json = <&RawValue>::deserialize(deserializer)?.get();
            return Ok(Ok(match json {
                "null" => Parsed::Plain(ValueRef::Null),
                json => Parsed::Json(compact(json)),
            }));
        }
        deserializer.deserialize_any(self)
    }
}

impl Cell {
    fn plain<'de, E>(
        self,
        value: ValueRef<'static>,
        found: &'static str,
    ) -> Result<Result<Parsed<'de>, &'static str>, E> {
        let accepted = self.0.accepts(value);
        Ok(accepted.then_some(Parsed::Plain(value)).ok_or(found))
    }

    fn text<'de, E>(self, text: Cow<'de, str>) -> Result<Result<Parsed<'de>, &'static str>, E> {
        let accepted = self.0 == ColumnType::String;
        Ok(accepted.then_some(Parsed::String(text)).ok_or("string"))
    }
}

impl<'de> Visitor<'de> for Cell {
    type Value = Result<Parsed<'de>, &'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of a column")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        self.plain(ValueRef::Null, "null")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        self.plain(ValueRef::Bool(value), "boolean")
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "the nearest double, as JavaScript reads it"
    )]
    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        self.plain(ValueRef::Number(value as f64), "number")
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "the nearest double, as JavaScript reads it"
    )]
    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        self.plain(ValueRef::Number(value as f64), "number")
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        self.plain(ValueRef::Number(value), "number")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        self.text(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        self.text(Cow::Owned(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Err("list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Err("object"))
    }
}

/// JSON text without the white space between its tokens.
pub fn without_white_space(json: &str) -> String {
    compact(json).into_owned()
}

fn compact(json: &str) -> Cow<'_, str> {
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
            out.push_str(&json[kept..at]);
            kept = at + 1;
        } else {
            in_string = byte == b'"';
        }
    }
    out.push_str(&json[kept..]);
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
