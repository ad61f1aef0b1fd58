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
use crate::source::{FetchRequest, IndexSpec, Sink, Source};
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
    /// Rows of `seen` in orders that reads asked for; dropped when their table is written.
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
            match self.below(key) {
                Some(row) => self.seen.insert(key.clone(), row),
                None => self.seen.remove(key),
            };
        }
        self.sorted.borrow_mut().clear();
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
        self.seen.insert(at.clone(), row.clone());
        if let Some(top) = self.layers.last_mut() {
            top.insert(at, row);
        }
        self.forget_sorted(table);
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
            self.forget_sorted(table);
        }
    }

    fn forget_sorted(&mut self, table: TableId) {
        self.sorted.get_mut().retain(|(of, _), _| *of != table);
    }

    /// What the branch has at a key; `None` when it is what the source has.
    pub fn get(&self, table: TableId, key: &Key) -> Option<Option<&Row>> {
        self.seen.get(&(table, key.clone())).map(Option::as_ref)
    }

    /// All writes that are seen, by table and key; what was only kept before a change of the source is not among them.
    pub fn writes(&self) -> impl Iterator<Item = (&(TableId, Key), Option<&Row>)> {
        self.seen
            .iter()
            .filter(|(key, _)| self.layers.iter().any(|layer| layer.contains_key(key)))
            .map(|(key, row)| (key, row.as_ref()))
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
