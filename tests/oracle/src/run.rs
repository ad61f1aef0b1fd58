//! Runs a program through the engine over any source, and holds every step against the obvious answer.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::ControlFlow;

use landfall_ivm::{
    BuildError, Change as Pushed, Choice, LiveQuery, Node as RootNode, Output, Pipeline, Progress,
    Reader, RowDelta, Source, SourceChange, SourceError, Steps, View, ViewDelta, Walk,
};
use landfall_zql::ast::Ast;
use landfall_zql::{Row, Schema, TableId};

use crate::brute::State;
use crate::engine::{Places, Shape};
use crate::program::{Data, Program, Record, apply};
use crate::random::Random;
use crate::tree::Node;

/// The obvious answers of a program: at first, and after each transaction.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The views.
    pub views: Vec<Vec<Node>>,
    /// The rows of the tables.
    pub data: Vec<Data>,
}

impl Expected {
    /// Evaluates the query in every state of the program.
    pub fn new(program: &Program) -> Expected {
        let mut data = program.rows.clone();
        let mut expected = Expected {
            views: Vec::new(),
            data: Vec::new(),
        };
        for step in 0..=program.transactions.len() {
            if step > 0 {
                for change in &program.transactions[step - 1] {
                    apply(&program.tables, &mut data, change);
                }
            }
            let state = State {
                tables: &program.tables,
                data: &data,
            };
            expected.views.push(state.view(&program.query));
            expected.data.push(data.clone());
        }
        expected
    }
}

fn name(table: usize, row: &Record) -> String {
    // A negative zero is a zero.
    format!("{table} {row:?}").replace("Number(-0.0)", "Number(0.0)")
}

/// How a run goes about it; the answers never depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// Steps per slice of hydrations and changes; 0 is no end of them.
    pub slice: usize,
    /// Decides how each pipeline finds its rows; 0 leaves it to the hints of the query.
    pub plans: u64,
}

impl Manner {
    /// One that follows from a seed.
    pub fn random(random: &mut Random) -> Manner {
        Manner {
            slice: *random.pick(&[0, 0, 1, 1, 2, 3, 5, 20]),
            plans: if random.chance(20) {
                0
            } else {
                random.number()
            },
        }
    }

    /// Whether a costly check is done in this state: each is in a third of them.
    pub fn chooses(self, step: usize, check: u64) -> bool {
        (self.plans >> 7)
            .wrapping_add(step as u64 + check)
            .is_multiple_of(3)
    }

    fn steps(self) -> Steps {
        match self.slice {
            0 => Steps::unlimited(),
            slice => Steps::new(slice),
        }
    }

    /// Builds a pipeline in one of the ways.
    fn plan(
        self,
        number: u64,
        ast: &Ast,
        schema: &Schema,
        source: &dyn Source,
    ) -> Result<Pipeline, BuildError> {
        let random = &mut Random::new(self.plans.wrapping_add(number));
        let choice = match random.below(6) {
            _ if self.plans == 0 => Choice::Hinted,
            0 => Choice::Hinted,
            1 => Choice::Scan,
            2 => Choice::Driven,
            3 => Choice::Estimated(source),
            _ => Choice::Seeded(random.number()),
        };
        Pipeline::plan(ast, schema, choice)
    }
}

/// What was not as it should be.
#[derive(Clone, Debug)]
pub struct Failure {
    /// In which state: 0 is at first, then one per transaction.
    pub step: usize,
    /// What.
    pub what: String,
}

/// Gives the failure if two things differ.
pub fn same<T: PartialEq + Debug>(
    step: usize,
    about: &str,
    got: &T,
    wanted: &T,
) -> Result<(), Failure> {
    if got == wanted {
        return Ok(());
    }
    Err(Failure {
        step,
        what: format!("{about}\n  got    {got:?}\n  wanted {wanted:?}"),
    })
}

/// A query that is kept current, watched from all sides.
pub struct Watched<'p> {
    program: &'p Program,
    expected: &'p Expected,
    ast: Ast,
    schema: Schema,
    places: Places,
    shape: Shape,
    live: LiveQuery,
    /// What the deltas have made of the first view.
    shown: Vec<Node>,
    pipeline: Pipeline,
    watch: Watch,
    manner: Manner,
    step: usize,
}

