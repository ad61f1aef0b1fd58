//! The replica as a source of rows for pipelines.
//!
//! A start is not one condition with ORs, which no index serves, but a sequence of ranges: first the rows that share
//! all but the last ordered column with it, then those that share one less, and so on. Each is one index range.

use std::cmp::Ordering;

use landfall_ivm::{AccessPath, Basis, FetchRequest, Sink, Source, SourceError};
use landfall_zql::ast::Direction;
use landfall_zql::ordering::Order;
use landfall_zql::{ColumnType, Key, Row, RowBuilder, Schema, TableId, ValueRef, compare};
use rusqlite::types::Value as Cell;
use rusqlite::{Connection, params_from_iter};

use super::{
    IndexWish, Reader, ReplicaError, ReplicaSchema, ReplicaTable, carried, filter, quote, read_row,
    sql, to_cell,
};

impl Source for Reader {
    fn schema(&self) -> &Schema {
        &Reader::schema(self).zql
    }

    fn fetch(&self, request: &FetchRequest<'_>, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        self.fetch_rows(request, sink).map_err(source_error)
    }

    fn get(&self, table: TableId, key: &Key) -> Result<Option<Row>, SourceError> {
        self.row(table, key).map_err(source_error)
    }

    fn row_count(&self, table: TableId) -> Result<Option<u64>, SourceError> {
        self.statistic(table, |statistic| Some(statistic.rows))
            .map_err(source_error)
    }

    fn sample(
        &self,
        table: TableId,
        _count: usize,
        sink: &mut Sink<'_>,
    ) -> Result<(), SourceError> {
        self.statistic(table, |statistic| {
            let _ = statistic.sample.iter().try_for_each(sink);
        })
        .map_err(source_error)
    }

    fn access_path(&self, request: &FetchRequest<'_>) -> Result<Option<AccessPath>, SourceError> {
        self.path_of(request).map_err(source_error)
    }
}

fn source_error(error: ReplicaError) -> SourceError {
    SourceError {
        message: error.to_string(),
        source: Some(Box::new(error)),
    }
}

impl Reader {
    fn fetch_rows(
        &self,
        request: &FetchRequest<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), ReplicaError> {
        if request.is_empty() {
            return Ok(());
        }
        let table = self.table(request.table)?;
        let wish = wish_of(request);
        if self.wish(wish.clone()) && self.path_of(request)?.is_some_and(|path| path.is_poor()) {
            self.report_scan(table, &wish);
        }
        fetch_from(self.connection(), table, request, sink)
    }
}

fn fetch_from(
    conn: &Connection,
    table: &ReplicaTable,
    request: &FetchRequest<'_>,
    sink: &mut Sink<'_>,
) -> Result<(), ReplicaError> {
    let ordered = Ordered::new(request);
    let mut builder = RowBuilder::default();
    for range in ordered.ranges(table) {
        let (text, parameters) = range.sql(table, request, &ordered);
        let mut statement = conn.prepare_cached(&text)?;
        let mut rows = statement.query(params_from_iter(parameters))?;
        while let Some(row) = rows.next()? {
            let Some(row) = carried(read_row(table, row, 0, &mut builder))? else {
                continue;
            };
            if sink(&row).is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The rows that a connection sees in its open transaction.
pub(crate) struct TransactionRows<'a> {
    /// The connection.
    pub conn: &'a Connection,
    /// Its tables.
    pub schema: &'a ReplicaSchema,
}

impl Source for TransactionRows<'_> {
    fn schema(&self) -> &Schema {
        &self.schema.zql
    }

    fn fetch(&self, request: &FetchRequest<'_>, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        if request.is_empty() {
            return Ok(());
        }
        let table = self.schema.table(request.table).filter(|t| !t.is_gone());
        let table = table.ok_or_else(|| ReplicaError::Damaged("a table is gone".to_owned()));
        table
            .and_then(|table| fetch_from(self.conn, table, request, sink))
            .map_err(source_error)
    }

    fn get(&self, table: TableId, key: &Key) -> Result<Option<Row>, SourceError> {
        let columns = &self.schema.zql[table].primary_key;
        let mut constraint: Vec<_> = columns.iter().copied().zip(key.0.iter()).collect();
        constraint.sort_by_key(|(column, _)| *column);
        let order = Order(Vec::new());
        let request = FetchRequest {
            table,
            constraint: &constraint,
            order: &order,
            reverse: false,
            start: None,
            filter: None,
        };
        let mut found = None;
        self.fetch(&request, &mut |row| {
            found = Some(row.clone());
            std::ops::ControlFlow::Break(())
        })?;
        Ok(found)
    }
}

