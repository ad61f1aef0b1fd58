//! A branch: a stack of uncommitted writes over a source. Mutators read and write branches; a server's advance is one
//! with a single layer.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::ControlFlow;

use landfall_zql::sorted_map::SortedMap;
use landfall_zql::{Key, Row, Schema, TableId};

use crate::error::SourceError;
use crate::source::index::Index;
use crate::source::memory::scan;
use crate::source::{FetchRequest, IndexSpec, Sink, Source, SourceChange};
use crate::steps::{Progress, Steps};

/// Rows that differ from what is below: by table and key, a row or its absence.
pub type Layer = BTreeMap<(TableId, Key), Option<Row>>;

/// A stack of layers. The bottom one, `pre`, holds what the source had when the branch was opened, for keys at which
/// the source has changed since: so an open branch is a stable snapshot.
#[derive(Debug, Default)]
pub struct Branch {
    pre: Layer,
    layers: Vec<Layer>,
    /// What is seen through all layers.
    seen: Layer,
    /// Rows of `seen` in orders that reads asked for.
    sorted: RefCell<SortedMap<(TableId, IndexSpec), Index>>,
}

impl Branch {
    /// A branch with one layer.
    pub fn new(layer: Layer) -> Branch {
        Branch {
            seen: layer.clone(),
            layers: vec![layer],
            ..Branch::default()
        }
    }

    /// Puts an empty layer on top: the writes of one mutation.
    pub fn push_layer(&mut self) {
        self.layers.push(Layer::new());
    }

    /// Takes the top layer off, with its writes.
    pub fn pop_layer(&mut self) -> Option<Layer> {
        let layer = self.layers.pop()?;
        for key in layer.keys() {
            let below = self.below(key);
            let new = below.clone().flatten();
            let old = match below {
                Some(row) => self.seen.insert(key.clone(), row),
                None => self.seen.remove(key),
            };
            self.sort_in(key.0, old.flatten(), new);
        }
        Some(layer)
    }

    fn below(&self, key: &(TableId, Key)) -> Option<Option<Row>> {
        self.layers
            .iter()
            .rev()
            .chain([&self.pre])
            .find_map(|layer| layer.get(key))
            .cloned()
    }

    /// Writes a row, or its absence, into the top layer.
    pub fn write(&mut self, table: TableId, key: Key, row: Option<Row>) {
        if self.layers.is_empty() {
            self.push_layer();
        }
        let at = (table, key);
        let old = self.seen.insert(at.clone(), row.clone());
        self.sort_in(table, old.flatten(), row.clone());
        if let Some(top) = self.layers.last_mut() {
            top.insert(at, row);
        }
    }

    /// To be called before the source changes at a key: keeps what it had there, also below a layer that may be
    /// taken off again.
    pub fn keep_before(&mut self, table: TableId, key: &Key, row: Option<&Row>) {
        let at = (table, key.clone());
        if self.pre.contains_key(&at) {
            return;
        }
        self.pre.insert(at.clone(), row.cloned());
        if let Entry::Vacant(vacant) = self.seen.entry(at) {
            vacant.insert(row.cloned());
            self.sort_in(table, None, row.cloned());
        }
    }

    fn sort_in(&mut self, table: TableId, old: Option<Row>, new: Option<Row>) {
        let change = SourceChange { table, old, new };
        let orders = self.sorted.get_mut().iter_mut();
        for (_, index) in orders.filter(|((of, _), _)| *of == table) {
            index.put(&change);
        }
    }

    /// What the branch has at a key; `None` when it is what the source has.
    pub fn get(&self, table: TableId, key: &Key) -> Option<Option<&Row>> {
        self.seen.get(&(table, key.clone())).map(Option::as_ref)
    }

    /// The layers, bottom first, without `pre`.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The branch over its source.
    pub fn over<'a, S: Source + ?Sized>(&'a self, base: &'a S) -> Branched<'a, S> {
        Branched { branch: self, base }
    }

    fn rows_of(&self, table: TableId) -> impl Iterator<Item = &Row> {
        // Keys start with the table; the smallest key is the empty one.
        let from = (table, Key(Row::from_values([])));
        self.seen
            .range(from..)
            .take_while(move |((of, _), _)| *of == table)
            .filter_map(|(_, row)| row.as_ref())
    }

    fn has_writes(&self, table: TableId) -> bool {
        let from = (table, Key(Row::from_values([])));
        self.seen
            .range(from..)
            .next()
            .is_some_and(|((of, _), _)| *of == table)
    }
}

/// A branch seen as a source.
#[derive(Debug)]
pub struct Branched<'a, S: ?Sized> {
    branch: &'a Branch,
    base: &'a S,
}

