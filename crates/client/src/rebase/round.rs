//! A round of the rebase: a poke, and the pending mutations replayed on the server state that it leads to.
//!
//! Small rounds are made on a branch over the visible rows, large ones on a copy of them, in slices. When a round is
//! over, and how it is swapped in, is the parent module's.

use crate::connection::pokes::Poke;
use crate::effect::TxId;
use crate::mutations::{Mutation, MutationKey, Mutations};
use crate::rebase::{RowKey, VisibleRows};
use landfall_ivm::{Branch, Layer, Progress, Steps};
use landfall_protocol::CrudOp;
use landfall_store::RowChange;
use landfall_zql::Row;
use landfall_zql::sorted_map::SortedSet;
use std::ops::Bound;

#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) tx: TxId,
    pub(crate) key: MutationKey,
    pub(crate) ops: Vec<CrudOp>,
    pub(crate) deadline: f64,
}

/// A changed row of a copy counts as so many steps.
const CHANGE_STEPS: usize = 4;

#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) poke: Option<Poke>,
    /// For a round that changes so much that it is made on a copy of the rows, in slices.
    pub(crate) staging: Option<Staging>,
    /// `None` until something is replayed or waited for: most pokes meet no pending mutation.
    pub(crate) trial: Option<Trial>,
    pub(crate) replayed: SortedSet<MutationKey>,
    /// Revision of the queue, and the place before which everything is replayed as long as it holds.
    pub(crate) cursor: (u64, usize),
    pub(crate) running: Option<Replay>,
    /// New first runs wait: the list is exhausted and the swap is near.
    pub(crate) gate: bool,
}

/// How far the copy is: first it becomes the new server state, then it takes what was replayed on it.
#[derive(Debug, Default)]
pub(crate) struct Staging {
    /// The copy was made, and emptied if the poke voids everything.
    pub(crate) has_begun: bool,
    /// Keys of the shadow up to this one have the server's value in the copy.
    pub(crate) restored: Option<RowKey>,
    pub(crate) is_restored: bool,
    /// How many changes of the poke it has taken.
    pub(crate) taken: usize,
    /// What the shadow becomes.
    pub(crate) shadow: Layer,
    /// The shadow has the keys of the trial up to this one of this layer.
    noted: (usize, Option<RowKey>),
    /// The copy has what the trial wrote at the keys up to this one.
    written: Option<RowKey>,
}

impl Staging {
    /// What was replayed goes into the copy: first the shadow takes the server's rows where something was written.
    fn take_writes(
        &mut self,
        branch: &Branch,
        rows: &mut impl VisibleRows,
        allowed: &Steps,
    ) -> Progress {
        while let Some(layer) = branch.layers().get(self.noted.0) {
            // It may write again where the copy has been written.
            self.written = None;
            for (key, _) in layer.range::<RowKey, _>(behind(self.noted.1.as_ref())) {
                let server = || rows.staged_row(key);
                self.shadow.entry(key.clone()).or_insert_with(server);
                allowed.spend_many(CHANGE_STEPS);
                if allowed.are_spent() {
                    self.noted.1 = Some(key.clone());
                    return Progress::More;
                }
            }
            self.noted = (self.noted.0 + 1, None);
        }
        for (key, _) in self
            .shadow
            .range::<RowKey, _>(behind(self.written.as_ref()))
        {
            if let Some(row) = branch.get(key.0, &key.1) {
                rows.change_stage(key.clone(), row.cloned());
                allowed.spend_many(CHANGE_STEPS);
                if allowed.are_spent() {
                    self.written = Some(key.clone());
                    return Progress::More;
                }
            }
        }
        (self.noted, self.written) = ((0, None), None);
        Progress::Done
    }
}

/// The keys behind one, or all.
fn behind(key: Option<&RowKey>) -> (Bound<&RowKey>, Bound<&RowKey>) {
    (
        key.map_or(Bound::Unbounded, Bound::Excluded),
        Bound::Unbounded,
    )
}

/// The new server state with the pending mutations on top, as far as they are replayed; over the visible rows, or over
/// the copy.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) branch: Branch,
    /// Has every key whose visible value may differ from the branch's; the rows here do not count.
    pub(crate) touched: Layer,
}

/// The server's rows wherever they may differ from the visible ones, once a poke is taken.
pub(crate) fn new_server_rows(
    shadow: &Layer,
    rows: &impl VisibleRows,
    poke: Option<&Poke>,
) -> Layer {
    let mut server = shadow.clone();
    if let Some(poke) = poke {
        if poke.cleared {
            server.values_mut().for_each(|row| *row = None);
            server.extend(rows.keys().into_iter().map(|key| (key, None)));
        }
        server.extend(layer_of(&poke.rows, rows));
    }
    server
}

