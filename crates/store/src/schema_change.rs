//! After a change of the schema: the rows of the earlier store that are rows of the new schema as they are.
//!
//! A table is carried over if it has the same key and holds every column that the new schema asks of it, of the same
//! type. A column that is gone is left out. What an added column holds nobody here knows, so its table is not carried
//! over: a row with a guessed value would be given as an answer.
//!
//! Tables and columns are the same if the server calls them the same.

use crate::state_reader::Give;
use landfall_zql::{Row, RowBuilder, Schema, TableId, TableSchema};

/// For each table of one schema the table of another that its rows become rows of, and the places of the columns that
/// these consist of, unless it is all of them in their order.
#[derive(Debug)]
pub(crate) struct CarryOver(Vec<Option<(TableId, Option<Vec<usize>>)>>);

impl CarryOver {
    pub(crate) fn new(old: &Schema, new: &Schema) -> CarryOver {
        let carry = |table: &TableSchema| {
            let after = new.table_by_server_name(&table.server_name)?;
            let columns = columns_in(table, &new[after])?;
            let unchanged = columns.iter().copied().eq(0..table.columns.len());
            Some((after, (!unchanged).then_some(columns)))
        };
        CarryOver(old.tables.iter().map(carry).collect())
    }

    /// Gives rows of a table of the old schema as rows of the new one.
    pub(crate) fn give(
        &self,
        table: TableId,
        rows: &mut dyn Iterator<Item = Row>,
        give: &mut Give<'_>,
    ) {
        match self.0.get(table.0 as usize) {
            Some(Some((table, Some(columns)))) => {
                give(*table, &mut rows.map(|row| picked(&row, columns)));
            }
            Some(Some((table, None))) => give(*table, rows),
            _ => {}
        }
    }
}

/// The place in `old` of each column of `new`; `None` if rows of the one cannot be rows of the other.
fn columns_in(old: &TableSchema, new: &TableSchema) -> Option<Vec<usize>> {
    let columns: Vec<usize> = new
        .columns
        .iter()
        .map(|column| {
            let place = old.column_by_server_name(&column.server_name)?;
            let before = &old.columns[place];
            let fits = before.ty == column.ty && (column.optional || !before.optional);
            fits.then_some(place)
        })
        .collect::<Option<_>>()?;
    let key = new.primary_key.iter().map(|&column| columns[column]);
    key.eq(old.primary_key.iter().copied()).then_some(columns)
}

fn picked(row: &Row, columns: &[usize]) -> Row {
    let mut builder = RowBuilder::default();
    for &column in columns {
        builder.push(row.get(column));
    }
    builder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_zql::Names;

    fn schema(table: &str) -> Schema {
        Schema::from_json(&format!(r#"{{"tables":{{{table}}}}}"#)).expect("a schema")
    }

    const OLD: &str = r#""a":{"serverName":"as","columns":{
        "id":{"type":"string"},"n":{"type":"number","serverName":"num"},"t":{"type":"string","optional":true}},
        "primaryKey":["id"]}"#;
    const ROWS: [&str; 2] = [
        r#"{"id":"x","n":1,"t":null}"#,
        r#"{"id":"y","n":2.5,"t":"u"}"#,
    ];

    /// What of [`ROWS`] is there under a schema of these tables.
    #[track_caller]
    fn check(new: &str, expected: &[&str]) {
        let (old, new) = (schema(OLD), schema(new));
        let row = |text| {
            old[TableId(0)]
                .row_from_json(text, Names::Client)
                .expect("a row")
        };
        let mut tables = vec![Vec::new(); new.tables.len()];
        CarryOver::new(&old, &new).give(
            TableId(0),
            &mut ROWS.map(row).into_iter(),
            &mut |to, rows| {
                tables[to.0 as usize].extend(rows);
            },
        );
        let shown: Vec<String> = new
            .iter()
            .zip(&tables)
            .flat_map(|((_, table), rows)| {
                rows.iter().map(|row| {
                    let mut text = String::new();
                    table.row_to_json(row, Names::Client, &mut text);
                    text
                })
            })
            .collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_is_carried_over() {
        // Nothing changed, but that there is a table more, before and after.
        let more = r#","b":{"columns":{"id":{"type":"string"}},"primaryKey":["id"]}"#;
        check(&format!("{OLD}{more}"), &ROWS);
        check(&format!("{OLD}{}", more.replace("\"b\"", "\"_\"")), &ROWS);
        // A column is gone; others have other names here, and another order.
        check(
            r#""a":{"serverName":"as","columns":{"id":{"type":"string"},"n":{"type":"number","serverName":"num"}},"primaryKey":["id"]}"#,
            &[r#"{"id":"x","n":1}"#, r#"{"id":"y","n":2.5}"#],
        );
        check(
            r#""z":{"serverName":"as","columns":{"key":{"type":"string","serverName":"id"},"a":{"type":"number","serverName":"num"}},"primaryKey":["key"]}"#,
            &[r#"{"a":1,"key":"x"}"#, r#"{"a":2.5,"key":"y"}"#],
        );
        // What was required may be null now.
        let optional = OLD.replace(r#""type":"number""#, r#""type":"number","optional":true"#);
        check(&optional, &ROWS);
    }

    #[test]
    fn what_is_not() {
        for (what, from, to) in [
            ("the table is gone", "\"as\"", "\"bs\""),
            (
                "a column is new",
                r#""n":{"#,
                r#""m":{"type":"string","optional":true},"n":{"#,
            ),
            (
                "a type is another",
                r#""type":"number""#,
                r#""type":"string""#,
            ),
            ("null is not allowed any more", r#","optional":true"#, ""),
            ("the key is another", r#"["id"]"#, r#"["n"]"#),
            ("the key is longer", r#"["id"]"#, r#"["id","n"]"#),
        ] {
            let new = OLD.replace(from, to);
            assert_ne!(new, OLD, "{what}");
            check(&new, &[]);
        }
    }
}