impl<'p> Watched<'p> {
    /// Builds the query in the names of the source; it shows nothing yet.
    ///
    /// # Errors
    /// The query cannot be built.
    pub fn build(
        program: &'p Program,
        expected: &'p Expected,
        ast: Ast,
        source: &dyn Source,
        places: Places,
        manner: Manner,
    ) -> Result<Watched<'p>, Failure> {
        let schema = source.schema();
        let plan = |number| {
            let built = manner.plan(number, &ast, schema, source);
            built.map_err(|error| Failure {
                step: 0,
                what: format!("build: {error}"),
            })
        };
        let live = LiveQuery::new(plan(0)?);
        let pipeline = plan(1)?;
        let shape = Shape::new(&program.tables, &program.query);
        let watch = Watch {
            view: View::new(&pipeline),
            counts: BTreeMap::new(),
            places: places.clone(),
            shape: shape.clone(),
            excess: None,
        };
        Ok(Watched {
            program,
            expected,
            ast,
            schema: schema.clone(),
            places,
            shape,
            live,
            shown: Vec::new(),
            pipeline,
            watch,
            manner,
            step: 0,
        })
    }

    /// The pipelines, for their indexes.
    pub fn pipelines(&self) -> [&Pipeline; 2] {
        [self.live.pipeline(), &self.pipeline]
    }

    /// Reads the first result.
    ///
    /// # Errors
    /// It is not the obvious one.
    pub fn hydrate(&mut self, source: &dyn Source) -> Result<(), Failure> {
        let steps = || self.manner.steps();
        while self.live.hydrate(source, &steps()).map_err(read(0))? == Progress::More {}
        self.watch
            .hydrate(&self.pipeline, source, self.manner)
            .map_err(read(0))?;
        self.shown = self.places.tree(&self.shape, self.live.entries());
        self.check("hydration")
    }

    /// Pushes one change; the source shows the state before it.
    ///
    /// # Errors
    /// The engine fails, or shows too much for a moment.
    pub fn push(&mut self, source: &dyn Source, change: &SourceChange) -> Result<(), Failure> {
        let step = self.step + 1;
        self.live.begin(change);
        let steps = || self.manner.steps();
        while self.live.advance(source, &steps()).map_err(read(step))? == Progress::More {}
        self.pipeline.begin(change);
        let mut advance = || {
            self.pipeline
                .advance(source, &self.manner.steps(), &mut self.watch)
                .map_err(read(step))
        };
        while advance()? == Progress::More {}
        match self.watch.excess.take() {
            Some(what) => Err(Failure { step, what }),
            None => Ok(()),
        }
    }

    /// Ends a transaction; the source shows the state after it.
    ///
    /// # Errors
    /// View, deltas, needed rows or a fresh hydration are not the obvious ones.
    pub fn commit(&mut self, source: &dyn Source) -> Result<(), Failure> {
        self.step += 1;
        for delta in self.live.take_deltas() {
            self.apply(&delta)?;
        }
        let mut wanted = self.expected.views[self.step].clone();
        forget_counts(&mut wanted);
        forget_counts(&mut self.shown);
        same(self.step, "deltas", &self.shown, &wanted)?;
        self.check("view")?;
        let is_last = self.step == self.program.transactions.len();
        if !is_last && !self.manner.chooses(self.step, 0) {
            return Ok(());
        }
        let number = 2 + self.step as u64;
        let fresh = self.manner.plan(number, &self.ast, &self.schema, source);
        let fresh = fresh.map_err(|error| Failure {
            step: self.step,
            what: error.to_string(),
        })?;
        let mut again = Watch {
            view: View::new(&fresh),
            counts: BTreeMap::new(),
            places: self.places.clone(),
            shape: self.shape.clone(),
            excess: None,
        };
        again
            .hydrate(&fresh, source, self.manner)
            .map_err(read(self.step))?;
        let wanted = &self.expected.views[self.step];
        same(self.step, "fresh view", &again.tree(), wanted)?;
        same(self.step, "fresh rows", &again.counts, &self.needed(&fresh))
    }

    fn check(&self, about: &str) -> Result<(), Failure> {
        let wanted = &self.expected.views[self.step];
        let got = self.places.tree(&self.shape, self.live.entries());
        same(self.step, about, &got, wanted)?;
        same(self.step, "watched view", &self.watch.tree(), wanted)?;
        let wanted = self.needed(&self.pipeline);
        same(self.step, "rows", &self.watch.counts, &wanted)
    }

    /// How often each row is needed, by its debug form.
    fn needed(&self, pipeline: &Pipeline) -> BTreeMap<String, i64> {
        let state = State {
            tables: &self.program.tables,
            data: &self.expected.data[self.step],
        };
        let below = self.places.below(pipeline.relationships());
        let mut needed = BTreeMap::new();
        for (table, row) in state.needed(&self.program.query, &below) {
            *needed.entry(name(table, &row)).or_default() += 1;
        }
        needed
    }

    fn apply(&mut self, delta: &ViewDelta) -> Result<(), Failure> {
        let step = self.step;
        let fail = |what: String| Err(Failure { step, what });
        let (path, _) = match delta {
            ViewDelta::Insert { path, position, .. }
            | ViewDelta::Remove { path, position, .. }
            | ViewDelta::Replace { path, position, .. }
            | ViewDelta::Move {
                path,
                from: position,
                ..
            } => (path, position),
        };
        let mut list = &mut self.shown;
        let mut shape = &self.shape;
        for (position, index) in path {
            let Some(node) = list.get_mut(*position as usize) else {
                return fail(format!("{delta:?} leads nowhere"));
            };
            list = &mut node.lists[*index as usize];
            shape = &shape.lists[*index as usize];
        }
        let unpack = |row: &Row| self.places.unpack(shape.table, row);
        let bare = |entry| {
            let mut node = vec![self.places.node(shape, entry)];
            forget_counts(&mut node);
            node.remove(0)
        };
        let place = |position: &u32| *position as usize;
        match delta {
            ViewDelta::Insert {
                position, entry, ..
            } if place(position) <= list.len() => {
                list.insert(place(position), bare(entry));
            }
            ViewDelta::Remove {
                position, entry, ..
            } if place(position) < list.len() => {
                let mut removed = vec![list.remove(place(position))];
                forget_counts(&mut removed);
                same(step, "a removed subtree", &removed[0], &bare(entry))?;
            }
            ViewDelta::Replace {
                position, old, new, ..
            } if place(position) < list.len() => {
                let row = &mut list[place(position)].row;
                same(step, "a replaced row", row, &unpack(old))?;
                *row = unpack(new);
            }
            ViewDelta::Move {
                from, to, old, new, ..
            } if place(from) < list.len() && place(to) < list.len() => {
                let mut moved = list.remove(place(from));
                same(step, "a moved row", &moved.row, &unpack(old))?;
                moved.row = unpack(new);
                list.insert(place(to), moved);
            }
            _ => return fail(format!("{delta:?} names no place of {} rows", list.len())),
        }
        if shape.limit.is_some_and(|limit| list.len() > limit) {
            return fail(format!("{delta:?} goes beyond the limit"));
        }
        Ok(())
    }

    /// The program that is run.
    pub fn program(&self) -> &'p Program {
        self.program
    }
}

