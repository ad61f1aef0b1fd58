//! Compares the published tables before and after a change: what keeps its rows, and what is to be copied.

use std::collections::{BTreeMap, BTreeSet};

use super::catalog::{PublishedColumn, PublishedTable};
use crate::replica::KeptTable;

/// Whether the replica is concerned at all.
pub fn differs(before: &[PublishedTable], after: &[PublishedTable]) -> bool {
    before.len() != after.len() || before.iter().zip(after).any(|(a, b)| !a.is_same(b))
}

/// The synced tables whose rows stay; those of the schemas in `internal` are none of the users'.
pub fn kept(
    before: &[PublishedTable],
    after: &[PublishedTable],
    internal: &[String],
) -> Vec<KeptTable> {
    let known: BTreeMap<u32, &PublishedTable> = before
        .iter()
        .filter(|table| !internal.contains(&table.schema))
        .map(|table| (table.oid, table))
        .collect();
    after
        .iter()
        .filter_map(|table| {
            let before = known.get(&table.oid)?;
            Some(KeptTable {
                from: before.server_name(),
                to: table.server_name(),
                columns: kept_columns(before, table)?,
            })
        })
        .collect()
}

/// The columns whose values are known, by their names from now on; `None` if the rows are to be copied.
fn kept_columns(
    before: &PublishedTable,
    after: &PublishedTable,
) -> Option<BTreeMap<String, String>> {
    let whole = before.file == after.file && !after.partitioned && !before.partitioned;
    let same_rows = before.filters == after.filters
        && before.identity == after.identity
        && before.key_numbers()? == after.key_numbers()?;
    if !same_rows {
        return None;
    }
    let synced = |table: &PublishedTable| -> BTreeSet<i16> {
        let columns = table.synced_columns().into_iter();
        columns.map(|(_, column)| column.number).collect()
    };
    let (had, has) = (synced(before), synced(after));
    let was = |name: &String| before.columns.iter().find(|c| c.name == *name);
    let mut columns = BTreeMap::new();
    for column in after.columns.iter().filter(|c| has.contains(&c.number)) {
        // A name that another column had: rows of the stream from before could not be told from those after.
        if was(&column.name).is_some_and(|c| c.number != column.number) {
            return None;
        }
        let earlier = before.columns.iter().find(|c| c.number == column.number);
        match earlier.filter(|_| had.contains(&column.number)) {
            Some(earlier) if same_values(earlier, column) => {
                columns.insert(column.name.clone(), earlier.name.clone());
            }
            // A new column is NULL in all rows unless they were given values or written anew.
            None if whole && !column.filled && column.number > before.last_column => {}
            _ => return None,
        }
    }
    Some(columns)
}

fn same_values(before: &PublishedColumn, after: &PublishedColumn) -> bool {
    before.type_id == after.type_id && before.kind == after.kind
}

#[cfg(test)]
mod tests {
    use super::super::catalog::UniqueIndex;
    use super::super::kind::Kind;
    use super::*;

    fn column(number: i16, name: &str) -> PublishedColumn {
        PublishedColumn {
            number,
            filled: false,
            name: name.to_owned(),
            type_id: 25,
            type_sql: "text".to_owned(),
            kind: Some(Kind::Text),
            not_null: number == 1,
        }
    }

    fn table(oid: u32, name: &str, columns: &[(i16, &str)]) -> PublishedTable {
        PublishedTable {
            oid,
            file: oid,
            last_column: columns.iter().map(|(number, _)| *number).max().unwrap_or(0),
            schema: "public".to_owned(),
            name: name.to_owned(),
            identity: b'd',
            partitioned: false,
            columns: columns.iter().map(|(n, name)| column(*n, name)).collect(),
            generated: Vec::new(),
            keys: vec![UniqueIndex {
                name: "pk".to_owned(),
                columns: vec![columns[0].1.to_owned()],
                primary: true,
                identity: false,
            }],
            filters: Vec::new(),
        }
    }

    /// The kept columns as `now<then`, or what is to be done.
    fn check(after: PublishedTable) -> String {
        let before = table(7, "t", &[(1, "id"), (2, "a"), (3, "b")]);
        match kept(&[before], &[after], &["app".to_owned()]).first() {
            None => "copy".to_owned(),
            Some(kept) => {
                let columns = kept.columns.iter();
                let names: Vec<String> =
                    columns.map(|(now, then)| format!("{now}<{then}")).collect();
                format!("{}<{} {}", kept.to, kept.from, names.join(" "))
            }
        }
    }

    #[test]
    fn rows_are_kept_where_their_values_are_known() {
        let all = [(1, "id"), (2, "a"), (3, "b")];
        assert_eq!(check(table(7, "t", &all)), "t<t a<a b<b id<id");
        assert_eq!(check(table(7, "u", &all)), "u<t a<a b<b id<id");
        assert_eq!(
            check(table(7, "t", &[(1, "id"), (3, "b")])),
            "t<t b<b id<id"
        );
        assert_eq!(
            check(table(7, "t", &[(1, "key"), (2, "c"), (3, "b")])),
            "t<t b<b c<a key<id"
        );
        assert_eq!(
            check(table(7, "t", &[(1, "id"), (2, "b"), (3, "a")])),
            "copy"
        );
        assert_eq!(
            check(table(7, "t", &[(1, "id"), (2, "a"), (4, "b")])),
            "copy"
        );
        let added = || table(7, "t", &[(1, "id"), (2, "a"), (3, "b"), (4, "c")]);
        assert_eq!(check(added()), "t<t a<a b<b id<id");
        let mut filled = added();
        filled.columns[3].filled = true;
        assert_eq!(check(filled), "copy");
        let mut rewritten = added();
        rewritten.file += 1;
        assert_eq!(check(rewritten), "copy");
        let mut retyped = table(7, "t", &all);
        retyped.columns[1].type_id = 23;
        assert_eq!(check(retyped), "copy");
        let mut filtered = table(7, "t", &all);
        filtered.filters.push("a IS NOT NULL".to_owned());
        assert_eq!(check(filtered), "copy");
        let mut rekeyed = table(7, "t", &all);
        rekeyed.columns[1].not_null = true;
        rekeyed.keys[0].columns = vec!["a".to_owned()];
        assert_eq!(check(rekeyed), "copy");
        assert_eq!(check(table(8, "t", &all)), "copy");
    }
}