impl Reader {
    /// How SQLite serves a request, as it says itself.
    fn path_of(&self, request: &FetchRequest<'_>) -> Result<Option<AccessPath>, ReplicaError> {
        let table = self.table(request.table)?;
        let ordered = Ordered::new(request);
        let Some(range) = ordered.ranges(table).into_iter().next() else {
            return Ok(None);
        };
        let (text, parameters) = range.sql(table, request, &ordered);
        let steps = self
            .connection()
            .prepare_cached(&format!("EXPLAIN QUERY PLAN {text}"))?
            .query_map(params_from_iter(parameters), |row| row.get::<_, String>(3))?
            .collect::<Result<Vec<_>, _>>()?;
        let Some(read) = steps.first() else {
            return Ok(None);
        };
        let index = read.split_once(" INDEX ").map(|(_, index)| {
            let end = index.rfind(" (").unwrap_or(index.len());
            index[..end].to_owned()
        });
        let by_rowid = read
            .contains("INTEGER PRIMARY KEY")
            .then(|| "rowid".to_owned());
        Ok(Some(AccessPath {
            wanted: Vec::new(),
            index: index.or(by_rowid),
            scans: read.starts_with("SCAN") && !request.constraint.is_empty(),
            sorts: steps.iter().any(|step| step.contains("ORDER BY")),
        }))
    }
}

/// The index that serves a request.
fn wish_of(request: &FetchRequest<'_>) -> IndexWish {
    let fixed: Vec<usize> = request
        .constraint
        .iter()
        .map(|(column, _)| *column)
        .collect();
    let order = request
        .order
        .0
        .iter()
        .filter(|(column, _)| !fixed.contains(column));
    IndexWish {
        table: request.table,
        order: order
            .map(|&(column, direction)| (column, direction == Direction::Desc))
            .collect(),
        fixed,
    }
}

/// The ordered columns that a request leaves open, in the direction of travel, and where to start.
struct Ordered<'a> {
    /// Column, whether it descends.
    open: Vec<(usize, bool)>,
    start: Option<StartPoint<'a>>,
}

struct StartPoint<'a> {
    row: &'a Row,
    /// How many of the open columns count: beyond, a constraint decides.
    depth: usize,
    /// Whether rows that equal the start in those columns are given.
    inclusive: bool,
}

impl<'a> Ordered<'a> {
    fn new(request: &FetchRequest<'a>) -> Self {
        let mut open = Vec::new();
        let mut decided = None;
        for &(column, direction) in &request.order.0 {
            let desc = (direction == Direction::Desc) != request.reverse;
            let Ok(at) = request
                .constraint
                .binary_search_by_key(&column, |(column, _)| *column)
            else {
                open.push((column, desc));
                continue;
            };
            // The column has one value in all rows: it comes before, at or after the start's.
            let (None, Some(start)) = (decided, request.start) else {
                continue;
            };
            let mut ordering = compare(request.constraint[at].1, start.row.get(column));
            if desc {
                ordering = ordering.reverse();
            }
            if ordering.is_ne() {
                decided = Some((open.len(), ordering == Ordering::Greater));
            }
        }
        let start = request.start.map(|start| {
            let (depth, inclusive) = decided.unwrap_or((open.len(), start.basis == Basis::At));
            StartPoint {
                row: start.row,
                depth,
                inclusive,
            }
        });
        Ordered { open, start }
    }

