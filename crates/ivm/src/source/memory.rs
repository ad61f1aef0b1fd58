//! Rows in memory: per table a set by primary key, and further indexes as reads need them.

use std::cell::{Cell, OnceCell, RefCell};
use std::cmp::Ordering;
use std::iter;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use landfall_zql::ast::Direction;
use landfall_zql::ordering::Order;
use landfall_zql::{Key, Row, Schema, TableId, ValueRef, compare};

use crate::error::SourceError;
use crate::source::chunk::Entry;
use crate::source::index::{Index, Position};
use crate::source::index_build::IndexBuild;
use crate::source::{Basis, FetchRequest, IndexSpec, Sink, Source, SourceChange};
use crate::steps::{Progress, Steps};

/// How many indexes of a table stay that nobody has asked to keep.
const SPARE_INDEXES: usize = 8;

/// So many changes are carried out at the end of a build: with more it begins again.
const LATE: usize = 5000;

/// So many rows are brought in order while one is read.
const SORTED_PER_ROW: usize = 2;

#[derive(Clone, Debug)]
struct Table {
    by_key: Index,
    /// Oldest first. A read may add one while another read is going on.
    wanted: RefCell<WantedList>,
}

/// Cloned with the indexes, which are as good as copies, but without what is being built.
#[derive(Debug, Default)]
struct WantedList(Vec<Rc<Wanted>>);

impl Clone for WantedList {
    fn clone(&self) -> WantedList {
        let copy = |wanted: &Rc<Wanted>| {
            Rc::new(Wanted {
                spec: wanted.spec.clone(),
                users: wanted.users.clone(),
                unused: wanted.unused.clone(),
                building: RefCell::default(),
                index: wanted.index.clone(),
            })
        };
        WantedList(self.0.iter().map(copy).collect())
    }
}

/// An index that reads have asked for.
#[derive(Debug)]
struct Wanted {
    spec: IndexSpec,
    users: Cell<usize>,
    /// Changes of the table since it had its last user.
    unused: Cell<usize>,
    building: RefCell<Option<IndexBuild>>,
    index: OnceCell<Index>,
}

