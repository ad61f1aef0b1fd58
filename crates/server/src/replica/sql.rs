//! SQL text over the replica's tables.

use super::ReplicaTable;

/// An identifier in double quotes.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The table's columns, comma separated, in the order of rows.
pub(super) fn columns(table: &ReplicaTable) -> String {
    let names: Vec<String> = table.columns.iter().map(|c| quote(&c.name)).collect();
    names.join(",")
}

/// `"a" IS ?1 AND "b" IS ?2` over the row key, in key order.
pub(super) fn key_condition(table: &ReplicaTable, first_parameter: usize) -> String {
    let terms: Vec<String> = table
        .row_key
        .iter()
        .enumerate()
        .map(|(at, &column)| {
            format!(
                "{} = ?{}",
                quote(&table.columns[column].name),
                first_parameter + at
            )
        })
        .collect();
    terms.join(" AND ")
}

/// Selects the row with the key given as parameters.
pub(crate) fn select_by_key(table: &ReplicaTable) -> String {
    format!(
        "SELECT {} FROM {} WHERE {}",
        columns(table),
        quote(&table.sql_name),
        key_condition(table, 1)
    )
}
