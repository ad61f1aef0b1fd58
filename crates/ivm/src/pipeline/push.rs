//! A change on its way through a pipeline: what is still to be done, as a stack of tasks. So it can be left between
//! any two of them, and gone on with later.

use std::ops::ControlFlow;

use landfall_zql::{Key, Row, TableId};

use crate::change::{Change, Output};
use crate::error::SourceError;
use crate::operators::join::Join;
use crate::pipeline::needs::{Below, Needs};
use crate::pipeline::{Downstream, JoinId, OpId, Operator, Pipeline, Reader};
use crate::source::{Basis, Sink, Source, SourceChange, same_in};
use crate::steps::{Progress, Steps};

/// What is left to do; the top of the stack comes first.
#[derive(Debug)]
pub(crate) enum Task {
    /// The indexes are made to look parents up by when this table changes.
    Prepare(TableId),
    /// Those of these partitions of a take are forgotten that no parent has any more.
    Forget { take: OpId, keys: Vec<Key> },
    /// The connections of a table see a change, from this operator on.
    Connect {
        table: TableId,
        from: OpId,
        old: Option<Row>,
        new: Option<Row>,
    },
    /// A child's change is given to its parents.
    Parents { join: OpId, parents: Parents },
    /// The row that made another one leave a take is announced; or what follows in a junction take.
    Announce { take: OpId },
    /// A take goes on looking for the row that a change of its input brings into its window or makes the last one.
    Look {
        take: OpId,
        change: Change,
        from: Place,
    },
}

/// How far a take has looked in one direction, and in the other one in vain if that comes first.
#[derive(Debug)]
pub(crate) struct Place {
    pub next: Row,
    pub basis: Basis,
    pub reverse: bool,
}

/// Parents that a child's change has not reached yet, some at a time.
#[derive(Debug)]
pub(crate) struct Parents {
    pub rows: std::vec::IntoIter<Row>,
    /// Whether there may be more behind these.
    pub more: bool,
}

impl Pipeline {
    /// Begins to push one change; [`Pipeline::advance`] carries it out.
    pub fn begin(&self, change: &SourceChange) {
        let (old, new) = (change.old.as_ref(), change.new.as_ref());
        let mut tasks = self.tasks.borrow_mut();
        self.connect(old, new, change.table, &mut tasks);
        for (take, operator) in self.operators.iter().enumerate() {
            if let Some((_, mut partitions)) = operator.partitions()
                && let Some(keys) = partitions.crowd()
            {
                tasks.push(Task::Forget { take, keys });
            }
        }
        if self.missing_lookup(change.table).is_some() {
            tasks.push(Task::Prepare(change.table));
        }
    }

    /// An index to be made before a change of this table is pushed.
    fn missing_lookup(&self, table: TableId) -> Option<&Needs> {
        let sees = |below: Below| {
            let connection = self.connection_from(below.start, table);
            connection.is_some_and(|(connection, _)| connection < below.end)
        };
        let mut lookups = self.lookups.iter();
        lookups.find_map(|lookup| lookup.missing(sees))
    }

    /// The join whose children a level's operator gives.
    fn join_above(&self, mut operator: OpId) -> Option<&Join> {
        loop {
            match self.downstream[operator] {
                Downstream::Output => return None,
                Downstream::Input(next) => operator = next,
                Downstream::Child(join) => return Some(self.join(JoinId(join))),
            }
        }
    }

    fn connect(&self, old: Option<&Row>, new: Option<&Row>, table: TableId, tasks: &mut Vec<Task>) {
        let task = |old: Option<&Row>, new: Option<&Row>| Task::Connect {
            table,
            from: 0,
            old: old.cloned(),
            new: new.cloned(),
        };
        if let (Some(before), Some(after)) = (old, new)
            && self
                .connections(table)
                .all(|(_, connection)| same_in(&connection.split, before, after))
        {
            tasks.push(task(old, new));
            return;
        }
        // An edit of a column that joins or partitions by is a removal and then an addition, each for all connections.
        if new.is_some() {
            tasks.push(task(None, new));
        }
        if old.is_some() {
            tasks.push(task(old, None));
        }
    }

    /// Goes on with the change that was begun; the source still shows the state before it. At least one step is done.
    ///
    /// # Errors
    /// Rows could not be read.
    pub fn advance(
        &self,
        source: &dyn Source,
        steps: &Steps,
        output: &mut dyn Output,
    ) -> Result<Progress, SourceError> {
        let reader = Reader::new(self, source, steps);
        let mut tasks = self.tasks.take();
        let done = reader.run(&mut tasks, output);
        let is_finished = tasks.is_empty();
        self.tasks.replace(tasks);
        if is_finished || done.is_err() {
            for operator in &self.operators {
                if let Operator::Connection(connection) = operator {
                    connection.overlay.take();
                }
            }
        }
        done
    }
}

