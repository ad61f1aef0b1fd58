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
    /// One list per relationship that counts, in document order.
    pub lists: Vec<Vec<Node>>,
}

/// The entries that count: of several with one name the last one does.
pub fn counting(related: &[CorrelatedSubquery]) -> impl Iterator<Item = &CorrelatedSubquery> {
    related.iter().enumerate().filter_map(move |(at, entry)| {
        let name = &entry.subquery.alias;
        let mut later = related[at + 1..].iter();
        later
            .all(|other| other.subquery.alias != *name)
            .then_some(entry)
    })
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
        for (entry, list) in counting(related).zip(&node.lists) {
            let name = entry.subquery.alias.clone().unwrap_or_default();
            let format = &format["relationships"][&name];
            let list = to_json(tables, shown(entry), format, list)
                .map_err(|what| what.replace("''", &format!("'{name}'")))?;
            json["related"][name] = list;
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
