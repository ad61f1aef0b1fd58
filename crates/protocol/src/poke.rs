//! `pokeStart`, `pokePart`, `pokeEnd`: how the server moves a client from one version to the next.
//!
//! A poke is one start, any number of parts and one end, never interleaved with another poke.
//! It takes the client from the base cookie to the cookie of its end, as one change, unless the end cancels it.
//! Rows stay JSON text here: the client reads them straight into packed rows.

use crate::mutation::MutationOp;
use crate::number::JsNumber;
use crate::pull::counters;
use crate::queries_patch::DownQueryOp;
use landfall_zql::json::{FromJson, JsonError, JsonReader};
use landfall_zql::sorted_map::SortedMap;
use landfall_zql::{json_names, json_object, read_through_json};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A poke begins.
#[derive(Clone, Debug, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PokeStart {
    /// Names the poke in its parts and its end.
    #[serde(rename = "pokeID")]
    pub poke_id: String,
    /// What the client must have for the poke to apply; null for a client that has nothing.
    pub base_cookie: Option<String>,
    /// Not sent by current servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_versions: Option<SchemaVersions>,
    /// Not sent by current servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<JsNumber>,
}

/// An old way to say which client schemas the server takes.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaVersions {
    /// The oldest.
    pub min_supported_version: JsNumber,
    /// The newest.
    pub max_supported_version: JsNumber,
}

/// A piece of a poke. Within a part the fields apply in the order in which they stand here.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PokePart<'a> {
    /// The poke it belongs to.
    #[serde(rename = "pokeID")]
    pub poke_id: Cow<'a, str>,
    /// Mutations up to these are confirmed, by client.
    #[serde(
        rename = "lastMutationIDChanges",
        skip_serializing_if = "SortedMap::is_empty"
    )]
    pub last_mutation_id_changes: SortedMap<String, u64>,
    /// Changes to what clients of the group want, by client.
    #[serde(skip_serializing_if = "SortedMap::is_empty")]
    pub desired_queries_patches: SortedMap<String, Vec<DownQueryOp>>,
    /// Changes to the queries whose rows are all there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub got_queries_patch: Vec<DownQueryOp>,
    /// Changes to rows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rows_patch: Vec<RowOp<'a>>,
    /// Changes to stored results of mutations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mutations_patch: Vec<MutationOp>,
}

/// A change to one row, or to all; tables and columns by server name.
#[derive(Clone, Debug)]
pub enum RowOp<'a> {
    /// The row is this, completely.
    Put {
        /// The table.
        table: Cow<'a, str>,
        /// An object: every replicated column.
        value: &'a RawValue,
    },
    /// The row is gone.
    Del {
        /// The table.
        table: Cow<'a, str>,
        /// An object: the key columns, none null, in any order.
        id: &'a RawValue,
    },
    /// Some columns of the row changed. Current servers do not send it.
    Update {
        /// The table.
        table: Cow<'a, str>,
        /// An object: the key columns.
        id: &'a RawValue,
        /// An object: the changed columns.
        merge: Option<&'a RawValue>,
        /// If given, the row keeps these columns only.
        constrain: Option<Vec<String>>,
    },
    /// Everything the client holds is void, not only its rows: what follows is everything.
    Clear,
}

#[derive(Default)]
struct RowOpFields<'a> {
    op: Option<RowOpName>,
    table_name: Option<Cow<'a, str>>,
    value: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    merge: Option<&'a RawValue>,
    constrain: Option<Vec<String>>,
}

json_object!(RowOpFields<'a> {
    "op" some op,
    "tableName" some table_name,
    "value" some value,
    "id" some id,
    "merge" some merge,
    "constrain" some constrain,
});

#[derive(Clone, Copy)]
enum RowOpName {
    Put,
    Del,
    Update,
    Clear,
}

json_names!(RowOpName {
    Put = "put",
    Del = "del",
    Update = "update",
    Clear = "clear",
});