/// A [`Source`] in memory.
///
/// Indexes are built by the reads that need them, or before, in steps; and kept up to date while somebody wants them
/// kept, and for a while after that.
///
/// A clone costs little: it shares what neither has changed since.
#[derive(Clone, Debug)]
pub struct MemorySource {
    schema: Arc<Schema>,
    tables: Vec<Table>,
    /// Rows that reads have brought in order.
    sorted: Cell<usize>,
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
                wanted: RefCell::default(),
            })
            .collect();
        MemorySource {
            schema,
            tables,
            sorted: Cell::default(),
        }
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
        let table = &mut self.tables[table.0 as usize];
        table.by_key = Index::build(spec, rows.iter());
        table.forget_further();
    }

    /// Adds a row to a table; quickest when it comes after all that are there by primary key.
    pub fn append(&mut self, table: TableId, row: Row) {
        self.append_all(table, &mut iter::once(row));
    }

    /// Adds rows to a table, as [`MemorySource::append`] does.
    pub fn append_all(&mut self, table: TableId, rows: &mut dyn Iterator<Item = Row>) {
        let table = &mut self.tables[table.0 as usize];
        table.forget_further();
        rows.for_each(|row| table.by_key.append(row));
    }

    /// Takes all rows of a table out.
    pub fn clear(&mut self, table: TableId) {
        self.load(table, &[]);
    }

    /// Drops some of the rows of a source that is not used any more: all at once would take long. How many they were, in
    /// indexes; 0 when nothing is left that it does not share.
    pub fn shed(&mut self) -> usize {
        while let Some(table) = self.tables.last_mut() {
            let list = &mut table.wanted.get_mut().0;
            let index = match list.last_mut() {
                Some(wanted) => Rc::get_mut(wanted).and_then(|wanted| wanted.index.get_mut()),
                None => Some(&mut table.by_key),
            };
            let rows = index.map_or(0, Index::shed);
            if rows > 0 {
                return rows;
            }
            if list.pop().is_none() {
                self.tables.pop();
            }
        }
        0
    }

    /// Nobody uses an index any more: users are counted anew.
    pub fn release_indexes(&mut self) {
        for table in &mut self.tables {
            for wanted in &table.wanted.get_mut().0 {
                wanted.users.set(0);
                wanted.unused.set(0);
            }
        }
    }

    /// Takes over the indexes that another source with the same rows has and this one has not.
    pub fn adopt_indexes(&mut self, other: MemorySource) {
        for (table, other) in self.tables.iter_mut().zip(other.tables) {
            for adopted in other.wanted.into_inner().0 {
                let Some(index) = adopted.index.get() else {
                    continue;
                };
                let wanted = table.want(|spec| *spec == adopted.spec, || adopted.spec.clone());
                wanted.index.get_or_init(|| index.clone());
                wanted.building.take();
            }
            table.drop_spare();
        }
    }

    /// All rows of a table by primary key.
    pub fn rows(&self, table: TableId) -> impl Iterator<Item = &Row> {
        self.tables[table.0 as usize].by_key.iter()
    }

    /// The rows of a table behind this one by primary key, or all.
    pub fn rows_after(&self, table: TableId, row: Option<&Row>) -> impl Iterator<Item = &Row> {
        self.tables[table.0 as usize].by_key.iter_after(row)
    }

    /// The row with the primary key of this one.
    pub fn row_like(&self, table: TableId, row: &Row) -> Option<&Row> {
        self.tables[table.0 as usize].by_key.equal_to(row)
    }

    /// A clone without further indexes, for who only reads rows by primary key.
    pub fn clone_rows(&self) -> MemorySource {
        let tables = self.tables.iter().map(|table| Table {
            by_key: table.by_key.clone(),
            wanted: RefCell::default(),
        });
        MemorySource {
            schema: self.schema.clone(),
            tables: tables.collect(),
            sorted: Cell::default(),
        }
    }

    /// The row with this primary key.
    pub fn row(&self, table: TableId, key: &Key) -> Option<&Row> {
        let by_key = &self.tables[table.0 as usize].by_key;
        find(by_key, &|number, _| key.0.get(number))
    }

    /// Counts one more user of an index.
    pub fn retain_index(&mut self, table: TableId, spec: &IndexSpec) {
        let table = &self.tables[table.0 as usize];
        if spec != table.by_key.spec() {
            let wanted = table.want(|known| known == spec, || spec.clone());
            wanted.users.set(wanted.users.get() + 1);
        }
    }

    /// Counts one user of an index less. It stays for a while, since queries are often asked again.
    pub fn release_index(&mut self, table: TableId, spec: &IndexSpec) {
        let table = &mut self.tables[table.0 as usize];
        let list = &table.wanted.get_mut().0;
        if let Some(wanted) = list.iter().find(|wanted| wanted.spec == *spec) {
            wanted.users.set(wanted.users.get().saturating_sub(1));
            wanted.unused.set(0);
        }
        table.drop_spare();
    }

    /// Carries out a change, after it was pushed through the pipelines.
    pub fn apply(&mut self, change: &SourceChange) {
        let table = &mut self.tables[change.table.0 as usize];
        let patience = table.by_key.len() / 4 + 1000;
        // One that cannot be kept true is made anew by the read that needs it.
        table.wanted.get_mut().0.retain_mut(|wanted| {
            let Some(wanted) = Rc::get_mut(wanted) else {
                return false;
            };
            if wanted.users.get() == 0 {
                wanted.unused.set(wanted.unused.get() + 1);
                if wanted.unused.get() > patience {
                    return false;
                }
            }
            if let Some(index) = wanted.index.get_mut() {
                index.put(change);
            }
            let building = wanted.building.get_mut();
            if let Some(build) = building {
                build.note(change);
                if build.late() > LATE {
                    building.take();
                }
            }
            true
        });
        table.by_key.put(change);
    }
}

impl Table {
    /// Forgets what is built besides the rows by key: it is made anew by the reads that need it.
    fn forget_further(&mut self) {
        self.wanted.get_mut().0.retain_mut(|wanted| {
            let Some(wanted) = Rc::get_mut(wanted) else {
                return false;
            };
            wanted.building.take();
            wanted.index.take();
            true
        });
    }

