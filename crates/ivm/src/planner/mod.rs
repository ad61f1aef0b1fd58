//! The planner: whether a level is read from end to end or driven by its condition, and by which part of it.
//!
//! Every level is decided once, children first, so the effort grows with the size of the query only. Costs are counted
//! in rows that a source passes on the way; the same code decides on both ends.

pub(crate) mod analyze;
pub(crate) mod explain;
pub(crate) mod range;

use std::slice;

use landfall_zql::ast::Condition;
use landfall_zql::ordering::Order;
use landfall_zql::predicate::{Lookup, Predicate};
use landfall_zql::sort::sort;
use landfall_zql::{Row, TableId, TableSchema, join_eq};

use crate::error::BuildError;
use crate::operators::drive::Driver;
use crate::pipeline::JoinId;
use crate::source::statistics::{Statistics, Table};
use crate::source::{Constraint, IndexSpec, Source};

/// What it costs to find a place in an index, in rows that could have been passed instead.
const SEEK: f64 = 8.0;
/// What it costs to build an index, for each row of the table: less than it takes, since it serves other queries too.
const BUILD: f64 = 0.5;
/// So many rows are tested faster than an index is built that tells them apart.
const FEW: f64 = 8.0;
/// Where so large a share of the rows has the pinned values, a level is read without an index on them.
const WIDE: f64 = 0.125;
/// How much cheaper a driver must look: estimates err, and a read in order can be stopped and gone on with.
const MARGIN: f64 = 1.5;

/// How a pipeline finds the rows of a level whose condition names a way other than to read the whole level: by values
/// of columns, or from the children of an `EXISTS`. Results never depend on it.
#[derive(Clone, Copy)]
pub enum Choice<'a> {
    /// As the query's `flip` says; without it by reading the level.
    Hinted,
    /// By reading the level, always.
    Scan,
    /// By the condition, wherever that is possible.
    Driven,
    /// Now this, now that, as pseudo-random numbers from this seed have it.
    Seeded(u64),
    /// As `flip` says; without it what costs least by the estimates of this source.
    Estimated(&'a dyn Source),
}

/// A level, as far as the planner needs to know it.
pub(crate) struct Shape<'a> {
    pub table: TableId,
    pub schema: &'a TableSchema,
    pub condition: Option<&'a Condition>,
    /// The part of the condition that needs no subquery.
    pub filter: &'a Predicate,
    pub pinned: &'a Constraint,
    /// Whether a fetch leaves what is pinned to the filter.
    pub is_wide: bool,
    /// What a fetch is constrained on; empty when the whole level is read.
    pub columns: &'a [usize],
    pub order: &'a Order,
    pub limit: Option<u32>,
    pub is_exists: bool,
    /// In document order; an `EXISTS` that is decided without rows is `None`.
    pub subqueries: &'a [Option<Subquery>],
}

/// An `EXISTS` of a level.
pub(crate) struct Subquery {
    pub join: JoinId,
    pub negated: bool,
    pub flip: Option<bool>,
    pub parent_columns: Vec<usize>,
    pub child_columns: Vec<usize>,
    pub child_table: TableId,
    /// Of the child level.
    pub estimate: Option<Estimate>,
}

/// How a level is read, and why.
pub(crate) struct Decision {
    /// `None`: from end to end.
    pub driver: Option<Driver>,
    /// `None` when nothing is known of its tables.
    pub estimate: Option<Estimate>,
}

/// What the planner expects of a level.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Estimate {
    pub table_rows: f64,
    /// Rows that meet the condition, of those that one fetch is for.
    pub rows: f64,
    /// To read them from end to end, until a limit is reached.
    pub scan: f64,
    /// To find them by the best driver.
    pub driven: Option<f64>,
    /// To read them, the way that is taken.
    pub cost: f64,
    /// To decide the condition of one row that meets the part without subqueries.
    pub check: f64,
}

