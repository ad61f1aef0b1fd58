//! How a pipeline reads, level by level, as data: what was chosen, what was expected, and after a run what was read.

use std::fmt::{self, Write as _};

use landfall_zql::ast::Direction;
use landfall_zql::{Schema, ValueRef, write_json};

use crate::change::{Relationship, Role};
use crate::operators::condition::Term;
use crate::operators::drive::{Drive, Driver};
use crate::pipeline::{JoinId, OpId, Operator, Pipeline};

/// One level of a query: a use of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelPlan {
    /// The table.
    pub table: String,
    /// The name of the relationship; `None` for the root.
    pub alias: Option<String>,
    /// What its rows are for.
    pub role: Role,
    /// Columns that a parent row gives.
    pub joined_by: Vec<String>,
    /// Columns that the condition fixes.
    pub pinned: Vec<String>,
    /// The order, which ends with the primary key.
    pub order: Vec<(String, Direction)>,
    /// Whether the rows before some place are left out.
    pub has_start: bool,
    /// The largest number of rows; per parent below the root.
    pub limit: Option<usize>,
    /// How its rows are found when they are asked for: all of them, or those of one parent.
    pub access: Access,
    /// How an `EXISTS` is evaluated; `None` for other levels.
    pub evaluation: Option<Evaluation>,
    /// What the planner expected; `None` if it had no choice to make, or nothing to go by.
    pub expected: Option<Expected>,
    /// What was read when the query was run; `None` if it was not.
    pub read: Option<Read>,
    /// The subqueries of the condition, in document order.
    pub conditions: Vec<LevelPlan>,
    /// The relationships of the result.
    pub related: Vec<LevelPlan>,
    pub(crate) connection: OpId,
    pub(crate) join: Option<JoinId>,
}

/// How the rows of a level are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// One after another in order, each tested.
    Scan,
    /// By so many look-ups of values.
    Lookups {
        /// The columns.
        columns: Vec<String>,
        /// How many values, or combinations of values.
        count: usize,
    },
    /// By the keys that the rows of a subquery have.
    Children {
        /// Its alias.
        alias: String,
    },
    /// By all of these.
    Any(Vec<Access>),
}

/// How an `EXISTS` is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evaluation {
    /// For each parent row: whether it has a child.
    Semi,
    /// From the children: their parents are looked up.
    Flipped,
}

/// What the planner expected of a level. Costs are in rows that are passed on the way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// Rows of the table.
    pub table_rows: f64,
    /// Rows that meet the condition.
    pub rows: f64,
    /// To read the level from end to end, or until a limit is reached.
    pub scan_cost: f64,
    /// To find the rows by the best part of the condition; `None` if no part of it can.
    pub driven_cost: Option<f64>,
}

/// What was read of a level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// How often rows were asked for.
    pub fetches: u64,
    /// Rows that the source gave, whether they met the condition or not.
    pub rows: u64,
    /// Rows that came out of the level; of an `EXISTS` only when the run asked for them.
    pub given: u64,
    /// The ways in which the source looked for them.
    pub paths: Vec<AccessPath>,
}

/// How a source serves a kind of fetch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccessPath {
    /// The columns of the index that would serve it best, constrained ones first.
    pub wanted: Vec<String>,
    /// The index that it uses; `None` if it uses none.
    pub index: Option<String>,
    /// Whether it passes over rows that the constraint leaves out.
    pub scans: bool,
    /// Whether it has to put the rows in order first.
    pub sorts: bool,
}

impl Pipeline {
    /// How this pipeline reads. `schema` is the one that it was built with.
    pub fn explain(&self, schema: &Schema) -> LevelPlan {
        self.level(schema, self.root, &self.relationships, Role::Result)
    }

