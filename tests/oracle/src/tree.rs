//! What a query gives: rows with lists of related rows, as every engine's answer is written down to be compared.

use landfall_zql::ast::{Ast, CorrelatedSubquery};
use serde_json::{Value as Json, json};

use crate::program::{Record, Table, table};

/// A row of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The row.
    pub row: Record,
    /// How often it is there: more than once only through a junction.
    pub count: usize,
    /// One list per `related` entry, in document order; empty where a later entry has the same name.
    pub lists: Vec<Vec<Node>>,
}

/// Whether an entry counts: of several with one name the last one does.
pub fn counts(related: &[CorrelatedSubquery], index: usize) -> bool {
    let name = &related[index].subquery.alias;
    related[index + 1..]
        .iter()
        .all(|later| later.subquery.alias != *name)
}

/// The subquery whose rows an entry shows: behind a junction, the far one.
pub fn shown(entry: &CorrelatedSubquery) -> &Ast {
    match (&entry.hidden, &entry.subquery.related) {
        (Some(true), Some(far)) if !far.is_empty() => &far[0].subquery,
        _ => &entry.subquery,
    }
}

/// A list as the case files write it: in a format that says which relationships have one row.
///
/// # Errors
/// One of those has several.
pub fn to_json(tables: &[Table], ast: &Ast, format: &Json, list: &[Node]) -> Result<Json, String> {
    let of = &tables[table(tables, &ast.table)];
    let related = ast.related.as_deref().unwrap_or_default();
    let mut nodes = Vec::new();
    for node in list {
        let mut json = json!({"row": of.to_json(&node.row)});
        if node.count > 1 {
            json["count"] = node.count.into();
        }
        for (at, entry) in related.iter().enumerate() {
            if counts(related, at) {
                let name = entry.subquery.alias.clone().unwrap_or_default();
                let format = &format["relationships"][&name];
                let list = to_json(tables, shown(entry), format, &node.lists[at])
                    .map_err(|what| what.replace("''", &format!("'{name}'")))?;
                json["related"][name] = list;
            }
        }
        nodes.push(json);
    }
    if format["singular"] != true {
        return Ok(Json::Array(nodes));
    }
    match nodes.len() {
        0 | 1 => Ok(nodes.pop().unwrap_or_default()),
        _ => Err("Singular relationship '' should not have multiple rows".to_owned()),
    }
}
