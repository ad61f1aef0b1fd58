//! Pokes as a client reads them.

use serde_json::Value as Json;

/// A poke, its parts merged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Poke {
    pub base: Option<String>,
    pub cookie: String,
    pub parts: Vec<Json>,
}

impl Poke {
    pub(super) fn list(&self, name: &str) -> Vec<Json> {
        self.parts
            .iter()
            .filter_map(|p| p[name].as_array())
            .flatten()
            .cloned()
            .collect()
    }

    /// `put:table:id` and `del:table:id`, sorted.
    pub fn rows(&self) -> Vec<String> {
        let mut rows: Vec<String> = self.list("rowsPatch").iter().map(row_name).collect();
        rows.sort();
        rows
    }

    pub fn puts(&self) -> Vec<Json> {
        self.list("rowsPatch")
            .into_iter()
            .filter(|op| op["op"] == "put")
            .map(|op| op["value"].clone())
            .collect()
    }

    /// `put:hash` and `del:hash`.
    pub fn got(&self) -> Vec<String> {
        self.list("gotQueriesPatch")
            .iter()
            .map(query_name)
            .collect()
    }

    pub fn desired(&self, client: &str) -> Vec<String> {
        let patches = self
            .parts
            .iter()
            .filter_map(|p| p["desiredQueriesPatches"][client].as_array());
        patches.flatten().map(query_name).collect()
    }

    pub fn lmid(&self, client: &str) -> Option<u64> {
        self.parts
            .iter()
            .find_map(|p| p["lastMutationIDChanges"][client].as_u64())
    }

    pub fn results(&self) -> Vec<Json> {
        self.list("mutationsPatch")
    }
}

pub(super) fn row_name(op: &Json) -> String {
    let kind = op["op"].as_str().unwrap_or_default();
    let id = match kind {
        "put" => &op["value"]["id"],
        _ => &op["id"]["id"],
    };
    format!(
        "{kind}:{}:{}",
        op["tableName"].as_str().unwrap_or_default(),
        id.as_str().unwrap_or_default()
    )
}

fn query_name(op: &Json) -> String {
    format!(
        "{}:{}",
        op["op"].as_str().unwrap_or_default(),
        op["hash"].as_str().unwrap_or_default()
    )
}