    /// The index with this description.
    fn want(
        &self,
        is_it: impl Fn(&IndexSpec) -> bool,
        spec: impl FnOnce() -> IndexSpec,
    ) -> Rc<Wanted> {
        let list = &mut self.wanted.borrow_mut().0;
        if let Some(wanted) = list.iter().find(|wanted| is_it(&wanted.spec)) {
            return Rc::clone(wanted);
        }
        let wanted = Rc::new(Wanted {
            spec: spec(),
            users: Cell::new(0),
            unused: Cell::new(0),
            building: RefCell::default(),
            index: OnceCell::new(),
        });
        list.push(Rc::clone(&wanted));
        wanted
    }

    /// Drops the oldest of too many indexes that nobody asked to keep.
    fn drop_spare(&mut self) {
        let list = &mut self.wanted.get_mut().0;
        let unused = list.iter().filter(|wanted| wanted.users.get() == 0);
        let mut excess = unused.count().saturating_sub(SPARE_INDEXES);
        list.retain(|wanted| {
            let is_dropped = excess > 0 && wanted.users.get() == 0;
            excess -= usize::from(is_dropped);
            !is_dropped
        });
    }

    /// Goes on with an index until the steps are spent.
    fn build(&self, wanted: &Wanted, steps: &Steps) -> Progress {
        if wanted.index.get().is_some() {
            return Progress::Done;
        }
        let mut building = wanted.building.borrow_mut();
        let build = building.get_or_insert_with(|| {
            let build = IndexBuild::new(wanted.spec.clone(), &self.by_key);
            steps.spend_many(build.begun());
            build
        });
        let progress = build.go_on(&self.by_key, steps);
        if progress == Progress::Done {
            wanted.index.get_or_init(|| {
                let build = building.take();
                build.map_or_else(|| Index::new(wanted.spec.clone()), IndexBuild::finish)
            });
        }
        progress
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
        let pinned = |column: usize| {
            let columns = request.constraint;
            let at = columns.binary_search_by_key(&column, |(column, _)| *column);
            Some(columns[at.ok()?].1)
        };
        let keys = &self.schema[request.table].primary_key;
        if keys.iter().all(|key| pinned(*key).is_some()) {
            let value = |_, column| pinned(column).unwrap_or(ValueRef::Null);
            // Who asks filters as well.
            let request = FetchRequest {
                filter: None,
                ..*request
            };
            if let Some(row) = find(&table.by_key, &value).filter(|row| request.admits(row)) {
                let _ = sink(row);
            }
            return Ok(());
        }
        if request.is_served_by(table.by_key.spec()) {
            scan(&table.by_key, request, sink);
            return Ok(());
        }
        let wanted = table.want(|spec| request.is_served_by(spec), || request.index());
        table.build(&wanted, &Steps::unlimited());
        if let Some(index) = wanted.index.get() {
            scan(index, request, sink);
            self.sorted.set(self.sorted.get() + index.take_sorted());
        }
        Ok(())
    }

    fn prepare(
        &self,
        table: TableId,
        index: &IndexSpec,
        steps: &Steps,
    ) -> Result<Progress, SourceError> {
        let table = &self.tables[table.0 as usize];
        if index == table.by_key.spec() {
            return Ok(Progress::Done);
        }
        let wanted = table.want(|known| known == index, || index.clone());
        Ok(table.build(&wanted, steps))
    }

    fn take_effort(&self) -> usize {
        self.sorted.take() / SORTED_PER_ROW
    }

    fn get(&self, table: TableId, key: &Key) -> Result<Option<Row>, SourceError> {
        Ok(self.row(table, key).cloned())
    }

    fn has_index(&self, table: TableId, index: &IndexSpec) -> bool {
        let table = &self.tables[table.0 as usize];
        let is_built = |wanted: &Rc<Wanted>| wanted.spec == *index && wanted.index.get().is_some();
        index == table.by_key.spec() || table.wanted.borrow().0.iter().any(is_built)
    }

    fn index_on(&self, table: TableId, columns: &[usize]) -> Option<IndexSpec> {
        let wanted = self.tables[table.0 as usize].wanted.borrow();
        let built = wanted
            .0
            .iter()
            .filter(|wanted| wanted.index.get().is_some());
        let mut specs = built.map(|wanted| &wanted.spec);
        let found = specs.find(|IndexSpec(Order(parts))| {
            let columns = columns.iter().map(|column| (*column, Direction::Asc));
            let first = parts.iter().take(columns.len());
            columns.eq(first.copied())
        });
        found.cloned()
    }

