//! Rows in memory: per table a set by primary key, and further indexes while pipelines need them.

use std::ops::ControlFlow;
use std::sync::Arc;

use landfall_zql::ast::Direction;
use landfall_zql::ordering::Order;
use landfall_zql::sorted_map::SortedMap;
use landfall_zql::{Key, Row, Schema, TableId, ValueRef, compare};

use crate::error::SourceError;
use crate::index::Index;
use crate::source::{Basis, FetchRequest, IndexSpec, Sink, Source, SourceChange};

#[derive(Debug)]
struct Table {
    by_key: Index,
    /// With the number of users of each.
    indexes: SortedMap<IndexSpec, (usize, Index)>,
}

/// A [`Source`] in memory.
#[derive(Debug)]
pub struct MemorySource {
    schema: Arc<Schema>,
    tables: Vec<Table>,
}

fn key_order(schema: &Schema, table: TableId) -> Order {
    Order(
        schema[table]
            .primary_key
            .iter()
            .map(|column| (*column, Direction::Asc))
            .collect(),
    )
}

impl MemorySource {
    /// Empty tables.
    pub fn new(schema: Arc<Schema>) -> MemorySource {
        let tables = schema
            .iter()
            .map(|(id, _)| Table {
                by_key: Index::new(IndexSpec(key_order(&schema, id))),
                indexes: SortedMap::new(),
            })
            .collect();
        MemorySource { schema, tables }
    }

    /// The tables.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// The number of rows of a table.
    pub fn len(&self, table: TableId) -> usize {
        self.tables[table.0 as usize].by_key.len()
    }

    /// Whether no table has a row.
    pub fn is_empty(&self) -> bool {
        self.tables.iter().all(|table| table.by_key.len() == 0)
    }

    /// Replaces all rows of a table at once; quickest when they are sorted by primary key, with no key twice.
    pub fn load(&mut self, table: TableId, rows: &[Row]) {
        let spec = IndexSpec(key_order(&self.schema, table));
        let Table { by_key, indexes } = &mut self.tables[table.0 as usize];
        *by_key = Index::build(spec, rows.iter());
        for (spec, (_, index)) in indexes {
            *index = Index::build(spec.clone(), rows.iter());
        }
    }

    /// All rows of a table by primary key.
    pub fn rows(&self, table: TableId) -> impl Iterator<Item = &Row> {
        self.tables[table.0 as usize].by_key.iter()
    }

    /// The row with this primary key.
    pub fn row(&self, table: TableId, key: &Key) -> Option<&Row> {
        let schema = &self.schema[table];
        let mut values = vec![ValueRef::Null; schema.columns.len()];
        for (column, value) in schema.primary_key.iter().zip(key.0.iter()) {
            values[*column] = value;
        }
        self.tables[table.0 as usize]
            .by_key
            .get(&Row::from_values(values))
    }

    /// Builds an index, or counts one more user of it.
    pub fn retain_index(&mut self, table: TableId, spec: &IndexSpec) {
        if *spec == IndexSpec(key_order(&self.schema, table)) {
            return;
        }
        let Table { by_key, indexes } = &mut self.tables[table.0 as usize];
        let build = || (0, Index::build(spec.clone(), by_key.iter()));
        indexes.get_or_insert_with(spec.clone(), build).0 += 1;
    }

    /// Counts one user of an index less; the last one drops it.
    pub fn release_index(&mut self, table: TableId, spec: &IndexSpec) {
        let indexes = &mut self.tables[table.0 as usize].indexes;
        if let Some((users, _)) = indexes.get_mut(spec) {
            *users -= 1;
            if *users == 0 {
                indexes.remove(spec);
            }
        }
    }

