//! All rows into storage, made in slices: after a large poke, in place of a long log, or when storage has lost something.
//!
//! Pokes that come meanwhile are stored behind it, in their order.

use crate::client::Client;
use crate::persistence::Purpose;
use crate::persistence::server_rows::ServerRows;
use landfall_store::{AppendPoke, PageWriter, QuerySets, StoreOp, StoredOutcome, WriteSnapshot};

/// A row that is put into a page counts as so many steps.
const WRITE_STEPS: usize = 2;

/// Rows on their way into pages.
pub(crate) struct SnapshotWriting {
    purpose: Purpose,
    rows: ServerRows,
    pages: PageWriter,
    rest: WriteSnapshot,
    /// What is to be stored after it.
    behind: Vec<(Purpose, AppendPoke)>,
}

impl std::fmt::Debug for SnapshotWriting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SnapshotWriting")
    }
}

impl Client {
    /// Begins to store all of the server's rows as they are now.
    pub(crate) fn begin_snapshot(
        &mut self,
        mut purpose: Purpose,
        mut outcomes: Vec<StoredOutcome>,
    ) {
        let Some(cookie) = self.cookie.clone() else {
            return;
        };
        // What was begun before is contained in this one, with what it tells, and so are the pokes that wait behind it.
        if let Some(before) = self.persistence.snapshot.take() {
            outcomes.extend(before.rest.outcomes);
            purpose = self.joined(before.purpose, purpose);
            for (waiting, poke) in before.behind {
                outcomes.extend(poke.outcomes);
                purpose = self.joined(waiting, purpose);
            }
        }
        self.persistence.snapshot = Some(Box::new(SnapshotWriting {
            purpose,
            rows: self.server_rows(),
            pages: PageWriter::default(),
            rest: WriteSnapshot {
                cookie,
                last_mutation_ids: self.mutations.confirmed().clone(),
                pages: PageWriter::default().finish(),
                queries: QuerySets {
                    got: self.queries.got().clone(),
                    ..QuerySets::default()
                },
                outcomes,
            },
            behind: Vec::new(),
        }));
    }

    fn joined(&mut self, before: Purpose, mut now: Purpose) -> Purpose {
        match (before, &mut now) {
            (
                Purpose::Poke {
                    acks: old,
                    outcomes,
                },
                Purpose::Poke {
                    acks,
                    outcomes: all,
                },
            ) => {
                for (client, id) in old {
                    let last = acks.get_or_insert_with(client, || id);
                    *last = (*last).max(id);
                }
                all.extend(outcomes);
            }
            // The results of a poke are acknowledged when it is stored, whatever it is stored with.
            (before @ Purpose::Poke { .. }, _) => {
                self.persistence.is_folding = false;
                return before;
            }
            (Purpose::Fold, Purpose::Poke { .. }) => self.persistence.is_folding = false,
            _ => {}
        }
        now
    }

    /// The group is over: its rows are not stored any more, nor are its pages.
    pub(crate) fn abandon_snapshot(&mut self) {
        let before = self.persistence.snapshot.take();
        let was_planning = self.persistence.planning.take().is_some();
        if was_planning || before.is_some_and(|before| matches!(before.purpose, Purpose::Fold)) {
            self.persistence.is_folding = false;
        }
    }

    /// Stores a poke at once, or behind the snapshot that is being made.
    pub(crate) fn store_in_order(&mut self, purpose: Purpose, poke: AppendPoke) {
        match &mut self.persistence.snapshot {
            Some(snapshot) => snapshot.behind.push((purpose, poke)),
            None => self.ask_store(purpose, StoreOp::AppendPoke(poke)),
        }
    }

    /// Puts rows into pages as long as there are steps.
    pub(crate) fn write_on(&mut self) {
        let Some(mut snapshot) = self.persistence.snapshot.take() else {
            return;
        };
        while !self.slices.steps.are_spent() {
            let Some((table, row)) = snapshot.rows.next() else {
                let SnapshotWriting {
                    purpose,
                    pages,
                    rest,
                    behind,
                    ..
                } = *snapshot;
                let pages = pages.finish();
                self.ask_store(
                    purpose,
                    StoreOp::WriteSnapshot(WriteSnapshot { pages, ..rest }),
                );
                for (purpose, poke) in behind {
                    self.ask_store(purpose, StoreOp::AppendPoke(poke));
                }
                return;
            };
            snapshot.pages.push(table, &row);
            self.slices.steps.spend_many(WRITE_STEPS);
        }
        self.persistence.snapshot = Some(snapshot);
    }

    pub(crate) fn is_writing_snapshot(&self) -> bool {
        self.persistence.snapshot.is_some()
    }
}