    fn row_count(&self, table: TableId) -> Result<Option<u64>, SourceError> {
        Ok(Some(self.len(table) as u64))
    }

    fn sample(&self, table: TableId, count: usize, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        let rows = &self.tables[table.0 as usize].by_key;
        let _ = rows.spread(count).into_iter().try_for_each(sink);
        Ok(())
    }
}

/// The row with these values in the columns of an index, each given by its number there and its number in the table.
fn find<'a, 'v>(index: &'a Index, value: &dyn Fn(usize, usize) -> ValueRef<'v>) -> Option<&'a Row> {
    let columns = &index.spec().0.0;
    let place = |row: &Row| {
        let parts = columns.iter().enumerate();
        let mut parts =
            parts.map(|(number, (column, _))| compare(row.get(*column), value(number, *column)));
        parts.find(|part| part.is_ne()).unwrap_or(Ordering::Equal)
    };
    let prefix = index.digits(value(0, columns.first()?.0)).first();
    // Often no look at a row is needed to see that it is the one, or that it is not there.
    let is_told = columns.len() == 1 && index.tells_all(prefix);
    let from = index.seek(prefix, &|row| !is_told && place(row).is_lt());
    let entry = index.entries_from(from).next()?;
    let is_found = entry.prefix() == prefix && (is_told || place(&entry.row).is_eq());
    is_found.then_some(&entry.row)
}

/// Gives the rows of a request from the index that has exactly its columns.
pub(crate) fn scan(index: &Index, request: &FetchRequest<'_>, sink: &mut Sink<'_>) {
    let constraint = request.constraint;
    // How a row stands to the constrained range: before it, in it, after it.
    let range = |row: &Row| {
        for (column, value) in constraint {
            let ordering = compare(row.get(*column), *value);
            if ordering.is_ne() {
                return ordering;
            }
        }
        Ordering::Equal
    };
    let prefix = match (constraint, request.start) {
        ([(_, value), ..], _) => Some(index.digits(*value).first()),
        ([], Some(start)) => Some(index.prefix(start.row)),
        ([], None) => None,
    };
    // Often no look at a row is needed to see that it is in the range, or that it is not.
    let tells_all = prefix.is_some_and(|prefix| index.tells_all(prefix));
    let is_told = constraint.len() == 1 && tells_all;
    if let ([_, ..], None, Some(prefix), true) = (constraint, request.start, prefix, tells_all)
        && let Some(mut picked) = index.pick(prefix)
    {
        picked.retain(|row| is_told || range(row).is_eq());
        if request.reverse {
            picked.reverse();
        }
        let _ = picked.iter().try_for_each(sink);
        return;
    }
    let mut give = |entry: &Entry| {
        let is_out = !constraint.is_empty() && Some(entry.prefix()) != prefix;
        if is_out || (!is_told && range(&entry.row).is_ne()) {
            return ControlFlow::Break(());
        }
        sink(&entry.row)
    };
    let from = match prefix {
        None if request.reverse => index.end(),
        None => (0, 0),
        Some(prefix) => match request.start {
            None if is_told => index.seek(prefix, &|_| request.reverse),
            _ => begin(index, request, prefix, &range),
        },
    };
    let _ = if request.reverse {
        index.entries_back_from(from).try_for_each(&mut give)
    } else {
        index.entries_from(from).try_for_each(&mut give)
    };
}

/// The position where a request for rows of a place with this prefix begins. Places are counted in the order of the
/// index, which a reversed request travels backwards.
fn begin(
    index: &Index,
    request: &FetchRequest<'_>,
    prefix: u64,
    range: &dyn Fn(&Row) -> Ordering,
) -> Position {
    let place = |row: &Row| match request.start {
        Some(start) => range(row).then_with(|| request.order.compare(row, start.row)),
        None => range(row),
    };
    // A position behind the rows of the place itself, or before them.
    let is_behind = match request.start {
        Some(start) => (start.basis == Basis::After) != request.reverse,
        None => request.reverse,
    };
    index.seek(prefix, &|row| match place(row) {
        Ordering::Less => true,
        Ordering::Equal => is_behind,
        Ordering::Greater => false,
    })
}