    fn level(
        &self,
        schema: &Schema,
        output: OpId,
        relationships: &[Relationship],
        role: Role,
    ) -> LevelPlan {
        let mut operator = output;
        let (mut limit, mut has_start, mut far) = (None, false, None);
        let (mut drive, mut term) = (None, None);
        while let Some(input) = self.operators[operator].input() {
            match &self.operators[operator] {
                Operator::Skip(_) => has_start = true,
                Operator::Drive(found) => drive = Some(found),
                Operator::Where(condition) => term = Some(&condition.term),
                Operator::Take(take) => limit = Some(take.limit()),
                Operator::JunctionTake(take) => far = Some(take),
                Operator::Join(_) | Operator::Connection(_) => {}
            }
            operator = input;
        }
        let Operator::Connection(connection) = &self.operators[operator] else {
            unreachable!("a level begins with its connection")
        };
        let table = &schema[connection.table];
        let names = |columns: &[usize]| -> Vec<String> {
            let name = |column: &usize| table.columns[*column].name.clone();
            columns.iter().map(name).collect()
        };
        let is_unpinned = connection.unpinned.as_ref().is_some_and(Vec::is_empty);
        let pinned = connection.pinned.iter().map(|(column, _)| *column);
        let pinned: Vec<usize> = pinned.filter(|_| !is_unpinned).collect();
        let order = connection.order.0.iter();
        let driver = drive.map(|drive: &Drive| &drive.driver);
        let mut plan = LevelPlan {
            table: table.name.clone(),
            alias: None,
            role,
            joined_by: Vec::new(),
            pinned: names(&pinned),
            order: order
                .map(|(column, direction)| (table.columns[*column].name.clone(), *direction))
                .collect(),
            has_start,
            limit,
            access: driver.map_or(Access::Scan, |driver| access(driver, &names, relationships)),
            evaluation: None,
            expected: self.expected(operator),
            read: None,
            conditions: Vec::new(),
            related: Vec::new(),
            connection: operator,
            join: None,
        };
        for relationship in relationships {
            let join = self.join(relationship.join);
            let mut child = self.level(
                schema,
                join.child,
                &relationship.relationships,
                relationship.role,
            );
            let child_table = &schema[relationship.table];
            child.alias = Some(relationship.name.clone());
            child.join = Some(relationship.join);
            let column = |column: &usize| child_table.columns[*column].name.clone();
            if let Some(take) = far.filter(|take| take.far == relationship.join) {
                child.limit = Some(take.limit);
            }
            child.joined_by = join.child_columns.iter().map(column).collect();
            if !term.is_some_and(|term: &Term| term.decides_by(relationship.join)) {
                plan.related.push(child);
                continue;
            }
            let flipped = driver.is_some_and(|driver| driver.reads(relationship.join));
            child.evaluation = Some(if flipped {
                Evaluation::Flipped
            } else {
                Evaluation::Semi
            });
            if !flipped {
                // What it would be driven by does not matter when it is asked for one parent at a time.
                child.access = Access::Scan;
            }
            plan.conditions.push(child);
        }
        plan
    }

    fn expected(&self, connection: OpId) -> Option<Expected> {
        let (_, estimate) = self.estimates.iter().find(|(at, _)| *at == connection)?;
        Some(Expected {
            table_rows: estimate.table_rows,
            rows: estimate.rows,
            scan_cost: estimate.scan,
            driven_cost: estimate.driven,
        })
    }
}

fn access(
    driver: &Driver,
    names: &dyn Fn(&[usize]) -> Vec<String>,
    relationships: &[Relationship],
) -> Access {
    match driver {
        Driver::Lookups(lookups) => {
            let mut columns: Vec<usize> = lookups
                .iter()
                .flatten()
                .map(|(column, _)| *column)
                .collect();
            landfall_zql::sort::sort(&mut columns);
            columns.dedup();
            Access::Lookups {
                columns: names(&columns),
                count: lookups.len(),
            }
        }
        Driver::Children(join) => {
            let mut named = relationships.iter().filter(|other| other.join == *join);
            Access::Children {
                alias: named.next().map_or_else(String::new, |r| r.name.clone()),
            }
        }
        Driver::Any(drivers) => {
            let access = |driver: &Driver| access(driver, names, relationships);
            Access::Any(drivers.iter().map(access).collect())
        }
    }
}