fn read(step: usize) -> impl Fn(SourceError) -> Failure {
    move |error| Failure {
        step,
        what: format!("read: {error}"),
    }
}

fn forget_counts(list: &mut [Node]) {
    for node in list {
        node.count = 1;
        node.lists.iter_mut().for_each(|list| forget_counts(list));
    }
}

/// An output that looks after every single change.
struct Watch {
    view: View,
    counts: BTreeMap<String, i64>,
    places: Places,
    shape: Shape,
    excess: Option<String>,
}

impl Watch {
    fn tree(&self) -> Vec<Node> {
        self.places.tree(&self.shape, self.view.entries())
    }

    fn hydrate(
        &mut self,
        pipeline: &Pipeline,
        source: &dyn Source,
        manner: Manner,
    ) -> Result<(), SourceError> {
        let mut walk = Walk::default();
        let mut add = |reader: Reader<'_>, node: &RootNode| {
            let mut tally = |table, delta: RowDelta<'_>| self.tally(table, delta);
            if reader.hydrate_rows(node, &mut walk, &mut tally)? == Progress::More {
                return Ok(ControlFlow::Break(Progress::More));
            }
            self.show(reader, Pushed::Add(node.clone()))?;
            Ok(ControlFlow::Continue(()))
        };
        while pipeline.hydrate(source, &manner.steps(), &mut add)? == Progress::More {}
        Ok(())
    }

    fn tally(&mut self, table: TableId, delta: RowDelta<'_>) {
        match delta {
            RowDelta::Enter(row) => self.count(table, row, 1),
            RowDelta::Leave(row) => self.count(table, row, -1),
            RowDelta::Edit { old, new } => {
                self.count(table, old, -1);
                self.count(table, new, 1);
            }
        }
    }

    fn show(&mut self, reader: Reader<'_>, change: Pushed) -> Result<(), SourceError> {
        self.view.push(reader, change)?;
        self.view.take_deltas();
        if self.excess.is_none() {
            self.excess = self.shape.excess(self.view.entries());
        }
        Ok(())
    }

    fn count(&mut self, table: TableId, row: &Row, by: i64) {
        let table = self.places.table(table);
        let key = name(table, &self.places.unpack(table, row));
        let total = self.counts.entry(key.clone()).or_default();
        *total += by;
        if *total == 0 {
            self.counts.remove(&key);
        }
    }
}

impl Output for Watch {
    fn push(&mut self, reader: Reader<'_>, change: Pushed) -> Result<(), SourceError> {
        reader.rows_of_change(&change, &mut |table, delta| self.tally(table, delta))?;
        self.show(reader, change)
    }
}