    /// The ranges whose rows, one after another, are the request's.
    fn ranges(&self, table: &ReplicaTable) -> Vec<Range> {
        let Some(start) = &self.start else {
            return vec![Range {
                equal: 0,
                last: None,
            }];
        };
        let mut ranges = Vec::new();
        if start.inclusive {
            ranges.push(Range {
                equal: start.depth,
                last: None,
            });
        }
        for equal in (0..start.depth).rev() {
            let (column, desc) = self.open[equal];
            let at_null = start.row.get(column).is_null();
            let nullable = !table.columns[column].not_null;
            let lasts: &[Last] = match (desc, at_null) {
                (false, false) => &[Last::Greater],
                (false, true) => &[Last::NotNull],
                // NULL is the smallest value: nothing comes after it.
                (true, true) => &[],
                (true, false) if nullable => &[Last::Less, Last::Null],
                (true, false) => &[Last::Less],
            };
            ranges.extend(lasts.iter().map(|&last| Range {
                equal,
                last: Some(last),
            }));
        }
        ranges
    }
}

/// Rows that equal the start in the first `equal` open columns and lie beyond it in the next.
struct Range {
    equal: usize,
    last: Option<Last>,
}

#[derive(Clone, Copy)]
enum Last {
    Greater,
    Less,
    NotNull,
    Null,
}

impl Range {
    fn sql(
        &self,
        table: &ReplicaTable,
        request: &FetchRequest<'_>,
        ordered: &Ordered<'_>,
    ) -> (String, Vec<Cell>) {
        let mut parameters = Vec::new();
        let mut terms = Vec::new();
        for &(column, value) in request.constraint {
            terms.push(equality(table, column, value, &mut parameters));
        }
        if let Some(start) = &ordered.start {
            for &(column, _) in &ordered.open[..self.equal] {
                terms.push(equality(
                    table,
                    column,
                    start.row.get(column),
                    &mut parameters,
                ));
            }
            if let (Some(last), Some(&(column, _))) = (self.last, ordered.open.get(self.equal)) {
                let name = operand(table, column);
                terms.push(match last {
                    Last::NotNull => format!("{name} IS NOT NULL"),
                    Last::Null => format!("{name} IS NULL"),
                    Last::Greater | Last::Less => {
                        parameters.push(to_cell(start.row.get(column)));
                        let operator = if matches!(last, Last::Greater) {
                            ">"
                        } else {
                            "<"
                        };
                        format!("{name} {operator} ?{}", parameters.len())
                    }
                });
            }
        }
        terms.extend(filter::condition(table, request, &mut parameters));
        let mut text = format!(
            "SELECT {} FROM {}",
            sql::columns(table),
            quote(&table.sql_name)
        );
        if !terms.is_empty() {
            text.push_str(" WHERE ");
            text.push_str(&terms.join(" AND "));
        }
        // Columns that are equal in all rows of the range need no place in the order.
        let order: Vec<String> = ordered.open[self.equal..]
            .iter()
            .map(|&(column, desc)| {
                format!(
                    "{}{}",
                    operand(table, column),
                    if desc { " DESC" } else { "" }
                )
            })
            .collect();
        if !order.is_empty() {
            text.push_str(" ORDER BY ");
            text.push_str(&order.join(","));
        }
        (text, parameters)
    }
}

fn equality(
    table: &ReplicaTable,
    column: usize,
    value: ValueRef<'_>,
    parameters: &mut Vec<Cell>,
) -> String {
    let name = operand(table, column);
    if value.is_null() {
        return format!("{name} IS NULL");
    }
    parameters.push(to_cell(value));
    format!("{name} = ?{}", parameters.len())
}