impl Driver {
    fn reads(&self, join: JoinId) -> bool {
        match self {
            Driver::Lookups(_) => false,
            Driver::Children(other) => *other == join,
            Driver::Any(drivers) => drivers.iter().any(|driver| driver.reads(join)),
        }
    }
}

impl LevelPlan {
    /// This level and all below it, parents first.
    pub fn levels(&self) -> Vec<&LevelPlan> {
        let below = self.conditions.iter().chain(&self.related);
        std::iter::once(self)
            .chain(below.flat_map(LevelPlan::levels))
            .collect()
    }

    /// The plan as JSON.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out);
        out
    }

    fn write_json(&self, out: &mut String) {
        let mut object = Object::open(out);
        object.text("table", &self.table);
        if let Some(alias) = &self.alias {
            object.text("alias", alias);
        }
        object.text("role", self.role.name());
        object.texts("joinedBy", &self.joined_by);
        object.texts("pinned", &self.pinned);
        let order: Vec<String> = self.order.iter().map(shown_order).collect();
        object.texts("order", &order);
        if self.has_start {
            object.raw("start", "true");
        }
        if let Some(limit) = self.limit {
            object.number("limit", limit as f64);
        }
        if let Some(evaluation) = self.evaluation {
            object.text("evaluation", evaluation.name());
        }
        object.text("access", &self.access.to_string());
        if let Some(expected) = &self.expected {
            let mut inner = Object::open(object.key("expected"));
            inner.number("tableRows", expected.table_rows.round());
            inner.number("rows", expected.rows.round());
            inner.number("scanCost", expected.scan_cost.round());
            if let Some(cost) = expected.driven_cost {
                inner.number("drivenCost", cost.round());
            }
            inner.close();
        }
        if let Some(read) = &self.read {
            read.write_json(object.key("read"));
        }
        for (name, levels) in [("conditions", &self.conditions), ("related", &self.related)] {
            if !levels.is_empty() {
                list(object.key(name), levels, LevelPlan::write_json);
            }
        }
        object.close();
    }

    fn write_text(&self, depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:1$}", "", depth * 2)?;
        match (&self.alias, self.evaluation) {
            (None, _) => write!(f, "{}", self.table)?,
            (Some(alias), Some(evaluation)) => {
                write!(f, "exists {alias} ({}): {}", evaluation.name(), self.table)?;
            }
            (Some(alias), None) => write!(f, "{alias}: {}", self.table)?,
        }
        let order: Vec<String> = self.order.iter().map(shown_order).collect();
        let mut constrained = self.joined_by.clone();
        constrained.extend(self.pinned.iter().cloned());
        write!(f, ", {}", self.access)?;
        if !constrained.is_empty() {
            write!(f, ", {} given", constrained.join(", "))?;
        }
        if self.role != Role::Exists && self.role != Role::Permission {
            write!(f, ", by {}", order.join(", "))?;
        }
        if let Some(limit) = self.limit {
            write!(f, ", limit {limit}")?;
        }
        f.write_char('\n')?;
        if let Some(expected) = &self.expected {
            write!(
                f,
                "{:w$}expected {:.0} of {:.0} rows, cost of a scan {:.0}",
                "",
                expected.rows,
                expected.table_rows,
                expected.scan_cost,
                w = depth * 2 + 4
            )?;
            if let Some(cost) = expected.driven_cost {
                write!(f, ", driven {cost:.0}")?;
            }
            f.write_char('\n')?;
        }
        if let Some(read) = &self.read {
            writeln!(
                f,
                "{:w$}read {} rows in {} fetches, gave {}",
                "",
                read.rows,
                read.fetches,
                read.given,
                w = depth * 2 + 4
            )?;
            for path in &read.paths {
                writeln!(f, "{:w$}{path}", "", w = depth * 2 + 4)?;
            }
        }
        for level in self.conditions.iter().chain(&self.related) {
            level.write_text(depth + 1, f)?;
        }
        Ok(())
    }
}

