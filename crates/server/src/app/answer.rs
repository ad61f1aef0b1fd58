//! Rows of a query as JSON under the app's names, related rows inside.

use landfall_ivm::Entry;
use landfall_zql::ast::Ast;
use landfall_zql::builder::{Catalog, Format};
use landfall_zql::{Names, Schema, write_json};
use serde_json::{Map, Value as Json};

/// Turns entries into JSON.
pub(super) struct Answer<'a> {
    /// The tables as the rows have them, under server names.
    pub(super) rows: &'a Schema,
    /// The tables as the app names them.
    pub(super) catalog: &'a Catalog,
}

impl Answer<'_> {
    /// A row of a level with its related rows; `None` if the table is not what the app takes it for.
    pub(super) fn row(&self, entry: &Entry, level: &Ast, format: &Format) -> Option<Json> {
        let there = &self.rows[self.rows.table_by_server_name(&level.table)?];
        let schema = self.catalog.schema();
        let named = &schema[schema.table_by_server_name(&level.table)?];
        let mut object = Map::new();
        for column in &named.columns {
            let at = there.column_by_server_name(&column.server_name)?;
            let mut text = String::new();
            write_json(entry.row.get(at), &mut text);
            let name = column.name_in(Names::Client).to_owned();
            object.insert(name, serde_json::from_str(&text).ok()?);
        }
        for (related, children) in level.shown_related().zip(&entry.children) {
            let mut below = &*related.subquery;
            let name = below.alias.clone()?;
            if related.hidden == Some(true) {
                // The rows of a junction are passed over: what is shown is behind it.
                below = &below.related.as_ref()?.first()?.subquery;
            }
            let format = format.relationships.get(&name)?;
            let mut rows = Vec::with_capacity(children.len());
            for child in children {
                rows.push(self.row(child, below, format)?);
            }
            let shown = match format.singular {
                true => rows.into_iter().next().unwrap_or(Json::Null),
                false => Json::Array(rows),
            };
            object.insert(name, shown);
        }
        Some(Json::Object(object))
    }
}