impl<'de: 'a, 'a> FromJson<'de> for RowOp<'a> {
    fn from_json(reader: &mut JsonReader<'de>) -> Result<Self, JsonError> {
        let RowOpFields {
            op,
            table_name,
            value,
            id,
            merge,
            constrain,
        } = RowOpFields::from_json(reader)?;
        let op = op.ok_or_else(|| JsonError::missing("op"))?;
        if matches!(op, RowOpName::Clear) {
            return Ok(Self::Clear);
        }
        let table = table_name.ok_or_else(|| JsonError::missing("tableName"))?;
        Ok(match op {
            RowOpName::Put => Self::Put {
                table,
                value: object(value, "value")?,
            },
            RowOpName::Del => Self::Del {
                table,
                id: object(id, "id")?,
            },
            _ => {
                let merge = merge
                    .map(|merge| object(Some(merge), "merge"))
                    .transpose()?;
                Self::Update {
                    table,
                    id: object(id, "id")?,
                    merge,
                    constrain,
                }
            }
        })
    }
}

fn object<'a>(raw: Option<&'a RawValue>, field: &'static str) -> Result<&'a RawValue, JsonError> {
    let raw = raw.ok_or_else(|| JsonError::missing(field))?;
    match raw.get().starts_with('{') {
        true => Ok(raw),
        false => Err(JsonError::refused(
            "the row or the key of a row operation is no object",
        )),
    }
}

json_object!(PokeStart {
    "pokeID" must poke_id,
    "baseCookie" must base_cookie,
    "schemaVersions" some schema_versions,
    "timestamp" some timestamp,
});

json_object!(SchemaVersions {
    "minSupportedVersion" must min_supported_version,
    "maxSupportedVersion" must max_supported_version,
});

json_object!(PokePart<'a> {
    "pokeID" must poke_id,
    "lastMutationIDChanges" (counters) last_mutation_id_changes,
    "desiredQueriesPatches" may desired_queries_patches,
    "gotQueriesPatch" may got_queries_patch,
    "rowsPatch" may rows_patch,
    "mutationsPatch" may mutations_patch,
});

json_object!(PokeEnd {
    "pokeID" must poke_id,
    "cookie" must cookie,
    "cancel" may cancel,
});

read_through_json!(PokeStart, PokePart<'a>, PokeEnd);

impl Serialize for RowOp<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Put { table, value } => {
                map.serialize_entry("op", "put")?;
                map.serialize_entry("tableName", table)?;
                map.serialize_entry("value", value)?;
            }
            Self::Del { table, id } => {
                map.serialize_entry("op", "del")?;
                map.serialize_entry("tableName", table)?;
                map.serialize_entry("id", id)?;
            }
            Self::Update {
                table,
                id,
                merge,
                constrain,
            } => {
                map.serialize_entry("op", "update")?;
                map.serialize_entry("tableName", table)?;
                map.serialize_entry("id", id)?;
                if let Some(merge) = merge {
                    map.serialize_entry("merge", merge)?;
                }
                if let Some(constrain) = constrain {
                    map.serialize_entry("constrain", constrain)?;
                }
            }
            Self::Clear => map.serialize_entry("op", "clear")?,
        }
        map.end()
    }
}

/// A poke is complete, or void.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PokeEnd {
    /// The poke it belongs to.
    #[serde(rename = "pokeID")]
    pub poke_id: String,
    /// What the client has after it; empty if the poke is cancelled.
    pub cookie: String,
    /// Everything since the start is to be dropped.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cancel: bool,
}

impl PokeEnd {
    /// The end of a poke that leads to `cookie`.
    pub fn new(poke_id: impl Into<String>, cookie: impl Into<String>) -> Self {
        Self {
            poke_id: poke_id.into(),
            cookie: cookie.into(),
            cancel: false,
        }
    }