/// What changes come to.
pub(crate) fn layer_of(changes: &[RowChange], rows: &impl VisibleRows) -> Layer {
    let changes = changes.iter().map(|change| match change {
        RowChange::Put { table, row } => ((*table, rows.key_of(*table, row)), Some(row.clone())),
        RowChange::Del { table, key } => ((*table, key.clone()), None),
    });
    // One by one: collecting would bring a sort of its own into the module for browsers.
    let mut layer = Layer::new();
    layer.extend(changes);
    layer
}

/// What of a layer is not visible already.
pub(crate) fn differences(rows: &impl VisibleRows, layer: &Layer) -> Vec<(RowKey, Option<Row>)> {
    let differs = |(key, new): &(&RowKey, &Option<Row>)| rows.row(key) != **new;
    let news = layer.iter().filter(differs);
    news.map(|(key, new)| (key.clone(), new.clone())).collect()
}

impl Trial {
    pub(crate) fn new(server: Layer) -> Trial {
        Trial {
            touched: server.clone(),
            branch: Branch::new(server),
        }
    }

    /// Rows have changed at the keys of a layer.
    pub(crate) fn touch(&mut self, layer: &Layer) {
        let rows = layer.iter().map(|(key, row)| (key.clone(), row.clone()));
        self.touched.extend(rows);
    }
}

impl Round {
    /// The first mutation that is neither replayed nor confirmed; it counts as replayed from now on.
    pub(crate) fn next<'a>(&mut self, mutations: &'a Mutations) -> Option<&'a Mutation> {
        if self.cursor.0 != mutations.revision() {
            self.cursor = (mutations.revision(), 0);
        }
        while let Some(mutation) = mutations.pending().get(self.cursor.1) {
            self.cursor.1 += 1;
            // What nobody knows the arguments of shows nothing.
            let is_usable = mutation.unusable.is_none();
            if is_usable && !self.confirms(mutation) && self.replayed.insert(mutation.key()) {
                return Some(mutation);
            }
        }
        None
    }

    /// Makes the new server state on the copy, if there is one.
    pub(crate) fn restore_server(
        &mut self,
        shadow: &Layer,
        rows: &mut impl VisibleRows,
        allowed: &Steps,
    ) -> Progress {
        let Some(staging) = &mut self.staging else {
            return Progress::Done;
        };
        if !staging.has_begun {
            staging.has_begun = true;
            rows.stage();
            if self.poke.as_ref().is_some_and(|poke| poke.cleared) {
                rows.clear_stage();
                staging.is_restored = true;
            }
        }
        if !staging.is_restored {
            for (key, row) in shadow.range::<RowKey, _>(behind(staging.restored.as_ref())) {
                rows.change_stage(key.clone(), row.clone());
                allowed.spend_many(CHANGE_STEPS);
                if allowed.are_spent() {
                    staging.restored = Some(key.clone());
                    return Progress::More;
                }
            }
            staging.is_restored = true;
        }
        let changes = self.poke.as_ref().map_or(&[][..], |poke| &poke.rows);
        while let Some(change) = changes.get(staging.taken) {
            staging.taken += 1;
            rows.take_in_stage(change);
            allowed.spend_many(CHANGE_STEPS);
            if allowed.are_spent() {
                return Progress::More;
            }
        }
        Progress::Done
    }

    /// What was replayed goes into the copy, and what is shown with the copy is made.
    pub(crate) fn prepare(
        &mut self,
        shadow: &Layer,
        rows: &mut impl VisibleRows,
        allowed: &Steps,
    ) -> Progress {
        let Some(staging) = &mut self.staging else {
            return Progress::Done;
        };
        // Mutations that were taken back on the copy may have written anywhere in the shadow.
        let mut tables = SortedSet::new();
        let mut last = None;
        for (table, _) in shadow.keys() {
            if last.replace(*table) != Some(*table) {
                tables.insert(*table);
            }
        }
        if !rows.stage_is_still() && rows.prepare_stage(&tables, allowed) == Progress::More {
            return Progress::More;
        }
        if let Some(trial) = &self.trial {
            if staging.take_writes(&trial.branch, rows, allowed) == Progress::More {
                return Progress::More;
            }
            self.trial = None;
        }
        rows.prepare_stage(&tables, allowed)
    }

    /// Whether the poke of this round says that the server has this mutation.
    pub(crate) fn confirms(&self, mutation: &Mutation) -> bool {
        self.poke
            .as_ref()
            .and_then(|poke| poke.confirmed.get(&mutation.client_id))
            .is_some_and(|last| *last >= mutation.id)
    }
}
