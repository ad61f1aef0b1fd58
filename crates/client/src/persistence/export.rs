//! Everything that is local, as JSON: for backups, for bug reports, and for a user whose storage fails.

use crate::client::Client;
use crate::effect::MutationInfo;
use crate::persistence::server_rows::ServerRows;
use landfall_zql::json::to_text;
use landfall_zql::{Names, Schema, TableId, ValueRef, write_json};
use serde::Serialize;
use std::sync::Arc;

/// A part ends with the row or mutation that makes it longer than this, in bytes.
pub(crate) const PART_BYTES: usize = 16 << 10;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Whose<'a> {
    #[serde(rename = "clientID")]
    client_id: &'a str,
    #[serde(rename = "clientGroupID")]
    client_group_id: Option<&'a str>,
    cookie: Option<&'a str>,
}

/// JSON text of what a client held at one moment, in parts; what the client does meanwhile changes nothing in it. The parts
/// are all of it when joined in their order.
pub struct Export {
    schema: Arc<Schema>,
    rows: ServerRows,
    table: Option<TableId>,
    /// What stands between the rows and the mutations, as an object that is not closed.
    whose: Option<String>,
    mutations: std::vec::IntoIter<MutationInfo>,
    comma: &'static str,
    end: &'static str,
    part: String,
}

impl Client {
    /// JSON text of what this client holds: `tables` with the server's rows by client names, without the effects of
    /// pending mutations; `clientID`, `clientGroupID` and `cookie`; `mutations` as [`Client::mutations`] gives them.
    pub fn export(&self) -> Export {
        let whose = Whose {
            client_id: &self.client_id,
            client_group_id: self.group_id.as_deref(),
            cookie: self.cookie.as_deref(),
        };
        let mut whose = to_text(&whose);
        whose.pop();
        whose.push_str(",\"mutations\":[");
        Export {
            schema: self.schema.clone(),
            rows: self.server_rows(),
            table: None,
            whose: Some(whose),
            mutations: self.mutations().into_iter(),
            comma: "",
            end: "]}",
            part: String::from("{\"tables\":{"),
        }
    }
}

impl Iterator for Export {
    type Item = String;

    /// The next part.
    fn next(&mut self) -> Option<String> {
        while self.part.len() <= PART_BYTES && self.write_next() {}
        let part = std::mem::take(&mut self.part);
        (!part.is_empty()).then_some(part)
    }
}

impl Export {
    /// Writes a row or a mutation, with what stands before it; whether there was something left to write.
    fn write_next(&mut self) -> bool {
        let part = &mut self.part;
        if let Some((table, row)) = self.rows.next() {
            let before = self.table.replace(table);
            if before == Some(table) {
                part.push(',');
            } else {
                part.push_str(if before.is_some() { "]," } else { "" });
                write_json(ValueRef::String(&self.schema[table].name), part);
                part.push_str(":[");
            }
            self.schema[table].row_to_json(&row, Names::Client, part);
            return true;
        }
        if let Some(whose) = self.whose.take() {
            part.push_str(if self.table.is_some() { "]}," } else { "}," });
            part.push_str(whose.trim_start_matches('{'));
            return true;
        }
        if let Some(mutation) = self.mutations.next() {
            part.push_str(std::mem::replace(&mut self.comma, ","));
            part.push_str(&to_text(&mutation));
            return true;
        }
        part.push_str(std::mem::take(&mut self.end));
        false
    }
}