impl fmt::Display for LevelPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_text(0, f)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Access::Scan => f.write_str("scan"),
            Access::Lookups { columns, count } => {
                write!(f, "{count} look-ups by {}", columns.join(", "))
            }
            Access::Children { alias } => write!(f, "keys of {alias}"),
            Access::Any(all) => {
                let all: Vec<String> = all.iter().map(ToString::to_string).collect();
                write!(f, "any of ({})", all.join("; "))
            }
        }
    }
}

impl fmt::Display for AccessPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.scans { "scans" } else { "searches" };
        match &self.index {
            Some(index) => write!(f, "{verb} index {index}")?,
            None => write!(f, "{verb} the table")?,
        }
        if self.sorts {
            f.write_str(", sorts")?;
        }
        if self.is_poor() {
            write!(f, "; an index on ({}) would serve", self.wanted.join(", "))?;
        }
        Ok(())
    }
}

impl AccessPath {
    /// Whether an index would spare the source passing over or sorting rows.
    pub fn is_poor(&self) -> bool {
        self.scans || self.sorts
    }
}

impl Read {
    fn write_json(&self, out: &mut String) {
        let mut object = Object::open(out);
        object.number("fetches", self.fetches as f64);
        object.number("rows", self.rows as f64);
        object.number("given", self.given as f64);
        if !self.paths.is_empty() {
            list(object.key("paths"), &self.paths, |path, out| {
                let mut object = Object::open(out);
                object.texts("wanted", &path.wanted);
                if let Some(index) = &path.index {
                    object.text("index", index);
                }
                object.raw("scans", if path.scans { "true" } else { "false" });
                object.raw("sorts", if path.sorts { "true" } else { "false" });
                object.close();
            });
        }
        object.close();
    }
}

impl Evaluation {
    fn name(self) -> &'static str {
        match self {
            Evaluation::Semi => "semi",
            Evaluation::Flipped => "flipped",
        }
    }
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Result => "result",
            Role::Hidden => "junction",
            Role::Exists => "exists",
            Role::Permission => "permission",
        }
    }
}

fn shown_order((column, direction): &(String, Direction)) -> String {
    match direction {
        Direction::Asc => column.clone(),
        Direction::Desc => format!("{column} desc"),
    }
}

/// A JSON object being written.
struct Object<'a> {
    out: &'a mut String,
    is_empty: bool,
}

impl<'a> Object<'a> {
    fn open(out: &'a mut String) -> Object<'a> {
        out.push('{');
        Object {
            out,
            is_empty: true,
        }
    }

    /// Writes a key; its value is to follow.
    fn key(&mut self, key: &str) -> &mut String {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.out.push(',');
        }
        write_json(ValueRef::String(key), self.out);
        self.out.push(':');
        self.out
    }

    fn raw(&mut self, key: &str, json: &str) {
        self.key(key).push_str(json);
    }

    fn number(&mut self, key: &str, value: f64) {
        write_json(ValueRef::Number(value), self.key(key));
    }

    fn text(&mut self, key: &str, value: &str) {
        write_json(ValueRef::String(value), self.key(key));
    }

    fn texts(&mut self, key: &str, values: &[String]) {
        if !values.is_empty() {
            list(self.key(key), values, |value, out| {
                write_json(ValueRef::String(value), out);
            });
        }
    }

    fn close(self) {
        self.out.push('}');
    }
}

fn list<T>(out: &mut String, items: &[T], mut write: impl FnMut(&T, &mut String)) {
    out.push('[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push(']');
}