    /// Carries out a change, after it was pushed through the pipelines.
    pub fn apply(&mut self, change: &SourceChange) {
        let Table { by_key, indexes } = &mut self.tables[change.table.0 as usize];
        let indexes = indexes.values_mut().map(|(_, index)| index);
        for index in std::iter::once(by_key).chain(indexes) {
            if let Some(old) = &change.old {
                index.remove(old);
            }
            if let Some(new) = &change.new {
                index.insert(new.clone());
            }
        }
    }
}

impl Source for MemorySource {
    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn fetch(&self, request: &FetchRequest<'_>, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        if request.is_empty() {
            return Ok(());
        }
        let table = &self.tables[request.table.0 as usize];
        let schema = &self.schema[request.table];
        if schema
            .primary_key
            .iter()
            .all(|key| request.constraint.iter().any(|(column, _)| column == key))
        {
            let probe = probe(schema.columns.len(), request.constraint);
            if let Some(row) = table.by_key.get(&probe)
                && request.admits(row)
            {
                let _ = sink(row);
            }
            return Ok(());
        }
        let wanted = request.index();
        if let Some((_, index)) = table.indexes.get(&wanted) {
            scan(index, request, sink);
        } else if wanted == IndexSpec(key_order(&self.schema, request.table)) {
            scan(&table.by_key, request, sink);
        } else {
            // Nobody has asked for the index: a read that happens once.
            let mut rows: Vec<&Row> = table
                .by_key
                .iter()
                .filter(|row| request.admits(row))
                .collect();
            rows.sort_unstable_by(|a, b| request.compare(a, b));
            let _ = rows.into_iter().try_for_each(sink);
        }
        Ok(())
    }

    fn get(&self, table: TableId, key: &Key) -> Result<Option<Row>, SourceError> {
        Ok(self.row(table, key).cloned())
    }

    fn row_count(&self, table: TableId) -> Result<Option<u64>, SourceError> {
        Ok(Some(self.len(table) as u64))
    }

    fn sample(&self, table: TableId, count: usize, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        let rows = &self.tables[table.0 as usize].by_key;
        let _ = rows.spread(count).try_for_each(sink);
        Ok(())
    }
}

fn probe(columns: usize, constraint: &[(usize, ValueRef<'_>)]) -> Row {
    let mut values = vec![ValueRef::Null; columns];
    for (column, value) in constraint {
        values[*column] = *value;
    }
    Row::from_values(values)
}

/// Gives the rows of a request from the index that has exactly its columns.
pub(crate) fn scan(index: &Index, request: &FetchRequest<'_>, sink: &mut Sink<'_>) {
    let constraint = request.constraint;
    // How a row stands to the constrained range: before it, in it, after it.
    let range = |row: &Row| {
        let parts = constraint
            .iter()
            .map(|(column, value)| compare(row.get(*column), *value));
        parts
            .into_iter()
            .find(|ordering| ordering.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal)
    };
    let mut give = |row: &Row| {
        if range(row).is_ne() {
            return ControlFlow::Break(());
        }
        sink(row)
    };
    // Places are counted in the order of the index, which a reversed request travels backwards.
    let place = |row: &Row, start: &Row| range(row).then_with(|| request.order.compare(row, start));
    let _ = match (request.reverse, request.start) {
        (false, None) => index
            .iter_from(index.partition_point(|row| range(row).is_ge()))
            .try_for_each(&mut give),
        (true, None) => index
            .iter_back_from(index.partition_point(|row| range(row).is_gt()))
            .try_for_each(&mut give),
        (false, Some(start)) => {
            let position = match start.basis {
                Basis::At => index.partition_point(|row| place(row, start.row).is_ge()),
                Basis::After => index.partition_point(|row| place(row, start.row).is_gt()),
            };
            index.iter_from(position).try_for_each(&mut give)
        }
        (true, Some(start)) => {
            let position = match start.basis {
                Basis::At => index.partition_point(|row| place(row, start.row).is_gt()),
                Basis::After => index.partition_point(|row| place(row, start.row).is_ge()),
            };
            index.iter_back_from(position).try_for_each(&mut give)
        }
    };
}