impl Reader<'_> {
    fn run(self, tasks: &mut Vec<Task>, output: &mut dyn Output) -> Result<Progress, SourceError> {
        while let Some(task) = tasks.pop() {
            self.carry_out(task, tasks, output)?;
            self.steps.spend();
            if self.steps.are_spent() && !tasks.is_empty() {
                return Ok(Progress::More);
            }
        }
        Ok(Progress::Done)
    }

    fn carry_out(
        self,
        task: Task,
        tasks: &mut Vec<Task>,
        output: &mut dyn Output,
    ) -> Result<(), SourceError> {
        let (from, change) = match task {
            Task::Prepare(table) => {
                if let Some(need) = self.pipeline().missing_lookup(table) {
                    need.prepare(self)?;
                    tasks.push(Task::Prepare(table));
                }
                return Ok(());
            }
            Task::Forget { take, mut keys } => {
                if self.forget_one(take, &mut keys)? == Progress::More {
                    tasks.push(Task::Forget { take, keys });
                }
                return Ok(());
            }
            Task::Connect {
                table,
                from,
                old,
                new,
            } => {
                let Some((id, connection)) = self.pipeline().connection_from(from, table) else {
                    return Ok(());
                };
                let change = connection.see(old.as_ref(), new.as_ref());
                let from = id + 1;
                tasks.push(Task::Connect {
                    table,
                    from,
                    old,
                    new,
                });
                (id, change)
            }
            Task::Parents { join, parents } => {
                let operator = self.pipeline().join(JoinId(join));
                (join, operator.next_parent(self, join, parents, tasks)?)
            }
            Task::Announce { take } => match &self.pipeline().operators[take] {
                Operator::Take(operator) => (take, operator.announce()),
                Operator::JunctionTake(operator) => {
                    let change = operator.announce();
                    if change.is_some() {
                        tasks.push(Task::Announce { take });
                    }
                    (take, change)
                }
                _ => unreachable!("only a take announces"),
            },
            Task::Look { take, change, from } => match &self.pipeline().operators[take] {
                Operator::Take(operator) => {
                    let change = operator.look_on(self, take, change, from, tasks)?;
                    (take, change)
                }
                _ => unreachable!("only a take looks"),
            },
        };
        match change {
            Some(change) => self.send(from, change, tasks, output),
            None => Ok(()),
        }
    }

    /// Looks for a parent of one partition of a take.
    fn forget_one(self, take: OpId, keys: &mut Vec<Key>) -> Result<Progress, SourceError> {
        let Some(join) = self.pipeline().join_above(take) else {
            return Ok(Progress::Done);
        };
        let lookups = self.pipeline().lookups.iter();
        let above = lookups.filter_map(|lookup| Some((lookup.is_above(take)?, lookup.need())));
        if let Some((_, need)) = above.max_by_key(|(start, _)| *start)
            && !need.are_met()
        {
            need.prepare(self)?;
            return Ok(Progress::More);
        }
        let Some(key) = keys.pop() else {
            return Ok(Progress::Done);
        };
        let operator = &self.pipeline().operators[take];
        let Some((columns, _)) = operator.partitions() else {
            unreachable!("only a take has partitions");
        };
        if !join.has_parent(self, columns, &key.0)?
            && let Some((_, mut partitions)) = operator.partitions()
        {
            partitions.forget(&key);
        }
        Ok(Progress::More)
    }

    /// Passes an operator's change on, to whoever is downstream of it and so on.
    fn send(
        self,
        mut from: OpId,
        mut change: Change,
        tasks: &mut Vec<Task>,
        output: &mut dyn Output,
    ) -> Result<(), SourceError> {
        loop {
            let (to, is_child) = match self.pipeline().downstream[from] {
                Downstream::Output => return output.push(self, change),
                Downstream::Input(to) => (to, false),
                Downstream::Child(to) => (to, true),
            };
            let passed = match &self.pipeline().operators[to] {
                Operator::Connection(_) => unreachable!("nothing is upstream of a connection"),
                Operator::Skip(skip) => skip.push(change),
                Operator::Where(condition) => condition.push(self, change)?,
                Operator::Take(take) => take.push(self, to, change, tasks)?,
                Operator::Join(join) if is_child => {
                    return join.push_child(self, to, change, tasks);
                }
                Operator::JunctionTake(take) => take.push(self, to, change, tasks)?,
                Operator::Drive(drive) => {
                    drive.see(&change);
                    Some(change)
                }
                Operator::Join(_) => Some(change),
            };
            let Some(passed) = passed else { return Ok(()) };
            (from, change) = (to, passed);
        }
    }
}

impl Parents {
    /// Collects rows as a fetch gives them, until there are enough for one time.
    pub fn collect(
        fetch: impl FnOnce(&mut Sink<'_>) -> Result<(), SourceError>,
    ) -> Result<Parents, SourceError> {
        const AT_A_TIME: usize = 64;
        let mut rows = Vec::new();
        fetch(&mut |row| {
            rows.push(row.clone());
            if rows.len() < AT_A_TIME {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        let more = rows.len() == AT_A_TIME;
        let rows = rows.into_iter();
        Ok(Parents { rows, more })
    }
}
