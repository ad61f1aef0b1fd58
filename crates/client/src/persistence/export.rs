//! Everything that is local, as JSON: for backups, for bug reports, and for a user whose storage fails.

use crate::client::Client;
use landfall_zql::json::to_text;
use landfall_zql::{Names, ValueRef, write_json};
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rest<'a> {
    #[serde(rename = "clientID")]
    client_id: &'a str,
    #[serde(rename = "clientGroupID")]
    client_group_id: Option<&'a str>,
    cookie: Option<&'a str>,
    mutations: Vec<crate::MutationInfo>,
}

impl Client {
    /// JSON text of what this client holds: `tables` with the server's rows by client names, without the effects of
    /// pending mutations; `mutations` as [`Client::mutations`] gives them; `clientID`, `clientGroupID` and `cookie`.
    pub fn export(&self) -> String {
        let mut text = String::from("{\"tables\":{");
        let mut last = None;
        for (table, row) in self.server_rows() {
            if last == Some(table) {
                text.push(',');
            } else {
                if last.is_some() {
                    text.push_str("],");
                }
                write_json(ValueRef::String(&self.schema[table].name), &mut text);
                text.push_str(":[");
                last = Some(table);
            }
            self.schema[table].row_to_json(&row, Names::Client, &mut text);
        }
        if last.is_some() {
            text.push(']');
        }
        let rest = Rest {
            client_id: &self.client_id,
            client_group_id: self.group_id.as_deref(),
            cookie: self.cookie.as_deref(),
            mutations: self.mutations(),
        };
        let rest = to_text(&rest);
        text.push_str("},");
        text.push_str(rest.trim_start_matches('{'));
        text
    }
}
