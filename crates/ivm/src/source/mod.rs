//! Where rows come from: the seam between the engine and memory, a branch, or a database.

pub(crate) mod branch;
pub(crate) mod chunk;
pub(crate) mod digits;
pub(crate) mod index;
pub(crate) mod index_build;
pub(crate) mod memory;
pub(crate) mod statistics;

use std::cmp::Ordering;
use std::ops::ControlFlow;

use landfall_zql::ast::Direction;
use landfall_zql::ordering::Order;
use landfall_zql::predicate::Predicate;
use landfall_zql::{Key, Row, Schema, TableId, Value, ValueRef, compare};

use crate::error::SourceError;
use crate::planner::explain::AccessPath;
use crate::steps::{Progress, Steps};

/// Takes rows one by one; `Break` ends the fetch.
pub type Sink<'a> = dyn FnMut(&Row) -> ControlFlow<()> + 'a;

/// Rows of tables in one state.
///
/// # Contract
/// - A fetch gives every row of the table that meets the request, once, in the request's order, and no other, except
///   that `filter` is a hint: rows that do not pass it may be given as well.
/// - While a change is pushed through a pipeline the source shows the state *before* that change: the one who pushes
///   applies it to the source afterwards.
/// - A fetch may be started while another one is running.
pub trait Source {
    /// The tables.
    fn schema(&self) -> &Schema;

    /// Gives the rows that a request asks for.
    ///
    /// # Errors
    /// The rows could not be read.
    fn fetch(&self, request: &FetchRequest<'_>, sink: &mut Sink<'_>) -> Result<(), SourceError>;

    /// The row with this primary key.
    ///
    /// # Errors
    /// The row could not be read.
    fn get(&self, table: TableId, key: &Key) -> Result<Option<Row>, SourceError>;

    /// About how many rows a table has; `None` when the source cannot say. Cheap: planners ask.
    ///
    /// # Errors
    /// The table could not be read.
    fn row_count(&self, _table: TableId) -> Result<Option<u64>, SourceError> {
        Ok(None)
    }

    /// Gives rows spread over the whole table, about `count` of them; all rows when there are no more. Cheap.
    ///
    /// # Errors
    /// The table could not be read.
    fn sample(
        &self,
        _table: TableId,
        _count: usize,
        _sink: &mut Sink<'_>,
    ) -> Result<(), SourceError> {
        Ok(())
    }

    /// Makes an index until the steps are spent, but goes on a little in any case; so that a read which needs it does
    /// not have to. The source may change in between.
    ///
    /// # Errors
    /// The table could not be read.
    fn prepare(
        &self,
        _table: TableId,
        _index: &IndexSpec,
        _steps: &Steps,
    ) -> Result<Progress, SourceError> {
        Ok(Progress::Done)
    }

    /// The work of reads since the last call that the rows they gave do not tell of, in rows.
    fn take_effort(&self) -> usize {
        0
    }

    /// Whether reads by this index cost what they give; otherwise a first one has to go through the table.
    fn has_index(&self, _table: TableId, _index: &IndexSpec) -> bool {
        true
    }

    /// An index that is there and begins with these columns, ascending, in their order; whatever follows.
    fn index_on(&self, _table: TableId, _columns: &[usize]) -> Option<IndexSpec> {
        None
    }

    /// How the source would serve a request; `None` when it cannot say. [`AccessPath::wanted`] is left empty.
    ///
    /// # Errors
    /// The source could not be asked.
    fn access_path(&self, _request: &FetchRequest<'_>) -> Result<Option<AccessPath>, SourceError> {
        Ok(None)
    }
}

/// What rows of a table to give, and in which order.
#[derive(Clone, Copy, Debug)]
pub struct FetchRequest<'a> {
    /// The table.
    pub table: TableId,
    /// Columns that equal a value, sorted by column, each at most once; NULL matches nothing.
    pub constraint: &'a [(usize, ValueRef<'a>)],
    /// The order, completed by the primary key.
    pub order: &'a Order,
    /// Gives the rows from last to first.
    pub reverse: bool,
    /// Leaves out what comes before, in the direction of travel.
    pub start: Option<Start<'a>>,
    /// What the rows are needed for: a source may leave out rows that do not pass.
    pub filter: Option<&'a Predicate>,
}