/// A way to find all rows that meet a condition.
struct Way {
    driver: Driver,
    /// Whether the query asks for it.
    hinted: bool,
    /// What it costs to find the rows, and how many are found.
    found: Option<(f64, f64)>,
}

/// How likely a row meets a condition, and what it costs to find out.
#[derive(Clone, Copy)]
struct Odds {
    share: f64,
    check: f64,
}

pub(crate) struct Planner<'a> {
    choice: Choice<'a>,
    random: u64,
    statistics: Option<Statistics<'a>>,
}

impl<'a> Planner<'a> {
    pub fn new(choice: Choice<'a>) -> Planner<'a> {
        let random = match choice {
            Choice::Seeded(seed) => seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            _ => 1,
        };
        let statistics = match choice {
            Choice::Estimated(source) => Some(Statistics::new(source)),
            _ => None,
        };
        Planner {
            choice,
            random,
            statistics,
        }
    }

    /// Decides how a level is read, whose subqueries have been decided.
    pub fn decide(&mut self, level: &Shape<'_>) -> Result<Decision, BuildError> {
        let way = match level.condition {
            Some(condition) => self.way(condition, level, &mut level.subqueries.iter())?,
            None => None,
        };
        // Where nothing depends on it, tables are left alone.
        let mut estimate = if way.is_some() || level.is_exists {
            self.estimate(level)
        } else {
            None
        };
        let driven = |way: &Way| {
            let (cost, found) = way.found?;
            let estimate = estimate.as_ref()?;
            Some(cost + found + found * until(level.limit, estimate.rows) * estimate.check)
        };
        let driven = way.as_ref().and_then(driven);
        let way = way.filter(|way| match self.choice {
            Choice::Scan => false,
            Choice::Driven => true,
            Choice::Seeded(_) => self.chance(),
            Choice::Hinted => way.hinted,
            Choice::Estimated(_) => {
                let is_cheaper =
                    |driven| estimate.is_some_and(|estimate| driven * MARGIN < estimate.scan);
                way.hinted || driven.is_some_and(is_cheaper)
            }
        });
        if let (Some(estimate), Some(driven)) = (&mut estimate, driven) {
            estimate.driven = Some(driven);
            if way.is_some() {
                estimate.cost = driven;
            }
        }
        Ok(Decision {
            driver: way.map(|way| way.driver),
            estimate,
        })
    }

    /// Whether so few rows share these columns that no index needs the pinned ones as well.
    pub fn is_narrow(
        &mut self,
        id: TableId,
        schema: &TableSchema,
        columns: &[usize],
        pinned: &Constraint,
    ) -> bool {
        let is_pinned = |key: &usize| pinned.iter().any(|(column, _)| column == key);
        if pinned.is_empty() || schema.primary_key.iter().all(is_pinned) {
            return false;
        }
        self.table(id)
            .is_some_and(|table| per_fetch(table, columns) <= FEW)
    }

    /// Whether so many rows have the pinned values that an index on them is not worth while, unless it is there.
    pub fn is_wide(
        &mut self,
        id: TableId,
        schema: &TableSchema,
        pinned: &Constraint,
        order: &Order,
    ) -> bool {
        let columns = || pinned.iter().map(|(column, _)| *column);
        let is_fixed = |key: &usize| columns().any(|column| column == *key);
        if pinned.is_empty() || schema.primary_key.iter().all(is_fixed) {
            return false;
        }
        let index = IndexSpec::new(columns(), order);
        let has_index = |statistics: &Statistics<'_>| statistics.has_index(id, &index);
        if self.statistics.as_ref().is_none_or(has_index) {
            return false;
        }
        let table = self.table(id);
        table.is_some_and(|table| table.share(|row| has(row, pinned)) >= WIDE)
    }

    /// An order for rows whose order does not matter, that are read by these columns: one that an index has.
    pub fn any_order(&self, id: TableId, columns: &[usize], order: Order) -> Order {
        let Some(statistics) = &self.statistics else {
            return order;
        };
        let known = match statistics.has_index(id, &IndexSpec::new(columns.iter().copied(), &order))
        {
            true => None,
            false => statistics.index_on(id, columns),
        };
        known.map_or(order, |IndexSpec(Order(mut parts))| {
            parts.rotate_left(columns.len());
            Order(parts)
        })
    }

    /// What reads by these columns cost beyond what they give, for want of an index.
    fn missing(&mut self, level: &Shape<'_>, columns: &[usize]) -> f64 {
        let mut constrained: Vec<usize> = columns.iter().chain(level.columns).copied().collect();
        if !level.is_wide {
            constrained.extend(level.pinned.iter().map(|(column, _)| *column));
        }
        sort(&mut constrained);
        constrained.dedup();
        let is_given = |key: &usize| constrained.contains(key);
        if level.schema.primary_key.iter().all(is_given) {
            return 0.0;
        }
        let index = IndexSpec::new(constrained.into_iter(), level.order);
        let Some(statistics) = &mut self.statistics else {
            return 0.0;
        };
        if statistics.has_index(level.table, &index) {
            return 0.0;
        }
        let table = statistics.table(level.table);
        table.map_or(0.0, |table| table.rows * BUILD)
    }

    fn way(
        &mut self,
        condition: &Condition,
        level: &Shape<'_>,
        subqueries: &mut slice::Iter<'_, Option<Subquery>>,
    ) -> Result<Option<Way>, BuildError> {
        if !has_subquery(condition) {
            return self.by_values(condition, level);
        }
        Ok(match condition {
            Condition::Simple { .. } => None,
            Condition::CorrelatedSubquery { .. } => subqueries
                .next()
                .and_then(Option::as_ref)
                .and_then(|subquery| self.by_children(subquery, level)),
            Condition::And { conditions } => {
                let mut best = self.by_values(&plain_part(conditions), level)?;
                for part in conditions.iter().filter(|part| has_subquery(part)) {
                    let other = self.way(part, level, subqueries)?;
                    best = self.better(best, other);
                }
                best
            }
            Condition::Or { conditions } => {
                let mut any = Some(Way {
                    driver: Driver::Any(Vec::new()),
                    hinted: false,
                    found: Some((0.0, 0.0)),
                });
                for part in conditions {
                    // Asked for every part, since each takes its subqueries.
                    let way = self.way(part, level, subqueries)?;
                    any = any.zip(way).map(|(any, way)| any.or(way));
                }
                any
            }
        })
    }

    /// Values of columns that a condition without subqueries asks for, other than those that all rows of the level
    /// have.
    fn by_values(
        &mut self,
        condition: &Condition,
        level: &Shape<'_>,
    ) -> Result<Option<Way>, BuildError> {
        let predicate = Predicate::compile(condition, level.schema)?;
        let is_news = |(column, _): &(usize, _)| {
            !level.columns.contains(column)
                && level.pinned.iter().all(|(pinned, _)| pinned != column)
        };
        let lookups = predicate
            .lookups()
            .filter(|lookups| lookups.iter().all(|lookup| lookup.iter().any(is_news)));
        Ok(lookups.map(|lookups| {
            let columns = lookups.iter().flatten().map(|(column, _)| *column);
            let columns: Vec<usize> = columns.collect();
            let missing = self.missing(level, &columns);
            let found = self.table(level.table).map(|table| {
                let within =
                    per_fetch(table, level.columns) * table.share(|row| has(row, level.pinned));
                let found = |lookup: &Lookup| {
                    if level
                        .schema
                        .primary_key
                        .iter()
                        .all(|key| lookup.iter().any(|(column, _)| column == key))
                    {
                        1.0_f64.min(within)
                    } else {
                        within * table.share(|row| has(row, lookup))
                    }
                };
                let found: f64 = lookups.iter().map(found).sum();
                (missing + lookups.len() as f64 * SEEK + found, found)
            });
            Way {
                driver: Driver::Lookups(lookups),
                hinted: false,
                found,
            }
        }))
    }

    fn by_children(&mut self, subquery: &Subquery, level: &Shape<'_>) -> Option<Way> {
        // Tests that force a choice force it against hints too.
        let heeds_hints = matches!(self.choice, Choice::Hinted | Choice::Estimated(_));
        let refused = subquery.flip == Some(false) && heeds_hints;
        if subquery.negated || refused {
            return None;
        }
        let missing = self.missing(level, &subquery.parent_columns);
        let found = self.keys(subquery, level).and_then(|(parents, children)| {
            let child = subquery.estimate?;
            let table = self.table(level.table)?;
            let keys = child.rows.min(children);
            let found = keys * per_fetch(table, level.columns) / parents;
            Some((missing + child.cost + keys * SEEK + found, found))
        });
        Some(Way {
            driver: Driver::Children(subquery.join),
            hinted: subquery.flip == Some(true),
            found,
        })
    }

    fn better(&mut self, a: Option<Way>, b: Option<Way>) -> Option<Way> {
        let (a, b) = match (a, b) {
            (Some(a), Some(b)) => (a, b),
            (a, b) => return a.or(b),
        };
        let cost = |way: &Way| way.found.map_or(f64::MAX, |(cost, found)| cost + found);
        let takes_a = match self.choice {
            Choice::Seeded(_) => self.chance(),
            _ if a.hinted != b.hinted => a.hinted,
            _ => cost(&a) <= cost(&b),
        };
        Some(if takes_a { a } else { b })
    }

    fn table(&mut self, id: TableId) -> Option<&Table> {
        self.statistics.as_mut()?.table(id)
    }

    /// How many keys the parents and the children of a subquery have. Where one side's key is its primary key, the other
    /// side refers to it and has no more of them.
    fn keys(&mut self, subquery: &Subquery, level: &Shape<'_>) -> Option<(f64, f64)> {
        let is_key = |table: &Table, columns: &[usize]| {
            let key = columns.len() == table.primary_key.len() && table.is_unique(columns);
            key.then_some(table.rows.max(1.0))
        };
        let parents = self.table(level.table)?;
        let referred = is_key(parents, &subquery.parent_columns);
        let parents = parents.distinct(&subquery.parent_columns, parents.rows);
        let children = self.table(subquery.child_table)?;
        let refers = is_key(children, &subquery.child_columns);
        let children = children.distinct(&subquery.child_columns, parents);
        Some((
            refers.map_or(parents, |most| parents.min(most)),
            referred.map_or(children, |most| children.min(most)),
        ))
    }

    fn estimate(&mut self, level: &Shape<'_>) -> Option<Estimate> {
        let table = self.table(level.table)?;
        let table_rows = table.rows;
        let fetched = per_fetch(table, level.columns);
        let read = fetched * table.share(|row| level.is_wide || has(row, level.pinned));
        let passing = fetched * table.share(|row| level.filter.matches(row));
        let odds = match level.condition {
            Some(condition) => self.odds(condition, level, &mut level.subqueries.iter())?,
            None => Odds::certain(1.0),
        };
        let rows = fetched * odds.share;
        let missing = self.missing(level, &[]);
        let scan = missing + (read + passing * odds.check) * until(level.limit, rows);
        Some(Estimate {
            table_rows,
            rows,
            scan,
            driven: None,
            cost: scan,
            check: odds.check,
        })
    }

    fn odds(
        &mut self,
        condition: &Condition,
        level: &Shape<'_>,
        subqueries: &mut slice::Iter<'_, Option<Subquery>>,
    ) -> Option<Odds> {
        if !has_subquery(condition) {
            let predicate = Predicate::compile(condition, level.schema).ok()?;
            let table = self.table(level.table)?;
            return Some(Odds::certain(table.share(|row| predicate.matches(row))));
        }
        match condition {
            Condition::Simple { .. } => None,
            Condition::CorrelatedSubquery { op, .. } => match subqueries.next()? {
                Some(subquery) => self.odds_of_subquery(subquery, level),
                None => {
                    let negated = *op == landfall_zql::ast::ExistsOperator::NotExists;
                    Some(Odds::certain(f64::from(u8::from(negated))))
                }
            },
            Condition::And { conditions } => {
                let mut all = self.odds(&plain_part(conditions), level, subqueries)?;
                // The part without subqueries is decided before the others are asked.
                let mut left = 1.0;
                for part in conditions.iter().filter(|part| has_subquery(part)) {
                    let odds = self.odds(part, level, subqueries)?;
                    all.check += left * odds.check;
                    all.share *= odds.share;
                    left *= odds.share;
                }
                Some(all)
            }
            Condition::Or { conditions } => {
                let mut none = Odds::certain(1.0);
                for part in conditions {
                    let odds = self.odds(part, level, subqueries)?;
                    none.check += none.share * odds.check;
                    none.share *= 1.0 - odds.share;
                }
                Some(Odds {
                    share: 1.0 - none.share,
                    ..none
                })
            }
        }
    }

    /// Asks for the children of one parent until there is one.
    fn odds_of_subquery(&mut self, subquery: &Subquery, level: &Shape<'_>) -> Option<Odds> {
        let (parents, children) = self.keys(subquery, level)?;
        let child = subquery.estimate?;
        let share = child.rows / child.table_rows.max(1.0);
        let siblings = child.table_rows / children;
        let visited = if share > 0.0 {
            siblings.min(1.0 / share)
        } else {
            siblings
        };
        let exists = (share * siblings).min(1.0) * (children / parents).min(1.0);
        Some(Odds {
            share: if subquery.negated {
                1.0 - exists
            } else {
                exists
            },
            check: SEEK + visited * (1.0 + child.check),
        })
    }

    fn chance(&mut self) -> bool {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 63 == 1
    }
}

impl Way {
    /// What this way finds, and what another one does.
    fn or(self, other: Way) -> Way {
        let Driver::Any(mut drivers) = self.driver else {
            return other;
        };
        drivers.push(other.driver);
        let found = self.found.zip(other.found);
        Way {
            driver: Driver::Any(drivers),
            hinted: self.hinted || other.hinted,
            found: found.map(|((a, m), (b, n))| (a + b, m + n)),
        }
    }
}

impl Odds {
    fn certain(share: f64) -> Odds {
        Odds { share, check: 0.0 }
    }
}

/// The share of a read that a limit lets happen.
fn until(limit: Option<u32>, rows: f64) -> f64 {
    match limit {
        Some(limit) if rows > 0.0 => (f64::from(limit) / rows).min(1.0),
        _ => 1.0,
    }
}

/// How many rows a fetch with these columns given is for.
fn per_fetch(table: &Table, columns: &[usize]) -> f64 {
    if columns.is_empty() {
        table.rows
    } else {
        table.rows / table.distinct(columns, table.rows)
    }
}

fn has(row: &Row, values: &[(usize, landfall_zql::Value)]) -> bool {
    values
        .iter()
        .all(|(column, value)| join_eq(row.get(*column), value.as_ref()))
}

fn plain_part(conditions: &[Condition]) -> Condition {
    let plain = conditions.iter().filter(|part| !has_subquery(part));
    Condition::And {
        conditions: plain.cloned().collect(),
    }
}

pub(crate) fn has_subquery(condition: &Condition) -> bool {
    match condition {
        Condition::Simple { .. } => false,
        Condition::And { conditions } | Condition::Or { conditions } => {
            conditions.iter().any(has_subquery)
        }
        Condition::CorrelatedSubquery { .. } => true,
    }
}