    /// The end of a poke that is void.
    pub fn cancelled(poke_id: impl Into<String>) -> Self {
        Self {
            poke_id: poke_id.into(),
            cookie: String::new(),
            cancel: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, good: bool) {
        match serde_json::from_str::<PokePart<'_>>(text) {
            Ok(part) => {
                assert!(good, "accepted {text}");
                assert_eq!(serde_json::to_string(&part).expect("writes"), text);
            }
            Err(error) => assert!(!good, "{text}: {error}"),
        }
    }

    fn check_row_op(op: &str, good: bool) {
        check(&format!(r#"{{"pokeID":"00:01","rowsPatch":[{op}]}}"#), good);
    }

    #[test]
    fn parts() {
        check(r#"{"pokeID":"1"}"#, true);
        check(
            r#"{"pokeID":"1","lastMutationIDChanges":{"c":1},"desiredQueriesPatches":{"c":[{"op":"put","hash":"h"}]},"gotQueriesPatch":[{"op":"del","hash":"h"}],"mutationsPatch":[{"op":"del","id":{"clientID":"c","id":1}}]}"#,
            true,
        );
        check(r#"{}"#, false);
        check(r#"{"pokeID":"1","rowsPatch":null}"#, false);
        check(r#"{"pokeID":"1","lastMutationIDChanges":{"c":-1}}"#, false);
    }

    #[test]
    fn row_operations() {
        check_row_op(
            r#"{"op":"put","tableName":"issue","value":{"id":"1","created":1700000000000.5,"meta":null}}"#,
            true,
        );
        check_row_op(r#"{"op":"del","tableName":"issue","id":{"id":"1"}}"#, true);
        check_row_op(
            r#"{"op":"update","tableName":"t","id":{"id":"1"},"merge":{"a":1},"constrain":["a"]}"#,
            true,
        );
        check_row_op(r#"{"op":"clear"}"#, true);
        check_row_op(r#"{"op":"put","tableName":"issue"}"#, false);
        check_row_op(r#"{"op":"put","tableName":"issue","value":[1]}"#, false);
        check_row_op(r#"{"op":"put","tableName":"issue","value":null}"#, false);
        check_row_op(r#"{"op":"put","value":{}}"#, false);
        check_row_op(r#"{"op":"del","tableName":"issue","id":"1"}"#, false);
        check_row_op(r#"{"op":"drop","tableName":"issue","id":{}}"#, false);
    }

    #[test]
    fn escaped_names_are_read_and_plain_ones_are_borrowed() {
        let text = r#"{"pokeID":"1","rowsPatch":[{"op":"del","tableName":"a\"b","id":{}},{"op":"del","tableName":"plain","id":{}}]}"#;
        let part: PokePart<'_> = serde_json::from_str(text).expect("a part");
        let [
            RowOp::Del { table: escaped, .. },
            RowOp::Del { table: plain, .. },
        ] = part.rows_patch.as_slice()
        else {
            panic!("two deletes")
        };
        assert_eq!(escaped, "a\"b");
        assert!(matches!(plain, Cow::Borrowed("plain")));
    }

    #[test]
    fn starts_and_ends() {
        let start: PokeStart =
            serde_json::from_str(r#"{"pokeID":"1","baseCookie":null,"more":[]}"#).expect("a start");
        assert_eq!(start.base_cookie, None);
        for text in [
            r#"{"pokeID":"1"}"#,
            r#"{"baseCookie":null}"#,
            r#"{"pokeID":"1","baseCookie":1}"#,
        ] {
            assert!(serde_json::from_str::<PokeStart>(text).is_err(), "{text}");
        }
        for (end, text) in [
            (
                PokeEnd::new("1", "00:01"),
                r#"{"pokeID":"1","cookie":"00:01"}"#,
            ),
            (
                PokeEnd::cancelled("1"),
                r#"{"pokeID":"1","cookie":"","cancel":true}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&end).expect("writes"), text);
            assert_eq!(serde_json::from_str::<PokeEnd>(text).expect("reads"), end);
        }
        assert!(serde_json::from_str::<PokeEnd>(r#"{"pokeID":"1","cancel":true}"#).is_err());
    }
}