/// A column as it is compared: texts by their bytes, whatever collation a user's table declares.
fn operand(table: &ReplicaTable, column: usize) -> String {
    let column = &table.columns[column];
    let name = quote(&column.name);
    match column.ty {
        ColumnType::String | ColumnType::Json => format!("{name} COLLATE BINARY"),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use landfall_ivm::Start;

    use super::*;
    use crate::replica::{ReplicaColumn, ReplicaSchema, TableDraft, indexes};

    fn schema() -> Arc<ReplicaSchema> {
        let column = |name: &str, ty, not_null| ReplicaColumn {
            name: name.to_owned(),
            ty,
            not_null,
        };
        let table = TableDraft {
            name: "issue".to_owned(),
            sql_name: "issue".to_owned(),
            columns: vec![
                column("created", ColumnType::Number, true),
                column("id", ColumnType::String, true),
                column("owner", ColumnType::String, false),
            ],
            row_key: vec!["id".to_owned()],
            unique_keys: vec![vec!["id".to_owned()]],
        };
        Arc::new(ReplicaSchema::new(vec![table]))
    }

    /// The plans of a request, one line per range, once the wish that it makes is granted.
    fn plans(
        constraint: &[(usize, ValueRef<'_>)],
        order: &[(usize, Direction)],
        start: Option<Start<'_>>,
    ) -> String {
        let schema = schema();
        let table = &schema.tables[0];
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE issue (created NUMERIC, id TEXT, owner TEXT COLLATE NOCASE); CREATE UNIQUE INDEX pk ON issue (id)")
            .unwrap();
        let order = Order(order.to_vec());
        let request = FetchRequest {
            table: table.id,
            constraint,
            order: &order,
            reverse: false,
            start,
            filter: None,
        };
        let wish = wish_of(&request);
        if !wish.is_lookup(table) {
            indexes::make(&conn, &schema, &wish).unwrap();
            assert!(
                !indexes::make(&conn, &schema, &wish).unwrap(),
                "one index is enough"
            );
        }
        let ordered = Ordered::new(&request);
        let mut lines = Vec::new();
        for range in ordered.ranges(table) {
            let (sql, parameters) = range.sql(table, &request, &ordered);
            let steps = conn
                .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
                .unwrap()
                .query_map(params_from_iter(parameters), |row| row.get::<_, String>(3))
                .unwrap()
                .collect::<Result<Vec<_>, _>>()
                .unwrap();
            lines.push(steps.join("; "));
        }
        lines.join("\n")
    }

    const CREATED: usize = 0;
    const ID: usize = 1;
    const OWNER: usize = 2;

    #[test]
    fn every_range_is_a_search_in_an_index() {
        use Direction::{Asc, Desc};
        let owner = [(OWNER, ValueRef::String("x"))];
        assert_eq!(plans(&[], &[(ID, Asc)], None), "SCAN issue USING INDEX pk");
        assert_eq!(
            plans(&[(ID, ValueRef::String("1"))], &[(ID, Asc)], None),
            "SEARCH issue USING INDEX pk (id=?)"
        );
        assert_eq!(
            plans(&[], &[(CREATED, Desc), (ID, Asc)], None),
            "SCAN issue USING INDEX _landfall_ix_issue(created desc,id)"
        );
        assert_eq!(
            plans(&owner, &[(CREATED, Desc), (ID, Asc)], None),
            "SEARCH issue USING COVERING INDEX _landfall_ix_issue(owner,created desc,id) (owner=?)"
        );
        let row = Row::from_values([ValueRef::Number(5.0), ValueRef::String("7"), ValueRef::Null]);
        let start = Start {
            row: &row,
            basis: Basis::After,
        };
        assert_eq!(
            plans(&owner, &[(CREATED, Desc), (ID, Asc)], Some(start)),
            "SEARCH issue USING COVERING INDEX _landfall_ix_issue(owner,created desc,id) (owner=? AND created=? AND id>?)\n\
             SEARCH issue USING COVERING INDEX _landfall_ix_issue(owner,created desc,id) (owner=? AND created<?)"
        );
    }
}