impl<S: Source + ?Sized> Source for Branched<'_, S> {
    fn schema(&self) -> &Schema {
        self.base.schema()
    }

    fn fetch(&self, request: &FetchRequest<'_>, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        if !self.branch.has_writes(request.table) {
            return self.base.fetch(request, sink);
        }
        if request.is_empty() {
            return Ok(());
        }
        let mut written: Vec<Row> = Vec::new();
        {
            let mut sorted = self.branch.sorted.borrow_mut();
            let spec = request.index();
            let index = sorted.get_or_insert_with((request.table, spec.clone()), || {
                Index::build(spec, self.branch.rows_of(request.table))
            });
            scan(index, request, &mut |row| {
                written.push(row.clone());
                ControlFlow::Continue(())
            });
        }
        let table = &self.base.schema()[request.table];
        let mut written = written.into_iter().peekable();
        let mut flow = ControlFlow::Continue(());
        self.base.fetch(request, &mut |row| {
            if self
                .branch
                .seen
                .contains_key(&(request.table, table.key_of(row)))
            {
                return ControlFlow::Continue(());
            }
            while flow.is_continue()
                && let Some(next) = written.next_if(|next| request.compare(next, row).is_lt())
            {
                flow = sink(&next);
            }
            if flow.is_continue() {
                flow = sink(row);
            }
            flow
        })?;
        if flow.is_continue() {
            let _ = written.try_for_each(|row| sink(&row));
        }
        Ok(())
    }

    fn get(&self, table: TableId, key: &Key) -> Result<Option<Row>, SourceError> {
        match self.branch.get(table, key) {
            Some(row) => Ok(row.cloned()),
            None => self.base.get(table, key),
        }
    }

    fn prepare(
        &self,
        table: TableId,
        index: &IndexSpec,
        steps: &Steps,
    ) -> Result<Progress, SourceError> {
        self.base.prepare(table, index, steps)
    }

    fn take_effort(&self) -> usize {
        self.base.take_effort()
    }

    fn index_on(&self, table: TableId, columns: &[usize]) -> Option<IndexSpec> {
        self.base.index_on(table, columns)
    }

    fn has_index(&self, table: TableId, index: &IndexSpec) -> bool {
        self.base.has_index(table, index)
    }

    fn row_count(&self, table: TableId) -> Result<Option<u64>, SourceError> {
        self.base.row_count(table)
    }

    fn sample(&self, table: TableId, count: usize, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        self.base.sample(table, count, sink)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::memory::MemorySource;
    use landfall_zql::ValueRef;
    use landfall_zql::ast::Direction;
    use landfall_zql::ordering::Order;
    use proptest::prelude::*;
    use std::sync::Arc;

    const SCHEMA: &str = r#"{"tables":{"t":{"name":"t","columns":{"id":{"type":"number"},"n":{"type":"number"}},"primaryKey":["id"]}}}"#;
    const TABLE: TableId = TableId(0);

    /// By key the value; `None` where there is no row.
    type Values = BTreeMap<u8, Option<u8>>;

    fn row(id: u8, n: u8) -> Row {
        Row::from_values([id, n].map(|number| ValueRef::Number(f64::from(number))))
    }

    fn key(id: u8) -> Key {
        Key(Row::from_values([ValueRef::Number(f64::from(id))]))
    }

    #[derive(Clone, Debug)]
    enum Step {
        Write(u8, Option<u8>),
        Push,
        Pop,
        ChangeSource(u8, Option<u8>),
        Read { by_value: bool, reverse: bool },
    }

    fn step() -> impl Strategy<Value = Step> {
        let value = || (0..12u8, prop::option::of(0..4u8));
        prop_oneof![
            4 => value().prop_map(|(id, n)| Step::Write(id, n)),
            1 => Just(Step::Push),
            1 => Just(Step::Pop),
            1 => value().prop_map(|(id, n)| Step::ChangeSource(id, n)),
            3 => any::<(bool, bool)>().prop_map(|(by_value, reverse)| Step::Read { by_value, reverse }),
        ]
    }

    fn read(branch: &Branch, source: &MemorySource, by_value: bool, reverse: bool) -> Vec<Row> {
        let columns: &[usize] = if by_value { &[1, 0] } else { &[0] };
        let order = Order(
            columns
                .iter()
                .map(|column| (*column, Direction::Asc))
                .collect(),
        );
        let request = FetchRequest {
            table: TABLE,
            constraint: &[],
            order: &order,
            reverse,
            start: None,
            filter: None,
        };
        let mut rows = Vec::new();
        let fetched = branch.over(source).fetch(&request, &mut |row| {
            rows.push(row.clone());
            ControlFlow::Continue(())
        });
        fetched.expect("memory can be read");
        rows
    }

    proptest! {
        #[test]
        fn a_branch_is_what_its_source_was_with_its_layers_on_top(steps in prop::collection::vec(step(), 0..60)) {
            let schema = Arc::new(Schema::from_json(SCHEMA).expect("a schema"));
            let mut source = MemorySource::new(schema);
            let mut before = Values::new();
            for id in (0..12).step_by(2) {
                source.append(TABLE, row(id, id % 3));
                before.insert(id, Some(id % 3));
            }
            let mut now = before.clone();
            let mut branch = Branch::new(Layer::new());
            let mut layers = vec![Values::new()];
            for step in steps {
                match step {
                    Step::Write(id, n) => {
                        branch.write(TABLE, key(id), n.map(|n| row(id, n)));
                        layers.last_mut().expect("a layer").insert(id, n);
                    }
                    Step::Push => {
                        branch.push_layer();
                        layers.push(Values::new());
                    }
                    Step::Pop if layers.len() > 1 => {
                        branch.pop_layer();
                        layers.pop();
                    }
                    Step::Pop => {}
                    Step::ChangeSource(id, n) => {
                        let old = now.insert(id, n).flatten().map(|old| row(id, old));
                        branch.keep_before(TABLE, &key(id), old.as_ref());
                        let new = n.map(|n| row(id, n));
                        if old != new {
                            source.apply(&SourceChange { table: TABLE, old, new });
                        }
                    }
                    Step::Read { by_value, reverse } => {
                        let mut seen = before.clone();
                        seen.extend(layers.iter().flatten());
                        let mut expected: Vec<(u8, u8)> = seen.into_iter().filter_map(|(id, n)| Some((id, n?))).collect();
                        expected.sort_by_key(|(id, n)| if by_value { (*n, *id) } else { (*id, 0) });
                        if reverse {
                            expected.reverse();
                        }
                        let expected: Vec<Row> = expected.into_iter().map(|(id, n)| row(id, n)).collect();
                        prop_assert_eq!(read(&branch, &source, by_value, reverse), expected);
                    }
                }
            }
        }
    }
}