/// A place in an order, in the direction of travel.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// Values of the ordered columns; the row itself need not exist.
    pub row: &'a Row,
    /// Whether a row at this very place is given.
    pub basis: Basis,
}

impl Start<'_> {
    /// Whether a row comes before the start, in this order.
    pub(crate) fn leaves_out(&self, row: &Row, order: &Order) -> bool {
        match order.compare(row, self.row) {
            Ordering::Less => true,
            Ordering::Equal => self.basis == Basis::After,
            Ordering::Greater => false,
        }
    }
}

/// Whether a start includes its own place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// It does.
    At,
    /// It does not.
    After,
}

impl FetchRequest<'_> {
    /// Compares in the direction of travel.
    pub fn compare(&self, a: &Row, b: &Row) -> Ordering {
        let ordering = self.order.compare(a, b);
        if self.reverse {
            ordering.reverse()
        } else {
            ordering
        }
    }

    /// Whether a row of the table meets constraint, start and filter.
    pub fn admits(&self, row: &Row) -> bool {
        self.constraint
            .iter()
            .all(|(column, value)| landfall_zql::join_eq(row.get(*column), *value))
            && self
                .start
                .is_none_or(|start| match self.compare(row, start.row) {
                    Ordering::Less => false,
                    Ordering::Equal => start.basis == Basis::At,
                    Ordering::Greater => true,
                })
            && self.filter.is_none_or(|filter| filter.matches(row))
    }

    /// Whether the constraint cannot be met at all.
    pub fn is_empty(&self) -> bool {
        self.constraint.iter().any(|(_, value)| value.is_null())
    }

    /// Whether an index is the one that serves this request.
    pub(crate) fn is_served_by(&self, IndexSpec(index): &IndexSpec) -> bool {
        let fixed = self.constraint.iter().map(|(column, _)| *column);
        let open = self
            .order
            .0
            .iter()
            .filter(|(column, _)| !self.constraint.iter().any(|(fixed, _)| fixed == column));
        let wanted = fixed
            .map(|column| (column, Direction::Asc))
            .chain(open.copied());
        wanted.eq(index.0.iter().copied())
    }

    /// The index that serves this request: the constrained columns, then the order without them.
    pub fn index(&self) -> IndexSpec {
        IndexSpec::new(
            self.constraint.iter().map(|(column, _)| *column),
            self.order,
        )
    }
}

/// Columns of an index with their directions, most significant first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexSpec(pub Order);

impl IndexSpec {
    /// The index for rows with some columns fixed, in an order. `constrained` is sorted.
    pub fn new(constrained: impl Iterator<Item = usize>, order: &Order) -> IndexSpec {
        let mut columns: Vec<(usize, Direction)> =
            constrained.map(|column| (column, Direction::Asc)).collect();
        for part in &order.0 {
            if !columns.iter().any(|(column, _)| *column == part.0) {
                columns.push(*part);
            }
        }
        IndexSpec(Order(columns))
    }
}

/// A change of one row of a table. The caller guarantees that an added row was absent, and others present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceChange {
    /// The table.
    pub table: TableId,
    /// The row before, if there was one.
    pub old: Option<Row>,
    /// The row after, if there is one. The primary key may differ from the old row's.
    pub new: Option<Row>,
}

/// An owned constraint: see [`FetchRequest::constraint`].
pub(crate) type Constraint = Vec<(usize, Value)>;

/// Whether two rows have equal values in these columns; NULL equals NULL.
pub(crate) fn same_in(columns: &[usize], a: &Row, b: &Row) -> bool {
    columns
        .iter()
        .all(|column| compare(a.get(*column), b.get(*column)).is_eq())
}
